/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * filter_host.h -- the host of a pmilter module in a fuzz target: memory, timers, worker threads
 * and connections, which do nothing by themselves; filter_play.h says when. Memory is a block of
 * its own each, so that a sanitizer sees each read beyond its end.
 */
#ifndef META1_FUZZ_FILTER_HOST_H
#define META1_FUZZ_FILTER_HOST_H
#include "fuzz.h"

#include <meta1/pmilter.h>
#include <sys/queue.h>

struct fh_in { /* what is left of the input; 0 for ever at its end */
	const uint8_t *p;
	size_t n;
};

static inline uint8_t fh_take(struct fh_in *in)
{
	if (in->n == 0)
		return 0;
	in->n--;
	return *in->p++;
}

/* At most n bytes. */
static inline struct meta1_buf fh_bytes(struct fh_in *in, size_t n)
{
	struct meta1_buf b = {in->p, n < in->n ? n : in->n};

	in->p += b.len;
	in->n -= b.len;
	return b;
}

/* Two bytes of length, then as many. */
static inline struct meta1_buf fh_block(struct fh_in *in)
{
	size_t n = fh_take(in);

	return fh_bytes(in, n << 8 | fh_take(in));
}

/* ---- the host ---- */

struct fh_alloc {
	size_t n;
	_Alignas(16) unsigned char at[];
};
static unsigned fh_allocs;
static int64_t fh_clock;

struct meta1_watch {
	LIST_ENTRY(meta1_watch) all;
	void (*fn)(int, short, void *);
	void *arg;
	int armed;
};
static LIST_HEAD(, meta1_watch) fh_watches;

struct meta1_conn {
	LIST_ENTRY(meta1_conn) all;
	const struct meta1_conn_events *ev;
	void *arg;
	int connected, ended;
	unsigned char *in;
	size_t nin;
	unsigned char *out;
	size_t nout;
	struct meta1_extent sent[64]; /* by send(): not looked at before the kernel takes it */
	uint32_t nsent;
};
static LIST_HEAD(, meta1_conn) fh_conns;
static int fh_stuck; /* the filter reads nothing */

struct meta1_req {
	void *slot;
	int open;
	struct fh_sess *s;
};

static void fh_log(struct meta1_ctx *ctx, enum meta1_level level, const char *fmt, ...)
{
	(void)ctx, (void)level, (void)fmt;
}

static void fh_count(struct meta1_ctx *ctx, const char *name, int64_t n)
{
	(void)ctx, (void)name, (void)n;
}

static void *fh_get(struct meta1_ctx *ctx, size_t n)
{
	(void)ctx;
	fh_allocs++;
	return calloc(1, n > 0 ? n : 1);
}

static void fh_free(struct meta1_ctx *ctx, void *p)
{
	(void)ctx;
	must(!p || fh_allocs > 0);
	fh_allocs -= p != NULL;
	free(p);
}

static int64_t fh_now(struct meta1_ctx *ctx)
{
	(void)ctx;
	return fh_clock;
}

static struct meta1_watch *fh_timer(
    struct meta1_ctx *ctx, int64_t ms, void (*fn)(int, short, void *), void *arg)
{
	struct meta1_watch *w = calloc(1, sizeof(*w));

	(void)ctx;
	*w = (struct meta1_watch){.fn = fn, .arg = arg, .armed = ms >= 0};
	LIST_INSERT_HEAD(&fh_watches, w, all);
	return w;
}

static void fh_rearm(struct meta1_watch *w, int64_t ms)
{
	w->armed = ms >= 0;
}

static void fh_unwatch(struct meta1_watch **wp)
{
	struct meta1_watch *w = *wp;

	*wp = NULL;
	if (!w)
		return;
	LIST_REMOVE(w, all);
	free(w);
}

static void **fh_slot(struct meta1_req *rq)
{
	return &rq->slot;
}

static int64_t fh_deadline(struct meta1_req *rq)
{
	must(rq->open);
	return fh_clock + 1000;
}

static struct fh_job {
	void (*work)(void *), (*done)(void *);
	void *arg;
} fh_job[4];
static unsigned fh_jobs;

/* Worker threads, when the script lets them: fh_work(). */
static enum meta1_status fh_offload(
    struct meta1_ctx *ctx, void (*work)(void *), void (*done)(void *), void *arg)
{
	(void)ctx;
	if (fh_jobs == sizeof(fh_job) / sizeof(fh_job[0]))
		return META1_TEMPFAIL;
	fh_job[fh_jobs++] = (struct fh_job){work, done, arg};
	return META1_OK;
}

static void fh_work(void)
{
	struct fh_job j;

	while (fh_jobs > 0) {
		j = fh_job[--fh_jobs];
		j.work(j.arg);
		j.done(j.arg);
	}
}

/* ---- connections ---- */

static struct meta1_conn *fh_open(struct meta1_ctx *ctx, const struct meta1_hop *hop, int64_t ms,
    const struct meta1_conn_events *ev, void *arg, struct meta1_err *err)
{
	struct meta1_conn *c = calloc(1, sizeof(*c));

	(void)ctx, (void)err;
	must(hop->addr && ms > 0);
	c->ev = ev;
	c->arg = arg;
	LIST_INSERT_HEAD(&fh_conns, c, all);
	return c;
}

static void fh_out(struct meta1_conn *c, const void *p, size_t n)
{
	c->out = realloc(c->out, c->nout + n + 1);
	memcpy(c->out + c->nout, p, n);
	c->nout += n;
}

/* The kernel takes what send() left. */
static void fh_flush(struct meta1_conn *c)
{
	for (uint32_t i = 0; i < c->nsent; i++)
		fh_out(c, c->sent[i].mem, c->sent[i].len);
	c->nsent = 0;
}

static void fh_write(struct meta1_conn *c, const void *p, size_t n)
{
	must(!c->ended && c->connected);
	fh_flush(c);
	fh_out(c, p, n);
}

static void fh_send(struct meta1_conn *c, const struct meta1_extent *e, uint32_t n)
{
	must(!c->ended && c->connected);
	for (uint32_t i = 0; i < n; i++) {
		must(e[i].mem != NULL);
		if (c->nsent == sizeof(c->sent) / sizeof(c->sent[0]))
			fh_flush(c);
		c->sent[c->nsent++] = e[i];
	}
}

static void fh_timeout(struct meta1_conn *c, int64_t ms)
{
	(void)c, (void)ms;
}

static size_t fh_unsent(struct meta1_conn *c)
{
	return c->nsent;
}

static void fh_close(struct meta1_conn **cp)
{
	struct meta1_conn *c = *cp;

	*cp = NULL;
	if (!c)
		return;
	LIST_REMOVE(c, all);
	free(c->in);
	free(c->out);
	free(c);
}

static struct meta1_buf fh_peek(struct meta1_conn *c)
{
	return (struct meta1_buf){c->nin ? c->in : NULL, c->nin < 65536 ? c->nin : 65536};
}

/* What is left moves to a block of its own: the old one is not to be looked at any more. */
static void fh_take_off(struct meta1_conn *c, size_t n)
{
	unsigned char *left = malloc(c->nin - n + 1);

	must(n <= c->nin);
	memcpy(left, c->in + n, c->nin - n);
	free(c->in);
	c->in = left;
	c->nin -= n;
}

static const struct meta1_conn_ops fh_conn = {.size = sizeof(fh_conn),
    .open = fh_open,
    .write = fh_write,
    .send = fh_send,
    .timeout = fh_timeout,
    .unsent = fh_unsent,
    .close = fh_close,
    .peek = fh_peek,
    .take = fh_take_off};

/* ---- answers ---- */

static void fh_finish(struct meta1_req *, enum meta1_status, const struct meta1_reply *);

static const struct meta1_host fh_host = {.size = sizeof(fh_host),
    .version = "meta1-0.1",
    .hostname = "gw.test",
    .qdir = "/nonexistent",
    .log = fh_log,
    .count = fh_count,
    .alloc = fh_get,
    .free = fh_free,
    .watch_timer = fh_timer,
    .rearm = fh_rearm,
    .unwatch = fh_unwatch,
    .offload = fh_offload,
    .now = fh_now,
    .wall = fh_now,
    .req_slot = fh_slot,
    .req_deadline = fh_deadline,
    .finish = fh_finish,
    .conn = &fh_conn};

#endif
