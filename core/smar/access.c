/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * access.c -- the right-hand side of an access row: a word, perhaps with QUICK: before it,
 * or a reply of the admin's own. What each word does stands in smar.h.
 * From seek.c's answers; to check.c. No I/O. A value that is none of these is an error:
 * check.c answers 451, because a row that was meant to refuse must not let pass.
 */
#include "mail/reply.h"
#include "smar/smar.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

static const struct {
	const char *word;
	enum smar_rhs rhs;
} words[] = {
    {"CONT", RHS_CONT},
    {"OK", RHS_OK},
    {"RELAY", RHS_RELAY},
    {"REJECT", RHS_REJECT},
    {"DISCARD", RHS_DISCARD},
};

/* "550 5.7.1 text", with or without "error:" before it */
static int parse_error(const char *p, struct smar_access *a, struct meta1_err *err)
{
	size_t used;

	while (*p == ' ' || *p == '\t')
		p++;
	if (strspn(p, "0123456789") != 3 || (p[0] != '4' && p[0] != '5') || p[1] > '5' ||
	    (p[3] != ' ' && p[3] != '\0'))
		return err_set(err,
		    "\"%.40s\": expected a reply of 4xx or 5xx and a text, "
		    "like \"error:550 5.7.1 not here\"",
		    p);
	a->smtp = atoi(p);
	if (a->smtp == 421)
		return err_set(err, "\"421\": 421 ends the session, use 450 or 451");
	for (p += 3; *p == ' ';)
		p++;
	used = reply_dsn(a->smtp, p, a->dsn);
	if (used == 0)
		str_copy(a->dsn, sizeof(a->dsn), reply_default_dsn(a->smtp));
	for (p += used; *p == ' ';)
		p++;
	reply_clean(
	    *p ? p : "access denied", strlen(*p ? p : "access denied"), a->text, sizeof(a->text));
	a->rhs = RHS_ERROR;
	return 0;
}

int smar_access_parse(struct meta1_buf value, struct smar_access *a, struct meta1_err *err)
{
	char text[512], *p = text;
	size_t n;

	memset(a, 0, sizeof(*a));
	if (value.len >= sizeof(text) || memchr(value.data, '\0', value.len))
		return err_set(err, "value of %zu bytes: expected at most %zu, without NUL",
		    value.len, sizeof(text) - 1);
	memcpy(text, value.data, value.len);
	text[value.len] = '\0';
	for (n = value.len; n > 0 && (text[n - 1] == ' ' || text[n - 1] == '\t'); n--)
		text[n - 1] = '\0';
	p += strspn(p, " \t");
	if (strncasecmp(p, "QUICK:", 6) == 0) {
		a->quick = true;
		p += 6;
	}
	if (strncasecmp(p, "error:", 6) == 0)
		return parse_error(p + 6, a, err);
	if (*p >= '0' && *p <= '9')
		return parse_error(p, a, err);
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strcasecmp(p, words[i].word) == 0) {
			a->rhs = words[i].rhs;
			return 0;
		}
	if (strchr(p, '#'))
		return err_set(err, "\"%.60s\": " SMAR_NO_COMMENT, text);
	return err_set(err,
	    "\"%.60s\": expected RELAY, OK, REJECT, DISCARD, CONT or "
	    "a reply like error:550 5.7.1 text, perhaps after QUICK:",
	    text);
}
