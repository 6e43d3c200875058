/* SPDX-License-Identifier: BSD-2-Clause */
#include "pmilter_writer.h"

#include <errno.h>

char pw_heard[4096];
char pw_content[8 << 20];
size_t pw_ncontent;
unsigned pw_closes, pw_aborts;
sfsistat_T pw_at_eom, pw_at_msg;
pmse_ctx_P pw_later;

static void note(const char *what, const char *arg)
{
	size_t n = strlen(pw_heard);

	snprintf(pw_heard + n, sizeof(pw_heard) - n, "%s %s;", what, arg);
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
	assert_true(n <= PMILTER_CHUNK_SIZE && pw_ncontent + n <= sizeof(pw_content));
	memcpy(pw_content + pw_ncontent, p, n);
	pw_ncontent += n;
	return pw_at_msg;
}

sfsistat_T pw_on_eom(pmse_ctx_P s)
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
	pw_later = s;
	return pw_at_eom;
}

static sm_ret_T on_abort(pmse_ctx_P s)
{
	(void)s;
	pw_aborts++;
	return SM_SUCCESS;
}

sm_ret_T pw_on_close(pmse_ctx_P s)
{
	(void)s;
	pw_closes++;
	return SM_SUCCESS;
}

const struct pmilter_S pw_filter = {.pmfi_name = "writer",
    .pmfi_negotiate = negotiate,
    .pmfi_connect = on_connect,
    .pmfi_helo = on_helo,
    .pmfi_mail = on_mail,
    .pmfi_rcpt = on_rcpt,
    .pmfi_data = on_data,
    .pmfi_msg = on_msg,
    .pmfi_eom = pw_on_eom,
    .pmfi_abort = on_abort,
    .pmfi_close = pw_on_close};

struct pf *pw_up(const struct pmilter_S *fi, const char *options)
{
	struct pf *f = pf_new(options);

	*pw_heard = '\0';
	pw_ncontent = pw_closes = pw_aborts = 0;
	pw_at_eom = pw_at_msg = SMTP_R_CONT;
	pf_filter(f, fi);
	return f;
}

void pw_down(struct pf *f, struct ps *s, unsigned closed)
{
	ps_close(s);
	pf_until(f, &pw_closes, closed);
	pf_free(&f);
}

const char pw_small[] = "Subject: hi\r\nTo: <b@example.org>\r\n\r\nbody\r\n.dot\r\n";

/* connect, helo, mail, rcpt, data; without END */
void pw_envelope(struct ps *s)
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
