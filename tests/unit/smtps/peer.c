/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Unit test of core/smtps/peer.c and xclient.c: whole dialogs in which the peer speaks for
 * another. What is checked is whom the session takes it for, and what it says.
 */
#include "dialog.h"
#include "lib/netlist.h"
#include "lib/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* needs the headers above */
#include <cmocka.h>

#define V1   "PROXY TCP4 198.51.100.7 127.0.0.1 4000 25\r\n"
#define SIGN "\r\n\r\n\0\r\nQUIT\n"
#define V2   SIGN "\x21\x11\0\x0c\xc6\x33\x64\x07\x7f\0\0\1\x0f\xa0\0\x19"
#define MAIL "MAIL FROM:<a@b>\r\nRCPT TO:<x@y>\r\nDATA\r\nSubject: t\r\n\r\nhi\r\n.\r\n"

static const char *const peer[] = {"203.0.113.0/24", "192.0.2.1", NULL}; /* dialog_connect()'s */
static const char *const other[] = {"192.0.2.2", NULL};

/* d with lists of trusted peers; they go with done(). */
static void open_with(
    struct dialog *d, int32_t mode, const char *const *trusted, const char *const *xclient)
{
	dialog_open(d);
	d->gear.lim.proxy_mode = mode;
	d->gear.lim.proxy_trusted = netlist_new(trusted);
	d->gear.lim.xclient = netlist_new(xclient);
}

static void done(struct dialog *d)
{
	netlist_free(&d->gear.lim.proxy_trusted);
	netlist_free(&d->gear.lim.xclient);
	dialog_close(d);
}

static void is_client(const struct dialog *d, const char *client)
{
	assert_non_null(LIST_FIRST(&d->srv.sessions));
	assert_string_equal(LIST_FIRST(&d->srv.sessions)->client, client);
}

static void pass(struct dialog *d, int64_t ms)
{
	loop_fake_clock(d->role.loop, 1000 + ms, 1700000000 + ms / 1000);
	dialog_turns(d, 5);
}

static void taken(void **state)
{
	static const struct {
		const char *p;
		size_t n;
		const char *client;
	} row[] = {
	    {S(V1), "198.51.100.7"},
	    {S(V2), "198.51.100.7"},
	    {S("PROXY UNKNOWN x y z\r\n"), "192.0.2.1"},
	    {S(SIGN "\x20\0\0\0"), "192.0.2.1"},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(row) * 4; i++) {
		static struct dialog d;
		size_t k = i / 4, piece = i & 1;

		open_with(&d, i & 2 ? PROXY_MODE_ALLOW : PROXY_MODE_REQUIRED, peer, NULL);
		dialog_connect(&d);
		assert_int_equal(d.nout, 0); /* nothing is said before the header */
		assert_string_equal(
		    smtps_session_state(LIST_FIRST(&d.srv.sessions)->state), "proxy");
		dialog_say(&d, row[k].p, row[k].n - 1, piece);
		assert_int_equal(d.nout, 0);
		dialog_say(&d, row[k].p + row[k].n - 1, 1, 0);
		assert_string_equal(dialog_codes(&d), "220 ");
		is_client(&d, row[k].client);
		dialog_say(&d, S(HI MAIL), piece);
		assert_string_equal(dialog_codes(&d), "220 250 250 250 354 250 ");
		assert_non_null(strstr(d.msg[0].data, row[k].client));
		pass(&d, 6000); /* the header's timer is gone */
		assert_false(d.eof);
		done(&d);
	}
}

/* All that ends in a connection dropped, and how. said: what the client hears before. */
static void dropped(void **state)
{
	static const struct {
		int32_t mode;
		const char *const *trusted;
		const char *p;
		size_t n;
		const char *said;
	} row[] = {
	    {PROXY_MODE_REQUIRED, other, S(""), ""}, {PROXY_MODE_REQUIRED, other, S(V1), ""},
	    {PROXY_MODE_ALLOW, other, S(V1 HI), "220 "},
	    {PROXY_MODE_ALLOW, other, S(V2 HI), "220 500 500 "},
	    {PROXY_MODE_OFF, NULL, S(V1 HI), "220 "},
	    {PROXY_MODE_OFF, NULL, S(V2 HI), "220 500 500 "}, {PROXY_MODE_OFF, peer, S(V1), "220 "},
	    {PROXY_MODE_REQUIRED, peer, S(HI), ""},
	    {PROXY_MODE_REQUIRED, peer, S("PROXY TCP4 x\r\n"), ""},
	    {PROXY_MODE_ALLOW, peer, S("PROXY TCP4 x\r\n"), ""},
	    {PROXY_MODE_ALLOW, peer, S(V1 V1 HI), "220 "}, /* the client behind it lies */
	    {PROXY_MODE_ALLOW, peer, S(V2 V2 HI), "220 500 500 "},
	    {PROXY_MODE_ALLOW, peer, S("EHLO x\r\nPROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\nQUIT\r\n"),
		"220 250 500 221 "}, /* in the middle it is a word like any other */
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(row) * 2; i++) {
		static struct dialog d;
		size_t k = i / 2;

		open_with(&d, row[k].mode, row[k].trusted, NULL);
		dialog_connect(&d);
		dialog_say(&d, row[k].p, row[k].n, i & 1);
		if (strcmp(dialog_codes(&d), row[k].said) != 0 || !d.eof)
			fail_msg("row %zu: %s", k, d.out);
		assert_int_equal(d.srv.nsession, 0);
		done(&d);
	}
}

static void times(void **state)
{
	static struct dialog d;

	(void)state;
	open_with(&d, PROXY_MODE_REQUIRED, peer, NULL); /* one byte a second does not help */
	dialog_connect(&d);
	for (int i = 1; i < 5; i++) {
		dialog_say(&d, &V1[i - 1], 1, 0);
		pass(&d, i * 1000);
		assert_false(d.eof);
	}
	pass(&d, 5001);
	assert_true(d.eof);
	assert_int_equal(d.nout, 0);
	dialog_connect(&d); /* none at all */
	pass(&d, 10002);
	assert_true(d.eof);
	assert_int_equal(d.nout, 0);
	dialog_connect(&d); /* a look whether we live */
	dialog_hang_up(&d);
	assert_int_equal(d.srv.nsession, 0);
	dialog_connect(&d);
	dialog_say(&d, S("PROXY TC"), 0);
	dialog_hang_up(&d);
	assert_int_equal(d.srv.nsession, 0);
	done(&d);
	open_with(&d, PROXY_MODE_ALLOW, peer, NULL); /* none is needed; a part is an error */
	dialog_connect(&d);
	pass(&d, 5001);
	dialog_say(&d, S(HI), 0);
	assert_string_equal(dialog_codes(&d), "220 250 ");
	is_client(&d, "192.0.2.1");
	dialog_connect(&d);
	dialog_say(&d, S("PROXY"), 0);
	pass(&d, 10002);
	assert_true(d.eof);
	done(&d);
	open_with(&d, PROXY_MODE_ALLOW, peer, NULL); /* something else: its own address */
	dialog_connect(&d);
	dialog_say(&d, S(HI), 1);
	assert_string_equal(dialog_codes(&d), "220 250 ");
	done(&d);
	open_with(&d, PROXY_MODE_ALLOW, peer, NULL); /* a stop while one waits */
	dialog_connect(&d);
	d.srv.stopping = true;
	smtps_session_stop_all(&d.srv);
	dialog_turns(&d, 5);
	assert_int_equal(d.srv.nsession, 0);
	done(&d);
}

static void with_greet_delay(void **state)
{
	static struct dialog d;

	(void)state;
	open_with(&d, PROXY_MODE_ALLOW, peer, NULL);
	d.gear.lim.greet_delay = 1000;
	dialog_connect(&d);
	dialog_say(&d, S(V1), 1);
	assert_int_equal(d.nout, 0);
	pass(&d, 1001);
	dialog_say(&d, S(HI), 0);
	assert_string_equal(dialog_codes(&d), "220 250 ");
	is_client(&d, "198.51.100.7");
	d.nout = 0;
	dialog_connect(&d); /* the client behind it is early */
	dialog_say(&d, S(V1 HI), 0);
	assert_string_equal(dialog_codes(&d), "554 ");
	done(&d);
	open_with(&d, PROXY_MODE_OFF, NULL, NULL);
	d.gear.lim.greet_delay = 1000;
	dialog_connect(&d); /* unasked: no reply */
	dialog_say(&d, S(V2), 0);
	assert_true(d.eof);
	assert_int_equal(d.nout, 0);
	done(&d);
}

static void xclient(void **state)
{
	static const struct {
		const char *p, *codes, *client;
	} row[] = {
	    {"XCLIENT ADDR=198.51.100.7\r\n", "220 220 ", "198.51.100.7"},
	    {"xclient addr=198.51.100.7 name=a.test port=25 proto=esmtp helo=h login=l "
	     "destaddr=1.2.3.4 destport=25\r\n",
		"220 220 ", "198.51.100.7"},
	    {"XCLIENT ADDR=IPV6:2001:DB8::1\r\n", "220 220 ", "2001:db8::1"},
	    {"XCLIENT ADDR=ipv6:::ffff:198.51.100.7\r\n", "220 220 ", "198.51.100.7"},
	    {"XCLIENT ADDR=198.51.100.+37\r\n", "220 220 ", "198.51.100.7"},
	    {"XCLIENT ADDR=[UNAVAILABLE] NAME=[TEMPUNAVAIL]\r\n", "220 220 ", "unknown"},
	    {"XCLIENT NAME=x\r\n", "220 220 ", "192.0.2.1"},
	    {"XCLIENT ADDR=1.2.3.4\r\nXCLIENT ADDR=198.51.100.7\r\n", "220 220 220 ",
		"198.51.100.7"},
	    {HI "XCLIENT ADDR=198.51.100.7\r\nMAIL FROM:<>\r\n", "220 250 220 503 ",
		"198.51.100.7"},
	    {HI "MAIL FROM:<>\r\nXCLIENT ADDR=1.2.3.4\r\n", "220 250 250 503 ", "192.0.2.1"},
	    {"XCLIENT\r\n", "220 501 ", "192.0.2.1"},
	    {"XCLIENT ADDR\r\n", "220 501 ", "192.0.2.1"},
	    {"XCLIENT ADDR=\r\n", "220 501 ", "192.0.2.1"},
	    {"XCLIENT ADDR=host\r\n", "220 501 ", "192.0.2.1"},
	    {"XCLIENT ADDR=2001:db8::1\r\n", "220 501 ", "192.0.2.1"},
	    {"XCLIENT ADDR=unix\r\n", "220 501 ", "192.0.2.1"},
	    {"XCLIENT ADDR=1.2.3.4 ADDR=1.2.3.4\r\n", "220 501 ", "192.0.2.1"},
	    {"XCLIENT ADDR=1.2.3.4 FOO=x\r\n", "220 501 ", "192.0.2.1"},
	    {"XCLIENT ADDR=1.2.3.4 NAME=+0\r\n", "220 501 ", "192.0.2.1"},
	    {"XCLIENT ADDR=1.2.3.4 NAME=+0g\r\n", "220 501 ", "192.0.2.1"},
	    {"XCLIENT ADDR=1.2.3.4 NAME=+00x\r\n", "220 501 ", "192.0.2.1"},
	    {"XCLIENT ADDR=1.2.3.4 NAME=x+0D+0Ax\r\n", "220 501 ", "192.0.2.1"},
	    {"XCLIENT ADDR=1.2.3.4 NAME=a=b\r\n", "220 501 ", "192.0.2.1"},
	    {"XCLIENT ADDR=1.2.3.4 PORT=65536\r\n", "220 501 ", "192.0.2.1"},
	    {"XCLIENT ADDR=1.2.3.4 PROTO=LMTP\r\n", "220 501 ", "192.0.2.1"},
	    {"XCLIENT ADDR=1.2.3.4 HELO=\r\n", "220 501 ", "192.0.2.1"},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(row) * 2; i++) {
		static struct dialog d;
		size_t k = i / 2;

		open_with(&d, PROXY_MODE_OFF, NULL, peer);
		dialog_connect(&d);
		dialog_say(&d, row[k].p, strlen(row[k].p), i & 1);
		if (strcmp(dialog_codes(&d), row[k].codes) != 0)
			fail_msg("row %zu: %s", k, d.out);
		is_client(&d, row[k].client);
		done(&d);
	}
}

static void xclient_in_mail(void **state)
{
	static struct dialog d;

	(void)state;
	open_with(&d, PROXY_MODE_OFF, NULL, peer);
	dialog_connect(&d);
	dialog_say(&d, S(HI), 0);
	assert_non_null(
	    strstr(d.out, "250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT\r\n"));
	dialog_say(&d,
	    S("XCLIENT ADDR=IPV6:2001:db8::1 HELO=real.test(+2B\r\nEHLO proxy.test\r\n" MAIL), 0);
	assert_non_null(strstr(d.msg[0].data, "from real.test?? ([IPv6:2001:db8::1])"));
	dialog_say(&d, S("XCLIENT ADDR=[UNAVAILABLE]\r\nEHLO proxy.test\r\n" MAIL), 0);
	assert_non_null(strstr(d.msg[1].data, "from proxy.test (unknown)"));
	done(&d);
}

/* Who may is decided by the address that stands before any XCLIENT, a balancer's included. */
static void xclient_of_others(void **state)
{
	static const char *const given[] = {"198.51.100.7", NULL};
	static struct dialog d;

	(void)state;
	open_with(&d, PROXY_MODE_OFF, NULL, other);
	dialog_connect(&d);
	dialog_say(&d, S(HI "XCLIENT ADDR=1.2.3.4\r\nHELP XCLIENT\r\n"), 0);
	assert_string_equal(dialog_codes(&d), "220 250 550 214 ");
	assert_non_null(strstr(d.out, "550 5.7.0 "));
	assert_null(strstr(d.out, "XCLIENT"));
	is_client(&d, "192.0.2.1");
	done(&d);
	open_with(&d, PROXY_MODE_ALLOW, peer, peer); /* a client of the balancer is not it */
	dialog_connect(&d);
	dialog_say(&d, S(V1 "XCLIENT ADDR=1.2.3.4\r\n"), 0);
	assert_string_equal(dialog_codes(&d), "220 550 ");
	done(&d);
	open_with(&d, PROXY_MODE_ALLOW, peer, given);
	dialog_connect(&d);
	dialog_say(&d, S(V1 "XCLIENT ADDR=1.2.3.4\r\nXCLIENT ADDR=192.0.2.9\r\n"), 0);
	assert_string_equal(dialog_codes(&d), "220 220 220 ");
	is_client(&d, "192.0.2.9");
	done(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(taken),
	    cmocka_unit_test(dropped),
	    cmocka_unit_test(times),
	    cmocka_unit_test(with_greet_delay),
	    cmocka_unit_test(xclient),
	    cmocka_unit_test(xclient_in_mail),
	    cmocka_unit_test(xclient_of_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
