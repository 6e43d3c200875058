/* SPDX-License-Identifier: BSD-2-Clause */
/* keys.c -- which keys are asked for, and in which order. */
#include "../unit.h"
#include "smar/smar.h"

#include <arpa/inet.h>
#include <stdio.h>

static const struct smar_use use = {.flags = USE_F_DETAIL, .delimiters = "+"};

/* All keys joined by a blank. */
static const char *all(struct smar_keys *k)
{
	static char out[8192];
	char key[SMAR_KEY_MAX];

	out[0] = '\0';
	while (smar_keys_next(k, key, sizeof(key))) {
		if (out[0])
			strcat(out, " ");
		strcat(out, key);
	}
	return out;
}

static void path_keys(void **state)
{
	static const struct {
		const char *path, *keys;
	} row[] = {
	    {"User@Sub.Example.COM", "to:user@sub.example.com to:user+*@sub.example.com "
				     "to:sub.example.com to:.example.com to:.com"},
	    {"user+list@a.b",
		"to:user+list@a.b to:user++@a.b to:user+*@a.b to:user@a.b to:a.b to:.b"},
	    {"user+@a.b", "to:user+@a.b to:user+*@a.b to:user@a.b to:a.b to:.b"},
	    {"+x@a.b", "to:+x@a.b to:+x+*@a.b to:a.b to:.b"},
	    {"\"a+b@c\"@a.b", "to:\"a+b@c\"@a.b to:\"a+b@c\"+*@a.b to:a.b to:.b"},
	    {"u@[192.0.2.1]", "to:u@[192.0.2.1] to:u+*@[192.0.2.1] to:[192.0.2.1]"},
	    {"postmaster", "to:postmaster@gw.test to:postmaster+*@gw.test to:gw.test to:.test"},
	    {"", "to:<>"},
	    /* a row may have either form: what has an A-label is asked for in both */
	    {"U@B\303\234CHER.test",
		"to:u@xn--bcher-kva.test to:u@b\303\274cher.test to:u+*@xn--bcher-kva.test "
		"to:u+*@b\303\274cher.test to:xn--bcher-kva.test to:b\303\274cher.test to:.test"},
	    {"\303\244+x@mail.xn--bcher-kva.test",
		"to:\303\244+x@mail.xn--bcher-kva.test to:\303\244+x@mail.b\303\274cher.test "
		"to:\303\244++@mail.xn--bcher-kva.test to:\303\244++@mail.b\303\274cher.test "
		"to:\303\244+*@mail.xn--bcher-kva.test to:\303\244+*@mail.b\303\274cher.test "
		"to:\303\244@mail.xn--bcher-kva.test to:\303\244@mail.b\303\274cher.test "
		"to:mail.xn--bcher-kva.test to:mail.b\303\274cher.test "
		"to:.xn--bcher-kva.test to:.b\303\274cher.test to:.test"},
	    {"u@xn--.test", "to:u@xn--.test to:u+*@xn--.test to:xn--.test to:.test"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		char local[ADDR_PATH_MAX + 1], domain[ADDR_DOMAIN_MAX + 1];
		struct smar_keys k;

		assert_int_equal(
		    smar_keys_split(buf_str(row[i].path), "gw.test", local, domain), 0);
		smar_keys_path(&k, &use, "to:", local, domain);
		assert_string_equal(all(&k), row[i].keys);
	}
}

/* What the flags of a section make of it. */
static void flag_keys(void **state)
{
	enum { L = USE_F_LOCALPART, F = USE_F_FULL_ADDRESS, D = USE_F_DETAIL };
	static const struct {
		unsigned flags;
		const char *delimiters, *path, *keys;
	} row[] = {
	    {D, "+", "user+d@a.b", "user+d@a.b user++@a.b user+*@a.b user@a.b a.b .b"},
	    {0, "+", "user+d@a.b", "user+d@a.b user++@a.b user+*@a.b a.b .b"},
	    {0, "+", "user@a.b", "user@a.b user+*@a.b a.b .b"},
	    {F | D, "+", "user+d@a.b", "user+d@a.b user++@a.b user+*@a.b user@a.b a.b .b"},
	    {L | D, "+", "user+d@a.b", "user+d user++ user+* user"},
	    {L, "+", "user+d@a.b", "user+d user++ user+*"},
	    {L | D, "+", "user+@a.b", "user+ user+* user"},
	    {L, "+", "user@a.b", "user user+*"},
	    {L | F | D, "+", "user+d@a.b",
		"user+d@a.b user++@a.b user+*@a.b user@a.b a.b .b user+d user++ user+* user"},
	    {L | F | D, "+", "u@xn--bcher-kva.test",
		"u@xn--bcher-kva.test u@b\303\274cher.test u+*@xn--bcher-kva.test "
		"u+*@b\303\274cher.test xn--bcher-kva.test b\303\274cher.test .test u u+*"},
	    {L | D, "+", "xn--u@xn--bcher-kva.test", "xn--u xn--u+*"},
	    /* other delimiters, several, none */
	    {L | D, "-", "user-d+x@a.b", "user-d+x user-+ user-* user"},
	    {L | D, "+-", "user-d+x@a.b", "user-d+x user-+ user-* user"},
	    {L | D, "+-", "user@a.b", "user user+*"},
	    {L | D, "", "user+d@a.b", "user+d"},
	    {D, "", "user+d@a.b", "user+d@a.b a.b .b"},
	    {L | D, NULL, "user+d@a.b", "user+d"},
	    {L | D, "+", "+d@a.b", "+d +d+*"},
	    {L, "+", "++@a.b", "++ ++*"},
	    {L | D, "+", "\"a b+c\"@a.b", "\"a b+c\" \"a b+c\"+*"},
	    /* quotes that mean nothing are gone, or a row for user would not be met */
	    {L | D, "+", "\"User+d\"@a.b", "user+d user++ user+* user"},
	    {L | D, "+", "\"us\\er\"@a.b", "user user+*"},
	    {L | D, "+", "\".user\"@a.b", "\".user\" \".user\"+*"},
	    {L | D, "+", "", "<>"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct smar_use u = {.flags = row[i].flags, .delimiters = row[i].delimiters};
		char local[ADDR_PATH_MAX + 1], domain[ADDR_DOMAIN_MAX + 1];
		struct smar_keys k;

		assert_int_equal(
		    smar_keys_split(buf_str(row[i].path), "gw.test", local, domain), 0);
		smar_keys_path(&k, &u, "", local, domain);
		assert_string_equal(all(&k), row[i].keys);
	}
}

static void host_keys(void **state)
{
	struct smar_keys k;

	(void)state;
	smar_keys_host(&k, "cltname:", "mx1.mail.example.com");
	assert_string_equal(all(&k), "cltname:mx1.mail.example.com cltname:.mail.example.com "
				     "cltname:.example.com cltname:.com");
	smar_keys_host(&k, "helo:", "localhost");
	assert_string_equal(all(&k), "helo:localhost");
	smar_keys_word(&k, "cltresolve:", "FORGED");
	assert_string_equal(all(&k), "cltresolve:FORGED");
}

static unsigned count(struct smar_keys *k, char *first_parent)
{
	char key[SMAR_KEY_MAX];
	unsigned n = 0;

	first_parent[0] = '\0';
	while (smar_keys_next(k, key, sizeof(key))) {
		n++;
		if (!first_parent[0] && key[2] == '.')
			strcpy(first_parent, key);
	}
	return n;
}

/* A name of 127 labels is itself and its 20 shortest parents; so it cannot hide from their rows. */
static void many_parents(void **state)
{
	char domain[ADDR_DOMAIN_MAX + 1], key[SMAR_KEY_MAX];
	struct smar_keys k;

	(void)state;
	for (unsigned i = 0; i < 127; i++)
		memcpy(domain + 2 * i, "a.", 3);
	domain[253] = '\0';
	smar_keys_host(&k, "h:", domain);
	assert_int_equal(count(&k, key), 21);
	assert_string_equal(key, "h:.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a");
	smar_keys_path(&k, &use, "t:", "u", domain);
	assert_int_equal(count(&k, key), 3 + 20);
	smar_keys_host(&k, "h:", domain + 253 - 41); /* 21 labels */
	assert_int_equal(count(&k, key), 21);
	assert_string_equal(key, "h:.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a");
	/* both forms of each, no more of them */
	memcpy(domain + 253 - 41, "xn--bcher-kva.a.a.a.a.a.a.a.a.a.a.a.test", 41);
	smar_keys_host(&k, "h:", domain);
	assert_int_equal(count(&k, key), 2 + 2 * 8 + 12);
}

static void client_keys(void **state)
{
	struct smar_keys k;
	const char *s;

	(void)state;
	smar_keys_client(&k, "", "192.0.2.77");
	s = all(&k);
	assert_true(strncmp(s, "192.0.2.77 192.0.2.76/31 192.0.2.76/30 192.0.2.72/29 ", 52) == 0);
	assert_non_null(strstr(s, " 192.0.2.0/25 192.0.2 192.0.2.0/24 192.0.2.0/23 "));
	assert_non_null(strstr(s, " 192.0 192.0.0.0/16 "));
	assert_non_null(strstr(s, " 192 192.0.0.0/8 "));
	assert_string_equal(s + strlen(s) - 21, "128.0.0.0/1 0.0.0.0/0");
}

static void client_keys_6(void **state)
{
	struct smar_keys k;
	const char *s;

	(void)state;
	smar_keys_client(&k, "", "2001:DB8::1");
	s = all(&k);
	assert_true(strncmp(s, "2001:db8::1 2001:db8::/124 ", 27) == 0);
	assert_non_null(strstr(s, " 2001:db8::/32 2001:db0::/28 "));
	assert_string_equal(s + strlen(s) - 5, " ::/0");
	smar_keys_client(&k, "", "::ffff:192.0.2.1");
	assert_true(strncmp(all(&k), "192.0.2.1 192.0.2.0/31", 22) == 0);
	smar_keys_client(&k, "cltaddr:", "unix");
	assert_string_equal(all(&k), "cltaddr:unix");
}

/* The address, whose words are zero, short or long as the bits of n say, and each prefix of it. */
static void try_ip6(unsigned n)
{
	static const unsigned char of[4][2] = {{0, 0}, {0, 0x0b}, {0x0a, 0xbc}, {0, 0}};
	char key[SMAR_KEY_MAX], want[INET6_ADDRSTRLEN + 4];
	unsigned char ip[16], net[16];
	struct smar_keys k;

	for (unsigned i = 0; i < 8; i++)
		memcpy(ip + 2 * i, of[n >> 2 * i & 3], 2);
	inet_ntop(AF_INET6, ip, want, sizeof(want));
	smar_keys_client(&k, "", want);
	for (unsigned bits = 128;; bits -= 4) {
		memset(net, 0, sizeof(net));
		memcpy(net, ip, bits / 8);
		if (bits % 8)
			net[bits / 8] = ip[bits / 8] & 0xf0;
		inet_ntop(AF_INET6, net, want, INET6_ADDRSTRLEN);
		if (bits < 128)
			sprintf(want + strlen(want), "/%u", bits);
		assert_true(smar_keys_next(&k, key, sizeof(key)));
		assert_string_equal(key, want);
		if (bits == 0)
			break;
	}
	assert_false(smar_keys_next(&k, key, sizeof(key)));
}

static void client_keys_6_text(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 1u << 16; n += 3)
		try_ip6(n);
}

/* A key that does not fit is left out, and what was there before it stays. */
static void too_small(void **state)
{
	char key[12] = "before";
	struct smar_keys k;

	(void)state;
	smar_keys_word(&k, "helo:", "a.long.name");
	assert_false(smar_keys_next(&k, key, sizeof(key)));
	assert_string_equal(key, "before");
	smar_keys_word(&k, "helo:", "fit.xx");
	assert_true(smar_keys_next(&k, key, sizeof(key)));
	assert_string_equal(key, "helo:fit.xx");
}

static void domain_keys(void **state)
{
	struct smar_keys k;

	(void)state;
	smar_keys_domain(&k, "a.b.test");
	assert_string_equal(all(&k), "a.b.test .b.test .test .");
	smar_keys_domain(&k, "a.xn--bcher-kva.test");
	assert_string_equal(all(&k), "a.xn--bcher-kva.test a.b\303\274cher.test "
				     ".xn--bcher-kva.test .b\303\274cher.test .test .");
	smar_keys_domain(&k, "[192.0.2.1]");
	assert_string_equal(all(&k), "[192.0.2.1] .");
}

static void too_long(void **state)
{
	char path[700], local[ADDR_PATH_MAX + 1], domain[ADDR_DOMAIN_MAX + 1];

	(void)state;
	memset(path, 'a', sizeof(path));
	assert_int_equal(smar_keys_split(buf_of(path, sizeof(path)), "x", local, domain), -1);
	path[10] = '@';
	assert_int_equal(smar_keys_split(buf_of(path, sizeof(path)), "x", local, domain), -1);
	assert_int_equal(smar_keys_split(buf_of("a\0b@c", 5), "x", local, domain), -1);
	assert_int_equal(smar_keys_split(buf_of("a\0b", 3), "x", local, domain), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(path_keys),
	    cmocka_unit_test(flag_keys),
	    cmocka_unit_test(host_keys),
	    cmocka_unit_test(client_keys),
	    cmocka_unit_test(client_keys_6),
	    cmocka_unit_test(client_keys_6_text),
	    cmocka_unit_test(many_parents),
	    cmocka_unit_test(too_small),
	    cmocka_unit_test(domain_keys),
	    cmocka_unit_test(too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
