/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * control_maps.c -- maps on the control socket: what is open and what it did, one key asked as it
 * stands, forgetting what is kept; and the same counts for /metrics.
 * From core/ctl/server.c; to map.c. Owns one struct query a question, with a reference to the
 * policy that it began with.
 */
#include "smar/control.h"

#include "mod/mod.h"

#include <stdlib.h>
#include <strings.h>
#include <time.h>

#define KEY_MAX	    3072 /* bytes of a query's key */
#define QUERIES_MAX 64	 /* at a time */
#define QUERY_MS    10000

struct query {
	struct smar_policy *policy;
	struct smar_map *map;
	struct smar_ask ask;
	struct ctl_later *client;
	struct meta1_buf key; /* behind the struct */
	int64_t start;
};
static struct {
	struct loop *loop;
	struct mod_host *host;
	struct smar_policy *policy; /* in force; NULL: none */
	void (*idle)(void);
	unsigned open;
} ctx;

static int64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static struct smar_map *find(const char *name)
{
	for (unsigned i = 0; name && ctx.policy && i < ctx.policy->nmap; i++)
		if (strcasecmp(ctx.policy->map[i].name, name) == 0)
			return &ctx.policy->map[i];
	return NULL;
}

/* ---- one key ---- */
/* Bytes as text when they are UTF-8, else as hexadecimal digits under NAME_hex. */
static void set_bytes(json_t *o, const char *name, const char *hex_name, struct meta1_buf b)
{
	json_t *text = json_stringn(b.data ? b.data : "", b.len);
	const unsigned char *p = b.data;
	char *hex;

	if (text) {
		json_object_set_new(o, name, text);
		return;
	}
	hex = base_alloc(2 * b.len + 1);
	for (size_t i = 0; i < b.len; i++)
		snprintf(hex + 2 * i, 3, "%02x", p[i]);
	json_object_set_new(o, hex_name, json_string(hex));
	free(hex);
}

static json_t *answer_of(
    const struct query *q, enum meta1_status status, const struct meta1_reply *r, bool cached)
{
	const char *result = status == META1_OK		? "found"
			     : status == META1_NOTFOUND ? "notfound"
			     : status == META1_NOMORE	? "nomore"
			     : status == META1_PERMFAIL ? "permfail"
							: "tempfail";
	json_t *o = json_pack("{s:s, s:s, s:b, s:f, s:I}", "map", q->map->name, "result", result,
	    "cached", cached, "ms", (double)(now_us() - q->start) / 1000, "ttl",
	    (json_int_t)(r ? r->ttl : 0));

	set_bytes(o, "key", "key_hex", q->key);
	if (r && r->nval > 0)
		set_bytes(o, "value", "value_hex", r->val[0]);
	if (r && r->text)
		set_bytes(o, "text", "text_hex", buf_str(r->text));
	return o;
}

static void answered(void *arg, enum meta1_status status, const struct meta1_reply *r)
{
	struct query *q = arg;

	ctl_answer(&q->client, answer_of(q, status, r, false), 200, NULL);
	smar_policy_unref(&q->policy);
	free(q);
	if (--ctx.open == 0)
		ctx.idle();
}

static json_t *post_query(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	const char *name = json_string_value(json_object_get(query, "map"));
	struct meta1_buf body = ctl_body();
	struct smar_map *m = find(name);
	enum meta1_status result;
	struct meta1_reply r;
	struct query *q;

	(void)arg, (void)rest;
	if (!m || body.len > KEY_MAX || ctx.open >= QUERIES_MAX) {
		*status = !m ? 404 : body.len > KEY_MAX ? 400 : 503;
		if (!m)
			err_set(err, "there is no map \"%.80s\"", name ? name : "");
		else
			err_set(err, "%s",
			    *status == 400 ? "the key has more than 3072 bytes"
					   : "64 queries are open");
		return NULL;
	}
	q = base_alloc(sizeof(*q) + body.len + 1);
	q->map = m;
	q->key = buf_of(q + 1, body.len);
	if (body.len)
		memcpy(q + 1, body.data, body.len);
	q->start = now_us();
	if (smar_map_known(m, q->key, &result, &r)) {
		json_t *o = answer_of(q, result, &r, !m->find);

		free(q);
		return o;
	}
	q->policy = smar_policy_ref(ctx.policy);
	q->client = ctl_later();
	ctx.open++;
	smar_map_ask(m, &q->ask, q->key, loop_now(ctx.loop) + QUERY_MS, answered, q);
	*status = CTL_LATER;
	return NULL;
}

/* ---- all of them ---- */
struct counters {
	const char *instance;
	json_t *out;
};

static void counter(void *arg, const char *instance, const char *name, bool gauge, int64_t value)
{
	struct counters *c = arg;

	(void)gauge;
	if (strcmp(instance, c->instance) == 0)
		json_array_append_new(
		    c->out, json_pack("{s:s, s:I}", "name", name, "value", (json_int_t)value));
}

/* The sections that use it, with commas. */
static void uses_of(const struct smar_map *m, char *out, size_t size)
{
	const struct smar_use *u;
	const char *section;
	size_t n = 0;

	out[0] = '\0';
	for (unsigned i = 0; (u = smar_policy_use(ctx.policy, i, &section)); i++)
		if (u->map == m && n < size)
			n += (size_t)snprintf(out + n, size - n, "%s%s", n ? ", " : "", section);
}

static json_t *map_of(const struct smar_map *m)
{
	const struct smar_map_counts *n = &m->count;
	int64_t told = n->found + n->missing + n->temp + n->perm;
	struct counters c = {m->inst ? mod_name(m->inst) : "", json_array()};
	char use[200];
	json_t *o;

	uses_of(m, use, sizeof(use));
	mod_counters(ctx.host, counter, &c);
	o = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:o}",
	    "name", m->name, "module", m->module, "use", use, "file", m->file ? m->file : "",
	    "cached", (json_int_t)lru_count(&m->cache), "cache_bytes", (json_int_t)m->cache.memory,
	    "asked", (json_int_t)n->asked, "hits", (json_int_t)n->hits, "joined",
	    (json_int_t)n->joined, "found", (json_int_t)n->found, "missing", (json_int_t)n->missing,
	    "failed", (json_int_t)(n->temp + n->perm), "ms",
	    told ? (double)n->us / 1000 / (double)told : 0.0, "counters", c.out);
	return o;
}

static json_t *get_maps(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	json_t *list = json_array();

	(void)arg, (void)rest, (void)query, (void)status, (void)err;
	for (unsigned i = 0; ctx.policy && i < ctx.policy->nmap; i++)
		json_array_append_new(list, map_of(&ctx.policy->map[i]));
	return json_pack("{s:o}", "maps", list);
}

static json_t *delete_cache(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	const char *name = json_string_value(json_object_get(query, "map"));
	unsigned n = 0;

	(void)arg, (void)rest;
	if (name && !find(name)) {
		*status = 404;
		err_set(err, "there is no map \"%.80s\"", name);
		return NULL;
	}
	for (unsigned i = 0; ctx.policy && i < ctx.policy->nmap; i++)
		if (!name || strcasecmp(ctx.policy->map[i].name, name) == 0)
			n += smar_map_flush(&ctx.policy->map[i]);
	return json_pack("{s:i}", "forgotten", (int)n);
}

static const struct ctl_request requests[] = {
    {"GET", "/v1/maps", CTL_READ, get_maps, "The maps that are open, their uses and counts."},
    {"POST", "/v1/map-query", CTL_READ, post_query,
	"Asks the map ?map=NAME for the key that is the body, as it stands."},
    {"DELETE", "/v1/map-cache", CTL_ADMIN, delete_cache,
	"Forgets the answers that are kept in front of all maps, or of ?map=NAME."},
};

/* ---- /metrics ---- */
static void metrics(void *arg, struct evbuffer *out, const struct ctl *ctl)
{
#define COUNT(f) offsetof(struct smar_map_counts, f)
	static const struct {
		const char *name, *help;
		size_t off;
	} rows[] = {
	    {"map_asked_total", "Questions to a map.", COUNT(asked)},
	    {"map_cache_hits_total", "Questions answered from what is kept.", COUNT(hits)},
	    {"map_joined_total", "Questions that came along with an open one.", COUNT(joined)},
	    {"map_found_total", "Answers of a map with a value.", COUNT(found)},
	    {"map_missing_total", "Answers of a map that there is none.", COUNT(missing)},
	    {"map_tempfail_total", "Temporary failures of a map.", COUNT(temp)},
	    {"map_permfail_total", "Permanent failures of a map.", COUNT(perm)},
	    {"map_microseconds_total", "Time until a map answered.", COUNT(us)},
	};
	const struct smar_policy *p = ctx.policy;
	char label[160];

	(void)arg;
	for (size_t r = 0; p && r < ARRAY_LEN(rows); r++)
		for (unsigned i = 0; i < p->nmap; i++) {
			const char *base = (const char *)&p->map[i].count;

			ctl_label("map", p->map[i].name, label, sizeof(label));
			ctl_metric(out, ctl, rows[r].name, i ? NULL : rows[r].help, false, label,
			    *(const int64_t *)(const void *)(base + rows[r].off));
		}
	for (unsigned i = 0; p && i < p->nmap; i++) {
		ctl_label("map", p->map[i].name, label, sizeof(label));
		ctl_metric(out, ctl, "map_cached_now", i ? NULL : "Answers kept in front of a map.",
		    true, label, lru_count(&p->map[i].cache));
	}
	for (unsigned i = 0; p && i < p->nmap; i++) {
		ctl_label("map", p->map[i].name, label, sizeof(label));
		ctl_metric(out, ctl, "map_open_now", i ? NULL : "Questions under way at a map.",
		    true, label, p->map[i].open);
	}
#undef COUNT
}

/* ---- life ---- */
void smar_control_maps_add(
    struct loop *l, struct mod_host *host, struct ctl *ctl, void (*idle)(void))
{
	ctx.loop = l;
	ctx.host = host;
	ctx.idle = idle;
	ctl_add(ctl, requests, ARRAY_LEN(requests), NULL);
	ctl_more_metrics(ctl, metrics, NULL);
}

void smar_control_maps_set(struct smar_policy *p)
{
	ctx.policy = p;
}

unsigned smar_control_maps_pending(void)
{
	return ctx.open;
}
