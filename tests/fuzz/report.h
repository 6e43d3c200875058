/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * report.h -- qmgr's end of the session in which filters judge a report: core/qmgr/judge.c with one
 * report, and nothing else of qmgr. Promises: it is told once what became of the report, and what
 * is to be queued has recipients, and is as many bytes as were announced.
 */
#ifndef META1_FUZZ_REPORT_H
#define META1_FUZZ_REPORT_H
#include "fuzz.h"
#include "lib/loop.h"

struct report_told {
	unsigned calls, nrcpt;
	int taken;
	char *text; /* of a report that is taken; the caller's to free */
	size_t len;
};
/* The report goes its way; the answer: what smtps has of the session. */
int report_start(struct loop *, struct report_told *);
void report_stop(void);				/* nobody waits for filters any more */
extern const char report_text[], report_rcpt[]; /* DATA form, with CRLF at its end */

#endif
