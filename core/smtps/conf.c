/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conf.c -- options that a row of the access map gives to the sessions of one client, in the
 * configuration's own syntax: smtps_session_conf:192.0.2 max_message_size = 1MB; bare_newline =
 * repair;
 *
 * Comes from session.c before the greeting, when the section has the flag session_conf; goes to
 * smar and back to session.c. Owns the session's own limits. On failure, of smar or in the row:
 * 421, and the log says why: a client must not get more than its row allows because it has a
 * mistake.
 */
#include "lib/row.h"
#include "lib/settings.h"
#include "smtps/smtps.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

METRIC_COUNTER(
    m_rows, "session_conf_rows_total", "Sessions that a row of the access map configures.");
METRIC_COUNTER(m_failed, "session_conf_failed_total",
    "Connections refused because their row cannot be read or has a mistake.");

/* What a row may change; what is offered besides is the section's. */
#define FLAGS (SMTPS_F_8BITMIME | SMTPS_F_SMTPUTF8 | SMTPS_F_PRDR)

#define LIMIT(option, field)                                                                       \
	{                                                                                          \
#option, NUMBER, offsetof(struct smtps_limits, field)                              \
	}

enum what { NUMBER, FLAG_LIST, REPAIR, VRFY };
static const struct item {
	const char *name;
	enum what what;
	size_t off; /* NUMBER: in the limits */
} items[] = {
    {"flags", FLAG_LIST, 0},
    LIMIT(IO_timeout, io_timeout),
    LIMIT(max_message_size, message_size),
    LIMIT(max_hops, hops),
    LIMIT(max_rcpts_per_transaction, rcpts_per_tx),
    LIMIT(max_rcpts_per_session, rcpts_per_session),
    LIMIT(max_transactions, transactions),
    LIMIT(max_bad_commands, bad_commands),
    LIMIT(max_nop_commands, nop_commands),
    LIMIT(max_invalid_addresses, invalid_addresses),
    LIMIT(queue_wait, queue_wait),
    LIMIT(greet_delay, greet_delay),
    LIMIT(tarpit_after, tarpit_after),
    LIMIT(tarpit_delay, tarpit_delay),
    LIMIT(tarpit_max_delay, tarpit_max_delay),
    {"bare_newline", REPAIR, 0},
    {"vrfy", VRFY, 0},
};

/* ---- the row ---- */
static const struct row_kind kind = {
    "smtps", "for one client", items, ARRAY_LEN(items), sizeof(items[0])};

struct reading {
	const struct smtps_limits *of;
	struct smtps_limits *out;
};

static int take(void *arg, size_t i, const struct meta1_opt *rec, const char *const *values,
    size_t n, struct meta1_err *err)
{
	const struct item *it = &items[i];
	const struct reading *r = arg;
	union {
		int64_t number;
		uint64_t flags;
		int32_t word;
	} v = {0};

	if (opt_parse(rec, values, n, &v, err) < 0)
		return -1;
	switch (it->what) {
	case NUMBER:
		memcpy((char *)r->out + it->off, &v.number, sizeof(v.number));
		return 0;
	case REPAIR:
		r->out->repair = v.word == NEWLINE_REPAIR;
		return 0;
	case VRFY:
		r->out->vrfy = v.word != 0;
		return 0;
	case FLAG_LIST:
		break;
	}
	/* RFC 6531 3.1: whoever offers SMTPUTF8 offers 8BITMIME */
	if (!(v.flags & SMTPS_F_8BITMIME))
		v.flags &= ~(uint64_t)SMTPS_F_SMTPUTF8;
	r->out->flags = (r->of->flags & ~(uint64_t)FLAGS) | (v.flags & FLAGS);
	return 0;
}

int smtps_conf_read(const struct smtps_limits *of, const char *text, struct smtps_limits *out,
    struct meta1_err *err)
{
	struct reading r = {of, out};

	*out = *of;
	out->proxy_trusted = out->xclient = out->client_exempt =
	    NULL; /* the section's, at its reload */
	return row_read(&kind, text, take, &r, err);
}

/* ---- the question ---- */
static void refuse(struct smtps_session *s, const char *row, const char *why)
{
	m_failed.value++;
	log_event(LOG_L_WARN, "smtps.session_conf",
	    SMTPS_WHO " row=%s reply=421 dsn=4.3.5 error=%s", SMTPS_WHO_OF(s), row, why);
	smtps_session_reply(
	    s, 421, "4.3.5", "%s: your settings cannot be read now, try later", s->gear->hostname);
	smtps_session_end(s);
}

static void answered(void *arg, const void *msg)
{
	const struct p_session_conf_is *m = msg;
	struct smtps_session *s = arg;
	char row[128] = "", text[513] = "";
	struct meta1_err err = {""};

	smtps_session_awake(s);
	if (m != NULL && m->row.len > 0)
		snprintf(row, sizeof(row), "%.*s", (int)m->row.len, (const char *)m->row.data);
	if (m == NULL || (m->status != META1_OK && m->status != META1_NOTFOUND)) {
		refuse(s, row, m == NULL ? "smar does not answer" : "the map cannot be read");
	} else if (m->status == META1_OK) {
		snprintf(text, sizeof(text), "%.*s", (int)m->text.len, (const char *)m->text.data);
		s->own = base_alloc(sizeof(*s->own));
		if (smtps_conf_read(&s->gear->lim, text, s->own, &err) < 0) {
			refuse(s, row, err.text);
		} else {
			m_rows.value++;
			s->lim = s->own;
			conn_timeout(s->conn, s->lim->io_timeout);
		}
	}
	if (s->state != ST_CLOSE)
		smtps_session_welcome(s);
	smtps_session_run(s);
}

void smtps_conf_ask(struct smtps_session *s)
{
	struct p_session_conf q = {.client = buf_str(s->client)};
	uint32_t req = 0;

	if (s->srv->smar != NULL)
		req = chan_ask(s->srv->smar, P_SESSION_CONF, &q, 0, answered, s);
	if (req == 0) {
		refuse(s, "", "smar is not there");
		return;
	}
	s->state = ST_GREET;
	smtps_session_await(s, AWAIT_CONF);
	s->await.req = req;
}

void smtps_conf_forget(struct smtps_session *s)
{
	s->lim = &s->gear->lim;
	free(s->own);
	s->own = NULL;
}
