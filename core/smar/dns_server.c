/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dns_server.c -- which name servers: the nameserver option, else /etc/resolv.conf, else
 * the one on this machine, as the C library does.
 * From dns.c at start. Owns nothing. On failure the error names the entry that is wrong; wrong
 * lines of resolv.conf are left out, since they are not our configuration.
 */
#include "smar/smar.h"

#include <arpa/inet.h>
#include <event2/util.h>
#include <stdio.h>

int dns_server_parse(const char *text, struct dns_server *s, struct meta1_err *err)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)&s->addr;
	char buf[80];
	int len = sizeof(s->addr);

	memset(s, 0, sizeof(*s));
	if (strlen(text) >= sizeof(buf))
		return err_set(err, "nameserver \"%.40s…\": expected an address", text);
	str_copy(buf, sizeof(buf), text);
	if (evutil_parse_sockaddr_port(buf, (struct sockaddr *)&s->addr, &len) < 0)
		return err_set(err,
		    "nameserver \"%s\": expected an address, perhaps with a port: "
		    "127.0.0.1, \"127.0.0.1:5353\", \"[::1]:53\"",
		    text);
	s->len = (socklen_t)len;
	/* sin_port and sin6_port lie at the same place. */
	if (in6->sin6_port == 0)
		in6->sin6_port = htons(53);
	str_copy(s->text, sizeof(s->text), text);
	return 0;
}

static void read_resolv_conf(const char *file, struct dns_server *s, unsigned *n)
{
	FILE *f = fopen(file, "re");
	char line[512], addr[80];
	struct meta1_err err;

	if (!f)
		return;
	while (*n < DNS_SERVERS && fgets(line, sizeof(line), f))
		if (sscanf(line, "nameserver %79s", addr) == 1 &&
		    dns_server_parse(addr, &s[*n], &err) == 0)
			(*n)++;
	fclose(f);
}

int dns_servers(
    const struct dns_conf *c, struct dns_server s[DNS_SERVERS], unsigned *n, struct meta1_err *err)
{
	*n = 0;
	for (const char *const *p = c->nameserver; p && *p && **p; p++) {
		if (*n == DNS_SERVERS)
			return err_set(err, "nameserver: more than %d", DNS_SERVERS);
		if (dns_server_parse(*p, &s[*n], err) < 0)
			return -1;
		(*n)++;
	}
	if (*n == 0)
		read_resolv_conf(c->resolv_conf ? c->resolv_conf : "/etc/resolv.conf", s, n);
	if (*n == 0) /* as the C library does */
		return dns_server_parse("127.0.0.1", &s[(*n)++], err);
	return 0;
}
