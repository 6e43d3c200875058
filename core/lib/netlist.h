/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * netlist.h -- a list of networks that an option gives: 192.0.2.1, 10.0.0.0/8, 2001:db8::/32,
 * and the word unix for peers on unix sockets. Addresses are asked as conn_addr_text() says
 * them. Owns its copy, so that it outlives the settings it came from.
 */
#ifndef META1_NETLIST_H
#define META1_NETLIST_H
#include "base.h"

#define NETLIST_FORM                                                                               \
	"an address such as 192.0.2.1 or 2001:db8::1, a network such as 192.0.2.0/24 "             \
	"without bits behind its mask, or unix"

struct net {
	int family; /* AF_ */
	unsigned bits;
	uint8_t bin[16];
};
bool netlist_parse(const char *text, struct net *); /* false: none of the forms */

struct netlist;
/* NULL for an empty list. Words that netlist_parse() refuses match nothing. */
struct netlist *netlist_new(const char *const *words);
void netlist_free(struct netlist **);
bool netlist_has(const struct netlist *, const char *addr); /* NULL list: false */
/* ::ffff:192.0.2.1, an IPv4 peer of an IPv6 socket, becomes what rules call it: 192.0.2.1. */
void netlist_plain(char *addr);

#endif
