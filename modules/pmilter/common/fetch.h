/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fetch.h -- bytes of a message that stand in files, read by worker threads: a read on the loop
 * would wait for the disk, and all other sessions with it.
 *
 * Comes from a module that has a message in extents; goes back to it with the bytes in one piece,
 * also those that were in memory. Owns its buffer and descriptors of its own, so who asked may go
 * away, and the message with it, while a thread reads: fetch_drop().
 * On failure: a text of what is wrong.
 */
#ifndef PMILTER_FETCH_H
#define PMILTER_FETCH_H
#include <errno.h>
#include <fcntl.h>
#include <meta1/pmilter.h>
#include <unistd.h>

struct fetch_part {
	int fd;
	uint64_t off;
	size_t at, len; /* in the buffer */
};

struct fetch {
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
	/* bad: NULL, or why not; the bytes stay until it returns, unless it takes them */
	void (*fn)(void *arg, struct fetch *, const char *bad);
	void *arg; /* NULL: it was dropped while a thread reads */
	int err;
	uint32_t npart;
	struct fetch_part *part;
	size_t len;
	unsigned char *at;
};

static inline void fetch_free(struct fetch *f)
{
	for (uint32_t i = 0; i < f->npart; i++)
		close(f->part[i].fd);
	f->host->free(f->ctx, f->part);
	f->host->free(f->ctx, f->at);
	f->host->free(f->ctx, f);
}

/* On a worker thread. */
static inline void fetch_work(void *arg)
{
	struct fetch *f = arg;

	for (uint32_t i = 0; i < f->npart && !f->err; i++) {
		const struct fetch_part *p = &f->part[i];
		size_t have = 0;

		while (have < p->len && !f->err) {
			ssize_t n = pread(
			    p->fd, f->at + p->at + have, p->len - have, (off_t)(p->off + have));

			if (n > 0)
				have += (size_t)n;
			else if (n == 0 || errno != EINTR)
				f->err = n == 0 ? ENODATA : errno;
		}
	}
}

static inline void fetch_done(void *arg)
{
	struct fetch *f = arg;

	if (f->arg)
		f->fn(f->arg, f,
		    f->err == ENODATA ? "the message is shorter than it was"
		    : f->err	      ? "the message cannot be read"
				      : NULL);
	fetch_free(f);
}

/* n bytes from off in extent i on are all in memory. */
static inline int fetch_needless(
    const struct meta1_pm_message *m, uint32_t i, uint64_t off, uint64_t n)
{
	for (; i < m->nextent && n > 0; i++, off = 0) {
		uint64_t left = m->extent[i].len - off;

		if (!m->extent[i].mem && left > 0)
			return 0;
		n -= left < n ? left : n;
	}
	return 1;
}

/* Copies what is in memory, and notes what is not. 0: there is not as much, or no descriptor. */
static inline int fetch_plan(
    struct fetch *f, const struct meta1_pm_message *m, uint32_t i, uint64_t off)
{
	size_t at = 0;

	for (; i < m->nextent && at < f->len; i++, off = 0) {
		const struct meta1_extent *e = &m->extent[i];
		size_t n = e->len - off < f->len - at ? (size_t)(e->len - off) : f->len - at;
		struct fetch_part *p = &f->part[f->npart];

		if (e->mem && n > 0)
			memcpy(f->at + at, (const char *)e->mem + off, n);
		if (!e->mem && n > 0) {
			*p = (struct fetch_part){
			    fcntl(e->fd, F_DUPFD_CLOEXEC, 0), e->off + off, at, n};
			if (p->fd < 0)
				return 0;
			f->npart++;
		}
		at += n;
	}
	return at == f->len;
}

/* n bytes, at least one, from off in extent i on. NULL: they cannot be had; else fn comes, on a
 * later turn. */
static inline struct fetch *fetch_begin(const struct meta1_host *host, struct meta1_ctx *ctx,
    const struct meta1_pm_message *m, uint32_t i, uint64_t off, size_t n,
    void (*fn)(void *, struct fetch *, const char *), void *arg)
{
	struct fetch *f = host->alloc(ctx, sizeof(*f));

	if (!f)
		return NULL;
	*f = (struct fetch){.host = host, .ctx = ctx, .fn = fn, .arg = arg, .len = n};
	f->at = host->alloc(ctx, n);
	f->part = host->alloc(ctx, (m->nextent - i) * sizeof(*f->part));
	if (f->at && f->part && fetch_plan(f, m, i, off) &&
	    host->offload(ctx, fetch_work, fetch_done, f) == META1_OK)
		return f;
	fetch_free(f);
	return NULL;
}

/* Nobody waits for it. */
static inline void fetch_drop(struct fetch **fp)
{
	if (*fp)
		(*fp)->arg = NULL;
	*fp = NULL;
}

#endif
