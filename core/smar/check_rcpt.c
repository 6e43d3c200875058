/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check_rcpt.c -- steps of check.c about the recipient: is its domain ours, what does the access
 * map say, may it be relayed, does its next hop take the mail.
 * From check.c; to seek.c and route.c. Owns nothing.
 */
#include "smar/check.h"

#include "lib/hop_conf.h"

#include <meta1/transport.h>

#include <stdio.h>

METRIC_COUNTER(m_ascii, "rcpt_smtputf8_refused_total",
    "Recipients refused because their destination does not offer SMTPUTF8.");
METRIC_COUNTER(m_seven, "rcpt_8bitmime_refused_total",
    "Recipients refused because their destination does not offer 8BITMIME.");
METRIC_COUNTER(m_relay, "relaying_denied_total", "Recipients refused because we do not relay.");

static void local_found(void *arg, const struct smar_found *f)
{
	struct check *c = arg;

	if (!check_found(c, f))
		return;
	c->local = f->status == META1_OK && smar_local_value(f->value, c->policy->transports);
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

/* Asks for the way of the recipient, as qmgr will. */
static void ask_route(struct check *c, smar_routes_fn routed)
{
	char path[ADDR_PATH_MAX + ADDR_DOMAIN_MAX + 2] = "", rcpt[sizeof(path)];
	struct smar_policy *p = c->policy;
	struct meta1_buf from;

	c->ttl = 0;
	if (c->from_local[0])
		snprintf(path, sizeof(path), "%s@%s", c->from_local, c->from_domain);
	from = buf_str(path);
	snprintf(rcpt, sizeof(rcpt), "%s@%s", c->local_part, c->domain);
	smar_route(p, p->dns,
	    &(struct smar_route_ask){
		.domain = buf_str(c->domain), .from = &from, .rcpt = buf_str(rcpt)},
	    c->deadline, routed, c);
}

static bool lacks(const struct check *c, const struct p_routes *r, uint32_t offer)
{
	struct smar_policy *p = c->policy;

	return r->status == META1_OK && smar_caps_lacks(p->caps, r->key, offer, loop_now(p->loop));
}

static void utf8_routed(void *arg, const struct p_routes *r)
{
	struct check *c = arg;

	if (!lacks(c, r, META1_OFFER_SMTPUTF8)) {
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
static void check_offer(struct check *c, bool needs, const char *unneeded, smar_routes_fn routed)
{
	if (c->expanded)
		check_go_on(c, "it goes to others, each by a way of its own");
	else if (!needs)
		check_go_on(c, unneeded);
	else if (!c->policy->caps || !smar_caps_any(c->policy->caps))
		check_go_on(c, "nothing is known of next hops");
	else
		ask_route(c, routed);
}

void check_utf8(struct check *c)
{
	check_offer(c, c->utf8, "the addresses are ASCII", utf8_routed);
}

/* ---- 8BITMIME, where no_8bitmime is bounce ---- */
bool check_8bitmime_on(const struct smar_policy *p)
{
	return p->no_8bitmime == NO_8BITMIME_BOUNCE || p->session_conf || p->rcpt_conf;
}

static void take_row(struct hop_conf *conf, const struct p_routes *r, uint64_t row)
{
	struct meta1_err err;

	if (row > 0 && row <= r->conf.n)
		(void)hop_conf_read(
		    r->conf.v[row - 1], conf, &err); /* as it was when it was found */
}

/* Section and rows of smtpc say so for each of the hops: one that is sent to takes the mail. */
static bool bounces(const struct check *c, const struct p_routes *r)
{
	for (uint32_t i = 0; i < r->hops.n; i++) {
		struct hop_conf conf = {.no_8bitmime = c->policy->no_8bitmime};

		take_row(&conf, r, i < r->conf_of.n ? r->conf_of.v[i] : 0);
		take_row(&conf, r, r->conf_rcpt);
		if (conf.no_8bitmime != NO_8BITMIME_BOUNCE)
			return false;
	}
	return r->hops.n > 0;
}

static void eight_routed(void *arg, const struct p_routes *r)
{
	struct check *c = arg;

	if (!lacks(c, r, META1_OFFER_8BITMIME)) {
		check_go_on(c, "its next hop is not known to lack 8BITMIME");
	} else if (!bounces(c, r)) {
		check_go_on(c, "sent as it is: no_8bitmime of smtpc");
	} else {
		m_seven.value += !c->trace;
		check_say(c, ACT_REJECT, 550, "5.6.3",
		    "the next hop does not offer 8BITMIME, which this mail was sent with");
	}
}

void check_8bitmime(struct check *c)
{
	check_offer(
	    c, c->flags & CHECK_8BITMIME, "the mail does not say BODY=8BITMIME", eight_routed);
}
