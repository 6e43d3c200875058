/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * outcome.c -- a result becomes an outcome: done, tried later, or back to the sender; each
 * recorded by the store, and told in one log line for the recipients of a delivery.
 * Comes from dispatch.c and route.c; goes to store.c, active.c (later) and bounce.c. Owns nothing.
 * The rules themselves are in rules.c.
 */
#include "qmgr/qmgr.h"

#include <event2/util.h>
#include <stdlib.h>

METRIC_COUNTER(m_delivered, "delivered_total", "Recipients delivered.");
METRIC_COUNTER(m_deferred, "deferred_total", "Tries that ended in waiting for the next one.");
METRIC_COUNTER(m_bounced, "bounced_total", "Recipients that failed for good.");

enum { T_DONE, T_DEFERRED, T_BOUNCED };

static uint32_t dice(void)
{
	uint32_t n;

	evutil_secure_rng_get_bytes(&n, sizeof(n));
	return n;
}

static struct qmgr_reason *reason_of(struct qmgr_result *res)
{
	if (!res->reason)
		res->reason = qmgr_reason_new(res->host, res->smtp, res->dsn, res->text, res->tls);
	return res->reason;
}

void qmgr_outcome_end(struct qmgr_result *res)
{
	qmgr_reason_drop(&res->reason);
}

static void tally(struct qmgr_tally *t, int what, const struct qmgr_rcpt *r, int64_t delay)
{
	if (!t->of[what].n++) {
		t->of[what].to = r->addr;
		t->of[what].delay = delay;
		t->of[what].reason = r->reason;
		if (r->reason)
			r->reason->refs++;
	}
}

void qmgr_outcome_log(struct qmgr *q, struct qmgr_tally *t)
{
	static const char *const name[] = {"delivered", "deferred", "bounced"};
	static const enum log_level level[] = {LOG_L_NORMAL, LOG_L_INFO, LOG_L_NORMAL};
	int i;

	for (i = 0; i < 3; i++) {
		struct qmgr_reason *why = t->of[i].reason;

		if (!t->of[i].n)
			continue;
		if (i == T_DEFERRED)
			log_event(level[i], "qmgr.deferred",
			    "id=%s to=<%s> n=%u status=%s host=%s reply=%s next_s=%lld tls=%s",
			    t->msg->id, t->of[i].to, t->of[i].n, name[i], why ? why->host : "",
			    why ? why->line : "", (long long)t->of[i].delay / 1000,
			    why ? why->tls : "");
		else
			log_event(level[i], "qmgr.done",
			    "id=%s to=<%s> n=%u status=%s host=%s reply=%s delay=%lld tls=%s",
			    t->msg->id, t->of[i].to, t->of[i].n, name[i], why ? why->host : "",
			    why ? why->line : "",
			    (long long)(loop_now(q->loop) - t->msg->born) / 1000,
			    why ? why->tls : "");
		qmgr_reason_drop(&t->of[i].reason);
	}
	memset(t, 0, sizeof(*t));
}

void qmgr_outcome_final(struct qmgr *q, struct qmgr_rcpt *r, enum meta1_rstate state)
{
	r->state = (uint8_t)state;
	r->phase = QP_FINAL;
	qmgr_store_record(q, r);
}

static void later(struct qmgr *q, struct qmgr_rcpt *r, const struct qmgr_ruling *ruling)
{
	int64_t now = loop_now(q->loop);

	m_deferred.value++;
	if (ruling->blame && r->tries < UINT16_MAX)
		r->tries++;
	qmgr_active_wait(q, r, now + ruling->delay);
	if (!qmgr_bounce_late(q, r))
		qmgr_store_deferred(q, r);
}

static void apply(struct qmgr *q, struct qmgr_rcpt *r, struct qmgr_result *res,
    const struct qmgr_ruling *ruling, struct qmgr_tally *t)
{
	enum qmgr_action action = res->taken == META1_TAKEN_FINAL ? QA_DELIVERED : QA_RELAYED;

	switch (ruling->verdict) {
	case QV_DONE:
		m_delivered.value++;
		qmgr_reason_set(r, reason_of(res));
		tally(t, T_DONE, r, 0);
		if (res->taken == META1_TAKEN_DSN || !qmgr_bounce_report(q, r, action))
			qmgr_outcome_final(q, r, META1_R_DELIVERED);
		break;
	case QV_AGAIN:
		if (res->status != META1_CANCELED)
			r->again = 1;
		qmgr_active_wait(q, r, loop_now(q->loop));
		break;
	case QV_WAIT:
		qmgr_reason_set(r, reason_of(res));
		tally(t, T_DEFERRED, r, ruling->delay);
		later(q, r, ruling);
		break;
	case QV_BOUNCE:
		m_bounced.value++;
		r->expired = ruling->expired;
		if (ruling->blame && r->tries < UINT16_MAX)
			r->tries++;
		qmgr_reason_set(r, reason_of(res));
		tally(t, T_BOUNCED, r, 0);
		if (!qmgr_bounce_report(q, r, QA_FAILED))
			qmgr_outcome_final(q, r, META1_R_FAILED);
		break;
	}
}

void qmgr_outcome(struct qmgr *q, struct qmgr_rcpt *r, struct qmgr_result *res, int64_t dead_for,
    struct qmgr_tally *t)
{
	struct qmgr_msg *m = qmgr_msg_of(r);
	struct qmgr_case c = {.status = res->status,
	    .scope = res->scope,
	    .again = r->again,
	    .age = loop_now(q->loop) - m->born,
	    .dead_for = dead_for,
	    .dice = res->status == META1_OK ? 0 : dice()};
	struct qmgr_ruling ruling = qmgr_rules_judge(&q->lim, &c);

	qmgr_active_leave(q, r);
	if (t->msg && t->msg != m)
		qmgr_outcome_log(q, t);
	t->msg = m;
	if (r->state != META1_R_WAITING && ruling.verdict != QV_DONE) {
		qmgr_outcome_final(q, r, r->state); /* deleted meanwhile */
		return;
	}
	if (ruling.verdict != QV_AGAIN)
		r->again = 0;
	apply(q, r, res, &ruling, t);
	qmgr_bounce_check(q, m);
}
