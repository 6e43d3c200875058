/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * differ.c -- what of two configurations differs that a reload alone does not bring to those whom
 * it is for: some of it a role learns at its start only, some is mcp's own for its whole life.
 *
 * Comes from: reload.c with the old and the new settings; mcp -T reload, which shows both lists.
 * Goes to the records: an option of the first kind is marked META1_O_RESTART there; those of mcp
 * are in the table here. Owns nothing, never fails.
 */
#include "mcp.h"

#include <stdlib.h>

/* Folders and locks are made for these, processes started, tables sized. */
static const struct {
	const char *path, *option;
} of_mcp[] = {
    {"", "queue_directory"},
    {"", "run_directory"},
    {"ROLE", "user"},
    {"ROLE", "group"},
    {"ROLE", "processes"},
    {"smtps", "CDB_gid"},
};

static bool is_of_mcp(const char *path, const struct meta1_opt *o)
{
	for (size_t i = 0; i < ARRAY_LEN(of_mcp); i++)
		if (strcmp(of_mcp[i].path, path) == 0 && strcmp(of_mcp[i].option, o->name) == 0)
			return true;
	return false;
}

static bool changed(const struct meta1_opt *o, const void *old, const void *new)
{
	const void *a = (const char *)old + o->off, *b = (const char *)new + o->off;
	char *x = NULL, *y = NULL;
	size_t n;
	bool is;
	FILE *f;

	if (o->type == META1_STR || o->type == META1_PATH) {
		const char *s = *(const char *const *)a, *t = *(const char *const *)b;

		return strcmp(s ? s : "", t ? t : "") != 0;
	}
	if ((f = open_memstream(&x, &n))) {
		opt_write(o, a, f);
		fclose(f);
	}
	if ((f = open_memstream(&y, &n))) {
		opt_write(o, b, f);
		fclose(f);
	}
	is = !x || !y || strcmp(x, y) != 0;
	free(x);
	free(y);
	return is;
}

/* The struct of settings that a section of that path fills, for role i; NULL: none of that role.
 * A role's struct begins with its set_role; below its section only those are looked at that fill
 * the same struct. */
static const void *filled(
    const struct settings *s, unsigned i, const struct settings_group *g, size_t size)
{
	const char *keyword = s->role[i]->keyword;
	size_t len = strlen(keyword);

	if (!*g->path)
		return s;
	if (strcmp(g->path, "ROLE") == 0)
		return s->role[i];
	if (strncmp(g->path, keyword, len) != 0 || (g->path[len] && g->path[len] != '.'))
		return NULL;
	return g->size == size ? s->role[i] : NULL;
}

/* The first option that differs, of mcp or not. */
static const char *first(
    const struct settings *old, const struct settings *new, unsigned i, bool mcp)
{
	size_t n, size = 0;
	const struct settings_group *g = settings_groups(&n);

	for (size_t k = 0; k < n; k++) {
		if (strcmp(g[k].path, old->role[i]->keyword) == 0)
			size = g[k].size;
		for (size_t o = 0; o < g[k].n; o++) {
			const struct meta1_opt *opt = &g[k].opt[o];
			const void *a = filled(old, i, &g[k], size);
			const void *b = filled(new, i, &g[k], size);

			if (!a || !b || is_of_mcp(g[k].path, opt) != mcp ||
			    (!mcp && !(opt->flags & META1_O_RESTART)))
				continue;
			if (changed(opt, a, b))
				return opt->name;
		}
	}
	return NULL;
}

const char *mcp_differ_fixed(const struct settings *old, const struct settings *new)
{
	const char *found = NULL;

	if (old->nrole != new->nrole)
		return "a new or removed section";
	for (unsigned i = 0; i < old->nrole; i++) {
		const char *a = old->role[i]->name, *b = new->role[i]->name;

		if (strcmp(old->role[i]->keyword, new->role[i]->keyword) != 0 ||
		    strcmp(a ? a : "", b ? b : "") != 0)
			return "the order or names of sections";
	}
	for (unsigned i = 0; i < old->nrole && !found; i++)
		found = first(old, new, i, true);
	return found;
}

const char *mcp_differ_restart(const struct settings *old, const struct settings *new, unsigned i)
{
	return first(old, new, i, false);
}

/* Who starts anew when it changes; NULL: nobody. */
static const char *who(const char *path, const struct meta1_opt *o)
{
	if (is_of_mcp(path, o))
		return "mcp";
	if (!(o->flags & META1_O_RESTART))
		return NULL;
	return !*path ? "all roles" : strncmp(path, "ROLE", 4) == 0 ? "the role" : path;
}

void mcp_differ_print(void)
{
	size_t n;
	const struct settings_group *g = settings_groups(&n);

	printf("%-20s %-20s %s\n", "section", "option", "a change restarts");
	for (size_t k = 0; k < n; k++)
		for (size_t o = 0; o < g[k].n; o++) {
			const char *w = who(g[k].path, &g[k].opt[o]);

			if (w)
				printf("%-20s %-20s %.*s\n", *g[k].path ? g[k].path : "-",
				    g[k].opt[o].name, (int)strcspn(w, "."), w);
		}
}
