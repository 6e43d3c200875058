/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * batch.c -- what was committed meanwhile gets its end, its sync and its name; one sync of a
 * folder serves all.
 *
 * A message's file is synced before it has its name; it is answered when the folder with the
 * name was synced. One batch of a process is in flight at a time.
 * Comes from: writer.c. Goes to: the requests of commit, with the notice for qmgr.
 * On failure: of one file: that message says TEMPFAIL; of a folder: all of the batch.
 */
#define XXH_INLINE_ALL
#include "dir.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define BATCH 200 /* messages */

struct batch {
	struct writer *w;
	struct meta1_qmsg *first;
	uint64_t last;	   /* the message before, in this life */
	bool touched[256]; /* folders to be synced */
	int err;	   /* of one of them */
};

static unsigned sub_of(uint64_t number)
{
	return (unsigned)(number >> 14 & 0xff);
}

static int finish_file(struct batch *b, struct meta1_qmsg *m)
{
	struct trailer r = {.number = m->number, .len = m->len};
	int err;

	/* What a job wrote before is counted in; the rest is in m->in. */
	if (m->out.len == 0) {
		struct bytes t = m->out;

		m->out = m->in;
		m->in = t;
	}
	err = writer_part(m);
	r.sum = XXH3_64bits_digest(m->sum);
	bytes_fmt(&m->env, "after %016" PRIx64 "\n", b->last);
	r.envlen = m->env.len;
	r.envsum = text_sum(m->env.b, m->env.len);
	file_trailer(&m->env, &r);
	if (err == 0 && m->env.bad)
		err = ENOMEM;
	if (err == 0)
		err = writer_put(m, m->env.b, m->env.len);
	if (err == 0 && m->reserved && ftruncate(m->fd, (off_t)m->on_disk) < 0)
		err = errno;
	if (err == 0 && fdatasync(m->fd) < 0)
		err = errno;
	close(m->fd);
	m->fd = -1;
	return err;
}

static int give_name(struct batch *b, struct meta1_qmsg *m)
{
	int dir = b->w->dir, fd;
	char from[24], to[32], sub[4];
	struct meta1_err e;

	snprintf(from, sizeof(from), "t%016" PRIx64, m->tmp);
	file_name(m->number, to);
	if (renameat(dir, from, dir, to) < 0) {
		if (errno != ENOENT)
			return errno;
		file_sub(m->number, sub);
		fd = folder_make(dir, sub, 02750, &e); /* synced in its folder */
		if (fd < 0)
			return errno;
		close(fd);
		b->w->named[sub_of(m->number)] = true;
		if (renameat(dir, from, dir, to) < 0)
			return errno;
	}
	m->made = false; /* its temporary name is gone */
	b->touched[sub_of(m->number)] = true;
	return 0;
}

/* One that was there may have been made by somebody who was killed, or failed, before its own name
 * was on disk. */
static void sync_names(struct batch *b)
{
	struct writer *w = b->w;
	bool all = true;

	for (unsigned i = 0; i < 256; i++)
		all = all && (!b->touched[i] || w->named[i]);
	if (all)
		return;
	if (fsync(w->dir) < 0) {
		b->err = errno;
		return;
	}
	for (unsigned i = 0; i < 256; i++)
		w->named[i] = w->named[i] || b->touched[i];
}

static void sync_folders(struct batch *b)
{
	for (unsigned i = 0; i < 256; i++) {
		char sub[4];
		int fd;

		if (!b->touched[i])
			continue;
		snprintf(sub, sizeof(sub), "%02x", i);
		fd = openat(b->w->dir, sub, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 || fsync(fd) < 0)
			b->err = errno;
		if (fd >= 0)
			close(fd);
	}
}

/* Each message names the one before it: so when one of them is not there none counts, or fsck would
 * miss it. */
static void take_back(struct batch *b)
{
	for (struct meta1_qmsg *m = b->first; m != NULL; m = m->next) {
		char name[32];

		if (m->err != 0)
			continue;
		m->err = b->err;
		file_name(m->number, name);
		unlinkat(b->w->dir, name, 0);
	}
}

static void work(void *arg)
{
	struct batch *b = arg;

	for (struct meta1_qmsg *m = b->first; m != NULL; m = m->next) {
		m->err = finish_file(b, m);
		if (m->err == 0)
			m->err = give_name(b, m);
		if (m->err == 0)
			b->last = m->number;
	}
	sync_folders(b);
	sync_names(b);
	if (b->err != 0)
		take_back(b);
}

static void answer(struct writer *w, struct meta1_qmsg *m)
{
	struct dir_notice n = {.kind = NOTICE_MESSAGE,
	    .writer = w->number,
	    .life = w->life,
	    .number = m->number,
	    .prev = w->end,
	    .len = m->len};
	struct meta1_buf val = {&n, sizeof(n)};
	struct meta1_reply r = {.size = sizeof(r), .nval = 1, .val = &val};
	struct meta1_req *req = m->req;
	struct store *d = w->d;

	if (m->err != 0) {
		char text[160];

		snprintf(text, sizeof(text), "file of a message: %s", strerror(m->err));
		d->h->log(
		    d->ctx, META1_WARN, "writer %u: %s: a message answered 452", w->number, text);
		d->h->count(d->ctx, "failed_batches", 1);
		if (m->err == ENOSPC || m->err == EDQUOT)
			space_out(w);
		store_answer(d, &m->req, META1_TEMPFAIL, text);
		writer_drop(&m);
		return;
	}
	w->end = m->number;
	d->h->count(d->ctx, "messages", 1);
	d->h->count(d->ctx, "bytes", (int64_t)m->len);
	writer_drop(&m);
	if (req != NULL)
		d->h->finish(req, META1_OK, &r);
}

static void done(void *arg)
{
	struct batch *b = arg;
	struct writer *w = b->w;
	int64_t syncs = 0;

	for (unsigned i = 0; i < 256; i++)
		syncs += b->touched[i];
	while (b->first != NULL) {
		struct meta1_qmsg *m = b->first;

		b->first = m->next;
		syncs++;
		answer(w, m);
	}
	w->d->h->count(w->d->ctx, "batches", 1);
	w->d->h->count(w->d->ctx, "syncs", syncs);
	w->batch = NULL;
	free(b);
	if (w->q != NULL)
		store_arm(w->d, w->timer, 0); /* after this turn, so that its dots are in */
}

void batch_add(struct meta1_qmsg *m)
{
	struct writer *w = m->w;

	m->next = NULL;
	*w->qtail = m;
	w->qtail = &m->next;
	store_arm(w->d, w->timer, 0);
}

/* Numbers are given here, so that they grow in the order of the commits. */
void batch_start(struct writer *w)
{
	struct meta1_qmsg **end = &w->q;
	struct batch *b;
	unsigned n = 0;

	if (w->batch != NULL || w->q == NULL)
		return;
	b = calloc(1, sizeof(*b));
	for (; b != NULL && *end != NULL && n < BATCH; end = &(*end)->next) {
		struct meta1_qmsg *m = *end;

		if (m->number == 0)
			m->number = numbers_next(&w->ids);
		if (m->number == 0)
			break;
		if (m->tmp == 0)
			m->tmp = m->number;
		n++;
	}
	if (n > 0) {
		struct meta1_qmsg *rest = *end;

		b->w = w;
		b->last = w->end;
		b->first = w->q;
		*end = NULL;
		if (store_job(w->d, work, done, b)) {
			w->batch = b;
			w->q = rest;
			if (rest == NULL)
				w->qtail = &w->q;
			return;
		}
		*end = rest;
	}
	free(b);
	store_arm(w->d, w->timer, 10); /* no thread, number or memory right now */
}
