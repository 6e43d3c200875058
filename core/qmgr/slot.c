/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * slot.c -- the index: each queued message has a slot of 64 bytes, whether its envelope is in
 * memory or not; found by id, and listed in the order they came in.
 * Comes from intake.c; gone when the last outcome is recorded. Owns the slots. Slots are numbers
 * into chunks; number 0 is none.
 *
 * Of an id only a hash is kept: what it finds of an unloaded message is checked when its
 * envelope is read. The order is kept in pages of PAGE numbers, so that a listing finds the
 * place where it went on without walking all.
 */
#include "qmgr/qmgr.h"

#include <stdlib.h>

#define PAGE 1024

_Static_assert(sizeof(struct qmgr_slot) == 64, "a million of them: see doc/performance.md");

METRIC_GAUGE(m_queued, "queued_messages_now", "Messages in the queue.");

struct qmgr_page { /* the messages with numbers key * PAGE and up */
	UT_hash_handle hh;
	struct qmgr_page *next, *prev; /* in order */
	uint64_t key;
	uint32_t first, n;
};

static uint64_t hash_of(const char *id, size_t len)
{
	uint64_t h = 14695981039346656037u;
	size_t i;

	for (i = 0; i < len; i++)
		h = (h ^ (uint8_t)id[i]) * 1099511628211u;
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93u;
	return h ^ h >> 32;
}

/* ---- order ---- */

static void page_add(struct qmgr_index *x, uint32_t i)
{
	uint64_t key = qmgr_slot_at(x, i)->seq / PAGE;
	struct qmgr_page *p = x->page_list ? x->page_list->prev : NULL;

	if (!p || p->key != key) {
		p = base_alloc(sizeof(*p));
		p->key = key;
		p->first = i;
		HASH_ADD(hh, x->pages, key, sizeof(p->key), p);
		DL_APPEND(x->page_list, p);
	}
	p->n++;
}

static void page_remove(struct qmgr_index *x, uint32_t i)
{
	uint64_t key = qmgr_slot_at(x, i)->seq / PAGE;
	struct qmgr_page *p;

	HASH_FIND(hh, x->pages, &key, sizeof(key), p);
	if (--p->n == 0) {
		HASH_DELETE(hh, x->pages, p);
		DL_DELETE(x->page_list, p);
		free(p);
	} else if (p->first == i) {
		p->first = qmgr_slot_at(x, i)->next;
	}
}

uint32_t qmgr_slot_from(struct qmgr_index *x, uint64_t seq)
{
	uint64_t key = seq / PAGE;
	struct qmgr_page *p;
	uint32_t i;

	HASH_FIND(hh, x->pages, &key, sizeof(key), p);
	for (p = p ? p : x->page_list; p && p->key < key; p = p->next)
		;
	for (i = p ? p->first : 0; i && qmgr_slot_at(x, i)->seq < seq;)
		i = qmgr_slot_at(x, i)->next;
	return i;
}

/* ---- slots ---- */

static void grow(struct qmgr_index *x)
{
	uint32_t cap = x->cap ? x->cap * 2 : 1024, i;

	free(x->hash);
	x->hash = base_alloc(cap * sizeof(*x->hash));
	x->cap = cap;
	for (i = x->first; i; i = qmgr_slot_at(x, i)->next) {
		struct qmgr_slot *s = qmgr_slot_at(x, i);

		s->hnext = x->hash[s->hash & (cap - 1)];
		x->hash[s->hash & (cap - 1)] = i;
	}
}

static uint32_t number(struct qmgr_index *x)
{
	uint32_t i = x->free, chunk;

	if (i) {
		x->free = qmgr_slot_at(x, i)->hnext;
		return i;
	}
	i = ++x->top;
	chunk = i / QMGR_CHUNK;
	if (chunk >= x->nchunk) {
		x->chunk = base_realloc(x->chunk, (chunk + 1) * sizeof(struct qmgr_slot *));
		x->chunk[chunk] = base_alloc(QMGR_CHUNK * sizeof(struct qmgr_slot));
		x->nchunk = chunk + 1;
	}
	return i;
}

/* Eleven bits tell how many recipients there are, a 64th too many at most: so what is added for a
 * message is taken off again when only its slot is left. */
static uint64_t more_of(const struct qmgr_slot *s)
{
	uint64_t e = s->more >> 6, m = s->more & 63u;

	return e ? (64 + m) << (e - 1) : m;
}

static void set_more(struct qmgr_slot *s, uint32_t n)
{
	uint64_t e = 0, m = n;

	while (m >= 128) {
		m = (m + 1) / 2;
		e++;
	}
	s->more = (m < 64 ? m : (e + 1) << 6 | (m & 63)) & 0x7ff;
}

uint32_t qmgr_slot_new(struct qmgr_index *x, const char *id, uint32_t nrcpt)
{
	uint32_t i = number(x), *p;
	struct qmgr_slot *s;

	if (x->n >= x->cap)
		grow(x);
	s = qmgr_slot_at(x, i);
	memset(s, 0, sizeof(*s));
	s->hash = hash_of(id, strlen(id));
	s->seq = ++x->seq & 0xffffffffffffu;
	p = &x->hash[s->hash & (x->cap - 1)];
	s->hnext = *p;
	*p = i;
	s->prev = x->last;
	if (x->last)
		qmgr_slot_at(x, x->last)->next = i;
	else
		x->first = i;
	x->last = i;
	page_add(x, i);
	set_more(s, nrcpt ? nrcpt - 1 : 0);
	x->more += more_of(s);
	m_queued.value = (int64_t)++x->n;
	return i;
}

uint32_t qmgr_slot_find(const struct qmgr_index *x, const char *id, size_t len)
{
	uint64_t h = hash_of(id, len);
	uint32_t i = x->cap ? x->hash[h & (x->cap - 1)] : 0;

	while (i && qmgr_slot_at(x, i)->hash != h)
		i = qmgr_slot_at(x, i)->hnext;
	return i;
}

void qmgr_slot_free(struct qmgr_index *x, uint32_t i)
{
	struct qmgr_slot *s = qmgr_slot_at(x, i);
	uint32_t *p = &x->hash[s->hash & (x->cap - 1)];

	page_remove(x, i);
	x->more -= more_of(s);
	while (*p != i)
		p = &qmgr_slot_at(x, *p)->hnext;
	*p = s->hnext;
	if (s->prev)
		qmgr_slot_at(x, s->prev)->next = s->next;
	else
		x->first = s->next;
	if (s->next)
		qmgr_slot_at(x, s->next)->prev = s->prev;
	else
		x->last = s->prev;
	memset(s, 0, sizeof(*s));
	s->hnext = x->free;
	x->free = i;
	m_queued.value = (int64_t)--x->n;
}

void qmgr_slot_free_all(struct qmgr_index *x)
{
	uint32_t i;

	while (x->first)
		qmgr_slot_free(x, x->first);
	for (i = 0; i < x->nchunk; i++)
		free(x->chunk[i]);
	free(x->chunk);
	free(x->hash);
	memset(x, 0, sizeof(*x));
}
