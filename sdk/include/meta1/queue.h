/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * meta1/queue.h -- keeps contents and envelopes until every recipient is done.
 *
 * Three faces of one store, each in the role that owns it:
 *   writer  (smtps; qmgr for its own reports)  next_id begin write commit abort
 *   reader  (smtpc; qmgr for its reports)      load unload
 *   manager (qmgr)                             manage notice outcome attach
 *
 * The way of a message: begin() at 354, write() the content, commit(); when the
 * commit's request finishes OK, content and envelope are on stable storage and
 * the reply's val[0] is the notice: opaque bytes (at most META1_NOTICE_MAX) that
 * smtps passes to qmgr, in the order of the commits, and qmgr to notice() here.
 * The manager's entry() event is called once for each message, in commit order:
 * straight from the notice when nothing was missed, else from what the store
 * reads back. So a lost notice, or a crash of any process, loses nothing.
 *
 * Envelopes belong to the store. The manager may forget one and keep only the
 * message's key, 64 bits; fetch() tells it again, by loaded(), with what outcome()
 * said meanwhile. A key is the store's and good for this life of the process; it stays
 * when the store moves a message (moved() tells the new reference).
 *
 * An outcome() is on stable storage when its request finishes (batched; within
 * a second). When all recipients of a message are final the store frees its
 * space; space that another process owns is announced by the space() event, and
 * reclaim() in the owner recycles it.
 *
 * Content is in DATA form: CRLF, dot-stuffed, ends with CRLF or is empty.
 *
 * All functions are called on the loop thread of their role, but check(), which a tool calls where
 * there is no loop to care for. Events come on the loop thread, from a later turn or, of entry(),
 * within notice(). Envelopes, entries and outcomes are good during the call, in both directions:
 * who needs more copies. Lines of text (reason, by, client, hold) have no control characters.
 */
#ifndef META1_QUEUE_H
#define META1_QUEUE_H
#include <meta1/module.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

#define META1_NOTICE_MAX 128
#define META1_REF_MAX	 64
#define META1_ID_MAX	 32 /* with NUL */
#define META1_FETCH_MAX	 512

struct meta1_qmsg; /* a message being written; the store's until commit() or abort() */

/* Opaque handle of a stored content; copied freely, sent between processes. For ever as it is. */
struct meta1_ref {
	uint32_t len;
	uint8_t b[META1_REF_MAX];
};

/* Of a recipient that an alias stands for. */
enum meta1_rflag {
	META1_RF_EXPANDED = 1, /* one of several; its notify has no META1_N_SUCCESS any more */
	META1_RF_LIST = 2,     /* of a list with an owner, who is its sender */
	/* The sender wanted to know of success: it is told once, about the alias, that it was
	 * expanded (RFC 3461 5.2.7.3), or, of a list, delivered to it. */
	META1_RF_TELL = 4
};

enum meta1_rstate { /* of a recipient; WAITING only is not final */
	META1_R_WAITING,
	META1_R_DELIVERED,
	META1_R_BOUNCED, /* a report was written */
	META1_R_FAILED,	 /* failed, and no report is due (null sender) */
	META1_R_DELETED	 /* by an admin */
};

struct meta1_qrcpt {
	struct meta1_buf addr; /* without angle brackets */
	/* What the journal knew; zero for a new message. */
	uint32_t state; /* enum meta1_rstate */
	uint32_t tries;
	int64_t next_try;	 /* wall clock, seconds; 0: at once */
	struct meta1_buf reason; /* last reply or error, one line */
	/* Of the envelope again: RFC 3461, as in struct meta1_rcpt. */
	struct meta1_buf orcpt;
	uint32_t notify;
	uint32_t flags;		 /* enum meta1_rflag */
	struct meta1_buf sender; /* of this recipient, instead of env->from; len 0: that one */
	struct meta1_buf alias;	 /* with META1_RF_TELL: the address that was expanded */
};

struct meta1_env {
	uint32_t size, nrcpt, sizeof_rcpt;
	uint32_t flags;		 /* enum meta1_mailflag */
	struct meta1_buf from;	 /* len 0: the null sender */
	struct meta1_buf client; /* "[192.0.2.1] name", for show and reports */
	const struct meta1_qrcpt *rcpt;
	int64_t time;		/* accepted, wall clock seconds */
	uint64_t bytes;		/* content without stuffing, RFC 1870 */
	struct meta1_buf envid; /* RFC 3461, as in struct meta1_mail */
	struct meta1_buf hold;	/* with META1_M_HOLD: why, for people; one line */
};

/* A message as the manager sees it. */
struct meta1_qentry {
	uint32_t size, pad;
	const char *id;
	struct meta1_ref ref;
	uint64_t bytes_stored; /* content as stored */
	const struct meta1_env *env;
	uint64_t key; /* names the message for outcome() and fetch() */
};

/* Events to the manager, on the loop thread. */
struct meta1_qevents {
	uint32_t size, pad;
	/* A message to take care of; exactly once in a life of the role. In commit order of its
	 * writer, but that what waited before a start may come beside new mail. */
	void (*entry)(void *arg, const struct meta1_qentry *);
	/* Space of another writer is free: tell it (reclaim). Repeated after attach(). */
	void (*space)(void *arg, uint32_t writer, uint64_t unit);
	/* A record could not be read: quarantined and named in text. */
	void (*damage)(void *arg, const char *text);
	/* Of fetch(). why says what cannot be read (damage() was told too): then entry has only
	 * what is known without it, the key, as many recipients as there were, and their states; id
	 * "" and no addresses; or it is NULL. Both NULL: all of it is final, or it never was. */
	void (*loaded)(void *arg, uint64_t key, const struct meta1_qentry *entry, const char *why);
	/* The content stands elsewhere now, to waste less space; the old reference is good no
	 * more. false: somebody reads by it just now; the store asks again later. NULL: nothing is
	 * ever moved. */
	bool (*moved)(void *arg, const char *id, uint64_t key, const struct meta1_ref *ref);
	/* How long history must tell of final outcomes, in seconds, and how large it may be. */
	int64_t history_time, history_size;
};

/* The outcome of one try for one recipient. */
struct meta1_qoutcome {
	uint32_t size, rcpt; /* index into env->rcpt */
	const char *id;
	uint64_t key;
	uint32_t state, tries; /* enum meta1_rstate */
	int64_t next_try;      /* WAITING: when, wall clock seconds */
	struct meta1_buf reason;
	const char *by; /* who: host and reply, id of the report, name of the admin */
	/* For the history of a final one: who it was for and from, its size (env->bytes). */
	struct meta1_buf addr, from;
	uint64_t bytes;
};

/* A content opened for reading: the store's, from load() to unload(). */
struct meta1_content {
	uint32_t size, nextent;
	const struct meta1_extent *extent;
	uint64_t bytes_stored;
	void *store; /* the store's own */
};

/* What check() tells of one recipient: what waits, and what is done as far as the history goes. */
struct meta1_qfate {
	uint32_t size, state; /* enum meta1_rstate */
	const char *id;
	struct meta1_buf addr, from;
	struct meta1_buf by;	/* who: as in meta1_qoutcome; WAITING: the last reason */
	uint64_t bytes;		/* of the content, without stuffing */
	int64_t time, accepted; /* of the outcome, or next try; 0: unknown */
	uint32_t tries, pad;
};
enum meta1_qfinding {
	META1_QF_NOTE,	    /* worth a line, nothing is wrong */
	META1_QF_LOST,	    /* a message that was accepted and is not accounted for */
	META1_QF_DAMAGE,    /* a record or content that cannot be read */
	META1_QF_ORPHAN,    /* space that nothing needs */
	META1_QF_QUARANTINE /* damaged bytes that were kept */
};
struct meta1_qcheck {
	uint32_t size, pad;
	void (*fate)(void *arg, const struct meta1_qfate *);
	void (*found)(void *arg, enum meta1_qfinding, const char *text);
	/* Every message that waits, with its content; both are good for the call. false: that is
	 * enough. When it is set the store must not be in use (else <0), and cannot be taken
	 * meanwhile. What cannot be read is only found(). */
	bool (*message)(void *arg, const struct meta1_qentry *, const struct meta1_content *);
};

struct meta1_qops_writer_events {
	uint32_t size, pad;
	/* write() may go on after it said META1_MORE; or the message failed (commit tells). */
	void (*ready)(void *arg);
};

/* props of a store */
enum meta1_qprop {
	META1_Q_PRIVATE = 1 /* contents live in the writer's memory: all faces are one instance */
};

struct meta1_queue_ops {
	uint32_t size, props; /* enum meta1_qprop */
	const char *format;   /* "log/2": exchanged between the roles; a difference is refused */

	/* writer */
	uint32_t (*writer)(void *inst);	 /* this process's number as a writer */
	uint64_t (*next_id)(void *inst); /* never repeats, also after a crash; 0: none now */
	/* TEMPFAIL: no space or no memory; err says which. id: the name to store it under.
	 * Between begin and commit/abort a batch may be held open for this message. */
	enum meta1_status (*begin)(void *inst, const char *id,
	    const struct meta1_qops_writer_events *, void *arg, struct meta1_qmsg **,
	    struct meta1_err *);
	/* Takes all bytes. OK; MORE: pause until ready(); TEMPFAIL: the message is lost, abort. */
	enum meta1_status (*write)(struct meta1_qmsg *, const void *, size_t);
	/* Bytes taken so far. */
	uint64_t (*written)(struct meta1_qmsg *);
	/* Takes the message. OK: on stable storage, val[0] = notice; TEMPFAIL: text says why,
	 * nothing is kept (452 4.3.1). */
	void (*commit)(struct meta1_qmsg **, struct meta1_req *, const struct meta1_env *);
	void (*abort)(struct meta1_qmsg **);
	/* The newest durable end, as a notice without a message: sent at connect and after
	 * notices were dropped. Returns its length (0: nothing was ever written). */
	size_t (*tail)(void *inst, uint8_t out[META1_NOTICE_MAX]);
	void (*reclaim)(void *inst, uint64_t unit); /* a unit of ours is free */

	/* reader: OK with reply->ext = struct meta1_content *, valid until unload */
	void (*load)(void *inst, struct meta1_req *, const struct meta1_ref *);
	void (*unload)(void *inst, struct meta1_content **);

	/* manager */
	/* Recover: entry() for all that is queued. Finished when all of it was told; notices
	 * may come meanwhile. */
	void (*manage)(void *inst, struct meta1_req *, const struct meta1_qevents *, void *arg);
	/* id and env belong to the message of the notice; env NULL: a tail. */
	void (*notice)(
	    void *inst, struct meta1_buf notice, const char *id, const struct meta1_env *);
	void (*outcome)(void *inst, struct meta1_req *, const struct meta1_qoutcome *);
	/* A writer connected: space() is told again for what it still has to reclaim. */
	void (*attach)(void *inst, uint32_t writer);

	void (*cancel)(void *inst, struct meta1_req *);

	/* manager again: a connection of that writer ended; it may be dead, with notices unsent.
	 * NULL: not needed. */
	void (*detach)(void *inst, uint32_t writer);
	/* Envelopes once more: loaded() for each of these keys, in any order, then the request
	 * is finished OK. TEMPFAIL: those not told are to be asked for again. At most
	 * META1_FETCH_MAX keys, which are copied. */
	void (*fetch)(void *inst, struct meta1_req *, const uint64_t *key, uint32_t n);

	/* tool: reads everything, contents too, changes nothing, and blocks. <0: err. 1: the store
	 * is in use, so what is found may be just what changed meanwhile: ask again. */
	int (*check)(void *inst, const struct meta1_qcheck *, void *arg, struct meta1_err *);
};

#ifdef __cplusplus
}
#endif

#endif
