/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * io.c -- bytes of a connection: one read a turn, and one write with all that the turn brought.
 *
 * Comes from the loop; goes to link.c with what was read, and to the socket with what stands in
 * l->out when a turn is over: lpm_io_flush(). The loop is told to wait for room only when there is
 * none, so a question that is answered at once costs one wait, one read and one write. Of a server
 * that does not take what is said no more is read.
 * Owns descriptor, events, both buffers. On failure: lpm_link_hang_up() on the next turn, never
 * inside a call of the filter.
 */
#include "lib.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IN_SIZE (2 * (size_t)META1_PMW_FRAME_MAX)

static bool again(void)
{
	return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

static void on_read(evutil_socket_t fd, short what, void *arg)
{
	pmss_ctx_P l = arg;
	ssize_t n;

	(void)what;
	if (!l->broken && evbuffer_get_length(l->out) > OUT_MAX && event_del(l->rd) == 0) {
		l->full = 1;
		return;
	}
	n = l->broken ? -1 : read(fd, l->in + l->inlen, IN_SIZE - l->inlen);
	if (n > 0) {
		l->inlen += (size_t)n;
		lpm_link_input(l);
	} else if (n == 0) {
		lpm_link_hang_up(l, "closed by the server");
	} else if (l->broken || !again()) {
		lpm_link_hang_up(l, "connection lost");
	}
}

static void on_room(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	lpm_io_flush(arg);
}

static void broken(pmss_ctx_P l)
{
	l->broken = 1;
	event_active(l->rd, EV_READ, 0);
}

void lpm_io_flush(pmss_ctx_P l)
{
	while (l->fd >= 0 && !l->broken && evbuffer_get_length(l->out) > 0) {
		if (evbuffer_write(l->out, l->fd) >= 0)
			continue;
		if (again() && event_add(l->wr, NULL) == 0)
			return;
		broken(l);
	}
	if (l->fd < 0 || l->broken || !l->full)
		return;
	l->full = 0;
	if (event_add(l->rd, NULL) < 0)
		broken(l);
}

void lpm_io_flush_all(pmg_ctx_P g)
{
	for (pmss_ctx_P l = g->links; l; l = l->next)
		lpm_io_flush(l);
}

void lpm_io_take(pmss_ctx_P l, size_t n)
{
	l->inlen -= n;
	memmove(l->in, l->in + n, l->inlen);
}

int lpm_io_open(pmss_ctx_P l, evutil_socket_t fd)
{
	l->fd = fd;
	l->in = malloc(IN_SIZE);
	l->out = evbuffer_new();
	l->rd = event_new(l->g->base, fd, EV_READ | EV_PERSIST, on_read, l);
	l->wr = event_new(l->g->base, fd, EV_WRITE, on_room, l);
	return l->in && l->out && l->rd && l->wr && event_add(l->rd, NULL) == 0 ? 0 : -1;
}

void lpm_io_close(pmss_ctx_P l)
{
	if (l->rd)
		event_free(l->rd);
	if (l->wr)
		event_free(l->wr);
	l->rd = l->wr = NULL;
	if (l->fd >= 0)
		evutil_closesocket(l->fd);
	l->fd = -1;
}

void lpm_io_free(pmss_ctx_P l)
{
	lpm_io_close(l);
	free(l->in);
	if (l->out)
		evbuffer_free(l->out);
}
