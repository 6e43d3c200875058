/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * report.h -- the part of qmgr.h that is about reports and sender addresses: bounce.c decides what
 * is reported and when, backoff.c when again, report.c and dsn.c write it, judge.c shows it to
 * filters, verp.c makes the address of each recipient.
 * Included by qmgr.h, whose types it uses, and by nobody else.
 */
#ifndef META1_QMGR_REPORT_H
#define META1_QMGR_REPORT_H

/* ---- bounce: reports to the sender ------------------------------------------------------ */

#define QMGR_REPORT_HOLD 1000	     /* ms in which failures of one message are gathered */
#define QMGR_REPORTS_MAX 32	     /* written at a time */
#define QMGR_HEADERS_MAX (64u << 10) /* bytes of returned headers */

/* What became of a recipient is reported if anybody wants to know: true, and it is recorded as
 * final when the report is written. Else nothing was done. */
bool qmgr_bounce_report(struct qmgr *, struct qmgr_rcpt *, enum qmgr_action);
/* It waits (QP_WAIT): is it time to tell the sender? true: it is recorded as waiting, by this. */
bool qmgr_bounce_late(struct qmgr *, struct qmgr_rcpt *);
/* An alias stands for it, and the sender wants to know: it goes on when that is told. */
void qmgr_bounce_expanded(struct qmgr *, struct qmgr_rcpt *);
void qmgr_bounce_recorded(struct qmgr *, struct qmgr_rcpt *); /* the intent is */
void qmgr_bounce_check(struct qmgr *, struct qmgr_msg *);     /* may its report be written? */
bool qmgr_bounce_reads(const struct qmgr *, const struct qmgr_msg *); /* its content, just now */
/* Recovery is through: what was to be reported when we ended? */
void qmgr_bounce_doubt(struct qmgr *, struct qmgr_rcpt *);
void qmgr_bounce_id(const struct qmgr_msg *, uint32_t number, char out[META1_ID_MAX]);
/* What is recorded of reports before the reason, "report=3 delayed; ", or "". */
void qmgr_note_put(const struct qmgr_rcpt *, char *out, size_t size);
/* Takes that from a recorded reason, which is moved behind it. */
void qmgr_note_take(struct qmgr_rcpt *, struct meta1_buf *reason);
void qmgr_bounce_free_all(struct qmgr *);

/* Who failed: it alone, perhaps by the word of a filter, which works then; or what all reports
 * need: filters, or something else. */
enum qmgr_blame { QB_REPORT, QB_LATER, QB_FILTERS, QB_ALL };

struct qmgr_report {			   /* gathers recipients, then is written */
	struct qmgr_report *next, *prev;   /* of those that gather, wait for a retry, are written */
	struct qmgr_report *mnext, *mprev; /* of those of its message that gather */
	UT_hash_handle hh;		   /* of all that gather, by id */
	struct qmgr *q;
	struct qmgr_msg *msg;
	enum qmgr_action kind; /* QA_RELAYED: delivered and relayed */
	char *to;
	uint32_t number;
	uint32_t begin, end;  /* indexes among which its recipients are: of VERP, one */
	uint32_t unrecorded;  /* recipients whose intent is not on disk yet */
	int64_t close_at;     /* ms */
	bool retry;	      /* it waits in backoff.c, or did */
	uint8_t level;	      /* its list there */
	uint32_t failures;    /* to write it */
	int64_t judged_since; /* ms: it waits for filters since then; 0: it does not */
	bool unjudged;	      /* went out without them: its time was over */
	char id[META1_ID_MAX];
	struct qmgr_draft *draft; /* while it is written */
};
static inline bool qmgr_report_has(const struct qmgr_report *rep, const struct qmgr_rcpt *r)
{
	return r->report == rep->number && r->phase == QP_REPORT;
}
/* report.c: reads the message, writes the text, commits it; then one of the two below. */
void qmgr_report_write(struct qmgr_report *);
/* On stable storage: record what depends on it, then call told() and let it go. */
void qmgr_bounce_written(struct qmgr_report *, void (*told)(struct qmgr_report *, void *), void *);
void qmgr_bounce_failed(struct qmgr_report *, enum qmgr_blame, const char *why);
void qmgr_bounce_again(struct qmgr *);		/* what failed is tried now: who was away is back */
void qmgr_bounce_dropped(struct qmgr_report *); /* there will be none, by a filter's word */

/* judge.c: what the filters of smtps say of it. */
enum qmgr_judgement {
	QJ_TAKEN,
	QJ_DROPPED,
	QJ_LATER, /* a filter does not want it now */
	QJ_FAILED /* none could be asked, or none that works */
};
struct qmgr_judged {
	enum qmgr_judgement what;
	const char *why; /* all but TAKEN */
	/* TAKEN: what is to be queued */
	struct evbuffer *text; /* DATA form */
	const struct meta1_buf *rcpt;
	uint32_t nrcpt, flags;
	uint64_t bytes;
	const char *hold; /* NULL: not held */
};
typedef void (*qmgr_judged_fn)(struct qmgr_report *, const struct qmgr_judged *);
/* env and text stay the caller's until fn, which comes later. false: no smtps can be asked. */
bool qmgr_judge_start(
    struct qmgr_report *, const struct meta1_env *, struct evbuffer *text, qmgr_judged_fn);
bool qmgr_judge_has(const struct qmgr *, const struct qmgr_msg *); /* a report of it, just now */
void qmgr_judge_stop(struct qmgr *); /* nobody waits for filters any more */
void qmgr_judge_free_all(struct qmgr *);

/* ---- backoff: when one that failed is tried again ----------------------------------------- */

#define QMGR_BACKOFF_ROW    5			/* failures in a row that let all wait */
#define QMGR_BACKOFF_MIN    30000		/* ms after its first failure; doubles */
#define QMGR_BACKOFF_MAX    900000		/* at most */
#define QMGR_BACKOFF_LEVELS 7			/* waits without a try; 30 s, 1, 2, 4, 8, 15 min */
#define QMGR_BACKOFF_LATE   QMGR_BACKOFF_LEVELS /* the list behind: goes without filters */

struct qmgr_backoff {
	/* By their failures, in order of time; then those that were found overdue. */
	struct qmgr_report *wait[QMGR_BACKOFF_LATE + 1];
	uint32_t n;			 /* in them */
	unsigned row;			 /* failures of QB_ALL */
	int64_t pause, until;		 /* ms; the gate; pause 0: it is open */
	const struct qmgr_report *probe; /* tries whether it may open, or NULL */
	bool filters;			 /* it was filters that closed the gate last */
	int64_t look;			 /* ms; closed: for overdue ones, next */
};
bool qmgr_backoff_shut(const struct qmgr *); /* none that is not overdue may be written now */
/* May it be written now? true: it is, and _failed() or _passed() tells how that ended. */
bool qmgr_backoff_pass(struct qmgr *, struct qmgr_report *);
bool qmgr_backoff_gives_up(const struct qmgr *, const struct qmgr_report *); /* on filters */
void qmgr_backoff_hold(struct qmgr *, struct qmgr_report *);	 /* it waits, without a try */
int64_t qmgr_backoff_again(struct qmgr *, struct qmgr_report *); /* it failed, and waits so long */
struct qmgr_report *qmgr_backoff_next(struct qmgr *); /* that may be written, taken off; or NULL */
int64_t qmgr_backoff_at(const struct qmgr *); /* ms; when there is a next; INT64_MAX: none */
void qmgr_backoff_failed(
    struct qmgr *, const struct qmgr_report *, enum qmgr_blame, const char *why);
void qmgr_backoff_passed(struct qmgr *, const struct qmgr_report *);
void qmgr_backoff_reset(struct qmgr *);					  /* all may be tried now */
int64_t qmgr_backoff_when(const struct qmgr *, const struct qmgr_rcpt *); /* 0: it does not wait */
struct qmgr_report *qmgr_backoff_pop(struct qmgr *);			  /* any; NULL: no more */

struct qmgr_dsn_rcpt {
	const char *addr, *orcpt;	  /* orcpt: as said, or "" */
	const struct qmgr_reason *reason; /* or NULL */
	enum qmgr_action action;
	bool expired;
};
struct qmgr_dsn {
	const char *hostname, *id, *parent;
	const char *to,
	    *sender;	      /* of the report; of the message: "" if the report is of a report */
	const char *envid;    /* as said, or "" */
	int64_t now, arrival; /* wall clock */
	int64_t lifetime;     /* ms a mail may stay */
	uint64_t nonce;	      /* so that no content can have the boundary */
	const struct qmgr_dsn_rcpt *rcpt;
	uint32_t nrcpt;
	bool utf8;		  /* RFC 6533 */
	bool whole;		  /* content is the whole message, else its begin */
	struct meta1_buf content; /* in DATA form */
	/* filled */
	uint64_t bytes; /* without stuffing */
	bool stuffed, eight;
};
/* The whole report in DATA form; all its recipients have an action of one kind. Pure. */
void qmgr_dsn_write(struct evbuffer *, struct qmgr_dsn *);

/* ---- verp: a sender address for each recipient; pure -------------------------------------- */

#define QMGR_VERP_MAX 254

/* The list of the option verp_senders: "a@b", "@b" (all of the domain), "*" (everybody). */
bool qmgr_verp_listed(const char *const *list, const char *from);
/* Those that the client said in flags (META1_M_VERP), or the option's. */
void qmgr_verp_delimiters(uint32_t flags, const char *option, char out[3]);
/* "list@b" and "joe@c" with "+=" make "list+joe=c@b"; false: they cannot. */
bool qmgr_verp_make(
    const char *from, const char *to, const char *delimiters, char out[QMGR_VERP_MAX + 1]);

#endif
