/* SPDX-License-Identifier: BSD-2-Clause */
/* map_passwd.c -- the module, loaded as smar loads it: accounts of this machine. */
#include "map.h"

static struct lab_answer ask(struct lab *l, const char *key, size_t n)
{
	struct lab_answer a = {.told = 0};

	mod_map_lookup(l->inst, buf_of(key, n), loop_now(l->host.loop) + 1000, lab_said, &a);
	while (a.told == 0) /* a worker thread looks */
		loop_turn(l->host.loop, true);
	return a;
}

static void accounts(void **state)
{
	struct lab *l = lab_new("map_passwd");
	struct lab_answer a;

	(void)state;
	l->options[0] = '\0';
	assert_true(lab_open(l));
	a = ask(l, "root", 4);
	assert_int_equal(a.status, META1_OK);
	assert_string_equal(a.val, "root");
	assert_int_equal(ask(l, "no-such-user-here", 17).status, META1_NOTFOUND);
	assert_int_equal(ask(l, "", 0).status, META1_NOTFOUND);
	assert_int_equal(ask(l, "root\0x", 6).status, META1_NOTFOUND);
	assert_int_equal(ask(l, "root:x", 6).status, META1_NOTFOUND);
	lab_free(l);
}

static void least_uid(void **state)
{
	struct lab *l = lab_new("map_passwd");

	(void)state;
	strcpy(l->options, "min_uid = 1;");
	assert_true(lab_open(l));
	assert_int_equal(ask(l, "root", 4).status, META1_NOTFOUND);
	assert_int_equal(ask(l, "nobody", 6).status, META1_OK);
	lab_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(accounts),
	    cmocka_unit_test(least_uid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
