/* SPDX-License-Identifier: BSD-2-Clause */
/* route.c -- where domains go: rows of a mailertable, and records of a name server. */
#include "maps.h"
#include "nameserver.h"

static const struct table_row mailertable[] = {
    {"lmtp.test", "lmtp:"},
    {"path.test", "lmtp:/run/x"},
    {"tcp.test", "lmtp:[127.0.0.1]:2003"},
    {"gate.test", "[mx1.test]:2525"},
    {"list.test", "[nowhere.test] [192.0.2.7] [192.0.2.8]:26"},
    {"mxed.test", "two.test"},
    {"gone.test", "nowhere.test"},
    {"self.test", "[192.0.2.1]"},
    {"typo.test", "[192.0.2.1"},
    {"broken.test", NULL},
    {".smart.test", "[192.0.2.7]"},
    {"rows.test", "[192.0.2.7] [192.0.2.8]\037[192.0.2.9]:26\037"},
    {"clash.test", "[192.0.2.7]\037lmtp:"},
    {NULL, NULL},
};
static const struct table_row with_rest[] = {
    {"row.test", "[192.0.2.7]"},
    {".", "[192.0.2.8]"},
    {NULL, NULL},
};
static const struct table_row senders[] = {
    {"ann@b.test", "[192.0.2.31]"},
    {"c.test", "[192.0.2.32]\037[192.0.2.33]"},
    {"<>", "[192.0.2.34]"},
    {"typo.test", "[192.0.2"},
    {"down.test", NULL},
    {NULL, NULL},
};
static const struct table_row limits[] = {
    {"plain.test", "rate = 1/1m;"},
    {"mx1.test", "max_connections = 2;"},
    {".", "max_connections = 9;"},
    {"null.test", NULL},
    {"mx2.test", NULL},
    {".smart.test", "max_connections = 3;"},
    {NULL, NULL},
};
static const struct table_row policies[] = {
    {"plain.test", "verify match=other.test"},
    {"mx1.test", "none"},
    {"two.test", "encrypt"},
    {".smart.test", "fingerprint=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
    {"192.0.2.7", "may"},
    {".", "verify"},
    {"half.test", "verfy"},
    {"dead.test", "verify match="},
    {"cut.test", NULL},
    {NULL, NULL},
};
static const struct ns_row records[] = {
    {"two.test", DNS_MX, DNS_MX, 0, "20 mx2.test"},
    {"two.test", DNS_MX, DNS_MX, 0, "10 mx1.test"},
    {"mx1.test", DNS_A, DNS_A, 0, "192.0.2.11"},
    {"mx1.test", DNS_AAAA, DNS_AAAA, 0, "2001:db8::11"},
    {"mx2.test", DNS_A, DNS_A, 0, "192.0.2.12"},
    {"plain.test", DNS_A, DNS_A, 0, "192.0.2.13"},
    {"null.test", DNS_MX, DNS_MX, 0, "0 "},
    {"text.test", 16, 16, 0, "x"},
    {"alias.test", DNS_MX, DNS_CNAME, 0, "two.test"},
    {"cut.test", DNS_MX, DNS_MX, 0, "10 mx1.test"},
    {"cut.test", DNS_MX, DNS_MX, 0, "20 gw.test"},
    {"cut.test", DNS_MX, DNS_MX, 0, "30 mx2.test"},
    {"cut2.test", DNS_MX, DNS_MX, 0, "10 us.test"},
    {"us.test", DNS_A, DNS_A, 0, "192.0.2.1"},
    {"us2.test", DNS_MX, DNS_MX, 0, "10 gw.test"},
    {"dead.test", DNS_MX, DNS_MX, 0, "10 no.test"},
    {"half.test", DNS_MX, DNS_MX, 0, "10 no.test"},
    {"half.test", DNS_MX, DNS_MX, 0, "20 mx2.test"},
    {"fail.test", DNS_MX, DNS_MX, 2, "10 mx1.test"},
    {"afail.test", DNS_MX, DNS_MX, 0, "10 fail.test"},
    {"fail.test", DNS_A, DNS_A, 2, "192.0.2.1"},
    {"fail.test", DNS_AAAA, DNS_AAAA, 2, "::1"},
    {NULL, 0, 0, 0, NULL},
};

struct world {
	struct loop *loop;
	struct smar_policy policy;
	struct table_map mt, limits, senders, policies;
	struct nameserver *ns;
	struct dns *dns;
};
struct routes {
	unsigned told;
	uint64_t status, smtp, ttl, secure[MX_HOPS];
	unsigned nsecure;
	char needs[4000]; /* of the hops, "-": none */
	char limits[513], row[401], hops[4000], key[256], transport[16], dsn[12], text[400];
};

static void copy(char *out, size_t size, struct meta1_buf b)
{
	snprintf(out, size, "%.*s", (int)b.len, b.data ? (const char *)b.data : "");
}

static void told(void *arg, const struct p_routes *r)
{
	struct routes *out = arg;

	out->told++;
	out->status = r->status;
	out->smtp = r->smtp;
	out->ttl = r->ttl;
	for (uint32_t i = 0; i < r->hops.n; i++) {
		strcat(out->hops, i > 0 ? "|" : "");
		strncat(out->hops, r->hops.v[i].data, r->hops.v[i].len);
	}
	for (uint32_t i = 0; i < r->hops.n; i++) {
		uint64_t at = i < r->need_of.n ? r->need_of.v[i] : 0;

		strcat(out->needs, i > 0 ? "|" : "");
		strncat(
		    out->needs, at ? r->need.v[at - 1].data : "-", at ? r->need.v[at - 1].len : 1);
	}
	out->nsecure = r->secure.n;
	if (r->secure.n)
		memcpy(out->secure, r->secure.v, r->secure.n * sizeof(*r->secure.v));
	copy(out->key, sizeof(out->key), r->key);
	copy(out->transport, sizeof(out->transport), r->transport);
	copy(out->dsn, sizeof(out->dsn), r->dsn);
	copy(out->limits, sizeof(out->limits), r->limits);
	copy(out->row, sizeof(out->row), r->limits_row);
	copy(out->text, sizeof(out->text), r->text);
}

static int set_up(void **state)
{
	struct world *w = base_alloc(sizeof(*w));

	w->loop = loop_new();
	test_policy(&w->policy, w->loop);
	w->policy.mailertable = table_map(&w->mt, w->loop, "mt", mailertable);
	w->ns = ns_new(w->loop, records);
	w->dns = ns_resolver(w->loop, &w->ns->port, 1, 2000);
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

static struct routes route_via(struct world *w, const char *domain, const char *via)
{
	struct routes r = {.told = 0};

	struct smar_route_ask ask = {.domain = buf_str(domain), .via = buf_str(via)};

	smar_route(&w->policy, w->dns, &ask, loop_now(w->loop) + 10000, told, &r);
	while (!r.told)
		loop_turn(w->loop, true);
	assert_int_equal(r.told, 1);
	assert_int_equal(w->policy.refs, 1);
	return r;
}

static struct routes route(struct world *w, const char *domain)
{
	return route_via(w, domain, "");
}

/* The domain of the mail before the next hop's name, "." after both; one row, one need. */
static void policies_of_destinations(void **state)
{
	static const struct {
		const char *domain, *needs;
		bool same; /* the key is that of the hosts alone */
		const char *text;
	} rows[] = {
	    {"plain.test", "verify by=row match=other.test", false, ""},
	    {"two.test", "encrypt by=row|encrypt by=row|encrypt by=row", false, ""},
	    {"mxed.test", "encrypt by=row|encrypt by=row|encrypt by=row", false, ""},
	    {"gate.test", "none by=row|none by=row", false, ""},
	    {"a.smart.test",
		"fingerprint by=row "
		"fingerprint=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		false, ""},
	    {"list.test", "may by=row|verify by=row", false, ""},
	    {"alias.test", "verify by=row|verify by=row|verify by=row", false, ""},
	    {"path.test", "-", true, ""},
	    {"lmtp.test", "-", true, ""},
	    {"half.test", "", true, "the row \"half.test\" of tls_policy: found \"verfy\""},
	    {"dead.test", "", true, "the row \"dead.test\" of tls_policy: match: found"},
	    {"cut.test", "", true, "the map of TLS policies cannot be read now"},
	};
	struct world *w = *state;
	struct routes r, two, mxed;

	w->policy.tls_policy = table_map(&w->policies, w->loop, "policies", policies);
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		r = route(w, rows[i].domain);
		assert_string_equal(r.needs, rows[i].needs);
		assert_int_equal(r.status, *rows[i].text ? META1_TEMPFAIL : META1_OK);
		assert_memory_equal(r.text, rows[i].text, strlen(rows[i].text));
		if (!*rows[i].text)
			assert_int_equal(strstr(r.key, "tls:") == NULL, rows[i].same);
	}
	two = route(w, "two.test");
	mxed = route(w, "mxed.test");
	assert_string_equal(two.key, mxed.key);
	r = route(w, "alias.test"); /* the same hosts, another need */
	assert_string_not_equal(two.key, r.key);
	w->policy.tls_policy.map = NULL;
	assert_string_equal(route(w, "half.test").needs, "-");
}

/* The domain's own row makes a destination of its own; rows of hosts and the one for all the rest
 * go with the hosts. */
static void limits_of_destinations(void **state)
{
	static const struct {
		const char *domain, *key, *row, *limits;
	} rows[] = {
	    {"plain.test", "plain.test|plain.test", "plain.test", "rate = 1/1m;"},
	    {"two.test", "mx1.test;mx2.test", "mx1.test", "max_connections = 2;"},
	    {"alias.test", "mx1.test;mx2.test", "mx1.test", "max_connections = 2;"},
	    {"a.smart.test", ".smart.test|192.0.2.7", ".smart.test", "max_connections = 3;"},
	    {"path.test", "lmtp:/run/x", ".", "max_connections = 9;"},
	};
	struct world *w = *state;
	struct routes r;

	w->policy.limits = table_map(&w->limits, w->loop, "limits", limits);
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		r = route(w, rows[i].domain);
		assert_int_equal(r.status, META1_OK);
		assert_string_equal(r.key, rows[i].key);
		assert_string_equal(r.row, rows[i].row);
		assert_string_equal(r.limits, rows[i].limits);
	}
	r = route(w, "half.test"); /* one of its hosts has a row that cannot be read */
	assert_int_equal(r.status, META1_TEMPFAIL);
	assert_string_equal(r.dsn, "4.3.0");
	w->policy.limits.map = NULL;
	r = route(w, "plain.test");
	assert_string_equal(r.key, "plain.test");
	assert_string_equal(r.limits, "");
}

/* Next hops that an admin gives go before what the domain says. */
static void via(void **state)
{
	struct world *w = *state;
	struct routes r = route_via(w, "lmtp.test", "[192.0.2.99]:2525");

	assert_int_equal(r.status, META1_OK);
	assert_string_equal(r.hops, "192.0.2.99 2525 192.0.2.99");
	assert_string_equal(r.transport, "smtp");
	r = route_via(w, "two.test", "[192.0.2.99");
	assert_int_equal(r.status, META1_TEMPFAIL);
	assert_string_equal(r.dsn, "4.3.5");
}

/* Whose word counts, for whom. */
static void by_sender(void **state)
{
	static const struct {
		const char *domain, *from, *hops, *rule, *row;
	} row[] = {
	    {"row.test", "ann@b.test", "192.0.2.7 25 192.0.2.7", "mailertable",
		"mt row.test: [192.0.2.7]"},
	    {"x.test", "Ann+news@b.test", "192.0.2.31 25 192.0.2.31", "sender_routes",
		"sr ann@b.test: [192.0.2.31]"},
	    {"x.test", "any@c.test", "192.0.2.32 25 192.0.2.32|192.0.2.33 25 192.0.2.33",
		"sender_routes", "sr c.test: [192.0.2.32] [192.0.2.33]"},
	    {"x.test", "", "192.0.2.34 25 192.0.2.34", "sender_routes", "sr <>: [192.0.2.34]"},
	    {"x.test", "bob@b.test", "192.0.2.8 25 192.0.2.8", "mailertable", "mt .: [192.0.2.8]"},
	    {"x.test", NULL, "192.0.2.8 25 192.0.2.8", "mailertable", "mt .: [192.0.2.8]"},
	    {"x.test", "a@typo.test", "4.3.5", "sender_routes", "sr typo.test: [192.0.2"},
	    {"x.test", "a@down.test", "4.3.0", "mailertable", "mt .: "},
	    {"own.test", "ann@b.test", "/run/lmtp 0 gw.test", "local domain", ""},
	    {"[192.0.2.9]", "ann@b.test", "192.0.2.8 25 192.0.2.8", "mailertable",
		"mt .: [192.0.2.8]"},
	    {"gw.test", "ann@b.test", "/run/lmtp 0 gw.test", "local domain", ""},
	    /* without LMTP_socket */
	    {"gw.test", "ann@b.test", "192.0.2.8 25 192.0.2.8", "mailertable", "mt .: [192.0.2.8]"},
	};
	struct world *w = *state;
	char told_row[sizeof(struct smar_route_by)];

	w->mt.rows = with_rest;
	w->policy.sender_routes = table_map(&w->senders, w->loop, "sr", senders);
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct smar_route_by by;
		struct meta1_buf from = buf_str(row[i].from ? row[i].from : "");
		struct smar_route_ask ask = {.domain = buf_str(row[i].domain),
		    .from = row[i].from ? &from : NULL,
		    .by = &by};
		struct routes r = {.told = 0};

		if (i + 1 == ARRAY_LEN(row))
			w->policy.lmtp_path[0] = '\0';
		smar_route(&w->policy, w->dns, &ask, loop_now(w->loop) + 10000, told, &r);
		while (!r.told)
			loop_turn(w->loop, true);
		snprintf(told_row, sizeof(told_row), "%s %s: %s", by.map, by.key, by.value);
		if (strcmp(r.hops[0] ? r.hops : r.dsn, row[i].hops) != 0 ||
		    strcmp(by.rule, row[i].rule) != 0 ||
		    strcmp(by.row ? told_row : "", row[i].row) != 0)
			fail_msg("%s from %s: %s%s by %s %s", row[i].domain, row[i].from, r.hops,
			    r.dsn, by.rule, told_row);
	}
}

static void good(void **state)
{
	static const struct {
		const char *domain, *transport, *key, *hops;
		unsigned ttl;
	} row[] = {
	    {"Lmtp.Test", "lmtp", "lmtp:/run/lmtp", "/run/lmtp 0 gw.test", 300},
	    {"path.test", "lmtp", "lmtp:/run/x", "/run/x 0 gw.test", 300},
	    {"tcp.test", "lmtp", "lmtp:127.0.0.1:2003", "127.0.0.1 2003 127.0.0.1", 300},
	    {"gate.test", "smtp", "mx1.test:2525",
		"192.0.2.11 2525 mx1.test|2001:db8::11 2525 mx1.test", 60},
	    {"list.test", "smtp", "nowhere.test;192.0.2.7;192.0.2.8:26",
		"192.0.2.7 25 192.0.2.7|192.0.2.8 26 192.0.2.8", 300},
	    {"mxed.test", "smtp", "mx1.test;mx2.test",
		"192.0.2.11 25 mx1.test|2001:db8::11 25 mx1.test|192.0.2.12 25 mx2.test", 60},
	    {"x.smart.test", "smtp", "192.0.2.7", "192.0.2.7 25 192.0.2.7", 300},
	    {"two.test", "smtp", "mx1.test;mx2.test",
		"192.0.2.11 25 mx1.test|2001:db8::11 25 mx1.test|192.0.2.12 25 mx2.test", 60},
	    {"alias.test", "smtp", "mx1.test;mx2.test",
		"192.0.2.11 25 mx1.test|2001:db8::11 25 mx1.test|192.0.2.12 25 mx2.test", 60},
	    {"plain.test", "smtp", "plain.test", "192.0.2.13 25 plain.test", 30},
	    {"[192.0.2.9]", "smtp", "192.0.2.9", "192.0.2.9 25 192.0.2.9", 3600},
	    {"[IPv6:2001:db8::9]", "smtp", "2001:db8::9", "2001:db8::9 25 2001:db8::9", 3600},
	    {"cut.test", "smtp", "mx1.test", "192.0.2.11 25 mx1.test|2001:db8::11 25 mx1.test", 60},
	    {"half.test", "smtp", "no.test;mx2.test", "192.0.2.12 25 mx2.test", 60},
	    {"own.test", "lmtp", "lmtp:/run/lmtp", "/run/lmtp 0 gw.test", 3600},
	    {"", "lmtp", "lmtp:/run/lmtp", "/run/lmtp 0 gw.test", 3600},
	    {"rows.test", "smtp", "192.0.2.7;192.0.2.8;192.0.2.9:26",
		"192.0.2.7 25 192.0.2.7|192.0.2.8 25 192.0.2.8|192.0.2.9 26 192.0.2.9", 300},
	};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct routes r = route(w, row[i].domain);

		if (r.status != META1_OK)
			fail_msg("%s: %s %s", row[i].domain, r.dsn, r.text);
		assert_string_equal(r.hops, row[i].hops);
		assert_string_equal(r.key, row[i].key);
		assert_string_equal(r.transport, row[i].transport);
		assert_int_equal(r.ttl, row[i].ttl);
	}
}

static void bad(void **state)
{
	static const struct {
		const char *domain, *dsn;
	} row[] = {
	    {"nowhere.test", "5.1.2"},
	    {"text.test", "5.1.2"},
	    {"null.test", "5.1.10"},
	    {"cut2.test", "5.4.6"},
	    {"us2.test", "5.4.6"},
	    {"us.test", "5.4.6"},
	    {"dead.test", "5.4.4"},
	    {"fail.test", "4.4.3"},
	    {"afail.test", "4.4.3"},
	    {"a..b", "5.1.2"},
	    {"a b", "5.1.2"},
	    /* A row that leads nowhere is a mistake to mend: mail waits. */
	    {"gone.test", "4.1.2"},
	    {"self.test", "4.4.6"},
	    {"typo.test", "4.3.5"},
	    {"clash.test", "4.3.5"},
	    {"broken.test", "4.3.0"},
	};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct routes r = route(w, row[i].domain);

		if (strcmp(r.dsn, row[i].dsn) != 0)
			fail_msg(
			    "%s: %s %s, expected %s", row[i].domain, r.dsn, r.text, row[i].dsn);
		assert_int_equal(r.status, row[i].dsn[0] == '4' ? META1_TEMPFAIL : META1_PERMFAIL);
		assert_int_equal(r.smtp, row[i].dsn[0] == '4' ? 451 : 550);
		assert_string_equal(r.hops, "");
		assert_true(strlen(r.text) > 0);
	}
}

static void without_lmtp_socket(void **state)
{
	struct world *w = *state;
	struct routes r;

	w->policy.lmtp_path[0] = '\0';
	r = route(w, "own.test");
	assert_int_equal(r.status, META1_TEMPFAIL);
	assert_string_equal(r.dsn, "4.3.5");
	assert_string_equal(route(w, "lmtp.test").dsn, "4.3.5");
}

static void silent_servers(void **state)
{
	struct world *w = *state;
	struct routes r;

	dns_free(&w->dns);
	w->dns = ns_resolver(w->loop, &w->ns->port, 1, 10);
	w->ns->silent = 1000;
	r = route(w, "two.test");
	assert_int_equal(r.status, META1_TEMPFAIL);
	assert_string_equal(r.dsn, "4.4.3");
	assert_int_equal(r.ttl, 0);
}

/* Hosts and addresses of a trusted server's proven answers; what the configuration names. */
static void proven_ways(void **state)
{
	static const struct {
		const char *domain;
		bool trusted;
		uint64_t secure;
		bool own; /* not the destination of those whose MX records anybody can forge */
	} rows[] = {
	    {"two.test", true, SECURE_NAME | SECURE_ADDR, true},
	    {"alias.test", true, SECURE_NAME | SECURE_ADDR, true},
	    {"plain.test", true, SECURE_NAME | SECURE_ADDR, true}, /* it is proven to have no MX */
	    {"gate.test", true, SECURE_NAME | SECURE_ADDR, false},
	    {"gate.test", false, SECURE_NAME, false},
	    {"two.test", false, 0, false},
	    {"tcp.test", true, 0, false}, /* an address has no name */
	    {"path.test", true, 0, false},
	};
	struct dns_conf conf = {.timeout = 2000};
	struct world *w = *state;

	w->ns->ad = true;
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		struct routes r;

		dns_free(&w->dns);
		w->dns = ns_resolver_conf(w->loop, &w->ns->port, 1, conf, rows[i].trusted);
		r = route(w, rows[i].domain);
		assert_int_equal(r.status, META1_OK);
		assert_true(r.nsecure > 0);
		assert_int_equal(strncmp(r.key, "tls:", 4) == 0, rows[i].own);
		for (unsigned k = 0; k < r.nsecure; k++)
			if (r.secure[k] != rows[i].secure)
				fail_msg(
				    "%s: hop %u: %u", rows[i].domain, k, (unsigned)r.secure[k]);
	}
}

#define WITH(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
	    WITH(good),
	    WITH(limits_of_destinations),
	    WITH(policies_of_destinations),
	    WITH(via),
	    WITH(by_sender),
	    WITH(bad),
	    WITH(without_lmtp_socket),
	    WITH(silent_servers),
	    WITH(proven_ways),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
