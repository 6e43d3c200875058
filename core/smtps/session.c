/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * session.c -- one client: its state, its replies, its end.
 *
 * Comes from listen.c (a descriptor); goes to line.c for each line and to body.c for the
 * content, by smtps_session_run(), the one place that takes input. Whoever ends a
 * session only says so; it is torn down at the end of run.
 * Owns the connection and the memory of the session; an idle one holds no buffer.
 * On failure: a lost client takes its transaction with it, unless the final dot was
 * seen: then commit.c keeps the transaction and finishes it.
 */
#include "lib/netlist.h"
#include "smtps/smtps.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

METRIC_GAUGE(m_now, "sessions_now", "Sessions open.");
METRIC_COUNTER(m_early, "early_talkers_total", "Clients that talked before the greeting.");
METRIC_COUNTER(m_unfinished, "unfinished_messages_total",
    "Messages whose client went away before the final dot.");
METRIC_COUNTER(m_timeouts, "timeouts_total", "Sessions closed because the client was silent.");
METRIC_COUNTER(m_bad, "bad_commands_total", "Commands refused with 5xx for their form or order.");
METRIC_COUNTER(
    m_too_bad, "bad_sessions_total", "Sessions closed for too many bad or empty commands.");

#define UNSENT_MAX    65536 /* replies a client has not read: no line is taken until it does */

#define NAME(U, name) name,
static const char *const state_names[] = {SMTPS_STATES(NAME)};
static const char *const await_names[] = {SMTPS_AWAITS(NAME)};
#undef NAME

const char *smtps_session_state(enum smtps_state st)
{
	return state_names[st];
}

const char *smtps_session_waits_for(enum smtps_await_what what)
{
	return await_names[what];
}

/* ---- replies ---- */

void smtps_session_reply(struct smtps_session *s, int code, const char *dsn, const char *fmt, ...)
{
	char text[512]; /* RFC 5321 4.5.3.1.5 */
	va_list ap;
	int n = snprintf(
	    text, sizeof(text), "%03d %s%s", code, dsn != NULL ? dsn : "", dsn != NULL ? " " : "");

	va_start(ap, fmt);
	n += vsnprintf(text + n, sizeof(text) - (size_t)n, fmt, ap);
	va_end(ap);
	if ((size_t)n > sizeof(text) - 3)
		n = sizeof(text) - 3;
	text[n] = '\r';
	text[n + 1] = '\n';
	conn_write(s->conn, text, (size_t)n + 2);
}

static void too_bad(struct smtps_session *s, const char *text)
{
	m_too_bad.value++;
	log_event(LOG_L_INFO, "smtps.bad_session", SMTPS_WHO " reply=421 dsn=4.7.0 cause=%s",
	    SMTPS_WHO_OF(s), text);
	smtps_session_reply(s, 421, "4.7.0", "%s, closing", text);
	smtps_session_end(s);
}

void smtps_session_refuse(struct smtps_session *s, int code, const char *dsn, const char *text)
{
	if (s->said.len > 0)
		log_event(LOG_L_INFO, "smtps.refusal",
		    SMTPS_WHO " reply=%d dsn=%s text=%s said=%.*s", SMTPS_WHO_OF(s), code,
		    dsn != NULL ? dsn : "-", text, (int)s->said.len, (const char *)s->said.data);
	else
		log_event(LOG_L_INFO, "smtps.refusal", SMTPS_WHO " reply=%d dsn=%s text=%s",
		    SMTPS_WHO_OF(s), code, dsn != NULL ? dsn : "-", text);
	smtps_session_reply(s, code, dsn, "%s", text);
}

void smtps_session_count_bad(struct smtps_session *s)
{
	m_bad.value++;
	if (s->lim->bad_commands > 0 && ++s->bad >= s->lim->bad_commands)
		too_bad(s, "Too many bad commands");
	smtps_tarpit(s);
}

void smtps_session_bad(struct smtps_session *s, int code, const char *dsn, const char *text)
{
	if (s->state == ST_AUTH)
		smtps_auth_stop(s); /* whatever was wrong, the exchange does not go on */
	smtps_session_refuse(s, code, dsn, text);
	smtps_session_count_bad(s);
}

bool smtps_session_nop(struct smtps_session *s)
{
	if (s->lim->nop_commands <= 0 || ++s->nop <= s->lim->nop_commands)
		return true;
	too_bad(s, "Too many commands that do nothing");
	return false;
}

/* ---- waiting ---- */

/* While we are slow the client is not; these have deadlines of their own, filters longer ones. */
#define W(what) 1u << AWAIT_##what
#define OURS                                                                                       \
	(W(CONF) | W(NAME) | W(MAIL) | W(RCPT) | W(VRFY) | W(TARPIT) | W(QUEUE) | W(COMMIT) |      \
	    W(TLS) | W(AUTH))

void smtps_session_await(struct smtps_session *s, enum smtps_await_what what)
{
	s->await = (struct smtps_await){.what = what, .since = loop_now(s->srv->role->loop)};
	if (what == AWAIT_FILTER ||
	    ((1u << what & OURS) != 0 && s->lim->io_timeout <= SMTPS_WAIT_MAX))
		conn_timeout(s->conn, 0);
}

void smtps_session_awake(struct smtps_session *s)
{
	s->await = (struct smtps_await){.what = AWAIT_NOTHING};
	if (s->conn != NULL)
		conn_timeout(s->conn, s->lim->io_timeout);
}

/* ---- the end ---- */

void smtps_session_end(struct smtps_session *s)
{
	s->state = ST_CLOSE;
}

static void give_up_tx(struct smtps_session *s)
{
	struct smtps_tx *tx = s->tx;

	if (s->await.what == AWAIT_COMMIT) {
		tx->session = NULL; /* commit.c finishes it alone */
		smtps_memory_orphan(tx);
		s->tx = NULL;
		return;
	}
	if (tx->counted) {
		m_unfinished.value++;
		log_event(LOG_L_INFO, "smtps.unfinished", SMTPS_WHO " from=<%.*s> size=%llu",
		    SMTPS_WHO_OF(s), (int)tx->from.len, (const char *)tx->from.data,
		    (unsigned long long)tx->scan.stored);
	}
	smtps_tx_reset(s);
}

static void tear_down(struct smtps_session *s)
{
	struct smtps *srv = s->srv;

	if (s->tx != NULL)
		give_up_tx(s);
	else if (s->await.what == AWAIT_VRFY || s->await.what == AWAIT_CONF ||
		 s->await.what == AWAIT_NAME)
		smtps_tx_reset(s);
	smtps_filter_end(s);
	smtps_auth_forget(s);
	smtps_client_give(s);
	smtps_report_end(s);
	smtps_memory_give(s);
	if (s->timer != NULL)
		loop_unwatch(&s->timer);
	if (s->conn != NULL)
		conn_finish(&s->conn, !s->quit, SMTPS_LINGER); /* who said QUIT says no more */
	LIST_REMOVE(s, all);
	srv->nsession--;
	m_now.value = srv->nsession;
	smtps_gear_drop(&s->gear);
	free(s->own);
	free(s->helo);
	free(s->name);
	free(s);
	smtps_check_drained(srv);
}

/* ---- what comes next ---- */

/* Its gear is too old, or there will be no such server, and it is between two mails. */
static bool leaves(const struct smtps_session *s)
{
	bool waited = s->last_in && s->ntx == 0;

	return (s->gear->leaving || (s->srv->role->draining && !waited)) &&
	       (s->state == ST_OPEN || s->state == ST_READY) && s->report == NULL;
}

static void say_bye(struct smtps_session *s, const char *why)
{
	log_event(LOG_L_INFO, "smtps.stopping", SMTPS_WHO " reply=421 dsn=4.3.2 cause=%s",
	    SMTPS_WHO_OF(s), why);
	smtps_session_reply(s, 421, "4.3.2", "%s %s", s->gear->hostname, why);
	smtps_session_end(s);
}

static bool step(struct smtps_session *s)
{
	if (s->state == ST_CLOSE || s->await.what != AWAIT_NOTHING)
		return false;
	if (s->state == ST_DATA || s->state == ST_BDAT)
		return smtps_body_run(s);
	if (s->state == ST_SKIP)
		return smtps_bdat_skip(s);
	if (s->srv->stopping && s->state != ST_CHUNKS) { /* content that began may end */
		say_bye(s, "is going down, try again later");
		return false;
	}
	if (leaves(s)) {
		say_bye(s, "has a new configuration, please connect again");
		return false;
	}
	if (conn_unsent(s->conn) > UNSENT_MAX)
		return false;
	return smtps_line_take(s);
}

void smtps_session_run(struct smtps_session *s)
{
	if (s->running)
		return;
	s->running = true;
	while (step(s))
		;
	s->running = false;
	if (s->state != ST_CLOSE && s->eof && s->await.what == AWAIT_NOTHING &&
	    conn_unsent(s->conn) <= UNSENT_MAX)
		s->state = ST_CLOSE; /* all it said was answered */
	smtps_memory_look(s);
	if (s->state == ST_CLOSE)
		tear_down(s);
}

/* ---- events of the connection ---- */

static void early(struct smtps_session *s)
{
	if (smtps_peer_unasked(s))
		return;
	m_early.value++;
	log_event(
	    LOG_L_INFO, "smtps.early_talker", SMTPS_WHO " reply=554 dsn=5.5.1", SMTPS_WHO_OF(s));
	smtps_session_awake(s);
	smtps_session_reply(s, 554, "5.5.1", "You talked before the greeting");
	smtps_session_end(s);
}

static void on_input(void *arg)
{
	struct smtps_session *s = arg;

	if (s->state == ST_PROXY)
		smtps_peer_input(s);
	if (s->await.what == AWAIT_GREET && evbuffer_get_length(conn_in(s->conn)) > 0)
		early(s);
	smtps_session_run(s);
}

static void on_drained(void *arg)
{
	struct smtps_session *s = arg;

	if (s->await.what == AWAIT_NOTHING && (s->eof || evbuffer_get_length(conn_in(s->conn)) > 0))
		smtps_session_run(s);
}

static void on_end(void *arg, enum conn_end how, const char *why)
{
	struct smtps_session *s = arg;

	s->eof = true;
	if (how == CONN_TIMEOUT) {
		m_timeouts.value++;
		log_event(LOG_L_INFO, "smtps.timeout", SMTPS_WHO " state=%s reply=421 dsn=4.4.2",
		    SMTPS_WHO_OF(s), smtps_session_state(s->state));
		smtps_session_reply(s, 421, "4.4.2", "%s: you were silent for too long, closing",
		    s->gear->hostname);
	} else if (how == CONN_TLS) {
		smtps_starttls_failed(s, why);
		conn_close(&s->conn);
	} else if (how != CONN_EOF) {
		log_event(LOG_L_DEBUG, "smtps.lost", SMTPS_WHO " cause=%s", SMTPS_WHO_OF(s), why);
		conn_close(&s->conn);
	}
	if (how != CONN_EOF)
		smtps_session_end(s);
	else if (s->state == ST_PROXY)
		smtps_peer_eof(s);
	smtps_session_run(s);
}

static const struct conn_events events = {
    .input = on_input, .drained = on_drained, .end = on_end, .secured = smtps_starttls_secured};

/* ---- the beginning ---- */

/* Without greet_delay nobody is refused for it, but counted: what is there when the connection
 * is accepted was said before the greeting. */
static void count_early(int fd)
{
	char byte;

	m_early.value += recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

static void greet_due(int fd, short what, void *arg)
{
	struct smtps_session *s = arg;

	(void)fd;
	(void)what;
	loop_unwatch(&s->timer);
	smtps_session_awake(s);
	smtps_filter_connect(s);
	smtps_session_run(s);
}

void smtps_session_begin(struct smtps_session *s)
{
	const struct smtps_limits *lim = s->lim;

	conn_timeout(s->conn, lim->io_timeout);
	s->xclient = netlist_has(lim->xclient, s->client);
	if (!smtps_client_take(s))
		return;
	if (s->tls_first)
		smtps_starttls_first(s);
	else
		smtps_session_known(s);
}

void smtps_session_known(struct smtps_session *s)
{
	if (s->lim->flags & SMTPS_F_SESSION_CONF)
		smtps_conf_ask(s);
	else
		smtps_session_welcome(s);
}

void smtps_session_welcome(struct smtps_session *s)
{
	const struct smtps_limits *lim = s->lim;

	if (lim->greet_delay > 0) {
		s->state = ST_GREET;
		smtps_session_await(s, AWAIT_GREET);
		s->timer = loop_timer(s->srv->role->loop, lim->greet_delay, greet_due, s);
		if (evbuffer_get_length(conn_in(s->conn)) > 0) /* said while we asked for conf */
			early(s);
	} else {
		if (!s->tls_first)
			count_early(conn_fd(s->conn));
		smtps_filter_connect(s);
	}
}

struct smtps_session *smtps_session_make(
    struct smtps *srv, int fd, const char *client, const char *listener)
{
	struct smtps_session *s = base_alloc(sizeof(*s));
	struct loop *loop = srv->role->loop;

	s->srv = srv;
	s->gear = smtps_gear_use(srv->gear);
	s->lim = &s->gear->lim;
	s->listener = listener;
	s->last_in = srv->emptying;
	s->serial = ++srv->serial;
	s->since = loop_wall(loop);
	str_copy(s->client, sizeof(s->client), client);
	s->conn = conn_new(loop, fd, &events, s);
	LIST_INSERT_HEAD(&srv->sessions, s, all);
	srv->nsession++;
	m_now.value = srv->nsession;
	return s;
}

void smtps_session_new(
    struct smtps *srv, int fd, const char *client, const char *listener, bool tls_first)
{
	struct smtps_session *s = smtps_session_make(srv, fd, client, listener);

	s->tls_first = tls_first;
	smtps_session_start(s);
}

void smtps_session_start(struct smtps_session *s)
{
	if (!smtps_peer_wait(s))
		smtps_session_begin(s);
	if (s->state == ST_CLOSE)
		smtps_session_run(s);
	else
		smtps_memory_look(s);
}

void smtps_session_stop_all(struct smtps *srv)
{
	struct smtps_session *s, *next;

	for (s = LIST_FIRST(&srv->sessions); s != NULL; s = next) {
		next = LIST_NEXT(s, all);
		if (s->state >= ST_CHUNKS && s->state != ST_SKIP && s->await.what != AWAIT_FILTER)
			continue;
		smtps_auth_stop(s);
		if (s->await.what == AWAIT_GREET || s->await.what == AWAIT_PROXY ||
		    s->await.what == AWAIT_TARPIT || s->await.what == AWAIT_TLS)
			smtps_session_awake(s);
		smtps_tx_reset(s);
		smtps_session_run(s); /* step() says 421 */
	}
}

void smtps_session_leave(struct smtps *srv, const struct smtps_gear *gear)
{
	struct smtps_session *s, *next;

	for (s = LIST_FIRST(&srv->sessions); s != NULL; s = next) {
		next = LIST_NEXT(s, all);
		if (gear == NULL || s->gear == gear)
			smtps_session_run(s);
	}
}
