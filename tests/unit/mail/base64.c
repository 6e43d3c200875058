/* SPDX-License-Identifier: BSD-2-Clause */
/* base64.c -- tries meta1/base64.h: vectors of RFC 4648, every length both ways, what is no
 * base64. */
#include "../unit.h"

#include "lib/base.h"

#include <meta1/base64.h>

static void vectors(void **state)
{
	static const char *const rows[][2] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="},
	    {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"},
	    {"\377\376\373", "//77"}, {"\373\357\276", "++++"}};
	uint8_t back[16];
	char text[16];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		meta1_base64_encode(text, buf_str(rows[i][0]));
		assert_string_equal(text, rows[i][1]);
		assert_int_equal(meta1_base64_decode(back, buf_str(text)), strlen(rows[i][0]));
		assert_memory_equal(back, rows[i][0], strlen(rows[i][0]));
	}
}

static void every_length(void **state)
{
	uint8_t in[300], back[300];
	char text[META1_BASE64_LEN(300) + 1];

	(void)state;
	for (size_t n = 0; n <= sizeof(in); n++) {
		for (size_t i = 0; i < n; i++)
			in[i] = (uint8_t)(i * 37 + n);
		meta1_base64_encode(text, buf_of(in, n));
		assert_int_equal(strlen(text), META1_BASE64_LEN(n));
		assert_int_equal(meta1_base64_decode(back, buf_str(text)), n);
		assert_memory_equal(back, in, n);
	}
}

static void refused(void **state)
{
	static const char *const rows[] = {"Z", "Zg", "Zg=", "Zg===", "=",
	    "====", "Zg==Zg==", "Z===", "Zm9v ", " Zm9v", "Zm9v\r\n", "Zm9-", "Zm9_",
	    "Zh==", "Zm9=", "Zg=v", "*", "Zm9\xc3"};
	uint8_t back[16];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (meta1_base64_decode(back, buf_str(rows[i])) != -1)
			fail_msg("%s", rows[i]);
	assert_int_equal(meta1_base64_decode(back, buf_of("Zm\0v", 4)), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(vectors), cmocka_unit_test(every_length), cmocka_unit_test(refused)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
