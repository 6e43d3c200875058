/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sched.c -- whose turn it is: destinations one after the other, in a destination its
 * senders (turn.c), for each destination as many deliveries at a time as it has earned.
 * Destinations that have something of a newcomer take turns with all others.
 * Comes from route.c and outcome.c; goes to dispatch.c. Owns destinations and their flows; items
 * belong to the caller. No I/O, no clock, constant work an item. Nothing can fail.
 *
 * A dead destination holds no item: the caller takes all off when done() says so, and asks
 * dead() before it adds. One with a rate rests after each delivery until the next may go; what
 * becomes free within a tick goes together, so that many with fast rates cost little.
 */
#include "qmgr/qmgr.h"

#include <stdlib.h>

void qmgr_list_add(struct qmgr_list *l, struct qmgr_item *i)
{
	i->next = NULL;
	if (l->tail)
		l->tail->next = i;
	else
		l->head = i;
	l->tail = i;
	l->n++;
}

struct qmgr_item *qmgr_list_pop(struct qmgr_list *l)
{
	struct qmgr_item *i = l->head;

	if (!i)
		return NULL;
	l->head = i->next;
	if (!l->head)
		l->tail = NULL;
	l->n--;
	i->next = NULL;
	return i;
}

void qmgr_sched_init(struct qmgr_sched *s)
{
	memset(s, 0, sizeof(*s));
	s->rest_next = INT64_MAX;
	s->max_rcpts = QMGR_RCPTS_MAX;
}

static uint32_t part(const struct qmgr_sched *s, uint32_t held)
{
	return held < s->share ? held : s->share;
}

static uint32_t top(const struct qmgr_sched *s, const struct qmgr_dest *d)
{
	return d->own.max ? d->own.max : s->max;
}

static uint32_t first(const struct qmgr_sched *s, const struct qmgr_dest *d)
{
	uint32_t n = d->own.initial ? d->own.initial : s->initial;

	return n < top(s, d) ? n : top(s, d);
}

/* May be called again with other limits: destinations adapt as they work. */
void qmgr_sched_conf(struct qmgr_sched *s, const struct qmgr_limits *lim)
{
	struct qmgr_dest *d;

	s->max = lim->max_conn > 0 ? (uint32_t)lim->max_conn : 1;
	s->initial = lim->initial > 0 ? (uint32_t)lim->initial : 1;
	if (s->initial > s->max)
		s->initial = s->max;
	s->max_pause = lim->max_retry;
	s->kept = lim->memory / 8 / QMGR_DEST;
	if (s->kept > QMGR_DESTS_MAX)
		s->kept = QMGR_DESTS_MAX;
	s->share = lim->aq_max > 4 ? (uint32_t)(lim->aq_max / 4) : 1;
	s->counted = 0;
	for (d = s->dests; d; d = d->hh.next) {
		if (d->limit > top(s, d))
			d->limit = top(s, d);
		s->counted += part(s, d->queued + d->sent);
	}
}

static void count(struct qmgr_sched *s, struct qmgr_dest *d, uint32_t was)
{
	s->counted -= part(s, was);
	s->counted += part(s, d->queued + d->sent);
}

static void leave_round(struct qmgr_sched *s, struct qmgr_dest *d)
{
	if (d->round)
		DL_DELETE(s->ready[d->round - 1], d);
	d->round = 0;
}

/* In a round, or not, as its state demands: that of newcomers' destinations, or of the others. */
static void settle(struct qmgr_sched *s, struct qmgr_dest *d)
{
	bool may = d->queued > 0 && d->active < d->limit && !d->rest_until;
	uint8_t round = may ? (d->fresh ? 2 : 1) : 0;

	if (round == d->round)
		return;
	leave_round(s, d);
	d->round = round;
	if (round)
		DL_APPEND(s->ready[round - 1], d);
}

static void rest_end(struct qmgr_sched *s, struct qmgr_dest *d)
{
	d->rest_until = 0;
	DL_DELETE2(s->resting, d, rprev, rnext);
}

static void dest_free(struct qmgr_sched *s, struct qmgr_dest *d)
{
	if (d->rest_until)
		rest_end(s, d);
	qmgr_turn_free(s, d);
	leave_round(s, d);
	HASH_DELETE(hh, s->dests, d);
	if (s->let_go)
		s->let_go(d);
	free(d);
}

static void dest_check(struct qmgr_sched *s, struct qmgr_dest *d, int64_t now)
{
	if (d->refs || d->active || d->queued || d->rest_until)
		return;
	if (d->dead_until > now && HASH_COUNT(s->dests) <= s->kept)
		return;
	dest_free(s, d);
}

void qmgr_sched_free(struct qmgr_sched *s)
{
	struct qmgr_dest *d, *tmp;

	HASH_ITER (hh, s->dests, d, tmp) {
		dest_free(s, d);
	}
}

/* Finds or makes it, and takes a reference. */
struct qmgr_dest *qmgr_sched_dest(struct qmgr_sched *s, const char *key, size_t len)
{
	struct qmgr_dest *d;

	HASH_FIND(hh, s->dests, key, len, d);
	if (!d) {
		d = base_alloc(sizeof(*d) + len + 1);
		memcpy(d->key, key, len);
		d->limit = first(s, d);
		d->last_ok = d->shrunk = INT64_MIN;
		HASH_ADD_KEYPTR(hh, s->dests, d->key, len, d);
	}
	d->refs++;
	return d;
}

void qmgr_sched_unref(struct qmgr_sched *s, struct qmgr_dest **dp, int64_t now)
{
	struct qmgr_dest *d = *dp;

	*dp = NULL;
	if (!d)
		return;
	d->refs--;
	dest_check(s, d, now);
}

int64_t qmgr_sched_dead(const struct qmgr_dest *d, int64_t now)
{
	return d->dead_until > now ? d->dead_until - now : 0;
}

void qmgr_sched_revive(struct qmgr_sched *s, struct qmgr_dest *d)
{
	s->changed = s->changed || d->dead_until;
	d->dead_until = 0;
}

void qmgr_sched_restore(struct qmgr_sched *s, const char *key, size_t len, int64_t dead_until,
    int64_t dead_delay, int64_t now)
{
	struct qmgr_dest *d = qmgr_sched_dest(s, key, len);

	d->dead_delay = dead_delay < s->max_pause ? dead_delay : s->max_pause;
	d->dead_until = dead_until < now + s->max_pause ? dead_until : now + s->max_pause;
	d->limit = 1;
	qmgr_sched_unref(s, &d, now);
}

/* What it has earned stays; one that was never used begins as it should. */
void qmgr_sched_bound(struct qmgr_sched *s, struct qmgr_dest *d, const struct qmgr_bounds *b)
{
	bool unused = !d->active && d->last_ok == INT64_MIN && d->shrunk == INT64_MIN;

	d->own = *b;
	if (unused && !d->dead_delay)
		d->limit = first(s, d);
	if (d->limit > top(s, d))
		d->limit = top(s, d);
	settle(s, d);
}

void qmgr_sched_add(
    struct qmgr_sched *s, struct qmgr_dest *d, const char *sender, struct qmgr_item *i)
{
	qmgr_turn_add(s, d, sender, i);
	d->queued++;
	count(s, d, d->queued + d->sent - 1);
	settle(s, d);
}

/* ---- rates ---- */

/* From one recipient to the next, if each is of another message. */
static int64_t step_us(const struct qmgr_dest *d)
{
	return d->own.msg_us > d->own.rcpt_us ? d->own.msg_us : d->own.rcpt_us;
}

bool qmgr_sched_behind(const struct qmgr_sched *s, struct qmgr_dest *d, const char *sender)
{
	int64_t step = step_us(d);
	struct qmgr_flow *f;

	if (!step)
		return false;
	f = qmgr_turn_find(s, d, sender);
	return d->queued >= s->share || (f && f->n > QMGR_AHEAD_MS * 1000LL / step);
}

int64_t qmgr_sched_late(struct qmgr_sched *s, struct qmgr_dest *d, const char *sender, int64_t now)
{
	int64_t step = step_us(d), from, ahead;

	if (!qmgr_sched_behind(s, d, sender))
		return 0;
	from = now * 1000 + d->queued * step;
	d->late_us = (d->late_us > from ? d->late_us : from) + step;
	ahead = d->late_us / 1000 - now;
	if (ahead < s->max_pause)
		return ahead;
	d->late_us -= step; /* it gets its place when it comes back: none is kept for it */
	return s->max_pause;
}

static int64_t cost(const struct qmgr_dest *d, uint32_t rcpts)
{
	int64_t us = rcpts * d->own.rcpt_us;

	return us > d->own.msg_us ? us : d->own.msg_us;
}

/* What is late by less than a tick is made up for. */
static void rest(struct qmgr_sched *s, struct qmgr_dest *d, uint32_t rcpts, int64_t now)
{
	int64_t least = (now - QMGR_TICK_MS) * 1000;

	if (d->free_us < least)
		d->free_us = least;
	d->free_us += cost(d, rcpts);
	if (d->free_us <= now * 1000)
		return;
	d->rest_until = (d->free_us / 1000 / QMGR_TICK_MS + 1) * QMGR_TICK_MS;
	DL_APPEND2(s->resting, d, rprev, rnext);
	if (d->rest_until < s->rest_next)
		s->rest_next = d->rest_until;
}

static void rested(struct qmgr_sched *s, int64_t now)
{
	struct qmgr_dest *d, *next;

	s->rest_next = INT64_MAX;
	for (d = s->resting; d; d = next) {
		next = d->rnext;
		if (d->rest_until <= now) {
			rest_end(s, d);
			settle(s, d);
		} else if (d->rest_until < s->rest_next) {
			s->rest_next = d->rest_until;
		}
	}
}

int64_t qmgr_sched_rest(const struct qmgr_sched *s)
{
	return s->rest_next;
}

/* ---- deliveries ---- */

struct qmgr_dest *qmgr_sched_next(struct qmgr_sched *s, struct qmgr_list *out, int64_t now)
{
	struct qmgr_dest *d;

	memset(out, 0, sizeof(*out));
	if (s->rest_next <= now)
		rested(s, now);
	s->fresh_turn = s->ready[1] && !s->fresh_turn;
	d = s->ready[s->fresh_turn] ? s->ready[s->fresh_turn] : s->ready[!s->fresh_turn];
	if (!d)
		return NULL;
	qmgr_turn_take(s, d, out, d->own.max_rcpts ? d->own.max_rcpts : s->max_rcpts);
	d->queued -= out->n;
	d->sent += out->n;
	d->active++;
	leave_round(s, d); /* to the end of it */
	if (step_us(d))
		rest(s, d, out->n, now);
	settle(s, d);
	return d;
}

static void die(struct qmgr_sched *s, struct qmgr_dest *d, int64_t now)
{
	d->dead_delay = d->dead_delay ? d->dead_delay * 2 : QMGR_DEAD_MS;
	if (d->dead_delay > s->max_pause)
		d->dead_delay = s->max_pause;
	d->dead_until = now + d->dead_delay;
	s->changed = true;
	d->limit = 1;
	d->shrunk = now;
}

/* Failures of deliveries that began before the last shrinking tell nothing new. */
static void shrink(
    struct qmgr_sched *s, struct qmgr_dest *d, enum qmgr_fate fate, int64_t started, int64_t now)
{
	if (d->dead_until > now || started < d->shrunk)
		return;
	if (d->limit <= 1 || (fate == QF_NOBODY && d->last_ok < started)) {
		die(s, d, now);
		return;
	}
	d->limit /= 2;
	d->shrunk = now;
}

bool qmgr_sched_done(struct qmgr_sched *s, struct qmgr_dest *d, uint32_t n, enum qmgr_fate fate,
    int64_t started, int64_t now)
{
	bool dead;

	d->active--;
	d->sent -= n;
	count(s, d, d->queued + d->sent + n);
	if (fate == QF_OK) {
		d->last_ok = now;
		s->changed = s->changed || d->dead_until;
		d->dead_delay = d->dead_until = 0;
		if (d->limit < top(s, d))
			d->limit++;
	} else if (fate != QF_NEUTRAL) {
		shrink(s, d, fate, started, now);
	}
	settle(s, d);
	dead = d->dead_until > now;
	if (!dead)
		dest_check(s, d, now);
	return dead;
}

void qmgr_sched_unsent(struct qmgr_sched *s, struct qmgr_dest *d, uint32_t n, int64_t now)
{
	d->free_us -= cost(d, n);
	if (d->rest_until)
		rest_end(s, d);
	qmgr_sched_done(s, d, n, QF_NEUTRAL, now, now);
}

bool qmgr_sched_full(
    const struct qmgr_sched *s, const struct qmgr_dest *d, const char *sender, const void *group)
{
	struct qmgr_dest *at = (struct qmgr_dest *)(uintptr_t)d;
	uint64_t held = (uint64_t)d->queued + d->sent;

	if (held < s->share || qmgr_turn_group(s, at, group))
		return false;
	return held >= 2 * (uint64_t)s->share || qmgr_turn_find(s, at, sender);
}

/* One of all items; NULL: none left. */
struct qmgr_item *qmgr_sched_take(struct qmgr_sched *s, struct qmgr_dest *d)
{
	struct qmgr_list one = {0};

	if (!d->queued)
		return NULL;
	qmgr_turn_take(s, d, &one, 1);
	d->queued--;
	count(s, d, d->queued + d->sent + 1);
	settle(s, d);
	return one.head;
}

void qmgr_sched_tidy(struct qmgr_sched *s, int64_t now)
{
	struct qmgr_dest *d, *tmp;

	HASH_ITER (hh, s->dests, d, tmp) {
		dest_check(s, d, now);
	}
}
