/* SPDX-License-Identifier: BSD-2-Clause */
/* map_created.c -- map_gdbm and map_lmdb, loaded as smar loads them; files as createmap makes them.
 */
#include "map.h"

static const char *const first[] = {"a", "1", "b.test", "[192.0.2.1] two", "empty", "", NULL};
static const char *const second[] = {"a", "2", NULL};

static void look_up(void **state)
{
	struct lab *l = lab_new(*state);

	assert_int_equal(lab_create(l, first, false), 0);
	lab_age(l);
	assert_true(lab_open(l));
	lab_expect(l, "a", "1");
	lab_expect(l, "b.test", "[192.0.2.1] two");
	lab_expect(l, "empty", "");
	lab_expect(l, "c", NULL);
	lab_expect(l, "", NULL);
	lab_free(l);
}

static void replaced(void **state)
{
	struct lab *l = lab_new(*state);
	struct stat st;

	assert_int_equal(lab_create(l, first, false), 0);
	assert_int_equal(chmod(l->file, 0604), 0);
	lab_age(l);
	assert_true(lab_open(l));
	assert_int_equal(lab_create(l, second, false), 0);
	lab_age(l);
	assert_int_equal(stat(l->file, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0604); /* for whom the old one was */
	lab_expect(l, "a", "1");		   /* the open file lives on */
	lab_second(l);
	assert_int_equal(l->changed, 1);
	lab_expect(l, "a", "2");
	lab_expect(l, "b.test", NULL);
	lab_free(l);
}

static void rights_without_an_old_one(void **state)
{
	struct lab *l = lab_new(*state);
	mode_t was = umask(026);
	struct stat st;

	assert_int_equal(lab_create(l, first, false), 0);
	assert_int_equal(stat(l->file, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	umask(was);
	lab_free(l);
}

static void create_fails(void **state)
{
	static const char *const twice[] = {"a", "1", "a", "2", NULL};
	struct lab *l = lab_new(*state);
	char fresh[128];

	assert_int_equal(lab_create(l, first, false), 0);
	lab_age(l);
	assert_true(lab_open(l));
	assert_int_equal(lab_create(l, twice, false), -1);
	assert_non_null(strstr(l->err.text, "twice"));
	assert_int_equal(lab_create(l, second, true), -1);
	assert_string_equal(l->err.text, "text: line 3");
	snprintf(fresh, sizeof(fresh), "%s.new", l->file);
	assert_int_equal(access(fresh, F_OK), -1);
	lab_second(l);
	assert_int_equal(l->changed, 0);
	lab_expect(l, "a", "1");
	lab_free(l);
}

/* What is no such file is refused at open; one that is cut later says TEMPFAIL, never "no". */
static void damaged(void **state)
{
	struct lab *l = lab_new(*state);
	struct lab_answer a;

	assert_false(lab_open(l));
	lab_write(l, "this is text\n", 13);
	assert_false(lab_open(l));
	assert_non_null(strstr(l->err.text, "createmap"));
	unlink(l->file);
	assert_int_equal(lab_create(l, first, false), 0);
	lab_age(l);
	assert_true(lab_open(l));
	assert_int_equal(truncate(l->file, 600), 0);
	a = lab_ask(l, "a");
	assert_int_equal(a.status, META1_TEMPFAIL);
	assert_int_equal(a.ttl, 0);
	assert_true(strlen(a.text) > 0);
	lab_free(l);
}

/* What such a file cannot hold is refused in words; what it can is found. */
static void long_keys(void **state)
{
	static char key[512 + 1];
	const char *one[] = {key, "long", NULL};
	struct lab *l = lab_new(*state);
	bool lmdb = strcmp(*state, "map_lmdb") == 0;

	memset(key, 'k', 511);
	key[511] = '\0';
	assert_int_equal(lab_create(l, one, false), 0);
	lab_age(l);
	assert_true(lab_open(l));
	lab_expect(l, key, "long");
	key[511] = 'k';
	lab_expect(l, key, NULL);
	assert_int_equal(lab_create(l, one, false), lmdb ? -1 : 0);
	if (lmdb)
		assert_non_null(strstr(l->err.text, "511 bytes"));
	lab_free(l);
}

int main(void)
{
	static char *const modules[] = {"map_gdbm", "map_lmdb"};
	int failed = 0;

	for (size_t i = 0; i < ARRAY_LEN(modules); i++) {
		char path[512];
		const struct CMUnitTest tests[] = {
		    cmocka_unit_test_prestate(look_up, modules[i]),
		    cmocka_unit_test_prestate(replaced, modules[i]),
		    cmocka_unit_test_prestate(rights_without_an_old_one, modules[i]),
		    cmocka_unit_test_prestate(create_fails, modules[i]),
		    cmocka_unit_test_prestate(damaged, modules[i]),
		    cmocka_unit_test_prestate(long_keys, modules[i]),
		};

		snprintf(path, sizeof(path), "%s/%s.so", TEST_MAPS, modules[i]);
		if (access(path, R_OK) == 0) /* else it was not built */
			failed += cmocka_run_group_tests_name(modules[i], tests, NULL, NULL);
	}
	return failed;
}
