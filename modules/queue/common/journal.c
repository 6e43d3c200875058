/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * journal.c -- what became of recipients, on stable storage, one sync for many.
 *
 * Records gather for status_sync (or until 1 MiB), then a worker appends them as one piece and
 * syncs. A file's room is allocated ahead (twice the size at which it is followed by another), so
 * that outcomes are recorded and space comes free when the disk is full. For a start on a full
 * disk, and for a file that failed on one, state/reserve has room that becomes the new file.
 * Comes from: manager.c and whoever has something to say. Goes to: the requests of outcome(), the
 * module's synced(). Owns: state/NAME.SERIAL in use, state/reserve.
 * On failure: the piece is kept and written to a new file, a second later and again; what
 * waits is bounded (16 MiB), then outcomes answer TEMPFAIL. No file is synced again.
 */
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GATHER	    (1u << 20)
#define GATHER_MAX  (16u << 20)
#define RESERVE	    "reserve"
#define RESERVE_MAX (4 << 20)

struct jwait {
	struct jwait *next;
	struct meta1_req *req;
	uint64_t nr;
};

/* ---- files ---- */

/* Room of its own, or 0: this file system gives none ahead. */
static int allocate(int fd, int64_t room)
{
	return fallocate(fd, 0, 0, (off_t)room) == 0 || errno == EOPNOTSUPP ? 0 : errno;
}

/* On a file system that gives no room ahead it would be worth nothing. */
static void keep_reserve(int dir, int64_t size)
{
	int fd = openat(dir, RESERVE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);

	if (fd < 0)
		return;
	if (fallocate(fd, 0, 0, (off_t)(size < RESERVE_MAX ? size : RESERVE_MAX)) < 0)
		unlinkat(dir, RESERVE, 0);
	close(fd);
}

/* Its blocks are there already, and its name takes no more than the old one. */
static int from_reserve(int dir, const char *name)
{
	if (renameat(dir, RESERVE, dir, name) < 0)
		return -1;
	return openat(dir, name, O_WRONLY | O_CLOEXEC);
}

static int make(int dir, const char *what, uint64_t serial, int64_t size, bool need)
{
	char name[40];
	int fd, e;

	serial_name(name, what, serial);
	fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
	e = fd < 0 ? errno : allocate(fd, 2 * size);
	if (e != 0 && fd >= 0) {
		close(fd);
		unlinkat(dir, name, 0);
		fd = -1;
	}
	if (fd >= 0)
		keep_reserve(dir, size);
	else if ((e == ENOSPC || e == EDQUOT) && need)
		fd = from_reserve(dir, name);
	if (fd < 0)
		return -e;
	if (fsync(dir) == 0)
		return fd;
	e = errno;
	close(fd);
	unlinkat(dir, name, 0);
	return -e;
}

int journal_make(int dir, const char *what, uint64_t serial, int64_t size)
{
	return make(dir, what, serial, size, true);
}

/* ---- life ---- */

static void tick(int fd, short what, void *arg)
{
	struct journal *j = arg;

	(void)fd;
	(void)what;
	j->armed = false;
	journal_flush(j);
}

bool journal_open(struct journal *j, struct store *s, struct manager *m)
{
	j->s = s;
	j->m = m;
	j->fd = -1;
	j->wtail = &j->wait;
	j->timer = s->h->watch_timer(s->ctx, -1, tick, j);
	return j->timer != NULL;
}

void journal_start(struct journal *j, int fd, uint64_t serial)
{
	j->fd = fd >= 0 ? fd : -1;
	j->serial = serial;
	j->next = fd >= 0 ? 0 : serial;
	j->open = true;
}

void journal_close(struct journal *j)
{
	if (j->s == NULL) /* never opened */
		return;
	if (j->timer != NULL)
		j->s->h->unwatch(&j->timer);
	while (j->wait != NULL) {
		struct jwait *w = j->wait;

		j->wait = w->next;
		store_answer(j->s, &w->req, META1_TEMPFAIL, "the queue is shut down");
		free(w);
	}
	/* The room that was not needed goes back; an instance that dies leaves it. */
	if (j->fd >= 0 && ftruncate(j->fd, (off_t)j->off) < 0)
		j->s->h->log(j->s->ctx, META1_INFO, "%s %llx keeps its spare room: %s",
		    j->kind->name, (unsigned long long)j->serial, strerror(errno));
	if (j->fd >= 0)
		close(j->fd);
	j->fd = -1;
	free(j->gather.b);
	free(j->out.b);
}

bool journal_idle(const struct journal *j)
{
	return !j->open || (!j->busy && j->gather.len == 0 && j->out.len == 0);
}

/* ---- records ---- */

static void arm(struct journal *j)
{
	if (j->armed)
		return;
	j->armed = true;
	store_arm(j->s, j->timer, j->delay);
}

bool journal_has_room(const struct journal *j)
{
	return j->gather.len <= GATHER_MAX;
}

bool journal_add(struct journal *j, bool (*put)(struct bytes *, const void *), const void *rec,
    struct meta1_req *req)
{
	struct jwait *w = req != NULL ? calloc(1, sizeof(*w)) : NULL;

	if (!journal_has_room(j) || (req != NULL && w == NULL) || !put(&j->gather, rec)) {
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

/* ---- pieces ---- */

static int append(struct journal *j, int fd, uint64_t serial, uint64_t off)
{
	size_t n = j->kind->seal(j, serial, off);
	int err = bytes_write(fd, j->out.b, n, off);

	return err != 0 ? err : fdatasync(fd) < 0 ? errno : 0;
}

static void work(void *arg)
{
	struct journal *j = arg;
	char name[40];

	j->err = 0;
	j->newfd = -1;
	if (j->using != 0) {
		j->what = "new ";
		j->newfd = make(j->dir, j->kind->name, j->using, j->size, j->fd < 0);
		if (j->newfd < 0 && j->fd < 0) {
			j->err = -j->newfd;
			return;
		}
	}
	j->what = "";
	if (j->newfd < 0) {
		j->err = append(j, j->fd, j->serial, j->off);
		return;
	}
	j->err = append(j, j->newfd, j->using, 0);
	/* Its only piece was promised to nobody: a disk that fails for long must not be filled. */
	serial_name(name, j->kind->name, j->using);
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
		store_answer(j->s, &w->req, META1_OK, NULL);
		free(w);
	}
}

/* Neither file is synced again; the frame waits for a third one. */
static void failed(struct journal *j)
{
	struct store *s = j->s;

	s->h->log(s->ctx, META1_WARN,
	    "%s%s %llx: %s: outcomes wait in memory, next try in a second with a new file", j->what,
	    j->kind->name, (unsigned long long)(j->using != 0 ? j->using : j->serial),
	    strerror(j->err));
	s->h->count(s->ctx, "failed_journal_syncs", 1);
	if (j->newfd >= 0)
		close(j->newfd);
	if (j->fd >= 0)
		close(j->fd);
	j->fd = -1;
	j->next = (j->using != 0 ? j->using : j->serial) + 1;
	j->armed = true;
	store_arm(s, j->timer, 1000);
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
	j->off += (j->out.len + JOURNAL_ALIGN - 1) & ~(uint64_t)(JOURNAL_ALIGN - 1);
	j->seq++;
	j->out.len = 0;
	j->synced = j->output;
	j->s->h->count(j->s->ctx, "journal_syncs", 1);
	answer(j);
	j->kind->synced(j->m);
	if (j->gather.len > 0)
		arm(j);
}

void journal_flush(struct journal *j)
{
	if (j->busy || !j->open)
		return;
	if (j->out.len == 0) { /* else a frame that failed goes first */
		struct bytes b = j->out;

		if (j->gather.len == 0)
			return;
		j->out = j->gather;
		j->gather = b;
		j->output = j->put;
	}
	j->using = j->next;
	j->busy = store_job(j->s, work, done, j);
	if (!j->busy)
		arm(j);
}

void journal_rotate(struct journal *j)
{
	if (j->next == 0)
		j->next = j->serial + 1;
}
