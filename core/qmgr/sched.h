/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sched.h -- the part of qmgr.h that is about destinations: whose turn it is there (sched.c,
 * turn.c), what their row of the map allows (bounds.c), and which are dead (dead.c). Included by
 * qmgr.h, whose types it uses, and by nobody else.
 */
#ifndef META1_QMGR_SCHED_H
#define META1_QMGR_SCHED_H

/* ---- sched: whose turn it is; no I/O, no clock of its own ------------------------------- */

#define QMGR_RCPTS_MAX	1000  /* recipients of one delivery */
#define QMGR_QUANTUM	50    /* recipients a sender may send before the next one's turn */
#define QMGR_DESTS_MAX	20000 /* beyond, or an eighth of memory, idle dead ones are forgotten */
#define QMGR_DEST	600   /* bytes of one, with its dock and hops, about */
#define QMGR_SENDER_MAX 512   /* longer ones share their turn with others that begin so */
#define QMGR_DEAD_MS	60000 /* first pause of a dead destination; doubles */
#define QMGR_TICK_MS	100   /* of rates: what becomes free within one goes together */
#define QMGR_AHEAD_MS	60000 /* a sender may queue what a rate lets go in this time */

/* What a row of the map in qmgr { conf } says of a destination; 0: nothing, the general holds. */
struct qmgr_bounds {
	uint32_t max, initial; /* deliveries at a time */
	uint32_t max_rcpts;    /* of a delivery */
	int64_t msg_us;	       /* from one message to the next */
	int64_t rcpt_us;       /* from one recipient to the next */
};
/* Pure: "max_connections = 5; rate = 10/1m;". <0: err says what is wrong with it. */
int qmgr_bounds_parse(struct qmgr_bounds *, struct meta1_buf text, struct meta1_err *);
/* Takes the row for a destination; a bad one is named once, and counts as none. */
void qmgr_bounds_set(
    struct qmgr *, struct qmgr_dest *, struct meta1_buf row, struct meta1_buf text);

struct qmgr_group { /* one message at one destination */
	UT_hash_handle hh;
	struct qmgr_group *next, *prev;
	struct qmgr_list items;
	struct qmgr_flow *flow;
	struct {
		struct qmgr_dest *dest;
		const void *group;
	} key;
};
struct qmgr_flow { /* one sender at one destination */
	UT_hash_handle hh;
	struct qmgr_flow *next, *prev;
	struct qmgr_group *groups; /* in order */
	uint32_t n;		   /* items */
	int32_t deficit;
	bool fresh;		/* a newcomer's */
	struct qmgr_sender *of; /* its account */
	struct qmgr_dest *dest; /* with sender the key */
	char sender[];
};
struct qmgr_dest {
	UT_hash_handle hh;
	struct qmgr_dest *next, *prev; /* round of destinations that may send */
	struct qmgr_flow *turn;	       /* round of senders */
	struct qmgr_flow *fresh;       /* newcomers, in order */
	bool fresh_turn;
	uint32_t queued, sent;		/* recipients, waiting here and at smtpc */
	uint32_t active, limit;		/* deliveries */
	uint32_t refs;			/* of routes */
	uint8_t round;			/* 0: in none; else of ready[], and 1 */
	int64_t dead_until, dead_delay; /* ms; 0: alive */
	int64_t last_ok, shrunk;	/* ms */
	struct qmgr_bounds own;
	struct qmgr_dest *rnext, *rprev; /* resting: its rate lets nothing go */
	int64_t rest_until;		 /* ms; 0: it does not rest */
	int64_t free_us;		 /* when the next may go, by its rate */
	int64_t late_us;		 /* until when those that were sent away have places */
	/* Of route.c, dispatch.c and lane.c, not of the schedule. */
	struct qmgr_dock *dock; /* what waits for it alone, or NULL */
	struct qmgr_hops *hops;
	uint64_t epoch; /* of smar's newest answer about it; a kept route has no newer one */
	struct qmgr_reason *why; /* last failure of its hosts */
	char *bounds;		 /* text of the row, or NULL */
	int64_t fresh_until; /* ms; what TLS must achieve there may be another then; 0: always */
	size_t named;	     /* bytes of key that are smar's; behind them a line's own name */
	char key[];
};
struct qmgr_sched {
	struct qmgr_dest *dests, *resting;
	struct qmgr_dest *ready[2]; /* rounds: 1 with newcomers, 0 the others */
	bool fresh_turn;
	int64_t rest_next; /* ms; the earliest of those that rest */
	bool changed;	   /* which destinations are dead, since somebody set this to false */
	struct qmgr_flow *flows;
	struct qmgr_group *groups;
	struct qmgr_sender *senders;
	uint32_t initial, max, max_rcpts, share;
	int64_t max_pause;
	size_t kept; /* with more destinations idle dead ones are forgotten */
	/* Recipients that count as active: of each destination at most share, so that one slow
	 * destination with a big mailing cannot fill the active queue. */
	uint64_t counted;
	void (*let_go)(struct qmgr_dest *); /* before it is freed; may be NULL */
};
enum qmgr_fate { /* of a delivery, for its destination */
	QF_OK,
	QF_NEUTRAL, /* says nothing about the host */
	QF_REFUSED, /* a host answered, and did not want */
	QF_NOBODY   /* no host answered */
};
void qmgr_sched_init(struct qmgr_sched *);
void qmgr_sched_conf(struct qmgr_sched *, const struct qmgr_limits *);
void qmgr_sched_free(struct qmgr_sched *);
struct qmgr_dest *qmgr_sched_dest(struct qmgr_sched *, const char *key, size_t len);
void qmgr_sched_unref(struct qmgr_sched *, struct qmgr_dest **, int64_t now);
/* ms that it stays dead; 0: it may be tried. */
int64_t qmgr_sched_dead(const struct qmgr_dest *, int64_t now);
void qmgr_sched_revive(struct qmgr_sched *, struct qmgr_dest *); /* an admin wants it tried now */
void qmgr_sched_add(
    struct qmgr_sched *, struct qmgr_dest *, const char *sender, struct qmgr_item *);
/* Before an item is added: does a rate let go no more than what its sender has queued there? */
bool qmgr_sched_behind(const struct qmgr_sched *, struct qmgr_dest *, const char *sender);
/* If so: ms that it should wait elsewhere; 0: none. */
int64_t qmgr_sched_late(struct qmgr_sched *, struct qmgr_dest *, const char *sender, int64_t now);
/* The next delivery: items of one group, at most max_rcpts. NULL: nobody may send. */
struct qmgr_dest *qmgr_sched_next(struct qmgr_sched *, struct qmgr_list *out, int64_t now);
/* When the next that rests may send, ms; INT64_MAX: none rests. */
int64_t qmgr_sched_rest(const struct qmgr_sched *);
void qmgr_sched_bound(struct qmgr_sched *, struct qmgr_dest *, const struct qmgr_bounds *);
/* It was dead in an earlier life. */
void qmgr_sched_restore(struct qmgr_sched *, const char *key, size_t len, int64_t dead_until,
    int64_t dead_delay, int64_t now);
/* A delivery of n recipients that began at started is over. true: the destination is dead (now),
 * and what it holds must be taken off by qmgr_sched_take(). */
bool qmgr_sched_done(struct qmgr_sched *, struct qmgr_dest *, uint32_t n, enum qmgr_fate,
    int64_t started, int64_t now);
/* Nothing of what was taken just now went: that cost nothing of its rate. The destination may be
 * gone after this. */
void qmgr_sched_unsent(struct qmgr_sched *, struct qmgr_dest *, uint32_t n, int64_t now);
/* It has its share. But the rest of a group that is there joins, and the first of a sender that has
 * nothing there (up to twice the share), so that it need not wait for others' mailings. */
bool qmgr_sched_full(
    const struct qmgr_sched *, const struct qmgr_dest *, const char *sender, const void *group);
struct qmgr_item *qmgr_sched_take(struct qmgr_sched *, struct qmgr_dest *);
void qmgr_sched_tidy(struct qmgr_sched *, int64_t now); /* forgets idle ones; once a minute */

/* ---- turn: senders at one destination; part of the schedule ------------------------------ */

#define QMGR_LITTLE                                                                                \
	8 /* items of a sender in the schedule: with fewer it is a newcomer elsewhere              \
	   */

void qmgr_turn_add(struct qmgr_sched *, struct qmgr_dest *, const char *sender, struct qmgr_item *);
/* What the sender, or the group, has there; or NULL. */
struct qmgr_flow *qmgr_turn_find(const struct qmgr_sched *, struct qmgr_dest *, const char *sender);
struct qmgr_group *qmgr_turn_group(
    const struct qmgr_sched *, struct qmgr_dest *, const void *group);
/* At most so many of one group; there must be some. */
void qmgr_turn_take(struct qmgr_sched *, struct qmgr_dest *, struct qmgr_list *out, uint32_t most);
void qmgr_turn_free(struct qmgr_sched *, struct qmgr_dest *);

/* ---- dead: dead destinations are remembered over a restart ------------------------------- */

void qmgr_dead_start(struct qmgr *);
void qmgr_dead_load(struct qmgr *);
void qmgr_dead_save(struct qmgr *); /* if something changed; by a worker */

#endif
