/* SPDX-License-Identifier: BSD-2-Clause */
/* Unit test of core/lib/netlist.c: what is a network, and what is in it. */
#include "lib/netlist.h"

#include <setjmp.h>
#include <stdarg.h>

/* needs the headers above */
#include <cmocka.h>

static void forms(void **state)
{
	static const char *const good[] = {"unix", "192.0.2.1", "0.0.0.0/0", "10.0.0.0/8",
	    "192.0.2.1/32", "192.0.2.128/25", "::1", "::/0", "2001:db8::/32", "2001:db8::1/128"};
	static const char *const wrong[] = {"", "Unix", "host", "192.0.2", "192.0.2.1/33",
	    "192.0.2.1/", "192.0.2.1/8", "10.0.0.0/08", "10.0.0.0/-1", "10.0.0.0/8x",
	    "10.0.0.0/8/8", "2001:db8::/129", "2001:db8::1/32", "[::1]", "192.0.2.1:25", "/8",
	    "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc"};
	struct net net;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		if (!netlist_parse(good[i], &net))
			fail_msg("%s is refused", good[i]);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		if (netlist_parse(wrong[i], &net))
			fail_msg("%s is taken", wrong[i]);
}

static void within(void **state)
{
	static const char *const words[] = {
	    "192.0.2.1", "10.0.0.0/8", "198.51.100.128/25", "2001:db8::/33", NULL};
	static const char *const all[] = {"0.0.0.0/0", "unix", NULL};
	static const char *const none[] = {NULL};
	static const struct {
		const char *addr;
		bool in_words, in_all;
	} row[] = {
	    {"192.0.2.1", true, true},
	    {"192.0.2.2", false, true},
	    {"10.255.255.255", true, true},
	    {"11.0.0.0", false, true},
	    {"198.51.100.127", false, true},
	    {"198.51.100.255", true, true},
	    {"2001:db8:7fff::1", true, false},
	    {"2001:db8:8000::1", false, false},
	    {"unix", false, true},
	    {"unknown", false, false},
	    {"10.0.0.0/8", false, false},
	    {"", false, false},
	};
	struct netlist *some = netlist_new(words), *any = netlist_new(all);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		if (netlist_has(some, row[i].addr) != row[i].in_words ||
		    netlist_has(any, row[i].addr) != row[i].in_all)
			fail_msg("%s", row[i].addr);
		assert_false(netlist_has(NULL, row[i].addr));
	}
	assert_null(netlist_new(none));
	assert_null(netlist_new(NULL));
	netlist_free(&some);
	netlist_free(&any);
	assert_null(any);
}

static void plain(void **state)
{
	static const char *const row[][2] = {{"::ffff:192.0.2.1", "192.0.2.1"},
	    {"2001:db8::1", "2001:db8::1"}, {"::ffff:1:2", "::ffff:1:2"}, {"unix", "unix"}};
	char text[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		str_copy(text, sizeof(text), row[i][0]);
		netlist_plain(text);
		assert_string_equal(text, row[i][1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(forms), cmocka_unit_test(within), cmocka_unit_test(plain)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
