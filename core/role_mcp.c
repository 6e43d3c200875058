/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * role_mcp.c -- what mcp says to a role, and what the role does about it.
 *
 * Comes from: core/mcp/child.c (setup, descriptors, go, ping, stop), core/mcp/reload.c (the two
 * steps), core/mcp/pass.c (listeners over pass_fd_socket). Goes to: role.c.
 * Order of a start: MCP_SETUP, FD_PASS for each descriptor (role_fd.c), MCP_GO; with pass_fd_socket
 * the SMTP listeners come over that socket after MCP_GO.
 * Owns: the channel, the pass socket, settings between the steps of a reload.
 * On failure: the channel's end means that mcp is gone: no new work, end within 10 s.
 */
#include "role_run.h"

#include "ctl/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { STEP_PREPARE = 1, STEP_COMMIT = 2, STEP_ABORT = 3 };
enum { DONE_READY, DONE_REFUSED, DONE_RESTART };

static void copy(char *dst, size_t size, struct meta1_buf b)
{
	size_t n = b.len < size ? b.len : size - 1;

	memcpy(dst, b.data ? b.data : "", n);
	dst[n] = '\0';
}

/* ---- descriptors over pass_fd_socket ---- */

static void pass_close(struct role_run *r)
{
	loop_unwatch(&r->pass_watch);
	if (r->pass)
		chan_close(&r->pass);
	if (r->pass_fd >= 0) {
		close(r->pass_fd);
		unlink(r->pass_path);
	}
	r->pass_fd = -1;
	free(r->pass_path);
	r->pass_path = NULL;
}

static void pass_accept(int fd, short what, void *arg)
{
	struct role_run *r = arg;
	struct ucred who;
	socklen_t len = sizeof(who);
	int c = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)what;
	if (c < 0)
		return;
	if (r->pass || getsockopt(c, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0 ||
	    (who.uid != 0 && who.uid != getuid())) {
		log_event(LOG_L_WARN, "role.pass", "error=%s", "refused a peer that is not mcp");
		close(c);
		return;
	}
	r->pass = chan_adopt(&r->mcp_side, MCP, c);
}

/* A file of an earlier life may lie there; the folder is ours alone. */
static int pass_open(struct role_run *r, struct meta1_err *err)
{
	const char *name = r->role->section->pass_fd_socket;
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	char path[1024];
	mode_t mask;
	int rc;

	if (name[0] == '/')
		snprintf(path, sizeof(path), "%s", name);
	else
		snprintf(path, sizeof(path), "%s/%s", r->role->set->queue_directory, name);
	if (str_copy(sun.sun_path, sizeof(sun.sun_path), path) != strlen(path))
		return err_set(err,
		    "pass_fd_socket = %s: longer than the %zu bytes of a socket's name", path,
		    sizeof(sun.sun_path) - 1);
	r->pass_path = base_strdup(path);
	r->pass_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (r->pass_fd < 0)
		return err_set(err, "socket: %s", strerror(errno));
	unlink(path);
	mask = umask(0177);
	rc = bind(r->pass_fd, (struct sockaddr *)&sun, sizeof(sun));
	umask(mask);
	if (rc < 0 || listen(r->pass_fd, 1) < 0)
		return err_set(err, "pass_fd_socket = %s: %s", path, strerror(errno));
	r->pass_watch = loop_fd(r->role->loop, r->pass_fd, EV_READ, pass_accept, r);
	return 0;
}

/* ---- the start ---- */

static void on_setup(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	const struct p_mcp_setup *m = msg;
	struct role_run *r = arg;
	struct role *role = r->role;
	struct meta1_err err = {""};
	char section[65];

	(void)c, (void)req;
	copy(section, sizeof(section), m->section);
	copy(r->run_directory, sizeof(r->run_directory), m->run);
	if (section[0] && !r->section)
		r->section = base_strdup(section);
	role->index = (uint32_t)m->index;
	role->processes = (uint32_t)m->processes;
	role->section = role_section(role->set, role->name, r->section);
	if (!role->section) {
		log_event(LOG_L_ERR, "role.start", "error=%s section=%s file=%s",
		    "the file has no such section", section[0] ? section : role->name, r->file);
		role_end(r, EXIT_CONFIG);
		return;
	}
	if (role_log_open(r, &err) < 0) {
		log_event(LOG_L_ERR, "role.log", "error=%s", err.text);
		role_end(r, EXIT_CONFIG);
	}
}

static bool by_pass(const struct role_run *r)
{
	const struct set_role *s = r->role->section;

	return s->pass_fd_socket && r->role->processes == 1 && s->nlisten > 0;
}

static void on_fd_pass(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	const struct p_fd_pass *m = msg;
	struct role_run *r = arg;
	struct role *role = r->role;
	int fd = chan_take_fd(c);

	(void)req;
	if (fd < 0)
		return;
	if (buf_eq(m->kind, buf_str("ipc")) && r->ipc_fd < 0) {
		r->ipc_fd = fd;
	} else if (buf_eq(m->kind, buf_str("ctl")) && r->ctl_fd < 0) {
		r->ctl_fd = fd;
	} else if (buf_eq(m->kind, buf_str("conf")) && r->conf_fd < 0) {
		r->conf_fd = fd;
	} else {
		role_fd_take(r, m, fd);
	}
	if (c != r->mcp && role_fd_listeners(role) == role->section->nlisten && !r->begun) {
		pass_close(r);
		role_begin(r);
	}
}

static void on_go(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	struct role_run *r = arg;
	struct meta1_err err = {""};

	(void)c, (void)req, (void)msg;
	if (!r->role->section || r->begun || r->status)
		return;
	if (!by_pass(r)) {
		role_begin(r);
	} else if (pass_open(r, &err) < 0) {
		log_event(LOG_L_ERR, "role.start", "error=%s", err.text);
		role_end(r, EXIT_CONFIG);
	}
}

void role_mcp_ready(struct role_run *r)
{
	const struct p_mcp_ready m = {.text = buf_str("")};

	chan_send(r->mcp, P_MCP_READY, &m);
}

/* ---- ping, stop, the death of mcp ---- */

static void on_ping(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	const struct p_mcp_pong m = {.serial = ((const struct p_mcp_ping *)msg)->serial};

	(void)req, (void)arg;
	chan_send(c, P_MCP_PONG, &m);
}

static void on_stop(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	const struct p_mcp_stop *m = msg;

	(void)c, (void)req;
	role_drain(arg, (int64_t)m->drain, (int64_t)m->within, "mcp says so");
}

static void mcp_down(struct chan *c, void *arg)
{
	struct role_run *r = arg;

	if (c == r->mcp)
		role_stop(r, ROLE_ORPHAN_MS, "mcp is gone");
}

/* ---- reload ---- */

static void first_error(struct settings *set, char *out, size_t size)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	if (!f) {
		str_copy(out, size, "the configuration is bad");
		return;
	}
	conf_report(set->conf, f);
	fclose(f);
	text[strcspn(text, "\n")] = '\0';
	str_copy(out, size, text);
	free(text);
}

static int prepare(struct role_run *r, struct meta1_err *err)
{
	struct role *role = r->role;
	int rc = 1;

	if (!r->going || role->stopping || role->draining) {
		err_set(err, "it is %s", r->going ? "stopping" : "still starting");
		return DONE_RESTART;
	}
	r->next = role_settings(r, OPT_START);
	if (conf_errors(r->next->conf)) {
		first_error(r->next, err->text, sizeof(err->text));
		rc = -1;
	} else if (!role_section(r->next, role->name, r->section)) {
		err_set(err, "its section is gone");
		rc = -1;
	} else if (role->reload_prepare) {
		role->host.life++;
		role_host_fill(role, r->next);
		rc = role->reload_prepare(role, r->next, err);
		role_host_fill(role, role->set);
	}
	if (rc != 0)
		settings_free(&r->next);
	return rc == 0 ? DONE_READY : rc < 0 ? DONE_REFUSED : DONE_RESTART;
}

static void commit(struct role_run *r)
{
	struct role *role = r->role;
	struct settings *old = role->set;
	struct meta1_err err = {""};

	role->set = r->next;
	r->next = NULL;
	role->section = role_section(role->set, role->name, r->section);
	role_host_fill(role, role->set);
	if (role_log_open(r, &err) < 0)
		log_event(LOG_L_WARN, "role.log", "error=%s", err.text);
	if (role->ctl)
		ctl_settings(role->ctl, role->set);
	role_fd_turn(r);
	role_ipc_users(r);
	role->reload_finish(role, true);
	settings_free(&old); /* what is still in use of them has references of its own */
	log_event(LOG_L_INFO, "role.reload", "result=%s", "committed");
}

/* It restarts: listeners that go by this reload are not there for the next process. */
static void leave(struct role_run *r)
{
	struct role *role = r->role;

	if (role_fd_turn(r) && role->listeners_gone && !role->stopping)
		role->listeners_gone(role);
}

/* true: mcp has no answer yet. */
static bool drop(struct role_run *r)
{
	bool owed = mod_await_end(&r->role->host);

	r->role->reload_finish(r->role, false);
	settings_free(&r->next);
	log_event(LOG_L_INFO, "role.reload", "result=%s", "dropped, the old settings go on");
	return owed;
}

static void answer(struct role_run *r, uint64_t step, uint64_t status, const char *text)
{
	const struct p_reload_done m = {
	    .serial = r->serial, .step = step, .status = status, .text = buf_str(text)};

	chan_send(r->mcp, P_RELOAD_DONE, &m);
}

/* While all is there that it has to be dropped beside. */
void role_mcp_stop(struct role_run *r)
{
	if (r->next && drop(r))
		answer(r, STEP_PREPARE, DONE_RESTART, "it is stopping");
}

/* The new instances are open, or one is not. */
static void prepared(void *arg, const struct meta1_err *err)
{
	struct role_run *r = arg;

	if (err)
		drop(r);
	answer(r, STEP_PREPARE, err ? DONE_REFUSED : DONE_READY, err ? err->text : "");
}

static void on_reload(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	const struct p_reload *m = msg;
	struct role_run *r = arg;
	struct meta1_err err = {""};
	int status = DONE_READY;

	(void)c, (void)req;
	r->serial = m->serial;
	if (m->step == STEP_PREPARE && r->next)
		drop(r);
	if (m->step == STEP_PREPARE)
		status = prepare(r, &err);
	else if (m->step == STEP_COMMIT && r->next)
		commit(r);
	else if (m->step == STEP_COMMIT)
		leave(r);
	else if (r->next)
		drop(r);
	if (m->step != STEP_PREPARE) {
		mod_spares_drop(&r->role->host);
		role_fd_turned(r);
		if (r->conf_fd >= 0)
			close(r->conf_fd);
		r->conf_fd = -1;
	}
	if (m->step == STEP_PREPARE && r->next && mod_await(&r->role->host, prepared, r))
		return;
	answer(r, m->step, (uint64_t)status, err.text);
}

/* ---- the channel ---- */

static const struct chan_handler from_mcp[] = {
    {P_MCP_SETUP, on_setup},
    {P_FD_PASS, on_fd_pass},
    {P_MCP_GO, on_go},
    {P_MCP_PING, on_ping},
    {P_MCP_STOP, on_stop},
    {P_RELOAD, on_reload},
    {P_WORKER, role_on_worker},
    {P_WORKER_ENDED, role_on_worker_ended},
    {P_NONE, NULL},
};

int role_mcp_open(struct role_run *r, int fd, struct meta1_err *err)
{
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return err_set(err, "META1_MCP_FD=%d: %s", fd, strerror(errno));
	r->mcp_side = (struct chan_side){
	    .who = r->role->who,
	    .loop = r->role->loop,
	    .version = PACKAGE_VERSION,
	    .store = "",
	    .handlers = from_mcp,
	    .arg = r,
	    .down = mcp_down,
	};
	r->mcp = chan_adopt(&r->mcp_side, MCP, fd);
	return 0;
}

void role_mcp_close(struct role_run *r)
{
	pass_close(r);
	chan_close(&r->mcp);
}
