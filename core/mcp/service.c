/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service.c -- what a service manager and mcp tell each other by systemd's protocol: sockets that
 * are open already (LISTEN_FDS), that the start is over, a reload, a stop, and that mcp is alive.
 *
 * Comes from: the environment, main(). Goes to: a datagram socket (NOTIFY_SOCKET); listen.c takes
 * sockets by their address, and a reload that takes a listener away gives its socket back. Owns the
 * sockets that nobody has. Its variables are taken out of the
 * environment: roles have no use for them. On failure: mcp goes on as without a manager.
 */
#include "mcp.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FIRST_FD 3

/* A number of the environment, and its name is gone; 0: none. */
static long take_number(const char *name)
{
	const char *text = getenv(name);
	long n = text ? strtol(text, NULL, 10) : 0;

	unsetenv(name);
	return n > 0 ? n : 0;
}

void mcp_service_init(struct mcp_service *s)
{
	const char *where = getenv("NOTIFY_SOCKET");
	long pid = take_number("LISTEN_PID"), n = take_number("LISTEN_FDS");
	long dog_pid = take_number("WATCHDOG_PID"), usec = take_number("WATCHDOG_USEC");

	*s = (struct mcp_service){.nfd = 0};
	unsetenv("LISTEN_FDNAMES");
	if (where && (*where == '/' || *where == '@') && strlen(where) < sizeof(s->where))
		str_copy(s->where, sizeof(s->where), where);
	unsetenv("NOTIFY_SOCKET");
	if (!dog_pid || dog_pid == getpid())
		s->watchdog_ms = usec / 1000;
	for (long i = 0; pid == getpid() && i < n && s->nfd < MCP_GIVEN_MAX; i++) {
		int fd = (int)(FIRST_FD + i);

		if (fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 &&
		    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0)
			s->fd[s->nfd++] = fd;
	}
}

static bool same_address(const struct sockaddr *want, const struct sockaddr_storage *have)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)want;
	const struct sockaddr_in *v4_have = (const struct sockaddr_in *)have;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)want;
	const struct sockaddr_in6 *v6_have = (const struct sockaddr_in6 *)have;

	if (want->sa_family != have->ss_family)
		return false;
	if (want->sa_family == AF_INET)
		return v4->sin_port == v4_have->sin_port &&
		       v4->sin_addr.s_addr == v4_have->sin_addr.s_addr;
	if (want->sa_family == AF_INET6)
		return v6->sin6_port == v6_have->sin6_port &&
		       memcmp(&v6->sin6_addr, &v6_have->sin6_addr, sizeof(v6->sin6_addr)) == 0;
	return want->sa_family == AF_UNIX && strcmp(((const struct sockaddr_un *)want)->sun_path,
						 ((const struct sockaddr_un *)have)->sun_path) == 0;
}

int mcp_service_take(struct mcp_service *s, const struct sockaddr *want)
{
	for (unsigned i = 0; i < s->nfd; i++) {
		struct sockaddr_storage have = {.ss_family = AF_UNSPEC};
		socklen_t len = sizeof(have), one = sizeof(int);
		int fd = s->fd[i], listens = 0;

		if (getsockname(fd, (struct sockaddr *)&have, &len) < 0 ||
		    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &one) < 0 || !listens ||
		    !same_address(want, &have))
			continue;
		s->fd[i] = s->fd[--s->nfd];
		return fd;
	}
	return -1;
}

void mcp_service_back(struct mcp_service *s, int fd)
{
	if (s->nfd < MCP_GIVEN_MAX)
		s->fd[s->nfd++] = fd;
	else
		close(fd);
}

void mcp_service_say(const struct mcp *m, const char *text)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	size_t n = str_copy(sun.sun_path, sizeof(sun.sun_path), m->service.where);
	int fd;

	if (n == 0)
		return;
	if (sun.sun_path[0] == '@')
		sun.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return;
	if (sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&sun,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0)
		log_event(LOG_L_DEBUG, "mcp.service", "socket=%s error=%s", m->service.where,
		    strerror(errno));
	close(fd);
}

static void alive(int fd, short what, void *arg)
{
	struct mcp *m = arg;

	(void)fd, (void)what;
	mcp_service_say(m, "WATCHDOG=1");
	loop_rearm(m->service.alive, m->service.watchdog_ms / 2);
}

void mcp_service_ready(struct mcp *m)
{
	struct mcp_service *s = &m->service;

	for (unsigned i = 0; i < s->nfd; i++)
		log_event(LOG_L_WARN, "mcp.service", "descriptor=%d error=%s", s->fd[i],
		    "this socket of the service manager is that of no listen_socket; it waits for "
		    "a reload that has one");
	mcp_service_say(m, "READY=1");
	if (*s->where && s->watchdog_ms > 1)
		s->alive = loop_timer(m->loop, s->watchdog_ms / 2, alive, m);
}

void mcp_service_end(struct mcp_service *s)
{
	loop_unwatch(&s->alive);
	while (s->nfd > 0)
		close(s->fd[--s->nfd]);
}
