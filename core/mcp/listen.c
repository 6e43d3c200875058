/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * listen.c -- the sockets that mcp makes and keeps over restarts of the roles.
 *
 * Comes from: sections.c and relisten.c. Goes to: child.c and pass.c, which hand them out.
 * Three kinds: SMTP listeners (inet, inet6, unix), RUN/ROLE.ipc between roles (anyone may
 * connect, the role checks the peer's uid), RUN/ROLE.ctl for control (file mode decides).
 * With processes = N there is one SO_REUSEPORT socket a process, so that a connection waits
 * in the queue of one process; a unix socket is shared, and so is one that the service manager has
 * opened at the address of a listener (service.c). On failure: err, nothing is started.
 */
#include "mcp.h"

#include "lib/conn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG	      1024
#define CONTROL_GROUP "meta1"

static int set_option(int fd, int level, int name)
{
	return setsockopt(fd, level, name, &(int){1}, sizeof(int));
}

static const char *listen_address(const struct set_listen *l)
{
	return l->address ? l->address : l->type == SOCK_INET6 ? "::" : "0.0.0.0";
}

static int inet_socket(
    const struct set_listen *l, bool share, bool late, const char *name, struct meta1_err *err)
{
	const char *address = listen_address(l);
	sa_family_t family = l->type == SOCK_INET6 ? AF_INET6 : AF_INET;
	struct sockaddr_storage ss;
	socklen_t len;
	int fd;

	if (conn_addr(address, (uint16_t)l->port, &ss, &len) < 0 || ss.ss_family != family)
		return err_set(err, "address = %s: expected an %s address", address,
		    family == AF_INET6 ? "IPv6" : "IPv4");
	fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(err, "socket: %s", strerror(errno));
	/* An accepted socket takes TCP_NODELAY from its listener. */
	if (set_option(fd, SOL_SOCKET, SO_REUSEADDR) < 0 ||
	    set_option(fd, IPPROTO_TCP, TCP_NODELAY) < 0 ||
	    (share && set_option(fd, SOL_SOCKET, SO_REUSEPORT) < 0) ||
	    (family == AF_INET6 && set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY) < 0) ||
	    bind(fd, (struct sockaddr *)&ss, len) < 0 || (!late && listen(fd, BACKLOG) < 0)) {
		int e = errno;

		close(fd);
		return err_set(err, "cannot listen on %s: %s%s", name, strerror(e),
		    e == EADDRINUSE ? "; see who does with: ss -ltnp"
		    : e == EACCES   ? "; ports below 1024 need root"
				    : "");
	}
	return fd;
}

/* What lies in the way: a socket nobody answers on is of an earlier life. */
static int make_way(const char *path, const struct sockaddr_un *sun, struct meta1_err *err)
{
	struct stat st;
	int fd, rc;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : err_set(err, "%s: %s", path, strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, "%s: found a file that is no socket; remove it", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(err, "%s: no socket to try it with: %s", path, strerror(errno));
	rc = connect(fd, (const struct sockaddr *)sun, sizeof(*sun));
	if (rc == 0 || errno == EAGAIN) {
		close(fd);
		return err_set(err, "%s: another process listens on this socket", path);
	}
	close(fd);
	if (unlink(path) < 0)
		return err_set(err, "%s: %s", path, strerror(errno));
	return 0;
}

/* Whoever owns the folder could have put something else there meanwhile: what is given is looked at
 * by the very descriptor, and is a socket of ours without another name. */
int mcp_listen_chown(const char *path, uid_t uid, gid_t gid)
{
	int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC), rc = -1;
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) == 0) {
		errno = EPERM;
		if (S_ISSOCK(st.st_mode) && st.st_uid == geteuid() && st.st_nlink == 1)
			rc = fchownat(fd, "", uid, gid, AT_EMPTY_PATH);
	}
	close(fd);
	return rc;
}

/* uid, gid: (uid_t)-1 leaves it. The mode comes from the umask, never from a chmod(). */
static int unix_socket(const char *path, mode_t mode, uid_t uid, gid_t gid, struct meta1_err *err)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	mode_t mask;
	int fd, rc;

	if (str_copy(sun.sun_path, sizeof(sun.sun_path), path) != strlen(path))
		return err_set(err, "%s: longer than the %zu bytes of a socket's name", path,
		    sizeof(sun.sun_path) - 1);
	if (make_way(path, &sun, err) < 0)
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(err, "socket: %s", strerror(errno));
	mask = umask(0777 & ~mode);
	rc = bind(fd, (struct sockaddr *)&sun, sizeof(sun));
	umask(mask);
	if (rc < 0 ||
	    ((uid != (uid_t)-1 || gid != (gid_t)-1) && mcp_listen_chown(path, uid, gid) < 0) ||
	    listen(fd, BACKLOG) < 0) {
		err_set(err, "%s: %s", path, strerror(errno));
		close(fd);
		if (rc == 0)
			unlink(path);
		return -1;
	}
	return fd;
}

void mcp_listener_path(const struct mcp *m, const struct set_listen *l, char *out, size_t size)
{
	const char *path = l->path ? l->path : "";

	snprintf(out, size, "%s%s%s", *path == '/' ? "" : m->set->queue_directory,
	    *path == '/' ? "" : "/", path);
}

static int listen_unix(
    const struct mcp *m, const struct set_listen *l, char **path, struct meta1_err *err)
{
	struct passwd *pw = l->user ? getpwnam(l->user) : NULL;
	struct group *gr = l->group ? getgrnam(l->group) : NULL;
	mode_t mask = l->umask ? (mode_t)strtoul(l->umask, NULL, 8) : 0;
	char full[1024];
	int fd;

	if (!l->path)
		return err_set(err, "listen_socket: type = unix needs path = …;");
	if (l->user && !pw)
		return err_set(err, "user = %s: this machine has no such account", l->user);
	if (l->group && !gr)
		return err_set(err, "group = %s: this machine has no such group", l->group);
	mcp_listener_path(m, l, full, sizeof(full));
	fd = unix_socket(
	    full, 0666 & ~mask, pw ? pw->pw_uid : (uid_t)-1, gr ? gr->gr_gid : (gid_t)-1, err);
	if (fd >= 0)
		*path = base_strdup(full);
	return fd;
}

/* One that the service manager has opened at this address; all processes share it. -1: none. */
static int given(struct mcp *m, const struct set_listen *l)
{
	struct sockaddr_storage ss = {.ss_family = AF_UNIX};
	char *path = ((struct sockaddr_un *)&ss)->sun_path, full[1024];
	socklen_t len;

	if (l->type == SOCK_UNIX) {
		mcp_listener_path(m, l, full, sizeof(full));
		str_copy(path, sizeof(((struct sockaddr_un *)&ss)->sun_path), full);
	} else if (conn_addr(listen_address(l), (uint16_t)l->port, &ss, &len) < 0) {
		return -1;
	}
	return mcp_service_take(&m->service, (const struct sockaddr *)&ss);
}

void mcp_listener_name(const struct set_listen *l, struct mcp_listen *out)
{
	if (l->type == SOCK_UNIX)
		snprintf(out->name, sizeof(out->name), "unix:%s", l->path ? l->path : "");
	else
		snprintf(out->name, sizeof(out->name),
		    l->type == SOCK_INET6 ? "[%s]:%lld" : "%s:%lld", listen_address(l),
		    (long long)l->port);
	snprintf(out->rights, sizeof(out->rights), "%.8s %.64s %.64s", l->umask ? l->umask : "",
	    l->user ? l->user : "", l->group ? l->group : "");
}

int mcp_listener_open(struct mcp *m, const struct mcp_section *sec, const struct set_listen *l,
    bool late, struct mcp_listen *out, struct meta1_err *err)
{
	unsigned n = l->type == SOCK_UNIX ? 1 : sec->nafter;
	int fd = given(m, l);

	mcp_listener_name(l, out);
	out->fd = base_alloc(sizeof(*out->fd) * n);
	out->given = fd >= 0;
	out->late = late && fd < 0;
	if (fd >= 0)
		out->fd[out->nfd++] = fd;
	for (unsigned i = 0; fd < 0 && i < n; i++) {
		int one = l->type == SOCK_UNIX
			      ? listen_unix(m, l, &out->path, err)
			      : inet_socket(l, late || n > 1, late, out->name, err);

		if (one < 0)
			return -1;
		out->fd[out->nfd++] = one;
	}
	return 0;
}

void mcp_listener_listen(struct mcp_listen *l)
{
	for (unsigned k = 0; k < l->nfd && l->late; k++)
		if (listen(l->fd[k], BACKLOG) < 0)
			log_event(LOG_L_ERR, "mcp.listen", "socket=%s error=%s", l->name,
			    strerror(errno));
	l->late = false;
}

void mcp_listener_close(struct mcp *m, struct mcp_listen *l)
{
	for (unsigned k = 0; k < l->nfd; k++)
		if (l->given)
			mcp_service_back(&m->service, l->fd[k]);
		else
			close(l->fd[k]);
	if (l->path || l->beside)
		unlink(l->beside ? l->beside : l->path);
	free(l->beside);
	free(l->path);
	free(l->fd);
	*l = (struct mcp_listen){.nfd = 0};
}

static void ctl_path(struct mcp *m, const struct mcp_child *c, char *out, size_t size)
{
	snprintf(out, size, "%s/%s.ctl", m->set->run_directory, c->name);
}

int mcp_listen_control(
    struct mcp *m, const char *path, const struct mcp_account *a, struct meta1_err *err)
{
	struct group *gr = m->root ? getgrnam(CONTROL_GROUP) : NULL;
	bool change = a && a->change;

	return unix_socket(path, gr ? 0660 : 0600, change ? a->uid : (uid_t)-1,
	    gr	     ? gr->gr_gid
	    : change ? a->gid
		     : (gid_t)-1,
	    err);
}

/* Owner the role: members of the group may look and flush. */
int mcp_listen_child(struct mcp_child *c, struct meta1_err *err)
{
	const struct set_role *s = c->sec->after ? c->sec->after : c->sec->set;
	struct mcp_account a;
	char path[512];

	if (mcp_account(s, c->m->root, &a, err) < 0)
		return -1;
	ctl_path(c->m, c, path, sizeof(path));
	c->ctl_fd = mcp_listen_control(c->m, path, &a, err);
	return c->ctl_fd < 0 ? -1 : 0;
}

void mcp_listen_child_close(struct mcp_child *c)
{
	char path[512];

	if (c->ctl_fd < 0)
		return;
	close(c->ctl_fd);
	c->ctl_fd = -1;
	ctl_path(c->m, c, path, sizeof(path));
	unlink(path);
}

static void ipc_path(struct mcp *m, const struct mcp_section *sec, char *out, size_t size)
{
	snprintf(out, size, "%s/%s.ipc", m->set->run_directory, sec->wire->role);
}

int mcp_listen_ipc(struct mcp *m, struct mcp_section *sec, struct meta1_err *err)
{
	char path[512];

	ipc_path(m, sec, path, sizeof(path));
	sec->ipc_fd = unix_socket(path, 0666, (uid_t)-1, (gid_t)-1, err);
	return sec->ipc_fd < 0 ? -1 : 0;
}

void mcp_listen_ipc_close(struct mcp *m, struct mcp_section *sec)
{
	char path[512];

	if (sec->ipc_fd < 0)
		return;
	close(sec->ipc_fd);
	sec->ipc_fd = -1;
	ipc_path(m, sec, path, sizeof(path));
	unlink(path);
}
