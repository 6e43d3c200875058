/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * gear.h -- what a reload replaces, whole: a session takes the one that is current when it begins
 * and ends with it. smtps.h tells what is in it.
 */
#ifndef META1_SMTPS_GEAR_H
#define META1_SMTPS_GEAR_H
#include "lib/tls.h"
#include "role.h"

#include <sys/queue.h>

struct netlist;
struct smtps_auth;
struct smtps_chain;

/* Options of the section, by value. 0 of a limit means "none" but for the recipients of a
 * transaction, which IPC bounds too. */
struct smtps_limits {
	uint64_t flags; /* SMTPS_F_ */
	int64_t io_timeout, greet_delay, message_size, hops, rcpts_per_tx, rcpts_per_session,
	    transactions, bad_commands, nop_commands, invalid_addresses, sessions;
	int64_t memory, queue_wait, tarpit_after, tarpit_delay, tarpit_max_delay;
	int64_t client_connections, client_rate, client_ipv4, client_ipv6; /* client_limits */
	int32_t proxy_mode; /* PROXY_MODE_ of lib/settings.h */
	/* gear.c owns these; NULL: nobody */
	struct netlist *proxy_trusted, *xclient, *client_exempt, *verp_clients;
	int32_t spf_header; /* SPF_HEADER_ of lib/settings.h */
	bool vrfy;	    /* asks smar */
	bool repair;	    /* bare_newline = repair */
	bool tls_only;	    /* no mail without TLS */
};

#define SMTPS_GEARS_MAX 6 /* that sessions may keep, the current one with them */

struct smtps;
struct smtps_gear {
	TAILQ_ENTRY(smtps_gear) all;
	unsigned refs; /* its sessions, and one while it is the current one */
	bool leaving;  /* too many are newer: its sessions end after the mail that they are at */
	struct smtps_limits lim;
	char *hostname;
	struct tls_ctx *tls;	   /* NULL: none is offered */
	struct smtps_auth *auth;   /* likewise */
	struct smtps_chain *chain; /* filters of policy_milter; NULL: none */
};

/* Opens what the section asks for, beside what there is. NULL: err, and nothing is left. */
struct smtps_gear *smtps_gear_new(
    struct role *, struct settings *, const struct set_smtps *, struct meta1_err *);
struct smtps_gear *smtps_gear_use(struct smtps_gear *); /* returns its argument */
void smtps_gear_drop(struct smtps_gear **);
/* After a reload: who still has one of the oldest, beyond SMTPS_GEARS_MAX, is asked to come again.
 */
void smtps_gear_bound(struct smtps *);
size_t smtps_gear_memory(void); /* what the modules of filters of all of them keep */
/* As at a start, without one. <0: err. */
int smtps_gear_check(struct role *, const struct set_smtps *, struct meta1_err *);

#endif
