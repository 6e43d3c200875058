/* SPDX-License-Identifier: BSD-2-Clause */
/* hop_conf.c -- which rows of the access map are those of next hops and recipients. */
#include "maps.h"

static const struct table_row rows[] = {
    {"smtpc_session_conf:mx1.test", "IO_timeout = 1m;"},
    {"smtpc_session_conf:.deep.test", "IO_timeout = 2m;"},
    {"smtpc_session_conf:192.0.2.7", "IO_timeout = 3m;"},
    {"smtpc_session_conf:192.0.2", "IO_timeout = 4m;"},
    {"smtpc_session_conf:2001:db8::/32", "IO_timeout = 5m;"},
    {"smtpc_session_conf:/run/a b", "IO_timeout = 6m;"},
    {"smtpc_session_conf:bad.test", "IO_timeot = 7m;"},
    {"smtpc_session_conf:not-ours.test", "source_ipv4 = 192.0.2.99;"},
    {"smtpc_session_conf:broken.test", NULL},
    {"smtpc_rcpt_conf:vip@one.test", "no_8bitmime = bounce;"},
    {"smtpc_rcpt_conf:.test", "extensions = dont_dsn;"},
    {"smtpc_rcpt_conf:broken@one.test", NULL},
    {NULL, NULL},
};

static char seen[2000];

static void told(void *arg, const struct smar_hop_conf *c)
{
	size_t n = 0;

	(*(int *)arg)++;
	if (c->status != META1_OK) {
		snprintf(seen, sizeof(seen), "status %d", (int)c->status);
		return;
	}
	seen[0] = '\0';
	for (unsigned i = 0; i <= c->nhop; i++) {
		uint64_t row = i < c->nhop ? c->hop[i] : c->rcpt;
		const struct smar_conf_row *r = row ? &c->row[row - 1] : NULL;

		assert_true(row <= c->n);
		n += (size_t)snprintf(seen + n, sizeof(seen) - n, "%s%s%s%s", i ? "|" : "",
		    r ? strchr(r->key, ':') + 1 : "", r && r->error[0] ? " " : "",
		    r ? r->error : "");
		assert_true(!r || !r->text[0] == (r->error[0] != '\0'));
	}
}

static void find(void **state)
{
	static const struct {
		const char *hops, *rcpt, *want;
	} table[] = {
	    {"", "", ""},
	    {"192.0.2.1 25 mx1.test", "", "mx1.test|"},
	    {"192.0.2.7 25 mx2.test", "", "192.0.2.7|"},
	    {"192.0.2.7 25 mx1.test", "", "mx1.test|"}, /* the name goes before the address */
	    {"192.0.2.8 25 192.0.2.8", "", "192.0.2|"},
	    {"198.51.100.1 25 a.b.deep.test", "", ".deep.test|"},
	    {"198.51.100.1 25 deep.test", "", "|"},
	    {"2001:db8::9 25 mx3.test", "", "2001:db8::/32|"},
	    {"/run/a b 0 gw.test", "", "/run/a b|"},
	    {"/run/c 0 mx1.test", "", "|"}, /* the name of a socket is ours, not its own */
	    {"192.0.2.1 25 mx1.test,192.0.2.2 25 mx1.test,198.51.100.1 25 mx1.test", "",
		"mx1.test|mx1.test|mx1.test|"},
	    {"198.51.100.1 25 no.test,192.0.2.7 25 no.test,192.0.2.9 25 mx1.test", "",
		"|192.0.2.7|mx1.test|"},
	    {"198.51.100.1 25 bad.test", "",
		"bad.test IO_timeot: there is no such option, did you mean IO_timeout|"},
	    {"198.51.100.1 25 not-ours.test", "",
		"not-ours.test source address 192.0.2.99: Cannot assign requested address|"},
	    {"192.0.2.1 25 mx1.test,198.51.100.1 25 broken.test", "", "status 4"},
	    {"198.51.100.1 25 no.test", "vip@one.test", "|vip@one.test"},
	    {"198.51.100.1 25 no.test", "VIP+x@One.Test", "|vip@one.test"},
	    {"192.0.2.1 25 mx1.test", "user@one.test", "mx1.test|.test"},
	    {"198.51.100.1 25 no.test", "user@one.example", "|"},
	    {"198.51.100.1 25 no.test", "broken@one.test", "status 4"},
	};
	struct loop *l = loop_new();
	struct smar_policy p;
	struct table_map map;

	(void)state;
	test_policy(&p, l);
	p.access = table_map(&map, l, "access", rows);
	for (unsigned i = 0; i < ARRAY_LEN(table); i++) {
		char hop[4][600], text[300], *save = NULL;
		unsigned n = 0;
		int got = 0;

		str_copy(text, sizeof(text), table[i].hops);
		for (char *w = strtok_r(text, ",", &save); w; w = strtok_r(NULL, ",", &save))
			str_copy(hop[n++], sizeof(hop[0]), w);
		p.session_conf = p.rcpt_conf = true;
		smar_hop_conf_find(&p, (const char(*)[600])hop, n, buf_str(table[i].rcpt),
		    loop_now(l) + 1000, told, &got);
		while (!got)
			loop_turn(l, true);
		if (got != 1 || strcmp(seen, table[i].want))
			fail_msg("%s %s: found %s, expected %s", table[i].hops, table[i].rcpt, seen,
			    table[i].want);
	}
	/* Without the flags, or without the map, nobody is asked. */
	map.asked = 0;
	for (unsigned i = 0; i < 2; i++) {
		char hop[1][600] = {"192.0.2.1 25 mx1.test"};
		int got = 0;

		p.session_conf = p.rcpt_conf = i;
		if (i)
			p.access.map = NULL;
		smar_hop_conf_find(&p, (const char(*)[600])hop, 1, buf_str("vip@one.test"),
		    loop_now(l) + 1000, told, &got);
		assert_int_equal(got, 1);
		assert_string_equal(seen, "");
	}
	assert_int_equal(map.asked, 0);
	loop_free(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(find)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
