/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * iso_ask.c -- questions to a worker. A place is free again when the worker has answered, also a
 * question that nobody waits for any more: so what it owes is known, and a worker that owes an
 * answer ISO_MARGIN_MS beyond the deadline hangs and is killed.
 * Comes from the kinds (iso_map.c ...), the law of requests (cancel) and iso.c (frames); goes to
 * wire.c. Owns the places. On failure: the request is a temporary failure, at once.
 */
#include "mod/iso.h"

#include "lib/log.h"

#include <stdlib.h>

#define ASKS_MAX   65535 /* 16 bits of a number say which place */
#define LOOK_EVERY 250	 /* ms, while there are questions */

static void fail(struct iso *i, struct meta1_req *rq, void *of, const char *why)
{
	struct meta1_reply r = {.size = sizeof(r), .text = why};

	if (rq && i->kind->refused)
		i->kind->refused(i, rq, of, why);
	else if (rq)
		i->in->table.finish(rq, META1_TEMPFAIL, &r);
}

static void let_go(struct iso *i, struct iso_ask *a)
{
	a->used = false;
	a->rq = NULL;
	i->nopen--;
	i->copied -= a->copied;
	if (a->copied)
		iso_copy_next(i);
	a->copied = 0;
}

static struct iso_ask *place(struct iso *i)
{
	uint32_t n;

	if (i->nopen == i->nask) {
		n = i->nask ? 2 * i->nask : 64;
		if (n > ASKS_MAX)
			n = ASKS_MAX;
		if (n == i->nask)
			return NULL;
		i->ask = base_realloc(i->ask, n * sizeof(*i->ask));
		memset(i->ask + i->nask, 0, (n - i->nask) * sizeof(*i->ask));
		i->next_ask = i->nask;
		i->nask = n;
	}
	while (i->ask[i->next_ask].used)
		i->next_ask = (i->next_ask + 1) % i->nask;
	return &i->ask[i->next_ask];
}

int64_t iso_left(struct iso *i, struct meta1_req *rq)
{
	int64_t end = i->in->table.req_deadline(rq), now = loop_now(i->in->host->loop);

	return end == INT64_MAX ? INT64_MAX / 2 : end > now ? end - now : 0;
}

bool iso_put(struct iso *i, struct meta1_req *rq, uint16_t type, const struct shape *s,
    const void *msg, int *fds, unsigned nfd, void *of)
{
	struct iso_ask *a = i->state == ISO_UP ? place(i) : NULL;
	struct loop *l = i->in->host->loop;
	int64_t left = iso_left(i, rq);

	/* also without a place: it closes them */
	if (!wire_send(a ? i->wire : NULL, type,
		a ? (uint32_t)(a - i->ask) | (uint32_t)(uint16_t)(a->serial + 1) << 16 : 0, s, msg,
		fds, nfd)) {
		fail(i, rq, of,
		    i->state != ISO_UP ? "its worker process is not there"
		    : a		       ? "the question is too large for its worker process"
				       : "too many questions are with its worker process");
		return false;
	}
	a->used = true;
	a->drain = type == ISO_DRAIN;
	a->serial++;
	a->rq = rq;
	a->of = of;
	a->until = loop_now(l) + left + ISO_MARGIN_MS;
	*i->in->table.req_slot(rq) = (void *)(uintptr_t)(a - i->ask + 1);
	if (i->nopen++ == 0) {
		i->heard = loop_now(l);
		i->pinged = 0;
		if (!i->hang)
			i->hang = loop_timer(l, LOOK_EVERY, iso_late, i);
		else
			loop_rearm(i->hang, LOOK_EVERY);
	}
	return true;
}

static struct iso_ask *ask_of(struct iso *i, struct meta1_req *rq)
{
	uintptr_t k = (uintptr_t)*i->in->table.req_slot(rq);
	struct iso_ask *a = k && k <= i->nask ? &i->ask[k - 1] : NULL;

	return a && a->used && a->rq == rq ? a : NULL;
}

void iso_charge(struct iso *i, struct meta1_req *rq, uint64_t bytes)
{
	i->copied += bytes;
	ask_of(i, rq)->copied = bytes;
}

/* Of the law of requests: the module lets go at once, the worker when it has heard of it. */
void iso_cancel(void *inst, struct meta1_req *rq)
{
	struct iso *i = inst;
	struct iso_ask *a = ask_of(i, rq);

	if (a) {
		a->rq = NULL;
		wire_send(i->wire, ISO_CANCEL, (uint32_t)(a - i->ask) | (uint32_t)a->serial << 16,
		    NULL, NULL, NULL, 0);
	}
	i->in->table.finish(rq, META1_CANCELED, NULL);
}

/* The instance is to be closed: the module may have to finish what no question tells of. */
void iso_drain(void *inst, struct meta1_req *rq)
{
	struct iso *i = inst;
	const struct iso_drain m = {.ms = iso_left(i, rq)};

	iso_put(i, rq, ISO_DRAIN, &iso_shape_drain, &m, NULL, 0, NULL);
}

const struct iso_ask *iso_asked(const struct iso *i, uint32_t id)
{
	uint32_t k = id & 0xffff;

	return k < i->nask && i->ask[k].used && i->ask[k].serial == id >> 16 ? &i->ask[k] : NULL;
}

/* Each question has one. */
bool iso_answer(struct iso *i, struct wire_frame *f)
{
	struct iso_ask copy;

	if (!iso_asked(i, f->id))
		return false;
	copy = i->ask[f->id & 0xffff];
	let_go(i, &i->ask[f->id & 0xffff]);
	if (copy.rq && copy.drain)
		i->in->table.finish(copy.rq, META1_OK, NULL);
	else if (copy.rq)
		return i->kind->answered(i, &copy, f);
	return true;
}

/* Of some kinds an answer has another shape than a failure. */
bool iso_untold(struct iso *i, struct wire_frame *f)
{
	struct iso_ask copy;

	if (!iso_asked(i, f->id))
		return false;
	copy = i->ask[f->id & 0xffff];
	let_go(i, &i->ask[f->id & 0xffff]);
	if (copy.rq)
		fail(i, copy.rq, copy.of, "the answer is too large for a worker process");
	return true;
}

void iso_fail_all(struct iso *i, const char *why)
{
	loop_unwatch(&i->hang);
	for (uint32_t k = 0; k < i->nask; k++) {
		struct iso_ask *a = &i->ask[k];
		struct meta1_req *rq = a->rq;

		if (!a->used)
			continue;
		let_go(i, a);
		fail(i, rq, a->of, why);
	}
}

static bool owes(const struct iso *i, int64_t now)
{
	for (uint32_t k = 0; k < i->nask; k++)
		if (i->ask[k].used && i->ask[k].until < now)
			return true;
	return false;
}

/* A worker that says nothing for long while it has questions is asked whether it is there: some
 * deadlines are of an hour. */
static bool silent(struct iso *i, int64_t now)
{
	int64_t limit = ISO_SILENT_MS;

#ifdef META1_DEVELOPER
	/* tests cannot wait as long as an admin wants us to */
	if (getenv("META1_WORKER_PING_MS"))
		limit = atoi(getenv("META1_WORKER_PING_MS"));
#endif
	if (now - i->heard < limit)
		return false;
	if (i->pinged)
		return now - i->pinged >= limit;
	i->pinged = now;
	wire_send(i->wire, ISO_PING, 0, NULL, NULL, NULL, 0);
	return false;
}

void iso_late(int fd, short what, void *arg)
{
	struct iso *i = arg;
	int64_t now = loop_now(i->in->host->loop);

	(void)fd, (void)what;
	if (i->state == ISO_OPENING)
		iso_lost(i, "no answer within 20 s");
	if (!i->nopen || i->state != ISO_UP)
		return;
	/* it may be us who were late: what is there counts */
	if (owes(i, now) || silent(i, now))
		wire_read(i->wire);
	if (i->state == ISO_UP && (owes(i, now) || silent(i, now)))
		iso_lost(i, "does not answer");
	else if (i->nopen)
		loop_rearm(i->hang, LOOK_EVERY);
}
