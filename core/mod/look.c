/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * look.c -- a map look-up through the law of requests, measured; or inside the call, of a map that
 * has find(); and maps that say META1_F_BLOCKING: their lookup() runs on a worker thread, one at a
 * time, with a host table of what may be called there. The asker cannot tell.
 * Comes from roles and from ask.c; goes to the module's lookup() or find().
 * Owns nothing: the key is copied into the request.
 * On failure: TEMPFAIL on a later turn, with the reason as text.
 */
#include "mod/inst.h"

#include "lib/log.h"
#include "lib/metric.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

METRIC_COUNTER(m_slow, "module_slow_lookups_total", "Look-ups that held the loop over 10 ms.");

static int64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* What holds the loop holds every session; said once a minute, counted always. */
static void measured(struct mod_inst *in, int64_t us)
{
	if (us <= MOD_SLOW_MS * 1000)
		return;
	m_slow.value++;
	in->table.count((struct meta1_ctx *)in, "slow_total", 1);
	if (now_us() / 1000 - in->slow_said < 60000)
		return;
	in->slow_said = now_us() / 1000;
	log_event(LOG_L_WARN, "module.slow", "instance=%s ms=%lld limit_ms=%d", in->name,
	    (long long)(us / 1000), MOD_SLOW_MS);
}

/* ---- on a worker thread ---- */

struct look {
	struct mod_inst *in;
	struct meta1_req *rq;
	struct meta1_buf key;
};

static const struct meta1_map_ops *ops_of(const struct mod_inst *in)
{
	return in->m->ops;
}

static void look_work(void *arg)
{
	struct look *k = arg;

	if (!mod_req_gone(k->rq))
		ops_of(k->in)->lookup(k->in->data, k->rq, k->key);
}

static void look_done(void *arg)
{
	struct look k = *(struct look *)arg;

	mod_req_job_end(k.rq);
	k.in->jobs--;
	mod_settled(k.in);
	mod_unref(k.in);
}

static void look_offload(struct mod_inst *in, struct meta1_req *rq, struct meta1_buf key)
{
	struct look *k = mod_req_arena(rq, sizeof(*k));

	if (!k) {
		mod_req_refuse(rq, "no memory for the look-up");
		return;
	}
	*k = (struct look){in, rq, key};
	mod_req_job(rq, true);
	if (!work_do(in->host->work, &in->owner, look_work, look_done, k)) {
		mod_req_job(rq, false);
		mod_req_refuse(rq, "too many look-ups wait for a thread");
		return;
	}
	in->jobs++;
	mod_ref(in);
}

/* ---- inside the call ---- */

bool mod_map_finds(const struct mod_inst *in)
{
	const struct meta1_map_ops *ops = ops_of(in);

	return META1_HAS(ops, find) && ops->find;
}

enum meta1_status mod_map_find(struct mod_inst *in, struct meta1_buf key, struct meta1_reply *r)
{
	*r = (struct meta1_reply){.size = sizeof(*r)};
	if (!in->draining)
		return ops_of(in)->find(in->data, key, r);
	r->text = "the map is being closed";
	return META1_TEMPFAIL;
}

void mod_map_held(struct mod_inst *in, int64_t us)
{
	measured(in, us);
}

/* ---- for the asker ---- */

struct meta1_req *mod_map_lookup(
    struct mod_inst *in, struct meta1_buf key, int64_t deadline_ms, mod_done_fn done, void *arg)
{
	struct meta1_req *rq = mod_req(in, deadline_ms, done, arg);
	struct meta1_reply r;
	char *copy;
	int64_t t;

	if (!rq) {
		rq = mod_req_new(in, deadline_ms, done, arg);
		mod_req_refuse(rq, in->draining ? "the map is being closed"
						: "too many look-ups are open in this map");
		return rq;
	}
	t = now_us();
	if (mod_map_finds(in)) {
		enum meta1_status st = mod_map_find(in, key, &r);

		mod_req_answer(rq, st, &r);
		measured(in, now_us() - t);
		return rq;
	}
	copy = mod_req_arena(rq, key.len);
	if (!copy) {
		mod_req_refuse(rq, "the key is too long");
		return rq;
	}
	if (key.len)
		memcpy(copy, key.data, key.len);
	key.data = copy;
	if (in->blocking) {
		look_offload(in, rq, key);
		return rq;
	}
	ops_of(in)->lookup(in->data, rq, key);
	measured(in, now_us() - t);
	return rq;
}

/* ---- the table of a blocking module: what may be called from its thread ---- */

struct line {
	struct mod_inst *in;
	enum meta1_level level;
	char text[1024];
};

static void line_out(void *arg)
{
	struct line *l = arg;

	mod_log(l->in, l->level, l->text);
	mod_unref(l->in);
	free(l);
}

static void thread_log(struct meta1_ctx *ctx, enum meta1_level level, const char *fmt, ...)
{
	struct line *l = malloc(sizeof(*l));
	va_list ap;

	if (!l)
		return;
	l->in = inst_of(ctx);
	l->level = level;
	va_start(ap, fmt);
	vsnprintf(l->text, sizeof(l->text), fmt, ap);
	va_end(ap);
	mod_ref(l->in);
	if (loop_post(l->in->host->loop, line_out, l) < 0) {
		mod_unref(l->in);
		free(l);
	}
}

static int64_t thread_now(struct meta1_ctx *ctx)
{
	(void)ctx;
	return now_us() / 1000;
}

static int64_t thread_wall(struct meta1_ctx *ctx)
{
	(void)ctx;
	return time(NULL);
}

static struct meta1_watch *no_watch_fd(
    struct meta1_ctx *ctx, int fd, short what, void (*cb)(int, short, void *), void *arg)
{
	(void)ctx, (void)fd, (void)what, (void)cb, (void)arg;
	return NULL;
}

static struct meta1_watch *no_watch_timer(
    struct meta1_ctx *ctx, int64_t msec, void (*cb)(int, short, void *), void *arg)
{
	(void)ctx, (void)msec, (void)cb, (void)arg;
	return NULL;
}

static enum meta1_status no_offload(
    struct meta1_ctx *ctx, void (*work)(void *), void (*done)(void *), void *arg)
{
	(void)ctx, (void)work, (void)done, (void)arg;
	return META1_TEMPFAIL;
}

static struct meta1_mapref *no_map(struct meta1_ctx *ctx, const char *name)
{
	(void)ctx, (void)name;
	return NULL;
}

static struct meta1_conn *no_conn(struct meta1_ctx *ctx, const struct meta1_hop *hop,
    int64_t timeout, const struct meta1_conn_events *ev, void *arg, struct meta1_err *err)
{
	(void)ctx, (void)hop, (void)timeout, (void)ev, (void)arg;
	err_set(err, "a blocking module makes its own connections");
	return NULL;
}

static const struct meta1_conn_ops no_conn_ops = {
    .size = offsetof(struct meta1_conn_ops, line), .open = no_conn};

struct unanswered {
	void (*cb)(void *, enum meta1_status, const struct meta1_reply *);
	void *arg;
};

static void unanswered(void *arg)
{
	struct meta1_reply r = {
	    .size = sizeof(r), .text = "a blocking module cannot ask other maps or DNS"};
	struct unanswered u = *(struct unanswered *)arg;

	free(arg);
	u.cb(u.arg, META1_TEMPFAIL, &r);
}

static void no_answer(struct meta1_ctx *ctx,
    void (*cb)(void *, enum meta1_status, const struct meta1_reply *), void *arg)
{
	struct unanswered *u = malloc(sizeof(*u));

	if (!u)
		return;
	*u = (struct unanswered){cb, arg};
	inst_of(ctx)->table.post(ctx, unanswered, u);
}

static void no_map_lookup(struct meta1_ctx *ctx, struct meta1_mapref *ref, struct meta1_buf key,
    int64_t deadline, void (*cb)(void *, enum meta1_status, const struct meta1_reply *), void *arg)
{
	(void)ref, (void)key, (void)deadline;
	no_answer(ctx, cb, arg);
}

static void no_dns(struct meta1_ctx *ctx, const char *name, uint16_t type, int64_t deadline,
    void (*cb)(void *, enum meta1_status, const struct meta1_reply *), void *arg)
{
	(void)name, (void)type, (void)deadline;
	no_answer(ctx, cb, arg);
}

static void changed_out(void *arg)
{
	struct mod_inst *in = arg;

	if (in->host->changed)
		in->host->changed(in->host->changed_arg);
	mod_unref(in);
}

static void thread_changed(struct meta1_ctx *ctx)
{
	struct mod_inst *in = inst_of(ctx);

	mod_ref(in);
	if (loop_post(in->host->loop, changed_out, in) < 0)
		mod_unref(in);
}

static struct event_base *no_base(struct meta1_ctx *ctx)
{
	(void)ctx;
	return NULL;
}

/* Its thread sleeps while the loop runs: what lives on the loop is not for it. Left are log,
 * counters, memory, clocks, post() and the requests. */
void mod_blocking_table(struct meta1_host *t)
{
	t->log = thread_log;
	t->now = thread_now;
	t->wall = thread_wall;
	t->watch_fd = no_watch_fd;
	t->watch_timer = no_watch_timer;
	t->offload = no_offload;
	t->base = no_base;
	t->map = no_map;
	t->map_lookup = no_map_lookup;
	t->dns = no_dns;
	t->changed = thread_changed;
	t->conn = &no_conn_ops;
}
