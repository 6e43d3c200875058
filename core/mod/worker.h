/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * worker.h -- the process that has the module of one isolated instance: it loads and opens it as a
 * role does, with the host table of a role, and serves what comes over the wire.
 *
 *   worker.c      the life: open, serve, end when the stream ends
 *   worker_given.c  what a question gives the module for longer than the call
 *   worker_far.c  what the module asks of the role: its other maps, DNS; log and counters
 *   worker_map.c  the kinds: messages as operations, and the answers; worker_auth.c ...
 */
#ifndef META1_MOD_WORKER_H
#define META1_MOD_WORKER_H
#include "mod/inst.h"
#include "mod/iso_msg.h"
#include "mod/wire.h"

#include <uthash.h>

struct worker;
struct worker_ask { /* a question of the role */
	UT_hash_handle hh;
	uint32_t id;
	struct worker *w;
	struct meta1_req *req;
	void *of;		   /* the kind's */
	void (*free_of)(void *of); /* NULL: it is the request's, or of nobody */
};
/* What a question gives the module beside the call, until it has finished: first in the kind's. */
struct worker_given {
	uint8_t *bytes; /* of the frame: strings are in use */
	struct pool pool;
	int fd[WIRE_FDS_MAX];
	unsigned nfd;
};
struct worker_kind {
	enum meta1_kind kind;
	/* 1: it was one of its messages; 0: it was not; <0: nonsense. What a question has is freed
	 * with its answer, or when the module has let go of it. */
	int (*frame)(struct worker *, struct wire_frame *);
	void (*end)(struct worker *); /* before the instance is closed; may be NULL */
	bool secret;		      /* passwords go over the stream */
	/* NULL, or: more for the instance that was just opened, <0: err; what the role must know */
	int (*opened)(struct worker *, const struct iso_open *, struct meta1_err *);
	void (*tell)(struct worker *, struct iso_opened *);
};
extern const struct worker_kind worker_map, worker_pmilter, worker_auth, worker_transport;

struct worker_far;
struct worker {
	struct loop *loop;
	struct work *work;
	struct mod_host host;
	struct wire *wire;
	struct mod_inst *in;
	const struct worker_kind *kind;
	struct conf *conf;
	uint8_t *bytes; /* the frame that opened it: its strings are in use */
	struct pool pool;
	struct worker_ask *asks;
	bool begun, closing; /* closing: the role has let go of the instance */
	bool failed;	     /* it could not be opened */
	bool draining;
	struct watch *patience;
	void *state; /* the kind's */
	/* worker_far.c */
	struct worker_far *far;
	uint32_t far_id;
	struct mod_inst *map[ISO_MAPS_MAX];
	uint32_t nmap;
	struct watch *tally;
	bool tally_due;
	int64_t counted[MOD_COUNTERS];
};

/* ---- worker.c ---- */
/* NULL: that number is open already, which is nonsense. */
struct worker_ask *worker_ask(struct worker *, uint32_t id, void *of);
struct worker_ask *worker_asked(struct worker *, uint32_t id); /* NULL: it is not open */
/* The request that the module is asked with. What the question has is the request's from now on:
 * the module may use it until it has finished, which may be long after the answer. */
void worker_begin(struct worker_ask *, int64_t ms, mod_done_fn done);
/* Of a question: its answer, once; shape and msg are the kind's, or see below. */
void worker_send(struct worker_ask *, const struct shape *, const void *msg, int *fds, unsigned n);
void worker_answer(struct worker_ask *, enum meta1_status, const struct meta1_reply *);
/* As if the role had cancelled it; the role hears the answer, reply may be NULL. */
void worker_give_up(struct worker_ask *, const struct shape *, const void *msg);
int64_t worker_deadline(const struct worker *, int64_t ms);

/* ---- worker_given.c ---- */
/* A question of this shape, with what its frame gives: ->of begins with struct worker_given and has
 * that size. NULL: nonsense. */
struct worker_ask *worker_given(
    struct worker *, struct wire_frame *, const struct shape *, void *msg, size_t size);
/* Which session a frame of no more than that is about. false: nonsense. */
bool worker_session(const struct wire_frame *, uint32_t *id);

/* ---- worker_far.c ---- */
void worker_far_open(struct worker *, const struct iso_open *);
bool worker_far_answer(struct worker *, struct wire_frame *);
void worker_far_close(struct worker *);
void worker_tally(struct worker *); /* counters: soon, and not after each question */
void worker_tally_now(struct worker *);

#endif
