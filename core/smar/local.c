/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * local.c -- which domains are ours: our own name (not its parent), local_domains, literals
 * of addresses that we listen on, and the domains whose mailertable row starts with lmtp: or
 * with the name of a transport of ours.
 * From check.c and route.c. No I/O, owns nothing.
 */
#include "smar/smar.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <strings.h>

static int compare(const void *key, const void *elem)
{
	return strcmp(key, *(char *const *)elem);
}

/* A literal is ours when we listen on exactly that address, whatever the port. */
static bool our_literal(const struct smar_policy *p, const char *domain)
{
	static const unsigned char any[16];
	char text[INET6_ADDRSTRLEN];
	unsigned char ip[16] = {0};
	int family;

	if (!smar_literal(domain, text, sizeof(text)))
		return false;
	family = strchr(text, ':') ? AF_INET6 : AF_INET;
	inet_pton(family, text, ip);
	if (memcmp(ip, any, sizeof(any)) == 0)
		return false;
	for (unsigned i = 0; i < p->nlisten; i++)
		if (p->listen[i].family == family && memcmp(p->listen[i].ip, ip, sizeof(ip)) == 0)
			return true;
	return false;
}

bool smar_local_fixed(const struct smar_policy *p, const char *domain)
{
	if (strcmp(domain, p->hostname) == 0)
		return true;
	if (domain[0] == '[')
		return our_literal(p, domain);
	return smar_local_listed(p->local, p->nlocal, domain);
}

bool smar_local_listed(char *const *list, unsigned n, const char *domain)
{
	return n > 0 && bsearch(domain, list, n, sizeof(*list), compare) != NULL;
}

bool smar_local_value(struct meta1_buf value, char *const *by)
{
	const char *p = value.data;
	size_t n = value.len;

	while (n > 0 && (*p == ' ' || *p == '\t'))
		p++, n--;
	if (n >= 5 && strncasecmp(p, "lmtp:", 5) == 0)
		return true;
	for (; by && *by; by++) {
		size_t len = strlen(*by);

		if (n > len && p[len] == ':' && strncasecmp(p, *by, len) == 0)
			return true;
	}
	return false;
}
