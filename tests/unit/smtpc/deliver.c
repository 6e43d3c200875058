/* SPDX-License-Identifier: BSD-2-Clause */
/* deliver.c -- tries core/smtpc/deliver.c, take.c and session.c: what comes back to qmgr for what a
 * transport says; the other ends are in ends.c. */
#include "ipc/hop.h"

#include "ends.h"

static void one_good(void **state)
{
	(void)state;
	deliver(7, 1, HOP1, NULL);
	answer(&open_req, META1_OK, 0, 220, "hi");
	assert_string_equal(offered, "r0 ");
	answer(&send_req, META1_OK, META1_ABOUT_MAIL, 250, "queued");
	assert_string_equal(told(), "d7:0:0:250:queued ");
	assert_int_equal(credits, 1);
}

static void one_refused(void **state)
{
	(void)state;
	deliver(7, 1, HOP1, HOP2);
	answer(&open_req, META1_OK, 0, 220, "hi");
	rcpt(0, META1_PERMFAIL, 550, "unknown");
	answer(&send_req, META1_TEMPFAIL, META1_ABOUT_HOST, 421, "bye");
	assert_string_equal(told(), "d7:5:0:550:unknown ");
}

static void two_of_five(void **state)
{
	(void)state;
	deliver(7, 5, HOP1, NULL);
	answer(&open_req, META1_OK, 0, 220, "hi");
	rcpt(1, META1_PERMFAIL, 550, "no");
	assert_string_equal(told(), "r1:5:550 "); /* at once */
	rcpt(4, META1_TEMPFAIL, 450, "later");
	rcpt(4, META1_OK, 250, "twice");
	answer(&send_req, META1_OK, META1_ABOUT_MAIL, 250, "queued");
	assert_string_equal(told(), "r4:4:450 d7:0:0:250:queued ");
}

static void next_host(void **state)
{
	(void)state;
	deliver(7, 5, HOP1, HOP2);
	assert_string_equal(open_peer->addr, "192.0.2.1");
	answer(&open_req, META1_OK, 0, 220, "hi");
	rcpt(1, META1_PERMFAIL, 550, "no");
	answer(&send_req, META1_TEMPFAIL, META1_ABOUT_HOST, 421, "busy");
	assert_int_equal(shuts, 1);
	assert_string_equal(open_peer->addr, "192.0.2.2");
	answer(&open_req, META1_OK, 0, 220, "hi");
	assert_string_equal(offered, "r0 r2 r3 r4 ");
	rcpt(1, META1_PERMFAIL, 551, "no"); /* r2 of qmgr's list */
	answer(&send_req, META1_OK, META1_ABOUT_MAIL, 250, "queued");
	assert_string_equal(told(), "r1:5:550 r2:5:551 d7:0:0:250:queued ");
}

static void all_hosts_fail(void **state)
{
	(void)state;
	deliver(7, 2, HOP1, HOP2);
	answer(&open_req, META1_TEMPFAIL, META1_ABOUT_HOST, 0, "refused");
	/* A host is never a permanent failure. */
	answer(&open_req, META1_PERMFAIL, META1_ABOUT_HOST, 554, "go away");
	assert_string_equal(told(), "d7:4:2:554:go away ");
	assert_int_equal(sends, 0);
}

static const char *first_tried(uint64_t id, const char *hop1, const char *hop2)
{
	deliver(id, 1, hop1, hop2);
	assert_non_null(open_req);
	return open_peer->addr;
}

static void fails(int smtp)
{
	answer(&open_req, META1_TEMPFAIL, META1_ABOUT_HOST, smtp, "no");
}

static void at(int64_t ms)
{
	loop_fake_clock(c.role.loop, ms, 1000000 + ms / 1000);
	told();
}

/* A host that does not answer is waited for once, then tried last until its pause is over. */
static void dead_host(void **state)
{
	struct meta1_req *probe;

	(void)state;
	assert_string_equal(first_tried(1, HOP1, HOP2), "192.0.2.1");
	fails(0);
	fails(421); /* the other says no: that is an answer */
	assert_string_equal(first_tried(2, HOP1, HOP2), "192.0.2.2");
	fails(421);
	assert_string_equal(open_peer->addr, "192.0.2.1"); /* last, but tried */
	fails(0);
	assert_string_equal(first_tried(3, "192.0.2.1 26 mx1", HOP2), "192.0.2.1"); /* other port */
	fails(421);
	fails(421);
	at(11000); /* after 10 s one looks, the others go on to avoid it */
	assert_string_equal(first_tried(4, HOP1, HOP2), "192.0.2.1");
	probe = open_req;
	open_req = NULL;
	assert_string_equal(first_tried(5, HOP1, HOP2), "192.0.2.2");
	fails(421);
	fails(421); /* it answered: forgotten */
	assert_string_equal(first_tried(6, HOP1, HOP2), "192.0.2.1");
	fails(421);
	fails(421);
	open_req = probe;
	fails(0); /* and dead again */
	fails(421);
	assert_string_equal(first_tried(7, HOP1, HOP2), "192.0.2.2");
	fails(0);
	fails(0);
	assert_string_equal(first_tried(8, HOP1, HOP2), "192.0.2.1"); /* both dead: as given */
	answer(&open_req, META1_OK, 0, 220, "hi");
	answer(&send_req, META1_OK, META1_ABOUT_MAIL, 250, "ok");
	assert_int_equal(HASH_COUNT(c.hosts), 1);
	told();
}

/* 10 s, 20 s … 5 min. */
static void dead_host_pauses(void **state)
{
	static const int64_t pause[] = {10, 20, 40, 80, 160, 300, 300};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(pause); i++) {
		assert_string_equal(first_tried(1, HOP1, HOP2), "192.0.2.1");
		fails(0);
		fails(421);
		at(loop_now(c.role.loop) + pause[i] * 1000 - 1);
		assert_string_equal(first_tried(2, HOP1, HOP2), "192.0.2.2");
		fails(421);
		fails(0); /* in its pause: counts for nothing */
		at(loop_now(c.role.loop) + 1);
	}
	at(loop_now(c.role.loop) + 301000); /* long ago: from the beginning */
	assert_string_equal(first_tried(3, HOP1, HOP2), "192.0.2.1");
	fails(0);
	fails(421);
	assert_int_equal(c.hosts->pause, 10000);
}

static void dead_hosts_bounded(void **state)
{
	char hop[64];

	(void)state;
	for (unsigned i = 0; i < SMTPC_HOSTS + 50; i++) {
		snprintf(hop, sizeof(hop), "10.0.%u.%u 25 mx", i / 256, i % 256);
		deliver(i, 1, hop, NULL);
		fails(0);
		told();
	}
	assert_int_equal(HASH_COUNT(c.hosts), SMTPC_HOSTS);
}

static void verdicts(void **state)
{
	(void)state;
	deliver(7, 2, HOP1, HOP2);
	answer(&open_req, META1_OK, 0, 220, "hi");
	answer(&send_req, META1_PERMFAIL, META1_ABOUT_MAIL, 554, "spam");
	assert_string_equal(told(), "d7:5:0:554:spam ");
	deliver(8, 2, HOP1, HOP2);
	answer(&send_req, META1_TEMPFAIL, META1_ABOUT_MAIL, 451, "later");
	assert_string_equal(told(), "d8:4:0:451:later:reused ");
	assert_int_equal(opens, 1);
}

static void lacks_rcpt(uint32_t i, const char *text)
{
	struct meta1_reply reply = {.size = sizeof(reply),
	    .text = text,
	    .smtp = 553,
	    .scope = META1_ABOUT_OFFER,
	    .dsn = "5.6.7"};

	send_req->rcpt(send_req->arg, i, META1_PERMFAIL, &reply);
}

/* What a hop does not offer the next may; the session is good for other mail. */
static void offers(void **state)
{
	(void)state;
	deliver(7, 2, HOP1, HOP2); /* the mail */
	answer(&open_req, META1_OK, 0, 220, "hi");
	answer(&send_req, META1_PERMFAIL, META1_ABOUT_OFFER, 550, "no UTF-8");
	assert_string_equal(open_peer->addr, "192.0.2.2");
	assert_int_equal(shuts, 0);
	answer(&open_req, META1_OK, 0, 220, "hi");
	assert_string_equal(offered, "r0 r1 ");
	answer(&send_req, META1_OK, META1_ABOUT_MAIL, 250, "ok");
	assert_string_equal(told(), "d7:0:0:250:ok ");
	deliver(8, 3, HOP1, HOP2); /* one recipient; the others are not kept waiting for it */
	lacks_rcpt(1, "no UTF-8");
	answer(&send_req, META1_OK, META1_ABOUT_MAIL, 250, "ok");
	assert_string_equal(told(), "r0:0:250 r2:0:250 ");
	assert_string_equal(offered, "r1 ");
	assert_string_equal(send_peer->addr, "192.0.2.2");
	answer(&send_req, META1_OK, META1_ABOUT_MAIL, 250, "ok");
	assert_string_equal(told(), "d8:0:0:250:ok:reused ");
}

/* None does: that is the verdict; but a host that did not answer may. */
static void nobody_offers(void **state)
{
	(void)state;
	deliver(7, 1, HOP1, HOP2);
	answer(&open_req, META1_OK, 0, 220, "hi");
	lacks_rcpt(0, "no UTF-8");
	answer(&send_req, META1_PERMFAIL, META1_ABOUT_MAIL, 553, "nobody");
	answer(&open_req, META1_OK, 0, 220, "hi");
	answer(&send_req, META1_PERMFAIL, META1_ABOUT_OFFER, 550, "no UTF-8 either");
	assert_string_equal(told(), "d7:5:0:550:no UTF-8 either ");
	smtpc_session_shut_idle(&c, NULL);
	deliver(8, 1, HOP1, HOP2);
	answer(&open_req, META1_OK, 0, 220, "hi");
	answer(&send_req, META1_PERMFAIL, META1_ABOUT_OFFER, 550, "no UTF-8");
	answer(&open_req, META1_TEMPFAIL, META1_ABOUT_HOST, 421, "busy");
	assert_string_equal(told(), "d8:4:0:421:busy ");
}

/* LMTP: the connection broke after two of three replies. */
static void k_of_n(void **state)
{
	(void)state;
	deliver(7, 3, HOP1, HOP2);
	answer(&open_req, META1_OK, 0, 220, "hi");
	rcpt(0, META1_OK, 250, "yes");
	rcpt(1, META1_TEMPFAIL, 452, "full");
	send_peer->dead = true;
	answer(&send_req, META1_TEMPFAIL, META1_ABOUT_MAIL, 0, "lost");
	assert_string_equal(told(), "r0:0:250 r1:4:452 d7:4:0:0:lost ");
	assert_int_equal(opens, 1);
	assert_int_equal(shuts, 1);
}

/* An address may have two names: where a name is verified a session is for that one alone. */
static void names_of_an_address(void **state)
{
	static const struct {
		int32_t policy;
		const char *hop;
		int opens;
	} t[] = {{TLS_POLICY_MAY, HOP1, 1}, {TLS_POLICY_MAY, "192.0.2.1 25 other.example", 1},
	    {TLS_POLICY_VERIFY, HOP1, 2}, {TLS_POLICY_VERIFY, "192.0.2.1 25 other.example", 3},
	    {TLS_POLICY_VERIFY, "192.0.2.1 25 MX1.example", 3}, {TLS_POLICY_ENCRYPT, HOP1, 4}};

	(void)state;
	gear.max_idle = 10;
	for (uint64_t i = 0; i < ARRAY_LEN(t); i++) {
		gear.conf.tls_policy = t[i].policy;
		deliver(i + 1, 1, t[i].hop, NULL);
		if (open_req)
			answer(&open_req, META1_OK, 0, 220, "hi");
		answer(&send_req, META1_OK, META1_ABOUT_MAIL, 250, "ok");
		assert_int_equal(opens, t[i].opens);
	}
	told();
}

static void reuse(void **state)
{
	(void)state;
	for (uint64_t i = 1; i <= 4; i++) { /* max_mails 3: the fourth opens anew */
		deliver(i, 1, HOP1, NULL);
		if (open_req)
			answer(&open_req, META1_OK, 0, 220, "hi");
		answer(&send_req, META1_OK, META1_ABOUT_MAIL, 250, "ok");
	}
	assert_string_equal(
	    told(), "d1:0:0:250:ok d2:0:0:250:ok:reused d3:0:0:250:ok:reused d4:0:0:250:ok ");
	assert_int_equal(opens, 2);
	assert_int_equal(c.nidle, 1);
	deliver(5, 1, "192.0.2.1 26 mx1.example", NULL); /* another port */
	answer(&open_req, META1_OK, 0, 220, "hi");
	answer(&send_req, META1_OK, META1_ABOUT_MAIL, 250, "ok");
	assert_int_equal(c.nidle, 2);
	deliver(6, 1, "/run/a b/lmtp 0 localhost", NULL); /* beyond max_idle: the oldest goes */
	assert_string_equal(open_peer->addr, "/run/a b/lmtp");
	answer(&open_req, META1_OK, 0, 220, "hi");
	answer(&send_req, META1_OK, META1_ABOUT_MAIL, 250, "ok");
	assert_int_equal(c.nidle, 2);
	assert_string_equal(c.idle_old->addr, "192.0.2.1");
	assert_int_equal(c.idle_old->port, 26);
	loop_fake_clock(c.role.loop, 5999, 1000005);
	told();
	assert_int_equal(c.nidle, 2);
	loop_fake_clock(c.role.loop, 6000, 1000005);
	told();
	assert_int_equal(c.nidle, 0);
}

static void dead_while_idle(void **state)
{
	(void)state;
	deliver(1, 1, HOP1, NULL);
	answer(&open_req, META1_OK, 0, 220, "hi");
	answer(&send_req, META1_OK, META1_ABOUT_MAIL, 250, "ok");
	/* Found dead at send: the same host again, with a new session. */
	deliver(2, 2, HOP1, HOP2);
	answer(&send_req, META1_TEMPFAIL, META1_ABOUT_SESSION, 0, "closed");
	assert_string_equal(open_peer->addr, "192.0.2.1");
	answer(&open_req, META1_OK, 0, 220, "hi");
	answer(&send_req, META1_OK, META1_ABOUT_MAIL, 250, "ok");
	/* Known to be dead: not even tried. */
	send_peer->dead = true;
	deliver(3, 1, HOP1, NULL);
	answer(&open_req, META1_OK, 0, 220, "hi");
	/* A new session that says so is the host's fault: no endless loop. */
	answer(&send_req, META1_TEMPFAIL, META1_ABOUT_SESSION, 0, "closed");
	assert_null(open_req);
	assert_string_equal(told(), "d1:0:0:250:ok d2:0:0:250:ok d3:4:2:0:closed ");
}

static void no_content(void **state)
{
	static const struct p_deliver m = {.delivery = 9};

	(void)state;
	deliver(1, 0, HOP1, NULL);
	deliver(2, 1, "nonsense", NULL);
	smtpc_deliver_frame(ours, 0, &m, &c);
	assert_string_equal(told(),
	    "d1:4:0:0:a delivery without hosts or recipients d2:4:0:0:a delivery without hosts or "
	    "recipients d9:4:0:0:no module transport_ is loaded ");
	assert_int_equal(credits, 3);
}

static void load_fails(void **state)
{
	struct meta1_buf hop = buf_str(HOP1), to = buf_str("r0");
	struct p_deliver m = {.delivery = 1,
	    .transport = buf_str("smtp"),
	    .hops = {&hop, 1},
	    .rcpts = {&to, 1},
	    .ref = buf_str("ref")};

	(void)state;
	smtpc_deliver_frame(ours, 0, &m, &c);
	loads--; /* nothing was opened */
	answer(&load_req, META1_PERMFAIL, 0, 0, "checksum");
	assert_string_equal(told(), "d1:4:0:0:checksum ");
}

static void qmgr_gone(void **state)
{
	(void)state;
	deliver(1, 2, HOP1, NULL);
	answer(&open_req, META1_OK, 0, 220, "hi");
	c.qmgr = NULL;
	rcpt(0, META1_PERMFAIL, 550, "no");
	c.qmgr = ours; /* back, and it is another life: numbers begin anew */
	c.epoch++;
	rcpt(1, META1_OK, 250, "yes");
	answer(&send_req, META1_OK, META1_ABOUT_MAIL, 250, "ok");
	assert_string_equal(told(), "");
	assert_int_equal(credits, 1);
}

static void stop(void **state)
{
	(void)state;
	deliver(1, 1, HOP1, NULL);
	answer(&open_req, META1_OK, 0, 220, "hi");
	send_peer->past = true;
	deliver(2, 1, HOP2, NULL);
	answer(&open_req, META1_OK, 0, 220, "hi");
	struct meta1_req *before_dot = send_req;

	send_req = c.deliveries->req;
	deliver(3, 1, "192.0.2.3 25 mx3", NULL); /* opening */
	c.role.stopping = true;
	smtpc_deliver_stop(&c);
	assert_null(open_req);
	assert_ptr_not_equal(send_req, before_dot);
	assert_string_equal(told(), "d2:6:1:0: d3:6:1:0: "); /* not tried, nobody's fault */
	assert_int_equal(c.active, 1);
	deliver(4, 1, HOP1, NULL);
	answer(&send_req, META1_OK, META1_ABOUT_MAIL, 250, "ok");
	assert_string_equal(told(), "d4:6:1:0: d1:0:0:250:ok ");
	assert_int_equal(c.active, 0);
	assert_int_equal(cancels, 2);
}

/* Some recipients of what is broken off were refused already: that stands. */
static void stop_in_envelope(void **state)
{
	(void)state;
	deliver(1, 2, HOP1, NULL);
	answer(&open_req, META1_OK, 0, 220, "hi");
	rcpt(0, META1_PERMFAIL, 550, "no");
	c.role.stopping = true;
	smtpc_deliver_stop(&c);
	assert_string_equal(told(), "r0:5:550 d1:6:1:0: ");
	c.role.stopping = false;
	deliver(2, 1, HOP1, NULL);
	answer(&open_req, META1_OK, 0, 220, "hi");
	rcpt(0, META1_PERMFAIL, 550, "no");
	c.role.stopping = true;
	smtpc_deliver_stop(&c);
	assert_string_equal(told(), "d2:5:0:550:no ");
}

static void hops(void **state)
{
	static const struct {
		const char *in, *addr, *host;
		uint32_t port;
	} row[] = {
	    {"192.0.2.1 25 mx", "192.0.2.1", "mx", 25},
	    {"2001:db8::1 65535 mx", "2001:db8::1", "mx", 65535},
	    {"/a b c 0 localhost", "/a b c", "localhost", 0},
	    {"192.0.2.1 65536 mx", NULL, NULL, 0},
	    {"192.0.2.1 -1 mx", NULL, NULL, 0},
	    {"192.0.2.1 2x mx", NULL, NULL, 0},
	    {"192.0.2.1 mx", NULL, NULL, 0},
	    {"25 mx", NULL, NULL, 0},
	    {" 25 mx", NULL, NULL, 0},
	    {"192.0.2.1 25 ", NULL, NULL, 0},
	    {"mx", NULL, NULL, 0},
	    {"", NULL, NULL, 0},
	};
	struct pool pool;

	(void)state;
	pool_init(&pool, 65536);
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct meta1_hop hop;
		int r = hop_take(&pool, buf_str(row[i].in), &hop);

		assert_int_equal(r, row[i].addr ? 0 : -1);
		if (r < 0)
			continue;
		assert_string_equal(hop.addr, row[i].addr);
		assert_string_equal(hop.host, row[i].host);
		assert_int_equal(hop.port, row[i].port);
	}
	pool_clear(&pool);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(one_good),
	    TEST(one_refused),
	    TEST(two_of_five),
	    TEST(next_host),
	    TEST(all_hosts_fail),
	    TEST(dead_host),
	    TEST(dead_host_pauses),
	    TEST(dead_hosts_bounded),
	    TEST(verdicts),
	    TEST(offers),
	    TEST(nobody_offers),
	    TEST(k_of_n),
	    TEST(reuse),
	    TEST(names_of_an_address),
	    TEST(dead_while_idle),
	    TEST(no_content),
	    TEST(load_fails),
	    TEST(qmgr_gone),
	    TEST(stop),
	    TEST(stop_in_envelope),
	    cmocka_unit_test(hops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
