/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tls_result.c -- see tls_result.h. From smtpc's sessions; to reports of smar. Owns nothing.
 * On failure: what is not known is a failed validation, never a good session.
 */
#include "lib/tls_result.h"

static const char *const words[TLS_RESULTS] = {
    [TLS_RESULT_NONE] = "",
    [TLS_RESULT_GOOD] = "",
    [TLS_RESULT_NO_STARTTLS] = "starttls-not-supported",
    [TLS_RESULT_MISMATCH] = "certificate-host-mismatch",
    [TLS_RESULT_EXPIRED] = "certificate-expired",
    [TLS_RESULT_UNTRUSTED] = "certificate-not-trusted",
    [TLS_RESULT_VALIDATION] = "validation-failure",
    [TLS_RESULT_STS_FETCH] = "sts-policy-fetch-error",
    [TLS_RESULT_STS_INVALID] = "sts-policy-invalid",
    [TLS_RESULT_STS_WEBPKI] = "sts-webpki-invalid",
    [TLS_RESULT_DNSSEC] = "dnssec-invalid",
    [TLS_RESULT_TLSA] = "tlsa-invalid",
    [TLS_RESULT_DANE_REQUIRED] = "dane-required",
};

const char *tls_result_word(enum tls_result r)
{
	return r < TLS_RESULTS ? words[r] : "";
}

enum tls_result tls_result_of_word(const char *word)
{
	for (unsigned i = TLS_RESULT_NO_STARTTLS; i < TLS_RESULTS; i++)
		if (strcmp(word, words[i]) == 0)
			return (enum tls_result)i;
	return TLS_RESULT_NONE;
}

static const enum tls_result of[] = {
    [META1_TLS_UNTRIED] = TLS_RESULT_NONE,
    [META1_TLS_GOOD] = TLS_RESULT_GOOD,
    [META1_TLS_NOT_OFFERED] = TLS_RESULT_NO_STARTTLS,
    [META1_TLS_BROKEN] = TLS_RESULT_VALIDATION,
    [META1_TLS_MISNAMED] = TLS_RESULT_MISMATCH,
    [META1_TLS_EXPIRED] = TLS_RESULT_EXPIRED,
    [META1_TLS_UNTRUSTED] = TLS_RESULT_UNTRUSTED,
    [META1_TLS_UNMATCHED] = TLS_RESULT_TLSA,
};

/* The certificate has to be somebody's. */
static bool named(const struct tls_need *n)
{
	return n && (n->word == TLS_NEED_VERIFY || n->word == TLS_NEED_FINGERPRINT ||
			(n->word == TLS_NEED_DANE && tls_need_usable(n)));
}

enum tls_result tls_result_of(enum meta1_tls_result said, const struct tls_need *n, bool opened)
{
	enum tls_result r = said < ARRAY_LEN(of) ? of[said] : TLS_RESULT_VALIDATION;
	/* There is TLS, and nothing to hold the certificate against. */
	bool any = opened && !named(n) && said >= META1_TLS_MISNAMED;

	if (any || r == TLS_RESULT_GOOD)
		r = opened ? TLS_RESULT_GOOD : TLS_RESULT_NONE; /* the hop has another reason */
	/* TLSA records that ask for TLS, and of no certificate (RFC 7672 section 2.2) */
	if (r == TLS_RESULT_GOOD && n && n->by == TLS_BY_DANE && !named(n))
		return TLS_RESULT_TLSA;
	return r;
}
