/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * listen.c -- the listening sockets: accept what waits, a bounded number a turn.
 *
 * Comes from mcp (descriptors, by role_fd.c); goes to session.c. The descriptors stay the
 * role's; this file owns their watches and one descriptor in reserve each. A reload may take some
 * away: who already waits there is let in, by the settings after it.
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

#define A_TURN	 64   /* connections of one socket */
#define LAST	 4096 /* of one that is closed: what mcp lets wait, and what comes meanwhile */
#define PAUSE_MS 100  /* after EMFILE and its like */

struct smtps_listen {
	LIST_ENTRY(smtps_listen) link;
	struct smtps *srv;
	const char *name; /* "127.0.0.1:25" */
	int fd;
	const char *section; /* its name in the configuration; NULL: none */
	bool tls, stays;
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
		l->watch = loop_fd(l->srv->role->loop, l->fd, EV_READ, readable, l);
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
		log_event(LOG_L_WARN, "smtps.accept", "listener=%s cause=%s pause_ms=%d", l->name,
		    strerror(cause), PAUSE_MS);
	if (l->reserve >= 0) {
		close(l->reserve);
		l->reserve = -1;
		fd = accept4(l->fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			name_client((struct sockaddr *)&ss, client);
			log_event(LOG_L_INFO, "smtps.no_descriptor", "listener=%s client=%s",
			    l->name, client);
			turn_away_now(l, fd);
		}
		l->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
	}
	loop_unwatch(&l->watch);
	loop_rearm(l->pause, PAUSE_MS);
}

static void take(struct smtps_listen *l, int fd, const struct sockaddr *sa)
{
	struct smtps *srv = l->srv;
	char client[SMTPS_CLIENT_SIZE];

	name_client(sa, client);
	m_conns.value++;
	if (srv->gear->lim.sessions > 0 &&
	    srv->nsession - srv->nreport >= srv->gear->lim.sessions) {
		m_full.value++;
		log_event(
		    LOG_L_INFO, "smtps.max_sessions", "listener=%s client=%s", l->name, client);
		turn_away(l, fd, "has too many sessions");
		return;
	}
	if (smtps_memory_full(srv)) {
		m_memory.value++;
		log_event(LOG_L_INFO, "smtps.max_memory", "listener=%s client=%s", l->name, client);
		turn_away(l, fd, "has too much under way");
		return;
	}
	smtps_session_new(srv, fd, client, l->name, l->tls);
}

/* false: nobody waits, or nobody can be let in now. */
static bool let_in(struct smtps_listen *l)
{
	struct sockaddr_storage ss = {.ss_family = AF_UNIX};
	socklen_t len = sizeof(ss);
	int fd = accept4(l->fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd >= 0) {
		take(l, fd, (struct sockaddr *)&ss);
		return true;
	}
	if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
		out_of_descriptors(l, errno);
		return false;
	}
	return errno == ECONNABORTED || errno == EINTR;
}

static void readable(int lfd, short what, void *arg)
{
	struct smtps_listen *l = arg;

	(void)lfd, (void)what;
	for (int i = 0; i < A_TURN && let_in(l); i++)
		;
}

/* Sessions have the name of their listener, and may be there longer than it: so the few names that
 * listeners ever had are kept. */
static const char *keep(const char *text)
{
	static struct name {
		struct name *next;
		char text[];
	} * names;
	struct name *n = names;

	while (n != NULL && strcmp(n->text, text) != 0)
		n = n->next;
	if (n == NULL) {
		n = base_alloc(sizeof(*n) + strlen(text) + 1);
		strcpy(n->text, text);
		n->next = names;
		names = n;
	}
	return n->text;
}

static struct smtps_listen *find(const struct smtps *srv, int fd)
{
	struct smtps_listen *l;

	LIST_FOREACH(l, &srv->listen, link)
	if (l->fd == fd)
		break;
	return l;
}

static void add(struct smtps *srv, const struct role_fd *fd, const struct set_listen *set)
{
	struct smtps_listen *l = find(srv, fd->fd);
	int one = 1;

	if (l == NULL) {
		l = base_alloc(sizeof(*l));
		l->srv = srv;
		l->fd = fd->fd;
		l->reserve = -1;
		l->name = keep(fd->name);
		l->pause = loop_timer(srv->role->loop, -1, resume, l);
		/* inherited by what is accepted; of no meaning on a unix socket */
		(void)setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (fcntl(l->fd, F_SETFL, O_NONBLOCK) < 0)
			log_event(LOG_L_ERR, "smtps.accept", "listener=%s error=%s", l->name,
			    strerror(errno));
		LIST_INSERT_HEAD(&srv->listen, l, link);
	}
	l->tls = set != NULL && set->tls;
	l->section = set != NULL && set->section->name != NULL ? keep(set->section->name) : NULL;
	l->stays = true;
}

/* mcp gives the sockets in the order of the section. */
static unsigned add_all(struct smtps *srv)
{
	const struct role *role = srv->role;
	const struct set_role *set = role->section;
	unsigned n = 0;

	for (unsigned i = 0; i < role->nfd; i++) {
		if (strcmp(role->fd[i].kind, "listen") != 0)
			continue;
		add(srv, &role->fd[i], n < set->nlisten ? &set->listen[n] : NULL);
		n++;
	}
	return n;
}

static void drop(struct smtps_listen *l)
{
	LIST_REMOVE(l, link);
	loop_unwatch(&l->watch);
	loop_unwatch(&l->pause);
	if (l->reserve >= 0)
		close(l->reserve);
	free(l);
}

int smtps_listen_start(struct smtps *srv, struct meta1_err *err)
{
	if (add_all(srv) == 0)
		return err_set(err,
		    "smtps: no listening socket came from mcp (give the section a listen_socket)");
	return 0;
}

void smtps_listen_go(struct smtps *srv)
{
	struct smtps_listen *l;

	LIST_FOREACH(l, &srv->listen, link)
	if (l->watch == NULL)
		resume(-1, 0, l);
}

static void leave(struct smtps *srv)
{
	struct smtps_listen *l, *next;

	srv->emptying = true;
	for (l = LIST_FIRST(&srv->listen); l != NULL; l = next) {
		next = LIST_NEXT(l, link);
		if (l->stays)
			continue;
		for (int i = 0; i < LAST && !srv->stopping && let_in(l); i++)
			;
		drop(l);
	}
	srv->emptying = false;
}

void smtps_listen_turn(struct smtps *srv)
{
	struct smtps_listen *l;

	LIST_FOREACH(l, &srv->listen, link)
	l->stays = false;
	add_all(srv);
	leave(srv);
	smtps_listen_go(srv);
}

void smtps_listen_leave(struct smtps *srv, bool all)
{
	const struct role *role = srv->role;
	struct smtps_listen *l;

	LIST_FOREACH(l, &srv->listen, link)
	{
		l->stays = false;
		for (unsigned i = 0; i < role->nfd && !all && !l->stays; i++)
			l->stays = role->fd[i].fd == l->fd;
	}
	leave(srv);
}

void smtps_listen_stop(struct smtps *srv)
{
	while (!LIST_EMPTY(&srv->listen))
		drop(LIST_FIRST(&srv->listen));
}

const char *smtps_listen_name(const struct smtps *srv, const char *socket)
{
	const struct smtps_listen *l;

	LIST_FOREACH(l, &srv->listen, link)
	if (l->name == socket && l->section != NULL)
		return l->section;
	return socket;
}
