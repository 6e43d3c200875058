/* SPDX-License-Identifier: BSD-2-Clause */
/* map_dns.c -- the module, loaded as smar loads it, with a resolver made here. */
#include "map.h"

static struct {
	char asked[300];
	uint16_t type;
	unsigned times;
	enum meta1_status st;
	struct meta1_buf val[2];
	uint32_t nval;
} dns;

static void resolver(void *arg, const char *name, uint16_t type, int64_t deadline,
    void (*cb)(void *, enum meta1_status, const struct meta1_reply *), void *cbarg)
{
	struct meta1_reply r = {.size = sizeof(r), .nval = dns.nval, .val = dns.val, .ttl = 30};

	(void)arg, (void)deadline;
	str_copy(dns.asked, sizeof(dns.asked), name);
	dns.type = type;
	dns.times++;
	cb(cbarg, dns.st, &r);
}

static struct lab *lab(const char *options)
{
	struct lab *l = lab_new("map_dns");

	memset(&dns, 0, sizeof(dns));
	l->host.dns = resolver;
	str_copy(l->options, sizeof(l->options), options);
	if (!lab_open(l))
		fail_msg("%s", l->err.text);
	return l;
}

#define WIRE(s)                                                                                    \
	{                                                                                          \
		s, sizeof(s) - 1                                                                   \
	}

static void records(void **state)
{
	static const struct {
		const char *record, *want; /* want NULL: it cannot be read */
		uint16_t type;
		struct meta1_buf rdata;
	} t[] = {
	    {"txt", "one two", 16, WIRE("\4one \3two")},
	    {"txt", "", 16, WIRE("\0")},
	    {"txt", NULL, 16, WIRE("\5one")},
	    {"a", "192.0.2.1", 1, WIRE("\300\0\2\1")},
	    {"a", NULL, 1, WIRE("\300\0\2")},
	    {"aaaa", "2001:db8::1", 28, WIRE("\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1")},
	    {"mx", "10 mx.far.test", 15, WIRE("\0\12\2mx\3far\4test\0")},
	    {"mx", "0 .", 15, WIRE("\0\0\0")},
	    {"mx", NULL, 15, WIRE("\0\12\2mx\3far\4test")},
	    {"mx", NULL, 15, WIRE("\0\12\2mx\300\1")},
	    {"mx", NULL, 15, WIRE("\0")},
	    {"ptr", "a\\046b\\010.test", 12, WIRE("\4a.b\n\4test\0")},
	    {"cname", "test", 5, WIRE("\4test\0")},
	    {"cname", NULL, 5, WIRE("\4test\0x")},
	    {"srv", "1 2 25 mx.test", 33, WIRE("\0\1\0\2\0\31\2mx\4test\0")},
	    {"srv", NULL, 33, WIRE("\0\1\0\2\0\31")},
	};
	char options[100];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct lab *l;
		struct lab_answer a;

		snprintf(
		    options, sizeof(options), "name = \"%%s.x.test\"; record = %s;", t[i].record);
		l = lab(options);
		dns.nval = 1;
		dns.val[0] = t[i].rdata;
		a = lab_ask(l, "key");
		assert_string_equal(dns.asked, "key.x.test");
		assert_int_equal(dns.type, t[i].type);
		assert_int_equal(a.status, t[i].want ? META1_OK : META1_TEMPFAIL);
		assert_int_equal(a.ttl, t[i].want ? 30 : 0);
		if (t[i].want)
			assert_string_equal(a.val, t[i].want);
		lab_free(l);
	}
}

/* Only names are asked for; a key that makes none is not found, and nobody is asked. */
static void keys(void **state)
{
	static const struct {
		const char *options, *key, *asked; /* asked NULL: not found at once */
	} t[] = {
	    {"name = \"%s.x.test\";", "far.test", "far.test.x.test"},
	    {"name = \"%s.x.test\";",
		"b\xc3\xbc"
		"cher.test",
		"xn--bcher-kva.test.x.test"},
	    {"name = \"%u.%d.x.test\";", "user@far.test", "user.far.test.x.test"},
	    {"name = \"%d.x.test\";", "far.test", NULL},
	    {"name = \"%s.x.test\";", "user@far.test", NULL},
	    {"name = \"%s.x.test\";", "", NULL},
	    {"name = \"%s.x.test\";", "a..b", NULL},
	    {"name = \"%s.x.test\";", ".a", NULL},
	    {"name = \"%s.x.test\";", "a b", NULL},
	    {"name = \"%s.x.test\";", "a\\.b", NULL},
	    {"name = \"%s.x.test\";", "*", NULL},
	    {"name = \"%s.x.test\";", "a\r\nb", NULL},
	    {"name = \"%s.x.test\";",
		"0123456789012345678901234567890123456789012345678901234567890123", NULL},
	    {"name = \"%s.x.test\"; reverse = yes;", "192.0.2.1", "1.2.0.192.x.test"},
	    {"name = \"%s.x.test\"; reverse = yes;", "2001:db8::1",
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.x.test"},
	    {"name = \"%s.x.test\"; reverse = yes;", "far.test", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct lab *l = lab(t[i].options);
		struct lab_answer a;

		dns.st = META1_NOTFOUND;
		a = lab_ask(l, t[i].key);
		assert_int_equal(a.status, META1_NOTFOUND);
		if (strcmp(dns.asked, t[i].asked ? t[i].asked : "") != 0)
			fail_msg("%s: \"%s\"", t[i].key, dns.asked);
		lab_free(l);
	}
}

static void failures(void **state)
{
	struct lab *l = lab("name = \"%s.x.test\"; ttl = 10s;");
	struct lab_answer a = {.told = 0};

	(void)state;
	dns.st = META1_TEMPFAIL;
	a = lab_ask(l, "key");
	assert_int_equal(a.status, META1_TEMPFAIL);
	assert_int_equal(a.ttl, 0);
	dns.st = META1_OK;
	dns.nval = 2;
	dns.val[0] = (struct meta1_buf){"\1x", 2};
	dns.val[1] = (struct meta1_buf){"\1y", 2};
	a = lab_ask(l, "key");
	assert_int_equal(a.nval, 2);
	assert_int_equal(a.ttl, 10);
	dns.val[1] = (struct meta1_buf){"\2y", 2}; /* one that is bad spoils all */
	assert_int_equal(lab_ask(l, "key").status, META1_TEMPFAIL);
	lab_free(l);
}

static void mistakes(void **state)
{
	static const char *const options[] = {"", "name = \"x.test\";", "name = \"%s..test\";",
	    "name = \"%q.test\";", "name = \"%s.x.test\"; record = hinfo;"};
	struct lab *l = lab_new("map_dns");

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		str_copy(l->options, sizeof(l->options), options[i]);
		assert_false(lab_open(l));
	}
	lab_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(records),
	    cmocka_unit_test(keys),
	    cmocka_unit_test(failures),
	    cmocka_unit_test(mistakes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
