/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * req.c -- the law of requests. The module finishes each exactly once; the asker hears of it once,
 * on a later turn, at the latest at the deadline. Comes from roles and modules (finish); goes to
 * the asker's callback. Owns the request, with all that is in it, until the finish was told or
 * dropped; it is used again. On failure: a broken law is a fault (mod_fault), never a crash.
 */
#include "mod/inst.h"

#include <stdio.h>
#include <stdlib.h>

#define FREE_KEPT 1024 /* requests kept for reuse an instance */

/*	OPEN --finish--> ANSWERED --told--> FREE
 *	OPEN --deadline, cancel--> LATE --finish, dropped--> FREE
 *	OPEN, LATE --close without finish--> DEAD, for ever */
enum state { R_FREE, R_OPEN, R_ANSWERED, R_LATE, R_DONE, R_DEAD };

struct result { /* of a recipient, waiting to be told */
	struct result *next;
	uint32_t rcpt;
	enum meta1_status st;
	struct meta1_reply reply;
};

struct meta1_req {
	TAILQ_ENTRY(meta1_req) link;
	struct mod_inst *in;
	enum state state;
	bool hold;	  /* being told: not to be released under the teller */
	bool uncancelled; /* the module gets no cancel() */
	bool job;	  /* a worker thread has it, with reply and arena; state is the loop's */
	bool job_answered, job_twice, rcpt_lost; /* lost: no answer is that all is well */
	atomic_bool gone;			 /* for the thread: nobody asks any more */
	mod_done_fn done;			 /* NULL: the asker was told or went away */
	void *arg;
	mod_rcpt_fn rcpt;
	uint32_t nrcpt;
	uint8_t *rcpt_seen; /* bit a recipient */
	struct result *results, **results_tail;
	void (*drop)(void *, const void *);
	void *drop_arg;
	void (*let_go)(void *); /* of kept, with the request */
	void *kept;
	int64_t start, deadline;
	void *slot;
	struct watch *timer;
	int64_t due, armed; /* when it is to fire, when it does; 0: not at all */
	struct task tell;
	enum meta1_status st;
	struct meta1_reply reply;
	struct mod_arena arena; /* req_alloc(), key, reply, results */
};

/* What modules never finished; kept so that a late finish() finds it. */
static TAILQ_HEAD(, meta1_req) dead = TAILQ_HEAD_INITIALIZER(dead);

static const char *const too_large = "the module's reply is too large";

/* ---- life ---- */

static void tell(void *arg);
static void timer_fired(int fd, short what, void *arg);

static struct meta1_req *req_take(struct mod_inst *in)
{
	/* kept for a while: a second finish() is not taken for the first one of another */
	uint32_t keep = in->host->strict ? FREE_KEPT : 0;
	struct meta1_req *rq = in->nfree > keep ? TAILQ_FIRST(&in->free) : NULL;

	if (rq) {
		TAILQ_REMOVE(&in->free, rq, link);
		in->nfree--;
		return rq;
	}
	rq = base_alloc(sizeof(*rq));
	rq->in = in;
	task_init(&rq->tell, tell, rq);
	return rq;
}

/* One that fires before that stays as it is, and is armed anew when it has fired: most requests
 * are finished long before, and the timer costs them nothing. */
static void arm(struct meta1_req *rq, int64_t due)
{
	struct loop *l = rq->in->host->loop;
	int64_t wait = due - loop_now(l);

	rq->due = due > 0 ? due : 1;
	if (rq->armed != 0 && rq->armed <= due)
		return;
	rq->armed = due;
	wait = wait > 0 ? wait : 0;
	if (!rq->timer)
		rq->timer = loop_timer(l, wait, timer_fired, rq);
	else
		loop_rearm(rq->timer, wait);
}

static void unwatch(struct meta1_req *rq)
{
	loop_unwatch(&rq->timer);
	rq->due = rq->armed = 0;
}

struct meta1_req *mod_req_new(struct mod_inst *in, int64_t deadline_ms, mod_done_fn done, void *arg)
{
	struct meta1_req *rq = req_take(in);

	rq->state = R_OPEN;
	rq->hold = rq->uncancelled = rq->job = rq->job_answered = rq->job_twice = rq->rcpt_lost = 0;
	atomic_store_explicit(&rq->gone, false, memory_order_relaxed);
	rq->done = done;
	rq->arg = arg;
	rq->rcpt = NULL;
	rq->nrcpt = 0;
	rq->results = NULL;
	rq->results_tail = &rq->results;
	rq->drop = NULL;
	rq->let_go = NULL;
	rq->slot = NULL;
	rq->reply = (struct meta1_reply){.size = sizeof(rq->reply)};
	rq->start = loop_now(in->host->loop);
	rq->deadline = deadline_ms;
	TAILQ_INSERT_TAIL(&in->open, rq, link);
	in->nopen++;
	if (deadline_ms != INT64_MAX)
		arm(rq, deadline_ms);
	return rq;
}

struct meta1_req *mod_req(struct mod_inst *in, int64_t deadline_ms, mod_done_fn done, void *arg)
{
	if (in->draining || in->nopen >= in->req_max)
		return NULL;
	return mod_req_new(in, deadline_ms, done, arg);
}

void mod_req_rcpts(struct meta1_req *rq, mod_rcpt_fn fn, uint32_t nrcpt)
{
	rq->rcpt_seen = mod_arena(&rq->arena, (nrcpt + 7) / 8);
	rq->nrcpt = rq->rcpt_seen ? nrcpt : 0;
	rq->rcpt = fn;
}

void mod_req_on_drop(struct meta1_req *rq, void (*fn)(void *, const void *), void *arg)
{
	rq->drop = fn;
	rq->drop_arg = arg;
}

void mod_req_keep(struct meta1_req *rq, void (*let_go)(void *), void *kept)
{
	rq->let_go = let_go;
	rq->kept = kept;
}

void mod_req_uncancelled(struct meta1_req *rq)
{
	rq->uncancelled = true;
}

/* The module has let go of it: not open any more, but it still needs the instance. */
static void settled(struct meta1_req *rq, enum state next)
{
	struct mod_inst *in = rq->in;

	rq->due = 0;
	TAILQ_REMOVE(&in->open, rq, link);
	in->nopen--;
	mod_ref(in);
	rq->state = next;
}

static void release(struct meta1_req *rq)
{
	struct mod_inst *in = rq->in;
	struct meta1_req *old;

	mod_arena_clear(&rq->arena, in->m->kind == META1_AUTH); /* words of an exchange */
	if (rq->let_go)
		rq->let_go(rq->kept);
	task_cancel(&rq->tell);
	rq->state = R_FREE;
	TAILQ_INSERT_TAIL(&in->free, rq, link);
	if (++in->nfree > 2 * FREE_KEPT) {
		old = TAILQ_FIRST(&in->free);
		TAILQ_REMOVE(&in->free, old, link);
		in->nfree--;
		unwatch(old);
		free(old);
	}
	if (in->closed)
		unwatch(rq);
	mod_unref(in);
}

static void drop(struct meta1_req *rq, const void *ext)
{
	if (ext && rq->drop)
		rq->drop(rq->drop_arg, ext);
}

/* ---- telling the asker ---- */

static void tell_results(struct meta1_req *rq)
{
	struct result *r;

	while ((r = rq->results)) {
		rq->results = r->next;
		if (!rq->results)
			rq->results_tail = &rq->results;
		if (rq->rcpt)
			rq->rcpt(rq->arg, r->rcpt, r->st, &r->reply);
	}
}

static void tell(void *arg)
{
	struct meta1_req *rq = arg;
	mod_done_fn done;

	rq->hold = true;
	tell_results(rq);
	rq->hold = false;
	if (rq->state == R_DONE) {
		release(rq);
		return;
	}
	if (rq->state != R_ANSWERED && rq->state != R_DEAD)
		return;
	done = rq->done;
	rq->done = NULL;
	if (done)
		done(rq->arg, rq->st, &rq->reply);
	else
		drop(rq, rq->reply.ext);
	if (rq->state != R_DEAD)
		release(rq);
}

/* Nobody asks any more. The module may finish it inside its cancel(). */
static void leave(struct meta1_req *rq)
{
	struct mod_inst *in = rq->in;
	int64_t wait = rq->deadline - rq->start;

	wait = wait < 500 ? 500 : wait > 1800000 ? 1800000 : wait;
	rq->done = NULL;
	rq->rcpt = NULL;
	rq->state = R_LATE;
	atomic_store(&rq->gone, true);
	if (rq->due != 0)
		arm(rq, loop_now(in->host->loop) + 2 * wait);
	if (!rq->uncancelled && !rq->job && in->cancel)
		in->cancel(in->data, rq);
}

static void deadline_passed(struct meta1_req *rq)
{
	struct meta1_reply r = {.size = sizeof(r)};
	mod_done_fn done;
	void *arg = rq->arg;
	char text[64];

	snprintf(text, sizeof(text), "no answer within %lld ms",
	    (long long)(rq->deadline > rq->start ? rq->deadline - rq->start : 0));
	r.text = text;
	rq->hold = true;
	tell_results(rq); /* what is known is known */
	done = rq->done;
	if (rq->state == R_OPEN)
		leave(rq);
	if (done)
		done(arg, META1_TEMPFAIL, &r); /* what was kept is there still */
	rq->hold = false;
	if (rq->state == R_DONE)
		release(rq);
}

static void timer_fired(int fd, short what, void *arg)
{
	struct meta1_req *rq = arg;

	(void)fd, (void)what;
	rq->armed = 0;
	if (rq->due > loop_now(rq->in->host->loop))
		arm(rq, rq->due);
	else if (rq->due != 0 && rq->state == R_OPEN)
		deadline_passed(rq);
	else if (rq->due != 0 && rq->state == R_LATE)
		mod_fault(rq->in, "a request is not finished %lld ms after cancel()",
		    (long long)(loop_now(rq->in->host->loop) - rq->deadline));
}

void mod_req_cancel(struct meta1_req **rqp)
{
	struct meta1_req *rq = *rqp;

	*rqp = NULL;
	if (!rq || !rq->done)
		return; /* told already */
	if (rq->state == R_OPEN) {
		leave(rq);
		return;
	}
	rq->done = NULL;
	rq->rcpt = NULL;
	if (rq->hold || rq->state == R_DEAD)
		return;
	drop(rq, rq->reply.ext);
	release(rq);
}

/* ---- what the module says ---- */

static void answer(struct meta1_req *rq, enum meta1_status st, const struct meta1_reply *reply)
{
	rq->st = st <= META1_CANCELED ? st : META1_TEMPFAIL; /* of an ABI that is newer */
	if (!mod_reply_copy(&rq->arena, &rq->reply, reply) || rq->rcpt_lost) {
		rq->st = META1_TEMPFAIL;
		rq->reply = (struct meta1_reply){
		    .size = sizeof(rq->reply), .text = too_large, .ext = rq->reply.ext};
	}
}

static void host_finish(struct meta1_req *rq, enum meta1_status st, const struct meta1_reply *reply)
{
	struct mod_inst *in = rq->in;
	const void *ext;

	if (rq->job) { /* on the thread: look.c takes it up when the thread is done with it */
		rq->job_twice = rq->job_answered;
		if (!rq->job_answered)
			answer(rq, st, reply);
		rq->job_answered = true;
		return;
	}
	switch (rq->state) {
	case R_OPEN:
		answer(rq, st, reply);
		settled(rq, R_ANSWERED);
		loop_defer(in->host->loop, &rq->tell);
		mod_settled(in);
		break;
	case R_LATE:
		ext = reply && META1_HAS(reply, ext) ? reply->ext : NULL;
		settled(rq, R_DONE);
		drop(rq, ext);
		mod_settled(in);
		if (!rq->hold)
			release(rq);
		break;
	case R_DEAD:
		mod_fault(in, "a request was finished after close()");
		break;
	default:
		mod_fault(in, "a request was finished twice");
	}
}

static void host_rcpt_result(
    struct meta1_req *rq, uint32_t rcpt, enum meta1_status st, const struct meta1_reply *reply)
{
	struct result *r;

	if (rq->state == R_LATE)
		return;
	if (rq->state != R_OPEN || rcpt >= rq->nrcpt || rq->rcpt_seen[rcpt / 8] & 1u << rcpt % 8) {
		mod_fault(rq->in, "result of recipient %u of %u: %s", rcpt, rq->nrcpt,
		    rq->state != R_OPEN ? "after finish()"
		    : rcpt >= rq->nrcpt ? "there is none"
					: "given twice");
		return;
	}
	rq->rcpt_seen[rcpt / 8] |= (uint8_t)(1u << rcpt % 8);
	r = mod_arena(&rq->arena, sizeof(*r));
	if (!r || !mod_reply_copy(&rq->arena, &r->reply, reply)) {
		mod_fault(rq->in, "result of recipient %u: %s", rcpt, too_large);
		rq->rcpt_lost = true;
		return;
	}
	r->rcpt = rcpt;
	r->st = st <= META1_CANCELED ? st : META1_TEMPFAIL;
	*rq->results_tail = r;
	rq->results_tail = &r->next;
	loop_defer(rq->in->host->loop, &rq->tell);
}

static void *host_req_alloc(struct meta1_req *rq, size_t n)
{
	bool open = rq->job || rq->state == R_OPEN || rq->state == R_LATE;

	return open ? mod_arena(&rq->arena, n) : NULL;
}

static void **host_req_slot(struct meta1_req *rq)
{
	return &rq->slot;
}

static int64_t host_req_deadline(struct meta1_req *rq)
{
	return rq->deadline;
}

static struct meta1_ctx *host_req_ctx(struct meta1_req *rq)
{
	return (struct meta1_ctx *)rq->in;
}

void mod_req_table(struct meta1_host *t)
{
	t->req_alloc = host_req_alloc;
	t->req_slot = host_req_slot;
	t->req_deadline = host_req_deadline;
	t->req_ctx = host_req_ctx;
	t->finish = host_finish;
	t->rcpt_result = host_rcpt_result;
}

/* ---- for look.c and inst.c ---- */

void mod_req_answer(struct meta1_req *rq, enum meta1_status st, const struct meta1_reply *r)
{
	host_finish(rq, st, r);
}

void mod_req_refuse(struct meta1_req *rq, const char *text)
{
	struct meta1_reply r = {.size = sizeof(r), .text = text};

	host_finish(rq, META1_TEMPFAIL, &r);
}

void *mod_req_arena(struct meta1_req *rq, size_t n)
{
	return mod_arena(&rq->arena, n);
}

void mod_req_job(struct meta1_req *rq, bool on_thread)
{
	rq->job = on_thread;
}

bool mod_req_gone(const struct meta1_req *rq)
{
	return atomic_load(&rq->gone);
}

void mod_req_job_end(struct meta1_req *rq)
{
	struct mod_inst *in = rq->in;

	rq->job = false;
	if (rq->job_twice)
		mod_fault(in, "a request was finished twice");
	if (!rq->job_answered && rq->state == R_OPEN)
		mod_fault(in, "a blocking look-up came back without finish()");
	if (rq->state == R_LATE) {
		host_finish(rq, META1_CANCELED, &rq->reply);
	} else if (!rq->job_answered) {
		mod_req_refuse(rq, "the module gave no answer");
	} else {
		settled(rq, R_ANSWERED);
		loop_defer(in->host->loop, &rq->tell);
		mod_settled(in);
	}
}

void mod_req_drop(struct mod_inst *in)
{
	struct meta1_req *rq;

	TAILQ_FOREACH (rq, &in->free, link)
		unwatch(rq);
	while ((rq = TAILQ_FIRST(&in->open))) {
		settled(rq, R_DEAD);
		unwatch(rq);
		TAILQ_INSERT_TAIL(&dead, rq, link);
		rq->st = META1_TEMPFAIL;
		rq->reply = (struct meta1_reply){
		    .size = sizeof(rq->reply), .text = "the module was closed"};
		if (rq->done)
			loop_defer(in->host->loop, &rq->tell);
	}
}

void mod_req_free(struct mod_inst *in)
{
	struct meta1_req *rq;

	while ((rq = TAILQ_FIRST(&in->free))) {
		TAILQ_REMOVE(&in->free, rq, link);
		unwatch(rq);
		free(rq);
	}
}
