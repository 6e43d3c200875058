/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * inst.c -- instances: options bound and checked, opened, drained, closed, and what a
 * module left behind reported and taken back.
 * Comes from roles; goes to the module's check(), open(), drain(), close().
 * Owns struct mod_inst until its last job, post and request is gone.
 * On failure: there is no instance, and err or conf says why.
 */
#include "mod/inst.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* ---- letting go ---- */

void mod_ref(struct mod_inst *in)
{
	atomic_fetch_add(&in->refs, 1);
}

void mod_unref(struct mod_inst *in)
{
	unsigned i;

	if (atomic_fetch_sub(&in->refs, 1) != 1)
		return;
	mod_req_free(in);
	for (i = 0; i < in->ncounter; i++)
		free(in->counter[i].name);
	pthread_mutex_destroy(&in->lock);
	free(in->conf);
	conf_free(&in->keeps);
	free(in->hostname);
	free(in->qdir);
	free(in->name);
	free(in);
}

struct text {
	char s[400];
	size_t len;
};

static PRINTF(2, 3) void add(struct text *t, const char *fmt, ...)
{
	va_list ap;

	if (t->len && t->len < sizeof(t->s))
		t->len += (size_t)snprintf(t->s + t->len, sizeof(t->s) - t->len, ", ");
	if (t->len >= sizeof(t->s))
		return;
	va_start(ap, fmt);
	t->len += (size_t)vsnprintf(t->s + t->len, sizeof(t->s) - t->len, fmt, ap);
	va_end(ap);
}

static void add_count(struct text *t, unsigned n, const char *what)
{
	if (n)
		add(t, "%u %s%s", n, what, n == 1 ? "" : "s");
}

/* "1 watch (fd 14), 2 requests, 312 bytes" */
static void left_over(struct mod_inst *in, struct text *t)
{
	struct meta1_watch *w;
	struct meta1_conn *c;
	struct mod_ask *a;
	unsigned timers = 0, asks = 0;

	LIST_FOREACH(w, &in->watches, link)
	if (w->fd >= 0)
		add(t, "1 watch (fd %d)", w->fd);
	else
		timers++;
	add_count(t, timers, "timer");
	LIST_FOREACH(c, &in->conns, link)
	add(t, "1 connection (fd %d)", conn_fd(c->conn));
	add_count(t, in->nopen, "request");
	LIST_FOREACH(a, &in->asks, link)
	asks++;
	add_count(t, asks, "question");
	if (in->mem_bytes || in->mem.lh_first)
		add(t, "%zu bytes", in->mem_bytes);
}

/* Takes back what the module still holds, so that nothing of it runs any more. */
static void let_go(struct mod_inst *in)
{
	struct text t = {.len = 0};

	in->closed = true;
	left_over(in, &t);
	if (t.len)
		mod_fault(in, "left over at close: %s", t.s);
	mod_watch_drop(in);
	mod_conn_drop(in);
	mod_ask_drop(in);
	mod_req_drop(in);
	mod_mem_drop(in);
}

static void close_now(struct mod_inst *in)
{
	struct mod_inst **p;

	for (p = &in->host->insts; *p && *p != in; p = &(*p)->next)
		;
	if (*p)
		*p = in->next;
	in->leaving = true; /* it may finish requests, of which the last does not close it again */
	in->m->close(in->data);
	let_go(in);
	mod_unref(in);
}

/* ---- opening ---- */

static void (*cancel_of(const struct meta1_module *m))(void *, struct meta1_req *)
{
	switch (m->kind) {
	case META1_MAP:
		return ((const struct meta1_map_ops *)m->ops)->cancel;
	case META1_TRANSPORT:
		return ((const struct meta1_transport_ops *)m->ops)->cancel;
	case META1_QUEUE:
		return ((const struct meta1_queue_ops *)m->ops)->cancel;
	case META1_AUTH:
		return ((const struct meta1_auth_ops *)m->ops)->cancel;
	case META1_PMILTER:
		return ((const struct meta1_pmilter_ops *)m->ops)->cancel;
	default:
		return NULL;
	}
}

/* Sections that opt_flatten() would take: A of each option A_B. */
static const char *const *first_words(struct conf *conf, const struct mod *mod, size_t *n)
{
	const char **words = conf_alloc(conf, (mod->m->nopt + 1) * sizeof(*words));
	size_t len;
	unsigned i;

	*n = 0;
	for (i = 0; i < mod->m->nopt; i++) {
		len = strcspn(mod->opt[i].name, "_");
		if (mod->opt[i].name[len])
			words[(*n)++] = conf_printf(conf, "%.*s", (int)len, mod->opt[i].name);
	}
	return words;
}

/* Options of the core in the same section are not the module's to judge, but their names are
 * among those that a misspelt one may have meant. */
static unsigned options_bind(struct mod_host *h, struct mod *mod, struct conf *conf,
    struct conf_section *s, const char *const *core, enum opt_mode mode, void *base)
{
	const struct meta1_module *m = mod->m;
	struct conf_section empty = {.keyword = m->name, .pos = {.file = mod->file, .line = 1}};
	struct conf_option *o;
	struct meta1_opt *known;
	const char *const *word;
	unsigned bad, ncore = 0, i;
	size_t words;

	i = conf_errors(conf);
	if (s)
		opt_flatten(conf, s, mod->opt, m->nopt, m->name);
	bad = conf_errors(conf) - i;
	bad += opt_bind(conf, s ? s : &empty, mod->opt, m->nopt, base, m->name, mode, h->qdir);
	if (!s)
		return bad;
	if (strcasecmp(s->keyword, "module") == 0)
		core = NULL; /* module NAME { }: nothing of the core's is read there */
	while (core && core[ncore])
		ncore++;
	known = base_alloc((m->nopt + ncore) * sizeof(*known));
	memcpy(known, mod->opt, m->nopt * sizeof(*known));
	for (i = 0; i < ncore; i++) {
		known[m->nopt + i].name = core[i];
		o = conf_find(s, core[i]);
		if (o)
			o->used = true;
	}
	i = conf_errors(conf);
	word = first_words(conf, mod, &words); /* before: arguments have no order */
	opt_unknown(conf, s, m->name, known, m->nopt + ncore, word, words);
	bad += conf_errors(conf) - i;
	free(known);
	return bad;
}

static void *bind_and_check(struct mod_host *h, struct mod *mod, const char *name,
    struct conf *conf, struct conf_section *s, const char *const *core, enum opt_mode mode)
{
	const struct meta1_module *m = mod->m;
	struct conf_pos nowhere = {.file = mod->file, .line = 1, .col = 1};
	struct meta1_err why = {""};
	void *base = base_alloc(m->sizeof_conf);

	if (options_bind(h, mod, conf, s, core, mode, base) == 0) {
		if (!m->check || m->check(base, &why) >= 0)
			return base;
		conf_error(conf, s ? &s->pos : &nowhere, "%s/%s: %s", m->name, name, why.text);
	}
	free(base);
	return NULL;
}

int mod_check(struct mod_host *h, struct mod *mod, const char *name, struct conf *conf,
    struct conf_section *s, const char *const *core_names, enum opt_mode mode)
{
	void *base = bind_and_check(h, mod, name, conf, s, core_names, mode);

	free(base);
	return base ? 0 : -1;
}

static char *copy_of(const char *s)
{
	return s ? base_strdup(s) : NULL;
}

/* It may outlive the settings of its time in the role: what it has of them is its own. */
struct mod_inst *mod_inst_new(
    struct mod_host *h, const struct meta1_module *m, const char *name, struct conf *conf)
{
	struct mod_inst *in = base_alloc(sizeof(*in));
	size_t n = strlen(m->name) + strlen(name) + 2;

	in->host = h;
	in->life = h->life;
	in->m = m;
	in->keeps = conf ? conf_ref(conf) : NULL;
	in->hostname = copy_of(h->hostname);
	in->qdir = copy_of(h->qdir);
	in->name = base_alloc(n);
	snprintf(in->name, n, "%s/%s", m->name, name);
	in->base = in->name + strlen(m->name) + 1;
	in->cancel = cancel_of(m);
	in->blocking = m->flags & META1_F_BLOCKING;
	in->req_max = m->kind == META1_MAP ? MOD_REQ_MAX : MOD_REQ_MAX_ELSE;
	in->slow_said = INT64_MIN / 2;
	atomic_init(&in->refs, 1);
	pthread_mutex_init(&in->lock, NULL);
	TAILQ_INIT(&in->open);
	TAILQ_INIT(&in->free);
	/* what blocks is not made to be called twice at a time */
	work_owner_init(&in->owner, in->blocking ? 1 : 2);
	mod_table(in);
	return in;
}

void mod_inst_add(struct mod_inst *in)
{
	in->next = in->host->insts;
	in->host->insts = in;
}

void mod_inst_fail(struct mod_inst *in)
{
	let_go(in);
	mod_unref(in);
}

struct mod_inst *mod_open(struct mod_host *h, struct mod *mod, const char *name, struct conf *conf,
    struct conf_section *s, const char *const *core_names, enum opt_mode mode,
    struct meta1_err *err)
{
	struct mod_inst *in;
	struct meta1_err why = {"no reason given"};
	void *base = bind_and_check(h, mod, name, conf, s, core_names, mode);

	if (!base) {
		err_set(err, "%s/%s: its options have errors", mod->m->name, name);
		return NULL;
	}
	in = mod_inst_new(h, mod->m, name, conf);
	in->conf = base;
	if (mod->m->open(&in->table, (struct meta1_ctx *)in, base, &in->data, &why) < 0) {
		err_set(err, "%s: %.400s", in->name, why.text);
		mod_inst_fail(in);
		return NULL;
	}
	mod_inst_add(in);
	return in;
}

void mod_req_limit(struct mod_inst *in, uint32_t max)
{
	in->req_max = max;
}

/* ---- draining ---- */

struct mod_drain {
	struct mod_inst *in;
	struct meta1_req *req; /* the module's drain(); NULL when it said so */
	struct watch *timer;
	struct task task;
	void (*done)(void *);
	void *arg;
};

static void drain_free(struct mod_inst *in)
{
	struct mod_drain *d = in->drain;

	if (!d)
		return;
	in->drain = NULL;
	mod_req_cancel(&d->req);
	loop_unwatch(&d->timer);
	task_cancel(&d->task);
	free(d);
}

static void drain_end(void *arg)
{
	struct mod_drain *d = arg;
	void (*done)(void *) = d->done;
	void *darg = d->arg;

	drain_free(d->in);
	done(darg);
}

static void drain_late(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	drain_end(arg);
}

static void drain_said(void *arg, enum meta1_status st, const struct meta1_reply *reply)
{
	struct mod_drain *d = arg;

	(void)st;
	(void)reply;
	d->req = NULL;
	mod_settled(d->in);
}

void mod_drain(struct mod_inst *in, int64_t deadline_ms, void (*done)(void *), void *arg)
{
	struct loop *l = in->host->loop;
	struct mod_drain *d = base_alloc(sizeof(*d));

	ensure(!in->drain);
	*d = (struct mod_drain){.in = in, .done = done, .arg = arg};
	task_init(&d->task, drain_end, d);
	in->drain = d;
	in->draining = true;
	if (deadline_ms != INT64_MAX)
		d->timer = loop_timer(
		    l, deadline_ms > loop_now(l) ? deadline_ms - loop_now(l) : 0, drain_late, d);
	if (in->m->drain) {
		d->req = mod_req_new(in, INT64_MAX, drain_said, d);
		mod_req_uncancelled(d->req);
		in->m->drain(in->data, d->req);
	}
	mod_settled(in);
}

void mod_settled(struct mod_inst *in)
{
	if (in->leaving)
		return;
	if (in->closing && !in->jobs)
		close_now(in);
	else if (in->drain && !in->drain->req && !in->nopen && !in->jobs)
		loop_defer(in->host->loop, &in->drain->task);
}

/* ---- closing ---- */

void mod_close(struct mod_inst **inp)
{
	struct mod_inst *in = *inp;

	if (!in)
		return;
	*inp = NULL;
	in->draining = in->closing = true;
	drain_free(in);
	if (!in->jobs)
		close_now(in);
}

static void retired(void *arg)
{
	struct mod_inst *in = arg;

	mod_close(&in);
}

void mod_retire(struct mod_inst **inp, int64_t within_ms)
{
	struct mod_inst *in = *inp;

	*inp = NULL;
	if (in)
		mod_drain(in, loop_now(in->host->loop) + within_ms, retired, in);
}

bool mod_busy(const struct mod_host *h)
{
	const struct mod_inst *in;

	for (in = h->insts; in; in = in->next)
		if (in->jobs)
			return true;
	return false;
}

/* ---- what roles ask ---- */

const void *mod_ops(const struct mod_inst *in)
{
	return in->m->ops;
}

void *mod_data(const struct mod_inst *in)
{
	return in->data;
}

size_t mod_held(const struct mod_inst *in)
{
	return in->mem_bytes;
}

const char *mod_name(const struct mod_inst *in)
{
	return in->name;
}

struct meta1_ctx *mod_ctx(struct mod_inst *in)
{
	return (struct meta1_ctx *)in;
}

struct mod_inst *mod_find(const struct mod_inst *from, enum meta1_kind kind, const char *name)
{
	struct mod_inst *in;

	for (in = from->host->insts; in; in = in->next)
		if (in->m->kind == kind && in->life == from->life && !in->closing &&
		    !strcmp(in->base, name))
			return in;
	return NULL;
}
