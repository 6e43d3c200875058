/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * route_dane.c -- which of the hosts of a next hop say by TLSA records how they are known: DANE for
 * SMTP, RFC 7672 section 2.
 * From route_goal.c, as soon as the addresses of a host are there; to dns.c, then dane.c; the need
 * of each host goes to route_hops.c. Owns one struct smar_dane a goal.
 *
 * Only a host whose place is proven is asked about: MX records and addresses by DNSSEC, by a server
 * that we trust. So a zone without DNSSEC costs no question. Of a host that is an alias the records
 * of the name it stands for count, else its own (section 2.2.2); when the alias alone is proven,
 * not what it stands for, its own.
 * On failure: a host whose records cannot be had (bogus, SERVFAIL, silence) is not used now. That
 * there are none must be said by the DNS, silence is what an attacker can make.
 */
#include "smar/route.h"

#include <stdio.h>
#include <stdlib.h>

METRIC_COUNTER(m_asked, "dane_questions_total", "Hosts that were asked for TLSA records.");
METRIC_COUNTER(m_usable, "dane_usable_total", "Hosts with TLSA records that can be used.");
METRIC_COUNTER(m_unusable, "dane_unusable_total",
    "Hosts with TLSA records of which none can be used: TLS must be, with whoever it is.");
METRIC_COUNTER(
    m_failed, "dane_failed_total", "Hosts that were not used, for their TLSA records failed.");

struct dane_host {
	struct smar_goal *goal;
	unsigned host, waits; /* waits: for so many answers about addresses, A and AAAA */
	bool secure;	      /* an address is proven */
	bool own;	      /* the records of its own name are asked for */
	bool failed;
	char end[ADDR_DOMAIN_MAX + 1]; /* the name it stands for; its own when it is no alias */
	struct tls_need *need;	       /* NULL: none */
	char why[300];
};
struct smar_dane {
	unsigned n; /* as they were before the list was cut */
	struct dane_host host[];
};

static bool trusts(const struct dns *d)
{
	unsigned n;
	const struct dns_server *s = dns_server_list(d, &n);

	while (n > 0)
		if (s[--n].trusted)
			return true;
	return false;
}

void smar_route_dane(struct smar_goal *g)
{
	struct smar_route *r = g->route;

	if (!r->policy->dane || (g->need_row && !smar_route_dane_required(g)) || !g->secure ||
	    !smar_target_smtp(g->target) || !trusts(r->dns))
		return;
	g->dane = base_alloc(sizeof(*g->dane) + g->nhost * sizeof(g->dane->host[0]));
	g->dane->n = g->nhost;
	for (unsigned i = 0; i < g->nhost; i++)
		g->dane->host[i] = (struct dane_host){.goal = g, .host = i, .waits = 2};
}

static const char *host_of(const struct dane_host *s)
{
	return s->goal->host[s->host].name;
}

static void fail(struct dane_host *s, const char *what, const char *why)
{
	m_failed.value++;
	s->failed = true;
	snprintf(s->why, sizeof(s->why), "the %s of %.150s cannot be had now: %.100s", what,
	    host_of(s), why);
	log_event(LOG_L_INFO, "smar.dane", "domain=%s host=%s error=%s", s->goal->route->domain,
	    host_of(s), s->why);
}

static void ask(struct dane_host *s, const char *name, uint16_t type, dns_fn fn)
{
	struct smar_route *r = s->goal->route;

	r->pending++;
	dns_ask(r->dns, name, type, r->deadline, fn, s);
}

/* ---- TLSA records ---- */
static void take(struct dane_host *s, const struct dns_data *d)
{
	const struct smar_goal *g = s->goal;
	struct dane_who who = {
	    .base = s->own ? host_of(s) : s->end, .next = g->target->name, .also = g->alias_of};

	s->need = base_alloc(sizeof(*s->need));
	dane_need(d, &who, s->need);
	if (s->need->word == TLS_NEED_DANE)
		m_usable.value++;
	else
		m_unusable.value++;
}

static void ask_tlsa(struct dane_host *s);

static void tlsa_answered(void *arg, const struct dns_data *d, uint32_t ttl)
{
	struct dane_host *s = arg;
	struct smar_route *r = s->goal->route;

	if (d->status == META1_TEMPFAIL) {
		fail(s, "TLSA records", d->why);
	} else {
		smar_route_ttl(r, ttl);
		if (d->status == META1_OK && d->secure) {
			take(s, d);
		} else if (!s->own) {
			s->own = true;
			ask_tlsa(s);
		}
	}
	smar_route_part_done(r);
}

/* A name that is too long for records of its own has none. */
static void ask_tlsa(struct dane_host *s)
{
	char name[DNS_NAME_MAX];
	uint16_t port = s->goal->host[s->host].port;

	if (strcmp(s->end, host_of(s)) == 0)
		s->own = true;
	if (!dane_name(s->own ? host_of(s) : s->end, port, name, sizeof(name)))
		return;
	m_asked.value++;
	ask(s, name, DNS_TLSA, tlsa_answered);
}

/* ---- an alias for a name that is not proven ---- */
static void cname_answered(void *arg, const struct dns_data *d, uint32_t ttl)
{
	struct dane_host *s = arg;
	struct smar_route *r = s->goal->route;

	if (d->status == META1_TEMPFAIL) {
		fail(s, "alias", d->why);
	} else {
		smar_route_ttl(r, ttl);
		if (d->status == META1_OK && d->secure) {
			s->own = true;
			ask_tlsa(s);
		}
	}
	smar_route_part_done(r);
}

/* ---- addresses ---- */
void smar_route_dane_addr(struct smar_goal *g, unsigned host, const struct dns_data *d)
{
	struct dane_host *s;

	if (!g->dane)
		return;
	s = &g->dane->host[host];
	if (d->status == META1_OK) {
		s->secure |= d->secure;
		str_copy(s->end, sizeof(s->end), d->name);
	}
	if (--s->waits > 0 || g->host[host].naddr == 0)
		return;
	if (!s->end[0])
		str_copy(s->end, sizeof(s->end), host_of(s));
	if (s->secure)
		ask_tlsa(s);
	else if (strcmp(s->end, host_of(s)) != 0)
		ask(s, host_of(s), DNS_CNAME, cname_answered);
}

/* ---- what came of it ---- */
bool smar_route_dane_need(
    const struct smar_goal *g, unsigned host, const struct tls_need **need, const char **why)
{
	const struct dane_host *s = g->dane ? &g->dane->host[host] : NULL;

	*need = s ? s->need : NULL;
	if (!s || !s->failed)
		return true;
	*why = s->why;
	return false;
}

void smar_route_dane_free(struct smar_goal *g)
{
	for (unsigned i = 0; g->dane && i < g->dane->n; i++)
		free(g->dane->host[i].need);
	free(g->dane);
	g->dane = NULL;
}
