/* SPDX-License-Identifier: BSD-2-Clause */
/* map_sqlite.c -- the module, loaded as smar loads it, with databases made here. */
#include "map.h"

#include <sqlite3.h>

static void sql(struct lab *l, const char *text)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(l->file, &db), SQLITE_OK);
	if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK)
		fail_msg("%s: %s", text, sqlite3_errmsg(db));
	sqlite3_close(db);
	lab_age(l);
}

static void options(struct lab *l, const char *query, const char *more)
{
	snprintf(l->options, sizeof(l->options), "file = \"%s\"; query = \"%s\"; %s", l->file,
	    query, more);
}

static const char rows[] = "CREATE TABLE t(k TEXT, v TEXT, w TEXT);"
			   "INSERT INTO t VALUES('a', '1', NULL), ('two', 'x', 'y'), "
			   "('two', NULL, 'z'), ('none', NULL, NULL), ('empty', '', NULL), "
			   "('it''s', 'quoted', NULL), ('100%', 'percent', NULL)";

static struct lab *lab(const char *query)
{
	struct lab *l = lab_new("map_sqlite");

	sql(l, rows);
	options(l, query, "");
	if (!lab_open(l))
		fail_msg("%s", l->err.text);
	return l;
}

static void look_up(void **state)
{
	struct lab *l = lab("SELECT v, w FROM t WHERE k = ?;");
	struct lab_answer a;

	(void)state;
	lab_expect(l, "a", "1");
	lab_expect(l, "empty", "");
	lab_expect(l, "none", NULL);
	lab_expect(l, "b", NULL);
	lab_expect(l, "", NULL);
	a = lab_ask(l, "two"); /* columns and rows; NULL is none */
	assert_int_equal(a.status, META1_OK);
	assert_int_equal(a.nval, 3);
	assert_string_equal(a.val, "x");
	lab_free(l);
}

/* A key is data, whatever it has in it. */
static void no_injection(void **state)
{
	static const char *const keys[] = {"' OR '1'='1", "a'; DROP TABLE t; --", "%", "*", "a%",
	    "?1", "a\r\n", "a\" OR 1=1", "a)", "a\\", "\xff\xfe"};
	struct lab *l = lab("SELECT v FROM t WHERE k = ?");
	struct lab_answer a = {.told = 0};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		lab_expect(l, keys[i], NULL);
	lab_expect(l, "it's", "quoted");
	lab_expect(l, "100%", "percent");
	mod_map_lookup(l->inst, buf_of("a\0b", 3), INT64_MAX, lab_said, &a);
	loop_turn(l->host.loop, false);
	assert_int_equal(a.status, META1_NOTFOUND);
	lab_expect(l, "a", "1"); /* the table is still there */
	lab_free(l);
}

static void wrong_queries(void **state)
{
	static const struct {
		const char *query, *said;
	} t[] = {
	    {"SELECT v FROM nowhere WHERE k = ?", "no such table: nowhere"},
	    {"SELEKT", "syntax error"},
	    {"", "expected one statement"},
	    {"SELECT v FROM t", "expected one parameter"},
	    {"SELECT v FROM t WHERE k = ? AND v = ?", "expected one parameter"},
	    {"DELETE FROM t WHERE k = ?", "only reads"},
	    {"SELECT v FROM t WHERE k = ?; SELECT 1", "expected one statement"},
	    {"ATTACH 'x' AS y", "expected a statement that only reads"},
	};
	struct lab *l = lab_new("map_sqlite");

	(void)state;
	sql(l, rows);
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		options(l, t[i].query, "");
		assert_false(lab_open(l));
		if (!strstr(l->err.text, t[i].said))
			fail_msg("%s: %s", t[i].query, l->err.text);
	}
	lab_free(l);
}

static void replaced(void **state)
{
	struct lab *l = lab("SELECT v FROM t WHERE k = ?");

	(void)state;
	lab_expect(l, "a", "1");
	sql(l, "UPDATE t SET v = '2' WHERE k = 'a'");
	lab_expect(l, "a", "2"); /* written in place: seen at once, told within a second */
	lab_second(l);
	assert_int_equal(l->changed, 1);
	unlink(l->file);
	sql(l, "CREATE TABLE t(k TEXT, v TEXT); INSERT INTO t VALUES('a', '3')");
	lab_expect(l, "a", "2"); /* the open file lives on */
	lab_second(l);
	assert_int_equal(l->changed, 2);
	lab_expect(l, "a", "3");
	lab_expect(l, "two", NULL);
	unlink(l->file);
	lab_write(l, "this is no database, but it is long enough to be looked at\n", 59);
	lab_second(l);
	assert_int_equal(l->changed, 2);
	lab_expect(l, "a", "3");
	lab_free(l);
}

/* Time that passes is real here: the threads have no false clock. */
static void locked(void **state)
{
	struct lab *l = lab_new("map_sqlite");
	struct lab_answer a;
	sqlite3 *db;

	(void)state;
	sql(l, rows);
	options(l, "SELECT v FROM t WHERE k = ?", "timeout = 100ms;");
	assert_true(lab_open(l));
	assert_int_equal(sqlite3_open(l->file, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
	a = lab_ask(l, "a");
	assert_int_equal(a.status, META1_TEMPFAIL);
	assert_int_equal(a.ttl, 0);
	assert_string_equal(a.text, "the file is locked by a writer");
	sqlite3_close(db);
	lab_expect(l, "a", "1");
	lab_free(l);
}

/* Each is ended at its time and says so; the loop turns meanwhile. */
static void too_much(void **state)
{
	static const struct {
		const char *query, *said;
	} t[] = {
	    {"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
	     "SELECT i FROM n WHERE i = ?",
		"takes too long"},
	    {"SELECT zeroblob(20000) || ?", "more than 16384 bytes"},
	    {"SELECT zeroblob(1000000000) || ?", "too big"},
	    {"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i || ? FROM n",
		"more than 16384 values"},
	};
	struct lab *l = lab_new("map_sqlite");

	(void)state;
	sql(l, rows);
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct lab_answer a = {.told = 0};
		unsigned turns = 0;

		options(l, t[i].query, i == 0 ? "timeout = 200ms;" : "");
		assert_true(lab_open(l));
		mod_map_lookup(l->inst, buf_str("a"), INT64_MAX, lab_said, &a);
		for (; !a.told; turns++)
			loop_turn(l->host.loop, false);
		assert_int_equal(a.status, META1_TEMPFAIL);
		if (!strstr(a.text, t[i].said))
			fail_msg("%s: %s", t[i].query, a.text);
		assert_true(i > 0 || turns > 100);
		mod_close(&l->inst);
		for (int j = 0; j < 4; j++)
			loop_turn(l->host.loop, false);
	}
	lab_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(look_up),
	    cmocka_unit_test(no_injection),
	    cmocka_unit_test(wrong_queries),
	    cmocka_unit_test(replaced),
	    cmocka_unit_test(locked),
	    cmocka_unit_test(too_much),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
