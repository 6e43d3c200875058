/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * policy.c -- which stages smar wants to be asked about, and the one way to ask: a kept verdict
 * (verdict.c) or a question.
 *
 * Comes from tx.c (MAIL, RCPT), vrfy.c and smtps.c (POLICY); goes to smar and back to who asked.
 * With delay_checks client, HELO and sender are asked about at RCPT, together with the recipient;
 * without, at MAIL, and RCPT asks about the recipient alone. A stage that no policy looks at asks
 * nothing. What was said before AUTH or STARTTLS does not count after it: the question tells who
 * the client proved to be, and what hangs on that is not kept. Owns nothing. On failure: the asker
 * gets no verdict and says 451.
 */
#include "smtps/smtps.h"

#define AT_MAIL (STAGE_CONNECT | STAGE_HELO | STAGE_MAIL)

/* smar went away or came anew: until it says POLICY all is asked. */
void smtps_policy_forget(struct smtps *srv)
{
	srv->stages = srv->access_stages = STAGE_ALL;
	smtps_verdict_forget(srv->verdicts);
}

void smtps_policy_told(struct smtps *srv, const struct p_policy *m)
{
	srv->stages = (uint32_t)m->stages & STAGE_ALL;
	srv->access_stages = (uint32_t)m->access & STAGE_ALL;
}

static uint32_t wanted(const struct smtps_session *s)
{
	const struct smtps *srv = s->srv;

	return srv->stages | (s->gear->lim.flags & SMTPS_F_ACCESS ? srv->access_stages : 0);
}

uint32_t smtps_policy_mail(const struct smtps_session *s)
{
	if (s->report != NULL || s->gear->lim.flags & SMTPS_F_DELAY)
		return 0;
	return wanted(s) & AT_MAIL;
}

uint32_t smtps_policy_rcpt(const struct smtps_session *s)
{
	return (wanted(s) & ~s->tx->checked) | STAGE_RCPT;
}

uint32_t smtps_policy_vrfy(const struct smtps_session *s)
{
	return (wanted(s) & ~(uint32_t)STAGE_MAIL) | STAGE_RCPT;
}

static struct meta1_buf text(const char *s)
{
	return buf_str(s != NULL ? s : "");
}

/* VRFY asks from nobody, whatever is under way. */
static struct p_check question(const struct smtps_session *s, enum smtps_await_what what,
    uint32_t stages, struct meta1_buf rcpt)
{
	const struct smtps_tx *tx = what != AWAIT_VRFY ? s->tx : NULL;

	return (struct p_check){.stages = stages,
	    .client = buf_str(s->client),
	    .helo = text(s->helo),
	    .from = tx != NULL ? tx->from : buf_str(""),
	    .rcpt = rcpt,
	    .flags = s->gear->lim.flags | (tx != NULL && tx->eight ? CHECK_8BITMIME : 0),
	    .grants = tx != NULL ? tx->grants : 0,
	    .auth = text(s->proof.auth),
	    .tls = s->proof.tls,
	    .cert_subject = text(s->proof.cert_subject),
	    .cert_issuer = text(s->proof.cert_issuer),
	    .probe = tx == NULL};
}

/* smar's answer; msg NULL: none came. */
static void answered(void *arg, const void *msg)
{
	struct smtps_session *s = arg;
	struct smtps_await was = s->await;
	const struct p_verdict *m = msg;
	struct smtps_verdict v;

	smtps_session_awake(s);
	if (m == NULL) {
		was.fn(s, NULL);
	} else {
		struct p_check q = question(s, was.what, was.stages, was.rcpt);

		smtps_verdict_read(m, &v);
		if (m->ttl > 0 && was.what != AWAIT_VRFY)
			smtps_verdict_keep(s->srv->verdicts, &q, &v, m->generation,
			    loop_now(s->srv->role->loop) + (int64_t)(m->ttl % UINT32_MAX) * 1000);
		was.fn(s, &v);
	}
	smtps_session_run(s);
}

void smtps_policy_said(struct smtps_session *s, const struct smtps_verdict *v)
{
	smtps_session_reply(s, v->smtp, v->dsn, "%s", v->text);
	if (v->smtp == 421) /* RFC 5321 3.8: whoever says 421 closes */
		smtps_session_end(s);
	else if (v->action == ACT_REJECT)
		smtps_tx_invalid(s);
}

void smtps_policy_ask(struct smtps_session *s, enum smtps_await_what what, uint32_t stages,
    struct meta1_buf rcpt, smtps_policy_fn fn)
{
	struct smtps *srv = s->srv;
	struct p_check q = question(s, what, stages, rcpt);
	const struct smtps_verdict *kept =
	    s->report != NULL ? smtps_report_verdict()
			      : smtps_verdict_find(srv->verdicts, &q, loop_now(srv->role->loop));
	uint32_t req = 0;

	if (kept != NULL) {
		fn(s, kept);
		return;
	}
	if (srv->smar != NULL)
		req = chan_ask(srv->smar, P_CHECK, &q, 0, answered, s);
	if (req == 0) {
		fn(s, NULL);
		return;
	}
	smtps_session_await(s, what);
	s->await.req = req;
	s->await.stages = stages;
	s->await.rcpt = rcpt;
	s->await.fn = fn;
}
