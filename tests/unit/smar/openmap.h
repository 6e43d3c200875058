/* SPDX-License-Identifier: BSD-2-Clause */
/* openmap.h -- a map that is a list of open questions, which the test answers. */
#ifndef META1_TEST_OPENMAP_H
#define META1_TEST_OPENMAP_H
#include "../unit.h"
#include "smar/smar.h"

#include <stdio.h>
#include <stdlib.h>

struct open { /* a question at the map */
	char key[SMAR_KEY_MAX];
	size_t len;
	int64_t deadline;
	mod_done_fn fn;
	void *arg;
};
struct world {
	struct smar_map map; /* first */
	struct loop *loop;
	struct open open[64];
	unsigned nopen, asked;
};
struct asker {
	struct smar_ask ask;
	unsigned told;
	enum meta1_status status;
	uint32_t ttl;
	char value[64], text[64];
};

static inline struct meta1_req *lookup(
    struct smar_map *m, struct meta1_buf key, int64_t deadline, mod_done_fn fn, void *arg)
{
	struct world *w = (struct world *)(void *)m;
	struct open *o = &w->open[w->nopen++];

	w->asked++;
	memcpy(o->key, key.data, key.len);
	o->key[key.len] = '\0';
	o->len = key.len;
	o->deadline = deadline;
	o->fn = fn;
	o->arg = arg;
	return NULL;
}

/* Answers the oldest open question. */
static inline void answer(
    struct world *w, enum meta1_status status, const char *value, uint32_t ttl)
{
	struct meta1_buf val = buf_str(value ? value : "");
	struct meta1_reply r = {.size = sizeof(r), .ttl = ttl, .nval = value ? 1 : 0, .val = &val};
	struct open o = w->open[0];

	assert_true(w->nopen > 0);
	memmove(w->open, w->open + 1, --w->nopen * sizeof(o));
	o.fn(o.arg, status, &r);
}

static inline void told(void *arg, enum meta1_status status, const struct meta1_reply *r)
{
	struct asker *a = arg;

	a->told++;
	a->status = status;
	a->ttl = r->ttl;
	str_copy(a->text, sizeof(a->text), r->text ? r->text : "");
	if (r->nval)
		snprintf(a->value, sizeof(a->value), "%.*s", (int)r->val[0].len,
		    (const char *)r->val[0].data);
}

static inline void ask(struct world *w, struct asker *a, const char *key, int64_t ms)
{
	memset(a, 0, sizeof(*a));
	smar_map_ask(&w->map, &a->ask, buf_str(key), loop_now(w->loop) + ms, told, a);
}

static inline void now(struct world *w, int64_t ms)
{
	loop_fake_clock(w->loop, ms, 1000);
	loop_turn(w->loop, false);
}

static inline int set_up(void **state)
{
	static const struct set_map set = {.cache_size = 3,
	    .cache_memory = 1 << 20,
	    .cache_ttl = 60000,
	    .cache_negative_ttl = 5000};
	static char name[] = "m";
	struct world *w = base_alloc(sizeof(*w));

	w->loop = loop_new();
	loop_fake_clock(w->loop, 1000000, 1000);
	w->map.name = name;
	w->map.loop = w->loop;
	w->map.lookup = lookup;
	smar_map_cache(&w->map, &set);
	*state = w;
	return 0;
}

static inline int tear_down(void **state)
{
	struct world *w = *state;

	smar_map_end(&w->map);
	loop_free(&w->loop);
	free(w);
	return 0;
}

static inline bool known(struct world *w, const char *key, enum meta1_status status, uint32_t ttl)
{
	struct meta1_reply r;
	enum meta1_status got;

	if (!smar_map_known(&w->map, buf_str(key), &got, &r))
		return false;
	assert_int_equal(got, status);
	assert_int_equal(r.ttl, ttl);
	return true;
}

#endif
