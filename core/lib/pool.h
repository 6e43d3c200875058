/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pool.h -- memory with one owner: a session's or transaction's small pieces,
 * freed together. A pool has a name (for totals in /metrics) and a bound; what
 * a peer can cause to be allocated goes through pool_try(), which says no at the
 * bound. An empty pool holds no chunk.
 */
#ifndef META1_POOL_H
#define META1_POOL_H
#include "base.h"

struct pool {
	struct pool_chunk *head;
	size_t used, bound; /* bytes */
};
void pool_init(struct pool *p, size_t bound);
void *pool_try(struct pool *p, size_t n);		  /* zeroed, aligned; NULL at the bound */
char *pool_strn(struct pool *p, const void *s, size_t n); /* copy with NUL; NULL at the bound */
void pool_clear(struct pool *p); /* frees everything; the pool may be used again */

#endif
