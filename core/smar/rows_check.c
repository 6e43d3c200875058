/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rows_check.c -- rows that name next hops, looked at before a start or a reload (-C): a transport
 * that smtpc has no section for, a host that is none. In the running server such a row is 451 for
 * whoever it is for; here the admin hears of it with file and line.
 *
 * Comes from: smar.c's check. Goes to: warnings in the conf, since a map may change at any time and
 * the rest of it serves. Only maps of lines can be read through (map_text, also for createmap's
 * source); the interface of maps has no way to list keys. Owns nothing; a file that cannot be read
 * is the module's message.
 */
#include "smar/smar.h"

#include <meta1/textline.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum { WARNINGS = 10 }; /* of one map */

struct rows {
	struct settings *set;
	const char *section;
	bool macros;
	unsigned bad;
};

/* false: enough was said. */
static bool row(struct rows *r, char *line, size_t len, const struct conf_pos *pos)
{
	char *const *by = (char *const *)(uintptr_t)r->set->smtpc.transport_names;
	struct smar_target target[SMAR_TARGETS];
	struct meta1_buf key, val;
	struct meta1_err err;
	const char *why;
	unsigned n;

	if (meta1_textline(line, len, &key, &val, &why) <= 0 ||
	    (r->macros && memmem(val.data, val.len, "${", 2)) ||
	    smar_mailertable_parse(val, by, target, &n, &err) == 0)
		return true;
	if (++r->bad > WARNINGS)
		return false;
	conf_warn(r->set->conf, pos, "smar.%s: row %.*s: %s", r->section, (int)key.len,
	    (const char *)key.data, err.text);
	return true;
}

static void file_rows(struct rows *r, const char *name)
{
	char *line = NULL,
	     *path = conf_printf(r->set->conf, "%s%s%s", *name == '/' ? "" : conf_dir(r->set->conf),
		 *name == '/' ? "" : "/", name);
	struct conf_pos pos = {path, 0, 1};
	FILE *f = fopen(path, "re");
	size_t room = 0;
	ssize_t n;

	while (f && (n = getline(&line, &room, f)) > 0) {
		pos.line++;
		if (!row(r, line, (size_t)n - (line[n - 1] == '\n'), &pos))
			break;
	}
	if (f)
		fclose(f);
	free(line);
}

static void map_rows(struct rows *r, const struct set_map *map)
{
	const struct conf_option *file = conf_find(map->section, "file");
	const struct conf_option *rows = conf_find(map->section, "rows");

	if (file && file->values)
		file_rows(r, file->values->text);
	for (const struct conf_value *v = rows ? rows->values : NULL; v; v = v->next) {
		char *line = base_strdup(v->text);
		bool more = row(r, line, strlen(line), &v->pos);

		free(line);
		if (!more)
			break;
	}
}

void smar_rows_check(struct settings *set)
{
	static const int kinds[] = {USE_MAILERTABLE, USE_SENDER_ROUTES};

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		const struct set_use *use = &set->smar.use[kinds[i]];
		struct rows r = {.set = set,
		    .section = set_use_kinds[kinds[i]].keyword,
		    .macros = use->flags & USE_F_MACROS};

		for (unsigned k = 0; use->name && k < set->smar.nmap; k++)
			if (strcmp(set->smar.map[k].name, use->name) == 0 &&
			    settings_map_of_lines(&set->smar.map[k]))
				map_rows(&r, &set->smar.map[k]);
	}
}
