/* SPDX-License-Identifier: BSD-2-Clause */
/* world.c -- the other ends of a qmgr under test; see world.h. */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

static struct world *W;

/* ---- the store: a queue module, and the host's functions that reach it ---- */

struct meta1_req {
	struct meta1_req *next;
	mod_done_fn done;
	void *arg;
	enum meta1_status status;
	struct meta1_reply reply;
	struct meta1_buf val;
	struct meta1_content content;
	struct meta1_extent extent;
	bool ready;
};
struct meta1_qmsg {
	char id[32];
	char *text;
	size_t len;
};

static struct meta1_req *reqs, **reqs_tail = &reqs, *managing;
static const struct meta1_qevents *events;
static void *events_arg;
static const char content[] = "Received: from x\r\nSubject: hello\r\n\r\nthe body\r\n";

struct meta1_req *mod_req(struct mod_inst *in, int64_t deadline_ms, mod_done_fn done, void *arg)
{
	struct meta1_req *r = base_alloc(sizeof(*r));

	(void)in, (void)deadline_ms;
	r->done = done;
	r->arg = arg;
	r->reply.size = sizeof(r->reply);
	*reqs_tail = r;
	reqs_tail = &r->next;
	return r;
}

static bool finish_ready(void)
{
	struct meta1_req *r, **rp = &reqs;

	while ((r = *rp) && !r->ready)
		rp = &r->next;
	if (!r || W->store_holds)
		return false;
	*rp = r->next;
	if (!*rp)
		reqs_tail = rp;
	if (W->store_fails)
		r->status = META1_TEMPFAIL, r->reply.nval = 0, r->reply.ext = NULL;
	r->done(r->arg, r->status, &r->reply);
	free(r);
	return true;
}

static void copy(char *out, size_t size, struct meta1_buf b)
{
	snprintf(out, size, "%.*s", (int)b.len, b.len ? (const char *)b.data : "");
}

/* What the store keeps: envelopes with the states that outcomes said, by key. */
struct kept {
	char id[32], from[64];
	struct meta1_qrcpt *rcpt;
	struct meta1_env env;
};
static struct kept *kept;
static uint64_t nkept;

static struct meta1_buf dup_of(struct meta1_buf b)
{
	char *p = base_alloc(b.len + 1);

	if (b.len)
		memcpy(p, b.data, b.len);
	return buf_of(p, b.len);
}

static uint64_t keep(const char *id, const struct meta1_env *env)
{
	struct kept *k;
	uint32_t i;

	kept = base_realloc(kept, (nkept + 1) * sizeof(*kept));
	k = &kept[nkept++];
	str_copy(k->id, sizeof(k->id), id);
	copy(k->from, sizeof(k->from), env->from);
	k->rcpt = base_alloc(env->nrcpt * sizeof(*k->rcpt));
	for (i = 0; i < env->nrcpt; i++) {
		const struct meta1_qrcpt *r =
		    (const void *)((const char *)env->rcpt + (size_t)i * env->sizeof_rcpt);

		memcpy(&k->rcpt[i], r, env->sizeof_rcpt);
		k->rcpt[i].addr = dup_of(r->addr);
		k->rcpt[i].reason = dup_of(r->reason);
		if (env->sizeof_rcpt >= sizeof(*r))
			k->rcpt[i].orcpt = dup_of(r->orcpt);
	}
	k->env = *env;
	k->env.client = k->env.envid = buf_of(NULL, 0);
	k->env.sizeof_rcpt = sizeof(*k->rcpt);
	return nkept;
}

static void op_outcome(void *inst, struct meta1_req *r, const struct meta1_qoutcome *o)
{
	struct outcome *to = &W->o[W->no++ % ARRAY_LEN(W->o)];

	(void)inst;
	str_copy(to->id, sizeof(to->id), o->id);
	copy(to->reason, sizeof(to->reason), o->reason);
	str_copy(to->by, sizeof(to->by), o->by ? o->by : "");
	to->rcpt = o->rcpt;
	to->state = o->state;
	to->tries = o->tries;
	to->next_try = o->next_try;
	if (o->key && o->key <= nkept) {
		struct meta1_qrcpt *k = &kept[o->key - 1].rcpt[o->rcpt];

		k->state = o->state;
		k->tries = o->tries;
		k->next_try = o->next_try;
		free((void *)(uintptr_t)k->reason.data);
		k->reason = dup_of(o->reason);
	}
	r->ready = true;
}

static void op_manage(void *inst, struct meta1_req *r, const struct meta1_qevents *e, void *arg)
{
	(void)inst;
	managing = r;
	events = e;
	events_arg = arg;
}

static struct meta1_qentry entry_of(uint64_t key)
{
	struct kept *k = &kept[key - 1];
	struct meta1_qentry e = {.size = sizeof(e), .id = k->id, .env = &k->env, .key = key};

	k->env.from = buf_str(k->from);
	k->env.rcpt = k->rcpt;
	e.ref.len = (uint32_t)snprintf((char *)e.ref.b, sizeof(e.ref.b), "%s", k->id);
	return e;
}

static void tell(const char *id, const struct meta1_env *env)
{
	struct meta1_qentry e = entry_of(keep(id, env));

	e.env = env;
	events->entry(events_arg, &e);
}

static void op_fetch(void *inst, struct meta1_req *r, const uint64_t *key, uint32_t n)
{
	struct meta1_qentry e;
	uint32_t i;

	(void)inst;
	W->fetches++;
	for (i = 0; i < n && !W->store_fails; i++) {
		W->fetched++;
		e = entry_of(key[i]);
		if (W->store_lost)
			events->loaded(events_arg, key[i], NULL, "checksum differs");
		else
			events->loaded(events_arg, key[i], &e, NULL);
	}
	r->ready = true;
}

static void op_notice(
    void *inst, struct meta1_buf notice, const char *id, const struct meta1_env *env)
{
	(void)inst, (void)notice;
	if (env)
		tell(id, env);
}

static void op_load(void *inst, struct meta1_req *r, const struct meta1_ref *ref)
{
	(void)inst, (void)ref;
	r->extent = (struct meta1_extent){.mem = content, .len = sizeof(content) - 1, .fd = -1};
	r->content = (struct meta1_content){.size = sizeof(r->content),
	    .nextent = 1,
	    .extent = &r->extent,
	    .bytes_stored = sizeof(content) - 1};
	r->reply.ext = base_alloc(sizeof(r->content));
	memcpy((void *)(uintptr_t)r->reply.ext, &r->content, sizeof(r->content));
	r->ready = true;
}

static void op_unload(void *inst, struct meta1_content **c)
{
	(void)inst;
	free(*c);
	*c = NULL;
}

static enum meta1_status op_begin(void *inst, const char *id,
    const struct meta1_qops_writer_events *e, void *arg, struct meta1_qmsg **m,
    struct meta1_err *err)
{
	(void)inst, (void)e, (void)arg;
	if (W->commit_fails) {
		snprintf(err->text, sizeof(err->text), "no room");
		return META1_TEMPFAIL;
	}
	*m = base_alloc(sizeof(**m));
	str_copy((*m)->id, sizeof((*m)->id), id);
	return META1_OK;
}

static enum meta1_status op_write(struct meta1_qmsg *m, const void *p, size_t n)
{
	m->text = base_realloc(m->text, m->len + n + 1);
	memcpy(m->text + m->len, p, n);
	m->len += n;
	m->text[m->len] = 0;
	return META1_OK;
}

static void op_abort(struct meta1_qmsg **m)
{
	free((*m)->text);
	free(*m);
	*m = NULL;
}

static void op_commit(struct meta1_qmsg **m, struct meta1_req *r, const struct meta1_env *env)
{
	r->ready = true;
	r->val = buf_str("notice");
	r->reply.val = &r->val;
	r->reply.nval = 1;
	if (!W->store_fails) {
		struct stored *s = &W->s[W->ns++];

		str_copy(s->id, sizeof(s->id), (*m)->id);
		copy(s->to, sizeof(s->to), env->rcpt[0].addr);
		s->text = (*m)->text;
		(*m)->text = NULL;
	}
	op_abort(m);
}

static void op_attach(void *inst, uint32_t writer)
{
	(void)inst, (void)writer;
}

static void op_cancel(void *inst, struct meta1_req *r)
{
	(void)inst, (void)r;
}

static const struct meta1_queue_ops ops = {.size = sizeof(ops),
    .format = "test/1",
    .begin = op_begin,
    .write = op_write,
    .commit = op_commit,
    .abort = op_abort,
    .load = op_load,
    .unload = op_unload,
    .manage = op_manage,
    .notice = op_notice,
    .outcome = op_outcome,
    .attach = op_attach,
    .cancel = op_cancel,
    .fetch = op_fetch};

unsigned settings_modules(struct settings *s, enum meta1_role role, struct settings_module **out)
{
	(void)s, (void)role;
	*out = base_alloc(sizeof(**out));
	(*out)->kind = "queue";
	(*out)->module = "queue_test";
	return 1;
}
struct mod *mod_load(struct mod_host *h, const char *module, struct meta1_err *err)
{
	(void)h, (void)module, (void)err;
	return (struct mod *)W;
}
struct mod_inst *mod_open(struct mod_host *h, struct mod *m, const char *name, struct conf *c,
    struct conf_section *s, const char *const *core, enum opt_mode mode, struct meta1_err *err)
{
	(void)h, (void)m, (void)name, (void)c, (void)s, (void)core, (void)mode, (void)err;
	return (struct mod_inst *)W;
}
const void *mod_ops(const struct mod_inst *in)
{
	(void)in;
	return &ops;
}
void *mod_data(const struct mod_inst *in)
{
	(void)in;
	return W;
}
const char *mod_name(const struct mod_inst *in)
{
	(void)in;
	return "queue_test";
}
void mod_req_limit(struct mod_inst *in, uint32_t max)
{
	(void)in, (void)max;
}
void mod_drain(struct mod_inst *in, int64_t deadline, void (*done)(void *), void *arg)
{
	(void)in, (void)deadline;
	loop_post(W->loop, done, arg);
}
void mod_close(struct mod_inst **in)
{
	*in = NULL;
}

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
int role_main(struct role *r, int argc, char **argv)
{
	(void)r, (void)argc, (void)argv;
	return 0;
}

static struct {
	const struct ctl_request *rows;
	unsigned n;
} tables[8];
static unsigned ntables;

void ctl_add(struct ctl *c, const struct ctl_request *r, unsigned n, void *arg)
{
	(void)c, (void)arg;
	tables[ntables].rows = r;
	tables[ntables++].n = n;
}
struct meta1_buf ctl_body(void)
{
	return buf_of("", 0);
}
void ctl_answer_data(struct ctl_later **l, const char *type, struct evbuffer *b)
{
	(void)l, (void)type, (void)b;
}

struct ctl_later {
	json_t *out;
	int status;
	bool done;
};
static struct ctl_later client; /* one at a time */

struct ctl_later *ctl_later(void)
{
	client = (struct ctl_later){0};
	return &client;
}

void ctl_answer(struct ctl_later **l, json_t *out, int status, const char *error)
{
	(void)error;
	(*l)->out = out;
	(*l)->status = status;
	(*l)->done = true;
	*l = NULL;
}

static json_t *ask_row(struct world *w, const struct ctl_request *r, const char *method,
    const char *path, json_t *query, int *status, bool *found)
{
	size_t len = strlen(r->path);
	bool prefix = r->path[len - 1] == '/';
	struct meta1_err err;

	*found = !strcmp(r->method, method) &&
		 !(prefix ? strncmp(r->path, path, len) : strcmp(r->path, path));
	*status = *found ? 200 : 404;
	return *found ? r->fn(&w->q, prefix ? path + len : "", query, status, &err) : NULL;
}

json_t *world_ask(struct world *w, const char *method, const char *path, const char *key,
    const char *value, int *status)
{
	json_t *query = json_object(), *out = NULL;
	unsigned t, i;
	bool found = false;

	json_object_set_new(query, "uid", json_integer(1234)); /* server.c: the peer's */
	json_object_set_new(query, "admin", json_true());
	if (key)
		json_object_set_new(query, key, json_string(value));
	*status = 404;
	for (t = 0; t < ntables && !found; t++)
		for (i = 0; i < tables[t].n && !found; i++)
			out = ask_row(w, &tables[t].rows[i], method, path, query, status, &found);
	json_decref(query);
	world_run(w);
	if (*status == CTL_LATER) {
		assert_true(client.done);
		*status = client.status;
		out = client.out;
	}
	return out;
}

/* ---- smar, smtps, smtpc ---- */

static void got_route(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	const struct p_route *m = msg;
	struct meta1_buf hop = buf_str("192.0.2.1 25 mx");
	struct p_routes a = {.key = m->domain, .transport = buf_str("smtp"), .hops = {&hop, 1}};
	const char *dot = !m->domain.len ? NULL : memchr(m->domain.data, '.', m->domain.len);
	char domain[256];

	(void)arg;
	W->asked++;
	if (m->via.len) {
		copy(W->via, sizeof(W->via), m->via);
		a.key = m->via;
	}
	a.ttl = 300;
	copy(domain, sizeof(domain), m->domain);
	if (!strncmp(domain, "never.", 6)) {
		a = (struct p_routes){.status = META1_PERMFAIL,
		    .smtp = 556,
		    .dsn = buf_str("5.1.10"),
		    .text = buf_str("the domain takes no mail"),
		    .ttl = 300};
	} else if (!strncmp(domain, "later.", 6)) {
		a = (struct p_routes){.status = META1_TEMPFAIL, .text = buf_str("no answer")};
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
	copy(d->id, sizeof(d->id), m->id);
	copy(d->key, sizeof(d->key), m->key);
	copy(d->from, sizeof(d->from), m->from);
	for (i = 0; i < d->n && at < sizeof(d->rcpts); i++)
		at += (size_t)snprintf(d->rcpts + at, sizeof(d->rcpts) - at, "%s%.*s", i ? " " : "",
		    (int)m->rcpts.v[i].len, (const char *)m->rcpts.v[i].data);
}

static const struct chan_handler smtps_h[] = {{P_INTAKE, got_intake}, {P_NONE, NULL}};
static const struct chan_handler smar_h[] = {{P_ROUTE, got_route}, {P_NONE, NULL}};
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
uint32_t world_flags, world_taken;

struct world *world_new(int64_t aq_max)
{
	struct world *w = base_alloc(sizeof(*w));
	struct meta1_err err;

	W = w;
	ntables = 0;
	w->loop = loop_new();
	w->now = 1000000;
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
	pair(&w->side_smtps, SMTPS, smtps_h, &w->at_smtps, &w->as_smtps);
	w->q.role.control(&w->q.role, NULL);
	w->q.role.go(&w->q.role);
	return w;
}

void world_free(struct world **wp)
{
	struct world *w = *wp;
	struct meta1_req *r;
	unsigned i;

	w->store_holds = w->store_fails = false;
	world_run(w);
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
	while ((r = reqs)) {
		reqs = r->next;
		free(r);
	}
	reqs_tail = &reqs;
	while (nkept) {
		struct kept *k = &kept[--nkept];

		for (i = 0; i < k->env.nrcpt; i++) {
			free((void *)(uintptr_t)k->rcpt[i].addr.data);
			free((void *)(uintptr_t)k->rcpt[i].reason.data);
			free((void *)(uintptr_t)k->rcpt[i].orcpt.data);
		}
		free(k->rcpt);
	}
	free(kept);
	kept = NULL;
	free(w);
	*wp = W = NULL;
}

/* Work on threads is waited for: a report reads headers there. */
void world_run(struct world *w)
{
	int i, quiet = 0;

	for (i = 0; i < 100000 && quiet < 20; i++) {
		loop_turn(w->loop, w->q.report_work.running > 0);
		quiet = finish_ready() ? 0 : quiet + 1;
		while (finish_ready())
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

void world_entry(struct world *w, const char *id, const char *from, const struct meta1_qrcpt *rcpt,
    uint32_t n, int64_t time)
{
	struct meta1_env env = {.size = sizeof(env),
	    .nrcpt = n,
	    .sizeof_rcpt = sizeof(*rcpt),
	    .from = buf_str(from),
	    .rcpt = rcpt,
	    .time = time,
	    .bytes = 1000};

	(void)w;
	tell(id, &env);
}

void world_recovered(struct world *w)
{
	managing->ready = true;
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
