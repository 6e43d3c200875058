/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * addresses.c -- lists of addresses as people write them in a header or behind an option
 * (RFC 5322 3.4 and 4.4): names, comments, groups, quotes, source routes.
 *
 * Comes from: header.c, sendmail.c. Goes to: the function that the caller gives.
 * Owns nothing; no I/O. What is not an address is never guessed at: err says where it stands.
 */
#include "sendmail/sendmail.h"

#include <ctype.h>

struct scan {
	const char *text;
	size_t len, pos;
	struct meta1_err *err;
};

struct item { /* what stands between two commas */
	char addr[ADDR_PATH_MAX + 1];
	size_t len;
	size_t end;    /* of its last word in the text */
	bool domain;   /* an @ was there */
	bool glue;     /* the next word goes on with the last: after . or @ */
	bool too_many; /* words that do not belong together: a name */
	bool angle, closed, any;
};

static int bad(struct scan *s, size_t at, const char *why)
{
	size_t from = at > 20 ? at - 20 : 0, n = s->len - from > 40 ? 40 : s->len - from;
	char near[41];

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s->text[from + i];

		near[i] = c < 32 || c == 127 ? '?' : (char)c;
	}
	near[n] = '\0';
	return err_set(s->err, "%s near \"%s\"", why, near);
}

/* Behind the comment at pos, which may hold others; false: it has no end. */
static bool skip_comment(struct scan *s)
{
	unsigned depth = 0;

	for (; s->pos < s->len; s->pos++) {
		char c = s->text[s->pos];

		if (c == '\\')
			s->pos++;
		else if (c == '(')
			depth++;
		else if (c == ')' && --depth == 0) {
			s->pos++;
			return true;
		}
	}
	return false;
}

static int skip_blanks(struct scan *s)
{
	while (s->pos < s->len) {
		char c = s->text[s->pos];
		size_t at = s->pos;

		if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
			s->pos++;
		else if (c != '(')
			return 0;
		else if (!skip_comment(s))
			return bad(s, at, "a comment without its end");
	}
	return 0;
}

/* The length of a quoted string or a literal at pos, 0: it has no end. */
static size_t quoted(const struct scan *s, char end)
{
	for (size_t i = s->pos + 1; i < s->len; i++) {
		if (s->text[i] == '\\')
			i++;
		else if (s->text[i] == end)
			return i + 1 - s->pos;
	}
	return 0;
}

static bool atom_char(char c)
{
	return (unsigned char)c > 32 && c != 127 && !strchr("()<>@,:;\\\".[]", c);
}

static int put(struct scan *s, struct item *it, const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (p[i] == '\r' || p[i] == '\n') /* a fold inside quotes */
			continue;
		if ((unsigned char)p[i] < 32 || p[i] == 127)
			return bad(s, s->pos, "a control byte");
		if (it->len < sizeof(it->addr) - 1)
			it->addr[it->len++] = p[i];
		else
			it->too_many = true; /* of a name that may be long; an address may not */
	}
	return 0;
}

/* A word, a dot, an @ or a literal. */
static int part(struct scan *s, struct item *it)
{
	char c = s->text[s->pos];
	size_t n = 1;

	if (c == '"' || c == '[')
		n = quoted(s, c == '"' ? '"' : ']');
	else if (c != '.' && c != '@')
		for (n = 0; s->pos + n < s->len && atom_char(s->text[s->pos + n]);)
			n++;
	if (n == 0)
		return bad(
		    s, s->pos, c == '"' || c == '[' ? "no end of a quoted text" : "no address");
	if (c == '@') {
		it->too_many |= it->domain || it->len == 0;
		it->domain = true;
	} else if (c != '.' && it->any && !it->glue) {
		it->too_many = true;
	}
	if (put(s, it, s->text + s->pos, n) < 0)
		return -1;
	it->glue = c == '.' || c == '@';
	it->any = true;
	s->pos += n;
	if (!it->domain)
		it->end = s->pos;
	return 0;
}

/* "<": what stood before was a name; a route "@a,@b:" is dropped. */
static int angle(struct scan *s, struct item *it)
{
	if (it->angle)
		return bad(s, s->pos, "a second <");
	*it = (struct item){.angle = true};
	s->pos++;
	if (skip_blanks(s) < 0)
		return -1;
	if (s->pos < s->len && s->text[s->pos] == '@') {
		while (s->pos < s->len && !strchr(":>\"", s->text[s->pos]))
			s->pos++;
		if (s->pos == s->len || s->text[s->pos] != ':')
			return bad(s, s->pos, "a route without its end");
		s->pos++;
	}
	it->end = s->pos;
	return 0;
}

/* A comma, a semicolon or the end. */
static int finish(struct scan *s, struct item *it, sendmail_address_fn fn, void *arg)
{
	int rc = 0;

	if (it->angle && !it->closed)
		return bad(s, s->pos, "a < without its >");
	if (it->any && (it->too_many || (it->domain && it->glue)))
		return bad(s, s->pos, "no address");
	it->addr[it->len] = '\0';
	if (it->any || it->angle)
		rc = fn(arg, it->addr, it->domain, it->end);
	*it = (struct item){.any = false};
	return rc;
}

static int step(struct scan *s, struct item *it, bool *group, sendmail_address_fn fn, void *arg)
{
	char c = s->text[s->pos];

	if (c == '<')
		return angle(s, it);
	if (c == '>' && it->angle && !it->closed) {
		it->closed = true;
		s->pos++;
		return 0;
	}
	if (c == ':' && !it->angle && !*group) { /* what stood before names a group */
		*it = (struct item){.any = false};
		*group = true;
		s->pos++;
		return 0;
	}
	if ((c == ',' && (!it->angle || it->closed)) || (c == ';' && *group)) {
		*group = *group && c != ';';
		s->pos++;
		return finish(s, it, fn, arg);
	}
	if (it->closed)
		return bad(s, s->pos, "no comma behind an address");
	return part(s, it);
}

int sendmail_addresses(
    const char *text, size_t len, sendmail_address_fn fn, void *arg, struct meta1_err *err)
{
	struct scan s = {text, len, 0, err};
	struct item it = {.any = false};
	bool group = false;
	int rc;

	for (;;) {
		if ((rc = skip_blanks(&s)) < 0)
			return rc;
		if (s.pos == s.len)
			return finish(&s, &it, fn, arg);
		if ((rc = step(&s, &it, &group, fn, arg)) < 0)
			return rc;
	}
}
