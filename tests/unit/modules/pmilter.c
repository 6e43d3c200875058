/* SPDX-License-Identifier: BSD-2-Clause */
/* pmilter_pmilter and libpmilter against each other: what the one asks the other hears, and back.
 * over 500 lines: one filter, and what it and the module say of each other. */
#include "pmilter_fix.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>

/* ---- a filter that writes down what it hears ---- */

static char heard[4096];
static char content[8 << 20];
static size_t ncontent;
static unsigned closes, aborts;
static sfsistat_T at_eom, at_msg;
static pmse_ctx_P later;

static void note(const char *what, const char *arg)
{
	size_t n = strlen(heard);

	snprintf(heard + n, sizeof(heard) - n, "%s %s;", what, arg);
}

static void note_macro(pmse_ctx_P s, const char *name, uint32_t macro)
{
	const char *v;

	assert_int_equal(sm_pmfi_getmac(s, macro, &v), SM_SUCCESS);
	if (v)
		note(name, v);
}

static sm_ret_T negotiate(pmss_ctx_P ss, uint32_t cap, uint32_t fct, uint32_t feat, uint32_t misc,
    uint32_t *pcap, uint32_t *pfct, uint32_t *pfeat, uint32_t *pmisc)
{
	static const uint32_t mail[] = {PMM_TAID, PMM_MSGID, PMM_TLS_VERSION, PMM_END};
	static const uint32_t all[] = {PMM_HOSTNAME, PMM_CLIENT_RESOLVE, PMM_TLS_VERSION,
	    PMM_TLS_CIPHER_SUITE, PMM_TLS_CIPHER_BITS, PMM_TLS_ALG_BITS, PMM_TLS_CERT_SUBJECT,
	    PMM_TLS_CN_SUBJECT, PMM_TLS_CN_ISSUER, PMM_TLS_VRFY, PMM_AUTH_TYPE, PMM_AUTH_AUTHEN,
	    PMM_AUTH_AUTHOR, PMM_TAID, PMM_MSGID, PMM_C, PMM_LISTENER, PMM_END};

	(void)fct, (void)feat, (void)misc, (void)pfct, (void)pfeat, (void)pmisc;
	assert_int_equal(cap & *pcap, *pcap);
	assert_int_equal(sm_pmfi_setmacs(ss, PM_SMST_MAIL, mail), SM_SUCCESS);
	assert_int_equal(sm_pmfi_setmacs(ss, PM_SMST_DOT, all), SM_SUCCESS);
	return SM_SUCCESS;
}

static sfsistat_T on_connect(pmse_ctx_P s, const char *name, const sm_sockaddr_T *a)
{
	note("connect", name);
	assert_non_null(a);
	assert_string_equal(sm_pmfi_info(s)->serial, "S0000000000000012");
	assert_int_equal(sm_pmfi_info(s)->port, 4321);
	return SMTP_R_CONT;
}

static sfsistat_T on_helo(pmse_ctx_P s, const char *name)
{
	note("helo", name);
	note_macro(s, "taid", PMM_TAID);
	return strcmp(name, "bad") == 0 ? 554 : SMTP_R_CONT;
}

static sfsistat_T on_mail(pmse_ctx_P s, const char *a, const char *const *params)
{
	note("mail", a);
	note("param", params[0] ? params[0] : "");
	note_macro(s, "taid", PMM_TAID);
	note_macro(s, "msgid", PMM_MSGID);
	note_macro(s, "host", PMM_HOSTNAME); /* not asked for here */
	note_macro(s, "tls", PMM_TLS_VERSION);
	return SMTP_R_CONT;
}

static sfsistat_T on_rcpt(pmse_ctx_P s, const char *a, const char *const *params)
{
	(void)params;
	note("rcpt", a);
	if (*a != 'x')
		return SMTP_R_CONT;
	assert_int_equal(sm_pmfi_setreply(s, "550", "5.7.1", "not you,\nnot today"), SM_SUCCESS);
	return SMTP_R_PERM;
}

static sfsistat_T on_data(pmse_ctx_P s)
{
	char n[40];

	snprintf(n, sizeof(n), "%u/%u", sm_pmfi_info(s)->nrcpt, sm_pmfi_info(s)->nbad);
	note("data", n);
	assert_int_equal(sm_pmfi_hdr_mod(s, SM_HDRMOD_T_APPEND, 0, "X", "y"), -EINVAL);
	return SMTP_R_CONT;
}

static sfsistat_T on_msg(pmse_ctx_P s, const unsigned char *p, size_t n)
{
	(void)s;
	assert_true(n <= PMILTER_CHUNK_SIZE && ncontent + n <= sizeof(content));
	memcpy(content + ncontent, p, n);
	ncontent += n;
	return at_msg;
}

static sfsistat_T on_eom(pmse_ctx_P s)
{
	note("eom", "");
	note_macro(s, "taid", PMM_TAID);
	note_macro(s, "msgid", PMM_MSGID);
	note_macro(s, "c", PMM_C);
	note_macro(s, "host", PMM_HOSTNAME);
	note_macro(s, "tls", PMM_TLS_VERSION);
	note_macro(s, "cn", PMM_TLS_CN_SUBJECT);
	note_macro(s, "issuer", PMM_TLS_CN_ISSUER);
	note_macro(s, "bits", PMM_TLS_CIPHER_BITS);
	note_macro(s, "user", PMM_AUTH_AUTHEN);
	later = s;
	return at_eom;
}

static sm_ret_T on_abort(pmse_ctx_P s)
{
	(void)s;
	aborts++;
	return SM_SUCCESS;
}

static sm_ret_T on_close(pmse_ctx_P s)
{
	(void)s;
	closes++;
	return SM_SUCCESS;
}

static const struct pmilter_S filter = {.pmfi_name = "writer",
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

static struct pf *up(const struct pmilter_S *fi, const char *options)
{
	struct pf *f = pf_new(options);

	*heard = '\0';
	ncontent = closes = aborts = 0;
	at_eom = at_msg = SMTP_R_CONT;
	pf_filter(f, fi);
	return f;
}

static void down(struct pf *f, struct ps *s, unsigned closed)
{
	ps_close(s);
	pf_until(f, &closes, closed);
	pf_free(&f);
}

/* ---- tests ---- */

static const char small[] = "Subject: hi\r\nTo: <b@example.org>\r\n\r\nbody\r\n.dot\r\n";

/* connect, helo, mail, rcpt, data; without END */
static void envelope(struct ps *s)
{
	assert_int_equal(ps_ask(s, META1_PM_CONNECT, ""), META1_OK);
	assert_int_equal(ps_ask(s, META1_PM_HELO, "client.example"), META1_OK);
	s->about.taid = "S00000000000000AA01";
	assert_int_equal(ps_ask(s, META1_PM_MAIL, "a@example.net"), META1_OK);
	assert_int_equal(ps_ask(s, META1_PM_RCPT, "b@example.org"), META1_OK);
	s->about.nrcpt = 1;
	s->about.nbad = 2;
	assert_int_equal(ps_ask(s, META1_PM_DATA, ""), META1_OK);
	assert_int_equal(s->v->action, META1_PM_CONTINUE);
}

static void a_mail_is_told(void **state)
{
	struct pf *f = up(&filter, "");
	struct ps s;
	struct meta1_extent e;
	struct meta1_pm_message m = ps_message(&e, small);
	struct meta1_tls tls = {.size = sizeof(tls),
	    .bits = 256,
	    .version = "TLSv1.3",
	    .subject = "/O=x/CN=user/OU=y",
	    .issuer = "/CN=ca"};

	(void)state;
	ps_begin(f, &s);
	s.about.msgid = "<early@x>";
	envelope(&s);
	s.about.msgid = "<m@x>";
	s.about.hops = 3;
	s.about.tls = &tls;
	s.about.auth_user = "ann";
	assert_int_equal(ps_end(&s, &m), META1_OK);
	assert_string_equal(heard,
	    "connect client.example;helo client.example;mail a@example.net;param SIZE=1000;"
	    "taid S00000000000000AA01;rcpt b@example.org;data 1/2;eom ;taid S00000000000000AA01;"
	    "msgid <m@x>;c 3;host gw.test;tls TLSv1.3;cn user;issuer ca;bits 256;user ann;");
	assert_int_equal(ncontent, sizeof(small) - 1);
	assert_memory_equal(content, small, ncontent);
	f->ops->reset(s.sess);
	/* a second mail in the session, and its end before the dot */
	assert_int_equal(ps_ask(&s, META1_PM_MAIL, ""), META1_OK);
	f->ops->reset(s.sess);
	pf_until(f, &aborts, 1);
	down(f, &s, 1);
	assert_int_equal(aborts, 1);
}

static void replies(void **state)
{
	struct pf *f = up(&filter, "");
	struct ps s;

	(void)state;
	ps_begin(f, &s);
	assert_int_equal(ps_ask(&s, META1_PM_CONNECT, ""), META1_OK);
	assert_int_equal(ps_ask(&s, META1_PM_HELO, "bad"), META1_OK);
	assert_int_equal(s.v->action, META1_PM_REFUSE);
	assert_int_equal(s.v->smtp, 554);
	assert_int_equal(s.v->nline, 0);
	assert_int_equal(ps_ask(&s, META1_PM_MAIL, "a@b"), META1_OK);
	assert_int_equal(ps_ask(&s, META1_PM_RCPT, "x@b"), META1_OK);
	assert_int_equal(s.v->smtp, 550);
	assert_string_equal(s.v->dsn, "5.7.1");
	assert_int_equal(s.v->nline, 2);
	assert_string_equal(s.v->line[0].data, "not you,");
	assert_string_equal(s.v->line[1].data, "not today");
	/* the reply was for that recipient alone */
	assert_int_equal(ps_ask(&s, META1_PM_RCPT, "y@b"), META1_OK);
	assert_int_equal(s.v->action, META1_PM_CONTINUE);
	down(f, &s, 1);
}

static sfsistat_T edits_eom(pmse_ctx_P s)
{
	static char huge[META1_PMW_VALUE_MAX + 2];

	memset(huge, 'h', sizeof(huge) - 1);
	assert_int_equal(sm_pmfi_hdr_mod(s, SM_HDRMOD_T_APPEND, 0, "X-A", "1"), SM_SUCCESS);
	assert_int_equal(sm_pmfi_hdr_mod(s, SM_HDRMOD_T_INSERT, 2, "X-B", ""), SM_SUCCESS);
	assert_int_equal(sm_pmfi_hdr_mod(s, SM_HDRMOD_T_REMOVE, 1, "X-C", NULL), SM_SUCCESS);
	assert_int_equal(sm_pmfi_hdr_mod(s, SM_HDRMOD_T_APPEND, 0, "X-D", huge), -EMSGSIZE);
	assert_int_equal(sm_pmfi_hdr_mod(s, SM_HDRMOD_T_APPEND, 0, "X-D", NULL), -EINVAL);
	assert_int_equal(sm_pmfi_rcpt_add(s, "n@x", NULL), SM_SUCCESS);
	assert_int_equal(sm_pmfi_rcpt_del(s, "b@x"), SM_SUCCESS);
	assert_int_equal(sm_pmfi_mail_set(s, "", NULL), SM_SUCCESS);
	assert_int_equal(sm_pmfi_hold(s, "look at it"), SM_SUCCESS);
	assert_int_equal(sm_pmfi_note(s, "score 5"), SM_SUCCESS);
	assert_int_equal(sm_pmfi_setreply(s, "250", NULL, "no"), -EINVAL);
	assert_int_equal(sm_pmfi_setreply(s, "550", "4.7.1", "no"), -EINVAL);
	assert_int_equal(sm_pmfi_wants(s, PM_SMST_DOT), SM_SUCCESS);
	return at_eom;
}

static void edits(void **state)
{
	static const struct pmilter_S fi = {
	    .pmfi_name = "edits", .pmfi_eom = edits_eom, .pmfi_close = on_close};
	struct pf *f = up(&fi, "");
	struct ps s;
	struct meta1_extent e;
	struct meta1_pm_message m = ps_message(&e, small);
	const struct meta1_pm_edit *d;

	(void)state;
	ps_begin(f, &s);
	assert_int_equal(ps_ask(&s, META1_PM_CONNECT, ""), META1_OK);
	assert_int_equal(s.v->wants, META1_PM_END);
	at_eom = SMTP_R_ACCEPT;
	assert_int_equal(ps_end(&s, &m), META1_OK);
	assert_int_equal(s.v->action, META1_PM_ACCEPT);
	assert_int_equal(s.v->nedit, 6);
	d = s.v->edit;
	assert_int_equal(d[0].kind, META1_PM_ADD_HEADER);
	assert_string_equal(d[0].name.data, "X-A");
	assert_string_equal(d[0].value.data, "1");
	assert_int_equal(d[1].index, 2);
	assert_non_null(d[1].value.data);
	assert_int_equal(d[2].kind, META1_PM_CHANGE_HEADER);
	assert_null(d[2].value.data);
	assert_int_equal(d[3].kind, META1_PM_ADD_RCPT);
	assert_int_equal(d[4].kind, META1_PM_DEL_RCPT);
	assert_int_equal(d[5].kind, META1_PM_SENDER);
	assert_string_equal(s.v->hold, "look at it");
	assert_string_equal(s.v->note, "score 5");
	assert_int_equal(s.v->wants, META1_PM_END);
	assert_int_equal(ncontent, 0); /* no pmfi_msg: it was not sent */
	/* of a mail that is refused, or thrown away, nothing is edited */
	for (int i = 0; i < 2; i++) {
		f->ops->reset(s.sess);
		at_eom = i ? SMTP_R_DISCARD : 554;
		assert_int_equal(ps_end(&s, &m), META1_OK);
		assert_int_equal(s.v->action, i ? META1_PM_DISCARD : META1_PM_REFUSE);
		assert_int_equal(s.v->nedit, 0);
	}
	down(f, &s, 1);
}

/* ---- replaced messages ---- */

static size_t new_size, new_at;
static unsigned new_stat;

static sm_ret_T part(pmse_ctx_P s, const unsigned char **p, size_t *n)
{
	static unsigned char buf[100000];

	(void)s;
	*n = new_size - new_at < sizeof(buf) ? new_size - new_at : sizeof(buf);
	for (size_t i = 0; i < *n; i++)
		buf[i] = (unsigned char)('a' + (new_at + i) % 23);
	*p = buf;
	new_at += *n;
	return SM_SUCCESS;
}

static sm_ret_T part_stat(pmse_ctx_P s, sm_ret_T r)
{
	(void)s;
	new_stat += r == SM_SUCCESS;
	return SM_SUCCESS;
}

static const struct pmilter_S replacer = {.pmfi_name = "replacer",
    .pmfi_eom = on_eom,
    .pmfi_msg_rplc = part,
    .pmfi_msg_rplc_stat = part_stat,
    .pmfi_close = on_close};

static void check_new(const struct meta1_pm_edit *d, size_t size)
{
	const struct meta1_extent *x = d->extent;
	char c[4096];

	assert_int_equal(d->kind, META1_PM_MESSAGE);
	assert_int_equal(d->nextent, 1);
	assert_int_equal(x->len, size);
	for (size_t at = 0; at < size; at += sizeof(c)) {
		size_t n = size - at < sizeof(c) ? size - at : sizeof(c);

		if (x->mem)
			memcpy(c, (const char *)x->mem + at, n);
		else
			assert_int_equal(pread(x->fd, c, n, (off_t)(x->off + at)), n);
		for (size_t i = 0; i < n; i++)
			if (c[i] != (char)('a' + (at + i) % 23))
				fail_msg("byte %zu", at + i);
	}
}

static void messages_are_replaced(void **state)
{
	static const size_t sizes[] = {0, 1, 65536, 65537, 3000000};
	struct pf *f = up(&replacer, "max_message_size = 3000000B;");
	struct ps s;
	struct meta1_extent e;
	struct meta1_pm_message m = ps_message(&e, small);

	(void)state;
	ps_begin(f, &s);
	assert_int_equal(ps_ask(&s, META1_PM_CONNECT, ""), META1_OK);
	at_eom = SMTP_R_RPLCMSG;
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		new_size = sizes[i];
		new_at = new_stat = 0;
		assert_int_equal(ps_end(&s, &m), META1_OK);
		assert_int_equal(s.v->nedit, 1);
		check_new(s.v->edit, sizes[i]);
		assert_int_equal(new_stat, 1);
		f->ops->reset(s.sess);
	}
	new_size = 3000001;
	new_at = 0;
	assert_int_equal(ps_end(&s, &m), META1_TEMPFAIL);
	assert_string_equal(s.text, "the filter's message is larger than max_message_size");
	down(f, &s, 1);
}

/* ---- content ---- */

static void large_messages_of_memory_and_file(void **state)
{
	struct pf *f = up(&filter, "");
	struct ps s[2];
	size_t half = 2000000;
	char *text = base_alloc(half);
	struct meta1_extent e[3];
	struct meta1_pm_message m = {
	    .size = sizeof(m), .nextent = 3, .extent = e, .bytes = 2 * half + 7, .header = 7};
	int fd = open(f->dir, O_TMPFILE | O_RDWR, 0600);

	(void)state;
	for (size_t i = 0; i < half; i++)
		text[i] = (char)('A' + i % 29);
	assert_int_equal(pwrite(fd, text, half, 5), half);
	e[0] = (struct meta1_extent){.mem = "X: y\r\n\r", .len = 7, .fd = -1};
	e[1] = (struct meta1_extent){.fd = fd, .off = 5, .len = half};
	e[2] = (struct meta1_extent){.mem = text, .len = half, .fd = -1};
	ps_begin(f, &s[0]);
	assert_int_equal(ps_ask(&s[0], META1_PM_CONNECT, ""), META1_OK);
	assert_int_equal(ps_end(&s[0], &m), META1_OK);
	assert_int_equal(ncontent, m.bytes);
	assert_memory_equal(content, "X: y\r\n\r", 7);
	assert_memory_equal(content + 7, text, half);
	assert_memory_equal(content + 7 + half, text, half);
	/* it has enough after the first chunk */
	ncontent = 0;
	at_msg = 552;
	assert_int_equal(ps_end(&s[0], &m), META1_OK);
	assert_int_equal(s[0].v->smtp, 552);
	assert_true(ncontent <= PMILTER_CHUNK_SIZE);
	/* a file that is shorter than it was fails its question, not the next */
	at_msg = SMTP_R_CONT;
	assert_int_equal(ftruncate(fd, 1000), 0);
	assert_int_equal(ps_end(&s[0], &m), META1_TEMPFAIL);
	assert_string_equal(s[0].text, "the message is shorter than it was");
	ps_begin(f, &s[1]);
	assert_int_equal(ps_ask(&s[1], META1_PM_CONNECT, ""), META1_OK);
	ps_close(&s[1]);
	close(fd);
	free(text);
	down(f, &s[0], 2);
}

/* ---- many sessions ---- */

static unsigned eoms;

static sfsistat_T count_eom(pmse_ctx_P s)
{
	uintptr_t n = (uintptr_t)sm_pmfi_get_ctx_se(s);

	eoms++;
	return n == 3 * strlen(small) ? SMTP_R_CONT : SMTP_R_PERM;
}

static sfsistat_T count_msg(pmse_ctx_P s, const unsigned char *p, size_t n)
{
	(void)p;
	sm_pmfi_set_ctx_se(s, (char *)sm_pmfi_get_ctx_se(s) + n);
	return SMTP_R_CONT;
}

static sfsistat_T slow_eom(pmse_ctx_P s)
{
	usleep(2000);
	__atomic_add_fetch(&eoms, 1, __ATOMIC_RELAXED);
	return sm_pmfi_get_ctx_se(s) == (void *)(3 * strlen(small)) ? SMTP_R_CONT : SMTP_R_PERM;
}

static sm_ret_T close_count(pmse_ctx_P s)
{
	(void)s;
	__atomic_add_fetch(&closes, 1, __ATOMIC_RELAXED);
	return SM_SUCCESS;
}

static void many(const struct pmilter_S *fi, unsigned n)
{
	struct pf *f = up(fi, "");
	struct ps *s = base_alloc(n * sizeof(*s));
	struct meta1_extent e[3];
	struct meta1_pm_message m = ps_message(&e[0], small);
	struct meta1_pm_ask con = {.size = sizeof(con), .stage = META1_PM_CONNECT};
	struct meta1_pm_ask end = {.size = sizeof(end), .stage = META1_PM_END, .msg = &m};

	e[1] = e[2] = e[0];
	m.nextent = 3;
	m.bytes *= 3;
	eoms = 0;
	for (unsigned i = 0; i < n; i++) {
		ps_begin(f, &s[i]);
		ps_put(&s[i], &con);
	}
	for (unsigned i = 0; i < n; i++)
		pf_until(f, &s[i].answers, 1);
	for (unsigned i = 0; i < n; i++)
		ps_put(&s[i], &end);
	for (unsigned i = 0; i < n; i++) {
		pf_until(f, &s[i].answers, 2);
		assert_int_equal(s[i].st, META1_OK);
		assert_int_equal(s[i].v->action, META1_PM_CONTINUE);
	}
	assert_int_equal(eoms, n);
	for (unsigned i = 0; i < n; i++)
		ps_close(&s[i]);
	pf_until(f, &closes, n);
	free(s);
	pf_free(&f);
}

static void a_thousand_sessions_on_one_connection(void **state)
{
	static const struct pmilter_S fi = {.pmfi_name = "counter",
	    .pmfi_fdmax = 1,
	    .pmfi_msg = count_msg,
	    .pmfi_eom = count_eom,
	    .pmfi_close = close_count};

	(void)state;
	many(&fi, 1000);
}

static void callbacks_on_threads(void **state)
{
	static const struct pmilter_S fi = {.pmfi_name = "threads",
	    .pmfi_thrmax_s = 2,
	    .pmfi_thrmax_h = 8,
	    .pmfi_msg = count_msg,
	    .pmfi_eom = slow_eom,
	    .pmfi_close = close_count};

	(void)state;
	many(&fi, 100);
}

static void answers_may_come_later(void **state)
{
	struct pf *f = up(&filter, "");
	struct ps s;
	struct meta1_extent e;
	struct meta1_pm_message m = ps_message(&e, small);
	struct meta1_pm_ask end = {.size = sizeof(end), .stage = META1_PM_END, .msg = &m};

	(void)state;
	at_eom = SMTP_R_LATER;
	later = NULL;
	ps_begin(f, &s);
	assert_int_equal(ps_ask(&s, META1_PM_CONNECT, ""), META1_OK);
	ps_put(&s, &end);
	while (!later)
		pf_turn(f);
	for (int i = 0; i < 10; i++)
		pf_turn(f);
	assert_int_equal(s.answers, 1);
	assert_int_equal(sm_pmfi_hdr_mod(later, SM_HDRMOD_T_APPEND, 0, "X-L", "1"), SM_SUCCESS);
	assert_int_equal(sm_pmfi_answer(later, SMTP_R_OK), SM_SUCCESS);
	pf_until(f, &s.answers, 2);
	assert_int_equal(s.v->nedit, 1);
	assert_int_equal(sm_pmfi_answer(later, SMTP_R_OK), -EINVAL);
	/* and the server may not wait for it */
	ps_put(&s, &end);
	later = NULL;
	while (!later)
		pf_turn(f);
	down(f, &s, 1);
	assert_int_equal(aborts, 1);
}

/* ---- away, and back ---- */

static void a_filter_comes_back(void **state)
{
	struct pf *f = up(&filter, "ping = 1s;");
	struct meta1_pm_state st = {.size = sizeof(st)};
	struct ps s[3];

	(void)state;
	ps_begin(f, &s[0]);
	envelope(&s[0]);
	f->ops->state(mod_data(f->inst), &st);
	assert_int_equal(st.connected, 1);
	assert_non_null(strstr(st.peer, "pmilter writer"));
	pf_filter_end(f);
	assert_int_equal(closes, 1); /* the filter's own view of its end */
	assert_int_equal(aborts, 1);
	assert_int_equal(ps_ask(&s[0], META1_PM_RCPT, "c@b"), META1_TEMPFAIL);
	assert_non_null(strstr(s[0].text, "the filter"));
	ps_begin(f, &s[1]);
	assert_int_equal(ps_ask(&s[1], META1_PM_CONNECT, ""), META1_TEMPFAIL);
	assert_non_null(strstr(s[1].text, f->sock));
	pf_filter(f, &filter);
	ps_begin(f, &s[2]);
	assert_int_equal(ps_ask(&s[2], META1_PM_CONNECT, ""), META1_OK);
	ps_close(&s[0]);
	ps_close(&s[1]);
	down(f, &s[2], 2);
}

/* A session that had no mail when the filter went away goes on, and is told from its begin. */
static void a_session_outlives_the_filter(void **state)
{
	struct pf *f = up(&filter, "");
	struct ps s, t;

	(void)state;
	ps_begin(f, &s);
	s.about.helo = "client.example";
	envelope(&s);
	f->ops->reset(s.sess);
	pf_until(f, &aborts, 1);
	for (int bad = 0; bad < 2; bad++) {
		pf_filter_end(f);
		pf_filter(f, &filter);
		do { /* until the connection is there again */
			ps_begin(f, &t);
			ps_ask(&t, META1_PM_CONNECT, "");
			ps_close(&t);
		} while (t.st != META1_OK);
		*heard = '\0';
		s.about.helo = bad ? "bad" : "client.example";
		assert_int_equal(ps_ask(&s, META1_PM_MAIL, "next@example.net"), META1_OK);
		assert_int_equal(s.v->action, bad ? META1_PM_REFUSE : META1_PM_CONTINUE);
		if (!bad)
			assert_string_equal(heard,
			    "connect client.example;helo client.example;mail next@example.net;"
			    "param SIZE=1000;taid S00000000000000AA01;");
		f->ops->reset(s.sess);
		assert_int_equal(ps_ask(&s, META1_PM_RCPT, "b@x"), META1_OK);
		assert_int_equal(s.v->action, META1_PM_CONTINUE);
		f->ops->reset(s.sess);
	}
	ps_close(&s);
	closes = 0;
	pf_until(f, &closes, 1);
	pf_free(&f);
}

static void the_fallback_is_asked(void **state)
{
	struct pf *f;
	struct ps s;
	char path[64], options[200];

	(void)state;
	snprintf(path, sizeof(path), "/tmp/m1-pmilter-second.%ld", (long)getpid());
	snprintf(options, sizeof(options), "fallback_path = \"%s\";", path);
	f = pf_new(options);
	snprintf(f->where, sizeof(f->where), "unix://%s", path);
	pf_filter(f, &filter);
	*heard = '\0';
	closes = 0;
	ps_begin(f, &s);
	assert_int_equal(ps_ask(&s, META1_PM_CONNECT, ""), META1_OK);
	assert_string_equal(heard, "connect client.example;");
	down(f, &s, 1);
	assert_int_equal(access(path, F_OK), -1);
}

static void several_connections(void **state)
{
	struct pf *f = up(&filter, "connections = 3;");
	struct ps s[6];

	(void)state;
	for (int i = 0; i < 6; i++) {
		ps_begin(f, &s[i]);
		envelope(&s[i]);
	}
	for (int i = 1; i < 6; i++)
		ps_close(&s[i]);
	down(f, &s[0], 6);
}

static void where_it_listens(void **state)
{
	static const char *const good[] = {"unix:/run/x", "unix:///run/x", "inet:3333@127.0.0.1",
	    "inet:3333", "inet6:3333@::1", "inet://127.0.0.1:3333"};
	static const char *const bad[] = {"", "/run/x", "unix:run", "inet:", "inet:0", "inet:65536",
	    "inet:33x", "inet:3333@host", "inet6:3333@127.0.0.1", "tcp:1"};
	pmg_ctx_P g;

	(void)state;
	assert_int_equal(sm_pmfi_init(&g), SM_SUCCESS);
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_int_equal(sm_pmfi_setconn(g, good[i]), SM_SUCCESS);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (sm_pmfi_setconn(g, bad[i]) != -EINVAL)
			fail_msg("\"%s\" is taken", bad[i]);
	sm_pmfi_free(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_mail_is_told),
	    cmocka_unit_test(replies),
	    cmocka_unit_test(edits),
	    cmocka_unit_test(messages_are_replaced),
	    cmocka_unit_test(large_messages_of_memory_and_file),
	    cmocka_unit_test(a_thousand_sessions_on_one_connection),
	    cmocka_unit_test(callbacks_on_threads),
	    cmocka_unit_test(answers_may_come_later),
	    cmocka_unit_test(a_filter_comes_back),
	    cmocka_unit_test(a_session_outlives_the_filter),
	    cmocka_unit_test(the_fallback_is_asked),
	    cmocka_unit_test(several_connections),
	    cmocka_unit_test(where_it_listens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
