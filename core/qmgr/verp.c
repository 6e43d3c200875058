/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * verp.c -- variable envelope return paths: for listed senders, or when a client may say XVERP,
 * each recipient has a sender address of its own, which names it, so that a bounce tells by its
 * address alone who failed. Comes from msg.c (is the sender listed?), dispatch.c and bounce.c (the
 * address). Owns nothing, no I/O. On failure: an address that cannot be made (too long, quoted)
 * leaves the sender as it is.
 */
#include "qmgr/qmgr.h"

#include <stdio.h>
#include <strings.h>

bool qmgr_verp_listed(const char *const *list, const char *from)
{
	const char *at = strrchr(from, '@');

	if (!at || !list)
		return false;
	for (; *list; list++)
		if (!strcmp(*list, "*") || !strcasecmp(*list, **list == '@' ? at : from))
			return true;
	return false;
}

void qmgr_verp_delimiters(uint32_t flags, const char *option, char out[3])
{
	unsigned a = flags >> META1_VERP_AT & 3, b = flags >> (META1_VERP_AT + 2) & 3;

	if (flags & META1_M_VERP && a < 3 && b < 3) {
		out[0] = META1_VERP_CHARS[a];
		out[1] = META1_VERP_CHARS[b];
		out[2] = '\0';
	} else {
		str_copy(out, 3, option);
	}
}

bool qmgr_verp_make(
    const char *from, const char *to, const char *delimiters, char out[QMGR_VERP_MAX + 1])
{
	const char *at = strrchr(from, '@'), *whose = strrchr(to, '@');
	int n;

	if (!at || !whose || *from == '"' || *to == '"' || strlen(delimiters) != 2)
		return false;
	n = snprintf(out, QMGR_VERP_MAX + 1, "%.*s%c%.*s%c%s%s", (int)(at - from), from,
	    delimiters[0], (int)(whose - to), to, delimiters[1], whose + 1, at);
	return n > 0 && n <= QMGR_VERP_MAX;
}
