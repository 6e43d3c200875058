/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * auth.c -- AUTH (RFC 4954): drives a mechanism of the auth module, challenge by challenge.
 *
 *	AUTH MECHANISM [first] -> the module's start(); each 334 -> a line of the client -> step();
 *	in the end 235, and who the client is goes with each question to smar; or a refusal.
 *
 * Offered is what the module has for this connection and the admin trusts. A mechanism that sends
 * the password itself is for TLS, unless the flag plaintext is set. A failure is answered after a
 * pause that doubles, counts as a bad command does, and after max_failures the session ends; its
 * cause is told to the log alone.
 * Comes from verbs.c (the command) and session.c (a line in ST_AUTH); goes to the module by a
 * request and back through said(). Owns the exchange and, once it is proven, the client's name.
 * On failure of the module: 454, and the client may try again.
 */
#include "smtps/smtps.h"

#include <ctype.h>
#include <meta1/base64.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

METRIC_COUNTER(m_good, "logins_total", "Clients that authenticated.");
METRIC_COUNTER(m_refused, "logins_refused_total", "AUTH that ended in a refusal.");
METRIC_COUNTER(m_unsaid, "logins_unavailable_total", "AUTH that could not be judged: 454.");

#define STEP_MS	  60000 /* for the module, a step */
#define OFFER_MS  2000	/* for a worker, which mechanisms it has */
#define NAMES_MAX 512	/* of mechanisms */
#define USER_MAX  SMTPS_ACCOUNT_MAX
#define DELAY_MAX 30000 /* ms: the longest pause after a failure */

struct smtps_login { /* of a session */
	void *conv;
	struct meta1_req *req;
	char mech[META1_AUTH_MECH_MAX + 1];
	char user[USER_MAX + 1], owner[USER_MAX + 1]; /* owner: of the secret, if it is another */
	char tried[USER_MAX + 1]; /* as whom, as far as it is known before the end */
	unsigned failures;
	bool heard;			      /* the first response has come */
	bool barred;			      /* over its limit of failures: 454 in place of 535 */
	void (*then)(struct smtps_session *); /* when it is known what can be offered */
};

const char *smtps_auth_mech(const struct smtps_session *s)
{
	return s->login != NULL && s->login->mech[0] != '\0' ? s->login->mech : NULL;
}

/* ---- what is offered ---- */

#define ADDR_SIZE (SMTPS_CLIENT_SIZE + 2)

/* addr is the caller's, as long as the answer. */
static struct meta1_auth_peer peer(const struct smtps_session *s, char addr[ADDR_SIZE])
{
	const struct smtps_auth *a = s->gear->auth;
	const struct tls_info *tls = conn_tls_info(s->conn);
	struct meta1_auth_peer p = {
	    .size = sizeof(p), .flags = a->flags, .service = "smtp", .server = s->gear->hostname};

	if (strpbrk(s->client, ".:") != NULL) {
		snprintf(addr, ADDR_SIZE, "%s;0", s->client);
		p.remote = addr;
	}
	if (tls == NULL && !a->plaintext)
		p.flags |= META1_A_NOPLAINTEXT;
	if (tls != NULL) {
		p.tls_bits = (uint32_t)tls->bits;
		if (s->proof.tls == TLS_GOOD_CERT && tls->subject != NULL &&
		    *tls->subject != '\0') {
			p.external = tls->subject;
			p.cert = tls->der;
		}
	}
	return p;
}

static bool has(const char *names, const char *name, size_t n)
{
	for (const char *p = names; n > 0 && (p = strstr(p, name)) != NULL; p += n)
		if ((p == names || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
			return true;
	return false;
}

void smtps_auth_names(const struct smtps_session *s, char *out, size_t size)
{
	const struct smtps_auth *a = s->gear->auth;
	char all[NAMES_MAX], addr[ADDR_SIZE], *next = all, *name;
	size_t len = 0;
	struct meta1_auth_peer p;

	*out = '\0';
	if (a == NULL || (a->tls_only && conn_tls_info(s->conn) == NULL))
		return;
	p = peer(s, addr);
	a->ops->offer(mod_data(a->inst), &p, all, sizeof(all));
	while ((name = strsep(&next, " ")) != NULL) {
		size_t n = strlen(name);

		if (n == 0 || n > META1_AUTH_MECH_MAX || !has(a->trusted, name, n) ||
		    len + n + 2 > size)
			continue;
		len += (size_t)snprintf(out + len, size - len, "%s%s", len > 0 ? " " : "", name);
	}
}

static void learned(void *arg, enum meta1_status st, const struct meta1_reply *r)
{
	struct smtps_session *s = arg;

	(void)st; /* what was known before holds, whatever it is */
	(void)r;
	s->login->req = NULL;
	smtps_session_awake(s);
	s->login->then(s);
	smtps_session_run(s);
}

void smtps_auth_learn(struct smtps_session *s, void (*then)(struct smtps_session *))
{
	const struct smtps_auth *a = s->gear->auth;
	char addr[ADDR_SIZE];
	struct meta1_auth_peer p;

	if (a != NULL && !(a->tls_only && conn_tls_info(s->conn) == NULL)) {
		p = peer(s, addr);
		if (!mod_auth_knows(a->inst, &p)) {
			if (s->login == NULL)
				s->login = base_alloc(sizeof(*s->login));
			s->login->then = then;
			s->login->req = mod_auth_ask(
			    a->inst, &p, loop_now(s->srv->role->loop) + OFFER_MS, learned, s);
			if (s->login->req != NULL) {
				smtps_session_await(s, AWAIT_AUTH);
				return;
			}
		}
	}
	then(s);
}

/* ---- the exchange ---- */

/* Nothing of an exchange is left; whoever was proven before stays so. */
static void drop(struct smtps_session *s)
{
	struct smtps_login *g = s->login;

	if (g == NULL)
		return;
	if (g->req != NULL)
		mod_req_cancel(&g->req);
	if (g->conv != NULL)
		s->gear->auth->ops->end(&g->conv);
	if (s->await.what == AWAIT_AUTH) {
		if (s->timer != NULL)
			loop_unwatch(&s->timer);
		smtps_session_awake(s);
	}
	if (s->state == ST_AUTH)
		s->state = ST_READY;
}

void smtps_auth_stop(struct smtps_session *s)
{
	drop(s);
}

void smtps_auth_forget(struct smtps_session *s)
{
	drop(s);
	s->proof.auth = s->account = NULL;
	free(s->login);
	s->login = NULL;
}

static void note(const struct smtps_session *s, const char *result, const char *cause)
{
	const struct smtps_login *g = s->login;

	log_event(LOG_L_INFO, "smtps.auth",
	    SMTPS_WHO " mechanism=%s result=%s user=%s owner=%s cause=%s", SMTPS_WHO_OF(s), g->mech,
	    result, g->user, g->owner, cause != NULL ? cause : "");
}

/* Counts as a command that does nothing: who can force it must not do so for ever. */
static void unavailable(struct smtps_session *s)
{
	if (smtps_session_nop(s))
		smtps_session_refuse(
		    s, 454, "4.7.0", "Authentication is not possible now, try again later");
}

static void say_refused(struct smtps_session *s)
{
	const struct smtps_auth *a = s->gear->auth;

	if (s->login->barred) {
		unavailable(s);
		return;
	}
	if (a->max_failures > 0 && s->login->failures >= a->max_failures) {
		smtps_session_refuse(s, 421, "4.7.0", "Too many failed authentications, closing");
		smtps_session_end(s);
		return;
	}
	smtps_session_bad(s, 535, "5.7.8", "Authentication failed");
}

static void pause_over(int fd, short what, void *arg)
{
	struct smtps_session *s = arg;

	(void)fd;
	(void)what;
	loop_unwatch(&s->timer);
	smtps_session_awake(s);
	say_refused(s);
	smtps_session_run(s);
}

/* Says so, later for each one. */
static void refuse_slowly(struct smtps_session *s)
{
	struct smtps_login *g = s->login;
	int64_t ms = s->gear->auth->failure_delay;

	for (unsigned i = 0; i < g->failures && ms < DELAY_MAX; i++)
		ms *= 2;
	g->failures++;
	if (ms <= 0) {
		say_refused(s);
		return;
	}
	smtps_session_await(s, AWAIT_AUTH);
	s->timer = loop_timer(s->srv->role->loop, ms < DELAY_MAX ? ms : DELAY_MAX, pause_over, s);
}

static void refused(struct smtps_session *s, const char *cause)
{
	m_refused.value++;
	note(s, "refused", cause);
	smtps_auth_failed(s, s->login->tried);
	refuse_slowly(s);
}

/* Right or wrong, it is not told. */
static void barred(struct smtps_session *s)
{
	m_unsaid.value++;
	note(s, "barred", "the account had too many failures");
	s->login->barred = true;
	refuse_slowly(s);
}

/* A name that could stand in a log or a question as it is. */
static bool take_name(struct meta1_buf b, char out[USER_MAX + 1])
{
	const unsigned char *p = b.data;

	if (b.len == 0 || b.len > USER_MAX)
		return false;
	for (size_t i = 0; i < b.len; i++)
		if (p[i] < ' ' || p[i] == 0x7f)
			return false;
	if (!xtext_utf8(b.data, b.len))
		return false;
	memcpy(out, b.data, b.len);
	out[b.len] = '\0';
	return true;
}

static void accepted(struct smtps_session *s, const struct meta1_reply *r)
{
	struct smtps_login *g = s->login;

	if (r->nval < 1 || !take_name(r->val[0], g->user) ||
	    (r->nval > 1 && !take_name(r->val[1], g->owner))) {
		g->user[0] = g->owner[0] = '\0';
		refused(s, "the name has bytes that no name should have");
		return;
	}
	if (smtps_auth_barred_account(s, g->owner[0] != '\0' ? g->owner : g->user)) {
		barred(s);
		return;
	}
	m_good.value++;
	s->proof.auth = g->user;
	s->account = g->owner[0] != '\0' ? g->owner : g->user;
	smtps_auth_passed(s, s->account);
	note(s, "accepted", NULL);
	smtps_session_reply(s, 235, "2.7.0", "Authenticated");
}

static void challenge(struct smtps_session *s, const struct meta1_reply *r)
{
	struct meta1_buf b = r->nval > 0 ? r->val[0] : buf_of("", 0);
	char text[META1_BASE64_LEN(META1_AUTH_MAX) + 1];

	if (b.len > META1_AUTH_MAX) {
		drop(s);
		refused(s, "the mechanism's challenge is too long");
		return;
	}
	meta1_base64_encode(text, b);
	conn_printf(s->conn, "334 %s\r\n", text);
	s->state = ST_AUTH;
}

static void said(void *arg, enum meta1_status st, const struct meta1_reply *r)
{
	struct smtps_session *s = arg;
	const char *why = r->text != NULL ? r->text : "";

	s->login->req = NULL;
	smtps_session_awake(s);
	if (st == META1_MORE) {
		challenge(s, r);
		smtps_session_run(s);
		return;
	}
	drop(s);
	if (st == META1_OK) {
		accepted(s, r);
	} else if (st == META1_TEMPFAIL || st == META1_CANCELED) {
		m_unsaid.value++;
		note(s, "unavailable", why);
		unavailable(s);
	} else {
		refused(s, why);
	}
	smtps_session_run(s);
}

/* false: no request can be made, 454 was said. */
static bool ask(struct smtps_session *s)
{
	struct smtps_login *g = s->login;

	g->req = mod_req(s->gear->auth->inst, loop_now(s->srv->role->loop) + STEP_MS, said, s);
	if (g->req != NULL) {
		smtps_session_await(s, AWAIT_AUTH);
		return true;
	}
	drop(s);
	m_unsaid.value++;
	unavailable(s);
	return false;
}

/* Whom it tries to be, when the first response says it. false: too many did, that is answered. */
static bool hear(struct smtps_session *s, struct meta1_buf in)
{
	struct smtps_login *g = s->login;

	if (g->heard)
		return true;
	g->heard = true;
	smtps_auth_name(g->mech, in, g->tried);
	if (!smtps_auth_barred_account(s, g->tried))
		return true;
	drop(s);
	barred(s);
	return false;
}

/* ---- what the client says ---- */

static void start(struct smtps_session *s, const char *first, size_t n, bool has_first)
{
	const struct smtps_auth *a = s->gear->auth;
	struct smtps_login *g = s->login;
	char addr[ADDR_SIZE];
	struct meta1_auth_peer p = peer(s, addr);
	uint8_t in[META1_AUTH_MAX];
	ssize_t len = 0;

	if (has_first && !(n == 1 && *first == '=')) /* "=" is an empty one */
		len = n <= META1_BASE64_LEN(META1_AUTH_MAX)
			  ? meta1_base64_decode(in, buf_of(first, n))
			  : -1;
	if (len < 0) {
		smtps_session_bad(s, 501, "5.5.2", "The initial response is no base64");
	} else if ((!has_first || hear(s, buf_of(in, (size_t)len))) && ask(s)) {
		struct meta1_buf b = buf_of(in, (size_t)len);

		a->ops->start(
		    mod_data(a->inst), g->req, &p, g->mech, has_first ? &b : NULL, &g->conv);
	}
	explicit_bzero(in, sizeof(in));
	explicit_bzero((char *)(uintptr_t)first, n);
}

static void bar_client(struct smtps_session *s)
{
	smtps_session_refuse(
	    s, 421, "4.7.0", "Too many failed authentications from your address, closing");
	smtps_session_end(s);
}

/* May this client say AUTH now? The refusal is said. */
static bool may(struct smtps_session *s)
{
	if (!s->esmtp)
		smtps_session_bad(s, 503, "5.5.1", "Say EHLO first");
	else if (s->proof.auth != NULL)
		smtps_session_bad(s, 503, "5.5.1", "You have authenticated already");
	else if (s->gear->auth->tls_only && conn_tls_info(s->conn) == NULL)
		smtps_session_bad(s, 538, "5.7.11", "Say STARTTLS first");
	else if (smtps_auth_barred_client(s))
		bar_client(s);
	else
		return true;
	return false;
}

void smtps_auth(struct smtps_session *s, const struct smtps_line *l)
{
	const char *blank = memchr(l->args, ' ', l->len);
	size_t n = blank != NULL ? (size_t)(blank - l->args) : l->len;
	char names[NAMES_MAX], mech[META1_AUTH_MECH_MAX + 1] = "";

	if (!may(s))
		return;
	for (size_t i = 0; i < n && i < META1_AUTH_MECH_MAX; i++) {
		mech[i] = (char)toupper((unsigned char)l->args[i]);
		mech[i + 1] = '\0';
	}
	smtps_auth_names(s, names, sizeof(names));
	if (n > META1_AUTH_MECH_MAX || !has(names, mech, n)) {
		smtps_session_bad(s, 504, "5.5.4", "That mechanism is not offered");
		return;
	}
	if (s->login == NULL)
		s->login = base_alloc(sizeof(*s->login));
	memcpy(s->login->mech, mech, sizeof(mech));
	s->login->tried[0] = '\0';
	s->login->heard = s->login->barred = false;
	start(s, blank != NULL ? blank + 1 : "", blank != NULL ? l->len - n - 1 : 0, blank != NULL);
}

void smtps_auth_line(struct smtps_session *s, const char *line, size_t len)
{
	struct smtps_login *g = s->login;
	uint8_t in[META1_AUTH_MAX];
	ssize_t n;

	if (len == 1 && *line == '*') {
		smtps_session_bad(s, 501, "5.7.0", "Authentication was given up"); /* and dropped */
		return;
	}
	n = len <= META1_BASE64_LEN(META1_AUTH_MAX) ? meta1_base64_decode(in, buf_of(line, len))
						    : -1;
	if (n < 0)
		smtps_session_bad(s, 501, "5.5.2", "The response is no base64");
	else if (hear(s, buf_of(in, (size_t)n)) && ask(s))
		s->gear->auth->ops->step(g->conv, g->req, buf_of(in, (size_t)n));
	explicit_bzero(in, sizeof(in));
}

/* The token of an initial response may be long (RFC 4954 asks clients to send it behind 334, many
 * do not). */
bool smtps_auth_comes(const struct smtps_session *s)
{
	char word[5];

	return s->state == ST_AUTH ||
	       (s->gear->auth != NULL && s->state == ST_READY &&
		   evbuffer_copyout(conn_in(s->conn), word, sizeof(word)) == sizeof(word) &&
		   strncasecmp(word, "AUTH ", sizeof(word)) == 0);
}
