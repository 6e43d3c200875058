/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * macros.c -- what the filter may know besides: Sendmail's macros, with MeTA1's taid.
 *
 * Comes from what is known of the session; goes out before the command that they belong to. The
 * names are those that the filter asked for at this stage, else ours, which are about those that
 * Sendmail and Postfix give unasked. What is not known is left out.
 */
#include "milter.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define VALUE_MAX 2048
#define SAY_MAX	  32768

/* Values: -1: not known. */
typedef int (*value_fn)(const struct sess *, char *out);

static int put(char *out, const char *text)
{
	size_t n = text ? strnlen(text, VALUE_MAX - 1) : 0;

	if (!text)
		return -1;
	memcpy(out, text, n);
	out[n] = '\0';
	return (int)n;
}

static int put_buf(char *out, struct meta1_buf b)
{
	size_t n = b.len < VALUE_MAX - 1 ? b.len : VALUE_MAX - 1;

	if (!b.data)
		return -1;
	memcpy(out, b.data, n);
	out[n] = '\0';
	return (int)n;
}

static struct meta1_buf domain(struct meta1_buf addr)
{
	const char *p = addr.data;
	size_t n = addr.len;

	while (n > 0 && p[n - 1] != '@')
		n--;
	return n > 0 ? (struct meta1_buf){p + n, addr.len - n} : (struct meta1_buf){NULL, 0};
}

/* "CN" of "/C=DE/O=Example/CN=ann" */
static int put_cn(char *out, const char *name)
{
	const char *p = name, *cn = NULL;

	while (p && (p = strstr(p, "/CN=")))
		cn = p += 4;
	return cn ? snprintf(out, VALUE_MAX, "%.*s", (int)strcspn(cn, "/"), cn) : -1;
}

/* The recipient that this is about. */
static struct meta1_buf rcpt(const struct sess *s)
{
	if (s->goal == STEP_RCPT)
		return s->arg;
	if (s->step == STEP_RCPT && s->rcpt)
		return (struct meta1_buf){
		    (const char *)s->rcpt[s->nrcpt - 1].data + 1, s->rcpt[s->nrcpt - 1].len - 3};
	return (struct meta1_buf){NULL, 0};
}

static int local(const struct sess *s)
{
	return !s->about->client || strcmp(s->about->client, "unix") == 0;
}

static const char *client(const struct sess *s)
{
	return local(s) ? "127.0.0.1" : s->about->client;
}

#define FIELD(name, expr)                                                                          \
	static int v_##name(const struct sess *s, char *out)                                       \
	{                                                                                          \
		return expr;                                                                       \
	}
#define TEXT(name, expr) FIELD(name, put(out, expr))
#define CONSTANT(name, text)                                                                       \
	static int v_##name(const struct sess *s, char *out)                                       \
	{                                                                                          \
		(void)s;                                                                           \
		return put(out, text);                                                             \
	}
#define NUMBER(name, expr) FIELD(name, snprintf(out, VALUE_MAX, "%u", (unsigned)(expr)))
#define TLS(name, field)   FIELD(name, put(out, s->about->tls ? s->about->tls->field : NULL))

TEXT(hostname, s->about->hostname)
TEXT(version, s->about->version)
TEXT(listener, s->about->listener)
TEXT(local, s->about->local)
NUMBER(local_port, s->about->local_port)
FIELD(
    client_addr, snprintf(out, VALUE_MAX, "%s%s", strchr(client(s), ':') ? "IPv6:" : "", client(s)))
NUMBER(client_port, s->about->port)
TEXT(client_resolve, local(s) ? "OK" : s->about->resolve)
TEXT(helo, s->about->helo)
TLS(tls_version, version)
TLS(cipher, cipher)
FIELD(
    cipher_bits, s->about->tls ? snprintf(out, VALUE_MAX, "%u", (unsigned)s->about->tls->bits) : -1)
TLS(cert_subject, subject)
TLS(cert_issuer, issuer)
FIELD(cn_subject, put_cn(out, s->about->tls ? s->about->tls->subject : NULL))
FIELD(cn_issuer, put_cn(out, s->about->tls ? s->about->tls->issuer : NULL))
TEXT(verify, s->about->tls_verify)
TEXT(auth_type, s->about->auth_mech)
TEXT(auth_authen, s->about->auth_user)
TEXT(auth_author, s->about->auth_author)
TEXT(taid, s->about->taid)
FIELD(sender, put_buf(out, s->about->from))
FIELD(mail_host, put_buf(out, domain(s->about->from)))
CONSTANT(esmtp, "esmtp")
FIELD(rcpt_mailer, put(out, s->refused ? "error" : "esmtp"))
FIELD(rcpt_host, s->refused
		     ? snprintf(out, VALUE_MAX, "%.*s", (int)strcspn(s->refused, " "), s->refused)
		     : put_buf(out, domain(rcpt(s))))
FIELD(rcpt_addr, s->refused ? put(out, s->refused) : put_buf(out, rcpt(s)))
TEXT(msgid, s->about->msgid)
NUMBER(nrcpts, s->about->nrcpt)
NUMBER(nbadrcpts, s->about->nbad)
NUMBER(hops, s->about->hops)
CONSTANT(ntries, "1")

static int v_client_name(const struct sess *s, char *out)
{
	if (s->about->name || local(s))
		return put(out, local(s) ? "localhost" : s->about->name);
	return snprintf(out, VALUE_MAX, "[%s]", client(s));
}

/* What was looked for and is not there is the address, as in client_name. */
static int v_client_ptr(const struct sess *s, char *out)
{
	const char *ptr = META1_HAS(s->about, ptr) ? s->about->ptr : s->about->name;

	if (local(s))
		return put(out, "localhost");
	if (ptr || !s->about->resolve)
		return put(out, ptr);
	return snprintf(out, VALUE_MAX, "[%s]", client(s));
}

static int v_who(const struct sess *s, char *out)
{
	char name[VALUE_MAX];

	v_client_name(s, name);
	return snprintf(
	    out, VALUE_MAX, *name == '[' ? "%.400s" : "%.400s [%.100s]", name, client(s));
}

static int v_date(const struct sess *s, char *out)
{
	time_t t = (time_t)s->m->host->wall(s->m->ctx);
	struct tm tm;

	if (!gmtime_r(&t, &tm))
		return -1;
	return (int)strftime(out, VALUE_MAX, "%a, %d %b %Y %H:%M:%S +0000", &tm);
}

static int v_with(const struct sess *s, char *out)
{
	return snprintf(
	    out, VALUE_MAX, "ESMTP%s%s", s->about->tls ? "S" : "", s->about->auth_user ? "A" : "");
}

static const struct {
	const char *name;
	value_fn value;
} row[] = {
    {"j", v_hostname},
    {"_", v_who},
    {"v", v_version},
    {"i", v_taid},
    {"b", v_date},
    {"r", v_with},
    {"s", v_helo},
    {"f", v_sender},
    {"c", v_hops},
    {"taid", v_taid},
    {"daemon_name", v_listener},
    {"daemon_addr", v_local},
    {"daemon_port", v_local_port},
    {"if_name", v_hostname},
    {"if_addr", v_local},
    {"client_addr", v_client_addr},
    {"client_name", v_client_name},
    {"client_port", v_client_port},
    {"client_ptr", v_client_ptr},
    {"client_resolve", v_client_resolve},
    {"tls_version", v_tls_version},
    {"cipher", v_cipher},
    {"cipher_bits", v_cipher_bits},
    {"cert_subject", v_cert_subject},
    {"cert_issuer", v_cert_issuer},
    {"cn_subject", v_cn_subject},
    {"cn_issuer", v_cn_issuer},
    {"verify", v_verify},
    {"auth_type", v_auth_type},
    {"auth_authen", v_auth_authen},
    {"auth_author", v_auth_author},
    {"mail_addr", v_sender},
    {"mail_host", v_mail_host},
    {"mail_mailer", v_esmtp},
    {"rcpt_addr", v_rcpt_addr},
    {"rcpt_host", v_rcpt_host},
    {"rcpt_mailer", v_rcpt_mailer},
    {"msg_id", v_msgid},
    {"nrcpts", v_nrcpts},
    {"nbadrcpts", v_nbadrcpts},
    {"ntries", v_ntries},
};

/* Numbers of the lists, as SETSYMLIST has them, and what filters get that do not ask. */
static const struct {
	int list;
	const char *names;
} stage[STEPS] = {
    [STEP_CONNECT] = {0, "j _ v {daemon_name} {daemon_addr} {daemon_port} {if_name} {if_addr} "
			 "{client_addr} {client_name} {client_port} {client_ptr} {client_resolve}"},
    [STEP_HELO] = {1, "{tls_version} {cipher} {cipher_bits} {cert_subject} {cert_issuer} "
		      "{cn_subject} {cn_issuer} {verify}"},
    [STEP_MAIL] = {2, "i b r s f {taid} {auth_type} {auth_authen} {auth_author} {mail_mailer} "
		      "{mail_host} {mail_addr}"},
    [STEP_RCPT] = {3, "i {rcpt_mailer} {rcpt_host} {rcpt_addr} {nrcpts} {nbadrcpts}"},
    [STEP_DATA] = {4, "i {nrcpts} {nbadrcpts}"},
    [STEP_END] = {5, "i c {msg_id} {nrcpts} {nbadrcpts}"},
    [STEP_EOH] = {6, ""},
    [STEP_HEADER] = {-1, NULL},
    [STEP_BODY] = {-1, NULL},
    [STEP_UNKNOWN] = {-1, NULL},
};

/* "{name}" or "n", with value and NULs; bytes written, 0: nothing is known of it. */
static size_t put_macro(const struct sess *s, const char *name, size_t len, char *out, size_t room)
{
	const char *bare = *name == '{' ? name + 1 : name;
	size_t n = len, at;
	char value[VALUE_MAX];
	int got = -1;

	if (*name == '{')
		n -= name[len - 1] == '}' ? 2 : 1;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++)
		if (*row[i].name == *bare && strlen(row[i].name) == n &&
		    memcmp(row[i].name, bare, n) == 0)
			got = row[i].value(s, value);
	if (got < 0)
		return 0;
	at = len + 1 + strlen(value) + 1;
	if (at > room)
		return 0;
	memcpy(out, name, len);
	out[len] = '\0';
	memcpy(out + len + 1, value, strlen(value) + 1);
	return at;
}

/* Of a filter that hears nothing of CONNECT: it asks for the client's name at another step. */
int macros_name(const struct peer *p)
{
	static const char *const names[] = {
	    "_", "{client_name}", "{client_ptr}", "{client_resolve}"};

	for (int i = 1; i < MACRO_LISTS; i++) {
		const char *l = p->list[i] ? p->list[i] : "";

		while (*(l += strspn(l, " \t,"))) {
			size_t n = strcspn(l, " \t,");

			for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++)
				if (strlen(names[k]) == n && memcmp(names[k], l, n) == 0)
					return 1;
			l += n;
		}
	}
	return 0;
}

void macros_say(struct sess *s, enum step st)
{
	const char *names = stage[st].names;
	char out[SAY_MAX];
	size_t at = 1;

	if (stage[st].list < 0)
		return;
	if (s->peer->list[stage[st].list])
		names = s->peer->list[stage[st].list];
	if (!*names)
		return;
	out[0] = "CHMRTLNBEU"[st];
	while (*(names += strspn(names, " \t,"))) {
		size_t n = strcspn(names, " \t,");

		at += put_macro(s, names, n, out + at, sizeof(out) - at);
		names += n;
	}
	/* Nothing of a list would leave a filter those of the last mail. */
	if (at == 1 && st == STEP_MAIL)
		at += put_macro(s, "i", 1, out + at, sizeof(out) - at);
	if (at > 1)
		peer_say(s->peer, 'D', &(struct meta1_buf){out, at}, 1);
}
