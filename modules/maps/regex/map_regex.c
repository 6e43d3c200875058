/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map_regex.c -- a map of lines "/pattern/ value": the first pattern that matches the key gives
 * its value, in which $1 or ${1} stand for what its parentheses matched and $$ for a $.
 * From the core's look-ups, through filemap.c; to PCRE2. Owns the compiled patterns.
 *
 * Letters are compared without regard to case, and keys as UTF-8. A pattern is bounded in
 * length and in the work that it may do for one key: beyond, the look-up is a temporary
 * failure that names the line, and never "not found".
 */
#include "../filemap/filemap.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <ctype.h>
#include <meta1/textline.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#define PATTERNS_MAX 10000u
#define PATTERN_MAX  4096
#define MATCH_LIMIT  20000 /* calls of the matcher for one key */
#define DEPTH_LIMIT  1000
#define HEAP_LIMIT   1024 /* KiB */

struct row {
	pcre2_code *code;
	struct meta1_buf val;
	unsigned line;
	bool macros; /* val has a $ */
};
struct table {
	struct row *row;
	unsigned nrow, room;
	char file[256];
	pcre2_match_data *data;
	pcre2_match_context *limits;
	char why[320];
	char out[META1_VALUE_MAX];
};

static const struct meta1_opt options[] = {
    FILEMAP_OPTIONS("lines \"/regular expression/ value\", where the first that matches counts")};

/* ---- the value ---- */

/* A reference at p, which points behind a '$': its group and length, or 0: it is none. */
static size_t reference(const char *p, size_t n, unsigned *group)
{
	bool braces = n > 0 && p[0] == '{';
	size_t i = braces, from = i;

	*group = 0;
	while (i < n && i < from + 3 && isdigit((unsigned char)p[i]))
		*group = *group * 10 + (unsigned)(p[i++] - '0');
	if (i == from || (braces && (i == n || p[i] != '}')))
		return 0;
	return braces ? i + 1 : i;
}

/* NULL, or what is wrong with the references of a value. */
static const char *bad_value(const struct row *r)
{
	const char *p = r->val.data;
	uint32_t groups = 0;

	pcre2_pattern_info(r->code, PCRE2_INFO_CAPTURECOUNT, &groups);
	for (size_t i = 0; i < r->val.len; i++) {
		unsigned group;
		size_t n;

		if (p[i] != '$')
			continue;
		if (i + 1 < r->val.len && p[i + 1] == '$') {
			i++;
			continue;
		}
		n = reference(p + i + 1, r->val.len - i - 1, &group);
		if (n == 0)
			return "a $ in the value is none of $1, ${1} and $$";
		if (group > groups)
			return "the value refers to parentheses that the pattern does not have";
		i += n;
	}
	return NULL;
}

/* false: the result is too long. */
static bool expand(struct table *t, const struct row *r, const char *key, struct meta1_buf *val)
{
	const PCRE2_SIZE *at = pcre2_get_ovector_pointer(t->data);
	uint32_t set = pcre2_get_ovector_count(t->data);
	const char *p = r->val.data;
	size_t len = 0;

	for (size_t i = 0; i < r->val.len; i++) {
		const char *from = p + i;
		size_t n = 1;
		unsigned group;

		if (p[i] == '$' && p[i + 1] == '$') {
			i++;
		} else if (p[i] == '$') {
			i += reference(p + i + 1, r->val.len - i - 1, &group);
			n = group < set && at[2 * group] != PCRE2_UNSET
				? at[2 * group + 1] - at[2 * group]
				: 0;
			from = n > 0 ? key + at[2 * group] : key;
		}
		if (len + n > sizeof(t->out))
			return false;
		memcpy(t->out + len, from, n);
		len += n;
	}
	*val = (struct meta1_buf){t->out, len};
	return true;
}

/* ---- finding ---- */

static enum meta1_status unable(
    struct table *t, const struct row *r, const char *what, struct filemap_found *f)
{
	snprintf(t->why, sizeof(t->why), "%s:%u: %s", t->file, r->line, what);
	f->why = t->why;
	return META1_TEMPFAIL;
}

static enum meta1_status regex_find(void *table, struct meta1_buf key, struct filemap_found *f)
{
	struct table *t = table;
	const char *text = key.data ? key.data : "";

	for (unsigned i = 0; i < t->nrow; i++) {
		struct row *r = &t->row[i];
		int got = pcre2_match(r->code, (PCRE2_SPTR)text, key.len, 0, 0, t->data, t->limits);

		if (got == PCRE2_ERROR_NOMATCH)
			continue;
		if (got < 0)
			return unable(t, r, "the pattern needs too much work for this key", f);
		f->val = r->val;
		if (r->macros && !expand(t, r, text, &f->val))
			return unable(t, r, "the value becomes too long", f);
		return META1_OK;
	}
	return META1_NOTFOUND;
}

/* ---- making ---- */

/* The pattern between two '/'; \/ stands for one in it. Its length in place, or -1. */
static int pattern(char *p, size_t n, size_t *used)
{
	size_t i, len = 0;

	for (i = 1; i < n && p[i] != '/'; i++) {
		if (p[i] == '\\' && i + 1 < n) {
			if (p[i + 1] != '/')
				p[len++] = p[i];
			i++;
		}
		p[len++] = p[i];
	}
	*used = i + 1;
	return i < n ? (int)len : -1;
}

static void take(struct table *t, struct lines *l, char *p, size_t n)
{
	struct row *r = &t->row[t->nrow];
	const char *why;
	PCRE2_UCHAR text[200];
	PCRE2_SIZE where;
	size_t used;
	int code, len = p[0] == '/' ? pattern(p, n, &used) : -1;

	if (len < 0 || len > PATTERN_MAX) {
		lines_bad(l, l->line,
		    "expected /pattern/ and a value; a / in it is written \\/, and it has at most "
		    "%d bytes",
		    PATTERN_MAX);
		return;
	}
	if (used < n && !meta1_isblank(p[used])) {
		lines_bad(l, l->line,
		    "expected a blank behind the second /, found '%c'; a / in the pattern is "
		    "written \\/",
		    p[used]);
		return;
	}
	r->code = pcre2_compile((PCRE2_SPTR)p, (PCRE2_SIZE)len,
	    PCRE2_CASELESS | PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C |
		PCRE2_DOLLAR_ENDONLY,
	    &code, &where, NULL);
	if (!r->code) {
		pcre2_get_error_message(code, text, sizeof(text));
		lines_bad(l, l->line, "the pattern is wrong at its byte %zu: %s", (size_t)where,
		    (char *)text);
		return;
	}
	while (used < n && meta1_isblank(p[used]))
		used++;
	r->val = (struct meta1_buf){p + (used < n ? used : n), used < n ? n - used : 0};
	r->line = l->line;
	r->macros = memchr(r->val.data, '$', r->val.len) != NULL;
	why = r->val.len > META1_VALUE_MAX ? "the value is longer than 16384 bytes" : bad_value(r);
	if (why) {
		lines_bad(l, l->line, "%s", why);
		pcre2_code_free(r->code);
		return;
	}
	t->nrow++;
}

static void regex_drop(void *table)
{
	struct table *t = table;

	for (unsigned i = 0; i < t->nrow; i++)
		pcre2_code_free(t->row[i].code);
	pcre2_match_data_free(t->data);
	pcre2_match_context_free(t->limits);
	free(t->row);
	free(t);
}

static bool room(struct table *t)
{
	struct row *more;

	if (t->nrow < t->room)
		return true;
	more = realloc(t->row, (t->room * 2 + 16) * sizeof(*more));
	if (!more)
		return false;
	t->row = more;
	t->room = t->room * 2 + 16;
	return true;
}

static int read_rows(struct table *t, struct lines *l, struct meta1_err *err)
{
	char *p;
	size_t n;

	while (lines_next(l, &p, &n)) {
		while (n > 0 && meta1_isblank(p[n - 1]))
			n--;
		while (n > 0 && meta1_isblank(*p))
			p++, n--;
		if (n == 0 || *p == '#')
			continue;
		if (t->nrow == PATTERNS_MAX) {
			snprintf(err->text, sizeof(err->text), "%s:%u: more than %u patterns",
			    l->file, l->line, PATTERNS_MAX);
			return -1;
		}
		if (!room(t)) {
			snprintf(err->text, sizeof(err->text), "%s: no memory", l->file);
			return -1;
		}
		take(t, l, p, n);
	}
	return 0;
}

static void *regex_make(struct lines *l, struct meta1_err *err)
{
	struct table *t = calloc(1, sizeof(*t));

	if (t) {
		snprintf(t->file, sizeof(t->file), "%s", l->file);
		t->data = pcre2_match_data_create(100, NULL);
		t->limits = pcre2_match_context_create(NULL);
	}
	if (!t || !t->data || !t->limits) {
		snprintf(err->text, sizeof(err->text), "%s: no memory", l->file);
		if (t)
			regex_drop(t);
		return NULL;
	}
	pcre2_set_match_limit(t->limits, MATCH_LIMIT);
	pcre2_set_depth_limit(t->limits, DEPTH_LIMIT);
	pcre2_set_heap_limit(t->limits, HEAP_LIMIT);
	if (read_rows(t, l, err) < 0) {
		regex_drop(t);
		return NULL;
	}
	return t;
}

static unsigned regex_count(const void *table)
{
	return ((const struct table *)table)->nrow;
}

static const struct filemap_ops regex_ops = {
    .make = regex_make, .drop = regex_drop, .count = regex_count, .find = regex_find};

static int map_open(const struct meta1_host *host, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *err)
{
	return filemap_open(&regex_ops, host, ctx, conf, inst, err);
}

static const struct meta1_map_ops ops = {
    .size = sizeof(ops), .props = META1_MAP_LOCAL, .find = filemap_find};

META1_MODULE(map_regex, .kind = META1_MAP, .roles = META1_SMAR | META1_TOOL, .version = "0.1.0",
    .summary = "Values by regular expressions (PCRE2).", .opt = options,
    .nopt = sizeof(options) / sizeof(options[0]), .sizeof_conf = sizeof(struct filemap_conf),
    .check = filemap_check, .open = map_open, .close = filemap_close, .ops = &ops);
