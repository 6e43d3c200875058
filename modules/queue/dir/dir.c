/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dir.c -- queue_dir's descriptor and options, and which faces it has in which role.
 *
 * Comes from: the host, through common/store.c. Goes to: writer.c, reader.c, manager.c by role.
 * Owns: nothing. On failure: open() says which file, what is wrong and what to do.
 */
#include "dir.h"

static void release(struct store *d)
{
	manager_close(&d->m);
	writer_close(&d->w);
}

static bool idle(const struct store *d)
{
	return (d->w == NULL || writer_idle(d->w)) && (d->m == NULL || journal_idle(&d->m->o.j));
}

static void flush(struct store *d)
{
	if (d->w != NULL)
		batch_start(d->w);
	if (d->m != NULL)
		outcomes_flush(d->m);
}

static int faces(struct store *d, struct meta1_err *e)
{
	if ((d->h->role & (META1_SMTPS | META1_QMGR)) == 0)
		return 0;
	return folder_foreign(d->qfd, "sb", false, "log", e) < 0 ? -1 : writer_open(d, e);
}

static int dir_open(const struct meta1_host *h, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *e)
{
	static const struct store_life life = {"queue_dir", faces, flush, idle, release};

	return store_open(&life, h, ctx, conf, inst, e);
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
    .cancel = store_cancel,
    .detach = manager_detach,
    .fetch = manager_fetch,
    .check = fsck_check,
};

static const struct meta1_opt options[] = {
    META1_OPT_MSEC(struct conf, status_sync, "20ms", "0..1s",
	"Longest time an outcome waits for the sync of the file of outcomes."),
    META1_OPT_BYTES(struct conf, journal_size, "16MB", "64KB..1GB",
	"Size of the file of outcomes at which it is written anew, without what is done."),
    META1_OPT_BYTES(struct conf, min_free, "64MB", "0..1TB",
	"Free space on the disk below which no new mail is taken."),
    META1_OPT_BYTES(struct conf, memory, "256MB", "1MB..64GB",
	"Memory for contents being received; beyond it they go to their files at once."),
};

META1_MODULE(queue_dir, .kind = META1_QUEUE,
    .roles = META1_SMTPS | META1_SMTPC | META1_QMGR | META1_TOOL, .version = "1",
    .summary = "A file a message, to be looked at; for odd file systems.", .opt = options,
    .nopt = sizeof(options) / sizeof(options[0]), .sizeof_conf = sizeof(struct conf),
    .open = dir_open, .drain = store_drain, .close = store_close, .ops = &ops);
