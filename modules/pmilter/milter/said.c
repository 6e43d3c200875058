/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * said.c -- what the filter answers, and in answer to what it may.
 *
 * Comes from peer.c while an ask waits; goes on to steps.c, edits.c, or ends the ask.
 * On failure: what is unknown, at the wrong place or not as it should be is the filter's failure,
 * with a text of what was expected.
 */
#include "milter.h"

#include <stdio.h>

#define CONNECTION (STEP_BIT(STEP_CONNECT) | STEP_BIT(STEP_HELO) | STEP_BIT(STEP_UNKNOWN))
#define ANY	   (CONNECTION | STEPS_MAIL)
#define AT_END	   STEP_BIT(STEP_END)

/* Each: NULL, or what is wrong. */
static const char *said_continue(struct sess *s, struct meta1_buf b)
{
	(void)b;
	if (s->step != STEP_END) {
		steps_next(s);
		return NULL;
	}
	s->peer->whole = 1;
	sess_answer(s, META1_PM_CONTINUE);
	return NULL;
}

static const char *said_accept(struct sess *s, struct meta1_buf b)
{
	(void)b;
	if (s->refused) {
		sess_answer(s, META1_PM_CONTINUE);
		return NULL;
	}
	s->accepted |= s->step == STEP_CONNECT || s->step == STEP_HELO;
	sess_answer(s, META1_PM_ACCEPT);
	return NULL;
}

static void refuse(struct sess *s, uint16_t code, const char *dsn)
{
	if (s->refused) { /* it was told, not asked */
		sess_answer(s, META1_PM_CONTINUE);
		return;
	}
	s->verdict.smtp = code;
	snprintf(s->verdict.dsn, sizeof(s->verdict.dsn), "%s", dsn);
	sess_answer(s, META1_PM_REFUSE);
}

static const char *said_reject(struct sess *s, struct meta1_buf b)
{
	(void)b;
	refuse(s, 550, "5.7.1");
	return NULL;
}

static const char *said_tempfail(struct sess *s, struct meta1_buf b)
{
	(void)b;
	refuse(s, 451, "4.7.1");
	return NULL;
}

static const char *said_shutdown(struct sess *s, struct meta1_buf b)
{
	(void)b;
	refuse(s, 421, "4.7.0");
	return NULL;
}

static const char *said_reply(struct sess *s, struct meta1_buf b)
{
	const char *wrong = edits_reply(s, b);

	if (!wrong)
		sess_answer(s, s->refused ? META1_PM_CONTINUE : META1_PM_REFUSE);
	return wrong;
}

static const char *said_discard(struct sess *s, struct meta1_buf b)
{
	(void)b;
	s->discarded = !s->refused;
	sess_answer(s, s->refused ? META1_PM_CONTINUE : META1_PM_DISCARD);
	return NULL;
}

static const char *said_skip(struct sess *s, struct meta1_buf b)
{
	(void)b;
	if (!(s->peer->steps & SMFIP_SKIP))
		return "which was not agreed on (SMFIP_SKIP)";
	s->skip |= STEP_BIT(s->step);
	steps_next(s);
	return NULL;
}

/* The deadline of the ask is the host's, and stays. */
static const char *said_progress(struct sess *s, struct meta1_buf b)
{
	(void)b;
	s->m->host->count(s->m->ctx, "progress", 1);
	return NULL;
}

static const struct {
	char cmd;
	const char *name;
	uint32_t at;	 /* steps */
	uint32_t action; /* that the filter must have asked for */
	const char *(*take)(struct sess *, struct meta1_buf);
} row[] = {
    {'c', "CONTINUE", ANY, 0, said_continue},
    {'a', "ACCEPT", ANY, 0, said_accept},
    {'r', "REJECT", ANY, 0, said_reject},
    {'t', "TEMPFAIL", ANY, 0, said_tempfail},
    {'y', "REPLYCODE", ANY, 0, said_reply},
    {'d', "DISCARD", STEPS_MAIL, 0, said_discard},
    {'s', "SKIP", STEP_BIT(STEP_RCPT) | STEP_BIT(STEP_HEADER) | STEP_BIT(STEP_BODY), 0, said_skip},
    {'p', "PROGRESS", ANY, 0, said_progress},
    {'4', "SHUTDOWN", ANY, 0, said_shutdown},
    {'f', "CONN_FAIL", ANY, 0, said_shutdown},
    {'h', "ADDHEADER", AT_END, SMFIF_ADDHDRS, edits_add_header},
    {'i', "INSHEADER", AT_END, SMFIF_ADDHDRS, edits_insert_header},
    {'m', "CHGHEADER", AT_END, SMFIF_CHGHDRS, edits_change_header},
    {'b', "REPLBODY", AT_END, SMFIF_CHGBODY, edits_body},
    {'+', "ADDRCPT", AT_END, SMFIF_ADDRCPT, edits_add_rcpt},
    {'2', "ADDRCPT_PAR", AT_END, SMFIF_ADDRCPT_PAR, edits_add_rcpt},
    {'-', "DELRCPT", AT_END, SMFIF_DELRCPT, edits_del_rcpt},
    {'e', "CHGFROM", AT_END, SMFIF_CHGFROM, edits_sender},
    {'q', "QUARANTINE", AT_END, SMFIF_QUARANTINE, edits_hold},
};

void said(struct sess *s, char cmd, struct meta1_buf b)
{
	enum step st = s->step;
	const char *wrong;
	size_t i = 0;

	while (i < sizeof(row) / sizeof(row[0]) && row[i].cmd != cmd)
		i++;
	if (i == sizeof(row) / sizeof(row[0])) {
		sess_fail(s,
		    "answers %s with 0x%02x and %zu bytes, which is no reply of the protocol",
		    step_name(st), (unsigned char)cmd, b.len);
		return;
	}
	if (!(row[i].at & STEP_BIT(st)))
		wrong = "where it may not; expected is CONTINUE, ACCEPT, REJECT, TEMPFAIL or "
			"REPLYCODE";
	else if (row[i].action & ~s->peer->actions)
		wrong = "which it did not ask for when the connection was made";
	else
		wrong = row[i].take(s, b);
	if (wrong)
		sess_fail(s, "answers %s with %s, %s", step_name(st), row[i].name, wrong);
}
