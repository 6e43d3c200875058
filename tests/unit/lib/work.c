/* SPDX-License-Identifier: BSD-2-Clause */
/* work.c -- tries core/lib/work.c: order and bound of an owner's jobs, and the end with jobs left.
 */
#include "lib/work.h"
#include "../unit.h"

#include <semaphore.h>

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

static void held(void *arg)
{
	sem_wait(arg);
}

static void nothing(void *arg)
{
	(void)arg;
}

/* Who waits for the end of all jobs is told when one does not end. */
static void waits_for_so_long(void **state)
{
	struct loop *l = loop_new();
	struct work *w = work_new(l);
	struct work_owner o;
	sem_t gate;

	(void)state;
	sem_init(&gate, 0, 0);
	work_owner_init(&o, 2);
	assert_true(work_wait(w, 0));
	assert_true(work_do(w, &o, held, nothing, &gate));
	assert_false(work_wait(w, 0));
	sem_post(&gate);
	assert_true(work_wait(w, 20000));
	work_free(&w);
	loop_free(&l);
	sem_destroy(&gate);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(ends_with_jobs_left),
	    cmocka_unit_test(refuses_too_many), cmocka_unit_test(waits_for_so_long)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
