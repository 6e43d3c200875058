/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pmfilter.c -- a filter of libpmilter that does what mail says, for test_pmilter.py.
 *
 *	pmfilter WHERE LOG [threads [quiet]]
 *
 * quiet: it has a word at the end of a mail only.
 *
 * Writes each call with its arguments and macros into LOG, a line a call. Fields "X-Do: verb rest"
 *of a message are edits and verdicts at its end; a sender or recipient "code-550@..." is refused
 *with that code.
 */
#include <meta1/pmfapi.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static FILE *out;
static int quiet;
static const struct {
	uint32_t macro;
	const char *name;
} macros[] = {{PMM_HOSTNAME, "hostname"}, {PMM_CLIENT_RESOLVE, "client_resolve"},
    {PMM_TLS_VERSION, "tls_version"}, {PMM_TLS_CIPHER_SUITE, "tls_cipher_suite"},
    {PMM_TLS_CIPHER_BITS, "tls_cipher_bits"}, {PMM_TLS_ALG_BITS, "tls_alg_bits"},
    {PMM_TLS_CERT_SUBJECT, "tls_cert_subject"}, {PMM_TLS_CERT_ISSUER, "tls_cert_issuer"},
    {PMM_TLS_CN_SUBJECT, "tls_cn_subject"}, {PMM_TLS_CN_ISSUER, "tls_cn_issuer"},
    {PMM_TLS_VRFY, "tls_vrfy"}, {PMM_AUTH_TYPE, "auth_type"}, {PMM_AUTH_AUTHEN, "auth_authen"},
    {PMM_AUTH_AUTHOR, "auth_author"}, {PMM_TAID, "taid"}, {PMM_MSGID, "msgid"}, {PMM_C, "c"},
    {PMM_LISTENER, "listener"}, {PMM_LOCAL_PORT, "local_port"}, {PMM_VERSION, "version"}};

struct mail {
	char *at;
	size_t len, new_at;
};

static void say(pmse_ctx_P s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void say(pmse_ctx_P s, const char *fmt, ...)
{
	char line[8192];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	for (size_t i = 0; i < sizeof(macros) / sizeof(macros[0]); i++) {
		const char *v;

		sm_pmfi_getmac(s, macros[i].macro, &v);
		if (v)
			n += snprintf(
			    line + n, sizeof(line) - (size_t)n, " %s=%.200s", macros[i].name, v);
	}
	fprintf(out, "%s %s\n", sm_pmfi_info(s)->serial, line);
	fflush(out);
}

static struct mail *mail(pmse_ctx_P s)
{
	struct mail *m = sm_pmfi_get_ctx_se(s);

	if (!m) {
		m = calloc(1, sizeof(*m));
		sm_pmfi_set_ctx_se(s, m);
	}
	return m;
}

static void forget(pmse_ctx_P s)
{
	struct mail *m = sm_pmfi_get_ctx_se(s);

	sm_pmfi_set_ctx_se(s, NULL);
	if (m)
		free(m->at);
	free(m);
}

/* "code-550..." */
static sfsistat_T by_name(pmse_ctx_P s, const char *a)
{
	int code = strncmp(a, "code-", 5) == 0 ? atoi(a + 5) : 0;
	char text[8], dsn[8];

	if (code < 400 || code > 599)
		return strncmp(a, "discard-", 8) == 0 ? SMTP_R_DISCARD : SMTP_R_CONT;
	snprintf(text, sizeof(text), "%d", code);
	snprintf(dsn, sizeof(dsn), "%c.7.9", *text);
	sm_pmfi_setreply(s, text, dsn, "first line\nsecond line");
	return code;
}

static sm_ret_T negotiate(pmss_ctx_P ss, uint32_t cap, uint32_t fct, uint32_t feat, uint32_t misc,
    uint32_t *pcap, uint32_t *pfct, uint32_t *pfeat, uint32_t *pmisc)
{
	uint32_t all[sizeof(macros) / sizeof(macros[0]) + 1];
	static const uint32_t few[] = {PMM_TAID, PMM_TLS_VERSION, PMM_MSGID, PMM_END};
	size_t i;

	(void)cap, (void)fct, (void)feat, (void)pcap, (void)pfct, (void)pfeat;
	*pmisc = quiet ? misc : 0;
	for (i = 0; i < sizeof(macros) / sizeof(macros[0]); i++)
		all[i] = macros[i].macro;
	all[i] = PMM_END;
	sm_pmfi_setmacs(ss, PM_SMST_HELO, few);
	sm_pmfi_setmacs(ss, PM_SMST_MAIL, few);
	return sm_pmfi_setmacs(ss, PM_SMST_DOT, all);
}

static sfsistat_T on_connect(pmse_ctx_P s, const char *name, const sm_sockaddr_T *addr)
{
	say(s, "connect %s %s family=%d", name, sm_pmfi_info(s)->client,
	    addr ? addr->sa_family : 0);
	return SMTP_R_CONT;
}

static sfsistat_T on_helo(pmse_ctx_P s, const char *name)
{
	say(s, "helo %s", name);
	return by_name(s, name);
}

static sfsistat_T on_mail(pmse_ctx_P s, const char *a, const char *const *params)
{
	say(s, "mail <%s> %s", a, params[0] ? params[0] : "");
	forget(s);
	return by_name(s, a);
}

static sfsistat_T on_rcpt(pmse_ctx_P s, const char *a, const char *const *params)
{
	(void)params;
	say(s, "rcpt <%s>", a);
	return by_name(s, a);
}

static sfsistat_T on_data(pmse_ctx_P s)
{
	say(s, "data good=%u bad=%u", sm_pmfi_info(s)->nrcpt, sm_pmfi_info(s)->nbad);
	return SMTP_R_CONT;
}

static sfsistat_T on_unknown(pmse_ctx_P s, const char *line)
{
	say(s, "unknown %s", line);
	return SMTP_R_CONT;
}

static sfsistat_T on_msg(pmse_ctx_P s, const unsigned char *p, size_t n)
{
	struct mail *m = mail(s);

	m->at = realloc(m->at, m->len + n + 1);
	memcpy(m->at + m->len, p, n);
	m->len += n;
	m->at[m->len] = '\0';
	return SMTP_R_CONT;
}

static sfsistat_T edit(pmse_ctx_P s, char *verb)
{
	char *rest = verb + strcspn(verb, " "), *value;
	uint32_t pos;

	if (*rest)
		*rest++ = '\0';
	pos = (uint32_t)strtoul(rest, &value, 10);
	value += *value == ' ';
	if (strcmp(verb, "rcpt-add") == 0)
		sm_pmfi_rcpt_add(s, rest, NULL);
	else if (strcmp(verb, "rcpt-del") == 0)
		sm_pmfi_rcpt_del(s, rest);
	else if (strcmp(verb, "sender") == 0)
		sm_pmfi_mail_set(s, rest, NULL);
	else if (strcmp(verb, "hold") == 0)
		sm_pmfi_hold(s, rest);
	else if (strcmp(verb, "note") == 0)
		sm_pmfi_note(s, rest);
	else if (strcmp(verb, "append") == 0)
		sm_pmfi_hdr_mod(s, SM_HDRMOD_T_APPEND, 0, "X-Append", rest);
	else if (strcmp(verb, "insert") == 0)
		sm_pmfi_hdr_mod(s, SM_HDRMOD_T_INSERT, pos, "X-Insert", value);
	else if (strcmp(verb, "change") == 0)
		sm_pmfi_hdr_mod(s, SM_HDRMOD_T_REPLACE, pos, "X-Old", value);
	else if (strcmp(verb, "remove") == 0)
		sm_pmfi_hdr_mod(s, SM_HDRMOD_T_REMOVE, pos, "X-Old", NULL);
	else if (strcmp(verb, "code") == 0)
		return by_name(s, rest);
	else if (strcmp(verb, "discard") == 0)
		return SMTP_R_DISCARD;
	else if (strcmp(verb, "replace") == 0)
		return SMTP_R_RPLCMSG;
	else if (strcmp(verb, "later") == 0)
		return SMTP_R_LATER; /* and never: it hangs */
	else if (strcmp(verb, "die") == 0)
		_exit(1);
	return SMTP_R_CONT;
}

static sfsistat_T on_eom(pmse_ctx_P s)
{
	struct mail *m = mail(s);
	sfsistat_T r = SMTP_R_CONT;
	char *copy = strdup(m->at ? m->at : ""), *save = NULL;

	say(s, "eom bytes=%zu header=%lu", m->len, (unsigned long)sm_pmfi_info(s)->header);
	for (char *p = strtok_r(copy, "\r\n", &save); p; p = strtok_r(NULL, "\r\n", &save))
		if (strncmp(p, "X-Do: ", 6) == 0) {
			sfsistat_T got = edit(s, p + 6);

			r = got == SMTP_R_CONT ? r : got;
		}
	free(copy);
	m->new_at = 0;
	return r;
}

/* All of it with the body in capitals, in parts of 100,000 bytes. */
static sm_ret_T new_part(pmse_ctx_P s, const unsigned char **p, size_t *n)
{
	struct mail *m = mail(s);
	size_t header = (size_t)sm_pmfi_info(s)->header;

	if (m->new_at == 0)
		for (size_t i = header; i < m->len; i++)
			if (m->at[i] >= 'a' && m->at[i] <= 'z')
				m->at[i] = (char)(m->at[i] - 32);
	*p = (unsigned char *)m->at + m->new_at;
	*n = m->len - m->new_at < 100000 ? m->len - m->new_at : 100000;
	m->new_at += *n;
	return SM_SUCCESS;
}

static sm_ret_T new_stat(pmse_ctx_P s, sm_ret_T r)
{
	say(s, "replaced status=%d", r);
	return SM_SUCCESS;
}

static sm_ret_T on_abort(pmse_ctx_P s)
{
	say(s, "abort");
	return SM_SUCCESS;
}

static sm_ret_T on_close(pmse_ctx_P s)
{
	say(s, "close");
	forget(s);
	return SM_SUCCESS;
}

static struct pmilter_S filter = {.pmfi_name = "pmfilter",
    .pmfi_negotiate = negotiate,
    .pmfi_connect = on_connect,
    .pmfi_helo = on_helo,
    .pmfi_mail = on_mail,
    .pmfi_rcpt = on_rcpt,
    .pmfi_data = on_data,
    .pmfi_unknown = on_unknown,
    .pmfi_msg = on_msg,
    .pmfi_eom = on_eom,
    .pmfi_msg_rplc = new_part,
    .pmfi_msg_rplc_stat = new_stat,
    .pmfi_abort = on_abort,
    .pmfi_close = on_close};

int main(int argc, char **argv)
{
	pmg_ctx_P g;

	if (argc < 3)
		return 64;
	out = fopen(argv[2], "a");
	if (argc > 3)
		filter.pmfi_thrmax_h = (uint32_t)atoi(argv[3]);
	quiet = argc > 4;
	if (!out || sm_is_err(sm_pmfi_init(&g)))
		return 71;
	sm_pmfi_setdbg(g, 1);
	if (sm_is_err(sm_pmfi_setconn(g, argv[1])) || sm_is_err(sm_pmfi_start(g, &filter)))
		return 69;
	sm_pmfi_free(&g);
	fclose(out);
	return 0;
}
