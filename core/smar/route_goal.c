/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * route_goal.c -- next hops become hosts with addresses: a target that is a mail domain by its MX
 * records, a host by A and AAAA, an address or a socket by nothing.
 * From route_tls.c, all targets of a row at once, side by side; to dns.c, and route_dane.c for what
 * the hosts must be asked for besides; the last answer goes to route_hops.c. Owns the hosts of each
 * goal, which route_answer.c frees. On failure: the goal says what the DNS said, for good
 * (5.1.2, 5.1.10, 5.4.4, 5.4.6) or for now.
 */
#include "smar/route.h"

#include <arpa/inet.h>
#include <event2/util.h>
#include <stdio.h>
#include <stdlib.h>

struct addr_ask {
	struct smar_goal *goal;
	unsigned host;
	int family;
};

void smar_route_goal_fail(struct smar_goal *g, enum meta1_status status, const char *dsn,
    const char *fmt, const char *name)
{
	g->status = status;
	g->dsn = dsn;
	snprintf(g->why, sizeof(g->why), fmt, name);
}

void smar_route_part_done(struct smar_route *r)
{
	if (--r->pending == 0)
		smar_route_hops(r);
}

/* ---- addresses of hosts ---- */
static void addr_answered(void *arg, const struct dns_data *d, uint32_t ttl)
{
	struct addr_ask *a = arg;
	struct smar_goal *g = a->goal;
	struct mx_host *h = &g->host[a->host];

	if (d->status == META1_TEMPFAIL) {
		h->failed = true;
	} else {
		/* Of a host with one family only, the other's "no" does not shorten the route. */
		if (d->status == META1_OK)
			smar_route_ttl(g->route, ttl);
		mx_addrs(h, d, a->family);
	}
	smar_route_dane_addr(g, a->host, d);
	free(a);
	smar_route_part_done(g->route);
}

static void ask_addr(struct smar_goal *g, unsigned host, int family)
{
	struct addr_ask *a = base_alloc(sizeof(*a));
	struct smar_route *r = g->route;

	a->goal = g;
	a->host = host;
	a->family = family;
	r->pending++;
	dns_ask(r->dns, g->host[host].name, family == AF_INET ? DNS_A : DNS_AAAA, r->deadline,
	    addr_answered, a);
}

static uint16_t goal_port(const struct smar_goal *g)
{
	if (g->target->port)
		return g->target->port;
	return g->target->lmtp ? SMAR_LMTP_PORT : g->route->policy->remote_port;
}

static void ask_hosts(struct smar_goal *g)
{
	smar_route_dane(g);
	for (unsigned i = 0; i < g->nhost; i++) {
		g->host[i].port = goal_port(g);
		ask_addr(g, i, AF_INET);
		ask_addr(g, i, AF_INET6);
	}
}

static void one_host(struct smar_goal *g)
{
	g->host = base_alloc(sizeof(*g->host));
	g->nhost = 1;
	str_copy(g->host->name, sizeof(g->host->name), g->target->name);
	g->host->port = goal_port(g);
}

/* ---- MX records ---- */
static unsigned random_below(unsigned n)
{
	uint32_t v;

	evutil_secure_rng_get_bytes(&v, sizeof(v));
	return v % n;
}

static void read_mx(struct smar_goal *g, const struct dns_data *d)
{
	const char *name = g->target->name;

	g->host = base_alloc(MX_HOSTS * sizeof(*g->host));
	switch (mx_hosts(d, g->route->policy->hostname, random_below, g->host, &g->nhost)) {
	case MX_SOME:
		ask_hosts(g);
		break;
	case MX_NULL:
		smar_route_goal_fail(g, META1_PERMFAIL, "5.1.10", "%s does not accept mail", name);
		break;
	case MX_SELF:
		smar_route_goal_fail(
		    g, META1_PERMFAIL, "5.4.6", "mail for %s loops back to this server", name);
		break;
	case MX_BAD:
		smar_route_goal_fail(
		    g, META1_PERMFAIL, "5.4.4", "no MX record of %s names a host", name);
		break;
	}
}

static void mx_answered(void *arg, const struct dns_data *d, uint32_t ttl)
{
	struct smar_goal *g = arg;

	if (d->status == META1_TEMPFAIL) {
		smar_route_goal_fail(g, META1_TEMPFAIL, "4.4.3",
		    "%s cannot be looked up in the DNS now", g->target->name);
	} else {
		smar_route_ttl(g->route, ttl);
		g->secure = d->secure;
		if (d->secure && strcmp(d->name, g->target->name) != 0)
			str_copy(g->alias_of, sizeof(g->alias_of), d->name);
		if (d->status == META1_OK) {
			read_mx(g, d);
		} else if (d->nxdomain) {
			smar_route_goal_fail(g, META1_PERMFAIL, "5.1.2",
			    "%s does not exist in the DNS", g->target->name);
		} else {
			one_host(g);
			g->implicit = true;
			ask_hosts(g);
		}
	}
	smar_route_part_done(g->route);
}

/* ---- targets ---- */
static void goal_start(struct smar_goal *g)
{
	switch (g->target->kind) {
	case TARGET_SOCKET:
		if (!g->route->policy->lmtp_path[0])
			smar_route_goal_fail(g, META1_PERMFAIL, "5.3.5",
			    "%s goes to lmtp: but smtpc has no LMTP_socket", g->route->domain);
		break;
	case TARGET_PATH:
	case TARGET_NAMED:
		break;
	case TARGET_ADDR:
		one_host(g);
		g->host->naddr = 1;
		g->host->addr[0].family = strchr(g->target->name, ':') ? AF_INET6 : AF_INET;
		inet_pton(g->host->addr[0].family, g->target->name, g->host->addr[0].ip);
		break;
	case TARGET_HOST:
		g->secure = true;
		one_host(g);
		ask_hosts(g);
		break;
	case TARGET_MX:
		g->route->pending++;
		smar_route_sts(g);
		dns_ask(g->route->dns, g->target->name, DNS_MX, g->route->deadline, mx_answered, g);
		break;
	}
}

/* Answers of the DNS come on later turns, so nothing ends before all have started. */
void smar_route_goals(struct smar_route *r)
{
	r->pending = 1;
	for (unsigned i = 0; i < r->n; i++) {
		goal_start(&r->goal[i]);
	}
	smar_route_part_done(r);
}
