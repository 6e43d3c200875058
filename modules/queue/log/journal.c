/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * journal.c -- outcomes on stable storage, one sync for many.
 *
 * Records gather for status_sync (or until 1 MiB), then a worker writes one frame and syncs.
 * The file's room is allocated ahead (twice checkpoint_size), so that outcomes are recorded
 * and space comes free when the disk is full.
 * Comes from: manager.c, units.c. Goes to: the requests of outcome(), units.c, checkpoint.c.
 * On failure: the frame is kept and written to a new file, a second later and again; what
 * waits is bounded (16 MiB), then outcomes answer TEMPFAIL. No file is synced again.
 */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GATHER	   (1u << 20)
#define GATHER_MAX (16u << 20)

struct jwait {
	struct jwait *next;
	struct meta1_req *req;
	uint64_t nr;
};

int journal_make(int dir, uint64_t serial, uint64_t room)
{
	char name[40];
	int fd, e;

	frame_name(name, "journal", serial);
	fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
	if (fd < 0)
		return -errno;
	if ((fallocate(fd, 0, 0, (off_t)room) == 0 || errno == EOPNOTSUPP) && fsync(dir) == 0)
		return fd;
	e = errno;
	close(fd);
	unlinkat(dir, name, 0);
	return -e;
}

static void tick(int fd, short what, void *arg)
{
	struct journal *j = arg;

	(void)fd;
	(void)what;
	j->armed = false;
	journal_flush(j);
}

bool journal_open(struct journal *j, struct manager *m, int dir)
{
	j->m = m;
	j->l = m->l;
	j->dir = dir;
	j->fd = -1;
	j->wtail = &j->wait;
	j->timer = j->l->h->watch_timer(j->l->ctx, -1, tick, j);
	return j->timer != NULL;
}

void journal_close(struct journal *j)
{
	if (j->timer != NULL)
		j->l->h->unwatch(&j->timer);
	while (j->wait != NULL) {
		struct jwait *w = j->wait;

		j->wait = w->next;
		log_answer(j->l, &w->req, META1_TEMPFAIL, "the queue is shut down");
		free(w);
	}
	/* The room that was not needed goes back; an instance that dies leaves it. */
	if (j->fd >= 0 && ftruncate(j->fd, (off_t)j->off) < 0)
		j->l->h->log(j->l->ctx, META1_INFO, "journal %llx keeps its spare room: %s",
		    (unsigned long long)j->serial, strerror(errno));
	if (j->fd >= 0)
		close(j->fd);
	j->fd = -1;
	free(j->gather.b);
	free(j->out.b);
}

static void arm(struct journal *j)
{
	if (j->armed)
		return;
	j->armed = true;
	log_arm(j->l, j->timer, j->l->c->status_sync);
}

bool journal_ready(struct journal *j)
{
	return j->gather.len <= GATHER_MAX && frame_room(&j->gather, sizeof(struct jrec));
}

bool journal_put(struct journal *j, struct jrec *r, const struct jtext *text, struct meta1_req *req)
{
	struct jwait *w = req != NULL ? calloc(1, sizeof(*w)) : NULL;

	if (j->gather.len > GATHER_MAX || (req != NULL && w == NULL) ||
	    !frame_put(&j->gather, r, text)) {
		free(w);
		return false;
	}
	j->put++;
	if (w != NULL) {
		w->req = req;
		w->nr = j->put;
		*j->wtail = w;
		j->wtail = &w->next;
	}
	if (j->gather.len >= GATHER && !j->busy && j->err == 0)
		journal_flush(j);
	else
		arm(j);
	return true;
}

static int write_frame(struct journal *j, int fd, uint64_t serial, uint64_t off)
{
	size_t n = frame_seal(&j->out, serial, off, j->seq), at = 0;

	while (at < n) {
		ssize_t k = pwrite(fd, j->out.b + at, n - at, (off_t)(off + at));

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return k < 0 ? errno : EIO;
		at += (size_t)k;
	}
	return fdatasync(fd) < 0 ? errno : 0;
}

static void work(void *arg)
{
	struct journal *j = arg;
	char name[40];

	j->err = 0;
	j->newfd = -1;
	if (j->using != 0) {
		j->what = "new journal";
		j->newfd = journal_make(j->dir, j->using, 2 * (uint64_t)j->l->c->checkpoint_size);
		if (j->newfd < 0 && j->fd < 0) {
			j->err = -j->newfd;
			return;
		}
	}
	j->what = "journal";
	if (j->newfd < 0) {
		j->err = write_frame(j, j->fd, j->serial, j->off);
		return;
	}
	j->err = write_frame(j, j->newfd, j->using, 0);
	/* Its only frame was promised to nobody: a disk that fails for long must not be filled. */
	frame_name(name, "journal", j->using);
	if (j->err != 0)
		unlinkat(j->dir, name, 0);
}

static void answer(struct journal *j)
{
	while (j->wait != NULL && j->wait->nr <= j->synced) {
		struct jwait *w = j->wait;

		j->wait = w->next;
		if (j->wait == NULL)
			j->wtail = &j->wait;
		log_answer(j->l, &w->req, META1_OK, NULL);
		free(w);
	}
}

/* Neither file is synced again; the frame waits for a third one. */
static void failed(struct journal *j)
{
	struct log *l = j->l;

	l->h->log(l->ctx, META1_WARN,
	    "%s %llx: %s: outcomes wait in memory, next try in a second with a new file", j->what,
	    (unsigned long long)(j->using != 0 ? j->using : j->serial), strerror(j->err));
	l->h->count(l->ctx, "failed_journal_syncs", 1);
	if (j->newfd >= 0)
		close(j->newfd);
	if (j->fd >= 0)
		close(j->fd);
	j->fd = -1;
	j->next = (j->using != 0 ? j->using : j->serial) + 1;
	j->armed = true;
	log_arm(l, j->timer, 1000);
}

static void done(void *arg)
{
	struct journal *j = arg;

	j->busy = false;
	if (j->err != 0) {
		failed(j);
		return;
	}
	if (j->newfd >= 0) {
		if (j->fd >= 0)
			close(j->fd);
		j->fd = j->newfd;
		j->serial = j->using;
		j->off = 0;
	}
	if (j->next == j->using)
		j->next = 0; /* also when there was no room: the old file goes on */
	j->off += seg_align(j->out.len);
	j->seq++;
	j->out.len = 0;
	j->synced = j->output;
	j->l->h->count(j->l->ctx, "journal_syncs", 1);
	answer(j);
	units_synced(j->m);
	ckpt_synced(j->m);
	if (j->m->want || j->off >= (uint64_t)j->l->c->checkpoint_size)
		ckpt_start(j->m);
	if (j->gather.len > 0)
		arm(j);
}

void journal_flush(struct journal *j)
{
	if (j->busy || j->m->t == NULL)
		return;
	if (j->out.len == 0) { /* else a frame that failed goes first */
		struct jbuf b = j->out;

		if (j->gather.len == 0)
			return;
		j->out = j->gather;
		j->gather = b;
		j->output = j->put;
	}
	j->using = j->next;
	j->busy = log_job(j->l, work, done, j);
	if (!j->busy)
		arm(j);
}

void journal_rotate(struct journal *j)
{
	if (j->next == 0)
		j->next = j->serial + 1;
}
