/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pmilter_milter.c -- the module: options, an instance, what `meta1ctl filters` shows of it.
 *
 * Comes from the module host; what smtps' chain of filters asks is in sess.c. Owns the instance,
 * and what is left of its connections at the end. On failure: a text that says which option is
 * missing.
 */
#include "milter.h"

#include <stdio.h>
#include <string.h>

static const struct meta1_opt options[] = {
    PLACE_OPTIONS(struct conf),
    META1_OPT_INT(struct conf, version, "6", "2..6",
	"Highest version of the milter protocol that is offered; filters that stumble over 6 get "
	"along with 2."),
    META1_OPT_ENUM(struct conf, data_size, "64k", "64k|256k|1m",
	"Longest piece of a body, or header field, that is offered in one command; filters that "
	"know of no other get 64k."),
    META1_OPT_BOOL(struct conf, pipelining, "yes",
	"Header, body and end are said together, and their answers taken one by one: a filter is "
	"waited for some four times a mail, not once a field besides; no: for one that cannot take "
	"more than one command at a time."),
    META1_OPT_BYTES(struct conf, max_edits, "64MB", "64KB..1GB",
	"Bytes of changes, mostly of a new body, that one message may get; they are in memory."),
    META1_OPT_INT(struct conf, max_idle, "50", "0..1000",
	"Connections that are kept for the next session, of filters that agree to it."),
    META1_OPT_MSEC(
	struct conf, idle_time, "1m", "1s..1d", "So long a connection is kept without use."),
};

static int milter_check(const void *conf, struct meta1_err *err)
{
	const struct conf *c = conf;

	if (PLACE_CHECK(c, err) < 0)
		return -1;
	if (PLACE_SOCKET(c).addr)
		return 0;
	snprintf(err->text, sizeof(err->text),
	    "no socket: say where the filter listens, as socket { path = \"/run/filter.sock\"; } "
	    "or socket { port = 8891; }");
	return -1;
}

static int milter_open(const struct meta1_host *host, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *err)
{
	struct milter *m = host->alloc(ctx, sizeof(*m));

	if (!m) {
		snprintf(err->text, sizeof(err->text), "no memory");
		return -1;
	}
	m->host = host;
	m->ctx = ctx;
	m->conf = conf;
	m->none.m = m;
	snprintf(m->none.why, sizeof(m->none.why), "no memory");
	*inst = m;
	return 0;
}

static void milter_close(void *inst)
{
	struct milter *m = inst;

	while (m->all) {
		struct peer *p = m->all;

		peer_drop(&p);
	}
	m->host->free(m->ctx, m);
}

static void milter_state(void *inst, struct meta1_pm_state *st)
{
	struct milter *m = inst;
	char where[100];
	int second = m->second && m->version > 0;

	place_text(second ? PLACE_FALLBACK(m->conf) : PLACE_SOCKET(m->conf), where, sizeof(where));
	st->connected = 0;
	for (const struct peer *p = m->all; p; p = p->next)
		st->connected |= p->state == PEER_USED || p->state == PEER_IDLE;
	if (m->version > 0)
		snprintf(st->peer, sizeof(st->peer), "%.90s milter v%u%s", where, m->version,
		    second ? ", the fall-back" : "");
	else
		snprintf(st->peer, sizeof(st->peer), "%s", where);
}

static const struct meta1_pmilter_ops ops = {.size = sizeof(ops),
    .begin = sess_begin,
    .ask = sess_ask,
    .reset = sess_reset,
    .end = sess_end,
    .cancel = sess_cancel,
    .state = milter_state};

META1_MODULE(pmilter_milter, .kind = META1_PMILTER, .roles = META1_SMTPS, .version = "0.1.0",
    .summary = "Filters that speak Sendmail's milter protocol.", .opt = options,
    .nopt = sizeof(options) / sizeof(options[0]), .sizeof_conf = sizeof(struct conf),
    .check = milter_check, .open = milter_open, .close = milter_close, .ops = &ops);
