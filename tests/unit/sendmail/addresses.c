/* SPDX-License-Identifier: BSD-2-Clause */
/* addresses.c -- tries core/sendmail/addresses.c: lists as people write them, and what is none. */
#include "sendmail/sendmail.h"

#include "../unit.h"

#include <stdio.h>

struct seen {
	char text[1024];
	size_t n;
};

/* "addr" with "|" at the place of a domain that lacks, a blank between two. */
static int note(void *arg, const char *addr, bool domain, size_t at)
{
	struct seen *s = arg;

	s->n += (size_t)snprintf(
	    s->text + s->n, sizeof(s->text) - s->n, "%s%s", s->n ? " " : "", *addr ? addr : "<>");
	if (!domain)
		s->n += (size_t)snprintf(s->text + s->n, sizeof(s->text) - s->n, "|%zu", at);
	return 0;
}

static void lists(void **state)
{
	static const struct {
		const char *text, *seen; /* NULL: an error */
	} rows[] = {
	    {"", ""},
	    {" \r\n", ""},
	    {"a@b.test", "a@b.test"},
	    {"root", "root|4"},
	    {" root (Cron Daemon)\r\n", "root|5"},
	    {"a@b.test, c@d.test,,\r\n\te", "a@b.test c@d.test e|24"},
	    {"John Q. Public <j.p@b.test>", "j.p@b.test"},
	    {"\"Public, John\" <jp>, x", "jp|18 x|22"},
	    {"=?utf-8?Q?J=C3=B6rg?= <j@b.test>", "j@b.test"},
	    {"J\303\266rg <j\303\266rg@b\303\274.test>", "j\303\266rg@b\303\274.test"},
	    {"<>", "<>|1"},
	    {"<@a.test,@b.test:c@d.test>", "c@d.test"},
	    {"\"a b\"@c.test", "\"a b\"@c.test"},
	    {"\"a@x.test\"", "\"a@x.test\"|10"},
	    {"\"a\\\"b\"@c.test", "\"a\\\"b\"@c.test"},
	    {"u@[192.0.2.1], v@[IPv6:2001:db8::1]", "u@[192.0.2.1] v@[IPv6:2001:db8::1]"},
	    {"a . b @ c (where) . test", "a.b@c.test"},
	    {"(a (nested \\) one) here) x@y.test (and, there)", "x@y.test"},
	    {"undisclosed-recipients:;", ""},
	    {"friends: a@b.test, C <c@d.test>;, e@f.test", "a@b.test c@d.test e@f.test"},
	    {"a <b@c.test> (d)", "b@c.test"},
	    {"a/b=c+d@e.test", "a/b=c+d@e.test"},
	    {"foo bar", NULL},
	    {"a@b.test c@d.test", NULL},
	    {"a@b@c.test", NULL},
	    {"@b.test", NULL},
	    {"a@", NULL},
	    {"<a@b.test", NULL},
	    {"a@b.test>", NULL},
	    {"<a@b.test> x", NULL},
	    {"<a@b.test> <c@d.test>", NULL},
	    {"(a@b.test", NULL},
	    {"\"a@b.test", NULL},
	    {"a\\@b.test", NULL},
	    {"a\001@b.test", NULL},
	    {"\"a\001\"@b.test", NULL},
	    {"<@a.test c@d.test>", NULL},
	    {"x; y", NULL},
	    {"u@[192.0.2.1", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct seen s = {"", 0};
		struct meta1_err err = {""};
		int rc = sendmail_addresses(rows[i].text, strlen(rows[i].text), note, &s, &err);

		if ((rc == 0) != (rows[i].seen != NULL))
			fail_msg("%s: %d %s, saw %s", rows[i].text, rc, err.text, s.text);
		if (rows[i].seen)
			assert_string_equal(s.text, rows[i].seen);
		else
			assert_true(strlen(err.text) > 0);
	}
}

/* Every cut of a list, and every byte in it changed: no more than an error. */
static void any_bytes(void **state)
{
	static const char text[] = "A (b\\)) \"c\\\"\" <@d,@e:\"f g\"@[1.2]>, h: i@j.k; l";
	char changed[sizeof(text)];
	struct meta1_err err;

	(void)state;
	for (size_t n = 0; n < sizeof(text); n++)
		for (int c = 0; c < 256; c++) {
			struct seen s = {"", 0};

			memcpy(changed, text, sizeof(text));
			changed[n] = (char)c;
			(void)sendmail_addresses(changed, n + 1, note, &s, &err);
			(void)sendmail_addresses(changed, sizeof(text) - 1, note, &s, &err);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(lists),
	    cmocka_unit_test(any_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
