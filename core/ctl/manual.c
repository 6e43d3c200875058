/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * manual.c -- prints the OPTIONS part of meta1.conf(5) from the records, or a part of meta1-maps(5)
 * and meta1-filters(5) from those of the modules that are named.
 *
 * Comes from settings_groups() and the modules' descriptors; goes through doc/man.am between the
 * written head and tail of the manual page. Built and run by make only, not installed.
 */
#include "lib/settings.h"
#include "mod/mod.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

/* Text of a page: no line may begin with a dot or quote, a backslash is \e, a dash is a dash. */
static void text(const char *s)
{
	if (*s == '.' || *s == '\'')
		fputs("\\&", stdout);
	for (; *s; s++) {
		if (*s == '\\')
			fputs("\\e", stdout);
		else if (*s == '-')
			fputs("\\-", stdout);
		else
			putchar(*s);
	}
}

/* a|b|c as a, b or c */
static void words(const char *range)
{
	for (const char *p = range; *p; p++) {
		if (*p != '|')
			printf("%c", *p);
		else
			fputs(strchr(p + 1, '|') ? ", " : " or ", stdout);
	}
}

static void kind(const struct meta1_opt *o)
{
	static const char *const name[] = {
	    [META1_BOOL] = "yes or no",
	    [META1_INT] = "number",
	    [META1_BYTES] = "size",
	    [META1_MSEC] = "time",
	    [META1_STR] = "text",
	    [META1_PATH] = "file",
	    [META1_LIST] = "list",
	};
	const char *dots = o->range ? strstr(o->range, "..") : NULL;
	if (o->type == META1_ENUM) {
		words(o->range);
	} else if (o->type == META1_FLAGS) {
		fputs("flags: ", stdout);
		words(o->range);
	} else if (o->flags & META1_O_USER) {
		fputs(o->type == META1_LIST ? "accounts" : "account", stdout);
	} else if (o->flags & META1_O_GROUP) {
		fputs("group", stdout);
	} else {
		fputs(name[o->type], stdout);
	}
	if (dots && !(o->flags & META1_O_GROUP)) {
		printf(" from %.*s to ", (int)(dots - o->range), o->range);
		text(dots + 2);
	}
}

static void option(const struct meta1_opt *o)
{
	printf(".TP\n.B ");
	text(o->name);
	printf("\n(");
	kind(o);
	if (o->flags & META1_O_REQUIRED)
		fputs("; required", stdout);
	else if (o->def && *o->def) {
		fputs("; default ", stdout);
		text(o->def);
	}
	fputs(")\n", stdout);
	text(o->doc);
	if (o->type == META1_PATH)
		fputs(o->flags & META1_O_QDIR
			  ? "\nA relative name is below queue_directory."
			  : "\nA relative name is below the configuration's folder.",
		    stdout);
	if (o->flags & META1_O_RESTART)
		fputs("\nA change needs a restart.", stdout);
	putchar('\n');
}

static void group(const struct settings_group *g)
{
	char path[128], *save = NULL;
	printf(".SS \"");
	str_copy(path, sizeof(path), g->path);
	if (!*path)
		fputs("Global", stdout);
	for (char *p = strtok_r(path, ".", &save); p; p = strtok_r(NULL, ".", &save))
		printf("%s%s", p == path ? "" : " { ", strcmp(p, "ROLE") == 0 ? "Every role" : p);
	for (const char *p = strchr(g->path, '.'); p; p = strchr(p + 1, '.'))
		fputs(" }", stdout);
	fputs("\"\n", stdout);
	text(g->doc);
	putchar('\n');
	for (size_t i = 0; i < g->n; i++)
		option(&g->opt[i]);
}

/* map_text: type = text; pmilter_headers: module = headers */
static int module(struct mod_host *host, const char *file)
{
	char path[PATH_MAX];
	struct meta1_err err = {"no such file"};
	struct mod *mod = realpath(file, path) ? mod_load_file(host, path, &err) : NULL;
	const struct meta1_module *m = mod ? mod_descriptor(mod) : NULL;

	if (!m) {
		fprintf(stderr, "%s: %s\n", file, err.text);
		return -1;
	}
	printf(".SS \"%s = %s\"\n", m->kind == META1_MAP ? "type" : "module",
	    strchr(m->name, '_') + 1);
	text(m->summary);
	putchar('\n');
	for (uint32_t i = 0; i < m->nopt; i++)
		option(&m->opt[i]);
	return 0;
}

static int modules(char **file)
{
	struct mod_host host = {
	    .role = META1_TOOL | META1_SMTPS, .hostname = "localhost", .qdir = "/"};
	int rc = 0;

	host.loop = loop_new();
	puts(".SH OPTIONS");
	for (; *file && rc == 0; file++)
		rc = module(&host, *file);
	mod_unload_all(&host);
	loop_free(&host.loop);
	return rc < 0 || fflush(stdout) != 0;
}

int main(int argc, char **argv)
{
	size_t n;
	const struct settings_group *g = settings_groups(&n);

	if (argc > 1)
		return modules(argv + 1);
	puts(".SH OPTIONS");
	for (size_t i = 0; i < n; i++)
		group(&g[i]);
	return fflush(stdout) != 0;
}
