/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * role_workers.c -- worker processes of isolated instances, between mcp, which starts them, and
 * core/mod/iso.c, which speaks with them; and GET /v1/workers, which tells of them.
 *
 * Comes from: role_mcp.c (messages), the control socket. Goes to: core/mod, mcp.
 * Owns nothing: descriptors are handed on.
 */
#include "role_run.h"

#include "ctl/server.h"

#include <stdio.h>

static void name_of(struct meta1_buf b, char *out, size_t size)
{
	snprintf(out, size, "%.*s", (int)b.len, (const char *)b.data);
}

void role_on_worker(struct chan *c, uint32_t req, const void *msg, void *run)
{
	const struct p_worker *m = msg;
	struct role_run *r = run;
	char name[192];
	int fd = chan_take_fd(c);

	(void)req;
	name_of(m->instance, name, sizeof(name));
	if (fd >= 0)
		mod_worker_came(&r->role->host, name, fd, (uint32_t)m->pid, (uint32_t)m->restarts);
}

void role_on_worker_ended(struct chan *c, uint32_t req, const void *msg, void *run)
{
	const struct p_worker_ended *m = msg;
	struct role_run *r = run;
	char name[192], end[96];

	(void)c, (void)req;
	name_of(m->instance, name, sizeof(name));
	name_of(m->end, end, sizeof(end));
	mod_worker_ended(&r->role->host, name, (uint32_t)m->pid, end);
}

void role_worker_kill(void *run, uint32_t pid)
{
	const struct p_worker_kill m = {.pid = pid};
	struct role_run *r = run;

	if (r->mcp)
		chan_send(r->mcp, P_WORKER_KILL, &m);
}

/* ---- GET /v1/workers ---- */

static void add(void *arg, const struct mod_worker_state *s)
{
	json_array_append_new(arg,
	    json_pack("{s:s, s:s, s:I, s:I, s:I, s:s}", "instance", s->instance, "state",
		s->up ? "up" : "down", "pid", (json_int_t)s->pid, "restarts",
		(json_int_t)s->restarts, "questions", (json_int_t)s->open, "last_end", s->end));
}

static json_t *workers(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	struct role *role = arg;
	json_t *list = json_array();

	(void)rest, (void)query, (void)status, (void)err;
	mod_workers(&role->host, add, list);
	return json_pack("{s:o}", "workers", list);
}

static const struct ctl_request requests[] = {
    {"GET", "/v1/workers", CTL_READ, workers,
	"Isolated instances of this process: state, pid and restarts of each worker, how the last "
	"one ended."},
};

void role_workers_control(struct role *role)
{
	ctl_add(role->ctl, requests, ARRAY_LEN(requests), role);
}
