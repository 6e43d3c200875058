/* SPDX-License-Identifier: BSD-2-Clause */
/* sts.c -- MTA-STS as text: records, policies, which hosts they mean, and the file. */
#include "../unit.h"

#include "smar/sts.h"

#include "lib/newfile.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- the record ---- */
static void record(void **state)
{
	static const struct {
		const char *text, *id; /* NULL: none */
	} t[] = {
	    {"v=STSv1; id=20160831085700Z;", "20160831085700Z"},
	    {"v=STSv1;id=a", "a"},
	    {"v=STSv1 ; id=a ; x=y", "a"},
	    {"v=STSv1; x.y_z-1=v; id=a;", "a"},
	    {"v=STSv1; id=a; id=b;", "a"},
	    {"v=STSv1; id=12345678901234567890123456789012", "12345678901234567890123456789012"},
	    {"v=STSv1; id=123456789012345678901234567890123", NULL},
	    {"v=STSv1;", NULL},
	    {"v=STSv1; id=", NULL},
	    {"v=STSv1; id=a-b", NULL},
	    {"v=STSv1; id=a b", NULL},
	    {"v=STSv1; ID=a", NULL},
	    {"v=STSv1; id=a;; x=y", NULL},
	    {"v=STSv1; id=a; =y", NULL},
	    {"v=STSv1; id=a; nothing", NULL},
	    {"v=STSv1; id=a; x=a=b", NULL},
	};
	char id[STS_ID_MAX + 1];

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		bool good = sts_record_read(t[i].text, id);

		if (good != (t[i].id != NULL) || (good && strcmp(id, t[i].id) != 0))
			fail_msg("%s: %s", t[i].text, good ? id : "none");
	}
}

static enum sts_said said(const char *a, const char *b, char *id)
{
	char one[300], two[300];
	struct meta1_buf rdata[2] = {{one, 0}, {two, 0}};
	struct dns_data d = {.status = META1_OK, .rdata = rdata, .n = b ? 2 : 1};

	one[0] = (char)strlen(a);
	memcpy(one + 1, a, strlen(a));
	rdata[0].len = strlen(a) + 1;
	if (b) {
		two[0] = (char)strlen(b);
		memcpy(two + 1, b, strlen(b));
		rdata[1].len = strlen(b) + 1;
	}
	return sts_record(&d, id);
}

/* Others may stand beside it; two of them are none. */
static void records(void **state)
{
	char id[STS_ID_MAX + 1];
	struct dns_data none = {.status = META1_NOTFOUND};

	(void)state;
	assert_int_equal(said("v=STSv1; id=1", "v=spf1 -all", id), STS_SAYS_ID);
	assert_string_equal(id, "1");
	assert_int_equal(said("v=spf1 -all", "v=STSv1; id=2", id), STS_SAYS_ID);
	assert_string_equal(id, "2");
	assert_int_equal(said("v=STSv1; id=1", "v=STSv1; id=1", id), STS_SAYS_NONSENSE);
	assert_int_equal(said("v=STSv1; id=!", NULL, id), STS_SAYS_NONSENSE);
	assert_int_equal(said("v=STSv10; id=1", NULL, id), STS_SAYS_NOTHING);
	assert_int_equal(said("V=STSv1; id=1", NULL, id), STS_SAYS_NOTHING);
	assert_int_equal(sts_record(&none, id), STS_SAYS_NOTHING);
}

/* ---- policies ---- */
#define HEAD "version: STSv1\nmode: enforce\nmax_age: 86400\n"
static void policy(void **state)
{
	static const struct {
		const char *text, *mx; /* patterns with blanks between; NULL: error */
		enum sts_mode mode;
		uint32_t max_age;
		const char *error;
	} t[] = {
	    {HEAD "mx: mail.example.com\nmx: *.example.net\n", "mail.example.com *.example.net",
		STS_ENFORCE, 86400, NULL},
	    {"version: STSv1\r\nmode: testing\r\nmx: A.Example.COM.\r\nmax_age:1\r\n",
		"a.example.com", STS_TESTING, 1, NULL},
	    {"mx: a.test\nmax_age: 5\nmode: testing \t\nversion: STSv1", "a.test", STS_TESTING, 5,
		NULL},
	    {"version: STSv1\nmode: none\nmax_age: 0\n", "", STS_NONE, 0, NULL},
	    {HEAD "mx: b\xc3\xbc"
		  "cher.test\n",
		"xn--bcher-kva.test", STS_ENFORCE, 86400, NULL},
	    {HEAD "mode: none\nmax_age: 1\nx-more: \xc3\xbc, anything: at all\n\nmx: a.test\n",
		"a.test", STS_ENFORCE, 86400, NULL},
	    {"version: STSv1\nmode: enforce\nmax_age: 9999999999\nmx: a.test\n", "a.test",
		STS_ENFORCE, STS_MAX_AGE, NULL},
	    {HEAD, NULL, 0, 0, "the policy has no line mx"},
	    {"mode: none\nmax_age: 1\n", NULL, 0, 0, "the policy has no line version"},
	    {"version: STSv1\nmax_age: 1\nmx: a.test\n", NULL, 0, 0, "the policy has no line mode"},
	    {"version: STSv1\nmode: none\n", NULL, 0, 0, "the policy has no line max_age"},
	    {"version: STSv2\n", NULL, 0, 0, "line 1 of the policy: version: found STSv2"},
	    {"version: STSv1\nmode: Enforce\n", NULL, 0, 0, "line 2 of the policy: mode: found"},
	    {"version: STSv1\nmax_age: -1\n", NULL, 0, 0, "line 2 of the policy: max_age: found"},
	    {"version: STSv1\nmax_age: 99999999999\n", NULL, 0, 0, "line 2 of the policy: max_age"},
	    {HEAD "mx: .example.com\n", NULL, 0, 0, "line 4 of the policy: mx: found .example.com"},
	    {HEAD "mx: *\n", NULL, 0, 0, "line 4 of the policy: mx: found *"},
	    {HEAD "mx: a.*.test\n", NULL, 0, 0, "line 4 of the policy: mx: found a.*.test"},
	    {HEAD "mx: [192.0.2.1]\n", NULL, 0, 0, "line 4 of the policy: mx: found"},
	    {HEAD "mx:\n", NULL, 0, 0, "line 4 of the policy: mx: found"},
	    {HEAD "<html>\n", NULL, 0, 0,
		"line 4 of the policy: found <html>, expected name: value"},
	    {HEAD "mx: a\001.test\n", NULL, 0, 0, "line 4 of the policy: a control character"},
	    {"", NULL, 0, 0, "the policy has no line version"},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		struct meta1_err err = {""};
		struct sts_policy *p = sts_policy_read(buf_str(t[i].text), &err);
		char mx[400] = "";

		if (!t[i].mx) {
			if (p || strncmp(err.text, t[i].error, strlen(t[i].error)) != 0)
				fail_msg("%s: %s", t[i].text, err.text);
			continue;
		}
		if (!p)
			fail_msg("%s: %s", t[i].text, err.text);
		for (uint32_t k = 0; k < p->nmx; k++) {
			strcat(mx, k ? " " : "");
			strcat(mx, p->mx[k]);
		}
		assert_string_equal(mx, t[i].mx);
		assert_int_equal(p->mode, t[i].mode);
		assert_int_equal(p->max_age, t[i].max_age);
		sts_policy_unref(&p);
	}
}

/* As large as may be, and larger; with NUL in it. */
static void bounds(void **state)
{
	char *text = base_alloc(STS_TEXT_MAX + 100);
	struct meta1_err err;
	struct sts_policy *p;
	size_t n = (size_t)sprintf(text, HEAD);

	(void)state;
	for (int i = 0; i < STS_MX_MAX; i++)
		n += (size_t)sprintf(text + n, "mx: m%d.test\n", i);
	p = sts_policy_read(buf_of(text, n), &err);
	assert_int_equal(p->nmx, STS_MX_MAX);
	sts_policy_unref(&p);
	n += (size_t)sprintf(text + n, "mx: more.test\n");
	assert_null(sts_policy_read(buf_of(text, n), &err));
	assert_non_null(strstr(err.text, "more than 1000 lines mx"));
	memset(text, '\n', STS_TEXT_MAX + 1);
	memcpy(text, HEAD "mx: a.test\n", strlen(HEAD "mx: a.test\n"));
	p = sts_policy_read(buf_of(text, STS_TEXT_MAX), &err);
	assert_non_null(p);
	sts_policy_unref(&p);
	assert_null(sts_policy_read(buf_of(text, STS_TEXT_MAX + 1), &err));
	text[strlen(HEAD) + 2] = '\0';
	assert_null(sts_policy_read(buf_of(text, 1000), &err));
	free(text);
}

static void match(void **state)
{
	static const char *const mx[] = {"mail.example.com", "*.example.net", "*.test"};
	static const struct {
		const char *host;
		bool is;
	} t[] = {{"mail.example.com", true}, {"example.com", false}, {"a.mail.example.com", false},
	    {"a.example.net", true}, {"example.net", false}, {"a.b.example.net", false},
	    {"aexample.net", false}, {".example.net", false}, {"*.example.net", true},
	    {"x.test", true}, {"test", false}, {"", false}};
	struct sts_policy *p = sts_policy_new(STS_ENFORCE, 1, mx, ARRAY_LEN(mx));
	char line[300];

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(t); i++)
		if (sts_policy_match(p, t[i].host) != t[i].is)
			fail_msg("%s", t[i].host);
	assert_true(sts_policy_line(p, 1, line, sizeof(line)));
	assert_string_equal(line, "mode: enforce");
	assert_true(sts_policy_line(p, 4, line, sizeof(line)));
	assert_string_equal(line, "mx: *.example.net");
	assert_false(sts_policy_line(p, 6, line, sizeof(line)));
	sts_policy_unref(&p);
}

/* ---- the file ---- */
static struct sts_saved got[4];
static unsigned ngot;
static void take(void *arg, struct sts_saved *s)
{
	(void)arg;
	assert_true(ngot < ARRAY_LEN(got));
	got[ngot++] = *s;
}

static void forget(void)
{
	while (ngot > 0)
		sts_policy_unref(&got[--ngot].policy);
}

static char folder[] = "/tmp/m1-sts.XXXXXX";
static const char *path(const char *name)
{
	static char out[100];

	snprintf(out, sizeof(out), "%s/%s", folder, name);
	return out;
}

/* What is damaged costs its own line; another's file is moved away; none is none. */
static void file(void **state)
{
	static const char *const mx[] = {"a.test", "*.b.test"};
	struct sts_policy *p = sts_policy_new(STS_ENFORCE, 99, mx, 2),
			  *none = sts_policy_new(STS_NONE, 7, NULL, 0);
	struct sts_write w = {.path = NULL};
	struct meta1_err err;
	char name[100];

	(void)state;
	assert_non_null(mkdtemp(folder));
	strcpy(name, path("f"));
	w.path = name;
	assert_int_equal(sts_file_read(name, take, NULL, &err), 0);
	assert_int_equal(ngot, 0);
	sts_file_begin(&w.bytes);
	sts_file_add(&w.bytes, "one.test", "id1", 1000, p);
	sts_file_add(&w.bytes, "two.test", "id2", 1001, p);
	sts_file_add(&w.bytes, "three.test", "id3", 1002, none);
	sts_file_write(&w);
	assert_int_equal(w.failed, 0);
	assert_int_equal(sts_file_read(name, take, NULL, &err), 0);
	assert_int_equal(ngot, 3);
	assert_string_equal(got[0].domain, "one.test");
	assert_string_equal(got[0].id, "id1");
	assert_string_equal(got[0].policy->mx[1], "*.b.test");
	assert_int_equal(got[2].policy->mode, STS_NONE);
	assert_int_equal(got[2].fetched, 1002);
	forget();
	for (size_t at = 0; at < w.bytes.n; at++) { /* each byte damaged in turn */
		size_t lines = at < strlen("meta1 mta-sts 1\n") ? 0 : 2;

		if (w.bytes.data[at] == '\n')
			continue;
		w.bytes.data[at] ^= 1;
		assert_int_equal(newfile_write(name, w.bytes.data, w.bytes.n), 0);
		assert_int_equal(sts_file_read(name, take, NULL, &err), 0);
		assert_int_equal(ngot, lines);
		forget();
		w.bytes.data[at] ^= 1;
	}
	for (size_t n = 0; n < w.bytes.n; n += 7) { /* and cut */
		assert_int_equal(newfile_write(name, w.bytes.data, n), 0);
		assert_int_equal(sts_file_read(name, take, NULL, &err), 0);
		forget();
	}
	assert_int_equal(newfile_write(name, "#!/bin/sh\n", 10), 0);
	assert_int_equal(sts_file_read(name, take, NULL, &err), 0);
	assert_int_equal(access(name, F_OK), -1);
	assert_int_equal(access(path("f.bad"), F_OK), 0);
	unlink(path("f.bad"));
	w.path = path("none/f");
	sts_file_write(&w);
	assert_int_not_equal(w.failed, 0);
	free(w.bytes.data);
	sts_policy_unref(&p);
	sts_policy_unref(&none);
	rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(record), cmocka_unit_test(records),
	    cmocka_unit_test(policy), cmocka_unit_test(bounds), cmocka_unit_test(match),
	    cmocka_unit_test(file)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
