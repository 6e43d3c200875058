/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pmilter_milter through the module host: what a filter is told, and what becomes of what it says.
 * Real filters are in tests/system/test_milter.py.
 * over 500 lines: one protocol, told step by step.
 */
#include "pmilter_milter.h"
#include "threads.h"

static struct threads threads;

static void whole_mail(void **state)
{
	struct bench *b = bench_new(NULL);
	const struct meta1_pm_verdict *v;

	(void)state;
	at_end(b, ACT);
	SAY(b, 'p', "");
	SAY(b, 'h', "X-A\0one\n\ttwo\0");
	SAY(b, 'i', "\0\0\0\1X-B\0v\0");
	SAY(b, 'i', "\0\0\0\0X-C\0v\0");
	SAY(b, 'm', "\0\0\0\2Subject\0new\0");
	SAY(b, 'm', "\0\0\0\0To\0\0");
	SAY(b, '+', "<c@z.test>\0");
	SAY(b, '2', "<d@z.test>\0NOTIFY=NEVER\0");
	SAY(b, '-', "<b@y.test>\0");
	SAY(b, 'e', "<>\0");
	SAY(b, 'b', "new ");
	SAY(b, 'b', "body\r\n");
	SAY(b, 'q', "odd\x01\0");
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	v = b->v;
	assert_string_equal(v->hold, "odd?");
	assert_int_equal(v->nedit, 10);
	assert_int_equal(v->edit[0].kind, META1_PM_ADD_HEADER);
	assert_true(buf_eq(v->edit[0].name, str("X-A")));
	assert_true(buf_eq(v->edit[0].value, str("one\n\ttwo")));
	assert_int_equal(v->edit[0].flags, 0);
	assert_int_equal(v->edit[1].kind, META1_PM_INSERT_HEADER);
	assert_int_equal(v->edit[1].index, 0); /* our Received is number 0 */
	assert_int_equal(v->edit[2].index, 0);
	assert_int_equal(v->edit[3].kind, META1_PM_CHANGE_HEADER);
	assert_int_equal(v->edit[3].index, 2);
	assert_int_equal(v->edit[4].index, 1);
	assert_null(v->edit[4].value.data);
	assert_int_equal(v->edit[5].kind, META1_PM_ADD_RCPT);
	assert_true(buf_eq(v->edit[5].value, str("c@z.test")));
	assert_null(v->edit[5].param.data);
	assert_true(buf_eq(v->edit[6].param, str("NOTIFY=NEVER")));
	assert_int_equal(v->edit[7].kind, META1_PM_DEL_RCPT);
	assert_int_equal(v->edit[8].kind, META1_PM_SENDER);
	assert_int_equal(v->edit[8].value.len, 0);
	assert_int_equal(v->edit[9].kind, META1_PM_BODY);
	assert_int_equal(v->edit[9].nextent, 2);
	assert_memory_equal(v->edit[9].extent[1].mem, "body\r\n", 6);
	bench_free(&b);
}

/* Values byte for byte. */
static void fields(void **state)
{
	static const char text[] =
	    "A: one\r\nB:two\r\nC:  three \r\n\tmore\r\n \r\nd :\r\nE: \xe4\r\n\r\n";
	static const struct {
		const char *with, *without; /* LEADSPC */
		size_t nwith, nwithout;
	} row[] = {
#define ROW(a, c) {a, c, sizeof(a) - 1, sizeof(c) - 1}
	    ROW("A\0 one\0", "A\0one\0"), ROW("B\0two\0", "B\0two\0"),
	    ROW("C\0  three \n\tmore\n \0", "C\0 three \n\tmore\n \0"), ROW("d\0\0", "d\0\0"),
	    ROW("E\0 \xe4\0", "E\0\xe4\0")};

	(void)state;
	for (uint32_t lead = 0; lead < 2; lead++)
		for (size_t cut = 0; cut < sizeof(text) - 1; cut += 7) {
			struct bench *b = bench_new(NULL);
			struct meta1_extent e[2];
			struct meta1_pm_message m = message(e, text, sizeof(text) - 1, cut);

			up_to_end(b, 6, ACT, lead ? 0x100000 : 0);
			ask_end(b, &m);
			for (size_t i = 0; i < LEN(row); i++) {
				expect(b, 'L', lead ? row[i].with : row[i].without,
				    lead ? row[i].nwith : row[i].nwithout);
				SAY(b, 'c', "");
			}
			EXPECT(b, 'N', "");
			SAY(b, 'c', "");
			EXPECT(b, 'E', ""); /* no body: no piece of it */
			SAY(b, 'a', "");
			expect_action(b, META1_PM_ACCEPT);
			bench_free(&b);
		}
}

static void expect_nothing(struct bench *b)
{
	char c;

	for (int i = 0; i < 5; i++)
		turn(b);
	assert_int_equal(read(b->filter, &c, 1), -1);
	assert_int_equal(errno, EAGAIN);
}

/* Fields are said together, each answer is about the oldest of them; the body waits for all. */
static void together(void **state)
{
	struct bench *b = bench_new(NULL);
	struct meta1_extent e[2];
	struct meta1_pm_message m = message(e, "A: 1\r\nB: 2\r\nC: 3\r\n\r\nbody\r\n", 20, 9);

	(void)state;
	up_to_end(b, 6, ACT, 0x400);
	ask_end(b, &m);
	EXPECT(b, 'L', "A\0001\0");
	EXPECT(b, 'L', "B\0002\0");
	EXPECT(b, 'L', "C\0003\0");
	EXPECT(b, 'N', "");
	for (int i = 0; i < 4; i++) {
		expect_nothing(b);
		SAY(b, 'c', "");
	}
	EXPECT(b, 'B', "body\r\n");
	SAY(b, 'c', "");
	EXPECT(b, 'E', "");
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	b->ops->reset(b->sess);

	/* SKIP is an answer to a field, and none to what ends the header. */
	ask_end(b, &m);
	expect(b, 'M', NULL, 0);
	SAY(b, 'c', "");
	expect(b, 'R', NULL, 0);
	SAY(b, 'c', "");
	expect(b, 'T', NULL, 0);
	SAY(b, 'c', "");
	for (int i = 0; i < 4; i++)
		expect(b, "LLLN"[i], NULL, 0);
	SAY(b, 's', "");
	SAY(b, 'c', "");
	SAY(b, 'c', "");
	SAY(b, 's', "");
	expect_failure(b, "answers EOH with SKIP, where it may not");
	bench_free(&b);
}

/* Behind a last word nobody knows what it answers: it gets a new connection. */
static void last_words(void **state)
{
	struct bench *b = bench_new(NULL);
	struct meta1_extent e[2];
	struct meta1_pm_message m = message(e, "A: 1\r\nB: 2\r\n\r\nbody\r\n", 14, 9);
	char c;

	(void)state;
	up_to_end(b, 6, ACT, 0);
	ask_end(b, &m);
	for (int i = 0; i < 3; i++)
		expect(b, "LLN"[i], NULL, 0);
	SAY(b, 'r', "");
	expect_action(b, META1_PM_REFUSE);
	assert_true(b->v->wants & META1_PM_END);
	for (int i = 0; i < 5000 && read(b->filter, &c, 1) != 0; i++)
		turn(b);
	assert_int_equal(read(b->filter, &c, 1), 0);
	b->ops->reset(b->sess);
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_MAIL, .arg = str("a@x.test")});
	accept_one(b);
	negotiate(b, 6, ACT, 0);
	expect(b, 'C', NULL, 0);
	SAY(b, 'c', "");
	EXPECT(b, 'H', "client.test\0");
	SAY(b, 'c', "");
	EXPECT(b, 'M', "<a@x.test>\0");
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	/* to the last field that is open it is as ever */
	ask_end(b, &m);
	expect(b, 'R', NULL, 0);
	SAY(b, 'c', "");
	expect(b, 'T', NULL, 0);
	SAY(b, 'c', "");
	for (int i = 0; i < 3; i++)
		expect(b, "LLN"[i], NULL, 0);
	SAY(b, 'c', "");
	SAY(b, 'c', "");
	SAY(b, 'a', "");
	expect_action(b, META1_PM_ACCEPT);
	b->ops->reset(b->sess);
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_MAIL, .arg = str("a@x.test")});
	EXPECT(b, 'M', "<a@x.test>\0");
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	bench_free(&b);
}

/* Nothing is waited for; what is not wanted is not said; version 2 knows neither DATA. */
static void no_replies(void **state)
{
	struct bench *b = bench_new(NULL);
	struct meta1_extent e[2];
	struct meta1_pm_message m = message(e, "A: b\r\n\r\nbody\r\n", 8, 9);

	(void)state;
	begin(b);
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_CONNECT});
	accept_one(b);
	negotiate(b, 6, ACT, 0xff080 & ~0x10000u);
	expect_action(b, META1_PM_CONTINUE);
	assert_int_equal(b->v->wants, 0x7f);
	EXPECT(b, 'C', NULL);
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_MAIL, .arg = str("")});
	expect_action(b, META1_PM_CONTINUE);
	EXPECT(b, 'M', "<>\0");
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_UNKNOWN, .arg = str("FOO x")});
	expect_action(b, META1_PM_CONTINUE);
	EXPECT(b, 'U', "FOO x\0");
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_RCPT, .arg = str("b@y.test")});
	expect_action(b, META1_PM_CONTINUE);
	EXPECT(b, 'R', NULL);
	ask_end(b, &m);
	EXPECT(b, 'T', "");
	SAY(b, 'c', "");
	EXPECT(b, 'L', NULL);
	EXPECT(b, 'N', NULL);
	EXPECT(b, 'B', "body\r\n");
	EXPECT(b, 'E', "");
	SAY(b, 'd', "");
	expect_action(b, META1_PM_DISCARD);
	bench_free(&b);

	b = bench_new(NULL);
	begin(b);
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_CONNECT});
	accept_one(b);
	negotiate(b, 2, 0x3f, 0x7f);
	expect_action(b, META1_PM_CONTINUE);
	assert_int_equal(b->v->wants, META1_PM_END);
	ask_end(b, &m);
	EXPECT(b, 'E', "");
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	bench_free(&b);
}

static void macros(void **state)
{
	struct bench *b = bench_new(NULL);
	static const struct meta1_tls tls = {.size = sizeof(tls),
	    .version = "TLSv1.3",
	    .cipher = "X",
	    .bits = 256,
	    .subject = "/C=DE/CN=ann\\x2Fb/OU=x",
	    .issuer = "/O=y"};
	static const char list[] = "\0\0\0\6\0\0\1\xff\0\0\0\0"
				   "\0\0\0\1{cn_subject} {cn_issuer},{cipher_bits} {none} j\0"
				   "\0\0\0\2\0"
				   "\0\0\0\5{msg_id} {nrcpts}\0";

	(void)state;
	b->about.tls = &tls;
	begin(b);
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_CONNECT});
	accept_one(b);
	assert_int_equal(next(b), 'O');
	assert_memory_equal(b->frame + 1, "\0\0\0\6\0\0\1\xff\0\x1f\xff\xff", 12);
	say(b, 'O', list, sizeof(list) - 1);
	assert_int_equal(next(b), 'D');
	assert_memory_equal(b->frame, "DCj\0gw.test\0_\0[2001:db8::9]\0v\0meta1-0.1\0", 40);
	assert_non_null(memmem(b->frame, b->len, "{client_addr}\0IPv6:2001:db8::9", 31));
	assert_non_null(memmem(b->frame, b->len, "{client_resolve}\0FAIL", 22));
	assert_non_null(memmem(b->frame, b->len, "{client_ptr}\0[2001:db8::9]", 26));
	expect(b, 'C', NULL, 0);
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_HELO, .arg = str("x")});
	next(b);
	assert_int_equal(b->len, 52);
	assert_memory_equal(
	    b->frame, "DH{cn_subject}\0ann\\x2Fb\0{cipher_bits}\000256\0j\0gw.test", 52);
	EXPECT(b, 'H', "x\0");
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_MAIL, .arg = str("a@b")});
	assert_int_equal(next(b), 'M'); /* it wants none there */
	SAY(b, 'r', "");
	expect_action(b, META1_PM_REFUSE);
	assert_int_equal(b->v->smtp, 550);
	assert_string_equal(b->v->dsn, "5.7.1");
	bench_free(&b);
}

/* A connection serves the next session, is replaced when it is dead, and is told what it was not.
 */
static void reuse(void **state)
{
	struct bench *b = bench_new(NULL);
	int old;

	(void)state;
	at_end(b, ACT);
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	b->ops->reset(b->sess);
	b->ops->end(&b->sess);
	EXPECT(b, 'K', "");
	b->about.helo = NULL;
	begin(b);
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_CONNECT});
	expect(b, 'C', NULL, 0);
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	/* It knew of no mail that ended: this one is not kept. */
	b->ops->end(&b->sess);
	EXPECT(b, 'Q', "");

	b->about.helo = NULL;
	at_end(b, ACT);
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	b->ops->reset(b->sess);
	b->ops->end(&b->sess);
	EXPECT(b, 'K', "");
	begin(b);
	old = b->filter;
	b->filter = -1;
	/* It dies with the command on its way: nobody notices. */
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_CONNECT});
	close(old);
	accept_one(b);
	negotiate(b, 6, ACT, 0);
	expect(b, 'C', NULL, 0);
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	bench_free(&b);
}

/* A long body: pieces of 65535 bytes, from a file too, and SKIP ends it. */
static void long_body(void **state)
{
	struct bench *b = bench_new(NULL);
	size_t n = 200000;
	char *text = base_alloc(n + 1);
	struct meta1_extent e[2];
	struct meta1_pm_message m;
	FILE *f = tmpfile();

	(void)state;
	for (size_t i = 0; i < n; i++)
		text[i] = i % 76 == 74 ? '\r' : i % 76 == 75 ? '\n' : (char)('a' + i / 76 % 26);
	m = message(e, text, 0, 100);
	assert_int_equal(fwrite(text, 1, n, f), n);
	fflush(f);
	e[1] = (struct meta1_extent){.fd = fileno(f), .off = 100, .len = n - 100};
	up_to_end(b, 6, ACT, 0x400);
	ask_end(b, &m);
	EXPECT(b, 'N', "");
	SAY(b, 'c', "");
	expect(b, 'B', text, 65535);
	SAY(b, 'c', "");
	expect(b, 'B', text + 65535, 65535);
	SAY(b, 's', "");
	EXPECT(b, 'E', "");
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	b->ops->reset(b->sess);
	fclose(f);
	free(text);
	bench_free(&b);
}

/* Header and body that lie in a file are read by worker threads: no turn of the loop waits for the
 * disk. nr: the filter answers no piece, and does not read for a while: little of it is kept. */
static void files_are_read_off_the_loop(uint32_t steps)
{
	struct bench *b = bench_new(NULL);
	size_t head = 3000, n = 8u << 20, at = head;
	char *text = base_alloc(n + 1);
	struct meta1_extent e[2];
	struct meta1_pm_message m;
	FILE *f = tmpfile();

	memset(text, 'h', head);
	memcpy(text, "X-Long: ", 8);
	memcpy(text + head - 4, "\r\n\r\n", 4);
	for (size_t i = head; i < n; i++)
		text[i] = (char)('a' + i / 997 % 26);
	assert_int_equal(fwrite(text, 1, n, f), n);
	fflush(f);
	m = message(e, text, head, 10);
	e[1] = (struct meta1_extent){.fd = fileno(f), .off = 10, .len = n - 10};
	up_to_end(b, 6, ACT, steps);
	threads_stop(&threads, b->host.work);
	ask_end(b, &m);
	for (int i = 0; i < 20; i++)
		turn(b);
	assert_int_equal(read(b->filter, b->frame, 1), -1);
	threads_go(&threads, b->host.loop);
	while (next(b) == 'D')
		;
	assert_int_equal(b->frame[0], 'L');
	assert_int_equal(b->len, 1 + head - 4 - 1 + 1); /* one blank less, two ends */
	SAY(b, 'c', "");
	EXPECT(b, 'N', "");
	SAY(b, 'c', "");
	for (int i = 0; (steps & 0x80000) && i < 400; i++)
		turn(b);
	/* what the filter has no room for was not read: it is there as it is now */
	memset(text + n / 2, 'Z', n / 2);
	assert_int_equal(pwrite(fileno(f), text + n / 2, n / 2, (off_t)(n / 2)), n / 2);
	while (at < n) {
		size_t len = n - at < 65535 ? n - at : 65535;

		expect(b, 'B', text + at, len);
		at += len;
		if (!(steps & 0x80000))
			SAY(b, 'c', "");
	}
	EXPECT(b, 'E', "");
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	b->ops->reset(b->sess);
	/* and a mail that ends while it is read */
	threads_stop(&threads, b->host.work);
	ask_end(b, &m);
	turn(b);
	mod_req_cancel(&b->req);
	threads_go(&threads, b->host.loop);
	assert_int_equal(b->told, 0);
	fclose(f);
	free(text);
	bench_free(&b);
}

static void files_with_answers(void **state)
{
	(void)state;
	files_are_read_off_the_loop(0);
}

static void files_without_answers(void **state)
{
	(void)state;
	files_are_read_off_the_loop(0x80000); /* SMFIP_NR_BODY */
}

/* list: what the filter asks for at MAIL. What begin() then wants of the next session. */
static uint32_t wants_after(uint32_t steps, const char *list)
{
	struct bench *b = bench_new(NULL);
	char o[100] = {0, 0, 0, 6, 0, 0, 1, (char)0xff, 0, 0, 0, (char)steps, 0, 0, 0, 2};
	uint32_t wants;

	strcpy(o + 16, list);
	begin(b); /* of the first nothing is known */
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_CONNECT});
	accept_one(b);
	assert_int_equal(next(b), 'O');
	say(b, 'O', o, 16 + strlen(list) + 1);
	if (!(steps & 1)) {
		expect(b, 'C', NULL, 0);
		SAY(b, 'c', "");
	}
	expect_action(b, META1_PM_CONTINUE);
	b->ops->end(&b->sess);
	wants = b->ops->begin(mod_data(b->inst), &b->about, &b->sess);
	b->about.helo = "client.test";
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_HELO, .arg = str("client.test")});
	close(b->filter);
	accept_one(b);
	assert_int_equal(next(b), 'O');
	say(b, 'O', o, 16 + strlen(list) + 1);
	if (!(steps & 1)) { /* it is told, whoever asked for what */
		expect(b, 'C', NULL, 0);
		SAY(b, 'c', "");
	}
	EXPECT(b, 'H', "client.test\0");
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	bench_free(&b);
	return wants;
}

/* Who wants CONNECT has the client's name looked for: a filter that said that it does not does not,
 * unless it asks for the name elsewhere. */
static void the_name_is_for_who_sees_it(void **state)
{
	(void)state;
	assert_int_equal(wants_after(0, "i") & META1_PM_CONNECT, META1_PM_CONNECT);
	assert_int_equal(wants_after(1, "i {client_addr} {_x}"), 0xffu & ~META1_PM_CONNECT);
	assert_int_equal(wants_after(1, ""), 0xffu & ~META1_PM_CONNECT);
	assert_int_equal(wants_after(1, "i, {client_name}"), 0xff);
	assert_int_equal(wants_after(1, "_"), 0xff);
}

/* Replies longer than what can be seen at once; and what is too much. */
static void long_replies(void **state)
{
	struct bench *b = bench_new("max_edits = 256KB;");
	size_t n = 120000;
	char *text = base_alloc(n + 1);

	(void)state;
	memset(text, 'x', n);
	memcpy(text, "X-Long", 7);
	at_end(b, ACT);
	say(b, 'h', text, n + 1);
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	assert_int_equal(b->v->nedit, 1);
	assert_int_equal(b->v->edit[0].value.len, n - 7);
	b->ops->reset(b->sess);
	b->ops->end(&b->sess);
	close(b->filter);
	b->filter = -1;
	b->about.helo = NULL;
	at_end(b, ACT);
	for (int i = 0; i < 3; i++)
		say(b, 'b', text, n);
	assert_null(answer(b)); /* it is this mail, not the filter */
	assert_int_equal(b->st, META1_PERMFAIL);
	assert_non_null(strstr(b->text, "max_edits"));
	bench_free(&b);
	b = bench_new(NULL);
	at_end(b, ACT);
	for (int i = 0; i < 4097; i++)
		SAY(b, 'h', "A\0b\0");
	assert_null(answer(b));
	assert_int_equal(b->st, META1_PERMFAIL);
	assert_non_null(strstr(b->text, "4097th"));
	free(text);
	bench_free(&b);
}

static void refused_rcpt(void **state)
{
	struct bench *b = bench_new(NULL);

	(void)state;
	up_to_end(b, 6, ACT, 0x800);
	assert_true(b->v->wants & META1_PM_REFUSED);
	ask(b,
	    (struct meta1_pm_ask){
		.stage = META1_PM_REFUSED, .arg = str("no@y.test"), .refused = "550 5.1.1 nobody"});
	assert_int_equal(next(b), 'D');
	assert_non_null(memmem(b->frame, b->len, "{rcpt_mailer}\0error", 20));
	assert_non_null(memmem(b->frame, b->len, "{rcpt_addr}\000550 5.1.1 nobody", 29));
	EXPECT(b, 'R', "<no@y.test>\0");
	SAY(b, 'r', "");
	expect_action(b, META1_PM_CONTINUE);
	/* Behind DATA libmilter has no answer to a command that is unknown. */
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_UNKNOWN, .arg = str("FOO")});
	expect_action(b, META1_PM_CONTINUE);
	b->ops->reset(b->sess);
	EXPECT(b, 'A', "");
	/* Nor to anything of a mail that it has thrown away. */
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_MAIL, .arg = str("a@x.test")});
	EXPECT(b, 'M', "<a@x.test>\0");
	SAY(b, 'd', "");
	expect_action(b, META1_PM_DISCARD);
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_DATA});
	expect_action(b, META1_PM_DISCARD);
	bench_free(&b);
}

/* For a filter that cannot take more than one command at a time. */
static void one_by_one(void **state)
{
	struct bench *b = bench_new("pipelining = no;");
	struct meta1_extent e[2];
	struct meta1_pm_message m = message(e, "A: 1\r\nB: 2\r\n\r\n", 14, 1);

	(void)state;
	up_to_end(b, 6, ACT, 0);
	ask_end(b, &m);
	for (int i = 0; i < 3; i++) {
		expect(b, "LLN"[i], NULL, 0);
		expect_nothing(b);
		SAY(b, 'c', "");
	}
	EXPECT(b, 'E', "");
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	bench_free(&b);
}

/* What each other option changes. */
static void habits(void **state)
{
	struct bench *b = bench_new("version = 2;");
	size_t n = 200000;
	char *text = base_alloc(n + 1);
	struct meta1_extent e[2];
	struct meta1_pm_message m;

	(void)state;
	begin(b);
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_CONNECT});
	accept_one(b);
	assert_int_equal(next(b), 'O');
	assert_memory_equal(b->frame + 1, "\0\0\0\2\0\0\0\x3f\0\0\0\x7f", 12);
	SAY(b, 'O', "\0\0\0\2\0\0\0\0\0\0\0\x7f");
	expect_action(b, META1_PM_CONTINUE);
	bench_free(&b);

	memset(text, 'x', n);
	m = message(e, text, 0, 1);
	b = bench_new("data_size = 1m; max_idle = 0;");
	begin(b);
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_CONNECT});
	accept_one(b);
	assert_int_equal(next(b), 'O');
	assert_memory_equal(b->frame + 9, "\x30\x1f\xff\xff", 4);
	SAY(b, 'O', "\0\0\0\6\0\0\0\0\x20\x0f\xf0\x80"); /* 1m, no replies */
	expect_action(b, META1_PM_CONTINUE);
	ask_end(b, &m);
	while (next(b) != 'B')
		;
	expect(b, 'E', "", 0);
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	b->ops->reset(b->sess);
	b->ops->end(&b->sess);
	EXPECT(b, 'Q', "");
	bench_free(&b);

	b = bench_new("idle_time = 1s;");
	at_end(b, ACT);
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	b->ops->reset(b->sess);
	b->ops->end(&b->sess);
	EXPECT(b, 'K', "");
	for (int i = 0; i < 10000 && read(b->filter, text, 1) != 0; i++)
		turn(b); /* until it hangs up */
	assert_int_equal(read(b->filter, text, 1), 0);
	free(text);
	bench_free(&b);
}

static void options(void **state)
{
	static const char *const bad[] = {"", "socket_type = unix;",
	    "socket_address = \"127.0.0.1\";", "socket_port = 1; version = 7;",
	    "socket_port = 1; fallback_type = unix;", "socket_path = \"/x/unix:/run/f\";",
	    "socket_port = 1; fallback_path = \"/x/inet:8891@localhost\";"};
	struct bench *b = bench_new(NULL);

	(void)state;
	mod_close(&b->inst);
	for (size_t i = 0; i < LEN(bad); i++)
		assert_false(open_with(b, bad[i]));
	assert_true(open_with(b, "socket_port = 8891;"));
	bench_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(whole_mail),
	    cmocka_unit_test(fields),
	    cmocka_unit_test(together),
	    cmocka_unit_test(last_words),
	    cmocka_unit_test(one_by_one),
	    cmocka_unit_test(no_replies),
	    cmocka_unit_test(macros),
	    cmocka_unit_test(reuse),
	    cmocka_unit_test(long_body),
	    cmocka_unit_test(files_with_answers),
	    cmocka_unit_test(files_without_answers),
	    cmocka_unit_test(the_name_is_for_who_sees_it),
	    cmocka_unit_test(long_replies),
	    cmocka_unit_test(refused_rcpt),
	    cmocka_unit_test(habits),
	    cmocka_unit_test(options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
