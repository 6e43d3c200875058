/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tls_info.c -- what a handshake achieved, and who the peer is.
 * Comes from conn_tls.c when the handshake is done; goes to logs, policies, Received lines.
 * The caller's. On failure: what is not known is empty.
 */
#include "lib/tls.h"

#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* A byte of a value that would be read as the name's own signs, or as no text, is \xNN. */
static size_t put(char *out, size_t at, unsigned char c, bool plain)
{
	char code[5];
	size_t n;

	if (plain || (c >= ' ' && c < 127 && c != '/' && c != '\\')) {
		if (at < TLS_NAME_MAX)
			out[at++] = (char)c;
		return at;
	}
	n = (size_t)snprintf(code, sizeof(code), "\\x%02X", c);
	if (at + n > TLS_NAME_MAX)
		return TLS_NAME_MAX; /* full: nothing comes behind what is left out */
	memcpy(out + at, code, n);
	return at + n;
}

static size_t put_entry(char *out, size_t at, const X509_NAME_ENTRY *e)
{
	const ASN1_OBJECT *o = X509_NAME_ENTRY_get_object(e);
	const char *kind = OBJ_nid2sn(OBJ_obj2nid(o));
	unsigned char *v = NULL;
	char oid[80];
	int n = ASN1_STRING_to_UTF8(&v, X509_NAME_ENTRY_get_data(e));

	if (OBJ_obj2nid(o) == NID_undef) {
		OBJ_obj2txt(oid, sizeof(oid), o, 1);
		kind = oid;
	}
	at = put(out, at, '/', true);
	while (*kind)
		at = put(out, at, (unsigned char)*kind++, true);
	at = put(out, at, '=', true);
	for (int i = 0; i < n; i++)
		at = put(out, at, v[i], false);
	OPENSSL_free(v);
	return at;
}

/* "/C=DE/O=Example/CN=ann", at most TLS_NAME_MAX bytes. */
static char *name_text(const X509_NAME *name)
{
	char out[TLS_NAME_MAX + 1] = "";
	size_t at = 0;

	for (int i = 0; i < X509_NAME_entry_count(name); i++)
		at = put_entry(out, at, X509_NAME_get_entry(name, i));
	out[at] = '\0';
	return base_strdup(out);
}

static void hex(char out[65], const unsigned char *p, unsigned n)
{
	for (unsigned i = 0; i < n && i < 32; i++)
		snprintf(out + 2 * i, 3, "%02x", p[i]);
}

static void prints(struct tls_info *i, X509 *x)
{
	struct tm end;
	unsigned char md[EVP_MAX_MD_SIZE], *der = NULL;
	unsigned n = 0;
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);

	if (ASN1_TIME_to_tm(X509_get0_notAfter(x), &end) == 1)
		i->not_after = (int64_t)timegm(&end);
	if (X509_digest(x, EVP_sha256(), md, &n) == 1)
		hex(i->sha256, md, n);
	if (len > 0 && EVP_Digest(der, (size_t)len, md, &n, EVP_sha256(), NULL) == 1)
		hex(i->key256, md, n);
	OPENSSL_free(der);
}

static void keep(struct tls_info *i, X509 *x)
{
	int len = i2d_X509(x, NULL);
	unsigned char *der = len > 0 ? base_alloc((size_t)len) : NULL, *p = der;

	if (der && i2d_X509(x, &p) == len)
		i->der = buf_of(der, (size_t)len);
	else
		free(der);
}

struct tls_info *tls_info_new(const struct tls *t)
{
	struct tls_info *i = base_alloc(sizeof(*i));
	X509 *x = SSL_get1_peer_certificate(t->ssl);
	long verify = SSL_get_verify_result(t->ssl);

	str_copy(i->version, sizeof(i->version), SSL_get_version(t->ssl));
	str_copy(i->cipher, sizeof(i->cipher), SSL_get_cipher_name(t->ssl));
	i->bits = SSL_get_cipher_bits(t->ssl, NULL);
	i->resumed = SSL_session_reused(t->ssl);
	if (x) {
		/* a session that is resumed was verified when it began */
		if (verify == X509_V_OK && i->resumed &&
		    X509_cmp_current_time(X509_get0_notAfter(x)) < 0)
			verify = X509_V_ERR_CERT_HAS_EXPIRED;
		i->cert = verify == X509_V_OK ? TLS_CERT_GOOD : TLS_CERT_BAD;
		i->verify = verify;
		if (verify != X509_V_OK)
			str_copy(i->why, sizeof(i->why), X509_verify_cert_error_string(verify));
		i->subject = name_text(X509_get_subject_name(x));
		i->issuer = name_text(X509_get_issuer_name(x));
		i->named = tls_meet_name(x, t->name);
		prints(i, x);
		if (t->ctx->server && i->cert == TLS_CERT_GOOD)
			keep(i, x);
	}
	if (!t->ctx->server)
		tls_meet_judge(t, i, x);
	X509_free(x);
	ERR_clear_error();
	return i;
}

void tls_info_free(struct tls_info **ip)
{
	struct tls_info *i = *ip;

	if (!i)
		return;
	*ip = NULL;
	free((void *)(uintptr_t)i->der.data);
	free(i->subject);
	free(i->issuer);
	free(i);
}

const char *tls_info_verify(const struct tls_info *i)
{
	static const char *const word[] = {
	    [TLS_CERT_NONE] = "NO", [TLS_CERT_BAD] = "FAIL", [TLS_CERT_GOOD] = "OK"};

	return word[i->cert];
}
