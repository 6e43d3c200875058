/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * act.c -- what an admin may do with queued mail: flush, hold, release, requeue, delete; each by
 * ids and filters, in pages, or only told (dry_run). It is answered when it is on disk.
 * Comes from core/ctl/server.c; changes through active.c, mark.c and outcome.c. Owns answers that
 * wait for the store.
 * On failure: 400 for a query that makes no sense, 503 while qmgr stops, or when the store cannot
 * record it. A page looks at so many messages and recipients only, so that no request holds up
 * the loop.
 */
#include "qmgr/filter.h"

#include <stdio.h>
#include <stdlib.h>

METRIC_COUNTER(m_deleted, "deleted_total", "Recipients deleted by an admin.");

struct act {
	struct qmgr *q;
	uint32_t uid;
	bool dry;
	const char *to;
	struct qmgr_reason *why; /* of a deletion */
};
struct verb {
	const char *path;
	enum ctl_right right;
	const char *done; /* "3 recipients held" */
	bool unread;	  /* also what cannot be read */
	/* One recipient that the filter takes. false: not for it. *late: it is under way, so what
	 * was said counts when it comes back, or comes too late. */
	bool (*fn)(struct act *, struct qmgr_rcpt *, bool *late);
	const char *doc;
};

static bool open_(const struct qmgr_rcpt *r)
{
	return r->state == META1_R_WAITING && r->phase < QP_INTENT;
}

static bool do_flush(struct act *a, struct qmgr_rcpt *r, bool *late)
{
	if (!open_(r) || qmgr_mark_held(r))
		return false;
	*late = r->phase != QP_WAIT;
	if (!a->dry && r->phase == QP_WAIT)
		qmgr_active_wait(a->q, r, loop_now(a->q->loop));
	return true;
}

static bool do_hold(struct act *a, struct qmgr_rcpt *r, bool *late)
{
	if (!open_(r) || qmgr_mark_held(r))
		return false;
	*late = r->phase != QP_WAIT;
	if (a->dry)
		return true;
	qmgr_mark_hold(r, true, a->uid);
	if (r->phase == QP_WAIT)
		qmgr_active_wait(a->q, r, INT64_MAX);
	qmgr_store_deferred(a->q, r);
	return true;
}

static bool do_release(struct act *a, struct qmgr_rcpt *r, bool *late)
{
	(void)late;
	if (!open_(r) || !qmgr_mark_held(r))
		return false;
	if (a->dry)
		return true;
	qmgr_mark_hold(r, false, 0);
	if (r->phase == QP_WAIT)
		qmgr_active_wait(a->q, r, loop_now(a->q->loop));
	qmgr_store_deferred(a->q, r);
	return true;
}

static bool do_requeue(struct act *a, struct qmgr_rcpt *r, bool *late)
{
	if (!open_(r))
		return false;
	*late = r->phase == QP_SENT;
	if (a->dry)
		return true;
	qmgr_mark_way(r, a->to ? a->to : "");
	qmgr_route_anew(a->q, r);
	r->tries = 0;
	qmgr_reason_drop(&r->reason);
	if (r->phase == QP_WAIT)
		qmgr_active_wait(a->q, r, loop_now(a->q->loop));
	else if (r->phase != QP_SENT)
		r->anew = 1;
	qmgr_store_deferred(a->q, r);
	return true;
}

static bool do_delete(struct act *a, struct qmgr_rcpt *r, bool *late)
{
	if (!open_(r)) {
		*late = r->phase == QP_INTENT || r->phase == QP_REPORT;
		return false;
	}
	*late = r->phase == QP_SENT;
	if (a->dry)
		return true;
	m_deleted.value++;
	qmgr_reason_set(r, a->why);
	if (r->phase == QP_WAIT) {
		qmgr_outcome_final(a->q, r, META1_R_DELETED);
	} else {
		r->state = META1_R_DELETED;
		/* While it is read its place must not come free, and be written again under the
		 * socket: then it is marked, and final when it is back, or at the next start. */
		if (r->phase != QP_SENT) {
			qmgr_store_deleted(a->q, r);
		} else {
			qmgr_mark_delete(r, a->uid);
			qmgr_store_deferred(a->q, r);
		}
	}
	return true;
}

static const struct verb verbs[] = {
    {"/v1/queue/flush", CTL_READ, "tried now", false, do_flush,
	"Tries now: the message id=, those that a filter takes, or all waiting mail. Filters, all "
	"of which must hold: sender=, recipient=, domain=, older= and younger= (seconds), larger= "
	"and smaller= (bytes), reason=, state=; dry_run=1 only tells; cursor= goes on."},
    {"/v1/queue/hold", CTL_READ, "held", false, do_hold,
	"Holds recipients until they are released; id=, filters, or all=1."},
    {"/v1/queue/release", CTL_READ, "released", false, do_release,
	"Releases held recipients; they are due now; id=, filters, or all=1."},
    {"/v1/queue/requeue", CTL_READ, "queued anew", false, do_requeue,
	"As if just come: routed again, no tries, due now; to= gives next hops in place of the "
	"domain's, as in the mailertable; id=, filters, or all=1."},
    {"/v1/queue/delete", CTL_ADMIN, "deleted", true, do_delete,
	"Deletes without a report; under_way: just being delivered or reported, and may still be; "
	"id=, filters, or all=1."},
};

/* ---- one page ---- */

struct sums {
	json_t *items;
	uint64_t messages, recipients, late;
};

static void one(struct act *a, const struct verb *v, const struct qmgr_filter *f,
    struct qmgr_msg *m, struct sums *p)
{
	uint32_t i, n = 0, under = 0;

	for (i = 0; i < m->nrcpt && (v->unread || !m->unread); i++) {
		struct qmgr_rcpt *r = &m->rcpt[i];
		bool late = false;

		if (!qmgr_filter_rcpt(f, r, qmgr_reason_line(a->q, r)))
			continue;
		n += v->fn(a, r, &late);
		under += late;
	}
	if (!n && !under)
		return;
	p->messages++;
	p->recipients += n;
	p->late += under;
	json_array_append_new(
	    p->items, json_pack("{s:s s:o s:I s:I}", "id", m->id, "sender", qmgr_text(m->from),
			  "recipients", (json_int_t)n, "under_way", (json_int_t)under));
	if (!a->dry && n)
		log_event(LOG_L_NORMAL, "qmgr.admin", "id=%s n=%u done=%s uid=%lld", m->id, n,
		    v->done, (long long)(int32_t)a->uid);
}

static json_t *answer(const struct act *a, const struct verb *v, struct sums *p)
{
	char done[128];

	snprintf(done, sizeof(done), "%llu recipients %s%s%s", (unsigned long long)p->recipients,
	    a->dry ? "would be " : "", v->done,
	    p->late ? ", some of them or others are just under way" : "");
	qmgr_kick(a->q);
	return json_pack("{s:I s:I s:I s:b s:s s:o}", "messages", (json_int_t)p->messages,
	    "recipients", (json_int_t)p->recipients, "under_way", (json_int_t)p->late, "dry_run",
	    a->dry, "done", done, "items", p->items);
}

static bool flag(json_t *query, const char *name)
{
	const char *s = json_string_value(json_object_get(query, name));

	return s && *s && strcmp(s, "0");
}

/* What was done is told when it is on disk: a crash right after the answer takes nothing back. */
struct telling {
	struct qmgr_records records; /* first */
	struct ctl_later *client;
	json_t *out;
};

static void recorded(struct qmgr *q, struct qmgr_records *records)
{
	struct telling *t = (struct telling *)records;
	char text[200];

	(void)q;
	snprintf(text, sizeof(text),
	    "it is done, but the store could not record it of %u recipients yet, and a restart "
	    "would forget that; see the log, then ask again",
	    records->failed);
	if (records->failed) {
		json_decref(t->out);
		t->out = NULL;
	}
	ctl_answer(&t->client, t->out, 503, text);
	free(t);
}

static json_t *acted(struct qmgr *q, struct qmgr_look *l, int *status, struct meta1_err *err)
{
	const struct verb *v = l->what;
	struct act a = {.q = q,
	    .uid = (uint32_t)json_integer_value(json_object_get(l->query, "uid")),
	    .dry = flag(l->query, "dry_run"),
	    .to = json_string_value(json_object_get(l->query, "to"))};
	struct telling *t = base_alloc(sizeof(*t));
	struct sums p = {0};
	char by[64];
	uint32_t i;

	if (q->stopping) {
		free(t);
		return qmgr_refuse(status, err, 503, "qmgr is stopping");
	}
	t->records.done = recorded;
	qmgr_store_watch(q, &t->records);
	snprintf(by, sizeof(by), "deleted by uid %lld", (long long)(int32_t)a.uid);
	a.why = qmgr_reason_new(buf_str(""), 0, buf_str(""), buf_str(by), buf_str(""));
	p.items = json_array();
	for (i = 0; i < l->show->n; i++) {
		struct qmgr_msg *m = qmgr_look_msg(q, l, i);

		if (m && qmgr_filter_msg(&l->filter, m, loop_now(q->loop)))
			one(&a, v, &l->filter, m, &p);
	}
	qmgr_reason_drop(&a.why);
	t->out = answer(&a, v, &p);
	qmgr_look_next(l, t->out);
	if (*l->id && v->fn == do_delete) { /* as DELETE /v1/queue/ID tells it */
		json_object_set_new(t->out, "deleted", json_integer((json_int_t)p.recipients));
		json_object_set_new(t->out, "id", json_string(l->id));
	}
	t->client = l->client;
	l->client = NULL;
	qmgr_store_watched(q);
	return NULL;
}

/* Of the others that wait for a destination none goes first. */
static void revive(struct qmgr *q, bool all)
{
	struct qmgr_dest *d;

	for (d = q->sched.dests; d; d = d->hh.next) {
		qmgr_sched_revive(&q->sched, d);
		if (all)
			qmgr_lane_check(q, d);
	}
}

/* Everything at once is done a part a turn, by qmgr_control_pump(). */
static json_t *flush_all(struct qmgr *q)
{
	q->flushing = true;
	q->flush_seq = 0;
	q->flush_end = q->index.seq;
	qmgr_kick(q);
	return json_pack("{s:I s:s}", "messages", (json_int_t)q->index.n, "done",
	    "all waiting mail is tried now");
}

static json_t *act(const struct verb *v, struct qmgr *q, json_t *query, const char *id, int *status,
    struct meta1_err *err)
{
	const char *to = json_string_value(json_object_get(query, "to"));
	bool dry = flag(query, "dry_run");
	struct qmgr_filter f;

	if (qmgr_filter_read(&f, query, err) < 0) {
		*status = 400;
		return NULL;
	}
	if (to && (v->fn != do_requeue || !qmgr_mark_way_ok(to)))
		return qmgr_refuse(status, err, 400,
		    "to: next hops without blanks, for requeue only; for example [192.0.2.1]:25");
	/* Who may say where mail goes may read it. */
	if (to && !json_is_true(json_object_get(query, "admin")))
		return qmgr_refuse(status, err, 403,
		    "to: this needs root or a user named in control { admins = { … }; }");
	if (q->stopping)
		return qmgr_refuse(status, err, 503, "qmgr is stopping");
	if (!f.any && !id && !flag(query, "all") && v->fn != do_flush)
		return qmgr_refuse(status, err, 400, "say which: id=, a filter, or all=1");
	if (v->fn == do_flush && !dry)
		revive(q, !f.any);
	if (v->fn == do_flush && !f.any && !dry)
		return flush_all(q);
	return qmgr_look_page(q, query, QMGR_PAGE_MAX, id, v, acted, status, err);
}

/* A row of requests a verb; the function of each knows which it is. */
#define VERB(n)                                                                                    \
	static json_t *act_##n(                                                                    \
	    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)        \
	{                                                                                          \
		(void)rest;                                                                        \
		return act(&verbs[n], arg, query, NULL, status, err);                              \
	}
VERB(0)
VERB(1)
VERB(2)
VERB(3)
VERB(4)

/* The older way to delete one message. */
static json_t *delete_one(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	return act(&verbs[4], arg, query, rest, status, err);
}

void qmgr_act_add(struct role *role, struct ctl *ctl)
{
	static const ctl_fn fn[] = {act_0, act_1, act_2, act_3, act_4};
	static struct ctl_request rows[ARRAY_LEN(verbs) + 1] = {{"DELETE", "/v1/queue/", CTL_ADMIN,
	    delete_one, "Deletes one message, as POST /v1/queue/delete?id= does."}};
	unsigned i;

	for (i = 0; i < ARRAY_LEN(verbs); i++)
		rows[1 + i] = (struct ctl_request){.method = "POST",
		    .path = verbs[i].path,
		    .right = verbs[i].right,
		    .fn = fn[i],
		    .doc = verbs[i].doc};
	ctl_add(ctl, rows, ARRAY_LEN(rows), role);
}
