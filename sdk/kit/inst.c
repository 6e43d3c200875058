/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * inst.c -- instances in the kit: options bound and checked, opened, drained, closed, and all that
 * a module left behind told and taken back.
 * Comes from kit.c and others.c; goes to the module's check(), open(), drain(), close().
 * Owns struct kit_inst until the last request, post and job that names it is gone.
 * On failure: there is no instance, and err says why.
 */
#include "host_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define REAL_MAX 50000 /* turns of a drain that wait for threads */

void kit_inst_ref(struct kit_inst *in)
{
	__atomic_add_fetch(&in->refs, 1, __ATOMIC_SEQ_CST);
}

void kit_inst_unref(struct kit_inst *in)
{
	struct kit_counter *c;

	if (__atomic_sub_fetch(&in->refs, 1, __ATOMIC_SEQ_CST))
		return;
	while ((c = in->counters)) {
		in->counters = c->next;
		free(c);
	}
	free(in->conf);
	free(in->name);
	free(in);
}

/* ---- what is left ---- */

static void add(char *out, size_t size, unsigned n, const char *what)
{
	size_t len = strlen(out);

	if (n)
		snprintf(out + len, size - len, "%s%u %s%s", len ? ", " : "", n, what,
		    n == 1 ? "" : "s");
}

static void left_over(struct kit_inst *in, const char *when)
{
	unsigned fds = 0, timers = 0, blocks = 0;
	struct meta1_watch *w;
	struct kit_mem *m;
	char text[256] = "";

	LIST_FOREACH(w, &in->watches, link)
	if (w->fd >= 0)
		fds++;
	else
		timers++;
	LIST_FOREACH(m, &in->mem, link)
	blocks++;
	add(text, sizeof(text), fds, "descriptor watch");
	add(text, sizeof(text), timers, "timer");
	add(text, sizeof(text), kit_conns(in), "connection");
	add(text, sizeof(text), in->nopen, "open request");
	add(text, sizeof(text), kit_asks(in), "question");
	add(text, sizeof(text), blocks, "block");
	if (blocks)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), " of %zu bytes",
		    in->mem_bytes);
	if (*text)
		kit_fault(in->host, in->name, "left over %s: %s", when, text);
}

static void let_go(struct kit_inst *in, const char *when)
{
	left_over(in, when);
	kit_event_drop(in);
	kit_conn_drop(in);
	kit_ask_drop(in);
	kit_req_drop(in);
	kit_mem_drop(in);
	in->closed = true;
}

/* ---- opening ---- */

static void *options(const struct kit_host *h, const struct kit_module *mod, const char *name,
    struct conf *conf, struct meta1_err *err)
{
	const struct meta1_module *m = mod->m;
	void *base = base_alloc(m->sizeof_conf + 1);
	struct meta1_err why = {""};
	char *text = NULL;
	size_t len = 0;
	FILE *out;

	if (conf_errors(conf) == 0)
		opt_bind(
		    conf, conf_root(conf), mod->opt, m->nopt, base, m->name, OPT_START, h->qdir);
	if (conf_errors(conf) == 0)
		opt_unknown(conf, conf_root(conf), m->name, mod->opt, m->nopt, NULL, 0);
	if (conf_errors(conf) == 0 && (!m->check || m->check(base, &why) >= 0))
		return base;
	free(base);
	if (conf_errors(conf) == 0) {
		err_set(err, "%s/%s: %.400s", m->name, name, *why.text ? why.text : "check()");
	} else if ((out = open_memstream(&text, &len))) {
		conf_report(conf, out);
		fclose(out);
		text[strcspn(text, "\n")] = '\0';
		err_set(err, "%.500s", text);
		free(text);
	}
	return NULL;
}

static struct kit_inst *inst_new(
    struct kit_host *h, const struct kit_module *mod, const char *name, void *conf)
{
	size_t n = strlen(mod->m->name) + strlen(name) + 2;
	struct kit_inst *in = base_alloc(sizeof(*in));

	*in = (struct kit_inst){.host = h,
	    .m = mod->m,
	    .conf = conf,
	    .refs = 1,
	    .blocking = mod->m->flags & META1_F_BLOCKING};
	in->name = base_alloc(n);
	snprintf(in->name, n, "%s/%s", mod->m->name, name);
	in->base = in->name + strlen(mod->m->name) + 1;
	TAILQ_INIT(&in->open);
	work_owner_init(&in->owner, in->blocking ? 1 : 2);
	kit_table(in);
	return in;
}

struct kit_inst *kit_inst_open(struct kit_host *h, const struct kit_module *mod, const char *name,
    struct conf *conf, struct meta1_err *err)
{
	void *base = options(h, mod, name, conf, err);
	struct meta1_err why = {""};
	struct kit_inst *in;

	if (!base)
		return NULL;
	in = inst_new(h, mod, name, base);
	if (mod->m->open(&in->table, (struct meta1_ctx *)in, base, &in->data, &why) >= 0) {
		in->next = h->insts;
		h->insts = in;
		return in;
	}
	if (!memchr(why.text, '\0', sizeof(why.text)))
		kit_fault(h, in->name, "open() failed, and the end of its text is missing");
	else if (!*why.text)
		kit_fault(h, in->name, "open() failed without a reason in err");
	else if (strchr(why.text, '\n'))
		kit_fault(h, in->name, "open() failed with a reason of more than one line");
	err_set(err, "%s: %.400s", in->name, why.text);
	let_go(in, "after open() failed");
	kit_inst_unref(in);
	return NULL;
}

/* ---- draining, closing ---- */

static void drained(void *arg, enum meta1_status st, const struct meta1_reply *r)
{
	(void)st, (void)r;
	*(bool *)arg = true;
}

bool kit_inst_drain(struct kit_inst *in, int64_t ms)
{
	struct loop *l = in->host->loop;
	bool done = !in->m->drain;
	struct meta1_req *rq = NULL;
	unsigned real = 0;

	if (!done) {
		rq = kit_req_new(in, INT64_MAX, drained, &done);
		kit_req_uncancelled(rq);
		in->m->drain(in->data, rq);
	}
	for (int64_t t = 0; t <= ms && (!done || in->nopen); t += 100) {
		for (int i = 0; i < 5; i++)
			loop_turn(l, false);
		if (in->jobs && real++ < REAL_MAX) { /* a thread is at it, in real time */
			usleep(200);
			t -= 100;
			continue;
		}
		loop_fake_clock(l, loop_now(l) + 100, loop_wall(l));
	}
	if (!done)
		kit_req_cancel(&rq);
	return done && !in->nopen;
}

void kit_inst_close(struct kit_inst **inp)
{
	struct kit_inst *in = *inp, **p;

	*inp = NULL;
	if (!in)
		return;
	for (p = &in->host->insts; *p && *p != in; p = &(*p)->next)
		;
	if (*p)
		*p = in->next;
	in->m->close(in->data);
	let_go(in, "at close");
	kit_inst_unref(in);
}

bool kit_busy(const struct kit_host *h)
{
	const struct kit_inst *in;

	for (in = h->insts; in; in = in->next)
		if (in->jobs)
			return true;
	return false;
}

bool kit_waits(const struct kit_host *h)
{
	const struct meta1_watch *w;
	const struct kit_inst *in;

	for (in = h->insts; in; in = in->next) {
		if (in->jobs || in->m->libevent || kit_conns(in) || kit_asks(in))
			return true;
		LIST_FOREACH(w, &in->watches, link)
		if (w->fd >= 0)
			return true;
	}
	return false;
}

void *kit_data(const struct kit_inst *in)
{
	return in->data;
}

const void *kit_ops(const struct kit_inst *in)
{
	return in->m->ops;
}

size_t kit_held(const struct kit_inst *in)
{
	return in->mem_bytes;
}

unsigned kit_slept(const struct kit_inst *in)
{
	return in->slept;
}
