/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * texts.c -- why recipients wait: each text is kept once, however many wait for it.
 *
 * A next hop may put a number of its own into every reply, so the bytes are bounded: beyond
 * TEXTS_MAX a new text is cut to its beginning, which is the same for many, and beyond a quarter
 * more nothing of it is kept. But what qmgr wrote before a reply ("held=0; warned; ") always
 * is: without it a sender would be told twice.
 * Comes from: table.c. Owns: the texts. On failure (no memory): no text is kept.
 */
#define XXH_INLINE_ALL
#include "common.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define SHORT_MAX 48u

struct text {
	uint32_t refs, hnext; /* hnext: chain of its hash, or of the free ones */
	uint32_t len;
	char s[];
};

static uint32_t *slot(const struct texts *t, const void *s, size_t len)
{
	return &t->hash[(uint32_t)XXH3_64bits(s, len) & (t->cap - 1)];
}

/* A free place holds the number of the next free one, marked as no pointer. */
static struct text *mark(uint32_t next)
{
	return (struct text *)((uintptr_t)next << 1 | 1);
}

static bool marked(const struct text *x)
{
	return ((uintptr_t)x & 1) != 0;
}

static bool grow(struct texts *t)
{
	uint32_t cap = t->cap > 0 ? t->cap * 2 : 64;
	struct text **v = realloc(t->v, cap * sizeof(struct text *));
	uint32_t *h;

	if (v == NULL)
		return false;
	t->v = v;
	h = calloc(cap, sizeof(*h));
	if (h == NULL)
		return false;
	free(t->hash);
	t->hash = h;
	t->cap = cap;
	for (uint32_t i = 1; i <= t->n; i++) {
		uint32_t *p;

		if (marked(v[i]))
			continue;
		p = slot(t, v[i]->s, v[i]->len);
		v[i]->hnext = *p;
		*p = i;
	}
	return true;
}

static uint32_t find(const struct texts *t, const void *s, size_t len)
{
	uint32_t i = t->cap > 0 ? *slot(t, s, len) : 0;

	while (i != 0 && (t->v[i]->len != len || memcmp(t->v[i]->s, s, len) != 0))
		i = t->v[i]->hnext;
	return i;
}

static uint32_t number(struct texts *t)
{
	uint32_t i = t->free;

	if (i != 0) {
		t->free = (uint32_t)((uintptr_t)t->v[i] >> 1);
		return i;
	}
	if (t->n + 1 >= t->cap && !grow(t))
		return 0;
	return ++t->n;
}

/* qmgr's words end with "; "; what a next hop says stands behind its name and ": ". */
static size_t words(const char *s, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i + 1 < len && (s[i] != ':' || s[i + 1] != ' '); i++)
		if (s[i] == ';' && s[i + 1] == ' ')
			n = i + 2;
	return n;
}

uint32_t texts_take(struct texts *t, const void *s, size_t len)
{
	struct text *x;
	uint32_t i, *p;
	size_t kept, least;

	if (len == 0)
		return 0;
	len = len < TEXT_MAX ? len : TEXT_MAX;
	i = find(t, s, len);
	if (i == 0 && t->used >= TEXTS_MAX) {
		kept = words(s, len);
		least = t->used < TEXTS_MAX + TEXTS_MAX / 4 ? SHORT_MAX : 0;
		least = kept > least ? kept : least;
		len = len < least ? len : least;
		if (len == 0)
			return 0;
		i = find(t, s, len);
	}
	if (i != 0) {
		t->v[i]->refs++;
		return i;
	}
	x = malloc(sizeof(*x) + len);
	i = x != NULL ? number(t) : 0;
	if (i == 0) {
		free(x);
		return 0;
	}
	x->refs = 1;
	x->len = (uint32_t)len;
	memcpy(x->s, s, len);
	p = slot(t, s, len);
	x->hnext = *p;
	*p = i;
	t->v[i] = x;
	t->used += sizeof(*x) + len;
	return i;
}

void texts_drop(struct texts *t, uint32_t i)
{
	struct text *x;
	uint32_t *p;

	if (i == 0 || --t->v[i]->refs > 0)
		return;
	x = t->v[i];
	for (p = slot(t, x->s, x->len); *p != i; p = &t->v[*p]->hnext)
		;
	*p = x->hnext;
	t->used -= sizeof(*x) + x->len;
	t->v[i] = mark(t->free);
	t->free = i;
	free(x);
}

struct meta1_buf texts_get(const struct texts *t, uint32_t i)
{
	if (i == 0)
		return (struct meta1_buf){NULL, 0};
	return (struct meta1_buf){t->v[i]->s, t->v[i]->len};
}

void texts_free(struct texts *t)
{
	for (uint32_t i = 1; i <= t->n; i++)
		if (!marked(t->v[i]))
			free(t->v[i]);
	free(t->v);
	free(t->hash);
	*t = (struct texts){0};
}
