/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tarpit.c -- who errs again and again is served more slowly: after each refusal its next command
 * waits for a timer.
 *
 * Comes from session.c (a bad command) and tx.c (a refused address), after the reply was queued;
 * goes back to session.c when the time is over. The pause doubles with each error up to its
 * bound. Meanwhile nothing is read, so what the client sends on stays with it.
 * Owns the session's timer while it awaits TARPIT. On failure: none.
 */
#include "smtps/smtps.h"

METRIC_COUNTER(m_slowed, "tarpit_pauses_total", "Pauses after errors of a client.");

static void over(int fd, short what, void *arg)
{
	struct smtps_session *s = arg;

	(void)fd;
	(void)what;
	loop_unwatch(&s->timer);
	smtps_session_awake(s);
	conn_pause(s->conn, false);
	smtps_session_run(s);
}

void smtps_tarpit(struct smtps_session *s)
{
	const struct smtps_limits *lim = s->lim;
	int64_t errors = (int64_t)s->bad + s->invalid, ms = lim->tarpit_delay;

	if (lim->tarpit_after <= 0 || errors < lim->tarpit_after || s->state == ST_CLOSE ||
	    s->await.what != AWAIT_NOTHING || s->timer != NULL)
		return;
	for (; errors > lim->tarpit_after && ms < lim->tarpit_max_delay; errors--)
		ms *= 2;
	if (ms > lim->tarpit_max_delay)
		ms = lim->tarpit_max_delay;
	m_slowed.value++;
	smtps_session_await(s, AWAIT_TARPIT);
	conn_pause(s->conn, true);
	s->timer = loop_timer(s->srv->role->loop, ms, over, s);
}
