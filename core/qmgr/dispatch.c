/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dispatch.c -- hands deliveries to smtpc processes and takes their results. A destination
 * keeps to one process while that has credits, so that its connections are used again.
 * Comes from sched.c; results go to outcome.c. Owns couriers and deliveries.
 * On failure: an smtpc that goes away gives back what it had no result for, to be tried at once
 * by another (the second time it counts as the host's failure). One that stops in order says so
 * (WINDOW of nothing, CANCELED): what it gives back was no try, and it gets nothing more.
 */
#include "qmgr/qmgr.h"

#include <stdlib.h>

METRIC_GAUGE(m_now, "deliveries_now", "Deliveries at smtpc.");
METRIC_COUNTER(m_deliveries, "deliveries_total", "Deliveries handed to smtpc.");
METRIC_COUNTER(m_reused, "deliveries_reused_total", "Deliveries over a connection used before.");
METRIC_COUNTER(m_dead, "destinations_dead_total", "Times that a destination was found dead.");

struct qmgr_delivery {
	UT_hash_handle hh;
	struct qmgr_delivery *next, *prev; /* of its courier */
	struct qmgr_courier *courier;
	struct qmgr_msg *msg;
	struct qmgr_dest *dest;
	uint64_t number;
	int64_t started;
	struct qmgr_tally tally;
	uint32_t n;		  /* recipients handed over */
	uint32_t held;		  /* taken from the schedule: those and deleted ones */
	struct qmgr_rcpt *rcpt[]; /* NULL: its result is known */
};

/* ---- couriers ---- */

void qmgr_dispatch_up(struct qmgr *q, struct chan *c)
{
	struct qmgr_courier *k = base_alloc(sizeof(*k));

	k->chan = c;
	*chan_slot(c) = k;
	DL_APPEND(q->couriers, k);
	q->ncourier++;
}

/* The one that the destination's name says, or else the next one that can take it. */
static struct qmgr_courier *choose(struct qmgr *q, const struct qmgr_dest *d)
{
	unsigned start = d ? d->hh.hashv % q->ncourier : 0;
	struct qmgr_courier *k = q->couriers, *first;
	unsigned i;

	for (i = 0; i < start; i++)
		k = k->next;
	first = k;
	do {
		if (k->credits && !k->blocked)
			return k;
		k = k->next ? k->next : q->couriers;
	} while (k != first);
	return NULL;
}

/* ---- deliveries ---- */

static void delivery_free(struct qmgr *q, struct qmgr_delivery *v)
{
	HASH_DELETE(hh, q->deliveries, v);
	DL_DELETE(v->courier->deliveries, v);
	m_now.value = --q->ndelivery;
	qmgr_outcome_log(q, &v->tally);
	free(v);
}

void qmgr_dispatch_later(struct qmgr *q, struct qmgr_rcpt *r, int64_t ms, enum qmgr_cause cause)
{
	qmgr_active_leave(q, r);
	qmgr_active_wait(q, r, loop_now(q->loop) + ms);
	r->cause = (uint8_t)cause;
	qmgr_bounce_late(q, r);
	qmgr_bounce_check(q, qmgr_msg_of(r));
}

/* A dead destination holds nothing: what waits for it waits until it may be tried again. That
 * is no try, so it is neither logged nor recorded. */
void qmgr_dispatch_put_off(
    struct qmgr *q, struct qmgr_dest *d, struct qmgr_rcpt *r, struct qmgr_tally *t)
{
	int64_t now = loop_now(q->loop), dead = qmgr_sched_dead(d, now);
	struct qmgr_msg *m = qmgr_msg_of(r);

	if (now - m->born >= q->lim.max_queue || r->state != META1_R_WAITING) {
		struct qmgr_result res = {.status = META1_TEMPFAIL,
		    .scope = META1_ABOUT_HOST,
		    .dsn = buf_str("4.4.1"),
		    .text = buf_str("no host of the destination answers"),
		    .reason = d->why};

		if (res.reason)
			res.reason->refs++;
		qmgr_outcome(q, r, &res, dead, t);
		qmgr_outcome_end(&res);
		return;
	}
	if (d->why)
		qmgr_reason_set(r, d->why);
	qmgr_active_block(q, r, d);
}

static void sweep(struct qmgr *q, struct qmgr_dest *d)
{
	struct qmgr_tally t = {0};
	struct qmgr_item *i;

	while ((i = qmgr_sched_take(&q->sched, d)))
		qmgr_dispatch_put_off(q, d, (struct qmgr_rcpt *)i, &t);
	qmgr_outcome_log(q, &t);
}

static bool hand_over(struct qmgr *q, struct qmgr_courier *k, struct qmgr_delivery *v)
{
	static struct meta1_buf addr[QMGR_RCPTS_MAX], orcpt[QMGR_RCPTS_MAX];
	static uint64_t notify[QMGR_RCPTS_MAX];
	const struct qmgr_hops *hops = v->dest->hops;
	const struct qmgr_msg *m = v->msg;
	struct p_deliver msg = {.delivery = v->number,
	    .id = buf_str(m->id),
	    .key = buf_of(v->dest->key, v->dest->named),
	    .transport = buf_str(hops->transport),
	    .hops = hops->hop,
	    .conf = hops->conf,
	    .conf_of = hops->conf_of,
	    .conf_rcpt = hops->conf_rcpt,
	    .secure = hops->secure,
	    .need = hops->need,
	    .need_of = hops->need_of,
	    .rcpts = {addr, v->n},
	    .ref = buf_of(m->ref.b, m->ref.len),
	    .flags = m->flags,
	    .bytes = m->bytes,
	    .envid = buf_str(m->envid),
	    .notify = {notify, m->dsn ? v->n : 0},
	    .orcpts = {orcpt, m->dsn ? v->n : 0}};
	char verp[QMGR_VERP_MAX + 1];
	uint32_t i;

	msg.from = buf_str(qmgr_msg_return(q, v->rcpt[0], verp));
	for (i = 0; i < v->n; i++) {
		addr[i] = buf_str(v->rcpt[i]->addr);
		if (!m->dsn)
			continue;
		notify[i] = v->rcpt[i]->notify;
		orcpt[i] = buf_str(v->rcpt[i]->sender ? "" : qmgr_msg_orcpt(v->rcpt[i]));
	}
	return chan_send(k->chan, P_DELIVER, &msg);
}

/* What smar said of the destination before its data changed (hops, what they are asked of TLS)
 * holds no more, nor does what TLS must achieve when its time is over, for a certificate may have
 * been changed with its TLSA record. */
static bool stale(const struct qmgr *q, const struct qmgr_dest *d)
{
	return d->epoch != q->route_epoch || (d->fresh_until && d->fresh_until < loop_now(q->loop));
}

/* Takes the items: those still wanted become a delivery. NULL: none is. Those that have waited with
 * what is stale now are asked about anew, also where the route of their own domain still holds: an
 * answer for another domain with these hosts may have said that it holds for a shorter time. */
static struct qmgr_delivery *delivery_new(
    struct qmgr *q, struct qmgr_dest *d, struct qmgr_list *items)
{
	struct qmgr_delivery *v = base_alloc(sizeof(*v) + items->n * sizeof(struct qmgr_rcpt *));
	bool old = stale(q, d);
	struct qmgr_item *i;

	v->held = items->n;
	while ((i = qmgr_list_pop(items))) {
		struct qmgr_rcpt *r = (struct qmgr_rcpt *)i;

		if (r->state != META1_R_WAITING) { /* deleted meanwhile */
			qmgr_active_leave(q, r);
			qmgr_outcome_final(q, r, r->state);
			continue;
		}
		if (old)
			qmgr_route_anew(q, r);
		if (qmgr_mark_held(r) || r->anew || old) { /* said meanwhile */
			qmgr_dispatch_later(q, r, 0, QW_RETRY);
			continue;
		}
		r->phase = QP_SENT;
		v->rcpt[v->n++] = r;
		v->msg = qmgr_msg_of(r);
	}
	if (!v->n) {
		free(v);
		return NULL;
	}
	v->dest = d;
	v->tally.msg = v->msg;
	v->number = ++q->delivery_seq;
	v->started = loop_now(q->loop);
	return v;
}

static void undo(struct qmgr *q, struct qmgr_delivery *v)
{
	uint32_t i;

	for (i = 0; i < v->n; i++) {
		v->rcpt[i]->phase = QP_QUEUED;
		qmgr_sched_add(&q->sched, v->dest, v->msg->from, &v->rcpt[i]->item);
	}
	qmgr_sched_unsent(&q->sched, v->dest, v->held, v->started);
	free(v);
}

void qmgr_dispatch_pump(struct qmgr *q)
{
	struct qmgr_courier *k;
	struct qmgr_delivery *v;
	struct qmgr_list items;
	struct qmgr_dest *d;
	uint32_t n;

	while (!q->stopping && q->couriers && choose(q, NULL) &&
	       (d = qmgr_sched_next(&q->sched, &items, loop_now(q->loop)))) {
		n = items.n;
		v = delivery_new(q, d, &items);
		if (!v) {
			qmgr_sched_unsent(&q->sched, d, n, loop_now(q->loop));
			continue;
		}
		k = choose(q, d);
		if (!hand_over(q, k, v)) {
			k->blocked = true;
			undo(q, v);
			continue;
		}
		k->credits--;
		v->courier = k;
		DL_APPEND(k->deliveries, v);
		HASH_ADD(hh, q->deliveries, number, sizeof(v->number), v);
		m_deliveries.value++;
		m_now.value = ++q->ndelivery;
	}
	if (qmgr_sched_rest(&q->sched) != INT64_MAX)
		loop_rearm(q->rest, qmgr_sched_rest(&q->sched) - loop_now(q->loop));
}

/* ---- results ---- */

static void one(struct qmgr *q, struct qmgr_delivery *v, uint32_t i, struct qmgr_result *res)
{
	struct qmgr_rcpt *r = v->rcpt[i];

	v->rcpt[i] = NULL;
	if (r)
		qmgr_outcome(q, r, res, qmgr_sched_dead(v->dest, loop_now(q->loop)), &v->tally);
}

static enum qmgr_fate fate_of(const struct qmgr_result *res, bool some)
{
	if (res->status == META1_OK || some)
		return QF_OK;
	if (res->scope == META1_ABOUT_HOST)
		return res->smtp ? QF_REFUSED : QF_NOBODY;
	return res->status == META1_PERMFAIL ? QF_OK : QF_NEUTRAL;
}

/* The delivery is over: those without a result get this one. */
static void over(
    struct qmgr *q, struct qmgr_delivery *v, struct qmgr_result *res, enum qmgr_fate fate)
{
	struct qmgr_dest *d = v->dest;
	bool was = qmgr_sched_dead(d, loop_now(q->loop)) > 0, dead;
	uint32_t i;

	d->refs++; /* it outlives its last delivery until we are through */
	dead = qmgr_sched_done(&q->sched, d, v->held, fate, v->started, loop_now(q->loop));
	for (i = 0; i < v->n; i++)
		one(q, v, i, res);
	if (res->reason && fate >= QF_REFUSED) {
		qmgr_reason_drop(&d->why);
		d->why = res->reason;
		d->why->refs++;
	}
	if (dead) {
		if (!was) {
			m_dead.value++;
			log_event(LOG_L_WARN, "qmgr.dead", "destination=%s for_s=%lld reply=%s",
			    d->key, (long long)d->dead_delay / 1000, d->why ? d->why->line : "");
		}
		sweep(q, d);
	}
	qmgr_outcome_end(res);
	delivery_free(q, v);
	qmgr_lane_check(q, d);
	qmgr_sched_unref(&q->sched, &d, loop_now(q->loop));
	qmgr_kick(q);
	if (q->stopping)
		qmgr_stop_check(q);
}

static void courier_free(struct qmgr *q, struct qmgr_courier *k)
{
	DL_DELETE(q->couriers, k);
	q->ncourier--;
	free(k);
}

void qmgr_dispatch_down(struct qmgr *q, struct chan *c)
{
	struct qmgr_courier *k = *chan_slot(c);
	struct qmgr_delivery *v;

	if (!k)
		return;
	*chan_slot(c) = NULL;
	while ((v = k->deliveries)) {
		struct qmgr_result res = {.status = k->leaving ? META1_CANCELED : META1_TEMPFAIL,
		    .scope = META1_ABOUT_SESSION,
		    .dsn = buf_str("4.3.0"),
		    .text = buf_str("the delivery was cut off")};

		over(q, v, &res, QF_NEUTRAL);
	}
	courier_free(q, k);
}

void qmgr_dispatch_free_all(struct qmgr *q)
{
	while (q->couriers) {
		*chan_slot(q->couriers->chan) = NULL;
		while (q->couriers->deliveries)
			delivery_free(q, q->couriers->deliveries);
		courier_free(q, q->couriers);
	}
}

static struct qmgr_delivery *find(struct qmgr *q, struct chan *c, uint64_t number)
{
	struct qmgr_courier *k = *chan_slot(c);
	struct qmgr_delivery *v;

	if (k)
		k->blocked = false;
	HASH_FIND(hh, q->deliveries, &number, sizeof(number), v);
	return v && v->courier == k ? v : NULL;
}

void qmgr_dispatch_window(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	struct qmgr_courier *k = *chan_slot(c);
	const struct p_window *m = msg;

	(void)req;
	if (!k)
		return;
	k->blocked = false;
	if (!m->credits)
		k->leaving = true;
	k->credits = k->leaving ? 0 : k->credits + m->credits;
	qmgr_kick(arg);
}

void qmgr_dispatch_result(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	const struct p_rcpt_result *m = msg;
	struct qmgr_delivery *v = find(arg, c, m->delivery);
	struct qmgr_result res = {.status = (enum meta1_status)m->status,
	    .scope = META1_ABOUT_MAIL,
	    .taken = (enum meta1_taken)m->taken,
	    .smtp = (unsigned)m->smtp,
	    .dsn = m->dsn,
	    .text = m->text,
	    .host = m->host,
	    .tls = m->tls};

	(void)req;
	if (!v || m->rcpt >= v->n)
		return;
	one(arg, v, (uint32_t)m->rcpt, &res);
	qmgr_outcome_end(&res);
}

void qmgr_dispatch_delivered(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	const struct p_delivered *m = msg;
	struct qmgr_delivery *v = find(arg, c, m->delivery);
	struct qmgr_result res = {.status = (enum meta1_status)m->status,
	    .scope = (enum meta1_scope)m->scope,
	    .taken = (enum meta1_taken)m->taken,
	    .smtp = (unsigned)m->smtp,
	    .dsn = m->dsn,
	    .text = m->text,
	    .host = m->host,
	    .tls = m->tls};
	uint32_t i, left = 0;

	(void)req;
	if (!v)
		return;
	for (i = 0; i < v->n; i++)
		left += v->rcpt[i] != NULL;
	m_reused.value += m->reused != 0;
	over(arg, v, &res, fate_of(&res, left < v->n && res.scope == META1_ABOUT_MAIL));
}
