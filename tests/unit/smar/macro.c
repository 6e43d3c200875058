/* SPDX-License-Identifier: BSD-2-Clause */
/* macro.c -- what stands for ${user} and its like, and what may not. */
#include "../unit.h"
#include "smar/smar.h"

#include <stdio.h>
#include <stdlib.h>

static const struct smar_use use = {.flags = USE_F_DETAIL, .delimiters = "+#"};

/* The keys of a path, passed on until the one with which the value was "found". */
static void seek(struct smar_keys *k, const char *path, const char *key)
{
	char local[ADDR_PATH_MAX + 1], domain[ADDR_DOMAIN_MAX + 1], got[SMAR_KEY_MAX];

	assert_int_equal(smar_keys_split(buf_str(path), "gw.test", local, domain), 0);
	smar_keys_path(k, &use, "to:", local, domain);
	do
		assert_true(smar_keys_next(k, got, sizeof(got)));
	while (strcmp(got, key) != 0);
}

static void expect(const struct smar_keys *k, const char *key, const char *value, const char *want,
    enum meta1_status status)
{
	struct meta1_buf out = {NULL, 0};
	struct meta1_err err = {""};
	enum meta1_status got = smar_macro_replace(k, key, buf_str(value), &out, &err);

	if (got != status)
		fail_msg("%s: status %d, %s", value, (int)got, err.text);
	if (status == META1_OK) {
		assert_int_equal(out.len, strlen(want));
		assert_memory_equal(out.data, want, out.len);
		free((void *)(uintptr_t)out.data);
	} else if (!strstr(err.text, want)) {
		fail_msg("%s: %s, expected %s", value, err.text, want);
	}
}

static void parts(void **state)
{
	static const struct {
		const char *path, *key, *value, *want;
	} row[] = {
	    {"User+List@a.b.test", "to:a.b.test", "${user} ${detail} ${delimiter} ${extension}",
		"user list + +list"},
	    {"user#x+y@a.test", "to:.test", "${user}|${delimiter}|${detail}|${extension}",
		"user|#|x+y|#x+y"},
	    {"user@a.test", "to:user@a.test", "[${detail}][${delimiter}][${extension}]", "[][][]"},
	    {"user+@a.test", "to:user@a.test", "[${detail}][${extension}]", "[][+]"},
	    {"u@a.b.c.test", "to:.c.test", "${subdomain}.${domain}", "a.b.a.b.c.test"},
	    {"u@a.b.c.test", "to:.b.c.test", "${subdomain}@x", "a@x"},
	    {"u@a.b.c.test", "to:a.b.c.test", "(${subdomain})", "()"},
	    /* more parents than are asked about: the first ones are passed over */
	    {"u@a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.u.v.w.test",
		"to:.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.u.v.w.test", "${subdomain}", "a.b.c.d"},
	    {"u@a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.u.v.w.test", "to:.w.test", "${subdomain}",
		"a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.u.v"},
	    {"u@a.xn--bcher-kva.test", "to:.b\303\274cher.test", "${subdomain} ${domain}",
		"a a.xn--bcher-kva.test"},
	    {"u+d@a.test", "to:u@a.test", "${tag}: ${0}", "to: u+d@a.test"},
	    {"o'neil&co=x_y~z-1.2@a.test", "to:a.test", "${user}", "o'neil&co=x_y~z-1.2"},
	    {"\303\244@a.test", "to:a.test", "${user}", "\303\244"},
	    /* a value without macros, and what only looks like one */
	    {"u@a.test", "to:a.test", "$user $ {user} } $$ $", "$user $ {user} } $$ $"},
	    {"u@a.test", "to:a.test", "", ""},
	    {"", "to:<>", "a${user}${domain}${0}b ${tag}", "ab to"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct smar_keys k;

		seek(&k, row[i].path, row[i].key);
		expect(&k, row[i].key, row[i].value, row[i].want, META1_OK);
	}
}

static void mistakes(void **state)
{
	struct smar_keys k;
	char *large = base_alloc(SMAR_VALUE_MAX + 20);
	struct meta1_buf out;
	struct meta1_err err;

	(void)state;
	seek(&k, "u@a.test", "to:a.test");
	expect(&k, "to:a.test", "x ${usr}", "${usr}: expected ${user}, ${detail}", META1_TEMPFAIL);
	expect(&k, "to:a.test", "${}", "expected ${user}", META1_TEMPFAIL);
	expect(&k, "to:a.test", "${user", "without its }", META1_TEMPFAIL);
	expect(&k, "to:a.test", "${user${user}}", "expected ${user}", META1_TEMPFAIL);
	memset(large, 'x', SMAR_VALUE_MAX + 7);
	memcpy(large, "${user}", 7);
	expect(&k, "to:a.test", large, "has more than 65536 bytes", META1_TEMPFAIL);
	large[SMAR_VALUE_MAX + 6] = '\0'; /* u for ${user}: it fits */
	memcpy(large, "x${user}", 8);
	large[6 + SMAR_VALUE_MAX] = '\0';
	assert_int_equal(smar_macro_replace(&k, "to:a.test", buf_str(large), &out, &err), META1_OK);
	assert_int_equal(out.len, SMAR_VALUE_MAX);
	free((void *)(uintptr_t)out.data);
	free(large);
}

/* What a stranger writes cannot end a word, begin another target, or be a macro. */
static void hostile(void **state)
{
	static const char *const path[] = {"\"a b\"@a.test", "a,b@a.test", "\"a\\\"b\"@a.test",
	    "\"x@evil.test y\"@a.test", "a/../b@a.test", "a|b@a.test", "a`b`@a.test",
	    "${domain}@a.test", "a$b@a.test", "a{b}@a.test", "u+{x}@a.test", "u+a/b@a.test",
	    "u+a*@a.test", "\"<x>\"@a.test", "a;b@a.test", "\"a..b\"@a.test", "a:b@a.test",
	    "a\tb@a.test", "a\nb@a.test", "a\rb@a.test", "a\001b@a.test", "a\177b@a.test",
	    "!x@a.test", "a%b@a.test", "\"a@b\"@a.test", "a(b)@a.test", "a[b]@a.test"};
	struct smar_keys k;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(path); i++) {
		seek(&k, path[i], "to:a.test");
		expect(&k, "to:a.test", "<${user}${extension}@x>", "do not belong", META1_PERMFAIL);
		expect(&k, "to:a.test", "${0}", "do not belong", META1_PERMFAIL);
		expect(&k, "to:a.test", "x.${domain}", "x.a.test", META1_OK);
	}
	seek(&k, "u@[192.0.2.1]", "to:[192.0.2.1]");
	expect(&k, "to:[192.0.2.1]", "${domain}", "do not belong", META1_PERMFAIL);
}

static void clients(void **state)
{
	struct smar_keys k;

	(void)state;
	smar_keys_client(&k, "cltaddr:", "2001:db8::1");
	expect(&k, "cltaddr:2001:db8::/32", "error:550 5.7.1 ${0} ${tag}${user}${domain}${detail}",
	    "error:550 5.7.1 2001:db8::1 cltaddr", META1_OK);
	smar_keys_host(&k, "cltname:", "mx.a.test");
	expect(&k, "cltname:mx.a.test", "${0} ${domain}", "mx.a.test mx.a.test", META1_OK);
	smar_keys_host(&k, "helo:", "a b");
	expect(&k, "helo:a b", "${0}", "do not belong", META1_PERMFAIL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(parts),
	    cmocka_unit_test(mistakes),
	    cmocka_unit_test(hostile),
	    cmocka_unit_test(clients),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
