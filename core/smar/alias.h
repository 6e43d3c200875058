/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * alias.h -- a walk from a recipient to those who get its mail, for the files that do a part of it,
 * in this order:
 *   alias.c	    the walk: whose turn it is, and the answer
 *   alias_maps.c   an address: is its domain ours, then map after map; or a mailbox, or nobody
 *   alias_row.c    the row that a map has for it: a refusal, or words that become addresses
 *   alias_found.c  the addresses found so far: each once, loops, bounds
 * A walk has up to SMAR_ALIAS_HANDS look-ups under way (hands), each of one address (visit), which
 * ends in smar_alias_done(). Whatever fails, the walk says the first failure (smar_alias_fail())
 * when its hands are free.
 */
#ifndef META1_SMAR_ALIAS_H
#define META1_SMAR_ALIAS_H
#include "smar/users.h"

#include <uthash.h>

#define SMAR_ALIAS_HANDS 16

enum alias_end { ALIAS_OPEN, ALIAS_TARGET, ALIAS_ROWS /* it has some */, ALIAS_GONE };
/* An address that its own row names is a mailbox even without a map of users. */
enum { ALIAS_BACK_STRAIGHT = 1, ALIAS_BACK_ROUND = 2 };
struct alias_visit { /* an address on the way */
	UT_hash_handle hh;
	struct alias_visit *next;
	const struct alias_visit *from; /* in whose row it stands; NULL: the recipient */
	const char *text;		/* for the envelope: the local part as written */
	const char *key;		/* folded, local@domain; behind a backslash */
	uint16_t owner, depth;
	bool back;     /* leads back: a mailbox, or nothing */
	bool final;    /* said so: not to be looked up */
	uint8_t backs; /* ALIAS_BACK_: how rows lead back to it */
	enum alias_end end;
};
struct alias_hand { /* a look-up under way */
	struct alias_walk *walk;
	struct alias_visit *v;
	struct smar_seek seek;
	const struct smar_use *use; /* of the row that was found */
	char *value;		    /* of it, while the owner is looked up, or a file is read */
	size_t len;
	struct meta1_buf rest; /* of it */
	uint64_t owner;
	size_t user; /* bytes of local without the detail */
	enum smar_ours ours;
	bool in_file, some; /* some: the row has a word */
	bool own_detail;    /* the row is one for the address with its detail */
	char local[ADDR_PATH_MAX + 1], domain[ADDR_DOMAIN_MAX + 1];
};
struct alias_walk {
	struct smar_policy *policy;
	struct pool pool;
	struct alias_visit *table, *first, *last, *todo;
	unsigned nvisit, busy;
	struct meta1_buf owners[SMAR_OWNERS_MAX];
	unsigned nowner;
	enum smar_ours ours; /* of the recipient */
	bool give_owners, pumping, looped, failed;
	int64_t deadline;
	uint32_t ttl;
	int smtp;
	char dsn[12], text[400];
	void (*fn)(void *arg, const struct smar_expanded *);
	void *arg;
	struct alias_hand *hand[SMAR_ALIAS_HANDS]; /* made when they are needed */
};

/* alias.c: the look-up of the hand's address is over. */
void smar_alias_done(struct alias_hand *, enum alias_end);

/* alias_maps.c: looks for the hand's address. */
void smar_alias_look(struct alias_hand *);
/* Likewise, when it is known whose its domain is. */
void smar_alias_known(struct alias_hand *, enum smar_ours);
/* false: a map could not say; the walk fails, and the hand is free. */
bool smar_alias_could_say(struct alias_hand *, const struct smar_found *);

/* alias_row.c: h->seek found a row. */
void smar_alias_row(struct alias_hand *, const struct smar_found *);

/* alias_found.c */
/* What the asker is told; the first one counts. */
void smar_alias_fail(struct alias_walk *, int smtp, const char *dsn, const char *text);
/* A row, or a file, that is wrong: ours to mend, so the mail waits. */
void smar_alias_mistake(struct alias_hand *, const char *what);
/* A copy that lives as long as the walk; NULL: over the bound, the walk fails. */
const char *smar_alias_kept(struct alias_walk *, const char *);
/* The recipient. */
void smar_alias_first(struct alias_walk *, const char *local, const char *domain);
/* One address of the hand's row. The same twice is once, but one that leads back is looked at
 * again. */
void smar_alias_add(struct alias_hand *, const char *local, const char *domain, bool final);
/* Nothing more is found: each mailbox stays once, though several ways may lead to it. How many. */
uint32_t smar_alias_settle(struct alias_walk *);
void smar_alias_drop(struct alias_walk *); /* all of them */

#endif
