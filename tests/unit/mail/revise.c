/* SPDX-License-Identifier: BSD-2-Clause */
/* Unit test of core/mail/revise.c: edits of a filter made to a message, all or none. */
#include "mail/revise.h"
#include "../unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MSG "From: a@b\r\nTo: c@d\r\n\tmore\r\nX: 1\r\nx: 2\r\n\r\nbody\r\n"

static struct meta1_extent ext[4];
static struct meta1_pm_message msg;

static const struct meta1_pm_message *message(const char *text)
{
	const char *end = strstr(text, "\r\n\r\n");

	ext[0] = (struct meta1_extent){.mem = text, .len = strlen(text), .fd = -1};
	msg = (struct meta1_pm_message){.size = sizeof(msg),
	    .nextent = 1,
	    .extent = ext,
	    .bytes = strlen(text),
	    .header = end ? (uint64_t)(end + 4 - text) : strlen(text)};
	return &msg;
}

static char *text_of(const struct meta1_pm_message *m)
{
	struct meta1_err err;
	char *s = revise_read(m->extent, m->nextent, m->bytes, &err);

	assert_non_null(s);
	return s;
}

static struct meta1_pm_edit head(uint32_t kind, uint32_t index, const char *name, const char *value)
{
	return (struct meta1_pm_edit){
	    .kind = kind, .index = index, .name = buf_str(name), .value = buf_str(value)};
}

/* One edit of MSG: what it makes of it, or what is said. */
static const struct {
	uint32_t kind, index, flags;
	const char *name, *value, *want;
} headers[] = {
#define REST "body\r\n"
    {META1_PM_ADD_HEADER, 0, 0, "N", "v",
	"From: a@b\r\nTo: c@d\r\n\tmore\r\nX: 1\r\nx: 2\r\nN: v\r\n\r\n" REST},
    {META1_PM_INSERT_HEADER, 0, 0, "N", "v",
	"N: v\r\nFrom: a@b\r\nTo: c@d\r\n\tmore\r\nX: 1\r\nx: 2\r\n\r\n" REST},
    {META1_PM_INSERT_HEADER, 2, 0, "N", "v",
	"From: a@b\r\nTo: c@d\r\n\tmore\r\nN: v\r\nX: 1\r\nx: 2\r\n\r\n" REST},
    {META1_PM_INSERT_HEADER, 99, META1_PM_LEADSPC, "N", "v",
	"From: a@b\r\nTo: c@d\r\n\tmore\r\nX: 1\r\nx: 2\r\nN:v\r\n\r\n" REST},
    {META1_PM_CHANGE_HEADER, 1, 0, "to", "e@f",
	"From: a@b\r\nto: e@f\r\nX: 1\r\nx: 2\r\n\r\n" REST},
    {META1_PM_CHANGE_HEADER, 2, 0, "X", "3",
	"From: a@b\r\nTo: c@d\r\n\tmore\r\nX: 1\r\nX: 3\r\n\r\n" REST},
    {META1_PM_CHANGE_HEADER, 1, 0, "X", NULL,
	"From: a@b\r\nTo: c@d\r\n\tmore\r\nx: 2\r\n\r\n" REST},
    {META1_PM_CHANGE_HEADER, 3, 0, "X", "3",
	"From: a@b\r\nTo: c@d\r\n\tmore\r\nX: 1\r\nx: 2\r\nX: 3\r\n\r\n" REST},
    {META1_PM_CHANGE_HEADER, 3, 0, "X", NULL, MSG},
    {META1_PM_CHANGE_HEADER, 0, 0, "X", "3", NULL},
    {META1_PM_ADD_HEADER, 0, 0, "", "v", NULL},
    {META1_PM_ADD_HEADER, 0, 0, "A:B", "v", NULL},
    {META1_PM_ADD_HEADER, 0, 0, "A B", "v", NULL},
    {META1_PM_ADD_HEADER, 0, 0, "A\r\nB", "v", NULL},
    {META1_PM_ADD_HEADER, 0, 0, "\303\244", "v", NULL},
    {42, 0, 0, "A", "v", NULL},
    {0, 0, 0, "A", "v", NULL},
};

static void one_header(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
		struct revise *r = revise_new(message(MSG));
		struct meta1_pm_edit e =
		    head(headers[i].kind, headers[i].index, headers[i].name, headers[i].value);
		struct meta1_err err = {""};
		char *now;

		e.flags = headers[i].flags;
		assert_int_equal(revise_apply(r, &e, 1, NULL, &err), headers[i].want ? 0 : -1);
		now = text_of(revise_message(r));
		assert_string_equal(now, headers[i].want ? headers[i].want : MSG);
		if (!headers[i].want) {
			assert_ptr_not_equal(strstr(err.text, "edit 1 of 1"), NULL);
			assert_false(revise_changed(r));
		}
		assert_int_equal(revise_message(r)->header, strstr(now, "\r\n\r\n") + 4 - now);
		free(now);
		revise_free(&r);
	}
}

/* Whatever bytes a value has, it is one field. */
static void values(void **state)
{
	static const struct {
		const char *value;
		size_t len;
		const char *want;
	} t[] = {
	    {"a", 1, "N: a\r\n"},
	    {"", 0, "N: \r\n"},
	    {"a\nb", 3, "N: a\r\n b\r\n"},
	    {"a\r\nb", 4, "N: a\r\n b\r\n"},
	    {"a\r\n\tb", 5, "N: a\r\n\tb\r\n"},
	    {"a\rb", 3, "N: a b\r\n"},
	    {"a\0b", 3, "N: a b\r\n"},
	    {"a\r\n", 3, "N: a\r\n"},
	    {"a\n\nb", 4, "N: a\r\n b\r\n"},
	    {"a\r\n\r\nb\r\n.\r\n", 11, "N: a\r\n b\r\n .\r\n"},
	    {"a\r\n \r\n\t\r\nb", 10, "N: a\r\n b\r\n"},
	    {"\r\na", 3, "N: \r\n a\r\n"},
	    {"\r\n\r\n", 4, "N: \r\n"},
	    {"a\r\r\nb", 5, "N: a \r\n b\r\n"},
	    {"\n\n\n\n\n\n", 6, "N: \r\n"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		size_t len;
		char *s = revise_field(buf_str("N"), buf_of(t[i].value, t[i].len), false, &len);

		assert_int_equal(len, strlen(t[i].want));
		assert_memory_equal(s, t[i].want, len);
		free(s);
	}
}

/* The second list fails at its last edit: what the first made stands, and nothing of the second. */
static void all_or_none(void **state)
{
	struct revise *r = revise_new(message(MSG));
	struct meta1_extent body = {.mem = "new\n", .len = 4, .fd = -1};
	struct meta1_pm_edit one = head(META1_PM_ADD_HEADER, 0, "A", "1"),
			     two[] = {head(META1_PM_ADD_HEADER, 0, "B", "2"),
				 {.kind = META1_PM_BODY, .extent = &body, .nextent = 1},
				 {.kind = META1_PM_ADD_RCPT, .value = buf_str("x@y")},
				 head(META1_PM_ADD_HEADER, 0, "C D", "3")};
	const char *want = "From: a@b\r\nTo: c@d\r\n\tmore\r\nX: 1\r\nx: 2\r\nA: 1\r\n\r\nbody\r\n";
	struct meta1_err err;
	unsigned n;
	char *now;

	(void)state;
	assert_int_equal(revise_apply(r, &one, 1, NULL, &err), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(revise_apply(r, two, 4, NULL, &err), -1);
		assert_non_null(strstr(err.text, "edit 4 of 4, add header"));
		now = text_of(revise_message(r));
		assert_string_equal(now, want);
		free(now);
		revise_envelope(r, &n);
		assert_int_equal(n, 0);
	}
	assert_int_equal(revise_apply(r, two, 3, NULL, &err), 0);
	now = text_of(revise_message(r));
	assert_string_equal(
	    now, "From: a@b\r\nTo: c@d\r\n\tmore\r\nX: 1\r\nx: 2\r\nA: 1\r\nB: 2\r\n\r\nnew\r\n");
	free(now);
	revise_envelope(r, &n);
	assert_int_equal(n, 1);
	revise_free(&r);
}

static void bodies(void **state)
{
	static const struct {
		const char *give, *want;
	} t[] = {{"a\r\nb\r\n", "a\r\nb\r\n"}, {"a\nb\n", "a\r\nb\r\n"}, {"a\rb", "a\r\nb\r\n"},
	    {"a", "a\r\n"}, {"", ""}, {"\r", "\r\n"}, {"a\r\r\nb\r\n", "a\r\n\r\nb\r\n"},
	    {"\n.\n", "\r\n.\r\n"}, {"a\r\n\r", "a\r\n\r\n"}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		for (size_t cut = 0; cut <= strlen(t[i].give); cut++) {
			struct revise *r = revise_new(message("A: 1\r\n\r\nbody\r\n"));
			struct meta1_extent x[2] = {{.mem = t[i].give, .len = cut, .fd = -1},
			    {.mem = t[i].give + cut, .len = strlen(t[i].give) - cut, .fd = -1}};
			struct meta1_pm_edit e = {.kind = META1_PM_BODY, .extent = x, .nextent = 2};
			struct meta1_err err = {""};
			char *now;

			assert_int_equal(revise_apply(r, &e, 1, NULL, &err), 0);
			now = text_of(revise_message(r));
			assert_memory_equal(now, "A: 1\r\n\r\n", 8);
			assert_string_equal(now + 8, t[i].want);
			free(now);
			revise_free(&r);
		}
}

/* From a file; and extents that are none. */
static void files(void **state)
{
	FILE *f = tmpfile();
	struct revise *r = revise_new(message(MSG));
	struct meta1_extent x = {.fd = fileno(f), .off = 2, .len = 7};
	struct meta1_pm_edit e = {.kind = META1_PM_MESSAGE, .extent = &x, .nextent = 1};
	struct meta1_err err = {""};
	char *now;

	(void)state;
	fputs("..N: 1\n\nhello", f);
	fflush(f);
	assert_int_equal(revise_apply(r, &e, 1, NULL, &err), 0);
	now = text_of(revise_message(r));
	assert_string_equal(now, "N: 1\r\n\r\nh\r\n");
	free(now);
	x.len = 500; /* more than there is */
	assert_int_equal(revise_apply(r, &e, 1, NULL, &err), -1);
	assert_non_null(strstr(err.text, "its file is shorter"));
	x.fd = -1;
	assert_int_equal(revise_apply(r, &e, 1, NULL, &err), -1);
	assert_non_null(strstr(err.text, "an extent of content is none"));
	e.extent = NULL;
	assert_int_equal(revise_apply(r, &e, 1, NULL, &err), -1);
	revise_free(&r);
	fclose(f);
}

/* Messages without a header, without a body, with lines that are no fields. */
static void odd_messages(void **state)
{
	static const struct {
		const char *give, *want;
	} t[] = {{"\r\nbody\r\n", "N: v\r\n\r\nbody\r\n"}, {"A: 1\r\n", "A: 1\r\nN: v\r\n"},
	    {"A: 1\r\n\r\n", "A: 1\r\nN: v\r\n\r\n"}, {"", "N: v\r\n"},
	    {"no field\r\nA: 1\r\n\r\nx\r\n", "no field\r\nA: 1\r\nN: v\r\n\r\nx\r\n"},
	    {" goes on\r\nA : 1\r\n\r\nx\r\n", " goes on\r\nA : 1\r\nN: v\r\n\r\nx\r\n"}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		const struct meta1_pm_message *m = message(t[i].give);
		struct meta1_pm_edit e = head(META1_PM_ADD_HEADER, 0, "N", "v");
		struct meta1_err err = {""};
		struct revise *r;
		char *now;

		if (strncmp(t[i].give, "\r\n", 2) == 0)
			msg.header = 2;
		r = revise_new(m);
		assert_int_equal(revise_apply(r, &e, 1, NULL, &err), 0);
		now = text_of(revise_message(r));
		assert_string_equal(now, t[i].want);
		free(now);
		revise_free(&r);
	}
}

static void envelope(void **state)
{
	static const struct {
		uint32_t kind;
		const char *value;
		int rc;
	} t[] = {{META1_PM_ADD_RCPT, "a@b.example", 0}, {META1_PM_ADD_RCPT, "", -1},
	    {META1_PM_ADD_RCPT, "a@b> SIZE=1", -1}, {META1_PM_ADD_RCPT, "<a@b>", -1},
	    {META1_PM_ADD_RCPT, "a@b\r\nRCPT TO:<c@d>", -1}, {META1_PM_ADD_RCPT, "a b@c", -1},
	    {META1_PM_DEL_RCPT, "a@b.example", 0}, {META1_PM_SENDER, "", 0},
	    {META1_PM_SENDER, "c@d.example", 0}, {META1_PM_SENDER, "@e:c@d.example", -1}};
	struct revise *r = revise_new(message(MSG));
	const struct meta1_pm_edit *all;
	struct meta1_err err;
	unsigned n;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct meta1_pm_edit e = {.kind = t[i].kind, .value = buf_str(t[i].value)};

		assert_int_equal(revise_apply(r, &e, 1, NULL, &err), t[i].rc);
	}
	all = revise_envelope(r, &n);
	assert_int_equal(n, 4);
	assert_int_equal(all[1].kind, META1_PM_DEL_RCPT);
	assert_int_equal(all[3].kind, META1_PM_SENDER);
	assert_false(revise_changed(r));
	assert_ptr_equal(revise_message(r)->extent, ext);
	revise_free(&r);
}

/* What nobody edited is where it was: in memory and in a file, cut anywhere. */
static void stays_where_it_is(void **state)
{
	struct meta1_pm_edit e = head(META1_PM_INSERT_HEADER, 1, "N", "v");
	FILE *f = tmpfile();

	(void)state;
	fputs(MSG, f);
	fflush(f);
	for (size_t cut = 1; cut < strlen(MSG); cut++) {
		struct meta1_err err = {""};
		const struct meta1_pm_message *m;
		struct revise *r;
		uint64_t of_us = 0;
		char *now;

		message(MSG);
		ext[0].len = cut;
		ext[1] = (struct meta1_extent){.fd = fileno(f), .off = cut, .len = msg.bytes - cut};
		msg.nextent = 2;
		r = revise_new(&msg);
		assert_int_equal(revise_apply(r, &e, 1, NULL, &err), 0);
		m = revise_message(r);
		now = text_of(m);
		assert_string_equal(
		    now, "From: a@b\r\nN: v\r\nTo: c@d\r\n\tmore\r\nX: 1\r\nx: 2\r\n\r\nbody\r\n");
		free(now);
		for (unsigned i = 0; i < m->nextent; i++) {
			const char *p = m->extent[i].mem, *base = ext[0].mem;

			if (p != NULL && (p < base || p >= base + cut))
				of_us += m->extent[i].len;
		}
		assert_int_equal(of_us, strlen("N: v\r\n") + 2);
		revise_free(&r);
	}
	fclose(f);
}

/* As many fields and edits as are taken, and one more of either. */
static void many(void **state)
{
	struct meta1_pm_edit *e = base_alloc((REVISE_EDITS_MAX + 1) * sizeof(*e));
	size_t len = (size_t)(REVISE_FIELDS_MAX - 1) * 6;
	char *text = base_alloc(len + 16);
	struct meta1_err err = {""};
	struct revise *r;

	(void)state;
	for (size_t at = 0; at < len; at += 6)
		memcpy(text + at, "A: b\r\n", 6);
	memcpy(text + len, "\r\n", 3);
	for (unsigned i = 0; i <= REVISE_EDITS_MAX; i++)
		e[i] = head(META1_PM_CHANGE_HEADER, REVISE_FIELDS_MAX - 1, "A", "c");
	r = revise_new(message(text));
	assert_int_equal(revise_apply(r, e, 50, NULL, &err), 0);
	assert_int_equal(revise_message(r)->bytes, len + 2);
	assert_int_equal(revise_apply(r, e, REVISE_EDITS_MAX + 1, NULL, &err), -1);
	assert_int_equal(
	    revise_apply(r, e, REVISE_WORK_MAX / REVISE_FIELDS_MAX + 2, NULL, &err), -1);
	assert_non_null(strstr(err.text, "too much"));
	revise_free(&r);
	memcpy(text + len, "A: b\r\n\r\n", 9);
	r = revise_new(message(text));
	assert_int_equal(revise_apply(r, e, 1, NULL, &err), -1);
	assert_non_null(strstr(err.text, "too large to be edited"));
	revise_free(&r);
	free(text);
	free(e);
}

/* Read before the list is made, of what the giver may close: what is mended and large is in a file,
 * and no memory. Between files memory is copied. */
static void read_before(void **state)
{
	enum { LINES = 100000 };
	char *text = base_alloc(LINES + 1);
	struct meta1_extent x[3];
	struct meta1_pm_edit e = {.kind = META1_PM_MESSAGE, .extent = x, .nextent = 3};
	struct meta1_err err = {""};
	struct revise *r = revise_new(message(MSG));
	struct revise_job *job;
	FILE *f = tmpfile();
	char *now;

	(void)state;
	memset(text, '\n', LINES);
	fputs("N: 1\n\n", f);
	fputs(text, f);
	fflush(f);
	x[0] = (struct meta1_extent){.fd = fileno(f), .len = 6};
	x[1] = (struct meta1_extent){.mem = text, .len = 3, .fd = -1};
	x[2] = (struct meta1_extent){.fd = fileno(f), .off = 6, .len = LINES};
	job = revise_job_new(r, &e, 1, "/tmp");
	assert_non_null(job);
	fclose(f);
	free(text);
	revise_job_work(job);
	assert_false(revise_job_no_room(job));
	assert_int_equal(revise_apply(r, &e, 1, &job, &err), 0);
	assert_null(job);
	now = text_of(revise_message(r));
	assert_int_equal(revise_message(r)->bytes, 8 + 2 * (LINES + 3));
	assert_int_equal(revise_message(r)->header, 8);
	assert_memory_equal(now, "N: 1\r\n\r\n", 8);
	for (size_t i = 8; i < revise_message(r)->bytes; i += 2)
		if (now[i] != '\r' || now[i + 1] != '\n')
			fail_msg("byte %zu", i);
	free(now);
	assert_true(revise_held(r) < REVISE_MENDED_MEM);
	revise_free(&r);
	r = revise_new(message(MSG));
	e.nextent = 2;
	x[0] = x[1] = (struct meta1_extent){.mem = "a: b\r\n", .len = 6, .fd = -1};
	assert_null(revise_job_new(r, &e, 1, "/tmp")); /* all is in memory */
	revise_free(&r);
}

/* As many recipients and edits of them as there are: each is found at once. */
static void many_recipients(void **state)
{
	enum { RCPTS = 10000 };
	static char name[RCPTS + REVISE_EDITS_MAX][24];
	struct meta1_buf *rcpt = base_alloc(RCPTS * sizeof(*rcpt));
	struct meta1_pm_edit *e = base_alloc(REVISE_EDITS_MAX * sizeof(*e));
	struct revise *r = revise_new(message(MSG));
	struct meta1_err err = {""};
	const struct meta1_buf *now;
	uint32_t n;

	(void)state;
	for (unsigned i = 0; i < RCPTS + REVISE_EDITS_MAX; i++)
		snprintf(name[i], sizeof(name[i]), "r%u@Example.test", i);
	for (unsigned i = 0; i < RCPTS; i++)
		rcpt[i] = buf_str(name[i]);
	for (unsigned i = 0; i < REVISE_EDITS_MAX; i++)
		e[i] = (struct meta1_pm_edit){.kind = META1_PM_DEL_RCPT, .value = buf_str(name[i])};
	revise_mail_is(r, rcpt, RCPTS, buf_str("a@b"), 0);
	assert_int_equal(revise_apply(r, e, REVISE_EDITS_MAX, NULL, &err), 0);
	now = revise_rcpts(r, &n);
	assert_int_equal(n, RCPTS - REVISE_EDITS_MAX);
	assert_ptr_equal(now[0].data, name[REVISE_EDITS_MAX]);
	for (unsigned i = 0; i < REVISE_EDITS_MAX; i++) {
		e[i].kind = META1_PM_ADD_RCPT;
		e[i].value = buf_str(name[RCPTS + i]);
	}
	assert_int_equal(revise_apply(r, e, REVISE_EDITS_MAX, NULL, &err), 0);
	revise_rcpts(r, &n);
	assert_int_equal(n, RCPTS);
	e[0].value =
	    buf_str("one@more.test"); /* there is no room for it, and for nothing of the list */
	assert_int_equal(revise_apply(r, e, 2, NULL, &err), -1);
	assert_non_null(strstr(err.text, "edit 1 of 2, add recipient: more recipients than"));
	revise_rcpts(r, &n);
	assert_int_equal(n, RCPTS);
	revise_free(&r);
	free(rcpt);
	free(e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(read_before),
	    cmocka_unit_test(many_recipients), cmocka_unit_test(one_header),
	    cmocka_unit_test(values), cmocka_unit_test(all_or_none), cmocka_unit_test(bodies),
	    cmocka_unit_test(files), cmocka_unit_test(odd_messages), cmocka_unit_test(envelope),
	    cmocka_unit_test(stays_where_it_is), cmocka_unit_test(many)};

	return cmocka_run_group_tests_name("revise", tests, NULL, NULL);
}
