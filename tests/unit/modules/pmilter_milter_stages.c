/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pmilter_milter: each word of a filter at each stage, and the corners of those that may stand
 * there.
 */
#include "pmilter_milter.h"

/* Commands of a mail, each with the stage of the host at which the filter hears it. */
static const struct {
	char cmd;
	const char *name;
	uint32_t stage;
} step[] = {{'C', "CONNECT", META1_PM_CONNECT}, {'H', "HELO", META1_PM_HELO},
    {'M', "MAIL", META1_PM_MAIL}, {'R', "RCPT", META1_PM_RCPT}, {'T', "DATA", META1_PM_DATA},
    {'L', "HEADER", META1_PM_END}, {'N', "EOH", META1_PM_END}, {'B', "BODY", META1_PM_END},
    {'E', "BODYEOB", META1_PM_END}};

/* Words, as well formed as they can be, and the commands that they may answer. */
static const struct {
	char word;
	const char *data, *name, *may;
	size_t len;
} word[] = {
#define W(c, data, name, may)                                                                      \
	{                                                                                          \
		c, data, name, may, sizeof(data) - 1                                               \
	}
    W('c', "", "CONTINUE", "CHMRTLNBE"), W('a', "", "ACCEPT", "CHMRTLNBE"),
    W('r', "", "REJECT", "CHMRTLNBE"), W('t', "", "TEMPFAIL", "CHMRTLNBE"),
    W('y', "550 5.7.1 no\0", "REPLYCODE", "CHMRTLNBE"), W('4', "", "SHUTDOWN", "CHMRTLNBE"),
    W('f', "", "CONN_FAIL", "CHMRTLNBE"), W('p', "", "PROGRESS", "CHMRTLNBE"),
    W('d', "", "DISCARD", "MRTLNBE"), W('s', "", "SKIP", "RLB"), W('h', "A\0b\0", "ADDHEADER", "E"),
    W('i', "\0\0\0\1A\0b\0", "INSHEADER", "E"), W('m', "\0\0\0\1A\0b\0", "CHGHEADER", "E"),
    W('b', "x", "REPLBODY", "E"), W('+', "a@b\0", "ADDRCPT", "E"),
    W('2', "a@b\0NOTIFY=NEVER\0", "ADDRCPT_PAR", "E"), W('-', "a@b\0", "DELRCPT", "E"),
    W('e', "a@b\0", "CHGFROM", "E"), W('q', "why\0", "QUARANTINE", "E")};

static void ask_stage(struct bench *b, uint32_t stage)
{
	static struct meta1_extent e[2];
	static struct meta1_pm_message m;

	m = message(e, "A: b\r\n\r\nbody\r\n", 8, 3);
	if (stage == META1_PM_END)
		ask_end(b, &m);
	else
		ask(b, (struct meta1_pm_ask){.stage = stage, .arg = str("a@b")});
}

/* A session in which the filter has said CONTINUE until it is to answer that step; to a content it
 * is said before. */
static void up_to(struct bench *b, size_t at)
{
	uint32_t asked = 0;

	begin(b);
	for (size_t i = 0; i <= at; i++) {
		if (step[i].stage != asked)
			ask_stage(b, step[i].stage);
		asked = step[i].stage;
		if (i == 0) {
			accept_one(b);
			negotiate(b, 6, ACT, 0x400);
		}
		expect(b, step[i].cmd, NULL, 0);
		if (i == at)
			break;
		SAY(b, 'c', "");
		if (step[i].stage != META1_PM_END)
			expect_action(b, META1_PM_CONTINUE);
	}
}

/* Behind that word the filter has more to say before the host's question is answered. */
static bool leaves_open(char w, const char *may, char cmd)
{
	return w == 'p' || may[1] == '\0' || (strchr("cs", w) && strchr("LNB", cmd));
}

static void each_word_at_each_stage(void **state)
{
	struct bench *b = bench_new("max_idle = 0;");
	char text[100];

	(void)state;
	b->about.helo = "client.test";
	for (size_t i = 0; i < LEN(step); i++)
		for (size_t k = 0; k < LEN(word); k++) {
			bool may = strchr(word[k].may, step[i].cmd) != NULL;

			up_to(b, i);
			say(b, word[k].word, word[k].data, word[k].len);
			if (may && leaves_open(word[k].word, word[k].may, step[i].cmd))
				SAY(b, 'a', "");
			answer(b);
			if ((b->st == META1_OK) != may)
				fail_msg("%s at %s: %s", word[k].name, step[i].name, b->text);
			snprintf(text, sizeof(text), "answers %s with %s, where it may not",
			    step[i].name, word[k].name);
			if (!may && !strstr(b->text, text))
				fail_msg("%s", b->text);
			b->ops->reset(b->sess);
			b->ops->end(&b->sess);
		}
	bench_free(&b);
}

/* What stands at the edge of what libmilter sends. */
static void corners(void **state)
{
	struct bench *b = bench_new(NULL);
	const struct meta1_pm_verdict *v;

	(void)state;
	at_end(b, ACT);
	SAY(b, 'e', "<new@x.test>\0RET=HDRS ENVID=1\0");
	SAY(b, 'b', "");
	SAY(b, 'h', "A\0\0");
	SAY(b, 'b', "");
	SAY(b, 'i',
	    "\xff\xff\xff\xff"
	    "A\0b\0");
	SAY(b, 'm',
	    "\xff\xff\xff\xff"
	    "A\0b\0");
	SAY(b, 'q', "\0");
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	v = b->v;
	assert_int_equal(v->nedit, 5);
	assert_int_equal(v->edit[0].kind, META1_PM_SENDER);
	assert_true(buf_eq(v->edit[0].value, str("new@x.test")));
	assert_true(buf_eq(v->edit[0].param, str("RET=HDRS ENVID=1")));
	assert_int_equal(v->edit[1].kind, META1_PM_BODY); /* none is left of it */
	assert_int_equal(v->edit[1].nextent, 0);
	assert_int_equal(v->edit[2].kind, META1_PM_ADD_HEADER);
	assert_int_equal(v->edit[2].value.len, 0);
	assert_int_equal(v->edit[3].index, 0xfffffffe);
	assert_int_equal(v->edit[4].index, 0xffffffff);
	assert_string_equal(v->hold, "the filter gives no reason");
	bench_free(&b);
}

/* A filter may ask for its macros in a word of its own before the negotiation. */
static void lists_by_themselves(void **state)
{
	struct bench *b = bench_new(NULL);

	(void)state;
	begin(b);
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_CONNECT});
	accept_one(b);
	assert_int_equal(next(b), 'O');
	SAY(b, 'l', "\0\0\0\0j\0");
	SAY(b, 'O', "\0\0\0\6\0\0\0\0\0\0\0\0");
	assert_int_equal(next(b), 'D');
	assert_memory_equal(b->frame, "DCj\0gw.test", 12);
	assert_int_equal(b->len, 12);
	expect(b, 'C', NULL, 0);
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	bench_free(&b);
}

/* libmilter takes QUIT_NC behind an end only, not behind ABORT: such a connection is not kept. */
static void not_kept_behind_an_abort(void **state)
{
	struct bench *b = bench_new(NULL);

	(void)state;
	at_end(b, ACT);
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	b->ops->reset(b->sess);
	ask_stage(b, META1_PM_MAIL);
	expect(b, 'M', NULL, 0);
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	b->ops->reset(b->sess);
	EXPECT(b, 'A', "");
	b->ops->end(&b->sess);
	EXPECT(b, 'Q', "");
	bench_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_word_at_each_stage),
	    cmocka_unit_test(corners),
	    cmocka_unit_test(lists_by_themselves),
	    cmocka_unit_test(not_kept_behind_an_abort),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
