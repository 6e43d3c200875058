/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * log.c -- queue_log's descriptor and options, and which faces it has in which role.
 *
 * Comes from: the host, through common/store.c. Goes to: writer.c, reader.c, manager.c by role.
 * Owns: nothing. On failure: open() says which file, what is wrong and what to do.
 */
#include "log.h"

static void release(struct store *l)
{
	manager_close(&l->m);
	writer_close(&l->w);
	reader_close(&l->r);
}

static bool idle(const struct store *l)
{
	return (l->w == NULL || writer_idle(l->w)) && (l->m == NULL || journal_idle(&l->m->j));
}

static void flush(struct store *l)
{
	if (l->w != NULL)
		writer_evaluate(l->w, true);
	if (l->m != NULL)
		journal_flush(&l->m->j);
}

static int faces(struct store *l, struct meta1_err *e)
{
	bool writes = (l->h->role & (META1_SMTPS | META1_QMGR)) != 0;

	if (writes && (format_check(l, e) < 0 || folder_foreign(l->qfd, "m", true, "dir", e) < 0 ||
			  writer_open(l, e) < 0))
		return -1;
	return (l->h->role & (META1_SMTPC | META1_QMGR)) != 0 ? reader_open(l, e) : 0;
}

static int log_open(const struct meta1_host *h, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *e)
{
	static const struct store_life life = {"queue_log", faces, flush, idle, release};

	return store_open(&life, h, ctx, conf, inst, e);
}

static int log_check(const void *conf, struct meta1_err *e)
{
	const struct conf *c = conf;

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
    .cancel = store_cancel,
    .detach = manager_detach,
    .check = fsck_check,
    .fetch = manager_fetch,
};

static const struct meta1_opt options[] = {
    META1_OPT_MSEC(struct conf, commit_delay, "4ms", "0..1s",
	"Longest time a message waits for others to share its sync."),
    META1_OPT_BYTES(struct conf, segment_size, "64MB", "64KB..1GB",
	"Size of a segment file; a multiple of 4096."),
    META1_OPT_INT(
	struct conf, spare_segments, "4", "0..64", "Free segments that are kept for reuse."),
    META1_OPT_MSEC(struct conf, status_sync, "20ms", "0..1s",
	"Longest time an outcome waits for the sync of the journal."),
    META1_OPT_BYTES(struct conf, checkpoint_size, "16MB", "64KB..1GB",
	"Size of the journal at which a checkpoint is written."),
    META1_OPT_BYTES(struct conf, min_free, "64MB", "0..1TB",
	"Free space on the disk below which no new mail is taken."),
    META1_OPT_MSEC(struct conf, compact_after, "1m", "0..1d",
	"How long a segment holds little before what waits in it is copied elsewhere."),
    META1_OPT_BYTES(struct conf, compact_rate, "4MB", "0..1GB",
	"Bytes a second that are copied so; 0: none, and an old message keeps its whole segment."),
    META1_OPT_BYTES(struct conf, max_disk, "0", "0..1024TB",
	"Bytes that the folders of the writers may take on the disk, beyond which no new mail is "
	"taken; 0: only min_free bounds them."),
    META1_OPT_BYTES(struct conf, memory, "256MB", "1MB..64GB",
	"Memory for contents being received; beyond it they go to files."),
};

META1_MODULE(queue_log, .kind = META1_QUEUE,
    .roles = META1_SMTPS | META1_SMTPC | META1_QMGR | META1_TOOL, .version = "1",
    .summary = "Append-only log a process, many messages a sync; the default.", .opt = options,
    .nopt = sizeof(options) / sizeof(options[0]), .sizeof_conf = sizeof(struct conf),
    .check = log_check, .open = log_open, .drain = store_drain, .close = store_close, .ops = &ops);
