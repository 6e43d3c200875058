/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Unit test of core/smtps/chain.c: sessions and mails through filters that are scripted
 * (chain_unit.h): who is asked what, and one word and one mail of what they say.
 */
#include "chain_unit.h"

#include <time.h>
#include <unistd.h>

static struct meta1_pm_edit add_a = {.kind = META1_PM_ADD_HEADER,
				.name = {"A", 1},
				.value = {"1", 1}},
			    bad = {.kind = META1_PM_ADD_HEADER, .name = {"B C", 3}},
			    rcpt = {.kind = META1_PM_ADD_RCPT, .value = {"n@w.example", 11}};

/* ---- what is asked ---- */

static void the_way_of_a_mail(void **state)
{
	(void)state;
	start(1);
	assert_int_equal(says(META1_PM_CONNECT, NULL), META1_PM_CONTINUE);
	says(META1_PM_HELO, "c.example");
	for (int i = 0; i < 2; i++) {
		says(META1_PM_MAIL, "a@b");
		says(META1_PM_RCPT, "c@d");
		says(META1_PM_RCPT, "e@f");
		says(META1_PM_DATA, NULL);
		says(META1_PM_END, NULL);
		assert_null(f.a.extent);
		smtps_chain_reset(f.j);
	}
	smtps_chain_end(&f.j);
	calls("a:connect a:helo a:mail a:rcpt a:rcpt a:data a:end a.reset "
	      "a:mail a:rcpt a:rcpt a:data a:end a.reset a.end");
}

/* Only what it wants; what nobody wants is answered at once. */
static void wants(void **state)
{
	(void)state;
	script[0].wants = META1_PM_MAIL | META1_PM_END;
	script_line(0, 0, META1_PM_MAIL, SAYS, VERDICT(.wants = META1_PM_RCPT));
	start(1);
	assert_false(smtps_chain_wants(f.j, META1_PM_CONNECT));
	assert_true(smtps_chain_wants(f.j, META1_PM_END));
	question(META1_PM_CONNECT, NULL);
	assert_int_equal(f.answers, 1);
	question(META1_PM_MAIL, "a@b");
	assert_int_equal(f.answers, 0);
	turns();
	assert_int_equal(f.answers, 1);
	assert_false(smtps_chain_wants(f.j, META1_PM_END));
	assert_true(smtps_chain_wants(f.j, META1_PM_RCPT));
	smtps_chain_reset(f.j);
	calls("a:mail a.reset");
}

static void nobody(void **state)
{
	static const char *const other[] = {"submission", NULL};

	(void)state;
	script[0].wants = 0;
	f.set[1].listeners = other;
	start(2);
	assert_null(f.j);
	assert_int_equal(script[1].sessions, 0);
	calls("a.end");
}

static void accepts(void **state)
{
	(void)state;
	script_line(0, 0, META1_PM_HELO, SAYS, VERDICT(.action = META1_PM_ACCEPT));
	script_line(1, 0, META1_PM_MAIL, SAYS, VERDICT(.action = META1_PM_ACCEPT));
	start(2);
	says(META1_PM_HELO, "c.example");
	says(META1_PM_MAIL, "a@b");
	says(META1_PM_RCPT, "a@b");
	smtps_chain_reset(f.j);
	says(META1_PM_MAIL, "a@b");
	calls("a:connect b:connect a:helo b:helo b:mail b.reset b:mail");
}

/* ---- phases ---- */

static void phases(void **state)
{
	static const int32_t p[FILTERS] = {
	    FILTER_VERIFY, FILTER_JUDGE, FILTER_JUDGE, FILTER_MODIFY, FILTER_SIGN};

	(void)state;
	for (unsigned i = 0; i < FILTERS; i++) {
		f.set[i].phase = p[i];
		script[i].wants = META1_PM_RCPT | META1_PM_END;
		script_line(i, 0, META1_PM_END, SAYS, VERDICT(.nedit = 1, .edit = &add_a));
	}
	script[1].line[0].how = SAYS_LATER;
	start(FILTERS);
	says(META1_PM_RCPT, "a@b");
	calls("a:rcpt b:rcpt c:rcpt d:rcpt e:rcpt");
	question(META1_PM_END, NULL);
	turns();
	calls("a:end b:end c:end"); /* b is silent yet */
	script[1].line[0].how = SAYS;
	give(&script[1], &script[1].line[0], script[1].open);
	turns();
	calls("d:end e:end");
	assert_string_equal(script[0].header, "S: t\r\n\r\n");
	assert_string_equal(script[1].header, "S: t\r\nA: 1\r\n\r\n");
	assert_string_equal(script[2].header, "S: t\r\nA: 1\r\n\r\n");
	assert_string_equal(script[3].header, "S: t\r\nA: 1\r\nA: 1\r\nA: 1\r\n\r\n");
	assert_string_equal(script[4].header, "S: t\r\nA: 1\r\nA: 1\r\nA: 1\r\nA: 1\r\n\r\n");
	assert_int_equal(f.answers, 1);
	assert_non_null(f.a.extent);
}

/* What a group refuses the next does not hear of. */
static void refused_early(void **state)
{
	(void)state;
	f.set[1].phase = FILTER_SIGN;
	script_line(0, 0, META1_PM_END, SAYS, VERDICT(.action = META1_PM_REFUSE, .smtp = 451));
	start(2);
	says(META1_PM_MAIL, "a@b");
	f.calls[0] = '\0';
	assert_int_equal(says(META1_PM_END, NULL), 451);
	calls("a:end");
}

/* ---- merged ---- */

static void strictest(void **state)
{
	static const struct meta1_buf no = {"no", 2}, never = {"never", 5};
	const struct {
		struct meta1_pm_verdict a, b, c;
		int want;
		const char *by, *dsn;
	} t[] = {
	    {VERDICT(.action = 0), VERDICT(.action = 0), VERDICT(.hold = "odd"), 1000, "c", ""},
	    {VERDICT(.action = META1_PM_DISCARD), VERDICT(.hold = "odd"), VERDICT(.action = 0),
		META1_PM_DISCARD, "a", ""},
	    {VERDICT(.action = META1_PM_DISCARD),
		VERDICT(.action = META1_PM_REFUSE, .smtp = 451, .dsn = "4.2.2"),
		VERDICT(.action = META1_PM_REFUSE, .smtp = 452), 451, "b", "4.2.2"},
	    {VERDICT(.action = META1_PM_REFUSE, .smtp = 421),
		VERDICT(.action = META1_PM_REFUSE, .smtp = 553, .dsn = "4.2.2", .nline = 1,
		    .line = &never),
		VERDICT(.action = META1_PM_REFUSE, .smtp = 550, .nline = 1, .line = &no), 553, "b",
		"5.7.1"},
	    {VERDICT(.action = META1_PM_ACCEPT), VERDICT(.action = META1_PM_REFUSE),
		VERDICT(.action = 0), 550, "b", "5.7.1"},
	};

	(void)state;
	start(3);
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		script_line(0, 0, META1_PM_END, SAYS, t[i].a);
		script_line(1, 0, META1_PM_END, SAYS, t[i].b);
		script_line(2, 0, META1_PM_END, SAYS, t[i].c);
		assert_int_equal(says(META1_PM_END, NULL), t[i].want);
		assert_string_equal(f.a.by, t[i].by);
		assert_string_equal(f.a.dsn, t[i].dsn);
		if (t[i].want == 553)
			assert_ptr_equal(f.a.line, &never);
		smtps_chain_reset(f.j);
	}
}

/* An edit that cannot be made is a failure of its filter, and nothing of its list is made. */
static void half_edits(void **state)
{
	static struct meta1_pm_edit list[3];
	struct meta1_err err;
	char *text;

	(void)state;
	list[0] = add_a, list[1] = rcpt, list[2] = bad;
	script_line(0, 0, META1_PM_END, SAYS, VERDICT(.nedit = 3, .edit = list, .hold = "odd"));
	script_line(1, 0, META1_PM_END, SAYS, VERDICT(.nedit = 1, .edit = &add_a));
	start(2);
	assert_int_equal(says(META1_PM_END, NULL), 451);
	assert_string_equal(f.a.by, "a");
	assert_null(f.a.extent);
	smtps_chain_reset(f.j);
	f.set[0].fails = FAILURE_ACCEPT_BUT_RECONNECT;
	says(META1_PM_MAIL, "a@b"); /* a begins anew */
	assert_int_equal(says(META1_PM_END, NULL), META1_PM_CONTINUE);
	text = revise_read(f.a.extent, f.a.nextent, 14, &err);
	assert_string_equal(text, "S: t\r\nA: 1\r\n\r\n");
	free(text);
	assert_int_equal(f.a.nedit, 0);
	assert_null(f.a.hold);
	assert_int_equal(f.chain->filter[0].stats->count[CHAIN_C_FAILED], 2);
}

/* Of the envelope too each hears what those before left, and conditions hold for what was said. */
static void the_envelope_goes_on(void **state)
{
	static const char *const senders[] = {"b", NULL};
	static struct meta1_pm_edit list[] = {
	    {.kind = META1_PM_DEL_RCPT, .value = {"c@D.example", 11}},
	    {.kind = META1_PM_ADD_RCPT, .value = {"n@w.example", 11}},
	    {.kind = META1_PM_ADD_RCPT, .value = {"e@F.example", 11}},
	    {.kind = META1_PM_SENDER, .value = {"s@t", 3}}};
	static struct meta1_pm_edit back = {
	    .kind = META1_PM_DEL_RCPT, .value = {"n@w.example", 11}};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		f.set[i].phase = FILTER_MODIFY;
		f.set[i].senders = senders;
	}
	script_line(0, 0, META1_PM_END, SAYS, VERDICT(.nedit = 4, .edit = list));
	script_line(1, 0, META1_PM_END, SAYS, VERDICT(.nedit = 1, .edit = &back));
	start(3);
	says(META1_PM_MAIL, "a@b");
	says(META1_PM_RCPT, "c@d.example");
	assert_int_equal(says(META1_PM_END, NULL), META1_PM_CONTINUE);
	assert_string_equal(script[0].rcpts, "<a@b> c@d.example e@f.example");
	assert_string_equal(script[1].rcpts, "<s@t> e@f.example n@w.example");
	assert_string_equal(script[2].rcpts, "<s@t> e@f.example");
	assert_int_equal(f.a.nedit, 5);
	assert_int_equal(f.about.from.len, 3); /* as the client said */
	assert_memory_equal(f.about.from.data, "a@b", 3);
}

/* More recipients than there is room for: the failure of who adds them, and of its list alone. */
static void too_many_rcpts(void **state)
{
	static struct meta1_pm_edit list[ROOM + 1], two[2];
	static char addr[ROOM + 1][16];

	(void)state;
	for (int i = 0; i <= ROOM; i++) {
		snprintf(addr[i], sizeof(addr[i]), "r%d@w.example", i);
		list[i] =
		    (struct meta1_pm_edit){.kind = META1_PM_ADD_RCPT, .value = buf_str(addr[i])};
	}
	two[0] = (struct meta1_pm_edit){.kind = META1_PM_DEL_RCPT, .value = buf_str(addr[0])};
	two[1] = list[ROOM];
	for (unsigned i = 0; i < 3; i++)
		f.set[i].phase = FILTER_MODIFY;
	f.set[1].fails = FAILURE_ACCEPT_BUT_RECONNECT;
	script_line(0, 0, META1_PM_END, SAYS, VERDICT(.nedit = ROOM, .edit = list));
	script_line(1, 0, META1_PM_END, SAYS, VERDICT(.nedit = 1, .edit = &list[ROOM]));
	script_line(2, 0, META1_PM_END, SAYS, VERDICT(.nedit = 2, .edit = two));
	start(3);
	assert_int_equal(says(META1_PM_END, NULL), META1_PM_CONTINUE);
	assert_int_equal(f.a.nedit, ROOM + 2);
	assert_int_equal(f.chain->filter[1].stats->count[CHAIN_C_FAILED], 1);
	smtps_chain_reset(f.j);
	f.set[1].fails = FAILURE_REJECT;
	says(META1_PM_MAIL, "a@b"); /* it begins anew */
	assert_int_equal(says(META1_PM_END, NULL), 554);
	assert_string_equal(f.a.by, "b");
}

/* ---- content in files ---- */

/* A file without a name that has this text; the caller closes it. */
static int file_of(const char *text)
{
	FILE *t = tmpfile();
	int fd;

	assert_non_null(t);
	fputs(text, t);
	fflush(t);
	fd = dup(fileno(t));
	fclose(t);
	return fd;
}

static struct meta1_extent in_file;
static struct meta1_pm_edit replaced = {.kind = META1_PM_MESSAGE, .nextent = 1, .extent = &in_file};

static void wait_for_answer(void)
{
	LOOP_UNTIL(f.host.loop, f.answers > 0);
	assert_int_equal(f.answers, 1);
}

/* It is read by a worker thread: what the loop does meanwhile does not count. */
static void replaced_from_a_file(void **state)
{
	char *text;
	struct meta1_err err;
	int fd = file_of("N: 1\nM: 2\n\nnew\n");

	(void)state;
	in_file = (struct meta1_extent){.fd = fd, .len = 15};
	f.set[1].phase = FILTER_SIGN;
	script_line(0, 0, META1_PM_END, SAYS, VERDICT(.nedit = 1, .edit = &replaced));
	script_line(1, 0, META1_PM_END, SAYS, VERDICT(.nedit = 1, .edit = &add_a));
	start(2);
	says(META1_PM_MAIL, "a@b");
	question(META1_PM_END, NULL);
	wait_for_answer();
	close(fd); /* it is not needed any more */
	assert_string_equal(script[1].header, "N: 1\r\nM: 2\r\n\r\n");
	assert_non_null(f.a.extent);
	text = revise_read(f.a.extent, f.a.nextent, 25, &err);
	assert_non_null(text);
	text[25] = '\0';
	assert_string_equal(text, "N: 1\r\nM: 2\r\nA: 1\r\n\r\nnew\r\n");
	free(text);
}

/* The client, its session and the filter's file go away while it is read. */
static void gone_meanwhile(void **state)
{
	(void)state;
	script_line(0, 0, META1_PM_END, SAYS, VERDICT(.nedit = 1, .edit = &replaced));
	for (int i = 0; i < 20; i++) {
		int fd = file_of("N: 1\n\nnew\n");

		in_file = (struct meta1_extent){.fd = fd, .len = 10};
		start(1);
		says(META1_PM_MAIL, "a@b");
		question(META1_PM_END, NULL);
		for (int k = 0; k < 4 && f.j->reading == NULL; k++)
			loop_turn(f.host.loop, false);
		assert_non_null(f.j->reading);
		if (i % 2 == 0)
			smtps_chain_reset(f.j);
		else
			smtps_chain_end(&f.j);
		close(fd);
		assert_int_equal(f.answers, 0);
		smtps_chain_end(&f.j);
		smtps_chain_free(&f.chain);
		turns();
	}
}

/* Our disk is full: the mail waits, the filter is as well as before. */
static void no_room(void **state)
{
	static char big[REVISE_MENDED_MEM + 100];
	int fd;

	(void)state;
	memset(big, '\n', sizeof(big) - 1);
	fd = file_of(big);
	in_file = (struct meta1_extent){.fd = fd, .len = sizeof(big) - 1};
	f.set[0].fails = FAILURE_ABORT;
	script_line(0, 0, META1_PM_END, SAYS, VERDICT(.nedit = 1, .edit = &replaced));
	start(1);
	free(f.chain->folder);
	f.chain->folder = base_strdup("/proc"); /* nobody makes a file there */
	says(META1_PM_MAIL, "a@b");
	question(META1_PM_END, NULL);
	wait_for_answer();
	assert_int_equal(f.a.action, META1_PM_REFUSE);
	assert_int_equal(f.a.smtp, 452);
	assert_string_equal(f.a.dsn, "4.3.1");
	smtps_chain_reset(f.j);
	script[0].line[0].how = SAYS_NO_ROOM; /* it could not be kept by the module either */
	says(META1_PM_MAIL, "a@b");
	assert_int_equal(says(META1_PM_END, NULL), 452);
	smtps_chain_reset(f.j);
	script[0].line[0].stage = 0;
	says(META1_PM_MAIL, "a@b");
	assert_int_equal(says(META1_PM_END, NULL), META1_PM_CONTINUE);
	assert_int_equal(f.chain->filter[0].stats->count[CHAIN_C_FAILED], 0);
	close(fd);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, up, down)
int main(void)
{
	const struct CMUnitTest tests[] = {T(the_way_of_a_mail), T(wants), T(nobody), T(accepts),
	    T(phases), T(refused_early), T(strictest), T(half_edits), T(the_envelope_goes_on),
	    T(too_many_rcpts), T(replaced_from_a_file), T(gone_meanwhile), T(no_room)};

	return cmocka_run_group_tests_name("chain", tests, NULL, NULL);
}
