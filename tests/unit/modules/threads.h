/* SPDX-License-Identifier: BSD-2-Clause */
/* threads.h -- the host's worker threads stand still until they are let go: what needs one is not
 * done before that, and what is done before needed none. */
#ifndef META1_TEST_THREADS_H
#define META1_TEST_THREADS_H
#include "lib/work.h"

#include <stdatomic.h>
#include <unistd.h>

#define THREADS 8 /* of work.h */

struct threads {
	struct work_owner busy;
	atomic_int stopped, go;
};

static inline void threads_stand(void *arg)
{
	struct threads *t = arg;

	atomic_fetch_add(&t->stopped, 1);
	while (!atomic_load(&t->go))
		usleep(500);
	atomic_fetch_sub(&t->stopped, 1);
}

static inline void threads_stood(void *arg)
{
	(void)arg;
}

static inline void threads_stop(struct threads *t, struct work *w)
{
	atomic_store(&t->go, 0);
	work_owner_init(&t->busy, THREADS);
	for (int i = 0; i < THREADS; i++)
		assert_true(work_do(w, &t->busy, threads_stand, threads_stood, t));
	while (atomic_load(&t->stopped) < THREADS)
		usleep(500);
}

static inline void threads_go(struct threads *t, struct loop *l)
{
	atomic_store(&t->go, 1);
	while (atomic_load(&t->stopped) > 0 || t->busy.running > 0)
		loop_turn(l, false);
}

#endif
