/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * clients.c -- the table of clients that all smtps share.
 * Comes from smtps/client.c (a connection begins, ends), smtps/show.c (who is there) and mcp
 * (makes it, forgets the dead).
 * The memory: a page with the head, then a part a process, each of SETS sets of WAYS places. A
 * client's place is in the same set of every part; only the owner of a part writes it, others
 * read, so each field is atomic and nothing is locked. A reader that meets a place while it gets
 * another client counts wrong by that place, once. Adding goes before reading: of two
 * processes at least one sees both connections, so a limit is never passed.
 * Owns the mapping. On failure: a client for whom there is no place is not counted.
 */
#include "lib/clients.h"

#include "lib/parts.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAGIC	 UINT64_C(0x6d316374626c3032)
#define WAYS	 8u
#define SETS	 (CLIENTS_MAX / WAYS)
#define PART	 ((size_t)CLIENTS_MAX * sizeof(struct place))
#define MINUTE	 60000
#define MAPPED_4 UINT64_C(0xffff00000000) /* ::ffff:0:0 */

struct place {
	_Atomic uint64_t hi, lo;
	_Atomic uint32_t connections;
	_Atomic uint32_t minute;      /* of now */
	_Atomic uint16_t now, before; /* connections made in it, and in the one before */
	_Atomic uint32_t bits;
};
_Static_assert(sizeof(struct place) == 32, "two a cache line");

struct clients {
	struct parts mem;
	uint64_t secret; /* which set a client is in is not to be known outside */
};

int clients_make(unsigned processes)
{
	return parts_make("meta1-clients", MAGIC, PART, processes);
}

void clients_more(int fd, unsigned processes)
{
	parts_more(fd, processes);
}

void clients_forget(int fd, unsigned index)
{
	/* the file is sealed: beyond its end this does nothing */
	(void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
	    (off_t)(PARTS_HEAD + PART * index), (off_t)PART);
}

struct clients *clients_open(int fd, unsigned index, struct meta1_err *err)
{
	struct clients *c = base_alloc(sizeof(*c));

	if (parts_open(&c->mem, fd, MAGIC, PART, index, "the table of clients", err) < 0)
		clients_close(&c);
	else
		memcpy(&c->secret, c->mem.head->secret, sizeof(c->secret));
	return c;
}

void clients_close(struct clients **cp)
{
	struct clients *c = *cp;

	*cp = NULL;
	if (c == NULL)
		return;
	parts_close(&c->mem);
	free(c);
}

static uint64_t cut(uint64_t v, unsigned bits)
{
	return bits == 0 ? 0 : bits >= 64 ? v : v & ~(UINT64_MAX >> bits);
}

static uint64_t word(const uint8_t *p)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return v;
}

bool clients_key(const char *addr, unsigned ipv4_bits, unsigned ipv6_bits, struct clients_key *key)
{
	uint8_t bin[16];
	uint32_t v4;

	if (inet_pton(AF_INET, addr, &v4) == 1) {
		key->bits = 96 + ipv4_bits;
		key->hi = 0;
		key->lo = MAPPED_4 | (cut((uint64_t)ntohl(v4) << 32, ipv4_bits) >> 32);
		return true;
	}
	if (inet_pton(AF_INET6, addr, bin) != 1)
		return false;
	/* networks of different lengths are different clients */
	key->bits = ipv6_bits;
	key->hi = cut(word(bin), ipv6_bits);
	key->lo = cut(word(bin + 8), ipv6_bits > 64 ? ipv6_bits - 64 : 0);
	return true;
}

/* ---- places ---- */

static unsigned set_of(const struct clients *c, const struct clients_key *k)
{
	uint64_t v = c->secret;

	v = (v ^ k->hi) * UINT64_C(0x9e3779b97f4a7c15);
	v = ((v ^ v >> 29) ^ k->lo) * UINT64_C(0xbf58476d1ce4e5b9);
	return (unsigned)((v ^ v >> 32) * (c->secret | 1) >> 40) % SETS;
}

static struct place *set_in(const struct clients *c, unsigned part, unsigned set)
{
	return (struct place *)parts_of(&c->mem, part) + (size_t)set * WAYS;
}

static bool is(struct place *p, const struct clients_key *k)
{
	return atomic_load(&p->hi) == k->hi && atomic_load(&p->lo) == k->lo &&
	       atomic_load(&p->bits) == k->bits;
}

static uint32_t minute_of(int64_t now)
{
	return (uint32_t)(now / MINUTE) + 1; /* 0: never used */
}

static uint32_t rate_of(struct place *p, int64_t now)
{
	uint32_t minute = atomic_load(&p->minute), m = minute_of(now);
	uint32_t left = (uint32_t)(MINUTE - now % MINUTE);

	if (minute == m)
		return atomic_load(&p->now) + atomic_load(&p->before) * left / MINUTE;
	return minute + 1 == m ? atomic_load(&p->now) * left / MINUTE : 0;
}

static struct place *find(struct place *set, const struct clients_key *k)
{
	for (unsigned i = 0; i < WAYS; i++)
		if (atomic_load(&set[i].minute) != 0 && is(&set[i], k))
			return &set[i];
	return NULL;
}

/* The place that is missed least: with no connection, and the lowest rate. NULL: none. */
static struct place *worst(struct place *set, int64_t now)
{
	struct place *best = NULL;
	uint32_t low = UINT32_MAX;

	for (unsigned i = 0; i < WAYS; i++) {
		uint32_t rate = rate_of(&set[i], now);

		if (atomic_load(&set[i].connections) == 0 && rate < low) {
			low = rate;
			best = &set[i];
		}
	}
	return best;
}

static struct place *take(struct place *set, const struct clients_key *k, int64_t now)
{
	struct place *p = find(set, k);

	if (p != NULL)
		return p;
	p = worst(set, now);
	if (p == NULL)
		return NULL;
	atomic_store(&p->minute, 0);
	atomic_store(&p->now, 0);
	atomic_store(&p->before, 0);
	atomic_store(&p->hi, k->hi);
	atomic_store(&p->lo, k->lo);
	atomic_store(&p->bits, k->bits);
	return p;
}

static void turn_minute(struct place *p, int64_t now)
{
	uint32_t m = minute_of(now), old = atomic_load(&p->minute);

	if (old == m)
		return;
	atomic_store(&p->before, old + 1 == m ? atomic_load(&p->now) : 0);
	atomic_store(&p->now, 0);
	atomic_store(&p->minute, m);
}

static void count(struct place *p, int64_t now, struct clients_count *n)
{
	n->connections += atomic_load(&p->connections);
	n->rate += rate_of(p, now);
}

bool clients_add(
    struct clients *c, const struct clients_key *k, int64_t now, struct clients_count *out)
{
	unsigned set = set_of(c, k), n = parts_count(&c->mem);
	struct place *p = take(set_in(c, c->mem.index, set), k, now);

	*out = (struct clients_count){0};
	if (p == NULL)
		return false;
	turn_minute(p, now);
	if (atomic_load(&p->now) < UINT16_MAX)
		atomic_fetch_add(&p->now, 1);
	atomic_fetch_add(&p->connections, 1);
	for (unsigned i = 0; i < n; i++) {
		p = find(set_in(c, i, set), k);
		if (p != NULL)
			count(p, now, out);
	}
	return true;
}

void clients_drop(struct clients *c, const struct clients_key *k, int64_t now, bool undo)
{
	struct place *p = find(set_in(c, c->mem.index, set_of(c, k)), k);

	if (p == NULL || atomic_load(&p->connections) == 0)
		return;
	atomic_fetch_sub(&p->connections, 1);
	if (undo && atomic_load(&p->minute) == minute_of(now) && atomic_load(&p->now) > 0)
		atomic_fetch_sub(&p->now, 1);
}

/* ---- who is there ---- */

void clients_text(const struct clients_key *k, char out[CLIENTS_TEXT])
{
	bool v4 = k->hi == 0 && k->lo >> 32 == MAPPED_4 >> 32 && k->bits >= 96;
	unsigned bits = v4 ? k->bits - 96 : k->bits, whole = v4 ? 32 : 128;
	uint8_t bin[16];
	size_t n;

	for (unsigned i = 0; i < 16; i++)
		bin[i] = (uint8_t)((i < 8 ? k->hi : k->lo) >> (56 - 8 * (i % 8)));
	if (inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? bin + 12 : bin, out, CLIENTS_TEXT) == NULL)
		out[0] = '\0';
	n = strlen(out);
	if (bits < whole)
		snprintf(out + n, CLIENTS_TEXT - n, "/%u", bits);
}

static bool before(const struct clients_count *a, const struct clients_count *b)
{
	return a->connections != b->connections ? a->connections > b->connections
						: a->rate > b->rate;
}

/* Keeps the first max rows in order. */
static unsigned rank(
    struct clients_row *out, unsigned n, unsigned max, const struct clients_row *row)
{
	unsigned i = n < max ? n++ : max;

	for (; i > 0 && before(&row->n, &out[i - 1].n); i--)
		if (i < max)
			out[i] = out[i - 1];
	if (i < max)
		out[i] = *row;
	return n;
}

#define PAGE 4096u

struct look { /* pages that were written; what is a hole of the file, reading would fill */
	struct clients *c;
	unsigned parts;
	unsigned char *in;
	int64_t now;
};

static struct place *seen(const struct look *l, unsigned part, unsigned set)
{
	struct place *p = set_in(l->c, part, set);

	return l->in[(size_t)((uint8_t *)p - l->c->mem.map) / PAGE] & 1 ? p : NULL;
}

/* Sums up the client of this place; false: that was done in a part before. */
static bool sum(const struct look *l, unsigned part, unsigned set, struct clients_row *row)
{
	row->n = (struct clients_count){0};
	for (unsigned i = 0; i < l->parts; i++) {
		struct place *p = seen(l, i, set);

		p = p != NULL ? find(p, &row->key) : NULL;
		if (p == NULL)
			continue;
		if (i < part)
			return false;
		count(p, l->now, &row->n);
	}
	return row->n.connections > 0 || row->n.rate > 0;
}

unsigned clients_top(
    struct clients *c, int64_t now, struct clients_row *out, unsigned max, unsigned *total)
{
	struct look l = {.c = c, .parts = parts_count(&c->mem), .now = now};
	unsigned n = 0;

	l.in = base_alloc(c->mem.size / PAGE + 1);
	if (sysconf(_SC_PAGESIZE) != PAGE || mincore(c->mem.map, c->mem.size, l.in) < 0)
		memset(l.in, 1, c->mem.size / PAGE + 1);
	*total = 0;
	for (unsigned at = 0; at < l.parts * SETS * WAYS; at++) {
		unsigned part = at / (SETS * WAYS), set = at / WAYS % SETS;
		struct place *p = seen(&l, part, set);
		struct clients_row row;

		if (p == NULL || atomic_load(&p[at % WAYS].minute) == 0)
			continue;
		p += at % WAYS;
		row.key = (struct clients_key){
		    atomic_load(&p->hi), atomic_load(&p->lo), atomic_load(&p->bits)};
		if (!sum(&l, part, set, &row))
			continue;
		++*total;
		n = rank(out, n, max, &row);
	}
	free(l.in);
	return n;
}
