/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Unit test of core/smtps/proxy.c: headers of both versions, each also byte by byte (no shorter
 * piece of a good header is anything but "more", none of a bad one is good), lies about
 * lengths, and random bytes.
 */
#include "smtps/smtps.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* needs the headers above */
#include <cmocka.h>

#define S(text)	   text, sizeof(text) - 1
#define SIGN	   "\r\n\r\n\0\r\nQUIT\n"
#define V4	   "\xc0\0\2\1\x7f\0\0\1\x04\x01\0\x19" /* 192.0.2.1:1025 to 127.0.0.1:25 */
#define A6(last)   "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0" last
#define V6	   A6("\1") A6("\2") "\x04\x01\0\x19"
#define MAPPED(ip) "\0\0\0\0\0\0\0\0\0\0\xff\xff" ip

struct row {
	const char *p;
	size_t n;
	enum smtps_proxy_result result;
	const char *client; /* of OK */
	unsigned port;
	size_t rest; /* bytes behind the header */
};

static const struct row rows[] = {
    {S("PROXY TCP4 192.0.2.1 127.0.0.1 1025 25\r\n"), PROXY_OK, "192.0.2.1", 1025, 0},
    {S("PROXY TCP4 192.0.2.1 127.0.0.1 0 65535\r\nEHLO x\r\n"), PROXY_OK, "192.0.2.1", 0, 8},
    {S("PROXY TCP6 2001:db8::1 ::1 1025 25\r\n"), PROXY_OK, "2001:db8::1", 1025, 0},
    {S("PROXY TCP6 2001:DB8:0:0:0:0:0:1 ::1 1025 25\r\n"), PROXY_OK, "2001:db8::1", 1025, 0},
    {S("PROXY TCP6 ::ffff:192.0.2.1 ::1 1025 25\r\n"), PROXY_OK, "192.0.2.1", 1025, 0},
    {S("PROXY UNKNOWN\r\n"), PROXY_OK, "", 0, 0},
    {S("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
       "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"), /* 107 bytes */
	PROXY_OK, "", 0, 0},
    {S("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
       "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 655350\r\n"),
	PROXY_BAD, NULL, 0, 0},
    {S("PROXY \r\n"), PROXY_BAD, NULL, 0, 0},
    {S("PROXY \n"), PROXY_BAD, NULL, 0, 0},
    {S("PROXY TCP4\r\n"), PROXY_BAD, NULL, 0, 0},
    {S("PROXY TCP5 192.0.2.1 127.0.0.1 1025 25\r\n"), PROXY_BAD, NULL, 0, 0},
    {S("PROXY tcp4 192.0.2.1 127.0.0.1 1025 25\r\n"), PROXY_BAD, NULL, 0, 0},
    {S("PROXY TCP4 192.0.2.1 127.0.0.1 1025 25\n"), PROXY_BAD, NULL, 0, 0},
    {S("PROXY TCP4 192.0.2.1 127.0.0.1 1025 25 \r\n"), PROXY_BAD, NULL, 0, 0},
    {S("PROXY TCP4 192.0.2.1 127.0.0.1 1025 25 x\r\n"), PROXY_BAD, NULL, 0, 0},
    {S("PROXY TCP4  192.0.2.1 127.0.0.1 1025 25\r\n"), PROXY_BAD, NULL, 0, 0},
    {S("PROXY TCP4 192.0.2.1 127.0.0.1 1025\r\n"), PROXY_BAD, NULL, 0, 0},
    {S("PROXY TCP4 192.0.2.1\0 127.0.0.1 1025 25\r\n"), PROXY_BAD, NULL, 0, 0},
    {S("PROXY TCP4 192.0.2.1 127.0.0.1 65536 25\r\n"), PROXY_BAD, NULL, 0, 0},
    {S("PROXY TCP4 192.0.2.1 127.0.0.1 -1 25\r\n"), PROXY_BAD, NULL, 0, 0},
    {S("PROXY TCP4 192.0.2.1 127.0.0.1 025 25\r\n"), PROXY_BAD, NULL, 0, 0},
    {S("PROXY TCP4 192.0.2.1 127.0.0.1 1025 4294967321\r\n"), PROXY_BAD, NULL, 0, 0},
    {S("PROXY TCP4 2001:db8::1 127.0.0.1 1025 25\r\n"), PROXY_BAD, NULL, 0, 0},
    {S("PROXY TCP6 192.0.2.1 127.0.0.1 1025 25\r\n"), PROXY_BAD, NULL, 0, 0},
    {S("PROXY TCP4 192.0.2 127.0.0.1 1025 25\r\n"), PROXY_BAD, NULL, 0, 0},
    {S("PROXY TCP4 localhost 127.0.0.1 1025 25\r\n"), PROXY_BAD, NULL, 0, 0},
    {S(SIGN "\x21\x11\0\x0c" V4), PROXY_OK, "192.0.2.1", 1025, 0},
    {S(SIGN "\x21\x11\0\x0c" V4 "EHLO x\r\n"), PROXY_OK, "192.0.2.1", 1025, 8},
    {S(SIGN "\x21\x21\0\x24" V6), PROXY_OK, "2001:db8::1", 1025, 0},
    {S(SIGN "\x21\x21\0\x24" MAPPED("\xc0\0\2\1") A6("\2") "\x04\x01\0\x19"), PROXY_OK, "192.0.2.1",
	1025, 0},
    /* extra fields: none, some, an empty one, beyond the end by one, half a head */
    {S(SIGN "\x21\x11\0\x11" V4 "\4\0\2ab"), PROXY_OK, "192.0.2.1", 1025, 0},
    {S(SIGN "\x21\x11\0\x14" V4 "\4\0\2ab\3\0\0"), PROXY_OK, "192.0.2.1", 1025, 0},
    {S(SIGN "\x21\x11\0\x11" V4 "\4\0\3ab"), PROXY_BAD, NULL, 0, 0},
    {S(SIGN "\x21\x11\0\x11" V4 "\4\xff\xff"
	    "ab"),
	PROXY_BAD, NULL, 0, 0},
    {S(SIGN "\x21\x11\0\x0e" V4 "\4\0"), PROXY_BAD, NULL, 0, 0},
    /* the peer's own address: LOCAL (also with nonsense inside), not said, datagrams, unix */
    {S(SIGN "\x20\0\0\0"), PROXY_OK, "", 0, 0},
    {S(SIGN "\x20\x11\0\2ab"), PROXY_OK, "", 0, 0},
    {S(SIGN "\x20\x11\0\x0c" V4), PROXY_OK, "", 0, 0},
    {S(SIGN "\x21\0\0\3abc"), PROXY_OK, "", 0, 0},
    {S(SIGN "\x21\x12\0\x0c" V4), PROXY_OK, "", 0, 0},
    {S(SIGN "\x21\x31\0\2ab"), PROXY_BAD, NULL, 0, 0},
    /* lies */
    {S(SIGN "\x11\x11\0\x0c" V4), PROXY_BAD, NULL, 0, 0},
    {S(SIGN "\x22\x11\0\x0c" V4), PROXY_BAD, NULL, 0, 0},
    {S(SIGN "\x21\x41\0\x0c" V4), PROXY_BAD, NULL, 0, 0},
    {S(SIGN "\x21\x13\0\x0c" V4), PROXY_BAD, NULL, 0, 0},
    {S(SIGN "\x21\x11\0\x0b" V4), PROXY_BAD, NULL, 0, 0},
    {S(SIGN "\x21\x21\0\x0c" V4), PROXY_BAD, NULL, 0, 0},
    {S(SIGN "\x21\x11\xff\xff" V4), PROXY_BAD, NULL, 0, 0},
    {S(SIGN "\x21\x11\x0f\xf1" V4), PROXY_BAD, NULL, 0, 0}, /* one byte over 4096 */
    {S(SIGN "\x21\x11\x0f\xf0" V4), PROXY_MORE, NULL, 0, 0},
    {S(SIGN "\x21\x11\0\x0d" V4), PROXY_MORE, NULL, 0, 0},
    /* something else */
    {S("EHLO x\r\n"), PROXY_NONE, NULL, 0, 0},
    {S("proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n"), PROXY_NONE, NULL, 0, 0},
    {S("PROXY\tTCP4"), PROXY_NONE, NULL, 0, 0},
    {S("\r\n\r\nEHLO"), PROXY_NONE, NULL, 0, 0},
    {S(""), PROXY_MORE, NULL, 0, 0},
    {S("PROX"), PROXY_MORE, NULL, 0, 0},
    {S("\r\n\r\n\0\r\nQUI"), PROXY_MORE, NULL, 0, 0},
};

/* From memory of exactly this size, so that the sanitizer sees a byte too many. */
static enum smtps_proxy_result parse(const char *p, size_t n, struct smtps_proxy *out)
{
	uint8_t *copy = malloc(n + !n);
	enum smtps_proxy_result r;

	assert_non_null(copy);
	memcpy(copy, p, n);
	r = smtps_proxy_parse(copy, n, out);
	free(copy);
	return r;
}

static void headers(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct row *r = &rows[i];
		struct smtps_proxy p;
		enum smtps_proxy_result got = parse(r->p, r->n, &p);

		if (got != r->result)
			fail_msg("row %zu: %d, expected %d (%s)", i, (int)got, (int)r->result,
			    p.cause != NULL ? p.cause : "");
		if (got == PROXY_BAD)
			assert_non_null(p.cause);
		if (got != PROXY_OK)
			continue;
		assert_string_equal(p.client, r->client);
		assert_int_equal(p.port, r->port);
		assert_int_equal(p.used, r->n - r->rest);
	}
}

static void pieces(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct row *r = &rows[i];
		size_t whole = r->n - r->rest;
		struct smtps_proxy p;

		for (size_t n = 0; n < whole; n++) {
			enum smtps_proxy_result got = parse(r->p, n, &p);

			/* once decided it stays so; a header is not taken before its end */
			if (r->result == PROXY_OK || r->result == PROXY_MORE)
				assert_int_equal(got, PROXY_MORE);
			else
				assert_true(got == PROXY_MORE || got == r->result);
		}
	}
}

/* Random bytes, and good headers with a few bytes changed: no read outside, no nonsense out. */
static void random_bytes(void **state)
{
	unsigned ok = 0, bad = 0;

	(void)state;
	srandom(4711);
	for (unsigned i = 0; i < 200000; i++) {
		const struct row *r = &rows[(size_t)random() % ARRAY_LEN(rows)];
		char text[256];
		size_t n = r->n;
		struct smtps_proxy p;
		enum smtps_proxy_result got;

		memcpy(text, r->p, n);
		for (long k = random() % 4; k > 0 && n > 0; k--)
			text[(size_t)random() % n] = (char)random();
		if (i % 8 == 0)
			for (size_t k = 0; k < n; k++)
				text[k] = (char)random();
		got = parse(text, n, &p);
		ok += got == PROXY_OK;
		bad += got == PROXY_BAD;
		if (got == PROXY_OK)
			assert_true(p.used > 0 && p.used <= n && p.version > 0 && p.port < 65536);
		if (got == PROXY_BAD)
			assert_non_null(p.cause);
		for (const char *c = p.client; *c != '\0'; c++)
			assert_non_null(strchr("0123456789abcdef:.", *c));
	}
	assert_true(ok > 1000 && bad > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(headers),
	    cmocka_unit_test(pieces),
	    cmocka_unit_test(random_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
