/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tls_ctx.c -- a context from the options of a section tls { }.
 * Comes from the roles, at start and at reload; goes to tls.c for each connection.
 * Owns SSL_CTX and certificates until the last connection is gone. On failure: err, with the
 * option, the file and what OpenSSL says; nothing is left.
 */
#include "lib/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <stdlib.h>

#define CLIENT_CERTS 16384 /* bytes of a client's chain; all of it is parsed and kept */
#define SERVER_CERTS 65536 /* of a next hop's, which we chose */
#define DEPTH	     6	   /* certificates between it and a root: each costs a signature */
#define JOBS	     4	   /* slow handshakes at a time */

const char *tls_error(void)
{
	unsigned long e = ERR_get_error();
	const char *text = e ? ERR_reason_error_string(e) : NULL;

	ERR_clear_error();
	return text ? text : "no cause given";
}

/* Goes on whatever is wrong: the result is kept by OpenSSL, and judged by who uses it. */
static int keep_result(int ok, X509_STORE_CTX *store)
{
	(void)ok;
	(void)store;
	return 1;
}

static int trust(struct tls_ctx *c, const struct set_tls *set, struct meta1_err *err)
{
	X509_LOOKUP *files;

	if (set->CAcert_file && SSL_CTX_load_verify_file(c->ssl, set->CAcert_file) != 1)
		return err_set(err, "tls: CAcert_file %s: %s", set->CAcert_file, tls_error());
	if (set->CAcert_directory && SSL_CTX_load_verify_dir(c->ssl, set->CAcert_directory) != 1)
		return err_set(
		    err, "tls: CAcert_directory %s: %s", set->CAcert_directory, tls_error());
	if (!set->CAcert_file && !set->CAcert_directory && !c->server)
		SSL_CTX_set_default_verify_paths(c->ssl);
	if (!set->CRL_file)
		return 0;
	files = X509_STORE_add_lookup(SSL_CTX_get_cert_store(c->ssl), X509_LOOKUP_file());
	if (!files || X509_load_crl_file(files, set->CRL_file, X509_FILETYPE_PEM) < 1)
		return err_set(err, "tls: CRL_file %s: %s", set->CRL_file, tls_error());
	X509_STORE_set_flags(SSL_CTX_get_cert_store(c->ssl), X509_V_FLAG_CRL_CHECK);
	return 0;
}

/* Asks clients for a certificate, when there is a CA that could have signed it. */
static int ask(struct tls_ctx *c, const struct set_tls *set, struct meta1_err *err)
{
	STACK_OF(X509_NAME) * names;

	if (!(set->flags & TLS_F_REQUEST_CERT) || (!set->CAcert_file && !set->CAcert_directory))
		return 0;
	SSL_CTX_set_verify(c->ssl, SSL_VERIFY_PEER | SSL_VERIFY_CLIENT_ONCE, keep_result);
	SSL_CTX_set_verify_depth(c->ssl, DEPTH);
	if (!set->CAcert_file)
		return 0;
	names = SSL_load_client_CA_file(set->CAcert_file);
	if (!names)
		return err_set(err, "tls: CAcert_file %s: %s", set->CAcert_file, tls_error());
	SSL_CTX_set_client_CA_list(c->ssl, names);
	return 0;
}

static int as_server(struct tls_ctx *c, const struct set_tls *set, struct meta1_err *err)
{
	if (ask(c, set, err) < 0)
		return -1;
	c->tickets = tls_ticket_new(c->ssl, err);
	if (!c->tickets)
		return -1;
	if (set->OCSP_file && *set->OCSP_file)
		c->ocsp = tls_ocsp_new(c, set->OCSP_file);
	SSL_CTX_set_num_tickets(c->ssl, 1);
	SSL_CTX_set_session_cache_mode(c->ssl, SSL_SESS_CACHE_OFF);
	return 0;
}

static int fill(struct tls_ctx *c, const struct set_tls *set, struct meta1_err *err)
{
	c->ssl = SSL_CTX_new(c->server ? TLS_server_method() : TLS_client_method());
	if (!c->ssl)
		return err_set(err, "tls: OpenSSL gives no context: %s", tls_error());
	SSL_CTX_set_min_proto_version(c->ssl, TLS1_2_VERSION);
	SSL_CTX_set_options(c->ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
					SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_mode(c->ssl, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_max_cert_list(c->ssl, c->server ? CLIENT_CERTS : SERVER_CERTS);
	if (SSL_CTX_set_cipher_list(c->ssl, set->ciphers) != 1)
		return err_set(err, "tls: ciphers \"%s\": %s", set->ciphers, tls_error());
	if (!c->server) {
		SSL_CTX_set_verify(c->ssl, SSL_VERIFY_PEER, keep_result);
		if (SSL_CTX_dane_enable(c->ssl) <= 0)
			return err_set(err, "tls: OpenSSL has no DANE: %s", tls_error());
	}
	if (tls_cert_load(c, set, err) < 0 || trust(c, set, err) < 0)
		return -1;
	return c->server ? as_server(c, set, err) : 0;
}

struct tls_ctx *tls_ctx_new(
    const struct set_tls *set, bool server, struct work *work, struct meta1_err *err)
{
	struct tls_ctx *c = base_alloc(sizeof(*c));

	c->server = server;
	c->work = work;
	atomic_init(&c->refs, 1);
	work_owner_init(&c->owner, JOBS);
	ERR_clear_error();
	if (fill(c, set, err) < 0)
		tls_ctx_free(&c);
	return c;
}

struct tls_ctx *tls_ctx_ref(struct tls_ctx *c)
{
	atomic_fetch_add(&c->refs, 1);
	return c;
}

void tls_ctx_free(struct tls_ctx **cp)
{
	struct tls_ctx *c = *cp;

	*cp = NULL;
	if (!c || atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	tls_ocsp_free(&c->ocsp);
	tls_cert_free(c);
	SSL_CTX_free(c->ssl);
	tls_ticket_free(&c->tickets);
	free(c);
}
