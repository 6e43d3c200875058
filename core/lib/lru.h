/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lru.h -- a table of things by a key of any bytes, bounded in number and memory, each until its
 * time: what was used longest ago goes first. The owner embeds struct lru_entry as the first
 * member of a block of its own; the key's bytes stay in that block.
 */
#ifndef META1_LRU_H
#define META1_LRU_H
#include "base.h"

#include <uthash.h>

struct lru_entry {
	UT_hash_handle hh; /* in order of use: the first is the oldest */
	int64_t expires;   /* monotonic ms */
	size_t bytes;	   /* memory of the block */
};
struct lru {
	struct lru_entry *all;
	unsigned max;
	size_t memory, most;	   /* bytes of all blocks; the bound */
	void (*drop)(void *block); /* lets go of what it holds and frees it; NULL: free() */
};
void lru_init(struct lru *, unsigned max, size_t most);
/* The block, now the youngest; NULL: none, or its time is over. */
void *lru_get(struct lru *, const void *key, size_t len, int64_t now);
/* Takes the block: one of the same key goes, then the oldest until it
 * fits; one that never fits goes itself. */
void lru_put(struct lru *, struct lru_entry *, const void *key, size_t len);
bool lru_forget(struct lru *, const void *key, size_t len); /* false: it has none */
unsigned lru_count(const struct lru *);
unsigned lru_clear(struct lru *); /* how many there were */

#endif
