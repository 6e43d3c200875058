/* SPDX-License-Identifier: BSD-2-Clause */
/* Unit test of the pure parts of the chain: conditions, breaker, what a failure means, latencies.
 */
#include "../unit.h"
#include "smtps/chain.h"

#include <stdio.h>

/* ---- conditions ---- */

static const char *const list[] = {
    "a@b.example", "c.example", ".d.example", "<>", "b\303\274cher.example", NULL};

static void addresses(void **state)
{
	static const struct {
		const char *addr;
		bool want;
	} t[] = {{"a@b.example", true}, {"A@B.Example", true}, {"x@b.example", false},
	    {"x@c.example", true}, {"x@C.EXAMPLE", true}, {"x@c.example.", true},
	    {"x@sub.c.example", false}, {"x@d.example", false}, {"x@s.d.example", true},
	    {"x@t.s.D.example", true}, {"x@sd.example", false}, {"", true},
	    {"x@xn--bcher-kva.example", true}, {"x@B\303\234CHER.example", true},
	    {"c.example", false}, {"\"a@c.example\"@e.example", false}, {"x@", false}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		if (chain_when_listed(list, buf_str(t[i].addr)) != t[i].want)
			fail_msg("%s", t[i].addr);
	assert_false(chain_when_listed(NULL, buf_str("")));
}

static const char *const submission[] = {"submission", NULL};
static const char *const nets[] = {"192.0.2.0/24", "unix", NULL};

#define ALL (CHAIN_K_MAIL | CHAIN_K_RCPT | CHAIN_K_SIZE)
static const struct {
	struct set_filter set;
	struct chain_facts f;
	enum chain_is is;
	const char *cause;
} whens[] = {
    {{.fails = 0}, {.known = 0}, CHAIN_YES, NULL},
    {{.listeners = submission}, {.listener = "Submission"}, CHAIN_YES, NULL},
    {{.listeners = submission}, {.listener = "mx"}, CHAIN_NO, "listeners"},
    {{.listeners = submission}, {.listener = NULL}, CHAIN_OPEN, NULL},
    {{.clients = nets}, {.client = "192.0.2.9"}, CHAIN_YES, NULL},
    {{.clients = nets}, {.client = "unix"}, CHAIN_YES, NULL},
    {{.clients = nets}, {.client = "192.0.3.9"}, CHAIN_NO, "clients"},
    {{.authenticated = FILTER_AUTH_YES}, {.known = 0}, CHAIN_OPEN, NULL},
    {{.authenticated = FILTER_AUTH_YES}, {.known = ALL, .authenticated = true}, CHAIN_YES, NULL},
    {{.authenticated = FILTER_AUTH_YES}, {.known = ALL}, CHAIN_NO, "authenticated"},
    {{.authenticated = FILTER_AUTH_NO}, {.known = ALL}, CHAIN_YES, NULL},
    {{.authenticated = FILTER_AUTH_NO}, {.known = ALL, .authenticated = true}, CHAIN_NO,
	"authenticated"},
    {{.senders = list}, {.known = 0}, CHAIN_OPEN, NULL},
    {{.senders = list}, {.known = CHAIN_K_MAIL, .from = {"x@c.example", 11}}, CHAIN_YES, NULL},
    {{.senders = list}, {.known = CHAIN_K_MAIL, .from = {"x@e.example", 11}}, CHAIN_NO, "senders"},
    {{.recipients = list}, {.known = CHAIN_K_MAIL}, CHAIN_OPEN, NULL},
    {{.recipients = list}, {.known = ALL, .rcpt = true}, CHAIN_YES, NULL},
    {{.recipients = list}, {.known = ALL}, CHAIN_NO, "recipients"},
    {{.min_size = 10}, {.known = CHAIN_K_MAIL | CHAIN_K_RCPT}, CHAIN_OPEN, NULL},
    {{.min_size = 10}, {.known = ALL, .bytes = 9}, CHAIN_NO, "min_size"},
    {{.min_size = 10}, {.known = ALL, .bytes = 10}, CHAIN_YES, NULL},
    {{.max_size = 10}, {.known = ALL, .bytes = 11}, CHAIN_NO, "max_size"},
    {{.max_size = 10}, {.known = ALL, .bytes = 10}, CHAIN_YES, NULL},
    {{.max_size = 10, .listeners = submission}, {.listener = "mx"}, CHAIN_NO, "listeners"},
};

static void conditions(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(whens); i++) {
		struct chain_when w;
		const char *cause;

		chain_when_open(&w, &whens[i].set);
		cause = chain_when_cause(&w, &whens[i].f);
		if (chain_when(&w, &whens[i].f) != whens[i].is ||
		    (cause == NULL) != (whens[i].cause == NULL) ||
		    (cause != NULL && strcmp(cause, whens[i].cause) != 0))
			fail_msg("row %zu", i);
		chain_when_close(&w);
	}
}

/* ---- the breaker, by a clock of its own ---- */

static void breaker(void **state)
{
	struct chain_breaker b = {.failures = 0};
	int64_t now = 1000000;

	(void)state;
	for (int i = 0; i < CHAIN_ROW - 1; i++)
		assert_false(chain_breaker_failed(&b, META1_PM_MAIL, now, false));
	assert_int_equal(chain_breaker_pass(&b, now), CHAIN_GO);
	chain_breaker_worked(&b, META1_PM_HELO); /* it greets, and fails at MAIL: no cure */
	chain_breaker_worked(&b, META1_PM_UNKNOWN);
	chain_breaker_worked(&b, META1_PM_REFUSED);
	assert_int_equal(b.failures, CHAIN_ROW - 1);
	assert_true(chain_breaker_failed(&b, META1_PM_MAIL, now, false));
	assert_string_equal(chain_breaker_state(&b, now), "open");
	assert_int_equal(chain_breaker_pass(&b, now + CHAIN_PAUSE_MIN - 1), CHAIN_SPARED);
	/* a session that began before reports late: nothing is prolonged */
	assert_false(chain_breaker_failed(&b, META1_PM_MAIL, now + 10, false));
	now += CHAIN_PAUSE_MIN;
	assert_string_equal(chain_breaker_state(&b, now), "probing");
	assert_int_equal(chain_breaker_pass(&b, now), CHAIN_PROBES);
	assert_int_equal(chain_breaker_pass(&b, now), CHAIN_SPARED); /* one only */
	assert_int_equal(chain_breaker_pass(&b, now + CHAIN_PROBE), CHAIN_PROBES);
	chain_breaker_left(&b);
	assert_int_equal(chain_breaker_pass(&b, now), CHAIN_PROBES);
	for (int64_t pause = 2 * CHAIN_PAUSE_MIN; pause < 3 * CHAIN_PAUSE_MAX; pause *= 2) {
		int64_t want = pause < CHAIN_PAUSE_MAX ? pause : CHAIN_PAUSE_MAX;

		assert_false(chain_breaker_failed(&b, META1_PM_MAIL, now, false));
		assert_int_equal(b.pause, want);
		assert_int_equal(chain_breaker_pass(&b, now + want - 1), CHAIN_SPARED);
		now += want;
		assert_int_equal(chain_breaker_pass(&b, now), CHAIN_PROBES);
	}
	chain_breaker_worked(&b, META1_PM_MAIL);
	assert_int_equal(chain_breaker_pass(&b, now), CHAIN_GO);
	assert_string_equal(chain_breaker_state(&b, now), "closed");
	assert_int_equal(b.failures, 0);
	/* flags = { accept }: the first one is the last */
	assert_true(chain_breaker_failed(&b, META1_PM_MAIL, now, true));
	chain_breaker_worked(&b, META1_PM_END);
	assert_int_equal(chain_breaker_pass(&b, INT64_MAX), CHAIN_SPARED);
	assert_string_equal(chain_breaker_state(&b, now), "shut");
}

static void failures(void **state)
{
	static const struct {
		int32_t fails;
		uint32_t stage;
		int smtp; /* 0: nothing; 1: a hold */
	} t[] = {{FAILURE_ABORT, META1_PM_CONNECT, 421}, {FAILURE_ABORT, META1_PM_END, 421},
	    {FAILURE_ABORT, META1_PM_REFUSED, 0}, {FAILURE_TEMPFAIL, META1_PM_CONNECT, 0},
	    {FAILURE_TEMPFAIL, META1_PM_HELO, 0}, {FAILURE_TEMPFAIL, META1_PM_MAIL, 451},
	    {FAILURE_TEMPFAIL, META1_PM_RCPT, 451}, {FAILURE_TEMPFAIL, META1_PM_END, 451},
	    {FAILURE_REJECT, META1_PM_DATA, 554}, {FAILURE_QUARANTINE, META1_PM_DATA, 0},
	    {FAILURE_QUARANTINE, META1_PM_END, 1}, {FAILURE_ACCEPT, META1_PM_END, 0},
	    {FAILURE_ACCEPT_BUT_RECONNECT, META1_PM_MAIL, 0}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct set_filter set = {.fails = t[i].fails};
		struct meta1_pm_verdict v = {.size = 0};
		bool says = chain_fail_verdict(&set, t[i].stage, "dead", &v);

		assert_int_equal(says, t[i].smtp != 0);
		assert_int_equal(v.smtp, t[i].smtp > 1 ? t[i].smtp : 0);
		assert_int_equal(v.hold != NULL, t[i].smtp == 1);
		if (says)
			assert_null(chain_verdict_fault(&v, t[i].stage));
	}
}

/* ---- verdicts that are none ---- */

static void nonsense(void **state)
{
	static const struct meta1_pm_edit e = {.kind = META1_PM_ADD_HEADER};
#define V(...)                                                                                     \
	{                                                                                          \
		.size = sizeof(struct meta1_pm_verdict), .sizeof_edit = sizeof(e), __VA_ARGS__     \
	}
	const struct {
		struct meta1_pm_verdict v;
		uint32_t stage;
		bool good;
	} t[] = {
	    {V(.action = META1_PM_CONTINUE), META1_PM_MAIL, true},
	    {V(.action = 4), META1_PM_MAIL, false},
	    {V(.action = META1_PM_REFUSE, .smtp = 250), META1_PM_MAIL, false},
	    {V(.action = META1_PM_REFUSE, .smtp = 600), META1_PM_MAIL, false},
	    {V(.action = META1_PM_REFUSE, .smtp = 599), META1_PM_MAIL, true},
	    {V(.action = META1_PM_REFUSE), META1_PM_CONNECT, true},
	    {V(.action = META1_PM_REFUSE, .nline = 1), META1_PM_MAIL, false},
	    {V(.action = META1_PM_DISCARD), META1_PM_HELO, false},
	    {V(.action = META1_PM_DISCARD), META1_PM_RCPT, true},
	    {V(.action = META1_PM_CONTINUE, .nedit = 1, .edit = &e), META1_PM_END, true},
	    {V(.action = META1_PM_CONTINUE, .nedit = 1, .edit = &e), META1_PM_DATA, false},
	    {V(.action = META1_PM_CONTINUE, .nedit = 1), META1_PM_END, false},
	    {V(.action = META1_PM_REFUSE, .nedit = 1, .edit = &e), META1_PM_END, false},
	    {V(.action = META1_PM_CONTINUE, .hold = "x"), META1_PM_END, true},
	    {V(.action = META1_PM_CONTINUE, .hold = "x"), META1_PM_MAIL, false},
	    {{.size = 8, .action = META1_PM_CONTINUE}, META1_PM_END, false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		if ((chain_verdict_fault(&t[i].v, t[i].stage) == NULL) != t[i].good)
			fail_msg("row %zu", i);
}

/* ---- latencies ---- */

static void near(uint64_t is, uint64_t want)
{
	if (is < want - want / 6 || is > want + want / 6)
		fail_msg("%llu, expected %llu", (unsigned long long)is, (unsigned long long)want);
}

static void latencies(void **state)
{
	static struct chain_times t;

	(void)state;
	assert_int_equal(chain_times_part(&t, 50), 0);
	chain_times_add(&t, 0);
	assert_int_equal(chain_times_part(&t, 99), 1);
	memset(&t, 0, sizeof(t));
	for (uint64_t us = 1; us <= 1000; us++)
		chain_times_add(&t, us * 100);
	near(chain_times_part(&t, 50), 50000);
	near(chain_times_part(&t, 99), 99000);
	near(chain_times_part(&t, 1), 1000);
	chain_times_add(&t, UINT64_MAX);
	near(chain_times_part(&t, 100), 251658240);
	for (int i = 0; i < 60000; i++) /* what was long ago fades */
		chain_times_add(&t, 7);
	assert_int_equal(chain_times_part(&t, 99), 7);
	assert_true(t.n <= 10000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(addresses),
	    cmocka_unit_test(conditions), cmocka_unit_test(breaker), cmocka_unit_test(failures),
	    cmocka_unit_test(nonsense), cmocka_unit_test(latencies)};

	return cmocka_run_group_tests_name("chain_pure", tests, NULL, NULL);
}
