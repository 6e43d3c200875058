/* SPDX-License-Identifier: BSD-2-Clause */
/* options.c -- tries core/lib/opt.h: each type's texts, defaults, ranges, places, unknown names. */
#include "conf_unit.h"

struct sample {
	int32_t on, color;
	int64_t count, size, wait, gid;
	uint64_t flags;
	const char *text, *file, *spool, *secret, *owner;
	const char *const *list;
};
static const struct meta1_opt opts[] = {
    META1_OPT_BOOL(struct sample, on, "yes", "A switch."),
    META1_OPT_INT(struct sample, count, "7", "-5..100", "A number."),
    META1_OPT_BYTES(struct sample, size, "64KB", "1KB..1GB", "A size."),
    META1_OPT_MSEC(struct sample, wait, "5m3s", "300ms..1d", "A time."),
    META1_OPT_ENUM(struct sample, color, "red", "red|green|blue", "A word."),
    META1_OPT_FLAGS(struct sample, flags, "a|noplain", "a|b|noplain", "Words."),
    META1_OPT_STR(struct sample, text, NULL, 0, "A text."),
    META1_OPT_PATH(struct sample, file, NULL, 0, "A file that is there."),
    META1_OPT_PATH(struct sample, spool, "sock", META1_O_QDIR | META1_O_MAYLACK, "A socket."),
    META1_OPT_STR(struct sample, secret, "x", META1_O_SECRET, "A secret."),
    META1_OPT_STR(struct sample, owner, NULL, META1_O_USER, "An account."),
    META1_OPT_LIST(struct sample, list, "one, two", 0, "Several."),
    META1_OPT(
	struct sample, gid, META1_INT, int64_t, "-1", "-1..100000", META1_O_GROUP, "A group."),
};

static unsigned bind_text(const char *text, enum opt_mode mode, struct sample *s, struct conf **cp)
{
	static const char *const subs[] = {"tls"};
	*cp = conf_read_text("t", text);
	unsigned n = opt_bind(*cp, conf_root(*cp), opts, ARRAY_LEN(opts), s, "thing", mode, "/q");
	opt_unknown(*cp, conf_root(*cp), "thing", opts, ARRAY_LEN(opts), subs, 1);
	return n;
}

static void defaults(void **state)
{
	(void)state;
	struct sample s;
	struct meta1_err err = {""};
	memset(&s, 0xff, sizeof(s));
	assert_int_equal(opt_selfcheck(opts, ARRAY_LEN(opts), sizeof(opts[0]), sizeof(s), &err), 0);
	assert_int_equal(opt_defaults(opts, ARRAY_LEN(opts), &s, &err), 0);
	assert_int_equal(s.on, 1);
	assert_int_equal(s.count, 7);
	assert_int_equal(s.size, 65536);
	assert_int_equal(s.wait, 303000);
	assert_int_equal(s.color, 0);
	assert_int_equal(s.flags, 5);
	assert_null(s.text);
	assert_string_equal(s.list[1], "two");
	assert_null(s.list[2]);
}

/* Each text and what it prints as; printing that again is the same. */
static void texts(void **state)
{
	static const struct {
		const char *name, *text, *print;
	} t[] = {
	    {"on", "NO", "no"},
	    {"on", "true", "yes"},
	    {"on", "off", "no"},
	    {"count", "-5", "-5"},
	    {"count", "100", "100"},
	    {"size", "1KB", "1KB"},
	    {"size", "1024B", "1KB"},
	    {"size", "1500", "1500"},
	    {"size", "1GB", "1GB"},
	    {"size", "3mb", "3MB"},
	    {"wait", "303", "5m3s"},
	    {"wait", "300ms", "300ms"},
	    {"wait", "1d", "1d"},
	    {"wait", "1h30m", "1h30m"},
	    {"wait", "90m", "1h30m"},
	    {"wait", "1M5S", "1m5s"},
	    {"color", "Green", "green"},
	    {"flags", "b", "{ a, b, noplain }"},
	    {"flags", "dont_a", "{ dont_a, noplain }"},
	    {"flags", "no_noplain", "{ a, dont_noplain }"},
	    {"flags", "{ }", "{ a, noplain }"},
	    {"flags", "{ no_a, dont_noplain, b }", "{ dont_a, b, dont_noplain }"},
	    {"text", "\"a \\\"b\\\"\"", "\"a \\\"b\\\"\""},
	    {"text", "a.b/c", "a.b/c"},
	    {"text", "\"\"", "\"\""},
	    {"spool", "s/fd", "/q/s/fd"},
	    {"spool", "/abs", "/abs"},
	    {"file", "/dev/null", "/dev/null"},
	    {"secret", "hunter2", "***"},
	    {"list", "{ }", "{ }"},
	    {"list", "one", "{ one }"},
	    {"list", "{ \"a b\", c, }", "{ \"a b\", c }"},
	    {"owner", "root", "root"},
	    {"owner", "0", "0"},
	    {"gid", "root", "0"},
	    {"gid", "262", "262"},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct sample s;
		struct conf *c;
		char text[200], out[200];
		const struct meta1_opt *rec = opts;
		while (strcmp(rec->name, t[i].name) != 0)
			rec++;
		for (int round = 0; round < 2; round++) {
			snprintf(text, sizeof(text), "%s = %s;", t[i].name,
			    round ? t[i].print : t[i].text);
			bind_text(text, OPT_START, &s, &c);
			expect_report(c, 0, NULL, text);
			opt_print(rec, (char *)&s + rec->off, out, sizeof(out));
			assert_string_equal(out, t[i].print);
			conf_free(&c);
		}
	}
}

static void messages(void **state)
{
	static const struct {
		const char *text, *want;
	} t[] = {
	    {"on = maybe;", "t:1:6: thing: option on: found maybe, expected yes or no (true,"},
	    {"count = -6;", "t:1:9: thing: option count: found -6, expected -5 to 100"},
	    {"count = 101;", "found 101, expected -5 to 100"},
	    {"count = \"1\\n2\";", "found 1?2, expected a number"},
	    {"count = 12x;", "found 12x, expected a number"},
	    {"count = 99999999999999999999;", "expected a number"},
	    {"count = { 1 };", "t:1:11: thing: option count: found a list, expected one value"},
	    {"count = { };", "t:1:1: thing: option count: found a list, expected one value"},
	    {"size = 1023;", "found 1023, expected 1KB to 1GB"},
	    {"size = 1025MB;", "found 1025MB, expected 1KB to 1GB"},
	    {"size = 1XB;", "found 1XB, expected a size such as"},
	    {"size = 99999999999GB;", "expected a size such as"},
	    {"wait = 299ms;", "found 299ms, expected 300ms to 1d"},
	    {"wait = 86401;", "found 86401, expected 300ms to 1d"},
	    {"wait = 5m3;", "found 5m3, expected a time such as"},
	    {"wait = m;", "found m, expected a time"},
	    {"wait = 9223372036854775807;", "expected a time"},
	    {"color = gren;", "found gren, expected one of: red green blue; did you mean green?"},
	    {"flags = { a, nopain };",
		"t:1:11: thing: option flags: found nopain, expected one of: a b noplain; did you "
		"mean noplain?"},
	    {"flags = { b, dont_b };", "flag dont_b is said twice"},
	    {"text = { a, b };", "found a list, expected one value"},
	    {"file = \"\";", "found an empty text, expected the name of a file"},
	    {"file = /no/such;", "t:1:8: thing: option file: file /no/such: No such file"},
	    {"owner = nosuchuser;", "option owner: user nosuchuser: there is no such account"},
	    {"gid = nosuchgroup;", "option gid: group nosuchgroup: there is no such group"},
	    {"gid = -2;", "found -2, expected -1 to 100000"},
	    {"cuont = 1;",
		"t:1:1: unknown option cuont in thing; did you mean count?\ncuont = 1;\n^"},
	    {"zzzzzzz = 1;", "unknown option zzzzzzz in thing\n"},
	    {"tsl { }", "unknown section tsl in thing; did you mean tls?"},
	    {"count { }", "count is an option: write count = VALUE;"},
	    {"tls = 1;", "tls is a section: write tls { ... }"},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct sample s;
		struct conf *c;
		bind_text(t[i].text, OPT_START, &s, &c);
		/* "tls { }" itself would be the binder's, so only unknown ones count. */
		expect_report(c, 1, t[i].want, t[i].text);
		conf_free(&c);
	}
}

/* A check warns about what this machine lacks, a start does not go on without it. */
static void modes(void **state)
{
	(void)state;
	static const char text[] = "file = /no/such; owner = nosuchuser; gid = nosuchgroup;";
	struct sample s;
	struct conf *c;
	assert_int_equal(bind_text(text, OPT_CHECK, &s, &c), 0);
	assert_int_equal(conf_warnings(c), 3);
	assert_int_equal(s.gid, -1);
	expect_report(c, 0, "t:1:8: warning: thing: option file: file /no/such", text);
	conf_free(&c);
	assert_int_equal(bind_text(text, OPT_START, &s, &c), 3);
	conf_free(&c);
}

static void paths(void **state)
{
	(void)state;
	struct sample s;
	char want[600];
	struct conf *c;
	bind_text("file = x.pem;", OPT_CHECK, &s, &c);
	snprintf(want, sizeof(want), "%s/x.pem", conf_dir(c));
	assert_string_equal(s.file, want);
	assert_string_equal(s.spool, "/q/sock");
	conf_free(&c);
}

static void required(void **state)
{
	(void)state;
	static const struct meta1_opt need[] = {
	    META1_OPT_STR(struct sample, text, NULL, META1_O_REQUIRED, "A text.")};
	struct sample s;
	struct conf *c = conf_read_text("t", "\n  map x { }");
	struct conf_section *sec = conf_sub(conf_root(c), "map", "x");
	opt_bind(c, sec, need, 1, &s, "map x", OPT_CHECK, NULL);
	expect_report(c, 1, "t:2:3: map x: option text is missing: A text.", "map x { }");
	conf_free(&c);
}

/* A section stands for the first word of options of modules, and nothing is lost in it. */
static void flattened(void **state)
{
	static const struct meta1_opt two[] = {
	    META1_OPT_ENUM(struct sample, color, "red", "red|green", "A word."),
	    {.name = "sock_type",
		.def = "",
		.range = "",
		.doc = "x",
		.type = META1_STR,
		.off = offsetof(struct sample, text)},
	    {.name = "back_sock_type",
		.def = "",
		.range = "",
		.doc = "x",
		.type = META1_STR,
		.off = offsetof(struct sample, file)},
	    {.name = "sock_port",
		.def = "1",
		.range = "1..9",
		.doc = "x",
		.type = META1_INT,
		.off = offsetof(struct sample, count)},
	};
	static const struct {
		const char *text, *type, *back, *want;
		unsigned errors;
		int port;
	} t[] = {
	    {"sock { type = a; port = 3; }", "a", "", NULL, 0, 3},
	    {"SOCK { Type = a; };", "a", "", NULL, 0, 1},
	    {"sock_type = a; sock { port = 2; }", "a", "", NULL, 0, 2},
	    {"back { sock { type = b; } }", "", "b", NULL, 0, 1},
	    {"back_sock { type = b; }", "", "b", NULL, 0, 1},
	    {"back { sock_type = b; }", "", "b", NULL, 0, 1},
	    {"sock { }", "", "", NULL, 0, 1},
	    {"sock_type = a; sock { type = b; }", "a", "",
		"t:1:23: option sock_type is set twice; first at t:1", 1, 1},
	    {"sock { typ = b; }", "", "",
		"t:1:8: unknown option typ in thing.sock; did you mean type?", 1, 1},
	    {"sock { port = 10; }", "", "", "t:1:15: thing: option sock_port: found 10", 1, 1},
	    {"sock { x { type = a; } }", "", "", "t:1:8: unknown section x in thing.sock", 1, 1},
	    {"sock n { type = a; }", "", "", "t:1:1: unknown section sock in thing", 1, 1},
	    {"color { type = a; }", "", "", "color is an option", 1, 1},
	    {"socket { type = a; }", "", "", "unknown section socket in thing", 1, 1},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct sample s;
		struct conf *c = conf_read_text("t", t[i].text);
		memset(&s, 0, sizeof(s));
		opt_flatten(c, conf_root(c), two, ARRAY_LEN(two), "thing");
		opt_bind(c, conf_root(c), two, ARRAY_LEN(two), &s, "thing", OPT_CHECK, NULL);
		opt_unknown(c, conf_root(c), "thing", two, ARRAY_LEN(two), NULL, 0);
		expect_report(c, t[i].errors, t[i].want, t[i].text);
		assert_string_equal(s.text, t[i].type);
		assert_string_equal(s.file, t[i].back);
		assert_int_equal(s.count, t[i].port);
		conf_free(&c);
	}
}

static void selfcheck(void **state)
{
	(void)state;
	static const struct meta1_opt bad[] = {
	    {.name = "", .doc = "x", .type = META1_BOOL},
	    {.name = "a", .doc = "", .type = META1_BOOL},
	    {.name = "a", .doc = "x", .type = 99},
	    {.name = "a", .doc = "x", .type = META1_ENUM},
	    {.name = "a", .doc = "x", .type = META1_INT, .def = "x"},
	    {.name = "a", .doc = "x", .type = META1_INT, .def = "9", .range = "1..8"},
	    {.name = "a", .doc = "x", .type = META1_FLAGS, .def = "c", .range = "a|b"},
	    {.name = "a", .doc = "x", .type = META1_INT, .off = 4},
	    {.name = "a", .doc = "x", .type = META1_STR, .def = "y", .flags = META1_O_REQUIRED},
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct meta1_err err = {""};
		assert_int_equal(opt_selfcheck(&bad[i], 1, sizeof(bad[i]), 8, &err), -1);
		assert_true(strlen(err.text) > 10);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(defaults),
	    cmocka_unit_test(texts),
	    cmocka_unit_test(messages),
	    cmocka_unit_test(modes),
	    cmocka_unit_test(paths),
	    cmocka_unit_test(required),
	    cmocka_unit_test(flattened),
	    cmocka_unit_test(selfcheck),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
