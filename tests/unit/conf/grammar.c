/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * grammar.c -- tries core/lib/conf.h: what the language means, each message with its
 * place, includes, bounds, random bytes.
 */
#include "conf_unit.h"

#include <sys/stat.h>
#include <unistd.h>

/* The tree in one line: a=1;s(n){l=[x,y];} */
static void dump(FILE *f, const struct conf_section *s)
{
	for (const struct conf_option *o = s->options; o; o = o->next) {
		fprintf(f, "%s=%s", o->name, o->is_list ? "[" : "");
		for (const struct conf_value *v = o->values; v; v = v->next)
			fprintf(f, "%s%s", v->text, v->next ? "," : "");
		fprintf(f, "%s;", o->is_list ? "]" : "");
	}
	for (const struct conf_section *t = s->sections; t; t = t->next) {
		fprintf(f, "%s", t->keyword);
		if (t->name)
			fprintf(f, "(%s)", t->name);
		fputc('{', f);
		dump(f, t);
		fputc('}', f);
	}
}

static char *dump_of(struct conf *c)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	dump(f, conf_root(c));
	fclose(f);
	return text;
}

static void meaning(void **state)
{
	static const struct {
		const char *text, *tree;
	} t[] = {
	    {"", ""},
	    {"# only this", ""},
	    {"\xef\xbb\xbf"
	     "a = 1;",
		"a=1;"},
	    {"a=1;", "a=1;"},
	    {"a = 1; # more\nb = 2;", "a=1;b=2;"},
	    {"a = 1;\r\nb = 2;\r\n", "a=1;b=2;"},
	    {"a = { };", "a=[];"},
	    {"a = { x }", "a=[x];"},
	    {"a = { x, y };", "a=[x,y];"},
	    {"a = { x, y, } b = 1;", "a=[x,y];b=1;"},
	    {"a = {10.10.10.9, 127.0.0.1};", "a=[10.10.10.9,127.0.0.1];"},
	    {"s { }", "s{}"},
	    {"s { };;", "s{}"},
	    {"s n { a = 1; }", "s(n){a=1;}"},
	    {"s \"a b\" { }", "s(a b){}"},
	    {"s{a=b;t{c=d;};}", "s{a=b;t{c=d;}}"},
	    {"s { a = 1; } s { b = 2; }", "s{a=1;b=2;}"},
	    {"s { a = 1; } S { b = 2; }", "s{a=1;b=2;}"},
	    {"s n { } s m { } s { }", "s(n){}s(m){}s{}"},
	    {"s n { } s N { }", "s(n){}s(N){}"},
	    {"a = 8bitmime; b = smtps/smtpsfd; c = 5m3s; d = 1.2.3.4:53; e = *.conf;",
		"a=8bitmime;b=smtps/smtpsfd;c=5m3s;d=1.2.3.4:53;e=*.conf;"},
	    {"a = \"x # y\";", "a=x # y;"},
	    {"a = \"q\\\"\\\\\\x41\\102\\n\";", "a=q\"\\AB\n;"},
	    {"a = \"\";", "a=;"},
	    {"a = \"\xc3\xa4\";", "a=\xc3\xa4;"},
	    {"include = 1;", "include=1;"},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct conf *c = conf_read_text("t", t[i].text);
		expect_report(c, 0, NULL, t[i].text);
		char *got = dump_of(c);
		assert_string_equal(got, t[i].tree);
		free(got);
		conf_free(&c);
		assert_null(c);
	}
}

static void messages(void **state)
{
	static const struct {
		const char *text;
		unsigned errors;
		const char *want; /* whole lines of the report */
	} t[] = {
	    {"log_level = 12\nuser = x;", 1,
		"t:1:15: missing ';' after the value of log_level\nlog_level = 12\n              "
		"^\n"},
	    {"a = b c;\nd = 1;", 1,
		"t:1:6: missing ';' after the value of a (a value with blanks needs"},
	    {"\ta = ;", 1, "t:1:6: found ';', expected the value of a\n\ta = ;\n\t    ^\n"},
	    {"a 1;", 1, "t:1:3: found 1 after a; an option is written \"a = VALUE;\""},
	    {"a;", 1, "t:1:2: found ';' after a, expected '=' or '{'"},
	    {"a", 1, "t:1:2: found the end of the file after a, expected '=' or '{'"},
	    {"= 1;", 1, "t:1:1: found '=', expected the name of an option or section"},
	    {"\"a\" = 1;", 1, "t:1:1: found \"a\", expected the name of an option"},
	    {"s { a = 1;", 1, "t:1:1: section s is not closed: '}' is missing"},
	    {"a = 1; } b = 2;", 1, "t:1:8: this '}' closes nothing"},
	    {"a = { x y };", 1, "t:1:8: missing ',' in the list of a"},
	    {"a = { , };", 1, "t:1:7: found ',' in the list of a, expected a value or '}'"},
	    {"a = { x ; b = 1;", 1, "t:1:8: the list of a is not closed: found ';'"},
	    {"a = \"x\n;b = 1;", 1, "t:1:5: the text that starts here has no closing \""},
	    {"a = \"x\\q\";", 1, "t:1:7: unknown escape; known are"},
	    {"a = \"\\0\";", 1, "t:1:6: this escape stands for no byte"},
	    {"a = [::1];", 1, "t:1:5: unexpected character [; a value with it needs \"quotes\""},
	    {"a = \xc3\xa4;", 1, "t:1:5: unexpected character \xc3\xa4; a value"},
	    {"b = \"\xc3\xa4\"; a = ;", 1, "t:1:14: found ';', expected the value of a\n"},
	    {"a = x\x01y;", 2, "t:1:6: control byte 0x01; a text may hold it as \\x01"},
	    {"# \x7f", 1, "t:1:3: control byte 0x7f"},
	    {"a = 1;\nA = 2;", 1,
		"t:2:1: option A is set twice, first at t:1:1; remove one\nA = 2;\n^"},
	    {"s { a = 1; }\ns { a = 2; }", 1,
		"t:2:5: option a is set twice, first at t:1:5; sections of one keyword and name"},
	    {"s x { a = 1; }\ns x { a = 2; }", 1, "or give one of them another name\n"},
	    {"a = ;\nb = ;\nc = 1;\nd = ;", 3, "t:4:5: found ';', expected the value of d"},
	    {"s { a = ; } t { b = ; }", 2, "t:1:21: found ';', expected the value of b"},
	    {"a b c { x = 1; y { } } d = ;", 2, "t:1:28: found ';', expected the value of d"},
	    {"include \"no/such\";", 1, "t:1:9: cannot read no/such: No such file"},
	    {"include \"x\" a = 1;", 1, "t:1:12: missing ';' after include"},
	    {"include \"/\";", 1, "t:1:9: cannot read /: is a folder, expected a file"},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct conf *c = conf_read_text("t", t[i].text);
		expect_report(c, t[i].errors, t[i].want, t[i].text);
		conf_free(&c);
	}
}

/* What stands around an error is read all the same. */
static void recovery(void **state)
{
	(void)state;
	struct conf *c = conf_read_text("t", "a = 1\nb = 2; s { x = ; y = 3; } t u v { z = 1; }\n"
					     "l = { 1 2, 3 } c = 4;");
	char *got = dump_of(c);
	assert_string_equal(got, "a=1;b=2;l=[1,2,3];c=4;s{y=3;}");
	assert_int_equal(conf_errors(c), 4);
	free(got);
	conf_free(&c);
}

static void long_line(void **state)
{
	(void)state;
	char text[2000];
	memset(text, ' ', sizeof(text));
	memcpy(text + 1000, "a = ;", 5);
	text[sizeof(text) - 1] = 0;
	struct conf *c = conf_read_text("t", text);
	expect_report(c, 1, "t:1:1005: found ';'", "a long line");
	char *got = report_of(c);
	size_t line = strcspn(got, "\n") + 1, caret = line + strcspn(got + line, "\n") + 1;
	assert_true(strlen(got + line) < 300);
	assert_int_equal(got[line + strcspn(got + caret, "^")], ';');
	free(got);
	conf_free(&c);
}

/* ---- files ---- */

static void put(const char *dir, const char *name, const char *text)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

/* What was read is read again by another process, whatever the files are by then. */
static void packed(void **state)
{
	(void)state;
	char dir[] = "/tmp/conf.XXXXXX", sub[64], path[64], other[64], all[1000];
	assert_non_null(mkdtemp(dir));
	snprintf(sub, sizeof(sub), "%s/conf.d", dir);
	assert_int_equal(mkdir(sub, 0700), 0);
	snprintf(path, sizeof(path), "%s/main.conf", dir);
	snprintf(other, sizeof(other), "%s/x.conf", dir);
	put(dir, "main.conf", "a = 1;\ninclude \"conf.d/*.conf\";\ninclude \"x.conf\";\n");
	put(dir, "x.conf", "s { x = \"1\\n\"; }");
	put(sub, "c.conf", "s { c = 3; }\n");
	put(sub, "b.conf", "s { b = 2; } include \"more.inc\";\n");
	put(sub, "more.inc", "");
	struct conf *c = conf_read(path), *again;
	char *want = dump_of(c), *got;
	int fd = conf_pack(c);
	assert_true(fd >= 0 && fd == conf_pack(c));
	assert_true(write(fd, "x", 1) < 0);
	ssize_t size = pread(fd, all, sizeof(all), 0);
	assert_in_range(size, 100, sizeof(all) - 1);

	put(dir, "main.conf", "half written");
	put(dir, "x.conf", "y = 1;");
	put(sub, "a.conf", "later { }");
	put(sub, "c.conf", "");
	again = conf_read_packed(fd, path);
	expect_report(again, 0, NULL, "packed");
	got = dump_of(again);
	assert_string_equal(got, want);
	conf_free(&again);
	free(got);
	again = conf_read_packed(fd, other); /* another file than was packed */
	got = dump_of(again);
	assert_string_equal(got, "y=1;");
	conf_free(&again);
	free(got);
	for (ssize_t n = 0; n < size; n++) { /* cut off anywhere: the files, or what is whole */
		FILE *cut = tmpfile();
		assert_non_null(cut);
		assert_int_equal(fwrite(all, 1, (size_t)n, cut), n);
		fflush(cut);
		again = conf_read_packed(fileno(cut), path);
		conf_free(&again);
		fclose(cut);
	}
	free(want);
	conf_free(&c);
}

static void includes(void **state)
{
	(void)state;
	char dir[] = "/tmp/conf.XXXXXX", sub[64], path[64], want[256];
	assert_non_null(mkdtemp(dir));
	snprintf(sub, sizeof(sub), "%s/conf.d", dir);
	assert_int_equal(mkdir(sub, 0700), 0);
	snprintf(path, sizeof(path), "%s/main.conf", dir);
	put(dir, "main.conf",
	    "s { a = 1; }\ninclude \"conf.d/*.conf\";\ninclude \"none/*.conf\";\n");
	put(sub, "b.conf", "s { b = 2; }\n");
	put(sub, "c.conf", "s { c = 3; }\n");
	put(sub, "c.conf~", "not read");
	struct conf *c = conf_read(path);
	expect_report(c, 0, NULL, "includes");
	char *got = dump_of(c);
	assert_string_equal(got, "s{a=1;b=2;c=3;}");
	assert_string_equal(conf_dir(c), dir);
	free(got);
	conf_free(&c);

	put(sub, "b.conf", "include \"../main.conf\";\ns { a = 9; }\nx = ;");
	c = conf_read(path);
	snprintf(want, sizeof(want), "%s/b.conf:1:9: %s/../main.conf includes itself\n", sub, sub);
	expect_report(c, 3, want, "a cycle");
	snprintf(want, sizeof(want),
	    "%s/b.conf:2:5: option a is set twice, first at %s/main.conf:1:5;", sub, dir);
	expect_report(c, 3, want, "twice in two files");
	snprintf(want, sizeof(want), "%s/b.conf:3:5: found ';'", sub);
	expect_report(c, 3, want, "all files in one run");
	conf_free(&c);

	snprintf(path, sizeof(path), "%s/none.conf", dir);
	c = conf_read(path);
	snprintf(want, sizeof(want), "%s: cannot read %s: No such file or directory\n", path, path);
	expect_report(c, 1, want, "no file");
	conf_free(&c);
	snprintf(path, sizeof(path), "rm -r %s", dir);
	assert_int_equal(system(path), 0);
}

static void bounds(void **state)
{
	(void)state;
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	for (int i = 0; i < 17; i++)
		fputs("s { ", f);
	for (int i = 0; i < 17; i++)
		fputs("} ", f);
	fclose(f);
	struct conf *c = conf_read_text("t", text);
	expect_report(c, 1, "t:1:65: section s is nested deeper than 16", text);
	conf_free(&c);
	free(text);

	f = open_memstream(&text, &len);
	for (int i = 0; i < 150; i++)
		fputs("a = ;\n", f);
	fclose(f);
	c = conf_read_text("t", text);
	expect_report(c, 150, "50 more messages are not shown", "many errors");
	conf_free(&c);
	free(text);

	f = open_memstream(&text, &len);
	for (int i = 0; i < 20010; i++)
		fprintf(f, "a%d=1;\n", i);
	fclose(f);
	c = conf_read_text("t", text);
	expect_report(c, 1, "t:20001:1: more than 20000 options and sections", "many entries");
	conf_free(&c);
	free(text);

	char path[] = "/tmp/conf.XXXXXX";
	int fd = mkstemp(path);
	assert_int_equal(ftruncate(fd, (4 << 20) + 1), 0);
	close(fd);
	c = conf_read(path);
	expect_report(c, 1, "is larger than 4 MB", "a large file");
	conf_free(&c);
	unlink(path);
}

static void nearest(void **state)
{
	(void)state;
	static const char *const names[] = {"log_level", "user", "path", "flags"};
	assert_string_equal(conf_nearest("lgo_level", names, 4), "log_level");
	assert_string_equal(conf_nearest("LOGLEVEL", names, 4), "log_level");
	assert_string_equal(conf_nearest("flag", names, 4), "flags");
	assert_null(conf_nearest("restart", names, 4));
	assert_null(conf_nearest("x", names, 4));
	assert_null(conf_nearest("user", NULL, 0));
}

/* Pieces of the language in any order, and any bytes: no crash, no hang, an end. */
static void noise(void **state)
{
	static const char *const piece[] = {"{", "}", "=", ";", ",", "\"", "\\", "#", "\n", "a",
	    " ", "include ", "\"x*\"", "[", "\xff", "\x01", "s n {", "a = {"};
	(void)state;
	srand(4711);
	for (int round = 0; round < 3000; round++) {
		char text[400] = "";
		size_t n = 0;
		for (int i = 0; i < 60 && n < sizeof(text) - 10; i++) {
			if (round % 3 == 0)
				text[n++] = (char)(1 + rand() % 255);
			else
				n += (size_t)sprintf(
				    text + n, "%s", piece[(size_t)rand() % ARRAY_LEN(piece)]);
		}
		text[n] = 0;
		struct conf *c = conf_read_text("t", text);
		free(report_of(c));
		conf_free(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(meaning),
	    cmocka_unit_test(messages),
	    cmocka_unit_test(recovery),
	    cmocka_unit_test(long_line),
	    cmocka_unit_test(includes),
	    cmocka_unit_test(packed),
	    cmocka_unit_test(bounds),
	    cmocka_unit_test(nearest),
	    cmocka_unit_test(noise),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
