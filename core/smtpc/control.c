/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * control.c -- what the control socket shows of smtpc: its sessions to next hops.
 *
 * Comes from core/ctl/server.c; reads the list of core/smtpc/session.c. Owns nothing.
 * The list is walked in pages of at most 1000, by position.
 */
#include "smtpc.h"

#include "ctl/server.h"

#include <stdlib.h>

#define PAGE 1000

static const char *const states[] = {
    [SESSION_OPENING] = "opening", [SESSION_BUSY] = "busy", [SESSION_IDLE] = "idle"};

static json_t *session_json(const struct smtpc_session *s, int64_t now)
{
	return json_pack("{s:s, s:s, s:s, s:I, s:s, s:I, s:I, s:s, s:s?}", "transport",
	    s->transport->name, "host", s->host, "address", s->addr, "port", (json_int_t)s->port,
	    "state", states[s->state], "mails", (json_int_t)s->mails, "since_ms",
	    (json_int_t)(now - s->since), "tls", smtpc_session_tls(s), "login", s->login);
}

static json_t *sessions(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	struct smtpc *c = arg;
	const char *cursor = json_string_value(json_object_get(query, "cursor"));
	uint64_t from = cursor ? strtoull(cursor, NULL, 10) : 0, i = 0;
	int64_t now = loop_now(c->role.loop);
	json_t *list = json_array(), *answer;
	struct smtpc_session *s;
	char next[24];

	(void)rest, (void)status, (void)err;
	for (s = c->sessions; s && i < from + PAGE; s = s->next, i++)
		if (i >= from)
			json_array_append_new(list, session_json(s, now));
	answer = json_pack("{s:o}", "sessions", list);
	if (s) {
		snprintf(next, sizeof(next), "%llu", (unsigned long long)i);
		json_object_set_new(answer, "next", json_string(next));
	}
	return answer;
}

void smtpc_control(struct role *role, struct ctl *ctl)
{
	static const struct ctl_request requests[] = {
	    {"GET", "/v1/sessions", CTL_READ, sessions,
		"Sessions to next hops: host, address, state, mails sent, ms in this state."},
	    {"POST", "/v1/tls-test", CTL_ADMIN, smtpc_try,
		"Opens a session to one hop, sends no mail, and says what TLS achieved there."},
	};

	ctl_add(ctl, requests, ARRAY_LEN(requests), role);
}
