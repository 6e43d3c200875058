/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * chain_judge.c -- a filter in one session: whose turn it is, how it begins, fails, and ends.
 *
 * A judge that failed begins anew with the next mail, and is told CONNECT and HELO then, so a
 * client that stays for long is not without its filters for long.
 * Comes from chain.c; asks chain_when.c whether the filter is meant, and the breaker whether it is
 * to be tried. Owns the module's session. On failure of a filter: chain_fail.c says what it means.
 */
#include "smtps/chain.h"

#include <stdlib.h>

#define WHY_MAX 200

/* ---- whose turn it is ---- */

/* What is known at a stage. Without a question: of the next one of that kind. */
static struct chain_facts facts(const struct judge *g, uint32_t stage)
{
	const struct meta1_pm_about *about = g->of->about;
	const struct meta1_pm_ask *ask = g->of->ask;
	struct chain_facts f = {.listener = about->listener, .client = about->client};

	if ((stage & (CHAIN_MAIL_STAGES | META1_PM_REFUSED)) == 0 ||
	    (stage == META1_PM_MAIL && ask == NULL))
		return f;
	f.known = CHAIN_K_MAIL;
	f.from = stage == META1_PM_MAIL ? ask->arg : ask != NULL ? g->of->from : about->from;
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

enum chain_is chain_judge_concerned(const struct judge *g, uint32_t stage)
{
	struct chain_facts f = facts(g, stage);

	return chain_when(&g->f->when, &f);
}

/* It says something at this stage: yes; it may, when more is known: open. */
enum chain_is chain_judge_turn(const struct judge *g, uint32_t stage)
{
	enum chain_is is = chain_judge_concerned(g, stage);
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

/* ---- a judge's life ---- */

void chain_judge_leave(struct judge *g)
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
void chain_judge_mean(struct judge *g)
{
	uint32_t stage = g->of->ask != NULL ? g->of->ask->stage : 0;

	g->verdict = NULL;
	if (chain_judge_turn(g, stage) == CHAIN_YES &&
	    chain_fail_verdict(g->f->set, stage, g->why, &g->own))
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
	chain_judge_mean(g);
}

void chain_judge_failed(struct judge *g, uint32_t stage, const char *why)
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
	chain_judge_leave(g);
	without(g, why, false);
}

void chain_judge_unable(struct judge *g, uint32_t stage, const char *why)
{
	chain_merge_failure(g, stage, why);
	chain_judge_leave(g);
	without(g, why, true);
}

void chain_judge_no_room(struct judge *g, uint32_t stage, const char *why)
{
	static const char words[] = "The queue could not keep the message, try again later";
	static const struct meta1_buf line = {words, sizeof(words) - 1};
	const struct meta1_pm_about *about = g->of->about;

	log_event(LOG_L_WARN, "smtps.filter_no_room",
	    "filter=%s session=%llu id=%s stage=%s cause=%s", g->f->set->name,
	    (unsigned long long)about->serial, about->taid != NULL ? about->taid : "-",
	    chain_stage(stage), why);
	chain_judge_leave(g);
	g->state = JUDGE_NEW; /* the mail ends here; the next one is judged */
	g->said = NULL;
	g->own = (struct meta1_pm_verdict){.size = sizeof(g->own),
	    .action = META1_PM_REFUSE,
	    .smtp = 452,
	    .dsn = "4.3.1",
	    .nline = 1,
	    .line = &line,
	    .sizeof_edit = sizeof(struct meta1_pm_edit)};
	g->verdict = &g->own;
}

static void spare(struct judge *g)
{
	const char *last = g->f->stats->error;

	g->f->stats->count[CHAIN_C_SPARED]++;
	without(g, *last != '\0' ? last : "it is spared", false);
}

void chain_judge_begin(struct judge *g)
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
