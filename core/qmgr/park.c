/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * park.c -- envelopes that are not in memory: asked from the store in pages when their message's
 * turn comes or an admin wants to see it, and unloaded again when they wait and the memory is
 * needed. What is known of an unloaded one is its slot; the store keeps its states.
 * Comes from active.c and control.c; goes to active.c. Owns the requests under way.
 * On failure: an envelope that cannot be read is named; its message stays, and is asked for
 * again after max_retry_delay. An admin is shown a stub of it, with what the store knows, and may
 * delete it. A store that cannot read now is asked again after a second.
 */
#include "qmgr/qmgr.h"

#include <stdio.h>
#include <stdlib.h>

#define AGAIN_MS 1000
#define LOOK	 256 /* idle messages looked at in a turn */

METRIC_COUNTER(m_loaded, "envelopes_loaded_total", "Envelopes read again from the store.");
METRIC_COUNTER(m_unloaded, "envelopes_unloaded_total", "Envelopes dropped from memory.");
METRIC_COUNTER(m_lost, "envelopes_unreadable_total", "Envelopes that could not be read.");

/* ---- asking ---- */

bool qmgr_park_ready(const struct qmgr *q)
{
	return q->nfetch < QMGR_FETCHES;
}

/* While a slot is being read it is in no lane: there it keeps the one that waits for it. */
static uint32_t take_lane(struct qmgr_slot *s, uint32_t *coming)
{
	uint32_t lane = s->going ? s->lnext : 0;

	*coming = s->lprev;
	if (s->going)
		s->lnext = s->lprev = 0;
	s->going = 0;
	return lane;
}

void qmgr_park_load(struct qmgr *q, uint32_t slot, uint32_t lane, uint32_t coming)
{
	struct qmgr_slot *s = qmgr_slot_at(&q->index, slot);
	struct qmgr_fetch *f;

	if (lane) {
		s->going = 1;
		s->lnext = lane;
		s->lprev = coming;
	}
	if (s->loading)
		return;
	if (!q->gathering) {
		q->gathering = base_alloc(sizeof(*f));
		q->gathering->q = q;
	}
	f = q->gathering;
	s->loading = 1;
	q->nloading++;
	f->slot[f->n] = slot;
	f->key[f->n++] = s->at.key;
	if (f->n == META1_FETCH_MAX)
		qmgr_park_flush(q);
}

void qmgr_park_now(struct qmgr *q, uint32_t slot)
{
	struct qmgr_slot *s = qmgr_slot_at(&q->index, slot);

	s->urgent = 1;
	if (!s->loading)
		qmgr_lane_add(q, slot, QMGR_AGAIN);
}

/* It is not under way any more. */
static uint32_t arrived(struct qmgr *q, struct qmgr_slot *s, uint32_t *coming)
{
	s->loading = 0;
	q->nloading--;
	return take_lane(s, coming);
}

static void not_now(struct qmgr *q, uint32_t slot, int64_t ms)
{
	uint32_t n, lane = arrived(q, qmgr_slot_at(&q->index, slot), &n);

	qmgr_lane_arrived(q, &lane, n);
	qmgr_active_slot_due(q, slot, loop_now(q->loop) + ms);
}

static void show_pump(struct qmgr *);

static bool waits(const struct qmgr *q, const struct qmgr_fetch *f, uint32_t i)
{
	const struct qmgr_slot *s = qmgr_slot_at(&q->index, f->slot[i]);

	return s->loading && s->at.key == f->key[i];
}

/* Who wants to see what cannot be read now is told so, and does not ask again and again. */
static void over(struct qmgr *q, struct qmgr_fetch *f, enum meta1_status st, const char *why)
{
	uint32_t i, left = 0;

	for (i = 0; i < f->n; i++)
		if (waits(q, f, i)) {
			left++;
			qmgr_slot_at(&q->index, f->slot[i])->lost = 1;
			not_now(q, f->slot[i], AGAIN_MS);
		}
	if (left)
		log_event(LOG_L_WARN, "qmgr.fetch", "envelopes=%u status=%d error=%s", left,
		    (int)st, why);
	DL_DELETE(q->fetches, f);
	q->nfetch--;
	free(f);
	qmgr_kick(q);
}

static void fetched(void *arg, enum meta1_status st, const struct meta1_reply *reply)
{
	struct qmgr_fetch *f = arg;
	struct qmgr *q = f->q;

	over(q, f, st, reply && reply->text ? reply->text : "");
	show_pump(q);
}

void qmgr_park_flush(struct qmgr *q)
{
	struct qmgr_fetch *f = q->gathering;

	if (!f)
		return;
	q->gathering = NULL;
	q->nfetch++;
	DL_APPEND(q->fetches, f);
	if (!qmgr_store_fetch(q, f->key, f->n, fetched, f))
		over(q, f, META1_TEMPFAIL, "too many requests at the store");
}

/* ---- told ---- */

void qmgr_park_name(const struct qmgr_slot *s, char out[META1_ID_MAX])
{
	snprintf(out, META1_ID_MAX, QMGR_UNREAD "%llu", (unsigned long long)s->seq);
}

static bool is_shown(const struct qmgr *q, uint32_t slot)
{
	const struct qmgr_show *sh = q->shows;
	uint32_t i;

	for (i = 0; sh && i < sh->n && sh->slot[i] != slot; i++)
		;
	return sh && i < sh->n;
}

/* What the store still knows, for who wants to see or delete it; its id is given by page.c. */
static void stub(struct qmgr *q, uint32_t slot, const struct meta1_qentry *e)
{
	struct qmgr_msg *m = qmgr_msg_new(q, slot, e);
	uint32_t i;

	m->unread = true;
	if (!*m->id)
		qmgr_park_name(qmgr_slot_at(&q->index, slot), m->id);
	for (i = 0; i < m->nrcpt; i++) {
		struct qmgr_rcpt *r = &m->rcpt[i];

		r->due = INT64_MAX;
		r->report = 0;
		if (r->phase == QP_DOUBT)
			r->phase = QP_WAIT;
	}
	qmgr_msg_list(q, m, QL_UNREAD);
}

static void lost(struct qmgr *q, uint32_t slot, const struct meta1_qentry *e, const char *why)
{
	struct qmgr_slot *s = qmgr_slot_at(&q->index, slot);

	m_lost.value++;
	log_event(LOG_L_ERR, "qmgr.unreadable", "number=%llu recipients=%u error=%s text=%s",
	    (unsigned long long)s->seq, s->nopen, why,
	    "the message stays in the queue and is tried again later");
	s->lost = 1;
	not_now(q, slot, q->lim.max_retry);
	if (e && is_shown(q, slot))
		stub(q, slot, e);
}

static void gone(struct qmgr *q, uint32_t slot)
{
	struct qmgr_slot *s = qmgr_slot_at(&q->index, slot);

	log_event(LOG_L_WARN, "qmgr.gone", "number=%llu text=%s", (unsigned long long)s->seq,
	    "the store knows of nothing left to do for a message that was queued");
	not_now(q, slot, 0);
	qmgr_active_slot_gone(q, slot);
	qmgr_slot_free(&q->index, slot);
}

/* It was read because the time of its earliest recipient has come, by a clock that does not jump.
 * On disk is the wall clock's: if that was set back, it says of all that they are to wait. */
static void come_due(struct qmgr *q, struct qmgr_msg *m)
{
	int64_t now = loop_now(q->loop), first = INT64_MAX;
	uint32_t i;

	for (i = 0; i < m->nrcpt; i++)
		if (m->rcpt[i].phase == QP_WAIT && m->rcpt[i].due < first)
			first = m->rcpt[i].due;
	for (i = 0; i < m->nrcpt && first > now && first < INT64_MAX; i++)
		if (m->rcpt[i].phase == QP_WAIT && m->rcpt[i].due == first)
			m->rcpt[i].due = now;
}

static void ready(struct qmgr *q, uint32_t slot, const struct meta1_qentry *e)
{
	struct qmgr_slot *s = qmgr_slot_at(&q->index, slot);
	struct qmgr_msg *m;
	uint32_t i, n, lane = arrived(q, s, &n);

	s->lost = 0;
	m_loaded.value++;
	m = qmgr_msg_new(q, slot, e);
	for (i = 0; i < m->nrcpt; i++) {
		struct qmgr_rcpt *r = &m->rcpt[i];

		if (r->phase == QP_DOUBT) { /* it was decided at the start: there is no report */
			r->phase = QP_WAIT;
			r->report = 0;
		}
		if (s->urgent && r->phase == QP_WAIT && !qmgr_mark_held(r))
			r->due = loop_now(q->loop);
	}
	s->urgent = 0;
	qmgr_msg_list(q, m, QL_IDLE);
	if (lane) {
		come_due(q, m);
		qmgr_active_go(q, m, lane, n);
	}
	qmgr_msg_check(q, m);
}

void qmgr_park_loaded(void *arg, uint64_t key, const struct meta1_qentry *e, const char *why)
{
	struct qmgr *q = arg;
	struct qmgr_fetch *f;
	uint32_t i;

	if (q->ended)
		return;
	i = e && !why ? qmgr_slot_find(&q->index, e->id, strlen(e->id)) : 0;
	if (i && qmgr_slot_at(&q->index, i)->loading && qmgr_slot_at(&q->index, i)->at.key == key) {
		ready(q, i, e);
		return;
	}
	DL_FOREACH (q->fetches, f)
		for (i = 0; i < f->n; i++) {
			if (f->key[i] != key || !waits(q, f, i))
				continue;
			if (e && !why) {
				why = "another message is stored under its key";
				e = NULL;
			}
			if (why)
				lost(q, f->slot[i], e, why);
			else
				gone(q, f->slot[i]);
			return;
		}
}

/* ---- unloading ---- */

static bool may_go(const struct qmgr_msg *m)
{
	uint32_t i;

	if (m->report || !m->nopen || m->nactive)
		return false;
	for (i = 0; i < m->nrcpt; i++)
		if (m->rcpt[i].phase != QP_DONE &&
		    (m->rcpt[i].phase != QP_WAIT || m->rcpt[i].state != META1_R_WAITING))
			return false;
	return true;
}

/* The store may think that it waits longer: what was put off, or is wanted now by an admin. */
static bool due_now(const struct qmgr *q, const struct qmgr_msg *m)
{
	int64_t now = loop_now(q->loop);
	uint32_t i;

	for (i = 0; i < m->nrcpt; i++)
		if (m->rcpt[i].phase == QP_WAIT && (m->rcpt[i].blocked || m->rcpt[i].due <= now))
			return true;
	return false;
}

/* All of it that waits is held: no time comes, and nothing of it is to be read. */
static bool all_held(const struct qmgr_msg *m)
{
	uint32_t i;

	for (i = 0; i < m->nrcpt; i++)
		if (m->rcpt[i].phase == QP_WAIT && !qmgr_mark_held(&m->rcpt[i]))
			return false;
	return true;
}

/* Those that came to wait last go first: they wait longest. Those of which a report is due stay,
 * and make room at the end of the list for others; where a turn found no others there is no next
 * one before something happens. */
void qmgr_park_trim(struct qmgr *q)
{
	uint32_t n, gone = 0;

	if (q->shows) {
		if (!q->nfetch) /* it could not even be asked */
			show_pump(q);
		return;
	}
	if (!META1_HAS(q->qops, fetch) || !q->qops->fetch)
		return;
	for (n = 0; n < LOOK && q->lists[QL_IDLE]; n++) {
		struct qmgr_msg *m = q->lists[QL_IDLE]->rprev;
		struct qmgr_slot *s = qmgr_slot_at(&q->index, m->slot);

		if (q->memory + qmgr_reason_memory() + qmgr_mark_memory() <= q->lim.loaded / 4 * 3)
			return;
		if (!may_go(m)) {
			DL_DELETE2(q->lists[QL_IDLE], m, rprev, rnext);
			DL_PREPEND2(q->lists[QL_IDLE], m, rprev, rnext);
			continue;
		}
		if (!s->lane && !s->heap && !all_held(m))
			qmgr_lane_add(q, m->slot, QMGR_AGAIN);
		s->urgent = due_now(q, m);
		m_unloaded.value++;
		gone++;
		qmgr_msg_unload(q, &m);
	}
	if (n == LOOK && gone)
		qmgr_kick(q);
}

/* ---- for control.c ---- */

struct qmgr_msg *qmgr_park_shown(struct qmgr *q, const struct qmgr_show *sh, uint32_t i)
{
	uint32_t slot = sh->slot[i];
	struct qmgr_msg *m;

	if (qmgr_slot_at(&q->index, slot)->seq != sh->seq[i])
		return NULL;
	m = qmgr_msg_at(q, slot);
	return m && !m->dying ? m : NULL;
}

/* Those of which nothing is being recorded. */
static void drop_stubs(struct qmgr *q)
{
	struct qmgr_msg *m, *next;

	DL_FOREACH_SAFE2(q->lists[QL_UNREAD], m, next, rnext)
	if (may_go(m))
		qmgr_msg_unload(q, &m);
}

/* One after the other, so that only one holds memory. */
static void show_pump(struct qmgr *q)
{
	struct qmgr_show *sh;
	uint32_t i, missing;

	while ((sh = q->shows)) {
		for (i = missing = 0; i < sh->n; i++) {
			struct qmgr_slot *s = qmgr_slot_at(&q->index, sh->slot[i]);

			if (s->seq != sh->seq[i] || s->loaded || (s->lost && sh->left))
				continue;
			missing++;
			if (!s->loading && qmgr_park_ready(q))
				qmgr_park_load(q, sh->slot[i], 0, 0);
		}
		sh->left = 1; /* what is lost now was asked for */
		if (missing && !q->stopping) {
			qmgr_park_flush(q);
			return;
		}
		DL_DELETE(q->shows, sh);
		sh->done(q, sh);
		drop_stubs(q);
	}
}

void qmgr_park_show(struct qmgr *q, struct qmgr_show *sh)
{
	sh->left = 0;
	DL_APPEND(q->shows, sh);
	if (q->shows == sh)
		show_pump(q);
}

void qmgr_park_free_all(struct qmgr *q)
{
	struct qmgr_show *sh;

	while ((sh = q->shows)) {
		DL_DELETE(q->shows, sh);
		sh->n = 0;
		sh->done(q, sh);
	}
	free(q->gathering);
	q->gathering = NULL;
}
