/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * route_hops.c -- the hops of a route, in the order in which they are tried: that of the row, in it
 * that of the preferences of MX records, without what leads back to this server (mx.c).
 * From route_goal.c, when the last goal has its addresses; to route_answer.c. Owns nothing.
 * On failure: only when no goal has a hop; then the reason is that of a goal which may have one
 * later, else that of the first.
 */
#include "smar/route.h"

#include <stdio.h>

#define TTL_PART 60 /* a host's addresses could not be asked for */

static unsigned add_socket(
    const struct smar_route *r, const struct smar_goal *g, char (*text)[600], unsigned n)
{
	const char *path =
	    g->target->kind == TARGET_SOCKET ? r->policy->lmtp_path : g->target->name;

	if (n < MX_HOPS)
		snprintf(text[n++], sizeof(*text), "%s 0 %s", path, r->policy->hostname);
	return n;
}

/* Hosts that the domain's policy does not name are none of the destination. */
static bool bar_hosts(struct smar_goal *g)
{
	unsigned n = 0, had = g->nhost;

	for (unsigned i = 0; i < had; i++)
		if (smar_route_sts_allows(g, &g->host[i]))
			g->host[n++] = g->host[i];
	g->nhost = n;
	return n < had;
}

static void give_need(struct smar_goal *g, unsigned from, unsigned to)
{
	struct tls_need need;

	if (!smar_route_sts_need(g, &need))
		return;
	for (unsigned i = from; i < to; i++)
		smar_route_need(g->route, i, &need);
}

static unsigned goal_hops(struct smar_goal *g, char (*text)[600], unsigned n)
{
	unsigned before = n;
	bool failed = false, barred, cut;

	if (g->status != META1_OK)
		return n;
	if (smar_route_socket(g))
		return add_socket(g->route, g, text, n);
	cut = mx_cut(g->route->policy, g->host, &g->nhost);
	barred = bar_hosts(g);
	for (unsigned i = 0; i < g->nhost; i++) {
		mx_hops(&g->host[i], text, g->route->secure, &n);
		failed |= g->host[i].failed;
	}
	for (unsigned i = before; g->secure && i < n; i++)
		g->route->secure[i] |= SECURE_NAME;
	give_need(g, before, n);
	if (failed && g->route->ttl > TTL_PART)
		g->route->ttl = TTL_PART;
	if (n > before)
		return n;
	if (cut && g->nhost == 0 && !barred)
		smar_route_goal_fail(g, META1_PERMFAIL, "5.4.6",
		    "mail for %s loops back to this server", g->target->name);
	else if (failed)
		smar_route_goal_fail(g, META1_TEMPFAIL, "4.4.3",
		    "addresses of %s cannot be looked up now", g->target->name);
	else if (barred)
		smar_route_goal_fail(g, META1_TEMPFAIL, "4.7.5",
		    "no mail server of %s is one that its MTA-STS policy names", g->target->name);
	else if (g->implicit)
		smar_route_goal_fail(g, META1_PERMFAIL, "5.1.2",
		    "%s has neither MX nor address records", g->target->name);
	else
		smar_route_goal_fail(g, META1_PERMFAIL, "5.4.4",
		    "no mail server of %s has an address", g->target->name);
	return n;
}

void smar_route_hops(struct smar_route *r)
{
	const struct smar_goal *bad = NULL;

	r->text = base_alloc(MX_HOPS * sizeof(*r->text));
	for (unsigned i = 0; i < r->n; i++) {
		r->nhop = goal_hops(&r->goal[i], r->text, r->nhop);
		if (r->goal[i].status != META1_OK &&
		    (!bad ||
			(bad->status == META1_PERMFAIL && r->goal[i].status == META1_TEMPFAIL)))
			bad = &r->goal[i];
	}
	if (r->nhop > 0)
		smar_route_found(r);
	else
		smar_route_fail(r, bad ? bad->status : META1_TEMPFAIL, bad ? bad->dsn : "4.4.3",
		    bad ? bad->why : "no next hop is known");
}
