/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * req.c -- the law of requests as the kit sees it: each is finished exactly once, on the loop,
 * with a reply that says what its kind may say; the asker hears of it on a later turn, at the
 * latest at the deadline; after cancel() it is finished soon.
 * Comes from suites (kit_req_new, kit_lookup) and modules (finish); goes to the asker.
 * Owns requests; finished ones are kept for a while, so that a second finish() is seen.
 * On failure: a broken law is a fault, never a crash.
 */
#include "host_priv.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define RING	  4096
#define LATE_MIN  500
#define LATE_MAX  1800000
#define BYTES_MAX (16u << 20)

/*	OPEN --finish--> ANSWERED --told--> PAST
 *	OPEN --deadline, cancel--> LATE --finish, dropped--> PAST
 *	OPEN, LATE --close--> DEAD */
enum state { OPEN, ANSWERED, LATE, PAST, DEAD };

struct block {
	struct block *next;
	_Alignas(max_align_t) unsigned char b[];
};

struct result {
	struct result *next;
	uint32_t rcpt;
	enum meta1_status st;
	struct meta1_reply reply;
};

struct meta1_req {
	TAILQ_ENTRY(meta1_req) link;
	struct kit_inst *in;
	enum state state;
	bool uncancelled, on_thread; /* on_thread: state is the loop's, not looked at there */
	atomic_bool left;	     /* for the thread too: nobody asks any more */
	unsigned said;		     /* finish() on a thread */
	kit_done_fn done;
	void *arg;
	kit_rcpt_fn rcpt;
	uint32_t nrcpt;
	uint8_t *seen;
	struct result *results, **tail;
	int64_t start, deadline;
	void *slot;
	struct watch *timer;
	struct task tell;
	enum meta1_status st;
	struct meta1_reply reply;
	struct block *blocks;
	size_t bytes;
	struct meta1_buf key; /* kit_lookup() */
};

struct kit_ring {
	struct meta1_req *r[RING];
	unsigned at;
};
/* ---- life ---- */

static void *block(struct meta1_req *rq, size_t n)
{
	struct block *b = base_alloc(sizeof(*b) + n);

	b->next = rq->blocks;
	rq->blocks = b;
	rq->bytes += n;
	return b->b;
}

static void blocks_free(struct meta1_req *rq)
{
	struct block *b;

	while ((b = rq->blocks)) {
		rq->blocks = b->next;
		free(b);
	}
	rq->results = NULL;
}

static void req_free(struct meta1_req *rq)
{
	loop_unwatch(&rq->timer);
	task_cancel(&rq->tell);
	blocks_free(rq);
	kit_inst_unref(rq->in);
	free(rq);
}

static void past(struct meta1_req *rq)
{
	struct kit_host *h = rq->in->host;
	struct kit_ring *ring = h->ring;

	if (!ring)
		ring = h->ring = base_alloc(sizeof(*ring));
	loop_unwatch(&rq->timer);
	task_cancel(&rq->tell);
	blocks_free(rq);
	if (rq->state != DEAD)
		rq->state = PAST;
	if (ring->r[ring->at])
		req_free(ring->r[ring->at]);
	ring->r[ring->at] = rq;
	ring->at = (ring->at + 1) % RING;
}

void kit_ring_free(struct kit_host *h)
{
	for (unsigned i = 0; h->ring && i < RING; i++)
		if (h->ring->r[i])
			req_free(h->ring->r[i]);
	free(h->ring);
	h->ring = NULL;
}

static void tell(void *arg);
static void timer(int fd, short what, void *arg);

struct meta1_req *kit_req_new(struct kit_inst *in, int64_t deadline, kit_done_fn done, void *arg)
{
	struct loop *l = in->host->loop;
	struct meta1_req *rq = base_alloc(sizeof(*rq));

	*rq = (struct meta1_req){.in = in,
	    .done = done,
	    .arg = arg,
	    .start = loop_now(l),
	    .deadline = deadline,
	    .reply = {.size = sizeof(rq->reply)}};
	rq->tail = &rq->results;
	task_init(&rq->tell, tell, rq);
	kit_inst_ref(in);
	TAILQ_INSERT_TAIL(&in->open, rq, link);
	in->nopen++;
	if (deadline != INT64_MAX)
		rq->timer =
		    loop_timer(l, deadline > rq->start ? deadline - rq->start : 0, timer, rq);
	return rq;
}

void kit_req_rcpts(struct meta1_req *rq, kit_rcpt_fn fn, uint32_t nrcpt)
{
	rq->rcpt = fn;
	rq->nrcpt = nrcpt;
	rq->seen = block(rq, nrcpt / 8 + 1);
}

void kit_req_deadline(struct meta1_req *rq, int64_t deadline)
{
	rq->deadline = deadline;
	loop_rearm(rq->timer, deadline - rq->start);
}

void kit_req_uncancelled(struct meta1_req *rq)
{
	rq->uncancelled = true;
}

static void settled(struct meta1_req *rq, enum state next)
{
	TAILQ_REMOVE(&rq->in->open, rq, link);
	rq->in->nopen--;
	loop_unwatch(&rq->timer);
	rq->state = next;
}

/* ---- telling the asker ---- */

static void tell_results(struct meta1_req *rq)
{
	struct result *r;

	while ((r = rq->results)) {
		rq->results = r->next;
		if (!rq->results)
			rq->tail = &rq->results;
		if (rq->rcpt)
			rq->rcpt(rq->arg, r->rcpt, r->st, &r->reply);
	}
}

static void tell(void *arg)
{
	struct meta1_req *rq = arg;
	kit_done_fn done = rq->done;

	tell_results(rq);
	if (rq->state != ANSWERED && rq->state != DEAD)
		return;
	rq->done = NULL;
	if (done)
		done(rq->arg, rq->st, &rq->reply);
	past(rq);
}

static void leave(struct meta1_req *rq)
{
	struct kit_inst *in = rq->in;
	const struct meta1_module *m = in->m;
	void (*cancel)(void *, struct meta1_req *) =
	    m->kind == META1_MAP	 ? ((const struct meta1_map_ops *)m->ops)->cancel
	    : m->kind == META1_TRANSPORT ? ((const struct meta1_transport_ops *)m->ops)->cancel
	    : m->kind == META1_QUEUE	 ? ((const struct meta1_queue_ops *)m->ops)->cancel
	    : m->kind == META1_PMILTER	 ? ((const struct meta1_pmilter_ops *)m->ops)->cancel
	    : m->kind == META1_AUTH	 ? ((const struct meta1_auth_ops *)m->ops)->cancel
					 : NULL;
	int64_t wait = rq->deadline - rq->start;

	wait = wait < LATE_MIN ? LATE_MIN : wait > LATE_MAX ? LATE_MAX : wait;
	rq->done = NULL;
	rq->rcpt = NULL;
	rq->state = LATE;
	if (rq->timer)
		loop_rearm(rq->timer, 2 * wait);
	atomic_store(&rq->left, true);
	if (!rq->uncancelled && !rq->on_thread && cancel)
		cancel(in->data, rq); /* which may finish it */
}

static void timer(int fd, short what, void *arg)
{
	struct meta1_req *rq = arg;
	struct meta1_reply r = {.size = sizeof(r), .text = "no answer before the deadline"};
	kit_done_fn done = rq->done;
	void *darg = rq->arg;

	(void)fd, (void)what;
	if (rq->state == LATE) {
		kit_fault(rq->in->host, rq->in->name,
		    "a request is not finished long after its deadline or cancel()");
		return;
	}
	tell_results(rq);
	leave(rq);
	if (done)
		done(darg, META1_TEMPFAIL, &r);
}

void kit_req_cancel(struct meta1_req **rqp)
{
	struct meta1_req *rq = *rqp;

	*rqp = NULL;
	if (!rq || !rq->done)
		return;
	if (rq->state == OPEN) {
		leave(rq);
		return;
	}
	rq->done = NULL; /* it is on its way, to nobody */
	rq->rcpt = NULL;
}

/* ---- what the module says ---- */

static struct meta1_buf copy(struct meta1_req *rq, struct meta1_buf b)
{
	char *p = block(rq, b.len + 1);

	if (b.len)
		memcpy(p, b.data, b.len);
	return buf_of(p, b.len);
}

/* All that it points to is copied now: the module may free it behind the call. */
static void take(struct meta1_req *rq, struct meta1_reply *to, const struct meta1_reply *r)
{
	struct meta1_buf *val;
	uint32_t i;

	*to = (struct meta1_reply){.size = sizeof(*to)};
	if (!r)
		return;
	memcpy(to, r, r->size < sizeof(*to) ? r->size : sizeof(*to));
	to->size = sizeof(*to);
	to->dsn[sizeof(to->dsn) - 1] = '\0';
	val = to->nval ? block(rq, to->nval * sizeof(*val)) : NULL;
	for (i = 0; i < to->nval; i++)
		val[i] = copy(rq, to->val[i]);
	to->val = val;
	if (to->text)
		to->text = copy(rq, buf_str(to->text)).data;
	if (to->host)
		to->host = copy(rq, buf_str(to->host)).data;
	if (to->source)
		to->source = copy(rq, buf_str(to->source)).data;
}

static bool sayable(struct meta1_req *rq, const char *call, enum meta1_status st,
    const struct meta1_reply *r, bool final)
{
	struct kit_inst *in = rq->in;
	bool value = final && in->m->kind == META1_MAP && !rq->uncancelled;
	const char *bad = kit_say_bad(in->m->kind, st, r, atomic_load(&rq->left), value);

	if (bad)
		kit_fault(in->host, in->name, "%s: status %u: %s", call, (unsigned)st, bad);
	return !bad;
}

static void answer(struct meta1_req *rq, enum meta1_status st, const struct meta1_reply *r)
{
	bool good = sayable(rq, "finish()", st, r, true);

	rq->st = good ? st : META1_TEMPFAIL;
	take(rq, &rq->reply, good ? r : NULL);
}

static void host_finish(struct meta1_req *rq, enum meta1_status st, const struct meta1_reply *r)
{
	struct kit_inst *in = rq->in;

	if (rq->on_thread) { /* look_done() takes it up */
		if (rq->said++ == 0)
			answer(rq, st, r);
		return;
	}
	if (rq->state == PAST || rq->state == ANSWERED) {
		kit_fault(in->host, in->name, "a request was finished twice");
		return;
	}
	if (rq->state == DEAD) {
		kit_fault(in->host, in->name, "a request was finished after close()");
		return;
	}
	if (!kit_on_loop(in, "finish", false))
		return;
	if (rq->state == LATE) {
		sayable(rq, "finish()", st, r, false);
		settled(rq, PAST);
		past(rq);
		return;
	}
	answer(rq, st, r);
	settled(rq, ANSWERED);
	loop_defer(in->host->loop, &rq->tell);
}

static void host_rcpt_result(
    struct meta1_req *rq, uint32_t rcpt, enum meta1_status st, const struct meta1_reply *reply)
{
	struct kit_inst *in = rq->in;
	const char *bad = rq->state != OPEN && rq->state != LATE ? "after finish()"
			  : rcpt >= rq->nrcpt			 ? "there is none"
			  : rq->seen[rcpt / 8] & 1u << rcpt % 8	 ? "given twice"
								 : NULL;
	struct result *r;

	if (rq->state == LATE && rcpt < rq->nrcpt)
		return;
	if (bad) {
		kit_fault(
		    in->host, in->name, "result of recipient %u of %u: %s", rcpt, rq->nrcpt, bad);
		return;
	}
	if (!kit_on_loop(in, "rcpt_result", false) ||
	    !sayable(rq, "rcpt_result()", st, reply, false))
		return;
	rq->seen[rcpt / 8] |= (uint8_t)(1u << rcpt % 8);
	r = block(rq, sizeof(*r));
	*r = (struct result){.rcpt = rcpt, .st = st};
	take(rq, &r->reply, reply);
	*rq->tail = r;
	rq->tail = &r->next;
	loop_defer(in->host->loop, &rq->tell);
}

/* ---- small ones ---- */

static bool alive(struct meta1_req *rq, const char *call)
{
	if (rq->on_thread || rq->state == OPEN || rq->state == LATE)
		return true;
	kit_fault(rq->in->host, rq->in->name, "%s() of a request that is finished", call);
	return false;
}

static void *host_req_alloc(struct meta1_req *rq, size_t n)
{
	if (!alive(rq, "req_alloc") || kit_fails(rq->in) || rq->bytes + n > BYTES_MAX)
		return NULL;
	return block(rq, n);
}

static void **host_req_slot(struct meta1_req *rq)
{
	alive(rq, "req_slot");
	return &rq->slot;
}

static int64_t host_req_deadline(struct meta1_req *rq)
{
	alive(rq, "req_deadline");
	return rq->deadline;
}

static struct meta1_ctx *host_req_ctx(struct meta1_req *rq)
{
	alive(rq, "req_ctx");
	return (struct meta1_ctx *)rq->in;
}

void kit_req_table(struct meta1_host *t)
{
	t->req_alloc = host_req_alloc;
	t->req_slot = host_req_slot;
	t->req_deadline = host_req_deadline;
	t->req_ctx = host_req_ctx;
	t->finish = host_finish;
	t->rcpt_result = host_rcpt_result;
}

/* At close(): who still asks is told. */
void kit_req_drop(struct kit_inst *in)
{
	struct meta1_req *rq;

	while ((rq = TAILQ_FIRST(&in->open))) {
		settled(rq, DEAD);
		rq->st = META1_TEMPFAIL;
		rq->reply = (struct meta1_reply){.size = sizeof(rq->reply), .text = "closed"};
		loop_defer(in->host->loop, &rq->tell);
	}
}

/* ---- look-ups ---- */

static const struct meta1_map_ops *map_ops(const struct meta1_req *rq)
{
	return rq->in->m->ops;
}

static void look_work(void *arg)
{
	struct meta1_req *rq = arg;

	map_ops(rq)->lookup(rq->in->data, rq, rq->key);
}

static void look_done(void *arg)
{
	struct meta1_req *rq = arg;
	struct kit_inst *in = rq->in;

	rq->on_thread = false;
	if (rq->said != 1)
		kit_fault(
		    in->host, in->name, "a look-up on a thread was finished %u times", rq->said);
	if (rq->state == LATE) {
		settled(rq, PAST);
		past(rq);
		return;
	}
	if (!rq->said)
		rq->st = META1_TEMPFAIL;
	settled(rq, ANSWERED);
	loop_defer(in->host->loop, &rq->tell);
}

static void look(struct meta1_req *rq)
{
	const struct meta1_map_ops *ops = map_ops(rq);
	struct meta1_reply r = {.size = sizeof(r)};
	enum meta1_status st;

	if (META1_HAS(ops, find) && ops->find) {
		st = ops->find(rq->in->data, rq->key, &r);
		host_finish(rq, st, &r);
	} else if (!rq->in->blocking) {
		ops->lookup(rq->in->data, rq, rq->key);
	} else {
		rq->on_thread = true;
		if (kit_job(rq->in, look_work, look_done, rq))
			return;
		rq->on_thread = false;
		host_finish(rq, META1_TEMPFAIL, NULL);
	}
}

struct meta1_req *kit_lookup(
    struct kit_inst *in, struct meta1_buf key, int64_t deadline_ms, kit_done_fn done, void *arg)
{
	struct meta1_req *rq = kit_req_new(in, deadline_ms, done, arg);
	struct kit_nap nap;

	rq->key = copy(rq, key);
	kit_nap_begin(&nap);
	look(rq);
	kit_nap_end(&nap, in);
	return rq;
}
