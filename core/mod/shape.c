/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * shape.c -- packs and unpacks structs by their table of fields.
 * Comes from wire.c with frames; goes nowhere. Owns nothing: what grows is the caller's.
 * On failure: false, for a length, number or end that is not as the table says; bytes of a peer
 * are never trusted, and nothing is allocated before there are bytes that could fill it.
 */
#include "mod/shape.h"

#include <stdlib.h>

#define DEPTH_MAX 8 /* of structs in structs: the tables have 3 */

static const struct shape_field of_buf[] = {SH_BUF(
    struct { struct meta1_buf b; }, b, UINT32_MAX)};
static const struct shape shape_buf = {
    .name = "struct meta1_buf", .field = of_buf, .nfield = 1, .size = sizeof(struct meta1_buf)};

static const struct shape *inner(const struct shape_field *f)
{
	return f->of ? f->of : &shape_buf;
}

static uint64_t number(const void *base, unsigned off, unsigned width)
{
	const char *p = (const char *)base + off;
	uint8_t a;
	uint16_t b;
	uint32_t c;
	uint64_t d;

	switch (width) {
	case 1:
		memcpy(&a, p, 1);
		return a;
	case 2:
		memcpy(&b, p, 2);
		return b;
	case 4:
		memcpy(&c, p, 4);
		return c;
	default:
		memcpy(&d, p, 8);
		return d;
	}
}

/* ---- packing ---- */

static void grow(struct packed *to, size_t n)
{
	size_t cap = 2 * to->cap > to->n + n ? 2 * to->cap : to->n + n + 256;
	uint8_t *b;

	if (!to->secret) {
		to->b = base_realloc(to->b, cap);
	} else {
		b = base_alloc(cap);
		if (to->b) {
			memcpy(b, to->b, to->n);
			explicit_bzero(to->b, to->n);
		}
		free(to->b);
		to->b = b;
	}
	to->cap = cap;
}

static void put(struct packed *to, const void *p, size_t n)
{
	if (to->cap - to->n < n)
		grow(to, n);
	if (n)
		memcpy(to->b + to->n, p, n);
	to->n += n;
}

static void put32(struct packed *to, uint32_t v)
{
	put(to, &v, sizeof(v));
}

/* 0: NULL; else length + 1, the bytes, and a NUL. */
static bool put_bytes(struct packed *to, const void *p, size_t n, uint32_t max)
{
	if (!p) {
		put32(to, 0);
		return true;
	}
	if (n > max || n >= UINT32_MAX)
		return false;
	put32(to, (uint32_t)n + 1);
	put(to, p, n);
	put(to, "", 1);
	return true;
}

static bool put_many(const struct shape_field *f, const char *at, size_t n, struct packed *to)
{
	if (n > f->max)
		return false;
	put32(to, (uint32_t)n);
	for (size_t i = 0; i < n; i++)
		if (!shape_pack(inner(f), at + i * inner(f)->size, to))
			return false;
	return true;
}

static bool put_field(const struct shape_field *f, const void *base, struct packed *to)
{
	const char *p = (const char *)base + f->off;
	const struct meta1_buf *b;
	const void *at;

	switch ((enum shape_kind)f->kind) {
	case SHAPE_NUM:
	case SHAPE_CHARS:
		put(to, p, f->width);
		return true;
	case SHAPE_STR:
		at = *(const char *const *)(const void *)p;
		return put_bytes(to, at, at ? strlen(at) : 0, f->max);
	case SHAPE_BUF:
		b = (const void *)p;
		return put_bytes(to, b->data, b->len, f->max);
	case SHAPE_ONE:
		at = *(const void *const *)(const void *)p;
		put(to, at ? "\1" : "\0", 1);
		return !at || shape_pack(f->of, at, to);
	case SHAPE_MANY:
		at = *(const void *const *)(const void *)p;
		return put_many(f, at, at ? number(base, f->count_off, f->count_width) : 0, to);
	}
	return false;
}

bool shape_pack(const struct shape *s, const void *from, struct packed *to)
{
	for (unsigned i = 0; i < s->nfield; i++)
		if (!put_field(&s->field[i], from, to))
			return false;
	return true;
}

/* ---- unpacking ---- */

struct bytes {
	const uint8_t *p;
	size_t n;
	struct pool *pool;
	unsigned depth;
};

static bool get(struct bytes *b, void *to, size_t n)
{
	if (b->n < n)
		return false;
	memcpy(to, b->p, n);
	b->p += n;
	b->n -= n;
	return true;
}

/* NUL is behind them: strings are usable where they are. */
static bool get_bytes(struct bytes *b, struct meta1_buf *out, uint32_t max)
{
	uint32_t n;

	*out = buf_of(NULL, 0);
	if (!get(b, &n, sizeof(n)))
		return false;
	if (!n)
		return true;
	if (n - 1 > max || b->n < n || b->p[n - 1] != 0)
		return false;
	*out = buf_of(b->p, n - 1);
	b->p += n;
	b->n -= n;
	return true;
}

static bool get_struct(const struct shape *s, struct bytes *b, void *to);

static bool get_string(const struct shape_field *f, struct bytes *b, const char **out)
{
	struct meta1_buf v;

	if (!get_bytes(b, &v, f->max) || (v.data && memchr(v.data, 0, v.len)))
		return false;
	*out = v.data;
	return true;
}

static bool get_one(const struct shape_field *f, struct bytes *b, const void **out)
{
	uint8_t there;
	void *at;

	*out = NULL;
	if (!get(b, &there, 1) || there > 1)
		return false;
	if (!there)
		return true;
	at = pool_try(b->pool, f->of->size);
	*out = at;
	return at && get_struct(f->of, b, at);
}

static void set_number(void *base, const struct shape_field *f, uint32_t n)
{
	char *p = (char *)base + f->count_off;
	uint16_t small = (uint16_t)n;
	uint64_t large = n;

	if (f->count_width == sizeof(small))
		memcpy(p, &small, sizeof(small));
	else if (f->count_width == sizeof(n))
		memcpy(p, &n, sizeof(n));
	else
		memcpy(p, &large, sizeof(large));
}

static bool get_many(const struct shape_field *f, struct bytes *b, void *base, const void **out)
{
	uint32_t n;
	char *at;

	*out = NULL;
	/* each takes at least a byte */
	if (!get(b, &n, sizeof(n)) || n > f->max || n > b->n)
		return false;
	set_number(base, f, n);
	if (!n)
		return true;
	at = pool_try(b->pool, (size_t)n * inner(f)->size);
	*out = at;
	for (uint32_t i = 0; at && i < n; i++)
		if (!get_struct(inner(f), b, at + (size_t)i * inner(f)->size))
			return false;
	return at != NULL;
}

static bool get_field(const struct shape_field *f, struct bytes *b, void *base)
{
	char *p = (char *)base + f->off;

	switch ((enum shape_kind)f->kind) {
	case SHAPE_NUM:
		return get(b, p, f->width);
	case SHAPE_CHARS:
		if (!get(b, p, f->width))
			return false;
		p[f->width - 1] = '\0';
		return true;
	case SHAPE_STR:
		return get_string(f, b, (const char **)(void *)p);
	case SHAPE_BUF:
		return get_bytes(b, (struct meta1_buf *)(void *)p, f->max);
	case SHAPE_ONE:
		return get_one(f, b, (const void **)(void *)p);
	case SHAPE_MANY:
		return get_many(f, b, base, (const void **)(void *)p);
	}
	return false;
}

static bool get_struct(const struct shape *s, struct bytes *b, void *to)
{
	uint32_t size = s->size;
	bool ok = b->depth < DEPTH_MAX;

	b->depth++;
	if (s->sized)
		memcpy(to, &size, sizeof(size));
	for (unsigned i = 0; i < s->nfield && ok; i++)
		ok = get_field(&s->field[i], b, to);
	b->depth--;
	return ok;
}

bool shape_unpack(const struct shape *s, const uint8_t *p, size_t n, struct pool *pool, void *to)
{
	struct bytes b = {.p = p, .n = n, .pool = pool};

	memset(to, 0, s->size);
	return get_struct(s, &b, to) && b.n == 0;
}
