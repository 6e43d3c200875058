/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lane.c -- messages that are due, in lanes by sender, and whose turn it is to be looked at.
 * What is new has a dock of lanes, what is due again has one, and each destination that is dead
 * or has enough has one for what waits for it alone: nothing of it is read from disk before
 * there is room. New mail and the rest take turns; docks of the rest, and the lanes of a dock,
 * go round.
 * Comes from active.c and dispatch.c; goes back to active.c. Owns docks; a slot is in one lane
 * at most. A lane is a bucket of senders' hashes, so memory does not grow with their number.
 * Nothing can fail.
 */
#include "qmgr/qmgr.h"

#include <stdlib.h>

static struct qmgr_lane *lane_of(const struct qmgr *q, const struct qmgr_slot *s)
{
	return &q->docks[(s->lane - 1) / QMGR_LANES]->lane[(s->lane - 1) % QMGR_LANES];
}

static struct qmgr_dock *dock_new(struct qmgr *q, struct qmgr_dest *d)
{
	uint32_t i = 0, n = d ? QMGR_LANES_DEST : QMGR_LANES;

	while (i < q->ndock && q->docks[i])
		i++;
	if (i == q->ndock)
		q->docks = base_realloc(q->docks, ++q->ndock * sizeof(struct qmgr_dock *));
	q->docks[i] = base_alloc(sizeof(struct qmgr_dock) + n * sizeof(struct qmgr_lane));
	q->docks[i]->nlane = n;
	q->docks[i]->number = i;
	q->docks[i]->dest = d;
	if (d) {
		d->refs++;
		d->dock = q->docks[i];
	}
	return q->docks[i];
}

void qmgr_lane_init(struct qmgr *q)
{
	dock_new(q, NULL); /* QMGR_FRESH */
	dock_new(q, NULL); /* QMGR_AGAIN */
}

static bool has_room(const struct qmgr *q, const struct qmgr_dock *k)
{
	const struct qmgr_dest *d = k->dest;

	return !d || (!qmgr_sched_dead(d, loop_now(q->loop)) &&
			 d->queued + d->sent + k->coming < q->sched.share);
}

static void open_dock(struct qmgr *q, struct qmgr_dock *k)
{
	if (k->open || k->number == QMGR_FRESH || !k->round || !has_room(q, k))
		return;
	k->open = true;
	DL_APPEND(q->open_docks, k);
	qmgr_kick(q);
}

static void close_dock(struct qmgr *q, struct qmgr_dock *k)
{
	if (!k->open)
		return;
	k->open = false;
	DL_DELETE(q->open_docks, k);
}

void qmgr_lane_check(struct qmgr *q, struct qmgr_dest *d)
{
	if (d->dock)
		open_dock(q, d->dock);
}

static void dock_check(struct qmgr *q, struct qmgr_dock *k)
{
	struct qmgr_dest *d = k->dest;

	if (k->round)
		return;
	close_dock(q, k);
	if (!d || k->coming)
		return;
	q->docks[k->number] = NULL;
	d->dock = NULL;
	free(k);
	qmgr_sched_unref(&q->sched, &d, loop_now(q->loop));
}

static void put(struct qmgr *q, struct qmgr_dock *k, uint32_t i)
{
	struct qmgr_slot *s = qmgr_slot_at(&q->index, i);
	uint32_t n = s->sender % k->nlane;
	struct qmgr_lane *l = &k->lane[n];

	if (s->lane)
		qmgr_lane_remove(q, i);
	s->lane = k->number * QMGR_LANES + n + 1;
	s->lnext = 0;
	s->lprev = l->last;
	if (l->last)
		qmgr_slot_at(&q->index, l->last)->lnext = i;
	else
		l->first = i;
	if (!l->last)
		DL_APPEND(k->round, l);
	l->last = i;
	open_dock(q, k);
	qmgr_kick(q);
}

void qmgr_lane_add(struct qmgr *q, uint32_t i, unsigned dock)
{
	put(q, q->docks[dock], i);
}

void qmgr_lane_block(struct qmgr *q, uint32_t i, struct qmgr_dest *d)
{
	put(q, d->dock ? d->dock : dock_new(q, d), i);
	if (!q->lane_timer)
		q->lane_timer = loop_timer(q->loop, -1, qmgr_lane_tick, q);
	loop_rearm(q->lane_timer, 1000);
}

void qmgr_lane_remove(struct qmgr *q, uint32_t i)
{
	struct qmgr_slot *s = qmgr_slot_at(&q->index, i);
	struct qmgr_dock *k;
	struct qmgr_lane *l;

	if (!s->lane)
		return;
	k = q->docks[(s->lane - 1) / QMGR_LANES];
	l = lane_of(q, s);
	if (s->lprev)
		qmgr_slot_at(&q->index, s->lprev)->lnext = s->lnext;
	else
		l->first = s->lnext;
	if (s->lnext)
		qmgr_slot_at(&q->index, s->lnext)->lprev = s->lprev;
	else
		l->last = s->lprev;
	s->lane = s->lnext = s->lprev = 0;
	if (!l->first)
		DL_DELETE(k->round, l);
	dock_check(q, k);
}

const struct qmgr_dest *qmgr_lane_dest(const struct qmgr *q, uint32_t slot)
{
	const struct qmgr_slot *s = qmgr_slot_at(&q->index, slot);

	return s->lane ? q->docks[(s->lane - 1) / QMGR_LANES]->dest : NULL;
}

/* Destinations that were dead when they were looked at last may live again. */
void qmgr_lane_tick(int fd, short what, void *arg)
{
	struct qmgr *q = arg;
	bool some = false;
	uint32_t i;

	(void)fd, (void)what;
	for (i = QMGR_AGAIN + 1; i < q->ndock; i++)
		if (q->docks[i]) {
			some = true;
			open_dock(q, q->docks[i]);
		}
	if (some)
		loop_rearm(q->lane_timer, 1000);
}

void qmgr_lane_arrived(struct qmgr *q, struct qmgr_dock **kp, uint32_t n)
{
	struct qmgr_dock *k = *kp;

	*kp = NULL;
	k->coming -= n < k->coming ? n : k->coming;
	open_dock(q, k);
	dock_check(q, k);
}

/* The first message of the lane whose turn it is; the lane goes to the end of its round. */
static uint32_t from(struct qmgr_dock *k)
{
	struct qmgr_lane *l = k->round;

	if (l->next) {
		DL_DELETE(k->round, l);
		DL_APPEND(k->round, l);
	}
	return l->first;
}

uint32_t qmgr_lane_next(struct qmgr *q, struct qmgr_dock **from_dock)
{
	struct qmgr_dock *k;
	uint32_t i;

	q->lane_turn = !q->lane_turn;
	while ((k = q->open_docks) && !has_room(q, k))
		close_dock(q, k);
	if (k && k->next) {
		DL_DELETE(q->open_docks, k);
		DL_APPEND(q->open_docks, k);
	}
	if (q->docks[QMGR_FRESH]->round && (q->lane_turn || !k))
		k = q->docks[QMGR_FRESH];
	if (!k)
		return 0;
	i = from(k);
	k->coming += QMGR_COMING; /* so that it stays while we take its last */
	qmgr_lane_remove(q, i);
	k->coming -= QMGR_COMING;
	*from_dock = k;
	return i;
}

void qmgr_lane_free_all(struct qmgr *q)
{
	uint32_t i;

	for (i = 0; i < q->ndock; i++)
		free(q->docks[i]);
	free(q->docks);
	q->docks = NULL;
	q->ndock = 0;
}
