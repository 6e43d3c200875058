/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Unit test of core/mail/addr.c: a table of paths with what must come out.
 * Comes from RFC 5321 4.1.2, 4.1.3, 4.5.3.1 and threats by addresses.
 */
#include "mail/addr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* needs the headers above */
#include <cmocka.h>

#define L64    "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggg"
#define LAB63  "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg"
#define DOM255 LAB63 "." LAB63 "." LAB63 "." LAB63

struct row {
	const char *text;
	unsigned flags;
	const char *whole;  /* NULL: must be refused */
	const char *domain; /* or the start of the error */
	const char *rest;
};

static const struct row good[] = {
    {"<a@b.example>", 0, "a@b.example", "b.example", ""},
    {"<a@b.example> SIZE=1", 0, "a@b.example", "b.example", " SIZE=1"},
    {"<>", ADDR_NULL, "", "", ""},
    {"<> BODY=7BIT", ADDR_NULL, "", "", " BODY=7BIT"},
    {"<postmaster>", ADDR_POSTMASTER, "postmaster", "", ""},
    {"<PostMaster>", ADDR_POSTMASTER, "PostMaster", "", ""},
    {"<\"postmaster\">", ADDR_POSTMASTER, "\"postmaster\"", "", ""},
    {"<!#$%&'*+-/=?^_`{|}~@x>", 0, "!#$%&'*+-/=?^_`{|}~@x", "x", ""},
    {"<a.b.c@x-y.z1>", 0, "a.b.c@x-y.z1", "x-y.z1", ""},
    {"<\"a b\"@x.example>", 0, "\"a b\"@x.example", "x.example", ""},
    {"<\"a\\\"b>@\"@x.example>", 0, "\"a\\\"b>@\"@x.example", "x.example", ""},
    {"<\"\"@x.example>", 0, "\"\"@x.example", "x.example", ""},
    {"<@one.example:a@b.example>", 0, "a@b.example", "b.example", ""},
    {"<@one.example,@[192.0.2.1]:a@b.example>x", 0, "a@b.example", "b.example", "x"},
    {"<a@[192.0.2.1]>", 0, "a@[192.0.2.1]", "[192.0.2.1]", ""},
    {"<a@[IPv6:2001:db8::1]>", 0, "a@[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]", ""},
    {"<a@[ipv6:::1]>", 0, "a@[ipv6:::1]", "[ipv6:::1]", ""},
    {"<" L64 "@x>", 0, L64 "@x", "x", ""},
    {"<" L64 "@" DOM255 ">", 0, L64 "@" DOM255, DOM255, ""},
};

static const struct row refused[] = {
    {"", 0, NULL, "5.1.3", NULL},
    {"a@b", 0, NULL, "5.1.3", NULL},
    {"<", 0, NULL, "5.1.3", NULL},
    {"<>", 0, NULL, "5.1.3", NULL},
    {"<a@b", ADDR_NULL, NULL, "5.1.7", NULL},
    {"<a@>", 0, NULL, "5.1.3", NULL},
    {"<a>", 0, NULL, "5.1.3", NULL},
    {"<postmaster>", 0, NULL, "5.1.3", NULL},
    {"<root>", ADDR_POSTMASTER, NULL, "5.1.3", NULL},
    {"<@b>", 0, NULL, "5.1.3", NULL},
    {"<.a@b>", 0, NULL, "5.1.3", NULL},
    {"<a.@b>", 0, NULL, "5.1.3", NULL},
    {"<a..b@c>", 0, NULL, "5.1.3", NULL},
    {"<a b@c>", 0, NULL, "5.1.3", NULL},
    {"<a@b@c>", 0, NULL, "5.1.3", NULL},
    {"<a@b c>", 0, NULL, "5.1.3", NULL},
    {"<a@-b>", 0, NULL, "5.1.3", NULL},
    {"<a@b->", 0, NULL, "5.1.3", NULL},
    {"<a@b-.c>", 0, NULL, "5.1.3", NULL},
    {"<a@b..c>", 0, NULL, "5.1.3", NULL},
    {"<a@b.>", 0, NULL, "5.1.3", NULL},
    {"<a@.b>", 0, NULL, "5.1.3", NULL},
    {"<a@b_c>", 0, NULL, "5.1.3", NULL},
    {"<a@[1.2.3]>", 0, NULL, "5.1.3", NULL},
    {"<a@[1.2.3.256]>", 0, NULL, "5.1.3", NULL},
    {"<a@[192.0.2.1>", 0, NULL, "5.1.3", NULL},
    {"<a@[2001:db8::1]>", 0, NULL, "5.1.3", NULL},
    {"<a@[IPv6:192.0.2.1]>", 0, NULL, "5.1.3", NULL},
    {"<a@[]>", 0, NULL, "5.1.3", NULL},
    {"<\"a@b>", 0, NULL, "5.1.3", NULL},
    {"<\"a\\\"@b>", 0, NULL, "5.1.3", NULL},
    {"<\"a\001\"@b>", 0, NULL, "5.1.3", NULL},
    {"<\"a\"b@c>", 0, NULL, "5.1.3", NULL},
    {"<a\303\244@b>", 0, NULL, "5.1.3", NULL},
    {"<a@b\303\244>", 0, NULL, "5.1.3", NULL},
    {"<a\r\n@b>", 0, NULL, "5.1.3", NULL},
    {"<;id@>", 0, NULL, "5.1.3", NULL},
    {"<@one a@b>", 0, NULL, "5.1.3", NULL},
    {"<@one:>", 0, NULL, "5.1.3", NULL},
    {"<@one,two:a@b>", 0, NULL, "5.1.3", NULL},
    {"<@:a@b>", 0, NULL, "5.1.3", NULL},
    {"<@one,", 0, NULL, "5.1.3", NULL},
    {"<a" L64 "@x>", 0, NULL, "5.1.3 Local part is longer", NULL},
    {"<a@a" LAB63 ">", 0, NULL, "5.1.3", NULL},
    {"<a@" DOM255 ".b>", ADDR_NULL, NULL, "5.1.7 Domain is longer", NULL},
};

static void assert_slice(struct meta1_buf got, const char *want)
{
	assert_int_equal(got.len, strlen(want));
	assert_memory_equal(got.data, want, got.len);
}

static void paths_accepted(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		const struct row *r = &good[i];
		struct meta1_err err;
		struct addr a;
		size_t used = 0;

		if (addr_path(r->text, strlen(r->text), r->flags, &a, &used, &err) != 0)
			fail_msg("%s: refused: %s", r->text, err.text);
		assert_slice(a.whole, r->whole);
		assert_slice(a.domain, r->domain);
		assert_string_equal(r->text + used, r->rest);
	}
}

static void paths_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		const struct row *r = &refused[i];
		struct meta1_err err;
		struct addr a;
		size_t used = 0;

		if (addr_path(r->text, strlen(r->text), r->flags, &a, &used, &err) == 0)
			fail_msg("%s: accepted", r->text);
		if (strncmp(err.text, r->domain, strlen(r->domain)) != 0)
			fail_msg("%s: %s", r->text, err.text);
	}
}

/* Exact-size copies: a read past the end is seen by the address sanitizer. */
static void no_read_past_the_end(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		size_t whole = strlen(good[i].text);

		for (size_t n = 0; n <= whole; n++) {
			char *copy = base_alloc(n);
			struct meta1_err err;
			struct addr a;
			size_t used = 0;

			memcpy(copy, good[i].text, n);
			if (addr_path(copy, n, good[i].flags, &a, &used, &err) == 0)
				assert_true(used <= n);
			free(copy);
		}
	}
}

static void nul_is_refused(void **state)
{
	struct meta1_err err;
	struct addr a;
	size_t used;

	(void)state;
	assert_int_equal(addr_path("<a\0b@c>", 7, 0, &a, &used, &err), -1);
	assert_int_equal(addr_path("<a@c\0>", 6, 0, &a, &used, &err), -1);
	assert_int_equal(addr_path("<a@[192.0.2.1\0]>", 16, 0, &a, &used, &err), -1);
}

static void domain_keys(void **state)
{
	char out[9];

	(void)state;
	assert_int_equal(addr_domain_key(buf_str("EX.Ample"), out, sizeof(out)), 0);
	assert_string_equal(out, "ex.ample");
	assert_int_equal(addr_domain_key(buf_str("Ex.am."), out, sizeof(out)), 0);
	assert_string_equal(out, "ex.am");
	assert_int_equal(addr_domain_key(buf_str("ex.amples"), out, sizeof(out)), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(paths_accepted),
	    cmocka_unit_test(paths_refused),
	    cmocka_unit_test(no_read_past_the_end),
	    cmocka_unit_test(nul_is_refused),
	    cmocka_unit_test(domain_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
