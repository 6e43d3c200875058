/* SPDX-License-Identifier: BSD-2-Clause */
/* loop.c -- turns, tasks, timers with a false clock, posts and workers. */
#include "lib/loop.h"
#include "../unit.h"
#include "lib/work.h"

#include <pthread.h>

static struct loop *loop;
static int ran[4];
static struct task a, b;

static void run_a(void *arg)
{
	(void)arg;
	ran[0]++;
	loop_defer(loop, &a); /* next turn, not this one */
	task_cancel(&b);      /* b is queued behind us and must not run */
}

static void run_b(void *arg)
{
	(void)arg;
	ran[1]++;
}

static void tasks(void **state)
{
	(void)state;
	loop = loop_new();
	task_init(&a, run_a, NULL);
	task_init(&b, run_b, NULL);
	loop_defer(loop, &a);
	loop_defer(loop, &a);
	loop_defer(loop, &b);
	loop_turn(loop, true);
	assert_int_equal(ran[0], 1);
	assert_int_equal(ran[1], 0);
	loop_flush(loop, &b);
	task_cancel(&a);
	loop_turn(loop, true);
	assert_int_equal(ran[0], 1);
	assert_int_equal(ran[1], 1);
	loop_free(&loop);
}

static void timed(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	++*(int *)arg;
}

static void timers(void **state)
{
	struct watch *t;

	(void)state;
	loop = loop_new();
	loop_fake_clock(loop, 1000, 5);
	t = loop_timer(loop, 500, timed, &ran[2]);
	loop_fake_clock(loop, 1499, 5);
	loop_turn(loop, false);
	assert_int_equal(ran[2], 0);
	loop_fake_clock(loop, 1500, 5);
	loop_turn(loop, false);
	loop_turn(loop, false);
	assert_int_equal(ran[2], 1); /* once */
	loop_rearm(t, 10);
	loop_rearm(t, -1);
	loop_fake_clock(loop, 9000, 5);
	loop_turn(loop, false);
	assert_int_equal(ran[2], 1);
	loop_unwatch(&t);
	loop_free(&loop);
}

static int running, most, done;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void job(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&lock);
	running++;
	if (running > most)
		most = running;
	pthread_mutex_unlock(&lock);
	sched_yield();
	pthread_mutex_lock(&lock);
	running--;
	pthread_mutex_unlock(&lock);
}

static void job_done(void *arg)
{
	(void)arg;
	if (++done == 500)
		loop_stop(loop);
}

static void workers(void **state)
{
	struct work_owner o;
	struct work *w;
	int i, taken = 0;

	(void)state;
	loop = loop_new();
	w = work_new(loop);
	work_owner_init(&o, 2);
	for (i = 0; i < 500; i++)
		assert_true(work_do(w, &o, job, job_done, NULL));
	loop_run(loop);
	assert_int_equal(done, 500);
	assert_true(most <= 2);
	for (i = 0; i < 2000; i++)
		taken += work_do(w, &o, job, job_done, NULL);
	assert_int_equal(taken, 1024); /* bounded */
	while (done < 500 + 1024)
		loop_turn(loop, true);
	work_free(&w);
	loop_free(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(tasks), cmocka_unit_test(timers), cmocka_unit_test(workers)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
