/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * milter.h -- pmilter_milter: filters that speak Sendmail's milter protocol, versions 2 to 6.
 *
 *   pmilter_milter.c  the module: options, an instance
 *   sess.c            a session: what the host asks of it, and how that ends
 *   peer.c            a connection: made, negotiated, kept for the next session; frames
 *   negotiate.c       what both sides can and want
 *   steps.c           which commands a stage is, in their order, and what each of them says
 *   content.c         a message as fields and pieces of a body
 *   macros.c          what the filter may know besides
 *   said.c            what it answers, and in answer to what it may
 *   edits.c           what it changes
 *   bag.c             memory of one ask
 *
 * A session has one connection, from its first ask on. A stage is one command or many, each of
 * them waited for unless the filter said that it will not answer; with pipelining a content is said
 * in one go, and the answers are taken one by one (steps.c). What the filter was not told
 * when it should have been (the connection is new, or the host had no reason to ask) is told
 * before what the host asks now, so a filter that comes back in the middle of a session judges the
 * next mail. All that a filter says is hostile until said.c has looked at it.
 */
#ifndef PMILTER_MILTER_H
#define PMILTER_MILTER_H
#include "../common/place.h"

#include <meta1/pmilter.h>

struct conf {
	PLACE_FIELDS;
	int64_t version, max_edits, max_idle, idle_time;
	int32_t data_size, pipelining;
};

/* The protocol's own words, as filters know them. */
enum { /* actions that a filter may ask for */
	SMFIF_ADDHDRS = 1,
	SMFIF_CHGBODY = 2,
	SMFIF_ADDRCPT = 4,
	SMFIF_DELRCPT = 8,
	SMFIF_CHGHDRS = 0x10,
	SMFIF_QUARANTINE = 0x20,
	SMFIF_CHGFROM = 0x40,
	SMFIF_ADDRCPT_PAR = 0x80,
	SMFIF_SETSYMLIST = 0x100
};
enum { /* steps that it does not want, or will not answer; and other habits */
	SMFIP_NOCONNECT = 1,
	SMFIP_NOHELO = 2,
	SMFIP_NOMAIL = 4,
	SMFIP_NORCPT = 8,
	SMFIP_NOBODY = 0x10,
	SMFIP_NOHDRS = 0x20,
	SMFIP_NOEOH = 0x40,
	SMFIP_NR_HDR = 0x80,
	SMFIP_NOUNKNOWN = 0x100,
	SMFIP_NODATA = 0x200,
	SMFIP_SKIP = 0x400,
	SMFIP_RCPT_REJ = 0x800,
	SMFIP_NR_CONN = 0x1000,
	SMFIP_NR_HELO = 0x2000,
	SMFIP_NR_MAIL = 0x4000,
	SMFIP_NR_RCPT = 0x8000,
	SMFIP_NR_DATA = 0x10000,
	SMFIP_NR_UNKN = 0x20000,
	SMFIP_NR_EOH = 0x40000,
	SMFIP_NR_BODY = 0x80000,
	SMFIP_HDR_LEADSPC = 0x100000,
	SMFIP_MDS_256K = 0x10000000,
	SMFIP_MDS_1M = 0x20000000
};

enum step {
	STEP_CONNECT,
	STEP_HELO,
	STEP_MAIL,
	STEP_RCPT,
	STEP_DATA,
	STEP_HEADER,
	STEP_EOH,
	STEP_BODY,
	STEP_END,
	STEP_UNKNOWN,
	STEPS,
	STEP_NONE = STEPS
};
#define STEP_BIT(s) (1u << (s))
#define STEPS_MAIL  (STEP_BIT(STEP_MAIL) | STEP_BIT(STEP_RCPT) | STEPS_AFTER)
#define STEPS_AFTER (STEP_BIT(STEP_DATA) | STEPS_CONTENT)
#define STEPS_CONTENT                                                                              \
	(STEP_BIT(STEP_HEADER) | STEP_BIT(STEP_EOH) | STEP_BIT(STEP_BODY) | STEP_BIT(STEP_END))

#define MACRO_LISTS  7		  /* connect, helo, mail, rcpt, data, end, end of header */
#define FRAME_MAX    (1u << 20)	  /* bytes of a command of the filter */
#define HEADER_MAX   (16u << 20)  /* bytes of the header of a message */
#define EDITS_MAX    4096u	  /* changes of a message */
#define LINES_MAX    100u	  /* of a reply */
#define TOGETHER_MAX (256u << 10) /* bytes not sent yet of what is said together */
#define WAIT_MS	     5		  /* until the next look whether they went */
#define LEAVING_MAX  64u	  /* connections that wait for the filter to hear QUIT */

struct milter;
struct sess;

struct block {
	struct block *next;
	size_t used, size;
	_Alignas(16) unsigned char data[];
};
struct bag { /* memory that goes all at once */
	struct block *blocks;
	size_t held;
};

enum peer_state { PEER_CONNECTING, PEER_ASKED, PEER_USED, PEER_IDLE, PEER_LEAVING };

struct peer { /* a connection */
	struct milter *m;
	struct peer *next, **link; /* of all */
	struct sess *sess;	   /* NULL: idle or leaving */
	struct meta1_conn *conn;
	enum peer_state state;
	int second, tries; /* it is with the fall-back; places tried */
	int old, heard;	   /* it served another session; the filter has answered since */
	char why[160];	   /* the first place could not be connected */
	int whole;	   /* the last command was an end of a message, answered by continue */
	uint32_t version, actions, steps;
	size_t chunk;		 /* bytes of the data of one command of ours */
	char *list[MACRO_LISTS]; /* macros that it wants; NULL: ours */
	unsigned char *big;	 /* a frame that is longer than what can be seen at once */
	size_t need, have;
};

struct fetch;

struct content { /* a message on its way */
	const unsigned char *header;
	size_t len, at;	 /* of header; where the next field begins */
	uint32_t extent; /* where the rest of the body begins */
	uint64_t off;
	struct fetch *fetch; /* what of it is being read; NULL: nothing */
	struct meta1_watch *wait;
	int waits; /* for room on the connection */
};

struct sess {
	struct milter *m;
	const struct meta1_pm_about *about;
	struct peer *peer;
	struct meta1_req *req; /* NULL: nothing is asked */
	uint32_t told;	       /* STEP_BITs */
	uint32_t skip;	       /* steps of which it has seen enough, of this mail */
	uint32_t nrcpt;	       /* recipients it was told */
	int accepted;	       /* it wants no more of this session */
	int hopeless;  /* it is this mail that cannot be judged, not the filter that fails */
	int discarded; /* it wants no more of this mail, and nobody gets it */
	int mail;      /* it knows of a mail whose end it has not seen */
	char why[400]; /* the connection was lost when nothing was asked; or "" */

	/* Of the ask. */
	struct bag bag;
	enum step goal, step;	    /* step: what the next answer is about */
	uint32_t owed, owes[STEPS]; /* answers to come, and of each step; they come in its order */
	struct meta1_buf arg, args; /* as asked; for the wire */
	struct meta1_buf *rcpt;	    /* END: those it was not told of, for the wire */
	uint32_t rcpts;
	const char *refused;
	const struct meta1_pm_message *msg;
	struct content content;

	/* Of the answer. */
	struct meta1_pm_verdict verdict;
	struct meta1_pm_edit *edit;
	uint32_t nedit, edit_room;
	struct meta1_extent *body;
	uint32_t nbody, body_room;
	uint32_t replaced; /* number of the edit that is the new body; 0: there is none */
};

struct milter { /* an instance */
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
	const struct conf *conf;
	struct peer *all;
	unsigned npeer, nidle, nleaving;
	int second;			  /* the first place failed and the fall-back did not */
	int64_t second_till;		  /* ms: then the first is tried again */
	uint32_t version, actions, steps; /* of the last negotiation; version 0: none yet */
	int nameless;	  /* by that the filter sees nothing of CONNECT, nor the client's name */
	unsigned early;	  /* so many contents are said part by part */
	struct sess none; /* of who came when there was no memory: fails */
};

/* ---- bag.c ---- */
void *bag_get(struct milter *, struct bag *, size_t); /* zeroed; NULL: no memory */
/* A copy with a NUL behind it; data NULL: no memory. */
struct meta1_buf bag_copy(struct milter *, struct bag *, const void *, size_t);
/* Room for one more of size bytes; 0, or -1: no memory. */
int bag_room(struct milter *, struct bag *, void **array, uint32_t n, uint32_t *room, size_t size);
void bag_empty(struct milter *, struct bag *);

/* ---- peer.c ---- */
/* s->peer is there, and ready or on its way. <0: err says why not. */
int peer_get(struct sess *, struct meta1_err *);
void peer_say(struct peer *, char cmd, const struct meta1_buf *, unsigned n);
/* The session needs it no more: kept for another one, or told QUIT. */
void peer_give_back(struct peer **);
void peer_drop(struct peer **); /* what is unsent too */
void peer_place(const struct peer *, char *out, size_t size);

/* ---- negotiate.c ---- */
void negotiate_ask(struct peer *);
/* <0: why says what is wrong. */
int negotiate_said(struct peer *, char cmd, struct meta1_buf, struct meta1_err *why);
uint32_t negotiate_wants(const struct peer *); /* stages of the host */

/* ---- macros.c ---- */
void macros_say(struct sess *, enum step);
int macros_name(const struct peer *);

/* ---- steps.c ---- */
const char *step_name(enum step);
void steps_go(struct sess *);	 /* the next command, and all that need not wait */
void steps_next(struct sess *);	 /* the filter wants to hear more */
void steps_heard(struct sess *); /* that was its last word to what was asked */
void steps_over(struct sess *);	 /* no answer is waited for any more */

/* ---- content.c ---- */
/* content_drop() is due. <0: err */
int content_begin(struct sess *, struct meta1_err *);
int content_reads(const struct sess *); /* steps_go() comes when it is there */
void content_drop(struct sess *);
int content_field(struct sess *); /* says it; <0: no memory */
int content_has_field(const struct sess *);
int content_piece(struct sess *); /* <0: it cannot be read */
int content_has_piece(const struct sess *);

/* ---- said.c ---- */
void said(struct sess *, char cmd, struct meta1_buf); /* of a session that asks */

/* ---- edits.c: NULL, or what is wrong ---- */
const char *edits_add_header(struct sess *, struct meta1_buf);
const char *edits_insert_header(struct sess *, struct meta1_buf);
const char *edits_change_header(struct sess *, struct meta1_buf);
const char *edits_body(struct sess *, struct meta1_buf);
const char *edits_add_rcpt(struct sess *, struct meta1_buf);
const char *edits_del_rcpt(struct sess *, struct meta1_buf);
const char *edits_sender(struct sess *, struct meta1_buf);
const char *edits_hold(struct sess *, struct meta1_buf);
const char *edits_reply(struct sess *, struct meta1_buf);
void edits_done(struct sess *); /* into the verdict */

/* ---- sess.c: what the host calls ---- */
uint32_t sess_begin(void *inst, const struct meta1_pm_about *, void **sess);
void sess_ask(void *sess, struct meta1_req *, const struct meta1_pm_ask *);
void sess_reset(void *sess);
void sess_end(void **sess);
void sess_cancel(void *inst, struct meta1_req *);

/* ---- and what the others here do ---- */
/* The ask is answered. */
void sess_answer(struct sess *, enum meta1_pm_action);
/* It cannot be; the connection goes. fmt: of a text without the filter's place. */
void sess_fail(struct sess *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sess_go(struct sess *); /* with its next command, when the connection is there */
void sess_lost(struct sess *, const char *why); /* its connection is gone already */

static inline uint32_t get32(const void *p)
{
	const unsigned char *b = p;

	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static inline void put32(void *p, uint32_t v)
{
	unsigned char *b = p;

	b[0] = (unsigned char)(v >> 24);
	b[1] = (unsigned char)(v >> 16);
	b[2] = (unsigned char)(v >> 8);
	b[3] = (unsigned char)v;
}

#endif
