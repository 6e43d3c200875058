/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * table.c -- what the manager knows of each message: which recipients were tried, and those
 * whose file may go. A hash with two lists, in the order of arrival.
 * Comes from: manager.c, replay.c, backlog.c. Owns: its records. On failure: no memory: false.
 */
#include "dir.h"

#include <stdlib.h>
#include <string.h>

static size_t slot(const struct table *t, uint32_t writer, uint64_t number)
{
	uint64_t x = (number ^ (uint64_t)writer << 56) * 0x9e3779b97f4a7c15u;

	return (size_t)(x >> 20) & (t->cap - 1);
}

struct rec *table_find(const struct table *t, uint32_t writer, uint64_t number)
{
	struct rec *r = t->cap > 0 ? t->h[slot(t, writer, number)] : NULL;

	while (r != NULL && (r->number != number || r->writer != writer))
		r = r->hnext;
	return r;
}

static bool grow(struct table *t)
{
	size_t had = t->cap;
	struct rec **was = t->h, **h;

	if (t->n < had)
		return true;
	h = calloc(had > 0 ? 2 * had : 1024, sizeof(struct rec *));
	if (h == NULL)
		return had > 0; /* slower, but right */
	t->cap = had > 0 ? 2 * had : 1024;
	t->h = h;
	for (size_t i = 0; i < had; i++)
		for (struct rec *r = was[i], *next; r != NULL; r = next) {
			struct rec **to = &t->h[slot(t, r->writer, r->number)];

			next = r->hnext;
			r->hnext = *to;
			*to = r;
		}
	free(was);
	return true;
}

static void link_last(struct list *l, struct rec *r)
{
	r->next = NULL;
	r->prev = l->last;
	if (l->last != NULL)
		l->last->next = r;
	else
		l->first = r;
	l->last = r;
}

static void unlink_it(struct list *l, struct rec *r)
{
	*(r->prev != NULL ? &r->prev->next : &l->first) = r->next;
	*(r->next != NULL ? &r->next->prev : &l->last) = r->prev;
}

struct rec *table_add(struct table *t, uint32_t writer, uint64_t number)
{
	struct rec *r = table_find(t, writer, number), **to;

	if (r != NULL)
		return r;
	r = grow(t) ? calloc(1, sizeof(*r)) : NULL;
	if (r == NULL)
		return NULL;
	r->writer = writer;
	r->number = number;
	to = &t->h[slot(t, writer, number)];
	r->hnext = *to;
	*to = r;
	link_last(&t->live, r);
	t->n++;
	return r;
}

bool table_state(struct rec *r, uint32_t rcpt, const struct rst *s, struct meta1_buf reason)
{
	struct rst *x;
	char *why = NULL;

	if (rcpt >= DIR_NRCPT_MAX || (r->nrcpt > 0 && rcpt >= r->nrcpt))
		return false;
	if (rcpt >= r->nst) {
		uint32_t n = r->nrcpt > 0 ? r->nrcpt : rcpt + 1;

		x = realloc(r->st, n * sizeof(*x));
		if (x == NULL)
			return false;
		memset(x + r->nst, 0, (n - r->nst) * sizeof(*x));
		r->st = x;
		r->nst = n;
	}
	/* Only who waits has somebody who asks why. */
	if (s->state == META1_R_WAITING && reason.len > 0) {
		why = malloc(reason.len + 1);
		if (why == NULL)
			return false;
		memcpy(why, reason.data, reason.len);
		why[reason.len] = '\0';
	}
	x = &r->st[rcpt];
	free(x->reason);
	*x = *s;
	x->reason = why;
	return true;
}

bool table_final(const struct rec *r)
{
	if (r->nrcpt == 0 || r->nst < r->nrcpt)
		return false;
	for (uint32_t i = 0; i < r->nrcpt; i++)
		if (r->st[i].state == META1_R_WAITING)
			return false;
	return true;
}

static void forget_states(struct rec *r)
{
	for (uint32_t i = 0; i < r->nst; i++)
		free(r->st[i].reason);
	free(r->st);
	r->st = NULL;
	r->nst = 0;
}

void table_dead(struct table *t, struct rec *r)
{
	if (r->dead)
		return;
	r->dead = true;
	forget_states(r);
	unlink_it(&t->live, r);
	link_last(&t->dead, r);
	if (t->say == NULL)
		t->say = r;
	t->ndead++;
}

void table_remove(struct table *t, struct rec *r)
{
	struct rec **p = &t->h[slot(t, r->writer, r->number)];

	while (*p != r)
		p = &(*p)->hnext;
	*p = r->hnext;
	if (t->say == r)
		t->say = r->next;
	unlink_it(r->dead ? &t->dead : &t->live, r);
	t->ndead -= r->dead;
	t->n--;
	forget_states(r);
	free(r);
}

void table_free(struct table *t)
{
	while (t->live.first != NULL)
		table_remove(t, t->live.first);
	while (t->dead.first != NULL)
		table_remove(t, t->dead.first);
	free(t->h);
	*t = (struct table){.h = NULL};
}
