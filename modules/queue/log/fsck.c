/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fsck.c -- accounts for every message the store accepted: waiting, or done and by whom.
 *
 * What the state says (checkpoint, journals, history) is held against what stands in the folders:
 * each waiting message must be there with a good content, each that is there must be waiting or
 * have its outcomes, and of a segment that is gone the history must tell of as many messages as it
 * had. The writers' counts show a segment that vanished without a word. Changes nothing.
 * Comes from: meta1ctl, on its own thread: it blocks. Goes to: found() and fate().
 * Owns: what it read. On failure: what cannot be read is a finding; an error without any rights,
 * and where memory or descriptors lack, for then nothing is known of what was not looked at.
 */
#define XXH_INLINE_ALL
#include "fsck.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

/* ---- what was read of contents ---- */

static bool sum_of(struct fsck *f, int fd, uint64_t off, uint64_t len, uint64_t *sum)
{
	uint8_t *b = malloc(1 << 20);
	XXH3_state_t *st = XXH3_createState();
	bool ok = b != NULL && st != NULL && XXH3_64bits_reset(st) == XXH_OK;

	if (!ok)
		check_short(&f->c, ENOMEM);
	for (uint64_t at = 0; ok && at < len;) {
		size_t want = len - at < 1 << 20 ? (size_t)(len - at) : 1 << 20;
		ssize_t n = pread(fd, b, want, (off_t)(off + at));

		ok = n > 0 && XXH3_64bits_update(st, b, (size_t)n) == XXH_OK;
		at += n > 0 ? (uint64_t)n : 0;
	}
	if (ok)
		*sum = XXH3_64bits_digest(st);
	XXH3_freeState(st);
	free(b);
	return ok;
}

/* x gets where it is; its descriptor is fd, or one that the caller closes. */
static bool content_good(struct fsck *f, int fd, const struct scan_batch *b,
    const struct seg_rec *r, struct meta1_extent *x)
{
	char folder[16], name[24], path[48];
	uint64_t sum = 0;

	*x = (struct meta1_extent){.fd = fd, .off = b->off + r->coff, .len = r->clen};
	if (r->unit == 0)
		return r->coff <= b->len && r->clen <= b->len - r->coff &&
		       sum_of(f, fd, x->off, r->clen, &sum) && seg_seal(sum, b->seg) == r->csum;
	folder_name(r->uwriter, folder);
	seg_name(name, 'b', r->unit);
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	x->fd = openat(f->qfd, path, O_RDONLY | O_CLOEXEC);
	x->off = 0;
	if (x->fd < 0) {
		check_short(&f->c, errno);
		return false;
	}
	return sum_of(f, x->fd, 0, r->clen, &sum) && seg_seal(sum, r->unit) == r->csum;
}

/* ---- a message that stands in a segment ---- */

static void tell(struct fsck *f, const struct seg_msg *s, const struct mrec *r)
{
	struct meta1_qrcpt *v = calloc(s->r.nrcpt, sizeof(*v));

	if (v == NULL) {
		check_short(&f->c, ENOMEM);
		return;
	}
	seg_rcpts(s, v);
	for (uint32_t i = 0; i < s->r.nrcpt; i++) {
		const struct rst *st = r != NULL ? table_rst(r, i) : NULL;
		struct meta1_qfate fate = {.size = sizeof(fate),
		    .id = s->id,
		    .addr = v[i].addr,
		    .from = s->from,
		    .bytes = s->r.bytes,
		    .accepted = s->r.time};

		if (st != NULL && st->state != META1_R_WAITING)
			continue; /* told from its record */
		if (st != NULL) {
			fate.tries = st->tries;
			fate.time = st->next_try;
			fate.by = texts_get(&f->p.t->texts, st->reason);
		}
		f->c.ev->fate(f->c.arg, &fate);
	}
	free(v);
}

/* For an export: as the manager would tell it. */
static void message(
    struct fsck *f, const struct seg_msg *s, const struct mrec *r, const struct meta1_extent *x)
{
	struct meta1_qrcpt *v = calloc(s->r.nrcpt, sizeof(*v));
	struct meta1_env env = seg_env(s, v);
	struct meta1_qentry e = {
	    .size = sizeof(e), .id = s->id, .bytes_stored = s->r.clen, .env = &env};
	struct meta1_content c = {
	    .size = sizeof(c), .nextent = x->len > 0, .extent = x, .bytes_stored = s->r.clen};

	if (v == NULL) {
		check_short(&f->c, ENOMEM);
		return;
	}
	seg_rcpts(s, v);
	if (r != NULL)
		table_states(f->p.t, r, v, s->r.nrcpt);
	f->enough = !f->c.ev->message(f->c.arg, &e, &c);
	free(v);
}

static void waiting(struct fsck *f, int fd, const struct scan_batch *b, const struct seg_msg *s,
    const struct mrec *r, uint32_t idx)
{
	struct meta1_extent x;

	tell(f, s, r);
	if (s->r.unit != 0)
		fsck_unit(f, s->r.uwriter, s->r.unit);
	if (content_good(f, fd, b, &s->r, &x)) {
		if (check_tells(&f->c) && !f->enough)
			message(f, s, r, &x);
	} else {
		check_found(&f->c, META1_QF_DAMAGE,
		    "%s waits in %s at %llu (%u), and its content is damaged or missing", s->id,
		    f->name, (unsigned long long)b->off, idx);
	}
	if (x.fd >= 0 && x.fd != fd)
		close(x.fd);
}

static bool whole(struct fsck *f, int fd, const struct scan_batch *b, const struct seg_rec *r)
{
	struct meta1_extent x;
	bool ok = content_good(f, fd, b, r, &x);

	if (x.fd >= 0 && x.fd != fd)
		close(x.fd);
	return ok;
}

static void one(struct fsck *f, int fd, const struct scan_batch *b, const struct seg_msg *s,
    uint32_t idx, bool last)
{
	uint32_t i = table_find(f->p.t, f->writer, b->seg, b->off, idx);
	const struct mrec *r = i != 0 ? table_at(f->p.t, i) : NULL;
	struct pos at = {.seg = b->seg, .off = b->off, .idx = idx};
	struct fmsg *m = fsck_msg(f, f->writer, at, false);

	if (i != 0)
		f->seen[i] = 1;
	if (m != NULL)
		m->seen = true;
	if (r != NULL && r->nrcpt > 0) {
		waiting(f, fd, b, s, r, idx);
		return;
	}
	if (m != NULL && (m->moved || (m->nrcpt > 0 && m->nfinal >= m->nrcpt)))
		return;
	if ((r != NULL && r->moved) || (s->r.kind == SEG_COPY && (m == NULL || m->nfinal == 0)))
		return; /* a copy that does not count */
	if (pos_cmp(at, fsck_cursor(f, f->writer)) >= 0) {
		/* Not told yet. The newest batch may be one that was never acknowledged. */
		if (last && !whole(f, fd, b, &s->r))
			check_found(&f->c, META1_QF_NOTE,
			    "%s at %llu: torn end, or damage in what was written last", f->name,
			    (unsigned long long)b->off);
		else
			waiting(f, fd, b, s, r, idx);
		return;
	}
	if (s->r.time > f->horizon)
		check_found(&f->c, META1_QF_LOST,
		    "%s stands in %s at %llu (%u), does not wait, and no outcome is known", s->id,
		    f->name, (unsigned long long)b->off, idx);
}

static void batch(struct fsck *f, int fd, const struct scan_batch *b, bool last)
{
	const uint8_t *p = b->table;
	size_t left = b->table_len;
	struct seg_msg s;

	for (uint32_t i = 0; i < b->nmsg; i++) {
		if (seg_rec_decode(p, left, &s) < 0) {
			check_found(&f->c, META1_QF_DAMAGE, "%s at %llu: envelope %u is malformed",
			    f->name, (unsigned long long)b->off, i);
			return;
		}
		one(f, fd, b, &s, i, last);
		p += s.r.len;
		left -= s.r.len;
		f->messages++;
	}
}

/* ---- a segment ---- */

static void walk(struct fsck *f, int fd, uint64_t seg, uint64_t exact)
{
	struct fseg *g = fsck_seg(f, f->writer, seg);
	uint64_t off = 0;

	if (g == NULL)
		return;
	g->there = true;
	for (;;) {
		struct meta1_err e = {""};
		struct scan_batch *b = scan_table(fd, seg, off, &e);
		bool unknown = b == NULL && e.text[0] == '\0' && check_short(&f->c, ENOMEM);
		uint64_t next = b == NULL && !unknown ? scan_search(fd, seg, off) : 0;
		struct seg_head h;

		if (unknown)
			return;
		if (b == NULL && next == 0 && exact > off)
			next = exact;
		if (b == NULL && next == 0) {
			if (scan_head(fd, seg, off, &h) || seg_head_broken(&h, seg, off))
				check_found(&f->c, META1_QF_NOTE,
				    "%s at %llu: torn end, or damage in what was written last",
				    f->name, (unsigned long long)off);
			return;
		}
		if (b == NULL) {
			g->damaged = true;
			check_found(&f->c, META1_QF_DAMAGE, "%s at %llu to %llu: damaged: %s",
			    f->name, (unsigned long long)off, (unsigned long long)next, e.text);
			off = next;
			if (off == exact)
				return;
			continue;
		}
		if (g->life == 0) {
			g->life = b->life;
			g->begin = b->count;
		}
		g->end = b->count + b->nmsg;
		next = off + b->len;
		batch(f, fd, b, exact == 0 && !scan_head(fd, seg, next, &h));
		free(b);
		off = next;
	}
}

/* Where the segment after this one says that this one ends; 0: nobody says. */
static uint64_t end_of(struct fsck *f, int dir, uint64_t seg, uint64_t after)
{
	struct seg_head h;
	uint64_t end = 0;
	char name[24];
	int fd;

	seg_name(name, 's', after);
	fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		check_short(&f->c, errno);
	if (fd >= 0 && scan_head(fd, after, 0, &h) && h.prev_seg == seg)
		end = h.prev_off;
	if (fd >= 0)
		close(fd);
	return end;
}

static void segments(struct fsck *f, int dir)
{
	char folder[16], name[24];
	uint64_t *v;
	size_t n;

	folder_name(f->writer, folder);
	if (scan_list(dir, 's', &v, &n) < 0) {
		if (!check_short(&f->c, errno))
			check_found(&f->c, META1_QF_DAMAGE, "%s: cannot be listed: %s", folder,
			    strerror(errno));
		return;
	}
	for (size_t i = 0; i < n; i++) {
		int fd;

		seg_name(name, 's', v[i]);
		snprintf(f->name, sizeof(f->name), "%s/%s", folder, name);
		fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
		if (fd < 0) {
			if (!check_short(&f->c, errno))
				check_found(
				    &f->c, META1_QF_DAMAGE, "%s: %s", f->name, strerror(errno));
			continue;
		}
		fsck_number(f, v[i]);
		walk(f, fd, v[i], i + 1 < n ? end_of(f, dir, v[i], v[i + 1]) : 0);
		close(fd);
	}
	free(v);
}

static void folder(struct fsck *f, uint32_t writer)
{
	char path[16];
	int dir;

	folder_name(writer, path);
	f->writer = writer;
	dir = openat(f->qfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0) {
		if (errno != ENOENT && !check_short(&f->c, errno))
			check_found(&f->c, META1_QF_DAMAGE, "%s: %s", path, strerror(errno));
		return;
	}
	segments(f, dir);
	close(dir);
}

/* ---- all of it ---- */

/* Only outcomes are known of it: are these all? */
static bool is_done(struct fsck *f, const struct mrec *r)
{
	struct pos at = {.seg = r->seg, .off = table_boff(r), .idx = r->idx};
	const struct fmsg *m = fsck_msg(f, r->writer, at, false);

	return m != NULL && m->nrcpt > 0 && m->nfinal >= m->nrcpt;
}

static void unseen(struct fsck *f)
{
	for (uint32_t i = 1; i <= f->p.t->top; i++) {
		const struct mrec *r = table_at(f->p.t, i);
		char path[16];

		if (!r->used || r->moved || f->seen[i] || (r->nrcpt == 0 && is_done(f, r)))
			continue;
		folder_name(r->writer, path);
		check_found(&f->c, META1_QF_LOST,
		    "message %u of the batch at %llu in %s/s%016llx waits, and cannot be read",
		    (unsigned)r->idx, (unsigned long long)table_boff(r), path,
		    (unsigned long long)r->seg);
	}
}

static int read_state(struct fsck *f, struct meta1_err *e)
{
	f->p.dir = f->c.state;
	f->p.qfd = f->qfd;
	replay_read(&f->p);
	if (f->p.refuse || f->p.err != 0) {
		snprintf(e->text, sizeof(e->text), "queue folder state: %s",
		    f->p.err != 0 ? strerror(f->p.err) : "out of memory");
		return -1;
	}
	if (f->p.damage[0] != '\0')
		check_found(&f->c, META1_QF_DAMAGE, "%s", f->p.damage);
	f->seen = calloc(f->p.t->top + 1, 1);
	return f->seen != NULL ? 0 : -1;
}

int fsck_check(void *inst, const struct meta1_qcheck *ev, void *arg, struct meta1_err *e)
{
	struct store *l = inst;
	struct fsck f = {.qfd = l->qfd};
	int ret = -1;

	if (check_begin(&f.c, l, ev, arg, e) < 0)
		goto out;
	snprintf(e->text, sizeof(e->text), "queue_log: out of memory");
	if (read_state(&f, e) < 0)
		goto out;
	fsck_records(&f);
	for (unsigned i = 0; i < f.p.nfolder; i++)
		folder(&f, f.p.folder[i]);
	unseen(&f);
	fsck_history(&f);
	fsck_leftovers(&f);
	ret = check_done(&f.c, e);
out:
	fsck_free(&f);
	check_end(&f.c);
	return ret;
}
