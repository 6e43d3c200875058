/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * module.c -- meta1ctl module list, info: what is installed, and what the configuration uses of it.
 *
 * Comes from meta1ctl.c; goes to core/mod for descriptors. They are read in a process without
 * rights: code of modules runs as soon as they are opened. On failure: one line on stderr.
 */
#include "ctl/tool.h"
#include "mod/mod.h"

#include <errno.h>
#include <glob.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 65534

static const char *const folders[] = {"maps", "transports", "auth", "pmilter", "queue"};
static const char *const kinds[] = {[META1_MAP] = "map",
    [META1_TRANSPORT] = "transport",
    [META1_AUTH] = "auth",
    [META1_PMILTER] = "pmilter",
    [META1_QUEUE] = "queue"};
static const struct {
	uint32_t bit;
	const char *name;
} roles[] = {{META1_SMTPS, "smtps"}, {META1_SMTPC, "smtpc"}, {META1_SMAR, "smar"},
    {META1_QMGR, "qmgr"}, {META1_TOOL, "tools"}};

static int fail(const char *what, const char *why)
{
	fprintf(stderr, "meta1ctl: %s: %s\n", what, why);
	return 1;
}

/* ---- list, info ---- */

static json_t *roles_of(uint32_t bits)
{
	json_t *a = json_array();

	for (size_t i = 0; i < ARRAY_LEN(roles); i++)
		if (bits & roles[i].bit)
			json_array_append_new(a, json_string(roles[i].name));
	return a;
}

/* Of all roles, where the configuration asks for it. */
static json_t *used_by(struct tool *t, const char *name)
{
	json_t *a = json_array();

	for (size_t r = 0; r < ARRAY_LEN(roles) - 1; r++) {
		struct settings_module *use = NULL;
		unsigned n = settings_modules(t->set, roles[r].bit, &use);

		for (unsigned i = 0; i < n; i++)
			if (!strcmp(use[i].module, name))
				json_array_append_new(
				    a, json_sprintf("%s (%s)", roles[r].name, use[i].use));
		free(use);
	}
	return a;
}

static json_t *apart; /* what workers.c tells, asked for before the rights are gone */

static json_t *describe(struct tool *t, const struct mod *mod, bool options)
{
	const struct meta1_module *m = mod_descriptor(mod);
	json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:o}", "name", m->name, "version",
	    m->version, "kind", kinds[m->kind], "summary", m->summary, "file", mod_file(mod),
	    "roles", roles_of(m->roles), "used_by", used_by(t, m->name));
	json_t *list = json_array();

	json_object_set_new(o, "isolated", tool_workers_of(apart, m->name));
	json_object_set_new(o, "abi", json_sprintf("%u.%u", m->abi_major, m->abi_minor));
	for (uint32_t i = 0; options && i < m->nopt; i++) {
		const struct meta1_opt *opt =
		    (const void *)((const char *)m->opt + (size_t)i * m->sizeof_opt);

		json_array_append_new(
		    list, json_pack("{s:s, s:s, s:s, s:b}", "name", opt->name, "default",
			      opt->def ? opt->def : "", "doc", opt->doc, "required",
			      (opt->flags & META1_O_REQUIRED) != 0));
	}
	if (options)
		json_object_set(o, "options", list);
	json_decref(list);
	return o;
}

static void print(const json_t *o)
{
	const json_t *v;
	size_t i;

	printf("%-22s %-8s ABI %-5s ", tool_text(o, "name"), tool_text(o, "version"),
	    tool_text(o, "abi"));
	json_array_foreach(json_object_get(o, "roles"), i, v)
	    printf("%s%s", i ? "," : "", json_string_value(v));
	json_array_foreach(json_object_get(o, "used_by"), i, v)
	    printf("%s%s", i ? "; " : "  used by ", json_string_value(v));
	putchar('\n');
	tool_workers_print(json_object_get(o, "isolated"));
	if (!json_object_get(o, "options"))
		return;
	printf("  %s\n  %s\n", tool_text(o, "summary"), tool_text(o, "file"));
	json_array_foreach(json_object_get(o, "options"), i, v)
	    printf("  %-20s %s%s%s%s\n", tool_text(v, "name"), tool_text(v, "doc"),
		json_is_true(json_object_get(v, "required")) ? " Required." : "",
		*tool_text(v, "default") ? " Default: " : "", tool_text(v, "default"));
}

static void show(struct tool *t, const json_t *o)
{
	if (t->json)
		tool_dump(o);
	else
		print(o);
}

/* name NULL: all of them. */
static int descriptors(struct tool *t, const char *name)
{
	struct mod_host host = {.role = UINT32_MAX, .hostname = "localhost", .qdir = "/"};
	unsigned found = 0;
	int bad = 0;

	host.loop = loop_new();
	for (size_t f = 0; f < ARRAY_LEN(folders); f++) {
		char pattern[PATH_MAX];
		glob_t g;

		snprintf(pattern, sizeof(pattern), "%s/%s/%s.so", t->set->module_directory,
		    folders[f], name ? name : "*");
		if (glob(pattern, 0, NULL, &g))
			continue;
		for (size_t i = 0; i < g.gl_pathc; i++) {
			struct meta1_err err;
			struct mod *mod = mod_load_file(&host, g.gl_pathv[i], &err);
			json_t *o = mod ? describe(t, mod, name != NULL) : NULL;

			found++;
			if (o)
				show(t, o);
			else
				bad |= tool_fail(&err);
			json_decref(o);
		}
		globfree(&g);
	}
	mod_unload_all(&host);
	loop_free(&host.loop);
	fflush(stdout);
	if (!found && name)
		return fail(name, "there is no such module");
	return bad;
}

static int unprivileged(struct tool *t, const char *name)
{
	int status = 0;
	pid_t pid;

	apart = tool_workers(t);
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		return fail("fork", strerror(errno));
	if (pid == 0) {
		if (geteuid() == 0 && (setgroups(0, NULL) || setgid(NOBODY) || setuid(NOBODY)))
			_exit(fail("setuid", strerror(errno)));
		_exit(descriptors(t, name));
	}
	json_decref(apart);
	if (waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
		return fail("a module", "it ends the process that reads its descriptor");
	return WEXITSTATUS(status);
}

int tool_module_list(struct tool *t)
{
	return unprivileged(t, NULL);
}

int tool_module_info(struct tool *t)
{
	if (strchr(t->args[0], '/') || strpbrk(t->args[0], "*?["))
		return fail(t->args[0], "expected a name as of module list");
	return unprivileged(t, t->args[0]);
}
