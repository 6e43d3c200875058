/* SPDX-License-Identifier: BSD-2-Clause */
/* world_store.c -- the store of a qmgr under test: a queue module in memory whose requests finish
 * when the test lets them, and the host's functions that reach it; see world.h. */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>

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

bool world_store_step(void)
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

void world_copy(char *out, size_t size, struct meta1_buf b)
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
	world_copy(k->from, sizeof(k->from), env->from);
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
	world_copy(to->reason, sizeof(to->reason), o->reason);
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

void world_store_tell(const char *id, const struct meta1_env *env)
{
	struct meta1_qentry e = entry_of(keep(id, env));

	e.env = env;
	events->entry(events_arg, &e);
}

/* States without addresses, as the stores do. */
static void tell_unread(uint64_t key)
{
	const struct kept *k = &kept[key - 1];
	struct meta1_qrcpt *v = base_alloc(k->env.nrcpt * sizeof(*v));
	struct meta1_env env = {
	    .size = sizeof(env), .nrcpt = k->env.nrcpt, .sizeof_rcpt = sizeof(*v), .rcpt = v};
	struct meta1_qentry e = {.size = sizeof(e), .id = "", .env = &env, .key = key};

	for (uint32_t i = 0; i < env.nrcpt; i++) {
		v[i] = k->rcpt[i];
		v[i].addr = v[i].orcpt = buf_of(NULL, 0);
	}
	events->loaded(events_arg, key, W->store_blind ? NULL : &e, "checksum differs");
	free(v);
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
			tell_unread(key[i]);
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
		world_store_tell(id, env);
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

		assert_true(W->ns <= ARRAY_LEN(W->s));
		str_copy(s->id, sizeof(s->id), (*m)->id);
		world_copy(s->to, sizeof(s->to), env->rcpt[0].addr);
		s->text = (*m)->text;
		(*m)->text = NULL;
	}
	op_abort(m);
}

static uint64_t op_next_id(void *inst)
{
	static uint64_t n;

	(void)inst;
	return ++n;
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
    .next_id = op_next_id,
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

void world_store_recovered(void)
{
	managing->ready = true;
}

void world_store_free(void)
{
	struct meta1_req *r;

	while ((r = reqs)) {
		reqs = r->next;
		free(r);
	}
	reqs_tail = &reqs;
	while (nkept) {
		struct kept *k = &kept[--nkept];

		for (uint32_t i = 0; i < k->env.nrcpt; i++) {
			free((void *)(uintptr_t)k->rcpt[i].addr.data);
			free((void *)(uintptr_t)k->rcpt[i].reason.data);
			free((void *)(uintptr_t)k->rcpt[i].orcpt.data);
		}
		free(k->rcpt);
	}
	free(kept);
	kept = NULL;
}
