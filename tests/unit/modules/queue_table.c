/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue_table.c -- tries modules/queue/log/table.c: counts of what needs a unit.
 */
#include "../../../modules/queue/log/log.h"

#include "../unit.h"

#include <stdio.h>
#include <string.h>

#define N 5000 /* the hashes grow */

static void many(void **state)
{
	struct table *t = table_new();
	size_t n = 0;

	(void)state;
	for (uint32_t i = 0; i < N; i++) {
		uint32_t r = table_add(t, i % 3, 7 + i / 100, i * 4096u, i % 5);

		assert_true(r != 0);
		assert_true(table_admit(t, r, 1, 10, i % 3, i % 10 == 0 ? 100000 + i : 0));
	}
	for (uint32_t i = 0; i < N; i++) {
		uint32_t r = table_find(t, i % 3, 7 + i / 100, i * 4096u, i % 5);
		struct unit *own = table_unit(t, i % 3, 100000 + i, false);

		assert_true(r != 0);
		assert_int_equal(table_find(t, i % 3, 7 + i / 100, i * 4096u, i % 5 + 1), 0);
		assert_int_equal(own != NULL, i % 10 == 0);
		assert_ptr_equal(table_own(t, table_at(t, r)), own);
		if (i % 2)
			table_remove(t, r);
	}
	assert_int_equal(t->mcount, N / 2);
	for (uint32_t i = 1; i <= t->top; i++)
		n += table_at(t, i)->used;
	assert_int_equal(n, N / 2);
	table_free(&t);
	assert_null(t);
}

/* A number is used again, its key is not. */
static void keys(void **state)
{
	struct table *t = table_new();
	uint32_t a = table_add(t, 1, 7, 0, 0), b;
	uint64_t key = table_key(t, a);

	(void)state;
	assert_int_equal(table_by_key(t, key), a);
	assert_int_equal(table_by_key(t, 0), 0);
	assert_int_equal(table_by_key(t, UINT64_MAX), 0);
	table_remove(t, a);
	assert_int_equal(table_by_key(t, key), 0);
	b = table_add(t, 1, 7, 4096, 0);
	assert_int_equal(a, b);
	assert_int_equal(table_by_key(t, key), 0);
	assert_int_equal(table_by_key(t, table_key(t, b)), b);
	table_free(&t);
}

/* What a damaged journal may name. */
static void places(void **state)
{
	struct table *t = table_new();

	(void)state;
	assert_true(table_fits(LOG_QM, 4096ull << 31, 0xffffff));
	assert_false(table_fits(LOG_QM + 1, 0, 0));
	assert_false(table_fits(1, 4095, 0));
	assert_false(table_fits(1, 4096ull << 32, 0));
	assert_false(table_fits(1, 0, 1 << 24));
	assert_int_equal(table_add(t, 1, 7, 100, 0), 0);
	table_free(&t);
}

static void last_message_frees_the_unit(void **state)
{
	struct table *t = table_new();
	uint32_t a = table_add(t, 1, 7, 0, 0), b = table_add(t, 1, 7, 0, 1);
	struct unit *u, *own;

	(void)state;
	assert_true(table_admit(t, a, 2, 100, 1, 0));
	assert_true(table_admit(t, b, 1, 30, 1, 9));
	u = table_unit(t, 1, 7, false);
	assert_int_equal(u->live, 2);
	own = table_unit(t, 1, 9, false);
	assert_true(own->closed);
	table_remove(t, b);
	assert_int_equal(u->live, 1);
	assert_int_equal(own->live, 0);
	table_forget(t, &own);
	b = table_add(t, 1, 7, 0, 2);
	assert_true(table_admit(t, b, 1, 30, 1, 11)); /* the place of 9 */
	assert_int_equal(table_own(t, table_at(t, b))->number, 11);
	table_remove(t, b);
	table_remove(t, a);
	assert_int_equal(u->live, 0);
	table_dead(t, u);
	table_dead(t, u);
	assert_ptr_equal(t->dead, u);
	table_forget(t, &u);
	assert_null(t->dead);
	assert_null(table_unit(t, 1, 7, false));
	table_free(&t);
}

static void reason_is(struct table *t, uint32_t i, uint32_t rcpt, const char *text)
{
	struct meta1_buf b = texts_get(&t->texts, table_rst(table_at(t, i), rcpt)->reason);

	assert_int_equal(b.len, strlen(text));
	assert_memory_equal(b.data ? b.data : "", text, b.len);
}

static void outcomes(void **state)
{
	struct table *t = table_new();
	uint32_t i = table_add(t, 1, 7, 0, 0), one = table_add(t, 1, 7, 0, 1);

	(void)state;
	/* Outcomes may be known before the message is. */
	assert_true(table_outcome(t, i, 1, META1_R_DELIVERED, 1, 0, "", 0));
	assert_true(table_outcome(t, one, 3, META1_R_WAITING, 1, 0, "x", 1));
	assert_true(table_outcome(t, one, 0, META1_R_WAITING, 7, 5, "450 y", 5));
	assert_false(table_final(table_at(t, i)));
	assert_true(table_admit(t, i, 2, 10, 1, 0));
	assert_true(table_admit(t, one, 1, 10, 1, 0));
	assert_int_equal(table_rst(table_at(t, one), 0)->tries, 7);
	reason_is(t, one, 0, "450 y");
	assert_null(table_rst(table_at(t, one), 1));
	assert_int_equal(table_at(t, i)->nfinal, 1);
	assert_false(table_outcome(t, i, 2, META1_R_DELIVERED, 1, 0, "", 0));
	assert_true(table_outcome(t, i, 0, META1_R_WAITING, 3, 99, "451 x", 5));
	assert_false(table_final(table_at(t, i)));
	reason_is(t, i, 0, "451 x");
	assert_true(table_outcome(t, i, 0, META1_R_BOUNCED, 70000, -1, "", 0));
	assert_true(table_outcome(t, i, 0, META1_R_BOUNCED, 3, 0, "", 0));
	assert_true(table_final(table_at(t, i)));
	table_remove(t, one);
	assert_int_equal(t->texts.used, 0);
	table_free(&t);
}

/* The same text is kept once; a flood of different ones is cut. */
static void reasons(void **state)
{
	struct texts t = {0};
	uint32_t a = texts_take(&t, "451 a", 5), b = texts_take(&t, "451 b", 5), last = 0;
	size_t used = t.used;
	char s[400];

	(void)state;
	assert_true(a != b && a != 0 && b != 0);
	for (int i = 0; i < 100; i++)
		assert_int_equal(texts_take(&t, "451 a", 5), a);
	assert_int_equal(t.used, used);
	for (int i = 0; i < 100; i++)
		texts_drop(&t, a);
	texts_drop(&t, b);
	assert_int_equal(texts_take(&t, "452 c", 5), b); /* its place */
	assert_int_equal(texts_get(&t, a).len, 5);
	memset(s, 'x', sizeof(s));
	for (int i = 0; i < 80000; i++) {
		memcpy(s + 390, &i, sizeof(i));
		last = texts_take(&t, s, sizeof(s));
		assert_true(last != 0);
	}
	assert_in_range(t.used, TEXTS_MAX, TEXTS_MAX + 1000);
	assert_int_equal(texts_get(&t, last).len, 48);
	/* More and more, each different: what qmgr wrote before them is never lost. */
	for (int i = 0; i < 120000; i++) {
		int n = snprintf(s, sizeof(s), "held=1000; warned; mx%d.example: 450 4.2.0 x;", i);

		last = texts_take(&t, s, (size_t)n);
		assert_true(last != 0);
		assert_true(texts_get(&t, last).len >= 19);
	}
	assert_int_equal(texts_get(&t, last).len, 19);
	assert_memory_equal(texts_get(&t, last).data, "held=1000; warned; ", 19);
	assert_int_equal(texts_take(&t, "mx.example: 450 a; b", 20), 0);
	assert_in_range(t.used, TEXTS_MAX, TEXTS_MAX / 4 * 5 + 1000);
	texts_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(many),
	    cmocka_unit_test(keys),
	    cmocka_unit_test(places),
	    cmocka_unit_test(last_message_frees_the_unit),
	    cmocka_unit_test(outcomes),
	    cmocka_unit_test(reasons),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
