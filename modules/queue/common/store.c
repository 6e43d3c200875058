/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * store.c -- the instance of a store on a disk: its life, its jobs, its answers.
 *
 * Comes from: the host (open, drain, close). Goes to: the module's faces; the host's threads.
 * Owns: the instance, jobs under way. Without drain() jobs may still run at close(): the last one
 * frees it. On failure: open() says which file, what is wrong and what to do; a job that finds no
 * thread says false, and neither of its halves runs.
 */
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct job {
	struct store *s;
	void (*work)(void *), (*done)(void *);
	void *arg;
};

static void release(struct store *s)
{
	s->life->release(s);
	if (s->qfd >= 0)
		close(s->qfd);
	free(s);
}

int store_open(const struct store_life *life, const struct meta1_host *h, struct meta1_ctx *ctx,
    const void *conf, void **inst, struct meta1_err *e)
{
	struct store *s = calloc(1, sizeof(*s));

	if (s == NULL) {
		snprintf(e->text, sizeof(e->text), "%s: out of memory", life->name);
		return -1;
	}
	s->h = h;
	s->ctx = ctx;
	s->c = conf;
	s->life = life;
	s->qfd = open(h->qdir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->qfd < 0)
		snprintf(
		    e->text, sizeof(e->text), "queue_directory %s: %s", h->qdir, strerror(errno));
	if (s->qfd < 0 || life->open(s, e) < 0) {
		release(s);
		return -1;
	}
	*inst = s;
	return 0;
}

static void check_drained(struct store *s)
{
	struct meta1_req *req = s->drain;

	if (req == NULL || s->jobs > 0 || !s->life->idle(s))
		return;
	s->drain = NULL;
	s->h->finish(req, META1_OK, NULL);
}

void store_drain(void *inst, struct meta1_req *req)
{
	struct store *s = inst;

	s->life->flush(s);
	s->drain = req;
	check_drained(s);
}

void store_close(void *inst)
{
	struct store *s = inst;

	s->closing = true; /* no job and no timer starts from now on */
	if (s->jobs == 0)
		release(s);
}

/* A request that is cancelled is finished by its batch or its job all the same: what is under way
 * cannot be taken back, and what is written is either whole or not there. */
void store_cancel(void *inst, struct meta1_req *req)
{
	(void)inst;
	(void)req;
}

static void job_work(void *p)
{
	struct job *j = p;

	j->work(j->arg);
}

static void job_done(void *p)
{
	struct job *j = p;
	struct store *s = j->s;

	j->done(j->arg);
	free(j);
	s->jobs--;
	check_drained(s);
	if (s->closing && s->jobs == 0)
		release(s);
}

bool store_job(struct store *s, void (*work)(void *), void (*done)(void *), void *arg)
{
	struct job *j = s->closing ? NULL : malloc(sizeof(*j));

	if (j == NULL)
		return false;
	*j = (struct job){s, work, done, arg};
	if (s->h->offload(s->ctx, job_work, job_done, j) != META1_OK) {
		free(j);
		return false;
	}
	s->jobs++;
	return true;
}

void store_arm(struct store *s, struct meta1_watch *w, int64_t ms)
{
	if (w != NULL && !s->closing)
		s->h->rearm(w, ms);
}

void store_answer(struct store *s, struct meta1_req **req, enum meta1_status st, const char *text)
{
	struct meta1_reply r = {.size = sizeof(r), .text = text};
	struct meta1_req *q = *req;

	*req = NULL;
	if (st == META1_TEMPFAIL) {
		r.smtp = 452;
		snprintf(r.dsn, sizeof(r.dsn), "4.3.1");
	}
	if (q != NULL)
		s->h->finish(q, st, &r);
}
