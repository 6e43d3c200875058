/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tls_ocsp.c -- responses of OCSP about our certificates (RFC 6960), shown to clients that ask for
 * one in the handshake (RFC 6066, "stapling"). Who fetches them is the admin's business.
 * Comes from tls_ctx.c, and from tls.c with each connection; goes to OpenSSL, which asks in the
 * middle of a handshake, on the loop or a worker thread: so what it shows stands under a lock.
 * Owns what it read. On failure: a file that cannot be used is left out, with one warning.
 */
#include "lib/log.h"
#include "lib/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#define FILE_MAX 65536
#define SKEW	 300   /* seconds that our clock may be wrong */
#define UNDATED	 86400 /* for so long one is good that does not say until when */

struct response {
	const char *file;
	struct stat seen;
	const struct tls_pair *of; /* NULL: it is left out */
	unsigned char *der;
	long len;
	time_t until;
	char said[200]; /* what is wrong with it, as the log has it; "": nothing */
};
struct tls_ocsp {
	pthread_mutex_t lock; /* of of, der, len */
	struct tls_ctx *ctx;
	time_t looked;
	unsigned n;
	struct response r[TLS_PAIRS];
};

/* ---- is it good? ---- */

static X509 *issuer_of(const struct tls_ctx *c, const struct tls_pair *p)
{
	X509_STORE_CTX *sc;
	X509 *x = NULL;

	for (int i = 0; i < sk_X509_num(p->chain); i++) {
		x = sk_X509_value(p->chain, i);
		if (X509_check_issued(x, p->cert) == X509_V_OK && X509_up_ref(x))
			return x;
	}
	x = NULL;
	sc = X509_STORE_CTX_new();
	if (!sc || X509_STORE_CTX_init(sc, SSL_CTX_get_cert_store(c->ssl), p->cert, NULL) != 1 ||
	    X509_STORE_CTX_get1_issuer(&x, sc, p->cert) != 1)
		x = NULL;
	X509_STORE_CTX_free(sc);
	return x;
}

/* What it says of this certificate; NULL: nothing. */
static OCSP_SINGLERESP *find(OCSP_BASICRESP *b, X509 *cert, X509 *issuer)
{
	for (int i = 0; i < OCSP_resp_count(b); i++) {
		OCSP_SINGLERESP *one = OCSP_resp_get0(b, i);
		OCSP_CERTID *theirs = (OCSP_CERTID *)(uintptr_t)OCSP_SINGLERESP_get0_id(one);
		ASN1_OBJECT *digest = NULL;
		OCSP_CERTID *ours;
		bool same;

		if (OCSP_id_get0_info(NULL, &digest, NULL, NULL, theirs) != 1)
			continue;
		ours = OCSP_cert_to_id(EVP_get_digestbyobj(digest), cert, issuer);
		same = ours && OCSP_id_cmp(ours, theirs) == 0;
		OCSP_CERTID_free(ours);
		if (same)
			return one;
	}
	return NULL;
}

/* The certificate's issuer signed it, or somebody whom it lets do that. */
static bool is_signed(OCSP_BASICRESP *b, const struct tls_pair *p, X509 *issuer)
{
	X509_STORE *trust = X509_STORE_new();
	STACK_OF(X509) *known = sk_X509_new_null();
	bool good = trust && known && X509_STORE_add_cert(trust, issuer) == 1 &&
		    X509_STORE_set_flags(trust, X509_V_FLAG_PARTIAL_CHAIN) == 1 &&
		    sk_X509_push(known, issuer);

	for (int i = 0; good && i < sk_X509_num(p->chain); i++)
		good = sk_X509_push(known, sk_X509_value(p->chain, i)) > 0;
	good = good && OCSP_basic_verify(b, known, trust, 0) > 0;
	sk_X509_free(known);
	X509_STORE_free(trust);
	return good;
}

static const char *what_it_says(OCSP_SINGLERESP *one, time_t *until)
{
	ASN1_GENERALIZEDTIME *from = NULL, *to = NULL;
	int status = OCSP_single_get0_status(one, NULL, NULL, &from, &to);
	struct tm tm;

	if (status != V_OCSP_CERTSTATUS_GOOD)
		return status == V_OCSP_CERTSTATUS_REVOKED ? "says that the certificate is revoked"
							   : "does not know the certificate";
	if (OCSP_check_validity(from, to, SKEW, to ? -1 : UNDATED) != 1) {
		ERR_clear_error();
		return X509_cmp_current_time(from) > 0 ? "is not valid yet" : "is too old";
	}
	if (ASN1_TIME_to_tm(to ? to : from, &tm) != 1)
		return "has no date that can be read";
	*until = timegm(&tm) + (to ? SKEW : UNDATED);
	return NULL;
}

static const char *judge(struct tls_ctx *c, struct response *r, OCSP_BASICRESP *b)
{
	for (unsigned i = 0; i < c->npair; i++) {
		struct tls_pair *p = &c->pair[i];
		X509 *issuer = issuer_of(c, p);
		OCSP_SINGLERESP *one = issuer ? find(b, p->cert, issuer) : NULL;
		bool good = one && is_signed(b, p, issuer);

		X509_free(issuer);
		if (!one)
			continue;
		if (!good)
			return "is not signed by the certificate's issuer";
		r->of = p;
		return what_it_says(one, &r->until);
	}
	return "is about none of the certificates whose issuer stands behind them in cert_file, or "
	       "in CAcert_file";
}

/* ---- the files ---- */

static const char *parse(struct tls_ctx *c, struct response *r)
{
	const unsigned char *p = r->der;
	OCSP_RESPONSE *resp = d2i_OCSP_RESPONSE(NULL, &p, r->len);
	OCSP_BASICRESP *b = resp ? OCSP_response_get1_basic(resp) : NULL;
	const char *why;

	if (!resp)
		why = "is no response of OCSP in DER";
	else if (!b)
		why = OCSP_response_status_str(OCSP_response_status(resp));
	else
		why = judge(c, r, b);
	OCSP_BASICRESP_free(b);
	OCSP_RESPONSE_free(resp);
	ERR_clear_error();
	return why;
}

static const char *read_file(struct response *r)
{
	FILE *f = fopen(r->file, "re");
	const char *why = NULL;

	if (!f || fstat(fileno(f), &r->seen) < 0) {
		why = strerror(errno);
	} else if (!S_ISREG(r->seen.st_mode) || r->seen.st_size > FILE_MAX) {
		why = "is no file of at most 64 KiB";
	} else {
		r->der = base_alloc((size_t)r->seen.st_size + 1);
		r->len = (long)fread(r->der, 1, (size_t)r->seen.st_size, f);
	}
	if (f)
		fclose(f);
	return why;
}

static void take(struct tls_ocsp *o, struct response *r)
{
	struct response now = {.file = r->file};
	const char *why = read_file(&now);
	bool known;

	if (!why)
		why = parse(o->ctx, &now);
	if (why)
		now.of = NULL;
	known = strcmp(r->said, why ? why : "") == 0 && (r->of || why);
	str_copy(now.said, sizeof(now.said), why ? why : "");
	pthread_mutex_lock(&o->lock);
	free(r->der);
	*r = now;
	pthread_mutex_unlock(&o->lock);
	if (why && !known)
		log_event(
		    LOG_L_WARN, "tls.ocsp", "file=%s result=%s error=%s", r->file, "left out", why);
	else if (!known)
		log_event(LOG_L_INFO, "tls.ocsp", "file=%s result=%s", r->file, "used");
}

static bool changed(const struct response *r)
{
	struct stat st;

	if (stat(r->file, &st) < 0)
		return r->of != NULL;
	return st.st_ino != r->seen.st_ino || st.st_size != r->seen.st_size ||
	       st.st_mtim.tv_sec != r->seen.st_mtim.tv_sec ||
	       st.st_mtim.tv_nsec != r->seen.st_mtim.tv_nsec;
}

void tls_ocsp_look(struct tls_ocsp *o)
{
	time_t now = time(NULL);

	if (now == o->looked)
		return;
	o->looked = now;
	for (unsigned i = 0; i < o->n; i++)
		if (changed(&o->r[i]) || (o->r[i].of && now > o->r[i].until))
			take(o, &o->r[i]);
}

/* ---- what a client gets ---- */

static int show(SSL *ssl, void *arg)
{
	struct tls_ocsp *o = arg;
	X509 *x = SSL_get_certificate(ssl);
	unsigned char *copy = NULL;
	long len = 0;

	pthread_mutex_lock(&o->lock);
	for (unsigned i = 0; i < o->n && !copy && x; i++) {
		const struct response *r = &o->r[i];

		if (!r->of || X509_cmp(r->of->cert, x) != 0)
			continue;
		copy = OPENSSL_memdup(r->der, (size_t)r->len);
		len = r->len;
	}
	pthread_mutex_unlock(&o->lock);
	if (!copy)
		return SSL_TLSEXT_ERR_NOACK;
	SSL_set_tlsext_status_ocsp_resp(ssl, copy, len); /* its own now */
	return SSL_TLSEXT_ERR_OK;
}

struct tls_ocsp *tls_ocsp_new(struct tls_ctx *c, const char *const *files)
{
	struct tls_ocsp *o = base_alloc(sizeof(*o));

	pthread_mutex_init(&o->lock, NULL);
	o->ctx = c;
	for (; *files && o->n < TLS_PAIRS; files++) {
		o->r[o->n].file = base_strdup(*files);
		take(o, &o->r[o->n++]);
	}
	SSL_CTX_set_tlsext_status_cb(c->ssl, show);
	SSL_CTX_set_tlsext_status_arg(c->ssl, o);
	return o;
}

void tls_ocsp_free(struct tls_ocsp **op)
{
	struct tls_ocsp *o = *op;

	if (!o)
		return;
	*op = NULL;
	for (unsigned i = 0; i < o->n; i++) {
		free((char *)(uintptr_t)o->r[i].file);
		free(o->r[i].der);
	}
	pthread_mutex_destroy(&o->lock);
	free(o);
}
