/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tally.c -- the table of failed logins and of what accounts send, that all smtps share.
 * Comes from smtps/auth_limit.c, and mcp, which makes it. The memory: a page with the head, then a
 * part a process, in it a table a kind, of sets of WAYS rows. A key is in the same set of every
 * part; only the owner of a part writes it, others read, so each field is atomic and nothing is
 * locked. Who counts adds first and sums up then, so that of two processes one sees both.
 *
 * A full set loses the row that is missed least: one whose time is over, then one that is nobody's
 * with the lowest count. So names that are made up, each tried once, push out each other, and
 * neither accounts that somebody has logged in to nor those that are being guessed.
 * Owns the mapping (parts.c). On failure: what has no place is not counted.
 */
#include "lib/tally.h"

#include "lib/parts.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdatomic.h>
#include <stdlib.h>

#define MAGIC UINT64_C(0x6d317461)
#define WAYS  8u
#define SETS  (TALLY_ROWS / WAYS)
#define PART  ((size_t)TALLY_KINDS * TALLY_ROWS * sizeof(struct row))

struct row {
	_Atomic uint64_t hi, lo;
	_Atomic int64_t start, end; /* ms; end 0: nothing is counted */
	_Atomic int64_t owned;	    /* until then it is somebody's; 0: nobody's */
	_Atomic uint32_t now[2], before[2];
	_Atomic uint32_t told, used; /* used 0: the row is free */
};
_Static_assert(sizeof(struct row) == 64, "a cache line");

struct tally {
	struct parts mem;
};

/* ---- the memory ---- */

int tally_make(unsigned processes)
{
	return parts_make("meta1-tally", MAGIC, PART, processes);
}

void tally_more(int fd, unsigned processes)
{
	parts_more(fd, processes);
}

struct tally *tally_open(int fd, unsigned index, struct meta1_err *err)
{
	struct tally *t = base_alloc(sizeof(*t));

	if (parts_open(&t->mem, fd, MAGIC, PART, index, "the table of logins", err) < 0)
		tally_close(&t);
	return t;
}

void tally_close(struct tally **tp)
{
	struct tally *t = *tp;

	*tp = NULL;
	if (t == NULL)
		return;
	parts_close(&t->mem);
	free(t);
}

void tally_key(const struct tally *t, const char *name, struct tally_key *k)
{
	unsigned char md[EVP_MAX_MD_SIZE] = {0};
	unsigned n = 0;

	HMAC(EVP_sha256(), t->mem.head->secret, sizeof(t->mem.head->secret),
	    (const unsigned char *)name, strlen(name), md, &n);
	memcpy(&k->hi, md, sizeof(k->hi));
	memcpy(&k->lo, md + sizeof(k->hi), sizeof(k->lo));
}

/* ---- rows ---- */

static struct row *set_in(
    const struct tally *t, unsigned part, enum tally_kind kind, const struct tally_key *k)
{
	return (struct row *)parts_of(&t->mem, part) + (size_t)kind * TALLY_ROWS +
	       (k->hi % SETS) * WAYS;
}

static struct row *find(
    const struct tally *t, unsigned part, enum tally_kind kind, const struct tally_key *k)
{
	struct row *set = set_in(t, part, kind, k);

	for (unsigned i = 0; i < WAYS; i++)
		if (atomic_load(&set[i].used) && atomic_load(&set[i].hi) == k->hi &&
		    atomic_load(&set[i].lo) == k->lo)
			return &set[i];
	return NULL;
}

#define OWNED	(UINT64_C(1) << 62)
#define SECONDS ((1 << 22) - 1) /* that still count */

/* How much a row is missed: whose it is, what it counts, how long it still does. 0: not at all. */
static uint64_t worth(struct row *r, int64_t at)
{
	int64_t end = atomic_load(&r->end), owned = atomic_load(&r->owned);
	int64_t left = ((end > owned ? end : owned) - at) / 1000;
	uint64_t n = 0;

	if (!atomic_load(&r->used) || (end <= at && owned <= at))
		return 0;
	if (end > at)
		n = 1 + (uint64_t)atomic_load(&r->now[0]) + atomic_load(&r->now[1]) +
		    atomic_load(&r->before[0]) + atomic_load(&r->before[1]);
	return (owned > at ? OWNED : 0) | n << 22 | (uint64_t)(left < SECONDS ? left : SECONDS);
}

/* The row of the key in our part, a new one when there is none; NULL: all others are worth more
 * than a new one. */
static struct row *take(
    struct tally *t, enum tally_kind kind, const struct tally_key *k, int64_t at, bool owned)
{
	struct row *set = set_in(t, t->mem.index, kind, k), *r = find(t, t->mem.index, kind, k);
	uint64_t least = owned ? UINT64_MAX : OWNED;

	if (r != NULL)
		return r;
	for (unsigned i = 0; i < WAYS; i++) {
		uint64_t w = worth(&set[i], at);

		if (w < least) {
			least = w;
			r = &set[i];
		}
	}
	if (r == NULL)
		return NULL;
	/* Whoever reads meanwhile, or is killed here, has a row that is free. */
	atomic_store(&r->used, 0);
	atomic_store(&r->end, 0);
	atomic_store(&r->owned, 0);
	atomic_store(&r->told, 0);
	for (unsigned i = 0; i < 2; i++) {
		atomic_store(&r->now[i], 0);
		atomic_store(&r->before[i], 0);
	}
	atomic_store(&r->start, at);
	atomic_store(&r->hi, k->hi);
	atomic_store(&r->lo, k->lo);
	atomic_store(&r->used, 1);
	return r;
}

static void one_more(_Atomic uint32_t *n)
{
	if (atomic_load(n) < UINT32_MAX)
		atomic_fetch_add(n, 1);
}

/* ---- failures ---- */

uint64_t tally_sum(struct tally *t, enum tally_kind kind, const struct tally_key *k, int64_t at)
{
	uint64_t n = 0;

	for (unsigned i = 0, parts = parts_count(&t->mem); i < parts; i++) {
		struct row *r = find(t, i, kind, k);

		if (r != NULL && atomic_load(&r->end) > at)
			n += atomic_load(&r->now[0]);
	}
	return n;
}

static int64_t owned_until(struct tally *t, enum tally_kind kind, const struct tally_key *k)
{
	int64_t until = 0;

	for (unsigned i = 0, parts = parts_count(&t->mem); i < parts; i++) {
		struct row *r = find(t, i, kind, k);
		int64_t owned = r != NULL ? atomic_load(&r->owned) : 0;

		until = owned > until ? owned : until;
	}
	return until;
}

bool tally_owned(struct tally *t, enum tally_kind kind, const struct tally_key *k, int64_t at)
{
	return owned_until(t, kind, k) > at;
}

void tally_own(
    struct tally *t, enum tally_kind kind, const struct tally_key *k, int64_t at, int64_t ms)
{
	struct row *r = take(t, kind, k, at, true);

	if (r != NULL)
		atomic_store(&r->owned, at + ms);
}

uint64_t tally_add(
    struct tally *t, enum tally_kind kind, const struct tally_key *k, int64_t at, int64_t ms)
{
	int64_t owned = owned_until(t, kind, k);
	struct row *r = take(t, kind, k, at, owned > at);

	if (r == NULL)
		return tally_sum(t, kind, k, at);
	atomic_store(&r->owned, owned); /* by whichever process it is known */
	if (atomic_load(&r->end) <= at) {
		atomic_store(&r->now[0], 0);
		atomic_store(&r->start, at);
		atomic_store(&r->end, at + ms);
	}
	one_more(&r->now[0]);
	return tally_sum(t, kind, k, at);
}

/* ---- what is sent ---- */

/* The window of the row that holds at. */
static void turn(struct row *r, int64_t at, int64_t ms)
{
	int64_t past = at - atomic_load(&r->start);

	if (past >= ms) {
		for (unsigned i = 0; i < 2; i++) {
			atomic_store(&r->before[i], past < 2 * ms ? atomic_load(&r->now[i]) : 0);
			atomic_store(&r->now[i], 0);
		}
		atomic_fetch_add(&r->start, past / ms * ms);
		atomic_store(&r->told, 0);
	}
	atomic_store(&r->end, atomic_load(&r->start) + 2 * ms);
}

static double slide(struct row *r, const struct tally_take *what, int64_t at)
{
	int64_t past = at - atomic_load(&r->start), ms = what->ms;
	double now = atomic_load(&r->now[what->what]);

	if (past < ms)
		return now + (double)atomic_load(&r->before[what->what]) * (double)(ms - past) /
				 (double)ms;
	return past < 2 * ms ? now * (double)(2 * ms - past) / (double)ms : 0;
}

bool tally_take(struct tally *t, const struct tally_key *k, const struct tally_take *what,
    int64_t at, uint64_t *n, bool *first)
{
	unsigned parts = parts_count(&t->mem);
	struct row *own = take(t, TALLY_SENT, k, at, true);
	double sum = 0;

	*first = false;
	turn(own, at, what->ms);
	one_more(&own->now[what->what]);
	for (unsigned i = 0; i < parts; i++) {
		struct row *r = find(t, i, TALLY_SENT, k);

		sum += r != NULL ? slide(r, what, at) : 0;
	}
	*n = sum > 1 ? (uint64_t)(sum - 1) : 0;
	if (what->max <= 0 || sum - 1 < (double)what->max)
		return true;
	atomic_fetch_sub(&own->now[what->what], 1);
	*first = !atomic_load(&own->told);
	atomic_store(&own->told, 1);
	return false;
}
