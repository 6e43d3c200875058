/* SPDX-License-Identifier: BSD-2-Clause */
/* pmilter_milter and filters that lie, go, or say no: replies, nonsense, lost connections. */
#include "pmilter_milter.h"

static void replies(void **state)
{
	static const struct {
		const char *text; /* of REPLYCODE */
		uint16_t smtp;
		const char *dsn, *line[3], *fails;
	} row[] = {
	    {"550 5.1.1 No", 550, "5.1.1", {"No"}, NULL},
	    {"550", 550, "", {""}, NULL},
	    {"451 4.7.1", 451, "4.7.1", {""}, NULL},
	    {"550 5.7.1-x", 550, "", {"5.7.1-x"}, NULL},
	    {"450 5.1.1 other class", 450, "", {"5.1.1 other class"}, NULL},
	    {"554-5.7.1 one\r\n554-5.7.1 two\r\n554 5.7.1 100%%", 554, "5.7.1",
		{"one", "two", "100%"}, NULL},
	    {"554-a\n554 b\r", 554, "", {"a", "b"}, NULL},
	    {"421 4.3.0 away", 421, "4.3.0", {"away"}, NULL},
	    {"550 a\tb\x7f", 550, "", {"a?b?"}, NULL},
	    {"250 2.0.0 fine", 0, "", {NULL}, "code of 400 to 599"},
	    {"55", 0, "", {NULL}, "code of 400 to 599"},
	    {"", 0, "", {NULL}, "code of 400 to 599"},
	    {"5500 x", 0, "", {NULL}, "code of 400 to 599"},
	    {"550-a\r\n551 b", 0, "", {NULL}, "same code"},
	    {"550-a\r\n\r\n550 b", 0, "", {NULL}, "code of 400 to 599"},
	};

	(void)state;
	for (size_t i = 0; i < LEN(row); i++) {
		struct bench *b = bench_new(NULL);

		connecting(b, 6, 0, 0);
		expect(b, 'C', NULL, 0);
		say(b, 'y', row[i].text, strlen(row[i].text) + 1);
		if (row[i].fails) {
			expect_failure(b, row[i].fails);
			bench_free(&b);
			continue;
		}
		expect_action(b, META1_PM_REFUSE);
		assert_int_equal(b->v->smtp, row[i].smtp);
		assert_string_equal(b->v->dsn, row[i].dsn);
		for (uint16_t n = 0; n < b->v->nline; n++)
			assert_true(buf_eq(b->v->line[n], str(row[i].line[n])));
		assert_true(b->v->nline == 3 || !row[i].line[b->v->nline]);
		bench_free(&b);
	}
}

/* What the filter says, in answer to the end of a message or to CONNECT, and what is made of it. */
static void hostile(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		uint32_t actions;
		const char *says;
		bool end;
	} row[] = {
#define R(s, act, says, end) {s, sizeof(s) - 1, act, says, end}
	    R("\0\0\0\0", ACT, "command of 0 bytes", false),
	    R("\xff\xff\xff\xff", ACT, "command of 4294967295 bytes", false),
	    R("\0\x10\0\1x", ACT, "command of 1048577 bytes", false),
	    R("HTTP/1.1 400 Bad Request", ACT, "command of 1213486160 bytes", false),
	    R("\0\0\0\1z", ACT, "0x7a", false),
	    R("\0\0\0\1O", ACT, "no reply of the protocol", false),
	    R("\0\0\0\1q", ACT, "QUARANTINE, where it may not", false),
	    R("\0\0\0\5hA\0b\0", ACT, "ADDHEADER, where it may not", false),
	    R("\0\0\0\1d", ACT, "DISCARD, where it may not", false),
	    R("\0\0\0\1s", ACT, "SKIP, where it may not", false),
	    R("\0\0\0\1y", ACT, "no NUL", false),
	    R("\0\0\0\4y550", ACT, "no NUL", false),
	    R("\0\0\0\6y550\0x", ACT, "behind its last NUL", false),
	    R("\0\0\0\1h", ACT, "no NUL", true),
	    R("\0\0\0\4hA\0b", ACT, "no NUL", true),
	    R("\0\0\0\6hA\0b\0c", ACT, "behind its last NUL", true),
	    R("\0\0\0\4i\0\0\0", ACT, "without a number", true),
	    R("\0\0\0\5m\0\0\0\1", ACT, "no NUL", true),
	    R("\0\0\0\4+<>\0", ACT, "without an address", true),
	    R("\0\0\0\2-\0", ACT, "without an address", true),
	    R("\0\0\0\1e", ACT, "no NUL", true),
	    R("\0\0\0\3q\0x", ACT, "behind its last NUL", true),
	    R("\0\0\0\5hA\0b\0", ACT & ~1u, "did not ask for", true),
	    R("\0\0\0\5bxxxx", ACT & ~2u, "did not ask for", true),
	    R("\0\0\0\5+a@b\0", ACT & ~4u, "did not ask for", true),
	    R("\0\0\0\5-a@b\0", ACT & ~8u, "did not ask for", true),
	    R("\0\0\0\11m\0\0\0\1A\0b\0", ACT & ~16u, "did not ask for", true),
	    R("\0\0\0\2q\0", ACT & ~32u, "did not ask for", true),
	    R("\0\0\0\5ea@b\0", ACT & ~64u, "did not ask for", true),
	    R("\0\0\0\0052a@b\0", ACT & ~128u, "did not ask for", true),
	};

	(void)state;
	for (size_t i = 0; i < LEN(row); i++) {
		struct bench *b = bench_new(NULL);

		if (row[i].end)
			at_end(b, row[i].actions);
		else {
			connecting(b, 6, row[i].actions, 0);
			expect(b, 'C', NULL, 0);
		}
		raw(b, row[i].bytes, row[i].len);
		expect_failure(b, row[i].says);
		assert_non_null(strstr(b->text, b->path));
		bench_free(&b);
	}
}

static void bad_negotiation(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		const char *says;
	} row[] = {
#define N(s, says) {s, sizeof(s) - 1, says}
	    N("\0\0\0\1c", "expected is OPTNEG"),
	    N("220 smtp.example ESMTP\r\n", "a command of"),
	    N("\0\0\0\14O\0\0\0\6\0\0\0\0\0\0\0", "expected is OPTNEG"),
	    N("\0\0\0\15O\0\0\0\1\0\0\0\0\0\0\0\0", "milter version 1; expected is 2 to 6"),
	    N("\0\0\0\15O\0\0\0\7\0\0\0\0\0\0\0\0", "milter version 7"),
	    N("\0\0\0\15O\0\0\0\6\0\0\2\0\0\0\0\0", "offered were"),
	    N("\0\0\0\15O\0\0\0\6\0\0\0\0\x10\0\0\0", "offered were"),
	    N("\0\0\0\22O\0\0\0\6\0\0\0\0\0\0\0\0\0\0\0\7\0", "a stage that there is not"),
	    N("\0\0\0\22O\0\0\0\6\0\0\0\0\0\0\0\0\0\0\0\0j", "a list that has no end"),
	    N("\0\0\0\17O\0\0\0\6\0\0\0\0\0\0\0\0\0\0", "a list that has no end"),
	};

	(void)state;
	for (size_t i = 0; i < LEN(row); i++) {
		struct bench *b = bench_new(NULL);

		begin(b);
		ask(b, (struct meta1_pm_ask){.stage = META1_PM_CONNECT});
		accept_one(b);
		assert_int_equal(next(b), 'O');
		raw(b, row[i].bytes, row[i].len);
		expect_failure(b, row[i].says);
		bench_free(&b);
	}
}

/* Closed at each step: a text that says where, and the next mail of the session on a new one. */
static void closed(void **state)
{
	struct bench *b = bench_new(NULL);

	(void)state;
	at_end(b, ACT);
	SAY(b, 'b', "half");
	close(b->filter);
	b->filter = -1;
	expect_failure(b, "before an answer to BODYEOB");
	b->ops->reset(b->sess);
	b->about.from = str("new@x.test");
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_MAIL, .arg = str("new@x.test")});
	accept_one(b);
	negotiate(b, 6, ACT, 0);
	expect(b, 'C', NULL, 0);
	SAY(b, 'c', "");
	EXPECT(b, 'H', "client.test\0");
	SAY(b, 'c', "");
	EXPECT(b, 'M', "<new@x.test>\0");
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	/* In the middle of a mail and while nothing is asked: the next ask hears of it. */
	close(b->filter);
	b->filter = -1;
	for (int i = 0; i < 20; i++)
		turn(b);
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_RCPT, .arg = str("b@y.test")});
	expect_failure(b, b->path);
	bench_free(&b);
}

/* A session whose filter is where b listens. */
static void asked_there(struct bench *b)
{
	connecting(b, 6, ACT, 1);
	expect_action(b, META1_PM_CONTINUE);
	b->ops->end(&b->sess);
	close(b->filter);
	b->filter = -1;
}

static void fall_back(void **state)
{
	struct bench *b = bench_new(NULL);
	char options[512];
	int first = b->listening, second;

	(void)state;
	mod_close(&b->inst);
	snprintf(options, sizeof(options), "socket_path = \"%s\"; fallback_path = \"%s\";", b->path,
	    b->other);
	assert_true(open_with(b, options));
	close(first);
	unlink(b->path);
	begin(b);
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_CONNECT});
	expect_failure(b, b->path);
	assert_non_null(strstr(b->text, b->other)); /* both are named */
	b->ops->end(&b->sess);
	b->listening = listen_at(b->other);
	asked_there(b);
	/* The first is back: it is asked again when the second was for half a minute. */
	second = b->listening;
	first = listen_at(b->path);
	asked_there(b);
	b->listening = first;
	loop_fake_clock(b->host.loop, loop_now(b->host.loop) + 30000, loop_wall(b->host.loop) + 30);
	asked_there(b);
	close(second);
	bench_free(&b);
}

/* One session with a filter that says these bytes, then goes; each ask has one answer. */
static void converse(struct bench *b, struct meta1_buf greets, struct meta1_buf ends, bool whole)
{
	struct meta1_extent e[2];
	struct meta1_pm_message m = message(e, "A: b\r\n\r\nbody\r\n", 8, 3);

	begin(b);
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_CONNECT});
	accept_one(b);
	assert_int_equal(next(b), 'O');
	raw(b, greets.data, greets.len);
	if (!whole) {
		close(b->filter);
		b->filter = -1;
	}
	answer(b);
	if (whole) {
		ask_end(b, &m);
		while (next(b) != 'E')
			;
		raw(b, ends.data, ends.len);
		close(b->filter);
		b->filter = -1;
		answer(b);
	}
	b->ops->reset(b->sess);
	b->ops->end(&b->sess);
}

/* Cut at each byte, and each byte another one, of a filter's whole word. */
static void garbled(void **state)
{
	static const char o[] = "\0\0\0\15O\0\0\0\6\0\0\1\xff\0\x0f\xf0\x80";
	static const char end[] = "\0\0\0\5hA\0b\0\0\0\0\11i\0\0\0\1A\0b\0\0\0\0\11m\0\0\0\1A\0b\0"
				  "\0\0\0\5+a@b\0\0\0\0\7"
				  "2a@b\0p\0\0\0\0\5-a@b\0\0\0\0\7ea@b\0p\0"
				  "\0\0\0\4bxyz\0\0\0\3qx\0\0\0\0\1p\0\0\0\1c";
	struct bench *b = bench_new("max_idle = 0;");
	const struct meta1_buf greets = {o, sizeof(o) - 1}, ends = {end, sizeof(end) - 1};
	char copy[sizeof(end)];

	(void)state;
	converse(b, greets, ends, true);
	assert_int_equal(b->st, META1_OK);
	for (int part = 0; part < 2; part++) {
		struct meta1_buf of = part ? ends : greets;

		for (size_t i = 0; i < of.len; i++) {
			static const unsigned char flip[] = {0, 1, 0x20, 0xff};

			for (size_t k = 0; k < LEN(flip); k++) {
				struct meta1_buf said = {copy, flip[k] ? of.len : i};

				memcpy(copy, of.data, of.len);
				copy[i] = (char)((unsigned char)copy[i] ^ flip[k]);
				converse(b, part ? greets : said, said, part);
				if (!flip[k]) /* cut */
					assert_int_equal(b->st, META1_TEMPFAIL);
			}
		}
	}
	bench_free(&b);
}

static void canceled(void **state)
{
	struct bench *b = bench_new(NULL);

	(void)state;
	at_end(b, ACT);
	mod_req_cancel(&b->req);
	for (int i = 0; i < 4; i++)
		turn(b);
	assert_int_equal(b->told, 0);
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_RCPT, .arg = str("b@y.test")});
	expect_failure(b, "no answer to BODYEOB");
	bench_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(replies),
	    cmocka_unit_test(hostile),
	    cmocka_unit_test(bad_negotiation),
	    cmocka_unit_test(closed),
	    cmocka_unit_test(fall_back),
	    cmocka_unit_test(garbled),
	    cmocka_unit_test(canceled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
