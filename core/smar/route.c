/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * route.c -- ROUTE: where does mail for a domain go? The mailertable's row, else our own
 * LMTP socket for what is local, else MX and address records.
 * From smar.c (qmgr's question); to seek.c, then dns.c; the hops go back to smar.c.
 * Owns one struct route a question: its targets are resolved side by side, the last
 * answer assembles the hops in the order of the row and of the preferences.
 * On failure: what the DNS says for good is permanent (5.1.2, 5.1.10, 5.4.6); a row of the
 * mailertable that leads nowhere is a mistake to mend, so it is temporary and logged.
 */
#include "smar/smar.h"

#include <arpa/inet.h>
#include <event2/util.h>
#include <stdio.h>
#include <stdlib.h>

#define TTL_MIN	  10
#define TTL_MAX	  3600
#define TTL_ROW	  300
#define TTL_PART  60 /* a host's addresses could not be asked for */
#define LMTP_PORT 24

METRIC_COUNTER(m_routes, "routes_total", "Questions where a domain goes.");
METRIC_COUNTER(m_tempfail, "routes_tempfail_total", "Routes not known for now.");
METRIC_COUNTER(m_permfail, "routes_permfail_total", "Domains that take no mail.");

struct goal { /* a target on its way to addresses */
	struct route *route;
	const struct smar_target *target;
	struct mx_host *host;
	unsigned nhost;
	bool implicit;		  /* host[0] is the domain itself, it has no MX */
	enum meta1_status status; /* OK until something failed */
	const char *dsn;
	char why[350];
};
struct route {
	struct smar_policy *policy;
	struct dns *dns;
	struct smar_seek seek;
	char domain[ADDR_DOMAIN_MAX + 1];
	bool row; /* the mailertable, or the sender, has one */
	bool by_sender;
	char from_local[ADDR_PATH_MAX + 1], from_domain[ADDR_DOMAIN_MAX + 1];
	char *rest; /* value of the row ".", while the sender is looked up; NULL: none */
	struct smar_target target[SMAR_TARGETS];
	struct goal goal[SMAR_TARGETS];
	unsigned n, pending;
	int64_t deadline;
	uint32_t ttl;
	char (*text)[600]; /* hops that were found */
	unsigned nhop;
	smar_routes_fn fn;
	void *arg;
};
struct addr_ask {
	struct goal *goal;
	unsigned host;
	int family;
};

/* ---- the answer ---- */
static void end(struct route *r, const struct p_routes *out)
{
	log_event(LOG_L_DEBUG, "smar.route", "domain=%s status=%d hops=%u text=%.*s", r->domain,
	    (int)out->status, out->hops.n, (int)out->text.len, (const char *)out->text.data);
	r->fn(r->arg, out);
	for (unsigned i = 0; i < r->n; i++)
		free(r->goal[i].host);
	free(r->text);
	free(r->rest);
	smar_policy_unref(&r->policy);
	free(r);
}

static uint32_t bounded_ttl(const struct route *r)
{
	uint32_t ttl = r->ttl > TTL_MAX ? TTL_MAX : r->ttl;

	return ttl < TTL_MIN ? TTL_MIN : ttl;
}

static void end_fail(struct route *r, enum meta1_status status, const char *dsn, const char *text)
{
	struct p_routes out = {.status = status, .text = buf_str(text)};
	char code[12];

	str_copy(code, sizeof(code), dsn);
	if (r->row && status == META1_PERMFAIL) {
		log_event(LOG_L_WARN, "smar.mailertable", "domain=%s key=%s error=%s", r->domain,
		    r->seek.key, text);
		out.status = META1_TEMPFAIL;
	}
	if (out.status == META1_TEMPFAIL) {
		code[0] = '4';
		m_tempfail.value++;
	} else {
		out.ttl = bounded_ttl(r);
		m_permfail.value++;
	}
	out.smtp = out.status == META1_TEMPFAIL ? 451 : 550;
	out.dsn = buf_str(code);
	end(r, &out);
}

static unsigned add_socket(
    const struct route *r, const struct goal *g, char (*text)[600], unsigned n)
{
	const char *path =
	    g->target->kind == TARGET_SOCKET ? r->policy->lmtp_path : g->target->name;

	if (n < MX_HOPS)
		snprintf(text[n++], sizeof(*text), "%s 0 %s", path, r->policy->hostname);
	return n;
}

static bool is_socket(const struct goal *g)
{
	return g->target->kind == TARGET_SOCKET || g->target->kind == TARGET_PATH;
}

/* The key: all hosts of all goals in the order in which they are tried. */
static void make_key(const struct route *r, char *key, size_t size)
{
	struct mx_host *all;
	unsigned n = 0, most = 0;
	uint16_t rank = 0; /* of the row's targets and, in them, of preferences */
	bool lmtp = r->target[0].lmtp;

	for (unsigned i = 0; i < r->n; i++)
		most += r->goal[i].nhost + 1;
	all = base_alloc((most + 1) * sizeof(*all));
	for (unsigned i = 0; i < r->n; i++) {
		const struct goal *g = &r->goal[i];

		rank++;
		if (g->status == META1_OK && is_socket(g)) {
			str_copy(all[n].name, sizeof(all->name),
			    g->target->kind == TARGET_SOCKET ? r->policy->lmtp_path
							     : g->target->name);
			all[n++].pref = rank;
		}
		for (unsigned k = 0; k < g->nhost; k++) {
			rank += k > 0 && g->host[k].pref != g->host[k - 1].pref;
			all[n] = g->host[k];
			all[n++].pref = rank;
		}
	}
	mx_key(all, n, lmtp ? LMTP_PORT : r->policy->remote_port, lmtp ? "lmtp:" : "", key, size);
	free(all);
}

/* A row of the domain's own makes of it, or of those that share the row, a destination of its own:
 * another domain at the same hosts is not bound by it. */
static void own_key(char *key, size_t size, const struct smar_limits *lim)
{
	char with[sizeof(lim->row) + 256];

	if (lim->own && snprintf(with, sizeof(with), "%s|%s", lim->row, key) < (int)size)
		str_copy(key, size, with);
}

static void end_ok(struct route *r, const struct smar_limits *lim)
{
	struct meta1_buf hop[MX_HOPS];
	struct p_routes out = {.status = META1_OK, .ttl = bounded_ttl(r)};
	char key[256];

	for (unsigned i = 0; i < r->nhop; i++)
		hop[i] = buf_str(r->text[i]);
	make_key(r, key, sizeof(key));
	if (lim && lim->status == META1_OK) {
		out.limits = buf_str(lim->text);
		out.limits_row = buf_str(lim->row);
		own_key(key, sizeof(key), lim);
	}
	out.key = buf_str(key);
	out.transport = buf_str(r->target[0].lmtp ? "lmtp" : "smtp");
	out.hops.v = hop;
	out.hops.n = r->nhop;
	end(r, &out);
}

static void keep_ttl(struct route *r, uint32_t ttl)
{
	if (ttl < r->ttl)
		r->ttl = ttl;
}

static void limits_found(void *arg, const struct smar_limits *lim)
{
	struct route *r = arg;

	keep_ttl(r, lim->ttl);
	if (lim->status == META1_TEMPFAIL)
		end_fail(r, META1_TEMPFAIL, "4.3.0", "the map of limits cannot be read now");
	else
		end_ok(r, lim);
}

static void ask_limits(struct route *r)
{
	const char *names[SMAR_LIMIT_NAMES] = {r->domain};
	unsigned n = 1;

	if (!r->policy->limits.map) {
		end_ok(r, NULL);
		return;
	}
	for (unsigned i = 0; i < r->n; i++)
		for (unsigned k = 0; k < r->goal[i].nhost && n < SMAR_LIMIT_NAMES; k++)
			names[n++] = r->goal[i].host[k].name;
	smar_limits_find(&r->policy->limits, names, n, r->deadline, limits_found, r);
}

/* The goal leads nowhere. Its hosts stay in the key, so that the destination keeps its name while
 * one of them cannot be looked up. */
static void goal_fail(
    struct goal *g, enum meta1_status status, const char *dsn, const char *fmt, const char *name)
{
	g->status = status;
	g->dsn = dsn;
	snprintf(g->why, sizeof(g->why), fmt, name);
}

static unsigned goal_hops(struct goal *g, char (*text)[600], unsigned n)
{
	unsigned before = n;
	bool failed = false, cut;

	if (g->status != META1_OK)
		return n;
	if (is_socket(g))
		return add_socket(g->route, g, text, n);
	cut = mx_cut(g->route->policy, g->host, &g->nhost);
	for (unsigned i = 0; i < g->nhost; i++) {
		mx_hops(&g->host[i], text, &n);
		failed |= g->host[i].failed;
	}
	if (failed && g->route->ttl > TTL_PART)
		g->route->ttl = TTL_PART;
	if (n > before)
		return n;
	if (cut && g->nhost == 0)
		goal_fail(g, META1_PERMFAIL, "5.4.6", "mail for %s loops back to this server",
		    g->target->name);
	else if (failed)
		goal_fail(g, META1_TEMPFAIL, "4.4.3", "addresses of %s cannot be looked up now",
		    g->target->name);
	else if (g->implicit)
		goal_fail(g, META1_PERMFAIL, "5.1.2", "%s has neither MX nor address records",
		    g->target->name);
	else
		goal_fail(g, META1_PERMFAIL, "5.4.4", "no mail server of %s has an address",
		    g->target->name);
	return n;
}

static void assemble(struct route *r)
{
	const struct goal *bad = NULL;

	r->text = base_alloc(MX_HOPS * sizeof(*r->text));
	for (unsigned i = 0; i < r->n; i++) {
		r->nhop = goal_hops(&r->goal[i], r->text, r->nhop);
		if (r->goal[i].status != META1_OK &&
		    (!bad ||
			(bad->status == META1_PERMFAIL && r->goal[i].status == META1_TEMPFAIL)))
			bad = &r->goal[i];
	}
	if (r->nhop > 0)
		ask_limits(r);
	else
		end_fail(r, bad ? bad->status : META1_TEMPFAIL, bad ? bad->dsn : "4.4.3",
		    bad ? bad->why : "no next hop is known");
}

static void part_done(struct route *r)
{
	if (--r->pending == 0)
		assemble(r);
}

/* ---- addresses of hosts ---- */
static void addr_answered(void *arg, const struct dns_data *d, uint32_t ttl)
{
	struct addr_ask *a = arg;
	struct goal *g = a->goal;
	struct mx_host *h = &g->host[a->host];

	if (d->status == META1_TEMPFAIL) {
		h->failed = true;
	} else {
		/* Of a host with one family only, the other's "no" does not shorten the route. */
		if (d->status == META1_OK)
			keep_ttl(g->route, ttl);
		mx_addrs(h, d, a->family);
	}
	free(a);
	part_done(g->route);
}

static void ask_addr(struct goal *g, unsigned host, int family)
{
	struct addr_ask *a = base_alloc(sizeof(*a));
	struct route *r = g->route;

	a->goal = g;
	a->host = host;
	a->family = family;
	r->pending++;
	dns_ask(r->dns, g->host[host].name, family == AF_INET ? DNS_A : DNS_AAAA, r->deadline,
	    addr_answered, a);
}

static uint16_t goal_port(const struct goal *g)
{
	if (g->target->port)
		return g->target->port;
	return g->target->lmtp ? LMTP_PORT : g->route->policy->remote_port;
}

static void ask_hosts(struct goal *g)
{
	for (unsigned i = 0; i < g->nhost; i++) {
		g->host[i].port = goal_port(g);
		ask_addr(g, i, AF_INET);
		ask_addr(g, i, AF_INET6);
	}
}

static void one_host(struct goal *g)
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

static void read_mx(struct goal *g, const struct dns_data *d)
{
	const char *name = g->target->name;

	g->host = base_alloc(MX_HOSTS * sizeof(*g->host));
	switch (mx_hosts(d, g->route->policy->hostname, random_below, g->host, &g->nhost)) {
	case MX_SOME:
		ask_hosts(g);
		break;
	case MX_NULL:
		goal_fail(g, META1_PERMFAIL, "5.1.10", "%s does not accept mail", name);
		break;
	case MX_SELF:
		goal_fail(
		    g, META1_PERMFAIL, "5.4.6", "mail for %s loops back to this server", name);
		break;
	case MX_BAD:
		goal_fail(g, META1_PERMFAIL, "5.4.4", "no MX record of %s names a host", name);
		break;
	}
}

static void mx_answered(void *arg, const struct dns_data *d, uint32_t ttl)
{
	struct goal *g = arg;

	if (d->status == META1_TEMPFAIL) {
		goal_fail(g, META1_TEMPFAIL, "4.4.3", "%s cannot be looked up in the DNS now",
		    g->target->name);
	} else {
		keep_ttl(g->route, ttl);
		if (d->status == META1_OK) {
			read_mx(g, d);
		} else if (d->nxdomain) {
			goal_fail(g, META1_PERMFAIL, "5.1.2", "%s does not exist in the DNS",
			    g->target->name);
		} else {
			one_host(g);
			g->implicit = true;
			ask_hosts(g);
		}
	}
	part_done(g->route);
}

/* ---- targets ---- */
static void goal_start(struct goal *g)
{
	switch (g->target->kind) {
	case TARGET_SOCKET:
		if (!g->route->policy->lmtp_path[0])
			goal_fail(g, META1_PERMFAIL, "5.3.5",
			    "%s goes to lmtp: but smtpc has no LMTP_socket", g->route->domain);
		break;
	case TARGET_PATH:
		break;
	case TARGET_ADDR:
		one_host(g);
		g->host->naddr = 1;
		g->host->addr[0].family = strchr(g->target->name, ':') ? AF_INET6 : AF_INET;
		inet_pton(g->host->addr[0].family, g->target->name, g->host->addr[0].ip);
		break;
	case TARGET_HOST:
		one_host(g);
		ask_hosts(g);
		break;
	case TARGET_MX:
		g->route->pending++;
		dns_ask(g->route->dns, g->target->name, DNS_MX, g->route->deadline, mx_answered, g);
		break;
	}
}

/* Answers of the DNS come on later turns, so nothing ends before all have started. */
static void start_all(struct route *r)
{
	r->pending = 1;
	for (unsigned i = 0; i < r->n; i++) {
		r->goal[i].route = r;
		r->goal[i].target = &r->target[i];
		goal_start(&r->goal[i]);
	}
	part_done(r);
}

static void follow(struct route *r, struct meta1_buf hops);
static void without_row(struct route *r);

static void sender_found(void *arg, const struct smar_found *f)
{
	struct route *r = arg;

	r->by_sender = false;
	if (f->status == META1_TEMPFAIL || f->status == META1_PERMFAIL)
		end_fail(r, META1_TEMPFAIL, "4.3.0", "the routes of senders cannot be read now");
	else if (f->status == META1_OK)
		follow(r, f->value);
	else if (r->rest)
		follow(r, buf_str(r->rest));
	else
		without_row(r);
}

static void ask_sender(struct route *r)
{
	smar_keys_path(&r->seek.keys, &r->policy->sender_routes, "", r->from_local, r->from_domain);
	smar_seek_start(&r->seek, &r->policy->sender_routes, r->deadline, sender_found, r);
}

static void without_row(struct route *r)
{
	struct smar_target *t = &r->target[0];

	r->n = 1;
	if (smar_local_fixed(r->policy, r->domain)) {
		r->row = true; /* our own configuration: a mistake in it is temporary */
		t->kind = TARGET_SOCKET;
		t->lmtp = true;
	} else if (smar_literal(r->domain, t->name, sizeof(t->name))) {
		t->kind = TARGET_ADDR;
	} else if (r->by_sender) {
		ask_sender(r);
		return;
	} else {
		t->kind = TARGET_MX;
		str_copy(t->name, sizeof(t->name), r->domain);
	}
	start_all(r);
}

/* The row for all the rest is a way out: what is ours and has a store stays here, or it would
 * go round in circles. */
static bool not_for_us(const struct route *r, const struct smar_found *f)
{
	return f->status == META1_OK && !strcmp(f->key, ".") && r->policy->lmtp_path[0] &&
	       smar_local_fixed(r->policy, r->domain) && !smar_local_value(f->value);
}

/* To the next hops that a row, or an admin, gives. */
static void follow(struct route *r, struct meta1_buf hops)
{
	struct meta1_err err;

	r->row = true;
	if (smar_mailertable_parse(hops, r->target, &r->n, &err) < 0) {
		r->n = 0;
		end_fail(r, META1_PERMFAIL, "5.3.5", err.text);
		return;
	}
	r->ttl = TTL_ROW;
	start_all(r);
}

static void row_found(void *arg, const struct smar_found *f)
{
	struct route *r = arg;

	if (f->status == META1_TEMPFAIL || f->status == META1_PERMFAIL) {
		end_fail(r, META1_TEMPFAIL, "4.3.0", "the mailertable cannot be read now");
	} else if (f->status == META1_NOTFOUND || not_for_us(r, f)) {
		without_row(r);
	} else if (r->by_sender && !strcmp(f->key, ".")) {
		r->rest = base_strndup(f->value.data, f->value.len);
		ask_sender(r);
	} else {
		follow(r, f->value);
	}
}

static void route(struct smar_policy *p, struct dns *dns, struct meta1_buf domain,
    struct meta1_buf via, const struct meta1_buf *from, int64_t deadline, smar_routes_fn fn,
    void *arg)
{
	struct route *r = base_alloc(sizeof(*r));

	m_routes.value++;
	r->policy = smar_policy_ref(p);
	r->dns = dns;
	r->deadline = deadline;
	r->ttl = TTL_MAX;
	r->fn = fn;
	r->arg = arg;
	r->by_sender = from && p->sender_routes.map &&
		       smar_keys_split(*from, p->hostname, r->from_local, r->from_domain) == 0;
	if (domain.len == 0)
		str_copy(r->domain, sizeof(r->domain), p->hostname);
	else if (addr_domain_key(domain, r->domain, sizeof(r->domain)) < 0 ||
		 !addr_domain_ok(buf_str(r->domain))) {
		end_fail(r, META1_PERMFAIL, "5.1.2", "that is not a mail domain");
		return;
	}
	if (via.len || !p->mailertable.map) {
		if (via.len)
			follow(r, via);
		else
			without_row(r);
		return;
	}
	smar_keys_domain(&r->seek.keys, r->domain);
	smar_seek_start(&r->seek, &p->mailertable, deadline, row_found, r);
}

void smar_route(struct smar_policy *p, struct dns *dns, struct meta1_buf domain,
    struct meta1_buf via, int64_t deadline, smar_routes_fn fn, void *arg)
{
	route(p, dns, domain, via, NULL, deadline, fn, arg);
}

void smar_route_from(struct smar_policy *p, struct dns *dns, struct meta1_buf domain,
    struct meta1_buf via, struct meta1_buf from, int64_t deadline, smar_routes_fn fn, void *arg)
{
	route(p, dns, domain, via, &from, deadline, fn, arg);
}
