/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * table.c -- reads a text map whole and finds keys in it.
 * From map_text.c, at open and later on a worker thread; owns the text and the table.
 * On failure: every bad line is named with its number, and there is no table.
 */
#include "table.h"

#include <errno.h>
#include <fcntl.h>
#include <meta1/textline.h>
#include <stdlib.h>
#include <unistd.h>

struct reader {
	struct table *t;
	const char *file;
	uint32_t room; /* rows allocated */
	void (*bad)(void *, const char *);
	void *arg;
};

static void say_bad(struct reader *r, unsigned line, const char *why)
{
	char text[512];

	if (r->t->bad++ >= TABLE_SAID)
		return;
	snprintf(text, sizeof(text), "%s:%u: %s", r->file, line, why);
	r->bad(r->arg, text);
}

/* FNV-1a; the file is the admin's, nobody else chooses its keys. */
static uint32_t hash(struct meta1_buf key)
{
	const unsigned char *p = key.data;
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < key.len; i++)
		h = (h ^ p[i]) * 16777619u;
	return h;
}

static uint32_t *slot_of(const struct table *t, struct meta1_buf key)
{
	uint32_t i = hash(key) & t->mask;

	for (;; i = (i + 1) & t->mask) {
		const struct table_row *row;

		if (t->slot[i] == 0)
			return &t->slot[i];
		row = &t->row[t->slot[i] - 1];
		if (row->key.len == key.len && memcmp(row->key.data, key.data, key.len) == 0)
			return &t->slot[i];
	}
}

const struct table_row *table_find(const struct table *t, struct meta1_buf key)
{
	uint32_t i = t->nrow > 0 ? *slot_of(t, key) : 0;

	return i > 0 ? &t->row[i - 1] : NULL;
}

static int add_row(struct reader *r, const struct table_row *row)
{
	struct table *t = r->t;

	if (t->nrow == r->room) {
		uint32_t room = r->room ? r->room * 2 : 64;
		struct table_row *more = realloc(t->row, room * sizeof(*more));

		if (!more)
			return -1;
		t->row = more;
		r->room = room;
	}
	t->row[t->nrow++] = *row;
	return 0;
}

static int read_rows(struct reader *r, size_t len, struct meta1_err *err)
{
	char *p = r->t->text, *end = p + len;
	unsigned line = 0;

	while (p < end) {
		char *nl = memchr(p, '\n', (size_t)(end - p)), *next = nl ? nl + 1 : end;
		struct table_row row = {.line = ++line};
		const char *why = "";
		int got =
		    meta1_textline(p, (size_t)((nl ? nl : end) - p), &row.key, &row.val, &why);

		p = next;
		if (got < 0)
			say_bad(r, line, why);
		if (got <= 0)
			continue;
		if (r->t->nrow == TABLE_KEYS) {
			snprintf(err->text, sizeof(err->text),
			    "%s:%u: more than %u keys; make it a gdbm map with createmap", r->file,
			    line, TABLE_KEYS);
			return -1;
		}
		if (add_row(r, &row) < 0) {
			snprintf(err->text, sizeof(err->text), "%s: no memory", r->file);
			return -1;
		}
	}
	return 0;
}

static int index_rows(struct reader *r, struct meta1_err *err)
{
	struct table *t = r->t;
	uint32_t size = 16;

	while (size < t->nrow * 2)
		size *= 2;
	t->mask = size - 1;
	t->slot = calloc(size, sizeof(*t->slot));
	if (!t->slot) {
		snprintf(err->text, sizeof(err->text), "%s: no memory", r->file);
		return -1;
	}
	for (uint32_t i = 0; i < t->nrow; i++) {
		uint32_t *slot = slot_of(t, t->row[i].key);
		char why[200];

		if (*slot == 0) {
			*slot = i + 1;
			continue;
		}
		snprintf(why, sizeof(why), "\"%.*s\" is already in line %u",
		    (int)(t->row[i].key.len < 100 ? t->row[i].key.len : 100),
		    (const char *)t->row[i].key.data, t->row[*slot - 1].line);
		say_bad(r, t->row[i].line, why);
	}
	return 0;
}

/* The whole file into t->text; its length, or -1. */
static ssize_t slurp(struct table *t, const char *file, struct meta1_err *err)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	size_t len = 0;
	ssize_t n = -1;

	if (fd < 0 || fstat(fd, &t->st) < 0) {
		snprintf(err->text, sizeof(err->text), "%s: %s", file, strerror(errno));
		goto out;
	}
	if (!S_ISREG(t->st.st_mode) || t->st.st_size > (off_t)TABLE_BYTES) {
		snprintf(err->text, sizeof(err->text), "%s: %s", file,
		    S_ISREG(t->st.st_mode) ? "more than 64 MiB; make it a gdbm map with createmap"
					   : "not a file");
		goto out;
	}
	t->text = malloc((size_t)t->st.st_size + 1);
	if (!t->text) {
		snprintf(err->text, sizeof(err->text), "%s: no memory", file);
		goto out;
	}
	while (len < (size_t)t->st.st_size) {
		n = read(fd, t->text + len, (size_t)t->st.st_size - len);
		if (n == 0)
			break;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			snprintf(err->text, sizeof(err->text), "%s: %s", file, strerror(errno));
			goto out;
		}
		len += (size_t)n;
	}
	n = (ssize_t)len;
out:
	if (fd >= 0)
		close(fd);
	return n;
}

struct table *table_read(
    const char *file, void (*bad)(void *arg, const char *text), void *arg, struct meta1_err *err)
{
	struct table *t = calloc(1, sizeof(*t));
	struct reader r = {.t = t, .file = file, .bad = bad, .arg = arg};
	char text[512];
	ssize_t len;

	if (!t) {
		snprintf(err->text, sizeof(err->text), "%s: no memory", file);
		return NULL;
	}
	len = slurp(t, file, err);
	if (len < 0 || read_rows(&r, (size_t)len, err) < 0 || index_rows(&r, err) < 0) {
		table_free(&t);
		return NULL;
	}
	if (t->bad > TABLE_SAID) {
		snprintf(text, sizeof(text), "%s: %u more bad lines", file, t->bad - TABLE_SAID);
		bad(arg, text);
	}
	if (t->bad > 0) {
		snprintf(err->text, sizeof(err->text), "%s: %u bad line%s, see above", file, t->bad,
		    t->bad == 1 ? "" : "s");
		table_free(&t);
	}
	return t;
}

void table_free(struct table **tp)
{
	struct table *t = *tp;

	*tp = NULL;
	if (!t)
		return;
	free(t->text);
	free(t->row);
	free(t->slot);
	free(t);
}
