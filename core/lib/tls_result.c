/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tls_result.c -- see tls_result.h. From smtpc's sessions; to reports of smar. Owns nothing.
 * Transports speak for people; the words that are looked for here are those of lib/tls_meet.c and
 * of the dialogue in modules/transports. On failure: words that are not known are a failed
 * validation, never a good session.
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

static bool begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

static bool no_starttls(const char *why)
{
	return strstr(why, "STARTTLS is not offered") || strstr(why, "STARTTLS is refused") ||
	       strstr(why, "the host does not know EHLO");
}

/* Nobody but us is the cause that there was no TLS. */
static bool ours(const char *why)
{
	return begins(why, "by policy") || begins(why, "a unix socket") ||
	       begins(why, "there is no TLS here");
}

static bool named(const struct tls_need *n)
{
	return n && (n->word == TLS_NEED_VERIFY || n->word == TLS_NEED_FINGERPRINT ||
			n->word == TLS_NEED_DANE);
}

enum tls_result tls_result_opened(const struct tls_need *need, const char *text)
{
	static const char none[] = "none,";
	const char *how = strrchr(text, ','), *why = text + sizeof(none) - 1;

	if (!how)
		return TLS_RESULT_NONE;
	if (begins(text, none))
		return ours(why)	  ? TLS_RESULT_NONE
		       : no_starttls(why) ? TLS_RESULT_NO_STARTTLS
					  : TLS_RESULT_VALIDATION;
	if (!named(need) || (strcmp(how, ",trusted") != 0 && strcmp(how, ",not trusted") != 0))
		return TLS_RESULT_GOOD;
	/* A need of DANE lets no session be opened that lacks it, unless no record is usable. */
	if (need->word == TLS_NEED_DANE)
		return TLS_RESULT_GOOD;
	return strcmp(how, ",trusted") == 0 ? TLS_RESULT_MISMATCH : TLS_RESULT_UNTRUSTED;
}

enum tls_result tls_result_failed(const char *dsn, const char *text)
{
	if (strcmp(dsn, "4.7.4") == 0)
		return no_starttls(text) ? TLS_RESULT_NO_STARTTLS : TLS_RESULT_VALIDATION;
	if (strcmp(dsn, "4.7.5") == 0)
		return strstr(text, "has expired")	   ? TLS_RESULT_EXPIRED
		       : strstr(text, "TLSA records")	   ? TLS_RESULT_VALIDATION
		       : strstr(text, "not for the host")  ? TLS_RESULT_MISMATCH
		       : strstr(text, "none of the names") ? TLS_RESULT_MISMATCH
		       : strstr(text, "not to be trusted") ? TLS_RESULT_UNTRUSTED
							   : TLS_RESULT_VALIDATION;
	if (strstr(text, "the TLS handshake") || strstr(text, "reply to STARTTLS"))
		return TLS_RESULT_VALIDATION;
	return TLS_RESULT_NONE; /* it did not come to TLS */
}
