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

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(warning),
	    cmocka_unit_test(warning_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
