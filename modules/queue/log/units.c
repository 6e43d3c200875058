/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * units.c -- a segment or own file that nothing needs is free.
 *
 * Order on disk: outcome, then the unit's death, in one journal; their sync; only then is
 * space() called (or our own unit recycled). It is called again at each attach of its owner
 * while the file is there, so a lost word costs nothing; and whenever many are dead, those
 * whose files are gone are forgotten.
 * Comes from: manager.c, backlog.c. Goes to: the role (SPACE_FREE), space.c for our own.
 * On failure: a unit whose death could not be recorded stays until the next life.
 */
#include "log.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void announce(struct manager *m, struct unit *u)
{
	struct store *l = m->l;

	u->told = true;
	if (l->w != NULL && l->w->number == u->writer)
		space_reclaim(l, u->number);
	else if (m->ev->space != NULL)
		m->ev->space(m->arg, u->writer, u->number);
}

void units_settle(struct manager *m, struct unit *u)
{
	struct jrec j = {.type = J_DEAD, .writer = u->writer, .seg = u->number};

	if (u->live > 0 || u->hold > 0 || !u->closed || u->dead)
		return;
	if (!record_put(&m->j, &j, NULL, NULL))
		return;
	u->nr = m->j.put;
	table_dead(m->t, u);
}

void units_final(struct manager *m, uint32_t i)
{
	const struct mrec *r = table_at(m->t, i);
	struct unit *u = table_unit(m->t, r->writer, r->seg, false), *own = table_own(m->t, r);

	table_remove(m->t, i);
	if (own != NULL)
		units_settle(m, own);
	if (u != NULL)
		units_settle(m, u);
}

/* Goes into the history, where fsck checks by it that no message of the segment is missing. */
static void put_seg(struct mwriter *w)
{
	struct jrec j = {.type = J_SEG,
	    .writer = w->number,
	    .seg = w->open,
	    .own = w->tally.life,
	    .bytes = w->tally.count,
	    .next_try = (int64_t)w->tally.begin,
	    .time = w->tally.time};

	if (w->open != 0 && w->tally.life != 0)
		record_put(&w->m->j, &j, NULL, NULL);
}

void units_count(struct mwriter *w, uint64_t off, uint64_t life, uint64_t count, uint32_t n)
{
	struct tally *t = &w->tally;

	if (off == 0 && (t->life != life || t->begin != count || t->time == 0))
		*t = (struct tally){
		    .life = life, .begin = count, .time = w->m->l->h->wall(w->m->l->ctx)};
	t->life = life;
	t->count = count + n;
}

void units_pass(struct mwriter *w, uint64_t seg)
{
	struct unit *was = w->open != 0 ? table_unit(w->m->t, w->number, w->open, false) : NULL;

	if (seg == 0 || w->open == seg)
		return;
	put_seg(w);
	w->tally = (struct tally){0};
	w->open = seg;
	if (was != NULL) {
		was->closed = true;
		units_settle(w->m, was);
	}
	/* Also one without messages must be known, to be closed and freed. */
	table_unit(w->m->t, w->number, seg, true);
}

#define DEAD_MORE 256 /* dead units besides twice those found there: looked at again */

static void count_dead(struct manager *m)
{
	m->l->h->count(m->l->ctx, "dead_units_now", (int64_t)m->t->ndead);
}

/* The dead list is newest first, so the walk ends at the first one that was told. */
void units_synced(struct manager *m)
{
	for (struct unit *u = m->t->dead; u != NULL && !u->told; u = u->next)
		if (u->nr <= m->j.synced)
			announce(m, u);
	count_dead(m);
	if (m->t->ndead < m->dead_look + DEAD_MORE)
		return;
	m->dead_look = 2 * m->t->ndead; /* until it is known better */
	for (struct mwriter *w = m->ws; w != NULL; w = w->next)
		units_attach(m, w->number);
}

struct census { /* files of one folder, on a worker */
	struct manager *m;
	uint32_t writer;
	bool tidy;
	uint64_t life;
	uint64_t *v;
	size_t n;
	bool *there;
};

static void look(void *arg)
{
	struct census *c = arg;
	char folder[16], name[24];
	struct stat st;
	int dir;

	folder_name(c->writer, folder);
	dir = openat(c->m->l->qfd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return;
	for (size_t i = 0; i < c->n; i++) {
		seg_name(name, 's', c->v[i]);
		c->there[i] = fstatat(dir, name, &st, 0) == 0;
		seg_name(name, 'b', c->v[i]);
		c->there[i] = c->there[i] || fstatat(dir, name, &st, 0) == 0;
	}
	close(dir);
}

static void check_free(struct census *c)
{
	free(c->v);
	free(c->there);
	free(c);
}

static void looked(void *arg)
{
	struct census *c = arg;

	for (size_t i = 0; i < c->n; i++) {
		struct unit *u = table_unit(c->m->t, c->writer, c->v[i], false);

		if (u == NULL || !u->dead || !u->told)
			continue;
		if (c->there[i])
			announce(c->m, u);
		else if (u->live == 0)
			table_forget(c->m->t, &u);
	}
	c->m->dead_look = 2 * c->m->t->ndead;
	count_dead(c->m);
	check_free(c);
}

void units_attach(struct manager *m, uint32_t writer)
{
	struct census *c;
	size_t n = 0;

	for (struct unit *u = m->t->dead; u != NULL; u = u->next)
		n += u->writer == writer;
	c = n > 0 ? calloc(1, sizeof(*c)) : NULL;
	if (c == NULL)
		return;
	c->m = m;
	c->writer = writer;
	c->v = calloc(n, sizeof(*c->v));
	c->there = calloc(n, sizeof(*c->there));
	if (c->v == NULL || c->there == NULL)
		goto fail;
	for (struct unit *u = m->t->dead; u != NULL; u = u->next)
		if (u->writer == writer)
			c->v[c->n++] = u->number;
	if (store_job(m->l, look, looked, c))
		return;
fail:
	check_free(c);
}

static void list(void *arg)
{
	struct census *c = arg;
	char folder[16];
	uint64_t *s = NULL, *b = NULL;
	size_t ns = 0, nb = 0;
	int dir;

	folder_name(c->writer, folder);
	dir = openat(c->m->l->qfd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return;
	scan_list(dir, 's', &s, &ns);
	scan_list(dir, 'b', &b, &nb);
	close(dir);
	c->v = calloc(ns + nb + 1, sizeof(*c->v));
	for (size_t i = 0; c->v != NULL && i < ns; i++)
		if (s[i] < c->life)
			c->v[c->n++] = s[i];
	for (size_t i = 0; c->v != NULL && i < nb; i++)
		if (b[i] < c->life)
			c->v[c->n++] = b[i];
	free(s);
	free(b);
}

static void listed(void *arg)
{
	struct census *c = arg;
	struct manager *m = c->m;

	for (size_t i = 0; i < c->n; i++) {
		struct unit *u = table_unit(m->t, c->writer, c->v[i], true);

		if (u == NULL)
			continue;
		u->closed = true;
		units_settle(m, u);
	}
	check_free(c);
}

/* All of earlier lives is told: what no waiting message needs is left over. Where damage was
 * seen an own file may belong to a lost envelope: there everything stays. */
void units_tidy(struct mwriter *w)
{
	struct census *c;

	if (w->tidied == w->life || w->damaged)
		return;
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		return;
	c->m = w->m;
	c->writer = w->number;
	c->life = w->life;
	if (store_job(w->m->l, list, listed, c))
		w->tidied = w->life;
	else
		check_free(c);
}
