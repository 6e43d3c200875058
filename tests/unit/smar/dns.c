/* SPDX-License-Identifier: BSD-2-Clause */
/* dns.c -- the resolver against a name server that can misbehave. */
#include "nameserver.h"

static const struct ns_row rows[] = {
    {"a.test", DNS_A, DNS_A, 0, "192.0.2.1"},
    {"a.test", DNS_A, DNS_A, 0, "192.0.2.2"},
    {"c0.test", DNS_A, DNS_CNAME, 0, "c1.test"},
    {"c1.test", DNS_A, DNS_CNAME, 0, "a.test"},
    {"loop.test", DNS_A, DNS_CNAME, 0, "pool.test"},
    {"pool.test", DNS_A, DNS_CNAME, 0, "loop.test"},
    {NULL, 0, 0, 0, NULL},
};

struct answer {
	unsigned told;
	enum meta1_status status;
	uint32_t n, ttl;
	bool nxdomain, secure;
	char why[160];
};
static void answered(void *arg, const struct dns_data *d, uint32_t ttl)
{
	struct answer *a = arg;

	a->told++;
	a->status = d->status;
	a->n = d->n;
	a->ttl = ttl;
	a->nxdomain = d->nxdomain;
	a->secure = d->secure;
	str_copy(a->why, sizeof(a->why), d->why);
}

static int set_up(void **state)
{
	return ns_set_up(state, rows, 50);
}

static struct answer ask(struct ns_world *w, const char *name, int64_t ms)
{
	struct answer a = {.told = 0};

	dns_ask(w->dns, name, DNS_A, loop_now(w->loop) + ms, answered, &a);
	assert_int_equal(a.told, 0); /* never inside the call */
	while (!a.told)
		loop_turn(w->loop, true);
	assert_int_equal(a.told, 1);
	return a;
}

static void answer_and_cache(void **state)
{
	struct ns_world *w = *state;
	struct answer a = ask(w, "A.Test.", 5000);

	assert_int_equal(a.status, META1_OK);
	assert_int_equal(a.n, 2);
	assert_int_equal(a.ttl, 60);
	a = ask(w, "a.test", 5000);
	assert_int_equal(a.n, 2);
	assert_int_equal(w->ns->udp_asked, 1);
	assert_int_equal(dns_forget(w->dns), 1);
	ask(w, "a.test", 5000);
	assert_int_equal(w->ns->udp_asked, 2);
	a = ask(w, "nowhere.test", 5000);
	assert_int_equal(a.status, META1_NOTFOUND);
	assert_true(a.nxdomain);
}

static void shared(void **state)
{
	struct ns_world *w = *state;
	struct answer a[5] = {{.told = 0}};

	for (int i = 0; i < 5; i++)
		dns_ask(w->dns, "a.test", DNS_A, loop_now(w->loop) + 5000, answered, &a[i]);
	while (!a[0].told || !a[4].told)
		loop_turn(w->loop, true);
	assert_int_equal(w->ns->udp_asked, 1);
	for (int i = 0; i < 5; i++)
		assert_int_equal(a[i].n, 2);
}

static void retries(void **state)
{
	struct ns_world *w = *state;
	struct answer a;

	w->ns->silent = 2;
	a = ask(w, "a.test", 5000);
	assert_int_equal(a.status, META1_OK);
	assert_int_equal(w->ns->udp_asked, 3);
	w->ns->silent = 3;
	a = ask(w, "b.test", 5000);
	assert_int_equal(a.status, META1_TEMPFAIL);
	assert_non_null(strstr(a.why, "no answer in time"));
}

static void deadline(void **state)
{
	struct ns_world *w = *state;
	struct answer a;

	w->ns->silent = 100;
	a = ask(w, "a.test", 20);
	assert_int_equal(a.status, META1_TEMPFAIL);
	assert_int_equal(w->ns->udp_asked, 1);
}

/* Askers of one question have deadlines of their own. */
static void deadlines(void **state)
{
	struct ns_world *w = *state;
	struct answer a = {.told = 0}, b = {.told = 0};

	w->ns->silent = 1;
	dns_ask(w->dns, "a.test", DNS_A, loop_now(w->loop) + 5000, answered, &b);
	dns_ask(w->dns, "a.test", DNS_A, loop_now(w->loop) + 10, answered, &a);
	while (!b.told)
		loop_turn(w->loop, true);
	assert_int_equal(a.status, META1_TEMPFAIL);
	assert_int_equal(b.status, META1_OK);
	assert_int_equal(a.told, 1);
}

static void over_tcp(void **state)
{
	struct ns_world *w = *state;
	struct answer a;

	w->ns->truncate = true;
	a = ask(w, "a.test", 5000);
	assert_int_equal(a.status, META1_OK);
	assert_int_equal(a.n, 2);
	assert_int_equal(w->ns->tcp_asked, 1);
}

static void without_edns(void **state)
{
	struct ns_world *w = *state;

	w->ns->no_edns = true;
	assert_int_equal(ask(w, "a.test", 5000).status, META1_OK);
	assert_int_equal(w->ns->udp_asked, 2);
}

/* BADVERS stands in the OPT record; without a look there it would be "no such record". */
static void bad_version(void **state)
{
	struct ns_world *w = *state;

	w->ns->badvers = true;
	assert_int_equal(ask(w, "a.test", 5000).status, META1_OK);
	assert_int_equal(w->ns->udp_asked, 2);
}

/* One that says no to EDNS0 is not asked with it again for a while; others are. */
static void edns_refused(void **state)
{
	struct ns_world *w = *state;

	w->ns->no_edns = true;
	for (unsigned i = 0; i < 3; i++) {
		static const char *const names[] = {"a.test", "nowhere.test", "c0.test"};

		assert_true(ask(w, names[i], 5000).status != META1_TEMPFAIL);
	}
	assert_int_equal(w->ns->edns_asked, 1);
	assert_true(w->ns->udp_asked >= 4);
}

/* One that is silent to EDNS0 alone, and never answered it, costs one time-out. */
static void edns_unheard(void **state)
{
	struct dns_conf conf = {.timeout = 50, .tries = 2};
	struct ns_world *w = *state;

	dns_free(&w->dns);
	w->dns = ns_resolver_conf(w->loop, &w->ns->port, 1, conf, false);
	w->ns->edns_deaf = true;
	assert_int_equal(ask(w, "a.test", 5000).status, META1_OK);
	assert_int_equal(ask(w, "nowhere.test", 5000).status, META1_NOTFOUND);
	assert_int_equal(w->ns->edns_asked, 1);
	assert_int_equal(w->ns->udp_asked, 3);
}

/* Twenty letters, twenty times: that all are small every time happens never. */
static void random_case(void **state)
{
	struct dns_conf conf = {.timeout = 1000, .plain_case = true};
	struct ns_world *w = *state;
	char name[64];

	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "abcdefghijklmnopqrst%d.test", i);
		assert_int_equal(ask(w, name, 5000).status, META1_NOTFOUND);
	}
	assert_in_range(w->ns->upper, 18, 20);
	dns_free(&w->dns);
	w->dns = ns_resolver_conf(w->loop, &w->ns->port, 1, conf, false);
	w->ns->upper = 0;
	ask(w, "abcdefghijklmnopqrst.test", 5000);
	assert_int_equal(w->ns->upper, 0);
}

/* A server that answers in lower case is believed over TCP, and then asked as it likes it. */
static void server_folds(void **state)
{
	struct ns_world *w = *state;
	const struct dns_server *s;
	unsigned n;

	w->ns->folds = true;
	assert_int_equal(ask(w, "c0.test", 5000).status, META1_OK);
	s = dns_server_list(w->dns, &n);
	assert_int_equal(n, 1);
	assert_true(s->folds);
	assert_in_range(w->ns->tcp_asked, 1, 3);
	w->ns->tcp_asked = w->ns->upper = 0;
	assert_int_equal(ask(w, "nowhere.test", 5000).status, META1_NOTFOUND);
	assert_int_equal(w->ns->tcp_asked, 0);
	assert_int_equal(w->ns->upper, 0);
}

/* AD is asked of a trusted server and believed from it alone. */
static void proven(void **state)
{
	struct dns_conf conf = {.timeout = 1000};
	struct ns_world *w = *state;

	w->ns->ad = true;
	assert_false(ask(w, "a.test", 5000).secure);
	dns_free(&w->dns);
	w->dns = ns_resolver_conf(w->loop, &w->ns->port, 1, conf, true);
	assert_true(ask(w, "a.test", 5000).secure);
	assert_true(ask(w, "a.test", 5000).secure); /* kept with the answer */
	assert_true(ask(w, "nowhere.test", 5000).secure);
	assert_true(ask(w, "c0.test", 5000).secure);
	w->ns->ad = false;
	assert_false(ask(w, "c1.test", 5000).secure);
}

static void trust(void **state)
{
	static const char *const list[] = {"127.0.0.1", "127.0.0.2:53", NULL},
				 *const some[] = {"127.0.0.1:53", NULL},
				 *const other[] = {"127.0.0.3", NULL};
	struct dns_conf conf = {.nameserver = list, .trusted = some};
	struct dns_server s[DNS_SERVERS];
	struct meta1_err err;
	unsigned n;

	(void)state;
	assert_int_equal(dns_servers(&conf, s, &n, &err), 0);
	assert_int_equal(n, 2);
	assert_true(s[0].trusted);
	assert_false(s[1].trusted);
	/* DANE would be switched off by making the trusted one fail */
	conf.all_trusted = true;
	assert_int_equal(dns_servers(&conf, s, &n, &err), -1);
	assert_non_null(strstr(err.text, "\"127.0.0.2:53\" is not in trusted_nameserver"));
	conf.trusted = list;
	assert_int_equal(dns_servers(&conf, s, &n, &err), 0);
	conf.trusted = NULL;
	assert_int_equal(dns_servers(&conf, s, &n, &err), 0);
	conf.trusted = other;
	assert_int_equal(dns_servers(&conf, s, &n, &err), -1);
	assert_non_null(strstr(err.text, "none of the name servers"));
}

/* What the servers did, for the view of them. */
static void notes(void **state)
{
	struct ns_world *w = *state;
	const struct dns_server *s;
	unsigned n;

	w->ns->silent = 1;
	ask(w, "a.test", 5000);
	w->ns->servfail = true;
	ask(w, "b.test", 5000);
	s = dns_server_list(w->dns, &n);
	assert_int_equal(s->asked, 5);
	assert_int_equal(s->timeouts, 1);
	assert_int_equal(s->answered, 4);
	assert_int_equal(s->errors, 3);
	assert_string_equal(s->last, "server answers SERVFAIL");
}

static void forged(void **state)
{
	struct ns_world *w = *state;
	struct answer a;

	w->ns->forged = 3;
	a = ask(w, "a.test", 5000);
	assert_int_equal(a.status, META1_OK);
	assert_int_equal(w->ns->udp_asked, 1);
	w->ns->forged = 20; /* somebody guesses: that socket is left */
	a = ask(w, "b.test", 5000);
	assert_int_equal(a.status, META1_TEMPFAIL);
	assert_non_null(strstr(a.why, "not asked"));
}

static void chains(void **state)
{
	struct ns_world *w = *state;
	struct answer a = ask(w, "c0.test", 5000);

	/* The server gives one alias with an SOA missing: each is asked for in turn. */
	assert_int_equal(a.status, META1_OK);
	assert_int_equal(a.n, 2);
	assert_int_equal(w->ns->udp_asked, 3);
	a = ask(w, "loop.test", 5000);
	assert_int_equal(a.status, META1_TEMPFAIL);
	assert_non_null(strstr(a.why, "CNAME"));
}

static void next_server(void **state)
{
	struct ns_world *w = *state;
	struct nameserver *second = ns_new(w->loop, rows);
	uint16_t ports[2] = {w->ns->port, second->port};
	struct answer a;

	dns_free(&w->dns);
	w->dns = ns_resolver(w->loop, ports, 2, 1000);
	w->ns->servfail = true;
	a = ask(w, "a.test", 5000);
	assert_int_equal(a.status, META1_OK);
	ask(w, "nowhere.test", 5000); /* begins with the one that worked */
	assert_int_equal(w->ns->udp_asked, 1);
	assert_int_equal(second->udp_asked, 2);
	second->servfail = true;
	a = ask(w, "x.test", 5000);
	assert_int_equal(a.status, META1_TEMPFAIL);
	assert_non_null(strstr(a.why, "SERVFAIL"));
	ns_free(second);
}

static void nobody_there(void **state)
{
	struct ns_world *w = *state;
	struct answer a;
	uint16_t port;
	struct nameserver *gone = ns_new(w->loop, rows);

	port = gone->port;
	ns_free(gone);
	dns_free(&w->dns);
	w->dns = ns_resolver(w->loop, &port, 1, 2000);
	a = ask(w, "a.test", 5000);
	assert_int_equal(a.status, META1_TEMPFAIL);
	assert_non_null(strstr(a.why, "nothing listens"));
}

static void overload(void **state)
{
	struct ns_world *w = *state;
	struct answer *a = base_alloc(5000 * sizeof(*a));
	unsigned told = 0, full = 0;

	w->ns->silent = 1000000;
	for (int i = 0; i < 5000; i++) {
		char name[40];

		snprintf(name, sizeof(name), "n%d.test", i);
		dns_ask(w->dns, name, DNS_A, loop_now(w->loop) + 20, answered, &a[i]);
	}
	while (told < 5000) {
		loop_turn(w->loop, true);
		told = 0;
		for (int i = 0; i < 5000; i++)
			told += a[i].told;
	}
	for (int i = 0; i < 5000; i++) {
		assert_int_equal(a[i].told, 1);
		assert_int_equal(a[i].status, META1_TEMPFAIL);
		full += strstr(a[i].why, "too many") != NULL;
	}
	assert_int_equal(full, 5000 - 256 - 4096);
	free(a);
}

static void servers(void **state)
{
	static const char *const bad[] = {
	    "", "host", "1.2.3", "127.0.0.1:70000", "[::1", "127.0.0.1:x"};
	struct dns_server s;
	struct meta1_err err;

	(void)state;
	assert_int_equal(dns_server_parse("127.0.0.1", &s, &err), 0);
	assert_int_equal(ntohs(((struct sockaddr_in *)(void *)&s.addr)->sin_port), 53);
	assert_int_equal(dns_server_parse("127.0.0.1:5353", &s, &err), 0);
	assert_int_equal(ntohs(((struct sockaddr_in *)(void *)&s.addr)->sin_port), 5353);
	assert_int_equal(dns_server_parse("[::1]:54", &s, &err), 0);
	assert_int_equal(s.addr.ss_family, AF_INET6);
	assert_int_equal(dns_server_parse("::1", &s, &err), 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (dns_server_parse(bad[i], &s, &err) == 0)
			fail_msg("\"%s\" was taken", bad[i]);
}

static void lru(void **state)
{
	struct dns_cache *c = dns_cache_new(2, 1 << 20);
	struct dns_data *d = base_alloc(sizeof(*d)), *got;
	uint32_t ttl;

	(void)state;
	d->refs = 1;
	d->ttl = 10;
	d->status = META1_OK;
	dns_cache_put(c, "a", 1, d, 0);
	dns_cache_put(c, "b", 1, d, 0);
	got = dns_cache_get(c, "a", 1, 4000, &ttl);
	assert_int_equal(ttl, 6);
	dns_data_unref(&got);
	assert_null(dns_cache_get(c, "a", 15, 0, &ttl));
	dns_cache_put(c, "c", 1, d, 0); /* b was used longest ago */
	assert_null(dns_cache_get(c, "b", 1, 0, &ttl));
	assert_int_equal(dns_cache_size(c), 2);
	assert_null(dns_cache_get(c, "a", 1, 10000, &ttl));
	d->status = META1_TEMPFAIL;
	dns_cache_put(c, "c", 1, d, 0);
	assert_int_equal(dns_cache_size(c), 0);
	dns_cache_free(&c);
	dns_data_unref(&d);
}

#define WITH(f) cmocka_unit_test_setup_teardown(f, set_up, ns_tear_down)
/* Few large answers cost as much as many small ones. */
static void cache_memory(void **state)
{
	struct dns_cache *c = dns_cache_new(1000, 100000);
	struct dns_data *d;
	char name[16];
	uint32_t ttl, n;

	(void)state;
	for (int i = 0; i < 100; i++) {
		d = base_alloc(sizeof(*d));
		d->refs = 1;
		d->ttl = 60;
		d->memory = i < 50 ? 9000 : 30;
		snprintf(name, sizeof(name), "n%d", i);
		dns_cache_put(c, name, 1, d, 0);
		dns_data_unref(&d);
		assert_in_range(dns_cache_size(c), 1, i < 50 ? 11 : 61);
	}
	assert_in_range(dns_cache_size(c), 50, 61); /* the newest */
	n = dns_cache_size(c);
	d = base_alloc(sizeof(*d));
	d->refs = 1;
	d->ttl = 60;
	d->memory = 200000; /* larger than all that may be: it displaces nothing */
	dns_cache_put(c, "large", 1, d, 0);
	assert_int_equal(dns_cache_size(c), n);
	dns_data_unref(&d);
	d = dns_cache_get(c, "n99", 1, 0, &ttl);
	assert_non_null(d);
	dns_data_unref(&d);
	assert_int_equal(dns_cache_clear(c), n);
	dns_cache_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    WITH(answer_and_cache),
	    WITH(shared),
	    WITH(retries),
	    WITH(deadline),
	    WITH(deadlines),
	    WITH(over_tcp),
	    WITH(without_edns),
	    WITH(bad_version),
	    WITH(edns_refused),
	    WITH(edns_unheard),
	    WITH(random_case),
	    WITH(server_folds),
	    WITH(proven),
	    cmocka_unit_test(trust),
	    WITH(notes),
	    WITH(forged),
	    WITH(chains),
	    WITH(next_server),
	    WITH(nobody_there),
	    WITH(overload),
	    cmocka_unit_test(servers),
	    cmocka_unit_test(lru),
	    cmocka_unit_test(cache_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
