/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * filter_play.h -- a pmilter module whose filter is the input of a fuzz target. A target includes
 * the module's header, says what its conf and the filter's greeting are and how the input becomes a
 * command of the filter, and plays: two sessions ask, reset, end and cancel as the input says, and
 * in between the filter says what it says.
 *
 * Promises, whatever that is: each question is finished once; a verdict is one by meta1/pmilter.h
 * and can be read until the next call; nobody is asked about a message after its end; at the end no
 * memory, connection or timer is left.
 */
#ifndef META1_FUZZ_FILTER_PLAY_H
#define META1_FUZZ_FILTER_PLAY_H
#include "filter_host.h"

#define FH_SESSIONS 2
#define FH_EDITS    4096u /* of an answer */

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
