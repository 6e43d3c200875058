/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rows_check.c -- rows of maps that have a use in smar, looked at before a start or a reload (-C):
 * a next hop whose transport has no section, an alias that is no address, a reply that is none. In
 * the running server such a row is 451 for whoever it is for; here the admin hears of it with file
 * and line.
 *
 * Comes from: smar.c's check. Goes to: rows_judge.c, then to warnings in the conf, since a map may
 * change at any time and the rest of it serves. Only maps of lines can be read through (text, cidr,
 * and those that a sequence names): the interface of maps has no way to list keys, so rows for a
 * hash are judged by createmap. Bounded: ROWS_MAX lines of a file. Owns nothing; a file that cannot
 * be read is the module's message.
 */
#include "smar/smar.h"

#include <meta1/textline.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum { WARNINGS = 10, /* of one map */ ROWS_MAX = 200000, DEPTH = 4 };

struct rows {
	struct settings *set;
	unsigned kind;	  /* USE_ */
	const char *name; /* of the map that is used so */
	unsigned bad;
};

/* A map may have several uses, and a row is for one of them. */
static bool serves_another(const struct rows *r, struct meta1_buf key, struct meta1_buf val)
{
	const struct settings *set = r->set;
	const struct set_use *more[] = {
	    &set->smar.greylisting.exempt, &set->smar.probe.conf, &set->qmgr.conf};
	struct meta1_err err;

	for (unsigned k = 0; k < USES; k++)
		if (k != r->kind && set->smar.use[k].name &&
		    strcmp(set->smar.use[k].name, r->name) == 0 &&
		    smar_row_judge(set, k, key, val, &err) == 0)
			return true;
	for (size_t i = 0; i < ARRAY_LEN(more); i++)
		if (more[i]->name && strcmp(more[i]->name, r->name) == 0)
			return true;
	return false;
}

/* false: enough was said. */
static bool row(struct rows *r, char *line, size_t len, const struct conf_pos *pos)
{
	struct meta1_buf key, val;
	struct meta1_err err = {""};
	const char *why;

	if (meta1_textline(line, len, &key, &val, &why) <= 0 ||
	    smar_row_judge(r->set, r->kind, key, val, &err) == 0 || serves_another(r, key, val))
		return true;
	if (++r->bad > WARNINGS)
		return false;
	conf_warn(r->set->conf, pos, "smar.%s: row %.*s: %s", set_use_kinds[r->kind].keyword,
	    (int)(key.len < 200 ? key.len : 200), (const char *)key.data, err.text);
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
		if (pos.line > ROWS_MAX) {
			conf_warn(r->set->conf, &pos,
			    "smar.%s: only the first %d lines were looked at",
			    set_use_kinds[r->kind].keyword, ROWS_MAX);
			break;
		}
		if (!row(r, line, (size_t)n - (line[n - 1] == '\n'), &pos))
			break;
	}
	if (f)
		fclose(f);
	free(line);
}

static void named(struct rows *r, const char *name, unsigned depth);

static void map_rows(struct rows *r, const struct set_map *map, unsigned depth)
{
	const struct conf_option *others =
	    strcasecmp(map->type, "sequence") == 0 ? conf_find(map->section, "maps") : NULL;
	const struct conf_option *file = conf_find(map->section, "file");
	const struct conf_option *rows = conf_find(map->section, "rows");

	for (const struct conf_value *v = others ? others->values : NULL; v; v = v->next)
		named(r, v->text, depth + 1);
	if (!settings_map_of_lines(map))
		return;
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

/* Sequences may name each other. */
static void named(struct rows *r, const char *name, unsigned depth)
{
	for (unsigned k = 0; depth < DEPTH && k < r->set->smar.nmap; k++)
		if (strcmp(r->set->smar.map[k].name, name) == 0 && r->set->smar.map[k].type)
			map_rows(r, &r->set->smar.map[k], depth);
}

void smar_rows_check(struct settings *set)
{
	for (unsigned kind = 0; kind < USES; kind++) {
		struct rows r = {.set = set, .kind = kind, .name = set->smar.use[kind].name};

		if (r.name)
			named(&r, r.name, 0);
	}
}
