/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tls_need.c -- the text of a need of TLS into its parts and back; see tls_need.h.
 * Comes from smar (what it decided; rows of a map), ipc/hop.c, mod/netconn.c; goes back there.
 * Owns nothing; pure. On failure: err names the word and what is expected; nothing is guessed.
 */
#include "tls_need.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

static const char *const words[] = {[TLS_NEED_NONE] = "none",
    [TLS_NEED_MAY] = "may",
    [TLS_NEED_ENCRYPT] = "encrypt",
    [TLS_NEED_VERIFY] = "verify",
    [TLS_NEED_FINGERPRINT] = "fingerprint",
    [TLS_NEED_DANE] = "dane"};
static const char *const whose[] = {
    [TLS_BY_NOBODY] = "", [TLS_BY_ROW] = "row", [TLS_BY_DANE] = "dane", [TLS_BY_STS] = "sts"};

static int find(const char *const *list, size_t n, const char *word)
{
	for (size_t i = 0; i < n; i++)
		if (strcasecmp(list[i], word) == 0)
			return (int)i;
	return -1;
}

/* ---- values ---- */

static bool name_ok(const char *s)
{
	static const char good[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:";
	size_t n = strlen(s);

	return n > 0 && n <= 255 && strspn(s, good) == n && !strstr(s, "..") && strcmp(s, ".") != 0;
}

static int take_name(char to[256], const char *v, const char *what, struct meta1_err *err)
{
	if (!name_ok(v))
		return err_set(err,
		    "%s: found \"%.60s\", expected a host name, or .domain for all names below it",
		    what, v);
	str_copy(to, 256, v);
	for (char *p = to; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	return 0;
}

static int digit(char c)
{
	static const char hex[] = "0123456789abcdef";
	const char *p = c ? strchr(hex, tolower((unsigned char)c)) : NULL;

	return p ? (int)(p - hex) : -1;
}

/* Hex digits, perhaps with colons between bytes; the number of bytes, or -1. */
static int from_hex(const char *v, uint8_t *out, size_t max)
{
	size_t n = 0;

	while (*v) {
		int a = digit(v[0]), b = a < 0 ? -1 : digit(v[1]);

		if (b < 0 || n == max)
			return -1;
		out[n++] = (uint8_t)(a * 16 + b);
		v += 2;
		if (*v == ':' && v[1])
			v++;
	}
	return (int)n;
}

static int add_match(struct tls_need *n, const char *v, struct meta1_err *err)
{
	if (n->nmatch == TLS_NEED_NAMES)
		return err_set(err, "match: more than %d names", TLS_NEED_NAMES);
	return take_name(n->match[n->nmatch++], v, "match", err);
}

static int add_print(struct tls_need *n, const char *v, struct meta1_err *err)
{
	if (n->nprint == TLS_NEED_PRINTS)
		return err_set(err, "fingerprint: more than %d", TLS_NEED_PRINTS);
	if (from_hex(v, n->print[n->nprint++], 32) != 32)
		return err_set(err,
		    "fingerprint: found \"%.80s\", expected the SHA-256 sum of a certificate or of "
		    "its public key, 64 hex digits",
		    v);
	return 0;
}

static int add_tlsa(struct tls_need *n, const char *v, struct meta1_err *err)
{
	struct tls_tlsa *t = &n->tlsa[n->ntlsa];
	uint8_t *field[] = {&t->usage, &t->selector, &t->type};
	const char *p = v;
	int len = 0;

	if (n->ntlsa++ == TLS_NEED_TLSA)
		return err_set(err, "tlsa: more than %d records", TLS_NEED_TLSA);
	for (size_t i = 0; i < ARRAY_LEN(field) && len >= 0; i++) {
		char *end;
		unsigned long num = strtoul(p, &end, 10);

		if (!isdigit((unsigned char)*p) || *end != ':' || num > 255)
			len = -1;
		else
			*field[i] = (uint8_t)num, p = end + 1;
	}
	if (len == 0)
		len = from_hex(p, t->data, sizeof(t->data));
	if (len <= 0)
		return err_set(err, "tlsa: found \"%.80s\", expected USAGE:SELECTOR:TYPE:HEX", v);
	t->len = (uint8_t)len;
	return 0;
}

/* ---- words ---- */

static int list(struct tls_need *n, char *v,
    int (*add)(struct tls_need *, const char *, struct meta1_err *), struct meta1_err *err)
{
	char *save = NULL;

	if (*v == '\0')
		return add(n, v, err);
	for (char *p = strtok_r(v, ",", &save); p; p = strtok_r(NULL, ",", &save))
		if (add(n, p, err) < 0)
			return -1;
	return 0;
}

static int take_by(struct tls_need *n, char *v, struct meta1_err *err)
{
	int by = *v ? find(whose, ARRAY_LEN(whose), v) : -1;

	if (by < 0)
		return err_set(err, "by: found \"%.60s\", expected row, dane or sts", v);
	n->by = (enum tls_need_by)by;
	return 0;
}

static int take_domain(struct tls_need *n, char *v, struct meta1_err *err)
{
	return take_name(n->domain, v, "domain", err);
}

static int take_match(struct tls_need *n, char *v, struct meta1_err *err)
{
	return list(n, v, add_match, err);
}

static int take_prints(struct tls_need *n, char *v, struct meta1_err *err)
{
	return list(n, v, add_print, err);
}

static int take_tlsa(struct tls_need *n, char *v, struct meta1_err *err)
{
	return list(n, v, add_tlsa, err);
}

static int take_testing(struct tls_need *n, char *v, struct meta1_err *err)
{
	n->testing = strcmp(v, "1") == 0;
	return n->testing ? 0 : err_set(err, "testing: found \"%.60s\", expected 1", v);
}

static const struct part {
	const char *name;
	bool row; /* an admin may write it in a map */
	int (*take)(struct tls_need *, char *value, struct meta1_err *);
} parts[] = {
    {"by", false, take_by},
    {"domain", false, take_domain},
    {"match", true, take_match},
    {"fingerprint", true, take_prints},
    {"tlsa", false, take_tlsa},
    {"testing", false, take_testing},
};

static int take_part(
    struct tls_need *n, char *word, bool row, unsigned *seen, struct meta1_err *err)
{
	char *eq = strchr(word, '=');

	for (size_t i = 0; eq && i < ARRAY_LEN(parts); i++) {
		if (strncasecmp(parts[i].name, word, (size_t)(eq - word)) != 0 ||
		    parts[i].name[eq - word] != '\0' || (row && !parts[i].row))
			continue;
		if (*seen & 1u << i)
			return err_set(err, "%s stands twice", parts[i].name);
		*seen |= 1u << i;
		return parts[i].take(n, eq + 1, err);
	}
	return err_set(
	    err, "found \"%.60s\", expected match=NAME,... or fingerprint=HEX,...", word);
}

static int take_word(struct tls_need *n, const char *word, struct meta1_err *err)
{
	int w = find(words, ARRAY_LEN(words), word);

	if (w < 0)
		return err_set(err,
		    "found \"%.60s\", expected none, may, encrypt, verify, dane or "
		    "fingerprint=HEX",
		    word);
	n->word = (enum tls_need_word)w;
	return 0;
}

/* Parts that say nothing with this word are mistakes of somebody. */
static int fits(const struct tls_need *n, bool row, struct meta1_err *err)
{
	if (n->nmatch && n->word != TLS_NEED_VERIFY && (row || n->word != TLS_NEED_DANE))
		return err_set(
		    err, "match says nothing with %s, it goes with verify", words[n->word]);
	if (n->nprint && n->word != TLS_NEED_VERIFY && n->word != TLS_NEED_FINGERPRINT)
		return err_set(err,
		    "fingerprint says nothing with %s, it goes with verify or alone",
		    words[n->word]);
	if (n->word == TLS_NEED_FINGERPRINT && !n->nprint)
		return err_set(err, "fingerprint needs fingerprint=HEX,...");
	if (!row && (n->word == TLS_NEED_DANE) != (n->ntlsa > 0))
		return err_set(err, "dane and tlsa go together");
	return 0;
}

static int read_text(struct meta1_buf text, bool row, struct tls_need *out, struct meta1_err *err)
{
	char copy[TLS_NEED_MAX + 1], *save = NULL, *p;
	unsigned seen = 0;
	int rc;

	*out = (struct tls_need){.by = row ? TLS_BY_ROW : TLS_BY_NOBODY};
	if (text.len > TLS_NEED_MAX || memchr(text.len ? text.data : "", '\0', text.len))
		return err_set(err, "longer than %d bytes, or holds a byte 0", TLS_NEED_MAX);
	memcpy(copy, text.len ? text.data : "", text.len);
	copy[text.len] = '\0';
	p = strtok_r(copy, " \t", &save);
	if (!p)
		return err_set(err, "found nothing, expected none, may, encrypt, verify or dane");
	if (row && strncasecmp(p, "fingerprint=", 12) == 0) {
		out->word = TLS_NEED_FINGERPRINT;
		rc = take_part(out, p, row, &seen, err);
	} else {
		rc = take_word(out, p, err);
	}
	while (rc == 0 && (p = strtok_r(NULL, " \t", &save)) != NULL)
		rc = take_part(out, p, row, &seen, err);
	return rc == 0 ? fits(out, row, err) : rc;
}

int tls_need_parse(struct meta1_buf text, struct tls_need *out, struct meta1_err *err)
{
	return read_text(text, false, out, err);
}

int tls_need_row(struct meta1_buf value, struct tls_need *out, struct meta1_err *err)
{
	return read_text(value, true, out, err);
}

/* ---- back to text ---- */

struct text {
	char *out;
	size_t at; /* beyond TLS_NEED_MAX: it does not fit */
};

static void put(struct text *t, const char *a, const char *b)
{
	size_t room = t->at < TLS_NEED_MAX ? TLS_NEED_MAX + 1 - t->at : 1;
	char *to = t->out + (t->at < TLS_NEED_MAX ? t->at : TLS_NEED_MAX);

	t->at += (size_t)snprintf(to, room, "%s%s", a, b);
}

static void put_hex(struct text *t, const char *before, const uint8_t *p, size_t n)
{
	char hex[2 * 64 + 1] = "";

	for (size_t i = 0; i < n && i < 64; i++)
		snprintf(hex + 2 * i, 3, "%02x", p[i]);
	put(t, before, hex);
}

static void put_checked(struct text *t, const struct tls_need *n, bool names)
{
	char head[32];

	for (unsigned i = 0; i < n->nmatch && names; i++)
		put(t, i ? "," : " match=", n->match[i]);
	for (unsigned i = 0; i < n->nprint; i++)
		put_hex(t, i ? "," : " fingerprint=", n->print[i], 32);
	for (unsigned i = 0; i < n->ntlsa; i++) {
		snprintf(head, sizeof(head), "%s%u:%u:%u:", i ? "," : " tlsa=", n->tlsa[i].usage,
		    n->tlsa[i].selector, n->tlsa[i].type);
		put_hex(t, head, n->tlsa[i].data, n->tlsa[i].len);
	}
	if (n->testing)
		put(t, " testing=1", "");
}

static bool done(struct text *t)
{
	if (t->at <= TLS_NEED_MAX)
		return true;
	t->out[0] = '\0';
	return false;
}

bool tls_need_print(const struct tls_need *n, char out[TLS_NEED_MAX + 1])
{
	struct text t = {out, 0};

	put(&t, words[n->word], "");
	if (n->by != TLS_BY_NOBODY)
		put(&t, " by=", whose[n->by]);
	if (n->domain[0])
		put(&t, " domain=", n->domain);
	put_checked(&t, n, true);
	return done(&t);
}

/* Of DANE names are looked at in certificates of usage 2 alone. */
static bool names_count(const struct tls_need *n)
{
	for (unsigned i = 0; i < n->ntlsa; i++)
		if (n->tlsa[i].usage == 2)
			return true;
	return n->word != TLS_NEED_DANE;
}

bool tls_need_check(const struct tls_need *n, char out[TLS_NEED_MAX + 1])
{
	struct text t = {out, 0};

	put(&t, words[n->word], "");
	if (n->word == TLS_NEED_DANE && names_count(n) && n->domain[0] && !n->nmatch)
		put(&t, " domain=", n->domain);
	put_checked(&t, n, names_count(n));
	return done(&t);
}

const char *tls_need_words(const struct tls_need *n, char out[TLS_NEED_WORDS])
{
	snprintf(out, TLS_NEED_WORDS, "%s%s%s%s", words[n->word], n->by ? "," : "", whose[n->by],
	    n->testing ? ",testing" : "");
	return out;
}

/* ---- what it means ---- */

bool tls_tlsa_usable(const struct tls_tlsa *t)
{
	return (t->usage == 2 || t->usage == 3) && t->selector <= 1 &&
	       ((t->type == 1 && t->len == 32) || (t->type == 2 && t->len == 64));
}

bool tls_need_usable(const struct tls_need *n)
{
	for (unsigned i = 0; i < n->ntlsa; i++)
		if (tls_tlsa_usable(&n->tlsa[i]))
			return true;
	return false;
}

uint32_t tls_need_policy(const struct tls_need *n, uint32_t option)
{
	static const uint32_t policy[] = {[TLS_NEED_NONE] = META1_TLS_NONE,
	    [TLS_NEED_MAY] = META1_TLS_MAY,
	    [TLS_NEED_ENCRYPT] = META1_TLS_ENCRYPT,
	    [TLS_NEED_VERIFY] = META1_TLS_VERIFY,
	    [TLS_NEED_FINGERPRINT] = META1_TLS_VERIFY,
	    [TLS_NEED_DANE] = META1_TLS_VERIFY};

	if (n->testing)
		return option;
	return n->word == TLS_NEED_DANE && !tls_need_usable(n) ? META1_TLS_ENCRYPT
							       : policy[n->word];
}
