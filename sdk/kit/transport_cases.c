/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * transport_cases.c -- what of the suite for transports is no row: sessions that carry several
 * mails, probes, very many recipients, hops that leave while nothing is asked, askers that leave.
 * Comes from transport.c, which asks; goes to the module. Owns the texts of the scripts.
 * On failure: "not ok" with what the hop saw.
 */
#include "transport.h"

#include <stdio.h>

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

void t_no_hop(struct t_suite *s)
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
		kit_req_rcpts(s->req, t_on_rcpt, N);
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
		t_silence(s);
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

void t_cases(struct t_suite *s)
{
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
}
