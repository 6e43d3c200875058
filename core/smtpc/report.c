/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * report.c -- the results of a delivery on their way to qmgr, and its end.
 *
 * Comes from deliver.c; goes to qmgr's channel. Owns the delivery from here on; while the channel
 * is full it waits, with the results of its recipients before its own.
 * On failure: when qmgr is gone, or lives anew, the results are dropped: the recipients are queued
 * there.
 */
#include "smtpc.h"

#include <stdlib.h>
#include <utlist.h>

#define REPORT_WAIT 100 /* ms until a full channel is tried again */

METRIC_COUNTER(m_lost, "results_dropped_total", "Deliveries whose results qmgr no longer wanted.");
METRIC_GAUGE(m_active, "deliveries_active", "Deliveries under way.");

void smtpc_report_begin(struct smtpc *c)
{
	m_active.value = ++c->active;
}

static void delivery_free(struct smtpc_delivery **dp)
{
	struct smtpc_delivery *d = *dp;
	struct smtpc *c = d->c;
	struct smtpc_gear *gear = d->gear;
	struct smtpc_result *held;

	*dp = NULL;
	while ((held = d->held)) {
		d->held = held->next;
		free(held);
	}
	DL_DELETE(c->deliveries, d);
	c->active--;
	m_active.value = c->active;
	pool_clear(&d->pool);
	free(d);
	smtpc_gear_drop(&gear);
	smtpc_credit(c);
}

bool smtpc_report_wanted(const struct smtpc_delivery *d)
{
	return d->c->qmgr && d->epoch == d->c->epoch;
}

/* False: the channel is full. */
static bool report(struct smtpc_delivery *d)
{
	struct chan *qmgr = d->c->qmgr;
	struct smtpc_result *held;

	while ((held = d->held)) {
		if (!chan_send(qmgr, P_RCPT_RESULT, &held->m))
			return false;
		d->held = held->next;
		free(held);
	}
	return chan_send(qmgr, P_DELIVERED, &d->end);
}

static void on_report_timer(int fd, short what, void *arg)
{
	struct smtpc *c = arg;
	struct smtpc_delivery *d, *next;

	(void)fd, (void)what;
	DL_FOREACH_SAFE (c->deliveries, d, next) {
		if (d->stage != STAGE_REPORT)
			continue;
		if (smtpc_report_wanted(d) && !report(d)) {
			loop_rearm(c->report_timer, REPORT_WAIT);
			return;
		}
		delivery_free(&d);
	}
}

void smtpc_deliver_forget_reports(struct smtpc *c)
{
	struct smtpc_delivery *d, *next;

	DL_FOREACH_SAFE (c->deliveries, d, next) {
		if (d->stage != STAGE_REPORT)
			continue;
		m_lost.value++;
		delivery_free(&d);
	}
}

void smtpc_report(struct smtpc_delivery *d)
{
	struct smtpc *c = d->c;

	if (smtpc_report_wanted(d) && !report(d)) {
		if (c->report_timer)
			loop_rearm(c->report_timer, REPORT_WAIT);
		else
			c->report_timer = loop_timer(c->role.loop, REPORT_WAIT, on_report_timer, c);
		return;
	}
	if (!smtpc_report_wanted(d))
		m_lost.value++;
	delivery_free(&d);
}
