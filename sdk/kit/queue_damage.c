/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue_damage.c -- envelopes that are damaged, or gone, when the manager asks for them again.
 *
 * The store is running and has told its messages; then the bytes of one envelope change on disk.
 * That one is named and cannot be told, all others can, and when the bytes are right again so can
 * it. Where a message has a file to itself, that file is taken away and brought back.
 * Comes from: queue.c. Goes to: queue_store.c, queue_files.c. On failure: a line "not ok".
 */
#include "queue.h"

#include <stdio.h>
#include <sys/stat.h>

#define N     9 /* messages, each with a sync of its own */
#define WHICH 6 /* three recipients */

static struct q_entry got[Q_MAX];

static bool fill(struct q *q)
{
	for (unsigned i = 0; i < N; i++) {
		struct q_note n = {.len = 0};
		enum meta1_status st;

		if (!q_store(q, i, 3000, &n, &st) || st != META1_OK)
			return false;
		q_notice(q, i, 3000, &n);
	}
	return q_until(q, N) && q_outcome(q, WHICH, 0, META1_R_DELIVERED);
}

static bool ask(struct q *q)
{
	uint64_t key[N];

	q->got = got;
	for (unsigned i = 0; i < N; i++)
		key[i] = q_find(q, i) ? q_find(q, i)->key : 0;
	return q_fetch(q, key, N);
}

static bool fetched(const struct q *q, unsigned i)
{
	char id[META1_ID_MAX];

	q_id(i, id);
	for (unsigned k = 0; k < q->ngot; k++)
		if (!strcmp(got[k].id, id))
			return q_same_envelope(&got[k], i);
	return false;
}

static unsigned others(const struct q *q)
{
	unsigned n = 0;

	for (unsigned i = 0; i < N; i++)
		n += i != WHICH && fetched(q, i);
	return n;
}

static void spoilt(struct kit *k, struct q *q, const char *path, off_t at)
{
	struct q_account a;
	unsigned had = q->damage;
	bool ok;

	ok = q_spoil(path, at) && ask(q) && q->nlost == 1 && !fetched(q, WHICH);
	kit_ok(k, ok && q->damage > had, "fetch: a damaged envelope is named, and not told");
	kit_ok(k, ok && others(q) == N - 1, "fetch: all others are told: %u", others(q));
	ok = q_account(k, q->dir, false, &a) && a.found > 0;
	kit_ok(k, ok, "check() names it: %s", a.text);
	ok =
	    q_spoil(path, at) && ask(q) && q->nlost == 0 && fetched(q, WHICH) && others(q) == N - 1;
	kit_ok(k, ok, "fetch: its bytes are right again, so it is told");
}

/* Only where nobody else stands in the file. */
static bool alone(const char *path)
{
	char id[META1_ID_MAX];

	for (unsigned i = 0; i < N; i++) {
		q_id(i, id);
		if (i != WHICH && q_stands(path, id) >= 0)
			return false;
	}
	return true;
}

static void taken_away(struct kit *k, struct q *q, const char *path)
{
	char away[560], dir[128];
	struct q_account a;
	const struct q_entry *e;
	unsigned had = q->damage;
	bool ok;

	snprintf(away, sizeof(away), "%s.away", path);
	snprintf(dir, sizeof(dir), "%s", q->dir);
	ok = !rename(path, away) && ask(q) && q->nnone == 1 && q->nlost == 0 && others(q) == N - 1;
	kit_ok(k, ok && q->damage == had + 1, "fetch: a file that was taken away is no mail");
	ok = q_account(k, dir, false, &a) && a.lost == 1;
	kit_ok(k, ok, "check() misses it: %s", a.text);
	q_close(q);
	for (unsigned life = 0; life < 2; life++) {
		ok = q_open(q, k, dir, "mr") == 0 && q_manage(q) && q->n == N - 1 &&
		     !q_find(q, WHICH);
		q_close(q);
	}
	ok = ok && !rename(away, path) && q_open(q, k, dir, "mr") == 0 && q_manage(q);
	e = ok ? q_find(q, WHICH) : NULL;
	kit_ok(k, e && q->n == N && e->state[0] == META1_R_DELIVERED && e->state[1] == 0,
	    "brought back, it is told, and who has it does not get it again");
}

void kit_queue_damage(struct kit *k)
{
	static struct q q;
	char dir[128], in[140], id[META1_ID_MAX], path[512];
	off_t at = -1;
	bool ok;

	snprintf(dir, sizeof(dir), "%.60s/damage", k->dir);
	snprintf(in, sizeof(in), "%s/in", dir);
	mkdir(dir, 0750);
	ok = q_open(&q, k, dir, "wmr") == 0 && q_manage(&q) && fill(&q);
	q_id(WHICH, id);
	if (ok)
		at = q_search(in, id, path);
	kit_ok(k, at >= 0, "an envelope is found on disk");
	if (at >= 0) {
		spoilt(k, &q, path, at);
		if (alone(path))
			taken_away(k, &q, path);
	}
	q_close(&q);
}
