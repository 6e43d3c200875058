/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ids.c -- numbers that never repeat: a counter in a file, taken in blocks.
 *
 * Under a lock the counter is advanced by 65,536 and synced before a number of the block
 * is used; the next block is taken on a worker when half of this one is gone. Segments and
 * own files take their numbers here too, so that they grow within a folder over all lives.
 * Comes from: writer.c, batch.c, big.c. Owns: in/ids or state/ids.
 * On failure: a damaged or lost counter goes on far above every number that is seen on disk.
 */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define IDS_MAGIC 0x315344493154514dULL
#define IDS_JUMP  ((uint64_t)1 << 40)

struct counter {
	uint64_t magic, next, sum;
};

/* Blocks. got: start of a block that is ours. */
static void take(void *arg)
{
	struct ids *i = arg;
	struct counter c = {0};
	uint64_t at = 1;
	ssize_t n;

	i->err = 0;
	while (flock(i->fd, LOCK_EX) < 0) {
		if (errno != EINTR)
			goto fail;
	}
	n = pread(i->fd, &c, sizeof(c), 0);
	if (n < 0)
		goto fail;
	if (n == (ssize_t)sizeof(c) && c.magic == IDS_MAGIC && c.sum == seg_sum(0, &c, 16))
		at = c.next;
	else if (n > 0 || i->floor > 0)
		at = i->floor + IDS_JUMP;
	if (at <= i->floor)
		at = i->floor + 1;
	c.magic = IDS_MAGIC;
	c.next = at + IDS_BLOCK;
	c.sum = seg_sum(0, &c, 16);
	errno = EIO;
	if (pwrite(i->fd, &c, sizeof(c), 0) != (ssize_t)sizeof(c) || fdatasync(i->fd) < 0)
		goto fail;
	i->got = at;
	goto out;
fail:
	i->err = errno;
out:
	flock(i->fd, LOCK_UN);
}

static void taken(void *arg)
{
	struct ids *i = arg;

	i->busy = false;
	if (i->err != 0)
		i->l->h->log(i->l->ctx, META1_WARN, "id counter: %s", strerror(i->err));
	else
		i->ahead = i->got;
}

uint64_t ids_next(struct ids *i)
{
	if (i->next == i->end) {
		if (i->ahead != 0) {
			i->next = i->ahead;
			i->end = i->ahead + IDS_BLOCK;
			i->ahead = 0;
		}
	}
	if (i->end - i->next < IDS_BLOCK / 2 && i->ahead == 0 && !i->busy) {
		i->floor = i->end;
		i->busy = log_job(i->l, take, taken, i);
	}
	return i->next == i->end ? 0 : i->next++;
}

int ids_open(struct ids *i, struct log *l, int dir, uint64_t floor, struct meta1_err *e)
{
	i->l = l;
	i->floor = floor;
	i->fd = openat(dir, "ids", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (i->fd < 0 || fsync(dir) < 0) {
		snprintf(e->text, sizeof(e->text), "id counter ids: %s", strerror(errno));
		return -1;
	}
	take(i);
	if (i->err != 0) {
		snprintf(e->text, sizeof(e->text), "id counter ids: %s", strerror(i->err));
		return -1;
	}
	i->next = i->got;
	i->end = i->got + IDS_BLOCK;
	return 0;
}

void ids_close(struct ids *i)
{
	if (i->fd >= 0)
		close(i->fd);
	i->fd = -1;
}

int ids_look(int at, const char *path, uint64_t *next)
{
	int fd = openat(at, path, O_RDONLY | O_CLOEXEC);
	struct counter c;
	bool ok = fd >= 0 && pread(fd, &c, sizeof(c), 0) == (ssize_t)sizeof(c) &&
		  c.magic == IDS_MAGIC && c.sum == seg_sum(0, &c, 16);

	if (fd >= 0)
		close(fd);
	*next = ok ? c.next : 0;
	return ok ? 0 : -1;
}
