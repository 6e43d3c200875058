/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * filter_host.h -- the host of a pmilter module whose filter is the input of a fuzz target. A
 * target includes the module's header, says what its conf and the filter's greeting are and how the
 * input becomes a command of the filter, and plays: two sessions ask, reset, end and cancel as the
 * input says, and in between the filter says what it says.
 *
 * Promises, whatever that is: each question is finished once; a verdict is one by meta1/pmilter.h
 * and can be read until the next call; nobody is asked about a message after its end; at the end no
 * memory, connection or timer is left. Memory is a block of its own each, so that ASan sees the
 * rest.
 *
 * over 500 lines: a whole host in one file, which two targets include.
 */
#ifndef META1_FUZZ_FILTER_HOST_H
#define META1_FUZZ_FILTER_HOST_H
#include "fuzz.h"

#include <meta1/pmilter.h>
#include <sys/queue.h>

#define FH_SESSIONS 2
#define FH_EDITS    4096u /* of an answer */

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

/* ---- what a target says ---- */

extern const struct meta1_module *const fh_module;
extern const void *const fh_conf;
/* A filter that wants all, in its own protocol. */
static struct meta1_buf fh_greeting(void);
/* A command of the filter; session: of the connection that speaks, as the protocol counts. Static.
 */
static struct meta1_buf fh_command(struct fh_in *in);
/* The same, with 30,000 bytes of a new message in it. */
static struct meta1_buf fh_long(struct fh_in *in);
/* What the module said to the filter since the last call. */
static void fh_said(struct meta1_buf all);

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

/* ---- sessions ---- */

struct fh_sess {
	void *sess;
	int begun;
	struct meta1_pm_about about;
	struct meta1_req req;
	uint32_t stage;
	char *message; /* until the question about it is over */
	struct meta1_extent extent[2];
	struct meta1_pm_message msg;
	const struct meta1_pm_verdict *v; /* of the last question, until the next call */
};
static struct fh_sess fh_sess[FH_SESSIONS];
static void *fh_inst;
static const struct meta1_pmilter_ops *fh_ops;

static unsigned fh_sum; /* so that reading is not left out */

static void fh_read(const void *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		fh_sum += ((const unsigned char *)p)[i];
}

static void fh_edit(const struct meta1_pm_edit *e)
{
	must(e->kind >= META1_PM_ADD_HEADER && e->kind <= META1_PM_SENDER);
	must(e->name.data || e->kind > META1_PM_CHANGE_HEADER);
	must(e->value.data || e->kind < META1_PM_ADD_RCPT);
	fh_read(e->name.data, e->name.len);
	fh_read(e->value.data, e->value.len);
	fh_read(e->param.data, e->param.len);
	for (uint32_t i = 0; i < e->nextent; i++)
		if (e->extent[i].mem)
			fh_read(e->extent[i].mem, e->extent[i].len);
}

static void fh_verdict(const struct fh_sess *s)
{
	const struct meta1_pm_verdict *v = s->v;

	if (!v)
		return;
	must(v->size == sizeof(*v) && v->action <= META1_PM_DISCARD);
	must(v->smtp == 0 || (v->smtp >= 400 && v->smtp <= 599));
	must(memchr(v->dsn, '\0', sizeof(v->dsn)) != NULL && v->nline <= 100);
	for (uint32_t i = 0; i < v->nline; i++)
		fh_read(v->line[i].data, v->line[i].len);
	fh_read(v->hold, v->hold ? strlen(v->hold) : 0);
	fh_read(v->note, v->note ? strlen(v->note) : 0);
	must(s->stage == META1_PM_END || (!v->hold && v->nedit == 0));
	must(v->action <= META1_PM_ACCEPT || (!v->hold && v->nedit == 0));
	must(v->nedit <= FH_EDITS && (v->nedit == 0 || v->sizeof_edit == sizeof(*v->edit)));
	for (uint32_t i = 0; i < v->nedit; i++)
		fh_edit(&v->edit[i]);
}

static void fh_finish(struct meta1_req *rq, enum meta1_status st, const struct meta1_reply *r)
{
	struct fh_sess *s = rq->s;

	must(rq->open);
	rq->open = 0;
	must(st == META1_OK || (r && r->text));
	fh_read(r->text, r->text ? strlen(r->text) : 0);
	s->v = st == META1_OK ? r->ext : NULL;
	fh_verdict(s);
	free(s->message);
	s->message = NULL;
}

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

/* What was said last has to be there still; from now on it is not. */
static void fh_next(struct fh_sess *s)
{
	fh_verdict(s);
	s->v = NULL;
}

static void fh_begin(struct fh_sess *s)
{
	s->about = (struct meta1_pm_about){.size = sizeof(s->about),
	    .port = 25,
	    .hostname = "gw.test",
	    .version = "meta1-0.1",
	    .listener = "mx",
	    .client = "192.0.2.1",
	    .helo = "client.test",
	    .taid = "S1",
	    .from = {"a@b", 3}};
	s->begun = 1;
	if (!fh_ops->begin(fh_inst, &s->about, &s->sess))
		s->begun = 0; /* it wants none of it */
}

static void fh_message(struct fh_sess *s, struct meta1_pm_ask *ask)
{
	static const char text[] = "Subject: a\r\n\tb\r\nX :y\r\n\r\nbody\r\nand more of it\r\n";
	size_t n = sizeof(text) - 1, half = 30;

	s->message = malloc(n);
	memcpy(s->message, text, n);
	s->extent[0] = (struct meta1_extent){.mem = s->message, .len = half, .fd = -1};
	s->extent[1] = (struct meta1_extent){.mem = s->message + half, .len = n - half, .fd = -1};
	s->msg = (struct meta1_pm_message){
	    .size = sizeof(s->msg), .nextent = 2, .extent = s->extent, .bytes = n, .header = 25};
	ask->msg = &s->msg;
}

static void fh_ask(struct fh_sess *s, uint32_t stage)
{
	static const struct meta1_buf param = {"SIZE=1", 6}, rcpt = {"c@d", 3};
	char *arg = strdup("word");
	struct meta1_pm_ask ask = {.size = sizeof(ask),
	    .stage = stage,
	    .arg = {arg, 4},
	    .param = &param,
	    .nparam = stage == META1_PM_MAIL,
	    .rcpt = &rcpt,
	    .nrcpt = stage == META1_PM_END,
	    .refused = stage == META1_PM_REFUSED ? "550 5.1.1 no" : NULL};

	s->stage = stage;
	s->req = (struct meta1_req){.open = 1, .s = s};
	if (stage == META1_PM_END)
		fh_message(s, &ask);
	fh_ops->ask(s->sess, &s->req, &ask);
	free(arg);
}

static void fh_stop(struct fh_sess *s)
{
	if (!s->req.open)
		return;
	fh_ops->cancel(fh_inst, &s->req);
	must(!s->req.open); /* both modules let go at once */
}

static void fh_end(struct fh_sess *s)
{
	if (!s->begun)
		return;
	fh_stop(s);
	fh_next(s);
	fh_ops->end(&s->sess);
	must(s->sess == NULL);
	s->begun = 0;
}

/* ---- the play ---- */

static struct meta1_conn *fh_waiting(void)
{
	struct meta1_conn *c = fh_conns.lh_first;

	while (c && (c->connected || c->ended))
		c = c->all.le_next;
	return c;
}

static void fh_settle(void)
{
	struct meta1_conn *c;

	while ((c = fh_waiting())) {
		c->connected = 1;
		c->ev->connected(c->arg);
	}
	for (c = fh_conns.lh_first; c && !fh_stuck; c = c->all.le_next) {
		fh_flush(c);
		if (c->nout > 0)
			fh_said((struct meta1_buf){c->out, c->nout});
		c->nout = 0;
	}
}

static struct meta1_conn *fh_nth(uint8_t n)
{
	struct meta1_conn *c = fh_conns.lh_first;

	for (n %= 3; n > 0 && c; n--)
		c = c->all.le_next;
	return c && c->connected && !c->ended ? c : NULL;
}

static void fh_hear(struct meta1_conn *c, struct meta1_buf b)
{
	unsigned char *all;

	if (!c || b.len == 0)
		return;
	all = malloc(c->nin + b.len);
	if (c->nin)
		memcpy(all, c->in, c->nin);
	memcpy(all + c->nin, b.data, b.len);
	free(c->in);
	c->in = all;
	c->nin += b.len;
	c->ev->input(c->arg);
}

static void fh_gone(struct meta1_conn *c)
{
	if (!c)
		return;
	c->ended = 1;
	c->ev->gone(c->arg, "reset by the filter");
}

static void fh_tick(void)
{
	struct meta1_watch *w, *next;

	fh_clock += 40000;
	for (w = fh_watches.lh_first; w; w = next) {
		next = w->all.le_next;
		if (!w->armed)
			continue;
		w->armed = 0;
		w->fn(-1, 0, w->arg);
	}
}

static void fh_op(struct fh_in *in)
{
	uint8_t op = fh_take(in);
	struct fh_sess *s = &fh_sess[(op >> 4) % FH_SESSIONS];
	struct meta1_conn *c = fh_nth(op >> 5);

	switch (op % 16) {
	case 0:
		fh_hear(c, fh_block(in));
		break;
	case 1:
		fh_hear(c, fh_greeting());
		break;
	case 2:
		fh_gone(c);
		break;
	case 3:
		fh_tick();
		break;
	case 4:
		fh_stuck = !fh_stuck;
		break;
	case 5:
		if (s->begun && !s->req.open) {
			fh_next(s);
			fh_ops->reset(s->sess);
		}
		break;
	case 6:
		fh_stop(s);
		break;
	case 7:
		fh_end(s);
		break;
	case 8: /* to the next case */
	case 9:
		if (!s->begun)
			fh_begin(s);
		if (s->begun && !s->req.open) {
			fh_next(s);
			fh_ask(s, 1u << fh_take(in) % 8);
		}
		break;
	case 10:
		fh_work();
		break;
	case 11:
		fh_hear(c, fh_long(in));
		break;
	default:
		fh_hear(c, fh_command(in));
		break;
	}
	fh_settle();
}

static void fh_play(const uint8_t *data, size_t n)
{
	struct fh_in in = {data, n};
	struct meta1_pm_state st = {.size = sizeof(st)};
	struct meta1_err err = {""};
	struct meta1_conn *c;

	fh_stuck = 0;
	fh_clock = 1000;
	memset(fh_sess, 0, sizeof(fh_sess));
	fh_ops = fh_module->ops;
	must(fh_module->check(fh_conf, &err) == 0);
	must(fh_module->open(&fh_host, NULL, fh_conf, &fh_inst, &err) == 0);
	while (in.n > 0)
		fh_op(&in);
	fh_ops->state(fh_inst, &st);
	must(memchr(st.peer, '\0', sizeof(st.peer)) != NULL);
	for (unsigned i = 0; i < FH_SESSIONS; i++)
		fh_end(&fh_sess[i]);
	fh_work();
	fh_module->close(fh_inst);
	while ((c = fh_conns.lh_first)) /* those are an instance's, and go with it */
		fh_close(&c);
	must(fh_allocs == 0 && !fh_watches.lh_first);
}

#endif
