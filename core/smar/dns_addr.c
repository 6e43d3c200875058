/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dns_addr.c -- addresses, and the names under which the DNS has something about them:
 * RFC 1035 section 3.5, RFC 3596 section 2.5, RFC 5782 section 2.
 * For dns_client.c, dnsbl.c and the files of SPF. Owns nothing, no I/O.
 */
#include "smar/smar.h"

#include <arpa/inet.h>
#include <stdio.h>

bool dns_addr_parse(const char *text, struct mx_addr *a)
{
	static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

	memset(a, 0, sizeof(*a));
	a->family = strchr(text, ':') ? AF_INET6 : AF_INET;
	if (inet_pton(a->family, text, a->ip) != 1)
		return false;
	if (a->family == AF_INET6 && memcmp(a->ip, mapped, sizeof(mapped)) == 0) {
		memmove(a->ip, a->ip + 12, 4);
		memset(a->ip + 4, 0, 12);
		a->family = AF_INET;
	}
	return true;
}

bool dns_addr_reverse(const struct mx_addr *a, const char *zone, char *out, size_t size)
{
	size_t n = 0;
	int k;

	if (a->family == AF_INET) {
		k = snprintf(
		    out, size, "%u.%u.%u.%u.%s", a->ip[3], a->ip[2], a->ip[1], a->ip[0], zone);
		return k > 0 && (size_t)k < size;
	}
	if (size < 65)
		return false;
	for (int i = 15; i >= 0; i--, n += 4)
		snprintf(out + n, size - n, "%x.%x.", a->ip[i] & 15u, a->ip[i] >> 4);
	return str_copy(out + n, size - n, zone) == strlen(zone);
}

bool dns_addr_ptr(const struct mx_addr *a, char *out, size_t size)
{
	return dns_addr_reverse(a, a->family == AF_INET ? "in-addr.arpa" : "ip6.arpa", out, size);
}

uint16_t dns_addr_type(const struct mx_addr *a)
{
	return a->family == AF_INET ? DNS_A : DNS_AAAA;
}

bool dns_addr_within(const struct mx_addr *a, const unsigned char *net, unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;

	if (memcmp(a->ip, net, whole) != 0)
		return false;
	return rest == 0 || ((a->ip[whole] ^ net[whole]) & (0xff00u >> rest & 0xff)) == 0;
}

bool dns_addr_among(const struct mx_addr *a, const struct dns_data *d, unsigned bits)
{
	size_t len = a->family == AF_INET ? 4 : 16;

	for (uint32_t i = 0; i < d->n; i++)
		if (d->rdata[i].len == len && dns_addr_within(a, d->rdata[i].data, bits))
			return true;
	return false;
}
