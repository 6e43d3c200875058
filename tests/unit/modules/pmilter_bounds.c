/* SPDX-License-Identifier: BSD-2-Clause */
/* Filters and servers that send and do not read, what libpmilter keeps of a mail for the next one,
 * how long texts may be, and threads that must not wait for one another. */
#include "pmilter_fix.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/socket.h>

static const char small[] = "Subject: hi\r\n\r\nbody\r\n";

static size_t bare(unsigned char *at, uint32_t type, uint32_t session)
{
	struct meta1_pmw_out o = meta1_pmw_begin(at, META1_PMW_FRAME_MAX, type, session);

	return meta1_pmw_done(&o);
}

static size_t greeting(unsigned char *at, uint32_t type)
{
	struct meta1_pmw_out o = meta1_pmw_begin(at, META1_PMW_FRAME_MAX, type, 0);

	meta1_pmw_num(&o, META1_PMW_F_VERSION, 1, 2);
	meta1_pmw_num(&o, META1_PMW_F_OLDEST, 1, 2);
	meta1_pmw_num(&o, META1_PMW_F_STAGES, 255, 4);
	meta1_pmw_num(&o, META1_PMW_F_ACTIONS, META1_PMW_A_ALL, 4);
	return meta1_pmw_done(&o);
}

/* Many of them, as many as fit. */
static size_t pings(unsigned char *at, size_t room)
{
	size_t n = 0;

	while (n + META1_PMW_HEAD <= room)
		n += bare(at + n, META1_PMW_PING, 0);
	return n;
}

/* ---- who sends and does not read ---- */

static void a_filter_that_does_not_read(void **state)
{
	static unsigned char buf[12 * 1000];
	struct meta1_pm_ask ask = {.size = sizeof(ask), .stage = META1_PM_CONNECT};
	struct pf *f = pf_new("");
	int lis = raw_listen(f), fd = -1;
	size_t sent = 0;
	struct ps s;

	(void)state;
	ps_begin(f, &s);
	ps_put(&s, &ask);
	while (fd < 0) {
		pf_turn(f);
		fd = accept4(lis, NULL, NULL, SOCK_NONBLOCK);
	}
	assert_true(send(fd, buf, greeting(buf, META1_PMW_WELCOME), MSG_NOSIGNAL) > 0);
	pings(buf, sizeof(buf));
	while (!s.answers && sent < 20000000) {
		ssize_t n = send(fd, buf, sizeof(buf), MSG_NOSIGNAL);

		assert_true(n < 0 || n % META1_PMW_HEAD == 0);
		sent += n > 0 ? (size_t)n : 0;
		pf_turn(f);
	}
	assert_true(sent < 4000000);
	assert_int_equal(s.st, META1_TEMPFAIL);
	assert_non_null(strstr(s.text, "it sends and does not read"));
	ps_close(&s);
	close(fd);
	close(lis);
	pf_free(&f);
}

static void lib_turns(struct pf *f, int n)
{
	while (n-- > 0)
		event_base_loop(sm_pmfi_base(f->g), EVLOOP_NONBLOCK);
}

static unsigned closes;

static sm_ret_T close_count(pmse_ctx_P s)
{
	(void)s;
	__atomic_add_fetch(&closes, 1, __ATOMIC_RELAXED); /* on a thread */
	return SM_SUCCESS;
}

static sfsistat_T go_on(pmse_ctx_P s)
{
	(void)s;
	return SMTP_R_CONT;
}

/* All of it is answered once it reads. */
static void a_server_that_does_not_read(void **state)
{
	static const struct pmilter_S fi = {.pmfi_name = "flooded", .pmfi_data = go_on};
	static unsigned char buf[12 * 1000];
	struct pf *f = pf_new("");
	size_t sent = 0, got = 0;
	ssize_t n;
	int fd;

	(void)state;
	closes = 0;
	pf_filter(f, &fi);
	fd = raw_connect(f);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	assert_true(send(fd, buf, greeting(buf, META1_PMW_HELLO), MSG_NOSIGNAL) > 0);
	lib_turns(f, 3);
	while (recv(fd, buf, sizeof(buf), 0) < 0)
		lib_turns(f, 1);
	pings(buf, sizeof(buf));
	for (int full = 0; full < 10 && sent < 20000000;) {
		n = send(fd, buf, sizeof(buf), MSG_NOSIGNAL);
		assert_true(n < 0 || n % META1_PMW_HEAD == 0);
		sent += n > 0 ? (size_t)n : 0;
		full = n > 0 ? 0 : full + 1;
		lib_turns(f, 2);
	}
	assert_true(sent < 4000000);
	for (int i = 0; i < 100000 && got < sent; i++) {
		n = recv(fd, buf, sizeof(buf), 0);
		got += n > 0 ? (size_t)n : 0;
		lib_turns(f, 1);
	}
	assert_int_equal(got, sent);
	close(fd);
	lib_turns(f, 3);
	pf_free(&f);
}

static void a_server_that_opens_sessions(void **state)
{
	static const struct pmilter_S fi = {
	    .pmfi_name = "sessions", .pmfi_data = go_on, .pmfi_close = close_count};
	static unsigned char buf[12 * 1000];
	struct pf *f = pf_new("");
	uint32_t id = 0;
	int fd;

	(void)state;
	closes = 0;
	pf_filter(f, &fi);
	fd = raw_connect(f);
	assert_true(send(fd, buf, greeting(buf, META1_PMW_HELLO), MSG_NOSIGNAL) > 0);
	while (!closes && id < 100000) {
		size_t n = 0;

		while (n < sizeof(buf))
			n += bare(buf + n, META1_PMW_OPEN, ++id);
		if (send(fd, buf, n, MSG_NOSIGNAL) < 0)
			break;
		lib_turns(f, 1);
	}
	assert_true(closes >= 65000 && closes < 66000);
	close(fd);
	lib_turns(f, 3);
	pf_free(&f);
}

/* ---- what is kept of a mail ---- */

static char heard[400];

static sm_ret_T wants_author(pmss_ctx_P ss, uint32_t cap, uint32_t fct, uint32_t feat,
    uint32_t misc, uint32_t *pcap, uint32_t *pfct, uint32_t *pfeat, uint32_t *pmisc)
{
	static const uint32_t mail[] = {PMM_AUTH_AUTHEN, PMM_AUTH_AUTHOR, PMM_TAID, PMM_END};

	(void)cap, (void)fct, (void)feat, (void)misc;
	(void)pcap, (void)pfct, (void)pfeat, (void)pmisc;
	return sm_pmfi_setmacs(ss, PM_SMST_MAIL, mail);
}

static sfsistat_T tell_mail(pmse_ctx_P s, const char *from, const char *const *params)
{
	const struct pmse_info_S *i = sm_pmfi_info(s);
	const char *user, *author, *taid;
	size_t n = strlen(heard);

	(void)params;
	sm_pmfi_getmac(s, PMM_AUTH_AUTHEN, &user);
	sm_pmfi_getmac(s, PMM_AUTH_AUTHOR, &author);
	sm_pmfi_getmac(s, PMM_TAID, &taid);
	snprintf(heard + n, sizeof(heard) - n, "%s %s %s %s %u %u;", from, user ? user : "-",
	    author ? author : "-", taid ? taid : "-", (unsigned)i->bytes, i->nrcpt);
	return SMTP_R_CONT;
}

static void a_mail_is_forgotten(void **state)
{
	static const struct pmilter_S fi = {.pmfi_name = "forgets",
	    .pmfi_negotiate = wants_author,
	    .pmfi_mail = tell_mail,
	    .pmfi_eom = go_on,
	    .pmfi_close = close_count};
	struct pf *f = pf_new("");
	struct meta1_extent e;
	struct meta1_pm_message m = ps_message(&e, small);
	struct ps s;

	(void)state;
	closes = 0;
	*heard = '\0';
	pf_filter(f, &fi);
	ps_begin(f, &s);
	s.about.auth_user = "ann";
	for (int i = 0; i < 2; i++) {
		s.about.auth_author = i ? NULL : "boss@example.org";
		s.about.taid = i ? NULL : "S1";
		assert_int_equal(ps_ask(&s, META1_PM_CONNECT, ""), META1_OK);
		assert_int_equal(ps_ask(&s, META1_PM_MAIL, i ? "b" : "a"), META1_OK);
		s.about.nrcpt = 3;
		assert_int_equal(ps_end(&s, &m), META1_OK);
		f->ops->reset(s.sess);
		s.about.nrcpt = 0;
	}
	assert_string_equal(heard, "a ann boss@example.org S1 0 0;b ann - - 0 0;");
	ps_close(&s);
	pf_until(f, &closes, 1);
	pf_free(&f);
}

/* ---- texts ---- */

static char *repeat(char c, size_t n)
{
	char *p = base_alloc(n + 1);

	memset(p, c, n);
	p[n] = '\0';
	return p;
}

/* The largest that are taken, all at once, are said. */
static sfsistat_T long_texts(pmse_ctx_P s)
{
	char *line = repeat('x', 900), *note = repeat('n', 16384), *over = repeat('o', 70000);
	char *text = base_alloc(33 * 901 + 1);

	for (int i = 0; i < 32; i++)
		strcat(strcat(text, line), "\n");
	assert_int_equal(sm_pmfi_setreply(s, "554", "5.7.1", text), SM_SUCCESS);
	assert_int_equal(sm_pmfi_setreply(s, "554", "5.7.1", strcat(text, "33")), -EMSGSIZE);
	assert_int_equal(sm_pmfi_setreply(s, "554", "5.7.1", over), -EMSGSIZE);
	assert_int_equal(sm_pmfi_note(s, note), SM_SUCCESS);
	assert_int_equal(sm_pmfi_note(s, over), -EMSGSIZE);
	assert_int_equal(sm_pmfi_hold(s, note), SM_SUCCESS);
	assert_int_equal(sm_pmfi_hold(s, over), -EMSGSIZE);
	free(line);
	free(note);
	free(over);
	free(text);
	return 554;
}

static void texts_have_an_end(void **state)
{
	static const struct pmilter_S fi = {
	    .pmfi_name = "long", .pmfi_eom = long_texts, .pmfi_close = close_count};
	struct pf *f = pf_new("");
	struct meta1_extent e;
	struct meta1_pm_message m = ps_message(&e, small);
	struct ps s;

	(void)state;
	closes = 0;
	pf_filter(f, &fi);
	ps_begin(f, &s);
	assert_int_equal(ps_ask(&s, META1_PM_CONNECT, ""), META1_OK);
	if (ps_end(&s, &m) != META1_OK)
		fail_msg("%s", s.text);
	assert_int_equal(s.v->smtp, 554);
	assert_int_equal(s.v->nline, 32);
	assert_int_equal(strlen(s.v->note), 16384);
	ps_close(&s);
	pf_until(f, &closes, 1);
	pf_free(&f);
}

static sfsistat_T nonsense(pmse_ctx_P s)
{
	(void)s;
	return 0; /* success, elsewhere */
}

static void what_is_no_verdict_is_for_later(void **state)
{
	static const struct pmilter_S fi = {
	    .pmfi_name = "zero", .pmfi_data = nonsense, .pmfi_close = close_count};
	struct pf *f = pf_new("");
	struct ps s;

	(void)state;
	closes = 0;
	pf_filter(f, &fi);
	assert_int_equal(sm_pmfi_setconn(f->g, "unix:relative"), -EINVAL);
	ps_begin(f, &s);
	assert_int_equal(ps_ask(&s, META1_PM_CONNECT, ""), META1_OK);
	assert_int_equal(ps_ask(&s, META1_PM_DATA, ""), META1_OK);
	assert_int_equal(s.v->action, META1_PM_REFUSE);
	assert_int_equal(s.v->smtp, 451);
	ps_close(&s);
	pf_until(f, &closes, 1);
	pf_free(&f);
}

/* ---- threads ---- */

static atomic_int inside;

/* Is back when another session is in it too; or after 5 s, which is wrong. */
static sfsistat_T together(pmse_ctx_P s)
{
	int even;

	(void)s;
	even = (atomic_fetch_add(&inside, 1) / 2 + 1) * 2;
	for (int i = 0; i < 50000 && atomic_load(&inside) < even; i++)
		usleep(100);
	return atomic_load(&inside) < even ? SMTP_R_TEMP : SMTP_R_CONT;
}

static void two_sessions_have_two_threads(void **state)
{
	static const struct pmilter_S fi = {.pmfi_name = "threads",
	    .pmfi_thrmax_s = 1,
	    .pmfi_thrmax_h = 2,
	    .pmfi_data = together,
	    .pmfi_close = close_count};
	const struct meta1_pm_ask data = {.size = sizeof(data), .stage = META1_PM_DATA};
	struct pf *f = pf_new("");
	struct ps s[2];

	(void)state;
	closes = 0;
	pf_filter(f, &fi);
	for (int i = 0; i < 2; i++) {
		ps_begin(f, &s[i]);
		assert_int_equal(ps_ask(&s[i], META1_PM_CONNECT, ""), META1_OK);
	}
	for (unsigned round = 1; round <= 20; round++) {
		for (int i = 0; i < 2; i++)
			ps_put(&s[i], &data);
		for (int i = 0; i < 2; i++) {
			pf_until(f, &s[i].answers, round + 1);
			assert_int_equal(s[i].v->action, META1_PM_CONTINUE);
		}
	}
	for (int i = 0; i < 2; i++)
		ps_close(&s[i]);
	pf_until(f, &closes, 2);
	pf_free(&f);
}

/* Where a file is in the way it may try again later. */
static void listening_can_be_tried_again(void **state)
{
	static const struct pmilter_S fi = {
	    .pmfi_name = "again", .pmfi_thrmax_h = 2, .pmfi_data = go_on};
	struct pf *f = pf_new("");
	int fd = open(f->sock, O_CREAT | O_WRONLY, 0600);

	(void)state;
	assert_int_equal(sm_pmfi_init(&f->g), SM_SUCCESS);
	assert_int_equal(sm_pmfi_setconn(f->g, f->where), SM_SUCCESS);
	assert_int_equal(sm_pmfi_listen(f->g, &fi), -EEXIST);
	close(fd);
	unlink(f->sock);
	assert_int_equal(sm_pmfi_listen(f->g, &fi), SM_SUCCESS);
	close(raw_connect(f));
	lib_turns(f, 3);
	pf_free(&f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_filter_that_does_not_read),
	    cmocka_unit_test(a_server_that_does_not_read),
	    cmocka_unit_test(a_server_that_opens_sessions),
	    cmocka_unit_test(a_mail_is_forgotten),
	    cmocka_unit_test(texts_have_an_end),
	    cmocka_unit_test(what_is_no_verdict_is_for_later),
	    cmocka_unit_test(two_sessions_have_two_threads),
	    cmocka_unit_test(listening_can_be_tried_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
