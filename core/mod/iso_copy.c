/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * iso_copy.c -- the content of a mail without the file that it stands in, which has other mail too:
 * what is short and in the kernel's cache is read at once, the rest on a worker thread, long
 * content into memory without a name that is sealed. Comes from iso_transport.c; goes to the
 * kernel, the host's threads, and back. Owns the copies until they are sent. Bounded: what workers
 * of an instance hold is COPIES_MAX, or one mail; who comes then waits for an answer. On failure:
 * done() with why.
 */
#include "mod/iso.h"
#include "mod/iso_bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#define COPIES_MAX (64u << 20)

struct iso_copy {
	TAILQ_ENTRY(iso_copy) link;
	struct iso *iso;
	struct meta1_req *rq;
	iso_copy_fn done;
	void *arg;
	bool dropped, reading;
	uint64_t len; /* of what is in files */
	uint8_t *mem; /* short: it is here, else in fd */
	int fd;
	struct meta1_err err;
	uint32_t n;
	struct meta1_extent to[]; /* at first as it was given */
};

static uint64_t in_files(const struct meta1_extent *e, uint32_t n)
{
	uint64_t len = 0;

	for (uint32_t k = 0; k < n; k++)
		len += e[k].mem ? 0 : e[k].len;
	return len;
}

static bool all_in_memory(const struct meta1_extent *e, uint32_t n)
{
	while (n && e[n - 1].mem)
		n--;
	return n == 0;
}

static bool read_now(const struct meta1_extent *e, uint8_t *to)
{
	struct iovec iov = {to, e->len};

	return e->len == 0 || preadv2(e->fd, &iov, 1, (off_t)e->off, RWF_NOWAIT) == (ssize_t)e->len;
}

bool iso_copy_now(
    const struct meta1_extent **ep, uint32_t n, struct pool *pool, struct iso_bytes *room)
{
	const struct meta1_extent *e = *ep;
	uint64_t len = in_files(e, n);
	struct meta1_extent *to;
	uint8_t *mem;

	if (all_in_memory(e, n)) /* nothing of a file has one too */
		return true;
	to = len <= room->inline_left ? pool_try(pool, n * sizeof(*to)) : NULL;
	mem = to ? pool_try(pool, len + 1) : NULL;
	if (!mem)
		return false;
	*ep = to;
	for (; n; n--, e++, to++) {
		*to = *e;
		if (e->mem)
			continue;
		if (!read_now(e, mem))
			return false;
		*to = (struct meta1_extent){.mem = mem, .len = e->len, .fd = -1};
		mem += e->len;
	}
	return true;
}

/* ---- on a thread ---- */

static bool read_all(const struct meta1_extent *e, uint8_t *to)
{
	uint64_t at = 0;

	while (at < e->len) {
		ssize_t n = pread(e->fd, to + at, e->len - at, (off_t)(e->off + at));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += (uint64_t)n;
	}
	return true;
}

static void work(void *arg)
{
	struct iso_copy *c = arg;
	uint64_t at = 0;

	if (!c->mem)
		c->fd = iso_bytes_memory();
	for (uint32_t k = 0; k < c->n; k++) {
		struct meta1_extent *e = &c->to[k];

		if (e->mem)
			continue;
		errno = 0;
		if (c->mem ? !read_all(e, c->mem + at) : !iso_bytes_copy(c->fd, e)) {
			err_set(&c->err, "a copy of the content: %s",
			    errno ? strerror(errno) : "the file ends too early");
			return;
		}
		*e = c->mem ? (struct meta1_extent){.mem = c->mem + at, .len = e->len, .fd = -1}
			    : (struct meta1_extent){.off = at, .len = e->len, .fd = c->fd};
		at += e->len;
	}
	if (!c->mem && !iso_bytes_close_memory(c->fd))
		err_set(&c->err, "a copy of the content: %s", strerror(errno));
}

/* ---- on the loop ---- */

static void drop(struct iso_copy *c)
{
	if (c->fd >= 0)
		close(c->fd);
	free(c->mem);
	free(c);
}

static void end(struct iso_copy *c)
{
	struct iso *i = c->iso;

	TAILQ_REMOVE(&i->copies, c, link);
	if (c->reading)
		i->copied -= c->len; /* from now on it is the question's: iso_charge() */
	if (c->dropped)
		i->in->table.finish(c->rq, META1_CANCELED, NULL);
	else
		c->done(c->arg, c->rq, c->to, c->n, c->len, c->err.text[0] ? &c->err : NULL);
	drop(c);
	iso_copy_next(i);
}

static void worked(void *arg)
{
	end(arg);
}

static struct iso_copy *waits(struct iso *i)
{
	struct iso_copy *c = TAILQ_FIRST(&i->copies);

	while (c && c->reading)
		c = TAILQ_NEXT(c, link);
	return c;
}

void iso_copy_next(struct iso *i)
{
	struct iso_copy *c;

	while ((c = waits(i)) && (i->copied == 0 || i->copied + c->len <= COPIES_MAX)) {
		i->copied += c->len;
		c->reading = true;
		if (i->in->table.offload(iso_ctx(i), work, worked, c) == META1_OK)
			continue;
		err_set(&c->err, "too many copies of content are under way");
		end(c);
		return; /* it has looked at the next ones */
	}
}

void iso_copy_new(struct iso *i, struct meta1_req *rq, const struct meta1_extent *e, uint32_t n,
    iso_copy_fn done, void *arg)
{
	struct iso_copy *c = base_alloc(sizeof(*c) + n * sizeof(*e));

	*c = (struct iso_copy){.iso = i, .rq = rq, .done = done, .arg = arg, .fd = -1, .n = n};
	memcpy(c->to, e, n * sizeof(*e));
	c->len = in_files(e, n);
	if (c->len <= ISO_INLINE_MAX / 2)
		c->mem = base_alloc(c->len + 1);
	TAILQ_INSERT_TAIL(&i->copies, c, link);
	iso_copy_next(i);
}

void *iso_copy_cancel(struct iso *i, struct meta1_req *rq)
{
	struct iso_copy *c = TAILQ_FIRST(&i->copies);
	void *arg;

	while (c && (c->rq != rq || c->dropped))
		c = TAILQ_NEXT(c, link);
	if (!c)
		return NULL;
	arg = c->arg;
	c->dropped = true;
	if (!c->reading) /* else its file is needed until then */
		end(c);
	return arg;
}

void iso_copy_close(struct iso *i)
{
	struct iso_copy *c;

	while ((c = TAILQ_FIRST(&i->copies))) {
		err_set(&c->err, "it is closed");
		end(c);
	}
}
