/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rewrite.c -- the file that says what an address becomes: lines as in a text map.
 *
 *	user@inner.example  name@example.org
 *	inner.example       example.org          all of it, users as they are
 *	.inner.example      example.org          its subdomains
 *
 * Comes from the module's open(); goes to address.c and edits.c. Owns the rows, sorted. The most
 * specific row counts, once: what came out is not looked up again.
 * On failure: the first bad line, with its number.
 */
#include "headers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MAX 1000000

/* ---- what may stand there ---- */

static int plain(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)p[i] <= ' ' || p[i] == 127 || strchr("<>()[],;:\\\"", p[i]))
			return 0;
	return n > 0;
}

/* "local@domain" with the domain as the server looks it up; n: room. <0: it is none. */
static int norm(const struct headers *h, struct meta1_buf a, char *out, size_t size)
{
	const char *p = a.data, *at = memrchr(p, '@', a.len);
	size_t local = at ? (size_t)(at - p) + 1 : 0;
	size_t dot = !at && a.len > 1 && *p == '.';
	struct meta1_buf dom = {p + local + dot, a.len - local - dot};

	if (local + dot + 1 >= size || dom.len == 0 || (at && local == 1))
		return -1;
	memcpy(out, p, local + dot);
	for (size_t i = 0; i < local; i++)
		if (out[i] >= 'A' && out[i] <= 'Z')
			out[i] = (char)(out[i] + 32);
	return h->host->domain_key(dom, out + local + dot, size - local - dot);
}

static const char *good(struct meta1_buf key, struct meta1_buf val)
{
	const char *v = val.data;

	if (!plain(key.data, key.len) || key.len >= ADDR_MAX)
		return "expected an address, a domain, or a domain behind a dot";
	if (!plain(v, val.len) || val.len >= ADDR_MAX || v[val.len - 1] == '@' ||
	    memchr(v, '@', val.len) != memrchr(v, '@', val.len))
		return "expected what it becomes: an address or a domain";
	return NULL;
}

/* ---- reading ---- */

static int by_key(const void *a, const void *b)
{
	return strcmp(((const struct row *)a)->key, ((const struct row *)b)->key);
}

static char *copy(struct headers *h, const char *p, size_t n)
{
	char *s = h->host->alloc(h->ctx, n + 1);

	if (s)
		memcpy(s, p, n);
	return s;
}

static const char *add(
    struct headers *h, struct rewrite *r, size_t *room, struct meta1_buf key, struct meta1_buf val)
{
	const char *bad = good(key, val), *v = val.data;
	char name[ADDR_MAX];
	struct row *row;

	if (bad)
		return bad;
	if (norm(h, key, name, sizeof(name)) < 0)
		return "the key is no address and no domain";
	if (*v == '@') {
		v++;
		val.len--;
	}
	if (r->n == *room) {
		size_t most = *room ? *room * 2 : 64;

		row = most <= ROWS_MAX * 2 ? h->host->alloc(h->ctx, most * sizeof(*row)) : NULL;
		if (!row)
			return "too many lines, or no memory";
		if (r->n)
			memcpy(row, r->row, r->n * sizeof(*row));
		h->host->free(h->ctx, r->row);
		r->row = row;
		*room = most;
	}
	row = &r->row[r->n++];
	row->key = copy(h, name, strlen(name));
	row->val = copy(h, v, val.len);
	return row->key && row->val ? NULL : "no memory";
}

static const char *sorted(struct rewrite *r, const char **which)
{
	if (r->n)
		qsort(r->row, r->n, sizeof(*r->row), by_key);
	for (size_t i = 1; i < r->n; i++) {
		if (strcmp(r->row[i - 1].key, r->row[i].key) != 0)
			continue;
		*which = r->row[i].key;
		return "stands there twice";
	}
	return NULL;
}

int rewrite_read(struct headers *h, const char *file, struct rewrite *r, struct meta1_err *err)
{
	FILE *f = fopen(file, "re");
	char *line = NULL;
	size_t size = 0, room = 0;
	unsigned n = 0;
	const char *bad = NULL, *which = NULL;
	ssize_t len;

	*r = (struct rewrite){NULL, 0};
	if (!f) {
		snprintf(err->text, sizeof(err->text), "%.300s: %s", file, strerror(errno));
		return -1;
	}
	while (!bad && (len = getline(&line, &size, f)) >= 0) {
		struct meta1_buf key, val;
		int got;

		n++;
		if (len && line[len - 1] == '\n')
			len--;
		got = meta1_textline(line, (size_t)len, &key, &val, &bad);
		if (got <= 0 && !(bad = got < 0 ? bad : NULL))
			continue;
		if (got > 0)
			bad = add(h, r, &room, key, val);
	}
	free(line);
	fclose(f);
	if (bad)
		snprintf(err->text, sizeof(err->text), "%.300s:%u: %s", file, n, bad);
	else if ((bad = sorted(r, &which)))
		snprintf(err->text, sizeof(err->text), "%.200s: %.200s %s", file, which, bad);
	if (bad)
		rewrite_free(h, r);
	return bad ? -1 : 0;
}

void rewrite_free(struct headers *h, struct rewrite *r)
{
	for (size_t i = 0; i < r->n; i++) {
		h->host->free(h->ctx, r->row[i].key);
		h->host->free(h->ctx, r->row[i].val);
	}
	h->host->free(h->ctx, r->row);
	*r = (struct rewrite){NULL, 0};
}

/* ---- looking up ---- */

static const char *row_of(const struct rewrite *r, const char *key)
{
	const struct row want = {.key = (char *)(uintptr_t)key};
	const struct row *row = r->n ? bsearch(&want, r->row, r->n, sizeof(want), by_key) : NULL;

	return row ? row->val : NULL;
}

static const char *value_of(const struct rewrite *r, char *key)
{
	char *at = strrchr(key, '@');
	const char *v = row_of(r, key);

	if (!v && at)
		v = row_of(r, at + 1);
	/* .inner.example, .example: from the longest on */
	for (char *dot = at ? strchr(at, '.') : NULL; dot && !v; dot = strchr(dot + 1, '.'))
		v = row_of(r, dot);
	return v;
}

size_t rewrite_find(
    const struct headers *h, const struct rewrite *r, struct meta1_buf addr, char out[ADDR_MAX])
{
	const char *p = addr.data, *at = p ? memrchr(p, '@', addr.len) : NULL, *v;
	char key[ADDR_MAX];
	size_t local, n;

	if (!at || !r->n || norm(h, addr, key, sizeof(key)) < 0)
		return 0;
	v = value_of(r, key);
	if (!v)
		return 0;
	local = strchr(v, '@') ? 0 : (size_t)(at - p) + 1;
	n = local + strlen(v);
	if (n >= ADDR_MAX || (n == addr.len && memcmp(p + local, v, n - local) == 0 && local))
		return 0;
	memcpy(out, p, local);
	memcpy(out + local, v, n - local + 1);
	return n;
}
