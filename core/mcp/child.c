/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * child.c -- one process of a role: start, ready, ping, stop, end, and when it is started again.
 *
 * Comes from: order.c, which says when; mcp.c, which reaps. Goes to: exec.c, pass.c, and over
 * the channel to core/role_mcp.c. Owns: pid, channel and timers of the process; its sockets
 * belong to listen.c and stay. On failure: back-off from 1 s to 60 s, so that a role that
 * dies in a loop costs nothing; status 78 waits for a better configuration, unless this
 * one worked before: then the cause is outside of it and may pass (a full disk).
 */
#include "mcp.h"

#include "lib/clients.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define KILL_AFTER_MS 2000 /* beyond what a stop allowed */

struct mcp_child *mcp_child_new(
    struct mcp *m, struct mcp_section *sec, const struct set_role *s, unsigned nth, uint32_t index)
{
	struct mcp_child *c = base_alloc(sizeof(*c));

	*c = (struct mcp_child){.m = m, .sec = sec, .nth = nth, .index = index, .ctl_fd = -1};
	mcp_child_name(s, nth, c->name, sizeof(c->name));
	return c;
}

void mcp_child_free(struct mcp_child **cp)
{
	struct mcp_child *c = *cp;

	*cp = NULL;
	loop_unwatch(&c->ping);
	loop_unwatch(&c->timer);
	mcp_listen_child_close(c);
	free(c);
}

bool mcp_child_running(const struct mcp_child *c)
{
	return c->state == MCP_STARTING || c->state == MCP_UP || c->state == MCP_STOPPING;
}

int64_t mcp_child_backoff(int64_t last, int64_t lived)
{
	if (last == 0 || lived >= MCP_LONG_LIFE)
		return MCP_BACKOFF_MS;
	return last * 2 > MCP_BACKOFF_MAX ? MCP_BACKOFF_MAX : last * 2;
}

/* ---- back-off ---- */

static void waited(int fd, short what, void *arg)
{
	struct mcp_child *c = arg;

	(void)fd, (void)what;
	loop_unwatch(&c->timer);
	c->state = MCP_DOWN;
	mcp_order_run(c->m);
}

static void wait_and_restart(struct mcp_child *c, int64_t lived)
{
	c->backoff = mcp_child_backoff(c->backoff, lived);
	c->state = MCP_WAITING;
	loop_unwatch(&c->timer);
	if (c->m->backoff_max && c->backoff > c->m->backoff_max)
		c->backoff = c->m->backoff_max;
	c->timer = loop_timer(c->m->loop, c->backoff, waited, c);
}

/* ---- ping ---- */

static void ping(int fd, short what, void *arg)
{
	struct mcp_child *c = arg;
	unsigned limit = c->state == MCP_STARTING ? MCP_SILENT_INIT : MCP_SILENT;
	const struct p_mcp_ping m = {.serial = ++c->serial};

	(void)fd, (void)what;
	loop_rearm(c->ping, c->m->ping_ms);
	if (c->unanswered > limit) {
		kill(c->pid, SIGKILL);
		return;
	}
	if (c->unanswered == limit) {
		log_event(LOG_L_ERR, "mcp.silent", "role=%s pid=%ld unanswered_pings=%u action=%s",
		    c->name, (long)c->pid, c->unanswered, "abort");
		kill(c->pid, SIGABRT);
	}
	c->unanswered++;
	chan_send(c->chan, P_MCP_PING, &m);
}

static void on_pong(struct chan *chan, uint32_t req, const void *msg, void *arg)
{
	struct mcp_child *c = *chan_slot(chan);

	(void)req, (void)msg, (void)arg;
	if (c)
		c->unanswered = 0;
}

/* ---- start ---- */

static void give(struct mcp_child *c, const char *kind, const char *name, int fd)
{
	const struct p_fd_pass m = {.kind = buf_str(kind), .name = buf_str(name)};

	chan_send_fd(c->chan, P_FD_PASS, &m, fd);
}

static void tell(struct mcp_child *c)
{
	struct mcp_section *sec = c->sec;
	bool pass = sec->set->pass_fd_socket && sec->nchild == 1 && sec->nlisten > 0;
	const struct p_mcp_setup setup = {
	    .index = c->index,
	    .processes = sec->nchild,
	    .section = buf_str(sec->set->name ? sec->set->name : ""),
	    .run = buf_str(c->m->set->run_directory),
	};
	const struct p_mcp_go go = {0};

	chan_send(c->chan, P_MCP_SETUP, &setup);
	if (sec->ipc_fd >= 0)
		give(c, "ipc", sec->wire->ipc, sec->ipc_fd);
	if (c->ctl_fd >= 0)
		give(c, "ctl", c->name, c->ctl_fd);
	if (sec->wire->who == SMTPS) {
		give(c, "clients", "clients", c->m->clients_fd);
		give(c, "tally", "tally", c->m->tally_fd);
	}
	for (unsigned i = 0; i < sec->nlisten && !pass; i++) {
		struct mcp_listen *l = &sec->listen[i];

		give(c, "listen", l->name, l->fd[c->nth % l->nfd]);
	}
	mcp_workers_start(c, c->m->set, sec->set);
	chan_send(c->chan, P_MCP_GO, &go);
	if (pass)
		mcp_pass_start(c);
}

static int spawn(struct mcp_child *c, struct meta1_err *err)
{
	struct mcp_exec x = {
	    .set = c->sec->set, .chan_fd = -1, .out_fd = -1, .conf_fd = conf_pack(c->m->set->conf)};
	int sp[2];

	if (c->ctl_fd < 0 && mcp_listen_child(c, err) < 0)
		return -1;
	x.lock_fd = mcp_lock_child(c->m, c->name, err);
	if (x.lock_fd < 0)
		return -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sp) < 0) {
		close(x.lock_fd);
		return err_set(err, "socketpair: %s", strerror(errno));
	}
	x.chan_fd = sp[1];
	c->pid = mcp_exec(c->m, &x, err);
	close(sp[1]);
	if (c->pid > 0)
		mcp_lock_pid(x.lock_fd, c->pid);
	close(x.lock_fd);
	if (c->pid < 0) {
		c->pid = 0;
		close(sp[0]);
		return -1;
	}
	c->chan = chan_adopt(&c->m->side, c->sec->wire->who, sp[0]);
	*chan_slot(c->chan) = c;
	return 0;
}

void mcp_child_start(struct mcp_child *c)
{
	struct meta1_err err = {""};

	loop_unwatch(&c->timer);
	c->started = loop_now(c->m->loop);
	c->ready = false;
	c->renewed = c->agreed = false; /* this one was asked nothing */
	if (spawn(c, &err) < 0) {
		wait_and_restart(c, 0);
		log_event(LOG_L_ERR, "mcp.start", "role=%s error=%s restart_in_s=%lld", c->name,
		    err.text, (long long)c->backoff / 1000);
		return;
	}
	c->state = MCP_STARTING;
	c->unanswered = 0;
	c->ping = loop_timer(c->m->loop, c->m->ping_ms, ping, c);
	log_event(
	    LOG_L_INFO, "mcp.start", "role=%s pid=%ld index=%u", c->name, (long)c->pid, c->index);
	tell(c);
}

static void on_ready(struct chan *chan, uint32_t req, const void *msg, void *arg)
{
	struct mcp_child *c = *chan_slot(chan);

	(void)req, (void)msg, (void)arg;
	if (!c || c->state != MCP_STARTING)
		return;
	c->state = MCP_UP;
	c->ready = c->proved = true;
	mcp_pass_stop(c);
	log_event(LOG_L_INFO, "mcp.ready", "role=%s pid=%ld ms=%lld", c->name, (long)c->pid,
	    (long long)(loop_now(c->m->loop) - c->started));
	mcp_order_run(c->m);
}

static void on_reload_done(struct chan *chan, uint32_t req, const void *msg, void *arg)
{
	struct mcp_child *c = *chan_slot(chan);

	(void)req, (void)arg;
	if (c)
		mcp_reload_done(c, msg);
}

static void on_worker_kill(struct chan *chan, uint32_t req, const void *msg, void *arg)
{
	struct mcp_child *c = *chan_slot(chan);

	(void)req, (void)arg;
	if (c)
		mcp_worker_kill(c, (pid_t)((const struct p_worker_kill *)msg)->pid);
}

const struct chan_handler mcp_child_handlers[] = {
    {P_MCP_READY, on_ready},
    {P_MCP_PONG, on_pong},
    {P_RELOAD_DONE, on_reload_done},
    {P_WORKER_KILL, on_worker_kill},
    {P_NONE, NULL},
};

/* Who ends may have much to say until then. Before it is ready it may not have its handler yet. */
static void reopen(const struct mcp_child *c)
{
	if (c->ready && mcp_child_running(c))
		kill(c->pid, SIGUSR1);
}

void mcp_child_reopen_all(const struct mcp *m)
{
	const struct mcp_child *o;

	MCP_EACH_CHILD(m, c)
	reopen(c);
	LIST_FOREACH(o, &m->retired, link)
	reopen(o);
}

/* ---- stop and end ---- */

static void patience_over(int fd, short what, void *arg)
{
	struct mcp_child *c = arg;

	(void)fd, (void)what;
	log_event(LOG_L_WARN, "mcp.stop", "role=%s pid=%ld action=%s", c->name, (long)c->pid,
	    "kill, its time is over");
	kill(c->pid, SIGKILL);
}

void mcp_child_stop(struct mcp_child *c, int64_t drain_ms, int64_t within_ms, const char *why)
{
	const struct p_mcp_stop m = {.within = (uint64_t)within_ms, .drain = (uint64_t)drain_ms};

	if (!mcp_child_running(c))
		return;
	if (c->state != MCP_STOPPING || c->drains)
		log_event(
		    LOG_L_INFO, "mcp.stop", "role=%s pid=%ld why=%s", c->name, (long)c->pid, why);
	c->state = MCP_STOPPING;
	c->drains = drain_ms > 0;
	mcp_pass_stop(c);
	chan_send(c->chan, P_MCP_STOP, &m);
	loop_unwatch(&c->timer);
	c->timer = loop_timer(c->m->loop, drain_ms + within_ms + KILL_AFTER_MS, patience_over, c);
}

void mcp_child_ended(struct mcp_child *c, int status)
{
	struct mcp *m = c->m;
	int64_t lived = loop_now(m->loop) - c->started;
	bool planned = c->state == MCP_STOPPING;
	char words[64];

	mcp_status_words(status, words, sizeof(words));
	if (c->sec->wire->who == SMTPS)
		clients_forget(m->clients_fd, c->index);
	mcp_pass_stop(c);
	mcp_workers_end(c);
	chan_close(&c->chan);
	loop_unwatch(&c->ping);
	loop_unwatch(&c->timer);
	if (planned || c->retired) {
		log_event(planned ? LOG_L_INFO : LOG_L_ERR, "mcp.ended",
		    "role=%s pid=%ld status=%s", c->name, (long)c->pid, words);
		c->state = MCP_DOWN;
		c->backoff = 0;
	} else if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_CONFIG && !c->proved) {
		log_event(LOG_L_ERR, "mcp.ended", "role=%s pid=%ld status=%s hint=%s", c->name,
		    (long)c->pid, words, "not restarted before a reload: mend it, then SIGHUP");
		c->state = MCP_OFF;
	} else {
		wait_and_restart(c, lived);
		log_event(LOG_L_ERR, "mcp.ended", "role=%s pid=%ld status=%s restart_in_s=%lld",
		    c->name, (long)c->pid, words, (long long)c->backoff / 1000);
		mcp_order_hold(c->sec);
	}
	c->pid = 0;
	mcp_reload_gone(c);
	mcp_order_run(m); /* there, one without a section is freed */
}
