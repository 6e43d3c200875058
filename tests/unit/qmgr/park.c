/* SPDX-License-Identifier: BSD-2-Clause */
/* park.c -- tries core/qmgr with a memory that holds no envelope that waits: all is unloaded and
 * read again; the other ends are in world.c. */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>

/* One mail that was deferred, and left memory. */
static struct world *parked_one(void)
{
	struct world *w = world_small(100);

	world_smtpc_up(w, 10);
	world_mail_to(w, "S1", "a@one.example");
	world_run(w);
	world_end(w, world_open(w, "one.example"), META1_TEMPFAIL, META1_ABOUT_MAIL, 450, "busy");
	world_run(w);
	assert_int_equal(w->q.memory, 0);
	return w;
}

/* A deferred message leaves memory; when it is due it is read, with what the store knows. */
static void parked(void **state)
{
	struct world *w = world_small(100);
	struct delivery *d;
	json_t *j;
	int status;

	(void)state;
	world_smtpc_up(w, 10);
	world_mail_to(w, "S1", "a@one.example b@two.example");
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
	struct world *w = world_small(40);
	struct delivery *d;
	unsigned i, n;
	char id[16];

	(void)state;
	world_smtpc_up(w, 100);
	for (i = 0; i < 300; i++) {
		snprintf(id, sizeof(id), "S%u", i);
		world_mail_to(w, id, "a@dead.example");
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
	struct world *w = parked_one();
	json_t *j;
	int status;

	(void)state;
	w->store_lost = true;
	world_pass(w, 340);
	assert_null(world_open(w, "one.example"));
	assert_int_equal(w->q.index.n, 1);
	j = world_ask(w, "GET", "/v1/queue", NULL, NULL, &status);
	assert_true(json_is_true(
	    json_object_get(json_array_get(json_object_get(j, "messages"), 0), "unreadable")));
	json_decref(j);
	assert_int_equal(w->q.memory, 0); /* what was shown is gone again */
	w->store_blind = true;		  /* a store that cannot tell anything */
	assert_null(world_ask(w, "GET", "/v1/queue/S1", NULL, NULL, &status));
	assert_int_equal(status, 503);
	assert_null(world_ask(w, "DELETE", "/v1/queue/S1", NULL, NULL, &status));
	assert_int_equal(status, 503);
	w->store_lost = false;
	world_pass(w, 3700);
	assert_non_null(world_open(w, "one.example"));
	world_free(&w);
}

/* It is named by its place, or by its id for who knows that; shown with what the store knows, never
 * taken by a filter, and deleted: then it is gone. */
static void unreadable_is_deleted(void **state)
{
	struct world *w = world_small(100);
	char path[64], name[32];
	int status, i;
	json_t *j, *m;

	(void)state;
	world_smtpc_up(w, 10);
	world_mail_to(w, "S1", "a@one.example b@two.example c@later.x");
	world_mail_to(w, "S2", "d@later.x");
	world_run(w);
	world_end(w, world_open(w, "two.example"), META1_OK, META1_ABOUT_MAIL, 250, "ok");
	world_end(w, world_open(w, "one.example"), META1_TEMPFAIL, META1_ABOUT_MAIL, 450, "busy");
	world_run(w);
	w->store_lost = true;
	assert_int_equal(world_act(w, "/v1/queue/delete", "sender", "<>"), 0);
	assert_int_equal(world_act(w, "/v1/queue/delete", "recipient", "<>"), 0);
	assert_int_equal(world_act(w, "/v1/queue/delete", "smaller", "1000000"), 0);
	assert_int_equal(world_act(w, "/v1/queue/requeue", "all", "1"), 0);
	assert_int_equal(world_act(w, "/v1/queue/hold", "id", "S1"), 0);
	assert_int_equal(w->q.index.n, 2);
	j = world_ask(w, "GET", "/v1/queue", NULL, NULL, &status);
	m = json_array_get(json_object_get(j, "messages"), 0);
	assert_int_equal(world_number(m, "recipients_total"), 3);
	str_copy(name, sizeof(name), json_string_value(json_object_get(m, "id")));
	json_decref(j);
	assert_string_equal(name, "unreadable-1");
	for (i = 0; i < 2; i++) {
		static const char *const state_of[] = {"waiting", "delivered", "waiting"};
		size_t k;

		snprintf(path, sizeof(path), "/v1/queue/%s", i ? "S1" : name);
		j = world_ask(w, "GET", path, NULL, NULL, &status);
		assert_int_equal(status, 200);
		assert_string_equal(json_string_value(json_object_get(j, "id")), i ? "S1" : name);
		assert_true(json_is_true(json_object_get(j, "unreadable")));
		json_array_foreach(json_object_get(j, "recipients"), k, m) assert_string_equal(
		    json_string_value(json_object_get(m, "state")), state_of[k]);
		assert_int_equal(k, 3);
		json_decref(j);
	}
	assert_null(world_ask(w, "GET", "/v1/queue/unreadable-3", NULL, NULL, &status));
	assert_int_equal(status, 404);
	assert_null(world_ask(w, "GET", "/v1/export/S1", NULL, NULL, &status));
	assert_int_equal(status, 503);
	assert_int_equal(world_act(w, "/v1/queue/delete", "id", "S1"), 2);
	assert_int_equal(world_outcome(w, "S1", 0).state, META1_R_DELETED);
	assert_int_equal(world_outcome(w, "S1", 1).state, META1_R_DELIVERED);
	assert_int_equal(world_outcome(w, "S1", 2).state, META1_R_DELETED);
	assert_string_equal(world_outcome(w, "S1", 2).by, "deleted by uid 1234");
	assert_int_equal(w->q.index.n, 1);
	assert_int_equal(world_act(w, "/v1/queue/delete", "id", "unreadable-2"), 1);
	assert_int_equal(w->q.index.n, 0);
	/* the reason is of the route */
	assert_int_equal(qmgr_intake_memory(&w->q),
	    qmgr_reason_memory() + qmgr_hops_memory() + HASH_COUNT(w->q.sched.dests) * QMGR_DEST);
	world_free(&w);
}

/* A store that can read nothing now is asked again; nothing is lost, nothing comes twice. */
static void store_busy_on_load(void **state)
{
	struct world *w = parked_one();
	unsigned fetches;
	int status;

	(void)state;
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
	struct world *w = parked_one();
	int status;

	(void)state;
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
	struct world *w = world_small(100);
	int status;

	(void)state;
	world_smtpc_up(w, 10);
	world_mail_to(w, "S1", "a@one.example");
	world_mail_to(w, "S2", "a@two.example");
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
	struct world *w = world_small(16);
	struct delivery *d;
	char id[16];
	int i, status;

	(void)state;
	world_smtpc_up(w, 100);
	for (i = 0; i < 60; i++) {
		snprintf(id, sizeof(id), "S%d", i);
		world_mail_to(w, id, "a@one.example");
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
	struct world *w = world_small(16);
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
	struct world *w = world_small(100);
	struct delivery *d;

	(void)state;
	world_smtpc_up(w, 10);
	world_mail_to(w, "S1", "a@one.example");
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
	struct world *w = world_small(100);
	int64_t fetches;
	int status;

	(void)state;
	world_smtpc_up(w, 10);
	world_mail_to(w, "S1", "a@later.one.example");
	world_mail_to(w, "S2", "b@later.two.example");
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
	    cmocka_unit_test(dead_and_parked),
	    cmocka_unit_test(damaged_on_load),
	    cmocka_unit_test(unreadable_is_deleted),
	    cmocka_unit_test(store_busy_on_load),
	    cmocka_unit_test(deleted_while_parked),
	    cmocka_unit_test(flushed_while_parked),
	    cmocka_unit_test(flushed_in_a_crowd),
	    cmocka_unit_test(restart_parked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
