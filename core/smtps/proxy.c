/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * proxy.c -- the header of the PROXY protocol, versions 1 and 2, by which a load balancer says who
 * its client is. Pure: bytes in, an answer out, nothing kept between calls.
 *
 * Comes from peer.c with all that has come so far; goes back to it.
 * Follows HAProxy's "The PROXY protocol", versions 1 and 2: 2.1 (text), 2.2 (binary).
 * On failure: BAD with a cause; the connection cannot go on, since nobody knows whose it is.
 */
#include "lib/netlist.h"
#include "smtps/smtps.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#define V1_MAX	107 /* with CRLF */
#define V2_HEAD 16

static const uint8_t v1_sign[] = {'P', 'R', 'O', 'X', 'Y', ' '};
static const uint8_t v2_sign[] = {'\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q', 'U', 'I', 'T', '\n'};

static enum smtps_proxy_result bad(struct smtps_proxy *out, const char *cause)
{
	out->cause = cause;
	return PROXY_BAD;
}

static void take(struct smtps_proxy *out, int family, const void *addr, unsigned port)
{
	if (inet_ntop(family, addr, out->client, sizeof(out->client)) == NULL)
		out->client[0] = '\0';
	netlist_plain(out->client);
	out->port = port;
}

/* ---- version 1 ---- */

/* Cuts the next word off; words are divided by one blank. NULL: there is none. */
static char *word(char **rest)
{
	char *w = *rest, *end;

	if (w == NULL)
		return NULL;
	end = strchr(w, ' ');
	*rest = end != NULL ? end + 1 : NULL;
	if (end != NULL)
		*end = '\0';
	return w;
}

static bool is_port(const char *w, unsigned *port)
{
	size_t n = w != NULL ? strspn(w, "0123456789") : 0;

	if (n == 0 || n > 5 || w[n] != '\0' || (n > 1 && *w == '0'))
		return false;
	*port = (unsigned)atoi(w);
	return *port <= 65535;
}

/* The text between "PROXY " and CRLF. */
static enum smtps_proxy_result v1_words(char *text, struct smtps_proxy *out)
{
	char *rest = text, *proto = word(&rest), *src, *dst, *from, *to;
	uint8_t client[16], server[16];
	unsigned port, ignored;
	int family;

	if (strcmp(proto, "UNKNOWN") == 0)
		return PROXY_OK; /* the peer's own address, whatever follows */
	if (strcmp(proto, "TCP4") != 0 && strcmp(proto, "TCP6") != 0)
		return bad(out, "version 1: found neither TCP4, TCP6 nor UNKNOWN");
	family = proto[3] == '4' ? AF_INET : AF_INET6;
	src = word(&rest);
	dst = word(&rest);
	from = word(&rest);
	to = word(&rest);
	if (to == NULL || rest != NULL)
		return bad(out, "version 1: two addresses and two ports were expected");
	if (inet_pton(family, src, client) != 1 || inet_pton(family, dst, server) != 1)
		return bad(out, "version 1: an address is none of its family");
	if (!is_port(from, &port) || !is_port(to, &ignored))
		return bad(out, "version 1: a port is no number from 0 to 65535");
	take(out, family, client, port);
	return PROXY_OK;
}

static enum smtps_proxy_result v1(const uint8_t *p, size_t n, struct smtps_proxy *out)
{
	const uint8_t *end = memchr(p, '\n', n < V1_MAX ? n : V1_MAX);
	char text[V1_MAX + 1];
	size_t len;

	out->version = 1;
	if (end == NULL)
		return n < V1_MAX ? PROXY_MORE : bad(out, "version 1: longer than 107 bytes");
	out->used = (size_t)(end - p) + 1;
	if (end[-1] != '\r')
		return bad(out, "version 1: the line does not end with CRLF");
	len = out->used - 2 - sizeof(v1_sign);
	if (out->used < sizeof(v1_sign) + 2 || memchr(p, '\0', out->used) != NULL)
		return bad(out, "version 1: the line is empty, or has a NUL");
	memcpy(text, p + sizeof(v1_sign), len);
	text[len] = '\0';
	return v1_words(text, out);
}

/* ---- version 2 ---- */

/* Type, two bytes of length, value; they fill the rest to its last byte. */
static bool extras_fit(const uint8_t *p, size_t n)
{
	while (n > 0) {
		size_t len;

		if (n < 3)
			return false;
		len = ((size_t)p[1] << 8 | p[2]) + 3;
		if (len > n)
			return false;
		p += len;
		n -= len;
	}
	return true;
}

static enum smtps_proxy_result v2(const uint8_t *p, size_t n, struct smtps_proxy *out)
{
	static const size_t need[] = {0, 12, 36, 216}; /* unspecified, IPv4, IPv6, unix */
	const uint8_t *body = p + V2_HEAD;
	unsigned family, transport, command;
	size_t len;

	out->version = 2;
	if (n < V2_HEAD)
		return PROXY_MORE;
	command = p[12] & 15u;
	family = p[13] >> 4;
	transport = p[13] & 15u;
	len = (size_t)p[14] << 8 | p[15];
	if (p[12] >> 4 != 2 || command > 1)
		return bad(out, "version 2: the version or the command is not known");
	if (family >= ARRAY_LEN(need) || transport > 2)
		return bad(out, "version 2: the family or the transport is not known");
	if (len > SMTPS_PROXY_MAX - V2_HEAD)
		return bad(out, "version 2: the header says that it is longer than 4096 bytes");
	if (command == 1 && len < need[family])
		return bad(out, "version 2: the header is too short for its addresses");
	if (n < V2_HEAD + len)
		return PROXY_MORE;
	out->used = V2_HEAD + len;
	if (command == 0 || family == 0) /* LOCAL, or not said: the peer's own address */
		return PROXY_OK;
	if (!extras_fit(body + need[family], len - need[family]))
		return bad(out, "version 2: an extra field reaches beyond the header");
	if (family == 1 && transport == 1)
		take(out, AF_INET, body, (unsigned)body[8] << 8 | body[9]);
	else if (family == 2 && transport == 1)
		take(out, AF_INET6, body, (unsigned)body[32] << 8 | body[33]);
	return PROXY_OK;
}

/* ---- both ---- */

enum smtps_proxy_result smtps_proxy_parse(const uint8_t *p, size_t n, struct smtps_proxy *out)
{
	memset(out, 0, sizeof(*out));
	if (n == 0)
		return PROXY_MORE;
	if (n >= sizeof(v1_sign) && memcmp(p, v1_sign, sizeof(v1_sign)) == 0)
		return v1(p, n, out);
	if (n >= sizeof(v2_sign) && memcmp(p, v2_sign, sizeof(v2_sign)) == 0)
		return v2(p, n, out);
	if ((n < sizeof(v1_sign) && memcmp(p, v1_sign, n) == 0) ||
	    (n < sizeof(v2_sign) && memcmp(p, v2_sign, n) == 0))
		return PROXY_MORE;
	return PROXY_NONE;
}
