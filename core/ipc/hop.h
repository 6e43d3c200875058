/* SPDX-License-Identifier: BSD-2-Clause */
/* hop.h -- a next hop as ROUTES and DELIVER write it, for who connects to it. */
#ifndef META1_HOP_H
#define META1_HOP_H
#include "ipc/proto.h"
#include "lib/pool.h"
#include "lib/settings.h"

/* "ADDR PORT NAME" (ADDR may be a path with blanks) into hop; strings from pool. -1: malformed, or
 * the pool is full. */
int hop_take(struct pool *, struct meta1_buf text, struct meta1_hop *);

/* What a word of the option tls_policy (TLS_POLICY_) means: enum meta1_tls_policy. */
uint32_t hop_tls(int32_t word);

/* What TLS must achieve towards the i-th hop of ROUTES or DELIVER: into hop; option: what holds
 * without a need. key: what a session must have achieved to serve this hop, "" without a need; it
 * and hop's need are from pool. -1: the need is malformed, and the hop must not be used; err. */
int hop_need(struct pool *, const struct proto_strs *need, const struct proto_nums *need_of,
    uint32_t i, uint32_t option, struct meta1_hop *hop, const char **key, struct meta1_err *);

#endif
