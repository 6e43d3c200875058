/* SPDX-License-Identifier: BSD-2-Clause */
/* authres.c -- lines of Authentication-Results that claim to be ours, at every way to cut the
 * content. */
#include "smtps/smtps.h"

#include "../unit.h"

#include <stdio.h>

struct out {
	char text[2000];
	size_t n;
};
static void put(void *arg, const void *p, size_t n)
{
	struct out *o = arg;

	assert_true(o->n + n < sizeof(o->text));
	memcpy(o->text + o->n, p, n);
	o->n += n;
	o->text[o->n] = '\0';
}

static const struct {
	const char *in, *out;
} rows[] = {
    {"Subject: x\r\n\r\nAuthentication-Results: gw.test; a\r\n", NULL}, /* in the body */
    {"Authentication-Results: gw.test; spf=pass\r\nA: b\r\n\r\nx\r\n", "A: b\r\n\r\nx\r\n"},
    {"A: b\r\nAUTHENTICATION-RESULTS \t:  GW.Test; spf=pass\r\n\tfolded\r\n more\r\nC: d\r\n\r\n",
	"A: b\r\nC: d\r\n\r\n"},
    {"Authentication-Results: gw.test;\r\nAuthentication-Results:gw.test; y\r\n\r\nx\r\n",
	"\r\nx\r\n"},
    {"Authentication-Results: gw.test 1; x\r\n\r\n", "\r\n"},
    {"Authentication-Results: gw.test/1; x\r\n\r\n", "\r\n"},
    {"Authentication-Results: (gw) gw.test; x\r\nA: b\r\n\r\n", "A: b\r\n\r\n"},
    {"Authentication-Results:\r\n gw.test; x\r\nA: b\r\n\r\n", "A: b\r\n\r\n"},
    {"Authentication-Results: \"gw.test\"; x\r\nA: b\r\n\r\n", "A: b\r\n\r\n"},
    {"Authentication-Results: other.test; spf=pass\r\n x\r\n\r\n", NULL},
    {"Authentication-Results: gw.test.evil; x\r\n\r\n", NULL},
    {"Authentication-Results: xgw.test; x\r\n\r\n", NULL},
    {"Authentication-Result: gw.test; x\r\n\r\n", NULL},
    {"Authentication-Results-X: gw.test; x\r\n\r\n", NULL},
    {"XAuthentication-Results: gw.test; x\r\n\r\n", NULL},
    {"A: b\r\n Authentication-Results: gw.test; x\r\n\r\n", NULL}, /* of the field before */
    {"\r\nAuthentication-Results: gw.test; x\r\n", NULL},
    {"A\r\n", NULL},
};

static void forged(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const uint8_t *in = (const uint8_t *)rows[i].in;
		const char *want = rows[i].out ? rows[i].out : rows[i].in;
		size_t n = strlen(rows[i].in);

		for (size_t a = 0; a <= n; a++) {
			size_t b = a + (n - a) / 2;
			struct smtps_authres f = {.state = 0};
			struct out o = {.n = 0};
			uint64_t cut = 0;

			cut += smtps_authres_pass(&f, "gw.test", in, a, put, &o);
			cut += smtps_authres_pass(&f, "gw.test", in + a, b - a, put, &o);
			cut += smtps_authres_pass(&f, "gw.test", in + b, n - b, put, &o);
			if (strcmp(o.text, want) != 0)
				fail_msg("row %zu cut at %zu and %zu: %s", i, a, b, o.text);
			assert_int_equal(cut, n - strlen(want));
		}
	}
}

/* What is kept back is bounded, whatever comes. */
static void long_ones(void **state)
{
	char in[4000];
	struct smtps_authres f = {.state = 0};
	static char all[8000];
	struct out o = {.n = 0};
	size_t n;

	(void)state, (void)all;
	n = str_copy(in, sizeof(in), "Authentication-Results: ");
	memset(in + n, 'x', 1000);
	memcpy(in + n + 1000, ";\r\n\r\n", 6);
	assert_int_equal(smtps_authres_pass(&f, "gw.test", (uint8_t *)in, n + 1005, put, &o), 0);
	assert_int_equal(o.n, n + 1005);
	memset(&f, 0, sizeof(f));
	o.n = 0;
	memset(in + n, ' ', 1000);
	assert_int_equal(
	    smtps_authres_pass(&f, "gw.test", (uint8_t *)in, n + 1005, put, &o), n + 1003);
	assert_int_equal(o.n, 2);
}

/* However many blanks stand where they may, a claim is found; and what claims nothing passes. */
static void blanks(void **state)
{
	static const struct {
		const char *before, *behind; /* the blanks stand between them */
		bool ours;
	} row[] = {
	    {"Authentication-Results", ": gw.test; spf=pass\r\n", true},
	    {"Authentication-Results:", "gw.test; spf=pass\r\n", true},
	    {"Authentication-Results: gw.test", "; spf=pass\r\n", true},
	    {"Authentication-Results:", "\r\n gw.test; spf=pass\r\n", true},
	    {"Authentication-Results", "\r\n : gw.test; spf=pass\r\n", true},
	    {"Authentication-Results: other.test", "; spf=pass\r\n", false},
	    {"Authentication-Result", ": gw.test; spf=pass\r\n", false},
	};
	char in[800];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++)
		for (unsigned n = 1; n < 400; n++) {
			struct smtps_authres f = {.state = 0};
			struct out o = {.n = 0};
			int len = snprintf(in, sizeof(in), "%s%*s%s\r\n", row[i].before, (int)n,
			    n % 2 ? "" : "\t", row[i].behind);

			smtps_authres_pass(&f, "gw.test", (uint8_t *)in, (size_t)len, put, &o);
			if (row[i].ours ? strcmp(o.text, "\r\n") != 0 : strcmp(o.text, in) != 0)
				fail_msg("row %zu, %u blanks: %s", i, n, o.text);
		}
}

/* With hundreds of blanks, a name that is not ours by its first letters passes as it is. */
static void others_with_blanks(void **state)
{
	char in[800];
	int len;

	(void)state;
	for (int n = 1; n < 400; n++) {
		struct smtps_authres f = {.state = 0};
		struct out o = {.n = 0};
		bool room = n < 319 - 23 - 2;

		len = snprintf(
		    in, sizeof(in), "Authentication-Results:%*sother.test; x\r\n\r\n", n, "");
		smtps_authres_pass(&f, "gw.test", (uint8_t *)in, (size_t)len, put, &o);
		if (room)
			assert_string_equal(o.text, in);
		else
			assert_true(strcmp(o.text, in) == 0 || strcmp(o.text, "\r\n") == 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(forged),
	    cmocka_unit_test(long_ones),
	    cmocka_unit_test(blanks),
	    cmocka_unit_test(others_with_blanks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
