/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * active.c -- who may be worked on now. A message waits in a heap, by the earliest due time of
 * its recipients; when it is due it goes to a ready list (one for first tries, one for
 * retries, taken in turn), from where its due recipients become active while there is room
 * (AQ_max_entries); a message with very many gives way after each STEP of them.
 * Comes from intake.c and outcome.c; goes to route.c. Owns heap and ready lists.
 *
 * A message is looked through once for each of its due times; those are rounded up, so that
 * they are few.
 */
#include "qmgr/qmgr.h"

#include <stdlib.h>

#define STEP  500  /* recipients of one message looked at before the next one's turn */
#define STEPS 4000 /* in one turn of the loop */

METRIC_GAUGE(m_active, "active_recipients_now", "Recipients being routed, queued or delivered.");

uint64_t qmgr_active_count(const struct qmgr *q)
{
	return q->nrouting + q->sched.counted;
}

/* ---- heap: place 1 is the earliest ---- */

static void put(struct qmgr *q, uint32_t at, struct qmgr_msg *m)
{
	q->heap[at] = m;
	m->heap = at;
}

static void up(struct qmgr *q, uint32_t at)
{
	struct qmgr_msg *m = q->heap[at];

	for (; at > 1 && q->heap[at / 2]->due > m->due; at /= 2)
		put(q, at, q->heap[at / 2]);
	put(q, at, m);
}

static void down(struct qmgr *q, uint32_t at)
{
	struct qmgr_msg *m = q->heap[at];
	uint32_t child;

	for (; (child = at * 2) <= q->nheap; at = child) {
		if (child < q->nheap && q->heap[child + 1]->due < q->heap[child]->due)
			child++;
		if (q->heap[child]->due >= m->due)
			break;
		put(q, at, q->heap[child]);
	}
	put(q, at, m);
}

static void heap_add(struct qmgr *q, struct qmgr_msg *m)
{
	if (q->nheap + 2 > q->heap_cap) {
		q->heap_cap = q->heap_cap ? q->heap_cap * 2 : 1024;
		q->heap = base_realloc(q->heap, q->heap_cap * sizeof(struct qmgr_msg *));
	}
	put(q, ++q->nheap, m);
	up(q, q->nheap);
}

static void heap_remove(struct qmgr *q, struct qmgr_msg *m)
{
	uint32_t at = m->heap;
	struct qmgr_msg *last = q->heap[q->nheap--];

	m->heap = 0;
	if (last == m)
		return;
	put(q, at, last);
	up(q, at);
	down(q, last->heap);
}

static void wake(struct qmgr *q)
{
	int64_t in;

	if (!q->nheap)
		return;
	in = q->heap[1]->due - loop_now(q->loop);
	loop_rearm(q->due, in > 0 ? in : 0);
}

static void wait_until(struct qmgr *q, struct qmgr_msg *m, int64_t due)
{
	if (m->heap && m->due <= due)
		return;
	m->due = due;
	if (m->heap)
		up(q, m->heap);
	else
		heap_add(q, m);
	if (m->heap == 1)
		wake(q);
}

/* ---- waiting and ready ---- */

void qmgr_active_wait(struct qmgr *q, struct qmgr_rcpt *r, int64_t due)
{
	int64_t now = loop_now(q->loop), step = due - now > 60000 ? 5000 : 1000;

	if (due > now)
		due = (due + step - 1) / step * step;
	r->phase = QP_WAIT;
	r->cause = QW_RETRY;
	r->due = due;
	wait_until(q, qmgr_msg_of(r), due);
}

static void make_ready(struct qmgr *q, struct qmgr_msg *m, unsigned list)
{
	m->cursor = 0;
	if (!m->ready) {
		m->ready = (uint8_t)(1 + list);
		DL_APPEND2(q->ready[list], m, rprev, rnext);
	}
	qmgr_kick(q);
}

static void unready(struct qmgr *q, struct qmgr_msg *m)
{
	DL_DELETE2(q->ready[m->ready - 1], m, rprev, rnext);
	m->ready = 0;
}

void qmgr_active_start(struct qmgr *q, struct qmgr_msg *m, bool fresh)
{
	if (m->nopen)
		make_ready(q, m, fresh ? 0 : 1);
}

void qmgr_active_now(struct qmgr *q, struct qmgr_msg *m)
{
	int64_t now = loop_now(q->loop);
	uint32_t i;

	for (i = 0; i < m->nrcpt; i++)
		if (m->rcpt[i].phase == QP_WAIT && m->rcpt[i].due > now)
			m->rcpt[i].due = now;
	make_ready(q, m, 1);
}

void qmgr_active_leave(struct qmgr *q, struct qmgr_rcpt *r)
{
	struct qmgr_msg *m = qmgr_msg_of(r);

	if (r->phase == QP_ROUTE)
		q->nrouting--;
	m->nactive--;
	m_active.value = (int64_t)qmgr_active_count(q);
	qmgr_kick(q);
}

void qmgr_active_forget(struct qmgr *q, struct qmgr_msg *m)
{
	if (m->heap)
		heap_remove(q, m);
	if (m->ready)
		unready(q, m);
}

/* All recipients were looked at: the next time is that of the earliest one left. */
static void looked_through(struct qmgr *q, struct qmgr_msg *m)
{
	int64_t due = INT64_MAX;
	uint32_t i;

	unready(q, m);
	for (i = 0; i < m->nrcpt; i++)
		if (m->rcpt[i].phase == QP_WAIT && m->rcpt[i].due < due)
			due = m->rcpt[i].due;
	if (due != INT64_MAX)
		wait_until(q, m, due);
}

static bool room(const struct qmgr *q)
{
	return qmgr_active_count(q) < (uint64_t)q->lim.aq_max;
}

/* Some recipients of one message become active; returns how many were looked at. */
static uint32_t admit(struct qmgr *q, struct qmgr_msg *m)
{
	int64_t now = loop_now(q->loop);
	unsigned list = m->ready - 1u;
	uint32_t n;

	for (n = 0; n < STEP && m->cursor < m->nrcpt && room(q); n++) {
		struct qmgr_rcpt *r = &m->rcpt[m->cursor++];

		if (r->phase != QP_WAIT || r->due > now)
			continue;
		r->phase = QP_ROUTE;
		q->nrouting++;
		m->nactive++;
		qmgr_route_find(q, r);
	}
	if (m->cursor >= m->nrcpt) {
		looked_through(q, m);
	} else if (n == STEP) {
		unready(q, m);
		m->ready = (uint8_t)(1 + list);
		DL_APPEND2(q->ready[list], m, rprev, rnext);
	}
	return n;
}

bool qmgr_active_pump(struct qmgr *q)
{
	int64_t now = loop_now(q->loop);
	uint32_t n = 0;

	while (q->nheap && q->heap[1]->due <= now && n++ < STEPS) {
		struct qmgr_msg *m = q->heap[1];

		heap_remove(q, m);
		make_ready(q, m, 1);
	}
	wake(q);
	if (!q->going || q->stopping)
		return false;
	for (n = 0; n < STEPS && (q->ready[0] || q->ready[1]) && room(q);) {
		q->ready_turn ^= 1;
		if (!q->ready[q->ready_turn])
			q->ready_turn ^= 1;
		n += 1 + admit(q, q->ready[q->ready_turn]);
	}
	m_active.value = (int64_t)qmgr_active_count(q);
	return room(q) && (q->ready[0] || q->ready[1]);
}
