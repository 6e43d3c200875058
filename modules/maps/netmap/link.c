/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * link.c -- the connections of a map that asks a server: made, watched, timed, left.
 * From netmap.c; to the driver. Owns struct netmap_conn, its watches and its socket.
 * On failure: the server rests, longer each time until it serves again; the questions of the
 * connection go back to netmap.c. A connection that ends while nothing is asked is no failure.
 */
#include "netmap.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define REST_MIN_MS 100
#define REST_MAX_MS 5000

/* ---- the end of one ---- */

static void unwatch(struct netmap_conn *c)
{
	if (c->reader)
		c->map->host->unwatch(&c->reader);
	if (c->writer)
		c->map->host->unwatch(&c->writer);
	c->watched = -1;
}

static void let_go(struct netmap_conn *c)
{
	struct netmap *m = c->map;

	unwatch(c);
	m->host->unwatch(&c->timer);
	c->dead = true;
	c->ready = false;
	if (c->job) { /* the worker thread has it; job_done() goes on */
		shutdown(c->job_fd, SHUT_RDWR);
		return;
	}
	m->ops->close(c);
	if (c->fd >= 0)
		close(c->fd);
	LIST_REMOVE(c, link);
	c->server->nconn--;
	m->host->count(m->ctx, "connections_now", --m->nconn);
	m->host->free(m->ctx, c);
}

static void rest(struct netmap *m, struct netmap_server *s)
{
	int64_t ms = REST_MIN_MS << (s->fails < 6 ? s->fails : 6);

	s->fails++;
	s->until = m->host->now(m->ctx) + (ms < REST_MAX_MS ? ms : REST_MAX_MS);
}

/* late: its time was over. The caller then runs what waits. */
static void broken(struct netmap_conn *c, const char *why, bool late)
{
	struct netmap *m = c->map;
	struct netmap_server *s = c->server;
	bool idle = c->ready && TAILQ_EMPTY(&c->asks), again = c->ready && c->answered && !late;
	struct netmap_asks lost;
	char text[sizeof(m->why)];

	TAILQ_INIT(&lost);
	TAILQ_CONCAT(&lost, &c->asks, next);
	c->nask = 0;
	if (!idle) {
		snprintf(text, sizeof(text), "%s: %.*s", s->name, (int)strcspn(why, "\r\n"), why);
		memcpy(m->why, text, sizeof(m->why)); /* why may be of the connection */
		m->host->log(m->ctx, META1_WARN, "%s", m->why);
		m->host->count(m->ctx, "failures_total", 1);
		if (!again)
			rest(m, s);
	}
	let_go(c);
	netmap_lost(m, &lost, (unsigned)(s - m->server), again);
}

void netmap_hang_up(struct netmap *m)
{
	struct netmap_conn *c;

	while ((c = LIST_FIRST(&m->conns))) {
		struct netmap_asks lost;

		TAILQ_INIT(&lost);
		TAILQ_CONCAT(&lost, &c->asks, next);
		let_go(c);
		netmap_lost(m, &lost, 0, false);
	}
}

/* ---- time ---- */

static void arm(struct netmap_conn *c)
{
	const struct netmap_ask *a = TAILQ_FIRST(&c->asks);
	struct netmap *m = c->map;
	int64_t left;

	if (c->ready && !a) {
		m->host->rearm(c->timer, -1);
		return;
	}
	left = (a ? a->sent : c->since) + m->conf->timeout - m->host->now(m->ctx);
	m->host->rearm(c->timer, left > 0 ? left : 0);
}

static void overdue(int fd, short what, void *arg)
{
	struct netmap_conn *c = arg;
	const struct netmap_ask *a = TAILQ_FIRST(&c->asks);
	struct netmap *m = c->map;

	(void)fd, (void)what;
	if ((c->ready && !a) ||
	    (a ? a->sent : c->since) + m->conf->timeout > m->host->now(m->ctx)) {
		arm(c);
		return;
	}
	broken(c, a ? "the answer takes too long" : "the connection takes too long", true);
	netmap_run(m);
}

/* ---- what the driver does ---- */

static void after(struct netmap_conn *c, int rc, const struct meta1_err *err)
{
	struct netmap *m = c->map;

	if (rc < 0)
		broken(c, err->text, false);
	else
		arm(c);
	netmap_run(m);
}

static void on_event(int fd, short what, void *arg)
{
	struct netmap_conn *c = arg;
	struct meta1_err err = {"it broke"};

	(void)fd;
	after(c, c->map->ops->event(c, what, &err), &err);
}

void netmap_ready(struct netmap_conn *c)
{
	c->ready = true;
	c->server->until = 0;
}

/* To a connection that has room. */
void netmap_send(struct netmap_conn *c, struct netmap_ask *a)
{
	struct netmap *m = c->map;
	struct meta1_err err = {"it broke"};

	TAILQ_REMOVE(&m->waiting, a, next);
	TAILQ_INSERT_TAIL(&c->asks, a, next);
	c->nask++;
	a->conn = c;
	a->sent = m->host->now(m->ctx);
	if (m->ops->ask(c, a, &err) < 0)
		broken(c, err.text, false);
	else
		arm(c);
}

int netmap_watch(struct netmap_conn *c, int fd, short what)
{
	const struct meta1_host *h = c->map->host;

	if (fd != c->watched)
		unwatch(c);
	c->watched = fd;
	if (c->reader && !(what & EV_READ))
		h->unwatch(&c->reader);
	if (c->writer && !(what & EV_WRITE))
		h->unwatch(&c->writer);
	if (!c->reader && what & EV_READ)
		c->reader = h->watch_fd(c->map->ctx, fd, EV_READ, on_event, c);
	if (!c->writer && what & EV_WRITE)
		c->writer = h->watch_fd(c->map->ctx, fd, EV_WRITE, on_event, c);
	return (what & EV_READ && !c->reader) || (what & EV_WRITE && !c->writer) ? -1 : 0;
}

int netmap_socket(struct netmap_conn *c, struct meta1_err *err)
{
	int on = 1;

	c->fd = socket(c->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return netmap_fail(err, "%s", strerror(errno));
	if (c->addr.ss_family != AF_UNIX)
		setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(c->fd, (const struct sockaddr *)&c->addr, c->addrlen) < 0 &&
	    errno != EINPROGRESS)
		return netmap_fail(err, "%s", strerror(errno));
	return netmap_watch(c, c->fd, EV_WRITE) < 0 ? netmap_fail(err, "no memory") : 0;
}

int netmap_connected(struct netmap_conn *c, struct meta1_err *err)
{
	int bad = 0;
	socklen_t len = sizeof(bad);

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &bad, &len) < 0)
		bad = errno;
	return bad == 0 ? 0 : netmap_fail(err, "%s", strerror(bad));
}

/* ---- what may sleep ---- */

/* Ends the sleep of the worker thread in a library that knows no time; also when the loop has
 * ended meanwhile. */
struct watchdog {
	pthread_mutex_t lock;
	pthread_cond_t change;
	bool done;
	int fd;
	struct timespec until;
};

static void *guard(void *arg)
{
	struct watchdog *w = arg;

	pthread_mutex_lock(&w->lock);
	while (!w->done)
		if (pthread_cond_timedwait(&w->change, &w->lock, &w->until) == ETIMEDOUT)
			break;
	if (!w->done)
		shutdown(w->fd, SHUT_RDWR);
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

static void job_work(void *arg)
{
	struct netmap_conn *c = arg;
	struct watchdog w = {.fd = c->job_fd};
	int64_t ms = c->map->conf->timeout;
	pthread_condattr_t attr;
	pthread_t id;
	bool guarded;

	clock_gettime(CLOCK_MONOTONIC, &w.until);
	w.until.tv_sec += ms / 1000 + 1;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&w.lock, NULL);
	pthread_cond_init(&w.change, &attr);
	guarded = pthread_create(&id, NULL, guard, &w) == 0;
	if (!guarded)
		shutdown(w.fd, SHUT_RDWR); /* better fail than sleep for ever */
	c->work(c);
	pthread_mutex_lock(&w.lock);
	w.done = true;
	pthread_cond_signal(&w.change);
	pthread_mutex_unlock(&w.lock);
	if (guarded)
		pthread_join(id, NULL);
	pthread_cond_destroy(&w.change);
	pthread_mutex_destroy(&w.lock);
	pthread_condattr_destroy(&attr);
}

static void job_done(void *arg)
{
	struct netmap_conn *c = arg;
	struct netmap *m = c->map;
	struct meta1_err err = {"it broke"};

	c->job = false;
	close(c->job_fd);
	if (c->dead) {
		let_go(c);
		netmap_run(m);
	} else {
		after(c, c->done(c, &err), &err);
	}
}

int netmap_offload(struct netmap_conn *c, int fd, void (*work)(struct netmap_conn *),
    int (*done)(struct netmap_conn *, struct meta1_err *), struct meta1_err *err)
{
	unwatch(c);
	c->work = work;
	c->done = done;
	c->job_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (c->job_fd < 0)
		return netmap_fail(err, "%s", strerror(errno));
	if (c->map->host->offload(c->map->ctx, job_work, job_done, c) != META1_OK) {
		close(c->job_fd);
		return netmap_fail(err, "too much work waits for a thread");
	}
	c->job = true;
	return 0;
}

/* ---- the beginning: a name is looked up each time, an address is there ---- */

static int go(struct netmap_conn *c, struct meta1_err *err)
{
	struct netmap_server *s = c->server;
	unsigned i = s->turn++ % s->naddr;

	c->named_wait = false;
	c->addr = s->addr[i];
	c->addrlen = s->len[i];
	return c->map->ops->connect(c, err);
}

static void look_up(void *arg)
{
	struct netmap_server *s = arg;
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all = NULL;
	char port[8];
	int rc;

	snprintf(port, sizeof(port), "%u", s->port);
	rc = getaddrinfo(s->host, port, &hints, &all);
	s->nfound = 0;
	for (const struct addrinfo *ai = all; ai && s->nfound < NETMAP_ADDRS; ai = ai->ai_next) {
		if (ai->ai_addrlen > sizeof(s->found[0]))
			continue;
		memcpy(&s->found[s->nfound], ai->ai_addr, ai->ai_addrlen);
		s->found_len[s->nfound++] = ai->ai_addrlen;
	}
	if (all)
		freeaddrinfo(all);
	snprintf(s->why_not, sizeof(s->why_not), "%s",
	    rc != 0 ? gai_strerror(rc) : "its name has no address");
}

static void looked_up(void *arg)
{
	struct netmap_server *s = arg;
	struct netmap *m = s->map;
	struct netmap_conn *c, *next;

	s->looking = false;
	s->naddr = s->nfound;
	memcpy(s->addr, s->found, sizeof(s->addr));
	memcpy(s->len, s->found_len, sizeof(s->len));
	for (c = LIST_FIRST(&m->conns); c; c = next) {
		struct meta1_err err = {""};

		next = LIST_NEXT(c, link);
		if (c->server != s || !c->named_wait)
			continue;
		if (s->naddr == 0)
			broken(c, s->why_not, false);
		else if (go(c, &err) < 0)
			broken(c, err.text, false);
	}
	netmap_run(m);
}

static int begin(struct netmap_conn *c, struct meta1_err *err)
{
	struct netmap_server *s = c->server;
	struct netmap *m = c->map;

	if (!s->named)
		return go(c, err);
	c->named_wait = true;
	if (s->looking)
		return 0;
	if (m->host->offload(m->ctx, look_up, looked_up, s) != META1_OK)
		return netmap_fail(err, "too much work waits for a thread");
	s->looking = true;
	return 0;
}

void netmap_start(struct netmap *m, struct netmap_server *s)
{
	struct netmap_conn *c = m->host->alloc(m->ctx, m->ops->conn_size);
	struct meta1_err err = {"no memory"};

	if (!c) {
		rest(m, s);
		return;
	}
	c->map = m;
	c->server = s;
	c->fd = c->watched = -1;
	c->since = m->host->now(m->ctx);
	TAILQ_INIT(&c->asks);
	LIST_INSERT_HEAD(&m->conns, c, link);
	s->nconn++;
	m->host->count(m->ctx, "connections_now", ++m->nconn);
	c->timer = m->host->watch_timer(m->ctx, m->conf->timeout, overdue, c);
	if (!c->timer || begin(c, &err) < 0)
		broken(c, err.text, false);
}
