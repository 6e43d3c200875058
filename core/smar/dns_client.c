/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dns_client.c -- the names of an address: what its PTR records say, believed only for names
 * that have the address among their own. Whoever owns an address can write any name there.
 * From the checks and from SPF; to dns.c. Owns one struct a question, which ends with its last
 * answer. What is no host name is not tried, and of many names only some are.
 * On failure (the DNS cannot say): TEMPFAIL, or a name that is marked as failed.
 */
#include "smar/smar.h"

#include <stdio.h>
#include <stdlib.h>

METRIC_COUNTER(m_asked, "client_names_total", "Addresses whose names were looked up.");
METRIC_COUNTER(
    m_forged, "client_names_forged_total", "Addresses with names of which none has that address.");

struct name_ask { /* of one name */
	struct names *all;
	unsigned i;
};
struct names {
	struct dns *dns;
	struct mx_addr addr;
	unsigned max, open;
	int64_t deadline;
	struct dns_names found;
	struct name_ask ask[DNS_NAMES_MAX];
	char why[160];
	void (*fn)(void *, const struct dns_names *);
	void *arg;
};

static void tell(struct names *s)
{
	s->found.why = s->why;
	s->fn(s->arg, &s->found);
	free(s);
}

static void addresses(void *arg, const struct dns_data *d, uint32_t ttl)
{
	struct name_ask *a = arg;
	struct names *s = a->all;

	if (ttl < s->found.ttl)
		s->found.ttl = ttl;
	if (d->status == META1_TEMPFAIL) {
		s->found.v[a->i].failed = true;
		str_copy(s->why, sizeof(s->why), d->why);
	}
	s->found.v[a->i].confirmed =
	    dns_addr_among(&s->addr, d, s->addr.family == AF_INET ? 32 : 128);
	if (--s->open == 0)
		tell(s);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* The names that are host names, sorted, so that the same ones are tried each time. */
static void take_names(struct names *s, const struct dns_data *d)
{
	char(*all)[ADDR_DOMAIN_MAX + 1] = base_alloc((d->n + 1) * sizeof(*all));
	uint32_t n = 0;

	for (uint32_t i = 0; i < d->n; i++)
		if (dns_msg_name(d->rdata[i], 0, all[n], sizeof(*all)) == 0 && all[n][0])
			n++;
	qsort(all, n, sizeof(*all), by_name);
	for (uint32_t i = 0; i < n && s->found.n < s->max; i++)
		if (i == 0 || strcmp(all[i], all[i - 1]) != 0)
			str_copy(s->found.v[s->found.n++].name, sizeof(s->found.v[0].name), all[i]);
	free(all);
}

static void pointers(void *arg, const struct dns_data *d, uint32_t ttl)
{
	struct names *s = arg;

	s->found.status = d->status;
	s->found.ttl = ttl;
	str_copy(s->why, sizeof(s->why), d->why);
	take_names(s, d);
	s->open = s->found.n;
	if (s->open == 0) {
		tell(s);
		return;
	}
	for (unsigned i = 0; i < s->found.n; i++) {
		s->ask[i] = (struct name_ask){s, i};
		dns_ask(s->dns, s->found.v[i].name, dns_addr_type(&s->addr), s->deadline, addresses,
		    &s->ask[i]);
	}
}

void dns_names_ask(struct dns *d, const struct mx_addr *a, unsigned max, int64_t deadline,
    void (*fn)(void *, const struct dns_names *), void *arg)
{
	struct names *s = base_alloc(sizeof(*s));
	char name[80];

	m_asked.value++;
	s->dns = d;
	s->addr = *a;
	s->max = max < DNS_NAMES_MAX ? max : DNS_NAMES_MAX;
	s->deadline = deadline;
	s->fn = fn;
	s->arg = arg;
	dns_addr_ptr(a, name, sizeof(name));
	dns_ask(d, name, DNS_PTR, deadline, pointers, s);
}

/* ---- the one name of a client ---- */
struct client {
	dns_client_fn fn;
	void *arg;
};

static void judge(const struct dns_names *f, struct dns_client *c)
{
	bool failed = f->status == META1_TEMPFAIL;

	c->ttl = f->ttl;
	c->result = f->status == META1_NOTFOUND ? CLIENT_NONE : CLIENT_FORGED;
	for (unsigned i = 0; i < f->n; i++) {
		failed = failed || f->v[i].failed;
		if (!f->v[i].confirmed)
			continue;
		c->result = CLIENT_OK;
		str_copy(c->name, sizeof(c->name), f->v[i].name);
		return;
	}
	if (failed) {
		c->result = CLIENT_TEMP;
		c->ttl = 0;
		str_copy(c->why, sizeof(c->why), f->why);
	} else if (c->result == CLIENT_FORGED) {
		m_forged.value++;
		str_copy(c->name, sizeof(c->name), f->n > 0 ? f->v[0].name : "");
	}
}

static void named(void *arg, const struct dns_names *f)
{
	struct client *k = arg;
	struct dns_client c = {.result = CLIENT_NONE};

	judge(f, &c);
	k->fn(k->arg, &c);
	free(k);
}

static void no_address(void *arg, const struct dns_data *d, uint32_t ttl)
{
	struct client *k = arg;
	struct dns_client c = {.result = CLIENT_NONE, .ttl = 3600};

	(void)d, (void)ttl;
	k->fn(k->arg, &c);
	free(k);
}

void dns_client_ask(
    struct dns *d, const char *client, int64_t deadline, dns_client_fn fn, void *arg)
{
	struct client *k = base_alloc(sizeof(*k));
	struct mx_addr a;

	k->fn = fn;
	k->arg = arg;
	if (dns_addr_parse(client, &a))
		dns_names_ask(d, &a, DNS_CLIENT_NAMES, deadline, named, k);
	else
		dns_never(d, no_address, k);
}

const char *dns_client_word(enum dns_client_result r)
{
	static const char *const word[] = {[CLIENT_OK] = "ok",
	    [CLIENT_NONE] = "none",
	    [CLIENT_FORGED] = "forged",
	    [CLIENT_TEMP] = "temp"};

	return word[r];
}
