/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue_store.c -- the store under test: opened, asked; the ledger.
 * Comes from: queue.c, queue_crash.c. Goes to: the module through the host.
 * Owns: the instances of a struct q. On failure: the caller's kit_ok() says which step.
 */
#include "queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void text(char out[32], struct meta1_buf b)
{
	snprintf(out, 32, "%.*s", (int)b.len, b.len ? (const char *)b.data : "");
}

static void keep(struct q_entry *x, const struct meta1_qentry *e)
{
	*x = (struct q_entry){
	    .ref = e->ref, .key = e->key, .bytes_stored = e->bytes_stored, .nrcpt = e->env->nrcpt};
	snprintf(x->id, sizeof(x->id), "%s", e->id);
	text(x->envid, e->env->envid);
	if (META1_HAS(e->env, hold) && e->env->flags & META1_M_HOLD)
		text(x->hold, e->env->hold);
	for (uint32_t i = 0; i < e->env->nrcpt && i < 4; i++) {
		const struct meta1_qrcpt *r =
		    (const void *)((const char *)e->env->rcpt + (size_t)i * e->env->sizeof_rcpt);

		x->state[i] = r->state;
		x->tries[i] = r->tries;
		x->next_try[i] = r->next_try;
		text(x->reason[i], r->reason);
		text(x->orcpt[i], r->orcpt);
		x->notify[i] = r->notify;
		x->flags[i] = r->flags;
		text(x->sender[i], r->sender);
		text(x->alias[i], r->alias);
	}
}

static void on_entry(void *arg, const struct meta1_qentry *e)
{
	struct q *q = arg;

	for (unsigned i = 0; i < q->n; i++)
		q->twice += strcmp(q->e[i].id, e->id) == 0;
	if (q->n < Q_MAX)
		keep(&q->e[q->n++], e);
}

static void on_loaded(void *arg, uint64_t key, const struct meta1_qentry *e, const char *why)
{
	struct q *q = arg;

	if (e && !why && q->got && q->ngot < Q_MAX && e->key == key)
		keep(&q->got[q->ngot++], e);
	q->nnone += !e && !why;
	q->nlost += why != NULL;
}

/* Every third one is just being read, the first time it is asked for. */
static bool on_moved(void *arg, const char *id, uint64_t key, const struct meta1_ref *ref)
{
	struct q *q = arg;

	for (unsigned i = 0; i < q->n; i++) {
		struct q_entry *e = &q->e[i];

		if (e->key != key || strcmp(e->id, id))
			continue;
		if (i % 3 == 0 && !e->asked++)
			return false;
		e->ref = *ref;
		q->moved++;
		return true;
	}
	q->strange++;
	return false;
}

static void on_space(void *arg, uint32_t writer, uint64_t unit)
{
	struct q *q = arg;

	if (q->space < Q_MAX) {
		q->unit[q->space].writer = writer;
		q->unit[q->space].unit = unit;
	}
	q->space++;
}

static void on_damage(void *arg, const char *text)
{
	struct q *q = arg;

	q->damage++;
	kit_note(q->k, "damage: %s", text);
}

static const struct meta1_qevents events = {.size = sizeof(events),
    .entry = on_entry,
    .space = on_space,
    .damage = on_damage,
    .loaded = on_loaded,
    .moved = on_moved,
    .history_time = 7 * 86400,
    .history_size = 256 << 10};

static struct kit_inst *open_as(struct q *q, enum meta1_role role)
{
	struct meta1_err e = {""};
	struct kit_inst *in;

	q->k->host.role = role;
	in = kit_open(q->k, NULL, &e);
	if (!in)
		kit_note(q->k, "open: %s", e.text);
	return in;
}

int q_open(struct q *q, struct kit *k, const char *dir, const char *which)
{
	memset(q, 0, sizeof(*q));
	q->k = k;
	q->ops = k->m->ops;
	snprintf(q->dir, sizeof(q->dir), "%s", dir);
	k->host.qdir = q->dir;
	if (q->ops->props & META1_Q_PRIVATE) {
		q->w = q->m = q->r = open_as(q, META1_TOOL);
		return q->w ? 0 : -1;
	}
	for (; *which; which++) {
		struct kit_inst **in = *which == 'w' ? &q->w : *which == 'm' ? &q->m : &q->r;

		*in = open_as(q, *which == 'w'	 ? META1_SMTPS
				 : *which == 'm' ? META1_QMGR
						 : META1_SMTPC);
		if (!*in)
			return -1;
	}
	return 0;
}

void q_close(struct q *q)
{
	if (q->ops->props & META1_Q_PRIVATE)
		q->m = q->r = NULL;
	if (q->w)
		kit_close(q->k, &q->w);
	if (q->r)
		kit_close(q->k, &q->r);
	if (q->m)
		kit_close(q->k, &q->m);
}

void q_turn(struct q *q)
{
	kit_turn(q->k);
	kit_clock(q->k, 5);
}

/* Turns of a wait after which a thread has what is waited for, or nobody. */
#define BUSY 100

/* A wait of the patience, in real time; some threads need it. */
struct wait {
	int64_t end;
	unsigned turns;
};

static bool goes_on(struct q *q, struct wait *w)
{
	struct timespec ts;
	int64_t now;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	now = (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
	if (!w->end)
		w->end = now + (int64_t)q->k->patience * 1000;
	if (now >= w->end)
		return false;
	if (w->turns++ > BUSY)
		usleep(1000);
	q_turn(q);
	return true;
}

bool q_wait(struct q *q, struct kit_answer *a)
{
	struct wait w = {0, 0};

	while (!a->told && goes_on(q, &w))
		;
	return a->told;
}

bool q_until(struct q *q, unsigned n)
{
	struct wait w = {0, 0};

	while (q->n < n && goes_on(q, &w))
		;
	return q->n >= n;
}

bool q_manage(struct q *q)
{
	struct kit_answer a = {0};
	bool ok;

	q->ops->manage(kit_data(q->m), kit_req(q->k, q->m, &a), &events, q);
	ok = q_wait(q, &a) && a.st == META1_OK;
	kit_answer_free(&a);
	return ok;
}

static void on_ready(void *arg)
{
	*(bool *)arg = true;
}

static bool ready;
static const struct meta1_qops_writer_events wevents = {.size = sizeof(wevents), .ready = on_ready};

struct meta1_qmsg *q_begin(struct q *q, unsigned i)
{
	struct meta1_qmsg *msg = NULL;
	struct meta1_err e = {""};
	char id[META1_ID_MAX];

	q_id(i, id);
	if (q->ops->begin(kit_data(q->w), id, &wevents, &ready, &msg, &e) == META1_OK)
		return msg;
	kit_note(q->k, "begin: %s", e.text);
	return NULL;
}

void q_commit(struct q *q, struct meta1_qmsg **msg, unsigned i, size_t len, struct kit_answer *a)
{
	struct meta1_qrcpt v[3];
	struct meta1_env env;

	q_envelope(i, len, &env, v);
	q->ops->commit(msg, kit_req(q->k, q->w, a), &env);
}

bool q_note(const struct kit_answer *a, struct q_note *n)
{
	if (!a->told || a->st != META1_OK || a->reply.nval != 1 ||
	    a->reply.val[0].len > META1_NOTICE_MAX)
		return false;
	n->len = a->reply.val[0].len;
	memcpy(n->b, a->reply.val[0].data, n->len);
	return true;
}

/* Writes in pieces and waits when it is told to. */
static bool write_all(struct q *q, struct meta1_qmsg *msg, const uint8_t *b, size_t len)
{
	struct wait w = {0, 0};

	for (size_t at = 0; at < len;) {
		size_t n = len - at < 60000 ? len - at : 60000;
		enum meta1_status st;

		ready = false;
		st = q->ops->write(msg, b + at, n);
		at += n;
		if (st == META1_TEMPFAIL)
			return true; /* commit says why */
		if (q->ops->written(msg) != at)
			return false;
		while (st == META1_MORE && !ready)
			if (!goes_on(q, &w))
				return false;
	}
	return true;
}

bool q_store(struct q *q, unsigned i, size_t len, struct q_note *note, enum meta1_status *st)
{
	uint8_t *b = base_alloc(len + 2);
	struct meta1_qmsg *msg = q_begin(q, i);
	struct kit_answer a = {0};
	bool ok = false;

	q_fill(i, b, len);
	*st = META1_TEMPFAIL;
	if (msg && write_all(q, msg, b, len)) {
		q_commit(q, &msg, i, len, &a);
		ok = q_wait(q, &a);
		*st = a.st;
		if (ok && a.st == META1_OK && note)
			ok = q_note(&a, note);
		kit_answer_free(&a);
	} else if (msg) {
		q->ops->abort(&msg);
	}
	free(b);
	return ok;
}

void q_notice(struct q *q, unsigned i, size_t len, const struct q_note *n)
{
	struct meta1_qrcpt v[3];
	struct meta1_env env;
	char id[META1_ID_MAX];

	q_id(i, id);
	q_envelope(i, len, &env, v);
	q->ops->notice(kit_data(q->m), (struct meta1_buf){n->b, n->len}, id, &env);
}

void q_tail(struct q *q)
{
	uint8_t b[META1_NOTICE_MAX];
	size_t n = q->ops->tail(kit_data(q->w), b);

	if (n)
		q->ops->notice(kit_data(q->m), (struct meta1_buf){b, n}, NULL, NULL);
}

const struct q_entry *q_find(const struct q *q, unsigned i)
{
	char id[META1_ID_MAX];

	q_id(i, id);
	for (unsigned k = 0; k < q->n; k++)
		if (!strcmp(q->e[k].id, id))
			return &q->e[k];
	return NULL;
}

static bool same(const struct meta1_content *c, const uint8_t *b, size_t len)
{
	uint64_t at = 0;

	for (uint32_t i = 0; i < c->nextent; i++) {
		const struct meta1_extent *x = &c->extent[i];
		uint8_t *got;
		bool ok;

		if (at + x->len > len)
			return false;
		if (x->mem) {
			ok = !memcmp(x->mem, b + at, x->len);
		} else {
			got = base_alloc(x->len + 1);
			ok = pread(x->fd, got, x->len, (off_t)x->off) == (ssize_t)x->len &&
			     !memcmp(got, b + at, x->len);
			free(got);
		}
		if (!ok)
			return false;
		at += x->len;
	}
	return at == len && c->bytes_stored == len;
}

enum meta1_status q_check(struct q *q, const struct q_entry *e, unsigned i, size_t len)
{
	uint8_t *b = base_alloc(len + 2);
	struct kit_answer a = {0};
	enum meta1_status st;

	q_fill(i, b, len);
	q->ops->load(kit_data(q->r), kit_req(q->k, q->r, &a), &e->ref);
	st = q_wait(q, &a) ? a.st : META1_CANCELED;
	if (st == META1_OK) {
		struct meta1_content *c = (void *)(uintptr_t)a.reply.ext;

		if (!same(c, b, len))
			st = META1_NOTFOUND;
		q->ops->unload(kit_data(q->r), &c);
	}
	kit_answer_free(&a);
	free(b);
	return st;
}

bool q_outcome(struct q *q, unsigned i, uint32_t rcpt, uint32_t state)
{
	const struct q_entry *e = q_find(q, i);
	struct meta1_qoutcome o = {.size = sizeof(o),
	    .rcpt = rcpt,
	    .state = state,
	    .tries = 2,
	    .next_try = 777,
	    .reason = buf_str("451 later"),
	    .by = "the kit"};
	struct kit_answer a = {0};
	bool ok;

	if (!e)
		return false;
	o.id = e->id;
	o.key = e->key;
	q->ops->outcome(kit_data(q->m), kit_req(q->k, q->m, &a), &o);
	ok = q_wait(q, &a) && a.st == META1_OK;
	kit_answer_free(&a);
	return ok;
}

bool q_fetch(struct q *q, const uint64_t *key, unsigned n)
{
	struct kit_answer a = {0};
	bool ok;

	q->ngot = q->nnone = q->nlost = 0;
	q->ops->fetch(kit_data(q->m), kit_req(q->k, q->m, &a), key, n);
	ok = q_wait(q, &a) && a.st == META1_OK && q->ngot + q->nnone + q->nlost == n;
	kit_answer_free(&a);
	return ok;
}

static void on_fate(void *arg, const struct meta1_qfate *f)
{
	struct q_account *a = arg;

	(void)f;
	a->fates++;
}

static void on_found(void *arg, enum meta1_qfinding what, const char *text)
{
	struct q_account *a = arg;

	if (what == META1_QF_ORPHAN)
		return;
	a->found++;
	a->lost += what == META1_QF_LOST;
	snprintf(a->text, sizeof(a->text), "%s", text);
}

/* Each with its content. */
static bool on_message(void *arg, const struct meta1_qentry *e, const struct meta1_content *content)
{
	struct q_account *a = arg;

	a->waiting += e->env->nrcpt > 0 && content->bytes_stored == e->bytes_stored;
	return true;
}

bool q_account(struct kit *k, const char *dir, bool messages, struct q_account *a)
{
	struct meta1_qcheck ev = {.size = sizeof(ev),
	    .fate = on_fate,
	    .found = on_found,
	    .message = messages ? on_message : NULL};
	const struct meta1_queue_ops *ops = k->m->ops;
	static struct q q;
	struct meta1_err e = {""};
	bool ok;

	memset(a, 0, sizeof(*a));
	memset(&q, 0, sizeof(q));
	q.k = k;
	k->host.qdir = dir;
	q.w = open_as(&q, META1_TOOL);
	ok = q.w && META1_HAS(ops, check) && ops->check &&
	     ops->check(kit_data(q.w), &ev, a, &e) >= 0;
	if (!ok && !k->host.failed)
		kit_note(k, "check: %s", e.text);
	if (q.w)
		kit_close(k, &q.w);
	return ok;
}
