/* SPDX-License-Identifier: BSD-2-Clause */
#include "pmilter_raw.h"

#include <sys/socket.h>

struct meta1_pmw_out rw_frame(struct wire *w, uint32_t type, uint32_t session)
{
	return meta1_pmw_begin(w->at + w->len, META1_PMW_FRAME_MAX, type, session);
}

void rw_done(struct wire *w, struct meta1_pmw_out *o)
{
	w->len += meta1_pmw_done(o);
}

void rw_bare(struct wire *w, uint32_t type, uint32_t session)
{
	struct meta1_pmw_out o = rw_frame(w, type, session);

	rw_done(w, &o);
}

void rw_welcome(struct wire *w, uint32_t window, uint32_t windows)
{
	struct meta1_pmw_out o = rw_frame(w, META1_PMW_WELCOME, 0);

	meta1_pmw_num(&o, META1_PMW_F_VERSION, 1, 2);
	meta1_pmw_text(&o, META1_PMW_F_PROGRAM, "raw");
	meta1_pmw_num(&o, META1_PMW_F_STAGES, RW_ALL, 4);
	meta1_pmw_num(&o, META1_PMW_F_WINDOW, window, 4);
	meta1_pmw_num(&o, META1_PMW_F_WINDOWS, windows, 4);
	rw_done(w, &o);
}

struct meta1_pmw_out rw_verdict(struct wire *w, uint32_t session, uint32_t action)
{
	struct meta1_pmw_out o = rw_frame(w, META1_PMW_VERDICT, session);

	meta1_pmw_num(&o, META1_PMW_F_ACTION, action, 1);
	return o;
}

void rw_good(struct wire *w, uint32_t session)
{
	struct meta1_pmw_out o = rw_verdict(w, session, META1_PM_CONTINUE);

	rw_done(w, &o);
}

/* ---- a filter that says what it is told to ---- */

struct raw *raw_new(void)
{
	struct raw *r = base_alloc(sizeof(*r));

	r->f = pf_new("");
	r->lis = raw_listen(r->f);
	r->fd = -1;
	return r;
}

void raw_free(struct raw **rp)
{
	struct raw *r = *rp;

	*rp = NULL;
	if (r->fd >= 0)
		close(r->fd);
	close(r->lis);
	pf_free(&r->f);
	free(r);
}

static void hear(struct raw *r, struct meta1_pmw_frame *f)
{
	struct meta1_pmw_field_of v;

	if ((f->type >= META1_PMW_CONNECT && f->type <= META1_PMW_UNKNOWN) ||
	    f->type == META1_PMW_END)
		r->questions++;
	if (f->session > 2)
		return;
	r->seen[f->session] += f->type == META1_PMW_END;
	while (f->type == META1_PMW_CHUNK && meta1_pmw_next(f, &v))
		r->chunk[f->session] += v.len;
}

void raw_turn(struct raw *r)
{
	struct meta1_pmw_frame f;
	ssize_t n;

	pf_turn(r->f);
	if (r->fd < 0)
		r->fd = accept4(r->lis, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (r->fd < 0)
		return;
	n = recv(r->fd, r->in.at + r->in.len, sizeof(r->in.at) - r->in.len, 0);
	if (n > 0)
		r->in.len += (size_t)n;
	while (meta1_pmw_frame(r->in.at, r->in.len, &f) > 0) {
		size_t all = f.all;

		hear(r, &f);
		memmove(r->in.at, r->in.at + all, r->in.len - all);
		r->in.len -= all;
	}
}

void raw_say(struct raw *r, struct wire *w)
{
	if (send(r->fd, w->at, w->len, MSG_NOSIGNAL) != (ssize_t)w->len)
		fail_msg("%zu bytes are not taken", w->len);
	w->len = 0;
}

void raw_until(struct raw *r, const unsigned *n, unsigned wanted)
{
	for (int i = 0; i < 200000 && *n < wanted; i++) {
		raw_turn(r);
		if (i > 100)
			usleep(100);
	}
	if (*n < wanted)
		fail_msg("it is %u, expected %u", *n, wanted);
}

/* Session s is begun, greeted and has asked CONNECT. */
void raw_asked(struct raw *r, struct ps *s, struct wire *w)
{
	struct meta1_pm_ask ask = {.size = sizeof(ask), .stage = META1_PM_CONNECT};

	ps_begin(r->f, s);
	ps_put(s, &ask);
	while (r->fd < 0)
		raw_turn(r);
	w->len = 0;
	rw_welcome(w, 65536, 65536);
	raw_say(r, w);
	raw_until(r, &r->questions, 1);
}
