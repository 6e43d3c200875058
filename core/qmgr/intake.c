/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * intake.c -- how mail comes in: smtps tells of what it committed (QUEUED, or QUEUE_TAIL when
 * it had to skip some), the store makes of it each message exactly once (entry), also of what
 * it finds at start; and how much may come: credits, one a transaction.
 * Comes from smtps' channels and store.c; goes to msg.c and active.c. Owns the feeders.
 * On failure: memory near its bound (envelopes that are loaded, and a part for each message,
 * further recipient and destination that is known), no more credits, and smtps answers 451 4.3.2.
 *
 * What is recovered may pass the bound: it is on disk already, and must be delivered.
 */
#include "qmgr/qmgr.h"

#include <stdlib.h>

METRIC_COUNTER(m_withheld, "intake_withheld_total", "Times that intake credits were withheld.");
METRIC_COUNTER(m_entries, "messages_taken_total", "Messages taken from the store.");
METRIC_COUNTER(m_no_env, "queued_frames_bad_total", "QUEUED frames without notice or recipient.");

static struct qmgr_feeder *feeder_of(struct chan *c)
{
	return *chan_slot(c);
}

/* ---- credits ---- */

size_t qmgr_intake_memory(const struct qmgr *q)
{
	return q->memory + qmgr_reason_memory() + qmgr_mark_memory() + qmgr_hops_memory() +
	       (size_t)q->index.n * QMGR_INDEX + q->index.more * QMGR_FURTHER +
	       (size_t)HASH_COUNT(q->sched.dests) * QMGR_DEST;
}

static uint64_t window(struct qmgr *q)
{
	uint64_t left;

	if (q->stopping || qmgr_intake_memory(q) >= q->lim.memory)
		return 0;
	left = (q->lim.memory - qmgr_intake_memory(q)) / QMGR_CREDIT_MEMORY;
	return left < QMGR_CREDITS ? left : QMGR_CREDITS;
}

static void grant(struct qmgr *q, struct qmgr_feeder *f)
{
	uint64_t w = window(q);
	struct p_intake msg = {0};

	if (w == 0 && !q->withheld && !q->stopping) {
		q->withheld = true;
		m_withheld.value++;
		log_event(LOG_L_WARN, "qmgr.full", "memory=%zu limit=%zu messages=%u text=%s",
		    qmgr_intake_memory(q), q->lim.memory, q->index.n,
		    "no new mail until some is done");
	}
	/* In chunks, so that credits are not a frame each. */
	if (w < f->credits + (w + 3) / 4 || w <= f->credits)
		return;
	msg.credits = w - f->credits;
	if (chan_send(f->chan, P_INTAKE, &msg))
		f->credits = (uint32_t)w;
}

void qmgr_intake_grant(struct qmgr *q)
{
	struct qmgr_feeder *f;

	if (q->withheld) {
		size_t gap = q->lim.memory / 8;

		if (gap < 2 * QMGR_CREDIT_MEMORY)
			gap = 2 * QMGR_CREDIT_MEMORY;
		if (qmgr_intake_memory(q) + gap > q->lim.memory)
			return;
		q->withheld = false;
		log_event(LOG_L_INFO, "qmgr.room", "memory=%zu limit=%zu", qmgr_intake_memory(q),
		    q->lim.memory);
	}
	DL_FOREACH (q->feeders, f)
		grant(q, f);
}

static void spend(struct qmgr *q, struct chan *c, uint64_t n)
{
	struct qmgr_feeder *f = feeder_of(c);

	if (!f)
		return;
	f->credits -= n < f->credits ? (uint32_t)n : f->credits;
	if (!q->withheld)
		grant(q, f);
}

/* ---- smtps ---- */

void qmgr_intake_up(struct qmgr *q, struct chan *c, const struct p_hello *hello)
{
	struct qmgr_feeder *f = base_alloc(sizeof(*f));

	f->chan = c;
	f->writer = (uint32_t)hello->writer;
	*chan_slot(c) = f;
	DL_APPEND(q->feeders, f);
	qmgr_store_attach(q, f->writer);
	qmgr_intake_grant(q);
}

void qmgr_intake_down(struct qmgr *q, struct chan *c)
{
	struct qmgr_feeder *f = feeder_of(c);

	if (!f)
		return;
	*chan_slot(c) = NULL;
	DL_DELETE(q->feeders, f);
	qmgr_store_detach(q, f->writer);
	free(f);
}

void qmgr_intake_free_all(struct qmgr *q)
{
	struct qmgr_feeder *f;

	while ((f = q->feeders)) {
		*chan_slot(f->chan) = NULL;
		DL_DELETE(q->feeders, f);
		free(f);
	}
}

static struct meta1_qrcpt rcpt_of(const struct p_queued *m, uint32_t i)
{
	static const struct meta1_buf none = {NULL, 0};
	uint64_t owner = i < m->owner.n ? m->owner.v[i] : 0;

	return (struct meta1_qrcpt){.addr = m->rcpts.v[i],
	    .notify = i < m->notify.n ? (uint32_t)m->notify.v[i] : 0,
	    .orcpt = i < m->orcpts.n ? m->orcpts.v[i] : none,
	    .flags = i < m->rflags.n ? (uint32_t)m->rflags.v[i] : 0,
	    .sender = owner > 0 && owner <= m->owners.n ? m->owners.v[owner - 1] : none,
	    .alias = i < m->aliases.n ? m->aliases.v[i] : none};
}

void qmgr_intake_queued(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	const struct p_queued *m = msg;
	struct qmgr *q = arg;
	struct meta1_env env = {.size = sizeof(env), .sizeof_rcpt = sizeof(struct meta1_qrcpt)};
	struct meta1_qrcpt one, *rcpt = &one;
	char id[META1_ID_MAX];
	uint32_t i;

	(void)req;
	if (q->ended)
		return;
	if (!m->rcpts.n || !m->id.len || m->id.len >= sizeof(id) || !m->notice.len) {
		m_no_env.value++;
		log_event(LOG_L_ERR, "qmgr.queued_bad", "id=%.*s recipients=%u", (int)m->id.len,
		    m->id.len ? (const char *)m->id.data : "", m->rcpts.n);
		return;
	}
	memcpy(id, m->id.data, m->id.len);
	id[m->id.len] = 0;
	if (m->rcpts.n > 1)
		rcpt = base_alloc(m->rcpts.n * sizeof(*rcpt));
	for (i = 0; i < m->rcpts.n; i++)
		rcpt[i] = rcpt_of(m, i);
	env.nrcpt = m->rcpts.n;
	env.rcpt = rcpt;
	env.flags = (uint32_t)m->flags;
	env.from = m->from;
	env.client = m->client;
	env.time = (int64_t)m->time;
	env.bytes = m->bytes;
	env.envid = m->envid;
	env.hold = m->hold;
	qmgr_store_notice(q, m->notice, id, &env);
	if (rcpt != &one)
		free(rcpt);
	spend(q, c, 1);
}

void qmgr_intake_tail(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	const struct p_queue_tail *m = msg;
	struct qmgr *q = arg;

	(void)c, (void)req;
	if (m->notice.len && !q->ended)
		qmgr_store_notice(q, m->notice, NULL, NULL);
}

void qmgr_intake_back(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	const struct p_intake_back *m = msg;

	(void)req;
	spend(arg, c, m->credits);
}

void qmgr_intake_judges(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	const struct p_judges *m = msg;
	struct qmgr_feeder *f = feeder_of(c);

	(void)req;
	if (!f)
		return;
	f->judges = m->reports != 0;
	if (f->judges)
		qmgr_bounce_again(arg);
}

/* ---- the store's events ---- */

static void decide(struct qmgr *q)
{
	struct qmgr_item *i;

	while ((i = qmgr_list_pop(&q->doubts))) {
		struct qmgr_rcpt *r = (struct qmgr_rcpt *)i;

		if (r->state == META1_R_WAITING)
			qmgr_bounce_doubt(q, r);
		else /* it was deleted while it was delivered */
			qmgr_outcome_final(q, r, r->state);
	}
}

void qmgr_intake_entry(void *arg, const struct meta1_qentry *e)
{
	struct qmgr *q = arg;
	struct meta1_qentry ours = *e;
	const struct meta1_env *said;
	struct qmgr_msg *m;
	bool fresh = true;
	uint32_t i, slot;

	slot = qmgr_slot_find(&q->index, e->id, strlen(e->id));
	if (slot && (qmgr_slot_at(&q->index, slot)->loaded
			    ? qmgr_msg_find(q, e->id, strlen(e->id)) != NULL
			    : qmgr_slot_at(&q->index, slot)->at.key == e->key)) {
		log_event(LOG_L_ERR, "qmgr.entry_twice", "id=%s text=%s", e->id,
		    "the store told of it before; ignored");
		return;
	}
	said = qmgr_import_entry(q, e->id);
	if (said)
		ours.env = said;
	m = qmgr_msg_new(q, qmgr_slot_new(&q->index, e->id, e->env->nrcpt), &ours);
	m_entries.value++;
	for (i = 0; i < m->nrcpt; i++) {
		struct qmgr_rcpt *r = &m->rcpt[i];

		if (r->tries || r->reason)
			fresh = false;
		if (r->phase == QP_DOUBT)
			qmgr_list_add(&q->doubts, &r->item);
		else if (r->phase == QP_WAIT && r->due > loop_now(q->loop))
			qmgr_active_wait(q, r, r->due);
		qmgr_bounce_expanded(q, r);
	}
	qmgr_active_start(q, m, fresh);
	qmgr_msg_check(q, m);
	if (q->recovered) /* read late: nobody comes back to its doubts */
		decide(q);
}

void qmgr_intake_space(void *arg, uint32_t writer, uint64_t unit)
{
	struct qmgr *q = arg;
	struct p_space_free msg = {.unit = unit};
	struct qmgr_feeder *f;

	DL_FOREACH (q->feeders, f)
		if (f->writer == writer) {
			/* Not sent or lost: the store tells again when the writer is back. */
			chan_send(f->chan, P_SPACE_FREE, &msg);
			return;
		}
}

/* The reference may change only while nobody reads by it: no delivery has it, no report. */
bool qmgr_intake_moved(void *arg, const char *id, uint64_t key, const struct meta1_ref *ref)
{
	struct qmgr *q = arg;
	uint32_t i = qmgr_slot_find(&q->index, id, strlen(id));
	struct qmgr_msg *m = qmgr_msg_at(q, i);

	if (i && !m) /* nobody reads what is not even loaded */
		return qmgr_slot_at(&q->index, i)->at.key == key;
	if (!m || m->key != key || qmgr_bounce_reads(q, m))
		return false;
	for (i = 0; m->nactive && i < m->nrcpt; i++)
		if (m->rcpt[i].phase == QP_SENT)
			return false;
	m->ref = *ref;
	return true;
}

void qmgr_intake_recovered(struct qmgr *q)
{
	q->recovered = true;
	decide(q);
	qmgr_kick(q);
}
