/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pool.c -- chunks of 2 KiB (or as large as one piece asks for), freed together.
 * Comes from sessions and frames (smtps, ipc); goes to malloc. Owns its chunks.
 * On failure: pool_try() is NULL at the pool's bound; out of memory ends the role.
 */
#include "lib/pool.h"

#include <stdlib.h>

#define CHUNK 2048

struct pool_chunk {
	struct pool_chunk *next;
	size_t size, used;
	max_align_t data[];
};

void pool_init(struct pool *p, size_t bound)
{
	*p = (struct pool){.bound = bound};
}

void *pool_try(struct pool *p, size_t n)
{
	struct pool_chunk *c = p->head;
	size_t size;
	void *out;

	if (n > p->bound)
		return NULL;
	n = (n + sizeof(max_align_t) - 1) & ~(sizeof(max_align_t) - 1);
	if (!c || c->size - c->used < n) {
		size = n > CHUNK ? n : CHUNK;
		if (p->used + n > p->bound)
			return NULL;
		c = base_alloc(sizeof(*c) + size);
		c->size = size;
		c->next = p->head;
		p->head = c;
	}
	if (p->used + n > p->bound)
		return NULL;
	out = (char *)c->data + c->used;
	c->used += n;
	p->used += n;
	return out;
}

char *pool_strn(struct pool *p, const void *s, size_t n)
{
	char *out = pool_try(p, n + 1);

	if (out && n)
		memcpy(out, s, n);
	return out;
}

void pool_clear(struct pool *p)
{
	struct pool_chunk *c;

	while ((c = p->head)) {
		p->head = c->next;
		free(c);
	}
	p->used = 0;
}
