/* SPDX-License-Identifier: BSD-2-Clause */
/* Filters that go away and come back, the fall-back address, several connections. */
#include "pmilter_writer.h"

static void a_filter_comes_back(void **state)
{
	struct pf *f = pw_up(&pw_filter, "ping = 1s;");
	struct meta1_pm_state st = {.size = sizeof(st)};
	struct ps s[3];

	(void)state;
	ps_begin(f, &s[0]);
	pw_envelope(&s[0]);
	f->ops->state(mod_data(f->inst), &st);
	assert_int_equal(st.connected, 1);
	assert_non_null(strstr(st.peer, "pmilter writer"));
	pf_filter_end(f);
	assert_int_equal(pw_closes, 1); /* the filter's own view of its end */
	assert_int_equal(pw_aborts, 1);
	assert_int_equal(ps_ask(&s[0], META1_PM_RCPT, "c@b"), META1_TEMPFAIL);
	assert_non_null(strstr(s[0].text, "the filter"));
	ps_begin(f, &s[1]);
	assert_int_equal(ps_ask(&s[1], META1_PM_CONNECT, ""), META1_TEMPFAIL);
	assert_non_null(strstr(s[1].text, f->sock));
	pf_filter(f, &pw_filter);
	ps_begin(f, &s[2]);
	assert_int_equal(ps_ask(&s[2], META1_PM_CONNECT, ""), META1_OK);
	ps_close(&s[0]);
	ps_close(&s[1]);
	pw_down(f, &s[2], 2);
}

/* A session that had no mail when the filter went away goes on, and is told from its begin. */
static void a_session_outlives_the_filter(void **state)
{
	struct pf *f = pw_up(&pw_filter, "");
	struct ps s, t;

	(void)state;
	ps_begin(f, &s);
	s.about.helo = "client.example";
	pw_envelope(&s);
	f->ops->reset(s.sess);
	pf_until(f, &pw_aborts, 1);
	for (int bad = 0; bad < 2; bad++) {
		pf_filter_end(f);
		pf_filter(f, &pw_filter);
		do { /* until the connection is there again */
			ps_begin(f, &t);
			ps_ask(&t, META1_PM_CONNECT, "");
			ps_close(&t);
		} while (t.st != META1_OK);
		*pw_heard = '\0';
		s.about.helo = bad ? "bad" : "client.example";
		assert_int_equal(ps_ask(&s, META1_PM_MAIL, "next@example.net"), META1_OK);
		assert_int_equal(s.v->action, bad ? META1_PM_REFUSE : META1_PM_CONTINUE);
		if (!bad)
			assert_string_equal(pw_heard,
			    "connect client.example;helo client.example;mail next@example.net;"
			    "param SIZE=1000;taid S00000000000000AA01;");
		f->ops->reset(s.sess);
		assert_int_equal(ps_ask(&s, META1_PM_RCPT, "b@x"), META1_OK);
		assert_int_equal(s.v->action, META1_PM_CONTINUE);
		f->ops->reset(s.sess);
	}
	ps_close(&s);
	pw_closes = 0;
	pf_until(f, &pw_closes, 1);
	pf_free(&f);
}

static void the_fallback_is_asked(void **state)
{
	struct pf *f;
	struct ps s;
	char path[64], options[200];

	(void)state;
	snprintf(path, sizeof(path), "/tmp/m1-pmilter-second.%ld", (long)getpid());
	snprintf(options, sizeof(options), "fallback_path = \"%s\";", path);
	f = pf_new(options);
	snprintf(f->where, sizeof(f->where), "unix://%s", path);
	pf_filter(f, &pw_filter);
	*pw_heard = '\0';
	pw_closes = 0;
	ps_begin(f, &s);
	assert_int_equal(ps_ask(&s, META1_PM_CONNECT, ""), META1_OK);
	assert_string_equal(pw_heard, "connect client.example;");
	pw_down(f, &s, 1);
	assert_int_equal(access(path, F_OK), -1);
}

static void several_connections(void **state)
{
	struct pf *f = pw_up(&pw_filter, "connections = 3;");
	struct ps s[6];

	(void)state;
	for (int i = 0; i < 6; i++) {
		ps_begin(f, &s[i]);
		pw_envelope(&s[i]);
	}
	for (int i = 1; i < 6; i++)
		ps_close(&s[i]);
	pw_down(f, &s[0], 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_filter_comes_back),
	    cmocka_unit_test(a_session_outlives_the_filter),
	    cmocka_unit_test(the_fallback_is_asked),
	    cmocka_unit_test(several_connections),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
