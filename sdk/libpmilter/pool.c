/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pool.c -- threads that run callbacks, for filters that sleep in them.
 *
 * Comes from link.c with a session and a frame; goes to lpm_session_run(), and back to
 * lpm_link_done() on the loop by a pipe. Threads are made when all are busy, up to the hard limit;
 * those beyond the soft limit end after 10 s without work. Owns threads and both lists. On failure:
 * a thread that cannot be made leaves the work to those that are there.
 */
#include "lib.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define IDLE_SEC 10

struct pool {
	pmg_ctx_P g;
	pthread_mutex_t lock;
	pthread_cond_t work, ended;
	pmse_ctx_P todo, *todo_end, done, *done_end;
	uint32_t stay, most, threads, idle, waiting; /* waiting: sessions that no thread has */
	int stop, wake[2];
	struct event *event;
};

static pmse_ctx_P shift(pmse_ctx_P *first, pmse_ctx_P **end)
{
	pmse_ctx_P s = *first;

	if (s) {
		*first = s->queue;
		if (!*first)
			*end = first;
		s->queue = NULL;
	}
	return s;
}

static void push(pmse_ctx_P s, pmse_ctx_P **end)
{
	s->queue = NULL;
	**end = s;
	*end = &s->queue;
}

/* Locked. false: the thread is to end. */
static bool wait_for_work(struct pool *p)
{
	struct timespec until;
	int r = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += IDLE_SEC;
	p->idle++;
	while (!p->todo && !p->stop && r == 0)
		r = p->threads > p->stay ? pthread_cond_timedwait(&p->work, &p->lock, &until)
					 : pthread_cond_wait(&p->work, &p->lock);
	p->idle--;
	return p->todo || (!p->stop && p->threads <= p->stay);
}

static void *thread(void *arg)
{
	struct pool *p = arg;
	pmse_ctx_P s;

	pthread_mutex_lock(&p->lock);
	while (p->todo || wait_for_work(p)) {
		s = shift(&p->todo, &p->todo_end);
		if (!s)
			continue;
		p->waiting--;
		pthread_mutex_unlock(&p->lock);
		lpm_session_run(s, s->now->at, s->now->len);
		pthread_mutex_lock(&p->lock);
		if (!p->done && write(p->wake[1], "", 1) < 0 && errno != EAGAIN)
			lpm_debug(p->g, 0, "pool: the loop cannot be woken");
		push(s, &p->done_end);
	}
	p->threads--;
	pthread_cond_signal(&p->ended);
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* Locked. */
static void another(struct pool *p)
{
	pthread_attr_t attr;
	pthread_t t;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&t, &attr, thread, p) == 0)
		p->threads++;
	pthread_attr_destroy(&attr);
}

void lpm_pool_put(struct pool *p, pmse_ctx_P s)
{
	pthread_mutex_lock(&p->lock);
	push(s, &p->todo_end);
	/* who is idle may have been woken already, for another one */
	if (++p->waiting > p->idle && p->threads < p->most)
		another(p);
	pthread_cond_signal(&p->work);
	pthread_mutex_unlock(&p->lock);
}

static void on_done(evutil_socket_t fd, short what, void *arg)
{
	struct pool *p = arg;
	char drain[64];
	pmse_ctx_P all, s;

	(void)what;
	while (read(fd, drain, sizeof(drain)) > 0)
		;
	pthread_mutex_lock(&p->lock);
	all = p->done;
	p->done = NULL;
	p->done_end = &p->done;
	pthread_mutex_unlock(&p->lock);
	while ((s = all)) {
		all = s->queue;
		s->queue = NULL;
		lpm_link_done(s);
	}
	lpm_io_flush_all(p->g);
}

struct pool *lpm_pool_new(pmg_ctx_P g, uint32_t stay, uint32_t most)
{
	struct pool *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->g = g;
	p->most = most;
	p->stay = stay ? stay : 1;
	p->todo_end = &p->todo;
	p->done_end = &p->done;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	pthread_cond_init(&p->ended, NULL);
	if (pipe2(p->wake, O_NONBLOCK | O_CLOEXEC) < 0) {
		free(p);
		return NULL;
	}
	p->event = event_new(g->base, p->wake[0], EV_READ | EV_PERSIST, on_done, p);
	if (!p->event || event_add(p->event, NULL) < 0) {
		lpm_pool_free(&p);
		return NULL;
	}
	return p;
}

/* All sessions have ended. */
void lpm_pool_free(struct pool **pp)
{
	struct pool *p = *pp;

	*pp = NULL;
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = 1;
	pthread_cond_broadcast(&p->work);
	while (p->threads)
		pthread_cond_wait(&p->ended, &p->lock);
	pthread_mutex_unlock(&p->lock);
	if (p->event)
		event_free(p->event);
	close(p->wake[0]);
	close(p->wake[1]);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->work);
	pthread_cond_destroy(&p->ended);
	free(p);
}
