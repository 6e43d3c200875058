/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tls_cert.c -- certificates and keys: the n-th of cert_file belongs to the n-th of key_file.
 * Without a name from the client (SNI) the first of each kind of key serves, so that an ECDSA and
 * an RSA certificate stand side by side; with one, those that are for this name, if there are any.
 * Comes from tls_ctx.c; goes to OpenSSL, which asks in the middle of a handshake.
 * Owns what it read. On failure: err names the file and what to do.
 */
#include "lib/log.h"
#include "lib/secret.h"
#include "lib/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#define SLOW_RSA 2048 /* bits; a signature with more takes milliseconds */

/* ---- the files ---- */

static int no_password(char *buf, int size, int writes, void *encrypted)
{
	(void)buf;
	(void)size;
	(void)writes;
	*(bool *)encrypted = true;
	return -1;
}

static EVP_PKEY *read_key(const char *file, struct meta1_err *err)
{
	FILE *f = fopen(file, "re");
	EVP_PKEY *key = NULL;
	bool encrypted = false;

	if (!f) {
		err_set(err, "tls: key_file %s: %s", file, strerror(errno));
		return NULL;
	}
	if (secret_rights(fileno(f), "tls: key_file", file, err) == 0) {
		key = PEM_read_PrivateKey(f, NULL, no_password, &encrypted);
		if (!key)
			err_set(err, "tls: key_file %s: %s", file,
			    encrypted ? "is encrypted; expected a key without a password"
				      : tls_error());
	}
	fclose(f);
	return key;
}

/* The certificate, then those between it and its root. */
static int read_chain(struct tls_pair *p, const char *file, struct meta1_err *err)
{
	FILE *f = fopen(file, "re");
	X509 *x;

	if (!f)
		return err_set(err, "tls: cert_file %s: %s", file, strerror(errno));
	p->cert = PEM_read_X509_AUX(f, NULL, NULL, NULL);
	p->chain = sk_X509_new_null();
	while (p->cert && p->chain && (x = PEM_read_X509(f, NULL, NULL, NULL)) != NULL)
		if (!sk_X509_push(p->chain, x))
			X509_free(x);
	fclose(f);
	if (!p->cert)
		return err_set(
		    err, "tls: cert_file %s: %s; expected a certificate in PEM", file, tls_error());
	ERR_clear_error(); /* of the end of the file */
	return 0;
}

static void look_at_dates(const X509 *x, const char *file)
{
	const char *what = X509_cmp_current_time(X509_get0_notAfter(x)) < 0    ? "has expired"
			   : X509_cmp_current_time(X509_get0_notBefore(x)) > 0 ? "is not valid yet"
									       : NULL;

	if (what)
		log_event(LOG_L_WARN, "tls.certificate", "file=%s error=%s", file, what);
}

static bool same_kind(const struct tls_ctx *c, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (EVP_PKEY_get_base_id(c->pair[i].key) == EVP_PKEY_get_base_id(c->pair[n].key))
			return true;
	return false;
}

static int one(struct tls_ctx *c, const char *cert, const char *key, struct meta1_err *err)
{
	struct tls_pair *p = &c->pair[c->npair++];

	p->key = read_key(key, err);
	if (!p->key || read_chain(p, cert, err) < 0)
		return -1;
	if (X509_check_private_key(p->cert, p->key) != 1)
		return err_set(err, "tls: cert_file %s: does not belong to key_file %s", cert, key);
	look_at_dates(p->cert, cert);
	if (EVP_PKEY_get_base_id(p->key) == EVP_PKEY_RSA && EVP_PKEY_get_bits(p->key) > SLOW_RSA)
		c->slow = true;
	if (same_kind(c, c->npair - 1))
		return 0;
	if (SSL_CTX_use_cert_and_key(c->ssl, p->cert, p->key, p->chain, 1) != 1)
		return err_set(err, "tls: cert_file %s: %s", cert, tls_error());
	return 0;
}

/* ---- the one for a name ---- */

static int has_name(SSL *ssl, int *alert, void *arg)
{
	(void)ssl;
	(void)alert;
	(void)arg;
	return SSL_TLSEXT_ERR_OK; /* any name is taken; choose() looks for its certificate */
}

static bool is_for(const struct tls_pair *p, const char *name)
{
	return X509_check_host(p->cert, name, 0, 0, NULL) == 1;
}

static int choose(SSL *ssl, void *arg)
{
	const struct tls_ctx *c = arg;
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	bool any = false;

	for (unsigned i = 0; name && i < c->npair; i++) {
		const struct tls_pair *p = &c->pair[i];

		if (!is_for(p, name))
			continue;
		if (!any)
			SSL_certs_clear(ssl);
		any = true;
		/* the first of its kind: a second one is refused, which is no error */
		if (SSL_use_cert_and_key(ssl, p->cert, p->key, p->chain, 0) != 1)
			ERR_clear_error();
	}
	return 1;
}

int tls_cert_load(struct tls_ctx *c, const struct set_tls *set, struct meta1_err *err)
{
	const char *const *cert = set->cert_file, *const *key = set->key_file;

	for (; cert && key && *cert && *key; cert++, key++) {
		if (c->npair == TLS_PAIRS)
			return err_set(err, "tls: more than %d certificates", TLS_PAIRS);
		if (one(c, *cert, *key, err) < 0)
			return -1;
	}
	if ((cert && *cert) || (key && *key))
		return err_set(
		    err, "tls: cert_file and key_file have not the same number of files");
	if (c->server && !c->npair)
		return err_set(err, "tls: a server needs cert_file and key_file");
	if (c->server && c->npair > 1) {
		SSL_CTX_set_tlsext_servername_callback(c->ssl, has_name);
		SSL_CTX_set_cert_cb(c->ssl, choose, c);
	}
	return 0;
}

void tls_cert_free(struct tls_ctx *c)
{
	for (unsigned i = 0; i < c->npair; i++) {
		X509_free(c->pair[i].cert);
		EVP_PKEY_free(c->pair[i].key);
		sk_X509_pop_free(c->pair[i].chain, X509_free);
	}
	c->npair = 0;
}
