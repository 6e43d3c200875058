/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * edits.c -- what the filter changes at the end of a message, and its own replies.
 *
 * Comes from said.c, bytes of the filter; goes into the verdict as edits of meta1/pmilter.h, which
 * the host checks once more. Everything is copied, bounded by EDITS_MAX and max_edits.
 * On failure: a text of what was expected.
 */
#include "milter.h"

#include <stdio.h>
#include <string.h>

#define NO_MEMORY "for which there is no memory"
#define NO_END	  "whose data has no NUL at its end"
#define TOO_LONG  "with bytes behind its last NUL"

/* The next string, without its NUL. */
static const char *take(struct meta1_buf *b, struct meta1_buf *out)
{
	const char *p = b->data, *nul = b->len > 0 ? memchr(p, '\0', b->len) : NULL;

	if (!nul)
		return NO_END;
	*out = (struct meta1_buf){p, (size_t)(nul - p)};
	b->len -= out->len + 1;
	b->data = nul + 1;
	return NULL;
}

/* Room for one more; NULL: there is none, why says so. */
static struct meta1_pm_edit *more(struct sess *s, uint32_t kind, const char **why)
{
	struct meta1_pm_edit *e;

	*why = s->nedit >= EDITS_MAX ? "the 4097th change of this message" : NO_MEMORY;
	s->hopeless |= s->nedit >= EDITS_MAX;
	if (s->nedit >= EDITS_MAX || bag_room(s->m, &s->bag, (void **)&s->edit, s->nedit,
					 &s->edit_room, sizeof(*s->edit)) < 0)
		return NULL;
	*why = NULL;
	e = &s->edit[s->nedit++];
	memset(e, 0, sizeof(*e));
	e->kind = kind;
	return e;
}

static const char *keep(struct sess *s, struct meta1_buf *b)
{
	if (s->bag.held + b->len > (uint64_t)s->m->conf->max_edits) {
		s->hopeless = 1;
		return "which makes more bytes of changes than max_edits lets";
	}
	*b = bag_copy(s->m, &s->bag, b->data, b->len);
	return b->data ? NULL : NO_MEMORY;
}

/* ---- fields ---- */

static const char *field(struct sess *s, struct meta1_buf b, uint32_t kind, int numbered)
{
	struct meta1_buf name, val;
	const char *wrong = NULL;
	uint32_t index = 0;
	struct meta1_pm_edit *e;

	if (numbered && b.len < 4)
		return "without a number before the name of the field";
	if (numbered) {
		index = get32(b.data);
		b = (struct meta1_buf){(const char *)b.data + 4, b.len - 4};
	}
	if ((wrong = take(&b, &name)) || (wrong = take(&b, &val)))
		return wrong;
	if (b.len > 0)
		return TOO_LONG;
	if ((wrong = keep(s, &name)) || (wrong = keep(s, &val)))
		return wrong;
	e = more(s, kind, &wrong);
	if (!e)
		return wrong;
	e->name = name;
	e->value = val;
	e->flags = s->peer->steps & SMFIP_HDR_LEADSPC ? META1_PM_LEADSPC : 0;
	/* An index counts our Received line, which the filter does not see: it is number 0. */
	if (kind == META1_PM_INSERT_HEADER)
		e->index = index > 0 ? index - 1 : 0;
	if (kind == META1_PM_CHANGE_HEADER) {
		e->index = index > 0 ? index : 1;
		if (val.len == 0)
			e->value.data = NULL;
	}
	return NULL;
}

const char *edits_add_header(struct sess *s, struct meta1_buf b)
{
	return field(s, b, META1_PM_ADD_HEADER, 0);
}

const char *edits_insert_header(struct sess *s, struct meta1_buf b)
{
	return field(s, b, META1_PM_INSERT_HEADER, 1);
}

const char *edits_change_header(struct sess *s, struct meta1_buf b)
{
	return field(s, b, META1_PM_CHANGE_HEADER, 1);
}

/* ---- the body, piece by piece ---- */

const char *edits_body(struct sess *s, struct meta1_buf b)
{
	const char *wrong = keep(s, &b);

	if (wrong)
		return wrong;
	if (!s->replaced && !more(s, META1_PM_BODY, &wrong))
		return wrong;
	if (!s->replaced)
		s->replaced = s->nedit;
	if (b.len == 0)
		return NULL;
	if (bag_room(s->m, &s->bag, (void **)&s->body, s->nbody, &s->body_room, sizeof(*s->body)) <
	    0)
		return NO_MEMORY;
	s->body[s->nbody++] = (struct meta1_extent){.mem = b.data, .len = b.len, .fd = -1};
	return NULL;
}

/* ---- the envelope ---- */

/* "<address>" or "address", then perhaps parameters */
static const char *address(struct sess *s, struct meta1_buf b, uint32_t kind)
{
	struct meta1_buf addr, param = {NULL, 0};
	const char *wrong = take(&b, &addr), *p;
	struct meta1_pm_edit *e;

	if (!wrong && b.len > 0 && kind != META1_PM_DEL_RCPT)
		wrong = take(&b, &param);
	if (wrong)
		return wrong;
	if (b.len > 0)
		return TOO_LONG;
	p = addr.data;
	if (addr.len >= 2 && p[0] == '<' && p[addr.len - 1] == '>')
		addr = (struct meta1_buf){p + 1, addr.len - 2};
	if (addr.len == 0 && kind != META1_PM_SENDER)
		return "without an address";
	if ((wrong = keep(s, &addr)) || (param.len > 0 && (wrong = keep(s, &param))))
		return wrong;
	e = more(s, kind, &wrong);
	if (!e)
		return wrong;
	e->value = addr;
	e->param = param.len > 0 ? param : (struct meta1_buf){NULL, 0};
	return NULL;
}

const char *edits_add_rcpt(struct sess *s, struct meta1_buf b)
{
	return address(s, b, META1_PM_ADD_RCPT);
}

const char *edits_del_rcpt(struct sess *s, struct meta1_buf b)
{
	return address(s, b, META1_PM_DEL_RCPT);
}

const char *edits_sender(struct sess *s, struct meta1_buf b)
{
	return address(s, b, META1_PM_SENDER);
}

/* Text of the filter for people: no control characters. */
static void clean(struct meta1_buf b)
{
	char *p = (char *)(uintptr_t)b.data;

	for (size_t i = 0; i < b.len; i++)
		if ((unsigned char)p[i] < ' ' || p[i] == 127)
			p[i] = '?';
}

const char *edits_hold(struct sess *s, struct meta1_buf b)
{
	struct meta1_buf why;
	const char *wrong = take(&b, &why);

	if (wrong)
		return wrong;
	if (b.len > 0)
		return TOO_LONG;
	if ((wrong = keep(s, &why)))
		return wrong;
	clean(why);
	s->verdict.hold = why.len > 0 ? why.data : "the filter gives no reason";
	return NULL;
}

/* ---- a reply of its own ---- */

static int digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Length of "5.7.1" before a blank or the end, of class c; 0: there is none. */
static size_t dsn_len(const char *p, size_t n, char c)
{
	size_t i = 0;

	for (int part = 0; part < 3; part++) {
		size_t from = i;

		if (part > 0 && (i >= n || p[i++] != '.'))
			return 0;
		from = i;
		while (i < n && digit(p[i]))
			i++;
		if (i == from || i - from > 3)
			return 0;
	}
	return p[0] == c && p[1] == '.' && (i == n || p[i] == ' ') ? i : 0;
}

/* One line, "550-5.7.1 text", into out. */
static const char *reply_line(struct sess *s, char *p, size_t n, int first, struct meta1_buf *out)
{
	struct meta1_pm_verdict *v = &s->verdict;
	uint16_t code;
	size_t len;
	char *to;

	if (n < 3 || (p[0] != '4' && p[0] != '5') || !digit(p[1]) || !digit(p[2]) ||
	    (n > 3 && p[3] != ' ' && p[3] != '-'))
		return "whose lines do not begin with a code of 400 to 599";
	code = (uint16_t)((p[0] - '0') * 100 + (p[1] - '0') * 10 + (p[2] - '0'));
	if (!first && code != v->smtp)
		return "whose lines have not all the same code";
	v->smtp = code;
	len = n > 4 ? dsn_len(p + 4, n - 4, p[0]) : 0;
	if (first && len > 0 && len < sizeof(v->dsn))
		snprintf(v->dsn, sizeof(v->dsn), "%.*s", (int)len, p + 4);
	p += n > 4 ? 4 + len : n;
	n -= n > 4 ? 4 + len : n;
	if (len > 0 && n > 0) {
		p++;
		n--;
	}
	/* Filters write a percent sign twice, as Sendmail wants it. */
	*out = (struct meta1_buf){p, 0};
	to = p;
	for (size_t i = 0; i < n; i++) {
		*to++ = p[i];
		i += p[i] == '%' && i + 1 < n && p[i + 1] == '%';
	}
	out->len = (size_t)(to - p);
	clean(*out);
	return NULL;
}

const char *edits_reply(struct sess *s, struct meta1_buf b)
{
	struct meta1_buf all, *line = NULL;
	const char *wrong = take(&b, &all);
	uint32_t n = 0, room = 0;
	char *p, *end;

	if (wrong)
		return wrong;
	if (b.len > 0)
		return TOO_LONG;
	if ((wrong = keep(s, &all)))
		return wrong;
	p = (char *)(uintptr_t)all.data;
	end = p + all.len;
	do {
		char *lf = p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;
		size_t len = (size_t)((lf ? lf : end) - p);

		if (n >= LINES_MAX)
			return "of more than 100 lines";
		if (bag_room(s->m, &s->bag, (void **)&line, n, &room, sizeof(*line)) < 0)
			return NO_MEMORY;
		if (len > 0 && p[len - 1] == '\r')
			len--;
		if ((wrong = reply_line(s, p, len, n == 0, &line[n])))
			return wrong;
		n++;
		p = lf ? lf + 1 : end;
	} while (p < end);
	s->verdict.line = line;
	s->verdict.nline = (uint16_t)n;
	return NULL;
}

void edits_done(struct sess *s)
{
	if (s->replaced) {
		s->edit[s->replaced - 1].extent = s->body;
		s->edit[s->replaced - 1].nextent = s->nbody;
	}
	s->verdict.edit = s->edit;
	s->verdict.nedit = s->nedit;
	s->verdict.sizeof_edit = sizeof(*s->edit);
}
