/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * worker_auth.c -- exchanges of a role with the SASL mechanisms of this worker, and what they are.
 * Comes from worker.c with frames; goes to the module's offer(), start(), login(), step(), end().
 * Owns exchanges; what is secret stays in the frame, which is wiped. On failure: as the module
 * says; a step of no exchange is nonsense, the role's end.
 */
#include "mod/worker.h"

#include <meta1/auth.h>
#include <stdlib.h>

#define NAMES 512 /* bytes of the names of mechanisms */

struct exchange {
	UT_hash_handle hh;
	uint32_t id;
	void *conv;
};

static const struct meta1_auth_ops *ops_of(const struct worker *w)
{
	return w->in->m->ops;
}

static struct exchange *find(struct worker *w, uint32_t id)
{
	struct exchange *all = w->state, *x;

	HASH_FIND(hh, all, &id, sizeof(id), x);
	return x;
}

static struct exchange *exchange_new(struct worker *w, uint32_t id)
{
	struct exchange *all = w->state, *x;

	if (find(w, id))
		return NULL;
	x = base_alloc(sizeof(*x));
	x->id = id;
	HASH_ADD(hh, all, id, sizeof(x->id), x);
	w->state = all;
	return x;
}

static void exchange_end(struct worker *w, struct exchange *x)
{
	struct exchange *all = w->state;

	HASH_DEL(all, x);
	w->state = all;
	if (x->conv)
		ops_of(w)->end(&x->conv);
	free(x);
}

static void said(void *arg, enum meta1_status st, const struct meta1_reply *r)
{
	struct worker_ask *a = arg;

	a->req = NULL;
	worker_answer(a, st, r);
}

/* ---- one function a message: false: nonsense ---- */

static bool on_offer(struct worker *w, struct worker_ask *a, const struct iso_auth *m)
{
	char names[NAMES] = "";
	struct meta1_buf val;
	const struct meta1_reply r = {.size = sizeof(r), .nval = 1, .val = &val};

	if (!m->peer || !ops_of(w)->offer)
		return false;
	ops_of(w)->offer(w->in->data, m->peer, names, sizeof(names));
	val = buf_str(names);
	worker_answer(a, META1_OK, &r);
	return true;
}

static bool on_start(struct worker *w, struct worker_ask *a, const struct iso_auth *m)
{
	struct exchange *x =
	    m->peer && m->mech && ops_of(w)->start ? exchange_new(w, m->conv) : NULL;

	if (!x)
		return false;
	worker_begin(a, m->ms, said);
	ops_of(w)->start(
	    w->in->data, a->req, m->peer, m->mech, m->in.data ? &m->in : NULL, &x->conv);
	return true;
}

static bool on_login(struct worker *w, struct worker_ask *a, const struct iso_auth *m)
{
	struct exchange *x =
	    m->peer && m->mech && m->creds && ops_of(w)->login ? exchange_new(w, m->conv) : NULL;

	if (!x)
		return false;
	worker_begin(a, m->ms, said);
	ops_of(w)->login(w->in->data, a->req, m->peer, m->mech, m->creds, &x->conv);
	return true;
}

static bool on_step(struct worker *w, struct worker_ask *a, const struct iso_auth *m)
{
	struct exchange *x = find(w, m->conv);

	if (!x || !x->conv)
		return false;
	worker_begin(a, m->ms, said);
	ops_of(w)->step(x->conv, a->req, m->in);
	return true;
}

static const struct {
	uint16_t type;
	bool (*fn)(struct worker *, struct worker_ask *, const struct iso_auth *);
} handlers[] = {{ISO_AUTH_OFFER, on_offer}, {ISO_AUTH_START, on_start}, {ISO_AUTH_LOGIN, on_login},
    {ISO_AUTH_STEP, on_step}};

static bool on_question(struct worker *w, size_t k, struct wire_frame *f, const struct iso_auth *m)
{
	struct worker_ask *a = worker_ask(w, f->id, NULL);

	return a && handlers[k].fn(w, a, m);
}

static int frame(struct worker *w, struct wire_frame *f)
{
	struct exchange *x;
	struct iso_auth m;
	struct pool pool;
	int known = 0;

	if (f->type < ISO_AUTH_OFFER || f->type > ISO_AUTH_END)
		return 0;
	pool_init(&pool, ISO_POOL_MAX);
	if (!shape_unpack(&iso_shape_auth, f->p, f->n, &pool, &m)) {
		known = -1;
	} else if (f->type == ISO_AUTH_END) {
		x = find(w, m.conv);
		if (x)
			exchange_end(w, x);
		known = x ? 1 : -1;
	}
	for (size_t k = 0; !known && k < ARRAY_LEN(handlers); k++)
		if (handlers[k].type == f->type)
			known = on_question(w, k, f, &m) ? 1 : -1;
	pool_clear(&pool);
	return known;
}

static void end(struct worker *w)
{
	while (w->state)
		exchange_end(w, w->state);
}

const struct worker_kind worker_auth = {
    .kind = META1_AUTH, .frame = frame, .end = end, .secret = true};
