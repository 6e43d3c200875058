/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * merge.c -- the counters of several processes as one text for Prometheus, which refuses a
 * family that is told in two places.
 * Comes from meta1ctl.c with the answers of /metrics; goes to its output. Owns nothing:
 * families are cut out of the texts in place, their first bytes zeroed once they are written.
 * On failure: a text that is not of this format is written as it is, behind the others.
 */
#include "ctl/merge.h"

#include <string.h>

static const char help[] = "# HELP ";

/* Where the family that starts at p ends. */
static char *family_end(char *p)
{
	char *next = strstr(p + 1, "\n# HELP ");

	return next ? next + 1 : p + strlen(p);
}

/* Bytes of "# HELP NAME " at p, 0: none stands there. */
static size_t head(const char *p)
{
	if (strncmp(p, help, sizeof(help) - 1) != 0)
		return 0;
	return sizeof(help) - 1 + strcspn(p + sizeof(help) - 1, " \n") + 1;
}

/* The samples of a family, without what was said of it already. */
static void samples(const char *p, const char *end, FILE *out)
{
	while (p < end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		size_t len = nl ? (size_t)(nl - p) + 1 : (size_t)(end - p);

		if (*p != '#')
			fwrite(p, 1, len, out);
		p += len;
	}
}

/* The same family in the other texts. */
static void others(char **text, size_t n, const char *first, size_t len, FILE *out)
{
	for (size_t i = 0; i < n; i++) {
		char *p = text[i], *end;

		for (; *p; p = end) {
			end = family_end(p);
			if (*p == '#' && head(p) == len && strncmp(p, first, len) == 0) {
				samples(p, end, out);
				*p = ' '; /* written */
				break;
			}
		}
	}
}

void merge_metrics(char **text, size_t n, FILE *out)
{
	for (size_t i = 0; i < n; i++) {
		char *p = text[i], *end;

		for (; *p; p = end) {
			end = family_end(p);
			if (*p == ' ')
				continue;
			fwrite(p, 1, (size_t)(end - p), out);
			if (head(p) > 0)
				others(text + i + 1, n - i - 1, p, head(p), out);
		}
	}
}
