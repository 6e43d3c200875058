/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * log.h -- one line an event: time, program[pid], level, event, key=value …; or
 * the same as one JSON object. Values are escaped; a line is cut at 2048 bytes.
 * Lines are gathered and written at the end of the loop turn; syslog and a full
 * file or pipe never block: what is dropped is counted and said in the next line.
 *
 * Levels of log_level: 0 errors · 4 warnings · 9 info · 12 normal (default: two
 * lines a message) · 20 debug · 24 everything.
 */
#ifndef META1_LOG_H
#define META1_LOG_H
#include "loop.h"

enum log_level {
	LOG_L_ERR = 0,
	LOG_L_WARN = 4,
	LOG_L_INFO = 9,
	LOG_L_NORMAL = 12,
	LOG_L_DEBUG = 20
};

struct log_conf {
	const char *ident;    /* program name in the line, syslog ident */
	const char *file;     /* or NULL */
	const char *facility; /* syslog facility, or NULL */
	bool json;
	int level;
};
/* Neither file nor facility: stderr. Before log_open: stderr, level 12, unbuffered. */
int log_open(struct loop *, const struct log_conf *, struct meta1_err *);
void log_close(void);	     /* writes what is left */
void log_reopen(void);	     /* after rotation: opens the file anew */
bool log_on(enum log_level); /* to skip costly arguments */
/* For what may happen many times a second: true at most once a minute. *said: when it was last
 * (0: never); now: monotonic ms. */
bool log_rarely(int64_t *said, int64_t now);

/* log_event(LOG_L_NORMAL, "smtps.accepted", "id=%s from=<%s> size=%llu", …).
 * fmt is a list of key=conversion pairs divided by blanks; known conversions %s %d %u
 * %ld %lu %lld %llu %zu %x and %.*s; values are quoted and escaped when they need it. */
void log_event(enum log_level, const char *event, const char *fmt, ...) PRINTF(3, 4);
uint64_t log_dropped(void);

#endif
