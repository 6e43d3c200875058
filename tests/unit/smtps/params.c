/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * params.c -- tries core/smtps/params.c: parameters of MAIL and RCPT by their replies, and
 * what of RFC 3461 reaches the store and qmgr.
 */
#include "dialog.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* needs the headers above */
#include <cmocka.h>

#define TEN	"0123456789"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

static const char *code_of(const char *greeting, const char *mail, const char *rcpt)
{
	static struct dialog d;
	static char codes[256];
	char text[2048];
	int n = snprintf(text, sizeof(text), "%s\r\nMAIL FROM:<a@b>%s\r\n%s%s%s", greeting, mail,
	    rcpt ? "RCPT TO:<x@y>" : "", rcpt ? rcpt : "", rcpt ? "\r\n" : "");

	dialog_open(&d);
	dialog_run(&d, text, (size_t)n, 0);
	snprintf(codes, sizeof(codes), "%s", dialog_codes(&d) + 8);
	dialog_close(&d);
	return codes;
}

static void of_mail(void **state)
{
	static const struct {
		const char *text, *codes;
	} rows[] = {{" RET=FULL", "250 "}, {" RET=hdrs ENVID=QQ1", "250 "},
	    {" ENVID=a+20b", "250 "}, {" RET=", "501 "}, {" RET", "501 "}, {" RET=ALL", "501 "},
	    {" RET=FULL RET=HDRS", "501 "}, {" ENVID=", "501 "}, {" ENVID", "501 "},
	    {" ENVID=+00", "501 "}, {" ENVID=+", "501 "}, {" ENVID=+4", "501 "},
	    {" ENVID=a+0Ab", "501 "}, {" ENVID=a+2b", "501 "}, {" ENVID=a=b", "501 "},
	    {" ENVID=1 ENVID=1", "501 "}, {" ENVID=" HUNDRED, "250 "},
	    {" ENVID=" HUNDRED "1", "501 "}, {" NOTIFY=NEVER", "555 "},
	    {" ORCPT=rfc822;a@b", "555 "}, {" SIZE=1  RET=FULL BODY=7BIT", "250 "},
	    {" ENVID=\303\251", "501 "}, {" SMTPUTF=8", "555 "}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (strcmp(code_of("EHLO c", rows[i].text, NULL), rows[i].codes) != 0)
			fail_msg("MAIL FROM:<a@b>%s: %s", rows[i].text,
			    code_of("EHLO c", rows[i].text, NULL));
	assert_string_equal(code_of("HELO c", " RET=FULL", NULL), "555 ");
	assert_string_equal(code_of("HELO c", " SIZE=1", NULL), "555 ");
}

static void of_rcpt(void **state)
{
	static const struct {
		const char *text, *codes;
	} rows[] = {{" NOTIFY=NEVER", "250 "}, {" NOTIFY=success", "250 "},
	    {" NOTIFY=FAILURE,SUCCESS,DELAY ORCPT=rfc822;a@b", "250 "},
	    {" ORCPT=rfc822;a+2Bb@c NOTIFY=DELAY", "250 "}, {" NOTIFY", "501 "},
	    {" NOTIFY=", "501 "}, {" NOTIFY=NEVER,DELAY", "501 "}, {" NOTIFY=DELAY,NEVER", "501 "},
	    {" NOTIFY=,", "501 "}, {" NOTIFY=DELAY,", "501 "}, {" NOTIFY=,DELAY", "501 "},
	    {" NOTIFY=OFTEN", "501 "}, {" NOTIFY=DELAY NOTIFY=DELAY", "501 "}, {" ORCPT", "501 "},
	    {" ORCPT=", "501 "}, {" ORCPT=a@b", "501 "}, {" ORCPT=rfc822;", "501 "},
	    {" ORCPT=rfc822;a+00", "501 "}, {" ORCPT=rfc822;a+4", "501 "},
	    {" ORCPT=rfc822;a@b ORCPT=rfc822;a@b", "501 "}, {" ORCPT=utf-8;a\\x{E9}@b", "250 "},
	    {" ORCPT=utf-8;a\303\251@b", "501 "}, {" RET=FULL", "555 "}, {" SIZE=1", "555 "},
	    {" FOO", "555 "}, {"NOTIFY=NEVER", "501 "},
	    {" ORCPT=rfc822;" HUNDRED HUNDRED HUNDRED HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN
	     "123",
		"250 "},
	    {" ORCPT=rfc822;" HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED, "501 "}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (strcmp(code_of("EHLO c", "", rows[i].text) + 4, rows[i].codes) != 0)
			fail_msg("RCPT TO:<x@y>%s: %s", rows[i].text,
			    code_of("EHLO c", "", rows[i].text) + 4);
	assert_string_equal(code_of("HELO c", "", " NOTIFY=NEVER"), "250 555 ");
}

/* A refused recipient leaves nothing for the next one; ordinary mail has no lists in QUEUED. */
static void what_is_kept(void **state)
{
	static const char text[] =
	    "EHLO c\r\nMAIL FROM:<a@b> RET=FULL ENVID=QQ+2B1\r\n"
	    "RCPT TO:<bad@y> NOTIFY=SUCCESS ORCPT=rfc822;bad@y\r\nRCPT TO:<one@y>\r\n"
	    "RCPT TO:<two@y> ORCPT=rfc822;t+2Bwo@y NOTIFY=SUCCESS,DELAY\r\n"
	    "RCPT TO:<tri@y> NOTIFY=FAILURE,X ORCPT=rfc822;z@y\r\nRCPT TO:<kept@y> NOTIFY=NEVER\r\n"
	    "RCPT TO:<for@y>\r\nDATA\r\nSubject: t\r\n\r\nhi\r\n.\r\n";
	static const char plain[] = "MAIL FROM:<a@b> RET=HDRS\r\nRCPT TO:<kept@y>\r\n"
				    "DATA\r\nSubject: t\r\n\r\nhi\r\n.\r\n";
	static struct dialog d;

	(void)state;
	dialog_open(&d);
	dialog_connect(&d);
	dialog_say(&d, text, sizeof(text) - 1, 0);
	assert_string_equal(dialog_codes(&d), "220 250 250 550 250 250 501 250 250 354 250 ");
	assert_string_equal(d.msg[0].rcpts, "one@y two@y/10/rfc822;t+2Bwo@y kept@y/1/ for@y ");
	assert_string_equal(d.msg[0].envid, "QQ+2B1");
	assert_int_equal(d.msg[0].flags, META1_M_RET_FULL);
	assert_int_equal(d.last_dsn, 4);
	dialog_say(&d, plain, sizeof(plain) - 1, 0);
	assert_string_equal(d.msg[1].rcpts, "kept@y ");
	assert_string_equal(d.msg[1].envid, "");
	assert_int_equal(d.msg[1].flags, META1_M_RET_HDRS);
	assert_int_equal(d.last_dsn, 0);
	dialog_close(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(of_mail),
	    cmocka_unit_test(of_rcpt),
	    cmocka_unit_test(what_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
