/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * linger.c -- connections whose owner is done with them, until the last reply was read.
 * Comes from conn.c (conn_finish) and smtps/listen.c; goes to the kernel.
 * Owns descriptor, watches and unsent output of each; one list a process, in the order of age.
 * What comes in is read into one buffer for all and never looked at. Beyond LINGER_BYTES it
 * stays in the kernel, so that a peer that sends without end is stopped but not reset: it has
 * until the end of the time to read. On failure: the descriptor is closed.
 */
#include "lib/linger.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

struct lingering {
	TAILQ_ENTRY(lingering) all; /* newest last */
	int fd;
	struct outq out;
	struct watch *rd, *wr, *timer;
	size_t thrown;
	bool eof;
};

static struct {
	TAILQ_HEAD(, lingering) all;
	unsigned n;
	void (*done)(void *arg);
	void *arg;
} here = {.all = TAILQ_HEAD_INITIALIZER(here.all)};

static void over(struct lingering *l)
{
	TAILQ_REMOVE(&here.all, l, all);
	here.n--;
	loop_unwatch(&l->rd);
	loop_unwatch(&l->wr);
	loop_unwatch(&l->timer);
	outq_clear(&l->out);
	close(l->fd);
	free(l);
	if (here.n == 0 && here.done != NULL)
		here.done(here.arg);
}

static void late(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	over(arg);
}

static void throw_away(int fd, short what, void *arg)
{
	static char junk[16384];
	struct lingering *l = arg;
	ssize_t n = read(fd, junk, sizeof(junk));

	(void)what;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0 || (n == 0 && outq_empty(&l->out))) {
		over(l);
		return;
	}
	l->eof = n == 0;
	l->thrown += (size_t)n;
	if (l->eof || l->thrown >= LINGER_BYTES)
		loop_unwatch(&l->rd);
}

static void write_on(int fd, short what, void *arg)
{
	struct lingering *l = arg;
	size_t moved;
	int r = outq_write(&l->out, fd, &moved);

	(void)what;
	if (r == 0)
		return;
	loop_unwatch(&l->wr);
	if (r < 0 || l->eof)
		over(l);
	else
		shutdown(fd, SHUT_WR);
}

void linger_new(struct loop *loop, int fd, struct outq *out, bool eof, int64_t ms)
{
	struct lingering *l = base_alloc(sizeof(*l));

	if (here.n == LINGER_MAX)
		over(TAILQ_FIRST(&here.all));
	*l = (struct lingering){.fd = fd, .out = *out, .eof = eof};
	*out = (struct outq){.buf = NULL};
	TAILQ_INSERT_TAIL(&here.all, l, all);
	here.n++;
	if (!eof)
		l->rd = loop_fd(loop, fd, EV_READ, throw_away, l);
	l->timer = loop_timer(loop, ms, late, l);
	if (outq_empty(&l->out))
		shutdown(fd, SHUT_WR);
	else
		l->wr = loop_fd(loop, fd, EV_WRITE, write_on, l);
}

unsigned linger_count(void)
{
	return here.n;
}

void linger_stop(int64_t ms, void (*done)(void *arg), void *arg)
{
	struct lingering *l;

	if (here.n == 0) {
		done(arg);
		return;
	}
	here.done = done;
	here.arg = arg;
	TAILQ_FOREACH (l, &here.all, all)
		loop_rearm(l->timer, ms);
}
