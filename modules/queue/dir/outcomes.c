/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * outcomes.c -- what became of recipients, as lines of text, one sync for many.
 *
 * Lines gather for status_sync, then a worker appends them to state/outcomes.N and syncs. Each such
 * piece begins at a multiple of 4096, so that no block holds parts of two syncs. Room is allocated
 * ahead, so that outcomes are recorded and space comes free when the disk is full. A file that
 * has journal_size is followed by a new one, in which all that still matters is said
 * again beside what is new; when that is synced the older files go.
 * Comes from: manager.c. Goes to: the requests of outcome(), manager_synced().
 * On failure: the piece is written again to a new file, a second later and again; what waits is
 * bounded (16 MiB), then outcomes say TEMPFAIL. No file is synced again.
 */
#include "dir.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ALIGN	   4096u
#define GATHER	   (1u << 20)
#define GATHER_MAX (16u << 20)
#define PIECE	   2000 /* messages said again in a turn */

struct owait {
	struct owait *next;
	struct meta1_req *req;
	uint64_t nr;
};

static void file_of(char out[40], uint64_t serial)
{
	snprintf(out, 40, "outcomes.%016" PRIx64, serial);
}

int outcomes_make(int dir, uint64_t serial, int64_t room)
{
	char name[40];
	int fd, e;

	file_of(name, serial);
	fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
	if (fd < 0)
		return -errno;
	if ((fallocate(fd, 0, 0, room) == 0 || errno == EOPNOTSUPP) && fsync(dir) == 0)
		return fd;
	e = errno;
	close(fd);
	unlinkat(dir, name, 0);
	return -e;
}

static void tick(int fd, short what, void *arg)
{
	struct outcomes *o = arg;

	(void)fd;
	(void)what;
	o->armed = false;
	outcomes_flush(o);
}

bool outcomes_open(struct outcomes *o, struct manager *m, int dir)
{
	o->m = m;
	o->dir = dir;
	o->fd = -1;
	o->wtail = &o->wait;
	o->timer = m->d->h->watch_timer(m->d->ctx, -1, tick, o);
	return o->timer != NULL;
}

void outcomes_close(struct outcomes *o)
{
	if (o->timer != NULL)
		o->m->d->h->unwatch(&o->timer);
	while (o->wait != NULL) {
		struct owait *w = o->wait;

		o->wait = w->next;
		dir_answer(o->m->d, &w->req, META1_TEMPFAIL, "the queue is shut down");
		free(w);
	}
	if (o->fd >= 0)
		close(o->fd);
	free(o->gather.b);
	free(o->out.b);
}

static void arm(struct outcomes *o)
{
	if (o->armed)
		return;
	o->armed = true;
	dir_arm(o->m->d, o->timer, o->m->d->c->status_sync);
}

/* "SUM WRITER NUMBER RCPT STATE TRIES NEXT TIME REASON BY"; done: "SUM WRITER NUMBER done". */
static bool put_line(struct outcomes *o, const struct rec *r, uint32_t rcpt, const struct rst *s,
    struct meta1_buf reason, const char *by)
{
	struct text *t = &o->gather;
	size_t at, body;
	char sum[20];

	if (t->len == 0)
		text_add(t, "#\n", 2); /* a piece begins */
	at = t->len;
	body = at + 17;
	text_fmt(t, "%016d %" PRIu32 " %016" PRIx64, 0, r->writer, r->number);
	if (s == NULL) {
		text_add(t, " done", 5);
	} else {
		text_fmt(t, " %" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRId64 " %" PRId64 " ", rcpt,
		    s->state, s->tries, s->next_try, o->m->d->h->wall(o->m->d->ctx));
		text_word(t, reason);
		text_add(t, " ", 1);
		text_word(t, (struct meta1_buf){by, by != NULL ? strlen(by) : 0});
	}
	text_add(t, "\n", 1);
	if (t->bad) {
		t->bad = false;
		t->len = at;
		return false;
	}
	snprintf(sum, sizeof(sum), "%016" PRIx64, text_sum(t->b + body, t->len - body));
	memcpy(t->b + at, sum, 16);
	o->put++;
	return true;
}

bool outcomes_put(struct outcomes *o, const struct rec *r, uint32_t rcpt, const struct rst *s,
    struct meta1_buf reason, const char *by, struct meta1_req *req)
{
	struct owait *w = req != NULL ? calloc(1, sizeof(*w)) : NULL;

	if (o->gather.len > GATHER_MAX || (req != NULL && w == NULL) ||
	    !put_line(o, r, rcpt, s, reason, by)) {
		free(w);
		return false;
	}
	if (w != NULL) {
		w->req = req;
		w->nr = o->put;
		*o->wtail = w;
		o->wtail = &w->next;
	}
	if (o->gather.len >= GATHER && !o->busy && o->err == 0)
		outcomes_flush(o);
	else
		arm(o);
	return true;
}

static int append(struct outcomes *o, int fd, uint64_t off)
{
	for (size_t at = 0; at < o->out.len;) {
		ssize_t k = pwrite(fd, o->out.b + at, o->out.len - at, (off_t)(off + at));

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
	struct outcomes *o = arg;
	char name[40];

	o->err = 0;
	o->newfd = -1;
	if (o->using != 0) {
		o->newfd = outcomes_make(o->dir, o->using, 2 * o->m->d->c->journal_size);
		if (o->newfd < 0 && o->fd < 0) {
			o->err = -o->newfd;
			return;
		}
	}
	if (o->newfd < 0) {
		o->err = append(o, o->fd, o->off);
		return;
	}
	o->err = append(o, o->newfd, 0);
	file_of(name, o->using);
	if (o->err != 0) /* promised to nobody; a disk that fails for long must not be filled */
		unlinkat(o->dir, name, 0);
}

static void failed(struct outcomes *o)
{
	struct dir *d = o->m->d;

	d->h->log(d->ctx, META1_WARN,
	    "outcomes %llx: %s: they wait in memory, next try in a second with a new file",
	    (unsigned long long)(o->using != 0 ? o->using : o->serial), strerror(o->err));
	d->h->count(d->ctx, "failed_journal_syncs", 1);
	if (o->newfd >= 0)
		close(o->newfd);
	if (o->fd >= 0)
		close(o->fd);
	o->fd = -1;
	o->next = (o->using != 0 ? o->using : o->serial) + 1;
	o->armed = true;
	dir_arm(d, o->timer, 1000);
}

static void answer(struct outcomes *o)
{
	while (o->wait != NULL && o->wait->nr <= o->synced) {
		struct owait *w = o->wait;

		o->wait = w->next;
		if (o->wait == NULL)
			o->wtail = &o->wait;
		dir_answer(o->m->d, &w->req, META1_OK, NULL);
		free(w);
	}
}

static void clean_step(struct outcomes *o);

static void done(void *arg)
{
	struct outcomes *o = arg;

	o->busy = false;
	if (o->err != 0) {
		failed(o);
		return;
	}
	if (o->newfd >= 0) {
		if (o->fd >= 0)
			close(o->fd);
		o->fd = o->newfd;
		o->serial = o->using;
		o->off = 0;
	}
	if (o->next == o->using)
		o->next = 0; /* also when there was no room: the old file goes on */
	o->off += (o->out.len + ALIGN - 1) & ~(uint64_t)(ALIGN - 1);
	o->out.len = 0;
	o->synced = o->output;
	o->m->d->h->count(o->m->d->ctx, "journal_syncs", 1);
	answer(o);
	manager_synced(o->m);
	if (o->cleaning)
		clean_step(o);
	else if (o->off >= (uint64_t)o->m->d->c->journal_size)
		outcomes_clean(o);
	if (o->gather.len > 0)
		arm(o);
}

void outcomes_flush(struct outcomes *o)
{
	if (o->busy || !o->m->replayed)
		return;
	if (o->out.len == 0) { /* else a piece that failed goes first */
		struct text t = o->out;

		if (o->gather.len == 0)
			return;
		o->out = o->gather;
		o->gather = t;
		o->output = o->put;
	}
	o->using = o->next;
	o->busy = dir_job(o->m->d, work, done, o);
	if (!o->busy)
		arm(o);
}

/* ---- cleaning ---- */

static void remove_old(void *arg)
{
	struct outcomes *o = arg;

	for (uint64_t s = o->keep; s-- > 1;) {
		char name[40];

		file_of(name, s);
		if (unlinkat(o->dir, name, 0) < 0 && errno == ENOENT && o->keep - s > 64)
			break; /* gaps are short: a serial is skipped for a file that failed */
	}
}

static void removed(void *arg)
{
	struct outcomes *o = arg;

	o->removing = o->cleaning = false;
	o->m->d->h->count(o->m->d->ctx, "checkpoints", 1);
}

static bool say_again(struct outcomes *o, const struct rec *r)
{
	static const struct meta1_buf none;

	if (r->dead)
		return put_line(o, r, 0, NULL, none, NULL);
	for (uint32_t i = 0; i < r->nst; i++) {
		const struct rst *s = &r->st[i];
		struct meta1_buf why = {s->reason, s->reason != NULL ? strlen(s->reason) : 0};

		if ((s->state != META1_R_WAITING || s->tries > 0 || s->next_try != 0) &&
		    !put_line(o, r, i, s, why, NULL))
			return false;
	}
	return true;
}

static struct rec *walk_next(struct outcomes *o, const struct rec *r)
{
	struct rec *next = r->next;

	if (next == NULL && !o->of_dead) {
		o->of_dead = true;
		next = o->m->t.dead.first;
	}
	return next;
}

void outcomes_skip(struct outcomes *o, const struct rec *gone)
{
	if (o->cleaning && o->walk == gone)
		o->walk = walk_next(o, gone);
}

static void clean_step(struct outcomes *o)
{
	if (o->removing)
		return;
	if (!o->walked) {
		for (unsigned n = 0; o->walk != NULL && n < PIECE && o->gather.len < GATHER; n++) {
			if (!say_again(o, o->walk))
				break;
			o->walk = walk_next(o, o->walk);
		}
		o->walked = o->walk == NULL;
		o->need = o->put;
		if (o->gather.len > 0)
			arm(o);
	}
	/* Its own first file may not have been made for lack of room: then nothing goes. */
	if (o->walked && o->synced >= o->need) {
		if (o->serial < o->keep)
			o->cleaning = false;
		else
			o->removing = dir_job(o->m->d, remove_old, removed, o);
		if (o->cleaning && !o->removing)
			o->cleaning = false;
	}
}

void outcomes_clean(struct outcomes *o)
{
	if (o->cleaning || !o->m->loaded)
		return;
	if (o->next == 0)
		o->next = o->serial + 1;
	o->keep = o->next;
	o->cleaning = true;
	o->walked = false;
	o->of_dead = o->m->t.live.first == NULL;
	o->walk = o->of_dead ? o->m->t.dead.first : o->m->t.live.first;
	clean_step(o);
}
