/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Unit test of core/smtps/filter.c, judged.c and image.c by whole dialogs: what filters are told at
 * each stage, what becomes of each answer, the message that they see and what is stored of it.
 */
#include "../until.h"
#include "dialog_chain.h"
#include "lib/netlist.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define ALL  0xffu
#define TEXT "Subject: t\r\n\r\nhi\r\n"

static const struct meta1_buf two[] = {
    {.data = "line one\r\n250 ok", .len = 16}, {.data = "line \0two\xff", .len = 10}};
#define REFUSE(code, n)                                                                            \
	{                                                                                          \
		.action = META1_PM_REFUSE, .smtp = code, .dsn = "5.7.9", .line = two, .nline = n,  \
		.by = "f"                                                                          \
	}

static void run(struct dialog *d, struct dialog_chain *c, const char *text, size_t len)
{
	dialog_open(d);
	dialog_chain(d, c);
	dialog_connect(d);
	dialog_say(d, text, len, 0);
	dialog_turns(d, 30);
}

static void done(struct dialog *d, struct dialog_chain *c)
{
	dialog_hang_up(d);
	dialog_turns(d, 4);
	assert_int_equal(c->begun, c->ended);
	dialog_close(d);
	dialog_chain_free(c);
}

static void told(void **state)
{
	struct dialog_chain c = {.wants = ALL};
	struct dialog d;

	(void)state;
	run(&d, &c,
	    S(HI "XYZZY  now\r\nMAIL FROM:<a@b> SIZE=20 BODY=8BITMIME\r\nRCPT TO:<x@y> "
		 "NOTIFY=NEVER\r\nRCPT TO:<bad@y>\r\nRCPT TO:<drop@y>\r\nDATA\r\n" BODY
		 "MAIL FROM:<>\r\nRSET\r\nNOOP\r\n"));
	assert_string_equal(dialog_codes(&d), "220 250 500 250 250 550 250 354 250 250 250 250 ");
	assert_string_equal(c.told,
	    "connect: helo:c.test unknown:XYZZY  now mail:a@b[SIZE=20][BODY=8BITMIME] "
	    "rcpt:x@y[NOTIFY=NEVER] refused:bad@y=550 5.1.1 no such user data: end: mail: ");
	assert_string_equal(c.content, TEXT);
	assert_int_equal(c.header, 14);
	assert_string_equal(c.rcpts, "x@y ");
	assert_int_equal(c.resets, 2);
	assert_int_equal(d.named, 1); /* before CONNECT */
	assert_int_equal(d.nmsg, 1);
	assert_non_null(strstr(d.msg[0].data, "Received: from c.test"));
	assert_string_equal(d.msg[0].data + d.msg[0].len - strlen(TEXT), TEXT);
	assert_int_equal(d.msg[0].bytes, d.msg[0].len);
	done(&d, &c);
}

/* Nobody is asked: no call, no image, and what is stored is the same. */
static void nobody(void **state)
{
	struct dialog_chain c = {.wants = ALL, .nobody = true}, few = {.wants = META1_PM_RCPT};
	struct dialog d;
	char *plain;

	(void)state;
	dialog_open(&d);
	dialog_run(&d, S(FULL), 0);
	plain = base_strdup(d.msg[0].data);
	dialog_close(&d);
	run(&d, &c, S(FULL));
	assert_string_equal(c.told, "");
	assert_int_equal(c.begun + c.resets, 0);
	assert_string_equal(d.msg[0].data, plain);
	done(&d, &c);
	run(&d, &few, S(FULL));
	assert_string_equal(few.told, "rcpt:x@y ");
	assert_int_equal(d.named, 0); /* nobody wants to hear of the client */
	assert_string_equal(d.msg[0].data, plain);
	done(&d, &few);
	free(plain);
}

/* Conditions look at what the session knows, whether or not anybody was asked before. */
static void known(void **state)
{
	struct dialog_chain c = {.wants = 0};
	struct dialog d;

	(void)state;
	run(&d, &c, S(FULL "MAIL FROM:<c@d>\r\nRCPT TO:<x@y>\r\nBDAT 2 LAST\r\n\r\n"));
	assert_int_equal(d.nmsg, 2);
	assert_string_equal(c.wanted, "<a@b> id; <c@d> id; ");
	assert_string_equal(c.told, "");
	done(&d, &c);
}

struct refusal {
	uint32_t at;
	struct smtps_answer answer;
	const char *text, *codes;
	unsigned nmsg;
};
#define AGAIN ENV "DATA\r\n" BODY
static const struct refusal refusals[] = {
    {META1_PM_CONNECT, REFUSE(554, 2), HI, "554 ", 0},
    {META1_PM_CONNECT, REFUSE(421, 1), HI, "421 ", 0},
    {META1_PM_HELO, REFUSE(550, 1), HI ENV "NOOP\r\n", "220 550 503 503 250 ", 0},
    {META1_PM_MAIL, REFUSE(550, 1), HI ENV "NOOP\r\n", "220 250 550 503 250 ", 0},
    {META1_PM_MAIL, REFUSE(421, 1), HI ENV "NOOP\r\n", "220 250 421 ", 0},
    {META1_PM_RCPT, REFUSE(550, 1), HI ENV "DATA\r\nNOOP\r\n", "220 250 250 550 554 250 ", 0},
    {META1_PM_DATA, REFUSE(450, 1), HI ENV "DATA\r\nNOOP\r\nRCPT TO:<x@y>\r\n",
	"220 250 250 250 450 250 503 ", 0},
    {META1_PM_DATA, REFUSE(450, 1), HI ENV "BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n",
	"220 250 250 250 450 250 ", 0},
    {META1_PM_DATA, REFUSE(421, 1), HI ENV "BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n",
	"220 250 250 250 421 ", 0},
    {META1_PM_END, REFUSE(554, 2), FULL "NOOP\r\n", "220 250 250 250 354 554 250 ", 0},
    {META1_PM_END, REFUSE(421, 0), FULL "NOOP\r\n", "220 250 250 250 354 421 ", 0},
    {META1_PM_END, REFUSE(99, 0), FULL "NOOP\r\n", "220 250 250 250 354 550 250 ", 0},
    {META1_PM_END, REFUSE(550, 1), HI ENV "BDAT 3\r\nabcBDAT 2 LAST\r\n\r\nNOOP\r\n",
	"220 250 250 250 250 550 250 ", 0},
    {META1_PM_UNKNOWN, REFUSE(550, 1), "XYZZY\r\n" FULL, "220 550 250 250 250 354 250 ", 1},
    {META1_PM_REFUSED, REFUSE(421, 1), HI "MAIL FROM:<a@b>\r\nRCPT TO:<bad@y>\r\nNOOP\r\n",
	"220 250 250 550 250 ", 0},
    {META1_PM_MAIL, {.action = META1_PM_DISCARD}, FULL, "220 250 250 250 354 250 ", 0},
    {META1_PM_RCPT, {.action = META1_PM_DISCARD}, FULL, "220 250 250 250 354 250 ", 0},
    {META1_PM_DATA, {.action = META1_PM_DISCARD}, FULL, "220 250 250 250 354 250 ", 0},
    {META1_PM_DATA, {.action = META1_PM_DISCARD}, HI ENV "BDAT 3\r\nabcBDAT 0 LAST\r\n",
	"220 250 250 250 250 250 ", 0},
    {META1_PM_END, {.action = META1_PM_DISCARD}, FULL AGAIN,
	"220 250 250 250 354 250 250 250 354 250 ", 0},
};

static void refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
		const struct refusal *r = &refusals[i];
		struct dialog_chain c = {.wants = ALL, .at = r->at, .answer = r->answer};
		struct dialog d;

		run(&d, &c, r->text, strlen(r->text));
		if (strcmp(dialog_codes(&d), r->codes) != 0)
			fail_msg("row %zu: expected %s found %s", i, r->codes, dialog_codes(&d));
		assert_int_equal(d.nmsg, r->nmsg);
		assert_null(memchr(d.out, '\0', d.nout));
		if (r->answer.nline == 2)
			assert_non_null(strstr(d.out, "-5.7.9 line one??250 ok\r\n"));
		if (r->answer.nline == 2)
			assert_non_null(strstr(d.out, " 5.7.9 line ?two?\r\n"));
		done(&d, &c);
		assert_int_equal(d.begun, d.nmsg + d.aborted);
	}
}

/* A recipient that a filter refuses is not there, those before and behind it are. */
static void one_of_three(void **state)
{
	struct dialog_chain c = {.wants = META1_PM_RCPT | META1_PM_END,
	    .at = META1_PM_RCPT,
	    .answer = REFUSE(550, 1),
	    .hang = true};
	struct dialog d;

	(void)state;
	run(&d, &c, S(HI "MAIL FROM:<a@b>\r\nRCPT TO:<one@y>\r\n"));
	c.at = 0;
	dialog_chain_answer(&c);
	dialog_say(&d, S("RCPT TO:<two@y> NOTIFY=NEVER\r\n"), 0);
	c.at = META1_PM_RCPT;
	dialog_chain_answer(&c);
	c.at = 0;
	dialog_say(&d, S("RCPT TO:<three@y>\r\n"), 0);
	dialog_chain_answer(&c);
	dialog_say(&d, S("DATA\r\n" BODY), 0);
	dialog_turns(&d, 3);
	assert_string_equal(c.rcpts, "one@y three@y ");
	assert_string_equal(c.about, "192.0.2.1 c.test id <a@b> 2 1");
	dialog_chain_answer(&c);
	dialog_turns(&d, 6);
	assert_string_equal(dialog_codes(&d), "220 250 250 250 550 250 354 250 ");
	assert_string_equal(d.msg[0].rcpts, "one@y three@y ");
	done(&d, &c);
}

struct edit {
	const char *content, *from, *to;
	const char *want; /* what is stored behind our Received line */
	const char *top;  /* and what is before it */
	uint64_t header;
};
static const struct edit edits[] = {
    {"Subject: t\r\n\r\nhi\r\n", NULL, NULL, "Subject: t\r\n\r\nhi\r\n", "", 14},
    /* dots are there as the client meant them, in every form */
    {"A: b\r\n\r\n..\r\n...x\r\n", NULL, NULL, "A: b\r\n\r\n..\r\n...x\r\n", "", 8},
    {"A: b\r\n\r\nhi\r\n", "hi", ".\r\n.hi", "A: b\r\n\r\n..\r\n..hi\r\n", "", 8},
    /* a field put before all: our line stands below it */
    {"A: b\r\n\r\nhi\r\n", "A: b", "Z: z\r\nA: b", "\r\nhi\r\n", "", 8},
    /* another one is changed, or a bare LF comes in: mended */
    {"A: b\r\nC: d\r\n\r\nhi\r\n", "d\r\n", "e\r\n", "A: b\r\nC: e\r\n\r\nhi\r\n", "", 14},
    {"A: b\r\n\r\nhi\r\n", "hi", "h\ni", "A: b\r\n\r\nh\r\ni\r\n", "", 8},
    {"A: b\r\n\r\nhi\r\n", "hi\r\n", "hi", "A: b\r\n\r\nhi\r\n", "", 8},
    /* no header, no body, neither; what is no field ends a header, and an empty line says so */
    {"hello\r\nA: b\r\n", NULL, NULL, "\r\nhello\r\nA: b\r\n", "", 2},
    {"A: b\r\nno field\r\n\r\nhi\r\n", NULL, NULL, "A: b\r\n\r\nno field\r\n\r\nhi\r\n", "", 8},
    {"A: b\r\n c\r\n", NULL, NULL, "A: b\r\n c\r\n", "", 10},
    {"\r\nhi\r\n", NULL, NULL, "\r\nhi\r\n", "", 2},
    {"", NULL, NULL, "", "", 0},
    {" A: b\r\n", NULL, NULL, "\r\n A: b\r\n", "", 2},
    {"A\t: b\r\n\r\n", NULL, NULL, "A\t: b\r\n\r\n", "", 9},
};

static void edited(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_LEN(edits); i++) {
		const struct edit *e = &edits[i / 2];
		struct dialog_chain c = {
		    .wants = META1_PM_END, .at = META1_PM_END, .from = {e->from, e->to}};
		char text[1024];
		struct dialog d;
		const char *end;

		snprintf(text, sizeof(text), HI ENV "DATA\r\n%s.\r\nNOOP\r\n", e->content);
		dialog_open(&d);
		dialog_chain(&d, &c);
		d.more = i % 2; /* every write says that there is no room */
		dialog_connect(&d);
		dialog_say(&d, text, strlen(text), i % 2);
		dialog_turns(&d, 30);
		assert_string_equal(dialog_codes(&d), "220 250 250 250 354 250 250 ");
		assert_int_equal(c.header, e->header);
		end = d.msg[0].data + d.msg[0].len - strlen(e->want);
		if (d.msg[0].len < strlen(e->want) || strcmp(end, e->want) != 0)
			fail_msg("row %zu: expected %s found %s", i / 2, e->want, d.msg[0].data);
		assert_int_equal(d.msg[0].flags & META1_M_STUFFED,
		    strstr(e->want, "\n.") != NULL ? META1_M_STUFFED : 0);
		done(&d, &c);
	}
}

/* What is stored counts as if it had come so, in the envelope too. */
static void envelope(void **state)
{
	static const struct meta1_pm_edit edit[] = {
	    {.kind = META1_PM_DEL_RCPT, .value = {.data = "x@Y", .len = 3}},
	    {.kind = META1_PM_ADD_RCPT, .value = {.data = "n@z", .len = 3}},
	    {.kind = META1_PM_ADD_RCPT, .value = {.data = "n@z", .len = 3}},
	    {.kind = META1_PM_SENDER, .value = {.data = "s@t", .len = 3}}};
	static const struct {
		struct meta1_pm_edit edit;
		const char *codes;
	} one[] = {
	    {{.kind = META1_PM_ADD_RCPT, .value = {.data = "\xc3\xa9@b", .len = 4}}, "250 250 "},
	    {{.kind = META1_PM_SENDER}, "250 250 "},
	    {{.kind = META1_PM_DEL_RCPT, .value = {.data = "X@y", .len = 3}}, "250 250 "},
	    {{.kind = META1_PM_DEL_RCPT, .value = {.data = "x@y", .len = 3}}, "250 250 "}};
	struct dialog_chain c = {.wants = META1_PM_END,
	    .at = META1_PM_END,
	    .answer = {.edit = edit, .nedit = ARRAY_LEN(edit), .hold = "why\n"}};
	struct dialog d;

	(void)state;
	run(&d, &c,
	    S(HI
		"MAIL FROM:<a@b>\r\nRCPT TO:<x@y> NOTIFY=NEVER\r\nRCPT TO:<w@y>\r\nDATA\r\n" BODY));
	assert_string_equal(d.msg[0].rcpts, "w@y n@z ");
	assert_string_equal(d.msg[0].from, "s@t");
	assert_true(d.msg[0].flags & META1_M_HOLD);
	assert_null(strstr(d.msg[0].data, "\tfor <"));
	done(&d, &c);
	for (size_t i = 0; i < ARRAY_LEN(one); i++) {
		struct dialog_chain k = {.wants = META1_PM_END,
		    .at = META1_PM_END,
		    .answer = {.edit = &one[i].edit, .nedit = 1}};
		char want[64];

		run(&d, &k, S(FULL "NOOP\r\n"));
		snprintf(want, sizeof(want), "220 250 250 250 354 %s", one[i].codes);
		assert_string_equal(dialog_codes(&d), want);
		assert_int_equal(d.nmsg, i <= 2);
		if (i == 0) /* it is one of RFC 6531 now */
			assert_true(d.msg[0].flags & META1_M_SMTPUTF8);
		done(&d, &k);
	}
}

static void limits(void **state)
{
	static char big[1 << 20];
	struct dialog_chain c = {.wants = META1_PM_END, .at = META1_PM_END, .from = {"hi", big}};
	struct dialog d;

	(void)state;
	memset(big, 'x', 65536 + 65536); /* the limit, and what filters may add */
	run(&d, &c, S(FULL));
	assert_string_equal(dialog_codes(&d), "220 250 250 250 354 552 ");
	done(&d, &c);
	memset(big, 0, sizeof(big));
	for (int i = 0; i < 31; i++)
		strcat(big, "Received: x\r\n");
	strcat(big, "Subject: t");
	c = (struct dialog_chain){
	    .wants = META1_PM_END, .at = META1_PM_END, .from = {"Subject: t", big}};
	run(&d, &c, S(FULL));
	assert_string_equal(dialog_codes(&d), "220 250 250 250 354 554 ");
	done(&d, &c);
	c = (struct dialog_chain){
	    .wants = META1_PM_END, .at = META1_PM_END, .from = {"hi", "\xc3\xa9"}};
	run(&d, &c, S(HI ENV "DATA\r\nReceived: a\r\nMessage-ID:  <1@x>\r\n\r\nhi\r\n.\r\n"));
	assert_true(d.msg[0].flags & META1_M_8BIT);
	assert_int_equal(c.hops, 1);
	assert_string_equal(c.msgid, "<1@x>");
	done(&d, &c);
}

/* While a filter is asked: the client goes, the server stops, the store fails. */
static void waiting(void **state)
{
	static const char *const ups[] = {"", HI, HI "MAIL FROM:<a@b>\r\n", HI ENV,
	    HI ENV "DATA\r\n", FULL, HI ENV "BDAT 4 LAST\r\nhi\r\n"};
	static const uint32_t stages[] = {META1_PM_CONNECT, META1_PM_HELO, META1_PM_MAIL,
	    META1_PM_RCPT, META1_PM_DATA, META1_PM_END, META1_PM_END};

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_LEN(ups); i++) {
		struct dialog_chain c = {.wants = stages[i / 2], .hang = true};
		struct dialog d;

		run(&d, &c, ups[i / 2], strlen(ups[i / 2]));
		assert_string_not_equal(c.told, "");
		if (i % 2) {
			d.srv.stopping = true;
			smtps_session_stop_all(&d.srv);
			dialog_turns(&d, 4);
			assert_true(d.eof);
			assert_non_null(strstr(d.out, "421 4.3.2"));
		} else { /* who closed may have said all it wants to say */
			dialog_hang_up(&d);
			dialog_chain_answer(&c);
			dialog_turns(&d, 10);
		}
		assert_int_equal(d.nmsg, i % 2 == 0 && c.wants == META1_PM_END);
		if (d.client >= 0)
			dialog_hang_up(&d);
		assert_int_equal(c.ended, 1);
		dialog_close(&d);
		dialog_chain_free(&c);
	}
}

static void stopped_before_the_end(void **state)
{
	struct dialog_chain c = {.wants = META1_PM_END};
	struct dialog d;

	(void)state;
	run(&d, &c, S(HI ENV "DATA\r\nA: b\r\n"));
	d.srv.stopping = true;
	smtps_session_stop_all(&d.srv);
	dialog_say(&d, S("\r\nhi\r\n.\r\n"), 0);
	dialog_turns(&d, 5);
	assert_string_equal(dialog_codes(&d), "220 250 250 250 354 421 ");
	assert_string_equal(c.told, "");
	done(&d, &c);
}

static void no_store(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		struct dialog_chain c = {.wants = META1_PM_END};
		struct dialog d;

		dialog_open(&d);
		dialog_chain(&d, &c);
		d.fail_begin = i == 0;
		d.fail_write = i == 1;
		d.fail_commit = i == 2;
		dialog_connect(&d);
		if (i == 0) /* said before the content is sent */
			dialog_say(&d, S(HI ENV "DATA\r\nNOOP\r\n"), 0);
		else
			dialog_say(&d, S(FULL "NOOP\r\n"), 0);
		dialog_turns(&d, 10);
		assert_string_equal(dialog_codes(&d),
		    i == 0 ? "220 250 250 250 452 250 " : "220 250 250 250 354 452 250 ");
		assert_int_equal(d.nmsg, 0);
		done(&d, &c);
	}
}

/* Beyond 256 KiB it is in a file: all of it, in any cut, or 452. */
static void large(void **state)
{
	char dir[] = "/tmp/meta1-filter-XXXXXX", in[64];
	size_t n = 3u << 20, head;
	char *text = base_alloc(n + 64);

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(in, sizeof(in), "%s/in", dir);
	assert_int_equal(mkdir(in, 0700), 0);
	head = (size_t)sprintf(text, HI ENV "DATA\r\nA: b\r\n\r\n");
	for (size_t i = head; i < n; i += 8)
		memcpy(text + i, (i - head) % 640 == 632 ? "..zzzz\r\n" : "abcdef\r\n", 8);
	strcpy(text + head + (n - head) / 8 * 8, ".\r\nNOOP\r\n");
	for (int i = 0; i < 3; i++) {
		struct dialog_chain c = {.wants = META1_PM_END};
		struct dialog d;

		dialog_open(&d);
		d.gear.lim.message_size = 8 << 20;
		d.role.work = work_new(d.role.loop);
		d.role.host.qdir = i == 2 ? "/nowhere" : dir;
		d.more = i == 1 ? 3 : 0;
		dialog_chain(&d, &c);
		dialog_connect(&d);
		dialog_say(&d, text, strlen(text), 60000);
		LOOP_UNTIL(d.role.loop, (dialog_turns(&d, 1), strlen(dialog_codes(&d)) >= 28));
		assert_string_equal(dialog_codes(&d),
		    i == 2 ? "220 250 250 250 354 452 250 " : "220 250 250 250 354 250 250 ");
		if (i < 2) {
			const char *got = strstr(d.msg[0].data, "A: b\r\n");

			assert_int_equal(strlen(got), strlen(text) - head + 8 - 9);
			assert_memory_equal(got, text + head - 8, strlen(got));
			assert_int_equal(c.header, 8);
			assert_null(memmem(c.content, c.len, "\n..", 3));
		}
		dialog_hang_up(&d);
		dialog_turns(&d, 4);
		work_free(&d.role.work);
		dialog_close(&d);
		dialog_chain_free(&c);
	}
	free(text);
	rmdir(in);
	rmdir(dir);
}

/* Whoever XCLIENT speaks for is another client: filters are asked about him from the start. */
static void for_another(void **state)
{
	static const char *const trusted[] = {"192.0.2.1", NULL};
	struct dialog_chain c = {.wants = META1_PM_CONNECT | META1_PM_END};
	struct dialog d;

	(void)state;
	dialog_open(&d);
	d.gear.lim.xclient = netlist_new(trusted);
	dialog_chain(&d, &c);
	dialog_connect(&d);
	dialog_say(&d, S(HI "XCLIENT ADDR=192.0.2.9\r\n" FULL), 0);
	dialog_turns(&d, 30);
	assert_string_equal(dialog_codes(&d), "220 250 220 250 250 250 354 250 ");
	assert_string_equal(c.told, "connect: connect: end: ");
	assert_int_equal(c.begun, 2);
	assert_int_equal(c.ended, 1);
	netlist_free(&d.gear.lim.xclient);
	done(&d, &c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(told),
	    cmocka_unit_test(nobody),
	    cmocka_unit_test(known),
	    cmocka_unit_test(refused),
	    cmocka_unit_test(one_of_three),
	    cmocka_unit_test(edited),
	    cmocka_unit_test(envelope),
	    cmocka_unit_test(limits),
	    cmocka_unit_test(waiting),
	    cmocka_unit_test(stopped_before_the_end),
	    cmocka_unit_test(no_store),
	    cmocka_unit_test(large),
	    cmocka_unit_test(for_another),
	};

	dialog_quiet();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
