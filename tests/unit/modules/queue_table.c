/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue_table.c -- tries modules/queue/log/table.c: counts of what needs a unit.
 */
#include "../../../modules/queue/log/log.h"

#include "../unit.h"

#include <string.h>

#define N 5000 /* the hashes grow */

static void many(void **state)
{
	struct table *t = table_new();

	(void)state;
	for (uint32_t i = 0; i < N; i++) {
		struct mrec *r = table_add(t, i % 3, 7 + i / 100, i * 4096u, i % 5);

		assert_non_null(r);
		assert_true(table_admit(t, r, 1, i % 10 == 0 ? 100000 + i : 0));
	}
	for (uint32_t i = 0; i < N; i++) {
		struct mrec *r = table_find(t, i % 3, 7 + i / 100, i * 4096u, i % 5);
		struct unit *own = table_unit(t, i % 3, 100000 + i, false);

		assert_non_null(r);
		assert_null(table_find(t, i % 3, 7 + i / 100, i * 4096u, i % 5 + 1));
		assert_int_equal(own != NULL, i % 10 == 0);
		if (i % 2)
			table_remove(t, &r);
	}
	assert_int_equal(t->mcount, N / 2);
	for (struct mrec *r = t->first; r != NULL; r = r->next)
		assert_true(r->next == NULL || r->next->boff > r->boff); /* order of admission */
	table_free(&t);
	assert_null(t);
}

static void last_message_frees_the_unit(void **state)
{
	struct table *t = table_new();
	struct mrec *a = table_add(t, 1, 7, 0, 0), *b = table_add(t, 1, 7, 0, 1);
	struct unit *u;

	(void)state;
	assert_true(table_admit(t, a, 2, 0));
	assert_true(table_admit(t, b, 1, 9));
	u = table_unit(t, 1, 7, false);
	assert_int_equal(u->live, 2);
	assert_true(table_unit(t, 1, 9, false)->closed);
	table_remove(t, &b);
	assert_int_equal(u->live, 1);
	assert_int_equal(table_unit(t, 1, 9, false)->live, 0);
	table_remove(t, &a);
	assert_int_equal(u->live, 0);
	table_dead(t, u);
	table_dead(t, u);
	assert_ptr_equal(t->dead, u);
	table_forget(t, &u);
	assert_null(t->dead);
	assert_null(table_unit(t, 1, 7, false));
	table_free(&t);
}

static void outcomes(void **state)
{
	struct table *t = table_new();
	struct mrec *r = table_add(t, 1, 7, 0, 0);

	(void)state;
	/* Outcomes may be known before the message is. */
	assert_true(table_outcome(r, 1, META1_R_DELIVERED, 1, 0, "", 0));
	assert_false(table_final(r));
	assert_true(table_admit(t, r, 2, 0));
	assert_int_equal(r->nfinal, 1);
	assert_false(table_outcome(r, 2, META1_R_DELIVERED, 1, 0, "", 0));
	assert_true(table_outcome(r, 0, META1_R_WAITING, 3, 99, "451 x", 5));
	assert_false(table_final(r));
	assert_string_equal(r->st[0].reason, "451 x");
	assert_true(table_outcome(r, 0, META1_R_BOUNCED, 3, 0, "", 0));
	assert_true(table_outcome(r, 0, META1_R_BOUNCED, 3, 0, "", 0));
	assert_true(table_final(r));
	table_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(many),
	    cmocka_unit_test(last_message_frees_the_unit),
	    cmocka_unit_test(outcomes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
