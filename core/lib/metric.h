/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * metric.h -- counters and gauges of a process, shown by /metrics as
 * meta1_ROLE_NAME. A metric is a static variable next to the code that counts:
 *	METRIC_COUNTER(m_accepted, "messages_accepted_total", "Messages answered 250.");
 *	m_accepted.value++;
 * Loop thread only.
 */
#ifndef META1_METRIC_H
#define META1_METRIC_H
#include "base.h"

struct metric {
	const char *name, *help;
	bool gauge;
	int64_t value;
	struct metric *next;
};
void metric_register(struct metric *);
struct metric *metric_first(void); /* in order of registration */
#define METRIC_DEF(var, mname, mhelp, is_gauge)                                                    \
	static struct metric var = {.name = mname, .help = mhelp, .gauge = is_gauge};              \
	__attribute__((constructor)) static void var##_register(void)                              \
	{                                                                                          \
		metric_register(&var);                                                             \
	}                                                                                          \
	struct metric_semicolon
#define METRIC_COUNTER(var, name, help) METRIC_DEF(var, name, help, false)
#define METRIC_GAUGE(var, name, help)	METRIC_DEF(var, name, help, true)

#endif
