/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sess.c -- a session: what it is asked, and how that ends.
 *
 * Comes from smtps' chain of filters; goes to peer.c for a connection and to steps.c for each ask.
 * Owns the sessions. A session whose connection is lost in the middle of a mail fails at its next
 * ask; between mails it gets a new connection and tells the filter anew who is there.
 * On failure: TEMPFAIL with the filter's place and what was expected; what then becomes of the mail
 * is the host's.
 */
#include "milter.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- answers ---- */

/* What the last ask had and the last verdict pointed to. */
static void forget(struct sess *s)
{
	content_drop(s);
	bag_empty(s->m, &s->bag);
	memset(&s->verdict, 0, sizeof(s->verdict));
	s->arg = s->args = (struct meta1_buf){NULL, 0};
	s->rcpt = NULL;
	s->rcpts = 0;
	s->refused = NULL;
	s->msg = NULL;
	s->edit = NULL;
	s->nedit = s->edit_room = 0;
	s->body = NULL;
	s->nbody = s->body_room = 0;
	s->replaced = 0;
	s->hopeless = 0;
}

/* The connection goes, and what the filter knows with it. */
static void disconnect(struct sess *s)
{
	content_drop(s);
	peer_drop(&s->peer);
	s->told = 0;
	s->nrcpt = 0;
	steps_over(s);
}

void sess_answer(struct sess *s, enum meta1_pm_action action)
{
	struct meta1_pm_verdict *v = &s->verdict;
	struct meta1_req *req = s->req;
	struct meta1_reply r = {.size = sizeof(r), .ext = v};

	v->size = sizeof(*v);
	v->action = action;
	v->wants = s->peer ? negotiate_wants(s->peer) : 0;
	steps_heard(s);
	/* Some filters answer what they were told behind their last word, some do not. */
	if (s->peer && s->owed > 1)
		disconnect(s);
	steps_over(s);
	if (s->goal == STEP_END) {
		s->mail = 0;
		if (action == META1_PM_CONTINUE || action == META1_PM_ACCEPT)
			edits_done(s);
		else
			v->hold = NULL;
		/* The content is the host's again: nothing of it may still be on its way. */
		if (s->peer && (content_reads(s) || s->m->host->conn->unsent(s->peer->conn) > 0))
			disconnect(s);
		content_drop(s);
	}
	s->req = NULL;
	s->m->host->finish(req, META1_OK, &r);
}

static void fail(struct sess *s, const char *text)
{
	struct meta1_req *req = s->req;
	struct meta1_reply r = {.size = sizeof(r), .text = text};

	s->req = NULL;
	s->m->host->count(s->m->ctx, "failures", 1);
	if (req)
		s->m->host->finish(req, s->hopeless ? META1_PERMFAIL : META1_TEMPFAIL, &r);
	else if (s->mail)
		snprintf(s->why, sizeof(s->why), "%s", text);
}

void sess_fail(struct sess *s, const char *fmt, ...)
{
	char text[400], where[160];
	va_list ap;
	int n = 0;

	if (s->peer) {
		peer_place(s->peer, where, sizeof(where));
		n = snprintf(text, sizeof(text), "%.159s: ", where);
	}
	va_start(ap, fmt);
	vsnprintf(text + n, sizeof(text) - (size_t)n, fmt, ap);
	va_end(ap);
	disconnect(s);
	fail(s, text);
}

/* The filter had closed a connection that was kept, and heard nothing of what was said on it;
 * all of that can be said again. */
static int again(struct sess *s)
{
	const struct peer *p = s->peer;
	struct meta1_err err;
	int mail = s->goal >= STEP_RCPT && s->goal != STEP_END && s->mail;

	if (!s->req || !p || !p->old || p->heard || mail)
		return -1;
	disconnect(s);
	if (s->goal == STEP_END && content_begin(s, &err) < 0)
		return -1;
	return peer_get(s, &err);
}

void sess_go(struct sess *s)
{
	if (s->peer && s->peer->state == PEER_USED)
		steps_go(s);
}

void sess_lost(struct sess *s, const char *why)
{
	int early = s->peer && s->peer->state < PEER_USED;
	char text[400];

	if (again(s) == 0) {
		sess_go(s);
		return;
	}
	if (s->req && !early)
		snprintf(
		    text, sizeof(text), "%.300s before an answer to %s", why, step_name(s->step));
	else
		snprintf(text, sizeof(text), "%.300s", why);
	disconnect(s);
	fail(s, text);
}

/* ---- asks ---- */

static const struct {
	uint32_t stage;
	enum step goal;
} stages[] = {
    {META1_PM_CONNECT, STEP_CONNECT},
    {META1_PM_HELO, STEP_HELO},
    {META1_PM_MAIL, STEP_MAIL},
    {META1_PM_RCPT, STEP_RCPT},
    {META1_PM_DATA, STEP_DATA},
    {META1_PM_END, STEP_END},
    {META1_PM_UNKNOWN, STEP_UNKNOWN},
    {META1_PM_REFUSED, STEP_RCPT},
};

/* As it goes out: "<a@b>", NUL, "SIZE=1", NUL ...; the others: text, NUL */
static int pack(struct sess *s, const struct meta1_pm_ask *a, struct meta1_buf *out)
{
	int path = s->goal == STEP_MAIL || s->goal == STEP_RCPT;
	size_t n = a->arg.len + 3;
	char *p;

	for (uint32_t i = 0; i < a->nparam; i++)
		n += a->param[i].len + 1;
	out->data = p = bag_get(s->m, &s->bag, n);
	if (!p)
		return -1;
	if (path)
		*p++ = '<';
	if (a->arg.len > 0)
		memcpy(p, a->arg.data, a->arg.len);
	p += a->arg.len;
	if (path)
		*p++ = '>';
	*p++ = '\0';
	for (uint32_t i = 0; path && i < a->nparam; i++) {
		memcpy(p, a->param[i].data, a->param[i].len);
		p += a->param[i].len;
		*p++ = '\0';
	}
	out->len = (size_t)(p - (const char *)out->data);
	return 0;
}

/* END: recipients that the filter was not told of, or may have to be told again. */
static int pack_rcpts(struct sess *s, const struct meta1_pm_ask *a)
{
	struct meta1_buf *r;

	if (s->nrcpt > 0 && s->peer && (!s->peer->old || s->peer->heard))
		return 0;
	r = bag_get(s->m, &s->bag, (a->nrcpt + 1) * sizeof(*r));
	if (!r)
		return -1;
	for (uint32_t i = 0; i < a->nrcpt; i++) {
		char *p = bag_get(s->m, &s->bag, a->rcpt[i].len + 3);

		if (!p)
			return -1;
		p[0] = '<';
		memcpy(p + 1, a->rcpt[i].data, a->rcpt[i].len);
		p[a->rcpt[i].len + 1] = '>';
		r[i] = (struct meta1_buf){p, a->rcpt[i].len + 3};
	}
	s->rcpt = r;
	s->rcpts = a->nrcpt;
	if (s->nrcpt > 0) /* only when it has to be said again */
		s->nrcpt = s->rcpts;
	return 0;
}

/* What is asked is the host's only during the call. */
static int keep(struct sess *s, const struct meta1_pm_ask *a, struct meta1_err *err)
{
	snprintf(err->text, sizeof(err->text), "no memory");
	s->arg = bag_copy(s->m, &s->bag, a->arg.data, a->arg.len);
	if (!s->arg.data || pack(s, a, &s->args) < 0)
		return -1;
	if (a->stage == META1_PM_REFUSED) {
		s->refused = bag_copy(s->m, &s->bag, a->refused ? a->refused : "550",
		    strlen(a->refused ? a->refused : "550"))
				 .data;
		if (!s->refused)
			return -1;
	}
	if (s->goal != STEP_END)
		return 0;
	s->msg = a->msg;
	return pack_rcpts(s, a) < 0 ? -1 : content_begin(s, err);
}

/* What is asked anew was not told yet. */
static void untell(struct sess *s)
{
	s->told &= ~(s->goal == STEP_CONNECT ? 0
		     : s->goal == STEP_MAIL  ? STEPS_MAIL
		     : s->goal == STEP_END   ? STEPS_CONTENT
					     : STEP_BIT(s->goal));
	if (s->goal == STEP_MAIL) {
		s->skip = 0;
		s->nrcpt = 0;
	}
}

void sess_ask(void *sess, struct meta1_req *req, const struct meta1_pm_ask *a)
{
	struct sess *s = sess;
	struct meta1_err err;
	size_t i = 0;

	forget(s);
	s->req = req;
	*s->m->host->req_slot(req) = s;
	while (i + 1 < sizeof(stages) / sizeof(stages[0]) && stages[i].stage != a->stage)
		i++;
	s->goal = stages[i].goal;
	s->step = STEP_NONE;
	if (s->accepted || (s->discarded && s->goal > STEP_MAIL)) {
		sess_answer(s, s->accepted ? META1_PM_ACCEPT : META1_PM_DISCARD);
		return;
	}
	if (*s->why) {
		fail(s, s->why);
		return;
	}
	untell(s);
	if (keep(s, a, &err) < 0 || (!s->peer && peer_get(s, &err) < 0)) {
		sess_fail(s, "%s", err.text);
		return;
	}
	sess_go(s);
}

/* ---- sessions ---- */

uint32_t sess_begin(void *inst, const struct meta1_pm_about *about, void **sess)
{
	struct milter *m = inst;
	struct sess *s = m->host->alloc(m->ctx, sizeof(*s));

	*sess = s ? s : &m->none;
	if (s) {
		s->m = m;
		s->about = about;
	}
	/* What the filter does not want is known when it was asked for the first time. But the
	 * client's name is looked for before it is greeted, which may take seconds: for that it is
	 * enough that the filter did not want it the last time. */
	return (m->nameless ? 0u : META1_PM_CONNECT) | META1_PM_HELO | META1_PM_MAIL |
	       META1_PM_RCPT | META1_PM_DATA | META1_PM_END | META1_PM_UNKNOWN | META1_PM_REFUSED;
}

void sess_reset(void *sess)
{
	struct sess *s = sess;

	if (s == &s->m->none)
		return;
	forget(s);
	if (s->mail && s->peer && s->peer->state == PEER_USED)
		peer_say(s->peer, 'A', NULL, 0);
	s->mail = 0;
	s->discarded = 0;
	s->skip = 0;
	s->nrcpt = 0;
	s->told &= ~STEPS_MAIL;
	s->why[0] = '\0';
}

void sess_end(void **sess)
{
	struct sess *s = *sess;

	*sess = NULL;
	if (!s || s == &s->m->none)
		return;
	sess_reset(s);
	if (s->peer)
		peer_give_back(&s->peer);
	s->m->host->free(s->m->ctx, s);
}

void sess_cancel(void *inst, struct meta1_req *req)
{
	struct milter *m = inst;
	struct sess *s = *m->host->req_slot(req);
	struct meta1_reply r = {.size = sizeof(r), .text = "canceled"};

	if (s && s->req == req) {
		s->req = NULL;
		disconnect(s);
		if (s->mail)
			snprintf(s->why, sizeof(s->why), "no answer to %s", step_name(s->step));
	}
	m->host->finish(req, META1_CANCELED, &r);
}
