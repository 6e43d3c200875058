/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * auth.c -- AUTH at the next hop (RFC 4954), when the hop has a login: the host knows the secrets
 * and mechanisms, here are its commands and replies.
 *
 * Comes from tls.c when TLS is as its policy wants it; goes to the host's connection for each word,
 * and back to results.c: ready, or of no use. A hop that offers no AUTH, refuses it, or says
 * success before the mechanism allows it gets no mail: it waits, and the next host is tried.
 * Owns the initial response while it does not fit into the command. On failure: about the host,
 * with 4.7.8 when it refused us (a wrong password must not bounce mail).
 */
#include "dialog.h"

#include <stdio.h>
#include <string.h>

#define COMMAND_MAX 510 /* of AUTH without CRLF; a longer response goes alone (RFC 4954, 4) */

static void word(void *session, enum meta1_status st, const struct meta1_reply *r);

static void drop_first(struct dialog_session *s)
{
	if (s->first) {
		explicit_bzero(s->first, strlen(s->first));
		s->d->host->free(s->d->ctx, s->first);
	}
	s->first = NULL;
}

static void fail(struct dialog_session *s, int smtp, const char *dsn, const char *why)
{
	char text[600];

	snprintf(text, sizeof(text), "AUTH: %.560s", why);
	drop_first(s);
	dialog_result_lost(s, smtp, dsn, text);
}

void dialog_auth(struct dialog_session *s)
{
	const struct meta1_conn_ops *conn = s->d->host->conn;

	if (!s->login) {
		dialog_result_open(s);
	} else if (!s->mechs[0]) {
		fail(s, 0, "4.7.0", "the host does not offer it, and is to get no mail without");
	} else if (!META1_HAS(conn, login_over) || !conn->login) {
		fail(s, 0, "4.7.0", "there is nobody to do it here");
	} else {
		s->may_end = 0;
		dialog_wait(s, DIALOG_LOGIN);
		conn->login(s->conn, s->d->kind->lmtp ? "lmtp" : "smtp", s->mechs, word);
	}
}

static void say_line(struct dialog_session *s, const struct meta1_buf *b)
{
	dialog_say(s, b->len ? b->data : "", b->len);
	dialog_say(s, "\r\n", 2);
	dialog_wait(s, DIALOG_AUTH);
}

/* The command, with the initial response when there is room for it. */
static void command(struct dialog_session *s, const struct meta1_reply *r)
{
	const struct meta1_buf *mech = &r->val[0], *first = r->nval > 1 ? &r->val[1] : NULL;
	char text[COMMAND_MAX + 3];
	int n = snprintf(text, sizeof(text), "AUTH %.*s", (int)mech->len, (const char *)mech->data);

	if (n <= 0 || n > COMMAND_MAX) {
		fail(s, 0, "4.7.0", "the mechanism's name is too long");
		return;
	}
	if (first && (size_t)n + 1 + first->len <= COMMAND_MAX) {
		n += snprintf(text + n, sizeof(text) - (size_t)n, " %.*s", (int)first->len,
		    (const char *)first->data);
	} else if (first) {
		s->first = s->d->host->alloc(s->d->ctx, first->len + 1);
		if (!s->first) {
			fail(s, 0, "4.3.0", "no memory");
			return;
		}
		memcpy(s->first, first->data, first->len);
	}
	say_line(s, &(struct meta1_buf){text, (size_t)n});
	explicit_bzero(text, sizeof(text));
}

/* The host's word for the hop. */
static void word(void *session, enum meta1_status st, const struct meta1_reply *r)
{
	struct dialog_session *s = session;

	if (!s->conn || s->step != DIALOG_LOGIN)
		return;
	if (st != META1_MORE || r->nval == 0) {
		fail(s, 0, "4.7.0", r->text ? r->text : "it failed");
		return;
	}
	s->may_end = r->smtp == 235;
	if (s->said_auth) {
		say_line(s, &r->val[0]);
		return;
	}
	s->said_auth = 1;
	command(s, r);
}

static void challenge(struct dialog_session *s)
{
	struct meta1_buf said = {s->reply.line, s->reply.line_len};

	if (s->first) {
		struct meta1_buf first = {s->first, strlen(s->first)};

		say_line(s, &first);
		drop_first(s);
		return;
	}
	dialog_wait(s, DIALOG_LOGIN);
	s->d->host->conn->login_step(s->conn, said, word);
}

void dialog_auth_reply(struct dialog_session *s)
{
	static const char early[] = "the host says success before it can know";
	const struct meta1_conn_ops *conn = s->d->host->conn;
	int good = s->reply.code / 100 == 2;
	char why[600];

	if (s->reply.code == 334) {
		challenge(s);
		return;
	}
	if (good && (!s->may_end || s->first)) {
		conn->login_over(s->conn, 0, early);
		fail(s, 0, "4.7.0", early);
		return;
	}
	conn->login_over(s->conn, s->reply.code, s->reply.text);
	if (good) {
		dialog_result_open(s);
		return;
	}
	snprintf(why, sizeof(why), "refused: %d %.500s", s->reply.code, s->reply.text);
	fail(s, s->reply.code, s->reply.dsn[0] ? s->reply.dsn : "4.7.8", why);
}

void dialog_auth_drop(struct dialog_session *s)
{
	drop_first(s);
	s->said_auth = s->may_end = 0;
}
