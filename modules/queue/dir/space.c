/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * space.c -- files whose message is done are unlinked; the disk is watched.
 * Comes from: qmgr through reclaim(). Owns: the list of files to go.
 * On failure: a file that cannot be removed stays and is offered again.
 */
#include "dir.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define FILES 4096 /* more are dropped and come again */

struct space {
	struct writer *w;
	uint64_t want[FILES], job[FILES];
	size_t nwant, njob;
	bool busy;
	uint64_t number; /* about the next one */
	struct statvfs vfs;
	int err;
};

static void unlink_them(void *arg)
{
	struct space *s = arg;

	for (size_t i = 0; i < s->njob; i++) {
		char name[32];

		file_name(s->job[i], name);
		unlinkat(s->w->dir, name, 0);
	}
}

static void start(struct space *s);

static void unlinked(void *arg)
{
	struct space *s = arg;

	s->busy = false;
	start(s);
}

static void start(struct space *s)
{
	if (s->busy || s->nwant == 0)
		return;
	memcpy(s->job, s->want, s->nwant * sizeof(s->want[0]));
	s->njob = s->nwant;
	s->busy = store_job(s->w->d, unlink_them, unlinked, s);
	if (s->busy)
		s->nwant = 0;
}

void space_reclaim(void *inst, uint64_t number)
{
	struct store *d = inst;
	struct space *s = d->w != NULL ? d->w->space : NULL;

	if (s == NULL || s->nwant == FILES || (number & 0xff) != d->w->number)
		return;
	s->want[s->nwant++] = number;
	start(s);
}

static uint64_t room(const struct space *s)
{
	return (uint64_t)s->vfs.f_bavail * s->vfs.f_frsize;
}

static bool is_full(const struct space *s)
{
	return s->err == 0 && (room(s) < (uint64_t)s->w->d->c->min_free ||
				  (s->vfs.f_files > 0 && s->vfs.f_favail == 0));
}

static void look(void *arg)
{
	struct space *s = arg;

	s->err = fstatvfs(s->w->dir, &s->vfs) < 0 ? errno : 0;
	if (s->w->number == DIR_QM && s->err == 0 && !is_full(s))
		reserve_fill(s->w, s->number);
}

static void looked(void *arg)
{
	struct space *s = arg;
	struct writer *w = s->w;
	struct store *d = w->d;
	bool full = is_full(s);

	w->checking = false;
	if (full != w->full)
		d->h->log(d->ctx, META1_WARN,
		    full ? "queue disk: %llu bytes or no files free, expected min_free %lld: no "
			   "new mail "
			   "until there is more"
			 : "queue disk: %llu bytes free (min_free %lld): mail is taken again",
		    (unsigned long long)room(s), (long long)d->c->min_free);
	w->full = full;
}

/* qmgr's reports are taken all the same, see reserve.c: they let other mail go. */
bool space_full(struct writer *w)
{
	int64_t now = w->d->h->now(w->d->ctx);

	if (!w->checking && now - w->checked >= 1000) {
		w->checked = now;
		w->space->number = numbers_soon(&w->ids);
		w->checking = store_job(w->d, look, looked, w->space);
	}
	return w->full && w->number != DIR_QM;
}

void space_out(struct writer *w)
{
	w->full = true;
	w->checked = w->d->h->now(w->d->ctx);
}

int space_open(struct writer *w)
{
	struct space *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return -1;
	s->w = w;
	w->space = s;
	s->number = numbers_soon(&w->ids);
	look(s);
	w->full = is_full(s);
	w->checked = w->d->h->now(w->d->ctx);
	return 0;
}

void space_close(struct writer *w)
{
	free(w->space);
	w->space = NULL;
}
