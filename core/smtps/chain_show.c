/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * chain_show.c -- what was seen of each filter: counts, latencies, its breaker, its last error; for
 * GET /v1/filters and the metrics page.
 *
 * Comes from chain.c, which counts; goes to the control socket. Owns the counts, by the name of the
 * filter, so that they go on over a reload. Times are kept as a histogram of four steps an octave,
 * whose counts are halved when there are many: so it is the latest that is shown.
 * On failure: 503 when the process is stopping.
 */
#include "ctl/server.h"
#include "smtps/chain.h"

#include <stdio.h>
#include <stdlib.h>

#define TIMES_MAX 10000 /* then all counts are halved */

static LIST_HEAD(, chain_stats) all = LIST_HEAD_INITIALIZER(all);

/* ---- counts ---- */

struct chain_stats *chain_stats_of(const char *name)
{
	struct chain_stats *s;

	LIST_FOREACH(s, &all, all)
	if (strcmp(s->name, name) == 0) {
		s->refs++;
		return s;
	}
	s = base_alloc(sizeof(*s));
	s->name = base_strdup(name);
	s->refs = 1;
	LIST_INSERT_HEAD(&all, s, all);
	return s;
}

void chain_stats_free(struct chain_stats **sp)
{
	struct chain_stats *s = *sp;

	*sp = NULL;
	if (s == NULL || --s->refs > 0)
		return;
	LIST_REMOVE(s, all);
	free(s->name);
	free(s);
}

void chain_stats_verdict(struct chain_stats *s, const struct meta1_pm_verdict *v, uint32_t stage)
{
	uint32_t action = v != NULL ? v->action : META1_PM_CONTINUE;
	enum chain_count c = CHAIN_C_CONTINUE;

	if (action == META1_PM_REFUSE)
		c = v->smtp != 0 && v->smtp < 500 ? CHAIN_C_TEMPFAIL : CHAIN_C_REJECT;
	else if (action == META1_PM_DISCARD)
		c = CHAIN_C_DISCARD;
	else if (action == META1_PM_ACCEPT)
		c = CHAIN_C_ACCEPT;
	else if (stage != META1_PM_END)
		return;
	else if (v != NULL && v->hold != NULL)
		c = CHAIN_C_HOLD;
	else if (v != NULL && v->nedit > 0)
		c = CHAIN_C_EDIT;
	s->count[c]++;
}

/* ---- times ---- */

/* The power of two below, and the two bits behind its first. */
static unsigned bucket_of(uint64_t us)
{
	unsigned log = us > 0 ? 63 - (unsigned)__builtin_clzll(us) : 0, b;

	b = log >= 2 ? 4 * log + (unsigned)(us >> (log - 2) & 3) : 4 * log;
	return b < CHAIN_BUCKETS ? b : CHAIN_BUCKETS - 1;
}

/* The middle of a bucket. */
static uint64_t us_of(unsigned bucket)
{
	unsigned log = bucket / 4;

	return log < 2 ? 1u << log
		       : ((uint64_t)1 << log) + ((uint64_t)(2 * (bucket % 4) + 1) << log) / 8;
}

void chain_times_add(struct chain_times *t, uint64_t us)
{
	if (t->n >= TIMES_MAX) {
		t->n = 0;
		for (unsigned i = 0; i < CHAIN_BUCKETS; i++)
			t->n += t->bucket[i] /= 2;
	}
	t->bucket[bucket_of(us)]++;
	t->n++;
}

uint64_t chain_times_part(const struct chain_times *t, unsigned percent)
{
	uint64_t want = ((uint64_t)t->n * percent + 99) / 100, have = 0;

	for (unsigned i = 0; i < CHAIN_BUCKETS && t->n > 0; i++) {
		have += t->bucket[i];
		if (have >= want)
			return us_of(i);
	}
	return 0;
}

/* ---- the control socket ---- */

static const char *const count_names[CHAIN_COUNTS] = {
    "continue", "edit", "accept", "reject", "tempfail", "discard", "hold", "failed", "spared"};
static const char *const phase_names[] = {"verify", "judge", "modify", "sign"};
static const char *const failure_names[] = {
    "abort", "accept", "accept_but_reconnect", "tempfail", "reject", "quarantine"};

/* What a peer said, as JSON may have it. */
static const char *clean(char *s)
{
	for (char *c = s; *c != '\0'; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	return s;
}

static json_t *times(const struct chain_times *t)
{
	return json_pack("{s:I, s:f, s:f}", "asked", (json_int_t)t->n, "p50_ms",
	    (double)chain_times_part(t, 50) / 1000, "p99_ms",
	    (double)chain_times_part(t, 99) / 1000);
}

static json_t *one(const struct chain_filter *f, int64_t now)
{
	struct meta1_pm_state st = {.size = sizeof(st)};
	const struct chain_stats *s = f->stats;
	char error[sizeof(s->error)];
	json_t *counts = json_object();

	for (unsigned i = 0; i < CHAIN_COUNTS; i++)
		json_object_set_new(counts, count_names[i], json_integer((json_int_t)s->count[i]));
	if (f->ops->state != NULL)
		f->ops->state(f->data, &st);
	st.peer[sizeof(st.peer) - 1] = '\0';
	str_copy(error, sizeof(error), s->error);
	return json_pack("{s:s, s:s, s:s, s:b, s:s, s:b, s:s, s:s, s:i, s:I, s:o, s:o, s:o, s:s, "
			 "s:I}",
	    "name", s->name, "module", f->set->module, "phase", phase_names[f->set->phase],
	    "shadow", f->set->shadow, "failure", failure_names[f->set->fails], "connected",
	    f->ops->state == NULL || st.connected, "peer", clean(st.peer), "breaker",
	    chain_breaker_state(&f->breaker, now), "failures", (int)f->breaker.failures, "retry_ms",
	    (json_int_t)(f->breaker.open_until > now ? f->breaker.open_until - now : 0), "counts",
	    counts, "commands", times(&s->commands), "end", times(&s->end), "last_error",
	    clean(error), "last_error_time", (json_int_t)s->error_at);
}

static json_t *filters(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	struct smtps *srv = arg;
	const struct smtps_chain *c;
	json_t *list = json_array();

	(void)rest;
	(void)query;
	if (srv->over) {
		*status = 503;
		err_set(err, "this process is stopping");
		json_decref(list);
		return NULL;
	}
	c = srv->gear->chain;
	for (unsigned i = 0; c != NULL && i < c->nfilter; i++)
		json_array_append_new(list, one(&c->filter[i], loop_now(srv->role->loop)));
	return json_pack("{s:o}", "filters", list);
}

static void metrics(void *arg, struct evbuffer *out, const struct ctl *ctl)
{
	const struct smtps *srv = arg;
	const char *help = "What filters said: mails that went on, answers that did not let them.";
	const struct smtps_chain *c = srv->over ? NULL : srv->gear->chain;
	char name[100], label[160];

	for (unsigned i = 0; c != NULL && i < c->nfilter; i++) {
		ctl_label("filter", c->filter[i].stats->name, name, sizeof(name));
		for (unsigned k = 0; k < CHAIN_COUNTS; k++) {
			snprintf(label, sizeof(label), "%s,verdict=\"%s\"", name, count_names[k]);
			ctl_metric(out, ctl, "filter_verdicts_total", help, false, label,
			    (int64_t)c->filter[i].stats->count[k]);
			help = NULL;
		}
	}
	help = "1: the filter is spared after failures, or shut until a reload.";
	for (unsigned i = 0; c != NULL && i < c->nfilter; i++) {
		const struct chain_breaker *b = &c->filter[i].breaker;

		ctl_label("filter", c->filter[i].stats->name, name, sizeof(name));
		ctl_metric(out, ctl, "filter_spared", help, true, name, b->pause > 0 || b->shut);
		help = NULL;
	}
}

void smtps_chain_control(struct smtps *srv, struct ctl *ctl)
{
	static const struct ctl_request requests[] = {
	    {"GET", "/v1/filters", CTL_READ, filters,
		"The filters of policy_milter: counts of verdicts, latencies, breaker, last "
		"error."},
	};

	ctl_add(ctl, requests, ARRAY_LEN(requests), srv);
	ctl_more_metrics(ctl, metrics, srv);
}
