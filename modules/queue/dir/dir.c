/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dir.c -- queue_dir's descriptor, options, life and jobs.
 *
 * Comes from: the host (open, drain, close). Goes to: writer.c, reader.c, manager.c by role.
 * Owns: the instance. On failure: open() says which file, what is wrong and what to do.
 */
#include "dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void release(struct dir *d)
{
	manager_close(&d->m);
	writer_close(&d->w);
	if (d->qfd >= 0)
		close(d->qfd);
	free(d);
}

static bool idle(const void *store)
{
	const struct dir *d = store;

	return (d->w == NULL || writer_idle(d->w)) && (d->m == NULL || manager_idle(d->m));
}

static void release_it(void *store)
{
	release(store);
}

bool dir_job(struct dir *d, void (*work)(void *), void (*done)(void *), void *arg)
{
	return jobs_run(&d->jobs, work, done, arg);
}

void dir_arm(struct dir *d, struct meta1_watch *w, int64_t ms)
{
	jobs_arm(&d->jobs, w, ms);
}

void dir_answer(struct dir *d, struct meta1_req **req, enum meta1_status st, const char *text)
{
	jobs_answer(&d->jobs, req, st, text);
}

static int dir_open(const struct meta1_host *h, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *e)
{
	struct dir *d = calloc(1, sizeof(*d));

	if (d == NULL) {
		snprintf(e->text, sizeof(e->text), "queue_dir: out of memory");
		return -1;
	}
	d->h = h;
	d->ctx = ctx;
	d->jobs =
	    (struct jobs){.h = h, .ctx = ctx, .idle = idle, .release = release_it, .store = d};
	d->c = conf;
	d->reads = (h->role & (META1_SMTPC | META1_QMGR | META1_TOOL)) != 0;
	d->qfd = open(h->qdir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->qfd < 0) {
		snprintf(
		    e->text, sizeof(e->text), "queue_directory %s: %s", h->qdir, strerror(errno));
		goto fail;
	}
	if ((h->role & (META1_SMTPS | META1_QMGR)) != 0 &&
	    (common_foreign(d->qfd, "sb", false, "log", e) < 0 || writer_open(d, e) < 0))
		goto fail;
	*inst = d;
	return 0;
fail:
	release(d);
	return -1;
}

static void dir_drain(void *inst, struct meta1_req *req)
{
	struct dir *d = inst;

	if (d->w != NULL)
		batch_start(d->w);
	if (d->m != NULL)
		outcomes_flush(&d->m->o);
	jobs_drain(&d->jobs, req);
}

/* Without drain() jobs may still run: the last one frees the instance. */
static void dir_close(void *inst)
{
	struct dir *d = inst;

	jobs_close(&d->jobs);
}

/* What is under way is finished all the same: it is either whole or not there. */
static void dir_cancel(void *inst, struct meta1_req *req)
{
	(void)inst;
	(void)req;
}

static const struct meta1_queue_ops ops = {
    .size = sizeof(ops),
    .format = DIR_FORMAT,
    .writer = writer_number,
    .next_id = writer_next_id,
    .begin = writer_begin,
    .write = writer_write,
    .written = writer_written,
    .commit = writer_commit,
    .abort = writer_abort,
    .tail = writer_tail,
    .reclaim = space_reclaim,
    .load = reader_load,
    .unload = reader_unload,
    .manage = manager_manage,
    .notice = manager_notice,
    .outcome = manager_outcome,
    .attach = manager_attach,
    .cancel = dir_cancel,
    .detach = manager_detach,
    .fetch = manager_fetch,
};

static const struct meta1_opt options[] = {
    META1_OPT_MSEC(struct dir_conf, status_sync, "20ms", "0..1s",
	"Longest time an outcome waits for the sync of the file of outcomes."),
    META1_OPT_BYTES(struct dir_conf, journal_size, "16MB", "64KB..1GB",
	"Size of the file of outcomes at which it is written anew, without what is done."),
    META1_OPT_BYTES(struct dir_conf, min_free, "64MB", "0..1TB",
	"Free space on the disk below which no new mail is taken."),
    META1_OPT_BYTES(struct dir_conf, memory, "256MB", "1MB..64GB",
	"Memory for contents being received; beyond it they go to their files at once."),
};

META1_MODULE(queue_dir, .kind = META1_QUEUE,
    .roles = META1_SMTPS | META1_SMTPC | META1_QMGR | META1_TOOL, .version = "1",
    .summary = "A file a message, to be looked at; for odd file systems.", .opt = options,
    .nopt = sizeof(options) / sizeof(options[0]), .sizeof_conf = sizeof(struct dir_conf),
    .open = dir_open, .drain = dir_drain, .close = dir_close, .ops = &ops);
