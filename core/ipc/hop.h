/* SPDX-License-Identifier: BSD-2-Clause */
/* hop.h -- a next hop as ROUTES and DELIVER write it, for who connects to it. */
#ifndef META1_HOP_H
#define META1_HOP_H
#include "lib/pool.h"
#include "lib/settings.h"

/* "ADDR PORT NAME" (ADDR may be a path with blanks) into hop; strings from pool. -1: malformed, or
 * the pool is full. */
int hop_take(struct pool *, struct meta1_buf text, struct meta1_hop *);

/* What tls_policy means for it: enum meta1_tls_policy. */
uint32_t hop_tls(const struct set_smtpc *);

#endif
