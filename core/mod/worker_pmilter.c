/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * worker_pmilter.c -- sessions of smtps with the filter of this worker.
 * Comes from worker.c with frames; goes to the module's begin(), ask(), reset(), end().
 * Owns sessions, what the module sees of each, and each question with its content until it is
 * answered. On failure: as the filter says; a question of no session is nonsense, the role's end.
 */
#include "mod/worker.h"

#include "mod/iso_bytes.h"

#include <meta1/pmilter.h>
#include <stdlib.h>

struct session {
	UT_hash_handle hh;
	uint32_t id, wants;
	void *sess;
	struct meta1_pm_about about; /* at the same address until end() */
	/* what about points to; replaced with each question */
	uint8_t *bytes;
	struct pool pool;
};
struct question { /* of one worker_ask: its content, and whose it is */
	struct worker_given given;
	struct session *s;
	struct meta1_pm_message msg;
};

static const struct meta1_pmilter_ops *ops_of(const struct worker *w)
{
	return w->in->m->ops;
}

static struct session *find(struct worker *w, uint32_t id)
{
	struct session *all = w->state, *s;

	HASH_FIND(hh, all, &id, sizeof(id), s);
	return s;
}

/* ---- the answer ---- */

static bool edits(const struct meta1_pm_verdict *v, struct iso_bytes *b, struct pool *pool,
    struct iso_pm_edit **out, struct meta1_err *err)
{
	struct iso_pm_edit *e = *out = pool_try(pool, (v->nedit + 1) * sizeof(*e));
	struct iso_piece *piece;

	if (!e) {
		err_set(err, "the filter makes too many edits");
		return false;
	}
	for (uint32_t k = 0; k < v->nedit; k++, e++) {
		const struct meta1_pm_edit *from =
		    (const void *)((const char *)v->edit + (size_t)k * v->sizeof_edit);
		bool content = from->kind == META1_PM_BODY || from->kind == META1_PM_MESSAGE;

		*e = (struct iso_pm_edit){.kind = from->kind,
		    .index = from->index,
		    .flags = from->flags,
		    .npiece = content ? from->nextent : 0,
		    .name = from->name,
		    .value = from->value,
		    .param = from->param};
		if (!iso_bytes_put(b, from->extent, e->npiece, true, pool, &piece, err))
			return false;
		e->piece = piece;
	}
	if (!iso_bytes_seal(b)) {
		err_set(err, "memory of the edits cannot be sealed");
		return false;
	}
	return true;
}

static void said(void *arg, enum meta1_status st, const struct meta1_reply *reply)
{
	struct worker_ask *a = arg;
	struct question *q = a->of;
	const struct meta1_pm_verdict *v = reply->ext;
	struct meta1_pm_verdict none = {.size = sizeof(none), .action = META1_PM_CONTINUE};
	struct iso_pm_answer m = {.status = st, .reply = reply};
	struct meta1_reply why = {.size = sizeof(why)};
	struct iso_pm_edit *edit;
	struct meta1_err err = {""};
	struct iso_bytes b;
	struct pool pool;

	a->req = NULL;
	iso_bytes_init(&b);
	pool_init(&pool, ISO_POOL_MAX);
	if (st == META1_OK) {
		if (v)
			q->s->wants = v->wants;
		none.wants = q->s->wants;
		m.verdict = v ? v : &none;
		if (!edits(m.verdict, &b, &pool, &edit, &err)) {
			iso_bytes_drop(&b);
			why.text = err.text;
			m = (struct iso_pm_answer){.status = META1_TEMPFAIL, .reply = &why};
		} else {
			m.nedit = m.verdict->nedit;
			m.edit = edit;
		}
	}
	worker_send(a, &iso_shape_pm_answer, &m, b.fd, b.nfd);
	pool_clear(&pool);
}

/* ---- the question ---- */

/* What the module sees of the session, as it is now. */
static bool know(struct session *s, const struct wire_frame *f)
{
	struct iso_pm_ask again;
	struct pool pool;
	uint8_t *bytes;

	bytes = base_alloc(f->n + 1);
	memcpy(bytes, f->p, f->n);
	pool_init(&pool, ISO_POOL_MAX);
	if (!shape_unpack(&iso_shape_pm_ask, bytes, f->n, &pool, &again) || !again.about) {
		pool_clear(&pool);
		free(bytes);
		return false;
	}
	pool_clear(&s->pool);
	free(s->bytes);
	s->bytes = bytes;
	s->pool = pool;
	s->about = *again.about;
	return true;
}

static struct session *session_new(struct worker *w, uint32_t id)
{
	struct session *all = w->state, *s = base_alloc(sizeof(*s));

	s->id = id;
	pool_init(&s->pool, ISO_POOL_MAX);
	HASH_ADD(hh, all, id, sizeof(s->id), s);
	w->state = all;
	return s;
}

static void nothing_to_say(struct worker_ask *a, const struct session *s)
{
	const struct meta1_pm_verdict v = {
	    .size = sizeof(v), .action = META1_PM_CONTINUE, .wants = s->wants};
	const struct iso_pm_answer m = {.status = META1_OK, .verdict = &v};

	worker_send(a, &iso_shape_pm_answer, &m, NULL, 0);
}

static void put(struct worker *w, struct worker_ask *a, struct session *s,
    const struct iso_pm_ask *m, const struct meta1_extent *content)
{
	struct question *q = a->of;
	struct meta1_pm_ask ask = {.size = sizeof(ask),
	    .stage = m->stage,
	    .arg = m->arg,
	    .param = m->param,
	    .nparam = m->nparam,
	    .nrcpt = m->nrcpt,
	    .rcpt = m->rcpt,
	    .refused = m->refused};

	q->msg = (struct meta1_pm_message){.size = sizeof(q->msg),
	    .nextent = m->npiece,
	    .extent = content,
	    .bytes = m->bytes,
	    .header = m->header};
	ask.msg = m->stage == META1_PM_END ? &q->msg : NULL;
	worker_begin(a, m->ms, said);
	ops_of(w)->ask(s->sess, a->req, &ask);
}

static bool on_ask(struct worker *w, struct wire_frame *f)
{
	struct iso_pm_ask m;
	struct worker_ask *a = worker_given(w, f, &iso_shape_pm_ask, &m, sizeof(struct question));
	const struct meta1_extent *content;
	struct question *q;
	struct session *s;

	if (!a)
		return false;
	q = a->of;
	content = iso_bytes_get(m.piece, m.npiece, q->given.fd, q->given.nfd, NULL, &q->given.pool);
	s = find(w, m.session);
	if (!content || !s == !m.begin)
		return false;
	if (!s)
		s = session_new(w, m.session);
	q->s = s;
	if (!know(s, f))
		return false;
	if (m.begin)
		s->wants = ops_of(w)->begin(w->in->data, &s->about, &s->sess);
	if (s->wants & m.stage)
		put(w, a, s, &m, content);
	else
		nothing_to_say(a, s);
	return true;
}

static void session_end(struct worker *w, struct session *s)
{
	struct session *all = w->state;

	HASH_DEL(all, s);
	w->state = all;
	if (s->sess)
		ops_of(w)->end(&s->sess);
	pool_clear(&s->pool);
	free(s->bytes);
	free(s);
}

static bool on_session(struct worker *w, struct wire_frame *f)
{
	uint32_t id;
	struct session *s = worker_session(f, &id) ? find(w, id) : NULL;

	if (s && f->type == ISO_PM_END)
		session_end(w, s);
	else if (s && s->sess)
		ops_of(w)->reset(s->sess);
	return s != NULL;
}

static int frame(struct worker *w, struct wire_frame *f)
{
	if (f->type == ISO_PM_ASK)
		return on_ask(w, f) ? 1 : -1;
	if (f->type == ISO_PM_RESET || f->type == ISO_PM_END)
		return on_session(w, f) ? 1 : -1;
	return 0;
}

static void end(struct worker *w)
{
	while (w->state)
		session_end(w, w->state);
}

const struct worker_kind worker_pmilter = {.kind = META1_PMILTER, .frame = frame, .end = end};
