/* SPDX-License-Identifier: BSD-2-Clause */
/* spf.c -- SPF: records that are read or refused, macros, and questions to a name server. */
#include "smar/spf.h"
#include "nameserver.h"

/* ---- records ---- */
static void records(void **state)
{
	static const char *const good[] = {"v=spf1", "V=SPF1 ", "v=spf1 -all", "v=spf1  ~all  ",
	    "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 ?ALL", "v=spf1 a mx ptr",
	    "v=spf1 a/24 mx//64 a/24//64 a:x.test/0//0",
	    "v=spf1 include:x.test exists:%{ir}.x.test", "v=spf1 redirect=x.test exp=why.x.test",
	    "v=spf1 foo=%{d}bar x-1.y_z=", "v=spf1 a:x.test.", "v=spf1 exists:%{d}",
	    "v=spf1 a:foo:bar/baz.x.test", "v=spf1 exists:%%.%_.%-.test",
	    "v=spf1 exists:%{L1R+-=}.x.test", "v=spf1 a:1.2.x-1"};
	static const char *const bad[] = {"v=spf10 -all", "v=spf1,-all", "spf1 -all",
	    "v=spf1 all:x", "v=spf1 all/8", "v=spf1 all.", "v=spf1 foo", "v=spf1 -",
	    "v=spf1 include", "v=spf1 include:", "v=spf1 include:x.test/24",
	    "v=spf1 a:", "v=spf1 a:museum", "v=spf1 a:museum.", "v=spf1 a:1.2.3.4",
	    "v=spf1 a:x.test/33", "v=spf1 a/", "v=spf1 a//129", "v=spf1 a/01", "v=spf1 mx/64//24x",
	    "v=spf1 ptr/0", "v=spf1 ip4", "v=spf1 ip4:1.2.3", "v=spf1 ip4:1.2.3.4/33",
	    "v=spf1 ip4:1.2.3.4//32", "v=spf1 ip4:1.2.3.4:80", "v=spf1 ip6:2001:db8::/129",
	    "v=spf1 ip6:1.2.3.4", "v=spf1 redirect=", "v=spf1 redirect=a.test redirect=b.test",
	    "v=spf1 exp=a.test exp=b.test", "v=spf1 exists:%{d", "v=spf1 exists:%{x}.test",
	    "v=spf1 exists:%{d0}.x.test", "v=spf1 exists:%{c}.x.test", "v=spf1 exists:%(d).test",
	    "v=spf1 foo=%", "v=spf1 =x", "v=spf1 1foo=x", "v=spf1 a\tmx", "v=spf1 a:x.test-",
	    "v=spf1 a:-x.te_st", "v=spf1 ip4:1.2.3.4 \xc3\xa4"};
	struct spf_record r;
	struct meta1_err err;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		if (spf_record_parse(buf_str(good[i]), &r, &err) < 0)
			fail_msg("\"%s\": %s", good[i], err.text);
		spf_record_free(&r);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (spf_record_parse(buf_str(bad[i]), &r, &err) == 0)
			fail_msg("\"%s\" was taken", bad[i]);
	assert_int_equal(spf_record_parse(buf_str("v=spf1 ?a:x.test/20 -all"), &r, &err), 0);
	assert_int_equal(r.n, 2);
	assert_int_equal(r.term[0].result, SPF_NEUTRAL);
	assert_int_equal(r.term[0].bits4, 20);
	assert_int_equal(r.term[0].bits6, 128);
	assert_true(buf_caseeq(r.term[0].spec, "x.test"));
	assert_int_equal(r.term[1].result, SPF_FAIL);
	spf_record_free(&r);
}

/* ---- macros: the examples of RFC 7208 section 7.4 and some of our own ---- */
static void macros(void **state)
{
	static const struct {
		const char *text, *v4, *v6;
	} rows[] = {
	    {"%{s}", "strong-bad@email.example.com", NULL},
	    {"%{o}", "email.example.com", NULL},
	    {"%{d4}", "email.example.com", NULL},
	    {"%{d2}", "example.com", NULL},
	    {"%{dr}", "com.example.email", NULL},
	    {"%{d2r}", "example.email", NULL},
	    {"%{l}", "strong-bad", NULL},
	    {"%{l-}", "strong.bad", NULL},
	    {"%{lr-}", "bad.strong", NULL},
	    {"%{l1r-}", "strong", NULL},
	    {"%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com",
		"1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example."
		"com"},
	    {"%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com", NULL},
	    {"%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com",
		"1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.strong.lp."
		"_spf.example.com"},
	    {"%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net", NULL},
	    {"%{S}", "strong-bad%40email.example.com", NULL},
	    {"%%%_%-", "% %20", NULL},
	    {"%{p}/%{h}/%{r}/%{t}/%{c}", "unknown/mx.test/gw.test/99/192.0.2.3",
		"unknown/mx.test/gw.test/99/2001:db8::cb01"},
	};
	struct mx_addr a4, a6;
	struct spf_values v = {.local = "strong-bad",
	    .sender = "email.example.com",
	    .domain = "email.example.com",
	    .helo = "mx.test",
	    .hostname = "gw.test",
	    .name = "unknown",
	    .now = 99};
	char out[400], name[DNS_NAME_MAX], text[700];

	(void)state;
	assert_true(dns_addr_parse("192.0.2.3", &a4) && dns_addr_parse("2001:db8::cb01", &a6));
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		v.addr = &a4;
		assert_true(spf_macro_ok(buf_str(rows[i].text), SPF_M_EXP));
		assert_true(spf_macro_expand(buf_str(rows[i].text), &v, out, sizeof(out)) >= 0);
		assert_string_equal(out, rows[i].v4);
		v.addr = &a6;
		spf_macro_expand(buf_str(rows[i].text), &v, out, sizeof(out));
		assert_string_equal(out, rows[i].v6 ? rows[i].v6 : rows[i].v4);
	}
	assert_int_equal(spf_macro_expand(buf_str("%{s}%{s}%{s}"), &v, out, 50), -1);
	/* Too long a name loses labels at its left; one without a name at the end is none. */
	memset(text, 'x', sizeof(text));
	for (int i = 49; i < 600; i += 50)
		text[i] = '.';
	str_copy(text + 600, 20, "tail.test");
	assert_true(spf_macro_domain(buf_str(text), &v, name));
	assert_in_range(strlen(name), 200, 253);
	assert_string_equal(name + strlen(name) - 9, "tail.test");
	assert_false(spf_macro_domain(buf_str("a..test"), &v, name));
	assert_false(spf_macro_domain(buf_str("a\\b.test"), &v, name));
}

/* ---- questions ---- */
static const char big[] = "v=spf1 ip4:10.0.0.1 ip4:10.0.0.2 ip4:10.0.0.3 ip4:10.0.0.4 ip4:10.0.0.5 "
			  "ip4:10.0.0.6 ip4:10.0.0.7 ip4:10.0.0.8 ip4:10.0.0.9 ip4:10.0.0.10 "
			  "ip4:10.0.0.11 ip4:10.0.0.12 ip4:10.0.0.13 ip4:10.0.0.14 ip4:10.0.0.15 "
			  "ip4:10.0.0.16 ip4:10.0.0.17 ip4:192.0.2.200 -all";
#define TXT(name, text)                                                                            \
	{                                                                                          \
		name, DNS_TXT, DNS_TXT, 0, text                                                    \
	}
static const struct ns_row rows[] = {
    TXT("ip.test", "v=spf1 ip4:192.0.2.0/28 ip6:2001:db8::/32 -all"),
    TXT("ip.test", "something else"),
    TXT("soft.test", "v=spf1 ~all"),
    TXT("open.test", "v=spf1 ip4:192.0.2.1"),
    TXT("two.test", "v=spf1 -all"),
    TXT("two.test", "v=spf1 +all"),
    TXT("syntax.test", "v=spf1 ip4:192.0.2.1 foo -all"),
    TXT("big.test", big),
    TXT("a.test", "v=spf1 a -all"),
    {"a.test", DNS_A, DNS_A, 0, "192.0.2.9"},
    TXT("a24.test", "v=spf1 a:a.test/24 -all"),
    TXT("mx.test", "v=spf1 mx -all"),
    {"mx.test", DNS_MX, DNS_MX, 0, "10 a.test"},
    {"mx.test", DNS_MX, DNS_MX, 0, "20 gone.test"},
    TXT("inc.test", "v=spf1 include:ip.test include:soft.test ?all"),
    TXT("incnone.test", "v=spf1 include:gone.test -all"),
    TXT("redir.test", "v=spf1 redirect=ip.test"),
    TXT("redirnone.test", "v=spf1 redirect=gone.test"),
    TXT("loop.test", "v=spf1 include:loop.test -all"),
    TXT("rloop.test", "v=spf1 redirect=rloop.test"),
    TXT("exists.test", "v=spf1 exists:%{l}.%{ir}.users.test -all exp=why.test"),
    {"bob.1.2.0.192.users.test", DNS_A, DNS_A, 0, "127.0.0.2"},
    TXT("why.test", "%{s} may not send from %{c}, see http://%{d}/"),
    TXT("void.test", "v=spf1 a:v1.test a:v2.test a:v3.test -all"),
    TXT("void2.test", "v=spf1 a:v1.test a:v2.test -all"),
    TXT("ten.test", "v=spf1 exists:a.test/x.no.test a:a.test a:a.test a:a.test a:a.test a:a.test "
		    "a:a.test a:a.test a:a.test a:a.test ~all"),
    TXT("eleven.test", "v=spf1 a:a.test a:a.test a:a.test a:a.test a:a.test a:a.test a:a.test "
		       "a:a.test a:a.test a:a.test a:a.test ~all"),
    TXT("ptr.test", "v=spf1 ptr -all"),
    {"7.2.0.192.in-addr.arpa", DNS_PTR, DNS_PTR, 0, "out.ptr.test"},
    {"8.2.0.192.in-addr.arpa", DNS_PTR, DNS_PTR, 0, "out.ptr.test"},
    {"out.ptr.test", DNS_A, DNS_A, 0, "192.0.2.7"},
    TXT("p.test", "v=spf1 exists:%{p}.names.test -all"),
    {"out.ptr.test.names.test", DNS_A, DNS_A, 0, "127.0.0.2"},
    {"slow.test", DNS_TXT, DNS_TXT, 2, ""}, /* SERVFAIL */
    TXT("incslow.test", "v=spf1 include:slow.test -all"),
    TXT("helo.test", "v=spf1 ip4:192.0.2.1 -all"),
    {NULL, 0, 0, 0, NULL},
};

struct answer {
	unsigned told;
	struct spf_answer a;
};
static void answered(void *arg, const struct spf_answer *a)
{
	struct answer *out = arg;

	out->told++;
	out->a = *a;
}

static void questions(void **state)
{
	static const struct {
		const char *client, *from;
		enum spf_result result;
		const char *mechanism, *text; /* of the explanation or the reason, a part */
	} q[] = {
	    {"192.0.2.1", "a@ip.test", SPF_PASS, "ip4:192.0.2.0/28", ""},
	    {"::ffff:192.0.2.1", "a@ip.test", SPF_PASS, "ip4:192.0.2.0/28", ""},
	    {"192.0.2.16", "a@ip.test", SPF_FAIL, "-all", ""},
	    {"2001:db8::1", "a@ip.test", SPF_PASS, "ip6:2001:db8::/32", ""},
	    {"2001:db9::1", "a@ip.test", SPF_FAIL, "-all", ""},
	    {"192.0.2.1", "a@soft.test", SPF_SOFTFAIL, "~all", ""},
	    {"192.0.2.2", "a@open.test", SPF_NEUTRAL, "default", ""},
	    {"192.0.2.2", "a@gone.test", SPF_NONE, "", "no record"},
	    {"192.0.2.2", "a@mx", SPF_NONE, "", ""},
	    {"192.0.2.2", "a@[192.0.2.2]", SPF_NONE, "", ""},
	    {"unix", "a@ip.test", SPF_NONE, "", ""},
	    {"192.0.2.1", "a@two.test", SPF_PERMERROR, "", "more than one"},
	    {"192.0.2.1", "a@syntax.test", SPF_PERMERROR, "", "\"foo\""},
	    {"192.0.2.200", "a@big.test", SPF_PASS, "ip4:192.0.2.200", ""},
	    {"192.0.2.9", "a@a.test", SPF_PASS, "a", ""},
	    {"192.0.2.10", "a@a.test", SPF_FAIL, "-all", ""},
	    {"192.0.2.10", "a@a24.test", SPF_PASS, "a:a.test/24", ""},
	    {"192.0.2.9", "a@mx.test", SPF_PASS, "mx", ""},
	    {"192.0.2.1", "a@inc.test", SPF_PASS, "include:ip.test", ""},
	    {"192.0.2.99", "a@inc.test", SPF_NEUTRAL, "?all", ""},
	    {"192.0.2.1", "a@incnone.test", SPF_PERMERROR, "", "gone.test: no record"},
	    {"192.0.2.1", "a@redir.test", SPF_PASS, "ip4:192.0.2.0/28", ""},
	    {"192.0.2.1", "a@redirnone.test", SPF_PERMERROR, "", "no record"},
	    {"192.0.2.1", "a@loop.test", SPF_PERMERROR, "", "more than 10"},
	    {"192.0.2.1", "a@rloop.test", SPF_PERMERROR, "", "more than 10"},
	    {"192.0.2.1", "bob@exists.test", SPF_PASS, "exists:%{l}.%{ir}.users.test", ""},
	    {"192.0.2.1", "eve@exists.test", SPF_FAIL, "-all",
		"eve@exists.test may not send from 192.0.2.1, see http://exists.test/"},
	    {"192.0.2.1", "a@void.test", SPF_PERMERROR, "", "more than 2"},
	    {"192.0.2.1", "a@void2.test", SPF_FAIL, "-all", ""},
	    {"192.0.2.1", "a@ten.test", SPF_SOFTFAIL, "~all", ""},
	    {"192.0.2.1", "a@eleven.test", SPF_PERMERROR, "", "more than 10"},
	    {"192.0.2.7", "a@ptr.test", SPF_PASS, "ptr", ""},
	    {"192.0.2.8", "a@ptr.test", SPF_FAIL, "-all", ""},
	    {"192.0.2.7", "a@p.test", SPF_PASS, "exists:%{p}.names.test", ""},
	    {"192.0.2.1", "a@slow.test", SPF_TEMPERROR, "", "SERVFAIL"},
	    {"192.0.2.1", "a@incslow.test", SPF_TEMPERROR, "", "SERVFAIL"},
	    {"192.0.2.1", "", SPF_PASS, "ip4:192.0.2.1", ""},
	    {"192.0.2.2", "", SPF_FAIL, "-all", ""},
	};
	struct loop *l = loop_new();
	struct nameserver *ns = ns_new(l, rows);
	struct dns *dns = ns_resolver(l, &ns->port, 1, 1000);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(q); i++) {
		const char *at = strchr(q[i].from, '@');
		char local[64] = "";
		struct spf_question ask = {.client = q[i].client,
		    .helo = "helo.test",
		    .local = local,
		    .domain = at ? at + 1 : "",
		    .hostname = "gw.test"};
		struct answer a = {.told = 0};

		if (at)
			snprintf(local, sizeof(local), "%.*s", (int)(at - q[i].from), q[i].from);
		spf_ask(dns, &ask, loop_now(l) + 5000, answered, &a);
		assert_int_equal(a.told, 0);
		while (!a.told)
			loop_turn(l, true);
		if (a.a.result != q[i].result || strcmp(a.a.mechanism, q[i].mechanism) != 0 ||
		    (q[i].text[0] && !strstr(a.a.why, q[i].text) &&
			!strstr(a.a.explanation, q[i].text)))
			fail_msg("%s %s: %s, \"%s\", %s%s", q[i].client, q[i].from,
			    spf_word(a.a.result), a.a.mechanism, a.a.why, a.a.explanation);
		assert_int_equal(a.a.helo, !at);
		assert_true(a.a.ttl == 0 || a.a.result != SPF_TEMPERROR);
	}
	dns_free(&dns);
	ns_free(ns);
	loop_free(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(records),
	    cmocka_unit_test(macros),
	    cmocka_unit_test(questions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
