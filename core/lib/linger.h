/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * linger.h -- the last moments of a connection: what is left goes out, then our side is shut,
 * and what the peer still sends is thrown away until it closes.
 *
 * A socket that is closed with input unread, or gets more of it, is reset, and the reset may
 * overtake or discard the last reply. Bounded in time, bytes and number.
 */
#ifndef META1_LINGER_H
#define META1_LINGER_H
#include "lib/loop.h"
#include "lib/outq.h"

#define LINGER_BYTES (256u << 10) /* so much is thrown away; then the peer waits for the end */
#define LINGER_MAX   256	  /* connections at a time; the oldest makes room */

/* Takes the descriptor and what is queued; eof: the peer has shut its side. It is closed after ms
 * at the latest. */
void linger_new(struct loop *, int fd, struct outq *, bool eof, int64_t ms);
unsigned linger_count(void);
/* All that are left end within ms; then done runs, at once if there are none. */
void linger_stop(int64_t ms, void (*done)(void *arg), void *arg);

#endif
