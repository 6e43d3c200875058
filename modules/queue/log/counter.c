/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * counter.c -- numbers that never repeat: a counter in a file, taken in blocks (common/ids.c).
 *
 * Under a lock the counter is advanced by 65,536 and synced before a number of the block
 * is used. Segments and own files take their numbers here too, so that they grow within a folder
 * over all lives.
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

int counter_open(struct ids *i, struct store *l, int dir, uint64_t floor, struct meta1_err *e)
{
	i->s = l;
	i->take = take;
	i->floor = floor;
	i->fd = openat(dir, "ids", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (i->fd < 0 || fsync(dir) < 0) {
		snprintf(e->text, sizeof(e->text), "id counter ids: %s", strerror(errno));
		return -1;
	}
	return ids_first(i, "id counter ids", e);
}

void counter_close(struct ids *i)
{
	if (i->fd >= 0)
		close(i->fd);
	i->fd = -1;
}

int counter_look(int at, const char *path, uint64_t *next)
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
