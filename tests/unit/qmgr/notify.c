/* SPDX-License-Identifier: BSD-2-Clause */
/* notify.c -- tries core/qmgr/bounce.c in the whole of qmgr: who is told what (RFC 3461), that it
 * is told once, also over restarts, double bounces, and VERP. Warnings of delay are in warning.c,
 * lists and aliases in expand.c. */
#include "told.h"

#include <stdio.h>
#include <stdlib.h>

/* What each NOTIFY gets of each fate. */
static void table(void **state)
{
	static const struct {
		uint32_t notify;
		bool failure, success, delay;
	} rows[] = {{0, true, false, true}, {META1_N_NEVER, false, false, false},
	    {META1_N_SUCCESS, false, true, false}, {META1_N_FAILURE, true, false, false},
	    {META1_N_DELAY, false, false, true},
	    {META1_N_SUCCESS | META1_N_FAILURE | META1_N_DELAY, true, true, true}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct world *w = start(3600000);
		char to[64];

		snprintf(to, sizeof(to), "a@one.example/%u/", rows[i].notify);
		world_mail(w, "S1", "me@example.org", to); /* fails */
		world_run(w);
		world_end(
		    w, world_open(w, "one.example"), META1_PERMFAIL, META1_ABOUT_MAIL, 550, "no");
		world_run(w);
		assert_int_equal(w->ns, rows[i].failure);
		assert_int_equal(world_outcome(w, "S1", 0).state,
		    rows[i].failure ? META1_R_BOUNCED : META1_R_FAILED);
		snprintf(to, sizeof(to), "a@two.example/%u/", rows[i].notify);
		world_mail(w, "S2", "me@example.org", to); /* is relayed */
		world_run(w);
		world_end(w, world_open(w, "two.example"), META1_OK, META1_ABOUT_MAIL, 250, "ok");
		world_run(w);
		assert_int_equal(world_outcome(w, "S2", 0).state, META1_R_DELIVERED);
		assert_int_equal(w->ns, rows[i].failure + rows[i].success);
		if (rows[i].success)
			has(w->s[w->ns - 1].text, "Action: relayed\r\n");
		snprintf(to, sizeof(to), "a@later.x/%u/", rows[i].notify);
		world_mail(w, "S3", "me@example.org", to); /* waits */
		world_pass(w, 3500);
		assert_int_equal(w->ns, rows[i].failure + rows[i].success);
		world_pass(w, 40000);
		assert_int_equal(w->ns, rows[i].failure + rows[i].success + rows[i].delay);
		if (rows[i].delay)
			has(w->s[w->ns - 1].text, "Action: delayed\r\n");
		end(w);
	}
}

/* The hop that knows RFC 3461 tells the sender itself; delivered is not relayed. */
static void who_takes_it(void **state)
{
	static const struct {
		uint32_t taken;
		const char *action;
	} rows[] = {{META1_TAKEN_RELAYED, "Action: relayed\r\n"},
	    {META1_TAKEN_FINAL, "Action: delivered\r\n"}, {META1_TAKEN_DSN, NULL}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct world *w = start(0);

		world_envid = "QQ+2B1";
		world_flags = META1_M_RET_FULL; /* but of a success the headers are enough */
		world_taken = rows[i].taken;
		world_mail(w, "S1", "me@example.org",
		    "a@one.example/2/rfc822;orig+2Binal@x b@one.example/2 c@one.example/1");
		world_run(w);
		world_end(
		    w, world_open(w, "one.example"), META1_OK, META1_ABOUT_MAIL, 250, "taken");
		world_run(w);
		assert_int_equal(w->ns, rows[i].action != NULL);
		for (uint32_t k = 0; k < 3; k++)
			assert_int_equal(world_outcome(w, "S1", k).state, META1_R_DELIVERED);
		if (rows[i].action) {
			has(w->s[0].text, rows[i].action);
			has(w->s[0].text, "Original-Envelope-Id: QQ+1\r\n");
			has(w->s[0].text, "Original-Recipient: rfc822; orig+inal@x\r\n"
					  "Final-Recipient: rfc822; a@one.example\r\n");
			has(w->s[0].text, "Final-Recipient: rfc822; b@one.example\r\n");
			has(w->s[0].text, "Status: 2.0.0\r\nRemote-MTA: dns; mx\r\n");
			has(w->s[0].text, "text/rfc822-headers");
			assert_null(strstr(w->s[0].text, "c@one.example"));
			assert_string_equal(w->s[0].to, "me@example.org");
		}
		end(w);
	}
}

/* Failed and delivered of one mail: two reports, and the one of the failure is whole. */
static void two_kinds(void **state)
{
	struct world *w = start(0);
	struct delivery *d;

	(void)state;
	world_flags = META1_M_RET_FULL;
	world_mail(w, "S1", "me@example.org", "a@one.example/2/ b@one.example c@one.example/6/");
	world_run(w);
	d = world_open(w, "one.example");
	world_result(w, d, 0, META1_OK, 250, "ok");
	world_result(w, d, 1, META1_PERMFAIL, 550, "5.1.1 no");
	world_end(w, d, META1_OK, META1_ABOUT_MAIL, 250, "ok");
	world_run(w);
	assert_int_equal(w->ns, 2);
	for (unsigned i = 0; i < 2; i++) {
		bool failed = strstr(w->s[i].text, "Action: failed") != NULL;

		assert_string_equal(w->s[i].id, failed ? "S1-2" : "S1-1");
		assert_int_equal(strstr(w->s[i].text, "message/rfc822") != NULL, failed);
		assert_int_equal(strstr(w->s[i].text, "b@one.example") != NULL, failed);
	}
	assert_int_equal(world_outcome(w, "S1", 0).state, META1_R_DELIVERED);
	assert_int_equal(world_outcome(w, "S1", 1).state, META1_R_BOUNCED);
	assert_int_equal(world_outcome(w, "S1", 2).state, META1_R_DELIVERED);
	end(w);
}

/* The order of a success: recorded that it is delivered, report, final; nothing in between makes a
 * second delivery. */
static void order_of_a_success(void **state)
{
	struct world *w = start(0);

	(void)state;
	world_mail(w, "S1", "me@example.org", "a@one.example/2/");
	world_run(w);
	w->store_holds = true;
	world_end(w, world_open(w, "one.example"), META1_OK, META1_ABOUT_MAIL, 250, "ok");
	world_run(w);
	assert_int_equal(w->no, 1);
	assert_int_equal(w->o[0].state, META1_R_WAITING);
	assert_string_equal(w->o[0].reason, "report=1 relayed; mx: 250 ok");
	assert_int_equal(w->ns, 0);
	w->store_holds = false;
	world_run(w);
	assert_int_equal(w->ns, 1);
	assert_int_equal(world_outcome(w, "S1", 0).state, META1_R_DELIVERED);
	assert_null(world_open(w, "one.example"));
	end(w);
}

/* A restart at each point: what is delivered is not delivered again, and reported once. */
static void restart(void **state)
{
	struct world *w = start(3600000);
	struct meta1_qrcpt done = {.addr = buf_str("a@one.example"),
	    .notify = META1_N_SUCCESS,
	    .next_try = WALL0,
	    .reason = buf_str("report=1 delivered; mx: 250 ok")};
	struct meta1_qrcpt late = {.addr = buf_str("a@two.example"),
	    .next_try = WALL0 + 500,
	    .reason = buf_str("report=2 delayed; mx: 450 busy")};
	struct meta1_qrcpt knows = {.addr = buf_str("a@later.x"),
	    .next_try = WALL0 + 10,
	    .reason = buf_str("warned; mx: 450 busy")};
	struct meta1_qrcpt odd = {.addr = buf_str("a@three.example"),
	    .next_try = WALL0 + 500,
	    .reason = buf_str("report=1 of us; delayed")};
	struct meta1_qrcpt to = {.addr = buf_str("me@example.org")};

	(void)state;
	world_entry(
	    w, "S1", "me@example.org", &done, 1, WALL0 - 9000); /* the report is not there */
	world_entry(w, "S2", "me@example.org", &done, 1, WALL0 - 9000);
	world_entry(w, "S2-1", "", &to, 1, WALL0 - 50); /* it is */
	world_entry(w, "S3", "me@example.org", &late, 1, WALL0 - 9000);
	world_entry(w, "S3-2", "", &to, 1, WALL0 - 50);
	world_entry(w, "S4", "me@example.org", &late, 1, WALL0 - 9000);
	world_entry(w, "S5", "me@example.org", &knows, 1, WALL0 - 9000);
	world_entry(w, "S6", "me@example.org", &odd, 1, WALL0 - 9000);
	world_recovered(w);
	world_run(w);
	assert_null(world_open(w, "one.example"));
	assert_int_equal(w->ns, 1);
	assert_string_equal(w->s[0].id, "S1-1");
	has(w->s[0].text, "Action: delivered\r\n");
	assert_int_equal(world_outcome(w, "S1", 0).state, META1_R_DELIVERED);
	assert_int_equal(world_outcome(w, "S2", 0).state, META1_R_DELIVERED);
	assert_int_equal(world_outcome(w, "S3", 0).state, META1_R_WAITING);
	assert_string_equal(world_outcome(w, "S3", 0).reason, "warned; mx: 450 busy");
	assert_int_equal(world_outcome(w, "S3", 0).next_try, WALL0 + 500);
	assert_null(world_open(w, "two.example")); /* both wait for their time */
	assert_string_equal(
	    qmgr_msg_find(&w->q, "S6", 2)->rcpt[0].reason->line, "report=1 of us; delayed");
	world_pass(w, 600); /* S5 is tried, and its sender not told a second time */
	assert_int_equal(w->ns, 1);
	assert_non_null(strstr(world_outcome(w, "S5", 0).reason, "warned; "));
	assert_non_null(world_open(w, "two.example"));
	end(w);
}

/* A mail without a sender, and the report of it. */
static void double_bounce(void **state)
{
	struct world *w;

	(void)state;
	world_double_bounce = "postmaster@two.example";
	w = start(0);
	world_mail(w, "S1", "me@three.example", "a@never.x");
	world_run(w);
	assert_int_equal(w->ns, 1);
	world_end(
	    w, world_open(w, "three.example"), META1_PERMFAIL, META1_ABOUT_MAIL, 550, "5.1.1 gone");
	world_run(w);
	assert_int_equal(w->ns, 2);
	assert_string_equal(w->s[1].id, "S1-1-1");
	assert_string_equal(w->s[1].to, "postmaster@two.example");
	has(w->s[1].text, "Subject: A report was not delivered\r\n");
	has(w->s[1].text, "Final-Recipient: rfc822; me@three.example\r\n");
	assert_int_equal(world_outcome(w, "S1-1", 0).state, META1_R_BOUNCED);
	world_end(
	    w, world_open(w, "two.example"), META1_PERMFAIL, META1_ABOUT_MAIL, 550, "5.1.1 too");
	world_run(w);
	assert_int_equal(w->ns, 2); /* the end */
	assert_int_equal(world_outcome(w, "S1-1-1", 0).state, META1_R_FAILED);
	assert_int_equal(w->q.index.n, 0);
	end(w);
}

/* Each recipient on its own, from its own address; so are their reports. */
static void verp(void **state)
{
	static const char *const list[] = {"@example.org", NULL};
	struct world *w;
	unsigned i;

	(void)state;
	world_verp = list;
	w = start(0);
	world_mail(
	    w, "S1", "list@example.org", "a@x.shared b@y.shared c@x.shared n@never.x m@never.x");
	world_mail(w, "S2", "me@example.net", "a@x.shared b@y.shared");
	world_pass(w, 3);
	assert_int_equal(w->nd, 6); /* with the two reports */
	for (i = 0; i < w->nd; i++) {
		char want[64];

		if (strcmp(w->d[i].id, "S2") == 0) {
			assert_string_equal(w->d[i].from, "me@example.net");
			assert_int_equal(w->d[i].n, 2);
			continue;
		}
		assert_int_equal(w->d[i].n, 1);
		snprintf(want, sizeof(want), "list+%c=%s@example.org", w->d[i].rcpts[0],
		    w->d[i].rcpts + 2);
		assert_string_equal(w->d[i].from, *w->d[i].from ? want : "");
	}
	assert_int_equal(w->ns, 2);
	i = strstr(w->s[0].to, "list+n") != NULL; /* two threads read the headers: in any order */
	assert_string_equal(w->s[!i].to, "list+n=never.x@example.org");
	assert_string_equal(w->s[i].to, "list+m=never.x@example.org");
	end(w);
}

static unsigned gathering(struct world *w)
{
	struct qmgr_report *rep, *same;
	unsigned n = 0;

	DL_FOREACH (w->q.reports, rep) {
		HASH_FIND_STR(w->q.reports_by_id, rep->id, same);
		assert_ptr_equal(same, rep);
		n++;
	}
	assert_int_equal(HASH_COUNT(w->q.reports_by_id), n);
	return n;
}

/* The work of a mailing's reports grows with their number, not with its square: each is found by
 * its id, and one with an address of its own looks at the recipient it names. */
static void each_its_own(void **state)
{
	static const char *const list[] = {"list@example.org", NULL};
	struct qmgr_report *rep;
	struct world *w;

	(void)state;
	world_verp = list;
	w = start(0);
	w->store_holds = true; /* they wait for their intents */
	world_mail(w, "S1", "list@example.org", "a@never.x b@never.x c@never.x d@never.x");
	world_mail(w, "S2", "me@example.org", "a@never.x b@never.x");
	world_run(w);
	assert_int_equal(gathering(w), 5);
	DL_FOREACH (w->q.reports, rep) {
		if (strcmp(rep->msg->id, "S2") == 0) {
			assert_int_equal(rep->begin, 0);
			assert_int_equal(rep->end, 2);
			assert_int_equal(rep->unrecorded, 2);
			continue;
		}
		assert_int_equal(rep->begin, rep->number - 1);
		assert_int_equal(rep->end, rep->number);
		assert_int_equal(rep->unrecorded, 1);
	}
	w->store_holds = false;
	world_pass(w, 3);
	assert_int_equal(gathering(w), 0);
	assert_int_equal(w->ns, 5);
	assert_int_equal(world_outcome(w, "S1", 0).state, META1_R_BOUNCED);
	assert_int_equal(world_outcome(w, "S1", 3).state, META1_R_BOUNCED);
	assert_int_equal(world_outcome(w, "S2", 1).state, META1_R_BOUNCED);
	end(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(table),
	    cmocka_unit_test(who_takes_it),
	    cmocka_unit_test(two_kinds),
	    cmocka_unit_test(order_of_a_success),
	    cmocka_unit_test(restart),
	    cmocka_unit_test(double_bounce),
	    cmocka_unit_test(verp),
	    cmocka_unit_test(each_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
