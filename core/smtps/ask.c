/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ask.c -- a recipient is put to smar, and what smar said to the client: for RCPT and VRFY.
 *
 * Comes from tx.c and vrfy.c; goes to smar (RCPT_CHECK), whose answer the asker gets on a later
 * turn. Owns nothing. On failure: false, the asker says 451.
 */
#include "smtps/smtps.h"

bool smtps_ask(struct smtps_session *s, struct meta1_buf from, struct meta1_buf rcpt,
    enum smtps_await_what what, void (*answered)(void *arg, const void *msg))
{
	struct p_rcpt_check m = {.client = buf_str(s->client),
	    .helo = buf_str(s->helo),
	    .from = from,
	    .rcpt = rcpt,
	    .flags = s->srv->lim.flags};
	uint32_t req = 0;

	if (s->srv->smar != NULL)
		req = chan_ask(s->srv->smar, P_RCPT_CHECK, &m, 0, answered, s);
	if (req == 0)
		return false;
	smtps_session_await(s, what);
	s->await.req = req;
	return true;
}

void smtps_ask_said(struct smtps_session *s, const struct smtps_verdict *v)
{
	smtps_session_reply(s, v->smtp, v->dsn, "%s", v->text);
	if (v->smtp == 421) /* RFC 5321 3.8: whoever says 421 closes */
		smtps_session_end(s);
	else if (v->action == ACT_REJECT)
		smtps_tx_invalid(s);
}
