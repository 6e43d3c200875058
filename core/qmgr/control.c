/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * control.c -- what meta1ctl and mailq ask of qmgr: the queue in pages, one message, destinations,
 * a summary; act.c changes, why.c explains. Comes from core/ctl/server.c; reads msg.c and sched.c
 * through page.c. Owns the place of a running flush. On failure: 404 for an id that is not queued,
 * 400 for a query that makes no sense. Every answer is bounded by its page.
 */
#include "qmgr/filter.h"
#include "qmgr/transfer.h"

#include "ctl/envelope.h"

#include <stdio.h>
#include <stdlib.h>

#define LIST_RCPTS 100	/* of one message; all of them are shown with it alone */
#define FLUSH_STEP 5000 /* messages and recipients a turn */

json_t *qmgr_text(const char *s)
{
	return envelope_text(s);
}

json_t *qmgr_refuse(int *status, struct meta1_err *err, int code, const char *what)
{
	*status = code;
	err_set(err, "%s", what);
	return NULL;
}

const char *qmgr_reason_line(const struct qmgr *q, const struct qmgr_rcpt *r)
{
	const struct qmgr_dest *d = qmgr_lane_dest(q, qmgr_msg_of(r)->slot);

	if (r->reason || !d || !d->why)
		return r->reason ? r->reason->line : "";
	return d->why->line;
}

static json_t *rcpt_json(struct qmgr *q, const struct qmgr_rcpt *r)
{
	bool timed = r->phase == QP_WAIT && r->due != INT64_MAX;
	int64_t in = timed ? r->due - loop_now(q->loop) : 0;
	int64_t next = timed ? loop_wall(q->loop) + (in > 0 ? in / 1000 : 0) : 0;

	return json_pack("{s:o s:s s:I s:I s:o s:o s:o}", "address", qmgr_text(r->addr), "state",
	    qmgr_state(r), "tries", (json_int_t)r->tries, "next_try", (json_int_t)next, "reason",
	    qmgr_text(qmgr_reason_line(q, r)), "via", qmgr_text(qmgr_mark_via(r)), "tls",
	    qmgr_text(r->reason ? r->reason->tls : ""));
}

static json_t *msg_json(const struct qmgr_msg *m, json_t *list)
{
	json_t *out = json_pack("{s:s s:o s:I s:I s:o s:I s:o}", "id", m->id, "sender",
	    qmgr_text(m->from), "size", (json_int_t)m->bytes, "time", (json_int_t)m->time, "client",
	    qmgr_text(m->client), "recipients_total", (json_int_t)m->nrcpt, "recipients", list);

	if (m->unread)
		json_object_set_new(out, "unreadable", json_true());
	return out;
}

/* NULL: the filter takes none of its recipients. */
static json_t *row(struct qmgr *q, const struct qmgr_msg *m, const struct qmgr_filter *f)
{
	json_t *list = json_array();
	uint32_t i, n = 0;

	for (i = 0; i < m->nrcpt; i++)
		if (qmgr_filter_rcpt(f, &m->rcpt[i], qmgr_reason_line(q, &m->rcpt[i])) &&
		    n++ < LIST_RCPTS)
			json_array_append_new(list, rcpt_json(q, &m->rcpt[i]));
	if (n)
		return msg_json(m, list);
	json_decref(list);
	return NULL;
}

/* One that the store cannot even tell in part is shown as far as it is known. */
static json_t *unread_json(const struct qmgr_slot *s)
{
	char name[META1_ID_MAX];

	qmgr_park_name(s, name);
	return json_pack("{s:s s:s s:i s:i s:s s:I s:[] s:b}", "id", name, "sender", "", "size", 0,
	    "time", 0, "client", "", "recipients_total", (json_int_t)s->nopen, "recipients",
	    "unreadable", 1);
}

static json_t *listed(struct qmgr *q, struct qmgr_look *l, int *status, struct meta1_err *err)
{
	json_t *items = json_array(), *page, *one;
	uint32_t i;

	(void)status, (void)err;
	for (i = 0; i < l->show->n; i++) {
		const struct qmgr_slot *s = qmgr_slot_at(&q->index, l->show->slot[i]);
		struct qmgr_msg *m = qmgr_look_msg(q, l, i);

		one = NULL;
		if (m && qmgr_filter_msg(&l->filter, m, loop_now(q->loop)))
			one = row(q, m, &l->filter);
		else if (!m && !l->filter.more && s->seq == l->show->seq[i] && !s->loaded)
			one = unread_json(s);
		if (one)
			json_array_append_new(items, one);
	}
	page = json_pack("{s:o s:I}", "messages", items, "total", (json_int_t)q->index.n);
	qmgr_look_next(l, page);
	return page;
}

static json_t *list(void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	(void)rest;
	return qmgr_look_page(arg, query, QMGR_PAGE_DEFAULT, NULL, NULL, listed, status, err);
}

static json_t *shown(struct qmgr *q, struct qmgr_look *l, int *status, struct meta1_err *err)
{
	const struct qmgr_msg *m = qmgr_look_msg(q, l, 0);
	uint32_t end, i = qmgr_look_rcpts(l, m, &end);
	json_t *list = json_array(), *out = msg_json(m, list);

	(void)status, (void)err;
	json_object_set_new(out, "ret", json_string(qmgr_envelope_ret(m)));
	json_object_set_new(out, "envid", qmgr_text(m->envid));
	for (; i < end; i++) {
		json_t *r = rcpt_json(q, &m->rcpt[i]);

		json_object_set_new(r, "notify", qmgr_envelope_notify(&m->rcpt[i]));
		json_object_set_new(r, "orcpt", qmgr_text(qmgr_msg_orcpt(&m->rcpt[i])));
		json_array_append_new(list, r);
	}
	return qmgr_look_more(out, m, end);
}

static json_t *show(void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	return qmgr_look_page(arg, query, QMGR_PAGE_DEFAULT, rest, NULL, shown, status, err);
}

/* Goes on with a flush of everything (act.c). */
bool qmgr_control_pump(struct qmgr *q)
{
	struct qmgr_slot *s = NULL;
	uint64_t n;
	uint32_t i;

	if (!q->flushing)
		return false;
	i = qmgr_slot_from(&q->index, q->flush_seq);
	for (n = 0; i && n < FLUSH_STEP; i = s->next) {
		struct qmgr_msg *m = qmgr_msg_at(q, i);

		s = qmgr_slot_at(&q->index, i);
		if (s->seq > q->flush_end)
			break;
		n += m ? 1 + m->nrcpt : 1;
		if (m && !m->dying)
			qmgr_active_now(q, m);
		else if (!m)
			qmgr_park_now(q, i);
	}
	q->flushing = i && qmgr_slot_at(&q->index, i)->seq <= q->flush_end;
	q->flush_seq = i ? qmgr_slot_at(&q->index, i)->seq : 0;
	return q->flushing;
}

/* ---- destinations and summary ---- */

static json_t *dest_json(struct qmgr *q, const struct qmgr_dest *d)
{
	int64_t dead = qmgr_sched_dead(d, loop_now(q->loop));

	return json_pack("{s:o s:I s:I s:I s:o s:I s:I s:I s:o}", "key", qmgr_text(d->key),
	    "concurrency", (json_int_t)d->limit, "max_connections",
	    (json_int_t)(d->own.max ? d->own.max : q->sched.max), "resting_until",
	    (json_int_t)(d->rest_until
			     ? loop_wall(q->loop) + (d->rest_until - loop_now(q->loop) + 999) / 1000
			     : 0),
	    "bounds", qmgr_text(d->bounds ? d->bounds : ""), "active", (json_int_t)d->active,
	    "waiting", (json_int_t)(d->queued + (d->dock ? d->dock->rcpts : 0)), "dead_until",
	    (json_int_t)(dead ? loop_wall(q->loop) + dead / 1000 : 0), "reason",
	    qmgr_text(d->why ? d->why->line : ""));
}

static json_t *destinations(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	const char *cursor = json_string_value(json_object_get(query, "cursor"));
	int64_t limit = qmgr_query_number(query, "limit", QMGR_PAGE_DEFAULT);
	struct qmgr *q = arg;
	struct qmgr_dest *d = q->sched.dests;
	json_t *items, *page;

	(void)rest;
	if (limit < 1 || limit > QMGR_PAGE_MAX)
		return qmgr_refuse(status, err, 400, "limit: 1 to 1000");
	if (cursor && *cursor) {
		HASH_FIND_STR(q->sched.dests, cursor, d);
		if (!d)
			return qmgr_refuse(
			    status, err, 409, "cursor: that destination is gone; begin anew");
	}
	items = json_array();
	for (; d && limit > 0; d = d->hh.next, limit--)
		json_array_append_new(items, dest_json(q, d));
	page = json_pack(
	    "{s:o s:I}", "destinations", items, "total", (json_int_t)HASH_COUNT(q->sched.dests));
	if (d)
		json_object_set_new(page, "next", qmgr_text(d->key));
	return page;
}

static json_t *status_all(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	struct qmgr *q = arg;

	(void)rest, (void)query, (void)status, (void)err;
	return json_pack("{s:I s:I s:I s:I s:I s:I s:I s:I s:b s:b}", "messages",
	    (json_int_t)q->index.n, "active_recipients", (json_int_t)qmgr_active_count(q),
	    "max_active_recipients", (json_int_t)q->lim.aq_max, "deliveries",
	    (json_int_t)q->ndelivery, "destinations", (json_int_t)HASH_COUNT(q->sched.dests),
	    "smtpc", (json_int_t)q->ncourier, "memory", (json_int_t)qmgr_intake_memory(q),
	    "max_memory", (json_int_t)q->lim.memory, "recovered", q->recovered, "intake_withheld",
	    q->withheld);
}

void qmgr_control_add(struct role *role, struct ctl *ctl)
{
	static const struct ctl_request rows[] = {
	    {"GET", "/v1/queue", CTL_READ, list,
		"Queued messages in the order they came; cursor= and limit= (at most 1000); next "
		"is "
		"the cursor of the following page; filters as for flush."},
	    {"GET", "/v1/queue/", CTL_READ, show,
		"One queued message, its recipients in pages of 1000: cursor=, and what its sender "
		"wants to be told."},
	    {"GET", "/v1/destinations", CTL_READ, destinations,
		"Destinations with deliveries allowed and running, recipients waiting there (and "
		"of "
		"messages that wait for it to live or have room), and "
		"until when a dead one is left alone; cursor= and limit=."},
	    {"GET", "/v1/status", CTL_READ, status_all,
		"The queue in numbers: messages, active recipients, deliveries, memory."}};

	ctl_add(ctl, rows, ARRAY_LEN(rows), role);
	qmgr_act_add(role, ctl);
	qmgr_why_add(role, ctl);
	qmgr_import_add(role, ctl);
}
