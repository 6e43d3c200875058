/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * starttls.c -- TLS of a session: by STARTTLS (RFC 3207), or from the first byte where the listener
 * says so (RFC 8314), and what is known of the client from it.
 *
 * Comes from verbs.c and session.c; goes to lib/conn.c, which encrypts from then on, and back when
 * the handshake is done: after STARTTLS all is as after the greeting, and what the client had said
 * with it is thrown away and counted. Owns nothing: the connection has what was achieved.
 * On failure: 454 while it can still be said in plain; a handshake that fails ends the session.
 */
#include "smtps/smtps.h"

#include <stdio.h>
#include <stdlib.h>

METRIC_COUNTER(m_secured, "tls_sessions_total", "Sessions whose TLS handshake succeeded.");
METRIC_COUNTER(m_resumed, "tls_resumed_total", "Those of them that resumed an earlier one.");
METRIC_COUNTER(m_failed, "tls_failed_total", "Sessions that ended by a TLS handshake or record.");
METRIC_COUNTER(m_injected, "tls_injected_total",
    "STARTTLS commands with more plain text behind them, which was thrown away.");

#define SHAKE_MS 60000 /* for the whole handshake */

bool smtps_starttls_offered(const struct smtps_session *s)
{
	return s->gear->tls != NULL && conn_tls_info(s->conn) == NULL;
}

bool smtps_starttls_due(const struct smtps_session *s)
{
	return s->lim->tls_only && conn_tls_info(s->conn) == NULL && strcmp(s->client, "unix") != 0;
}

void smtps_starttls_text(const struct smtps_session *s, char *out, size_t size)
{
	const struct tls_info *i = conn_tls_info(s->conn);

	*out = '\0';
	if (i != NULL)
		snprintf(out, size, "%s,%s,verify=%s", i->version, i->cipher, tls_info_verify(i));
}

static bool begin(struct smtps_session *s, bool first, struct meta1_err *err)
{
	struct tls_want want = {.listen = s->listener,
	    .say = first ? NULL : "220 2.0.0 Ready to start TLS\r\n",
	    .first = first};
	size_t dropped = 0;

	if (s->gear->tls == NULL) {
		err_set(err, "no certificate");
		return false;
	}
	if (conn_starttls(s->conn, s->gear->tls, &want, SHAKE_MS, &dropped, err) < 0)
		return false;
	if (dropped > 0) {
		m_injected.value++;
		log_event(LOG_L_WARN, "smtps.tls_injected", SMTPS_WHO " bytes=%zu", SMTPS_WHO_OF(s),
		    dropped);
	}
	smtps_session_await(s, AWAIT_TLS);
	return true;
}

void smtps_starttls(struct smtps_session *s, const struct smtps_line *l)
{
	struct meta1_err err = {""};

	(void)l;
	if (conn_tls_info(s->conn) != NULL) {
		smtps_session_bad(s, 503, "5.5.1", "TLS is on already");
		return;
	}
	if (!begin(s, false, &err)) {
		log_event(LOG_L_WARN, "smtps.tls_failed", SMTPS_WHO " cause=%s", SMTPS_WHO_OF(s),
		    err.text);
		smtps_session_refuse(s, 454, "4.7.0", "TLS is not available now, try again later");
		return;
	}
	smtps_tx_reset(s);
	smtps_auth_forget(s);
	if (!s->helo_given) {
		free(s->helo);
		s->helo = NULL;
	}
	s->esmtp = false;
	s->state = ST_OPEN;
}

void smtps_starttls_first(struct smtps_session *s)
{
	struct meta1_err err = {""};

	s->state = ST_GREET;
	if (begin(s, true, &err))
		return;
	smtps_starttls_failed(s, err.text);
	smtps_session_end(s);
}

/* What smar is told of it from now on. */
static void prove(struct smtps_session *s, const struct tls_info *i)
{
	static const uint32_t state[] = {[TLS_CERT_NONE] = TLS_NO_CERT,
	    [TLS_CERT_BAD] = TLS_BAD_CERT,
	    [TLS_CERT_GOOD] = TLS_GOOD_CERT};

	s->proof.tls = s->disowned ? TLS_NO_CERT : state[i->cert];
	s->proof.cert_subject = s->disowned ? NULL : i->subject;
	s->proof.cert_issuer = s->disowned ? NULL : i->issuer;
}

/* A peer speaks for others: its certificate, of now or of a later STARTTLS, is not theirs. */
void smtps_starttls_disown(struct smtps_session *s)
{
	const struct tls_info *i = conn_tls_info(s->conn);

	s->disowned = true;
	if (i != NULL)
		prove(s, i);
}

void smtps_starttls_secured(void *arg)
{
	struct smtps_session *s = arg;
	const struct tls_info *i = conn_tls_info(s->conn);

	m_secured.value++;
	m_resumed.value += i->resumed;
	log_event(LOG_L_DEBUG, "smtps.tls",
	    SMTPS_WHO " version=%s cipher=%s bits=%d verify=%s cause=%s subject=%s issuer=%s",
	    SMTPS_WHO_OF(s), i->version, i->cipher, i->bits, tls_info_verify(i), i->why,
	    i->subject != NULL ? i->subject : "", i->issuer != NULL ? i->issuer : "");
	prove(s, i);
	smtps_session_awake(s);
	if (s->state == ST_GREET)
		smtps_session_known(s);
	smtps_session_run(s);
}

void smtps_starttls_failed(struct smtps_session *s, const char *why)
{
	m_failed.value++;
	log_event(LOG_L_INFO, "smtps.tls_failed", SMTPS_WHO " cause=%s", SMTPS_WHO_OF(s), why);
}
