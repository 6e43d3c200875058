/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * route.c -- ROUTE: where does mail for a domain go? Whose word counts: the mailertable's row, else
 * our own LMTP socket for what is local, else a row for the sender, else the row ".", else the DNS.
 * From smar.c (qmgr's question), explain.c, control.c, check_rcpt.c; to seek.c, then route_tls.c.
 * Owns one struct smar_route a question, until route_answer.c has told what came of it.
 * On failure: a map that cannot say, or a row that is none, is temporary.
 */
#include "smar/route.h"

#include "mail/reply.h"

#include <stdlib.h>

#define TTL_ROW 300

METRIC_COUNTER(m_routes, "routes_total", "Questions where a domain goes.");

/* To the next hops that a row, or an admin, gives. */
static void take_hops(struct smar_route *r, struct meta1_buf hops)
{
	struct meta1_err err;

	r->row = true;
	reply_clean(hops.data, hops.len, r->by->value, sizeof(r->by->value));
	if (smar_mailertable_parse(hops, r->policy->transports, r->target, &r->n, &err) < 0) {
		r->n = 0;
		smar_route_fail(r, META1_PERMFAIL, "5.3.5", err.text);
		return;
	}
	r->ttl = TTL_ROW;
	smar_route_tls(r);
}

static void note_row(struct smar_route *r, const char *rule, const struct smar_found *f)
{
	r->by->rule = rule;
	r->by->row = true;
	str_copy(r->by->map, sizeof(r->by->map), f->map);
	str_copy(r->by->key, sizeof(r->by->key), f->key);
}

/* Of several values each has next hops, tried in their order. */
static void follow(struct smar_route *r, const char *rule, const struct smar_found *f)
{
	size_t len;
	char *hops = smar_found_text(f, ' ', &len);

	note_row(r, rule, f);
	take_hops(r, buf_of(hops, len));
	free(hops);
}

static void without_row(struct smar_route *r);

static void sender_found(void *arg, const struct smar_found *f)
{
	struct smar_route *r = arg;

	r->by_sender = false;
	if (f->status == META1_TEMPFAIL || f->status == META1_PERMFAIL)
		smar_route_fail(
		    r, META1_TEMPFAIL, "4.3.0", "the routes of senders cannot be read now");
	else if (f->status == META1_OK)
		follow(r, "sender_routes", f);
	else if (r->rest)
		take_hops(r, buf_str(r->rest));
	else
		without_row(r);
}

static void ask_sender(struct smar_route *r)
{
	smar_keys_path(&r->seek.keys, &r->policy->sender_routes, "", r->from_local, r->from_domain);
	smar_seek_start(&r->seek, &r->policy->sender_routes, r->deadline, sender_found, r);
}

static void without_row(struct smar_route *r)
{
	struct smar_target *t = &r->target[0];

	r->n = 1;
	if (smar_local_fixed(r->policy, r->domain)) {
		r->by->rule = "local domain";
		r->row = true; /* our own configuration: a mistake in it is temporary */
		t->kind = TARGET_SOCKET;
		t->lmtp = true;
	} else if (smar_literal(r->domain, t->name, sizeof(t->name))) {
		r->by->rule = "address literal";
		t->kind = TARGET_ADDR;
	} else if (r->by_sender) {
		ask_sender(r);
		return;
	} else {
		r->by->rule = "DNS";
		t->kind = TARGET_MX;
		str_copy(t->name, sizeof(t->name), r->domain);
	}
	smar_route_tls(r);
}

/* The row for all the rest is a way out: what is ours and has a store stays here, or it would
 * go round in circles. */
static bool not_for_us(const struct smar_route *r, const struct smar_found *f)
{
	return f->status == META1_OK && !strcmp(f->key, ".") && r->policy->lmtp_path[0] &&
	       smar_local_fixed(r->policy, r->domain) &&
	       !smar_local_value(f->value, r->policy->transports);
}

/* A domain of ours, or an address: no sender may lead its mail elsewhere. */
static bool fixed(const struct smar_route *r)
{
	char addr[sizeof(r->target[0].name)];

	return smar_local_fixed(r->policy, r->domain) ||
	       smar_literal(r->domain, addr, sizeof(addr));
}

static void row_found(void *arg, const struct smar_found *f)
{
	struct smar_route *r = arg;
	size_t len;

	if (f->status == META1_TEMPFAIL || f->status == META1_PERMFAIL) {
		smar_route_fail(r, META1_TEMPFAIL, "4.3.0", "the mailertable cannot be read now");
	} else if (f->status == META1_NOTFOUND || not_for_us(r, f)) {
		without_row(r);
	} else if (r->by_sender && !strcmp(f->key, ".") && !fixed(r)) {
		r->rest = smar_found_text(f, ' ', &len);
		note_row(r, "mailertable", f);
		ask_sender(r);
	} else {
		follow(r, "mailertable", f);
	}
}

void smar_route(struct smar_policy *p, struct dns *dns, const struct smar_route_ask *ask,
    int64_t deadline, smar_routes_fn fn, void *arg)
{
	struct smar_route *r = base_alloc(sizeof(*r));

	m_routes.value++;
	r->policy = smar_policy_ref(p);
	r->dns = dns;
	r->deadline = deadline;
	r->ttl = SMAR_ROUTE_TTL_MAX;
	r->delivery = ask->delivery;
	r->by = ask->by ? ask->by : &r->unasked;
	*r->by = (struct smar_route_by){.rule = ""};
	r->fn = fn;
	r->arg = arg;
	if (ask->rcpt.len > 0 && ask->rcpt.len < sizeof(r->rcpt))
		memcpy(r->rcpt, ask->rcpt.data, ask->rcpt.len);
	r->by_sender = ask->from && p->sender_routes.map &&
		       smar_keys_split(*ask->from, p->hostname, r->from_local, r->from_domain) == 0;
	if (ask->domain.len == 0) {
		str_copy(r->domain, sizeof(r->domain), p->hostname);
	} else if (addr_domain_key(ask->domain, r->domain, sizeof(r->domain)) < 0 ||
		   !addr_domain_ok(buf_str(r->domain))) {
		smar_route_fail(r, META1_PERMFAIL, "5.1.2", "that is not a mail domain");
		return;
	}
	if (ask->via.len) {
		r->by->rule = "next hops that were given";
		take_hops(r, ask->via);
	} else if (!p->mailertable.map) {
		without_row(r);
	} else {
		smar_keys_domain(&r->seek.keys, r->domain);
		smar_seek_start(&r->seek, &p->mailertable, deadline, row_found, r);
	}
}
