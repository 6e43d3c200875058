/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * manager.c -- qmgr's face: notices in, entries out, outcomes to their file.
 *
 * For each writer a cursor: a notice that follows it becomes an entry at once; one from
 * before it is ignored; one that lies ahead only says how far is durable, and backlog.c
 * lists the files between.
 * Comes from: qmgr. Goes to: qmgr's entry(), space(), damage(); outcomes.c.
 * Owns: state/ and its lock. On failure: an outcome that cannot be recorded says TEMPFAIL.
 */
#include "dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEEN_MS	  1000 /* until it is said how far a writer is known */
#define DEAD_MORE 256  /* dead ones besides twice those found there: looked at again */

struct mwriter *manager_writer(struct manager *m, uint32_t number)
{
	struct mwriter *w = m->ws;

	while (w != NULL && w->number != number)
		w = w->next;
	if (w != NULL || number > DIR_QM)
		return w;
	w = calloc(1, sizeof(*w));
	if (w == NULL)
		return NULL;
	w->m = m;
	w->number = number;
	w->scan = true;
	w->attached = number == DIR_QM;
	w->next = m->ws;
	m->ws = w;
	return w;
}

void manager_damage(struct manager *m, const char *text)
{
	m->d->h->count(m->d->ctx, "damage", 1);
	if (m->ev->damage != NULL)
		m->ev->damage(m->arg, text);
}

/* A number is also the message's key: its low byte says whose it is. */
struct meta1_qentry manager_entry(
    const struct rec *r, const char *id, const struct meta1_env *env, uint64_t len)
{
	struct meta1_qentry e = {
	    .size = sizeof(e), .id = id, .bytes_stored = len, .env = env, .key = r->number};
	struct dir_ref ref = {.number = r->number, .len = len, .writer = r->writer};

	e.ref.len = sizeof(ref);
	memcpy(e.ref.b, &ref, sizeof(ref));
	return e;
}

/* ---- cursors ---- */

static void later(int fd, short what, void *arg)
{
	struct manager *m = arg;

	(void)fd;
	(void)what;
	m->moved = false;
	outcomes_seen(m);
}

/* So that fsck misses the newest when it vanishes: an outcome, which says it too, may be long in
 * coming. */
void manager_moved(struct manager *m)
{
	if (m->later == NULL)
		m->later = m->d->h->watch_timer(m->d->ctx, -1, later, m);
	if (!m->moved)
		store_arm(m->d, m->later, SEEN_MS);
	m->moved = m->later != NULL;
}

/* ---- notices ---- */

static bool direct(
    struct mwriter *w, const struct dir_notice *n, const char *id, const struct meta1_env *env)
{
	struct manager *m = w->m;
	struct rec *r = table_find(&m->t, n->writer, n->number);
	struct meta1_qentry e;

	if (r != NULL || (r = table_add(&m->t, n->writer, n->number)) == NULL)
		return false;
	r->nrcpt = env->nrcpt;
	r->after = n->prev;
	w->cursor = n->number;
	manager_moved(m);
	r->told = true;
	e = manager_entry(r, id, env, n->len);
	m->ev->entry(m->arg, &e);
	return true;
}

void manager_notice(
    void *inst, struct meta1_buf notice, const char *id, const struct meta1_env *env)
{
	struct store *d = inst;
	struct dir_notice n;
	struct mwriter *w = NULL;

	if (d->m == NULL)
		return;
	if (notice.len == sizeof(n)) {
		memcpy(&n, notice.data, sizeof(n));
		if (n.kind == NOTICE_MESSAGE || n.kind == NOTICE_TAIL)
			w = manager_writer(d->m, n.writer);
	}
	if (w == NULL) {
		d->h->log(d->ctx, META1_WARN, "a notice of %zu bytes is not of this store: ignored",
		    notice.len);
		return;
	}
	if (n.life > w->life) {
		w->life = n.life; /* a new process: what the old one left is read first */
		w->scan = true;
	}
	if (n.number > w->known)
		w->known = n.number;
	if (!d->m->o.j.open || n.number <= w->cursor) {
		backlog_pump(w);
		return;
	}
	/* The first of a life follows whatever was there before. */
	if (!w->scan && !w->busy && n.kind == NOTICE_MESSAGE && env != NULL && env->nrcpt > 0 &&
	    (n.prev != 0 ? n.prev == w->cursor : n.life == w->life && w->cursor < n.life) &&
	    direct(w, &n, id, env))
		return;
	d->h->count(d->ctx, "gaps", !w->scan);
	w->scan = true;
	backlog_pump(w);
}

/* ---- outcomes ---- */

static void end(struct manager *m, struct rec *r)
{
	/* Not said: then it ends later, or at the next start, from its recipients' lines. */
	if (!outcomes_done(m, r)) {
		m->unended = true;
		return;
	}
	r->nr = m->o.j.put;
	outcomes_skip(m, r);
	table_dead(&m->t, r);
}

/* Those whose end could not be said. */
static void end_again(struct manager *m)
{
	m->unended = false;
	for (struct rec *r = m->t.live.first, *next; r != NULL; r = next) {
		next = r->next;
		if (r->told && table_final(r))
			end(m, r);
	}
}

void manager_outcome(void *inst, struct meta1_req *req, const struct meta1_qoutcome *o)
{
	struct store *d = inst;
	struct manager *m = d->m;
	struct rst s = {.state = o->state, .tries = o->tries, .next_try = o->next_try};
	struct rec *r = NULL;

	if (m != NULL && m->o.j.open)
		r = table_find(&m->t, (uint32_t)(o->key & 0xff), o->key);
	if (r == NULL || !r->told || r->dead || o->rcpt >= r->nrcpt || o->state > META1_R_DELETED) {
		store_answer(d, &req, META1_PERMFAIL, "queue_dir: no such message or recipient");
		return;
	}
	r->last = (uint32_t)d->h->wall(d->ctx);
	/* What is not said did not happen: else the file would go with its last other recipient,
	 * and what is counted as said would be done once more after a crash. */
	if (!table_room(r, o->rcpt) || !outcomes_put(m, r, o, req)) {
		store_answer(
		    d, &req, META1_TEMPFAIL, "queue_dir: the outcome cannot be recorded now");
		return;
	}
	table_state(&m->t, r, o->rcpt, &s, o->reason);
	if (table_final(r))
		end(m, r);
}

void manager_announce(struct manager *m, struct rec *r)
{
	struct store *d = m->d;

	r->announced = true;
	if (d->w != NULL && d->w->number == r->writer)
		space_reclaim(d, r->number);
	else if (m->ev->space != NULL)
		m->ev->space(m->arg, r->writer, r->number);
}

void manager_synced(struct manager *m)
{
	for (; m->t.say != NULL && m->t.say->nr <= m->o.j.synced; m->t.say = m->t.say->next)
		manager_announce(m, m->t.say);
	if (m->unended && journal_has_room(&m->o.j))
		end_again(m);
	m->d->h->count(m->d->ctx, "dead_units_now", (int64_t)m->t.ndead);
	if (m->t.ndead < m->dead_look + DEAD_MORE)
		return;
	m->dead_look = 2 * m->t.ndead; /* until it is known better */
	manager_look(m, UINT32_MAX);
}

struct look { /* which of the dead have a file */
	struct manager *m;
	size_t n;
	struct {
		uint64_t number;
		uint32_t writer;
		bool there;
	} v[];
};

/* Before an end is forgotten, that the file is gone must be as sure: a power loss that brings
 * the file back would bring back a mail that is done. Neighbours share a folder. */
static void make_sure(struct look *l)
{
	char folder[64], synced[64] = "";

	for (size_t i = 0; i < l->n; i++) {
		int fd;

		if (l->v[i].there)
			continue;
		file_path(l->v[i].number, folder);
		*strrchr(folder, '/') = '\0';
		if (strcmp(folder, synced) == 0)
			continue;
		fd = openat(l->m->d->qfd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		l->v[i].there = fd < 0 || fsync(fd) < 0; /* asked for again */
		if (!l->v[i].there)
			memcpy(synced, folder, sizeof(synced));
		if (fd >= 0)
			close(fd);
	}
}

static void look_work(void *arg)
{
	struct look *l = arg;

	for (size_t i = 0; i < l->n; i++) {
		char path[64];
		struct stat st;

		file_path(l->v[i].number, path);
		l->v[i].there = fstatat(l->m->d->qfd, path, &st, 0) == 0 || errno != ENOENT;
	}
	make_sure(l);
}

static void looked(void *arg)
{
	struct look *l = arg;
	struct manager *m = l->m;

	m->looking = false;
	for (size_t i = 0; i < l->n; i++) {
		struct rec *r = table_find(&m->t, l->v[i].writer, l->v[i].number);

		if (r == NULL || !r->dead || !r->announced)
			continue;
		if (l->v[i].there) {
			manager_announce(m, r);
			continue;
		}
		outcomes_skip(m, r);
		table_remove(&m->t, r);
	}
	m->dead_look = 2 * m->t.ndead;
	m->d->h->count(m->d->ctx, "dead_units_now", (int64_t)m->t.ndead);
	free(l);
}

/* Of one writer, or UINT32_MAX: of all. Those whose file is gone are forgotten. */
void manager_look(struct manager *m, uint32_t writer)
{
	struct look *l;

	if (m->looking || m->t.ndead == 0)
		return;
	l = malloc(sizeof(*l) + m->t.ndead * sizeof(l->v[0]));
	if (l == NULL)
		return;
	l->m = m;
	l->n = 0;
	for (const struct rec *r = m->t.dead.first; r != NULL; r = r->next) {
		if (!r->announced || (writer != UINT32_MAX && r->writer != writer))
			continue;
		l->v[l->n].number = r->number;
		l->v[l->n++].writer = r->writer;
	}
	m->looking = store_job(m->d, look_work, looked, l);
	if (!m->looking)
		free(l);
}

void manager_attach(void *inst, uint32_t writer)
{
	struct store *d = inst;
	struct mwriter *w = d->m != NULL ? manager_writer(d->m, writer) : NULL;

	if (w == NULL)
		return;
	w->attached++;
	if (d->m->o.j.open)
		manager_look(d->m, writer);
}

void manager_detach(void *inst, uint32_t writer)
{
	struct store *d = inst;
	struct mwriter *w = d->m != NULL ? manager_writer(d->m, writer) : NULL;

	if (w == NULL || w->attached == 0)
		return;
	w->attached--;
	w->scan = true; /* what it had no time to tell */
	backlog_pump(w);
}

/* ---- life ---- */

static struct manager *make(struct store *d, struct meta1_err *e)
{
	struct manager *m = calloc(1, sizeof(*m));

	if (m == NULL) {
		snprintf(e->text, sizeof(e->text), "queue_dir: out of memory");
		return NULL;
	}
	m->d = d;
	if (folder_state(d->qfd, &m->dir, &m->lock, e) < 0)
		goto fail;
	if (outcomes_open(m))
		return m;
	snprintf(e->text, sizeof(e->text), "queue_dir: out of memory");
fail:
	manager_close(&m);
	return NULL;
}

void manager_manage(void *inst, struct meta1_req *req, const struct meta1_qevents *ev, void *arg)
{
	struct store *d = inst;
	struct meta1_err e = {""};
	uint8_t tail[META1_NOTICE_MAX];
	struct manager *m = d->m == NULL ? make(d, &e) : NULL;

	if (m == NULL) {
		store_answer(
		    d, &req, META1_PERMFAIL, d->m != NULL ? "queue_dir: already managed" : e.text);
		return;
	}
	m->ev = ev;
	m->arg = arg;
	m->req = req;
	d->m = m;
	/* Our own folder is like any other. */
	manager_notice(d, (struct meta1_buf){tail, writer_tail(d, tail)}, NULL, NULL);
	backlog_start(m);
}

void manager_close(struct manager **mp)
{
	struct manager *m = *mp;

	*mp = NULL;
	if (m == NULL)
		return;
	if (m->tick != NULL)
		m->d->h->unwatch(&m->tick);
	if (m->later != NULL)
		m->d->h->unwatch(&m->later);
	journal_close(&m->o.j);
	while (m->ws != NULL) {
		struct mwriter *w = m->ws;

		m->ws = w->next;
		free(w->v);
		free(w);
	}
	table_free(&m->t);
	store_answer(m->d, &m->req, META1_TEMPFAIL, "the queue is shut down");
	if (m->lock >= 0)
		close(m->lock);
	if (m->dir >= 0)
		close(m->dir);
	free(m);
}
