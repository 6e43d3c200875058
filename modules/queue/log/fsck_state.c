/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fsck_state.c -- what journals and history tell, and whether it is enough; what is left over.
 *
 * Comes from: fsck.c. Goes to: fate() and found(). Owns: messages and segments that were told of.
 * On failure: a finding, or for want of memory check_short().
 */
#include "fsck.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct fmsg *fsck_msg(struct fsck *f, uint32_t writer, struct pos at, bool make)
{
	uint64_t k[4] = {at.seg, at.off, at.idx, writer};
	struct fmsg **p = &f->msg[seg_sum(2, k, sizeof(k)) % FSCK_SLOTS], *m;

	for (m = *p; m != NULL; m = m->next)
		if (m->writer == writer && pos_cmp(m->at, at) == 0)
			return m;
	if (!make)
		return NULL;
	m = calloc(1, sizeof(*m));
	if (m == NULL) {
		check_short(&f->c, ENOMEM);
		return NULL;
	}
	m->at = at;
	m->writer = writer;
	m->next = *p;
	return *p = m;
}

struct fseg *fsck_seg(struct fsck *f, uint32_t writer, uint64_t seg)
{
	struct fseg *g;

	for (g = f->seg; g != NULL; g = g->next)
		if (g->writer == writer && g->seg == seg)
			return g;
	g = calloc(1, sizeof(*g));
	if (g == NULL) {
		check_short(&f->c, ENOMEM);
		return NULL;
	}
	g->writer = writer;
	g->seg = seg;
	g->next = f->seg;
	return f->seg = g;
}

struct pos fsck_cursor(const struct fsck *f, uint32_t writer)
{
	for (size_t i = 0; i < f->p.ncur; i++)
		if (f->p.cur[i].writer == writer)
			return f->p.cur[i].at;
	return (struct pos){0};
}

void fsck_unit(struct fsck *f, uint32_t writer, uint64_t number)
{
	void *v = realloc(f->unit, (f->nunit + 1) * sizeof(*f->unit));

	if (v == NULL) {
		check_short(&f->c, ENOMEM);
		return;
	}
	f->unit = v;
	f->unit[f->nunit].writer = writer;
	f->unit[f->nunit++].number = number;
}

void fsck_number(struct fsck *f, uint64_t n)
{
	uint64_t *h = &f->highest[f->writer == LOG_QM];

	*h = n > *h ? n : *h;
}

void fsck_free(struct fsck *f)
{
	for (unsigned i = 0; i < FSCK_SLOTS; i++)
		while (f->msg[i] != NULL) {
			struct fmsg *m = f->msg[i];

			f->msg[i] = m->next;
			free(m->done);
			free(m);
		}
	while (f->seg != NULL) {
		struct fseg *g = f->seg;

		f->seg = g->next;
		free(g);
	}
	table_free(&f->p.t);
	free(f->p.cur);
	free(f->p.order);
	free(f->unit);
	free(f->seen);
}

/* ---- records ---- */

/* Records may be said again: once for each recipient. */
static bool first_time(struct fsck *f, struct fmsg *m, const struct jrec *r)
{
	uint32_t n = r->nrcpt > 0 && r->nrcpt <= LOG_NRCPT_MAX ? r->nrcpt : 1;

	if (m->nrcpt == 0)
		m->nrcpt = n;
	if (m->nrcpt == 1 || r->rcpt >= m->nrcpt)
		return m->nfinal == 0;
	if (m->done == NULL)
		m->done = calloc(m->nrcpt, 1);
	if (m->done == NULL)
		check_short(&f->c, ENOMEM);
	if (m->done == NULL || m->done[r->rcpt])
		return false;
	m->done[r->rcpt] = 1;
	return true;
}

static void on_outcome(struct fsck *f, const struct jrec *r, const struct jtext *t)
{
	struct pos at = {.seg = r->seg, .off = r->off, .idx = r->idx};
	struct meta1_qfate fate = {.size = sizeof(fate),
	    .state = r->state,
	    .addr = t->addr,
	    .from = t->from,
	    .by = t->by,
	    .bytes = r->bytes,
	    .time = r->time,
	    .tries = r->tries};
	char id[META1_ID_MAX] = "";
	struct fmsg *m;

	/* Without an id it repeats what an earlier one told. */
	m = fsck_msg(f, r->writer, at, true);
	if (m != NULL && m->nrcpt == 0 && r->nrcpt > 0)
		m->nrcpt = r->nrcpt;
	if (m == NULL || r->state == META1_R_WAITING || r->state > META1_R_DELETED ||
	    t->id.len == 0 || t->id.len >= sizeof(id) || !first_time(f, m, r))
		return;
	m->nfinal++;
	memcpy(id, t->id.data, t->id.len);
	fate.id = id;
	f->c.ev->fate(f->c.arg, &fate);
}

static void on_moved(struct fsck *f, const struct jrec *r, const struct jtext *t)
{
	struct pos from = {.seg = r->seg, .off = r->off, .idx = r->idx};
	struct pos to = {.seg = r->own, .off = r->bytes, .idx = r->rcpt};
	struct fmsg *was = fsck_msg(f, r->writer, from, true), *is;

	(void)t;
	if (was == NULL || was->moved)
		return;
	was->moved = true;
	is = fsck_msg(f, r->state, to, true);
	if (is == NULL)
		return;
	is->nrcpt = was->nrcpt;
	is->nfinal = was->nfinal;
	is->done = was->done;
	was->done = NULL;
}

static void on_void(struct fsck *f, const struct jrec *r, const struct jtext *t)
{
	struct pos at = {.seg = r->seg, .off = r->off, .idx = r->idx};
	struct fmsg *m = fsck_msg(f, r->writer, at, true);

	(void)t;
	if (m != NULL)
		m->moved = true;
}

static void on_seg(struct fsck *f, const struct jrec *r, const struct jtext *t)
{
	struct fseg *g = fsck_seg(f, r->writer, r->seg);

	(void)t;
	if (g == NULL || (g->said && g->end > r->bytes))
		return;
	g->said = true;
	g->life = r->own;
	g->begin = (uint64_t)r->next_try;
	g->end = r->bytes;
	g->time = r->time;
}

static void record(void *arg, const struct jrec *r, const struct jtext *t)
{
	static void (*const on[])(struct fsck *, const struct jrec *, const struct jtext *) = {
	    [J_OUTCOME] = on_outcome, [J_SEG] = on_seg, [J_MOVED] = on_moved, [J_VOID] = on_void};

	if (r->type < sizeof(on) / sizeof(on[0]) && on[r->type] != NULL)
		on[r->type](arg, r, t);
}

static void on_time(void *arg, const struct jrec *r, const struct jtext *t)
{
	int64_t *first = arg;

	(void)t;
	if (r->type == J_OUTCOME && (*first == 0 || r->time < *first))
		*first = r->time;
}

/* Files before the first one are gone: what they told may be forgotten. Times are in seconds, so
 * all of the first second may be. */
static void set_horizon(struct fsck *f, uint64_t serial, int fd)
{
	int64_t first = 0;

	f->horizon = INT64_MIN;
	if (serial <= 1)
		return;
	if (frame_read(fd, serial, on_time, &first) < 0)
		check_short(&f->c, ENOMEM);
	f->horizon = first != 0 ? first : INT64_MAX;
}

static void read_all(struct fsck *f, const char *what, bool *first)
{
	uint64_t *v;
	size_t n;

	if (serial_list(f->c.state, what, &v, &n) < 0) {
		if (!check_short(&f->c, errno))
			check_found(
			    &f->c, META1_QF_DAMAGE, "state: cannot be listed: %s", strerror(errno));
		return;
	}
	for (size_t i = 0; i < n; i++) {
		char name[40];
		int fd, bad;

		serial_name(name, what, v[i]);
		fd = openat(f->c.state, name, O_RDONLY | O_CLOEXEC);
		if (fd < 0) {
			if (!check_short(&f->c, errno))
				check_found(
				    &f->c, META1_QF_DAMAGE, "state/%s: %s", name, strerror(errno));
			continue;
		}
		if (*first)
			set_horizon(f, v[i], fd);
		*first = false;
		bad = frame_read(fd, v[i], record, f);
		if (bad < 0)
			check_short(&f->c, ENOMEM);
		if (bad > 0)
			check_found(&f->c, META1_QF_DAMAGE,
			    "state/%s: %d damaged places, outcomes in them are unknown", name, bad);
		close(fd);
	}
	free(v);
}

void fsck_records(struct fsck *f)
{
	bool first = true;

	f->horizon = INT64_MIN;
	read_all(f, "history", &first);
	read_all(f, "journal", &first);
}

/* ---- segments that are gone ---- */

static void count_known(struct fsck *f)
{
	for (unsigned i = 0; i < FSCK_SLOTS; i++)
		for (struct fmsg *m = f->msg[i]; m != NULL; m = m->next) {
			struct fseg *g = f->seg;

			if (!m->moved && (m->nrcpt == 0 || m->nfinal < m->nrcpt))
				continue;
			while (g != NULL && (g->seg != m->at.seg || g->writer != m->writer))
				g = g->next;
			if (g != NULL)
				g->known++;
		}
}

/* As far as all is known: what was tried and is not done must be somewhere. */
static void unfinished(struct fsck *f)
{
	for (unsigned i = 0; f->horizon == INT64_MIN && i < FSCK_SLOTS; i++)
		for (struct fmsg *m = f->msg[i]; m != NULL; m = m->next) {
			char path[16];

			if (m->seen || m->moved || m->nrcpt == 0 || m->nfinal >= m->nrcpt ||
			    table_find(f->p.t, m->writer, m->at.seg, m->at.off, m->at.idx) != 0)
				continue;
			folder_name(m->writer, path);
			check_found(&f->c, META1_QF_LOST,
			    "message %u of the batch at %llu in %s/s%016llx was tried, is not "
			    "done, and cannot be read",
			    m->at.idx, (unsigned long long)m->at.off, path,
			    (unsigned long long)m->at.seg);
		}
}

static int by_count(const void *a, const void *b)
{
	const struct fseg *x = *(struct fseg *const *)a, *y = *(struct fseg *const *)b;

	if (x->writer != y->writer)
		return x->writer < y->writer ? -1 : 1;
	if (x->life != y->life)
		return x->life < y->life ? -1 : 1;
	return x->begin < y->begin ? -1 : x->begin > y->begin;
}

/* Each life counts its messages: a hole is a segment that nobody tells of. It was begun after the
 * one before it; when that was at a time of which the history is gone, nothing is said. */
static void holes(struct fsck *f, struct fseg **v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		bool same =
		    i > 0 && v[i - 1]->writer == v[i]->writer && v[i - 1]->life == v[i]->life;
		uint64_t from = same ? v[i - 1]->end : 0;

		if (v[i]->life == 0 || v[i]->begin <= from ||
		    (f->horizon != INT64_MIN && (!same || v[i - 1]->time <= f->horizon)))
			continue;
		check_found(&f->c, META1_QF_LOST,
		    "writer %u, life %llx: its messages %llu to %llu are in no segment, and the "
		    "history does not tell of one",
		    v[i]->writer, (unsigned long long)v[i]->life, (unsigned long long)from,
		    (unsigned long long)v[i]->begin - 1);
	}
}

void fsck_history(struct fsck *f)
{
	struct fseg **v;
	size_t n = 0;

	count_known(f);
	unfinished(f);
	for (struct fseg *g = f->seg; g != NULL; g = g->next) {
		n++;
		if (g->there || !g->said || g->time <= f->horizon || g->known >= g->end - g->begin)
			continue;
		check_found(&f->c, META1_QF_LOST,
		    "segment %llx of writer %u is gone with %llu messages, outcomes are known of "
		    "%llu",
		    (unsigned long long)g->seg, g->writer, (unsigned long long)(g->end - g->begin),
		    (unsigned long long)g->known);
	}
	v = calloc(n + 1, sizeof(struct fseg *));
	if (v == NULL) {
		check_short(&f->c, ENOMEM);
		return;
	}
	n = 0;
	for (struct fseg *g = f->seg; g != NULL; g = g->next)
		v[n++] = g;
	qsort(v, n, sizeof(struct fseg *), by_count);
	holes(f, v, n);
	free(v);
}

/* ---- what is left over ---- */

static bool needed(const struct fsck *f, uint32_t writer, uint64_t number)
{
	const struct unit *u = table_unit(f->p.t, writer, number, false);

	if (u != NULL && (u->dead || u->live > 0))
		return true;
	for (size_t i = 0; i < f->nunit; i++)
		if (f->unit[i].writer == writer && f->unit[i].number == number)
			return true;
	return false;
}

static void own_files(struct fsck *f, uint32_t writer)
{
	char path[16];
	uint64_t *v = NULL;
	size_t n = 0;
	int dir;

	folder_name(writer, path);
	f->writer = writer;
	dir = openat(f->qfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || scan_list(dir, 'b', &v, &n) < 0) {
		check_short(&f->c, errno);
		n = 0;
	}
	for (size_t i = 0; i < n; i++) {
		fsck_number(f, v[i]);
		if (!needed(f, writer, v[i]))
			check_found(&f->c, META1_QF_ORPHAN,
			    "%s/b%016llx: no waiting message needs it%s", path,
			    (unsigned long long)v[i],
			    folder_locked(dir) ? " (or it is being written)"
					       : " (the next start frees it)");
	}
	free(v);
	if (dir >= 0)
		close(dir);
}

static void kept(struct fsck *f)
{
	int fd = openat(f->c.state, "quarantine", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *e;
	struct stat st;

	if (d == NULL) {
		check_short(&f->c, errno);
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((e = readdir(d)) != NULL)
		if (e->d_name[0] != '.' && fstatat(fd, e->d_name, &st, 0) == 0)
			check_found(&f->c, META1_QF_QUARANTINE,
			    "state/quarantine/%s: %lld damaged bytes, kept for you", e->d_name,
			    (long long)st.st_size);
	closedir(d);
}

static void counter(struct fsck *f, const char *path, uint64_t highest)
{
	uint64_t next = 0;

	errno = 0;
	if (counter_look(f->qfd, path, &next) < 0) {
		if (highest > 0 && !check_short(&f->c, errno))
			check_found(&f->c, META1_QF_DAMAGE,
			    "%s: missing or damaged; the next start goes on far above", path);
		return;
	}
	if (highest >= next)
		check_found(&f->c, META1_QF_DAMAGE,
		    "%s: the counter is at %llx, but number %llx was used", path,
		    (unsigned long long)next, (unsigned long long)highest);
}

void fsck_leftovers(struct fsck *f)
{
	for (unsigned i = 0; i < f->p.nfolder; i++)
		own_files(f, f->p.folder[i]);
	kept(f);
	counter(f, "in/ids", f->highest[0]);
	counter(f, "state/ids", f->highest[1]);
}
