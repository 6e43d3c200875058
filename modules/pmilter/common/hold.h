/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hold.h -- memory of one answer: pieces that are given back all at once.
 *
 * Comes from a module's host; goes to what a verdict points to. Owns its blocks until hold_drop().
 * On failure: NULL, when there is none or it would be more than the holder may have.
 */
#ifndef PMILTER_HOLD_H
#define PMILTER_HOLD_H
#include <meta1/module.h>

#include <string.h>

#define HOLD_BLOCK ((size_t)4096)

struct hold_block {
	struct hold_block *next;
	size_t used, size;
	char at[];
};

struct hold {
	struct hold_block *blocks;
	size_t bytes; /* of all blocks */
};

static inline void *hold_get(
    const struct meta1_host *host, struct meta1_ctx *ctx, struct hold *h, size_t n, size_t most)
{
	struct hold_block *b = h->blocks;
	size_t size;

	n = (n + 7) & ~(size_t)7;
	if (!b || b->size - b->used < n) {
		size = n > HOLD_BLOCK ? n : HOLD_BLOCK;
		b = h->bytes + size <= most ? host->alloc(ctx, sizeof(*b) + size) : NULL;
		if (!b)
			return NULL;
		b->next = h->blocks;
		b->size = size;
		h->blocks = b;
		h->bytes += size;
	}
	b->used += n;
	return b->at + b->used - n;
}

/* With a NUL behind it. */
static inline char *hold_text(const struct meta1_host *host, struct meta1_ctx *ctx, struct hold *h,
    const void *data, size_t n, size_t most)
{
	char *p = hold_get(host, ctx, h, n + 1, most);

	if (p) {
		if (n)
			memcpy(p, data, n);
		p[n] = '\0';
	}
	return p;
}

static inline void hold_drop(const struct meta1_host *host, struct meta1_ctx *ctx, struct hold *h)
{
	struct hold_block *b;

	while ((b = h->blocks)) {
		h->blocks = b->next;
		host->free(ctx, b);
	}
	h->bytes = 0;
}

#endif
