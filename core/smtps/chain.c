/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * chain.c -- one question to all filters whose turn it is, group by group, and one answer.
 *
 * A group is asked at once: at END the phases verify and judge are one each, filters that modify or
 * sign one by one, each about what those before left; before the end nothing is edited, and those
 * that judge are one group, the others the next. A group that ends the mail is the last.
 * A judge that failed begins anew with the next mail, and is told CONNECT and HELO then, so a
 * client that stays for long is not without its filters for long.
 * Comes from filter.c; goes to the modules by requests, comes back through said(), and by
 * chain_merge.c to the asker. Owns judges and the message that is revised.
 * On failure of a filter: chain_fail.c says what; its session is ended, the others go on.
 */
#include "smtps/chain.h"

#include <stdlib.h>
#include <time.h>

#define MAIL_STAGES (META1_PM_MAIL | META1_PM_RCPT | META1_PM_DATA | META1_PM_END)
#define SHADOW_MS   10000 /* a filter in shadow holds nobody up for longer */
#define WHY_MAX	    200

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* ---- whose turn it is ---- */

/* What is known at a stage. Without a question: of the next one of that kind. */
static struct chain_facts facts(const struct judge *g, uint32_t stage)
{
	const struct meta1_pm_about *about = g->of->about;
	const struct meta1_pm_ask *ask = g->of->ask;
	struct chain_facts f = {.listener = about->listener, .client = about->client};

	if ((stage & (MAIL_STAGES | META1_PM_REFUSED)) == 0 ||
	    (stage == META1_PM_MAIL && ask == NULL))
		return f;
	f.known = CHAIN_K_MAIL;
	f.from = stage == META1_PM_MAIL ? ask->arg : about->from;
	f.authenticated = about->auth_user != NULL;
	if ((stage & (META1_PM_RCPT | META1_PM_REFUSED)) != 0 && ask != NULL) {
		f.known |= CHAIN_K_RCPT;
		f.rcpt = chain_when_rcpt(&g->f->when, ask->arg);
	} else if ((stage & (META1_PM_DATA | META1_PM_END)) != 0) {
		f.known |= CHAIN_K_RCPT;
		f.rcpt = g->rcpt;
	}
	if (stage == META1_PM_END && ask != NULL && ask->msg != NULL) {
		f.known |= CHAIN_K_SIZE;
		f.bytes = ask->msg->bytes;
	}
	return f;
}

static enum chain_is concerned(const struct judge *g, uint32_t stage)
{
	struct chain_facts f = facts(g, stage);

	return chain_when(&g->f->when, &f);
}

/* It says something at this stage: yes; it may, when more is known: open. */
static enum chain_is turn(const struct judge *g, uint32_t stage)
{
	enum chain_is is = concerned(g, stage);
	struct meta1_pm_verdict v;

	if (is == CHAIN_NO || g->accepted)
		return CHAIN_NO;
	switch (g->state) {
	case JUDGE_NEW:
		return stage == META1_PM_MAIL ? CHAIN_YES : CHAIN_NO;
	case JUDGE_ON:
		return g->wants & stage ? CHAIN_YES : CHAIN_NO;
	case JUDGE_FAILED:
		return !g->f->set->shadow && chain_fail_verdict(g->f->set, stage, g->why, &v)
			   ? is
			   : CHAIN_NO;
	default:
		return CHAIN_NO;
	}
}

bool smtps_chain_wants(const struct smtps_judging *j, uint32_t stage)
{
	for (unsigned i = 0; i < j->njudge; i++) {
		const struct judge *g = &j->judge[i];

		if (turn(g, stage) != CHAIN_NO)
			return true;
		/* whether its recipients are there must be known at the end */
		if (stage == META1_PM_RCPT && chain_when_rcpts(&g->f->when) &&
		    (g->state == JUDGE_ON || g->state == JUDGE_FAILED))
			return true;
	}
	return false;
}

/* ---- a judge's life ---- */

static void leave(struct judge *g)
{
	if (g->probes)
		chain_breaker_left(&g->f->breaker);
	g->probes = false;
	if (g->begun)
		g->f->ops->end(&g->sess);
	g->begun = false;
	g->sess = NULL;
	g->told = 0;
}

/* What its failure means to the question that is open. */
static void mean(struct judge *g)
{
	uint32_t stage = g->of->ask != NULL ? g->of->ask->stage : 0;

	g->verdict = NULL;
	if (turn(g, stage) == CHAIN_YES && chain_fail_verdict(g->f->set, stage, g->why, &g->own))
		g->verdict = &g->own;
}

/* It will not be asked: in this mail, or, where the mail goes on without it, in this session. */
static void without(struct judge *g, const char *why, bool of_mail)
{
	const struct set_filter *set = g->f->set;
	bool goes_on = set->fails == FAILURE_ACCEPT || set->fails == FAILURE_ACCEPT_BUT_RECONNECT;

	free(g->why);
	g->why = base_strndup(why, strnlen(why, WHY_MAX));
	g->state = goes_on && !of_mail && !set->shadow ? JUDGE_OUT : JUDGE_FAILED;
	g->said = NULL;
	mean(g);
}

static void failed(struct judge *g, uint32_t stage, const char *why)
{
	const struct set_filter *set = g->f->set;
	struct chain_breaker *b = &g->f->breaker;
	int64_t now = loop_now(g->of->chain->loop);
	bool opened = chain_breaker_failed(b, stage, now, set->fails == FAILURE_ACCEPT);

	g->probes = false;
	chain_merge_failure(g, stage, why);
	if (opened)
		log_event(LOG_L_WARN, "smtps.filter_breaker", "filter=%s state=%s pause_ms=%lld",
		    set->name, chain_breaker_state(b, now), (long long)b->pause);
	leave(g);
	without(g, why, false);
}

void chain_judge_unable(struct judge *g, uint32_t stage, const char *why)
{
	chain_merge_failure(g, stage, why);
	leave(g);
	without(g, why, true);
}

static void spare(struct judge *g)
{
	const char *last = g->f->stats->error;

	g->f->stats->count[CHAIN_C_SPARED]++;
	without(g, *last != '\0' ? last : "it is spared", false);
}

static void begin(struct judge *g)
{
	struct smtps_judging *j = g->of;

	free(g->why);
	g->why = NULL;
	switch (chain_breaker_pass(&g->f->breaker, loop_now(j->chain->loop))) {
	case CHAIN_SPARED:
		spare(g);
		return;
	case CHAIN_PROBES:
		g->probes = true;
		break;
	default:
		break;
	}
	g->wants = g->f->ops->begin(g->f->data, j->about, &g->sess);
	g->begun = g->wants != 0 || g->sess != NULL;
	g->state = g->wants != 0 ? JUDGE_ON : JUDGE_OUT;
}

/* ---- one question to one judge ---- */

static void said(void *arg, enum meta1_status st, const struct meta1_reply *reply);

/* What it has to be told first, or the question itself. */
static uint32_t next_stage(const struct judge *g, uint32_t stage)
{
	if (stage != META1_PM_CONNECT && (g->wants & ~g->told & META1_PM_CONNECT) != 0)
		return META1_PM_CONNECT;
	if ((stage & MAIL_STAGES) != 0 && (g->wants & ~g->told & META1_PM_HELO) != 0 &&
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
	if (stage == META1_PM_END && j->revise != NULL)
		q.msg = revise_message(j->revise);
	g->verdict = g->said = NULL;
	g->asked = stage;
	g->told |= stage & (META1_PM_CONNECT | META1_PM_HELO);
	g->met = g->met || (stage & MAIL_STAGES) != 0;
	g->req =
	    mod_req(g->f->inst, loop_now(j->chain->loop) + patience(g->f->set, stage), said, g);
	if (g->req == NULL) {
		failed(g, stage, "too many questions are open");
		return;
	}
	j->nopen++;
	g->since = now_us();
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
		else if (has_enough(g, stage, v->action) && (stage & MAIL_STAGES) != 0)
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

		if (st == META1_PERMFAIL)
			chain_judge_unable(g, stage, why);
		else
			failed(g, stage, why);
		return;
	}
	fault = v != NULL ? chain_verdict_fault(v, stage) : NULL;
	if (fault != NULL) {
		failed(g, stage, fault);
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

		if (turn(g, j->ask->stage) != CHAIN_YES)
			continue;
		j->asked = true;
		if (g->state == JUDGE_NEW)
			begin(g); /* may end as another state, with its verdict */
		else if (g->state == JUDGE_FAILED)
			mean(g);
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
	fn(fn_arg, &a); /* may end all of it */
}

static void go_on(struct smtps_judging *j)
{
	for (;;) {
		bool changes = j->ask->stage != META1_PM_REFUSED;

		if (changes && !chain_merge(j, j->at, j->end))
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
	uint64_t us = now_us() - g->since;

	g->req = NULL;
	g->spent_us += us;
	j->later = true;
	if (st == META1_OK)
		chain_times_add(
		    g->asked == META1_PM_END ? &g->f->stats->end : &g->f->stats->commands, us);
	hear(g, st, reply); /* may ask the next */
	if (--j->nopen == 0)
		go_on(j);
}

void smtps_chain_ask(
    struct smtps_judging *j, const struct meta1_pm_ask *q, smtps_answer_fn fn, void *arg)
{
	ensure(j->ask == NULL);
	j->ask = q;
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
	go_on(j);
}

/* ---- a session ---- */

/* Nobody waits for the answer any more. */
static void forget(struct smtps_judging *j)
{
	task_cancel(&j->tell);
	j->ask = NULL;
	j->nopen = 0;
	for (unsigned i = 0; i < j->njudge; i++) {
		struct judge *g = &j->judge[i];

		if (g->req == NULL)
			continue;
		mod_req_cancel(&g->req);
		leave(g); /* what its module still does is of no session */
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

struct smtps_judging *smtps_chain_begin(struct smtps_chain *c, const struct meta1_pm_about *about)
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
		if (concerned(g, META1_PM_CONNECT) != CHAIN_NO)
			begin(g);
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
		leave(&j->judge[i]);
		free(j->judge[i].why);
	}
	revise_free(&j->revise);
	smtps_chain_free(&j->chain);
	free(j);
}
