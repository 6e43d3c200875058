/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * qmgr.h -- the queue manager, told in the order a message meets it.
 *
 * A stored message comes in (intake.c, store.c), is kept in memory as envelope (msg.c), its
 * recipients become active within a bound (active.c), get a destination from smar
 * (route.c), wait there for their turn (sched.c), are handed to an smtpc (dispatch.c), and
 * end as a recorded outcome (rules.c, outcome.c) or in a report to the sender (bounce.c,
 * dsn.c). control.c shows and changes all that. Everything runs on the loop thread.
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
	size_t memory; /* bytes of envelopes beyond which no intake is granted */
};

/* ---- a recipient and its message -------------------------------------------------- */

/* A place in one list at a time: of a route, of a destination, of what is to be recorded. */
struct qmgr_item {
	struct qmgr_item *next;
	const void *group; /* items of one group travel together: the message */
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
	QP_INTENT, /* failed; that a report is due is being recorded */
	QP_REPORT, /* failed; recorded, the report is not yet written */
	QP_DOUBT,  /* was so at the last end; known when recovery is through */
	QP_FINAL,  /* state is final and being recorded */
	QP_DONE	   /* recorded */
};

/* What a recipient in QP_WAIT waits for. */
enum qmgr_cause { QW_RETRY, QW_DEAD, QW_RATE };

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
	int64_t due;		    /* monotonic ms, of QP_WAIT */
	uint32_t report;	    /* number of the report it is in, 0: none */
	uint32_t index : 24, again : 1, expired : 1;
	uint32_t notify : 4; /* enum meta1_notify; 0: the sender did not say */
	uint32_t orcpt : 1;  /* qmgr_msg_orcpt() has it */
	uint16_t tries;
	uint8_t state; /* enum meta1_rstate */
	uint8_t phase; /* enum qmgr_phase */
	uint8_t cause; /* enum qmgr_cause */
};

struct qmgr_msg { /* one allocation with its recipients and strings */
	UT_hash_handle hh;
	struct qmgr_msg *next, *prev;	/* all, in order of seq */
	struct qmgr_msg *rnext, *rprev; /* ready to become active, or to be freed */
	struct qmgr_page *page;
	struct qmgr_report *report; /* that still gathers failures, or NULL */
	uint64_t seq, bytes, stored;
	int64_t time; /* accepted, wall clock seconds, for show */
	int64_t born; /* the same on the monotonic clock, so that no jump ages a mail */
	int64_t due;  /* earliest of its waiting recipients */
	struct meta1_ref ref;
	uint64_t key; /* the store's */
	size_t memory;
	const char *from, *client;
	const char *envid; /* as said, or "" */
	uint32_t flags, nrcpt;
	uint32_t nopen;	  /* recipients not QP_DONE */
	uint32_t nactive; /* in QP_ROUTE, QP_QUEUED, QP_SENT */
	uint32_t cursor;  /* next to look at while on a ready list */
	uint32_t heap;	  /* place in the heap of due times, 0: none */
	uint8_t ready;	  /* 0: on no ready list, else 1 + number of the list */
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

/* Messages in memory. */
struct qmgr_msg *qmgr_msg_new(struct qmgr *, const struct meta1_qentry *);
struct qmgr_msg *qmgr_msg_find(struct qmgr *, const char *id, size_t len);
/* The first with a number of at least seq, or NULL. */
struct qmgr_msg *qmgr_msg_from(struct qmgr *, uint64_t seq);
/* Frees it at the end of the turn if all of it is recorded. */
void qmgr_msg_check(struct qmgr *, struct qmgr_msg *);
void qmgr_msg_reap(struct qmgr *);
void qmgr_msg_free_all(struct qmgr *);
static inline struct qmgr_msg *qmgr_msg_of(const struct qmgr_rcpt *r)
{
	return (struct qmgr_msg *)r->item.group;
}

/* ---- intake: from smtps to the store's events ---------------------------------------- */

#define QMGR_CREDITS	   1000		/* transactions granted to one smtps */
#define QMGR_MEMORY	   (256u << 20) /* of envelopes, before intake is withheld */
#define QMGR_CREDIT_MEMORY (64u << 10)	/* near the bound a credit is granted for so much */

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
void qmgr_store_deferred(struct qmgr *, struct qmgr_rcpt *, int64_t next_try_wall);
/* An admin deleted it while it is in some list: recorded at once, and once more when it has
 * left that list. */
void qmgr_store_deleted(struct qmgr *, struct qmgr_rcpt *);
/* Reader and writer for reports. */
bool qmgr_store_load(struct qmgr *, const struct meta1_ref *, mod_done_fn, void *arg);
void qmgr_store_unload(struct qmgr *, struct meta1_content *);
bool qmgr_store_begin(struct qmgr *, const char *id, struct meta1_qmsg **, struct meta1_err *);
bool qmgr_store_write(struct qmgr *, struct meta1_qmsg *, const void *, size_t);
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
	struct qmgr_dest *dest; /* with sender the key */
	char sender[];
};
struct qmgr_dest {
	UT_hash_handle hh;
	struct qmgr_dest *next, *prev; /* round of destinations that may send */
	struct qmgr_flow *turn;	       /* round of senders */
	uint32_t queued, sent;	       /* recipients, waiting here and at smtpc */
	uint32_t active, limit;	       /* deliveries */
	uint32_t refs;		       /* of routes */
	bool ready;
	int64_t dead_until, dead_delay; /* ms; 0: alive */
	int64_t last_ok, shrunk;	/* ms */
	struct qmgr_bounds own;
	struct qmgr_dest *rnext, *rprev; /* resting: its rate lets nothing go */
	int64_t rest_until;		 /* ms; 0: it does not rest */
	int64_t free_us;		 /* when the next may go, by its rate */
	int64_t late_us;		 /* until when those that were sent away have places */
	/* Of route.c and dispatch.c, not of the schedule. */
	struct qmgr_hops *hops;
	struct qmgr_reason *why; /* last failure of its hosts */
	char *bounds;		 /* text of the row, or NULL */
	char key[];
};
struct qmgr_sched {
	struct qmgr_dest *dests, *ready, *resting;
	int64_t rest_next; /* ms; the earliest of those that rest */
	bool changed;	   /* which destinations are dead, since somebody set this to false */
	struct qmgr_flow *flows;
	struct qmgr_group *groups;
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
struct qmgr_item *qmgr_sched_take(struct qmgr_sched *, struct qmgr_dest *);
void qmgr_sched_tidy(struct qmgr_sched *, int64_t now); /* forgets idle ones; once a minute */

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

/* ---- bounce: reports to the sender ------------------------------------------------------ */

#define QMGR_REPORT_HOLD 1000	     /* ms in which failures of one message are gathered */
#define QMGR_REPORTS_MAX 32	     /* written at a time */
#define QMGR_HEADERS_MAX (64u << 10) /* bytes of returned headers */

void qmgr_bounce_add(struct qmgr *, struct qmgr_rcpt *);
void qmgr_bounce_recorded(struct qmgr *, struct qmgr_rcpt *); /* the intent is */
void qmgr_bounce_check(struct qmgr *, struct qmgr_msg *);     /* may its report be written? */
bool qmgr_bounce_reads(const struct qmgr *, const struct qmgr_msg *); /* its headers, just now */
void qmgr_bounce_id(const struct qmgr_msg *, uint32_t number, char out[META1_ID_MAX]);
/* The number of the report that a recorded reason tells of; *reason is moved behind it. */
uint32_t qmgr_bounce_intent(struct meta1_buf *reason);
void qmgr_bounce_free_all(struct qmgr *);

struct qmgr_dsn_rcpt {
	const char *addr;
	const struct qmgr_reason *reason; /* or NULL */
	bool expired;
};
struct qmgr_dsn {
	const char *hostname, *id, *parent, *sender;
	int64_t now, arrival; /* wall clock */
	int64_t lifetime;     /* ms a mail may stay */
	const struct qmgr_dsn_rcpt *rcpt;
	uint32_t nrcpt;
	struct meta1_buf headers; /* in DATA form; may be cut */
	/* filled */
	uint64_t bytes; /* without stuffing */
	bool stuffed;
};
/* The whole report in DATA form. Pure. */
void qmgr_dsn_write(struct evbuffer *, struct qmgr_dsn *);

/* ---- control: what meta1ctl asks --------------------------------------------------------- */

void qmgr_control_add(struct role *, struct ctl *);
bool qmgr_control_pump(struct qmgr *); /* goes on with a flush of everything; true: more */

/* ---- the role ---------------------------------------------------------------------------- */

struct qmgr {
	struct role role; /* first: what role.c hands to handlers is this struct */
	struct loop *loop;
	struct qmgr_limits lim;
	bool going, stopping, stop_late, draining, ended, recovered;
	struct task pump; /* everything that can be done now */
	struct watch *minute, *stop_timer;
	int64_t clock_gap; /* wall - monotonic, seconds, at the last look */

	/* msg.c */
	struct qmgr_msg *by_id, *all, *dying;
	struct qmgr_page *pages, *page_list;
	uint64_t seq, nmsg;
	size_t memory;

	/* active.c */
	struct qmgr_msg **heap;
	uint32_t nheap, heap_cap;
	struct watch *due;
	struct qmgr_msg *ready[2]; /* 0: first try, 1: retries */
	unsigned ready_turn;
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

	/* control.c */
	bool flushing;
	uint64_t flush_seq, flush_end;
};
static inline void qmgr_kick(struct qmgr *q)
{
	loop_defer(q->loop, &q->pump);
}
extern const struct role qmgr_role;
void qmgr_free(struct qmgr *);	     /* after role_main() */
void qmgr_stop_check(struct qmgr *); /* says role_stopped() when nothing is under way */

#endif
