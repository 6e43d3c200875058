/* SPDX-License-Identifier: BSD-2-Clause */
/* Unit test of core/lib/hop_conf.c: what a row of the access map makes of smtpc's options. */
#include "lib/hop_conf.h"

#include "../unit.h"

#include <meta1/transport.h>
#include <stdio.h>

#define ALL 95u /* but for ignorequota */

static const struct hop_conf section = {.IO_timeout = 300000,
    .connect_timeout = 60000,
    .idle_timeout = 5000,
    .max_mails = 100,
    .extensions = ALL,
    .helo_name = "gw.test"};

static struct hop_conf read_row(const char *row)
{
	struct hop_conf c = section;
	struct meta1_err err;

	if (hop_conf_read(buf_str(row), &c, &err) < 0)
		fail_msg("%s: %s", row, err.text);
	return c;
}

static void good(void **state)
{
	struct hop_conf c;

	(void)state;
	c = read_row("");
	assert_memory_equal(&c, &section, sizeof(c));
	c = read_row("IO_timeout = 20m; CONNECT_timeout = 3s; idle_timeout = 0; "
		     "max_mails_per_connection = 1; no_8bitmime = bounce;");
	assert_int_equal(c.IO_timeout, 1200000);
	assert_int_equal(c.connect_timeout, 3000);
	assert_int_equal(c.idle_timeout, 0);
	assert_int_equal(c.max_mails, 1);
	assert_int_equal(c.no_8bitmime, NO_8BITMIME_BOUNCE);
	assert_int_equal(c.extensions, ALL);
	assert_string_equal(c.helo_name, "gw.test");
	c = read_row("extensions = { dont_pipelining, no_dsn, };");
	assert_int_equal(c.extensions, ALL & ~(META1_OFFER_PIPELINING | META1_OFFER_DSN));
	c = read_row("extensions = dont_8bitmime; helo_name = other.example.net; source_ipv4 = "
		     "192.0.2.7; source_ipv6 = \"2001:db8::7\";");
	assert_int_equal(c.extensions, ALL & ~META1_OFFER_8BITMIME);
	assert_string_equal(c.helo_name, "other.example.net");
	assert_string_equal(c.source_ipv4, "192.0.2.7");
	assert_string_equal(c.source_ipv6, "2001:db8::7");
	assert_string_equal(read_row("helo_name = \"[192.0.2.7]\";").helo_name, "[192.0.2.7]");
	assert_string_equal(
	    read_row("helo_name = \"[IPv6:2001:db8::7]\";").helo_name, "[IPv6:2001:db8::7]");
	assert_string_equal(read_row("helo_name = \"\";").helo_name, "");
}

static void bad(void **state)
{
	static char long_row[HOP_CONF_MAX + 2];
	static const struct {
		const char *row, *says;
	} rows[] = {
	    {"IO_timeot = 5m;", "did you mean IO_timeout"},
	    {"IO_timeout = soon;", "IO_timeout: "},
	    {"IO_timeout = 2d;", "IO_timeout: "},
	    {"remote_port = 2525;", "cannot be set for one next hop or recipient"},
	    {"LMTP_socket = \"/x\";", "cannot be set for one"},
	    {"flags = rcpt_conf;", "cannot be set for one"},
	    {"extensions = dont_tls;", "extensions: "},
	    {"no_8bitmime = perhaps;", "no_8bitmime: "},
	    {"helo_name = two words;", "missing ';'"},
	    {"helo_name = \"a b\";", "helo_name: found a b"},
	    {"helo_name = \"a\\r\\nMAIL\";", "helo_name: "},
	    {"helo_name = \"[192.0.2]\";", "helo_name: "},
	    {"source_ipv4 = \"2001:db8::1\";", "source_ipv4: found 2001:db8::1"},
	    {"source_ipv6 = 192.0.2.1;", "source_ipv6: found 192.0.2.1"},
	    {"tls { }", "a section cannot be set"},
	    {"include \"/etc/passwd\";", "include"},
	    {"idle_timeout = 1s; idle_timeout = 2s;", "idle_timeout"},
	    {"connect_timeout = 1s; IO_timeout = 0;", "IO_timeout: "},
	    {"=", "row:1:1"},
	    {long_row, "longer than 512 bytes"},
	};

	(void)state;
	memset(long_row, ' ', sizeof(long_row) - 1);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct hop_conf c = section;
		struct meta1_err err = {""};

		if (hop_conf_read(buf_str(rows[i].row), &c, &err) == 0 ||
		    !strstr(err.text, rows[i].says))
			fail_msg("%s: found \"%s\", expected \"%s\"", rows[i].row, err.text,
			    rows[i].says);
		for (const char *p = err.text; *p; p++)
			assert_true((unsigned char)*p >= 32);
		assert_memory_equal(&c, &section, sizeof(c)); /* nothing of it holds */
	}
	struct hop_conf c = section;
	struct meta1_err err;
	assert_true(hop_conf_read(buf_of("IO_timeout = 1s;\0", 17), &c, &err) < 0);
	assert_string_equal(err.text, "holds a byte 0");
}

/* What a session got when it was opened must be the same; what a mail gets need not. */
static void sessions(void **state)
{
	static const struct {
		const char *row;
		bool same;
	} rows[] = {
	    {"", true},
	    {"connect_timeout = 1s;", true},
	    {"no_8bitmime = bounce; extensions = dont_size;", true},
	    {"helo_name = GW.test;", true},
	    {"helo_name = other.test;", false},
	    {"IO_timeout = 1m;", false},
	    {"idle_timeout = 1m;", false},
	    {"max_mails_per_connection = 2;", false},
	    {"source_ipv4 = 192.0.2.7;", false},
	    {"source_ipv6 = \"::1\";", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct hop_conf c = read_row(rows[i].row);

		if (hop_conf_same_session(&section, &c) != rows[i].same)
			fail_msg("%s", rows[i].row);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(good),
	    cmocka_unit_test(bad),
	    cmocka_unit_test(sessions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
