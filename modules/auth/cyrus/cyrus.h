/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cyrus.h -- auth_cyrus: every mechanism that Cyrus SASL has installed.
 *
 *   auth_cyrus.c  the module: options, the library's life, which mechanisms there are for a peer
 *   exchange.c    one exchange, as server or as client, a step at a time on a worker thread
 */
#ifndef AUTH_CYRUS_H
#define AUTH_CYRUS_H
#include <meta1/auth.h>
#include <sasl/sasl.h>
#include <stdbool.h>

struct conf {
	const char *config_path, *realm;
};

#define OFFERS	   8 /* kinds of peers whose mechanisms are remembered */
#define OFFER_SIZE 512

struct cyrus {
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
	const struct conf *conf;
	struct offer {
		uint32_t flags, bits;
		bool external, bound, used;
		char names[OFFER_SIZE];
	} offer[OFFERS];
	unsigned noffer;
};

struct exchange; /* a conversation; ours, as void *conv at the host */

/* A connection of the library as this peer has it. SASL_OK, or why not; loop or worker. */
int cyrus_server(
    struct cyrus *, const struct meta1_auth_peer *, const sasl_callback_t *, sasl_conn_t **);
int cyrus_secure(sasl_conn_t *, const struct meta1_auth_peer *, const sasl_channel_binding_t *);
enum meta1_status cyrus_status(int rc);

void cyrus_start(void *inst, struct meta1_req *, const struct meta1_auth_peer *, const char *mech,
    const struct meta1_buf *first, void **conv);
void cyrus_login(void *inst, struct meta1_req *, const struct meta1_auth_peer *, const char *mechs,
    const struct meta1_auth_creds *, void **conv);
void cyrus_step(void *conv, struct meta1_req *, struct meta1_buf in);
void cyrus_end(void **conv);
void cyrus_cancel(void *inst, struct meta1_req *);

#endif
