/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * role_end.c -- how a role comes to its end: it drains, it stops, it has stopped.
 *
 * Comes from: role_mcp.c (mcp says so, or is gone), role.c (SIGTERM), and the role itself when
 * nothing is left to wait for. Goes to: the role's drain() and stop(). Drain: no new work, but
 * sessions that are at a mail go on; stop: what is past its dot is finished, nothing else.
 * Owns: stop_timer, the end of patience of either. On failure: that time is over, and it ends.
 */
#include "role_run.h"

void role_end(struct role_run *r, int status)
{
	r->status = status;
	loop_stop(r->role->loop);
}

static void stop_over(int fd, short what, void *arg)
{
	struct role_run *r = arg;

	(void)fd, (void)what;
	log_event(LOG_L_WARN, "role.stop", "error=%s", "time is over, work is left unfinished");
	role_end(r, 0);
}

void role_stop(struct role_run *r, int64_t within_ms, const char *why)
{
	struct role *role = r->role;

	if (role->stopping) {
		if (r->stop_timer)
			loop_rearm(r->stop_timer, within_ms);
		return;
	}
	role->stopping = true;
	loop_unwatch(&r->wait_server);
	loop_unwatch(&r->wait_client);
	log_event(LOG_L_INFO, "role.stop", "why=%s within_ms=%lld", why, (long long)within_ms);
	role_mcp_stop(r);
	mod_await_end(&role->host); /* of a start */
	if (!r->begun) {
		role_end(r, 0);
		return;
	}
	loop_unwatch(&r->stop_timer); /* that of the drain */
	r->stop_timer = loop_timer(role->loop, within_ms, stop_over, r);
	if (role->stop)
		role->stop(role);
	else
		role_stopped(role);
}

static void drain_over(int fd, short what, void *arg)
{
	struct role_run *r = arg;

	(void)fd, (void)what;
	role_stop(r, r->within_ms, "the time for sessions to end is over");
}

void role_drain(struct role_run *r, int64_t drain_ms, int64_t within_ms, const char *why)
{
	struct role *role = r->role;

	if (drain_ms <= 0 || role->stopping || !role->drain || !r->going) {
		role_stop(r, within_ms, why);
		return;
	}
	r->within_ms = within_ms;
	loop_unwatch(&r->stop_timer);
	r->stop_timer = loop_timer(role->loop, drain_ms, drain_over, r);
	if (role->draining)
		return;
	role->draining = true;
	log_event(LOG_L_INFO, "role.drain", "why=%s drain_ms=%lld", why, (long long)drain_ms);
	role_mcp_stop(r);
	role->drain(role);
	role_fd_deaf(r);
}

void role_drained(struct role *role)
{
	if (role->draining)
		role_stop(role->run, role->run->within_ms, "all sessions have ended");
}

void role_stopped(struct role *role)
{
	role->run->stopped = true;
	role_end(role->run, 0);
}

void role_again(struct role *role)
{
	if (!role->stopping && role->run->status == 0)
		role_end(role->run, EXIT_TEMP);
}
