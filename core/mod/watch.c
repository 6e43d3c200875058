/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * watch.c -- what a module lets the loop do for it: descriptors, timers, posts
 * from other threads, work that may sleep.
 * Comes from modules through the table; goes to lib/loop.c and lib/work.c.
 * Owns watches until unwatch() or close; posts and jobs until they ran.
 * On failure: NULL or <0 for memory, TEMPFAIL when too much work waits.
 */
#include "mod/inst.h"

#include <stdlib.h>

static struct meta1_watch *watch_new(struct mod_inst *in, int fd)
{
	struct meta1_watch *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->fd = fd;
	LIST_INSERT_HEAD(&in->watches, w, link);
	return w;
}

static struct meta1_watch *host_watch_fd(
    struct meta1_ctx *ctx, int fd, short what, void (*cb)(int, short, void *), void *arg)
{
	struct mod_inst *in = inst_of(ctx);
	struct meta1_watch *w = watch_new(in, fd);

	if (w)
		w->watch = loop_fd_at(in->host->loop, fd, what, cb, arg, in->m->name, 0);
	return w;
}

static struct meta1_watch *host_watch_timer(
    struct meta1_ctx *ctx, int64_t msec, void (*cb)(int, short, void *), void *arg)
{
	struct mod_inst *in = inst_of(ctx);
	struct meta1_watch *w = watch_new(in, -1);

	if (w)
		w->watch = loop_timer_at(in->host->loop, msec, cb, arg, in->m->name, 0);
	return w;
}

static void host_rearm(struct meta1_watch *w, int64_t msec)
{
	if (w->fd < 0)
		loop_rearm(w->watch, msec);
}

static void host_unwatch(struct meta1_watch **wp)
{
	struct meta1_watch *w = *wp;

	if (!w)
		return;
	*wp = NULL;
	LIST_REMOVE(w, link);
	loop_unwatch(&w->watch);
	free(w);
}

void mod_watch_drop(struct mod_inst *in)
{
	struct meta1_watch *w;

	while ((w = in->watches.lh_first))
		host_unwatch(&w);
}

/* ---- posts ---- */

struct post {
	struct mod_inst *in;
	void (*cb)(void *);
	void *arg;
};

static void post_run(void *arg)
{
	struct post *p = arg;

	if (!p->in->closed)
		p->cb(p->arg);
	mod_unref(p->in);
	free(p);
}

static int host_post(struct meta1_ctx *ctx, void (*cb)(void *), void *arg)
{
	struct mod_inst *in = inst_of(ctx);
	struct post *p = malloc(sizeof(*p));

	if (!p)
		return -1;
	*p = (struct post){.in = in, .cb = cb, .arg = arg};
	mod_ref(in);
	if (loop_post(in->host->loop, post_run, p) == 0)
		return 0;
	free(p);
	mod_unref(in);
	return -1;
}

/* ---- offload ---- */

struct job {
	struct mod_inst *in;
	void (*work)(void *), (*done)(void *);
	void *arg;
};

static void job_work(void *arg)
{
	struct job *j = arg;

	j->work(j->arg);
}

static void job_done(void *arg)
{
	struct job *j = arg;
	struct mod_inst *in = j->in;

	j->done(j->arg);
	free(j);
	in->jobs--;
	mod_settled(in);
	mod_unref(in);
}

static enum meta1_status host_offload(
    struct meta1_ctx *ctx, void (*work)(void *), void (*done)(void *), void *arg)
{
	struct mod_inst *in = inst_of(ctx);
	struct job *j = malloc(sizeof(*j));

	if (!j)
		return META1_TEMPFAIL;
	*j = (struct job){.in = in, .work = work, .done = done, .arg = arg};
	if (!work_do(in->host->work, &in->owner, job_work, job_done, j)) {
		free(j);
		return META1_TEMPFAIL;
	}
	in->jobs++;
	mod_ref(in);
	return META1_OK;
}

void mod_watch_table(struct meta1_host *t)
{
	t->watch_fd = host_watch_fd;
	t->watch_timer = host_watch_timer;
	t->rearm = host_rearm;
	t->unwatch = host_unwatch;
	t->post = host_post;
	t->offload = host_offload;
}
