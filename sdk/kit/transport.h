/* SPDX-License-Identifier: BSD-2-Clause */
/* transport.h -- the rows of the suite for transports: transport_rows.c has them, transport.c
 * plays. */
#ifndef META1_KIT_TRANSPORT_H
#define META1_KIT_TRANSPORT_H
#include "peer.h"

#include <meta1/transport.h>

enum { SMTP = 1, LMTP = 2, BOTH = 3 };

/* %: EHLO or LHLO. */
#define GREETED "> 220 hop\n< %\n> 250 hop\n"

/* Pieces of scripts. */
#define OFFERS                                                                                     \
	"> 220 hop\n< %\n> 250-hop\n> 250-PIPELINING\n> 250-8BITMIME\n"                            \
	"> 250-ENHANCEDSTATUSCODES\n> 250 SIZE 1000\n"
#define WIDE	 "> 220 hop\n< %\n> 250-hop\n> 250-PIPELINING\n> 250-8BITMIME\n> 250 SMTPUTF8\n"
#define AE	 "\303\244" /* "ä" */
#define MAIL_OK	 "< MAIL FROM:<from@example.org>\n> 250 2.1.0 ok\n"
#define MAIL_ANY "< MAIL\n> 250 ok\n"
#define RCPT_OK	 "< RCPT TO:<a@example.net>\n> 250 2.1.5 ok\n"
#define DATA_OK	 "< DATA\n> 354 go on\n.\n"
#define PIPED	 "& DATA\n"
#define TLS	 "> 220 hop\n< %\n> 250-hop\n> 250 STARTTLS\n"

struct row {
	const char *name;
	int who;
	const char *open,
	    *hop; /* the reply to open() (O*: any OK), the script up to there (NULL: as usual) */
	const char *script; /* the hop during the mail */
	uint32_t nrcpt, flags;
	uint64_t bytes;
	int probe; /* asked of recipients, not sent */
	const char *content;
	const char *results, *send; /* of recipients; of send() (NULL: no mail, *: any) */
	int usable;		    /* afterwards */
	const char *from, *to;	    /* sender and first recipient; NULL: as usual */
	const char *path;	    /* the sender as a Return-Path has it; NULL: from */
	bool packets;		    /* it is about what comes in one packet */
	bool tls;		    /* over a network, where TLS can be had */
	uint32_t policy;	    /* enum meta1_tls_policy */
	int64_t clock;		    /* ms of silence after which the answer comes; 0: at once */
};

extern const struct row kit_transport_rows[];
extern const unsigned kit_transport_nrows;
extern char kit_transport_big[1 << 20]; /* more than a socket takes */

struct t_suite {
	struct kit *k;
	struct kit_peer *peer;
	struct kit_inst *inst;
	const struct meta1_transport_ops *ops;
	bool local; /* it asks no next hop: what it does is on worker threads */
	bool mute;  /* its open() is never answered */
	int speaks; /* SMTP or LMTP, 0: something else */
	void *sess;
	struct meta1_req *req; /* of the last send() */
	char results[1024];    /* of recipients, the first of them: "1=P550/5.1.1 " */
	unsigned nresults;
};

/* A question and what came of it: "O250", "T421 host", .hop = "P550/5.1.1"; "?" when not yet. */
struct t_asked {
	struct kit_answer a;
	char text[128];
};

/* ---- transport.c ---- */
void t_script(struct t_suite *, const struct row *);
/* Each waits for its answer; after clock ms of silence when clock says so. */
const char *t_open(struct t_suite *, struct t_asked *, const char *path, int64_t clock);
const char *t_send(struct t_suite *, struct t_asked *, const struct row *);
void t_begin_send(struct t_suite *, struct t_asked *, const struct row *);
const char *t_answer(struct t_suite *, struct t_asked *, int64_t clock);
void t_shut(struct t_suite *);
void t_play_row(struct t_suite *, const struct row *);
/* Until the hop has come to the "..." of its script, and the module to its wait. */
void t_silence(struct t_suite *);
void t_on_rcpt(void *, uint32_t, enum meta1_status, const struct meta1_reply *); /* results */
/* ---- transport_cases.c ---- */
void t_cases(struct t_suite *);
void t_no_hop(struct t_suite *);
/* ---- transport_faults.c ---- */
void t_faults(struct t_suite *);
void t_deliveries(struct t_suite *); /* of a module without a next hop */

#endif
