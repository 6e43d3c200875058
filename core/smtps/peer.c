/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * peer.c -- who the client is when the peer is a load balancer: waits for the PROXY header
 * of a trusted one before anything is said, and drops whoever brings one unasked.
 *
 * Comes from session.c (a new connection, its first bytes); goes to proxy.c (the header) and
 * back to session.c (the greeting). From then on s->client is the given address.
 * Owns the timer of the header. On failure: the connection is dropped without a word, with a
 * line in the log and a counter; an identity that is in doubt is never taken.
 */
#include "lib/netlist.h"
#include "lib/settings.h"
#include "smtps/smtps.h"

METRIC_COUNTER(m_taken, "proxy_headers_total", "PROXY headers taken from trusted peers.");
METRIC_COUNTER(m_unlisted, "proxy_unlisted_total",
    "Connections dropped: a PROXY header where none is taken, or a peer that may send none where "
    "one is required.");
METRIC_COUNTER(m_bad, "proxy_bad_headers_total",
    "Connections of trusted peers dropped: a PROXY header that is wrong, or does not end.");
METRIC_COUNTER(m_missing, "proxy_missing_total",
    "Connections of trusted peers dropped: no PROXY header where one is required.");

#define HEADER_MS 5000 /* for the whole header, however its bytes come */

static void drop(struct smtps_session *s, struct metric *m, const char *cause)
{
	m->value++;
	log_event(LOG_L_INFO, "smtps.proxy_refused", "session=%llu peer=%s cause=%s",
	    (unsigned long long)s->serial, s->client, cause);
	smtps_session_end(s);
}

static void known(struct smtps_session *s)
{
	loop_unwatch(&s->timer);
	smtps_session_awake(s);
	smtps_session_begin(s);
}

static size_t waiting(struct smtps_session *s)
{
	return evbuffer_get_length(conn_in(s->conn));
}

static void late(int fd, short what, void *arg)
{
	struct smtps_session *s = arg;

	(void)fd;
	(void)what;
	if (waiting(s) > 0)
		drop(s, &m_bad, "the header did not end in 5 seconds");
	else if (s->proxy_required)
		drop(s, &m_missing, "no header in 5 seconds");
	else
		known(s);
	smtps_session_run(s);
}

bool smtps_peer_wait(struct smtps_session *s)
{
	const struct smtps_limits *lim = s->lim;
	bool trusted =
	    lim->proxy_mode != PROXY_MODE_OFF && netlist_has(lim->proxy_trusted, s->client);

	s->proxy_required = lim->proxy_mode == PROXY_MODE_REQUIRED;
	if (trusted) {
		s->state = ST_PROXY;
		smtps_session_await(s, AWAIT_PROXY);
		s->timer = loop_timer(s->srv->role->loop, HEADER_MS, late, s);
	} else if (s->proxy_required) {
		drop(s, &m_unlisted, "a header is required and the peer is not trusted");
	}
	return trusted || s->proxy_required;
}

static enum smtps_proxy_result look(struct smtps_session *s, struct smtps_proxy *p)
{
	size_t n = waiting(s) < SMTPS_PROXY_MAX ? waiting(s) : SMTPS_PROXY_MAX;

	return smtps_proxy_parse(evbuffer_pullup(conn_in(s->conn), (ev_ssize_t)n), n, p);
}

static void taken(struct smtps_session *s, const struct smtps_proxy *p)
{
	m_taken.value++;
	conn_consume(s->conn, p->used);
	if (p->client[0] != '\0') {
		log_event(LOG_L_INFO, "smtps.proxied", "peer=%s client=%s port=%u version=%u",
		    s->client, p->client, p->port, p->version);
		str_copy(s->client, sizeof(s->client), p->client);
		s->proxied = true;
	}
	known(s);
}

void smtps_peer_input(struct smtps_session *s)
{
	struct smtps_proxy p;

	switch (look(s, &p)) {
	case PROXY_MORE:
		break;
	case PROXY_OK:
		taken(s, &p);
		break;
	case PROXY_BAD:
		drop(s, &m_bad, p.cause);
		break;
	case PROXY_NONE:
		if (s->proxy_required)
			drop(s, &m_missing, "something else came before the header");
		else
			known(s);
	}
}

void smtps_peer_eof(struct smtps_session *s)
{
	if (waiting(s) > 0)
		drop(s, &m_bad, "the connection was closed within the header");
	else
		smtps_session_end(s); /* a balancer that looks whether we live */
}

bool smtps_peer_unasked(struct smtps_session *s)
{
	struct smtps_proxy p;
	enum smtps_proxy_result r = look(s, &p);

	if (r == PROXY_NONE || p.version == 0)
		return false;
	drop(s, &m_unlisted, "a header from a peer that may send none");
	return true;
}

bool smtps_peer_line(struct smtps_session *s, const char *line, size_t len)
{
	unsigned n = s->nline;
	bool v1 = n == 0 && len >= 6 && memcmp(line, "PROXY ", 6) == 0;
	bool v2 = n == 2 && len == 1 && line[0] == '\0';

	if (n > 2)
		return false;
	/* version 2's signature reads as two empty lines and one of a NUL */
	s->nline = n < 2 && len == 0 ? (uint8_t)(n + 1) : 3;
	if (v1 || v2)
		drop(s, &m_unlisted, "a header from a peer that may send none");
	return v1 || v2;
}
