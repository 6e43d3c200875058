/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reserve.c -- qmgr's reports find room when the disk is full: else what fails keeps its space for
 * ever. A few files with room of their own wait in qm/, r00 to r0f; a report whose own file finds
 * none goes on in one of them, under its temporary name. The folders that names need are there.
 * Comes from: writer.c, space.c. Owns: the files r... until one is taken; renaming is the claim,
 * for two workers may want one. On failure: there is no reserve, and reports wait for the room that
 * deliveries give back.
 */
#include "dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES	16
#define FOLDERS 4	   /* that the next names need */
#define ROOM	(64 << 10) /* a report that is larger needs a disk with room */

static void name_of(unsigned i, char out[8])
{
	snprintf(out, 8, "r%02x", i & 0xff);
}

/* A folder holds 64 numbers; a report takes three at most. */
static void make_folders(int dir, uint64_t number)
{
	struct meta1_err e;

	for (unsigned i = 0; i < FOLDERS; i++) {
		char sub[4];
		int fd;

		file_sub(number + ((uint64_t)i << 14), sub);
		if (faccessat(dir, sub, F_OK, 0) == 0)
			continue;
		fd = folder_make(dir, sub, 02750, &e);
		if (fd < 0)
			return;
		close(fd);
	}
}

void reserve_fill(struct writer *w, uint64_t number)
{
	for (unsigned i = 0; i < FILES; i++) {
		bool made;
		char name[8];
		int fd;

		name_of(i, name);
		fd = openat(w->dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
		if (fd < 0 && errno == EEXIST)
			continue;
		if (fd < 0)
			break;
		made = fallocate(fd, 0, 0, ROOM) == 0 && fchmod(fd, 0640) == 0;
		close(fd);
		if (!made) { /* full, or a file system that gives no room ahead */
			unlinkat(w->dir, name, 0);
			break;
		}
	}
	make_folders(w->dir, number);
}

static bool copy(int from, int to, uint64_t n)
{
	char *b = malloc(ROOM);
	bool ok = b != NULL && n <= ROOM;

	for (uint64_t at = 0; ok && at < n;) {
		ssize_t k = pread(from, b, (size_t)(n - at), (off_t)at);

		ok = k > 0 && bytes_write(to, b, (size_t)k, at) == 0;
		at += ok ? (uint64_t)k : 0;
	}
	free(b);
	return ok;
}

bool reserve_take(struct meta1_qmsg *m)
{
	const struct writer *w = m->w;
	bool got = false;
	char tmp[24];
	int fd;

	if (w->number != DIR_QM || m->reserved)
		return false;
	m->reserved = true;
	writer_tmp(m, tmp);
	for (unsigned i = 0; i < FILES && !got; i++) {
		char name[8];

		name_of(i, name);
		got = renameat(w->dir, name, w->dir, tmp) == 0; /* in place of its first one */
	}
	if (!got)
		return false;
	m->made = true;
	fd = openat(w->dir, tmp, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (m->fd >= 0) {
		got = copy(m->fd, fd, m->on_disk);
		close(m->fd);
	}
	m->fd = fd;
	return got;
}
