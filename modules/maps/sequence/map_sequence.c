/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map_sequence.c -- several maps as one: the first that has the key answers.
 * From the core's look-ups; to the other maps, through the host. Owns nothing but its list.
 * A definite no of one (also "derive no further keys") goes on to the next one; that word is
 * passed on only when the last map said it. On failure of one: the failure is the answer, for
 * what a later map says must not stand in place of what this one could not say.
 */
#include "../inst/inst.h"

#include <meta1/map.h>
#include <stdio.h>
#include <string.h>

#define MAPS_MAX 32

struct conf {
	const char *const *maps;
};
static const struct meta1_opt options[] = {
    META1_OPT_LIST(struct conf, maps, NULL, META1_O_REQUIRED,
	"Names of the maps, in the order in which they are asked; they stand before this one."),
};

struct map {
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
	struct meta1_mapref *ref[MAPS_MAX];
	unsigned n;
};
struct ask { /* of one request, in its memory */
	struct map *m;
	struct meta1_req *req;
	struct meta1_buf key;
	unsigned at;
	uint32_t ttl; /* the shortest of those asked */
};

static int map_check(const void *conf, struct meta1_err *err)
{
	const struct conf *c = conf;
	unsigned n = 0;

	while (c->maps && c->maps[n])
		n++;
	if (n > 0 && n <= MAPS_MAX)
		return 0;
	snprintf(err->text, sizeof(err->text), "maps: %u names, expected 1 to %d", n, MAPS_MAX);
	return -1;
}

static int map_open(const struct meta1_host *host, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *err)
{
	const struct conf *c = conf;
	struct map *m = inst_new(host, ctx, sizeof(*m), err);

	if (!m)
		return -1;
	*m = (struct map){.host = host, .ctx = ctx};
	while (c->maps[m->n] && m->n < MAPS_MAX) {
		m->ref[m->n] = host->map(ctx, c->maps[m->n]);
		if (!m->ref[m->n]) {
			snprintf(err->text, sizeof(err->text),
			    "maps: there is no map \"%.100s\" before this one", c->maps[m->n]);
			host->free(ctx, m);
			return -1;
		}
		m->n++;
	}
	*inst = m;
	return 0;
}

static void map_close(void *inst)
{
	struct map *m = inst;

	m->host->free(m->ctx, m);
}

static void answered(void *arg, enum meta1_status st, const struct meta1_reply *r);

static void ask_next(struct ask *a)
{
	const struct meta1_host *h = a->m->host;

	h->map_lookup(a->m->ctx, a->m->ref[a->at++], a->key, h->req_deadline(a->req), answered, a);
}

static void answered(void *arg, enum meta1_status st, const struct meta1_reply *r)
{
	struct ask *a = arg;
	struct meta1_reply out = {.size = sizeof(out)};

	if (r && r->ttl < a->ttl)
		a->ttl = r->ttl;
	if ((st == META1_NOTFOUND || st == META1_NOMORE) && a->at < a->m->n) {
		ask_next(a);
		return;
	}
	if (r) {
		out.nval = r->nval;
		out.val = r->val;
		out.text = r->text;
	}
	out.ttl = r ? a->ttl : 0;
	a->m->host->finish(a->req, st, &out);
}

static void map_lookup(void *inst, struct meta1_req *req, struct meta1_buf key)
{
	struct map *m = inst;
	struct ask *a = m->host->req_alloc(req, sizeof(*a) + key.len);
	struct meta1_reply none = {.size = sizeof(none), .text = "no memory"};

	if (!a) {
		m->host->finish(req, META1_TEMPFAIL, &none);
		return;
	}
	if (key.len > 0)
		memcpy(a + 1, key.data, key.len);
	a->m = m;
	a->req = req;
	a->key = (struct meta1_buf){a + 1, key.len};
	a->ttl = UINT32_MAX;
	ask_next(a);
}

/* The map that is asked has the same deadline and answers by then. */
static void map_cancel(void *inst, struct meta1_req *req)
{
	(void)inst;
	(void)req;
}

static const struct meta1_map_ops ops = {
    .size = sizeof(ops), .lookup = map_lookup, .cancel = map_cancel};

META1_MODULE(map_sequence, .kind = META1_MAP, .roles = META1_SMAR | META1_TOOL, .version = "0.1.0",
    .summary = "Several maps, asked one after the other.", .opt = options,
    .nopt = sizeof(options) / sizeof(options[0]), .sizeof_conf = sizeof(struct conf),
    .check = map_check, .open = map_open, .close = map_close, .ops = &ops);
