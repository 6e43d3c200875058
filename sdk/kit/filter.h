/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * filter.h -- a policy filter in the kit's loop, for modules that ask one: it speaks Sendmail's
 * milter protocol or libpmilter's, whichever the module begins with, on any number of connections
 * at once, and lets all mail go on. At the end of each it makes edits, of which one names what the
 * filter was told (flt_digest), so that a mail that came broken, or an answer that came to another
 * session, is seen. It can be told to say something else, or to do wrong at a frame.
 */
#ifndef META1_KIT_FILTER_H
#define META1_KIT_FILTER_H
#include "kit.h"

#include <meta1/pmilter.h>

enum flt_speaks { FLT_NOTHING, FLT_MILTER, FLT_PMILTER, FLT_STRANGE };

enum flt_fault {
	FLT_GOOD,
	FLT_SILENT,  /* says nothing from here on */
	FLT_CLOSE,   /* hangs up in place of an answer */
	FLT_HALF,    /* in the middle of it */
	FLT_GARBAGE, /* says what is no frame */
	FLT_HUGE,    /* begins a frame of 4 GiB */
	FLT_EMPTY,   /* a frame of length 0 */
	FLT_UNKNOWN, /* a whole frame that means nothing */
	FLT_TWICE,   /* the same answer two times */
	FLT_FAULTS
};

enum flt_word {
	FLT_CONTINUE,
	FLT_ACCEPT,
	FLT_REFUSE, /* 550 5.7.1 */
	FLT_LATER,  /* 451 4.7.1 */
	FLT_LINES,  /* 554 5.7.9, two lines */
	FLT_LEAVE,  /* 421 */
	FLT_DISCARD,
	FLT_HOLD,
	FLT_WORDS
};

/* What a message was, whoever tells it how: its fields without blanks, its body. */
struct flt_digest {
	uint64_t fields, body, bytes;
	bool any, line; /* line: the next byte begins a line */
};
void flt_digest_raw(struct flt_digest *, const void *, size_t); /* of the header */
void flt_digest_bytes(struct flt_digest *, const void *, size_t);
const char *flt_digest_text(const struct flt_digest *); /* until the next call */

struct flt_conn;
struct flt_mail { /* what a session's filter was told */
	struct flt_mail *next, *wait;
	struct flt_conn *conn;
	uint32_t id;
	uint32_t actions; /* milter: that were offered */
	uint64_t header;  /* bytes of it that are still to come */
	struct flt_digest digest;
};

struct kit_filter {
	struct kit_server server;
	struct kit *k;
	char path[108];
	enum flt_speaks speaks;
	LIST_HEAD(, flt_conn) conns;
	unsigned frames; /* received since kit_filter_mend() */
	unsigned ends;	 /* number of the frame of the last END */
	unsigned connections;
	enum flt_fault fault;
	unsigned fault_at; /* this frame, from 1 */
	bool silent;
	enum flt_word word; /* is said at word_at, a bit of enum meta1_pm_stage */
	uint32_t word_at;
	/* Answers to END wait until so many do, and come in the opposite order. */
	unsigned gather, gathered;
	struct flt_mail *waiting;
};

void kit_filter_open(struct kit *, struct kit_filter *);
/* It does all right again; frames are counted anew. */
void kit_filter_mend(struct kit_filter *);
void kit_filter_close(struct kit_filter *); /* no connection is left */

#define FLT_TAG "X-Kit" /* the field that has the digest */

/* ---- filter_milter.c, filter_pmilter.c: one frame at the front of what came ---- */
struct flt_conn {
	struct kit_far far;
	LIST_ENTRY(flt_conn) link;
	struct kit_filter *f;
	struct meta1_conn *conn;
	struct evbuffer *in;
	struct flt_mail *mails; /* pmilter: its sessions; milter: the one */
	bool dead;
};
/* Bytes of the next frame; 0: it is not whole yet. */
size_t flt_milter_frame(const unsigned char *, size_t);
void flt_milter_take(struct flt_conn *, const unsigned char *, size_t);
void flt_milter_answer(struct flt_mail *, uint32_t stage, enum flt_word, struct evbuffer *);
size_t flt_pmilter_frame(const unsigned char *, size_t);
void flt_pmilter_take(struct flt_conn *, const unsigned char *, size_t);
void flt_pmilter_answer(struct flt_mail *, uint32_t stage, enum flt_word, struct evbuffer *);

/* ---- filter.c, for these ---- */
struct flt_mail *flt_mail_of(struct flt_conn *, uint32_t id, bool make);
void flt_mail_end(struct flt_conn *, uint32_t id);
void flt_asked(struct flt_mail *, uint32_t stage); /* it is to be answered */
/* The answer to a frame that is no question; n 0: there is none. */
void flt_reply(struct flt_conn *, struct evbuffer *);
void flt_hang_up(struct flt_conn *);

#endif
