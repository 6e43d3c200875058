/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * link.c -- a connection of an smtps: its greeting and ours, frames to the sessions that they are
 * for, what they answer, and its end.
 *
 * Comes from start.c's listener; goes to session.c, by way of the pool when there is one. Owns the
 * connection, and its sessions until each was told CLOSE: by the server, or by us when the
 * connection is gone.
 * On failure: a server that does not keep to the protocol is told BYE and hung up on.
 */
#include "lib.h"

#include <stdlib.h>
#include <string.h>

/* ---- frames out ---- */

static void put(pmss_ctx_P l, struct meta1_pmw_out *o)
{
	size_t n = meta1_pmw_done(o);

	if (l->fd >= 0 && n)
		evbuffer_add(l->out, o->at, n);
}

static void bare(pmss_ctx_P l, uint32_t type)
{
	unsigned char buf[META1_PMW_HEAD];
	struct meta1_pmw_out o = meta1_pmw_begin(buf, sizeof(buf), type, 0);

	put(l, &o);
}

/* ---- the end ---- */

static void hold(pmss_ctx_P l)
{
	l->nsession++;
}

static void let_go(pmss_ctx_P l)
{
	pmss_ctx_P *at = &l->g->links;

	if (--l->nsession || l->fd >= 0)
		return;
	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	l->g->nlink--;
	lpm_io_free(l);
	free(l);
}

static pmse_ctx_P *place(pmss_ctx_P l, uint32_t id)
{
	pmse_ctx_P *at = &l->all[id % SESSION_BUCKETS];

	while (*at && (*at)->id != id)
		at = &(*at)->next;
	return at;
}

static void drop_frames(pmse_ctx_P s)
{
	struct frame *f;

	while ((f = s->first)) {
		s->first = f->next;
		free(f);
	}
	s->last = &s->first;
	s->link->waiting -= s->waiting;
	s->waiting = 0;
}

/* What a worker said. */
static void collect(pmse_ctx_P s)
{
	if (s->out && s->link->fd >= 0)
		evbuffer_add_buffer(s->link->out, s->out);
	else if (s->out)
		evbuffer_drain(s->out, evbuffer_get_length(s->out));
}

static void remove_session(pmse_ctx_P s)
{
	pmss_ctx_P l = s->link;

	*place(l, s->id) = s->next;
	drop_frames(s);
	lpm_session_free(&s);
	let_go(l);
}

/* ---- one frame of a session after the other ---- */

static uint32_t type_of(const struct frame *f)
{
	return (uint32_t)meta1_pmw_load(f->at + 4, 2);
}

/* The frame that it was busy with is done. false: the session is gone. */
static bool settled(pmse_ctx_P s)
{
	lpm_session_back(s);
	s->busy = 0;
	free(s->now);
	s->now = NULL;
	collect(s);
	if (!s->closed)
		return true;
	remove_session(s);
	return false;
}

/* It can be told a frame of this type now. */
static bool ready(const struct pmse_ctx_S *s, uint32_t type)
{
	return !s->busy && (!s->later || type == META1_PMW_CLOSE);
}

static void feed(pmse_ctx_P s)
{
	struct frame *f;

	while ((f = s->first) && ready(s, type_of(f))) {
		s->first = f->next;
		if (!s->first)
			s->last = &s->first;
		s->waiting -= f->len;
		s->link->waiting -= f->len;
		s->now = f;
		s->busy = 1;
		if (s->link->g->pool) {
			lpm_pool_put(s->link->g->pool, s);
			return;
		}
		lpm_session_run(s, f->at, f->len);
		if (!settled(s))
			return;
	}
}

void lpm_link_done(pmse_ctx_P s)
{
	if (settled(s))
		feed(s);
}

/* false: it sends more than it was granted */
static int add(pmse_ctx_P s, const void *frame, size_t len)
{
	bool fits = s->waiting + len <= WAITING_MAX && s->link->waiting + len <= LINK_WAITING_MAX;
	struct frame *f = fits ? malloc(sizeof(*f) + len) : NULL;

	if (!f)
		return 0;
	f->next = NULL;
	f->len = len;
	memcpy(f->at, frame, len);
	*s->last = f;
	s->last = &f->next;
	s->waiting += len;
	s->link->waiting += len;
	return 1;
}

static void close_session(pmse_ctx_P s)
{
	unsigned char buf[META1_PMW_HEAD];
	struct meta1_pmw_out o = meta1_pmw_begin(buf, sizeof(buf), META1_PMW_CLOSE, s->id);

	drop_frames(s);
	/* without memory for it the session stays until the end: nothing calls it any more */
	if (add(s, buf, meta1_pmw_done(&o)))
		feed(s);
}

void lpm_link_hang_up(pmss_ctx_P l, const char *why)
{
	if (l->fd < 0)
		return;
	lpm_debug(l->g, 1, "connection ends: %s", why);
	hold(l);
	lpm_io_close(l);
	for (unsigned i = 0; i < SESSION_BUCKETS; i++) {
		pmse_ctx_P s = l->all[i];

		while (s) {
			pmse_ctx_P next = s->next;

			close_session(s);
			s = next;
		}
	}
	let_go(l);
}

/* It is told why, when that can be said at once. */
static void refuse(pmss_ctx_P l, const char *why)
{
	unsigned char buf[400];
	struct meta1_pmw_out o = meta1_pmw_begin(buf, sizeof(buf), META1_PMW_BYE, 0);

	meta1_pmw_text(&o, META1_PMW_F_TEXT, why);
	put(l, &o);
	lpm_io_flush(l);
	lpm_link_hang_up(l, why);
}

void lpm_link_end_all(pmg_ctx_P g)
{
	pmss_ctx_P l, next;

	for (l = g->links; l; l = next) {
		next = l->next;
		refuse(l, "the filter ends");
	}
}

/* ---- greetings ---- */

static uint32_t stages_of(const struct pmilter_S *f)
{
	return (f->pmfi_connect ? META1_PM_CONNECT : 0u) | (f->pmfi_helo ? META1_PM_HELO : 0u) |
	       (f->pmfi_mail ? META1_PM_MAIL : 0u) | (f->pmfi_rcpt ? META1_PM_RCPT : 0u) |
	       (f->pmfi_data ? META1_PM_DATA : 0u) |
	       (f->pmfi_msg || f->pmfi_eom ? META1_PM_END : 0u) |
	       (f->pmfi_unknown ? META1_PM_UNKNOWN : 0u);
}

static void welcome(pmss_ctx_P l)
{
	unsigned char buf[4096];
	struct meta1_pmw_out o = meta1_pmw_begin(buf, sizeof(buf), META1_PMW_WELCOME, 0);

	meta1_pmw_num(&o, META1_PMW_F_VERSION, META1_PMW_VERSION, 2);
	meta1_pmw_text(&o, META1_PMW_F_PROGRAM, l->g->filter->pmfi_name);
	meta1_pmw_num(&o, META1_PMW_F_STAGES, l->stages, 4);
	if (l->quiet)
		meta1_pmw_num(&o, META1_PMW_F_WANTS, l->stages & ~l->quiet, 4);
	meta1_pmw_num(&o, META1_PMW_F_ACTIONS, l->actions, 4);
	meta1_pmw_num(&o, META1_PMW_F_CONTENT, l->content, 1);
	meta1_pmw_num(&o, META1_PMW_F_WINDOW, META1_PMW_WINDOW, 4);
	meta1_pmw_num(&o, META1_PMW_F_WINDOWS, META1_PMW_WINDOWS, 4);
	for (unsigned i = 0; i < l->nask; i++) {
		unsigned char *p =
		    meta1_pmw_room(&o, META1_PMW_F_ASK_MACROS, 4 + 2 * (size_t)l->nmac[i]);

		if (!p)
			continue;
		meta1_pmw_store(p, l->macstage[i], 4);
		for (uint32_t k = 0; k < l->nmac[i]; k++)
			meta1_pmw_store(p + 4 + 2 * k, l->mac[i][k], 2);
	}
	put(l, &o);
}

static const char *greeted(pmss_ctx_P l, struct meta1_pmw_frame *f)
{
	const struct pmilter_S *fi = l->g->filter;
	struct meta1_pmw_field_of v;
	uint32_t newest = 0, oldest = 0, stages = 0, actions = 0;
	uint32_t answered = UINT32_MAX;

	while (meta1_pmw_next(f, &v)) {
		uint32_t n = (uint32_t)meta1_pmw_value(&v);

		if (v.field == META1_PMW_F_VERSION)
			newest = n;
		else if (v.field == META1_PMW_F_OLDEST)
			oldest = n;
		else if (v.field == META1_PMW_F_STAGES)
			stages = n;
		else if (v.field == META1_PMW_F_ACTIONS)
			actions = n;
		else if (v.field == META1_PMW_F_WANTS)
			answered = n;
		else if (v.field == META1_PMW_F_WINDOW)
			l->window = n;
	}
	if (f->type != META1_PMW_HELLO || oldest > META1_PMW_VERSION || newest < META1_PMW_VERSION)
		return "expected HELLO of version 1";
	l->stages = stages_of(fi) & stages;
	l->actions = (fi->pmfi_actions ? fi->pmfi_actions : META1_PMW_A_ALL) & actions;
	l->content = fi->pmfi_msg ? fi->pmfi_content : META1_PMW_C_NONE;
	l->greeted = 1;
	l->may_quiet = stages & ~answered;
	if (fi->pmfi_negotiate && sm_is_err(fi->pmfi_negotiate(l, stages, actions, 0, l->may_quiet,
				      &l->stages, &l->actions, &l->content, &l->quiet)))
		return "the filter does not work with this server";
	l->quiet &= l->may_quiet & l->stages;
	welcome(l);
	return NULL;
}

/* ---- frames in ---- */

static const char *of_session(pmss_ctx_P l, struct meta1_pmw_frame *f, const void *all)
{
	pmse_ctx_P *at = place(l, f->session);
	pmse_ctx_P s = *at;

	if (f->type == META1_PMW_OPEN) {
		if (s || !f->session)
			return "it opens a session twice";
		if (l->nsession > SESSIONS_MAX)
			return "it opens too many sessions";
		s = lpm_session_new(l, f);
		if (!s)
			return "no memory";
		s->next = *at;
		*at = s;
		hold(l);
		return NULL;
	}
	if (f->type < META1_PMW_OPEN || f->type > META1_PMW_TAKEN)
		return f->type & META1_PMW_OPTIONAL ? NULL : "a frame of an unknown type";
	if (!s)
		return "it speaks of a session that there never was";
	if (!l->g->pool && !s->first && ready(s, f->type)) {
		s->busy = 1;
		lpm_session_run(s, all, f->all);
		if (settled(s))
			feed(s);
		return NULL;
	}
	if (!add(s, all, f->all))
		return "it sends more than the window allows";
	feed(s);
	return NULL;
}

static const char *take(pmss_ctx_P l, struct meta1_pmw_frame *f, const void *all)
{
	if (!l->greeted)
		return greeted(l, f);
	if (f->type == META1_PMW_PING)
		bare(l, META1_PMW_PONG);
	if (f->type == META1_PMW_PING || f->type == META1_PMW_PONG)
		return NULL;
	if (f->type == META1_PMW_BYE)
		return "the server hangs up";
	return of_session(l, f, all);
}

void lpm_link_input(pmss_ctx_P l)
{
	const char *bad = NULL;
	struct meta1_pmw_frame f;
	size_t at = 0;
	int got = 0;

	hold(l);
	while (!bad && l->fd >= 0 && (got = meta1_pmw_frame(l->in + at, l->inlen - at, &f)) > 0) {
		const unsigned char *all = l->in + at;

		at += f.all;
		bad = take(l, &f, all);
	}
	lpm_io_take(l, at);
	if (!bad && got < 0)
		bad = "it sends what is no frame";
	if (bad)
		refuse(l, bad);
	else
		lpm_io_flush(l);
	let_go(l);
}

void lpm_link_open(pmg_ctx_P g, evutil_socket_t fd)
{
	pmss_ctx_P l = calloc(1, sizeof(*l));

	if (!l) {
		evutil_closesocket(fd);
		return;
	}
	l->g = g;
	if (lpm_io_open(l, fd) < 0) {
		lpm_io_free(l);
		free(l);
		return;
	}
	l->next = g->links;
	g->links = l;
	g->nlink++;
}
