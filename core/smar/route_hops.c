/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * route_hops.c -- the hops of a route, in the order in which they are tried: that of the row, in it
 * that of the preferences of MX records, without what leads back to this server (mx.c).
 * From route_goal.c, when the last goal has its addresses; to route_answer.c. Owns nothing.
 * On failure: only when no goal has a hop; then the reason is that of a goal which may have one
 * later, else that of the first.
 */
#include "smar/route.h"

#include "smar/tlsrpt.h"

#include <stdio.h>

#define TTL_PART 60 /* a host's addresses could not be asked for */

static unsigned add_socket(
    const struct smar_route *r, const struct smar_goal *g, char (*text)[600], unsigned n)
{
	const char *path =
	    g->target->kind == TARGET_SOCKET ? r->policy->lmtp_path : g->target->name;

	if (n < MX_HOPS && g->target->kind == TARGET_NAMED)
		snprintf(
		    text[n++], sizeof(*text), "%s:%s 0 %s", g->target->by, path, g->target->by);
	else if (n < MX_HOPS)
		snprintf(text[n++], sizeof(*text), "%s 0 %s", path, r->policy->hostname);
	return n;
}

struct left_out {	 /* hosts of a goal without hops */
	bool failed;	 /* for now */
	bool barred;	 /* the domain's policy does not name them */
	bool required;	 /* they have no TLSA records, and an admin wants some */
	const char *why; /* of what TLSA records could not be had; NULL: all could */
};

static void report(const struct smar_goal *g, unsigned i, enum tls_result what, const char *why)
{
	if (g->route->delivery)
		tlsrpt_host(g->target->name, what, g->host[i].name, why);
}

/* What TLS must achieve at a host: a row of tls_policy stands alone; TLSA records that can be used
 * stand above what the domain's policy says. buf is for what is none of the goal's. false: nothing
 * is to go there.
 */
static bool host_need(struct smar_goal *g, unsigned i, const struct tls_need **need,
    struct tls_need *buf, struct left_out *left)
{
	*need = g->need_row;
	if (g->need_row && !smar_route_dane_required(g))
		return true;
	if (!smar_route_dane_need(g, i, need, &left->why)) {
		left->failed = true;
		report(g, i, TLS_RESULT_DNSSEC, left->why);
		return false;
	}
	if (*need && (*need)->word == TLS_NEED_DANE) {
		if (g->need_row) { /* it is the admin's word now */
			*buf = **need;
			buf->by = TLS_BY_ROW;
			*need = buf;
		}
		return true;
	}
	if (g->need_row) {
		report(g, i, *need ? TLS_RESULT_TLSA : TLS_RESULT_DANE_REQUIRED, "");
		left->required = true;
		return false;
	}
	if (!smar_route_sts_allows(g, &g->host[i])) {
		g->host[i].barred = left->barred = true;
		return false;
	}
	if (smar_route_sts_need(g, buf) && (!*need || !buf->testing))
		*need = buf;
	return true;
}

static unsigned host_hops(
    struct smar_goal *g, unsigned i, char (*text)[600], unsigned n, struct left_out *left)
{
	const struct tls_need *need;
	struct tls_need buf;
	unsigned from = n;

	left->failed |= g->host[i].failed;
	if (!host_need(g, i, &need, &buf, left))
		return n;
	mx_hops(&g->host[i], text, g->route->secure, &n);
	for (; need && from < n; from++)
		smar_route_need(g->route, from, need);
	return n;
}

static unsigned goal_hops(struct smar_goal *g, char (*text)[600], unsigned n)
{
	struct left_out left = {.why = NULL};
	unsigned before = n;
	bool cut;

	if (g->status != META1_OK)
		return n;
	if (smar_route_socket(g))
		return add_socket(g->route, g, text, n);
	cut = mx_cut(g->route->policy, g->host, &g->nhost);
	for (unsigned i = 0; i < g->nhost; i++)
		n = host_hops(g, i, text, n, &left);
	for (unsigned i = before; g->secure && i < n; i++)
		g->route->secure[i] |= SECURE_NAME;
	if (left.failed && g->route->ttl > TTL_PART)
		g->route->ttl = TTL_PART;
	if (n > before)
		return n;
	if (cut && g->nhost == 0)
		smar_route_goal_fail(g, META1_PERMFAIL, "5.4.6",
		    "mail for %s loops back to this server", g->target->name);
	else if (left.why)
		smar_route_goal_fail(g, META1_TEMPFAIL, "4.4.3", "%s", left.why);
	else if (left.failed)
		smar_route_goal_fail(g, META1_TEMPFAIL, "4.4.3",
		    "addresses of %s cannot be looked up now", g->target->name);
	else if (left.required)
		smar_route_goal_fail(g, META1_TEMPFAIL, "4.7.5",
		    "no mail server of %s has TLSA records of use, which tls_policy requires",
		    g->target->name);
	else if (left.barred)
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
