/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * index.h -- the part of qmgr.h that is about all that is queued, loaded or not: each message has a
 * slot (slot.c), its envelope is read when it is wanted (park.c), and it waits for its turn in
 * a lane of its sender (lane.c).
 * Included by qmgr.h, whose types it uses, and by nobody else.
 */
#ifndef META1_QMGR_INDEX_H
#define META1_QMGR_INDEX_H

/* ---- slot: the index of all that is queued -------------------------------------------- */

#define QMGR_CHUNK 4096u /* slots of one allocation */
struct qmgr_slot {
	union {
		uint64_t key;	      /* the store's, of one that is not loaded */
		struct qmgr_msg *msg; /* loaded */
	} at;
	uint64_t hash; /* of the id */
	uint64_t seq : 48, loaded : 1;
	uint64_t loading : 1; /* asked for */
	uint64_t going : 1;   /* and then to be looked at */
	uint64_t urgent : 1;  /* an admin wants it tried now, whenever it is due */
	uint64_t lost : 1;    /* its envelope could not be read */
	uint64_t more : 11;   /* recipients but one, rounded up; slot.c */
	uint32_t next, prev;  /* in order of seq */
	uint32_t hnext;
	uint32_t due;	 /* monotonic seconds: of the earliest recipient, while in the heap */
	uint32_t heap;	 /* place there, 0: none */
	uint32_t nopen;	 /* recipients that are not final; of an unloaded one */
	uint32_t sender; /* its hash */
	uint32_t lane, lnext, lprev; /* 0: in none */
};
struct qmgr_index {
	struct qmgr_slot **chunk;
	uint32_t *hash;
	struct qmgr_page *pages, *page_list;
	uint64_t seq;
	uint32_t nchunk, cap, top, free, n, first, last;
	uint64_t more; /* recipients beside the first of each message, rounded up */
};
static inline struct qmgr_slot *qmgr_slot_at(const struct qmgr_index *x, uint32_t i)
{
	return &x->chunk[i / QMGR_CHUNK][i % QMGR_CHUNK];
}
uint32_t qmgr_slot_new(struct qmgr_index *, const char *id, uint32_t nrcpt);
uint32_t qmgr_slot_find(const struct qmgr_index *, const char *id, size_t len); /* by its hash */
/* The first with a number of at least seq, or 0. */
uint32_t qmgr_slot_from(struct qmgr_index *, uint64_t seq);
void qmgr_slot_free(struct qmgr_index *, uint32_t);
void qmgr_slot_free_all(struct qmgr_index *);

/* ---- park: envelopes that are not in memory --------------------------------------------- */

#define QMGR_FETCHES 4	 /* requests to the store at a time */
#define QMGR_INDEX   160 /* bytes that one more message costs at least, here and in the store */
#define QMGR_FURTHER 12	 /* and each recipient of it but one, in the store */

struct qmgr_fetch { /* one of those requests; or the next, being gathered */
	struct qmgr_fetch *next, *prev;
	struct qmgr *q;
	uint32_t n;
	uint32_t slot[META1_FETCH_MAX];
	uint64_t key[META1_FETCH_MAX];
};
bool qmgr_park_ready(const struct qmgr *); /* one more can be asked for */
/* It shall be loaded; and looked at then, for a lane that has so many ahead (or 0). */
void qmgr_park_load(struct qmgr *, uint32_t slot, uint32_t lane, uint32_t coming);
/* An admin wants one that is not loaded tried now. */
void qmgr_park_now(struct qmgr *, uint32_t slot);
void qmgr_park_flush(struct qmgr *); /* what was gathered is asked for */
void qmgr_park_loaded(void *arg, uint64_t key, const struct meta1_qentry *, const char *why);
/* Unloads what may be, while more is loaded than shall be. */
void qmgr_park_trim(struct qmgr *);
void qmgr_park_free_all(struct qmgr *);
/* What cannot be read has no id that is known: its number in the index names it in this life. */
#define QMGR_UNREAD "unreadable-"
void qmgr_park_name(const struct qmgr_slot *, char out[META1_ID_MAX]);
/* For control.c: done() when all of these are loaded that can be, at once or later. They stay so
 * until the end of that call. */
#define QMGR_SHOW_MAX 1000
struct qmgr_show {
	struct qmgr_show *next, *prev;
	uint32_t n, left;
	uint64_t seq[QMGR_SHOW_MAX];
	uint32_t slot[QMGR_SHOW_MAX];
	void (*done)(struct qmgr *, struct qmgr_show *);
	void *arg, *arg2;
};
void qmgr_park_show(struct qmgr *, struct qmgr_show *); /* taken; done() frees it */
/* The message of place i, or NULL: gone, or not to be read. */
struct qmgr_msg *qmgr_park_shown(struct qmgr *, const struct qmgr_show *, uint32_t i);

/* ---- lane: whose message is looked at next ------------------------------------------------ */

enum { QMGR_FRESH, QMGR_AGAIN }; /* docks; further ones are of destinations */
struct qmgr_lane {
	uint32_t first, last; /* slots */
	uint32_t next, prev;  /* round of those that hold something */
	uint32_t hnext, sender, dock;
	uint32_t ahead; /* recipients taken from here and not looked through */
};
struct qmgr_lanes {
	struct qmgr_lane *lane;
	uint32_t *hash, cap, free;
};
struct qmgr_dock {
	struct qmgr_dock *next, *prev; /* round of those that may go on */
	struct qmgr_dest *dest;	       /* with a reference; NULL: FRESH, AGAIN */
	uint32_t round[2];	       /* lanes: with nothing ahead; with something */
	uint32_t number, nlane;
	uint32_t coming; /* recipients taken from here that have not reached the destination */
	uint64_t rcpts;	 /* recipients of what waits here */
	bool open;
};
void qmgr_lane_init(struct qmgr *);
void qmgr_lane_add(struct qmgr *, uint32_t slot, unsigned dock);
void qmgr_lane_block(struct qmgr *, uint32_t slot, struct qmgr_dest *);
void qmgr_lane_remove(struct qmgr *, uint32_t slot);
/* Taken out of its lane; 0: none may go on. newcomers: only of a lane with nothing ahead. */
uint32_t qmgr_lane_next(struct qmgr *, bool newcomers, uint32_t *lane, uint32_t *coming);
/* What was taken is looked through: it came to its destination, or did not. */
void qmgr_lane_arrived(struct qmgr *, uint32_t *lane, uint32_t n);
/* Is what is coming all that its lane has ahead? */
bool qmgr_lane_first(const struct qmgr *, uint32_t lane, uint32_t coming);
void qmgr_lane_through(struct qmgr *, uint32_t slot);	 /* before nopen becomes one less */
void qmgr_lane_check(struct qmgr *, struct qmgr_dest *); /* it may have room now */
/* The destination whose dock it is in, or NULL. */
const struct qmgr_dest *qmgr_lane_dest(const struct qmgr *, uint32_t slot);
void qmgr_lane_tick(int, short, void *);
void qmgr_lane_free_all(struct qmgr *);

#endif
