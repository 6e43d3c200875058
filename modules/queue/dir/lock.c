/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lock.c -- a writer's folder: made, locked, and numbered.
 *
 * A number is a count, and in its low byte the folder's own number, so that folders never give
 * the same one; bit 62 keeps them apart from queue_log's. The count is in the folder's file
 * "numbers", as text, advanced by 65,536 at a time under the folder's lock and synced before one
 * of the block is used.
 * Comes from: writer.c. Owns: in/N or qm. On failure: a lost or torn "numbers" goes on far
 * above all that is seen; a folder that cannot be used says why and what was expected.
 */
#include "dir.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define OURS ((uint64_t)1 << 62)
#define JUMP ((uint64_t)1 << 40)

/* 0: taken; 1: somebody else has it. */
static int take(int at, const char *name, int *dir, int *lock, struct meta1_err *e)
{
	*dir = common_mkdir(at, name, 02750, e);
	if (*dir < 0)
		return -1;
	*lock = openat(*dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	for (int try = 0; *lock >= 0 && try < 4; try++) {
		if (flock(*lock, LOCK_EX | LOCK_NB) == 0)
			return fchmod(*lock, 0640) < 0 && errno != EPERM ? -1 : 0;
		/* A reader that looks whether it is in use holds it for microseconds. */
		nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
	}
	snprintf(e->text, sizeof(e->text), "queue folder %s: lock: %s", name,
	    *lock < 0 ? strerror(errno) : "in use by another process");
	close(*dir);
	if (*lock < 0)
		return -1;
	close(*lock);
	return 1;
}

int lock_writer(struct dir *d, bool qm, int *dir, int *lock, struct meta1_err *e)
{
	int in, r = 1, n = -1;

	if (qm)
		return take(d->qfd, "qm", dir, lock, e) == 0 ? (int)DIR_QM : -1;
	in = common_mkdir(d->qfd, "in", 02750, e);
	if (in < 0)
		return -1;
	while (r > 0 && ++n < (int)DIR_QM) {
		char name[16];

		snprintf(name, sizeof(name), "%d", n);
		r = take(in, name, dir, lock, e);
	}
	close(in);
	return r == 0 ? n : -1;
}

/* ---- numbers ---- */

static uint64_t last_block(const struct numbers *n)
{
	char b[64] = "";
	uint64_t next, sum, seen = 0, *v = NULL;
	size_t nv = 0;
	int fd = openat(n->dir, "numbers", O_RDONLY | O_CLOEXEC);
	ssize_t k = fd >= 0 ? read(fd, b, sizeof(b) - 1) : 0;

	if (fd >= 0)
		close(fd);
	if (k > 0 && sscanf(b, "%" SCNu64 " %" SCNx64, &next, &sum) == 2 &&
	    sum == text_sum(&next, sizeof(next)))
		return next;
	/* Lost or torn, or new. Numbers of what was delivered long ago are seen nowhere. */
	if (list_files(n->dir, 0, UINT64_MAX, &v, &nv) == 0 && nv > 0)
		seen = (v[nv - 1] & (OURS - 1)) >> 8;
	free(v);
	return fd >= 0 || nv > 0 ? seen + JUMP : 1;
}

/* On a worker, or at start. */
static void advance(void *arg)
{
	struct numbers *n = arg;
	uint64_t at = n->end > 0 ? n->end : last_block(n), next;
	char b[64];
	int fd, len;

	next = at + DIR_NUMBERS;
	len = snprintf(
	    b, sizeof(b), "%" PRIu64 " %016" PRIx64 "\n", next, text_sum(&next, sizeof(next)));
	fd = openat(n->dir, "numbers.tmp", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	n->err = fd < 0 ? errno : file_write(fd, b, (size_t)len);
	if (n->err == 0 &&
	    (fdatasync(fd) < 0 || renameat(n->dir, "numbers.tmp", n->dir, "numbers") < 0 ||
		fsync(n->dir) < 0))
		n->err = errno;
	if (fd >= 0)
		close(fd);
	n->got = at;
}

static void advanced(void *arg)
{
	struct numbers *n = arg;

	n->busy = false;
	if (n->err == 0)
		n->ahead = n->got;
	else
		n->d->h->log(
		    n->d->ctx, META1_WARN, "numbers of writer %u: %s", n->writer, strerror(n->err));
}

uint64_t numbers_next(struct numbers *n)
{
	if (n->next == n->end && n->ahead != 0) {
		n->next = n->ahead;
		n->end = n->ahead + DIR_NUMBERS;
		n->ahead = 0;
	}
	if (n->end - n->next < DIR_NUMBERS / 2 && n->ahead == 0 && !n->busy)
		n->busy = dir_job(n->d, advance, advanced, n);
	return n->next == n->end ? 0 : OURS | n->next++ << 8 | n->writer;
}

int numbers_open(struct numbers *n, struct dir *d, int dir, uint32_t writer, struct meta1_err *e)
{
	*n = (struct numbers){.d = d, .dir = dir, .writer = writer};
	advance(n);
	if (n->err != 0) {
		snprintf(
		    e->text, sizeof(e->text), "numbers of writer %u: %s", writer, strerror(n->err));
		return -1;
	}
	n->next = n->got;
	n->end = n->got + DIR_NUMBERS;
	return 0;
}
