/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map_text.c -- a map that is a text file: key, blanks, value to the end of the line.
 *
 * From the core's look-ups; to table.c. The file is read whole at open, where any bad line
 * stops the start, and again when it changed (newer.c), where bad lines are logged and
 * the old content stays. Owns the table. A file is read when it was left alone for a second,
 * so that one which is written in place is not taken by half; better write anew and rename.
 */
#include "../newer/newer.h"
#include "table.h"

#include <meta1/map.h>

#define TTL 60 /* seconds an answer may be kept; a change is told at once */

struct conf {
	const char *file;
};
static const struct meta1_opt options[] = {
    META1_OPT_PATH(struct conf, file, NULL, META1_O_REQUIRED,
	"Text file: key, blanks, value to the end of the line; # comments. Read again when "
	"changed."),
};

struct map {
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
	const struct conf *conf;
	struct table *table;
	struct newer newer;
	/* What the worker leaves behind. */
	struct table *fresh;
	int said;
	char bad[TABLE_SAID + 1][512];
};

/* ---- at open ---- */
static void log_bad(void *arg, const char *text)
{
	struct map *m = arg;

	m->host->log(m->ctx, META1_ERR, "%s", text);
}

/* ---- later, when it changed ---- */
static void keep_bad(void *arg, const char *text)
{
	struct map *m = arg;

	if (m->said <= TABLE_SAID)
		snprintf(m->bad[m->said++], sizeof(m->bad[0]), "%s", text);
}

/* On a worker thread: nothing of the map but what is handed over here is touched. */
static int read_new(void *arg, struct stat *st, struct meta1_err *err)
{
	struct map *m = arg;

	m->said = 0;
	m->fresh = table_read(m->conf->file, keep_bad, m, err);
	if (m->fresh)
		*st = m->fresh->st;
	return m->fresh ? 0 : -1;
}

static void take_new(void *arg, int good)
{
	struct map *m = arg;

	for (int i = 0; i < m->said; i++)
		m->host->log(m->ctx, META1_ERR, "%s", m->bad[i]);
	m->said = 0;
	if (!good)
		return;
	table_free(&m->table);
	m->table = m->fresh;
	m->fresh = NULL;
	m->host->log(m->ctx, META1_INFO, "%s: read again, %u keys", m->conf->file, m->table->nrow);
	m->host->count(m->ctx, "keys_now", m->table->nrow);
}

static const struct newer_ops newer_ops = {.settle = 1, .read = read_new, .take = take_new};

/* ---- life ---- */
static void map_close(void *inst)
{
	struct map *m = inst;

	newer_stop(&m->newer);
	table_free(&m->table);
	table_free(&m->fresh);
	m->host->free(m->ctx, m);
}

static int map_open(const struct meta1_host *host, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *err)
{
	struct map *m = host->alloc(ctx, sizeof(*m));

	if (!m) {
		snprintf(err->text, sizeof(err->text), "map_text: no memory");
		return -1;
	}
	m->host = host;
	m->ctx = ctx;
	m->conf = conf;
	m->table = table_read(m->conf->file, log_bad, m, err);
	if (!m->table ||
	    newer_start(&m->newer, host, ctx, m->conf->file, &m->table->st, &newer_ops, m) < 0) {
		if (m->table)
			snprintf(err->text, sizeof(err->text), "map_text: no memory");
		table_free(&m->table);
		host->free(ctx, m);
		return -1;
	}
	host->count(ctx, "keys_now", m->table->nrow);
	*inst = m;
	return 0;
}

static void map_lookup(void *inst, struct meta1_req *req, struct meta1_buf key)
{
	struct map *m = inst;
	const struct table_row *row = table_find(m->table, key);
	struct meta1_reply r = {.size = sizeof(r), .ttl = TTL};

	if (row) {
		r.nval = 1;
		r.val = &row->val;
	}
	m->host->finish(req, row ? META1_OK : META1_NOTFOUND, &r);
}

static const struct meta1_map_ops ops = {.size = sizeof(ops), .lookup = map_lookup};

META1_MODULE(map_text, .kind = META1_MAP, .roles = META1_SMAR | META1_TOOL, .version = "0.1.0",
    .summary = "Keys and values from a text file.", .opt = options,
    .nopt = sizeof(options) / sizeof(options[0]), .sizeof_conf = sizeof(struct conf),
    .open = map_open, .close = map_close, .ops = &ops);
