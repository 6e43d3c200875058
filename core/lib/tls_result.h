/* SPDX-License-Identifier: BSD-2-Clause */
/* tls_result.h -- how the TLS of a session to a next hop went, in the words of RFC 8460
 * section 4.3: what smtpc tells smar, and smar writes into reports. */
#ifndef META1_TLS_RESULT_H
#define META1_TLS_RESULT_H
#include "tls_need.h"

enum tls_result {
	TLS_RESULT_NONE, /* it was no session of which a report tells */
	TLS_RESULT_GOOD,
	TLS_RESULT_NO_STARTTLS,
	TLS_RESULT_MISMATCH,
	TLS_RESULT_EXPIRED,
	TLS_RESULT_UNTRUSTED,
	TLS_RESULT_VALIDATION, /* anything else */
	TLS_RESULT_STS_FETCH,
	TLS_RESULT_STS_INVALID,
	TLS_RESULT_STS_WEBPKI,
	TLS_RESULT_DNSSEC, /* TLSA records could not be had */
	/* None of the TLSA records is of use: none can be used, or none is the certificate's. */
	TLS_RESULT_TLSA,
	TLS_RESULT_DANE_REQUIRED, /* an admin wants such records, and there are none */
	TLS_RESULTS
};
const char *tls_result_word(enum tls_result);	  /* "certificate-expired"; "" of NONE and GOOD */
enum tls_result tls_result_of_word(const char *); /* NONE: there is no such word */

/* What a transport says of a session that it opened, or could not open. need: what was asked for,
 * also in testing; NULL: nothing. */
enum tls_result tls_result_of(enum meta1_tls_result, const struct tls_need *need, bool opened);

#endif
