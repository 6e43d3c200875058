/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue_mail.c -- mail number i of the queue suites: its id, content and envelope are made of its
 * number alone, so that each can be told again. Comes from: queue_store.c and the suites.
 * Owns nothing. On failure: q_same_envelope() says what is not as it was made.
 */
#include "queue.h"

#include <stdio.h>

void q_id(unsigned i, char id[META1_ID_MAX])
{
	snprintf(id, META1_ID_MAX, "S%016x%02x", i, 0);
}

void q_fill(unsigned i, uint8_t *b, size_t len)
{
	for (size_t at = 0, row = i * 7; at < len; row++)
		for (unsigned n = 0; n < 251 && at < len; n++, at++)
			b[at] = (uint8_t)((at * 31 + row) & 0xff);
	if (len >= 2)
		memcpy(b + len - 2, "\r\n", 2);
}

void q_envelope(unsigned i, size_t len, struct meta1_env *env, struct meta1_qrcpt v[3])
{
	v[0] = (struct meta1_qrcpt){.addr = buf_str("a@example.org")};
	v[1] = (struct meta1_qrcpt){.addr = buf_str("b@example.net")};
	v[2] = (struct meta1_qrcpt){.addr = buf_str("c@example.com")};
	*env = (struct meta1_env){.size = sizeof(*env),
	    .nrcpt = i % 3 == 0 ? 3 : 1,
	    .sizeof_rcpt = sizeof(v[0]),
	    .from = buf_str("from@example.org"),
	    .client = buf_str("[192.0.2.1] client"),
	    .rcpt = v,
	    .time = 1000000 + i,
	    .bytes = len};
	if (env->nrcpt == 1)
		return;
	env->envid = buf_str("QQ314159");
	env->flags = META1_M_HOLD;
	env->hold = buf_str("why: \"it\" \\ %s");
	v[1].notify = META1_N_SUCCESS | META1_N_DELAY;
	v[1].orcpt = buf_str("rfc822;b+2B1@example.net");
	v[2].notify = META1_N_NEVER;
	v[2].flags = META1_RF_LIST | META1_RF_TELL;
	v[2].sender = buf_str("owner-l@example.com");
	v[2].alias = buf_str("\"l \\\\ 1\"@example.com");
}

static bool same_alias(const struct q_entry *e)
{
	return !e->flags[0] && !e->sender[0][0] && !e->alias[0][0] && !e->flags[1] &&
	       e->flags[2] == (META1_RF_LIST | META1_RF_TELL) &&
	       !strcmp(e->sender[2], "owner-l@example.com") &&
	       !strcmp(e->alias[2], "\"l \\\\ 1\"@example.com");
}

bool q_same_envelope(const struct q_entry *e, unsigned i)
{
	if (e->nrcpt != (i % 3 == 0 ? 3 : 1) || e->notify[0] || e->orcpt[0][0])
		return false;
	if (e->nrcpt == 1)
		return !e->envid[0] && !e->hold[0];
	return !strcmp(e->hold, "why: \"it\" \\ %s") && same_alias(e) &&
	       !strcmp(e->envid, "QQ314159") && e->notify[1] == (META1_N_SUCCESS | META1_N_DELAY) &&
	       !strcmp(e->orcpt[1], "rfc822;b+2B1@example.net") && e->notify[2] == META1_N_NEVER &&
	       !e->orcpt[2][0];
}
