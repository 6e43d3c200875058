/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mailertable.c -- the value of a mailertable row: next hops separated by blanks.
 *	lmtp:  lmtp:/path  lmtp:[host]:port  [host]  [host]:port  192.0.2.1  host  host:port
 *	NAME:  NAME:what-its-module-is-told  NAME:[host]:port	by a section transport NAME
 * From seek.c's answers; to route.c. No I/O, owns nothing. A word that is none of these makes
 * the whole row an error: route.c answers a temporary failure and names it, mail waits.
 */
#include "smar/smar.h"

#include "lib/conf.h"

#include <arpa/inet.h>
#include <strings.h>

bool smar_literal(const char *domain, char *addr, size_t size)
{
	unsigned char ip[16];
	char inner[ADDR_DOMAIN_MAX + 1];
	size_t n = strlen(domain);
	const char *p = domain + 1;
	bool v6;

	if (n < 3 || domain[0] != '[' || domain[n - 1] != ']')
		return false;
	v6 = strncasecmp(p, "IPv6:", 5) == 0;
	if (v6)
		p += 5;
	str_copy(inner, sizeof(inner), p);
	inner[strlen(inner) - 1] = '\0';
	if (inet_pton(v6 || strchr(inner, ':') ? AF_INET6 : AF_INET, inner, ip) != 1)
		return false;
	str_copy(addr, size, inner);
	return true;
}

/* ":port" or nothing. */
static int parse_port(const char *p, uint16_t *port, const char *word, struct meta1_err *err)
{
	unsigned long v = 0;

	if (*p == '\0')
		return 0;
	if (*p == ':' && p[1] != '\0')
		for (p++; *p >= '0' && *p <= '9' && v <= 65535; p++)
			v = v * 10 + (unsigned long)(*p - '0');
	if (*p != '\0' || v < 1 || v > 65535)
		return err_set(err, "\"%s\": expected a port from 1 to 65535 after the ':'", word);
	*port = (uint16_t)v;
	return 0;
}

/* "[host]" or "[address]", then perhaps a port. */
static int parse_brackets(
    const char *p, struct smar_target *t, const char *word, struct meta1_err *err)
{
	const char *end = strchr(p, ']');
	char inner[ADDR_DOMAIN_MAX + 3];
	unsigned char ip[16];

	if (!end || (size_t)(end + 1 - p) >= sizeof(inner))
		return err_set(err, "\"%s\": expected \"[host]\" or \"[host]:port\"", word);
	memcpy(inner, p, (size_t)(end + 1 - p));
	inner[end + 1 - p] = '\0';
	if (smar_literal(inner, t->name, sizeof(t->name))) {
		t->kind = TARGET_ADDR;
	} else {
		t->kind = TARGET_HOST;
		if (addr_domain_key(
			buf_of(p + 1, (size_t)(end - p - 1)), t->name, sizeof(t->name)) < 0 ||
		    t->name[0] == '[' || !addr_domain_ok(buf_str(t->name)))
			return err_set(
			    err, "\"%s\": no host name or address in the brackets", word);
		if (inet_pton(AF_INET, t->name, ip) == 1) /* it had a final dot */
			t->kind = TARGET_ADDR;
	}
	return parse_port(end + 1, &t->port, word, err);
}

static int parse_lmtp(const char *p, struct smar_target *t, const char *word, struct meta1_err *err)
{
	t->lmtp = true;
	if (*p == '\0') {
		t->kind = TARGET_SOCKET;
		return 0;
	}
	if (*p == '[')
		return parse_brackets(p, t, word, err);
	if (*p != '/')
		return err_set(err, "\"%s\": expected lmtp:, lmtp:/path or lmtp:[host]:port", word);
	if (strlen(p) > 107)
		return err_set(
		    err, "\"%s\": the path of a unix socket has at most 107 bytes", word);
	t->kind = TARGET_PATH;
	str_copy(t->name, sizeof(t->name), p);
	return 0;
}

/* host, host:port, address, address:port */
static int parse_host(const char *p, struct smar_target *t, const char *word, struct meta1_err *err)
{
	const char *colon = strchr(p, ':');
	size_t n = colon ? (size_t)(colon - p) : strlen(p);
	unsigned char ip[16];

	if (colon && strchr(colon + 1, ':'))
		return err_set(
		    err, "\"%s\": an IPv6 address stands in brackets, \"[2001:db8::1]\"", word);
	if (addr_domain_key(buf_of(p, n), t->name, sizeof(t->name)) < 0 ||
	    !addr_domain_ok(buf_str(t->name)))
		return err_set(err, "\"%s\": expected a host, a [host] or lmtp:", word);
	t->kind = inet_pton(AF_INET, t->name, ip) == 1 ? TARGET_ADDR : TARGET_MX;
	return parse_port(p + n, &t->port, word, err);
}

static int parse_named(
    const char *name, const char *p, struct smar_target *t, const char *word, struct meta1_err *err)
{
	str_copy(t->by, sizeof(t->by), name);
	if (*p == '[')
		return parse_brackets(p, t, word, err);
	if (strlen(p) >= sizeof(t->name))
		return err_set(err, "\"%.40s…\": more than %zu bytes behind the ':'", word,
		    sizeof(t->name) - 1);
	t->kind = TARGET_NAMED;
	str_copy(t->name, sizeof(t->name), p);
	return 0;
}

/* The transport that a word begins with; NULL: with none. */
static const char *named(const char *word, char *const *by)
{
	size_t n = strcspn(word, ":");

	for (; by && *by && word[n]; by++)
		if (strlen(*by) == n && strncasecmp(*by, word, n) == 0)
			return *by;
	return NULL;
}

/* "maildri:inbox", "lmpt:[192.0.2.1]:24": no port stands behind the colon, so it is meant to be a
 * transport. */
static int no_such_transport(const char *word, char *const *by, struct meta1_err *err)
{
	static const char *const ours[] = {"smtp", "lmtp"};
	const char *all[2 + SMAR_TARGETS] = {ours[0], ours[1]}, *near;
	size_t n = strcspn(word, ":"), have = 2;
	char name[SET_TRANSPORT_NAME + 1];

	if (!word[n] || (word[n + 1] >= '0' && word[n + 1] <= '9') || n >= sizeof(name) ||
	    (word[n + 1] != '[' && strchr(word + n + 1, ':')))
		return 0;
	memcpy(name, word, n);
	name[n] = '\0';
	for (; by && *by && have < ARRAY_LEN(all); by++)
		all[have++] = *by;
	near = conf_nearest(name, all, have);
	return err_set(err,
	    "\"%s\": smtpc has no transport %s { }, and a port from 1 to 65535 would be a "
	    "number%s%s%s",
	    word, name, near ? "; did you mean " : "", near ? near : "", near ? ":?" : "");
}

static int parse_word(
    const char *word, char *const *by, struct smar_target *t, struct meta1_err *err)
{
	const char *name = named(word, by);

	memset(t, 0, sizeof(*t));
	if (name)
		return parse_named(name, word + strlen(name) + 1, t, word, err);
	if (word[0] == '#')
		return err_set(err, "\"%s\": " SMAR_NO_COMMENT, word);
	if (strncasecmp(word, "lmtp:", 5) == 0)
		return parse_lmtp(word + 5, t, word, err);
	if (strncasecmp(word, "smtp:", 5) == 0)
		word += 5;
	if (word[0] == '[')
		return parse_brackets(word, t, word, err);
	if (no_such_transport(word, by, err) < 0)
		return -1;
	return parse_host(word, t, word, err);
}

int smar_mailertable_parse(struct meta1_buf value, char *const *by, struct smar_target *t,
    unsigned *n, struct meta1_err *err)
{
	const char *p = value.data, *end = p + value.len;
	char word[300];

	*n = 0;
	for (;;) {
		const char *from;

		while (p < end && (*p == ' ' || *p == '\t'))
			p++;
		if (p == end)
			break;
		for (from = p; p < end && *p != ' ' && *p != '\t';)
			p++;
		if ((size_t)(p - from) >= sizeof(word) || memchr(from, '\0', (size_t)(p - from)))
			return err_set(err, "\"%.40s…\": a next hop is no such thing", from);
		if (*n == SMAR_TARGETS)
			return err_set(err, "more than %d next hops", SMAR_TARGETS);
		memcpy(word, from, (size_t)(p - from));
		word[p - from] = '\0';
		if (parse_word(word, by, &t[*n], err) < 0)
			return -1;
		if (*n > 0 && strcmp(smar_target_by(&t[*n]), smar_target_by(&t[0])) != 0)
			return err_set(err, "\"%s\": next hops by %s and %s in one row", word,
			    smar_target_by(&t[*n]), smar_target_by(&t[0]));
		(*n)++;
	}
	return *n > 0 ? 0 : err_set(err, "the row has no next hop");
}
