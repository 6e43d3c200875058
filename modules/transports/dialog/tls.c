/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tls.c -- STARTTLS towards the next hop (RFC 3207), and what its policy asks for.
 *
 * Comes from dialog.c, when EHLO was answered; goes to the host's connection, which does the
 * handshake, and back to dialog.c: EHLO anew. With the policy may a hop that does not offer TLS,
 * refuses it, or fails in it gets the mail in plain, over a new connection where the old one is of
 * no use; with encrypt and verify never. A hop that says more than its reply to STARTTLS gets
 * nothing: somebody may have put it in.
 * Owns the words about it in the session. On failure: it is about the host.
 */
#include "dialog.h"

#include <stdio.h>
#include <string.h>

/* It may go in plain. No policy is about a unix socket: nobody but this machine hears it. */
static int may(const struct dialog_session *s)
{
	return s->addr[0] == '/' || s->policy == META1_TLS_MAY || s->policy == META1_TLS_NONE;
}

static void in_plain(struct dialog_session *s, enum meta1_tls_result result, const char *why)
{
	if (s->tls[0] != '\0')
		return;
	snprintf(s->tls, sizeof(s->tls), "none,%.190s", why);
	s->tls_result = result;
}

static void refuse(struct dialog_session *s, const char *dsn, const char *why)
{
	char text[300];

	snprintf(text, sizeof(text), "TLS is required: %.250s", why);
	dialog_result_lost(s, 0, dsn, text);
}

static void without(struct dialog_session *s, enum meta1_tls_result result, const char *why)
{
	in_plain(s, result, why);
	if (!may(s)) {
		refuse(s, "4.7.4", why);
		return;
	}
	dialog_auth(s);
}

void dialog_tls_helo(struct dialog_session *s)
{
	if (s->secured)
		dialog_auth(s);
	else
		without(s, META1_TLS_NOT_OFFERED, "the host does not know EHLO");
}

void dialog_tls_offered(struct dialog_session *s)
{
	const struct meta1_conn_ops *conn = s->d->host->conn;
	struct meta1_tls now = {.size = sizeof(now)};

	if (s->secured)
		dialog_auth(s);
	else if (s->policy == META1_TLS_NONE)
		without(s, META1_TLS_UNTRIED, "by policy");
	else if (s->addr[0] == '/')
		without(s, META1_TLS_UNTRIED, "a unix socket");
	else if (!s->caps.starttls)
		without(s, META1_TLS_NOT_OFFERED, "STARTTLS is not offered");
	else if (s->plain || !META1_HAS(conn, tls) || conn->tls(s->conn, &now) < 0)
		without(s, META1_TLS_UNTRIED, "there is no TLS here");
	else {
		dialog_say(s, "STARTTLS\r\n", 10);
		dialog_wait(s, DIALOG_STARTTLS);
	}
}

void dialog_tls_reply(struct dialog_session *s)
{
	struct meta1_err err;
	char why[200];

	if (s->reply.code / 100 != 2) {
		snprintf(why, sizeof(why), "STARTTLS is refused: %d %.150s", s->reply.code,
		    s->reply.text);
		without(s, META1_TLS_NOT_OFFERED, why);
	} else if (s->d->host->conn->starttls(s->conn, s->host, &err) < 0) {
		s->tls_result = META1_TLS_BROKEN;
		dialog_result_lost(s, 0, "4.7.0", err.text);
	} else {
		dialog_wait(s, DIALOG_SHAKE);
	}
}

void dialog_tls_secured(void *arg)
{
	struct dialog_session *s = arg;
	struct meta1_tls tls = {.size = sizeof(tls)};
	char why[250];

	if (s->d->host->conn->tls(s->conn, &tls) <= 0)
		return;
	snprintf(s->tls, sizeof(s->tls), "%s,%s,%s", tls.version, tls.cipher, tls.how);
	s->tls_result = (enum meta1_tls_result)tls.result;
	s->secured = 1;
	s->proven = tls.accepted;
	if (s->policy != META1_TLS_VERIFY || tls.accepted) {
		dialog_hello(s);
		return;
	}
	snprintf(why, sizeof(why), "the certificate is %s", tls.refused);
	refuse(s, "4.7.5", why);
}

int dialog_tls_again(struct dialog_session *s, const char *why)
{
	int before = s->step == DIALOG_STARTTLS || s->step == DIALOG_SHAKE;
	struct meta1_err err;

	if (before)
		s->tls_result = META1_TLS_BROKEN;
	if (!may(s) || s->plain || !(before || (s->step == DIALOG_HELLO && s->secured)))
		return 0;
	dialog_hangup(s);
	s->plain = 1;
	s->secured = s->proven = 0;
	s->reply = (struct dialog_reply){0};
	s->tls[0] = '\0';
	in_plain(s, META1_TLS_BROKEN, why);
	s->d->host->log(s->d->ctx, META1_INFO, "%s: TLS failed, again in plain: %s", s->host, why);
	return dialog_connect(s, &err) == 0;
}

const char *dialog_tls_text(void *arg)
{
	return ((struct dialog_session *)arg)->tls;
}
