/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tls_meet.c -- does a next hop's certificate meet the need (tls_need.h)?
 * Comes from tls.c before the handshake and from tls_info.c after it; the answer stands in struct
 * tls_info. Owns nothing. Without a need: is it of a CA that we trust, for the host's name?
 * On failure: not accepted, and the reason in words. A handshake is never ended by it.
 */
#include "lib/tls.h"

#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>

bool tls_meet_prepare(SSL *ssl, const struct tls_need *n, const char *host)
{
	if (n->word != TLS_NEED_DANE || !tls_need_usable(n))
		return true;
	if (SSL_dane_enable(ssl, n->nmatch ? n->match[0] : host) <= 0)
		return false;
	SSL_dane_set_flags(ssl, DANE_FLAG_NO_DANE_EE_NAMECHECKS); /* RFC 7672 3.1.1 */
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	if (n->domain[0] && !n->nmatch && SSL_add1_host(ssl, n->domain) != 1)
		return false;
	for (unsigned i = 1; i < n->nmatch; i++)
		if (SSL_add1_host(ssl, n->match[i]) != 1)
			return false;
	for (unsigned i = 0; i < n->ntlsa; i++) {
		const struct tls_tlsa *t = &n->tlsa[i];

		/* 0: OpenSSL cannot use it; with none left nothing is accepted */
		if (tls_tlsa_usable(t) &&
		    SSL_dane_tlsa_add(ssl, t->usage, t->selector, t->type, t->data, t->len) < 0)
			return false;
	}
	return true;
}

static bool is_for(X509 *x, const char *name, unsigned flags)
{
	if (!name[0])
		return false;
	flags |= X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS;
	return X509_check_host(x, name, 0, flags, NULL) == 1 || X509_check_ip_asc(x, name, 0) == 1;
}

bool tls_meet_name(X509 *x, const char *name)
{
	return is_for(x, name, 0);
}

static bool is_print(const char *hex, const uint8_t *print)
{
	char text[65];

	for (unsigned i = 0; i < 32; i++)
		snprintf(text + 2 * i, 3, "%02x", print[i]);
	return strcmp(hex, text) == 0;
}

static bool printed(const struct tls_need *n, const struct tls_info *i)
{
	for (unsigned k = 0; k < n->nprint; k++)
		if (is_print(i->sha256, n->print[k]) || is_print(i->key256, n->print[k]))
			return true;
	return false;
}

static void no(struct tls_info *i, enum meta1_tls_result result, const char *fmt, const char *what)
{
	i->result = result;
	snprintf(i->refused, sizeof(i->refused), fmt, what);
}

/* What OpenSSL found wrong with the chain; other: what anything else means. */
static enum meta1_tls_result fault(const struct tls_info *i, enum meta1_tls_result other)
{
	switch (i->verify) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		return META1_TLS_EXPIRED;
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		return META1_TLS_MISNAMED;
	default:
		return other;
	}
}

static void by_print(const struct tls_need *n, struct tls_info *i)
{
	char both[160];

	i->accepted = printed(n, i);
	if (i->accepted) {
		i->how = "fingerprint";
		return;
	}
	snprintf(both, sizeof(both), "%s, of its key %s", i->sha256, i->key256);
	no(i, META1_TLS_UNMATCHED, "without a fingerprint that was given: %s", both);
}

static void by_dane(const struct tls *t, struct tls_info *i)
{
	uint8_t usage = 0;

	i->accepted = i->cert == TLS_CERT_GOOD &&
		      SSL_get0_dane_authority(t->ssl, NULL, NULL) >= 0 &&
		      SSL_get0_dane_tlsa(t->ssl, &usage, NULL, NULL, NULL, NULL) >= 0;
	if (i->accepted)
		i->how = usage == 3 ? "DANE-EE" : "DANE-TA";
	else
		no(i, fault(i, META1_TLS_UNMATCHED), "not the one of the TLSA records: %s",
		    i->why[0] ? i->why : i->subject);
}

static void by_name(const struct tls *t, struct tls_info *i, X509 *x)
{
	const struct tls_need *n = t->need;
	/* RFC 8461 4.1: a name in subjectAltName, no other */
	unsigned flags = n && n->by == TLS_BY_STS ? X509_CHECK_FLAG_NEVER_CHECK_SUBJECT : 0;
	bool named = !n || !n->nmatch ? is_for(x, t->name, flags) : false;

	for (unsigned k = 0; n && k < n->nmatch && !named; k++)
		named = is_for(x, n->match[k], flags);
	i->accepted = i->cert == TLS_CERT_GOOD && named;
	if (i->accepted)
		i->how = "verified";
	else if (i->cert != TLS_CERT_GOOD)
		no(i, fault(i, META1_TLS_UNTRUSTED), "not to be trusted: %s", i->why);
	else
		no(i, META1_TLS_MISNAMED,
		    n && n->nmatch ? "for none of the names that were given: %s"
				   : "not for the host: %s",
		    i->subject);
	if (i->accepted && n && n->nprint && !printed(n, i))
		by_print(n, i);
}

void tls_meet_judge(const struct tls *t, struct tls_info *i, X509 *x)
{
	enum tls_need_word word = t->need ? t->need->word : TLS_NEED_VERIFY;

	i->how = i->cert != TLS_CERT_GOOD ? "not trusted" : i->named ? "verified" : "trusted";
	i->result = META1_TLS_GOOD;
	if (word == TLS_NEED_NONE || word == TLS_NEED_MAY || word == TLS_NEED_ENCRYPT ||
	    (word == TLS_NEED_DANE && !tls_need_usable(t->need)))
		i->accepted = true;
	else if (!x)
		no(i, META1_TLS_UNTRUSTED, "not to be trusted: %s", "no certificate");
	else if (word == TLS_NEED_FINGERPRINT)
		by_print(t->need, i);
	else if (word == TLS_NEED_DANE)
		by_dane(t, i);
	else
		by_name(t, i, x);
}
