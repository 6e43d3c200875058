/* SPDX-License-Identifier: BSD-2-Clause */
/* threads.h -- the host's worker threads stand still until they are let go: what needs one is not
 * done before that, and what is done before needed none. */
#ifndef META1_TEST_THREADS_H
#define META1_TEST_THREADS_H
#include "lib/work.h"

#include <semaphore.h>

#define THREADS 8 /* of work.h */

struct threads {
	struct work_owner busy;
	sem_t stopped, go;
};

static inline void threads_stand(void *arg)
{
	struct threads *t = arg;

	sem_post(&t->stopped);
	sem_wait(&t->go);
}

static inline void threads_stood(void *arg)
{
	(void)arg;
}

static inline void threads_stop(struct threads *t, struct work *w)
{
	sem_init(&t->stopped, 0, 0);
	sem_init(&t->go, 0, 0);
	work_owner_init(&t->busy, THREADS);
	for (int i = 0; i < THREADS; i++)
		assert_true(work_do(w, &t->busy, threads_stand, threads_stood, t));
	for (int i = 0; i < THREADS; i++)
		sem_wait(&t->stopped);
}

static inline void threads_go(struct threads *t, struct loop *l)
{
	for (int i = 0; i < THREADS; i++)
		sem_post(&t->go);
	while (t->busy.running > 0)
		loop_turn(l, true);
}

#endif
