/* SPDX-License-Identifier: BSD-2-Clause */
/* map_text.c -- the module, loaded as smar loads it: the language, changes, mistakes. */
#include "map.h"

#define WRITE(l, text) lab_write(l, text, sizeof(text) - 1)

static void language(void **state)
{
	struct lab *l = lab_new("map_text");

	(void)state;
	WRITE(l, "# a comment\n"
		 "\n"
		 "Example.ORG\t [192.0.2.1]:25 second  \n"
		 "  indented value # no comment here\r\n"
		 "alone\n"
		 "to:u@a.test error:550 5.7.1 Text With Case\n"
		 "last line");
	assert_true(lab_open(l));
	lab_expect(l, "example.org", "[192.0.2.1]:25 second");
	lab_expect(l, "indented", "value # no comment here");
	lab_expect(l, "alone", "");
	lab_expect(l, "to:u@a.test", "error:550 5.7.1 Text With Case");
	lab_expect(l, "last", "line");
	lab_expect(l, "#", NULL);
	lab_expect(l, "nothing", NULL);
	lab_expect(l, "", NULL);
	lab_free(l);
}

static void empty(void **state)
{
	struct lab *l = lab_new("map_text");

	(void)state;
	lab_write(l, "", 0);
	assert_true(lab_open(l));
	lab_expect(l, "x", NULL);
	lab_free(l);
}

static void bad_at_open(void **state)
{
	struct lab *l = lab_new("map_text");
	char big[20000];

	(void)state;
	assert_false(lab_open(l)); /* no file */
	WRITE(l, "a 1\nb 2\nA 3\nx\0y 4\nb 5\n");
	assert_false(lab_open(l));
	assert_non_null(strstr(l->err.text, "3 bad lines"));
	memset(big, 'k', sizeof(big));
	lab_write(l, big, sizeof(big));
	assert_false(lab_open(l));
	assert_non_null(strstr(l->err.text, "1 bad line,"));
	unlink(l->file);
	assert_int_equal(mkdir(l->file, 0755), 0);
	assert_false(lab_open(l));
	rmdir(l->file);
	lab_free(l);
}

static void changes(void **state)
{
	struct lab *l = lab_new("map_text");

	(void)state;
	WRITE(l, "a 1\n");
	assert_true(lab_open(l));
	lab_second(l);
	assert_int_equal(l->changed, 0);
	WRITE(l, "a 2\nb 3\n");
	lab_expect(l, "a", "1");
	lab_second(l);
	assert_int_equal(l->changed, 1);
	lab_expect(l, "a", "2");
	lab_expect(l, "b", "3");
	/* a new version with a mistake, then none at all: the old one serves */
	WRITE(l, "a 4\na 5\n");
	lab_second(l);
	lab_expect(l, "a", "2");
	unlink(l->file);
	lab_second(l);
	lab_second(l);
	lab_expect(l, "a", "2");
	assert_int_equal(l->changed, 1);
	WRITE(l, "a 6\n");
	lab_second(l);
	assert_int_equal(l->changed, 2);
	lab_expect(l, "a", "6");
	lab_expect(l, "b", NULL);
	lab_free(l);
}

/* What was written this very second may still be written to. */
static void half_a_file(void **state)
{
	struct lab *l = lab_new("map_text");
	struct timespec t[2] = {{START_S + 1, 0}, {START_S + 1, 0}};

	(void)state;
	WRITE(l, "a 1\n");
	assert_true(lab_open(l));
	WRITE(l, "a 2\n");
	utimensat(AT_FDCWD, l->file, t, 0);
	lab_second(l);
	lab_expect(l, "a", "1");
	lab_second(l);
	lab_expect(l, "a", "2");
	lab_free(l);
}

static void many(void **state)
{
	struct lab *l = lab_new("map_text");
	char *text = base_alloc(2 << 20), key[40], val[40];
	size_t n = 0;

	(void)state;
	for (int i = 0; i < 50000; i++)
		n += (size_t)sprintf(text + n, "user%d@example.test v%d\n", i, i);
	lab_write(l, text, n);
	assert_true(lab_open(l));
	for (int i = 0; i < 50000; i += 997) {
		snprintf(key, sizeof(key), "user%d@example.test", i);
		snprintf(val, sizeof(val), "v%d", i);
		lab_expect(l, key, val);
	}
	free(text);
	lab_free(l);
}

static void is_drained(void *arg)
{
	*(bool *)arg = true;
}

/* Inside the call too, a map that is being closed knows nothing: that is no "not found". */
static void drained(void **state)
{
	struct lab *l = lab_new("map_text");
	struct meta1_reply r;
	bool done = false;

	(void)state;
	WRITE(l, "a 1\n");
	assert_true(lab_open(l));
	assert_true(mod_map_finds(l->inst));
	lab_expect(l, "a", "1");
	mod_drain(l->inst, START_MS + 1000, is_drained, &done);
	assert_int_equal(mod_map_find(l->inst, buf_str("a"), &r), META1_TEMPFAIL);
	assert_string_equal(r.text, "the map is being closed");
	loop_turn(l->host.loop, false);
	assert_true(done);
	lab_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(language),
	    cmocka_unit_test(empty),
	    cmocka_unit_test(bad_at_open),
	    cmocka_unit_test(changes),
	    cmocka_unit_test(half_a_file),
	    cmocka_unit_test(many),
	    cmocka_unit_test(drained),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
