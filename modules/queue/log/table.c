/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * table.c -- what the manager knows: waiting messages, and the units that hold them.
 *
 * Two chained hashes that double, and lists in order of admission and of the dead.
 * Comes from: replay.c (at start), manager.c. Goes to: checkpoint.c, units.c.
 * Owns: the records. On failure (no memory): the caller is told, nothing half is kept.
 */
#include "log.h"

#include <stdlib.h>
#include <string.h>

#define REASON_MAX 400

static size_t slot(uint64_t a, uint64_t b, uint64_t c, size_t cap)
{
	uint64_t k[3] = {a, b, c};

	return (size_t)seg_sum(0, k, sizeof(k)) & (cap - 1);
}

static size_t mslot(const struct mrec *r, size_t cap)
{
	return slot(r->seg, r->boff, (uint64_t)r->writer << 32 | r->idx, cap);
}

struct table *table_new(void)
{
	struct table *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	t->mcap = 1024;
	t->ucap = 256;
	t->mh = calloc(t->mcap, sizeof(struct mrec *));
	t->uh = calloc(t->ucap, sizeof(struct unit *));
	if (t->mh == NULL || t->uh == NULL)
		table_free(&t);
	return t;
}

static void rec_free(struct mrec *r)
{
	for (uint32_t i = 0; i < r->nst; i++)
		free(r->st[i].reason);
	free(r->st);
	free(r);
}

void table_free(struct table **tp)
{
	struct table *t = *tp;

	*tp = NULL;
	if (t == NULL)
		return;
	while (t->first != NULL) {
		struct mrec *r = t->first;

		t->first = r->next;
		rec_free(r);
	}
	for (size_t i = 0; t->uh != NULL && i < t->ucap; i++)
		while (t->uh[i] != NULL) {
			struct unit *u = t->uh[i];

			t->uh[i] = u->hnext;
			free(u);
		}
	free(t->mh);
	free(t->uh);
	free(t);
}

struct mrec *table_find(struct table *t, uint32_t writer, uint64_t seg, uint64_t boff, uint32_t idx)
{
	struct mrec *r = t->mh[slot(seg, boff, (uint64_t)writer << 32 | idx, t->mcap)];

	while (
	    r != NULL && (r->seg != seg || r->boff != boff || r->idx != idx || r->writer != writer))
		r = r->hnext;
	return r;
}

/* A table that cannot grow goes on with longer chains. */
static void grow_m(struct table *t)
{
	size_t cap = t->mcap * 2;
	struct mrec **h = calloc(cap, sizeof(*h));

	if (h == NULL)
		return;
	for (struct mrec *r = t->first; r != NULL; r = r->next) {
		size_t i = mslot(r, cap);

		r->hnext = h[i];
		h[i] = r;
	}
	free(t->mh);
	t->mh = h;
	t->mcap = cap;
}

struct mrec *table_add(struct table *t, uint32_t writer, uint64_t seg, uint64_t boff, uint32_t idx)
{
	struct mrec *r = calloc(1, sizeof(*r));
	size_t i;

	if (r == NULL)
		return NULL;
	if (t->mcount >= t->mcap)
		grow_m(t);
	r->writer = writer;
	r->seg = seg;
	r->boff = boff;
	r->idx = idx;
	i = mslot(r, t->mcap);
	r->hnext = t->mh[i];
	t->mh[i] = r;
	r->prev = t->last;
	if (t->last != NULL)
		t->last->next = r;
	else
		t->first = r;
	t->last = r;
	t->mcount++;
	return r;
}

static void recount(struct mrec *r)
{
	r->nfinal = 0;
	for (uint32_t i = 0; i < r->nst && i < r->nrcpt; i++)
		r->nfinal += r->st[i].state != META1_R_WAITING;
}

bool table_admit(struct table *t, struct mrec *r, uint32_t nrcpt, uint64_t own)
{
	struct unit *u = table_unit(t, r->writer, r->seg, true);
	struct unit *o = own != 0 ? table_unit(t, r->writer, own, true) : NULL;

	if (u == NULL || (own != 0 && o == NULL))
		return false;
	r->unit = u;
	u->live++;
	r->own = o;
	if (o != NULL) {
		o->live++;
		o->closed = true;
	}
	r->nrcpt = nrcpt;
	recount(r);
	return true;
}

static bool room(struct mrec *r, uint32_t rcpt)
{
	uint32_t n = r->nrcpt > 0 ? r->nrcpt : rcpt + 1;
	struct rst *st;

	if (rcpt >= LOG_NRCPT_MAX || (r->nrcpt > 0 && rcpt >= r->nrcpt))
		return false;
	if (rcpt < r->nst)
		return true;
	st = realloc(r->st, n * sizeof(*st));
	if (st == NULL)
		return false;
	memset(st + r->nst, 0, (n - r->nst) * sizeof(*st));
	r->st = st;
	r->nst = n;
	return true;
}

bool table_outcome(struct mrec *r, uint32_t rcpt, uint32_t state, uint32_t tries, int64_t next_try,
    const void *reason, size_t len)
{
	struct rst *s;

	if (!room(r, rcpt))
		return false;
	s = &r->st[rcpt];
	if (r->nrcpt > 0) {
		r->nfinal -= s->state != META1_R_WAITING;
		r->nfinal += state != META1_R_WAITING;
	}
	s->state = state;
	s->tries = tries;
	s->next_try = next_try;
	free(s->reason);
	s->reason = NULL;
	if (state == META1_R_WAITING && len > 0)
		s->reason = strndup(reason, len < REASON_MAX ? len : REASON_MAX);
	return true;
}

bool table_final(const struct mrec *r)
{
	return r->nrcpt > 0 && r->nfinal == r->nrcpt;
}

void table_remove(struct table *t, struct mrec **rp)
{
	struct mrec *r = *rp, **p = &t->mh[mslot(r, t->mcap)];

	*rp = NULL;
	while (*p != r)
		p = &(*p)->hnext;
	*p = r->hnext;
	if (r->prev != NULL)
		r->prev->next = r->next;
	else
		t->first = r->next;
	if (r->next != NULL)
		r->next->prev = r->prev;
	else
		t->last = r->prev;
	if (r->unit != NULL)
		r->unit->live--;
	if (r->own != NULL)
		r->own->live--;
	t->mcount--;
	rec_free(r);
}

static void grow_u(struct table *t)
{
	size_t cap = t->ucap * 2;
	struct unit **h = calloc(cap, sizeof(*h));

	if (h == NULL)
		return;
	for (size_t i = 0; i < t->ucap; i++)
		while (t->uh[i] != NULL) {
			struct unit *u = t->uh[i];
			size_t k = slot(u->number, u->writer, 0, cap);

			t->uh[i] = u->hnext;
			u->hnext = h[k];
			h[k] = u;
		}
	free(t->uh);
	t->uh = h;
	t->ucap = cap;
}

struct unit *table_unit(struct table *t, uint32_t writer, uint64_t number, bool make)
{
	size_t i = slot(number, writer, 0, t->ucap);
	struct unit *u = t->uh[i];

	while (u != NULL && (u->number != number || u->writer != writer))
		u = u->hnext;
	if (u != NULL || !make)
		return u;
	u = calloc(1, sizeof(*u));
	if (u == NULL)
		return NULL;
	if (t->ucount++ >= t->ucap) {
		grow_u(t);
		i = slot(number, writer, 0, t->ucap);
	}
	u->writer = writer;
	u->number = number;
	u->hnext = t->uh[i];
	t->uh[i] = u;
	return u;
}

void table_dead(struct table *t, struct unit *u)
{
	if (u->dead)
		return;
	u->dead = u->closed = true;
	u->next = t->dead;
	u->prevp = &t->dead;
	if (t->dead != NULL)
		t->dead->prevp = &u->next;
	t->dead = u;
	t->ndead++;
}

void table_forget(struct table *t, struct unit **up)
{
	struct unit *u = *up, **p = &t->uh[slot(u->number, u->writer, 0, t->ucap)];

	*up = NULL;
	while (*p != u)
		p = &(*p)->hnext;
	*p = u->hnext;
	if (u->dead) {
		t->ndead--;
		*u->prevp = u->next;
		if (u->next != NULL)
			u->next->prevp = u->prevp;
	}
	t->ucount--;
	free(u);
}
