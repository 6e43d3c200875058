/* SPDX-License-Identifier: BSD-2-Clause */
/* Unit test of core/mail/reply.c: enhanced codes in texts, and cleaning of texts. */
#include "mail/reply.h"

#include <setjmp.h>
#include <stdarg.h>

/* needs the headers above */
#include <cmocka.h>

static void enhanced_codes(void **state)
{
	static const struct {
		int code;
		const char *text;
		size_t used;
		const char *dsn;
	} row[] = {{550, "5.1.1 no such user", 6, "5.1.1"}, {550, "5.7.2", 5, "5.7.2"},
	    {550, "5.7.2   x", 8, "5.7.2"}, {250, "2.0.0 ok", 6, "2.0.0"},
	    {450, "5.1.1 class differs", 0, ""}, {550, "5.1 x", 0, ""}, {550, "5.1.", 0, ""},
	    {550, "5..1 x", 0, ""}, {550, "5.1.1x", 0, ""}, {550, "5.1.1234 x", 0, ""},
	    {550, "5.01.1 x", 0, ""}, {550, "5.999.999 x", 10, "5.999.999"}, {550, "", 0, ""},
	    {550, "5", 0, ""}, {0, "4.2.1 any", 6, "4.2.1"}, {354, "3.0.0 x", 0, ""}};
	char out[12];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		assert_int_equal(reply_dsn(row[i].code, row[i].text, out), row[i].used);
		assert_string_equal(out, row[i].dsn);
	}
}

static void default_codes(void **state)
{
	(void)state;
	assert_string_equal(reply_default_dsn(552), "5.3.4");
	assert_string_equal(reply_default_dsn(250), "2.0.0");
	assert_string_equal(reply_default_dsn(499), "4.0.0");
	assert_string_equal(reply_default_dsn(599), "5.0.0");
}

static void cleaned(void **state)
{
	char out[6];

	(void)state;
	reply_clean("a\r\n\0b", 5, out, sizeof(out));
	assert_string_equal(out, "a???b");
	reply_clean("abcdefgh", 8, out, sizeof(out));
	assert_string_equal(out, "abcde");
	reply_clean("", 0, out, sizeof(out));
	assert_string_equal(out, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(enhanced_codes),
	    cmocka_unit_test(default_codes),
	    cmocka_unit_test(cleaned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
