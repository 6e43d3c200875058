/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Unit test of core/mail/addr.c: a table of paths with what must come out.
 * Comes from RFC 5321 4.1.2, 4.1.3, 4.5.3.1, RFC 6531 3.3 and threats by addresses.
 */
#include "mail/addr.h"

#include "mail/idn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* needs the headers above */
#include <cmocka.h>

#define AE     "\303\244" /* "ä" */
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

static const struct row wide[] = {
    /* utf8 is set */
    {"<" AE "@b.example>", 0, AE "@b.example", "b.example", ""},
    {"<a." AE "." AE "@b.example> SMTPUTF8", 0, "a." AE "." AE "@b.example", "b.example",
	" SMTPUTF8"},
    {"<\"a " AE "\"@b.example>", 0, "\"a " AE "\"@b.example", "b.example", ""},
    {"<a@b" AE "c.example>", 0, "a@b" AE "c.example", "b" AE "c.example", ""},
    {"<a@B\303\234CHER.Example>", 0, "a@B\303\234CHER.Example", "B\303\234CHER.Example", ""},
    {"<\360\237\223\256@b>", 0, "\360\237\223\256@b", "b", ""}, /* U+1F4EE */
    {"<\302\240@b>", 0, "\302\240@b", "b", ""},			/* U+00A0 */
    {"<\356\200\200\357\277\275@b>", 0, "\356\200\200\357\277\275@b", "b", ""},
    {"<@b" AE "c.example:a@b>", 0, "a@b", "b", ""}, /* the route had it */
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
    {"<a\344@b>", 0, NULL, "5.1.3", NULL}, /* Latin-1 */
    {"<a@b\344>", 0, NULL, "5.1.3", NULL},
    {"<a\303@b>", 0, NULL, "5.1.3", NULL},	      /* cut */
    {"<a\244\303@b>", 0, NULL, "5.1.3", NULL},	      /* turned round */
    {"<\300\256@b>", 0, NULL, "5.1.3", NULL},	      /* "." the long way */
    {"<\340\200\256@b>", 0, NULL, "5.1.3", NULL},     /* and longer */
    {"<\360\200\200\256@b>", 0, NULL, "5.1.3", NULL}, /* and longest */
    {"<\355\240\200@b>", 0, NULL, "5.1.3", NULL},     /* a surrogate */
    {"<\364\220\200\200@b>", 0, NULL, "5.1.3", NULL}, /* beyond U+10FFFF */
    {"<\370\210\200\200\200@b>", 0, NULL, "5.1.3", NULL},
    {"<\302\205@b>", 0, NULL, "5.1.3", NULL}, /* NEL: a control */
    {"<\302\233@b>", 0, NULL, "5.1.3", NULL}, /* CSI: what a terminal obeys */
    {"<\"\\" AE "\"@b>", 0, NULL, "5.1.3", NULL},
    {"<" L64 AE "@b>", 0, NULL, "5.1.3 Local part is longer", NULL},
    {"<a@b\357\274\240c>", 0, NULL, "5.1.3", NULL},	    /* a wide "@" */
    {"<a@b\357\274\217c>", 0, NULL, "5.1.3", NULL},	    /* a wide "/" */
    {"<a@\302\255>", 0, NULL, "5.1.3", NULL},		    /* nothing but a soft hyphen */
    {"<a@b\342\200\256c.example>", 0, NULL, "5.1.3", NULL}, /* text from right to left */
    {"<a@-" AE ".example>", 0, NULL, "5.1.3", NULL},
    {"<a@" AE AE AE AE AE AE AE AE AE AE AE AE AE AE AE AE AE AE AE AE AE AE AE AE AE AE AE AE AE AE
	    AE AE "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example>",
	0, NULL, "5.1.3", NULL}, /* its A-label is too long */
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

static void accepted(const struct row *list, size_t n, bool utf8)
{
	for (size_t i = 0; i < n; i++) {
		const struct row *r = &list[i];
		struct meta1_err err;
		struct addr a;
		size_t used = 0;

		if (addr_path(r->text, strlen(r->text), r->flags, &a, &used, &err) != 0)
			fail_msg("%s: refused: %s", r->text, err.text);
		assert_slice(a.whole, r->whole);
		assert_slice(a.domain, r->domain);
		assert_string_equal(r->text + used, r->rest);
		assert_int_equal(a.utf8, utf8);
	}
}

static void paths_accepted(void **state)
{
	(void)state;
	accepted(good, ARRAY_LEN(good), false);
	accepted(wide, ARRAY_LEN(wide), true);
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
	for (size_t i = 0; i < ARRAY_LEN(good) + ARRAY_LEN(wide); i++) {
		const struct row *r = i < ARRAY_LEN(good) ? &good[i] : &wide[i - ARRAY_LEN(good)];
		size_t whole = strlen(r->text);

		for (size_t n = 0; n <= whole; n++) {
			char *copy = base_alloc(n);
			struct meta1_err err;
			struct addr a;
			size_t used = 0;

			memcpy(copy, r->text, n);
			if (addr_path(copy, n, r->flags, &a, &used, &err) == 0)
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

/* Both ways to write a domain, and all cases, meet in one key; and from it the text is found. */
static void twins(void **state)
{
	static const struct {
		const char *domain, *key, *text; /* key NULL: none; text NULL: has no other form */
	} row[] = {
	    {"b\303\274cher.example", "xn--bcher-kva.example", "b\303\274cher.example"},
	    {"B\303\234CHER.Example.", "xn--bcher-kva.example", "b\303\274cher.example"},
	    {"bu\314\210cher.example", "xn--bcher-kva.example", "b\303\274cher.example"},
	    {"XN--BCHER-KVA.example", "xn--bcher-kva.example", "b\303\274cher.example"},
	    {"mail.xn--bcher-kva.b\303\274cher", "mail.xn--bcher-kva.xn--bcher-kva",
		"mail.b\303\274cher.b\303\274cher"},
	    {"\344\276\213.\346\265\213\350\257\225", "xn--fsq.xn--0zwm56d",
		"\344\276\213.\346\265\213\350\257\225"},
	    {"\344\276\213\343\200\202jp", "xn--fsq.jp", "\344\276\213.jp"}, /* a wide dot */
	    {"\357\275\205x.example", "ex.example", NULL},		     /* a wide e */
	    {"fa\303\237.example", "xn--fa-hia.example", "fa\303\237.example"},
	    {"[IPv6:2001:DB8::1]", "[ipv6:2001:db8::1]", NULL},
	    {"plain.example", "plain.example", NULL},
	    {"a_b" AE ".example", NULL, NULL},
	    {"\303.example", NULL, NULL},
	    {"a..b" AE, NULL, NULL},
	    {".b" AE, NULL, NULL},
	    {AE "\001.example", NULL, NULL},
	};
	char key[ADDR_DOMAIN_MAX + 1], text[512];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		int rc = addr_domain_key(buf_str(row[i].domain), key, sizeof(key));

		if ((rc == 0) != (row[i].key != NULL))
			fail_msg("row %zu: %s", i, rc == 0 ? key : "no key");
		if (rc != 0) {
			assert_false(addr_domain_ok(buf_str(row[i].domain)));
			continue;
		}
		assert_string_equal(key, row[i].key);
		assert_int_equal(idn_text(key, text, sizeof(text)), row[i].text != NULL);
		if (row[i].text != NULL)
			assert_string_equal(text, row[i].text);
	}
	/* 62 bytes that fit, as an A-label do not; a name of such labels neither */
	assert_int_equal(addr_domain_key(buf_str("b\303\274cher.example"), key, 21), -1);
	assert_int_equal(addr_domain_key(buf_str("b\303\274cher.example"), key, 22), 0);
	assert_false(idn_text("xn--.example", text, sizeof(text)));
	assert_false(idn_text("xn--bcher-kva.example", text, 5));
}

static void utf8_local(void **state)
{
	(void)state;
	assert_true(addr_utf8_local(buf_str(AE "@b")));
	assert_false(addr_utf8_local(buf_str("a@" AE)));
	assert_true(addr_utf8_local(buf_str("\"@" AE "\"@b")));
	assert_true(addr_utf8_local(buf_str(AE)));
	assert_false(addr_utf8_local(buf_str("")));
	assert_false(addr_utf8_local(buf_of(NULL, 0)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(paths_accepted),
	    cmocka_unit_test(paths_refused),
	    cmocka_unit_test(no_read_past_the_end),
	    cmocka_unit_test(nul_is_refused),
	    cmocka_unit_test(domain_keys),
	    cmocka_unit_test(twins),
	    cmocka_unit_test(utf8_local),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
