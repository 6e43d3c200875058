/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dns_msg.c -- DNS packets, by ldns, to and from our records. The one file that
 * includes ldns. RFC 1035, RFC 2308 (negative answers), RFC 6891 (EDNS0).
 * From and to dns_try.c; the data made here goes by dns.c to the askers.
 * Everything in a packet is hostile: counts are bounded before ldns allocates, names and
 * lengths are checked again afterwards; a packet that is wrong in any part is a failure
 * of its server (DNS_FAIL), never an answer.
 */
#include "smar/smar.h"

#include <ldns/ldns.h>
#include <stdio.h>
#include <stdlib.h>

#define HEADER	     12
#define POINTERS     16 /* in a row */
#define NEGATIVE_MIN 5
#define NEGATIVE_MAX 300
#define TTL_MAX	     86400

const char *dns_msg_library(void)
{
	static char text[40];

	snprintf(text, sizeof(text), "ldns %s", ldns_version());
	return text;
}

static ldns_rdf *name_rdf(const char *name)
{
	return ldns_dname_new_frm_str(name[0] ? name : ".");
}

size_t dns_msg_query(const struct dns_question *q, uint8_t *out, size_t size)
{
	ldns_rdf *name = name_rdf(q->name);
	ldns_pkt *pkt = NULL;
	uint8_t *wire = NULL;
	size_t len = 0;

	if (!name)
		return 0;
	pkt = ldns_pkt_query_new(name, (ldns_rr_type)q->type, LDNS_RR_CLASS_IN, LDNS_RD);
	if (!pkt) {
		ldns_rdf_deep_free(name);
		return 0;
	}
	ldns_pkt_set_id(pkt, q->id);
	ldns_pkt_set_ad(pkt, q->ad); /* RFC 6840 section 5.7 */
	if (q->edns)
		ldns_pkt_set_edns_udp_size(pkt, DNS_PACKET);
	if (ldns_pkt2wire(&wire, pkt, &len) != LDNS_STATUS_OK || len > size)
		len = 0;
	if (len > 0)
		memcpy(out, wire, len);
	LDNS_FREE(wire);
	ldns_pkt_free(pkt);
	return len;
}

/* ---- names ---- */
int dns_msg_name(struct meta1_buf rdata, size_t off, char *out, size_t size)
{
	const unsigned char *p = rdata.data;
	size_t n = 0;

	for (;;) {
		size_t label;

		if (off >= rdata.len)
			return -1;
		label = p[off++];
		if (label == 0)
			break;
		if (label > 63 || off + label > rdata.len || n + label + 2 > size)
			return -1;
		if (n > 0)
			out[n++] = '.';
		for (; label > 0; label--, off++) {
			unsigned char c = p[off];

			if (c >= 'A' && c <= 'Z')
				c = (unsigned char)(c + 32);
			if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
				c == '_'))
				return -1;
			out[n++] = (char)c;
		}
	}
	out[n] = '\0';
	return off == rdata.len ? 0 : -1;
}

static bool same_name(const ldns_rdf *a, const ldns_rdf *b)
{
	return a && b && ldns_dname_compare(a, b) == 0;
}

/* ---- reading ---- */
static enum dns_read fail(struct dns_result *r, const char *why)
{
	str_copy(r->why, sizeof(r->why), why);
	return DNS_FAIL;
}

/* Lengths that a type must have: what is short here would be read beyond its end elsewhere. */
static bool rdata_ok(uint16_t type, size_t len)
{
	switch (type) {
	case DNS_A:
		return len == 4;
	case DNS_AAAA:
		return len == 16;
	case DNS_MX:
		return len >= 3;
	default: /* TLSA: odd ones are judged one by one, in dane.c */
		return true;
	}
}

/* What answers the question: follows CNAMEs inside the answer. */
struct walk {
	const ldns_rdf *name; /* at the end of the chain */
	uint32_t ttl;
	unsigned chain;
};

static const ldns_rr *find_cname(const ldns_rr_list *list, const ldns_rdf *owner)
{
	for (size_t i = 0; i < ldns_rr_list_rr_count(list); i++) {
		const ldns_rr *rr = ldns_rr_list_rr(list, i);

		if (ldns_rr_get_type(rr) == LDNS_RR_TYPE_CNAME &&
		    same_name(ldns_rr_owner(rr), owner))
			return rr;
	}
	return NULL;
}

static uint32_t rr_ttl(const ldns_rr *rr)
{
	uint32_t ttl = ldns_rr_ttl(rr);

	return ttl > 0x7fffffffu ? 0 : ttl; /* RFC 2181 section 8 */
}

static bool walk_chain(const ldns_rr_list *list, uint16_t type, struct walk *w)
{
	const ldns_rr *rr;

	while (type != DNS_CNAME && (rr = find_cname(list, w->name)) != NULL) {
		if (++w->chain > DNS_CHAIN || ldns_rr_rd_count(rr) != 1)
			return false;
		if (rr_ttl(rr) < w->ttl)
			w->ttl = rr_ttl(rr);
		w->name = ldns_rr_rdf(rr, 0);
	}
	return true;
}

static struct dns_data *data_new(uint32_t n, size_t bytes)
{
	size_t memory = sizeof(struct dns_data) + n * sizeof(struct meta1_buf) + bytes;
	struct dns_data *d = base_alloc(memory);

	d->refs = 1;
	d->memory = (uint32_t)memory;
	d->rdata = (const struct meta1_buf *)(const void *)(d + 1);
	return d;
}

static size_t rdata_len(const ldns_rr *rr)
{
	size_t len = 0;

	for (size_t i = 0; i < ldns_rr_rd_count(rr); i++)
		len += ldns_rdf_size(ldns_rr_rdf(rr, i));
	return len;
}

static bool answers(const ldns_rr *rr, uint16_t type, const ldns_rdf *name)
{
	return ldns_rr_get_type(rr) == (ldns_rr_type)type &&
	       ldns_rr_get_class(rr) == LDNS_RR_CLASS_IN && same_name(ldns_rr_owner(rr), name);
}

/* Where the chain ends, as text in so many bytes with NUL. */
static size_t end_name(const struct walk *w, char out[DNS_NAME_MAX])
{
	struct meta1_buf wire = buf_of(ldns_rdf_data(w->name), ldns_rdf_size(w->name));

	if (dns_msg_name(wire, 0, out, DNS_NAME_MAX) < 0)
		out[0] = '\0';
	return strlen(out) + 1;
}

/* Copies the rdata of all records that answer; NULL: a record is wrong. */
static struct dns_data *collect(const ldns_rr_list *list, uint16_t type, struct walk *w)
{
	char name[DNS_NAME_MAX];
	size_t named = end_name(w, name), bytes = named, count = ldns_rr_list_rr_count(list);
	uint32_t n = 0;
	struct dns_data *d;
	struct meta1_buf *out;
	unsigned char *to;

	for (size_t i = 0; i < count; i++) {
		const ldns_rr *rr = ldns_rr_list_rr(list, i);

		if (!answers(rr, type, w->name))
			continue;
		if (!rdata_ok(type, rdata_len(rr)))
			return NULL;
		if (rr_ttl(rr) < w->ttl)
			w->ttl = rr_ttl(rr);
		bytes += rdata_len(rr);
		n++;
	}
	d = data_new(n, bytes);
	out = (struct meta1_buf *)(void *)(d + 1);
	to = (unsigned char *)(out + n);
	d->name = memcpy(to, name, named);
	to += named;
	for (size_t i = 0; i < count; i++) {
		const ldns_rr *rr = ldns_rr_list_rr(list, i);

		if (!answers(rr, type, w->name))
			continue;
		out[d->n++] = buf_of(to, rdata_len(rr));
		for (size_t k = 0; k < ldns_rr_rd_count(rr); k++) {
			memcpy(to, ldns_rdf_data(ldns_rr_rdf(rr, k)),
			    ldns_rdf_size(ldns_rr_rdf(rr, k)));
			to += ldns_rdf_size(ldns_rr_rdf(rr, k));
		}
	}
	return d;
}

/* Seconds a "no" may be kept: RFC 2308 section 5. soa: there was one. */
static uint32_t negative_ttl(const ldns_rr_list *authority, bool *soa, bool *ns)
{
	uint32_t ttl = NEGATIVE_MIN;

	*soa = *ns = false;
	for (size_t i = 0; i < ldns_rr_list_rr_count(authority); i++) {
		const ldns_rr *rr = ldns_rr_list_rr(authority, i);

		if (ldns_rr_get_type(rr) == LDNS_RR_TYPE_NS)
			*ns = true;
		if (ldns_rr_get_type(rr) != LDNS_RR_TYPE_SOA || ldns_rr_rd_count(rr) != 7)
			continue;
		*soa = true;
		ttl = ldns_rdf2native_int32(ldns_rr_rdf(rr, 6));
		if (rr_ttl(rr) < ttl)
			ttl = rr_ttl(rr);
	}
	if (ttl < NEGATIVE_MIN)
		ttl = NEGATIVE_MIN;
	return ttl < NEGATIVE_MAX ? ttl : NEGATIVE_MAX;
}

static enum dns_read follow(const struct walk *w, struct dns_result *r)
{
	struct meta1_buf wire = buf_of(ldns_rdf_data(w->name), ldns_rdf_size(w->name));

	if (dns_msg_name(wire, 0, r->follow, sizeof(r->follow)) < 0 || r->follow[0] == '\0')
		return fail(r, "CNAME to a name that no host can have");
	r->ttl = w->ttl;
	return DNS_FOLLOW;
}

static enum dns_read read_answer(
    const ldns_pkt *pkt, const struct dns_question *q, const ldns_rdf *name, struct dns_result *r)
{
	bool nx = ldns_pkt_get_rcode(pkt) == LDNS_RCODE_NXDOMAIN, soa, ns;
	struct walk w = {.name = name, .ttl = TTL_MAX};
	uint32_t no_ttl = negative_ttl(ldns_pkt_authority(pkt), &soa, &ns);

	if (!walk_chain(ldns_pkt_answer(pkt), q->type, &w))
		return fail(r, "chain of CNAMEs without an end");
	r->data = collect(ldns_pkt_answer(pkt), q->type, &w);
	if (!r->data)
		return fail(r, "record of a wrong length");
	if (r->data->n > 0) {
		r->data->status = META1_OK;
		r->data->ttl = w.ttl;
		return DNS_GOOD;
	}
	r->data->status = META1_NOTFOUND;
	r->data->nxdomain = nx;
	r->data->ttl = no_ttl < w.ttl ? no_ttl : w.ttl;
	if (nx || soa)
		return DNS_GOOD;
	if (w.chain > 0) { /* the server answers only for the alias */
		dns_data_unref(&r->data);
		return follow(&w, r);
	}
	if (ns && !ldns_pkt_aa(pkt)) { /* a referral: not a resolver, not the owner */
		dns_data_unref(&r->data);
		return fail(r, "server refers to others and answers nothing");
	}
	return DNS_GOOD;
}

static enum dns_read judge(
    const ldns_pkt *pkt, const struct dns_question *q, const ldns_rdf *name, struct dns_result *r)
{
	const ldns_rr *asked = ldns_rr_list_rr(ldns_pkt_question(pkt), 0);
	ldns_pkt_rcode rcode = ldns_pkt_get_rcode(pkt);
	/* The upper bits of the code stand in the OPT record: BADVERS is 16. */
	bool extended = ldns_pkt_edns(pkt) && ldns_pkt_edns_extended_rcode(pkt) != 0;

	if (!asked || !answers(asked, q->type, name))
		return DNS_IGNORE;
	if ((rcode == LDNS_RCODE_FORMERR || rcode == LDNS_RCODE_NOTIMPL || extended) && q->edns)
		return DNS_NOEDNS;
	if (extended)
		return fail(r, "server answers with an error");
	r->secure = q->ad && ldns_pkt_ad(pkt);
	if (rcode != LDNS_RCODE_NOERROR && rcode != LDNS_RCODE_NXDOMAIN) {
		snprintf(r->why, sizeof(r->why), "server answers %s",
		    rcode == LDNS_RCODE_SERVFAIL  ? "SERVFAIL"
		    : rcode == LDNS_RCODE_REFUSED ? "REFUSED"
						  : "with an error");
		return DNS_FAIL;
	}
	return read_answer(pkt, q, name, r);
}

static unsigned get16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

/* The question of the packet, byte for byte: is its name in the case in which it was sent? */
static bool same_case(const uint8_t *p, size_t len, const char *name)
{
	size_t at = HEADER;

	while (*name) {
		size_t n = strcspn(name, ".");

		if (at + 1 + n > len || p[at] != n || memcmp(p + at + 1, name, n) != 0)
			return false;
		at += 1 + n;
		name += n + (name[n] == '.');
	}
	return true;
}

/* Pointers to pointers to pointers make a small packet long work; no encoder makes them. Whatever
 * looks like a pointer is taken for one: binary data does not chain so often by chance. */
static bool pointers_ok(const uint8_t *p, size_t len)
{
	for (size_t i = HEADER; i + 1 < len; i++) {
		unsigned hops = 0;

		for (size_t at = i; at + 1 < len && p[at] >= 0xc0; at = get16(p + at) & 0x3fff)
			if (++hops > POINTERS)
				return false;
	}
	return true;
}

enum dns_read dns_msg_read(
    const uint8_t *p, size_t len, const struct dns_question *q, struct dns_result *r)
{
	enum dns_read read = DNS_FAIL;
	ldns_pkt *pkt = NULL;
	ldns_rdf *name;

	memset(r, 0, sizeof(*r));
	/* ID, QR and OPCODE first: a stranger's packet costs no more than this. */
	if (len < HEADER || get16(p) != q->id || (p[2] & 0x80) == 0 || (p[2] & 0x78) != 0)
		return DNS_IGNORE;
	/* A server without EDNS0 may leave out the question. */
	if (get16(p + 4) == 0 && q->edns && ((p[3] & 15) == 1 || (p[3] & 15) == 4))
		return DNS_NOEDNS;
	if (get16(p + 4) != 1)
		return DNS_IGNORE;
	if (p[2] & 0x02) /* TC: what is cut is not looked at */
		return DNS_TRUNCATED;
	if (get16(p + 6) + get16(p + 8) + get16(p + 10) > DNS_RECORDS)
		return fail(r, "answer with too many records");
	if (!pointers_ok(p, len))
		return fail(r, "answer with a chain of compression pointers");
	name = name_rdf(q->name);
	if (!name)
		return fail(r, "not a domain name");
	r->folded = q->mixed && !same_case(p, len, q->name);
	if (ldns_wire2pkt(&pkt, p, len) != LDNS_STATUS_OK)
		fail(r, "malformed answer");
	else
		read = judge(pkt, q, name, r);
	if (r->folded && !q->tcp && read != DNS_IGNORE) {
		dns_data_unref(&r->data);
		r->why[0] = '\0';
		read = DNS_TRUNCATED;
	}
	ldns_pkt_free(pkt);
	ldns_rdf_deep_free(name);
	return read;
}
