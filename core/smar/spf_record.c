/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spf_record.c -- an SPF record into its terms: RFC 7208 sections 4.5, 4.6, 5, 6 and 12.
 * From spf.c (the text of a TXT record); no I/O. The record owns a copy of the text, into which its
 * terms point. On failure: the whole record is wrong, as the RFC has it, and the error names the
 * term.
 */
#include "smar/spf.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

static const char version[] = "v=spf1";
#define VERSION_LEN (sizeof(version) - 1)

bool spf_record_is(struct meta1_buf text)
{
	const char *p = text.data;

	return text.len >= VERSION_LEN && strncasecmp(p, version, VERSION_LEN) == 0 &&
	       (text.len == VERSION_LEN || p[VERSION_LEN] == ' ');
}

/* ---- lengths of prefixes ---- */
/* Takes "/N" or "//N" from the end of the text. false: N is out of range or has a zero in front;
 * when there is none at all bits stays. */
static bool take_bits(struct meta1_buf *b, const char *slashes, unsigned max, unsigned *bits)
{
	const char *p = b->data;
	size_t n = b->len, digits = 0, len = strlen(slashes);
	unsigned v = 0;

	while (digits < n && p[n - digits - 1] >= '0' && p[n - digits - 1] <= '9')
		digits++;
	if (digits == 0 || n < digits + len || memcmp(p + n - digits - len, slashes, len) != 0)
		return true;
	if (digits > 3 || (digits > 1 && p[n - digits] == '0'))
		return false;
	for (size_t i = n - digits; i < n; i++)
		v = v * 10 + (unsigned)(p[i] - '0');
	if (v > max)
		return false;
	*bits = v;
	b->len = n - digits - len;
	return true;
}

/* ---- what follows the name of a mechanism ---- */
static bool arg_none(struct meta1_buf rest, struct spf_term *t)
{
	(void)t;
	return rest.len == 0;
}

static bool arg_domain(struct meta1_buf rest, struct spf_term *t)
{
	if (rest.len < 2 || *(const char *)rest.data != ':')
		return false;
	t->spec = buf_of((const char *)rest.data + 1, rest.len - 1);
	return spf_macro_ok(t->spec, SPF_M_DOMAIN);
}

static bool arg_maybe_domain(struct meta1_buf rest, struct spf_term *t)
{
	return rest.len == 0 || arg_domain(rest, t);
}

static bool arg_hosts(struct meta1_buf rest, struct spf_term *t)
{
	return take_bits(&rest, "//", 128, &t->bits6) && take_bits(&rest, "/", 32, &t->bits4) &&
	       arg_maybe_domain(rest, t);
}

static bool address(struct meta1_buf rest, struct spf_term *t, int family)
{
	char text[INET6_ADDRSTRLEN];

	if (rest.len < 2 || rest.len > sizeof(text) || *(const char *)rest.data != ':')
		return false;
	memcpy(text, (const char *)rest.data + 1, rest.len - 1);
	text[rest.len - 1] = '\0';
	return inet_pton(family, text, t->ip) == 1;
}

static bool arg_ip4(struct meta1_buf rest, struct spf_term *t)
{
	return take_bits(&rest, "/", 32, &t->bits4) && address(rest, t, AF_INET);
}

static bool arg_ip6(struct meta1_buf rest, struct spf_term *t)
{
	return take_bits(&rest, "/", 128, &t->bits6) && address(rest, t, AF_INET6);
}

static const struct {
	const char *name;
	enum spf_kind kind;
	bool (*arg)(struct meta1_buf rest, struct spf_term *);
} mechanisms[] = {
    {"all", SPF_ALL, arg_none},
    {"include", SPF_INCLUDE, arg_domain},
    {"a", SPF_A, arg_hosts},
    {"mx", SPF_MX, arg_hosts},
    {"ptr", SPF_PTR, arg_maybe_domain},
    {"ip4", SPF_IP4, arg_ip4},
    {"ip6", SPF_IP6, arg_ip6},
    {"exists", SPF_EXISTS, arg_domain},
};

static enum spf_result qualifier(struct meta1_buf *w)
{
	static const char sign[] = "+-~?";
	static const enum spf_result result[] = {SPF_PASS, SPF_FAIL, SPF_SOFTFAIL, SPF_NEUTRAL};
	const char *p = w->data, *at = strchr(sign, *p);

	if (!at)
		return SPF_PASS;
	*w = buf_of(p + 1, w->len - 1);
	return result[at - sign];
}

static bool mechanism(struct spf_record *r, struct meta1_buf w)
{
	struct spf_term *t = &r->term[r->n];
	const char *p;
	size_t n = 0;

	t->text = w;
	t->result = qualifier(&w);
	t->bits4 = 32;
	t->bits6 = 128;
	for (p = w.data; n < w.len && p[n] != ':' && p[n] != '/';)
		n++;
	for (size_t i = 0; i < ARRAY_LEN(mechanisms); i++)
		if (buf_caseeq(buf_of(p, n), mechanisms[i].name)) {
			t->kind = mechanisms[i].kind;
			r->n++;
			return mechanisms[i].arg(buf_of(p + n, w.len - n), t);
		}
	return false;
}

/* ---- modifiers ---- */
/* The name before '='; 0: the term is no modifier. */
static size_t modifier_name(struct meta1_buf w)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789-_.";
	const char *p = w.data;
	size_t n = 0;

	if (!strchr(letters, *p) || strchr("0123456789-_.", *p))
		return 0;
	while (n < w.len && strchr(letters, p[n]))
		n++;
	return n < w.len && p[n] == '=' ? n : 0;
}

static bool modifier(struct spf_record *r, struct meta1_buf w, size_t n)
{
	struct meta1_buf name = buf_of(w.data, n),
			 value = buf_of((const char *)w.data + n + 1, w.len - n - 1);
	struct meta1_buf *known = buf_caseeq(name, "redirect") ? &r->redirect
				  : buf_caseeq(name, "exp")    ? &r->exp
							       : NULL;

	if (!known)
		return spf_macro_ok(value, SPF_M_STRING);
	if (known->len > 0 || !spf_macro_ok(value, SPF_M_DOMAIN))
		return false;
	*known = value;
	return true;
}

/* ---- the whole ---- */
static int fail(struct spf_record *r, struct meta1_err *err, const char *what, struct meta1_buf w)
{
	spf_record_free(r);
	return err_set(
	    err, "%s \"%.*s\"", what, w.len < 60 ? (int)w.len : 60, (const char *)w.data);
}

int spf_record_parse(struct meta1_buf text, struct spf_record *r, struct meta1_err *err)
{
	const char *p, *end;
	size_t terms = 1;

	memset(r, 0, sizeof(*r));
	if (!spf_record_is(text))
		return err_set(err, "no SPF record");
	if (text.len > SPF_RECORD_MAX)
		return err_set(err, "record of more than %d bytes", SPF_RECORD_MAX);
	r->text = base_strndup(text.data, text.len);
	for (size_t i = 0; i < text.len; i++) {
		if (r->text[i] < ' ' || r->text[i] > '~') {
			spf_record_free(r);
			return err_set(err, "a byte that is not printable ASCII");
		}
		terms += r->text[i] == ' ';
	}
	r->term = base_alloc(terms * sizeof(*r->term));
	end = r->text + text.len;
	for (p = r->text + VERSION_LEN; p < end;) {
		struct meta1_buf w;
		size_t name;

		while (p < end && *p == ' ')
			p++;
		w = buf_of(p, strcspn(p, " "));
		p += w.len;
		if (w.len == 0)
			break;
		name = modifier_name(w);
		if (!(name > 0 ? modifier(r, w, name) : mechanism(r, w)))
			return fail(r, err, "wrong term", w);
	}
	return 0;
}

void spf_record_free(struct spf_record *r)
{
	free(r->text);
	free(r->term);
	memset(r, 0, sizeof(*r));
}
