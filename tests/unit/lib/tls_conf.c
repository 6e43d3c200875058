/* SPDX-License-Identifier: BSD-2-Clause */
/* tls_conf.c -- what the options of TLS lead to: tickets, with OpenSSL's own client, files, revoked
 * certificates. */
#include "tls_side.h"

#include <openssl/ocsp.h>

static const char *no_files[] = {NULL};

/* ---- tickets, with OpenSSL's own client ---- */

static SSL_SESSION *kept;

static int keep(SSL *ssl, SSL_SESSION *s)
{
	(void)ssl;
	if (kept)
		SSL_SESSION_free(kept);
	kept = s;
	return 1;
}

static bool resumes(struct tls_ctx *s, const char *listen, int version)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl;
	struct side a = {.got = evbuffer_new()};
	bool reused;
	char byte;
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	a.c = conn_new(loop, fd[0], &events, &a);
	start(&a, s, NULL, listen);
	SSL_CTX_set_max_proto_version(ctx, version);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, keep);
	ssl = SSL_new(ctx);
	SSL_set_fd(ssl, fd[1]);
	if (kept)
		assert_int_equal(SSL_set_session(ssl, kept), 1);
	for (unsigned i = 0; i < 100 && SSL_connect(ssl) != 1; i++)
		loop_turn(loop, false);
	settle();
	(void)SSL_read(ssl, &byte, 1); /* takes the ticket */
	assert_int_equal(a.secured, 1);
	reused = SSL_session_reused(ssl);
	assert_int_equal(conn_tls_info(a.c)->resumed, reused);
	SSL_shutdown(ssl);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(fd[1]);
	over(&a);
	return reused;
}

static void tickets(void **state)
{
	static const int version[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	struct tls_ctx *s = good("host", true), *anew = good("host", true);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(version); i++) {
		assert_false(resumes(s, "127.0.0.1:25", version[i]));
		assert_non_null(kept);
		assert_true(resumes(s, "127.0.0.1:25", version[i]));
		assert_false(resumes(s, "127.0.0.1:465", version[i]));
		assert_true(resumes(s, "127.0.0.1:465", version[i]));
		assert_false(resumes(anew, "127.0.0.1:465", version[i]));
		assert_false(
		    resumes(s, "unix:/run/inside/with/a/long/path/of/a/socket", version[i]));
		assert_false(
		    resumes(s, "unix:/run/beside/with/a/long/path/of/a/socket", version[i]));
		SSL_SESSION_free(kept);
		kept = NULL;
	}
	tls_ctx_free(&s);
	tls_ctx_free(&anew);
}

/* ---- options ---- */

static void wrong(const char *cert, const char *key, const char *text)
{
	const char *certs[] = {cert, NULL}, *keys[] = {key, NULL};
	struct set_tls set = options(cert ? certs : no_files, key ? keys : no_files, false);
	struct meta1_err err = {""};

	assert_null(tls_ctx_new(&set, true, NULL, &err));
	if (!strstr(err.text, text))
		fail_msg("\"%s\" lacks \"%s\"", err.text, text);
}

static void files(void **state)
{
	const char *cert = base_strdup(tls_file("host", "pem"));
	const char *key = base_strdup(tls_file("host", "key"));
	struct meta1_err err = {""};
	FILE *f;

	(void)state;
	wrong(NULL, NULL, "needs cert_file and key_file");
	wrong(cert, NULL, "not the same number");
	wrong("/nowhere/x.pem", key, "cert_file /nowhere/x.pem: No such file");
	wrong(cert, "/nowhere/x.key", "key_file /nowhere/x.key: No such file");
	wrong(cert, tls_file("ann", "key"), "does not belong to key_file");
	wrong(key, key, "expected a certificate in PEM");
	chmod(key, 0644);
	wrong(cert, key, "mode 644 lets others have it");
	chmod(key, 0660);
	wrong(cert, key, "mode 660");
	chmod(key, 0640);
	f = fopen(tls_file("locked", "key"), "w");
	PEM_write_PrivateKey(f, host.key, EVP_aes_128_cbc(), NULL, 0, NULL, (void *)"secret");
	fclose(f);
	chmod(tls_file("locked", "key"), 0600);
	wrong(cert, tls_file("locked", "key"), "is encrypted");
	f = fopen(tls_file("ca", "pem"), "a"); /* more certificates than one */
	PEM_write_X509(f, other_ca.cert);
	fclose(f);
	for (int i = 0; i < 2; i++) {
		struct tls_ctx *c = context("host", i, &err);

		assert_non_null(c);
		tls_ctx_free(&c);
	}
	free((char *)cert);
	free((char *)key);
}

static void revoked(void **state)
{
	X509_CRL *crl = X509_CRL_new();
	X509_REVOKED *r = X509_REVOKED_new();
	ASN1_TIME *t = X509_gmtime_adj(NULL, 0);
	const char *cert[] = {tls_file("host", "pem"), NULL},
		   *key[] = {tls_file("host", "key"), NULL};
	struct set_tls set = options(cert, key, true);
	struct tls_ctx *s, *c = good("ann", false), *c2 = good("second", false);
	struct meta1_err err = {""};
	struct side a, b;
	FILE *f;

	(void)state;
	X509_CRL_set_version(crl, 1);
	X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca.cert));
	X509_CRL_set1_lastUpdate(crl, t);
	X509_gmtime_adj(t, 86400);
	X509_CRL_set1_nextUpdate(crl, t);
	X509_REVOKED_set_serialNumber(r, X509_get_serialNumber(ann.cert));
	X509_REVOKED_set_revocationDate(r, t);
	X509_CRL_add0_revoked(crl, r);
	X509_CRL_sign(crl, ca.key, EVP_sha256());
	f = fopen(tls_file("crl", "pem"), "w");
	PEM_write_X509_CRL(f, crl);
	fclose(f);
	set.CRL_file = tls_file("crl", "pem");
	s = tls_ctx_new(&set, true, NULL, &err);
	assert_non_null(s);
	meet(&a, &b, s, c);
	assert_int_equal(conn_tls_info(a.c)->cert, TLS_CERT_BAD);
	assert_string_equal(conn_tls_info(a.c)->why, "certificate revoked");
	over(&a);
	over(&b);
	meet(&a, &b, s, c2);
	assert_int_equal(conn_tls_info(a.c)->cert, TLS_CERT_GOOD);
	over(&a);
	over(&b);
	tls_ctx_free(&s);
	tls_ctx_free(&c);
	tls_ctx_free(&c2);
	free((char *)set.CAcert_file);
	ASN1_TIME_free(t);
	X509_CRL_free(crl);
}

/* ---- what OCSP says of our certificate ---- */

/* A response about the certificate of.pem, good from and to so many seconds from now; to 0: it does
 * not say until when. */
static void respond(const char *file, const struct tls_who *by, const struct tls_who *of,
    int status, long from, long to)
{
	OCSP_BASICRESP *b = OCSP_BASICRESP_new();
	OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha256(), of->cert, ca.cert);
	ASN1_TIME *t = X509_gmtime_adj(NULL, from), *u = to ? X509_gmtime_adj(NULL, to) : NULL;
	OCSP_RESPONSE *r;
	FILE *f = fopen(file, "w");
	unsigned char *der = NULL;
	int len;

	assert_non_null(OCSP_basic_add1_status(b, id, status,
	    status == V_OCSP_CERTSTATUS_REVOKED ? OCSP_REVOKED_STATUS_KEYCOMPROMISE : 0, t, t, u));
	assert_int_equal(OCSP_basic_sign(b, by->cert, by->key, EVP_sha256(), NULL, 0), 1);
	r = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, b);
	len = i2d_OCSP_RESPONSE(r, &der);
	assert_int_equal(fwrite(der, 1, (size_t)len, f), len);
	fclose(f);
	OPENSSL_free(der);
	OCSP_RESPONSE_free(r);
	OCSP_BASICRESP_free(b);
	OCSP_CERTID_free(id);
	ASN1_TIME_free(t);
	ASN1_TIME_free(u);
}

/* Bytes of the response that a client gets. */
static long shown(struct tls_ctx *s, bool asks)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl;
	struct side a = {.got = evbuffer_new()};
	const unsigned char *p;
	long n;
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	a.c = conn_new(loop, fd[0], &events, &a);
	start(&a, s, NULL, "");
	ssl = SSL_new(ctx);
	SSL_set_fd(ssl, fd[1]);
	if (asks)
		SSL_set_tlsext_status_type(ssl, TLSEXT_STATUSTYPE_ocsp);
	for (unsigned i = 0; i < 100 && SSL_connect(ssl) != 1; i++)
		settle();
	settle();
	assert_int_equal(a.secured, 1);
	n = SSL_get_tlsext_status_ocsp_resp(ssl, &p);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(fd[1]);
	over(&a);
	return n;
}

static void ocsp(void **state)
{
	enum { GOOD = V_OCSP_CERTSTATUS_GOOD, HOUR = 3600, DAY = 86400 };
	static const struct {
		const struct tls_who *by, *of;
		int status;
		long from, to;
		bool good;
	} t[] = {{&ca, &host, GOOD, -HOUR, HOUR, true}, {&ca, &host, GOOD, -HOUR, 0, true},
	    {&ca, &host, GOOD, -2L * DAY, 0, false}, {&ca, &host, GOOD, -2 * HOUR, -HOUR, false},
	    {&ca, &host, GOOD, HOUR, 2 * HOUR, false}, {&ca, &second, GOOD, -HOUR, HOUR, false},
	    {&other_ca, &host, GOOD, -HOUR, HOUR, false}, {&ann, &host, GOOD, -HOUR, HOUR, false},
	    {&ca, &host, V_OCSP_CERTSTATUS_REVOKED, -HOUR, HOUR, false},
	    {&ca, &host, V_OCSP_CERTSTATUS_UNKNOWN, -HOUR, HOUR, false}};
	const char *cert[] = {tls_file("host", "pem"), NULL},
		   *key[] = {tls_file("host", "key"), NULL},
		   *file[] = {tls_file("host", "ocsp"), tls_file("second", "ocsp"), NULL};
	struct set_tls set = options(cert, key, true);
	struct meta1_err err = {""};
	struct tls_ctx *s;
	FILE *f;

	(void)state;
	set.OCSP_file = file;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		respond(file[0], t[i].by, t[i].of, t[i].status, t[i].from, t[i].to);
		s = tls_ctx_new(&set, true, NULL, &err);
		assert_non_null(s);
		if ((shown(s, true) > 0) != t[i].good)
			fail_msg("row %zu", i);
		assert_int_equal(shown(s, false), -1);
		tls_ctx_free(&s);
	}
	/* a file that is there later, and then is none */
	unlink(file[0]);
	s = tls_ctx_new(&set, true, NULL, &err);
	assert_int_equal(shown(s, true), -1);
	respond(file[0], &ca, &host, GOOD, -HOUR, HOUR);
	while (shown(s, true) < 0)
		;
	f = fopen(file[0], "w");
	fputs("-----BEGIN OCSP RESPONSE-----\n", f);
	fclose(f);
	while (shown(s, true) > 0)
		;
	/* one that runs out; our clock may be wrong by 300 */
	do
		respond(file[0], &ca, &host, GOOD, -HOUR, -298);
	while (shown(s, true) < 0);
	while (shown(s, true) > 0)
		;
	tls_ctx_free(&s);
	free((char *)set.CAcert_file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(tickets), cmocka_unit_test(revoked),
	    cmocka_unit_test(ocsp), cmocka_unit_test(files)};

	return cmocka_run_group_tests(tests, setup, teardown);
}
