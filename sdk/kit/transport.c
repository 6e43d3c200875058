/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * transport.c -- the suite for transports: dialogues with a next hop that plays a script.
 *
 * Comes from the kit's main; goes to the module through the host, as smtpc does. The
 * hop (peer.c) is a unix socket in this loop. A case is a row (transport_rows.c): what the hop
 * says, the mail, and what the module must make of it. The clock stands still, so that time-outs of
 * minutes take no time. A module whose first command is neither EHLO nor LHLO speaks something
 * else: only its failures to connect are tried.
 * Cases that are no row are in transport_cases.c.
 */
#include "transport.h"

#include <meta1/transport.h>
#include <stdio.h>
#include <stdlib.h>

#define HOP_NAME "hop.example"

/* ---- asking ---- */

static struct t_suite *playing; /* the argument of results is the kit's */

static const char *scope_name(unsigned scope)
{
	return scope == META1_ABOUT_HOST ? " host" : scope == META1_ABOUT_SESSION ? " session" : "";
}

static char letter(enum meta1_status st)
{
	return st == META1_OK ? 'O' : st == META1_TEMPFAIL ? 'T' : st == META1_PERMFAIL ? 'P' : 'X';
}

static size_t outcome(char *out, size_t size, enum meta1_status st, const struct meta1_reply *r)
{
	int n = snprintf(out, size, "%c", letter(st));

	if (r->smtp)
		n += snprintf(out + n, size - (size_t)n, "%u", r->smtp);
	if (r->dsn[0] && r->smtp)
		n += snprintf(out + n, size - (size_t)n, "/%s", r->dsn);
	n += snprintf(out + n, size - (size_t)n, "%s", scope_name(st == META1_OK ? 0 : r->scope));
	return (size_t)n;
}

void t_on_rcpt(void *arg, uint32_t i, enum meta1_status st, const struct meta1_reply *r)
{
	struct t_suite *s = playing;
	size_t n = strlen(s->results);

	(void)arg;
	s->nresults++;

	if (n > sizeof(s->results) - 64)
		return;
	n += (size_t)snprintf(s->results + n, sizeof(s->results) - n, "%u=", i);
	n += outcome(s->results + n, sizeof(s->results) - n, st, r);
	snprintf(s->results + n, sizeof(s->results) - n, " ");
}

void t_silence(struct t_suite *s)
{
	for (int i = 0; i < 10000 && !s->peer->silent && !s->peer->error[0]; i++)
		kit_turn(s->k);
	for (int i = 0; i < 20; i++)
		kit_turn(s->k);
}

/* Waits; after clock ms of silence when the row says so, and not much earlier. */
const char *t_answer(struct t_suite *s, struct t_asked *q, int64_t clock)
{
	snprintf(q->text, sizeof(q->text), "?");
	if (clock) {
		t_silence(s);
		kit_clock(s->k, 2000);
		clock -= 2000;
		for (; clock > 60000; clock -= 60000)
			kit_clock(s->k, 60000);
		kit_clock(s->k, clock - 1000);
		if (q->a.told)
			return "answered before its time-out";
		kit_clock(s->k, 6000);
	}
	if (kit_wait(s->k, &q->a))
		outcome(q->text, sizeof(q->text), q->a.st, &q->a.reply);
	else
		kit_req_cancel(&s->req); /* no session is shut under an open question */
	kit_answer_free(&q->a);
	return q->text;
}

static const char *opened(
    struct t_suite *s, struct t_asked *q, const char *addr, uint32_t policy, int64_t clock)
{
	struct meta1_hop hop = {.size = sizeof(hop), .host = HOP_NAME, .addr = addr, .tls = policy};

	s->req = kit_req(s->k, s->inst, &q->a);
	s->sess = NULL;
	s->ops->open(kit_data(s->inst), s->req, &hop, &s->sess);
	return t_answer(s, q, clock);
}

const char *t_open(struct t_suite *s, struct t_asked *q, const char *path, int64_t clock)
{
	return opened(s, q, path, META1_TLS_MAY, clock);
}

/* Over a network: no module begins TLS at a unix socket. */
static const char *open_row(struct t_suite *s, struct t_asked *q, const struct row *row)
{
	int64_t clock = row->send ? 0 : row->clock;
	const char *said;

	if (!row->tls)
		return t_open(s, q, s->peer->path, clock);
	s->peer->server.path = "192.0.2.25";
	s->k->host.tls = true;
	said = opened(s, q, s->peer->server.path, row->policy, clock);
	s->peer->server.path = s->peer->path;
	s->k->host.tls = false;
	return said;
}

static const char *content_of(const struct row *row)
{
	return row->content ? row->content : "Subject: t\r\n\r\nx\r\n";
}

static const char *from_of(const struct row *row)
{
	return row->from ? row->from : "from@example.org";
}

void t_begin_send(struct t_suite *s, struct t_asked *q, const struct row *row)
{
	static const char *const names[] = {
	    "a@example.net", "b@example.net", "c@example.net", "d@example.net", "e@example.net"};
	static struct meta1_rcpt rcpt[ARRAY_LEN(names)];
	static struct meta1_extent extent[2];
	static struct meta1_mail m;
	const char *content = content_of(row);
	size_t half = strlen(content) / 2;

	extent[0] = (struct meta1_extent){.mem = content, .len = half, .fd = -1};
	extent[1] =
	    (struct meta1_extent){.mem = content + half, .len = strlen(content) - half, .fd = -1};
	m = (struct meta1_mail){.size = sizeof(m),
	    .nrcpt = row->nrcpt ? row->nrcpt : 1,
	    .sizeof_rcpt = sizeof(rcpt[0]),
	    .flags = row->flags,
	    .id = "kit",
	    .from = buf_str(from_of(row)),
	    .rcpt = rcpt,
	    .extent = extent,
	    .nextent = 2,
	    .bytes = row->bytes ? row->bytes : strlen(content)};
	for (unsigned i = 0; i < ARRAY_LEN(names); i++)
		rcpt[i].addr = buf_str(i == 0 && row->to ? row->to : names[i]);
	s->results[0] = '\0';
	s->req = kit_req(s->k, s->inst, &q->a);
	kit_req_rcpts(s->req, t_on_rcpt, m.nrcpt);
	if (row->probe) {
		m.nextent = 0;
		m.bytes = 0;
		s->ops->probe(s->sess, s->req, &m);
	} else {
		s->ops->send(s->sess, s->req, &m);
	}
}

const char *t_send(struct t_suite *s, struct t_asked *q, const struct row *row)
{
	t_begin_send(s, q, row);
	return t_answer(s, q, row->clock);
}

void t_shut(struct t_suite *s)
{
	if (s->sess)
		s->ops->shut(&s->sess);
	for (int i = 0; i < 5; i++)
		kit_turn(s->k);
}

/* ---- playing them ---- */

void t_script(struct t_suite *s, const struct row *row)
{
	static char text[128 << 10];
	const char *from[] = {row->hop ? row->hop : GREETED, row->script ? row->script : ""};
	size_t n = 0;

	for (unsigned i = 0; i < 2; i++)
		for (const char *p = from[i]; *p; p++)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%.*s", *p == '%' ? 4 : 1,
			    *p != '%'		? p
			    : s->speaks == LMTP ? "LHLO"
						: "EHLO");
	kit_peer_play(s->peer, text);
}

/* What the hop got is the content, and one line on top of it with LMTP. */
static bool content_right(struct t_suite *s, const struct row *row)
{
	char path[128];
	size_t skip = (size_t)snprintf(
	    path, sizeof(path), "Return-Path: <%s>\r\n", row->path ? row->path : from_of(row));

	if (s->speaks != LMTP)
		skip = 0;

	return strncmp(s->peer->content, path, skip) == 0 &&
	       strcmp(s->peer->content + skip, content_of(row)) == 0;
}

void t_play_row(struct t_suite *s, const struct row *row)
{
	struct t_asked q = {0};
	const char *open, *send = "", *want = row->send ? row->send : "";
	bool right, said, usable = false, content = true;

	if (row->tls && (!META1_HAS(s->ops, tls) || !s->ops->tls))
		return; /* it does not know TLS */
	t_script(s, row);
	open = open_row(s, &q, row);
	right = strcmp(open, row->open) == 0 || (strcmp(row->open, "O*") == 0 && open[0] == 'O');
	if (!right)
		kit_note(s->k, "open: %s, expected %s", open, row->open);
	s->results[0] = '\0';
	if (right && row->send) {
		q = (struct t_asked){0};
		send = t_send(s, &q, row);
		usable = s->ops->usable(s->sess);
		content = send[0] != 'O' || !row->usable || content_right(s, row);
	}
	said = strcmp(want, "*") == 0 ? send[0] != '?' : strcmp(send, want) == 0;
	if (!said)
		kit_note(s->k, "send: %s, expected %s", send, want);
	if (strcmp(s->results, row->results ? row->results : "") != 0)
		kit_note(s->k, "recipients: %s, expected %s", s->results,
		    row->results ? row->results : "");
	right &= said && strcmp(s->results, row->results ? row->results : "") == 0 &&
		 usable == (row->usable != 0) && content;
	if (!kit_peer_done(s->peer)) {
		kit_note(s->k, "%s", s->peer->error);
		right = false;
	}
	t_shut(s);
	kit_ok(s->k, right, "transport: %s", row->name);
}

/* The first word that the module says. */
static int probe(struct t_suite *s)
{
	struct t_asked q = {0};
	const char *said;

	kit_peer_play(s->peer, "> 220 hop\n< zzz\n");
	said = t_open(s, &q, s->peer->path, 0);
	s->local = said[0] == 'O' && !s->peer->accepted;
	s->mute = said[0] == '?';
	t_shut(s);
	return strncmp(s->peer->said, "EHLO ", 5) == 0	 ? SMTP
	       : strncmp(s->peer->said, "LHLO ", 5) == 0 ? LMTP
							 : 0;
}

static void dialogues(struct t_suite *s)
{
	for (unsigned i = 0; i < kit_transport_nrows; i++)
		if (kit_transport_rows[i].who & s->speaks)
			t_play_row(s, &kit_transport_rows[i]);
	t_cases(s);
	t_faults(s);
	kit_ok(s->k, kit_slept(s->inst) < 3, "transport: no call holds the loop asleep");
}

int kit_transport(struct kit *k)
{
	static struct kit_peer peer;
	struct t_suite s = {.k = k, .peer = &peer};
	struct meta1_err err = {""};

	playing = &s;
	for (size_t i = 0; i + 1 < sizeof(kit_transport_big); i++)
		kit_transport_big[i] = i % 64 == 62 ? '\r' : i % 64 == 63 ? '\n' : 'x';
	if (kit_peer_open(k, s.peer, &err) < 0 || !(s.inst = kit_open(k, NULL, &err))) {
		kit_peer_close(s.peer);
		kit_ok(k, false, "transport: %s", err.text);
		return -1;
	}
	s.ops = kit_ops(s.inst);
	s.speaks = probe(&s);
	if (s.peer->accepted)
		t_no_hop(&s);
	if (s.speaks)
		dialogues(&s);
	else if (s.local)
		t_deliveries(&s);
	else if (s.mute)
		kit_ok(k, false, "transport: open() is answered");
	else
		kit_skip(k, "transport: dialogues", "the module speaks neither SMTP nor LMTP");
	kit_peer_close(s.peer);
	kit_close(k, &s.inst);
	return 0;
}
