/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * retire.c -- processes that a reload has left no place for: a section is gone, or has fewer.
 *
 * Comes from: sections.c at a commit. Goes to: child.c, which tells them. They take nothing new;
 * smtps lets sessions that are at a mail go on for MCP_RETIRE_MS (core/role_end.c). One that
 * another talks to waits for that one's end. A process of the same name that a later reload adds
 * starts after it, and so makes it hurry; so does another account for its folders (hand.c). Owns:
 * the processes, until they have ended.
 */
#include "mcp.h"

#include <stdlib.h>

void mcp_retire(struct mcp_child *c, const char *why)
{
	struct mcp_section *own = base_alloc(sizeof(*own));

	*own = (struct mcp_section){.wire = c->sec->wire, .ipc_fd = -1};
	c->sec = own;
	c->retired = true;
	c->told = c->renewed = c->awaited = false;
	if (!mcp_child_running(c)) {
		loop_unwatch(&c->timer); /* it would start again */
		c->state = MCP_DOWN;
	}
	LIST_INSERT_HEAD(&c->m->retired, c, link);
	log_event(LOG_L_INFO, "mcp.retire", "role=%s pid=%ld why=%s", c->name, (long)c->pid, why);
}

/* Of those that retire too, one that still runs connects to it. */
static bool is_needed(const struct mcp_child *c)
{
	const struct mcp_child *o;

	LIST_FOREACH(o, &c->m->retired, link)
	if (mcp_child_running(o) && strstr(o->sec->wire->talks, c->sec->wire->role))
		return true;
	return false;
}

static void forget(struct mcp_child *c)
{
	LIST_REMOVE(c, link);
	free(c->sec);
	mcp_child_free(&c);
}

void mcp_retire_close(struct mcp *m)
{
	while (!LIST_EMPTY(&m->retired))
		forget(LIST_FIRST(&m->retired));
}

void mcp_retire_look(struct mcp *m)
{
	struct mcp_child *c, *next;

	for (c = LIST_FIRST(&m->retired); c; c = next) {
		next = LIST_NEXT(c, link);
		if (!mcp_child_running(c))
			forget(c);
		else if (c->state != MCP_STOPPING && !is_needed(c))
			mcp_child_stop(c, c->hurry ? MCP_DRAIN_MS : MCP_RETIRE_MS, MCP_STOP_MS,
			    "it has no section any more");
	}
}

bool mcp_retire_has(const struct mcp *m, const char *name)
{
	const struct mcp_child *c;

	LIST_FOREACH(c, &m->retired, link)
	if (strcmp(c->name, name) == 0)
		return true;
	return false;
}

void mcp_retire_hurry(struct mcp *m, const char *name)
{
	struct mcp_child *c;

	LIST_FOREACH(c, &m->retired, link)
	if (strcmp(c->name, name) == 0)
		mcp_child_stop(c, MCP_DRAIN_MS, MCP_STOP_MS, "another one takes its place");
}

/* Who is not told yet is needed by others, which hurry too, and hears it after their end. */
void mcp_retire_hurry_role(struct mcp *m, const char *role)
{
	struct mcp_child *c;

	LIST_FOREACH(c, &m->retired, link)
	{
		const struct mcp_wire *w = c->sec->wire;

		if (c->hurry || (strcmp(w->role, role) != 0 && !strstr(w->talks, role)))
			continue;
		c->hurry = true;
		if (c->state == MCP_STOPPING)
			mcp_child_stop(c, MCP_DRAIN_MS, MCP_STOP_MS, "its folders change hands");
	}
}

bool mcp_retire_stop(struct mcp *m, int64_t within_ms, bool again)
{
	struct mcp_child *c;
	bool some = false;

	LIST_FOREACH(c, &m->retired, link)
	{
		if (again || c->state != MCP_STOPPING || c->drains)
			mcp_child_stop(c, 0, within_ms, "mcp stops");
		some = some || mcp_child_running(c);
	}
	return some;
}
