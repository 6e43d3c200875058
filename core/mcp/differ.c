/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * differ.c -- what of two configurations differs that a running role does not take by a reload:
 * some of it it learns at its start only, some is mcp's own for its whole life.
 *
 * Comes from: plan.c with the old and the new settings; mcp -T reload, which shows both lists.
 * Goes to the records: options are marked META1_O_RESTART there; which of these are mcp's, or
 * concern other roles than their own, is in the tables here. Owns nothing, never fails.
 */
#include "mcp.h"

#include <stdlib.h>

/* mcp's lock and all mail are in the one, the sockets of all roles in the other. */
static const char *const of_mcp[] = {"queue_directory", "run_directory"};

static bool is_of_mcp(const char *path, const struct meta1_opt *o)
{
	for (size_t i = 0; i < ARRAY_LEN(of_mcp); i++)
		if (!*path && strcmp(of_mcp[i], o->name) == 0)
			return true;
	return false;
}

/* It says who of those that are there begins to run or ends; none restarts. */
static bool is_number(const struct meta1_opt *o)
{
	return strcmp(o->name, "processes") == 0;
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

/* The struct of settings that a section of that path fills, for a role; NULL: none of that role.
 * A role's struct begins with its set_role; below its section only those are looked at that fill
 * the same struct. */
static const void *filled(const struct settings *s, const struct set_role *role,
    const struct settings_group *g, size_t size)
{
	const char *keyword = role->keyword;
	size_t len = strlen(keyword);

	if (!*g->path)
		return s;
	if (strcmp(g->path, "ROLE") == 0)
		return role;
	if (strncmp(g->path, keyword, len) != 0 || (g->path[len] && g->path[len] != '.'))
		return NULL;
	return g->size == size ? role : NULL;
}

typedef bool (*found_fn)(const char *path, const struct meta1_opt *);

static bool at_start(const char *path, const struct meta1_opt *o)
{
	return o->flags & META1_O_RESTART && !is_of_mcp(path, o);
}

/* The first option of that kind that differs, or NULL. */
static const struct meta1_opt *first(const struct settings *old, const struct settings *new,
    const struct set_role *was, const struct set_role *is, found_fn wanted)
{
	size_t n, size = 0;
	const struct settings_group *g = settings_groups(&n);

	for (size_t k = 0; k < n; k++) {
		if (strcmp(g[k].path, was->keyword) == 0)
			size = g[k].size;
		for (size_t o = 0; o < g[k].n; o++) {
			const struct meta1_opt *opt = &g[k].opt[o];
			const void *a = filled(old, was, &g[k], size);
			const void *b = filled(new, is, &g[k], size);

			if (a && b && wanted(g[k].path, opt) && changed(opt, a, b))
				return opt;
		}
	}
	return NULL;
}

bool mcp_differ_fixed(
    const struct settings *old, const struct settings *new, char *why, size_t size)
{
	const struct meta1_opt *o = old->nrole && new->nrole
					? first(old, new, old->role[0], new->role[0], is_of_mcp)
					: NULL;

	if (o)
		snprintf(why, size,
		    "%s: %.200s is in use and cannot become %.200s while mcp runs: it "
		    "is full of mail or sockets; stop meta1, move it, and start meta1",
		    o->name, *(const char *const *)((const char *)old + o->off),
		    *(const char *const *)((const char *)new + o->off));
	return o != NULL;
}

/* Whose group may read mail: of CDB_gid, else that of smtpc (dirs.c). */
static bool readers_differ(const struct settings *old, const struct settings *new)
{
	const struct set_role *a = &old->smtpc.role, *b = &new->smtpc.role;
	int64_t was = old->nsmtps ? old->smtps[0].CDB_gid : 0;
	int64_t is = new->nsmtps ? new->smtps[0].CDB_gid : 0;

	if (was != is || was > 0)
		return was != is;
	return strcmp(a->user ? a->user : "", b->user ? b->user : "") != 0 ||
	       strcmp(a->group ? a->group : "", b->group ? b->group : "") != 0;
}

const char *mcp_differ_restart(const struct settings *old, const struct settings *new,
    const struct set_role *was, const struct set_role *is)
{
	const struct meta1_opt *o = first(old, new, was, is, at_start);

	if (o)
		return o->name;
	if (strcmp(is->keyword, "smar") != 0 && readers_differ(old, new))
		return new->nsmtps &&new->smtps[0].CDB_gid > 0 ? "CDB_gid of smtps"
							       : "group of smtpc";
	return NULL;
}

/* Who starts anew when it changes; NULL: nobody. */
static const char *who(const char *path, const struct meta1_opt *o)
{
	if (is_of_mcp(path, o))
		return "nobody: it is refused";
	if (strcmp(o->name, "CDB_gid") == 0)
		return "smtps, qmgr and smtpc";
	if (is_number(o))
		return "nobody: some start or end";
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
