/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue_memory.c -- a store without a disk, for tests and the kit: all three faces in one
 * instance of one process. It keeps nothing over a restart, so no role of a server may load
 * it: its descriptor names tools only, and META1_Q_PRIVATE says why.
 *
 * Comes from: the host. Goes to: nobody. Owns: the messages until all recipients are final.
 * On failure: TEMPFAIL when `memory` is used up; contents, envelopes and reasons count, and a
 * reason that finds no room is not kept.
 */
#include <meta1/queue.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct memory_conf {
	int64_t memory;
};

struct meta1_qmsg {
	struct meta1_qmsg *next;
	struct store *s;
	uint64_t number; /* in commit order; also the unit */
	uint8_t *b;
	size_t len, cap, kept; /* kept: bytes of env, and of the reasons of its recipients */
	bool failed, told;
	uint32_t nrcpt, nfinal;
	struct meta1_env *env;	  /* with all that it points to */
	struct meta1_qrcpt *rcpt; /* of env, with their states */
	unsigned loads;		  /* contents handed out: freed after the last unload */
	bool done;
	char id[META1_ID_MAX];
};
struct store {
	const struct meta1_host *h;
	struct meta1_ctx *ctx;
	const struct memory_conf *c;
	struct meta1_qmsg *first, **tail;
	uint64_t ids, number;
	int64_t used;
	const struct meta1_qevents *ev;
	void *arg;
};
struct handle {
	struct meta1_content c;
	struct meta1_extent x;
	struct meta1_qmsg *m;
};

static void answer(struct store *s, struct meta1_req *req, enum meta1_status st, const char *text)
{
	struct meta1_reply r = {.size = sizeof(r), .text = text};

	s->h->finish(req, st, &r);
}

static void drop(struct meta1_qmsg **mp)
{
	struct meta1_qmsg *m = *mp;

	*mp = NULL;
	m->s->used -= (int64_t)(m->cap + m->kept);
	free(m->b);
	for (uint32_t i = 0; i < m->nrcpt; i++)
		free((void *)(uintptr_t)m->rcpt[i].reason.data);
	free(m->env);
	free(m);
}

static struct meta1_qmsg *find(struct store *s, uint64_t number)
{
	struct meta1_qmsg *m = s->first;

	while (m != NULL && m->number != number)
		m = m->next;
	return m;
}

static void finished(struct meta1_qmsg *m)
{
	struct store *s = m->s;
	struct meta1_qmsg **p = &s->first;

	m->done = true;
	if (m->loads > 0)
		return;
	while (*p != m)
		p = &(*p)->next;
	*p = m->next;
	if (m->next == NULL)
		s->tail = p;
	drop(&m);
}

static uint32_t memory_writer(void *inst)
{
	(void)inst;
	return 0;
}

static uint64_t memory_next_id(void *inst)
{
	struct store *s = inst;

	return ++s->ids;
}

static enum meta1_status memory_begin(void *inst, const char *id,
    const struct meta1_qops_writer_events *ev, void *arg, struct meta1_qmsg **out,
    struct meta1_err *e)
{
	struct store *s = inst;
	struct meta1_qmsg *m = strlen(id) < META1_ID_MAX ? calloc(1, sizeof(*m)) : NULL;

	(void)ev; /* never pauses */
	(void)arg;
	if (m == NULL || s->used >= s->c->memory) {
		snprintf(
		    e->text, sizeof(e->text), "queue_memory: out of memory, or the id is too long");
		free(m);
		return META1_TEMPFAIL;
	}
	m->s = s;
	snprintf(m->id, sizeof(m->id), "%s", id);
	*out = m;
	return META1_OK;
}

static enum meta1_status memory_write(struct meta1_qmsg *m, const void *b, size_t n)
{
	struct store *s = m->s;
	size_t cap = m->cap > 0 ? m->cap : 1024;
	uint8_t *p;

	while (cap < m->len + n)
		cap *= 2;
	if (m->failed || s->used + (int64_t)(cap - m->cap) > s->c->memory)
		goto fail;
	if (cap > m->cap) {
		p = realloc(m->b, cap);
		if (p == NULL)
			goto fail;
		s->used += (int64_t)(cap - m->cap);
		m->b = p;
		m->cap = cap;
	}
	if (n > 0)
		memcpy(m->b + m->len, b, n);
	m->len += n;
	return META1_OK;
fail:
	m->failed = true;
	return META1_TEMPFAIL;
}

static uint64_t memory_written(struct meta1_qmsg *m)
{
	return m->len;
}

static void memory_abort(struct meta1_qmsg **mp)
{
	drop(mp);
}

static struct meta1_buf keep(uint8_t **at, struct meta1_buf b)
{
	struct meta1_buf kept = {*at, b.len};

	if (b.len > 0)
		memcpy(*at, b.data, b.len);
	*at += b.len;
	return kept;
}

static const struct meta1_qrcpt *rcpt(const struct meta1_env *e, uint32_t i)
{
	return (const void *)((const char *)e->rcpt + (size_t)i * e->sizeof_rcpt);
}

static struct meta1_buf hold(const struct meta1_env *e)
{
	return META1_HAS(e, hold) ? e->hold : (struct meta1_buf){NULL, 0};
}

static size_t env_size(const struct meta1_env *e)
{
	size_t n = sizeof(*e) + e->nrcpt * sizeof(struct meta1_qrcpt) + e->from.len +
		   e->client.len + e->envid.len + hold(e).len;

	for (uint32_t i = 0; i < e->nrcpt; i++)
		n += rcpt(e, i)->addr.len + rcpt(e, i)->orcpt.len + rcpt(e, i)->sender.len +
		     rcpt(e, i)->alias.len;
	return n;
}

static bool has_room(const struct store *s, size_t n)
{
	return n <= (uint64_t)s->c->memory && s->used <= s->c->memory - (int64_t)n;
}

/* One allocation of env_size(): the struct, the recipients, the strings. */
static struct meta1_env *env_copy(const struct meta1_env *e, size_t n)
{
	struct meta1_env *c = calloc(1, n);
	struct meta1_qrcpt *v;
	uint8_t *at;

	if (c == NULL)
		return NULL;
	v = (void *)(c + 1);
	at = (void *)(v + e->nrcpt);
	*c = (struct meta1_env){.size = sizeof(*c),
	    .nrcpt = e->nrcpt,
	    .sizeof_rcpt = sizeof(*v),
	    .flags = e->flags,
	    .rcpt = v,
	    .time = e->time,
	    .bytes = e->bytes};
	c->from = keep(&at, e->from);
	c->client = keep(&at, e->client);
	c->envid = keep(&at, e->envid);
	c->hold = keep(&at, hold(e));
	for (uint32_t i = 0; i < e->nrcpt; i++) {
		v[i].addr = keep(&at, rcpt(e, i)->addr);
		v[i].orcpt = keep(&at, rcpt(e, i)->orcpt);
		v[i].notify = rcpt(e, i)->notify;
		v[i].flags = rcpt(e, i)->flags;
		v[i].sender = keep(&at, rcpt(e, i)->sender);
		v[i].alias = keep(&at, rcpt(e, i)->alias);
	}
	return c;
}

static void memory_commit(
    struct meta1_qmsg **mp, struct meta1_req *req, const struct meta1_env *env)
{
	struct meta1_qmsg *m = *mp;
	struct store *s = m->s;
	struct meta1_buf val = {&m->number, sizeof(m->number)};
	struct meta1_reply r = {.size = sizeof(r), .nval = 1, .val = &val};
	size_t n = env_size(env);

	*mp = NULL;
	if (!m->failed && env->nrcpt > 0 && has_room(s, n))
		m->env = env_copy(env, n);
	if (m->env == NULL) {
		answer(s, req, META1_TEMPFAIL, "queue_memory: out of memory, or no recipient");
		drop(&m);
		return;
	}
	m->kept = n;
	s->used += (int64_t)n;
	m->nrcpt = env->nrcpt;
	m->rcpt = (void *)(m->env + 1);
	m->number = ++s->number;
	*s->tail = m;
	s->tail = &m->next;
	s->h->finish(req, META1_OK, &r);
}

static size_t memory_tail(void *inst, uint8_t out[META1_NOTICE_MAX])
{
	struct store *s = inst;

	memcpy(out, &s->number, sizeof(s->number));
	return s->number > 0 ? sizeof(s->number) : 0;
}

static void memory_reclaim(void *inst, uint64_t unit)
{
	(void)inst;
	(void)unit;
}

static void memory_load(void *inst, struct meta1_req *req, const struct meta1_ref *ref)
{
	struct store *s = inst;
	struct meta1_reply r = {.size = sizeof(r)};
	struct meta1_qmsg *m;
	struct handle *x;
	uint64_t n = 0;

	if (ref->len == sizeof(n))
		memcpy(&n, ref->b, sizeof(n));
	m = find(s, n);
	x = m != NULL && !m->done ? calloc(1, sizeof(*x)) : NULL;
	if (x == NULL) {
		answer(s, req, META1_PERMFAIL, "queue_memory: no such message");
		return;
	}
	x->m = m;
	x->x = (struct meta1_extent){.mem = m->b, .len = m->len, .fd = -1};
	x->c = (struct meta1_content){.size = sizeof(x->c),
	    .nextent = m->len > 0,
	    .extent = &x->x,
	    .bytes_stored = m->len,
	    .store = x};
	m->loads++;
	r.ext = &x->c;
	s->h->finish(req, META1_OK, &r);
}

static void memory_unload(void *inst, struct meta1_content **cp)
{
	struct handle *x = *cp != NULL ? (*cp)->store : NULL;

	(void)inst;
	*cp = NULL;
	if (x == NULL)
		return;
	if (--x->m->loads == 0 && x->m->done)
		finished(x->m);
	free(x);
}

static void memory_manage(
    void *inst, struct meta1_req *req, const struct meta1_qevents *ev, void *arg)
{
	struct store *s = inst;

	s->ev = ev;
	s->arg = arg;
	answer(s, req, META1_OK, NULL);
}

static struct meta1_qentry entry_of(const struct meta1_qmsg *m)
{
	struct meta1_qentry e = {.size = sizeof(e),
	    .id = m->id,
	    .bytes_stored = m->len,
	    .env = m->env,
	    .key = m->number};

	e.ref.len = sizeof(m->number);
	memcpy(e.ref.b, &m->number, sizeof(m->number));
	return e;
}

/* A notice stands for all before it that were not told. */
static void memory_notice(
    void *inst, struct meta1_buf notice, const char *id, const struct meta1_env *env)
{
	struct store *s = inst;
	uint64_t n = 0;

	(void)id;
	(void)env;
	if (notice.len == sizeof(n))
		memcpy(&n, notice.data, sizeof(n));
	for (struct meta1_qmsg *m = s->first, *next; m != NULL && m->number <= n; m = next) {
		struct meta1_qentry e = entry_of(m);

		next = m->next;
		if (m->told || s->ev == NULL)
			continue;
		m->told = true;
		s->ev->entry(s->arg, &e);
	}
}

static void set_reason(struct meta1_qmsg *m, struct meta1_qrcpt *r, struct meta1_buf why)
{
	char *s = NULL;

	m->kept -= r->reason.len;
	m->s->used -= (int64_t)r->reason.len;
	free((void *)(uintptr_t)r->reason.data);
	if (why.len > 0 && has_room(m->s, why.len))
		s = strndup(why.data, why.len);
	r->reason = (struct meta1_buf){s, s != NULL ? why.len : 0};
	m->kept += r->reason.len;
	m->s->used += (int64_t)r->reason.len;
}

static void memory_outcome(void *inst, struct meta1_req *req, const struct meta1_qoutcome *o)
{
	struct store *s = inst;
	struct meta1_qmsg *m = find(s, o->key);
	struct meta1_qrcpt *r;

	if (m == NULL || m->done || o->rcpt >= m->nrcpt) {
		answer(s, req, META1_PERMFAIL, "queue_memory: no such message or recipient");
		return;
	}
	r = &m->rcpt[o->rcpt];
	set_reason(m, r, o->reason);
	m->nfinal -= r->state != META1_R_WAITING;
	m->nfinal += o->state != META1_R_WAITING;
	r->state = o->state;
	r->tries = o->tries;
	r->next_try = o->next_try;
	answer(s, req, META1_OK, NULL);
	if (m->nfinal == m->nrcpt)
		finished(m);
}

static void memory_fetch(void *inst, struct meta1_req *req, const uint64_t *key, uint32_t n)
{
	struct store *s = inst;

	if (s->ev == NULL || s->ev->loaded == NULL || n > META1_FETCH_MAX) {
		answer(s, req, META1_PERMFAIL, "queue_memory: nothing to fetch from");
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		const struct meta1_qmsg *m = find(s, key[i]);
		struct meta1_qentry e;

		if (m != NULL && m->told && !m->done)
			e = entry_of(m);
		s->ev->loaded(s->arg, key[i], m != NULL && m->told && !m->done ? &e : NULL, NULL);
	}
	answer(s, req, META1_OK, NULL);
}

static void memory_attach(void *inst, uint32_t writer)
{
	(void)inst;
	(void)writer;
}

/* Nothing is ever under way. */
static void memory_cancel(void *inst, struct meta1_req *req)
{
	(void)inst;
	(void)req;
}

static int memory_open(const struct meta1_host *h, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *e)
{
	struct store *s = calloc(1, sizeof(*s));

	if (s == NULL) {
		snprintf(e->text, sizeof(e->text), "queue_memory: out of memory");
		return -1;
	}
	s->h = h;
	s->ctx = ctx;
	s->c = conf;
	s->tail = &s->first;
	*inst = s;
	return 0;
}

static void memory_close(void *inst)
{
	struct store *s = inst;

	while (s->first != NULL) {
		struct meta1_qmsg *m = s->first;

		s->first = m->next;
		drop(&m);
	}
	free(s);
}

static const struct meta1_queue_ops ops = {
    .size = sizeof(ops),
    .props = META1_Q_PRIVATE,
    .format = "memory/1",
    .writer = memory_writer,
    .next_id = memory_next_id,
    .begin = memory_begin,
    .write = memory_write,
    .written = memory_written,
    .commit = memory_commit,
    .abort = memory_abort,
    .tail = memory_tail,
    .reclaim = memory_reclaim,
    .load = memory_load,
    .unload = memory_unload,
    .manage = memory_manage,
    .notice = memory_notice,
    .outcome = memory_outcome,
    .attach = memory_attach,
    .cancel = memory_cancel,
    .fetch = memory_fetch,
};

static const struct meta1_opt options[] = {
    META1_OPT_BYTES(struct memory_conf, memory, "64MB", "4KB..64GB",
	"Most bytes of all contents, envelopes and reasons."),
};

META1_MODULE(queue_memory, .kind = META1_QUEUE, .roles = META1_TOOL, .version = "1",
    .summary = "Keeps mail in the memory of one process, for tests; no role of a server loads it.",
    .opt = options, .nopt = 1, .sizeof_conf = sizeof(struct memory_conf), .open = memory_open,
    .close = memory_close, .ops = &ops);
