/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * opt_value.c -- one option's text to its C value and back.
 *
 * Comes from opt.c (an admin's values) or a record's own default and range, which
 * go through the same parsers. Goes to the field. Owns the lists of defaults,
 * kept for the life of the process.
 * On failure: "found X, expected Y", with the nearest known word.
 */
#include "opt.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

struct unit {
	const char *name;
	int64_t n;
};
static const struct unit time_units[] = {
    {"w", 604800000}, {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
static const struct unit size_units[] = {
    {"TB", 1LL << 40}, {"GB", 1 << 30}, {"MB", 1 << 20}, {"KB", 1 << 10}, {"B", 1}};

/* Digits from *p on; false: none, or too many. */
static bool take_digits(const char **p, int64_t *v)
{
	char *end;
	errno = 0;
	if (!isdigit((unsigned char)**p))
		return false;
	*v = strtoll(*p, &end, 10);
	*p = end;
	return errno == 0;
}

static bool read_int(const char *s, int64_t *v)
{
	bool minus = *s == '-';
	s += minus;
	if (!take_digits(&s, v) || *s)
		return false;
	if (minus)
		*v = -*v;
	return true;
}

static const struct unit *take_unit(const char **p, const struct unit *units, size_t n)
{
	size_t len = strspn(*p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
	for (size_t i = 0; i < n; i++) {
		if (strlen(units[i].name) == len && strncasecmp(*p, units[i].name, len) == 0) {
			*p += len;
			return &units[i];
		}
	}
	return NULL;
}

static bool read_bytes(const char *s, int64_t *v)
{
	if (!take_digits(&s, v))
		return false;
	if (!*s)
		return true;
	const struct unit *u = take_unit(&s, size_units, ARRAY_LEN(size_units));
	return u && !*s && !__builtin_mul_overflow(*v, u->n, v);
}

/* 5m3s, 300ms; a number alone is seconds. */
static bool read_msec(const char *s, int64_t *v)
{
	int64_t part;
	*v = 0;
	if (!take_digits(&s, &part))
		return false;
	if (!*s)
		return !__builtin_mul_overflow(part, (int64_t)1000, v);
	for (;;) {
		const struct unit *u = take_unit(&s, time_units, ARRAY_LEN(time_units));
		if (!u || __builtin_mul_overflow(part, u->n, &part) ||
		    __builtin_add_overflow(*v, part, v))
			return false;
		if (!*s)
			return true;
		if (!take_digits(&s, &part))
			return false;
	}
}

static bool read_number(uint32_t type, const char *s, int64_t *v)
{
	return type == META1_INT     ? read_int(s, v)
	       : type == META1_BYTES ? read_bytes(s, v)
				     : read_msec(s, v);
}

static const char *const number_words[] = {
    [META1_INT] = "a number",
    [META1_BYTES] = "a size such as 500, 64KB, 10MB or 1GB",
    [META1_MSEC] = "a time such as 30, 300ms, 5m3s, 4h, 5d or 1w",
};

static int parse_number(
    const struct meta1_opt *rec, const char *text, int64_t *field, struct meta1_err *err)
{
	int64_t v, low, high;
	if (rec->type == META1_INT && rec->flags & META1_O_GROUP) {
		const struct group *g = getgrnam(text);
		if (g) {
			*field = (int64_t)g->gr_gid;
			return 0;
		}
	}
	if (!read_number(rec->type, text, &v))
		return err_set(err, "found %.60s, expected %s%s", text, number_words[rec->type],
		    rec->flags & META1_O_GROUP ? " or the name of a group" : "");
	const char *dots = rec->range ? strstr(rec->range, "..") : NULL;
	if (dots) {
		char from[32];
		snprintf(from, sizeof(from), "%.*s", (int)(dots - rec->range), rec->range);
		if (!read_number(rec->type, from, &low) || !read_number(rec->type, dots + 2, &high))
			return err_set(err, "the record's range %s is no range", rec->range);
		if (v < low || v > high)
			return err_set(err, "found %.60s, expected %s to %s", text, from, dots + 2);
	}
	*field = v;
	return 0;
}

static int parse_bool(const char *text, int32_t *field, struct meta1_err *err)
{
	static const char *const words[] = {"no", "yes", "false", "true", "off", "on"};
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (strcasecmp(text, words[i]) == 0) {
			*field = i & 1;
			return 0;
		}
	}
	return err_set(err, "found %.60s, expected yes or no (true, false, on, off)", text);
}

/* ---- words of a range "a|b|c" ---- */

enum { MAX_WORDS = 64 };

static int word_index(const char *range, const char *text, size_t len)
{
	int i = 0;
	for (const char *p = range; p && *p; i++) {
		size_t n = strcspn(p, "|");
		if (n == len && strncasecmp(p, text, n) == 0)
			return i;
		p += n + (p[n] == '|');
	}
	return -1;
}

static void word_at(const char *range, unsigned index, char *out, size_t size)
{
	const char *p = range;
	for (; index && *p; index--) {
		p += strcspn(p, "|");
		p += *p == '|';
	}
	snprintf(out, size, "%.*s", (int)strcspn(p, "|"), p);
}

static int no_word(const char *range, const char *text, struct meta1_err *err)
{
	char copy[2048], *save = NULL;
	const char *words[MAX_WORDS];
	size_t n = 0;
	str_copy(copy, sizeof(copy), range);
	for (char *w = strtok_r(copy, "|", &save); w && n < MAX_WORDS;
	     w = strtok_r(NULL, "|", &save))
		words[n++] = w;
	const char *near = conf_nearest(text, words, n);
	char list[256];
	str_copy(list, sizeof(list), range);
	for (char *p = list; *p; p++)
		if (*p == '|')
			*p = ' ';
	return err_set(err, "found %.60s, expected %s%s%s%s%s", text, n > 1 ? "one of: " : "", list,
	    near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

static int parse_enum(
    const struct meta1_opt *rec, const char *text, int32_t *field, struct meta1_err *err)
{
	int i = word_index(rec->range, text, strlen(text));
	if (i < 0)
		return no_word(rec->range, text, err);
	*field = i;
	return 0;
}

/* The bit of a flag or its negation; -1. */
static int flag_bit(const char *range, const char *text, bool *clear)
{
	static const char *const prefix[] = {"", "dont_", "no_"};
	for (size_t i = 0; i < ARRAY_LEN(prefix); i++) {
		size_t n = strlen(prefix[i]);
		if (strncasecmp(text, prefix[i], n) != 0)
			continue;
		int bit = word_index(range, text + n, strlen(text + n));
		*clear = i > 0;
		if (bit >= 0)
			return bit;
	}
	return -1;
}

uint64_t opt_flag(const struct meta1_opt *rec, const char *text)
{
	bool clear;
	int bit = flag_bit(rec->range, text, &clear);
	return bit < 0 ? 0 : UINT64_C(1) << bit;
}

static int parse_flags(const struct meta1_opt *rec, const char *const *values, size_t n,
    uint64_t *field, struct meta1_err *err)
{
	uint64_t set = 0, told = 0;
	for (const char *p = rec->def ? rec->def : ""; *p;) {
		size_t len = strcspn(p, "|, ");
		int bit = len ? word_index(rec->range, p, len) : -1;
		if (len && bit < 0)
			return err_set(
			    err, "the record's default %s is not in its range", rec->def);
		if (len)
			set |= UINT64_C(1) << bit;
		p += len + (p[len] != 0);
	}
	for (size_t i = 0; i < n; i++) {
		bool clear = false;
		int bit = flag_bit(rec->range, values[i], &clear);
		if (bit < 0)
			return no_word(rec->range, values[i], err);
		if (told & UINT64_C(1) << bit)
			return err_set(err, "flag %.60s is said twice", values[i]);
		told |= UINT64_C(1) << bit;
		set = clear ? set & ~(UINT64_C(1) << bit) : set | UINT64_C(1) << bit;
	}
	*field = set;
	return 0;
}

/* ---- all types ---- */

int opt_parse(const struct meta1_opt *rec, const char *const *values, size_t n, void *field,
    struct meta1_err *err)
{
	if (rec->type == META1_LIST) {
		*(const char *const **)field = values;
		return 0;
	}
	if (rec->type == META1_FLAGS)
		return parse_flags(rec, values, n, field, err);
	if (n != 1)
		return err_set(err, "found %zu values, expected one", n);
	switch (rec->type) {
	case META1_BOOL:
		return parse_bool(values[0], field, err);
	case META1_INT:
	case META1_BYTES:
	case META1_MSEC:
		return parse_number(rec, values[0], field, err);
	case META1_ENUM:
		return parse_enum(rec, values[0], field, err);
	case META1_PATH:
		if (!*values[0])
			return err_set(err, "found an empty text, expected the name of a file");
		/* fall through */
	case META1_STR:
		*(const char **)field = values[0];
		return 0;
	default:
		return err_set(err, "the record has an unknown type %u", rec->type);
	}
}

/* The list of a default "a, b", made once for each text. */
static const char *const *default_list(const char *def)
{
	static struct kept {
		struct kept *next;
		char *def, *words;
		const char **list;
	} * all;
	for (struct kept *k = all; k; k = k->next)
		if (strcmp(k->def, def) == 0)
			return k->list;
	struct kept *k = base_alloc(sizeof(*k));
	k->def = base_strdup(def);
	k->words = base_strdup(def);
	k->list = base_alloc((strlen(def) + 2) * sizeof(*k->list));
	size_t n = 0;
	char *save = NULL;
	for (char *w = strtok_r(k->words, ", ", &save); w; w = strtok_r(NULL, ", ", &save))
		k->list[n++] = w;
	k->next = all;
	all = k;
	return k->list;
}

static const size_t field_size[] = {
    [META1_BOOL] = 4,
    [META1_INT] = 8,
    [META1_BYTES] = 8,
    [META1_MSEC] = 8,
    [META1_ENUM] = 4,
    [META1_FLAGS] = 8,
    [META1_STR] = sizeof(char *),
    [META1_PATH] = sizeof(char *),
    [META1_LIST] = sizeof(char **),
};

static int set_default(const struct meta1_opt *rec, void *field, struct meta1_err *err)
{
	if (rec->type >= ARRAY_LEN(field_size))
		return err_set(err, "option %s: unknown type %u", rec->name, rec->type);
	memset(field, 0, field_size[rec->type]);
	if (!rec->def)
		return 0;
	if (rec->type == META1_LIST) {
		*(const char *const **)field = default_list(rec->def);
		return 0;
	}
	struct meta1_err why = {""};
	if (opt_parse(rec, &rec->def, rec->type != META1_FLAGS, field, &why) < 0)
		return err_set(err, "option %s: its default: %.300s", rec->name, why.text);
	return 0;
}

int opt_defaults(const struct meta1_opt *opt, size_t n, void *base, struct meta1_err *err)
{
	int rc = 0;
	for (size_t i = 0; i < n; i++)
		if (set_default(&opt[i], (char *)base + opt[i].off, err) < 0)
			rc = -1;
	return rc;
}

static unsigned words_in(const char *range)
{
	unsigned n = 1;

	for (; *range; range++)
		n += *range == '|';
	return n;
}

int opt_selfcheck(
    const struct meta1_opt *opt, size_t n, size_t sizeof_opt, size_t size, struct meta1_err *err)
{
	if (n && sizeof_opt < sizeof(*opt))
		return err_set(
		    err, "option records of %zu bytes, expected %zu", sizeof_opt, sizeof(*opt));
	for (size_t i = 0; i < n; i++) {
		const struct meta1_opt *rec = (const void *)((const char *)opt + i * sizeof_opt);
		if (!rec->name || !*rec->name)
			return err_set(err, "option record %zu has no name", i);
		if (!rec->doc || !*rec->doc)
			return err_set(err, "option %s has no doc", rec->name);
		if (rec->type >= ARRAY_LEN(field_size))
			return err_set(err, "option %s: unknown type %u", rec->name, rec->type);
		if ((rec->type == META1_ENUM || rec->type == META1_FLAGS) &&
		    (!rec->range || !*rec->range))
			return err_set(err, "option %s has no words in its range", rec->name);
		if (rec->type == META1_FLAGS && words_in(rec->range) > 64)
			return err_set(err,
			    "option %s has %u words in its range, expected at most 64", rec->name,
			    words_in(rec->range));
		if (rec->off > size || field_size[rec->type] > size - rec->off)
			return err_set(err, "option %s lies outside of its struct (%u of %zu)",
			    rec->name, rec->off, size);
		if (rec->flags & META1_O_REQUIRED && rec->def)
			return err_set(err, "option %s is required and has a default", rec->name);
		union {
			int64_t i;
			void *p;
		} field;
		if (set_default(rec, &field, err) < 0)
			return -1;
	}
	return 0;
}

/* ---- writing ---- */

static void write_msec(FILE *out, int64_t v)
{
	if (v <= 0)
		fputs("0s", out);
	for (size_t i = 0; i < ARRAY_LEN(time_units) && v > 0; i++) {
		if (v >= time_units[i].n)
			fprintf(out, "%" PRId64 "%s", v / time_units[i].n, time_units[i].name);
		v %= time_units[i].n;
	}
}

static void write_bytes(FILE *out, int64_t v)
{
	for (size_t i = 0; i < ARRAY_LEN(size_units); i++) {
		if (v && v % size_units[i].n == 0) {
			fprintf(out, "%" PRId64 "%s", v / size_units[i].n,
			    size_units[i].n == 1 ? "" : size_units[i].name);
			return;
		}
	}
	fputc('0', out);
}

/* All that are set, and the negation of each default that is not. */
static void write_flags(FILE *out, const struct meta1_opt *rec, uint64_t set)
{
	uint64_t def = 0;
	struct meta1_err err;
	char word[64];
	const char *sep = " ";
	parse_flags(rec, NULL, 0, &def, &err);
	fputc('{', out);
	for (unsigned bit = 0; bit < MAX_WORDS; bit++) {
		bool on = set >> bit & 1;
		if (!on && !(def >> bit & 1))
			continue;
		word_at(rec->range, bit, word, sizeof(word));
		fprintf(out, "%s%s%s", sep, on ? "" : "dont_", word);
		sep = ", ";
	}
	fputs(" }", out);
}

static void write_list(FILE *out, const char *const *list)
{
	fputc('{', out);
	for (const char *const *p = list; p && *p; p++) {
		fputs(p == list ? " " : ", ", out);
		conf_quote(*p, out);
	}
	fputs(" }", out);
}

void opt_write(const struct meta1_opt *rec, const void *field, void *stdio_file)
{
	FILE *out = stdio_file;
	char word[64];
	if (rec->flags & META1_O_SECRET) {
		conf_quote("***", out);
		return;
	}
	switch (rec->type) {
	case META1_BOOL:
		fputs(*(const int32_t *)field ? "yes" : "no", out);
		break;
	case META1_INT:
		fprintf(out, "%" PRId64, *(const int64_t *)field);
		break;
	case META1_BYTES:
		write_bytes(out, *(const int64_t *)field);
		break;
	case META1_MSEC:
		write_msec(out, *(const int64_t *)field);
		break;
	case META1_ENUM:
		word_at(rec->range, (unsigned)*(const int32_t *)field, word, sizeof(word));
		fputs(word, out);
		break;
	case META1_FLAGS:
		write_flags(out, rec, *(const uint64_t *)field);
		break;
	case META1_LIST:
		write_list(out, *(const char *const *const *)field);
		break;
	default:
		conf_quote(*(const char *const *)field ? *(const char *const *)field : "", out);
	}
}

void opt_print(const struct meta1_opt *rec, const void *field, char *out, size_t size)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	if (f) {
		opt_write(rec, field, f);
		fclose(f);
	}
	str_copy(out, size, text ? text : "");
	free(text);
}
