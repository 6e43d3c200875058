/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bag.c -- memory of one ask: what was asked, what the filter answers.
 * Owned by the session; all of it goes at the next call. On failure: NULL, and nothing changes.
 */
#include "milter.h"

#include <string.h>

#define BLOCK 4096

void *bag_get(struct milter *m, struct bag *b, size_t n)
{
	struct block *k = b->blocks;
	void *p;

	n = (n + 15) & ~(size_t)15;
	if (!k || k->size - k->used < n) {
		size_t size = n > BLOCK / 4 ? n : BLOCK;

		k = m->host->alloc(m->ctx, sizeof(*k) + size);
		if (!k)
			return NULL;
		k->size = size;
		k->next = b->blocks;
		b->blocks = k;
		b->held += size;
	}
	p = k->data + k->used;
	k->used += n;
	return p;
}

struct meta1_buf bag_copy(struct milter *m, struct bag *b, const void *data, size_t len)
{
	unsigned char *p = bag_get(m, b, len + 1);

	if (!p)
		return (struct meta1_buf){NULL, 0};
	if (len > 0)
		memcpy(p, data, len);
	return (struct meta1_buf){p, len};
}

int bag_room(struct milter *m, struct bag *b, void **array, uint32_t n, uint32_t *room, size_t size)
{
	uint32_t more = *room ? *room * 2 : 8;
	void *p;

	if (n < *room)
		return 0;
	p = bag_get(m, b, more * size);
	if (!p)
		return -1;
	if (n > 0)
		memcpy(p, *array, n * size);
	*array = p;
	*room = more;
	return 0;
}

void bag_empty(struct milter *m, struct bag *b)
{
	while (b->blocks) {
		struct block *k = b->blocks;

		b->blocks = k->next;
		m->host->free(m->ctx, k);
	}
	b->held = 0;
}
