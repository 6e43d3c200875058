/* SPDX-License-Identifier: BSD-2-Clause */
/* Unit test of core/smtps/policy.c: which stages are asked about at MAIL and RCPT, what comes of
 * the answers, and how many questions there are. */
#include "dialog.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

/* needs the headers above */
#include <cmocka.h>

#define TO	"RCPT TO:<x@y>\r\n"
#define CONTENT "DATA\r\nSubject: t\r\n\r\nhi\r\n.\r\n"
#define AT_MAIL (STAGE_CONNECT | STAGE_HELO | STAGE_MAIL)

static struct dialog d;

static void begin(uint64_t flags, uint32_t stages, uint32_t access)
{
	struct p_policy p = {.stages = stages, .access = access};

	dialog_open(&d);
	d.gear.lim.flags = SMTPS_F_8BITMIME | flags;
	smtps_policy_told(&d.srv, &p);
	dialog_connect(&d);
}

static void say(const char *text, const char *codes)
{
	dialog_say(&d, text, strlen(text), 0);
	assert_string_equal(dialog_codes(&d), codes);
}

/* How many questions a mail to two recipients costs, by flags of smtps and wishes of smar. */
static void questions(void **state)
{
	static const struct {
		uint64_t flags;
		uint32_t stages, access;
		unsigned at_mail, asked;
		uint64_t rcpt; /* stages of the last */
	} row[] = {
	    {SMTPS_F_DELAY, STAGE_RCPT, 0, 0, 2, STAGE_RCPT},
	    {0, STAGE_RCPT, 0, 0, 2, STAGE_RCPT},
	    {0, 0, 0, 0, 2, STAGE_RCPT},			    /* RCPT always */
	    {SMTPS_F_DELAY, STAGE_RCPT, AT_MAIL, 0, 2, STAGE_RCPT}, /* without the flag access */
	    {0, STAGE_RCPT, AT_MAIL, 0, 2, STAGE_RCPT},
	    {SMTPS_F_DELAY | SMTPS_F_ACCESS, STAGE_RCPT, AT_MAIL, 0, 2, STAGE_ALL},
	    {SMTPS_F_ACCESS, STAGE_RCPT, AT_MAIL, 1, 3, STAGE_RCPT},
	    {SMTPS_F_ACCESS, STAGE_RCPT, STAGE_HELO, 1, 3, STAGE_RCPT},
	    {0, STAGE_RCPT | STAGE_MAIL, 0, 1, 3, STAGE_RCPT},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		begin(row[i].flags, row[i].stages, row[i].access);
		say(HI "MAIL FROM:<a@b>\r\n", "220 250 250 ");
		assert_int_equal(d.asked, row[i].at_mail);
		say(TO "RCPT TO:<z@y>\r\n", "220 250 250 250 250 ");
		assert_int_equal(d.asked, row[i].asked);
		assert_int_equal(d.question.stages, row[i].rcpt);
		assert_int_equal(d.question.probe, 0);
		dialog_close(&d);
	}
}

static void refused_at_mail(void **state)
{
	(void)state;
	begin(SMTPS_F_ACCESS, STAGE_RCPT, AT_MAIL);
	say(HI "MAIL FROM:<bad@b>\r\n" TO "MAIL FROM:<temp@b>\r\nMAIL FROM:<mute@b>\r\n"
	       "MAIL FROM:<away@b>\r\nMAIL FROM:<relay@b>\r\n" TO CONTENT,
	    "220 250 550 503 451 451 451 250 250 354 250 ");
	assert_int_equal(d.question.grants, GRANT_RELAY);
	assert_int_equal(d.nmsg, 1);
	assert_int_equal(d.taken + d.backs, 0);
	/* refused addresses count: the second is one too many */
	d.gear.lim.invalid_addresses = 2;
	d.nout = 0;
	dialog_connect(&d);
	say(HI "MAIL FROM:<bad@b>\r\nMAIL FROM:<bad@b>\r\nNOOP\r\n", "220 250 550 550 421 ");
	assert_true(d.eof);
	dialog_close(&d);
}

/* The verdict on MAIL throws all away, and nobody is asked about recipients. */
static void discarded_at_mail(void **state)
{
	(void)state;
	begin(SMTPS_F_ACCESS, STAGE_RCPT, AT_MAIL);
	say(HI "MAIL FROM:<drop@b>\r\n" TO "RCPT TO:<bad@y>\r\n" CONTENT
	       "MAIL FROM:<a@b>\r\n" TO CONTENT,
	    "220 250 250 250 250 354 250 250 250 354 250 ");
	assert_int_equal(d.asked, 3);
	assert_int_equal(d.nmsg, 1);
	dialog_close(&d);
}

/* Nobody knows the policy yet, or it changes under way: what MAIL did not ask RCPT does. */
static void policy_comes_late(void **state)
{
	struct p_policy p = {.stages = STAGE_RCPT, .access = AT_MAIL};

	(void)state;
	begin(SMTPS_F_ACCESS, STAGE_RCPT, 0);
	say(HI "MAIL FROM:<a@b>\r\n", "220 250 250 ");
	smtps_policy_told(&d.srv, &p);
	say(TO "RSET\r\n", "220 250 250 250 250 ");
	assert_int_equal(d.asked, 1);
	assert_int_equal(d.question.stages, STAGE_ALL);
	smtps_policy_forget(&d.srv); /* smar is another process */
	d.smar_down = true;
	d.nout = 0;
	say("MAIL FROM:<a@b>\r\n", "451 ");
	d.smar_down = false;
	d.nout = 0;
	say("MAIL FROM:<a@b>\r\n", "250 ");
	assert_int_equal(d.question.stages, AT_MAIL);
	dialog_close(&d);
}

/* While MAIL waits nothing goes on; what ends the session ends the question. */
static void waiting(void **state)
{
	(void)state;
	begin(SMTPS_F_ACCESS, STAGE_RCPT, AT_MAIL);
	say(HI "MAIL FROM:<hang@b>\r\n" TO, "220 250 ");
	assert_int_equal(smtps_intake_credits(d.srv.intake), 1000);
	dialog_answer(&d);
	assert_string_equal(dialog_codes(&d), "220 250 250 250 ");
	say("RSET\r\nMAIL FROM:<hang@b>\r\n", "220 250 250 250 250 ");
	dialog_hang_up(&d);
	dialog_answer(&d); /* to nobody */
	d.nout = 0;
	dialog_connect(&d);
	say(HI "MAIL FROM:<hang@b>\r\n", "220 250 ");
	smtps_session_stop_all(&d.srv);
	d.srv.stopping = true;
	dialog_turns(&d, 20);
	assert_int_equal(d.forgotten, 1);
	dialog_close(&d);
}

static void no_credit_is_said_after_the_verdict(void **state)
{
	uint32_t epoch;

	(void)state;
	begin(SMTPS_F_ACCESS, STAGE_RCPT, AT_MAIL);
	while (smtps_intake_take(d.srv.intake, &epoch))
		d.granted--;
	say(HI "MAIL FROM:<a@b>\r\nMAIL FROM:<bad@b>\r\n", "220 250 451 550 ");
	dialog_close(&d);
}

static void verdicts_are_kept(void **state)
{
	(void)state;
	begin(SMTPS_F_ACCESS, STAGE_RCPT, AT_MAIL);
	say(HI "MAIL FROM:<kept@b>\r\nRCPT TO:<kept@y>\r\nRSET\r\nMAIL FROM:<kept@b>\r\n"
	       "RCPT TO:<kept@y>\r\nRSET\r\n",
	    "220 250 250 250 250 250 250 250 ");
	assert_int_equal(d.asked, 2);
	/* another HELO is another question, for those who look at it */
	say("EHLO other.test\r\nMAIL FROM:<kept@b>\r\nRCPT TO:<kept@y>\r\n",
	    "220 250 250 250 250 250 250 250 250 250 250 ");
	assert_int_equal(d.asked, 3);
	dialog_close(&d);
}

/* Sessions from before and after a reload: an answer is kept for the flags with which it was asked.
 */
static void other_flags(void **state)
{
	static const struct {
		uint64_t flags;
		unsigned asked; /* so far */
	} row[] = {{SMTPS_F_8BITMIME, 1}, {0, 2}, {SMTPS_F_8BITMIME, 2}, {0, 2}};

	(void)state;
	begin(SMTPS_F_ACCESS, STAGE_RCPT, AT_MAIL);
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		d.nout = 0;
		d.gear.lim.flags = SMTPS_F_ACCESS | row[i].flags;
		if (i > 0)
			dialog_connect(&d);
		say(HI "MAIL FROM:<kept@b>\r\nRSET\r\n",
		    i > 0 ? "220 250 250 250 " : "250 250 250 ");
		assert_int_equal(d.asked, row[i].asked);
		dialog_hang_up(&d);
	}
	dialog_close(&d);
}

/* After AUTH or STARTTLS the verdict is taken again, with what was proven, however often it was
 * kept before; and it is not kept for the next who is not proven. */
static void proven(void **state)
{
	static const struct {
		uint64_t flags;
		struct smtps_proof proof;
		unsigned a_mail; /* questions a mail to one recipient */
		uint32_t stages; /* of its last */
	} row[] = {
	    {SMTPS_F_ACCESS, {.auth = "ann"}, 2, STAGE_RCPT},
	    {SMTPS_F_ACCESS | SMTPS_F_DELAY, {.auth = "ann"}, 1, STAGE_ALL},
	    {SMTPS_F_ACCESS, {.tls = TLS_GOOD_CERT, .cert_subject = "/CN=x", .cert_issuer = "/O=y"},
		2, STAGE_RCPT},
	    {SMTPS_F_ACCESS | SMTPS_F_DELAY, {.tls = TLS_NO_CERT}, 1, STAGE_ALL},
	};
	static const struct smtps_proof none;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		static const char mail[] = "MAIL FROM:<kept@b>\r\nRCPT TO:<kept@y>\r\nRSET\r\n";
		struct smtps_session *s;

		begin(row[i].flags, STAGE_RCPT, AT_MAIL);
		say(HI, "220 250 ");
		s = LIST_FIRST(&d.srv.sessions);
		for (int n = 0; n < 4; n++) { /* not proven, twice; then proven */
			s->proof = n < 2 ? none : row[i].proof;
			d.asked = d.nout = 0;
			say(mail, "250 250 250 ");
			assert_int_equal(d.asked, n == 1 ? 0 : row[i].a_mail);
			assert_int_equal(d.question.stages, row[i].stages);
			assert_int_equal(d.question.tls, s->proof.tls);
			assert_int_equal(d.question.auth.len, s->proof.auth ? 3 : 0);
			assert_int_equal(d.question.cert_subject.len + d.question.cert_issuer.len,
			    s->proof.cert_subject ? 9 : 0);
		}
		s->proof = none;
		d.asked = d.nout = 0;
		say(mail, "250 250 250 ");
		assert_int_equal(d.asked, 0); /* what was kept of who is not proven */
		dialog_close(&d);
	}
}

/* VRFY asks from nobody, of a transaction under way it knows nothing, and it leaves no trace. */
static void vrfy(void **state)
{
	(void)state;
	begin(SMTPS_F_ACCESS, STAGE_RCPT, AT_MAIL);
	d.gear.lim.vrfy = true;
	say(HI "MAIL FROM:<relay@b>\r\nVRFY kept@y\r\nVRFY kept@y\r\n", "220 250 250 252 252 ");
	assert_int_equal(d.asked, 3);
	assert_int_equal(d.question.probe, 1);
	assert_int_equal(d.question.from.len + d.question.grants, 0);
	assert_int_equal(d.question.stages, STAGE_RCPT | STAGE_CONNECT | STAGE_HELO);
	dialog_close(&d);
}

/* The name that smar found stands in the Received line. */
static void the_name(void **state)
{
	(void)state;
	begin(SMTPS_F_ACCESS | SMTPS_F_DELAY, STAGE_RCPT, AT_MAIL);
	say(HI "MAIL FROM:<named@b>\r\n" TO CONTENT, "220 250 250 250 354 250 ");
	assert_non_null(strstr(d.msg[0].data, "from c.test (client.example [192.0.2.1])\r\n"));
	dialog_close(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(questions),
	    cmocka_unit_test(refused_at_mail),
	    cmocka_unit_test(discarded_at_mail),
	    cmocka_unit_test(policy_comes_late),
	    cmocka_unit_test(waiting),
	    cmocka_unit_test(no_credit_is_said_after_the_verdict),
	    cmocka_unit_test(verdicts_are_kept),
	    cmocka_unit_test(other_flags),
	    cmocka_unit_test(proven),
	    cmocka_unit_test(vrfy),
	    cmocka_unit_test(the_name),
	};

	dialog_quiet();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
