/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dns.c -- fuzz target of core/smar/dns_msg.c and mx.c: packets of name servers.
 * The input: a byte for the question (its type, EDNS0, AD, TCP, case), then a packet. Its id is
 * taken for the one asked; the name asked is example.org. What is taken for an answer keeps all
 * bounds, and what routing makes of it does too.
 */
#include "fuzz.h"
#include "smar/smar.h"

static unsigned first(unsigned n)
{
	must(n > 0);
	return 0;
}

static void host_name(const char *name)
{
	must(strlen(name) <= ADDR_DOMAIN_MAX);
	must(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == strlen(name));
}

static void route(const struct dns_data *d, uint16_t type)
{
	struct mx_host h[MX_HOSTS];
	char key[1024];
	unsigned n = 0;

	memset(h, 0, sizeof(h));
	if (type == DNS_MX) {
		mx_hosts(d, "mx.example.org", first, h, &n);
		must(n <= MX_HOSTS);
		for (unsigned i = 0; i < n; i++)
			host_name(h[i].name);
		mx_key(h, n, 25, "", key, sizeof(key));
		must(strlen(key) < sizeof(key));
	} else if (type == DNS_A || type == DNS_AAAA) {
		mx_addrs(h, d, type == DNS_A ? AF_INET : AF_INET6);
		must(h[0].naddr <= MX_ADDRS);
	}
}

static void good(const struct dns_data *d, uint16_t type)
{
	char name[DNS_NAME_MAX];

	must(d->n <= DNS_RECORDS && d->ttl <= 86400);
	must((d->status == META1_OK) == (d->n > 0));
	must(d->status == META1_OK || d->status == META1_NOTFOUND);
	for (uint32_t i = 0; i < d->n; i++) {
		must(type != DNS_A || d->rdata[i].len == 4);
		must(type != DNS_AAAA || d->rdata[i].len == 16);
		must(type != DNS_MX || d->rdata[i].len >= 3);
		for (size_t off = 0; off < 4; off++)
			if (dns_msg_name(d->rdata[i], off, name, sizeof(name)) == 0)
				host_name(name);
	}
	route(d, type);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const uint16_t types[] = {
	    DNS_A, DNS_MX, DNS_AAAA, DNS_CNAME, DNS_NS, DNS_SOA, DNS_TLSA, DNS_TXT};
	struct dns_question q = {.name = "example.org"};
	struct dns_result r;
	enum dns_read read;

	if (n < 3)
		return 0;
	q.type = types[data[0] & 7];
	q.edns = (data[0] & 8) != 0;
	q.ad = (data[0] & 16) != 0;
	q.tcp = (data[0] & 32) != 0;
	q.mixed = (data[0] & 64) != 0;
	q.id = (uint16_t)(data[1] << 8 | data[2]);
	read = dns_msg_read(data + 1, n - 1, &q, &r);
	must((read == DNS_GOOD) == (r.data != NULL));
	must((read == DNS_FAIL) == (r.why[0] != '\0'));
	must(!r.secure || q.ad);
	must(read != DNS_GOOD || !r.folded || q.tcp);
	if (read == DNS_FOLLOW) {
		host_name(r.follow);
		must(r.follow[0] != '\0' && r.ttl <= 86400);
	}
	if (read != DNS_GOOD)
		return 0;
	good(r.data, q.type);
	dns_data_unref(&r.data);
	return 0;
}
