/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lane.c -- messages that are due, in lanes by sender, and whose turn it is to be looked at.
 * What is new has a dock of lanes, what is due again has one, and each destination that is dead
 * or has enough has one for what waits for it alone: nothing of it is read from disk before
 * there is room. New mail and the rest take turns; docks of the rest, and the lanes of a dock,
 * go round. A lane of which nothing is under way to the active queue (ahead) goes before those
 * of which something is, and may go when those may not: so a mail never waits behind the mailing
 * of another sender.
 * Comes from active.c and dispatch.c; goes back to active.c. Owns docks and lanes; a slot is in
 * one lane at most, and a lane lives while it has a slot or something ahead: there are never more
 * of them than messages. Nothing can fail.
 */
#include "qmgr/qmgr.h"

#include <stdlib.h>

#define LOOK_DOCKS 8 /* of those that may go on, looked at for a newcomer */

/* ---- lanes: numbers into an array, found by dock and sender; 0 is none ---- */

static uint32_t *bucket(const struct qmgr_lanes *x, uint32_t dock, uint32_t sender)
{
	return &x->hash[(sender ^ dock * 0x9e3779b1u) & (x->cap - 1)];
}

static void grow(struct qmgr_lanes *x)
{
	uint32_t i, *p, was = x->cap;

	x->cap = was ? was * 2 : 64;
	x->lane = base_realloc(x->lane, x->cap * sizeof(*x->lane));
	free(x->hash);
	x->hash = base_alloc(x->cap * sizeof(*x->hash));
	for (i = 1; i < was; i++) { /* all are used */
		p = bucket(x, x->lane[i].dock, x->lane[i].sender);
		x->lane[i].hnext = *p;
		*p = i;
	}
	for (i = x->cap - 1; i >= (was ? was : 1); i--) {
		x->lane[i].hnext = x->free;
		x->free = i;
	}
}

static uint32_t lane_get(struct qmgr *q, struct qmgr_dock *k, uint32_t sender)
{
	struct qmgr_lanes *x = &q->lanes;
	uint32_t i = x->cap ? *bucket(x, k->number, sender) : 0, *p;

	while (i && (x->lane[i].dock != k->number || x->lane[i].sender != sender))
		i = x->lane[i].hnext;
	if (i)
		return i;
	if (!x->free)
		grow(x);
	i = x->free;
	x->free = x->lane[i].hnext;
	p = bucket(x, k->number, sender);
	x->lane[i] = (struct qmgr_lane){.sender = sender, .dock = k->number, .hnext = *p};
	*p = i;
	k->nlane++;
	return i;
}

static struct qmgr_dock *dock_of(const struct qmgr *q, uint32_t lane)
{
	return q->docks[q->lanes.lane[lane].dock];
}

/* The round it belongs to: of those with nothing ahead, or of the others. */
static uint32_t *round_of(const struct qmgr *q, uint32_t i)
{
	return &dock_of(q, i)->round[q->lanes.lane[i].ahead > 0];
}

/* As in utlist: the first one's prev is the last. */
static void round_add(struct qmgr *q, uint32_t i)
{
	struct qmgr_lane *l = q->lanes.lane;
	uint32_t *first = round_of(q, i);

	l[i].next = 0;
	l[i].prev = *first ? l[*first].prev : i;
	if (*first) {
		l[l[*first].prev].next = i;
		l[*first].prev = i;
	} else {
		*first = i;
	}
}

static void round_remove(struct qmgr *q, uint32_t i)
{
	struct qmgr_lane *l = q->lanes.lane;
	uint32_t *first = round_of(q, i);

	if (l[i].next)
		l[l[i].next].prev = l[i].prev;
	else
		l[*first].prev = l[i].prev;
	if (*first == i)
		*first = l[i].next;
	else
		l[l[i].prev].next = l[i].next;
}

/* ---- docks ---- */

static struct qmgr_dock *dock_new(struct qmgr *q, struct qmgr_dest *d)
{
	uint32_t i = q->dock_free;

	while (i < q->ndock && q->docks[i])
		i++;
	q->dock_free = i + 1;
	if (i == q->ndock)
		q->docks = base_realloc(q->docks, ++q->ndock * sizeof(struct qmgr_dock *));
	q->docks[i] = base_alloc(sizeof(struct qmgr_dock));
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

static bool holds(const struct qmgr_dock *k)
{
	return k->round[0] || k->round[1];
}

static bool has_room(const struct qmgr *q, const struct qmgr_dock *k)
{
	const struct qmgr_dest *d = k->dest;

	return !d || (!qmgr_sched_dead(d, loop_now(q->loop)) &&
			 d->queued + d->sent + k->coming < q->sched.share);
}

static void open_dock(struct qmgr *q, struct qmgr_dock *k)
{
	if (k->open || k->number == QMGR_FRESH || !holds(k) || !has_room(q, k))
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

	if (holds(k))
		return;
	close_dock(q, k);
	if (!d || k->nlane)
		return;
	q->docks[k->number] = NULL;
	q->dock_free = k->number < q->dock_free ? k->number : q->dock_free;
	d->dock = NULL;
	free(k);
	qmgr_sched_unref(&q->sched, &d, loop_now(q->loop));
}

static void lane_check(struct qmgr *q, uint32_t i)
{
	struct qmgr_lanes *x = &q->lanes;
	struct qmgr_dock *k = dock_of(q, i);
	uint32_t *p = bucket(x, k->number, x->lane[i].sender);

	if (!x->lane[i].first && !x->lane[i].ahead) {
		while (*p != i)
			p = &x->lane[*p].hnext;
		*p = x->lane[i].hnext;
		x->lane[i].hnext = x->free;
		x->free = i;
		k->nlane--;
	}
	dock_check(q, k);
}

/* Recipients of it that are not through. */
static uint32_t open_rcpts(const struct qmgr *q, uint32_t slot)
{
	const struct qmgr_msg *m = qmgr_msg_at(q, slot);

	return m ? m->nopen : qmgr_slot_at(&q->index, slot)->nopen;
}

static void put(struct qmgr *q, struct qmgr_dock *k, uint32_t i)
{
	struct qmgr_slot *s = qmgr_slot_at(&q->index, i);
	struct qmgr_lane *l;
	uint32_t n;

	n = lane_get(q, k, s->sender); /* first: so that the dock stays */
	if (s->lane == n) {
		open_dock(q, k);
		return; /* it keeps its place */
	}
	qmgr_lane_remove(q, i);
	l = &q->lanes.lane[n];
	s->lane = n;
	s->lnext = 0;
	s->lprev = l->last;
	if (l->last)
		qmgr_slot_at(&q->index, l->last)->lnext = i;
	else
		l->first = i;
	if (!l->last)
		round_add(q, n);
	l->last = i;
	k->rcpts += open_rcpts(q, i);
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
	uint32_t n = s->lane, rcpts;
	struct qmgr_dock *k;
	struct qmgr_lane *l;

	if (!n)
		return;
	l = &q->lanes.lane[n];
	k = dock_of(q, n);
	rcpts = open_rcpts(q, i);
	k->rcpts -= rcpts < k->rcpts ? rcpts : k->rcpts;
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
		round_remove(q, n);
	lane_check(q, n);
}

void qmgr_lane_through(struct qmgr *q, uint32_t slot)
{
	uint32_t lane = qmgr_slot_at(&q->index, slot)->lane;

	if (lane && dock_of(q, lane)->rcpts)
		dock_of(q, lane)->rcpts--;
}

const struct qmgr_dest *qmgr_lane_dest(const struct qmgr *q, uint32_t slot)
{
	const struct qmgr_slot *s = qmgr_slot_at(&q->index, slot);

	return s->lane ? dock_of(q, s->lane)->dest : NULL;
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

/* So many recipients of the lane more, or less, are ahead. */
static void ahead(struct qmgr *q, uint32_t i, int64_t n)
{
	struct qmgr_lane *l = &q->lanes.lane[i];

	if (l->first)
		round_remove(q, i);
	l->ahead += (uint32_t)n;
	dock_of(q, i)->coming += (uint32_t)n;
	q->reserved += (uint64_t)n;
	if (l->first)
		round_add(q, i);
}

void qmgr_lane_arrived(struct qmgr *q, uint32_t *lane, uint32_t n)
{
	uint32_t i = *lane;

	*lane = 0;
	if (!i)
		return;
	ahead(q, i, -(int64_t)n);
	open_dock(q, dock_of(q, i));
	lane_check(q, i);
}

bool qmgr_lane_first(const struct qmgr *q, uint32_t lane, uint32_t coming)
{
	return q->lanes.lane[lane].ahead == coming;
}

/* A dock that has something for those who may go, or NULL. */
static struct qmgr_dock *choose(struct qmgr *q, bool newcomers)
{
	struct qmgr_dock *fresh = q->docks[QMGR_FRESH], *k;
	uint32_t n = 0;

	q->lane_turn = !q->lane_turn;
	while ((k = q->open_docks) && !has_room(q, k))
		close_dock(q, k);
	if (k && k->next) {
		DL_DELETE(q->open_docks, k);
		DL_APPEND(q->open_docks, k);
	}
	while (newcomers && k && (!k->round[0] || !has_room(q, k)))
		k = ++n < LOOK_DOCKS ? k->next : NULL;
	if ((newcomers ? fresh->round[0] : holds(fresh)) && (q->lane_turn || !k))
		k = fresh;
	return k;
}

uint32_t qmgr_lane_next(struct qmgr *q, bool newcomers, uint32_t *lane, uint32_t *coming)
{
	struct qmgr_dock *k = choose(q, newcomers);
	uint32_t i, n;

	if (!k)
		return 0;
	n = k->round[0] ? k->round[0] : k->round[1];
	i = q->lanes.lane[n].first;
	*coming = open_rcpts(q, i);
	*coming = *coming ? *coming : 1;
	*lane = n;
	ahead(q, n, *coming); /* which puts it to the end of its round */
	qmgr_lane_remove(q, i);
	return i;
}

void qmgr_lane_free_all(struct qmgr *q)
{
	uint32_t i;

	for (i = 0; i < q->ndock; i++)
		free(q->docks[i]);
	free(q->docks);
	free(q->lanes.lane);
	free(q->lanes.hash);
	q->docks = NULL;
	q->ndock = 0;
}
