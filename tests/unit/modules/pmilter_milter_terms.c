/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pmilter_milter and what it and a filter agree on: stages, recipients that were refused, how
 * replies look; and its options.
 */
#include "pmilter_milter.h"

#define EXPECT_MACROS(b, text)                                                                     \
	do {                                                                                       \
		assert_int_equal(next(b), 'D');                                                    \
		assert_int_equal((b)->len - 1, sizeof(text) - 1);                                  \
		assert_memory_equal((b)->frame + 1, text, sizeof(text) - 1);                       \
	} while (0)

/* list: what the filter asks for at MAIL. What begin() then wants of the next session. */
static uint32_t wants_after(uint32_t steps, const char *list)
{
	struct bench *b = bench_new(NULL);
	char o[100] = {0, 0, 0, 6, 0, 0, 1, (char)0xff, 0, 0, 0, (char)steps, 0, 0, 0, 2};
	uint32_t wants;

	strcpy(o + 16, list);
	begin(b); /* of the first nothing is known */
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_CONNECT});
	accept_one(b);
	assert_int_equal(next(b), 'O');
	say(b, 'O', o, 16 + strlen(list) + 1);
	if (!(steps & 1)) {
		expect(b, 'C', NULL, 0);
		SAY(b, 'c', "");
	}
	expect_action(b, META1_PM_CONTINUE);
	b->ops->end(&b->sess);
	wants = b->ops->begin(mod_data(b->inst), &b->about, &b->sess);
	b->about.helo = "client.test";
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_HELO, .arg = str("client.test")});
	close(b->filter);
	accept_one(b);
	assert_int_equal(next(b), 'O');
	say(b, 'O', o, 16 + strlen(list) + 1);
	if (!(steps & 1)) { /* it is told, whoever asked for what */
		expect(b, 'C', NULL, 0);
		SAY(b, 'c', "");
	}
	EXPECT(b, 'H', "client.test\0");
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	bench_free(&b);
	return wants;
}

/* Who wants CONNECT has the client's name looked for: a filter that said that it does not does not,
 * unless it asks for the name elsewhere. */
static void the_name_is_for_who_sees_it(void **state)
{
	(void)state;
	assert_int_equal(wants_after(0, "i") & META1_PM_CONNECT, META1_PM_CONNECT);
	assert_int_equal(wants_after(1, "i {client_addr} {_x}"), 0xffu & ~META1_PM_CONNECT);
	assert_int_equal(wants_after(1, ""), 0xffu & ~META1_PM_CONNECT);
	assert_int_equal(wants_after(1, "i, {client_name}"), 0xff);
	assert_int_equal(wants_after(1, "_"), 0xff);
}

/* Nothing is said of what nothing is known of, but where the filter would take what it was told of
 * the last mail for this one's. */
static void empty_lists(void **state)
{
	static const char list[] = "\0\0\0\6\0\0\1\xff\0\0\0\0\0\0\0\2{auth_author}\0";
	struct bench *b = bench_new(NULL);
	struct meta1_extent e[2];
	struct meta1_pm_message m = message(e, "A: 1\r\n\r\nbody\r\n", 8, 9);

	(void)state;
	begin(b);
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_CONNECT});
	accept_one(b);
	assert_int_equal(next(b), 'O');
	say(b, 'O', list, sizeof(list) - 1);
	expect(b, 'C', NULL, 0);
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_HELO, .arg = str("x")});
	assert_int_equal(next(b), 'H'); /* no TLS */
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	b->about.taid = "S0001";
	b->about.auth_author = "boss";
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_MAIL, .arg = str("a@b")});
	EXPECT_MACROS(b, "M{auth_author}\0boss\0");
	EXPECT(b, 'M', "<a@b>\0");
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	b->ops->reset(b->sess);
	EXPECT(b, 'A', "");
	b->about.taid = "S0002";
	b->about.auth_author = NULL;
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_MAIL, .arg = str("a@b")});
	EXPECT_MACROS(b, "Mi\0S0002\0");
	EXPECT(b, 'M', "<a@b>\0");
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	ask_end(b, &m);
	for (const char *c = "RT"; *c; c++) {
		expect(b, *c, NULL, 0);
		SAY(b, 'c', "");
	}
	expect(b, 'L', NULL, 0);
	assert_int_equal(next(b), 'N');
	assert_int_equal(next(b), 'B');
	mod_req_cancel(&b->req);
	bench_free(&b);
}

/* Replies longer than what can be seen at once; and what is too much. */
static void long_replies(void **state)
{
	struct bench *b = bench_new("max_edits = 256KB;");
	size_t n = 120000;
	char *text = base_alloc(n + 1);

	(void)state;
	memset(text, 'x', n);
	memcpy(text, "X-Long", 7);
	at_end(b, ACT);
	say(b, 'h', text, n + 1);
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	assert_int_equal(b->v->nedit, 1);
	assert_int_equal(b->v->edit[0].value.len, n - 7);
	b->ops->reset(b->sess);
	b->ops->end(&b->sess);
	close(b->filter);
	b->filter = -1;
	b->about.helo = NULL;
	at_end(b, ACT);
	for (int i = 0; i < 3; i++)
		say(b, 'b', text, n);
	assert_null(answer(b)); /* it is this mail, not the filter */
	assert_int_equal(b->st, META1_PERMFAIL);
	assert_non_null(strstr(b->text, "max_edits"));
	bench_free(&b);
	b = bench_new(NULL);
	at_end(b, ACT);
	for (int i = 0; i < 4097; i++)
		SAY(b, 'h', "A\0b\0");
	assert_null(answer(b));
	assert_int_equal(b->st, META1_PERMFAIL);
	assert_non_null(strstr(b->text, "4097th"));
	free(text);
	bench_free(&b);
}

static void refused_rcpt(void **state)
{
	struct bench *b = bench_new(NULL);

	(void)state;
	up_to_end(b, 6, ACT, 0x800);
	assert_true(b->v->wants & META1_PM_REFUSED);
	ask(b,
	    (struct meta1_pm_ask){
		.stage = META1_PM_REFUSED, .arg = str("no@y.test"), .refused = "550 5.1.1 nobody"});
	assert_int_equal(next(b), 'D');
	assert_non_null(memmem(b->frame, b->len, "{rcpt_mailer}\0error", 20));
	assert_non_null(memmem(b->frame, b->len, "{rcpt_addr}\000550 5.1.1 nobody", 29));
	EXPECT(b, 'R', "<no@y.test>\0");
	SAY(b, 'r', "");
	expect_action(b, META1_PM_CONTINUE);
	/* Behind DATA libmilter has no answer to a command that is unknown. */
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_UNKNOWN, .arg = str("FOO")});
	expect_action(b, META1_PM_CONTINUE);
	b->ops->reset(b->sess);
	EXPECT(b, 'A', "");
	/* Nor to anything of a mail that it has thrown away. */
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_MAIL, .arg = str("a@x.test")});
	EXPECT(b, 'M', "<a@x.test>\0");
	SAY(b, 'd', "");
	expect_action(b, META1_PM_DISCARD);
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_DATA});
	expect_action(b, META1_PM_DISCARD);
	bench_free(&b);
}

/* What each other option changes. */
static void habits(void **state)
{
	struct bench *b = bench_new("version = 2;");
	size_t n = 200000;
	char *text = base_alloc(n + 1);
	struct meta1_extent e[2];
	struct meta1_pm_message m;

	(void)state;
	begin(b);
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_CONNECT});
	accept_one(b);
	assert_int_equal(next(b), 'O');
	assert_memory_equal(b->frame + 1, "\0\0\0\2\0\0\0\x3f\0\0\0\x7f", 12);
	SAY(b, 'O', "\0\0\0\2\0\0\0\0\0\0\0\x7f");
	expect_action(b, META1_PM_CONTINUE);
	bench_free(&b);

	memset(text, 'x', n);
	m = message(e, text, 0, 1);
	b = bench_new("data_size = 1m; max_idle = 0;");
	begin(b);
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_CONNECT});
	accept_one(b);
	assert_int_equal(next(b), 'O');
	assert_memory_equal(b->frame + 9, "\x30\x1f\xff\xff", 4);
	SAY(b, 'O', "\0\0\0\6\0\0\0\0\x20\x0f\xf0\x80"); /* 1m, no replies */
	expect_action(b, META1_PM_CONTINUE);
	ask_end(b, &m);
	while (next(b) != 'B')
		;
	expect(b, 'E', "", 0);
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	b->ops->reset(b->sess);
	b->ops->end(&b->sess);
	EXPECT(b, 'Q', "");
	bench_free(&b);

	b = bench_new("idle_time = 1s;");
	at_end(b, ACT);
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	b->ops->reset(b->sess);
	b->ops->end(&b->sess);
	EXPECT(b, 'K', "");
	for (int i = 0; i < 10000 && read(b->filter, text, 1) != 0; i++)
		turn(b); /* until it hangs up */
	assert_int_equal(read(b->filter, text, 1), 0);
	free(text);
	bench_free(&b);
}

static void options(void **state)
{
	static const char *const bad[] = {"", "socket_type = unix;",
	    "socket_address = \"127.0.0.1\";", "socket_port = 1; version = 7;",
	    "socket_port = 1; fallback_type = unix;", "socket_path = \"/x/unix:/run/f\";",
	    "socket_port = 1; fallback_path = \"/x/inet:8891@localhost\";",
	    "socket_address = localhost; socket_port = 1;",
	    "socket_port = 1; fallback_address = \"127.0.0.1:2\"; fallback_port = 1;"};
	struct bench *b = bench_new(NULL);

	(void)state;
	mod_close(&b->inst);
	for (size_t i = 0; i < LEN(bad); i++)
		assert_false(open_with(b, bad[i]));
	assert_true(open_with(b, "socket_port = 8891;"));
	mod_close(&b->inst);
	assert_true(open_with(b, "socket_address = \"::1\"; socket_port = 8891;"));
	bench_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_name_is_for_who_sees_it),
	    cmocka_unit_test(empty_lists),
	    cmocka_unit_test(long_replies),
	    cmocka_unit_test(refused_rcpt),
	    cmocka_unit_test(habits),
	    cmocka_unit_test(options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
