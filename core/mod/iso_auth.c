/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * iso_auth.c -- SASL mechanisms whose module runs in a worker: each step of an exchange is a
 * question. What offer() answers was asked before (mod_auth_ask), and is kept for each kind of
 * peer: what it says depends on TLS, what the admin demands, and a certificate.
 * Comes from smtps (server) and smtpc (client); goes to iso_ask.c. Owns exchanges, and what was
 * offered to whom. On failure: a temporary failure; exchanges of a worker that ended are over, what
 * it offered stays offered, and AUTH is not possible until the next one is there.
 */
#include "mod/iso.h"

#include <meta1/auth.h>
#include <stdio.h>
#include <stdlib.h>

#define OFFERS	 64   /* kinds of peers whose mechanisms are known */
#define NAMES	 512  /* bytes of their names */
#define FRESH_MS 1000 /* so long no peer of the kind has to wait for an answer */

struct offer {
	uint64_t digest; /* 0: none */
	uint32_t flags, bits, serial;
	int64_t told; /* ms; INT64_MIN: it is to be told yet */
	char names[NAMES];
};
struct offers {
	struct offer all[OFFERS];
	uint32_t serial; /* of the last one; the one to be forgotten first follows from it */
};
struct exchange {
	struct iso *iso;
	uint32_t id, life;
	bool begun; /* the worker knows it */
};

/* ---- what is offered ---- */

static uint64_t add(uint64_t h, const void *p, size_t n)
{
	const uint8_t *b = p;

	for (size_t i = 0; i < n; i++)
		h = (h ^ b[i]) * 0x100000001b3;
	return (h ^ 0xff) * 0x100000001b3;
}

/* Of what makes a peer unlike others but for flags and strength, which stand beside it. Two that
 * have the same one are offered the same; the module judges each by itself. */
static uint64_t digest(const struct meta1_auth_peer *p)
{
	uint64_t h = 0xcbf29ce484222325;

	h = add(h, p->external, p->external ? strlen(p->external) : 0);
	h = add(h, p->binding, p->binding ? strlen(p->binding) : 0);
	h = add(h, p->cert.data, p->cert.len);
	return h ? h : 1;
}

static struct offer *find(struct iso *i, const struct meta1_auth_peer *p)
{
	struct offers *o = i->own;
	uint64_t d = digest(p);

	for (unsigned k = 0; o && k < OFFERS; k++)
		if (o->all[k].digest == d && o->all[k].flags == p->flags &&
		    o->all[k].bits == p->tls_bits)
			return &o->all[k];
	return NULL;
}

static struct offer *find_or_add(struct iso *i, const struct meta1_auth_peer *p)
{
	struct offer *found = find(i, p);
	struct offers *o;

	if (found)
		return found;
	if (!i->own)
		i->own = base_alloc(sizeof(struct offers));
	o = i->own;
	found = &o->all[++o->serial % OFFERS];
	*found = (struct offer){.digest = digest(p),
	    .flags = p->flags,
	    .bits = p->tls_bits,
	    .serial = o->serial,
	    .told = INT64_MIN};
	return found;
}

/* Whole names, as many as there is room for. */
static void copy_names(char *out, size_t size, struct meta1_buf names)
{
	const char *p = names.data;
	size_t n = names.len;

	if (n >= size)
		for (n = size - 1; n > 0 && p[n] != ' '; n--)
			;
	if (n)
		memcpy(out, p, n);
	out[n] = '\0';
}

static void offer(void *inst, const struct meta1_auth_peer *p, char *out, size_t size)
{
	const struct offer *o = find(inst, p);

	copy_names(out, size, buf_str(o ? o->names : ""));
}

bool mod_auth_knows(struct mod_inst *in, const struct meta1_auth_peer *p)
{
	struct iso *i = iso_of(in);
	const struct offer *o = i ? find(i, p) : NULL;

	return !i || (o && o->told != INT64_MIN && loop_now(in->host->loop) - o->told < FRESH_MS);
}

struct meta1_req *mod_auth_ask(struct mod_inst *in, const struct meta1_auth_peer *p,
    int64_t deadline_ms, mod_done_fn done, void *arg)
{
	struct iso *i = iso_of(in);
	struct meta1_req *rq = i ? mod_req(in, deadline_ms, done, arg) : NULL;
	struct iso_auth m = {.peer = p};

	if (!rq)
		return NULL;
	m.ms = iso_left(i, rq);
	iso_put(i, rq, ISO_AUTH_OFFER, &iso_shape_auth, &m, NULL, 0,
	    (void *)(uintptr_t)find_or_add(i, p)->serial);
	return rq;
}

/* Names of mechanisms as RFC 4422 has them, a blank between two: they stand in a reply. */
static bool are_names(struct meta1_buf b)
{
	const char *p = b.data;

	for (size_t k = 0; k < b.len; k++)
		if (!(p[k] >= 'A' && p[k] <= 'Z') && !(p[k] >= '0' && p[k] <= '9') && p[k] != '-' &&
		    p[k] != '_' && p[k] != ' ')
			return false;
	return true;
}

/* The place may be another's by now. */
static bool told(struct iso *i, uintptr_t serial, const struct iso_answer *m)
{
	struct offer *o = &((struct offers *)i->own)->all[serial % OFFERS];

	if (m->status != META1_OK || o->serial != serial)
		return true;
	if (!m->reply || m->reply->nval != 1 || !are_names(m->reply->val[0]))
		return false;
	copy_names(o->names, sizeof(o->names), m->reply->val[0]);
	o->told = loop_now(i->in->host->loop);
	return true;
}

/* ---- exchanges ---- */

static void ask(struct exchange *x, struct meta1_req *rq, enum iso_type type, struct iso_auth *m)
{
	struct iso *i = x->iso;

	m->conv = x->id;
	m->ms = iso_left(i, rq);
	if (x->begun && x->life != i->life) {
		mod_req_refuse(rq, "its worker process ended since the exchange began");
		return;
	}
	x->life = i->life;
	if (iso_put(i, rq, type, &iso_shape_auth, m, NULL, 0, NULL))
		x->begun = true;
}

static struct exchange *begin(struct iso *i, void **conv)
{
	struct exchange *x = base_alloc(sizeof(*x));

	*x = (struct exchange){.iso = i, .id = ++i->sessions};
	*conv = x;
	return x;
}

static void start(void *inst, struct meta1_req *rq, const struct meta1_auth_peer *p,
    const char *mech, const struct meta1_buf *first, void **conv)
{
	struct iso_auth m = {.peer = p, .mech = mech};

	if (first)
		m.in = buf_of(first->len ? first->data : "", first->len);
	ask(begin(inst, conv), rq, ISO_AUTH_START, &m);
}

static void login(void *inst, struct meta1_req *rq, const struct meta1_auth_peer *p,
    const char *mechs, const struct meta1_auth_creds *creds, void **conv)
{
	struct iso_auth m = {.peer = p, .mech = mechs, .creds = creds};

	ask(begin(inst, conv), rq, ISO_AUTH_LOGIN, &m);
}

static void step(void *conv, struct meta1_req *rq, struct meta1_buf in)
{
	struct iso_auth m = {.in = buf_of(in.len ? in.data : "", in.len)};

	ask(conv, rq, ISO_AUTH_STEP, &m);
}

static void end(void **conv)
{
	struct exchange *x = *conv;
	struct iso_auth m;

	*conv = NULL;
	if (!x)
		return;
	m = (struct iso_auth){.conv = x->id};
	if (x->begun && x->life == x->iso->life && x->iso->state == ISO_UP)
		wire_send(x->iso->wire, ISO_AUTH_END, 0, &iso_shape_auth, &m, NULL, 0);
	free(x);
}

static bool answered(struct iso *i, struct iso_ask *a, struct wire_frame *f)
{
	struct iso_answer m;
	struct pool pool;
	bool ok;

	pool_init(&pool, ISO_POOL_MAX);
	ok = shape_unpack(&iso_shape_answer, f->p, f->n, &pool, &m) && m.status <= META1_CANCELED &&
	     (!a->of || told(i, (uintptr_t)a->of, &m));
	if (ok)
		i->in->table.finish(a->rq, (enum meta1_status)m.status, m.reply);
	else
		mod_req_refuse(a->rq, "its worker process talks nonsense");
	pool_clear(&pool);
	return ok;
}

static const struct meta1_auth_ops ops = {.size = sizeof(ops),
    .offer = offer,
    .start = start,
    .login = login,
    .step = step,
    .end = end,
    .cancel = iso_cancel};
const struct iso_kind iso_auth = {
    .kind = META1_AUTH, .name = "auth", .ops = &ops, .answered = answered, .secret = true};
