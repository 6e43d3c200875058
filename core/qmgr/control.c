/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * control.c -- what meta1ctl and mailq ask of qmgr: the queue in pages, one message, tries now,
 * deletion, destinations, a summary.
 * Comes from core/ctl/server.c; reads msg.c and sched.c, changes through active.c and outcome.c.
 * Owns the place of a running flush. On failure: 404 for an id that is not queued, 400 for
 * a query that makes no sense. Every answer is bounded by its page.
 */
#include "ctl/server.h"
#include "qmgr/qmgr.h"

#include <stdio.h>
#include <stdlib.h>

#define PAGE_MAX     1000
#define PAGE_DEFAULT 100
#define PAGE_RCPTS   4000 /* a page ends when it has shown so many recipients */
#define LIST_RCPTS   100  /* of one message; all of them are shown with it alone */
#define FLUSH_STEP   5000 /* messages and recipients a turn */

METRIC_COUNTER(m_deleted, "deleted_total", "Recipients deleted by an admin.");

static const char *state_name(const struct qmgr_rcpt *r)
{
	static const char *const state[] = {"waiting", "delivered", "bounced", "failed", "deleted"};
	static const char *const phase[] = {[QP_WAIT] = "waiting",
	    [QP_ROUTE] = "routing",
	    [QP_QUEUED] = "queued",
	    [QP_SENT] = "delivering",
	    [QP_INTENT] = "reporting",
	    [QP_REPORT] = "reporting",
	    [QP_DOUBT] = "reporting",
	    [QP_WARNED] = "reporting"};

	if (r->state != META1_R_WAITING || r->phase >= QP_FINAL)
		return state[r->state];
	return phase[r->phase];
}

/* Addresses and replies may hold any byte; JSON may not. */
static json_t *text(const char *s)
{
	json_t *j = json_string(s);
	char clean[1200];
	size_t i;

	if (j)
		return j;
	for (i = 0; s[i] && i + 1 < sizeof(clean); i++)
		clean[i] = s[i] < 32 || s[i] == 127 ? '?' : s[i];
	clean[i] = 0;
	return json_string(clean);
}

/* What was put off has its destination's reason, which is not recorded. */
static const char *reason_of(const struct qmgr *q, const struct qmgr_rcpt *r)
{
	const struct qmgr_dest *d = qmgr_lane_dest(q, qmgr_msg_of(r)->slot);

	if (r->reason || !d || !d->why)
		return r->reason ? r->reason->line : "";
	return d->why->line;
}

static json_t *rcpt_json(struct qmgr *q, const struct qmgr_rcpt *r)
{
	int64_t in = r->due - loop_now(q->loop);
	int64_t next = r->phase == QP_WAIT ? loop_wall(q->loop) + (in > 0 ? in / 1000 : 0) : 0;

	return json_pack("{s:o s:s s:I s:I s:o}", "address", text(r->addr), "state", state_name(r),
	    "tries", (json_int_t)r->tries, "next_try", (json_int_t)next, "reason",
	    text(reason_of(q, r)));
}

static json_t *msg_json(struct qmgr *q, const struct qmgr_msg *m, uint32_t max)
{
	json_t *list = json_array();
	uint32_t i;

	for (i = 0; i < m->nrcpt && i < max; i++)
		json_array_append_new(list, rcpt_json(q, &m->rcpt[i]));
	return json_pack("{s:s s:o s:I s:I s:o s:I s:o}", "id", m->id, "sender", text(m->from),
	    "size", (json_int_t)m->bytes, "time", (json_int_t)m->time, "client", text(m->client),
	    "recipients_total", (json_int_t)m->nrcpt, "recipients", list);
}

/* The number in a query, or def; <0: it is none. */
static int64_t number(json_t *query, const char *name, int64_t def)
{
	const char *s = json_string_value(json_object_get(query, name));
	char *end;
	long long n;

	if (!s || !*s)
		return def;
	n = strtoll(s, &end, 10);
	return *end || n < 0 ? -1 : n;
}

static json_t *bad(int *status, struct meta1_err *err, int code, const char *what)
{
	*status = code;
	err_set(err, "%s", what);
	return NULL;
}

/* ---- a page, when all of it is in memory ---- */

struct ask { /* of a client that waits */
	struct ctl_later *client;
	json_t *(*answer)(struct qmgr *, struct qmgr_msg *, int64_t uid, struct meta1_err *);
	int64_t uid;
	uint64_t next; /* of a list; 0: its end */
	char id[META1_ID_MAX];
};

static struct qmgr_show *asked(struct ask **ap)
{
	struct qmgr_show *sh = base_alloc(sizeof(*sh));
	struct ask *a = base_alloc(sizeof(*a));

	a->client = ctl_later();
	sh->arg = *ap = a;
	return sh;
}

static void show_add(struct qmgr *q, struct qmgr_show *sh, uint32_t slot)
{
	sh->slot[sh->n] = slot;
	sh->seq[sh->n++] = qmgr_slot_at(&q->index, slot)->seq;
}

/* One that cannot be read is shown as far as it is known. */
static json_t *unread_json(const struct qmgr_slot *s)
{
	return json_pack("{s:s s:s s:i s:i s:s s:I s:[] s:b}", "id", "", "sender", "", "size", 0,
	    "time", 0, "client", "", "recipients_total", (json_int_t)s->nopen, "recipients",
	    "unreadable", 1);
}

static void listed(struct qmgr *q, struct qmgr_show *sh)
{
	json_t *items = json_array(), *page;
	struct ask *a = sh->arg;
	char next[24];
	uint32_t i;

	for (i = 0; i < sh->n; i++) {
		const struct qmgr_slot *s = qmgr_slot_at(&q->index, sh->slot[i]);
		struct qmgr_msg *m = qmgr_park_shown(q, sh, i);

		if (m)
			json_array_append_new(items, msg_json(q, m, LIST_RCPTS));
		else if (s->seq == sh->seq[i] && !s->loaded)
			json_array_append_new(items, unread_json(s));
	}
	page = json_pack("{s:o s:I}", "messages", items, "total", (json_int_t)q->index.n);
	if (a->next) {
		snprintf(next, sizeof(next), "%llu", (unsigned long long)a->next);
		json_object_set_new(page, "next", json_string(next));
	}
	ctl_answer(&a->client, page, 200, NULL);
	free(a);
	free(sh);
}

static json_t *list(void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	int64_t cursor = number(query, "cursor", 0), limit = number(query, "limit", PAGE_DEFAULT);
	struct qmgr *q = arg;
	struct qmgr_show *sh;
	uint64_t shown = 0;
	struct ask *a;
	uint32_t i;

	(void)rest;
	if (cursor < 0 || limit < 1 || limit > PAGE_MAX)
		return bad(status, err, 400, "cursor: a number; limit: 1 to 1000");
	sh = asked(&a);
	sh->done = listed;
	i = qmgr_slot_from(&q->index, (uint64_t)cursor);
	for (; i && limit > 0 && shown < PAGE_RCPTS; i = qmgr_slot_at(&q->index, i)->next) {
		const struct qmgr_msg *m = qmgr_msg_at(q, i);

		if (m && m->dying)
			continue;
		show_add(q, sh, i);
		shown += m ? m->nrcpt : qmgr_slot_at(&q->index, i)->nopen;
		limit--;
	}
	a->next = i ? qmgr_slot_at(&q->index, i)->seq : 0;
	*status = CTL_LATER;
	qmgr_park_show(q, sh);
	return NULL;
}

static void found(struct qmgr *q, struct qmgr_show *sh)
{
	struct ask *a = sh->arg;
	struct qmgr_msg *m = sh->n ? qmgr_park_shown(q, sh, 0) : NULL;
	bool lost = sh->n && qmgr_slot_at(&q->index, sh->slot[0])->lost;
	struct meta1_err err = {""};
	json_t *out = NULL;
	int status = 503;

	if (m && !strcmp(m->id, a->id)) {
		out = a->answer(q, m, a->uid, &err);
	} else if (lost) {
		err_set(&err, "%s: its envelope cannot be read now; see the log", a->id);
	} else {
		status = 404;
		err_set(&err, "%s: not in the queue%s", a->id,
		    q->recovered ? "" : " (old mail is still being read)");
	}
	ctl_answer(&a->client, out, out ? 200 : status, err.text);
	free(a);
	free(sh);
}

/* The message of that id, as soon as it is in memory: answer() has the rest. */
static json_t *one(struct qmgr *q, const char *id, json_t *query, int *status,
    json_t *(*answer)(struct qmgr *, struct qmgr_msg *, int64_t, struct meta1_err *))
{
	struct ask *a;
	struct qmgr_show *sh = asked(&a);
	uint32_t slot = qmgr_slot_find(&q->index, id, strlen(id));

	a->answer = answer;
	a->uid = json_integer_value(json_object_get(query, "uid"));
	str_copy(a->id, sizeof(a->id), id);
	sh->done = found;
	if (slot)
		show_add(q, sh, slot);
	*status = CTL_LATER;
	qmgr_park_show(q, sh);
	return NULL;
}

static json_t *shown(struct qmgr *q, struct qmgr_msg *m, int64_t uid, struct meta1_err *err)
{
	(void)uid, (void)err;
	return msg_json(q, m, UINT32_MAX);
}

static json_t *show(void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	(void)err;
	return one(arg, rest, query, status, shown);
}

/* ---- changes ---- */

static json_t *flushed(struct qmgr *q, struct qmgr_msg *m, int64_t uid, struct meta1_err *err)
{
	struct qmgr_dest *d;

	(void)uid, (void)err;
	for (d = q->sched.dests; d; d = d->hh.next)
		qmgr_sched_revive(&q->sched, d);
	qmgr_active_now(q, m);
	return json_pack("{s:I s:s}", "messages", (json_int_t)1, "done", "tried now");
}

static json_t *flush(void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	const char *id = json_string_value(json_object_get(query, "id"));
	struct qmgr *q = arg;
	struct qmgr_dest *d;

	(void)rest, (void)err;
	if (id)
		return one(q, id, query, status, flushed);
	for (d = q->sched.dests; d; d = d->hh.next) {
		qmgr_sched_revive(&q->sched, d);
		qmgr_lane_check(q, d);
	}
	q->flushing = true;
	q->flush_seq = 0;
	q->flush_end = q->index.seq;
	qmgr_kick(q);
	return json_pack("{s:I s:s}", "messages", (json_int_t)q->index.n, "done",
	    "all waiting mail is tried now");
}

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

static json_t *deleted(struct qmgr *q, struct qmgr_msg *m, int64_t uid, struct meta1_err *err)
{
	struct qmgr_reason *why;
	uint32_t i, n = 0, late = 0;
	char done[96], by[64];

	if (q->stopping) {
		err_set(err, "qmgr is stopping");
		return NULL;
	}
	snprintf(by, sizeof(by), "deleted by uid %lld", (long long)uid);
	why = qmgr_reason_new(buf_str(""), 0, buf_str(""), buf_str(by));
	for (i = 0; i < m->nrcpt; i++) {
		struct qmgr_rcpt *r = &m->rcpt[i];

		if (r->state != META1_R_WAITING || r->phase >= QP_INTENT) {
			late += r->phase == QP_INTENT || r->phase == QP_REPORT;
			continue;
		}
		late += r->phase == QP_SENT;
		n++;
		qmgr_reason_set(r, why);
		if (r->phase == QP_WAIT) {
			qmgr_outcome_final(q, r, META1_R_DELETED);
		} else {
			r->state = META1_R_DELETED;
			qmgr_store_deleted(q, r);
		}
	}
	qmgr_reason_drop(&why);
	m_deleted.value += n;
	log_event(LOG_L_NORMAL, "qmgr.done", "id=%s n=%u status=deleted by=%s", m->id, n, by);
	snprintf(done, sizeof(done), "%u recipients deleted%s", n,
	    late ? ", others are just being delivered or reported" : "");
	return json_pack("{s:s s:I s:I s:s}", "id", m->id, "deleted", (json_int_t)n, "under_way",
	    (json_int_t)late, "done", done);
}

static json_t *delete (
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	(void)err;
	return one(arg, rest, query, status, deleted);
}

/* ---- destinations and summary ---- */

static json_t *dest_json(struct qmgr *q, const struct qmgr_dest *d)
{
	int64_t dead = qmgr_sched_dead(d, loop_now(q->loop));

	return json_pack("{s:o s:I s:I s:I s:o s:I s:I s:I s:o}", "key", text(d->key),
	    "concurrency", (json_int_t)d->limit, "max_connections",
	    (json_int_t)(d->own.max ? d->own.max : q->sched.max), "resting_until",
	    (json_int_t)(d->rest_until
			     ? loop_wall(q->loop) + (d->rest_until - loop_now(q->loop) + 999) / 1000
			     : 0),
	    "bounds", text(d->bounds ? d->bounds : ""), "active", (json_int_t)d->active, "waiting",
	    (json_int_t)d->queued, "dead_until",
	    (json_int_t)(dead ? loop_wall(q->loop) + dead / 1000 : 0), "reason",
	    text(d->why ? d->why->line : ""));
}

static json_t *destinations(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	const char *cursor = json_string_value(json_object_get(query, "cursor"));
	int64_t limit = number(query, "limit", PAGE_DEFAULT);
	struct qmgr *q = arg;
	struct qmgr_dest *d = q->sched.dests;
	json_t *items, *page;

	(void)rest;
	if (limit < 1 || limit > PAGE_MAX)
		return bad(status, err, 400, "limit: 1 to 1000");
	if (cursor && *cursor) {
		HASH_FIND_STR(q->sched.dests, cursor, d);
		if (!d)
			return bad(
			    status, err, 409, "cursor: that destination is gone; begin anew");
	}
	items = json_array();
	for (; d && limit > 0; d = d->hh.next, limit--)
		json_array_append_new(items, dest_json(q, d));
	page = json_pack(
	    "{s:o s:I}", "destinations", items, "total", (json_int_t)HASH_COUNT(q->sched.dests));
	if (d)
		json_object_set_new(page, "next", text(d->key));
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
	static const struct ctl_request rows[] = {{"GET", "/v1/queue", CTL_READ, list,
						      "Queued messages in the order they came; "
						      "cursor= and limit= (at most 1000); next is "
						      "the cursor of the following page."},
	    {"GET", "/v1/queue/", CTL_READ, show, "One queued message with all its recipients."},
	    {"POST", "/v1/queue/flush", CTL_READ, flush,
		"Tries all waiting recipients now, or those of the message id=."},
	    {"DELETE", "/v1/queue/", CTL_ADMIN, delete,
		"Deletes a queued message without a report; under_way tells how many recipients "
		"are "
		"just being delivered or reported."},
	    {"GET", "/v1/destinations", CTL_READ, destinations,
		"Destinations with deliveries allowed and running, recipients waiting there, and "
		"until when a dead one is left alone; cursor= and limit=."},
	    {"GET", "/v1/status", CTL_READ, status_all,
		"The queue in numbers: messages, active recipients, deliveries, memory."}};

	ctl_add(ctl, rows, ARRAY_LEN(rows), role);
}
