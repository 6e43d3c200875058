/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pmilter_pmilter.c -- the module: options, sessions, questions.
 *
 * Comes from smtps' chain of filters; goes to say.c with each question and comes back by reply.c.
 * Owns the sessions. A session that begins before there is a connection waits for it within its
 * first question. On failure: TEMPFAIL and why; what becomes of the mail is the host's to say.
 */
#include "pmilter.h"

#include <stdio.h>
#include <string.h>

#define T struct conf
static const struct meta1_opt options[] = {
    PLACE_OPTIONS(T),
    META1_OPT_INT(T, connections, "1", "1..16",
	"Connections to the filter. One carries all sessions; more serve a filter that is one "
	"thread a connection."),
    META1_OPT_BYTES(T, max_message_size, "64MB", "1KB..1TB",
	"A message that the filter sends in place of the one it got may have so many bytes."),
    META1_OPT_MSEC(T, ping, "1m", "1s..1h",
	"A filter that was silent for so long is asked whether it is there, and given up after "
	"five times that without a sign of it."),
};
#undef T

static int pm_check(const void *conf, struct meta1_err *err)
{
	const struct conf *c = conf;

	if (PLACE_CHECK(c, err) < 0)
		return -1;
	if (PLACE_SOCKET(c).addr)
		return 0;
	snprintf(err->text, sizeof(err->text),
	    "no socket: say where the filter listens, socket { type = unix; path = \"/run/x\"; } "
	    "or "
	    "socket { type = inet; port = 3333; }");
	return -1;
}

static void pm_close(void *inst)
{
	struct pm *pm = inst;

	for (uint32_t i = 0; i < pm->nlink; i++)
		link_close(&pm->link[i]);
	pm->host->free(pm->ctx, pm);
}

static int pm_open(const struct meta1_host *host, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *err)
{
	struct pm *pm = host->alloc(ctx, sizeof(*pm));
	int bad = !pm;

	if (pm) {
		pm->host = host;
		pm->ctx = ctx;
		pm->conf = conf;
		pm->nlink = (uint32_t)pm->conf->connections;
		pm->none = (struct sess){.pm = pm, .link = &pm->link[0], .lost = 1};
		for (uint32_t i = 0; i < pm->nlink; i++)
			bad |= link_init(pm, &pm->link[i]) < 0;
	}
	if (bad) {
		snprintf(err->text, sizeof(err->text), "no memory");
		if (pm)
			pm_close(pm);
		return -1;
	}
	*inst = pm;
	return 0;
}

/* ---- lists of a link: what waits, what has content to tell ---- */

void pm_queue(struct sess *s, struct sess ***end)
{
	s->pq = *end;
	s->q = NULL;
	**end = s;
	*end = &s->q;
}

void pm_unqueue(struct sess *s)
{
	struct link *l = s->link;

	if (!s->pq)
		return;
	if (s->q)
		s->q->pq = s->pq;
	else if (l->waiting_end == &s->q)
		l->waiting_end = s->pq;
	else
		l->sending_end = s->pq;
	*s->pq = s->q;
	s->pq = NULL;
	s->q = NULL;
}

/* ---- questions ---- */

static void finish(struct sess *s, enum meta1_status st, const char *text)
{
	struct meta1_req *req = s->req;
	struct meta1_reply r = {.size = sizeof(r), .text = text};

	s->req = NULL;
	content_drop(s);
	if (!text)
		r.ext = &s->verdict;
	else if (s->no_room)
		r.smtp = 452;
	if (req)
		s->pm->host->finish(req, st, &r);
}

void pm_finish(struct sess *s, const char *text)
{
	finish(s, !text ? META1_OK : s->unable ? META1_PERMFAIL : META1_TEMPFAIL, text);
}

/* It is this mail's fault, not the filter's. */
void pm_cannot(struct sess *s)
{
	finish(s, META1_PERMFAIL, "the question does not fit into a frame");
}

/* The filter has nothing to say to it. */
static void pass(struct sess *s)
{
	s->verdict = (struct meta1_pm_verdict){.size = sizeof(s->verdict),
	    .wants = s->wants,
	    .sizeof_edit = sizeof(struct meta1_pm_edit)};
	pm_finish(s, NULL);
}

static int told_to(struct sess *s)
{
	struct link *l = s->link;
	struct sess **at;

	if (s->id)
		return 1;
	do {
		s->id = ++l->last_id;
	} while (!s->id || *link_place(l, s->id));
	at = link_place(l, s->id);
	s->next = *at;
	*at = s;
	return say_open(s);
}

static void put(struct sess *s, const struct meta1_pm_ask *ask)
{
	struct link *l = s->link;

	if (l->pm->host->conn->unsent(l->conn) > UNSENT_MAX) {
		pm_finish(s, "the filter takes no more: it does not read");
		return;
	}
	if (ask->stage & ~(META1_PM_CONNECT | META1_PM_HELO | META1_PM_UNKNOWN))
		s->told = 1;
	if (!told_to(s) ||
	    (ask->stage == META1_PM_END ? !content_begin(s, ask->msg) : !say_question(s, ask)))
		pm_cannot(s);
	else if (ask->stage == META1_PM_END)
		content_pump(l);
	else if (say_quiet(s, ask->stage))
		pass(s);
}

void pm_linked(struct sess *s, const char *why)
{
	const struct meta1_pm_ask ask = {.size = sizeof(ask), .stage = META1_PM_CONNECT};

	pm_unqueue(s);
	if (why) {
		pm_finish(s, why);
		return;
	}
	s->wants &= s->link->stages;
	if (s->wants & META1_PM_CONNECT)
		put(s, &ask);
	else
		pass(s);
}

void pm_lost(struct sess *s, const char *why)
{
	s->id = s->again = 0;
	s->lost = 1;
	if (s->req && !s->settling)
		pm_finish(s, why);
}

/* Those that are up take turns. */
static struct link *choose(struct pm *pm)
{
	for (uint32_t i = 0; i < pm->nlink; i++) {
		struct link *l = &pm->link[(pm->turn + i) % pm->nlink];

		if (l->state != LINK_UP)
			continue;
		pm->turn += i + 1;
		return l;
	}
	return &pm->link[pm->turn++ % pm->nlink];
}

/* The filter hears again who the client is. false: that does not fit into a frame. */
static int tell_again(struct sess *s, uint32_t stage)
{
	struct meta1_pm_ask con = {.size = sizeof(con), .stage = META1_PM_CONNECT};
	struct meta1_pm_ask helo = {.size = sizeof(helo), .stage = META1_PM_HELO};
	const char *name = s->about->helo;

	if (!told_to(s))
		return 0;
	if (s->wants & META1_PM_CONNECT) {
		if (!say_question(s, &con))
			return 0;
		s->again += !say_quiet(s, META1_PM_CONNECT);
	}
	if (stage == META1_PM_MAIL && (s->wants & META1_PM_HELO) && name) {
		helo.arg = (struct meta1_buf){name, strlen(name)};
		if (!say_question(s, &helo))
			return 0;
		s->again += !say_quiet(s, META1_PM_HELO);
	}
	return 1;
}

/* A session whose connection was lost between two mails goes on at another. */
static void revive(struct sess *s, uint32_t stage)
{
	struct link *l;

	if (s == &s->pm->none || s->told || !(stage & (META1_PM_MAIL | META1_PM_HELO)))
		return;
	l = choose(s->pm);
	if (l->state != LINK_UP)
		return;
	s->link = l;
	s->lost = 0;
	s->wants &= l->stages;
	if (!tell_again(s, stage))
		s->lost = 1;
}

/* ---- the ops ---- */

static uint32_t pm_begin(void *inst, const struct meta1_pm_about *about, void **sess)
{
	struct pm *pm = inst;
	struct link *l = choose(pm);
	uint32_t wants = l->state == LINK_UP ? l->stages : EVENT_STAGES;
	struct sess *s;

	*sess = NULL;
	for (uint32_t i = 0; i < pm->nlink; i++)
		if (pm->link[i].state == LINK_DOWN)
			link_want(&pm->link[i]);
	if (!wants)
		return 0;
	s = pm->host->alloc(pm->ctx, sizeof(*s));
	*sess = s ? s : &pm->none;
	if (!s) /* its questions fail */
		return wants;
	*s = (struct sess){.pm = pm, .link = l, .about = about, .wants = wants};
	return wants;
}

static void pm_ask(void *sess, struct meta1_req *req, const struct meta1_pm_ask *ask)
{
	struct sess *s = sess;
	struct link *l = s->link;

	reply_forget(s);
	s->req = req;
	s->stage = ask->stage;
	*s->pm->host->req_slot(req) = s;
	if (s->lost) {
		revive(s, ask->stage);
		l = s->link;
	}
	if (s->lost)
		pm_finish(s, s == &s->pm->none ? "no memory for the session"
					       : "the connection to the filter was lost");
	else if (l->state == LINK_UP)
		put(s, ask);
	else if (ask->stage != META1_PM_CONNECT)
		pm_finish(s, "there is no connection to the filter");
	else {
		pm_queue(s, &l->waiting_end);
		link_want(l);
	}
}

static void pm_reset(void *sess)
{
	struct sess *s = sess;

	reply_forget(s);
	if (s->id && s->told)
		say_bare(s, META1_PMW_RESET);
	s->told = 0;
}

static void pm_end(void **sess)
{
	struct sess *s = *sess;
	struct sess **at;

	*sess = NULL;
	if (!s || s == &s->pm->none)
		return;
	pm_unqueue(s);
	content_drop(s);
	reply_forget(s);
	if (s->id) {
		say_bare(s, META1_PMW_CLOSE);
		at = link_place(s->link, s->id);
		*at = s->next;
		/* what of it was not acknowledged will not be: there is room for others */
		s->link->unacked -= s->unacked;
		content_pump(s->link);
	}
	s->pm->host->free(s->pm->ctx, s);
}

static void pm_cancel(void *inst, struct meta1_req *req)
{
	struct pm *pm = inst;
	struct sess *s = *pm->host->req_slot(req);
	struct meta1_reply r = {.size = sizeof(r), .text = "canceled"};

	if (s && s->req == req) {
		s->req = NULL;
		s->deaf = 1;
		pm_unqueue(s);
		content_drop(s);
	}
	pm->host->finish(req, META1_CANCELED, &r);
}

static void pm_state(void *inst, struct meta1_pm_state *st)
{
	struct pm *pm = inst;
	const struct link *l = &pm->link[0];
	char where[112];
	uint32_t up = 0;

	for (uint32_t i = 0; i < pm->nlink; i++)
		if (pm->link[i].state == LINK_UP) {
			l = &pm->link[i];
			up++;
		}
	place_text(l->place, where, sizeof(where));
	st->connected = up > 0;
	snprintf(st->peer, sizeof(st->peer), "%.70s pmilter%s%.25s%s", where, up ? " " : "",
	    up ? l->program : "", up && l->fallback ? ", the fall-back" : "");
}

static const struct meta1_pmilter_ops ops = {.size = sizeof(ops),
    .begin = pm_begin,
    .ask = pm_ask,
    .reset = pm_reset,
    .end = pm_end,
    .cancel = pm_cancel,
    .state = pm_state};

META1_MODULE(pmilter_pmilter, .kind = META1_PMILTER, .roles = META1_SMTPS, .version = "0.1.0",
    .summary = "Filters made with libpmilter.", .opt = options,
    .nopt = sizeof(options) / sizeof(options[0]), .sizeof_conf = sizeof(struct conf),
    .check = pm_check, .open = pm_open, .close = pm_close, .ops = &ops);
