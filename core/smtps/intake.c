/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * intake.c -- how much mail qmgr lets in, and how it hears of what came.
 *
 * Comes from tx.c (a credit at MAIL), commit.c (QUEUED), smtps.c (frames of qmgr); goes
 * to qmgr's channel. A message that is committed waits for nothing: what cannot be sent is read
 * by qmgr from the store, once it was told the newest end (QUEUE_TAIL). MAIL without a credit
 * stands in line, first come, first served: a burst is slowed down before it is refused.
 * Owns the count of credits, the line and the pending frames of this turn. Credits are void when
 * the channel goes down: each carries the epoch of the connection it came over. On failure: QUEUED
 * is skipped and a tail is owed; it is sent at the next connect or as soon as the channel has
 * drained.
 */
#include "smtps/smtps.h"

#include <stdlib.h>

METRIC_COUNTER(m_skipped, "queued_not_sent_total", "Messages that qmgr must read from the store.");
METRIC_COUNTER(m_waits, "mail_waits_total", "MAIL that had to wait for the queue.");
METRIC_GAUGE(m_credits, "intake_credits_now", "Transactions that may still begin.");

#define UNSENT_MAX ((size_t)1 << 20) /* bytes to qmgr before QUEUED is skipped */
#define OWED_TRY   50		     /* ms */

struct smtps_intake {
	struct smtps *srv;
	uint64_t credits, backs;
	uint32_t epoch; /* counts connections; 0 is never valid */
	bool owed;	/* a tail, since QUEUED frames were skipped */
	TAILQ_HEAD(, smtps_session) line;
	struct task back;   /* one INTAKE_BACK a turn */
	struct watch *tail; /* armed while a tail is owed */
};

static void set_credits(struct smtps_intake *in, uint64_t n)
{
	in->credits = n;
	m_credits.value = (int64_t)n;
}

static bool up(const struct smtps_intake *in)
{
	return in->srv->qmgr != NULL && chan_up(in->srv->qmgr);
}

static void send_back(void *arg)
{
	struct smtps_intake *in = arg;
	struct p_intake_back m = {.credits = in->backs};

	if (in->backs > 0 && up(in) && chan_send(in->srv->qmgr, P_INTAKE_BACK, &m))
		in->backs = 0;
}

static bool send_tail(struct smtps_intake *in)
{
	uint8_t out[META1_NOTICE_MAX];
	struct p_queue_tail m = {0};

	m.notice = buf_of(out, in->srv->store->tail(in->srv->store_data, out));
	return m.notice.len == 0 || chan_send(in->srv->qmgr, P_QUEUE_TAIL, &m);
}

static void tail_due(int fd, short what, void *arg)
{
	struct smtps_intake *in = arg;

	(void)fd;
	(void)what;
	if (!in->owed || !up(in))
		return; /* the next connect sends it */
	if (chan_unsent(in->srv->qmgr) <= UNSENT_MAX / 2 && send_tail(in)) {
		in->owed = false;
		if (in->backs > 0)
			send_back(in);
	} else {
		loop_rearm(in->tail, OWED_TRY);
	}
}

struct smtps_intake *smtps_intake_new(struct smtps *srv)
{
	struct smtps_intake *in = base_alloc(sizeof(*in));

	in->srv = srv;
	in->epoch = 1;
	TAILQ_INIT(&in->line);
	task_init(&in->back, send_back, in);
	in->tail = loop_timer(srv->role->loop, -1, tail_due, in);
	return in;
}

void smtps_intake_free(struct smtps_intake **inp)
{
	struct smtps_intake *in = *inp;

	if (in == NULL)
		return;
	*inp = NULL;
	task_cancel(&in->back);
	loop_unwatch(&in->tail);
	free(in);
}

void smtps_intake_up(struct smtps_intake *in)
{
	smtps_report_judges(in->srv);
	in->owed = !send_tail(in);
	if (in->owed)
		loop_rearm(in->tail, OWED_TRY);
}

/* ---- the line ---- */

void smtps_intake_unwait(struct smtps_intake *in, struct smtps_session *s)
{
	TAILQ_REMOVE(&in->line, s, waits);
	loop_unwatch(&s->timer);
	smtps_session_awake(s);
}

static void waited(struct smtps_session *s, bool credit)
{
	smtps_intake_unwait(s->srv->intake, s);
	smtps_tx_waited(s, credit);
}

static void wait_over(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	waited(arg, false);
}

bool smtps_intake_wait(struct smtps_intake *in, struct smtps_session *s)
{
	if (s->lim->queue_wait <= 0 || !up(in) || in->srv->stopping)
		return false;
	m_waits.value++;
	smtps_session_await(s, AWAIT_QUEUE);
	s->timer = loop_timer(in->srv->role->loop, s->lim->queue_wait, wait_over, s);
	TAILQ_INSERT_TAIL(&in->line, s, waits);
	return true;
}

/* ---- credits ---- */

void smtps_intake_down(struct smtps_intake *in)
{
	struct smtps_session *s;

	if (++in->epoch == 0)
		in->epoch = 1;
	in->backs = 0;
	set_credits(in, 0);
	task_cancel(&in->back);
	while ((s = TAILQ_FIRST(&in->line)) != NULL)
		waited(s, false);
}

void smtps_intake_grant(struct smtps_intake *in, uint64_t credits)
{
	struct smtps_session *s;

	/* more than there can ever be sessions is a fault of the sender; keep the sum sane */
	set_credits(in, credits > UINT32_MAX - in->credits ? UINT32_MAX : in->credits + credits);
	while (in->credits > 0 && (s = TAILQ_FIRST(&in->line)) != NULL)
		waited(s, smtps_intake_take(in, &s->tx->epoch));
}

bool smtps_intake_take(struct smtps_intake *in, uint32_t *epoch)
{
	if (in->credits == 0 || !up(in))
		return false; /* credits are left: nobody stands in line */
	set_credits(in, in->credits - 1);
	*epoch = in->epoch;
	return true;
}

void smtps_intake_back(struct smtps_intake *in, uint32_t *epoch)
{
	if (*epoch == in->epoch) {
		in->backs++;
		loop_defer(in->srv->role->loop, &in->back);
	}
	*epoch = 0;
}

uint64_t smtps_intake_credits(const struct smtps_intake *in)
{
	return in->credits;
}

static void skipped(struct smtps_intake *in, struct smtps_tx *tx)
{
	m_skipped.value++;
	smtps_intake_back(in, &tx->epoch);
	if (!in->owed) {
		in->owed = true;
		loop_rearm(in->tail, OWED_TRY);
	}
}

/* The recipients, and what was said of reports if anything was. false: no memory. */
static bool lists(struct smtps_tx *tx, const struct meta1_env *env, struct p_queued *m)
{
	uint32_t i, n = env->nrcpt, nd = tx->dsn ? n : 0;
	struct meta1_buf *rcpts = pool_try(&tx->pool, n * sizeof(*rcpts));
	struct meta1_buf *orcpts = nd > 0 ? pool_try(&tx->pool, nd * sizeof(*orcpts)) : NULL;
	uint64_t *notify = nd > 0 ? pool_try(&tx->pool, nd * sizeof(*notify)) : NULL;

	if (rcpts == NULL || (nd > 0 && (orcpts == NULL || notify == NULL)))
		return false;
	for (i = 0; i < n; i++)
		rcpts[i] = env->rcpt[i].addr;
	for (i = 0; i < nd; i++) {
		orcpts[i] = env->rcpt[i].orcpt;
		notify[i] = env->rcpt[i].notify;
	}
	m->rcpts = (struct proto_strs){rcpts, n};
	m->orcpts = (struct proto_strs){orcpts, nd};
	m->notify = (struct proto_nums){notify, nd};
	return true;
}

/* What aliases did to the recipients, if they did. false: no memory, or too many owners. */
static bool alias_lists(struct smtps_tx *tx, const struct meta1_env *env, struct p_queued *m)
{
	uint32_t i, n = tx->expanded ? env->nrcpt : 0, nowner = 0;
	struct meta1_buf *owners =
	    pool_try(&tx->pool, (n ? SMTPS_OWNERS_MAX : 0) * sizeof(*owners));
	struct meta1_buf *aliases = pool_try(&tx->pool, n * sizeof(*aliases));
	uint64_t *owner = pool_try(&tx->pool, n * sizeof(*owner));
	uint64_t *flags = pool_try(&tx->pool, n * sizeof(*flags));

	if (!tx->expanded)
		return true;
	if (owners == NULL || aliases == NULL || owner == NULL || flags == NULL)
		return false;
	for (i = 0; i < n; i++) {
		const struct meta1_qrcpt *r = &env->rcpt[i];

		aliases[i] = r->alias;
		flags[i] = r->flags;
		owner[i] = 0;
		if (r->sender.len == 0)
			continue;
		if (nowner == 0 || !buf_eq(owners[nowner - 1], r->sender)) {
			if (nowner == SMTPS_OWNERS_MAX)
				return false;
			owners[nowner++] = r->sender;
		}
		owner[i] = nowner;
	}
	m->owners = (struct proto_strs){owners, nowner};
	m->owner = (struct proto_nums){owner, n};
	m->rflags = (struct proto_nums){flags, n};
	m->aliases = (struct proto_strs){aliases, n};
	return true;
}

void smtps_intake_queued(struct smtps_intake *in, struct smtps_tx *tx, const struct meta1_env *env,
    struct meta1_buf notice)
{
	struct p_queued m = {.notice = notice,
	    .id = buf_str(tx->id),
	    .from = env->from,
	    .flags = env->flags,
	    .bytes = env->bytes,
	    .time = (uint64_t)env->time,
	    .client = env->client,
	    .envid = env->envid,
	    .hold = env->hold};

	/* while a tail is owed nothing newer goes out: the tail will cover it */
	if (!up(in) || in->owed || chan_unsent(in->srv->qmgr) > UNSENT_MAX) {
		skipped(in, tx);
		return;
	}
	/* Too large a frame is not sent either: qmgr reads the message in the store. */
	if (!lists(tx, env, &m) || !alias_lists(tx, env, &m) ||
	    !chan_send(in->srv->qmgr, P_QUEUED, &m)) {
		skipped(in, tx);
		return;
	}
	tx->epoch = 0; /* QUEUED uses the credit up */
}
