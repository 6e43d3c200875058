/* SPDX-License-Identifier: BSD-2-Clause */
/* flow.c -- tries the whole of core/qmgr: mail in, routes, deliveries, outcomes, reports,
 * restarts; the other ends are in world.c. */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>

static void one_mail(void **state)
{
	struct world *w = world_new(100);
	struct delivery *d;

	(void)state;
	world_smtpc_up(w, 10);
	world_run(w);
	assert_int_equal(w->credits, QMGR_CREDITS);
	world_mail(w, "S1", "me@example.org", "you@one.example");
	world_run(w);
	d = world_open(w, "one.example");
	assert_non_null(d);
	assert_string_equal(d->rcpts, "you@one.example");
	assert_int_equal(w->no, 0);
	world_end(w, d, META1_OK, META1_ABOUT_MAIL, 250, "2.0.0 taken");
	world_run(w);
	assert_int_equal(w->no, 1);
	assert_int_equal(w->o[0].state, META1_R_DELIVERED);
	assert_string_equal(w->o[0].by, "mx: 250 2.0.0 taken");
	assert_int_equal(w->q.index.n, 0);
	assert_int_equal(w->q.memory, 0);
	assert_int_equal(qmgr_active_count(&w->q), 0);
	world_free(&w);
}

/* Recipients of one destination go together, whatever their domains; a question a domain. */
static void grouped(void **state)
{
	struct world *w = world_new(100);

	(void)state;
	world_mail(w, "S1", "me@example.org", "a@x.shared b@y.shared c@one.example d@x.shared");
	world_mail(w, "S2", "me@example.org", "e@x.shared f@one.example");
	world_run(w);
	assert_int_equal(w->asked, 3);
	world_smtpc_up(w, 10);
	world_run(w);
	assert_int_equal(w->nd, 4);
	assert_int_equal(w->d[0].n + w->d[1].n + w->d[2].n + w->d[3].n, 6);
	assert_string_equal(world_open(w, "shared")->id, "S1");
	assert_int_equal(world_open(w, "shared")->n, 3);
	world_free(&w);
}

/* One recipient each way; only what failed is reported, once, to the sender. */
static void mixed_results(void **state)
{
	struct world *w = world_new(100);
	struct delivery *d;

	(void)state;
	world_smtpc_up(w, 10);
	world_mail(
	    w, "S1", "me@example.org", "a@one.example b@one.example c@one.example n@never.x");
	world_run(w);
	d = world_open(w, "one.example");
	assert_int_equal(d->n, 3);
	world_result(w, d, 0, META1_PERMFAIL, 550, "5.1.1 unknown");
	world_result(w, d, 1, META1_TEMPFAIL, 450, "4.2.1 busy");
	world_end(w, d, META1_OK, META1_ABOUT_MAIL, 250, "ok");
	world_run(w);
	assert_int_equal(world_outcome(w, "S1", 2).state, META1_R_DELIVERED);
	assert_int_equal(world_outcome(w, "S1", 1).state, META1_R_WAITING);
	assert_int_equal(world_outcome(w, "S1", 1).tries, 1);
	assert_in_range(world_outcome(w, "S1", 1).next_try, WALL0 + 270, WALL0 + 335);
	/* Nothing of it is active: both failures are in one report at once. */
	assert_int_equal(w->ns, 1);
	assert_string_equal(w->s[0].id, "S1-4"); /* the route failed first */
	assert_string_equal(w->s[0].to, "me@example.org");
	assert_non_null(strstr(w->s[0].text, "rfc822; a@one.example"));
	assert_non_null(strstr(w->s[0].text, "rfc822; n@never.x"));
	assert_non_null(strstr(w->s[0].text, "Subject: hello"));
	assert_null(strstr(w->s[0].text, "b@one"));
	assert_int_equal(world_outcome(w, "S1", 0).state, META1_R_BOUNCED);
	assert_string_equal(world_outcome(w, "S1", 0).by, "S1-4");
	d = world_open(w, "example.org"); /* the report is on its way, from nobody */
	assert_non_null(d);
	assert_string_equal(d->from, "");
	assert_string_equal(d->id, "S1-4");
	world_end(w, d, META1_PERMFAIL, META1_ABOUT_MAIL, 550, "no");
	world_run(w);
	assert_int_equal(world_outcome(w, "S1-4", 0).state, META1_R_FAILED);
	assert_int_equal(w->ns, 1); /* no report of a report */
	world_pass(w, 340);
	d = world_open(w, "one.example");
	assert_non_null(d);
	assert_string_equal(d->rcpts, "b@one.example");
	world_end(w, d, META1_OK, META1_ABOUT_MAIL, 250, "ok");
	world_run(w);
	assert_int_equal(w->q.index.n, 0);
	world_free(&w);
}

/* No outcome is given before its place in the order: intent, report, bounced, the report. */
static void order_of_a_report(void **state)
{
	struct world *w = world_new(100);

	(void)state;
	w->store_holds = true;
	world_mail(w, "S1", "me@example.org", "a@never.x b@never.x");
	world_run(w);
	assert_int_equal(w->no, 2);
	assert_int_equal(w->o[0].state, META1_R_WAITING);
	assert_string_equal(w->o[0].reason, "report=1; 556 5.1.10 the domain takes no mail");
	assert_string_equal(w->o[1].reason, w->o[0].reason);
	assert_int_equal(w->ns, 0);
	w->store_holds = false;
	world_run(w);
	assert_int_equal(w->ns, 1);
	assert_int_equal(world_outcome(w, "S1", 1).state, META1_R_BOUNCED);
	world_free(&w);
}

static void store_full(void **state)
{
	struct world *w = world_new(100);

	(void)state;
	world_mail(w, "S1", "me@example.org", "a@never.x");
	w->store_fails = true;
	world_run(w);
	assert_int_equal(w->ns, 0);
	world_pass(w, 10);
	assert_int_equal(world_outcome(w, "S1", 0).state, META1_R_WAITING);
	assert_int_equal(w->q.index.n, 1);
	w->store_fails = false;
	world_pass(w, 40);
	assert_int_equal(w->ns, 1);
	assert_int_equal(world_outcome(w, "S1", 0).state, META1_R_BOUNCED);
	world_free(&w);
}

/* A restart in the middle of a report: with the report stored there is no second one,
 * without it the recipient is tried again. */
static void restart_in_a_report(void **state)
{
	struct world *w = world_new(100);
	struct meta1_qrcpt r = {
	    .addr = buf_str("a@one.example"), .reason = buf_str("report=1; 550 no")};
	struct meta1_qrcpt to = {.addr = buf_str("me@example.org")};

	(void)state;
	world_smtpc_up(w, 10);
	world_entry(w, "S1", "me@example.org", &r, 1, WALL0 - 100);
	world_entry(w, "S2", "me@example.org", &r, 1, WALL0 - 100);
	world_entry(w, "S1-1", "", &to, 1, WALL0 - 50);
	world_mail(w, "S3", "x@example.org", "new@two.example");
	world_run(w);
	assert_non_null(world_open(w, "two.example")); /* new mail flows */
	assert_null(world_open(w, "one.example"));
	world_recovered(w);
	assert_int_equal(world_outcome(w, "S1", 0).state, META1_R_BOUNCED);
	assert_string_equal(world_outcome(w, "S1", 0).by, "S1-1");
	assert_string_equal(world_open(w, "one.example")->id, "S2");
	assert_int_equal(w->ns, 0);
	r.addr = buf_str("a@three.example"); /* one that is read late is decided too */
	world_entry(w, "S4", "me@example.org", &r, 1, WALL0 - 100);
	world_run(w);
	assert_string_equal(world_open(w, "three.example")->id, "S4");
	world_free(&w);
}

static void recovered_waits(void **state)
{
	struct world *w = world_new(100);
	struct meta1_qrcpt r[] = {
	    {.addr = buf_str("a@one.example"), .tries = 2, .next_try = WALL0 + 100},
	    {.addr = buf_str("b@two.example"), .tries = 2, .next_try = WALL0 + 999999999},
	    {.addr = buf_str("c@three.example"), .state = META1_R_DELIVERED}};

	(void)state;
	world_smtpc_up(w, 10);
	world_entry(w, "S1", "me@example.org", r, 3, WALL0 - 3600);
	world_recovered(w);
	assert_int_equal(w->nd, 0);
	world_pass(w, 99);
	assert_int_equal(w->nd, 0);
	world_pass(w, 3);
	assert_non_null(world_open(w, "one.example"));
	assert_null(world_open(w, "two.example"));
	world_pass(w, 3660); /* a wrong clock delays by max_retry_delay at most */
	assert_non_null(world_open(w, "two.example"));
	assert_null(world_open(w, "three.example"));
	world_free(&w);
}

/* smtpc dies: what it said is kept, the rest goes to the next one. */
static void smtpc_dies(void **state)
{
	struct world *w = world_new(100);
	struct delivery *d;

	(void)state;
	world_smtpc_up(w, 10);
	world_mail(w, "S1", "me@example.org", "a@one.example b@one.example");
	world_run(w);
	d = world_open(w, "one.example");
	world_result(w, d, 0, META1_OK, 250, "ok");
	world_run(w);
	world_smtpc_gone(w);
	assert_int_equal(w->q.ndelivery, 0);
	world_smtpc_up(w, 10);
	world_run(w);
	d = world_open(w, "one.example");
	assert_non_null(d);
	assert_string_equal(d->rcpts, "b@one.example");
	assert_int_equal(world_outcome(w, "S1", 0).state, META1_R_DELIVERED);
	world_free(&w);
}

/* smtpc stops in order, again and again: what it gives back was no try and is not put off, and
 * nothing more goes to one that leaves. */
static void smtpc_leaves(void **state)
{
	struct world *w = world_new(100);
	struct delivery *d;

	(void)state;
	world_mail(w, "S1", "me@example.org", "a@one.example");
	for (int life = 0; life < 3; life++) {
		struct p_window none = {.credits = 0};

		world_smtpc_up(w, 10);
		world_run(w);
		d = world_open(w, "one.example");
		assert_non_null(d);
		assert_true(chan_send(w->as_smtpc, P_WINDOW, &none));
		if (life == 1) /* told so, instead of found when it is gone */
			world_end(w, d, META1_CANCELED, META1_ABOUT_SESSION, 0, "");
		world_run(w);
		assert_int_equal(w->q.ndelivery, life != 1);
		world_smtpc_gone(w);
		assert_int_equal(w->q.ndelivery, 0);
	}
	assert_int_equal(world_outcome(w, "S1", 0).state, (uint32_t)-1);
	world_smtpc_up(w, 10);
	world_run(w);
	d = world_open(w, "one.example");
	assert_non_null(d);
	world_end(w, d, META1_OK, META1_ABOUT_MAIL, 250, "ok");
	world_run(w);
	assert_int_equal(world_outcome(w, "S1", 0).state, META1_R_DELIVERED);
	assert_int_equal(world_outcome(w, "S1", 0).tries, 0);
	world_free(&w);
}

static void routes_are_kept(void **state)
{
	struct p_generation gen = {.generation = 2};
	struct world *w = world_new(40);

	(void)state;
	world_mail(w, "S1", "me@example.org", "a@one.example b@ONE.Example");
	world_run(w);
	world_mail(w, "S2", "me@example.org", "c@one.example");
	world_run(w);
	assert_int_equal(w->asked, 1);
	world_pass(w, 301); /* its ttl */
	world_mail(w, "S3", "me@example.org", "c@one.example");
	world_run(w);
	assert_int_equal(w->asked, 2);
	chan_send(w->as_smar, P_GENERATION, &gen);
	world_run(w);
	world_mail(w, "S4", "me@example.org", "c@one.example");
	world_run(w);
	assert_int_equal(w->asked, 3);
	world_smtpc_up(w, 100);
	world_run(w);
	assert_int_equal(w->nd, 4);
	world_free(&w);
}

/* What waits for its turn at a destination when smar's data change is asked about anew: it does not
 * go by what was said before. */
static void waiting_is_asked_anew(void **state)
{
	struct p_generation gen = {.generation = 2};
	struct world *w = world_new(40);

	(void)state;
	world_smtpc_up(w, 1);
	world_mail(w, "S1", "me@example.org", "a@one.example");
	world_mail(w, "S2", "you@example.org", "b@one.example c@ONE.example");
	world_run(w);
	assert_int_equal(w->nd, 1);
	chan_send(w->as_smar, P_GENERATION, &gen);
	world_run(w);
	assert_int_equal(w->asked, 1);
	world_end(w, world_open(w, "one.example"), META1_OK, META1_ABOUT_MAIL, 250, "ok");
	world_run(w);
	assert_int_equal(w->asked, 2);
	assert_int_equal(w->nd, 2);
	assert_string_equal(world_open(w, "one.example")->rcpts, "b@one.example c@ONE.example");
	world_free(&w);
}

/* Nothing is asked before smar has said whether routes depend on the sender; when it says
 * otherwise, questions that wait and answers that come are void. */
static void routes_by_sender(void **state)
{
	static const struct p_generation by_sender = {.generation = 3, .by_sender = 1},
					 by_domain = {.generation = 4};
	struct world *w = world_new(40);
	struct p_hello hello = {0};

	(void)state;
	world_smtpc_up(w, 100);
	world_run(w);
	w->q.role.up(&w->q.role, w->at_smar, &hello); /* it has come back */
	world_mail(w, "S1", "me@example.org", "a@one.example b@two.example");
	world_run(w);
	assert_int_equal(w->asked, 0);
	chan_send(w->as_smar, P_GENERATION, &by_sender);
	world_run(w);
	assert_int_equal(w->asked, 2);
	assert_string_equal(w->from, "me@example.org");
	assert_int_equal(w->nd, 2);
	w->first = &by_domain; /* it overtakes the answer */
	world_mail(w, "S2", "you@example.org", "c@three.example");
	world_run(w);
	assert_int_equal(w->asked, 4);
	assert_string_equal(w->from, "");
	assert_string_equal(world_open(w, "three.example")->rcpts, "c@three.example");
	world_free(&w);
}

static void unresolved(void **state)
{
	struct world *w = world_new(40);
	struct qmgr_msg *m;

	(void)state;
	world_smtpc_up(w, 8);
	world_mail(w, "S1", "me@example.org", "a@later.example");
	world_run(w);
	m = qmgr_msg_find(&w->q, "S1", 2);
	assert_int_equal(m->rcpt[0].phase, QP_WAIT);
	assert_int_equal(m->rcpt[0].tries, 1);
	assert_string_equal(world_outcome(w, "S1", 0).reason, "no answer");
	assert_int_equal(w->asked, 1);
	world_pass(w, 269);
	assert_int_equal(w->asked, 1);
	world_pass(w, 70);
	assert_int_equal(w->asked, 2);
	world_free(&w);
}

static void goes(struct world *w, const char *id)
{
	struct delivery *d = world_open(w, "one.example");

	assert_non_null(d);
	assert_string_equal(d->id, id);
	world_end(w, d, META1_OK, META1_ABOUT_MAIL, 250, "ok");
	world_run(w);
}

/* A rate lets one go in two hours. What has no place when its time is over goes back; what was too
 * old when we began waits an hour for one. */
static void rate_too_slow(void **state)
{
	const struct meta1_qrcpt rcpt = {.addr = buf_str("a@one.example")};
	struct world *w = world_new(100);
	unsigned i;

	(void)state;
	w->rate = "rate = 1/2h;";
	w->q.lim.max_queue = 5400000;
	for (i = 0; i < 3; i++) {
		char id[8];

		snprintf(id, sizeof(id), "S%u", i);
		world_entry(w, id, i == 1 ? "you@x" : "me@example.org", &rcpt, 1, WALL0 - 10000);
	}
	world_recovered(w);
	world_smtpc_up(w, 10);
	world_run(w);
	goes(w, "S0");
	world_mail_to(w, "S3", "a@one.example");
	world_pass(w, 3500);
	assert_int_equal(world_outcome(w, "S2", 0).state, (uint32_t)-1);
	world_pass(w, 400);
	assert_int_equal(world_outcome(w, "S2", 0).state, META1_R_BOUNCED);
	assert_non_null(strstr(world_outcome(w, "S2", 0).reason, "rate"));
	assert_int_equal(world_outcome(w, "S3", 0).state, (uint32_t)-1);
	world_pass(w, 3700);
	goes(w, "S1"); /* it had a place, and goes */
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one_mail),
	    cmocka_unit_test(grouped),
	    cmocka_unit_test(mixed_results),
	    cmocka_unit_test(order_of_a_report),
	    cmocka_unit_test(store_full),
	    cmocka_unit_test(restart_in_a_report),
	    cmocka_unit_test(recovered_waits),
	    cmocka_unit_test(waiting_is_asked_anew),
	    cmocka_unit_test(smtpc_dies),
	    cmocka_unit_test(smtpc_leaves),
	    cmocka_unit_test(routes_are_kept),
	    cmocka_unit_test(routes_by_sender),
	    cmocka_unit_test(unresolved),
	    cmocka_unit_test(rate_too_slow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
