/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Unit test of core/smtps/chain_judge.c through chain.c: filters that fail, that are not meant,
 * that only look on, and clients that go away, with the scripted filters of chain_unit.h.
 */
#include "chain_unit.h"

static struct meta1_pm_edit add_a = {
    .kind = META1_PM_ADD_HEADER, .name = {"A", 1}, .value = {"1", 1}};

/* ---- failures ---- */

static const struct {
	int32_t fails;
	int connect, mail, end, second; /* second: MAIL of the next mail, when it works again */
} fails[] = {
    {FAILURE_ABORT, 421, 0, 0, 0},
    {FAILURE_ACCEPT, 0, 0, 0, 0},
    {FAILURE_ACCEPT_BUT_RECONNECT, 0, 0, 0, 0},
    {FAILURE_TEMPFAIL, 0, 451, 451, 0},
    {FAILURE_REJECT, 0, 554, 554, 0},
    {FAILURE_QUARANTINE, 0, 0, 1000, 0},
};

/* It fails at the connect; what it means, it means to mails. */
static void fails_first(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(fails); i++) {
		f.set[0].fails = fails[i].fails;
		script_line(0, 0, META1_PM_CONNECT, SAYS_TEMPFAIL, VERDICT(.action = 0));
		start(2);
		assert_int_equal(says(META1_PM_CONNECT, NULL), fails[i].connect);
		calls("a:connect b:connect a.end");
		if (fails[i].connect == 0) {
			assert_int_equal(says(META1_PM_HELO, "x"), 0);
			assert_int_equal(says(META1_PM_MAIL, "a@b"), fails[i].mail);
			assert_int_equal(says(META1_PM_END, NULL), fails[i].end);
			smtps_chain_reset(f.j);
			f.calls[0] = '\0';
			script[0].line[0].stage = 0; /* it works again */
			assert_int_equal(says(META1_PM_MAIL, "a@b"), fails[i].second);
			if (f.set[0].fails >= FAILURE_TEMPFAIL)
				calls("a:connect b:mail a:helo a:mail");
			else
				calls("b:mail"); /* not in this session */
			smtps_chain_end(&f.j);
			f.j = smtps_chain_begin(f.chain, &f.about);
			f.calls[0] = '\0';
			says(META1_PM_CONNECT, NULL);
			if (f.set[0].fails == FAILURE_ACCEPT)
				calls("b:connect"); /* not before a reload */
			else
				calls("a:connect b:connect");
		}
		smtps_chain_end(&f.j);
		smtps_chain_free(&f.chain);
		turns();
		f.calls[0] = '\0';
	}
}

/* At the end of a mail, by silence; the other filter's session goes on. */
static void silent_at_the_end(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(fails); i++) {
		int want = fails[i].fails == FAILURE_ABORT ? 421 : fails[i].end;

		f.set[0].fails = fails[i].fails;
		script_line(0, 0, META1_PM_END, SAYS_LATER, VERDICT(.action = 0));
		start(2);
		says(META1_PM_MAIL, "a@b");
		question(META1_PM_END, NULL);
		clock_on(4999);
		assert_int_equal(f.answers, 0);
		f.calls[0] = '\0';
		clock_on(1);
		calls("a.cancel a.end");
		assert_int_equal(f.answers, 1);
		if (want == 1000)
			assert_string_equal(f.a.hold, "no answer within 5000 ms");
		else
			assert_int_equal(f.a.action == META1_PM_REFUSE ? f.a.smtp : 0, want);
		assert_int_equal(f.chain->filter[0].stats->count[CHAIN_C_FAILED], 1);
		smtps_chain_reset(f.j);
		calls("b.reset");
		smtps_chain_end(&f.j);
		smtps_chain_free(&f.chain);
		turns();
		f.calls[0] = '\0';
	}
}

/* After five failures in a row nobody waits for it, until one session finds it well. */
static void spared(void **state)
{
	(void)state;
	f.set[0].fails = FAILURE_QUARANTINE;
	script_line(0, 0, META1_PM_CONNECT, SAYS_TEMPFAIL, VERDICT(.action = 0));
	start(1);
	for (int i = 0; i < CHAIN_ROW; i++) {
		if (i > 0)
			f.j = smtps_chain_begin(f.chain, &f.about);
		says(META1_PM_CONNECT, NULL);
		smtps_chain_end(&f.j);
	}
	f.calls[0] = '\0';
	f.j = smtps_chain_begin(f.chain, &f.about);
	says(META1_PM_CONNECT, NULL);
	says(META1_PM_MAIL, "a@b");
	assert_int_equal(says(META1_PM_END, NULL), 1000);
	assert_string_equal(f.a.hold, "broken pipe");
	calls("");
	smtps_chain_reset(f.j);
	script[0].line[0].stage = 0;
	clock_on(CHAIN_PAUSE_MIN);
	says(META1_PM_MAIL, "a@b"); /* this mail tries it */
	assert_int_equal(says(META1_PM_END, NULL), META1_PM_CONTINUE);
	calls("a:connect a:helo a:mail a:end");
	assert_string_equal(
	    chain_breaker_state(&f.chain->filter[0].breaker, loop_now(f.host.loop)), "closed");
}

/* What a mail is does not shut the filter for others, nor lets the client's next one past it. */
static void unable(void **state)
{
	static const int32_t how[] = {
	    FAILURE_ACCEPT, FAILURE_ACCEPT_BUT_RECONNECT, FAILURE_TEMPFAIL, FAILURE_QUARANTINE};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(how); i++) {
		f.set[0].fails = how[i];
		script_line(0, 0, META1_PM_END, SAYS_UNABLE, VERDICT(.action = 0));
		start(1);
		for (int k = 0; k < 2 * CHAIN_ROW; k++) {
			f.calls[0] = '\0';
			says(META1_PM_MAIL, "a@b");
			assert_int_equal(says(META1_PM_END, NULL), how[i] == FAILURE_TEMPFAIL ? 451
								   : how[i] == FAILURE_QUARANTINE
								       ? 1000
								       : META1_PM_CONTINUE);
			calls("a:connect a:helo a:mail a:end a.end");
			smtps_chain_reset(f.j);
		}
		assert_int_equal(f.chain->filter[0].breaker.failures, 0);
		smtps_chain_end(&f.j);
		smtps_chain_free(&f.chain);
		turns();
		f.calls[0] = '\0';
	}
}

static void nonsense(void **state)
{
	(void)state;
	script_line(0, 0, META1_PM_MAIL, SAYS, VERDICT(.action = META1_PM_REFUSE, .smtp = 250));
	start(1);
	assert_int_equal(says(META1_PM_MAIL, "a@b"), 451);
	calls("a:connect a:helo a:mail a.end");
}

/* ---- conditions ---- */

static void by_sender_and_recipient(void **state)
{
	static const char *const senders[] = {"b.example", NULL}, *const rcpts[] = {
								      "d.example", NULL};

	(void)state;
	f.set[0].senders = senders;
	f.set[1].recipients = rcpts;
	script[0].wants = META1_PM_MAIL | META1_PM_END;
	script[1].wants = META1_PM_END;
	start(2);
	assert_true(smtps_chain_wants(f.j, META1_PM_RCPT));
	says(META1_PM_MAIL, "a@b.example");
	says(META1_PM_RCPT, "x@y.example");
	says(META1_PM_END, NULL);
	smtps_chain_reset(f.j);
	calls("a:mail a:end a.reset");
	says(META1_PM_MAIL, "a@c.example");
	says(META1_PM_RCPT, "x@d.example");
	says(META1_PM_RCPT, "x@y.example");
	says(META1_PM_END, NULL);
	smtps_chain_reset(f.j);
	calls("b:end b.reset");
	says(META1_PM_MAIL, "a@c.example");
	says(META1_PM_RCPT, "x@y.example");
	assert_false(smtps_chain_wants(f.j, META1_PM_END));
	calls("");
}

/* A recipient that another filter refused is none. */
static void refused_recipient(void **state)
{
	static const char *const rcpts[] = {"d.example", NULL};

	(void)state;
	f.set[0].recipients = rcpts;
	script[0].wants = META1_PM_END;
	script_line(1, 0, META1_PM_RCPT, SAYS, VERDICT(.action = META1_PM_REFUSE));
	start(2);
	assert_int_equal(says(META1_PM_RCPT, "x@d.example"), 550);
	says(META1_PM_END, NULL);
	assert_null(strstr(f.calls, "a:"));
}

/* A failure counts where the filter would have been asked, not elsewhere. */
static void failed_elsewhere(void **state)
{
	static const char *const rcpts[] = {"d.example", NULL};

	(void)state;
	f.set[0].recipients = rcpts;
	script_line(0, 0, META1_PM_CONNECT, SAYS_TEMPFAIL, VERDICT(.action = 0));
	start(1);
	says(META1_PM_CONNECT, NULL);
	assert_int_equal(says(META1_PM_MAIL, "a@b"), META1_PM_CONTINUE);
	assert_int_equal(says(META1_PM_RCPT, "x@y.example"), META1_PM_CONTINUE);
	assert_int_equal(says(META1_PM_RCPT, "x@d.example"), 451);
	assert_false(smtps_chain_wants(f.j, META1_PM_END));
}

static void by_size(void **state)
{
	(void)state;
	f.set[0].max_size = 11;
	script[0].wants = META1_PM_END;
	start(1);
	assert_true(smtps_chain_wants(f.j, META1_PM_END));
	says(META1_PM_END, NULL);
	calls("");
}

/* ---- shadow ---- */

static void shadow(void **state)
{
	(void)state;
	f.set[0].shadow = 1;
	f.set[0].end_timeout = 300000;
	script_line(0, 0, META1_PM_MAIL, SAYS, VERDICT(.action = META1_PM_REFUSE));
	script_line(0, 1, META1_PM_DATA, SAYS_TEMPFAIL, VERDICT(.action = 0));
	script_line(0, 2, META1_PM_END, SAYS, VERDICT(.hold = "x", .nedit = 1, .edit = &add_a));
	start(1);
	assert_int_equal(says(META1_PM_MAIL, "a@b"), META1_PM_CONTINUE);
	assert_int_equal(says(META1_PM_END, NULL), META1_PM_CONTINUE);
	assert_null(f.a.extent);
	assert_int_equal(f.chain->filter[0].stats->count[CHAIN_C_REJECT], 1);
	smtps_chain_reset(f.j);
	says(META1_PM_MAIL, "a@b");
	assert_int_equal(says(META1_PM_DATA, NULL), META1_PM_CONTINUE);
	assert_int_equal(says(META1_PM_END, NULL), META1_PM_CONTINUE);
	smtps_chain_reset(f.j);
	/* it holds nobody up for as long as a filter may */
	script[0].line[1].stage = 0;
	script[0].line[2].how = SAYS_LATER;
	says(META1_PM_MAIL, "a@b");
	question(META1_PM_END, NULL);
	clock_on(10000);
	assert_int_equal(f.answers, 1);
}

/* ---- the asker goes away ---- */

static void forgotten(void **state)
{
	(void)state;
	script_line(0, 0, META1_PM_RCPT, SAYS_LATER, VERDICT(.action = 0));
	start(2);
	says(META1_PM_CONNECT, NULL);
	says(META1_PM_HELO, "c.example");
	says(META1_PM_MAIL, "a@b");
	f.calls[0] = '\0';
	question(META1_PM_RCPT, "c@d");
	turns();
	smtps_chain_reset(f.j);
	turns();
	assert_int_equal(f.answers, 0);
	calls("a:rcpt b:rcpt a.cancel a.end b.reset");
	says(META1_PM_MAIL, "a@b");
	calls("a:connect b:mail a:helo a:mail");
	question(META1_PM_RCPT, "c@d");
	smtps_chain_end(&f.j);
	turns();
	assert_int_equal(f.answers, 0);
	calls("a:rcpt b:rcpt a.cancel a.end b.end"); /* b had answered */
}

/* The asker ends all of it in the answer. */
static void end_in_answer(void *arg, const struct smtps_answer *a)
{
	(void)arg, (void)a;
	f.answers++;
	smtps_chain_end(&f.j);
}

static void ends_in_the_answer(void **state)
{
	(void)state;
	script_line(0, 0, META1_PM_MAIL, SAYS_TEMPFAIL, VERDICT(.action = 0));
	start(2);
	f.ask = (struct meta1_pm_ask){.size = sizeof(f.ask), .stage = META1_PM_MAIL};
	smtps_chain_ask(f.j, &f.ask, 0, end_in_answer, NULL);
	turns();
	assert_int_equal(f.answers, 1);
	assert_null(f.j);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, up, down)
int main(void)
{
	const struct CMUnitTest tests[] = {T(fails_first), T(silent_at_the_end), T(spared),
	    T(unable), T(nonsense), T(by_sender_and_recipient), T(refused_recipient),
	    T(failed_elsewhere), T(by_size), T(shadow), T(forgotten), T(ends_in_the_answer)};

	return cmocka_run_group_tests_name("chain_ends", tests, NULL, NULL);
}
