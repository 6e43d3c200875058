/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * active.c -- who may be worked on now. A message waits in a heap, by the earliest due time of
 * its recipients; when it is due it goes to a lane (lane.c). Whose turn it is there is read if
 * it is not in memory (park.c), and its due recipients become active while there is room
 * (AQ_max_entries); a message with very many gives way after each step of them.
 * Comes from intake.c, outcome.c, dispatch.c; goes to route.c. Owns heap and what is looked at.
 *
 * A message is looked through once for each of its due times; those are rounded up, so that
 * they are few. The heap holds slots, loaded or not.
 */
#include "qmgr/qmgr.h"

#include <stdlib.h>

#define STEP	     500  /* recipients of one message looked at before the next one's turn */
#define STEPS	     4000 /* in one turn of the loop */
#define GOING	     64	  /* messages that are looked at at a time */
#define NEWCOMERS    256  /* with those of senders that have nothing else on its way */
#define ASK_AGAIN_MS 30000

METRIC_GAUGE(m_active, "active_recipients_now", "Recipients being routed, queued or delivered.");

uint64_t qmgr_active_count(const struct qmgr *q)
{
	return q->nrouting + q->sched.counted;
}

/* ---- heap: place 1 is the earliest ---- */

static struct qmgr_slot *in_heap(const struct qmgr *q, uint32_t at)
{
	return qmgr_slot_at(&q->index, q->heap[at]);
}

static void put(struct qmgr *q, uint32_t at, uint32_t slot)
{
	q->heap[at] = slot;
	qmgr_slot_at(&q->index, slot)->heap = at;
}

static void up(struct qmgr *q, uint32_t at)
{
	uint32_t slot = q->heap[at], due = in_heap(q, at)->due;

	for (; at > 1 && in_heap(q, at / 2)->due > due; at /= 2)
		put(q, at, q->heap[at / 2]);
	put(q, at, slot);
}

static void down(struct qmgr *q, uint32_t at)
{
	uint32_t slot = q->heap[at], due = in_heap(q, at)->due, child;

	for (; (child = at * 2) <= q->nheap; at = child) {
		if (child < q->nheap && in_heap(q, child + 1)->due < in_heap(q, child)->due)
			child++;
		if (in_heap(q, child)->due >= due)
			break;
		put(q, at, q->heap[child]);
	}
	put(q, at, slot);
}

static void heap_add(struct qmgr *q, uint32_t slot)
{
	if (q->nheap + 2 > q->heap_cap) {
		q->heap_cap = q->heap_cap ? q->heap_cap * 2 : 1024;
		q->heap = base_realloc(q->heap, q->heap_cap * sizeof(*q->heap));
	}
	put(q, ++q->nheap, slot);
	up(q, q->nheap);
}

static void heap_remove(struct qmgr *q, uint32_t slot)
{
	uint32_t at = qmgr_slot_at(&q->index, slot)->heap, last;

	if (!at)
		return;
	last = q->heap[q->nheap--];
	qmgr_slot_at(&q->index, slot)->heap = 0;
	if (last == slot)
		return;
	put(q, at, last);
	up(q, at);
	down(q, qmgr_slot_at(&q->index, last)->heap);
}

static uint32_t seconds(int64_t ms)
{
	return (uint32_t)((ms + 999) / 1000);
}

static void wake(struct qmgr *q)
{
	int64_t in;

	if (!q->nheap)
		return;
	in = (int64_t)in_heap(q, 1)->due * 1000 - loop_now(q->loop);
	loop_rearm(q->due, in > 0 ? in : 0);
}

void qmgr_active_slot_due(struct qmgr *q, uint32_t slot, int64_t due)
{
	struct qmgr_slot *s = qmgr_slot_at(&q->index, slot);

	if (s->heap && s->due <= seconds(due))
		return;
	s->due = seconds(due);
	if (s->heap)
		up(q, s->heap);
	else
		heap_add(q, slot);
	if (s->heap == 1)
		wake(q);
}

/* What is due now need not go through the heap. */
static void wait_until(struct qmgr *q, struct qmgr_msg *m, int64_t due)
{
	if (due <= loop_now(q->loop))
		qmgr_lane_add(q, m->slot, QMGR_AGAIN);
	else
		qmgr_active_slot_due(q, m->slot, due);
}

/* ---- waiting and ready ---- */

void qmgr_active_wait(struct qmgr *q, struct qmgr_rcpt *r, int64_t due)
{
	int64_t now = loop_now(q->loop), step = due - now > 60000 ? 5000 : 1000;

	r->anew = 0;
	if (qmgr_mark_held(r))
		due = INT64_MAX;
	else if (due > now)
		due = (due + step - 1) / step * step;
	r->phase = QP_WAIT;
	r->cause = QW_RETRY;
	r->blocked = false;
	r->due = due;
	if (due != INT64_MAX)
		wait_until(q, qmgr_msg_of(r), due);
	qmgr_kick(q); /* it may be unloaded, if a report was due of it before */
}

/* When a message that is not to be tried is looked at, later than now: the sender is told that it
 * is late, or it goes back. One whose time is over waits for room all the same. */
static int64_t look_at(struct qmgr *q, const struct qmgr_msg *m)
{
	int64_t now = loop_now(q->loop), warn = m->born + q->lim.delay_warning;
	int64_t end = m->born + q->lim.max_queue;

	if (q->lim.delay_warning && warn > now)
		return warn;
	return end > now ? end : now + ASK_AGAIN_MS;
}

/* Nothing of it is read or tried before its destination's dock opens; at the end of its time
 * it is looked at all the same. A message can wait in one dock only: for another destination
 * that is merely full it asks again after a while. */
void qmgr_active_block(struct qmgr *q, struct qmgr_rcpt *r, struct qmgr_dest *d)
{
	struct qmgr_msg *m = qmgr_msg_of(r);
	int64_t now = loop_now(q->loop), dead = qmgr_sched_dead(d, now);
	bool elsewhere = qmgr_slot_at(&q->index, m->slot)->lane != 0;
	int64_t look = look_at(q, m);

	qmgr_active_leave(q, r);
	r->phase = QP_WAIT;
	r->cause = dead ? QW_DEAD : QW_FULL;
	r->blocked = true;
	r->due = now + dead;
	if (elsewhere && look > now + (dead ? dead : ASK_AGAIN_MS))
		look = now + (dead ? dead : ASK_AGAIN_MS);
	qmgr_active_slot_due(q, m->slot, look);
	if (!elsewhere)
		qmgr_lane_block(q, m->slot, d);
	qmgr_bounce_late(q, r);
	qmgr_bounce_check(q, m);
}

/* ---- looked at ---- */

static bool is_going(const struct qmgr_msg *m)
{
	return m->list == QL_GOING || m->list == QL_FIRST;
}

void qmgr_active_go(struct qmgr *q, struct qmgr_msg *m, uint32_t lane, uint32_t coming)
{
	m->cursor = 0;
	if (m->dying || is_going(m)) {
		qmgr_lane_arrived(q, &lane, coming);
		return;
	}
	m->lane = lane;
	m->coming = coming;
	qmgr_msg_list(q, m, qmgr_lane_first(q, lane, coming) ? QL_FIRST : QL_GOING);
	q->ngoing++;
	qmgr_kick(q);
}

static void gone_by(struct qmgr *q, struct qmgr_msg *m)
{
	q->ngoing--;
	qmgr_msg_list(q, m, m->nactive ? QL_NONE : QL_IDLE);
	qmgr_lane_arrived(q, &m->lane, m->coming);
}

void qmgr_active_start(struct qmgr *q, struct qmgr_msg *m, bool fresh)
{
	uint32_t i;

	qmgr_msg_list(q, m, QL_IDLE);
	for (i = 0; i < m->nrcpt; i++)
		if (m->rcpt[i].phase == QP_WAIT && m->rcpt[i].due <= loop_now(q->loop)) {
			qmgr_lane_add(q, m->slot, fresh ? QMGR_FRESH : QMGR_AGAIN);
			return;
		}
}

void qmgr_active_now(struct qmgr *q, struct qmgr_msg *m)
{
	int64_t now = loop_now(q->loop);
	uint32_t i;

	for (i = 0; i < m->nrcpt; i++)
		if (m->rcpt[i].phase == QP_WAIT && m->rcpt[i].due > now &&
		    !qmgr_mark_held(&m->rcpt[i]))
			m->rcpt[i].due = now;
	qmgr_lane_add(q, m->slot, QMGR_AGAIN);
}

void qmgr_active_leave(struct qmgr *q, struct qmgr_rcpt *r)
{
	struct qmgr_msg *m = qmgr_msg_of(r);

	if (r->phase == QP_ROUTE)
		q->nrouting--;
	if (--m->nactive == 0 && m->list == QL_NONE)
		qmgr_msg_list(q, m, QL_IDLE);
	m_active.value = (int64_t)qmgr_active_count(q);
	qmgr_kick(q);
}

/* Of one that is not loaded. */
void qmgr_active_slot_gone(struct qmgr *q, uint32_t slot)
{
	heap_remove(q, slot);
	qmgr_lane_remove(q, slot);
}

void qmgr_active_forget(struct qmgr *q, struct qmgr_msg *m)
{
	heap_remove(q, m->slot);
	qmgr_lane_remove(q, m->slot);
	if (is_going(m))
		gone_by(q, m);
}

/* All recipients were looked at: the next time is that of the earliest one left. */
static void looked_through(struct qmgr *q, struct qmgr_msg *m)
{
	int64_t due = INT64_MAX, end = look_at(q, m);
	uint32_t i;

	gone_by(q, m);
	for (i = 0; i < m->nrcpt; i++) {
		const struct qmgr_rcpt *r = &m->rcpt[i];
		int64_t at = r->blocked && end > r->due ? end : r->due;

		if (r->phase == QP_WAIT && at < due)
			due = at;
	}
	if (due != INT64_MAX)
		wait_until(q, m, due);
}

static uint64_t room(const struct qmgr *q)
{
	uint64_t n = qmgr_active_count(q);

	return n < (uint64_t)q->lim.aq_max ? (uint64_t)q->lim.aq_max - n : 0;
}

/* Some recipients of one message become active; returns how many were looked at. */
static uint32_t admit(struct qmgr *q, struct qmgr_msg *m)
{
	uint32_t n, step = q->lim.aq_max / 16 < STEP ? (uint32_t)(q->lim.aq_max / 16) : STEP;
	int64_t now = loop_now(q->loop);

	for (n = 0; n < step && m->cursor < m->nrcpt && room(q); n++) {
		struct qmgr_rcpt *r = &m->rcpt[m->cursor++];

		if (r->phase != QP_WAIT || (r->due > now && !r->blocked))
			continue;
		r->phase = QP_ROUTE;
		r->blocked = false;
		q->nrouting++;
		m->nactive++;
		qmgr_route_find(q, r);
	}
	if (m->cursor >= m->nrcpt)
		looked_through(q, m);
	else
		qmgr_msg_list(q, m, QL_GOING); /* to the end */
	return n;
}

/* Whose message may be pulled: with what is on its way counted there must be room, and memory; but
 * the first of a sender waits here for the next place, not behind another's backlog, and one goes
 * on always. */
enum who { NOBODY, NEWCOMER, ANYBODY };
static enum who who_may(const struct qmgr *q)
{
	bool alone = !q->ngoing && !q->nloading;

	if (q->memory >= q->lim.loaded)
		return alone && room(q) ? ANYBODY : NOBODY;
	if (alone ? room(q) > 0 : q->ngoing < GOING && room(q) > q->reserved)
		return ANYBODY;
	return q->ngoing + q->nloading < NEWCOMERS ? NEWCOMER : NOBODY;
}

static void pull(struct qmgr *q)
{
	uint32_t i, n = 0;
	enum who who;

	while (n++ < STEPS && (who = who_may(q)) != NOBODY) {
		struct qmgr_msg *m;
		uint32_t lane, coming;

		if (!qmgr_park_ready(q) ||
		    !(i = qmgr_lane_next(q, who == NEWCOMER, &lane, &coming)))
			break;
		m = qmgr_msg_at(q, i);
		heap_remove(q, i);
		if (m)
			qmgr_active_go(q, m, lane, coming);
		else
			qmgr_park_load(q, i, lane, coming);
	}
	qmgr_park_flush(q);
}

/* Whose step is next: first ones and the others take turns. */
static struct qmgr_msg *next_going(struct qmgr *q)
{
	struct qmgr_msg *first = q->lists[QL_FIRST], *m = q->lists[QL_GOING];

	q->first_turn = first && !q->first_turn;
	return first && (q->first_turn || !m) ? first : m;
}

bool qmgr_active_pump(struct qmgr *q)
{
	uint32_t n = 0, now = (uint32_t)(loop_now(q->loop) / 1000);
	struct qmgr_msg *m;

	while (q->nheap && in_heap(q, 1)->due <= now && n++ < STEPS) {
		uint32_t slot = q->heap[1];

		heap_remove(q, slot);
		qmgr_lane_add(q, slot, QMGR_AGAIN);
	}
	wake(q);
	if (!q->going || q->stopping)
		return false;
	pull(q);
	for (n = 0; n < STEPS && room(q) && (m = next_going(q));)
		n += 1 + admit(q, m);
	m_active.value = (int64_t)qmgr_active_count(q);
	return room(q) && q->ngoing;
}
