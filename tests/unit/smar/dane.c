/* SPDX-License-Identifier: BSD-2-Clause */
/* dane.c -- TLSA records by tables: which can be used, which count, and the text of a need. */
#include "smar/smar.h"

#include "../unit.h"

#include <stdio.h>
#include <stdlib.h>

/* usage, selector, matching, then n times that byte */
struct row {
	int usage, selector, matching;
	unsigned n, byte;
};
#define END                                                                                        \
	{                                                                                          \
		-1, 0, 0, 0, 0                                                                     \
	}
#define SHA256_OF_AB "9a2db2e23f1504cd056606553ac049c5e718e8f9ce9233876df1a7a1821af885"

static struct dns_data data;
static struct meta1_buf rdata[DNS_RECORDS];
static unsigned char bytes[DNS_RECORDS][128];

static const struct dns_data *records(const struct row *r)
{
	data = (struct dns_data){.refs = 1, .status = META1_OK, .secure = true, .rdata = rdata};
	for (; r->usage >= 0; r++) {
		unsigned char *p = bytes[data.n];

		assert_true(r->n <= sizeof(bytes[0]) - 3);
		p[0] = (unsigned char)r->usage;
		p[1] = (unsigned char)r->selector;
		p[2] = (unsigned char)r->matching;
		memset(p + 3, (int)r->byte, r->n);
		rdata[data.n++] = buf_of(p, 3 + r->n);
	}
	return &data;
}

static void text_is(const struct dns_data *d, const struct dane_who *who, const char *want)
{
	static char text[TLS_NEED_MAX + 1];
	static struct tls_need need;

	dane_need(d, who, &need);
	assert_true(tls_need_print(&need, text));
	assert_string_equal(text, want);
}

static void is_need(const struct row *row, const char *want)
{
	struct dane_who who = {.base = "mx.test", .next = "d.test", .also = ""};

	text_is(records(row), &who, want);
}

#define A32  "abababababababababababababababababababababababababababababababab"
#define C32  "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"
#define DANE "dane by=dane domain=d.test match=mx.test"

static void which_count(void **state)
{
	static const struct {
		struct row row[8];
		const char *need;
	} rows[] = {
	    {{{3, 1, 1, 32, 0xab}, END}, DANE " tlsa=3:1:1:" A32},
	    {{{3, 0, 1, 32, 0xab}, END}, DANE " tlsa=3:0:1:" A32},
	    {{{2, 0, 1, 32, 0xab}, END}, DANE ",d.test tlsa=2:0:1:" A32},
	    {{{2, 1, 2, 64, 0xab}, END}, DANE ",d.test tlsa=2:1:2:" A32 A32},
	    /* the most useful first, each once, whatever the order of the answer */
	    {{{2, 1, 1, 32, 0xab}, {2, 0, 1, 32, 0xab}, {3, 0, 1, 32, 0xcd}, {3, 1, 1, 32, 0xcd},
		 {3, 1, 1, 32, 0xab}, {3, 1, 1, 32, 0xcd}, END},
		DANE ",d.test tlsa=3:1:1:" A32 ",3:1:1:" C32 ",3:0:1:" C32 ",2:0:1:" A32
		     ",2:1:1:" A32},
	    /* the stronger hash of one usage and selector alone, not of another */
	    {{{3, 1, 1, 32, 0xab}, {3, 1, 2, 64, 0xcd}, {3, 0, 1, 32, 0xab}, END},
		DANE " tlsa=3:1:2:" C32 C32 ",3:0:1:" A32},
	    /* ... but not for one that cannot be used */
	    {{{3, 1, 1, 32, 0xab}, {3, 1, 2, 63, 0xcd}, END}, DANE " tlsa=3:1:1:" A32},
	    /* all of it, as its hash */
	    {{{3, 1, 0, 32, 0xab}, END}, DANE " tlsa=3:1:1:" SHA256_OF_AB},
	    {{{3, 1, 0, 32, 0xab}, {3, 1, 1, 32, 0xcd}, END},
		DANE " tlsa=3:1:1:" SHA256_OF_AB ",3:1:1:" C32},
	    /* those that cannot be used beside one that can */
	    {{{0, 0, 1, 32, 0xab}, {1, 1, 1, 32, 0xab}, {4, 1, 1, 32, 0xab}, {3, 2, 1, 32, 0xab},
		 {3, 1, 3, 32, 0xab}, {3, 1, 1, 32, 0xcd}, END},
		DANE " tlsa=3:1:1:" C32},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		is_need(rows[i].row, rows[i].need);
}

/* There is something, and nothing of use: TLS must be, and nobody is known. */
static void none_can_be_used(void **state)
{
	static const struct row rows[] = {
	    {0, 0, 1, 32, 0xab},   /* PKIX-TA */
	    {1, 1, 1, 32, 0xab},   /* PKIX-EE */
	    {4, 1, 1, 32, 0xab},   /* unknown usage, selector, matching type */
	    {255, 1, 1, 32, 0xab}, /* private use */
	    {3, 2, 1, 32, 0xab},
	    {3, 255, 1, 32, 0xab},
	    {3, 1, 3, 32, 0xab},
	    {3, 1, 255, 32, 0xab},
	    {3, 1, 1, 0, 0}, /* nothing */
	    {3, 1, 0, 0, 0},
	    {2, 0, 2, 0, 0},
	    {3, 1, 1, 31, 0xab}, /* too short, too long, of the other hash */
	    {3, 1, 1, 33, 0xab},
	    {3, 1, 1, 64, 0xab},
	    {3, 1, 2, 32, 0xab},
	    {3, 1, 2, 63, 0xab},
	    {2, 0, 1, 1, 0xab},
	};
	struct dane_who who = {.base = "mx.test", .next = "d.test", .also = ""};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		is_need((struct row[]){rows[i], END}, "encrypt by=dane domain=d.test");
	/* shorter than its three numbers */
	for (unsigned len = 0; len < 3; len++) {
		records((struct row[]){{3, 1, 1, 0, 0}, END});
		rdata[0].len = len;
		text_is(&data, &who, "encrypt by=dane domain=d.test");
	}
	/* nothing is read beyond the end of such a record */
	for (unsigned len = 0; len < 4; len++) {
		unsigned char *exact = malloc(len ? len : 1);

		memset(exact, 3, len ? len : 1);
		rdata[0] = buf_of(exact, len);
		text_is(&data, &who, "encrypt by=dane domain=d.test");
		free(exact);
	}
}

/* A zone with more than anybody needs: a bounded number, the end-entity keys first. */
static void many(void **state)
{
	static char name[ADDR_DOMAIN_MAX + 1];
	static struct tls_need need;
	char text[TLS_NEED_MAX + 1];

	(void)state;
	memset(name, 'x', sizeof(name) - 1);
	for (unsigned i = 0; i < DNS_RECORDS; i++) {
		memset(bytes[i], (int)(i & 255), sizeof(bytes[i]));
		bytes[i][0] = i < DNS_RECORDS - 3 ? 2 : 3;
		bytes[i][1] = 1;
		bytes[i][2] = 2;
		rdata[i] = buf_of(bytes[i], 67);
	}
	data = (struct dns_data){.status = META1_OK, .n = DNS_RECORDS, .rdata = rdata};
	dane_need(
	    &data, &(struct dane_who){.base = name, .next = name + 1, .also = name + 2}, &need);
	assert_int_equal(need.ntlsa, TLS_NEED_TLSA);
	assert_int_equal(need.tlsa[0].usage, 3);
	assert_int_equal(need.tlsa[2].usage, 3);
	assert_int_equal(need.tlsa[3].usage, 2);
	/* with the longest names it fits */
	assert_true(tls_need_print(&need, text));
	assert_string_equal(text + strlen(text) - 4, "0c0c");
}

static void names(void **state)
{
	static const struct {
		struct dane_who who;
		const char *match;
	} rows[] = {
	    {{"mx.test", "d.test", ""}, "mx.test,d.test"},
	    {{"mx.test", "d.test", "e.test"}, "mx.test,d.test,e.test"},
	    {{"d.test", "d.test", ""}, "d.test"}, /* without MX records */
	    {{"e.test", "d.test", "e.test"}, "e.test,d.test"},
	};
	struct row ta[] = {{2, 0, 1, 32, 0xab}, END};
	char want[200], name[DNS_NAME_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		snprintf(want, sizeof(want), "dane by=dane domain=d.test match=%s tlsa=2:0:1:" A32,
		    rows[i].match);
		text_is(records(ta), &rows[i].who, want);
	}
	assert_true(dane_name("mx.test", 25, name, sizeof(name)));
	assert_string_equal(name, "_25._tcp.mx.test");
	memset(want, 'a', sizeof(want));
	assert_true(dane_name("mx.test", 65535, name, sizeof(name)));
	/* 253 bytes are a name, one more is none */
	char longest[246];

	memset(longest, 'a', sizeof(longest));
	longest[244] = '\0';
	assert_true(dane_name(longest, 25, name, sizeof(name)));
	longest[244] = 'a';
	longest[245] = '\0';
	assert_false(dane_name(longest, 25, name, sizeof(name)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(which_count),
	    cmocka_unit_test(none_can_be_used),
	    cmocka_unit_test(many),
	    cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
