/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map_text.c -- a map that is a text file: key, blanks, value to the end of the line.
 *
 * From the core's look-ups; to table.c. The file is read whole at open, where any bad line
 * stops the start, and again on a worker thread when it changed, where bad lines are logged and
 * the old content stays. Owns the table. A file is read when it was left alone for a second,
 * so that one which is written in place is not taken by half; better write anew and rename.
 */
#include "table.h"

#include <errno.h>
#include <meta1/map.h>
#include <string.h>

#define CHECK_MS 1000
#define TTL	 60 /* seconds an answer may be kept; a change is told at once */

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
	struct meta1_watch *timer;
	struct stat seen; /* newest version that was tried */
	int64_t wall;
	/* What the worker leaves behind. */
	struct table *fresh;
	int changed, said;
	struct stat now;
	struct meta1_err err;
	char bad[TABLE_SAID + 1][512];
};

/* ---- at open ---- */
static void log_bad(void *arg, const char *text)
{
	struct map *m = arg;

	m->host->log(m->ctx, META1_ERR, "%s", text);
}

/* ---- later: look at the file, read it when it changed ---- */
static void keep_bad(void *arg, const char *text)
{
	struct map *m = arg;

	if (m->said <= TABLE_SAID)
		snprintf(m->bad[m->said++], sizeof(m->bad[0]), "%s", text);
}

/* On a worker thread: nothing of the map but what is handed over here is touched. */
static void look(void *arg)
{
	struct map *m = arg;

	m->changed = m->said = 0;
	m->err.text[0] = '\0';
	if (stat(m->conf->file, &m->now) < 0) {
		memset(&m->now, 0, sizeof(m->now));
		m->changed = table_stale(&m->seen, &m->now);
		snprintf(
		    m->err.text, sizeof(m->err.text), "%s: %s", m->conf->file, strerror(errno));
		return;
	}
	if (!table_stale(&m->seen, &m->now) ||
	    (m->now.st_mtim.tv_sec <= m->wall && m->wall - m->now.st_mtim.tv_sec < 1))
		return;
	m->changed = 1;
	m->fresh = table_read(m->conf->file, keep_bad, m, &m->err);
	if (m->fresh)
		m->now = m->fresh->st;
}

static void looked(void *arg)
{
	struct map *m = arg;

	if (m->changed) {
		m->seen = m->now;
		for (int i = 0; i < m->said; i++)
			m->host->log(m->ctx, META1_ERR, "%s", m->bad[i]);
		if (m->fresh) {
			table_free(&m->table);
			m->table = m->fresh;
			m->fresh = NULL;
			m->host->log(m->ctx, META1_INFO, "%s: read again, %u keys", m->conf->file,
			    m->table->nrow);
			m->host->count(m->ctx, "keys_now", m->table->nrow);
			m->host->changed(m->ctx);
		} else {
			m->host->log(
			    m->ctx, META1_ERR, "%s; the old content stays in use", m->err.text);
		}
	}
	m->host->rearm(m->timer, CHECK_MS);
}

static void check(int fd, short what, void *arg)
{
	struct map *m = arg;

	(void)fd, (void)what;
	m->wall = m->host->wall(m->ctx);
	if (m->host->offload(m->ctx, look, looked, m) != META1_OK) {
		m->host->rearm(m->timer, CHECK_MS);
	}
}

/* ---- life ---- */
static void map_close(void *inst)
{
	struct map *m = inst;

	m->host->unwatch(&m->timer);
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
	m->timer = m->table ? host->watch_timer(ctx, CHECK_MS, check, m) : NULL;
	if (!m->timer) {
		if (m->table)
			snprintf(err->text, sizeof(err->text), "map_text: no memory");
		table_free(&m->table);
		host->free(ctx, m);
		return -1;
	}
	m->seen = m->table->st;
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
