/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * edits.c -- what the options make of a mail, as edits: addresses first, then what is removed, then
 * what is set and added. So a number among fields of one name is that of the message as it came:
 * what is removed goes from the last to the first.
 *
 * Comes from pmilter_headers.c; goes to the verdict. Owns nothing but the answer's memory.
 * On failure: the question fails, why; nothing is edited.
 */
#include "headers.h"

#include <stdio.h>
#include <strings.h>

static const char no_memory[] = "the answer is too large";

static struct meta1_buf str(const char *s)
{
	return (struct meta1_buf){s, strlen(s)};
}

static struct meta1_pm_edit *edit(struct sess *s, uint32_t kind)
{
	if (s->nedit == EDITS_MAX)
		return NULL;
	if (s->nedit == s->room) {
		uint32_t most = s->room ? s->room * 2 : 16;
		struct meta1_pm_edit *e = headers_keep(s, most * sizeof(*e));

		if (!e)
			return NULL;
		if (s->nedit)
			memcpy(e, s->edit, s->nedit * sizeof(*e));
		s->edit = e;
		s->room = most;
	}
	s->edit[s->nedit] = (struct meta1_pm_edit){.kind = kind};
	return &s->edit[s->nedit++];
}

static int in_list(const struct field *f, const char *const *list)
{
	for (; list && *list; list++)
		if (fields_match(f, *list))
			return 1;
	return 0;
}

/* ---- "Name: value" ---- */

const char *edits_check(const char *line)
{
	const char *colon = strchr(line, ':');

	if (!colon || colon == line)
		return "expected \"Name: value\"";
	for (const char *p = line; p < colon; p++)
		if (*p <= ' ' || *p > '~')
			return "a field's name has a blank or what is no ASCII";
	return strlen(line) < 900 ? NULL : "it is longer than 900 bytes";
}

static struct meta1_buf name_of(const char *line)
{
	return (struct meta1_buf){line, strcspn(line, ":")};
}

static const char *word(const struct sess *s, const char *p, size_t n)
{
	const struct meta1_pm_about *a = s->about;
	const struct {
		const char *name, *value;
	} words[] = {{"client", a->client}, {"name", a->name}, {"helo", a->helo}, {"id", a->taid},
	    {"user", a->auth_user}, {"listener", a->listener}, {"hostname", a->hostname}};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strlen(words[i].name) == n && memcmp(words[i].name, p, n) == 0)
			return words[i].value ? words[i].value : "";
	return NULL;
}

/* The value with ${client} and so on; data NULL: no memory. */
static struct meta1_buf value_of(struct sess *s, const char *line)
{
	const char *p = line + strcspn(line, ":") + 1;
	char out[4096];
	size_t n = 0;

	while (*p == ' ')
		p++;
	while (*p && n < sizeof(out) - 1) {
		size_t len = *p == '$' && p[1] == '{' ? strcspn(p, "}") : 0;
		const char *w = len && p[len] ? word(s, p + 2, len - 2) : NULL;

		if (!w) {
			out[n++] = *p++;
			continue;
		}
		n += (size_t)snprintf(out + n, sizeof(out) - n, "%.400s", w);
		n = n < sizeof(out) ? n : sizeof(out) - 1;
		p += len + 1;
	}
	p = hold_text(s->h->host, s->h->ctx, &s->hold, out, n, ANSWER_MAX);
	return (struct meta1_buf){p, p ? n : 0};
}

static int add(struct sess *s, const char *line, uint32_t kind)
{
	struct meta1_buf value = value_of(s, line);
	struct meta1_pm_edit *e = value.data ? edit(s, kind) : NULL;

	if (!e)
		return -1;
	e->name = name_of(line);
	e->value = value;
	return 0;
}

static int has(const struct sess *s, const char *line)
{
	struct meta1_buf name = name_of(line);

	for (uint32_t i = 0; i < s->nfield; i++)
		if (s->field[i].nlen == name.len &&
		    strncasecmp(s->field[i].name, name.data, name.len) == 0)
			return 1;
	return 0;
}

/* ---- steps ---- */

static int set_here(const struct field *f, const char *const *list)
{
	for (; list && *list; list++) {
		struct meta1_buf name = name_of(*list);

		if (f->nlen == name.len && strncasecmp(f->name, name.data, name.len) == 0)
			return 1;
	}
	return 0;
}

static int rewrite_field(struct sess *s, const struct field *f, const struct rewrite *r)
{
	struct meta1_buf value;
	struct meta1_pm_edit *e;

	if (address_rewrite(s, r, (struct meta1_buf){f->value, f->vlen}, &value) < 0)
		return -1;
	if (!value.data)
		return 0;
	e = edit(s, META1_PM_CHANGE_HEADER);
	if (!e)
		return -1;
	e->index = f->ordinal;
	e->flags = META1_PM_LEADSPC;
	e->name = (struct meta1_buf){f->name, f->nlen};
	e->value = value;
	return 0;
}

static int rewritten(struct sess *s)
{
	const struct conf *c = s->h->conf;
	int bad = 0;

	for (uint32_t i = 0; i < s->nfield && !bad; i++) {
		const struct field *f = &s->field[i];

		if (s->h->sender.n && in_list(f, c->sender_headers))
			bad = rewrite_field(s, f, &s->h->sender);
		else if (s->h->recipient.n && in_list(f, c->recipient_headers))
			bad = rewrite_field(s, f, &s->h->recipient);
	}
	return bad;
}

static int removed(struct sess *s)
{
	const struct conf *c = s->h->conf;

	for (uint32_t i = s->nfield; i-- > 0;) {
		const struct field *f = &s->field[i];
		struct meta1_pm_edit *e;

		if (!in_list(f, c->remove) && !set_here(f, c->set))
			continue;
		e = edit(s, META1_PM_CHANGE_HEADER);
		if (!e)
			return -1;
		e->index = f->ordinal;
		e->name = (struct meta1_buf){f->name, f->nlen};
	}
	return 0;
}

static int added(struct sess *s)
{
	const struct conf *c = s->h->conf;
	int bad = 0;

	for (const char *const *p = c->set; p && *p && !bad; p++)
		bad = add(s, *p, META1_PM_ADD_HEADER);
	for (const char *const *p = c->add_missing; p && *p && !bad; p++)
		bad = has(s, *p) ? 0 : add(s, *p, META1_PM_ADD_HEADER);
	for (const char *const *p = c->add; p && *p && !bad; p++)
		bad = add(s, *p, META1_PM_ADD_HEADER);
	for (const char *const *p = c->prepend; p && *p && !bad; p++)
		bad = add(s, *p, META1_PM_INSERT_HEADER);
	return bad;
}

/* In place of one address another; old NULL: of the sender. */
static int address(struct sess *s, const struct rewrite *r, struct meta1_buf old, uint32_t kind)
{
	char to[ADDR_MAX];
	size_t n = rewrite_find(s->h, r, old, to);
	char *p = n ? hold_text(s->h->host, s->h->ctx, &s->hold, to, n, ANSWER_MAX) : NULL;
	struct meta1_pm_edit *e;

	if (!n)
		return 0;
	if (kind == META1_PM_ADD_RCPT) {
		e = edit(s, META1_PM_DEL_RCPT);
		if (!e)
			return -1;
		e->value = old;
	}
	e = p ? edit(s, kind) : NULL;
	if (!e)
		return -1;
	e->value = str(p);
	return 0;
}

static int envelope(struct sess *s, const struct meta1_buf *rcpt, uint32_t nrcpt)
{
	int bad = address(s, &s->h->sender, s->about->from, META1_PM_SENDER);

	for (uint32_t i = 0; i < nrcpt && s->h->recipient.n && !bad; i++)
		bad = address(s, &s->h->recipient, rcpt[i], META1_PM_ADD_RCPT);
	return bad;
}

const char *edits_make(struct sess *s, const struct meta1_buf *rcpt, uint32_t nrcpt)
{
	if (envelope(s, rcpt, nrcpt) < 0 || rewritten(s) < 0 || removed(s) < 0 || added(s) < 0)
		return s->nedit < EDITS_MAX ? no_memory : "more than 4096 edits would be to make";
	return NULL;
}
