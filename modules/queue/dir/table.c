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

bool table_room(struct rec *r, uint32_t rcpt)
{
	struct rst *x;
	uint32_t n;

	if (rcpt >= DIR_NRCPT_MAX || (r->nrcpt > 0 && rcpt >= r->nrcpt))
		return false;
	if (rcpt < r->nst)
		return true;
	n = r->nrcpt > 0 ? r->nrcpt : rcpt + 1;
	x = realloc(r->st, n * sizeof(*x));
	if (x == NULL)
		return false;
	memset(x + r->nst, 0, (n - r->nst) * sizeof(*x));
	r->st = x;
	r->nst = n;
	return true;
}

void table_state(
    struct table *t, struct rec *r, uint32_t rcpt, const struct rst *s, struct meta1_buf reason)
{
	struct rst *x = &r->st[rcpt];
	uint32_t was = x->reason;

	r->nfinal += (s->state != META1_R_WAITING) - (x->state != META1_R_WAITING);
	*x = *s;
	/* Only who waits has somebody who asks why. */
	x->reason =
	    s->state == META1_R_WAITING ? texts_take(&t->texts, reason.data, reason.len) : 0;
	texts_drop(&t->texts, was);
}

void table_admit(struct table *t, struct rec *r, uint32_t nrcpt)
{
	while (r->nst > nrcpt) {
		const struct rst *x = &r->st[--r->nst];

		r->nfinal -= x->state != META1_R_WAITING;
		texts_drop(&t->texts, x->reason);
	}
	r->nrcpt = nrcpt;
}

/* Over what the envelope says. */
void table_states(const struct table *t, const struct rec *r, struct meta1_qrcpt *v, uint32_t n)
{
	for (uint32_t i = 0; i < r->nst && i < n; i++) {
		v[i].state = r->st[i].state;
		v[i].tries = r->st[i].tries;
		v[i].next_try = r->st[i].next_try;
		v[i].reason = texts_get(&t->texts, r->st[i].reason);
	}
}

bool table_final(const struct rec *r)
{
	return r->nrcpt > 0 && r->nfinal == r->nrcpt;
}

static void forget_states(struct table *t, struct rec *r)
{
	for (uint32_t i = 0; i < r->nst; i++)
		texts_drop(&t->texts, r->st[i].reason);
	free(r->st);
	r->st = NULL;
	r->nst = 0;
}

void table_dead(struct table *t, struct rec *r)
{
	if (r->dead)
		return;
	r->dead = true;
	forget_states(t, r);
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
	forget_states(t, r);
	free(r);
}

void table_free(struct table *t)
{
	while (t->live.first != NULL)
		table_remove(t, t->live.first);
	while (t->dead.first != NULL)
		table_remove(t, t->dead.first);
	free(t->h);
	texts_free(&t->texts);
	*t = (struct table){.h = NULL};
}
