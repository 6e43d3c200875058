/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * proto.c -- packs and unpacks every message of proto.def from one field table.
 * Comes from chan.c; goes to buffers. Owns nothing.
 * On failure: a malformed frame is refused with the name of the field.
 */
#include "ipc/proto.h"

#include <stdio.h>
#include <xxhash.h>

enum field_type { T_NUM, T_STR, T_STRS, T_NUMS };
struct field {
	const char *name;
	enum field_type type;
	uint32_t max, count; /* bytes of one string; number of elements */
	size_t off;
};

/* First pass: the fields of each message. */
#define NUM(f)	      {#f, T_NUM, 0, 1, offsetof(THIS, f)},
#define STR(f, m)     {#f, T_STR, m, 1, offsetof(THIS, f)},
#define STRS(f, m, k) {#f, T_STRS, m, k, offsetof(THIS, f)},
#define NUMS(f, k)    {#f, T_NUMS, 0, k, offsetof(THIS, f)},
/* THIS must differ a message: each table sits in a function of its own. */
#define MSG(U, l, from, to, deadline, F)                                                           \
	static const struct field *fields_##l(size_t *n)                                           \
	{                                                                                          \
		typedef struct p_##l THIS;                                                         \
		static const struct field t[] = {F{NULL, T_NUM, 0, 0, sizeof(THIS)}};              \
		*n = ARRAY_LEN(t) - 1;                                                             \
		return t;                                                                          \
	}
#include "proto.def"
#undef MSG

/* Second pass: the messages. */
static const struct message {
	const char *name;
	unsigned from, to;
	uint32_t deadline;
	size_t size;
	const struct field *(*fields)(size_t *n);
} messages[P_COUNT] = {
#define MSG(U, l, from, to, deadline, F)                                                           \
	[P_##U] = {#U, from, to, deadline, sizeof(struct p_##l), fields_##l},
#include "proto.def"
#undef MSG
};

const char *proto_name(unsigned type)
{
	return type > P_NONE && type < P_COUNT ? messages[type].name : "?";
}

uint32_t proto_deadline(unsigned type)
{
	return messages[type].deadline;
}

bool proto_may(unsigned type, enum proto_who from, enum proto_who to)
{
	return type > P_NONE && type < P_COUNT && (messages[type].from & from) &&
	       (messages[type].to & to);
}

uint64_t proto_hash(void)
{
	static uint64_t hash;
	const struct field *f;
	char text[160];
	unsigned i;
	size_t n, k;

	if (hash)
		return hash;
	for (i = P_NONE + 1; i < P_COUNT; i++) {
		f = messages[i].fields(&n);
		for (k = 0; k <= n; k++) {
			snprintf(text, sizeof(text), "%s/%u/%u.%s.%d.%u.%u", messages[i].name,
			    messages[i].from, messages[i].to, f[k].name ? f[k].name : "",
			    (int)f[k].type, f[k].max, f[k].count);
			hash = XXH64(text, strlen(text), hash);
		}
	}
	return hash;
}

/* ---- packing ---- */

static size_t leb_put(uint8_t *out, uint64_t v)
{
	size_t n = 0;

	do {
		out[n] = (uint8_t)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
		n++;
	} while (v >>= 7);
	return n;
}

static size_t leb_size(uint64_t v)
{
	size_t n = 1;

	while (v >>= 7)
		n++;
	return n;
}

static size_t list_size(const struct field *f, const uint8_t *at)
{
	size_t n = 0;
	uint32_t i;

	if (f->type == T_NUMS) {
		const struct proto_nums *v = (const void *)at;

		for (i = 0; i < v->n; i++)
			n += leb_size(v->v[i]);
	} else {
		const struct proto_strs *v = (const void *)at;

		for (i = 0; i < v->n; i++)
			n += leb_size(v->v[i].len) + v->v[i].len;
	}
	return n;
}

/* Bytes of the field's value; 0: absent (zero or empty). */
static size_t value_size(const struct field *f, const uint8_t *at)
{
	const struct meta1_buf *b = (const void *)at;
	uint64_t v;

	switch (f->type) {
	case T_NUM:
		memcpy(&v, at, sizeof(v));
		return v ? leb_size(v) : 0;
	case T_STR:
		ensure(b->len <= f->max);
		return b->len < f->max ? b->len : f->max;
	default:
		ensure(((const struct proto_strs *)(const void *)at)->n <= f->count);
		return list_size(f, at);
	}
}

static uint8_t *value_put(const struct field *f, const uint8_t *at, size_t size, uint8_t *p)
{
	const struct proto_strs *s = (const void *)at;
	const struct proto_nums *m = (const void *)at;
	uint64_t v;
	uint32_t i;

	switch (f->type) {
	case T_NUM:
		memcpy(&v, at, sizeof(v));
		return p + leb_put(p, v);
	case T_STR:
		memcpy(p, ((const struct meta1_buf *)(const void *)at)->data, size);
		return p + size;
	case T_NUMS:
		for (i = 0; i < m->n; i++)
			p += leb_put(p, m->v[i]);
		return p;
	default:
		for (i = 0; i < s->n; i++) {
			p += leb_put(p, s->v[i].len);
			if (s->v[i].len)
				memcpy(p, s->v[i].data, s->v[i].len);
			p += s->v[i].len;
		}
		return p;
	}
}

static void put32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
	p[2] = (uint8_t)(v >> 16);
	p[3] = (uint8_t)(v >> 24);
}

bool proto_pack(struct evbuffer *out, enum proto_type type, uint32_t req, const void *msg)
{
	size_t n, i, len = 0, size[32];
	const struct field *f = messages[type].fields(&n);
	struct evbuffer_iovec v;
	uint8_t *p;

	ensure(n <= ARRAY_LEN(size));
	for (i = 0; i < n; i++) {
		size[i] = value_size(&f[i], (const uint8_t *)msg + f[i].off);
		if (size[i])
			len += 1 + leb_size(size[i]) + size[i];
	}
	if (len > PROTO_FRAME_MAX)
		return false;
	if (evbuffer_reserve_space(out, (ev_ssize_t)(PROTO_HEADER + len), &v, 1) < 1)
		base_broken("evbuffer_reserve_space", __FILE__, __LINE__);
	p = v.iov_base;
	put32(p, (uint32_t)len);
	put32(p + 4, (uint32_t)type);
	put32(p + 8, req);
	p += PROTO_HEADER;
	for (i = 0; i < n; i++) {
		if (!size[i])
			continue;
		*p++ = (uint8_t)(i + 1);
		p += leb_put(p, size[i]);
		p = value_put(&f[i], (const uint8_t *)msg + f[i].off, size[i], p);
	}
	v.iov_len = PROTO_HEADER + len;
	evbuffer_commit_space(out, &v, 1);
	return true;
}

/* ---- unpacking ---- */

static const uint8_t *leb_get(const uint8_t *p, const uint8_t *end, uint64_t *v)
{
	unsigned shift = 0;

	for (*v = 0; p < end && shift < 64; shift += 7) {
		*v |= (uint64_t)(*p & 0x7f) << shift;
		if (!(*p++ & 0x80))
			return p;
	}
	return NULL;
}

/* Counts the elements, checks each; with out != NULL stores them too. -1: malformed. */
static int64_t list_walk(const struct field *f, const uint8_t *p, const uint8_t *end, void *out)
{
	uint64_t v;
	uint32_t n = 0;

	for (; p < end; n++) {
		if (n == f->count || !(p = leb_get(p, end, &v)))
			return -1;
		if (f->type == T_NUMS) {
			if (out)
				((uint64_t *)out)[n] = v;
			continue;
		}
		if (v > f->max || v > (uint64_t)(end - p))
			return -1;
		if (out)
			((struct meta1_buf *)out)[n] = buf_of(p, v);
		p += v;
	}
	return n;
}

static int value_get(
    struct pool *pool, const struct field *f, const uint8_t *p, size_t len, uint8_t *at)
{
	const uint8_t *end = p + len;
	struct proto_strs list = {0};
	uint64_t v;
	int64_t n;
	void *arr;

	switch (f->type) {
	case T_NUM:
		if (leb_get(p, end, &v) != end)
			return -1;
		memcpy(at, &v, sizeof(v));
		return 0;
	case T_STR:
		if (len > f->max)
			return -1;
		*(struct meta1_buf *)(void *)at = buf_of(p, len);
		return 0;
	default:
		if ((n = list_walk(f, p, end, NULL)) < 0)
			return -1;
		arr = pool_try(
		    pool, (size_t)n * (f->type == T_NUMS ? sizeof(v) : sizeof(struct meta1_buf)));
		if (!arr)
			return -1;
		list_walk(f, p, end, arr);
		list.v = arr;
		list.n = (uint32_t)n;
		memcpy(at, &list, sizeof(list));
		return 0;
	}
}

void *proto_unpack(
    struct pool *pool, enum proto_type type, const uint8_t *p, size_t len, struct meta1_err *err)
{
	const uint8_t *end = p + len;
	const struct field *f;
	uint64_t vlen;
	uint8_t *msg;
	size_t n;
	unsigned k;

	if (type <= P_NONE || type >= P_COUNT) {
		err_set(err, "frame of unknown type %u", (unsigned)type);
		return NULL;
	}
	f = messages[type].fields(&n);
	if (!(msg = pool_try(pool, messages[type].size))) {
		err_set(err, "%s: no memory", messages[type].name);
		return NULL;
	}
	while (p < end) {
		k = *p++;
		if (!(p = leb_get(p, end, &vlen)) || vlen > (uint64_t)(end - p)) {
			err_set(err, "%s: field %u runs out of the frame", messages[type].name, k);
			return NULL;
		}
		if (k && k <= n && value_get(pool, &f[k - 1], p, vlen, msg + f[k - 1].off) < 0) {
			err_set(err, "%s.%s: malformed or over its bound", messages[type].name,
			    f[k - 1].name);
			return NULL;
		}
		p += vlen;
	}
	return msg;
}

/* ---- for people ---- */

void proto_print(enum proto_type type, const void *msg, char *out, size_t size)
{
	const struct proto_strs *s;
	const struct meta1_buf *b;
	const struct field *f;
	size_t n, i, at;
	uint64_t v;

	at = str_copy(out, size, messages[type].name);
	f = messages[type].fields(&n);
	for (i = 0; i < n && at + 64 < size; i++) {
		const uint8_t *where = (const uint8_t *)msg + f[i].off;

		if (f[i].type == T_NUM) {
			memcpy(&v, where, sizeof(v));
			at += (size_t)snprintf(
			    out + at, size - at, " %s=%llu", f[i].name, (unsigned long long)v);
		} else if (f[i].type == T_STR) {
			b = (const void *)where;
			at += (size_t)snprintf(out + at, size - at, " %s=%.*s", f[i].name,
			    (int)(b->len < 40 ? b->len : 40), b->data ? (const char *)b->data : "");
		} else {
			s = (const void *)where;
			at += (size_t)snprintf(out + at, size - at, " %s[%u]", f[i].name, s->n);
		}
	}
}

static const char *who_name(unsigned who)
{
	static const struct {
		unsigned who;
		const char *name;
	} t[] = {{MCP, "mcp"}, {SMTPS, "smtps"}, {SMTPC, "smtpc"}, {SMAR, "smar"}, {QMGR, "qmgr"}};
	size_t i;

	for (i = 0; i < ARRAY_LEN(t); i++)
		if (t[i].who == who)
			return t[i].name;
	return "any";
}

void proto_document(void *stdio_file)
{
	static const char *const types[] = {"number", "text", "texts", "numbers"};
	const struct field *f;
	unsigned i;
	size_t n, k;

	for (i = P_NONE + 1; i < P_COUNT; i++) {
		fprintf(stdio_file, "### %s\n\n%s to %s", messages[i].name,
		    who_name(messages[i].from), who_name(messages[i].to));
		if (messages[i].deadline)
			fprintf(stdio_file, "; answered by %s within %u ms", proto_name(i + 1),
			    messages[i].deadline);
		fprintf(stdio_file, "\n\n");
		f = messages[i].fields(&n);
		for (k = 0; k < n; k++) {
			fprintf(stdio_file, "- `%s`: %s", f[k].name, types[f[k].type]);
			if (f[k].max)
				fprintf(stdio_file, ", at most %u bytes", f[k].max);
			if (f[k].count > 1)
				fprintf(stdio_file, ", at most %u", f[k].count);
			fprintf(stdio_file, "\n");
		}
		fprintf(stdio_file, n ? "\n" : "");
	}
}
