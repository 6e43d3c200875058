/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * store.c -- the queue module behind one face: opened, recovered from, told of notices and
 * outcomes, read from and written to for reports.
 * Comes from intake.c, outcome.c and bounce.c; events go to intake.c. Owns the instance and the
 * list of outcomes that could not be recorded yet.
 * On failure: a final outcome is recorded again and again (RETRY_MS), and its recipient is
 * never tried in the meantime; a failed record of a mere delay is only counted: after a
 * restart that recipient is tried too early, nothing else. A message that the store does not
 * know (any more) has nothing left to be recorded.
 */
#include "qmgr/qmgr.h"

#include <stdio.h>
#include <stdlib.h>

#define READ_MS	      30000
#define RETRY_MS      2000
#define OUTCOMES_OPEN 262144 /* at a time */

METRIC_COUNTER(m_outcomes, "outcomes_total", "Outcomes given to the store.");
METRIC_COUNTER(m_failed, "outcomes_failed_total", "Outcomes that the store could not record.");
METRIC_COUNTER(m_damage, "store_damage_total", "Records that the store could not read.");

static void recovered(void *arg, enum meta1_status st, const struct meta1_reply *reply)
{
	struct qmgr *q = arg;

	if (st != META1_OK) {
		log_event(LOG_L_ERR, "qmgr.recover", "error=%s text=%s",
		    reply->text ? reply->text : "failed",
		    "not all old mail is known; qmgr ends and is started again");
		role_again(&q->role);
		return;
	}
	log_event(LOG_L_INFO, "qmgr.recovered", "messages=%u memory=%zu", q->index.n, q->memory);
	qmgr_intake_recovered(q);
}

static void damage(void *arg, const char *text)
{
	(void)arg;
	m_damage.value++;
	log_event(LOG_L_ERR, "qmgr.damage", "text=%s", text);
}

static int open_module(struct qmgr *q, const struct settings_module *sm, struct meta1_err *err)
{
	struct role *role = &q->role;
	struct mod *mod = mod_load(&role->host, sm->module, err);

	if (!mod)
		return -1;
	q->store = mod_open(&role->host, mod, sm->instance, role->set->conf, sm->section,
	    settings_core_names(sm->kind), OPT_START, err);
	if (!q->store)
		return -1;
	q->qops = mod_ops(q->store);
	return 0;
}

/* The module keeps the pointer and looks when it needs them. */
static struct meta1_qevents events = {.size = sizeof(events),
    .entry = qmgr_intake_entry,
    .space = qmgr_intake_space,
    .damage = damage,
    .loaded = qmgr_park_loaded,
    .moved = qmgr_intake_moved};

void qmgr_store_conf(struct qmgr *q)
{
	events.history_time = q->role.set->qmgr.history_time / 1000;
	events.history_size = q->role.set->qmgr.history_size;
}

int qmgr_store_open(struct qmgr *q, struct meta1_err *err)
{
	struct settings_module *sm = NULL;
	unsigned i, n = settings_modules(q->role.set, META1_QMGR, &sm);
	struct meta1_req *req;
	int rc = -1;

	err_set(err, "qmgr: no queue module: the section queue { type = …; } names none");
	for (i = 0; i < n && !q->store; i++)
		if (!strcmp(sm[i].kind, "queue"))
			rc = open_module(q, &sm[i], err);
	free(sm);
	if (rc < 0)
		return -1;
	if (!META1_HAS(q->qops, cancel) || !q->qops->manage)
		return err_set(err, "%s: cannot manage a queue", mod_name(q->store));
	q->role.store = q->qops->format;
	qmgr_store_conf(q);
	mod_req_limit(q->store, OUTCOMES_OPEN + 1024);
	req = mod_req(q->store, INT64_MAX, recovered, q);
	if (!req)
		return err_set(err, "%s: no request to recover with", mod_name(q->store));
	q->qops->manage(mod_data(q->store), req, &events, q);
	return 0;
}

void qmgr_store_close(struct qmgr *q)
{
	loop_unwatch(&q->record_timer);
	if (q->store)
		mod_close(&q->store);
}

void qmgr_store_attach(struct qmgr *q, uint32_t writer)
{
	q->qops->attach(mod_data(q->store), writer);
}

void qmgr_store_detach(struct qmgr *q, uint32_t writer)
{
	if (META1_HAS(q->qops, detach) && q->qops->detach)
		q->qops->detach(mod_data(q->store), writer);
}

void qmgr_store_notice(
    struct qmgr *q, struct meta1_buf notice, const char *id, const struct meta1_env *env)
{
	q->qops->notice(mod_data(q->store), notice, id, env);
}

/* ---- outcomes ---- */

static void retry_timer(int fd, short what, void *arg)
{
	struct qmgr *q = arg;
	struct qmgr_list todo = q->unrecorded;
	struct qmgr_item *i;

	(void)fd, (void)what;
	memset(&q->unrecorded, 0, sizeof(q->unrecorded));
	while ((i = qmgr_list_pop(&todo)))
		qmgr_store_record(q, (struct qmgr_rcpt *)i);
}

static void postpone(struct qmgr *q, struct qmgr_rcpt *r)
{
	if (!q->unrecorded.head) {
		if (!q->record_timer)
			q->record_timer = loop_timer(q->loop, -1, retry_timer, q);
		loop_rearm(q->record_timer, RETRY_MS);
	}
	qmgr_list_add(&q->unrecorded, &r->item);
}

/* ---- who waits for them ---- */

void qmgr_store_watch(struct qmgr *q, struct qmgr_records *w)
{
	w->open = 1;
	w->failed = 0;
	q->watching = w;
}

static void one_less(struct qmgr *q, struct qmgr_records *w, bool failed)
{
	w->failed += failed;
	if (--w->open == 0)
		w->done(q, w);
}

void qmgr_store_watched(struct qmgr *q)
{
	struct qmgr_records *w = q->watching;

	q->watching = NULL;
	one_less(q, w, false);
}

struct recording {
	struct qmgr *q;
	struct qmgr_rcpt *r;	      /* NULL: nobody waits for it */
	struct qmgr_records *watcher; /* or NULL */
};

static void recorded(void *arg, enum meta1_status st, const struct meta1_reply *reply)
{
	struct recording rec = *(struct recording *)arg;
	struct qmgr_rcpt *r = rec.r;

	free(arg);
	rec.q->recording--;
	/* What the store does not know (any more) has nothing left to be recorded. */
	if (rec.watcher)
		one_less(rec.q, rec.watcher, st != META1_OK && st != META1_PERMFAIL);
	if (st != META1_OK && st != META1_PERMFAIL) {
		if (!m_failed.value++ || r)
			log_event(LOG_L_WARN, "qmgr.unrecorded", "id=%s error=%s",
			    r ? qmgr_msg_of(r)->id : "-", reply->text ? reply->text : "");
		if (r)
			postpone(rec.q, r);
	} else if (r && r->phase == QP_INTENT) {
		qmgr_bounce_recorded(rec.q, r);
	} else if (r && r->phase == QP_WARNED) {
		qmgr_active_wait(rec.q, r, r->due);
	} else if (r && r->phase == QP_FINAL) {
		r->phase = QP_DONE;
		qmgr_lane_through(rec.q, qmgr_msg_of(r)->slot);
		qmgr_msg_of(r)->nopen--;
		qmgr_msg_check(rec.q, qmgr_msg_of(r));
		qmgr_kick(rec.q); /* what is left of it may only wait now, and be unloaded */
	}
	if (rec.q->stopping)
		qmgr_stop_check(rec.q);
}

static bool record(struct qmgr *q, struct qmgr_rcpt *r, bool waits, struct meta1_qoutcome *o)
{
	struct qmgr_msg *m = qmgr_msg_of(r);
	struct recording *rec;
	struct meta1_req *req;
	char text[2000];
	size_t n;

	if (q->recording >= OUTCOMES_OPEN)
		goto none;
	if (r->mark && o->state == META1_R_WAITING) {
		qmgr_mark_note(r, text, sizeof(text));
		n = strlen(text);
		snprintf(text + n, sizeof(text) - n, "%.*s", (int)o->reason.len,
		    o->reason.len ? (const char *)o->reason.data : "");
		o->reason = buf_str(text);
	}
	rec = base_alloc(sizeof(*rec));
	rec->q = q;
	rec->r = waits ? r : NULL;
	rec->watcher = q->watching;
	/* No deadline: the store says when it is safe, however long its disk takes; asked twice it
	 * would know nothing of the message the second time. */
	req = mod_req(q->store, INT64_MAX, recorded, rec);
	if (!req) {
		free(rec);
		goto none;
	}
	if (rec->watcher)
		rec->watcher->open++;
	o->size = sizeof(*o);
	o->rcpt = r->index;
	o->id = m->id;
	o->key = m->key;
	o->tries = r->tries;
	o->addr = buf_str(r->addr);
	o->from = buf_str(m->from);
	o->bytes = m->bytes;
	q->recording++;
	m_outcomes.value++;
	q->qops->outcome(mod_data(q->store), req, o);
	return true;
none:
	if (q->watching)
		q->watching->failed++;
	return false;
}

/* Wall clock seconds of the next try; 0: none. */
static int64_t next_try(struct qmgr *q, const struct qmgr_rcpt *r)
{
	int64_t in = r->due - loop_now(q->loop);

	if (r->due == INT64_MAX) /* held */
		return 0;
	return loop_wall(q->loop) + (in > 0 ? (in + 999) / 1000 : 0);
}

void qmgr_store_record(struct qmgr *q, struct qmgr_rcpt *r)
{
	struct meta1_qoutcome o = {.state = r->state};
	const char *why = r->reason ? r->reason->line : "";
	char text[1500], id[META1_ID_MAX];
	size_t n;

	o.by = why;
	if (r->phase == QP_INTENT || r->phase == QP_WARNED) {
		qmgr_note_put(r, text, sizeof(text));
		n = strlen(text);
		qmgr_reason_text(r->reason, text + n, sizeof(text) - n);
		o.state = META1_R_WAITING;
		o.next_try = r->action == QA_DELAYED || r->action == QA_EXPANDED
				 ? next_try(q, r)
				 : loop_wall(q->loop);
		why = text;
	} else if (r->state == META1_R_BOUNCED) {
		qmgr_bounce_id(qmgr_msg_of(r), r->report, id);
		o.by = id;
	}
	o.reason = buf_str(why);
	if (!record(q, r, true, &o))
		postpone(q, r);
}

void qmgr_store_deferred(struct qmgr *q, struct qmgr_rcpt *r)
{
	struct meta1_qoutcome o = {.state = META1_R_WAITING, .next_try = next_try(q, r)};
	char text[1500];
	size_t n;

	o.by = r->reason ? r->reason->line : "";
	qmgr_note_put(r, text, sizeof(text));
	n = strlen(text);
	qmgr_reason_text(r->reason, text + n, sizeof(text) - n);
	o.reason = buf_str(text);
	if (!record(q, r, false, &o))
		m_failed.value++;
}

void qmgr_store_deleted(struct qmgr *q, struct qmgr_rcpt *r)
{
	const char *why = r->reason ? r->reason->line : "";
	struct meta1_qoutcome o = {.state = META1_R_DELETED, .reason = buf_str(why), .by = why};

	record(q, r, false, &o);
}

/* ---- reports ---- */

bool qmgr_store_load(struct qmgr *q, const struct meta1_ref *ref, mod_done_fn fn, void *arg)
{
	struct meta1_req *req = mod_req(q->store, loop_now(q->loop) + READ_MS, fn, arg);

	if (!req)
		return false;
	q->qops->load(mod_data(q->store), req, ref);
	return true;
}

bool qmgr_store_fetch(struct qmgr *q, const uint64_t *key, uint32_t n, mod_done_fn fn, void *arg)
{
	struct meta1_req *req = mod_req(q->store, INT64_MAX, fn, arg);

	if (!req)
		return false;
	q->qops->fetch(mod_data(q->store), req, key, n);
	return true;
}

void qmgr_store_unload(struct qmgr *q, struct meta1_content *content)
{
	if (content)
		q->qops->unload(mod_data(q->store), &content);
}

uint64_t qmgr_store_next_id(struct qmgr *q)
{
	return q->qops->next_id ? q->qops->next_id(mod_data(q->store)) : 0;
}

/* What goes into one write() needs no answer to a request to pause. */
static void go_on(void *arg)
{
	(void)arg;
}
static const struct meta1_qops_writer_events writer_events = {
    .size = sizeof(writer_events), .ready = go_on};

bool qmgr_store_begin(struct qmgr *q, const char *id, const struct meta1_qops_writer_events *ev,
    void *arg, struct meta1_qmsg **msg, struct meta1_err *err)
{
	return q->qops->begin(mod_data(q->store), id, ev ? ev : &writer_events, arg, msg, err) ==
	       META1_OK;
}

enum meta1_status qmgr_store_write(
    struct qmgr *q, struct meta1_qmsg *msg, const void *data, size_t n)
{
	return q->qops->write(msg, data, n);
}

void qmgr_store_abort(struct qmgr *q, struct meta1_qmsg **msg)
{
	q->qops->abort(msg);
}

/* Takes the message, whatever comes of it. */
bool qmgr_store_commit(
    struct qmgr *q, struct meta1_qmsg **msg, const struct meta1_env *env, mod_done_fn fn, void *arg)
{
	struct meta1_req *req = mod_req(q->store, INT64_MAX, fn, arg);

	if (!req) {
		q->qops->abort(msg);
		return false;
	}
	q->qops->commit(msg, req, env);
	return true;
}
