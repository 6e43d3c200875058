/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * create.c -- makes an LMDB file from pairs, a few thousand a transaction, so that memory stays
 * bounded however many there are.
 * From createmap through create(); to a file beside the old one (newfile.c). Owns the new file.
 * On failure: err says which key or file and why; the old file is as it was.
 */
#include "../newfile/newfile.h"
#include "lmdb_map.h"

#include <lmdb.h>
#include <stdio.h>
#include <unistd.h>

#define BATCH 4096u
/* A put takes its value's pages and one page a level of the tree, twice where it splits: with 4096
 * pairs of 16 KiB this is never used up. Only addresses are taken for it. */
#define ROOM  ((size_t)256 << 20)

static int fail(struct meta1_err *err, const char *file, int rc)
{
	snprintf(err->text, sizeof(err->text), "%s: %s", file, mdb_strerror(rc));
	return -1;
}

/* Before a transaction, so that none runs out of the map. */
static int make_room(MDB_env *env)
{
	MDB_envinfo info;
	MDB_stat st;
	size_t used;
	int rc = mdb_env_info(env, &info);

	if (rc == 0)
		rc = mdb_env_stat(env, &st);
	if (rc != 0)
		return rc;
	used = (info.me_last_pgno + 1) * st.ms_psize;
	return info.me_mapsize < used + ROOM ? mdb_env_set_mapsize(env, used + 2 * ROOM) : 0;
}

static int put(MDB_txn *txn, MDB_dbi dbi, const char *file, size_t key_max, struct meta1_buf key,
    struct meta1_buf val, struct meta1_err *err)
{
	MDB_val k = {.mv_size = key.len, .mv_data = (void *)(uintptr_t)key.data};
	MDB_val v = {.mv_size = val.len, .mv_data = (void *)(uintptr_t)val.data};
	const char *why;
	int rc = 0;

	if (key.len == 0 || key.len > key_max)
		why = key.len == 0 ? "this kind of file has no empty key"
				   : "the key is longer than this kind of file can hold (511 "
				     "bytes); make it a gdbm map";
	else if ((rc = mdb_put(txn, dbi, &k, &v, MDB_NOOVERWRITE)) == 0)
		return 0;
	else
		why = rc == MDB_KEYEXIST ? "is there twice" : mdb_strerror(rc);
	snprintf(err->text, sizeof(err->text), "%s: key \"%.*s\": %s", file,
	    (int)(key.len < 100 ? key.len : 100), (const char *)key.data, why);
	return -1;
}

/* One transaction. 1: there is more, 0: that was all, <0: err. */
static int batch(MDB_env *env, const char *file, struct meta1_mapsrc *src, struct meta1_err *err)
{
	size_t key_max = (size_t)mdb_env_get_maxkeysize(env);
	struct meta1_buf key, val;
	MDB_txn *txn = NULL;
	MDB_dbi dbi;
	int rc = make_room(env), more = 1;

	if (rc == 0)
		rc = mdb_txn_begin(env, NULL, 0, &txn);
	if (rc == 0)
		rc = mdb_dbi_open(txn, NULL, 0, &dbi);
	if (rc != 0) {
		if (txn)
			mdb_txn_abort(txn);
		return fail(err, file, rc);
	}
	for (unsigned i = 0; i < BATCH && more == 1; i++) {
		more = src->next(src, &key, &val, err);
		if (more == 1 && put(txn, dbi, file, key_max, key, val, err) < 0)
			more = -1;
	}
	if (more < 0) {
		mdb_txn_abort(txn);
		return -1;
	}
	rc = mdb_txn_commit(txn);
	return rc == 0 ? more : fail(err, file, rc);
}

int lmdb_create(const void *conf, struct meta1_mapsrc *src, struct meta1_err *err)
{
	const char *file = ((const struct lmdb_conf *)conf)->file;
	char fresh[NEWFILE_PATH];
	MDB_env *env;
	int rc, fd;

	if (newfile_name(file, fresh, err) < 0)
		return -1;
	rc = mdb_env_create(&env);
	if (rc != 0)
		return fail(err, fresh, rc);
	rc = mdb_env_open(env, fresh, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC, 0600);
	rc = rc == 0 ? 0 : fail(err, fresh, rc);
	if (rc == 0)
		do
			rc = batch(env, file, src, err);
		while (rc == 1);
	if (rc == 0 && (rc = mdb_env_sync(env, 1)) != 0)
		rc = fail(err, fresh, rc);
	if (rc == 0 && (rc = mdb_env_get_fd(env, &fd)) != 0)
		rc = fail(err, fresh, rc);
	if (rc == 0)
		rc = newfile_finish(fd, fresh, file, err);
	mdb_env_close(env);
	if (rc == 0)
		rc = newfile_rename(fresh, file, err);
	if (rc < 0)
		unlink(fresh);
	return rc;
}
