/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue.c -- the suite of queue stores: what a life without accidents must keep.
 *
 * Round trips, notices that are lost or come twice, outcomes over a restart, numbers that
 * never repeat, space that comes back. Accidents are in queue_crash.c.
 * Comes from: the kit's main. Goes to: queue_store.c. On failure: a line "not ok".
 */
#include "queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const size_t sizes[] = {0, 2, 1000, 4096, 70000, 262144, 262146, 3000000};
#define CALLS_MAX 200
#define NSIZES	  (sizeof(sizes) / sizeof(sizes[0]))

/* Each in a folder of its own below the kit's. */
static const char *fresh(struct kit *k, const char *name)
{
	static char dir[128];

	snprintf(dir, sizeof(dir), "%.60s/%s", k->dir, name);
	mkdir(dir, 0750);
	return dir;
}

static void round_trips(struct kit *k, struct q *q)
{
	struct kit_inst *reader = q->r;
	bool ok = true, all = true;

	for (unsigned i = 0; i < NSIZES; i++) {
		struct q_note n = {.len = 0};
		enum meta1_status st;

		ok = q_store(q, i, sizes[i], &n, &st) && st == META1_OK && ok;
		q_notice(q, i, sizes[i], &n);
	}
	kit_ok(k, ok, "begin, write, commit: %zu sizes", NSIZES);
	q_until(q, NSIZES);
	kit_ok(k, q->n == NSIZES && q->twice == 0, "an entry for each notice: %u", q->n);
	for (unsigned i = 0; i < NSIZES; i++) {
		const struct q_entry *e = q_find(q, i);

		all = all && e && e->bytes_stored == sizes[i] &&
		      q_check(q, e, i, sizes[i]) == META1_OK && q_same_envelope(e, i);
	}
	kit_ok(k, all, "contents come back byte for byte");
	q->r = q->m; /* its report quotes the message */
	for (unsigned i = 0; i < NSIZES; i++)
		all = all && q_check(q, q_find(q, i), i, sizes[i]) == META1_OK;
	q->r = reader;
	kit_ok(k, all, "qmgr reads them too");
	for (unsigned i = 1; i < q->n; i++)
		ok = ok && strcmp(q->e[i - 1].id, q->e[i].id) < 0;
	kit_ok(k, ok, "entries come in the order of the commits");
}

static void lost_notices(struct kit *k, struct q *q)
{
	struct q_note n[10] = {{.len = 0}};
	unsigned had = q->n;
	bool ok = true;

	for (unsigned i = 0; i < 10; i++) {
		enum meta1_status st;

		ok = q_store(q, 100 + i, 500, &n[i], &st) && st == META1_OK && ok;
	}
	q_notice(q, 100, 500, &n[0]);
	q_notice(q, 100, 500, &n[0]);
	q_notice(q, 105, 500, &n[5]); /* 101 to 104 are missing */
	q_notice(q, 104, 500, &n[4]);
	q_until(q, had + 6);
	kit_ok(k, ok && q->n >= had + 6 && q_find(q, 103), "a gap is read from the store");
	q_tail(q);
	q_until(q, had + 10);
	kit_ok(k, q->n == had + 10 && q_find(q, 109), "a tail alone brings what was never told");
	for (unsigned i = 0; i < 10; i++)
		q_notice(q, 100 + i, 500, &n[i]);
	q_tail(q);
	for (unsigned i = 0; i < 20; i++)
		q_turn(q);
	kit_ok(k, q->n == had + 10 && q->twice == 0, "nothing is told twice");
	for (unsigned i = 0; i < 10; i++)
		ok = ok && q_find(q, 100 + i) && q_same_envelope(q_find(q, 100 + i), 100 + i) &&
		     q_check(q, q_find(q, 100 + i), 100 + i, 500) == META1_OK;
	kit_ok(k, ok, "what was read from the store is whole");
}

static void together(struct kit *k, struct q *q)
{
	enum { N = 300 };
	static struct kit_answer a[N];
	static struct meta1_qmsg *msg[N];
	unsigned had = q->n;
	uint8_t b[700];
	bool ok = true;

	memset(a, 0, sizeof(a));
	for (unsigned i = 0; i < N; i++) {
		msg[i] = q_begin(q, 1000 + i);
		q_fill(1000 + i, b, sizeof(b));
		ok = ok && msg[i] && q->ops->write(msg[i], b, sizeof(b)) == META1_OK;
		if (i % 10 == 9 && msg[i])
			q->ops->abort(&msg[i]);
	}
	for (unsigned i = 0; i < N; i++)
		if (msg[i])
			q_commit(q, &msg[i], 1000 + i, sizeof(b), &a[i]);
	for (unsigned i = 0; i < N; i++) {
		struct q_note n;

		if (i % 10 == 9)
			continue;
		ok = ok && q_wait(q, &a[i]) && a[i].st == META1_OK && q_note(&a[i], &n);
		if (ok)
			q_notice(q, 1000 + i, sizeof(b), &n);
	}
	for (unsigned i = 0; i < N; i++)
		kit_answer_free(&a[i]);
	q_until(q, had + 270);
	kit_ok(k, ok && q->n == had + 270, "300 open at once, 30 aborted: %u told", q->n - had);
	kit_ok(k, !q_find(q, 1009) && q_find(q, 1298), "an aborted message is nowhere");
}

static void outcomes(struct kit *k, struct q *q)
{
	bool ok = q_outcome(q, 0, 0, META1_R_DELIVERED);

	ok = q_outcome(q, 0, 1, META1_R_WAITING) && ok;
	ok = q_outcome(q, 1, 0, META1_R_DELIVERED) && ok;
	for (unsigned i = 0; i < 300; i++)
		if (i % 10 != 9)
			for (unsigned r = 0; r < ((1000 + i) % 3 ? 1 : 3); r++)
				ok = q_outcome(q, 1000 + i, r, META1_R_DELIVERED) && ok;
	kit_ok(k, ok, "outcomes are recorded");
}

/* What the manager forgot is told again, as it stands now. */
static void fetches(struct kit *k, struct q *q)
{
	static struct q_entry got[Q_MAX];
	uint64_t key[META1_FETCH_MAX];
	const struct q_entry *zero = q_find(q, 0);
	unsigned n = 0, had = q->n, good = 0;
	bool ok, all;

	if (!META1_HAS(q->ops, fetch) || !q->ops->fetch || !zero) {
		kit_ok(k, false, "fetch() is there");
		return;
	}
	q->got = got;
	for (unsigned i = q->n; i-- > 0 && n < META1_FETCH_MAX - 2;)
		key[n++] = q->e[i].key;
	all = n == q->n;
	key[n++] = zero->key;
	key[n++] = UINT64_MAX;
	ok = q_fetch(q, key, n) && q->nlost == 0 && q->n == had;
	for (unsigned i = 0; i < q->ngot; i++)
		for (unsigned j = 0; j < q->n; j++)
			good += q->e[j].key == got[i].key && !strcmp(q->e[j].id, got[i].id) &&
				q->e[j].nrcpt == got[i].nrcpt &&
				q->e[j].ref.len == got[i].ref.len &&
				!memcmp(q->e[j].ref.b, got[i].ref.b, got[i].ref.len);
	/* of those that wait, one was asked for twice */
	ok = ok && (!all || q->ngot == NSIZES - 1 + 10 + 1);
	kit_ok(k, ok && good == q->ngot && q->nnone > 270,
	    "fetch: %u envelopes again, %u keys of none", q->ngot, q->nnone);
	ok = q_fetch(q, &zero->key, 1) && q->ngot == 1 && got[0].nrcpt == 3 &&
	     got[0].state[0] == META1_R_DELIVERED && got[0].state[1] == META1_R_WAITING &&
	     got[0].tries[1] == 2 && got[0].next_try[1] == 777 &&
	     !strcmp(got[0].reason[1], "451 later") && got[0].tries[2] == 0;
	kit_ok(k, ok, "fetch: with what outcomes said meanwhile");
	ok = q_check(q, &got[0], 0, sizes[0]) == META1_OK;
	kit_ok(k, ok && q_fetch(q, key, 0), "fetch: its reference opens the content");
	q->got = NULL;
}

static void after_restart(struct kit *k, struct q *q, const char *how)
{
	const struct q_entry *e;

	kit_ok(k, q_manage(q), "%s: manage finishes", how);
	e = q_find(q, 0);
	kit_ok(k,
	    e && e->state[0] == META1_R_DELIVERED && e->state[1] == META1_R_WAITING &&
		e->tries[1] == 2 && e->next_try[1] == 777 && !strcmp(e->reason[1], "451 later") &&
		e->state[2] == META1_R_WAITING,
	    "%s: states of recipients are as recorded", how);
	kit_ok(k, !q_find(q, 1) && !q_find(q, 1000) && q->twice == 0,
	    "%s: what is final is not told", how);
	kit_ok(k, q->n == NSIZES + 10 - 1, "%s: the rest is: %u", how, q->n);
	kit_ok(k,
	    q_find(q, 7) && q_check(q, q_find(q, 7), 7, sizes[7]) == META1_OK && q_find(q, 4) &&
		q_check(q, q_find(q, 4), 4, sizes[4]) == META1_OK,
	    "%s: contents too", how);
	kit_ok(k, q->damage == 0, "%s: no damage", how);
}

void kit_queue_numbers(struct kit *k)
{
	static struct q q;
	uint64_t last = 0;
	bool ok = true;
	const char *dir = fresh(k, "ids");

	for (unsigned life = 0; life < 4; life++) {
		if (q_open(&q, k, dir, "w") < 0) {
			kit_ok(k, false, "numbers: open");
			return;
		}
		for (unsigned i = 0; i < 70000; i++) {
			uint64_t id = q.ops->next_id(kit_data(q.w));

			for (unsigned t = 0; id == 0 && t < 2000; t++) {
				q_turn(&q);
				id = q.ops->next_id(kit_data(q.w));
			}
			ok = ok && id > last;
			last = id;
			if (i % 1000 == 0)
				q_turn(&q);
		}
		q_close(&q);
	}
	kit_ok(k, ok, "280,000 numbers in 4 lives never repeat");
}

/* Store, deliver, free, over and over: the folder must not grow for ever. */
void kit_queue_space(struct kit *k)
{
	static struct q q;
	unsigned freed = 0;
	const char *dir = fresh(k, "space");
	bool ok = true, open;

	open = q_open(&q, k, dir, "wmr") == 0 && q_manage(&q);
	q.ops->attach(kit_data(q.m), q.ops->writer(kit_data(q.w)));
	for (unsigned i = 0; open && ok && i < 60; i++) {
		struct q_note n = {.len = 0};
		enum meta1_status st;

		ok = q_store(&q, 3000 + i, 20000 + (i % 20 == 0) * 400000, &n, &st) &&
		     st == META1_OK && ok;
		q_notice(&q, 3000 + i, 20000, &n);
		q_until(&q, i + 1);
		for (unsigned r = 0; r < ((3000 + i) % 3 ? 1 : 3); r++)
			ok = q_outcome(&q, 3000 + i, r, META1_R_BOUNCED) && ok;
		for (; freed < q.space && freed < Q_MAX; freed++)
			q.ops->reclaim(kit_data(q.w), q.unit[freed].unit);
	}
	kit_ok(
	    k, open && ok && q.damage == 0, "60 messages stored and finished one after the other");
	kit_ok(k, open && q.space >= 3, "space came back: %u units", q.space);
	q_close(&q);
	if (open && q_open(&q, k, dir, "wmr") == 0)
		kit_ok(k, q_manage(&q) && q.n == 0 && q.damage == 0,
		    "afterwards nothing is queued: %u", q.n);
	q_close(&q);
}

/* Each call of the host fails in turn: OK is a promise, anything else is none. */
static void failing(struct kit *k, struct q *q)
{
	static bool taken[CALLS_MAX];
	unsigned had = q->n, n, good = 0;
	bool there_was = true, right = true;

	for (n = 1; n < CALLS_MAX && there_was; n++) {
		struct q_note note = {.len = 0};
		enum meta1_status st = META1_TEMPFAIL;

		kit_host_fail(&k->host, n);
		q_store(q, 20000 + n, 700, &note, &st);
		there_was = k->host.failed > 0;
		kit_host_fail(&k->host, 0);
		taken[n] = st == META1_OK && note.len;
		good += taken[n];
		right = right && (st == META1_OK || st == META1_TEMPFAIL);
		if (taken[n])
			q_notice(q, 20000 + n, 700, &note);
	}
	q_until(q, had + good);
	for (unsigned i = 1; i < n; i++) {
		const struct q_entry *e = q_find(q, 20000 + i);

		right = right && taken[i] == (e != NULL) &&
			(!e || q_check(q, e, 20000 + i, 700) == META1_OK);
		for (unsigned r = 0; e && r < e->nrcpt; r++)
			q_outcome(q, 20000 + i, r, META1_R_DELIVERED);
	}
	kit_ok(k, right && n < CALLS_MAX && q->n == had + good,
	    "stored or refused when each of %u calls fails in turn (%u stored)", n - 1, good);
}

/* Reads and writes do a half of what they are asked for. */
static void parts(struct kit *k, struct q *q)
{
	unsigned had = q->n;
	bool ok = true;

	k->host.parts = true;
	for (unsigned i = 0; i < NSIZES; i++) {
		struct q_note n = {.len = 0};
		enum meta1_status st;

		ok = q_store(q, 30000 + i, sizes[i], &n, &st) && st == META1_OK && ok;
		q_notice(q, 30000 + i, sizes[i], &n);
	}
	q_until(q, had + NSIZES);
	for (unsigned i = 0; i < NSIZES; i++) {
		const struct q_entry *e = q_find(q, 30000 + i);

		ok = ok && e && q_check(q, e, 30000 + i, sizes[i]) == META1_OK;
		for (unsigned r = 0; e && r < e->nrcpt; r++)
			ok = q_outcome(q, 30000 + i, r, META1_R_DELIVERED) && ok;
	}
	k->host.parts = false;
	kit_ok(k, ok && q->n == had + NSIZES, "stored and read when reads and writes do a half");
}

int kit_queue(struct kit *k)
{
	static struct q q;
	uint32_t role = k->host.role;
	const char *qdir = k->host.qdir;
	bool lasting;

	if (q_open(&q, k, fresh(k, "life"), "wmr") < 0 || !q_manage(&q)) {
		kit_ok(k, false, "the store opens in all of its roles");
		q_close(&q);
		return -1;
	}
	lasting = !(q.ops->props & META1_Q_PRIVATE);
	kit_ok(k, q.n == 0, "a new store is empty");
	q.ops->attach(kit_data(q.m), q.ops->writer(kit_data(q.w)));
	q_tail(&q);
	round_trips(k, &q);
	lost_notices(k, &q);
	together(k, &q);
	failing(k, &q);
	parts(k, &q);
	outcomes(k, &q);
	fetches(k, &q);
	q_close(&q);
	if (lasting) {
		static const char *const how[] = {"reopened", "reopened again"};

		for (unsigned i = 0; i < 2; i++)
			if (q_open(&q, k, fresh(k, "life"), "wmr") == 0) {
				after_restart(k, &q, how[i]);
				q_close(&q);
			}
	}
	k->host.role = role;
	k->host.qdir = qdir;
	return 0;
}

void kit_queue_lasting(struct kit *k, void (*part)(struct kit *))
{
	const struct meta1_queue_ops *ops = k->m->ops;
	uint32_t role = k->host.role;
	const char *qdir = k->host.qdir;

	if (!(ops->props & META1_Q_PRIVATE))
		part(k);
	k->host.role = role;
	k->host.qdir = qdir;
}
