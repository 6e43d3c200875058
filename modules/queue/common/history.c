/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * history.c -- journals that no start needs any more are the history of outcomes.
 *
 * A journal of which all that matters is said elsewhere is renamed, so
 * a record is in exactly one file at any time, and no crash can make the two disagree. Then it is
 * packed, which needs no promise: the file is there before or after, whole. It tells of
 * each final outcome (id, recipient, sender, size, time, by whom), and what else fsck needs to
 * account for all that was accepted.
 * Comes from: whoever made a journal needless. Goes to: fsck.c; in queue_log to replay.c when the
 * checkpoint is lost. Owns: state/history.S. On failure: a file stays until the next time.
 */
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define PACKED "history.new"

/* Without its spare room. */
static void trim(const struct history *h, const char *name, uint64_t serial)
{
	int fd = openat(h->dir, name, O_RDWR | O_CLOEXEC);
	uint64_t end;
	struct stat st;

	if (fd < 0)
		return;
	end = h->end(fd, serial);
	if (fstat(fd, &st) == 0 && (uint64_t)st.st_size > end && ftruncate(fd, (off_t)end) < 0)
		errno = 0; /* it stays larger than it need be */
	close(fd);
}

static bool full(const struct history *h)
{
	struct statvfs s;

	return fstatvfs(h->dir, &s) == 0 &&
	       (uint64_t)s.f_bavail * s.f_frsize < (uint64_t)h->min_free;
}

/* Each sync of a journal took a block at least: of much mail that came one by one most of that is
 * nothing. The packed file takes the place of the other at once, when it is on disk. */
static void pack(const struct history *h, const char *name, uint64_t serial)
{
	int from = openat(h->dir, name, O_RDONLY | O_CLOEXEC), to = -1;
	bool good = false;

	if (from >= 0 && h->pack != NULL && !full(h))
		to = openat(h->dir, PACKED, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
	if (to >= 0) {
		good = h->pack(from, to, serial) == 0 && fdatasync(to) == 0 &&
		       renameat(h->dir, PACKED, h->dir, name) == 0;
		close(to);
		if (!good)
			unlinkat(h->dir, PACKED, 0);
	}
	if (from >= 0)
		close(from);
}

static void rename_old(const struct history *h)
{
	uint64_t *v;
	size_t n;

	if (serial_list(h->dir, h->what, &v, &n) < 0)
		return;
	for (size_t i = 0; i < n && v[i] < h->serial; i++) {
		char from[40], to[40];

		serial_name(from, h->what, v[i]);
		serial_name(to, "history", v[i]);
		trim(h, from, v[i]);
		if (renameat(h->dir, from, h->dir, to) == 0)
			pack(h, to, v[i]);
	}
	free(v);
}

static void drop(const struct history *h, uint64_t serial)
{
	char name[40];

	serial_name(name, "history", serial);
	unlinkat(h->dir, name, 0);
}

/* Counted from the newest, so that the oldest goes; on a full disk mail needs the room more. */
static void expire(const struct history *h)
{
	int64_t size = 0;
	uint64_t *v;
	size_t n;

	if (serial_list(h->dir, "history", &v, &n) < 0)
		return;
	for (size_t i = n; i-- > 0;) {
		char name[40];
		struct stat st;

		serial_name(name, "history", v[i]);
		if (fstatat(h->dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		size += (int64_t)st.st_blocks * 512;
		if (size > h->size || st.st_mtime < h->now - h->time || h->time == 0)
			drop(h, v[i]);
	}
	for (size_t i = 0; i < n && full(h); i++)
		drop(h, v[i]);
	free(v);
}

void history_keep(const struct history *h)
{
	rename_old(h);
	expire(h);
}
