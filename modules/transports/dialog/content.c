/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * content.c -- from 354 to the last reply: the content, the dot, who got the mail.
 *
 * Comes from envelope.c after DATA was accepted; the extents go to the host's
 * connection as they are, nobody copies them. SMTP: one reply for all; LMTP: one
 * for each accepted recipient, in their order, each reported as it comes.
 * Owns nothing.
 * On failure: a reply before all was sent is the verdict of a hop that gave up; the
 * session ends with it, since the hop still waits for a dot. A connection lost
 * after the dot is temporary for those without a reply, and those only.
 */
#include "dialog.h"

#include <stdio.h>
#include <string.h>

#define FIRST_LOOK 1000 /* ms after the content was given out; then at each time-out */

static uint32_t next_taken(const struct dialog_session *s, uint32_t i)
{
	while (i < s->mail->nrcpt && s->taken[i] != DIALOG_TAKEN)
		i++;
	return i;
}

void dialog_content_send(struct dialog_session *s)
{
	const struct meta1_conn_ops *conn = s->d->host->conn;
	const struct meta1_mail *m = s->mail;
	char buf[DIALOG_PATH_MAX + 1];
	struct meta1_buf from;

	if (s->d->kind->lmtp) {
		from = dialog_utf8_addr(s, m->from, buf);
		dialog_say(s, "Return-Path: <", 14);
		dialog_say(s, from.data, from.len);
		dialog_say(s, ">\r\n", 3);
	}
	if (m->nextent > 0)
		conn->send(s->conn, m->extent, m->nextent);
	dialog_say(s, ".\r\n", 3);
	s->after = next_taken(s, 0);
	s->unsent = SIZE_MAX;
	dialog_wait_for(s, DIALOG_DOT, FIRST_LOOK);
}

int dialog_content_past(const struct dialog_session *s)
{
	return s->step == DIALOG_DOT && s->mail && s->conn &&
	       s->d->host->conn->unsent(s->conn) == 0;
}

int dialog_content_stuck(struct dialog_session *s)
{
	size_t unsent = s->d->host->conn->unsent(s->conn);

	if (unsent == s->unsent)
		return 1;
	s->unsent = unsent;
	if (unsent > 0)
		dialog_wait(s, DIALOG_DOT);
	else
		dialog_wait_for(s, DIALOG_DOT, s->d->conf->dot_timeout);
	return 0;
}

/* The hop answers while it should still read. */
static void early(struct dialog_session *s)
{
	if (s->reply.code == 421 || s->reply.code / 100 < 4) {
		dialog_result_lost(
		    s, s->reply.code / 100 < 4 ? 0 : s->reply.code, s->reply.dsn, s->reply.text);
		return;
	}
	dialog_result_verdict(s, &s->reply);
	dialog_hangup(s);
}

static void lmtp_reply(struct dialog_session *s)
{
	uint32_t i = s->after;

	s->after = next_taken(s, i + 1);
	if (s->accepted == 1) {
		dialog_result_verdict(s, &s->reply);
		return;
	}
	dialog_result_rcpt(s, i);
	if (s->after == s->mail->nrcpt) {
		dialog_result_done(s);
		return;
	}
	s->unsent = 0;
	dialog_wait_for(s, DIALOG_DOT, s->d->conf->dot_timeout);
}

void dialog_content_reply(struct dialog_session *s)
{
	int code = s->reply.code;

	if (!dialog_content_past(s)) {
		early(s);
		return;
	}
	if (code / 100 == 3) {
		dialog_result_lost(s, 0, "4.5.0", "protocol error: the final dot was answered 3xx");
		return;
	}
	if (code / 100 == 2)
		s->dirty = 0;
	if (s->d->kind->lmtp)
		lmtp_reply(s);
	else
		dialog_result_verdict(s, &s->reply);
	if (code == 421)
		dialog_hangup(s);
}
