/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * macro.c -- ${user} and its like in the value of a row, when the section that uses the map has
 * the flag replace_macros.
 * From seek.c, before the asker reads the value; no I/O. The result is the caller's.
 *
 * A macro stands for text that a stranger wrote. It is data: macros in it are not looked for, and
 * only letters, digits, bytes of UTF-8 and . - _ + = ~ ' & may come from an address, so that it
 * cannot end a word, quote, begin an option, a list, a path or another target in whatever syntax
 * the value is read by afterwards. What has other characters is not cut or quoted but refused for
 * good: nobody can make of it what the admin did not mean.
 * On failure: TEMPFAIL: the row is wrong (a name that is none, no end), the admin mends it;
 * PERMFAIL: this address cannot be put in.
 */
#include "smar/smar.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

struct text {
	char *s;
	size_t n, size;
};

/* false: over the bound. */
static bool add(struct text *t, const char *s, size_t n)
{
	if (n > SMAR_VALUE_MAX - t->n)
		return false;
	if (t->n + n > t->size) {
		t->size = 2 * (t->n + n);
		t->s = base_realloc(t->s, t->size);
	}
	if (n)
		memcpy(t->s + t->n, s, n);
	t->n += n;
	return true;
}

static bool harmless(const char *s, size_t n, const char *more)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c < 128 && !isalnum(c) && !strchr(".-_+=~'&", c) && !strchr(more, c))
			return false;
		if (c == '\0' || (c == '.' && i > 0 && s[i - 1] == '.'))
			return false;
	}
	return true;
}

/* The part of the domain that a row ".parent" does not name. */
static size_t above(const struct smar_keys *k, const char *key)
{
	const char *dot = k->domain;

	if (!k->domained || k->sub == 0 || key[strlen(k->tag)] != '.')
		return 0;
	for (unsigned i = 0; dot && i < k->skip + k->sub; i++)
		dot = strchr(dot + (i > 0), '.');
	return dot ? (size_t)(dot - k->domain) : 0;
}

static size_t part_user(const struct smar_keys *k, const char **s)
{
	*s = k->local;
	return k->path ? k->user : 0;
}

static size_t part_delimiter(const struct smar_keys *k, const char **s)
{
	*s = k->local + k->user;
	return k->path && **s ? 1 : 0;
}

static size_t part_extension(const struct smar_keys *k, const char **s)
{
	*s = k->local + k->user;
	return k->path ? strlen(*s) : 0;
}

static size_t part_detail(const struct smar_keys *k, const char **s)
{
	size_t n = part_extension(k, s);

	*s += n > 0;
	return n > 0 ? n - 1 : 0;
}

static size_t part_domain(const struct smar_keys *k, const char **s)
{
	*s = k->domain;
	return strlen(*s);
}

static size_t part_tag(const struct smar_keys *k, const char **s)
{
	size_t n = strlen(k->tag);

	*s = k->tag;
	return n > 0 ? n - 1 : 0; /* without its colon */
}

static const struct {
	const char *name;
	size_t (*part)(const struct smar_keys *, const char **s); /* NULL: made in replace() */
} macros[] = {
    {"0", NULL},
    {"subdomain", NULL},
    {"user", part_user},
    {"delimiter", part_delimiter},
    {"detail", part_detail},
    {"extension", part_extension},
    {"domain", part_domain},
    {"tag", part_tag},
};

static int find(const char *name, size_t n)
{
	for (size_t i = 0; i < ARRAY_LEN(macros); i++)
		if (strlen(macros[i].name) == n && memcmp(macros[i].name, name, n) == 0)
			return (int)i;
	return -1;
}

/* All that was asked about: an address, a client, a name. */
static size_t whole(const struct smar_keys *k, char out[SMAR_KEY_MAX])
{
	if (k->null)
		return 0;
	return (size_t)snprintf(
	    out, SMAR_KEY_MAX, "%s%s%s", k->local, k->path ? "@" : "", k->domain);
}

static enum meta1_status replace(struct text *t, const struct smar_keys *k, const char *key,
    const char *name, size_t n, struct meta1_err *err)
{
	char all[SMAR_KEY_MAX], more[12] = "";
	const char *s = k->domain;
	int i = find(name, n);

	if (i < 0) {
		err_set(err,
		    "the value has ${%.*s}: expected ${user}, ${detail}, ${delimiter}, "
		    "${extension}, ${domain}, ${subdomain}, ${tag} or ${0}",
		    n > 20 ? 20 : (int)n, name);
		return META1_TEMPFAIL;
	}
	if (macros[i].part) {
		n = macros[i].part(k, &s);
	} else if (name[0] == '0') {
		s = all;
		n = whole(k, all);
	} else {
		n = above(k, key);
	}
	/* The admin chose the delimiters; @ and : are put in by us, or are of a client's address.
	 */
	if (k->path)
		snprintf(more, sizeof(more), "%.1s%s", k->local + k->user, s == all ? "@" : "");
	else
		str_copy(more, sizeof(more), ":");
	if (harmless(s, n, more) &&
	    (s != all || !k->path || !memchr(k->local, '@', strlen(k->local))))
		return add(t, s, n) ? META1_OK : META1_TEMPFAIL;
	err_set(err, "${%s} would be \"%.*s\", which has characters that do not belong in a value",
	    macros[i].name, n > 80 ? 80 : (int)n, s);
	return META1_PERMFAIL;
}

bool smar_macro_any(struct meta1_buf value)
{
	return value.len > 2 && memmem(value.data, value.len, "${", 2) != NULL;
}

enum meta1_status smar_macro_replace(const struct smar_keys *k, const char *key,
    struct meta1_buf value, struct meta1_buf *out, struct meta1_err *err)
{
	const char *p = value.data, *end = p + value.len;
	enum meta1_status status = META1_OK;
	struct text t = {NULL, 0, 0};

	err_set(err, "the value has more than %d bytes with its macros", SMAR_VALUE_MAX);
	while (p < end && status == META1_OK) {
		const char *at = memmem(p, (size_t)(end - p), "${", 2), *close;

		if (!add(&t, p, (size_t)((at ? at : end) - p)))
			status = META1_TEMPFAIL;
		if (!at)
			break;
		close = memchr(at, '}', (size_t)(end - at));
		if (status == META1_OK && !close) {
			err_set(err, "the value has a ${ without its }");
			status = META1_TEMPFAIL;
		}
		if (status != META1_OK)
			break;
		status = replace(&t, k, key, at + 2, (size_t)(close - at - 2), err);
		p = close + 1;
	}
	if (status != META1_OK) {
		free(t.s);
		return status;
	}
	*out = buf_of(t.s ? t.s : base_strdup(""), t.n);
	return META1_OK;
}
