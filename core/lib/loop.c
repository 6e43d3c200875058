/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * loop.c -- the event loop: libevent fenced in, turns, deferred tasks, posts.
 * Comes from role.c (loop_run) and every watch; goes to libevent.
 * Owns watches until unwatched, the wake-up descriptor and posted tasks.
 * On failure: a loop that cannot be made ends the process at start.
 */
#include "lib/loop.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

struct watch {
	struct event *ev;
	struct loop *loop;
	watch_fn fn;
	void *arg;
	const char *file; /* who made it */
	int line;
	int64_t due; /* fake clock: when the timer fires, -1 not armed */
	bool timer;
	struct watch *next, **prevp;
};

struct posted {
	struct posted *next;
	task_fn fn;
	void *arg;
};

struct loop {
	struct event_base *base;
	struct watch *watches;
	struct task deferred, flushers; /* heads of circular lists */
	int64_t now, wall;
	uint64_t now_us;
	bool fake, stop;
	/* posts from other threads */
	pthread_mutex_t lock;
	struct posted *posts, **posts_tail;
	bool woken;
	int wake_fd;
	struct watch *wake;
};

static void clock_read(struct loop *l)
{
	struct timespec ts;

	if (l->fake)
		return;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	l->now_us = (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
	l->now = (int64_t)(l->now_us / 1000);
	clock_gettime(CLOCK_REALTIME_COARSE, &ts);
	l->wall = ts.tv_sec;
}

bool loop_posted(struct loop *l)
{
	struct posted *p, *next;
	bool any;

	pthread_mutex_lock(&l->lock);
	p = l->posts;
	l->posts = NULL;
	l->posts_tail = &l->posts;
	l->woken = false;
	pthread_mutex_unlock(&l->lock);
	any = p != NULL;
	for (; p; p = next) {
		next = p->next;
		p->fn(p->arg);
		free(p);
	}
	return any;
}

static void posts_run(int fd, short what, void *arg)
{
	uint64_t n;

	(void)what;
	(void)!read(fd, &n, sizeof(n));
	loop_posted(arg);
}

struct loop *loop_new(void)
{
	struct event_config *cfg = event_config_new();
	struct loop *l = base_alloc(sizeof(*l));

	/* No locks: one thread runs the base, others come in by loop_post only. */
	event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK);
	l->base = event_base_new_with_config(cfg);
	event_config_free(cfg);
	l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (!l->base || l->wake_fd < 0) {
		fprintf(stderr, "meta1: no event loop: descriptors or memory are used up\n");
		exit(EXIT_OS);
	}
	l->deferred.next = l->deferred.prev = &l->deferred;
	l->flushers.next = l->flushers.prev = &l->flushers;
	l->posts_tail = &l->posts;
	pthread_mutex_init(&l->lock, NULL);
	clock_read(l);
	l->wake = loop_fd(l, l->wake_fd, EV_READ, posts_run, l);
	return l;
}

static void tasks_drop(struct task *list)
{
	while (list->next != list)
		task_cancel(list->next);
}

void loop_free(struct loop **lp)
{
	struct loop *l = *lp;
	struct watch *w;

	if (!l)
		return;
	*lp = NULL;
	loop_unwatch(&l->wake);
	posts_run(l->wake_fd, 0, l);
	close(l->wake_fd);
	tasks_drop(&l->deferred);
	tasks_drop(&l->flushers);
	while ((w = l->watches)) {
		fprintf(stderr, "meta1: watch left over, made at %s:%d\n", w->file, w->line);
		loop_unwatch(&w);
	}
	event_base_free(l->base);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

struct event_base *loop_base(struct loop *l)
{
	return l->base;
}

/* Runs the tasks that are queued now; what they queue stays for the next turn. */
static void tasks_run(struct task *list)
{
	struct task batch, *t;

	if (list->next == list)
		return;
	batch.next = list->next;
	batch.prev = list->prev;
	batch.next->prev = batch.prev->next = &batch;
	list->next = list->prev = list;
	while ((t = batch.next) != &batch) {
		task_cancel(t);
		t->fn(t->arg);
	}
}

static struct watch *fake_due(const struct loop *l)
{
	struct watch *w = l->watches;

	while (w && (!w->timer || w->due < 0 || w->due > l->now))
		w = w->next;
	return w;
}

/* With the fake clock libevent's timers do not run: ours are looked through. */
static void fake_timers(struct loop *l)
{
	struct watch *w;

	while ((w = fake_due(l))) {
		w->due = -1;
		w->fn(-1, EV_TIMEOUT, w->arg);
	}
}

void loop_turn(struct loop *l, bool wait)
{
	int flags = EVLOOP_ONCE;

	if (!wait || l->deferred.next != &l->deferred || l->flushers.next != &l->flushers ||
	    (l->fake && fake_due(l)))
		flags |= EVLOOP_NONBLOCK;
	event_base_loop(l->base, flags);
	clock_read(l);
	if (l->fake)
		fake_timers(l);
	tasks_run(&l->deferred);
	tasks_run(&l->flushers);
}

int loop_run(struct loop *l)
{
	l->stop = false;
	while (!l->stop)
		loop_turn(l, true);
	return 0;
}

void loop_stop(struct loop *l)
{
	l->stop = true;
	event_base_loopbreak(l->base);
}

int64_t loop_now(struct loop *l)
{
	return l->now;
}

uint64_t loop_now_us(struct loop *l)
{
	return l->now_us;
}

int64_t loop_wall(struct loop *l)
{
	return l->wall;
}

void loop_fake_clock(struct loop *l, int64_t ms, int64_t sec)
{
	l->fake = true;
	l->now = ms;
	l->now_us = (uint64_t)ms * 1000;
	l->wall = sec;
}

static void watch_run(evutil_socket_t fd, short what, void *arg)
{
	struct watch *w = arg;

	/* the first callback of a turn reads the clock; cheap enough for each */
	clock_read(w->loop);
	w->fn((int)fd, what, w->arg);
}

static struct watch *watch_new(
    struct loop *l, int fd, short what, watch_fn fn, void *arg, const char *file, int line)
{
	struct watch *w = base_alloc(sizeof(*w));

	*w = (struct watch){.loop = l, .fn = fn, .arg = arg, .file = file, .line = line, .due = -1};
	w->ev = event_new(l->base, fd, what, watch_run, w);
	if (!w->ev)
		base_broken("event_new", file, line);
	w->next = l->watches;
	w->prevp = &l->watches;
	if (w->next)
		w->next->prevp = &w->next;
	l->watches = w;
	return w;
}

struct watch *loop_fd_at(
    struct loop *l, int fd, short what, watch_fn fn, void *arg, const char *file, int line)
{
	struct watch *w = watch_new(l, fd, (short)(what | EV_PERSIST), fn, arg, file, line);

	event_add(w->ev, NULL);
	return w;
}

struct watch *loop_timer_at(
    struct loop *l, int64_t ms, watch_fn fn, void *arg, const char *file, int line)
{
	struct watch *w = watch_new(l, -1, 0, fn, arg, file, line);

	w->timer = true;
	if (ms >= 0)
		loop_rearm(w, ms);
	return w;
}

struct watch *loop_signal_at(
    struct loop *l, int sig, watch_fn fn, void *arg, const char *file, int line)
{
	struct watch *w = watch_new(l, sig, EV_SIGNAL | EV_PERSIST, fn, arg, file, line);

	event_add(w->ev, NULL);
	return w;
}

void loop_rearm(struct watch *w, int64_t ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};

	ensure(w->timer);
	if (w->loop->fake) {
		w->due = ms < 0 ? -1 : w->loop->now + ms;
		return;
	}
	if (ms < 0)
		event_del(w->ev);
	else
		event_add(w->ev, &tv);
}

void loop_unwatch(struct watch **wp)
{
	struct watch *w = *wp;

	if (!w)
		return;
	*wp = NULL;
	event_free(w->ev);
	*w->prevp = w->next;
	if (w->next)
		w->next->prevp = w->prevp;
	free(w);
}

void task_init(struct task *t, task_fn fn, void *arg)
{
	*t = (struct task){.fn = fn, .arg = arg};
}

static void task_add(struct task *list, struct task *t)
{
	if (t->next)
		return;
	t->prev = list->prev;
	t->next = list;
	list->prev->next = t;
	list->prev = t;
}

void loop_defer(struct loop *l, struct task *t)
{
	task_add(&l->deferred, t);
}

void loop_flush(struct loop *l, struct task *t)
{
	task_add(&l->flushers, t);
}

void task_cancel(struct task *t)
{
	if (!t->next)
		return;
	t->prev->next = t->next;
	t->next->prev = t->prev;
	t->next = t->prev = NULL;
}

bool task_pending(const struct task *t)
{
	return t->next != NULL;
}

int loop_post(struct loop *l, task_fn fn, void *arg)
{
	struct posted *p = malloc(sizeof(*p));
	uint64_t one = 1;
	bool wake;

	if (!p)
		return -1;
	*p = (struct posted){.fn = fn, .arg = arg};
	pthread_mutex_lock(&l->lock);
	*l->posts_tail = p;
	l->posts_tail = &p->next;
	wake = !l->woken;
	l->woken = true;
	pthread_mutex_unlock(&l->lock);
	if (wake)
		(void)!write(l->wake_fd, &one, sizeof(one));
	return 0;
}
