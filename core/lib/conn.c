/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conn.c -- one stream socket: reads at readiness, writes once a turn.
 * Comes from smtps/listen.c and mod/netconn.c (for modules); goes to the kernel.
 * Owns the descriptor, its watches and buffers; files given to conn_file stay the caller's.
 * On failure: the end event, once, from the loop; never inside a call of the owner.
 */
#include "lib/conn.h"
#include "lib/linger.h"
#include "lib/outq.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>
#include <unistd.h>

#define READ_MIN 4096u
#define READ_MAX (64u << 10)
#define LIMIT_IN (128u << 10)
#define RETRY_MS 20 /* a unix socket whose backlog is full */

struct conn {
	struct loop *loop;
	int fd;
	const struct conn_events *ev;
	void *arg;
	struct watch *rd, *wr, *timer, *retry;
	struct sockaddr_un *full_peer; /* the peer's backlog is: connect again */
	struct evbuffer *in;
	struct outq out;
	struct task flush;
	size_t limit, room;	/* bytes of input; of the next read */
	int64_t timeout, moved; /* ms; when a byte moved last */
	const char *why;
	enum conn_end how;
	bool connecting, paused, full, eof, ended;
	char *line; /* last line given out: its buffer */
	size_t line_cap;
};

static void retry_run(int fd, short what, void *arg);
static void rd_ready(int fd, short what, void *arg);
static void wr_ready(int fd, short what, void *arg);
static void flush_run(void *arg);
static void timer_run(int fd, short what, void *arg);

static bool unsent(const struct conn *c)
{
	return !outq_empty(&c->out);
}

static void reading(struct conn *c, bool on)
{
	if (on && !c->rd)
		c->rd = loop_fd(c->loop, c->fd, EV_READ, rd_ready, c);
	else if (!on && c->rd)
		loop_unwatch(&c->rd);
}

static void writing(struct conn *c, bool on)
{
	if (on && !c->wr)
		c->wr = loop_fd(c->loop, c->fd, EV_WRITE, wr_ready, c);
	else if (!on && c->wr)
		loop_unwatch(&c->wr);
}

/* The end event comes from here alone; the conn may be gone afterwards. */
static void end(struct conn *c, enum conn_end how, const char *why)
{
	if (c->ended || (c->eof && how == CONN_EOF))
		return;
	c->eof = true;
	c->ended = how != CONN_EOF;
	reading(c, false);
	if (how != CONN_EOF) {
		writing(c, false);
		task_cancel(&c->flush);
		if (c->timer)
			loop_rearm(c->timer, -1);
		loop_unwatch(&c->retry);
	}
	c->ev->end(c->arg, how, why);
}

/* A fault found inside one of the owner's calls is told on the next turn. */
static void end_later(struct conn *c, enum conn_end how, const char *why)
{
	if (c->why || c->ended)
		return;
	c->how = how;
	c->why = why;
	loop_defer(c->loop, &c->flush);
}

struct conn *conn_new(struct loop *l, int fd, const struct conn_events *ev, void *arg)
{
	struct conn *c = base_alloc(sizeof(*c));

	*c = (struct conn){
	    .loop = l, .fd = fd, .ev = ev, .arg = arg, .limit = LIMIT_IN, .room = READ_MIN};
	c->moved = loop_now(l);
	task_init(&c->flush, flush_run, c);
	reading(c, true);
	return c;
}

struct conn *conn_connect(struct loop *l, const struct sockaddr *sa, socklen_t len,
    int64_t timeout_ms, const struct conn_events *ev, void *arg, struct meta1_err *err)
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
	failed = connect(fd, sa, len) < 0;
	full = failed && errno == EAGAIN && sa->sa_family == AF_UNIX;
	if (failed && !full && errno != EINPROGRESS) {
		err_set(err, "connect: %s", strerror(errno));
		close(fd);
		return NULL;
	}
	c = conn_new(l, fd, ev, arg);
	reading(c, false);
	c->connecting = true;
	if (full) {
		c->full_peer = base_alloc(sizeof(*c->full_peer));
		memcpy(c->full_peer, sa, len < sizeof(*c->full_peer) ? len : sizeof(*c->full_peer));
		c->retry = loop_timer(l, RETRY_MS, retry_run, c);
	} else {
		writing(c, true);
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
		writing(c, true); /* and on in wr_ready() */
		return;
	}
	if (errno == EAGAIN || errno == EINTR)
		loop_rearm(c->retry, RETRY_MS);
	else
		end(c, CONN_FAILED, strerror(errno));
}

/* ---- reading ---- */

static void input(struct conn *c)
{
	size_t n = evbuffer_get_length(c->in);

	c->full = n >= c->limit;
	if (c->full && !c->paused)
		reading(c, false);
}

/* One read into the buffer's own space: a full one makes the next larger, so that commands
 * take little memory and bodies few calls. */
static ssize_t fill(struct conn *c, int fd)
{
	struct evbuffer_iovec v;
	ssize_t n;

	if (evbuffer_reserve_space(conn_in(c), (ev_ssize_t)c->room, &v, 1) < 1) {
		errno = ENOMEM;
		return -1;
	}
	n = read(fd, v.iov_base, v.iov_len < READ_MAX ? v.iov_len : READ_MAX);
	if (n <= 0)
		return n;
	c->room = (size_t)n < c->room ? READ_MIN : c->room * 4 > READ_MAX ? READ_MAX : c->room * 4;
	v.iov_len = (size_t)n;
	evbuffer_commit_space(c->in, &v, 1);
	return n;
}

static void rd_ready(int fd, short what, void *arg)
{
	struct conn *c = arg;
	ssize_t n;

	(void)what;
	n = fill(c, fd);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		end(c, CONN_RESET, strerror(errno));
		return;
	}
	if (n == 0) {
		end(c, CONN_EOF, "connection closed by the peer");
		return;
	}
	c->moved = loop_now(c->loop);
	input(c);
	c->ev->input(c->arg);
}

struct evbuffer *conn_in(struct conn *c)
{
	if (!c->in && !(c->in = evbuffer_new()))
		base_broken("evbuffer_new", __FILE__, __LINE__);
	return c->in;
}

/* After the owner consumed: an empty buffer is given back, a full one reads again. */
static void consumed(struct conn *c)
{
	if (c->full && evbuffer_get_length(c->in) < c->limit) {
		c->full = false;
		if (!c->paused && !c->eof)
			reading(c, true);
	}
}

void conn_consume(struct conn *c, size_t n)
{
	evbuffer_drain(c->in, n);
	consumed(c);
}

char *conn_line(struct conn *c, bool strict, size_t max, size_t *len, bool *too_long, bool *bare)
{
	struct evbuffer_ptr p;
	size_t eol = 0, have = c->in ? evbuffer_get_length(c->in) : 0;

	*too_long = false;
	if (bare)
		*bare = false;
	if (!have)
		return NULL;
	p = evbuffer_search_eol(
	    c->in, NULL, &eol, strict ? EVBUFFER_EOL_CRLF_STRICT : EVBUFFER_EOL_CRLF);
	if (p.pos < 0 || (size_t)p.pos > max) {
		*too_long = p.pos >= 0 || have > max;
		return NULL;
	}
	*len = (size_t)p.pos;
	if (c->line_cap < *len + 1) {
		c->line_cap = *len + 1 < 128 ? 128 : *len + 1;
		c->line = base_realloc(c->line, c->line_cap);
	}
	evbuffer_remove(c->in, c->line, *len);
	c->line[*len] = '\0';
	evbuffer_drain(c->in, eol);
	consumed(c);
	if (bare)
		*bare = memchr(c->line, '\n', *len) || memchr(c->line, '\r', *len);
	return c->line;
}

void conn_limit(struct conn *c, size_t in_bytes)
{
	c->limit = in_bytes;
}

void conn_pause(struct conn *c, bool pause)
{
	c->paused = pause;
	if (!pause && c->in)
		consumed(c);
	if (!c->connecting && !c->eof)
		reading(c, !pause && !c->full);
}

/* ---- writing ---- */

static struct evbuffer *out_buf(struct conn *c)
{
	if (!unsent(c))
		loop_flush(c->loop, &c->flush);
	return outq_buf(&c->out);
}

void conn_write(struct conn *c, const void *p, size_t n)
{
	if (n)
		evbuffer_add(out_buf(c), p, n);
}

void conn_printf(struct conn *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	evbuffer_add_vprintf(out_buf(c), fmt, ap);
	va_end(ap);
}

void conn_ref(struct conn *c, const void *p, size_t n)
{
	if (n)
		evbuffer_add_reference(out_buf(c), p, n, NULL, NULL);
}

void conn_file(struct conn *c, int fd, uint64_t off, uint64_t len)
{
	if (!len)
		return;
	out_buf(c);
	outq_file(&c->out, fd, off, len);
}

size_t conn_unsent(struct conn *c)
{
	return outq_len(&c->out);
}

size_t conn_held(const struct conn *c)
{
	size_t in = c->in ? evbuffer_get_length(c->in) : 0;

	/* an empty one goes at the end of the turn */
	return (in > 0 ? in + READ_MIN : 0) + outq_held(&c->out) + c->line_cap;
}

int64_t conn_quiet(const struct conn *c)
{
	return loop_now(c->loop) - c->moved;
}

/* Writes what the kernel takes. false: the conn is dead (errno). */
static bool write_out(struct conn *c)
{
	size_t moved;
	int r = outq_write(&c->out, c->fd, &moved);

	if (moved)
		c->moved = loop_now(c->loop);
	if (r >= 0)
		writing(c, r == 0);
	return r >= 0;
}

static void wrote(struct conn *c)
{
	if (!write_out(c)) {
		end(c, CONN_RESET, strerror(errno));
		return;
	}
	if (!unsent(c) && c->ev->drained)
		c->ev->drained(c->arg);
}

/* Deferred: tells a late end. Flusher: writes, and gives idle buffers back. */
static void flush_run(void *arg)
{
	struct conn *c = arg;

	if (c->why) {
		end(c, c->how, c->why);
		return;
	}
	if (c->connecting || c->wr)
		return;
	if (c->in && !evbuffer_get_length(c->in)) {
		evbuffer_free(c->in);
		c->in = NULL;
	}
	wrote(c);
}

static void wr_ready(int fd, short what, void *arg)
{
	struct conn *c = arg;
	socklen_t len = sizeof(int);
	int e = 0;

	(void)what;
	if (!c->connecting) {
		wrote(c);
		return;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len) < 0 || e) {
		end(c, CONN_FAILED, strerror(e ? e : errno));
		return;
	}
	c->connecting = false;
	conn_timeout(c, 0); /* it was for connecting alone */
	writing(c, false);
	reading(c, !c->paused);
	if (unsent(c))
		loop_flush(c->loop, &c->flush);
	if (c->ev->connected)
		c->ev->connected(c->arg);
}

void conn_flush(struct conn *c)
{
	task_cancel(&c->flush);
	if (!c->connecting && !c->wr && unsent(c) && !write_out(c))
		end_later(c, CONN_RESET, strerror(errno));
}

/* ---- time, end ---- */

static void timer_run(int fd, short what, void *arg)
{
	struct conn *c = arg;
	int64_t left = c->moved + c->timeout - loop_now(c->loop);

	(void)fd;
	(void)what;
	/* bytes moved since: the timer is only armed anew here, not at every byte */
	if (left > 0) {
		loop_rearm(c->timer, left);
		return;
	}
	if (c->connecting)
		end(c, CONN_FAILED, "connection timed out");
	else
		end(c, CONN_TIMEOUT, "timed out");
}

void conn_timeout(struct conn *c, int64_t ms)
{
	c->moved = loop_now(c->loop);
	if (c->timeout == ms && c->timer && ms)
		return; /* it fires in time to see how long the new quiet lasted */
	c->timeout = ms;
	if (!ms) {
		loop_unwatch(&c->timer);
		return;
	}
	if (!c->timer)
		c->timer = loop_timer(c->loop, ms, timer_run, c);
	else
		loop_rearm(c->timer, ms);
}

int conn_fd(struct conn *c)
{
	return c->fd;
}

void conn_close(struct conn **cp)
{
	struct conn *c = *cp;

	if (!c)
		return;
	*cp = NULL;
	task_cancel(&c->flush);
	loop_unwatch(&c->rd);
	loop_unwatch(&c->wr);
	loop_unwatch(&c->timer);
	loop_unwatch(&c->retry);
	if (c->fd >= 0)
		close(c->fd);
	outq_clear(&c->out);
	if (c->in)
		evbuffer_free(c->in);
	free(c->full_peer);
	free(c->line);
	free(c);
}

void conn_finish(struct conn **cp, bool linger, int64_t ms)
{
	struct conn *c = *cp;
	bool dead = c->connecting || c->why || !unsent(c) || !write_out(c);

	*cp = NULL;
	linger |= c->in && evbuffer_get_length(c->in) > 0;
	if (!dead && (unsent(c) || (linger && !c->eof))) {
		loop_unwatch(&c->rd);
		loop_unwatch(&c->wr);
		linger_new(c->loop, c->fd, &c->out, c->eof, ms);
		c->fd = -1;
	}
	conn_close(&c);
}
