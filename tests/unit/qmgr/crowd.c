/* SPDX-License-Identifier: BSD-2-Clause */
/* crowd.c -- tries core/qmgr with more mail than there is room for: the active queue, mailings
 * beside single mails, dead destinations, memory. */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A dead destination: one of its mails probes after each pause, the others are not tried; at
 * the end of their time all of them come back. */
static void dead_destination(void **state)
{
	struct world *w = world_new(100);
	struct delivery *d;
	char id[16];
	unsigned tries = 0;
	int i;

	(void)state;
	world_smtpc_up(w, 50);
	for (i = 0; i < 20; i++) {
		snprintf(id, sizeof(id), "S%d", i);
		world_mail(w, id, "", "a@dead.example");
	}
	world_run(w);
	assert_int_equal(w->nd, 4);
	for (i = 0; i < 4; i++)
		world_end(w, &w->d[i], META1_TEMPFAIL, META1_ABOUT_HOST, 0, "refused");
	world_run(w);
	assert_int_equal(w->nd, 4);
	assert_int_equal(qmgr_active_count(&w->q), 0);
	world_pass(w, 58);
	assert_int_equal(w->nd, 4);
	for (i = 0; i < 600; i++) {
		world_pass(w, 1);
		while ((d = world_open(w, "dead.example"))) {
			world_end(w, d, META1_TEMPFAIL, META1_ABOUT_HOST, 0, "refused");
			world_run(w);
			tries++;
		}
	}
	assert_in_range(tries, 3, 4); /* after 1, 3, 7 minutes */
	w->now += 432000000LL;
	world_pass(w, 1);
	while ((d = world_open(w, "dead.example"))) {
		world_end(w, d, META1_TEMPFAIL, META1_ABOUT_HOST, 0, "refused");
		world_run(w);
	}
	for (i = 0; i < 20; i++) {
		snprintf(id, sizeof(id), "S%d", i);
		assert_int_equal(world_outcome(w, id, 0).state, META1_R_FAILED);
	}
	assert_int_equal(w->q.index.n, 0);
	world_free(&w);
}

/* A destination that stands still holds a quarter of the active queue; others go on. */
static void active_bound(void **state)
{
	struct world *w = world_new(40);
	struct delivery *d;
	char id[16];
	int i;

	(void)state;
	for (i = 0; i < 200; i++) {
		snprintf(id, sizeof(id), "S%d", i);
		world_mail(w, id, "me@example.org", "a@slow.example");
	}
	world_run(w);
	assert_in_range(qmgr_active_count(&w->q), 1, 40);
	world_smtpc_up(w, 8);
	world_mail(w, "T", "me@example.org", "a@quick.example");
	world_run(w);
	assert_in_range(qmgr_active_count(&w->q), 1, 40);
	assert_non_null(world_open(w, "quick.example"));
	while ((d = world_open(w, "slow.example"))) {
		world_end(w, d, META1_OK, META1_ABOUT_MAIL, 250, "ok");
		world_run(w);
	}
	assert_int_equal(w->q.index.n, 1);
	world_free(&w);
}

/* What waits for room at a destination that has its share, while its time in the queue ends, goes
 * on waiting, and is not looked at again and again. */
static void full_at_the_end(void **state)
{
	struct world *w = world_new(40);
	struct delivery *d;
	char id[16];
	int i;

	(void)state;
	for (i = 0; i < 30; i++) {
		snprintf(id, sizeof(id), "S%d", i);
		world_mail(w, id, "me@example.org", "a@slow.example");
	}
	world_run(w);
	assert_int_equal(qmgr_active_count(&w->q), 10);
	w->now += 432000000LL;
	alarm(60); /* it would be for ever */
	world_pass(w, 100);
	alarm(0);
	assert_int_equal(w->q.index.n, 30);
	assert_int_equal(qmgr_active_count(&w->q), 10);
	world_smtpc_up(w, 8);
	world_run(w);
	while ((d = world_open(w, "slow.example"))) {
		world_end(w, d, META1_OK, META1_ABOUT_MAIL, 250, "ok");
		world_run(w);
	}
	assert_int_equal(w->q.index.n, 0);
	world_free(&w);
}

/* With nobody to deliver, no more become active than may, and the others wait. */
static void active_many(void **state)
{
	struct world *w = world_new(40);
	char id[16], to[32];
	int i;

	(void)state;
	for (i = 0; i < 200; i++) {
		snprintf(id, sizeof(id), "S%d", i);
		snprintf(to, sizeof(to), "a@d%d.example", i);
		world_mail(w, id, "me@example.org", to);
	}
	world_run(w);
	assert_int_equal(qmgr_active_count(&w->q), 40);
	assert_int_equal(w->asked, 40);
	world_smtpc_up(w, 1000);
	world_run(w);
	assert_int_equal(w->nd, 40);
	for (i = 0; i < 200; i++) {
		world_end(w, &w->d[i], META1_OK, META1_ABOUT_MAIL, 250, "ok");
		world_run(w);
		assert_in_range(qmgr_active_count(&w->q), 0, 40);
	}
	assert_int_equal(w->q.index.n, 0);
	world_free(&w);
}

/* A big mailing under way at a slow destination leaves room for others. */
static void mailing_under_way(void **state)
{
	struct world *w = world_new(40);
	char *all = base_alloc(400 * 32);
	int i, at = 0;

	(void)state;
	for (i = 0; i < 400; i++)
		at += snprintf(all + at, 32, "r%d@slow.example ", i);
	world_smtpc_up(w, 8);
	world_mail(w, "S1", "list@example.org", all);
	world_run(w);
	assert_non_null(world_open(w, "slow.example"));
	world_mail(w, "S2", "me@example.org", "a@quick.example");
	world_run(w);
	assert_non_null(world_open(w, "quick.example"));
	assert_in_range(qmgr_active_count(&w->q), 11, 40);
	free(all);
	world_free(&w);
}

static void full_memory(void **state)
{
	struct world *w = world_new(40);

	(void)state;
	world_run(w);
	w->credits = 0;
	w->q.lim.memory = 100; /* less than a mail */
	world_mail(w, "S1", "me@example.org", "a@one.example");
	world_run(w);
	assert_true(w->q.withheld);
	assert_int_equal(w->credits, 0);
	world_smtpc_up(w, 1);
	world_run(w);
	w->q.lim.memory = WORLD_MEMORY;
	world_end(w, world_open(w, "one.example"), META1_OK, META1_ABOUT_MAIL, 250, "ok");
	world_run(w);
	assert_false(w->q.withheld);
	world_free(&w);
}

/* What waits costs its index and what the store keeps of each further recipient, and nothing when
 * it is gone; so many recipients are a reason to take no more. */
static void memory_of_recipients(void **state)
{
	static char to[5000 * 24];
	static const unsigned counts[] = {1, 2, 63, 64, 65, 66, 127, 128, 129, 1000, 5000};
	struct world *w = world_small(10000);
	size_t want = 0, at = 0;
	unsigned i, k, all = 0;
	char id[16];

	(void)state;
	for (i = 0; i < ARRAY_LEN(counts); i++) {
		for (k = at = 0; k < counts[i]; k++)
			at += (size_t)snprintf(to + at, 24, "%sr%u@later.x", k ? " " : "", k);
		snprintf(id, sizeof(id), "S%u", i);
		world_mail_to(w, id, to);
		world_run(w);
		all += counts[i] - 1;
		want = (i + 1) * QMGR_INDEX + all * QMGR_FURTHER;
		assert_int_equal(w->q.memory, 0);
		assert_in_range(
		    qmgr_intake_memory(&w->q) - qmgr_reason_memory(), want, want + want / 60);
	}
	w->credits = 0;
	w->q.lim.memory = want;
	world_mail_to(w, "S", "a@later.x");
	world_run(w);
	assert_true(w->q.withheld);
	w->q.lim.memory = WORLD_MEMORY;
	assert_int_equal(world_act(w, "/v1/queue/delete", "all", "1"), all + ARRAY_LEN(counts));
	assert_int_equal(world_act(w, "/v1/queue/delete", "all", "1"), 1); /* the next page */
	world_run(w);
	assert_int_equal(qmgr_intake_memory(&w->q), qmgr_reason_memory()); /* of the route */
	assert_false(w->q.withheld);
	world_free(&w);
}

/* Each mail waits for a dead destination of its own: those count too. */
static void memory_of_destinations(void **state)
{
	struct world *w = world_small(10000);
	struct delivery *d;
	char id[16], to[32];
	size_t had, hops;
	int i;

	(void)state;
	world_smtpc_up(w, 1000);
	for (i = 0; i < 200; i++) {
		snprintf(id, sizeof(id), "S%d", i);
		snprintf(to, sizeof(to), "a@d%d.example", i);
		world_mail_to(w, id, to);
		world_run(w);
		d = &w->d[i];
		world_end(w, d, META1_TEMPFAIL, META1_ABOUT_HOST, 0, "refused");
		world_run(w);
		snprintf(id, sizeof(id), "T%d", i);
		world_mail_to(w, id, to); /* waits for it alone */
		world_run(w);
	}
	assert_int_equal(w->nd, 200);
	hops = qmgr_hops_memory();
	assert_in_range(hops, 200 * sizeof(struct qmgr_hops), 200 * 1000);
	had = qmgr_intake_memory(&w->q) - w->q.memory - qmgr_reason_memory() - hops;
	assert_in_range(had,
	    200 * (2 * QMGR_INDEX + sizeof(struct qmgr_dest) + sizeof(struct qmgr_dock)),
	    200 * (2 * QMGR_INDEX + 1000));
	assert_int_equal(w->q.ndock, 200 + QMGR_AGAIN + 1);
	assert_int_equal(world_act(w, "/v1/queue/delete", "all", "1"), 400);
	world_run(w);
	for (i = 0; i < 10; i++) { /* their places are used again */
		snprintf(id, sizeof(id), "U%d", i);
		snprintf(to, sizeof(to), "a@d%d.example", i);
		world_mail_to(w, id, to);
		world_run(w);
	}
	assert_int_equal(w->q.ndock, 200 + QMGR_AGAIN + 1);
	world_free(&w);
	assert_int_equal(qmgr_hops_memory(), 0);
}

/* ---- envelopes that are not in memory ---- */

/* A mailing of many mails before a single one: nothing of it is read before there is room, the
 * single one does not wait behind it, and all arrives once. */
static void mailing_of_many(void **state)
{
	struct world *w = world_small(40);
	struct delivery *d;
	char id[16], from[64];
	int i, at = 0;

	(void)state;
	for (i = 0; i < 1000; i++) {
		snprintf(id, sizeof(id), "S%d", i);
		snprintf(from, sizeof(from), "list+user%d=x.example@example.org", i);
		world_mail(w, id, from, i % 2 ? "a@slow.example" : "a@big.example");
		if (i % 50 == 0)
			world_run(w);
	}
	world_run(w);
	world_smtpc_up(w, 1000);
	world_run(w);
	assert_in_range(qmgr_active_count(&w->q), 1, 40);
	assert_in_range(w->q.memory, 1, 40 * 1000);
	world_mail_to(w, "T", "a@slow.example");
	world_mail_to(w, "U", "a@quick.example");
	world_run(w);
	assert_non_null(world_open(w, "quick.example"));
	for (i = 0; i < 1002; i++) {
		d = NULL;
		for (unsigned k = 0; k < w->nd && !d; k++)
			d = w->d[k].over ? NULL : &w->d[k];
		if (!d)
			break;
		at = !strcmp(d->id, "T") ? i : at;
		world_end(w, d, META1_OK, META1_ABOUT_MAIL, 250, "ok");
		world_run(w);
		assert_in_range(qmgr_active_count(&w->q), 0, 40);
	}
	assert_int_equal(w->nd, 1002);
	assert_in_range(at, 1, 60);
	assert_int_equal(w->q.index.n, 0);
	assert_int_equal(w->q.reserved + w->q.nloading + w->q.ngoing, 0);
	world_free(&w);
}

/* Ends deliveries, the oldest first, until that of a message begins; how many. */
static int steps_until(struct world *w, const char *id)
{
	int n;

	for (n = 0; n < 1000; n++) {
		struct delivery *d = NULL;
		unsigned i;

		for (i = 0; i < w->nd; i++) {
			if (!strcmp(w->d[i].id, id))
				return n;
			if (!w->d[i].over && !d)
				d = &w->d[i];
		}
		assert_non_null(d);
		world_end(w, d, META1_OK, META1_ABOUT_MAIL, 250, "ok");
		world_run(w);
	}
	return n;
}

static void mailing(struct world *w, int mails, int rcpts, bool wide)
{
	static char to[64 * 1000];
	char id[16];
	int i, k, n;

	for (i = 0; i < mails; i++) {
		for (k = n = 0; k < rcpts; k++)
			n += snprintf(to + n, sizeof(to) - (size_t)n, "%su%d@%s%d.example",
			    k ? " " : "", k, wide ? "d" : "one", wide ? i * rcpts + k : 1);
		snprintf(id, sizeof(id), "L%d", i);
		world_mail(w, id, "list@example.org", to);
		if (i % 50 == 0)
			world_run(w);
	}
	world_run(w);
}

/* The mailing's own first few were newcomers too, and every second delivery is one's. */
#define WIDE (6 + 2 * QMGR_LITTLE)

/* A mailing waits, in shapes that fill what there is of places; then others send a mail each, which
 * is under way after a few deliveries, however many wait before it. */
static void single_beside_a_mailing(void **state)
{
	static const struct {
		int mails, rcpts;
		bool wide; /* each recipient at a destination of its own */
		int steps;
	} t[] = {{1000, 1, false, 3}, {1000, 1, true, WIDE}, {100, 100, false, 6},
	    {100, 100, true, WIDE}};
	unsigned i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(t); i++) {
		struct world *w = world_new(64);

		mailing(w, t[i].mails, t[i].rcpts, t[i].wide);
		world_smtpc_up(w, 1);
		world_run(w);
		world_end(w, &w->d[0], META1_OK, META1_ABOUT_MAIL, 250, "ok");
		world_run(w);
		world_mail(w, "T", "me@example.org", "you@one1.example");
		world_run(w);
		assert_in_range(steps_until(w, "T"), 0, t[i].steps);
		world_mail(w, "U", "he@example.org", "you@quick.example");
		world_run(w);
		assert_in_range(steps_until(w, "U"), 0, t[i].steps);
		assert_in_range(qmgr_active_count(&w->q), 1, 64);
		world_free(&w);
	}
}

/* Lanes are exact: with a mailing that waits for a destination that is full no other sender shares
 * one, be there ever so many. */
static void lane_each(void **state)
{
	struct world *w = world_new(16);
	char id[16], from[32];
	int i;

	(void)state;
	mailing(w, 500, 1, false);
	for (i = 0; i < 300; i++) {
		snprintf(id, sizeof(id), "P%d", i);
		snprintf(from, sizeof(from), "p%d@example.org", i);
		world_mail(w, id, from, "a@one1.example");
	}
	world_run(w);
	world_smtpc_up(w, 1);
	world_run(w);
	assert_in_range(steps_until(w, "P299"), 1, 2 * 301 + 16);
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(dead_destination),
	    cmocka_unit_test(active_bound),
	    cmocka_unit_test(full_at_the_end),
	    cmocka_unit_test(memory_of_destinations),
	    cmocka_unit_test(active_many),
	    cmocka_unit_test(mailing_under_way),
	    cmocka_unit_test(full_memory),
	    cmocka_unit_test(memory_of_recipients),
	    cmocka_unit_test(mailing_of_many),
	    cmocka_unit_test(single_beside_a_mailing),
	    cmocka_unit_test(lane_each),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
