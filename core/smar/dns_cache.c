/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dns_cache.c -- answers by name and type until their TTL ends; bounded in number and
 * memory (an answer can have 64 KiB), what was used longest ago goes first.
 * From and to dns.c. Owns a reference to each answer. Never fails: what does not fit pushes
 * something else out, what must not be kept is not taken.
 */
#include "smar/smar.h"

#include <stdlib.h>
#include <uthash.h>

METRIC_COUNTER(m_hits, "dns_cache_hits_total", "DNS questions answered from the cache.");
METRIC_GAUGE(m_memory, "dns_cache_bytes", "Memory of the answers in the DNS cache.");
METRIC_GAUGE(m_size, "dns_cache_entries", "Answers in the DNS cache.");

struct entry {
	UT_hash_handle hh; /* in order of use: the first is the oldest */
	struct dns_data *data;
	int64_t expires; /* monotonic ms */
	char key[DNS_NAME_MAX + 4];
};
struct dns_cache {
	struct entry *all;
	unsigned max;
	size_t memory, most; /* bytes of all entries and their answers */
};

struct dns_cache *dns_cache_new(unsigned max, size_t bytes)
{
	struct dns_cache *c = base_alloc(sizeof(*c));

	c->max = max;
	c->most = bytes;
	return c;
}

static size_t memory_of(const struct entry *e)
{
	return sizeof(*e) + e->data->memory;
}

static void drop(struct dns_cache *c, struct entry *e)
{
	HASH_DELETE(hh, c->all, e);
	c->memory -= memory_of(e);
	m_memory.value = (int64_t)c->memory;
	dns_data_unref(&e->data);
	free(e);
	m_size.value = HASH_COUNT(c->all);
}

unsigned dns_cache_clear(struct dns_cache *c)
{
	unsigned n = HASH_COUNT(c->all);

	while (c->all)
		drop(c, c->all);
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
	return HASH_COUNT(c->all);
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
	unsigned len = make_key(name, type, key);
	struct entry *e;

	HASH_FIND(hh, c->all, key, len, e);
	if (!e)
		return NULL;
	if (e->expires <= now) {
		drop(c, e);
		return NULL;
	}
	HASH_DELETE(hh, c->all, e);
	HASH_ADD(hh, c->all, key, len, e);
	*ttl = (uint32_t)((e->expires - now + 999) / 1000);
	m_hits.value++;
	return dns_data_ref(e->data);
}

void dns_cache_put(
    struct dns_cache *c, const char *name, uint16_t type, struct dns_data *d, int64_t now)
{
	char key[DNS_NAME_MAX + 4];
	unsigned len = make_key(name, type, key);
	struct entry *e;

	HASH_FIND(hh, c->all, key, len, e);
	if (e)
		drop(c, e);
	if (d->ttl == 0 || (d->status != META1_OK && d->status != META1_NOTFOUND))
		return;
	e = base_alloc(sizeof(*e));
	memcpy(e->key, key, len);
	e->data = dns_data_ref(d);
	e->expires = now + (int64_t)d->ttl * 1000;
	HASH_ADD(hh, c->all, key, len, e);
	c->memory += memory_of(e);
	while (HASH_COUNT(c->all) > c->max || c->memory > c->most)
		drop(c, c->all);
	m_size.value = HASH_COUNT(c->all);
	m_memory.value = (int64_t)c->memory;
}
