/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * link.c -- the connection of a socket map: made when there is a question, kept, and left
 * when it fails or an answer is overdue.
 *
 * From map_socket.c (questions); to the server; replies go to map_answered(). Owns the
 * descriptor and its watches. On failure: the server rests for a while, and its questions go
 * to the next one that has not failed them; without one they fail, and nobody is asked for
 * a second, so that a dead server costs nothing.
 */
#include "socket.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void readable(int fd, short what, void *arg);
static void writable(int fd, short what, void *arg);
static void overdue(int fd, short what, void *arg);
static void go_on(struct map *m);

int link_open(struct map *m)
{
	m->timer = m->host->watch_timer(m->ctx, m->conf->timeout, overdue, m);
	if (!m->timer)
		return -1;
	m->host->rearm(m->timer, -1);
	return 0;
}

static void hang_up(struct map *m)
{
	if (m->reader)
		m->host->unwatch(&m->reader);
	if (m->writer)
		m->host->unwatch(&m->writer);
	if (m->fd >= 0)
		close(m->fd);
	m->fd = -1;
	m->connecting = false;
	m->nin = m->nout = m->sent_out = m->nsent = 0;
}

void link_close(struct map *m)
{
	hang_up(m);
	m->host->unwatch(&m->timer);
	free(m->out);
}

/* ---- which server ---- */

/* The first that did not fail this question and has had its rest, else the one that failed longest
 * ago; -1: all failed it. */
static int choose(const struct map *m, const struct ask *a)
{
	int64_t now = m->host->now(m->ctx);
	int best = -1;

	for (int i = 0; i < m->nserver; i++) {
		const struct socket_server *s = &m->server[i];

		if (a->tried & 1u << i)
			continue;
		if (s->failed == 0 || now - s->failed > SOCKET_REST_MS)
			return i;
		if (best < 0 || s->failed < m->server[best].failed)
			best = i;
	}
	return best;
}

/* The connection is of no more use. Questions that were on it have failed here. */
static void broken(struct map *m, const char *why)
{
	struct ask *a, *next;
	unsigned bit = 1u << m->at;
	char text[300];

	snprintf(text, sizeof(text), "%s: %s", m->server[m->at].name, why);
	m->host->log(m->ctx, META1_WARN, "%s", text);
	m->host->count(m->ctx, "failures_total", 1);
	m->server[m->at].failed = m->host->now(m->ctx);
	hang_up(m);
	for (a = STAILQ_FIRST(&m->asks); a; a = next) {
		next = STAILQ_NEXT(a, next);
		a->tried |= bit;
		if (!a->req || choose(m, a) < 0)
			map_tempfail(m, a, text);
	}
	if (STAILQ_EMPTY(&m->asks))
		m->down = m->host->now(m->ctx) + SOCKET_DOWN_MS;
	go_on(m);
}

static int connect_to(struct map *m, const struct socket_server *s)
{
	int on = 1;

	m->fd = socket(s->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (m->fd < 0)
		return -1;
	if (s->sa.ss_family != AF_UNIX)
		setsockopt(m->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(m->fd, (const struct sockaddr *)&s->sa, s->len) < 0 && errno != EINPROGRESS)
		return -1;
	m->connecting = true;
	m->since = m->host->now(m->ctx);
	m->reader = m->host->watch_fd(m->ctx, m->fd, EV_READ, readable, m);
	m->writer = m->host->watch_fd(m->ctx, m->fd, EV_WRITE, writable, m);
	if (!m->reader || !m->writer)
		errno = ENOMEM;
	return m->reader && m->writer ? 0 : -1;
}

/* ---- out ---- */

static bool put(struct map *m, const struct ask *a)
{
	if (m->nout + a->len > m->out_cap) {
		size_t cap = (m->nout + a->len) * 2 + 4096;
		char *more = realloc(m->out, cap);

		if (!more)
			return false;
		m->out = more;
		m->out_cap = cap;
	}
	memcpy(m->out + m->nout, a->text, a->len);
	m->nout += a->len;
	return true;
}

/* Writes what waits, and watches for room when the kernel has none. */
static void flush(struct map *m)
{
	while (m->sent_out < m->nout) {
		ssize_t n = send(m->fd, m->out + m->sent_out, m->nout - m->sent_out, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			if (!m->writer)
				m->writer = m->host->watch_fd(m->ctx, m->fd, EV_WRITE, writable, m);
			if (!m->writer)
				broken(m, "no memory");
			return;
		}
		if (n < 0) {
			broken(m, strerror(errno));
			return;
		}
		m->sent_out += (size_t)n;
	}
	m->sent_out = m->nout = 0;
	if (m->writer)
		m->host->unwatch(&m->writer);
}

/* When the oldest question must be answered, or the connection made. */
static void arm(struct map *m)
{
	const struct ask *a = STAILQ_FIRST(&m->asks);
	int64_t left;

	if (m->fd < 0 || !a) {
		m->host->rearm(m->timer, -1);
		return;
	}
	left = (m->connecting ? m->since : a->sent) + m->conf->timeout - m->host->now(m->ctx);
	m->host->rearm(m->timer, left > 0 ? left : 0);
}

/* Sends what was not sent. */
static void send_all(struct map *m)
{
	struct ask *a = STAILQ_FIRST(&m->asks);
	unsigned skip = m->nsent;

	while (a && skip-- > 0)
		a = STAILQ_NEXT(a, next);
	for (; a; a = STAILQ_NEXT(a, next)) {
		if (!put(m, a)) {
			broken(m, "no memory");
			return;
		}
		a->sent = m->host->now(m->ctx);
		m->nsent++;
	}
	arm(m);
	flush(m);
}

/* Questions wait: to the connection, which is made when there is none. */
static void go_on(struct map *m)
{
	while (m->fd < 0 && !STAILQ_EMPTY(&m->asks)) {
		/* never -1: a question that all servers failed has left the list */
		m->at = choose(m, STAILQ_FIRST(&m->asks));
		if (connect_to(m, &m->server[m->at]) < 0)
			broken(m, strerror(errno));
	}
	if (m->fd >= 0 && !m->connecting)
		send_all(m);
	else
		arm(m);
}

void link_ask(struct map *m, struct ask *a)
{
	if (m->fd < 0 && m->host->now(m->ctx) < m->down)
		map_tempfail(m, a, "no server can be reached");
	else
		go_on(m);
}

static void writable(int fd, short what, void *arg)
{
	struct map *m = arg;
	int err = 0;
	socklen_t len = sizeof(err);

	(void)what;
	if (m->connecting) {
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0 || err != 0) {
			broken(m, strerror(err != 0 ? err : errno));
			return;
		}
		m->connecting = false;
		m->server[m->at].failed = 0;
	}
	send_all(m);
}

/* ---- in ---- */

/* One netstring at the start of what came: its whole length, 0: not yet, -1: it is none. */
static long netstring(const struct map *m, size_t from, const char **text, size_t *n)
{
	size_t i = from;

	*n = 0;
	while (i < m->nin && i - from < 6 && m->in[i] >= '0' && m->in[i] <= '9')
		*n = *n * 10 + (size_t)(m->in[i++] - '0');
	if (i == m->nin && i - from < 6)
		return 0;
	if (i == from || m->in[i] != ':' || *n > SOCKET_REPLY)
		return -1;
	*text = m->in + i + 1;
	if (m->nin - i - 1 < *n + 1)
		return 0;
	return (*text)[*n] == ',' ? (long)(i + 1 + *n + 1 - from) : -1;
}

/* false: the connection broke. */
static bool take_replies(struct map *m)
{
	size_t from = 0;

	while (from < m->nin) {
		const char *text;
		size_t n;
		long got = netstring(m, from, &text, &n);

		if (got == 0)
			break;
		if (got < 0 || m->nsent == 0) {
			broken(m, got < 0 ? "what it says is no netstring"
					  : "it answers what was not asked");
			return false;
		}
		m->nsent--;
		if (!map_answered(m, text, n)) {
			m->nsent++;
			broken(m, "expected OK, NOTFOUND, NOMORE, TEMP, TIMEOUT or PERM");
			return false;
		}
		from += (size_t)got;
	}
	m->nin -= from;
	memmove(m->in, m->in + from, m->nin);
	return true;
}

static void readable(int fd, short what, void *arg)
{
	struct map *m = arg;
	ssize_t n = recv(fd, m->in + m->nin, sizeof(m->in) - m->nin, 0);

	(void)what;
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		return;
	if (n <= 0 && STAILQ_EMPTY(&m->asks)) { /* it may hang up when nothing is asked */
		hang_up(m);
		arm(m);
	} else if (n <= 0) {
		broken(m, n < 0 ? strerror(errno) : "it closed the connection");
	} else {
		m->nin += (size_t)n;
		if (take_replies(m))
			arm(m);
	}
}

static void overdue(int fd, short what, void *arg)
{
	struct map *m = arg;
	const struct ask *a = STAILQ_FIRST(&m->asks);

	(void)fd;
	(void)what;
	if (m->fd < 0 || !a)
		return;
	if ((m->connecting ? m->since : a->sent) + m->conf->timeout > m->host->now(m->ctx))
		arm(m);
	else
		broken(m,
		    m->connecting ? "the connection takes too long" : "the answer takes too long");
}
