/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spool.c -- a new message that a filter sends: in memory up to 64 KiB, then in a file without a
 * name in the queue's folder, which goes away with its descriptor.
 *
 * Comes from reply.c, part by part; goes to the host as an extent. Owns memory and descriptor.
 * On failure: -1; what is there is dropped with the answer.
 */
#include "pmilter.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int open_file(struct pm *pm)
{
	char dir[4096];
	int fd;

	snprintf(dir, sizeof(dir), "%s/in", pm->host->qdir);
	fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	return fd >= 0 ? fd : open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

static int put(int fd, const char *p, size_t n, uint64_t off)
{
	while (n > 0) {
		ssize_t got = pwrite(fd, p, n, (off_t)off);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return -1;
		p += got;
		n -= (size_t)got;
		off += (uint64_t)got;
	}
	return 0;
}

/* From memory into a file. */
static int spill(struct pm *pm, struct spool *s)
{
	s->fd = open_file(pm);
	if (s->fd < 0 || put(s->fd, s->mem, (size_t)s->bytes, 0) < 0) {
		pm->host->log(pm->ctx, META1_ERR,
		    "the filter's message cannot be kept in a file: %s", strerror(errno));
		return -1;
	}
	pm->host->free(pm->ctx, s->mem);
	s->mem = NULL;
	return 0;
}

int spool_add(struct pm *pm, struct spool *s, const void *data, size_t n)
{
	if (s->fd < 0 && s->bytes + n <= SPOOL_MEM) {
		if (!s->mem)
			s->mem = pm->host->alloc(pm->ctx, SPOOL_MEM);
		if (!s->mem)
			return -1;
		memcpy(s->mem + s->bytes, data, n);
	} else if ((s->fd < 0 && spill(pm, s) < 0) || put(s->fd, data, n, s->bytes) < 0) {
		return -1;
	}
	s->bytes += n;
	return 0;
}

void spool_drop(struct pm *pm, struct spool *s)
{
	if (s->mem)
		pm->host->free(pm->ctx, s->mem);
	if (s->fd >= 0)
		close(s->fd);
	*s = (struct spool){.fd = -1};
}
