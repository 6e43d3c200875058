/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * plan.c -- what a reload does to each process: it goes on, restarts, is started or ends; or why
 * nothing of it can be done while mcp runs. Nothing but two configurations is looked at.
 *
 * Comes from: reload.c with the old and the new settings. Goes to: sections.c, which makes and
 * takes away what the steps say, and to people, who read them. Owns: the list of steps, in the
 * order of the new sections; those whose sections are gone come last. Never fails.
 */
#include "mcp.h"

#include <stdlib.h>

unsigned mcp_section_size(const struct set_role *s)
{
	return mcp_wire(s->keyword)->many && s->processes > 1 ? (unsigned)s->processes : 1;
}

bool mcp_has_role(const struct settings *set, const char *keyword)
{
	for (unsigned i = 0; i < set->nrole; i++)
		if (strcmp(set->role[i]->keyword, keyword) == 0)
			return true;
	return false;
}

bool mcp_section_same(const struct set_role *a, const struct set_role *b)
{
	return strcmp(a->keyword, b->keyword) == 0 && !a->name == !b->name &&
	       (!a->name || strcmp(a->name, b->name) == 0);
}

static const struct set_role *find(const struct settings *set, const struct set_role *s)
{
	for (unsigned i = 0; i < set->nrole; i++)
		if (mcp_section_same(set->role[i], s))
			return set->role[i];
	return NULL;
}

void mcp_child_name(const struct set_role *s, unsigned nth, char *out, size_t size)
{
	int n = snprintf(
	    out, size, "%s%s%.64s", s->keyword, s->name ? "-" : "", s->name ? s->name : "");

	if (nth > 0)
		snprintf(out + n, size - (size_t)n, ".%u", nth);
}

static void add(struct mcp_plan *p, const struct mcp_step *step)
{
	p->step = base_realloc(p->step, sizeof(*p->step) * (p->n + 1));
	p->step[p->n++] = *step;
}

static const char *processes(const struct set_role *s, char *out, size_t size)
{
	snprintf(out, size, "processes = %u", mcp_section_size(s));
	return out;
}

static void section(struct mcp_plan *p, const struct settings *old, const struct settings *new,
    const struct set_role *was, const struct set_role *is)
{
	unsigned before = was ? mcp_section_size(was) : 0, after = is ? mcp_section_size(is) : 0;
	const char *option = was && is ? mcp_differ_restart(old, new, was, is) : NULL;
	char n[40];

	for (unsigned k = 0; k < before || k < after; k++) {
		struct mcp_step s = {.set = is ? is : was, .nth = k};

		if (k >= after) {
			s.act = MCP_LEAVES;
			snprintf(s.why, sizeof(s.why), "%s",
			    is ? processes(is, n, sizeof(n)) : "its section is gone");
		} else if (k >= before) {
			s.act = MCP_STARTS;
			snprintf(s.why, sizeof(s.why), "%s",
			    was ? processes(is, n, sizeof(n)) : "a new section");
		} else if (option) {
			s.act = MCP_RESTARTS;
			snprintf(s.why, sizeof(s.why), "the option %s", option);
		}
		add(p, &s);
	}
}

void mcp_plan(const struct settings *old, const struct settings *new, struct mcp_plan *p)
{
	*p = (struct mcp_plan){.n = 0};
	if (mcp_differ_fixed(old, new, p->refused, sizeof(p->refused)))
		return;
	for (unsigned i = 0; i < new->nrole; i++)
		section(p, old, new, find(old, new->role[i]), new->role[i]);
	for (unsigned i = 0; i < old->nrole; i++)
		if (!find(new, old->role[i]))
			section(p, old, new, old->role[i], NULL);
}

bool mcp_plan_says(const struct mcp_step *s, char *out, size_t size)
{
	static const char *const words[] = {
	    [MCP_RESTARTS] = "needs a restart", [MCP_STARTS] = "starts", [MCP_LEAVES] = "ends"};
	char name[96];

	if (s->act == MCP_GOES_ON)
		return false;
	mcp_child_name(s->set, s->nth, name, sizeof(name));
	snprintf(out, size, "%s: %s: %s", name, words[s->act], s->why);
	return true;
}

void mcp_plan_free(struct mcp_plan *p)
{
	free(p->step);
	*p = (struct mcp_plan){.n = 0};
}
