/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * filter.h -- what policy filters say of a session and its mail; the third part of smtps.h, which
 * includes it and tells where it belongs.
 *
 *   filter.c         the stages of a session: asks the chain, waits, does what it says
 *   judged.c         the last of them: what the chain makes of a mail, into the store
 *   judged_env.c     and its envelope
 *   chain_open.c     the filters of the configuration as instances; a reload opens them anew
 *   chain.c          one question to those whose turn it is, phase by phase, and the merged answer
 *   chain_judge.c    a filter in one session: its turn, its beginning, its end
 *   chain_merge.c    what several say as one answer
 *   chain_edits.c    edits of one, made at once or when files were read
 *   chain_when.c     which filters judge this client, sender, recipient, size
 *   chain_fail.c     a filter that failed: what then, and the breaker that spares it
 *   chain_show.c     counts, latencies, last errors: GET /v1/filters
 *   image.c          the content between the final dot and the store: memory, or a file
 *   core/mail/revise.h   edits made to a message: all of them, or none
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
	bool failed;	  /* it did not: it is what its failure means */
	/* END: the content as it is to be stored, in plain form; NULL: as it came */
	const struct meta1_extent *extent;
	unsigned nextent;
	/* END: of the envelope: ADD_RCPT, DEL_RCPT and SENDER, in their order */
	const struct meta1_pm_edit *edit;
	unsigned nedit;
};
/* Valid during the call; at END what it points to until smtps_chain_reset(), and so is what was
 * asked. Never called inside smtps_chain_ask(), but that a stage nobody wants is answered at once.
 * It may call smtps_chain_reset(), and the next smtps_chain_ask(). */
typedef void (*smtps_answer_fn)(void *arg, const struct smtps_answer *);

/* ---- filter.c ---- */

typedef void (*smtps_filtered_fn)(struct smtps_session *, const struct smtps_answer *);

/* The client is known: its filters are asked about it, then it is greeted. */
void smtps_filter_connect(struct smtps_session *);
bool smtps_filter_wants(struct smtps_session *, uint32_t stage);
/* Asks, or, where nobody wants to be asked, fn at once: CONTINUE. arg stays where it is until fn,
 * but for UNKNOWN, which is copied. */
void smtps_filter_ask(
    struct smtps_session *, uint32_t stage, struct meta1_buf arg, smtps_filtered_fn);
/* END: ask->rcpt and ask->msg are the caller's, until fn. room: recipients that may be added. */
void smtps_filter_ask_end(struct smtps_session *, const struct meta1_pm_ask *, uint32_t hops,
    unsigned room, smtps_filtered_fn);
/* Behind the address of MAIL or RCPT: what filters are told too. */
void smtps_filter_params(struct smtps_session *, const char *, size_t);
/* true: it is a refusal, which was said; what is refused is the caller's to undo. */
bool smtps_filter_refused(struct smtps_session *, const struct smtps_answer *);
/* smar's word on a recipient, while filters are asked about it. */
void smtps_filter_keep(struct smtps_session *, const struct smtps_verdict *);
const struct smtps_verdict *smtps_filter_kept(const struct smtps_session *);
void smtps_filter_reset(struct smtps_session *); /* the mail is over, or what was asked of */
void smtps_filter_end(struct smtps_session *);
size_t smtps_filter_held(const struct smtps_session *); /* bytes of memory */

/* ---- judged.c ---- */

/* All of the content is there, and nothing is wrong with it. */
void smtps_judged_start(struct smtps_session *);
void smtps_judged_ready(struct smtps_tx *); /* the store takes more */
void smtps_judged_free(struct smtps_tx *);

/* ---- judged_env.c ---- */
/* What the answer says of the envelope. false: the transaction's memory is full. */
bool smtps_judged_envelope(struct smtps_tx *, const struct smtps_answer *);

/* ---- image.c ---- */

typedef void (*smtps_image_fn)(void *arg);
/* ready(arg): write() may go on after it said MORE. */
struct smtps_image *smtps_image_new(struct smtps *, smtps_image_fn ready, void *arg);
void smtps_image_free(struct smtps_image **);
void smtps_image_forget(struct smtps *); /* the stop: what is kept for the next mail */
void smtps_image_ours(struct smtps_image *, const void *, size_t); /* first: trace fields of ours */
/* DATA form. OK; MORE: pause until ready(); TEMPFAIL: there is no space, the log says more. */
enum meta1_status smtps_image_write(struct smtps_image *, const void *, size_t);
/* All is there; closed(arg), perhaps at once, when it can be read. */
void smtps_image_close(struct smtps_image *, smtps_image_fn closed);
const struct meta1_pm_message *smtps_image_message(struct smtps_image *); /* NULL: it failed */
/* Where our Received line goes in what became of it: before the client's first own field that is
 * left as it was, or first of all. extent NULL: it is as it came. */
uint64_t smtps_image_place(
    const struct smtps_image *, const struct meta1_extent *, unsigned nextent);
size_t smtps_image_held(const struct smtps_image *); /* bytes of memory */

/* ---- chain_open.c ---- */
/* NULL without error: the section has no policy_milter. */
struct smtps_chain *smtps_chain_open(
    struct role *, struct settings *, const struct set_smtps *, struct meta1_err *);
void smtps_chain_free(struct smtps_chain **); /* its sessions keep it until they end */
/* Bytes that its modules hold for their sessions: what filters say, mostly. NULL: 0. */
size_t smtps_chain_memory(const struct smtps_chain *);

/* ---- chain.c ---- */
/* NULL: no filter judges it. about stays with the session and is kept up to date by filter.c. */
struct smtps_judging *smtps_chain_begin(struct smtps_chain *, struct meta1_pm_about *);
bool smtps_chain_wants(const struct smtps_judging *, uint32_t stage);
/* One at a time. END: ask->msg is the image; what it and ask->rcpt point to stays until the answer,
 * and so many recipients may be added. */
void smtps_chain_ask(
    struct smtps_judging *, const struct meta1_pm_ask *, unsigned room, smtps_answer_fn, void *arg);
size_t smtps_chain_held(const struct smtps_judging *); /* bytes of memory */
void smtps_chain_reset(struct smtps_judging *);	       /* the mail is over; forgets what is asked */
void smtps_chain_end(struct smtps_judging **);

/* ---- chain_show.c ---- */
void smtps_chain_control(struct smtps *, struct ctl *);

#endif
