/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * history.c -- journals that no start needs any more are the history of outcomes.
 *
 * Nothing is written for it: a journal whose outcomes a checkpoint holds is renamed, so a record
 * is in exactly one file at any time, and no crash can make the two disagree. It tells of each
 * final outcome (id, recipient, sender, size, time, by whom), of each segment how many messages it
 * had, and what was moved where: enough for fsck to account for all that was accepted.
 * Comes from: checkpoint.c. Goes to: fsck.c; replay.c when the checkpoint is lost.
 * Owns: state/history.S. On failure: a file stays until the next checkpoint.
 */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Without its spare room. */
static void trim(int dir, const char *name, uint64_t serial)
{
	int fd = openat(dir, name, O_RDWR | O_CLOEXEC);
	uint64_t end;
	struct stat st;

	if (fd < 0)
		return;
	end = frame_end(fd, serial);
	if (fstat(fd, &st) == 0 && (uint64_t)st.st_size > end && ftruncate(fd, (off_t)end) < 0)
		errno = 0; /* it stays larger than it need be */
	close(fd);
}

static void rename_old(const struct history *h)
{
	uint64_t *v;
	size_t n;

	if (replay_serials(h->dir, "journal", &v, &n) < 0)
		return;
	for (size_t i = 0; i < n && v[i] < h->serial; i++) {
		char from[40], to[40];

		frame_name(from, "journal", v[i]);
		frame_name(to, "history", v[i]);
		trim(h->dir, from, v[i]);
		renameat(h->dir, from, h->dir, to);
	}
	free(v);
}

static void remove_checkpoints(const struct history *h)
{
	uint64_t *v;
	size_t n;

	if (replay_serials(h->dir, "checkpoint", &v, &n) < 0)
		return;
	for (size_t i = 0; i < n && v[i] < h->serial; i++) {
		char name[40];

		frame_name(name, "checkpoint", v[i]);
		unlinkat(h->dir, name, 0);
	}
	free(v);
}

static bool full(const struct history *h)
{
	struct statvfs s;

	return fstatvfs(h->dir, &s) == 0 &&
	       (uint64_t)s.f_bavail * s.f_frsize < (uint64_t)h->min_free;
}

/* Newest first, so that the oldest goes; on a full disk mail needs the room more. */
static void expire(const struct history *h)
{
	int64_t size = 0;
	uint64_t *v;
	size_t n;

	if (replay_serials(h->dir, "history", &v, &n) < 0)
		return;
	while (n-- > 0) {
		char name[40];
		struct stat st;

		frame_name(name, "history", v[n]);
		if (fstatat(h->dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		size += (int64_t)st.st_blocks * 512;
		if (size > h->size || st.st_mtime < h->now - h->time || h->time == 0 || full(h))
			unlinkat(h->dir, name, 0);
	}
	free(v);
}

void history_keep(const struct history *h)
{
	remove_checkpoints(h);
	rename_old(h);
	expire(h);
}
