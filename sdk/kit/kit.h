/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kit.h -- the conformance kit, meta1-modtest: loads one module into a host of its own
 * (host.h) and tries it. One file a suite: descriptor, life, faults and requests for every module,
 * then the suite of its kind.
 *
 * A suite says kit_ok() for each promise; the kit counts, prints TAP and tells the laws that the
 * module broke between two of them.
 */
#ifndef META1_KIT_H
#define META1_KIT_H
#include "host.h"

#include "lib/settings.h"

struct kit_pair { /* -k key=value: what a map is known to hold; of auth: a user and the secret */
	struct meta1_buf key, val;
};

struct kit {
	struct kit_host host;
	struct kit_module *mod;
	const struct meta1_module *m;
	const char *file;    /* absolute */
	const char *options; /* -c, or made up for a map that can create its file */
	char peer[80];	     /* stands in them for @PEER@: where scripts and the kit's filter are */
	char dir[64];	     /* a new empty folder; also host.qdir; removed at the end */
	struct kit_pair *pair; /* -k, in order */
	unsigned npair;
	struct meta1_buf cert; /* -x */
	unsigned passed, failed, skipped, number;
	struct kit_conf *confs;	    /* of open instances */
	struct kit_other *others;   /* -m, -d */
	const char *script;	    /* -s: its text */
	const char *suite;	    /* that is being run */
	const char *only;	    /* -t: the one that is wanted; NULL: all */
	unsigned patience;	    /* -w: seconds of real time for one answer */
	void (*stop)(struct kit *); /* -1: at the first line that is not ok; may be NULL */
	bool tired;		    /* an answer did not come */
	bool slow;		    /* no line came for a while, which was said */
	bool lines;		    /* -l: the module's log is shown */
	bool strict;		    /* -a: each place that may be refused must be */
};

#define SLOW  3	 /* as often the patience between two lines, and it is said */
#define STUCK 30 /* and it is over */

/* One line of TAP. A fault of the module since the last call makes it "not ok" too. Returns
 * what was printed: true for ok. */
bool kit_ok(struct kit *, bool ok, const char *fmt, ...) PRINTF(3, 4);
void kit_skip(struct kit *, const char *what, const char *why);
void kit_note(struct kit *, const char *fmt, ...) PRINTF(2, 3); /* "# ..." */

/* Opens an instance called "kit". options: text as in the braces of a section; NULL: what
 * -c said. NULL: err says why. Strings of the options live until kit_close(). The host's role is
 * the first of the module's roles unless host.role was set to another one of them. */
struct kit_inst *kit_open(struct kit *, const char *options, struct meta1_err *);
void kit_close(struct kit *, struct kit_inst **);

/* Runs the loop until no work of a thread is under way (bounded). The clock stands still
 * (worker threads are waited for in real time); kit_clock moves it on, runs what is due. */
void kit_turn(struct kit *);
void kit_clock(struct kit *, int64_t ms);

#define KIT_DEADLINE_MS 10000	/* of look-ups */
#define KIT_PATIENCE_MS 7200000 /* of kit_req(): modules have time-outs of their own */

/* One question and its answer. Copies what it was told: valid until kit_answer_free(). */
struct kit_answer {
	bool told;
	unsigned times; /* more than one is a fault of the host */
	enum meta1_status st;
	struct meta1_reply reply;
	void *copy;
	struct meta1_req *req; /* until it was told */
};
/* The callback that fills it, for kit_lookup(). */
void kit_said(void *answer, enum meta1_status, const struct meta1_reply *);
/* Asks a map; the answer is told to a on a later turn. */
void kit_ask(struct kit *, struct kit_inst *, struct meta1_buf key, struct kit_answer *a);
/* A request of inst whose answer goes to a; the suite then calls the op with it. */
struct meta1_req *kit_req(struct kit *, struct kit_inst *, struct kit_answer *a);
/* Turns the loop until it was told; false when the patience is over. */
bool kit_wait(struct kit *, struct kit_answer *a);
/* Who was not told asks no more. */
void kit_answer_free(struct kit_answer *a);

/* ---- others.c: whom the module may ask ---- */
/* The text of -m or -d. <0: it is none. */
int kit_other(struct kit *, int option, const char *text);
int kit_others_open(struct kit *); /* <0: a map cannot be opened, which was said */
void kit_others_close(struct kit *);

/* A map that makes its own file gets one, with pairs to look up. */
int kit_map_sample(struct kit *);

/* ---- sites.c: places of the module that may be refused what they ask for, at the end ---- */
void kit_sites_tell(struct kit *);

/* The rules of the descriptor. false: there is no sense in going on. */
bool kit_accepts(struct kit *);
/* The suites. Each returns 0, or -1 when there is no sense in going on. */
int kit_descriptor(struct kit *);
int kit_life(struct kit *);
int kit_faults(struct kit *);
int kit_requests(struct kit *);
int kit_play(struct kit *); /* -s, in place of the others */
int kit_map(struct kit *);
int kit_queue(struct kit *);
/* Of a store that lasts, each in folders of its own. */
void kit_queue_lasting(struct kit *, void (*part)(struct kit *));
void kit_queue_space(struct kit *);
void kit_queue_numbers(struct kit *);
void kit_queue_damage(struct kit *);
void kit_queue_compact(struct kit *);
void kit_queue_crash(struct kit *);
void kit_queue_bytes(struct kit *);
void kit_queue_full(struct kit *);
void kit_queue_memory(struct kit *);
void kit_queue_kill(struct kit *);
int kit_transport(struct kit *);
int kit_auth(struct kit *);
int kit_pmilter(struct kit *);

#endif
