/* SPDX-License-Identifier: BSD-2-Clause */
/* map_cidr.c -- the module, loaded as smar loads it: longest prefix, tags, mistakes; and the same
 * answers as by looking at every row, for random networks. */
#include "map.h"

#include <arpa/inet.h>

#define WRITE(l, text) lab_write(l, text, sizeof(text) - 1)

static void longest(void **state)
{
	struct lab *l = lab_new("map_cidr");

	(void)state;
	WRITE(l, "# networks\n"
		 "192.0.2.0/24 net\n"
		 "192.0.2.128/25 upper half\n"
		 "192.0.2.129 one\n"
		 "10.0.0.0/8 ten\n"
		 "2001:db8::/32 doc\n"
		 "2001:db8:0:1::/64 one six\n"
		 "CltAddr:192.0.2.0/24 RELAY\n"
		 "cltaddr:0.0.0.0/0 error:550 5.7.1 not you\n"
		 "cltaddr:2001:db8::/32 OK\n");
	assert_true(lab_open(l));
	lab_expect(l, "192.0.2.1", "net");
	lab_expect(l, "192.0.2.128", "upper half");
	lab_expect(l, "192.0.2.129", "one");
	lab_expect(l, "192.0.2.130", "upper half");
	lab_expect(l, "192.0.3.0", NULL);
	lab_expect(l, "10.255.255.255", "ten");
	lab_expect(l, "2001:db8::1", "doc");
	lab_expect(l, "2001:db8:0:1::1", "one six");
	lab_expect(l, "2001:db9::", NULL);
	lab_expect(l, "cltaddr:192.0.2.7", "RELAY");
	lab_expect(l, "cltaddr:8.8.8.8", "error:550 5.7.1 not you");
	lab_expect(l, "cltaddr:2001:db8::7", "OK");
	lab_expect(l, "cltaddr:2001:db7::7", NULL);
	/* less specific keys, and what is no address */
	lab_expect(l, "cltaddr:192.0.2", NULL);
	lab_expect(l, "192.0.2.0/24", NULL);
	lab_expect(l, "other:192.0.2.1", NULL);
	lab_expect(l, "example.org", NULL);
	lab_expect(l, "", NULL);
	lab_free(l);
}

static void mistakes(void **state)
{
	struct lab *l = lab_new("map_cidr");

	(void)state;
	WRITE(l, "192.0.2.1/24 bits\n"
		 "192.0.2.0/33 x\n"
		 "192.0.2.0/ x\n"
		 "192.0.2 x\n"
		 "2001:db8::/129 x\n"
		 "host.example x\n"
		 "192.0.2.0/24 a\n"
		 "192.0.2.0/24 b\n"
		 "192.0.2.0/1x x\n");
	assert_false(lab_open(l));
	assert_non_null(strstr(l->err.text, "8 bad lines"));
	lab_free(l);
}

static uint32_t dice(uint32_t *s)
{
	return *s = *s * 1664525u + 1013904223u;
}

static void as_by_hand(void **state)
{
	enum { NETS = 300 };
	struct lab *l = lab_new("map_cidr");
	uint32_t net[NETS], seed = 7, addr;
	unsigned bits[NETS], n = 0;
	char *text = base_alloc(NETS * 40), key[20], val[20];
	size_t len = 0;
	struct in_addr in;

	(void)state;
	while (n < NETS) { /* within 10.0.0.0/14, so that they are often inside of each other */
		unsigned b = 14 + (dice(&seed) >> 16) % 19, k = 0;
		uint32_t a =
		    (0x0a000000u | (dice(&seed) >> 14)) & ~(uint32_t)((1ull << (32 - b)) - 1);

		while (k < n && (net[k] != a || bits[k] != b))
			k++;
		if (k < n)
			continue;
		net[n] = a;
		bits[n] = b;
		in.s_addr = htonl(a);
		len += (size_t)sprintf(text + len, "%s/%u v%u\n", inet_ntoa(in), b, n++);
	}
	lab_write(l, text, len);
	assert_true(lab_open(l));
	for (unsigned i = 0; i < 2000; i++) {
		int best = -1;

		addr = 0x0a000000u | (dice(&seed) >> 14);
		for (unsigned k = 0; k < NETS; k++)
			if ((addr & ~(uint32_t)((1ull << (32 - bits[k])) - 1)) == net[k] &&
			    (best < 0 || bits[k] > bits[best]))
				best = (int)k;
		in.s_addr = htonl(addr);
		snprintf(key, sizeof(key), "%s", inet_ntoa(in));
		snprintf(val, sizeof(val), "v%d", best);
		lab_expect(l, key, best < 0 ? NULL : val);
	}
	free(text);
	lab_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(longest),
	    cmocka_unit_test(mistakes),
	    cmocka_unit_test(as_by_hand),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
