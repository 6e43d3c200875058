/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * manual.c -- prints the OPTIONS part of meta1.conf(5) from the records, or a part of meta1-maps(5)
 * and meta1-filters(5) from those of the modules that are named.
 *
 * Comes from settings_groups() and the modules' descriptors; goes through doc/man.am between the
 * written head and tail of the manual page. Built and run by make only, not installed.
 */
#include "lib/opt_manual.h"
#include "lib/settings.h"
#include "mod/mod.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

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
	opt_manual_text(g->doc, stdout);
	putchar('\n');
	for (size_t i = 0; i < g->n; i++)
		opt_manual(&g->opt[i], stdout);
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
	opt_manual_text(m->summary, stdout);
	putchar('\n');
	for (uint32_t i = 0; i < m->nopt; i++)
		opt_manual(&m->opt[i], stdout);
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
