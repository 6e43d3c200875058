/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dovecot.h -- auth_dovecot: the mechanisms and passwords of a Dovecot, by its auth protocol.
 *
 *   auth_dovecot.c  the module: options, offers, exchanges
 *   wire.c          the connection: handshake, lines out and in, coming back
 *
 * One connection an instance carries all exchanges, each with a number. Nothing waits: an exchange
 * is answered when its line comes, or, when the connection is lost, with "not now".
 */
#ifndef AUTH_DOVECOT_H
#define AUTH_DOVECOT_H
#include <meta1/auth.h>

struct conf {
	const char *socket;
};

#define MECHS	   32
#define BUCKETS	   256
#define PARAMS	   64 /* words of a line that count */
#define RESP_MAX   ((META1_AUTH_MAX + 2) / 3 * 4)
#define UNSENT_MAX (1 << 20) /* bytes that Dovecot does not take: no more is asked */

struct mech {
	char name[META1_AUTH_MECH_MAX + 1];
	uint32_t is, has; /* enum meta1_auth_flag: demands it breaks; keeps */
};

struct exchange {
	struct dovecot *d;
	struct exchange *next; /* of the bucket */
	struct meta1_req *req; /* NULL: nobody waits */
	uint32_t id;	       /* 0: Dovecot knows of it no more */
};

struct dovecot {
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
	const struct conf *conf;
	struct meta1_conn *conn;
	struct meta1_watch *timer;
	int64_t pause; /* ms before the next connect */
	int up, told;  /* the handshake is done; that it is away stands in the log */
	struct mech mech[MECHS], next[MECHS];
	unsigned nmech, nnext;
	uint32_t last_id;
	struct exchange *all[BUCKETS];
};

/* ---- wire.c ---- */

int wire_open(struct dovecot *); /* <0: no memory */
void wire_close(struct dovecot *);
/* false: it is not up, or takes no more. */
int wire_ready(struct dovecot *);
/* A whole line, without its end. */
void wire_say(struct dovecot *, const char *line, size_t len);

/* ---- auth_dovecot.c, for wire.c ---- */

struct params { /* of a line, unescaped */
	unsigned n;
	char *v[PARAMS];
};
/* verb: OK, CONT, FAIL */
void dovecot_answer(struct dovecot *, const char *verb, struct params *);
void dovecot_lost(struct dovecot *); /* all exchanges: not now */

#endif
