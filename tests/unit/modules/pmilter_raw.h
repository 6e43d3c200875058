/* SPDX-License-Identifier: BSD-2-Clause */
/* pmilter_raw.h -- frames made by hand, of a filter or a server that says whatever a test wants,
 * and such a filter at the other end of pmilter_pmilter. */
#ifndef META1_TEST_PMILTER_RAW_H
#define META1_TEST_PMILTER_RAW_H
#include "pmilter_fix.h"

#define RW_ALL 255 /* stages */

struct wire {
	unsigned char at[1 << 18];
	size_t len;
};

/* Each adds a frame; rw_done() ends one with fields. */
struct meta1_pmw_out rw_frame(struct wire *, uint32_t type, uint32_t session);
void rw_done(struct wire *, struct meta1_pmw_out *);
void rw_bare(struct wire *, uint32_t type, uint32_t session);
void rw_welcome(struct wire *, uint32_t window, uint32_t windows);
struct meta1_pmw_out rw_verdict(struct wire *, uint32_t session, uint32_t action);
void rw_good(struct wire *, uint32_t session);

struct raw {
	struct pf *f;
	int lis, fd;
	struct wire in;
	unsigned questions; /* frames that want an answer */
	size_t chunk[3];    /* bytes of content, by session */
	unsigned seen[3];   /* END, by session */
};

struct raw *raw_new(void); /* listens, and pmilter_pmilter knows where */
void raw_free(struct raw **);
void raw_turn(struct raw *);
void raw_say(struct raw *, struct wire *); /* and the wire is empty */
void raw_until(struct raw *, const unsigned *n, unsigned wanted);
/* Session s is begun, greeted and has asked CONNECT. */
void raw_asked(struct raw *, struct ps *s, struct wire *);

#endif
