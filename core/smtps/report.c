/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * report.c -- sessions in which filters judge a report of qmgr (dsn_filters). Filters meet it as
 * any mail that came by a unix socket, the name of the listener being dsn_filters, through the same
 * stages; but nothing of it is stored here (core/qmgr/judge.c says why): what filters leave of it
 * goes back.
 *
 * The reply to the final dot is then, in this order,
 *	250-RCPT address		for each recipient that is left
 *	250-HOLD why			when a filter holds it
 *	250 2.0.0 report FLAGS BYTES OCTETS
 * and OCTETS bytes of content in DATA form follow, without a final dot; FLAGS and BYTES are of the
 * envelope, as in QUEUED. Or "250 2.0.0 discarded by NAME". A refusal of a filter, at any stage,
 * begins with "filter NAME: ", so that qmgr knows it from one of ours. That a filter failed,
 * "failed filter NAME: ", is never a refusal for good, whatever its section says of failures, for
 * nobody would hear of it.
 *
 * What holds of clients does not hold here: no limits, no credits of qmgr, no question to smar, no
 * AUTH, no line of ours in the header: a server that takes no new mail must still be able to say
 * what became of the old. Nor do these sessions count among those of clients (max_sessions): many
 * reports and a slow filter must not shut clients out. They are bounded all the same: REPORTS_MAX
 * at a time, and qmgr's own bound.
 *
 * Comes from qmgr's channel (REPORT, with a descriptor); goes to session.c. Owns the session's
 * limits and the content while it is here. On failure: the session ends, and qmgr tries again.
 */
#include "smtps/smtps.h"

#include <stdlib.h>
#include <unistd.h>

#define REPORTS_MAX   64
#define SIZE_MAX_OURS (4 << 20) /* the largest report has a little more than 1 MiB */

METRIC_GAUGE(m_now, "reports_now", "Sessions in which filters judge reports of qmgr.");
METRIC_COUNTER(m_reports, "reports_total", "Reports of qmgr that filters were to judge.");

void smtps_report_judges(const struct smtps *srv)
{
	const struct set_smtps *set = (const struct set_smtps *)srv->role->section;
	struct p_judges m = {
	    .reports = !srv->role->draining && set != NULL && settings_filter_reports(set)};

	if (srv->qmgr != NULL && chan_up(srv->qmgr))
		chan_send(srv->qmgr, P_JUDGES, &m);
}

static struct smtps_limits *limits(const struct smtps_limits *of)
{
	struct smtps_limits *lim = base_alloc(sizeof(*lim));

	*lim = (struct smtps_limits){.flags = SMTPS_F_8BITMIME | SMTPS_F_SMTPUTF8,
	    .io_timeout = of->io_timeout,
	    .message_size = SIZE_MAX_OURS,
	    .proxy_mode = PROXY_MODE_OFF};
	return lim;
}

void smtps_report_asked(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	struct meta1_buf id = ((const struct p_report *)msg)->id;
	struct smtps *srv = *chan_slot(c);
	int fd = chan_take_fd(c);
	struct smtps_session *s;

	(void)req;
	(void)arg;
	if (fd < 0)
		return;
	if (srv->role->draining || srv->stopping || srv->nreport >= REPORTS_MAX || id.len == 0 ||
	    id.len >= META1_ID_MAX) {
		close(fd);
		return;
	}
	m_reports.value++;
	m_now.value = ++srv->nreport;
	s = smtps_session_make(srv, fd, "unix", FILTER_REPORTS);
	s->report = base_strndup(id.data, id.len);
	s->own = limits(s->lim);
	s->lim = s->own;
	smtps_session_start(s);
}

void smtps_report_end(struct smtps_session *s)
{
	if (s->report == NULL)
		return;
	m_now.value = --s->srv->nreport;
	free(s->report);
	s->report = NULL;
}

const struct smtps_verdict *smtps_report_verdict(void)
{
	static const struct smtps_verdict ok = {
	    .action = ACT_ACCEPT, .smtp = 250, .dsn = "2.1.5", .text = "recipient ok"};

	return &ok;
}

void smtps_report_taken(struct smtps_session *s, const struct meta1_env *env)
{
	struct smtps_tx *tx = s->tx;
	struct evbuffer_iovec v;
	struct evbuffer_ptr at;
	uint32_t i;

	smtps_session_awake(s);
	for (i = 0; i < env->nrcpt; i++)
		conn_printf(s->conn, "250-RCPT %.*s\r\n", (int)env->rcpt[i].addr.len,
		    (const char *)env->rcpt[i].addr.data);
	if (tx->hold != NULL)
		conn_printf(s->conn, "250-HOLD %s\r\n", tx->hold);
	smtps_session_reply(s, 250, "2.0.0", "report %llu %llu %zu",
	    (unsigned long long)(env->flags & ~(uint32_t)META1_M_HOLD),
	    (unsigned long long)env->bytes, evbuffer_get_length(tx->back));
	evbuffer_ptr_set(tx->back, &at, 0, EVBUFFER_PTR_SET);
	while (evbuffer_peek(tx->back, -1, &at, &v, 1) > 0) {
		conn_write(s->conn, v.iov_base, v.iov_len);
		if (evbuffer_ptr_set(tx->back, &at, v.iov_len, EVBUFFER_PTR_ADD) < 0)
			break;
	}
	smtps_tx_reset(s);
}
