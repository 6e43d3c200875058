/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * row.c -- a row of a map that holds options: "max_message_size = 1MB; bare_newline = repair;".
 *
 * Comes from smtps/conf.c and hop_conf.c, which say what may stand there and take the values; the
 * types, ranges and messages are those of the section's own records. Owns nothing.
 * On failure: one line that names the option, what was found and the nearest known name.
 */
#include "row.h"

#include "settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define VALUES 16

static const char *name_of(const struct row_kind *k, size_t i)
{
	return *(const char *const *)(const void *)((const char *)k->items + i * k->size);
}

static const struct meta1_opt *record(const struct row_kind *k, const char *name)
{
	size_t n;
	const struct settings_group *g = settings_groups(&n);

	for (size_t i = 0; i < n; i++)
		for (size_t r = 0; strcmp(g[i].path, k->section) == 0 && r < g[i].n; r++)
			if (strcasecmp(g[i].opt[r].name, name) == 0)
				return &g[i].opt[r];
	return NULL;
}

static int unknown(const struct row_kind *k, const char *name, struct meta1_err *err)
{
	const char **names = base_alloc(k->n * sizeof(*names)), *near;

	for (size_t i = 0; i < k->n; i++)
		names[i] = name_of(k, i);
	near = conf_nearest(name, names, k->n);
	free(names);
	if (record(k, name))
		return err_set(err, "%s: cannot be set %s", name, k->whom);
	return err_set(err, "%s: there is no such option%s%s", name, near ? ", did you mean " : "",
	    near ? near : "");
}

static int one(const struct row_kind *k, const struct conf_option *o, row_take_fn take, void *arg,
    struct meta1_err *err)
{
	const char *values[VALUES + 1] = {NULL};
	struct meta1_err why = {""};
	size_t n = 0, i = 0;

	while (i < k->n && strcasecmp(name_of(k, i), o->name) != 0)
		i++;
	if (i == k->n)
		return unknown(k, o->name, err);
	for (const struct conf_value *v = o->values; v != NULL; v = v->next) {
		if (n == VALUES)
			return err_set(err, "%s: more than %d values", o->name, VALUES);
		values[n++] = v->text;
	}
	if (take(arg, i, record(k, o->name), values, n, &why) < 0)
		return err_set(err, "%s: %s", o->name, why.text);
	return 0;
}

/* The first message, without the name of the file that a row has not. */
static int syntax(struct conf *c, struct meta1_err *err)
{
	char *text = NULL, *p;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	if (f == NULL)
		return err_set(err, "the row does not parse");
	conf_report(c, f);
	fclose(f);
	p = strchr(text, '\n');
	if (p != NULL)
		*p = '\0';
	err_set(err, "%s", text);
	free(text);
	return -1;
}

int row_read(
    const struct row_kind *k, const char *text, row_take_fn take, void *arg, struct meta1_err *err)
{
	struct conf *c = conf_read_row("row", text);
	int rc = 0;

	if (conf_errors(c) > 0)
		rc = syntax(c, err);
	else if (conf_root(c)->sections != NULL)
		rc = err_set(err, "%s: a section cannot be set %s", conf_root(c)->sections->keyword,
		    k->whom);
	for (const struct conf_option *o = conf_root(c)->options; o != NULL && rc == 0; o = o->next)
		rc = one(k, o, take, arg, err);
	conf_free(&c);
	for (char *p = err->text; rc < 0 && *p;
	     p++) /* whoever wrote the map is not who reads this */
		if ((unsigned char)*p < 32 || *p == 127)
			*p = '?';
	return rc;
}
