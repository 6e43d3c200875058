/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dialog.c -- the life of a session: connect, greeting, EHLO, idle, goodbye.
 *
 * Comes from smtpc's core/smtpc/session.c by the transport's ops; each whole reply
 * goes to the step that waits for it (table below), mails to envelope.c.
 * Owns session, connection and timer.
 * On failure: greeting and EHLO refused are about the host; input that nobody
 * waited for ends the session, so that an answer can never belong to another
 * question; see results.c for the rest.
 */
#include "dialog.h"

#include <stdio.h>
#include <string.h>

#define CONNECT_TIMEOUT	 30000 /* ms, when the hop says none */
#define QUIT_TIMEOUT	 5000

#define OPT(f, def, doc) META1_OPT_MSEC(struct dialog_conf, f, def, "1ms..1d", doc)
const struct meta1_opt dialog_options[DIALOG_NOPT] = {
    OPT(greeting_timeout, "5m", "Wait for the greeting of the next hop (RFC 5321 4.5.3.2)."),
    OPT(hello_timeout, "5m", "Wait for the reply to EHLO, HELO or LHLO."),
    OPT(mail_timeout, "5m", "Wait for the reply to MAIL, RSET or TRACE."),
    OPT(rcpt_timeout, "5m", "Wait for the reply to each RCPT."),
    OPT(data_timeout, "2m", "Wait for the reply to DATA."),
    OPT(block_timeout, "3m", "Longest time in which the next hop takes no byte of the content."),
    OPT(dot_timeout, "10m", "Wait for each reply to the final dot."),
};

static void on_greeting(struct dialog_session *);
static void on_hello(struct dialog_session *);
static void on_helo(struct dialog_session *);
static void on_unasked(struct dialog_session *);

#define AT(f) offsetof(struct dialog_conf, f)
/* The steps in order: what is waited for, for how long, and who takes the reply. */
static const struct {
	const char *what;
	size_t timeout;
	void (*reply)(struct dialog_session *);
} steps[] = {
    [DIALOG_CONNECT] = {"the connection", 0, on_unasked}, /* timed by the host's conn */
    [DIALOG_GREETING] = {"the greeting", AT(greeting_timeout), on_greeting},
    [DIALOG_HELLO] = {"the reply to EHLO", AT(hello_timeout), on_hello},
    [DIALOG_HELO] = {"the reply to HELO", AT(hello_timeout), on_helo},
    [DIALOG_STARTTLS] = {"the reply to STARTTLS", AT(hello_timeout), dialog_tls_reply},
    [DIALOG_SHAKE] = {"the TLS handshake", AT(hello_timeout), on_unasked},
    [DIALOG_LOGIN] = {"our own word of AUTH", AT(hello_timeout), on_unasked},
    [DIALOG_AUTH] = {"the reply to AUTH", AT(hello_timeout), dialog_auth_reply},
    [DIALOG_IDLE] = {"nothing", 0, on_unasked},
    [DIALOG_RSET] = {"the reply to RSET", AT(mail_timeout), dialog_envelope_rset},
    [DIALOG_TRACE] = {"the reply to TRACE", AT(mail_timeout), dialog_envelope_trace},
    [DIALOG_MAIL] = {"the reply to MAIL", AT(mail_timeout), dialog_envelope_mail},
    [DIALOG_RCPT] = {"the reply to RCPT", AT(rcpt_timeout), dialog_envelope_rcpt},
    [DIALOG_DATA] = {"the reply to DATA", AT(data_timeout), dialog_envelope_data},
    [DIALOG_DOT] = {"the reply to the final dot", AT(block_timeout), dialog_content_reply},
    [DIALOG_EMPTY] = {"the reply to an empty dot", AT(mail_timeout), dialog_envelope_empty},
    [DIALOG_QUIT] = {"the reply to QUIT", 0, on_unasked},
};

/* ---- time ---- */

static void on_timer(int fd, short what, void *arg);

static int64_t now(const struct dialog_session *s)
{
	return s->d->host->now(s->d->ctx);
}

/* The timer is set once and only moved when it would fire too late: a mail costs none. */
static void arm(struct dialog_session *s)
{
	const struct meta1_host *host = s->d->host;
	int64_t ms = s->due - now(s);

	if (s->due < 0 || (s->armed >= 0 && s->armed <= s->due))
		return;
	if (ms < 0)
		ms = 0;
	if (!s->timer)
		s->timer = host->watch_timer(s->d->ctx, ms, on_timer, s);
	else
		host->rearm(s->timer, ms);
	s->armed = s->due;
}

void dialog_wait_for(struct dialog_session *s, enum dialog_step step, int64_t ms)
{
	s->step = step;
	s->due = now(s) + ms;
	arm(s);
}

void dialog_wait(struct dialog_session *s, enum dialog_step step)
{
	int64_t ms;

	if (step == DIALOG_CONNECT || step == DIALOG_IDLE) {
		s->step = step;
		s->due = -1;
		return;
	}
	if (step == DIALOG_QUIT) {
		dialog_wait_for(s, step, QUIT_TIMEOUT);
		return;
	}
	ms = *(const int64_t *)((const char *)s->d->conf + steps[step].timeout);
	if (s->io_timeout > 0 && s->io_timeout < ms)
		ms = s->io_timeout;
	dialog_wait_for(s, step, ms);
}

static void session_free(struct dialog_session **sp)
{
	struct dialog_session *s = *sp;
	const struct meta1_host *host = s->d->host;

	*sp = NULL;
	dialog_hangup(s);
	if (s->timer)
		host->unwatch(&s->timer);
	*s->prevp = s->next;
	if (s->next)
		s->next->prevp = s->prevp;
	host->free(s->d->ctx, s);
}

static void on_timer(int fd, short what, void *arg)
{
	struct dialog_session *s = arg;
	char text[128];

	(void)fd;
	(void)what;
	s->armed = -1;
	if (s->due < 0)
		return;
	if (now(s) < s->due || (s->step == DIALOG_DOT && !dialog_content_stuck(s))) {
		arm(s);
		return;
	}
	if (s->step == DIALOG_QUIT) {
		session_free(&s);
		return;
	}
	snprintf(text, sizeof(text), "timed out waiting for %s", steps[s->step].what);
	if (dialog_tls_again(s, text))
		return;
	dialog_result_lost(s, 0, NULL, text);
}

/* ---- input ---- */

void dialog_say(struct dialog_session *s, const char *text, size_t len)
{
	s->said_now = 1;
	s->d->host->conn->write(s->conn, text, len);
}

void dialog_hangup(struct dialog_session *s)
{
	s->due = -1;
	dialog_auth_drop(s);
	if (s->conn)
		s->d->host->conn->close(&s->conn);
}

static void broken(struct dialog_session *s, const char *why)
{
	char text[192];

	snprintf(text, sizeof(text), "protocol error: %s instead of %s", why, steps[s->step].what);
	if (s->step == DIALOG_IDLE)
		s->d->host->log(
		    s->d->ctx, META1_DEBUG, "%s: input while idle, hanging up", s->host);
	dialog_result_lost(s, 0, "4.5.0", text);
}

static void on_unasked(struct dialog_session *s)
{
	broken(s, "a reply");
}

/* A whole reply was read. */
static void on_reply(struct dialog_session *s)
{
	if (s->reply.code == 421 && s->step != DIALOG_DOT && s->step != DIALOG_IDLE)
		dialog_result_lost(s, 421, s->reply.dsn, s->reply.text);
	else
		steps[s->step].reply(s);
}

/* What the hop offers. */
static void hello_line(struct dialog_session *s)
{
	dialog_caps_line(&s->caps, s->reply.line, s->reply.line_len);
	if (s->login)
		dialog_caps_auth(s->mechs, sizeof(s->mechs), s->reply.line, s->reply.line_len);
}

/* One line. False: take no more of this input. */
static int take_line(struct dialog_session *s, const struct meta1_buf *line)
{
	enum dialog_got got;

	if (s->step == DIALOG_IDLE || (s->said_now && s->step != DIALOG_DOT)) {
		broken(s, "input before the command");
		return 0;
	}
	got = dialog_reply_line(&s->reply, line->data, line->len);
	if (got == DIALOG_BAD) {
		broken(s, s->reply.bad);
		return 0;
	}
	if (s->step == DIALOG_HELLO && s->reply.lines > 1 && s->reply.code == 250)
		hello_line(s);
	if (got == DIALOG_DONE)
		on_reply(s);
	return s->conn != NULL;
}

static void on_input(void *arg)
{
	struct dialog_session *s = arg;
	struct meta1_buf line;

	s->said_now = 0;
	for (;;) {
		line = s->d->host->conn->line(s->conn);
		if (!line.data)
			return;
		if (s->step == DIALOG_QUIT) {
			session_free(&s);
			return;
		}
		if (!take_line(s, &line))
			return;
	}
}

static void on_gone(void *arg, const char *why)
{
	struct dialog_session *s = arg;
	char text[256];

	if (s->step == DIALOG_QUIT) {
		session_free(&s);
		return;
	}
	if (s->step == DIALOG_CONNECT)
		snprintf(text, sizeof(text), "cannot connect: %s", why);
	else
		snprintf(text, sizeof(text), "connection lost waiting for %s: %s",
		    steps[s->step].what, why);
	if (dialog_tls_again(s, text))
		return;
	dialog_result_lost(s, 0, s->step == DIALOG_CONNECT ? "4.4.1" : NULL, text);
}

static void on_connected(void *arg)
{
	struct dialog_session *s = arg;
	const struct meta1_conn_ops *conn = s->d->host->conn;
	const char *ours = META1_HAS(conn, source) ? conn->source(s->conn) : NULL;

	snprintf(s->ours, sizeof(s->ours), "%s", ours ? ours : "");
	dialog_wait(s, DIALOG_GREETING); /* from here on each step has its own time */
}

static const struct meta1_conn_events conn_events = {.size = sizeof(conn_events),
    .connected = on_connected,
    .input = on_input,
    .gone = on_gone,
    .secured = dialog_tls_secured};

/* ---- greeting and EHLO ---- */

static void hello(struct dialog_session *s, const char *verb, enum dialog_step step)
{
	char text[320];
	int n = snprintf(
	    text, sizeof(text), "%s %.255s\r\n", verb, s->hello ? s->hello : s->d->host->hostname);

	s->caps = (struct dialog_caps){0};
	s->mechs[0] = '\0';
	dialog_say(s, text, (size_t)n);
	dialog_wait(s, step);
}

void dialog_hello(struct dialog_session *s)
{
	hello(s, s->d->kind->hello, DIALOG_HELLO);
}

static void on_greeting(struct dialog_session *s)
{
	if (s->reply.code / 100 == 2)
		dialog_hello(s);
	else
		dialog_result_host(s);
}

static void on_hello(struct dialog_session *s)
{
	if (s->reply.code / 100 == 2)
		dialog_tls_offered(s);
	else if (s->reply.code / 100 == 5 && s->d->kind->fallback)
		hello(s, s->d->kind->fallback, DIALOG_HELO);
	else
		dialog_result_host(s);
}

static void on_helo(struct dialog_session *s)
{
	if (s->reply.code / 100 == 2)
		dialog_tls_helo(s);
	else
		dialog_result_host(s);
}

/* ---- the transport's ops ---- */

/* A copy behind the session; NULL stays NULL. */
static char *keep(char **at, const char *text)
{
	size_t len = text ? strlen(text) + 1 : 0;
	char *to = *at;

	if (!text)
		return NULL;
	*at += len;
	return memcpy(to, text, len);
}

static size_t room(const char *text)
{
	return text ? strlen(text) + 1 : 0;
}

static struct dialog_session *session_new(struct dialog *d, const struct meta1_hop *hop)
{
	const char *hello = META1_HAS(hop, source) ? hop->hello : NULL;
	const char *source = META1_HAS(hop, source) ? hop->source : NULL;
	const char *need = META1_HAS(hop, tls_need) ? hop->tls_need : NULL;
	const char *login = META1_HAS(hop, login) ? hop->login : NULL;
	struct dialog_session *s =
	    d->host->alloc(d->ctx, sizeof(*s) + room(hop->host) + room(hop->addr) + room(hello) +
				       room(source) + room(need) + room(login));
	char *at = (char *)(s + 1);

	if (!s)
		return NULL;
	s->d = d;
	s->host = keep(&at, hop->host);
	s->addr = keep(&at, hop->addr);
	s->hello = keep(&at, hello);
	s->source = keep(&at, source);
	s->need = keep(&at, need);
	s->login = keep(&at, login);
	s->port = hop->port;
	if (META1_HAS(hop, io_timeout)) {
		s->connect_timeout = hop->connect_timeout;
		s->io_timeout = hop->io_timeout;
	}
	if (META1_HAS(hop, tls))
		s->policy = hop->tls;
	s->due = s->armed = -1;
	s->next = d->sessions;
	s->prevp = &d->sessions;
	if (s->next)
		s->next->prevp = &s->next;
	d->sessions = s;
	return s;
}

int dialog_connect(struct dialog_session *s, struct meta1_err *err)
{
	struct meta1_hop hop = {.size = sizeof(hop),
	    .port = s->port,
	    .host = s->host,
	    .addr = s->addr,
	    .connect_timeout = s->connect_timeout,
	    .io_timeout = s->io_timeout,
	    .hello = s->hello,
	    .source = s->source,
	    .tls = s->policy,
	    .tls_need = s->need,
	    .login = s->login};

	dialog_wait(s, DIALOG_CONNECT);
	s->conn = s->d->host->conn->open(s->d->ctx, &hop,
	    s->connect_timeout > 0 ? s->connect_timeout : CONNECT_TIMEOUT, &conn_events, s, err);
	return s->conn ? 0 : -1;
}

static void ops_open(void *inst, struct meta1_req *req, const struct meta1_hop *hop, void **sess)
{
	struct dialog *d = inst;
	struct dialog_session *s = session_new(d, hop);
	struct meta1_err err;
	char text[600];

	*sess = NULL;
	if (!s) {
		d->host->finish(req, META1_TEMPFAIL, NULL);
		return;
	}
	s->req = req;
	*d->host->req_slot(req) = s;
	if (dialog_connect(s, &err) == 0) {
		*sess = s;
		return;
	}
	snprintf(text, sizeof(text), "cannot connect: %s", err.text);
	dialog_result_lost(s, 0, "4.4.1", text);
	session_free(&s);
}

static int ops_usable(void *sess)
{
	return ((struct dialog_session *)sess)->conn != NULL;
}

static void ops_shut(void **sess)
{
	struct dialog_session *s = *sess;

	*sess = NULL;
	if (!s->conn || s->req || s->step != DIALOG_IDLE) {
		session_free(&s);
		return;
	}
	dialog_say(s, "QUIT\r\n", 6);
	dialog_wait(s, DIALOG_QUIT);
}

static void ops_cancel(void *inst, struct meta1_req *req)
{
	struct dialog_session *s = *((struct dialog *)inst)->host->req_slot(req);

	if (s && s->req == req)
		dialog_result_canceled(s);
}

static int ops_past_dot(void *sess)
{
	return dialog_content_past(sess);
}

static void ops_caps(void *sess, struct meta1_caps *caps)
{
	const struct dialog_caps *c = &((struct dialog_session *)sess)->caps;

	caps->offers = dialog_caps_offers(*c);
	caps->max_size = c->max_size;
}

const struct meta1_transport_ops dialog_ops = {.size = sizeof(dialog_ops),
    .open = ops_open,
    .send = dialog_send,
    .usable = ops_usable,
    .shut = ops_shut,
    .cancel = ops_cancel,
    .past_dot = ops_past_dot,
    .caps = ops_caps,
    .probe = dialog_probe,
    .tls = dialog_tls_text,
    .heeds = META1_M_SMTPUTF8 | META1_M_REQUIRETLS};

int dialog_open(const struct meta1_host *host, struct meta1_ctx *ctx,
    const struct dialog_conf *conf, const struct dialog_kind *kind, void **inst,
    struct meta1_err *err)
{
	struct dialog *d = host->alloc(ctx, sizeof(*d));

	if (!d) {
		snprintf(err->text, sizeof(err->text), "no memory");
		return -1;
	}
	*d = (struct dialog){host, ctx, conf, kind, NULL};
	*inst = d;
	return 0;
}

void dialog_close(void *inst)
{
	struct dialog *d = inst;
	struct dialog_session *s;

	while ((s = d->sessions))
		session_free(&s);
	d->host->free(d->ctx, d);
}
