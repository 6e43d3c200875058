/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reply.c -- the arena of a request and the copy of its reply in it. The first
 * bytes lie in the request itself, so that a usual reply costs no malloc.
 * Comes from req.c; goes to the asker's callback.
 * Owns further blocks until the request is released.
 * On failure: NULL or false beyond MOD_ARENA_MAX or without memory.
 */
#include "mod/inst.h"

#include <stdlib.h>

#define VALUES_MAX 65536
#define ALIGN	   _Alignof(max_align_t)

struct block {
	struct block *next;
	size_t used, cap;
	_Alignas(max_align_t) unsigned char b[];
};

void *mod_arena(struct mod_arena *a, size_t n)
{
	struct block *b = a->blocks;
	size_t cap;
	void *p;

	if (n > MOD_ARENA_MAX)
		return NULL;
	n = (n + ALIGN - 1) & ~(ALIGN - 1);
	if (n <= MOD_ARENA_FIRST - a->first_used) {
		p = a->first + a->first_used;
		a->first_used += n;
		return memset(p, 0, n);
	}
	if (!b || n > b->cap - b->used) {
		cap = n < 4096 ? 4096 : n;
		if (a->held + cap > MOD_ARENA_MAX || !(b = malloc(sizeof(*b) + cap)))
			return NULL;
		*b = (struct block){.next = a->blocks, .cap = cap};
		a->blocks = b;
		a->held += cap;
	}
	p = b->b + b->used;
	b->used += n;
	return memset(p, 0, n);
}

void mod_arena_clear(struct mod_arena *a, bool wipe)
{
	struct block *b;

	while ((b = a->blocks)) {
		a->blocks = b->next;
		if (wipe)
			explicit_bzero(b->b, b->used);
		free(b);
	}
	if (wipe)
		explicit_bzero(a->first, a->first_used);
	a->held = a->first_used = 0;
}

static char *put(char **at, const void *s, size_t n)
{
	char *p = *at;

	if (n)
		memcpy(p, s, n);
	*at += n + 1; /* the byte after it is 0 */
	return p;
}

/* One allocation for all that the reply points to; ext is the module's. */
bool mod_reply_copy(struct mod_arena *a, struct meta1_reply *to, const struct meta1_reply *r)
{
	const char **const text[] = {&to->text, &to->host, &to->source};
	struct meta1_buf *val = NULL;
	size_t n, total;
	uint32_t i;
	char *at;

	*to = (struct meta1_reply){.size = sizeof(*to)};
	if (!r || r->size < offsetof(struct meta1_reply, text))
		return true;
	memcpy(to, r, r->size < sizeof(*to) ? r->size : sizeof(*to));
	to->size = sizeof(*to);
	to->dsn[sizeof(to->dsn) - 1] = '\0';
	if (to->nval > VALUES_MAX)
		return false;
	total = to->nval * sizeof(*val);
	for (i = 0; i < to->nval; i++) {
		if (to->val[i].len >= MOD_ARENA_MAX || total > MOD_ARENA_MAX)
			return false;
		total += to->val[i].len + 1;
	}
	for (i = 0; i < ARRAY_LEN(text); i++)
		total += *text[i] ? strlen(*text[i]) + 1 : 0;
	if (!total)
		return true;
	at = mod_arena(a, total);
	if (!at)
		return false;
	if (to->nval) {
		val = (struct meta1_buf *)(void *)at;
		at += to->nval * sizeof(*val);
		for (i = 0; i < to->nval; i++) {
			n = to->val[i].len;
			val[i] = buf_of(put(&at, to->val[i].data, n), n);
		}
		to->val = val;
	}
	for (i = 0; i < ARRAY_LEN(text); i++)
		if (*text[i])
			*text[i] = put(&at, *text[i], strlen(*text[i]));
	return true;
}
