/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * qmgr.h -- the queue manager, told in the order a message meets it.
 *
 * A stored message comes in (intake.c, store.c), gets its place in the index (slot.c) and waits
 * for its turn in a lane of its sender (lane.c); when it comes, its envelope is read (park.c,
 * msg.c) if it is not in memory, its recipients become active within a bound (active.c), get a
 * destination from smar (route.c), wait there for their turn (sched.c), are handed to an smtpc
 * (dispatch.c), and end as a recorded outcome (rules.c, outcome.c), perhaps with a report to the
 * sender (bounce.c, report.c, dsn.c; verp.c). control.c shows and changes all that. Everything runs
 * on the loop thread.
 */
#ifndef META1_QMGR_H
#define META1_QMGR_H
#include "ipc/chan.h"
#include "lib/log.h"
#include "lib/metric.h"
#include "lib/work.h"
#include "mod/mod.h"
#include "role.h"

#include <meta1/queue.h>
#include <meta1/transport.h>

#define HASH_FUNCTION HASH_JEN
#include <uthash.h>
#include <utlist.h>

struct qmgr;
struct qmgr_msg;
struct qmgr_tally;
struct qmgr_dest;

/* What the configuration says; times in ms. */
struct qmgr_limits {
	int64_t aq_max;		   /* recipients that may be active */
	int64_t initial, max_conn; /* deliveries at a time to one destination */
	int64_t min_retry, max_retry, max_queue;
	int64_t delay_warning;	   /* 0: none */
	size_t returned;	   /* bytes of a message that a report may return whole */
	const char *double_bounce; /* where failing reports go, or "" */
	const char *const *verp_senders;
	const char *verp_delimiters;
	size_t memory; /* bytes of envelopes and index beyond which no intake is granted */
	size_t loaded; /* bytes of envelopes that wait: beyond, they are unloaded */
};

/* ---- a recipient and its message -------------------------------------------------- */

/* A place in one list at a time: of a route, of a destination, of what is to be recorded. */
struct qmgr_item {
	struct qmgr_item *next;
	const void *group; /* items of one group travel together: of a message and a sender */
};
struct qmgr_list {
	struct qmgr_item *head, *tail;
	uint32_t n;
};
void qmgr_list_add(struct qmgr_list *, struct qmgr_item *);
struct qmgr_item *qmgr_list_pop(struct qmgr_list *);

enum qmgr_phase {
	QP_WAIT,   /* until due */
	QP_ROUTE,  /* smar is asked where to */
	QP_QUEUED, /* at its destination */
	QP_SENT,   /* in a delivery */
	QP_INTENT, /* that a report of it (action) is due is being recorded */
	QP_REPORT, /* recorded, the report is not yet written */
	QP_DOUBT,  /* was so at the last end; known when recovery is through */
	QP_WARNED, /* the sender was told that it waits; being recorded, then QP_WAIT */
	QP_FINAL,  /* state is final and being recorded */
	QP_DONE	   /* recorded */
};

/* What a recipient in QP_WAIT waits for. */
enum qmgr_cause { QW_RETRY, QW_DEAD, QW_RATE, QW_FULL };

/* What a report says of a recipient: Action of RFC 3464. */
enum qmgr_action { QA_FAILED, QA_DELAYED, QA_DELIVERED, QA_RELAYED };

/* Why something is as it is: the last reply or error. Shared, read only. */
struct qmgr_reason {
	uint32_t refs, size;
	uint16_t smtp;
	char dsn[12];
	const char *host; /* who said it, or "" */
	const char *text; /* as said */
	const char *line; /* "host said: 550 5.1.1 text", for show, log and journal */
	char b[];
};

struct qmgr_rcpt {
	struct qmgr_item item;
	const char *addr;
	struct qmgr_reason *reason; /* or NULL */
	struct qmgr_mark *mark;	    /* or NULL */
	int64_t due;		    /* monotonic ms, of QP_WAIT */
	uint32_t report;	    /* number of the report it is in, 0: none */
	uint32_t index : 24, again : 1, expired : 1, anew : 1; /* anew: to be routed again */
	uint32_t notify : 4; /* enum meta1_notify; 0: the sender did not say */
	uint32_t orcpt : 1;  /* qmgr_msg_orcpt() has it */
	uint32_t warned : 1; /* the sender knows that it waits */
	uint32_t action : 2; /* enum qmgr_action, of its report */
	uint32_t sender : 1; /* qmgr_msg_sender() is its own */
	uint32_t alias : 1;  /* qmgr_msg_alias() has it */
	uint32_t verp : 1;   /* the address that mail comes from names the recipient */
	uint32_t flags : 3;  /* enum meta1_rflag */
	uint16_t tries;
	uint8_t state; /* enum meta1_rstate */
	uint8_t phase; /* enum qmgr_phase */
	uint8_t cause; /* enum qmgr_cause */
	bool blocked;  /* its destination is dead or has enough: waits in its dock */
};

enum qmgr_lists { /* where a loaded message is */
	QL_NONE,  /* some of it is active */
	QL_GOING, /* being looked at: its recipients become active */
	QL_FIRST, /* the same, for the first time, and nothing of its sender was before */
	QL_IDLE,  /* all of it waits: may be unloaded */
	QL_DYING, /* all is recorded: freed at the end of the turn */
	QL_N
};

struct qmgr_msg {			/* one allocation with its recipients and strings */
	struct qmgr_msg *rnext, *rprev; /* in its list */
	struct qmgr_report *report;	/* those that still gather, or NULL */
	uint64_t seq, bytes, stored;
	int64_t time; /* accepted, wall clock seconds, for show */
	int64_t born; /* the same on the monotonic clock, so that no jump ages a mail */
	struct meta1_ref ref;
	uint64_t key; /* the store's */
	size_t memory;
	const char *from, *client;
	const char *envid; /* as said, or "" */
	uint32_t flags, nrcpt, slot;
	uint32_t nopen;	  /* recipients not QP_DONE */
	uint32_t nactive; /* in QP_ROUTE, QP_QUEUED, QP_SENT */
	uint32_t cursor;  /* QL_GOING: next to look at */
	uint32_t lane;	  /* QL_GOING: where it came from, 0: nowhere */
	uint32_t coming;  /* QL_GOING: what that has ahead for it */
	uint8_t list;	  /* enum qmgr_lists */
	bool dying;
	bool dsn; /* a recipient has notify or orcpt */
	char id[META1_ID_MAX];
	struct qmgr_rcpt rcpt[];
};

struct qmgr_reason *qmgr_reason_new(
    struct meta1_buf host, unsigned smtp, struct meta1_buf dsn, struct meta1_buf text);
void qmgr_reason_set(struct qmgr_rcpt *, struct qmgr_reason *); /* takes a reference */
void qmgr_reason_drop(struct qmgr_reason **);
size_t qmgr_reason_memory(void); /* of all */

/* ORCPT as the sender said it, or "": it stands behind the address. */
static inline const char *qmgr_msg_orcpt(const struct qmgr_rcpt *r)
{
	return r->orcpt ? r->addr + strlen(r->addr) + 1 : "";
}

/* Who sends to this one: the owner of a list, else who sent the message. */
static inline const char *qmgr_msg_sender(const struct qmgr_msg *m, const struct qmgr_rcpt *r)
{
	const char *s = r->addr;

	if (!r->sender)
		return m->from;
	s += strlen(s) + 1;
	return r->orcpt ? s + strlen(s) + 1 : s;
}
/* The address that it stands for, with META1_RF_TELL; or "". */
static inline const char *qmgr_msg_alias(const struct qmgr_rcpt *r)
{
	const char *s = r->addr;
	unsigned skip;

	if (!r->alias)
		return "";
	for (skip = 1 + r->orcpt + r->sender; skip > 0; skip--)
		s += strlen(s) + 1;
	return s;
}
/* The address from which its mail is sent and to which reports about it go. */
const char *qmgr_msg_return(const struct qmgr *, const struct qmgr_rcpt *, char verp[255]);

/* What an admin said about a recipient; NULL: nothing. Held ones are in QP_WAIT, due never
 * (INT64_MAX); one that is under way becomes held when it comes back. Each outcome that leaves it
 * waiting begins its reason with the note, and msg.c reads it from there. */
#define QMGR_VIA_MAX 255
bool qmgr_mark_held(const struct qmgr_rcpt *);
uint32_t qmgr_mark_uid(const struct qmgr_rcpt *);
const char *qmgr_mark_via(const struct qmgr_rcpt *); /* next hops, or "" */
void qmgr_mark_hold(struct qmgr_rcpt *, bool held, uint32_t uid);
void qmgr_mark_way(struct qmgr_rcpt *, const char *via);
bool qmgr_mark_way_ok(const char *via);
void qmgr_mark_note(const struct qmgr_rcpt *, char *out, size_t size);
void qmgr_mark_read(struct qmgr_rcpt *, struct meta1_buf *why); /* which is moved behind it */
void qmgr_mark_drop(struct qmgr_rcpt *);

/* Messages in memory. */
struct qmgr_msg *qmgr_msg_new(struct qmgr *, uint32_t slot, const struct meta1_qentry *);
struct qmgr_msg *qmgr_msg_find(struct qmgr *, const char *id, size_t len); /* if loaded */
void qmgr_msg_list(struct qmgr *, struct qmgr_msg *, enum qmgr_lists);
void qmgr_msg_unload(struct qmgr *, struct qmgr_msg **);
/* Frees it at the end of the turn if all of it is recorded. */
void qmgr_msg_check(struct qmgr *, struct qmgr_msg *);
void qmgr_msg_reap(struct qmgr *);
void qmgr_msg_free_all(struct qmgr *);
static inline struct qmgr_msg *qmgr_msg_of(const struct qmgr_rcpt *r)
{
	return (
	    struct qmgr_msg *)((char *)(uintptr_t)(r - r->index) - offsetof(struct qmgr_msg, rcpt));
}

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
	uint64_t held : 1, warned : 1, pad : 9;
	uint32_t next, prev; /* in order of seq */
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
};
static inline struct qmgr_slot *qmgr_slot_at(const struct qmgr_index *x, uint32_t i)
{
	return &x->chunk[i / QMGR_CHUNK][i % QMGR_CHUNK];
}
uint32_t qmgr_slot_new(struct qmgr_index *, const char *id);
uint32_t qmgr_slot_find(const struct qmgr_index *, const char *id, size_t len); /* by its hash */
/* The first with a number of at least seq, or 0. */
uint32_t qmgr_slot_from(struct qmgr_index *, uint64_t seq);
void qmgr_slot_free(struct qmgr_index *, uint32_t);
void qmgr_slot_free_all(struct qmgr_index *);

/* ---- park: envelopes that are not in memory --------------------------------------------- */

#define QMGR_FETCHES 4	 /* requests to the store at a time */
#define QMGR_INDEX   160 /* bytes that one more message costs at least, here and in the store */

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

/* ---- intake: from smtps to the store's events ---------------------------------------- */

#define QMGR_CREDITS	   1000	       /* transactions granted to one smtps */
#define QMGR_CREDIT_MEMORY (64u << 10) /* near the bound a credit is granted for so much */

struct qmgr_feeder { /* one connected smtps */
	struct qmgr_feeder *next, *prev;
	struct chan *chan;
	uint32_t writer;
	uint32_t credits; /* granted, not used */
};
void qmgr_intake_up(struct qmgr *, struct chan *, const struct p_hello *);
void qmgr_intake_down(struct qmgr *, struct chan *);
void qmgr_intake_free_all(struct qmgr *);
void qmgr_intake_queued(struct chan *, uint32_t req, const void *msg, void *arg);
void qmgr_intake_tail(struct chan *, uint32_t req, const void *msg, void *arg);
void qmgr_intake_back(struct chan *, uint32_t req, const void *msg, void *arg);
/* Bytes of what is queued: what is loaded, and the index. */
size_t qmgr_intake_memory(const struct qmgr *);
/* Credits for all smtps, as far as memory allows. */
void qmgr_intake_grant(struct qmgr *);
/* Events of the store. */
void qmgr_intake_entry(void *arg, const struct meta1_qentry *);
void qmgr_intake_space(void *arg, uint32_t writer, uint64_t unit);
bool qmgr_intake_moved(void *arg, const char *id, uint64_t key, const struct meta1_ref *);
/* All that was queued at start is told: doubts about reports are decided. */
void qmgr_intake_recovered(struct qmgr *);

/* ---- store: the queue module behind one face ------------------------------------------ */

int qmgr_store_open(struct qmgr *, struct meta1_err *);
void qmgr_store_conf(struct qmgr *); /* history_time and history_size, also after a reload */
void qmgr_store_close(struct qmgr *);
void qmgr_store_attach(struct qmgr *, uint32_t writer);
void qmgr_store_detach(struct qmgr *, uint32_t writer);
void qmgr_store_notice(
    struct qmgr *, struct meta1_buf notice, const char *id, const struct meta1_env *);
/* Records a recipient's final state, or the intent to report it (by phase); on
 * failure again and again until it is recorded. */
void qmgr_store_record(struct qmgr *, struct qmgr_rcpt *);
/* Records a try that changed nothing; not repeated when it fails. */
void qmgr_store_deferred(struct qmgr *, struct qmgr_rcpt *);
/* An admin deleted it while it is in some list, but in no delivery: recorded at once, and once
 * more when it has left that list. */
void qmgr_store_deleted(struct qmgr *, struct qmgr_rcpt *);
/* Reader and writer for reports. */
bool qmgr_store_load(struct qmgr *, const struct meta1_ref *, mod_done_fn, void *arg);
bool qmgr_store_fetch(struct qmgr *, const uint64_t *key, uint32_t n, mod_done_fn, void *arg);
void qmgr_store_unload(struct qmgr *, struct meta1_content *);
uint64_t qmgr_store_next_id(struct qmgr *); /* 0: none now */
/* Events NULL: all of it goes into one write(). */
bool qmgr_store_begin(struct qmgr *, const char *id, const struct meta1_qops_writer_events *,
    void *arg, struct meta1_qmsg **, struct meta1_err *);
enum meta1_status qmgr_store_write(struct qmgr *, struct meta1_qmsg *, const void *, size_t);
void qmgr_store_abort(struct qmgr *, struct meta1_qmsg **);
bool qmgr_store_commit(
    struct qmgr *, struct meta1_qmsg **, const struct meta1_env *, mod_done_fn, void *arg);

/* ---- active: who may be worked on now -------------------------------------------------- */

uint64_t qmgr_active_count(const struct qmgr *);
/* Waits until due (monotonic ms; rounded up so that recipients of one mail meet again). */
void qmgr_active_wait(struct qmgr *, struct qmgr_rcpt *, int64_t due);
/* A new message: what is due may begin. */
void qmgr_active_start(struct qmgr *, struct qmgr_msg *, bool fresh);
/* An admin wants all waiting recipients of it tried now. */
void qmgr_active_now(struct qmgr *, struct qmgr_msg *);
/* It waits until its destination lives, or has room. */
void qmgr_active_block(struct qmgr *, struct qmgr_rcpt *, struct qmgr_dest *);
void qmgr_active_slot_due(struct qmgr *, uint32_t slot, int64_t due); /* of one not loaded */
void qmgr_active_slot_gone(struct qmgr *, uint32_t slot);	      /* nor will be */
void qmgr_active_go(struct qmgr *, struct qmgr_msg *, uint32_t lane, uint32_t coming);
/* It left QP_ROUTE, QP_QUEUED or QP_SENT. */
void qmgr_active_leave(struct qmgr *, struct qmgr_rcpt *);
void qmgr_active_forget(struct qmgr *, struct qmgr_msg *); /* before it is freed */
/* One step of what is due; true: there is more to do at once. */
bool qmgr_active_pump(struct qmgr *);

/* ---- route: where a domain goes ------------------------------------------------------- */

#define QMGR_ROUTES_MAX 10000

struct qmgr_hops { /* one allocation: where a destination is */
	char *transport;
	uint32_t n;
	struct meta1_buf hop[];
};
void qmgr_route_find(struct qmgr *, struct qmgr_rcpt *);
struct qmgr_dest *qmgr_route_dest(struct qmgr *, const struct qmgr_rcpt *); /* or NULL */
void qmgr_route_anew(struct qmgr *, const struct qmgr_rcpt *); /* it is asked next time */
void qmgr_route_pump(struct qmgr *); /* asks what could not be asked yet */
void qmgr_route_generation(struct chan *, uint32_t req, const void *msg, void *arg);
void qmgr_route_void(struct qmgr *); /* everything known is to be asked again */
void qmgr_route_free_all(struct qmgr *);
void qmgr_route_let_go(struct qmgr_dest *); /* what a destination carries */

/* ---- sched: whose turn it is; no I/O, no clock of its own ------------------------------- */

#define QMGR_RCPTS_MAX	1000  /* recipients of one delivery */
#define QMGR_QUANTUM	50    /* recipients a sender may send before the next one's turn */
#define QMGR_DESTS_MAX	20000 /* beyond, idle dead destinations are forgotten */
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
	struct qmgr_reason *why; /* last failure of its hosts */
	char *bounds;		 /* text of the row, or NULL */
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
/* Before an item is added: ms that it should wait elsewhere, since a rate lets go no more than what
 * its sender has queued there already; 0: none. */
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

/* ---- dispatch: deliveries at smtpc ---------------------------------------------------- */

struct qmgr_courier { /* one connected smtpc */
	struct qmgr_courier *next, *prev;
	struct chan *chan;
	struct qmgr_delivery *deliveries;
	uint64_t credits;
	bool blocked; /* its channel is full: nothing until it says something */
	bool leaving; /* it stops in order: nothing more, and what comes back is no failure */
};
void qmgr_dispatch_up(struct qmgr *, struct chan *);
void qmgr_dispatch_down(struct qmgr *, struct chan *);
void qmgr_dispatch_free_all(struct qmgr *);
void qmgr_dispatch_window(struct chan *, uint32_t req, const void *msg, void *arg);
void qmgr_dispatch_result(struct chan *, uint32_t req, const void *msg, void *arg);
void qmgr_dispatch_delivered(struct chan *, uint32_t req, const void *msg, void *arg);
void qmgr_dispatch_pump(struct qmgr *);
/* It waits for another time, which is no try: neither recorded nor logged. */
void qmgr_dispatch_later(struct qmgr *, struct qmgr_rcpt *, int64_t ms, enum qmgr_cause);
/* The destination is dead: the recipient waits as long. */
void qmgr_dispatch_put_off(
    struct qmgr *, struct qmgr_dest *, struct qmgr_rcpt *, struct qmgr_tally *);

/* ---- rules: what a result means; pure ------------------------------------------------- */

enum qmgr_verdict { QV_DONE, QV_AGAIN, QV_WAIT, QV_BOUNCE };
struct qmgr_case {
	enum meta1_status status;
	enum meta1_scope scope;
	bool again;	  /* it was already repeated at once */
	int64_t age;	  /* ms in the queue */
	int64_t dead_for; /* ms the destination stays dead */
	uint32_t dice;	  /* random */
};
struct qmgr_ruling {
	enum qmgr_verdict verdict;
	int64_t delay; /* ms, of QV_WAIT */
	bool blame;    /* counts as a try of the recipient */
	bool expired;  /* QV_BOUNCE: the end of its time, not the reply */
};
struct qmgr_ruling qmgr_rules_judge(const struct qmgr_limits *, const struct qmgr_case *);
int64_t qmgr_rules_delay(const struct qmgr_limits *, int64_t age, uint32_t dice);

/* ---- outcome: done, later, or back to the sender ---------------------------------------- */

struct qmgr_result { /* of one recipient or of a whole delivery */
	enum meta1_status status;
	enum meta1_scope scope;
	enum meta1_taken taken; /* of OK */
	unsigned smtp;
	struct meta1_buf dsn, text, host;
	struct qmgr_reason *reason; /* made from them when needed; qmgr_result_end() */
};
/* What happened to the recipients of one message in one delivery, for one log line each. */
struct qmgr_tally {
	struct qmgr_msg *msg;
	struct {
		uint32_t n;
		const char *to;
		struct qmgr_reason *reason;
		int64_t delay;
	} of[3]; /* done, deferred, bounced */
};
/* Takes the recipient out of its phase, wherever it was. dead_for: see struct qmgr_case. */
void qmgr_outcome(
    struct qmgr *, struct qmgr_rcpt *, struct qmgr_result *, int64_t dead_for, struct qmgr_tally *);
void qmgr_outcome_end(struct qmgr_result *);
void qmgr_outcome_log(struct qmgr *, struct qmgr_tally *);
/* Final, and to be recorded. */
void qmgr_outcome_final(struct qmgr *, struct qmgr_rcpt *, enum meta1_rstate);

/* ---- bounce, report, dsn, verp: reports to the sender ------------------------------------ */

#include "qmgr/report.h"

/* ---- control: what meta1ctl asks --------------------------------------------------------- */

void qmgr_control_add(struct role *, struct ctl *);
bool qmgr_control_pump(struct qmgr *); /* goes on with a flush of everything; true: more */

/* ---- import: mail that an admin puts into the queue -------------------------------------- */

/* The store told of a message: if it is one of ours, the envelope with all that was said of it. */
const struct meta1_env *qmgr_import_entry(struct qmgr *, const char *id);
void qmgr_import_stop(struct qmgr *); /* those that are not being committed are given up */

/* ---- the role ---------------------------------------------------------------------------- */

struct qmgr {
	struct role role; /* first: what role.c hands to handlers is this struct */
	struct loop *loop;
	struct qmgr_limits lim;
	bool going, stopping, stop_late, draining, ended, recovered;
	struct task pump; /* everything that can be done now */
	struct watch *minute, *stop_timer;
	int64_t clock_gap;   /* wall - monotonic, seconds, at the last look */
	int64_t clock_least; /* the least of this life */

	/* slot.c, msg.c */
	struct qmgr_index index;
	struct qmgr_msg *lists[QL_N];
	size_t memory; /* of what is loaded */

	/* park.c */
	struct qmgr_fetch *gathering, *fetches;
	uint32_t nfetch, nloading;
	struct qmgr_show *shows;

	/* lane.c */
	struct qmgr_dock **docks, *open_docks;
	struct qmgr_lanes lanes;
	uint32_t ndock;
	uint64_t reserved; /* recipients that all lanes have ahead */
	bool lane_turn;
	struct watch *lane_timer;

	/* active.c */
	uint32_t *heap; /* of slots */
	uint32_t nheap, heap_cap;
	struct watch *due;
	uint32_t ngoing;
	bool first_turn;
	uint64_t nrouting;

	/* intake.c */
	struct qmgr_feeder *feeders;
	bool withheld;
	struct qmgr_list doubts;

	/* store.c */
	struct mod_inst *store;
	const struct meta1_queue_ops *qops;
	uint64_t recording; /* outcomes under way */
	struct qmgr_list unrecorded;
	struct watch *record_timer;

	/* route.c */
	struct qmgr_route *routes, *route_lru, *route_ask;
	uint64_t route_epoch;

	struct qmgr_sched sched;

	/* dead.c */
	struct watch *dead_timer;
	struct work_owner dead_work;
	bool dead_writing;
	int64_t dead_said;

	/* dispatch.c */
	struct watch *rest; /* a rate lets the next go */
	struct qmgr_courier *couriers;
	uint32_t ncourier;
	struct qmgr_delivery *deliveries; /* by number */
	uint64_t delivery_seq;
	uint32_t ndelivery;

	/* bounce.c */
	struct qmgr_report *reports, *report_retries, *writing;
	uint32_t nwriting;
	struct watch *report_timer;
	struct work_owner report_work;

	/* import.c */
	struct qmgr_import *imports;
	uint32_t nimporting; /* commits under way */

	/* control.c */
	bool flushing;
	uint64_t flush_seq, flush_end;
};
/* NULL: it is not loaded. */
static inline struct qmgr_msg *qmgr_msg_at(const struct qmgr *q, uint32_t slot)
{
	const struct qmgr_slot *s = slot ? qmgr_slot_at(&q->index, slot) : NULL;

	return s && s->loaded ? s->at.msg : NULL;
}
static inline void qmgr_kick(struct qmgr *q)
{
	loop_defer(q->loop, &q->pump);
}
extern const struct role qmgr_role;
void qmgr_free(struct qmgr *);	     /* after role_main() */
void qmgr_stop_check(struct qmgr *); /* says role_stopped() when nothing is under way */

#endif
