/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * is.h -- which fault this run of a bad module has. One file breaks many laws, one in each run: the
 * environment's META1_BAD names it, or several with commas, and without it the module is a good
 * one. tests/unit/mod/bad.py says for which reason the kit must refuse each.
 */
#ifndef META1_BAD_IS_H
#define META1_BAD_IS_H
#include <stdlib.h>
#include <string.h>

static inline int is(const char *fault)
{
	const char *named = getenv("META1_BAD");
	size_t n = strlen(fault);

	for (; named; named = strchr(named, ',') ? strchr(named, ',') + 1 : NULL)
		if (strncmp(named, fault, n) == 0 && (!named[n] || named[n] == ','))
			return 1;
	return 0;
}

/* The first n times only. */
#define TIMES(n)                                                                                   \
	({                                                                                         \
		static int seen_;                                                                  \
		seen_++ < (n);                                                                     \
	})

#endif
