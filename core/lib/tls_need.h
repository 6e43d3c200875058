/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tls_need.h -- what TLS must achieve towards a next hop, as smar decided: one line of text, which
 * ROUTES and DELIVER carry and struct meta1_hop.tls_need gives to the connection.
 *
 *   WORD [by=row|dane|sts] [domain=POLICYDOMAIN] [match=NAME,...] [fingerprint=HEX,...]
 *        [tlsa=U:S:M:HEX,...] [testing=1]
 *
 * WORD says what holds the mail back: none, may and encrypt as the option tls_policy; verify: a CA
 * that we trust signed the certificate for one of the names, without match for the host's, and with
 * fingerprint it is one of these besides; fingerprint: it, or its public key, has one of these
 * SHA-256 sums, whoever signed it; dane: a TLSA record of usage 2 or 3 matches (RFC 7672), and when
 * none is of these, as encrypt. by: whose word it is. domain: for which mail; of dane also a name
 * that is good for a certificate of usage 2, as the host's, unless match names those that are; the
 * first of them is then what the host is asked for (SNI), the base of its TLSA records. testing: it
 * is only looked at, never in the way.
 *
 * Everything is bounded: what is more is a mistake, never a weaker need. Full certificates and keys
 * (matching type 0) do not fit: who makes the text gives their SHA-256 instead (type 1).
 */
#ifndef META1_TLS_NEED_H
#define META1_TLS_NEED_H
#include "base.h"

#define TLS_NEED_MAX	4000 /* bytes of its text */
#define TLS_NEED_NAMES	8
#define TLS_NEED_PRINTS 8
#define TLS_NEED_TLSA	16

enum tls_need_word {
	TLS_NEED_NONE,
	TLS_NEED_MAY,
	TLS_NEED_ENCRYPT,
	TLS_NEED_VERIFY,
	TLS_NEED_FINGERPRINT,
	TLS_NEED_DANE
};
enum tls_need_by { TLS_BY_NOBODY, TLS_BY_ROW, TLS_BY_DANE, TLS_BY_STS };
struct tls_tlsa { /* usage, selector, matching type; as the record has them */
	uint8_t usage, selector, type, len;
	uint8_t data[64];
};
struct tls_need {
	enum tls_need_word word;
	enum tls_need_by by;
	bool testing;
	unsigned nmatch, nprint, ntlsa;
	char domain[256]; /* "": none */
	char match[TLS_NEED_NAMES][256];
	uint8_t print[TLS_NEED_PRINTS][32];
	struct tls_tlsa tlsa[TLS_NEED_TLSA];
};

/* <0: err says what is wrong; *out is of no use. */
int tls_need_parse(struct meta1_buf text, struct tls_need *out, struct meta1_err *);
/* The value of a row of the map tls_policy: a word, match and fingerprint; fingerprint=HEX alone is
 * a word too. dane has no records here: those of the host must be there. */
int tls_need_row(struct meta1_buf value, struct tls_need *out, struct meta1_err *);
/* Its text, which parses to the same; false: longer than TLS_NEED_MAX, out is "". */
bool tls_need_print(const struct tls_need *, char out[TLS_NEED_MAX + 1]);
/* What is checked, without whose word it is: what one session achieved is enough for another with
 * the same text, and two destinations with the same hosts are one. */
bool tls_need_check(const struct tls_need *, char out[TLS_NEED_MAX + 1]);
/* Two words for a log: "verify,row", "dane,dane,testing". Static storage of the caller's. */
#define TLS_NEED_WORDS 40
const char *tls_need_words(const struct tls_need *, char out[TLS_NEED_WORDS]);

/* OpenSSL can hold a certificate against it, and RFC 7672 lets SMTP. */
bool tls_tlsa_usable(const struct tls_tlsa *);
bool tls_need_usable(const struct tls_need *); /* one of its records is */
/* What a transport has to enforce: enum meta1_tls_policy; option: what holds where it is only
 * looked at. */
uint32_t tls_need_policy(const struct tls_need *, uint32_t option);

#endif
