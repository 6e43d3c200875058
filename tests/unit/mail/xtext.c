/* SPDX-License-Identifier: BSD-2-Clause */
/* xtext.c -- tries core/mail/xtext.c: what is well formed, and what reports show of it. */
#include "mail/xtext.h"

#include "../unit.h"

#include <stdlib.h>

static void words(void **state)
{
	static const struct {
		const char *text, *plain; /* NULL: refused */
	} rows[] = {{"QQ314159", "QQ314159"}, {"a+20b", "a b"}, {"+2B+3D", "+="},
	    {"a+40b.c", "a@b.c"}, {"", NULL}, {"+", NULL}, {"+4", NULL}, {"a+", NULL},
	    {"+4G", NULL}, {"+4g", NULL}, {"+2b", NULL}, {"+00", NULL}, {"+0A", NULL},
	    {"+7F", NULL}, {"+C3+A9", NULL}, {"a=b", NULL}, {"a b", NULL}, {"a\tb", NULL},
	    {"\303\251", NULL}, {"a\177", NULL}};
	char out[32];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (xtext_ok(buf_str(rows[i].text)) != (rows[i].plain != NULL))
			fail_msg("%s", rows[i].text);
		if (rows[i].plain == NULL)
			continue;
		xtext_decode(buf_str(rows[i].text), out, sizeof(out));
		assert_string_equal(out, rows[i].plain);
	}
	assert_false(xtext_ok(buf_of("a\0b", 3)));
	xtext_decode(buf_str("abcdef"), out, 4);
	assert_string_equal(out, "abc");
}

static void original_recipients(void **state)
{
	static const struct {
		const char *text;
		bool utf8;
		const char *ascii, *wide; /* NULL: refused */
	} rows[] = {{"rfc822;a@b", false, "rfc822; a@b", "rfc822; a@b"},
	    {"RFC822;a+2Bc@b", false, "RFC822; a+c@b", "RFC822; a+c@b"},
	    {"x400;/C+3Dde/", false, "x400; /C=de/", "x400; /C=de/"},
	    {"rfc822;", false, NULL, NULL}, {";a@b", false, NULL, NULL}, {"a@b", false, NULL, NULL},
	    {"rfc 822;a@b", false, NULL, NULL}, {"rfc822;+00@b", false, NULL, NULL},
	    {"rfc822;a+0D+0A.", false, NULL, NULL}, {"r(c;a@b", false, NULL, NULL},
	    {"rfc822;\303\251@b", true, NULL, NULL},
	    {"utf-8;a\\x{E9}@b", false, "utf-8; a\\x{E9}@b", "utf-8; a\303\251@b"},
	    {"utf-8;a\303\251@b", true, "utf-8; a\\x{E9}@b", "utf-8; a\303\251@b"},
	    {"utf-8;a\303\251@b", false, NULL, NULL},
	    {"utf-8;\\x{1F600}@b", false, "utf-8; \\x{1F600}@b", "utf-8; \360\237\230\200@b"},
	    {"utf-8;\\x{10FFFF}", false, "utf-8; \\x{10FFFF}", "utf-8; \364\217\277\277"},
	    {"utf-8;a\\x{2B}b@c", false, "utf-8; a\\x{2B}b@c", "utf-8; a+b@c"},
	    {"utf-8;a\\x{5C}@c", false, "utf-8; a\\x{5C}@c", "utf-8; a\\@c"},
	    {"utf-8;a+2B@b", false, NULL, NULL}, {"utf-8;a=b", false, NULL, NULL},
	    {"utf-8;\\x{41}", false, NULL, NULL}, {"utf-8;\\x{0A}", false, NULL, NULL},
	    {"utf-8;\\x{00}", false, NULL, NULL}, {"utf-8;\\x{85}", false, NULL, NULL},
	    {"utf-8;\\x{D800}", false, NULL, NULL}, {"utf-8;\\x{110000}", false, NULL, NULL},
	    {"utf-8;\\x{00E9}", false, NULL, NULL}, {"utf-8;\\x{e9}", false, NULL, NULL},
	    {"utf-8;\\x{E9", false, NULL, NULL}, {"utf-8;\\x", false, NULL, NULL},
	    {"utf-8;\\", false, NULL, NULL}, {"utf-8;", false, NULL, NULL},
	    {"utf-8;\300\200", true, NULL, NULL}, {"utf-8;\355\240\200", true, NULL, NULL},
	    {"utf-8;\303", true, NULL, NULL}};
	char out[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (xtext_orcpt_ok(buf_str(rows[i].text), rows[i].utf8) != (rows[i].ascii != NULL))
			fail_msg("%s", rows[i].text);
		if (rows[i].ascii == NULL)
			continue;
		xtext_orcpt_field(rows[i].text, false, out, sizeof(out));
		assert_string_equal(out, rows[i].ascii);
		xtext_orcpt_field(rows[i].text, true, out, sizeof(out));
		assert_string_equal(out, rows[i].wide);
	}
}

static void addresses(void **state)
{
	char out[32];

	(void)state;
	xtext_addr_field("a+b=c@d", false, out, sizeof(out));
	assert_string_equal(out, "rfc822; a+b=c@d");
	xtext_addr_field("\303\251+b@d", false, out, sizeof(out));
	assert_string_equal(out, "utf-8; \\x{E9}\\x{2B}b@d");
	xtext_addr_field("\303\251+b@d", true, out, sizeof(out));
	assert_string_equal(out, "utf-8; \303\251+b@d");
	xtext_addr_field("\303(@d", true, out, sizeof(out)); /* no UTF-8 */
	assert_string_equal(out, "utf-8; ?(@d");
	xtext_addr_field("\303\251@a.very.long.domain.example", true, out, sizeof(out));
	assert_int_equal(strlen(out), sizeof(out) - 1);
}

static void to_ascii(void **state)
{
	char out[32];
	struct meta1_buf in = buf_str("utf-8;a\303\251\360\237\230\200@b");
	size_t n = xtext_orcpt_ascii(in, out, sizeof(out));

	(void)state;
	assert_int_equal(n, strlen("utf-8;a\\x{E9}\\x{1F600}@b"));
	assert_memory_equal(out, "utf-8;a\\x{E9}\\x{1F600}@b", n);
	assert_true(xtext_orcpt_ok(buf_of(out, n), false));
	assert_int_equal(xtext_orcpt_ascii(buf_str("rfc822;a+2B@b"), out, 13), 13);
	assert_memory_equal(out, "rfc822;a+2B@b", 13);
	for (size_t size = 0; size < n; size++) {
		char *small = base_alloc(size + 1);

		assert_int_equal(xtext_orcpt_ascii(in, small, size), 0);
		free(small);
	}
	assert_int_equal(xtext_orcpt_ascii(buf_str("rfc822;a+2B@b"), out, 12), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(words),
	    cmocka_unit_test(original_recipients),
	    cmocka_unit_test(addresses),
	    cmocka_unit_test(to_ascii),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
