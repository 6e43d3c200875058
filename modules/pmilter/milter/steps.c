/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * steps.c -- which commands a stage is, in their order, and what each of them says.
 *
 * Comes from an ask, and from said.c when the filter wants to hear more; goes to peer.c.
 * What the filter does not want to hear is passed over, what it will not answer is not waited for,
 * and what it should have heard before comes first.
 */
#include "milter.h"

#include <stdio.h>
#include <string.h>

#define EARLY_MAILS 8 /* so long a filter is not trusted to wait for the end */

static const struct {
	const char *name;
	uint32_t no, nr, version;
	char cmd;
} row[STEPS] = {
    [STEP_CONNECT] = {"CONNECT", SMFIP_NOCONNECT, SMFIP_NR_CONN, 2, 'C'},
    [STEP_HELO] = {"HELO", SMFIP_NOHELO, SMFIP_NR_HELO, 2, 'H'},
    [STEP_MAIL] = {"MAIL", SMFIP_NOMAIL, SMFIP_NR_MAIL, 2, 'M'},
    [STEP_RCPT] = {"RCPT", SMFIP_NORCPT, SMFIP_NR_RCPT, 2, 'R'},
    [STEP_DATA] = {"DATA", SMFIP_NODATA, SMFIP_NR_DATA, 4, 'T'},
    [STEP_HEADER] = {"HEADER", SMFIP_NOHDRS, SMFIP_NR_HDR, 2, 'L'},
    [STEP_EOH] = {"EOH", SMFIP_NOEOH, SMFIP_NR_EOH, 2, 'N'},
    [STEP_BODY] = {"BODY", SMFIP_NOBODY, SMFIP_NR_BODY, 2, 'B'},
    [STEP_END] = {"BODYEOB", 0, 0, 2, 'E'},
    [STEP_UNKNOWN] = {"UNKNOWN", SMFIP_NOUNKNOWN, SMFIP_NR_UNKN, 3, 'U'},
};

const char *step_name(enum step st)
{
	return st < STEPS ? row[st].name : "nothing";
}

static int told(const struct sess *s, enum step st)
{
	return (s->told & STEP_BIT(st)) != 0;
}

static int wanted(const struct sess *s, enum step st)
{
	const struct peer *p = s->peer;

	if (p->steps & row[st].no || p->version < row[st].version)
		return 0;
	/* In a mail libmilter takes it before DATA only, and gives no answer at all elsewhere. */
	return st != STEP_UNKNOWN || !s->mail ||
	       (!told(s, STEP_DATA) && p->version >= row[STEP_DATA].version &&
		   !(p->steps & SMFIP_NODATA));
}

/* Of a message at its end. */
static enum step next_content(const struct sess *s)
{
	if (s->nrcpt < s->rcpts && s->rcpt)
		return STEP_RCPT;
	if (!told(s, STEP_DATA))
		return STEP_DATA;
	if (!told(s, STEP_HEADER) && content_has_field(s))
		return STEP_HEADER;
	if (!told(s, STEP_EOH))
		return STEP_EOH;
	if (!told(s, STEP_BODY) && content_has_piece(s))
		return STEP_BODY;
	return told(s, STEP_END) ? STEP_NONE : STEP_END;
}

static enum step next(const struct sess *s)
{
	if (!told(s, STEP_CONNECT))
		return STEP_CONNECT;
	if (!told(s, STEP_HELO) && s->about->helo && s->goal > STEP_HELO)
		return STEP_HELO;
	if (!told(s, STEP_MAIL) && s->goal > STEP_MAIL && s->goal != STEP_UNKNOWN)
		return STEP_MAIL;
	if (s->refused && !(s->peer->steps & SMFIP_RCPT_REJ))
		return STEP_NONE;
	if (s->goal == STEP_END)
		return next_content(s);
	return told(s, s->goal) ? STEP_NONE : s->goal;
}

/* It will have been said, or passed over. */
static void mark(struct sess *s, enum step st, int say)
{
	if (st == STEP_MAIL)
		s->mail = 1;
	if (st == STEP_RCPT)
		s->nrcpt += !s->refused;
	if ((st != STEP_HEADER && st != STEP_BODY) || !say)
		s->told |= STEP_BIT(st);
}

/* ---- what each says ---- */

static struct meta1_buf text(const char *t)
{
	return (struct meta1_buf){t, strlen(t) + 1};
}

static void say_connect(struct sess *s)
{
	const struct meta1_pm_about *a = s->about;
	int local = !a->client || strcmp(a->client, "unix") == 0;
	const char *addr = local ? "127.0.0.1" : a->client;
	char name[80], where[3];

	where[0] = strchr(addr, ':') ? '6' : '4';
	where[1] = (char)(a->port >> 8);
	where[2] = (char)a->port;
	snprintf(name, sizeof(name), "[%.70s]", addr);
	peer_say(s->peer, 'C',
	    (struct meta1_buf[]){text(local	? "localhost"
				      : a->name ? a->name
						: name),
		{where, 3}, text(addr)},
	    3);
}

/* The sender of a mail that began unseen: what the client said besides is not known. */
static void say_sender(struct sess *s)
{
	struct meta1_buf b[] = {{"<", 1}, s->about->from, {">", 2}};

	peer_say(s->peer, 'M', b, 3);
}

static int say(struct sess *s, enum step st)
{
	switch (st) {
	case STEP_CONNECT:
		say_connect(s);
		return 0;
	case STEP_HELO:
		if (s->goal != STEP_HELO) {
			peer_say(s->peer, 'H', (struct meta1_buf[]){text(s->about->helo)}, 1);
			return 0;
		}
		break;
	case STEP_MAIL:
		if (s->goal != STEP_MAIL) {
			say_sender(s);
			return 0;
		}
		break;
	case STEP_RCPT:
		if (s->goal == STEP_END) {
			peer_say(s->peer, 'R', &s->rcpt[s->nrcpt - 1], 1);
			return 0;
		}
		break;
	case STEP_HEADER:
		return content_field(s);
	case STEP_BODY:
		return content_piece(s);
	case STEP_UNKNOWN:
		break;
	default:
		peer_say(s->peer, row[st].cmd, NULL, 0);
		return 0;
	}
	peer_say(s->peer, row[st].cmd, &s->args, 1);
	return 0;
}

/* It need not wait for the answers that are to come: the filter reads one command after the other,
 * and libmilter passes over what comes behind a last word. But not of a filter that hears nothing
 * of an envelope: such a one would take the rest of a mail that it has refused for the next one.
 * Body and end wait for a while behind a last word before the end, since that costs the connection
 * when more was said. Pieces of a body wait for each other: SKIP. */
static int along(const struct sess *s, enum step st)
{
	const struct milter *m = s->m;
	const uint32_t blind = SMFIP_NOMAIL | SMFIP_NORCPT;

	if (!m->conf->pipelining || s->step < STEP_HEADER || (s->peer->steps & blind) == blind ||
	    m->host->conn->unsent(s->peer->conn) >= TOGETHER_MAX)
		return 0;
	if (st == STEP_HEADER || st == STEP_EOH)
		return s->step == STEP_HEADER;
	return !m->early && (st == STEP_END || (st == STEP_BODY && !s->owes[STEP_BODY]));
}

void steps_go(struct sess *s)
{
	while (!content_reads(s)) {
		enum step st = next(s);
		int yes;

		if (s->owed > 0 && !along(s, st))
			return;
		if (s->owed == 0)
			s->step = st;
		if (st == STEP_NONE) {
			sess_answer(s, META1_PM_CONTINUE);
			return;
		}
		yes = wanted(s, st) && !(s->skip & STEP_BIT(st));
		mark(s, st, yes);
		if (!yes)
			continue;
		macros_say(s, st);
		if (say(s, st) < 0) {
			sess_fail(s, "cannot be told %s: no memory, or too much waits for the disk",
			    row[st].name);
			return;
		}
		if (row[st].nr && (s->peer->steps & row[st].nr))
			continue;
		s->owed++;
		s->owes[st]++;
	}
}

void steps_next(struct sess *s)
{
	s->owes[s->step]--;
	if (--s->owed == 0)
		steps_go(s);
	while (s->owed > 0 && s->owes[s->step] == 0)
		s->step++;
}

void steps_heard(struct sess *s)
{
	if (s->goal != STEP_END || s->step < STEP_HEADER || s->step > STEP_END)
		return;
	if (s->step < STEP_END)
		s->m->early = EARLY_MAILS;
	else if (s->m->early > 0)
		s->m->early--;
}

void steps_over(struct sess *s)
{
	s->owed = 0;
	memset(s->owes, 0, sizeof(s->owes));
}
