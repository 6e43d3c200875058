/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * client.c -- what one client may take of the server: connections at a time and in a minute.
 *
 * Comes from session.c (who the client is, is known; the session ends) and xclient.c (it is
 * somebody else); goes to lib/clients.c, the table of all processes.
 * Owns the session's place in that table, for as long as s->counted.
 * On failure: 421 with the reason, a line in the log, a counter; a table that is full lets the
 * client in.
 */
#include "lib/netlist.h"
#include "smtps/smtps.h"

METRIC_COUNTER(m_conns, "refused_client_connections_total",
    "Connections refused: the client has too many at a time.");
METRIC_COUNTER(
    m_rate, "refused_client_rate_total", "Connections refused: the client makes too many.");
METRIC_COUNTER(m_untold, "clients_not_counted_total",
    "Connections not counted: too many different clients at a time.");

bool smtps_client_exempt(const struct smtps_session *s)
{
	const struct smtps_limits *lim = &s->gear->lim;

	return netlist_has(lim->client_exempt, s->client) ||
	       (!s->proxied && (s->xclient || netlist_has(lim->proxy_trusted, s->client)));
}

static void refuse(
    struct smtps_session *s, struct metric *m, const char *limit, uint32_t count, const char *text)
{
	m->value++;
	log_event(LOG_L_INFO, "smtps.client_limit",
	    SMTPS_WHO " reply=421 dsn=4.7.0 limit=%s count=%u", SMTPS_WHO_OF(s), limit, count);
	smtps_session_reply(s, 421, "4.7.0", "%s: %s", s->gear->hostname, text);
	smtps_session_end(s);
}

bool smtps_client_take(struct smtps_session *s)
{
	const struct smtps_limits *lim = &s->gear->lim;
	int64_t now = loop_now(s->srv->role->loop);
	struct clients_count n;
	bool many, often;

	if (s->srv->clients == NULL || !clients_key(s->client, (unsigned)lim->client_ipv4,
					   (unsigned)lim->client_ipv6, &s->key))
		return true;
	s->counted = clients_add(s->srv->clients, &s->key, now, &n);
	if (!s->counted)
		m_untold.value++;
	if (!s->counted || smtps_client_exempt(s))
		return true;
	many = lim->client_connections > 0 && n.connections > lim->client_connections;
	often = lim->client_rate > 0 && n.rate > lim->client_rate;
	if (!many && !often)
		return true;
	clients_drop(s->srv->clients, &s->key, now, true);
	s->counted = false;
	if (many)
		refuse(s, &m_conns, "max_connections", n.connections,
		    "you have too many connections, close one or wait");
	else
		refuse(s, &m_rate, "max_connection_rate", n.rate,
		    "you connect too often, try again in a minute");
	return false;
}

void smtps_client_give(struct smtps_session *s)
{
	if (!s->counted)
		return;
	s->counted = false;
	clients_drop(s->srv->clients, &s->key, loop_now(s->srv->role->loop), false);
}
