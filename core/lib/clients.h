/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * clients.h -- how many connections each client has, and makes a minute, over all processes that
 * accept: one piece of memory, made by mcp and mapped by every smtps.
 *
 * Each process writes a part of its own, so there is no lock; a question sums up the parts.
 * What a dead process held is given back by mcp, which throws its part away.
 */
#ifndef META1_CLIENTS_H
#define META1_CLIENTS_H
#include "base.h"

#define CLIENTS_MAX  65536 /* that one process can tell apart; its part takes 2 MiB at most */

#define CLIENTS_TEXT 64 /* of a key */

struct clients;
struct clients_key { /* a network, as one of the prefix lengths cuts it */
	uint64_t hi, lo;
	uint32_t bits; /* of an IPv6 address; IPv4 is what is mapped into it */
};
struct clients_count {
	uint32_t connections; /* open now */
	uint32_t rate;	      /* made within the last minute; the minute before counts by share */
};

struct clients_row {
	struct clients_key key;
	struct clients_count n;
};

/* mcp: the memory, for so many processes; a descriptor, or -1 (errno). */
int clients_make(unsigned processes);
void clients_more(int fd, unsigned processes); /* mcp: there may be so many now */
/* mcp: the process of this index is dead; what it held is nobody's. */
void clients_forget(int fd, unsigned index);

/* smtps: as the process of this index, which alone writes its part. fd stays the caller's. */
struct clients *clients_open(int fd, unsigned index, struct meta1_err *);
void clients_close(struct clients **);

/* false: no IP address, so it is not counted. */
bool clients_key(const char *addr, unsigned ipv4_bits, unsigned ipv6_bits, struct clients_key *);
/* One connection more; out: with it, over all processes. false: this process cannot tell so many
 * clients apart, nothing was counted. now: monotonic ms, of the same clock in all processes. */
bool clients_add(
    struct clients *, const struct clients_key *, int64_t now, struct clients_count *out);
/* One less. undo: it was refused, so it is not of the rate either. */
void clients_drop(struct clients *, const struct clients_key *, int64_t now, bool undo);

/* "192.0.2.1", "192.0.2.0/24", "2001:db8::/64" */
void clients_text(const struct clients_key *, char out[CLIENTS_TEXT]);
/* Who has the most connections, then the highest rate, into out, over all processes; how many rows
 * there are. total: clients that are known. */
unsigned clients_top(
    struct clients *, int64_t now, struct clients_row *out, unsigned max, unsigned *total);

#endif
