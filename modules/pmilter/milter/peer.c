/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * peer.c -- a connection to the filter: made, negotiated, kept for the next session; frames.
 *
 * Comes from sessions that ask for the first time; goes to conn of the host, and with what the
 * filter says to negotiate.c and said.c. Owns the connections of an instance: those of sessions,
 * the idle ones, and those that were told QUIT and wait for the filter to hear it.
 * On failure: the fall-back address, then sess_lost(). A filter that closes an idle connection is
 * nobody's failure. One that was kept and turns out to be dead before it answered anything is
 * replaced by a new one, once.
 */
#include "milter.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#define PEEK_MAX   65536u
#define SECOND_MS  30000  /* so long the fall-back is asked first after the first place failed */
#define CONNECT_MS 300000 /* at most; the deadline of the ask comes before it */
#define LEAVING_MS 5000

static int peer_open(struct peer *, struct meta1_err *);

static struct place place(const struct milter *m, int second)
{
	return second ? PLACE_FALLBACK(m->conf) : PLACE_SOCKET(m->conf);
}

void peer_place(const struct peer *p, char *out, size_t size)
{
	place_text(place(p->m, p->second), out, size);
}

static void gauge(struct milter *m)
{
	m->host->count(m->ctx, "connections_now", m->npeer);
	m->host->count(m->ctx, "idle_now", m->nidle);
}

static void state(struct peer *p, enum peer_state to)
{
	struct milter *m = p->m;

	m->nidle -= p->state == PEER_IDLE;
	m->nleaving -= p->state == PEER_LEAVING;
	p->state = to;
	m->nidle += to == PEER_IDLE;
	m->nleaving += to == PEER_LEAVING;
}

void peer_drop(struct peer **pp)
{
	struct peer *p = *pp;
	struct milter *m;

	*pp = NULL;
	if (!p)
		return;
	m = p->m;
	state(p, PEER_USED);
	if (p->next)
		p->next->link = p->link;
	*p->link = p->next;
	m->npeer--;
	m->host->conn->close(&p->conn);
	for (unsigned i = 0; i < MACRO_LISTS; i++)
		m->host->free(m->ctx, p->list[i]);
	m->host->free(m->ctx, p->big);
	m->host->free(m->ctx, p);
	gauge(m);
}

void peer_say(struct peer *p, char cmd, const struct meta1_buf *b, unsigned n)
{
	const struct meta1_conn_ops *conn = p->m->host->conn;
	unsigned char head[5];
	size_t len = 1;

	for (unsigned i = 0; i < n; i++)
		len += b[i].len;
	put32(head, (uint32_t)len);
	head[4] = (unsigned char)cmd;
	conn->write(p->conn, head, sizeof(head));
	for (unsigned i = 0; i < n; i++)
		if (b[i].len > 0)
			conn->write(p->conn, b[i].data, b[i].len);
	p->whole = 0;
}

/* ---- what the filter says ---- */

/* The next whole frame; 0: not yet, <0: it is none. eat: bytes to take once it was looked at. */
static int frame(struct peer *p, char *cmd, struct meta1_buf *data, size_t *eat)
{
	const struct meta1_conn_ops *conn = p->m->host->conn;
	struct meta1_buf b = conn->peek(p->conn);
	size_t len;

	*eat = 0;
	if (!p->big) {
		if (b.len < 4)
			return 0;
		p->need = len = get32(b.data);
		if (len < 1 || len > FRAME_MAX)
			return -1;
		if (b.len >= 4 + len) {
			*cmd = *((const char *)b.data + 4);
			*data = (struct meta1_buf){(const char *)b.data + 5, len - 1};
			*eat = 4 + len;
			return 1;
		}
		if (4 + len <= PEEK_MAX)
			return 0;
		p->big = p->m->host->alloc(p->m->ctx, len);
		if (!p->big)
			return -1;
		p->have = 0;
		conn->take(p->conn, 4);
		b = conn->peek(p->conn);
	}
	len = b.len < p->need - p->have ? b.len : p->need - p->have;
	if (len > 0)
		memcpy(p->big + p->have, b.data, len);
	p->have += len;
	conn->take(p->conn, len);
	if (p->have < p->need)
		return len > 0 ? frame(p, cmd, data, eat) : 0;
	*cmd = (char)p->big[0];
	*data = (struct meta1_buf){p->big + 1, p->need - 1};
	return 1;
}

/* Once it was looked at. */
static void frame_done(struct peer *p, size_t eat)
{
	if (eat > 0)
		p->m->host->conn->take(p->conn, eat);
	else {
		p->m->host->free(p->m->ctx, p->big);
		p->big = NULL;
	}
}

static void negotiated(struct peer *p, char cmd, struct meta1_buf data)
{
	struct meta1_err why;

	if (negotiate_said(p, cmd, data, &why) < 0) {
		sess_fail(p->sess, "%s", why.text);
		return;
	}
	if (p->state == PEER_ASKED && cmd == 'O') {
		state(p, PEER_USED);
		steps_go(p->sess);
	}
}

/* Nobody asked: a filter out of step is of no more use. */
static void unasked(struct peer *p, char cmd)
{
	struct sess *s = p->sess;

	if (s)
		sess_fail(s, "says '%c' (0x%02x) when nothing was asked",
		    cmd > 32 && cmd < 127 ? cmd : '?', (unsigned char)cmd);
	else
		peer_drop(&p);
}

static void on_input(void *arg)
{
	struct peer *p = arg;
	struct milter *m = p->m;
	char cmd = 0;
	struct meta1_buf data;
	size_t eat;
	int got;

	while ((got = frame(p, &cmd, &data, &eat)) > 0) {
		struct sess *s = p->sess;

		p->heard = 1;
		if (p->state == PEER_LEAVING) { /* what was on its way when it was told QUIT */
			frame_done(p, eat);
			continue;
		}
		if (p->state == PEER_ASKED && s->req)
			negotiated(p, cmd, data);
		else if (p->state == PEER_USED && s && s->req && (s->owed > 0 || cmd == 'p'))
			said(s, cmd, data);
		else {
			unasked(p, cmd);
			return;
		}
		/* What it said may have ended the connection, and only that of this session. */
		if (s->peer != p)
			return;
		frame_done(p, eat);
	}
	if (got == 0)
		return;
	if (p->sess)
		sess_fail(p->sess,
		    "says a command of %zu bytes; 1 to %u are expected, or no memory is left",
		    p->need, FRAME_MAX);
	else {
		m->host->count(m->ctx, "idle_lost", 1);
		peer_drop(&p);
	}
}

/* ---- making one ---- */

static void on_connected(void *arg)
{
	struct peer *p = arg;
	struct milter *m = p->m;

	m->second = p->second;
	if (p->second && p->tries > 1)
		m->second_till = m->host->now(m->ctx) + SECOND_MS;
	m->host->count(m->ctx, "connects", 1);
	state(p, PEER_ASKED);
	negotiate_ask(p);
}

static void on_gone(void *arg, const char *why)
{
	struct peer *p = arg;
	struct sess *s = p->sess;
	struct milter *m = p->m;
	struct meta1_err err;
	char text[450], where[160];

	if (!s) {
		if (p->state == PEER_IDLE)
			m->host->count(m->ctx, "idle_lost", 1);
		peer_drop(&p);
		return;
	}
	peer_place(p, where, sizeof(where));
	snprintf(text, sizeof(text), "%s%s%.159s: %.100s", p->why, *p->why ? "; " : "", where, why);
	if (p->state == PEER_CONNECTING && p->tries == 1) {
		snprintf(p->why, sizeof(p->why), "%.150s", text);
		m->host->conn->close(&p->conn);
		p->second = !p->second;
		if (place(m, p->second).addr && s->req) {
			if (peer_open(p, &err) == 0)
				return;
			snprintf(text, sizeof(text), "%.440s", err.text);
		}
	}
	sess_lost(s, text);
}

static const struct meta1_conn_events events = {
    .size = sizeof(events), .connected = on_connected, .input = on_input, .gone = on_gone};

/* ms until the ask is over; half of it when there is another place to try. */
static int64_t time_left(const struct peer *p)
{
	const struct meta1_host *host = p->m->host;
	int64_t till = p->sess->req ? host->req_deadline(p->sess->req) : INT64_MAX;
	int64_t now = host->now(p->m->ctx), left = till == INT64_MAX ? CONNECT_MS : till - now;

	if (p->tries < 2 && place(p->m, !p->second).addr)
		left /= 2;
	if (left > CONNECT_MS)
		left = CONNECT_MS;
	return left > 0 ? left : 1;
}

/* At p->second; <0: err has the place. */
static int peer_open(struct peer *p, struct meta1_err *err)
{
	struct milter *m = p->m;
	struct meta1_hop hop = place_hop(place(m, p->second));
	struct meta1_err why;
	char where[160];

	p->tries++;
	p->conn = m->host->conn->open(m->ctx, &hop, time_left(p), &events, p, &why);
	if (p->conn)
		return 0;
	peer_place(p, where, sizeof(where));
	snprintf(err->text, sizeof(err->text), "%s%s%s: %.150s", p->why, *p->why ? "; " : "", where,
	    why.text);
	return -1;
}

static struct peer *kept(struct milter *m)
{
	for (struct peer *p = m->all; p; p = p->next)
		if (p->state == PEER_IDLE)
			return p;
	return NULL;
}

int peer_get(struct sess *s, struct meta1_err *err)
{
	struct milter *m = s->m;
	struct peer *p = kept(m);

	if (p) {
		state(p, PEER_USED);
		p->sess = s;
		p->old = 1;
		p->heard = 0;
		s->peer = p;
		m->host->conn->timeout(p->conn, 0);
		m->host->count(m->ctx, "reused", 1);
		gauge(m);
		return 0;
	}
	p = m->host->alloc(m->ctx, sizeof(*p));
	if (!p) {
		snprintf(err->text, sizeof(err->text), "no memory");
		return -1;
	}
	p->m = m;
	p->sess = s;
	p->second = m->second && m->host->now(m->ctx) < m->second_till;
	p->link = &m->all;
	p->next = m->all;
	if (p->next)
		p->next->link = &p->next;
	m->all = p;
	m->npeer++;
	gauge(m);
	if (peer_open(p, err) < 0) {
		p->second = !p->second;
		snprintf(p->why, sizeof(p->why), "%.150s", err->text);
		if (!place(m, p->second).addr || peer_open(p, err) < 0) {
			peer_drop(&p);
			return -1;
		}
	}
	s->peer = p;
	return 0;
}

/* ---- and its end ---- */

void peer_give_back(struct peer **pp)
{
	struct peer *p = *pp;
	struct milter *m = p->m;
	const struct meta1_conn_ops *conn = m->host->conn;

	*pp = NULL;
	p->sess = NULL;
	if (p->state != PEER_USED || m->nleaving >= LEAVING_MAX) {
		peer_drop(&p);
		return;
	}
	/* libmilter takes QUIT_NC only there, and CONNECT alone behind it. */
	if (p->whole && p->version >= 6 && !(p->steps & SMFIP_NOCONNECT) &&
	    m->nidle < (uint64_t)m->conf->max_idle) {
		peer_say(p, 'K', NULL, 0);
		state(p, PEER_IDLE);
		conn->timeout(p->conn, m->conf->idle_time);
	} else {
		peer_say(p, 'Q', NULL, 0);
		state(p, PEER_LEAVING);
		conn->timeout(p->conn, LEAVING_MS);
	}
	gauge(m);
}
