/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dns_server.c -- which name servers: the nameserver option, else /etc/resolv.conf, else
 * the one on this machine, as the C library does; which of them are trusted; how they do.
 * Of resolv.conf only the lines nameserver count: all our names are absolute.
 * From dns.c at start and after each try. Owns nothing. On failure the error names the entry that
 * is wrong; wrong lines of resolv.conf are left out, since they are not our configuration.
 */
#include "smar/smar.h"

#include <arpa/inet.h>
#include <event2/util.h>
#include <stdio.h>

#define AVERAGE 8 /* answers that the latency is an average of */

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

/* An AD bit is worth as much as the server and the way to it: only those that are named count. */
static int trust(const char *const *list, struct dns_server *s, unsigned n, struct meta1_err *err)
{
	struct dns_server t;

	for (; list && *list && **list; list++) {
		bool found = false;

		if (dns_server_parse(*list, &t, err) < 0)
			return -1;
		for (unsigned i = 0; i < n; i++)
			if (s[i].len == t.len && memcmp(&s[i].addr, &t.addr, t.len) == 0)
				s[i].trusted = found = true;
		if (!found)
			return err_set(err,
			    "trusted_nameserver \"%s\": is none of the name servers; name it in "
			    "nameserver too",
			    *list);
	}
	return 0;
}

static int list_servers(
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

int dns_servers(
    const struct dns_conf *c, struct dns_server s[DNS_SERVERS], unsigned *n, struct meta1_err *err)
{
	return list_servers(c, s, n, err) < 0 ? -1 : trust(c->trusted, s, *n, err);
}

void dns_server_note(struct dns_server *s, const struct dns_result *r, int64_t ms, int64_t wall)
{
	bool silent = r->read == DNS_FAIL && r->silent;

	s->asked++;
	if (r->folded && !s->folds) {
		s->folds = true;
		log_event(LOG_L_WARN, "smar.dns", "nameserver=%s cause=%s", s->text,
		    "it answers names in another case than they were asked in; from now on they "
		    "are "
		    "sent to it as they are");
	}
	if (silent)
		s->timeouts++;
	else
		s->msec = s->answered++ == 0 ? ms : s->msec + (ms - s->msec) / AVERAGE;
	if (r->read != DNS_FAIL)
		return;
	s->errors += !silent;
	s->last_at = wall;
	str_copy(s->last, sizeof(s->last), r->why);
}
