/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * netmap.c -- the questions of a map that asks a server: they wait, are handed to a connection,
 * and are answered. From the core's look-ups; to link.c and the driver. Owns the questions.
 * On failure: a question that no server answers, or can be asked within a second, is a temporary
 * failure with the last reason.
 */
#include "netmap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE_MS 1000 /* a question waits so long for a server that rests */

/* ---- an answer ---- */

static void drop(struct netmap *m, struct netmap_ask *a)
{
	if (a->conn) {
		TAILQ_REMOVE(&a->conn->asks, a, next);
		a->conn->nask--;
	} else {
		TAILQ_REMOVE(&m->waiting, a, next);
	}
	m->nask--;
	values_free(&a->values);
	m->host->free(m->ctx, a);
}

static void finish(struct netmap *m, struct netmap_ask *a, enum meta1_status st, const char *why)
{
	struct meta1_reply r = {.size = sizeof(r), .text = why};

	if (st == META1_OK && a->bad) {
		st = META1_TEMPFAIL;
		r.text = a->bad;
	}
	if (st == META1_OK) {
		r.nval = a->values.n;
		r.val = values_all(&a->values);
		st = r.nval > 0 ? META1_OK : META1_NOTFOUND;
	}
	if (st != META1_TEMPFAIL)
		r.ttl = (uint32_t)(m->conf->ttl / 1000);
	if (a->req)
		m->host->finish(a->req, st, &r);
	drop(m, a);
}

void netmap_value(struct netmap_ask *a, const void *data, size_t len)
{
	if (!a->bad)
		a->bad = values_add(&a->values, data, len);
}

void netmap_answer(struct netmap_ask *a, enum meta1_status st, const char *why)
{
	struct netmap_conn *c = a->conn;

	c->answered = true;
	c->server->fails = 0;
	finish(c->map, a, st, why);
}

/* ---- who is asked ---- */

/* Of the ready connections that have room: the first server's, and of these the least busy. */
static struct netmap_conn *best(struct netmap *m, const struct netmap_ask *a)
{
	struct netmap_conn *c, *found = NULL;

	LIST_FOREACH(c, &m->conns, link)
	{
		if (!c->ready || c->full || c->nask >= m->ops->depth ||
		    a->tried & 1u << (c->server - m->server))
			continue;
		if (!found || c->server < found->server ||
		    (c->server == found->server && c->nask < found->nask))
			found = c;
	}
	return found;
}

static bool connecting(const struct netmap *m, const struct netmap_server *s)
{
	const struct netmap_conn *c;

	LIST_FOREACH(c, &m->conns, link)
	if (c->server == s && !c->ready && !c->dead)
		return true;
	return false;
}

/* A connection to it was given up, and a worker thread is still at it: nobody knows for how long,
 * and another one would take the next thread. */
static bool stuck(const struct netmap *m, const struct netmap_server *s)
{
	const struct netmap_conn *c;

	LIST_FOREACH(c, &m->conns, link)
	if (c->server == s && c->dead)
		return true;
	return false;
}

static bool connected(const struct netmap *m, const struct netmap_server *s)
{
	const struct netmap_conn *c;

	LIST_FOREACH(c, &m->conns, link)
	if (c->server == s && !c->dead)
		return true;
	return false;
}

/* A better server than the one that answers may be there again. */
static void look_back(struct netmap *m, const struct netmap_server *at)
{
	int64_t now = m->host->now(m->ctx);

	for (struct netmap_server *s = m->server; s < at; s++)
		if (s->nconn == 0 && now >= s->until)
			netmap_start(m, s);
}

/* No connection has room for it. True: it may wait for one; soonest: when to look again. */
static bool may_wait(struct netmap *m, const struct netmap_ask *a, int64_t *soonest)
{
	int64_t now = m->host->now(m->ctx);
	bool wait = false;

	for (unsigned i = 0; i < m->nserver; i++) {
		struct netmap_server *s = &m->server[i];

		if (a->tried & 1u << i || stuck(m, s))
			continue;
		if (now >= s->until && s->nconn < (unsigned)m->conf->connections &&
		    !connecting(m, s))
			netmap_start(m, s); /* its failure sets a rest */
		if (connected(m, s))
			return true;
		if (s->until - now <= PATIENCE_MS) {
			wait = true;
			if (s->until > now && s->until < *soonest)
				*soonest = s->until;
		}
	}
	return wait;
}

void netmap_run(struct netmap *m)
{
	struct netmap_ask *a = TAILQ_FIRST(&m->waiting);
	int64_t soonest = INT64_MAX;

	while (a) {
		struct netmap_ask *next = TAILQ_NEXT(a, next);
		struct netmap_conn *c = best(m, a);

		if (c) {
			look_back(m, c->server);
			netmap_send(c, a); /* may put questions back in front */
			next = TAILQ_FIRST(&m->waiting);
		} else if (!may_wait(m, a, &soonest)) {
			finish(m, a, META1_TEMPFAIL, m->why);
		} else if (a->tried == 0 && soonest == INT64_MAX) {
			break; /* those behind it wait for the same */
		}
		a = next;
	}
	if (soonest != INT64_MAX)
		soonest -= m->host->now(m->ctx);
	m->host->rearm(m->timer, soonest == INT64_MAX ? -1 : soonest > 0 ? soonest : 0);
}

static void rested(int fd, short what, void *arg)
{
	(void)fd, (void)what;
	netmap_run(arg);
}

/* These were on a connection that broke. */
void netmap_lost(struct netmap *m, struct netmap_asks *lost, unsigned server, bool again)
{
	struct netmap_ask *a;

	while ((a = TAILQ_LAST(lost, netmap_asks))) {
		TAILQ_REMOVE(lost, a, next);
		a->conn = NULL;
		values_free(&a->values);
		a->bad = NULL;
		if (!again || a->again)
			a->tried |= 1u << server;
		a->again = true;
		TAILQ_INSERT_HEAD(&m->waiting, a, next);
		if (!a->req)
			drop(m, a);
	}
}

/* ---- a question ---- */

void netmap_lookup(void *inst, struct meta1_req *req, struct meta1_buf key)
{
	struct netmap *m = inst;
	struct meta1_reply r = {.size = sizeof(r)};
	struct netmap_ask *a;

	if (key.len > NETMAP_KEY ||
	    (m->ops->text && key.len > 0 && memchr(key.data, '\0', key.len))) {
		m->host->finish(req, META1_NOTFOUND, &r);
		return;
	}
	a = m->nask < NETMAP_ASKS ? m->host->alloc(m->ctx, sizeof(*a) + key.len + 1) : NULL;
	if (!a) {
		r.text = "too many questions wait for the server";
		m->host->finish(req, META1_TEMPFAIL, &r);
		return;
	}
	a->req = req;
	*m->host->req_slot(req) = a;
	if (key.len > 0)
		memcpy(a->key, key.data, key.len);
	a->len = key.len;
	TAILQ_INSERT_TAIL(&m->waiting, a, next);
	m->nask++;
	netmap_run(m);
}

/* The answer to one that was sent is for nobody when it comes; it must still be counted off. */
void netmap_cancel(void *inst, struct meta1_req *req)
{
	struct netmap *m = inst;
	struct netmap_ask *a = *m->host->req_slot(req);

	a->req = NULL;
	m->host->finish(req, META1_CANCELED, NULL);
	if (!a->conn)
		drop(m, a);
}

/* ---- life ---- */

void netmap_close(void *inst)
{
	struct netmap *m = inst;

	netmap_hang_up(m);
	while (!TAILQ_EMPTY(&m->waiting))
		finish(m, TAILQ_FIRST(&m->waiting), META1_TEMPFAIL, "the map is closed");
	m->host->unwatch(&m->timer);
	explicit_bzero(m->secret, sizeof(m->secret));
	m->host->free(m->ctx, m);
}

int netmap_open(const struct netmap_ops *ops, const struct meta1_host *host, struct meta1_ctx *ctx,
    const void *conf, const char *secret, void **inst, struct meta1_err *err)
{
	struct netmap *m = host->alloc(ctx, sizeof(*m));
	int n;

	if (!m)
		return netmap_fail(err, "no memory");
	m->ops = ops;
	m->host = host;
	m->ctx = ctx;
	m->conf = conf;
	TAILQ_INIT(&m->waiting);
	LIST_INIT(&m->conns);
	n = netmap_servers(ops, conf, m->server, err);
	if (n < 0 || (secret && netmap_secret(secret, m->secret, err) < 0))
		goto fail;
	m->nserver = (unsigned)n;
	for (unsigned i = 0; i < m->nserver; i++)
		m->server[i].map = m;
	m->timer = host->watch_timer(ctx, 0, rested, m);
	if (!m->timer) {
		netmap_fail(err, "no memory");
		goto fail;
	}
	host->rearm(m->timer, -1);
	*inst = m;
	return 0;
fail:
	explicit_bzero(m->secret, sizeof(m->secret));
	host->free(ctx, m);
	return -1;
}
