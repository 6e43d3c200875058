/* SPDX-License-Identifier: BSD-2-Clause */
/* map_gdbm.c -- the module, loaded as smar loads it; its files made as createmap makes them. */
#include "map.h"

struct pairs {
	struct meta1_mapsrc src;
	const char *const *text; /* key, value, key, … NULL */
	bool fail;		 /* at the end: the text has a mistake */
};

static int next(
    struct meta1_mapsrc *src, struct meta1_buf *key, struct meta1_buf *val, struct meta1_err *err)
{
	struct pairs *p = (struct pairs *)(void *)src;

	if (!p->text[0])
		return p->fail ? err_set(err, "text: line 3") : 0;
	*key = buf_str(p->text[0]);
	*val = buf_str(p->text[1]);
	p->text += 2;
	return 1;
}

static int create(struct lab *l, const char *const *text, bool fail)
{
	const struct meta1_map_ops *ops = mod_descriptor(l->mod)->ops;
	struct pairs p = {.src = {next}, .text = text, .fail = fail};
	struct {
		const char *file;
	} conf = {l->file};

	return ops->create(&conf, &p.src, &l->err);
}

static const char *const first[] = {"a", "1", "b.test", "[192.0.2.1] two", "empty", "", NULL};
static const char *const second[] = {"a", "2", NULL};

static void look_up(void **state)
{
	struct lab *l = lab_new("map_gdbm");

	(void)state;
	assert_int_equal(create(l, first, false), 0);
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
	struct lab *l = lab_new("map_gdbm");
	struct stat st;

	(void)state;
	assert_int_equal(create(l, first, false), 0);
	assert_int_equal(chmod(l->file, 0604), 0);
	lab_age(l);
	assert_true(lab_open(l));
	assert_int_equal(create(l, second, false), 0);
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

static void create_fails(void **state)
{
	static const char *const twice[] = {"a", "1", "a", "2", NULL};
	struct lab *l = lab_new("map_gdbm");
	char fresh[128];

	(void)state;
	assert_int_equal(create(l, first, false), 0);
	lab_age(l);
	assert_true(lab_open(l));
	assert_int_equal(create(l, twice, false), -1);
	assert_non_null(strstr(l->err.text, "twice"));
	assert_int_equal(create(l, second, true), -1);
	assert_string_equal(l->err.text, "text: line 3");
	snprintf(fresh, sizeof(fresh), "%s.new", l->file);
	assert_int_equal(access(fresh, F_OK), -1);
	lab_second(l);
	assert_int_equal(l->changed, 0);
	lab_expect(l, "a", "1");
	lab_free(l);
}

/* What is no GDBM file is refused at open; one that is cut later says TEMPFAIL, never "no". */
static void damaged(void **state)
{
	struct lab *l = lab_new("map_gdbm");
	struct lab_answer a;

	(void)state;
	assert_false(lab_open(l));
	lab_write(l, "this is text\n", 13);
	assert_false(lab_open(l));
	assert_non_null(strstr(l->err.text, "createmap"));
	unlink(l->file);
	assert_int_equal(create(l, first, false), 0);
	lab_age(l);
	assert_true(lab_open(l));
	assert_int_equal(truncate(l->file, 600), 0);
	a = lab_ask(l, "a");
	assert_int_equal(a.status, META1_TEMPFAIL);
	assert_int_equal(a.ttl, 0);
	assert_true(strlen(a.text) > 0);
	lab_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(look_up),
	    cmocka_unit_test(replaced),
	    cmocka_unit_test(create_fails),
	    cmocka_unit_test(damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
