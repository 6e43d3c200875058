/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * session.c -- sessions to next hops: opened, used by one delivery at a time, kept idle.
 *
 * Comes from core/smtpc/deliver.c; goes to a transport module through core/mod/.
 * An idle session is taken again by the next mail to the same transport, address and
 * port with the same login, options of a session (hop_conf.h) and the same need of TLS, the
 * youngest first: what was good enough for one mail is not for another that asks for more. It is
 * shut after idle_timeout, after max_mails_per_connection, when more than max_connections_idle wait
 * (the one goes whose time is up next), and when its module says it is of no more use. Owns the
 * sessions and the module's handles in them. On failure to open the delivery hears why; nothing is
 * kept.
 */
#include "smtpc.h"

#include <stdlib.h>
#include <strings.h>
#include <utlist.h>

#define OPEN_LIMIT (16 * 60 * 1000) /* ms beside connecting: greeting, EHLO, HELO of 5 min */

METRIC_COUNTER(m_opened, "connections_opened_total", "Sessions that were opened to next hops.");
METRIC_COUNTER(m_failed, "connections_failed_total", "Sessions that could not be opened.");
METRIC_COUNTER(m_reused, "connections_reused_total", "Mails sent over a session that was kept.");
METRIC_GAUGE(m_open, "connections_open", "Sessions to next hops.");
METRIC_GAUGE(m_idle, "connections_idle", "Sessions that wait for the next mail.");

static void on_idle_timer(int fd, short what, void *arg);

static void idle_remove(struct smtpc_session *s)
{
	struct smtpc *c = s->c;

	DL_DELETE2(c->idle_old, s, idle_prev, idle_next);
	c->nidle--;
	m_idle.value = c->nidle;
}

static void session_free(struct smtpc_session **sp)
{
	struct smtpc_session *s = *sp;
	struct smtpc_gear *gear = s->transport->gear;

	*sp = NULL;
	if (s->state == SESSION_IDLE)
		idle_remove(s);
	DL_DELETE(s->c->sessions, s);
	m_open.value--;
	free(s->addr);
	free(s->login);
	free(s->host);
	free(s->need);
	free(s);
	smtpc_gear_drop(&gear);
}

void smtpc_session_shut(struct smtpc_session **sp)
{
	struct smtpc_session *s = *sp;

	*sp = NULL;
	if (s->req)
		mod_req_cancel(&s->req);
	if (s->sess)
		s->transport->ops->shut(&s->sess);
	session_free(&s);
}

const char *smtpc_session_tls(const struct smtpc_session *s)
{
	const struct meta1_transport_ops *ops = s->transport->ops;

	return s->sess && META1_HAS(ops, tls) && ops->tls ? ops->tls(s->sess) : "";
}

/* ---- open ---- */

static void on_open(void *arg, enum meta1_status status, const struct meta1_reply *reply)
{
	struct smtpc_session *s = arg;
	struct smtpc_delivery *d = s->opener;

	s->req = NULL;
	s->opener = NULL;
	if (status == META1_OK && s->sess) {
		m_opened.value++;
		s->state = SESSION_BUSY;
		s->since = loop_now(s->c->role.loop);
	} else {
		m_failed.value++;
	}
	smtpc_deliver_opened(d, status, reply);
}

struct smtpc_session *smtpc_session_open(struct smtpc_delivery *d, const struct smtpc_hop *hop)
{
	struct smtpc *c = d->c;
	struct smtpc_transport *t = d->transport;
	int64_t now = loop_now(c->role.loop);
	struct smtpc_session *s;
	struct meta1_req *req;

	s = base_alloc(sizeof(*s));
	*s = (struct smtpc_session){.c = c,
	    .transport = t,
	    .addr = base_strdup(hop->to.addr),
	    .host = base_strdup(hop->to.host),
	    .login = hop->to.login ? base_strdup(hop->to.login) : NULL,
	    .port = hop->to.port,
	    .conf = *hop->conf,
	    .tls = hop->to.tls,
	    .need = base_strdup(hop->need),
	    .state = SESSION_OPENING,
	    .since = now,
	    .opener = d};
	DL_APPEND(c->sessions, s);
	m_open.value++;
	smtpc_gear_use(t->gear);
	req = mod_req(t->inst, now + s->conf.connect_timeout + OPEN_LIMIT, on_open, s);
	if (!req) {
		session_free(&s);
		return NULL;
	}
	s->req = req;
	t->ops->open(mod_data(t->inst), req, &hop->to, &s->sess);
	return s;
}

/* ---- idle ---- */

/* A certificate that was held against one name of an address says nothing of another. */
static bool same_tls(const struct smtpc_session *s, const struct smtpc_hop *hop)
{
	return s->tls == hop->to.tls && strcmp(s->need, hop->need) == 0 &&
	       (s->tls != META1_TLS_VERIFY || strcasecmp(s->host, hop->to.host) == 0);
}

static bool same(const char *a, const char *b)
{
	return a && b ? strcasecmp(a, b) == 0 : a == b;
}

struct smtpc_session *smtpc_session_take(
    struct smtpc *c, struct smtpc_transport *t, const struct smtpc_hop *hop)
{
	struct smtpc_session *s, *older;

	if (!c->idle_old)
		return NULL;
	/* From the one that may wait longest on: prev of the head is the tail. */
	for (s = c->idle_old->idle_prev;; s = older) {
		bool last = s == c->idle_old;

		older = s->idle_prev;
		if (s->transport == t && s->port == hop->to.port &&
		    strcmp(s->addr, hop->to.addr) == 0 && same_tls(s, hop) &&
		    same(s->login, hop->to.login) && hop_conf_same_session(&s->conf, hop->conf)) {
			if (t->ops->usable(s->sess)) {
				idle_remove(s);
				s->state = SESSION_BUSY;
				s->since = loop_now(c->role.loop);
				m_reused.value++;
				return s;
			}
			smtpc_session_shut(&s);
		}
		if (last)
			return NULL;
	}
}

static void idle_arm(struct smtpc *c)
{
	int64_t due;

	if (!c->idle_old) {
		if (c->idle_timer)
			loop_rearm(c->idle_timer, -1);
		return;
	}
	due = c->idle_old->due - loop_now(c->role.loop);
	if (due < 0)
		due = 0;
	if (c->idle_timer)
		loop_rearm(c->idle_timer, due);
	else
		c->idle_timer = loop_timer(c->role.loop, due, on_idle_timer, c);
}

static void on_idle_timer(int fd, short what, void *arg)
{
	struct smtpc *c = arg;
	int64_t now = loop_now(c->role.loop);
	struct smtpc_session *s;

	(void)fd, (void)what;
	while ((s = c->idle_old) && now >= s->due)
		smtpc_session_shut(&s);
	idle_arm(c);
}

/* By when it is to be shut; most have the same time-out, and go to the end at once. */
static void idle_add(struct smtpc *c, struct smtpc_session *s)
{
	struct smtpc_session *before = c->idle_old ? c->idle_old->idle_prev : NULL;

	s->state = SESSION_IDLE;
	s->since = loop_now(c->role.loop);
	s->due = s->since + s->conf.idle_timeout;
	while (before && before->due > s->due)
		before = before == c->idle_old ? NULL : before->idle_prev;
	DL_APPEND_ELEM2(c->idle_old, before, s, idle_prev, idle_next);
	c->nidle++;
}

void smtpc_session_release(struct smtpc_session **sp)
{
	struct smtpc_session *s = *sp, *oldest;
	struct smtpc *c = s->c;
	struct smtpc_gear *gear = s->transport->gear;
	bool first;

	*sp = NULL;
	s->mails++;
	if (c->role.stopping || gear != c->gear || gear->max_idle == 0 ||
	    s->conf.idle_timeout == 0 ||
	    (s->conf.max_mails > 0 && s->mails >= (uint64_t)s->conf.max_mails) ||
	    !s->transport->ops->usable(s->sess)) {
		smtpc_session_shut(&s);
		return;
	}
	idle_add(c, s);
	first = c->idle_old == s;
	if (c->nidle > (uint64_t)gear->max_idle) {
		oldest = c->idle_old;
		smtpc_session_shut(&oldest);
	}
	m_idle.value = c->nidle;
	if (first)
		idle_arm(c);
}

void smtpc_session_shut_idle(struct smtpc *c, const struct smtpc_gear *keep)
{
	struct smtpc_session *s, *next;

	for (s = c->idle_old; s; s = next) {
		next = s->idle_next;
		if (!keep || s->transport->gear != keep)
			smtpc_session_shut(&s);
	}
	idle_arm(c);
}
