/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fetch.c -- files of messages read by many, and envelopes that the manager's user forgot told
 * once more.
 *
 * A file that an admin took away is out of the queue. It is named once; should it come back, it is
 * told at the next start, with what was recorded of its recipients.
 * Comes from: backlog.c, qmgr. Goes to: loaded(), damage(). Owns: nothing.
 * On failure: a file that cannot be read is named and stays where it is.
 */
#include "dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void fetch_read(struct store *d, struct reading *r, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char path[64];
		int fd;

		file_path(r[i].number, path);
		fd = openat(d->qfd, path, O_RDONLY | O_CLOEXEC);
		if (fd < 0) {
			r[i].gone = errno == ENOENT; /* an admin took it away meanwhile */
			r[i].later = errno == EMFILE || errno == ENFILE || errno == ENOMEM;
			snprintf(r[i].why, sizeof(r[i].why), "%s", strerror(errno));
			continue;
		}
		r[i].later = file_read(fd, r[i].number, r[i].whole, &r[i].e, r[i].why) < 0 &&
			     r[i].why[0] == '\0';
		close(fd);
	}
}

void fetch_unreadable(struct manager *m, const struct reading *x)
{
	char text[200], path[64];

	file_path(x->number, path);
	snprintf(text, sizeof(text), "%s: %s: %s", path, x->why,
	    x->gone ? "it was taken away and is out of the queue" : "it stays there");
	manager_damage(m, text);
}

struct fetch {
	struct manager *m;
	struct meta1_req *req;
	uint32_t n;
	struct reading r[];
};

static void work(void *arg)
{
	struct fetch *f = arg;

	fetch_read(f->m->d, f->r, f->n);
}

/* What was said of its recipients stays known. */
static void taken_away(struct manager *m, struct rec *r, const struct reading *x)
{
	fetch_unreadable(m, x);
	r->told = r->seen = false;
	if (r->nst == 0) {
		outcomes_skip(m, r);
		table_remove(&m->t, r);
	}
	m->ev->loaded(m->arg, x->number, NULL, NULL);
}

/* What is known of it without its file. */
static void tell_unread(struct manager *m, const struct rec *r, const char *why)
{
	struct meta1_qrcpt *v = r->nrcpt > 0 ? calloc(r->nrcpt, sizeof(*v)) : NULL;
	struct meta1_env env = {
	    .size = sizeof(env), .nrcpt = r->nrcpt, .sizeof_rcpt = sizeof(*v), .rcpt = v};
	struct meta1_qentry q = {.size = sizeof(q), .id = "", .env = &env, .key = r->number};

	if (v != NULL)
		table_states(&m->t, r, v, r->nrcpt);
	m->ev->loaded(m->arg, r->number, v != NULL ? &q : NULL, why);
	free(v);
}

/* What became final meanwhile is gone like what never was. */
static void one(struct manager *m, struct reading *x, bool *later)
{
	struct rec *r = table_find(&m->t, (uint32_t)(x->number & 0xff), x->number);
	struct meta1_qentry q;

	if (r == NULL || !r->told || r->dead) {
		m->ev->loaded(m->arg, x->number, NULL, NULL);
	} else if (x->e.text != NULL) {
		table_states(&m->t, r, x->e.rcpt, x->e.env.nrcpt);
		q = manager_entry(r, x->e.id, &x->e.env, x->e.len);
		m->ev->loaded(m->arg, x->number, &q, NULL);
	} else if (x->later) {
		*later = true;
	} else if (x->gone) {
		taken_away(m, r, x);
	} else {
		fetch_unreadable(m, x);
		tell_unread(m, r, x->why);
	}
	file_free(&x->e);
}

static void done(void *arg)
{
	struct fetch *f = arg;
	bool later = false;

	for (uint32_t i = 0; i < f->n; i++)
		one(f->m, &f->r[i], &later);
	store_answer(f->m->d, &f->req, later ? META1_TEMPFAIL : META1_OK,
	    later ? "queue_dir: no memory or descriptors now" : NULL);
	free(f);
}

void manager_fetch(void *inst, struct meta1_req *req, const uint64_t *key, uint32_t n)
{
	struct store *d = inst;
	struct fetch *f;

	if (d->m == NULL || !d->m->o.j.open || d->m->ev->loaded == NULL || n > META1_FETCH_MAX) {
		store_answer(d, &req, META1_PERMFAIL, "queue_dir: nothing to fetch from");
		return;
	}
	f = calloc(1, sizeof(*f) + n * sizeof(f->r[0]));
	if (f != NULL) {
		f->m = d->m;
		f->req = req;
		for (; f->n < n; f->n++)
			f->r[f->n].number = key[f->n];
		if (store_job(d, work, done, f))
			return;
	}
	free(f);
	store_answer(d, &req, META1_TEMPFAIL, "queue_dir: no memory, or too much work waits");
}
