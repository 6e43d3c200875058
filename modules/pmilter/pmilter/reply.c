/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reply.c -- what a filter answers: edits, a new message, the verdict. Held until the next call.
 *
 * Comes from link.c with frames for an open question; goes to the host by pm_finish(). Owns what an
 * answer is made of. Whether a reply or an edit is well formed in SMTP's sense the host judges.
 * On failure: what is no edit or verdict, was not agreed upon, or is too much fails its question
 * and no other; the connection goes on.
 */
#include "pmilter.h"

#include <string.h>

#define LINE_LEN 900 /* of a reply's line */

/* ---- memory of an answer ---- */

static void *keep(struct sess *s, size_t n)
{
	struct pm *pm = s->pm;
	size_t before = s->hold.bytes, room = HELD_MAX - (pm->held - before);
	void *p = hold_get(pm->host, pm->ctx, &s->hold, n, room < ANSWER_MAX ? room : ANSWER_MAX);

	pm->held += s->hold.bytes - before;
	return p;
}

/* With a NUL behind it, for strings. */
static int keep_buf(struct sess *s, const struct meta1_pmw_field_of *v, struct meta1_buf *out)
{
	char *p = keep(s, v->len + 1);

	if (!p)
		return 0;
	memcpy(p, v->at, v->len);
	p[v->len] = '\0';
	*out = (struct meta1_buf){p, v->len};
	return 1;
}

static const char *keep_text(struct sess *s, const struct meta1_pmw_field_of *v)
{
	struct meta1_buf b;

	return keep_buf(s, v, &b) ? b.data : NULL;
}

void reply_forget(struct sess *s)
{
	struct pm *pm = s->pm;

	pm->held -= s->hold.bytes;
	hold_drop(pm->host, pm->ctx, &s->hold);
	s->edit = NULL;
	s->nedit = s->edit_room = 0;
	s->bad = NULL;
	s->unable = s->no_room = s->settling = s->replaced = 0;
	spool_drop(s);
}

/* ---- edits ---- */

static struct meta1_pm_edit *add_edit(struct sess *s)
{
	if (s->nedit == s->edit_room) {
		uint32_t most = s->edit_room ? s->edit_room * 2 : 8;
		struct meta1_pm_edit *e = most <= EDITS_MAX * 2 ? keep(s, most * sizeof(*e)) : NULL;

		if (!e)
			return NULL;
		if (s->nedit)
			memcpy(e, s->edit, s->nedit * sizeof(*e));
		s->edit = e;
		s->edit_room = most;
	}
	if (s->nedit == EDITS_MAX)
		return NULL;
	memset(&s->edit[s->nedit], 0, sizeof(*s->edit));
	return &s->edit[s->nedit++];
}

static int take_edit(struct sess *s, struct meta1_pm_edit *e, struct meta1_pmw_frame *f)
{
	struct meta1_pmw_field_of v;
	int ok = 1;

	while (ok && meta1_pmw_next(f, &v)) {
		uint32_t n = (uint32_t)meta1_pmw_value(&v);

		if (v.field == META1_PMW_F_KIND)
			e->kind = n;
		else if (v.field == META1_PMW_F_INDEX)
			e->index = n;
		else if (v.field == META1_PMW_F_FLAGS)
			e->flags = n;
		else if (v.field == META1_PMW_F_FIELD)
			ok = keep_buf(s, &v, &e->name);
		else if (v.field == META1_PMW_F_VALUE)
			ok = keep_buf(s, &v, &e->value);
		else if (v.field == META1_PMW_F_PARAM)
			ok = keep_buf(s, &v, &e->param);
	}
	return ok;
}

/* NULL, or what is wrong with it */
static const char *judge(const struct link *l, const struct meta1_pm_edit *e)
{
	static const struct {
		uint32_t action;
		int name, value;
	} kinds[] = {
	    [META1_PM_ADD_HEADER] = {META1_PMW_A_HEADERS, 1, 1},
	    [META1_PM_INSERT_HEADER] = {META1_PMW_A_HEADERS, 1, 1},
	    [META1_PM_CHANGE_HEADER] = {META1_PMW_A_HEADERS, 1, 0},
	    [META1_PM_ADD_RCPT] = {META1_PMW_A_RCPTS, 0, 1},
	    [META1_PM_DEL_RCPT] = {META1_PMW_A_RCPTS, 0, 1},
	    [META1_PM_SENDER] = {META1_PMW_A_SENDER, 0, 1},
	};

	if (e->kind >= sizeof(kinds) / sizeof(kinds[0]) || !kinds[e->kind].action)
		return "the filter makes an edit of an unknown kind";
	if (!(l->actions & kinds[e->kind].action))
		return "the filter makes an edit of a kind that it did not ask for";
	if ((kinds[e->kind].name && !e->name.data) || (kinds[e->kind].value && !e->value.data))
		return "the filter makes an edit without a name or a value";
	return NULL;
}

/* How many there are is often the mail's doing: one for each of its fields of some name. */
static void too_many(struct sess *s)
{
	s->bad = "the filter makes too many edits, or too large ones";
	s->unable = 1;
}

const char *reply_edit(struct sess *s, struct meta1_pmw_frame *f)
{
	struct meta1_pm_edit *e = s->bad ? NULL : add_edit(s);

	if (s->bad)
		return NULL;
	if (s->stage != META1_PM_END)
		s->bad = "the filter edits a message that is not there yet";
	else if (!e || !take_edit(s, e, f))
		too_many(s);
	else
		s->bad = judge(s->link, e);
	return NULL;
}

void reply_taken(struct sess *s, size_t n)
{
	struct link *l = s->link;
	struct meta1_pmw_out o;

	if (!s->id || l->state != LINK_UP)
		return;
	o = meta1_pmw_begin(l->pm->out, sizeof(l->pm->out), META1_PMW_TAKEN, s->id);
	meta1_pmw_num(&o, META1_PMW_F_BYTES, n, 4);
	link_answer(l, &o);
}

static void begin_message(struct sess *s)
{
	struct meta1_pm_edit *e;

	if (s->stage != META1_PM_END)
		s->bad = "the filter replaces a message that is not there yet";
	else if (!(s->link->actions & META1_PMW_A_REPLACE))
		s->bad = "the filter replaces the message, and did not ask for that";
	else if (!(e = add_edit(s)))
		too_many(s);
	else
		*e = (struct meta1_pm_edit){.kind = META1_PM_MESSAGE};
	s->replaced = 1;
}

const char *reply_replace(struct sess *s, struct meta1_pmw_frame *f)
{
	struct meta1_pmw_field_of v;

	if (!s->bad && !s->replaced)
		begin_message(s);
	while (meta1_pmw_next(f, &v)) {
		if (v.field != META1_PMW_F_DATA)
			continue;
		if (s->bad)
			reply_taken(s, v.len);
		else
			s->bad = spool_add(s, v.at, v.len);
	}
	return NULL;
}

/* The extents of the new message, into its edit. */
static void close_spool(struct sess *s)
{
	for (uint32_t i = 0; i < s->nedit; i++) {
		if (s->edit[i].kind != META1_PM_MESSAGE)
			continue;
		s->edit[i].extent = spool_extent(s);
		s->edit[i].nextent = 1;
	}
}

void reply_no_room(struct sess *s, const char *why)
{
	if (!s->bad)
		s->no_room = 1;
	if (!s->bad)
		s->bad = why;
}

void reply_settled(struct sess *s)
{
	struct meta1_pm_verdict *v = &s->verdict;

	if (!s->settling)
		return;
	s->settling = 0;
	/* edits of a mail that goes nowhere are of no use to anybody */
	if (v->action == META1_PM_CONTINUE || v->action == META1_PM_ACCEPT) {
		close_spool(s);
		v->edit = s->edit;
		v->nedit = s->nedit;
	} else {
		v->hold = NULL;
	}
	s->wants = v->wants;
	pm_finish(s, s->bad);
}

/* ---- verdicts ---- */

static const char *take_line(
    struct sess *s, struct meta1_pm_verdict *v, const struct meta1_pmw_field_of *f)
{
	struct meta1_buf *line = (struct meta1_buf *)(uintptr_t)v->line;

	if (v->nline == META1_PMW_LINE_MAX || f->len > LINE_LEN)
		return "the filter's reply has more than 32 lines, or one of more than 900 bytes";
	if (!line)
		line = keep(s, META1_PMW_LINE_MAX * sizeof(*line));
	if (!line || !keep_buf(s, f, &line[v->nline]))
		return "the filter's reply is too large";
	v->line = line;
	v->nline++;
	return NULL;
}

static const char *take_verdict(
    struct sess *s, struct meta1_pm_verdict *v, const struct meta1_pmw_field_of *f)
{
	uint64_t n = meta1_pmw_value(f);

	switch (f->field) {
	case META1_PMW_F_ACTION:
		v->action = (uint32_t)n;
		return n > META1_PM_DISCARD ? "the filter's verdict is none" : NULL;
	case META1_PMW_F_CODE:
		v->smtp = (uint16_t)n;
		return n < 400 || n > 599 ? "the filter's reply code is not 400 to 599" : NULL;
	case META1_PMW_F_DSN:
		if (f->len >= sizeof(v->dsn))
			return "the filter's enhanced status code is too long";
		memcpy(v->dsn, f->at, f->len);
		v->dsn[f->len] = '\0';
		return NULL;
	case META1_PMW_F_LINE:
		return take_line(s, v, f);
	case META1_PMW_F_HOLD:
		v->hold = keep_text(s, f);
		return v->hold ? NULL : "the filter's answer is too large";
	case META1_PMW_F_NOTE:
		v->note = keep_text(s, f);
		return v->note ? NULL : "the filter's answer is too large";
	case META1_PMW_F_WANTS:
		v->wants = (uint32_t)n & s->link->stages;
		return NULL;
	default:
		return NULL;
	}
}

const char *reply_verdict(struct sess *s, struct meta1_pmw_frame *f)
{
	struct meta1_pm_verdict *v = &s->verdict;
	struct meta1_pmw_field_of field;
	const char *bad = s->bad;

	*v = (struct meta1_pm_verdict){
	    .size = sizeof(*v), .wants = s->wants, .sizeof_edit = sizeof(struct meta1_pm_edit)};
	while (!bad && meta1_pmw_next(f, &field))
		bad = take_verdict(s, v, &field);
	if (!bad && s->msg)
		bad = "the filter answers END before it has the message";
	if (!bad && v->hold && s->stage != META1_PM_END)
		bad = "the filter wants a mail held that is not there yet";
	if (!bad && v->hold && !(s->link->actions & META1_PMW_A_HOLD))
		bad = "the filter wants the mail held, and did not ask for that";
	if (!bad && v->action == META1_PM_DISCARD && !(s->link->actions & META1_PMW_A_DISCARD))
		bad = "the filter wants the mail discarded, and did not ask for that";
	if (s->again) {
		s->again--;
		s->wants = v->wants;
		/* that it still takes the client is no answer to the question; else it is, and
		 * that to the question itself comes too late */
		if (!bad && v->action == META1_PM_CONTINUE)
			return NULL;
		s->again++;
	}
	s->bad = bad;
	s->settling = 1;
	if (!spool_busy(s))
		reply_settled(s);
	return NULL;
}

int reply_again(struct sess *s, const struct meta1_pmw_frame *f)
{
	if (!s->again || f->type != META1_PMW_VERDICT)
		return 0;
	s->again--;
	return 1;
}
