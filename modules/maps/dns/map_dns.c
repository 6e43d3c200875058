/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map_dns.c -- the key as part of a domain name, the records of that name as values.
 *
 * From the core's look-ups; to the server's own resolver, which answers by the deadline and knows
 * "there is none" from "cannot be said". records.c makes texts of the records. Owns nothing
 * between two turns: a question lives in the memory of its request.
 * On failure of DNS, or of a record that cannot be read: TEMPFAIL. A key that makes no domain name
 * is not found.
 */
#include "records.h"

#include "../inst/inst.h"
#include "../template/template.h"

#include <arpa/inet.h>
#include <meta1/map.h>
#include <stdio.h>
#include <string.h>

#define NAME_ROOM 512

struct conf {
	const char *name;
	int32_t record, reverse;
	int64_t ttl;
};
static const struct meta1_opt options[] = {
    META1_OPT_STR(struct conf, name, NULL, META1_O_REQUIRED,
	"Domain name that is asked for: \"%s.routes.example.org\". %s is the key, %u its part "
	"before the @, %d the part behind it."),
    META1_OPT_ENUM(struct conf, record, "txt", DNS_RECORDS,
	"Kind of record; each record is a value. The strings of a TXT record are put together."),
    META1_OPT_BOOL(struct conf, reverse, "no",
	"Keys are IP addresses and stand in reverse order, as in a DNS list; others are not "
	"found."),
    META1_OPT_MSEC(struct conf, ttl, "1h", "0..1d",
	"How long an answer may be kept at most; less when its record says so."),
};

struct map {
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
	const struct conf *conf;
};
struct ask { /* in the memory of its request */
	struct map *m;
	struct meta1_req *req;
};

/* ---- the answer ---- */

static void answered(void *arg, enum meta1_status st, const struct meta1_reply *got)
{
	struct ask *a = arg;
	struct map *m = a->m;
	struct meta1_reply r = {.size = sizeof(r)};
	struct values v = {.n = 0};

	if (st == META1_TEMPFAIL)
		r.text = got && got->text ? got->text : "DNS does not answer";
	for (uint32_t i = 0; st == META1_OK && i < got->nval && !r.text; i++)
		r.text = dns_record(m->conf->record, got->val[i], &v);
	if (st == META1_OK && r.text)
		st = META1_TEMPFAIL;
	else if (st == META1_OK && v.n == 0)
		st = META1_NOTFOUND;
	if (st != META1_TEMPFAIL && got)
		r.ttl = got->ttl < m->conf->ttl / 1000 ? got->ttl : (uint32_t)(m->conf->ttl / 1000);
	r.nval = v.n;
	r.val = values_all(&v);
	m->host->finish(a->req, st, &r);
	values_free(&v);
}

/* ---- the question ---- */

/* Labels of letters, digits, '-' and '_'; nothing else is asked for. */
static bool is_name(const char *s)
{
	size_t label = 0, n = 0;

	for (; *s; s++, n++) {
		if (*s == '.') {
			if (label == 0)
				return false;
			label = 0;
			continue;
		}
		if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') ||
			(*s >= '0' && *s <= '9') || *s == '-' || *s == '_') ||
		    ++label > 63)
			return false;
	}
	return label > 0 && n <= 253;
}

/* 192.0.2.1 is 1.2.0.192, 2001:db8::1 the same in single hexadecimal digits. 0: no address. */
static size_t reversed(struct meta1_buf key, char *out, size_t room)
{
	unsigned char b[16];
	char text[INET6_ADDRSTRLEN];
	size_t n = 0;

	if (key.len == 0 || key.len >= sizeof(text))
		return 0;
	memcpy(text, key.data, key.len);
	text[key.len] = '\0';
	if (inet_pton(AF_INET, text, b) == 1)
		return (size_t)snprintf(out, room, "%u.%u.%u.%u", b[3], b[2], b[1], b[0]);
	if (inet_pton(AF_INET6, text, b) != 1)
		return 0;
	for (int i = 15; i >= 0; i--)
		n += (size_t)snprintf(
		    out + n, room - n, "%x.%x%s", b[i] & 15, b[i] >> 4, i ? "." : "");
	return n;
}

static bool make_name(struct map *m, struct meta1_buf key, char out[NAME_ROOM])
{
	char folded[NAME_ROOM], rev[80];
	long n;

	if (m->conf->reverse)
		key = (struct meta1_buf){rev, reversed(key, rev, sizeof(rev))};
	else if (m->host->domain_key(key, folded, sizeof(folded)) == 0)
		key = (struct meta1_buf){folded, strlen(folded)};
	if (key.len == 0)
		return false;
	n = template_fill(m->conf->name, key, template_plain, out, NAME_ROOM - 1);
	if (n < 0 || memchr(out, '\0', (size_t)n))
		return false;
	out[n] = '\0';
	return is_name(out);
}

static void map_lookup(void *inst, struct meta1_req *req, struct meta1_buf key)
{
	struct map *m = inst;
	struct meta1_reply none = {.size = sizeof(none)};
	struct ask *a;
	char name[NAME_ROOM];

	if (!make_name(m, key, name)) {
		m->host->finish(req, META1_NOTFOUND, &none);
		return;
	}
	a = m->host->req_alloc(req, sizeof(*a));
	if (!a) {
		none.text = "no memory";
		m->host->finish(req, META1_TEMPFAIL, &none);
		return;
	}
	*a = (struct ask){m, req};
	m->host->dns(
	    m->ctx, name, dns_type(m->conf->record), m->host->req_deadline(req), answered, a);
}

/* The resolver has the same deadline and answers by then. */
static void map_cancel(void *inst, struct meta1_req *req)
{
	(void)inst;
	(void)req;
}

/* ---- life ---- */

static int map_check(const void *conf, struct meta1_err *err)
{
	const struct conf *c = conf;
	char name[NAME_ROOM];
	int places = template_check(c->name, "name", err);
	long n;

	if (places < 0)
		return -1;
	n = template_fill(
	    c->name, (struct meta1_buf){"k@k", 3}, template_plain, name, sizeof(name) - 1);
	name[n < 0 ? 0 : n] = '\0';
	for (char *p = name; *p; p++)
		if (*p == '@')
			*p = 'k';
	if (places > 0 && is_name(name))
		return 0;
	snprintf(err->text, sizeof(err->text), "name: \"%.200s\": expected %s", c->name,
	    places > 0 ? "a domain name without the final dot" : "%s, where the key goes");
	return -1;
}

static int map_open(const struct meta1_host *host, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *err)
{
	struct map *m = inst_new(host, ctx, sizeof(*m), err);

	if (!m)
		return -1;
	*m = (struct map){host, ctx, conf};
	*inst = m;
	return 0;
}

static void map_close(void *inst)
{
	struct map *m = inst;

	m->host->free(m->ctx, m);
}

static const struct meta1_map_ops ops = {
    .size = sizeof(ops), .lookup = map_lookup, .cancel = map_cancel};

META1_MODULE(map_dns, .kind = META1_MAP, .roles = META1_SMAR | META1_TOOL, .version = "0.1.0",
    .summary = "Records of a domain name that has the key in it.", .opt = options,
    .nopt = sizeof(options) / sizeof(options[0]), .sizeof_conf = sizeof(struct conf),
    .check = map_check, .open = map_open, .close = map_close, .ops = &ops);
