/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pmilter.h -- what the suites of filters share: a session as smtps leads it (pm_talk.c), what an
 * answer may be (pm_judge.c), a filter for modules that speak to one (filter.h).
 *
 * A talk is one session by a plan, a letter a step:
 *	C HELO MAIL RCPT DATA END: C H M R D E; U an unknown command, X a recipient that smtps
 *	refuses; r reset(). What the module does not want is passed over, as smtps does.
 */
#ifndef META1_KIT_PMILTER_H
#define META1_KIT_PMILTER_H
#include "filter.h"
#include "guard.h"
#include "kit.h"

#include <meta1/pmilter.h>

#define PM_PLAN	    "CHMRRRDEr"
#define PM_STAGE_MS 120000
#define PM_END_MS   300000

struct pm_mail {
	const char *name, *text;
	size_t len, header; /* of these, with the empty line */
};

/* How the content is given: pieces of so many bytes (0: one), in memory, in a file, by turns. */
struct pm_cut {
	const char *name;
	size_t piece;
	enum { PM_MEMORY, PM_FILE, PM_TURNS } where;
};

struct pm_suite {
	struct kit *k;
	struct kit_inst *inst;
	const struct meta1_pmilter_ops *ops;
	struct kit_filter *filter; /* NULL: the module asks nobody */
};

struct pm_talk {
	struct pm_suite *s;
	struct kit_inst *inst;
	const char *plan;
	const struct pm_mail *mail;
	struct pm_cut cut;
	struct meta1_pm_about *about;
	void *sess;
	uint32_t wants, stage; /* stage: of the open question; 0: none */
	char letter;
	unsigned nrcpt, said_rcpt, taken[4];
	struct kit_answer a;
	struct meta1_req *req;
	struct kit_guard asked, content;
	int fd;
	const struct meta1_pm_verdict *v; /* of the last answer, until the next call */
	char *v_text;
	char *out; /* "C:continue M:continue ... " */
	bool begun, over, failed;
};

/* ---- pm_talk.c ---- */
extern const struct pm_mail pm_mail; /* the one that most talks are about */
struct pm_mail pm_mail_of(const char *name, const char *text, size_t len);
/* begin(). The plan, the mail stay where they are. */
void pm_begin(struct pm_talk *, struct pm_suite *, const char *plan, const struct pm_mail *);
/* Takes what was answered and asks the next; false: the plan is at its end. Never waits. */
bool pm_go(struct pm_talk *);
/* Until its end, or until nothing comes any more. */
void pm_run(struct pm_talk *);
/* Cancels what is open, then end(). out stays. */
void pm_end(struct pm_talk *);
void pm_free(struct pm_talk *);
/* pm_begin() to pm_end(); out is the caller's. */
char *pm_whole(struct pm_suite *, const char *plan, const struct pm_mail *, struct pm_cut);
/* What was said is the same up to a failure, or to the end. */
bool pm_as_far_as(const char *want, const char *got);
/* Copies of what was said that have n bytes at most, for a line. */
const char *pm_short(const char *out);

/* ---- pm_judge.c ---- */
/* NULL, or why it cannot be an answer to that. */
const char *pm_verdict_bad(const struct meta1_pm_ask *, const struct meta1_pm_verdict *);
/* All of it in words; the caller's. */
char *pm_verdict_text(const struct meta1_pm_verdict *);

/* ---- pm_faults.c, pm_filter.c ---- */
void pm_faults(struct pm_suite *);
void pm_with_filter(struct pm_suite *);

#endif
