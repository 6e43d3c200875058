/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * loop.h -- the one event loop of a process, libevent behind watches that know
 * who made them.
 *
 * A turn: wait for events and run their callbacks; then the deferred tasks (each
 * once; what they defer runs next turn); then the flushers (conn, chan and log write
 * here, so that all output of a turn leaves in one call each).
 */
#ifndef META1_LOOP_H
#define META1_LOOP_H
#include "base.h"

#include <event2/event.h>

struct loop;
struct watch; /* an fd or a timer */
typedef void (*watch_fn)(int fd, short what, void *arg);
typedef void (*task_fn)(void *arg);

struct loop *loop_new(void);
void loop_free(struct loop **); /* reports watches left, with file and line */
struct event_base *loop_base(struct loop *);
int loop_run(struct loop *); /* until loop_stop(); 0 */
void loop_stop(struct loop *);
void loop_turn(struct loop *, bool wait); /* one turn, for tests and tools */

int64_t loop_now(struct loop *);     /* monotonic ms, read once a turn */
uint64_t loop_now_us(struct loop *); /* the same clock in us */
int64_t loop_wall(struct loop *);    /* seconds since 1970, read once a turn */
/* Tests: from now on the clock stands still at ms (wall at sec) until moved. */
void loop_fake_clock(struct loop *, int64_t ms, int64_t sec);

/* what: EV_READ | EV_WRITE, persistent. */
#define loop_fd(l, fd, what, cb, arg) loop_fd_at(l, fd, what, cb, arg, __FILE__, __LINE__)
struct watch *loop_fd_at(struct loop *, int fd, short what, watch_fn, void *, const char *, int);
/* Once after ms; stays until loop_unwatch and may be armed again. ms < 0: not armed. */
#define loop_timer(l, ms, cb, arg) loop_timer_at(l, ms, cb, arg, __FILE__, __LINE__)
struct watch *loop_timer_at(struct loop *, int64_t ms, watch_fn, void *, const char *, int);
#define loop_signal(l, sig, cb, arg) loop_signal_at(l, sig, cb, arg, __FILE__, __LINE__)
struct watch *loop_signal_at(struct loop *, int sig, watch_fn, void *, const char *, int);
void loop_rearm(struct watch *, int64_t ms); /* timer; < 0 disarms */
void loop_unwatch(struct watch **);

/* A task embedded in its owner, run once on the next deferred step; deferring it
 * twice runs it once. task_cancel() before the owner is freed. */
struct task {
	struct task *next, *prev; /* NULL: not queued */
	task_fn fn;
	void *arg;
};
void task_init(struct task *, task_fn, void *arg);
void loop_defer(struct loop *, struct task *);
/* Like loop_defer, but runs as a flusher at the end of this turn. */
void loop_flush(struct loop *, struct task *);
void task_cancel(struct task *);
bool task_pending(const struct task *);

/* From any thread: fn(arg) on the loop, later. <0: no memory. */
int loop_post(struct loop *, task_fn, void *arg);
bool loop_posted(struct loop *); /* runs what was posted until now; false: nothing was */

#endif
