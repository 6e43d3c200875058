/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * transport_faults.c -- what goes wrong around a transport: replies that come a byte at a time, an
 * asker who goes away or a deadline that passes at every turn of a dialogue, each call of the host
 * that fails in turn.
 * Comes from transport.c; goes to the module through it.
 * On failure: "not ok" with the turn or the call.
 */
#include "transport.h"

#include <stdio.h>

#define STEPS	  400
#define CALLS_MAX 1000
#define DEADLINE  30000

/* A dialogue with two recipients, of whom one is refused. */
static const struct row good = {.hop = GREETED,
    .script = MAIL_OK RCPT_OK "< RCPT\n> 550 5.1.1 no\n" DATA_OK "> 250 2.0.0 ok\n",
    .nrcpt = 2};

/* Every row again; what the hop says comes byte for byte. Those that lean on what comes in one
 * packet have their own meaning. */
static void trickle(struct t_suite *s)
{
	struct kit *k = s->k;
	unsigned i, failed = k->failed;

	k->host.trickle = 1;
	for (i = 0; i < kit_transport_nrows; i++)
		if (kit_transport_rows[i].who & s->speaks && !kit_transport_rows[i].packets)
			t_play_row(s, &kit_transport_rows[i]);
	k->host.trickle = 0;
	kit_ok(k, k->failed == failed, "transport: all of these again, replies byte for byte");
}

/* Opens, and sends when that worked. */
struct dialogue {
	struct t_suite *s;
	struct t_asked open, send;
	struct meta1_req *req;
	bool opened, sent;
};

static void go_on(struct dialogue *d, int64_t deadline)
{
	struct t_suite *s = d->s;

	if (d->sent || !d->open.a.told || d->open.a.st != META1_OK || !s->sess)
		return;
	d->sent = true;
	t_begin_send(s, &d->send, &good);
	if (deadline)
		kit_req_deadline(s->req, deadline);
}

static void begin(struct dialogue *d, struct t_suite *s, int64_t deadline)
{
	static struct meta1_hop hop = {.size = sizeof(hop), .host = "hop.example"};

	*d = (struct dialogue){.s = s};
	hop.addr = s->peer->path;
	t_script(s, &good);
	s->sess = NULL;
	s->req = kit_req(s->k, s->inst, &d->open.a);
	if (deadline)
		kit_req_deadline(s->req, deadline);
	s->ops->open(kit_data(s->inst), s->req, &hop, &s->sess);
}

static bool over(const struct dialogue *d)
{
	return d->send.a.told || (d->open.a.told && d->open.a.st != META1_OK);
}

static void end(struct dialogue *d)
{
	t_shut(d->s);
	kit_clock(d->s->k, 3 * KIT_PATIENCE_MS); /* what is never finished is a fault now */
	kit_answer_free(&d->open.a);
	kit_answer_free(&d->send.a);
}

/* What is on threads would take any number of turns. */
static void turn(struct t_suite *s)
{
	if (s->local)
		kit_turn(s->k);
	else
		loop_turn(s->k->host.loop, false);
}

/* At turn n the asker leaves. True: the dialogue was over before. */
static bool leave_at(struct t_suite *s, unsigned n, bool *right)
{
	struct dialogue d;
	bool was_over;
	unsigned i;

	begin(&d, s, 0);
	for (i = 0; i < n && !over(&d); i++) {
		turn(s);
		go_on(&d, 0);
	}
	was_over = over(&d);
	if (!was_over) {
		kit_req_cancel(&s->req);
		for (i = 0; i < 20; i++)
			loop_turn(s->k->host.loop, false);
		*right = *right && !(d.sent ? d.send.a.told : d.open.a.told);
	}
	end(&d);
	return was_over;
}

static void leave(struct t_suite *s)
{
	bool right = true;
	unsigned n;

	for (n = 0; n < STEPS && !leave_at(s, n, &right); n++)
		;
	kit_ok(s->k, right && n < STEPS, "transport: the asker leaves at each of %u turns", n);
}

/* At turn n the deadline of the question passes: its asker is told TEMPFAIL once. */
static bool late_at(struct t_suite *s, unsigned n, bool *right)
{
	struct loop *l = s->k->host.loop;
	struct dialogue d;
	struct kit_answer *a;
	bool was_over;
	unsigned i;

	begin(&d, s, loop_now(l) + DEADLINE);
	for (i = 0; i < n && !over(&d); i++) {
		turn(s);
		go_on(&d, loop_now(l) + DEADLINE);
	}
	was_over = over(&d);
	if (!was_over) {
		a = d.sent ? &d.send.a : &d.open.a;
		kit_clock(s->k, DEADLINE + 1);
		*right = *right && a->told && a->times == 1 &&
			 (a->st == META1_TEMPFAIL || a->st == META1_OK);
	}
	end(&d);
	return was_over;
}

static void late(struct t_suite *s)
{
	bool right = true;
	unsigned n;

	for (n = 0; n < STEPS && !late_at(s, n, &right); n++)
		;
	kit_ok(s->k, right && n < STEPS, "transport: the deadline passes at each of %u turns", n);
}

/* The mail goes, or may be tried again: nobody is refused for want of memory but who is. */
static void failing(struct t_suite *s)
{
	bool right = true, there_was = true;
	unsigned n, sent = 0;

	for (n = 1; n < CALLS_MAX && there_was && right; n++) {
		struct t_asked q = {0};
		const char *said;

		t_script(s, &good);
		kit_host_fail(&s->k->host, n);
		s->results[0] = '\0';
		said = t_open(s, &q, s->peer->path, 0);
		if (said[0] == 'O') {
			q = (struct t_asked){0};
			said = t_send(s, &q, &good);
			right = said[0] == 'T' || said[0] == 'O';
			right = right && !strstr(s->results, "0=P");
			sent += said[0] == 'O';
		} else {
			right = said[0] == 'T';
		}
		there_was = s->k->host.failed > 0;
		kit_host_fail(&s->k->host, 0);
		t_shut(s);
		if (!right)
			kit_note(s->k, "call %u: %s, recipients: %s", n, said, s->results);
	}
	kit_ok(s->k, right && n < CALLS_MAX && sent,
	    "transport: the mail goes or waits when each of %u calls fails in turn", n - 1);
}

void t_faults(struct t_suite *s)
{
	if (!s->local)
		trickle(s);
	leave(s);
	late(s);
	failing(s);
}

/* One that asks no next hop: each mail is taken, twice on a session, with content or without. */
void t_deliveries(struct t_suite *s)
{
	static const struct row rows[] = {
	    {.name = ""}, {.name = "", .content = ""}, {.name = "", .nrcpt = 3}};
	struct t_asked q = {0};
	bool right = t_open(s, &q, s->peer->path, 0)[0] == 'O';

	for (unsigned i = 0; right && i < ARRAY_LEN(rows); i++) {
		q = (struct t_asked){0};
		right = t_send(s, &q, &rows[i])[0] == 'O' && s->ops->usable(s->sess);
	}
	t_shut(s);
	kit_ok(s->k, right, "transport: takes mails, one after the other (%s)", q.text);
	t_faults(s);
	kit_ok(s->k, kit_slept(s->inst) < 3, "transport: no call holds the loop asleep");
}
