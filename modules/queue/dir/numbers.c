/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * numbers.c -- numbers of a writer's messages, which never repeat.
 *
 * A number is a count, and in its low byte the folder's own number, so that folders never give
 * the same one; bit 62 keeps them apart from queue_log's. The count is in the folder's file
 * "numbers", as text, advanced by 65,536 at a time under the folder's lock and synced before one
 * of the block is used (common/ids.c). It is written in place: so it needs no room on a full disk,
 * and a text of 36 bytes is within one sector.
 * Comes from: writer.c. Owns: in/N/numbers. On failure: a lost or torn one goes on far
 * above all that is seen, and a folder where nothing is seen begins anywhere.
 */
#include "dir.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define OURS	 ((uint64_t)1 << 62)
#define JUMP	 ((uint64_t)1 << 40)
#define ANYWHERE ((uint64_t)1 << 52) /* far below where counts end */

int numbers_look(int dir, uint64_t *next)
{
	int fd = openat(dir, "numbers", O_RDONLY | O_CLOEXEC);
	char b[64] = "";
	uint64_t sum;
	bool ok = fd >= 0 && read(fd, b, sizeof(b) - 1) > 0 &&
		  sscanf(b, "%" SCNu64 " %" SCNx64, next, &sum) == 2 &&
		  sum == text_sum(next, sizeof(*next));

	if (fd >= 0)
		close(fd);
	return ok ? 0 : -1;
}

/* The count of a number that somebody wrote down. */
static uint64_t count_of(uint64_t number)
{
	return (number & OURS) != 0 ? (number & (OURS - 1)) >> 8 : 0;
}

/* The first number of the life before, in the lock's text. */
static uint64_t last_life(int dir)
{
	int fd = openat(dir, "lock", O_RDONLY | O_CLOEXEC);
	char b[20] = "";
	uint64_t n = fd >= 0 && read(fd, b, 16) == 16 ? strtoull(b, NULL, 16) : 0;

	if (fd >= 0)
		close(fd);
	return n;
}

/* Lost, torn, or new. Numbers of what was delivered long ago are seen nowhere, and state/ may know
 * them as done: so a folder that is new may be one that was removed. */
static uint64_t far_above(const struct ids *n)
{
	uint64_t seen = count_of(last_life(n->dir)), *v = NULL, any = 0;
	size_t nv = 0;

	if (list_files(n->dir, 0, UINT64_MAX, &v, &nv) == 0 && nv > 0 && count_of(v[nv - 1]) > seen)
		seen = count_of(v[nv - 1]);
	free(v);
	if (seen > 0)
		return seen + JUMP;
	if (getrandom(&any, sizeof(any), GRND_NONBLOCK) != (ssize_t)sizeof(any))
		any = (uint64_t)n->s->h->wall(n->s->ctx);
	return 1 + any % ANYWHERE;
}

static int write_count(int dir, uint64_t next)
{
	char b[64];
	int fd, err, len;

	len = snprintf(
	    b, sizeof(b), "%019" PRIu64 " %016" PRIx64 "\n", next, text_sum(&next, sizeof(next)));
	fd = openat(dir, "numbers", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	err = fd < 0 ? errno : bytes_write(fd, b, (size_t)len, 0);
	if (err == 0 && (fdatasync(fd) < 0 || fsync(dir) < 0))
		err = errno;
	if (fd >= 0)
		close(fd);
	return err;
}

/* On a worker, or at start. */
static void advance(void *arg)
{
	struct ids *n = arg;

	if (n->end > 0)
		n->got = n->end;
	else if (numbers_look(n->dir, &n->got) < 0)
		n->got = far_above(n);
	n->err = write_count(n->dir, n->got + IDS_BLOCK);
}

uint64_t numbers_soon(const struct ids *n)
{
	return OURS | n->next << 8 | n->writer;
}

uint64_t numbers_next(struct ids *n)
{
	uint64_t count = ids_next(n);

	return count == 0 ? 0 : OURS | count << 8 | n->writer;
}

int numbers_open(struct ids *n, struct store *d, int dir, uint32_t writer, struct meta1_err *e)
{
	char what[32];

	snprintf(what, sizeof(what), "numbers of writer %u", writer);
	*n = (struct ids){.s = d, .take = advance, .dir = dir, .writer = writer};
	return ids_first(n, what, e);
}
