/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * link.c -- a connection to the filter: greeting, frames to whom they are for, pings, and coming
 * back after it was away.
 *
 * Comes from pmilter_pmilter.c, which waits for it; goes to reply.c and content.c with each frame.
 * Owns connection and timer. One that cannot be connected is tried again after 1 s, then longer, up
 * to 30 s, and at once when a session comes that wants it, but not more often than each 200 ms; the
 * fall-back address is tried when the first one is not there, the first one again each time.
 * On failure: a frame that is not as it should be ends the connection; what was asked there fails.
 */
#include "pmilter.h"

#include <stdio.h>
#include <string.h>

#define CONNECT_MS 5000
#define GREET_MS   10000
#define PAUSE_MIN  1000
#define PAUSE_MAX  30000
#define SPACING_MS 200
#define PINGS	   5

static void start(struct link *l, struct place p, int fallback);

/* ---- sessions by number ---- */

struct sess **link_place(struct link *l, uint32_t id)
{
	struct sess **at = &l->all[id % BUCKETS];

	while (*at && (*at)->id != id)
		at = &(*at)->next;
	return at;
}

/* ---- the end, and coming back ---- */

static void arm(struct link *l, int64_t ms)
{
	l->due = l->pm->host->now(l->pm->ctx) + ms;
	l->pm->host->rearm(l->timer, ms);
}

static void wait_over(struct link *l, const char *why)
{
	while (l->waiting)
		pm_linked(l->waiting, why);
}

static void sessions_lost(struct link *l, const char *why)
{
	for (uint32_t i = 0; i < BUCKETS; i++) {
		struct sess *s = l->all[i];

		while (s) {
			struct sess *next = s->next;

			pm_unqueue(s);
			s->next = NULL;
			s->unacked = 0;
			pm_lost(s, why);
			s = next;
		}
		l->all[i] = NULL;
	}
	l->unacked = 0;
}

static void hang_up(struct link *l)
{
	if (l->conn)
		l->pm->host->conn->close(&l->conn);
	l->nlate = 0;
	l->state = LINK_DOWN;
	l->pinged = 0;
	l->said = l->mark = 0;
	l->owed = l->owed_before = 0;
}

static void try_later(struct link *l)
{
	l->pause = l->pause == 0 ? PAUSE_MIN : l->pause < PAUSE_MAX / 2 ? l->pause * 2 : PAUSE_MAX;
	arm(l, l->pause);
}

void link_fail(struct link *l, const char *why)
{
	struct place second = PLACE_FALLBACK(l->pm->conf);
	int before = l->state == LINK_CONNECTING || l->state == LINK_GREETING;
	char where[112], text[400];

	place_text(l->place, where, sizeof(where));
	snprintf(text, sizeof(text), "the filter at %s is away: %.250s", where, why);
	if (!l->told || !before)
		l->pm->host->log(l->pm->ctx, META1_WARN, "%s", text);
	l->told = 1;
	hang_up(l);
	l->pm->host->count(l->pm->ctx, "lost", 1);
	sessions_lost(l, text);
	if (before && !l->fallback && second.addr) {
		start(l, second, 1);
		return;
	}
	wait_over(l, text);
	try_later(l);
}

void link_want(struct link *l)
{
	int64_t now = l->pm->host->now(l->pm->ctx);

	/* due - pause is when it failed; a session need not wait longer than SPACING_MS from then
	 */
	if (l->state == LINK_DOWN && l->due - now > SPACING_MS) {
		int64_t ago = l->pause - (l->due - now);

		arm(l, ago < SPACING_MS ? SPACING_MS - ago : 0);
	}
}

void link_close(struct link *l)
{
	hang_up(l);
	if (l->timer)
		l->pm->host->unwatch(&l->timer);
	if (l->late)
		l->pm->host->free(l->pm->ctx, l->late);
	l->late = NULL;
	if (l->late_timer)
		l->pm->host->unwatch(&l->late_timer);
}

/* ---- frames ---- */

static void send_late(struct link *l)
{
	if (l->nlate)
		l->pm->host->conn->write(l->conn, l->late, l->nlate);
	l->said += l->nlate;
	l->nlate = 0;
}

int link_send(struct link *l, struct meta1_pmw_out *o)
{
	size_t n = meta1_pmw_done(o);

	send_late(l);
	if (n)
		l->pm->host->conn->write(l->conn, o->at, n);
	l->said += n;
	return n != 0;
}

int link_send_late(struct link *l, struct meta1_pmw_out *o)
{
	size_t n = meta1_pmw_done(o);

	if (n > LATE_MAX - l->nlate)
		return link_send(l, o);
	memcpy(l->late + l->nlate, o->at, n);
	l->nlate += n;
	if (n && !l->late_armed) {
		l->pm->host->rearm(l->late_timer, LATE_MS);
		l->late_armed = 1;
	}
	return n != 0;
}

static void on_late(int fd, short what, void *arg)
{
	struct link *l = arg;

	(void)fd;
	(void)what;
	l->late_armed = 0;
	send_late(l);
}

void link_answer(struct link *l, struct meta1_pmw_out *o)
{
	if (l->said - l->pm->host->conn->unsent(l->conn) >= l->mark) {
		l->owed_before = l->owed;
		l->owed = 0;
		l->mark = l->said;
	}
	link_send(l, o);
	l->owed += o->len;
}

static struct meta1_pmw_out bare(struct link *l, uint32_t type)
{
	return meta1_pmw_begin(l->pm->out, sizeof(l->pm->out), type, 0);
}

static void pong(struct link *l)
{
	struct meta1_pmw_out o = bare(l, META1_PMW_PONG);

	link_answer(l, &o);
}

static uint64_t number(struct meta1_pmw_frame *f, uint32_t field)
{
	struct meta1_pmw_field_of v;

	while (meta1_pmw_next(f, &v))
		if (v.field == field)
			return meta1_pmw_value(&v);
	return 0;
}

static const char *more(struct sess *s, struct meta1_pmw_frame *f)
{
	uint64_t n = number(f, META1_PMW_F_BYTES);

	return content_acked(s->link, s, n) < 0 ? "it is done with more than it was sent" : NULL;
}

static const char *enough(struct sess *s, struct meta1_pmw_frame *f)
{
	(void)f;
	return content_enough(s) < 0 ? "it has enough of a message that it was not sent" : NULL;
}

static const struct {
	uint32_t type;
	int answers; /* only while END, or any question, is open */
	const char *(*take)(struct sess *, struct meta1_pmw_frame *);
} frames[] = {
    {META1_PMW_VERDICT, 1, reply_verdict},
    {META1_PMW_EDIT, 1, reply_edit},
    {META1_PMW_REPLACE, 1, reply_replace},
    {META1_PMW_MORE, 0, more},
    {META1_PMW_ENOUGH, 1, enough},
};

/* NULL, or why the connection is of no use. */
static const char *of_session(struct link *l, struct meta1_pmw_frame *f)
{
	struct sess *s = f->session ? *link_place(l, f->session) : NULL;

	for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
		if (frames[i].type != f->type)
			continue;
		if (!s && (!f->session || f->session > l->last_id))
			return "it speaks of a session that there never was";
		if (!s) { /* it has ended here; the filter did not know yet */
			content_pump(l);
			return NULL;
		}
		if (!frames[i].answers)
			return frames[i].take(s, f);
		if (s->deaf || (!s->req && reply_again(s, f)))
			return NULL;
		return s->req && !s->settling ? frames[i].take(s, f)
					      : "it answers what it was not asked";
	}
	return f->type & META1_PMW_OPTIONAL ? NULL : "it sends a frame of an unknown type";
}

static const char *greeted(struct link *l, struct meta1_pmw_frame *f)
{
	const char *bad =
	    f->type == META1_PMW_WELCOME ? say_welcomed(l, f) : "its first frame is no WELCOME";
	char where[112];

	if (bad)
		return bad;
	l->state = LINK_UP;
	l->pause = 0;
	place_text(l->place, where, sizeof(where));
	l->pm->host->log(l->pm->ctx, META1_INFO, "the filter at %s is %s: %s", where,
	    l->told ? "there again" : "there", l->program);
	l->told = 0;
	arm(l, l->pm->conf->ping);
	wait_over(l, NULL);
	return NULL;
}

static const char *said_bye(struct link *l, struct meta1_pmw_frame *f)
{
	struct meta1_pmw_field_of v;
	static const char *const none = "it hangs up";

	while (meta1_pmw_next(f, &v))
		if (v.field == META1_PMW_F_TEXT)
			l->pm->host->log(l->pm->ctx, META1_WARN, "the filter hangs up: %.*s",
			    v.len < 200 ? (int)v.len : 200, (const char *)v.at);
	return none;
}

static const char *take(struct link *l, struct meta1_pmw_frame *f)
{
	if (f->type == META1_PMW_BYE)
		return said_bye(l, f);
	if (l->state == LINK_GREETING)
		return greeted(l, f);
	if (f->type == META1_PMW_PING)
		pong(l);
	if (f->type == META1_PMW_PONG)
		content_pump(l);
	if (f->type == META1_PMW_PING || f->type == META1_PMW_PONG)
		return NULL;
	return of_session(l, f);
}

/* ---- events of the connection ---- */

static void on_connected(void *arg)
{
	struct link *l = arg;

	l->state = LINK_GREETING;
	arm(l, GREET_MS);
	say_hello(l);
}

static void on_input(void *arg)
{
	struct link *l = arg;
	const struct meta1_conn_ops *conn = l->pm->host->conn;
	struct meta1_pmw_frame f;
	struct meta1_buf in;
	const char *bad = NULL;
	int got = 0;

	l->heard = 1;
	while (!bad && l->conn && (in = conn->peek(l->conn)).len &&
	       (got = meta1_pmw_frame(in.data, in.len, &f)) > 0) {
		size_t n = f.all;

		bad = take(l, &f);
		if (!bad && l->owed + l->owed_before > OWED_MAX)
			bad = "it sends and does not read";
		if (!bad)
			conn->take(l->conn, n);
	}
	if (got < 0)
		bad = "it sends what is no frame";
	if (bad)
		link_fail(l, bad);
}

static void on_gone(void *arg, const char *why)
{
	link_fail(arg, why);
}

static const struct meta1_conn_events events = {
    .size = sizeof(events), .connected = on_connected, .input = on_input, .gone = on_gone};

static void start(struct link *l, struct place p, int fallback)
{
	struct meta1_hop hop = place_hop(p);
	struct meta1_err err = {""};

	l->place = p;
	l->fallback = fallback;
	l->state = LINK_CONNECTING;
	l->pm->host->rearm(l->timer, -1);
	l->conn = l->pm->host->conn->open(l->pm->ctx, &hop, CONNECT_MS, &events, l, &err);
	if (!l->conn)
		link_fail(l, err.text);
}

/* ---- time ---- */

static void ping(struct link *l)
{
	struct meta1_pmw_out o = bare(l, META1_PMW_PING);
	int64_t now = l->pm->host->now(l->pm->ctx);

	if (l->heard) {
		l->heard = l->pinged = 0;
	} else if (!l->pinged) {
		l->ping_at = now;
		l->pinged = 1;
		link_send(l, &o);
	} else if (now - l->ping_at >= l->pm->conf->ping * PINGS) {
		link_fail(l, "it does not answer a ping");
		return;
	}
	arm(l, l->pm->conf->ping);
}

static void on_timer(int fd, short what, void *arg)
{
	struct link *l = arg;

	(void)fd;
	(void)what;
	if (l->state == LINK_DOWN)
		start(l, PLACE_SOCKET(l->pm->conf), 0);
	else if (l->state == LINK_GREETING)
		link_fail(l, "it does not greet (one of Sendmail's protocol is module = milter)");
	else if (l->state == LINK_UP)
		ping(l);
}

int link_init(struct pm *pm, struct link *l)
{
	l->pm = pm;
	l->waiting_end = &l->waiting;
	l->sending_end = &l->sending;
	l->timer = pm->host->watch_timer(pm->ctx, 0, on_timer, l);
	l->late_timer = pm->host->watch_timer(pm->ctx, -1, on_late, l);
	l->place = PLACE_SOCKET(pm->conf);
	l->late = pm->host->alloc(pm->ctx, LATE_MAX);
	return l->timer && l->late_timer && l->late ? 0 : -1;
}
