/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tries modules/transports/dialog/reply.c and caps.c by tables: whole replies as lines,
 * what they come to, and what is no reply at all.
 */
#include "dialog/caps.h"
#include "dialog/reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

/* Feeds text line by line (LF ends one); what the last line came to. */
static enum dialog_got feed(struct dialog_reply *r, const char *text)
{
	enum dialog_got got = DIALOG_MORE;

	while (*text && got == DIALOG_MORE) {
		size_t n = strcspn(text, "\n");

		got = dialog_reply_line(r, text, n);
		text += n + (text[n] == '\n');
	}
	assert_string_equal(text, "");
	return got;
}

static void good(void **state)
{
	static const struct {
		const char *in;
		int code;
		const char *dsn, *text;
	} row[] = {
	    {"250 ok\n", 250, "", "ok"},
	    {"250\n", 250, "", ""},
	    {"250 \n", 250, "", ""},
	    {"354 go on\n", 354, "", "go on"},
	    {"250 2.0.0 Ok: queued as 1\n", 250, "2.0.0", "Ok: queued as 1"},
	    {"250 2.1.5\n", 250, "2.1.5", ""},
	    {"250-one\n250-two\n250 three\n", 250, "", "one two three"},
	    {"250-\n250-\n250 x\n", 250, "", "x"},
	    /* Cyrus gives the enhanced code on the last line only. */
	    {"550-Mailbox unknown. Either there is no mailbox associated with this\n550-name or "
	     "you "
	     "do not have authorization to see it.\n550 5.1.1 User unknown\n",
		550, "5.1.1",
		"Mailbox unknown. Either there is no mailbox associated with this name or you do "
		"not have authorization to see it. User unknown"},
	    {"430 Authentication required\n", 430, "", "Authentication required"},
	    {"550-5.7.1 a\n550 5.7.1 b\n", 550, "5.7.1", "a b"},
	    {"550-5.7.1 a\n550 5.7.27 b\n", 550, "5.7.1", "a b"}, /* the first one stands */
	    {"450 5.7.1 class differs\n", 450, "", "5.7.1 class differs"},
	    {"550 5.1. no\n", 550, "", "5.1. no"},
	    {"550 5.1.1x no\n", 550, "", "5.1.1x no"},
	    {"550 5..1 no\n", 550, "", "5..1 no"},
	    {"550 5.1234.1 no\n", 550, "", "5.1234.1 no"},
	    {"550 5.123.456 yes\n", 550, "5.123.456", "yes"},
	    {"250 a\rb\tc\033[2J\x80\n", 250, "", "a?b?c?[2J?"},
	};

	(void)state;
	for (size_t i = 0; i < LEN(row); i++) {
		struct dialog_reply r = {0};

		assert_int_equal(feed(&r, row[i].in), DIALOG_DONE);
		assert_int_equal(r.code, row[i].code);
		assert_string_equal(r.dsn, row[i].dsn);
		assert_string_equal(r.text, row[i].text);
	}
}

static void bad(void **state)
{
	static const char *const row[] = {"", "2", "25", "25x ok", "250_ok", "250ok", "2 50 ok",
	    "099 low", "100 low", "600 high", "999", " 250 ok", "-250 ok", "HTTP/1.1 200 OK",
	    "250-a\n251 b", "250-a\nb", "250-a\n"};

	(void)state;
	for (size_t i = 0; i < LEN(row); i++) {
		struct dialog_reply r = {0};
		enum dialog_got got = row[i][0] ? feed(&r, row[i]) : dialog_reply_line(&r, "", 0);

		if (i == LEN(row) - 1) {
			assert_int_equal(got, DIALOG_MORE);
			continue;
		}
		assert_int_equal(got, DIALOG_BAD);
		assert_non_null(r.bad);
		/* And the next line begins anew. */
		assert_int_equal(dialog_reply_line(&r, "220 hello", 9), DIALOG_DONE);
		assert_int_equal(r.code, 220);
		assert_string_equal(r.text, "hello");
	}
}

static void nul_and_length(void **state)
{
	static char line[DIALOG_REPLY_LINE + 2];
	struct dialog_reply r = {0};

	(void)state;
	assert_int_equal(dialog_reply_line(&r, "250 a\0b", 7), DIALOG_DONE);
	assert_string_equal(r.text, "a?b");
	memset(line, 'x', sizeof(line));
	memcpy(line, "250 ", 4);
	assert_int_equal(dialog_reply_line(&r, line, DIALOG_REPLY_LINE), DIALOG_DONE);
	assert_int_equal(strlen(r.text), DIALOG_REPLY_TEXT - 1);
	assert_int_equal(dialog_reply_line(&r, line, DIALOG_REPLY_LINE + 1), DIALOG_BAD);
}

static void many_lines(void **state)
{
	struct dialog_reply r = {0};

	(void)state;
	for (int i = 0; i < DIALOG_REPLY_LINES; i++)
		assert_int_equal(dialog_reply_line(&r, "250-long enough a line", 22), DIALOG_MORE);
	assert_int_equal(strlen(r.text), DIALOG_REPLY_TEXT - 1);
	assert_int_equal(dialog_reply_line(&r, "250 last", 8), DIALOG_BAD);
	for (int i = 0; i < DIALOG_REPLY_LINES - 1; i++)
		assert_int_equal(dialog_reply_line(&r, "250-x", 5), DIALOG_MORE);
	assert_int_equal(dialog_reply_line(&r, "250 last", 8), DIALOG_DONE);
}

static void caps(void **state)
{
	static const struct {
		const char *in; /* lines of the reply behind the first */
		struct dialog_caps want;
	} row[] = {
	    {"", {0}},
	    {"PIPELINING", {.pipelining = 1}},
	    {"pipelining", {.pipelining = 1}},
	    {"PIPELININGS", {0}},
	    {"PIPE", {0}},
	    {"8BITMIME", {.eightbit = 1}},
	    {"SIZE", {.size = 1}},
	    {"SIZE 0", {.size = 1}},
	    {"SIZE 10240000", {.size = 1, .max_size = 10240000}},
	    {"SIZE=10240000", {.size = 1, .max_size = 10240000}},
	    {"SIZE  77 ", {.size = 1, .max_size = 77}},
	    {"SIZE 99999999999999999999999", {.size = 1}},
	    {"SIZE -1", {.size = 1}},
	    {"SIZE 12k", {.size = 1}},
	    {"Ok SESSIONID=<cyrus-1>", {0}}, /* Cyrus' last line */
	    {"AUTH PLAIN\nSTARTTLS\nPIPELINING\nENHANCEDSTATUSCODES\n8BITMIME\nSIZE 5",
		{.pipelining = 1, .eightbit = 1, .size = 1, .starttls = 1, .max_size = 5}},
	    {"STARTTLS", {.starttls = 1}},
	    {"STARTTLSX", {0}},
	};

	(void)state;
	for (size_t i = 0; i < LEN(row); i++) {
		struct dialog_caps c = {0};
		const char *p = row[i].in;

		while (*p) {
			size_t n = strcspn(p, "\n");

			dialog_caps_line(&c, p, n);
			p += n + (p[n] == '\n');
		}
		assert_int_equal(c.pipelining, row[i].want.pipelining);
		assert_int_equal(c.eightbit, row[i].want.eightbit);
		assert_int_equal(c.size, row[i].want.size);
		assert_int_equal(c.starttls, row[i].want.starttls);
		assert_int_equal(c.max_size, row[i].want.max_size);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(good),
	    cmocka_unit_test(bad),
	    cmocka_unit_test(nul_and_length),
	    cmocka_unit_test(many_lines),
	    cmocka_unit_test(caps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
