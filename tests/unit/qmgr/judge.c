/* SPDX-License-Identifier: BSD-2-Clause */
/* judge.c -- tries core/qmgr/judge.c in the whole of qmgr: what each answer of an smtps does to a
 * report, that none of them loses or doubles it, and what happens when nobody answers. */
#include "judged.h"

#include <stdio.h>

static void answers(void **state)
{
	static const struct {
		struct says says;
		unsigned stored; /* reports, after the first session */
		int fate;	 /* of the mail; 0: still to be reported */
	} t[] = {
	    {{0}, 1, META1_R_BOUNCED},
	    {{.end = "250-RCPT b@x\r\n250-HOLD f: odd\r\n250 2.0.0 report 2 7 7\r\nhello\r\n"}, 1,
		META1_R_BOUNCED},
	    /* the filters' word */
	    {{.end = "554 5.7.1 filter f: no\r\n"}, 0, META1_R_FAILED},
	    {{.end = "554-5.7.1 more\r\n554 5.7.1 filter f: no\r\n"}, 0, META1_R_FAILED},
	    {{.mail = "550 5.7.1 filter f: no\r\n"}, 0, META1_R_FAILED},
	    {{.rcpt = "550 5.7.1 filter f: no\r\n"}, 0, META1_R_FAILED},
	    {{.greeting = "554 filter f: no\r\n"}, 0, META1_R_FAILED},
	    {{.end = "250 2.0.0 discarded by f\r\n"}, 0, META1_R_FAILED},
	    /* for now, or the server's */
	    {{.greeting = "421 4.3.2 stopping\r\n"}, 0, 0},
	    {{.mail = "451 4.7.1 filter f: later\r\n"}, 0, 0},
	    {{.mail = "555 5.5.4 what\r\n"}, 0, 0},
	    {{.rcpt = "452 4.5.3 too many\r\n"}, 0, 0},
	    {{.rcpt = "550 5.1.1 who\r\n"}, 0, 0},
	    {{.data = "554 5.5.1 no recipients\r\n"}, 0, 0},
	    {{.end = "552 5.3.4 too large, filter f: no\r\n"}, 0, 0},
	    {{.end = "451 4.7.1 filter f: later\r\n"}, 0, 0},
	    /* no sense, or not all */
	    {{.greeting = ""}, 0, 0},
	    {{.greeting = "220\r\n"}, 0, 0},
	    {{.greeting = "hello\r\n"}, 0, 0},
	    {{.mail = "2x0 2.1.0 ok\r\n"}, 0, 0},
	    {{.end = "250 2.0.0 report 0 7 7\r\nhello\r\n"}, 0, 0},
	    {{.end = "250-RCPT b@x\r\n250 2.0.0 report 0 7\r\nhello\r\n"}, 0, 0},
	    {{.end = "250-RCPT b@x\r\n250 2.0.0 report 0 7 99999999\r\nhello\r\n"}, 0, 0},
	    {{.end = "250-RCPT b@x\r\n250 2.0.0 report 0 7 8\r\nhello\r\n"}, 0, 0},
	    {{.end = "250-RCPT b@x\r\n250 accepted\r\n"}, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct world *w = begin(true);
		struct says usual = {0};

		fails(w, "S1");
		assert_int_equal(w->ns, 0);
		assert_int_equal(world_outcome(w, "S1", 0).state, META1_R_WAITING); /* the intent */
		session(w, &t[i].says);
		if (w->ns != t[i].stored)
			fail_msg("row %zu: %u reports", i, w->ns);
		if (t[i].fate) {
			assert_int_equal(world_outcome(w, "S1", 0).state, t[i].fate);
			world_pass(w, 100);
			assert_true(w->filters < 0);
		} else {
			assert_int_equal(world_outcome(w, "S1", 0).state, META1_R_WAITING);
			world_pass(w, 31);
			session(w, &usual);
			assert_int_equal(w->ns, 1);
			assert_int_equal(world_outcome(w, "S1", 0).state, META1_R_BOUNCED);
		}
		if (w->ns) {
			assert_string_equal(w->s[0].text, "hello\r\n");
			assert_string_equal(w->s[0].id, "S1-1");
		}
		finish(w);
	}
}

/* None whose filters judge reports is there: it waits for one, for as long as a mail may wait. */
static void nobody_there(void **state)
{
	struct p_judges m = {.reports = true};
	struct says usual = {0};
	struct world *w = begin(false);

	(void)state;
	fails(w, "S1");
	world_pass(w, 100);
	assert_int_equal(w->ns, 0);
	/* one comes whose filters do */
	assert_true(chan_send(w->as_smtps, P_JUDGES, &m));
	world_run(w);
	session(w, &usual);
	assert_int_equal(w->ns, 1);
	finish(w);
	/* none ever comes: a report that met no filter is better than none */
	w = begin(false);
	fails(w, "S1");
	world_pass(w, 400000);
	assert_int_equal(w->ns, 0);
	world_pass(w, 60000);
	assert_int_equal(w->ns, 1);
	has(w->s[0].text, "Final-Recipient: rfc822; a@one.example\r\n");
	assert_int_equal(world_outcome(w, "S1", 0).state, META1_R_BOUNCED);
	finish(w);
}

static unsigned stored(struct world *w, unsigned n)
{
	unsigned i, done = 0;
	char id[16];

	for (i = 0; i < n; i++) {
		snprintf(id, sizeof(id), "S%u", i);
		done += world_outcome(w, id, 0).state == META1_R_BOUNCED;
	}
	return done;
}

static struct world *many_fail(unsigned n)
{
	struct world *w = begin(true);
	unsigned i;
	char id[16];

	for (i = 0; i < n; i++) {
		snprintf(id, sizeof(id), "S%u", i);
		fails(w, id);
		all_hear(w, "421 4.3.2 away\r\n");
	}
	return w;
}

/* Filters that are away are not run against, however many reports wait: some at first, then fewer
 * and fewer, at least one a minute; when they are back all go at once, and in a minute. */
static void away(void **state)
{
	static const char no[] = "451 4.7.1 failed filter f: it does not work\r\n";
	struct says usual = {0};
	enum { N = 200 };
	struct world *w = many_fail(N);
	unsigned at_first = w->sessions, sec;

	(void)state;
	assert_in_range(at_first, 1, QMGR_BACKOFF_ROW + QMGR_REPORTS_MAX);
	assert_in_range(tries(w, no, 60), 3, 7); /* 1 s, 2, 4, 8, 16, 32, less a fifth */
	tries(w, no, 60);
	assert_in_range(tries(w, no, 3600), 60, 75);
	assert_int_equal(stored(w, N), 0);
	for (sec = 0; stored(w, N) < N - 100 && sec < 61; sec++) {
		world_pass(w, 1);
		while (w->filters >= 0)
			session(w, &usual);
	}
	if (sec > 60)
		fail_msg(
		    "%u of %u are stored a minute after the filters came back", stored(w, N), N);
	finish(w);
}

/* A filter that works and wants reports later: each has a pause of its own, which grows, and no
 * other waits for it. */
static void not_now(void **state)
{
	static const char no[] = "451 4.7.1 filter f: later\r\n";
	struct says usual = {0};
	struct world *w = begin(true);
	unsigned i, at_first, later;
	char id[16];

	(void)state;
	for (i = 0; i < 30; i++) {
		snprintf(id, sizeof(id), "S%u", i);
		fails(w, id);
		all_hear(w, no);
	}
	at_first = tries(w, no, 3);
	assert_int_equal(w->sessions, 30); /* all of them, though each failed */
	at_first = tries(w, no, 297);
	assert_in_range(at_first, 60, 120); /* after 30 s, 90 s, 210 s */
	later = tries(w, no, 3600);
	assert_in_range(later, 120, 210);
	fails(w, "S30");
	session(w, &usual);
	assert_int_equal(world_outcome(w, "S30", 0).state, META1_R_BOUNCED);
	finish(w);
}

/* Filters were away, are back, and want reports later: all are asked about, each has a pause of its
 * own, and none waits for filters any more. */
static void back_but_not_now(void **state)
{
	enum { N = 40 };
	struct world *w = many_fail(N);
	unsigned asked;

	(void)state;
	assert_true(w->q.backoff.pause > 0);
	asked = tries(w, "451 4.7.1 filter f: later\r\n", 60);
	assert_in_range(asked, N, 3 * N);
	assert_int_equal(w->q.backoff.pause, 0);
	finish(w);
}

/* Filters are away for as long as a mail may wait: then all go out without them, also those that
 * were never tried for that. */
static void away_for_ever(void **state)
{
	enum { N = 60 };
	struct world *w = many_fail(N);
	unsigned i;

	(void)state;
	for (i = 0; i < 60 * 80 && stored(w, N) < N; i++) {
		world_pass(w, 120);
		all_hear(w, "421 4.3.2 away\r\n");
		if (i == 60 * 24)
			assert_int_equal(stored(w, N), 0);
	}
	assert_int_equal(stored(w, N), N);
	assert_true(w->q.backoff.pause > 0); /* what went out unjudged says nothing of filters */
	finish(w);
}

/* Filters are away: mail that is late and whose sender cannot be told so goes on being tried. */
static void away_and_late(void **state)
{
	struct world *w = begin_late(true, 3600000);
	unsigned i;
	char id[16];

	(void)state;
	for (i = 0; i < 8; i++) {
		snprintf(id, sizeof(id), "S%u", i);
		fails(w, id);
		all_hear(w, "421 4.3.2 away\r\n");
	}
	for (i = 0; i < 8; i++) {
		snprintf(id, sizeof(id), "L%u", i);
		world_mail_to(w, id, "a@later.x");
	}
	tries(w, "421 4.3.2 away\r\n", 3000);
	i = world_outcome(w, "L0", 0).tries;
	assert_in_range(i, 1, 8);
	world_pass(w, 4000); /* the gate's probe hangs at a filter */
	assert_in_range(world_outcome(w, "L7", 0).tries, i + 1, 20);
	assert_null(strstr(world_outcome(w, "L7", 0).reason, "warned"));
	finish(w);
}

/* A warning that a mail is late, which filters cannot judge now, is given up until the next try;
 * one that they refuse is not said again. */
static void late(void **state)
{
	struct says later = {.end = "451 4.7.1 filter f: later\r\n"},
		    never = {.end = "550 5.7.1 filter f: no\r\n"};
	struct world *w = begin_late(true, 3600000);
	unsigned asked;

	(void)state;
	world_mail_to(w, "S1", "a@later.x");
	world_pass(w, 8000);
	session(w, &later);
	assert_int_equal(w->ns, 0);
	assert_int_equal(world_outcome(w, "S1", 0).state, META1_R_WAITING);
	world_pass(w, 8000);
	session(w, &never);
	assert_non_null(strstr(world_outcome(w, "S1", 0).reason, "warned"));
	asked = w->sessions;
	world_pass(w, 30000);
	assert_int_equal(w->sessions, asked);
	assert_int_equal(w->ns, 0);
	finish(w);
}

/* What a report is due of stays in memory, however little of it there is: others leave it, and
 * nobody looks for them again and again. */
static void short_of_memory(void **state)
{
	struct says usual = {0};
	struct world *w = begin(true);

	(void)state;
	fails(w, "S1");
	w->q.lim.loaded = 0;
	world_mail_to(w, "S2", "a@later.x");
	world_run(w);
	assert_non_null(qmgr_msg_find(&w->q, "S1", 2));
	assert_null(qmgr_msg_find(&w->q, "S2", 2));
	assert_false(task_pending(&w->q.pump));
	session(w, &usual);
	assert_int_equal(w->ns, 1);
	finish(w);
}

/* The store cannot take what filters have let pass: they are asked again, and it is one. */
static void no_space(void **state)
{
	struct says usual = {0};
	struct world *w = begin(true);

	(void)state;
	fails(w, "S1");
	w->commit_fails = true;
	session(w, &usual);
	assert_int_equal(w->ns, 0);
	w->commit_fails = false;
	world_pass(w, 31);
	session(w, &usual);
	assert_int_equal(w->ns, 1);
	assert_int_equal(world_outcome(w, "S1", 0).state, META1_R_BOUNCED);
	finish(w);
}

/* qmgr stops while a filter has it: nobody waits for the filter. */
static void stopped(void **state)
{
	struct world *w = begin(true);

	(void)state;
	fails(w, "S1");
	say(w, "220 x\r\n");
	assert_int_equal(w->ns, 0);
	finish(w); /* looks that it has stopped, with no time gone by */
}

/* That they are given up then is no fault of filters. */
static void stopped_with_many(void **state)
{
	struct world *w = begin(true);
	unsigned i;

	(void)state;
	for (i = 0; i < QMGR_BACKOFF_ROW; i++) {
		char id[16];

		snprintf(id, sizeof(id), "S%u", i);
		fails(w, id);
	}
	assert_int_equal(w->sessions, QMGR_BACKOFF_ROW);
	w->q.role.stop(&w->q.role);
	world_run(w);
	assert_true(w->stopped);
	assert_int_equal(w->q.backoff.pause, 0);
	finish(w);
}

/* It stops with more reports due than are judged at a time: none of the others is begun, so that
 * what is being stored is all that is waited for. */
static void stopped_with_more(void **state)
{
	struct says usual = {0};
	struct world *w = begin(true);
	unsigned i;

	(void)state;
	for (i = 0; i < QMGR_REPORTS_MAX + 8; i++) {
		char id[16];

		snprintf(id, sizeof(id), "S%u", i);
		fails(w, id);
	}
	world_pass(w, 2);
	assert_int_equal(w->nbefore, QMGR_REPORTS_MAX - 1);
	w->store_holds = true;
	session(w, &usual); /* its commit is under way */
	w->q.role.stop(&w->q.role);
	world_run(w);
	assert_false(w->stopped);
	assert_int_equal(w->sessions, QMGR_REPORTS_MAX);
	w->store_holds = false;
	world_run(w);
	assert_true(w->stopped);
	finish(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(answers),
	    cmocka_unit_test(nobody_there), cmocka_unit_test(away), cmocka_unit_test(not_now),
	    cmocka_unit_test(back_but_not_now), cmocka_unit_test(away_for_ever),
	    cmocka_unit_test(away_and_late), cmocka_unit_test(late),
	    cmocka_unit_test(short_of_memory), cmocka_unit_test(no_space),
	    cmocka_unit_test(stopped), cmocka_unit_test(stopped_with_many),
	    cmocka_unit_test(stopped_with_more)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
