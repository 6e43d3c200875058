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

/* Roles that others ask and that have no section, as a start and a reload say it. */
static void missing(void **state)
{
	static const struct {
		const char *text, *says; /* NULL: nothing */
		unsigned n;
	} t[] = {
	    {"smar { }\n", NULL, 0},
	    {"qmgr { }\nsmar { }\nsmtpc { }\n", NULL, 0},
	    {"qmgr { }\nsmtps { }\n",
		"t:1:1: warning: qmgr asks smar, and there is no section smar: ", 2},
	    {"smar { }\nsmtps { }\n",
		"t:2:1: warning: smtps asks qmgr, and there is no section qmgr: ", 1},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct settings *s = settings_load_text("t", t[i].text, OPT_CHECK);
		char *said;
		size_t len;
		FILE *f = open_memstream(&said, &len);

		mcp_account_check(s, false);
		conf_report(s->conf, f);
		fclose(f);
		assert_int_equal(conf_warnings(s->conf), t[i].n);
		if (t[i].says && !strstr(said, t[i].says))
			fail_msg("row %zu: %s", i, said);
		free(said);
		settings_free(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(users),
	    cmocka_unit_test(sections),
	    cmocka_unit_test(missing),
	};

	unsetenv("META1_TEST_ENV");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
