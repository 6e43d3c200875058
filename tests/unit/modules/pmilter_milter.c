/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pmilter_milter through the module host: what a filter is told, and what becomes of what it says.
 * Real filters are in tests/system/test_milter.py.
 * Contents are in pmilter_milter_content.c, what is said together in pmilter_milter_ahead.c, what
 * is agreed on in pmilter_milter_terms.c.
 */
#include "pmilter_milter.h"

static void whole_mail(void **state)
{
	struct bench *b = bench_new(NULL);
	const struct meta1_pm_verdict *v;

	(void)state;
	at_end(b, ACT);
	SAY(b, 'p', "");
	SAY(b, 'h', "X-A\0one\n\ttwo\0");
	SAY(b, 'i', "\0\0\0\1X-B\0v\0");
	SAY(b, 'i', "\0\0\0\0X-C\0v\0");
	SAY(b, 'm', "\0\0\0\2Subject\0new\0");
	SAY(b, 'm', "\0\0\0\0To\0\0");
	SAY(b, '+', "<c@z.test>\0");
	SAY(b, '2', "<d@z.test>\0NOTIFY=NEVER\0");
	SAY(b, '-', "<b@y.test>\0");
	SAY(b, 'e', "<>\0");
	SAY(b, 'b', "new ");
	SAY(b, 'b', "body\r\n");
	SAY(b, 'q', "odd\x01\0");
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	v = b->v;
	assert_string_equal(v->hold, "odd?");
	assert_int_equal(v->nedit, 10);
	assert_int_equal(v->edit[0].kind, META1_PM_ADD_HEADER);
	assert_true(buf_eq(v->edit[0].name, str("X-A")));
	assert_true(buf_eq(v->edit[0].value, str("one\n\ttwo")));
	assert_int_equal(v->edit[0].flags, 0);
	assert_int_equal(v->edit[1].kind, META1_PM_INSERT_HEADER);
	assert_int_equal(v->edit[1].index, 0); /* our Received is number 0 */
	assert_int_equal(v->edit[2].index, 0);
	assert_int_equal(v->edit[3].kind, META1_PM_CHANGE_HEADER);
	assert_int_equal(v->edit[3].index, 2);
	assert_int_equal(v->edit[4].index, 1);
	assert_null(v->edit[4].value.data);
	assert_int_equal(v->edit[5].kind, META1_PM_ADD_RCPT);
	assert_true(buf_eq(v->edit[5].value, str("c@z.test")));
	assert_null(v->edit[5].param.data);
	assert_true(buf_eq(v->edit[6].param, str("NOTIFY=NEVER")));
	assert_int_equal(v->edit[7].kind, META1_PM_DEL_RCPT);
	assert_int_equal(v->edit[8].kind, META1_PM_SENDER);
	assert_int_equal(v->edit[8].value.len, 0);
	assert_int_equal(v->edit[9].kind, META1_PM_BODY);
	assert_int_equal(v->edit[9].nextent, 2);
	assert_memory_equal(v->edit[9].extent[1].mem, "body\r\n", 6);
	bench_free(&b);
}

/* Values byte for byte. */
static void fields(void **state)
{
	static const char text[] =
	    "A: one\r\nB:two\r\nC:  three \r\n\tmore\r\n \r\nd :\r\nE: \xe4\r\n\r\n";
	static const struct {
		const char *with, *without; /* LEADSPC */
		size_t nwith, nwithout;
	} row[] = {
#define ROW(a, c) {a, c, sizeof(a) - 1, sizeof(c) - 1}
	    ROW("A\0 one\0", "A\0one\0"), ROW("B\0two\0", "B\0two\0"),
	    ROW("C\0  three \n\tmore\n \0", "C\0 three \n\tmore\n \0"), ROW("d\0\0", "d\0\0"),
	    ROW("E\0 \xe4\0", "E\0\xe4\0")};

	(void)state;
	for (uint32_t lead = 0; lead < 2; lead++)
		for (size_t cut = 0; cut < sizeof(text) - 1; cut += 7) {
			struct bench *b = bench_new(NULL);
			struct meta1_extent e[2];
			struct meta1_pm_message m = message(e, text, sizeof(text) - 1, cut);

			up_to_end(b, 6, ACT, lead ? 0x100000 : 0);
			ask_end(b, &m);
			for (size_t i = 0; i < LEN(row); i++) {
				expect(b, 'L', lead ? row[i].with : row[i].without,
				    lead ? row[i].nwith : row[i].nwithout);
				SAY(b, 'c', "");
			}
			EXPECT(b, 'N', "");
			SAY(b, 'c', "");
			EXPECT(b, 'E', ""); /* no body: no piece of it */
			SAY(b, 'a', "");
			expect_action(b, META1_PM_ACCEPT);
			bench_free(&b);
		}
}

/* Nothing is waited for; what is not wanted is not said; version 2 knows neither DATA. */
static void no_replies(void **state)
{
	struct bench *b = bench_new(NULL);
	struct meta1_extent e[2];
	struct meta1_pm_message m = message(e, "A: b\r\n\r\nbody\r\n", 8, 9);

	(void)state;
	connecting(b, 6, ACT, 0xff080 & ~0x10000u);
	expect_action(b, META1_PM_CONTINUE);
	assert_int_equal(b->v->wants, 0x7f);
	EXPECT(b, 'C', NULL);
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_MAIL, .arg = str("")});
	expect_action(b, META1_PM_CONTINUE);
	EXPECT(b, 'M', "<>\0");
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_UNKNOWN, .arg = str("FOO x")});
	expect_action(b, META1_PM_CONTINUE);
	EXPECT(b, 'U', "FOO x\0");
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_RCPT, .arg = str("b@y.test")});
	expect_action(b, META1_PM_CONTINUE);
	EXPECT(b, 'R', NULL);
	ask_end(b, &m);
	EXPECT(b, 'T', "");
	SAY(b, 'c', "");
	EXPECT(b, 'L', NULL);
	EXPECT(b, 'N', NULL);
	EXPECT(b, 'B', "body\r\n");
	EXPECT(b, 'E', "");
	SAY(b, 'd', "");
	expect_action(b, META1_PM_DISCARD);
	bench_free(&b);

	b = bench_new(NULL);
	begin(b);
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_CONNECT});
	accept_one(b);
	negotiate(b, 2, 0x3f, 0x7f);
	expect_action(b, META1_PM_CONTINUE);
	assert_int_equal(b->v->wants, META1_PM_END);
	ask_end(b, &m);
	EXPECT(b, 'E', "");
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	bench_free(&b);
}

static void macros(void **state)
{
	struct bench *b = bench_new(NULL);
	static const struct meta1_tls tls = {.size = sizeof(tls),
	    .version = "TLSv1.3",
	    .cipher = "X",
	    .bits = 256,
	    .subject = "/C=DE/CN=ann\\x2Fb/OU=x",
	    .issuer = "/O=y"};
	static const char list[] = "\0\0\0\6\0\0\1\xff\0\0\0\0"
				   "\0\0\0\1{cn_subject} {cn_issuer},{cipher_bits} {none} j\0"
				   "\0\0\0\2\0"
				   "\0\0\0\5{msg_id} {nrcpts}\0";

	(void)state;
	b->about.tls = &tls;
	begin(b);
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_CONNECT});
	accept_one(b);
	assert_int_equal(next(b), 'O');
	assert_memory_equal(b->frame + 1, "\0\0\0\6\0\0\1\xff\0\x1f\xff\xff", 12);
	say(b, 'O', list, sizeof(list) - 1);
	assert_int_equal(next(b), 'D');
	assert_memory_equal(b->frame, "DCj\0gw.test\0_\0[2001:db8::9]\0v\0meta1-0.1\0", 40);
	assert_non_null(memmem(b->frame, b->len, "{client_addr}\0IPv6:2001:db8::9", 31));
	assert_non_null(memmem(b->frame, b->len, "{client_resolve}\0FAIL", 22));
	assert_non_null(memmem(b->frame, b->len, "{client_ptr}\0[2001:db8::9]", 26));
	expect(b, 'C', NULL, 0);
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_HELO, .arg = str("x")});
	next(b);
	assert_int_equal(b->len, 52);
	assert_memory_equal(
	    b->frame, "DH{cn_subject}\0ann\\x2Fb\0{cipher_bits}\000256\0j\0gw.test", 52);
	EXPECT(b, 'H', "x\0");
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_MAIL, .arg = str("a@b")});
	assert_int_equal(next(b), 'M'); /* it wants none there */
	SAY(b, 'r', "");
	expect_action(b, META1_PM_REFUSE);
	assert_int_equal(b->v->smtp, 550);
	assert_string_equal(b->v->dsn, "5.7.1");
	bench_free(&b);
}

/* A connection serves the next session, is replaced when it is dead, and is told what it was not.
 */
static void reuse(void **state)
{
	struct bench *b = bench_new(NULL);
	int old;

	(void)state;
	at_end(b, ACT);
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	b->ops->reset(b->sess);
	b->ops->end(&b->sess);
	EXPECT(b, 'K', "");
	b->about.helo = NULL;
	begin(b);
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_CONNECT});
	expect(b, 'C', NULL, 0);
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	/* It knew of no mail that ended: this one is not kept. */
	b->ops->end(&b->sess);
	EXPECT(b, 'Q', "");

	b->about.helo = NULL;
	at_end(b, ACT);
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	b->ops->reset(b->sess);
	b->ops->end(&b->sess);
	EXPECT(b, 'K', "");
	begin(b);
	old = b->filter;
	b->filter = -1;
	/* It dies with the command on its way: nobody notices. */
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_CONNECT});
	close(old);
	accept_one(b);
	negotiate(b, 6, ACT, 0);
	expect(b, 'C', NULL, 0);
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	bench_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(whole_mail),
	    cmocka_unit_test(fields),
	    cmocka_unit_test(no_replies),
	    cmocka_unit_test(macros),
	    cmocka_unit_test(reuse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
