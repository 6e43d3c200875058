/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * chain.h -- what the files of the chain share; filter.h is what the rest of smtps sees of it.
 *
 * A filter is a section of the configuration with its module's instance, a judge is a filter in one
 * session. A judge is NEW until begin() and again after a mail in which it failed: it begins anew
 * at the next MAIL and is told first what it has missed. ON: it is asked. FAILED: what the
 * configuration says of a failure holds for the mail. OUT: of no more concern in this session.
 */
#ifndef META1_SMTPS_CHAIN_H
#define META1_SMTPS_CHAIN_H
#include "lib/work.h"
#include "mail/revise.h"
#include "smtps/chain_when.h"
#include "smtps/filter.h"

/* ---- chain_fail.c ---- */
#define CHAIN_ROW	5     /* failures in a row that open the breaker */
#define CHAIN_PAUSE_MIN 1000  /* ms for which it then opens */
#define CHAIN_PAUSE_MAX 60000 /* at most, by doubling */
#define CHAIN_PROBE	10000 /* ms for the one session that tries it, then another may */

struct chain_breaker {
	unsigned failures;  /* in a row */
	uint32_t stage;	    /* of the last one: what comes before it is no cure */
	int64_t pause;	    /* ms; 0: closed */
	int64_t open_until; /* monotonic ms */
	int64_t probe_until;
	bool shut; /* until a reload */
};
enum chain_pass { CHAIN_GO, CHAIN_PROBES, CHAIN_SPARED };
/* A session would ask the filter. */
enum chain_pass chain_breaker_pass(struct chain_breaker *, int64_t now);
/* true: it has just opened, or was shut. */
bool chain_breaker_failed(struct chain_breaker *, uint32_t stage, int64_t now, bool for_ever);
void chain_breaker_worked(struct chain_breaker *, uint32_t stage);
void chain_breaker_left(struct chain_breaker *); /* who probed went without a word */
const char *chain_breaker_state(const struct chain_breaker *, int64_t now);
/* What a failed filter means at a stage where it would be asked. false: nothing. why: for a
 * hold; stays as long as the verdict. */
bool chain_fail_verdict(
    const struct set_filter *, uint32_t stage, const char *why, struct meta1_pm_verdict *);

/* ---- chain_show.c ---- */
#define CHAIN_BUCKETS 112 /* of latencies: four an octave, from 1 us to four minutes */
struct chain_times {
	uint32_t bucket[CHAIN_BUCKETS], n;
};
void chain_times_add(struct chain_times *, uint64_t us);
uint64_t chain_times_part(const struct chain_times *, unsigned percent); /* us; 0: no one yet */

enum chain_count {
	CHAIN_C_CONTINUE, /* mails */
	CHAIN_C_EDIT,
	CHAIN_C_ACCEPT,
	CHAIN_C_REJECT, /* answers */
	CHAIN_C_TEMPFAIL,
	CHAIN_C_DISCARD,
	CHAIN_C_HOLD,
	CHAIN_C_FAILED,
	CHAIN_C_SPARED, /* sessions and mails in which the breaker was open */
	CHAIN_COUNTS
};
/* Of a name, over reloads. */
struct chain_stats {
	LIST_ENTRY(chain_stats) all;
	char *name;
	unsigned refs;
	uint64_t count[CHAIN_COUNTS];
	struct chain_times commands, end; /* of stages before the end; of the end */
	char error[256];		  /* the last one */
	int64_t error_at;		  /* wall clock */
};
struct chain_stats *chain_stats_of(const char *name);
void chain_stats_free(struct chain_stats **);
void chain_stats_verdict(struct chain_stats *, const struct meta1_pm_verdict *, uint32_t stage);

/* ---- chain_open.c ---- */
struct chain_filter {
	const struct set_filter *set; /* as long as the chain */
	struct mod_inst *inst;
	const struct meta1_pmilter_ops *ops;
	void *data;
	struct chain_when when;
	struct chain_breaker breaker;
	struct chain_stats *stats;
	size_t memory; /* of the module, without sessions */
};
struct smtps_chain {
	struct loop *loop;
	struct work *work;
	char *folder; /* for files without a name */
	unsigned refs, nfilter;
	bool used;		     /* a session has begun with it */
	struct conf *keeps;	     /* the filters' settings are part of it */
	struct chain_filter *filter; /* by phase, within it in the order of the configuration */
};

/* ---- chain_judge.c ---- */
#define CHAIN_MAIL_STAGES (META1_PM_MAIL | META1_PM_RCPT | META1_PM_DATA | META1_PM_END)
enum judge_state { JUDGE_NEW, JUDGE_ON, JUDGE_FAILED, JUDGE_OUT };
struct judge {
	struct smtps_judging *of;
	struct chain_filter *f;
	void *sess; /* NULL: none, or it needs none */
	struct meta1_req *req;
	uint32_t wants, told; /* told: CONNECT, HELO, as long as they hold */
	uint32_t asked;	      /* the stage that req is about */
	enum judge_state state;
	bool begun;	     /* end() is due */
	bool probes;	     /* for the breaker */
	bool met;	     /* was asked about this mail: reset() is due */
	bool accepted;	     /* has seen enough of this mail */
	bool rcpt, rcpt_now; /* a recipient that was taken, the one now, is among those meant */
	bool spent;	     /* its edits were made, or are not to be */
	const struct meta1_pm_verdict *verdict; /* of the question that is open; NULL: goes on */
	struct meta1_pm_verdict own;		/* of a failure */
	char *why;				/* it failed; NULL: it did not */
	/* for the line of the log, of this mail */
	uint64_t since, spent_us; /* us */
	const struct meta1_pm_verdict *said;
};

struct smtps_judging {
	struct smtps_chain *chain;
	struct meta1_pm_about *about;
	struct meta1_buf from; /* while a question is open: the sender, as the client said */
	/* the open question */
	const struct meta1_pm_ask *ask; /* NULL: none */
	smtps_answer_fn fn;
	void *arg;
	unsigned at, end, nopen; /* judges of the group that is asked; requests of it */
	bool later;		 /* the asker is not in the call any more */
	bool asked;		 /* somebody had to say something */
	struct task tell;
	struct smtps_answer answer;
	const char *hold, *hold_by; /* of the mail */
	/* of END */
	unsigned room; /* recipients that may be added */
	struct revise *revise;
	struct chain_reading *reading; /* NULL: no file is read */
	unsigned njudge;
	struct judge judge[];
};
/* The filter's conditions, as far as they are known at that stage. */
enum chain_is chain_judge_concerned(const struct judge *, uint32_t stage);
/* It says something at this stage: yes; it may, when more is known: open. */
enum chain_is chain_judge_turn(const struct judge *, uint32_t stage);
void chain_judge_begin(struct judge *);
void chain_judge_leave(struct judge *); /* its session ends */
void chain_judge_mean(struct judge *);	/* what its failure means to the open question */
void chain_judge_failed(struct judge *, uint32_t stage, const char *why);
/* The server could not keep what it says: the mail is refused for now, the filter is well. */
void chain_judge_no_room(struct judge *, uint32_t stage, const char *why);
/* It cannot judge this mail, or its edits of it cannot be made, for what the mail is: that is a
 * failure, but the breaker does not count it, and the next mail of the session is judged. */
void chain_judge_unable(struct judge *, uint32_t stage, const char *why);

/* ---- chain.c ---- */
void chain_go_on(struct smtps_judging *); /* what it waited for is there */

/* ---- chain_edits.c ---- */
enum chain_made { CHAIN_MADE, CHAIN_READS, CHAIN_WRONG, CHAIN_NO_ROOM };
/* Those of its verdict, all or none. READS: chain_go_on() comes, then again. */
enum chain_made chain_edits_make(struct smtps_judging *, struct judge *, struct meta1_err *);
void chain_edits_forget(struct smtps_judging *); /* nobody waits for what is read */

/* ---- chain_merge.c ---- */
enum chain_merged { CHAIN_GOES_ON, CHAIN_FINAL, CHAIN_WAITS };
/* What the judges of a group say becomes part of the answer. WAITS: then again. */
enum chain_merged chain_merge(struct smtps_judging *, unsigned at, unsigned end);
/* NULL: it makes sense at this stage; else what is wrong with it. */
const char *chain_verdict_fault(const struct meta1_pm_verdict *, uint32_t stage);
const char *chain_stage(uint32_t);
void chain_merge_shadow(const struct judge *, uint32_t stage);		   /* what it would do */
void chain_merge_failure(struct judge *, uint32_t stage, const char *why); /* and the counts */
void chain_merge_log(const struct smtps_judging *);			   /* the line of a mail */

#endif
