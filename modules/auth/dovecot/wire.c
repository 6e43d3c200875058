/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * wire.c -- the connection to Dovecot's auth socket: its greeting with the mechanisms, lines of
 * words with tabs between, and coming back after it was away.
 *
 * Comes from auth_dovecot.c; goes to the host's connection and back with each line. Owns connection
 * and timer. A line of more than the host's bound, an unknown version, or words out of order end
 * the connection. On failure: all that waits is told "not now"; tried again after 1 s, then longer.
 */
#include "dovecot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONNECT_MS    5000
#define PAUSE_MIN     1000
#define PAUSE_MAX     30000
#define VERSION_MAJOR 1

/* ---- the end, and coming back ---- */

static void wire_connect(struct dovecot *);

static void on_timer(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	wire_connect(arg);
}

static void away(struct dovecot *d, const char *why)
{
	if (!d->told)
		d->host->log(d->ctx, META1_WARN, "Dovecot at %s is away: %s", d->conf->socket, why);
	d->told = 1;
	d->up = 0;
	if (d->conn)
		d->host->conn->close(&d->conn);
	d->pause = d->pause == 0 ? PAUSE_MIN : d->pause < PAUSE_MAX / 2 ? d->pause * 2 : PAUSE_MAX;
	d->host->rearm(d->timer, d->pause);
	dovecot_lost(d);
}

/* ---- words ---- */

/* "\0011" stands for 0x01, "\001t" for a tab and so on. */
static void unescape(char *p)
{
	static const char from[] = "01tnr";
	static const char to[] = "?\001\t\n\r"; /* a NUL is none of a word */
	char *out = p;

	for (; *p; p++) {
		const char *at = *p == '\001' && p[1] ? strchr(from, p[1]) : NULL;

		*out++ = at ? to[at - from] : *p;
		p += at != NULL;
	}
	*out = '\0';
}

static void split(char *line, struct params *p)
{
	char *word;

	p->n = 0;
	while ((word = strsep(&line, "\t")) && p->n < PARAMS) {
		unescape(word);
		p->v[p->n++] = word;
	}
}

/* ---- the greeting ---- */

static void take_mech(struct dovecot *d, const struct params *p)
{
	static const struct {
		const char *word;
		uint32_t is, has;
	} words[] = {{"plaintext", META1_A_NOPLAINTEXT, 0}, {"anonymous", META1_A_NOANONYMOUS, 0},
	    {"dictionary", META1_A_NODICTIONARY, 0}, {"active", META1_A_NOACTIVE, 0},
	    {"forward-secrecy", 0, META1_A_FORWARD_SECRECY},
	    {"mutual-auth", 0, META1_A_MUTUAL_AUTH}, {"private", META1_A_NOANONYMOUS, 0}};
	struct mech *m = &d->next[d->nnext];
	size_t len = p->n > 1 ? strlen(p->v[1]) : 0;

	/* Its EXTERNAL wants a name that only a login process of its own would have. */
	if (d->nnext == MECHS || len == 0 || len > META1_AUTH_MECH_MAX ||
	    strspn(p->v[1], "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != len ||
	    strcmp(p->v[1], "EXTERNAL") == 0)
		return;
	*m = (struct mech){.is = 0};
	memcpy(m->name, p->v[1], len);
	for (unsigned i = 2; i < p->n; i++) {
		for (size_t k = 0; k < sizeof(words) / sizeof(words[0]); k++) {
			if (strcmp(p->v[i], words[k].word) != 0)
				continue;
			m->is |= words[k].is;
			m->has |= words[k].has;
		}
	}
	d->nnext++;
}

/* What sends the secret itself comes last; else as Dovecot has it. */
static void greeted(struct dovecot *d)
{
	d->nmech = 0;
	for (int plain = 0; plain < 2; plain++)
		for (unsigned i = 0; i < d->nnext; i++)
			if (!(d->next[i].is & META1_A_NOPLAINTEXT) == !plain)
				d->mech[d->nmech++] = d->next[i];
	d->up = 1;
	d->pause = 0;
	if (d->told)
		d->host->log(d->ctx, META1_INFO, "Dovecot at %s is there again", d->conf->socket);
	d->told = 0;
}

/* <0: the connection is of no use. */
static int take(struct dovecot *d, struct params *p, const char **why)
{
	const char *verb = p->v[0];

	if (strcmp(verb, "VERSION") == 0) {
		*why = "it speaks another version of the protocol";
		return p->n > 1 && atoi(p->v[1]) == VERSION_MAJOR ? 0 : -1;
	}
	if (strcmp(verb, "OK") == 0 || strcmp(verb, "CONT") == 0 || strcmp(verb, "FAIL") == 0) {
		*why = "it answers before its greeting";
		if (d->up)
			dovecot_answer(d, verb, p);
		return d->up ? 0 : -1;
	}
	if (!d->up && strcmp(verb, "MECH") == 0)
		take_mech(d, p);
	else if (!d->up && strcmp(verb, "DONE") == 0)
		greeted(d);
	return 0; /* SPID, CUID, COOKIE and what is new */
}

/* ---- events of the connection ---- */

static void on_connected(void *arg)
{
	struct dovecot *d = arg;
	char text[80];
	int n = snprintf(text, sizeof(text), "VERSION\t%d\t1\nCPID\t%ld\n", VERSION_MAJOR,
	    (long)getpid() * 16 + 1 + (long)(d->host->process & 7));

	d->host->conn->write(d->conn, text, (size_t)n);
}

static void on_input(void *arg)
{
	struct dovecot *d = arg;
	struct params p;
	struct meta1_buf line;
	char text[4096 + 1];
	const char *why = "";

	while (d->conn && (line = d->host->conn->line(d->conn)).data) {
		if (line.len >= sizeof(text) || memchr(line.data, '\0', line.len)) {
			away(d, "a line is too long, or has a NUL");
			return;
		}
		memcpy(text, line.data, line.len);
		text[line.len] = '\0';
		split(text, &p);
		if (p.n > 0 && take(d, &p, &why) < 0)
			away(d, why);
		explicit_bzero(text, sizeof(text));
	}
}

static void on_gone(void *arg, const char *why)
{
	away(arg, why);
}

static const struct meta1_conn_events events = {
    .size = sizeof(events), .connected = on_connected, .input = on_input, .gone = on_gone};

static void wire_connect(struct dovecot *d)
{
	struct meta1_hop hop = {.size = sizeof(hop), .host = "dovecot", .addr = d->conf->socket};
	struct meta1_err err = {""};

	d->nnext = 0;
	d->conn = d->host->conn->open(d->ctx, &hop, CONNECT_MS, &events, d, &err);
	if (!d->conn)
		away(d, err.text);
}

/* The timer first: who is away without one never comes back. */
int wire_open(struct dovecot *d)
{
	d->timer = d->host->watch_timer(d->ctx, -1, on_timer, d);
	if (!d->timer)
		return -1;
	wire_connect(d);
	return 0;
}

void wire_close(struct dovecot *d)
{
	d->host->unwatch(&d->timer);
	if (d->conn)
		d->host->conn->close(&d->conn);
	d->up = 0;
}

int wire_ready(struct dovecot *d)
{
	return d->up && d->host->conn->unsent(d->conn) < UNSENT_MAX;
}

void wire_say(struct dovecot *d, const char *line, size_t len)
{
	d->host->conn->write(d->conn, line, len);
	d->host->conn->write(d->conn, "\n", 1);
}
