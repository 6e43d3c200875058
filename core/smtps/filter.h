/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * filter.h -- what policy filters say of a session and its mail; the third part of smtps.h, which
 * includes it and tells where it belongs.
 *
 *   filter.c         the stages of a session: asks the chain, waits, does what it says
 *   chain_open.c     the filters of the configuration as instances; a reload opens them anew
 *   chain.c          one question to those whose turn it is, phase by phase, and the merged answer
 *   chain_when.c     which filters judge this client, sender, recipient, size
 *   chain_fail.c     a filter that failed: what then, and the breaker that spares it
 *   chain_show.c     counts, latencies, last errors: GET /v1/filters
 *   image.c          the content between the final dot and the store: memory, or a file without
 * name core/mail/revise.c   edits made to a message: all of them, or none
 *
 * With policy_milter the content does not go straight into the store: body.c gives it to image.c in
 * plain form, and at its end the chain judges it; what is left of it goes through the scanner into
 * the store, and commit.c goes on as ever. Who is not judged at END takes the short way. So a
 * filter costs only the mail that it judges, a filter's edit never meets the store's form, and what
 * the store has is either all edited or not there.
 *
 * The chain has phases, in this order: verify, judge, modify, sign. In verify and judge all filters
 * are asked at once, about the same message, and their edits made in the order of the
 * configuration; in modify and sign one after the other, each about what those before left. The
 * strictest answer holds: a refusal (of these the first in order; 5xx before 4xx), then discard,
 * then hold. A filter in shadow is asked and logged, and changes nothing. One policy_milter alone
 * is a chain of one.
 */
#ifndef META1_SMTPS_FILTER_H
#define META1_SMTPS_FILTER_H
#include "smtps/smtps.h"

#include <meta1/pmilter.h>

struct smtps_chain;   /* the filters of the section; counted by its sessions */
struct smtps_judging; /* those that judge one session */

/* What they say together. */
struct smtps_answer {
	enum meta1_pm_action action; /* CONTINUE, REFUSE or DISCARD */
	int smtp;		     /* REFUSE */
	char dsn[12];
	const struct meta1_buf *line;
	unsigned nline;
	const char *hold; /* NULL: it goes its way */
	const char *by;	  /* name of the filter that decided, or NULL */
	/* END: the content as it is to be stored, in plain form; NULL: as it came */
	const struct meta1_extent *extent;
	unsigned nextent;
	/* END: of the envelope: ADD_RCPT, DEL_RCPT and SENDER, in their order */
	const struct meta1_pm_edit *edit;
	unsigned nedit;
};
/* Valid during the call. Never called inside smtps_chain_ask(), but that a stage nobody wants is
 * answered at once. */
typedef void (*smtps_answer_fn)(void *arg, const struct smtps_answer *);

/* ---- chain_open.c ---- */
/* NULL without error: the section has no policy_milter. */
struct smtps_chain *smtps_chain_open(
    struct role *, struct settings *, const struct set_smtps *, struct meta1_err *);
void smtps_chain_free(struct smtps_chain **); /* its sessions keep it until they end */

/* ---- chain.c ---- */
/* NULL: no filter judges it. about stays with the session and is kept up to date by filter.c. */
struct smtps_judging *smtps_chain_begin(struct smtps_chain *, const struct meta1_pm_about *);
bool smtps_chain_wants(const struct smtps_judging *, uint32_t stage);
/* One at a time. ask->msg: the image; what it points to stays until the answer. */
void smtps_chain_ask(
    struct smtps_judging *, const struct meta1_pm_ask *, smtps_answer_fn, void *arg);
void smtps_chain_reset(struct smtps_judging *); /* the mail is over; forgets what is asked */
void smtps_chain_end(struct smtps_judging **);

/* ---- chain_show.c ---- */
void smtps_chain_control(struct smtps *, struct ctl *);

#endif
