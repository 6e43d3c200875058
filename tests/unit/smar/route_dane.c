/* SPDX-License-Identifier: BSD-2-Clause */
/* route_dane.c -- which hosts of a route are asked for TLSA records, and what their answers do to
 * the hops. The name server marks all as proven, but for rows with NS_PLAIN. */
#include "maps.h"
#include "nameserver.h"

#define EE "\3\1\1aaaaaaaabbbbbbbbccccccccdddddddd"
#define EEHEX                                                                                      \
	"61616161616161616262626262626262636363636363636364646464646464"                           \
	"64"
#define TA   "\2\1\1aaaaaaaabbbbbbbbccccccccdddddddd"
#define PKIX "\1\1\1aaaaaaaabbbbbbbbccccccccdddddddd"
#define ADDR(name, plain)                                                                          \
	{                                                                                          \
		name, DNS_A, DNS_A, plain, "192.0.2.11"                                            \
	}
#define TLSA(host, rcode, text)                                                                    \
	{                                                                                          \
		"_25._tcp." host, DNS_TLSA, DNS_TLSA, rcode, text                                  \
	}
#define MX(name, rcode, host)                                                                      \
	{                                                                                          \
		name, DNS_MX, DNS_MX, rcode, host                                                  \
	}

static const struct ns_row records[] = {
    MX("ee.test", 0, "10 mx.test"),
    ADDR("mx.test", 0),
    TLSA("mx.test", 0, EE),
    MX("ta.test", 0, "10 ta-mx.test"),
    ADDR("ta-mx.test", 0),
    TLSA("ta-mx.test", 0, TA),
    {"alias-ta.test", DNS_MX, DNS_CNAME, 0, "ta.test"},
    ADDR("alone.test", 0), /* no MX: it is its own host */
    TLSA("alone.test", 0, TA),
    MX("bad.test", 0, "10 pkix.test"), /* none can be used */
    ADDR("pkix.test", 0),
    TLSA("pkix.test", 0, PKIX),
    MX("odd.test", 0, "10 short.test"), /* nothing in it */
    ADDR("short.test", 0),
    TLSA("short.test", 0, ""),
    MX("none.test", 0, "10 without.test"),
    ADDR("without.test", 0),
    MX("plain.test", NS_PLAIN, "10 mx.test"),
    MX("half.test", 0, "10 plain-mx.test"),
    ADDR("plain-mx.test", NS_PLAIN),
    TLSA("plain-mx.test", 0, EE),
    MX("unproven.test", 0, "10 tlsa-plain.test"),
    ADDR("tlsa-plain.test", 0),
    TLSA("tlsa-plain.test", NS_PLAIN, EE),
    MX("bogus.test", 0, "10 bogus-mx.test"),
    ADDR("bogus-mx.test", 0),
    TLSA("bogus-mx.test", 2, NULL),
    MX("slow.test", 0, "10 slow-mx.test"),
    ADDR("slow-mx.test", 0),
    TLSA("slow-mx.test", NS_SILENT, EE),
    MX("second.test", 0, "10 bogus-mx.test"),
    MX("second.test", 0, "20 mx.test"),
    MX("mixed.test", 0, "10 mx.test"),
    MX("mixed.test", 0, "20 without.test"),
    /* aliases: all of the way is proven, and either end has records */
    MX("to-end.test", 0, "10 alias.test"),
    {"alias.test", DNS_A, DNS_CNAME, 0, "mx.test"},
    {"alias.test", DNS_AAAA, DNS_CNAME, 0, "mx.test"},
    TLSA("alias.test", 0, TA),
    MX("to-own.test", 0, "10 alias2.test"),
    {"alias2.test", DNS_A, DNS_CNAME, 0, "without.test"},
    {"alias2.test", DNS_AAAA, DNS_CNAME, 0, "without.test"},
    TLSA("alias2.test", 0, TA),
    /* ... only that it is an alias is */
    MX("out.test", 0, "10 alias3.test"),
    {"alias3.test", DNS_A, DNS_CNAME, 0, "plain-mx.test"},
    {"alias3.test", DNS_AAAA, DNS_CNAME, 0, "plain-mx.test"},
    {"alias3.test", DNS_CNAME, DNS_CNAME, 0, "plain-mx.test"},
    TLSA("alias3.test", 0, EE),
    /* ... not even that */
    MX("out2.test", 0, "10 alias4.test"),
    {"alias4.test", DNS_A, DNS_CNAME, NS_PLAIN, "mx.test"},
    {"alias4.test", DNS_AAAA, DNS_CNAME, NS_PLAIN, "mx.test"},
    {"alias4.test", DNS_CNAME, DNS_CNAME, NS_PLAIN, "mx.test"},
    TLSA("alias4.test", 0, EE),
    /* ... nobody can say */
    MX("out3.test", 0, "10 alias5.test"),
    {"alias5.test", DNS_A, DNS_CNAME, 0, "plain-mx.test"},
    {"alias5.test", DNS_AAAA, DNS_CNAME, 0, "plain-mx.test"},
    {"alias5.test", DNS_CNAME, DNS_CNAME, 2, NULL},
    /* the TLSA records stand behind an alias of their own */
    MX("behind.test", 0, "10 behind-mx.test"),
    ADDR("behind-mx.test", 0),
    {"_25._tcp.behind-mx.test", DNS_TLSA, DNS_CNAME, 0, "_25._tcp.mx.test"},
    {"_2525._tcp.mx.test", DNS_TLSA, DNS_TLSA, 0, TA},
    {NULL, 0, 0, 0, NULL},
};
static const struct table_row mailertable[] = {
    {"row.test", "[mx.test]:2525"},
    {"lmtp.test", "lmtp:[mx.test]:25"},
    {"rowmx.test", "ta.test"},
    {"addr.test", "[192.0.2.11]"},
    {NULL, NULL},
};

struct world {
	struct loop *loop;
	struct smar_policy policy;
	struct table_map mt;
	struct nameserver *ns;
	struct dns *dns;
	unsigned told;
	char all[4000]; /* "HOST{NEED} …" of the hops, or "DSN TEXT" */
};

static void told(void *arg, const struct p_routes *r)
{
	struct world *w = arg;
	size_t n = 0;

	w->told++;
	w->all[0] = '\0';
	if (r->status != META1_OK)
		snprintf(w->all, sizeof(w->all), "%.*s %.*s", (int)r->dsn.len,
		    (const char *)r->dsn.data, (int)r->text.len, (const char *)r->text.data);
	for (uint32_t i = 0; i < r->hops.n; i++) {
		char hop[600];
		uint64_t of = i < r->need_of.n ? r->need_of.v[i] : 0;

		snprintf(hop, sizeof(hop), "%.*s", (int)r->hops.v[i].len,
		    (const char *)r->hops.v[i].data);
		n += (size_t)snprintf(w->all + n, sizeof(w->all) - n, "%s%s{%.*s}", i ? " " : "",
		    strrchr(hop, ' ') + 1, of ? (int)r->need.v[of - 1].len : 0,
		    of ? (const char *)r->need.v[of - 1].data : "");
	}
}

static void resolver(struct world *w, bool trusted, int64_t ms)
{
	dns_free(&w->dns);
	w->dns =
	    ns_resolver_conf(w->loop, &w->ns->port, 1, (struct dns_conf){.timeout = ms}, trusted);
	w->ns->tlsa_asked = w->ns->cname_asked = 0;
}

static int set_up(void **state)
{
	struct world *w = base_alloc(sizeof(*w));

	w->loop = loop_new();
	test_policy(&w->policy, w->loop);
	w->policy.dane = true;
	w->policy.mailertable = table_map(&w->mt, w->loop, "mt", mailertable);
	w->ns = ns_new(w->loop, records);
	w->ns->ad = true;
	resolver(w, true, 2000);
	*state = w;
	return 0;
}
static int tear_down(void **state)
{
	struct world *w = *state;

	dns_free(&w->dns);
	ns_free(w->ns);
	loop_free(&w->loop);
	free(w);
	return 0;
}

static void route_is(struct world *w, const char *domain, const char *want)
{
	struct smar_route_ask ask = {.domain = buf_str(domain)};

	w->told = 0;
	smar_route(&w->policy, w->dns, &ask, loop_now(w->loop) + 10000, told, w);
	while (!w->told)
		loop_turn(w->loop, true);
	assert_int_equal(w->policy.refs, 1);
	if (strcmp(w->all, want) != 0)
		fail_msg("%s: %s\nexpected %s", domain, w->all, want);
}

#define NEED_BY(by, d, m, t) "{dane by=" by " domain=" d " match=" m " tlsa=" t ":1:1:" EEHEX "}"
#define NEED(d, m, t)	     NEED_BY("dane", d, m, t)

static void needs(void **state)
{
	static const struct {
		const char *domain, *want;
		unsigned tlsa, cname; /* questions */
	} rows[] = {
	    {"ee.test", "mx.test" NEED("ee.test", "mx.test", "3"), 1, 0},
	    {"ta.test", "ta-mx.test" NEED("ta.test", "ta-mx.test,ta.test", "2"), 1, 0},
	    {"alias-ta.test",
		"ta-mx.test" NEED("alias-ta.test", "ta-mx.test,alias-ta.test,ta.test", "2"), 1, 0},
	    {"alone.test", "alone.test" NEED("alone.test", "alone.test", "2"), 1, 0},
	    {"bad.test", "pkix.test{encrypt by=dane domain=bad.test}", 1, 0},
	    {"odd.test", "short.test{encrypt by=dane domain=odd.test}", 1, 0},
	    {"none.test", "without.test{}", 1, 0},
	    {"plain.test", "mx.test{}", 0, 0},
	    {"half.test", "plain-mx.test{}", 0, 0},
	    {"unproven.test", "tlsa-plain.test{}", 1, 0},
	    {"second.test", "mx.test" NEED("second.test", "mx.test", "3"), 4, 0},
	    {"mixed.test", "mx.test" NEED("mixed.test", "mx.test", "3") " without.test{}", 2, 0},
	    {"to-end.test", "alias.test" NEED("to-end.test", "mx.test", "3"), 1, 0},
	    {"to-own.test", "alias2.test" NEED("to-own.test", "alias2.test,to-own.test", "2"), 2,
		0},
	    {"out.test", "alias3.test" NEED("out.test", "alias3.test", "3"), 1, 1},
	    {"out2.test", "alias4.test{}", 0, 1},
	    {"behind.test", "behind-mx.test" NEED("behind.test", "behind-mx.test", "3"), 2, 0},
	    {"row.test", "mx.test" NEED("mx.test", "mx.test", "2"), 1, 0},
	    {"rowmx.test", "ta-mx.test" NEED("ta.test", "ta-mx.test,ta.test", "2"), 1, 0},
	    {"lmtp.test", "mx.test{}", 0, 0},
	    {"addr.test", "192.0.2.11{}", 0, 0},
	    {"[192.0.2.11]", "192.0.2.11{}", 0, 0},
	};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		resolver(w, true, 2000); /* nothing is kept */
		route_is(w, rows[i].domain, rows[i].want);
		if (w->ns->tlsa_asked != rows[i].tlsa || w->ns->cname_asked != rows[i].cname)
			fail_msg("%s: %u TLSA and %u CNAME questions", rows[i].domain,
			    w->ns->tlsa_asked, w->ns->cname_asked);
	}
}

/* Nobody is asked without a server that is trusted, or when it is turned off. */
static void turned_off(void **state)
{
	struct world *w = *state;
	static const char *const domains[] = {"ee.test", "bogus.test", "out.test"};
	static const char *const want[] = {"mx.test{}", "bogus-mx.test{}", "alias3.test{}"};

	for (int k = 0; k < 2; k++) {
		w->policy.dane = k == 0;
		resolver(w, k == 1, 2000);
		for (size_t i = 0; i < ARRAY_LEN(domains); i++)
			route_is(w, domains[i], want[i]);
		assert_int_equal(w->ns->tlsa_asked + w->ns->cname_asked, 0);
	}
	/* a host of a row: its place is given, its addresses are not proven */
	w->policy.dane = true;
	resolver(w, false, 2000);
	route_is(w, "row.test", "mx.test{}");
	assert_int_equal(w->ns->tlsa_asked + w->ns->cname_asked, 0);
}

/* An admin's row wants records: a host without is not used, whatever else there is. */
static void required(void **state)
{
	static const struct table_row policies[] = {{".test", "dane"}, {NULL, NULL}};
	static const struct {
		const char *domain, *want;
	} rows[] = {
	    {"ee.test", "mx.test" NEED_BY("row", "ee.test", "mx.test", "3")},
	    {"mixed.test", "mx.test" NEED_BY("row", "mixed.test", "mx.test", "3")},
	    {"none.test", "none.test"},
	    {"plain.test", "plain.test"},
	    {"bad.test", "bad.test"},
	    {"lmtp.test", "mx.test"},
	};
	struct world *w = *state;
	struct table_map map;
	char text[200];

	w->policy.tls_policy = table_map(&map, w->loop, "policies", policies);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		snprintf(text, sizeof(text),
		    "4.7.5 no mail server of %s has TLSA records of use, which tls_policy requires",
		    rows[i].want);
		route_is(w, rows[i].domain, strchr(rows[i].want, '{') ? rows[i].want : text);
	}
	w->policy.dane = false;
	route_is(w, "ee.test",
	    "4.7.5 no mail server of ee.test has TLSA records of use, which tls_policy requires");
}

/* What cannot be had is not taken as none. */
static void failures(void **state)
{
	struct world *w = *state;
	char text[300];

	snprintf(text, sizeof(text),
	    "4.4.3 the TLSA records of bogus-mx.test cannot be had now: 127.0.0.1:%u: server "
	    "answers SERVFAIL",
	    w->ns->port);
	route_is(w, "bogus.test", text);
	snprintf(text, sizeof(text),
	    "4.4.3 the alias of alias5.test cannot be had now: 127.0.0.1:%u: server answers "
	    "SERVFAIL",
	    w->ns->port);
	route_is(w, "out3.test", text);
	resolver(w, true, 20);
	snprintf(text, sizeof(text),
	    "4.4.3 the TLSA records of slow-mx.test cannot be had now: 127.0.0.1:%u: no answer in "
	    "time",
	    w->ns->port);
	route_is(w, "slow.test", text);
}

#define WITH(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
	    WITH(needs),
	    WITH(turned_off),
	    WITH(failures),
	    WITH(required),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
