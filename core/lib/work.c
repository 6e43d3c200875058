/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * work.c -- worker threads for what may sleep.
 * Comes from mod/host.c (offload) and roles; goes to threads and back by loop_post().
 * Owns threads and jobs until their done() ran. Loop thread only, but for fn.
 * On failure: too much waiting = refused; no thread can be made = the job waits for one.
 */
#include "lib/work.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#define THREADS_MAX 8
#define WAITING_MAX 1024

struct work_job {
	struct work_job *next;
	struct work *work;
	struct work_owner *owner;
	task_fn fn, done;
	void *arg;
};

struct work {
	struct loop *loop;
	pthread_mutex_t lock;
	pthread_cond_t more, calm; /* calm: no job runs or is ready */
	struct work_job *ready, **ready_tail;
	unsigned threads, idle, busy;
	bool stop, ended; /* ended: there are no threads any more */
	pthread_t id[THREADS_MAX];
};

static void job_ended(void *arg);

static void *thread_main(void *arg)
{
	struct work *w = arg;
	struct work_job *j;

	pthread_mutex_lock(&w->lock);
	for (;;) {
		while (!w->ready && !w->stop) {
			w->idle++;
			pthread_cond_wait(&w->more, &w->lock);
			w->idle--;
		}
		if (!w->ready)
			break;
		j = w->ready;
		w->ready = j->next;
		if (!w->ready)
			w->ready_tail = &w->ready;
		w->busy++;
		pthread_mutex_unlock(&w->lock);
		j->fn(j->arg);
		/* the answer must arrive: wait for memory rather than lose it */
		while (loop_post(w->loop, job_ended, j))
			;
		pthread_mutex_lock(&w->lock);
		if (--w->busy == 0 && !w->ready)
			pthread_cond_signal(&w->calm);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* A thread takes no signals: they belong to the loop. */
static void thread_start(struct work *w)
{
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (!pthread_create(&w->id[w->threads], NULL, thread_main, w))
		w->threads++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void job_start(struct work *w, struct work_job *j)
{
	j->next = NULL;
	j->owner->running++;
	if (w->ended) {
		j->fn(j->arg);
		while (loop_post(w->loop, job_ended, j))
			;
		return;
	}
	pthread_mutex_lock(&w->lock);
	*w->ready_tail = j;
	w->ready_tail = &j->next;
	if (!w->idle && w->threads < THREADS_MAX)
		thread_start(w);
	pthread_cond_signal(&w->more);
	pthread_mutex_unlock(&w->lock);
}

static void job_ended(void *arg)
{
	struct work_job *j = arg, *next;
	struct work_owner *o = j->owner;
	struct work *w = j->work;
	task_fn done = j->done;
	void *darg = j->arg;

	free(j);
	o->running--;
	if ((next = o->head) && o->running < o->limit) {
		o->head = next->next;
		if (!o->head)
			o->tail = &o->head;
		o->waiting--;
		job_start(w, next);
	}
	done(darg);
}

struct work *work_new(struct loop *l)
{
	struct work *w = base_alloc(sizeof(*w));
	pthread_condattr_t monotonic;

	w->loop = l;
	w->ready_tail = &w->ready;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->more, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&w->calm, &monotonic);
	pthread_condattr_destroy(&monotonic);
	return w;
}

bool work_wait(struct work *w, int64_t ms)
{
	struct timespec until;
	int rc = 0;
	bool calm;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	pthread_mutex_lock(&w->lock);
	while ((w->busy || w->ready) && rc == 0)
		rc = pthread_cond_timedwait(&w->calm, &w->lock, &until);
	calm = !w->busy && !w->ready;
	pthread_mutex_unlock(&w->lock);
	return calm;
}

void work_free(struct work **wp)
{
	struct work *w = *wp;
	unsigned i;

	if (!w)
		return;
	*wp = NULL;
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_cond_broadcast(&w->more);
	pthread_mutex_unlock(&w->lock);
	for (i = 0; i < w->threads; i++)
		pthread_join(w->id[i], NULL);
	/* What waits for its owner's turn is started by the end of the one before: here. */
	w->ended = true;
	while (loop_posted(w->loop))
		;
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->more);
	pthread_cond_destroy(&w->calm);
	free(w);
}

void work_owner_init(struct work_owner *o, uint32_t limit)
{
	*o = (struct work_owner){.limit = limit};
	o->tail = &o->head;
}

bool work_do(struct work *w, struct work_owner *o, task_fn fn, task_fn done, void *arg)
{
	struct work_job *j;

	if (o->running + o->waiting >= WAITING_MAX)
		return false;
	j = base_alloc(sizeof(*j));
	*j = (struct work_job){.work = w, .owner = o, .fn = fn, .done = done, .arg = arg};
	if (o->running < o->limit) {
		job_start(w, j);
		return true;
	}
	*o->tail = j;
	o->tail = &j->next;
	o->waiting++;
	return true;
}
