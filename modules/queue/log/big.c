/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * big.c -- a content with a file of its own: streamed, synced with its directory
 * entry, and only then its envelope joins a batch.
 *
 * One job at a time writes what waits; the message pauses (META1_MORE) when 1 MiB waits.
 * Comes from: writer.c. Goes to: writer_gather(). Owns: the file until the batch is durable.
 * On failure: the message fails with the cause, the file is unlinked.
 */
#define XXH_INLINE_ALL
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define FEED  (256u << 10) /* bytes that start a job */
#define PAUSE (1u << 20)   /* bytes that stop the sender */

struct big {
	int fd, err;
	bool made; /* the file exists */
	bool busy, finish, drop;
	uint64_t unit, sum, queued;
	struct chunk *out; /* of the job */
	XXH3_state_t *st;
};

uint64_t big_unit(const struct big *b)
{
	return b->unit;
}

uint64_t big_sum(const struct big *b)
{
	return b->sum;
}

bool big_make(struct meta1_qmsg *m)
{
	struct big *b = calloc(1, sizeof(*b));

	if (b == NULL)
		return false;
	b->fd = -1;
	b->unit = ids_next(&m->w->ids);
	b->st = XXH3_createState();
	if (b->unit == 0 || b->st == NULL || XXH3_64bits_reset(b->st) == XXH_ERROR) {
		XXH3_freeState(b->st);
		free(b);
		return false;
	}
	m->big = b;
	return true;
}

static int write_all(int fd, const uint8_t *p, size_t n)
{
	while (n > 0) {
		ssize_t k = write(fd, p, n);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return k < 0 ? errno : EIO;
		p += k;
		n -= (size_t)k;
	}
	return 0;
}

static void work(void *arg)
{
	struct meta1_qmsg *m = arg;
	struct big *b = m->big;
	char name[24];

	if (b->err != 0)
		return;
	if (b->fd < 0) {
		seg_name(name, 'b', b->unit);
		b->fd = openat(m->w->dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
		if (b->fd < 0) {
			b->err = errno;
			return;
		}
		b->made = true;
		if (fchmod(b->fd, 0640) < 0) { /* whatever the umask: the group reads */
			b->err = errno;
			return;
		}
	}
	for (struct chunk *c = b->out; c != NULL && b->err == 0; c = c->next) {
		b->err = write_all(b->fd, c->b, c->len);
		XXH3_64bits_update(b->st, c->b, c->len);
	}
	if (!b->finish || b->err != 0)
		return;
	b->sum = XXH3_64bits_digest(b->st);
	if (fdatasync(b->fd) < 0 || fsync(m->w->dir) < 0)
		b->err = errno;
	close(b->fd);
	b->fd = -1;
}

static void discard(void *arg)
{
	struct meta1_qmsg *m = arg;
	char name[24];

	if (m->big->fd >= 0)
		close(m->big->fd);
	seg_name(name, 'b', m->big->unit);
	if (m->big->made)
		unlinkat(m->w->dir, name, 0);
}

void big_free(struct meta1_qmsg *m)
{
	if (m->big == NULL)
		return;
	writer_chunks(m->w, &m->big->out);
	XXH3_freeState(m->big->st);
	free(m->big);
	m->big = NULL;
}

static void discarded(void *arg)
{
	struct meta1_qmsg *m = arg;

	big_free(m);
	writer_drop(&m);
}

void big_drop(struct meta1_qmsg **mp)
{
	struct meta1_qmsg *m = *mp;

	*mp = NULL;
	m->big->drop = true;
	m->ev = NULL;
	if (m->big->busy)
		return;
	/* A thousand jobs wait: better a short unlink here than a file that nobody owns. */
	if (!store_job(m->w->l, discard, discarded, m)) {
		discard(m);
		discarded(m);
	}
}

static void fail(struct meta1_qmsg *m, const char *why)
{
	m->failed = true;
	snprintf(m->why, sizeof(m->why), "file of its own for a large message: %s", why);
	if (m->req != NULL) {
		store_answer(m->w->l, &m->req, META1_TEMPFAIL, m->why);
		big_drop(&m);
	}
}

static void done(void *arg);

static void start(struct meta1_qmsg *m)
{
	struct big *b = m->big;

	b->out = m->head;
	b->queued = m->pending;
	b->finish = m->req != NULL;
	m->head = m->tail = NULL;
	m->pending = 0;
	b->busy = store_job(m->w->l, work, done, m);
	if (!b->busy)
		fail(m, "too much work waits");
}

static void done(void *arg)
{
	struct meta1_qmsg *m = arg;
	struct big *b = m->big;
	struct store *l = m->w->l;
	bool was_paused = m->paused, committed = m->req != NULL;

	b->busy = false;
	writer_chunks(m->w, &b->out);
	m->paused = false;
	if (b->err == ENOSPC || b->err == EDQUOT)
		space_out(m->w);
	if (b->drop) {
		big_drop(&m);
		return;
	}
	if (b->err != 0) {
		fail(m, strerror(b->err)); /* frees a committed one */
		if (committed)
			return;
	} else if (b->finish) {
		l->h->count(l->ctx, "syncs", 1);
		XXH3_freeState(b->st);
		b->st = NULL;
		writer_gather(m);
		return;
	} else if (committed) {
		start(m);
		return;
	}
	if (was_paused && m->ev != NULL && m->ev->ready != NULL)
		m->ev->ready(m->arg);
}

void big_feed(struct meta1_qmsg *m)
{
	bool tight = m->w->mem > (uint64_t)m->w->l->c->memory;

	if (!m->big->busy && m->pending >= (tight ? 1 : FEED))
		start(m);
	m->paused = !m->failed && m->big->busy && m->pending >= (tight ? FEED : PAUSE);
}

void big_finish(struct meta1_qmsg *m)
{
	if (!m->big->busy)
		start(m);
}
