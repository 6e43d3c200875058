/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * event.c -- what a module lets the loop do for it in the kit: descriptors, timers, posts from
 * other threads, work that may sleep. Each of its callbacks is watched for sleep.
 * Comes from modules through the table; goes to lib/loop.c and lib/work.c.
 * Owns watches until unwatch() or close; posts and jobs until they ran.
 * On failure: NULL, <0 or TEMPFAIL where the suite says so.
 */
#include "host_priv.h"

#include <fcntl.h>
#include <stdlib.h>

_Thread_local struct kit_inst *kit_worker;

/* ---- watches ---- */

static void fired(int fd, short what, void *arg)
{
	struct meta1_watch *w = arg;
	struct kit_inst *in = w->in;
	struct kit_nap nap;

	kit_nap_begin(&nap);
	w->cb(fd, what, w->arg);
	kit_nap_end(&nap, in);
}

static struct meta1_watch *watch_new(struct kit_inst *in, const char *call, const void *from,
    int fd, void (*cb)(int, short, void *), void *arg)
{
	struct meta1_watch *w;

	if (!kit_on_loop(in, call, false) || kit_host_fails(in->host, call, from))
		return NULL;
	w = base_alloc(sizeof(*w));
	*w = (struct meta1_watch){.in = in, .fd = fd, .cb = cb, .arg = arg};
	LIST_INSERT_HEAD(&in->watches, w, link);
	return w;
}

static struct meta1_watch *host_watch_fd(
    struct meta1_ctx *ctx, int fd, short what, void (*cb)(int, short, void *), void *arg)
{
	struct kit_inst *in = inst_of(ctx);
	struct meta1_watch *w;

	if (fcntl(fd, F_GETFD) < 0) {
		kit_fault(in->host, in->name, "watch_fd(): descriptor %d is not open", fd);
		return NULL;
	}
	w = watch_new(in, "watch_fd", __builtin_return_address(0), fd, cb, arg);
	if (w)
		w->watch = loop_fd(in->host->loop, fd, what, fired, w);
	return w;
}

static struct meta1_watch *host_watch_timer(
    struct meta1_ctx *ctx, int64_t msec, void (*cb)(int, short, void *), void *arg)
{
	struct kit_inst *in = inst_of(ctx);
	struct meta1_watch *w =
	    watch_new(in, "watch_timer", __builtin_return_address(0), -1, cb, arg);

	if (w)
		w->watch = loop_timer(in->host->loop, msec, fired, w);
	return w;
}

static void host_rearm(struct meta1_watch *w, int64_t msec)
{
	if (!kit_on_loop(w->in, "rearm", false))
		return;
	if (w->fd < 0)
		loop_rearm(w->watch, msec);
	else
		kit_fault(w->in->host, w->in->name, "rearm() of a descriptor");
}

static void watch_free(struct meta1_watch *w)
{
	LIST_REMOVE(w, link);
	loop_unwatch(&w->watch);
	free(w);
}

static void host_unwatch(struct meta1_watch **wp)
{
	struct meta1_watch *w = *wp;

	if (!w || !kit_on_loop(w->in, "unwatch", false))
		return;
	*wp = NULL;
	if (w->fd >= 0 && fcntl(w->fd, F_GETFD) < 0)
		kit_fault(w->in->host, w->in->name,
		    "unwatch() after descriptor %d was closed: unwatch first", w->fd);
	watch_free(w);
}

/* ---- posts ---- */

struct post {
	struct kit_inst *in;
	void (*cb)(void *);
	void *arg;
};

static void post_run(void *arg)
{
	struct post *p = arg;
	struct kit_inst *in = p->in;
	struct kit_nap nap;

	kit_nap_begin(&nap);
	if (!in->closed)
		p->cb(p->arg);
	kit_nap_end(&nap, in);
	kit_inst_unref(in);
	free(p);
}

static int host_post(struct meta1_ctx *ctx, void (*cb)(void *), void *arg)
{
	struct kit_inst *in = inst_of(ctx);
	struct post *p;

	if (kit_fails(in))
		return -1;
	p = base_alloc(sizeof(*p));
	*p = (struct post){.in = in, .cb = cb, .arg = arg};
	kit_inst_ref(in);
	if (loop_post(in->host->loop, post_run, p) == 0)
		return 0;
	kit_inst_unref(in);
	free(p);
	return -1;
}

/* ---- offload ---- */

struct job {
	struct kit_inst *in;
	void (*work)(void *), (*done)(void *);
	void *arg;
};

static void job_work(void *arg)
{
	struct job *j = arg;

	kit_worker = j->in;
	j->work(j->arg);
	kit_worker = NULL;
}

static void job_done(void *arg)
{
	struct job *j = arg;
	struct kit_inst *in = j->in;
	struct kit_nap nap;

	kit_nap_begin(&nap);
	j->done(j->arg);
	kit_nap_end(&nap, in);
	free(j);
	in->jobs--;
	kit_inst_unref(in);
}

bool kit_job(struct kit_inst *in, void (*work)(void *), void (*done)(void *), void *arg)
{
	struct job *j = base_alloc(sizeof(*j));

	*j = (struct job){.in = in, .work = work, .done = done, .arg = arg};
	if (!work_do(in->host->work, &in->owner, job_work, job_done, j)) {
		free(j);
		return false;
	}
	in->jobs++;
	kit_inst_ref(in);
	return true;
}

static enum meta1_status host_offload(
    struct meta1_ctx *ctx, void (*work)(void *), void (*done)(void *), void *arg)
{
	struct kit_inst *in = inst_of(ctx);

	if (!kit_on_loop(in, "offload", false) || kit_fails(in))
		return META1_TEMPFAIL;
	return kit_job(in, work, done, arg) ? META1_OK : META1_TEMPFAIL;
}

void kit_event_drop(struct kit_inst *in)
{
	while (!LIST_EMPTY(&in->watches))
		watch_free(LIST_FIRST(&in->watches));
}

void kit_event_table(struct meta1_host *t)
{
	t->watch_fd = host_watch_fd;
	t->watch_timer = host_watch_timer;
	t->rearm = host_rearm;
	t->unwatch = host_unwatch;
	t->post = host_post;
	t->offload = host_offload;
}
