/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * commit.c -- the end of a message: 250 when it is on stable storage, never before.
 *
 * Comes from body.c (the final dot was seen) or bdat.c (the last octet); goes to the store's
 * commit(), then to the client (250) and to qmgr (QUEUED, through intake.c). Owns the transaction
 * while the store works: a client that goes away meanwhile leaves it here, and the message is
 * queued all the same. On failure of the store: 452 4.3.1, nothing is kept, the credit goes back.
 */
#include "smtps/smtps.h"

#include <stdio.h>

METRIC_COUNTER(m_accepted, "messages_accepted_total", "Messages answered 250 and queued.");
METRIC_COUNTER(
    m_discarded, "messages_discarded_total", "Messages answered 250 and dropped by policy.");
METRIC_COUNTER(m_bare, "refused_bare_newline_total", "Messages refused for a CR or LF alone.");
METRIC_COUNTER(
    m_mended, "repaired_newlines_total", "Messages queued with a CR or LF alone made CRLF.");
METRIC_COUNTER(m_size, "refused_over_size_total", "Messages refused after DATA for their size.");
METRIC_COUNTER(m_nul, "refused_nul_total",
    "Messages that filters were to judge, refused for a NUL in the header.");
METRIC_COUNTER(m_hops, "refused_hops_total", "Messages refused for too many Received lines.");
METRIC_COUNTER(
    m_store, "refused_store_total", "Messages refused because the store could not keep them.");
METRIC_COUNTER(
    m_orphan, "accepted_unheard_total", "Messages queued whose client went away before the 250.");

#define FILTERS_MORE 65536 /* so much larger than max_message_size filters may make a mail */
#define CLIENT_MAX   320   /* of QUEUED in core/ipc/proto.def */

struct refusal {
	int code;
	const char *dsn, *text, *why;
	struct metric *metric;
};

/* Bytes without the stuffing; of a chunk all that was announced. */
static uint64_t plain_size(const struct smtps_tx *tx)
{
	uint64_t seen = tx->scan.stored - tx->scan.stuffed;

	return seen > tx->announced ? seen : tx->announced;
}

static void refuse(struct smtps_session *s, const struct refusal *r)
{
	const struct smtps_tx *tx = s->tx;

	r->metric->value++;
	log_event(LOG_L_INFO, "smtps.refused",
	    SMTPS_WHO " reply=%d dsn=%s reason=%s from=<%.*s> size=%llu", SMTPS_WHO_OF(s), r->code,
	    r->dsn, r->why, (int)tx->from.len, (const char *)tx->from.data,
	    (unsigned long long)plain_size(tx));
	smtps_tx_reset(s);
	smtps_session_reply(s, r->code, r->dsn, "%s", r->text);
}

/* What is wrong with the content, NULL: nothing. */
static const struct refusal *judge(const struct smtps_tx *tx)
{
	static const struct refusal bare = {550, "5.6.11",
	    "Bare CR or LF in message; lines must end with CRLF", "bare-newline", &m_bare};
	static const struct refusal size = {
	    552, "5.3.4", "Message is larger than is taken here", "size", &m_size};
	static const struct refusal hops = {554, "5.4.6",
	    "Too many Received lines: the mail goes round in a loop", "hops", &m_hops};
	/* a milter is told a blank, Postfix behind us ends the field there: who judges and who
	 * reads it would not see the same */
	static const struct refusal nul = {
	    550, "5.6.0", "NUL in the header: filters here cannot judge it", "nul", &m_nul};
	static const struct refusal lost = {452, "4.3.1",
	    "The queue could not keep the message, try again later", "store", &m_store};
	const struct smtps_limits *lim = tx->session->lim;

	if (tx->scan.bare)
		return &bare;
	if (lim->message_size > 0 &&
	    plain_size(tx) > (uint64_t)lim->message_size + (tx->judged != NULL ? FILTERS_MORE : 0))
		return &size;
	if (lim->hops > 0 && tx->scan.hops > lim->hops)
		return &hops;
	if (tx->scan.nul && tx->image != NULL)
		return &nul;
	if (tx->failed ||
	    (tx->nrcpt > 0 && tx->msg == NULL && tx->image == NULL && tx->back == NULL))
		return &lost;
	return NULL;
}

/* draft-hall-prdr: a reply for each accepted recipient, in the order of RCPT, then one on all.
 * What is judged today concerns all alike; a filter that judges one would do it here. */
static void each(struct smtps_session *s, const struct smtps_tx *tx, bool ok)
{
	unsigned i;

	for (i = 0; i < tx->ntaken; i++)
		smtps_session_reply(s, ok ? 250 : 452, ok ? "2.1.5" : "4.3.1",
		    ok ? "Recipient ok" : "The queue could not keep the message");
}

static void prdr_begin(struct smtps_session *s)
{
	if (s->tx->prdr)
		smtps_session_reply(s, 353, NULL, "A reply for each recipient follows");
}

static void answer(struct smtps_session *s, const struct smtps_tx *tx, bool ok)
{
	smtps_session_awake(s);
	if (tx->prdr)
		each(s, tx, ok);
	if (ok)
		smtps_session_reply(s, 250, "2.0.0", "accepted as %s", tx->id);
	else
		smtps_session_reply(
		    s, 452, "4.3.1", "The queue could not keep the message, try again later");
	s->nop = ok ? 0 : s->nop;
}

static void done(void *arg, enum meta1_status st, const struct meta1_reply *r)
{
	struct smtps_tx *tx = arg;
	struct smtps_session *s = tx->session;
	bool ok = st == META1_OK;

	if (s != NULL) /* first, so that it leaves first: the client waits for it, qmgr does not */
		answer(s, tx, ok);
	if (ok) {
		m_accepted.value++;
		m_mended.value += tx->scan.mended;
		log_event(LOG_L_NORMAL, "smtps.accepted",
		    "id=%s from=<%.*s> nrcpt=%u size=%llu client=%s helo=%s name=%s tls=%s", tx->id,
		    (int)tx->from.len, (const char *)tx->from.data, tx->nrcpt,
		    (unsigned long long)tx->env->bytes, tx->client, tx->helo, tx->name, tx->tls);
		smtps_intake_queued(tx->srv->intake, tx, tx->env,
		    r != NULL && r->nval > 0 ? r->val[0] : buf_of(NULL, 0));
	} else {
		m_store.value++;
		log_event(LOG_L_WARN, "smtps.store", "id=%s client=%s reply=452 dsn=4.3.1 cause=%s",
		    tx->id, tx->client,
		    r != NULL && r->text != NULL ? r->text : "the store did not say why");
	}
	if (s == NULL) {
		m_orphan.value += ok;
		smtps_tx_free(&tx);
		return;
	}
	smtps_tx_reset(s);
	smtps_session_run(s);
}

/* The envelope, in the transaction's memory. NULL: its bound was reached. */
static const struct meta1_env *envelope(struct smtps_session *s)
{
	struct smtps_tx *tx = s->tx;
	struct meta1_env *env = pool_try(&tx->pool, sizeof(*env));
	struct meta1_qrcpt *v =
	    smtps_expand_unique(tx) ? pool_try(&tx->pool, tx->nrcpt * sizeof(*v)) : NULL;
	struct smtps_rcpt *r;
	char client[CLIENT_MAX + 1], tls[160];
	size_t n = 0;

	snprintf(client, sizeof(client), "[%s] %s", s->client, s->helo);
	tx->client = pool_strn(&tx->pool, s->client, strlen(s->client));
	tx->helo = pool_strn(&tx->pool, s->helo, strlen(s->helo));
	tx->name = s->name != NULL ? pool_strn(&tx->pool, s->name, strlen(s->name)) : "";
	smtps_starttls_text(s, tls, sizeof(tls));
	tx->tls = pool_strn(&tx->pool, tls, strlen(tls));
	if (env == NULL || v == NULL || tx->tls == NULL || tx->client == NULL || tx->helo == NULL ||
	    tx->name == NULL)
		return NULL;
	*env = (struct meta1_env){.size = sizeof(*env),
	    .nrcpt = tx->nrcpt,
	    .sizeof_rcpt = sizeof(*v),
	    .flags = tx->flags,
	    .from = tx->from,
	    .envid = tx->envid,
	    .rcpt = v,
	    .time = loop_wall(s->srv->role->loop),
	    .bytes = tx->head + tx->scan.stored - tx->scan.stuffed - tx->cut};
	if (tx->hold != NULL)
		env->hold = buf_str(tx->hold);
	env->client = buf_str(pool_strn(&tx->pool, client, strlen(client)));
	if (tx->scan.eight)
		env->flags |= META1_M_8BIT;
	if (tx->scan.eight_head)
		env->flags |= META1_M_HEADER_8BIT;
	if (tx->scan.stuffed > 0)
		env->flags |= META1_M_STUFFED;
	if (tls_required_no(&tx->scan.tls))
		env->flags |= MAIL_TLS_NO;
	STAILQ_FOREACH(r, &tx->rcpts, next)
	v[n++] = (struct meta1_qrcpt){.addr = r->addr,
	    .orcpt = r->orcpt,
	    .notify = r->notify,
	    .flags = r->flags,
	    .sender = r->sender,
	    .alias = r->alias};
	return tx->env = env;
}

static void commit(struct smtps_session *s)
{
	static const struct refusal full = {
	    452, "4.3.1", "The queue is busy, try again later", "busy", &m_store};
	struct smtps_tx *tx = s->tx;
	const struct meta1_env *env = envelope(s);
	struct meta1_req *req = NULL;

	if (env != NULL && tx->back != NULL) {
		smtps_report_taken(s, env);
		return;
	}
	if (env != NULL)
		req = mod_req(
		    s->srv->store_inst, loop_now(s->srv->role->loop) + SMTPS_WAIT_MAX, done, tx);
	if (req == NULL) {
		refuse(s, &full);
		return;
	}
	prdr_begin(s);
	s->state = ST_COMMIT;
	smtps_session_await(s, AWAIT_COMMIT);
	s->srv->store->commit(&tx->msg, req, env);
	tx->msg = NULL; /* the store's now */
}

void smtps_commit_start(struct smtps_session *s)
{
	struct smtps_tx *tx = s->tx;
	const struct refusal *r = judge(tx);

	smtps_session_awake(s); /* room in the store was waited for, perhaps */
	if (r != NULL)
		refuse(s, r);
	else if (tx->nrcpt == 0)
		smtps_commit_discard(s, NULL);
	else if (tx->image != NULL)
		smtps_judged_start(s);
	else
		commit(s);
}

void smtps_commit_discard(struct smtps_session *s, const char *by)
{
	struct smtps_tx *tx = s->tx;

	m_discarded.value++;
	log_event(LOG_L_NORMAL, "smtps.discarded", "id=%s from=<%.*s> nrcpt=%u client=%s filter=%s",
	    tx->id, (int)tx->from.len, (const char *)tx->from.data, tx->nrcpt + tx->ndiscard,
	    s->client, by != NULL ? by : "-");
	prdr_begin(s);
	smtps_session_awake(s);
	if (s->report != NULL)
		smtps_session_reply(
		    s, 250, "2.0.0", "discarded by %s", by != NULL ? by : "a filter");
	else
		answer(s, tx, true);
	smtps_tx_reset(s);
}

void smtps_commit_judged(struct smtps_session *s)
{
	if (smtps_commit_refused(s))
		return;
	smtps_filter_reset(s); /* what it points to goes */
	smtps_judged_free(s->tx);
	smtps_image_free(&s->tx->image);
	commit(s);
}

bool smtps_commit_refused(struct smtps_session *s)
{
	const struct refusal *r = judge(s->tx);

	if (r != NULL)
		refuse(s, r);
	return r != NULL;
}
