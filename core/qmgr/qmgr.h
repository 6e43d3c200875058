/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * qmgr.h -- the queue manager, told in the order a message meets it.
 *
 * A stored message comes in (intake.c, store.c), gets its place in the index (slot.c) and waits
 * for its turn in a lane of its sender (lane.c); when it comes, its envelope is read (park.c,
 * msg.c) if it is not in memory, its recipients become active within a bound (active.c), get a
 * destination from smar (route.c), wait there for their turn (sched.c), are handed to an smtpc
 * (dispatch.c), and end as a recorded outcome (rules.c, outcome.c), perhaps with a report to the
 * sender (bounce.c, backoff.c, report.c, dsn.c, judge.c; verp.c). control.c shows and changes all
 * that. Everything runs on the loop thread.
 */
#ifndef META1_QMGR_H
#define META1_QMGR_H
#include "ipc/chan.h"
#include "lib/conn.h"
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
	bool dsn_filters;
	size_t memory; /* bytes of envelopes and index beyond which no intake is granted */
	size_t loaded; /* bytes of envelopes that wait: beyond, they are unloaded */
};

/* ---- msg, mark: a recipient and its message ---------------------------------------------- */

#include "qmgr/msg.h"

/* ---- slot, park, lane: the index of all that is queued ----------------------------------- */

#include "qmgr/index.h"

/* ---- intake: from smtps to the store's events ---------------------------------------- */

#define QMGR_CREDITS	   1000	       /* transactions granted to one smtps */
#define QMGR_CREDIT_MEMORY (64u << 10) /* near the bound a credit is granted for so much */

struct qmgr_feeder { /* one connected smtps */
	struct qmgr_feeder *next, *prev;
	struct chan *chan;
	uint32_t writer;
	uint32_t credits; /* granted, not used */
	bool judges;	  /* its filters judge reports */
};
void qmgr_intake_up(struct qmgr *, struct chan *, const struct p_hello *);
void qmgr_intake_down(struct qmgr *, struct chan *);
void qmgr_intake_free_all(struct qmgr *);
void qmgr_intake_queued(struct chan *, uint32_t req, const void *msg, void *arg);
void qmgr_intake_tail(struct chan *, uint32_t req, const void *msg, void *arg);
void qmgr_intake_back(struct chan *, uint32_t req, const void *msg, void *arg);
void qmgr_intake_judges(struct chan *, uint32_t req, const void *msg, void *arg);
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
/* Somebody waits until all is recorded that is said between these two: then done(), at once or
 * later; failed: so many are not recorded (yet). One at a time. */
struct qmgr_records {
	uint32_t open, failed;
	void (*done)(struct qmgr *, struct qmgr_records *);
};
void qmgr_store_watch(struct qmgr *, struct qmgr_records *);
void qmgr_store_watched(struct qmgr *);
/* Records a try that changed nothing; not repeated when it fails. */
void qmgr_store_deferred(struct qmgr *, struct qmgr_rcpt *);
/* The same for who must know when it is durable. false: not asked, then() is not called. */
bool qmgr_store_noted(
    struct qmgr *, struct qmgr_rcpt *, void (*then)(void *arg, bool kept), void *arg);
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
	size_t bytes;
	const char *transport;
	/* What smtpc has to know of them, as in ROUTES. */
	struct proto_strs hop, conf, need;
	struct proto_nums conf_of, secure, need_of;
	uint64_t conf_rcpt;
};
/* hops.c: the destination of an answer, with a reference; line: behind its name, of mail that says
 * otherwise what TLS must achieve, or NULL. */
struct qmgr_dest *qmgr_hops_dest(struct qmgr *, const struct p_routes *, const char *line);
void qmgr_hops_let_go(struct qmgr_dest *); /* what a destination carries */
size_t qmgr_hops_memory(void);		   /* of all hops, with what TLS must achieve there */
void qmgr_route_find(struct qmgr *, struct qmgr_rcpt *);
struct qmgr_dest *qmgr_route_dest(struct qmgr *, const struct qmgr_rcpt *); /* or NULL */
void qmgr_route_anew(struct qmgr *, const struct qmgr_rcpt *); /* it is asked next time */
void qmgr_route_pump(struct qmgr *); /* asks what could not be asked yet */
void qmgr_route_generation(struct chan *, uint32_t req, const void *msg, void *arg);
/* smar is there, perhaps with other maps: everything known is to be asked again, when it has said
 * (GENERATION) whether routes depend on the sender. */
void qmgr_route_up(struct qmgr *);
void qmgr_route_free_all(struct qmgr *);

/* ---- bounds, sched, turn, dead: destinations and whose turn it is there -------------------- */

#include "qmgr/sched.h"

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
	struct meta1_buf dsn, text, host, tls;
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
void qmgr_content_drop(struct qmgr *);

/* ---- the role ---------------------------------------------------------------------------- */

struct qmgr {
	struct role role; /* first: what role.c hands to handlers is this struct */
	struct loop *loop;
	struct qmgr_limits lim;
	bool going, stopping, stop_late, draining, ended, recovered;
	struct task pump; /* everything that can be done now */
	struct watch *minute, *stop_timer;
	int64_t began;	     /* ms */
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
	uint32_t ndock, dock_free; /* dock_free: none before it is free */
	uint64_t reserved;	   /* recipients that all lanes have ahead */
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
	struct qmgr_records *watching;
	struct qmgr_list unrecorded;
	struct watch *record_timer;

	/* route.c */
	struct qmgr_route *routes, *route_lru, *route_ask;
	uint64_t route_epoch;
	bool route_by_sender; /* routes depend on who sends */
	bool route_by_rcpt;   /* and on who gets it, not on the domain alone */
	bool route_told;      /* which smar has said on this connection */

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
	struct qmgr_report *reports, *writing;
	struct qmgr_report *reports_by_id; /* those that gather */
	uint32_t nwriting;
	struct qmgr_backoff backoff;
	struct qmgr_judge *judging;
	struct watch *report_timer;
	struct work_owner report_work;

	/* import.c */
	struct qmgr_import *imports;
	struct qmgr_kept *kept; /* a content of which more is asked for, soon; or NULL */
	uint32_t nimporting;	/* commits under way */

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
