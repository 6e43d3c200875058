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
#include "lib/settings.h"
#include "smtps/smtps.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

METRIC_COUNTER(
    m_rows, "session_conf_rows_total", "Sessions that a row of the access map configures.");
METRIC_COUNTER(m_failed, "session_conf_failed_total",
    "Connections refused because their row cannot be read or has a mistake.");

#define VALUES 16
/* What a row may change; what is offered besides is the section's. */
#define FLAGS  (SMTPS_F_8BITMIME | SMTPS_F_SMTPUTF8 | SMTPS_F_PRDR)

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
static const struct meta1_opt *record(const char *name)
{
	size_t n;
	const struct settings_group *g = settings_groups(&n);

	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; strcmp(g[i].path, "smtps") == 0 && k < g[i].n; k++)
			if (strcasecmp(g[i].opt[k].name, name) == 0)
				return &g[i].opt[k];
	return NULL;
}

static int unknown(const char *name, struct meta1_err *err)
{
	const char *names[ARRAY_LEN(items)], *near;

	for (size_t i = 0; i < ARRAY_LEN(items); i++)
		names[i] = items[i].name;
	near = conf_nearest(name, names, ARRAY_LEN(items));
	return err_set(err, "%s: %s%s%s", name,
	    record(name) ? "cannot be set for one client" : "there is no such option",
	    near ? ", did you mean " : "", near ? near : "");
}

static int take(const struct smtps_limits *of, const struct item *it, const char *const *values,
    size_t n, struct smtps_limits *out, struct meta1_err *err)
{
	union {
		int64_t number;
		uint64_t flags;
		int32_t word;
	} v = {0};

	if (opt_parse(record(it->name), values, n, &v, err) < 0)
		return -1;
	switch (it->what) {
	case NUMBER:
		memcpy((char *)out + it->off, &v.number, sizeof(v.number));
		return 0;
	case REPAIR:
		out->repair = v.word == NEWLINE_REPAIR;
		return 0;
	case VRFY:
		out->vrfy = v.word != 0;
		return 0;
	case FLAG_LIST:
		break;
	}
	/* RFC 6531 3.1: whoever offers SMTPUTF8 offers 8BITMIME */
	if (!(v.flags & SMTPS_F_8BITMIME))
		v.flags &= ~(uint64_t)SMTPS_F_SMTPUTF8;
	out->flags = (of->flags & ~(uint64_t)FLAGS) | (v.flags & FLAGS);
	return 0;
}

static int one(const struct smtps_limits *of, const struct conf_option *o, struct smtps_limits *out,
    struct meta1_err *err)
{
	const char *values[VALUES + 1] = {NULL};
	struct meta1_err why = {""};
	size_t n = 0, i;

	for (i = 0; i < ARRAY_LEN(items) && strcasecmp(items[i].name, o->name) != 0; i++)
		;
	if (i == ARRAY_LEN(items))
		return unknown(o->name, err);
	for (const struct conf_value *v = o->values; v != NULL && n < VALUES; v = v->next)
		values[n++] = v->text;
	if (take(of, &items[i], values, n, out, &why) < 0)
		return err_set(err, "%s: %s", o->name, why.text);
	return 0;
}

/* The first message, without the name of the file that a row has not. */
static int syntax(struct conf *c, struct meta1_err *err)
{
	char *text = NULL, *p;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	if (f == NULL)
		return err_set(err, "the row does not parse");
	conf_report(c, f);
	fclose(f);
	p = strchr(text, '\n');
	if (p != NULL)
		*p = '\0';
	err_set(err, "%s", text);
	free(text);
	return -1;
}

int smtps_conf_read(const struct smtps_limits *of, const char *text, struct smtps_limits *out,
    struct meta1_err *err)
{
	struct conf *c = conf_read_row("row", text);
	int rc = 0;

	*out = *of;
	out->proxy_trusted = out->xclient = out->client_exempt =
	    NULL; /* the section's, at its reload */
	if (conf_errors(c) > 0)
		rc = syntax(c, err);
	else if (conf_root(c)->sections != NULL)
		rc = err_set(err, "%s: a section cannot be set for one client",
		    conf_root(c)->sections->keyword);
	for (const struct conf_option *o = conf_root(c)->options; o != NULL && rc == 0; o = o->next)
		rc = one(of, o, out, err);
	conf_free(&c);
	return rc;
}

/* ---- the question ---- */
static void refuse(struct smtps_session *s, const char *row, const char *why)
{
	m_failed.value++;
	log_event(LOG_L_WARN, "smtps.session_conf",
	    SMTPS_WHO " row=%s reply=421 dsn=4.3.5 error=%s", SMTPS_WHO_OF(s), row, why);
	smtps_session_reply(
	    s, 421, "4.3.5", "%s: your settings cannot be read now, try later", s->srv->hostname);
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
		if (smtps_conf_read(&s->srv->lim, text, s->own, &err) < 0) {
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
	s->lim = &s->srv->lim;
	free(s->own);
	s->own = NULL;
}
