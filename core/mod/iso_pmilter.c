/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * iso_pmilter.c -- a filter whose module runs in a worker: hostile content is parsed there, and
 * what comes back is edits, which smtps checks as those of any filter. A session begins there with
 * its first question, so the stages that it wants are known with the first answer; until then all
 * are. Comes from smtps' chain; goes to iso_ask.c, content by iso_bytes.c. Owns sessions, each with
 * its last verdict. On failure: a temporary failure of the filter; sessions of a worker that ended
 * are over, smtps begins anew.
 */
#include "mod/iso.h"
#include "mod/iso_bytes.h"

#include <meta1/pmilter.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ALL_STAGES (2u * META1_PM_REFUSED - 1)

struct session {
	struct iso *iso;
	const struct meta1_pm_about *about;
	uint32_t id, life;
	bool begun; /* the worker knows it */
	/* the last verdict */
	uint8_t *bytes;
	struct pool pool;
	int fd[WIRE_FDS_MAX];
	unsigned nfd;
	struct meta1_pm_verdict verdict;
};

static void drop_verdict(struct session *s)
{
	while (s->nfd)
		close(s->fd[--s->nfd]);
	pool_clear(&s->pool);
	free(s->bytes);
	s->bytes = NULL;
}

static uint32_t begin(void *inst, const struct meta1_pm_about *about, void **sess)
{
	struct iso *i = inst;
	struct session *s = base_alloc(sizeof(*s));

	*s = (struct session){.iso = i, .about = about, .id = ++i->sessions, .life = i->life};
	pool_init(&s->pool, ISO_POOL_MAX);
	*sess = s;
	return ALL_STAGES;
}

static void fail(struct iso *i, struct meta1_req *rq, const char *why)
{
	struct meta1_reply r = {.size = sizeof(r), .text = why};

	i->in->table.finish(rq, META1_TEMPFAIL, &r);
}

static void ask(void *sess, struct meta1_req *rq, const struct meta1_pm_ask *q)
{
	struct session *s = sess;
	struct iso *i = s->iso;
	struct iso_pm_ask m = {.session = s->id,
	    .begin = !s->begun,
	    .stage = q->stage,
	    .nparam = q->param ? q->nparam : 0,
	    .nrcpt = q->rcpt ? q->nrcpt : 0,
	    .ms = iso_left(i, rq),
	    .about = s->about,
	    .arg = q->arg,
	    .param = q->param,
	    .rcpt = q->rcpt,
	    .refused = q->refused};
	struct iso_piece *piece = NULL;
	struct meta1_err err = {""};
	struct iso_bytes b;

	drop_verdict(s);
	if (s->begun && s->life != i->life) {
		fail(i, rq, "its worker process ended since the session began");
		return;
	}
	iso_bytes_init(&b);
	if (q->msg) {
		m.bytes = q->msg->bytes;
		m.header = q->msg->header;
		m.npiece = q->msg->nextent;
		if (!iso_bytes_put(&b, q->msg->extent, m.npiece, false, &s->pool, &piece, &err)) {
			iso_bytes_drop(&b);
			fail(i, rq, err.text);
			return;
		}
		m.piece = piece;
	}
	if (!s->begun)
		s->life = i->life;
	if (iso_put(i, rq, ISO_PM_ASK, &iso_shape_pm_ask, &m, b.fd, b.nfd, s))
		s->begun = true;
	pool_clear(&s->pool);
}

/* The verdict in the session's memory; false: there is nonsense in it. */
static bool take_edits(struct session *s, const struct iso_pm_answer *m)
{
	struct meta1_pm_edit *e = pool_try(&s->pool, (m->nedit + 1) * sizeof(*e));
	uint64_t left;

	if (!e || !iso_bytes_sealed(s->fd, s->nfd, &left))
		return false;
	for (uint32_t k = 0; k < m->nedit; k++) {
		const struct iso_pm_edit *from = &m->edit[k];

		e[k] = (struct meta1_pm_edit){.kind = from->kind,
		    .index = from->index,
		    .flags = from->flags,
		    .nextent = from->npiece,
		    .name = from->name,
		    .value = from->value,
		    .param = from->param};
		e[k].extent =
		    iso_bytes_get(from->piece, from->npiece, s->fd, s->nfd, &left, &s->pool);
		if (!e[k].extent)
			return false;
	}
	s->verdict.edit = m->nedit ? e : NULL;
	s->verdict.nedit = m->nedit;
	s->verdict.sizeof_edit = sizeof(*e);
	return true;
}

static bool answered(struct iso *i, struct iso_ask *a, struct wire_frame *f)
{
	struct session *s = a->of;
	struct iso_pm_answer m = {0};
	struct meta1_reply r = {.size = sizeof(r)};
	bool ok;

	s->bytes = base_alloc(f->n + 1);
	memcpy(s->bytes, f->p, f->n);
	s->nfd = f->nfd;
	memcpy(s->fd, f->fd, f->nfd * sizeof(int));
	for (unsigned k = 0; k < f->nfd; k++)
		f->fd[k] = -1;
	ok = shape_unpack(&iso_shape_pm_answer, s->bytes, f->n, &s->pool, &m) &&
	     m.status <= META1_CANCELED && m.status != META1_MORE &&
	     (m.status != META1_OK || m.verdict);
	if (ok && m.reply)
		r = *m.reply;
	if (ok && m.status == META1_OK) {
		s->verdict = *m.verdict;
		ok = take_edits(s, &m);
		r.ext = &s->verdict;
	}
	if (ok)
		i->in->table.finish(a->rq, (enum meta1_status)m.status, &r);
	else
		fail(i, a->rq, "its worker process talks nonsense");
	return ok;
}

static void tell(struct session *s, uint16_t type)
{
	const struct iso_session m = {.session = s->id};

	if (s->begun && s->life == s->iso->life && s->iso->state == ISO_UP)
		wire_send(s->iso->wire, type, 0, &iso_shape_session, &m, NULL, 0);
}

static void reset(void *sess)
{
	struct session *s = sess;

	drop_verdict(s);
	tell(s, ISO_PM_RESET);
}

static void end(void **sess)
{
	struct session *s = *sess;

	*sess = NULL;
	if (!s)
		return;
	tell(s, ISO_PM_END);
	drop_verdict(s);
	free(s);
}

static void state(void *inst, struct meta1_pm_state *st)
{
	struct iso *i = inst;

	st->connected = i->state == ISO_UP;
	if (st->connected)
		snprintf(st->peer, sizeof(st->peer), "process %u", i->pid);
}

static const struct meta1_pmilter_ops ops = {.size = sizeof(ops),
    .begin = begin,
    .ask = ask,
    .reset = reset,
    .end = end,
    .cancel = iso_cancel,
    .state = state};
const struct iso_kind iso_pmilter = {
    .kind = META1_PMILTER, .name = "pmilter", .ops = &ops, .answered = answered};
