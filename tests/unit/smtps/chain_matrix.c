/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Unit test of what a failure of a filter means: every stage × every way to fail × every action,
 * and the same when the configuration is loaded anew, or the server stops, while the filter is
 * asked. Of each cell: at which command the mail is refused and how, or that it goes on; nothing is
 * edited by half; the filter beside it is asked all the while; the next mail that may be judged is,
 * when the filter is back.
 *
 * How the modules come to say that a filter failed, for each fault (killed, closed, reset, silent,
 * garbled, cut) at each frame, is shown by the kit (sdk/kit/pm_faults.c) and pmilter_hostile.c,
 * pmilter_milter_bad.c beside this; tests/system/test_filters_fail.py has the whole of it over real
 * connections, of each protocol.
 */
#include "chain_unit.h"

static struct meta1_pm_edit half[] = {
    {.kind = META1_PM_ADD_HEADER, .name = {"A", 1}, .value = {"1", 1}},
    {.kind = META1_PM_ADD_HEADER, .name = {"B C", 3}}};

static const struct {
	uint32_t stage;
	const char *arg;
} way[] = {{META1_PM_CONNECT, NULL}, {META1_PM_HELO, "c.example"}, {META1_PM_MAIL, "a@b"},
    {META1_PM_RCPT, "c@d.example"}, {META1_PM_DATA, NULL}, {META1_PM_END, NULL}};

enum { W_CONNECT, W_HELO, W_MAIL, W_RCPT, W_DATA, W_END, W_N };

static const struct {
	const char *name;
	int32_t fails;
	int says;      /* 0: the mail goes on; 1000: it is held */
	unsigned from; /* the first command that is refused for it */
	bool again;    /* the session's next mail is judged */
	bool next;     /* the next session's is */
} actions[] = {
    {"abort", FAILURE_ABORT, 421, W_CONNECT, false, true},
    {"accept", FAILURE_ACCEPT, 0, 0, false, false},
    {"accept_but_reconnect", FAILURE_ACCEPT_BUT_RECONNECT, 0, 0, false, true},
    {"tempfail", FAILURE_TEMPFAIL, 451, W_MAIL, true, true},
    {"reject", FAILURE_REJECT, 554, W_MAIL, true, true},
    {"quarantine", FAILURE_QUARANTINE, 1000, W_END, true, true},
};

/* Its connection is gone; it is silent; it says what is no verdict; its edits are none. */
static const struct {
	const char *name;
	int how;
	bool at_end; /* only there; what cannot be made in a mail is held against that mail alone */
} ways[] = {{"gone", SAYS_TEMPFAIL, false}, {"silent", SAYS_LATER, false},
    {"nonsense", SAYS, false}, {"half an edit", SAYS, true}};

static void fails_at(unsigned stage, unsigned w)
{
	script_line(0, 0, way[stage].stage, ways[w].how,
	    ways[w].at_end ? VERDICT(.nedit = 2, .edit = half, .hold = "odd")
			   : VERDICT(.action = META1_PM_REFUSE, .smtp = 250));
}

/* One command; what is said, when a silent filter's time is over. */
static int command(unsigned stage)
{
	question(way[stage].stage, way[stage].arg);
	turns();
	if (!f.answers)
		clock_on(way[stage].stage == META1_PM_END ? 5000 : 1000);
	assert_int_equal(f.answers, 1);
	assert_null(f.a.extent);
	assert_int_equal(f.a.nedit, 0);
	return f.a.action == META1_PM_REFUSE ? f.a.smtp : f.a.hold ? 1000 : (int)f.a.action;
}

/* A mail from here on: the command that was refused, or W_N; of a hold its end. */
static unsigned mail(unsigned from, int *said)
{
	for (unsigned i = from; i < W_N; i++) {
		*said = command(i);
		if (*said)
			return i;
	}
	return W_N;
}

static void asked_all_the_while(unsigned until)
{
	char word[20];

	for (unsigned i = 0; i <= until && i < W_N; i++) {
		snprintf(word, sizeof(word), "b:%s", chain_stage(way[i].stage));
		if (!strstr(f.calls, word))
			fail_msg("%s is missing in %s", word, f.calls);
	}
	assert_null(strstr(f.calls, "b.end"));
}

static void works_again(unsigned from, bool judged)
{
	int said;

	f.calls[0] = '\0';
	assert_int_equal(mail(from, &said), W_N);
	assert_int_equal(strstr(f.calls, "a:end") != NULL, judged);
	if (from == W_MAIL && judged) /* it begins anew, and hears who that is; or it went on */
		assert_true(!strstr(f.calls, "a:connect") || strstr(f.calls, "a:helo"));
}

static void cell(unsigned a, unsigned stage, unsigned w)
{
	unsigned at;
	int said, want = actions[a].says;

	f.set[0].fails = actions[a].fails;
	fails_at(stage, w);
	start(2);
	at = mail(W_CONNECT, &said);
	if (want == 0 ? at != W_N
		      : said != want || at != (stage > actions[a].from ? stage : actions[a].from))
		fail_msg("%s: %s at %s: %d at %u", actions[a].name, ways[w].name,
		    chain_stage(way[stage].stage), said, at);
	asked_all_the_while(at);
	smtps_chain_reset(f.j);
	script[0].line[0].stage = 0; /* it is back */
	if (want != 421)
		works_again(W_MAIL, actions[a].again || ways[w].at_end);
	smtps_chain_end(&f.j);
	f.j = smtps_chain_begin(f.chain, &f.about);
	works_again(W_CONNECT, actions[a].next || ways[w].at_end);
	smtps_chain_end(&f.j);
	smtps_chain_free(&f.chain);
	turns();
	start(2); /* as a reload has it */
	works_again(W_CONNECT, true);
	smtps_chain_end(&f.j);
	smtps_chain_free(&f.chain);
	turns();
	f.calls[0] = '\0';
}

static void every_cell(void **state)
{
	(void)state;
	for (unsigned a = 0; a < ARRAY_LEN(actions); a++)
		for (unsigned stage = 0; stage < W_N; stage++)
			for (unsigned w = 0; w < ARRAY_LEN(ways); w++)
				if (stage == W_END || !ways[w].at_end)
					cell(a, stage, w);
}

/* Up to that stage, which is not answered. */
static void hangs_at(unsigned stage)
{
	script_line(0, 0, way[stage].stage, SAYS_LATER, VERDICT(.action = 0));
	start(2);
	for (unsigned i = 0; i < stage; i++)
		assert_int_equal(command(i), 0);
	question(way[stage].stage, way[stage].arg);
	turns();
	assert_int_equal(f.answers, 0);
}

/* The chain is another one by now: who is asked is asked, and what its failure means holds as
 * before. */
static void loaded_anew_meanwhile(void **state)
{
	(void)state;
	for (unsigned a = 0; a < ARRAY_LEN(actions); a++)
		for (unsigned i = 0; i < 2 * W_N; i++) {
			unsigned stage = i / 2, from = actions[a].from;
			bool answers = i % 2;
			int said = 0, want = actions[a].says;

			f.set[0].fails = actions[a].fails;
			hangs_at(stage);
			smtps_chain_free(&f.chain); /* the session keeps it */
			turns();
			script[0].line[0].how = answers ? SAYS : SAYS_TEMPFAIL;
			give(&script[0], &script[0].line[0], script[0].open);
			turns();
			assert_int_equal(f.answers, 1);
			said = f.a.action == META1_PM_REFUSE ? f.a.smtp : f.a.hold ? 1000 : 0;
			assert_int_equal(said, answers || stage < from ? 0 : want);
			smtps_chain_end(&f.j);
			turns();
			assert_int_equal(script[0].live + script[1].live, 0);
			f.calls[0] = '\0';
		}
}

/* Nobody waits for it: it is told once, and what it says later is heard by nobody. */
static void stopped_meanwhile(void **state)
{
	(void)state;
	for (unsigned stage = 0; stage < W_N; stage++) {
		hangs_at(stage);
		f.calls[0] = '\0';
		smtps_chain_end(&f.j);
		turns();
		calls("a.cancel a.end b.end");
		assert_int_equal(f.answers, 0);
		smtps_chain_free(&f.chain);
		turns();
	}
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, up, down)
int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(every_cell), T(loaded_anew_meanwhile), T(stopped_meanwhile)};

	return cmocka_run_group_tests_name("chain_matrix", tests, NULL, NULL);
}
