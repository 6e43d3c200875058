/* SPDX-License-Identifier: BSD-2-Clause */
/* ends.h -- a transport, a store and a qmgr for deliver.c and session.c under test: what they say
 * is the test's, what they were told is kept here. The channel to qmgr is a real one. */
#ifndef TEST_SMTPC_ENDS_H
#define TEST_SMTPC_ENDS_H
#include "smtpc/smtpc.h"

#include "../unit.h"

#include <stdio.h>
#include <stdlib.h>

struct meta1_req {
	mod_done_fn done;
	mod_rcpt_fn rcpt;
	void *arg;
};
struct peer { /* a session of the transport */
	char addr[64];
	bool dead, past;
};

extern struct smtpc c;
extern struct smtpc_gear gear;
extern struct smtpc_transport transport;
extern struct meta1_req *open_req, *send_req, *load_req;
extern struct peer *open_peer, *send_peer;
extern char offered[256]; /* recipients of the last send() */
extern int opens, sends, shuts, loads, unloads, cancels, credits;
extern struct chan *ours, *theirs;

void answer(struct meta1_req **, enum meta1_status, int scope, int smtp, const char *text);
void rcpt(uint32_t i, enum meta1_status, int smtp, const char *text);
const char *told(void); /* what qmgr was told since, one word a frame */
int setup(void **state);
int teardown(void **state);
/* One delivery, its content loaded. */
void deliver(uint64_t id, uint32_t nrcpt, const char *hop1, const char *hop2);

#define HOP1 "192.0.2.1 25 mx1.example"
#define HOP2 "192.0.2.2 0 mx2.example"

#endif
