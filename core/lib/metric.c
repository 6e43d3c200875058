/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * metric.c -- the list of a process's counters and gauges.
 * Comes from METRIC_COUNTER lines anywhere; goes to ctl/server.c (/metrics).
 * Owns only the list; cannot fail.
 */
#include "lib/metric.h"

static struct metric *first, **last = &first;

void metric_register(struct metric *m)
{
	*last = m;
	last = &m->next;
}

struct metric *metric_first(void)
{
	return first;
}
