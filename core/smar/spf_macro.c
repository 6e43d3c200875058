/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spf_macro.c -- macros in SPF records: RFC 7208 section 7.
 * From spf_record.c (is it well formed?), spf.c and spf_term.c (what does it say here?). No I/O,
 * owns nothing. On failure: -1 or false; what the caller makes of it stands there.
 */
#include "smar/spf.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#define PARTS 400 /* of a value, more than any has */

struct macro { /* %{d2r.-} */
	char letter;
	bool reverse, escape;
	unsigned keep; /* parts, 0: all */
	const char *delimiters;
	size_t ndelimiters;
};

static bool is_delimiter(char c)
{
	return c != '\0' && strchr(".-+,/_=", c) != NULL;
}

/* "{d2r.-}" at p; the bytes it has, 0: it is none. */
static size_t read_macro(const char *p, const char *end, struct macro *m)
{
	const char *q = p + 1;

	memset(m, 0, sizeof(*m));
	if (end - p < 3 || *p != '{')
		return 0;
	m->escape = isupper((unsigned char)*q) != 0;
	m->letter = (char)tolower((unsigned char)*q++);
	if (!strchr("slodiphvcrt", m->letter))
		return 0;
	if (q < end && isdigit((unsigned char)*q)) {
		for (; q < end && isdigit((unsigned char)*q); q++)
			m->keep = m->keep < PARTS ? m->keep * 10 + (unsigned)(*q - '0') : PARTS;
		if (m->keep == 0)
			return 0;
	}
	if (q < end && (*q == 'r' || *q == 'R')) {
		m->reverse = true;
		q++;
	}
	m->delimiters = q;
	while (q < end && is_delimiter(*q))
		q++;
	m->ndelimiters = (size_t)(q - m->delimiters);
	return q < end && *q == '}' ? (size_t)(q + 1 - p) : 0;
}

/* ---- is it well formed? ---- */
/* ".toplabel" or ".toplabel." at the end of literal text. */
static bool ends_like_domain(const char *p, size_t n)
{
	size_t start;
	bool letter = false;

	if (n > 0 && p[n - 1] == '.')
		n--;
	for (start = n; start > 0 && p[start - 1] != '.'; start--) {
		if (!isalnum((unsigned char)p[start - 1]) && p[start - 1] != '-')
			return false;
		letter = letter || !isdigit((unsigned char)p[start - 1]);
	}
	return start > 0 && start < n && letter && p[start] != '-' && p[n - 1] != '-';
}

bool spf_macro_ok(struct meta1_buf b, enum spf_macro kind)
{
	const char *p = b.data, *end = p + b.len, *literal = p;
	struct macro m;

	while (p < end) {
		size_t n = 2;

		if (*p != '%') {
			if (*p < (kind == SPF_M_EXP ? ' ' : '!') || *p > '~')
				return false;
			p++;
			continue;
		}
		if (end - p < 2)
			return false;
		if (p[1] == '{') {
			n = 1 + read_macro(p + 1, end, &m);
			if (n == 1 || (kind == SPF_M_DOMAIN && strchr("crt", m.letter)))
				return false;
		} else if (!strchr("%_-", p[1])) {
			return false;
		}
		p += n;
		literal = p;
	}
	if (kind != SPF_M_DOMAIN)
		return true;
	return b.len > 0 && ((literal == end && literal > (const char *)b.data) ||
				ends_like_domain(literal, (size_t)(end - literal)));
}

bool spf_macro_name(struct meta1_buf b)
{
	const char *p = b.data;

	for (size_t i = 0; i + 2 < b.len; i++)
		if (p[i] == '%' && p[i + 1] == '{' && (p[i + 2] == 'p' || p[i + 2] == 'P'))
			return true;
		else if (p[i] == '%')
			i++;
	return false;
}

/* ---- what does it say? ---- */
static void dotted(const struct mx_addr *a, char *out, size_t size)
{
	size_t n = 0;

	if (a->family == AF_INET) {
		inet_ntop(AF_INET, a->ip, out, (socklen_t)size);
		return;
	}
	for (int i = 0; i < 16; i++)
		n += (size_t)snprintf(
		    out + n, size - n, "%s%x.%x", i > 0 ? "." : "", a->ip[i] >> 4, a->ip[i] & 15u);
}

static void value(char letter, const struct spf_values *v, char *out, size_t size)
{
	const char *plain = letter == 'l'   ? v->local
			    : letter == 'o' ? v->sender
			    : letter == 'd' ? v->domain
			    : letter == 'p' ? v->name
			    : letter == 'h' ? v->helo
			    : letter == 'r' ? v->hostname
			    : letter == 'v' ? (v->addr->family == AF_INET ? "in-addr" : "ip6")
					    : "";

	if (letter == 's')
		snprintf(out, size, "%s@%s", v->local, v->sender);
	else if (letter == 'i')
		dotted(v->addr, out, size);
	else if (letter == 'c')
		inet_ntop(v->addr->family, v->addr->ip, out, (socklen_t)size);
	else if (letter == 't')
		snprintf(out, size, "%lld", (long long)v->now);
	else
		str_copy(out, size, plain);
}

/* Splits at the delimiters; how many parts. */
static unsigned split(const struct macro *m, const char *text, struct meta1_buf *part)
{
	unsigned n = 0;
	const char *start = text;

	for (const char *p = text;; p++) {
		bool cut = *p != '\0' &&
			   (m->ndelimiters ? memchr(m->delimiters, *p, m->ndelimiters) != NULL
					   : *p == '.');

		if (*p != '\0' && !cut)
			continue;
		if (n < PARTS)
			part[n++] = buf_of(start, (size_t)(p - start));
		start = p + 1;
		if (*p == '\0')
			return n;
	}
}

struct sink {
	char *out;
	size_t n, size;
	bool full;
};

static void put(struct sink *s, const char *p, size_t n, bool escape)
{
	for (size_t i = 0; i < n; i++) {
		bool plain = !escape || isalnum((unsigned char)p[i]) || strchr("-._~", p[i]);

		if (s->n + 4 > s->size) {
			s->full = true;
			return;
		}
		if (plain)
			s->out[s->n++] = p[i];
		else
			s->n += (size_t)snprintf(
			    s->out + s->n, s->size - s->n, "%%%02X", (unsigned char)p[i]);
	}
}

static void expand(const struct macro *m, const struct spf_values *v, struct sink *s)
{
	struct meta1_buf part[PARTS];
	char text[PARTS + 200];
	unsigned n, first;

	value(m->letter, v, text, sizeof(text));
	n = split(m, text, part);
	for (unsigned i = 0; m->reverse && i < n / 2; i++) {
		struct meta1_buf tmp = part[i];

		part[i] = part[n - 1 - i];
		part[n - 1 - i] = tmp;
	}
	first = m->keep > 0 && m->keep < n ? n - m->keep : 0;
	for (unsigned i = first; i < n; i++) {
		if (i > first)
			put(s, ".", 1, false);
		put(s, part[i].data, part[i].len, m->escape);
	}
}

int spf_macro_expand(struct meta1_buf b, const struct spf_values *v, char *out, size_t size)
{
	const char *p = b.data, *end = p + b.len;
	struct sink s = {.out = out, .size = size};
	struct macro m;

	while (p < end && !s.full) {
		if (*p != '%') {
			put(&s, p++, 1, false);
			continue;
		}
		if (p[1] == '{') {
			size_t n = read_macro(p + 1, end, &m);

			expand(&m, v, &s);
			p += 1 + n;
			continue;
		}
		if (p[1] == '-')
			put(&s, "%20", 3, false);
		else
			put(&s, p[1] == '_' ? " " : "%", 1, false);
		p += 2;
	}
	out[s.n] = '\0';
	return s.full ? -1 : (int)s.n;
}

bool spf_macro_label(const char *d)
{
	size_t label = 0, i;

	for (i = 0; d[i]; i++) {
		if (d[i] < ' ' || d[i] > '~' || d[i] == '\\' || d[i] == '"')
			return false;
		if (d[i] == '.' && label == 0)
			return false;
		label = d[i] == '.' ? 0 : label + 1;
		if (label > 63)
			return false;
	}
	return i > 0 && i <= 253 && label > 0;
}

bool spf_macro_domain(struct meta1_buf b, const struct spf_values *v, char out[DNS_NAME_MAX])
{
	char text[2048], *p = text;
	int n = spf_macro_expand(b, v, text, sizeof(text));

	if (n <= 0)
		return false;
	if (text[n - 1] == '.')
		text[--n] = '\0';
	while (strlen(p) > 253) {
		p = strchr(p, '.');
		if (!p)
			return false;
		p++;
	}
	if (!spf_macro_label(p))
		return false;
	str_copy(out, DNS_NAME_MAX, p);
	return true;
}
