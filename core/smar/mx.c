/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mx.c -- what MX and address records mean for delivery: RFC 5321 section 5.1 (order,
 * equal preferences, cut at ourselves), RFC 7505 (null MX). Pure functions over records,
 * so that the rules can be tried with tables.
 * From dns.c's answers; to route.c. Owns nothing. A record whose name no host can have is
 * left out.
 */
#include "smar/smar.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

static int by_pref(const void *a, const void *b)
{
	const struct mx_host *x = a, *y = b;

	return (x->pref > y->pref) - (x->pref < y->pref);
}

static void shuffle(struct mx_host *h, unsigned n, unsigned (*rnd)(unsigned))
{
	for (unsigned i = n; i > 1; i--) {
		unsigned k = rnd(i);
		struct mx_host tmp = h[i - 1];

		h[i - 1] = h[k];
		h[k] = tmp;
	}
}

/* Drops h[i] and everything of its preference or worse; h is sorted. */
static unsigned cut_at(const struct mx_host *h, unsigned i)
{
	while (i > 0 && h[i - 1].pref == h[i].pref)
		i--;
	return i;
}

/* All records of the answer that name a host; in all at most DNS_RECORDS. */
static unsigned read_all(const struct dns_data *d, struct mx_host *all, bool *null)
{
	unsigned n = 0;

	*null = false;
	for (uint32_t i = 0; i < d->n; i++) {
		const unsigned char *p = d->rdata[i].data;
		struct mx_host *h = &all[n];

		memset(h, 0, sizeof(*h));
		if (d->rdata[i].len < 3 ||
		    dns_msg_name(d->rdata[i], 2, h->name, sizeof(h->name)) < 0)
			continue;
		h->pref = (uint16_t)(p[0] << 8 | p[1]);
		if (h->name[0] == '\0')
			*null = true;
		else
			n++;
	}
	return n;
}

enum mx_found mx_hosts(const struct dns_data *d, const char *hostname, unsigned (*rnd)(unsigned),
    struct mx_host *out, unsigned *n)
{
	struct mx_host *all = base_alloc((d->n + 1) * sizeof(*all));
	enum mx_found found = MX_SOME;
	unsigned have, keep;
	bool null;

	*n = 0;
	have = keep = read_all(d, all, &null);
	if (have == 0) {
		found = null ? MX_NULL : MX_BAD;
		goto out;
	}
	/* After a fair shuffle any sort leaves equal ones in a fair order. */
	shuffle(all, have, rnd);
	qsort(all, have, sizeof(*all), by_pref);
	for (unsigned i = 0; i < keep; i++)
		if (strcmp(all[i].name, hostname) == 0)
			keep = cut_at(all, i);
	if (keep == 0)
		found = MX_SELF;
	*n = keep < MX_HOSTS ? keep : MX_HOSTS;
	memcpy(out, all, *n * sizeof(*out));
out:
	free(all);
	return found;
}

/* Not 0.0.0.0/8, 224.0.0.0/3, ::, ff00::/8: connecting there reaches ourselves or nobody. */
static bool is_unicast(const unsigned char *ip, int family)
{
	static const unsigned char any[16];

	if (family == AF_INET)
		return ip[0] != 0 && ip[0] < 224;
	return ip[0] != 0xff && memcmp(ip, any, 16) != 0;
}

void mx_addrs(struct mx_host *h, const struct dns_data *d, int family)
{
	size_t len = family == AF_INET ? 4 : 16;

	for (uint32_t i = 0; i < d->n && h->naddr < MX_ADDRS; i++) {
		struct mx_addr *a = &h->addr[h->naddr];

		if (d->rdata[i].len != len || !is_unicast(d->rdata[i].data, family))
			continue;
		memset(a, 0, sizeof(*a));
		a->family = family;
		a->secure = d->secure;
		memcpy(a->ip, d->rdata[i].data, len);
		h->naddr++;
	}
}

static bool is_self(const struct smar_policy *p, const struct mx_host *h)
{
	uint16_t port = h->port ? h->port : p->remote_port;

	for (unsigned a = 0; a < h->naddr; a++)
		for (unsigned i = 0; i < p->nlisten; i++)
			if (p->listen[i].family == h->addr[a].family && p->listen[i].port == port &&
			    memcmp(p->listen[i].ip, h->addr[a].ip, 16) == 0)
				return true;
	return false;
}

bool mx_cut(const struct smar_policy *p, struct mx_host *h, unsigned *n)
{
	for (unsigned i = 0; i < *n; i++)
		if (is_self(p, &h[i])) {
			*n = cut_at(h, i);
			return true;
		}
	return false;
}

static void hop(const struct mx_host *h, const struct mx_addr *a, char (*out)[600],
    uint64_t *secure, unsigned *n)
{
	char text[INET6_ADDRSTRLEN];

	if (*n == MX_HOPS)
		return;
	inet_ntop(a->family, a->ip, text, sizeof(text));
	snprintf(out[*n], sizeof(out[*n]), "%s %u %s", text, h->port, h->name);
	secure[(*n)++] = a->secure ? SECURE_ADDR : 0;
}

/* The families take turns, so that one that does not work here costs a try and not all. */
void mx_hops(const struct mx_host *h, char (*out)[600], uint64_t *secure, unsigned *n)
{
	const struct mx_addr *turn[2][MX_ADDRS];
	unsigned have[2] = {0, 0};

	for (unsigned i = 0; i < h->naddr; i++) {
		unsigned f = h->addr[i].family == AF_INET ? 0 : 1;

		turn[f][have[f]++] = &h->addr[i];
	}
	for (unsigned i = 0; i < have[0] || i < have[1]; i++)
		for (unsigned f = 0; f < 2; f++)
			if (i < have[f])
				hop(h, turn[f][i], out, secure, n);
}

struct key_part {
	unsigned rank;
	char text[ADDR_DOMAIN_MAX + 16];
};

static int by_rank(const void *av, const void *bv)
{
	const struct key_part *a = av, *b = bv;

	return a->rank != b->rank ? (a->rank > b->rank) - (a->rank < b->rank)
				  : strcmp(a->text, b->text);
}

void mx_key(
    const struct mx_host *h, unsigned n, uint16_t port, const char *prefix, char *out, size_t size)
{
	size_t len = strlen(prefix);
	struct key_part *part = base_alloc((n + 1) * sizeof(*part));
	char *all;

	for (unsigned i = 0; i < n; i++) {
		part[i].rank = h[i].pref;
		if (h[i].port && h[i].port != port)
			snprintf(part[i].text, sizeof(part[i].text), "%s:%u", h[i].name, h[i].port);
		else
			str_copy(part[i].text, sizeof(part[i].text), h[i].name);
		len += strlen(part[i].text) + 1;
	}
	qsort(part, n, sizeof(*part), by_rank);
	all = base_alloc(len + 1);
	strcpy(all, prefix);
	for (unsigned i = 0; i < n; i++) {
		if (i > 0 && by_rank(&part[i], &part[i - 1]) == 0)
			continue;
		if (i > 0)
			strcat(all, part[i].rank == part[i - 1].rank ? "," : ";");
		strcat(all, part[i].text);
	}
	if (strlen(all) < size && strlen(all) <= 255)
		strcpy(out, all);
	else /* one name and a hash of all: readable in a list and still one key a set */
		snprintf(out, size, "%s%.180s,+%u#%016llx", prefix, n > 0 ? part[0].text : "", n,
		    (unsigned long long)XXH3_64bits(all, strlen(all)));
	free(all);
	free(part);
}
