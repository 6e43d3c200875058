/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map_sqlite.c -- a query of an SQLite file, with the key bound to its parameter.
 *
 * From the core's look-ups; in batches to query.c on a worker thread. Owns the questions and
 * the file; a new file under the name, or one that was written, is opened anew (newer.c) and
 * used from the next batch on. On failure of a look-up: TEMPFAIL; a new file that cannot be
 * opened is logged and the old one stays.
 */
#include "../inst/inst.h"
#include "../newer/newer.h"
#include "sqlite_map.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

#define KEY_MAX 3200 /* a longer key is not found */

static const struct meta1_opt options[] = {
    META1_OPT_PATH(struct sqlite_conf, file, NULL, META1_O_REQUIRED,
	"SQLite database; opened for reading only, and again when it changed."),
    META1_OPT_STR(struct sqlite_conf, query, NULL, META1_O_REQUIRED,
	"One SELECT with one parameter, to which the key is bound: SELECT target FROM aliases "
	"WHERE address = ?. Each column of each row is a value, a NULL is none."),
    META1_OPT_MSEC(struct sqlite_conf, timeout, "5s", "10ms..1m",
	"How long a query may take, waiting for a writer included."),
    META1_OPT_MSEC(struct sqlite_conf, ttl, "1m", "0..1d",
	"How long an answer may be kept; 0: not at all. What is written into a database with a "
	"write-ahead log counts after this time."),
};

TAILQ_HEAD(asks, ask);
struct ask {
	TAILQ_ENTRY(ask) next;
	struct meta1_req *req; /* NULL: nobody waits any more */
	int64_t until;
	enum meta1_status st;
	struct values values;
	char why[160];
	size_t len;
	char key[];
};
struct map {
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
	const struct sqlite_conf *conf;
	struct sqlite_db *db;
	struct newer newer;
	struct sqlite_db *fresh;   /* what the worker leaves behind */
	struct asks waiting, with; /* with: what the worker has, and the file it has for them */
	struct sqlite_db *in_use, *old;
};

static void run(struct map *m);

/* ---- open again ---- */

static int read_new(void *arg, struct stat *st, struct meta1_err *err)
{
	struct map *m = arg;

	return sqlite_db_open(&m->fresh, m->conf, st, err);
}

static void take_new(void *arg, int good)
{
	struct map *m = arg;

	if (!good)
		return;
	if (m->db == m->in_use)
		m->old = m->db; /* closed when the batch is done */
	else
		sqlite_db_close(&m->db);
	m->db = m->fresh;
	m->fresh = NULL;
	m->host->log(m->ctx, META1_INFO, "%s: opened again", m->conf->file);
}

static const struct newer_ops newer_ops = {.read = read_new, .take = take_new};

/* ---- a batch ---- */

/* On a worker thread. */
static void work(void *arg)
{
	struct map *m = arg;
	struct ask *a;

	TAILQ_FOREACH (a, &m->with, next) {
		if (sqlite_clock() < a->until) {
			a->st = sqlite_db_find(m->in_use, (struct meta1_buf){a->key, a->len},
			    a->until, &a->values, a->why, sizeof(a->why));
		} else {
			a->st = META1_TEMPFAIL;
			snprintf(a->why, sizeof(a->why), "the queries before it took too long");
		}
	}
}

static void finish(struct map *m, struct ask *a)
{
	struct meta1_reply r = {.size = sizeof(r)};

	if (a->st == META1_OK) {
		r.nval = a->values.n;
		r.val = values_all(&a->values);
	}
	if (a->st == META1_TEMPFAIL)
		r.text = a->why;
	else
		r.ttl = (uint32_t)(m->conf->ttl / 1000);
	if (a->req)
		m->host->finish(a->req, a->st, &r);
	values_free(&a->values);
	m->host->free(m->ctx, a);
}

static void worked(void *arg)
{
	struct map *m = arg;
	struct ask *a;

	m->in_use = NULL;
	sqlite_db_close(&m->old);
	while ((a = TAILQ_FIRST(&m->with))) {
		TAILQ_REMOVE(&m->with, a, next);
		finish(m, a);
	}
	run(m);
}

static void refuse_all(struct map *m, const char *why)
{
	struct ask *a;

	while ((a = TAILQ_FIRST(&m->waiting))) {
		TAILQ_REMOVE(&m->waiting, a, next);
		a->st = META1_TEMPFAIL;
		snprintf(a->why, sizeof(a->why), "%s", why);
		finish(m, a);
	}
}

/* Hands over all that waits, unless the worker has the file. */
static void run(struct map *m)
{
	if (m->in_use || TAILQ_EMPTY(&m->waiting))
		return;
	TAILQ_CONCAT(&m->with, &m->waiting, next);
	m->in_use = m->db;
	if (m->host->offload(m->ctx, work, worked, m) == META1_OK)
		return;
	m->in_use = NULL;
	TAILQ_CONCAT(&m->waiting, &m->with, next);
	refuse_all(m, "too much work waits for a thread");
}

/* ---- a question ---- */

static void map_lookup(void *inst, struct meta1_req *req, struct meta1_buf key)
{
	struct map *m = inst;
	struct meta1_reply r = {.size = sizeof(r)};
	int64_t left = m->host->req_deadline(req) - m->host->now(m->ctx);
	struct ask *a;

	/* a text in a database has no NUL */
	if (key.len > KEY_MAX || (key.len > 0 && memchr(key.data, '\0', key.len))) {
		m->host->finish(req, META1_NOTFOUND, &r);
		return;
	}
	a = m->host->alloc(m->ctx, sizeof(*a) + key.len + 1);
	if (!a) {
		r.text = "no memory";
		m->host->finish(req, META1_TEMPFAIL, &r);
		return;
	}
	a->req = req;
	*m->host->req_slot(req) = a;
	a->until = sqlite_clock() + (left < m->conf->timeout ? left : m->conf->timeout);
	if (key.len > 0)
		memcpy(a->key, key.data, key.len);
	a->len = key.len;
	TAILQ_INSERT_TAIL(&m->waiting, a, next);
	run(m);
}

/* The worker may be at it; what it finds is for nobody. */
static void map_cancel(void *inst, struct meta1_req *req)
{
	struct map *m = inst;

	((struct ask *)*m->host->req_slot(req))->req = NULL;
	m->host->finish(req, META1_CANCELED, NULL);
}

/* ---- life ---- */

static void map_close(void *inst)
{
	struct map *m = inst;

	newer_stop(&m->newer);
	refuse_all(m, "the map is closed");
	sqlite_db_close(&m->db);
	sqlite_db_close(&m->fresh);
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
	TAILQ_INIT(&m->waiting);
	TAILQ_INIT(&m->with);
	if (sqlite_db_open(&m->db, conf, &st, err) < 0 ||
	    newer_start(&m->newer, host, ctx, m->conf->file, &st, &newer_ops, m, err) < 0) {
		sqlite_db_close(&m->db);
		host->free(ctx, m);
		return -1;
	}
	*inst = m;
	return 0;
}

static const struct meta1_map_ops ops = {
    .size = sizeof(ops), .lookup = map_lookup, .cancel = map_cancel};

META1_MODULE(map_sqlite, .kind = META1_MAP, .roles = META1_SMAR | META1_TOOL, .version = "0.1.0",
    .summary = "Asks an SQLite database.", .opt = options,
    .nopt = sizeof(options) / sizeof(options[0]), .sizeof_conf = sizeof(struct sqlite_conf),
    .open = map_open, .close = map_close, .ops = &ops);
