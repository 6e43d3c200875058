/* SPDX-License-Identifier: BSD-2-Clause */
/* given_up.c -- tries core/qmgr/bounce.c and backoff.c in the whole of qmgr: what becomes of a
 * report that filters do not want now, or cannot be asked about, beside others that wait. */
#include "judged.h"

#include <stdio.h>

/* As many on their way to one destination as may be, and one more, S0, that waits for room there.
 */
static struct world *full(size_t loaded)
{
	struct world *w = begin_late(true, 3600000);
	unsigned i, n = w->q.sched.share;
	char id[16];

	for (i = n + 1; i > 0; i--) {
		snprintf(id, sizeof(id), "S%u", i - 1);
		world_mail_to(w, id, "a@one.example");
		world_run(w);
	}
	w->q.lim.loaded = loaded;
	world_run(w);
	return w;
}

/* A warning that a filter does not want now is not begun again at once, however often the mail is
 * looked at; its mail waits for room as before, and goes when there is some. */
static void full_and_late(size_t loaded)
{
	static const struct says later = {.end = "451 4.7.1 filter f: later\r\n"};
	struct world *w = full(loaded);
	struct delivery *d;
	unsigned i;

	world_pass(w, 3598);
	assert_int_equal(w->sessions, 0);
	world_pass(w, 4);
	session(w, &later);
	assert_int_equal(w->sessions, 1);
	if (loaded) {
		world_act(w, "/v1/queue/flush", "id", "S0");
		world_run(w);
		assert_int_equal(w->sessions, 1);
	}
	world_pass(w, 29);
	assert_int_equal(w->sessions, 1);
	world_pass(w, 2);
	world_act(w, "/v1/queue/flush", "id", "S0"); /* it is looked at: there still is no room */
	world_run(w);
	session(w, &later);
	assert_int_equal(w->sessions, 2);
	for (i = 0; i < 40 && (d = world_open(w, "one.example")); i++) {
		bool it = !strcmp(d->id, "S0");

		world_end(w, d, META1_OK, META1_ABOUT_MAIL, 250, "ok");
		world_run(w);
		if (it)
			break;
	}
	assert_int_equal(world_outcome(w, "S0", 0).state, META1_R_DELIVERED);
	assert_int_equal(w->sessions, 2);
	finish(w);
}

static void warning(void **state)
{
	(void)state;
	full_and_late(WORLD_MEMORY);
}

static void warning_without_memory(void **state)
{
	(void)state;
	full_and_late(0);
}

static int state_of(struct world *w, unsigned i)
{
	char id[16];

	snprintf(id, sizeof(id), "S%u", i);
	return (int)world_outcome(w, id, 0).state;
}

/* So many reports, of which the first QMGR_BACKOFF_ROW could not be written. */
static void many(struct world *w, unsigned n, const struct says *says)
{
	char id[16];
	unsigned i;

	for (i = 0; i < n; i++) {
		snprintf(id, sizeof(id), "S%u", i);
		fails(w, id);
		if (i < QMGR_BACKOFF_ROW)
			session(w, says);
	}
	assert_int_equal(w->sessions, QMGR_BACKOFF_ROW);
	assert_true(w->q.backoff.pause > 0);
}

/* Filters are away, and the one report that tries hangs there: those whose time is over go without
 * filters a minute later, also behind one whose time is not over, and however many others come. */
static void overdue(void **state)
{
	static const struct says no = {.greeting = "421 4.3.2 away\r\n"};
	struct world *w = begin_late(true, 0);
	unsigned i;
	char id[16];

	(void)state;
	w->q.lim.max_queue = 3600000;
	many(w, 8, &no);
	world_pass(w, 2);
	assert_int_equal(w->sessions, QMGR_BACKOFF_ROW + 1); /* S5 tries */
	assert_string_equal(w->q.backoff.wait[0]->msg->id, "S6");
	w->q.backoff.wait[0]->judged_since += 1000000; /* as if it had begun later */
	for (i = 0; i < 124; i++) {
		snprintf(id, sizeof(id), "T%u", i);
		fails(w, id);
		world_pass(w, 30);
		assert_true(i > 110 || w->ns == 0);
	}
	for (i = 0; i < 8; i++)
		assert_int_equal(
		    state_of(w, i), i == 5 || i == 6 ? META1_R_WAITING : META1_R_BOUNCED);
	finish(w);
}

/* The store takes nothing for longer than filters have time: that is not their fault, and nothing
 * goes without them. */
static void not_for_filters(void **state)
{
	static const struct says usual = {0};
	struct world *w = begin_late(true, 0);
	unsigned i;

	(void)state;
	w->q.lim.max_queue = 100000;
	w->commit_fails = true;
	many(w, 8, &usual);
	w->commit_fails = false;
	world_pass(w, 300); /* S5 tries, and hangs */
	assert_int_equal(w->ns, 0);
	while (w->filters >= 0)
		session(w, &usual);
	assert_int_equal(w->ns, 8);
	for (i = 0; i < w->ns; i++)
		assert_string_equal(w->s[i].text, "hello\r\n");
	finish(w);
}

/* One that filters judged, and that the store did not take, has not waited for filters: when they
 * are away afterwards they have all their time. */
static void judged_but_not_stored(void **state)
{
	static const struct says usual = {0};
	struct world *w = begin_late(true, 0);

	(void)state;
	w->q.lim.max_queue = 80000;
	w->commit_fails = true;
	fails(w, "S1");
	session(w, &usual);
	world_pass(w, 31);
	session(w, &usual);
	w->commit_fails = false;
	world_pass(w, 61);
	all_hear(w, "421 4.3.2 away\r\n");
	assert_int_equal(w->sessions, 3);
	assert_int_equal(w->ns, 0);
	world_pass(w, 61 + 61);
	session(w, &usual);
	assert_int_equal(w->ns, 1);
	assert_string_equal(w->s[0].text, "hello\r\n");
	finish(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(warning),
	    cmocka_unit_test(warning_without_memory),
	    cmocka_unit_test(overdue),
	    cmocka_unit_test(not_for_filters),
	    cmocka_unit_test(judged_but_not_stored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
