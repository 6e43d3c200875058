/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pmilter_milter and contents: how they are cut for a filter, and that files are read off the loop.
 */
#include "pmilter_milter.h"
#include "threads.h"

static struct threads threads;

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

/* A word too many while the content is read: it is no answer to what is said next. */
static void word_while_read(void **state)
{
	static const char text[] = "A: 1\r\n\r\nbody\r\n";
	struct bench *b = bench_new(NULL);
	struct meta1_extent e[2];
	struct meta1_pm_message m = message(e, text, 8, 8);
	FILE *f = tmpfile();

	(void)state;
	assert_non_null(f);
	fputs(text, f);
	fflush(f);
	e[1] = (struct meta1_extent){.fd = fileno(f), .off = 8, .len = 6};
	up_to_end(b, 6, ACT, 0);
	threads_stop(&threads, b->host.work);
	ask_end(b, &m);
	expect(b, 'L', NULL, 0);
	SAY(b, 'c', "");
	EXPECT(b, 'N', "");
	SAY(b, 'c', "");
	SAY(b, 'p', ""); /* that it is at work it may say */
	SAY(b, 'c', ""); /* to the body, before it has it */
	SAY(b, 'c', "");
	expect_failure(b, "says 'c' (0x63) when nothing was asked");
	threads_go(&threads, b->host.loop);
	fclose(f);
	bench_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(long_body),
	    cmocka_unit_test(files_with_answers),
	    cmocka_unit_test(files_without_answers),
	    cmocka_unit_test(word_while_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
