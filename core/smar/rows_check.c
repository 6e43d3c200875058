/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rows_check.c -- rows of maps that have a use in smar, looked at before a start or a reload (-C):
 * a next hop whose transport has no section, an alias that is no address, a reply that is none. In
 * the running server such a row is 451 for whoever it is for; here the admin hears of it with file
 * and line.
 *
 * Comes from: smar.c's check. Goes to: rows_uses.c, then to warnings in the conf, since a map may
 * change at any time and the rest of it serves. Only maps of lines can be read through (text,
 * cidr): the interface of maps has no way to list keys, so rows for a hash are judged by createmap.
 * A file is read once, whatever its uses and maps; bounded: ROWS_MAX lines. Owns nothing; a file
 * that cannot be read is the module's message.
 */
#include "smar/smar.h"

#include <meta1/textline.h>
#include <stdio.h>
#include <stdlib.h>

enum { WARNINGS = 10, /* of one file */ ROWS_MAX = 200000 };

struct rows {
	struct settings *set;
	unsigned uses; /* smar_rows_uses() */
	unsigned bad;
};

/* false: enough was said. */
static bool row(struct rows *r, char *line, size_t len, const struct conf_pos *pos)
{
	struct meta1_err err[USES];
	struct meta1_buf key, val;
	const char *why;

	if (meta1_textline(line, len, &key, &val, &why) <= 0 ||
	    smar_row_serves(r->set, r->uses, key, val, err))
		return true;
	if (++r->bad > WARNINGS)
		return false;
	for (unsigned k = 0; k < USES; k++)
		if (r->uses & 1u << k)
			conf_warn(r->set->conf, pos, "smar.%s: row %.*s: %s",
			    set_use_kinds[k].keyword, (int)(key.len < 200 ? key.len : 200),
			    (const char *)key.data, err[k].text);
	return true;
}

static void file_rows(struct rows *r, const char *path)
{
	struct conf_pos pos = {path, 0, 1};
	FILE *f = fopen(path, "re");
	char *line = NULL;
	size_t room = 0;
	ssize_t n;

	while (f && (n = getline(&line, &room, f)) > 0) {
		pos.line++;
		if (pos.line > ROWS_MAX) {
			conf_warn(r->set->conf, &pos,
			    "smar: only the first %d lines were looked at", ROWS_MAX);
			break;
		}
		if (!row(r, line, (size_t)n - (line[n - 1] == '\n'), &pos))
			break;
	}
	if (f)
		fclose(f);
	free(line);
}

static void map_rows(struct rows *r, const struct set_map *map, const char *file)
{
	const struct conf_option *rows = conf_find(map->section, "rows");

	if (file)
		file_rows(r, file);
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
	for (unsigned i = 0; i < set->smar.nmap; i++) {
		const struct set_map *m = &set->smar.map[i];
		const char *file = smar_map_file(set, m);
		struct rows r = {.set = set, .uses = smar_rows_uses(set, file, m)};

		if (settings_map_of_lines(m) && r.uses != 0 && !(r.uses & SMAR_ROWS_OTHER) &&
		    (!file || smar_map_with(set, file, 0) == i))
			map_rows(&r, m, file);
	}
}
