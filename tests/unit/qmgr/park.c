/* SPDX-License-Identifier: BSD-2-Clause */
/* park.c -- tries core/qmgr with a memory that holds no envelope that waits: all is unloaded and
 * read again; the other ends are in world.c. */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>

static struct world *small_memory(int64_t aq)
{
	struct world *w = world_new(aq);

	w->q.lim.loaded = 0; /* whatever waits is unloaded */
	return w;
}

static void mail_to(struct world *w, const char *id, const char *to)
{
	world_mail(w, id, "me@example.org", to);
}

/* A deferred message leaves memory; when it is due it is read, with what the store knows. */
static void parked(void **state)
{
	struct world *w = small_memory(100);
	struct delivery *d;
	json_t *j;
	int status;

	(void)state;
	world_smtpc_up(w, 10);
	mail_to(w, "S1", "a@one.example b@two.example");
	world_run(w);
	d = world_open(w, "two.example");
	world_end(w, d, META1_OK, META1_ABOUT_MAIL, 250, "ok");
	d = world_open(w, "one.example");
	world_end(w, d, META1_TEMPFAIL, META1_ABOUT_MAIL, 450, "4.2.1 busy");
	world_run(w);
	assert_int_equal(w->q.memory, 0);
	assert_int_equal(w->q.index.n, 1);
	assert_null(qmgr_msg_find(&w->q, "S1", 2));
	j = world_ask(w, "GET", "/v1/queue/S1", NULL, NULL, &status);
	assert_int_equal(status, 200);
	assert_int_equal(w->fetches, 1);
	assert_string_equal(json_string_value(json_object_get(
				json_array_get(json_object_get(j, "recipients"), 0), "reason")),
	    "mx: 450 4.2.1 busy");
	assert_string_equal(json_string_value(json_object_get(
				json_array_get(json_object_get(j, "recipients"), 1), "state")),
	    "delivered");
	json_decref(j);
	world_run(w);
	assert_int_equal(w->q.memory, 0);
	assert_int_equal(w->nd, 2);
	world_pass(w, 340);
	d = world_open(w, "one.example");
	assert_non_null(d);
	assert_string_equal(d->rcpts, "a@one.example");
	world_end(w, d, META1_OK, META1_ABOUT_MAIL, 250, "ok");
	world_run(w);
	assert_int_equal(world_outcome(w, "S1", 0).tries, 1);
	assert_int_equal(w->q.index.n, 0);
	world_free(&w);
}

/* A mailing of many mails before a single one: nothing of it is read before there is room, the
 * single one does not wait behind it, and all arrives once. */
static void mailing_of_many(void **state)
{
	struct world *w = small_memory(40);
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
	mail_to(w, "T", "a@slow.example");
	mail_to(w, "U", "a@quick.example");
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

/* As /v1/destinations says. */
static json_int_t waiting(struct world *w, const char *key)
{
	int status;
	json_t *j = world_ask(w, "GET", "/v1/destinations", NULL, NULL, &status), *d;
	json_int_t n = -1;
	size_t i;

	assert_int_equal(status, 200);
	json_array_foreach(json_object_get(j, "destinations"), i,
	    d) if (!strcmp(json_string_value(json_object_get(d, "key")), key)) n =
	    json_integer_value(json_object_get(d, "waiting"));
	json_decref(j);
	return n;
}

/* What a dead destination has waiting is read when it lives again, and probed with little. */
static void dead_and_parked(void **state)
{
	struct world *w = small_memory(40);
	struct delivery *d;
	unsigned i, n;
	char id[16];

	(void)state;
	world_smtpc_up(w, 100);
	for (i = 0; i < 300; i++) {
		snprintf(id, sizeof(id), "S%u", i);
		mail_to(w, id, "a@dead.example");
	}
	world_run(w);
	while ((d = world_open(w, "dead.example"))) {
		world_end(w, d, META1_TEMPFAIL, META1_ABOUT_HOST, 0, "refused");
		world_run(w);
	}
	n = w->fetched;
	assert_int_equal(waiting(w, "dead.example"), 300 - 4); /* those were tried */
	world_pass(w, 62);
	d = world_open(w, "dead.example");
	assert_non_null(d);
	assert_in_range(w->fetched - n, 1, 40);
	for (i = 0; (d = world_open(w, "dead.example")); i++) {
		world_end(w, d, META1_OK, META1_ABOUT_MAIL, 250, "ok");
		world_run(w);
	}
	assert_in_range(
	    w->q.index.n, 1, 4); /* they were really tried, and have times of their own */
	world_pass(w, 10);
	while ((d = world_open(w, "dead.example"))) {
		world_end(w, d, META1_OK, META1_ABOUT_MAIL, 250, "ok");
		world_run(w);
	}
	assert_int_equal(w->q.index.n, 0);
	world_free(&w);
}

/* An envelope that cannot be read is kept, shown, and read later. */
static void damaged_on_load(void **state)
{
	struct world *w = small_memory(100);
	json_t *j;
	int status;

	(void)state;
	world_smtpc_up(w, 10);
	mail_to(w, "S1", "a@one.example");
	world_run(w);
	world_end(w, world_open(w, "one.example"), META1_TEMPFAIL, META1_ABOUT_MAIL, 450, "busy");
	world_run(w);
	w->store_lost = true;
	world_pass(w, 340);
	assert_null(world_open(w, "one.example"));
	assert_int_equal(w->q.index.n, 1);
	j = world_ask(w, "GET", "/v1/queue", NULL, NULL, &status);
	assert_true(json_is_true(
	    json_object_get(json_array_get(json_object_get(j, "messages"), 0), "unreadable")));
	json_decref(j);
	assert_null(world_ask(w, "GET", "/v1/queue/S1", NULL, NULL, &status));
	assert_int_equal(status, 503);
	assert_null(world_ask(w, "DELETE", "/v1/queue/S1", NULL, NULL, &status));
	assert_int_equal(status, 503);
	w->store_lost = false;
	world_pass(w, 3700);
	assert_non_null(world_open(w, "one.example"));
	world_free(&w);
}

/* A store that can read nothing now is asked again; nothing is lost, nothing comes twice. */
static void store_busy_on_load(void **state)
{
	struct world *w = small_memory(100);
	unsigned fetches;
	int status;

	(void)state;
	world_smtpc_up(w, 10);
	mail_to(w, "S1", "a@one.example");
	world_run(w);
	world_end(w, world_open(w, "one.example"), META1_TEMPFAIL, META1_ABOUT_MAIL, 450, "busy");
	world_run(w);
	w->store_fails = true;
	world_pass(w, 400);
	assert_null(world_open(w, "one.example"));
	/* Who wants to see it is told so at once: it is not asked for again and again. */
	fetches = w->fetches;
	assert_null(world_ask(w, "GET", "/v1/queue/S1", NULL, NULL, &status));
	assert_int_equal(status, 503);
	assert_in_range(w->fetches - fetches, 1, 2);
	w->store_fails = false;
	world_pass(w, 2);
	assert_non_null(world_open(w, "one.example"));
	assert_int_equal(w->nd, 2);
	assert_int_equal(w->q.reserved, 0);
	world_free(&w);
}

static void deleted_while_parked(void **state)
{
	struct world *w = small_memory(100);
	int status;

	(void)state;
	world_smtpc_up(w, 10);
	mail_to(w, "S1", "a@one.example");
	world_run(w);
	world_end(w, world_open(w, "one.example"), META1_TEMPFAIL, META1_ABOUT_MAIL, 450, "busy");
	world_run(w);
	json_decref(world_ask(w, "DELETE", "/v1/queue/S1", NULL, NULL, &status));
	assert_int_equal(status, 200);
	assert_int_equal(world_outcome(w, "S1", 0).state, META1_R_DELETED);
	assert_int_equal(w->q.index.n, 0);
	assert_null(world_ask(w, "DELETE", "/v1/queue/S1", NULL, NULL, &status));
	assert_int_equal(status, 404);
	world_pass(w, 400);
	assert_int_equal(w->nd, 1);
	world_free(&w);
}

static void flushed_while_parked(void **state)
{
	struct world *w = small_memory(100);
	int status;

	(void)state;
	world_smtpc_up(w, 10);
	mail_to(w, "S1", "a@one.example");
	mail_to(w, "S2", "a@two.example");
	world_run(w);
	world_end(w, world_open(w, "one.example"), META1_TEMPFAIL, META1_ABOUT_MAIL, 450, "busy");
	world_end(w, world_open(w, "two.example"), META1_TEMPFAIL, META1_ABOUT_MAIL, 450, "busy");
	world_run(w);
	json_decref(world_ask(w, "POST", "/v1/queue/flush", "id", "S2", &status));
	world_run(w);
	assert_non_null(world_open(w, "two.example"));
	assert_null(world_open(w, "one.example"));
	json_decref(world_ask(w, "POST", "/v1/queue/flush", NULL, NULL, &status));
	world_run(w);
	assert_non_null(world_open(w, "one.example"));
	world_free(&w);
}

/* A flush of many that were deferred: what its destination has no room for is put off, unloaded,
 * and all the same tried now. */
static void flushed_in_a_crowd(void **state)
{
	struct world *w = small_memory(16);
	struct delivery *d;
	char id[16];
	int i, status;

	(void)state;
	world_smtpc_up(w, 100);
	for (i = 0; i < 60; i++) {
		snprintf(id, sizeof(id), "S%d", i);
		mail_to(w, id, "a@one.example");
	}
	world_run(w);
	while ((d = world_open(w, "one.example"))) {
		world_end(w, d, META1_TEMPFAIL, META1_ABOUT_MAIL, 450, "busy");
		world_run(w);
	}
	assert_int_equal(w->nd, 60);
	json_decref(world_ask(w, "POST", "/v1/queue/flush", NULL, NULL, &status));
	world_run(w);
	while ((d = world_open(w, "one.example"))) {
		world_end(w, d, META1_OK, META1_ABOUT_MAIL, 250, "ok");
		world_run(w);
	}
	assert_int_equal(w->nd, 120);
	assert_int_equal(w->q.index.n, 0);
	world_free(&w);
}

/* A start with more than memory holds: all is queued, none is loaded that is not due. */
static void restart_parked(void **state)
{
	struct world *w = small_memory(16);
	char id[16];
	unsigned i;

	(void)state;
	for (i = 0; i < 500; i++) {
		struct meta1_qrcpt r = {.addr = buf_str("a@one.example"),
		    .tries = 1,
		    .next_try = i % 2 ? WALL0 + 200 : 0};

		snprintf(id, sizeof(id), "S%u", i);
		world_entry(w, id, "me@example.org", &r, 1, WALL0 - 100);
	}
	world_recovered(w);
	assert_int_equal(w->q.index.n, 500);
	world_smtpc_up(w, 1000);
	world_run(w);
	for (i = 0; i < 250; i++) {
		assert_non_null(world_open(w, "one.example"));
		world_end(w, world_open(w, "one.example"), META1_OK, META1_ABOUT_MAIL, 250, "ok");
		world_run(w);
	}
	assert_null(world_open(w, "one.example"));
	assert_int_equal(w->q.memory, 0);
	world_pass(w, 202);
	assert_non_null(world_open(w, "one.example"));
	world_free(&w);
}

/* The wall clock jumps ahead while mail is on disk only: it is read again and is not old. */
static void clock_jumps_while_parked(void **state)
{
	struct world *w = small_memory(100);
	struct delivery *d;

	(void)state;
	world_smtpc_up(w, 10);
	mail_to(w, "S1", "a@one.example");
	world_run(w);
	d = world_open(w, "one.example");
	world_end(w, d, META1_TEMPFAIL, META1_ABOUT_MAIL, 450, "4.2.1 busy");
	world_run(w);
	assert_int_equal(w->q.memory, 0);
	w->jump = 20 * 86400; /* max_time_in_queue is 5 days */
	world_pass(w, 340);
	d = world_open(w, "one.example");
	assert_non_null(d);
	world_end(w, d, META1_TEMPFAIL, META1_ABOUT_MAIL, 450, "4.2.1 busy");
	world_run(w);
	assert_int_equal(world_outcome(w, "S1", 0).state, META1_R_WAITING);
	w->jump = -20 * 86400;
	world_pass(w, 3700); /* a time on disk counts at most max_retry_delay */
	d = world_open(w, "one.example");
	assert_non_null(d);
	world_end(w, d, META1_OK, META1_ABOUT_MAIL, 250, "ok");
	world_run(w);
	assert_int_equal(world_outcome(w, "S1", 0).state, META1_R_DELIVERED);
	world_free(&w);
}

/* Held mail leaves memory too, is not read again for nothing, and comes back when released. */
static void held_while_parked(void **state)
{
	struct world *w = small_memory(100);
	int64_t fetches;
	int status;

	(void)state;
	world_smtpc_up(w, 10);
	mail_to(w, "S1", "a@later.one.example");
	mail_to(w, "S2", "b@later.two.example");
	world_run(w);
	assert_int_equal(w->q.memory, 0);
	json_decref(world_ask(w, "POST", "/v1/queue/hold", "sender", "me@example.org", &status));
	assert_int_equal(status, 200);
	assert_string_equal(world_outcome(w, "S2", 0).reason, "held=1234; no answer");
	assert_int_equal(world_outcome(w, "S2", 0).next_try, 0);
	assert_int_equal(w->q.memory, 0);
	fetches = w->fetches;
	world_pass(w, 4 * 86400);
	assert_in_range(w->fetches, fetches, fetches + 2); /* once, when it would have been due */
	assert_int_equal(w->q.index.n, 2);
	json_decref(world_ask(w, "POST", "/v1/queue/release", "state", "held", &status));
	assert_int_equal(status, 200);
	world_run(w);
	assert_string_equal(world_outcome(w, "S1", 0).reason, "no answer");
	assert_true(world_outcome(w, "S2", 0).next_try > WALL0 + 4 * 86400);
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(clock_jumps_while_parked),
	    cmocka_unit_test(held_while_parked),
	    cmocka_unit_test(parked),
	    cmocka_unit_test(mailing_of_many),
	    cmocka_unit_test(single_beside_a_mailing),
	    cmocka_unit_test(lane_each),
	    cmocka_unit_test(dead_and_parked),
	    cmocka_unit_test(damaged_on_load),
	    cmocka_unit_test(store_busy_on_load),
	    cmocka_unit_test(deleted_while_parked),
	    cmocka_unit_test(flushed_while_parked),
	    cmocka_unit_test(flushed_in_a_crowd),
	    cmocka_unit_test(restart_parked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
