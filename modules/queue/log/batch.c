/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * batch.c -- many messages, one write and one sync.
 *
 * The loop decides what goes in and where; a worker sums, writes straight from the messages'
 * buffers and syncs; the loop answers. One batch of a process is in flight at a time.
 * Comes from: writer.c. Goes to: the requests of commit, with the notice for qmgr.
 * Owns: the segment being appended to. On failure: the segment is sealed for ever, the whole
 * batch answers TEMPFAIL, and what follows goes to a new segment; no file is synced again.
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

#define NVEC 256

struct batch {
	struct writer *w;
	struct meta1_qmsg *first;
	uint32_t n;
	bool fresh; /* in a new segment */
	int old;    /* the full segment, to be closed */
	int fd;
	uint64_t spare; /* file to rename for the new segment, or 0 */
	uint64_t seg, off, size, len, number, count;
	struct pos prev;
	size_t table_len;
	uint8_t *head; /* header and table */
	int err;
	const char *what;
};

struct vec {
	struct iovec v[NVEC];
	int n;
	uint64_t at;
	int fd, err;
};

static void vec_flush(struct vec *o)
{
	struct iovec *v = o->v;

	while (o->n > 0 && o->err == 0) {
		ssize_t k = pwritev(o->fd, v, o->n, (off_t)o->at);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0) {
			o->err = k < 0 ? errno : EIO;
			break;
		}
		o->at += (uint64_t)k;
		while (o->n > 0 && (size_t)k >= v->iov_len) {
			k -= (ssize_t)v->iov_len;
			v++;
			o->n--;
		}
		if (o->n > 0) {
			v->iov_base = (uint8_t *)v->iov_base + k;
			v->iov_len -= (size_t)k;
		}
	}
	o->n = 0;
}

static void vec_add(struct vec *o, const void *p, size_t n)
{
	if (n == 0)
		return;
	if (o->n == NVEC)
		vec_flush(o);
	o->v[o->n++] = (struct iovec){(void *)(uintptr_t)p, n};
}

/* The new segment counts after its directory was synced. */
static void open_segment(struct batch *b)
{
	int dir = b->w->dir;
	char name[24], from[24];

	if (b->old >= 0)
		close(b->old);
	b->old = -1;
	seg_name(name, 's', b->seg);
	b->what = "new segment";
	if (b->spare != 0) {
		seg_name(from, 'x', b->spare);
		if (renameat(dir, from, dir, name) == 0)
			b->fd = openat(dir, name, O_WRONLY | O_CLOEXEC);
	}
	if (b->fd < 0)
		b->fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
	if (b->fd < 0 || (fallocate(b->fd, 0, 0, (off_t)b->size) < 0 && errno != EOPNOTSUPP) ||
	    fsync(dir) < 0)
		b->err = errno;
}

static uint64_t content_sum(const struct meta1_qmsg *m)
{
	XXH3_state_t st;

	if (m->head == NULL || m->head->next == NULL)
		return XXH3_64bits(m->head != NULL ? m->head->b : NULL, (size_t)m->len);
	XXH3_INITSTATE(&st);
	XXH3_64bits_reset(&st);
	for (const struct chunk *c = m->head; c != NULL; c = c->next)
		XXH3_64bits_update(&st, c->b, c->len);
	return XXH3_64bits_digest(&st);
}

/* Fills in what only now is known: places and sums. */
static void make_table(struct batch *b)
{
	struct seg_head h = {.nmsg = b->n,
	    .seg = b->seg,
	    .off = b->off,
	    .batch = b->number,
	    .table_len = b->table_len,
	    .len = b->len,
	    .prev_seg = b->prev.seg,
	    .prev_off = b->prev.off,
	    .life = b->w->life,
	    .count = b->count};
	uint8_t *p = b->head + SEG_HEAD;
	uint64_t at = SEG_HEAD + b->table_len;

	for (struct meta1_qmsg *m = b->first; m != NULL; m = m->next) {
		struct seg_rec r;

		if (m->outside) { /* all of it is known */
			memcpy(p, m->rec, m->reclen);
			p += m->reclen;
			continue;
		}
		memcpy(&r, m->rec, sizeof(r));
		m->sum = m->big != NULL ? seg_seal(big_sum(m->big), big_unit(m->big))
					: seg_seal(content_sum(m), b->seg);
		m->coff = m->big != NULL ? 0 : at;
		r.coff = m->coff;
		r.clen = m->len;
		r.csum = m->sum;
		r.unit = m->big != NULL ? big_unit(m->big) : 0;
		r.uwriter = b->w->number;
		memcpy(m->rec, &r, sizeof(r));
		memcpy(p, m->rec, m->reclen);
		p += m->reclen;
		if (m->big == NULL)
			at += m->len;
	}
	seg_head_seal(&h, b->head + SEG_HEAD);
	memcpy(b->head, &h, sizeof(h));
}

static void work(void *arg)
{
	static const uint8_t zero[LOG_ALIGN];
	struct batch *b = arg;
	struct vec o = {.at = b->off};
	uint64_t len = SEG_HEAD + b->table_len;
	char name[24];

	if (b->fresh)
		open_segment(b);
	if (b->err == 0) {
		make_table(b);
		o.fd = b->fd;
		vec_add(&o, b->head, (size_t)len);
		for (struct meta1_qmsg *m = b->first; m != NULL; m = m->next)
			for (struct chunk *c = m->head; c != NULL; c = c->next) {
				vec_add(&o, c->b, c->len);
				len += c->len;
			}
		vec_add(&o, zero, (size_t)(b->len - len));
		vec_flush(&o);
		b->what = "write";
		b->err = o.err;
	}
	/* The mode is the store's, not the umask's: the group reads. */
	if (b->err == 0 && b->fresh && fchmod(b->fd, 0640) < 0)
		b->err = errno;
	if (b->err == 0 && fdatasync(b->fd) < 0) {
		b->what = "sync";
		b->err = errno;
	}
	if (b->err == 0)
		return;
	/* Sealed for ever; a segment that never held anything need not stay. */
	if (b->fd >= 0)
		close(b->fd);
	b->fd = -1;
	seg_name(name, 's', b->seg);
	if (b->fresh)
		unlinkat(b->w->dir, name, 0);
}

static void answer(struct batch *b, struct meta1_qmsg *m, uint32_t idx)
{
	struct writer *w = b->w;
	struct log_notice n = {.kind = NOTICE_MESSAGE,
	    .writer = w->number,
	    .life = w->life,
	    .seg = b->seg,
	    .off = b->off,
	    .next = b->off + b->len,
	    .prev_seg = b->prev.seg,
	    .prev_off = b->prev.off,
	    .idx = idx,
	    .nmsg = b->n,
	    .len = m->len,
	    .sum = m->sum,
	    .count = b->count};
	struct meta1_buf val = {&n, sizeof(n)};
	struct meta1_reply r = {.size = sizeof(r), .nval = 1, .val = &val};
	struct meta1_req *req = m->req;

	if (m->big != NULL)
		n.unit = big_unit(m->big);
	else
		n.coff = b->off + m->coff;
	if (m->copied != NULL)
		m->copied(m->arg, &n);
	big_free(m);
	writer_drop(&m);
	if (req != NULL)
		w->l->h->finish(req, META1_OK, &r);
}

static void refuse(struct batch *b, struct meta1_qmsg *m)
{
	char text[160];

	snprintf(text, sizeof(text), "queue %s: %s", b->what, strerror(b->err));
	store_answer(b->w->l, &m->req, META1_TEMPFAIL, text);
	if (m->copied != NULL)
		m->copied(m->arg, NULL);
	if (m->big != NULL)
		big_drop(&m);
	else
		writer_drop(&m);
}

static void count(struct batch *b)
{
	const struct meta1_host *h = b->w->l->h;
	struct meta1_ctx *ctx = b->w->l->ctx;

	h->count(ctx, "batches", 1);
	h->count(ctx, "syncs", 1);
	h->count(ctx, "messages", b->n);
	h->count(ctx, "bytes", (int64_t)b->len);
}

static void done(void *arg)
{
	struct batch *b = arg;
	struct writer *w = b->w;
	struct store *l = w->l;
	uint32_t idx = 0;

	w->fd = b->fd;
	if (b->err == 0) {
		w->seg = b->seg;
		w->size = b->size;
		w->off = b->off + b->len;
		w->nbatch = b->number + 1;
		w->count += b->n;
		w->end = (struct pos){.seg = w->seg, .off = w->off};
		count(b);
	} else {
		l->h->log(l->ctx, META1_WARN,
		    "segment %llx of writer %u: %s: %s: %u messages answered 452, going on in a "
		    "new segment",
		    (unsigned long long)b->seg, w->number, b->what, strerror(b->err), b->n);
		l->h->count(l->ctx, "failed_batches", 1);
		if (b->err == ENOSPC || b->err == EDQUOT)
			space_out(w);
	}
	while (b->first != NULL) {
		struct meta1_qmsg *m = b->first;

		b->first = m->next;
		if (b->err == 0)
			answer(b, m, idx++);
		else
			refuse(b, m);
	}
	w->batch = NULL;
	free(b->head);
	free(b);
	/* What gathered meanwhile: after this turn, so that its dots are in. */
	if (w->q != NULL)
		store_arm(l, w->timer, 0);
}

/* Which of the queue go in: LOG_BATCH_MAX, but at least one. */
static struct meta1_qmsg **choose(struct writer *w, struct batch *b, uint64_t *len)
{
	struct meta1_qmsg **end = &w->q;

	*len = SEG_HEAD;
	for (struct meta1_qmsg *m = w->q; m != NULL; m = m->next) {
		uint64_t more = m->reclen + (m->big != NULL ? 0 : m->len);

		if (b->n > 0 && *len + more > LOG_BATCH_MAX)
			break;
		*len += more;
		b->table_len += m->reclen;
		b->n++;
		end = &m->next;
	}
	return end;
}

static bool place(struct writer *w, struct batch *b)
{
	uint64_t size = (uint64_t)w->l->c->segment_size;

	b->fd = w->fd;
	b->seg = w->seg;
	b->off = w->off;
	b->size = w->size;
	b->number = w->nbatch;
	if (w->fd >= 0 && w->off + b->len <= w->size)
		return true;
	if (w->roll == 0)
		w->roll = ids_next(&w->ids);
	if (w->roll == 0)
		return false;
	b->fresh = true;
	b->old = w->fd;
	b->fd = -1;
	b->seg = w->roll;
	b->off = b->number = 0;
	b->size = b->len > size ? b->len : size;
	return true;
}

bool batch_start(struct writer *w)
{
	struct batch *b = calloc(1, sizeof(*b));
	struct meta1_qmsg **end, *rest;
	uint64_t len;

	if (b == NULL)
		return false;
	b->w = w;
	b->old = -1;
	b->prev = w->end;
	b->count = w->count;
	end = choose(w, b, &len);
	b->len = seg_align(len);
	b->head = calloc(1, SEG_HEAD + b->table_len);
	if (b->head == NULL || !place(w, b))
		goto fail;
	if (b->fresh && b->size == (uint64_t)w->l->c->segment_size)
		b->spare = space_spare(w);
	b->first = w->q;
	rest = *end;
	*end = NULL; /* now: the thread goes through the list as soon as it has the job */
	if (!store_job(w->l, work, done, b)) {
		*end = rest;
		if (b->spare != 0)
			space_unspare(w, b->spare);
		goto fail;
	}
	if (b->spare != 0)
		w->l->h->count(w->l->ctx, "recycled", 1);
	w->q = rest;
	if (w->q == NULL)
		w->qtail = &w->q;
	w->qbytes -= len - SEG_HEAD;
	w->oldest = w->l->h->now(w->l->ctx);
	if (b->fresh)
		w->roll = 0;
	w->fd = -1; /* the job's until it is done */
	w->batch = b;
	return true;
fail:
	free(b->head);
	free(b);
	return false;
}
