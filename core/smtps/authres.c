/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * authres.c -- what was found out about the sender, said in the header: Received-SPF (RFC 7208
 * section 9.1) or Authentication-Results (RFC 8601), and the latter's lines that claim to be ours
 * taken out of what comes in (section 5): whoever reads them believes them.
 * Comes from body.c, before our Received line and with each piece of the header; goes to the store.
 * The filter is a state machine over bytes, the same for every way they are cut; it keeps back at
 * most the name of the field and ours. It owns nothing. On failure: none. A field whose claim
 * cannot be read at once (a comment, a folded line before the name or the colon, more blanks than
 * can be kept back) is taken for a claim.
 */
#include "smtps/smtps.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

METRIC_COUNTER(m_forged, "forged_results_removed_total",
    "Authentication-Results fields removed because they claimed to be ours.");

/* ---- our line ---- */
/* value as it is, or as a quoted string when it is no plain word. */
static const char *quote(const char *value, size_t len, const char *plain, char *out, size_t size)
{
	bool word = len > 0;
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		word = word && (isalnum((unsigned char)value[i]) || strchr(plain, value[i]));
	if (!word)
		out[n++] = '"';
	for (size_t i = 0; i < len && n + 4 < size; i++) {
		if (value[i] == '"' || value[i] == '\\')
			out[n++] = '\\';
		out[n++] = value[i];
	}
	if (!word)
		out[n++] = '"';
	out[n] = '\0';
	return out;
}

#define QUOTED (2 * ADDR_PATH_MAX + 8)

static int received_spf(char *out, size_t size, const struct smtps_session *s,
    const struct smtps_tx *tx, const char *word, bool helo)
{
	char from[QUOTED], name[QUOTED], ip[QUOTED], why[QUOTED];
	static const char atom[] = "-._+";

	quote(tx->from.data, tx->from.len, atom, from, sizeof(from));
	quote(s->helo, strlen(s->helo), atom, name, sizeof(name));
	quote(s->client, strlen(s->client), atom, ip, sizeof(ip));
	quote(tx->spf_why, strlen(tx->spf_why), atom, why, sizeof(why));
	return snprintf(out, size,
	    "Received-SPF: %s (%s: domain of %s)\r\n\tclient-ip=%s; "
	    "envelope-from=%s;\r\n\thelo=%s; "
	    "receiver=%s; identity=%s;\r\n\t%s=%s;\r\n",
	    word, s->gear->hostname, helo ? "HELO name" : "sender", ip, from, name,
	    s->gear->hostname, helo ? "helo" : "mailfrom",
	    strstr(word, "error") ? "problem" : "mechanism", why);
}

static int results(char *out, size_t size, const struct smtps_session *s, const struct smtps_tx *tx,
    const char *word, bool helo)
{
	char value[QUOTED];

	if (helo)
		quote(s->helo, strlen(s->helo), "-._", value, sizeof(value));
	else
		quote(tx->from.data, tx->from.len, "-._+=@", value, sizeof(value));
	return snprintf(out, size, "Authentication-Results: %s;\r\n\tspf=%s smtp.%s=%s\r\n",
	    s->gear->hostname, word, helo ? "helo" : "mailfrom", value);
}

size_t smtps_authres_line(
    char *out, size_t size, const struct smtps_session *s, const struct smtps_tx *tx)
{
	static const char *const words[] = {PROTO_SPF_WORDS};
	unsigned result = (tx->spf & 15u) - 1;
	bool helo = tx->spf & 16u;
	int n = 0;

	if (tx->spf == 0 || result >= ARRAY_LEN(words))
		return 0;
	if (s->lim->spf_header == SPF_HEADER_RECEIVED)
		n = received_spf(out, size, s, tx, words[result], helo);
	else if (s->lim->spf_header == SPF_HEADER_RESULTS)
		n = results(out, size, s, tx, words[result], helo);
	return n > 0 && (size_t)n < size ? (size_t)n : 0;
}

/* ---- the filter ---- */
enum {
	AT_LINE,  /* a line of the header begins */
	IN_NAME,  /* it may be the field's; kept back */
	IN_COLON, /* name and blanks; kept back */
	IN_VALUE, /* colon, blanks, the name of a server; kept back */
	IN_LINE,  /* something else */
	IN_DROP,  /* taken out */
	IN_BODY
};
static const char field[] = "authentication-results";

struct piece { /* what is passed on */
	smtps_store_fn store;
	void *arg;
	const uint8_t *p;
	size_t start; /* bytes before it have gone out or were kept back */
};

static void pass(struct piece *o, size_t end)
{
	if (end > o->start)
		o->store(o->arg, o->p + o->start, end - o->start);
	o->start = end;
}

static void release(struct smtps_authres *f, struct piece *o, size_t at)
{
	o->store(o->arg, f->held, f->n);
	o->start = at;
	f->n = 0;
	f->state = IN_LINE;
}

static uint64_t take_out(struct smtps_authres *f, size_t at, struct piece *o)
{
	uint64_t n = f->n;

	m_forged.value++;
	o->start = at;
	f->n = 0;
	f->state = IN_DROP;
	return n;
}

static void hold(struct smtps_authres *f, uint8_t c)
{
	f->held[f->n++] = (char)c;
}

/* c ends the name, or is no part of one. */
static bool claims(const struct smtps_authres *f, const char *own)
{
	size_t len = f->n - f->id;

	return f->id == 0 || len == 0 ||
	       (len == strlen(own) && strncasecmp(f->held + f->id, own, len) == 0);
}

/* No more can be kept back: the name, if it has begun, may go on as ours. */
static bool may_claim(const struct smtps_authres *f, const char *own)
{
	size_t len = f->n - f->id;

	return f->id == 0 || (len <= strlen(own) && strncasecmp(f->held + f->id, own, len) == 0);
}

static bool is_name(uint8_t c)
{
	return c > ' ' && c < 127 && c != ';' && c != '(' && c != '"' && c != '/';
}

/* A line begins with c: does it go on the one before, end the header, or begin a field? */
static void line_begins(struct smtps_authres *f, uint8_t c)
{
	if (f->dropping && (c == ' ' || c == '\t')) {
		f->state = IN_DROP;
		return;
	}
	f->dropping = false;
	f->id = 0;
	f->state = c == '\r' || c == '\n' ? IN_BODY : IN_NAME;
}

/* One byte of what is kept back; the bytes taken out. */
static uint64_t held_byte(
    struct smtps_authres *f, const char *own, uint8_t c, size_t i, struct piece *o)
{
	bool blank = c == ' ' || c == '\t', room = f->n + 1u < sizeof(f->held);

	if (f->state == IN_NAME) {
		if (tolower(c) == field[f->n])
			hold(f, c);
		else
			release(f, o, i);
		if (f->n == sizeof(field) - 1)
			f->state = IN_COLON;
		return 0;
	}
	if (f->state == IN_COLON && c != ':' && !blank && c != '\r' && c != '\n') {
		release(f, o, i);
		return 0;
	}
	if (f->state == IN_COLON) {
		if (!room || c == '\r' || c == '\n')
			return take_out(f, i, o);
		if (c == ':')
			f->state = IN_VALUE;
		hold(f, c);
		return 0;
	}
	if (is_name(c) && room) {
		f->id = f->id ? f->id : f->n;
		hold(f, c);
		return 0;
	}
	if (blank && !f->id && room) {
		hold(f, c);
		return 0;
	}
	if (room ? claims(f, own) : may_claim(f, own))
		return take_out(f, i, o);
	release(f, o, i);
	return 0;
}

uint64_t smtps_authres_pass(struct smtps_authres *f, const char *own, const uint8_t *p, size_t n,
    smtps_store_fn store, void *arg)
{
	struct piece o = {store, arg, p, 0};
	uint64_t out = 0;
	size_t i = 0;

	while (i < n && f->state != IN_BODY) {
		const uint8_t *lf;

		if (f->state == AT_LINE) {
			pass(&o, i);
			line_begins(f, p[i]);
		} else if (f->state == IN_LINE || f->state == IN_DROP) {
			lf = memchr(p + i, '\n', n - i);
			i = lf ? (size_t)(lf + 1 - p) : n;
			if (f->state == IN_DROP) {
				f->dropping = true;
				out += i - o.start;
				o.start = i;
			}
			if (lf)
				f->state = AT_LINE;
		} else {
			out += held_byte(f, own, p[i], i, &o);
			if (f->n > 0)
				o.start = ++i;
		}
	}
	pass(&o, n);
	return out;
}
