/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * caps.c -- what destinations offer, as smtpc told it: for an hour, by the key of their route.
 * From smar.c (CAPS frames); to check.c, which refuses a recipient early when its destination
 * lacks what the mail needs. No I/O. Owns at most max facts; the one told longest ago goes first.
 * A destination may have several hosts: when any of them had something within the hour, the
 * destination is not known to lack it. On failure: not known, which means that it may.
 */
#include "smar/smar.h"

#include <stdlib.h>
#include <uthash.h>
#include <utlist.h>

#define KEEP_MS (60 * 60 * 1000)
#define NOFFERS 8 /* bits of enum meta1_offer that are looked at */
#define KEY_MAX 255

METRIC_GAUGE(m_known, "destinations_known_now", "Destinations of which smar knows the offer.");

struct fact {
	UT_hash_handle hh;
	struct fact *prev, *next;   /* told longest ago first */
	int64_t had[NOFFERS], told; /* monotonic ms: last seen; -1 never; last told */
	uint32_t offers;	    /* as told last */
	uint64_t max_size;
	char key[];
};

struct smar_caps {
	struct fact *table, *list;
	unsigned max;
};

struct smar_caps *smar_caps_new(unsigned max)
{
	struct smar_caps *c = base_alloc(sizeof(*c));

	c->max = max;
	return c;
}

static void drop(struct smar_caps *c, struct fact *f)
{
	HASH_DEL(c->table, f);
	DL_DELETE(c->list, f);
	free(f);
	m_known.value = HASH_COUNT(c->table);
}

void smar_caps_free(struct smar_caps **cp)
{
	struct smar_caps *c = *cp;

	*cp = NULL;
	if (!c)
		return;
	while (c->list)
		drop(c, c->list);
	free(c);
}

static struct fact *find(struct smar_caps *c, struct meta1_buf key, int64_t now)
{
	struct fact *f = NULL;

	HASH_FIND(hh, c->table, key.data, key.len, f);
	if (f && now - f->told >= KEEP_MS) {
		drop(c, f);
		return NULL;
	}
	return f;
}

static struct fact *add(struct smar_caps *c, struct meta1_buf key)
{
	struct fact *f;

	if (HASH_COUNT(c->table) >= c->max)
		drop(c, c->list);
	f = base_alloc(sizeof(*f) + key.len + 1);
	memcpy(f->key, key.data, key.len);
	for (unsigned i = 0; i < NOFFERS; i++)
		f->had[i] = -1;
	HASH_ADD_KEYPTR(hh, c->table, f->key, key.len, f);
	DL_APPEND(c->list, f);
	m_known.value = HASH_COUNT(c->table);
	return f;
}

void smar_caps_learn(struct smar_caps *c, const struct p_caps *m, int64_t now)
{
	struct fact *f;

	if (m->key.len == 0 || m->key.len > KEY_MAX)
		return;
	f = find(c, m->key, now);
	if (!f) {
		f = add(c, m->key);
	} else {
		DL_DELETE(c->list, f);
		DL_APPEND(c->list, f);
	}
	f->told = now;
	f->offers = (uint32_t)m->offers;
	f->max_size = m->max_size;
	for (unsigned i = 0; i < NOFFERS; i++)
		if (f->offers & 1u << i)
			f->had[i] = now;
}

bool smar_caps_lacks(struct smar_caps *c, struct meta1_buf key, uint32_t offer, int64_t now)
{
	struct fact *f = find(c, key, now);

	if (!f)
		return false;
	for (unsigned i = 0; i < NOFFERS; i++)
		if ((offer & 1u << i) && (f->had[i] < 0 || now - f->had[i] >= KEEP_MS))
			return true;
	return false;
}

bool smar_caps_any(const struct smar_caps *c)
{
	return c->table != NULL;
}

bool smar_caps_known(
    struct smar_caps *c, struct meta1_buf key, int64_t now, uint32_t *offers, uint64_t *max_size)
{
	struct fact *f = find(c, key, now);

	if (!f)
		return false;
	*offers = f->offers;
	*max_size = f->max_size;
	return true;
}
