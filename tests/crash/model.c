/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * model.c -- records become files and names, sure and unsure ones.
 *
 * Comes from: recover.c, record by record. Goes to: image.c. Owns: objects and their bytes;
 * paths and data stay in the record. On failure: a record that fits nothing ends the run,
 * for then the recorder is wrong.
 */
#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROW(v, n, cap)                                                                            \
	((n) < (cap) ? (void)0                                                                     \
		     : (void)((v) = again((v), ((cap) = (cap) ? 2 * (cap) : 16) * sizeof(*(v)))))

static void *again(void *p, size_t n)
{
	p = realloc(p, n);
	if (p == NULL)
		abort();
	return p;
}

const char *rec_path(const struct rec *r)
{
	return r->plen > 0 ? (const char *)(r + 1) : NULL;
}

const char *rec_path2(const struct rec *r)
{
	return r->plen2 > 0 ? (const char *)(r + 1) + r->plen : NULL;
}

const unsigned char *rec_data(const struct rec *r)
{
	return (const unsigned char *)(r + 1) + r->plen + r->plen2;
}

/* ---- names ---- */

static struct name *find(struct names *s, const char *path)
{
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->v[i].path, path) == 0)
			return &s->v[i];
	return NULL;
}

static void set(struct names *s, const char *path, struct obj *o)
{
	struct name *n = find(s, path);

	if (n == NULL) {
		GROW(s->v, s->n, s->cap);
		n = &s->v[s->n++];
		n->path = path;
	}
	n->o = o;
}

static void drop(struct names *s, const char *path)
{
	struct name *n = find(s, path);

	if (n != NULL)
		*n = s->v[--s->n];
}

static void apply(struct names *s, const struct nameop *p)
{
	if (p->type == R_UNLINK || p->type == R_RENAME)
		drop(s, p->path);
	if (p->type != R_UNLINK)
		set(s, p->to != NULL ? p->to : p->path, p->o);
}

static bool in_folder(const char *path, const char *dir)
{
	size_t n = strlen(dir);
	const char *slash = strrchr(path, '/');

	if (n == 0)
		return slash == NULL;
	return slash != NULL && (size_t)(slash - path) == n && strncmp(path, dir, n) == 0;
}

const char *model_path(const struct model *m, const struct obj *o)
{
	for (size_t i = 0; i < m->now.n; i++)
		if (m->now.v[i].o == o)
			return m->now.v[i].path;
	return "";
}

/* ---- objects ---- */

static struct obj *new_obj(struct model *m, bool dir)
{
	struct obj *o = calloc(1, sizeof(*o));

	if (o == NULL)
		abort();
	o->dir = dir;
	o->next = m->all;
	m->all = o;
	return o;
}

struct obj *model_obj(const struct model *m, uint64_t ino)
{
	for (struct obj *o = m->all; ino != 0 && o != NULL; o = o->next) /* newest first */
		if (o->ino == ino)
			return o;
	return NULL;
}

static void reach(struct obj *o, uint64_t size)
{
	if (size > o->cap) {
		uint64_t cap = (size + 65535) & ~(uint64_t)65535;

		o->base = again(o->base, cap);
		memset(o->base + o->cap, 0, cap - o->cap);
		o->cap = cap;
	}
}

static void fold(struct obj *o, const struct op *p)
{
	uint64_t end = p->off + p->len;

	reach(o, end > o->size ? end : o->size);
	if (p->type == R_WRITE)
		memcpy(o->base + p->off, p->data, p->len);
	if (p->type == R_TRUNC && p->off < o->size)
		memset(o->base + p->off, 0, o->size - p->off);
	if (p->type == R_TRUNC || end > o->size)
		o->size = end;
}

static void synced(struct obj *o, uint64_t begin)
{
	size_t k = 0;

	for (size_t i = 0; i < o->nop; i++) {
		if (o->op[i].end != 0 && o->op[i].end < begin)
			fold(o, &o->op[i]);
		else
			o->op[k++] = o->op[i];
	}
	o->nop = k;
}

/* A name that went: another process may have seen that, and synced, before the one that removed it
 * noted the end of its call, which it never did when it was killed there. */
static bool went(const struct nameop *p, uint64_t begin)
{
	return (p->type == R_UNLINK || p->type == R_RENAME) && p->begin < begin;
}

static void dir_synced(struct model *m, const char *dir, uint64_t begin)
{
	size_t k = 0;

	for (size_t i = 0; i < m->nop; i++) {
		struct nameop *p = &m->op[i];
		bool over = p->end != 0 && p->end < begin;

		if (!p->sure && (over || went(p, begin)) &&
		    in_folder(p->type == R_LINK ? p->to : p->path, dir)) {
			apply(&m->sure, p);
			p->sure = true;
		}
		if (!p->sure || p->end == 0)
			m->op[k++] = *p;
	}
	m->nop = k;
}

/* ---- calls ---- */

static bool lied(const struct model *m, const struct rec *r, const struct obj *o)
{
	char folder[256];
	const char *path = folder;

	if (o != NULL)
		path = model_path(m, o);
	else
		snprintf(folder, sizeof(folder), "%s/", rec_path(r));
	for (const struct lie *l = m->lies; l != NULL; l = l->next) {
		bool whole = l->prefix[0] == '=';
		const char *p = l->prefix + whole;

		if (strncmp(path, p, strlen(p)) == 0 && (!whole || strlen(path) == strlen(p)) &&
		    (o != NULL) == (p[strlen(p) - 1] != '/'))
			return true;
	}
	return false;
}

static bool same_folder(const char *a, const char *b)
{
	const char *x = strrchr(a, '/'), *y = strrchr(b, '/');

	return x != NULL && y != NULL && x - a == y - b && strncmp(a, b, (size_t)(x - a)) == 0;
}

static void add_name(struct model *m, uint64_t stamp, const struct rec *r, struct obj *o)
{
	GROW(m->op, m->nop, m->opcap);
	/* From one folder to another: two changes, each sure by its own folder's sync. */
	if (r->type == R_RENAME && !same_folder(rec_path(r), rec_path2(r))) {
		m->op[m->nop++] = (struct nameop){.begin = stamp,
		    .type = R_LINK,
		    .path = rec_path(r),
		    .to = rec_path2(r),
		    .o = o};
		GROW(m->op, m->nop, m->opcap);
		m->op[m->nop++] =
		    (struct nameop){.begin = stamp, .type = R_UNLINK, .path = rec_path(r), .o = o};
		return;
	}
	m->op[m->nop++] = (struct nameop){
	    .begin = stamp, .type = r->type, .path = rec_path(r), .to = rec_path2(r), .o = o};
}

static void add_op(struct obj *o, uint64_t stamp, const struct rec *r)
{
	GROW(o->op, o->nop, o->opcap);
	o->op[o->nop++] = (struct op){.begin = stamp,
	    .type = r->type,
	    .off = r->off,
	    .len = r->type == R_WRITE ? r->dlen : 0,
	    .data = rec_data(r)};
}

static struct obj *by_ino(struct model *m, uint64_t ino, const char *path)
{
	struct name *n = path != NULL ? find(&m->now, path) : NULL;
	struct obj *o = model_obj(m, ino);

	if (o == NULL) {
		o = new_obj(m, false);
		o->ino = ino;
	}
	if (path != NULL && (n == NULL || n->o != o))
		set(&m->now, path, o);
	return o;
}

static void begins(struct model *m, uint64_t stamp, const struct rec *r)
{
	struct obj *o = NULL;

	switch (r->type) {
	case R_CREATE:
	case R_MKDIR:
		o = new_obj(m, r->type == R_MKDIR);
		add_name(m, stamp, r, o);
		break;
	case R_RENAME:
	case R_LINK:
	case R_UNLINK:
		if (r->ino == 0)
			break; /* nothing there: it will fail */
		o = by_ino(m, r->ino, rec_path(r));
		add_name(m, stamp, r, o);
		break;
	case R_WRITE:
	case R_TRUNC:
	case R_ALLOC:
		o = by_ino(m, r->ino, rec_path(r));
		add_op(o, stamp, r);
		break;
	case R_SYNC:
		o = r->ino != 0 ? by_ino(m, r->ino, NULL) : NULL;
		break;
	default:
		return;
	}
	GROW(m->open, m->nopen, m->opencap);
	m->open[m->nopen++] = (struct pending){stamp, r, o};
}

static void name_ended(struct model *m, uint64_t stamp, const struct pending *p, bool good)
{
	size_t k = 0;

	for (size_t i = 0; i < m->nop; i++) {
		bool mine = m->op[i].begin == p->begin;

		if (mine && good) {
			m->op[i].end = stamp;
			apply(&m->now, &m->op[i]);
		}
		if (!mine || (good && !m->op[i].sure))
			m->op[k++] = m->op[i];
	}
	m->nop = k;
}

static void data_ended(uint64_t stamp, const struct pending *p, int64_t ret)
{
	struct obj *o = p->o;

	for (size_t i = 0; i < o->nop; i++) {
		if (o->op[i].begin != p->begin)
			continue;
		o->op[i].end = stamp;
		if (o->op[i].type == R_WRITE && ret >= 0)
			o->op[i].len = (uint64_t)ret;
		if (ret < 0)
			memmove(o->op + i, o->op + i + 1, (--o->nop - i) * sizeof(*o->op));
		return;
	}
}

static void ends(struct model *m, uint64_t stamp, const struct rec *r)
{
	struct pending p = {0};

	for (size_t i = m->nopen; i-- > 0;)
		if (m->open[i].begin == r->begin) {
			p = m->open[i];
			m->open[i] = m->open[--m->nopen];
			break;
		}
	if (p.r == NULL)
		return;
	switch (p.r->type) {
	case R_CREATE:
		p.o->ino = r->ino;
		name_ended(m, stamp, &p, r->ret >= 0);
		break;
	case R_MKDIR:
	case R_RENAME:
	case R_LINK:
	case R_UNLINK:
		name_ended(m, stamp, &p, r->ret == 0);
		break;
	case R_SYNC:
		if (r->ret != 0 || lied(m, p.r, p.o))
			break;
		if (p.o != NULL)
			synced(p.o, p.begin);
		else
			dir_synced(m, rec_path(p.r), p.begin);
		break;
	default:
		data_ended(stamp, &p, r->ret);
	}
}

void model_feed(struct model *m, uint64_t stamp, const struct rec *r)
{
	if (r->type == R_END)
		ends(m, stamp, r);
	else if (r->type == R_OPEN)
		by_ino(m, r->ino, rec_path(r));
	else
		begins(m, stamp, r);
}

size_t model_cut_short(const struct model *m)
{
	size_t n = 0;

	for (size_t i = 0; i < m->nopen; i++)
		n += m->open[i].r->type != R_SYNC;
	return n;
}

void model_free(struct model *m)
{
	while (m->all != NULL) {
		struct obj *o = m->all;

		m->all = o->next;
		free(o->base);
		free(o->op);
		free(o);
	}
	free(m->sure.v);
	free(m->now.v);
	free(m->op);
	free(m->open);
}
