/* SPDX-License-Identifier: BSD-2-Clause */
/* flow.c -- tries the whole of core/qmgr: mail in, routes, deliveries, outcomes, reports,
 * restarts; the other ends are in world.c. */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>

static void one_mail(void **state)
{
	struct world *w = world_new(100);
	struct delivery *d;

	(void)state;
	world_smtpc_up(w, 10);
	world_run(w);
	assert_int_equal(w->credits, QMGR_CREDITS);
	world_mail(w, "S1", "me@example.org", "you@one.example");
	world_run(w);
	d = world_open(w, "one.example");
	assert_non_null(d);
	assert_string_equal(d->rcpts, "you@one.example");
	assert_int_equal(w->no, 0);
	world_end(w, d, META1_OK, META1_ABOUT_MAIL, 250, "2.0.0 taken");
	world_run(w);
	assert_int_equal(w->no, 1);
	assert_int_equal(w->o[0].state, META1_R_DELIVERED);
	assert_string_equal(w->o[0].by, "mx: 250 2.0.0 taken");
	assert_int_equal(w->q.index.n, 0);
	assert_int_equal(w->q.memory, 0);
	assert_int_equal(qmgr_active_count(&w->q), 0);
	world_free(&w);
}

/* Recipients of one destination go together, whatever their domains; a question a domain. */
static void grouped(void **state)
{
	struct world *w = world_new(100);

	(void)state;
	world_mail(w, "S1", "me@example.org", "a@x.shared b@y.shared c@one.example d@x.shared");
	world_mail(w, "S2", "me@example.org", "e@x.shared f@one.example");
	world_run(w);
	assert_int_equal(w->asked, 3);
	world_smtpc_up(w, 10);
	world_run(w);
	assert_int_equal(w->nd, 4);
	assert_int_equal(w->d[0].n + w->d[1].n + w->d[2].n + w->d[3].n, 6);
	assert_string_equal(world_open(w, "shared")->id, "S1");
	assert_int_equal(world_open(w, "shared")->n, 3);
	world_free(&w);
}

/* One recipient each way; only what failed is reported, once, to the sender. */
static void mixed_results(void **state)
{
	struct world *w = world_new(100);
	struct delivery *d;

	(void)state;
	world_smtpc_up(w, 10);
	world_mail(
	    w, "S1", "me@example.org", "a@one.example b@one.example c@one.example n@never.x");
	world_run(w);
	d = world_open(w, "one.example");
	assert_int_equal(d->n, 3);
	world_result(w, d, 0, META1_PERMFAIL, 550, "5.1.1 unknown");
	world_result(w, d, 1, META1_TEMPFAIL, 450, "4.2.1 busy");
	world_end(w, d, META1_OK, META1_ABOUT_MAIL, 250, "ok");
	world_run(w);
	assert_int_equal(world_outcome(w, "S1", 2).state, META1_R_DELIVERED);
	assert_int_equal(world_outcome(w, "S1", 1).state, META1_R_WAITING);
	assert_int_equal(world_outcome(w, "S1", 1).tries, 1);
	assert_in_range(world_outcome(w, "S1", 1).next_try, WALL0 + 270, WALL0 + 335);
	/* Nothing of it is active: both failures are in one report at once. */
	assert_int_equal(w->ns, 1);
	assert_string_equal(w->s[0].id, "S1-4"); /* the route failed first */
	assert_string_equal(w->s[0].to, "me@example.org");
	assert_non_null(strstr(w->s[0].text, "rfc822; a@one.example"));
	assert_non_null(strstr(w->s[0].text, "rfc822; n@never.x"));
	assert_non_null(strstr(w->s[0].text, "Subject: hello"));
	assert_null(strstr(w->s[0].text, "b@one"));
	assert_int_equal(world_outcome(w, "S1", 0).state, META1_R_BOUNCED);
	assert_string_equal(world_outcome(w, "S1", 0).by, "S1-4");
	d = world_open(w, "example.org"); /* the report is on its way, from nobody */
	assert_non_null(d);
	assert_string_equal(d->from, "");
	assert_string_equal(d->id, "S1-4");
	world_end(w, d, META1_PERMFAIL, META1_ABOUT_MAIL, 550, "no");
	world_run(w);
	assert_int_equal(world_outcome(w, "S1-4", 0).state, META1_R_FAILED);
	assert_int_equal(w->ns, 1); /* no report of a report */
	world_pass(w, 340);
	d = world_open(w, "one.example");
	assert_non_null(d);
	assert_string_equal(d->rcpts, "b@one.example");
	world_end(w, d, META1_OK, META1_ABOUT_MAIL, 250, "ok");
	world_run(w);
	assert_int_equal(w->q.index.n, 0);
	world_free(&w);
}

/* No outcome is given before its place in the order: intent, report, bounced, the report. */
static void order_of_a_report(void **state)
{
	struct world *w = world_new(100);

	(void)state;
	w->store_holds = true;
	world_mail(w, "S1", "me@example.org", "a@never.x b@never.x");
	world_run(w);
	assert_int_equal(w->no, 2);
	assert_int_equal(w->o[0].state, META1_R_WAITING);
	assert_string_equal(w->o[0].reason, "report=1; 556 5.1.10 the domain takes no mail");
	assert_string_equal(w->o[1].reason, w->o[0].reason);
	assert_int_equal(w->ns, 0);
	w->store_holds = false;
	world_run(w);
	assert_int_equal(w->ns, 1);
	assert_int_equal(world_outcome(w, "S1", 1).state, META1_R_BOUNCED);
	world_free(&w);
}

static void store_full(void **state)
{
	struct world *w = world_new(100);

	(void)state;
	world_mail(w, "S1", "me@example.org", "a@never.x");
	w->store_fails = true;
	world_run(w);
	assert_int_equal(w->ns, 0);
	world_pass(w, 10);
	assert_int_equal(world_outcome(w, "S1", 0).state, META1_R_WAITING);
	assert_int_equal(w->q.index.n, 1);
	w->store_fails = false;
	world_pass(w, 40);
	assert_int_equal(w->ns, 1);
	assert_int_equal(world_outcome(w, "S1", 0).state, META1_R_BOUNCED);
	world_free(&w);
}

/* A restart in the middle of a report: with the report stored there is no second one,
 * without it the recipient is tried again. */
static void restart_in_a_report(void **state)
{
	struct world *w = world_new(100);
	struct meta1_qrcpt r = {
	    .addr = buf_str("a@one.example"), .reason = buf_str("report=1; 550 no")};
	struct meta1_qrcpt to = {.addr = buf_str("me@example.org")};

	(void)state;
	world_smtpc_up(w, 10);
	world_entry(w, "S1", "me@example.org", &r, 1, WALL0 - 100);
	world_entry(w, "S2", "me@example.org", &r, 1, WALL0 - 100);
	world_entry(w, "S1-1", "", &to, 1, WALL0 - 50);
	world_mail(w, "S3", "x@example.org", "new@two.example");
	world_run(w);
	assert_non_null(world_open(w, "two.example")); /* new mail flows */
	assert_null(world_open(w, "one.example"));
	world_recovered(w);
	assert_int_equal(world_outcome(w, "S1", 0).state, META1_R_BOUNCED);
	assert_string_equal(world_outcome(w, "S1", 0).by, "S1-1");
	assert_string_equal(world_open(w, "one.example")->id, "S2");
	assert_int_equal(w->ns, 0);
	r.addr = buf_str("a@three.example"); /* one that is read late is decided too */
	world_entry(w, "S4", "me@example.org", &r, 1, WALL0 - 100);
	world_run(w);
	assert_string_equal(world_open(w, "three.example")->id, "S4");
	world_free(&w);
}

static void recovered_waits(void **state)
{
	struct world *w = world_new(100);
	struct meta1_qrcpt r[] = {
	    {.addr = buf_str("a@one.example"), .tries = 2, .next_try = WALL0 + 100},
	    {.addr = buf_str("b@two.example"), .tries = 2, .next_try = WALL0 + 999999999},
	    {.addr = buf_str("c@three.example"), .state = META1_R_DELIVERED}};

	(void)state;
	world_smtpc_up(w, 10);
	world_entry(w, "S1", "me@example.org", r, 3, WALL0 - 3600);
	world_recovered(w);
	assert_int_equal(w->nd, 0);
	world_pass(w, 99);
	assert_int_equal(w->nd, 0);
	world_pass(w, 3);
	assert_non_null(world_open(w, "one.example"));
	assert_null(world_open(w, "two.example"));
	world_pass(w, 3660); /* a wrong clock delays by max_retry_delay at most */
	assert_non_null(world_open(w, "two.example"));
	assert_null(world_open(w, "three.example"));
	world_free(&w);
}

/* smtpc dies: what it said is kept, the rest goes to the next one. */
static void smtpc_dies(void **state)
{
	struct world *w = world_new(100);
	struct delivery *d;

	(void)state;
	world_smtpc_up(w, 10);
	world_mail(w, "S1", "me@example.org", "a@one.example b@one.example");
	world_run(w);
	d = world_open(w, "one.example");
	world_result(w, d, 0, META1_OK, 250, "ok");
	world_run(w);
	world_smtpc_gone(w);
	assert_int_equal(w->q.ndelivery, 0);
	world_smtpc_up(w, 10);
	world_run(w);
	d = world_open(w, "one.example");
	assert_non_null(d);
	assert_string_equal(d->rcpts, "b@one.example");
	assert_int_equal(world_outcome(w, "S1", 0).state, META1_R_DELIVERED);
	world_free(&w);
}

/* smtpc stops in order, again and again: what it gives back was no try and is not put off, and
 * nothing more goes to one that leaves. */
static void smtpc_leaves(void **state)
{
	struct world *w = world_new(100);
	struct delivery *d;

	(void)state;
	world_mail(w, "S1", "me@example.org", "a@one.example");
	for (int life = 0; life < 3; life++) {
		struct p_window none = {.credits = 0};

		world_smtpc_up(w, 10);
		world_run(w);
		d = world_open(w, "one.example");
		assert_non_null(d);
		assert_true(chan_send(w->as_smtpc, P_WINDOW, &none));
		if (life == 1) /* told so, instead of found when it is gone */
			world_end(w, d, META1_CANCELED, META1_ABOUT_SESSION, 0, "");
		world_run(w);
		assert_int_equal(w->q.ndelivery, life != 1);
		world_smtpc_gone(w);
		assert_int_equal(w->q.ndelivery, 0);
	}
	assert_int_equal(world_outcome(w, "S1", 0).state, (uint32_t)-1);
	world_smtpc_up(w, 10);
	world_run(w);
	d = world_open(w, "one.example");
	assert_non_null(d);
	world_end(w, d, META1_OK, META1_ABOUT_MAIL, 250, "ok");
	world_run(w);
	assert_int_equal(world_outcome(w, "S1", 0).state, META1_R_DELIVERED);
	assert_int_equal(world_outcome(w, "S1", 0).tries, 0);
	world_free(&w);
}

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

static void routes_are_kept(void **state)
{
	struct p_generation gen = {.generation = 2};
	struct world *w = world_new(40);

	(void)state;
	world_mail(w, "S1", "me@example.org", "a@one.example b@ONE.Example");
	world_run(w);
	world_mail(w, "S2", "me@example.org", "c@one.example");
	world_run(w);
	assert_int_equal(w->asked, 1);
	world_pass(w, 301); /* its ttl */
	world_mail(w, "S3", "me@example.org", "c@one.example");
	world_run(w);
	assert_int_equal(w->asked, 2);
	chan_send(w->as_smar, P_GENERATION, &gen);
	world_run(w);
	world_mail(w, "S4", "me@example.org", "c@one.example");
	world_run(w);
	assert_int_equal(w->asked, 3);
	world_smtpc_up(w, 100);
	world_run(w);
	assert_int_equal(w->nd, 4);
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

static void unresolved(void **state)
{
	struct world *w = world_new(40);
	struct qmgr_msg *m;

	(void)state;
	world_smtpc_up(w, 8);
	world_mail(w, "S1", "me@example.org", "a@later.example");
	world_run(w);
	m = qmgr_msg_find(&w->q, "S1", 2);
	assert_int_equal(m->rcpt[0].phase, QP_WAIT);
	assert_int_equal(m->rcpt[0].tries, 1);
	assert_string_equal(world_outcome(w, "S1", 0).reason, "no answer");
	assert_int_equal(w->asked, 1);
	world_pass(w, 269);
	assert_int_equal(w->asked, 1);
	world_pass(w, 70);
	assert_int_equal(w->asked, 2);
	world_free(&w);
}

static json_int_t number(json_t *j, const char *key)
{
	return json_integer_value(json_object_get(j, key));
}

/* Pages of a queue that changes in between: what stays is shown once, in order. */
static void listed_in_pages(void **state)
{
	struct world *w = world_new(40);
	char id[16], next[32] = "";
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
	assert_int_equal(number(j, "under_way"), 1);
	json_decref(j);
	json_decref(world_ask(w, "DELETE", "/v1/queue/S4", NULL, NULL, &status));
	/* The store must not free what is being read. */
	assert_int_equal((int)world_outcome(w, "S3", 0).state, -1);
	assert_int_equal((int)world_outcome(w, "S4", 0).state, -1);
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
	assert_in_range(number(json_array_get(json_object_get(j, "destinations"), 0), "dead_until"),
	    WALL0 + 60, WALL0 + 60);
	json_decref(j);
	assert_int_equal(w->nd, 1);
	json_decref(world_ask(w, "POST", "/v1/queue/flush", NULL, NULL, &status));
	assert_int_equal(w->nd, 2); /* one probes the host that was dead */
	j = world_ask(w, "GET", "/v1/status", NULL, NULL, &status);
	assert_int_equal(number(j, "messages"), 2);
	assert_int_equal(number(j, "deliveries"), 1);
	json_decref(j);
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

static int64_t acted(struct world *w, const char *path, const char *key, const char *value)
{
	int status;
	json_t *j = world_ask(w, "POST", path, key, value, &status);
	int64_t n = j ? number(j, "recipients") : -status;

	json_decref(j);
	return n;
}

static const char *why(struct world *w, const char *id, unsigned rcpt, int64_t *until)
{
	static char what[40];
	char path[64];
	int status;
	json_t *j, *r;

	snprintf(path, sizeof(path), "/v1/why/%s", id);
	j = world_ask(w, "GET", path, NULL, NULL, &status);
	assert_non_null(j);
	r = json_array_get(json_object_get(j, "recipients"), rcpt);
	str_copy(what, sizeof(what), json_string_value(json_object_get(r, "waits_for")));
	*until = number(r, "until");
	json_decref(j);
	return what;
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
	assert_int_equal(acted(w, "/v1/queue/hold", "domain", "one.example"), 1); /* S2's is */
	assert_int_equal(acted(w, "/v1/queue/hold", "id", "S9"), -404);
	assert_int_equal(acted(w, "/v1/queue/hold", NULL, NULL), -400);
	world_smtpc_up(w, 8);
	world_run(w);
	assert_int_equal(w->nd, 1);
	assert_string_equal(w->d[0].rcpts, "b@two.example");
	assert_string_equal(world_outcome(w, "S1", 0).reason, "held=1234; ");
	assert_int_equal(acted(w, "/v1/queue/hold", "id", "S1"), 1); /* while it is delivered */
	world_end(w, &w->d[0], META1_TEMPFAIL, META1_ABOUT_MAIL, 451, "later");
	world_run(w);
	assert_string_equal(world_outcome(w, "S1", 1).reason, "held=1234; mx: 451 later");
	assert_int_equal(acted(w, "/v1/queue/flush", "id", "S1"), 0);
	world_pass(w, 8 * 86400); /* longer than it may stay */
	assert_int_equal(w->nd, 1);
	assert_int_equal(w->ns, 0);
	assert_string_equal(why(w, "S1", 0, &until), "held");
	assert_string_equal(why(w, "S2", 0, &until), "held");
	assert_int_equal(acted(w, "/v1/queue/release", "state", "held"), 3);
	assert_int_equal(w->nd, 4);
	assert_string_equal(world_outcome(w, "S2", 0).reason, "mx: 451 later");
	assert_int_equal(world_outcome(w, "S2", 0).tries, 2);
	world_free(&w);
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
	assert_int_equal(acted(w, "/v1/queue/requeue", "dry_run", "1"), -400);
	assert_int_equal(acted(w, "/v1/queue/flush", "dry_run", "1"), 2);
	assert_int_equal(w->nd, 0);
	assert_int_equal(acted(w, "/v1/queue/flush", "recipient", "m@two.example"), 1);
	assert_int_equal(w->nd, 1);
	assert_string_equal(w->via, "[192.0.2.7]:25"); /* of an earlier life */
	world_end(w, &w->d[0], META1_TEMPFAIL, META1_ABOUT_MAIL, 451, "later");
	world_run(w);
	assert_string_equal(world_outcome(w, "S1", 1).reason, "via=[192.0.2.7]:25; mx: 451 later");
	assert_int_equal(acted(w, "/v1/queue/requeue", "id", "S1"), 2);
	assert_int_equal(w->nd, 3);
	assert_int_equal(world_outcome(w, "S1", 0).tries, 0);
	assert_string_equal(world_outcome(w, "S1", 1).reason, "");
	j = world_ask(w, "POST", "/v1/queue/hold", "to", "[192.0.2.7]", &status);
	assert_null(j);
	assert_int_equal(status, 400);
	world_free(&w);
}

/* What each recipient waits for, as the schedule stands. */
static void reasons_to_wait(void **state)
{
	struct world *w = world_new(40);
	struct meta1_qrcpt later = {.addr = buf_str("l@one.example"), .next_try = WALL0 + 999};
	int64_t until;

	(void)state;
	world_entry(w, "S1", "me@example.org", &later, 1, WALL0);
	world_mail(w, "S2", "me@example.org", "a@one.example");
	world_run(w);
	assert_string_equal(why(w, "S1", 0, &until), "retry");
	assert_in_range(until, WALL0 + 999, WALL0 + 1005);
	assert_string_equal(why(w, "S2", 0, &until), "smtpc");
	world_smtpc_up(w, 8);
	world_run(w);
	assert_string_equal(why(w, "S2", 0, &until), "delivery");
	world_end(w, &w->d[0], META1_TEMPFAIL, META1_ABOUT_HOST, 0, "refused");
	world_run(w);
	assert_string_equal(why(w, "S2", 0, &until), "dead_destination");
	assert_in_range(until, WALL0 + 60, WALL0 + 61);
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one_mail),
	    cmocka_unit_test(grouped),
	    cmocka_unit_test(mixed_results),
	    cmocka_unit_test(order_of_a_report),
	    cmocka_unit_test(store_full),
	    cmocka_unit_test(restart_in_a_report),
	    cmocka_unit_test(recovered_waits),
	    cmocka_unit_test(smtpc_dies),
	    cmocka_unit_test(smtpc_leaves),
	    cmocka_unit_test(dead_destination),
	    cmocka_unit_test(active_bound),
	    cmocka_unit_test(active_many),
	    cmocka_unit_test(routes_are_kept),
	    cmocka_unit_test(mailing_under_way),
	    cmocka_unit_test(unresolved),
	    cmocka_unit_test(full_memory),
	    cmocka_unit_test(listed_in_pages),
	    cmocka_unit_test(deleted_everywhere),
	    cmocka_unit_test(flushed),
	    cmocka_unit_test(held_and_released),
	    cmocka_unit_test(requeued),
	    cmocka_unit_test(reasons_to_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
