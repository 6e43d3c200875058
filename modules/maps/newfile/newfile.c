/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * newfile.c -- name, rights and renaming of a map's new file.
 * From create() of the maps with a file of their own, in createmap; may sleep. Owns nothing.
 * On failure: err says where and why; the caller removes the new file.
 */
#include "newfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail(struct meta1_err *err, const char *file, const char *what)
{
	snprintf(err->text, sizeof(err->text), "%s: %s%s", file, what, strerror(errno));
	return -1;
}

int newfile_name(const char *file, char fresh[NEWFILE_PATH], struct meta1_err *err)
{
	if (snprintf(fresh, NEWFILE_PATH, "%s.new", file) >= NEWFILE_PATH) {
		snprintf(err->text, sizeof(err->text), "%.300s: the name is too long", file);
		return -1;
	}
	return unlink(fresh) == 0 || errno == ENOENT ? 0 : fail(err, fresh, "");
}

/* It was made for its owner alone. Without an old one the umask decides. */
static int take_rights(int fd, const char *old)
{
	struct stat st;
	mode_t mask;

	if (stat(old, &st) < 0) {
		mask = umask(077);
		umask(mask);
		return fchmod(fd, 0644 & ~mask);
	}
	if ((st.st_uid != geteuid() || st.st_gid != getegid()) &&
	    fchown(fd, st.st_uid, st.st_gid) < 0)
		return -1;
	return fchmod(fd, st.st_mode & 0777);
}

int newfile_finish(int fd, const char *fresh, const char *file, struct meta1_err *err)
{
	if (take_rights(fd, file) < 0)
		return fail(err, fresh, "owner and mode of the old file: ");
	if (fsync(fd) < 0)
		return fail(err, fresh, "sync: ");
	return 0;
}

static int sync_folder(const char *file)
{
	char dir[NEWFILE_PATH];
	char *slash;
	int fd, rc;

	snprintf(dir, sizeof(dir), "%s", file);
	slash = strrchr(dir, '/');
	if (slash)
		slash[slash == dir ? 1 : 0] = '\0';
	fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = fd < 0 ? -1 : fsync(fd);
	if (fd >= 0)
		close(fd);
	return rc;
}

int newfile_rename(const char *fresh, const char *file, struct meta1_err *err)
{
	if (rename(fresh, file) < 0 || sync_folder(file) < 0)
		return fail(err, file, "");
	return 0;
}
