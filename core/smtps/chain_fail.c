/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * chain_fail.c -- a filter that failed: what its section says then, and the breaker that spares
 * it, and the clients the wait for it.
 *
 * The breaker of a filter is closed; CHAIN_ROW failures in a row open it for a second, then one
 * session tries the filter while the others do without, and each failure doubles the pause. An
 * answer closes it, if it is to a stage not before that of the last failure: who greets well and
 * dies at the end of each mail is not well. flags = { accept } shuts it until a reload.
 * Comes from chain.c. Owns nothing; pure, the time is given. On failure: none.
 */
#include "smtps/chain.h"

enum chain_pass chain_breaker_pass(struct chain_breaker *b, int64_t now)
{
	if (b->shut)
		return CHAIN_SPARED;
	if (b->pause == 0)
		return CHAIN_GO;
	if (now < b->open_until || now < b->probe_until)
		return CHAIN_SPARED;
	b->probe_until = now + CHAIN_PROBE;
	return CHAIN_PROBES;
}

bool chain_breaker_failed(struct chain_breaker *b, uint32_t stage, int64_t now, bool for_ever)
{
	bool was_open = b->pause > 0 || b->shut, tried = b->pause > 0 && now >= b->open_until;

	b->failures++;
	b->stage = stage;
	b->probe_until = 0;
	if (for_ever)
		b->shut = true;
	else if (tried)
		b->pause = b->pause * 2 < CHAIN_PAUSE_MAX ? b->pause * 2 : CHAIN_PAUSE_MAX;
	else if (!was_open && b->failures >= CHAIN_ROW)
		b->pause = CHAIN_PAUSE_MIN;
	else
		return false; /* closed yet, or of a session that began before it opened */
	if (!b->shut)
		b->open_until = now + b->pause;
	return !was_open;
}

/* How far a mail has come there: what is no stage of a mail's way proves nothing of it. */
static uint32_t rank(uint32_t stage)
{
	return stage <= META1_PM_END ? stage : 0;
}

void chain_breaker_worked(struct chain_breaker *b, uint32_t stage)
{
	if (rank(stage) >= rank(b->stage) && !b->shut)
		*b = (struct chain_breaker){.failures = 0};
}

void chain_breaker_left(struct chain_breaker *b)
{
	b->probe_until = 0;
}

const char *chain_breaker_state(const struct chain_breaker *b, int64_t now)
{
	if (b->shut)
		return "shut";
	if (b->pause == 0)
		return "closed";
	return now < b->open_until ? "open" : "probing";
}

/* ---- what a failure means ---- */

static const struct {
	uint32_t stages; /* at which it says something */
	uint16_t smtp;	 /* 0: a hold */
	char dsn[12];
} meanings[] = {
    [FAILURE_ABORT] = {META1_PM_CONNECT | META1_PM_HELO | CHAIN_MAIL_STAGES, 421, "4.7.1"},
    [FAILURE_ACCEPT] = {0, 0, ""},
    [FAILURE_ACCEPT_BUT_RECONNECT] = {0, 0, ""},
    [FAILURE_TEMPFAIL] = {CHAIN_MAIL_STAGES, 451, "4.7.1"},
    [FAILURE_REJECT] = {CHAIN_MAIL_STAGES, 554, "5.7.1"},
    [FAILURE_QUARANTINE] = {META1_PM_END, 0, ""},
};

bool chain_fail_verdict(
    const struct set_filter *set, uint32_t stage, const char *why, struct meta1_pm_verdict *v)
{
	static const char words[] = "a filter of this server does not work";
	static const struct meta1_buf line = {words, sizeof(words) - 1};
	int32_t f = set->fails;

	if ((meanings[f].stages & stage) == 0)
		return false;
	*v = (struct meta1_pm_verdict){.size = sizeof(*v),
	    .action = meanings[f].smtp != 0 ? META1_PM_REFUSE : META1_PM_CONTINUE,
	    .smtp = meanings[f].smtp,
	    .nline = meanings[f].smtp != 0,
	    .line = &line,
	    .hold = meanings[f].smtp != 0 ? NULL : why,
	    .sizeof_edit = sizeof(struct meta1_pm_edit)};
	memcpy(v->dsn, meanings[f].dsn, sizeof(v->dsn));
	return true;
}
