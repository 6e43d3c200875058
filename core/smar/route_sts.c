/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * route_sts.c -- what the MTA-STS policy of a domain means for its route (RFC 8461 section 5).
 * From route_goal.c, beside the MX question, for domains that go by the DNS alone: where a row says
 * the hop an admin has decided. To sts_ask.c; route_hops.c asks which hosts are left out and what
 * the others must achieve; tlsrpt.c hears which domains these are. Owns a reference to the policy
 * in the goal, until route_answer.c. On failure: none is known, and the route goes on without one
 * and is kept for a minute only.
 */
#include "smar/route.h"

#include "smar/tlsrpt.h"

#define MARGIN_MS 1000 /* of the route, for what comes after */

static void answered(void *arg, const struct sts_answer *a)
{
	struct smar_goal *g = arg;

	if (a->policy && a->policy->mode != STS_NONE)
		g->sts = sts_policy_ref(a->policy);
	/* That a domain has no record is no reason to look up its hosts sooner. */
	if (a->policy || a->late)
		smar_route_ttl(g->route, a->ttl);
	smar_route_part_done(g->route);
}

void smar_route_sts(struct smar_goal *g)
{
	struct smar_route *r = g->route;

	if (r->row || !smar_target_smtp(g->target))
		return;
	tlsrpt_route(g->target->name);
	if (!r->policy->sts || g->need_row)
		return;
	r->pending++;
	sts_ask(r->policy->sts, g->target->name, false, r->deadline - MARGIN_MS, answered, g);
}

void smar_route_sts_done(struct smar_goal *g)
{
	sts_policy_unref(&g->sts);
}

bool smar_route_sts_allows(const struct smar_goal *g, const struct mx_host *h)
{
	return !g->sts || g->sts->mode != STS_ENFORCE || sts_policy_match(g->sts, h->name);
}

/* The name is that of the host, which is what is verified without match (section 4.1). */
bool smar_route_sts_need(const struct smar_goal *g, struct tls_need *n)
{
	if (!g->sts)
		return false;
	*n = (struct tls_need){
	    .word = TLS_NEED_VERIFY, .by = TLS_BY_STS, .testing = g->sts->mode == STS_TESTING};
	str_copy(n->domain, sizeof(n->domain), g->target->name);
	return true;
}
