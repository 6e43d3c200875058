/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * chain_merge.c -- what several filters say as one answer, their edits as one message.
 *
 * The strictest word holds: a refusal (5xx before 4xx, else the first in order), then discard, then
 * hold. Only when nothing of that ends the mail are edits made, those of a filter all or none, in
 * the order of the chain. A filter in shadow has no part in it.
 * Comes from chain.c when a group has answered; goes to chain_edits.c. Owns nothing.
 * On failure: a list of edits that cannot be made is its filter's failure.
 */
#include "smtps/chain.h"

#include <stdio.h>

#define NAME_MAX_LOGGED 32
#define NOTE_MAX	120

/* ---- is it one? ---- */

static const char *edits_fault(const struct meta1_pm_verdict *v, uint32_t stage)
{
	if (v->nedit == 0)
		return NULL;
	if (stage != META1_PM_END)
		return "edits before the end of the mail";
	if (v->action != META1_PM_CONTINUE && v->action != META1_PM_ACCEPT)
		return "edits of a mail that it does not let go on";
	if (v->edit == NULL || v->sizeof_edit < offsetof(struct meta1_pm_edit, extent))
		return "edits without a place";
	return NULL;
}

const char *chain_verdict_fault(const struct meta1_pm_verdict *v, uint32_t stage)
{
	if (!META1_HAS(v, sizeof_edit))
		return "a verdict that is too short";
	if (v->action > META1_PM_DISCARD)
		return "an action that does not exist";
	if (v->action == META1_PM_REFUSE && v->smtp != 0 && (v->smtp < 400 || v->smtp > 599))
		return "a refusal with a code that is none";
	if (v->nline > 0 && v->line == NULL)
		return "a reply without its lines";
	if (v->action == META1_PM_DISCARD && (stage == META1_PM_CONNECT || stage == META1_PM_HELO))
		return "a mail thrown away before there is one";
	if (v->hold != NULL && stage != META1_PM_END)
		return "a hold before the end of the mail";
	return edits_fault(v, stage);
}

/* ---- words ---- */

static int code_of(const struct meta1_pm_verdict *v)
{
	return v->smtp != 0 ? v->smtp : 550;
}

static bool stricter(const struct meta1_pm_verdict *v, const struct smtps_answer *a)
{
	if (v->action == META1_PM_REFUSE)
		return a->action != META1_PM_REFUSE || (code_of(v) >= 500 && a->smtp < 500);
	return v->action == META1_PM_DISCARD && a->action == META1_PM_CONTINUE;
}

static void refuse(struct smtps_answer *a, const struct meta1_pm_verdict *v)
{
	a->smtp = code_of(v);
	a->line = v->nline > 0 ? v->line : NULL;
	a->nline = v->nline;
	/* an enhanced status of another class than the code's would be nonsense */
	if (v->dsn[0] == '0' + a->smtp / 100)
		str_copy(a->dsn, sizeof(a->dsn), v->dsn);
	else
		str_copy(a->dsn, sizeof(a->dsn), a->smtp < 500 ? "4.7.1" : "5.7.1");
}

static void merge_words(struct smtps_judging *j, const struct judge *g)
{
	const struct meta1_pm_verdict *v = g->verdict;
	struct smtps_answer *a = &j->answer;

	if (stricter(v, a)) {
		a->action = v->action;
		a->by = g->f->set->name;
		a->failed = v == &g->own;
		if (v->action == META1_PM_REFUSE)
			refuse(a, v);
	}
	if (v->hold != NULL && j->hold == NULL) {
		j->hold = v->hold;
		j->hold_by = g->f->set->name;
	}
}

/* ---- edits ---- */

static bool counts(const struct judge *g)
{
	return g->verdict != NULL && !g->f->set->shadow;
}

static void merge_group(struct smtps_judging *j, unsigned at, unsigned end)
{
	for (unsigned i = at; i < end; i++)
		if (counts(&j->judge[i]))
			merge_words(j, &j->judge[i]);
}

/* false: it is not known yet what comes of them. */
static bool merge_edits(struct smtps_judging *j, struct judge *g)
{
	struct meta1_err err = {""};
	enum chain_made made;

	if (g->spent || g->verdict->nedit == 0)
		return true;
	made = chain_edits_make(j, g, &err);
	if (made == CHAIN_READS)
		return false;
	g->spent = true;
	if (made == CHAIN_MADE)
		return true;
	if (j->hold == g->verdict->hold) /* nothing of its answer counts; its session ends */
		j->hold = j->hold_by = NULL;
	if (made == CHAIN_NO_ROOM)
		chain_judge_no_room(g, META1_PM_END, err.text);
	else
		chain_judge_unable(g, META1_PM_END, err.text);
	return true;
}

enum chain_merged chain_merge(struct smtps_judging *j, unsigned at, unsigned end)
{
	merge_group(j, at, end);
	for (unsigned i = at; i < end && j->answer.action == META1_PM_CONTINUE; i++) {
		if (!counts(&j->judge[i]))
			continue;
		if (!merge_edits(j, &j->judge[i]))
			return CHAIN_WAITS;
		merge_group(j, at, end); /* it may have failed, which has its meaning */
	}
	return j->answer.action == META1_PM_CONTINUE ? CHAIN_GOES_ON : CHAIN_FINAL;
}

/* ---- what the log hears ---- */

const char *chain_stage(uint32_t stage)
{
	static const char *const names[] = {
	    "connect", "helo", "mail", "rcpt", "data", "end", "unknown", "refused"};
	unsigned i = 0;

	while (i + 1 < ARRAY_LEN(names) && (stage >> i) != 1)
		i++;
	return names[i];
}

/* In shadow, before the end of the mail, whose line of the log has the rest. */
void chain_merge_shadow(const struct judge *g, uint32_t stage)
{
	const struct meta1_pm_verdict *v = g->verdict;

	if (g->f->set->shadow && stage != META1_PM_END && v->action >= META1_PM_REFUSE)
		log_event(LOG_L_NORMAL, "smtps.filter_shadow",
		    "filter=%s session=%llu id=%s stage=%s would=%s code=%d note=%s",
		    g->f->set->name, (unsigned long long)g->of->about->serial,
		    g->of->about->taid != NULL ? g->of->about->taid : "-", chain_stage(stage),
		    v->action == META1_PM_REFUSE ? "refuse" : "discard", v->smtp,
		    v->note != NULL ? v->note : "-");
}

void chain_merge_failure(struct judge *g, uint32_t stage, const char *why)
{
	const struct meta1_pm_about *about = g->of->about;
	struct chain_stats *s = g->f->stats;

	s->count[CHAIN_C_FAILED]++;
	str_copy(s->error, sizeof(s->error), why);
	s->error_at = loop_wall(g->of->chain->loop);
	log_event(LOG_L_WARN, "smtps.filter_failed",
	    "filter=%s session=%llu id=%s stage=%s failures=%u error=%s", g->f->set->name,
	    (unsigned long long)about->serial, about->taid != NULL ? about->taid : "-",
	    chain_stage(stage), g->f->breaker.failures, why);
}

struct text {
	char s[1200];
	size_t len;
};

static PRINTF(2, 3) void add(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->s + t->len, sizeof(t->s) - t->len, fmt, ap);
	va_end(ap);
	if (n > 0)
		t->len = t->len + (size_t)n < sizeof(t->s) ? t->len + (size_t)n : sizeof(t->s) - 1;
}

static void add_word(struct text *t, const struct judge *g)
{
	const struct meta1_pm_verdict *v = g->said;

	if (g->why != NULL)
		add(t, "failed");
	else if (v == NULL || v->action == META1_PM_CONTINUE)
		add(t, "%s", v != NULL && v->hold != NULL ? "hold" : "continue");
	else if (v->action == META1_PM_REFUSE)
		add(t, "%d", code_of(v));
	else
		add(t, "%s", v->action == META1_PM_ACCEPT ? "accept" : "discard");
	if (g->why == NULL && v != NULL && v->nedit > 0)
		add(t, " %u edit%s", v->nedit, v->nedit == 1 ? "" : "s");
}

static const char *reason(const struct judge *g)
{
	if (g->why != NULL)
		return g->why;
	if (g->said == NULL)
		return NULL;
	return g->said->note != NULL ? g->said->note : g->said->hold;
}

static void add_judge(struct text *t, const struct judge *g)
{
	const char *why = reason(g);
	uint64_t tenths = (g->spent_us + 50) / 100; /* of a ms */

	add(t, "%s%.*s%s: ", t->len > 0 ? "; " : "", NAME_MAX_LOGGED, g->f->set->name,
	    g->f->set->shadow ? " (shadow)" : "");
	add_word(t, g);
	if (g->spent_us > 0)
		add(t, " %llu.%u ms", (unsigned long long)(tenths / 10), (unsigned)(tenths % 10));
	if (why != NULL)
		add(t, " (%.*s)", NOTE_MAX, why);
}

/* It judged the whole mail, had said what it had to before, or failed. */
static bool has_part(const struct judge *g)
{
	return g->why != NULL || (g->met && (g->asked == META1_PM_END || g->accepted));
}

static const char *action_word(const struct smtps_judging *j)
{
	static const char *const words[] = {"continue", "accept", "refuse", "discard"};

	if (j->answer.action == META1_PM_CONTINUE && j->hold != NULL)
		return "hold";
	return words[j->answer.action];
}

void chain_merge_log(const struct smtps_judging *j)
{
	struct text t = {.len = 0};

	for (unsigned i = 0; i < j->njudge; i++)
		if (has_part(&j->judge[i]))
			add_judge(&t, &j->judge[i]);
	if (t.len > 0)
		log_event(LOG_L_NORMAL, "smtps.filters",
		    "session=%llu id=%s verdict=%s by=%s filters=%s",
		    (unsigned long long)j->about->serial,
		    j->about->taid != NULL ? j->about->taid : "-", action_word(j),
		    j->answer.by != NULL ? j->answer.by
		    : j->hold != NULL	 ? j->hold_by
					 : "-",
		    t.s);
}
