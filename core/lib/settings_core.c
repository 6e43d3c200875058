/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * settings_core.c -- which options the server reads itself in the section of a module.
 *
 * Comes from the records of those sections. Goes to whoever opens an instance, for these are not
 * the module's to refuse, and to the loader, which refuses a module that has one of the same name.
 * Owns nothing, never fails.
 */
#include "settings_check.h"
#include "settings_records.h"

#include <strings.h>

/* What the core reads itself in a section of a module of that kind. */
static const struct {
	const char *kind;
	const struct settings_records *own;
} core_reads[] = {{"map", &rec_map}, {"pmilter", &rec_filter}, {"auth", &rec_auth},
    {"transport", &rec_transport}, {"queue", &rec_queue}};
enum { CORE_READS_MAX = 31 };

/* And, in the section of every kind, what says which module it is and where it runs: each of these
 * is read in some, and refused with a reason in the others. */
static const char *const everywhere[] = {
    "type", "module", "isolate", "isolate_user", "isolate_memory"};

const char *const *settings_core_names(const char *kind)
{
	static const char *names[ARRAY_LEN(core_reads)][CORE_READS_MAX + 1];
	size_t k = 0;

	while (k + 1 < ARRAY_LEN(core_reads) && strcmp(core_reads[k].kind, kind) != 0)
		k++;
	for (size_t i = 0; i < core_reads[k].own->n && i < CORE_READS_MAX; i++)
		names[k][i] = core_reads[k].own->opt[i].name;
	return names[k];
}

bool settings_core_takes(const char *module, const char *option)
{
	const char *kind = settings_kind(module), *const * name;

	for (name = settings_core_names(kind ? kind : ""); *name; name++)
		if (strcasecmp(*name, option) == 0)
			return true;
	for (size_t i = 0; i < ARRAY_LEN(everywhere); i++)
		if (strcasecmp(everywhere[i], option) == 0)
			return true;
	return false;
}
