/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map_gdbm.c -- a map in a GDBM file, as createmap makes it (MeTA1's "hash").
 *
 * From the core's look-ups; to libgdbm. Keys are folded and stored without a NUL. The file
 * is opened for reading without mmap: a file that somebody shortens is an error of a read then,
 * and not the end of the process. A new file under the name is opened on a worker thread (newer.c).
 * Owns the open file. On failure: TEMPFAIL for a key that cannot be read; a new file that cannot
 * be opened is logged and the old one stays. create() is the other side, for createmap.
 */
#include "../inst/inst.h"
#include "../newer/newer.h"
#include "../newfile/newfile.h"

#include <errno.h>
#include <gdbm.h>
#include <meta1/map.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TTL 60 /* seconds an answer may be kept; a change is told at once */

struct conf {
	const char *file;
};
static const struct meta1_opt options[] = {
    META1_OPT_PATH(struct conf, file, NULL, META1_O_REQUIRED,
	"GDBM file made by createmap. Opened again when a new one is there."),
};

struct map {
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
	const struct conf *conf;
	GDBM_FILE db;
	char *found; /* the last value, of libgdbm */
	struct meta1_buf val;
	struct newer newer;
	GDBM_FILE fresh; /* what the worker leaves behind */
};

/* ---- open and open again ---- */
static GDBM_FILE open_db(const char *file, struct stat *st, struct meta1_err *err)
{
	GDBM_FILE db = gdbm_open(file, 0, GDBM_READER | GDBM_NOMMAP | GDBM_CLOEXEC, 0, NULL);

	if (!db) {
		snprintf(err->text, sizeof(err->text), "%s: %s%s%s", file,
		    gdbm_strerror(gdbm_errno), gdbm_check_syserr(gdbm_errno) ? ": " : "",
		    gdbm_check_syserr(gdbm_errno) ? strerror(errno) : "; make it with createmap");
		return NULL;
	}
	if (fstat(gdbm_fdesc(db), st) < 0)
		memset(st, 0, sizeof(*st));
	return db;
}

/* On a worker thread. */
static int read_new(void *arg, struct stat *st, struct meta1_err *err)
{
	struct map *m = arg;

	m->fresh = open_db(m->conf->file, st, err);
	return m->fresh ? 0 : -1;
}

static void take_new(void *arg, int good)
{
	struct map *m = arg;

	if (!good)
		return;
	gdbm_close(m->db);
	m->db = m->fresh;
	m->fresh = NULL;
	m->host->log(m->ctx, META1_INFO, "%s: opened again", m->conf->file);
}

static const struct newer_ops newer_ops = {.read = read_new, .take = take_new};

static void map_close(void *inst)
{
	struct map *m = inst;

	newer_stop(&m->newer);
	gdbm_close(m->db);
	if (m->fresh)
		gdbm_close(m->fresh);
	free(m->found);
	m->host->free(m->ctx, m);
}

static int map_open(const struct meta1_host *host, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *err)
{
	struct map *m = inst_new(host, ctx, sizeof(*m), err);
	struct stat st;

	if (!m)
		return -1;
	*m = (struct map){.host = host, .ctx = ctx, .conf = conf};
	m->db = open_db(m->conf->file, &st, err);
	if (!m->db ||
	    newer_start(&m->newer, host, ctx, m->conf->file, &st, &newer_ops, m, err) < 0) {
		if (m->db)
			gdbm_close(m->db);
		host->free(ctx, m);
		return -1;
	}
	*inst = m;
	return 0;
}

/* ---- look-ups ---- */
static enum meta1_status map_find(void *inst, struct meta1_buf key, struct meta1_reply *r)
{
	struct map *m = inst;
	datum k = {.dptr = (char *)(uintptr_t)key.data, .dsize = (int)key.len}, v;

	free(m->found);
	v = gdbm_fetch(m->db, k);
	m->found = v.dptr;
	r->ttl = TTL;
	if (v.dptr) {
		m->val = (struct meta1_buf){v.dptr, (size_t)v.dsize};
		r->nval = 1;
		r->val = &m->val;
		return META1_OK;
	}
	if (gdbm_errno == GDBM_ITEM_NOT_FOUND)
		return META1_NOTFOUND;
	r->ttl = 0;
	r->text = gdbm_strerror(gdbm_errno);
	return META1_TEMPFAIL;
}

/* ---- createmap ---- */
static int fill(GDBM_FILE db, const char *file, struct meta1_mapsrc *src, struct meta1_err *err)
{
	struct meta1_buf key, val;
	int more;

	while ((more = src->next(src, &key, &val, err)) == 1) {
		datum k = {.dptr = (char *)(uintptr_t)key.data, .dsize = (int)key.len};
		datum v = {.dptr = (char *)(uintptr_t)val.data, .dsize = (int)val.len};
		int rc = gdbm_store(db, k, v, GDBM_INSERT);

		if (rc == 0)
			continue;
		snprintf(err->text, sizeof(err->text), "%s: key \"%.*s\": %s", file,
		    (int)(key.len < 100 ? key.len : 100), (const char *)key.data,
		    rc > 0 ? "is there twice" : gdbm_strerror(gdbm_errno));
		return -1;
	}
	return more;
}

/* Readers keep their file when the name goes to the new one. */
static int create(const void *conf, struct meta1_mapsrc *src, struct meta1_err *err)
{
	const char *file = ((const struct conf *)conf)->file;
	char fresh[NEWFILE_PATH];
	GDBM_FILE db;
	int rc;

	if (newfile_name(file, fresh, err) < 0)
		return -1;
	db = gdbm_open(fresh, 0, GDBM_NEWDB | GDBM_CLOEXEC, 0600, NULL);
	if (!db) {
		snprintf(err->text, sizeof(err->text), "%s: %s: %s", fresh,
		    gdbm_strerror(gdbm_errno), strerror(errno));
		return -1;
	}
	rc = fill(db, file, src, err);
	if (rc == 0 && gdbm_sync(db) != 0) {
		snprintf(err->text, sizeof(err->text), "%s: sync: %s", fresh, strerror(errno));
		rc = -1;
	}
	if (rc == 0)
		rc = newfile_finish(gdbm_fdesc(db), fresh, file, err);
	if (gdbm_close(db) != 0 && rc == 0) {
		snprintf(err->text, sizeof(err->text), "%s: close: %s", fresh,
		    gdbm_strerror(gdbm_errno));
		rc = -1;
	}
	if (rc == 0)
		rc = newfile_rename(fresh, file, err);
	if (rc < 0)
		unlink(fresh);
	return rc;
}

static const struct meta1_map_ops ops = {
    .size = sizeof(ops), .props = META1_MAP_LOCAL, .find = map_find, .create = create};

META1_MODULE(map_gdbm, .kind = META1_MAP, .roles = META1_SMAR | META1_TOOL, .version = "0.1.0",
    .summary = "Keys and values from a GDBM file.", .opt = options,
    .nopt = sizeof(options) / sizeof(options[0]), .sizeof_conf = sizeof(struct conf),
    .open = map_open, .close = map_close, .ops = &ops);
