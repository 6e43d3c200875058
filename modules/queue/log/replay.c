/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * replay.c -- checkpoint and journals become a table; on a worker, at start.
 *
 * The newest whole checkpoint S, then the journals S, S+1, ... in order. An outcome of a
 * message that is not known is kept when its place is behind the writer's cursor (the scan
 * will find the message), else it is history. Without a whole checkpoint all cursors are
 * zero: everything on disk is read again, better twice than not at all.
 * Comes from: state/. Goes to: backlog.c. Owns: the table until it is handed over.
 * On failure: damage is named in the result; only lack of memory refuses.
 */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct cursor *cursor(struct replay *p, uint32_t writer)
{
	struct cursor *c;

	for (size_t i = 0; i < p->ncur; i++)
		if (p->cur[i].writer == writer)
			return &p->cur[i];
	c = writer <= LOG_QM ? realloc(p->cur, (p->ncur + 1) * sizeof(*c)) : NULL;
	if (c == NULL) {
		p->refuse = p->refuse || writer <= LOG_QM;
		return NULL;
	}
	p->cur = c;
	c[p->ncur] = (struct cursor){.writer = writer};
	return &c[p->ncur++];
}

static void on_cursor(struct replay *p, const struct jrec *r, const struct jtext *text)
{
	struct cursor *c = cursor(p, r->writer);

	(void)text;
	if (c == NULL)
		return;
	c->at = (struct pos){.seg = r->seg, .off = r->off, .idx = r->idx};
	c->tally = (struct tally){
	    .life = r->own, .count = r->bytes, .begin = (uint64_t)r->next_try, .time = r->time};
}

static void on_msg(struct replay *p, const struct jrec *r, const struct jtext *text)
{
	uint32_t i;

	(void)text;
	if (r->nrcpt == 0 || r->nrcpt > LOG_NRCPT_MAX || r->state > LOG_QM ||
	    !table_fits(r->writer, r->off, r->idx) ||
	    table_find(p->t, r->writer, r->seg, r->off, r->idx) != 0)
		return;
	i = table_add(p->t, r->writer, r->seg, r->off, r->idx);
	if (i == 0 || !table_admit(p->t, i, r->nrcpt, r->bytes, r->state, r->own))
		p->refuse = true;
}

/* Without a checkpoint the journals are many, and most of what they tell of is no more. */
static bool gone(struct replay *p, uint32_t writer, uint64_t seg)
{
	char folder[16], name[24], path[48];

	if (!p->all)
		return false;
	if (p->last.seg != seg || p->last.writer != writer) {
		folder_name(writer, folder);
		seg_name(name, 's', seg);
		snprintf(path, sizeof(path), "%s/%s", folder, name);
		p->last.seg = seg;
		p->last.writer = writer;
		p->last.there = faccessat(p->qfd, path, F_OK, 0) == 0;
	}
	return !p->last.there;
}

/* What there is no memory for would be done again: the start is put off. */
static void set(struct replay *p, uint32_t i, uint32_t rcpt, uint32_t state, uint32_t tries,
    int64_t next_try, struct meta1_buf why)
{
	if (table_outcome(p->t, i, rcpt, state, tries, next_try, why.data, why.len))
		return;
	if (rcpt < LOG_NRCPT_MAX &&
	    (table_at(p->t, i)->nrcpt == 0 || rcpt < table_at(p->t, i)->nrcpt))
		p->refuse = true;
}

static void on_outcome(struct replay *p, const struct jrec *r, const struct jtext *text)
{
	struct pos at = {.seg = r->seg, .off = r->off, .idx = r->idx};
	struct pos after = {.seg = r->seg, .off = r->off, .idx = r->idx + 1};
	struct cursor *c;
	uint32_t i;

	if (!table_fits(r->writer, r->off, r->idx))
		return;
	i = table_find(p->t, r->writer, r->seg, r->off, r->idx);
	c = cursor(p, r->writer);
	if (c != NULL && pos_cmp(after, c->proved) > 0)
		c->proved = after;
	if (i == 0) {
		if (c == NULL || pos_cmp(at, c->at) < 0 || gone(p, r->writer, r->seg))
			return;
		i = table_add(p->t, r->writer, r->seg, r->off, r->idx);
		if (i == 0) {
			p->refuse = true;
			return;
		}
	}
	set(p, i, r->rcpt, r->state, r->tries, r->next_try, text->reason);
}

static void on_dead(struct replay *p, const struct jrec *r, const struct jtext *text)
{
	struct unit *u = table_unit(p->t, r->writer, r->seg, true);

	(void)text;
	if (u != NULL)
		table_dead(p->t, u);
	else
		p->refuse = true;
}

static bool ahead(struct replay *p, uint32_t writer, uint64_t seg, uint64_t off, uint32_t idx)
{
	struct cursor *c = cursor(p, writer);
	struct pos at = {.seg = seg, .off = off, .idx = idx};

	return c != NULL && pos_cmp(at, c->at) >= 0 && !gone(p, writer, seg);
}

static void on_void(struct replay *p, const struct jrec *r, const struct jtext *text)
{
	(void)text;
	if (ahead(p, r->writer, r->seg, r->off, r->idx) &&
	    !table_void(p->t, r->writer, r->seg, r->off, r->idx))
		p->refuse = true;
}

static void take_states(struct replay *p, uint32_t from, uint32_t to)
{
	const struct mrec *r = table_at(p->t, from);

	for (uint32_t i = 0; i < table_nrst(r); i++) {
		const struct rst *s = table_rst(r, i);

		set(p, to, i, s->state, s->tries, s->next_try, texts_get(&p->t->texts, s->reason));
	}
}

/* A checkpoint under way may have met it at either place; what was known of it goes along. */
static void on_moved(struct replay *p, const struct jrec *r, const struct jtext *text)
{
	uint32_t was, is;

	(void)text;
	if (!table_fits(r->writer, r->off, r->idx) || !table_fits(r->state, r->bytes, r->rcpt))
		return;
	was = table_find(p->t, r->writer, r->seg, r->off, r->idx);
	is = table_find(p->t, r->state, r->own, r->bytes, r->rcpt);
	if (was != 0 && table_at(p->t, was)->nrcpt > 0 && is == 0) {
		if (!table_move(p->t, was, r->state, r->own, r->bytes, r->rcpt))
			p->refuse = true;
		return;
	}
	if (is == 0 && ahead(p, r->state, r->own, r->bytes, r->rcpt)) {
		is = table_add(p->t, r->state, r->own, r->bytes, r->rcpt);
		p->refuse = p->refuse || is == 0;
	}
	if (was != 0 && is != 0 && table_at(p->t, is)->nrcpt == 0)
		take_states(p, was, is);
	on_void(p, r, text);
}

static void on_end(struct replay *p, const struct jrec *r, const struct jtext *text)
{
	(void)r;
	(void)text;
	p->ended = true;
}

static void record(void *arg, const struct jrec *r, const struct jtext *text)
{
	static void (*const on[])(struct replay *, const struct jrec *, const struct jtext *) = {
	    [J_OUTCOME] = on_outcome,
	    [J_DEAD] = on_dead,
	    [J_CURSOR] = on_cursor,
	    [J_MSG] = on_msg,
	    [J_END] = on_end,
	    [J_MOVED] = on_moved,
	    [J_VOID] = on_void,
	};

	if (r->type < sizeof(on) / sizeof(on[0]) && on[r->type] != NULL)
		on[r->type](arg, r, text);
}

static void damage(struct replay *p, const char *file, const char *what)
{
	size_t n = strlen(p->damage);

	snprintf(
	    p->damage + n, sizeof(p->damage) - n, "%sstate/%s: %s", n > 0 ? "; " : "", file, what);
}

static int read_file(struct replay *p, const char *what, uint64_t serial, uint64_t seed)
{
	char name[40];
	int fd, bad;

	serial_name(name, what, serial);
	fd = openat(p->dir, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
			p->err = errno; /* ours is short of something, the file is well */
		damage(p, name, strerror(errno));
		return 1;
	}
	bad = frame_read(fd, seed, record, p);
	/* What a killed qmgr left is in memory only, perhaps; space is freed on its word now. */
	if (fdatasync(fd) < 0)
		damage(p, name, strerror(errno));
	close(fd);
	if (bad < 0)
		p->refuse = true;
	if (bad > 0)
		damage(p, name,
		    "records are damaged and were skipped; what they said may be done again");
	return bad;
}

static int serials(struct replay *p, const char *what, uint64_t **v, size_t *n)
{
	if (serial_list(p->dir, what, v, n) == 0)
		return 0;
	p->err = errno;
	return -1;
}

/* 0: there is none that is whole. */
static uint64_t read_checkpoint(struct replay *p)
{
	uint64_t *v, from;
	size_t n;

	if (serials(p, "checkpoint", &v, &n) < 0 || n == 0)
		return 0;
	/* Only the newest: journals that an older one needs may be history already. */
	from = v[n - 1];
	free(v);
	if (read_file(p, "checkpoint", from, ~from) == 0 && p->ended)
		return from;
	damage(p, "checkpoint", "not whole: all segments are read again");
	for (size_t k = 0; k < p->ncur; k++)
		p->cur[k].at = (struct pos){0};
	return 0;
}

static void read_files(struct replay *p, const char *what, uint64_t from)
{
	uint64_t *v;
	size_t n;

	if (serials(p, what, &v, &n) < 0)
		return;
	for (size_t i = 0; i < n && p->err == 0; i++) {
		if (v[i] >= p->serial)
			p->serial = v[i] + 1;
		if (v[i] < from)
			continue;
		p->rescue = read_file(p, what, v[i], v[i]) != 0 || p->rescue;
		p->files += *what == 'j';
	}
	free(v);
}

/* Without a checkpoint the history says what is done, so that little is done again. */
static void read_journals(struct replay *p, uint64_t from)
{
	p->serial = from > 0 ? from : 1;
	p->all = from == 0;
	read_files(p, "history", from > 0 ? UINT64_MAX : 0);
	if (p->err == 0)
		read_files(p, "journal", from);
}

static const struct table *sorting; /* by one job at a time */

static int by_place(const void *a, const void *b)
{
	const struct mrec *x = table_at(sorting, *(const uint32_t *)a);
	const struct mrec *y = table_at(sorting, *(const uint32_t *)b);
	struct pos p = {.seg = x->seg, .off = table_boff(x), .idx = x->idx};
	struct pos q = {.seg = y->seg, .off = table_boff(y), .idx = y->idx};

	return x->writer != y->writer ? (x->writer < y->writer ? -1 : 1) : pos_cmp(p, q);
}

/* It lies before the cursor: no scan will meet it. One that came while a checkpoint was written may
 * stand in that and behind its cursor: it stays until the scan, which else would take it for new.
 */
static bool passed(struct replay *p, const struct mrec *r)
{
	const struct cursor *c = cursor(p, r->writer);
	struct pos at = {.seg = r->seg, .off = table_boff(r), .idx = r->idx};

	return c != NULL && pos_cmp(at, c->at) < 0;
}

/* What the journal finished need not be loaded; the rest in the order of the disk. */
static void sweep(struct replay *p)
{
	struct table *t = p->t;

	p->order = calloc(t->mcount + 1, sizeof(*p->order));
	if (p->order == NULL) {
		p->refuse = true;
		return;
	}
	for (uint32_t i = 1; i <= t->top; i++) {
		const struct mrec *r = table_at(t, i);

		if (r->used && table_final(r)) {
			if (passed(p, r))
				table_remove(t, i);
		} else if (r->used && r->nrcpt > 0) {
			p->order[p->norder++] = i;
		}
	}
	sorting = t;
	qsort(p->order, p->norder, sizeof(*p->order), by_place);
}

void replay_read(struct replay *p)
{
	uint64_t from;

	p->fd = -1;
	p->t = table_new();
	if (p->t == NULL) {
		p->refuse = true;
		return;
	}
	from = read_checkpoint(p);
	if (p->err == 0)
		read_journals(p, from);
	if (p->refuse || p->err != 0)
		return;
	sweep(p);
	if (p->refuse)
		return;
	if (folder_writers(p->qfd, p->folder, &p->nfolder) < 0)
		p->err = errno;
}

void replay_work(void *arg)
{
	struct replay *p = arg;

	replay_read(p);
	if (!p->refuse && p->err == 0)
		p->fd = journal_make(p->dir, "journal", p->serial, p->size);
}
