/* SPDX-License-Identifier: BSD-2-Clause */
/* authres.h -- lines about the sender in the header; a part of smtps.h, see authres.c. */
#ifndef META1_SMTPS_AUTHRES_H
#define META1_SMTPS_AUTHRES_H
#include "lib/base.h"

struct smtps_session;
struct smtps_tx;

/* The filter of authres.c; all zero at the start of a message. */
struct smtps_authres {
	uint8_t state;
	bool on;	/* as it was when the message began: a reload changes the next one */
	bool dropping;	/* the last field was taken out */
	uint16_t n, id; /* bytes kept back; where the name of a server begins */
	char held[320];
};

/* What smar found out about the sender, a line or more; 0: nothing, or it is not wanted. */
size_t smtps_authres_line(
    char *out, size_t size, const struct smtps_session *, const struct smtps_tx *);
typedef void (*smtps_store_fn)(void *arg, const void *, size_t);
/* Passes the content on to store without the lines that claim to be of the server own; the bytes
 * that were taken out. */
uint64_t smtps_authres_pass(struct smtps_authres *, const char *own, const uint8_t *, size_t,
    smtps_store_fn store, void *arg);

#endif
