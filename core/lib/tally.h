/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tally.h -- what logins and accounts have done, over all processes that count it: one piece of
 * memory, made by mcp and mapped by every smtps, as that of clients.h.
 *
 * Each process writes a part of its own, so there is no lock; a question sums up the parts. A part
 * outlives its process: who kills a server must not get his failures back. No name is in it, only
 * a sum of each with a secret key. Kinds have tables of their own: what floods one leaves the
 * others alone.
 */
#ifndef META1_TALLY_H
#define META1_TALLY_H
#include "base.h"

#define TALLY_ROWS 32768 /* of a kind, of one process: 2 MiB at most */

enum tally_kind {
	TALLY_CLIENT,  /* failures of a client */
	TALLY_ACCOUNT, /* failures of an account */
	TALLY_KNOWN,   /* clients that have logged in as an account */
	TALLY_SENT,    /* mails and recipients of an account */
	TALLY_KINDS
};
struct tally;
struct tally_key {
	uint64_t hi, lo;
};

/* mcp: the memory, for so many processes; a descriptor, or -1 (errno). */
int tally_make(unsigned processes);
void tally_more(int fd, unsigned processes); /* mcp: there may be so many now */
/* smtps: as the process of this index, which alone writes its part. fd stays the caller's. */
struct tally *tally_open(int fd, unsigned index, struct meta1_err *);
void tally_close(struct tally **);

void tally_key(const struct tally *, const char *name, struct tally_key *);
/* All of these: at is monotonic ms, of the same clock in all processes. */
/* How many there are, whose time is not over. */
uint64_t tally_sum(struct tally *, enum tally_kind, const struct tally_key *, int64_t at);
/* One more, for ms since the first of them; how many there are with it. When there is no place left
 * that is worth less, it is not counted. */
uint64_t tally_add(
    struct tally *, enum tally_kind, const struct tally_key *, int64_t at, int64_t ms);
/* The key is somebody's, for ms: its row goes after all that are nobody's. */
void tally_own(struct tally *, enum tally_kind, const struct tally_key *, int64_t at, int64_t ms);
bool tally_owned(struct tally *, enum tally_kind, const struct tally_key *, int64_t at);

/* One more of two things (0, 1) in a window of ms that slides: what was in the one before counts by
 * its share. false: that would be more than max, and it is not counted. *n: how many there were.
 * *first: this is the first refusal of its window. max <= 0: no bound. */
struct tally_take {
	unsigned what;
	int64_t max, ms;
};
bool tally_take(struct tally *, const struct tally_key *, const struct tally_take *, int64_t at,
    uint64_t *n, bool *first);

#endif
