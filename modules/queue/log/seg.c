/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * seg.c -- what stands in a segment: headers, envelopes, names, references.
 *
 * Pure: bytes in, bytes out; tried by tests/unit/modules/queue_seg.c.
 * Comes from: writer.c (envelopes), batch.c (headers). Goes to: scan.c, reader.c, manager.c.
 * Owns: nothing. On failure: a malformed record or header is refused, never half read.
 */
#define XXH_INLINE_ALL
#include "log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

_Static_assert(sizeof(struct seg_head) <= SEG_HEAD, "the header has its room");
_Static_assert(sizeof(struct log_ref) <= META1_REF_MAX, "a reference fits");
_Static_assert(sizeof(struct log_notice) <= META1_NOTICE_MAX, "a notice fits");
_Static_assert(sizeof(struct seg_rec) % 8 == 0, "records are padded to 8");

int pos_cmp(struct pos a, struct pos b)
{
	if (a.seg != b.seg)
		return a.seg < b.seg ? -1 : 1;
	if (a.off != b.off)
		return a.off < b.off ? -1 : 1;
	return a.idx < b.idx ? -1 : a.idx > b.idx;
}

uint64_t seg_align(uint64_t n)
{
	return (n + LOG_ALIGN - 1) & ~(uint64_t)(LOG_ALIGN - 1);
}

uint64_t seg_sum(uint64_t seg, const void *p, size_t n)
{
	return XXH3_64bits_withSeed(p, n, seg);
}

uint64_t seg_seal(uint64_t sum, uint64_t seg)
{
	return seg_sum(seg, &sum, sizeof(sum));
}

static const struct meta1_qrcpt *rcpt(const struct meta1_env *e, uint32_t i)
{
	return (const void *)((const char *)e->rcpt + (size_t)i * e->sizeof_rcpt);
}

static bool has_dsn(const struct meta1_qrcpt *r)
{
	return r->notify != 0 || r->orcpt.len > 0;
}

static bool has_alias(const struct meta1_qrcpt *r)
{
	return r->flags != 0 || r->sender.len > 0 || r->alias.len > 0;
}

/* Behind all the rest: its length and text, of mail that is held from the start. */
static bool has_hold(const struct meta1_env *e)
{
	return META1_HAS(e, hold) && (e->flags & META1_M_HOLD) != 0;
}

size_t seg_rec_size(const char *id, const struct meta1_env *e)
{
	size_t n = sizeof(struct seg_rec) + strlen(id) + e->from.len + e->client.len + e->envid.len;

	if (strlen(id) >= META1_ID_MAX || e->from.len > UINT16_MAX || e->client.len > UINT16_MAX ||
	    e->envid.len > UINT16_MAX || e->nrcpt == 0 || e->nrcpt > LOG_NRCPT_MAX)
		return 0;
	for (uint32_t i = 0; i < e->nrcpt; i++) {
		const struct meta1_qrcpt *r = rcpt(e, i);

		if (r->addr.len > UINT16_MAX || r->orcpt.len > UINT16_MAX ||
		    r->sender.len > UINT16_MAX || r->alias.len > UINT16_MAX)
			return 0;
		n += 2 + r->addr.len;
		if (has_dsn(r))
			n += sizeof(struct seg_dsn) + r->orcpt.len;
		if (has_alias(r))
			n += sizeof(struct seg_alias) + r->sender.len + r->alias.len;
	}
	if (has_hold(e))
		n += 2 + (e->hold.len <= UINT16_MAX ? e->hold.len : LOG_BATCH_MAX);
	n = (n + 7) & ~(size_t)7;
	return n <= LOG_BATCH_MAX ? n : 0;
}

static uint8_t *put(uint8_t *p, const void *b, size_t n)
{
	if (n > 0)
		memcpy(p, b, n);
	return p + n;
}

static uint8_t *put_dsn(uint8_t *p, uint32_t i, const struct meta1_qrcpt *q)
{
	struct seg_dsn d = {
	    .rcpt = i, .notify = (uint16_t)q->notify, .orcptlen = (uint16_t)q->orcpt.len};

	if (!has_dsn(q))
		return p;
	return put(put(p, &d, sizeof(d)), q->orcpt.data, d.orcptlen);
}

static uint8_t *put_alias(uint8_t *p, uint32_t i, const struct meta1_qrcpt *q)
{
	struct seg_alias a = {.rcpt = i,
	    .flags = (uint16_t)q->flags,
	    .senderlen = (uint16_t)q->sender.len,
	    .aliaslen = (uint16_t)q->alias.len};

	if (!has_alias(q))
		return p;
	p = put(put(p, &a, sizeof(a)), q->sender.data, a.senderlen);
	return put(p, q->alias.data, a.aliaslen);
}

void seg_rec_encode(uint8_t *out, size_t len, const char *id, const struct meta1_env *e)
{
	struct seg_rec r = {.len = (uint32_t)len,
	    .flags = e->flags,
	    .bytes = e->bytes,
	    .time = e->time,
	    .nrcpt = e->nrcpt,
	    .idlen = (uint16_t)strlen(id),
	    .fromlen = (uint16_t)e->from.len,
	    .clientlen = (uint16_t)e->client.len,
	    .envidlen = (uint16_t)e->envid.len};
	uint8_t *p;

	for (uint32_t i = 0; i < e->nrcpt; i++) {
		r.ndsn += has_dsn(rcpt(e, i));
		r.nalias += has_alias(rcpt(e, i));
	}
	p = put(out, &r, sizeof(r));
	p = put(p, id, r.idlen);
	p = put(p, e->from.data, e->from.len);
	p = put(p, e->client.data, e->client.len);
	for (uint32_t i = 0; i < e->nrcpt; i++) {
		const struct meta1_qrcpt *q = rcpt(e, i);
		uint16_t n = (uint16_t)q->addr.len;

		p = put(p, &n, 2);
		p = put(p, q->addr.data, n);
	}
	p = put(p, e->envid.data, e->envid.len);
	for (uint32_t i = 0; r.ndsn > 0 && i < e->nrcpt; i++)
		p = put_dsn(p, i, rcpt(e, i));
	for (uint32_t i = 0; r.nalias > 0 && i < e->nrcpt; i++)
		p = put_alias(p, i, rcpt(e, i));
	if (has_hold(e)) {
		uint16_t n = (uint16_t)e->hold.len;

		p = put(put(p, &n, 2), e->hold.data, n);
	}
	memset(p, 0, (size_t)(out + len - p));
}

static const uint8_t *decode_aliases(const uint8_t *p, const uint8_t *end, struct seg_msg *m)
{
	m->aliases = p;
	for (uint32_t i = 0; i < m->r.nalias; i++) {
		struct seg_alias a;

		if (end - p < (ptrdiff_t)sizeof(a))
			return NULL;
		memcpy(&a, p, sizeof(a));
		p += sizeof(a);
		if (a.rcpt >= m->r.nrcpt || end - p < (ptrdiff_t)a.senderlen + a.aliaslen)
			return NULL;
		p += a.senderlen + a.aliaslen;
	}
	return p;
}

static const uint8_t *decode_hold(const uint8_t *p, const uint8_t *end, struct seg_msg *m)
{
	uint16_t n;

	m->hold = (struct meta1_buf){NULL, 0};
	if (p == NULL || (m->r.flags & META1_M_HOLD) == 0)
		return p;
	if (end - p < 2)
		return NULL;
	memcpy(&n, p, 2);
	if (end - p - 2 < n)
		return NULL;
	m->hold = (struct meta1_buf){p + 2, n};
	return p + 2 + n;
}

/* What stands behind the recipients. */
static int decode_dsn(const uint8_t *p, const uint8_t *end, struct seg_msg *m)
{
	if (end - p < m->r.envidlen)
		return -1;
	m->envid = (struct meta1_buf){p, m->r.envidlen};
	p += m->r.envidlen;
	m->dsns = p;
	for (uint32_t i = 0; i < m->r.ndsn; i++) {
		struct seg_dsn d;

		if (end - p < (ptrdiff_t)sizeof(d))
			return -1;
		memcpy(&d, p, sizeof(d));
		p += sizeof(d);
		if (d.rcpt >= m->r.nrcpt || end - p < d.orcptlen)
			return -1;
		p += d.orcptlen;
	}
	p = decode_hold(decode_aliases(p, end, m), end, m);
	if (p == NULL)
		return -1;
	if (m->r.kind == 0)
		return 0;
	if (m->r.kind != SEG_COPY || end - p < (ptrdiff_t)sizeof(m->origin))
		return -1;
	memcpy(&m->origin, end - sizeof(m->origin), sizeof(m->origin));
	return m->origin.writer <= LOG_QM ? 0 : -1;
}

int seg_rec_decode(const uint8_t *b, size_t avail, struct seg_msg *m)
{
	const uint8_t *p = b + sizeof(struct seg_rec), *end;

	if (avail < sizeof(struct seg_rec))
		return -1;
	memcpy(&m->r, b, sizeof(m->r));
	if (m->r.len < sizeof(struct seg_rec) || m->r.len > avail || m->r.len % 8 != 0 ||
	    m->r.idlen >= META1_ID_MAX || m->r.uwriter > LOG_QM || m->r.nrcpt == 0 ||
	    m->r.nrcpt > LOG_NRCPT_MAX)
		return -1;
	end = b + m->r.len;
	memset(&m->origin, 0, sizeof(m->origin));
	if ((size_t)(end - p) < (size_t)m->r.idlen + m->r.fromlen + m->r.clientlen)
		return -1;
	memcpy(m->id, p, m->r.idlen);
	m->id[m->r.idlen] = '\0';
	p += m->r.idlen;
	m->from = (struct meta1_buf){p, m->r.fromlen};
	p += m->r.fromlen;
	m->client = (struct meta1_buf){p, m->r.clientlen};
	p += m->r.clientlen;
	m->rcpts = p;
	for (uint32_t i = 0; i < m->r.nrcpt; i++) {
		uint16_t n;

		if (end - p < 2)
			return -1;
		memcpy(&n, p, 2);
		if (end - p - 2 < n)
			return -1;
		p += 2 + n;
	}
	return decode_dsn(p, end, m);
}

size_t seg_copy(
    const struct seg_msg *m, const uint8_t *rec, const struct seg_origin *o, uint8_t *out)
{
	size_t was = m->r.len, n = m->r.kind == SEG_COPY ? was : was + sizeof(*o);
	struct seg_rec r = m->r;

	if (out == NULL)
		return n;
	r.len = (uint32_t)n;
	r.kind = SEG_COPY;
	memcpy(out, rec, was);
	memcpy(out, &r, sizeof(r));
	memcpy(out + n - sizeof(*o), o, sizeof(*o));
	return n;
}

struct meta1_env seg_env(const struct seg_msg *s, const struct meta1_qrcpt *v)
{
	return (struct meta1_env){.size = sizeof(struct meta1_env),
	    .nrcpt = s->r.nrcpt,
	    .sizeof_rcpt = sizeof(*v),
	    .flags = s->r.flags,
	    .from = s->from,
	    .client = s->client,
	    .rcpt = v,
	    .time = s->r.time,
	    .bytes = s->r.bytes,
	    .envid = s->envid,
	    .hold = s->hold};
}

void seg_rcpts(const struct seg_msg *m, struct meta1_qrcpt *v)
{
	const uint8_t *p = m->rcpts;

	for (uint32_t i = 0; i < m->r.nrcpt; i++) {
		uint16_t n;

		memcpy(&n, p, 2);
		v[i] = (struct meta1_qrcpt){.addr = {p + 2, n}};
		p += 2 + n;
	}
	p = m->dsns;
	for (uint32_t i = 0; i < m->r.ndsn; i++) {
		struct seg_dsn d;

		memcpy(&d, p, sizeof(d));
		p += sizeof(d);
		v[d.rcpt].notify = d.notify;
		v[d.rcpt].orcpt = (struct meta1_buf){p, d.orcptlen};
		p += d.orcptlen;
	}
	p = m->aliases;
	for (uint32_t i = 0; i < m->r.nalias; i++) {
		struct seg_alias a;

		memcpy(&a, p, sizeof(a));
		p += sizeof(a);
		v[a.rcpt].flags = a.flags;
		v[a.rcpt].sender = (struct meta1_buf){p, a.senderlen};
		p += a.senderlen;
		v[a.rcpt].alias = (struct meta1_buf){p, a.aliaslen};
		p += a.aliaslen;
	}
}

void seg_head_seal(struct seg_head *h, const void *table)
{
	h->magic = SEG_MAGIC;
	h->version = SEG_VERSION;
	h->table_sum = seg_sum(h->seg, table, h->table_len);
	h->sum = seg_sum(h->seg, h, offsetof(struct seg_head, sum));
}

bool seg_head_ok(const struct seg_head *h, uint64_t seg, uint64_t off)
{
	return h->magic == SEG_MAGIC && h->version == SEG_VERSION && h->seg == seg &&
	       h->off == off && h->sum == seg_sum(seg, h, offsetof(struct seg_head, sum)) &&
	       h->nmsg > 0 && h->table_len <= LOG_TABLE_MAX && h->len % LOG_ALIGN == 0 &&
	       h->len >= SEG_HEAD + h->table_len && h->len <= (uint64_t)1 << 32;
}

bool seg_head_broken(const struct seg_head *h, uint64_t seg, uint64_t off)
{
	return (h->magic == SEG_MAGIC || (h->seg == seg && h->off == off && h->len != 0)) &&
	       !seg_head_ok(h, h->seg, h->off);
}

void seg_name(char out[24], char kind, uint64_t number)
{
	snprintf(out, 24, "%c%016" PRIx64, kind, number);
}

char seg_parse(const char *name, uint64_t *number)
{
	char *end;

	if (strlen(name) != 17 || strchr("sxb", name[0]) == NULL ||
	    strspn(name + 1, "0123456789abcdef") != 16)
		return 0;
	*number = strtoull(name + 1, &end, 16);
	return name[0];
}

void seg_ref(struct meta1_ref *out, const struct log_ref *r)
{
	memset(out, 0, sizeof(*out));
	out->len = sizeof(*r);
	memcpy(out->b, r, sizeof(*r));
}

int seg_unref(const struct meta1_ref *in, struct log_ref *r)
{
	if (in->len != sizeof(*r))
		return -1;
	memcpy(r, in->b, sizeof(*r));
	return r->writer <= LOG_QM && r->uwriter <= LOG_QM ? 0 : -1;
}

int seg_notice(struct meta1_buf b, struct log_notice *n)
{
	if (b.len != sizeof(*n))
		return -1;
	memcpy(n, b.data, sizeof(*n));
	if (n->writer > LOG_QM || (n->kind != NOTICE_MESSAGE && n->kind != NOTICE_TAIL))
		return -1;
	return n->kind == NOTICE_TAIL || n->idx < n->nmsg ? 0 : -1;
}

struct pos seg_before(const struct log_notice *n)
{
	return (struct pos){.seg = n->seg, .off = n->off, .idx = n->idx};
}

struct pos seg_after(const struct log_notice *n)
{
	if (n->kind == NOTICE_TAIL)
		return seg_before(n);
	if (n->idx + 1 < n->nmsg)
		return (struct pos){.seg = n->seg, .off = n->off, .idx = n->idx + 1};
	return (struct pos){.seg = n->seg, .off = n->next};
}
