/* SPDX-License-Identifier: BSD-2-Clause */
/* Unit test of core/smtpc/creds.c: rows of credentials, and the one for a hop. */
#include "smtpc/creds.h"

#include "../unit.h"

#include <stdlib.h>

static struct creds *parse(const char *text, struct meta1_err *err)
{
	return creds_parse("f", base_strdup(text), strlen(text), err);
}

static const char *text = "# of us\n"
			  "mx.Isp.example:587\tuser=a password=p w \r\n"
			  "  mx.isp.example   user=b token_file=/t act_as=c realm=r\n"
			  "\n"
			  ".isp.example USER=d token_command=/bin/t  --x y\n"
			  "isp.example user=e password=user=x\n";

static void rows(void **state)
{
	struct meta1_err err = {""};
	struct creds *t = parse(text, &err);
	const struct cred *c;

	(void)state;
	assert_non_null(t);
	c = creds_for(t, "MX.isp.example.", 587);
	assert_string_equal(c->user, "a");
	assert_string_equal(c->password, "p w ");
	c = creds_for(t, "mx.isp.example", 25);
	assert_string_equal(c->user, "b");
	assert_string_equal(c->token_file, "/t");
	assert_string_equal(c->act_as, "c");
	assert_string_equal(c->realm, "r");
	assert_null(c->password);
	c = creds_for(t, "a.b.isp.example", 587);
	assert_string_equal(c->token_command, "/bin/t  --x y");
	assert_string_equal(creds_for(t, "isp.example", 25)->password, "user=x");
	assert_null(creds_for(t, "else.test", 25));
	assert_string_equal(creds_named(t, ".isp.example")->user, "d");
	assert_null(creds_named(t, "example"));
	creds_free(&t);
	t = parse("a.test user=u password=p\n", &err);
	assert_null(creds_for(t, "b.a.test", 25));
	assert_null(creds_for(t, "test", 25));
	assert_null(creds_for(t, "", 25));
	creds_free(&t);
}

static void mistakes(void **state)
{
	static const char *const bad[] = {"a", "a user=x", "a password=x",
	    "a user=x token_file=/z password=y", "a user=x password=", "a user=x user=y password=z",
	    "a users=x password=y", "a user=x token_file=z", "a user=x token_command=z",
	    "none user=x password=y", ". user=x password=y",
	    "a user=x password=y\nA user=x password=y"};
	struct meta1_err err;
	char *zero;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		err.text[0] = '\0';
		assert_null(parse(bad[i], &err));
		assert_true(strncmp(err.text, "f:", 2) == 0);
	}
	zero = base_alloc(6);
	memcpy(zero, "a\0b c", 5);
	assert_null(creds_parse("f", zero, 5, &err));
	assert_non_null(strstr(err.text, "byte 0"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(rows), cmocka_unit_test(mistakes)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
