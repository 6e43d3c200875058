/* SPDX-License-Identifier: BSD-2-Clause */
/* tls_result.c -- what transports say of TLS, in the words of RFC 8460. */
#include "../unit.h"

#include "lib/tls_result.h"

#define KEY  "0000000000000000000000000000000000000000000000000000000000000000"
#define STS  "verify by=sts domain=a.test"
#define DANE "dane by=dane domain=a.test tlsa=3:1:1:" KEY
#define ODD  "encrypt by=dane domain=a.test" /* no record can be used */

static const struct {
	const char *need;
	enum meta1_tls_result said;
	enum tls_result opened, failed;
} t[] = {
    {STS, META1_TLS_GOOD, TLS_RESULT_GOOD, TLS_RESULT_NONE},
    {STS " testing=1", META1_TLS_MISNAMED, TLS_RESULT_MISMATCH, TLS_RESULT_MISMATCH},
    {STS " testing=1", META1_TLS_UNTRUSTED, TLS_RESULT_UNTRUSTED, TLS_RESULT_UNTRUSTED},
    {STS " testing=1", META1_TLS_EXPIRED, TLS_RESULT_EXPIRED, TLS_RESULT_EXPIRED},
    {STS, META1_TLS_NOT_OFFERED, TLS_RESULT_NO_STARTTLS, TLS_RESULT_NO_STARTTLS},
    {STS, META1_TLS_BROKEN, TLS_RESULT_VALIDATION, TLS_RESULT_VALIDATION},
    {STS, META1_TLS_UNTRIED, TLS_RESULT_NONE, TLS_RESULT_NONE},
    {DANE, META1_TLS_GOOD, TLS_RESULT_GOOD, TLS_RESULT_NONE},
    {DANE, META1_TLS_UNMATCHED, TLS_RESULT_TLSA, TLS_RESULT_TLSA},
    {DANE, META1_TLS_MISNAMED, TLS_RESULT_MISMATCH, TLS_RESULT_MISMATCH},
    {DANE, META1_TLS_NOT_OFFERED, TLS_RESULT_NO_STARTTLS, TLS_RESULT_NO_STARTTLS},
    {ODD, META1_TLS_GOOD, TLS_RESULT_TLSA, TLS_RESULT_NONE},
    {ODD, META1_TLS_UNTRUSTED, TLS_RESULT_TLSA, TLS_RESULT_UNTRUSTED},
    {ODD, META1_TLS_BROKEN, TLS_RESULT_VALIDATION, TLS_RESULT_VALIDATION},
    /* no policy: with whoever it is; an option of ours may want more all the same */
    {NULL, META1_TLS_GOOD, TLS_RESULT_GOOD, TLS_RESULT_NONE},
    {NULL, META1_TLS_UNTRUSTED, TLS_RESULT_GOOD, TLS_RESULT_UNTRUSTED},
    {NULL, META1_TLS_MISNAMED, TLS_RESULT_GOOD, TLS_RESULT_MISMATCH},
    {NULL, META1_TLS_NOT_OFFERED, TLS_RESULT_NO_STARTTLS, TLS_RESULT_NO_STARTTLS},
    {NULL, META1_TLS_BROKEN, TLS_RESULT_VALIDATION, TLS_RESULT_VALIDATION},
    {NULL, META1_TLS_UNTRIED, TLS_RESULT_NONE, TLS_RESULT_NONE},
    {STS, (enum meta1_tls_result)99, TLS_RESULT_VALIDATION, TLS_RESULT_VALIDATION},
};

static void results(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		struct meta1_err err = {""};
		struct tls_need n;
		const struct tls_need *need = t[i].need ? &n : NULL;

		if (need && tls_need_parse(buf_str(t[i].need), &n, &err) < 0)
			fail_msg("%s: %s", t[i].need, err.text);
		if (tls_result_of(t[i].said, need, true) != t[i].opened ||
		    tls_result_of(t[i].said, need, false) != t[i].failed)
			fail_msg("%s, %d: %d and %d", need ? t[i].need : "", (int)t[i].said,
			    (int)tls_result_of(t[i].said, need, true),
			    (int)tls_result_of(t[i].said, need, false));
	}
}

static void words(void **state)
{
	(void)state;
	for (unsigned i = TLS_RESULT_NO_STARTTLS; i < TLS_RESULTS; i++)
		assert_int_equal(tls_result_of_word(tls_result_word((enum tls_result)i)), i);
	assert_int_equal(tls_result_of_word(""), TLS_RESULT_NONE);
	assert_int_equal(tls_result_of_word("x"), TLS_RESULT_NONE);
	assert_string_equal(tls_result_word((enum tls_result)99), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(results), cmocka_unit_test(words)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
