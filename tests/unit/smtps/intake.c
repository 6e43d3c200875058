/* SPDX-License-Identifier: BSD-2-Clause */
/* Unit test of core/smtps/intake.c with whole sessions: MAIL stands in line when there is no
 * credit, and each credit is used or comes back. */
#include "dialog.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* needs the headers above */
#include <cmocka.h>

/* ---- no credit: MAIL stands in line (intake.c) ---- */
static void to_the_line(struct dialog *d)
{
	uint32_t epoch;

	dialog_open(d);
	d->gear.lim.queue_wait = 5000;
	while (smtps_intake_take(d->srv.intake, &epoch))
		d->granted--;
	dialog_connect(d);
	dialog_say(d, S(HI "MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\n"), 0);
	assert_string_equal(dialog_codes(d), "220 250 ");
	assert_string_equal(smtps_session_waits_for(LIST_FIRST(&d->srv.sessions)->await.what),
	    "queue to let mail in");
}

static void mail_waits(void **state)
{
	static struct dialog d;

	(void)state;
	to_the_line(&d);
	smtps_intake_grant(d.srv.intake, 1);
	d.granted++;
	dialog_turns(&d, 5);
	assert_string_equal(dialog_codes(&d), "220 250 250 250 ");
	dialog_close(&d);
	/* none comes in time */
	to_the_line(&d);
	loop_fake_clock(d.role.loop, 1000 + 4999, 1700000004);
	dialog_turns(&d, 5);
	assert_string_equal(dialog_codes(&d), "220 250 ");
	loop_fake_clock(d.role.loop, 1000 + 5001, 1700000005);
	dialog_turns(&d, 5);
	assert_string_equal(dialog_codes(&d), "220 250 451 503 ");
	dialog_close(&d);
	/* qmgr goes */
	to_the_line(&d);
	d.qmgr_was_down = true;
	smtps_intake_down(d.srv.intake);
	dialog_turns(&d, 5);
	assert_string_equal(dialog_codes(&d), "220 250 451 503 ");
	dialog_close(&d);
	/* the client says no more: it is served all the same, and gives its credit back */
	to_the_line(&d);
	dialog_hang_up(&d);
	smtps_intake_grant(d.srv.intake, 1);
	d.granted++;
	dialog_turns(&d, 5);
	assert_int_equal(d.backs, 1);
	dialog_close(&d);
	/* a stop does not wait for the queue */
	to_the_line(&d);
	d.srv.stopping = true;
	smtps_session_stop_all(&d.srv);
	dialog_turns(&d, 5);
	assert_string_equal(dialog_codes(&d), "220 250 421 ");
	dialog_close(&d);
}

/* A transaction holds a credit of qmgr's; each way it can end but QUEUED gives it back. */
static void credits_come_back(void **state)
{
	static const char *const ends[] = {"RSET", HI, "HELO c", "QUIT", "EHLO c"};
	static struct dialog d;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(ends) + 2; i++) {
		dialog_open(&d);
		dialog_connect(&d);
		dialog_say(&d, S(HI ENV), 0);
		assert_int_equal(smtps_intake_credits(d.srv.intake), 999);
		assert_int_equal(d.backs, 0);
		if (i < ARRAY_LEN(ends)) {
			dialog_say(&d, ends[i], strlen(ends[i]), 0);
			dialog_say(&d, S("\r\n"), 0);
		} else if (i == ARRAY_LEN(ends)) {
			dialog_hang_up(&d);
		} else {
			loop_fake_clock(d.role.loop, 1000 + 300001, 1700000300);
			dialog_turns(&d, 5);
		}
		assert_int_equal(d.backs, 1);
		dialog_close(&d);
	}
}

static void faults_of_qmgr(void **state)
{
	static struct dialog d;
	uint64_t credits;

	(void)state;
	dialog_open(&d);
	smtps_intake_down(d.srv.intake);
	dialog_run(&d, S(HI ENV), 0);
	assert_string_equal(dialog_codes(&d), "220 250 451 503 ");
	dialog_hang_up(&d);
	/* it goes away in the middle: the message is kept, qmgr is told the end of the store */
	d.nout = 0;
	smtps_intake_grant(d.srv.intake, 5);
	dialog_connect(&d);
	dialog_say(&d, S(HI ENV "DATA\r\n"), 0);
	d.qmgr_down = true;
	smtps_intake_down(d.srv.intake);
	dialog_say(&d, S(BODY), 0);
	assert_string_equal(dialog_codes(&d), "220 250 250 250 354 250 ");
	assert_int_equal(d.nmsg, 1);
	assert_int_equal(d.queued, 0);
	d.qmgr_down = false;
	smtps_intake_up(d.srv.intake);
	smtps_intake_grant(d.srv.intake, 1000);
	assert_int_equal(d.tails, 1);
	credits = smtps_intake_credits(d.srv.intake);
	dialog_say(&d, S(ENV "DATA\r\n" BODY), 0);
	assert_int_equal(d.queued, 1);
	assert_int_equal(d.backs, 0); /* the old credit is void, not given back to the new qmgr */
	assert_int_equal(smtps_intake_credits(d.srv.intake), credits - 1);
	dialog_say(&d, S("MAIL FROM:<>\r\nRSET\r\n"), 0);
	assert_int_equal(d.backs, 1);
	dialog_close(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(mail_waits),
	    cmocka_unit_test(credits_come_back),
	    cmocka_unit_test(faults_of_qmgr),
	};

	dialog_quiet();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
