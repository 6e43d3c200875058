/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * say.c -- what a module may answer: a status that its kind knows, and a reply whose fields do not
 * contradict it.
 * Comes from req.c, for finish() and rcpt_result(). Owns nothing. On failure: says in words what
 * is wrong.
 */
#include "host_priv.h"

#include <ctype.h>

#define VALUES_MAX 65536
#define BYTES_MAX  (16u << 20)

static bool status_fits(uint32_t kind, enum meta1_status st, bool cancelled)
{
	switch (st) {
	case META1_OK:
	case META1_TEMPFAIL:
	case META1_PERMFAIL:
		return true;
	case META1_NOTFOUND:
		return kind == META1_MAP || kind == META1_AUTH;
	case META1_NOMORE:
		return kind == META1_MAP;
	case META1_MORE:
		return kind == META1_AUTH;
	case META1_CANCELED:
		return cancelled;
	default:
		return false;
	}
}

static bool good_dsn(const char *s)
{
	int dots = 0;

	for (; *s; s++)
		if (*s == '.')
			dots++;
		else if (!isdigit((unsigned char)*s))
			return false;
	return dots == 2;
}

/* NULL: it can be said so. */
static const char *judge_text(const struct meta1_reply *r)
{
	size_t i;

	for (i = 0; r->text && r->text[i]; i++)
		if (r->text[i] == '\n' || r->text[i] == '\r')
			return "its text is more than one line";
	return NULL;
}

static const char *judge_reply(enum meta1_status st, const struct meta1_reply *r)
{
	size_t bytes = 0;
	uint32_t i;

	if (r->size < offsetof(struct meta1_reply, text) || r->size > 4096)
		return "its size is not set: begin it with .size = sizeof(reply)";
	if (r->nval > VALUES_MAX || (r->nval && !r->val))
		return "its values";
	for (i = 0; i < r->nval; i++)
		bytes += r->val[i].len;
	if (bytes > BYTES_MAX)
		return "its values are more than 16 MiB";
	if (META1_HAS(r, smtp) && r->smtp && (r->smtp < 200 || r->smtp > 599))
		return "its smtp is no code of a reply";
	if (META1_HAS(r, smtp) && st == META1_PERMFAIL && r->smtp && r->smtp < 500)
		return "PERMFAIL with a reply that is not 5xx";
	if (META1_HAS(r, smtp) && st == META1_OK && r->smtp >= 400)
		return "OK with a reply of 4xx or 5xx";
	if (META1_HAS(r, dsn) && !memchr(r->dsn, '\0', sizeof(r->dsn)))
		return "its dsn does not end";
	if (META1_HAS(r, dsn) && r->dsn[0] && !good_dsn(r->dsn))
		return "its dsn is not like 4.3.0";
	return META1_HAS(r, text) ? judge_text(r) : NULL;
}

const char *kit_say_bad(
    uint32_t kind, enum meta1_status st, const struct meta1_reply *r, bool cancelled, bool value)
{
	const char *bad = r ? judge_reply(st, r) : NULL;

	if (!bad && !status_fits(kind, st, cancelled))
		bad = "this status is not for its kind";
	if (!bad && value && st == META1_OK && (!r || !r->nval))
		bad = "OK without a value: an empty value is one of length 0";
	return bad;
}
