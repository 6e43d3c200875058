/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xclient.c -- the command XCLIENT: a trusted peer, a proxy or a filter before us, says for whom
 * it speaks. As Postfix defines it: attributes in xtext (RFC 3461 section 4), the answer is a new
 * greeting, and the session begins anew as that client's.
 *
 * Comes from verbs.c, which lets only peers of the option xclient get here; goes to session.c.
 * Owns the table of attributes; EHLO's line is written from it.
 * On failure: 501, and nothing of the command counts.
 */
#include "lib/netlist.h"
#include "smtps/smtps.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <strings.h>

METRIC_COUNTER(m_taken, "xclient_total", "XCLIENT commands obeyed.");

#define VALUE_MAX 255

struct given {
	bool addr, helo;
	char client[SMTPS_CLIENT_SIZE];
	char name[VALUE_MAX + 1]; /* of HELO; empty: not available */
};

/* What they get is decoded; NULL: [UNAVAILABLE] or [TEMPUNAVAIL]. false: bad. */
struct attribute {
	const char *name;
	bool (*take)(struct given *, const char *value); /* NULL: any value, not used here */
};

static bool take_addr(struct given *g, const char *v)
{
	uint8_t bin[16];
	int family = AF_INET;

	g->addr = true;
	if (v == NULL) { /* whoever it is, it is not the one who tells us */
		str_copy(g->client, sizeof(g->client), SMTPS_CLIENT_UNKNOWN);
		return true;
	}
	if (strncasecmp(v, "IPV6:", 5) == 0) {
		v += 5;
		family = AF_INET6;
	}
	if (inet_pton(family, v, bin) != 1 ||
	    inet_ntop(family, bin, g->client, sizeof(g->client)) == NULL)
		return false;
	netlist_plain(g->client);
	return true;
}

static bool take_helo(struct given *g, const char *v)
{
	g->helo = true;
	str_copy(g->name, sizeof(g->name), v != NULL ? v : "");
	return v == NULL || (*v != '\0' && strchr(v, ' ') == NULL);
}

static bool check_port(struct given *g, const char *v)
{
	size_t n = v != NULL ? strspn(v, "0123456789") : 0;

	(void)g;
	return v == NULL || (n > 0 && n <= 5 && v[n] == '\0' && atoi(v) <= 65535);
}

static bool check_proto(struct given *g, const char *v)
{
	(void)g;
	return v == NULL || strcasecmp(v, "SMTP") == 0 || strcasecmp(v, "ESMTP") == 0;
}

static const struct attribute attributes[] = {
    {"NAME", NULL},
    {"ADDR", take_addr},
    {"PORT", check_port},
    {"PROTO", check_proto},
    {"HELO", take_helo},
    {"LOGIN", NULL},
    {"DESTADDR", NULL},
    {"DESTPORT", check_port},
};

void smtps_xclient_offer(struct smtps_session *s)
{
	size_t i;

	conn_printf(s->conn, "250-XCLIENT");
	for (i = 0; i < ARRAY_LEN(attributes); i++)
		conn_printf(s->conn, " %s", attributes[i].name);
	conn_printf(s->conn, "\r\n");
}

static int hex(char c)
{
	static const char digits[] = "0123456789ABCDEF";
	const char *p = c != '\0' ? strchr(digits, c) : NULL;

	return p != NULL ? (int)(p - digits) : -1;
}

/* xtext into out; false: not well formed, a NUL or control in it, or too long. */
static bool decode(const char *p, size_t n, char out[VALUE_MAX + 1])
{
	size_t i, k = 0;

	for (i = 0; i < n; i++) {
		int c = (unsigned char)p[i];

		if (c < 33 || c > 126 || c == '=')
			return false;
		if (c == '+') {
			int high = i + 2 < n ? hex(p[i + 1]) : -1;
			int low = i + 2 < n ? hex(p[i + 2]) : -1;

			if (high < 0 || low < 0)
				return false;
			c = high * 16 + low;
			i += 2;
		}
		if (c < 32 || c == 127 || k == VALUE_MAX)
			return false;
		out[k++] = (char)c;
	}
	out[k] = '\0';
	return true;
}

/* One NAME=value; false: bad. */
static bool one(struct given *g, uint32_t *seen, const char *p, size_t n)
{
	const char *eq = memchr(p, '=', n);
	struct meta1_buf name, text;
	char value[VALUE_MAX + 1];
	bool none;
	size_t i;

	if (eq == NULL)
		return false;
	name = buf_of(p, (size_t)(eq - p));
	text = buf_of(eq + 1, n - (size_t)(eq + 1 - p));
	for (i = 0; i < ARRAY_LEN(attributes) && !buf_caseeq(name, attributes[i].name); i++)
		;
	if (i == ARRAY_LEN(attributes) || (*seen & 1u << i) != 0)
		return false;
	*seen |= 1u << i;
	none = buf_caseeq(text, "[UNAVAILABLE]") || buf_caseeq(text, "[TEMPUNAVAIL]");
	if (!none && !decode((const char *)text.data, text.len, value))
		return false;
	return attributes[i].take == NULL || attributes[i].take(g, none ? NULL : value);
}

static bool parse(const struct smtps_line *l, struct given *g)
{
	uint32_t seen = 0;
	size_t i = 0, from;

	while (i < l->len) {
		while (i < l->len && l->args[i] == ' ')
			i++;
		for (from = i; i < l->len && l->args[i] != ' ';)
			i++;
		if (i > from && !one(g, &seen, l->args + from, i - from))
			return false;
	}
	return seen != 0;
}

void smtps_xclient(struct smtps_session *s, const struct smtps_line *l)
{
	struct given g = {.addr = false};

	if (!parse(l, &g)) {
		smtps_session_bad(s, 501, "5.5.4",
		    "XCLIENT wants NAME=value, in xtext, of the attributes that EHLO lists, each "
		    "once");
		return;
	}
	m_taken.value++;
	log_event(LOG_L_INFO, "smtps.xclient", "peer=%s client=%s helo=%s", s->client,
	    g.addr ? g.client : s->client, g.name);
	if (g.addr) {
		smtps_client_give(s);
		str_copy(s->client, sizeof(s->client), g.client);
		s->proxied = true;
		smtps_conf_forget(s);
		free(s->name);
		s->name = NULL;
	}
	free(s->helo);
	s->helo = g.name[0] != '\0' ? smtps_verbs_name(g.name, strlen(g.name)) : NULL;
	s->helo_given = s->helo != NULL;
	s->esmtp = false;
	smtps_auth_forget(s);
	smtps_starttls_disown(s);
	s->bad = s->invalid = s->nrcpt = s->ntx = 0; /* what another did is not this one's */
	if (!g.addr)
		smtps_filter_connect(s);
	else if (!smtps_client_take(s))
		return;
	else if (s->lim->flags & SMTPS_F_SESSION_CONF)
		smtps_conf_ask(s);
	else
		smtps_filter_connect(s);
}
