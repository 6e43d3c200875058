/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rows_uses.c -- what the rows of a file are for: the sections of smar that ask a map with it, by
 * its name or through sequences; and does a row serve one of them?
 *
 * Comes from: rows_check.c (a start, a reload, mcp -C), createmap: so both say the same. Goes to:
 * rows_judge.c, once a use. Owns nothing; what is no map, or no file, has no use.
 */
#include "smar/smar.h"

#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>

static void add(const struct settings *set, unsigned *uses, const char *name, unsigned bits)
{
	for (unsigned i = 0; name && i < set->smar.nmap; i++)
		if (strcmp(set->smar.map[i].name, name) == 0)
			uses[i] |= bits;
}

/* A sequence names maps that stand before it: so from the last to the first. */
static void through_sequences(const struct settings *set, unsigned *uses)
{
	for (unsigned i = set->smar.nmap; i-- > 0;) {
		const struct set_map *m = &set->smar.map[i];
		const struct conf_option *maps = m->type && strcasecmp(m->type, "sequence") == 0
						     ? conf_find(m->section, "maps")
						     : NULL;

		for (const struct conf_value *v = maps ? maps->values : NULL; v; v = v->next)
			add(set, uses, v->text, uses[i]);
	}
}

static const char *file_of(const struct set_map *map)
{
	const struct conf_option *o = conf_find(map->section, "file");

	return o && o->values ? o->values->text : NULL;
}

const char *smar_map_file(const struct settings *set, const struct set_map *map)
{
	const char *name = file_of(map);

	if (!name || *name == '/')
		return name;
	return conf_printf(set->conf, "%s/%s", conf_dir(set->conf), name);
}

static const char *last_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static int folder(const struct settings *set, const char *path, struct stat *st)
{
	return stat(conf_printf(set->conf, "%.*s.", (int)(last_name(path) - path), path), st);
}

/* The same name in the same folder, however that is written: the file need not be there yet. */
unsigned smar_map_with(const struct settings *set, const char *file, unsigned from)
{
	struct stat in, at;

	for (; from < set->smar.nmap; from++) {
		const struct set_map *m = &set->smar.map[from];
		const char *its = file_of(m);

		if (its && strcmp(last_name(its), last_name(file)) == 0 &&
		    folder(set, smar_map_file(set, m), &in) == 0 && folder(set, file, &at) == 0 &&
		    in.st_dev == at.st_dev && in.st_ino == at.st_ino)
			break;
	}
	return from;
}

unsigned smar_rows_uses(const struct settings *set, const char *file, const struct set_map *map)
{
	const char *others[] = {
	    set->smar.greylisting.exempt.name, set->smar.probe.conf.name, set->qmgr.conf.name};
	unsigned *uses = base_alloc((set->smar.nmap + 1) * sizeof(*uses)), found = 0;

	for (unsigned k = 0; k < USES; k++)
		add(set, uses, set->smar.use[k].name, 1u << k);
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		add(set, uses, others[i], SMAR_ROWS_OTHER);
	through_sequences(set, uses);
	if (map)
		found = uses[map - set->smar.map];
	for (unsigned i = 0; file && (i = smar_map_with(set, file, i)) < set->smar.nmap; i++)
		found |= uses[i];
	free(uses);
	return found;
}

bool smar_row_serves(const struct settings *set, unsigned uses, struct meta1_buf key,
    struct meta1_buf val, struct meta1_err why[USES])
{
	if (uses == 0 || uses & SMAR_ROWS_OTHER)
		return true;
	for (unsigned k = 0; k < USES; k++) {
		why[k].text[0] = '\0';
		if (uses & 1u << k && smar_row_judge(set, k, key, val, &why[k]) == 0)
			return true;
	}
	return false;
}
