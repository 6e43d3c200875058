/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * report.c -- one report becomes a message: smar says whom its recipient stands for (the postmaster
 * of a gateway is an alias, and so is the owner of a list), the begin of the failed mail, or all of
 * it, is read (worker thread), dsn.c makes the text, judge.c shows it to filters (dsn_filters), the
 * store takes it.
 * Comes from bounce.c, and goes back there, written or failed. Owns the draft.
 * On failure: of smar, the report is tried again later, and goes to the recipient as it is when the
 * mail's time is over; to read: reported without the headers, with a line in the log; of filters:
 * again later, and, when as much time as a mail may wait is over, without them, with a line in the
 * log: an unsigned report is better than none.
 */
#include "qmgr/qmgr.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/util.h>
#include <stdlib.h>
#include <unistd.h>

METRIC_COUNTER(
    m_unjudged, "dsn_unjudged_total", "Reports that went out without having met filters.");

#define EXTENT_MAX 64 /* of a content, read for its headers */

struct qmgr_draft {
	struct qmgr_report *rep;
	struct meta1_content *content;
	struct meta1_extent extent[EXTENT_MAX];
	uint32_t nextent;
	struct evbuffer *out; /* the report, as dsn.c made it */
	uint8_t *text;
	size_t len, max;
	bool whole, failed;
	int err; /* of the worker thread */
	char error[160];
	struct meta1_qrcpt *to; /* with the addresses behind */
	uint32_t nto;
	struct meta1_env env;
	char hold[501];
};

static void draft_free(struct qmgr_report *rep)
{
	if (rep->draft->out)
		evbuffer_free(rep->draft->out);
	free(rep->draft->text);
	free(rep->draft->to);
	free(rep->draft);
	rep->draft = NULL;
}

static void failed(struct qmgr_report *rep, enum qmgr_blame blame, const char *why)
{
	draft_free(rep);
	qmgr_bounce_failed(rep, blame, why);
}

static void told(struct qmgr_report *rep, void *notice)
{
	qmgr_store_notice(rep->q, *(struct meta1_buf *)notice, rep->id, &rep->draft->env);
	draft_free(rep);
}

static void committed(void *arg, enum meta1_status st, const struct meta1_reply *reply)
{
	struct qmgr_report *rep = arg;
	struct meta1_buf notice;

	if (st != META1_OK || !reply->nval) {
		failed(rep, QB_ALL, reply->text ? reply->text : "not stored");
		return;
	}
	notice = reply->val[0];
	qmgr_bounce_written(rep, told, &notice);
}

static void fill(struct qmgr_report *rep, struct evbuffer *out, struct qmgr_dsn *dsn)
{
	struct qmgr_msg *m = rep->msg;
	struct qmgr_dsn_rcpt *rcpt;
	uint32_t i, n = 0;

	for (i = rep->begin; i < rep->end; i++)
		n += qmgr_report_has(rep, &m->rcpt[i]);
	rcpt = base_alloc((n + 1) * sizeof(*rcpt));
	for (i = rep->begin, n = 0; i < rep->end; i++) {
		const struct qmgr_rcpt *r = &m->rcpt[i];

		if (!qmgr_report_has(rep, r))
			continue;
		rcpt[n] = (struct qmgr_dsn_rcpt){
		    r->addr, qmgr_msg_orcpt(r), r->reason, r->action, r->expired};
		if (r->action == QA_EXPANDED) { /* to a list it is delivered */
			rcpt[n].addr = qmgr_msg_alias(r);
			rcpt[n].reason = NULL;
			rcpt[n].action = r->flags & META1_RF_LIST ? QA_DELIVERED : QA_EXPANDED;
		} else if (r->sender) { /* a member; that one is of the list */
			rcpt[n].orcpt = "";
		}
		n++;
	}
	dsn->rcpt = rcpt;
	dsn->nrcpt = n;
	qmgr_dsn_write(out, dsn);
	free(rcpt);
}

/* NOTIFY=NEVER: nobody wants a report of a report. */
static void envelope(struct qmgr_draft *d, const struct qmgr_dsn *dsn)
{
	d->env = (struct meta1_env){.size = sizeof(d->env),
	    .nrcpt = d->nto,
	    .sizeof_rcpt = sizeof(*d->to),
	    .rcpt = d->to,
	    .time = dsn->now,
	    .bytes = dsn->bytes};
	/* RFC 8689 5: a report may tell as much as the mail does */
	d->env.flags = d->rep->msg->flags & META1_M_REQUIRETLS;
	if (dsn->stuffed)
		d->env.flags |= META1_M_STUFFED;
	if (dsn->eight)
		d->env.flags |= META1_M_8BIT;
	if (dsn->utf8)
		d->env.flags |= META1_M_SMTPUTF8;
}

static void keep(struct qmgr_report *rep, struct evbuffer *text)
{
	struct qmgr *q = rep->q;
	struct meta1_qmsg *qm = NULL;
	struct meta1_err err = {""};

	if (!qmgr_store_begin(q, rep->id, NULL, NULL, &qm, &err)) {
		failed(rep, QB_ALL, err.text);
	} else if (qmgr_store_write(q, qm, evbuffer_pullup(text, -1), evbuffer_get_length(text)) ==
		   META1_TEMPFAIL) {
		qmgr_store_abort(q, &qm);
		failed(rep, QB_ALL, "the store took no text");
	} else if (!qmgr_store_commit(q, &qm, &rep->draft->env, committed, rep)) {
		failed(rep, QB_ALL, "too many requests at the store");
	}
}

static void take_targets(struct qmgr_draft *, const struct meta1_buf *, uint32_t n);

/* No filters, for now. */
static void unjudged(struct qmgr_report *rep, enum qmgr_blame blame, const char *why)
{
	struct qmgr *q = rep->q;

	if (loop_now(q->loop) - rep->judged_since <= q->lim.max_queue) {
		failed(rep, blame, why);
		return;
	}
	m_unjudged.value++;
	rep->unjudged = true;
	log_event(LOG_L_WARN, "qmgr.report_unjudged", "id=%s to=<%s> error=%s text=%s", rep->id,
	    rep->to, why, "it goes out without having met filters");
	keep(rep, rep->draft->out);
}

static void judged(struct qmgr_report *rep, const struct qmgr_judged *j)
{
	struct qmgr_draft *d = rep->draft;

	if (j->what == QJ_FAILED || j->what == QJ_LATER) {
		unjudged(rep, j->what == QJ_LATER ? QB_LATER : QB_FILTERS, j->why);
		return;
	}
	rep->judged_since =
	    0; /* they are there: if they are asked again they have all their time */
	if (j->what == QJ_DROPPED) {
		draft_free(rep);
		qmgr_bounce_dropped(rep);
		return;
	}
	free(d->to);
	take_targets(d, j->rcpt, j->nrcpt);
	d->env.nrcpt = d->nto;
	d->env.rcpt = d->to;
	d->env.bytes = j->bytes;
	d->env.flags = j->flags | (d->env.flags & META1_M_REQUIRETLS);
	if (j->hold) {
		str_copy(d->hold, sizeof(d->hold), j->hold);
		d->env.hold = buf_str(d->hold);
		d->env.flags |= META1_M_HOLD;
	}
	keep(rep, j->text);
}

static void write_report(struct qmgr_report *rep)
{
	struct qmgr_draft *d = rep->draft;
	struct qmgr *q = rep->q;
	struct qmgr_msg *m = rep->msg;
	struct qmgr_dsn dsn = {.hostname = q->role.set->hostname,
	    .id = rep->id,
	    .parent = m->id,
	    .to = rep->to,
	    .sender = m->from,
	    .envid = m->envid,
	    .now = loop_wall(q->loop),
	    .arrival = m->time,
	    .lifetime = q->lim.max_queue,
	    .utf8 = m->flags & META1_M_SMTPUTF8,
	    .whole = d->whole,
	    .content = buf_of(d->text, d->len)};

	evutil_secure_rng_get_bytes(&dsn.nonce, sizeof(dsn.nonce));
	d->out = evbuffer_new();
	fill(rep, d->out, &dsn);
	envelope(d, &dsn);
	rep->unjudged = false;
	if (!q->lim.dsn_filters) {
		keep(rep, d->out);
		return;
	}
	if (!rep->judged_since)
		rep->judged_since = loop_now(q->loop);
	if (qmgr_backoff_gives_up(q, rep))
		unjudged(rep, QB_FILTERS, "filters could not be asked about others either");
	else if (!qmgr_judge_start(rep, &d->env, d->out, judged))
		unjudged(rep, QB_FILTERS, "no smtps is there whose filters judge reports");
}

/* ---- the message ---- */

static void read_content(void *arg) /* worker thread */
{
	struct qmgr_draft *d = arg;
	uint32_t i;

	for (i = 0; i < d->nextent && d->len < d->max; i++) {
		const struct meta1_extent *x = &d->extent[i];
		uint64_t left = d->max - d->len, off = x->off;

		if (left > x->len)
			left = x->len;
		if (x->mem) {
			memcpy(d->text + d->len, x->mem, left);
			d->len += left;
			continue;
		}
		while (left) {
			ssize_t n = pread(x->fd, d->text + d->len, left, (off_t)off);

			if (n <= 0) {
				d->failed = true;
				d->err = n < 0 ? errno : ENODATA;
				return;
			}
			d->len += (size_t)n;
			off += (uint64_t)n;
			left -= (uint64_t)n;
		}
	}
}

static void have_content(void *arg)
{
	struct qmgr_draft *d = arg;

	qmgr_store_unload(d->rep->q, d->content);
	d->content = NULL;
	if (d->err)
		str_copy(d->error, sizeof(d->error), strerror(d->err));
	if (d->failed) {
		d->whole = false;
		log_event(LOG_L_WARN, "qmgr.report", "id=%s error=%s text=%s", d->rep->id, d->error,
		    "reported without the headers");
	}
	write_report(d->rep);
}

static void loaded(void *arg, enum meta1_status st, const struct meta1_reply *reply)
{
	struct qmgr_report *rep = arg;
	struct qmgr_draft *d = rep->draft;
	struct meta1_content *c = st == META1_OK ? (struct meta1_content *)reply->ext : NULL;
	uint32_t n;

	d->content = c;
	if (!c) {
		d->failed = true;
		str_copy(d->error, sizeof(d->error), reply->text ? reply->text : "");
		have_content(d);
		return;
	}
	n = c->nextent < EXTENT_MAX ? c->nextent : EXTENT_MAX;
	if (n < c->nextent)
		d->whole = false;
	memcpy(d->extent, c->extent, n * sizeof(d->extent[0]));
	d->nextent = n;
	if (!work_do(rep->q->role.work, &rep->q->report_work, read_content, have_content, d)) {
		d->failed = true;
		str_copy(d->error, sizeof(d->error), "too much to do");
		have_content(d);
	}
}

/* ---- to whom ---- */

static void take_targets(struct qmgr_draft *d, const struct meta1_buf *v, uint32_t n)
{
	size_t size = n * sizeof(*d->to);
	uint32_t i;
	char *at;

	for (i = 0; i < n; i++)
		size += v[i].len;
	d->to = base_alloc(size);
	d->nto = n;
	at = (char *)(d->to + n);
	for (i = 0; i < n; i++) {
		memcpy(at, v[i].data, v[i].len);
		d->to[i] =
		    (struct meta1_qrcpt){.addr = buf_of(at, v[i].len), .notify = META1_N_NEVER};
		at += v[i].len;
	}
}

/* Is it worth while to ask smar again? */
static bool not_yet(const struct qmgr_report *rep, const struct p_expanded *m)
{
	const struct qmgr *q = rep->q;

	return !m || (m->status == META1_TEMPFAIL &&
			 loop_now(q->loop) - rep->msg->born <= q->lim.max_queue);
}

/* What smar does not know, or no more, is tried as it is: then it is the hop that says no. */
static void expanded(void *arg, const void *msg)
{
	struct qmgr_report *rep = arg;
	const struct p_expanded *m = msg;
	struct meta1_buf self = buf_str(rep->to);

	if (rep->q->ended)
		return;
	if (not_yet(rep, m)) {
		failed(rep, m ? QB_REPORT : QB_ALL, "smar cannot say whom the report is for");
		return;
	}
	if (m->targets.n)
		take_targets(rep->draft, m->targets.v, m->targets.n);
	else
		take_targets(rep->draft, &self, 1);
	if (!qmgr_store_load(rep->q, &rep->msg->ref, loaded, rep))
		failed(rep, QB_ALL, "too many requests at the store");
}

/* RET is about failures only (RFC 3461 4.3); with REQUIRETLS it is HDRS, whatever was said. */
void qmgr_report_write(struct qmgr_report *rep)
{
	const struct qmgr_msg *m = rep->msg;
	struct qmgr_draft *d = base_alloc(sizeof(*d));
	struct chan *smar = role_peer(&rep->q->role, "smar");
	struct p_expand ask = {.rcpt = buf_str(rep->to)};

	d->rep = rep;
	d->whole = rep->kind == QA_FAILED && m->flags & META1_M_RET_FULL &&
		   !(m->flags & META1_M_REQUIRETLS) && m->stored <= rep->q->lim.returned;
	d->max = d->whole ? m->stored : QMGR_HEADERS_MAX;
	d->text = base_alloc(d->max + 1);
	rep->draft = d;
	if (!smar || !chan_ask(smar, P_EXPAND, &ask, 0, expanded, rep))
		failed(rep, QB_ALL, "smar is away");
}
