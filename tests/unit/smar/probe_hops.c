/* SPDX-License-Identifier: BSD-2-Clause */
/* probe_hops.c -- probes of next hops: which hop is asked, over which session. */
#include "probes.h"

/* ---- hops and sessions ---- */
static void few_sessions(void **state)
{
	struct asked q[8];
	char key[8][20];

	(void)state;
	for (int i = 0; i < 8; i++) {
		snprintf(key[i], sizeof(key[i]), "u%d@a.test", i);
		ask(&q[i], key[i]);
	}
	assert_int_equal(opens, 2);
	for (int i = 5; i < 8; i++)
		is(&q[i], PROBE_UNKNOWN, "", "too many probes wait for the next hop");
	opened();
	opened();
	for (int i = 0; i < 5; i++) {
		assert_int_equal(q[i].told, 0);
		takes();
	}
	for (int i = 0; i < 5; i++)
		is(&q[i], PROBE_YES, "2.1.5", "ok");
	assert_int_equal(opens, 2);
	/* kept for a while */
	assert_int_equal(shuts, 1); /* one had three */
	pass(4999);
	ask(&q[0], "v@a.test");
	assert_int_equal(opens, 2);
	takes();
	assert_int_equal(shuts, 2); /* so has the other */
	ask(&q[0], "w@a.test");
	opened();
	takes();
	pass(4999);
	assert_int_equal(shuts, 2);
	pass(2);
	assert_int_equal(shuts, 3);
}

static void an_idle_one_was_dead(void **state)
{
	struct asked q;

	(void)state;
	ask(&q, "u@a.test");
	opened();
	takes();
	ask(&q, "v@a.test");
	says(0, "", "", META1_TEMPFAIL, META1_ABOUT_SESSION);
	assert_int_equal(opens, 2);
	opened();
	takes();
	is(&q, PROBE_YES, "2.1.5", "ok");
	/* seen before it is used */
	((struct hop_end *)prober->hops->sessions->sess)->dead = true;
	ask(&q, "w@a.test");
	assert_int_equal(opens, 3);
	opened();
	/* the same twice: it is the host */
	says(0, "", "", META1_TEMPFAIL, META1_ABOUT_SESSION);
	opened();
	says(0, "", "", META1_TEMPFAIL, META1_ABOUT_SESSION);
	is(&q, PROBE_UNKNOWN, "", "the next hop broke off");
}

/* Dead sessions are at their limit while one comes back to be asked by a new one. */
static void no_line_stands_still(void **state)
{
	struct asked q[3];

	(void)state;
	ask(&q[0], "u0@a.test");
	ask(&q[1], "u1@a.test");
	ask(&q[2], "u2@a.test");
	opened();
	opened();
	says(0, "", "", META1_TEMPFAIL, META1_ABOUT_SESSION); /* u0: again, with a new one */
	assert_int_equal(opens, 3);
	takes(); /* u1 */
	for (int i = 0; i < 3 && open_reqs; i++)
		if (open_reqs->probe)
			takes();
		else
			opened();
	while (open_reqs)
		takes();
	for (int i = 0; i < 3; i++)
		is(&q[i], PROBE_YES, "2.1.5", "ok");
}

static void away(void **state)
{
	struct asked q[4], next;

	(void)state;
	for (int i = 0; i < 4; i++) {
		char key[20];

		snprintf(key, sizeof(key), "u%d@a.test", i);
		ask(&q[i], key);
	}
	assert_int_equal(opens, 2);
	lost();
	lost();
	for (int i = 0; i < 4; i++)
		is(&q[i], PROBE_UNKNOWN, "", "the next hop cannot be reached");
	ask(&next, "v@a.test"); /* nobody waits for it again */
	is(&next, PROBE_UNKNOWN, "", "the next hop cannot be reached");
	assert_int_equal(opens, 2);
	pass(PROBE_PAUSE);
	ask(&next, "v@a.test");
	assert_int_equal(opens, 3);
	opened();
	takes();
	is(&next, PROBE_YES, "2.1.5", "ok");
}

static void the_next_hop_then(void **state)
{
	struct asked q;

	(void)state;
	ask_at(&q, "u@a.test", "123", true);
	assert_string_equal(open_reqs->end->addr, "192.0.2.1");
	lost();
	assert_string_equal(open_reqs->end->addr, "192.0.2.2");
	opened();
	lost(); /* in the dialogue */
	assert_string_equal(open_reqs->end->addr, "192.0.2.3");
	opened();
	takes();
	is(&q, PROBE_YES, "2.1.5", "ok");
	ask_at(&q, "v@a.test", "12", true); /* the first is left alone */
	assert_string_equal(open_reqs->end->addr, "192.0.2.2");
	lost();
	is(&q, PROBE_UNKNOWN, "", "the next hop cannot be reached");
	ask_at(&q, "v@a.test", "", true);
	is(&q, PROBE_UNKNOWN, "", "there is no next hop");
}

/* The hop does not offer SMTPUTF8, as the transport says without asking. */
static void lacks_it(bool mail)
{
	struct meta1_req *r = open_reqs;
	struct meta1_reply reply = {.size = sizeof(reply),
	    .text = "no SMTPUTF8",
	    .dsn = "5.6.7",
	    .scope = META1_ABOUT_OFFER};
	struct meta1_reply end = {.size = sizeof(end), .text = "end"};

	assert_true(r && r->probe);
	DL_DELETE(open_reqs, r);
	if (!mail)
		r->rcpt(r->arg, 0, META1_PERMFAIL, &reply);
	r->done(r->arg, mail ? META1_PERMFAIL : META1_OK, mail ? &reply : &end);
	free(r);
}

/* Says no when none of the hops offers what the recipient needs, and one does not for all. */
static void what_a_hop_lacks(void **state)
{
	struct asked q;
	char key[40];

	(void)state;
	for (int mail = 0; mail < 2; mail++) { /* of the mail as a whole, or of the recipient */
		snprintf(key, sizeof(key), "\303\244%d@a.test", mail);
		ask_at(&q, key, "12", true);
		assert_string_equal(open_reqs->end->addr, "192.0.2.1");
		if (!open_reqs->probe)
			opened();
		lacks_it(mail);
		assert_int_equal(q.told, 0);
		assert_string_equal(open_reqs->end->addr, "192.0.2.2");
		if (!open_reqs->probe)
			opened();
		takes();
		is(&q, PROBE_YES, "2.1.5", "ok");
		snprintf(key, sizeof(key), "\303\266%d@a.test", mail);
		ask_at(&q, key, "12", true);
		lacks_it(mail);
		lacks_it(!mail);
		is(&q, PROBE_NO, "5.6.7", "no SMTPUTF8");
		assert_int_equal(word_of(key), PROBE_NO);
		pass(5001);
	}
	/* the other one is away: it might offer it */
	ask_at(&q, "\303\244x@a.test", "12", true);
	opened();
	lacks_it(false);
	lost();
	is(&q, PROBE_UNKNOWN, "", "the next hop cannot be reached");
	ask_at(&q, "\303\244x@a.test", "21", true);
	lacks_it(false);
	is(&q, PROBE_UNKNOWN, "", "the next hop does not offer what is needed to ask it");
}

/* A hop that wants no more connections keeps those it has, and is not away. */
static void one_too_many(void **state)
{
	struct asked q[3];
	struct meta1_req *busy;

	(void)state;
	ask(&q[0], "u0@a.test");
	opened();
	busy = open_reqs;
	ask(&q[1], "u1@a.test");
	ask(&q[2], "u2@a.test");
	assert_int_equal(opens, 2);
	DL_DELETE(open_reqs, busy); /* the second connection is answered first */
	lost();
	DL_APPEND(open_reqs, busy);
	assert_int_equal(opens, 2);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(q[i].told, 0);
		takes();
		is(&q[i], PROBE_YES, "2.1.5", "ok");
	}
	assert_int_equal(opens, 2);
}

static void ends_in_flight(void **state)
{
	static struct asked q[5];

	(void)state;
	for (int i = 0; i < 5; i++) {
		char key[20];

		snprintf(key, sizeof(key), "u%d@a.test", i);
		ask(&q[i], key);
	}
	opened(); /* one is asked, one is opened, three wait */
	prober_free(&prober);
	for (int i = 0; i < 5; i++)
		is(&q[i], PROBE_UNKNOWN, "", "the server is stopping");
}

int main(void)
{
	const struct CMUnitTest tests[] = {T(few_sessions), T(an_idle_one_was_dead),
	    T(no_line_stands_still), T(away), T(the_next_hop_then), T(what_a_hop_lacks),
	    T(one_too_many), T(ends_in_flight)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
