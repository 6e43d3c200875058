/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * host.c -- the table of functions that an instance gets, and the part of it
 * about nothing but the instance: log, counters, memory, clock. All that a module
 * holds is charged to its instance.
 * Comes from modules through the table; goes to log.c, metric.h, loop.c.
 * Owns the blocks given out by alloc() and the instance's counters.
 * On failure: no memory is NULL; a broken law is logged and counted.
 */
#include "mod/inst.h"

#include "lib/log.h"
#include "lib/metric.h"
#include "mail/addr.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

METRIC_COUNTER(m_faults, "module_faults_total",
    "Broken laws of modules: leftovers, late answers, "
    "slow operations.");

/* ---- log, faults ---- */

static const enum log_level levels[] = {LOG_L_ERR, LOG_L_WARN, LOG_L_INFO, LOG_L_DEBUG};

static void host_log(struct meta1_ctx *ctx, enum meta1_level level, const char *fmt, ...)
{
	enum log_level l = (unsigned)level < ARRAY_LEN(levels) ? levels[level] : LOG_L_DEBUG;
	char text[1024];
	va_list ap;

	if (!log_on(l))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (inst_of(ctx)->host->log) {
		inst_of(ctx)->host->log(inst_of(ctx)->host->log_arg, level, text);
		return;
	}
	log_event(l, "module", "instance=%s text=%s", inst_of(ctx)->name, text);
}

void mod_log(struct mod_inst *in, enum meta1_level level, const char *text)
{
	host_log((struct meta1_ctx *)in, level, "%s", text);
}

void mod_fault(struct mod_inst *in, const char *fmt, ...)
{
	struct mod_host *h = in->host;
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	m_faults.value++;
	in->table.count((struct meta1_ctx *)in, "faults_total", 1);
	log_event(LOG_L_WARN, "module.fault", "instance=%s fault=%s", in->name, text);
	if (h->fault)
		h->fault(h->fault_arg, in->name, text);
	else if (h->strict)
		base_broken(text, in->name, 0);
}

/* ---- counters ---- */

static struct mod_counter *counter(struct mod_inst *in, const char *name)
{
	struct mod_counter *c;
	size_t n;
	unsigned i;

	for (i = 0; i < in->ncounter; i++)
		if (in->counter[i].given == name && !strcmp(in->counter[i].name, name))
			return &in->counter[i];
	for (i = 0; i < in->ncounter; i++)
		if (!strcmp(in->counter[i].name, name))
			return &in->counter[i];
	n = strlen(name);
	if (in->ncounter == MOD_COUNTERS || !n || n > 64 ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != n)
		return NULL;
	c = &in->counter[in->ncounter++];
	*c = (struct mod_counter){.given = name, .name = base_strdup(name)};
	c->gauge = n > 4 && !strcmp(name + n - 4, "_now");
	return c;
}

static void host_count(struct meta1_ctx *ctx, const char *name, int64_t delta)
{
	struct mod_inst *in = inst_of(ctx);
	struct mod_counter *c;

	pthread_mutex_lock(&in->lock);
	c = counter(in, name);
	if (c)
		c->value = c->gauge ? delta : c->value + delta;
	pthread_mutex_unlock(&in->lock);
}

void mod_counters(struct mod_host *h, mod_counter_fn fn, void *arg)
{
	struct mod_inst *in;
	unsigned i;

	for (in = h->insts; in; in = in->next) {
		pthread_mutex_lock(&in->lock);
		for (i = 0; i < in->ncounter; i++)
			fn(arg, in->name, in->counter[i].name, in->counter[i].gauge,
			    in->counter[i].value);
		pthread_mutex_unlock(&in->lock);
	}
}

/* ---- memory, clock ---- */

static void *host_alloc(struct meta1_ctx *ctx, size_t len)
{
	struct mod_inst *in = inst_of(ctx);
	struct mod_mem *m = len <= SIZE_MAX - sizeof(*m) ? calloc(1, sizeof(*m) + len) : NULL;

	if (!m)
		return NULL;
	m->len = len;
	pthread_mutex_lock(&in->lock);
	LIST_INSERT_HEAD(&in->mem, m, link);
	in->mem_bytes += len;
	pthread_mutex_unlock(&in->lock);
	return m + 1;
}

static void mem_free(struct mod_inst *in, struct mod_mem *m)
{
	pthread_mutex_lock(&in->lock);
	LIST_REMOVE(m, link);
	in->mem_bytes -= m->len;
	pthread_mutex_unlock(&in->lock);
	free(m);
}

static void host_free(struct meta1_ctx *ctx, void *p)
{
	if (p)
		mem_free(inst_of(ctx), (struct mod_mem *)p - 1);
}

void mod_mem_drop(struct mod_inst *in)
{
	while (in->mem.lh_first)
		mem_free(in, in->mem.lh_first);
}

static struct event_base *host_base(struct meta1_ctx *ctx)
{
	return loop_base(inst_of(ctx)->host->loop);
}

static int64_t host_now(struct meta1_ctx *ctx)
{
	return loop_now(inst_of(ctx)->host->loop);
}

static int64_t host_wall(struct meta1_ctx *ctx)
{
	return loop_wall(inst_of(ctx)->host->loop);
}

static void host_changed(struct meta1_ctx *ctx)
{
	struct mod_host *h = inst_of(ctx)->host;

	if (h->changed)
		h->changed(h->changed_arg);
}

/* ---- the table ---- */

void mod_table(struct mod_inst *in)
{
	struct mod_host *h = in->host;

	in->table = (struct meta1_host){.size = sizeof(in->table),
	    .abi_major = META1_ABI_MAJOR,
	    .abi_minor = META1_ABI_MINOR,
	    .role = h->role,
	    .process = h->process,
	    .offers = mod_offers(in->m, h->role),
	    .version = PACKAGE_VERSION,
	    .hostname = in->hostname,
	    .qdir = in->qdir,
	    .log = host_log,
	    .count = host_count,
	    .alloc = host_alloc,
	    .free = host_free,
	    .base = host_base,
	    .now = host_now,
	    .wall = host_wall,
	    .changed = host_changed,
	    .conn = &mod_conn_ops,
	    .domain_key = addr_domain_key};
	mod_watch_table(&in->table);
	mod_ask_table(&in->table);
	mod_req_table(&in->table);
	if (in->blocking)
		mod_blocking_table(&in->table);
}
