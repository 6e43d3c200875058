/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * address.c -- the addresses within a field's value, rewritten where they stand: names, comments,
 * quoted strings and folds stay as they are, byte by byte.
 *
 * Comes from edits.c; goes to rewrite.c with each address. An address is what stands around an @
 * outside of quoted strings and comments: atoms with dots, or a quoted string, before it, a domain
 * behind it. Owns nothing; one pass, no recursion.
 */
#include "headers.h"

#include <ctype.h>

static int atext(unsigned char c)
{
	return isalnum(c) || c >= 0x80 || (c && strchr("!#$%&'*+-/=?^_`{|}~.", c));
}

/* Behind the string or comment that begins at i. */
static size_t skip(const char *p, size_t n, size_t i)
{
	unsigned depth = 0;
	char open = p[i];

	for (; i < n; i++) {
		if (p[i] == '\\' && i + 1 < n)
			i++;
		else if (open == '"' && p[i] == '"' && depth)
			return i + 1;
		else if (open == '"')
			depth = 1;
		else if (p[i] == '(')
			depth++;
		else if (p[i] == ')' && --depth == 0)
			return i + 1;
	}
	return n;
}

struct text { /* that grows */
	struct sess *s;
	char *at;
	size_t n, size;
	int bad;
};

static void put(struct text *t, const char *p, size_t n)
{
	if (t->size - t->n < n) {
		size_t size = (t->n + n) * 2;
		char *at = headers_keep(t->s, size);

		if (!at) {
			t->bad = 1;
			return;
		}
		if (t->n)
			memcpy(at, t->at, t->n);
		t->at = at;
		t->size = size;
	}
	if (n)
		memcpy(t->at + t->n, p, n);
	t->n += n;
}

static size_t domain_end(const char *p, size_t n, size_t i)
{
	while (i < n && atext((unsigned char)p[i]))
		i++;
	return i;
}

int address_rewrite(
    struct sess *s, const struct rewrite *r, struct meta1_buf value, struct meta1_buf *out)
{
	const char *p = value.data;
	size_t n = value.len, i = 0, word = 0, done = 0;
	struct text t = {.s = s};
	char to[ADDR_MAX];

	*out = (struct meta1_buf){NULL, 0};
	while (i < n && !t.bad) {
		if (p[i] == '"') {
			word = i;
			i = skip(p, n, i);
		} else if (p[i] == '(') {
			i = skip(p, n, i);
			word = i;
		} else if (p[i] == '@' && i > word) {
			size_t end = domain_end(p, n, i + 1), len;

			len = rewrite_find(s->h, r, (struct meta1_buf){p + word, end - word}, to);
			if (len) {
				put(&t, p + done, word - done);
				put(&t, to, len);
				done = end;
			}
			i = word = end > i + 1 ? end : i + 1;
		} else if (atext((unsigned char)p[i])) {
			i++;
		} else {
			word = ++i;
		}
	}
	if (done && !t.bad) {
		put(&t, p + done, n - done);
		*out = (struct meta1_buf){t.at, t.n};
	}
	return t.bad ? -1 : 0;
}
