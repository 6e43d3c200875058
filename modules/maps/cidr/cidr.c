/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cidr.c -- networks, sorted, so that the longest prefix is found in a few steps.
 * From filemap.c, at open and later on a worker thread; owns the table, not the text.
 *
 * All rows are sorted by tag, address and length. A network directly follows, or is inside of, the
 * ones that hold it, so each row knows the next wider one: a look-up finds the last row that is
 * not behind the address and follows that chain until one holds it.
 * On failure: every bad line is named with its number, and there is no table.
 */
#include "cidr.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <meta1/textline.h>
#include <stdlib.h>
#include <string.h>

struct net {
	uint8_t tag[CIDR_TAG], ip[17]; /* ip[0] is 4 or 6 */
	uint8_t bits;
};
struct row {
	struct net net;
	struct meta1_buf val;
	uint32_t wider; /* index plus 1 of the row that holds it; 0: none */
	unsigned line;
};
struct table {
	struct row *row;
	uint32_t nrow, room;
};

/* ---- keys and lines ---- */

/* A leading word and its colon: not the start of an IPv6 address, which has hex digits only. */
static size_t tag_len(const char *p, size_t n)
{
	bool word = false;
	size_t i;

	for (i = 0; i < n && (isalnum((unsigned char)p[i]) || p[i] == '_' || p[i] == '-'); i++)
		word = word || !isxdigit((unsigned char)p[i]);
	return word && i < n && p[i] == ':' ? i + 1 : 0;
}

/* The address at text, n bytes; its number of bits, or 0. */
static unsigned address(const char *text, size_t n, uint8_t ip[17])
{
	char s[INET6_ADDRSTRLEN];

	if (n == 0 || n >= sizeof(s) || memchr(text, '\0', n))
		return 0;
	memcpy(s, text, n);
	s[n] = '\0';
	memset(ip, 0, 17);
	if (inet_pton(AF_INET, s, ip + 1) == 1) {
		ip[0] = 4;
		return 32;
	}
	ip[0] = 6;
	return inet_pton(AF_INET6, s, ip + 1) == 1 ? 128 : 0;
}

static void mask(uint8_t ip[17], unsigned bits)
{
	for (unsigned i = 0; i < 16; i++) {
		unsigned keep = bits > 8 * i ? bits - 8 * i : 0;

		if (keep < 8)
			ip[1 + i] = (uint8_t)(ip[1 + i] & (0xff00u >> keep));
	}
}

/* The tag and address of a key or line. NULL: done; else what is wrong. */
static const char *parse(const char *p, size_t n, bool whole, struct net *net)
{
	size_t tag = tag_len(p, n), i;
	const char *slash;
	unsigned most, bits;
	uint8_t had[17];

	memset(net, 0, sizeof(*net));
	if (tag >= sizeof(net->tag))
		return "the word before the network is too long";
	for (i = 0; i < tag; i++)
		net->tag[i] = (uint8_t)tolower((unsigned char)p[i]);
	p += tag, n -= tag;
	slash = memchr(p, '/', n);
	most = address(p, slash ? (size_t)(slash - p) : n, net->ip);
	if (most == 0 || (whole && slash))
		return "expected an address such as 192.0.2.1 or 2001:db8::1, perhaps with /bits";
	for (bits = most; slash; slash = NULL) {
		size_t digits = n - (size_t)(slash + 1 - p);

		for (bits = 0, i = 1; i <= digits && i <= 3 && isdigit((unsigned char)slash[i]);
		     i++)
			bits = bits * 10 + (unsigned)(slash[i] - '0');
		if (digits == 0 || i <= digits || bits > most)
			return "expected /0 to /32 behind an IPv4 address, to /128 behind an IPv6 "
			       "one";
	}
	memcpy(had, net->ip, sizeof(had));
	mask(net->ip, bits);
	net->bits = (uint8_t)bits;
	return memcmp(had, net->ip, sizeof(had)) == 0
		   ? NULL
		   : "the address has bits set behind its prefix";
}

/* ---- order ---- */

static int compare_net(const struct net *a, const struct net *b)
{
	int d = memcmp(a->tag, b->tag, sizeof(a->tag));

	if (d == 0)
		d = memcmp(a->ip, b->ip, sizeof(a->ip));
	return d != 0 ? d : (int)a->bits - (int)b->bits;
}

static int compare_row(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	int d = compare_net(&x->net, &y->net);

	return d != 0 ? d : (x->line > y->line) - (x->line < y->line);
}

static bool holds(const struct net *wide, const struct net *net)
{
	uint8_t ip[17];

	if (wide->bits > net->bits || wide->ip[0] != net->ip[0] ||
	    memcmp(wide->tag, net->tag, sizeof(wide->tag)) != 0)
		return false;
	memcpy(ip, net->ip, sizeof(ip));
	mask(ip, wide->bits);
	return memcmp(ip, wide->ip, sizeof(ip)) == 0;
}

/* The row that holds net, the narrowest one, among those before "upto" (index plus 1). */
static uint32_t narrowest(const struct table *t, uint32_t upto, const struct net *net)
{
	while (upto > 0 && !holds(&t->row[upto - 1].net, net))
		upto = t->row[upto - 1].wider;
	return upto;
}

enum meta1_status cidr_find(void *table, struct meta1_buf key, struct filemap_found *f)
{
	const struct table *t = table;
	uint32_t lo = 0, hi = t->nrow;
	struct net net;

	if (key.len == 0 || parse(key.data, key.len, true, &net) != NULL)
		return META1_NOTFOUND;
	while (lo < hi) { /* the first row behind it */
		uint32_t mid = lo + (hi - lo) / 2;

		if (compare_net(&t->row[mid].net, &net) <= 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	lo = narrowest(t, lo, &net);
	if (lo == 0)
		return META1_NOTFOUND;
	f->val = t->row[lo - 1].val;
	return META1_OK;
}

/* ---- making ---- */

static void take(
    struct table *t, struct lines *l, const struct meta1_buf *key, const struct meta1_buf *val)
{
	struct row *r = &t->row[t->nrow];
	const char *why = parse(key->data, key->len, false, &r->net);

	if (why) {
		lines_bad(l, l->line, "\"%.*s\": %s", (int)(key->len < 100 ? key->len : 100),
		    (const char *)key->data, why);
		return;
	}
	r->val = *val;
	r->line = l->line;
	r->wider = 0;
	t->nrow++;
}

static int read_rows(struct table *t, struct lines *l, struct meta1_err *err)
{
	char *line;
	size_t len;

	while (lines_next(l, &line, &len)) {
		struct meta1_buf key, val;
		const char *why = "";
		int got = meta1_textline(line, len, &key, &val, &why);

		if (got < 0)
			lines_bad(l, l->line, "%s", why);
		if (got <= 0)
			continue;
		if (t->nrow == t->room) {
			uint32_t more = t->room * 2 + 64;
			struct row *v =
			    more <= 2 * CIDR_ROWS ? realloc(t->row, more * sizeof(*v)) : NULL;

			if (!v) {
				snprintf(err->text, sizeof(err->text),
				    "%s:%u: no memory, or more than %u networks", l->file, l->line,
				    CIDR_ROWS);
				return -1;
			}
			t->row = v;
			t->room = more;
		}
		take(t, l, &key, &val);
	}
	return 0;
}

static void index_rows(struct table *t, struct lines *l)
{
	if (t->nrow > 0)
		qsort(t->row, t->nrow, sizeof(*t->row), compare_row);
	for (uint32_t i = 1; i < t->nrow; i++) {
		struct row *r = &t->row[i];

		if (compare_net(&r->net, &t->row[i - 1].net) == 0)
			lines_bad(l, r->line, "the same network is already in line %u",
			    t->row[i - 1].line);
		r->wider = narrowest(t, i, &r->net);
	}
}

void cidr_drop(void *table)
{
	struct table *t = table;

	free(t->row);
	free(t);
}

unsigned cidr_count(const void *table)
{
	return ((const struct table *)table)->nrow;
}

void *cidr_make(struct lines *l, struct meta1_err *err)
{
	struct table *t = calloc(1, sizeof(*t));

	if (!t) {
		snprintf(err->text, sizeof(err->text), "%s: no memory", l->file);
		return NULL;
	}
	if (read_rows(t, l, err) < 0) {
		cidr_drop(t);
		return NULL;
	}
	index_rows(t, l);
	return t;
}
