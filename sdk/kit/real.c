/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * real.c -- a connection to a server that runs, for modules whose peer no script can play (a daemon
 * that proves passwords): where no script is set, conn->open() leads there.
 * Comes from conn.c; goes to the server's socket. Owns the socket. What the module writes is
 * written at once, and may wait for a server that does not read: this is a tool.
 * On failure: NULL, "connection refused" to the module; later kit_conn_hang_up().
 */
#include "host_priv.h"
#include "lib/conn.h"
#include "peer.h"

#include <event2/event.h>
#include <stdlib.h>
#include <unistd.h>

#define WRITE_SECONDS 5

struct kit_real {
	int fd;
	struct watch *in;
	struct meta1_conn *conn;
};

static void on_input(int fd, short what, void *arg)
{
	struct kit_real *r = arg;
	char b[16384];
	ssize_t n = recv(fd, b, sizeof(b), MSG_DONTWAIT);

	(void)what;
	if (n > 0) {
		kit_conn_say(r->conn, b, (size_t)n);
		return;
	}
	loop_unwatch(&r->in);
	kit_conn_hang_up(r->conn);
}

struct kit_real *kit_real_open(struct loop *loop, const struct meta1_hop *hop, struct meta1_conn *c)
{
	const struct timeval patience = {.tv_sec = WRITE_SECONDS};
	struct sockaddr_storage ss;
	struct kit_real *r;
	socklen_t len;
	int fd;

	if (!hop->addr || conn_addr(hop->addr, (uint16_t)hop->port, &ss, &len) < 0)
		return NULL;
	fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return NULL;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)); /* of connect() too */
	if (connect(fd, (struct sockaddr *)&ss, len) < 0) {
		close(fd);
		return NULL;
	}
	r = base_alloc(sizeof(*r));
	*r = (struct kit_real){.fd = fd, .conn = c};
	r->in = loop_fd(loop, fd, EV_READ | EV_PERSIST, on_input, r);
	return r;
}

size_t kit_real_take(struct kit_real *r, const void *p, size_t n)
{
	ssize_t done = send(r->fd, p, n, MSG_NOSIGNAL);

	return done > 0 ? (size_t)done : 0;
}

void kit_real_close(struct kit_real **rp)
{
	struct kit_real *r = *rp;

	*rp = NULL;
	if (!r)
		return;
	if (r->in)
		loop_unwatch(&r->in);
	close(r->fd);
	free(r);
}
