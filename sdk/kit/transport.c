/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * transport.c -- the suite for transports: dialogues with a next hop that plays a script.
 *
 * Comes from the kit's main; goes to the module through the host, as smtpc does. The
 * hop (peer.c) is a unix socket in this loop. A case is a row (transport_rows.c): what the hop
 * says, the mail, and what the module must make of it. The clock stands still, so that time-outs of
 * minutes take no time. A module whose first command is neither EHLO nor LHLO speaks something
 * else: only its failures to connect are tried.
 * over 500 lines: what plays the rows, and the cases that are no row, share all of it.
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

static void on_rcpt(void *arg, uint32_t i, enum meta1_status st, const struct meta1_reply *r)
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

/* Until the hop has come to the "..." of its script, and the module to its wait. */
static void silence(struct t_suite *s)
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
		silence(s);
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
	kit_req_rcpts(s->req, on_rcpt, m.nrcpt);
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

/* ---- what is no row ---- */

static const struct row plain = {.name = ""};

/* A reply may have 100 lines; a hop that talks for ever is cut off. */
static void endless_reply(struct t_suite *s)
{
	static char text[20000];
	struct t_asked q = {0};
	size_t n = 0;

	for (int i = 0; i < 2000; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "> 220-\n");
	kit_peer_play(s->peer, text);
	kit_ok(s->k, strcmp(t_open(s, &q, s->peer->path, 0), "T host") == 0,
	    "transport: an endless reply");
	t_shut(s);
}

static void no_hop(struct t_suite *s)
{
	struct t_asked q = {0};
	char path[128];

	snprintf(path, sizeof(path), "%s/none", s->k->dir);
	kit_ok(s->k, strcmp(t_open(s, &q, path, 0), "T host") == 0, "transport: nobody listens");
	t_shut(s);
}

/* One session: two mails; a failed one, RSET, a good one; QUIT. */
static void reuse(struct t_suite *s)
{
	static const struct row used = {
	    .script = MAIL_OK RCPT_OK DATA_OK
	    "> 250 one\n" MAIL_OK
	    "< RCPT\n> 550 5.1.1 no\n< RSET\n> 250 ok\n" MAIL_OK RCPT_OK DATA_OK
	    "> 250 three\n< QUIT\n> 221 bye\n-\n"};
	static const char *const want[] = {"O250", "P550/5.1.1", "O250"};
	struct t_asked q = {0};
	bool right;

	t_script(s, &used);
	right = strcmp(t_open(s, &q, s->peer->path, 0), "O250") == 0;
	for (unsigned i = 0; right && i < ARRAY_LEN(want); i++) {
		q = (struct t_asked){0};
		right = strcmp(t_send(s, &q, &plain), want[i]) == 0 && s->ops->usable(s->sess);
	}
	t_shut(s);
	kit_ok(s->k, right && kit_peer_done(s->peer),
	    "transport: a session carries mails one after the other, then says QUIT%s%s",
	    s->peer->error[0] ? ": " : "", s->peer->error);
}

/* One session: what the hop says of recipients, of a sender, then a mail; nothing is said behind
 * the last RCPT of a probe. */
static void probes(struct t_suite *s, const char *name, const char *hop, const char *text)
{
	static const struct {
		bool probe;
		const char *want, *results;
	} steps[] = {{true, "O", "0=O250/2.1.5 "}, {true, "O", "0=P550/5.1.1 "},
	    {true, "P550/5.7.1", ""}, {true, "O", "0=T452/4.2.2 "}, {false, "O250", ""},
	    {true, "T421 host", ""}};
	const struct row row = {.hop = hop, .script = text}, asking = {.name = "", .probe = 1};
	struct t_asked q = {0};
	bool right;

	t_script(s, &row);
	right = strcmp(t_open(s, &q, s->peer->path, 0), "O250") == 0;
	for (unsigned i = 0; right && i < ARRAY_LEN(steps); i++) {
		q = (struct t_asked){0};
		right =
		    strcmp(t_send(s, &q, steps[i].probe ? &asking : &plain), steps[i].want) == 0 &&
		    strcmp(s->results, steps[i].results) == 0;
		if (!right)
			kit_note(s->k, "step %u: %s, %s", i, q.text, s->results);
	}
	right = kit_peer_done(s->peer) && right;
	t_shut(s);
	kit_ok(s->k, right, "transport: probes, %s%s%s", name, s->peer->error[0] ? ": " : "",
	    s->peer->error);
}

static void all_probes(struct t_suite *s)
{
#define RSET_OK "< RSET\n> 250 ok\n"
	if (!META1_HAS(s->ops, probe) || !s->ops->probe) {
		kit_skip(s->k, "transport: probes", "the module has no probe()");
		return;
	}
	probes(s, "one by one", NULL,
	    MAIL_OK RCPT_OK RSET_OK MAIL_OK
	    "< RCPT\n> 550-no\n> 550 5.1.1 such user\n" RSET_OK
	    "< MAIL\n> 550 5.7.1 not you\n" RSET_OK MAIL_OK
	    "< RCPT\n> 452 4.2.2 full\n" RSET_OK MAIL_OK RCPT_OK DATA_OK "> 250 ok\n" MAIL_OK
	    "< RCPT\n> 421 bye\n-\n");
	probes(s, "pipelined", OFFERS,
	    "& RCPT\n" MAIL_OK RCPT_OK "& RCPT\n" RSET_OK MAIL_OK
	    "< RCPT\n> 550-no\n> 550 5.1.1 such user\n& RCPT\n" RSET_OK
	    "< MAIL\n> 550 5.7.1 not you\n< RCPT\n> 503 no\n& RCPT\n" RSET_OK MAIL_OK
	    "< RCPT\n> 452 4.2.2 full\n" PIPED RSET_OK MAIL_ANY RCPT_OK DATA_OK
	    "> 250 ok\n& RCPT\n" MAIL_OK "< RCPT\n> 421 bye\n-\n");
#undef RSET_OK
}

/* More recipients than may leave in one write; each third is refused. */
static void many_recipients(struct t_suite *s)
{
	enum { N = 2500 };
	static char names[N][24], text[N * 24 + 512];
	static struct meta1_rcpt rcpt[N];
	struct row row = {.hop = OFFERS, .script = text};
	struct meta1_extent extent = {.mem = "x\r\n", .len = 3, .fd = -1};
	struct meta1_mail m = {.size = sizeof(m),
	    .nrcpt = N,
	    .sizeof_rcpt = sizeof(rcpt[0]),
	    .id = "kit",
	    .rcpt = rcpt,
	    .extent = &extent,
	    .nextent = 1,
	    .bytes = 3};
	struct t_asked q = {0};
	size_t n = (size_t)snprintf(text, sizeof(text), "< MAIL FROM:<> \n> 250 ok\n");
	bool right;

	for (unsigned i = 0; i < N; i++) {
		snprintf(names[i], sizeof(names[i]), "u%u@example.net", i);
		rcpt[i].addr = buf_str(names[i]);
		n += (size_t)snprintf(
		    text + n, sizeof(text) - n, "< RCPT\n> %s\n", i % 3 == 2 ? "550 no" : "250 ok");
	}
	n += (size_t)snprintf(text + n, sizeof(text) - n, "< DATA\n> 354 go\n.\n");
	for (unsigned i = 0; i < N; i++)
		if (s->speaks == SMTP ? i == 0 : i % 3 != 2)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "> 250 yes\n");
	t_script(s, &row);
	right = strcmp(t_open(s, &q, s->peer->path, 0), "O250") == 0;
	q = (struct t_asked){0};
	if (right) {
		s->nresults = 0;
		s->req = kit_req(s->k, s->inst, &q.a);
		kit_req_rcpts(s->req, on_rcpt, N);
		s->ops->send(s->sess, s->req, &m);
		right = t_answer(s, &q, 0)[0] == 'O' &&
			s->nresults == (s->speaks == SMTP ? N / 3 : N) && s->ops->usable(s->sess);
	}
	right = kit_peer_done(s->peer) && right;
	t_shut(s);
	kit_ok(s->k, right, "transport: %u recipients%s%s", N, s->peer->error[0] ? ": " : "",
	    s->peer->error);
}

/* After a first mail: what becomes of the session, and of the next mail on it. */
static void idle(struct t_suite *s, const char *name, const char *then, bool usable)
{
	char text[512];
	struct row row = {.script = text};
	struct t_asked q = {0};
	bool right;

	snprintf(text, sizeof(text), "%s%s", MAIL_OK RCPT_OK DATA_OK "> 250 one\n", then);
	t_script(s, &row);
	right = strcmp(t_open(s, &q, s->peer->path, 0), "O250") == 0;
	q = (struct t_asked){0};
	right = right && strcmp(t_send(s, &q, &plain), "O250") == 0;
	for (int i = 0; i < 20; i++)
		kit_turn(s->k);
	right = right && s->ops->usable(s->sess) == usable;
	q = (struct t_asked){0};
	right = right && strstr(t_send(s, &q, &plain), " session");
	right = right && !s->ops->usable(s->sess);
	t_shut(s);
	kit_ok(s->k, right, "transport: %s: nothing was taken, the session is to blame (%s)", name,
	    q.text);
}

/* The asker goes away: the request ends, the connection with it. */
static void cancel(struct t_suite *s, const char *name, const char *text, bool past)
{
	struct row row = {.script = text};
	struct t_asked q = {0};
	bool right;

	t_script(s, &row);
	right = strcmp(t_open(s, &q, s->peer->path, 0), "O250") == 0;
	q = (struct t_asked){0};
	if (right) {
		t_begin_send(s, &q, &plain);
		silence(s);
		if (META1_HAS(s->ops, past_dot) && s->ops->past_dot)
			right = s->ops->past_dot(s->sess) == past;
		kit_req_cancel(&s->req);
		for (int i = 0; i < 5; i++)
			kit_turn(s->k);
		right = right && !q.a.told && !s->ops->usable(s->sess);
	}
	t_shut(s);
	kit_clock(s->k, 60000); /* a request that is not finished after cancel() is a fault */
	kit_ok(s->k, right, "transport: canceled %s", name);
	kit_answer_free(&q.a);
}

/* The first word that the module says. */
static int probe(struct t_suite *s)
{
	struct t_asked q = {0};

	kit_peer_play(s->peer, "> 220 hop\n< zzz\n");
	s->local = t_open(s, &q, s->peer->path, 0)[0] == 'O' && !s->peer->accepted;
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
	endless_reply(s);
	reuse(s);
	all_probes(s);
	many_recipients(s);
	idle(s, "closed while idle", "-\n", false);
	idle(s, "421 while idle", "> 421 time is over\n", false);
	idle(s, "closed at the next MAIL", "< MAIL\n-\n", true);
	idle(s, "421 to the next MAIL", "< MAIL\n> 421 enough\n", true);
	cancel(s, "at MAIL", "< MAIL\n...\n", false);
	cancel(s, "after the dot", MAIL_OK RCPT_OK DATA_OK "...\n", true);
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
		no_hop(&s);
	if (s.speaks)
		dialogues(&s);
	else if (s.local)
		t_deliveries(&s);
	else
		kit_skip(k, "transport: dialogues", "the module speaks neither SMTP nor LMTP");
	kit_peer_close(s.peer);
	kit_close(k, &s.inst);
	return 0;
}
