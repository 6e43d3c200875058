/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * table.c -- makes a hash table of the lines of a text map and finds keys in it.
 * From filemap.c, at open and later on a worker thread; owns the table, not the text.
 * On failure: every bad line is named with its number, and there is no table.
 */
#include "table.h"

#include <meta1/textline.h>
#include <stdlib.h>

struct table_row {
	struct meta1_buf key, val;
	unsigned line;
};
struct slot {
	uint32_t row; /* index plus 1; 0: empty */
	uint32_t hash;
};
struct table {
	struct table_row *row; /* slices of the lines */
	struct slot *slot;
	/* Four bits a slot, set by the hashes there are: small enough to stay near, so that a key
	 * that is not there, as most are, costs no far memory. */
	uint8_t *some;
	uint32_t nrow, mask;
};

/* Eight bytes at a time. The file is the admin's: nobody else chooses what stands in it. */
static uint32_t hash(struct meta1_buf key)
{
	const unsigned char *p = key.data;
	const uint64_t odd = 0x9e3779b97f4a7c15u;
	uint64_t h = key.len * odd, w;
	size_t n = key.len;

	for (; n > 0; p += sizeof(w)) {
		size_t part = n < sizeof(w) ? n : sizeof(w);

		w = 0;
		if (part == sizeof(w))
			memcpy(&w, p, sizeof(w));
		else
			memcpy(&w, p, part);
		h = (h ^ w) * odd;
		h ^= h >> 32;
		n -= part;
	}
	return (uint32_t)h;
}

/* Where the key stands, or the empty place where it would; most that are not there meet no row. */
static struct slot *slot_of(const struct table *t, struct meta1_buf key, uint32_t h)
{
	for (uint32_t i = h & t->mask;; i = (i + 1) & t->mask) {
		struct slot *s = &t->slot[i];
		const struct table_row *row;

		if (s->row == 0)
			return s;
		if (s->hash != h)
			continue;
		row = &t->row[s->row - 1];
		if (row->key.len == key.len && memcmp(row->key.data, key.data, key.len) == 0)
			return s;
	}
}

static uint32_t bit_of(const struct table *t, uint32_t h)
{
	return h & (t->mask * 4 + 3);
}

enum meta1_status table_find(void *table, struct meta1_buf key, struct filemap_found *f)
{
	const struct table *t = table;
	uint32_t h = hash(key), bit = bit_of(t, h), i = 0;

	if (t->some[bit / 8] & 1u << bit % 8)
		i = slot_of(t, key, h)->row;
	if (i == 0)
		return META1_NOTFOUND;
	f->val = t->row[i - 1].val;
	return META1_OK;
}

unsigned table_count(const void *table)
{
	return ((const struct table *)table)->nrow;
}

static int add_row(struct table *t, uint32_t *room, const struct table_row *row)
{
	if (t->nrow == *room) {
		uint32_t more = *room ? *room * 2 : 64;
		struct table_row *v = realloc(t->row, more * sizeof(*v));

		if (!v)
			return -1;
		t->row = v;
		*room = more;
	}
	t->row[t->nrow++] = *row;
	return 0;
}

static int read_rows(struct table *t, struct lines *l, struct meta1_err *err)
{
	uint32_t room = 0;
	char *line;
	size_t len;

	while (lines_next(l, &line, &len)) {
		struct table_row row = {.line = l->line};
		const char *why = "";
		int got = meta1_textline(line, len, &row.key, &row.val, &why);

		if (got < 0)
			lines_bad(l, l->line, "%s", why);
		if (got <= 0)
			continue;
		if (t->nrow == TABLE_KEYS) {
			snprintf(err->text, sizeof(err->text),
			    "%s:%u: more than %u keys; make it a gdbm map with createmap", l->file,
			    l->line, TABLE_KEYS);
			return -1;
		}
		if (add_row(t, &room, &row) < 0) {
			snprintf(err->text, sizeof(err->text), "%s: no memory", l->file);
			return -1;
		}
	}
	return 0;
}

static int index_rows(struct table *t, struct lines *l, struct meta1_err *err)
{
	uint32_t size = 16;

	while (size < t->nrow * 2)
		size *= 2;
	t->mask = size - 1;
	t->slot = calloc(size, sizeof(*t->slot));
	t->some = calloc(size / 2, 1);
	if (!t->slot || !t->some) {
		snprintf(err->text, sizeof(err->text), "%s: no memory", l->file);
		return -1;
	}
	for (uint32_t i = 0; i < t->nrow; i++) {
		uint32_t h = hash(t->row[i].key);
		struct slot *s = slot_of(t, t->row[i].key, h);

		t->some[bit_of(t, h) / 8] |= (uint8_t)(1u << bit_of(t, h) % 8);
		if (s->row == 0)
			*s = (struct slot){.row = i + 1, .hash = h};
		else
			lines_bad(l, t->row[i].line, "\"%.*s\" is already in line %u",
			    (int)(t->row[i].key.len < 100 ? t->row[i].key.len : 100),
			    (const char *)t->row[i].key.data, t->row[s->row - 1].line);
	}
	return 0;
}

void *table_make(struct lines *l, struct meta1_err *err)
{
	struct table *t = calloc(1, sizeof(*t));

	if (!t) {
		snprintf(err->text, sizeof(err->text), "%s: no memory", l->file);
		return NULL;
	}
	if (read_rows(t, l, err) < 0 || index_rows(t, l, err) < 0) {
		table_drop(t);
		return NULL;
	}
	return t;
}

void table_drop(void *table)
{
	struct table *t = table;

	free(t->row);
	free(t->slot);
	free(t->some);
	free(t);
}
