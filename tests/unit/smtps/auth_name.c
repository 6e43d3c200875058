/* SPDX-License-Identifier: BSD-2-Clause */
/* Unit test of core/smtps/auth_name.c: whom a client tries to be. */
#include "smtps/smtps.h"

#include "../unit.h"

#define W(s) s, sizeof(s) - 1

static const struct {
	const char *mech, *word;
	size_t len;
	const char *name;
} table[] = {
    {"PLAIN", W("\0ann\0secret"), "ann"},
    {"PLAIN", W("bob\0ann\0secret"), "ann"},
    {"PLAIN", W("\0ann"), ""},
    {"PLAIN", W("ann"), ""},
    {"PLAIN", W(""), ""},
    {"PLAIN", W("\0\0"), ""},
    {"LOGIN", W("ann"), "ann"},
    {"LOGIN", W("ann\0b"), "ann"},
    {"CRAM-MD5", W("ann smith 0123"), "ann smith"},
    {"CRAM-MD5", W("ann"), ""},
    {"CRAM-MD5X", W("ann 0123"), ""},
    {"DIGEST-MD5", W("charset=utf-8,username=\"ann\",realm=\"x\""), "ann"},
    {"DIGEST-MD5", W("username=\"ann"), "ann"},
    {"SCRAM-SHA-256", W("n,,n=ann,r=abc"), "ann"},
    {"SCRAM-SHA-1-PLUS", W("p=tls-exporter,a=bob,n=a=2Cb=3Dc=2C,r=abc"), "a,b=c,"},
    {"SCRAM-SHA-256", W("n,,r=abc"), ""},
    {"SCRAM-SHA-256", W("n,,n=a=2"), "a=2"},
    {"SCRAM-SHA-256", W("n,,n=a="), "a="},
    {"OAUTHBEARER", W("n,a=ann@x.test,\001auth=Bearer t\001\001"), "ann@x.test"},
    {"XOAUTH2", W("user=ann@x.test\001auth=Bearer t\001\001"), "ann@x.test"},
    {"GSSAPI", W("user=ann"), ""},
};

static void names(void **state)
{
	char out[SMTPS_ACCOUNT_MAX + 1], big[2000];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		smtps_auth_name(table[i].mech, buf_of(table[i].word, table[i].len), out);
		assert_string_equal(out, table[i].name);
	}
	memset(big, 'a', sizeof(big));
	smtps_auth_name("LOGIN", buf_of(big, sizeof(big)), out);
	assert_int_equal(strlen(out), SMTPS_ACCOUNT_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(names)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
