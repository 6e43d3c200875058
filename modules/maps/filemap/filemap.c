/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * filemap.c -- life of a map of lines: read at open, looked up, read anew, closed.
 * From the core's look-ups; to the table of the module. Owns the table and its text.
 * On failure: at open the map does not open; later the old content serves.
 */
#include "filemap.h"

#include "../inst/inst.h"
#include "../newer/newer.h"

#include <stdlib.h>

#define TTL 60 /* seconds an answer may be kept; a change is told at once */

struct version {
	void *table;
	char *text;
};
struct filemap {
	const struct filemap_ops *ops;
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
	const struct filemap_conf *conf;
	struct version now;
	struct filemap_found found; /* the last */
	struct newer newer;
	bool watched;
	/* What the worker leaves behind. */
	struct version fresh;
	int said;
	char bad[LINES_SAID + 1][512];
};

static void version_free(const struct filemap *m, struct version *v)
{
	if (v->table)
		m->ops->drop(v->table);
	free(v->text);
	*v = (struct version){NULL, NULL};
}

/* 0, or -1 with err. */
static int make(const struct filemap *m, struct lines *l, struct version *v, struct meta1_err *err)
{
	int rc =
	    m->conf->file ? lines_file(l, m->conf->file, err) : lines_rows(l, m->conf->rows, err);

	if (rc < 0)
		return -1;
	v->text = l->text;
	v->table = m->ops->make(l, err);
	if (v->table && lines_judge(l, err) == 0)
		return 0;
	version_free(m, v);
	return -1;
}

/* ---- at open ---- */
static void log_bad(void *arg, const char *text)
{
	struct filemap *m = arg;

	m->host->log(m->ctx, META1_ERR, "%s", text);
}

/* ---- later, when it changed ---- */
static void keep_bad(void *arg, const char *text)
{
	struct filemap *m = arg;

	if (m->said <= LINES_SAID)
		snprintf(m->bad[m->said++], sizeof(m->bad[0]), "%s", text);
}

/* On a worker thread: nothing of the map but what is handed over here is touched. */
static int read_new(void *arg, struct stat *st, struct meta1_err *err)
{
	struct filemap *m = arg;
	struct lines l = {.tell = keep_bad, .arg = m};

	m->said = 0;
	if (make(m, &l, &m->fresh, err) < 0)
		return -1;
	*st = l.st;
	return 0;
}

static void take_new(void *arg, int good)
{
	struct filemap *m = arg;
	unsigned n;

	for (int i = 0; i < m->said; i++)
		m->host->log(m->ctx, META1_ERR, "%s", m->bad[i]);
	m->said = 0;
	if (!good)
		return;
	version_free(m, &m->now);
	m->now = m->fresh;
	m->fresh = (struct version){NULL, NULL};
	n = m->ops->count(m->now.table);
	m->host->log(m->ctx, META1_INFO, "%s: read again, %u keys", m->conf->file, n);
	m->host->count(m->ctx, "keys_now", n);
}

static const struct newer_ops newer_ops = {.settle = 1, .read = read_new, .take = take_new};

/* ---- life ---- */
void filemap_close(void *inst)
{
	struct filemap *m = inst;

	if (m->watched)
		newer_stop(&m->newer);
	version_free(m, &m->now);
	version_free(m, &m->fresh);
	m->host->free(m->ctx, m);
}

int filemap_check(const void *conf, struct meta1_err *err)
{
	const struct filemap_conf *c = conf;
	bool rows = c->rows && c->rows[0];

	if ((c->file != NULL) != rows)
		return 0;
	snprintf(err->text, sizeof(err->text),
	    "%s: say where its lines are, file = \"NAME\" or rows = { … }",
	    rows ? "it has both, file and rows" : "it has neither file nor rows");
	return -1;
}

int filemap_open(const struct filemap_ops *ops, const struct meta1_host *host,
    struct meta1_ctx *ctx, const void *conf, void **inst, struct meta1_err *err)
{
	struct filemap *m = inst_new(host, ctx, sizeof(*m), err);
	struct lines l = {.tell = log_bad, .arg = m};

	if (!m)
		return -1;
	*m = (struct filemap){.ops = ops, .host = host, .ctx = ctx, .conf = conf};
	if (make(m, &l, &m->now, err) < 0)
		goto fail;
	if (m->conf->file &&
	    newer_start(&m->newer, host, ctx, m->conf->file, &l.st, &newer_ops, m, err) < 0)
		goto fail;
	m->watched = m->conf->file != NULL;
	host->count(ctx, "keys_now", m->ops->count(m->now.table));
	*inst = m;
	return 0;
fail:
	version_free(m, &m->now);
	host->free(ctx, m);
	return -1;
}

enum meta1_status filemap_find(void *inst, struct meta1_buf key, struct meta1_reply *r)
{
	struct filemap *m = inst;

	m->found.why = NULL;
	r->ttl = TTL;
	switch (m->ops->find(m->now.table, key, &m->found)) {
	case META1_OK:
		r->nval = 1;
		r->val = &m->found.val;
		return META1_OK;
	case META1_NOTFOUND:
		return META1_NOTFOUND;
	default:
		r->text = m->found.why;
		return META1_TEMPFAIL;
	}
}
