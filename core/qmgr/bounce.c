/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bounce.c -- reports to the sender: one for a message and a round of failures, so that a
 * crash at any point makes neither none nor two.
 *
 *	1 a failure opens a report (its number: index of that recipient + 1, so it never
 *	  repeats) or joins the open one, and is recorded: "waiting, report=N; reason";
 *	2 when that is on disk, and nothing of the message is active or QMGR_REPORT_HOLD is over,
 *	  the report is closed, the headers of the message are read (worker thread),
 *	3 the text is committed to the store under the id PARENT-N,
 *	4 its recipients are recorded as bounced by that id, and only then
 *	5 the report itself is taken as a new message.
 *
 * A restart between 1 and 4 asks whether PARENT-N is queued (qmgr_intake_recovered()).
 * Comes from outcome.c; goes to store.c and dsn.c. Owns the reports. On failure of 2: the report
 * returns no headers; of 3 (disk full): again after RETRY_MS.
 */
#include "qmgr/qmgr.h"

#include <errno.h>
#include <event2/buffer.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RETRY_MS   30000
#define EXTENT_MAX 64 /* of a content, read for its headers */

METRIC_COUNTER(m_dsn, "dsn_total", "Reports written to senders.");
METRIC_COUNTER(m_dropped, "dsn_not_due_total", "Failures of mail without a sender: no report.");
METRIC_COUNTER(m_retry, "dsn_retries_total", "Reports that could not be stored at once.");

struct qmgr_report {
	struct qmgr_report *next, *prev; /* gathering, or being written */
	struct qmgr *q;
	struct qmgr_msg *msg;
	uint32_t number;
	uint32_t unrecorded; /* recipients whose intent is not on disk yet */
	int64_t close_at;    /* ms */
	bool retry, read_failed;
	int read_errno; /* of the worker thread */
	char read_error[160];
	char id[META1_ID_MAX];
	/* while written */
	struct meta1_content *content;
	struct meta1_extent extent[EXTENT_MAX];
	uint32_t nextent;
	uint8_t *head; /* QMGR_HEADERS_MAX */
	size_t nhead;
	struct meta1_qrcpt to;
	struct meta1_env env;
};

void qmgr_bounce_id(const struct qmgr_msg *m, uint32_t number, char out[META1_ID_MAX])
{
	uint64_t h = 14695981039346656037u;
	const char *s;

	if (snprintf(out, META1_ID_MAX, "%s-%u", m->id, number) < META1_ID_MAX)
		return;
	/* A store with ids of its own, too long for an addition. */
	for (s = m->id; *s; s++)
		h = (h ^ (uint8_t)*s) * 1099511628211u;
	snprintf(out, META1_ID_MAX, "D%016llx-%u", (unsigned long long)h, number);
}

uint32_t qmgr_bounce_intent(struct meta1_buf *reason)
{
	static const char prefix[] = "report=";
	size_t i = sizeof(prefix) - 1, len = reason->len;
	const char *s = reason->data;
	uint32_t n = 0;

	if (len < i || memcmp(s, prefix, i) != 0)
		return 0;
	for (; i < len && s[i] >= '0' && s[i] <= '9' && n < 100000000; i++)
		n = n * 10 + (uint32_t)(s[i] - '0');
	if (!n || i + 1 >= len || s[i] != ';' || s[i + 1] != ' ')
		return 0;
	*reason = buf_of(s + i + 2, len - i - 2);
	return n;
}

/* ---- gathering ---- */

static void step(struct qmgr *q);

static void timer(int fd, short what, void *arg)
{
	(void)fd, (void)what;
	step(arg);
}

/* Each of the two lists is in order of time, as its delay is always the same. */
static struct qmgr_report **lists(struct qmgr *q, unsigned i)
{
	return i ? &q->report_retries : &q->reports;
}

static void wake(struct qmgr *q)
{
	int64_t at = INT64_MAX, now = loop_now(q->loop);
	unsigned i;

	for (i = 0; i < 2; i++)
		if (*lists(q, i) && (*lists(q, i))->close_at < at)
			at = (*lists(q, i))->close_at;
	if (at == INT64_MAX || q->nwriting >= QMGR_REPORTS_MAX)
		return;
	if (!q->report_timer)
		q->report_timer = loop_timer(q->loop, -1, timer, q);
	loop_rearm(q->report_timer, at > now ? at - now : 0);
}

static struct qmgr_report *open_report(struct qmgr *q, struct qmgr_msg *m, uint32_t number)
{
	struct qmgr_report *rep = base_alloc(sizeof(*rep));

	rep->q = q;
	rep->msg = m;
	rep->number = number;
	rep->close_at = loop_now(q->loop) + QMGR_REPORT_HOLD;
	qmgr_bounce_id(m, number, rep->id);
	m->report = rep;
	DL_APPEND(q->reports, rep);
	wake(q);
	return rep;
}

void qmgr_bounce_add(struct qmgr *q, struct qmgr_rcpt *r)
{
	struct qmgr_msg *m = qmgr_msg_of(r);

	if (!*m->from) {
		m_dropped.value++;
		qmgr_outcome_final(q, r, META1_R_FAILED);
		return;
	}
	if (!m->report)
		open_report(q, m, r->index + 1);
	m->report->unrecorded++;
	r->report = m->report->number;
	r->phase = QP_INTENT;
	qmgr_store_record(q, r);
}

static void start(struct qmgr_report *);

void qmgr_bounce_check(struct qmgr *q, struct qmgr_msg *m)
{
	struct qmgr_report *rep = m->report;

	if (rep && !rep->unrecorded && !m->nactive && q->nwriting < QMGR_REPORTS_MAX)
		start(rep);
}

void qmgr_bounce_recorded(struct qmgr *q, struct qmgr_rcpt *r)
{
	struct qmgr_msg *m = qmgr_msg_of(r);

	r->phase = QP_REPORT;
	if (!m->report || m->report->number != r->report)
		return;
	m->report->unrecorded--;
	qmgr_bounce_check(q, m);
	if (m->report && !m->report->unrecorded && m->report->close_at <= loop_now(q->loop))
		step(q);
}

/* Those whose time is over. One that waits for the journal goes to the end of the list. */
static void step(struct qmgr *q)
{
	int64_t now = loop_now(q->loop);
	struct qmgr_report *rep;
	unsigned i;

	for (i = 0; i < 2; i++)
		while ((rep = *lists(q, i)) && rep->close_at <= now &&
		       q->nwriting < QMGR_REPORTS_MAX) {
			if (!rep->unrecorded) {
				start(rep);
				continue;
			}
			DL_DELETE(q->reports, rep);
			rep->close_at = now + QMGR_REPORT_HOLD;
			DL_APPEND(q->reports, rep);
		}
	wake(q);
}

/* ---- writing ---- */

static void report_free(struct qmgr_report *rep)
{
	free(rep->head);
	free(rep);
}

static void end_writing(struct qmgr_report *rep)
{
	DL_DELETE(rep->q->writing, rep);
	rep->q->nwriting--;
}

static void again_later(struct qmgr_report *rep, const char *why)
{
	struct qmgr *q = rep->q;

	m_retry.value++;
	log_event(LOG_L_WARN, "qmgr.report", "id=%s error=%s again_in_s=%d", rep->id, why,
	    RETRY_MS / 1000);
	end_writing(rep);
	free(rep->head);
	rep->head = NULL;
	rep->retry = true;
	rep->close_at = loop_now(q->loop) + RETRY_MS;
	DL_APPEND(q->report_retries, rep);
	wake(q);
}

static bool is_in(const struct qmgr_report *rep, const struct qmgr_rcpt *r)
{
	return r->report == rep->number && r->phase == QP_REPORT;
}

static void committed(void *arg, enum meta1_status st, const struct meta1_reply *reply)
{
	struct qmgr_report *rep = arg;
	struct qmgr *q = rep->q;
	struct qmgr_msg *m = rep->msg;
	uint32_t i;

	if (st != META1_OK || !reply->nval) {
		again_later(rep, reply->text ? reply->text : "not stored");
		return;
	}
	m_dsn.value++;
	log_event(LOG_L_DEBUG, "qmgr.reported", "id=%s report=%s to=<%s>", m->id, rep->id, m->from);
	for (i = 0; i < m->nrcpt; i++)
		if (is_in(rep, &m->rcpt[i]))
			qmgr_outcome_final(q, &m->rcpt[i], META1_R_BOUNCED);
	/* After the outcomes: a report that is gone from the store proves that they are there. */
	qmgr_store_notice(q, reply->val[0], rep->id, &rep->env);
	end_writing(rep);
	report_free(rep);
	step(q);
	if (q->stopping)
		qmgr_stop_check(q);
}

static void fill(struct qmgr_report *rep, struct evbuffer *out, struct qmgr_dsn *dsn)
{
	struct qmgr_msg *m = rep->msg;
	struct qmgr_dsn_rcpt *rcpt;
	uint32_t i, n = 0;

	for (i = 0; i < m->nrcpt; i++)
		n += is_in(rep, &m->rcpt[i]);
	rcpt = base_alloc((n + 1) * sizeof(*rcpt));
	for (i = n = 0; i < m->nrcpt; i++)
		if (is_in(rep, &m->rcpt[i]))
			rcpt[n++] = (struct qmgr_dsn_rcpt){
			    m->rcpt[i].addr, m->rcpt[i].reason, m->rcpt[i].expired};
	dsn->rcpt = rcpt;
	dsn->nrcpt = n;
	qmgr_dsn_write(out, dsn);
	free(rcpt);
}

static void write_report(struct qmgr_report *rep)
{
	struct qmgr *q = rep->q;
	struct qmgr_msg *m = rep->msg;
	struct evbuffer *text = evbuffer_new();
	struct meta1_qmsg *qm = NULL;
	struct meta1_err err = {""};
	struct qmgr_dsn dsn = {.hostname = q->role.set->hostname,
	    .id = rep->id,
	    .parent = m->id,
	    .sender = m->from,
	    .now = loop_wall(q->loop),
	    .arrival = m->time,
	    .lifetime = q->lim.max_queue,
	    .headers = buf_of(rep->head, rep->nhead)};

	fill(rep, text, &dsn);
	rep->to = (struct meta1_qrcpt){.addr = buf_str(m->from)};
	rep->env = (struct meta1_env){.size = sizeof(rep->env),
	    .nrcpt = 1,
	    .sizeof_rcpt = sizeof(rep->to),
	    .flags = dsn.stuffed ? META1_M_STUFFED : 0,
	    .rcpt = &rep->to,
	    .time = dsn.now,
	    .bytes = dsn.bytes};
	if (!qmgr_store_begin(q, rep->id, &qm, &err)) {
		again_later(rep, err.text);
	} else if (!qmgr_store_write(q, qm, evbuffer_pullup(text, -1), evbuffer_get_length(text))) {
		qmgr_store_abort(q, &qm);
		again_later(rep, "the store took no text");
	} else if (!qmgr_store_commit(q, &qm, &rep->env, committed, rep)) {
		again_later(rep, "too many requests at the store");
	}
	evbuffer_free(text);
}

/* ---- the headers of the message ---- */

static void read_headers(void *arg) /* worker thread */
{
	struct qmgr_report *rep = arg;
	uint32_t i;

	for (i = 0; i < rep->nextent && rep->nhead < QMGR_HEADERS_MAX; i++) {
		const struct meta1_extent *x = &rep->extent[i];
		uint64_t left = QMGR_HEADERS_MAX - rep->nhead, off = x->off;

		if (left > x->len)
			left = x->len;
		if (x->mem) {
			memcpy(rep->head + rep->nhead, x->mem, left);
			rep->nhead += left;
			continue;
		}
		while (left) {
			ssize_t n = pread(x->fd, rep->head + rep->nhead, left, (off_t)off);

			if (n <= 0) {
				rep->read_failed = true;
				rep->read_errno = n < 0 ? errno : ENODATA;
				return;
			}
			rep->nhead += (size_t)n;
			off += (uint64_t)n;
			left -= (uint64_t)n;
		}
	}
}

static void have_headers(void *arg)
{
	struct qmgr_report *rep = arg;

	qmgr_store_unload(rep->q, rep->content);
	rep->content = NULL;
	if (rep->read_errno)
		str_copy(rep->read_error, sizeof(rep->read_error), strerror(rep->read_errno));
	if (rep->read_failed)
		log_event(LOG_L_WARN, "qmgr.report", "id=%s error=%s text=%s", rep->id,
		    rep->read_error, "reported without the headers");
	write_report(rep);
}

static void loaded(void *arg, enum meta1_status st, const struct meta1_reply *reply)
{
	struct qmgr_report *rep = arg;
	struct meta1_content *c = st == META1_OK ? (struct meta1_content *)reply->ext : NULL;
	uint32_t n;

	rep->content = c;
	if (!c) {
		rep->read_failed = true;
		str_copy(rep->read_error, sizeof(rep->read_error), reply->text ? reply->text : "");
		have_headers(rep);
		return;
	}
	n = c->nextent < EXTENT_MAX ? c->nextent : EXTENT_MAX;
	memcpy(rep->extent, c->extent, n * sizeof(rep->extent[0]));
	rep->nextent = n;
	if (!work_do(rep->q->role.work, &rep->q->report_work, read_headers, have_headers, rep)) {
		rep->read_failed = true;
		str_copy(rep->read_error, sizeof(rep->read_error), "too much to do");
		have_headers(rep);
	}
}

static void start(struct qmgr_report *rep)
{
	struct qmgr *q = rep->q;

	if (rep->msg->report == rep)
		rep->msg->report = NULL; /* later failures open the next one */
	DL_DELETE(*lists(q, rep->retry), rep);
	DL_APPEND(q->writing, rep);
	q->nwriting++;
	if (!rep->head)
		rep->head = base_alloc(QMGR_HEADERS_MAX);
	rep->nhead = 0;
	rep->read_errno = 0;
	rep->read_failed = false;
	if (!qmgr_store_load(q, &rep->msg->ref, loaded, rep))
		again_later(rep, "too many requests at the store");
}

bool qmgr_bounce_reads(const struct qmgr *q, const struct qmgr_msg *m)
{
	const struct qmgr_report *rep;

	DL_FOREACH (q->writing, rep)
		if (rep->msg == m)
			return true;
	return false;
}

void qmgr_bounce_free_all(struct qmgr *q)
{
	struct qmgr_report *rep;

	unsigned i;

	for (i = 0; i < 2; i++)
		while ((rep = *lists(q, i))) {
			DL_DELETE(*lists(q, i), rep);
			report_free(rep);
		}
}
