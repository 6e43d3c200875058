/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * probe_cache.c -- what next hops said of recipients, each for its time; see probe.h.
 * From probe.c and probe_control.c. No I/O. Owns two lists of entries; never fails.
 */
#include "smar/probe.h"

#include <stdlib.h>
#include <strings.h>

#define ENTRY_MAX 1024

void probe_cache_conf(struct probe_cache *c, const struct set_probe *s)
{
	c->yes.max = c->no.max = (unsigned)s->max_entries;
	c->yes.most = c->no.most = (size_t)s->max_entries * ENTRY_MAX;
	c->positive_ttl = s->positive_ttl;
	c->positive_stale = s->positive_stale;
	c->negative_ttl = s->negative_ttl;
}

void probe_cache_put(
    struct probe_cache *c, const char *key, const struct probe_said *s, int64_t now)
{
	bool yes = s->word == PROBE_YES;
	size_t n = strlen(key), text = strlen(s->text),
	       size = sizeof(struct probe_entry) + n + text + 2;
	struct probe_entry *e = base_alloc(size);
	char *p;

	memcpy(e->key, key, n);
	p = e->key + n + 1;
	memcpy(p, s->text, text);
	e->text = p;
	memcpy(e->dsn, s->dsn, sizeof(e->dsn));
	e->since = now;
	e->lru.expires = now + (yes ? c->positive_stale : c->negative_ttl);
	e->lru.bytes = size;
	lru_forget(yes ? &c->no : &c->yes, key, n);
	lru_put(yes ? &c->yes : &c->no, &e->lru, e->key, n);
}

int64_t probe_cache_left(
    const struct probe_cache *c, const struct probe_entry *e, bool yes, int64_t now)
{
	return e->since + (yes ? c->positive_ttl : c->negative_ttl) - now;
}

bool probe_cache_get(struct probe_cache *c, const char *key, int64_t now, struct probe_answer *a)
{
	const struct probe_entry *e = lru_get(&c->yes, key, strlen(key), now);

	*a = (struct probe_answer){.said.word = e ? PROBE_YES : PROBE_NO};
	if (!e)
		e = lru_get(&c->no, key, strlen(key), now);
	if (!e)
		return false;
	memcpy(a->said.dsn, e->dsn, sizeof(e->dsn));
	str_copy(a->said.text, sizeof(a->said.text), e->text);
	a->age = now - e->since;
	a->left = probe_cache_left(c, e, a->said.word == PROBE_YES, now);
	return true;
}

static unsigned forget_domain(struct lru *l, const char *what)
{
	struct lru_entry *e, *next;
	size_t n = strlen(what);
	unsigned gone = 0;

	for (e = l->all; e; e = next) {
		size_t len = e->hh.keylen;

		next = e->hh.next;
		if (len > n && strcasecmp((const char *)e->hh.key + len - n, what) == 0)
			gone += lru_forget(l, e->hh.key, (size_t)len);
	}
	return gone;
}

unsigned probe_cache_forget(struct probe_cache *c, const char *what)
{
	if (!what)
		return lru_clear(&c->yes) + lru_clear(&c->no);
	if (what[0] == '@')
		return forget_domain(&c->yes, what) + forget_domain(&c->no, what);
	return (unsigned)lru_forget(&c->yes, what, strlen(what)) +
	       (unsigned)lru_forget(&c->no, what, strlen(what));
}
