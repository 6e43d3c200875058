/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * iso.h -- an isolated instance as its role has it: the interface of its kind, behind it a stream
 * to a worker process that has the module. The role never loads the module. In the order of a life:
 *
 *   iso_open.c the first open, which the role does not wait for but goes on after
 *   iso.c      the life after it: opened again after each end of the worker; what is known of it
 *   iso_ask.c  questions that the worker owes an answer to, and what becomes of them when it hangs
 *   iso_far.c  what the worker asks: log, counters, other maps, DNS
 *   iso_map.c  the kinds: their operations as messages (iso_msg.h), and the answers; iso_auth.c ...
 *
 * mcp starts the workers, since an own account needs root, and since it starts all processes: one
 * for each isolated instance and process of a role, so that nothing is shared that was not shared
 * before, and a crash is felt by one process of the role alone. The other end is worker.c.
 */
#ifndef META1_MOD_ISO_H
#define META1_MOD_ISO_H
#include "mod/inst.h"
#include "mod/iso_msg.h"
#include "mod/wire.h"

#define ISO_MARGIN_MS 1000 /* beyond its deadline a question is answered, or the worker killed */
#define ISO_OPEN_MS   20000
#define ISO_SILENT_MS                                                                              \
	10000 /* with questions: then it is pinged, and killed after as long again                 \
	       */

struct iso;
struct iso_ask {	      /* a question that the worker has */
	struct meta1_req *rq; /* NULL: nobody waits for the answer */
	bool used, drain;     /* drain: it is ISO_DRAIN */
	uint16_t serial;
	int64_t until;
	uint64_t copied; /* bytes: iso_charge() */
	void *of;	 /* the kind's: a session */
};
/* What is the same for all instances of a kind. */
struct iso_kind {
	enum meta1_kind kind;
	const char *name;
	const void *ops;
	size_t ops_size; /* of those that opened() changes; 0: it does not */
	/* ask->rq is there, and to be finished. false: nonsense, the worker is given up. */
	bool (*answered)(struct iso *, struct iso_ask *, struct wire_frame *);
	bool secret; /* passwords go over the stream */
	/* NULL, or: */
	bool (*frame)(struct iso *, struct wire_frame *); /* of a message of its own; as above */
	/* Finishes it as a temporary failure: why. of: as in ask->of. */
	void (*refused)(struct iso *, struct meta1_req *, void *of, const char *why);
	void (*fill)(struct iso *, const struct settings *); /* adds to what it is opened with */
	void (*opened)(struct iso *, const struct iso_opened *);
	void (*drop)(struct iso *); /* what own points to */
};
extern const struct iso_kind iso_map, iso_pmilter, iso_auth, iso_transport;

struct iso_copy;
struct iso_far { /* a question of the worker */
	LIST_ENTRY(iso_far) link;
	struct iso *iso;
	uint32_t id, life;
};
enum iso_state { ISO_DOWN, ISO_OPENING, ISO_UP };
struct iso {
	struct iso *next; /* of host->isos */
	struct mod_inst *in;
	const struct iso_kind *kind;
	enum iso_state state;
	char *worker; /* "map_text/access@2" */
	struct wire *wire;
	uint32_t life; /* how many workers there were: sessions of an older one are over */
	uint32_t pid, restarts;
	uint32_t ended; /* pid of the last one that did, end: how */
	char end[96];
	bool first;  /* mod_use() has begun it, and it is not open yet */
	bool opened; /* it answered ISO_OPEN */
	char *use;   /* what asks for it, for messages */
	/* what it is opened with, each time */
	struct iso_open open;
	char *text, *file, *folder, *directory; /* settings may go before it does */
	struct meta1_mapref *map[ISO_MAPS_MAX];
	struct meta1_buf names[ISO_MAPS_MAX];
	/* iso_ask.c */
	struct iso_ask *ask;
	uint32_t nask, nopen, next_ask;
	struct watch *hang;
	int64_t heard, pinged; /* ms; pinged 0: nothing since it was heard */
	uint32_t sessions;     /* the last one's number: of a filter's sessions, of exchanges */
	void *own;	       /* the kind's; freed with it */
	/* iso_copy.c */
	TAILQ_HEAD(, iso_copy) copies;
	uint64_t copied; /* bytes that are copied, or that the worker has of such */
	/* iso_far.c */
	LIST_HEAD(, iso_far) far;
	uint32_t nfar;
};

/* ---- iso_open.c ---- */
void iso_open_send(struct iso *); /* what its worker is to open */
/* It is open the first time; or it is not: why. */
void iso_open_first(struct iso *, const char *why);
void iso_open_lost(struct iso *, const char *why); /* of its worker: it cannot tell */

/* ---- iso.c ---- */
bool iso_take_spare(struct iso *); /* the newest worker that is there for it; false: none */
void iso_close(void *inst);
/* The worker is given up: why, for the log and askers. */
void iso_lost(struct iso *, const char *why);
struct iso *iso_of(const struct mod_inst *); /* NULL: it runs inside the role */
static inline struct meta1_ctx *iso_ctx(struct iso *i)
{
	return (struct meta1_ctx *)i->in;
}

/* ---- iso_ask.c ---- */
/* Puts the question, with descriptors, which are taken; or finishes it as a temporary failure:
 * false. */
bool iso_put(struct iso *, struct meta1_req *, uint16_t type, const struct shape *, const void *msg,
    int *fds, unsigned nfd, void *of);
/* Of one that was put: the worker has so much of our memory until it has answered. */
void iso_charge(struct iso *, struct meta1_req *, uint64_t bytes);
void iso_late(int fd, short what, void *arg);	 /* of the timer hang; arg: struct iso */
void iso_cancel(void *inst, struct meta1_req *); /* each kind's cancel() */
bool iso_answer(struct iso *, struct wire_frame *);
bool iso_untold(struct iso *, struct wire_frame *);
const struct iso_ask *iso_asked(const struct iso *, uint32_t id); /* NULL: no such question */
void iso_fail_all(struct iso *, const char *why);
int64_t iso_left(struct iso *, struct meta1_req *); /* ms until its deadline */
void iso_drain(void *inst, struct meta1_req *);	    /* each kind's drain() */

/* ---- iso_copy.c ---- */
struct iso_bytes;
/* Of files, which have more than that: extents of the pool for *e that are memory and have room in
 * the frame. false: not without waiting, or not that much. */
bool iso_copy_now(const struct meta1_extent **e, uint32_t n, struct pool *, struct iso_bytes *);
/* As iso_copy_now(), of any length: extents of memory, or of a file that has nothing else. They are
 * good for the call. len: iso_charge() with it; err: there is none. */
typedef void (*iso_copy_fn)(void *arg, struct meta1_req *, const struct meta1_extent *, uint32_t n,
    uint64_t len, const struct meta1_err *err);
/* May call it within. What it copies stays until the request is finished. */
void iso_copy_new(struct iso *, struct meta1_req *, const struct meta1_extent *, uint32_t n,
    iso_copy_fn, void *arg);
void iso_copy_next(struct iso *);
/* The request is finished, now or later, and arg returned; NULL: nothing is copied for it. */
void *iso_copy_cancel(struct iso *, struct meta1_req *);
void iso_copy_close(struct iso *);

/* ---- iso_far.c ---- */
/* 1: it was one of these; 0: it was not; <0: nonsense. */
int iso_far(struct iso *, struct wire_frame *);
void iso_far_drop(struct iso *);

#endif
