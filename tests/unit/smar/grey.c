/* SPDX-License-Identifier: BSD-2-Clause */
/* grey.c -- the greylist: rules by a clock of the test's own, keys, bounds. Its file is in
 * grey_file.c. */
#include "smar/grey_file.h"

#include "../unit.h"

#include <stdio.h>
#include <stdlib.h>

static const struct grey_conf conf = {
    .wait = 300, .expire = 86400, .white = 1000000, .auto_white = 3, .bits4 = 24, .bits6 = 64};

/* ---- rules ---- */
struct
try {
	uint32_t at;
	const char *net, *from, *to;
	int wait; /* expected; -1: it passes */
};

static void play(const struct grey_conf *c, const struct try *t, size_t n)
{
	struct grey *g = grey_new(1000, 7);

	for (size_t i = 0; i < n; i++) {
		struct grey_said look, said;

		look = grey_ask(g, c, t[i].at, t[i].net, t[i].from, t[i].to, true);
		said = grey_ask(g, c, t[i].at, t[i].net, t[i].from, t[i].to, false);
		if ((said.pass ? -1 : (int)said.wait) != t[i].wait || look.pass != said.pass ||
		    look.wait != said.wait)
			fail_msg("try %zu: found %d (%s), looked %d, expected %d", i,
			    said.pass ? -1 : (int)said.wait, said.why,
			    look.pass ? -1 : (int)look.wait, t[i].wait);
	}
	grey_free(&g);
}

static void rules(void **state)
{
	static const struct try t[] = {
	    {1000, "n", "a", "b", 300},
	    {1000, "n", "a", "b", 300},
	    {1299, "n", "a", "b", 1},
	    {1300, "n", "a", "c", 300},
	    {1300, "m", "a", "b", 300},
	    {1300, "n", "", "b", 300},
	    {1300, "n", "a", "b", -1},
	    {1301, "n", "a", "b", -1},
	    /* too late: new once more */
	    {1300 + 86401, "m", "a", "b", 300},
	    {1300 + 86401 + 300, "m", "a", "b", -1},
	    /* use keeps it white, silence does not */
	    {1000000, "n", "a", "b", -1},
	    {2000000, "n", "a", "b", -1},
	    {3000001, "n", "a", "b", 300},
	    /* a clock that goes back makes nothing pass or wait longer than told */
	    {2999000, "n", "a", "b", 300},
	    {3000301, "n", "a", "b", -1},
	};

	(void)state;
	play(&conf, t, ARRAY_LEN(t));
}

static void reconfirmed(void **state)
{
	struct grey_conf c = conf;
	static const struct try t[] = {{0, "n", "a", "b", 300}, {300, "n", "a", "b", -1},
	    {1300, "n", "a", "b", -1}, {1301, "n", "a", "b", 300}, {1400, "n", "a", "b", 201},
	    {1601, "n", "a", "b", -1}, {2601, "n", "a", "b", -1}, {2602, "n", "a", "b", 300}};

	(void)state;
	c.reconfirm = 1000;
	play(&c, t, ARRAY_LEN(t));
}

static void nets_that_proved_good(void **state)
{
	struct grey_conf never = conf;
	struct try t[] = {{0, "n", "a", "1", 300}, {0, "n", "a", "2", 300}, {0, "n", "a", "3", 300},
	    {300, "n", "a", "1", -1}, {300, "n", "a", "1", -1}, /* a use is no pass */
	    {300, "n", "a", "1", -1}, {300, "n", "a", "2", -1}, {300, "n", "a", "4", 300},
	    {301, "n", "a", "3", -1}, {301, "n", "a", "5", -1}, {301, "m", "a", "5", 300},
	    {1000301, "n", "z", "z", -1}, {2000302, "n", "z", "y", 300}};

	(void)state;
	play(&conf, t, ARRAY_LEN(t));
	never.auto_white = 0;
	t[9].wait = 300;
	play(&never, t, 11);
}

static void looking_changes_nothing(void **state)
{
	struct grey *g = grey_new(1000, 1);

	(void)state;
	assert_false(grey_ask(g, &conf, 5, "n", "a", "b", true).pass);
	assert_int_equal(grey_count(g), 0);
	grey_ask(g, &conf, 5, "n", "a", "b", false);
	assert_true(grey_ask(g, &conf, 305, "n", "a", "b", true).pass);
	assert_int_equal(g->list[GREY_GREY].n, 1);
	assert_int_equal(g->list[GREY_WHITE].n, 0);
	grey_free(&g);
}

/* Nobody's flood displaces what is white, and the list does not grow. */
static void a_flood(void **state)
{
	struct grey *g = grey_new(1000, 3);
	char from[32], net[GREY_NET_MAX];

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		snprintf(from, sizeof(from), "good%u", i);
		grey_ask(g, &conf, 0, "192.0.2.0/24", from, "b", false);
		assert_true(grey_ask(g, &conf, 300, "192.0.2.0/24", from, "b", false).pass);
	}
	for (unsigned i = 0; i < 100000; i++) {
		snprintf(from, sizeof(from), "x%u", i);
		snprintf(net, sizeof(net), "10.%u.%u.0/24", i / 256 % 256, i % 256);
		grey_ask(g, &conf, 400, net, from, "b", false);
		assert_true(grey_count(g) <= 1000);
	}
	assert_true(g->evicted > 90000);
	assert_int_equal(g->list[GREY_WHITE].n, 3); /* the others came by their net */
	assert_true(grey_ask(g, &conf, 400, "192.0.2.0/24", "good1", "b", true).pass);
	assert_true(g->key_bytes <= 1000 * GREY_KEY_MAX);
	/* the youngest grey ones are there */
	assert_int_equal(grey_ask(g, &conf, 500, "10.134.159.0/24", "x99999", "b", true).wait, 200);
	assert_int_equal(grey_ask(g, &conf, 500, "10.0.100.0/24", "x100", "b", true).wait, 300);
	grey_free(&g);
}

static uint32_t ask_many(struct grey *g, const char *net, const char *who, unsigned n)
{
	uint32_t before = g->list[GREY_GREY].n;
	char from[32], of[GREY_NET_MAX];

	for (unsigned i = 0; i < n; i++) {
		snprintf(from, sizeof(from), "%s%u", who, i);
		snprintf(of, sizeof(of), net, i);
		grey_ask(g, &conf, 400, of, from, "b", false);
	}
	return g->list[GREY_GREY].n - before;
}

/* One net's flood displaces its own grey ones and no other's; the /64s of a /48 are one. */
static void a_net_has_its_share(void **state)
{
	struct grey *g = grey_new(1024, 3);

	(void)state;
	assert_int_equal(ask_many(g, "192.0.2.0/24", "a", 100), 100);
	assert_int_equal(ask_many(g, "2001:db8:7:1::/64", "b", 100), 100);
	assert_int_equal(ask_many(g, "198.51.100.0/24", "x", 5000), 128);
	assert_int_equal(ask_many(g, "2001:db8:5:%x::/64", "y", 5000), 128);
	assert_int_equal(g->evicted, 2 * (5000 - 128));
	assert_int_equal(grey_ask(g, &conf, 500, "192.0.2.0/24", "a0", "b", true).wait, 200);
	assert_int_equal(grey_ask(g, &conf, 500, "2001:db8:7:1::/64", "b0", "b", true).wait, 200);
	/* of the flood the youngest are there */
	assert_int_equal(
	    grey_ask(g, &conf, 500, "2001:db8:5:1387::/64", "y4999", "b", true).wait, 200);
	assert_int_equal(grey_ask(g, &conf, 500, "198.51.100.0/24", "x0", "b", true).wait, 300);
	/* one that comes too early is the youngest of its net; one that passes leaves its share */
	assert_int_equal(grey_ask(g, &conf, 500, "198.51.100.0/24", "x4872", "b", false).wait, 200);
	assert_int_equal(ask_many(g, "198.51.100.0/24", "z", 127), 0);
	assert_true(grey_ask(g, &conf, 700, "198.51.100.0/24", "x4872", "b", false).pass);
	assert_int_equal(ask_many(g, "198.51.100.0/24", "zz", 1), 1);
	/* lists that were read are sorted, and bounded as before */
	grey_sort(g);
	assert_int_equal(ask_many(g, "2001:db8:5:%x::/64", "w", 200), 0);
	assert_true(grey_sweep(g, &conf, 86400 * 2, 10000));
	assert_int_equal(g->list[GREY_GREY].n, 0);
	grey_free(&g);
}

static void old_ones_are_swept(void **state)
{
	struct grey *g = grey_new(1000, 3);
	char from[32];

	(void)state;
	for (unsigned i = 0; i < 500; i++) {
		snprintf(from, sizeof(from), "a%u", i);
		grey_ask(g, &conf, i, i % 5 == 0 ? "n" : from, from, "b", false);
	}
	assert_true(grey_sweep(g, &conf, 86400 + 100, 1000));
	assert_int_equal(grey_count(g), 400);
	assert_false(grey_sweep(g, &conf, 86400 + 300, 50));
	assert_int_equal(grey_count(g), 350);
	assert_true(grey_sweep(g, &conf, 86400 + 1000, 1000));
	assert_int_equal(grey_count(g), 0);
	assert_int_equal(g->key_bytes, 0);
	grey_free(&g);
}

/* ---- keys ---- */
static void nets(void **state)
{
	static const struct {
		const char *client, *net;
		unsigned bits4, bits6;
	} t[] = {{"192.0.2.77", "192.0.2.0/24", 24, 64}, {"192.0.2.77", "192.0.2.77/32", 32, 64},
	    {"192.0.2.77", "192.0.2.64/27", 27, 64}, {"192.0.2.77", "192.0.0.0/8", 8, 64},
	    {"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", 24, 64},
	    {"2001:db8:1:2ff:3:4:5:6", "2001:db8:1:280::/57", 24, 57},
	    {"2001:db8::1", "2001:db8::1/128", 24, 128},
	    {"::ffff:192.0.2.77", "192.0.2.0/24", 24, 64}, {"unknown", NULL, 24, 64},
	    {"unix", NULL, 24, 64}, {"", NULL, 24, 64}};
	char net[GREY_NET_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct grey_conf c = {.bits4 = t[i].bits4, .bits6 = t[i].bits6};
		int rc = grey_net(&c, t[i].client, net);

		assert_int_equal(rc, t[i].net ? 0 : -1);
		if (t[i].net)
			assert_string_equal(net, t[i].net);
	}
}

static void senders(void **state)
{
	static const struct {
		const char *local, *domain, *kept;
	} t[] = {{"user", "a.test", "user@a.test"}, {"", "gw.test", ""},
	    {"bounce-12345-list", "a.test", "bounce-#-list@a.test"},
	    {"prvs=4561a2b3c4=user", "a.test", "prvs=#=user@a.test"},
	    {"list+user=b.test", "a.test", "list+user=b.test@a.test"},
	    {"1.2_3/4", "a.test", "#.#_#/#@a.test"}, {"x9", "a.test", "#@a.test"},
	    {"--", "a.test", "--@a.test"}};
	char kept[GREY_ADDR_MAX + 1], other[GREY_ADDR_MAX + 1], local[200];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		grey_sender(t[i].local, t[i].domain, kept);
		assert_string_equal(kept, t[i].kept);
	}
	memset(local, 'x', sizeof(local));
	local[198] = 'a';
	local[199] = '\0';
	grey_sender(local, "a.test", kept);
	local[198] = 'b';
	grey_sender(local, "a.test", other);
	assert_int_equal(strlen(kept), GREY_ADDR_MAX);
	assert_string_not_equal(kept, other);
	grey_recipient("u1", "b.test", kept);
	assert_string_equal(kept, "u1@b.test");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(rules),
	    cmocka_unit_test(reconfirmed),
	    cmocka_unit_test(nets_that_proved_good),
	    cmocka_unit_test(looking_changes_nothing),
	    cmocka_unit_test(a_flood),
	    cmocka_unit_test(a_net_has_its_share),
	    cmocka_unit_test(old_ones_are_swept),
	    cmocka_unit_test(nets),
	    cmocka_unit_test(senders),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
