/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * backoff.c -- when a report that could not be written is tried again, and that many of them do not
 * run against what is away for all of them.
 *
 * Each has a pause of its own: QMGR_BACKOFF_MIN after the first failure, doubled by each further
 * one up to QMGR_BACKOFF_MAX (or max_retry_delay), less up to a fifth, by the dice. What failed for
 * a reason that is no report's own (no smtps is there, a filter does not work, smar is away, the
 * store takes nothing) is counted as well: after QMGR_BACKOFF_ROW such failures in a row the gate
 * closes for a second, then one report tries, and each failure of such a one doubles the time, up
 * to a minute. Meanwhile all others wait without having been tried, and go when one has passed.
 * A filter that says "not now" of a report is well: that closes nothing, and opens what
 * filters closed.
 * Those for which filters had their time go through a closed gate, without them: they are looked
 * for each minute.
 *
 * Comes from bounce.c, goes back there. Owns the lists of those that wait; the reports are
 * bounce.c's. On failure: there is none.
 */
#include "qmgr/qmgr.h"

#include <event2/util.h>

#define GATE_MIN 1000
#define GATE_MAX 60000

METRIC_GAUGE(m_waiting, "dsn_waiting", "Reports that could not be written yet, and wait.");

static int64_t less_a_fifth(int64_t ms)
{
	uint32_t dice;

	evutil_secure_rng_get_bytes(&dice, sizeof(dice));
	return ms - (int64_t)(dice % 1024) * (ms / 5) / 1024;
}

static bool closed(const struct qmgr_backoff *b)
{
	return b->pause > 0;
}

/* Filters had as much time as a mail may wait, and they are what is away: it goes without them, so
 * it waits for none. */
static bool overdue(const struct qmgr *q, const struct qmgr_report *rep)
{
	return q->backoff.filters && rep->judged_since &&
	       loop_now(q->loop) - rep->judged_since > q->lim.max_queue;
}

bool qmgr_backoff_shut(const struct qmgr *q)
{
	const struct qmgr_backoff *b = &q->backoff;

	return closed(b) && (b->probe || loop_now(q->loop) < b->until);
}

bool qmgr_backoff_pass(struct qmgr *q, struct qmgr_report *rep)
{
	struct qmgr_backoff *b = &q->backoff;

	if (!closed(b) || rep->level == QMGR_BACKOFF_LATE || overdue(q, rep))
		return true;
	if (qmgr_backoff_shut(q))
		return false;
	b->probe = rep;
	return true;
}

bool qmgr_backoff_gives_up(const struct qmgr *q, const struct qmgr_report *rep)
{
	return closed(&q->backoff) && overdue(q, rep);
}

/* ---- those that wait ---- */

/* While filters are away it waits for them, tried or not. */
static void for_filters(const struct qmgr *q, struct qmgr_report *rep)
{
	if (closed(&q->backoff) && q->backoff.filters && !rep->judged_since)
		rep->judged_since = loop_now(q->loop);
}

static void append(struct qmgr *q, struct qmgr_report *rep, unsigned level)
{
	for_filters(q, rep);
	rep->level = (uint8_t)level;
	DL_APPEND(q->backoff.wait[level], rep);
	m_waiting.value = ++q->backoff.n;
}

void qmgr_backoff_hold(struct qmgr *q, struct qmgr_report *rep)
{
	rep->close_at = loop_now(q->loop);
	append(q, rep, 0);
}

/* Those of a level have pauses of one length, so each list is in order of time, or nearly so: one
 * that waits behind a later one is late by a fifth, not lost. */
int64_t qmgr_backoff_again(struct qmgr *q, struct qmgr_report *rep)
{
	int64_t ms = QMGR_BACKOFF_MIN, most = q->lim.max_retry;
	unsigned level = 1;

	if (most < QMGR_BACKOFF_MIN)
		most = QMGR_BACKOFF_MIN;
	if (most > QMGR_BACKOFF_MAX)
		most = QMGR_BACKOFF_MAX;
	rep->failures++;
	for (; level < rep->failures && level + 1 < QMGR_BACKOFF_LEVELS; level++)
		ms = ms * 2 < most ? ms * 2 : most;
	ms = less_a_fifth(ms);
	rep->close_at = loop_now(q->loop) + ms;
	append(q, rep, level);
	return ms;
}

static void take_off(struct qmgr *q, struct qmgr_report *rep)
{
	DL_DELETE(q->backoff.wait[rep->level], rep);
	m_waiting.value = --q->backoff.n;
}

/* Each minute while the gate is closed, whatever else wakes us: overdue ones are anywhere in the
 * lists. */
static void look(struct qmgr *q)
{
	struct qmgr_backoff *b = &q->backoff;
	int64_t now = loop_now(q->loop);
	struct qmgr_report *rep, *next;
	unsigned i;

	if (!closed(b) || now < b->look)
		return;
	b->look = now + GATE_MAX;
	for (i = 0; i < QMGR_BACKOFF_LEVELS; i++)
		DL_FOREACH_SAFE (b->wait[i], rep, next) {
			for_filters(q, rep);
			if (rep->close_at <= now && overdue(q, rep)) {
				take_off(q, rep);
				append(q, rep, QMGR_BACKOFF_LATE);
			}
		}
}

struct qmgr_report *qmgr_backoff_next(struct qmgr *q)
{
	int64_t now = loop_now(q->loop);
	struct qmgr_report *rep;
	unsigned i;

	look(q);
	for (i = 0; i <= QMGR_BACKOFF_LATE; i++) {
		rep = q->backoff.wait[i];
		if (rep && rep->close_at <= now && qmgr_backoff_pass(q, rep)) {
			take_off(q, rep);
			return rep;
		}
	}
	return NULL;
}

int64_t qmgr_backoff_at(const struct qmgr *q)
{
	const struct qmgr_backoff *b = &q->backoff;
	int64_t at = INT64_MAX;
	unsigned i;

	if (b->wait[QMGR_BACKOFF_LATE])
		return b->wait[QMGR_BACKOFF_LATE]->close_at;
	for (i = 0; i < QMGR_BACKOFF_LEVELS; i++)
		if (b->wait[i] && b->wait[i]->close_at < at)
			at = b->wait[i]->close_at;
	if (!closed(b) || !b->n)
		return at;
	/* The end of the one that tries wakes us; but a filter may have it for long, and what is
	 * overdue goes meanwhile. */
	if (b->probe)
		return b->look;
	at = at < b->until ? b->until : at;
	return at < b->look ? at : b->look;
}

/* ---- the gate ---- */

static void close_gate(struct qmgr *q, bool filters, const char *why)
{
	struct qmgr_backoff *b = &q->backoff;

	b->filters = filters;
	if (!closed(b))
		b->look = loop_now(q->loop) + GATE_MAX;
	b->pause = closed(b) ? b->pause * 2 : GATE_MIN;
	if (b->pause > GATE_MAX)
		b->pause = GATE_MAX;
	b->until = loop_now(q->loop) + less_a_fifth(b->pause);
	if (b->pause == GATE_MIN)
		log_event(LOG_L_WARN, "qmgr.reports_wait", "failures=%u error=%s text=%s", b->row,
		    why, "reports wait until one of them passes");
}

static void open_gate(struct qmgr *q)
{
	struct qmgr_backoff *b = &q->backoff;

	if (closed(b))
		log_event(LOG_L_NORMAL, "qmgr.reports_go", "waiting=%u", b->n);
	b->row = 0;
	b->pause = b->until = 0;
	b->probe = NULL;
}

void qmgr_backoff_failed(
    struct qmgr *q, const struct qmgr_report *rep, enum qmgr_blame blame, const char *why)
{
	struct qmgr_backoff *b = &q->backoff;
	bool probed = b->probe == rep;

	if (probed)
		b->probe = NULL;
	if (blame == QB_LATER && probed && b->filters)
		open_gate(q);
	if (blame <= QB_LATER)
		return; /* of the others that says nothing: the next one may try at once */
	b->row++;
	if (probed || (!closed(b) && b->row >= QMGR_BACKOFF_ROW))
		close_gate(q, blame == QB_FILTERS, why);
}

void qmgr_backoff_passed(struct qmgr *q, const struct qmgr_report *rep)
{
	struct qmgr_backoff *b = &q->backoff;

	if (rep->unjudged) { /* that filters are back it does not say */
		if (b->probe == rep)
			b->probe = NULL;
		return;
	}
	open_gate(q);
}

void qmgr_backoff_reset(struct qmgr *q)
{
	int64_t now = loop_now(q->loop);
	struct qmgr_report *rep;
	unsigned i;

	for (i = 0; i <= QMGR_BACKOFF_LATE; i++)
		DL_FOREACH (q->backoff.wait[i], rep)
			if (rep->close_at > now)
				rep->close_at = now;
	q->backoff.row = 0;
	q->backoff.pause = q->backoff.until = 0;
	q->backoff.probe = NULL;
}

/* ---- for who looks, and the end ---- */

int64_t qmgr_backoff_when(const struct qmgr *q, const struct qmgr_rcpt *r)
{
	const struct qmgr_backoff *b = &q->backoff;
	const struct qmgr_report *rep;
	unsigned i;

	for (i = 0; i <= QMGR_BACKOFF_LATE; i++)
		DL_FOREACH (b->wait[i], rep)
			if (rep->msg == qmgr_msg_of(r) && qmgr_report_has(rep, r))
				return closed(b) && b->until > rep->close_at ? b->until
									     : rep->close_at;
	return 0;
}

struct qmgr_report *qmgr_backoff_pop(struct qmgr *q)
{
	struct qmgr_report *rep;
	unsigned i;

	for (i = 0; i <= QMGR_BACKOFF_LATE; i++)
		if ((rep = q->backoff.wait[i])) {
			take_off(q, rep);
			return rep;
		}
	return NULL;
}
