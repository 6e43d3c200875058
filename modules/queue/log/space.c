/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * space.c -- the writer's folder: free units come back, the disk is watched.
 *
 * A free segment is renamed to a spare and written again under a new number; what its old
 * blocks hold cannot pass for new, because every checksum is seeded with the number.
 * Own files are only ever unlinked: their pages are handed to sockets. While the disk is full
 * no spares are kept: they must not be what fills it.
 * Comes from: qmgr through reclaim(), batch.c (a new segment). Owns: the list of spares.
 * On failure: a unit that cannot be removed stays and is offered again at the next attach.
 */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SPARES 64
#define UNITS  256 /* of one job; more are dropped and come again at the next attach */

struct space {
	struct writer *w;
	uint64_t spare[SPARES];
	unsigned nspare;
	uint64_t want[UNITS], job[UNITS], made[SPARES]; /* to free; in the job; its spares */
	uint64_t shed[SPARES];				/* spares that the job unlinks */
	unsigned nwant, njob, nmade, nshed, room;
	bool busy, checking, full; /* full is never said to qmgr: it has a reserve */
	int64_t checked;
	struct statvfs vfs;
	int vfs_err;
	uint64_t used; /* bytes in all folders of writers that we may list */
};

static void free_units(void *arg)
{
	struct space *s = arg;
	int dir = s->w->dir;

	s->nmade = 0;
	for (unsigned i = 0; i < s->njob; i++) {
		char name[24], spare[24];
		struct stat st;

		seg_name(name, 's', s->job[i]);
		seg_name(spare, 'x', s->job[i]);
		if (s->nmade < s->room && fstatat(dir, name, &st, 0) == 0 &&
		    st.st_size == s->w->l->c->segment_size &&
		    renameat(dir, name, dir, spare) == 0) {
			s->made[s->nmade++] = s->job[i];
			continue;
		}
		if (unlinkat(dir, name, 0) < 0 && errno == ENOENT) {
			seg_name(name, 'b', s->job[i]);
			unlinkat(dir, name, 0);
		}
	}
	for (unsigned i = 0; i < s->nshed; i++) {
		char name[24];

		seg_name(name, 'x', s->shed[i]);
		unlinkat(dir, name, 0);
	}
}

static void freed(void *arg);

/* How many to keep; qmgr's one is its reserve for reports. */
static unsigned spares(const struct space *s)
{
	if (s->full)
		return s->w->number == LOG_QM ? 1 : 0;
	return (unsigned)s->w->l->c->spare_segments;
}

static void start(struct space *s)
{
	unsigned keep = spares(s);

	if (s->busy || (s->nwant == 0 && s->nspare <= keep))
		return;
	memcpy(s->job, s->want, s->nwant * sizeof(s->want[0]));
	s->njob = s->nwant;
	s->room = keep > s->nspare ? keep - s->nspare : 0;
	s->nshed = s->nspare > keep ? s->nspare - keep : 0;
	memcpy(s->shed, s->spare + s->nspare - s->nshed, s->nshed * sizeof(s->shed[0]));
	s->busy = store_job(s->w->l, free_units, freed, s);
	if (!s->busy)
		return;
	s->nwant = 0;
	s->nspare -= s->nshed;
}

static void freed(void *arg)
{
	struct space *s = arg;

	s->busy = false;
	for (unsigned i = 0; i < s->nmade && s->nspare < SPARES; i++)
		s->spare[s->nspare++] = s->made[i];
	start(s);
}

void space_reclaim(void *inst, uint64_t unit)
{
	struct store *l = inst;
	struct writer *w = l->w;

	if (w == NULL || w->space->nwant == UNITS)
		return;
	if (unit == w->seg && (w->fd >= 0 || w->batch != NULL)) {
		l->h->log(l->ctx, META1_WARN,
		    "asked to free segment %llx of %u, which is being written: ignored",
		    (unsigned long long)unit, w->number);
		return;
	}
	w->space->want[w->space->nwant++] = unit;
	start(w->space);
}

uint64_t space_spare(struct writer *w)
{
	struct space *s = w->space;

	return s->nspare > 0 ? s->spare[--s->nspare] : 0;
}

void space_unspare(struct writer *w, uint64_t number)
{
	struct space *s = w->space;

	if (s->nspare < SPARES)
		s->spare[s->nspare++] = number;
}

/* qmgr's reports must find room when the disk is full: else nothing comes free. */
void space_reserve(struct writer *w)
{
	uint64_t number = ids_next(&w->ids);
	char name[24];
	int fd, err;

	if (w->space->nspare > 0)
		return;
	seg_name(name, 'x', number);
	fd = openat(w->dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
	if (fd < 0)
		return;
	err = posix_fallocate(fd, 0, (off_t)w->l->c->segment_size);
	close(fd);
	if (err == 0)
		space_unspare(w, number);
	else
		unlinkat(w->dir, name, 0);
}

/* Sizes as the disk has them; what vanishes meanwhile counts nothing. */
static uint64_t folder_size(int qfd, uint32_t writer)
{
	char folder[16];
	struct dirent *e;
	uint64_t n = 0;
	struct stat st;
	DIR *d;
	int fd;

	folder_name(writer, folder);
	fd = openat(qfd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd >= 0 ? fdopendir(fd) : NULL;
	if (d == NULL) {
		if (fd >= 0)
			close(fd);
		return 0;
	}
	while ((e = readdir(d)) != NULL)
		if (e->d_name[0] != '.' && fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			n += (uint64_t)st.st_blocks * 512;
	closedir(d);
	return n;
}

static void look(void *arg)
{
	struct space *s = arg;

	s->used = 0;
	for (uint32_t w = 0; s->w->l->c->max_disk > 0 && w <= LOG_QM; w++)
		s->used += folder_size(s->w->l->qfd, w);

	s->vfs_err = fstatvfs(s->w->dir, &s->vfs) < 0 ? errno : 0;
}

static bool too_much(const struct space *s)
{
	int64_t max = s->w->l->c->max_disk;

	return max > 0 && s->used > (uint64_t)max;
}

static void looked(void *arg)
{
	struct space *s = arg;
	struct store *l = s->w->l;
	uint64_t room = (uint64_t)s->vfs.f_bavail * s->vfs.f_frsize;
	bool full, over = too_much(s);

	s->checking = false;
	full = over || (s->vfs_err == 0 && (room < (uint64_t)l->c->min_free ||
					       (s->vfs.f_files > 0 && s->vfs.f_favail == 0)));
	if (over && !s->full)
		l->h->log(l->ctx, META1_WARN,
		    "the queue takes %llu bytes, expected at most max_disk %lld: no new mail until "
		    "it is less",
		    (unsigned long long)s->used, (long long)l->c->max_disk);
	else if (full != s->full)
		l->h->log(l->ctx, META1_WARN,
		    full ? "queue disk: %llu bytes free, expected min_free %lld: no new mail until "
			   "there is more"
			 : "queue disk: %llu bytes free (min_free %lld): mail is taken again",
		    (unsigned long long)room, (long long)l->c->min_free);
	s->full = full;
	start(s);
}

bool space_full(struct writer *w)
{
	struct space *s = w->space;
	int64_t now = w->l->h->now(w->l->ctx);

	if (!s->checking && now - s->checked >= 1000) {
		s->checked = now;
		s->checking = store_job(w->l, look, looked, s);
	}
	return s->full && w->number != LOG_QM;
}

void space_out(struct writer *w)
{
	w->space->full = true;
	w->space->checked = w->l->h->now(w->l->ctx);
}

/* Blocks: at start. Spares of earlier lives are taken over. */
int space_open(struct writer *w, uint64_t *highest, struct meta1_err *e)
{
	static const char kinds[] = "sbx";
	struct space *s = calloc(1, sizeof(*s));
	uint64_t *v = NULL;
	size_t n = 0;

	if (s == NULL)
		goto fail;
	s->w = w;
	w->space = s;
	for (const char *k = kinds; *k != '\0'; k++) {
		if (scan_list(w->dir, *k, &v, &n) < 0)
			goto fail;
		for (size_t i = 0; i < n; i++) {
			char name[24];

			if (v[i] > *highest)
				*highest = v[i];
			if (*k != 'x')
				continue;
			seg_name(name, 'x', v[i]);
			if (s->nspare < (unsigned)w->l->c->spare_segments && s->nspare < SPARES)
				s->spare[s->nspare++] = v[i];
			else
				unlinkat(w->dir, name, 0);
		}
		free(v);
		v = NULL;
	}
	look(s);
	s->full = too_much(s) || (s->vfs_err == 0 && (uint64_t)s->vfs.f_bavail * s->vfs.f_frsize <
							 (uint64_t)w->l->c->min_free);
	s->checked = w->l->h->now(w->l->ctx);
	return 0;
fail:
	snprintf(
	    e->text, sizeof(e->text), "queue folder of writer %u: %s", w->number, strerror(errno));
	return -1;
}

void space_close(struct writer *w)
{
	free(w->space);
	w->space = NULL;
}
