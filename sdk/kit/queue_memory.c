/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue_memory.c -- what a store does when memory lacks while it starts, is asked for envelopes and
 * contents, told of outcomes, or checked: each call of the host and of malloc() and its like fails
 * in turn.
 *
 * A start tells all that waits, or does not come to an end well, and the next one tells it; a
 * message that it cannot tell is at least named. A check accounts for all, or says that it cannot:
 * it calls nothing lost that it could not look at. Nothing that was acknowledged is lost by lack of
 * memory. Comes from: modtest.c. Goes to: queue_store.c. On failure: a line "not ok".
 */
#include "queue.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define N     12
#define DONE  5 /* its one recipient has it */
#define HALF  6 /* the first of three has it */
#define TRIES 60

/* What is seen: entries, each once and whole. */
static bool whole(struct q *q)
{
	unsigned there = 0;

	for (unsigned i = 1; i <= N; i++) {
		const struct q_entry *e = q_find(q, i);

		there += e && q_same_envelope(e, i) &&
			 e->state[0] == (i == HALF ? META1_R_DELIVERED : META1_R_WAITING);
	}
	return there == N - 1 && q->n == N - 1 && !q_find(q, DONE) && !q->twice;
}

static bool fill(struct kit *k, const char *dir)
{
	static struct q q;
	bool ok = q_open(&q, k, dir, "wmr") == 0 && q_manage(&q);

	for (unsigned i = 1; ok && i <= N; i++) {
		struct q_note n = {.len = 0};
		enum meta1_status st;

		ok = q_store(&q, i, i == 7 ? 300000 : 2000, &n, &st) && st == META1_OK;
		q_notice(&q, i, 2000, &n);
	}
	ok = ok && q_until(&q, N) && q_outcome(&q, DONE, 0, META1_R_DELIVERED) &&
	     q_outcome(&q, HALF, 0, META1_R_DELIVERED);
	q_close(&q);
	return ok;
}

/* One try in which the n'th call fails. How many there were; 0: what came of it is wrong. */
typedef unsigned (*try_fn)(struct kit *, struct q *, const char *dir, unsigned n);

static unsigned refused; /* tries that did not come to a good end */

/* Each with META1_FULL=1, else some of the many. false: one is wrong. */
static bool in_turn(
    struct kit *k, struct q *q, const char *dir, try_fn try, unsigned *calls, unsigned *tried)
{
	const char *full = getenv("META1_FULL");
	unsigned step;

	*tried = refused = 0;
	*calls = try(k, q, dir, UINT_MAX);
	step = full && *full == '1' ? 1 : *calls / TRIES + 1;
	for (unsigned n = 1; n < *calls; n += step) {
		++*tried;
		if (!try(k, q, dir, n)) {
			kit_note(k, "call %u", n);
			return false;
		}
	}
	return *calls > 0;
}

static unsigned start(struct kit *k, struct q *q, const char *dir, unsigned n)
{
	bool ok, good = q_open(q, k, dir, "mr") == 0;
	unsigned calls = 0;

	if (good) {
		kit_host_fail(&k->host, n);
		ok = q_manage(q);
		calls = k->host.fallible + 1;
		kit_host_fail(&k->host, 0);
		for (unsigned i = 0; ok && i < 5; i++)
			q_turn(q);
		good = !ok || (whole(q) && !q->damage) ||
		       (q->damage > 0 && q->n + q->damage >= N - 1 && !q->twice);
		refused += !ok;
	}
	if (!good)
		kit_note(k, "%u told, %u damaged", q->n, q->damage);
	q_close(q);
	return good ? calls : 0;
}

static void starts(struct kit *k, const char *dir)
{
	static struct q q;
	unsigned calls, tried, failed;
	bool right = in_turn(k, &q, dir, start, &calls, &tried);

	failed = refused;
	right = right && start(k, &q, dir, UINT_MAX) && refused == failed;
	kit_ok(k, right,
	    "a start tells all, or fails, when each of %u of %u calls fails in turn (%u fail)",
	    tried, calls, failed);
}

/* ---- what nobody has told ---- */

/* smtps has acknowledged them, and qmgr was not there. */
static bool unheard(struct kit *k, const char *dir)
{
	static struct q q;
	bool ok = q_open(&q, k, dir, "w") == 0;

	for (unsigned i = 1; ok && i <= N; i++) {
		enum meta1_status st;

		ok = q_store(&q, i, i == 7 ? 300000 : 2000, NULL, &st) && st == META1_OK;
	}
	q_close(&q);
	return ok;
}

/* From a copy, for what is found is noted. */
static unsigned hear(struct kit *k, struct q *q, const char *dir, unsigned n)
{
	unsigned calls = 0, there = 0;
	char copy[128];
	bool ok = false;

	snprintf(copy, sizeof(copy), "%.100s.copy", dir);
	if (q_copy(dir, copy) && q_open(q, k, copy, "m") == 0) {
		kit_host_fail(&k->host, n);
		ok = q_manage(q);
		calls = k->host.fallible + 1;
		kit_host_fail(&k->host, 0);
	}
	refused += !ok;
	for (unsigned life = 0; life < 2 && (!ok || life == 0); life++) {
		for (unsigned i = there = 0; i < N; i++) {
			const struct q_entry *e = q_find(q, i + 1);

			there += e && q_same_envelope(e, i + 1);
		}
		if (ok || life > 0)
			break;
		q_close(q);
		if (q_open(q, k, copy, "m") < 0 || !q_manage(q))
			break;
	}
	ok = there == N && q->n == N && !q->twice && !q->damage;
	if (!ok)
		kit_note(k, "%u of %d told, %u damaged", there, N, q->damage);
	q_close(q);
	q_remove(copy);
	return ok ? calls : 0;
}

static void hears(struct kit *k, const char *memory)
{
	static struct q q;
	unsigned calls = 0, tried = 0;
	char dir[128];
	bool right;

	snprintf(dir, sizeof(dir), "%.100s.unheard", memory);
	mkdir(dir, 0750);
	right = unheard(k, dir) && in_turn(k, &q, dir, hear, &calls, &tried);
	kit_ok(k, right,
	    "what nobody was told of is told when each of %u of %u calls fails in turn (%u fail)",
	    tried, calls, refused);
}

/* ---- a check ---- */

static struct q_account whole_account;

static bool same_account(const struct q_account *a)
{
	return a->found == whole_account.found && a->fates == whole_account.fates &&
	       a->waiting == whole_account.waiting;
}

/* As for an export, which tells the most. The first makes the measure. */
static unsigned account(struct kit *k, struct q *q, const char *dir, unsigned n)
{
	struct q_account a;
	unsigned calls;
	bool ok;

	(void)q;
	kit_host_fail(&k->host, n);
	ok = q_account(k, dir, true, &a);
	calls = k->host.fallible + 1;
	kit_host_fail(&k->host, 0);
	refused += !ok;
	if (n == UINT_MAX)
		whole_account = a;
	if (ok ? same_account(&a) : !a.found)
		return calls;
	kit_note(k, "%s: found %u (%s), %u of %u fates, %u of %u messages",
	    ok ? "all is said" : "it gives up", a.found, a.text, a.fates, whole_account.fates,
	    a.waiting, whole_account.waiting);
	return 0;
}

static void accounts(struct kit *k, const char *dir)
{
	unsigned calls = 0, tried = 0;
	bool right = in_turn(k, NULL, dir, account, &calls, &tried) && whole_account.fates >= N &&
		     !whole_account.found && whole_account.waiting == N - 1;

	kit_ok(k, right,
	    "check(): all, or that it cannot, when each of %u of %u calls fails in turn (%u times "
	    "no)",
	    tried, calls, refused);
}

/* ---- while it runs ---- */

static bool loads(struct q *q)
{
	enum meta1_status st = q_check(q, q_find(q, 3), 3, 2000);

	return st == META1_OK || st == META1_TEMPFAIL;
}

static bool fetches(struct q *q)
{
	static struct q_entry got[Q_MAX];
	uint64_t key[N];

	q->got = got;
	for (unsigned i = 0; i < N - 1; i++)
		key[i] = q->e[i].key;
	q_fetch(q, key, N - 1);
	q->got = NULL;
	for (unsigned i = 0; i < q->ngot; i++)
		if (got[i].nrcpt != 1 && got[i].nrcpt != 3)
			return false;
	return q->nlost == 0 && q->nnone == 0;
}

/* Said or not: it waits still. */
static bool outcomes(struct q *q)
{
	q_outcome(q, HALF, 1, META1_R_WAITING);
	return true;
}

static unsigned asked(struct kit *k, struct q *q, bool (*ask)(struct q *), unsigned n)
{
	unsigned calls;
	bool right;

	kit_host_fail(&k->host, n);
	right = ask(q) && q->damage == 0;
	calls = k->host.fallible + 1;
	kit_host_fail(&k->host, 0);
	return right ? calls : 0;
}

static unsigned load(struct kit *k, struct q *q, const char *dir, unsigned n)
{
	(void)dir;
	return asked(k, q, loads, n);
}

static unsigned fetch(struct kit *k, struct q *q, const char *dir, unsigned n)
{
	(void)dir;
	return asked(k, q, fetches, n);
}

static unsigned outcome(struct kit *k, struct q *q, const char *dir, unsigned n)
{
	(void)dir;
	return asked(k, q, outcomes, n);
}

static void running(struct kit *k, const char *dir)
{
	static const struct {
		const char *what;
		try_fn try;
	} tries[] = {{"contents", load}, {"envelopes", fetch}, {"outcomes", outcome}};
	static struct q q;
	bool right = q_open(&q, k, dir, "mr") == 0 && q_manage(&q) && whole(&q);
	unsigned calls = 0, tried = 0;

	for (unsigned i = 0; i < ARRAY_LEN(tries); i++) {
		bool good = right && in_turn(k, &q, dir, tries[i].try, &calls, &tried);

		kit_ok(k, good,
		    "%s: right, or a temporary failure, when each of %u of %u calls fails in turn",
		    tries[i].what, tried, calls);
	}
	right = right && loads(&q) && fetches(&q) && q.ngot == N - 1;
	q_close(&q);
	right = right && start(k, &q, dir, UINT_MAX);
	kit_ok(k, right, "and afterwards all is as before");
}

void kit_queue_memory(struct kit *k)
{
	char dir[128];

	snprintf(dir, sizeof(dir), "%.60s/memory", k->dir);
	mkdir(dir, 0750);
	if (!kit_ok(k, fill(k, dir), "a queue to start with"))
		return;
	starts(k, dir);
	accounts(k, dir);
	hears(k, dir);
	running(k, dir);
}
