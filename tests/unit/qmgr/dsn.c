/* SPDX-License-Identifier: BSD-2-Clause */
/* dsn.c -- tries core/qmgr/dsn.c: the bytes of a report, also with hostile input. */
#include "../unit.h"
#include "qmgr/qmgr.h"

#include <stdlib.h>

#include <event2/buffer.h>

static struct qmgr_reason gone = {.refs = 1,
    .smtp = 550,
    .dsn = "5.1.1",
    .host = "mx.example.net",
    .text = "5.1.1 no such user",
    .line = "mx.example.net: 550 5.1.1 no such user"};
static struct qmgr_reason late = {.refs = 1, .host = "", .text = "", .line = "connection refused"};
/* Another server's words, made to look like something else. */
static struct qmgr_reason evil = {.refs = 1,
    .smtp = 554,
    .host = "mx\r\nX-Evil: 1",
    .text = "no\r\n.\r\nMAIL FROM:<x>\r\n--report\377",
    .line = "no\r\n.\r\nMAIL"};

static char *text_of(struct qmgr_dsn *d)
{
	struct evbuffer *b = evbuffer_new();
	char *s;

	d->to = d->sender;
	d->nonce = 0x5eed;
	d->hostname = "mail.example.org";
	d->id = "S0000000000000001FF-1";
	d->parent = "S0000000000000001FF";
	d->now = 1700000000;
	d->arrival = 1699990000;
	d->lifetime = 5LL * 86400000;
	qmgr_dsn_write(b, d);
	s = base_strndup((const char *)evbuffer_pullup(b, -1), evbuffer_get_length(b));
	assert_int_equal(strlen(s), evbuffer_get_length(b)); /* no NUL */
	evbuffer_free(b);
	return s;
}

static bool wide; /* bytes above 127 may be there */

static uint64_t lines_ok(const char *s)
{
	uint64_t plain = 0;
	size_t col = 0;

	for (; *s; s++) {
		if (*s == '\r') {
			assert_int_equal(s[1], '\n');
			s++;
			assert_in_range(col, 0, 998);
			col = 0;
			plain += 2;
			continue;
		}
		assert_true(*s == '\t' || (*s >= 32 && *s != 127) || (wide && *s < 0));
		if (col == 0 && *s == '.') { /* stuffed, and no end of the mail */
			assert_int_equal(s[1], '.');
			plain--;
		}
		col++;
		plain++;
	}
	assert_int_equal(col, 0);
	return plain;
}

static void has(const char *s, const char *part)
{
	if (!strstr(s, part))
		fail_msg("not there: %s\nin:\n%s", part, s);
}

static void all_parts(void **state)
{
	static const char head[] = "Received: by x\r\nSubject: caf\xc3\xa9\r\n..dotted: 1\r\n"
				   "--report: x\r\n\r\nbody is not returned\r\n";
	const struct qmgr_dsn_rcpt rcpt[] = {{"a@example.net", "", &gone, QA_FAILED, false},
	    {"b@example.net", "", &late, QA_FAILED, true},
	    {"c@example.net", "rfc822;z+2B@example.org", NULL, QA_FAILED, false}};
	struct qmgr_dsn d = {.envid = "QQ+2B1",
	    .sender = "me@example.org",
	    .rcpt = rcpt,
	    .nrcpt = 3,
	    .content = {head, sizeof(head) - 1}};
	char *s = text_of(&d);

	(void)state;
	assert_int_equal(lines_ok(s), d.bytes);
	assert_true(d.stuffed);
	has(s, "From: Mail Delivery System <MAILER-DAEMON@mail.example.org>\r\n");
	has(s, "To: <me@example.org>\r\n");
	has(s, "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n");
	has(s, "Auto-Submitted: auto-replied\r\n");
	has(s, "multipart/report; report-type=delivery-status;\r\n\tboundary=");
	has(s, "\r\nOriginal-Envelope-Id: QQ+1\r\nReporting-MTA: dns; mail.example.org\r\n");
	has(s, "\r\nArrival-Date: Tue, 14 Nov 2023 19:26:40 +0000\r\n");
	has(s, "\r\n\r\nFinal-Recipient: rfc822; a@example.net\r\nAction: failed\r\n"
	       "Status: 5.1.1\r\nRemote-MTA: dns; mx.example.net\r\n"
	       "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n");
	has(s, "\r\n\r\nFinal-Recipient: rfc822; b@example.net\r\nAction: failed\r\n"
	       "Status: 4.4.7\r\nDiagnostic-Code: x-meta1; connection refused\r\n");
	has(s, "It was tried for 120 hours");
	has(s, "\r\n\r\nOriginal-Recipient: rfc822; z+@example.org\r\nFinal-Recipient: rfc822; "
	       "c@example.net\r\nAction: failed\r\n"
	       "Status: 5.0.0\r\nLast-Attempt-Date:");
	has(s, "\r\nContent-Type: text/rfc822-headers\r\n\r\nReceived: by x\r\n"
	       "Subject: caf??\r\n..dotted: 1\r\n\r\n--report.");
	assert_null(strstr(s, "body is not"));
	assert_null(strstr(s, "--report: x"));
	free(s);
}

static void hostile_words(void **state)
{
	char longish[3000];
	const struct qmgr_dsn_rcpt rcpt[] = {
	    {"x\r\n.\r\n@example.net", "", &evil, QA_FAILED, false},
	    {longish, "", NULL, QA_FAILED, false}};
	struct qmgr_dsn d = {
	    .envid = "QQ+2B1", .sender = "me\r\nBcc: you@example.org", .rcpt = rcpt, .nrcpt = 2};
	char *s;

	(void)state;
	memset(longish, 'l', sizeof(longish) - 1);
	longish[sizeof(longish) - 1] = 0;
	s = text_of(&d);
	assert_int_equal(lines_ok(s), d.bytes);
	has(s, "To: <me??Bcc: you@example.org>\r\n");
	has(s, "Status: 5.0.0\r\nRemote-MTA: dns; mx??X-Evil: 1\r\n");
	assert_null(strstr(s, "rfc822-headers"));
	free(s);
}

/* Headers that were cut at any byte end with a whole line. */
static void cut_headers(void **state)
{
	static const char head[] = "A: 1\r\nB: 2\r\n\tfolded\r\n\r\nbody\r\n";
	const struct qmgr_dsn_rcpt rcpt = {"a@example.net", "", &gone, QA_FAILED, false};
	size_t n;

	(void)state;
	for (n = 0; n < sizeof(head); n++) {
		struct qmgr_dsn d = {.envid = "QQ+2B1",
		    .sender = "me@example.org",
		    .rcpt = &rcpt,
		    .nrcpt = 1,
		    .content = {head, n}};
		char *s = text_of(&d);

		assert_int_equal(lines_ok(s), d.bytes);
		assert_null(strstr(s, "body\r\n"));
		free(s);
	}
}

/* Each kind has its words, its action and its status. */
static void kinds(void **state)
{
	static struct qmgr_reason ok = {.refs = 1,
	    .smtp = 250,
	    .dsn = "2.1.5",
	    .host = "mx.example.net",
	    .text = "2.1.5 taken",
	    .line = "mx.example.net: 250 2.1.5 taken"};
	static struct qmgr_reason busy = {
	    .refs = 1, .smtp = 450, .host = "mx", .text = "busy", .line = "mx: 450 busy"};
	const struct qmgr_dsn_rcpt taken[] = {{"a@x", "", &ok, QA_DELIVERED, false},
	    {"b@x", "", &ok, QA_RELAYED, false}, {"c@x", "", NULL, QA_DELIVERED, false}};
	const struct qmgr_dsn_rcpt waits = {"a@x", "", &busy, QA_DELAYED, false};
	struct qmgr_dsn d = {.sender = "me@x", .envid = "", .rcpt = taken, .nrcpt = 3};
	char *s = text_of(&d);

	(void)state;
	has(s, "Subject: Your mail was delivered\r\n");
	has(s, "a@x\r\nAction: delivered\r\nStatus: 2.1.5\r\n");
	has(s, "b@x\r\nAction: relayed\r\nStatus: 2.1.5\r\n");
	has(s, "c@x\r\nAction: delivered\r\nStatus: 2.0.0\r\n");
	assert_null(strstr(s, "Original-Envelope-Id"));
	assert_null(strstr(s, "Original-Recipient"));
	free(s);
	d = (struct qmgr_dsn){.sender = "me@x", .envid = "", .rcpt = &waits, .nrcpt = 1};
	s = text_of(&d);
	has(s, "Subject: Your mail is late\r\n");
	has(s, "Action: delayed\r\nStatus: 4.");
	has(s, "\r\nWill-Retry-Until: Sun, 19 Nov 2023 19:26:40 +0000\r\n");
	free(s);
	d = (struct qmgr_dsn){.sender = "", .envid = "", .rcpt = taken, .nrcpt = 1};
	s = text_of(&d);
	has(s, "Subject: A report was not delivered\r\n");
	free(s);
}

/* The whole message: as it came, and counted right. */
static void whole_message(void **state)
{
	static const char mail[] = "Subject: caf\303\251\r\n\r\n..dot\r\n--report\r\n..\r\nend\r\n";
	const struct qmgr_dsn_rcpt rcpt = {"a@example.net", "", &gone, QA_FAILED, false};
	struct qmgr_dsn d = {.sender = "me@example.org",
	    .envid = "",
	    .rcpt = &rcpt,
	    .nrcpt = 1,
	    .whole = true,
	    .content = {mail, sizeof(mail) - 1}};
	char *s = text_of(&d);

	(void)state;
	wide = true;
	assert_int_equal(lines_ok(s), d.bytes);
	wide = false;
	assert_true(d.stuffed && d.eight);
	has(s, "\r\nContent-Transfer-Encoding: 8bit\r\n\r\nThis is");
	has(s, "\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n");
	has(s, mail);
	has(s, "end\r\n\r\n--report.S0000000000000001FF-1.6553f100.0000000000005eed--\r\n");
	free(s);
}

/* RFC 6533: addresses and headers as they are, what is no UTF-8 not. */
static void in_utf8(void **state)
{
	static const char head[] = "Subject: caf\303\251\r\nX: \351\r\n\r\n";
	const struct qmgr_dsn_rcpt rcpt = {
	    "\303\251@example.net", "utf-8;\\x{E9}@x", &gone, QA_FAILED, false};
	struct qmgr_dsn d = {.sender = "\303\244@example.org",
	    .envid = "",
	    .utf8 = true,
	    .rcpt = &rcpt,
	    .nrcpt = 1,
	    .content = {head, sizeof(head) - 1}};
	char *s = text_of(&d);

	(void)state;
	wide = true;
	assert_int_equal(lines_ok(s), d.bytes);
	wide = false;
	has(s, "To: <\303\244@example.org>\r\n");
	has(s, "report-type=global-delivery-status;");
	has(s,
	    "Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n");
	has(s, "Original-Recipient: utf-8; \303\251@x\r\nFinal-Recipient: utf-8; "
	       "\303\251@example.net\r\n");
	has(s, "Content-Type: message/global-headers\r\n");
	has(s, "Subject: caf\303\251\r\nX: ?\r\n");
	free(s);
	d.utf8 = false; /* an alias, say, of a mail that was not SMTPUTF8 */
	s = text_of(&d);
	assert_int_equal(lines_ok(s), d.bytes);
	has(s, "Original-Recipient: utf-8; \\x{E9}@x\r\nFinal-Recipient: utf-8; "
	       "\\x{E9}@example.net\r\n");
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(all_parts),
	    cmocka_unit_test(hostile_words),
	    cmocka_unit_test(cut_headers),
	    cmocka_unit_test(kinds),
	    cmocka_unit_test(whole_message),
	    cmocka_unit_test(in_utf8),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
