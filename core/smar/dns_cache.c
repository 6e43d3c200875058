/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dns_cache.c -- answers by name and type until their TTL ends; bounded in number and
 * memory (an answer can have 64 KiB), what was used longest ago goes first.
 * From and to dns.c. Owns a reference to each answer. Never fails: what does not fit pushes
 * something else out, what must not be kept is not taken.
 */
#include "smar/smar.h"

#include <stdlib.h>

METRIC_COUNTER(m_hits, "dns_cache_hits_total", "DNS questions answered from the cache.");
METRIC_GAUGE(m_memory, "dns_cache_bytes", "Memory of the answers in the DNS cache.");
METRIC_GAUGE(m_size, "dns_cache_entries", "Answers in the DNS cache.");

struct kept {
	struct lru_entry lru; /* first */
	struct dns_data *data;
	char key[DNS_NAME_MAX + 4];
};
struct dns_cache {
	struct lru lru;
};

static void drop(void *block)
{
	struct kept *k = block;

	dns_data_unref(&k->data);
	free(k);
}

static void measure(const struct dns_cache *c)
{
	m_memory.value = (int64_t)c->lru.memory;
	m_size.value = lru_count(&c->lru);
}

struct dns_cache *dns_cache_new(unsigned max, size_t bytes)
{
	struct dns_cache *c = base_alloc(sizeof(*c));

	lru_init(&c->lru, max, bytes);
	c->lru.drop = drop;
	return c;
}

unsigned dns_cache_clear(struct dns_cache *c)
{
	unsigned n = lru_clear(&c->lru);

	measure(c);
	return n;
}

void dns_cache_free(struct dns_cache **cp)
{
	if (*cp)
		dns_cache_clear(*cp);
	free(*cp);
	*cp = NULL;
}

unsigned dns_cache_size(const struct dns_cache *c)
{
	return lru_count(&c->lru);
}

/* Type in two bytes, then the name. */
static unsigned make_key(const char *name, uint16_t type, char *key)
{
	key[0] = (char)(type >> 8);
	key[1] = (char)(type & 255);
	return 2 + (unsigned)str_copy(key + 2, DNS_NAME_MAX, name);
}

struct dns_data *dns_cache_get(
    struct dns_cache *c, const char *name, uint16_t type, int64_t now, uint32_t *ttl)
{
	char key[DNS_NAME_MAX + 4];
	struct kept *k = lru_get(&c->lru, key, make_key(name, type, key), now);

	measure(c);
	if (!k)
		return NULL;
	*ttl = (uint32_t)((k->lru.expires - now + 999) / 1000);
	m_hits.value++;
	return dns_data_ref(k->data);
}

void dns_cache_put(
    struct dns_cache *c, const char *name, uint16_t type, struct dns_data *d, int64_t now)
{
	struct kept *k = base_alloc(sizeof(*k));
	unsigned len = make_key(name, type, k->key);

	k->data = dns_data_ref(d);
	if (d->ttl > 0 && (d->status == META1_OK || d->status == META1_NOTFOUND)) {
		k->lru.expires = now + (int64_t)d->ttl * 1000;
		k->lru.bytes = sizeof(*k) + d->memory;
		lru_put(&c->lru, &k->lru, k->key, len);
	} else {
		lru_forget(&c->lru, k->key, len);
		drop(k);
	}
	measure(c);
}
