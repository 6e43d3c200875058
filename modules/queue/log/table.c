/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * table.c -- what the manager knows: waiting messages, and the units that hold them.
 *
 * Messages are numbers into chunks of records, so that a million cost 48 MB and their removal
 * nothing; found by place (a chained hash that doubles) or by key. Units have a hash of their
 * own and a list of the dead. What is known of recipients is in table_rcpts.c.
 * Comes from: replay.c (at start), manager.c. Goes to: checkpoint.c, units.c, page.c.
 * Owns: the records. On failure (no memory): the caller is told, nothing half is kept.
 */
#include "log.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(struct mrec) == 48, "a million of them: see doc/performance.md");
_Static_assert(LOG_NRCPT_MAX < 1u << 21, "nrcpt has its bits");

static size_t slot(uint64_t a, uint64_t b, uint64_t c, size_t cap)
{
	uint64_t k[3] = {a, b, c};

	return (size_t)seg_sum(0, k, sizeof(k)) & (cap - 1);
}

static size_t mslot(const struct mrec *r, size_t cap)
{
	return slot(r->seg, table_boff(r), (uint64_t)r->writer << 32 | r->idx, cap);
}

struct table *table_new(void)
{
	struct table *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	t->mcap = 1024;
	t->ucap = 256;
	t->mh = calloc(t->mcap, sizeof(*t->mh));
	t->uh = calloc(t->ucap, sizeof(struct unit *));
	if (t->mh == NULL || t->uh == NULL)
		table_free(&t);
	return t;
}

void table_free(struct table **tp)
{
	struct table *t = *tp;

	*tp = NULL;
	if (t == NULL)
		return;
	for (uint32_t i = 1; i <= t->top; i++) {
		struct mrec *r = table_at(t, i);

		if (r->used && r->nrcpt != 1)
			free(r->st.many);
	}
	for (size_t i = 0; i < t->nchunk; i++)
		free(t->chunk[i]);
	for (size_t i = 0; t->uh != NULL && i < t->ucap; i++)
		while (t->uh[i] != NULL) {
			struct unit *u = t->uh[i];

			t->uh[i] = u->hnext;
			free(u);
		}
	texts_free(&t->texts);
	free(t->chunk);
	free(t->mh);
	free(t->uh);
	free(t->own);
	free(t);
}

bool table_fits(uint32_t writer, uint64_t boff, uint32_t idx)
{
	return writer <= LOG_QM && boff % LOG_ALIGN == 0 && boff / LOG_ALIGN <= UINT32_MAX &&
	       idx < 1u << 24;
}

uint32_t table_find(
    const struct table *t, uint32_t writer, uint64_t seg, uint64_t boff, uint32_t idx)
{
	uint32_t i = t->mh[slot(seg, boff, (uint64_t)writer << 32 | idx, t->mcap)];

	for (; i != 0; i = table_at(t, i)->hnext) {
		const struct mrec *r = table_at(t, i);

		if (r->seg == seg && table_boff(r) == boff && r->idx == idx && r->writer == writer)
			break;
	}
	return i;
}

uint64_t table_key(const struct table *t, uint32_t i)
{
	return (uint64_t)table_at(t, i)->life << 32 | i;
}

uint32_t table_by_key(const struct table *t, uint64_t key)
{
	uint32_t i = (uint32_t)key;

	if (i == 0 || i > t->top || !table_at(t, i)->used || table_key(t, i) != key)
		return 0;
	return i;
}

/* A table that cannot grow goes on with longer chains. */
static void grow_m(struct table *t)
{
	size_t cap = t->mcap * 2;
	uint32_t *h = calloc(cap, sizeof(*h));

	if (h == NULL)
		return;
	for (uint32_t i = 1; i <= t->top; i++) {
		struct mrec *r = table_at(t, i);
		size_t k;

		if (!r->used)
			continue;
		k = mslot(r, cap);
		r->hnext = h[k];
		h[k] = i;
	}
	free(t->mh);
	t->mh = h;
	t->mcap = cap;
}

static uint32_t number(struct table *t)
{
	uint32_t i = t->free, next = t->top + 1;
	struct mrec **v;

	if (i != 0) {
		t->free = table_at(t, i)->hnext;
		return i;
	}
	if (next == UINT32_MAX)
		return 0;
	if (next / TABLE_CHUNK >= t->nchunk) {
		v = realloc(t->chunk, (t->nchunk + 1) * sizeof(*v));
		if (v == NULL)
			return 0;
		t->chunk = v;
		v[t->nchunk] = calloc(TABLE_CHUNK, sizeof(struct mrec));
		if (v[t->nchunk] == NULL)
			return 0;
		t->nchunk++;
	}
	return t->top = next;
}

uint32_t table_add(struct table *t, uint32_t writer, uint64_t seg, uint64_t boff, uint32_t idx)
{
	uint32_t i = table_fits(writer, boff, idx) ? number(t) : 0;
	struct mrec *r;
	size_t k;

	if (i == 0)
		return 0;
	if (t->mcount >= t->mcap)
		grow_m(t);
	r = table_at(t, i);
	*r = (struct mrec){.seg = seg,
	    .page = (uint32_t)(boff / LOG_ALIGN),
	    .idx = idx & 0xffffff,
	    .writer = writer & 0xff,
	    .used = 1,
	    .life = (r->life + 1) & 0x7ff};
	k = mslot(r, t->mcap);
	r->hnext = t->mh[k];
	t->mh[k] = i;
	t->mcount++;
	return i;
}

/* ---- own files and sizes ---- */

/* Own files have numbers too: a message keeps that instead of a pointer. */
static bool make_own(struct table *t, struct unit *u)
{
	uint32_t i = t->own_free;
	struct unit **v;

	if (u->own != 0)
		return true;
	if (i != 0) {
		t->own_free = (uint32_t)((uintptr_t)t->own[i] >> 1);
	} else {
		if ((t->nown & (t->nown + 1)) == 0) { /* full: its room doubles */
			v = realloc(t->own, (2 * (size_t)t->nown + 2) * sizeof(struct unit *));
			if (v == NULL)
				return false;
			t->own = v;
		}
		i = ++t->nown;
	}
	t->own[i] = u;
	u->own = i;
	return true;
}

static void drop_own(struct table *t, const struct unit *u)
{
	if (u->own == 0)
		return;
	t->own[u->own] = (struct unit *)((uintptr_t)t->own_free << 1 | 1);
	t->own_free = u->own;
}

struct unit *table_own(const struct table *t, const struct mrec *r)
{
	return r->own != 0 ? t->own[r->own] : NULL;
}

/* Eight bits are enough to know whether a segment is worth it: steps of 64 bytes, then a
 * sixteenth of the size. */
static uint8_t small(uint64_t len)
{
	uint64_t n = (len + 63) / 64, e = 0;

	while (n >= 32) {
		n = (n + 1) / 2;
		e++;
	}
	if (n < 16)
		return (uint8_t)n;
	return e < 15 ? (uint8_t)((e + 1) << 4 | (n & 15)) : 255;
}

uint64_t table_size(const struct mrec *r)
{
	uint64_t e = r->size >> 4, m = r->size & 15u;

	return 64 * (e == 0 ? m : (16 + m) << (e - 1));
}

/* Its segment holds one more, or less. */
static void count_in(struct table *t, struct unit *u, const struct mrec *r)
{
	t->nsegs += u->live == 0;
	u->live++;
	u->bytes += table_size(r);
	t->bytes += table_size(r);
}

static void count_out(struct table *t, const struct mrec *r)
{
	struct unit *u = table_unit(t, r->writer, r->seg, false);

	u->live--;
	u->bytes -= table_size(r);
	t->bytes -= table_size(r);
	t->nsegs -= u->live == 0;
}

bool table_admit(
    struct table *t, uint32_t i, uint32_t nrcpt, uint64_t len, uint32_t ownw, uint64_t own)
{
	struct mrec *r = table_at(t, i);
	struct unit *u = table_unit(t, r->writer, r->seg, true), *o = NULL;

	if (u == NULL)
		return false;
	if (own != 0) {
		o = table_unit(t, ownw, own, true);
		if (o == NULL || !make_own(t, o))
			return false;
		o->live++;
		o->closed = o->file = true;
		r->own = o->own;
	}
	r->size = small(len);
	count_in(t, u, r);
	table_expect(t, r, nrcpt);
	return true;
}

static void unchain(struct table *t, uint32_t i)
{
	struct mrec *r = table_at(t, i);
	uint32_t *p = &t->mh[mslot(r, t->mcap)];

	while (*p != i)
		p = &table_at(t, *p)->hnext;
	*p = r->hnext;
}

bool table_move(
    struct table *t, uint32_t i, uint32_t writer, uint64_t seg, uint64_t boff, uint32_t idx)
{
	struct mrec *r = table_at(t, i);
	struct unit *u = table_fits(writer, boff, idx) ? table_unit(t, writer, seg, true) : NULL;
	size_t k;

	if (u == NULL)
		return false;
	unchain(t, i);
	count_out(t, r);
	r->seg = seg;
	r->page = (uint32_t)(boff / LOG_ALIGN);
	r->idx = idx & 0xffffff;
	r->writer = writer & 0xff;
	count_in(t, u, r);
	k = mslot(r, t->mcap);
	r->hnext = t->mh[k];
	t->mh[k] = i;
	return true;
}

bool table_void(struct table *t, uint32_t writer, uint64_t seg, uint64_t boff, uint32_t idx)
{
	uint32_t i = table_find(t, writer, seg, boff, idx);

	if (i == 0)
		i = table_add(t, writer, seg, boff, idx);
	if (i != 0 && table_at(t, i)->nrcpt == 0)
		table_at(t, i)->moved = 1;
	return i != 0;
}

void table_remove(struct table *t, uint32_t i)
{
	struct mrec *r = table_at(t, i);
	struct unit *own = table_own(t, r);

	unchain(t, i);
	if (r->nrcpt > 0)
		count_out(t, r);
	if (own != NULL)
		own->live--;
	table_drop_rcpts(&t->texts, r);
	t->mcount--;
	*r = (struct mrec){.hnext = t->free, .life = r->life};
	t->free = i;
}

/* ---- units ---- */

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
	drop_own(t, u);
	free(u);
}
