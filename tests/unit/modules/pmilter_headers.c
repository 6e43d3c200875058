/* SPDX-License-Identifier: BSD-2-Clause */
/* pmilter_headers: what its options make of a mail, by the edits that the server would make. */
#include "mail/revise.h"
#include "pmilter_fix.h"
#include "threads.h"

#include <sys/stat.h>

/* A module with options and, in place of @S and @R, files of rows. */
struct made {
	const char *options, *rows, *in, *out;
	const char *envelope; /* edits of it: "+x", "-x", "=x" */
};

static char files[2][64];
static struct threads threads;

static void write_file(char *path, const char *rows)
{
	FILE *f;
	int fd;

	strcpy(path, "/tmp/m1-rows.XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	f = fdopen(fd, "w");
	fputs(rows, f);
	fclose(f);
}

static struct pf *open_with(const char *options, const char *rows)
{
	char text[1000];
	size_t n = 0;
	struct pf *f;

	write_file(files[0], rows ? rows : "");
	for (const char *p = options; *p; p++) {
		if (*p == '@' && p[1] == 'F')
			n += (size_t)snprintf(text + n, sizeof(text) - n, "\"%s\"", files[0]);
		else
			text[n++] = *p;
		p += *p == '@' && p[1] == 'F';
	}
	text[n] = '\0';
	f = pf_open("pmilter_headers", text);
	unlink(files[0]);
	return f;
}

static void envelope_text(struct revise *v, char *out, size_t size)
{
	unsigned n;
	const struct meta1_pm_edit *e = revise_envelope(v, &n);
	size_t len = 0;

	*out = '\0';
	for (unsigned i = 0; i < n; i++)
		len += (size_t)snprintf(out + len, size - len, "%s%c%.*s", i ? " " : "",
		    e[i].kind == META1_PM_ADD_RCPT   ? '+'
		    : e[i].kind == META1_PM_DEL_RCPT ? '-'
						     : '=',
		    (int)e[i].value.len, (const char *)e[i].value.data);
}

static void flat(const struct meta1_pm_message *m, char *out, size_t size)
{
	size_t n = 0;

	for (uint32_t i = 0; i < m->nextent; i++) {
		assert_true(n + m->extent[i].len < size);
		memcpy(out + n, m->extent[i].mem, (size_t)m->extent[i].len);
		n += (size_t)m->extent[i].len;
	}
	out[n] = '\0';
}

static void ask_end(struct ps *s, const struct meta1_pm_message *m, enum meta1_status wanted)
{
	struct meta1_buf rcpt[2] = {buf_str("bob@out.example"), buf_str("sales@old.example")};
	struct meta1_pm_ask ask = {
	    .size = sizeof(ask), .stage = META1_PM_END, .msg = m, .rcpt = rcpt, .nrcpt = 2};

	s->about.from = buf_str("Ann@host.Inner.Example");
	s->about.taid = "S1";
	ps_put(s, &ask);
	pf_until(s->f, &s->answers, 1);
	if (s->st != wanted)
		fail_msg("%d: %s", (int)s->st, s->text);
}

static const struct made rows[] = {
    {"remove = { x-spam-*, Subject };", NULL,
	"X-Spam: 1\r\nSubject: a\r\n b\r\nTo: x\r\nx-SPAM-Score:5\r\nX-Spam-Level: *\r\n"
	"Subject : c\r\n\r\nbody\r\n",
	"X-Spam: 1\r\nTo: x\r\n\r\nbody\r\n", ""},
    {"add = { \"X-A: 1\", \"X-B:two words\" }; prepend = \"X-P: ${client} ${id}${none}\";", NULL,
	"To: x\r\n\r\nbody\r\n",
	"X-P: 192.0.2.7 S1${none}\r\nTo: x\r\nX-A: 1\r\nX-B: two words\r\n\r\nbody\r\n", ""},
    {"set = \"X-A: new\"; add_missing = { \"TO: none\", \"X-C: ${user}c\" };", NULL,
	"x-a: 1\r\nTo: x\r\nX-A: 2\r\n\r\n", "To: x\r\nX-A: new\r\nX-C: c\r\n\r\n", ""},
    {"sender_file = @F;",
	"ann@host.inner.example ann.lee@example.org\ninner.example example.org\n"
	".inner.example @example.org\n",
	"From: \"Ann@inner.example\" <ann@HOST.inner.example>\r\nTo: c@inner.example\r\n"
	"Sender: (x@inner.example)\r\n\t bob@inner.example (so)\r\n"
	"Reply-To:a@x.inner.example, Team: b@inner.example,<@r,@s:c@inner.example>;\r\n\r\n"
	"a@inner.example\r\n",
	"From: \"Ann@inner.example\" <ann.lee@example.org>\r\nTo: c@inner.example\r\n"
	"Sender: (x@inner.example)\r\n\t bob@example.org (so)\r\n"
	"Reply-To:a@example.org, Team: b@example.org,<@r,@s:c@example.org>;\r\n\r\n"
	"a@inner.example\r\n",
	"=ann.lee@example.org"},
    {"recipient_file = @F; recipient_headers = To;", "sales@old.example shop@new.example\n",
	"To: a@old.example, Sales@OLD.example\r\nCc: sales@old.example\r\n\r\n",
	"To: a@old.example, shop@new.example\r\nCc: sales@old.example\r\n\r\n",
	"-sales@old.example +shop@new.example"},
    /* a mail without a body, a line that is no field, addresses that are none */
    {"sender_file = @F; remove = X-No;", "# none\n\ninner.example example.org\n",
	"no field\r\nFrom: @inner.example, a@, \"unclosed@inner.example\r\n", NULL, ""},
    /* names in Unicode are one with their A-labels; a name that is like its key stays */
    {"sender_file = @F;",
	"b\xc3\xbc"
	"cher.example  books.example\n",
	"From: a@xn--bcher-kva.example, \xc3\xbc@B\xc3\xbc"
	"cher.example\r\n\r\n",
	"From: a@books.example, \xc3\xbc@books.example\r\n\r\n", ""},
};

static void mails_are_edited(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct pf *f = open_with(rows[i].options, rows[i].rows);
		struct ps s;
		struct meta1_extent e;
		struct meta1_pm_message m = ps_message(&e, rows[i].in);
		struct revise *v = revise_new(&m);
		char out[2000], env[200];

		if (!f)
			fail_msg("%zu: %s", i, pf_why.text);
		ps_begin(f, &s);
		ask_end(&s, &m, META1_OK);
		assert_int_equal(revise_apply(v, s.v->edit, s.v->nedit, NULL, &pf_why), 0);
		flat(revise_message(v), out, sizeof(out));
		assert_string_equal(out, rows[i].out ? rows[i].out : rows[i].in);
		envelope_text(v, env, sizeof(env));
		assert_string_equal(env, rows[i].envelope);
		revise_free(&v);
		ps_close(&s);
		pf_free(&f);
	}
}

/* The same message in memory up to at, and from there on in a file. */
static struct meta1_pm_message in_file(struct meta1_extent e[2], const char *text, size_t at)
{
	struct meta1_pm_message m = ps_message(&e[0], text);
	size_t n = strlen(text);
	FILE *o = tmpfile();

	fwrite("##", 1, 2, o);
	fwrite(text + at, 1, n - at, o);
	fflush(o);
	e[0].len = at;
	e[1] = (struct meta1_extent){.fd = dup(fileno(o)), .off = 2, .len = n - at};
	m.nextent = 2;
	fclose(o);
	return m;
}

static void put_end(struct ps *s, const struct meta1_pm_message *m)
{
	char one[] = "bob@out.example", two[] = "sales@old.example";
	struct meta1_buf rcpt[2] = {buf_str(one), buf_str(two)};
	struct meta1_pm_ask ask = {
	    .size = sizeof(ask), .stage = META1_PM_END, .msg = m, .rcpt = rcpt, .nrcpt = 2};

	s->about.from = buf_str("Ann@host.Inner.Example");
	s->about.taid = "S1";
	ps_put(s, &ask);
	memset(one, '#', sizeof(one) - 1); /* what is asked is ours only during the call */
	memset(two, '#', sizeof(two) - 1);
	memset(rcpt, 0, sizeof(rcpt));
}

/* A header that lies in a file is read by a worker thread, and no turn of the loop waits for it. */
static void a_header_in_a_file_is_edited(void **state)
{
	(void)state;
	for (size_t k = 0; k < 3 * ARRAY_LEN(rows); k++) {
		const struct made *row = &rows[k / 3];
		size_t at = k % 3 == 0 ? 0 : k % 3 == 1 ? 1 : 5;
		struct pf *f = open_with(row->options, row->rows);
		struct meta1_extent e[2], whole;
		struct meta1_pm_message m = in_file(e, row->in, at),
					plain = ps_message(&whole, row->in);
		struct revise *v = revise_new(&plain);
		char out[2000], env[200];
		struct ps s;

		ps_begin(f, &s);
		threads_stop(&threads, f->host.work);
		put_end(&s, &m);
		for (int i = 0; i < 20; i++)
			pf_turn(f);
		assert_int_equal(s.answers, 0);
		threads_go(&threads, f->host.loop);
		pf_until(f, &s.answers, 1);
		if (s.st != META1_OK)
			fail_msg("%zu: %s", k, s.text);
		assert_int_equal(revise_apply(v, s.v->edit, s.v->nedit, NULL, &pf_why), 0);
		flat(revise_message(v), out, sizeof(out));
		assert_string_equal(out, row->out ? row->out : row->in);
		envelope_text(v, env, sizeof(env));
		assert_string_equal(env, row->envelope);
		revise_free(&v);
		ps_close(&s);
		close(e[1].fd);
		pf_free(&f);
	}
}

/* Who asked goes away while it is read; and a file that is shorter than the message. */
static void a_header_that_nobody_waits_for(void **state)
{
	struct pf *f = open_with("remove = X-No;", NULL);
	struct meta1_extent e[2];
	struct meta1_pm_message m = in_file(e, "To: x\r\n\r\nbody\r\n", 2);
	struct ps s;

	(void)state;
	ps_begin(f, &s);
	threads_stop(&threads, f->host.work);
	put_end(&s, &m);
	ps_close(&s);
	threads_go(&threads, f->host.loop);
	assert_int_equal(s.answers, 0);
	assert_int_equal(ftruncate(e[1].fd, 4), 0);
	ps_begin(f, &s);
	put_end(&s, &m);
	pf_until(f, &s.answers, 1);
	assert_int_equal(s.st, META1_PERMFAIL);
	assert_string_equal(s.text, "the message is shorter than it was");
	ps_close(&s);
	close(e[1].fd);
	pf_free(&f);
}

static void bad_options_are_refused(void **state)
{
	static const struct made bad[] = {
	    {.options = "add = \"no colon\";", .out = "expected \"Name: value\""},
	    {.options = "set = \"X Y: 1\";", .out = "a field's name has a blank"},
	    {.options = "sender_file = @F;",
		.rows = "a b\nc",
		.out = ":2: expected what it becomes"},
	    {.options = "sender_file = @F;",
		.rows = "a <b>",
		.out = ":1: expected what it becomes"},
	    {.options = "sender_file = @F;", .rows = "a@b c@d@e", .out = ":1: expected what"},
	    {.options = "sender_file = @F;", .rows = "@b c", .out = ":1: the key is no address"},
	    {.options = "sender_file = @F;", .rows = "b c\nB d", .out = "b stands there twice"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct pf *f = open_with(bad[i].options, bad[i].rows);

		if (f || !strstr(pf_why.text, bad[i].out))
			fail_msg("%zu: %s", i, f ? "taken" : pf_why.text);
	}
}

/* A header of 1 MiB and more, or of very many fields of one name, costs little and is no crash. */
static void headers_of_the_worst_kind(void **state)
{
	struct pf *f = open_with("remove = X;", NULL);
	size_t size = (1u << 20) + 100, n = 0;
	char *text = base_alloc(size + 1);
	struct meta1_extent e;
	struct meta1_pm_message m;
	struct ps s;

	(void)state;
	while (n < 4000 * 5)
		n += (size_t)sprintf(text + n, "%s", n % 10 ? "X: \r\n" : "Y: \r\n");
	m = ps_message(&e, text);
	ps_begin(f, &s);
	ask_end(&s, &m, META1_OK);
	assert_int_equal(s.v->nedit, 2000);
	ps_close(&s);
	memset(text, 'y', size);
	memcpy(text, "Y: ", 3);
	m = ps_message(&e, text);
	ps_begin(f, &s);
	ask_end(&s, &m, META1_PERMFAIL);
	assert_string_equal(s.text, "the header is larger than 1 MiB");
	ps_close(&s);
	for (n = 0; n < 5000 * 5; n += 5)
		memcpy(text + n, "X: \r\n", 6);
	m = ps_message(&e, text);
	ps_begin(f, &s);
	ask_end(&s, &m, META1_PERMFAIL);
	assert_string_equal(s.text, "more than 4096 edits would be to make");
	ps_close(&s);
	for (n = 0; n < 21000 * 5; n += 5)
		memcpy(text + n, "Y: \r\n", 6);
	m = ps_message(&e, text);
	ps_begin(f, &s);
	ask_end(&s, &m, META1_PERMFAIL);
	assert_string_equal(s.text, "the header has more than 20,000 fields");
	ps_close(&s);
	free(text);
	pf_free(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(mails_are_edited),
	    cmocka_unit_test(a_header_in_a_file_is_edited),
	    cmocka_unit_test(a_header_that_nobody_waits_for),
	    cmocka_unit_test(bad_options_are_refused),
	    cmocka_unit_test(headers_of_the_worst_kind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
