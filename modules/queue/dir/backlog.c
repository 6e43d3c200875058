/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * backlog.c -- what is in the folders: at start, and wherever notices were missed.
 *
 * A folder is listed in one job; from then on its cursor is behind all that was listed, so new
 * mail flows while the envelopes are read in pages. While its owner lives, only what is known
 * to be durable is taken: a file gets its name a moment before that.
 * Comes from: manager.c. Goes to: manager_entry(). Owns: the lists of what is to be told.
 * At a start the newest files are checked whole: an odd file system may keep a name without
 * the bytes that were synced before it.
 * On failure: a file that cannot be read is named by damage() and stays where it is.
 */
#include "dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE   200
#define NEWEST 64 /* at a start these are checked to the last byte */

/* ---- telling ---- */

struct page {
	struct mwriter *w;
	size_t n;
	struct reading r[PAGE];
};

static void pump_all(struct manager *m)
{
	for (struct mwriter *w = m->ws; w != NULL; w = w->next)
		backlog_pump(w);
}

static void page_work(void *arg)
{
	struct page *p = arg;

	fetch_read(p->w->m->d, p->r, p->n);
}

/* false: there is no memory for it just now. */
static bool tell(struct manager *m, uint32_t writer, struct reading *x)
{
	struct rec *r = table_add(&m->t, writer, x->number);
	struct envelope *e = &x->e;
	struct meta1_qentry q;

	if (r == NULL || r->told || r->dead)
		return r != NULL;
	table_admit(&m->t, r, e->env.nrcpt);
	r->after = e->after;
	if (table_final(r)) {
		outcomes_skip(m, r);
		table_dead(&m->t, r); /* its end was not said: nr 0, its lines are durable */
		return true;
	}
	table_states(&m->t, r, e->rcpt, e->env.nrcpt);
	r->told = true;
	q = manager_entry(r, e->id, &e->env, e->len);
	m->ev->entry(m->arg, &q);
	return true;
}

static void page_done(void *arg)
{
	struct page *p = arg;
	struct mwriter *w = p->w;
	struct manager *m = w->m;
	size_t again = p->n;

	w->busy = false;
	for (size_t i = 0; i < p->n; i++) {
		if (p->r[i].e.text != NULL) {
			if (!tell(m, w->number, &p->r[i]))
				again = again < i ? again : i;
			file_free(&p->r[i].e);
		} else if (p->r[i].later) {
			again = again < i ? again : i;
		} else if (!p->r[i].gone) {
			fetch_unreadable(m, &p->r[i]);
		}
	}
	w->at -= p->n - again;
	if (again < p->n)
		store_arm(m->d, m->tick, 1000);
	else
		backlog_pump(w);
	free(p);
}

/* The next page of what was listed. false: nothing is left. */
static bool read_page(struct mwriter *w)
{
	struct manager *m = w->m;
	struct page *p;
	size_t had = w->at;

	if (w->at == w->nv)
		return false;
	p = calloc(1, sizeof(*p));
	if (p != NULL) {
		p->w = w;
		while (w->at < w->nv && p->n < PAGE) {
			p->r[p->n].whole = !m->loaded && w->nv - w->at <= NEWEST;
			p->r[p->n++].number = w->v[w->at++];
		}
		w->busy = store_job(m->d, page_work, page_done, p);
	}
	if (!w->busy) {
		w->at = had;
		free(p);
		store_arm(m->d, m->tick, 50);
	}
	return true;
}

/* ---- listing ---- */

struct list_job {
	struct mwriter *w;
	uint64_t above, known, life, holder, *v; /* holder: first number of who has the lock */
	size_t n;
	int err, unsynced;
	bool locked;
};

/* Its owner said that its name is on disk. Of those below its life it says nothing. */
static bool vouched(const struct list_job *l, uint64_t number)
{
	return number >= l->life && number <= l->known;
}

/* A name that a killed process left is in memory only, perhaps: before anything refers to its
 * message (and survives the next power loss without it) it is on disk. */
static void sync_names(struct list_job *l, int dir)
{
	bool done[256] = {false}, any = false;

	for (size_t i = 0; i < l->n && !any; i++)
		any = !vouched(l, l->v[i]);
	if (any && fsync(dir) < 0)
		l->unsynced = errno;
	for (size_t i = 0; i < l->n; i++) {
		char sub[4];
		unsigned which = (unsigned)(l->v[i] >> 14 & 0xff);
		int fd;

		if (vouched(l, l->v[i]) || done[which])
			continue;
		done[which] = true;
		file_sub(l->v[i], sub);
		fd = openat(dir, sub, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 || fsync(fd) < 0)
			l->unsynced = errno;
		if (fd >= 0)
			close(fd);
	}
}

static void list_work(void *arg)
{
	struct list_job *l = arg;
	char folder[16], life[17] = "";
	int dir, lock;

	folder_name(l->w->number, folder);
	dir = openat(l->w->m->d->qfd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0) {
		l->err = errno == ENOENT ? 0 : errno;
		return;
	}
	if (list_files(dir, l->above, UINT64_MAX, &l->v, &l->n) < 0)
		l->err = errno;
	else
		sync_names(l, dir);
	/* After the list: what an owner makes later is not in it. */
	lock = openat(dir, "lock", O_RDONLY | O_CLOEXEC);
	l->locked = folder_locked(dir);
	if (l->locked && pread(lock, life, 16, 0) == 16)
		l->holder = strtoull(life, NULL, 16);
	if (lock >= 0)
		close(lock);
	close(dir);
}

/* Up to where all that is listed is durable. */
static uint64_t upto(const struct list_job *l)
{
	uint64_t n = l->known > l->holder ? l->known : l->holder;

	return !l->locked ? UINT64_MAX : n > l->life ? n : l->life;
}

/* Records whose file is gone are history; but one that an admin took away may come back,
 * and who has it already must not get it again: its lines stay. */
static void sweep(struct mwriter *w, uint64_t end)
{
	struct manager *m = w->m;

	for (struct rec *r = m->t.live.first, *next; r != NULL; r = next) {
		next = r->next;
		if (r->writer != w->number || r->told || r->seen || r->number > end)
			continue;
		if (r->nst > 0 && !table_final(r))
			continue;
		outcomes_skip(m, r);
		table_remove(&m->t, r);
	}
}

static void keep(struct mwriter *w, struct list_job *l, uint64_t end)
{
	struct manager *m = w->m;
	size_t k = 0;

	for (size_t i = 0; i < l->n; i++) {
		struct rec *r = table_find(&m->t, w->number, l->v[i]);

		if (r != NULL)
			r->seen = true;
		if ((r == NULL && l->v[i] > end) || (r != NULL && (r->told || r->dead)))
			continue; /* an outcome proves that it is durable */
		if (l->v[i] > w->cursor && l->v[i] <= end)
			w->cursor = l->v[i];
		l->v[k++] = l->v[i];
	}
	free(w->v);
	w->v = l->v;
	w->nv = k;
	w->at = 0;
}

static void list_done(void *arg)
{
	struct list_job *l = arg;
	struct mwriter *w = l->w;
	struct manager *m = w->m;
	uint64_t end = upto(l);

	w->busy = false;
	if (l->err != 0) {
		m->d->h->log(m->d->ctx, META1_WARN, "folder of writer %u cannot be listed: %s",
		    w->number, strerror(l->err));
		free(l->v);
		store_arm(m->d, m->tick, 1000);
		free(l);
		return;
	}
	if (l->unsynced != 0) /* told all the same: it may have been acknowledged */
		m->d->h->log(m->d->ctx, META1_WARN, "folder of writer %u cannot be synced: %s",
		    w->number, strerror(l->unsynced));
	keep(w, l, end);
	if (l->known > w->cursor)
		w->cursor = l->known;
	manager_moved(m);
	if (l->above == 0 && end > 0)
		sweep(w, end);
	w->scan = w->cursor < w->known || w->life != l->life;
	w->poll = l->locked && w->attached == 0;
	if (w->poll)
		store_arm(m->d, m->tick, 1000);
	free(l);
	backlog_pump(w);
}

static void check_loaded(struct manager *m)
{
	if (m->loaded)
		return;
	for (struct mwriter *w = m->ws; w != NULL; w = w->next)
		if (w->scan || w->busy || w->at < w->nv)
			return;
	m->loaded = true;
	manager_synced(m);
	store_answer(m->d, &m->req, META1_OK, NULL);
	outcomes_clean(m);
}

void backlog_pump(struct mwriter *w)
{
	struct manager *m = w->m;
	struct list_job *l;

	if (!m->o.j.open || w->busy || read_page(w))
		return;
	if (!w->scan) {
		check_loaded(m);
		return;
	}
	l = calloc(1, sizeof(*l));
	if (l != NULL) {
		l->w = w;
		l->above = m->loaded && w->life != 0 ? w->cursor : 0;
		l->known = w->known;
		l->life = w->life;
		w->busy = store_job(m->d, list_work, list_done, l);
	}
	if (!w->busy) {
		free(l);
		store_arm(m->d, m->tick, 50);
	}
}

/* ---- start ---- */

/* Whom we do not know is not read, and what he holds would wait for the next start. */
static bool known(struct manager *m, const struct replay *p)
{
	bool all = true;

	for (unsigned i = 0; i < p->nfolder; i++)
		all = (p->folder[i] > DIR_QM || manager_writer(m, p->folder[i]) != NULL) && all;
	return all;
}

static void replayed(void *arg)
{
	struct replay *p = arg;
	struct manager *m = p->m;

	if (p->err == 0 && !known(m, p)) {
		p->err = ENOMEM;
		if (p->fd >= 0)
			close(p->fd);
	}
	if (p->err != 0) {
		m->d->h->log(m->d->ctx, META1_ERR,
		    "queue state cannot be read: %s: again in a second", strerror(p->err));
		table_free(&p->t);
		free(p);
		store_arm(m->d, m->tick, 1000);
		return;
	}
	m->t = p->t;
	journal_start(&m->o.j, p->fd, p->serial);
	if (p->damaged > 0)
		manager_damage(m,
		    "state/outcomes: damaged lines were passed over; what they said may be "
		    "done again");
	free(p);
	pump_all(m);
	manager_synced(m);
}

static void tick(int fd, short what, void *arg)
{
	struct manager *m = arg;

	(void)fd;
	(void)what;
	if (!m->o.j.open) {
		backlog_start(m);
		return;
	}
	for (struct mwriter *w = m->ws; w != NULL; w = w->next) {
		w->scan = w->scan || w->poll;
		w->poll = false;
	}
	pump_all(m);
}

void backlog_start(struct manager *m)
{
	struct replay *p;

	if (m->tick == NULL)
		m->tick = m->d->h->watch_timer(m->d->ctx, -1, tick, m);
	p = m->tick != NULL ? calloc(1, sizeof(*p)) : NULL;
	if (p == NULL) {
		store_answer(m->d, &m->req, META1_TEMPFAIL, "queue_dir: out of memory");
		return;
	}
	p->m = m;
	p->dir = m->dir;
	p->qfd = m->d->qfd;
	p->size = m->d->c->journal_size;
	if (store_job(m->d, replay_work, replayed, p))
		return;
	free(p);
	store_arm(m->d, m->tick, 50);
}
