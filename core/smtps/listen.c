/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * listen.c -- the listening sockets: accept what waits, a bounded number a turn.
 *
 * Comes from mcp (descriptors, by role.c); goes to session.c. The descriptors stay the
 * role's; this file owns their watches and one descriptor in reserve.
 * On failure: without descriptors the reserve is spent to tell one client 421, and
 * accepting pauses for 100 ms instead of spinning. Over max_sessions: 421, and lib/linger.c
 * sees to it that it is read.
 */
#include "lib/linger.h"
#include "lib/netlist.h"
#include "smtps/smtps.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

METRIC_COUNTER(m_conns, "connections_total", "Connections accepted.");
METRIC_COUNTER(m_full, "refused_max_sessions_total", "Connections refused: too many sessions.");
METRIC_COUNTER(m_memory, "refused_max_memory_total", "Connections refused over max_memory.");
METRIC_COUNTER(m_nofd, "refused_no_descriptor_total", "Connections refused: no descriptor free.");

#define A_TURN	 64  /* connections of one socket */
#define PAUSE_MS 100 /* after EMFILE and its like */

struct smtps_listen {
	struct smtps *srv;
	const struct role_fd *fd;
	unsigned nth; /* of the listen_sockets of our section */
	struct watch *watch;
	struct watch *pause; /* armed while nothing is accepted */
	int reserve;
	int64_t said; /* when the lack of descriptors was logged */
};

static void readable(int fd, short what, void *arg);

static void resume(int fd, short what, void *arg)
{
	struct smtps_listen *l = arg;

	(void)fd;
	(void)what;
	if (l->reserve < 0)
		l->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (l->watch == NULL && !l->srv->stopping)
		l->watch = loop_fd(l->srv->role->loop, l->fd->fd, EV_READ, readable, l);
}

/* A reply before there is a session; the socket is new, so one short write fits. */
static void tell(const struct smtps_listen *l, int fd, const char *why)
{
	char text[400];
	int n = snprintf(text, sizeof(text), "421 4.3.2 %.255s %s, try again later\r\n",
	    l->srv->gear->hostname, why);

	(void)!write(fd, text, (size_t)n);
}

static void turn_away(const struct smtps_listen *l, int fd, const char *why)
{
	struct outq none = {.buf = NULL};

	tell(l, fd, why);
	linger_new(l->srv->role->loop, fd, &none, false, SMTPS_LINGER);
}

static void name_client(const struct sockaddr *sa, char out[SMTPS_CLIENT_SIZE])
{
	conn_addr_text(sa, out, SMTPS_CLIENT_SIZE);
	netlist_plain(out);
}

/* The descriptor is wanted back at once: what the client said until now is thrown away. */
static void turn_away_now(const struct smtps_listen *l, int fd)
{
	char junk[4096];

	tell(l, fd, "has too many connections");
	shutdown(fd, SHUT_WR);
	(void)!read(fd, junk, sizeof(junk));
	close(fd);
}

static void out_of_descriptors(struct smtps_listen *l, int cause)
{
	struct sockaddr_storage ss = {.ss_family = AF_UNIX};
	socklen_t len = sizeof(ss);
	char client[SMTPS_CLIENT_SIZE];
	int fd;

	m_nofd.value++;
	if (log_rarely(&l->said, loop_now(l->srv->role->loop)))
		log_event(LOG_L_WARN, "smtps.accept", "listener=%s cause=%s pause_ms=%d",
		    l->fd->name, strerror(cause), PAUSE_MS);
	if (l->reserve >= 0) {
		close(l->reserve);
		l->reserve = -1;
		fd = accept4(l->fd->fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			name_client((struct sockaddr *)&ss, client);
			log_event(LOG_L_INFO, "smtps.no_descriptor", "listener=%s client=%s",
			    l->fd->name, client);
			turn_away_now(l, fd);
		}
		l->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
	}
	loop_unwatch(&l->watch);
	loop_rearm(l->pause, PAUSE_MS);
}

/* mcp gives the sockets in the order of their sections; a reload may have changed what they say. */
static bool wants_tls(const struct smtps_listen *l)
{
	const struct set_role *set = l->srv->role->section;

	return l->nth < set->nlisten && set->listen[l->nth].tls;
}

static void take(struct smtps_listen *l, int fd, const struct sockaddr *sa)
{
	struct smtps *srv = l->srv;
	char client[SMTPS_CLIENT_SIZE];

	name_client(sa, client);
	m_conns.value++;
	if (srv->gear->lim.sessions > 0 && srv->nsession >= srv->gear->lim.sessions) {
		m_full.value++;
		log_event(
		    LOG_L_INFO, "smtps.max_sessions", "listener=%s client=%s", l->fd->name, client);
		turn_away(l, fd, "has too many sessions");
		return;
	}
	if (smtps_memory_full(srv)) {
		m_memory.value++;
		log_event(
		    LOG_L_INFO, "smtps.max_memory", "listener=%s client=%s", l->fd->name, client);
		turn_away(l, fd, "has too much under way");
		return;
	}
	smtps_session_new(srv, fd, client, l->fd->name, wants_tls(l));
}

static void readable(int lfd, short what, void *arg)
{
	struct smtps_listen *l = arg;
	int i;

	(void)what;
	for (i = 0; i < A_TURN; i++) {
		struct sockaddr_storage ss = {.ss_family = AF_UNIX};
		socklen_t len = sizeof(ss);
		int fd = accept4(lfd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			take(l, fd, (struct sockaddr *)&ss);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			out_of_descriptors(l, errno);
			return;
		}
		if (errno != ECONNABORTED && errno != EINTR)
			return;
	}
}

int smtps_listen_start(struct smtps *srv, struct meta1_err *err)
{
	struct role *role = srv->role;
	unsigned i;

	srv->listen = base_alloc(role->nfd * sizeof(*srv->listen));
	for (i = 0; i < role->nfd; i++) {
		struct smtps_listen *l = &srv->listen[srv->nlisten];
		int one = 1;

		if (strcmp(role->fd[i].kind, "listen") != 0)
			continue;
		l->srv = srv;
		l->nth = srv->nlisten;
		l->fd = &role->fd[i];
		l->reserve = -1;
		/* inherited by what is accepted; of no meaning on a unix socket */
		(void)setsockopt(l->fd->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (fcntl(l->fd->fd, F_SETFL, O_NONBLOCK) < 0)
			return err_set(err, "%s: cannot be made non-blocking: %s", l->fd->name,
			    strerror(errno));
		l->pause = loop_timer(role->loop, -1, resume, l);
		srv->nlisten++;
	}
	if (srv->nlisten == 0)
		return err_set(err,
		    "smtps: no listening socket came from mcp (give the section a listen_socket)");
	return 0;
}

void smtps_listen_go(struct smtps *srv)
{
	unsigned i;

	for (i = 0; i < srv->nlisten; i++)
		resume(-1, 0, &srv->listen[i]);
}

void smtps_listen_stop(struct smtps *srv)
{
	unsigned i;

	for (i = 0; i < srv->nlisten; i++) {
		struct smtps_listen *l = &srv->listen[i];

		if (l->watch != NULL)
			loop_unwatch(&l->watch);
		if (l->pause != NULL)
			loop_unwatch(&l->pause);
		if (l->reserve >= 0)
			close(l->reserve);
		l->reserve = -1;
	}
	srv->nlisten = 0;
	free(srv->listen);
	srv->listen = NULL;
}
