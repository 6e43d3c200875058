/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * common.h -- what every store on a disk needs: jobs on worker threads that end before the
 * instance does, answers, folders.
 */
#ifndef QUEUE_COMMON_H
#define QUEUE_COMMON_H
#include <meta1/queue.h>
#include <stdbool.h>
#include <sys/types.h>

struct jobs { /* part of a store's instance */
	const struct meta1_host *h;
	struct meta1_ctx *ctx;
	bool (*idle)(const void *store); /* nothing waits to be written */
	void (*release)(void *store);	 /* frees it */
	void *store;
	unsigned n;
	struct meta1_req *drain;
	bool closing;
};
/* work on a thread, then done on the loop. false: too many wait, neither runs. */
bool jobs_run(struct jobs *, void (*work)(void *), void (*done)(void *), void *arg);
void jobs_arm(struct jobs *, struct meta1_watch *, int64_t ms);
void jobs_answer(struct jobs *, struct meta1_req **, enum meta1_status, const char *text);
void jobs_drain(struct jobs *, struct meta1_req *); /* after all was told to be written */
void jobs_close(struct jobs *);			    /* released now or by the last job */

/* Opens a folder, made first (mode) when missing. -1: err. */
int common_mkdir(int at, const char *name, mode_t mode, struct meta1_err *);

/* Mail of another store lies below queue_directory: this one would leave it there for ever. Looks
 * for files named by a letter and 16 hex digits in in/N and qm, or (deep) in their two-digit
 * folders. -1: err says which file, of which type, and what to do. What cannot be read is passed
 * over. */
int common_foreign(int qfd, const char *letters, bool deep, const char *type, struct meta1_err *);

#endif
