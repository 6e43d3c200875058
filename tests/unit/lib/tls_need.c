/* SPDX-License-Identifier: BSD-2-Clause */
/* tls_need.c -- texts of needs: what is read, what is printed, what is a mistake, what follows. */
#include "lib/tls_need.h"
#include "../unit.h"

#include <stdio.h>
#include <stdlib.h>

#define H8  "0123456789abcdef"
#define SUM H8 H8 H8 H8

static void texts(void **state)
{
	static const struct {
		const char *text, *again, *check, *words; /* again NULL: as it is */
		uint32_t policy;
	} t[] = {
	    {"none", NULL, "none", "none", META1_TLS_NONE},
	    {"may by=row", NULL, "may", "may,row", META1_TLS_MAY},
	    {"encrypt by=dane domain=a.test", NULL, "encrypt", "encrypt,dane", META1_TLS_ENCRYPT},
	    {"Verify  BY=STS domain=A.test", "verify by=sts domain=a.test", "verify", "verify,sts",
		META1_TLS_VERIFY},
	    {"verify by=sts testing=1", NULL, "verify testing=1", "verify,sts,testing",
		META1_TLS_MAY},
	    {"verify by=row match=a.test,.b.test fingerprint=" SUM, NULL,
		"verify match=a.test,.b.test fingerprint=" SUM, "verify,row", META1_TLS_VERIFY},
	    {"fingerprint fingerprint=" SUM "," SUM, NULL, "fingerprint fingerprint=" SUM "," SUM,
		"fingerprint", META1_TLS_VERIFY},
	    {"dane by=dane domain=a.test tlsa=3:1:1:" SUM, NULL, "dane tlsa=3:1:1:" SUM,
		"dane,dane", META1_TLS_VERIFY},
	    {"dane by=dane domain=a.test tlsa=2:0:1:" SUM ",3:1:2:" SUM SUM, NULL,
		"dane domain=a.test tlsa=2:0:1:" SUM ",3:1:2:" SUM SUM, "dane,dane",
		META1_TLS_VERIFY},
	    {"dane by=dane domain=a.test match=mx.test,a.test tlsa=3:1:1:" SUM, NULL,
		"dane tlsa=3:1:1:" SUM, "dane,dane", META1_TLS_VERIFY},
	    {"dane by=dane domain=a.test match=mx.test,a.test tlsa=2:1:1:" SUM, NULL,
		"dane match=mx.test,a.test tlsa=2:1:1:" SUM, "dane,dane", META1_TLS_VERIFY},
	    /* none is usable: usage, selector, type, length */
	    {"dane tlsa=0:1:1:" SUM ",1:1:1:" SUM ",3:2:1:" SUM ",3:1:0:00,3:1:1:00,3:1:2:" SUM,
		NULL, NULL, "dane", META1_TLS_ENCRYPT},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		char out[TLS_NEED_MAX + 1], w[TLS_NEED_WORDS];
		struct meta1_err err = {""};
		struct tls_need n;

		if (tls_need_parse(buf_str(t[i].text), &n, &err) < 0)
			fail_msg("%s: %s", t[i].text, err.text);
		assert_true(tls_need_print(&n, out));
		assert_string_equal(out, t[i].again ? t[i].again : t[i].text);
		assert_true(tls_need_check(&n, out));
		if (t[i].check)
			assert_string_equal(out, t[i].check);
		assert_string_equal(tls_need_words(&n, w), t[i].words);
		assert_int_equal(tls_need_policy(&n, META1_TLS_MAY), t[i].policy);
		if (n.testing)
			assert_int_equal(tls_need_policy(&n, META1_TLS_ENCRYPT), META1_TLS_ENCRYPT);
	}
}

static void mistakes(void **state)
{
	static const struct {
		const char *text, *why;
		bool row;
	} t[] = {
	    {"", "found nothing", false},
	    {"verfy", "found \"verfy\", expected none, may, encrypt, verify", false},
	    {"verify by=me", "by: found \"me\"", false},
	    {"verify by=", "by: found", false},
	    {"verify match=", "match: found", false},
	    {"verify match=a..b", "match: found \"a..b\"", false},
	    {"verify match=*.b", "match: found \"*.b\"", false},
	    {"verify match=a match=b", "match stands twice", false},
	    {"verify matches=a", "found \"matches=a\"", false},
	    {"verify a.test", "found \"a.test\"", false},
	    {"verify match=a,a,a,a,a,a,a,a,a", "more than 8 names", false},
	    {"encrypt match=a", "match says nothing with encrypt", true},
	    {"may fingerprint=" SUM, "fingerprint says nothing with may", true},
	    {"fingerprint", "needs fingerprint=", true},
	    {"fingerprint=" SUM "0", "fingerprint: found", true},
	    {"fingerprint=" H8, "64 hex digits", true},
	    {"fingerprint=" SUM "00", "64 hex digits", true},
	    {"dane", "dane and tlsa go together", false},
	    {"verify tlsa=3:1:1:00", "dane and tlsa go together", false},
	    {"dane tlsa=3:1:00", "USAGE:SELECTOR:TYPE:HEX", false},
	    {"dane tlsa=3:1:1:", "USAGE:SELECTOR:TYPE:HEX", false},
	    {"dane tlsa=3:1:256:00", "USAGE:SELECTOR:TYPE:HEX", false},
	    {"dane tlsa=-3:1:1:00", "USAGE:SELECTOR:TYPE:HEX", false},
	    {"dane tlsa=3:1:1:" SUM SUM "00", "USAGE:SELECTOR:TYPE:HEX", false},
	    {"dane tlsa=3:1:1:0", "USAGE:SELECTOR:TYPE:HEX", false},
	    {"verify testing=0", "testing: found", false},
	    /* what is smar's own to say, no map may */
	    {"dane tlsa=3:1:1:" SUM, "found \"tlsa=", true},
	    {"dane match=mx.test", "match says nothing with dane", true},
	    {"dane fingerprint=" SUM, "fingerprint says nothing with dane", true},
	    {"verify by=dane", "found \"by=dane\"", true},
	    {"verify domain=a.test", "found \"domain=", true},
	    {"verify testing=1", "found \"testing=1\"", true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct meta1_buf text = buf_str(t[i].text);
		struct meta1_err err = {""};
		struct tls_need n;
		int rc = t[i].row ? tls_need_row(text, &n, &err) : tls_need_parse(text, &n, &err);

		if (rc == 0 || !strstr(err.text, t[i].why))
			fail_msg("%s: %s", t[i].text, err.text);
	}
}

static void rows(void **state)
{
	static const struct {
		const char *row, *text;
	} t[] = {
	    {"encrypt", "encrypt by=row"},
	    {"  VERIFY\tmatch=MX.test ", "verify by=row match=mx.test"},
	    {"fingerprint=" SUM, "fingerprint by=row fingerprint=" SUM},
	    {"fingerprint=01:23:45:67:89:AB:CD:EF:" H8 H8 H8,
		"fingerprint by=row fingerprint=" SUM},
	    {"dane", "dane by=row"},
	    {"verify fingerprint=" SUM, "verify by=row fingerprint=" SUM},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		char out[TLS_NEED_MAX + 1];
		struct meta1_err err = {""};
		struct tls_need n;

		if (tls_need_row(buf_str(t[i].row), &n, &err) < 0)
			fail_msg("%s: %s", t[i].row, err.text);
		assert_true(tls_need_print(&n, out));
		assert_string_equal(out, t[i].text);
	}
}

/* The largest that fits, one that does not, and bytes that no text has. */
static void bounds(void **state)
{
	char *big = malloc(TLS_NEED_MAX + 2), out[TLS_NEED_MAX + 1];
	struct meta1_err err = {""};
	struct tls_need n = {.word = TLS_NEED_DANE, .ntlsa = TLS_NEED_TLSA};

	(void)state;
	for (unsigned i = 0; i < TLS_NEED_TLSA; i++)
		n.tlsa[i] = (struct tls_tlsa){.usage = 3, .selector = 1, .type = 2, .len = 64};
	assert_true(tls_need_print(&n, out));
	assert_int_equal(tls_need_parse(buf_str(out), &n, &err), 0);
	assert_int_equal(n.ntlsa, TLS_NEED_TLSA);
	n.nmatch = TLS_NEED_NAMES;
	for (unsigned i = 0; i < TLS_NEED_NAMES; i++) {
		memset(n.match[i], 'a', 255);
		n.match[i][255] = '\0';
	}
	assert_false(tls_need_print(&n, out));
	assert_string_equal(out, "");
	memset(big, ' ', TLS_NEED_MAX + 1);
	memcpy(big, "may", 3);
	assert_int_equal(tls_need_parse(buf_of(big, TLS_NEED_MAX), &n, &err), 0);
	assert_int_equal(tls_need_parse(buf_of(big, TLS_NEED_MAX + 1), &n, &err), -1);
	assert_int_equal(tls_need_parse(buf_of("may\0", 4), &n, &err), -1);
	free(big);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(texts), cmocka_unit_test(mistakes),
	    cmocka_unit_test(rows), cmocka_unit_test(bounds)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
