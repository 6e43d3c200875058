/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * page.c -- envelopes of messages that the table knows, read from where they stand: what a
 * checkpoint named (backlog.c), and what qmgr forgot and asks for again (fetch).
 *
 * One job sorts the places, so that each segment is opened and each table of a batch read once.
 * Comes from: backlog.c, qmgr. Goes to: manager_tell(). Owns: a page while it is read.
 * On failure: what cannot be read is named by damage() and stays; what we are too short of
 * something for is tried again.
 */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Static_assert(META1_FETCH_MAX <= SCAN_PAGE, "a fetch is a page");

struct page *page_new(struct manager *m)
{
	struct page *p = malloc(sizeof(*p));

	if (p == NULL)
		return NULL;
	p->m = m;
	p->req = NULL;
	p->n = 0;
	return p;
}

void page_free(struct page **pp)
{
	struct page *p = *pp;

	*pp = NULL;
	for (unsigned i = 0; i < p->n; i++)
		if (p->e[i].first)
			free(p->e[i].b);
	free(p);
}

void page_add(struct page *p, uint32_t i)
{
	const struct mrec *r = table_at(p->m->t, i);
	struct page_entry *e = &p->e[p->n++];

	e->key = table_key(p->m->t, i);
	e->seg = r->seg;
	e->boff = table_boff(r);
	e->writer = r->writer;
	e->idx = r->idx;
	e->b = NULL;
	e->rec = NULL;
	e->first = e->later = false;
	e->why[0] = '\0';
}

/* ---- on a worker ---- */

static int by_place(const void *a, const void *b)
{
	const struct page_entry *x = a, *y = b;
	struct pos p = {.seg = x->seg, .off = x->boff, .idx = x->idx};
	struct pos q = {.seg = y->seg, .off = y->boff, .idx = y->idx};

	return x->writer != y->writer ? (x->writer < y->writer ? -1 : 1) : pos_cmp(p, q);
}

static int open_segment(const struct page *p, struct page_entry *e)
{
	char folder[16], name[24], path[48];
	int fd;

	folder_name(e->writer, folder);
	seg_name(name, 's', e->seg);
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = openat(p->m->l->qfd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		e->later = errno != ENOENT && errno != EIO;
		snprintf(e->why, sizeof(e->why), "%s", strerror(errno));
	}
	return fd;
}

struct walk { /* over the records of one table, which are asked for in order */
	struct scan_batch *b;
	uint32_t idx;
	const uint8_t *at;
	size_t left;
};

static void find(struct walk *w, struct page_entry *e)
{
	struct seg_msg m;

	e->b = w->b;
	while (w->idx <= e->idx && w->idx < w->b->nmsg && seg_rec_decode(w->at, w->left, &m) == 0) {
		if (w->idx == e->idx) {
			e->rec = w->at;
			return;
		}
		w->at += m.r.len;
		w->left -= m.r.len;
		w->idx++;
	}
	snprintf(e->why, sizeof(e->why), "no such message in the batch");
}

void page_work(void *arg)
{
	struct page *p = arg;
	struct walk w = {.b = NULL};
	int fd = -1;

	qsort(p->e, p->n, sizeof(p->e[0]), by_place);
	for (unsigned i = 0; i < p->n; i++) {
		struct page_entry *e = &p->e[i], *was = i > 0 ? e - 1 : NULL;
		struct meta1_err err;

		if (was == NULL || was->writer != e->writer || was->seg != e->seg || fd < 0) {
			if (fd >= 0)
				close(fd);
			w.b = NULL;
			fd = open_segment(p, e);
			if (fd < 0)
				continue;
		}
		if (w.b == NULL || w.b->off != e->boff) {
			w.b = scan_table(fd, e->seg, e->boff, &err);
			e->first = w.b != NULL;
			if (w.b == NULL) {
				e->later = err.text[0] == '\0';
				snprintf(e->why, sizeof(e->why), "%.90s", err.text);
				e->b = NULL;
				continue;
			}
			e->b = w.b;
			w.idx = 0;
			w.at = w.b->table;
			w.left = w.b->table_len;
		}
		find(&w, e);
	}
	if (fd >= 0)
		close(fd);
}

/* ---- on the loop ---- */

static void lost(struct manager *m, const struct page_entry *e)
{
	char text[256], folder[16];

	folder_name(e->writer, folder);
	snprintf(text, sizeof(text),
	    "%s/s%016llx at %llu: message %u that waits there cannot be read: %s", folder,
	    (unsigned long long)e->seg, (unsigned long long)e->boff, e->idx, e->why);
	manager_damage(m, text);
}

uint32_t page_take(struct page *p, unsigned k, struct seg_msg *s)
{
	struct page_entry *e = &p->e[k];
	struct table *t = p->m->t;
	uint32_t i = table_by_key(t, e->key);
	const struct mrec *r = i != 0 ? table_at(t, i) : NULL;

	if (r == NULL) {
		e->why[0] = '\0';
		return 0;
	}
	/* It moved while we read: once more, from its new place. */
	e->later = e->later || r->seg != e->seg || table_boff(r) != e->boff || r->idx != e->idx ||
		   r->writer != e->writer;
	if (e->later)
		return 0;
	if (e->rec != NULL && seg_rec_decode(e->rec, e->b->table_len, s) == 0) {
		if (s->r.nrcpt == r->nrcpt)
			return i;
		snprintf(e->why, sizeof(e->why), "another number of recipients");
	}
	lost(p->m, e);
	return 0;
}

/* ---- fetch ---- */

static void fetched(void *arg)
{
	struct page *p = arg;
	struct manager *m = p->m;
	bool all = true;

	for (unsigned k = 0; k < p->n; k++) {
		struct seg_msg s;
		uint32_t i = page_take(p, k, &s);

		if (i != 0)
			p->e[k].later = !manager_tell(m, i, &s, true);
		else if (!p->e[k].later && p->e[k].why[0] != '\0')
			manager_tell_unread(m, p->e[k].key, p->e[k].why);
		else if (!p->e[k].later)
			m->ev->loaded(m->arg, p->e[k].key, NULL, NULL);
		all = all && !p->e[k].later;
	}
	store_answer(m->l, &p->req, all ? META1_OK : META1_TEMPFAIL,
	    all ? NULL : "queue_log: not all envelopes can be read now");
	page_free(&p);
}

void manager_fetch(void *inst, struct meta1_req *req, const uint64_t *key, uint32_t n)
{
	struct store *l = inst;
	struct manager *m = l->m;
	struct page *p;

	if (m == NULL || m->t == NULL || n > META1_FETCH_MAX || m->ev->loaded == NULL) {
		store_answer(l, &req, META1_PERMFAIL, "queue_log: nothing to fetch from");
		return;
	}
	p = page_new(m);
	if (p == NULL) {
		store_answer(l, &req, META1_TEMPFAIL, "queue_log: out of memory");
		return;
	}
	for (uint32_t k = 0; k < n; k++) {
		uint32_t i = table_by_key(m->t, key[k]);

		if (i != 0 && table_at(m->t, i)->told)
			page_add(p, i);
		else
			m->ev->loaded(m->arg, key[k], NULL, NULL);
	}
	p->req = req;
	if (store_job(l, page_work, fetched, p))
		return;
	page_free(&p);
	store_answer(l, &req, META1_TEMPFAIL, "queue_log: too many jobs wait");
}
