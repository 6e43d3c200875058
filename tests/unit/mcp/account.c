/* SPDX-License-Identifier: BSD-2-Clause */
/* account.c of mcp: whom a section runs as, and what only a start finds wrong. */
#include "../unit.h"
#include "mcp/mcp.h"

#include <stdlib.h>
#include <unistd.h>

static void users(void **state)
{
	struct set_role s = {.keyword = "smtps"};
	struct mcp_account a;
	struct meta1_err err;

	(void)state;
	assert_int_equal(mcp_account(&s, false, &a, &err), 0);
	assert_false(a.change);
	assert_int_equal(a.uid, geteuid());

	assert_int_equal(mcp_account(&s, true, &a, &err), -1);
	assert_non_null(strstr(err.text, "would run as root; say user"));

	s.user = "root";
	assert_int_equal(mcp_account(&s, true, &a, &err), -1);
	assert_non_null(strstr(err.text, "unprivileged"));
	s.user = "0";
	assert_int_equal(mcp_account(&s, true, &a, &err), -1);
	s.user = "no-such-user-here";
	assert_int_equal(mcp_account(&s, true, &a, &err), -1);
	assert_non_null(strstr(err.text, "no such account"));

	s.user = "daemon";
	assert_int_equal(mcp_account(&s, true, &a, &err), 0);
	assert_true(a.change);
	assert_int_not_equal(a.uid, 0);
	assert_string_equal(a.name, "daemon");
	s.group = "root";
	assert_int_equal(mcp_account(&s, true, &a, &err), -1);
	s.group = "no-such-group-here";
	assert_int_equal(mcp_account(&s, true, &a, &err), -1);
}

static unsigned errors(const char *text)
{
	struct settings *s = settings_load_text("t", text, OPT_CHECK);
	unsigned n;

	assert_int_equal(conf_errors(s->conf), 0);
	n = mcp_account_check(s, false);
	assert_int_equal(n, conf_errors(s->conf));
	settings_free(&s);
	return n;
}

static void sections(void **state)
{
	(void)state;
	assert_int_equal(errors(""), 1); /* nothing to start */
	assert_int_equal(errors("smar { }"), 0);
	assert_int_equal(errors("smtps { }"), 1); /* listens nowhere */
	assert_int_equal(errors("smtps { listen_socket { type = inet; port = 25; } }"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(users),
	    cmocka_unit_test(sections),
	};

	unsetenv("META1_TEST_ENV");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
