/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check_rcpt.c -- steps of check.c about the recipient: is its domain ours, what does the access
 * map say, may it be relayed, does its next hop take the mail.
 * From check.c; to seek.c and route.c. Owns nothing.
 */
#include "smar/check.h"

#include <meta1/transport.h>

#include <stdio.h>

METRIC_COUNTER(m_ascii, "rcpt_smtputf8_refused_total",
    "Recipients refused because their destination does not offer SMTPUTF8.");
METRIC_COUNTER(m_relay, "relaying_denied_total", "Recipients refused because we do not relay.");

static void local_found(void *arg, const struct smar_found *f)
{
	struct check *c = arg;

	if (!check_found(c, f))
		return;
	c->local = f->status == META1_OK && smar_local_value(f->value);
	check_go_on(c, c->local ? "the domain is local" : "the domain is not local");
}

void check_local(struct check *c)
{
	c->local = smar_local_fixed(c->policy, c->domain);
	if (c->local || !c->policy->mailertable.map) {
		check_go_on(c, c->local ? "the domain is local" : "the domain is not local");
		return;
	}
	smar_keys_domain(&c->seek.keys, c->domain);
	check_seek(c, &c->policy->mailertable, local_found);
}

/* Postmaster can always be reached. */
void check_postmaster(struct check *c)
{
	c->postmaster = c->local && strcmp(c->local_part, "postmaster") == 0;
	check_go_on(c, c->postmaster ? "taken from everybody" : "another");
}

void check_to(struct check *c)
{
	smar_keys_path(&c->seek.keys, &c->policy->access, "to:", c->local_part, c->domain);
	check_access(c);
}

/* Ours, or relayed for those who may. */
void check_relay(struct check *c)
{
	if (c->local) {
		check_go_on(c, "the domain is local");
	} else if (c->relay || c->relay_client || c->relay_proof || c->relay_to) {
		check_go_on(c, "relayed");
	} else {
		m_relay.value += !c->trace;
		check_say(c, ACT_REJECT, 550, "5.7.1", "relaying denied");
	}
}

static void utf8_routed(void *arg, const struct p_routes *r)
{
	struct check *c = arg;
	struct smar_policy *p = c->policy;

	if (r->status != META1_OK ||
	    !smar_caps_lacks(p->caps, r->key, META1_OFFER_SMTPUTF8, loop_now(p->loop))) {
		check_go_on(c, "its next hop is not known to lack SMTPUTF8");
		return;
	}
	m_ascii.value += !c->trace;
	check_say(c, ACT_REJECT, 550, "5.6.7",
	    "the next hop does not offer SMTPUTF8, which this mail needs");
}

/* Does the next hop take what the mail needs? A route that cannot be found now is no reason to
 * refuse: the mail may wait for it. The verdict is not kept: what is known of hops changes by
 * itself. */
void check_utf8(struct check *c)
{
	char path[ADDR_PATH_MAX + ADDR_DOMAIN_MAX + 2] = "", rcpt[sizeof(path)];
	struct smar_policy *p = c->policy;
	struct meta1_buf from;

	if (c->expanded) {
		check_go_on(c, "it goes to others, each by a way of its own");
		return;
	}
	if (!c->utf8 || !p->caps || !smar_caps_any(p->caps)) {
		check_go_on(
		    c, c->utf8 ? "nothing is known of next hops" : "the addresses are ASCII");
		return;
	}
	c->ttl = 0;
	if (c->from_local[0])
		snprintf(path, sizeof(path), "%s@%s", c->from_local, c->from_domain);
	from = buf_str(path);
	snprintf(rcpt, sizeof(rcpt), "%s@%s", c->local_part, c->domain);
	smar_route(p, p->dns,
	    &(struct smar_route_ask){
		.domain = buf_str(c->domain), .from = &from, .rcpt = buf_str(rcpt)},
	    c->deadline, utf8_routed, c);
}
