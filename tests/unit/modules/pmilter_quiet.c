/* SPDX-License-Identifier: BSD-2-Clause */
/* Stages that a filter is told without an answer: what it says of them all the same, when it hears
 * of them, and how many writes that takes. */
#include "pmilter_fix.h"

#include <sys/socket.h>

static char heard[1024];
static unsigned closes, eoms;
static uint32_t offered, ask_for;
static sfsistat_T at_msg;

static void note(const char *what, const char *arg)
{
	size_t n = strlen(heard);

	snprintf(heard + n, sizeof(heard) - n, "%s %s;", what, arg);
}

static sm_ret_T negotiate(pmss_ctx_P ss, uint32_t cap, uint32_t fct, uint32_t feat, uint32_t misc,
    uint32_t *pcap, uint32_t *pfct, uint32_t *pfeat, uint32_t *pmisc)
{
	(void)ss, (void)cap, (void)fct, (void)feat, (void)pcap, (void)pfct, (void)pfeat;
	offered = misc;
	*pmisc = ask_for;
	return SM_SUCCESS;
}

static sfsistat_T on_connect(pmse_ctx_P s, const char *name, const sm_sockaddr_T *a)
{
	(void)s, (void)a;
	note("connect", name);
	return SMTP_R_CONT;
}

static sfsistat_T on_helo(pmse_ctx_P s, const char *name)
{
	note("helo", name);
	if (strcmp(name, "bad") != 0)
		return SMTP_R_CONT;
	sm_pmfi_setreply(s, "554", "5.7.1", "not by that name");
	return 554;
}

static sfsistat_T on_mail(pmse_ctx_P s, const char *a, const char *const *params)
{
	(void)s, (void)params;
	note("mail", a);
	return SMTP_R_CONT;
}

static sfsistat_T on_rcpt(pmse_ctx_P s, const char *a, const char *const *params)
{
	(void)params;
	note("rcpt", a);
	if (*a != 'x')
		return SMTP_R_CONT;
	sm_pmfi_setreply(s, "550", "5.7.1", "not you");
	return SMTP_R_PERM;
}

/* A reply that it sets and does not need is of no other stage. */
static sfsistat_T on_data(pmse_ctx_P s)
{
	sm_pmfi_setreply(s, "550", NULL, "of another stage");
	note("data", "");
	return SMTP_R_CONT;
}

static sfsistat_T on_msg(pmse_ctx_P s, const unsigned char *p, size_t n)
{
	(void)s, (void)p, (void)n;
	return at_msg;
}

static sfsistat_T on_eom(pmse_ctx_P s)
{
	(void)s;
	note("eom", "");
	eoms++;
	return SMTP_R_CONT;
}

static sm_ret_T on_abort(pmse_ctx_P s)
{
	(void)s;
	note("abort", "");
	return SM_SUCCESS;
}

static sm_ret_T on_close(pmse_ctx_P s)
{
	(void)s;
	closes++;
	return SM_SUCCESS;
}

static const struct pmilter_S filter = {.pmfi_name = "quiet",
    .pmfi_negotiate = negotiate,
    .pmfi_connect = on_connect,
    .pmfi_helo = on_helo,
    .pmfi_mail = on_mail,
    .pmfi_rcpt = on_rcpt,
    .pmfi_data = on_data,
    .pmfi_msg = on_msg,
    .pmfi_eom = on_eom,
    .pmfi_abort = on_abort,
    .pmfi_close = on_close};

static struct pf *up(uint32_t quiet)
{
	struct pf *f = pf_new("");

	*heard = '\0';
	closes = eoms = 0;
	at_msg = SMTP_R_CONT;
	ask_for = quiet;
	pf_filter(f, &filter);
	return f;
}

static void down(struct pf *f, struct ps *s)
{
	ps_close(s);
	pf_until(f, &closes, 1);
	pf_free(&f);
}

static void go_on(struct ps *s, uint32_t stage, const char *arg)
{
	assert_int_equal(ps_ask(s, stage, arg), META1_OK);
	assert_int_equal(s->v->action, META1_PM_CONTINUE);
}

/* One mail; what the filter says of it at its end. */
static void mail(struct ps *s, const char *rcpt, int code, const char *says)
{
	struct meta1_extent e;
	struct meta1_pm_message m = ps_message(&e, "Subject: hi\r\n\r\nbody\r\n");

	go_on(s, META1_PM_MAIL, "a@b");
	go_on(s, META1_PM_RCPT, rcpt);
	go_on(s, META1_PM_RCPT, "y@b");
	go_on(s, META1_PM_DATA, "");
	assert_int_equal(ps_end(s, &m), META1_OK);
	assert_int_equal(s->v->action, code ? META1_PM_REFUSE : META1_PM_CONTINUE);
	assert_int_equal(s->v->smtp, code);
	assert_int_equal(s->v->nline, says ? 1 : 0);
	if (says)
		assert_string_equal(s->v->line[0].data, says);
	s->f->ops->reset(s->sess);
}

static void what_it_says_all_the_same_holds_at_the_end(void **state)
{
	struct pf *f = up(UINT32_MAX);
	struct ps s;

	(void)state;
	ps_begin(f, &s);
	go_on(&s, META1_PM_CONNECT, "");
	go_on(&s, META1_PM_HELO, "client.example");
	mail(&s, "b@b", 0, NULL);
	assert_string_equal(heard, "connect client.example;helo client.example;mail a@b;rcpt b@b;"
				   "rcpt y@b;data ;eom ;");
	assert_int_equal(offered, META1_PM_CONNECT | META1_PM_HELO | META1_PM_MAIL | META1_PM_RCPT |
				      META1_PM_DATA | META1_PM_REFUSED);
	mail(&s, "x@b", 550, "not you");
	mail(&s, "b@b", 0, NULL); /* it was that mail alone */
	at_msg = 451;
	mail(&s, "b@b", 451, NULL);
	at_msg = SMTP_R_CONT;
	go_on(&s, META1_PM_HELO, "bad");
	mail(&s, "b@b", 554, "not by that name"); /* the session: every mail */
	mail(&s, "b@b", 554, "not by that name");
	assert_int_equal(eoms, 2); /* not asked about what it has refused */
	down(f, &s);
}

/* MAIL alone is quiet: the others are answered, in their order. */
static void some_stages_are_quiet(void **state)
{
	struct pf *f = up(META1_PM_MAIL);
	struct ps s;

	(void)state;
	ps_begin(f, &s);
	go_on(&s, META1_PM_CONNECT, "");
	assert_int_equal(ps_ask(&s, META1_PM_HELO, "bad"), META1_OK);
	assert_int_equal(s.v->smtp, 554);
	*heard = '\0';
	go_on(&s, META1_PM_MAIL, "a@b");
	assert_string_equal(heard, ""); /* nobody was waited for */
	assert_int_equal(ps_ask(&s, META1_PM_RCPT, "x@b"), META1_OK);
	assert_int_equal(s.v->smtp, 550);
	assert_string_equal(heard, "mail a@b;rcpt x@b;");
	down(f, &s);
}

/* What nobody waits for is told soon, with no question behind it. */
static void it_is_told_soon(void **state)
{
	struct pf *f = up(UINT32_MAX);
	struct ps s;
	int64_t end;

	(void)state;
	ps_begin(f, &s);
	go_on(&s, META1_PM_CONNECT, "");
	go_on(&s, META1_PM_MAIL, "a@b");
	f->ops->reset(s.sess);
	end = loop_now(f->host.loop) + 20000;
	while (!strstr(heard, "abort") && loop_now(f->host.loop) < end)
		pf_turn(f);
	assert_string_equal(heard, "connect client.example;mail a@b;abort ;");
	down(f, &s);
}

/* ---- against a peer that counts reads ---- */

static void welcome(int fd, uint32_t answered)
{
	unsigned char buf[256];
	struct meta1_pmw_out o = meta1_pmw_begin(buf, sizeof(buf), META1_PMW_WELCOME, 0);

	meta1_pmw_num(&o, META1_PMW_F_VERSION, META1_PMW_VERSION, 2);
	meta1_pmw_num(&o, META1_PMW_F_STAGES, UINT32_MAX, 4);
	meta1_pmw_num(&o, META1_PMW_F_CONTENT, META1_PMW_C_NONE, 1);
	meta1_pmw_num(&o, META1_PMW_F_WANTS, answered, 4);
	assert_int_equal(write(fd, buf, meta1_pmw_done(&o)), o.len);
}

/* Types of the frames that one read brings, as letters; "": there is nothing. */
static const char *read_types(int fd)
{
	static char types[64];
	static unsigned char in[65536];
	ssize_t n = recv(fd, in, sizeof(in), MSG_DONTWAIT);
	struct meta1_pmw_frame f;
	size_t at = 0, k = 0;

	for (; n > 0 && at < (size_t)n && k + 1 < sizeof(types); at += f.all) {
		assert_int_equal(meta1_pmw_frame(in + at, (size_t)n - at, &f), 1);
		types[k++] = f.type < 16 ? '?' : "OcHMRDU[*]rC"[f.type - META1_PMW_OPEN];
	}
	types[k] = '\0';
	return types;
}

static void frames_of_a_mail_are_one_write(void **state)
{
	struct pf *f = pf_new("");
	int lis = raw_listen(f), fd = -1;
	struct ps s;
	struct meta1_extent e;
	struct meta1_pm_message m = ps_message(&e, "Subject: hi\r\n\r\nbody\r\n");
	struct meta1_pm_ask con = {.size = sizeof(con), .stage = META1_PM_CONNECT};
	struct meta1_pm_ask end = {.size = sizeof(end), .stage = META1_PM_END, .msg = &m};
	const char *got;

	(void)state;
	ps_begin(f, &s);
	ps_put(&s, &con);
	while (fd < 0) {
		pf_turn(f);
		fd = accept(lis, NULL, NULL);
	}
	while (strcmp(read_types(fd), "?") != 0)
		pf_turn(f);
	welcome(fd, META1_PM_END);
	pf_until(f, &s.answers, 1);
	go_on(&s, META1_PM_HELO, "client.example");
	go_on(&s, META1_PM_MAIL, "a@b");
	go_on(&s, META1_PM_RCPT, "b@b");
	go_on(&s, META1_PM_DATA, "");
	ps_put(&s, &end);
	/* a slow machine may have told the first of them before: what comes last comes at once */
	do {
		pf_turn(f);
		got = read_types(fd);
	} while (!strchr(got, ']'));
	assert_non_null(strstr("OcHMRD[]", got));
	ps_close(&s);
	close(fd);
	close(lis);
	pf_free(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_it_says_all_the_same_holds_at_the_end),
	    cmocka_unit_test(some_stages_are_quiet),
	    cmocka_unit_test(it_is_told_soon),
	    cmocka_unit_test(frames_of_a_mail_are_one_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
