/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * chain.c -- one question to all filters whose turn it is, group by group, and one answer.
 *
 * A group is asked at once: at END the phases verify and judge are one each, filters that modify or
 * sign one by one, each about what those before left; before the end nothing is edited, and those
 * that judge are one group, the others the next. A group that ends the mail is the last.
 * Comes from filter.c; goes to the modules by requests, comes back through said(), and by
 * chain_merge.c to the asker. Owns judges and the message that is revised.
 * On failure of a filter: chain_judge.c ends its session, the others go on.
 */
#include "smtps/chain.h"

#include <stdlib.h>

#define SHADOW_MS 10000 /* a filter in shadow holds nobody up for longer */

/* ---- one question to one judge ---- */

static void said(void *arg, enum meta1_status st, const struct meta1_reply *reply);

/* What it has to be told first, or the question itself. */
static uint32_t next_stage(const struct judge *g, uint32_t stage)
{
	if (stage != META1_PM_CONNECT && (g->wants & ~g->told & META1_PM_CONNECT) != 0)
		return META1_PM_CONNECT;
	if ((stage & CHAIN_MAIL_STAGES) != 0 && (g->wants & ~g->told & META1_PM_HELO) != 0 &&
	    g->of->about->helo != NULL)
		return META1_PM_HELO;
	return stage;
}

static int64_t patience(const struct set_filter *set, uint32_t stage)
{
	int64_t ms = stage == META1_PM_END ? set->end_timeout : set->timeout;

	return set->shadow && ms > SHADOW_MS ? SHADOW_MS : ms;
}

static void ask(struct judge *g)
{
	struct smtps_judging *j = g->of;
	uint32_t stage = next_stage(g, j->ask->stage);
	struct meta1_pm_ask q = *j->ask;

	if (stage != q.stage)
		q = (struct meta1_pm_ask){.size = sizeof(q),
		    .stage = stage,
		    .arg = stage == META1_PM_HELO ? buf_str(j->about->helo) : buf_of("", 0)};
	if (stage == META1_PM_END && j->revise != NULL) {
		q.msg = revise_message(j->revise);
		q.rcpt = revise_rcpts(j->revise, &q.nrcpt);
		j->about->from = revise_sender(j->revise);
	}
	g->verdict = g->said = NULL;
	g->asked = stage;
	g->told |= stage & (META1_PM_CONNECT | META1_PM_HELO);
	g->met = g->met || (stage & CHAIN_MAIL_STAGES) != 0;
	g->req =
	    mod_req(g->f->inst, loop_now(j->chain->loop) + patience(g->f->set, stage), said, g);
	if (g->req == NULL) {
		chain_judge_failed(g, stage, "too many questions are open");
		return;
	}
	j->nopen++;
	g->since = loop_now_us(j->chain->loop);
	g->f->ops->ask(g->sess, g->req, &q);
}

/* It has seen enough: it said so, or refused in shadow, and takes the mail for refused. */
static bool has_enough(const struct judge *g, uint32_t stage, uint32_t action)
{
	return action == META1_PM_ACCEPT ||
	       (g->f->set->shadow && action != META1_PM_CONTINUE && stage != META1_PM_RCPT);
}

static void take(struct judge *g, uint32_t stage, const struct meta1_pm_verdict *v)
{
	uint32_t asked = g->of->ask->stage;

	if (v != NULL) {
		g->wants = v->wants;
		if (has_enough(g, stage, v->action) && stage < META1_PM_MAIL)
			g->state = JUDGE_OUT;
		else if (has_enough(g, stage, v->action) && (stage & CHAIN_MAIL_STAGES) != 0)
			g->accepted = true;
	}
	chain_stats_verdict(g->f->stats, v, stage);
	if (stage != asked && (v == NULL || v->action == META1_PM_CONTINUE)) {
		if (next_stage(g, asked) != asked || (g->wants & asked) != 0)
			ask(g);
		return;
	}
	g->verdict = g->said = v;
	if (v != NULL)
		chain_merge_shadow(g, stage);
}

static void hear(struct judge *g, enum meta1_status st, const struct meta1_reply *reply)
{
	const struct meta1_pm_verdict *v = reply->ext;
	uint32_t stage = g->asked;
	const char *fault;

	if (st != META1_OK) {
		const char *why = reply->text != NULL ? reply->text : "it gave no reason";

		if (st == META1_TEMPFAIL && reply->smtp == 452)
			chain_judge_no_room(g, stage, why);
		else if (st == META1_PERMFAIL)
			chain_judge_unable(g, stage, why);
		else
			chain_judge_failed(g, stage, why);
		return;
	}
	fault = v != NULL ? chain_verdict_fault(v, stage) : NULL;
	if (fault != NULL) {
		chain_judge_failed(g, stage, fault);
		return;
	}
	chain_breaker_worked(&g->f->breaker, stage);
	take(g, stage, v);
}

/* ---- one question to all ---- */

static unsigned group_end(const struct smtps_judging *j, unsigned at)
{
	int32_t phase = j->judge[at].f->set->phase;
	bool at_end = j->ask->stage == META1_PM_END;
	unsigned end = at + 1;

	if (at_end && phase >= FILTER_MODIFY)
		return end;
	for (; end < j->njudge; end++) {
		int32_t other = j->judge[end].f->set->phase;

		if (at_end ? other != phase : (other >= FILTER_MODIFY) != (phase >= FILTER_MODIFY))
			break;
	}
	return end;
}

static void ask_group(struct smtps_judging *j)
{
	for (unsigned i = j->at; i < j->end; i++) {
		struct judge *g = &j->judge[i];

		if (chain_judge_turn(g, j->ask->stage) != CHAIN_YES)
			continue;
		j->asked = true;
		if (g->state == JUDGE_NEW)
			chain_judge_begin(g); /* may end as another state, with its verdict */
		else if (g->state == JUDGE_FAILED)
			chain_judge_mean(g);
		if (g->state == JUDGE_ON && ((g->wants & j->ask->stage) != 0 ||
						next_stage(g, j->ask->stage) != j->ask->stage))
			ask(g);
	}
}

static void tell(void *arg)
{
	struct smtps_judging *j = arg;
	struct smtps_answer a = j->answer;
	bool rcpt = j->ask->stage == META1_PM_RCPT && a.action == META1_PM_CONTINUE;
	smtps_answer_fn fn = j->fn;
	void *fn_arg = j->arg;

	for (unsigned i = 0; rcpt && i < j->njudge; i++)
		j->judge[i].rcpt = j->judge[i].rcpt || j->judge[i].rcpt_now;
	if (j->ask->stage == META1_PM_END) {
		chain_merge_log(j);
		if (a.action == META1_PM_CONTINUE && j->hold != NULL) {
			a.hold = j->hold;
			a.by = j->hold_by;
		}
		if (a.action == META1_PM_CONTINUE && j->revise != NULL) {
			const struct meta1_pm_message *m = revise_message(j->revise);

			a.edit = revise_envelope(j->revise, &a.nedit);
			a.extent = revise_changed(j->revise) ? m->extent : NULL;
			a.nextent = a.extent != NULL ? m->nextent : 0;
		}
	}
	j->ask = NULL;
	j->about->from = j->from;
	fn(fn_arg, &a); /* may end all of it */
}

void chain_go_on(struct smtps_judging *j)
{
	for (;;) {
		enum chain_merged m = j->ask->stage != META1_PM_REFUSED
					  ? chain_merge(j, j->at, j->end)
					  : CHAIN_GOES_ON;

		if (m == CHAIN_WAITS)
			return;
		if (m == CHAIN_FINAL)
			break;
		j->at = j->end;
		if (j->at == j->njudge)
			break;
		j->end = group_end(j, j->at);
		ask_group(j);
		if (j->nopen > 0)
			return;
	}
	if (j->later || !j->asked)
		tell(j);
	else
		loop_defer(j->chain->loop, &j->tell);
}

static void said(void *arg, enum meta1_status st, const struct meta1_reply *reply)
{
	struct judge *g = arg;
	struct smtps_judging *j = g->of;
	uint64_t us = loop_now_us(j->chain->loop) - g->since;

	g->req = NULL;
	g->spent_us += us;
	j->later = true;
	if (st == META1_OK)
		chain_times_add(
		    g->asked == META1_PM_END ? &g->f->stats->end : &g->f->stats->commands, us);
	hear(g, st, reply); /* may ask the next */
	if (--j->nopen == 0)
		chain_go_on(j);
}

void smtps_chain_ask(struct smtps_judging *j, const struct meta1_pm_ask *q, unsigned room,
    smtps_answer_fn fn, void *arg)
{
	ensure(j->ask == NULL);
	j->ask = q;
	j->room = room;
	j->from = j->about->from;
	j->fn = fn;
	j->arg = arg;
	j->at = j->end = 0;
	j->later = j->asked = false;
	j->answer = (struct smtps_answer){.action = META1_PM_CONTINUE};
	for (unsigned i = 0; i < j->njudge; i++) {
		struct judge *g = &j->judge[i];

		g->verdict = NULL;
		g->rcpt_now = q->stage == META1_PM_RCPT && chain_when_rcpt(&g->f->when, q->arg);
	}
	chain_go_on(j);
}

bool smtps_chain_wants(const struct smtps_judging *j, uint32_t stage)
{
	for (unsigned i = 0; i < j->njudge; i++) {
		const struct judge *g = &j->judge[i];

		if (chain_judge_turn(g, stage) != CHAIN_NO)
			return true;
		/* whether its recipients are there must be known at the end */
		if (stage == META1_PM_RCPT && chain_when_rcpts(&g->f->when) &&
		    (g->state == JUDGE_ON || g->state == JUDGE_FAILED))
			return true;
	}
	return false;
}

size_t smtps_chain_held(const struct smtps_judging *j)
{
	return sizeof(*j) + j->njudge * sizeof(j->judge[0]) + revise_held(j->revise);
}

/* ---- a session ---- */

/* Nobody waits for the answer any more. */
static void forget(struct smtps_judging *j)
{
	task_cancel(&j->tell);
	chain_edits_forget(j);
	if (j->ask != NULL)
		j->about->from = j->from;
	j->ask = NULL;
	j->nopen = 0;
	for (unsigned i = 0; i < j->njudge; i++) {
		struct judge *g = &j->judge[i];

		if (g->req == NULL)
			continue;
		mod_req_cancel(&g->req);
		chain_judge_leave(g); /* what its module still does is of no session */
		g->state = JUDGE_NEW;
	}
}

static void fresh(struct judge *g)
{
	if (g->met && g->begun)
		g->f->ops->reset(g->sess);
	g->met = g->accepted = g->rcpt = g->rcpt_now = g->spent = false;
	g->verdict = g->said = NULL;
	g->spent_us = 0;
	if (g->state != JUDGE_FAILED || g->f->set->fails == FAILURE_ABORT)
		return;
	g->state = JUDGE_NEW;
	free(g->why);
	g->why = NULL;
}

void smtps_chain_reset(struct smtps_judging *j)
{
	forget(j);
	for (unsigned i = 0; i < j->njudge; i++)
		fresh(&j->judge[i]);
	j->hold = j->hold_by = NULL;
	revise_free(&j->revise);
}

struct smtps_judging *smtps_chain_begin(struct smtps_chain *c, struct meta1_pm_about *about)
{
	struct smtps_judging *j = base_alloc(sizeof(*j) + (size_t)c->nfilter * sizeof(j->judge[0]));
	bool any = false;

	j->chain = c;
	j->about = about;
	j->njudge = c->nfilter;
	task_init(&j->tell, tell, j);
	c->refs++;
	c->used = true;
	for (unsigned i = 0; i < c->nfilter; i++) {
		struct judge *g = &j->judge[i];

		g->of = j;
		g->f = &c->filter[i];
		g->state = JUDGE_OUT;
		if (chain_judge_concerned(g, META1_PM_CONNECT) != CHAIN_NO)
			chain_judge_begin(g);
		any = any || g->state != JUDGE_OUT || g->why != NULL;
	}
	if (!any)
		smtps_chain_end(&j);
	return j;
}

void smtps_chain_end(struct smtps_judging **jp)
{
	struct smtps_judging *j = *jp;

	*jp = NULL;
	if (j == NULL)
		return;
	forget(j);
	for (unsigned i = 0; i < j->njudge; i++) {
		chain_judge_leave(&j->judge[i]);
		free(j->judge[i].why);
	}
	revise_free(&j->revise);
	smtps_chain_free(&j->chain);
	free(j);
}
