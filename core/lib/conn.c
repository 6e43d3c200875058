/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conn.c -- one stream socket: reads at readiness, writes once a turn.
 * Comes from smtps/listen.c and conn_connect.c; goes to the kernel, with TLS by way of conn_tls.c.
 * Owns the descriptor, its watches and buffers; files given to conn_file stay the caller's.
 * On failure: the end event, once, from the loop; never inside a call of the owner.
 */
#include "lib/conn_priv.h"
#include "lib/linger.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define READ_MIN   4096u
#define READ_MAX   (64u << 10)
#define LIMIT_IN   (128u << 10)
#define WRITE_TURN (1u << 20) /* encrypted and written in one go */

static void rd_ready(int fd, short what, void *arg);
static void wr_ready(int fd, short what, void *arg);
static void flush_run(void *arg);
static void timer_run(int fd, short what, void *arg);

static bool unsent(const struct conn *c)
{
	return !outq_empty(&c->out) || (c->tls && !outq_empty(conn_tls_plain(c)));
}

void conn_reading(struct conn *c)
{
	bool on = !c->connecting && !c->paused && !c->full && !c->eof && !c->busy;

	if (on && !c->rd)
		c->rd = loop_fd(c->loop, c->fd, EV_READ, rd_ready, c);
	else if (!on && c->rd)
		loop_unwatch(&c->rd);
}

void conn_writing(struct conn *c, bool on)
{
	if (on && !c->wr)
		c->wr = loop_fd(c->loop, c->fd, EV_WRITE, wr_ready, c);
	else if (!on && c->wr)
		loop_unwatch(&c->wr);
}

void conn_end(struct conn *c, enum conn_end how, const char *why)
{
	if (c->ended || (c->eof && how == CONN_EOF))
		return;
	c->eof = true;
	c->ended = how != CONN_EOF;
	conn_reading(c);
	if (how != CONN_EOF) {
		conn_writing(c, false);
		task_cancel(&c->flush);
		if (c->timer)
			loop_rearm(c->timer, -1);
		c->due = 0;
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
	conn_reading(c);
	return c;
}

/* ---- reading ---- */

void conn_input(struct conn *c)
{
	c->full = evbuffer_get_length(c->in) >= c->limit;
	conn_reading(c);
}

/* One read into the buffer's own space: a full one makes the next larger, so that commands
 * take little memory and bodies few calls. */
static ssize_t fill(struct conn *c, int fd)
{
	struct evbuffer *in = c->tls ? conn_tls_wire(c) : conn_in(c);
	struct evbuffer_iovec v;
	ssize_t n;

	if (evbuffer_reserve_space(in, (ev_ssize_t)c->room, &v, 1) < 1) {
		errno = ENOMEM;
		return -1;
	}
	n = read(fd, v.iov_base, v.iov_len < READ_MAX ? v.iov_len : READ_MAX);
	if (n <= 0)
		return n;
	c->room = (size_t)n < c->room ? READ_MIN : c->room * 4 > READ_MAX ? READ_MAX : c->room * 4;
	v.iov_len = (size_t)n;
	evbuffer_commit_space(in, &v, 1);
	return n;
}

static void rd_ready(int fd, short what, void *arg)
{
	struct conn *c = arg;
	ssize_t n;

	(void)what;
	if (c->tls && conn_tls_waits(c))
		return;
	n = fill(c, fd);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		conn_end(c, CONN_RESET, strerror(errno));
		return;
	}
	if (n == 0) {
		conn_end(c, c->tls && conn_tls_shaking(c) ? CONN_TLS : CONN_EOF,
		    "connection closed by the peer");
		return;
	}
	c->moved = loop_now(c->loop);
	if (c->tls) {
		conn_tls_input(c);
		return;
	}
	conn_input(c);
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
		conn_reading(c);
		if (c->tls)
			conn_tls_again(c);
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
	conn_reading(c);
	if (!pause && c->tls)
		conn_tls_again(c);
}

/* ---- writing ---- */

static struct outq *out(struct conn *c)
{
	if (!unsent(c))
		loop_flush(c->loop, &c->flush);
	return c->tls ? conn_tls_plain(c) : &c->out;
}

static struct evbuffer *out_buf(struct conn *c)
{
	return outq_buf(out(c));
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
	outq_file(out(c), fd, off, len);
}

size_t conn_unsent(struct conn *c)
{
	return outq_len(&c->out) + (c->tls ? outq_len(conn_tls_plain(c)) : 0);
}

size_t conn_held(const struct conn *c)
{
	size_t in = c->in ? evbuffer_get_length(c->in) : 0;

	/* an empty one goes at the end of the turn */
	return (in > 0 ? in + READ_MIN : 0) + outq_held(&c->out) + c->line_cap +
	       (c->tls ? conn_tls_held(c) : 0);
}

int64_t conn_quiet(const struct conn *c)
{
	return loop_now(c->loop) - c->moved;
}

bool conn_write_out(struct conn *c)
{
	size_t moved, total = 0;
	int r;

	do {
		if (c->tls && !conn_tls_fill(c))
			return false;
		r = outq_write(&c->out, c->fd, &moved);
		total += moved;
	} while (r > 0 && moved > 0 && c->tls && total < WRITE_TURN);
	if (total)
		c->moved = loop_now(c->loop);
	if (r > 0 && c->tls) {
		conn_tls_sent(c);
		r = !conn_tls_more(c);
	}
	if (r >= 0)
		conn_writing(c, r == 0);
	return r >= 0;
}

static void wrote(struct conn *c)
{
	if (!conn_write_out(c)) {
		conn_end(c, CONN_RESET, strerror(errno));
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
		conn_end(c, c->how, c->why);
		return;
	}
	if (c->connecting || c->wr)
		return;
	if (c->in && !evbuffer_get_length(c->in)) {
		evbuffer_free(c->in);
		c->in = NULL;
	}
	if (c->tls)
		conn_tls_idle(c);
	wrote(c);
}

static void wr_ready(int fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	(void)what;
	if (c->connecting)
		conn_connected(c);
	else
		wrote(c);
}

void conn_flush(struct conn *c)
{
	task_cancel(&c->flush);
	if (!c->connecting && !c->wr && unsent(c) && !conn_write_out(c))
		end_later(c, CONN_RESET, strerror(errno));
}

/* ---- time, end ---- */

static void arm(struct conn *c, int64_t ms)
{
	c->due = loop_now(c->loop) + ms;
	if (!c->timer)
		c->timer = loop_timer(c->loop, ms, timer_run, c);
	else
		loop_rearm(c->timer, ms);
}

static void timer_run(int fd, short what, void *arg)
{
	struct conn *c = arg;
	int64_t left = c->moved + c->timeout - loop_now(c->loop);

	(void)fd;
	(void)what;
	c->due = 0;
	if (!c->timeout)
		return;
	/* bytes moved since: the timer is only armed anew here, not at every byte */
	if (left > 0) {
		arm(c, left);
		return;
	}
	if (c->connecting)
		conn_end(c, CONN_FAILED, "connection timed out");
	else
		conn_end(c, CONN_TIMEOUT, "timed out");
}

void conn_timeout(struct conn *c, int64_t ms)
{
	c->moved = loop_now(c->loop);
	c->timeout = ms;
	/* a timer that fires in time looks how long the quiet lasted; a session changes between
	 * waits with and without a limit several times a mail */
	if (ms && !c->ended && (!c->due || c->due > c->moved + ms))
		arm(c, ms);
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
	if (c->tls && !c->ended && c->fd >= 0 && !unsent(c)) {
		conn_tls_bye(c);
		conn_write_out(c);
	}
	conn_tls_free(c);
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
	bool dead;

	*cp = NULL;
	conn_tls_bye(c);
	dead = c->connecting || c->why || !unsent(c) || !conn_write_out(c);
	linger |= c->in && evbuffer_get_length(c->in) > 0;
	if (!dead && (unsent(c) || (linger && !c->eof))) {
		loop_unwatch(&c->rd);
		loop_unwatch(&c->wr);
		linger_new(c->loop, c->fd, &c->out, c->eof, ms);
		c->fd = -1;
	}
	conn_close(&c);
}
