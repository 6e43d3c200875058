/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * newfile.c -- see newfile.h. From files that keep a role's memory; to the disk. Owns the
 * descriptors it opens. On failure: the errno, and PATH.new is removed.
 */
#include "lib/newfile.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <unistd.h>

int newfile_put(int fd, const void *data, size_t n)
{
	const char *p = data;

	while (n > 0) {
		ssize_t done = write(fd, p, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done == 0 ? ENOSPC : errno;
		p += done;
		n -= (size_t)done;
	}
	return 0;
}

static void sync_folder(const char *path)
{
	char folder[1100];
	int dir;

	str_copy(folder, sizeof(folder), path);
	dir = open(dirname(folder), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir >= 0) {
		fsync(dir);
		close(dir);
	}
}

int newfile_write(const char *path, const void *data, size_t n)
{
	char name[1100];
	int fd, failed;

	if (snprintf(name, sizeof(name), "%s.new", path) >= (int)sizeof(name))
		return ENAMETOOLONG;
	unlink(name);
	fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	failed = fd < 0 ? errno : newfile_put(fd, data, n);
	if (!failed && fdatasync(fd) < 0)
		failed = errno;
	if (fd >= 0)
		close(fd);
	if (!failed && rename(name, path) < 0)
		failed = errno;
	if (failed)
		unlink(name);
	else
		sync_folder(path);
	return failed;
}
