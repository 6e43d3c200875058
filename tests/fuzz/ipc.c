/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ipc.c -- fuzz target of core/ipc/proto.c. The input: a byte for the type of the message, then
 * the payload of its frame. What can be unpacked is packed and unpacked to the same again.
 */
#include "fuzz.h"
#include "ipc/proto.h"

#define POOL_MAX (16u << 20)

static struct evbuffer *pack(enum proto_type type, const void *msg)
{
	struct evbuffer *b = evbuffer_new();

	proto_pack(b, type, 7, msg);
	return b;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct evbuffer *one, *two;
	struct meta1_err err = {""};
	struct pool pool;
	char line[200];
	const uint8_t *p;
	void *msg;
	size_t len;
	enum proto_type type;

	if (n == 0 || n > PROTO_FRAME_MAX)
		return 0;
	type = (enum proto_type)(data[0] % (P_COUNT + 1));
	pool_init(&pool, POOL_MAX);
	msg = proto_unpack(&pool, type, data + 1, n - 1, &err);
	if (!msg) {
		must(err.text[0] != '\0');
		pool_clear(&pool);
		return 0;
	}
	proto_print(type, msg, line, sizeof(line));
	must(strncmp(line, proto_name(type), strlen(proto_name(type))) == 0);
	one = pack(type, msg);
	len = evbuffer_get_length(one);
	p = evbuffer_pullup(one, -1);
	must(len >= PROTO_HEADER && len <= PROTO_HEADER + PROTO_FRAME_MAX);
	msg = proto_unpack(&pool, type, p + PROTO_HEADER, len - PROTO_HEADER, &err);
	must(msg != NULL);
	two = pack(type, msg);
	must(evbuffer_get_length(two) == len && memcmp(evbuffer_pullup(two, -1), p, len) == 0);
	evbuffer_free(one);
	evbuffer_free(two);
	pool_clear(&pool);
	return 0;
}
