/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * order.c -- what runs, compared with what should run, and the next step between them.
 *
 * Comes from: every change (a role is ready, ended, its back-off is over, a reload, a signal).
 * Goes to: child.c. Start: last section first, the next one when the one before is ready or
 * 10 s passed. Stop: those without a section, then first section first, the next one when all
 * before have ended.
 * restart_dependencies: those sections stop, and when they have and the back-off is over, all
 * start again in the order of a start (a role may be a client of one that depends on it).
 */
#include "mcp.h"

#include <stdlib.h>
#include <strings.h>

static bool depends(const struct mcp_section *sec, const struct mcp_section *on)
{
	const char *const *d = sec->set->restart_dependencies;

	for (; d && *d && sec != on; d++) {
		if (strcasecmp(*d, on->set->keyword) == 0 ||
		    (on->set->name && strcasecmp(*d, on->set->name) == 0))
			return true;
	}
	return false;
}

static bool any(const struct mcp_section *sec, unsigned states)
{
	for (unsigned i = 0; i < sec->nchild; i++) {
		if (states & 1u << sec->child[i]->state)
			return true;
	}
	return false;
}
#define S(state) (1u << (state))
#define RUNNING	 (S(MCP_STARTING) | S(MCP_UP) | S(MCP_STOPPING))

void mcp_order_hold(struct mcp_section *sec)
{
	struct mcp *m = sec->child[0]->m;

	if (sec->holding || m->stopping)
		return;
	for (unsigned i = 0; i < m->nsection; i++) {
		struct mcp_section *d = m->section[i];

		if (!depends(sec, d))
			continue;
		sec->holding = true;
		for (unsigned k = 0; k < d->nchild; k++)
			mcp_child_stop(d->child[k], 0, MCP_STOP_MS, "restart_dependencies");
	}
}

void mcp_order_rehold(struct mcp *m)
{
	for (unsigned i = 0; i < m->nsection; i++) {
		if (!m->section[i]->holding)
			continue;
		m->section[i]->holding = false;
		mcp_order_hold(m->section[i]);
	}
}

static bool held(const struct mcp *m, const struct mcp_section *sec)
{
	for (unsigned i = 0; i < m->nsection; i++) {
		if (m->section[i]->holding && depends(m->section[i], sec))
			return true;
	}
	return false;
}

/* Dependents are down and the section itself may start: nothing is held any longer. */
static void release(struct mcp *m, struct mcp_section *sec)
{
	if (!sec->holding || any(sec, S(MCP_WAITING) | S(MCP_STOPPING)))
		return;
	for (unsigned i = 0; i < m->nsection; i++) {
		if (depends(sec, m->section[i]) && any(m->section[i], RUNNING))
			return;
	}
	sec->holding = false;
}

/* ---- start_action accept ---- */

static void stop_watching(struct mcp_section *sec)
{
	for (unsigned i = 0; sec->wake && sec->wake[i]; i++)
		loop_unwatch(&sec->wake[i]);
	free(sec->wake);
	sec->wake = NULL;
}

bool mcp_order_awake(struct mcp_section *sec)
{
	bool slept = sec->wake != NULL;

	stop_watching(sec);
	for (unsigned i = 0; i < sec->nchild; i++) {
		if (sec->child[i]->state == MCP_ASLEEP)
			sec->child[i]->state = MCP_DOWN;
	}
	return slept;
}

static void first_connection(int fd, short what, void *arg)
{
	struct mcp_section *sec = arg;

	(void)fd, (void)what;
	mcp_order_awake(sec);
	mcp_order_run(sec->child[0]->m);
}

void mcp_order_asleep(struct mcp_section *sec)
{
	struct mcp *m = sec->child[0]->m;
	bool sleeps =
	    sec->set->start_action == START_ACCEPT || sec->set->start_action == START_NOSTARTACCEPT;
	unsigned n = 0;

	for (unsigned i = 0; i < sec->nlisten; i++)
		n += sec->listen[i].nfd;
	if (n == 0 || !sleeps)
		return;
	sec->wake = base_alloc(sizeof(*sec->wake) * (n + 1));
	n = 0;
	for (unsigned i = 0; i < sec->nlisten; i++) {
		for (unsigned k = 0; k < sec->listen[i].nfd; k++)
			sec->wake[n++] =
			    loop_fd(m->loop, sec->listen[i].fd[k], EV_READ, first_connection, sec);
	}
	for (unsigned i = 0; i < sec->nchild; i++)
		sec->child[i]->state = MCP_ASLEEP;
}

/* ---- start ---- */

static void patience(int fd, short what, void *arg)
{
	(void)fd, (void)what;
	mcp_order_run(arg);
}

/* It would find what is still another's: its place by a name, or its folders. */
static bool waits(struct mcp *m, const struct mcp_child *c)
{
	return mcp_retire_has(m, c->name) || mcp_hand_waits(m, c->sec->wire->role);
}

/* True: the next section may start. */
static bool start_section(struct mcp *m, struct mcp_section *sec)
{
	int64_t now = loop_now(m->loop), left = 0;

	for (unsigned i = 0; i < sec->nchild; i++) {
		struct mcp_child *c = sec->child[i];

		if (c->state == MCP_DOWN && !sec->holding && !held(m, sec) && !waits(m, c))
			mcp_child_start(c);
		if (c->state == MCP_STARTING && c->started + MCP_START_MS - now > left)
			left = c->started + MCP_START_MS - now;
	}
	if (left > 0)
		loop_rearm(m->order_timer, left);
	return left <= 0;
}

static void start_step(struct mcp *m)
{
	mcp_retire_look(m);
	mcp_hand_look(m);
	for (unsigned i = m->nsection; i-- > 0;)
		release(m, m->section[i]);
	for (unsigned i = m->nsection; i-- > 0;) {
		if (!start_section(m, m->section[i]))
			return;
	}
}

/* ---- stop ---- */

void mcp_end(struct mcp *m, int status)
{
	m->status = status;
	loop_stop(m->loop);
}

static void stop_step(struct mcp *m)
{
	if (mcp_retire_stop(m, MCP_STOP_MS, false))
		return;
	for (unsigned i = 0; i < m->nsection; i++) {
		struct mcp_section *sec = m->section[i];

		for (unsigned k = 0; k < sec->nchild; k++) {
			if (sec->child[k]->state != MCP_STOPPING || sec->child[k]->drains)
				mcp_child_stop(sec->child[k], 0, MCP_STOP_MS, "mcp stops");
		}
		if (any(sec, RUNNING))
			return;
	}
	mcp_hand_look(m); /* else the next start finds folders of another account */
	mcp_end(m, m->status);
}

void mcp_order_stop(struct mcp *m, int64_t within_ms)
{
	bool again = m->stopping;

	m->stopping = true;
	if (again)
		mcp_retire_stop(m, within_ms, true);
	for (unsigned i = 0; i < m->nsection; i++) {
		struct mcp_section *sec = m->section[i];

		stop_watching(sec);
		for (unsigned k = 0; k < sec->nchild; k++) {
			struct mcp_child *c = sec->child[k];

			if (again)
				mcp_child_stop(c, 0, within_ms, "mcp stops at once");
			else if (!mcp_child_running(c))
				loop_unwatch(&c->timer);
		}
	}
	stop_step(m);
}

void mcp_order_run(struct mcp *m)
{
	static bool inside; /* a step can end in another change: one at a time, then again */
	static bool more;

	more = true;
	if (inside)
		return;
	inside = true;
	if (!m->order_timer)
		m->order_timer = loop_timer(m->loop, -1, patience, m);
	while (more) {
		more = false;
		if (m->stopping)
			stop_step(m);
		else
			start_step(m);
	}
	inside = false;
	mcp_control_look(m);
}
