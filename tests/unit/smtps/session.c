/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Unit test of core/smtps: whole dialogs. Each runs at once and byte by byte, with the same
 * replies and the same messages; faults of smar, qmgr, store and client are forced, and
 * after each the next transaction must find nothing of the one before. What concerns qmgr's credits
 * is in intake.c.
 */
#include "dialog.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* needs the headers above */
#include <cmocka.h>

#define S(text) text, sizeof(text) - 1
#define AE	"\303\244" /* "ä" */
#define HI	"EHLO c.test\r\n"
#define ENV	"MAIL FROM:<a@b>\r\nRCPT TO:<x@y>\r\n"
#define BODY	"Subject: t\r\n\r\nhi\r\n.\r\n"

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

#define FULL HI ENV "DATA\r\n" BODY

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

static void limits(void **state)
{
	static struct dialog d;
	static char big[200000];

	(void)state;
	dialog_open(&d); /* recipients, too many in one transaction */
	d.srv.lim.rcpts_per_tx = 2;
	dialog_run(&d, S(HI ENV "RCPT TO:<drop@y>\r\nRCPT TO:<z@y>\r\nDATA\r\n" BODY), 0);
	assert_string_equal(dialog_codes(&d), "220 250 250 250 250 452 354 250 ");
	dialog_close(&d);

	dialog_open(&d); /* content too large: consumed, refused, the session goes on */
	memset(big, 'x', sizeof(big));
	dialog_connect(&d);
	dialog_say(&d, S(HI ENV "DATA\r\n"), 0);
	dialog_say(&d, big, sizeof(big), 0);
	assert_int_equal(d.aborted, 1);
	dialog_say(&d, S("\r\n.\r\nRCPT TO:<x@y>\r\n" ENV), 0);
	assert_string_equal(dialog_codes(&d), "220 250 250 250 354 552 503 250 250 ");
	dialog_close(&d);

	dialog_open(&d); /* hops */
	d.srv.lim.hops = 2;
	dialog_run(&d,
	    S(HI ENV "DATA\r\nReceived: 1\r\nReceived: 2\r\n\r\nReceived: x\r\n.\r\n" ENV
		     "DATA\r\nReceived: 1\r\nReceived: 2\r\nReceived: 3\r\n.\r\n"),
	    0);
	assert_string_equal(dialog_codes(&d), "220 250 250 250 354 250 250 250 354 554 ");
	dialog_close(&d);

	dialog_open(&d); /* a line too long, then one without end */
	memcpy(big, "NOOP ", 5);
	dialog_connect(&d);
	dialog_say(&d, big, 510, 0); /* 512 with CRLF */
	dialog_say(&d, S("\r\n"), 0);
	dialog_say(&d, big, 511, 0);
	dialog_say(&d, S("\r\n"), 0);
	dialog_say(&d, big, 9000, 0);
	dialog_say(&d, S("\r\nNOOP\r\n"), 1);
	assert_string_equal(dialog_codes(&d), "220 250 500 500 250 ");
	dialog_say(&d, big, sizeof(big), 0);
	assert_string_equal(dialog_codes(&d), "220 250 500 500 250 500 ");
	assert_true(d.eof);
	dialog_close(&d);
}

static void limits_of_commands(void **state)
{
	static struct dialog d;

	(void)state;
	dialog_open(&d); /* bad commands, empty ones, addresses, transactions */
	d.srv.lim.bad_commands = 3;
	dialog_run(&d, S("A\r\nB\r\nC\r\nD\r\n"), 0);
	assert_string_equal(dialog_codes(&d), "220 500 500 500 421 ");
	dialog_close(&d);
	dialog_open(&d);
	d.srv.lim.nop_commands = 3;
	dialog_run(&d, S(HI "NOOP\r\nRSET\r\nVRFY x\r\nEHLO x\r\nNOOP\r\n"), 0);
	assert_string_equal(dialog_codes(&d), "220 250 250 250 252 421 ");
	dialog_close(&d);
	dialog_open(&d);
	d.srv.lim.invalid_addresses = 2;
	dialog_run(&d, S(HI "MAIL FROM:<>\r\nRCPT TO:<bad@y>\r\nRCPT TO:<bad@z>\r\nNOOP\r\n"), 0);
	assert_string_equal(dialog_codes(&d), "220 250 250 550 550 421 ");
	dialog_close(&d);
	dialog_open(&d);
	d.srv.lim.transactions = 1;
	dialog_run(&d, S(HI "MAIL FROM:<>\r\nRSET\r\nMAIL FROM:<>\r\nNOOP\r\n"), 0);
	assert_string_equal(dialog_codes(&d), "220 250 250 250 421 ");
	dialog_close(&d);
}

static void output_is_bounded(void **state)
{
	static struct dialog d;
	static char big[199998];
	size_t n;

	(void)state;
	dialog_open(&d); /* a client that never reads */
	d.srv.lim.nop_commands = 0;
	dialog_connect(&d);
	for (n = 0; n + 6 <= sizeof(big); n += 6)
		memcpy(big + n, "HELP\r\n", 6);
	for (unsigned i = 0; i < 40; i++) {
		(void)!write(d.client, big, n);
		for (unsigned k = 0; k < 20; k++)
			loop_turn(d.role.loop, false);
	}
	assert_true(conn_unsent(LIST_FIRST(&d.srv.sessions)->conn) < 200000);
	dialog_close(&d);
	dialog_open(&d); /* one that says all, closes its side, and reads then */
	d.srv.lim.nop_commands = 0;
	dialog_connect(&d);
	do {
		assert_int_equal(write(d.client, "HELP\r\n", 6), 6);
		for (unsigned k = 0; k < 4; k++)
			loop_turn(d.role.loop, false);
	} while (conn_unsent(LIST_FIRST(&d.srv.sessions)->conn) <= 65536);
	shutdown(d.client, SHUT_WR);
	for (unsigned k = 0; k < 20; k++)
		loop_turn(d.role.loop, false);
	for (unsigned k = 0; k < 400 && d.srv.nsession > 0; k++) {
		(void)!read(d.client, big, sizeof(big));
		loop_turn(d.role.loop, false);
	}
	assert_int_equal(d.srv.nsession, 0);
	dialog_close(&d);
}

static void times(void **state)
{
	static struct dialog d;

	(void)state;
	dialog_open(&d); /* silent for too long */
	dialog_connect(&d);
	dialog_say(&d, S(HI ENV), 0);
	loop_fake_clock(d.role.loop, 1000 + 300001, 1700000300);
	dialog_turns(&d, 5);
	assert_string_equal(dialog_codes(&d), "220 250 250 250 421 ");
	assert_non_null(strstr(d.out, "421 4.4.2"));
	assert_true(d.eof);
	dialog_close(&d);
	dialog_open(&d); /* it is us who are slow: the client is not cut */
	d.srv.lim.io_timeout = 2000;
	d.hold = true;
	dialog_connect(&d);
	dialog_say(&d, S(FULL), 0);
	loop_fake_clock(d.role.loop, 9000, 1700000008);
	dialog_turns(&d, 5);
	dialog_answer(&d);
	assert_string_equal(dialog_codes(&d), "220 250 250 250 354 250 ");
	assert_false(d.eof);
	loop_fake_clock(d.role.loop, 11001, 1700000010);
	dialog_turns(&d, 5);
	assert_string_equal(dialog_codes(&d), "220 250 250 250 354 250 421 ");
	dialog_close(&d);
	dialog_open(&d); /* greeted after the delay */
	d.srv.lim.greet_delay = 5000;
	dialog_connect(&d);
	assert_int_equal(d.nout, 0);
	loop_fake_clock(d.role.loop, 6001, 1700000006);
	dialog_turns(&d, 5);
	dialog_say(&d, S(HI), 0);
	assert_string_equal(dialog_codes(&d), "220 250 ");
	dialog_close(&d);
	dialog_open(&d); /* talked before it */
	d.srv.lim.greet_delay = 5000;
	dialog_run(&d, S(HI), 0);
	assert_string_equal(dialog_codes(&d), "554 ");
	assert_true(d.eof);
	dialog_close(&d);
}

static int64_t counter(const char *name)
{
	const struct metric *m = metric_first();

	while (strcmp(m->name, name) != 0)
		m = m->next;
	return m->value;
}

/* Without greet_delay an early talker is counted and served. */
static void early_talk(void **state)
{
	int64_t before = counter("early_talkers_total");
	static struct dialog d;
	int pair[2];

	(void)state;
	dialog_open(&d);
	dialog_run(&d, S(HI), 0);
	dialog_hang_up(&d);
	assert_int_equal(counter("early_talkers_total"), before);
	d.nout = 0;
	d.eof = false;
	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(write(pair[0], S(HI)), sizeof(HI) - 1);
	d.client = pair[0];
	smtps_session_new(&d.srv, pair[1], "192.0.2.1");
	dialog_turns(&d, 10);
	assert_string_equal(dialog_codes(&d), "220 250 ");
	assert_int_equal(counter("early_talkers_total"), before + 1);
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
		assert_true(v[i].max >= 512 && v[i].max <= SMTPS_LINE_MAX);
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

/* ---- random sequences against a model of the states ---- */

static void model(
    unsigned *seed, char *text, size_t size, char *codes, size_t csize, unsigned *nmsg)
{
	bool helo = false, mail = false, chunks = false;
	unsigned rcpt = 0, asked = 0, i;

	text[0] = '\0';
	snprintf(codes, csize, "220 ");
	*nmsg = 0;
	for (i = 0; i < 15; i++) {
		const char *say = "NOOP\r\n", *code = "250 ";
		unsigned pick = (unsigned)rand_r(seed) % 22;

		if (pick == 0) {
			say = HI;
			helo = true;
			mail = false;
		} else if (pick <= 3) {
			say = "MAIL FROM:<a@b>\r\n";
			code = helo && !mail ? "250 " : "503 ";
			if (helo && !mail) {
				mail = true;
				chunks = false;
				rcpt = asked = 0;
			}
		} else if (pick == 4) {
			say = "MAIL FROM:<bad\r\n";
			code = helo && !mail ? "501 " : "503 ";
		} else if (pick <= 7) {
			say = "RCPT TO:<x@y>\r\n";
			code = mail && !chunks ? "250 " : "503 ";
			rcpt += mail && !chunks;
			asked += mail && !chunks;
		} else if (pick <= 9) {
			say = pick == 8 ? "RCPT TO:<bad@y>\r\n" : "RCPT TO:<mute@y>\r\n";
			code = !mail || chunks ? "503 " : pick == 8 ? "550 " : "451 ";
			asked += mail && !chunks;
		} else if (pick == 10) {
			say = "RSET\r\n";
			mail = false;
		} else if (pick == 11) {
			say = "VRFY x\r\n";
			code = "252 ";
		} else if (pick <= 14) {
			say = "DATA\r\n";
			code = !mail || chunks ? "503 "
			       : rcpt > 0      ? "354 "
			       : asked > 0     ? "554 "
					       : "503 ";
		} else if (pick >= 16) { /* chunks: taken, the last, refused; QUIT is content */
			static const char *const bdat[] = {"BDAT 6\r\nQUIT\r\n", "BDAT 0\r\n",
			    "BDAT 6 LAST\r\nQUIT\r\n", "BDAT 3\r\na\nb",
			    "BDAT "
			    "70\r\nQUIT\r\n01234567890123456789012345678901234567890123456789012345"
			    "67890123",
			    "BDAT 6 LAST\r\nQUIT\n\n"};
			bool good = pick <= 18, last = pick == 18;

			say = bdat[pick - 16];
			code = !mail || rcpt == 0 ? (mail && asked > 0 ? "554 " : "503 ")
			       : good		  ? "250 "
			       : pick == 20	  ? "552 "
						  : "550 ";
			*nmsg += mail && rcpt > 0 && last;
			mail = chunks = mail && rcpt > 0 && good && !last;
		}
		strncat(text, say, size - strlen(text) - 1);
		strncat(codes, code, csize - strlen(codes) - 1);
		if (strcmp(code, "354 ") == 0) {
			bool bare = rand_r(seed) % 2;

			strncat(text, bare ? "a\nb\r\n.\r\n" : BODY, size - strlen(text) - 1);
			strncat(codes, bare ? "550 " : "250 ", csize - strlen(codes) - 1);
			*nmsg += !bare;
			mail = false;
		}
	}
}

static void random_sequences(void **state)
{
	unsigned seed = 4711;

	(void)state;
	for (unsigned round = 0; round < 1500; round++) {
		static struct dialog d;
		char text[4096], codes[1024];
		unsigned nmsg;

		model(&seed, text, sizeof(text), codes, sizeof(codes), &nmsg);
		dialog_open(&d);
		d.srv.lim.message_size = 64;
		d.srv.lim.bad_commands = 0;
		dialog_run(&d, text, strlen(text), round % 8 == 0 ? 1 : 0);
		if (strcmp(dialog_codes(&d), codes) != 0)
			fail_msg(
			    "round %u\n%swant %s\ngot  %s", round, text, codes, dialog_codes(&d));
		assert_int_equal(d.nmsg, nmsg);
		assert_int_equal(d.queued, nmsg);
		dialog_close(&d);
	}
}

/* ---- random bytes: no split makes a difference, nothing is left ---- */

static size_t garbage(unsigned *seed, char *text, size_t size)
{
	static const struct {
		const char *text;
		size_t len;
	} token[] = {{S(HI)}, {S(ENV)}, {S("DATA\r\n")}, {S(BODY)}, {S("MAIL FROM:<")}, {S("a@b>")},
	    {S("RCPT TO:<x@y>")}, {S(" SIZE=")}, {S("123")}, {S(" BODY=8BITMIME")}, {S("\r\n")},
	    {S("\r")}, {S("\n")}, {S(".")}, {S("\r\n.\r\n")}, {S("\0")}, {S("\377")}, {S(" ")},
	    {S("\"")}, {S("RSET\r\n")}, {S("NOOP\r\n")}, {S("=")}, {S("Received:")}, {S("\r\n")},
	    {S("BDAT 7\r\n")}, {S("BDAT 1\r\n")}, {S("BDAT 30 LAST\r\n")}, {S("BDAT 0 LAST\r\n")}};
	static char filler[3000];
	size_t n = 0;
	unsigned i, count = 5 + (unsigned)rand_r(seed) % 25;

	memset(filler, 'f', sizeof(filler));
	for (i = 0; i < count; i++) {
		unsigned pick = (unsigned)rand_r(seed) % (ARRAY_LEN(token) * 4);
		const char *from = filler;
		size_t len;

		if (pick == 0) {
			len = (size_t)rand_r(seed) % sizeof(filler);
		} else {
			from = token[pick % ARRAY_LEN(token)].text;
			len = token[pick % ARRAY_LEN(token)].len;
		}
		if (n + len > size)
			break;
		memcpy(text + n, from, len);
		n += len;
	}
	return n;
}

static void random_bytes(void **state)
{
	unsigned seed = 815;

	(void)state;
	for (unsigned round = 0; round < 1000; round++) {
		static struct dialog whole, cut;
		char text[8192];
		size_t n = garbage(&seed, text, sizeof(text));

		dialog_open(&whole);
		dialog_run(&whole, text, n, 0);
		dialog_codes(&whole); /* whole lines only */
		dialog_open(&cut);
		dialog_run(&cut, text, n, n > 1000 ? 1 + round % 97 : 1);
		if (strcmp(whole.out, cut.out) != 0)
			fail_msg("round %u\n%.*s\n--- at once\n%s--- in pieces\n%s", round, (int)n,
			    text, whole.out, cut.out);
		assert_int_equal(whole.nmsg, cut.nmsg);
		for (unsigned k = 0; k < whole.nmsg; k++) {
			assert_int_equal(whole.msg[k].len, cut.msg[k].len);
			assert_memory_equal(whole.msg[k].data, cut.msg[k].data, whole.msg[k].len);
		}
		dialog_close(&cut);
		dialog_close(&whole);
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
	    cmocka_unit_test(limits),
	    cmocka_unit_test(limits_of_commands),
	    cmocka_unit_test(output_is_bounded),
	    cmocka_unit_test(times),
	    cmocka_unit_test(early_talk),
	    cmocka_unit_test(stopping),
	    cmocka_unit_test(random_sequences),
	    cmocka_unit_test(random_bytes),
	};
	const struct log_conf log = {.ident = "test", .file = "/dev/null", .level = LOG_L_DEBUG};
	struct meta1_err err;

	/* as role.c does; refusals are what this test wants, so their log is not shown */
	signal(SIGPIPE, SIG_IGN);
	log_open(NULL, &log, &err);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
