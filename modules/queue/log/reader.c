/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reader.c -- contents for deliveries, checked against the sum in their reference.
 *
 * What stands in a segment is always copied: segments are written again, and pages given to
 * a socket would change under it. Own files are only ever unlinked; these go out by descriptor.
 * Comes from: smtpc (load). Goes to: transports, as extents. Owns: a few open segments.
 * On failure: PERMFAIL with segment and offset; TEMPFAIL when only this process is at its limits.
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

#define NFD	   64
#define INLINE_MAX (2 * LOG_SMALL)
#define PIECE	   (256u << 10)
#define IDLE_MS	   2000 /* an unlinked segment holds its space for so long, at most twice */

/* Open segments, by number: a file that was recycled has another number, and what a stale
 * descriptor shows fails the sum, which is sealed with the number. */
struct segfd {
	int fd;
	uint32_t writer, used; /* used: by jobs */
	uint64_t seg, stamp;
};
struct reader {
	struct store *l;
	struct segfd fd[NFD];
	uint64_t clock, mark; /* counts uses; as it was at the last tick */
	struct meta1_watch *timer;
	bool armed;
};
struct load {
	struct meta1_content c; /* first: the handle */
	struct meta1_extent ext;
	struct store *l;
	struct meta1_req *req;
	struct log_ref ref;
	struct segfd *slot;
	int fd, err;
	bool bad; /* the sum differs */
	uint8_t *buf;
};

static void close_work(void *arg)
{
	close(((struct load *)arg)->fd);
}

static void close_done(void *arg)
{
	free(arg);
}

/* The last close of an unlinked file frees its blocks: that may take a while. */
static void close_later(struct store *l, int fd)
{
	struct load *ld = calloc(1, sizeof(*ld));

	if (ld != NULL) {
		ld->fd = fd;
		if (store_job(l, close_work, close_done, ld))
			return;
		free(ld);
	}
	close(fd);
}

/* What was not used since the last tick goes: an unlinked segment must not hold its space. */
static void tick(int fd, short what, void *arg)
{
	struct reader *r = arg;
	bool any = false;

	(void)fd;
	(void)what;
	for (int i = 0; i < NFD; i++) {
		struct segfd *f = &r->fd[i];

		if (f->fd >= 0 && f->used == 0 && f->stamp <= r->mark) {
			close_later(r->l, f->fd);
			f->fd = -1;
		}
		any = any || f->fd >= 0;
	}
	r->mark = r->clock;
	r->armed = any;
	if (any)
		store_arm(r->l, r->timer, IDLE_MS);
}

int reader_open(struct store *l, struct meta1_err *e)
{
	struct reader *r = calloc(1, sizeof(*r));

	if (r == NULL) {
		snprintf(e->text, sizeof(e->text), "queue_log: out of memory");
		return -1;
	}
	r->l = l;
	for (int i = 0; i < NFD; i++)
		r->fd[i].fd = -1;
	l->r = r;
	r->timer = l->h->watch_timer(l->ctx, -1, tick, r);
	if (r->timer != NULL)
		return 0;
	snprintf(e->text, sizeof(e->text), "queue_log: out of memory");
	return -1;
}

void reader_close(struct reader **rp)
{
	struct reader *r = *rp;

	*rp = NULL;
	if (r == NULL)
		return;
	if (r->timer != NULL)
		r->l->h->unwatch(&r->timer);
	for (int i = 0; i < NFD; i++)
		if (r->fd[i].fd >= 0)
			close(r->fd[i].fd);
	free(r);
}

static struct segfd *lookup(struct reader *r, const struct log_ref *ref)
{
	for (int i = 0; i < NFD; i++) {
		struct segfd *f = &r->fd[i];

		if (f->fd >= 0 && f->seg == ref->seg && f->writer == ref->writer) {
			f->stamp = ++r->clock;
			return f;
		}
	}
	return NULL;
}

/* Keeps fd, in place of the one that was idle longest; false: closes nothing, keeps nothing. */
static bool keep(struct reader *r, const struct load *ld)
{
	struct segfd *best = NULL;

	if (lookup(r, &ld->ref) != NULL)
		return false;
	for (int i = 0; i < NFD; i++)
		if (r->fd[i].used == 0 && (best == NULL || r->fd[i].stamp < best->stamp))
			best = &r->fd[i];
	if (best == NULL)
		return false;
	if (best->fd >= 0)
		close_later(r->l, best->fd);
	*best = (struct segfd){
	    .fd = ld->fd, .writer = ld->ref.writer, .seg = ld->ref.seg, .stamp = ++r->clock};
	if (!r->armed)
		store_arm(r->l, r->timer, IDLE_MS);
	r->armed = true;
	return true;
}

static bool good(const struct load *ld)
{
	return seg_seal(XXH3_64bits(ld->buf, (size_t)ld->ref.len), ld->ref.seg) == ld->ref.sum;
}

static void answer(struct load *ld, enum meta1_status st)
{
	struct meta1_reply r = {.size = sizeof(r)};
	struct meta1_req *req = ld->req;
	char text[256], folder[16];

	ld->req = NULL;
	if (st == META1_OK) {
		ld->c = (struct meta1_content){.size = sizeof(ld->c),
		    .nextent = 1,
		    .extent = &ld->ext,
		    .bytes_stored = ld->ref.len,
		    .store = ld};
		ld->ext = (struct meta1_extent){
		    .mem = ld->buf, .len = ld->ref.len, .fd = ld->buf != NULL ? -1 : ld->fd};
		if (ld->ref.len == 0)
			ld->c.nextent = 0;
		r.ext = &ld->c;
		ld->l->h->count(ld->l->ctx, "loads", 1);
		ld->l->h->finish(req, st, &r);
		return;
	}
	folder_name(ld->ref.unit != 0 ? ld->ref.uwriter : ld->ref.writer, folder);
	snprintf(text, sizeof(text), "content in %s/%c%016llx at %llu, %llu bytes: %s", folder,
	    ld->ref.unit != 0 ? 'b' : 's',
	    (unsigned long long)(ld->ref.unit != 0 ? ld->ref.unit : ld->ref.seg),
	    (unsigned long long)ld->ref.coff, (unsigned long long)ld->ref.len,
	    ld->bad ? "checksum differs: the disk or the file is damaged" : strerror(ld->err));
	ld->l->h->count(ld->l->ctx, "failed_loads", 1);
	r.text = text;
	ld->l->h->finish(req, st, &r);
	free(ld->buf);
	free(ld);
}

static int open_file(struct load *ld)
{
	char folder[16], name[24], path[48];

	folder_name(ld->ref.unit != 0 ? ld->ref.uwriter : ld->ref.writer, folder);
	seg_name(
	    name, ld->ref.unit != 0 ? 'b' : 's', ld->ref.unit != 0 ? ld->ref.unit : ld->ref.seg);
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return openat(ld->l->qfd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
}

static void work_small(void *arg)
{
	struct load *ld = arg;
	size_t at = 0;

	if (ld->fd < 0 && (ld->fd = open_file(ld)) < 0) {
		ld->err = errno;
		return;
	}
	while (at < ld->ref.len) {
		ssize_t n =
		    pread(ld->fd, ld->buf + at, ld->ref.len - at, (off_t)(ld->ref.coff + at));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			ld->err = errno;
			return;
		}
		if (n == 0)
			break;
		at += (size_t)n;
	}
	ld->bad = at < ld->ref.len || !good(ld);
}

static enum meta1_status verdict(const struct load *ld)
{
	if (ld->bad)
		return META1_PERMFAIL;
	if (ld->err == 0)
		return META1_OK;
	return ld->err == EMFILE || ld->err == ENFILE || ld->err == ENOMEM || ld->err == EACCES
		   ? META1_TEMPFAIL
		   : META1_PERMFAIL;
}

static void done_small(void *arg)
{
	struct load *ld = arg;

	if (ld->slot != NULL)
		ld->slot->used--;
	else if (ld->fd >= 0 && !keep(ld->l->r, ld))
		close(ld->fd);
	ld->fd = -1;
	answer(ld, verdict(ld));
}

/* Reading it all is check and readahead in one. */
static void work_own(void *arg)
{
	struct load *ld = arg;
	uint8_t *piece = malloc(PIECE);
	XXH3_state_t *st = XXH3_createState();
	uint64_t at = 0;

	if (piece == NULL || st == NULL) {
		ld->err = ENOMEM;
		goto out;
	}
	XXH3_64bits_reset(st);
	ld->fd = open_file(ld);
	if (ld->fd < 0) {
		ld->err = errno;
		goto out;
	}
	posix_fadvise(ld->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	while (at < ld->ref.len) {
		uint64_t left = ld->ref.len - at;
		ssize_t n = pread(ld->fd, piece, left < PIECE ? left : PIECE, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			ld->err = errno;
			goto out;
		}
		if (n == 0)
			break;
		XXH3_64bits_update(st, piece, (size_t)n);
		at += (uint64_t)n;
	}
	ld->bad = at < ld->ref.len || seg_seal(XXH3_64bits_digest(st), ld->ref.unit) != ld->ref.sum;
out:
	XXH3_freeState(st);
	free(piece);
}

static void done_own(void *arg)
{
	struct load *ld = arg;
	enum meta1_status st = verdict(ld);

	if (st != META1_OK && ld->fd >= 0)
		close(ld->fd);
	answer(ld, st);
}

/* Everything is in the page cache: no worker. */
static bool at_once(struct load *ld)
{
	struct iovec v = {ld->buf, (size_t)ld->ref.len};

	ld->slot = lookup(ld->l->r, &ld->ref);
	if (ld->slot == NULL)
		return false;
	if (ld->ref.len > 0 &&
	    preadv2(ld->slot->fd, &v, 1, (off_t)ld->ref.coff, RWF_NOWAIT) != (ssize_t)ld->ref.len)
		return false;
	return good(ld);
}

void reader_load(void *inst, struct meta1_req *req, const struct meta1_ref *ref)
{
	struct store *l = inst;
	struct load *ld = calloc(1, sizeof(*ld));

	if (ld == NULL || l->r == NULL) {
		free(ld);
		store_answer(l, &req, META1_TEMPFAIL, "queue_log: out of memory, or no reader");
		return;
	}
	ld->l = l;
	ld->req = req;
	ld->fd = -1;
	if (seg_unref(ref, &ld->ref) < 0 || (ld->ref.unit == 0 && ld->ref.len > INLINE_MAX)) {
		free(ld);
		store_answer(l, &req, META1_PERMFAIL, "queue_log: not a reference of this store");
		return;
	}
	if (ld->ref.unit == 0) {
		ld->buf = malloc((size_t)ld->ref.len + 1);
		if (ld->buf != NULL && at_once(ld)) {
			answer(ld, META1_OK);
			return;
		}
	}
	ld->err = ld->ref.unit == 0 && ld->buf == NULL ? ENOMEM : EAGAIN;
	if (ld->err == ENOMEM) {
		answer(ld, META1_TEMPFAIL);
		return;
	}
	ld->err = 0;
	if (ld->slot != NULL) {
		ld->fd = ld->slot->fd;
		ld->slot->used++;
	}
	if (ld->ref.unit != 0 ? store_job(l, work_own, done_own, ld)
			      : store_job(l, work_small, done_small, ld))
		return;
	if (ld->slot != NULL)
		ld->slot->used--;
	ld->err = EAGAIN;
	answer(ld, META1_TEMPFAIL);
}

void reader_unload(void *inst, struct meta1_content **cp)
{
	struct store *l = inst;
	struct load *ld = *cp != NULL ? (*cp)->store : NULL;

	*cp = NULL;
	if (ld == NULL)
		return;
	free(ld->buf);
	if (ld->fd >= 0)
		close_later(l, ld->fd);
	free(ld);
}
