/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * snippet.c -- writes a file of conf.d as it is installed: what its author wrote, and in place of
 * each line "#: NAME…" all options of these sections or modules, from the records and descriptors
 * of this build, with default and meaning. So nothing in it is older than the program.
 *
 * Comes from conf.d/conf.am; goes to conf.d/NAME.conf.sample. Built and run by make only.
 * On failure: a section that does not exist stops the build; a module that was not built is said
 * to be none.
 */
#include "lib/settings.h"
#include "mod/mod.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WIDTH 108

/* Words in lines of a comment. */
static void paragraph(const char *text)
{
	size_t at = 0, n;

	for (const char *p = text; *p; p += n) {
		p += strspn(p, " \n");
		n = strcspn(p, " \n");
		if (n == 0)
			break;
		if (at == 0 || at + n + 1 > WIDTH)
			printf("%s#\t", at ? "\n" : ""), at = 8;
		else
			putchar(' '), at++;
		fwrite(p, 1, n, stdout);
		at += n;
	}
	if (at)
		putchar('\n');
}

static void option(const struct meta1_opt *o)
{
	bool text = o->type == META1_STR || o->type == META1_PATH;
	bool list = o->type == META1_LIST || o->type == META1_FLAGS;
	const char *def = o->def ? o->def : "";

	if (*def || o->type == META1_LIST)
		printf("# %s = %s%s%s;\n", o->name,
		    text   ? "\""
		    : list ? "{ "
			   : "",
		    def,
		    text   ? "\""
		    : list ? *def ? " }" : "}"
			   : "");
	else
		printf("# %s\n", o->name);
	paragraph(o->doc);
	if (o->flags & META1_O_REQUIRED)
		puts("#\tRequired.");
	if (o->range && *o->range && o->type != META1_BOOL && !(o->flags & META1_O_GROUP))
		printf("#\tOf: %s\n", o->range);
}

static int section(const char *path)
{
	size_t n;
	const struct settings_group *g = settings_groups(&n);

	for (size_t i = 0; i < n; i++) {
		if (strcmp(g[i].path, path) != 0)
			continue;
		printf("#\n# All options of the section %s, with their defaults:\n", path);
		for (size_t k = 0; k < g[i].n; k++)
			option(&g[i].opt[k]);
		return 0;
	}
	fprintf(stderr, "%s: there is no such section\n", path);
	return -1;
}

static int module(struct mod_host *host, const char *folder, const char *name)
{
	static const char *const folders[] = {"maps", "transports", "auth", "pmilter", "queue"};
	char path[PATH_MAX];
	struct meta1_err err = {""};
	const struct meta1_module *m = NULL;

	for (size_t i = 0; i < ARRAY_LEN(folders) && !m; i++) {
		struct mod *mod;

		if (snprintf(path, sizeof(path), "%s/%s/.libs/%s.so", folder, folders[i], name) >=
		    (int)sizeof(path))
			continue;
		if (access(path, R_OK))
			continue;
		mod = mod_load_file(host, path, &err);
		if (!mod)
			return fprintf(stderr, "%s\n", err.text), -1;
		m = mod_descriptor(mod);
	}
	if (!m) {
		printf("#\n# %s was not built: its options stand in its manual.\n", name);
		return 0;
	}
	printf("#\n# All options of %s, with their defaults. %s\n", m->name, m->summary);
	for (uint32_t i = 0; i < m->nopt; i++)
		option((const void *)((const char *)m->opt + (size_t)i * m->sizeof_opt));
	return 0;
}

static bool is_module(const char *name)
{
	static const char *const kinds[] = {"map_", "transport_", "auth_", "pmilter_", "queue_"};

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (strncmp(name, kinds[i], strlen(kinds[i])) == 0)
			return true;
	return false;
}

static int options(struct mod_host *host, const char *folder, char *names)
{
	char *save = NULL;
	int rc = 0;

	for (char *w = strtok_r(names, " \n", &save); w && rc == 0;
	     w = strtok_r(NULL, " \n", &save))
		rc = is_module(w) ? module(host, folder, w) : section(w);
	return rc;
}

int main(int argc, char **argv)
{
	struct mod_host host = {.role = UINT32_MAX, .hostname = "localhost", .qdir = "/"};
	FILE *in = argc == 3 ? fopen(argv[1], "re") : NULL;
	char folder[PATH_MAX], line[4096];
	int rc = 0;

	if (!in || !realpath(argv[2], folder)) {
		fprintf(stderr, "usage: snippet FILE MODULES\n");
		return 64;
	}
	host.loop = loop_new();
	while (rc == 0 && fgets(line, sizeof(line), in)) {
		if (strncmp(line, "#: ", 3) == 0)
			rc = options(&host, folder, line + 3);
		else
			fputs(line, stdout);
	}
	fclose(in);
	mod_unload_all(&host);
	loop_free(&host.loop);
	return rc < 0 || fflush(stdout) != 0;
}
