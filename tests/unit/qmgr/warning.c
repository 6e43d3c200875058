/* SPDX-License-Identifier: BSD-2-Clause */
/* warning.c -- tries core/qmgr/bounce.c in the whole of qmgr: a sender is told once that a mail is
 * late, and telling stands in nobody's way. */
#include "told.h"

/* Told once, in spite of more tries; a later end is reported under another number. */
static void warned_once(void **state)
{
	struct world *w = start(3600000);
	struct qmgr_rcpt *r;

	(void)state;
	world_mail(w, "S1", "me@example.org", "a@later.x b@later.x/8/");
	world_pass(w, 90000);
	assert_int_equal(w->ns, 1);
	assert_true(!strcmp(w->s[0].id, "S1-3") || !strcmp(w->s[0].id, "S1-4"));
	has(w->s[0].text, "Subject: Your mail is late\r\n");
	has(w->s[0].text, "a@later.x\r\nAction: delayed\r\n");
	has(w->s[0].text, "b@later.x\r\nAction: delayed\r\n");
	has(w->s[0].text, "Will-Retry-Until: Sun, 19 Nov 2023 22:13:20 +0000\r\n");
	r = &qmgr_msg_find(&w->q, "S1", 2)->rcpt[0];
	assert_int_equal(r->phase, QP_WAIT);
	assert_true(r->due > w->now);
	world_pass(w, 400000);
	assert_int_equal(w->ns, 2);
	assert_string_equal(w->s[1].id, "S1-1");
	has(w->s[1].text, "a@later.x\r\nAction: failed\r\nStatus: 4.4.7\r\n");
	assert_null(strstr(w->s[1].text, "b@later.x")); /* NOTIFY=DELAY alone */
	assert_int_equal(world_outcome(w, "S1", 0).state, META1_R_BOUNCED);
	assert_int_equal(world_outcome(w, "S1", 1).state, META1_R_FAILED);
	end(w);
}

/* With VERP each recipient's address is told once of that one, when it is tried. */
static void warned_each(void **state)
{
	static const char *const list[] = {"*", NULL};
	struct world *w;

	(void)state;
	world_verp = list;
	w = start(3600000);
	world_mail(w, "S1", "me@example.org", "a@later.x b@later.x c@one.example");
	world_pass(w, 3700);
	world_end(w, world_open(w, "one.example"), META1_TEMPFAIL, META1_ABOUT_MAIL, 450, "later");
	world_pass(w, 90000);
	assert_int_equal(w->ns, 3);
	has(w->s[0].text, "Action: delayed\r\n");
	assert_string_not_equal(w->s[0].to, w->s[1].to);
	assert_string_not_equal(w->s[0].to, w->s[2].to);
	assert_string_not_equal(w->s[1].to, w->s[2].to);
	end(w);
}

/* What waits in the dock of a dead destination is never tried, but its sender is told. */
static void late_at_a_dead_destination(void **state)
{
	struct world *w = start(3600000);
	struct delivery *d;
	unsigned i;

	(void)state;
	world_mail(w, "S1", "me@example.org", "a@one.example");
	world_run(w);
	world_end(
	    w, world_open(w, "one.example"), META1_TEMPFAIL, META1_ABOUT_HOST, 0, "no answer");
	world_run(w);
	world_mail(w, "S2", "you@example.org", "b@one.example");
	for (i = 0; i < 80; i++) {
		while ((d = world_open(w, "one.example")))
			world_end(w, d, META1_TEMPFAIL, META1_ABOUT_HOST, 0, "no answer");
		world_pass(w, 60);
	}
	assert_int_equal(w->ns, 2);
	for (i = 0; i < 2; i++) {
		has(w->s[i].text, "Action: delayed\r\n");
		has(w->s[i].text, "no answer");
	}
	assert_string_not_equal(w->s[0].to, w->s[1].to);
	end(w);
}

/* A full disk must not keep late mail from being tried. */
static void warning_without_room(void **state)
{
	struct world *w = start(3600000);

	(void)state;
	world_mail(w, "S1", "me@example.org", "a@later.x");
	world_pass(w, 3000);
	w->commit_fails = true;
	world_pass(w, 9000);
	assert_int_equal(w->ns, 0);
	assert_int_equal(qmgr_msg_find(&w->q, "S1", 2)->rcpt[0].phase, QP_WAIT);
	w->commit_fails = false;
	world_pass(w, 20000);
	assert_int_equal(w->ns, 1);
	end(w);
}

/* A stop waits for what is being written, and no longer, also when that fails. */
static void stop_in_a_warning(void **state)
{
	struct world *w = start(3600000);

	(void)state;
	world_mail(w, "S1", "me@example.org", "a@later.x");
	world_pass(w, 3000);
	w->store_holds = true;
	world_pass(w, 9000);
	assert_int_equal(qmgr_msg_find(&w->q, "S1", 2)->rcpt[0].phase, QP_INTENT);
	qmgr_role.stop(&w->q.role);
	world_run(w);
	assert_false(w->stopped);
	w->store_holds = false;
	w->commit_fails = true;
	world_run(w);
	assert_int_equal(w->ns, 0);
	assert_true(w->stopped);
	end(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(warned_once),
	    cmocka_unit_test(warned_each),
	    cmocka_unit_test(late_at_a_dead_destination),
	    cmocka_unit_test(warning_without_room),
	    cmocka_unit_test(stop_in_a_warning),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
