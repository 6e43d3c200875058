/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * log.c -- queue_log's descriptor, options, life and jobs.
 *
 * Comes from: the host (open, drain, close). Goes to: writer.c, reader.c, manager.c by role.
 * Owns: the instance. On failure: open() says which file, what is wrong and what to do.
 */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void release(struct log *l)
{
	manager_close(&l->m);
	writer_close(&l->w);
	reader_close(&l->r);
	if (l->qfd >= 0)
		close(l->qfd);
	free(l);
}

static bool idle(const void *store)
{
	const struct log *l = store;

	return (l->w == NULL || writer_idle(l->w)) && (l->m == NULL || manager_idle(l->m));
}

static void release_it(void *store)
{
	release(store);
}

bool log_job(struct log *l, void (*work)(void *), void (*done)(void *), void *arg)
{
	return jobs_run(&l->jobs, work, done, arg);
}

void log_arm(struct log *l, struct meta1_watch *w, int64_t ms)
{
	jobs_arm(&l->jobs, w, ms);
}

void log_answer(struct log *l, struct meta1_req **req, enum meta1_status st, const char *text)
{
	jobs_answer(&l->jobs, req, st, text);
}

void log_folder(uint32_t writer, char out[16])
{
	if (writer == LOG_QM)
		snprintf(out, 16, "qm");
	else
		snprintf(out, 16, "in/%u", (unsigned)(writer & 0xff));
}

static int log_open(const struct meta1_host *h, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *e)
{
	struct log *l = calloc(1, sizeof(*l));

	if (l == NULL) {
		snprintf(e->text, sizeof(e->text), "queue_log: out of memory");
		return -1;
	}
	l->h = h;
	l->ctx = ctx;
	l->jobs =
	    (struct jobs){.h = h, .ctx = ctx, .idle = idle, .release = release_it, .store = l};
	l->c = conf;
	l->qfd = open(h->qdir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (l->qfd < 0) {
		snprintf(
		    e->text, sizeof(e->text), "queue_directory %s: %s", h->qdir, strerror(errno));
		goto fail;
	}
	if ((h->role & (META1_SMTPS | META1_QMGR)) != 0 &&
	    (format_check(l, e) < 0 || common_foreign(l->qfd, "m", true, "dir", e) < 0))
		goto fail;
	if ((h->role & (META1_SMTPS | META1_QMGR)) != 0 && writer_open(l, e) < 0)
		goto fail;
	if ((h->role & (META1_SMTPC | META1_QMGR)) != 0 && reader_open(l, e) < 0)
		goto fail;
	*inst = l;
	return 0;
fail:
	release(l);
	return -1;
}

static void log_drain(void *inst, struct meta1_req *req)
{
	struct log *l = inst;

	if (l->w != NULL)
		writer_evaluate(l->w, true);
	if (l->m != NULL)
		journal_flush(&l->m->j);
	jobs_drain(&l->jobs, req);
}

/* Without drain() jobs may still run: the last one frees the instance. */
static void log_close(void *inst)
{
	struct log *l = inst;

	jobs_close(&l->jobs);
}

/* A request that is cancelled is finished by its batch or its job all the same: what is
 * under way cannot be taken back, and what is written is either whole or not there. */
static void log_cancel(void *inst, struct meta1_req *req)
{
	(void)inst;
	(void)req;
}

static int log_check(const void *conf, struct meta1_err *e)
{
	const struct log_conf *c = conf;

	if (c->segment_size % LOG_ALIGN != 0) {
		snprintf(e->text, sizeof(e->text),
		    "segment_size: found %lld, expected a multiple of 4096",
		    (long long)c->segment_size);
		return -1;
	}
	return 0;
}

static const struct meta1_queue_ops ops = {
    .size = sizeof(ops),
    .format = LOG_FORMAT,
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
    .cancel = log_cancel,
    .detach = manager_detach,
    .check = fsck_check,
    .fetch = manager_fetch,
};

static const struct meta1_opt options[] = {
    META1_OPT_MSEC(struct log_conf, commit_delay, "4ms", "0..1s",
	"Longest time a message waits for others to share its sync."),
    META1_OPT_BYTES(struct log_conf, segment_size, "64MB", "64KB..1GB",
	"Size of a segment file; a multiple of 4096."),
    META1_OPT_INT(
	struct log_conf, spare_segments, "4", "0..64", "Free segments that are kept for reuse."),
    META1_OPT_MSEC(struct log_conf, status_sync, "20ms", "0..1s",
	"Longest time an outcome waits for the sync of the journal."),
    META1_OPT_BYTES(struct log_conf, checkpoint_size, "16MB", "64KB..1GB",
	"Size of the journal at which a checkpoint is written."),
    META1_OPT_BYTES(struct log_conf, min_free, "64MB", "0..1TB",
	"Free space on the disk below which no new mail is taken."),
    META1_OPT_MSEC(struct log_conf, compact_after, "1m", "0..1d",
	"How long a segment holds little before what waits in it is copied elsewhere."),
    META1_OPT_BYTES(struct log_conf, compact_rate, "4MB", "0..1GB",
	"Bytes a second that are copied so; 0: none, and an old message keeps its whole segment."),
    META1_OPT_BYTES(struct log_conf, max_disk, "0", "0..1024TB",
	"Bytes that the folders of the writers may take on the disk, beyond which no new mail is "
	"taken; 0: only min_free bounds them."),
    META1_OPT_BYTES(struct log_conf, memory, "256MB", "1MB..64GB",
	"Memory for contents being received; beyond it they go to files."),
};

META1_MODULE(queue_log, .kind = META1_QUEUE,
    .roles = META1_SMTPS | META1_SMTPC | META1_QMGR | META1_TOOL, .version = "1",
    .summary = "Append-only log a process, many messages a sync; the default.", .opt = options,
    .nopt = sizeof(options) / sizeof(options[0]), .sizeof_conf = sizeof(struct log_conf),
    .check = log_check, .open = log_open, .drain = log_drain, .close = log_close, .ops = &ops);
