/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * msg.h -- the part of qmgr.h that is about a recipient and its message (msg.c), why it is as it
 * is, and what an admin said about it (mark.c). Included by qmgr.h, whose types it uses, and by
 * nobody else.
 */
#ifndef META1_QMGR_MSG_H
#define META1_QMGR_MSG_H

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
	QP_DOUBT,  /* was so, or deleted, at the last end; known when recovery is through */
	QP_WARNED, /* the sender was told that it waits, or of its alias; recorded, then QP_WAIT */
	QP_FINAL,  /* state is final and being recorded */
	QP_DONE	   /* recorded */
};

/* What a recipient in QP_WAIT waits for. */
enum qmgr_cause { QW_RETRY, QW_DEAD, QW_RATE, QW_FULL };

/* What a report says of a recipient: Action of RFC 3464. */
enum qmgr_action { QA_FAILED, QA_DELAYED, QA_DELIVERED, QA_RELAYED, QA_EXPANDED };

/* Why something is as it is: the last reply or error. Shared, read only. */
struct qmgr_reason {
	uint32_t refs, size;
	uint16_t smtp;
	char dsn[12];
	const char *host; /* who said it, or "" */
	const char *text; /* as said */
	const char *line; /* "host said: 550 5.1.1 text", for show, log and journal */
	const char *tls;  /* of the session: required and achieved, as in DELIVERED; or "" */
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
	uint32_t told : 1;   /* the sender knows that its alias was expanded */
	uint32_t action : 3; /* enum qmgr_action, of its report */
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

enum qmgr_lists {  /* where a loaded message is */
	QL_NONE,   /* some of it is active */
	QL_GOING,  /* being looked at: its recipients become active */
	QL_FIRST,  /* the same, for the first time, and nothing of its sender was before */
	QL_IDLE,   /* all of it waits: may be unloaded */
	QL_UNREAD, /* a stub of what cannot be read, while it is shown */
	QL_DYING,  /* all is recorded: freed at the end of the turn */
	QL_N
};

struct qmgr_msg {			/* one allocation with its recipients and strings */
	struct qmgr_msg *rnext, *rprev; /* in its list */
	struct qmgr_report *report;	/* those that still gather, or NULL */
	uint64_t seq, bytes, stored;
	int64_t time;	    /* accepted, wall clock seconds, for show */
	int64_t born;	    /* the same on the monotonic clock, so that no jump ages a mail */
	int64_t warn_after; /* monotonic ms: a warning was given up, the next is not begun before */
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
	bool dsn;    /* a recipient has notify or orcpt */
	bool unread; /* its envelope cannot be read: no addresses, perhaps no id; never tried */
	char id[META1_ID_MAX];
	struct qmgr_rcpt rcpt[];
};

struct qmgr_reason *qmgr_reason_new(struct meta1_buf host, unsigned smtp, struct meta1_buf dsn,
    struct meta1_buf text, struct meta1_buf tls);
/* As the store keeps it of who waits: "tls=...; " before the line; or "". */
void qmgr_reason_text(const struct qmgr_reason *, char *out, size_t size);
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
#define QMGR_VIA_MAX	255
#define QMGR_UID_FILTER UINT32_MAX /* held from the start, by a policy filter */
bool qmgr_mark_held(const struct qmgr_rcpt *);
bool qmgr_mark_deleted(const struct qmgr_rcpt *);
uint32_t qmgr_mark_uid(const struct qmgr_rcpt *);
const char *qmgr_mark_via(const struct qmgr_rcpt *); /* next hops, or "" */
void qmgr_mark_hold(struct qmgr_rcpt *, bool held, uint32_t uid);
/* In a delivery, so that its place in the store must not come free yet. */
void qmgr_mark_delete(struct qmgr_rcpt *, uint32_t uid);
void qmgr_mark_way(struct qmgr_rcpt *, const char *via);
bool qmgr_mark_way_ok(const char *via);
void qmgr_mark_note(const struct qmgr_rcpt *, char *out, size_t size);
void qmgr_mark_read(struct qmgr_rcpt *, struct meta1_buf *why); /* which is moved behind it */
void qmgr_mark_drop(struct qmgr_rcpt *);
size_t qmgr_mark_memory(void); /* of all */

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

#endif
