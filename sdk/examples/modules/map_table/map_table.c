/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map_table -- an example: rows "key value" of a file, kept in memory, read anew when the file
 * changes. It shows what a map that answers at once looks like (find), how work that may sleep
 * goes to a thread (offload) while the old rows go on to answer, how kept answers are dropped
 * (changed), and what has to be waited for at the end (drain).
 */
#include <errno.h>
#include <meta1/map.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define ROWS_MAX 1000000

struct conf {
	const char *file;
	int64_t interval;
};

static const struct meta1_opt opts[] = {
    META1_OPT_PATH(struct conf, file, NULL, META1_O_REQUIRED,
	"Rows of a key, blanks and a value; # begins a comment."),
    META1_OPT_MSEC(struct conf, interval, "10s", "100ms..1d",
	"Time between looks whether the file has changed."),
};

struct row {
	const char *key, *value; /* in text; the key in lower case */
};
struct rows {
	char *text;
	struct row *row;
	size_t n;
	struct timespec time; /* of the file */
};

struct instance {
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
	const struct conf *conf;
	struct rows *rows; /* that answer */
	struct meta1_watch *timer;
	int reading; /* a thread has it */
	struct meta1_req *draining;
	struct meta1_buf value; /* of the last answer */
	/* The thread's, while it runs. */
	struct rows *fresh;
	struct timespec seen;
	char why[300];
};

/* ---- reading: in open(), or on a worker thread, where nothing of the host may be called ---- */

static void rows_free(struct rows *r)
{
	if (!r)
		return;
	free(r->text);
	free(r->row);
	free(r);
}

static int by_key(const void *a, const void *b)
{
	return strcmp(((const struct row *)a)->key, ((const struct row *)b)->key);
}

/* One line, which is cut into key and value in place. */
static int add(struct rows *r, char *line)
{
	char *key = line + strspn(line, " \t\r"), *end;
	struct row *more;

	if (!*key || *key == '#')
		return 0;
	if (r->n == ROWS_MAX)
		return -1;
	if ((r->n & (r->n - 1)) == 0) { /* at 0, 1, 2, 4 ... twice the room */
		more = realloc(r->row, (r->n ? 2 * r->n : 1) * sizeof(*more));
		if (!more)
			return -1;
		r->row = more;
	}
	end = key + strcspn(key, " \t\r");
	r->row[r->n].value = *end ? end + 1 + strspn(end + 1, " \t\r") : end;
	*end = '\0';
	for (char *p = key; *p; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p = (char)(*p + 32);
	r->row[r->n++].key = key;
	for (end = (char *)r->row[r->n - 1].value + strlen(r->row[r->n - 1].value);
	     end > r->row[r->n - 1].value && strchr(" \t\r", end[-1]);)
		*--end = '\0';
	return 0;
}

static struct rows *rows_read(const char *file, char why[300])
{
	struct rows *r = calloc(1, sizeof(*r));
	FILE *in = r ? fopen(file, "re") : NULL;
	char *line, *next;
	struct stat st;
	size_t n;

	snprintf(why, 300, "%.200s: %.60s", file, r ? strerror(errno) : "no memory");
	if (!in || fstat(fileno(in), &st) < 0)
		goto fail;
	r->time = st.st_mtim;
	r->text = malloc((size_t)st.st_size + 1);
	n = r->text ? fread(r->text, 1, (size_t)st.st_size, in) : 0;
	snprintf(why, 300, "%.200s: cannot be read, or there is no memory", file);
	if (!r->text || ferror(in))
		goto fail;
	snprintf(why, 300, "%.200s: it changed while it was read: write beside it, rename", file);
	if (n != (size_t)st.st_size || fstat(fileno(in), &st) < 0 ||
	    memcmp(&st.st_mtim, &r->time, sizeof(r->time)) || n != (size_t)st.st_size)
		goto fail;
	r->text[n] = '\0';
	snprintf(why, 300, "%.200s: a NUL byte, too many rows, or no memory", file);
	if (strlen(r->text) != n)
		goto fail;
	for (next = r->text; (line = strsep(&next, "\n"));)
		if (add(r, line) < 0)
			goto fail;
	fclose(in);
	if (r->n)
		qsort(r->row, r->n, sizeof(*r->row), by_key);
	return r;
fail:
	if (in)
		fclose(in);
	rows_free(r);
	return NULL;
}

static void look(void *arg)
{
	struct instance *in = arg;
	struct stat st;

	in->fresh = NULL;
	in->why[0] = '\0';
	if (stat(in->conf->file, &st) < 0) {
		snprintf(
		    in->why, sizeof(in->why), "%.200s: %.60s", in->conf->file, strerror(errno));
		return;
	}
	if (!memcmp(&st.st_mtim, &in->seen, sizeof(in->seen)))
		return;
	in->fresh = rows_read(in->conf->file, in->why);
	if (in->fresh)
		in->why[0] = '\0';
}

/* ---- on the loop ---- */

/* What was read takes the place of the old rows; a file that cannot be read leaves them. */
static void looked(void *arg)
{
	struct instance *in = arg;

	if (in->why[0])
		in->host->log(in->ctx, META1_ERR, "%s; the old rows stay", in->why);
	if (in->fresh) {
		rows_free(in->rows);
		in->rows = in->fresh;
		in->fresh = NULL;
		in->host->changed(in->ctx);
		in->host->log(in->ctx, META1_INFO, "%s: %zu rows", in->conf->file, in->rows->n);
	}
	in->reading = 0;
	if (in->draining)
		in->host->finish(in->draining, META1_OK, NULL);
	else
		in->host->rearm(in->timer, in->conf->interval);
}

static void on_timer(int fd, short what, void *arg)
{
	struct instance *in = arg;

	(void)fd, (void)what;
	in->seen = in->rows->time;
	if (in->host->offload(in->ctx, look, looked, in) == META1_OK)
		in->reading = 1; /* looked() goes on */
	else
		in->host->rearm(in->timer, in->conf->interval);
}

static enum meta1_status map_find(void *inst, struct meta1_buf key, struct meta1_reply *reply)
{
	struct instance *in = inst;
	size_t lo = 0, hi = in->rows->n;

	while (lo < hi) {
		size_t at = lo + (hi - lo) / 2;
		const struct row *r = &in->rows->row[at];
		size_t len = strlen(r->key), n = len < key.len ? len : key.len;
		int c = n ? memcmp(key.data, r->key, n) : 0;

		if (c == 0 && len == key.len) {
			in->value = (struct meta1_buf){r->value, strlen(r->value)};
			reply->nval = 1;
			reply->val = &in->value;
			return META1_OK;
		}
		if (c < 0 || (c == 0 && key.len < len))
			hi = at;
		else
			lo = at + 1;
	}
	return META1_NOTFOUND;
}

static void map_drain(void *inst, struct meta1_req *req)
{
	struct instance *in = inst;

	in->host->rearm(in->timer, -1);
	if (in->reading)
		in->draining = req;
	else
		in->host->finish(req, META1_OK, NULL);
}

/* Without drain() a thread may read still: close() comes when it has ended, with done() behind. */
static void map_close(void *inst)
{
	struct instance *in = inst;

	in->host->unwatch(&in->timer);
	rows_free(in->rows);
	in->host->free(in->ctx, in);
}

static int map_open(const struct meta1_host *host, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *err)
{
	struct instance *in = host->alloc(ctx, sizeof(*in));
	char why[300] = "no memory";

	if (in) {
		*in = (struct instance){.host = host, .ctx = ctx, .conf = conf};
		in->rows = rows_read(in->conf->file, why);
	}
	if (in && in->rows) {
		snprintf(why, sizeof(why), "no memory");
		in->timer = host->watch_timer(ctx, in->conf->interval, on_timer, in);
	}
	if (in && in->timer) {
		*inst = in;
		return 0;
	}
	snprintf(err->text, sizeof(err->text), "%s", why);
	if (in)
		map_close(in);
	return -1;
}

static const struct meta1_map_ops ops = {
    .size = sizeof(ops), .props = META1_MAP_LOCAL, .find = map_find};

META1_MODULE(map_table, .kind = META1_MAP, .roles = META1_SMAR | META1_TOOL,
    .needs = META1_S_OFFLOAD, .version = "1.0",
    .summary = "Rows of a file, read anew when it changes.", .opt = opts,
    .nopt = sizeof(opts) / sizeof(opts[0]), .sizeof_conf = sizeof(struct conf), .open = map_open,
    .drain = map_drain, .close = map_close, .ops = &ops);
