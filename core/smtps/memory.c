/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * memory.c -- what all sessions of the process hold together, against max_memory.
 *
 * Comes from session.c, after each step of a session; asked by listen.c (a new client) and tx.c
 * (MAIL, RCPT). Content that began is always taken to its end: each session is bounded.
 * Counted are buffers, envelope, the content that a store keeps in memory, and what modules of
 * filters keep of what they were told, those of older gears (gear.c) with them. Owns the sum.
 * On failure: over the bound new clients hear 421, MAIL and RCPT 452, until others are done.
 */
#include "smtps/smtps.h"

METRIC_GAUGE(m_bytes, "session_bytes_now", "Memory that sessions hold.");

#define FIXED	  1536	       /* connection, its events, the session itself */
#define STORE_MAX (256u << 10) /* of a message; what is larger a store keeps in a file */

static uint64_t held_by(const struct smtps_tx *tx)
{
	return sizeof(*tx) + tx->pool.used + smtps_image_held(tx->image) +
	       (tx->scan.stored < STORE_MAX ? tx->scan.stored : STORE_MAX);
}

static uint64_t held(struct smtps_session *s)
{
	uint64_t n = FIXED + (s->conn != NULL ? conn_held(s->conn) : 0) + smtps_filter_held(s);

	return s->tx != NULL ? n + held_by(s->tx) : n;
}

static void set(struct smtps_session *s, uint64_t n)
{
	s->srv->memory += n - s->held;
	s->held = n;
	m_bytes.value = (int64_t)s->srv->memory;
}

void smtps_memory_look(struct smtps_session *s)
{
	set(s, held(s));
}

void smtps_memory_orphan(struct smtps_tx *tx)
{
	tx->held = held_by(tx);
	tx->srv->memory += tx->held;
}

void smtps_memory_give(struct smtps_session *s)
{
	set(s, 0);
}

bool smtps_memory_full(const struct smtps *srv)
{
	const struct smtps_gear *g = srv->gear;

	return g->lim.memory > 0 && srv->memory + smtps_gear_memory() > (uint64_t)g->lim.memory;
}
