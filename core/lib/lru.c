/* SPDX-License-Identifier: BSD-2-Clause */
/* lru.c -- see lru.h. No I/O. Owns the blocks it was given; never fails. */
#include "lib/lru.h"

#include <stdlib.h>

void lru_init(struct lru *l, unsigned max, size_t most)
{
	*l = (struct lru){.max = max, .most = most};
}

static void drop(struct lru *l, struct lru_entry *e)
{
	HASH_DEL(l->all, e);
	l->memory -= e->bytes;
	(l->drop ? l->drop : free)(e);
}

void *lru_get(struct lru *l, const void *key, size_t len, int64_t now)
{
	struct lru_entry *e;

	HASH_FIND(hh, l->all, key, len, e);
	if (!e)
		return NULL;
	if (e->expires <= now) {
		drop(l, e);
		return NULL;
	}
	key = e->hh.key;
	HASH_DEL(l->all, e);
	HASH_ADD_KEYPTR(hh, l->all, key, len, e);
	return e;
}

void lru_put(struct lru *l, struct lru_entry *e, const void *key, size_t len)
{
	struct lru_entry *was;

	HASH_FIND(hh, l->all, key, len, was);
	if (was)
		drop(l, was);
	HASH_ADD_KEYPTR(hh, l->all, key, len, e);
	l->memory += e->bytes;
	if (e->bytes > l->most)
		drop(l, e);
	while (l->all && (HASH_COUNT(l->all) > l->max || l->memory > l->most))
		drop(l, l->all);
}

bool lru_forget(struct lru *l, const void *key, size_t len)
{
	struct lru_entry *e;

	HASH_FIND(hh, l->all, key, len, e);
	if (e)
		drop(l, e);
	return e != NULL;
}

unsigned lru_count(const struct lru *l)
{
	return HASH_COUNT(l->all);
}

unsigned lru_clear(struct lru *l)
{
	unsigned n = HASH_COUNT(l->all);

	while (l->all)
		drop(l, l->all);
	return n;
}
