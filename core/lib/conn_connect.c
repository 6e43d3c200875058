/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conn_connect.c -- a connection that we make, until it stands.
 * Comes from mod/netconn.c (for modules); goes to conn.c. Owns the descriptor from socket() on.
 * On failure: err at once, or CONN_FAILED from the loop.
 */
#include "lib/conn_priv.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>
#include <unistd.h>

#define RETRY_MS 20 /* a unix socket whose backlog is full */

static void retry_run(int fd, short what, void *arg);

/* What an admin does about a unix socket is not what strerror() says. */
static void cannot(struct meta1_err *err, const struct sockaddr *sa, int e)
{
	if (sa->sa_family == AF_UNIX && e == EACCES)
		err_set(err, "connect: %s: uid %u must be let into each folder and write to it",
		    strerror(e), (unsigned)geteuid());
	else
		err_set(err, "connect: %s%s", strerror(e),
		    sa->sa_family == AF_UNIX && e == ECONNREFUSED ? ": no program listens there"
								  : "");
}

struct conn *conn_connect(struct loop *l, const struct sockaddr *sa, socklen_t len,
    const char *source, int64_t timeout_ms, const struct conn_events *ev, void *arg,
    struct meta1_err *err)
{
	int one = 1, fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct conn *c;
	bool failed, full;

	if (fd < 0) {
		err_set(err, "no socket: %s", strerror(errno));
		return NULL;
	}
	if (sa->sa_family != AF_UNIX)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (source)
		conn_from(l, fd, source);
	failed = connect(fd, sa, len) < 0;
	full = failed && errno == EAGAIN && sa->sa_family == AF_UNIX;
	if (failed && !full && errno != EINPROGRESS) {
		cannot(err, sa, errno);
		close(fd);
		return NULL;
	}
	c = conn_new(l, fd, ev, arg);
	c->connecting = true;
	conn_reading(c);
	if (full) {
		c->full_peer = base_alloc(sizeof(*c->full_peer));
		memcpy(c->full_peer, sa, len < sizeof(*c->full_peer) ? len : sizeof(*c->full_peer));
		c->retry = loop_timer(l, RETRY_MS, retry_run, c);
	} else {
		conn_writing(c, true);
	}
	conn_timeout(c, timeout_ms);
	return c;
}

/* TCP waits for room in the peer's backlog by itself, a unix socket says EAGAIN. */
static void retry_run(int fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	(void)what;
	if (connect(c->fd, (struct sockaddr *)c->full_peer, sizeof(*c->full_peer)) == 0) {
		conn_writing(c, true); /* and on in conn_connected() */
		return;
	}
	if (errno == EAGAIN || errno == EINTR)
		loop_rearm(c->retry, RETRY_MS);
	else
		conn_end(c, CONN_FAILED, strerror(errno));
}

void conn_connected(struct conn *c)
{
	socklen_t len = sizeof(int);
	int e = 0;

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &e, &len) < 0 || e) {
		conn_end(c, CONN_FAILED, strerror(e ? e : errno));
		return;
	}
	c->connecting = false;
	conn_timeout(c, 0); /* it was for connecting alone */
	conn_writing(c, false);
	conn_reading(c);
	if (!outq_empty(&c->out))
		loop_flush(c->loop, &c->flush);
	if (c->ev->connected)
		c->ev->connected(c->arg);
}
