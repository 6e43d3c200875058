/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check.c -- RCPT_CHECK: one question is one struct check that walks the table of
 * steps below; the order and the words are told in smar.h.
 * From smar.c (smtps' question); to seek.c for every key; the verdict goes back to smar.c.
 * Owns the struct and a reference to the policy it began with, so that a reload does not change
 * a question half-way. On failure: 451 4.3.0, or 554 5.3.0 when the map says that it will never
 * have an answer about this key, and a warning that names map and key.
 */
#include "smar/smar.h"

#include <meta1/transport.h>
#include <stdlib.h>

#define VERDICT_TTL 60 /* seconds an asker may keep a verdict */

METRIC_COUNTER(m_checks, "rcpt_checks_total", "Questions whether a recipient may be taken.");
METRIC_COUNTER(m_accepted, "rcpt_accepted_total", "Recipients accepted.");
METRIC_COUNTER(m_rejected, "rcpt_rejected_total", "Recipients refused for good.");
METRIC_COUNTER(m_tempfail, "rcpt_tempfail_total", "Recipients refused for now.");
METRIC_COUNTER(m_ascii, "rcpt_smtputf8_refused_total",
    "Recipients refused because their destination does not offer SMTPUTF8.");
METRIC_COUNTER(m_relay, "relaying_denied_total", "Recipients refused because we do not relay.");

struct check {
	struct smar_policy *policy;
	struct smar_seek seek;
	unsigned step;
	bool local, relay, done_access;
	bool utf8; /* the mail needs SMTPUTF8: a local part is not ASCII */
	int64_t deadline;
	uint32_t ttl;
	char client[64];
	char from_local[ADDR_PATH_MAX + 1], from_domain[ADDR_DOMAIN_MAX + 1];
	char local_part[ADDR_PATH_MAX + 1], domain[ADDR_DOMAIN_MAX + 1];
	smar_verdict_fn fn;
	void *arg;
};

/* A step ends in go_on() or say(), now or after a seek. */
static void step_local(struct check *c);
static void step_postmaster(struct check *c);
static void step_cltaddr(struct check *c);
static void step_from(struct check *c);
static void step_to(struct check *c);
static void step_relay(struct check *c);
static void step_utf8(struct check *c);
static void (*const steps[])(struct check *) = {
    step_local,
    step_postmaster,
    step_cltaddr,
    step_from,
    step_to,
    step_relay,
    step_utf8,
};

static void say(
    struct check *c, enum proto_action action, int smtp, const char *dsn, const char *text)
{
	struct p_rcpt_verdict v = {.action = action, .smtp = (uint64_t)smtp};

	v.dsn = buf_str(dsn);
	v.text = buf_str(text);
	v.ttl = action == ACT_TEMPFAIL ? 0 : c->ttl;
	if (action == ACT_TEMPFAIL)
		m_tempfail.value++;
	else if (action == ACT_REJECT)
		m_rejected.value++;
	else
		m_accepted.value++;
	log_event(LOG_L_DEBUG, "smar.check",
	    "client=%s from=<%s@%s> rcpt=<%s@%s> action=%d smtp=%d text=%s", c->client,
	    c->from_local, c->from_domain, c->local_part, c->domain, (int)action, smtp, text);
	c->fn(c->arg, &v);
	smar_policy_unref(&c->policy);
	free(c);
}

static void go_on(struct check *c)
{
	steps[c->step++](c);
}

static void accept_it(struct check *c)
{
	say(c, ACT_ACCEPT, 250, "2.1.5", "recipient ok");
}

/* False: the map could not say and the question is answered. */
static bool could_say(struct check *c, const struct smar_found *f)
{
	if (f->ttl < c->ttl)
		c->ttl = f->ttl;
	if (f->status == META1_PERMFAIL) {
		say(c, ACT_REJECT, 554, "5.3.0", "a map cannot answer about this mail");
		return false;
	}
	if (f->status != META1_TEMPFAIL)
		return true;
	say(c, ACT_TEMPFAIL, 451, "4.3.0", "temporary failure of a map, try again later");
	return false;
}

/* ---- 1: is the domain ours? ---- */
static void local_found(void *arg, const struct smar_found *f)
{
	struct check *c = arg;

	if (!could_say(c, f))
		return;
	c->local = f->status == META1_OK && smar_local_value(f->value);
	go_on(c);
}

static void step_local(struct check *c)
{
	c->local = smar_local_fixed(c->policy, c->domain);
	if (c->local || !c->policy->mailertable.map) {
		go_on(c);
		return;
	}
	smar_keys_domain(&c->seek.keys, c->domain);
	smar_seek_start(&c->seek, &c->policy->mailertable, c->deadline, local_found, c);
}

/* ---- 2: postmaster can always be reached ---- */
static void step_postmaster(struct check *c)
{
	if (c->local && strcmp(c->local_part, "postmaster") == 0)
		accept_it(c);
	else
		go_on(c);
}

/* ---- 3: the access map ---- */
static void apply(struct check *c, const struct smar_access *a)
{
	bool from = c->seek.keys.tag[0] == 'f';

	switch (a->rhs) {
	case RHS_REJECT:
		say(c, ACT_REJECT, 550, "5.7.1", "access denied");
		return;
	case RHS_ERROR:
		say(c, a->smtp < 500 ? ACT_TEMPFAIL : ACT_REJECT, a->smtp, a->dsn, a->text);
		return;
	case RHS_DISCARD:
		say(c, ACT_DISCARD, 250, "2.1.5", "recipient ok");
		return;
	case RHS_RELAY:
		if (!from)
			c->relay = true;
		c->done_access = a->quick || from;
		break;
	case RHS_OK:
		c->done_access = true;
		break;
	case RHS_CONT:
		c->done_access = a->quick;
		break;
	}
	go_on(c);
}

static void access_found(void *arg, const struct smar_found *f)
{
	struct check *c = arg;
	struct smar_access a;
	struct meta1_err err;

	if (!could_say(c, f))
		return;
	if (f->status != META1_OK) {
		go_on(c);
	} else if (smar_access_parse(f->value, &a, &err) < 0) {
		log_event(
		    LOG_L_WARN, "smar.access", "map=%s key=%s error=%s", f->map, f->key, err.text);
		say(c, ACT_TEMPFAIL, 451, "4.3.5", "the server's access map has a mistake");
	} else {
		apply(c, &a);
	}
}

static void look_up(struct check *c)
{
	smar_seek_start(&c->seek, &c->policy->access, c->deadline, access_found, c);
}

static bool skip_access(const struct check *c)
{
	return !c->policy->access.map || c->done_access;
}

static void step_cltaddr(struct check *c)
{
	if (skip_access(c)) {
		go_on(c);
		return;
	}
	smar_keys_client(&c->seek.keys, "cltaddr:", c->client);
	look_up(c);
}

static void step_from(struct check *c)
{
	if (skip_access(c)) {
		go_on(c);
		return;
	}
	smar_keys_path(&c->seek.keys, &c->policy->access, "from:", c->from_local, c->from_domain);
	look_up(c);
}

static void step_to(struct check *c)
{
	if (skip_access(c)) {
		go_on(c);
		return;
	}
	smar_keys_path(&c->seek.keys, &c->policy->access, "to:", c->local_part, c->domain);
	look_up(c);
}

/* ---- 4: ours, or relayed for those who may ---- */
static void step_relay(struct check *c)
{
	if (c->local || c->relay) {
		go_on(c);
		return;
	}
	m_relay.value++;
	say(c, ACT_REJECT, 550, "5.7.1", "relaying denied");
}

/* ---- 5: does the next hop take what the mail needs? ---- */
static void utf8_routed(void *arg, const struct p_routes *r)
{
	struct check *c = arg;
	struct smar_policy *p = c->policy;

	if (r->status != META1_OK ||
	    !smar_caps_lacks(p->caps, r->key, META1_OFFER_SMTPUTF8, loop_now(p->loop))) {
		accept_it(c);
		return;
	}
	m_ascii.value++;
	say(c, ACT_REJECT, 550, "5.6.7",
	    "the next hop does not offer SMTPUTF8, which this mail needs");
}

/* A route that cannot be found now is no reason to refuse: the mail may wait for it. The verdict
 * is not kept: what is known of hops changes by itself. */
static void step_utf8(struct check *c)
{
	struct smar_policy *p = c->policy;

	if (!c->utf8 || !p->caps || !smar_caps_any(p->caps)) {
		accept_it(c);
		return;
	}
	c->ttl = 0;
	smar_route(p, p->dns, buf_str(c->domain), buf_str(""), c->deadline, utf8_routed, c);
}

void smar_check(struct smar_policy *p, const struct p_rcpt_check *q, int64_t deadline,
    smar_verdict_fn fn, void *arg)
{
	struct check *c = base_alloc(sizeof(*c));
	char client[sizeof(c->client)] = "";

	m_checks.value++;
	c->policy = smar_policy_ref(p);
	c->deadline = deadline;
	c->ttl = VERDICT_TTL;
	c->done_access = !(q->flags & SMTPS_F_ACCESS);
	c->utf8 = addr_utf8_local(q->from) || addr_utf8_local(q->rcpt);
	c->fn = fn;
	c->arg = arg;
	if (q->client.len < sizeof(client))
		memcpy(client, q->client.data ? q->client.data : "", q->client.len);
	str_copy(c->client, sizeof(c->client), client[0] ? client : "unknown");
	if (smar_keys_split(q->from, p->hostname, c->from_local, c->from_domain) < 0) {
		say(c, ACT_REJECT, 553, "5.1.7", "the sender address is too long");
		return;
	}
	if (smar_keys_split(q->rcpt, p->hostname, c->local_part, c->domain) < 0 ||
	    c->local_part[0] == '\0') {
		say(c, ACT_REJECT, 553, "5.1.3", "the recipient address is no address");
		return;
	}
	go_on(c);
}
