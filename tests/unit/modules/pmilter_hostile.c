/* SPDX-License-Identifier: BSD-2-Clause */
/* Peers that lie: frames garbled, cut at each byte, out of order, beyond the windows; told to
 * pmilter_pmilter by a filter, and to libpmilter by a server.
 * over 500 lines: one table of lies, each a few lines, and what it needs. */
#include "pmilter_fix.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <sys/socket.h>

#define ALL 255

/* ---- frames ---- */

struct wire {
	unsigned char at[1 << 18];
	size_t len;
};

static struct meta1_pmw_out frame(struct wire *w, uint32_t type, uint32_t session)
{
	return meta1_pmw_begin(w->at + w->len, META1_PMW_FRAME_MAX, type, session);
}

static void done(struct wire *w, struct meta1_pmw_out *o)
{
	w->len += meta1_pmw_done(o);
}

static void bare(struct wire *w, uint32_t type, uint32_t session)
{
	struct meta1_pmw_out o = frame(w, type, session);

	done(w, &o);
}

static void welcome(struct wire *w, uint32_t window, uint32_t windows)
{
	struct meta1_pmw_out o = frame(w, META1_PMW_WELCOME, 0);

	meta1_pmw_num(&o, META1_PMW_F_VERSION, 1, 2);
	meta1_pmw_text(&o, META1_PMW_F_PROGRAM, "raw");
	meta1_pmw_num(&o, META1_PMW_F_STAGES, ALL, 4);
	meta1_pmw_num(&o, META1_PMW_F_WINDOW, window, 4);
	meta1_pmw_num(&o, META1_PMW_F_WINDOWS, windows, 4);
	done(w, &o);
}

static struct meta1_pmw_out verdict(struct wire *w, uint32_t session, uint32_t action)
{
	struct meta1_pmw_out o = frame(w, META1_PMW_VERDICT, session);

	meta1_pmw_num(&o, META1_PMW_F_ACTION, action, 1);
	return o;
}

static void good(struct wire *w, uint32_t session)
{
	struct meta1_pmw_out o = verdict(w, session, META1_PM_CONTINUE);

	done(w, &o);
}

/* ---- a filter that says what it is told to ---- */

struct raw {
	struct pf *f;
	int lis, fd;
	struct wire in;
	unsigned questions; /* frames that want an answer */
	size_t chunk[3];    /* bytes of content, by session */
	unsigned seen[3];   /* END, by session */
};

static struct raw *raw_new(void)
{
	struct raw *r = base_alloc(sizeof(*r));

	r->f = pf_new("");
	r->lis = raw_listen(r->f);
	r->fd = -1;
	return r;
}

static void raw_free(struct raw **rp)
{
	struct raw *r = *rp;

	*rp = NULL;
	if (r->fd >= 0)
		close(r->fd);
	close(r->lis);
	pf_free(&r->f);
	free(r);
}

static void hear(struct raw *r, struct meta1_pmw_frame *f)
{
	struct meta1_pmw_field_of v;

	if ((f->type >= META1_PMW_CONNECT && f->type <= META1_PMW_UNKNOWN) ||
	    f->type == META1_PMW_END)
		r->questions++;
	if (f->session > 2)
		return;
	r->seen[f->session] += f->type == META1_PMW_END;
	while (f->type == META1_PMW_CHUNK && meta1_pmw_next(f, &v))
		r->chunk[f->session] += v.len;
}

static void raw_turn(struct raw *r)
{
	struct meta1_pmw_frame f;
	ssize_t n;

	pf_turn(r->f);
	if (r->fd < 0)
		r->fd = accept4(r->lis, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (r->fd < 0)
		return;
	n = recv(r->fd, r->in.at + r->in.len, sizeof(r->in.at) - r->in.len, 0);
	if (n > 0)
		r->in.len += (size_t)n;
	while (meta1_pmw_frame(r->in.at, r->in.len, &f) > 0) {
		size_t all = f.all;

		hear(r, &f);
		memmove(r->in.at, r->in.at + all, r->in.len - all);
		r->in.len -= all;
	}
}

static void raw_say(struct raw *r, struct wire *w)
{
	if (send(r->fd, w->at, w->len, MSG_NOSIGNAL) != (ssize_t)w->len)
		fail_msg("%zu bytes are not taken", w->len);
	w->len = 0;
}

static void raw_until(struct raw *r, const unsigned *n, unsigned wanted)
{
	for (int i = 0; i < 200000 && *n < wanted; i++) {
		raw_turn(r);
		if (i > 100)
			usleep(100);
	}
	if (*n < wanted)
		fail_msg("it is %u, expected %u", *n, wanted);
}

/* Session s is begun, greeted and has asked CONNECT. */
static void raw_asked(struct raw *r, struct ps *s, struct wire *w)
{
	struct meta1_pm_ask ask = {.size = sizeof(ask), .stage = META1_PM_CONNECT};

	ps_begin(r->f, s);
	ps_put(s, &ask);
	while (r->fd < 0)
		raw_turn(r);
	w->len = 0;
	welcome(w, 65536, 65536);
	raw_say(r, w);
	raw_until(r, &r->questions, 1);
}

/* ---- what it may answer to CONNECT ---- */

static void http(struct wire *w)
{
	w->len = (size_t)sprintf((char *)w->at, "HTTP/1.1 400 Bad Request\r\n\r\n");
}

static void length(struct wire *w, uint32_t n)
{
	bare(w, META1_PMW_VERDICT, 1);
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
	good(w, 1);
	w->at[7] = 1;
}

static void field_beyond(struct wire *w)
{
	good(w, 1);
	w->at[META1_PMW_HEAD + 3] = 2;
}

static void field_cut(struct wire *w)
{
	bare(w, META1_PMW_VERDICT, 1);
	meta1_pmw_store(w->at, META1_PMW_HEAD + 3, 4);
	w->len += 3;
	memset(w->at + META1_PMW_HEAD, 0, 3);
}

static void unknown_type(struct wire *w)
{
	bare(w, 999, 1);
}

static void optional_type(struct wire *w)
{
	bare(w, META1_PMW_OPTIONAL | 999, 1);
	good(w, 1);
}

static void unknown_field(struct wire *w)
{
	struct meta1_pmw_out o = verdict(w, 1, 0);

	meta1_pmw_text(&o, 9999, "new");
	done(w, &o);
}

static void no_such_session(struct wire *w)
{
	good(w, 2);
}

static void no_session(struct wire *w)
{
	good(w, 0);
}

static void welcome_again(struct wire *w)
{
	welcome(w, 1, 1);
}

static void no_action(struct wire *w)
{
	struct meta1_pmw_out o = verdict(w, 1, 9);

	done(w, &o);
}

static void code(struct wire *w, unsigned n)
{
	struct meta1_pmw_out o = verdict(w, 1, META1_PM_REFUSE);

	meta1_pmw_num(&o, META1_PMW_F_CODE, n, 2);
	done(w, &o);
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
	struct meta1_pmw_out o = verdict(w, 1, META1_PM_REFUSE);
	char text[1000];

	memset(text, 'x', sizeof(text));
	while (n-- > 0)
		meta1_pmw_put(&o, META1_PMW_F_LINE, text, len);
	done(w, &o);
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
	struct meta1_pmw_out o = verdict(w, 1, META1_PM_REFUSE);

	meta1_pmw_text(&o, META1_PMW_F_DSN, "5.77777.7777");
	done(w, &o);
}

static void early_edit(struct wire *w)
{
	bare(w, META1_PMW_EDIT, 1);
	good(w, 1);
}

static void early_hold(struct wire *w)
{
	struct meta1_pmw_out o = verdict(w, 1, META1_PM_CONTINUE);

	meta1_pmw_text(&o, META1_PMW_F_HOLD, "now");
	done(w, &o);
}

static void early_message(struct wire *w)
{
	bare(w, META1_PMW_REPLACE, 1);
	good(w, 1);
}

static void more_than_sent(struct wire *w)
{
	struct meta1_pmw_out o = frame(w, META1_PMW_MORE, 1);

	meta1_pmw_num(&o, META1_PMW_F_BYTES, 1, 4);
	done(w, &o);
}

static void enough_of_nothing(struct wire *w)
{
	bare(w, META1_PMW_ENOUGH, 1);
}

static void says_bye(struct wire *w)
{
	bare(w, META1_PMW_BYE, 0);
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
			good(w, 2);
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
	good(w, 1);
	good(w, 1);
	raw_say(r, w);
	raw_until(r, &s.answers, 1);
	assert_int_equal(s.st, META1_OK);
	for (int i = 0; i < 5; i++)
		raw_turn(r);
	close(r->fd);
	r->fd = -1;
	r->in.len = r->questions = 0;
	raw_asked(r, &t, w);
	good(w, 2); /* numbers are not used again */
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
	welcome(w, 65536, 65536);
	good(w, 1);
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
	welcome(w, 65536, 65536);
	good(w, 1);
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
	struct meta1_pmw_out o = frame(w, META1_PMW_MORE, session);

	meta1_pmw_num(&o, META1_PMW_F_BYTES, n, 4);
	done(w, &o);
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
	welcome(w, 1000, 1500);
	good(w, 1);
	good(w, 2);
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
	good(w, 2);
	raw_say(r, w);
	raw_until(r, &s[1].answers, 2);
	assert_int_equal(s[1].st, META1_OK);
	ps_close(&s[1]);
	raw_free(&r);
	free(text);
	free(w);
}

/* ---- a server that lies to libpmilter ---- */

static unsigned opened, closed;
static sfsistat_T eom_says;

static sfsistat_T on_connect(pmse_ctx_P s, const char *name, const sm_sockaddr_T *a)
{
	(void)s, (void)name, (void)a;
	opened++;
	return SMTP_R_CONT;
}

static sfsistat_T on_msg(pmse_ctx_P s, const unsigned char *p, size_t n)
{
	(void)s, (void)p, (void)n;
	return SMTP_R_CONT;
}

static sfsistat_T on_eom(pmse_ctx_P s)
{
	(void)s;
	return eom_says;
}

static sm_ret_T on_close(pmse_ctx_P s)
{
	(void)s;
	closed++;
	return SM_SUCCESS;
}

static const struct pmilter_S filter = {.pmfi_name = "victim",
    .pmfi_connect = on_connect,
    .pmfi_msg = on_msg,
    .pmfi_eom = on_eom,
    .pmfi_close = on_close};

static void server_says(struct wire *w)
{
	struct meta1_pmw_out o = frame(w, META1_PMW_HELLO, 0);

	meta1_pmw_num(&o, META1_PMW_F_VERSION, 1, 2);
	meta1_pmw_num(&o, META1_PMW_F_OLDEST, 1, 2);
	meta1_pmw_num(&o, META1_PMW_F_STAGES, ALL, 4);
	meta1_pmw_num(&o, META1_PMW_F_ACTIONS, META1_PMW_A_ALL, 4);
	meta1_pmw_num(&o, META1_PMW_F_WINDOW, 65536, 4);
	done(w, &o);
	o = frame(w, META1_PMW_OPEN, 1);
	meta1_pmw_text(&o, META1_PMW_F_CLIENT, "192.0.2.1");
	done(w, &o);
	bare(w, META1_PMW_CONNECT, 1);
	o = frame(w, META1_PMW_CONTENT, 1);
	meta1_pmw_num(&o, META1_PMW_F_BYTES, 5, 8);
	done(w, &o);
	o = frame(w, META1_PMW_CHUNK, 1);
	meta1_pmw_text(&o, META1_PMW_F_DATA, "hello");
	done(w, &o);
	o = frame(w, META1_PMW_END, 1);
	meta1_pmw_put(&o, META1_PMW_F_MACRO, "\0\001host", 6);
	done(w, &o);
	bare(w, META1_PMW_RESET, 1);
}

static void lib_turns(struct pf *f, int n)
{
	while (n-- > 0)
		event_base_loop(sm_pmfi_base(f->g), EVLOOP_NONBLOCK);
}

static void lib_told(struct pf *f, const unsigned char *at, size_t n)
{
	int fd = raw_connect(f);

	assert_int_equal(send(fd, at, n, MSG_NOSIGNAL), n);
	lib_turns(f, 3);
	close(fd);
	lib_turns(f, 3);
}

static void the_library_survives_servers(void **state)
{
	static const unsigned char with[] = {0x01, 0x80, 0xff};
	struct wire *w = base_alloc(sizeof(*w));
	struct pf *f = pf_new("");
	struct ps s;

	(void)state;
	eom_says = SMTP_R_CONT;
	pf_filter(f, &filter);
	server_says(w);
	for (size_t k = 0; k <= w->len; k++)
		lib_told(f, w->at, k);
	assert_true(opened > 0);
	for (size_t k = 0; k < w->len * sizeof(with); k++) {
		w->at[k / sizeof(with)] ^= with[k % sizeof(with)];
		lib_told(f, w->at, w->len);
		w->at[k / sizeof(with)] ^= with[k % sizeof(with)];
	}
	/* every session that began has ended; and it works for who keeps to the protocol */
	assert_true(closed >= opened);
	ps_begin(f, &s);
	assert_int_equal(ps_ask(&s, META1_PM_CONNECT, ""), META1_OK);
	ps_close(&s);
	pf_free(&f);
	free(w);
}

/* A filter that is not done with its answer is sent content without end: it hangs up. */
static void the_library_is_bounded(void **state)
{
	struct wire *w = base_alloc(sizeof(*w));
	struct pf *f = pf_new("");
	char junk[30000];
	size_t sent = 0;
	struct meta1_pmw_out o;
	int fd;

	(void)state;
	memset(junk, 'j', sizeof(junk));
	eom_says = SMTP_R_LATER;
	pf_filter(f, &filter);
	server_says(w);
	fd = raw_connect(f);
	assert_int_equal(send(fd, w->at, w->len, MSG_NOSIGNAL), w->len);
	w->len = 0;
	o = frame(w, META1_PMW_CHUNK, 1);
	meta1_pmw_put(&o, META1_PMW_F_DATA, junk, sizeof(junk));
	done(w, &o);
	for (int i = 0; i < 2000; i++) {
		ssize_t n = send(fd, w->at, w->len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno != EAGAIN)
			break;
		sent += n > 0 ? (size_t)n : 0;
		lib_turns(f, 1);
		if (n > 0 && (size_t)n < w->len)
			break; /* out of step; it never fits the window anyway */
	}
	assert_true(sent < 2000000);
	close(fd);
	lib_turns(f, 3);
	pf_free(&f);
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
	    cmocka_unit_test(the_library_survives_servers),
	    cmocka_unit_test(the_library_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
