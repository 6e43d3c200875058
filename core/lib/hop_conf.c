/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hop_conf.c -- options of smtpc for one next hop or recipient, from rows of the access map:
 * smtpc_session_conf:mx.example.net IO_timeout = 20m; extensions = dont_pipelining;
 *
 * Comes from settings_check.c, smar/hop_conf.c and smtpc/conf.c. Owns nothing; pure.
 * On failure: nothing of the row is taken; err names option and mistake.
 */
#include "hop_conf.h"

#include "row.h"

#include <arpa/inet.h>
#include <meta1/transport.h>
#include <stdio.h>
#include <strings.h>

#define FIELD(option, field)                                                                       \
	{                                                                                          \
#option, offsetof(struct hop_conf, field), sizeof(((struct hop_conf *)0)->field)   \
	}
static const struct item {
	const char *name;
	size_t off, size;
} items[] = {
    FIELD(IO_timeout, IO_timeout),
    FIELD(connect_timeout, connect_timeout),
    FIELD(idle_timeout, idle_timeout),
    FIELD(max_mails_per_connection, max_mails),
    FIELD(extensions, extensions),
    FIELD(no_8bitmime, no_8bitmime),
    FIELD(tls_policy, tls_policy),
    FIELD(login, login),
    FIELD(helo_name, helo_name),
    FIELD(source_ipv4, source_ipv4),
    FIELD(source_ipv6, source_ipv6),
};
static const struct row_kind kind = {
    "smtpc", "for one next hop or recipient", items, ARRAY_LEN(items), sizeof(items[0])};

_Static_assert(META1_OFFER_SMTPUTF8 == 1 && META1_OFFER_8BITMIME == 2 && META1_OFFER_SIZE == 4 &&
		   META1_OFFER_PIPELINING == 8 && META1_OFFER_DSN == 16 &&
		   META1_OFFER_IGNOREQUOTA == 32 && META1_OFFER_TRACE == 64,
    "the words of the option extensions are in this order");

static bool is_name(const char *s)
{
	static const char good[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.";
	size_t n = strlen(s);
	unsigned char ip[16];
	char inner[64];

	if (n > 2 && s[0] == '[' && s[n - 1] == ']' && n < sizeof(inner)) { /* RFC 5321 4.1.3 */
		snprintf(inner, sizeof(inner), "%.*s", (int)n - 2, s + 1);
		if (strncasecmp(inner, "IPv6:", 5) == 0)
			return inet_pton(AF_INET6, inner + 5, ip) == 1;
		return inet_pton(AF_INET, inner, ip) == 1;
	}
	return n > 0 && n <= 255 && strspn(s, good) == n && s[0] != '.' && !strstr(s, "..");
}

int hop_conf_text(const char *option, const char *value, struct meta1_err *err)
{
	bool v6 = strcasecmp(option, "source_ipv6") == 0;
	unsigned char ip[16];

	if (!*value)
		return 0;
	if (strcasecmp(option, "login") == 0)
		return strlen(value) < sizeof(((struct hop_conf *)0)->login)
			   ? 0
			   : err_set(err, "found %.60s…, expected at most 300 bytes", value);
	if (strcasecmp(option, "helo_name") == 0) {
		if (is_name(value))
			return 0;
		return err_set(err,
		    "found %.60s, expected a host name of letters, digits, '-' and '.', or "
		    "[192.0.2.1]",
		    value);
	}
	if (inet_pton(v6 ? AF_INET6 : AF_INET, value, ip) == 1)
		return 0;
	return err_set(err, "found %.60s, expected an address such as %s", value,
	    v6 ? "2001:db8::1" : "192.0.2.1");
}

static int take(void *arg, size_t i, const struct meta1_opt *rec, const char *const *values,
    size_t n, struct meta1_err *err)
{
	union {
		int64_t number;
		uint64_t flags;
		int32_t word;
		const char *text;
	} v = {0};
	char *field = (char *)arg + items[i].off;

	if (opt_parse(rec, values, n, &v, err) < 0)
		return -1;
	if (rec->type != META1_STR) {
		memcpy(field, &v, items[i].size);
		return 0;
	}
	if (hop_conf_text(rec->name, v.text, err) < 0)
		return -1;
	str_copy(field, items[i].size, v.text);
	return 0;
}

int hop_conf_read(struct meta1_buf row, struct hop_conf *out, struct meta1_err *err)
{
	char text[HOP_CONF_MAX + 1];
	struct hop_conf c = *out;

	if (row.len > HOP_CONF_MAX)
		return err_set(err, "longer than %d bytes", HOP_CONF_MAX);
	memcpy(text, row.len ? row.data : "", row.len);
	text[row.len] = '\0';
	if (strlen(text) != row.len)
		return err_set(err, "holds a byte 0");
	if (row_read(&kind, text, take, &c, err) < 0)
		return -1;
	*out = c;
	return 0;
}

uint32_t hop_conf_without(uint64_t extensions)
{
	const uint32_t words = 2 * META1_OFFER_TRACE - 1; /* the last of them, and those before */

	return words & ~(uint32_t)extensions;
}

void hop_conf_section(const struct set_smtpc *s, struct hop_conf *out)
{
	*out = (struct hop_conf){.IO_timeout = s->IO_timeout,
	    .connect_timeout = s->connect_timeout,
	    .idle_timeout = s->idle_timeout,
	    .max_mails = s->max_mails_per_connection,
	    .extensions = s->extensions,
	    .no_8bitmime = s->no_8bitmime,
	    .tls_policy = s->tls_policy};
	str_copy(out->login, sizeof(out->login), s->login);
	str_copy(out->helo_name, sizeof(out->helo_name), s->helo_name);
	str_copy(out->source_ipv4, sizeof(out->source_ipv4), s->source_ipv4);
	str_copy(out->source_ipv6, sizeof(out->source_ipv6), s->source_ipv6);
}

bool hop_conf_same_session(const struct hop_conf *a, const struct hop_conf *b)
{
	return a == b || (a->IO_timeout == b->IO_timeout && a->idle_timeout == b->idle_timeout &&
			     a->max_mails == b->max_mails && strcasecmp(a->login, b->login) == 0 &&
			     strcasecmp(a->helo_name, b->helo_name) == 0 &&
			     strcmp(a->source_ipv4, b->source_ipv4) == 0 &&
			     strcmp(a->source_ipv6, b->source_ipv6) == 0);
}
