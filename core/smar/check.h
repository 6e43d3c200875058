/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check.h -- one question of smtps (CHECK) on its way, for the files that answer a part of it.
 *
 * check.c walks its table of steps; those whose stage is asked about run in that order:
 *   check_client.c   who the client is: AUTH, certificate, address, name
 *   check_mail.c     what it says: HELO, sender
 *   check_dns.c      what the DNS says of both: the client's name, lists, SPF
 *   check_user.c     who the recipient is: virtual domains, users, aliases
 *   check_rcpt.c     the recipient: local, postmaster, access, relaying, what the next hop takes
 *   check_probe.c    the recipient's next hop: would it take it?
 *   check_protected.c  recipients that only some may write to
 *   check_grey.c     greylisting, the last
 * A step ends in exactly one of check_go_on() and check_say(), now or later. A step that looks in
 * the access map sets c->seek.keys and calls check_access().
 */
#ifndef META1_SMAR_CHECK_H
#define META1_SMAR_CHECK_H
#include "smar/smar.h"
#include "smar/spf.h"

/* Tags of the access map. One bit each, for what an admin looks at at all. */
enum check_tag {
	TAG_CLTADDR = 1,
	TAG_HELO = 2,
	TAG_FROM = 4,
	TAG_TO = 8,
	TAG_CERTSUBJECT = 16,
	TAG_CERTISSUER = 32,
	TAG_CLTNAME = 64,
	TAG_CLTRESOLVE = 128,
	TAG_PROTECTED = 256
};

#define CHECK_MAY_RELAY 1u /* RELAY under its tag permits relaying; else it is as OK */
#define CHECK_PROOF	2u /* what it permits was proven: AUTH, a certificate */
#define CHECK_JUDGES	4u /* of no interest when the client's address may relay */
#define CHECK_ANYWAY	8u /* looked up even when a row before said OK */

#define CHECK_EVER	8u /* also of postmaster, who is always taken */

struct check;
struct smar_expanded;
struct check_step {
	const char *name;
	uint32_t stage; /* one of enum proto_stage */
	uint32_t tag;	/* of the access map; 0: it does not look there */
	unsigned flags; /* CHECK_ */
	void (*run)(struct check *);
	bool (*on)(const struct smar_policy *); /* is it configured? NULL: it always is */
};

struct check {
	struct smar_policy *policy;
	struct smar_seek seek;
	struct smar_keys *keys; /* as the look-up began, for the trace; NULL: live */
	const struct check_step *step;
	size_t at; /* the next one */
	uint32_t stages, tls;
	uint64_t flags;		    /* of the smtps section: SMTPS_F_; and CHECK_8BITMIME */
	bool local;		    /* the recipient's domain is ours */
	bool virtual;		    /* likewise, and has no mailboxes */
	bool postmaster;	    /* of ours: taken, whatever else is said */
	bool relay_to;		    /* to: permits it */
	bool relay_client;	    /* the client's address or name may relay */
	bool relay_proof;	    /* AUTH or a certificate may */
	bool relay;		    /* the client may, as a verdict before said */
	bool ok, quick;		    /* no further rows; quick: not even protectedrcpt */
	bool utf8;		    /* the mail needs SMTPUTF8: a local part is not ASCII */
	bool probe;		    /* nothing may be remembered */
	bool probe_accepts;	    /* when its next hop cannot say */
	bool probe_lmtp;	    /* it is asked only if it is one of LMTP */
	char hop[120];		    /* that is asked, for the trace */
	unsigned grey;		    /* which exemption is looked for next */
	int64_t deadline, since_us; /* since: of the step */
	uint32_t ttl;
	char client[64];
	char from_local[ADDR_PATH_MAX + 1], from_domain[ADDR_DOMAIN_MAX + 1];
	char local_part[ADDR_PATH_MAX + 1], domain[ADDR_DOMAIN_MAX + 1];
	char *rcpt;			      /* as it was said; NULL: none */
	char *helo, *auth, *subject, *issuer; /* NULL: none */
	char rule[1001];		      /* what the step looked up: "MAP KEY"; "": nothing */
	char answer[200];		      /* and found, for the trace */
	bool looked;			      /* in a map, by keys */
	bool resolved;			      /* resolve is known */
	enum dns_client_result resolve;
	char name[ADDR_DOMAIN_MAX + 1]; /* of the client, confirmed; "" */
	struct check_lists *lists;	/* what DNS lists said last, or NULL */
	char list_tag[64];		/* of the hit that is looked up */
	uint32_t spf;			/* PROTO_SPF(), 0: not known */
	char spf_why[160];
	const struct smar_expanded *expanded; /* whom it stands for; NULL: itself */
	struct smar_expanded *own;	      /* a copy, while steps follow; or NULL */
	smar_verdict_fn fn;
	smar_trace_fn trace; /* NULL: live */
	void *arg;
};

/* The step has no final word. effect: for the trace. */
void check_go_on(struct check *, const char *effect);
/* The verdict; the check is gone. */
void check_say(struct check *, enum proto_action, int smtp, const char *dsn, const char *text);
void check_accept(struct check *); /* the recipient */
/* Looks c->seek.keys up; found is called with c. */
void check_seek(
    struct check *, const struct smar_use *, void (*found)(void *, const struct smar_found *));
/* Looks c->seek.keys up in the access map and does what the row says. */
void check_access(struct check *);
/* The row under c->seek.key cannot be read: 451, and why in the log. */
void check_mistake(struct check *, const char *why);
/* The verdict may not be kept for longer. */
void check_ttl(struct check *, uint32_t ttl);
/* Notes where the answer came from. false: the map could not say, the question is answered. */
bool check_found(struct check *, const struct smar_found *);

/* Does what a row of the access map says, or goes on when there is none. */
void check_row(struct check *, const struct smar_found *);

/* check_dns.c */
bool check_names_on(const struct smar_policy *);
bool check_dnsbl_client_on(const struct smar_policy *);
bool check_dnsbl_helo_on(const struct smar_policy *);
bool check_dnsbl_sender_on(const struct smar_policy *);
bool check_spf_on(const struct smar_policy *);
void check_name(struct check *);
void check_cltresolve(struct check *);
void check_cltname(struct check *);
void check_dnsbl_client(struct check *);
void check_dnsbl_helo(struct check *);
void check_dnsbl_sender(struct check *);
void check_spf(struct check *);
/* check_client.c */
/* A name of a certificate as one word, of at most three times its bytes; NULL: there is none. */
char *check_name_word(struct meta1_buf name);
void check_auth(struct check *);
void check_certsubject(struct check *);
void check_certissuer(struct check *);
void check_cltaddr(struct check *);
/* check_mail.c */
void check_helo(struct check *);
void check_from(struct check *);
/* check_user.c */
void check_virtual(struct check *);
void check_exists(struct check *);
bool check_virtual_on(const struct smar_policy *);
bool check_exists_on(const struct smar_policy *);
/* check_rcpt.c */
void check_local(struct check *);
void check_postmaster(struct check *);
void check_to(struct check *);
void check_protected(struct check *);
void check_relay(struct check *);
void check_utf8(struct check *);
void check_8bitmime(struct check *);
bool check_8bitmime_on(const struct smar_policy *);
void check_probe(struct check *); /* check_probe.c; told in probe.h */
bool check_probe_on(const struct smar_policy *);
void check_grey(struct check *); /* check_grey.c; told in grey.h */
bool check_grey_on(const struct smar_policy *);

#endif
