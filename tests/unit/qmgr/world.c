/* SPDX-License-Identifier: BSD-2-Clause */
/* world.c -- the other ends of a qmgr under test; see world.h. */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

struct world *W;

/* ---- what role.c does ---- */

struct chan *role_peer(struct role *r, const char *name)
{
	(void)r, (void)name;
	return W->at_smar;
}
void role_stopped(struct role *r)
{
	(void)r;
	W->stopped = true;
}
void role_again(struct role *r)
{
	(void)r;
}
int role_main(struct role *r, int argc, char **argv)
{
	(void)r, (void)argc, (void)argv;
	return 0;
}

/* ---- smar, smtps, smtpc ---- */

static void got_route(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	const struct p_route *m = msg;
	struct meta1_buf hop = buf_str("192.0.2.1 25 mx");
	struct p_routes a = {.key = m->domain, .transport = buf_str("smtp"), .hops = {&hop, 1}};
	static const uint64_t need_of = 1;
	struct meta1_buf need = buf_str("dane-need");
	const char *dot = !m->domain.len ? NULL : memchr(m->domain.data, '.', m->domain.len);
	char domain[256];

	(void)arg;
	W->asked++;
	world_copy(W->from, sizeof(W->from), m->from);
	if (W->first)
		chan_send(c, P_GENERATION, W->first);
	W->first = NULL;
	if (W->smar_silent)
		return;
	if (m->via.len) {
		world_copy(W->via, sizeof(W->via), m->via);
		a.key = m->via;
	}
	a.ttl = W->ttl;
	if (W->rate) {
		a.limits_row = buf_str("row");
		a.limits = buf_str(W->rate);
	}
	world_copy(domain, sizeof(domain), m->domain);
	if (!strncmp(domain, "never.", 6)) {
		a = (struct p_routes){.status = META1_PERMFAIL,
		    .smtp = 556,
		    .dsn = buf_str("5.1.10"),
		    .text = buf_str("the domain takes no mail"),
		    .ttl = W->ttl};
	} else if (!strncmp(domain, "later.", 6)) {
		a = (struct p_routes){.status = META1_TEMPFAIL, .text = buf_str("no answer")};
	} else if (!strncmp(domain, "dane.", 5)) {
		a.need = (struct proto_strs){&need, 1};
		a.need_of = (struct proto_nums){&need_of, 1};
		if (strchr(domain + 5, '.') && !strcmp(strchr(domain + 5, '.'), ".shared"))
			a.key = buf_str("dane.shared");
	} else if (dot && !strcmp(strchr(domain, '.'), ".shared")) {
		a.key = buf_str("shared");
	}
	chan_answer(c, req, P_ROUTES, &a);
}

static void got_intake(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	(void)c, (void)req, (void)arg;
	W->credits += ((const struct p_intake *)msg)->credits;
}

static void got_deliver(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	const struct p_deliver *m = msg;
	struct delivery *d = &W->d[W->nd++];
	size_t at = 0;
	uint32_t i;

	(void)c, (void)req, (void)arg;
	assert_in_range(W->nd, 1, ARRAY_LEN(W->d));
	d->number = m->delivery;
	d->n = m->rcpts.n;
	world_copy(d->id, sizeof(d->id), m->id);
	world_copy(d->key, sizeof(d->key), m->key);
	world_copy(d->from, sizeof(d->from), m->from);
	for (i = 0; i < d->n && at < sizeof(d->rcpts); i++)
		at += (size_t)snprintf(d->rcpts + at, sizeof(d->rcpts) - at, "%s%.*s", i ? " " : "",
		    (int)m->rcpts.v[i].len, (const char *)m->rcpts.v[i].data);
}

static void got_report(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	(void)req, (void)msg, (void)arg;
	if (W->filters > 0 && W->nbefore < ARRAY_LEN(W->before))
		W->before[W->nbefore++] = W->filters;
	W->filters = chan_take_fd(c);
	W->sessions++;
}

static const struct chan_handler smtps_h[] = {
    {P_INTAKE, got_intake}, {P_REPORT, got_report}, {P_NONE, NULL}};
/* Whom a report is for: alias@x stands for two, away@x cannot be told at first, lost@x never. */
static void got_expand(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	static const struct meta1_buf two[] = {{"one@x", 5}, {"two@x", 5}};
	const struct p_expand *m = msg;
	struct p_expanded a = {.status = META1_OK};
	static unsigned away;

	(void)arg;
	if (buf_eq(m->rcpt, buf_str("alias@x")))
		a.targets = (struct proto_strs){two, 2};
	if ((buf_eq(m->rcpt, buf_str("away@x")) && away++ == 0) ||
	    buf_eq(m->rcpt, buf_str("lost@x")))
		a.status = META1_TEMPFAIL;
	chan_answer(c, req, P_EXPANDED, &a);
}

static const struct chan_handler smar_h[] = {
    {P_ROUTE, got_route}, {P_EXPAND, got_expand}, {P_NONE, NULL}};
static const struct chan_handler smtpc_h[] = {{P_DELIVER, got_deliver}, {P_NONE, NULL}};

static void far_down(struct chan *c, void *arg)
{
	(void)c, (void)arg;
}

static void near_down(struct chan *c, void *arg)
{
	struct qmgr *q = arg;

	q->role.down(&q->role, c);
}

static void pair(struct chan_side *far, enum proto_who who, const struct chan_handler *h,
    struct chan **near_end, struct chan **far_end)
{
	struct p_hello hello = {0};
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
	*far = (struct chan_side){.who = who, .loop = W->loop, .handlers = h, .down = far_down};
	*near_end = chan_adopt(&W->near, who, fd[0]);
	*far_end = chan_adopt(far, QMGR, fd[1]);
	W->q.role.up(&W->q.role, *near_end, &hello);
}

void world_smtpc_up(struct world *w, unsigned window)
{
	struct p_window m = {.credits = window};

	pair(&w->side_smtpc, SMTPC, smtpc_h, &w->at_smtpc, &w->as_smtpc);
	chan_send(w->as_smtpc, P_WINDOW, &m);
}

void world_smtpc_gone(struct world *w)
{
	unsigned i;

	chan_close(&w->as_smtpc);
	world_run(w); /* the near end sees it */
	chan_close(&w->at_smtpc);
	for (i = 0; i < w->nd; i++)
		w->d[i].over = true;
}

/* ---- the life ---- */

int64_t world_delay_warning;
const char *world_double_bounce, *const *world_verp, *world_envid;
const char *world_hold;
uint32_t world_flags, world_taken;

struct world *world_new(int64_t aq_max)
{
	static const struct p_generation first = {.generation = 1};
	struct world *w = base_alloc(sizeof(*w));
	struct meta1_err err;

	W = w;
	world_ctl_new();
	w->loop = loop_new();
	w->now = 1000000;
	w->ttl = 300;
	loop_fake_clock(w->loop, w->now, WALL0);
	w->set.hostname = "mail.example.org";
	w->set.qmgr = (struct set_qmgr){.AQ_max_entries = aq_max,
	    .max_memory = WORLD_MEMORY,
	    .initial_connections = 4,
	    .max_connections = 16,
	    .min_retry_delay = 300000,
	    .max_retry_delay = 3600000,
	    .max_time_in_queue = 432000000,
	    .delay_warning = world_delay_warning,
	    .max_returned_size = 65536,
	    .double_bounce = world_double_bounce,
	    .verp_senders = world_verp};
	w->q.role = qmgr_role;
	w->q.role.loop = w->loop;
	w->q.role.set = &w->set;
	w->q.role.section = &w->set.qmgr.role;
	w->q.role.work = work_new(w->loop);
	assert_int_equal(w->q.role.start(&w->q.role, &err), 0);
	w->near = (struct chan_side){.who = QMGR,
	    .loop = w->loop,
	    .handlers = qmgr_role.handlers,
	    .arg = &w->q,
	    .down = near_down};
	pair(&w->side_smar, SMAR, smar_h, &w->at_smar, &w->as_smar);
	chan_send(w->as_smar, P_GENERATION, &first);
	pair(&w->side_smtps, SMTPS, smtps_h, &w->at_smtps, &w->as_smtps);
	w->q.role.control(&w->q.role, NULL);
	w->q.role.go(&w->q.role);
	return w;
}

struct world *world_small(int64_t aq)
{
	struct world *w = world_new(aq);

	w->q.lim.loaded = 0;
	return w;
}

void world_free(struct world **wp)
{
	struct world *w = *wp;
	unsigned i;

	w->store_holds = w->store_fails = false;
	world_run(w);
	if (!w->q.stopping)
		w->q.role.stop(&w->q.role);
	if (w->q.ndelivery)
		world_smtpc_gone(w);
	world_run(w);
	assert_true(w->stopped);
	chan_close(&w->at_smtps);
	chan_close(&w->as_smtps);
	chan_close(&w->at_smar);
	chan_close(&w->as_smar);
	chan_close(&w->at_smtpc);
	chan_close(&w->as_smtpc);
	loop_turn(w->loop, false);
	work_free(&w->q.role.work);
	loop_free(&w->loop);
	qmgr_free(&w->q);
	for (i = 0; i < w->ns; i++)
		free(w->s[i].text);
	world_store_free();
	free(w);
	*wp = W = NULL;
}

/* Work on threads is waited for: a report reads headers there, dead.c writes its file. */
void world_run(struct world *w)
{
	int i, quiet = 0;

	for (i = 0; i < 100000 && quiet < 20; i++) {
		loop_turn(w->loop, w->q.report_work.running > 0 || w->q.dead_writing);
		quiet = world_store_step() ? 0 : quiet + 1;
		while (world_store_step())
			;
	}
}

void world_pass(struct world *w, int64_t sec)
{
	int64_t step = sec > 600 ? sec / 60 : 1;

	world_run(w);
	for (; sec > 0; sec -= step) {
		w->now += 1000 * step;
		loop_fake_clock(w->loop, w->now, WALL0 + w->jump + (w->now - 1000000) / 1000);
		world_run(w);
	}
}

void world_mail(struct world *w, const char *id, const char *from, const char *rcpts)
{
	static struct meta1_buf v[10000], orcpt[10000], owners[100];
	static uint64_t notify[10000], owner[10000];
	struct p_queued m = {.notice = buf_str("n"),
	    .id = buf_str(id),
	    .from = buf_str(from),
	    .rcpts = {v, 0},
	    .bytes = 1000,
	    .time = (uint64_t)loop_wall(w->loop)};
	const char *s;
	size_t n;

	for (s = rcpts; *s; s += n + (s[n] == ' ')) {
		size_t addr = strcspn(s, " /");
		uint32_t k = m.rcpts.n++;
		char *end;

		n = strcspn(s, " ");
		v[k] = buf_of(s, addr);
		notify[k] = owner[k] = 0;
		orcpt[k] = buf_of(NULL, 0);
		if (addr == n)
			continue;
		m.notify.n = m.orcpts.n = 1;
		notify[k] = strtoul(s + addr + 1, &end, 10);
		if (*end != '/')
			continue;
		orcpt[k] = buf_of(end + 1, strcspn(end + 1, "/ "));
		end += 1 + orcpt[k].len;
		if (*end != '/')
			continue;
		owners[m.owners.n] = buf_of(end + 1, n - (size_t)(end + 1 - s));
		owner[k] = ++m.owners.n;
	}
	if (m.owners.n) {
		m.owners.v = owners;
		m.owner = (struct proto_nums){owner, m.rcpts.n};
	}
	if (m.notify.n) {
		m.notify = (struct proto_nums){notify, m.rcpts.n};
		m.orcpts = (struct proto_strs){orcpt, m.rcpts.n};
	}
	if (world_envid)
		m.envid = buf_str(world_envid);
	m.flags = world_flags;
	assert_true(chan_send(w->as_smtps, P_QUEUED, &m));
}

void world_mail_to(struct world *w, const char *id, const char *rcpts)
{
	world_mail(w, id, "me@example.org", rcpts);
}

void world_entry(struct world *w, const char *id, const char *from, const struct meta1_qrcpt *rcpt,
    uint32_t n, int64_t time)
{
	struct meta1_env env = {.size = sizeof(env),
	    .nrcpt = n,
	    .sizeof_rcpt = sizeof(*rcpt),
	    .from = buf_str(from),
	    .rcpt = rcpt,
	    .time = time,
	    .bytes = 1000,
	    .flags = world_hold ? META1_M_HOLD : 0,
	    .hold = buf_str(world_hold ? world_hold : "")};

	(void)w;
	world_store_tell(id, &env);
}

void world_recovered(struct world *w)
{
	world_store_recovered();
	world_run(w);
}

void world_result(
    struct world *w, struct delivery *d, uint32_t rcpt, int status, int smtp, const char *text)
{
	struct p_rcpt_result m = {.delivery = d->number,
	    .rcpt = rcpt,
	    .status = (uint64_t)status,
	    .smtp = (uint64_t)smtp,
	    .text = buf_str(text),
	    .host = buf_str("mx")};

	assert_true(chan_send(w->as_smtpc, P_RCPT_RESULT, &m));
}

void world_end(
    struct world *w, struct delivery *d, int status, int scope, int smtp, const char *text)
{
	struct p_delivered m = {.delivery = d->number,
	    .status = (uint64_t)status,
	    .scope = (uint64_t)scope,
	    .smtp = (uint64_t)smtp,
	    .text = buf_str(text),
	    .taken = world_taken,
	    .host = buf_str("mx")};
	struct p_window more = {.credits = 1};

	d->over = true;
	assert_true(chan_send(w->as_smtpc, P_DELIVERED, &m));
	assert_true(chan_send(w->as_smtpc, P_WINDOW, &more));
}

struct delivery *world_open(struct world *w, const char *key)
{
	unsigned i;

	for (i = 0; i < w->nd; i++)
		if (!w->d[i].over && !strcmp(w->d[i].key, key))
			return &w->d[i];
	return NULL;
}

struct outcome world_outcome(struct world *w, const char *id, uint32_t rcpt)
{
	struct outcome none = {.state = (uint32_t)-1};
	unsigned i;

	for (i = w->no; i-- > 0;)
		if (w->o[i].rcpt == rcpt && !strcmp(w->o[i].id, id))
			return w->o[i];
	return none;
}
