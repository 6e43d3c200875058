/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * addr.c -- the grammar of paths, RFC 5321 4.1.2 and 4.1.3 with the UTF-8 of RFC 6531 3.3,
 * as a walk over bytes.
 *
 * Comes from core/smtps/tx.c (MAIL, RCPT), core/smar and core/qmgr (domains); goes to idn.c for
 * U-labels: nothing is copied, results are slices of what was given.
 * On failure the error names what was found and what the grammar wants; nothing that
 * fails here may reach a map key, an envelope or a log line unescaped.
 */
#include "mail/addr.h"

#include "mail/idn.h"
#include "mail/utf8.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <strings.h>

#define LABEL_MAX 63

static bool alnum(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool atext(unsigned char c)
{
	return alnum(c) || (c > 32 && c < 127 && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

static bool eight(unsigned char c)
{
	return c >= 0x80;
}

bool addr_utf8(struct meta1_buf b)
{
	const unsigned char *p = b.data;

	for (size_t i = 0; i < b.len; i++)
		if (eight(p[i]))
			return true;
	return false;
}

/* Length of the character beyond ASCII at s; 0: none, or a control of Latin-1 (U+0080 to
 * U+009F). */
static size_t utf8(const char *s, size_t n)
{
	const unsigned char *p = (const unsigned char *)s;
	uint32_t c = 0;
	size_t len = eight(*p) ? utf8_get(p, n, &c) : 0;

	return c >= 0xa0 ? len : 0;
}

/* Length of a quoted string with its quotes, 0 when it does not end or has a bad byte. */
static size_t quoted(const char *s, size_t n)
{
	size_t i = 1;

	while (i < n && s[i] != '"') {
		size_t len = utf8(s + i, n - i);

		if (len > 0) {
			i += len;
			continue;
		}
		if (s[i] == '\\') /* before ASCII only */
			i++;
		if (i >= n || (unsigned char)s[i] < 32 || (unsigned char)s[i] > 126)
			return 0;
		i++;
	}
	return i < n ? i + 1 : 0;
}

/* Length of an atom, 0: none. */
static size_t atom(const char *s, size_t n)
{
	size_t i = 0, len;

	while (i < n && (len = atext((unsigned char)s[i]) ? 1 : utf8(s + i, n - i)) > 0)
		i += len;
	return i;
}

/* Length of a dot-string: atoms between single dots. 0: none or dots misplaced. */
static size_t dot_string(const char *s, size_t n)
{
	size_t i = 0;

	for (;;) {
		size_t len = atom(s + i, n - i);

		i += len;
		if (len == 0)
			return 0;
		if (i == n || s[i] != '.')
			return i;
		i++;
	}
}

bool addr_dot_string(struct meta1_buf local)
{
	return local.len > 0 && dot_string(local.data, local.len) == local.len;
}

static size_t local_part(const char *s, size_t n)
{
	if (n == 0)
		return 0;
	return s[0] == '"' ? quoted(s, n) : dot_string(s, n);
}

static bool literal_ok(const char *s, size_t n)
{
	static const char tag[] = "IPv6:";
	char text[INET6_ADDRSTRLEN];
	unsigned char bin[16];
	int family = AF_INET;

	if (n < 3 || s[0] != '[' || s[n - 1] != ']')
		return false;
	s++;
	n -= 2;
	if (n > sizeof(tag) - 1 && strncasecmp(s, tag, sizeof(tag) - 1) == 0) {
		s += sizeof(tag) - 1;
		n -= sizeof(tag) - 1;
		family = AF_INET6;
	}
	if (n >= sizeof(text) || memchr(s, 0, n) != NULL)
		return false;
	memcpy(text, s, n);
	text[n] = '\0';
	return inet_pton(family, text, bin) == 1;
}

/* Labels of letters, digits and hyphens, single dots between them. */
static bool ldh_ok(const char *s, size_t n)
{
	size_t i, label = 0;

	for (i = 0; i < n; i++) {
		if (s[i] == '.') {
			if (label == 0 || s[i - 1] == '-')
				return false;
			label = 0;
			continue;
		}
		if (!alnum((unsigned char)s[i]) && (s[i] != '-' || label == 0))
			return false;
		if (++label > LABEL_MAX)
			return false;
	}
	return label > 0 && s[n - 1] != '-';
}

bool addr_domain_ok(struct meta1_buf domain)
{
	char key[ADDR_DOMAIN_MAX + 1];

	if (domain.len == 0 || domain.len > ADDR_DOMAIN_MAX)
		return false;
	if (((const char *)domain.data)[0] == '[')
		return literal_ok(domain.data, domain.len);
	if (addr_utf8(domain))
		return idn_ascii(domain, key, sizeof(key)) == 0 && ldh_ok(key, strlen(key));
	return ldh_ok(domain.data, domain.len);
}

bool addr_utf8_local(struct meta1_buf path)
{
	const char *at = path.len > 0 ? memrchr(path.data, '@', path.len) : NULL;

	if (at != NULL)
		path.len = (size_t)(at - (const char *)path.data);
	return addr_utf8(path);
}

/* Length of the domain that starts at s: up to the first byte that ends it. */
static size_t domain_span(const char *s, size_t n)
{
	size_t i = 0;

	if (n > 0 && s[0] == '[') {
		const char *end = memchr(s, ']', n);

		return end == NULL ? 0 : (size_t)(end - s) + 1;
	}
	while (i < n && (alnum((unsigned char)s[i]) || eight((unsigned char)s[i]) || s[i] == '-' ||
			    s[i] == '.'))
		i++;
	return i;
}

/* "@one,@two:" in front of the mailbox; its length, 0 when there is none, -1 when broken. */
static long source_route(const char *s, size_t n)
{
	size_t i = 0;

	if (n == 0 || s[0] != '@')
		return 0;
	for (;;) {
		size_t len;

		if (i >= n || s[i] != '@')
			return -1;
		i++;
		len = domain_span(s + i, n - i);
		if (!addr_domain_ok(buf_of(s + i, len)))
			return -1;
		i += len;
		if (i >= n || (s[i] != ',' && s[i] != ':'))
			return -1;
		if (s[i++] == ':')
			return (long)i;
	}
}

static int bad(struct meta1_err *err, unsigned flags, const char *why)
{
	return err_set(err, "%s %s", flags & ADDR_NULL ? "5.1.7" : "5.1.3", why);
}

/* What stands between '<' and '>'; i is where it starts. */
static int mailbox(const char *text, size_t len, size_t i, unsigned flags, struct addr *a,
    size_t *used, struct meta1_err *err)
{
	size_t n = local_part(text + i, len - i);

	if (n == 0)
		return bad(err, flags, "Bad local part in address");
	if (n > ADDR_LOCAL_MAX)
		return bad(err, flags, "Local part is longer than 64 bytes");
	a->local = buf_of(text + i, n);
	a->domain = buf_of(text + i + n, 0);
	if (i + n < len && text[i + n] == '@') {
		size_t d = domain_span(text + i + n + 1, len - i - n - 1);

		a->domain = buf_of(text + i + n + 1, d);
		if (d > ADDR_DOMAIN_MAX)
			return bad(err, flags, "Domain is longer than 255 bytes");
		if (!addr_domain_ok(a->domain))
			return bad(err, flags, "Bad domain in address");
		n += 1 + d;
	} else if (!(flags & ADDR_POSTMASTER) || !addr_is_postmaster(a)) {
		return bad(err, flags, "Address has no domain, or a byte that is not allowed");
	}
	if (i + n >= len || text[i + n] != '>')
		return bad(err, flags, "Address does not end with '>' where it should");
	a->whole = buf_of(text + i, n);
	a->utf8 = addr_utf8(buf_of(text, i + n));
	*used = i + n + 1;
	return 0;
}

int addr_path(const char *text, size_t len, unsigned flags, struct addr *a, size_t *used,
    struct meta1_err *err)
{
	long route;

	memset(a, 0, sizeof(*a));
	if (len == 0 || text[0] != '<')
		return bad(err, flags, "Address must stand in angle brackets");
	if (len > 1 && text[1] == '>') {
		if (!(flags & ADDR_NULL))
			return bad(err, flags, "Empty address");
		a->whole = a->local = a->domain = buf_of(text + 1, 0);
		*used = 2;
		return 0;
	}
	route = source_route(text + 1, len - 1);
	if (route < 0)
		return bad(err, flags, "Bad source route");
	return mailbox(text, len, 1 + (size_t)route, flags, a, used, err);
}

bool addr_is_postmaster(const struct addr *a)
{
	struct meta1_buf local = a->local;
	const char *s = local.data;

	if (local.len >= 2 && s[0] == '"' && s[local.len - 1] == '"')
		local = buf_of(s + 1, local.len - 2);
	return buf_caseeq(local, "postmaster");
}

int addr_domain_key(struct meta1_buf domain, char *out, size_t size)
{
	const char *s = domain.data;
	size_t i, n = domain.len;

	if (n > 0 && s[n - 1] == '.')
		n--;
	if (addr_utf8(domain))
		return idn_ascii(buf_of(s, n), out, size) == 0 && ldh_ok(out, strlen(out)) ? 0 : -1;
	if (n >= size)
		return -1;
	for (i = 0; i < n; i++)
		out[i] = (char)(s[i] >= 'A' && s[i] <= 'Z' ? s[i] + ('a' - 'A') : s[i]);
	out[n] = '\0';
	return 0;
}
