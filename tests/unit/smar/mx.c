/* SPDX-License-Identifier: BSD-2-Clause */
/* mx.c -- order, cut and keys of MX records, as tables. */
#include "../unit.h"
#include "smar/smar.h"

#include <stdio.h>
#include <stdlib.h>

/* "10 a.test,20 b.test,0 ." as records. */
static struct dns_data *records(const char *text)
{
	struct dns_data *d = base_alloc(sizeof(*d) + 64 * sizeof(struct meta1_buf) + 64 * 64);
	struct meta1_buf *out = (struct meta1_buf *)(void *)(d + 1);
	unsigned char *to = (unsigned char *)(out + 64);
	char *copy = base_strdup(text), *save = NULL;

	d->refs = 1;
	d->rdata = out;
	for (char *p = strtok_r(copy, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
		unsigned char *from = to;
		char name[64], *label, *inner = NULL;
		unsigned pref;

		assert_int_equal(sscanf(p, "%u %63s", &pref, name), 2);
		*to++ = (unsigned char)(pref >> 8);
		*to++ = (unsigned char)pref;
		for (label = strtok_r(name, ".", &inner); label;
		     label = strtok_r(NULL, ".", &inner)) {
			*to++ = (unsigned char)strlen(label);
			memcpy(to, label, strlen(label));
			to += strlen(label);
		}
		*to++ = 0;
		out[d->n++] = buf_of(from, (size_t)(to - from));
	}
	free(copy);
	return d;
}

static unsigned last(unsigned n)
{
	return n - 1; /* the shuffle changes nothing */
}
static unsigned first(unsigned n)
{
	(void)n;
	return 0;
}

static void order(void **state)
{
	static const struct {
		const char *records, *hosts;
		enum mx_found found;
	} row[] = {
	    {"10 A.test", "a.test", MX_SOME},
	    {"20 b.test,10 a.test,30 c.test", "a.test b.test c.test", MX_SOME},
	    {"0 .", "", MX_NULL},
	    {"10 .", "", MX_NULL},
	    {"0 .,10 a.test", "a.test", MX_SOME},
	    {"10 b^d", "", MX_BAD},
	    {"10 b^d,10 a.test", "a.test", MX_SOME},
	    /* cut at ourselves and at everything not better */
	    {"10 a.test,20 gw.test,30 c.test", "a.test", MX_SOME},
	    {"10 a.test,20 b.test,20 GW.test,20 c.test", "a.test", MX_SOME},
	    {"10 gw.test,20 a.test", "", MX_SELF},
	    {"10 a.test,10 gw.test", "", MX_SELF},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct dns_data *d = records(row[i].records);
		struct mx_host h[MX_HOSTS];
		char text[1000] = "";
		unsigned n;

		assert_int_equal(mx_hosts(d, "gw.test", last, h, &n), row[i].found);
		for (unsigned k = 0; k < n; k++) {
			strcat(text, k > 0 ? " " : "");
			strcat(text, h[k].name);
		}
		assert_string_equal(text, row[i].hosts);
		dns_data_unref(&d);
	}
}

static void equal_ones_move(void **state)
{
	struct dns_data *d = records("10 a,10 b,10 c,5 z");
	struct mx_host h[MX_HOSTS], g[MX_HOSTS];
	unsigned n;

	(void)state;
	mx_hosts(d, "gw", last, h, &n);
	mx_hosts(d, "gw", first, g, &n);
	assert_string_equal(h[0].name, "z");
	assert_string_equal(g[0].name, "z");
	assert_string_not_equal(h[1].name, g[1].name);
	dns_data_unref(&d);
}

static void bounded(void **state)
{
	char text[2000] = "";
	struct mx_host h[MX_HOSTS];
	struct dns_data *d;
	unsigned n;

	(void)state;
	for (int i = 0; i < 60; i++)
		sprintf(text + strlen(text), "%s%d h%d.test", i ? "," : "", 60 - i, i);
	d = records(text);
	mx_hosts(d, "gw", first, h, &n);
	assert_int_equal(n, MX_HOSTS);
	assert_string_equal(h[0].name, "h59.test");
	dns_data_unref(&d);
}

/* MX rdata that is short, has no end, or lies about its lengths. */
static void evil_names(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} row[] = {{"\0\12", 2}, {"\0\12\3abc", 6}, {"\0\12\77a\0", 5}, {"\0\12\300\0", 4},
	    {"\0\12\1a\0x", 6}, {"\0\12\1\0\0", 5}, {"\0\12\3a b\0", 7}};
	char name[DNS_NAME_MAX], big[600];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++)
		assert_int_equal(
		    dns_msg_name(buf_of(row[i].bytes, row[i].len), 2, name, sizeof(name)), -1);
	for (size_t i = 0; i < sizeof(big); i += 2)
		memcpy(big + i, "\1a", 2);
	assert_int_equal(dns_msg_name(buf_of(big, sizeof(big)), 0, name, sizeof(name)), -1);
}

static struct mx_host host(const char *name, unsigned pref, const char *const *addr)
{
	struct mx_host h = {.pref = (uint16_t)pref, .port = 25};

	str_copy(h.name, sizeof(h.name), name);
	for (; addr && *addr; addr++) {
		struct mx_addr *a = &h.addr[h.naddr++];

		a->family = strchr(*addr, ':') ? AF_INET6 : AF_INET;
		if (a->family == AF_INET)
			sscanf(
			    *addr, "%hhu.%hhu.%hhu.%hhu", a->ip, a->ip + 1, a->ip + 2, a->ip + 3);
		else
			a->ip[15] = (unsigned char)(*addr)[2];
	}
	return h;
}

static void cut_by_address(void **state)
{
	static const char *const other[] = {"192.0.2.9", NULL}, *const ours[] = {"192.0.2.1", NULL};
	struct smar_endpoint e = {.family = AF_INET, .ip = {192, 0, 2, 1}, .port = 25};
	struct smar_policy p = {.listen = &e, .nlisten = 1, .remote_port = 25};
	struct mx_host h[4] = {
	    host("a", 5, other), host("b", 10, other), host("c", 10, ours), host("d", 20, other)};
	unsigned n = 4;

	(void)state;
	assert_true(mx_cut(&p, h, &n));
	assert_int_equal(n, 1);
	n = 4;
	e.port = 2525; /* somebody else's port on our address is not us */
	assert_false(mx_cut(&p, h, &n));
	assert_int_equal(n, 4);
}

static void hop_lines(void **state)
{
	static const char *const addr[] = {
	    "192.0.2.1", "192.0.2.2", "192.0.2.3", "::1", "::2", NULL};
	struct mx_host h = host("mx.test", 10, addr);
	char(*out)[600] = base_alloc(MX_HOPS * sizeof(*out));
	uint64_t secure[MX_HOPS] = {0};
	unsigned n = 0;

	(void)state;
	h.addr[3].secure = true;
	mx_hops(&h, out, secure, &n);
	assert_int_equal(n, 5);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(secure[i], i == 1 ? SECURE_ADDR : 0);
	assert_string_equal(out[0], "192.0.2.1 25 mx.test");
	assert_string_equal(out[1], "::31 25 mx.test");
	assert_string_equal(out[2], "192.0.2.2 25 mx.test");
	assert_string_equal(out[4], "192.0.2.3 25 mx.test");
	for (int i = 0; i < 30; i++)
		mx_hops(&h, out, secure, &n);
	assert_int_equal(n, MX_HOPS);
	free(out);
}

static void addresses(void **state)
{
	static const unsigned char bytes[] = {
	    0, 0, 0, 0, 224, 0, 0, 1, 255, 255, 255, 255, 127, 0, 0, 1, 192, 0, 2, 1};
	struct meta1_buf rdata[5];
	struct dns_data d = {.n = 5, .rdata = rdata};
	struct mx_host h = {.naddr = 0};

	(void)state;
	for (int i = 0; i < 5; i++)
		rdata[i] = buf_of(bytes + i * 4, 4);
	mx_addrs(&h, &d, AF_INET);
	assert_int_equal(h.naddr, 2);
	assert_int_equal(h.addr[1].ip[0], 192);
	rdata[3].len = 3;
	h.naddr = 0;
	mx_addrs(&h, &d, AF_INET);
	assert_int_equal(h.naddr, 1);
	for (int i = 0; i < 100; i++)
		mx_addrs(&h, &d, AF_INET);
	assert_int_equal(h.naddr, MX_ADDRS);
}

static void keys(void **state)
{
	struct mx_host h[40] = {
	    host("b.test", 10, NULL), host("a.test", 20, NULL), host("b.test", 30, NULL)};
	char key[256], other[256];

	(void)state;
	mx_key(h, 3, 25, "", key, sizeof(key));
	assert_string_equal(key, "b.test;a.test;b.test");
	h[0].pref = 20;
	mx_key(h, 3, 25, "", key, sizeof(key));
	assert_string_equal(key, "a.test,b.test;b.test");
	h[1].port = 26;
	mx_key(h, 2, 25, "lmtp:", key, sizeof(key));
	assert_string_equal(key, "lmtp:a.test:26,b.test");
	for (unsigned i = 0; i < 40; i++) {
		char name[60];

		snprintf(name, sizeof(name), "a-rather-long-name-of-a-host-%u.example.test", i);
		h[i] = host(name, 10, NULL);
	}
	mx_key(h, 40, 25, "", key, sizeof(key));
	assert_true(strlen(key) <= 255);
	for (unsigned i = 0; i < 20; i++) { /* a shuffle of equal ones changes nothing */
		struct mx_host tmp = h[i];

		h[i] = h[39 - i];
		h[39 - i] = tmp;
	}
	mx_key(h, 40, 25, "", other, sizeof(other));
	assert_string_equal(key, other);
	h[39] = host("another", 10, NULL);
	mx_key(h, 40, 25, "", other, sizeof(other));
	assert_string_not_equal(key, other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(order),
	    cmocka_unit_test(equal_ones_move),
	    cmocka_unit_test(bounded),
	    cmocka_unit_test(evil_names),
	    cmocka_unit_test(cut_by_address),
	    cmocka_unit_test(hop_lines),
	    cmocka_unit_test(addresses),
	    cmocka_unit_test(keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
