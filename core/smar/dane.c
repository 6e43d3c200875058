/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dane.c -- what the TLSA records of a next hop ask of it: DANE for SMTP, RFC 7672 and RFC 7671.
 * Pure functions over records that DNSSEC has proven, so that the rules can be tried with tables.
 * From dns.c's answers by route_dane.c; the need goes with the route to who connects. Owns nothing.
 *
 * Usable are usage 3 (the hop's own certificate) and 2 (an authority of its chain), selector 0 or
 * 1, and a SHA-256, a SHA-512 or all of what is selected. The rest cannot be used: usages 0 and 1,
 * which SMTP has not, what is unknown, and a hash of another length. Of hashes of one usage and
 * selector the stronger kind alone counts (RFC 7671 section 9); what is there as a whole counts
 * always, and comes as its hash of that kind. When nothing can be used TLS must be all the same.
 * The first name of a need is also what the hop is told by SNI; the others serve usage 2 alone.
 */
#include "smar/smar.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#define USAGES	  4
#define SELECTORS 2

struct seen { /* of one usage and selector */
	bool sha512;
};
static const uint8_t hash_len[] = {[1] = 32, [2] = 64};

/* Not tls_tlsa_usable(): of what the DNS has, which may be all of a certificate. */
static bool usable(struct meta1_buf rdata)
{
	const uint8_t *p = rdata.data;

	if (rdata.len < 4 || (p[0] != 2 && p[0] != 3) || p[1] >= SELECTORS || p[2] > 2)
		return false;
	return p[2] == 0 || rdata.len == 3u + hash_len[p[2]];
}

/* 3 1 1 first, then 3 0 1, 2 0 1, 2 1 1. */
static int rank(const struct tls_tlsa *r)
{
	return r->usage == 3 ? 1 - r->selector : 2 + r->selector;
}

static int by_use(const void *av, const void *bv)
{
	const struct tls_tlsa *a = av, *b = bv;
	int d = rank(a) - rank(b);

	return d ? d : memcmp(a->data, b->data, sizeof(a->data));
}

static bool take(struct tls_tlsa *out, struct meta1_buf rdata, const struct seen *seen)
{
	const uint8_t *p = rdata.data;
	uint8_t kind = seen->sha512 ? 2 : 1;
	unsigned n = 0;

	*out = (struct tls_tlsa){.usage = p[0], .selector = p[1], .type = kind};
	out->len = hash_len[kind];
	if (p[2] == kind)
		memcpy(out->data, p + 3, out->len);
	else if (p[2] != 0 || EVP_Digest(p + 3, rdata.len - 3, out->data, &n,
				  kind == 2 ? EVP_sha512() : EVP_sha256(), NULL) != 1)
		return false;
	return true;
}

/* Those that can be used, each once. */
static unsigned records(const struct dns_data *d, struct tls_tlsa out[TLS_NEED_TLSA])
{
	struct tls_tlsa *all = base_alloc((d->n + 1) * sizeof(*all));
	struct seen seen[USAGES][SELECTORS] = {{{0}}};
	unsigned n = 0, kept = 0;

	for (uint32_t i = 0; i < d->n; i++) {
		const uint8_t *p = d->rdata[i].data;

		if (usable(d->rdata[i]) && p[2] == 2)
			seen[p[0]][p[1]].sha512 = true;
	}
	for (uint32_t i = 0; i < d->n; i++) {
		const uint8_t *p = d->rdata[i].data;

		if (usable(d->rdata[i]))
			n += take(&all[n], d->rdata[i], &seen[p[0]][p[1]]);
	}
	qsort(all, n, sizeof(*all), by_use);
	for (unsigned i = 0; i < n && kept < TLS_NEED_TLSA; i++)
		if (i == 0 || by_use(&all[i], &all[i - 1]) != 0)
			out[kept++] = all[i];
	free(all);
	return kept;
}

static void add_name(struct tls_need *n, const char *name)
{
	for (unsigned i = 0; i < n->nmatch; i++)
		if (strcmp(n->match[i], name) == 0)
			return;
	if (*name)
		str_copy(n->match[n->nmatch++], sizeof(n->match[0]), name);
}

void dane_need(const struct dns_data *d, const struct dane_who *who, struct tls_need *n)
{
	*n = (struct tls_need){.word = TLS_NEED_DANE, .by = TLS_BY_DANE};
	str_copy(n->domain, sizeof(n->domain), who->next);
	n->ntlsa = records(d, n->tlsa);
	if (n->ntlsa == 0) {
		n->word = TLS_NEED_ENCRYPT;
		return;
	}
	add_name(n, who->base);
	if (n->tlsa[n->ntlsa - 1].usage == 2) {
		add_name(n, who->next);
		add_name(n, who->also);
	}
}

bool dane_name(const char *host, uint16_t port, char *out, size_t size)
{
	int n = snprintf(out, size, "_%u._tcp.%s", port, host);

	/* 253 is the longest name of the DNS, as text */
	return n > 0 && (size_t)n < size && n <= 253;
}
