/* SPDX-License-Identifier: BSD-2-Clause */
/* act.c -- tries what an admin does with queued mail: list, show, flush, hold, release, requeue,
 * delete; and that it is answered when it is recorded. */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>

/* Pages of a queue that changes in between: what stays is shown once, in order. */
static void listed_in_pages(void **state)
{
	struct world *w = world_new(40);
	char id[32], next[32] = "";
	int i, status, seen = 0, last = -1, page = 0;
	json_t *j, *m;
	size_t k;

	(void)state;
	for (i = 0; i < 1000; i++) {
		snprintf(id, sizeof(id), "S%d", i);
		world_mail(w, id, "me@example.org", "a@one.example");
	}
	world_run(w);
	for (;; page++) {
		j = world_ask(w, "GET", "/v1/queue", *next ? "cursor" : NULL, next, &status);
		assert_non_null(j);
		json_array_foreach(json_object_get(j, "messages"), k, m)
		{
			int n = atoi(json_string_value(json_object_get(m, "id")) + 1);

			assert_true(n > last);
			last = n;
			seen++;
		}
		next[0] = 0;
		if (json_object_get(j, "next"))
			str_copy(next, sizeof(next), json_string_value(json_object_get(j, "next")));
		json_decref(j);
		if (!*next)
			break;
		if (page == 2) /* the next page's start goes away, and much behind it */
			for (i = 300; i < 700; i++) {
				snprintf(id, sizeof(id), "/v1/queue/S%d", i);
				json_decref(world_ask(w, "DELETE", id, NULL, NULL, &status));
				assert_int_equal(status, 200);
			}
	}
	assert_int_equal(last, 999);
	/* 390 wait for their turn and are gone; those at the destination are marked. */
	assert_in_range(seen, 600, 1000);
	j = world_ask(w, "GET", "/v1/queue", "limit", "1001", &status);
	assert_null(j);
	assert_int_equal(status, 400);
	world_free(&w);
}

static void deleted_everywhere(void **state)
{
	struct world *w = world_new(40);
	struct meta1_qrcpt later = {.addr = buf_str("l@one.example"), .next_try = WALL0 + 999};
	struct delivery *d;
	int status;
	json_t *j;

	(void)state;
	world_entry(w, "S1", "me@example.org", &later, 1, WALL0);
	world_mail(w, "S2", "me@example.org", "q@one.example");
	world_run(w);
	json_decref(world_ask(w, "DELETE", "/v1/queue/S1", NULL, NULL, &status));
	json_decref(world_ask(w, "DELETE", "/v1/queue/S2", NULL, NULL, &status));
	assert_int_equal(world_outcome(w, "S1", 0).state, META1_R_DELETED);
	assert_int_equal(world_outcome(w, "S2", 0).state, META1_R_DELETED);
	assert_string_equal(world_outcome(w, "S1", 0).by, "deleted by uid 1234");
	world_smtpc_up(w, 8);
	world_mail(w, "S3", "me@example.org", "s@one.example");
	world_mail(w, "S4", "me@example.org", "t@one.example");
	world_run(w);
	assert_int_equal(w->nd, 2);
	j = world_ask(w, "DELETE", "/v1/queue/S3", NULL, NULL, &status);
	assert_int_equal(world_number(j, "under_way"), 1);
	json_decref(j);
	json_decref(world_ask(w, "DELETE", "/v1/queue/S4", NULL, NULL, &status));
	/* The store must not free what is being read. */
	assert_int_equal(world_outcome(w, "S3", 0).state, META1_R_WAITING);
	assert_int_equal(world_outcome(w, "S4", 0).state, META1_R_WAITING);
	d = &w->d[0];
	world_end(w, d, META1_OK, META1_ABOUT_MAIL, 250, "ok"); /* too late: it is there */
	world_end(w, &w->d[1], META1_PERMFAIL, META1_ABOUT_MAIL, 550, "no");
	world_run(w);
	assert_int_equal(world_outcome(w, d->id, 0).state, META1_R_DELIVERED);
	assert_int_equal(world_outcome(w, w->d[1].id, 0).state, META1_R_DELETED);
	assert_string_equal(world_outcome(w, w->d[1].id, 0).by, "deleted by uid 1234");
	assert_int_equal(w->ns, 0);
	assert_int_equal(w->q.index.n, 0);
	assert_null(world_ask(w, "GET", "/v1/queue/S3", NULL, NULL, &status));
	assert_int_equal(status, 404);
	world_free(&w);
}

static void flushed(void **state)
{
	struct world *w = world_new(40);
	struct meta1_qrcpt later = {.addr = buf_str("l@one.example"), .next_try = WALL0 + 999};
	int status;
	json_t *j;

	(void)state;
	world_smtpc_up(w, 8);
	world_entry(w, "S1", "me@example.org", &later, 1, WALL0);
	world_entry(w, "S2", "me@example.org", &later, 1, WALL0);
	world_run(w);
	assert_int_equal(w->nd, 0);
	json_decref(world_ask(w, "POST", "/v1/queue/flush", "id", "S2", &status));
	assert_int_equal(w->nd, 1);
	assert_string_equal(w->d[0].id, "S2");
	world_end(w, &w->d[0], META1_TEMPFAIL, META1_ABOUT_HOST, 0, "refused");
	world_run(w);
	j = world_ask(w, "GET", "/v1/destinations", NULL, NULL, &status);
	assert_in_range(
	    world_number(json_array_get(json_object_get(j, "destinations"), 0), "dead_until"),
	    WALL0 + 60, WALL0 + 60);
	json_decref(j);
	assert_int_equal(w->nd, 1);
	json_decref(world_ask(w, "POST", "/v1/queue/flush", NULL, NULL, &status));
	assert_int_equal(w->nd, 2); /* one probes the host that was dead */
	j = world_ask(w, "GET", "/v1/status", NULL, NULL, &status);
	assert_int_equal(world_number(j, "messages"), 2);
	assert_int_equal(world_number(j, "deliveries"), 1);
	json_decref(j);
	world_free(&w);
}

/* Held mail is not tried, whatever comes, until it is released; also after a restart. */
static void held_and_released(void **state)
{
	struct world *w = world_new(40);
	struct meta1_qrcpt before = {.addr = buf_str("l@one.example"),
	    .tries = 2,
	    .next_try = WALL0 + 5,
	    .reason = buf_str("held=77; mx: 451 later")};
	int64_t until;

	(void)state;
	world_mail(w, "S1", "me@example.org", "a@one.example b@two.example");
	world_entry(w, "S2", "me@example.org", &before, 1, WALL0);
	world_run(w);
	assert_int_equal(world_act(w, "/v1/queue/hold", "domain", "one.example"), 1); /* S2's is */
	assert_int_equal(world_act(w, "/v1/queue/hold", "id", "S9"), -404);
	assert_int_equal(world_act(w, "/v1/queue/hold", NULL, NULL), -400);
	world_smtpc_up(w, 8);
	world_run(w);
	assert_int_equal(w->nd, 1);
	assert_string_equal(w->d[0].rcpts, "b@two.example");
	assert_string_equal(world_outcome(w, "S1", 0).reason, "held=1234; ");
	assert_int_equal(world_act(w, "/v1/queue/hold", "id", "S1"), 1); /* while it is delivered */
	world_end(w, &w->d[0], META1_TEMPFAIL, META1_ABOUT_MAIL, 451, "later");
	world_run(w);
	assert_string_equal(world_outcome(w, "S1", 1).reason, "held=1234; mx: 451 later");
	assert_int_equal(world_act(w, "/v1/queue/flush", "id", "S1"), 0);
	world_pass(w, 8 * 86400); /* longer than it may stay */
	assert_int_equal(w->nd, 1);
	assert_int_equal(w->ns, 0);
	assert_string_equal(world_why(w, "S1", 0, &until), "held");
	assert_string_equal(world_why(w, "S2", 0, &until), "held");
	assert_int_equal(world_act(w, "/v1/queue/release", "state", "held"), 3);
	assert_int_equal(w->nd, 4);
	assert_string_equal(world_outcome(w, "S2", 0).reason, "mx: 451 later");
	assert_int_equal(world_outcome(w, "S2", 0).tries, 2);
	world_free(&w);
}

/* A filter held it: nothing of it is tried before it is released, and that is not forgotten. */
static void held_from_the_start(void **state)
{
	static const char *const texts[] = {"f: virus", "report=1 delivered; x", "deleted=0; x",
	    "via=[192.0.2.1]:25; x", "held=7; x", "warned; x", "tls=x; y", ""};
	struct meta1_qrcpt rcpt[] = {{.addr = buf_str("a@one.example")},
	    {.addr = buf_str("b@two.example")},
	    {.addr = buf_str("c@three.example"),
		.next_try = WALL0} /* released, in another life */};
	char want[128];
	int64_t until;
	json_t *j, *r;
	int status;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct world *w = world_new(40);

		snprintf(want, sizeof(want), "filter %s", texts[i]);
		world_hold = texts[i];
		world_smtpc_up(w, 8);
		world_entry(w, "S1", "me@example.org", rcpt, 3, WALL0);
		world_hold = NULL;
		world_recovered(w);
		assert_int_equal(w->nd, 1);
		assert_string_equal(w->d[0].rcpts, "c@three.example");
		assert_string_equal(world_why(w, "S1", 0, &until), "held");
		j = world_ask(w, "GET", "/v1/queue/S1", NULL, NULL, &status);
		assert_int_equal(status, 200);
		r = json_array_get(json_object_get(j, "recipients"), 1);
		assert_string_equal(json_string_value(json_object_get(r, "reason")), want);
		json_decref(j);
		world_pass(w, 8 * 86400);
		assert_int_equal(
		    world_act(w, "/v1/queue/release", "recipient", "b@two.example"), 1);
		assert_int_equal(w->nd, 2);
		assert_string_equal(w->d[1].rcpts, "b@two.example");
		assert_string_equal(world_outcome(w, "S1", 1).reason, want);
		assert_true(world_outcome(w, "S1", 1).next_try > 0);
		world_free(&w);
	}
}

static void requeued(void **state)
{
	struct world *w = world_new(40);
	struct meta1_qrcpt before[] = {
	    {.addr = buf_str("l@one.example"), .tries = 7, .next_try = WALL0 + 999},
	    {.addr = buf_str("m@two.example"),
		.reason = buf_str("via=[192.0.2.7]:25; x"),
		.next_try = WALL0 + 999}};
	int status;
	json_t *j;

	(void)state;
	world_smtpc_up(w, 8);
	world_entry(w, "S1", "me@example.org", before, 2, WALL0);
	world_run(w);
	assert_int_equal(world_act(w, "/v1/queue/requeue", "dry_run", "1"), -400);
	assert_int_equal(world_act(w, "/v1/queue/flush", "dry_run", "1"), 2);
	assert_int_equal(w->nd, 0);
	assert_int_equal(world_act(w, "/v1/queue/flush", "recipient", "m@two.example"), 1);
	assert_int_equal(w->nd, 1);
	assert_string_equal(w->via, "[192.0.2.7]:25"); /* of an earlier life */
	world_end(w, &w->d[0], META1_TEMPFAIL, META1_ABOUT_MAIL, 451, "later");
	world_run(w);
	assert_string_equal(world_outcome(w, "S1", 1).reason, "via=[192.0.2.7]:25; mx: 451 later");
	assert_int_equal(world_act(w, "/v1/queue/requeue", "id", "S1"), 2);
	assert_int_equal(w->nd, 3);
	assert_int_equal(world_outcome(w, "S1", 0).tries, 0);
	assert_string_equal(world_outcome(w, "S1", 1).reason, "");
	j = world_ask(w, "POST", "/v1/queue/hold", "to", "[192.0.2.7]", &status);
	assert_null(j);
	assert_int_equal(status, 400);
	world_free(&w);
}

/* No answer before the store has it; a store that cannot record says so. */
static void answered_when_recorded(void **state)
{
	static const struct {
		const char *path;
		bool sent;
	} t[] = {{"/v1/queue/hold", false}, {"/v1/queue/release", false},
	    {"/v1/queue/requeue", false}, {"/v1/queue/delete", false}, {"/v1/queue/hold", true},
	    {"/v1/queue/delete", true}};
	int status;

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		struct world *w = world_new(40);
		json_t *j;

		world_smtpc_up(w, 8);
		world_mail_to(w, "S1", t[i].sent ? "a@one.example" : "a@later.x");
		world_run(w);
		if (!strcmp(t[i].path, "/v1/queue/release"))
			assert_int_equal(world_act(w, "/v1/queue/hold", "id", "S1"), 1);
		w->store_holds = true;
		assert_null(world_ask(w, "POST", t[i].path, "id", "S1", &status));
		assert_int_equal(status, 0);
		w->store_holds = false;
		j = world_answer(w, &status);
		assert_int_equal(status, 200);
		assert_int_equal(world_number(j, "recipients"), 1);
		json_decref(j);
		world_free(&w);
		w = world_new(40);
		world_mail_to(w, "S1", "a@later.x");
		world_run(w);
		if (!strcmp(t[i].path, "/v1/queue/release"))
			assert_int_equal(world_act(w, "/v1/queue/hold", "id", "S1"), 1);
		w->store_fails = true;
		assert_null(world_ask(w, "POST", t[i].path, "id", "S1", &status));
		assert_int_equal(status, 503);
		w->store_fails = false;
		world_free(&w);
	}
}

/* Deleted while it is delivered: on disk at once, as a mark, so that a start ends it; and what the
 * delivery brings counts if it comes. */
static void deleted_in_delivery(void **state)
{
	struct world *w = world_new(40);
	struct meta1_qrcpt before[] = {
	    {.addr = buf_str("a@one.example"), .reason = buf_str("deleted=7; deleted by uid 7")},
	    {.addr = buf_str("b@one.example")}};

	(void)state;
	world_smtpc_up(w, 8);
	world_mail_to(w, "S1", "a@one.example");
	world_run(w);
	assert_int_equal(world_act(w, "/v1/queue/delete", "id", "S1"), 1);
	assert_int_equal(world_outcome(w, "S1", 0).state, META1_R_WAITING);
	assert_string_equal(world_outcome(w, "S1", 0).reason, "deleted=1234; deleted by uid 1234");
	assert_int_equal(world_act(w, "/v1/queue/delete", "id", "S1"), 0); /* once */
	world_smtpc_gone(w);
	world_run(w);
	assert_int_equal(world_outcome(w, "S1", 0).state, META1_R_DELETED);
	assert_string_equal(world_outcome(w, "S1", 0).by, "deleted by uid 1234");
	assert_int_equal(w->q.index.n, 0);
	world_smtpc_up(w, 8);
	world_entry(w, "S2", "me@example.org", before, 2, WALL0); /* of an earlier life */
	world_run(w);
	assert_string_equal(world_open(w, "one.example")->rcpts, "b@one.example");
	world_recovered(w);
	assert_int_equal(world_outcome(w, "S2", 0).state, META1_R_DELETED);
	assert_string_equal(world_outcome(w, "S2", 0).by, "deleted by uid 7");
	world_end(w, world_open(w, "one.example"), META1_OK, META1_ABOUT_MAIL, 250, "ok");
	world_run(w);
	assert_int_equal(w->q.index.n, 0);
	world_free(&w);
}

/* A message with many recipients comes in pages, shown, explained and exported alike. */
static void shown_in_pages(void **state)
{
	static const char *const paths[] = {"/v1/queue/S1", "/v1/why/S1", "/v1/export/S1"};
	static char to[2500 * 24];
	struct world *w = world_new(40);
	size_t at = 0;
	int status;

	(void)state;
	for (unsigned k = 0; k < 2500; k++)
		at += (size_t)snprintf(to + at, 24, "%sr%u@later.x", k ? " " : "", k);
	world_mail_to(w, "S1", to);
	world_run(w);
	for (unsigned i = 0; i < ARRAY_LEN(paths); i++) {
		char cursor[24] = "0";
		unsigned n = 0, pages = 0;

		while (*cursor) {
			json_t *j = world_ask(w, "GET", paths[i], "cursor", cursor, &status), *list;
			const char *next = json_string_value(json_object_get(j, "next"));
			char want[24];

			assert_int_equal(status, 200);
			list = json_object_get(j, "recipients");
			snprintf(want, sizeof(want), "r%u@later.x", n);
			assert_string_equal(
			    json_string_value(json_object_get(json_array_get(list, 0), "address")),
			    want);
			n += (unsigned)json_array_size(list);
			str_copy(cursor, sizeof(cursor), next ? next : "");
			json_decref(j);
			pages++;
		}
		assert_int_equal(n, 2500);
		assert_int_equal(pages, 3);
	}
	world_free(&w);
}

/* A word that is not known, or makes no sense, does nothing: it might have meant less. */
static void unknown_words(void **state)
{
	struct world *w = world_new(40);

	(void)state;
	world_mail_to(w, "S1", "a@later.x");
	world_run(w);
	assert_int_equal(world_act(w, "/v1/queue/delete", "domian", "later.x"), -400);
	assert_int_equal(world_act(w, "/v1/queue/flush", "sendr", "x"), -400);
	assert_int_equal(world_act(w, "/v1/queue/delete", "older", "1d"), -400);
	assert_int_equal(w->q.index.n, 1);
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(listed_in_pages),
	    cmocka_unit_test(deleted_everywhere),
	    cmocka_unit_test(flushed),
	    cmocka_unit_test(held_and_released),
	    cmocka_unit_test(held_from_the_start),
	    cmocka_unit_test(requeued),
	    cmocka_unit_test(answered_when_recorded),
	    cmocka_unit_test(deleted_in_delivery),
	    cmocka_unit_test(shown_in_pages),
	    cmocka_unit_test(unknown_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
