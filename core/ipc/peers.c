/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * peers.c -- how a chan comes to be: connect and connect again, accept and check
 * who it is, HELLO both ways, and the end of a connection.
 * Comes from role.c; goes to chan.c. Owns listening sockets given to chan_listen.
 * On failure: one warning a cause; clients keep trying, servers refuse that peer.
 */
#include "ipc/chan_private.h"
#include "lib/log.h"
#include "lib/metric.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKOFF_MIN 50
#define BACKOFF_MAX 2000
#define CLIENTS_MAX 256
#define PAUSE_MS    100 /* without accepting, when there is no descriptor */
#define ANYBODY	    (SMTPS | SMTPC | SMAR | QMGR)

METRIC_COUNTER(m_refused, "ipc_refused_total", "Connections of users that may not talk to us.");

struct chan_server {
	const struct chan_side *side;
	int fd;
	struct watch *watch, *pause;
	int64_t said, refused; /* when the lack of descriptors, a stranger was logged */
	struct chan_user *users;
	unsigned nusers, nclients;
	struct chan *clients;
};

static const struct {
	const char *name;
	enum proto_who who;
} roles[] = {{"mcp", MCP}, {"smtps", SMTPS}, {"smtpc", SMTPC}, {"smar", SMAR}, {"qmgr", QMGR}};

static const char *role_of(enum proto_who who)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(roles); i++)
		if (roles[i].who == who)
			return roles[i].name;
	return "?";
}

enum proto_who chan_who(struct meta1_buf role)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(roles); i++)
		if (buf_caseeq(role, roles[i].name))
			return roles[i].who;
	return 0;
}

static void hello_send(struct chan *c)
{
	const struct chan_side *s = c->side;
	struct p_hello h = {.role = buf_str(role_of(s->who)),
	    .index = s->index,
	    .version = buf_str(s->version),
	    .hash = proto_hash(),
	    .store = buf_str(s->store),
	    .writer = s->writer};

	chan_queue(c, P_HELLO, 0, &h);
}

static void connected(struct chan *c, int fd)
{
	c->fd = fd;
	c->in_len = 0;
	c->rd = loop_fd(c->side->loop, fd, EV_READ, chan_rd_ready, c);
	hello_send(c);
}

static struct meta1_buf keep(char *dst, size_t size, struct meta1_buf b)
{
	size_t n = b.len < size - 1 ? b.len : size - 1;

	if (n)
		memcpy(dst, b.data, n);
	dst[n] = '\0';
	return buf_of(dst, n);
}

bool chan_greeted(struct chan *c, const struct p_hello *h)
{
	const struct chan_side *s = c->side;
	enum proto_who who = chan_who(h->role);

	c->hello = *h;
	c->hello.role = keep(c->h_role, sizeof(c->h_role), h->role);
	c->hello.version = keep(c->h_version, sizeof(c->h_version), h->version);
	c->hello.store = keep(c->h_store, sizeof(c->h_store), h->store);
	if (c->up || !who || !(c->peer & who)) {
		log_event(LOG_L_WARN, "ipc.refused", "peer=%s error=%s", c->h_role,
		    "not a role that its user may be, or a second HELLO");
		return false;
	}
	if (h->hash != proto_hash() || !buf_eq(h->version, buf_str(s->version))) {
		log_event(LOG_L_ERR, "ipc.refused",
		    "peer=%s peer_version=%s our_version=%s peer_protocol=%llx our_protocol=%llx "
		    "hint=%s",
		    c->h_role, c->h_version, s->version, (unsigned long long)h->hash,
		    (unsigned long long)proto_hash(), "restart mcp after an upgrade");
		return false;
	}
	if (h->store.len && *s->store && !buf_eq(h->store, buf_str(s->store))) {
		log_event(LOG_L_ERR, "ipc.refused", "peer=%s peer_store=%s our_store=%s hint=%s",
		    c->h_role, c->h_store, s->store,
		    "all roles must use the same queue module; restart mcp");
		return false;
	}
	c->peer = who;
	c->up = true;
	c->backoff = BACKOFF_MIN;
	if (s->up)
		s->up(c, &c->hello, s->arg);
	return true;
}

/* ---- the end of a connection ---- */

static void unlink_client(struct chan *c)
{
	*c->prevp = c->next;
	if (c->next)
		c->next->prevp = c->prevp;
	c->server->nclients--;
}

void chan_destroy(struct chan *c)
{
	c->closed = true;
	if (c->busy)
		return;
	while (c->replies)
		chan_reply_drop(c->replies);
	while (c->nfds)
		close(chan_take_fd(c));
	task_cancel(&c->flush);
	loop_unwatch(&c->rd);
	loop_unwatch(&c->wr);
	loop_unwatch(&c->ticker);
	loop_unwatch(&c->retry);
	if (c->fd >= 0)
		close(c->fd);
	evbuffer_free(c->out);
	pool_clear(&c->pool);
	free(c->asks);
	free(c->in);
	free(c->path);
	free(c);
}

void chan_lost(struct chan *c, const char *why)
{
	bool was_up = c->up;

	if (c->fd < 0)
		return;
	/* mcp and its children say themselves what the end of their channel means. */
	log_event(was_up && !c->adopted ? LOG_L_INFO : LOG_L_DEBUG, "ipc.down", "peer=%s error=%s",
	    role_of(c->peer), why);
	loop_unwatch(&c->rd);
	loop_unwatch(&c->wr);
	close(c->fd);
	c->fd = -1;
	c->up = false;
	c->generation++;
	evbuffer_drain(c->out, evbuffer_get_length(c->out));
	while (c->nfds)
		close(chan_take_fd(c));
	c->busy++;
	chan_unanswered(c);
	if (was_up && c->side->down)
		c->side->down(c, c->side->arg);
	c->busy--;
	if (c->closed) {
		chan_destroy(c);
	} else if (c->server) {
		unlink_client(c);
		chan_destroy(c);
	} else if (c->path) {
		loop_rearm(c->retry, c->backoff);
		c->backoff = c->backoff * 2 < BACKOFF_MAX ? c->backoff * 2 : BACKOFF_MAX;
	}
}

void chan_close(struct chan **cp)
{
	struct chan *c = *cp;

	if (!c)
		return;
	*cp = NULL;
	c->busy++; /* writing may lose it, and then it must still be there below */
	if (c->fd >= 0 && c->up)
		chan_write_out(c);
	c->busy--;
	if (c->server && !c->closed)
		unlink_client(c);
	c->server = NULL;
	chan_destroy(c);
}

/* ---- client ---- */

static void try_connect(int fd, short what, void *arg)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct chan *c = arg;

	(void)what;
	str_copy(sa.sun_path, sizeof(sa.sun_path), c->path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0 && !connect(fd, (struct sockaddr *)&sa, sizeof(sa))) {
		connected(c, fd);
		return;
	}
	if (fd >= 0)
		close(fd);
	loop_rearm(c->retry, c->backoff);
	c->backoff = c->backoff * 2 < BACKOFF_MAX ? c->backoff * 2 : BACKOFF_MAX;
}

struct chan *chan_connect(const struct chan_side *side, enum proto_who peer, const char *path)
{
	struct chan *c = chan_alloc(side, peer);

	c->path = base_strdup(path);
	c->backoff = BACKOFF_MIN;
	c->retry = loop_timer(side->loop, 0, try_connect, c);
	return c;
}

struct chan *chan_adopt(const struct chan_side *side, enum proto_who peer, int fd)
{
	struct chan *c = chan_alloc(side, peer);

	c->adopted = c->up = true;
	c->fd = fd;
	c->rd = loop_fd(side->loop, fd, EV_READ, chan_rd_ready, c);
	return c;
}

/* ---- server ---- */

/* What the peer may say that it is; 0: nothing. */
static enum proto_who allowed(struct chan_server *s, int fd)
{
	struct ucred cred = {.uid = (uid_t)-1};
	socklen_t len = sizeof(cred);
	unsigned i, who = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return 0;
	if (cred.uid == 0 || cred.uid == geteuid())
		return ANYBODY;
	for (i = 0; i < s->nusers; i++)
		if (s->users[i].uid == cred.uid)
			who |= s->users[i].who;
	m_refused.value += !who;
	if (!who && log_rarely(&s->refused, loop_now(s->side->loop)))
		log_event(LOG_L_WARN, "ipc.refused", "uid=%d pid=%d error=%s", (int)cred.uid,
		    (int)cred.pid, "this user may not talk to us");
	return who;
}

static void accept_ready(int fd, short what, void *arg);

static void accept_again(int fd, short what, void *arg)
{
	struct chan_server *s = arg;

	(void)fd;
	(void)what;
	s->watch = loop_fd(s->side->loop, s->fd, EV_READ, accept_ready, s);
}

/* A client that waits for a descriptor would wake us again and again. */
static void accept_failed(struct chan_server *s, int cause)
{
	if (cause != EMFILE && cause != ENFILE && cause != ENOBUFS && cause != ENOMEM)
		return;
	if (log_rarely(&s->said, loop_now(s->side->loop)))
		log_event(
		    LOG_L_WARN, "ipc.accept", "cause=%s pause_ms=%d", strerror(cause), PAUSE_MS);
	loop_unwatch(&s->watch);
	loop_rearm(s->pause, PAUSE_MS);
}

static void accept_ready(int fd, short what, void *arg)
{
	struct chan_server *s = arg;
	enum proto_who who;
	struct chan *c;

	(void)what;
	fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0) {
		accept_failed(s, errno);
		return;
	}
	who = allowed(s, fd);
	if (!who || s->nclients >= CLIENTS_MAX) {
		close(fd);
		return;
	}
	c = chan_alloc(s->side, who);
	c->server = s;
	c->next = s->clients;
	c->prevp = &s->clients;
	if (c->next)
		c->next->prevp = &c->next;
	s->clients = c;
	s->nclients++;
	connected(c, fd);
}

void chan_server_users(struct chan_server *s, const struct chan_user *users, unsigned n)
{
	free(s->users);
	s->users = base_alloc((n + 1) * sizeof(*users));
	if (n)
		memcpy(s->users, users, n * sizeof(*users));
	s->nusers = n;
}

struct chan_server *chan_listen(const struct chan_side *side, int fd)
{
	struct chan_server *s = base_alloc(sizeof(*s));

	s->side = side;
	s->fd = fd;
	s->pause = loop_timer(side->loop, -1, accept_again, s);
	accept_again(-1, 0, s);
	return s;
}

void chan_server_free(struct chan_server **sp)
{
	struct chan_server *s = *sp;
	struct chan *c;

	if (!s)
		return;
	*sp = NULL;
	while ((c = s->clients))
		chan_close(&c);
	loop_unwatch(&s->watch);
	loop_unwatch(&s->pause);
	close(s->fd);
	free(s->users);
	free(s);
}
