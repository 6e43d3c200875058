/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Unit test of core/smtps: whole dialogs. Each runs at once and byte by byte, with the same
 * replies and the same messages; faults of smar, qmgr, store and client are forced, and
 * after each the next transaction must find nothing of the one before. What concerns qmgr's credits
 * is in intake.c, limits of commands, content and time are in bounds.c, sequences by chance in
 * chance.c.
 */
#include "dialog.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* needs the headers above */
#include <cmocka.h>

#define AE "\303\244" /* "ä" */

struct row {
	const char *text;
	size_t len;
	const char *codes;
	unsigned nmsg;
	const char *rcpts; /* of the last message */
};

static const struct row rows[] = {
    {S(HI ENV "DATA\r\n" BODY "QUIT\r\n"), "220 250 250 250 354 250 221 ", 1, "x@y "},
    {S("HELO c\r\n" ENV "DATA\r\n.\r\n"), "220 250 250 250 354 250 ", 1, "x@y "},
    /* order of commands */
    {S(ENV "DATA\r\n" HI "DATA\r\nRCPT TO:<x@y>\r\n"), "220 503 503 503 250 503 503 ", 0, NULL},
    {S(HI "MAIL FROM:<>\r\nMAIL FROM:<>\r\nDATA\r\n"
	  "RCPT TO:<x@y>\r\nMAIL FROM:<>\r\n"),
	"220 250 250 503 503 250 503 ", 0, NULL},
    {S(HI ENV "RSET\r\nDATA\r\nRCPT TO:<x@y>\r\n"), "220 250 250 250 250 503 503 ", 0, NULL},
    {S(HI ENV HI "DATA\r\nRCPT TO:<x@y>\r\n"), "220 250 250 250 250 503 503 ", 0, NULL},
    {S(HI ENV "HELO x y\r\nDATA\r\n" BODY), "220 250 250 250 501 354 250 ", 1, "x@y "},
    {S("rset\r\nNoop x\r\nVRFY x\r\nVRFY\r\nhelp\r\nHELP mail\r\nEXPN "
       "x\r\nSTARTTLS\r\nFOO\r\n\r\n"),
	"220 250 250 252 501 214 214 502 502 500 500 ", 0, NULL},
    {S(HI ENV "DATA x\r\nQUIT x\r\nDATA\r\n" BODY), "220 250 250 250 501 501 354 250 ", 1, "x@y "},
    {S("QUIT\r\nNOOP\r\n"), "220 221 ", 0, NULL},
    /* recipients */
    {S(HI "MAIL FROM:<a@b>\r\nRCPT TO:<bad@y>\r\nRCPT TO:<x@y>\r\nRCPT TO:<temp@y>\r\n"
	  "RCPT TO:<mute@y>\r\nRCPT TO:<away@y>\r\nRCPT TO:<z@y>\r\nRCPT TO:<nonsense>\r\n"
	  "DATA\r\n" BODY),
	"220 250 250 550 250 451 451 451 250 501 354 250 ", 1, "x@y z@y "},
    {S(HI "MAIL FROM:<a@b>\r\nRCPT TO:<bad@y>\r\nDATA\r\nRCPT TO:<x@y>\r\nDATA\r\n" BODY),
	"220 250 250 550 554 250 354 250 ", 1, "x@y "},
    {S(HI "MAIL FROM:<a@b>\r\nRCPT TO:<PostMaster>\r\nDATA\r\n" BODY), "220 250 250 250 354 250 ",
	1, "PostMaster "},
    {S(HI "MAIL FROM:<a@b>\r\nRCPT TO:<drop@y>\r\nDATA\r\n" BODY ENV "DATA\r\n" BODY),
	"220 250 250 250 354 250 250 250 354 250 ", 1, "x@y "},
    {S(HI "MAIL FROM:<a@b>\r\nRCPT TO:<drop@y>\r\nRCPT TO:<x@y>\r\nDATA\r\n" BODY),
	"220 250 250 250 250 354 250 ", 1, "x@y "},
    {S(HI "MAIL FROM:<a@b>\r\nRCPT TO:<kept@y>\r\nRCPT TO:<kept@y>\r\nRSET\r\n"),
	"220 250 250 250 250 250 ", 0, NULL},
    /* UTF-8 */
    {S(HI "MAIL FROM:<" AE "@b>\r\nMAIL FROM:<a@" AE ">\r\nMAIL FROM:<a@b> SMTPUTF8=1\r\n"
	  "MAIL FROM:<\xe4@b> SMTPUTF8\r\nMAIL FROM:<" AE "@b> smtputf8\r\nRCPT TO:<" AE
	  "@y>\r\nRCPT TO:<x@" AE ">\r\nRCPT TO:<\xe4@y>\r\nDATA\r\n" BODY),
	"220 250 550 550 501 501 250 250 250 501 354 250 ", 1, AE "@y x@" AE " "},
    {S(HI "MAIL FROM:<a@b>\r\nRCPT TO:<" AE "@y>\r\nRCPT TO:<x@" AE ">\r\nRCPT TO:<x@y>\r\n"
	  "DATA\r\n" BODY),
	"220 250 250 553 553 250 354 250 ", 1, "x@y "},
    {S(HI "VRFY " AE "\r\nVRFY " AE " SMTPUTF8\r\nVRFY x SMTPUTF8\r\nVRFY SMTPUTF8\r\n"),
	"220 250 553 252 252 252 ", 0, NULL},
    /* parameters */
    {S(HI "MAIL FROM: <a@b> SIZE=10 BODY=8bitmime\r\nRCPT to:<x@y>\r\nDATA\r\n" BODY),
	"220 250 250 250 354 250 ", 1, "x@y "},
    {S(HI "MAIL FROM:<a@b> SIZE=65537\r\nMAIL FROM:<a@b> SIZE=99999999999999999999\r\n"
	  "MAIL FROM:<a@b> SIZE=\r\nMAIL FROM:<a@b> SIZE\r\nMAIL FROM:<a@b> SIZE=1x\r\n"
	  "MAIL FROM:<a@b> SIZE=1 SIZE=1\r\nMAIL FROM:<a@b> BODY=9BIT\r\n"
	  "MAIL FROM:<a@b> FOO=1\r\nMAIL FROM:<a@b>SIZE=1\r\nMAIL a@b\r\nMAIL FROM:a@b\r\n"),
	"220 250 552 552 501 501 501 501 501 555 501 501 501 ", 0, NULL},
    {S(HI "MAIL FROM:<>\r\nRCPT TO:<x@y> NOTIFY=NO\r\nRCPT x@y\r\n"), "220 250 250 501 501 ", 0,
	NULL},
    /* bad bytes in commands */
    {S("NOOP a\rb\r\nNOOP a\0b\r\nNOOP\r\n"), "220 500 500 250 ", 0, NULL},
    {S("NOOP\nQUIT\r\n"), "220 500 ", 0, NULL},
    {S(HI "MAIL FROM:<a@b>\nRCPT TO:<x@y>\r\nNOOP\r\n"), "220 250 500 ", 0, NULL},
    /* ends of messages that are none; what follows is never taken for commands */
    {S(HI ENV "DATA\r\na\n.\r\nMAIL FROM:<evil@b>\r\n.\r\nNOOP\r\n"),
	"220 250 250 250 354 550 250 ", 0, NULL},
    {S(HI ENV "DATA\r\na\r\n.\nMAIL FROM:<evil@b>\r\n.\r\nNOOP\r\n"),
	"220 250 250 250 354 550 250 ", 0, NULL},
    {S(HI ENV "DATA\r\na\r\n.\rMAIL FROM:<evil@b>\r\n.\r\nNOOP\r\n"),
	"220 250 250 250 354 550 250 ", 0, NULL},
    {S(HI ENV "DATA\r\na\r.\r\n.\r\n" ENV "DATA\r\n" BODY),
	"220 250 250 250 354 550 250 250 354 250 ", 1, "x@y "},
    {S(HI ENV "DATA\r\na\r\n\0.\r\nQUIT\r\n.\r\nNOOP\r\n"), "220 250 250 250 354 250 250 ", 1,
	"x@y "},
    {S(HI ENV "DATA\r\n..\r\n...\r\n.x\r\n.\r\nNOOP\r\n"), "220 250 250 250 354 250 250 ", 1,
	"x@y "},
};

/* Everything a client can see, and everything that was kept, is the same for all splits. */
static void dialogs(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		static struct dialog whole, bytes;
		const struct row *r = &rows[i];

		for (unsigned more = 0; more < 3; more++) {
			dialog_open(&whole);
			dialog_run(&whole, r->text, r->len, 0);
			if (strcmp(dialog_codes(&whole), r->codes) != 0)
				fail_msg("row %zu: %s\n%s", i, dialog_codes(&whole), whole.out);
			assert_true(whole.eof);
			assert_int_equal(whole.nmsg, r->nmsg);
			if (r->rcpts != NULL)
				assert_string_equal(whole.msg[r->nmsg - 1].rcpts, r->rcpts);
			assert_int_equal(whole.queued, r->nmsg);
			dialog_open(&bytes);
			bytes.more = more;
			dialog_run(&bytes, r->text, r->len, 1);
			assert_string_equal(whole.out, bytes.out);
			assert_int_equal(bytes.nmsg, r->nmsg);
			for (unsigned k = 0; k < r->nmsg; k++)
				assert_string_equal(whole.msg[k].data, bytes.msg[k].data);
			dialog_close(&bytes);
			dialog_close(&whole);
		}
	}
}

/* SMTPUTF8 is said in our line and kept; our line itself stays ASCII. */
static void utf8_kept(void **state)
{
	static const struct {
		const char *said, *rcpt, *with, *header;
		uint32_t flags;
		bool named;
	} row[] = {
	    {"", "x@y", "ESMTP", "a", 0, true},
	    {" SMTPUTF8", "x@y", "UTF8SMTP", "a", META1_M_SMTPUTF8, true},
	    {" SMTPUTF8", AE "@y", "UTF8SMTP", "a", META1_M_SMTPUTF8, false},
	    {" SMTPUTF8", "x@y", "UTF8SMTP", AE,
		META1_M_SMTPUTF8 | META1_M_8BIT | META1_M_HEADER_8BIT, true},
	    {" SMTPUTF8 BODY=8BITMIME", "x@y", "UTF8SMTP", "a\r\n\r\n" AE,
		META1_M_SMTPUTF8 | META1_M_8BIT, true},
	};
	static struct dialog d;
	char text[512], want[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		snprintf(text, sizeof(text),
		    HI "MAIL FROM:<a@b>%s\r\nRCPT TO:<%s>\r\nDATA\r\nSubject: %s\r\n.\r\n",
		    row[i].said, row[i].rcpt, row[i].header);
		dialog_open(&d);
		dialog_run(&d, text, strlen(text), 0);
		assert_int_equal(d.nmsg, 1);
		assert_int_equal(d.msg[0].flags, row[i].flags);
		snprintf(want, sizeof(want), " with %s id ", row[i].with);
		assert_non_null(strstr(d.msg[0].data, want));
		assert_int_equal(strstr(d.msg[0].data, "\tfor <x@y>;") != NULL, row[i].named);
		assert_null(strstr(d.msg[0].data, "\tfor <" AE));
		dialog_close(&d);
	}
}

static void stored_form(void **state)
{
	static struct dialog d;
	const char *m;

	(void)state;
	dialog_open(&d);
	dialog_run(&d, S(HI ENV "DATA\r\nA: \303\244\r\n\r\n..dot\r\nend\r\n.\r\n"), 0);
	m = d.msg[0].data;
	assert_int_equal(
	    strncmp(m, "Received: from c.test ([192.0.2.1])\r\n\tby mx.test (meta1-", 55), 0);
	assert_non_null(strstr(m, ") with ESMTP id S000000000000000100\r\n\tfor <x@y>;\r\n\t"));
	assert_non_null(strstr(m, "\r\nA: \303\244\r\n\r\n..dot\r\nend\r\n"));
	assert_string_equal(m + d.msg[0].len - 7, "\r\nend\r\n");
	assert_int_equal(d.msg[0].flags, META1_M_8BIT | META1_M_HEADER_8BIT | META1_M_STUFFED);
	assert_int_equal(d.msg[0].bytes, d.msg[0].len - 1); /* one dot of stuffing */
	assert_string_equal(d.last_queued, "S000000000000000100 a@b 1");
	dialog_close(&d);
}

static void faults_of_the_store(void **state)
{
	static const struct {
		size_t off; /* of the fault in struct dialog */
		const char *codes;
	} row[] = {
	    {offsetof(struct dialog, fail_begin), "220 250 250 250 452 "},
	    {offsetof(struct dialog, fail_write), "220 250 250 250 354 452 "},
	    {offsetof(struct dialog, fail_commit), "220 250 250 250 354 452 "},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		static struct dialog d;
		bool *fault = (bool *)((char *)&d + row[i].off);

		dialog_open(&d);
		dialog_connect(&d);
		*fault = true;
		dialog_say(&d, S(HI ENV "DATA\r\n"), 0);
		if (i > 0)
			dialog_say(&d, S(BODY), 0);
		assert_string_equal(dialog_codes(&d), row[i].codes);
		assert_int_equal(d.nmsg, 0);
		*fault = false;
		d.nout = 0;
		/* nothing of it is left: DATA and RCPT are out of order */
		dialog_say(&d, S("DATA\r\nRCPT TO:<x@y>\r\n" ENV "DATA\r\n"), 0);
		dialog_say(&d, S(BODY), 0);
		assert_string_equal(dialog_codes(&d), "503 503 250 250 354 250 ");
		assert_int_equal(d.nmsg, 1);
		assert_string_equal(d.msg[0].rcpts, "x@y ");
		dialog_close(&d);
	}
}

/* What session.c does when its connection dies. */
static void reset(struct smtps_session *s)
{
	conn_close(&s->conn);
	smtps_session_end(s);
	smtps_session_run(s);
}

static void clients_that_vanish(void **state)
{
	static struct dialog d;

	(void)state;
	dialog_open(&d);
	dialog_connect(&d); /* in DATA, the dot not said */
	dialog_say(&d, S(HI ENV "DATA\r\nSubject: x\r\n.\r"), 0);
	dialog_hang_up(&d);
	assert_int_equal(d.nmsg, 0);
	assert_int_equal(d.aborted, 1);
	assert_int_equal(d.srv.nsession, 0);
	dialog_connect(&d); /* while smar is asked */
	dialog_say(&d, S(HI "MAIL FROM:<a@b>\r\nRCPT TO:<hang@y>\r\n"), 0);
	assert_string_equal(
	    smtps_session_waits_for(LIST_FIRST(&d.srv.sessions)->await.what), "rcpt-check at smar");
	close(d.client);
	d.client = -1;
	dialog_turns(&d, 20);
	dialog_answer(&d);
	assert_int_equal(d.srv.nsession, 0);
	dialog_connect(&d); /* while the store makes room; the connection is reset */
	d.more = 2;
	d.stuck = true;
	dialog_say(&d, S(HI ENV "DATA\r\nSubject: x\r\n"), 0);
	assert_int_equal(LIST_FIRST(&d.srv.sessions)->await.what, AWAIT_ROOM);
	reset(LIST_FIRST(&d.srv.sessions));
	assert_int_equal(d.srv.nsession, 0);
	assert_int_equal(d.aborted, 2);
	d.more = 0;
	dialog_connect(&d); /* behind the dot, while the store works */
	d.hold = true;
	dialog_say(&d, S(FULL), 0);
	close(d.client);
	d.client = -1;
	dialog_turns(&d, 20);
	assert_int_equal(d.srv.nopen, 1);
	dialog_answer(&d);
	assert_int_equal(d.nmsg, 1);
	assert_int_equal(d.queued, 1);
	dialog_connect(&d); /* the same, and it is reset: what the message holds still counts */
	dialog_say(&d, S(FULL), 0);
	reset(LIST_FIRST(&d.srv.sessions));
	assert_int_equal(d.srv.nsession, 0);
	assert_in_range(d.srv.memory, 200, 65536);
	dialog_answer(&d);
	assert_int_equal(d.nmsg, 2);
	dialog_close(&d);
}

/* What is refused while the store makes room is never told of it, and still gets its reply. */
static void refused_while_waiting(void **state)
{
	struct dialog d;

	(void)state;
	dialog_open(&d);
	d.more = 2;
	dialog_connect(&d);
	dialog_say(&d, S(HI ENV "BDAT 10\r\na\r\n.\nDATA"), 0);
	dialog_say(&d, S("\rNOOP\r\n"), 0);
	assert_string_equal(dialog_codes(&d), "220 250 250 250 550 250 ");
	dialog_close(&d);
}

static void stopping(void **state)
{
	static struct dialog d;

	(void)state;
	dialog_open(&d);
	dialog_connect(&d);
	dialog_say(&d, S(HI ENV "DATA\r\nSubject: x\r\n"), 0);
	d.srv.stopping = true;
	smtps_session_stop_all(&d.srv);
	dialog_turns(&d, 5);
	assert_false(d.eof); /* past DATA: it may finish */
	dialog_say(&d, S("\r\nx\r\n.\r\nMAIL FROM:<>\r\n"), 0);
	assert_string_equal(dialog_codes(&d), "220 250 250 250 354 250 421 ");
	assert_true(d.eof && d.srv.over);
	assert_int_equal(d.queued, 1);
	dialog_close(&d);
	dialog_open(&d);
	dialog_connect(&d);
	dialog_say(&d, S(HI "MAIL FROM:<a@b>\r\nRCPT TO:<hang@y>\r\n"), 0);
	d.srv.stopping = true;
	smtps_session_stop_all(&d.srv);
	dialog_turns(&d, 5);
	assert_string_equal(dialog_codes(&d), "220 250 250 421 ");
	assert_true(d.eof);
	assert_int_equal(d.forgotten, 1);
	dialog_close(&d);
}

/* What holds of every row: EHLO, HELP and the dispatch are made from it. */
static void table_of_verbs(void **state)
{
	size_t n, next, i, k;
	const struct smtps_verb *v = smtps_verbs_table(&n);
	const struct smtps_ext *ext = smtps_verbs_extensions(&next);

	(void)state;
	for (i = 0; i < n; i++) {
		assert_int_equal(
		    strspn(v[i].name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"), strlen(v[i].name));
		assert_true(v[i].max >= 512);
		assert_true(v[i].max <= (strcmp(v[i].name, "AUTH") == 0 ? SMTPS_AUTH_LINE_MAX
									: SMTPS_LINE_MAX));
		/* offered means: an action, a help text, states to be in, never while it waits */
		assert_int_equal(v[i].act != NULL, v[i].help != NULL);
		assert_int_equal(v[i].act != NULL, v[i].states != 0);
		assert_int_equal(v[i].states & (IN(GREET) | IN(DATA) | IN(BDAT) | IN(SKIP) |
						   IN(COMMIT) | IN(CLOSE)),
		    0);
		for (k = 0; k < i; k++)
			assert_string_not_equal(v[i].name, v[k].name);
	}
	for (i = 0; i < next; i++)
		for (k = 0; k < i; k++)
			assert_string_not_equal(ext[i].keyword, ext[k].keyword);
	assert_int_equal(ext[next - 1].flag, 0); /* the last line of EHLO is always there */
}

/* RFC 9422 4.1: a value has at most six digits and is not 0; more is as good as no limit. */
static void words_of_limits(void **state)
{
	static const struct {
		int64_t rcpts, transactions;
		const char *words;
	} row[] = {{5, 7, " RCPTMAX=5 MAILMAX=7"}, {5, 999999, " RCPTMAX=5 MAILMAX=999999"},
	    {5, 1000000, " RCPTMAX=5"}, {0, 0, " RCPTMAX=10000"}, {1000000, 0, " RCPTMAX=10000"}};
	struct smtps_limits lim = {0};
	const struct smtps_ext *ext;
	char out[80];
	size_t n, i;

	(void)state;
	for (ext = smtps_verbs_extensions(&n); strcmp(ext->keyword, "LIMITS") != 0; ext++)
		assert_true(--n > 0);
	for (i = 0; i < ARRAY_LEN(row); i++) {
		lim.rcpts_per_tx = row[i].rcpts;
		lim.transactions = row[i].transactions;
		ext->words(&lim, out, sizeof(out));
		assert_string_equal(out, row[i].words);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(table_of_verbs),
	    cmocka_unit_test(words_of_limits),
	    cmocka_unit_test(dialogs),
	    cmocka_unit_test(stored_form),
	    cmocka_unit_test(utf8_kept),
	    cmocka_unit_test(faults_of_the_store),
	    cmocka_unit_test(clients_that_vanish),
	    cmocka_unit_test(refused_while_waiting),
	    cmocka_unit_test(stopping),
	};

	dialog_quiet();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
