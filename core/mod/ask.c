/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ask.c -- what a module asks others: another map of the configuration, DNS.
 * Comes from modules through the table; goes to look.c and the role's resolver.
 * Owns the references and the questions; a closed map turns references to it into
 * temporary failures, a closed asker is not called back.
 * On failure: TEMPFAIL to the module's callback, on a later turn.
 */
#include "mod/inst.h"

#include <stdlib.h>

static struct meta1_mapref *host_map(struct meta1_ctx *ctx, const char *name)
{
	struct mod_inst *from = inst_of(ctx), *to = mod_find(from, META1_MAP, name);
	struct meta1_mapref *r;

	if (!to || to == from)
		return NULL;
	LIST_FOREACH(r, &from->refs_from, of_from)
	if (r->to == to)
		return r;
	r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	r->to = to;
	LIST_INSERT_HEAD(&from->refs_from, r, of_from);
	LIST_INSERT_HEAD(&to->refs_to, r, of_to);
	return r;
}

static struct mod_ask *ask_new(struct mod_inst *in,
    void (*cb)(void *, enum meta1_status, const struct meta1_reply *), void *arg)
{
	struct mod_ask *a = base_alloc(sizeof(*a));

	*a = (struct mod_ask){.in = in, .cb = cb, .arg = arg};
	LIST_INSERT_HEAD(&in->asks, a, link);
	return a;
}

static void ask_answer(void *arg, enum meta1_status st, const struct meta1_reply *reply)
{
	struct mod_ask a = *(struct mod_ask *)arg;

	if (a.in) {
		LIST_REMOVE((struct mod_ask *)arg, link);
		free(arg);
		a.cb(a.arg, st, reply);
	} else {
		free(arg);
	}
}

static void ask_refused(void *arg)
{
	struct meta1_reply r = {
	    .size = sizeof(r), .text = "the map was closed, or there is no DNS"};

	ask_answer(arg, META1_TEMPFAIL, &r);
}

/* Nobody to ask: the answer is for the next turn all the same. */
static void ask_refuse(struct mod_ask *a)
{
	task_init(&a->refused, ask_refused, a);
	loop_defer(a->in->host->loop, &a->refused);
}

static void host_map_lookup(struct meta1_ctx *ctx, struct meta1_mapref *ref, struct meta1_buf key,
    int64_t deadline, void (*cb)(void *, enum meta1_status, const struct meta1_reply *), void *arg)
{
	struct mod_ask *a = ask_new(inst_of(ctx), cb, arg);

	if (ref && ref->to)
		a->req = mod_map_lookup(ref->to, key, deadline, ask_answer, a);
	else
		ask_refuse(a);
}

static void host_dns(struct meta1_ctx *ctx, const char *name, uint16_t type, int64_t deadline,
    void (*cb)(void *, enum meta1_status, const struct meta1_reply *), void *arg)
{
	struct mod_inst *in = inst_of(ctx);
	struct mod_host *h = in->host;
	struct mod_ask *a = ask_new(in, cb, arg);

	if (h->dns)
		h->dns(h->dns_arg, name, type, deadline, ask_answer, a);
	else
		ask_refuse(a);
}

void mod_ask_drop(struct mod_inst *in)
{
	struct meta1_mapref *r;
	struct mod_ask *a;

	while ((r = in->refs_from.lh_first)) {
		LIST_REMOVE(r, of_from);
		if (r->to)
			LIST_REMOVE(r, of_to);
		free(r);
	}
	while ((r = in->refs_to.lh_first)) {
		LIST_REMOVE(r, of_to);
		r->to = NULL;
	}
	while ((a = in->asks.lh_first)) {
		LIST_REMOVE(a, link);
		a->in = NULL;
		if (!a->req && !task_pending(&a->refused))
			continue; /* DNS frees it with its answer */
		mod_req_cancel(&a->req);
		task_cancel(&a->refused);
		free(a);
	}
}

void mod_ask_table(struct meta1_host *t)
{
	t->map = host_map;
	t->map_lookup = host_map_lookup;
	t->dns = host_dns;
}
