/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pass.c -- MeTA1's way to hand over listeners: the role listens on pass_fd_socket, mcp
 * connects when the socket appears and sends the descriptors.
 *
 * Comes from: child.c after a start. Goes to: core/role_mcp.c. The peer must be the very
 * process that was started, else another one in its folder could have the listeners.
 * On failure: tries again until the role is ready or ends.
 */
#include "mcp.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define RETRY_MS 50

static int try_connect(const struct mcp_child *c)
{
	const char *name = c->sec->set->pass_fd_socket;
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	char path[1024];
	struct ucred who;
	socklen_t len = sizeof(who);
	int fd;

	if (name[0] == '/')
		snprintf(path, sizeof(path), "%s", name);
	else
		snprintf(path, sizeof(path), "%s/%s", c->m->set->queue_directory, name);
	if (str_copy(sun.sun_path, sizeof(sun.sun_path), path) != strlen(path))
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0 &&
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 && who.pid == c->pid)
		return fd;
	close(fd);
	return -1;
}

static void try_pass(int fd, short what, void *arg)
{
	struct mcp_child *c = arg;
	int s = try_connect(c);

	(void)fd, (void)what;
	if (s < 0) {
		loop_rearm(c->pass_timer, RETRY_MS);
		return;
	}
	loop_unwatch(&c->pass_timer);
	c->pass = chan_adopt(&c->m->side, c->sec->wire->who, s);
	for (unsigned i = 0; i < c->sec->nlisten; i++) {
		const struct p_fd_pass m = {
		    .kind = buf_str("listen"), .name = buf_str(c->sec->listen[i].name)};

		chan_send_fd(c->pass, P_FD_PASS, &m, c->sec->listen[i].fd[0]);
	}
}

void mcp_pass_start(struct mcp_child *c)
{
	c->pass_timer = loop_timer(c->m->loop, RETRY_MS, try_pass, c);
}

void mcp_pass_stop(struct mcp_child *c)
{
	loop_unwatch(&c->pass_timer);
	if (c->pass)
		chan_close(&c->pass);
}
