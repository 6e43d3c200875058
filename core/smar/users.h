/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * users.h -- the part of smar.h about recipients: does this one exist, and whom does it stand for?
 *
 * ours.c says whether a domain is local, virtual, or not ours. alias.c (alias.h) walks from a
 * recipient to those who get its mail: virtual_aliases by the whole address (local and virtual
 * domains), then aliases, then local_user_map. targets.c reads the value of a row, include.c the
 * file that one names. What is found at RCPT goes to smtps, which writes it into the envelope; qmgr
 * asks the same for its own reports.
 *
 * A walk has bounds: SMAR_EXPAND_MAX targets, SMAR_EXPAND_DEPTH rows on the way to one, and each
 * address is looked up once. An address that leads back to itself is a mailbox if local_user_map
 * has it (without such a map: if it names itself directly); else that branch ends, with a warning.
 * All walks together have a bound too: beyond it the asker is told to come again (451).
 */
#ifndef META1_SMAR_USERS_H
#define META1_SMAR_USERS_H
#include "smar/smar.h"

#define SMAR_EXPAND_MAX	  10000 /* targets of one recipient, as in RCPT_VERDICT */
#define SMAR_EXPAND_DEPTH 20
#define SMAR_OWNERS_MAX	  100 /* lists with an owner on the way, likewise */

/* ---- ours.c ---- */
enum smar_ours { OURS_NO, OURS_LOCAL, OURS_VIRTUAL, OURS_ASK /* not known yet */ };
struct smar_ours_found {
	enum meta1_status status; /* OK, TEMPFAIL, PERMFAIL: of a map */
	enum smar_ours ours;
	uint32_t ttl;
};
/* Local: smar_local_fixed(), or a mailertable row that says so. Virtual: in virtual_domains, or
 * virtual_aliases has a row for the domain, or a parent. fn comes once, perhaps inside the call. */
void smar_ours_find(struct smar_policy *, const char *domain, int64_t deadline,
    void (*fn)(void *arg, const struct smar_ours_found *), void *arg);

/* ---- targets.c: the value of a row; pure ---- */
struct smar_word {
	bool include; /* text is the path of a file */
	bool final;   /* "\user": not to be expanded */
	char text[ADDR_PATH_MAX + 1];
};
/* Takes the next word off: 1; 0: there is none; <0: err says what is wrong with it. Words are
 * separated by blanks, commas and line ends. */
int smar_target_next(struct meta1_buf *rest, struct smar_word *, struct meta1_err *);
/* The word as an address: local part as written, the domain as a key; one without a domain gets
 * the other one. */
int smar_target_address(const struct smar_word *, const char *domain, char local[ADDR_PATH_MAX + 1],
    char out_domain[ADDR_DOMAIN_MAX + 1], struct meta1_err *);

/* ---- include.c ---- */
/* Reads the file on a worker. text NULL: why; else it is good during the call, comments are
 * blanks. fn comes later. */
void smar_include_read(struct smar_policy *, const char *path,
    void (*fn)(void *arg, const char *text, size_t len, const char *why), void *arg);

/* ---- alias.c ---- */
struct smar_expanded {
	enum meta1_status status; /* OK; NOTFOUND: no such user; TEMPFAIL, PERMFAIL: the reply */
	int smtp;
	const char *dsn, *text; /* all but OK */
	const struct meta1_buf *target, *owners;
	const uint64_t *owner; /* of each target, 1 + an index into owners, or 0 */
	uint32_t n, nowner;    /* n 0: it stands for itself */
	uint32_t ttl;	       /* seconds that this may be kept */
	bool looped;	       /* PERMFAIL: it leads back to itself, and nowhere else */
};
/* No map is there that could say anything. */
bool smar_alias_idle(const struct smar_policy *, enum smar_ours);
/* local and domain as of smar_keys_split(). owners: lists give a sender (not to null senders'
 * mail). fn comes once, perhaps inside the call. */
void smar_alias_expand(struct smar_policy *, const char *local, const char *domain, enum smar_ours,
    bool owners, int64_t deadline, void (*fn)(void *arg, const struct smar_expanded *), void *arg);

#endif
