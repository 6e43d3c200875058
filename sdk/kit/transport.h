/* SPDX-License-Identifier: BSD-2-Clause */
/* transport.h -- the rows of the suite for transports: transport_rows.c has them, transport.c
 * plays. */
#ifndef META1_KIT_TRANSPORT_H
#define META1_KIT_TRANSPORT_H
#include "peer.h"

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

struct row {
	const char *name;
	int who;
	const char *open, *hop; /* the reply to open(), the script up to there (NULL: as usual) */
	const char *script;	/* the hop during the mail */
	uint32_t nrcpt, flags;
	uint64_t bytes;
	int probe; /* asked of recipients, not sent */
	const char *content;
	const char *results, *send; /* of recipients; of send() (NULL: no mail, *: any) */
	int usable;		    /* afterwards */
	const char *from, *to;	    /* sender and first recipient; NULL: as usual */
	const char *path;	    /* the sender as a Return-Path has it; NULL: from */
	int64_t clock;		    /* ms of silence after which the answer comes; 0: at once */
};

extern const struct row kit_transport_rows[];
extern const unsigned kit_transport_nrows;
extern char kit_transport_big[1 << 20]; /* more than a socket takes */

#endif
