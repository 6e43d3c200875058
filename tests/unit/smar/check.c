/* SPDX-License-Identifier: BSD-2-Clause */
/* check.c -- who may send to whom: the order and the words told in smar.h, as a table. */
#include "maps.h"

static const struct table_row mailertable[] = {
    {"lmtp.test", "lmtp:"},
    {".sub.test", "lmtp:/run/x"},
    {"routed.test", "[192.0.2.9]"},
    {"broken.test", NULL},
    {"stop.test", "NOMORE"},
    {".stop.test", "lmtp:"},
    {"no.stop.test", "NOMORE"},
    {NULL, NULL},
};
static const struct table_row access_rows[] = {
    {"cltaddr:10", "RELAY"},
    {"cltaddr:10.1", "CONT"},
    {"cltaddr:10.2", "QUICK:RELAY"},
    {"cltaddr:10.3.0.0/16", "OK"},
    {"cltaddr:10.4.4.4", "REJECT"},
    {"cltaddr:10.5", "QUICK:CONT"},
    {"cltaddr:10.6", "what?"},
    {"cltaddr:10.7", NULL},
    {"cltaddr:unix", "RELAY"},
    {"cltaddr:2001:db8::/32", "RELAY"},
    {"from:spam.test", "error:553 5.1.8 no mail from you"},
    {"from:friend@a.test", "RELAY"},
    {"from:<>", "REJECT"},
    {"to:relay.test", "RELAY"},
    {"to:.relay.test", "RELAY"},
    {"to:user@lmtp.test", "REJECT"},
    {"to:hole@lmtp.test", "DISCARD"},
    {"to:slow@lmtp.test", "error:450 4.2.1 full"},
    {NULL, NULL},
};

struct world {
	struct loop *loop;
	struct smar_policy policy;
	struct table_map mt, access;
};
struct verdict {
	unsigned told;
	uint64_t action, smtp, ttl;
	char text[400], dsn[12];
};

static void told(void *arg, const struct p_verdict *v)
{
	struct verdict *out = arg;

	out->told++;
	out->action = v->action;
	out->smtp = v->smtp;
	out->ttl = v->ttl;
	snprintf(
	    out->text, sizeof(out->text), "%.*s", (int)v->text.len, (const char *)v->text.data);
	snprintf(out->dsn, sizeof(out->dsn), "%.*s", (int)v->dsn.len, (const char *)v->dsn.data);
}

static struct verdict check(struct world *w, const char *client, const char *from, const char *rcpt)
{
	struct p_check q = {.stages = STAGE_ALL,
	    .client = buf_str(client),
	    .from = buf_str(from),
	    .flags = SMTPS_F_ACCESS | SMTPS_F_DELAY};
	struct verdict v = {.told = 0};

	q.rcpt = buf_str(rcpt);
	smar_check(&w->policy, &q, loop_now(w->loop) + 10000, told, &v);
	for (int i = 0; i < 300 && !v.told; i++)
		loop_turn(w->loop, false);
	assert_int_equal(v.told, 1);
	assert_int_equal(w->policy.refs, 1);
	return v;
}

static void start(struct world *w, bool access)
{
	w->loop = loop_new();
	test_policy(&w->policy, w->loop);
	w->policy.mailertable = table_map(&w->mt, w->loop, "mt", mailertable);
	if (access)
		w->policy.access = table_map(&w->access, w->loop, "access", access_rows);
}

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
	    cmocka_unit_test(addresses_that_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
