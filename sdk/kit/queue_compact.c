/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue_compact.c -- the space of what is done comes back though a few messages stay.
 *
 * Many are stored, all but one in forty are done; then the store has time. What stays must be
 * there to the byte, under its id, with its states, after a restart and from an image taken in the
 * middle; and the folder must have become small: at most twice what lives, and what any store of
 * this configuration may hold open. A file per message passes without doing anything. Comes from:
 * queue.c. Goes to: queue_store.c. On failure: a line "not ok".
 */
#include "queue.h"

#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#define N     800
#define EVERY 40
#define LEN   6000
#define OPEN  (16u << 17) /* segments in use, spares, journal, history, of 128 KiB each */

static bool stays(unsigned i)
{
	return i % EVERY == 7;
}

/* One of them is large: a store may keep it in a file of its own. */
static size_t size_of(unsigned i)
{
	return i == 87 ? 400000 : LEN;
}

static void reclaim(struct q *q, unsigned *freed)
{
	for (; *freed < q->space && *freed < Q_MAX; ++*freed)
		if (q->unit[*freed].writer == q->ops->writer(kit_data(q->w)))
			q->ops->reclaim(kit_data(q->w), q->unit[*freed].unit);
}

static bool fill(struct q *q)
{
	bool ok = true;

	for (unsigned i = 0; ok && i < N; i++) {
		struct q_note n = {.len = 0};
		enum meta1_status st;

		ok = q_store(q, i, size_of(i), &n, &st) && st == META1_OK;
		q_notice(q, i, size_of(i), &n);
	}
	return ok && q_until(q, N);
}

static bool finish(struct q *q)
{
	bool ok = true;

	for (unsigned i = 0; ok && i < N; i++)
		for (unsigned r = 0; ok && r < (i % 3 ? 1 : 3); r++)
			ok = stays(i) ? r > 0 || q_outcome(q, i, 0, META1_R_WAITING)
				      : q_outcome(q, i, r, META1_R_DELIVERED);
	return ok;
}

/* Exactly those that stay, whole. */
static bool all_there(struct q *q, bool told)
{
	unsigned n = 0;

	for (unsigned i = 0; i < N; i++) {
		const struct q_entry *e = q_find(q, i);

		if (!stays(i)) {
			if (told && e)
				return false;
			continue;
		}
		n++;
		if (!e || !q_same_envelope(e, i) || q_check(q, e, i, size_of(i)) != META1_OK)
			return false;
		if (told && (e->tries[0] != 2 || e->next_try[0] != 777 || e->state[0]))
			return false;
	}
	return !told || q->n == n;
}

static void reopened(struct kit *k, struct q *q, const char *dir, const char *how)
{
	bool ok = q_open(q, k, dir, "wmr") == 0 && q_manage(q);

	q_tail(q);
	kit_ok(k, ok && all_there(q, true) && q->twice == 0 && q->damage == 0,
	    "%s: what stayed is there, once and whole: %u", how, q->n);
}

void kit_queue_compact(struct kit *k)
{
	static struct q q;
	char dir[128], image[128];
	unsigned freed = 0, last = 0;
	uint64_t live = N / EVERY * (LEN + 4096) + 400000, was, is;
	time_t end;
	bool ok;

	snprintf(dir, sizeof(dir), "%.60s/compact", k->dir);
	snprintf(image, sizeof(image), "%.60s/compact.image", k->dir);
	mkdir(dir, 0750);
	ok = q_open(&q, k, dir, "wmr") == 0 && q_manage(&q);
	if (ok)
		q.ops->attach(kit_data(q.m), q.ops->writer(kit_data(q.w)));
	ok = ok && fill(&q) && finish(&q);
	was = q_usage(dir);
	end = time(NULL) + k->patience;
	while (ok && q_usage(dir) > 2 * live + OPEN && time(NULL) < end) {
		q_turn(&q);
		reclaim(&q, &freed);
		if (q.moved > 3 && !last) {
			last = q.moved;
			ok = q_copy(dir, image);
		}
	}
	is = q_usage(dir);
	kit_ok(k, ok && is <= 2 * live + OPEN,
	    "sparse: %llu of %llu bytes after 97 %% was done (%u messages moved)",
	    (unsigned long long)is, (unsigned long long)was, q.moved);
	kit_ok(k, ok && q.strange == 0 && q.damage == 0 && all_there(&q, false),
	    "what was moved is read where it is now");
	q_close(&q);
	if (last) {
		reopened(k, &q, image, "killed while moving");
		q_close(&q);
	}
	for (unsigned i = 0; i < 2; i++) {
		reopened(k, &q, dir, i ? "moved, reopened again" : "moved, reopened");
		if (i)
			for (unsigned m = 0; m < N; m++)
				for (unsigned r = 0; stays(m) && r < (m % 3 ? 1 : 3); r++)
					ok = q_outcome(&q, m, r, META1_R_DELIVERED) && ok;
		q_close(&q);
	}
	ok = ok && q_open(&q, k, dir, "wmr") == 0 && q_manage(&q) && q.n == 0;
	kit_ok(k, ok, "what was moved is done: %u left", q.n);
	q_close(&q);
}
