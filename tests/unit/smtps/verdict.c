/* SPDX-License-Identifier: BSD-2-Clause */
/* Unit test of core/smtps/verdict.c: what is kept, for how long, and what smar's frames become. */
#include "smtps/smtps.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

/* needs the headers above */
#include <cmocka.h>

static const struct smtps_verdict ok = {.action = ACT_ACCEPT, .smtp = 250, .dsn = "2.1.5"};

static struct p_check question(const char *client, const char *from, const char *rcpt)
{
	return (struct p_check){.stages = STAGE_RCPT,
	    .client = buf_str(client),
	    .from = buf_str(from),
	    .rcpt = buf_str(rcpt)};
}

static const struct smtps_verdict *find(
    struct smtps_verdicts *c, const char *client, const char *from, const char *rcpt, int64_t now)
{
	struct p_check q = question(client, from, rcpt);

	return smtps_verdict_find(c, &q, now);
}

static void keep(struct smtps_verdicts *c, const char *rcpt, uint64_t generation, int64_t until)
{
	struct p_check q = question("192.0.2.1", "a@b", rcpt);

	smtps_verdict_keep(c, &q, &ok, generation, until);
}

static void by_key_and_time(void **state)
{
	struct smtps_verdicts *c = smtps_verdict_new(10);

	(void)state;
	keep(c, "x@y", 1, 1000);
	assert_non_null(find(c, "192.0.2.1", "a@b", "x@y", 999));
	assert_null(find(c, "192.0.2.2", "a@b", "x@y", 999));
	assert_null(find(c, "192.0.2.1", "a@bx", "@y", 999));
	assert_null(find(c, "192.0.2.1", "", "x@y", 999));
	assert_null(find(c, "192.0.2.1", "a@b", "X@y", 999));
	assert_null(find(c, "192.0.2.1", "a@b", "x@y", 1000));
	assert_int_equal(smtps_verdict_count(c), 0);
	smtps_verdict_free(&c);
	assert_null(c);
}

/* Stages, flags, what MAIL granted, and HELO where it counts, make another question; what hangs on
 * AUTH or TLS, and a probe, is not kept at all. */
static void other_questions(void **state)
{
	struct smtps_verdicts *c = smtps_verdict_new(10);
	struct p_check q = question("192.0.2.1", "a@b", "x@y"), other;

	(void)state;
	q.grants = GRANT_RELAY;
	q.helo = buf_str("c.test");
	smtps_verdict_keep(c, &q, &ok, 1, 1000);
	assert_non_null(smtps_verdict_find(c, &q, 0));
	other = q;
	other.helo = buf_str("d.test"); /* RCPT alone does not look at it */
	assert_non_null(smtps_verdict_find(c, &other, 0));
	other = q;
	other.grants = 0;
	assert_null(smtps_verdict_find(c, &other, 0));
	other = q;
	other.flags = SMTPS_F_ACCESS;
	assert_null(smtps_verdict_find(c, &other, 0));
	other = q;
	other.stages = STAGE_ALL;
	assert_null(smtps_verdict_find(c, &other, 0));
	smtps_verdict_keep(c, &other, &ok, 1, 1000);
	assert_non_null(smtps_verdict_find(c, &other, 0));
	other.helo = buf_str("d.test");
	assert_null(smtps_verdict_find(c, &other, 0));
	for (int i = 0; i < 3; i++) {
		other = q;
		other.probe = i == 0;
		other.auth = buf_str(i == 1 ? "ann" : "");
		other.tls = i == 2 ? TLS_GOOD_CERT : TLS_OFF;
		smtps_verdict_keep(c, &other, &ok, 1, 1000);
		assert_null(smtps_verdict_find(c, &other, 0));
	}
	smtps_verdict_free(&c);
}

static void generations(void **state)
{
	struct smtps_verdicts *c = smtps_verdict_new(10);

	(void)state;
	keep(c, "x@y", 5, 1000);
	smtps_verdict_generation(c, 5);
	assert_int_equal(smtps_verdict_count(c), 1);
	smtps_verdict_generation(c, 6);
	assert_int_equal(smtps_verdict_count(c), 0);
	keep(c, "x@y", 5, 1000); /* asked before the change, answered after it */
	assert_int_equal(smtps_verdict_count(c), 0);
	smtps_verdict_forget(c); /* smar is another process now */
	keep(c, "x@y", 1, 1000);
	assert_int_equal(smtps_verdict_count(c), 1);
	smtps_verdict_free(&c);
}

static void bounded(void **state)
{
	struct smtps_verdicts *c = smtps_verdict_new(3);
	char rcpt[16];

	(void)state;
	for (int i = 0; i < 3; i++) {
		snprintf(rcpt, sizeof(rcpt), "%d@y", i);
		keep(c, rcpt, 1, 1000);
	}
	assert_non_null(find(c, "192.0.2.1", "a@b", "0@y", 0)); /* used: 1 is the oldest now */
	keep(c, "3@y", 1, 1000);
	assert_int_equal(smtps_verdict_count(c), 3);
	assert_non_null(find(c, "192.0.2.1", "a@b", "0@y", 0));
	assert_null(find(c, "192.0.2.1", "a@b", "1@y", 0));
	assert_non_null(find(c, "192.0.2.1", "a@b", "3@y", 0));
	keep(c, "3@y", 1, 2000); /* anew, not twice */
	assert_int_equal(smtps_verdict_count(c), 3);
	smtps_verdict_free(&c);
}

/* A domain has one key, however it is written; a local part has as many as there are ways. */
static void spellings(void **state)
{
	static const char *const same[] = {
	    "x@B\303\234CHER.example", "x@xn--bcher-kva.example", "x@XN--bcher-KVA.Example"};
	struct smtps_verdicts *c = smtps_verdict_new(9);

	(void)state;
	keep(c, "x@b\303\274cher.example", 1, 1000);
	for (size_t i = 0; i < ARRAY_LEN(same); i++)
		assert_non_null(find(c, "192.0.2.1", "a@B", same[i], 0));
	/* what needs SMTPUTF8 is another question than what does not */
	assert_null(find(c, "192.0.2.1", "\303\244@b", same[0], 0));
	assert_null(find(c, "192.0.2.1", "a@b", "\303\244@xn--bcher-kva.example", 0));
	smtps_verdict_free(&c);
}

static void frames(void **state)
{
	static const struct {
		uint64_t action, smtp;
		const char *dsn, *text;
		uint32_t want_action;
		int want_smtp;
		const char *want_dsn, *want_text;
	} row[] = {
	    {ACT_ACCEPT, 0, "", "", ACT_ACCEPT, 250, "2.1.5", "Recipient ok"},
	    {ACT_REJECT, 0, "", "", ACT_REJECT, 550, "5.7.1", "Recipient refused"},
	    {ACT_REJECT, 553, "5.1.1", "no", ACT_REJECT, 553, "5.1.1", "no"},
	    {ACT_REJECT, 550, "", "5.1.1 no", ACT_REJECT, 550, "5.1.1", "no"},
	    {ACT_REJECT, 250, "", "lie", ACT_REJECT, 550, "5.7.1", "lie"},
	    {ACT_REJECT, 4000000000u, "", "lie", ACT_REJECT, 550, "5.7.1", "lie"},
	    {ACT_ACCEPT, 550, "5.1.1", "lie", ACT_ACCEPT, 250, "2.1.5", "lie"},
	    {ACT_TEMPFAIL, 450, "4.2.1", "a\r\nb", ACT_TEMPFAIL, 450, "4.2.1", "a??b"},
	    {ACT_TEMPFAIL, 450, "5.2.1", "wait", ACT_TEMPFAIL, 450, "4.2.0", "wait"},
	    {99, 550, "", "", ACT_TEMPFAIL, 451, "4.3.0", NULL},
	    {ACT_DISCARD, 0, "", "", ACT_DISCARD, 250, "2.1.5", "Recipient ok"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct p_verdict m = {.action = row[i].action,
		    .smtp = row[i].smtp,
		    .dsn = buf_str(row[i].dsn),
		    .text = buf_str(row[i].text)};
		struct smtps_verdict v;

		smtps_verdict_read(&m, &v);
		assert_int_equal(v.action, row[i].want_action);
		assert_int_equal(v.smtp, row[i].want_smtp);
		assert_string_equal(v.dsn, row[i].want_dsn);
		if (row[i].want_text != NULL)
			assert_string_equal(v.text, row[i].want_text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(by_key_and_time),
	    cmocka_unit_test(other_questions),
	    cmocka_unit_test(generations),
	    cmocka_unit_test(bounded),
	    cmocka_unit_test(spellings),
	    cmocka_unit_test(frames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
