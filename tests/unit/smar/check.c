/* SPDX-License-Identifier: BSD-2-Clause */
/* check.c -- who may send to whom: the order and the words told in smar.h, as a table. */
#include "checks.h"

struct row {
	const char *client, *from, *rcpt;
	unsigned smtp;
};
static void try_rows(struct world *w, const struct row *row, size_t n)
{
	static const unsigned action_of[] = {
	    [2] = ACT_ACCEPT, [4] = ACT_TEMPFAIL, [5] = ACT_REJECT};

	for (size_t i = 0; i < n; i++) {
		struct verdict v = check(w, row[i].client, row[i].from, row[i].rcpt);

		if (v.smtp != row[i].smtp)
			fail_msg("%s %s %s: %u %s, expected %u", row[i].client, row[i].from,
			    row[i].rcpt, (unsigned)v.smtp, v.text, row[i].smtp);
		assert_int_equal(v.action, action_of[v.smtp / 100]);
		assert_int_equal(v.dsn[0], '0' + (int)(v.smtp / 100));
		assert_int_equal(v.ttl, v.action == ACT_TEMPFAIL ? 0 : 60);
	}
}

static void without_access(void **state)
{
	static const struct row rows[] = {
	    {"192.0.2.5", "a@b.test", "u@gw.test", 250},
	    {"192.0.2.5", "a@b.test", "u@GW.Test.", 250},
	    {"192.0.2.5", "a@b.test", "u@x.gw.test", 550}, {"192.0.2.5", "a@b.test", "u@test", 550},
	    {"192.0.2.5", "a@b.test", "u@own.test", 250},
	    {"192.0.2.5", "a@b.test", "u@lmtp.test", 250},
	    {"192.0.2.5", "a@b.test", "u@a.sub.test", 250},
	    {"192.0.2.5", "a@b.test", "u@sub.test", 550},
	    {"192.0.2.5", "a@b.test", "u@routed.test", 550}, /* a route is no permission */
	    {"192.0.2.5", "a@b.test", "u@elsewhere.test", 550},
	    {"127.0.0.1", "u@gw.test", "u@elsewhere.test", 550}, /* relays for nobody */
	    {"unix", "u@gw.test", "u@elsewhere.test", 550}, {"192.0.2.5", "", "u@lmtp.test", 250},
	    {"192.0.2.5", "", "postmaster", 250}, {"192.0.2.5", "", "PostMaster", 250},
	    {"192.0.2.5", "", "postmaster@lmtp.test", 250},
	    {"192.0.2.5", "", "postmaster@elsewhere.test", 550},
	    {"192.0.2.5", "", "u@[192.0.2.1]", 250}, /* we listen there */
	    {"192.0.2.5", "", "u@[192.0.2.2]", 550},
	    {"192.0.2.5", "", "u%elsewhere.test@elsewhere.test", 550},
	    {"192.0.2.5", "", "\"u@elsewhere.test\"@gw.test", 250},
	    {"192.0.2.5", "", "u@broken.test", 451},
	    {"192.0.2.5", "", "postmaster@broken.test", 451},
	    {"192.0.2.5", "", "u@x.stop.test", 250}, {"192.0.2.5", "", "u@stop.test", 550},
	    {"192.0.2.5", "", "u@no.stop.test", 550}, /* no further keys */
	};
	struct world w;

	(void)state;
	start(&w, false);
	try_rows(&w, rows, ARRAY_LEN(rows));
	loop_free(&w.loop);
}

static void with_access(void **state)
{
	static const struct row rows[] = {
	    {"10.9.9.9", "a@b.test", "u@elsewhere.test", 250},
	    {"10.9.9.9", "x@spam.test", "u@elsewhere.test", 553}, /* RELAY goes on */
	    {"10.2.0.1", "x@spam.test", "u@elsewhere.test", 250}, /* QUICK:RELAY does not */
	    {"10.1.0.1", "a@b.test", "u@elsewhere.test", 550},	  /* CONT: not 10's RELAY */
	    {"10.1.0.1", "a@b.test", "u@relay.test", 250},
	    {"10.3.0.1", "x@spam.test", "u@lmtp.test", 250},   /* OK: no further checks */
	    {"10.3.0.1", "a@b.test", "u@elsewhere.test", 550}, /* OK permits no relaying */
	    {"10.4.4.4", "a@b.test", "u@lmtp.test", 550},
	    {"10.4.4.4", "a@b.test", "postmaster@lmtp.test", 250}, /* can always be reached */
	    {"10.4.4.4", "", "postmaster", 250},
	    {"10.5.0.1", "x@spam.test", "u@lmtp.test", 250},
	    {"10.5.0.1", "a@b.test", "u@relay.test", 550},
	    {"10.6.0.1", "a@b.test", "u@lmtp.test", 451}, /* a mistake in the map */
	    {"10.7.0.1", "a@b.test", "u@lmtp.test", 451}, /* a map that cannot say */
	    {"10.7.0.1", "a@b.test", "u@elsewhere.test", 451},
	    {"unix", "a@b.test", "u@elsewhere.test", 250},
	    {"2001:db8:1::7", "a@b.test", "u@elsewhere.test", 250},
	    {"2001:db9::7", "a@b.test", "u@elsewhere.test", 550},
	    {"192.0.2.5", "friend@a.test", "u@elsewhere.test", 550}, /* a sender proves nothing */
	    {"192.0.2.5", "friend@a.test", "user@lmtp.test", 250},   /* but counts as OK */
	    {"192.0.2.5", "", "u@lmtp.test", 550},		     /* from:<> */
	    {"192.0.2.5", "a@b.test", "u@relay.test", 250},
	    {"192.0.2.5", "a@b.test", "u@x.y.relay.test", 250},
	    {"192.0.2.5", "a@b.test", "u@xrelay.test", 550},
	    {"192.0.2.5", "a@b.test", "User@lmtp.test", 550},
	    {"192.0.2.5", "a@b.test", "user+x@lmtp.test", 550},
	    {"192.0.2.5", "a@b.test", "slow@lmtp.test", 450},
	};
	struct world w;
	struct verdict v;

	(void)state;
	start(&w, true);
	try_rows(&w, rows, ARRAY_LEN(rows));
	v = check(&w, "192.0.2.5", "a@b.test", "hole@lmtp.test");
	assert_int_equal(v.action, ACT_DISCARD);
	v = check(&w, "192.0.2.5", "x@spam.test", "u@lmtp.test");
	assert_string_equal(v.dsn, "5.1.8");
	assert_string_equal(v.text, "no mail from you");
	/* An answer that may not be kept makes a verdict that may not. */
	w.access.ttl = 0;
	v = check(&w, "192.0.2.5", "a@b.test", "u@relay.test");
	assert_int_equal(v.ttl, 0);
	loop_free(&w.loop);
}

/* What an access map is wanted for, and what not. */
static void stages(void **state)
{
	struct world w;

	(void)state;
	start(&w, true);
	assert_int_equal(smar_check_stages(&w.policy) & EARLY, EARLY);
	w.policy.access.map = NULL;
	assert_int_equal(smar_check_stages(&w.policy) & EARLY, 0);
	loop_free(&w.loop);
}

static struct {
	unsigned n, skipped, keys;
	char last[64], effect[500];
} seen;

static void traced(void *arg, const struct smar_trace *t)
{
	(void)arg;
	seen.n++;
	seen.skipped += t->skipped;
	seen.keys += t->nkey;
	str_copy(seen.last, sizeof(seen.last), t->check);
	str_copy(seen.effect, sizeof(seen.effect), t->effect);
}

/* The same verdict with a trace as without, which names every key that the map was asked. */
static void trace(void **state)
{
	static const char *const rcpt[] = {"u@far.test", "u@lmtp.test", "user@lmtp.test",
	    "all@lmtp.test", "odd@lmtp.test", "gone@lmtp.test", "u@broken.test", "postmaster",
	    "u@stop.test"};
	static const char *const client[] = {
	    "10.9.9.9", "10.4.4.4", "2001:db9::1", "unix", "10.6.0.1"};
	struct world w;

	(void)state;
	start(&w, true);
	for (size_t i = 0; i < ARRAY_LEN(rcpt) * ARRAY_LEN(client); i++) {
		struct p_check q = {.stages = STAGE_ALL,
		    .flags = SMTPS_F_ACCESS | SMTPS_F_DELAY,
		    .helo = buf_str("c.test"),
		    .from = buf_str("a+x@b.test")};
		struct verdict live, v = {.told = 0};
		unsigned asked;

		q.client = buf_str(client[i / ARRAY_LEN(rcpt)]);
		q.rcpt = buf_str(rcpt[i % ARRAY_LEN(rcpt)]);
		live = ask(&w, &q);
		asked = w.access.asked + w.mt.asked;
		memset(&seen, 0, sizeof(seen));
		smar_check_explain(&w.policy, &q, loop_now(w.loop) + 10000, told, traced, &v);
		for (int k = 0; k < 300 && !v.told; k++)
			loop_turn(w.loop, false);
		assert_int_equal(v.smtp, live.smtp);
		assert_string_equal(v.rule, live.rule);
		assert_int_equal(seen.keys, asked);
		if (v.smtp != 250)
			assert_non_null(strstr(seen.effect, v.text));
	}
	loop_free(&w.loop);
}

/* Aliases of postmaster that lead back are no reason to refuse it. */
static void postmaster_loops(void **state)
{
	static const struct table_row rows[] = {
	    {"postmaster", "root"}, {"root", "postmaster"}, {NULL, NULL}};
	struct table_map aliases;
	struct world w;

	(void)state;
	start(&w, false);
	w.policy.aliases = table_map(&aliases, w.loop, "aliases", rows);
	w.policy.aliases.flags = USE_F_LOCALPART;
	assert_int_equal(check(&w, "192.0.2.5", "a@b.test", "root@gw.test").smtp, 550);
	assert_int_equal(check(&w, "192.0.2.5", "a@b.test", "postmaster@gw.test").smtp, 250);
	loop_free(&w.loop);
}

static void addresses_that_are_none(void **state)
{
	char path[330];
	struct world w;

	(void)state;
	start(&w, true);
	memset(path, 'a', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(check(&w, "10.9.9.9", "a@b.test", path).smtp, 553);
	assert_int_equal(check(&w, "10.9.9.9", path, "u@lmtp.test").smtp, 553);
	assert_int_equal(check(&w, "10.9.9.9", "a@b.test", "").smtp, 553);
	assert_int_equal(check(&w, "10.9.9.9", "a@b.test", "@lmtp.test").smtp, 553);
	loop_free(&w.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(without_access),
	    cmocka_unit_test(with_access),
	    cmocka_unit_test(stages),
	    cmocka_unit_test(trace),
	    cmocka_unit_test(postmaster_loops),
	    cmocka_unit_test(addresses_that_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
