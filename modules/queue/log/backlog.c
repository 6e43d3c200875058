/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * backlog.c -- what was there before: at start, and wherever notices were missed.
 *
 * Start: replay (one job), then for each folder what lies behind its cursor, and beside that
 * the messages that the checkpoint names, both in pages, so that new mail flows meanwhile.
 * Comes from: manager.c. Goes to: manager_tell(). Owns: the walk over untold messages.
 * On failure: what cannot be read is named by damage() and stays on disk; jobs that find no
 * thread are tried again a little later.
 */
#include "log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void walk(struct manager *);

static void page_done(void *arg)
{
	struct page *p = arg;
	struct manager *m = p->m;
	bool again = false;

	m->pages--;
	for (unsigned k = 0; k < p->n; k++) {
		struct seg_msg s;
		uint32_t i = page_take(p, k, &s);

		if (i != 0 && !table_at(m->t, i)->told && !manager_tell(m, i, &s, false))
			again = true;
		again = again || p->e[k].later;
	}
	page_free(&p);
	if (again) {
		store_arm(m->l, m->tick, 1000);
		return;
	}
	m->at = m->upto;
	walk(m);
}

/* One page at a time; records without a size wait for their scan. */
static void walk(struct manager *m)
{
	struct page *p;
	size_t at = m->at;

	if (m->pages > 0)
		return;
	p = page_new(m);
	if (p == NULL) {
		store_arm(m->l, m->tick, 1000);
		return;
	}
	for (; at < m->norder && p->n < SCAN_PAGE; at++) {
		const struct mrec *r = table_at(m->t, m->order[at]);

		if (r->used && !r->told && r->nrcpt > 0)
			page_add(p, m->order[at]);
	}
	if (p->n == 0) {
		page_free(&p);
		free(m->order);
		m->order = NULL;
		m->norder = m->at = 0;
		m->walked = true;
		manager_check(m);
		return;
	}
	m->upto = at;
	if (store_job(m->l, page_work, page_done, p)) {
		m->pages++;
		return;
	}
	page_free(&p);
	store_arm(m->l, m->tick, 50);
}

/* Its outcomes stand in a journal that a checkpoint under way will remove, and the
 * checkpoint's cursor may be before the message: they are said again. */
static void finish(struct manager *m, uint32_t n)
{
	const struct mrec *r = table_at(m->t, n);

	for (uint32_t i = 0; m->ck != NULL && i < r->nrcpt; i++) {
		const struct rst *s = table_rst(r, i);
		struct jrec j = {.type = J_OUTCOME,
		    .writer = r->writer,
		    .idx = r->idx,
		    .rcpt = i,
		    .state = s->state,
		    .seg = r->seg,
		    .off = table_boff(r)};

		record_put(&m->j, &j, NULL, NULL);
	}
	units_final(m, n);
}

static bool admit(struct table *t, uint32_t r, const struct seg_msg *s)
{
	return table_admit(
	    t, r, s->r.nrcpt, s->r.len + (s->r.unit != 0 ? 0 : s->r.clen), s->r.uwriter, s->r.unit);
}

/* A copy that no "moved" names was made just before a crash, and its origin counts; if that is
 * gone the word was lost, and the copy is the message. */
static bool copy_counts(
    struct mwriter *w, const struct scan_batch *b, const struct seg_msg *s, uint32_t idx)
{
	struct manager *m = w->m;
	struct jrec j = {
	    .type = J_VOID, .writer = w->number, .seg = b->seg, .off = b->off, .idx = idx};
	char folder[16], name[24], path[48];

	folder_name(s->origin.writer, folder);
	seg_name(name, 's', s->origin.seg);
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	if (table_find(m->t, s->origin.writer, s->origin.seg, s->origin.off, s->origin.idx) == 0 &&
	    faccessat(m->l->qfd, path, F_OK, 0) < 0)
		return true;
	if (!compact_busy(m))
		record_put(&m->j, &j, NULL, NULL);
	return false;
}

static bool stays(struct mwriter *w, const struct scan_batch *b, uint32_t idx)
{
	w->cursor = (struct pos){.seg = b->seg, .off = b->off, .idx = idx};
	return false;
}

/* Those of a batch from b->first on. Where memory lacks the cursor stays, and false is returned:
 * behind it a unit is free when nothing in it is known to wait. */
static bool tell_batch(struct mwriter *w, const struct scan_batch *b)
{
	struct manager *m = w->m;
	const uint8_t *p = b->table;
	size_t left = b->table_len;
	struct seg_msg s;
	bool rescue = pos_cmp((struct pos){.seg = b->seg, .off = b->off}, w->rescue) < 0;

	units_count(w, b->off, b->life, b->count, b->nmsg);
	for (uint32_t i = 0; i < b->nmsg; i++) {
		uint32_t r;

		if (seg_rec_decode(p, left, &s) < 0) {
			manager_damage(m, "an envelope with a good checksum is malformed");
			w->damaged = true;
			return true;
		}
		p += s.r.len;
		left -= s.r.len;
		if (i < b->first || (rescue && s.r.kind != SEG_COPY))
			continue;
		r = table_find(m->t, w->number, b->seg, b->off, i);
		if (r != 0 && table_at(m->t, r)->told)
			continue;
		if (r != 0 && table_at(m->t, r)->nrcpt > 0) { /* of replay.c, or once more */
			if (table_final(table_at(m->t, r)))
				finish(m, r);
			else if (!manager_tell(m, r, &s, false))
				return stays(w, b, i);
			continue;
		}
		if (r != 0 ? table_at(m->t, r)->moved
			   : s.r.kind == SEG_COPY && !copy_counts(w, b, &s, i))
			continue;
		if (r == 0)
			r = table_add(m->t, w->number, b->seg, b->off, i);
		if (r == 0 || !admit(m->t, r, &s))
			return stays(w, b, i);
		if (table_final(table_at(m->t, r)))
			finish(m, r);
		else if (!manager_tell(m, r, &s, false))
			return stays(w, b, i);
	}
	return true;
}

/* What is missing may have been freed: then all of it was final. */
static void missing(struct mwriter *w, const struct scan *s)
{
	for (unsigned i = 0; i < s->ngone; i++) {
		struct unit *u = table_unit(w->m->t, w->number, s->gone[i], false);
		char text[160], folder[16];

		if (u != NULL && u->dead)
			continue;
		folder_name(w->number, folder);
		snprintf(text, sizeof(text), "%s/s%016llx is missing: messages in it are lost",
		    folder, (unsigned long long)s->gone[i]);
		manager_damage(w->m, text);
		w->damaged = true;
	}
}

static void report(struct mwriter *w, const struct scan *s)
{
	struct store *l = w->m->l;

	if (s->damage[0] != '\0') {
		manager_damage(w->m, s->damage);
		w->damaged = true;
	}
	if (s->torn[0] != '\0')
		l->h->log(l->ctx, META1_WARN, "%s", s->torn);
	for (unsigned i = 0; i < s->nhold; i++) {
		struct unit *u = table_unit(w->m->t, w->number, s->hold[i], true);

		if (u != NULL)
			u->hold++; /* for this life */
	}
	missing(w, s);
}

/* An outcome of before the crash proved a place whose segment was free then: it died, which was
 * synced, and it went before a checkpoint could move the cursor behind it. */
static bool was_freed(const struct mwriter *w, struct pos at)
{
	const struct unit *u = table_unit(w->m->t, w->number, at.seg, false);

	return u != NULL && u->dead;
}

/* At the end of what can be read; known: what a notice said when the scan began, or what
 * outcomes in the journal proved. */
static void scan_ended(struct mwriter *w, const struct scan *s)
{
	if (pos_cmp(w->cursor, s->known) < 0 && was_freed(w, s->known))
		w->cursor = s->known;
	if (pos_cmp(w->cursor, s->known) < 0) {
		char text[160];

		snprintf(text, sizeof(text),
		    "writer %u: what it acknowledged up to %llx:%llu cannot be read", w->number,
		    (unsigned long long)s->known.seg, (unsigned long long)s->known.off);
		manager_damage(w->m, text);
		w->damaged = true;
		w->cursor = s->known;
	}
	w->scan = pos_cmp(w->cursor, w->known) < 0 || w->life != s->life;
	w->poll = s->locked && w->attached == 0;
	if (w->poll)
		store_arm(w->m->l, w->m->tick, 1000);
	if (!w->scan && w->life != 0)
		units_tidy(w);
}

static void scan_done(void *arg)
{
	struct scan *s = arg;
	struct mwriter *w = s->w;
	struct manager *m = w->m;
	unsigned k = 0;
	bool all = true;

	w->busy = false;
	report(w, s);
	for (struct scan_batch *b = s->head; b != NULL && all; b = b->next) {
		while (k < s->nseg && s->seg[k] <= b->seg)
			units_pass(w, s->seg[k++]);
		all = tell_batch(w, b);
	}
	while (k < s->nseg && all)
		units_pass(w, s->seg[k++]);
	if (all && pos_cmp(s->at, w->cursor) > 0)
		w->cursor = s->at;
	s->later = s->later || !all;
	if (s->later) {
		store_arm(m->l, m->tick, 1000);
	} else {
		if (s->end)
			scan_ended(w, s);
		manager_pump(w);
	}
	scan_free(&s);
	manager_check(m);
}

/* Reads on when something is behind the cursor that no notice told. */
void manager_pump(struct mwriter *w)
{
	struct manager *m = w->m;
	struct scan *s;

	if (m->t == NULL || w->busy || !w->scan)
		return;
	s = calloc(1, sizeof(*s));
	if (s != NULL) {
		s->l = m->l;
		s->w = w;
		s->writer = w->number;
		s->at = w->cursor;
		s->known = w->known;
		s->life = w->life;
		s->state = m->dir;
		w->busy = store_job(m->l, scan_work, scan_done, s);
		if (w->busy)
			return;
		free(s);
	}
	store_arm(m->l, m->tick, 50);
}

static void tick(int fd, short what, void *arg)
{
	struct manager *m = arg;

	(void)fd;
	(void)what;
	if (m->t == NULL) {
		backlog_start(m);
		return;
	}
	for (struct mwriter *w = m->ws; w != NULL; w = w->next) {
		w->scan = w->scan || w->poll;
		w->poll = false;
		manager_pump(w);
	}
	if (!m->walked)
		walk(m);
}

/* Units that the outcomes left without a message, now that it is known who is closed. */
static void settle_all(struct manager *m)
{
	for (size_t i = 0; i < m->t->ucap; i++)
		for (struct unit *u = m->t->uh[i]; u != NULL; u = u->hnext) {
			struct mwriter *w = manager_writer(m, u->writer);

			if (w != NULL && u->number < w->cursor.seg)
				u->closed = true;
			units_settle(m, u);
		}
}

static void refused(struct manager *m, const struct replay *p)
{
	char text[200];

	snprintf(text, sizeof(text), "queue state cannot be read: %s: again in a second",
	    p->err != 0 ? strerror(p->err) : "out of memory");
	m->l->h->log(m->l->ctx, META1_ERR, "%s", text);
	store_arm(m->l, m->tick, 1000);
}

static void replay_free(struct replay *p)
{
	table_free(&p->t);
	free(p->order);
	free(p->cur);
	free(p);
}

/* Whom we do not know is not read, and what he holds would wait for the next start. */
static bool known(struct manager *m, const struct replay *p)
{
	bool all = true;

	for (size_t i = 0; i < p->ncur; i++)
		all = manager_writer(m, p->cur[i].writer) != NULL && all;
	for (unsigned i = 0; i < p->nfolder; i++)
		all = (p->folder[i] > LOG_QM || manager_writer(m, p->folder[i]) != NULL) && all;
	return all;
}

static void replayed(void *arg)
{
	struct replay *p = arg;
	struct manager *m = p->m;

	if (!p->refuse && p->err == 0 && !known(m, p)) {
		p->refuse = true;
		if (p->fd >= 0)
			close(p->fd);
	}
	if (p->refuse || p->err != 0) {
		refused(m, p);
		replay_free(p);
		return;
	}
	m->t = p->t;
	p->t = NULL;
	if (p->damage[0] != '\0')
		manager_damage(m, p->damage);
	journal_start(&m->j, p->fd, p->serial);
	for (size_t i = 0; i < p->ncur; i++) {
		struct mwriter *w = manager_writer(m, p->cur[i].writer);

		w->cursor = p->cur[i].at;
		if (p->rescue && w->number == LOG_QM) {
			w->rescue = w->cursor;
			w->cursor = (struct pos){0};
		}
		if (pos_cmp(p->cur[i].proved, w->known) > 0)
			w->known = p->cur[i].proved;
		units_pass(w, w->cursor.seg);
		w->tally = p->cur[i].tally;
	}
	m->want = p->files > 0;
	settle_all(m);
	units_synced(m); /* deaths that the journal already knew */
	m->order = p->order;
	m->norder = p->norder;
	p->order = NULL;
	replay_free(p);
	tick(-1, 0, m);
	journal_flush(&m->j);
}

void backlog_start(struct manager *m)
{
	struct replay *p;

	if (m->tick == NULL)
		m->tick = m->l->h->watch_timer(m->l->ctx, -1, tick, m);
	p = m->tick != NULL ? calloc(1, sizeof(*p)) : NULL;
	if (p == NULL) {
		store_answer(m->l, &m->req, META1_TEMPFAIL, "queue_log: out of memory");
		return;
	}
	p->m = m;
	p->dir = m->dir;
	p->qfd = m->l->qfd;
	p->size = m->l->c->checkpoint_size;
	if (store_job(m->l, replay_work, replayed, p))
		return;
	free(p);
	store_arm(m->l, m->tick, 50);
}
