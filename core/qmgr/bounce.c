/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bounce.c -- reports to the sender: who gets one about what, and that each is made once, so
 * that a crash at any point makes neither none nor two.
 *
 *	1 an event opens a report or joins the open one of its kind, and is recorded:
 *	  "waiting, report=N action; reason";
 *	2 when that is on disk, and nothing of the message is active or QMGR_REPORT_HOLD is over,
 *	  the report is closed, and report.c reads the message,
 *	3 and, when filters have said what they want of it (judge.c), commits the text to the
 *	  store under the id PARENT-N,
 *	4 its recipients are recorded: bounced by that id, delivered, or waiting and "warned",
 *	  and only then
 *	5 the report itself is taken as a new message.
 *
 * Kinds: failed; delayed; delivered or relayed; expanded, about the alias that a recipient stands
 * for (RFC 3461 5.2.7.3), made before that is tried first. N is the index of the recipient that
 * opened it + 1, of a delay + nrcpt too, of an expansion + 2 nrcpt: a recipient opens at most one
 * about its end, one about its delay and one about its alias, so N never repeats. A restart between
 * 1 and 4 asks whether PARENT-N is queued: it is there or was never written, for it cannot be gone
 * without the records that follow it. Then a failed recipient is tried again, a late one waits on,
 * and of one that was delivered, which stays so whatever happens, the report is written now.
 *
 * NOTIFY (RFC 3461) decides who is told; without it failures are, and delays after delay_warning,
 * once. A failing mail without a sender, a report above all, goes to double_bounce or nowhere, and
 * never further. With VERP each recipient has a report of its own, to its address.
 *
 * Comes from outcome.c and dispatch.c; goes to store.c and report.c. Owns the reports.
 * On failure to store one: again, as backoff.c says; a warning is given up until the next try, at
 * least QMGR_BACKOFF_MIN later while the message is in memory, and that an alias was expanded until
 * the message is read from the store again: delivery waits for neither.
 */
#include "qmgr/qmgr.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

METRIC_COUNTER(m_dsn, "dsn_total", "Reports written to senders.");
METRIC_COUNTER(m_warnings, "dsn_delay_total", "Of these: warnings that a mail is late.");
METRIC_COUNTER(m_success, "dsn_success_total", "Of these: that a mail was delivered or relayed.");
METRIC_COUNTER(m_double, "dsn_double_total", "Of these: that a report could not be delivered.");
METRIC_COUNTER(m_dropped, "dsn_not_due_total", "Failures of which nobody wants a report.");
METRIC_COUNTER(m_retry, "dsn_retries_total", "Reports that could not be stored at once.");

METRIC_COUNTER(m_expanded, "dsn_expanded_total", "Of these: that an alias was expanded.");

void qmgr_bounce_id(const struct qmgr_msg *m, uint32_t number, char out[META1_ID_MAX])
{
	uint64_t h = 14695981039346656037u;
	const char *s;

	if (snprintf(out, META1_ID_MAX, "%s-%u", m->id, number) < META1_ID_MAX)
		return;
	/* A store with ids of its own, too long for an addition. */
	for (s = m->id; *s; s++)
		h = (h ^ (uint8_t)*s) * 1099511628211u;
	snprintf(out, META1_ID_MAX, "D%016llx-%u", (unsigned long long)h, number);
}

/* ---- gathering ---- */

static void step(struct qmgr *q);

static void timer(int fd, short what, void *arg)
{
	(void)fd, (void)what;
	step(arg);
}

static void wake(struct qmgr *q)
{
	int64_t at = qmgr_backoff_at(q), now = loop_now(q->loop);

	if (q->reports && q->reports->close_at < at)
		at = q->reports->close_at;
	if (at == INT64_MAX || q->nwriting >= QMGR_REPORTS_MAX || q->stopping)
		return;
	if (!q->report_timer)
		q->report_timer = loop_timer(q->loop, -1, timer, q);
	loop_rearm(q->report_timer, at > now ? at - now : 0);
}

/* Does anybody want to know? */
static bool wanted(struct qmgr *q, const struct qmgr_rcpt *r, enum qmgr_action action)
{
	static const uint32_t bit[] = {
	    META1_N_FAILURE, META1_N_DELAY, META1_N_SUCCESS, META1_N_SUCCESS};
	const char *twice = q->lim.double_bounce;

	if (action == QA_EXPANDED)
		return r->flags & META1_RF_TELL && !r->told && *qmgr_msg_of(r)->from &&
		       *qmgr_msg_alias(r);
	if (!*qmgr_msg_sender(qmgr_msg_of(r), r))
		return action == QA_FAILED && twice && *twice && strcasecmp(r->addr, twice) != 0;
	if (action <= QA_DELAYED && !r->notify)
		return true;
	return r->notify & bit[action];
}

/* To whom: verp has room for an address of its own. Of an alias who sent the mail is told, though
 * the owner of a list gets what comes of its members. */
static const char *told_to(struct qmgr *q, const struct qmgr_rcpt *r, enum qmgr_action action,
    char verp[QMGR_VERP_MAX + 1])
{
	const char *to = action == QA_EXPANDED ? qmgr_msg_of(r)->from : qmgr_msg_return(q, r, verp);

	return *to ? to : q->lim.double_bounce;
}

static struct qmgr_report *open_report(
    struct qmgr *q, struct qmgr_rcpt *r, enum qmgr_action kind, const char *to, bool alone)
{
	struct qmgr_msg *m = qmgr_msg_of(r);
	struct qmgr_report *rep = base_alloc(sizeof(*rep));

	rep->to = base_strndup(to, strlen(to));
	rep->q = q;
	rep->msg = m;
	rep->kind = kind;
	rep->number = r->index + 1 + (kind == QA_DELAYED ? m->nrcpt : 0) +
		      (kind == QA_EXPANDED ? 2 * m->nrcpt : 0);
	rep->begin = alone ? r->index : 0;
	rep->end = alone ? rep->begin + 1 : m->nrcpt;
	rep->close_at = loop_now(q->loop) + QMGR_REPORT_HOLD;
	qmgr_bounce_id(m, rep->number, rep->id);
	DL_PREPEND2(m->report, rep, mprev, mnext);
	HASH_ADD_STR(q->reports_by_id, id, rep);
	DL_APPEND(q->reports, rep);
	wake(q);
	return rep;
}

/* The report that recipients of this kind and sender join; NULL: none. An address that names the
 * recipient has one of its own, so of a mailing with as many reports none is looked for. */
static struct qmgr_report *open_of(const struct qmgr_msg *m, enum qmgr_action kind, const char *to)
{
	struct qmgr_report *rep;

	for (rep = m->report; rep; rep = rep->mnext)
		if (rep->kind == kind && !strcmp(rep->to, to))
			return rep;
	return NULL;
}

static void report(struct qmgr *q, struct qmgr_rcpt *r, enum qmgr_action action)
{
	enum qmgr_action kind = action == QA_DELIVERED ? QA_RELAYED : action;
	char verp[QMGR_VERP_MAX + 1];
	const char *to = told_to(q, r, action, verp);
	struct qmgr_report *rep = to == verp ? NULL : open_of(qmgr_msg_of(r), kind, to);

	if (!rep)
		rep = open_report(q, r, kind, to, to == verp);
	rep->unrecorded++;
	r->report = rep->number;
	r->action = action & 7;
	r->phase = QP_INTENT;
	qmgr_store_record(q, r);
}

bool qmgr_bounce_report(struct qmgr *q, struct qmgr_rcpt *r, enum qmgr_action action)
{
	if (r->state != META1_R_WAITING || !wanted(q, r, action)) {
		m_dropped.value += action == QA_FAILED;
		return false;
	}
	report(q, r, action);
	return true;
}

void qmgr_bounce_expanded(struct qmgr *q, struct qmgr_rcpt *r)
{
	if (r->phase == QP_WAIT && r->state == META1_R_WAITING && wanted(q, r, QA_EXPANDED))
		report(q, r, QA_EXPANDED);
}

static bool late(struct qmgr *q, const struct qmgr_rcpt *r)
{
	return r->phase == QP_WAIT && r->state == META1_R_WAITING && !r->warned &&
	       wanted(q, r, QA_DELAYED);
}

/* None is begun that would be given up at once: its intent would be a record for nothing; nor soon
 * after one was given up, for what waits for room is looked at often.
 * The first one that is late takes along all that wait with it: one warning, not one a retry. With
 * VERP each has its own anyway. */
bool qmgr_bounce_late(struct qmgr *q, struct qmgr_rcpt *r)
{
	struct qmgr_msg *m = qmgr_msg_of(r);
	char verp[QMGR_VERP_MAX + 1];
	const char *to;
	bool first;
	uint32_t i;

	if (!q->lim.delay_warning || loop_now(q->loop) - m->born < q->lim.delay_warning ||
	    loop_now(q->loop) < m->warn_after || !late(q, r) || qmgr_backoff_shut(q))
		return false;
	to = told_to(q, r, QA_DELAYED, verp);
	first = to != verp && !open_of(m, QA_DELAYED, to);
	report(q, r, QA_DELAYED);
	for (i = 0; first && i < m->nrcpt; i++)
		if (late(q, &m->rcpt[i]))
			report(q, &m->rcpt[i], QA_DELAYED);
	return true;
}

static void report_free(struct qmgr_report *rep)
{
	free(rep->to);
	free(rep);
}

/* Delivery must not wait for it: it is said at the next try, if at all. */
static bool may_be_dropped(const struct qmgr_report *rep)
{
	return rep->kind == QA_DELAYED || rep->kind == QA_EXPANDED;
}

/* It waits as before: in the dock of its destination, if it is still there. */
static void as_before(struct qmgr *q, struct qmgr_rcpt *r)
{
	const struct qmgr_dest *d = qmgr_lane_dest(q, qmgr_msg_of(r)->slot);

	r->report = 0;
	if (r->blocked && d && d == qmgr_route_dest(q, r)) {
		r->phase = QP_WAIT;
		qmgr_kick(q);
	} else {
		qmgr_active_wait(q, r, r->due);
	}
}

static void drop(struct qmgr_report *rep)
{
	struct qmgr_msg *m = rep->msg;
	uint32_t i;

	if (rep->kind == QA_DELAYED)
		m->warn_after = loop_now(rep->q->loop) + QMGR_BACKOFF_MIN;
	for (i = rep->begin; i < rep->end; i++)
		if (qmgr_report_has(rep, &m->rcpt[i]))
			as_before(rep->q, &m->rcpt[i]);
	report_free(rep);
}

static void write_it(struct qmgr_report *rep)
{
	DL_APPEND(rep->q->writing, rep);
	rep->q->nwriting++;
	qmgr_report_write(rep);
}

/* It gathers no more: what comes later opens the next one. Where none can be written now it waits
 * without being tried, and a warning is given up. */
static void start(struct qmgr_report *rep)
{
	struct qmgr *q = rep->q;

	DL_DELETE2(rep->msg->report, rep, mprev, mnext);
	HASH_DELETE(hh, q->reports_by_id, rep);
	DL_DELETE(q->reports, rep);
	if (qmgr_backoff_pass(q, rep)) {
		write_it(rep);
	} else if (may_be_dropped(rep)) {
		m_retry.value++;
		drop(rep);
	} else {
		rep->retry = true;
		qmgr_backoff_hold(q, rep);
		wake(q);
	}
}

static bool may_start(const struct qmgr *q, const struct qmgr_report *rep)
{
	return !rep->unrecorded && !rep->msg->nactive && q->nwriting < QMGR_REPORTS_MAX &&
	       !q->stopping;
}

void qmgr_bounce_check(struct qmgr *q, struct qmgr_msg *m)
{
	struct qmgr_report *rep, *next;

	for (rep = m->report; rep && !m->nactive && q->nwriting < QMGR_REPORTS_MAX; rep = next) {
		next = rep->mnext;
		if (may_start(q, rep))
			start(rep);
	}
}

void qmgr_bounce_recorded(struct qmgr *q, struct qmgr_rcpt *r)
{
	struct qmgr_report *rep;
	char id[META1_ID_MAX];

	r->phase = QP_REPORT;
	qmgr_bounce_id(qmgr_msg_of(r), r->report, id);
	HASH_FIND_STR(q->reports_by_id, id, rep);
	if (!rep || --rep->unrecorded)
		return;
	if (rep->close_at <= loop_now(q->loop))
		step(q);
	else if (may_start(q, rep))
		start(rep);
}

/* Those whose time is over. One that waits for the journal goes to the end of the list. When qmgr
 * stops none is begun: the intents are on disk, and a filter might have it for long. */
static void step(struct qmgr *q)
{
	int64_t now = loop_now(q->loop);
	struct qmgr_report *rep;

	while ((rep = q->reports) && rep->close_at <= now && !q->stopping &&
	       q->nwriting < QMGR_REPORTS_MAX) {
		if (!rep->unrecorded) {
			start(rep);
			continue;
		}
		DL_DELETE(q->reports, rep);
		rep->close_at = now + QMGR_REPORT_HOLD;
		DL_APPEND(q->reports, rep);
	}
	while (!q->stopping && q->nwriting < QMGR_REPORTS_MAX && (rep = qmgr_backoff_next(q)))
		write_it(rep);
	wake(q);
}

void qmgr_bounce_again(struct qmgr *q)
{
	qmgr_backoff_reset(q);
	wake(q);
}

/* ---- written, or not ---- */

static void end_writing(struct qmgr_report *rep)
{
	DL_DELETE(rep->q->writing, rep);
	rep->q->nwriting--;
}

/* The sender knows, and that it does is recorded. */
static void warned(struct qmgr *q, struct qmgr_rcpt *r)
{
	if (r->action == QA_EXPANDED)
		r->told = 1;
	else
		r->warned = 1;
	r->report = 0;
	r->phase = QP_WARNED;
	qmgr_store_record(q, r);
}

/* failure: what becomes of one that failed. */
static void finish(struct qmgr *q, struct qmgr_rcpt *r, enum meta1_rstate failure)
{
	if (r->action == QA_DELAYED || r->action == QA_EXPANDED)
		warned(q, r);
	else
		qmgr_outcome_final(q, r, r->action == QA_FAILED ? failure : META1_R_DELIVERED);
}

static void finish_all(struct qmgr_report *rep, enum meta1_rstate failure)
{
	for (uint32_t i = rep->begin; i < rep->end; i++)
		if (qmgr_report_has(rep, &rep->msg->rcpt[i]))
			finish(rep->q, &rep->msg->rcpt[i], failure);
}

static void over(struct qmgr_report *rep)
{
	struct qmgr *q = rep->q;

	end_writing(rep);
	qmgr_backoff_passed(q, rep);
	report_free(rep);
	step(q);
	if (q->stopping)
		qmgr_stop_check(q);
}

void qmgr_bounce_failed(struct qmgr_report *rep, enum qmgr_blame blame, const char *why)
{
	struct qmgr *q = rep->q;
	bool given_up = q->stopping && blame == QB_FILTERS; /* nothing is wrong */
	enum log_level level = rep->retry || given_up ? LOG_L_INFO : LOG_L_WARN;
	int64_t again = 0;

	m_retry.value++;
	end_writing(rep);
	qmgr_backoff_failed(q, rep, q->stopping ? QB_REPORT : blame, why);
	rep->retry = true;
	if (!may_be_dropped(rep))
		again = qmgr_backoff_again(q, rep);
	/* once at warn: a filter or disk that is away for hours has said so by then */
	log_event(level, "qmgr.report", "id=%s error=%s again_in_s=%lld", rep->id, why,
	    (long long)(again + 999) / 1000);
	if (!again)
		drop(rep);
	wake(q); /* others may have waited for its place */
	if (q->stopping)
		qmgr_stop_check(q);
}

static void count(const struct qmgr_report *rep)
{
	m_dsn.value++;
	m_warnings.value += rep->kind == QA_DELAYED;
	m_success.value += rep->kind == QA_RELAYED;
	m_expanded.value += rep->kind == QA_EXPANDED;
	m_double.value += !*rep->msg->from;
}

void qmgr_bounce_written(
    struct qmgr_report *rep, void (*told)(struct qmgr_report *, void *), void *arg)
{
	count(rep);
	log_event(LOG_L_DEBUG, "qmgr.reported", "id=%s report=%s to=<%s>", rep->msg->id, rep->id,
	    rep->to);
	finish_all(rep, META1_R_BOUNCED);
	/* After the outcomes: a report that is gone from the store proves that they are there. */
	told(rep, arg);
	over(rep);
}

/* As when nobody had wanted it. */
void qmgr_bounce_dropped(struct qmgr_report *rep)
{
	finish_all(rep, META1_R_FAILED);
	over(rep);
}

/* That its alias was expanded is told now; then it goes on. */
static void again(struct qmgr *q, struct qmgr_rcpt *r)
{
	qmgr_active_wait(q, r, r->due);
	qmgr_bounce_expanded(q, r);
}

void qmgr_bounce_doubt(struct qmgr *q, struct qmgr_rcpt *r)
{
	char id[META1_ID_MAX];

	qmgr_bounce_id(qmgr_msg_of(r), r->report, id);
	if (qmgr_slot_find(&q->index, id, strlen(id))) {
		finish(q, r, META1_R_BOUNCED);
		return;
	}
	r->report = 0;
	if (r->action == QA_FAILED)
		qmgr_active_wait(q, r, loop_now(q->loop));
	else if (r->action == QA_DELAYED)
		qmgr_active_wait(q, r, r->due);
	else if (r->action == QA_EXPANDED)
		again(q, r);
	else if (!qmgr_bounce_report(q, r, r->action))
		qmgr_outcome_final(q, r, META1_R_DELIVERED);
}

bool qmgr_bounce_reads(const struct qmgr *q, const struct qmgr_msg *m)
{
	const struct qmgr_report *rep;

	DL_FOREACH (q->writing, rep)
		if (rep->msg == m)
			return true;
	return false;
}

void qmgr_bounce_free_all(struct qmgr *q)
{
	struct qmgr_report *rep;

	HASH_CLEAR(hh, q->reports_by_id);
	while ((rep = q->reports)) {
		DL_DELETE(q->reports, rep);
		report_free(rep);
	}
	while ((rep = qmgr_backoff_pop(q)))
		report_free(rep);
}
