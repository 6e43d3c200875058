/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * qmgr.c -- the role: its message table, start, stop and reload, and the one task that does what
 * can be done now.
 * Comes from main.c through core/role.c; goes to all files of this folder. Owns struct qmgr.
 * On failure: the queue module must open, else the role does not start; everything else is
 * waited for.
 */
#include "qmgr/qmgr.h"

#include "ctl/server.h"

#include <stdlib.h>

#define STOP_DELIVERIES_MS 30000 /* for what is at smtpc */
#define MINUTE_MS	   60000

METRIC_COUNTER(m_jumps, "clock_jumps_total", "Jumps of the wall clock by more than a minute.");

/* Everything that can go on now, each part in bounded steps. */
static void pump(void *arg)
{
	struct qmgr *q = arg;
	bool more;

	qmgr_msg_reap(q);
	more = qmgr_control_pump(q);
	more |= qmgr_active_pump(q);
	if (q->going)
		qmgr_dispatch_pump(q);
	qmgr_park_trim(q);
	qmgr_intake_grant(q);
	if (more)
		qmgr_kick(q);
}

static void due(int fd, short what, void *arg)
{
	(void)fd, (void)what;
	pump(arg);
}

/* Due times and ages are kept on the monotonic clock, so a jump of the wall clock moves nothing
 * in memory; times read from disk are capped when they are read (msg.c). */
static void minute(int fd, short what, void *arg)
{
	struct qmgr *q = arg;
	int64_t gap = loop_wall(q->loop) - loop_now(q->loop) / 1000;

	(void)fd, (void)what;
	if (llabs(gap - q->clock_gap) > 60) {
		m_jumps.value++;
		log_event(LOG_L_WARN, "qmgr.clock", "jump_s=%lld text=%s",
		    (long long)(gap - q->clock_gap),
		    "the wall clock jumped; due times stay as they were");
	}
	q->clock_gap = gap;
	q->clock_least = gap < q->clock_least ? gap : q->clock_least;
	qmgr_sched_tidy(&q->sched, loop_now(q->loop));
	qmgr_kick(q); /* what that freed may be room for new mail */
	loop_rearm(q->minute, MINUTE_MS);
}

/* ---- start and stop ---- */

static void limits(struct qmgr_limits *lim, const struct set_qmgr *set)
{
	lim->aq_max = set->AQ_max_entries;
	lim->initial = set->initial_connections;
	lim->max_conn = set->max_connections;
	lim->min_retry = set->min_retry_delay;
	lim->max_retry = set->max_retry_delay;
	lim->max_queue = set->max_time_in_queue;
	lim->memory = (size_t)set->max_memory;
	lim->loaded = lim->memory / 4;
	lim->delay_warning = set->delay_warning;
	lim->returned = (size_t)set->max_returned_size;
	lim->double_bounce = set->double_bounce ? set->double_bounce : "";
	lim->verp_senders = set->verp_senders;
	lim->dsn_filters = set->dsn_filters;
	lim->verp_delimiters = set->verp_delimiters ? set->verp_delimiters : "+=";
}

static int start(struct role *role, struct meta1_err *err)
{
	struct qmgr *q = (struct qmgr *)role;

	q->loop = role->loop;
	q->began = loop_now(q->loop);
	limits(&q->lim, &role->set->qmgr);
	task_init(&q->pump, pump, q);
	work_owner_init(&q->report_work, 2);
	qmgr_sched_init(&q->sched);
	qmgr_lane_init(q);
	qmgr_sched_conf(&q->sched, &q->lim);
	q->sched.let_go = qmgr_hops_let_go;
	q->clock_gap = q->clock_least = loop_wall(q->loop) - loop_now(q->loop) / 1000;
	q->rest = loop_timer(q->loop, -1, due, q);
	qmgr_dead_start(q);
	q->due = loop_timer(q->loop, -1, due, q);
	q->minute = loop_timer(q->loop, MINUTE_MS, minute, q);
	return qmgr_store_open(q, err);
}

static void go(struct role *role)
{
	struct qmgr *q = (struct qmgr *)role;

	q->going = true;
	qmgr_kick(q);
}

/* The loop has ended: what is left is only memory. If it did not end orderly, things still point
 * at each other, and the process ends anyway. */
void qmgr_free(struct qmgr *q)
{
	if (!q->ended)
		return;
	qmgr_bounce_free_all(q);
	qmgr_route_free_all(q);
	qmgr_sched_free(&q->sched);
	qmgr_msg_free_all(q);
	qmgr_lane_free_all(q);
	free(q->heap);
}

/* The channels are closed after this; what they still bring finds nothing. */
static void drained(void *arg)
{
	struct qmgr *q = arg;

	qmgr_dispatch_free_all(q);
	qmgr_intake_free_all(q);
	qmgr_park_free_all(q);
	qmgr_judge_free_all(q);
	q->ended = true;
	loop_unwatch(&q->due);
	loop_unwatch(&q->minute);
	loop_unwatch(&q->lane_timer);
	loop_unwatch(&q->stop_timer);
	loop_unwatch(&q->report_timer);
	loop_unwatch(&q->dead_timer);
	loop_unwatch(&q->rest);
	task_cancel(&q->pump);
	qmgr_store_close(q);
	role_stopped(&q->role);
}

void qmgr_stop_check(struct qmgr *q)
{
	if (!q->stopping || q->draining)
		return;
	if (!q->stop_late && (q->ndelivery || q->recording || q->nwriting || q->nimporting))
		return;
	qmgr_dead_save(q);
	if (q->dead_writing)
		return;
	q->draining = true;
	mod_drain(q->store, loop_now(q->loop) + 5000, drained, q);
}

static void stop_late(int fd, short what, void *arg)
{
	struct qmgr *q = arg;

	(void)fd, (void)what;
	log_event(LOG_L_WARN, "qmgr.stop", "deliveries=%u outcomes=%llu reports=%u", q->ndelivery,
	    (unsigned long long)q->recording, q->nwriting);
	q->stop_late = true;
	qmgr_stop_check(q);
}

/* Nothing new is begun; what is at smtpc is waited for, so that its outcomes are recorded. */
static void stop(struct role *role)
{
	struct qmgr *q = (struct qmgr *)role;

	q->stopping = true;
	qmgr_import_stop(q);
	qmgr_content_drop(q);
	qmgr_judge_stop(q);
	q->stop_timer = loop_timer(q->loop, STOP_DELIVERIES_MS, stop_late, q);
	qmgr_stop_check(q);
}

/* ---- reload ---- */

static int reload_prepare(struct role *role, struct settings *set, struct meta1_err *err)
{
	if (strcmp(role->set->qmgr.queue_type, set->qmgr.queue_type) == 0)
		return 0;
	err_set(err, "qmgr: queue { type } changed from %s to %s", role->set->qmgr.queue_type,
	    set->qmgr.queue_type);
	return 1;
}

static void reload_finish(struct role *role, bool commit)
{
	struct qmgr *q = (struct qmgr *)role;

	if (!commit)
		return;
	limits(&q->lim, &role->set->qmgr);
	qmgr_store_conf(q);
	qmgr_sched_conf(&q->sched, &q->lim);
	qmgr_bounce_again(q);
	qmgr_kick(q);
}

/* ---- channels ---- */

static void up(struct role *role, struct chan *c, const struct p_hello *hello)
{
	struct qmgr *q = (struct qmgr *)role;

	if (q->ended)
		return;
	if (chan_peer(c) == SMTPS)
		qmgr_intake_up(q, c, hello);
	else if (chan_peer(c) == SMTPC)
		qmgr_dispatch_up(q, c);
	else if (chan_peer(c) == SMAR) {
		qmgr_route_up(q);
		qmgr_bounce_again(q);
	}
	qmgr_kick(q);
}

static void down(struct role *role, struct chan *c)
{
	struct qmgr *q = (struct qmgr *)role;

	if (chan_peer(c) == SMTPS)
		qmgr_intake_down(q, c);
	else if (chan_peer(c) == SMTPC)
		qmgr_dispatch_down(q, c);
}

static const struct chan_handler handlers[] = {
    {P_QUEUED, qmgr_intake_queued},
    {P_QUEUE_TAIL, qmgr_intake_tail},
    {P_INTAKE_BACK, qmgr_intake_back},
    {P_JUDGES, qmgr_intake_judges},
    {P_GENERATION, qmgr_route_generation},
    {P_WINDOW, qmgr_dispatch_window},
    {P_RCPT_RESULT, qmgr_dispatch_result},
    {P_DELIVERED, qmgr_dispatch_delivered},
    {P_NONE, NULL},
};
static const char *const servers[] = {"smar", NULL};

const struct role qmgr_role = {.name = "qmgr",
    .bit = META1_QMGR,
    .who = QMGR,
    .handlers = handlers,
    .servers = servers,
    .start = start,
    .go = go,
    .stop = stop,
    .reload_prepare = reload_prepare,
    .reload_finish = reload_finish,
    .up = up,
    .down = down,
    .control = qmgr_control_add};
