/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue_files.c -- the folder of the store under test: copied, searched, spoilt, removed.
 * Comes from: the suites. Goes to: the disk. Owns: nothing. On failure: false.
 */
#include "queue.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Only what holds data is copied; the rest stays a hole of the same length. */
static bool copy_file(int from, int to, const char *name)
{
	int in = openat(from, name, O_RDONLY), out = openat(to, name, O_WRONLY | O_CREAT, 0640);
	static char b[65536];
	struct stat st;
	off_t at = 0, hole;
	bool ok = in >= 0 && out >= 0 && !fstat(in, &st) && !ftruncate(out, st.st_size);

	while (ok && (at = lseek(in, at, SEEK_DATA)) >= 0) {
		hole = lseek(in, at, SEEK_HOLE);
		while (ok && at < hole) {
			size_t n = hole - at < (off_t)sizeof(b) ? (size_t)(hole - at) : sizeof(b);

			ok = pread(in, b, n, at) == (ssize_t)n &&
			     pwrite(out, b, n, at) == (ssize_t)n;
			at += (off_t)n;
		}
	}
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	return ok;
}

bool q_copy(const char *from, const char *to)
{
	int out, in = open(from, O_RDONLY | O_DIRECTORY);
	DIR *d = opendir(from);
	struct dirent *e;
	bool ok;

	mkdir(to, 0750);
	out = open(to, O_RDONLY | O_DIRECTORY);
	ok = d && in >= 0 && out >= 0;
	while (ok && (e = readdir(d))) {
		char a[512], b[512];
		struct stat st;

		if (e->d_name[0] == '.' || fstatat(in, e->d_name, &st, AT_SYMLINK_NOFOLLOW))
			continue;
		snprintf(a, sizeof(a), "%s/%s", from, e->d_name);
		snprintf(b, sizeof(b), "%s/%s", to, e->d_name);
		ok = S_ISDIR(st.st_mode) ? q_copy(a, b) : copy_file(in, out, e->d_name);
	}
	if (d)
		closedir(d);
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	return ok;
}

void q_remove(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		char p[512];
		struct stat st;

		snprintf(p, sizeof(p), "%s/%s", dir, e->d_name);
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || lstat(p, &st))
			continue;
		if (S_ISDIR(st.st_mode))
			q_remove(p);
		else
			unlink(p);
	}
	if (d)
		closedir(d);
	rmdir(dir);
}

uint64_t q_usage(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	uint64_t n = 0;

	while (d && (e = readdir(d))) {
		char p[512];
		struct stat st;

		snprintf(p, sizeof(p), "%s/%s", dir, e->d_name);
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || lstat(p, &st))
			continue;
		n += S_ISDIR(st.st_mode) ? q_usage(p) : (uint64_t)st.st_blocks * 512;
	}
	if (d)
		closedir(d);
	return n;
}

off_t q_stands(const char *path, const char *text)
{
	int fd = open(path, O_RDONLY);
	struct stat st;
	off_t at = -1;
	char *b = NULL, *p;

	if (fd >= 0 && !fstat(fd, &st) && (b = malloc((size_t)st.st_size + 1)) &&
	    pread(fd, b, (size_t)st.st_size, 0) == st.st_size &&
	    (p = memmem(b, (size_t)st.st_size, text, strlen(text))))
		at = p - b;
	free(b);
	if (fd >= 0)
		close(fd);
	return at;
}

off_t q_search(const char *dir, const char *text, char path[512])
{
	DIR *d = opendir(dir);
	struct dirent *e;
	off_t at = -1;

	while (d && at < 0 && (e = readdir(d))) {
		char p[512];

		if (e->d_name[0] == '.')
			continue;
		snprintf(p, sizeof(p), "%s/%s", dir, e->d_name);
		if (e->d_type == DT_DIR) {
			at = q_search(p, text, path);
			continue;
		}
		at = q_stands(p, text);
		if (at >= 0)
			memcpy(path, p, sizeof(p));
	}
	if (d)
		closedir(d);
	return at;
}

bool q_spoil(const char *path, off_t at)
{
	int fd = open(path, O_RDWR);
	unsigned char c = 0;
	ssize_t n = fd >= 0 ? pread(fd, &c, 1, at) : -1;
	bool ok;

	c ^= 0x55;
	ok = n == 0 || (n == 1 && pwrite(fd, &c, 1, at) == 1); /* 0: behind its end */
	if (fd >= 0)
		close(fd);
	return ok;
}
