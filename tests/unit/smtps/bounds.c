/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Unit test of core/smtps by whole dialogs: what one client may say, send, leave unread and wait
 * for, and what it is told at the bound. What all clients together may take is in limits.c.
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

static void limits(void **state)
{
	static struct dialog d;
	static char big[200000];

	(void)state;
	dialog_open(&d); /* recipients, too many in one transaction */
	d.gear.lim.rcpts_per_tx = 2;
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
	d.gear.lim.hops = 2;
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
	d.gear.lim.bad_commands = 3;
	dialog_run(&d, S("A\r\nB\r\nC\r\nD\r\n"), 0);
	assert_string_equal(dialog_codes(&d), "220 500 500 500 421 ");
	dialog_close(&d);
	dialog_open(&d);
	d.gear.lim.nop_commands = 3;
	dialog_run(&d, S(HI "NOOP\r\nRSET\r\nVRFY x\r\nEHLO x\r\nNOOP\r\n"), 0);
	assert_string_equal(dialog_codes(&d), "220 250 250 250 252 421 ");
	dialog_close(&d);
	dialog_open(&d);
	d.gear.lim.invalid_addresses = 2;
	dialog_run(&d, S(HI "MAIL FROM:<>\r\nRCPT TO:<bad@y>\r\nRCPT TO:<bad@z>\r\nNOOP\r\n"), 0);
	assert_string_equal(dialog_codes(&d), "220 250 250 550 550 421 ");
	dialog_close(&d);
	dialog_open(&d);
	d.gear.lim.transactions = 1;
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
	d.gear.lim.nop_commands = 0;
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
	d.gear.lim.nop_commands = 0;
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
	d.gear.lim.io_timeout = 2000;
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
	d.gear.lim.greet_delay = 5000;
	dialog_connect(&d);
	assert_int_equal(d.nout, 0);
	loop_fake_clock(d.role.loop, 6001, 1700000006);
	dialog_turns(&d, 5);
	dialog_say(&d, S(HI), 0);
	assert_string_equal(dialog_codes(&d), "220 250 ");
	dialog_close(&d);
	dialog_open(&d); /* talked before it */
	d.gear.lim.greet_delay = 5000;
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
	smtps_session_new(&d.srv, pair[1], "192.0.2.1", "listener", false);
	dialog_turns(&d, 10);
	assert_string_equal(dialog_codes(&d), "220 250 ");
	assert_int_equal(counter("early_talkers_total"), before + 1);
	dialog_close(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(limits),
	    cmocka_unit_test(limits_of_commands),
	    cmocka_unit_test(output_is_bounded),
	    cmocka_unit_test(times),
	    cmocka_unit_test(early_talk),
	};

	dialog_quiet();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
