/* SPDX-License-Identifier: BSD-2-Clause */
/* work.c -- tries core/lib/work.c: order and bound of an owner's jobs, and the end with jobs left.
 */
#include "lib/work.h"
#include "../unit.h"

struct seen {
	struct loop *loop;
	unsigned worked, done;
};

static void work(void *arg)
{
	__atomic_add_fetch(&((struct seen *)arg)->worked, 1, __ATOMIC_SEQ_CST);
}

static void done(void *arg)
{
	((struct seen *)arg)->done++;
}

/* Jobs that wait for their owner's turn are done too before the threads are gone. */
static void ends_with_jobs_left(void **state)
{
	struct seen s = {.loop = loop_new()};
	struct work *w = work_new(s.loop);
	struct work_owner o;

	(void)state;
	work_owner_init(&o, 1);
	for (int i = 0; i < 20; i++)
		assert_true(work_do(w, &o, work, done, &s));
	work_free(&w);
	loop_free(&s.loop);
	assert_int_equal(s.worked, 20);
	assert_int_equal(s.done, 20);
	assert_int_equal(o.running + o.waiting, 0);
}

static void refuses_too_many(void **state)
{
	struct seen s = {.loop = loop_new()};
	struct work *w = work_new(s.loop);
	struct work_owner o;
	unsigned n = 0;

	(void)state;
	work_owner_init(&o, 2);
	while (work_do(w, &o, work, done, &s))
		n++;
	assert_int_equal(n, 1024);
	work_free(&w);
	loop_free(&s.loop);
	assert_int_equal(s.done, n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(ends_with_jobs_left), cmocka_unit_test(refuses_too_many)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
