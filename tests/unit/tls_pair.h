/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tls_pair.h -- certificates for tests: a CA and what it signs, as files in a folder of the test.
 * Included by one file of a test program.
 */
#ifndef TLS_PAIR_H
#define TLS_PAIR_H
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct tls_who { /* a CA, or somebody that it signed */
	X509 *cert;
	EVP_PKEY *key;
};

static char tls_dir[] = "/tmp/tls-test.XXXXXX";

static const char *tls_file(const char *name, const char *end)
{
	static char path[32][200];
	static unsigned n;
	char *p = path[n++ % 32];

	snprintf(p, sizeof(path[0]), "%s/%s.%s", tls_dir, name, end);
	return p;
}

static void tls_ext(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;

	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	assert_non_null(e);
	X509_add_ext(x, e, -1);
	X509_EXTENSION_free(e);
}

/* NAME.pem and NAME.key. bits: 0 a P-256 key, else RSA; by: NULL signs itself, a CA; from, to:
 * seconds from now; host: NULL or its DNS name. */
static inline struct tls_who tls_issue(const char *name, const struct tls_who *by, bool is_ca,
    unsigned bits, long from, long to, const char *host)
{
	struct tls_who w = {X509_new(), bits ? EVP_RSA_gen(bits) : EVP_EC_gen("P-256")};
	static long serial;
	char san[300];
	FILE *f;

	X509_set_version(w.cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(w.cert), ++serial);
	X509_gmtime_adj(X509_getm_notBefore(w.cert), from);
	X509_gmtime_adj(X509_getm_notAfter(w.cert), to);
	X509_set_pubkey(w.cert, w.key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(w.cert), "CN", MBSTRING_UTF8,
	    (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(w.cert, X509_get_subject_name(by ? by->cert : w.cert));
	tls_ext(w.cert, by ? by->cert : w.cert, NID_basic_constraints,
	    is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
	if (host) {
		snprintf(san, sizeof(san), "DNS:%s", host);
		tls_ext(w.cert, by ? by->cert : w.cert, NID_subject_alt_name, san);
	}
	assert_true(X509_sign(w.cert, by ? by->key : w.key, EVP_sha256()) > 0);
	f = fopen(tls_file(name, "pem"), "w");
	assert_non_null(f);
	PEM_write_X509(f, w.cert);
	fclose(f);
	f = fopen(tls_file(name, "key"), "w");
	PEM_write_PrivateKey(f, w.key, NULL, NULL, 0, NULL, NULL);
	fclose(f);
	chmod(tls_file(name, "key"), 0600);
	return w;
}

/* Likewise; from, to: days from now. */
static struct tls_who tls_make(
    const char *name, const struct tls_who *by, unsigned bits, int from, int to, const char *host)
{
	return tls_issue(name, by, !by, bits, from * 86400L, to * 86400L, host);
}

static void tls_forget(struct tls_who *w)
{
	X509_free(w->cert);
	EVP_PKEY_free(w->key);
}

static void tls_clean(void)
{
	char cmd[300];

	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", tls_dir);
	assert_int_equal(system(cmd), 0);
}

#endif
