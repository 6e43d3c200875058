/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map_lmdb.c -- a map in an LMDB file, as createmap makes it: for very many keys.
 *
 * From the core's look-ups; to liblmdb, which reads the file through the page cache: memory of the
 * process does not grow with it. createmap never writes into a file that is there, so it is read
 * without LMDB's lock file, and a new one under the name is opened on a worker thread (newer.c).
 * Owns the open file. On failure: TEMPFAIL for a key that cannot be read, and for all of them
 * once somebody has shortened the file; a new file that cannot be opened is logged, the old one
 * stays. create() is the other side, for createmap (create.c).
 */
#include "../inst/inst.h"
#include "../newer/newer.h"
#include "lmdb_map.h"

#include <errno.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TTL 60 /* seconds an answer may be kept; a change is told at once */

static const struct meta1_opt options[] = {
    META1_OPT_PATH(struct lmdb_conf, file, NULL, META1_O_REQUIRED,
	"LMDB file made by createmap. Opened again when a new one is there."),
};

struct db {
	MDB_env *env;
	MDB_txn *txn; /* reset between look-ups */
	MDB_dbi dbi;
	off_t need; /* bytes of the file that its pages may use */
};
struct map {
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
	const struct lmdb_conf *conf;
	struct db db;
	struct meta1_buf val; /* the last that was found */
	struct newer newer;
	struct db fresh; /* what the worker leaves behind */
};

/* ---- open and open again ---- */
static void close_db(struct db *d)
{
	if (d->txn)
		mdb_txn_abort(d->txn);
	if (d->env)
		mdb_env_close(d->env);
	*d = (struct db){.env = NULL};
}

static int file_size(const struct db *d, struct stat *st)
{
	int fd;

	return mdb_env_get_fd(d->env, &fd) == 0 && fstat(fd, st) == 0 ? 0 : -1;
}

static int open_db(const char *file, struct db *d, struct stat *st, struct meta1_err *err)
{
	const char *why = NULL;
	MDB_envinfo info;
	MDB_stat ms;
	int rc = mdb_env_create(&d->env);

	if (rc == 0)
		rc = mdb_env_open(d->env, file, MDB_NOSUBDIR | MDB_RDONLY | MDB_NOLOCK, 0);
	if (rc == 0 && ((rc = mdb_env_info(d->env, &info)) != 0 ||
			   (rc = mdb_env_stat(d->env, &ms)) != 0 || file_size(d, st) < 0))
		rc = rc != 0 ? rc : errno;
	if (rc == 0) {
		d->need = (off_t)(info.me_last_pgno + 1) * (off_t)ms.ms_psize;
		if (st->st_size < d->need)
			why = "it was cut short";
	}
	if (rc == 0 && !why)
		rc = mdb_txn_begin(d->env, NULL, MDB_RDONLY, &d->txn);
	if (rc == 0 && !why)
		rc = mdb_dbi_open(d->txn, NULL, 0, &d->dbi);
	if (rc != 0)
		why = mdb_strerror(rc);
	if (why) {
		snprintf(err->text, sizeof(err->text), "%s: %s; make it with createmap", file, why);
		close_db(d);
		return -1;
	}
	mdb_txn_reset(d->txn);
	return 0;
}

/* On a worker thread. */
static int read_new(void *arg, struct stat *st, struct meta1_err *err)
{
	struct map *m = arg;

	return open_db(m->conf->file, &m->fresh, st, err);
}

static void take_new(void *arg, int good)
{
	struct map *m = arg;

	if (!good)
		return;
	close_db(&m->db);
	m->db = m->fresh;
	m->fresh = (struct db){.env = NULL};
	m->host->log(m->ctx, META1_INFO, "%s: opened again", m->conf->file);
}

static const struct newer_ops newer_ops = {.read = read_new, .take = take_new};

static void map_close(void *inst)
{
	struct map *m = inst;

	newer_stop(&m->newer);
	close_db(&m->db);
	close_db(&m->fresh);
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
	if (open_db(m->conf->file, &m->db, &st, err) < 0 ||
	    newer_start(&m->newer, host, ctx, m->conf->file, &st, &newer_ops, m, err) < 0) {
		close_db(&m->db);
		host->free(ctx, m);
		return -1;
	}
	*inst = m;
	return 0;
}

/* ---- look-ups ---- */

/* Pages behind the end of a shortened file would end the process, so it is looked at first. */
static int fetch(struct db *d, MDB_val *k, MDB_val *v)
{
	struct stat st;
	int rc;

	if (file_size(d, &st) < 0)
		return errno;
	if (st.st_size < d->need)
		return MDB_CORRUPTED;
	rc = mdb_txn_renew(d->txn);
	return rc == 0 ? mdb_get(d->txn, d->dbi, k, v) : rc;
}

/* What is found lies in the file: the transaction that keeps it there ends with the next look-up.
 */
static enum meta1_status map_find(void *inst, struct meta1_buf key, struct meta1_reply *r)
{
	struct map *m = inst;
	MDB_val k = {.mv_size = key.len, .mv_data = (void *)(uintptr_t)key.data}, v;
	int rc = MDB_NOTFOUND;

	mdb_txn_reset(m->db.txn);
	/* no file of this kind has other keys */
	if (key.len > 0 && key.len <= (size_t)mdb_env_get_maxkeysize(m->db.env))
		rc = fetch(&m->db, &k, &v);
	r->ttl = TTL;
	if (rc == 0) {
		m->val = (struct meta1_buf){v.mv_data, v.mv_size};
		r->nval = 1;
		r->val = &m->val;
		return META1_OK;
	}
	if (rc == MDB_NOTFOUND)
		return META1_NOTFOUND;
	r->ttl = 0;
	r->text = mdb_strerror(rc);
	return META1_TEMPFAIL;
}

static const struct meta1_map_ops ops = {
    .size = sizeof(ops), .props = META1_MAP_LOCAL, .find = map_find, .create = lmdb_create};

META1_MODULE(map_lmdb, .kind = META1_MAP, .roles = META1_SMAR | META1_TOOL, .version = "0.1.0",
    .summary = "Keys and values from an LMDB file.", .opt = options,
    .nopt = sizeof(options) / sizeof(options[0]), .sizeof_conf = sizeof(struct lmdb_conf),
    .open = map_open, .close = map_close, .ops = &ops);
