/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map.c -- one question to a map: from the cache when the answer is kept, along with another's
 * question for the same key when one is under way, else to the module. A map of this host of which
 * nothing is kept, and that has find(), is asked inside the call.
 * From seek.c and control_maps.c; to core/mod, or a table in tests. Owns the cache and one struct
 * flight a question at the module; askers are embedded where they ask.
 *
 * Each asker has its own deadline: one that comes along with a question that ends later has a
 * timer; when a question ends at its deadline, those with time left ask anew, together. A map that
 * is closed or changes meanwhile: the answer is told, but not kept, and nobody comes along any
 * more. On failure: TEMPFAIL with a reason, which is never kept.
 */
#include "smar/smar.h"

#include "mod/mod.h"

#include <meta1/map.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <utlist.h>

#define CACHE_SIZE 10000 /* of a map that does not say */

struct smar_flight {
	UT_hash_handle hh;
	struct smar_flight *prev, *next; /* of map->list */
	struct smar_map *map;
	struct meta1_req *req;
	struct smar_ask *askers;
	int64_t deadline, start;
	bool fresh; /* in map->flights: may be joined, its answer may be kept */
	size_t len;
	char key[];
};
struct kept {
	struct lru_entry lru; /* first */
	enum meta1_status status;
	struct meta1_reply reply;
	struct meta1_buf val[]; /* then the key, then the values */
};

static void take_off(struct smar_flight *f);

static int64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static enum meta1_status find_instance(
    struct smar_map *m, struct meta1_buf key, struct meta1_reply *r)
{
	return mod_map_find(m->inst, key, r);
}

void smar_map_cache(struct smar_map *m, const struct set_map *set)
{
	const struct meta1_map_ops *ops = m->inst ? mod_ops(m->inst) : NULL;
	bool local = ops && (ops->props & META1_MAP_LOCAL);
	int64_t size = set->cache_size;

	if (size < 0)
		size = local ? 0 : CACHE_SIZE;
	m->local = local && size == 0;
	lru_init(&m->cache, (unsigned)size, (size_t)set->cache_memory);
	if (m->inst && size == 0 && mod_map_finds(m->inst))
		m->find = find_instance;
	m->ttl = set->cache_ttl;
	m->no_ttl = set->cache_negative_ttl;
}

/* ---- what is kept ---- */
static int64_t ttl_ms(const struct smar_map *m, enum meta1_status status, uint32_t ttl)
{
	int64_t most = status == META1_OK ? m->ttl : m->no_ttl, ms = (int64_t)ttl * 1000;

	return ms < most ? ms : most;
}

static void keep(struct smar_map *m, struct meta1_buf key, enum meta1_status status,
    const struct meta1_reply *r, int64_t now)
{
	int64_t ms = ttl_ms(m, status, r->ttl);
	size_t size = sizeof(struct kept) + r->nval * sizeof(struct meta1_buf) + key.len + 1;
	struct kept *k;
	char *at;

	if (m->cache.max == 0 || ms <= 0)
		return;
	for (uint32_t i = 0; i < r->nval; i++)
		size += r->val[i].len + 1;
	if (size > m->cache.most)
		return;
	k = base_alloc(size);
	k->lru.bytes = size;
	k->lru.expires = now + ms;
	k->status = status;
	k->reply = (struct meta1_reply){.size = sizeof(k->reply), .nval = r->nval, .val = k->val};
	at = (char *)(k->val + r->nval);
	if (key.len)
		memcpy(at, key.data, key.len);
	key.data = at;
	at += key.len + 1;
	for (uint32_t i = 0; i < r->nval; i++) {
		k->val[i] = buf_of(at, r->val[i].len);
		if (r->val[i].len)
			memcpy(at, r->val[i].data, r->val[i].len);
		at += r->val[i].len + 1;
	}
	lru_put(&m->cache, &k->lru, key.data, key.len);
}

static void tally(struct smar_map *m, enum meta1_status status)
{
	if (status == META1_OK)
		m->count.found++;
	else if (status == META1_NOTFOUND || status == META1_NOMORE)
		m->count.missing++;
	else if (status == META1_PERMFAIL)
		m->count.perm++;
	else
		m->count.temp++;
}

int64_t smar_map_clock(const struct smar_map *m)
{
	return m->find ? now_us() : 0;
}

void smar_map_took(struct smar_map *m, int64_t since)
{
	int64_t us;

	if (!m->find)
		return;
	us = now_us() - since;
	m->count.us += us;
	if (m->inst)
		mod_map_held(m->inst, us);
}

bool smar_map_known(
    struct smar_map *m, struct meta1_buf key, enum meta1_status *status, struct meta1_reply *r)
{
	int64_t now;
	struct kept *k;

	if (m->find) {
		m->count.asked++;
		*status = m->find(m, key, r);
		tally(m, *status);
		return true;
	}
	if (!m->cache.all)
		return false;
	now = loop_now(m->loop);
	k = lru_get(&m->cache, key.data, key.len, now);
	if (!k)
		return false;
	m->count.asked++;
	m->count.hits++;
	*status = k->status;
	*r = k->reply;
	r->ttl = (uint32_t)((k->lru.expires - now) / 1000);
	return true;
}

/* ---- the module's answers ---- */
static void count(struct smar_map *m, enum meta1_status status, int64_t start)
{
	m->open--;
	m->count.us += now_us() - start;
	tally(m, status);
}

static void local_answered(void *arg, enum meta1_status status, const struct meta1_reply *r)
{
	struct smar_ask *a = arg;

	count(a->map, status, a->start);
	a->fn(a->arg, status, r);
}

static void leave(struct smar_ask *a)
{
	DL_DELETE(a->flight->askers, a);
	a->flight = NULL;
	loop_unwatch(&a->timer);
}

static void answered(void *arg, enum meta1_status status, const struct meta1_reply *r);

static void launch(struct smar_flight *f)
{
	f->start = now_us();
	f->map->open++;
	f->req = f->map->lookup(f->map, buf_of(f->key, f->len), f->deadline, answered, f);
}

/* The question ended for want of time; who has some left asks again. */
static bool again(struct smar_flight *f, int64_t now)
{
	struct smar_ask *a, *next;
	int64_t most = now;

	DL_FOREACH (f->askers, a)
		if (a->deadline > most)
			most = a->deadline;
	if (most == now)
		return false;
	f->deadline = most;
	launch(f);
	for (a = f->askers; a; a = next) {
		struct meta1_reply late = {.size = sizeof(late), .text = "no answer in time"};

		next = a->next;
		if (a->deadline > now)
			continue;
		leave(a);
		a->fn(a->arg, META1_TEMPFAIL, &late);
	}
	return true;
}

static void answered(void *arg, enum meta1_status status, const struct meta1_reply *reply)
{
	struct smar_flight *f = arg;
	struct smar_map *m = f->map;
	struct meta1_reply r = {.size = sizeof(r)};
	int64_t now = loop_now(m->loop);

	f->req = NULL;
	count(m, status, f->start);
	if (status == META1_TEMPFAIL && now >= f->deadline && again(f, now))
		return;
	if (reply)
		r = *reply;
	if (status == META1_OK || status == META1_NOTFOUND || status == META1_NOMORE) {
		if (f->fresh)
			keep(m, buf_of(f->key, f->len), status, &r, now);
		if (m->cache.max > 0)
			r.ttl = (uint32_t)(ttl_ms(m, status, r.ttl) / 1000);
	}
	take_off(f);
	while (f->askers) {
		struct smar_ask *a = f->askers;

		leave(a);
		a->fn(a->arg, status, &r); /* the last one may let go of the map */
	}
	free(f);
}

/* ---- asking ---- */
static void too_late(int fd, short what, void *arg)
{
	struct smar_ask *a = arg;
	struct meta1_reply r = {.size = sizeof(r), .text = "no answer in time"};

	(void)fd, (void)what;
	leave(a);
	a->fn(a->arg, META1_TEMPFAIL, &r);
}

static void join(struct smar_flight *f, struct smar_ask *a)
{
	int64_t now = loop_now(a->map->loop);

	a->flight = f;
	DL_APPEND(f->askers, a);
	if (a->deadline < f->deadline)
		a->timer = loop_timer(
		    a->map->loop, a->deadline > now ? a->deadline - now : 0, too_late, a);
}

static struct smar_flight *start(struct smar_map *m, struct meta1_buf key, int64_t deadline)
{
	struct smar_flight *f = base_alloc(sizeof(*f) + key.len + 1);

	f->map = m;
	f->deadline = deadline;
	f->fresh = true;
	f->len = key.len;
	if (key.len)
		memcpy(f->key, key.data, key.len);
	HASH_ADD(hh, m->flights, key[0], f->len, f);
	DL_APPEND(m->list, f);
	return f;
}

static void take_off(struct smar_flight *f)
{
	if (f->fresh)
		HASH_DEL(f->map->flights, f);
	f->fresh = false;
	DL_DELETE(f->map->list, f);
}

void smar_map_ask(struct smar_map *m, struct smar_ask *a, struct meta1_buf key, int64_t deadline,
    mod_done_fn fn, void *arg)
{
	struct smar_flight *f;

	*a = (struct smar_ask){.map = m, .deadline = deadline, .fn = fn, .arg = arg};
	m->count.asked++;
	if (m->local) {
		a->start = now_us();
		m->open++;
		m->lookup(m, key, deadline, local_answered, a);
		return;
	}
	HASH_FIND(hh, m->flights, key.data, key.len, f);
	if (f) {
		m->count.joined++;
		join(f, a);
		return;
	}
	f = start(m, key, deadline);
	join(f, a);
	launch(f);
}

unsigned smar_map_flush(struct smar_map *m)
{
	struct smar_flight *f;

	DL_FOREACH (m->list, f) {
		if (f->fresh)
			HASH_DEL(m->flights, f);
		f->fresh = false;
	}
	return lru_clear(&m->cache);
}

void smar_map_end(struct smar_map *m)
{
	struct smar_flight *f;

	smar_map_flush(m);
	while ((f = m->list)) {
		take_off(f);
		while (f->askers)
			leave(f->askers);
		mod_req_cancel(&f->req);
		free(f);
	}
}
