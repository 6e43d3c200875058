/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * body.c -- DATA: from 354 to the final dot; the content of BDAT takes the same way.
 *
 * Comes from verbs.c (the command), bdat.c (a chunk begins) and session.c (input); goes through
 * the scanner of data.c into the store, without a copy of ours, and then to commit.c.
 * Owns nothing: the message being written is the transaction's.
 * On failure (bare CR or LF, too big, too many hops, the store lost it) the message is
 * aborted at once and the rest consumed up to its real end, in no memory; commit.c
 * then says why. A client that sends on and on is cut off.
 */
#include "smtps/smtps.h"

METRIC_COUNTER(m_bytes, "content_bytes_total", "Bytes of content received by DATA and BDAT.");
METRIC_COUNTER(m_cut, "endless_data_total", "Sessions closed for going on with refused content.");

#define RECEIVED_MAX 2048
#define DROP_MORE    ((uint64_t)64 << 20) /* besides max_message_size */
#define BACK_MAX     (8u << 20)		  /* of a report, whatever a filter makes of it: memory */

static void store_ready(void *arg)
{
	struct smtps_tx *tx = arg;
	struct smtps_session *s = tx->session;

	if (s != NULL && tx->judged != NULL) {
		smtps_judged_ready(tx);
		return;
	}
	if (s == NULL || s->await.what != AWAIT_ROOM)
		return;
	smtps_session_awake(s);
	conn_pause(s->conn, false);
	smtps_session_run(s);
}

static const struct meta1_qops_writer_events events = {
    .size = sizeof(events), .ready = store_ready};

void smtps_body_drop(struct smtps_tx *tx)
{
	if (tx->msg != NULL)
		tx->srv->store->abort(&tx->msg);
	if (tx->back != NULL)
		evbuffer_free(tx->back);
	tx->back = NULL;
	smtps_image_free(&tx->image);
}

static void drop(struct smtps_tx *tx)
{
	tx->body = BODY_DROP;
	smtps_body_drop(tx);
	if (tx->session->await.what == AWAIT_ROOM)
		smtps_session_awake(tx->session); /* of a message that is gone nothing is heard */
}

enum meta1_status smtps_body_put(struct smtps_tx *tx, const void *p, size_t n)
{
	if (tx->back == NULL)
		return tx->srv->store->write(tx->msg, p, n);
	if (evbuffer_get_length(tx->back) + n > BACK_MAX)
		return META1_TEMPFAIL;
	return evbuffer_add(tx->back, p, n) == 0 ? META1_OK : META1_TEMPFAIL;
}

static void store(struct smtps_session *s, const void *p, size_t n)
{
	struct smtps_tx *tx = s->tx;
	enum meta1_status st;

	if (n == 0 || tx->body == BODY_DROP)
		return;
	st = tx->image != NULL ? smtps_image_write(tx->image, p, n) : smtps_body_put(tx, p, n);
	if (st == META1_MORE) {
		smtps_session_await(s, AWAIT_ROOM);
	} else if (st != META1_OK) {
		tx->failed = true;
		drop(tx);
	}
}

static void store_piece(void *arg, const void *p, size_t n)
{
	store(arg, p, n);
}

/* Content as the scanner left it; without what claims to be ours. */
static void content(struct smtps_session *s, const void *p, size_t n)
{
	struct smtps_tx *tx = s->tx;

	if (n == 0 || !tx->authres.on)
		store(s, p, n);
	else
		tx->cut +=
		    smtps_authres_pass(&tx->authres, s->gear->hostname, p, n, store_piece, s);
}

bool smtps_body_store(struct smtps_session *s)
{
	struct smtps_tx *tx = s->tx;
	const struct smtps *srv = s->srv;
	struct meta1_err err = {""};
	enum meta1_status st;

	if (s->report != NULL) {
		tx->back = evbuffer_new();
		return tx->back != NULL;
	}
	st = srv->store->begin(srv->store_data, tx->id, &events, tx, &tx->msg, &err);
	if (st != META1_OK) {
		log_event(LOG_L_WARN, "smtps.store", SMTPS_WHO " reply=452 dsn=4.3.1 cause=%s",
		    SMTPS_WHO_OF(s), err.text);
		tx->msg = NULL;
		return false;
	}
	return true;
}

/* Filters that judge the content have it before the store: then our Received line is its last. */
static bool begin(struct smtps_session *s)
{
	struct smtps_tx *tx = s->tx;
	char line[2 * RECEIVED_MAX];

	tx->authres.on = s->lim->spf_header == SPF_HEADER_RESULTS;
	tx->head = smtps_authres_line(line, sizeof(line), s, tx);
	/* Begun before it is judged too: a full store says so before the content, and a store
	 * that gathers mails for one sync knows of those that are on their way. */
	if (!smtps_body_store(s))
		return false;
	if (smtps_filter_wants(s, META1_PM_END)) {
		tx->image = smtps_image_new(s->srv, store_ready, tx);
		smtps_image_ours(tx->image, line, tx->head);
		return true;
	}
	tx->head += smtps_received_line(line + tx->head, sizeof(line) - tx->head, s, tx);
	store(s, line, tx->head);
	return true;
}

bool smtps_body_begin(struct smtps_session *s, bool plain)
{
	struct smtps_tx *tx = s->tx;

	if (tx->nrcpt == 0) {
		tx->body = BODY_DROP;
	} else if (!begin(s)) {
		smtps_tx_reset(s);
		smtps_session_reply(
		    s, 452, "4.3.1", "The queue takes no message now, try again later");
		return false;
	}
	smtps_data_start(&tx->scan, plain, s->lim->repair);
	tx->counted = true;
	s->srv->nopen++;
	return true;
}

static void filtered(struct smtps_session *s, const struct smtps_answer *a)
{
	if (smtps_filter_refused(s, a)) {
		smtps_tx_reset(s);
		return;
	}
	if (a->action == META1_PM_DISCARD)
		smtps_tx_discard(s->tx);
	if (!smtps_body_begin(s, false))
		return;
	s->state = ST_DATA;
	smtps_session_reply(s, 354, NULL, "End data with <CR><LF>.<CR><LF>");
}

void smtps_body_data(struct smtps_session *s, const struct smtps_line *l)
{
	struct smtps_tx *tx = s->tx;

	(void)l;
	if (tx->nrcpt + tx->ndiscard == 0) {
		smtps_session_bad(s, tx->asked ? 554 : 503, "5.5.1",
		    tx->asked ? "No valid recipients" : "RCPT comes first");
		return;
	}
	smtps_filter_ask(s, META1_PM_DATA, buf_str(""), filtered);
}

/* One step of the scanner; returns the bytes taken. */
static size_t scan(struct smtps_session *s, const uint8_t *p, size_t n)
{
	const struct smtps_limits *lim = s->lim;
	struct smtps_tx *tx = s->tx;
	struct smtps_scan *d = &tx->scan;
	struct smtps_run run;
	size_t used;

	used = smtps_data_scan(d, p, n, &run);
	if (tx->body == BODY_DROP)
		tx->dropped += used;
	else if (d->bare || (lim->hops > 0 && d->hops > lim->hops) ||
		 (lim->message_size > 0 && d->stored - d->stuffed > (uint64_t)lim->message_size))
		drop(tx);
	content(s, run.add, run.nadd);
	content(s, p, run.keep);
	return used;
}

/* What is in the input of this message, some of it; returns the bytes taken. */
static size_t gulp(struct smtps_session *s, struct evbuffer *in)
{
	struct evbuffer_iovec v[8];
	int n = evbuffer_peek(in, -1, NULL, v, (int)ARRAY_LEN(v));
	bool counted = s->state == ST_BDAT;
	size_t used = 0;

	if (n > (int)ARRAY_LEN(v))
		n = (int)ARRAY_LEN(v);
	for (int i = 0; i < n; i++) {
		const uint8_t *p = v[i].iov_base;
		size_t len = v[i].iov_len, at = 0;

		if (counted && len > s->left)
			len = (size_t)s->left;
		while (at < len && !s->tx->scan.done)
			at += scan(s, p + at, len - at);
		if (counted)
			s->left -= at;
		used += at;
	}
	m_bytes.value += (int64_t)used;
	return used;
}

bool smtps_body_endless(struct smtps_session *s, uint64_t dropped)
{
	if (dropped <= (uint64_t)s->lim->message_size + DROP_MORE)
		return false;
	m_cut.value++;
	log_event(LOG_L_WARN, "smtps.endless_data", SMTPS_WHO " reply=421 dsn=4.7.0 dropped=%llu",
	    SMTPS_WHO_OF(s), (unsigned long long)dropped);
	smtps_tx_reset(s);
	smtps_session_reply(s, 421, "4.7.0", "Far more content than is taken here, closing");
	smtps_session_end(s);
	return true;
}

bool smtps_body_run(struct smtps_session *s)
{
	struct evbuffer *in = conn_in(s->conn);

	for (;;) {
		if (s->state == ST_BDAT && s->left == 0) {
			smtps_bdat_end(s);
			return true;
		}
		if (evbuffer_get_length(in) == 0)
			return false;
		conn_consume(s->conn, gulp(s, in));
		if (s->tx->scan.done) {
			smtps_commit_start(s);
			return true;
		}
		if (smtps_body_endless(s, s->tx->dropped))
			return true;
		if (s->await.what == AWAIT_ROOM && (s->state != ST_BDAT || s->left > 0)) {
			conn_pause(s->conn, true);
			return true;
		}
	}
}

void smtps_body_finish(struct smtps_session *s)
{
	struct smtps_run run;

	smtps_data_end(&s->tx->scan, &run);
	content(s, run.add, run.nadd);
}
