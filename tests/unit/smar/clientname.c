/* SPDX-License-Identifier: BSD-2-Clause */
/* clientname.c -- names of clients and DNS lists, against a name server that can misbehave. */
#include "lib/settings.h"
#include "nameserver.h"

static char many[40][64];
static struct ns_row rows[80] = {
    {"1.2.0.192.in-addr.arpa", DNS_PTR, DNS_PTR, 0, "mail.example.test"},
    {"1.2.0.192.in-addr.arpa", DNS_PTR, DNS_PTR, 0, "Alias.example.test"},
    {"mail.example.test", DNS_A, DNS_A, 0, "192.0.2.99"},
    {"mail.example.test", DNS_A, DNS_A, 0, "192.0.2.1"},
    {"alias.example.test", DNS_A, DNS_A, 0, "192.0.2.98"},
    {"2.2.0.192.in-addr.arpa", DNS_PTR, DNS_PTR, 0, "mail.example.test"},
    {"3.2.0.192.in-addr.arpa", DNS_PTR, DNS_PTR, 2, ""},
    {"4.2.0.192.in-addr.arpa", DNS_PTR, DNS_PTR, 0, "slow.example.test"},
    {"slow.example.test", DNS_A, DNS_A, 2, "192.0.2.4"},
    {"5.2.0.192.in-addr.arpa", DNS_PTR, DNS_PTR, 0, "bad\nname.test"},
    {"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", DNS_PTR, DNS_PTR,
	0, "six.example.test"},
    {"six.example.test", DNS_AAAA, DNS_AAAA, 0, "2001:db8::1"},
    /* lists */
    {"1.2.0.192.bad.list", DNS_A, DNS_A, 0, "127.0.0.2"},
    {"1.2.0.192.bad.list", DNS_A, DNS_A, 0, "127.0.0.4"},
    {"1.2.0.192.good.list", DNS_A, DNS_A, 0, "127.0.0.9"},
    {"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bad.list", DNS_A, DNS_A, 0,
	"127.0.0.6"},
    {"2.2.0.192.bad.list", DNS_A, DNS_A, 0, "203.0.113.1"}, /* the zone was taken over */
    {"2.2.0.192.good.list", DNS_A, DNS_A, 0, "127.255.255.254"},
    {"spam.test.names.list", DNS_A, DNS_A, 0, "127.0.1.2"},
    {"4.2.0.192.bad.list", DNS_A, DNS_A, 2, "127.0.0.2"},
};

static int set_up(void **state)
{
	size_t n = 0;

	while (rows[n].name)
		n++;
	for (unsigned i = 0; i < ARRAY_LEN(many) && n + 1 < ARRAY_LEN(rows); i++) {
		snprintf(many[i], sizeof(many[i]), "n%02u.example.test", i);
		rows[n++] = (struct ns_row){"6.2.0.192.in-addr.arpa", DNS_PTR, DNS_PTR, 0, many[i]};
	}
	return ns_set_up(state, rows, 100);
}

/* ---- names ---- */
struct name_answer {
	unsigned told;
	struct dns_client c;
};
static void named(void *arg, const struct dns_client *c)
{
	struct name_answer *a = arg;

	a->told++;
	a->c = *c;
}

static void names(void **state)
{
	static const struct {
		const char *client, *word, *name;
	} q[] = {
	    {"192.0.2.1", "ok", "mail.example.test"},
	    {"::ffff:192.0.2.1", "ok", "mail.example.test"},
	    {"2001:db8::1", "ok", "six.example.test"},
	    {"2001:db8::2", "none", ""},
	    {"192.0.2.2", "forged", "mail.example.test"},
	    {"192.0.2.3", "temp", ""},
	    {"192.0.2.4", "temp", ""},
	    {"192.0.2.5", "forged", ""},
	    {"192.0.2.6", "forged", "n00.example.test"},
	    {"192.0.2.7", "none", ""},
	    {"unix", "none", ""},
	    {"unknown", "none", ""},
	};
	struct ns_world *w = *state;

	for (size_t i = 0; i < ARRAY_LEN(q); i++) {
		struct name_answer a = {.told = 0};

		dns_client_ask(w->dns, q[i].client, loop_now(w->loop) + 5000, named, &a);
		assert_int_equal(a.told, 0);
		while (!a.told)
			loop_turn(w->loop, true);
		if (strcmp(dns_client_word(a.c.result), q[i].word) != 0 ||
		    strcmp(a.c.name, q[i].name) != 0)
			fail_msg("%s: %s \"%s\" %s", q[i].client, dns_client_word(a.c.result),
			    a.c.name, a.c.why);
		assert_int_equal(a.c.ttl == 0, a.c.result == CLIENT_TEMP);
	}
}

/* Of forty names five are asked for. */
static void many_names(void **state)
{
	struct ns_world *w = *state;
	struct name_answer a = {.told = 0};

	dns_client_ask(w->dns, "192.0.2.6", loop_now(w->loop) + 5000, named, &a);
	while (!a.told)
		loop_turn(w->loop, true);
	assert_int_equal(w->ns->udp_asked, 1 + DNS_CLIENT_NAMES);
}

/* ---- lists ---- */
struct list_answer {
	unsigned told, n;
	struct dnsbl_hit hit[8];
	int64_t score;
	bool over;
	char unknown[40];
	uint32_t ttl;
};
static void listed(void *arg, const struct dnsbl_found *f)
{
	struct list_answer *a = arg;

	a->told++;
	a->n = f->n;
	memcpy(a->hit, f->hit, f->n * sizeof(a->hit[0]));
	a->score = f->score;
	a->over = f->over;
	a->ttl = f->ttl;
	str_copy(a->unknown, sizeof(a->unknown), f->unknown ? f->unknown : "");
}

static struct set_dnsbl lists[] = {
    {.name = "bad", .domain = "bad.list", .tag = "bl", .weight = 5, .on_timeout = DNSBL_TEMPORARY},
    {.name = "good", .domain = "good.list", .tag = "", .weight = -3},
    {.name = "names", .domain = "names.list", .tag = "n", .weight = 1, .looks_up = DNSBL_ON_SENDER},
};

static struct list_answer ask(
    struct ns_world *w, struct dnsbl *b, enum dnsbl_kind kind, const char *what)
{
	struct list_answer a = {.told = 0};

	dnsbl_ask(b, w->dns, w->loop, kind, what, loop_now(w->loop) + 5000, listed, &a);
	assert_int_equal(a.told, 0);
	while (!a.told)
		loop_turn(w->loop, true);
	return a;
}

static void answers(void **state)
{
	struct set_smar set = {.dnsbl = lists, .ndnsbl = ARRAY_LEN(lists), .dnsbl_threshold = 2};
	struct dnsbl *b = dnsbl_new(&set);
	struct ns_world *w = *state;
	struct list_answer a = ask(w, b, DNSBL_CLIENT, "192.0.2.1");
	char name[256];
	struct dnsbl_view v;

	assert_int_equal(a.n, 3); /* two answers of bad, one of good; the weight of each once */
	assert_string_equal(a.hit[0].list, "bad");
	assert_string_equal(a.hit[0].answer, "127.0.0.2");
	assert_string_equal(a.hit[1].answer, "127.0.0.4");
	assert_string_equal(a.hit[2].list, "good");
	assert_int_equal(a.score, 2);
	assert_true(a.over);
	assert_int_equal(ask(w, b, DNSBL_CLIENT, "2001:db8::1").n, 1);
	a = ask(w, b, DNSBL_CLIENT, "192.0.2.50");
	assert_int_equal(a.n, 0);
	assert_false(a.over);
	/* Answers that are none. */
	a = ask(w, b, DNSBL_CLIENT, "192.0.2.2");
	assert_int_equal(a.n, 0);
	assert_int_equal(a.score, 0);
	assert_true(dnsbl_look(b, 0, 0, &v));
	assert_int_equal(v.strange, 1);
	assert_int_equal(ask(w, b, DNSBL_CLIENT, "unix").n, 0);
	assert_int_equal(ask(w, b, DNSBL_HELO, "spam.test").n, 0);
	assert_int_equal(ask(w, b, DNSBL_SENDER, "spam.test").n, 1);
	assert_int_equal(ask(w, b, DNSBL_SENDER, "sp..am.test").n, 0);
	/* What cannot be in the DNS is not listed, and no failure of the list. */
	assert_true(dnsbl_look(b, 2, 0, &v));
	assert_int_equal(v.asked, 1);
	memset(name, 'a', sizeof(name));
	str_copy(name + 64, sizeof(name) - 64, ".test");
	assert_int_equal(ask(w, b, DNSBL_SENDER, name).n, 0);
	memset(name, 'a', sizeof(name));
	for (size_t i = 50; i < 250; i += 50)
		name[i] = '.';
	name[250] = '\0';
	assert_int_equal(ask(w, b, DNSBL_SENDER, name).n, 0);
	assert_true(dnsbl_look(b, 2, 0, &v));
	assert_int_equal(v.asked, 1);
	assert_int_equal(v.failures, 0);
	assert_true(dnsbl_any(b, DNSBL_SENDER));
	assert_false(dnsbl_any(b, DNSBL_HELO));
	assert_false(dnsbl_any(NULL, DNSBL_HELO));
	dnsbl_free(&b);
}

/* A list that fails five times in a row is left alone for a minute; one answer wakes it. */
static void dead_list(void **state)
{
	struct set_smar set = {.dnsbl = lists, .ndnsbl = 2};
	struct dnsbl *b = dnsbl_new(&set);
	struct ns_world *w = *state;
	struct list_answer a;
	struct dnsbl_view v;

	loop_fake_clock(w->loop, 1000000, 1000);
	for (int i = 0; i < 5; i++) {
		a = ask(w, b, DNSBL_CLIENT, "192.0.2.4");
		assert_string_equal(a.unknown, "bad");
		assert_int_equal(a.ttl, 0);
	}
	assert_true(dnsbl_look(b, 0, loop_now(w->loop), &v));
	assert_true(v.resting);
	assert_int_equal(v.failures, 5);
	a = ask(w, b, DNSBL_CLIENT, "192.0.2.1"); /* it would say yes, and is not asked */
	assert_string_equal(a.unknown, "bad");
	assert_int_equal(a.n, 1);
	loop_fake_clock(w->loop, 1061000, 1061);
	a = ask(w, b, DNSBL_CLIENT, "192.0.2.1");
	assert_string_equal(a.unknown, "");
	assert_int_equal(a.n, 3);
	assert_true(dnsbl_look(b, 0, loop_now(w->loop), &v));
	assert_false(v.resting);
	dnsbl_free(&b);
}

#define WITH(f) cmocka_unit_test_setup_teardown(f, set_up, ns_tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
	    WITH(names),
	    WITH(many_names),
	    WITH(answers),
	    WITH(dead_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
