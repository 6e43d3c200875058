/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dialog_chain.h -- policy filters of a dialog (dialog.h), played: a test says what they want and
 * what they answer, and sees what they were told. dialog_chain() before dialog_connect().
 */
#ifndef DIALOG_CHAIN_H
#define DIALOG_CHAIN_H
#include "dialog.h"

struct dialog_chain {
	uint32_t wants;		    /* stages */
	uint32_t at;		    /* the stage at which answer holds; else they go on */
	struct smtps_answer answer; /* all it points to is the test's */
	bool hang;		    /* no answer until dialog_chain_answer() */
	bool nobody;		    /* no filter judges the session */
	const char *from[2];	    /* MESSAGE: the content with the first made the second */
	/* what was seen */
	unsigned begun, ended, resets, asked[8]; /* by stage, as a bit's number */
	char told[2048];			 /* "stage:arg[param,...] " */
	char rcpts[512];			 /* of END: each and a blank */
	char *content;				 /* of END */
	size_t len;
	uint64_t header;
	uint32_t hops;
	unsigned room;	 /* for recipients */
	char about[512]; /* of the last question: client helo taid from nrcpt nbad */
	char msgid[128];
	char wanted[128]; /* what was known when END might have been wanted: from user, of each */
};
/* From now on d's sessions are judged; c is the test's. */
void dialog_chain(struct dialog *d, struct dialog_chain *c);
void dialog_chain_answer(struct dialog_chain *);
/* qmgr asks for a session about a report (REPORT): d's client is its end. */
void dialog_report(struct dialog *, struct meta1_buf id);
void dialog_report_fd(
    struct dialog *, struct meta1_buf id, int fd); /* its other end is elsewhere */
void dialog_chain_free(struct dialog_chain *);	   /* what it has seen */

#endif
