/* SPDX-License-Identifier: BSD-2-Clause */
/* tags.c -- each tag of the access map, at each stage, with what TLS and AUTH proved. */
#include "checks.h"

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

/* A name of a certificate has 1024 bytes at most, each of which may be three in the key. */
static void long_names(void **state)
{
	static char name[1025] = "/CN=", subject[3100] = "certsubject:/cn=",
		    issuer[3100] = "certissuer:/cn=", *s = subject + 16, *i = issuer + 15;
	static const struct table_row rows[] = {
	    {issuer, "RELAY"}, {subject, "error:550 5.7.1 not you"}, {NULL, NULL}};
	struct p_check q = {.stages = STAGE_MAIL,
	    .flags = SMTPS_F_ACCESS,
	    .tls = TLS_GOOD_CERT,
	    .client = buf_str("192.0.2.5"),
	    .from = buf_str("x@a.test")};
	struct world w;

	(void)state;
	for (unsigned n = 4; n < 1024; n++) {
		name[n] = ' ';
		s = stpcpy(s, "+20");
		i = stpcpy(i, "+20");
	}
	start(&w, true);
	w.access.rows = rows;
	q.cert_issuer = buf_str(name);
	assert_int_equal(ask(&w, &q).grants, GRANT_RELAY);
	q.cert_subject = buf_str(name);
	assert_int_equal(ask(&w, &q).smtp, 550);
	q.cert_subject = buf_of(name, 1023);
	assert_int_equal(ask(&w, &q).smtp, 250);
	loop_free(&w.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_tag),
	    cmocka_unit_test(grants_of_mail),
	    cmocka_unit_test(long_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
