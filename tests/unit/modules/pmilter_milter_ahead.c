/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pmilter_milter says a content in one go: what waits for whom, which answer is about what, and
 * what becomes of a filter that has its last word before it was said all.
 */
#include "pmilter_milter.h"

#define MESSAGE "A: 1\r\nB: 2\r\n\r\nbody\r\n"
#define HEADER	(sizeof("A: 1\r\nB: 2\r\n\r\n") - 1)

static struct bench *up(const char *options, uint32_t steps)
{
	struct bench *b = bench_new(options);

	up_to_end(b, 6, ACT, steps);
	return b;
}

static void end(struct bench *b)
{
	static struct meta1_extent e[2];
	static struct meta1_pm_message m;

	m = message(e, MESSAGE, HEADER, 9);
	ask_end(b, &m);
}

/* These commands come, and nothing behind them. */
static void expect_all(struct bench *b, const char *cmds)
{
	for (const char *c = cmds; *c; c++)
		expect(b, *c, NULL, 0);
	expect_nothing(b);
}

/* Each letter is an answer, no data. */
static void say_all(struct bench *b, const char *answers)
{
	for (const char *c = answers; *c; c++)
		say(b, *c, "", 0);
}

/* The next mail of the session, up to its content: of which all comes that is in cmds. */
static void next_mail(struct bench *b, const char *cmds)
{
	b->ops->reset(b->sess);
	end(b);
	for (const char *c = "MRT"; *c; c++) {
		expect(b, *c, NULL, 0);
		SAY(b, 'c', "");
	}
	expect_all(b, cmds);
}

static void hung_up(struct bench *b)
{
	char c;

	for (int i = 0; i < 5000 && read(b->filter, &c, 1) != 0; i++)
		turn(b);
	assert_int_equal(read(b->filter, &c, 1), 0);
}

/* The same session, at its next mail, to a filter that knows nothing. */
static void connected_anew(struct bench *b, const char *cmds)
{
	b->ops->reset(b->sess);
	end(b);
	accept_one(b);
	negotiate(b, 6, ACT, 0);
	for (const char *c = "CHMRT"; *c; c++) {
		expect(b, *c, NULL, 0);
		SAY(b, 'c', "");
	}
	expect_all(b, cmds);
}

/* Each answer is about the oldest that has none; what may be said to an end is said to the end. */
static void all_of_it(void **state)
{
	struct bench *b = up(NULL, 0x400);

	(void)state;
	end(b);
	expect_all(b, "LLNBE");
	say_all(b, "ccpcs"); /* a progress is none; a body that is there whole may be skipped */
	turn(b);
	SAY(b, 'h', "X-A\0one\0");
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	assert_int_equal(b->v->nedit, 1);

	/* SKIP is an answer to a field, and none to what ends the header. */
	next_mail(b, "LLNBE");
	say_all(b, "scs");
	expect_failure(b, "answers EOH with SKIP, where it may not");
	bench_free(&b);
}

/* A content is said, and its first n commands have their answers. */
static struct bench *answered(size_t n)
{
	struct bench *b = up(NULL, 0);

	end(b);
	expect_all(b, "LLNBE");
	say_all(b, &"cccc"[4 - n]);
	return b;
}

/* What is said to the end does not count before it. */
static void edits_too_early(void **state)
{
	static const char *const step[] = {"HEADER", "HEADER", "EOH", "BODY"};
	char text[64];

	(void)state;
	for (size_t i = 0; i < LEN(step); i++) {
		struct bench *b = answered(i);

		SAY(b, 'h', "X-A\0one\0");
		snprintf(
		    text, sizeof(text), "answers %s with ADDHEADER, where it may not", step[i]);
		expect_failure(b, text);
		bench_free(&b);
	}
}

/* It goes away between two answers: the failure names the oldest that is open. */
static void gone(void **state)
{
	static const char *const step[] = {"HEADER", "HEADER", "EOH", "BODY", "BODYEOB"};
	char text[64];

	(void)state;
	for (size_t i = 0; i < LEN(step); i++) {
		struct bench *b = answered(i);

		close(b->filter);
		b->filter = -1;
		snprintf(text, sizeof(text), "before an answer to %s", step[i]);
		expect_failure(b, text);
		bench_free(&b);
	}
}

/* A body in pieces: the next one waits for the answer to the one before, which may be SKIP. */
static void pieces(void **state)
{
	struct bench *b = up(NULL, 0x400);
	size_t n = 70000;
	char *text = base_alloc(n + 1);
	struct meta1_extent e[2];
	struct meta1_pm_message m;

	(void)state;
	memset(text, 'x', n);
	memcpy(text, "A: 1\r\n\r\n", 8);
	m = message(e, text, 8, 9);
	ask_end(b, &m);
	expect_all(b, "LNB");
	say_all(b, "cc");
	expect_nothing(b);
	say_all(b, "c");
	expect_all(b, "BE");
	say_all(b, "cc");
	expect_action(b, META1_PM_CONTINUE);
	b->ops->reset(b->sess);
	ask_end(b, &m);
	for (const char *c = "MRT"; *c; c++) {
		expect(b, *c, NULL, 0);
		SAY(b, 'c', "");
	}
	expect_all(b, "LNB");
	say_all(b, "ccs");
	expect_all(b, "E");
	say_all(b, "c");
	expect_action(b, META1_PM_CONTINUE);
	free(text);
	bench_free(&b);
}

/* Behind a last word nobody knows what it answers: it gets a new connection. For eight mails it is
 * then told header, body and end one after the other, so that a last word costs no connection. */
static void last_words(void **state)
{
	static const struct {
		const char *answers;
		enum meta1_pm_action action;
	} row[] = {{"r", META1_PM_REFUSE}, {"ct", META1_PM_REFUSE}, {"cca", META1_PM_ACCEPT},
	    {"cccd", META1_PM_DISCARD}};

	(void)state;
	for (size_t i = 0; i < LEN(row); i++) {
		struct bench *b = up(NULL, 0);

		end(b);
		expect_all(b, "LLNBE");
		say_all(b, row[i].answers);
		expect_action(b, row[i].action);
		assert_true(b->v->wants & META1_PM_END);
		hung_up(b);
		connected_anew(b, "LLN");
		say_all(b, "cca"); /* to the last that is open: the connection stays */
		expect_action(b, META1_PM_ACCEPT);
		for (int n = 0; n < 8; n++) {
			next_mail(b, "LLN");
			say_all(b, "ccc");
			expect_all(b, "B");
			say_all(b, "c");
			expect_all(b, "E");
			say_all(b, "c");
			expect_action(b, META1_PM_CONTINUE);
		}
		next_mail(b, "LLNBE");
		say_all(b, "ccccr");
		expect_action(b, META1_PM_REFUSE);
		next_mail(b, "LLNBE"); /* that was to the end */
		mod_req_cancel(&b->req);
		bench_free(&b);
	}
}

/* To whom hears nothing of an envelope the rest of a mail that it has refused looks like the next
 * one. */
static void blind(void **state)
{
	static const struct {
		uint32_t steps;
		const char *first;
	} row[] = {{4 | 8, "L"}, {4 | 8 | 0x200, "L"}, {4, "LLNBE"}, {8, "LLNBE"}};

	(void)state;
	for (size_t i = 0; i < LEN(row); i++) {
		struct bench *b = bench_new(NULL);

		connecting(b, 6, ACT, row[i].steps);
		expect(b, 'C', NULL, 0);
		SAY(b, 'c', "");
		expect_action(b, META1_PM_CONTINUE);
		end(b);
		for (const char *c = "MRT"; *c; c++)
			if (!(row[i].steps & (*c == 'M' ? 4 : *c == 'R' ? 8 : 0x200))) {
				expect(b, *c, NULL, 0);
				SAY(b, 'c', "");
			}
		expect_all(b, row[i].first);
		mod_req_cancel(&b->req);
		bench_free(&b);
	}
}

/* What it does not answer is not waited for, wherever it stands. */
static void some_unanswered(void **state)
{
	static const struct {
		uint32_t steps; /* SMFIP_NR_HDR, EOH, BODY */
		const char *answers;
	} row[] = {
	    {0x80, "ccc"}, {0x40000, "cccc"}, {0x80000, "cccc"}, {0x80080, "cc"}, {0xc0080, "c"}};

	(void)state;
	for (size_t i = 0; i < LEN(row); i++) {
		struct bench *b = up(NULL, row[i].steps);

		end(b);
		expect_all(b, "LLNBE");
		say_all(b, row[i].answers + 1);
		turn(b);
		assert_int_equal(b->told, 0);
		say_all(b, "c");
		expect_action(b, META1_PM_CONTINUE);
		bench_free(&b);
	}
}

/* For a filter that cannot take more than one command at a time. */
static void one_by_one(void **state)
{
	struct bench *b = up("pipelining = no;", 0);

	(void)state;
	end(b);
	for (const char *c = "LLNBE"; *c; c++) {
		expect(b, *c, NULL, 0);
		expect_nothing(b);
		SAY(b, 'c', "");
	}
	expect_action(b, META1_PM_CONTINUE);
	bench_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(all_of_it),
	    cmocka_unit_test(edits_too_early),
	    cmocka_unit_test(gone),
	    cmocka_unit_test(pieces),
	    cmocka_unit_test(last_words),
	    cmocka_unit_test(blind),
	    cmocka_unit_test(some_unanswered),
	    cmocka_unit_test(one_by_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
