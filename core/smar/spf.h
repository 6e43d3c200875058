/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spf.h -- may this client send mail of this domain (RFC 7208)? The question and its answer.
 *
 * spf.c fetches records and walks their terms, spf_term.c asks the DNS what a term needs;
 * spf_record.c reads a record into terms, spf_macro.c expands what they name. All of it is bounded:
 * 10 terms that need the DNS, 2 of them without an answer, 10 names of a term, one deadline.
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

/* ---- spf_record.c: a record, read ---- */
#define SPF_RECORD_MAX 8192 /* bytes; RFC 7208 section 3.4 wants at most some 450 */
enum spf_kind { SPF_ALL, SPF_INCLUDE, SPF_A, SPF_MX, SPF_PTR, SPF_IP4, SPF_IP6, SPF_EXISTS };
struct spf_term {
	enum spf_kind kind;
	enum spf_result result;	     /* when it matches */
	struct meta1_buf text, spec; /* as written; what it names, "": the current domain */
	unsigned char ip[16];	     /* IP4, IP6 */
	unsigned bits4, bits6;
};
struct spf_record {
	char *text;
	struct spf_term *term;
	unsigned n;
	struct meta1_buf redirect, exp; /* "": none */
};
bool spf_record_is(struct meta1_buf text); /* begins as a record does */
/* <0: err says which term is wrong; nothing is left to free. */
int spf_record_parse(struct meta1_buf text, struct spf_record *, struct meta1_err *);
void spf_record_free(struct spf_record *);

/* ---- spf_macro.c: %{i}, %{d2r} and their like ---- */
enum spf_macro {
	SPF_M_STRING, /* a modifier that we do not know */
	SPF_M_DOMAIN, /* must end like a domain */
	SPF_M_EXP     /* text for people: blanks, and the letters c, r, t */
};
struct spf_values {
	const struct mx_addr *addr;
	const char *local, *sender; /* what MAIL said */
	const char *domain;	    /* the current one */
	const char *helo, *hostname;
	const char *name; /* of the client, confirmed, or "unknown" */
	int64_t now;	  /* wall clock, seconds */
};
bool spf_macro_ok(struct meta1_buf, enum spf_macro);
bool spf_macro_name(struct meta1_buf); /* it needs the name of the client */
/* Of what is ok. Bytes in out, -1: does not fit. */
int spf_macro_expand(struct meta1_buf, const struct spf_values *, char *out, size_t size);
/* A name to ask the DNS for: without final dot, cut at the left to 253 bytes. false: it is none. */
bool spf_macro_domain(struct meta1_buf, const struct spf_values *, char out[DNS_NAME_MAX]);
bool spf_macro_label(
    const char *domain); /* labels of 1 to 63 printable bytes, at most 253 in all */

/* ---- spf.c and spf_term.c: a question under way ---- */
#define SPF_LOOKUPS 10
#define SPF_VOIDS   2
struct spf_frame { /* a record that is walked: the domain's, and one an include */
	char domain[DNS_NAME_MAX];
	bool redirected;
	struct spf_record rec;
	unsigned at; /* the term */
};
struct spf {
	struct dns *dns;
	int64_t deadline;
	struct mx_addr addr;
	char local[ADDR_PATH_MAX + 1], sender[DNS_NAME_MAX], helo[256], hostname[256];
	char name[DNS_NAME_MAX]; /* of %{p}; "": not looked up yet */
	struct spf_frame *frame[SPF_LOOKUPS + 1];
	unsigned depth, lookups, voids;
	unsigned open;	      /* questions of this term */
	bool ending;	      /* the result is known, its explanation is looked for */
	bool matched, failed; /* one of their answers did; the DNS could not say */
	char why[160];
	struct spf_answer answer;
	spf_fn fn;
	void *arg;
};
enum spf_step {
	SPF_NO,	  /* does not match */
	SPF_YES,  /* matches */
	SPF_WAIT, /* spf_go() will come */
	SPF_OVER  /* the question was answered and is gone */
};
enum spf_step spf_term(struct spf *, const struct spf_term *);
void spf_go(struct spf *, bool matched); /* the term that waited has its answer */
void spf_name(struct spf *);		 /* looks up s->name, then: */
void spf_again(struct spf *);		 /* what waited begins anew */
/* The end of all, by an error. */
enum spf_step spf_error(struct spf *, enum spf_result, const char *fmt, ...) PRINTF(3, 4);
enum spf_step spf_include(struct spf *, const char *domain); /* WAIT */
void spf_values(const struct spf *, struct spf_values *);
void spf_ttl(struct spf *, uint32_t ttl);

#endif
