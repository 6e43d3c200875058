/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * manager.c -- qmgr's face: notices in, entries out, outcomes to the journal.
 *
 * For each writer a cursor: a notice that follows it becomes an entry at once, from what it
 * brought; one from before it is ignored; one that lies ahead only moves "known", and
 * backlog.c reads what is between from the store. So nothing is held in memory for order.
 * Comes from: qmgr. Goes to: qmgr's entry(), space(), damage(); journal.c.
 * Owns: state/ and its lock. On failure: an outcome that cannot be recorded says TEMPFAIL.
 */
#include "log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct mwriter *manager_writer(struct manager *m, uint32_t number)
{
	struct mwriter *w;

	for (w = m->ws; w != NULL; w = w->next)
		if (w->number == number)
			return w;
	w = number <= LOG_QM ? calloc(1, sizeof(*w)) : NULL;
	if (w == NULL)
		return NULL;
	w->m = m;
	w->number = number;
	w->scan = true;
	w->attached = number == LOG_QM;
	w->next = m->ws;
	m->ws = w;
	return w;
}

void manager_damage(struct manager *m, const char *text)
{
	m->l->h->count(m->l->ctx, "damage", 1);
	if (m->ev->damage != NULL)
		m->ev->damage(m->arg, text);
}

/* All that was there is told: manage() is done, and one checkpoint replaces the journals. */
void manager_check(struct manager *m)
{
	if (m->loaded || !m->walked || m->t == NULL)
		return;
	for (struct mwriter *w = m->ws; w != NULL; w = w->next)
		if (w->scan || w->busy)
			return;
	m->loaded = true;
	store_answer(m->l, &m->req, META1_OK, NULL);
	if (m->want)
		ckpt_start(m);
}

bool manager_tell(struct manager *m, uint32_t n, const struct seg_msg *s, bool again)
{
	struct mrec *r = table_at(m->t, n);
	struct meta1_qrcpt *v = calloc(s->r.nrcpt, sizeof(*v));
	struct log_ref ref = {.writer = r->writer,
	    .idx = r->idx,
	    .seg = r->seg,
	    .boff = table_boff(r),
	    .len = s->r.clen,
	    .sum = s->r.csum,
	    .unit = s->r.unit,
	    .uwriter = s->r.uwriter};
	struct meta1_env env = seg_env(s, v);
	struct meta1_qentry e = {.size = sizeof(e),
	    .id = s->id,
	    .bytes_stored = ref.len,
	    .env = &env,
	    .key = table_key(m->t, n)};

	if (v == NULL)
		return false;
	ref.coff = s->r.unit != 0 ? 0 : ref.boff + s->r.coff;
	seg_ref(&e.ref, &ref);
	seg_rcpts(s, v);
	table_states(m->t, r, v, s->r.nrcpt);
	r->told = 1;
	if (again)
		m->ev->loaded(m->arg, e.key, &e, NULL);
	else
		m->ev->entry(m->arg, &e);
	free(v);
	return true;
}

void manager_tell_unread(struct manager *m, uint64_t key, const char *why)
{
	uint32_t n = table_by_key(m->t, key);
	const struct mrec *r = n != 0 ? table_at(m->t, n) : NULL;
	struct meta1_qrcpt *v = r != NULL && r->nrcpt > 0 ? calloc(r->nrcpt, sizeof(*v)) : NULL;
	struct meta1_env env = {.size = sizeof(env), .sizeof_rcpt = sizeof(*v), .rcpt = v};
	struct meta1_qentry e = {.size = sizeof(e), .id = "", .env = &env, .key = key};

	if (v != NULL) {
		env.nrcpt = r->nrcpt;
		table_states(m->t, r, v, r->nrcpt);
	}
	m->ev->loaded(m->arg, key, v != NULL ? &e : NULL, why);
	free(v);
}

/* The notice follows the cursor. false: no memory, so the store is read later. */
static bool direct(
    struct mwriter *w, const struct log_notice *n, const char *id, const struct meta1_env *env)
{
	struct table *t = w->m->t;
	struct log_ref ref = {.writer = n->writer,
	    .idx = n->idx,
	    .seg = n->seg,
	    .boff = n->off,
	    .coff = n->coff,
	    .len = n->len,
	    .sum = n->sum,
	    .unit = n->unit,
	    .uwriter = n->writer};
	struct meta1_qentry e = {.size = sizeof(e), .id = id, .bytes_stored = n->len, .env = env};
	uint32_t i;

	if (table_find(t, n->writer, n->seg, n->off, n->idx) != 0)
		return false;
	i = table_add(t, n->writer, n->seg, n->off, n->idx);
	if (i == 0)
		return false;
	if (!table_admit(t, i, env->nrcpt, seg_rec_size(id, env) + (n->unit != 0 ? 0 : n->len),
		n->writer, n->unit)) {
		table_remove(t, i);
		return false;
	}
	table_at(t, i)->told = 1;
	w->cursor = seg_after(n);
	units_pass(w, n->seg);
	units_count(w, n->off, n->life, n->count, n->idx + 1);
	seg_ref(&e.ref, &ref);
	e.key = table_key(t, i);
	w->m->ev->entry(w->m->arg, &e);
	return true;
}

static bool follows(const struct mwriter *w, const struct log_notice *n)
{
	struct pos prev = {.seg = n->prev_seg, .off = n->prev_off};

	return pos_cmp(w->cursor, seg_before(n)) == 0 ||
	       (n->idx == 0 && pos_cmp(w->cursor, prev) == 0);
}

void manager_own(struct manager *m, const struct log_notice *n)
{
	struct mwriter *w = manager_writer(m, n->writer);

	if (w == NULL)
		return;
	if (n->life > w->life)
		w->life = n->life;
	if (pos_cmp(seg_after(n), w->known) > 0)
		w->known = seg_after(n);
	if (pos_cmp(seg_after(n), w->cursor) <= 0)
		return;
	if (w->scan || w->busy || !follows(w, n)) {
		w->scan = true;
		manager_pump(w);
		return;
	}
	w->cursor = seg_after(n);
	units_pass(w, n->seg);
	units_count(w, n->off, n->life, n->count, n->idx + 1);
}

void manager_notice(
    void *inst, struct meta1_buf notice, const char *id, const struct meta1_env *env)
{
	struct store *l = inst;
	struct log_notice n;
	struct mwriter *w;
	struct pos after;

	if (l->m == NULL)
		return;
	w = seg_notice(notice, &n) == 0 ? manager_writer(l->m, n.writer) : NULL;
	if (w == NULL) {
		l->h->log(l->ctx, META1_WARN, "a notice of %zu bytes is not of this store: ignored",
		    notice.len);
		return;
	}
	after = seg_after(&n);
	if (n.life > w->life) {
		w->life = n.life; /* a new process: what the old one left is read first */
		w->scan = true;
	}
	if (pos_cmp(after, w->known) > 0)
		w->known = after;
	if (l->m->t == NULL || pos_cmp(after, w->cursor) <= 0) {
		manager_pump(w);
		return;
	}
	if (!w->scan && n.kind == NOTICE_MESSAGE && env != NULL && env->nrcpt > 0 &&
	    follows(w, &n) && direct(w, &n, id, env))
		return;
	l->h->count(l->ctx, "gaps", !w->scan);
	w->scan = true;
	manager_pump(w);
}

/* A final outcome tells all that its history must show when the message is gone. */
static void history_text(const struct meta1_qoutcome *o, struct jrec *j, struct jtext *t)
{
	if (o->state == META1_R_WAITING)
		return;
	t->id = (struct meta1_buf){o->id, strlen(o->id)};
	if (META1_HAS(o, bytes)) {
		t->addr = o->addr;
		t->from = o->from;
		j->bytes = o->bytes;
	}
	/* Both are mostly the next hop's reply: once is enough. */
	if (t->by.len == t->reason.len &&
	    (t->by.len == 0 || memcmp(t->by.data, t->reason.data, t->by.len) == 0))
		t->reason.len = 0;
}

void manager_outcome(void *inst, struct meta1_req *req, const struct meta1_qoutcome *o)
{
	struct store *l = inst;
	struct manager *m = l->m;
	struct jtext text = {.reason = o->reason, .by = {o->by, o->by != NULL ? strlen(o->by) : 0}};
	uint32_t i = m != NULL && m->t != NULL ? table_by_key(m->t, o->key) : 0;
	const struct mrec *r = i != 0 ? table_at(m->t, i) : NULL;
	struct unit *own;
	struct rst was = {.tries = 0};
	char why[TEXT_MAX];
	size_t whylen = 0;
	struct jrec j = {.type = J_OUTCOME,
	    .rcpt = o->rcpt,
	    .state = o->state,
	    .tries = o->tries,
	    .next_try = o->next_try,
	    .time = l->h->wall(l->ctx)};

	if (r == NULL || !r->told || o->rcpt >= r->nrcpt || o->state > META1_R_DELETED) {
		store_answer(l, &req, META1_PERMFAIL, "queue_log: no such message or recipient");
		return;
	}
	if (table_rst(r, o->rcpt) != NULL) {
		struct meta1_buf b;

		was = *table_rst(r, o->rcpt);
		b = texts_get(&m->t->texts, was.reason);
		whylen = b.len < sizeof(why) ? b.len : sizeof(why);
		memcpy(why, b.len > 0 ? b.data : "", whylen);
	}
	own = table_own(m->t, r);
	j.writer = r->writer;
	j.idx = r->idx;
	j.seg = r->seg;
	j.off = table_boff(r);
	j.nrcpt = r->nrcpt;
	j.own = own != NULL ? own->number : 0;
	history_text(o, &j, &text);
	if (!table_outcome(
		m->t, i, o->rcpt, o->state, o->tries, o->next_try, o->reason.data, o->reason.len)) {
		store_answer(l, &req, META1_TEMPFAIL, "queue_log: out of memory");
		return;
	}
	if (!record_put(&m->j, &j, &text, req)) {
		/* It was not said: else the message would be gone with its last other recipient,
		 * and the next start would deliver this one once more. */
		if (o->state != META1_R_WAITING)
			table_outcome(
			    m->t, i, o->rcpt, was.state, was.tries, was.next_try, why, whylen);
		store_answer(
		    l, &req, META1_TEMPFAIL, "queue_log: the outcome cannot be recorded now");
		return;
	}
	if (table_final(r))
		units_final(m, i);
}

void manager_attach(void *inst, uint32_t writer)
{
	struct store *l = inst;
	struct mwriter *w = l->m != NULL ? manager_writer(l->m, writer) : NULL;

	if (w == NULL)
		return;
	w->attached++;
	if (l->m->t != NULL)
		units_attach(l->m, writer);
}

/* What it had no time to tell is read; while its folder is in use it may still write. */
void manager_detach(void *inst, uint32_t writer)
{
	struct store *l = inst;
	struct mwriter *w = l->m != NULL ? manager_writer(l->m, writer) : NULL;

	if (w == NULL || w->attached == 0)
		return;
	w->attached--;
	w->scan = true;
	manager_pump(w);
}

static struct manager *make(struct store *l, struct meta1_err *e)
{
	struct manager *m = calloc(1, sizeof(*m));

	if (m == NULL) {
		snprintf(e->text, sizeof(e->text), "queue_log: out of memory");
		return NULL;
	}
	m->l = l;
	if (folder_state(l->qfd, &m->dir, &m->lock, e) < 0)
		goto fail;
	if (record_open(m))
		return m;
	snprintf(e->text, sizeof(e->text), "queue_log: out of memory");
fail:
	manager_close(&m);
	return NULL;
}

void manager_manage(void *inst, struct meta1_req *req, const struct meta1_qevents *ev, void *arg)
{
	struct store *l = inst;
	struct meta1_err e = {""};
	uint8_t tail[META1_NOTICE_MAX];
	struct manager *m;

	if (l->m != NULL) {
		store_answer(l, &req, META1_PERMFAIL, "queue_log: already managed");
		return;
	}
	m = make(l, &e);
	if (m == NULL) {
		store_answer(l, &req, META1_PERMFAIL, e.text);
		return;
	}
	m->ev = ev;
	m->arg = arg;
	m->req = req;
	l->m = m;
	compact_open(m);
	/* Our own folder is like any other. */
	manager_notice(l, (struct meta1_buf){tail, writer_tail(l, tail)}, NULL, NULL);
	backlog_start(m);
}

void manager_close(struct manager **mp)
{
	struct manager *m = *mp;

	*mp = NULL;
	if (m == NULL)
		return;
	if (m->tick != NULL)
		m->l->h->unwatch(&m->tick);
	journal_close(&m->j);
	ckpt_free(&m->ck);
	free(m->order);
	compact_close(m);
	while (m->ws != NULL) {
		struct mwriter *w = m->ws;

		m->ws = w->next;
		free(w);
	}
	table_free(&m->t);
	store_answer(m->l, &m->req, META1_TEMPFAIL, "the queue is shut down");
	if (m->lock >= 0)
		close(m->lock);
	if (m->dir >= 0)
		close(m->dir);
	free(m);
}
