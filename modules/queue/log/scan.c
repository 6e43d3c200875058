/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * scan.c -- reads envelopes from a writer's folder, in pages, on a worker.
 *
 * A batch is believed when something later proves that its sync was done: a good batch
 * behind it, the next segment's word where this one ended, or a notice. Without proof it
 * is left alone while its folder is in use (it may be being written), and checked to the
 * last byte of its contents when it is not.
 * Comes from: manager.c, backlog.c. Goes to: backlog.c. Owns: nothing on disk but quarantine.
 * On failure: damage is copied to state/quarantine and named; torn ends are cut, one line.
 */
#define XXH_INLINE_ALL
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define SEARCH_MAX (1ull << 30)
#define SAVE_MAX   (64u << 20)

static bool is_kind(const char *name, const void *kind, uint64_t *number)
{
	return seg_parse(name, number) == *(const char *)kind;
}

int scan_list(int dir, char kind, uint64_t **out, size_t *n)
{
	*out = NULL;
	*n = 0;
	if (folder_list(dir, ".", is_kind, &kind, out, n) < 0)
		return -1;
	folder_sort(*out, *n);
	return 0;
}

static ssize_t read_at(int fd, void *b, size_t n, uint64_t off)
{
	size_t at = 0;

	while (at < n) {
		ssize_t k = pread(fd, (uint8_t *)b + at, n - at, (off_t)(off + at));

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return -1;
		if (k == 0)
			break;
		at += (size_t)k;
	}
	return (ssize_t)at;
}

bool scan_head(int fd, uint64_t seg, uint64_t off, struct seg_head *h)
{
	return read_at(fd, h, sizeof(*h), off) == (ssize_t)sizeof(*h) && seg_head_ok(h, seg, off);
}

struct scan_batch *scan_table(int fd, uint64_t seg, uint64_t off, struct meta1_err *e)
{
	struct scan_batch *b;
	struct seg_head h;

	if (!scan_head(fd, seg, off, &h)) {
		snprintf(e->text, sizeof(e->text), "no good batch header");
		return NULL;
	}
	b = malloc(sizeof(*b) + h.table_len);
	if (b == NULL) {
		e->text[0] = '\0';
		return NULL;
	}
	*b = (struct scan_batch){.seg = seg,
	    .off = off,
	    .len = h.len,
	    .life = h.life,
	    .count = h.count,
	    .nmsg = h.nmsg,
	    .table_len = h.table_len};
	if (read_at(fd, b->table, h.table_len, off + SEG_HEAD) == (ssize_t)h.table_len &&
	    h.table_sum == seg_sum(seg, b->table, h.table_len))
		return b;
	free(b);
	snprintf(e->text, sizeof(e->text), "table of envelopes: checksum differs");
	return NULL;
}

void scan_free(struct scan **sp)
{
	struct scan *s = *sp;

	*sp = NULL;
	while (s->head != NULL) {
		struct scan_batch *b = s->head;

		s->head = b->next;
		free(b);
	}
	free(s);
}

static void note(
    char *text, size_t size, const struct scan *s, uint64_t from, uint64_t to, const char *what)
{
	char folder[16];
	size_t n = strlen(text);

	folder_name(s->writer, folder);
	snprintf(text + n, size - n, "%s%s/s%016llx at %llu to %llu: %s", n > 0 ? "; " : "", folder,
	    (unsigned long long)s->at.seg, (unsigned long long)from, (unsigned long long)to, what);
}

/* Copies a damaged range; when that cannot be, the segment is kept instead. */
static void quarantine(struct scan *s, uint64_t from, uint64_t to)
{
	uint8_t *piece = malloc(LOG_ALIGN * 16);
	struct meta1_err e;
	char name[64];
	int dir = folder_make(s->state, "quarantine", 0700, &e), fd = -1;
	bool ok = false;

	snprintf(name, sizeof(name), "w%u-s%016llx-%llu", s->writer, (unsigned long long)s->at.seg,
	    (unsigned long long)from);
	if (piece != NULL && dir >= 0)
		fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ok = fd >= 0;
	for (uint64_t at = from; ok && at < to && at - from < SAVE_MAX;) {
		uint64_t left = to - at;
		ssize_t n =
		    read_at(s->fd, piece, left < LOG_ALIGN * 16 ? left : LOG_ALIGN * 16, at);

		if (n == 0)
			break;
		ok = n > 0 && pwrite(fd, piece, (size_t)n, (off_t)(at - from)) == n;
		at += (uint64_t)(n > 0 ? n : 0);
	}
	ok = ok && fsync(fd) == 0;
	if (fd >= 0)
		close(fd);
	if (dir >= 0)
		close(dir);
	free(piece);
	if (!ok && s->nhold < 16)
		s->hold[s->nhold++] = s->at.seg;
	note(s->damage, sizeof(s->damage), s, from, to,
	    ok ? "damaged, copied to state/quarantine"
	       : "damaged; no copy in state/quarantine could be made, so the segment is kept");
}

uint64_t scan_search(int fd, uint64_t seg, uint64_t off)
{
	struct seg_head h;

	for (uint64_t at = off + LOG_ALIGN; at - off < SEARCH_MAX; at += LOG_ALIGN) {
		if (read_at(fd, &h, sizeof(h), at) != (ssize_t)sizeof(h))
			break;
		if (seg_head_ok(&h, seg, at))
			return at;
	}
	return 0;
}

/* Opens the segment at the cursor, or the first behind it. 0: there is none. */
static int open_seg(struct scan *s)
{
	struct seg_head h;
	char name[24];
	size_t i = 0;
	int fd;

	if (s->fd >= 0 && s->fdseg == s->at.seg)
		return 1;
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	while (i < s->nhave && s->have[i] < s->at.seg)
		i++;
	if (i == s->nhave)
		return 0;
	seg_name(name, 's', s->have[i]);
	s->fd = openat(s->dir, name, O_RDONLY | O_CLOEXEC);
	if (s->fd < 0)
		return -1;
	if (s->have[i] != s->at.seg) {
		uint64_t was = s->at.seg, end = s->at.off;

		s->at = (struct pos){.seg = s->have[i]};
		if (was != 0 && scan_head(s->fd, s->at.seg, 0, &h) && s->ngone < 16 &&
		    (h.prev_seg > was || (h.prev_seg == was && h.prev_off > end)))
			s->gone[s->ngone++] = h.prev_seg;
	}
	s->fdseg = s->at.seg;
	s->after = i + 1 < s->nhave ? s->have[i + 1] : 0;
	s->exact = -1;
	s->closed = !s->locked || s->at.seg < s->life || s->known.seg > s->at.seg;
	if (s->nseg < 64)
		s->seg[s->nseg++] = s->at.seg;
	if (s->after == 0)
		return 1;
	seg_name(name, 's', s->after);
	fd = openat(s->dir, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno != ENOENT)
		return -1;
	if (fd >= 0 && scan_head(fd, s->after, 0, &h)) {
		s->closed = true;
		if (h.prev_seg == s->at.seg)
			s->exact = (int64_t)h.prev_off;
		else if (h.prev_seg != 0 && h.prev_seg < s->at.seg)
			s->exact = 0; /* nothing here was ever durable */
	}
	if (fd >= 0)
		close(fd);
	return 1;
}

static void next_seg(struct scan *s)
{
	if (!s->closed || s->after == 0) {
		s->end = true;
		return;
	}
	s->at = (struct pos){.seg = s->after};
}

/* Contents too: nobody said that this batch was synced. Without memory for one it is not known, and
 * s->later says so. */
static bool whole(struct scan *s, const struct scan_batch *b)
{
	const uint8_t *p = b->table;
	size_t left = b->table_len;
	struct seg_msg m;

	for (uint32_t i = 0; i < b->nmsg; i++) {
		uint8_t *c;
		bool ok;

		if (seg_rec_decode(p, left, &m) < 0)
			return false;
		p += m.r.len;
		left -= m.r.len;
		/* An own file was durable before this was written; it may be gone since. */
		if (m.r.unit != 0)
			continue;
		if (m.r.clen > b->len || m.r.coff > b->len - m.r.clen)
			return false;
		c = malloc((size_t)m.r.clen + 1);
		if (c == NULL) {
			s->later = true;
			return false;
		}
		ok = read_at(s->fd, c, (size_t)m.r.clen, b->off + m.r.coff) == (ssize_t)m.r.clen &&
		     seg_seal(XXH3_64bits(c, (size_t)m.r.clen), b->seg) == m.r.csum;
		free(c);
		if (!ok)
			return false;
	}
	return true;
}

static void take(struct scan *s, struct scan_batch *b)
{
	b->first = s->at.idx < b->nmsg ? s->at.idx : b->nmsg;
	s->count += b->nmsg - b->first;
	*s->tail = b;
	s->tail = &b->next;
	s->at = (struct pos){.seg = b->seg, .off = b->off + b->len};
}

/* What a killed writer left is in memory only, perhaps: before anything refers to it (and
 * survives the next power loss without it) it is on disk. It may have been acknowledged, so
 * it is told also when that fails. */
static void keep(struct scan *s, struct scan_batch *b)
{
	if (fdatasync(s->fd) < 0)
		note(s->torn, sizeof(s->torn), s, b->off, b->off + b->len, strerror(errno));
	take(s, b);
}

static void torn(struct scan *s, uint64_t to)
{
	s->torn[0] = '\0';
	note(s->torn, sizeof(s->torn), s, s->at.off, to,
	    "torn end (or damage in what was written last): cut");
	next_seg(s);
}

/* No good batch here: damage, a torn end or simply the end. */
static void bad_head(struct scan *s, const struct seg_head *h, bool durable)
{
	uint64_t found = 0, to;

	if (durable || s->closed)
		found = scan_search(s->fd, s->at.seg, s->at.off);
	if (found == 0 && !durable) {
		if (s->closed && seg_head_broken(h, s->at.seg, s->at.off))
			torn(s, s->at.off + LOG_ALIGN);
		else
			next_seg(s);
		return;
	}
	to = found != 0 ? found : s->exact >= 0 ? (uint64_t)s->exact : s->known.off;
	if (to <= s->at.off) /* only its beginning is known to have been durable */
		to = s->at.off + LOG_ALIGN;
	quarantine(s, s->at.off, to);
	s->at.off = to;
	s->at.idx = 0;
}

static void step(struct scan *s)
{
	struct pos here = {.seg = s->at.seg, .off = s->at.off};
	bool durable = (s->exact > 0 && (int64_t)here.off < s->exact) ||
		       (s->known.seg == here.seg && pos_cmp(s->known, here) > 0);
	struct seg_head h = {0}, behind;
	struct scan_batch *b;
	struct meta1_err e;

	if (s->exact >= 0 && (int64_t)here.off >= s->exact) {
		next_seg(s);
		return;
	}
	if (!scan_head(s->fd, here.seg, here.off, &h)) {
		bad_head(s, &h, durable);
		return;
	}
	durable = durable || scan_head(s->fd, here.seg, here.off + h.len, &behind);
	if (!durable && !s->closed) {
		s->end = true;
		return;
	}
	b = scan_table(s->fd, here.seg, here.off, &e);
	if (b == NULL && e.text[0] == '\0') {
		s->later = true;
	} else if (durable && b == NULL) {
		quarantine(s, here.off, here.off + h.len);
		s->at = (struct pos){.seg = here.seg, .off = here.off + h.len};
	} else if (!durable && (b == NULL || !whole(s, b))) {
		free(b);
		if (!s->later)
			torn(s, here.off + h.len);
	} else if (!durable) {
		keep(s, b);
	} else {
		take(s, b);
	}
}

/* Listed first, then the lock: what an owner makes later is not in the list. */
static int enter(struct scan *s)
{
	char folder[16];

	folder_name(s->writer, folder);
	s->dir = openat(s->l->qfd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir < 0)
		return errno == ENOENT ? 0 : -1;
	if (scan_list(s->dir, 's', &s->have, &s->nhave) < 0)
		return -1;
	s->locked = folder_locked(s->dir);
	return 1;
}

void scan_work(void *arg)
{
	struct scan *s = arg;
	int r;

	s->dir = s->fd = -1;
	s->tail = &s->head;
	r = enter(s);
	s->later = r < 0;
	s->end = r == 0;
	while (!s->end && !s->later && s->count < SCAN_PAGE && s->nseg < 64) {
		r = open_seg(s);
		s->later = r < 0 && errno != ENOENT;
		if (r == 0)
			s->end = true;
		else if (r < 0)
			break; /* freed meanwhile: the next page lists anew */
		else
			step(s);
	}
	free(s->have);
	if (s->fd >= 0)
		close(s->fd);
	if (s->dir >= 0)
		close(s->dir);
}
