/* SPDX-License-Identifier: BSD-2-Clause */
/* pmilter_pmilter and libpmilter against each other: what the one asks the other hears, and back.
 */
#include "pmilter_writer.h"

#include <errno.h>

static void a_mail_is_told(void **state)
{
	struct pf *f = pw_up(&pw_filter, "");
	struct ps s;
	struct meta1_extent e;
	struct meta1_pm_message m = ps_message(&e, pw_small);
	struct meta1_tls tls = {.size = sizeof(tls),
	    .bits = 256,
	    .version = "TLSv1.3",
	    .subject = "/O=x/CN=user/OU=y",
	    .issuer = "/CN=ca"};

	(void)state;
	ps_begin(f, &s);
	s.about.msgid = "<early@x>";
	pw_envelope(&s);
	s.about.msgid = "<m@x>";
	s.about.hops = 3;
	s.about.tls = &tls;
	s.about.auth_user = "ann";
	assert_int_equal(ps_end(&s, &m), META1_OK);
	assert_string_equal(pw_heard,
	    "connect client.example;helo client.example;mail a@example.net;param SIZE=1000;"
	    "taid S00000000000000AA01;rcpt b@example.org;data 1/2;eom ;taid S00000000000000AA01;"
	    "msgid <m@x>;c 3;host gw.test;tls TLSv1.3;cn user;issuer ca;bits 256;user ann;");
	assert_int_equal(pw_ncontent, strlen(pw_small));
	assert_memory_equal(pw_content, pw_small, pw_ncontent);
	f->ops->reset(s.sess);
	/* a second mail in the session, and its end before the dot */
	assert_int_equal(ps_ask(&s, META1_PM_MAIL, ""), META1_OK);
	f->ops->reset(s.sess);
	pf_until(f, &pw_aborts, 1);
	pw_down(f, &s, 1);
	assert_int_equal(pw_aborts, 1);
}

static void replies(void **state)
{
	struct pf *f = pw_up(&pw_filter, "");
	struct ps s;

	(void)state;
	ps_begin(f, &s);
	assert_int_equal(ps_ask(&s, META1_PM_CONNECT, ""), META1_OK);
	assert_int_equal(ps_ask(&s, META1_PM_HELO, "bad"), META1_OK);
	assert_int_equal(s.v->action, META1_PM_REFUSE);
	assert_int_equal(s.v->smtp, 554);
	assert_int_equal(s.v->nline, 0);
	assert_int_equal(ps_ask(&s, META1_PM_MAIL, "a@b"), META1_OK);
	assert_int_equal(ps_ask(&s, META1_PM_RCPT, "x@b"), META1_OK);
	assert_int_equal(s.v->smtp, 550);
	assert_string_equal(s.v->dsn, "5.7.1");
	assert_int_equal(s.v->nline, 2);
	assert_string_equal(s.v->line[0].data, "not you,");
	assert_string_equal(s.v->line[1].data, "not today");
	/* the reply was for that recipient alone */
	assert_int_equal(ps_ask(&s, META1_PM_RCPT, "y@b"), META1_OK);
	assert_int_equal(s.v->action, META1_PM_CONTINUE);
	pw_down(f, &s, 1);
}

static sfsistat_T edits_eom(pmse_ctx_P s)
{
	static char huge[META1_PMW_VALUE_MAX + 2];

	memset(huge, 'h', sizeof(huge) - 1);
	assert_int_equal(sm_pmfi_hdr_mod(s, SM_HDRMOD_T_APPEND, 0, "X-A", "1"), SM_SUCCESS);
	assert_int_equal(sm_pmfi_hdr_mod(s, SM_HDRMOD_T_INSERT, 2, "X-B", ""), SM_SUCCESS);
	assert_int_equal(sm_pmfi_hdr_mod(s, SM_HDRMOD_T_REMOVE, 1, "X-C", NULL), SM_SUCCESS);
	assert_int_equal(sm_pmfi_hdr_mod(s, SM_HDRMOD_T_APPEND, 0, "X-D", huge), -EMSGSIZE);
	assert_int_equal(sm_pmfi_hdr_mod(s, SM_HDRMOD_T_APPEND, 0, "X-D", NULL), -EINVAL);
	assert_int_equal(sm_pmfi_rcpt_add(s, "n@x", NULL), SM_SUCCESS);
	assert_int_equal(sm_pmfi_rcpt_del(s, "b@x"), SM_SUCCESS);
	assert_int_equal(sm_pmfi_mail_set(s, "", NULL), SM_SUCCESS);
	assert_int_equal(sm_pmfi_hold(s, "look at it"), SM_SUCCESS);
	assert_int_equal(sm_pmfi_note(s, "score 5"), SM_SUCCESS);
	assert_int_equal(sm_pmfi_setreply(s, "250", NULL, "no"), -EINVAL);
	assert_int_equal(sm_pmfi_setreply(s, "550", "4.7.1", "no"), -EINVAL);
	assert_int_equal(sm_pmfi_wants(s, PM_SMST_DOT), SM_SUCCESS);
	return pw_at_eom;
}

static void edits(void **state)
{
	static const struct pmilter_S fi = {
	    .pmfi_name = "edits", .pmfi_eom = edits_eom, .pmfi_close = pw_on_close};
	struct pf *f = pw_up(&fi, "");
	struct ps s;
	struct meta1_extent e;
	struct meta1_pm_message m = ps_message(&e, pw_small);
	const struct meta1_pm_edit *d;

	(void)state;
	ps_begin(f, &s);
	assert_int_equal(ps_ask(&s, META1_PM_CONNECT, ""), META1_OK);
	assert_int_equal(s.v->wants, META1_PM_END);
	pw_at_eom = SMTP_R_ACCEPT;
	assert_int_equal(ps_end(&s, &m), META1_OK);
	assert_int_equal(s.v->action, META1_PM_ACCEPT);
	assert_int_equal(s.v->nedit, 6);
	d = s.v->edit;
	assert_int_equal(d[0].kind, META1_PM_ADD_HEADER);
	assert_string_equal(d[0].name.data, "X-A");
	assert_string_equal(d[0].value.data, "1");
	assert_int_equal(d[1].index, 2);
	assert_non_null(d[1].value.data);
	assert_int_equal(d[2].kind, META1_PM_CHANGE_HEADER);
	assert_null(d[2].value.data);
	assert_int_equal(d[3].kind, META1_PM_ADD_RCPT);
	assert_int_equal(d[4].kind, META1_PM_DEL_RCPT);
	assert_int_equal(d[5].kind, META1_PM_SENDER);
	assert_string_equal(s.v->hold, "look at it");
	assert_string_equal(s.v->note, "score 5");
	assert_int_equal(s.v->wants, META1_PM_END);
	assert_int_equal(pw_ncontent, 0); /* no pmfi_msg: it was not sent */
	/* of a mail that is refused, or thrown away, nothing is edited */
	for (int i = 0; i < 2; i++) {
		f->ops->reset(s.sess);
		pw_at_eom = i ? SMTP_R_DISCARD : 554;
		assert_int_equal(ps_end(&s, &m), META1_OK);
		assert_int_equal(s.v->action, i ? META1_PM_DISCARD : META1_PM_REFUSE);
		assert_int_equal(s.v->nedit, 0);
	}
	pw_down(f, &s, 1);
}

static void answers_may_come_later(void **state)
{
	struct pf *f = pw_up(&pw_filter, "");
	struct ps s;
	struct meta1_extent e;
	struct meta1_pm_message m = ps_message(&e, pw_small);
	struct meta1_pm_ask end = {.size = sizeof(end), .stage = META1_PM_END, .msg = &m};

	(void)state;
	pw_at_eom = SMTP_R_LATER;
	pw_later = NULL;
	ps_begin(f, &s);
	assert_int_equal(ps_ask(&s, META1_PM_CONNECT, ""), META1_OK);
	ps_put(&s, &end);
	while (!pw_later)
		pf_turn(f);
	for (int i = 0; i < 10; i++)
		pf_turn(f);
	assert_int_equal(s.answers, 1);
	assert_int_equal(sm_pmfi_hdr_mod(pw_later, SM_HDRMOD_T_APPEND, 0, "X-L", "1"), SM_SUCCESS);
	assert_int_equal(sm_pmfi_answer(pw_later, SMTP_R_OK), SM_SUCCESS);
	pf_until(f, &s.answers, 2);
	assert_int_equal(s.v->nedit, 1);
	assert_int_equal(sm_pmfi_answer(pw_later, SMTP_R_OK), -EINVAL);
	/* and the server may not wait for it */
	ps_put(&s, &end);
	pw_later = NULL;
	while (!pw_later)
		pf_turn(f);
	pw_down(f, &s, 1);
	assert_int_equal(pw_aborts, 1);
}

static void where_it_listens(void **state)
{
	static const char *const good[] = {"unix:/run/x", "unix:///run/x", "inet:3333@127.0.0.1",
	    "inet:3333", "inet6:3333@::1", "inet://127.0.0.1:3333"};
	static const char *const bad[] = {"", "/run/x", "unix:run", "inet:", "inet:0", "inet:65536",
	    "inet:33x", "inet:3333@host", "inet6:3333@127.0.0.1", "tcp:1"};
	pmg_ctx_P g;

	(void)state;
	assert_int_equal(sm_pmfi_init(&g), SM_SUCCESS);
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_int_equal(sm_pmfi_setconn(g, good[i]), SM_SUCCESS);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (sm_pmfi_setconn(g, bad[i]) != -EINVAL)
			fail_msg("\"%s\" is taken", bad[i]);
	sm_pmfi_free(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_mail_is_told),
	    cmocka_unit_test(replies),
	    cmocka_unit_test(edits),
	    cmocka_unit_test(answers_may_come_later),
	    cmocka_unit_test(where_it_listens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
