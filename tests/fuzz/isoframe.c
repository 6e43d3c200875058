/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * isoframe.c -- fuzz target of core/mod/shape.c with the tables of iso_msg.c: what a worker process
 * that is broken into can say to its role, and the other way round. The input: a byte for the
 * table, then the body of a frame. What can be unpacked points into the frame, within its length;
 * it is packed and unpacked to the same again.
 */
#include "fuzz.h"
#include "mod/iso_msg.h"

static const struct shape *const shapes[] = {&iso_shape_answer, &iso_shape_opened, &iso_shape_log,
    &iso_shape_count, &iso_shape_map, &iso_shape_dns, &iso_shape_pm_answer, &iso_shape_tr_answer,
    &iso_shape_tr_rcpt, &iso_shape_open, &iso_shape_lookup, &iso_shape_pm_ask, &iso_shape_session,
    &iso_shape_auth, &iso_shape_tr_open, &iso_shape_tr_send, &iso_shape_drain};

static void look(const struct shape *s, const void *at, const uint8_t *p, size_t n);

static void inside(const void *at, size_t len, const uint8_t *p, size_t n)
{
	const uint8_t *b = at;

	must(b > p && b < p + n && len < n && b + len < p + n && b[len] == 0);
}

static uint64_t number(const char *at, unsigned width)
{
	uint64_t v = 0;

	memcpy(&v, at, width); /* of this machine's order, which is little-endian where we test */
	return v;
}

static void look_field(const struct shape_field *f, const char *base, const uint8_t *p, size_t n)
{
	const char *at = base + f->off;
	const struct meta1_buf *b = (const void *)at;
	const void *to = NULL;
	uint64_t many;

	if (f->kind != SHAPE_NUM && f->kind != SHAPE_CHARS)
		memcpy(&to, at, sizeof(to));
	switch ((enum shape_kind)f->kind) {
	case SHAPE_STR:
		if (to)
			inside(to, strlen(to), p, n);
		must(!to || strlen(to) <= f->max);
		break;
	case SHAPE_BUF:
		if (b->data)
			inside(b->data, b->len, p, n);
		must(b->len <= f->max && (b->data || !b->len));
		break;
	case SHAPE_CHARS:
		must(memchr(at, 0, f->width) != NULL);
		break;
	case SHAPE_ONE:
		if (to)
			look(f->of, to, p, n);
		break;
	case SHAPE_MANY:
		many = number(base + f->count_off, f->count_width);
		must(many <= f->max && many <= n && (many == 0) == (to == NULL));
		for (uint64_t i = 0; i < many; i++) {
			b = (const struct meta1_buf *)to + i;
			if (f->of)
				look(f->of, (const char *)to + i * f->of->size, p, n);
			else if (b->data)
				inside(b->data, b->len, p, n);
		}
		break;
	default:
		break;
	}
}

static void look(const struct shape *s, const void *at, const uint8_t *p, size_t n)
{
	for (unsigned i = 0; i < s->nfield; i++)
		look_field(&s->field[i], at, p, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const struct shape *s;
	struct packed one = {0}, two = {0};
	struct pool pool;
	void *m;

	if (n == 0)
		return 0;
	s = shapes[data[0] % (sizeof(shapes) / sizeof(shapes[0]))];
	m = malloc(s->size);
	pool_init(&pool, ISO_POOL_MAX);
	if (m && shape_unpack(s, data + 1, n - 1, &pool, m)) {
		look(s, m, data, n);
		must(shape_pack(s, m, &one) && one.n <= n - 1);
		must(shape_unpack(s, one.b, one.n, &pool, m));
		must(shape_pack(s, m, &two) && two.n == one.n);
		must(one.n == 0 || memcmp(one.b, two.b, one.n) == 0);
	}
	pool_clear(&pool);
	free(one.b);
	free(two.b);
	free(m);
	return 0;
}
