/* SPDX-License-Identifier: BSD-2-Clause */
/* verp.c -- tries core/qmgr/verp.c: who is listed, and the address made. */
#include "../unit.h"
#include "qmgr/qmgr.h"

static void listed(void **state)
{
	static const char *const list[] = {"list@example.org", "@lists.example.org", NULL};
	static const char *const all[] = {"*", NULL}, *const none[] = {NULL};
	static const struct {
		const char *from;
		bool listed;
	} rows[] = {{"list@example.org", true}, {"LIST@Example.ORG", true},
	    {"list2@example.org", false}, {"x@lists.example.org", true},
	    {"x@a.lists.example.org", false}, {"", false}, {"postmaster", false},
	    {"@lists.example.org", true}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(qmgr_verp_listed(list, rows[i].from), rows[i].listed);
		assert_false(qmgr_verp_listed(none, rows[i].from));
		assert_false(qmgr_verp_listed(NULL, rows[i].from));
	}
	assert_true(qmgr_verp_listed(all, "a@b"));
	assert_false(qmgr_verp_listed(all, "")); /* a report has no sender, ever */
}

static void made(void **state)
{
	static const struct {
		const char *from, *to, *delimiters, *made; /* NULL: it cannot be */
	} rows[] = {{"list@b", "joe@c", "+=", "list+joe=c@b"},
	    {"list@b", "joe+x@c.d", "-=", "list-joe+x=c.d@b"}, {"a@b@c", "d@e", "+=", "a@b+d=e@c"},
	    {"\"q r\"@b", "d@e", "+=", NULL}, {"a@b", "\"q r\"@e", "+=", NULL},
	    {"a@b", "postmaster", "+=", NULL}, {"", "d@e", "+=", NULL}};
	char out[QMGR_VERP_MAX + 1], longish[300];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(qmgr_verp_make(rows[i].from, rows[i].to, rows[i].delimiters, out),
		    rows[i].made != NULL);
		if (rows[i].made)
			assert_string_equal(out, rows[i].made);
	}
	memset(longish, 'l', sizeof(longish) - 1);
	memcpy(longish + sizeof(longish) - 3, "@x", 3);
	assert_false(qmgr_verp_make("a@b", longish, "+=", out));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(listed),
	    cmocka_unit_test(made),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
