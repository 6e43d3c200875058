/* SPDX-License-Identifier: BSD-2-Clause */
/* rules.c -- tries core/qmgr/rules.c: what a result means, and when the next try is. */
#include "../unit.h"
#include "qmgr/qmgr.h"

#define MIN  60000LL
#define HOUR (60 * MIN)

static const struct qmgr_limits lim = {
    .min_retry = 5 * MIN, .max_retry = 4 * HOUR, .max_queue = 120 * HOUR};

#define MAIL	META1_ABOUT_MAIL
#define SESSION META1_ABOUT_SESSION
#define HOST	META1_ABOUT_HOST

static void outcomes(void **state)
{
	static const struct {
		struct qmgr_case c;
		enum qmgr_verdict verdict;
		bool blame, expired;
	} row[] = {
	    {{META1_OK, MAIL, 0, 0, 0, 0}, QV_DONE, 0, 0},
	    {{META1_OK, MAIL, 0, 999 * HOUR, 0, 0}, QV_DONE, 0, 0},
	    {{META1_PERMFAIL, MAIL, 0, 0, 0, 0}, QV_BOUNCE, 1, 0},
	    {{META1_PERMFAIL, MAIL, 0, 999 * HOUR, 0, 0}, QV_BOUNCE, 1, 0},
	    {{META1_PERMFAIL, HOST, 0, 0, 0, 0}, QV_WAIT, 0, 0},
	    {{META1_PERMFAIL, HOST, 0, 120 * HOUR, 0, 0}, QV_BOUNCE, 0, 1},
	    {{META1_TEMPFAIL, MAIL, 0, 0, 0, 0}, QV_WAIT, 1, 0},
	    {{META1_TEMPFAIL, MAIL, 0, 120 * HOUR - 1, 0, 0}, QV_WAIT, 1, 0},
	    {{META1_TEMPFAIL, MAIL, 0, 120 * HOUR, 0, 0}, QV_BOUNCE, 0, 1},
	    {{META1_TEMPFAIL, HOST, 0, 0, 0, 0}, QV_WAIT, 0, 0},
	    {{META1_TEMPFAIL, HOST, 1, 0, HOUR, 0}, QV_WAIT, 0, 0},
	    {{META1_TEMPFAIL, SESSION, 0, 0, 0, 0}, QV_AGAIN, 0, 0},
	    {{META1_TEMPFAIL, SESSION, 1, 0, 0, 0}, QV_WAIT, 0, 0},
	    {{META1_CANCELED, MAIL, 0, 0, 0, 0}, QV_WAIT, 1, 0},
	    {{META1_CANCELED, SESSION, 1, 0, 0, 0}, QV_AGAIN, 0, 0},
	    {{META1_CANCELED, SESSION, 0, 120 * HOUR, 0, 0}, QV_AGAIN, 0, 0},
	    {{(enum meta1_status)77, MAIL, 0, 0, 0, 0}, QV_WAIT, 1, 0},
	};
	unsigned i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(row); i++) {
		struct qmgr_ruling r = qmgr_rules_judge(&lim, &row[i].c);

		if (r.verdict != row[i].verdict || r.blame != row[i].blame ||
		    r.expired != row[i].expired)
			fail_msg("row %u: verdict %d blame %d expired %d", i, r.verdict, r.blame,
			    r.expired);
		if (r.verdict == QV_WAIT)
			assert_true(r.delay > 0);
	}
}

static void delays(void **state)
{
	static const struct {
		int64_t age, want;
	} row[] = {{0, 5 * MIN}, {MIN, 5 * MIN}, {5 * MIN, 5 * MIN}, {10 * MIN, 10 * MIN},
	    {HOUR, HOUR}, {4 * HOUR, 4 * HOUR}, {100 * HOUR, 4 * HOUR}};
	unsigned i;
	uint32_t dice;

	(void)state;
	for (i = 0; i < ARRAY_LEN(row); i++) {
		int64_t low = INT64_MAX, high = 0;

		for (dice = 0; dice < 4096; dice++) {
			int64_t d = qmgr_rules_delay(&lim, row[i].age, dice * 2654435761u);

			low = d < low ? d : low;
			high = d > high ? d : high;
		}
		assert_in_range(low, row[i].want * 9 / 10, row[i].want * 92 / 100);
		assert_in_range(high, row[i].want * 108 / 100, row[i].want * 11 / 10);
	}
}

/* Ages at the tries of one recipient that is always deferred: they grow, and the last try
 * is at the end of its time. */
static void a_whole_life(void **state)
{
	struct qmgr_case c = {.status = META1_TEMPFAIL, .scope = META1_ABOUT_MAIL, .dice = 512};
	struct qmgr_ruling r;
	int64_t before = 0;
	int n = 0;

	(void)state;
	while ((r = qmgr_rules_judge(&lim, &c)).verdict == QV_WAIT) {
		if (c.age + r.delay < lim.max_queue)
			assert_true(r.delay >= before);
		before = r.delay;
		c.age += r.delay;
		n++;
	}
	assert_true(r.expired);
	assert_in_range(c.age, lim.max_queue, lim.max_queue + lim.min_retry);
	assert_in_range(n, 30, 50);
}

static void hosts(void **state)
{
	struct qmgr_case c = {.status = META1_TEMPFAIL, .scope = META1_ABOUT_HOST};

	(void)state;
	assert_int_equal(qmgr_rules_judge(&lim, &c).delay, MIN); /* it lives: soon again */
	c.dead_for = 30 * MIN;
	assert_int_equal(qmgr_rules_judge(&lim, &c).delay, 30 * MIN);
	c.dice = 1023;
	assert_in_range(qmgr_rules_judge(&lim, &c).delay, 32 * MIN, 33 * MIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(outcomes),
	    cmocka_unit_test(delays),
	    cmocka_unit_test(a_whole_life),
	    cmocka_unit_test(hosts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
