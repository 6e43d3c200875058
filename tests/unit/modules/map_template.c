/* SPDX-License-Identifier: BSD-2-Clause */
/* map_template.c -- keys put into texts, and texts of servers; both without a module around them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "netmap/netmap.h"
#include "template/template.h"

static size_t doubled(const char *in, size_t len, char *out, size_t room)
{
	for (size_t i = 0; i < len && 2 * len <= room; i++)
		out[2 * i] = out[2 * i + 1] = in[i];
	return 2 * len;
}

static void filled(void **state)
{
	static const struct {
		const char *text, *key, *want; /* want NULL: it cannot be filled */
		template_quote quote;
	} t[] = {
	    {"(mail=%s)", "u@d", "(mail=u@d)", template_plain},
	    {"%u at %d", "u@v@d", "u@v at d", template_plain},
	    {"%u", "plain", "plain", template_plain},
	    {"%d", "plain", NULL, template_plain},
	    {"%d", "u@", "", template_plain},
	    {"100%%", "x", "100%", template_plain},
	    {"%s", "%s", "%s", template_plain},
	    {"a%sb%s", "x*", "axx**bxx**", doubled},
	    {"%s%s", "0123456789", NULL, doubled},
	    {"0123456789012345678901234567890123", "", NULL, template_plain},
	    {"%s", "01234567890123456789012345678901", "01234567890123456789012345678901",
		template_plain},
	};
	char out[32];

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		long n = template_fill(t[i].text, (struct meta1_buf){t[i].key, strlen(t[i].key)},
		    t[i].quote, out, sizeof(out));

		if ((n < 0) != !t[i].want || (n >= 0 && (strlen(t[i].want) != (size_t)n ||
							    memcmp(out, t[i].want, (size_t)n))))
			fail_msg("%s with %s: %ld %.*s", t[i].text, t[i].key, n, n < 0 ? 0 : (int)n,
			    out);
	}
}

static void checked(void **state)
{
	static const struct {
		const char *text;
		int want;
	} t[] = {
	    {"", 0}, {"abc", 0}, {"%s", 1}, {"%u@%d %%", 2}, {"%", -1}, {"%x", -1}, {"%%%", -1}};
	struct meta1_err err;

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		assert_int_equal(template_check(t[i].text, "o", &err), t[i].want);
}

static void servers(void **state)
{
	static const struct {
		const char *text, *name; /* name NULL: a mistake */
		int named;
	} t[] = {
	    {"/run/s", "/run/s", 0},
	    {"192.0.2.1", "192.0.2.1 port 7", 0},
	    {"192.0.2.1:65535", "192.0.2.1 port 65535", 0},
	    {"[2001:db8::1]", "2001:db8::1 port 7", 0},
	    {"[::1]:25", "::1 port 25", 0},
	    {"db.example.org", "db.example.org port 7", 1},
	    {"db:1", "db port 1", 1},
	    {"", NULL, 0},
	    {":1", NULL, 0},
	    {"h:", NULL, 0},
	    {"h:0", NULL, 0},
	    {"h:65536", NULL, 0},
	    {"h:1x", NULL, 0},
	    {"::1", NULL, 0},
	    {"[::1", NULL, 0},
	    {"[::1]x", NULL, 0},
	    {"[]", NULL, 0},
	};
	char path[140];
	struct netmap_server s;
	struct meta1_err err;

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		memset(&s, 0, sizeof(s));
		s.port = 7;
		err.text[0] = '\0';
		if ((netmap_server(t[i].text, &s, &err) < 0) != !t[i].name)
			fail_msg("%s: %s", t[i].text, err.text);
		if (!t[i].name)
			continue;
		assert_string_equal(s.name, t[i].name);
		assert_int_equal(s.named, t[i].named);
	}
	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[108] = '\0';
	assert_int_equal(netmap_server(path, &s, &err), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(filled),
	    cmocka_unit_test(checked),
	    cmocka_unit_test(servers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
