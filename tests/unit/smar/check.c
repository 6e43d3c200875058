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
    {"helo:localhost", "550 5.7.1 not your name"},
    {"helo:.dyn.test", "REJECT"},
    {"helo:friend.test", "RELAY"},
    {"helo:quick.test", "QUICK:OK"},
    {"helo:[192.0.2.9]", "error:451 4.7.1 later"},
    {"certsubject:/cn=laptop+207", "RELAY"},
    {"certsubject:/cn=stolen", "REJECT"},
    {"certissuer:/o=ours", "RELAY"},
    {"certissuer:/o=odd", "OK"},
    {"protectedrcpt:all@lmtp.test",
	"cltaddr:192.0.2.7 from:boss@a.test auth:Ann certsubject:/cn=key"},
    {"protectedrcpt:ours@lmtp.test", "relay error:450 4.7.1 our people first"},
    {"protectedrcpt:free@lmtp.test", "OK"},
    {"protectedrcpt:odd@lmtp.test", "from:boss@a.test nonsense"},
    {"protectedrcpt:oddreply@lmtp.test", "relay error:250 fine"},
    {"protectedrcpt:.prot.sub.test", "from:.a.test"},
    {"protectedrcpt:gone@lmtp.test", NULL},
    {NULL, NULL},
};

struct world {
	struct loop *loop;
	struct smar_policy policy;
	struct table_map mt, access;
};
struct verdict {
	unsigned told;
	uint64_t action, smtp, ttl, grants;
	char text[400], dsn[12], rule[1001];
};

static void told(void *arg, const struct p_verdict *v)
{
	struct verdict *out = arg;

	out->told++;
	out->action = v->action;
	out->smtp = v->smtp;
	out->ttl = v->ttl;
	out->grants = v->grants;
	snprintf(
	    out->rule, sizeof(out->rule), "%.*s", (int)v->rule.len, (const char *)v->rule.data);
	snprintf(
	    out->text, sizeof(out->text), "%.*s", (int)v->text.len, (const char *)v->text.data);
	snprintf(out->dsn, sizeof(out->dsn), "%.*s", (int)v->dsn.len, (const char *)v->dsn.data);
}

static struct verdict ask_once(struct world *w, const struct p_check *q)
{
	struct verdict v = {.told = 0};

	w->access.asked = w->mt.asked = 0;
	smar_check(&w->policy, q, loop_now(w->loop) + 10000, told, &v);
	for (int i = 0; i < 300 && !v.told; i++)
		loop_turn(w->loop, false);
	assert_int_equal(v.told, 1);
	assert_int_equal(w->policy.refs, 1);
	return v;
}

/* Maps that answer on a later turn and maps that answer inside the call are asked for the same and
 * lead to the same. */
static struct verdict ask(struct world *w, const struct p_check *q)
{
	struct verdict late, v;
	unsigned asked;

	w->access.map.find = w->mt.map.find = NULL;
	late = ask_once(w, q);
	asked = w->access.asked + w->mt.asked;
	w->access.map.find = w->mt.map.find = table_find;
	v = ask_once(w, q);
	assert_int_equal(w->access.asked + w->mt.asked, asked);
	assert_int_equal(v.action, late.action);
	assert_int_equal(v.smtp, late.smtp);
	assert_int_equal(v.ttl, late.ttl);
	assert_int_equal(v.grants, late.grants);
	assert_string_equal(v.text, late.text);
	assert_string_equal(v.dsn, late.dsn);
	assert_string_equal(v.rule, late.rule);
	return v;
}

static struct verdict check(struct world *w, const char *client, const char *from, const char *rcpt)
{
	struct p_check q = {.stages = STAGE_ALL,
	    .client = buf_str(client),
	    .from = buf_str(from),
	    .rcpt = buf_str(rcpt),
	    .flags = SMTPS_F_ACCESS | SMTPS_F_DELAY};

	return ask(w, &q);
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

#define EARLY  (STAGE_CONNECT | STAGE_HELO | STAGE_MAIL)
#define ACCESS SMTPS_F_ACCESS
#define DELAY  SMTPS_F_DELAY

/* What smtps says of TLS and AUTH, HELO, and what comes at which stage. */
struct full {
	uint32_t stages;
	uint64_t flags;
	const char *client, *helo, *from, *rcpt, *auth, *subject, *issuer;
	uint32_t tls;
	unsigned smtp;
	const char *rule; /* NULL: not looked at */
	uint32_t grants;
};

#define HELO(h) STAGE_ALL, ACCESS | DELAY, "192.0.2.5", h, "a@b.test", "u@lmtp.test", "", "", "", 0
#define CERT(flags, client, rcpt, s, i, tls)                                                       \
	STAGE_ALL, flags, client, "localhost", "a@b.test", rcpt, "", s, i, tls
#define AUTH(flags, client)                                                                        \
	STAGE_ALL, flags, client, "localhost", "a@b.test", "u@far.test", "ann", "", "", 0
#define PROT(client, from, rcpt)                                                                   \
	STAGE_ALL, ACCESS | DELAY, client, "c.test", from, rcpt, "", "", "", 0
#define FAR "u@far.test"
static const struct full tags[] = {
    {HELO("localhost"), 550, "access helo:localhost", 0},
    {HELO("LOCALHOST."), 550, "access helo:localhost", 0},
    {HELO("x.dyn.test"), 550, "access helo:.dyn.test", 0},
    {HELO("dyn.test"), 250, NULL, 0},
    {HELO("[192.0.2.9]"), 451, "access helo:[192.0.2.9]", 0},
    {HELO(""), 250, NULL, 0},
    /* anyone can say HELO: RELAY there permits nothing */
    {STAGE_ALL, ACCESS | DELAY, "192.0.2.5", "friend.test", "a@b.test", FAR, "", "", "", 0, 550,
	"relay", GRANT_OK},
    {STAGE_ALL, ACCESS | DELAY, "192.0.2.5", "friend.test", "x@spam.test", "u@lmtp.test", "", "",
	"", 0, 250, NULL, GRANT_OK},
    /* who may relay is not judged by HELO */
    {STAGE_ALL, ACCESS | DELAY, "10.9.9.9", "localhost", "a@b.test", FAR, "", "", "", 0, 250, NULL,
	GRANT_RELAY},
    /* without the flag nothing of it counts */
    {STAGE_ALL, DELAY, "10.4.4.4", "localhost", "x@spam.test", "u@lmtp.test", "", "", "", 0, 250,
	NULL, 0},
    /* certificates: verified ones alone; the client's address and HELO do not matter then
     */
    {CERT(ACCESS | DELAY, "10.4.4.4", FAR, "/CN=Laptop 7", "", TLS_GOOD_CERT), 250, NULL,
	GRANT_RELAY},
    {CERT(ACCESS | DELAY, "192.0.2.5", FAR, "/CN=Laptop 7", "", TLS_BAD_CERT), 550,
	"access helo:localhost", 0},
    {CERT(ACCESS | DELAY, "10.4.4.4", FAR, "/CN=x", "/O=Ours", TLS_GOOD_CERT), 250, NULL,
	GRANT_RELAY},
    {CERT(ACCESS | DELAY, "10.9.9.9", FAR, "/CN=stolen", "/O=Ours", TLS_GOOD_CERT), 550,
	"access certsubject:/cn=stolen", 0},
    {CERT(ACCESS | DELAY, "10.4.4.4", FAR, "/CN=x", "/O=odd", TLS_GOOD_CERT), 550, "relay",
	GRANT_OK},
    /* without delay_checks it excuses nothing */
    {CERT(ACCESS, "10.4.4.4", FAR, "/CN=Laptop 7", "", TLS_GOOD_CERT), 550,
	"access cltaddr:10.4.4.4", GRANT_RELAY},
    {CERT(ACCESS, "192.0.2.5", FAR, "/CN=Laptop 7", "", TLS_GOOD_CERT), 550,
	"access helo:localhost", GRANT_RELAY},
    /* AUTH, which needs no access map */
    {AUTH(ACCESS | DELAY, "10.4.4.4"), 250, NULL, GRANT_RELAY},
    {AUTH(DELAY, "10.4.4.4"), 250, NULL, GRANT_RELAY},
    {AUTH(0, "192.0.2.5"), 250, NULL, GRANT_RELAY},
    {AUTH(ACCESS, "10.4.4.4"), 550, "access cltaddr:10.4.4.4", GRANT_RELAY},
    /* protected recipients */
    {PROT("192.0.2.5", "a@b.test", "all@lmtp.test"), 550, "access protectedrcpt:all@lmtp.test", 0},
    {PROT("192.0.2.7", "a@b.test", "all@lmtp.test"), 250, NULL, 0},
    {PROT("192.0.2.5", "Boss@a.test", "ALL@lmtp.test"), 250, NULL, 0},
    {PROT("10.3.0.1", "a@b.test", "all@lmtp.test"), 550, "access protectedrcpt:all@lmtp.test",
	GRANT_OK}, /* OK is not enough */
    {PROT("10.2.0.1", "a@b.test", "all@lmtp.test"), 250, NULL,
	GRANT_OK | GRANT_QUICK | GRANT_RELAY},
    {STAGE_ALL, ACCESS | DELAY, "192.0.2.5", "c.test", "a@b.test", "all@lmtp.test", "ann", "", "",
	0, 250, NULL, GRANT_RELAY},
    {STAGE_ALL, ACCESS | DELAY, "192.0.2.5", "c.test", "a@b.test", "all@lmtp.test", "eve", "", "",
	0, 550, "access protectedrcpt:all@lmtp.test", GRANT_RELAY},
    {STAGE_ALL, ACCESS | DELAY, "192.0.2.5", "c.test", "a@b.test", "all@lmtp.test", "", "/CN=key",
	"", TLS_GOOD_CERT, 250, NULL, 0},
    {STAGE_ALL, ACCESS | DELAY, "192.0.2.5", "c.test", "a@b.test", "all@lmtp.test", "", "/CN=key",
	"", TLS_BAD_CERT, 550, NULL, 0},
    {PROT("10.9.9.9", "a@b.test", "ours@lmtp.test"), 250, NULL, GRANT_RELAY},
    {PROT("192.0.2.5", "a@b.test", "ours@lmtp.test"), 450, "access protectedrcpt:ours@lmtp.test",
	0},
    {PROT("192.0.2.5", "a@b.test", "free@lmtp.test"), 250, NULL, 0},
    {PROT("192.0.2.5", "a@b.test", "odd@lmtp.test"), 451, "access protectedrcpt:odd@lmtp.test", 0},
    {PROT("192.0.2.5", "boss@a.test", "odd@lmtp.test"), 250, NULL, 0},
    {PROT("192.0.2.5", "a@b.test", "oddreply@lmtp.test"), 451, NULL, 0},
    {PROT("192.0.2.5", "a@b.test", "gone@lmtp.test"), 451, NULL, 0},
    {PROT("192.0.2.5", "x@sub.a.test", "u@x.prot.sub.test"), 250, NULL, 0},
    {PROT("192.0.2.5", "x@a.test", "u@x.prot.sub.test"), 550, NULL, 0},
    /* the stages of their own, at MAIL without delay_checks */
    {EARLY, ACCESS, "10.4.4.4", "c.test", "a@b.test", "", "", "", "", 0, 550,
	"access cltaddr:10.4.4.4", 0},
    {EARLY, ACCESS, "10.9.9.9", "localhost", "a@b.test", "", "", "", "", 0, 250, "", GRANT_RELAY},
    {EARLY, ACCESS, "192.0.2.5", "localhost", "a@b.test", "", "", "", "", 0, 550,
	"access helo:localhost", 0},
    {EARLY, ACCESS, "10.3.0.1", "localhost", "x@spam.test", "", "", "", "", 0, 250, "", GRANT_OK},
    {EARLY, ACCESS, "10.6.0.1", "c.test", "a@b.test", "", "", "", "", 0, 451, "access cltaddr:10.6",
	0},
    /* there AUTH and a certificate excuse nothing, and still permit relaying at RCPT */
    {EARLY, ACCESS, "10.4.4.4", "c.test", "a@b.test", "", "ann", "", "", 0, 550,
	"access cltaddr:10.4.4.4", 0},
    {EARLY, ACCESS, "192.0.2.5", "localhost", "a@b.test", "", "ann", "", "", 0, 550,
	"access helo:localhost", 0},
    {EARLY, ACCESS, "10.4.4.4", "c.test", "a@b.test", "", "", "/CN=Laptop 7", "", TLS_GOOD_CERT,
	550, "access cltaddr:10.4.4.4", GRANT_RELAY},
    {EARLY, ACCESS | DELAY, "10.4.4.4", "localhost", "a@b.test", "", "", "/CN=Laptop 7", "",
	TLS_GOOD_CERT, 250, "", GRANT_RELAY},
    {STAGE_RCPT, ACCESS, "192.0.2.5", "c.test", "a@b.test", FAR, "ann", "", "", 0, 250, "",
	GRANT_RELAY},
    {STAGE_RCPT, ACCESS, "192.0.2.5", "c.test", "a@b.test", FAR, "", "", "", 0, 550, "relay", 0},
    {STAGE_HELO, ACCESS, "10.4.4.4", "c.test", "x@spam.test", "", "", "", "", 0, 250, "", 0},
    {STAGE_RCPT, ACCESS, "10.4.4.4", "localhost", "x@spam.test", "u@lmtp.test", "", "", "", 0, 250,
	"", 0},
};

static void every_tag(void **state)
{
	struct world w;

	(void)state;
	start(&w, true);
	for (size_t i = 0; i < ARRAY_LEN(tags); i++) {
		const struct full *r = &tags[i];
		struct p_check q = {.stages = r->stages, .flags = r->flags, .tls = r->tls};
		struct verdict v;

		q.client = buf_str(r->client);
		q.helo = buf_str(r->helo);
		q.from = buf_str(r->from);
		q.rcpt = buf_str(r->rcpt);
		q.auth = buf_str(r->auth);
		q.cert_subject = buf_str(r->subject);
		q.cert_issuer = buf_str(r->issuer);
		v = ask(&w, &q);
		if (v.smtp != r->smtp || (r->rule && strcmp(v.rule, r->rule) != 0) ||
		    v.grants != r->grants)
			fail_msg("row %zu: %u %s rule=%s grants=%u", i, (unsigned)v.smtp, v.text,
			    v.rule, (unsigned)v.grants);
	}
	loop_free(&w.loop);
}

/* RCPT after MAIL: what MAIL granted counts, and nothing is looked up twice. */
static void grants_of_mail(void **state)
{
	static const struct {
		uint64_t grants;
		const char *rcpt;
		unsigned smtp, asked; /* keys of the access map */
	} row[] = {
	    {0, "u@far.test", 550, 8},
	    {GRANT_RELAY, "u@far.test", 250, 8},
	    {GRANT_OK, "user@lmtp.test", 250, 4},
	    {GRANT_OK, "all@lmtp.test", 550, 1},
	    {GRANT_OK | GRANT_QUICK, "all@lmtp.test", 250, 0},
	};
	struct world w;

	(void)state;
	start(&w, true);
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct p_check q = {.stages = STAGE_RCPT,
		    .flags = SMTPS_F_ACCESS,
		    .grants = row[i].grants,
		    .client = buf_str("192.0.2.5"),
		    .from = buf_str("x@spam.test"),
		    .rcpt = buf_str(row[i].rcpt)};

		assert_int_equal(ask(&w, &q).smtp, row[i].smtp);
		assert_int_equal(w.access.asked, row[i].asked);
	}
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
	    cmocka_unit_test(every_tag),
	    cmocka_unit_test(grants_of_mail),
	    cmocka_unit_test(stages),
	    cmocka_unit_test(trace),
	    cmocka_unit_test(postmaster_loops),
	    cmocka_unit_test(addresses_that_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
