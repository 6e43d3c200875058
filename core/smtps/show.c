/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * show.c -- what an admin may see of this process: its sessions, and the clients of all.
 *
 * Comes from the control socket (core/ctl); reads, changes nothing.
 * On failure: a cursor or limit that is no number is 400; 503 when the process is nearly stopped.
 */
#include "ctl/server.h"
#include "lib/linger.h"
#include "smtps/smtps.h"

#include <stdlib.h>

#define PAGE	    100
#define CLIENTS_ROW 1000 /* clients in an answer */

/* Who waits for nothing here waits for its client. */
static const char *awaits(const struct smtps_session *s)
{
	if (s->await.what != AWAIT_NOTHING)
		return smtps_session_waits_for(s->await.what);
	return conn_unsent(s->conn) > 0 ? "client to read" : "client";
}

static json_t *tls(const struct smtps_session *s)
{
	const struct tls_info *i = conn_tls_info(s->conn);

	if (i == NULL)
		return json_null();
	return json_pack("{s:s, s:s, s:i, s:s, s:s?, s:s?}", "version", i->version, "cipher",
	    i->cipher, "bits", i->bits, "verify", tls_info_verify(i), "subject", i->subject,
	    "issuer", i->issuer);
}

static json_t *one(const struct smtps_session *s, int64_t now)
{
	json_t *j = json_object();

	json_object_set_new(j, "serial", json_integer((json_int_t)s->serial));
	json_object_set_new(j, "client", json_string(s->client));
	json_object_set_new(j, "helo", s->helo != NULL ? json_string(s->helo) : json_null());
	json_object_set_new(j, "name", s->name != NULL ? json_string(s->name) : json_null());
	json_object_set_new(j, "tls", tls(s));
	json_object_set_new(
	    j, "user", s->proof.auth != NULL ? json_string(s->proof.auth) : json_null());
	json_object_set_new(j, "since", json_integer(s->since));
	json_object_set_new(j, "state", json_string(smtps_session_state(s->state)));
	json_object_set_new(j, "await", json_string(awaits(s)));
	json_object_set_new(j, "await_ms",
	    json_integer(
		s->await.what == AWAIT_NOTHING ? conn_quiet(s->conn) : now - s->await.since));
	json_object_set_new(
	    j, "id", s->tx != NULL && s->tx->id[0] != '\0' ? json_string(s->tx->id) : json_null());
	json_object_set_new(j, "recipients", json_integer(s->tx != NULL ? s->tx->nrcpt : 0));
	json_object_set_new(j, "messages", json_integer(s->ntx));
	return j;
}

/* Newest first; the cursor is the serial of the last one shown. */
static json_t *sessions(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	struct smtps *srv = arg;
	const char *text = json_string_value(json_object_get(query, "cursor"));
	unsigned long long cursor = UINT64_MAX;
	const struct smtps_session *s;
	json_t *list, *answer;
	char *end = NULL;

	(void)rest;
	if (text != NULL) {
		cursor = strtoull(text, &end, 10);
		if (end == text || *end != '\0') {
			*status = 400;
			err_set(
			    err, "cursor: a number was expected, as in \"next\" of the last page");
			return NULL;
		}
	}
	list = json_array();
	answer = json_object();
	LIST_FOREACH(s, &srv->sessions, all)
	{
		if (s->serial >= cursor)
			continue;
		if (json_array_size(list) == PAGE) {
			json_object_set_new(answer, "next", json_sprintf("%llu", cursor));
			break;
		}
		cursor = s->serial;
		json_array_append_new(list, one(s, loop_now(srv->role->loop)));
	}
	json_object_set_new(answer, "sessions", list);
	return answer;
}

/* The last message is done, and what is shown here is gone. */
static bool over(const struct smtps *srv, int *status, struct meta1_err *err)
{
	if (srv->over) {
		*status = 503;
		err_set(err, "this process is stopping");
	}
	return srv->over;
}

/* How many are wanted; 0: no number from 1 to CLIENTS_ROW. */
static unsigned limit(const json_t *query)
{
	const char *text = json_string_value(json_object_get(query, "limit"));
	char *end = NULL;
	unsigned long n;

	if (text == NULL)
		return PAGE;
	n = strtoul(text, &end, 10);
	return *text >= '0' && *text <= '9' && *end == '\0' && n <= CLIENTS_ROW ? (unsigned)n : 0;
}

static json_t *clients(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	struct smtps *srv = arg;
	unsigned i, n = limit(query), total;
	struct clients_row *row;
	json_t *list;

	(void)rest;
	if (over(srv, status, err))
		return NULL;
	if (n == 0) {
		*status = 400;
		err_set(err, "limit: a number from 1 to %d was expected", CLIENTS_ROW);
		return NULL;
	}
	row = base_alloc(n * sizeof(*row));
	n = clients_top(srv->clients, loop_now(srv->role->loop), row, n, &total);
	list = json_array();
	for (i = 0; i < n; i++) {
		char text[CLIENTS_TEXT];

		clients_text(&row[i].key, text);
		json_array_append_new(
		    list, json_pack("{s:s, s:I, s:I}", "client", text, "connections",
			      (json_int_t)row[i].n.connections, "rate", (json_int_t)row[i].n.rate));
	}
	free(row);
	return json_pack("{s:I, s:o}", "total", (json_int_t)total, "clients", list);
}

static json_t *intake(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	struct smtps *srv = arg;

	(void)rest;
	(void)query;
	if (over(srv, status, err))
		return NULL;
	return json_pack("{s:b, s:b, s:I, s:i, s:i, s:i, s:i}", "smar_up",
	    srv->smar != NULL && chan_up(srv->smar), "qmgr_up",
	    srv->qmgr != NULL && chan_up(srv->qmgr), "credits",
	    (json_int_t)smtps_intake_credits(srv->intake), "sessions", (int)srv->nsession,
	    "receiving", (int)srv->nopen, "lingering", (int)linger_count(), "verdicts",
	    (int)smtps_verdict_count(srv->verdicts));
}

void smtps_show_control(struct smtps *srv, struct ctl *ctl)
{
	static const struct ctl_request requests[] = {
	    {"GET", "/v1/sessions", CTL_READ, sessions,
		"The open sessions, newest first: client, state, what each waits for."},
	    {"GET", "/v1/clients", CTL_READ, clients,
		"Clients of all smtps together: connections and rate, the busiest first."},
	    {"GET", "/v1/intake", CTL_READ, intake,
		"Whether smar and qmgr are there, and how many transactions may begin."},
	};

	ctl_add(ctl, requests, ARRAY_LEN(requests), srv);
}
