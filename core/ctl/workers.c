/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * workers.c -- isolated instances, for meta1ctl module list and info: what the configuration says
 * and how the process of each does.
 * Comes from module.c, before it gives up its rights; goes to the roles' control sockets.
 * Owns nothing. On failure: an instance whose role does not answer is "not running".
 */
#include "ctl/tool.h"

#include <stdio.h>
#include <stdlib.h>

static json_t *gathered; /* rows of all processes */

static int ask_one(struct tool *t, const char *path, const char *name)
{
	struct meta1_err err;
	json_t *j = client_json(path, "GET", "/v1/workers", &err), *row;
	size_t i;

	(void)t;
	json_array_foreach(json_object_get(j, "workers"), i, row)
	{
		json_object_set_new(row, "process", json_string(name));
		json_array_append(gathered, row);
	}
	json_decref(j);
	return 0;
}

/* Is the process one of that role? "smtps", "smtps.1", "smtps-internal" */
static bool is_of(const char *process, const char *role)
{
	size_t n = strlen(role);

	return strncmp(process, role, n) == 0 && (!process[n] || strchr(".-", process[n]));
}

static void add_instance(
    json_t *out, json_t *live, const char *role, const struct settings_module *use)
{
	char name[160];
	json_t *row;
	size_t i;
	bool found = false;

	snprintf(name, sizeof(name), "%.64s/%.64s", use->module, use->instance);
	json_array_foreach(live, i, row)
	{
		if (strcmp(tool_text(row, "instance"), name) != 0 ||
		    !is_of(tool_text(row, "process"), role))
			continue;
		found = true;
		json_object_set_new(row, "module", json_string(use->module));
		json_array_append(out, row);
	}
	if (!found)
		json_array_append_new(
		    out, json_pack("{s:s, s:s, s:s, s:s}", "module", use->module, "instance", name,
			     "process", role, "state", "not running"));
}

json_t *tool_workers(struct tool *t)
{
	static const struct {
		const char *name;
		enum meta1_role bit;
	} roles[] = {{"smtps", META1_SMTPS}, {"smtpc", META1_SMTPC}, {"smar", META1_SMAR}};
	json_t *out = json_array();
	bool asked = false;

	gathered = json_array();
	for (size_t r = 0; r < ARRAY_LEN(roles); r++) {
		struct settings_module *use = NULL;
		unsigned n = settings_modules(t->set, roles[r].bit, &use);

		for (unsigned i = 0; i < n; i++) {
			if (!use[i].isolate)
				continue;
			if (!asked)
				tool_each(t, "", ask_one);
			asked = true;
			add_instance(out, gathered, roles[r].name, &use[i]);
		}
		free(use);
	}
	json_decref(gathered);
	return out;
}

json_t *tool_workers_of(const json_t *all, const char *module)
{
	json_t *out = json_array(), *row;
	size_t i;

	json_array_foreach(all, i, row)
	{
		if (strcmp(tool_text(row, "module"), module) == 0)
			json_array_append(out, row);
	}
	return out;
}

void tool_workers_print(const json_t *list)
{
	const json_t *row;
	size_t i;

	json_array_foreach(list, i, row)
	{
		const char *end = tool_text(row, "last_end");

		printf("  isolated: %s %s %s", tool_text(row, "process"),
		    tool_text(row, "instance"), tool_text(row, "state"));
		if (tool_number(row, "pid"))
			printf(", pid %lld", tool_number(row, "pid"));
		if (tool_number(row, "restarts"))
			printf(", %lld restarts", tool_number(row, "restarts"));
		printf("%s%s\n", *end ? ", last end: " : "", end);
	}
}
