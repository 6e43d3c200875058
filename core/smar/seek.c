/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * seek.c -- asks a map for one key after the other until one is there.
 * From check.c and route.c; to core/mod. Owns nothing: the asker embeds it and stays
 * until done(). A map that cannot say ends it at once, for now (TEMPFAIL) or for good
 * (PERMFAIL): a less specific key must not decide in place of one that could not be read.
 */
#include "smar/smar.h"

METRIC_COUNTER(m_lookups, "map_lookups_total", "Keys looked up in maps.");
METRIC_COUNTER(m_failed, "map_failures_total", "Look-ups that a map could not answer.");

static void ask(struct smar_seek *s);

static void tell(struct smar_seek *s, enum meta1_status status, const struct meta1_reply *r)
{
	struct smar_found f = {
	    .status = status, .map = s->use->map->name, .key = s->key, .ttl = s->ttl};

	if (status == META1_OK)
		f.value = r->val[0];
	if (status == META1_NOMORE) {
		f.status = META1_NOTFOUND;
		f.nomore = true;
	}
	if (status == META1_TEMPFAIL || status == META1_PERMFAIL)
		f.why = r && r->text ? r->text : "no answer";
	s->done(s->arg, &f);
}

static void answered(void *arg, enum meta1_status status, const struct meta1_reply *r)
{
	struct smar_seek *s = arg;
	uint32_t ttl = r ? r->ttl : 0;

	if (ttl < s->ttl)
		s->ttl = ttl;
	switch (status) {
	case META1_OK:
		if (r && r->nval > 0) {
			tell(s, META1_OK, r);
			return;
		}
		break;
	case META1_NOTFOUND:
		if (smar_keys_next(&s->keys, s->key, sizeof(s->key)))
			ask(s);
		else
			tell(s, META1_NOTFOUND, r);
		return;
	case META1_NOMORE:
		tell(s, META1_NOMORE, r);
		return;
	default:
		break;
	}
	m_failed.value++;
	log_event(LOG_L_WARN, "smar.map", "map=%s key=%s result=%s error=%s", s->use->map->name,
	    s->key, status == META1_PERMFAIL ? "permanent" : "temporary",
	    r && r->text ? r->text : "no answer");
	tell(s, status == META1_PERMFAIL ? META1_PERMFAIL : META1_TEMPFAIL, r);
}

static void ask(struct smar_seek *s)
{
	m_lookups.value++;
	s->use->map->lookup(s->use->map, buf_str(s->key), s->deadline, answered, s);
}

void smar_seek_start(struct smar_seek *s, const struct smar_use *use, int64_t deadline,
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
	ask(s);
}
