/* SPDX-License-Identifier: BSD-2-Clause */
/* Filters that lie to pmilter_pmilter: frames garbled, cut at each byte, out of order, beyond the
 * windows. */
#include "pmilter_raw.h"

#include <sys/socket.h>

/* ---- what it may answer to CONNECT ---- */

static void http(struct wire *w)
{
	w->len = (size_t)sprintf((char *)w->at, "HTTP/1.1 400 Bad Request\r\n\r\n");
}

static void length(struct wire *w, uint32_t n)
{
	rw_bare(w, META1_PMW_VERDICT, 1);
	meta1_pmw_store(w->at, n, 4);
}

static void no_length(struct wire *w)
{
	length(w, 0);
}

static void short_length(struct wire *w)
{
	length(w, META1_PMW_HEAD - 1);
}

static void long_length(struct wire *w)
{
	length(w, META1_PMW_FRAME_MAX + 1);
}

static void huge_length(struct wire *w)
{
	length(w, UINT32_MAX);
}

static void reserved(struct wire *w)
{
	rw_good(w, 1);
	w->at[7] = 1;
}

static void field_beyond(struct wire *w)
{
	rw_good(w, 1);
	w->at[META1_PMW_HEAD + 3] = 2;
}

static void field_cut(struct wire *w)
{
	rw_bare(w, META1_PMW_VERDICT, 1);
	meta1_pmw_store(w->at, META1_PMW_HEAD + 3, 4);
	w->len += 3;
	memset(w->at + META1_PMW_HEAD, 0, 3);
}

static void unknown_type(struct wire *w)
{
	rw_bare(w, 999, 1);
}

static void optional_type(struct wire *w)
{
	rw_bare(w, META1_PMW_OPTIONAL | 999, 1);
	rw_good(w, 1);
}

static void unknown_field(struct wire *w)
{
	struct meta1_pmw_out o = rw_verdict(w, 1, 0);

	meta1_pmw_text(&o, 9999, "new");
	rw_done(w, &o);
}

static void no_such_session(struct wire *w)
{
	rw_good(w, 2);
}

static void no_session(struct wire *w)
{
	rw_good(w, 0);
}

static void welcome_again(struct wire *w)
{
	rw_welcome(w, 1, 1);
}

static void no_action(struct wire *w)
{
	struct meta1_pmw_out o = rw_verdict(w, 1, 9);

	rw_done(w, &o);
}

static void code(struct wire *w, unsigned n)
{
	struct meta1_pmw_out o = rw_verdict(w, 1, META1_PM_REFUSE);

	meta1_pmw_num(&o, META1_PMW_F_CODE, n, 2);
	rw_done(w, &o);
}

static void code_250(struct wire *w)
{
	code(w, 250);
}

static void code_600(struct wire *w)
{
	code(w, 600);
}

static void lines(struct wire *w, unsigned n, size_t len)
{
	struct meta1_pmw_out o = rw_verdict(w, 1, META1_PM_REFUSE);
	char text[1000];

	memset(text, 'x', sizeof(text));
	while (n-- > 0)
		meta1_pmw_put(&o, META1_PMW_F_LINE, text, len);
	rw_done(w, &o);
}

static void many_lines(struct wire *w)
{
	lines(w, META1_PMW_LINE_MAX + 1, 1);
}

static void long_line(struct wire *w)
{
	lines(w, 1, 901);
}

static void most_lines(struct wire *w)
{
	lines(w, META1_PMW_LINE_MAX, 900);
}

static void long_dsn(struct wire *w)
{
	struct meta1_pmw_out o = rw_verdict(w, 1, META1_PM_REFUSE);

	meta1_pmw_text(&o, META1_PMW_F_DSN, "5.77777.7777");
	rw_done(w, &o);
}

static void early_edit(struct wire *w)
{
	rw_bare(w, META1_PMW_EDIT, 1);
	rw_good(w, 1);
}

static void early_hold(struct wire *w)
{
	struct meta1_pmw_out o = rw_verdict(w, 1, META1_PM_CONTINUE);

	meta1_pmw_text(&o, META1_PMW_F_HOLD, "now");
	rw_done(w, &o);
}

static void early_message(struct wire *w)
{
	rw_bare(w, META1_PMW_REPLACE, 1);
	rw_good(w, 1);
}

static void more_than_sent(struct wire *w)
{
	struct meta1_pmw_out o = rw_frame(w, META1_PMW_MORE, 1);

	meta1_pmw_num(&o, META1_PMW_F_BYTES, 1, 4);
	rw_done(w, &o);
}

static void enough_of_nothing(struct wire *w)
{
	rw_bare(w, META1_PMW_ENOUGH, 1);
}

static void says_bye(struct wire *w)
{
	rw_bare(w, META1_PMW_BYE, 0);
}

static const struct {
	void (*make)(struct wire *);
	enum meta1_status st;
	const char *part; /* of the text; NULL: any */
	int lives;	  /* the connection goes on */
} answers[] = {
    {http, META1_TEMPFAIL, "what is no frame", 0},
    {no_length, META1_TEMPFAIL, "what is no frame", 0},
    {short_length, META1_TEMPFAIL, "what is no frame", 0},
    {long_length, META1_TEMPFAIL, "what is no frame", 0},
    {huge_length, META1_TEMPFAIL, "what is no frame", 0},
    {reserved, META1_TEMPFAIL, "what is no frame", 0},
    {field_beyond, META1_TEMPFAIL, "what is no frame", 0},
    {field_cut, META1_TEMPFAIL, "what is no frame", 0},
    {unknown_type, META1_TEMPFAIL, "unknown type", 0},
    {no_such_session, META1_TEMPFAIL, "never was", 0},
    {no_session, META1_TEMPFAIL, "never was", 0},
    {welcome_again, META1_TEMPFAIL, "unknown type", 0},
    {more_than_sent, META1_TEMPFAIL, "more than it was sent", 0},
    {enough_of_nothing, META1_TEMPFAIL, "was not sent", 0},
    {says_bye, META1_TEMPFAIL, "hangs up", 0},
    {no_action, META1_TEMPFAIL, "verdict is none", 1},
    {code_250, META1_TEMPFAIL, "not 400 to 599", 1},
    {code_600, META1_TEMPFAIL, "not 400 to 599", 1},
    {many_lines, META1_TEMPFAIL, "more than 32 lines", 1},
    {long_line, META1_TEMPFAIL, "more than 32 lines", 1},
    {long_dsn, META1_TEMPFAIL, "too long", 1},
    {early_edit, META1_TEMPFAIL, "not there yet", 1},
    {early_message, META1_TEMPFAIL, "not there yet", 1},
    {early_hold, META1_TEMPFAIL, "not there yet", 1},
    {optional_type, META1_OK, NULL, 1},
    {unknown_field, META1_OK, NULL, 1},
    {most_lines, META1_OK, NULL, 1},
};

static void wrong_answers(void **state)
{
	struct wire *w = base_alloc(sizeof(*w));

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
		struct raw *r = raw_new();
		struct ps s, t;

		raw_asked(r, &s, w);
		answers[i].make(w);
		raw_say(r, w);
		raw_until(r, &s.answers, 1);
		if (s.st != answers[i].st ||
		    !strstr(s.text, answers[i].part ? answers[i].part : ""))
			fail_msg("answer %zu: %d \"%s\"", i, (int)s.st, s.text);
		if (answers[i].lives) { /* another session on it */
			struct meta1_pm_ask ask = {.size = sizeof(ask), .stage = META1_PM_CONNECT};

			ps_begin(r->f, &t);
			ps_put(&t, &ask);
			raw_until(r, &r->questions, 2);
			rw_good(w, 2);
			raw_say(r, w);
			raw_until(r, &t.answers, 1);
			assert_int_equal(t.st, META1_OK);
			ps_close(&t);
		}
		ps_close(&s);
		raw_free(&r);
	}
	free(w);
}

/* Answers nobody asked for end the connection, and the next session has another one. */
static void an_answer_too_many(void **state)
{
	struct wire *w = base_alloc(sizeof(*w));
	struct raw *r = raw_new();
	struct ps s, t;

	(void)state;
	raw_asked(r, &s, w);
	rw_good(w, 1);
	rw_good(w, 1);
	raw_say(r, w);
	raw_until(r, &s.answers, 1);
	assert_int_equal(s.st, META1_OK);
	for (int i = 0; i < 5; i++)
		raw_turn(r);
	close(r->fd);
	r->fd = -1;
	r->in.len = r->questions = 0;
	raw_asked(r, &t, w);
	rw_good(w, 2); /* numbers are not used again */
	raw_say(r, w);
	raw_until(r, &t.answers, 1);
	assert_int_equal(t.st, META1_OK);
	ps_close(&s);
	ps_close(&t);
	raw_free(&r);
	free(w);
}

/* Greeting and answer as one string; k: where it is cut, or which byte is another. */
static void dialog(struct raw *r, const unsigned char *bytes, size_t n, struct ps *s)
{
	struct meta1_pm_ask ask = {.size = sizeof(ask), .stage = META1_PM_CONNECT};
	struct wire *w = base_alloc(sizeof(*w));

	ps_begin(r->f, s);
	ps_put(s, &ask);
	while (r->fd < 0)
		raw_turn(r);
	memcpy(w->at, bytes, n);
	w->len = n;
	if (n)
		raw_say(r, w);
	free(w);
}

static void cut_at_each_byte(void **state)
{
	struct wire *w = base_alloc(sizeof(*w));
	size_t all;

	(void)state;
	rw_welcome(w, 65536, 65536);
	rw_good(w, 1);
	all = w->len;
	for (size_t k = 0; k < all; k++) {
		struct raw *r = raw_new();
		struct ps s;

		dialog(r, w->at, k, &s);
		for (int i = 0; i < 3; i++)
			raw_turn(r);
		shutdown(r->fd, SHUT_RDWR);
		raw_until(r, &s.answers, 1);
		assert_int_equal(s.st, META1_TEMPFAIL);
		ps_close(&s);
		raw_free(&r);
	}
	free(w);
}

static void each_byte_garbled(void **state)
{
	static const unsigned char with[] = {0x01, 0x80, 0xff};
	struct wire *w = base_alloc(sizeof(*w));
	size_t all;

	(void)state;
	rw_welcome(w, 65536, 65536);
	rw_good(w, 1);
	all = w->len;
	for (size_t k = 0; k < all * sizeof(with); k++) {
		struct raw *r = raw_new();
		struct ps s;

		w->at[k / sizeof(with)] ^= with[k % sizeof(with)];
		dialog(r, w->at, all, &s);
		w->at[k / sizeof(with)] ^= with[k % sizeof(with)];
		for (int i = 0; i < 8; i++)
			raw_turn(r);
		ps_close(&s); /* answered or not: some wait for more */
		raw_free(&r);
	}
	free(w);
}

/* ---- windows ---- */

static void more(struct raw *r, struct wire *w, uint32_t session, size_t n)
{
	struct meta1_pmw_out o = rw_frame(w, META1_PMW_MORE, session);

	meta1_pmw_num(&o, META1_PMW_F_BYTES, n, 4);
	rw_done(w, &o);
	raw_say(r, w);
}

static void a_slow_filter_gets_no_more_than_it_wants(void **state)
{
	struct wire *w = base_alloc(sizeof(*w));
	struct raw *r = raw_new();
	struct ps s[2];
	char *text = base_alloc(100001);
	struct meta1_extent e;
	struct meta1_pm_message m;
	struct meta1_pm_ask con = {.size = sizeof(con), .stage = META1_PM_CONNECT};
	struct meta1_pm_ask ask = {.size = sizeof(ask), .stage = META1_PM_END, .msg = &m};

	(void)state;
	memset(text, 'x', 100000);
	m = ps_message(&e, text);
	for (int i = 0; i < 2; i++) {
		ps_begin(r->f, &s[i]);
		ps_put(&s[i], &con);
	}
	while (r->fd < 0)
		raw_turn(r);
	rw_welcome(w, 1000, 1500);
	rw_good(w, 1);
	rw_good(w, 2);
	raw_say(r, w);
	for (int i = 0; i < 2; i++) {
		raw_until(r, &s[i].answers, 1);
		ps_put(&s[i], &ask);
	}
	for (int i = 0; i < 50; i++)
		raw_turn(r);
	assert_int_equal(r->chunk[1], 1000);
	assert_int_equal(r->chunk[2], 500);
	more(r, w, 1, 200);
	for (int i = 0; i < 50; i++)
		raw_turn(r);
	assert_int_equal(r->chunk[1] + r->chunk[2], 1700);
	/* the first is given up: its share is free for the second */
	ps_close(&s[0]);
	for (int i = 0; i < 50; i++)
		raw_turn(r);
	assert_int_equal(r->chunk[2], 1000);
	more(r, w, 2, 100);
	for (int i = 0; i < 2000 && !r->seen[2]; i++) {
		size_t before = r->chunk[2];

		for (int k = 0; k < 20 && r->chunk[2] == before; k++)
			raw_turn(r);
		more(r, w, 2, r->chunk[2] - before);
	}
	assert_int_equal(r->chunk[2], 100000);
	rw_good(w, 2);
	raw_say(r, w);
	raw_until(r, &s[1].answers, 2);
	assert_int_equal(s[1].st, META1_OK);
	ps_close(&s[1]);
	raw_free(&r);
	free(text);
	free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(wrong_answers),
	    cmocka_unit_test(an_answer_too_many),
	    cmocka_unit_test(cut_at_each_byte),
	    cmocka_unit_test(each_byte_garbled),
	    cmocka_unit_test(a_slow_filter_gets_no_more_than_it_wants),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
