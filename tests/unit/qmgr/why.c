/* SPDX-License-Identifier: BSD-2-Clause */
/* why.c -- tries core/qmgr/why.c: each cause for which a recipient waits. */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>

static struct world *W1;

static void is_(const char *id, unsigned rcpt, const char *what, int64_t from, int64_t to)
{
	int64_t until;

	assert_string_equal(world_why(W1, id, rcpt, &until), what);
	assert_in_range(until, from, to);
}

static void begin(int64_t aq, unsigned window)
{
	W1 = world_new(aq);
	if (window)
		world_smtpc_up(W1, window);
	world_run(W1);
}

static void fail_host(const char *key)
{
	world_end(W1, world_open(W1, key), META1_TEMPFAIL, META1_ABOUT_HOST, 0, "refused");
	world_run(W1);
}

static void retry_and_dead(void **state)
{
	struct meta1_qrcpt later = {.addr = buf_str("l@one.example"), .next_try = WALL0 + 999};

	(void)state;
	begin(40, 0);
	world_entry(W1, "S1", "me@example.org", &later, 1, WALL0);
	world_mail_to(W1, "S2", "a@one.example b@two.example");
	world_run(W1);
	is_("S1", 0, "retry", WALL0 + 999, WALL0 + 1005);
	is_("S2", 0, "smtpc", 0, 0); /* there is none */
	world_smtpc_up(W1, 8);
	world_run(W1);
	is_("S2", 0, "delivery", 0, 0);
	fail_host("one.example");
	is_("S2", 0, "dead_destination", WALL0 + 60, WALL0 + 61);
	/* a failure of the mail: the window of retries, a tenth around min_retry_delay */
	world_end(W1, world_open(W1, "two.example"), META1_TEMPFAIL, META1_ABOUT_MAIL, 450, "busy");
	world_run(W1);
	is_("S2", 1, "retry", WALL0 + 270, WALL0 + 335);
	world_free(&W1);
}

/* Before smar was there once, while it is silent, and when it went away. */
static void start_and_route(void **state)
{
	(void)state;
	begin(40, 8);
	W1->q.going = false;
	world_mail_to(W1, "S1", "a@one.example");
	world_run(W1);
	is_("S1", 0, "start", 0, 0);
	W1->smar_silent = true;
	W1->q.going = true;
	qmgr_kick(&W1->q);
	world_run(W1);
	is_("S1", 0, "route", 0, 0);
	chan_close(&W1->as_smar);
	world_run(W1);
	chan_close(&W1->at_smar);
	is_("S1", 0, "smar", 0, 0);
	world_free(&W1);
}

static void active_queue_full(void **state)
{
	char id[16], to[32];
	int i;

	(void)state;
	begin(40, 0);
	for (i = 0; i < 60; i++) {
		snprintf(id, sizeof(id), "S%d", i);
		snprintf(to, sizeof(to), "a@d%d.example", i);
		world_mail_to(W1, id, to);
	}
	world_run(W1);
	is_("S0", 0, "smtpc", 0, 0);
	is_("S59", 0, "active_queue", 0, 0);
	world_free(&W1);
}

/* Its destination has as many deliveries as it may; has its share; smtpc has no place. */
static void crowded_destination(void **state)
{
	char id[16];
	int i;

	(void)state;
	begin(40, 5);
	for (i = 0; i < 30; i++) {
		snprintf(id, sizeof(id), "S%d", i);
		world_mail_to(W1, id, "a@one.example");
	}
	world_run(W1);
	is_("S0", 0, "delivery", 0, 0);
	is_("S4", 0, "concurrency", 0, 0);  /* 4 are under way */
	is_("S29", 0, "concurrency", 0, 0); /* a quarter of 40 */
	world_mail_to(W1, "T", "a@two.example");
	world_mail_to(W1, "U", "a@three.example");
	world_run(W1);
	is_("T", 0, "delivery", 0, 0);
	is_("U", 0, "smtpc", 0, 0);
	world_free(&W1);
}

/* One a minute: the next is at its destination, what goes later than in a minute is not even. */
static void rate(void **state)
{
	struct qmgr_bounds slow = {.msg_us = 60000000};
	struct qmgr_dest *d;
	char id[16];
	int i;

	(void)state;
	begin(1000, 8);
	world_mail_to(W1, "S", "a@one.example");
	world_run(W1);
	HASH_FIND_STR(W1->q.sched.dests, "one.example", d);
	assert_non_null(d);
	qmgr_sched_bound(&W1->q.sched, d, &slow);
	for (i = 0; i < 20; i++) {
		snprintf(id, sizeof(id), "S%d", i);
		world_mail_to(W1, id, "a@one.example");
	}
	world_run(W1);
	world_end(W1, world_open(W1, "one.example"), META1_OK, META1_ABOUT_MAIL, 250, "ok");
	world_run(W1);
	is_("S0", 0, "delivery", 0, 0);
	is_("S1", 0, "rate", WALL0 + 59, WALL0 + 61);
	is_("S19", 0, "rate", WALL0 + 120, WALL0 + 3600);
	world_free(&W1);
}

/* What waits for the store: the outcome, a report; and what an earlier life left open. */
static void store_and_reports(void **state)
{
	struct meta1_qrcpt doubt = {
	    .addr = buf_str("a@one.example"), .reason = buf_str("report=1; 550 no")};

	(void)state;
	begin(40, 8);
	world_entry(W1, "S1", "me@example.org", &doubt, 1, WALL0 - 100);
	world_mail_to(W1, "S2", "a@two.example b@three.example");
	world_run(W1);
	is_("S1", 0, "recovery", 0, 0);
	W1->store_holds = true;
	world_end(W1, world_open(W1, "two.example"), META1_OK, META1_ABOUT_MAIL, 250, "ok");
	world_end(W1, world_open(W1, "three.example"), META1_PERMFAIL, META1_ABOUT_MAIL, 550, "no");
	world_run(W1);
	is_("S2", 0, "record", 0, 0);
	is_("S2", 1, "report", 0, 0);
	W1->commit_fails = true;
	W1->store_holds = false;
	world_run(W1);
	is_("S2", 0, "nothing", 0, 0);
	is_("S2", 1, "report", WALL0 + 24, WALL0 + 32); /* it is tried again */
	W1->commit_fails = false;
	world_free(&W1);
}

static void unread_and_held(void **state)
{
	(void)state;
	W1 = world_small(40);
	world_smtpc_up(W1, 8);
	world_mail_to(W1, "S1", "a@later.x");
	world_mail_to(W1, "S2", "a@later.x");
	world_run(W1);
	assert_int_equal(world_act(W1, "/v1/queue/hold", "id", "S2"), 1);
	is_("S2", 0, "held", 0, 0);
	W1->store_lost = true;
	is_("S1", 0, "envelope", WALL0 + 270, WALL0 + 3600);
	W1->store_lost = false;
	is_("S1", 0, "retry", WALL0 + 270, WALL0 + 335);
	world_free(&W1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(retry_and_dead),
	    cmocka_unit_test(start_and_route),
	    cmocka_unit_test(active_queue_full),
	    cmocka_unit_test(crowded_destination),
	    cmocka_unit_test(rate),
	    cmocka_unit_test(store_and_reports),
	    cmocka_unit_test(unread_and_held),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
