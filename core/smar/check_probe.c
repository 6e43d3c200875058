/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check_probe.c -- the step of check.c that asks the recipient's next hop; see probe.h.
 * From check.c; to seek.c (which destinations are probed), route.c (where its mail goes), probe.c.
 * Owns nothing but its place: the struct check waits. An alias is not asked about, its targets
 * have other hops; the route is that of the domain, whoever the sender is.
 */
#include "smar/check.h"
#include "smar/probe.h"

#include <stdio.h>

METRIC_COUNTER(m_hits, "probe_cache_hits_total", "Recipients judged by what was kept.");

#define AT_ONCE_MS 300 /* of the deadline, kept for the steps that follow */

bool check_probe_on(const struct smar_policy *p)
{
	return p->probe && p->prober;
}

/* local@domain: the local part as it was said, only the hop knows what its case means. */
static void key_of(const struct check *c, char key[PROBE_KEY_MAX])
{
	const char *at = c->rcpt ? strrchr(c->rcpt, '@') : NULL;
	size_t n = at ? (size_t)(at - c->rcpt) : strlen(c->rcpt ? c->rcpt : "");

	snprintf(key, PROBE_KEY_MAX, "%.*s@%s", (int)n, c->rcpt ? c->rcpt : "", c->domain);
}

/* ---- what came of it ---- */
static void accepts(struct check *c, const struct probe_answer *a)
{
	if (a->stale) {
		c->ttl = 0;
		check_go_on(c, "the next hop took it before, and cannot say now");
		return;
	}
	check_ttl(c, (uint32_t)(a->left / 1000));
	check_go_on(c, a->asked ? "the next hop takes it" : "the next hop takes it, as was kept");
}

static void refuses(struct check *c, const struct probe_answer *a)
{
	char text[PROBE_TEXT_MAX + 40];

	check_ttl(c, (uint32_t)(a->left / 1000));
	snprintf(text, sizeof(text), "the next hop says: %s",
	    a->said.text[0] ? a->said.text : "no such recipient");
	check_say(c, ACT_REJECT, 550, a->said.dsn[0] == '5' ? a->said.dsn : "5.1.1", text);
}

static void cannot_say(struct check *c, const struct probe_answer *a)
{
	char text[PROBE_TEXT_MAX + 60];

	c->ttl = 0;
	if (c->probe_accepts) {
		check_go_on(c, "the next hop cannot say: accepted");
		return;
	}
	snprintf(text, sizeof(text), "the recipient cannot be verified now: %s", a->said.text);
	check_say(c, ACT_TEMPFAIL, 450, a->said.dsn[0] == '4' ? a->said.dsn : "4.4.1", text);
}

/* For the trace: who said what. */
static void note(struct check *c, const struct probe_answer *a)
{
	char text[PROBE_TEXT_MAX + sizeof(c->hop) + 60], kept[40];
	bool now = a->asked || a->stale || a->said.word == PROBE_UNKNOWN;

	snprintf(kept, sizeof(kept), "kept, %lld s old", (long long)a->age / 1000);
	snprintf(text, sizeof(text), "%s%s%s%s%s", now ? c->hop : kept,
	    now && !c->hop[0] ? "" : ": ", a->said.dsn, a->said.dsn[0] ? " " : "", a->said.text);
	str_copy(c->answer, sizeof(c->answer), text);
}

static void said(void *arg, const struct probe_answer *a)
{
	struct check *c = arg;

	note(c, a);
	if (a->said.word == PROBE_YES)
		accepts(c, a);
	else if (a->said.word == PROBE_NO)
		refuses(c, a);
	else
		cannot_say(c, a);
}

/* ---- asking ---- */
static void by_row(struct check *c);

static void routed(void *arg, const struct p_routes *r)
{
	struct check *c = arg;
	const struct set_probe *conf = &c->policy->probe->conf;
	struct probe_answer a;
	struct probe_question q = {.policy = c->policy, .rcpt = c->rcpt, .route = r};
	char key[PROBE_KEY_MAX];

	if (c->probe_lmtp && r->status == META1_OK && !buf_eq(r->transport, buf_str("lmtp"))) {
		by_row(c);
		return;
	}
	key_of(c, key);
	if (r->status == META1_PERMFAIL) {
		check_go_on(c, "not probed: there is no route");
		return;
	}
	if (r->status != META1_OK) {
		probe_unknown(c->policy->prober, key, "there is no route now", &a);
		said(c, &a);
		return;
	}
	q.key = key;
	q.keep = !c->trace;
	q.until = loop_now(c->policy->loop) + conf->wait;
	if (q.until > c->deadline - AT_ONCE_MS)
		q.until = c->deadline - AT_ONCE_MS;
	snprintf(c->hop, sizeof(c->hop), "%.*s %.*s", (int)r->transport.len,
	    (const char *)r->transport.data, (int)(r->hops.n ? r->hops.v[0].len : 0),
	    r->hops.n ? (const char *)r->hops.v[0].data : "");
	probe_ask(c->policy->prober, &q, said, c);
}

static void ask(struct check *c)
{
	struct smar_route_ask route = {.domain = buf_str(c->domain)};
	struct smar_policy *p = c->policy;
	struct probe_answer a;
	char key[PROBE_KEY_MAX];

	c->looked = false; /* the hop decides now, not the row that led here */
	c->rule[0] = '\0';
	key_of(c, key);
	if (probe_known(p->prober, key, &a)) {
		m_hits.value += !c->trace;
		said(c, &a);
		return;
	}
	smar_route(p, p->dns, &route, c->deadline, routed, c);
}

/* ---- is it to be asked? ---- */
static void row_found(void *arg, const struct smar_found *f)
{
	struct check *c = arg;

	if (!check_found(c, f))
		return;
	if (f->status == META1_OK && strcmp(f->key, ".") != 0)
		ask(c);
	else
		check_go_on(c, "not probed");
}

/* By a row of the mailertable of its own, that for all the rest is a smart host's. */
static void by_row(struct check *c)
{
	struct smar_policy *p = c->policy;

	c->probe_lmtp = false;
	if (!(p->probe->conf.routes & PROBE_ROUTE_MAILERTABLE) || !p->mailertable.map) {
		check_go_on(c, "not probed");
		return;
	}
	smar_keys_domain(&c->seek.keys, c->domain);
	check_seek(c, &p->mailertable, row_found);
}

static void by_route(struct check *c)
{
	struct smar_policy *p = c->policy;

	c->probe_lmtp = p->probe->conf.routes & PROBE_ROUTE_LMTP && c->local && !c->virtual;
	if (smar_local_listed(p->probed, p->nprobed, c->domain)) {
		c->probe_lmtp = false;
		ask(c);
	} else if (c->probe_lmtp) {
		ask(c);
	} else {
		by_row(c);
	}
}

static void conf_found(void *arg, const struct smar_found *f)
{
	struct check *c = arg;

	if (!check_found(c, f))
		return;
	if (f->status != META1_OK) {
		by_route(c);
		return;
	}
	if (buf_caseeq(f->value, "no")) {
		check_go_on(c, "not probed");
		return;
	}
	if (buf_caseeq(f->value, "accept") || buf_caseeq(f->value, "tempfail"))
		c->probe_accepts = buf_caseeq(f->value, "accept");
	else if (!buf_caseeq(f->value, "yes"))
		log_event(LOG_L_WARN, "smar.probe", "map=%s key=%s value=%s text=%s", f->map,
		    f->key, c->answer, "expected no, yes, accept or tempfail; taken as yes");
	ask(c);
}

void check_probe(struct check *c)
{
	struct smar_policy *p = c->policy;

	c->probe_accepts = p->probe->conf.unknown == PROBE_UNKNOWN_ACCEPT;
	c->hop[0] = '\0';
	if (c->expanded) {
		check_go_on(c, "it goes to others, each by a way of its own");
	} else if (p->probe_conf.map) {
		smar_keys_domain(&c->seek.keys, c->domain);
		check_seek(c, &p->probe_conf, conf_found);
	} else {
		by_route(c);
	}
}
