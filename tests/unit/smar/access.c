/* SPDX-License-Identifier: BSD-2-Clause */
/* access.c -- right-hand sides of the access map, good and bad. */
#include "../unit.h"
#include "smar/smar.h"

static void good(void **state)
{
	static const struct {
		const char *value;
		enum smar_rhs rhs;
		bool quick;
		int smtp;
		const char *dsn, *text;
	} row[] = {
	    {"RELAY", RHS_RELAY, false, 0, "", ""},
	    {"  ok \t", RHS_OK, false, 0, "", ""},
	    {"Reject", RHS_REJECT, false, 0, "", ""},
	    {"QUICK:OK", RHS_OK, true, 0, "", ""},
	    {"quick:RELAY", RHS_RELAY, true, 0, "", ""},
	    {"DISCARD", RHS_DISCARD, false, 0, "", ""},
	    {"CONT", RHS_CONT, false, 0, "", ""},
	    {"error:550 5.7.1 not here", RHS_ERROR, false, 550, "5.7.1", "not here"},
	    {"error: 450 4.7.1 later", RHS_ERROR, false, 450, "4.7.1", "later"},
	    {"550 5.7.1 plain", RHS_ERROR, false, 550, "5.7.1", "plain"},
	    {"QUICK:451 later", RHS_ERROR, true, 451, "4.3.0", "later"},
	    {"QUICK:error:554 go away", RHS_ERROR, true, 554, "5.0.0", "go away"},
	    {"error:550", RHS_ERROR, false, 550, "5.1.1", "access denied"},
	    /* A class that is not the reply's belongs to the text. */
	    {"error:550 4.7.1 odd", RHS_ERROR, false, 550, "5.1.1", "4.7.1 odd"},
	    {"error:550 5.7.1 a\rb\x01", RHS_ERROR, false, 550, "5.7.1", "a?b?"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct smar_access a;
		struct meta1_err err;

		assert_int_equal(smar_access_parse(buf_str(row[i].value), &a, &err), 0);
		assert_int_equal(a.rhs, row[i].rhs);
		assert_int_equal(a.quick, row[i].quick);
		assert_int_equal(a.smtp, row[i].smtp);
		assert_string_equal(a.dsn, row[i].dsn);
		assert_string_equal(a.text, row[i].text);
	}
}

static void bad(void **state)
{
	static const char *const row[] = {"", "RELAYED", "OK please", "error:", "error:250 ok",
	    "error:55 x", "error:5500 x", "error:560 x", "error:421 bye", "error:550x",
	    "QUICK:", "QUICK:QUICK:OK", "RELAY # ours", "250 ok", "55 5.7.1 no", "421 bye"};
	char big[1000];
	struct smar_access a;
	struct meta1_err err;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		err.text[0] = '\0';
		assert_int_equal(smar_access_parse(buf_str(row[i]), &a, &err), -1);
		assert_true(strlen(err.text) > 0);
	}
	memset(big, 'x', sizeof(big));
	assert_int_equal(smar_access_parse(buf_of(big, sizeof(big)), &a, &err), -1);
	assert_int_equal(smar_access_parse(buf_of("OK\0RELAY", 8), &a, &err), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(good),
	    cmocka_unit_test(bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
