/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * image.c -- one of the disks that a power loss may leave, as a folder.
 *
 * What is sure is always in it. Of the rest: nothing, all, or by chance each sector of 512
 * bytes of each write, each change of a length, each change of a name, whether or not what
 * came before it is there.
 * Comes from: recover.c with a model at its cut. Goes to: the folder.
 * On failure: it ends the run.
 */
#include "model.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512u
#define PAGE   4096u

struct luck {
	enum image_mode mode;
	uint64_t state;
	unsigned data, names; /* of 1000: what survives */
	bool ordered;	      /* names as a journal has them: all up to a point */
};

uint64_t image_random(uint64_t *s)
{
	uint64_t z = *s += 0x9e3779b97f4a7c15u; /* splitmix64 */

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static bool lucky(struct luck *l, unsigned of1000)
{
	if (l->mode != IMAGE_RANDOM)
		return l->mode == IMAGE_ALL;
	return image_random(&l->state) % 1000 < of1000;
}

static void die(const char *what, const char *path)
{
	fprintf(stderr, "%s: %s: %s\n", path, what, strerror(errno));
	exit(70);
}

struct bytes {
	unsigned char *b;
	uint64_t len, cap;
};

static void reach(struct bytes *f, uint64_t len)
{
	if (len > f->cap) {
		f->b = realloc(f->b, len + 65536);
		if (f->b == NULL)
			abort();
		memset(f->b + f->cap, 0, len + 65536 - f->cap);
		f->cap = len + 65536;
	}
	if (len > f->len)
		f->len = len;
}

static void survive(struct luck *l, struct bytes *f, const struct op *p)
{
	if (p->type != R_WRITE) {
		if (!lucky(l, l->data))
			return;
		if (p->type == R_TRUNC && p->off < f->len) {
			memset(f->b + p->off, 0, f->len - p->off);
			f->len = p->off;
		}
		reach(f, p->off);
		return;
	}
	for (uint64_t at = p->off, end = p->off + p->len; at < end;) {
		uint64_t n = SECTOR - at % SECTOR;

		n = n < end - at ? n : end - at;
		if (lucky(l, l->data)) {
			reach(f, at + n);
			memcpy(f->b + at, p->data + (at - p->off), n);
		}
		at += n;
	}
}

static void write_file(const char *path, const struct bytes *f)
{
	static const unsigned char zero[PAGE];
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);

	if (fd < 0 || ftruncate(fd, (off_t)f->len) < 0)
		die("image", path);
	for (uint64_t at = 0, from; at < f->len;) {
		while (at < f->len &&
		       memcmp(f->b + at, zero, f->len - at < PAGE ? f->len - at : PAGE) == 0)
			at += PAGE;
		for (from = at; at < f->len; at += PAGE)
			if (memcmp(f->b + at, zero, f->len - at < PAGE ? f->len - at : PAGE) == 0)
				break;
		at = at < f->len ? at : f->len;
		if (at > from &&
		    pwrite(fd, f->b + from, at - from, (off_t)from) != (ssize_t)(at - from))
			die("image", path);
	}
	close(fd);
}

static void make_file(struct luck *l, const struct obj *o, const char *path)
{
	static struct bytes f;

	if (f.b != NULL)
		memset(f.b, 0, f.len);
	f.len = 0;
	reach(&f, o->size);
	if (o->size > 0)
		memcpy(f.b, o->base, o->size);
	for (size_t i = 0; i < o->nop; i++)
		survive(l, &f, &o->op[i]);
	/* A new length may be missing though its bytes were on their way. */
	if (l->mode == IMAGE_RANDOM && f.len > o->size && image_random(&l->state) % 4 == 0) {
		uint64_t len = o->size + image_random(&l->state) % (f.len - o->size + 1);

		memset(f.b + len, 0, f.len - len);
		f.len = len;
	}
	write_file(path, &f);
}

static void set(struct names *s, const char *path, struct obj *o)
{
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->v[i].path, path) == 0) {
			s->v[i].o = o;
			return;
		}
	if (o != NULL)
		s->v[s->n++] = (struct name){path, o};
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct name *)a)->path, ((const struct name *)b)->path);
}

/* Entries of the image; without an object: not there. */
static struct names choose(struct luck *l, const struct model *m)
{
	struct names s = {
	    .v = calloc(m->sure.n + 2 * m->nop + 1, sizeof(struct name)), .n = m->sure.n};
	size_t upto = l->ordered ? image_random(&l->state) % (m->nop + 1) : 0;

	if (s.v == NULL)
		abort();
	if (m->sure.n > 0)
		memcpy(s.v, m->sure.v, m->sure.n * sizeof(*s.v));
	for (size_t i = 0; i < m->nop; i++) {
		const struct nameop *p = &m->op[i];

		if (p->sure || !(l->ordered ? i < upto : lucky(l, l->names)))
			continue;
		if (p->type == R_UNLINK || p->type == R_RENAME)
			set(&s, p->path, NULL);
		if (p->type != R_UNLINK)
			set(&s, p->to != NULL ? p->to : p->path, p->o);
	}
	qsort(s.v, s.n, sizeof(*s.v), by_path);
	return s;
}

void image_make(const struct model *m, enum image_mode mode, uint64_t seed, const char *dir)
{
	static const unsigned shares[] = {0, 100, 500, 900, 1000};
	struct luck l = {.mode = mode, .state = seed};
	struct names s;
	struct stat st;
	char path[512];

	l.data = shares[image_random(&l.state) % 5];
	l.names = shares[image_random(&l.state) % 5];
	l.ordered = mode == IMAGE_RANDOM && image_random(&l.state) % 2 == 0;
	s = choose(&l, m);
	if (mkdir(dir, 0750) < 0)
		die("image", dir);
	for (size_t i = 0; i < s.n; i++) {
		char *slash;

		if (s.v[i].o == NULL)
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, s.v[i].path);
		if (s.v[i].o->dir) {
			mkdir(path, 0750); /* fails when the folder above did not survive */
			continue;
		}
		slash = strrchr(path, '/');
		*slash = '\0';
		if (stat(path, &st) < 0)
			continue;
		*slash = '/';
		make_file(&l, s.v[i].o, path);
	}
	free(s.v);
}
