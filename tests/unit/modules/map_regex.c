/* SPDX-License-Identifier: BSD-2-Clause */
/* map_regex.c -- the module, loaded as smar loads it: patterns, values, bounds, mistakes. */
#include "map.h"

#define WRITE(l, text) lab_write(l, text, sizeof(text) - 1)

static void language(void **state)
{
	struct lab *l = lab_new("map_regex");

	(void)state;
	WRITE(l, "# a comment\n"
		 "/^to:sales-([a-z]+)@example\\.org$/  $1@${1}.example.net, $$\n"
		 "  /^cltname:.*\\.dyn\\./ \t error:550 5.7.1 dynamic hosts\r\n"
		 "/a\\/b c/ slash and blank\n"
		 "/^(x)?y$/ [$1]\n"
		 "/^alone$/\n"
		 "/^b\xc3\xbc"
		 "cher$/ umlaut\n"
		 "/^ALONE|late$/ later");
	assert_true(lab_open(l));
	lab_expect(l, "to:sales-emea@example.org", "emea@emea.example.net, $");
	lab_expect(l, "to:sales-emea@example.org.evil", NULL);
	lab_expect(l, "cltname:host7.dyn.example.net", "error:550 5.7.1 dynamic hosts");
	lab_expect(l, "xa/b cx", "slash and blank");
	lab_expect(l, "y", "[]");
	lab_expect(l, "xy", "[x]");
	lab_expect(l, "alone", "");
	lab_expect(l, "late", "later");
	lab_expect(l,
	    "b\xc3\xbc"
	    "cher",
	    "umlaut");
	lab_expect(l, "\xff\xfe", NULL);
	lab_expect(l, "", NULL);
	lab_free(l);
}

static void rows(void **state)
{
	struct lab *l = lab_new("map_regex");

	(void)state;
	snprintf(l->options, sizeof(l->options), "rows = { \"/^a/ first\", \"/^ab/ second\" };");
	assert_true(lab_open(l));
	lab_expect(l, "ab", "first");
	lab_expect(l, "b", NULL);
	lab_free(l);
}

static void mistakes(void **state)
{
	struct lab *l = lab_new("map_regex");

	(void)state;
	WRITE(l, "no slash\n"
		 "/open value\n"
		 "/(/ x\n"
		 "/a/b x\n"
		 "/a/ $2\n"
		 "/a/ $x\n"
		 "/a/ 5$\n"
		 "/a/ ${1\n"
		 "/good/ x\n");
	assert_false(lab_open(l));
	assert_non_null(strstr(l->err.text, "8 bad lines"));
	lab_free(l);
}

/* What would run for ages is a temporary failure that names the line. */
static void costly(void **state)
{
	struct lab *l = lab_new("map_regex");
	struct lab_answer a;

	(void)state;
	WRITE(l, "/^never$/ x\n/^(a+)+$/ found\n");
	assert_true(lab_open(l));
	lab_expect(l, "aaaa", "found");
	a = lab_ask(l, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab");
	assert_int_equal(a.status, META1_TEMPFAIL);
	assert_non_null(strstr(a.text, "/map:2: "));
	lab_free(l);
}

/* $1 many times over: the value is bounded. */
static void long_value(void **state)
{
	struct lab *l = lab_new("map_regex");
	char text[800], key[1001];
	size_t n;

	(void)state;
	n = (size_t)snprintf(text, sizeof(text), "/^(.*)$/ ");
	for (int i = 0; i < 30; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "$1");
	lab_write(l, text, n);
	assert_true(lab_open(l));
	memset(key, 'k', sizeof(key) - 1);
	key[sizeof(key) - 1] = '\0';
	assert_int_equal(lab_ask(l, key).status, META1_TEMPFAIL);
	key[500] = '\0';
	assert_int_equal(lab_ask(l, key).status, META1_OK);
	lab_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(language),
	    cmocka_unit_test(rows),
	    cmocka_unit_test(mistakes),
	    cmocka_unit_test(costly),
	    cmocka_unit_test(long_value),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
