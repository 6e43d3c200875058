/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * seek.c -- asks a map for one key after the other until one is there.
 * From check.c, route.c and limits.c; to map.c, and macro.c for the value. Owns nothing: the asker
 * embeds it and stays until done(). A map that cannot say ends it at once, for now (TEMPFAIL) or
 * for good (PERMFAIL): a less specific key must not decide in place of one that could not be read.
 */
#include "smar/smar.h"

#include <stdlib.h>

#define VALUES_MAX (1u << 20) /* bytes of one answer with its macros */

METRIC_COUNTER(m_lookups, "map_lookups_total", "Keys looked up in maps.");
METRIC_COUNTER(m_failed, "map_failures_total", "Look-ups that a map could not answer.");

static void failed(struct smar_seek *s, enum meta1_status status, const char *why)
{
	struct smar_found f = {
	    .status = status, .map = s->use->map->name, .key = s->key, .why = why};

	m_failed.value++;
	log_event(LOG_L_WARN, "smar.map", "map=%s key=%s result=%s error=%s", f.map, s->key,
	    status == META1_PERMFAIL ? "permanent" : "temporary", why);
	s->done(s->arg, &f);
}

static void tell(struct smar_seek *s, enum meta1_status status, const struct meta1_reply *r)
{
	struct smar_found f = {
	    .status = status, .map = s->use->map->name, .key = s->key, .ttl = s->ttl};

	if (status == META1_OK) {
		f.value = r->val[0];
		f.val = r->val;
		f.nval = r->nval;
	}
	if (status == META1_NOMORE) {
		f.status = META1_NOTFOUND;
		f.nomore = true;
	}
	s->done(s->arg, &f);
}

char *smar_found_text(const struct smar_found *f, char between, size_t *len)
{
	size_t n = 0, size = 1;
	char *out;

	for (uint32_t i = 0; i < f->nval; i++)
		size += f->val[i].len + 1;
	out = base_alloc(size);
	for (uint32_t i = 0; i < f->nval; i++) {
		if (f->val[i].len == 0)
			continue;
		if (n > 0)
			out[n++] = between;
		memcpy(out + n, f->val[i].data, f->val[i].len);
		n += f->val[i].len;
	}
	*len = n;
	return out;
}

static bool any_macro(const struct meta1_reply *r)
{
	for (uint32_t i = 0; i < r->nval; i++)
		if (smar_macro_any(r->val[i]))
			return true;
	return false;
}

static void found(struct smar_seek *s, const struct meta1_reply *r)
{
	enum meta1_status status = META1_OK;
	struct meta1_reply with = *r;
	struct meta1_buf *val;
	struct meta1_err err;
	size_t bytes = 0;
	uint32_t n = 0;

	if (!(s->use->flags & USE_F_MACROS) || !any_macro(r)) {
		tell(s, META1_OK, r);
		return;
	}
	val = base_alloc(r->nval * sizeof(*val));
	while (n < r->nval && status == META1_OK) {
		status = smar_macro_replace(&s->keys, s->key, r->val[n], &val[n], &err);
		if (status != META1_OK)
			break;
		bytes += val[n++].len;
		if (bytes > VALUES_MAX) {
			status = META1_TEMPFAIL;
			err_set(&err, "the values have more than %u bytes with their macros",
			    VALUES_MAX);
		}
	}
	with.val = val;
	if (status == META1_OK)
		tell(s, META1_OK, &with);
	else
		failed(s, status, err.text);
	while (n > 0)
		free((void *)(uintptr_t)val[--n].data);
	free(val);
}

/* There is a next key to ask for. */
static bool further(struct smar_seek *s, enum meta1_status status, const struct meta1_reply *r)
{
	uint32_t ttl = r ? r->ttl : 0;

	if (ttl < s->ttl)
		s->ttl = ttl;
	return status == META1_NOTFOUND && smar_keys_next(&s->keys, s->key, sizeof(s->key));
}

static void end(struct smar_seek *s, enum meta1_status status, const struct meta1_reply *r)
{
	if (status == META1_NOTFOUND || status == META1_NOMORE)
		tell(s, status, r);
	else if (status == META1_OK && r && r->nval > 0)
		found(s, r);
	else
		failed(s, status == META1_PERMFAIL ? META1_PERMFAIL : META1_TEMPFAIL,
		    r && r->text ? r->text : "no answer");
}

static void answered(void *arg, enum meta1_status status, const struct meta1_reply *r);

/* Key after key while the answers are known; what is not known is asked for. */
static void go_on(void *arg)
{
	struct smar_seek *s = arg;
	struct smar_map *m = s->use->map;
	int64_t since = smar_map_clock(m);
	enum meta1_status status;
	struct meta1_reply r;

	do {
		m_lookups.value++;
		if (!smar_map_known(m, buf_str(s->key), &status, &r)) {
			smar_map_ask(m, &s->ask, buf_str(s->key), s->deadline, answered, s);
			return;
		}
	} while (further(s, status, &r));
	smar_map_took(m, since);
	end(s, status, &r);
}

static void answered(void *arg, enum meta1_status status, const struct meta1_reply *r)
{
	struct smar_seek *s = arg;

	if (further(s, status, r))
		go_on(s);
	else
		end(s, status, r);
}

static void begin(struct smar_seek *s, const struct smar_use *use, int64_t deadline,
    void (*done)(void *, const struct smar_found *), void *arg)
{
	s->use = use;
	s->deadline = deadline;
	s->done = done;
	s->arg = arg;
	s->ttl = UINT32_MAX;
	/* The first key of every kind exists: a client, path or domain is never empty here. */
	if (!smar_keys_next(&s->keys, s->key, sizeof(s->key)))
		str_copy(s->key, sizeof(s->key), ".");
}

void smar_seek_now(struct smar_seek *s, const struct smar_use *use, int64_t deadline,
    void (*done)(void *, const struct smar_found *), void *arg)
{
	begin(s, use, deadline, done, arg);
	go_on(s);
}

void smar_seek_start(struct smar_seek *s, const struct smar_use *use, int64_t deadline,
    void (*done)(void *, const struct smar_found *), void *arg)
{
	begin(s, use, deadline, done, arg);
	if (use->map->find || use->map->cache.all) { /* known, perhaps: told on a later turn too */
		task_init(&s->task, go_on, s);
		loop_defer(use->map->loop, &s->task);
	} else {
		go_on(s);
	}
}
