/* SPDX-License-Identifier: BSD-2-Clause */
/* proto.c -- every message survives packing and unpacking; no bytes can hurt. */
#include "ipc/proto.h"
#include "../unit.h"

#include <stdlib.h>

static void *trip(struct pool *pool, enum proto_type type, const void *msg)
{
	struct evbuffer *b = evbuffer_new();
	size_t len;
	uint8_t *p;
	void *out;
	static uint8_t keep[65536];
	struct meta1_err err;

	assert_true(proto_pack(b, type, 7, msg));
	len = evbuffer_get_length(b);
	p = evbuffer_pullup(b, -1);
	assert_true(len >= PROTO_HEADER && len < sizeof(keep));
	memcpy(keep, p, len);
	evbuffer_free(b);
	assert_int_equal(keep[0] | keep[1] << 8, len - PROTO_HEADER);
	assert_int_equal(keep[4] | keep[5] << 8, type);
	assert_int_equal(keep[8], 7);
	out = proto_unpack(pool, type, keep + PROTO_HEADER, len - PROTO_HEADER, &err);
	if (!out)
		fail_msg("%s", err.text);
	return out;
}

static void round_trip(void **state)
{
	struct meta1_buf rcpts[3] = {buf_str("a@b.example"), buf_str(""), buf_str("c@d.example")};
	struct p_queued in = {.notice = buf_of("\0\1\2", 3),
	    .id = buf_str("S0000000000000001"),
	    .rcpts = {rcpts, 3},
	    .bytes = UINT64_MAX,
	    .flags = 0x81,
	    .time = 1};
	struct p_queued *out;
	struct pool pool;
	uint32_t i;

	(void)state;
	pool_init(&pool, 1 << 20);
	out = trip(&pool, P_QUEUED, &in);
	assert_true(buf_eq(out->notice, in.notice) && buf_eq(out->id, in.id));
	assert_int_equal(out->rcpts.n, 3);
	for (i = 0; i < 3; i++)
		assert_true(buf_eq(out->rcpts.v[i], rcpts[i]));
	assert_true(out->bytes == UINT64_MAX && out->flags == 0x81 && out->from.len == 0);
	pool_clear(&pool);
}

static void bounds(void **state)
{
	static uint8_t big[500];
	struct pool pool;
	struct meta1_err err;

	(void)state;
	pool_init(&pool, 1 << 20);
	/* field 1 of ROUTE is a domain of at most 255 bytes */
	big[0] = 1;
	big[1] = 0x80 | (300 & 0x7f);
	big[2] = 300 >> 7;
	assert_null(proto_unpack(&pool, P_ROUTE, big, 303, &err));
	assert_non_null(strstr(err.text, "ROUTE.domain"));
	big[1] = 0x80 | (255 & 0x7f);
	big[2] = 255 >> 7;
	assert_non_null(proto_unpack(&pool, P_ROUTE, big, 258, &err));
	/* an unknown field is skipped, a length beyond the frame refused */
	assert_non_null(proto_unpack(&pool, P_ROUTE, (const uint8_t *)"\x63\x01x", 3, &err));
	assert_null(proto_unpack(&pool, P_ROUTE, (const uint8_t *)"\x01\x05x", 3, &err));
	pool_clear(&pool);
}

static void any_bytes(void **state)
{
	uint8_t junk[200];
	struct meta1_err err;
	struct pool pool;
	unsigned i, t, k;

	(void)state;
	srand(1);
	pool_init(&pool, 1 << 20);
	for (i = 0; i < 20000; i++) {
		for (k = 0; k < sizeof(junk); k++)
			junk[k] = (uint8_t)(rand() % 3 ? rand() % 20 : rand());
		t = (unsigned)rand() % (P_COUNT + 2);
		proto_unpack(&pool, t, junk, (size_t)rand() % sizeof(junk), &err);
		pool_clear(&pool);
	}
}

static void rights(void **state)
{
	(void)state;
	assert_true(proto_may(P_DELIVER, QMGR, SMTPC));
	assert_false(proto_may(P_DELIVER, SMTPS, SMTPC));
	assert_false(proto_may(P_COUNT, ANY, ANY));
	assert_true(proto_hash() != 0 && proto_hash() == proto_hash());
}

/* What no other side would take is not packed: the frames before and behind stay good. */
static void too_large(void **state)
{
	static struct meta1_buf rcpts[10000], orcpts[10000];
	static char addr[320], orcpt[500];
	struct p_queued m = {.id = buf_str("S1"), .rcpts = {rcpts, 10000}};
	struct evbuffer *b = evbuffer_new();
	size_t i, len;

	(void)state;
	memset(addr, 'a', sizeof(addr));
	memset(orcpt, 'o', sizeof(orcpt));
	for (i = 0; i < 10000; i++) {
		rcpts[i] = buf_of(addr, sizeof(addr));
		orcpts[i] = buf_of(orcpt, sizeof(orcpt));
	}
	assert_true(proto_pack(b, P_QUEUED, 0, &m)); /* without the second list it fits */
	len = evbuffer_get_length(b);
	assert_in_range(len, 10000 * sizeof(addr), PROTO_FRAME_MAX + PROTO_HEADER);
	m.orcpts = (struct proto_strs){orcpts, 10000};
	assert_false(proto_pack(b, P_QUEUED, 0, &m));
	assert_int_equal(evbuffer_get_length(b), len);
	evbuffer_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(round_trip),
	    cmocka_unit_test(too_large), cmocka_unit_test(bounds), cmocka_unit_test(any_bytes),
	    cmocka_unit_test(rights)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
