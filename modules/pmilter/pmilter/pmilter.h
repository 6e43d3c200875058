/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pmilter.h -- pmilter_pmilter: filters of libpmilter, by the protocol of doc/pmilter-protocol.md.
 * The files, as a mail goes:
 *
 *   pmilter_pmilter.c  the module: options, sessions, questions, what was cancelled
 *   link.c             a connection: greeting, coming back, pings; frames to whom they are for
 *   say.c              questions as frames: who the client is, arguments, macros
 *   content.c          the message in chunks, as many as the filter has room for
 *   reader.c           what of it stands in a file
 *   reply.c            edits and verdicts, held until the next call
 *   spool.c            a new message that a filter sends: memory, then a file without a name
 *
 * A session lives on one link. Its first question opens it there; when the link is lost, so is what
 * the filter knew of it. Between two mails it is opened again, and CONNECT and HELO are told again
 * before the question; within a mail its questions fail until the host ends it. All that a filter
 * makes us keep is bounded: for a session by ANSWER_MAX and max_message_size, for all of them by
 * HELD_MAX.
 */
#ifndef PMILTER_PMILTER_H
#define PMILTER_PMILTER_H
#include "../common/hold.h"
#include "../common/place.h"

#include <meta1/pmilter.h>
#include <meta1/pmwire.h>

struct conf {
	PLACE_FIELDS;
	int64_t connections, max_message_size, ping;
};

#define LINKS	   16
#define BUCKETS	   1024
#define EDITS_MAX  4096	       /* of one answer */
#define ANSWER_MAX (4u << 20)  /* bytes that one answer may take, without a new message */
#define HELD_MAX   (64u << 20) /* the same, of all sessions */
#define UNSENT_MAX (8u << 20)  /* bytes that a filter does not take: no more questions */
#define OWED_MAX   (1u << 20)  /* of these, answers to what it sends: no more of it */
#define SPOOL_MEM  65536       /* bytes of a new message that stay in memory, of HELD_MAX too */
#define LATE_MAX   16384       /* bytes of frames that wait for the next question, and so long */
#define LATE_MS	   50
#define EVENT_STAGES                                                                               \
	(META1_PM_CONNECT | META1_PM_HELO | META1_PM_MAIL | META1_PM_RCPT | META1_PM_DATA |        \
	    META1_PM_END | META1_PM_UNKNOWN | META1_PM_REFUSED)

#define QUIET_STAGES (EVENT_STAGES & ~(META1_PM_END | META1_PM_UNKNOWN))

struct pm;
struct link;

struct spool;
struct reader;

struct sess {
	struct pm *pm;
	struct link *link;
	const struct meta1_pm_about *about;
	struct sess *next;     /* of the bucket, when id is not 0 */
	struct sess *q, **pq;  /* in link->waiting, or in link->sending */
	struct meta1_req *req; /* NULL: nothing is asked */
	uint32_t id;	       /* 0: the filter does not know it */
	uint32_t stage, wants;
	int lost;	/* it was known at a connection that is gone */
	int told;	/* something of a mail, which RESET ends */
	int deaf;	/* the question was cancelled: what comes is not heard */
	uint32_t again; /* verdicts to come of what was told again */
	/* the message that is told */
	const struct meta1_pm_message *msg;
	uint64_t sent, limit; /* bytes told; to tell */
	uint32_t extent;
	uint64_t extent_off;
	uint64_t unacked;
	struct reader *reader; /* NULL: nothing of it is being read */
	/* the answer */
	struct hold hold;
	struct meta1_pm_verdict verdict;
	struct meta1_pm_edit *edit;
	uint32_t nedit, edit_room;
	int replaced;	     /* the filter sent a message, if an empty one */
	struct spool *spool; /* that is not empty */
	const char *bad;     /* an edit was none: why */
	int unable;	     /* and that may be the mail's fault */
	int no_room;	     /* or that of our disk */
	int settling;	     /* the verdict is there, and waits for the disk */
};

enum link_state { LINK_DOWN, LINK_CONNECTING, LINK_GREETING, LINK_UP };

struct link {
	struct pm *pm;
	enum link_state state;
	struct meta1_conn *conn;
	struct meta1_watch *timer;
	struct place place;
	int fallback;	    /* place is the second one */
	int64_t pause, due; /* ms; when the next try is */
	int told;	    /* that it is away stands in the log */
	int pinged, heard;
	int64_t ping_at;
	char program[64];
	/* what the filter asked for */
	uint32_t version, stages, actions, content, window, windows, chunk;
	uint32_t quiet; /* of the stages those that it does not answer */
	struct {
		uint32_t stage;
		uint8_t n, macro[META1_PMM_MAX];
	} ask[8];
	uint32_t nask;
	uint32_t last_id;
	uint64_t unacked;
	/* bytes said, ever; of these answers to what it sent: those behind mark, and some before */
	uint64_t said, mark;
	size_t owed, owed_before;
	unsigned char *late; /* LATE_MAX bytes: frames that nobody waits for */
	size_t nlate;
	struct meta1_watch *late_timer;
	int late_armed;
	struct sess *waiting, **waiting_end; /* for the connection */
	struct sess *sending, **sending_end; /* have content to tell */
	struct sess *all[BUCKETS];
};

struct pm {
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
	const struct conf *conf;
	uint32_t nlink, turn;
	size_t held;
	struct link link[LINKS];
	struct sess none; /* of those that there was no memory for: is lost from the start */
	unsigned char out[META1_PMW_FRAME_MAX];
};

/* ---- pmilter_pmilter.c ---- */
/* Ends the question; text: why not, or NULL. */
void pm_finish(struct sess *, const char *text);
void pm_cannot(struct sess *); /* it does not fit into a frame */
/* The link is up, or cannot be had (why). */
void pm_linked(struct sess *, const char *why);
/* The link is lost: the filter does not know it any more. */
void pm_lost(struct sess *, const char *why);
void pm_queue(struct sess *, struct sess ***end);
void pm_unqueue(struct sess *);

/* ---- link.c ---- */
int link_init(struct pm *, struct link *); /* <0: no memory */
void link_want(struct link *);		   /* somebody waits for it */
/* Ends the connection; all that was asked there fails with why. */
void link_fail(struct link *, const char *why);
void link_close(struct link *);
struct sess **link_place(struct link *, uint32_t id);
/* false: the frame was too large, nothing is sent. */
int link_send(struct link *, struct meta1_pmw_out *);
/* The same in answer to what the filter sends, which it may not do without end. */
void link_answer(struct link *, struct meta1_pmw_out *);
/* The same, of a frame that nobody waits for: it goes with the next one that somebody does, or
 * soon. */
int link_send_late(struct link *, struct meta1_pmw_out *);

/* ---- say.c ---- */
/* false: it does not fit into a frame. */
int say_hello(struct link *);
int say_open(struct sess *);
int say_question(struct sess *, const struct meta1_pm_ask *);
int say_quiet(const struct sess *, uint32_t stage); /* nobody answers it */
void say_bare(struct sess *, uint32_t type);
int say_end(struct sess *);
/* Takes the filter's WELCOME; NULL, or what is wrong with it. */
const char *say_welcomed(struct link *, struct meta1_pmw_frame *);

/* ---- content.c ---- */
int content_begin(struct sess *, const struct meta1_pm_message *);
void content_pump(struct link *);
/* The filter is done with so many bytes of it. <0: it never had them. */
int content_acked(struct link *, struct sess *, uint64_t n);
int content_enough(struct sess *);
void content_drop(struct sess *);
/* What reader_begin() read; bad: why it could not, or NULL. */
void content_read(struct sess *, const void *from, size_t n, const char *bad);

/* ---- reader.c ---- */
/* At most n bytes of where the session stands in the message. NULL: content_read() comes; else why
 * not. */
const char *reader_begin(struct sess *, size_t n);
void reader_drop(struct sess *);

/* ---- reply.c: each NULL, or what is wrong with the frame ---- */
const char *reply_edit(struct sess *, struct meta1_pmw_frame *);
const char *reply_verdict(struct sess *, struct meta1_pmw_frame *);
const char *reply_replace(struct sess *, struct meta1_pmw_frame *);
void reply_forget(struct sess *);
/* It answers what was told again, and nobody waits for that any more. */
int reply_again(struct sess *, const struct meta1_pmw_frame *);

/* The filter may send so many bytes more of its message. */
void reply_taken(struct sess *, size_t n);
void reply_no_room(struct sess *, const char *why); /* its message cannot be kept */
void reply_settled(struct sess *);		    /* nothing of it is on its way to the disk */

/* ---- spool.c ---- */
/* NULL, or what is wrong; reply_taken() comes, now or later. */
const char *spool_add(struct sess *, const void *, size_t);
int spool_busy(const struct sess *); /* reply_settled() comes */
const struct meta1_extent *spool_extent(struct sess *);
void spool_drop(struct sess *);

#endif
