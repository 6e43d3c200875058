/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ask.c -- what a module asks others in the kit: another map (-m), DNS (-d).
 * Comes from modules through the table; goes to req.c and the kit's resolver (others.c).
 * Owns the questions: an answer comes on a later turn, never after close().
 * On failure: NULL or TEMPFAIL, on a later turn.
 */
#include "host_priv.h"

#include <stdlib.h>

struct kit_ask {
	LIST_ENTRY(kit_ask) link;
	struct kit_inst *in;
	struct meta1_req *req;
	struct task task; /* DNS, or nobody to ask */
	char *name;
	uint16_t type;
	int64_t deadline;
	kit_done_fn cb;
	void *arg;
};

static struct meta1_mapref *host_map(struct meta1_ctx *ctx, const char *name)
{
	struct kit_inst *in = inst_of(ctx), *to;
	struct meta1_mapref *r;

	if (!kit_on_loop(in, "map", false))
		return NULL;
	for (to = in->host->insts; to; to = to->next)
		if (to != in && to->m->kind == META1_MAP && !strcmp(to->base, name))
			break;
	LIST_FOREACH(r, &in->mapref, link)
	if (r->to == to)
		return r;
	if (!to || kit_fails(in))
		return NULL;
	r = base_alloc(sizeof(*r));
	r->to = to;
	LIST_INSERT_HEAD(&in->mapref, r, link);
	return r;
}

static void ask_free(struct kit_ask *a)
{
	LIST_REMOVE(a, link);
	task_cancel(&a->task);
	free(a->name);
	free(a);
}

/* The answer, whoever gave it. */
static void answered(void *arg, enum meta1_status st, const struct meta1_reply *r)
{
	struct kit_ask *a = arg;
	struct kit_inst *in = a->in;
	kit_done_fn cb = a->cb;
	void *cbarg = a->arg;
	struct kit_nap nap;

	a->req = NULL;
	ask_free(a);
	kit_nap_begin(&nap);
	cb(cbarg, st, r);
	kit_nap_end(&nap, in);
}

static void later(void *arg)
{
	struct meta1_reply r = {.size = sizeof(r), .text = "there is nobody to ask"};
	struct kit_ask *a = arg;
	struct kit_host *h = a->in->host;

	if (a->name && h->dns)
		h->dns(h->dns_arg, a->name, a->type, a->deadline, answered, a);
	else
		answered(a, META1_TEMPFAIL, &r);
}

static struct kit_ask *ask_new(struct kit_inst *in, kit_done_fn cb, void *arg)
{
	struct kit_ask *a = base_alloc(sizeof(*a));

	*a = (struct kit_ask){.in = in, .cb = cb, .arg = arg};
	task_init(&a->task, later, a);
	LIST_INSERT_HEAD(&in->asks, a, link);
	return a;
}

static void host_map_lookup(struct meta1_ctx *ctx, struct meta1_mapref *ref, struct meta1_buf key,
    int64_t deadline, kit_done_fn cb, void *arg)
{
	struct kit_inst *in = inst_of(ctx);
	struct kit_ask *a;

	if (!kit_on_loop(in, "map_lookup", false))
		return;
	a = ask_new(in, cb, arg);
	if (ref && !kit_fails(in))
		a->req = kit_lookup(ref->to, key, deadline, answered, a);
	else
		loop_defer(in->host->loop, &a->task);
}

static void host_dns(struct meta1_ctx *ctx, const char *name, uint16_t type, int64_t deadline,
    kit_done_fn cb, void *arg)
{
	struct kit_inst *in = inst_of(ctx);
	struct kit_ask *a;

	if (!kit_on_loop(in, "dns", false))
		return;
	a = ask_new(in, cb, arg);
	if (!kit_fails(in)) {
		a->name = base_strdup(name);
		a->type = type;
		a->deadline = deadline;
	}
	loop_defer(in->host->loop, &a->task);
}

void kit_ask_drop(struct kit_inst *in)
{
	struct meta1_mapref *r;
	struct kit_ask *a;

	while ((a = LIST_FIRST(&in->asks))) {
		kit_req_cancel(&a->req);
		ask_free(a);
	}
	while ((r = LIST_FIRST(&in->mapref))) {
		LIST_REMOVE(r, link);
		free(r);
	}
}

unsigned kit_asks(const struct kit_inst *in)
{
	const struct kit_ask *a;
	unsigned n = 0;

	LIST_FOREACH(a, &in->asks, link)
	n++;
	return n;
}

void kit_ask_table(struct meta1_host *t)
{
	t->map = host_map;
	t->map_lookup = host_map_lookup;
	t->dns = host_dns;
}
