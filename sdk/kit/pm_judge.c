/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pm_judge.c -- what a filter's answer may be, by meta1/pmilter.h, and the same in words, so that
 * two answers can be held against each other.
 * Comes from pm_talk.c for each answer. Owns nothing. On failure: says in words what is wrong.
 */
#include "pmilter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STAGES 0xffu
#define ENOUGH 4096 /* edits */

static bool one_line(const char *s)
{
	for (; s && *s; s++)
		if ((unsigned char)*s < ' ' && *s != '\t')
			return false;
	return true;
}

static bool clean(struct meta1_buf b)
{
	const unsigned char *p = b.data;

	for (size_t i = 0; i < b.len; i++)
		if (p[i] < ' ' || p[i] == 127)
			return false;
	return true;
}

/* ---- the reply ---- */

static const char *refusal(const struct meta1_pm_verdict *v)
{
	unsigned code = v->smtp ? v->smtp : 550;

	if (code < 400 || code > 599)
		return "a refusal with a code that is not 4xx or 5xx";
	if (!memchr(v->dsn, '\0', sizeof(v->dsn)))
		return "its dsn does not end";
	if (v->dsn[0] && ((unsigned)(v->dsn[0] - '0') != code / 100 || v->dsn[1] != '.'))
		return "its dsn is of another class than its code";
	if (v->nline && !v->line)
		return "a reply without its lines";
	for (unsigned i = 0; i < v->nline; i++)
		if (!clean(v->line[i]))
			return "a line of its reply has control characters";
	return NULL;
}

/* ---- edits ---- */

/* RFC 5322, 2.2: printable, no colon. */
static const char *field_name(struct meta1_buf b)
{
	const unsigned char *p = b.data;

	if (!p || !b.len)
		return "an edit of a field without a name";
	for (size_t i = 0; i < b.len; i++)
		if (p[i] <= ' ' || p[i] > '~' || p[i] == ':')
			return "the name of a field is of more than printable ASCII";
	return NULL;
}

static const char *address(struct meta1_buf b)
{
	const char *p = b.data;

	if (!p || !b.len)
		return "an edit of the envelope without an address";
	if (!clean(b) || memchr(p, ' ', b.len) || *p == '<' || p[b.len - 1] == '>')
		return "an address with blanks, brackets or control characters";
	if (b.len > 1000 || *p == '@' || p[b.len - 1] == '@')
		return "an address that is none";
	return NULL;
}

static const char *extents(const struct meta1_pm_edit *e)
{
	struct stat st;

	if (e->nextent && !e->extent)
		return "an edit without its extents";
	for (uint32_t i = 0; i < e->nextent; i++) {
		const struct meta1_extent *x = &e->extent[i];

		if (!x->mem && x->len && x->fd < 0)
			return "an extent that is nowhere";
		if (x->mem || !x->len)
			continue;
		if (fstat(x->fd, &st) < 0)
			return "an extent of a descriptor that is not open";
		if (x->off > (uint64_t)st.st_size || x->len > (uint64_t)st.st_size - x->off)
			return "an extent beyond the end of its file";
	}
	return NULL;
}

static bool told(const struct meta1_pm_ask *ask, struct meta1_buf rcpt)
{
	for (uint32_t i = 0; i < ask->nrcpt; i++)
		if (buf_eq(ask->rcpt[i], rcpt))
			return true;
	return false;
}

static const char *edit(const struct meta1_pm_ask *ask, const struct meta1_pm_edit *e)
{
	const char *bad;

	switch (e->kind) {
	case META1_PM_ADD_HEADER:
	case META1_PM_INSERT_HEADER:
		return e->value.data ? field_name(e->name) : "a field without a value";
	case META1_PM_CHANGE_HEADER:
		return e->index ? field_name(e->name) : "fields of a name are counted from 1";
	case META1_PM_BODY:
	case META1_PM_MESSAGE:
		return extents(e);
	case META1_PM_SENDER:
		return e->value.len ? address(e->value) : NULL;
	case META1_PM_ADD_RCPT:
		return address(e->value);
	case META1_PM_DEL_RCPT:
		bad = address(e->value);
		return bad || told(ask, e->value) ? bad : "takes out who is no recipient";
	default:
		return "an edit of a kind that there is not";
	}
}

static const struct meta1_pm_edit *edit_at(const struct meta1_pm_verdict *v, uint32_t i)
{
	return (const void *)((const char *)v->edit + (size_t)i * v->sizeof_edit);
}

static const char *edits(const struct meta1_pm_ask *ask, const struct meta1_pm_verdict *v)
{
	const char *bad = NULL;

	if (!v->nedit)
		return NULL;
	if (ask->stage != META1_PM_END)
		return "edits before the end of the mail";
	if (v->action != META1_PM_CONTINUE && v->action != META1_PM_ACCEPT)
		return "edits of a mail that it does not let go on";
	if (!v->edit || v->sizeof_edit < sizeof(struct meta1_pm_edit))
		return "edits without their size: sizeof_edit";
	if (v->nedit > ENOUGH)
		return "more than 4096 edits";
	for (uint32_t i = 0; i < v->nedit && !bad; i++)
		bad = edit(ask, edit_at(v, i));
	return bad;
}

const char *pm_verdict_bad(const struct meta1_pm_ask *ask, const struct meta1_pm_verdict *v)
{
	const char *bad;

	if (!META1_HAS(v, sizeof_edit))
		return "its size is not set: begin it with .size = sizeof(verdict)";
	if (v->wants & ~STAGES)
		return "it wants stages that there are not";
	if (ask->stage == META1_PM_END && !v->wants)
		return "it wants nothing from now on (.wants): the next mail passes unjudged";
	if (v->action > META1_PM_DISCARD)
		return "an action that there is not";
	if (v->action == META1_PM_DISCARD && ask->stage & (META1_PM_CONNECT | META1_PM_HELO))
		return "a mail is discarded before there is one";
	if (v->hold && ask->stage != META1_PM_END)
		return "a hold before the end of the mail";
	if (v->hold && v->action != META1_PM_CONTINUE && v->action != META1_PM_ACCEPT)
		return "a hold of a mail that it does not let go on";
	if (!one_line(v->hold) || !one_line(v->note))
		return "hold and note are one line";
	bad = v->action == META1_PM_REFUSE ? refusal(v) : NULL;
	return bad ? bad : edits(ask, v);
}

/* ---- in words ---- */

static void put(FILE *f, const char *before, struct meta1_buf b)
{
	const unsigned char *p = b.data;

	fprintf(f, "%s[", before);
	for (size_t i = 0; i < b.len; i++)
		if (p[i] < ' ' || p[i] > '~')
			fprintf(f, "\\x%02x", p[i]);
		else
			fputc(p[i], f);
	fputc(']', f);
}

static void put_extents(FILE *f, const struct meta1_pm_edit *e)
{
	struct flt_digest d = {0};
	char b[4096];

	for (uint32_t i = 0; i < e->nextent; i++) {
		const struct meta1_extent *x = &e->extent[i];
		ssize_t n = 0;

		if (x->mem)
			flt_digest_bytes(&d, x->mem, x->len);
		for (uint64_t at = 0; !x->mem && at < x->len; at += (uint64_t)n) {
			n = pread(x->fd, b, x->len - at < sizeof(b) ? x->len - at : sizeof(b),
			    (off_t)(x->off + at));
			if (n <= 0)
				break;
			flt_digest_bytes(&d, b, (size_t)n);
		}
	}
	fprintf(f, "(%s)", flt_digest_text(&d));
}

char *pm_verdict_text(const struct meta1_pm_verdict *v)
{
	static const char *const actions[] = {"continue", "accept", "refuse", "discard"};
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	fputs(actions[v->action & 3], f);
	if (v->action == META1_PM_REFUSE) {
		unsigned code = v->smtp ? v->smtp : 550;

		fprintf(f, " %u %s", code, v->dsn[0] ? v->dsn : code < 500 ? "4.7.1" : "5.7.1");
		for (unsigned i = 0; i < v->nline; i++)
			put(f, "", v->line[i]);
	}
	if (v->hold)
		put(f, " hold", buf_str(v->hold));
	if (v->note)
		put(f, " note", buf_str(v->note));
	for (uint32_t i = 0; i < v->nedit; i++) {
		const struct meta1_pm_edit *e = edit_at(v, i);

		fprintf(f, " %u.%u.%u", e->kind, e->index, e->flags);
		put(f, "", e->name);
		put(f, e->value.data ? "=" : "-", e->value);
		if (e->param.len)
			put(f, " ", e->param);
		if (e->kind == META1_PM_BODY || e->kind == META1_PM_MESSAGE)
			put_extents(f, e);
	}
	fclose(f);
	return text;
}
