/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tls_meet.c -- certificates held against needs, over real handshakes: names, fingerprints, TLSA
 * records right and wrong.
 */
#include "tls_side.h"

/* $C, $K: SHA-256 of the server's certificate and key; $A, $B: of its CA's; $D: SHA-512 of its key.
 */
static void sum(char *out, X509 *x, bool key, const EVP_MD *md)
{
	unsigned char m[EVP_MAX_MD_SIZE], *der = NULL;
	unsigned n = 0;
	int len = key ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der) : i2d_X509(x, &der);

	assert_true(len > 0 && EVP_Digest(der, (size_t)len, m, &n, md, NULL) == 1);
	OPENSSL_free(der);
	for (unsigned i = 0; i < n; i++)
		snprintf(out + 2 * i, 3, "%02x", m[i]);
}

static const char *fill(const char *text, X509 *x, X509 *authority)
{
	static char out[2000];
	size_t n = 0;

	for (; *text; text++) {
		char hex[129] = "";

		if (*text == '$')
			switch (*++text) {
			case 'C':
				sum(hex, x, false, EVP_sha256());
				break;
			case 'K':
				sum(hex, x, true, EVP_sha256());
				break;
			case 'D':
				sum(hex, x, true, EVP_sha512());
				break;
			case 'A':
				sum(hex, authority, false, EVP_sha256());
				break;
			case 'B':
				sum(hex, authority, true, EVP_sha256());
				break;
			default:
				memset(hex, '0', 64);
			}
		else
			hex[0] = *text;
		n += (size_t)snprintf(out + n, sizeof(out) - n, "%s", hex);
	}
	return out;
}

/* The server shows NAME.pem, with what signed it behind it when it is to prove that. */
static struct tls_ctx *server(const char *name, const char *signer)
{
	char cmd[700];

	if (signer) {
		snprintf(cmd, sizeof(cmd), "cat '%s' '%s' >'%s'", tls_file(name, "pem"),
		    tls_file(signer, "pem"), tls_file("chain", "pem"));
		assert_int_equal(system(cmd), 0);
		snprintf(cmd, sizeof(cmd), "cp -p '%s' '%s'", tls_file(name, "key"),
		    tls_file("chain", "key"));
		assert_int_equal(system(cmd), 0);
		name = "chain";
	}
	return good(name, true);
}

static const struct row {
	const char *name, *signer, *need; /* need NULL: none */
	bool accepted;
	const char *how, *refused; /* "": not looked at */
	enum meta1_tls_result result;
} rows[] = {
    {"host", NULL, NULL, true, "verified", "", META1_TLS_GOOD},
    {"stranger", NULL, NULL, false, "not trusted", "not to be trusted: ", META1_TLS_UNTRUSTED},
    {"second", NULL, NULL, false, "trusted", "not for the host: /CN=second", META1_TLS_MISNAMED},
    {"stranger", NULL, "encrypt", true, "not trusted", "", META1_TLS_GOOD},
    {"host", NULL, "verify", true, "verified", "", META1_TLS_GOOD},
    {"second", NULL, "verify match=second.test", true, "verified", "", META1_TLS_GOOD},
    {"second", NULL, "verify match=x.test,.test", true, "verified", "", META1_TLS_GOOD},
    {"second", NULL, "verify match=est", false, "trusted", "for none of the names",
	META1_TLS_MISNAMED},
    {"host", NULL, "verify match=other.test", false, "verified", "for none of the names",
	META1_TLS_MISNAMED},
    {"stranger", NULL, "verify match=else.test", false, "not trusted", "not to be trusted",
	META1_TLS_UNTRUSTED},
    {"old", NULL, "verify match=mx.test", false, "not trusted", "not to be trusted: cert",
	META1_TLS_EXPIRED},
    /* ann has a common name alone: good enough for an admin, not for MTA-STS */
    {"ann", NULL, "verify match=ann", true, "verified", "", META1_TLS_GOOD},
    {"ann", NULL, "verify by=sts match=ann", false, "", "for none of the names",
	META1_TLS_MISNAMED},
    {"stranger", NULL, "fingerprint fingerprint=$C", true, "fingerprint", "", META1_TLS_GOOD},
    {"stranger", NULL, "fingerprint fingerprint=$0,$K", true, "fingerprint", "", META1_TLS_GOOD},
    {"old", NULL, "fingerprint fingerprint=$K", true, "fingerprint", "", META1_TLS_GOOD},
    {"host", NULL, "fingerprint fingerprint=$0", false, "verified", "without a fingerprint",
	META1_TLS_UNMATCHED},
    {"host", NULL, "fingerprint fingerprint=$A", false, "verified", "without a fingerprint",
	META1_TLS_UNMATCHED},
    {"host", NULL, "verify fingerprint=$C", true, "verified", "", META1_TLS_GOOD},
    {"host", NULL, "verify fingerprint=$0", false, "verified", "without a fingerprint",
	META1_TLS_UNMATCHED},
    {"stranger", NULL, "verify fingerprint=$C", false, "not trusted", "not to be trusted",
	META1_TLS_UNTRUSTED},
    {"host", NULL, "dane tlsa=3:1:1:$K", true, "DANE-EE", "", META1_TLS_GOOD},
    {"host", NULL, "dane tlsa=3:0:1:$C", true, "DANE-EE", "", META1_TLS_GOOD},
    {"host", NULL, "dane tlsa=3:1:2:$D", true, "DANE-EE", "", META1_TLS_GOOD},
    {"host", NULL, "dane tlsa=3:1:1:$C", false, "",
	"not the one of the TLSA records: ", META1_TLS_UNMATCHED},
    {"host", NULL, "dane tlsa=3:1:1:$0", false, "",
	"not the one of the TLSA records: ", META1_TLS_UNMATCHED},
    {"host", NULL, "dane tlsa=3:1:1:$0,3:1:1:$K", true, "DANE-EE", "", META1_TLS_GOOD},
    /* neither name, nor time, nor signer of what the record itself names is looked at */
    {"stranger", NULL, "dane tlsa=3:1:1:$K", true, "DANE-EE", "", META1_TLS_GOOD},
    {"old", NULL, "dane tlsa=3:1:1:$K", true, "DANE-EE", "", META1_TLS_GOOD},
    /* usage 2: the CA is shown, and the name must be the host's or the domain's */
    {"host", "ca", "dane tlsa=2:0:1:$A", true, "DANE-TA", "", META1_TLS_GOOD},
    {"host", "ca", "dane tlsa=2:1:1:$B", true, "DANE-TA", "", META1_TLS_GOOD},
    {"host", "ca", "dane tlsa=2:0:1:$0", false, "", "not the one of the TLSA records",
	META1_TLS_UNMATCHED},
    {"host", "ca", "dane tlsa=2:0:1:$C", false, "", "not the one of the TLSA records",
	META1_TLS_UNMATCHED},
    {"second", "ca", "dane tlsa=2:0:1:$A", false, "", "not the one of the TLSA records: host",
	META1_TLS_MISNAMED},
    {"second", "ca", "dane domain=second.test tlsa=2:0:1:$A", true, "DANE-TA", "", META1_TLS_GOOD},
    {"second", "ca", "dane match=mx.test,second.test tlsa=2:0:1:$A", true, "DANE-TA", "",
	META1_TLS_GOOD},
    {"second", "ca", "dane match=second.test tlsa=2:0:1:$A", true, "DANE-TA", "", META1_TLS_GOOD},
    {"second", "ca", "dane domain=second.test match=mx.test tlsa=2:0:1:$A", false, "", "host",
	META1_TLS_MISNAMED},
    {"old", "ca", "dane domain=mx.test tlsa=2:0:1:$A", false, "", "not the one of the TLSA",
	META1_TLS_EXPIRED},
    {"stranger", "otherca", "dane tlsa=2:0:1:$A", false, "", "not the one of the TLSA",
	META1_TLS_MISNAMED},
    /* none that SMTP uses: as encrypt; one that it does: by that alone */
    {"stranger", NULL, "dane tlsa=1:1:1:$K,0:0:1:$A", true, "not trusted", "", META1_TLS_GOOD},
    {"stranger", NULL, "dane tlsa=1:1:1:$K,3:1:1:$0", false, "", "not the one of the TLSA",
	META1_TLS_UNMATCHED},
};

static void try(const struct row *r)
{
	struct tls_who *who[] = {&host, &second, &old, &stranger, &ann};
	static const char *const names[] = {"host", "second", "old", "stranger", "ann"};
	struct tls_ctx *s = server(r->name, r->signer), *c = good(NULL, false);
	struct tls_want want = {.name = "mx.test"};
	const struct tls_info *i;
	struct meta1_err err = {""};
	struct tls_need n;
	struct side a, b;
	size_t dropped, k = 0;

	while (strcmp(names[k], r->name) != 0)
		k++;
	if (r->need) {
		const char *text = fill(r->need, who[k]->cert, ca.cert);

		if (tls_need_parse(buf_str(text), &n, &err) < 0)
			fail_msg("%s: %s", text, err.text);
		want.need = &n;
	}
	both(&a, &b);
	start(&a, s, NULL, "");
	assert_int_equal(conn_starttls(b.c, c, &want, 10000, &dropped, &err), 0);
	memset(&n, 0xff, sizeof(n)); /* it was copied */
	settle();
	assert_int_equal(b.secured, 1);
	i = conn_tls_info(b.c);
	if (i->accepted != r->accepted || (*r->how && strcmp(i->how, r->how) != 0) ||
	    (*r->refused && !strstr(i->refused, r->refused)))
		fail_msg("%s %s: accepted %d, how %s, refused %s", r->name, r->need ? r->need : "",
		    i->accepted, i->how, i->refused);
	assert_true(i->accepted || i->refused[0]);
	if (i->result != r->result)
		fail_msg("%s %s: result %d", r->name, r->need ? r->need : "", (int)i->result);
	over(&a);
	over(&b);
	tls_ctx_free(&s);
	tls_ctx_free(&c);
}

static void meets(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		try(&rows[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(meets)};

	return cmocka_run_group_tests(tests, setup, teardown);
}
