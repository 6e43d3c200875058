/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dns_server.c -- which name servers: the nameserver option, else /etc/resolv.conf, else
 * the one on this machine, as the C library does; which of them are trusted; how they do, and
 * whether they take EDNS0.
 * Of resolv.conf only the lines nameserver count: all our names are absolute.
 * From dns.c at start and after each try. Owns nothing. On failure the error names the entry that
 * is wrong; wrong lines of resolv.conf are left out, since they are not our configuration.
 */
#include "smar/smar.h"

#include <arpa/inet.h>
#include <event2/util.h>
#include <stdio.h>

#define AVERAGE	  8		   /* answers that the latency is an average of */
#define EDNS_LOST 4		   /* questions with EDNS0 in a row, then one without is tried */
#define PLAIN_MS  (15 * 60 * 1000) /* then EDNS0 is tried again */

METRIC_COUNTER(m_plain, "dns_edns_fallbacks_total",
    "Times that a name server was found to know no EDNS0, or not to answer with it.");

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

/* What the trusted one refuses as forged would be asked of the other, whose answer proves nothing:
 * the zone would seem to be one without DNSSEC. */
static int all_or_none(const struct dns_server *s, unsigned n, struct meta1_err *err)
{
	for (unsigned i = 1; i < n; i++)
		if (s[i].trusted != s[0].trusted)
			return err_set(err,
			    "nameserver \"%s\" is not in trusted_nameserver, \"%s\" is: with dane "
			    "= "
			    "yes name all of them there or none",
			    s[s[0].trusted ? i : 0].text, s[s[0].trusted ? 0 : i].text);
	return 0;
}

int dns_servers(
    const struct dns_conf *c, struct dns_server s[DNS_SERVERS], unsigned *n, struct meta1_err *err)
{
	if (list_servers(c, s, n, err) < 0 || trust(c->trusted, s, *n, err) < 0)
		return -1;
	return c->all_trusted ? all_or_none(s, *n, err) : 0;
}

/* ---- EDNS0 ---- */

/* One that answered with EDNS0 before has more likely lost a few packets. */
static bool doubtful(const struct dns_server *s)
{
	return s->edns_silent >= (s->edns_good ? EDNS_LOST : 1);
}

bool dns_server_edns(const struct dns_server *s, int64_t now)
{
	return now >= s->plain_until && !doubtful(s);
}

static void plain(struct dns_server *s, int64_t now, const char *why)
{
	m_plain.value++;
	log_event(LOG_L_WARN, "smar.dns", "nameserver=%s cause=%s text=%s", s->text, why,
	    "it is asked without EDNS0 for 15 minutes, and cut answers over TCP");
	s->plain_until = now + PLAIN_MS;
	s->edns_silent = 0;
	s->edns_good = false;
}

/* A refusal of EDNS0 counts at once; silence when a question without it is answered: of a server
 * that took EDNS0 once the same question, since others may be silent for what stands behind it. */
static void note_edns(struct dns_server *s, const struct dns_tried *t, int64_t now)
{
	bool silent = t->result->read == DNS_FAIL && t->result->silent;
	bool with = now >= s->plain_until;

	if (t->edns && t->result->read == DNS_NOEDNS) {
		if (with)
			plain(s, now, "it does not know EDNS0");
	} else if (t->edns && silent) {
		s->edns_silent += with; /* those sent before say nothing new */
	} else if (t->edns) {
		s->edns_good = true;
		s->edns_silent = 0;
	} else if (with && !silent && doubtful(s) && (t->again || !s->edns_good)) {
		plain(s, now, "it answers only questions without EDNS0");
	} else {
		s->edns_silent = 0; /* it is away, or was: no matter of EDNS0 */
	}
}

void dns_server_note(struct dns_server *s, const struct dns_tried *t, int64_t now, int64_t wall)
{
	const struct dns_result *r = t->result;
	int64_t ms = t->ms;
	bool silent = r->read == DNS_FAIL && r->silent;

	note_edns(s, t, now);

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
