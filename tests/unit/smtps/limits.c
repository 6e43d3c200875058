/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Unit test of core/smtps: limits and options of a session. The pauses of the tarpit by a clock
 * that is moved by hand, max_memory, the limits of a client, VRFY as smar says, the replies of
 * PRDR.
 */
#include "dialog.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* needs the headers above */
#include <cmocka.h>

static void expect(struct dialog *d, const char *codes)
{
	if (strcmp(dialog_codes(d), codes) != 0)
		fail_msg("expected %s\nfound %s\n%s", codes, dialog_codes(d), d->out);
}

static void clock_at(struct dialog *d, int64_t ms)
{
	loop_fake_clock(d->role.loop, ms, 1700000000 + ms / 1000);
	dialog_turns(d, 50);
}

static void tarpit(void **state)
{
	struct dialog *d = calloc(1, sizeof(*d));
	const struct smtps_session *s;

	(void)state;
	dialog_open(d);
	d->gear.lim.tarpit_after = 2;
	d->gear.lim.tarpit_delay = 1000;
	d->gear.lim.tarpit_max_delay = 3000;
	dialog_connect(d);
	dialog_say(d, S(HI "FOO\r\nNOOP\r\n"), 0);
	expect(d, "220 250 500 250 ");
	/* the reply to the second comes at once, what was sent behind it waits */
	dialog_say(d, S("FOO\r\nNOOP\r\nMAIL FROM:<a@b>\r\nRCPT TO:<bad@y>\r\nNOOP\r\n"), 0);
	expect(d, "220 250 500 250 500 ");
	s = LIST_FIRST(&d->srv.sessions);
	assert_string_equal(smtps_session_waits_for(s->await.what), "tarpit");
	clock_at(d, 1999);
	expect(d, "220 250 500 250 500 ");
	clock_at(d, 2000);
	expect(d, "220 250 500 250 500 250 250 550 ");
	clock_at(d, 3999); /* twice as long */
	expect(d, "220 250 500 250 500 250 250 550 ");
	clock_at(d, 4000);
	expect(d, "220 250 500 250 500 250 250 550 250 ");
	dialog_say(d, S("FOO\r\nQUIT\r\n"), 0);
	clock_at(d, 6999); /* four times were above the bound */
	expect(d, "220 250 500 250 500 250 250 550 250 500 ");
	clock_at(d, 7000);
	expect(d, "220 250 500 250 500 250 250 550 250 500 221 ");
	assert_true(d->eof);
	dialog_close(d);
	/* a client that leaves meanwhile, and a stop */
	for (int stop = 0; stop < 2; stop++) {
		dialog_open(d);
		d->gear.lim.tarpit_after = 1;
		d->gear.lim.tarpit_delay = d->gear.lim.tarpit_max_delay = 1000;
		dialog_connect(d);
		dialog_say(d, S("FOO\r\n"), 0);
		if (stop) {
			d->srv.stopping = true;
			smtps_session_stop_all(&d->srv);
			dialog_turns(d, 20);
			expect(d, "220 500 421 ");
		} else {
			dialog_hang_up(d);
			clock_at(d, 5000);
		}
		dialog_close(d);
	}
	free(d);
}

static void memory(void **state)
{
	struct dialog *d = calloc(1, sizeof(*d));
	char line[1000];
	uint64_t idle;

	(void)state;
	dialog_open(d);
	dialog_connect(d);
	dialog_say(d, S(HI), 0);
	idle = d->srv.memory;
	assert_in_range(idle, 500, 2500);
	dialog_say(d, S("MAIL FROM:<a@b>\r\nRCPT TO:<x@y>\r\nDATA\r\n"), 0);
	memset(line, 'x', sizeof(line));
	memcpy(line + sizeof(line) - 2, "\r\n", 2);
	for (unsigned i = 0; i < 50; i++)
		dialog_say(d, line, sizeof(line), 0);
	assert_true(d->srv.memory > 50 * sizeof(line) + idle);
	assert_true(d->srv.memory < 70 * sizeof(line) + idle);
	/* too much: what began goes on, what is new is refused */
	d->gear.lim.memory = (int64_t)d->srv.memory - 1;
	assert_true(smtps_memory_full(&d->srv));
	d->nout = 0;
	dialog_say(d, S("\r\n.\r\n"), 0);
	expect(d, "250 ");
	assert_in_range(d->srv.memory, idle - 300, idle + 300);
	assert_false(smtps_memory_full(&d->srv));
	dialog_say(d, S("MAIL FROM:<a@b>\r\n"), 0);
	d->gear.lim.memory = 1;
	dialog_say(d, S("RCPT TO:<x@y>\r\nRSET\r\nMAIL FROM:<a@b>\r\n"), 0);
	expect(d, "250 250 452 250 452 ");
	assert_non_null(strstr(d->out, "452 4.3.1 Too much is under way"));
	dialog_hang_up(d);
	assert_int_equal(d->srv.memory, 0);
	dialog_close(d);
	free(d);
}

static void clients(void **state)
{
	struct dialog *d = calloc(1, sizeof(*d));
	struct meta1_err err = {""};
	int fd = clients_make(1), other[2];

	(void)state;
	dialog_open(d);
	d->srv.clients = clients_open(fd, 0, &err);
	assert_non_null(d->srv.clients);
	d->gear.lim.client_connections = 1;
	d->gear.lim.client_ipv4 = 24;
	d->gear.lim.client_ipv6 = 64;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, other), 0);
	smtps_session_new(&d->srv, other[1], "192.0.2.77", "listener", false);
	dialog_connect(d); /* as 192.0.2.1 */
	expect(d, "421 ");
	assert_non_null(strstr(d->out, "421 4.7.0 mx.test: you have too many connections"));
	assert_true(d->eof);
	close(other[0]);
	dialog_turns(d, 20);
	dialog_connect(d);
	expect(d, "421 220 ");
	dialog_hang_up(d);
	assert_int_equal(d->srv.nsession, 0);
	clients_close(&d->srv.clients);
	close(fd);
	dialog_close(d);
	free(d);
}

static void vrfy(void **state)
{
	struct dialog *d = calloc(1, sizeof(*d));

	(void)state;
	dialog_open(d);
	d->gear.lim.vrfy = true;
	dialog_run(d,
	    S("VRFY x@y\r\nVRFY <bad@y>\r\nVRFY temp@y\r\nVRFY mute@y\r\nVRFY away@y\r\nVRFY\r\n"
	      "VRFY x y\r\nVRFY <x@y>,<z@y>\r\nVRFY drop@y\r\nEXPN x\r\n" HI
	      "MAIL FROM:<a@b>\r\nRCPT TO:<x@y>\r\nVRFY x@y\r\nDATA\r\nVRFY bad@y\r\n.\r\n"),
	    0);
	expect(d, "220 252 550 451 451 451 501 501 501 252 502 250 250 250 252 354 250 ");
	assert_non_null(strstr(d->out, "550 5.1.1 no such user"));
	assert_int_equal(d->nmsg, 1);
	dialog_close(d);
	/* it counts as a refused recipient, so that nobody finds out who is here */
	dialog_open(d);
	d->gear.lim.vrfy = true;
	d->gear.lim.invalid_addresses = 2;
	dialog_run(d, S("VRFY bad1@y\r\nVRFY bad2@y\r\nNOOP\r\n"), 0);
	expect(d, "220 550 550 421 ");
	dialog_close(d);
	/* the client leaves while smar is asked, within a transaction and without */
	for (int tx = 0; tx < 2; tx++) {
		dialog_open(d);
		d->gear.lim.vrfy = true;
		dialog_connect(d);
		if (tx)
			dialog_say(d, S(HI "MAIL FROM:<a@b>\r\n"), 0);
		dialog_say(d, S("VRFY hang@y\r\n"), 0);
		shutdown(d->client, SHUT_RDWR);
		dialog_hang_up(d);
		d->srv.stopping = true;
		smtps_session_stop_all(&d->srv);
		dialog_turns(d, 20);
		assert_int_equal(d->forgotten, 1);
		dialog_close(d);
	}
	free(d);
}

#define PRDR HI "MAIL FROM:<a@b> PRDR\r\nRCPT TO:<x@y>\r\nRCPT TO:<bad@y>\r\nRCPT TO:<drop@y>\r\n"

static void prdr(void **state)
{
	struct dialog *d = calloc(1, sizeof(*d));

	(void)state;
	dialog_open(d); /* not offered */
	dialog_run(d, S(HI "MAIL FROM:<a@b> PRDR\r\n"), 0);
	expect(d, "220 250 555 ");
	assert_null(strstr(d->out, "250-PRDR"));
	dialog_close(d);
	dialog_open(d);
	d->gear.lim.flags |= SMTPS_F_PRDR;
	dialog_run(d, S(PRDR "DATA\r\nhi\r\n.\r\nMAIL FROM:<a@b> PRDR=1\r\n"), 0);
	assert_non_null(strstr(d->out, "250-PRDR\r\n"));
	expect(d, "220 250 250 250 550 250 354 353 250 250 250 501 ");
	assert_int_equal(d->nmsg, 1);
	dialog_close(d);
	/* nothing is promised before the store has it */
	dialog_open(d);
	d->gear.lim.flags |= SMTPS_F_PRDR;
	d->hold = true;
	dialog_connect(d);
	dialog_say(d, S(PRDR "BDAT 2 LAST\r\nhi"), 0);
	expect(d, "220 250 250 250 550 250 353 ");
	dialog_answer(d);
	expect(d, "220 250 250 250 550 250 353 250 250 250 ");
	/* it lost it: nobody has it */
	d->nout = 0;
	d->fail_commit = true;
	dialog_say(
	    d, S("MAIL FROM:<a@b> PRDR\r\nRCPT TO:<x@y>\r\nRCPT TO:<z@y>\r\nDATA\r\n.\r\n"), 0);
	dialog_answer(d);
	expect(d, "250 250 250 354 353 452 452 452 ");
	/* what is wrong with the content concerns all: one reply */
	d->nout = 0;
	dialog_say(d, S("MAIL FROM:<a@b> PRDR\r\nRCPT TO:<x@y>\r\nDATA\r\na\rb\r\n.\r\n"), 0);
	expect(d, "250 250 354 550 ");
	/* all are discarded */
	d->nout = 0;
	dialog_say(d, S("MAIL FROM:<a@b> PRDR\r\nRCPT TO:<drop@y>\r\nDATA\r\n.\r\n"), 0);
	expect(d, "250 250 354 353 250 250 ");
	dialog_close(d);
	free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(tarpit),
	    cmocka_unit_test(memory),
	    cmocka_unit_test(clients),
	    cmocka_unit_test(vrfy),
	    cmocka_unit_test(prdr),
	};

	dialog_quiet();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
