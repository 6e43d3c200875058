/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * turn.c -- whose turn it is at one destination: its senders one after the other (deficit round
 * robin, counted in recipients). A sender that has little queued anywhere and comes anew to the
 * destination is a newcomer: such go before the others, every second delivery, and once; who has
 * more then goes to the round. So a single mail waits for two deliveries, not for a round in which
 * each sender sends a quantum, nor for all destinations of another's mailing.
 * Comes from and goes back to sched.c. Owns flows, groups and the senders' accounts; items belong
 * to the caller. Constant work an item. Nothing can fail.
 */
#include "qmgr/qmgr.h"

#include <stdlib.h>

struct qmgr_sender { /* one that has something in the schedule */
	UT_hash_handle hh;
	uint32_t n;	/* items */
	uint32_t flows; /* destinations */
	char name[];
};

static struct qmgr_sender *sender_get(struct qmgr_sched *s, const char *name)
{
	size_t len = strnlen(name, QMGR_SENDER_MAX);
	struct qmgr_sender *x;

	HASH_FIND(hh, s->senders, name, len, x);
	if (x)
		return x;
	x = base_alloc(sizeof(*x) + len + 1);
	memcpy(x->name, name, len);
	HASH_ADD_KEYPTR(hh, s->senders, x->name, len, x);
	return x;
}

/* The first group of the flow holds nothing more. */
static void group_gone(struct qmgr_sched *s, struct qmgr_dest *d, struct qmgr_flow *f)
{
	struct qmgr_group *g = f->groups;
	struct qmgr_sender *x = f->of;

	HASH_DELETE(hh, s->groups, g);
	DL_DELETE(f->groups, g);
	free(g);
	if (f->groups)
		return;
	HASH_DELETE(hh, s->flows, f);
	if (f->fresh)
		DL_DELETE(d->fresh, f);
	else
		DL_DELETE(d->turn, f);
	free(f);
	if (--x->flows)
		return;
	HASH_DELETE(hh, s->senders, x);
	free(x);
}

void qmgr_turn_free(struct qmgr_sched *s, struct qmgr_dest *d)
{
	while (d->turn || d->fresh) {
		struct qmgr_flow *f = d->turn ? d->turn : d->fresh;

		f->of->n -= f->groups->items.n;
		group_gone(s, d, f);
	}
}

#define FLOW_KEY (offsetof(struct qmgr_flow, sender) - offsetof(struct qmgr_flow, dest))

struct qmgr_flow *qmgr_turn_find(
    const struct qmgr_sched *s, struct qmgr_dest *d, const char *sender)
{
	char key[sizeof(d) + QMGR_SENDER_MAX];
	size_t len = strnlen(sender, QMGR_SENDER_MAX);
	struct qmgr_flow *f;

	memcpy(key, &d, sizeof(d));
	memcpy(key + FLOW_KEY, sender, len);
	HASH_FIND(hh, s->flows, key, FLOW_KEY + len, f);
	return f;
}

static struct qmgr_flow *flow_get(struct qmgr_sched *s, struct qmgr_dest *d, const char *sender)
{
	struct qmgr_flow *f = qmgr_turn_find(s, d, sender);
	size_t len = strnlen(sender, QMGR_SENDER_MAX);

	if (f)
		return f;
	f = base_alloc(sizeof(*f) + len + 1);
	f->dest = d;
	memcpy(f->sender, sender, len);
	f->deficit = QMGR_QUANTUM;
	HASH_ADD_KEYPTR(hh, s->flows, &f->dest, FLOW_KEY + len, f);
	f->of = sender_get(s, sender);
	f->of->flows++;
	f->fresh = f->of->n < QMGR_LITTLE;
	if (f->fresh)
		DL_APPEND(d->fresh, f);
	else
		DL_APPEND(d->turn, f);
	return f;
}

struct qmgr_group *qmgr_turn_group(
    const struct qmgr_sched *s, struct qmgr_dest *d, const void *group)
{
	struct qmgr_group *g, key = {.key = {d, group}};

	HASH_FIND(hh, s->groups, &key.key, sizeof(key.key), g);
	return g;
}

void qmgr_turn_add(
    struct qmgr_sched *s, struct qmgr_dest *d, const char *sender, struct qmgr_item *i)
{
	struct qmgr_group *g = qmgr_turn_group(s, d, i->group);

	if (!g) {
		struct qmgr_flow *f = flow_get(s, d, sender);

		g = base_alloc(sizeof(*g));
		g->key.dest = d;
		g->key.group = i->group;
		g->flow = f;
		HASH_ADD(hh, s->groups, key, sizeof(g->key), g);
		DL_APPEND(f->groups, g);
	}
	qmgr_list_add(&g->items, i);
	g->flow->n++;
	g->flow->of->n++;
}

static void next_in_round(struct qmgr_dest *d)
{
	struct qmgr_flow *f = d->turn;

	f->deficit += QMGR_QUANTUM;
	if (f->next || f->prev != f) { /* not alone */
		DL_DELETE(d->turn, f);
		DL_APPEND(d->turn, f);
	}
}

/* Each round gives a quantum, so the work here is in proportion to the recipients sent. */
static struct qmgr_flow *in_round(struct qmgr_dest *d)
{
	while (d->turn->deficit <= 0)
		next_in_round(d);
	return d->turn;
}

/* NULL: it is the turn of the round. Who sent more than it should there does not take it. */
static struct qmgr_flow *newcomer(struct qmgr_dest *d)
{
	struct qmgr_flow *f = d->fresh;

	d->fresh_turn = f && !d->fresh_turn;
	if (!f || (d->turn && !d->fresh_turn && d->turn->deficit > 0))
		return NULL;
	if (d->turn && !d->fresh_turn)
		next_in_round(d);
	DL_DELETE(d->fresh, f);
	DL_APPEND(d->turn, f);
	f->fresh = false;
	return f;
}

void qmgr_turn_take(struct qmgr_sched *s, struct qmgr_dest *d, struct qmgr_list *out, uint32_t most)
{
	struct qmgr_flow *f = newcomer(d);
	struct qmgr_group *g;

	f = f ? f : in_round(d);
	g = f->groups;
	while (g->items.head && out->n < most)
		qmgr_list_add(out, qmgr_list_pop(&g->items));
	f->deficit -= (int32_t)out->n;
	f->n -= out->n;
	f->of->n -= out->n;
	if (!g->items.head)
		group_gone(s, d, f);
}
