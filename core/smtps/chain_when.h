/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * chain_when.h -- which mail a filter judges, by the conditions of its section. What is not known
 * yet leaves it open: the client decides at the connect, AUTH and the sender at MAIL, recipients at
 * RCPT, the size at the end. Pure; meta1ctl explain asks it too.
 */
#ifndef META1_SMTPS_CHAIN_WHEN_H
#define META1_SMTPS_CHAIN_WHEN_H
#include "lib/netlist.h"
#include "lib/settings.h"

struct chain_when { /* of a filter; its words are those of the settings */
	const struct set_filter *set;
	struct netlist *clients; /* owned */
};

enum chain_known {	  /* bits */
	CHAIN_K_MAIL = 1, /* from, authenticated */
	CHAIN_K_RCPT = 2, /* whether a recipient is among those meant */
	CHAIN_K_SIZE = 4  /* bytes */
};
struct chain_facts {
	const char *listener /* NULL: not known */, *client;
	unsigned known; /* enum chain_known */
	bool authenticated, rcpt;
	struct meta1_buf from;
	uint64_t bytes;
};

enum chain_is { CHAIN_NO, CHAIN_OPEN, CHAIN_YES };

void chain_when_open(struct chain_when *, const struct set_filter *);
void chain_when_close(struct chain_when *);
enum chain_is chain_when(const struct chain_when *, const struct chain_facts *);
/* The recipient is among those meant; without such a condition: all are. */
bool chain_when_rcpt(const struct chain_when *, struct meta1_buf rcpt);
bool chain_when_rcpts(const struct chain_when *); /* it has such a condition */
/* The condition that says no, as the option is called; NULL: none does. */
const char *chain_when_cause(const struct chain_when *, const struct chain_facts *);
/* An address, a domain, ".domain" for those below it, or "<>", in a list; case does not count. */
bool chain_when_listed(const char *const *list, struct meta1_buf addr);

#endif
