/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reader.c -- content of a message that stands in a file, read by worker threads, a chunk at a
 * time.
 *
 * Comes from content.c, which sends it at once. Owns a buffer and a descriptor of its own, also
 * when the session goes away while they are used; the chunk has its place in the windows from the
 * beginning, and gives it back when it is not sent. On failure: the question fails.
 */
#include "pmilter.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

struct reader {
	struct pm *pm;
	struct sess *sess; /* NULL: it was dropped while a thread reads */
	int fd, err;
	uint64_t off;
	size_t want, have;
	unsigned char at[];
};

static void reader_free(struct reader *r)
{
	if (r->fd >= 0)
		close(r->fd);
	r->pm->host->free(r->pm->ctx, r);
}

/* On a worker thread. */
static void work(void *arg)
{
	struct reader *r = arg;

	while (r->have < r->want && !r->err) {
		ssize_t n =
		    pread(r->fd, r->at + r->have, r->want - r->have, (off_t)(r->off + r->have));

		if (n > 0)
			r->have += (size_t)n;
		else if (n == 0 || errno != EINTR)
			r->err = n == 0 ? ENODATA : errno;
	}
}

static void done(void *arg)
{
	struct reader *r = arg;
	struct sess *s = r->sess;

	if (s) {
		s->reader = NULL;
		content_read(s, r->at, r->have,
		    r->err == ENODATA ? "the message is shorter than it was"
		    : r->err	      ? "the message cannot be read"
				      : NULL);
	}
	reader_free(r);
}

const char *reader_begin(struct sess *s, size_t n)
{
	static const char *const bad = "the message cannot be read: too much waits for the disk";
	const struct meta1_extent *e = &s->msg->extent[s->extent];
	uint64_t left = e->len - s->extent_off;
	struct reader *r;

	n = left < n ? (size_t)left : n;
	r = s->pm->host->alloc(s->pm->ctx, sizeof(*r) + n);
	s->no_room = 1;
	if (!r)
		return bad;
	r->pm = s->pm;
	r->sess = s;
	r->off = e->off + s->extent_off;
	r->want = n;
	r->fd = fcntl(e->fd, F_DUPFD_CLOEXEC, 0);
	if (r->fd < 0 || s->pm->host->offload(s->pm->ctx, work, done, r) != META1_OK) {
		reader_free(r);
		return bad;
	}
	s->no_room = 0;
	s->reader = r;
	s->unacked += n;
	s->link->unacked += n;
	return NULL;
}

void reader_drop(struct sess *s)
{
	struct reader *r = s->reader;

	s->reader = NULL;
	if (!r)
		return;
	r->sess = NULL; /* done() frees it */
	if (s->unacked < r->want)
		return; /* the link was lost, and nothing counts any more */
	s->unacked -= r->want;
	s->link->unacked -= r->want;
}
