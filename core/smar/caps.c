/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * caps.c -- what destinations offer, as smtpc told it: for an hour, by the key of their route.
 * From smar.c (CAPS frames); to check.c, which refuses a recipient early when its destination
 * lacks what the mail needs. No I/O. Owns at most max facts; the one told longest ago goes first.
 * A destination may have several hosts: it is known to lack something when each of them was seen
 * without it within the hour; one that has it, or was not seen, may get the mail.
 * On failure: not known, which means that it may.
 */
#include "smar/smar.h"

#include <stdlib.h>
#include <uthash.h>
#include <utlist.h>

#define KEEP_MS (60 * 60 * 1000)
#define NHOSTS	16 /* of a destination; of one with more nothing is sure */
#define KEY_MAX 255

METRIC_GAUGE(m_known, "destinations_known_now", "Destinations of which smar knows the offer.");

struct fact {
	UT_hash_handle hh;
	struct fact *prev, *next; /* told longest ago first */
	struct seen {
		int64_t when; /* monotonic ms */
		uint64_t host;
		uint32_t offers;
	} seen[NHOSTS];
	unsigned nseen;
	int64_t told;	 /* monotonic ms */
	uint32_t offers; /* as told last */
	uint64_t hosts, max_size;
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
	HASH_ADD_KEYPTR(hh, c->table, f->key, key.len, f);
	DL_APPEND(c->list, f);
	m_known.value = HASH_COUNT(c->table);
	return f;
}

/* The place of a host: its own, a new one, or that of the one seen longest ago. */
static struct seen *place(struct fact *f, uint64_t host)
{
	struct seen *oldest = f->seen;
	unsigned i;

	for (i = 0; i < f->nseen; i++) {
		if (f->seen[i].host == host)
			return &f->seen[i];
		if (f->seen[i].when < oldest->when)
			oldest = &f->seen[i];
	}
	return f->nseen < NHOSTS ? &f->seen[f->nseen++] : oldest;
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
	f->hosts = m->hosts;
	*place(f, m->host) = (struct seen){.when = now, .host = m->host, .offers = f->offers};
}

bool smar_caps_lacks(struct smar_caps *c, struct meta1_buf key, uint32_t offer, int64_t now)
{
	struct fact *f = find(c, key, now);
	uint64_t without = 0;

	for (unsigned i = 0; f && i < f->nseen; i++) {
		if (now - f->seen[i].when >= KEEP_MS)
			continue;
		if ((f->seen[i].offers & offer) == offer)
			return false;
		without++;
	}
	return without > 0 && without >= f->hosts;
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
