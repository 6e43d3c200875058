/* SPDX-License-Identifier: BSD-2-Clause */
/* Unit test of core/smtps/conf.c: what a row of the access map makes of a client's limits. */
#include "lib/settings.h"
#include "smtps/smtps.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

/* needs the headers above */
#include <cmocka.h>

static const struct smtps_limits section = {
    .flags = SMTPS_F_8BITMIME | SMTPS_F_ACCESS | SMTPS_F_PRDR,
    .io_timeout = 300000,
    .message_size = 1000,
    .rcpts_per_tx = 100,
    .client_exempt = (struct netlist *)&section};

static void good(void **state)
{
	struct smtps_limits l;
	struct meta1_err err = {""};

	(void)state;
	assert_int_equal(smtps_conf_read(&section, "", &l, &err), 0);
	assert_int_equal(l.message_size, 1000);
	assert_null(l.client_exempt);
	assert_int_equal(smtps_conf_read(&section,
			     "max_message_size = 2MB; IO_TIMEOUT = 1m3s; bare_newline = repair; "
			     "vrfy = yes; flags = { 8bitmime, smtputf8, };",
			     &l, &err),
	    0);
	assert_int_equal(l.message_size, 2 << 20);
	assert_int_equal(l.io_timeout, 63000);
	assert_int_equal(l.rcpts_per_tx, 100);
	assert_true(l.repair && l.vrfy);
	/* access is the section's; prdr was not said */
	assert_int_equal(l.flags, SMTPS_F_8BITMIME | SMTPS_F_ACCESS | SMTPS_F_SMTPUTF8);
	assert_int_equal(smtps_conf_read(&section, "flags = dont_8bitmime;", &l, &err), 0);
	assert_int_equal(l.flags, SMTPS_F_ACCESS); /* RFC 6531 3.1 */
}

static void bad(void **state)
{
	static const struct {
		const char *row, *says;
	} rows[] = {
	    {"max_message_sise = 1MB;", "did you mean max_message_size"},
	    {"max_message_size = big;", "max_message_size: "},
	    {"max_message_size = 1B;", "max_message_size: "},
	    {"max_sessions = 5;", "cannot be set for one client"},
	    {"listen_socket { port = 25; }", "a section cannot be set"},
	    {"max_message_size = ", "expected"},
	    {"include \"/etc/passwd\";", "include"},
	    {"}", "row:1:1"},
	    {"max_hops = 1; max_hops = 2;", "max_hops"},
	};
	struct smtps_limits l;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct meta1_err err = {""};

		if (smtps_conf_read(&section, rows[i].row, &l, &err) == 0 ||
		    strstr(err.text, rows[i].says) == NULL)
			fail_msg("%s: found \"%s\", expected \"%s\"", rows[i].row, err.text,
			    rows[i].says);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(good),
	    cmocka_unit_test(bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
