/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spf.h -- may this client send mail of this domain (RFC 7208)? The question and its answer.
 *
 * spf_record.c reads a record into terms, spf_macro.c expands what they name, spf.c walks the
 * terms and asks the DNS. All of it is bounded: 10 terms that need the DNS, 2 of them without an
 * answer, 10 names of a term, one deadline.
 */
#ifndef META1_SMAR_SPF_H
#define META1_SMAR_SPF_H
#include "smar/dns.h"

enum spf_result {
	SPF_NONE, /* the domain says nothing, or is none */
	SPF_NEUTRAL,
	SPF_PASS,
	SPF_FAIL,
	SPF_SOFTFAIL,
	SPF_TEMPERROR, /* the DNS could not say */
	SPF_PERMERROR  /* the record has a mistake */
};
struct spf_question {
	const char *client; /* address as text */
	const char *helo;   /* "": unknown */
	const char *local,
	    *domain;	      /* of the sender; an empty domain: the HELO name is asked about */
	const char *hostname; /* ours */
};
struct spf_answer {
	enum spf_result result;
	bool helo;			  /* it is about the HELO name */
	char domain[ADDR_DOMAIN_MAX + 1]; /* that was asked about */
	char mechanism[128];   /* that decided: "-all", "ip4:192.0.2.0/24"; "default"; "" */
	char why[160];	       /* TEMPERROR, PERMERROR: what is wrong */
	char explanation[256]; /* FAIL: of the domain, printable ASCII; "": none */
	uint32_t ttl;	       /* seconds that it may be kept */
};
typedef void (*spf_fn)(void *arg, const struct spf_answer *);
/* fn comes once, on a later turn, at the latest at the deadline. Strings are copied. */
void spf_ask(struct dns *, const struct spf_question *, int64_t deadline, spf_fn, void *arg);
const char *spf_word(enum spf_result); /* pass fail …: keys of spf: in the access map */

#endif
