/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * deliver.c -- one delivery: from qmgr's DELIVER to our DELIVERED.
 *
 * Comes from qmgr (core/qmgr/dispatch.c) as a frame, read by take.c; content from the queue module;
 * goes out by a session (core/smtpc/session.c) and back to qmgr as results.
 * Hosts are tried in qmgr's order. A failure about the host moves on to the next; one
 * about a session that had waited repeats the same host with a new session, once; a
 * verdict on the mail ends it. Recipients that have a result are never offered again.
 * What a hop does not offer (SMTPUTF8, 8BITMIME) sends the mail, or those recipients that
 * need it, on to the next host too; when no host offers it that is the verdict, and when
 * one could not be asked it is tried again later, without blame of the destination.
 * Owns delivery, its pool, the opened content. On failure: every recipient without a
 * result gets the last reason as a temporary failure. When qmgr goes away the delivery
 * goes on to its end and its results are dropped: the recipients stay queued there.
 */
#include "smtpc.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#define POOL_BOUND (16u << 20) /* a frame is at most 4 MiB; its strings, results, hops */
#define LOAD_LIMIT 60000       /* ms */
#define SEND_LIMIT 3600000     /* ms, and one more for each byte: 1 KB/s */

METRIC_COUNTER(m_deliveries, "deliveries_total", "Deliveries that qmgr handed over.");
METRIC_COUNTER(m_bytes, "bytes_total", "Bytes of content sent in deliveries that ended well.");
METRIC_COUNTER(m_good, "recipients_delivered_total", "Recipients that a next hop took.");
METRIC_COUNTER(m_mail, "failures_mail_total", "Deliveries refused or put off about the mail.");
METRIC_COUNTER(m_session, "failures_session_total", "Kept sessions that were found dead.");
METRIC_COUNTER(m_host, "failures_host_total", "Tries that failed about the next hop.");

static void next_try(struct smtpc_delivery *d);

/* ---- the end ---- */

static void content_drop(struct smtpc_delivery *d)
{
	if (d->content)
		d->c->queue_ops->unload(mod_data(d->c->queue), &d->content);
}

/* The outcome stands in d->end. */
static void end(struct smtpc_delivery *d)
{
	struct smtpc *c = d->c;

	content_drop(d);
	d->stage = STAGE_REPORT;
	d->end.delivery = d->id;
	d->end.reused = d->reused;
	d->end.tls = buf_str(d->tls ? d->tls : "");
	d->end.msec = (uint64_t)(loop_now(c->role.loop) - d->start);
	log_event(LOG_L_DEBUG, "smtpc.delivery",
	    "id=%s rcpts=%u status=%llu scope=%llu host=%.*s smtp=%llu dsn=%.*s reply=%.*s ms=%llu "
	    "tls=%s",
	    d->name, d->total, (unsigned long long)d->end.status, (unsigned long long)d->end.scope,
	    (int)d->end.host.len, (const char *)d->end.host.data, (unsigned long long)d->end.smtp,
	    (int)d->end.dsn.len, (const char *)d->end.dsn.data, (int)d->end.text.len,
	    (const char *)d->end.text.data, (unsigned long long)d->end.msec, d->tls ? d->tls : "");
	smtpc_report(d);
}

/* What was required of TLS at the hop in use, and what the session has achieved. */
static void note_tls(struct smtpc_delivery *d)
{
	char text[256];

	if (d->transport->ops->props & META1_T_LOCAL)
		return;
	snprintf(text, sizeof(text), "%s %s", d->hop[d->at].words,
	    d->session ? smtpc_session_tls(d->session) : "");
	d->tls = smtpc_take_text(d, text, sizeof(text)).data;
}

static const char *hop_name(const struct smtpc_delivery *d)
{
	return d->at < d->nhop ? d->hop[d->at].to.host : NULL;
}

static void set_end(struct smtpc_delivery *d, enum meta1_status status, enum meta1_scope scope,
    const struct meta1_reply *r)
{
	const char *host = r && r->host ? r->host : hop_name(d);

	d->end = (struct p_delivered){.status = status,
	    .scope = scope,
	    .smtp = r ? r->smtp : 0,
	    .taken = r ? r->taken : 0,
	    .dsn = smtpc_take_text(d, r ? r->dsn : NULL, sizeof(r->dsn)),
	    .text = smtpc_take_text(d, r ? r->text : NULL, 1024),
	    .host = smtpc_take_text(d, host, 255)};
}

static void end_text(
    struct smtpc_delivery *d, enum meta1_scope scope, const char *dsn, const char *text)
{
	struct meta1_reply r = {.size = sizeof(r), .text = text};

	str_copy(r.dsn, sizeof(r.dsn), dsn);
	set_end(d, META1_TEMPFAIL, scope, &r);
	end(d);
}

/* The role stops: qmgr hands the recipients without a result to another at once. It was no try,
 * so nobody is to blame; one whose result is known keeps it. */
static void abandon(struct smtpc_delivery *d)
{
	if (d->total == 0 || d->left > 0)
		d->end =
		    (struct p_delivered){.status = META1_CANCELED, .scope = META1_ABOUT_SESSION};
	end(d);
}

/* ---- results ---- */

static void lacks(struct smtpc_delivery *d, const struct meta1_reply *r)
{
	const char *host = r->host ? r->host : hop_name(d);

	d->lack = (struct meta1_reply){.size = sizeof(d->lack),
	    .smtp = r->smtp,
	    .text =
		pool_strn(&d->pool, r->text ? r->text : "", r->text ? strnlen(r->text, 1024) : 0),
	    .host = host ? pool_strn(&d->pool, host, strnlen(host, 255)) : NULL};
	memcpy(d->lack.dsn, r->dsn, sizeof(d->lack.dsn));
}

static void on_rcpt(void *arg, uint32_t i, enum meta1_status status, const struct meta1_reply *r)
{
	struct smtpc_delivery *d = arg;
	struct p_rcpt_result m;
	struct smtpc_result *held;

	if (i >= d->mail.nrcpt || d->known[i])
		return;
	if (r->scope == META1_ABOUT_OFFER) {
		d->known[i] = KNOWN_LACK;
		d->lacking++;
		lacks(d, r);
		return;
	}
	d->known[i] = KNOWN_RESULT;
	d->left--;
	m_good.value += status == META1_OK;
	if (d->total == 1) { /* one frame tells all */
		set_end(d, status, META1_ABOUT_MAIL, r);
		return;
	}
	if (!smtpc_report_wanted(d))
		return;
	m = (struct p_rcpt_result){.delivery = d->id,
	    .rcpt = d->index[i],
	    .status = status,
	    .smtp = r->smtp,
	    .taken = r->taken,
	    .tls = buf_str(d->tls ? d->tls : ""),
	    .dsn = buf_of(r->dsn, strnlen(r->dsn, sizeof(r->dsn))),
	    .text = buf_of(r->text, r->text ? strnlen(r->text, 1024) : 0),
	    .host = buf_of(r->host, r->host ? strnlen(r->host, 255) : 0)};
	if (!d->held && chan_send(d->c->qmgr, P_RCPT_RESULT, &m))
		return;
	held = base_alloc(sizeof(*held));
	m.dsn = smtpc_take_text(d, r->dsn, sizeof(r->dsn));
	m.text = smtpc_take_text(d, r->text, 1024);
	m.host = smtpc_take_text(d, r->host, 255);
	held->m = m;
	*d->held_tail = held;
	d->held_tail = &held->next;
}

static void next_host(struct smtpc_delivery *d)
{
	d->at++;
	d->fresh = false;
	smtpc_take_rest(d);
	next_try(d);
}

/* The host in use failed: the next one. */
static void host_failed(struct smtpc_delivery *d, const struct meta1_reply *r)
{
	m_host.value++;
	set_end(d, META1_TEMPFAIL, META1_ABOUT_HOST, r);
	d->failed = true;
	next_host(d);
}

/* No host is left. What those that answered lack is final only if all of them answered. */
static void no_host(struct smtpc_delivery *d)
{
	if (d->lack.size > 0 && !d->failed) {
		m_mail.value++;
		set_end(d, META1_PERMFAIL, META1_ABOUT_MAIL, &d->lack);
	} else if (d->lack.size > 0) {
		d->end.scope = META1_ABOUT_MAIL; /* one answers: the destination is not dead */
	}
	end(d);
}

/* The mail is through at this host, but for recipients that it cannot take. */
static void others_elsewhere(
    struct smtpc_delivery *d, enum meta1_status status, const struct meta1_reply *r)
{
	uint32_t i;

	m_bytes.value += status == META1_OK ? (int64_t)d->mail.bytes : 0;
	if (status != META1_OK && status != META1_PERMFAIL)
		status = META1_TEMPFAIL;
	for (i = 0; i < d->mail.nrcpt; i++)
		on_rcpt(d, i, status, r);
	next_host(d);
}

static void verdict(struct smtpc_delivery *d, enum meta1_status status, const struct meta1_reply *r)
{
	if (status == META1_OK) {
		m_good.value += d->left;
		m_bytes.value += (int64_t)d->mail.bytes;
	} else {
		m_mail.value++;
		if (status != META1_PERMFAIL)
			status = META1_TEMPFAIL;
	}
	if (d->total > 1 || d->left > 0)
		set_end(d, status, META1_ABOUT_MAIL, r);
	end(d);
}

static void on_sent(void *arg, enum meta1_status status, const struct meta1_reply *r)
{
	struct smtpc_delivery *d = arg;
	bool offer = r->scope == META1_ABOUT_OFFER;
	bool mail = status == META1_OK || r->scope == META1_ABOUT_MAIL;

	d->req = NULL;
	if (mail || offer)
		smtpc_session_release(&d->session);
	else
		smtpc_session_shut(&d->session);
	if (d->left == 0 || (mail && d->lacking == 0)) {
		verdict(d, status, r);
	} else if (mail) {
		others_elsewhere(d, status, r);
	} else if (offer) {
		lacks(d, r);
		next_host(d);
	} else if (r->scope == META1_ABOUT_SESSION && d->reused) {
		m_session.value++;
		d->fresh = true;
		smtpc_take_rest(d);
		next_try(d);
	} else {
		host_failed(d, r);
	}
}

/* ---- a try ---- */

static void send_mail(struct smtpc_delivery *d)
{
	struct smtpc_transport *t = d->session->transport;
	int64_t limit = SEND_LIMIT + (int64_t)d->mail.bytes;

	d->stage = STAGE_SEND;
	note_tls(d);
	d->req = mod_req(t->inst, loop_now(d->c->role.loop) + limit, on_sent, d);
	if (!d->req) {
		smtpc_session_shut(&d->session);
		end_text(d, META1_ABOUT_SESSION, "4.3.2", "too many mails are being sent");
		return;
	}
	mod_req_rcpts(d->req, on_rcpt, d->mail.nrcpt);
	smtpc_conf_mail(d->hop[d->at].conf, &d->mail);
	t->ops->send(d->session->sess, d->req, &d->mail);
}

static void next_try(struct smtpc_delivery *d)
{
	const struct meta1_reply *bars;

	if (d->c->role.stopping) {
		abandon(d);
		return;
	}
	if (d->at >= d->nhop) {
		no_host(d);
		return;
	}
	bars = smtpc_require_bars(d, &d->hop[d->at]);
	if (bars) {
		lacks(d, bars);
		next_host(d);
		return;
	}
	d->session = d->fresh ? NULL : smtpc_session_take(d->c, d->transport, &d->hop[d->at]);
	d->reused = d->session != NULL;
	if (d->session) {
		send_mail(d);
		return;
	}
	d->stage = STAGE_OPEN;
	d->session = smtpc_session_open(d, &d->hop[d->at]);
	if (!d->session)
		end_text(d, META1_ABOUT_SESSION, "4.3.2", "too many sessions are open");
}

void smtpc_deliver_opened(
    struct smtpc_delivery *d, enum meta1_status status, const struct meta1_reply *r)
{
	const struct meta1_reply *lack;

	smtpc_tls_report(d, status, r);
	if (status == META1_OK && d->session->sess) {
		smtpc_hosts_answered(d->c, &d->hop[d->at].to);
		smtpc_caps_tell(
		    d->c, d->transport->ops, d->session->sess, d->key, &d->hop[d->at], d->nhop);
		send_mail(d);
		return;
	}
	/* STARTTLS is not offered, a certificate is not the one: that is an answer too. */
	if (!r || (r->smtp == 0 && (r->tls == META1_TLS_UNTRIED || r->tls == META1_TLS_BROKEN)))
		smtpc_hosts_failed(d->c, &d->hop[d->at].to);
	else
		smtpc_hosts_answered(d->c, &d->hop[d->at].to);
	note_tls(d);
	lack = smtpc_require_failed(d, r);
	if (lack)
		lacks(d, lack);
	smtpc_session_shut(&d->session);
	if (lack)
		next_host(d);
	else
		host_failed(d, r);
}

/* ---- content ---- */

static void late_content(void *arg, const void *ext)
{
	struct smtpc *c = arg;
	struct meta1_content *content = (struct meta1_content *)(uintptr_t)ext;

	if (content)
		c->queue_ops->unload(mod_data(c->queue), &content);
}

static void on_load(void *arg, enum meta1_status status, const struct meta1_reply *r)
{
	struct smtpc_delivery *d = arg;

	d->req = NULL;
	if (status != META1_OK || !r->ext) {
		log_event(LOG_L_WARN, "smtpc.content", "id=%s status=%d error=%s", d->name,
		    (int)status, r->text ? r->text : "no content");
		end_text(d, META1_ABOUT_MAIL, "4.3.0",
		    r->text ? r->text : "the content cannot be read from the queue");
		return;
	}
	d->content = (struct meta1_content *)(uintptr_t)r->ext;
	d->mail.extent = d->content->extent;
	d->mail.nextent = d->content->nextent;
	smtpc_require_header(d);
	smtpc_require_heeded(d);
	smtpc_hosts_order(d->c, d->hop, d->nhop);
	next_try(d);
}

static void load(struct smtpc_delivery *d)
{
	struct smtpc *c = d->c;

	d->stage = STAGE_LOAD;
	d->req = mod_req(c->queue, loop_now(c->role.loop) + LOAD_LIMIT, on_load, d);
	if (!d->req) {
		end_text(d, META1_ABOUT_SESSION, "4.3.2", "too many contents are being opened");
		return;
	}
	mod_req_on_drop(d->req, late_content, c);
	c->queue_ops->load(mod_data(c->queue), d->req, &d->ref);
}

/* ---- begin ---- */

void smtpc_deliver_frame(struct chan *chan, uint32_t req, const void *msg, void *arg)
{
	const struct p_deliver *m = msg;
	struct smtpc *c = arg;
	struct smtpc_delivery *d = base_alloc(sizeof(*d));
	char text[128];

	(void)chan, (void)req;
	m_deliveries.value++;
	d->c = c;
	d->id = m->delivery;
	d->epoch = c->epoch;
	d->start = loop_now(c->role.loop);
	d->gear = c->gear;
	smtpc_gear_use(d->gear);
	d->held_tail = &d->held;
	pool_init(&d->pool, POOL_BOUND);
	d->name = smtpc_take_text(d, m->id.data, m->id.len).data;
	d->key = smtpc_take_text(d, m->key.data, m->key.len).data;
	DL_APPEND(c->deliveries, d);
	smtpc_report_begin(c);
	d->transport = smtpc_transport(c, m->transport);
	if (c->role.stopping) {
		abandon(d);
	} else if (!d->transport) {
		snprintf(text, sizeof(text), "no module transport_%.*s is loaded",
		    (int)m->transport.len, (const char *)m->transport.data);
		log_event(LOG_L_WARN, "smtpc.transport", "id=%s error=%s", d->name, text);
		end_text(d, META1_ABOUT_MAIL, "4.3.5", text);
	} else if (!smtpc_take(d, m)) {
		end_text(d, META1_ABOUT_MAIL, "4.3.5", "a delivery without hosts or recipients");
	} else {
		load(d);
	}
}

/* ---- stop ---- */

void smtpc_deliver_stop(struct smtpc *c)
{
	struct smtpc_delivery *d, *next;

	DL_FOREACH_SAFE (c->deliveries, d, next) {
		const struct meta1_transport_ops *ops = d->transport ? d->transport->ops : NULL;

		if (d->stage == STAGE_REPORT)
			continue;
		if (d->stage == STAGE_SEND && (!META1_HAS(ops, past_dot) || !ops->past_dot ||
						  ops->past_dot(d->session->sess)))
			continue;
		if (d->req)
			mod_req_cancel(&d->req);
		if (d->session)
			smtpc_session_shut(&d->session);
		abandon(d);
	}
}
