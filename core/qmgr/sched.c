/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sched.c -- whose turn it is: destinations one after the other, in a destination its
 * senders one after the other (deficit round robin, counted in recipients), for each
 * destination as many deliveries at a time as it has earned.
 * Comes from route.c and outcome.c; goes to dispatch.c. Owns destinations and their flows; items
 * belong to the caller. No I/O, no clock, constant work an item. Nothing can fail.
 *
 * A dead destination holds no item: the caller takes all off when done() says so, and asks
 * dead() before it adds. So nothing here has to wait for a time.
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
	s->max_rcpts = QMGR_RCPTS_MAX;
}

static uint32_t part(const struct qmgr_sched *s, uint32_t held)
{
	return held < s->share ? held : s->share;
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
	s->share = lim->aq_max > 4 ? (uint32_t)(lim->aq_max / 4) : 1;
	s->counted = 0;
	for (d = s->dests; d; d = d->hh.next) {
		if (d->limit > s->max)
			d->limit = s->max;
		s->counted += part(s, d->queued + d->sent);
	}
}

static void count(struct qmgr_sched *s, struct qmgr_dest *d, uint32_t was)
{
	s->counted -= part(s, was);
	s->counted += part(s, d->queued + d->sent);
}

/* In the round, or not, as its state demands. */
static void settle(struct qmgr_sched *s, struct qmgr_dest *d)
{
	bool may = d->queued > 0 && d->active < d->limit;

	if (may == d->ready)
		return;
	d->ready = may;
	if (may)
		DL_APPEND(s->ready, d);
	else
		DL_DELETE(s->ready, d);
}

/* The first group of the flow holds nothing more. */
static void group_gone(struct qmgr_sched *s, struct qmgr_dest *d, struct qmgr_flow *f)
{
	struct qmgr_group *g = f->groups;

	HASH_DELETE(hh, s->groups, g);
	DL_DELETE(f->groups, g);
	free(g);
	if (f->groups)
		return;
	HASH_DELETE(hh, s->flows, f);
	DL_DELETE(d->turn, f);
	free(f);
}

static void dest_free(struct qmgr_sched *s, struct qmgr_dest *d)
{
	while (d->turn)
		group_gone(s, d, d->turn);
	if (d->ready)
		DL_DELETE(s->ready, d);
	HASH_DELETE(hh, s->dests, d);
	if (s->let_go)
		s->let_go(d);
	free(d);
}

static void dest_check(struct qmgr_sched *s, struct qmgr_dest *d, int64_t now)
{
	if (d->refs || d->active || d->queued)
		return;
	if (d->dead_until > now && HASH_COUNT(s->dests) <= QMGR_DESTS_MAX)
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
		d->limit = s->initial;
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

void qmgr_sched_revive(struct qmgr_dest *d)
{
	d->dead_until = 0;
}

static struct qmgr_flow *flow_get(struct qmgr_sched *s, struct qmgr_dest *d, const char *sender)
{
	const size_t at = offsetof(struct qmgr_flow, sender) - offsetof(struct qmgr_flow, dest);
	char key[sizeof(d) + QMGR_SENDER_MAX];
	size_t len = strnlen(sender, QMGR_SENDER_MAX);
	struct qmgr_flow *f;

	memcpy(key, &d, sizeof(d));
	memcpy(key + at, sender, len);
	HASH_FIND(hh, s->flows, key, at + len, f);
	if (f)
		return f;
	f = base_alloc(sizeof(*f) + len + 1);
	f->dest = d;
	memcpy(f->sender, sender, len);
	f->deficit = QMGR_QUANTUM;
	HASH_ADD_KEYPTR(hh, s->flows, &f->dest, at + len, f);
	DL_APPEND(d->turn, f);
	return f;
}

static struct qmgr_group *group_get(
    struct qmgr_sched *s, struct qmgr_dest *d, const char *sender, const void *group)
{
	struct qmgr_group *g, key = {.key = {d, group}};
	struct qmgr_flow *f;

	HASH_FIND(hh, s->groups, &key.key, sizeof(key.key), g);
	if (g)
		return g;
	f = flow_get(s, d, sender);
	g = base_alloc(sizeof(*g));
	g->key = key.key;
	HASH_ADD(hh, s->groups, key, sizeof(g->key), g);
	DL_APPEND(f->groups, g);
	return g;
}

void qmgr_sched_add(
    struct qmgr_sched *s, struct qmgr_dest *d, const char *sender, struct qmgr_item *i)
{
	qmgr_list_add(&group_get(s, d, sender, i->group)->items, i);
	d->queued++;
	count(s, d, d->queued + d->sent - 1);
	settle(s, d);
}

/* The sender whose turn it is. Each round gives a quantum, so the work here is in proportion
 * to the recipients sent. */
static struct qmgr_flow *turn(struct qmgr_dest *d)
{
	struct qmgr_flow *f = d->turn;

	while (f->deficit <= 0) {
		f->deficit += QMGR_QUANTUM;
		if (f->next || f->prev != f) { /* not alone */
			DL_DELETE(d->turn, f);
			DL_APPEND(d->turn, f);
		}
		f = d->turn;
	}
	return f;
}

struct qmgr_dest *qmgr_sched_next(struct qmgr_sched *s, struct qmgr_list *out)
{
	struct qmgr_dest *d = s->ready;
	struct qmgr_flow *f;
	struct qmgr_group *g;

	memset(out, 0, sizeof(*out));
	if (!d)
		return NULL;
	f = turn(d);
	g = f->groups;
	while (g->items.head && out->n < s->max_rcpts)
		qmgr_list_add(out, qmgr_list_pop(&g->items));
	f->deficit -= (int32_t)out->n;
	if (!g->items.head)
		group_gone(s, d, f);
	d->queued -= out->n;
	d->sent += out->n;
	d->active++;
	DL_DELETE(s->ready, d); /* to the end of the round */
	d->ready = false;
	settle(s, d);
	return d;
}

static void die(struct qmgr_sched *s, struct qmgr_dest *d, int64_t now)
{
	d->dead_delay = d->dead_delay ? d->dead_delay * 2 : QMGR_DEAD_MS;
	if (d->dead_delay > s->max_pause)
		d->dead_delay = s->max_pause;
	d->dead_until = now + d->dead_delay;
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
		d->dead_delay = d->dead_until = 0;
		if (d->limit < s->max)
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

/* One of all items; NULL: none left. */
struct qmgr_item *qmgr_sched_take(struct qmgr_sched *s, struct qmgr_dest *d)
{
	struct qmgr_flow *f = d->turn;
	struct qmgr_item *i;

	if (!f)
		return NULL;
	i = qmgr_list_pop(&f->groups->items);
	if (!f->groups->items.head)
		group_gone(s, d, f);
	d->queued--;
	count(s, d, d->queued + d->sent + 1);
	settle(s, d);
	return i;
}

void qmgr_sched_tidy(struct qmgr_sched *s, int64_t now)
{
	struct qmgr_dest *d, *tmp;

	HASH_ITER (hh, s->dests, d, tmp) {
		dest_check(s, d, now);
	}
}
