/* SPDX-License-Identifier: BSD-2-Clause */
/* conf_unit.h -- what the tests of the configuration share: all messages as one text. */
#ifndef META1_CONF_UNIT_H
#define META1_CONF_UNIT_H
#include "../unit.h"
#include "lib/settings.h"

#include <stdio.h>
#include <stdlib.h>

/* Caller frees. */
static inline char *report_of(struct conf *c)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	assert_non_null(f);
	conf_report(c, f);
	fclose(f);
	return text;
}

/* The report holds want and counts n errors; says what it has when not. */
static inline void expect_report(struct conf *c, unsigned n, const char *want, const char *input)
{
	char *got = report_of(c);
	if (conf_errors(c) != n || (want && !strstr(got, want)))
		fail_msg("for:\n%s\nexpected %u errors with:\n%s\nfound %u:\n%s", input, n,
		    want ? want : "", conf_errors(c), got);
	free(got);
}

#endif
