/* SPDX-License-Identifier: BSD-2-Clause */
/* tls_result.c -- what transports say of TLS, in the words of RFC 8460. */
#include "../unit.h"

#include "lib/tls_result.h"

static void opened(void **state)
{
	static const struct {
		const char *need, *words;
		enum tls_result is;
	} t[] = {
	    {"verify by=sts domain=a.test", "TLSv1.3,C,verified", TLS_RESULT_GOOD},
	    {"verify by=sts domain=a.test testing=1", "TLSv1.3,C,trusted", TLS_RESULT_MISMATCH},
	    {"verify by=sts domain=a.test testing=1", "TLSv1.3,C,not trusted",
		TLS_RESULT_UNTRUSTED},
	    {"verify by=sts domain=a.test testing=1", "none,STARTTLS is not offered",
		TLS_RESULT_NO_STARTTLS},
	    {"verify by=sts domain=a.test testing=1", "none,STARTTLS is refused: 454 no, not now",
		TLS_RESULT_NO_STARTTLS},
	    {"verify by=sts domain=a.test testing=1", "none,the host does not know EHLO",
		TLS_RESULT_NO_STARTTLS},
	    {"verify by=sts domain=a.test testing=1",
		"none,connection lost waiting for the TLS handshake: x, y", TLS_RESULT_VALIDATION},
	    {"dane by=dane domain=a.test "
	     "tlsa=3:1:1:0000000000000000000000000000000000000000000000000000000000000000",
		"TLSv1.3,C,DANE-EE", TLS_RESULT_GOOD},
	    {"encrypt by=dane domain=a.test", "TLSv1.3,C,not trusted", TLS_RESULT_GOOD},
	    {NULL, "TLSv1.3,C,not trusted", TLS_RESULT_GOOD},
	    {NULL, "none,STARTTLS is not offered", TLS_RESULT_NO_STARTTLS},
	    {NULL, "none,by policy", TLS_RESULT_NONE},
	    {NULL, "none,a unix socket", TLS_RESULT_NONE},
	    {NULL, "none,there is no TLS here", TLS_RESULT_NONE},
	    {NULL, "none,something new", TLS_RESULT_VALIDATION},
	    {NULL, "", TLS_RESULT_NONE},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		struct meta1_err err = {""};
		struct tls_need n;
		enum tls_result r;

		if (t[i].need && tls_need_parse(buf_str(t[i].need), &n, &err) < 0)
			fail_msg("%s: %s", t[i].need, err.text);
		r = tls_result_opened(t[i].need ? &n : NULL, t[i].words);
		if (r != t[i].is)
			fail_msg("%s, %s: %d", t[i].need ? t[i].need : "", t[i].words, (int)r);
	}
}

static void failed(void **state)
{
	static const struct {
		const char *dsn, *text;
		enum tls_result is;
	} t[] = {
	    {"4.7.4", "TLS is required: STARTTLS is not offered", TLS_RESULT_NO_STARTTLS},
	    {"4.7.4", "TLS is required: by policy", TLS_RESULT_VALIDATION},
	    {"4.7.5", "TLS is required: the certificate is not for the host: /CN=x",
		TLS_RESULT_MISMATCH},
	    {"4.7.5", "the certificate is for none of the names that were given: /CN=x",
		TLS_RESULT_MISMATCH},
	    {"4.7.5", "the certificate is not to be trusted: self-signed certificate",
		TLS_RESULT_UNTRUSTED},
	    {"4.7.5", "the certificate is not to be trusted: certificate has expired",
		TLS_RESULT_EXPIRED},
	    {"4.7.5", "the certificate is not the one of the TLSA records: x",
		TLS_RESULT_VALIDATION},
	    {"4.7.5", "anything", TLS_RESULT_VALIDATION},
	    {"4.4.2", "connection lost waiting for the TLS handshake: x", TLS_RESULT_VALIDATION},
	    {"4.4.2", "timed out waiting for the reply to STARTTLS", TLS_RESULT_VALIDATION},
	    {"4.4.1", "cannot connect: Connection refused", TLS_RESULT_NONE},
	    {"4.3.2", "421 too busy", TLS_RESULT_NONE},
	    {"", "", TLS_RESULT_NONE},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(t); i++)
		if (tls_result_failed(t[i].dsn, t[i].text) != t[i].is)
			fail_msg("%s %s", t[i].dsn, t[i].text);
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
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(opened), cmocka_unit_test(failed), cmocka_unit_test(words)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
