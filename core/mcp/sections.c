/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sections.c -- from settings to what mcp keeps of them: a section each, a place for each of its
 * processes, their sockets. At the start all of it is new, with a reload what it adds.
 *
 * Comes from: mcp.c, reload.c. Goes to: listen.c and relisten.c for the sockets, retire.c for
 * processes whose places go. Between the two steps m->next has the sections of after it; those that
 * stay are the same structs in both lists. Owns: the sections. On failure: err, and the end without
 * a commit closes what was made.
 */
#include "mcp.h"

#include "lib/clients.h"
#include "lib/tally.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define INDEX_QMGR 0xFF
#define INDEX_MAX  254

/* ---- what is made ---- */

static struct mcp_section *find(const struct mcp *m, const struct set_role *s)
{
	for (unsigned i = 0; i < m->nsection; i++)
		if (mcp_section_same(m->section[i]->set, s))
			return m->section[i];
	return NULL;
}

static void mark(bool used[INDEX_MAX], const struct mcp_child *c)
{
	if (c->sec->wire->who == SMTPS && c->index < INDEX_MAX)
		used[c->index] = true;
}

/* The lowest number that no smtps has, those that retire included: it is part of the names of mails
 * and says where in the tables of clients and logins the process counts. */
static unsigned free_index(const struct mcp *m)
{
	bool used[INDEX_MAX] = {false};
	const struct mcp_child *c;
	unsigned i = 0;

	for (unsigned s = 0; s < m->nsection; s++)
		for (unsigned k = 0; k < m->section[s]->nchild; k++)
			mark(used, m->section[s]->child[k]);
	for (unsigned s = 0; s < m->nnext; s++)
		for (unsigned k = 0; k < m->next[s]->nchild + m->next[s]->nfresh; k++)
			mark(used, m->next[s]->child[k]);
	LIST_FOREACH(c, &m->retired, link)
	mark(used, c);
	while (i < INDEX_MAX && used[i])
		i++;
	return i;
}

static int add_child(struct mcp *m, struct mcp_section *sec, unsigned nth, struct meta1_err *err)
{
	unsigned index = sec->wire->who == SMTPS  ? free_index(m)
			 : sec->wire->who == QMGR ? INDEX_QMGR
						  : nth;
	struct mcp_child *c;

	if (sec->wire->who == SMTPS && index == INDEX_MAX)
		return err_set(err,
		    "%d processes of smtps run, those that still end included; try again later",
		    INDEX_MAX);
	c = mcp_child_new(m, sec, sec->after, nth, index);
	c->awaited = m->reload != NULL;
	sec->child[nth] = c;
	sec->nfresh++;
	if (sec->wire->who == SMTPS) {
		clients_more(m->clients_fd, index + 1);
		tally_more(m->tally_fd, index + 1);
	}
	/* One of that name is ending: its socket is there until then (child.c). */
	return mcp_retire_has(m, c->name) ? 0 : mcp_listen_child(c, err);
}

static int open_section(struct mcp *m, struct mcp_section *sec, struct meta1_err *err)
{
	unsigned have = sec->nchild;

	if (sec->nafter > have)
		sec->child = base_realloc(sec->child, sizeof(struct mcp_child *) * sec->nafter);
	for (unsigned k = have; k < sec->nafter; k++)
		if (add_child(m, sec, k, err) < 0)
			return -1;
	return sec->fresh && sec->wire->ipc ? mcp_listen_ipc(m, sec, err) : 0;
}

static struct mcp_section *section_new(const struct set_role *s)
{
	struct mcp_section *sec = base_alloc(sizeof(*sec));

	*sec = (struct mcp_section){
	    .wire = mcp_wire(s->keyword), .set = s, .ipc_fd = -1, .fresh = true};
	return sec;
}

/* No process has more in use than there are parts of the tables. */
static int open_tables(struct mcp *m, struct meta1_err *err)
{
	if (m->clients_fd < 0)
		m->clients_fd = clients_make(0);
	if (m->tally_fd < 0)
		m->tally_fd = tally_make(0);
	if (m->clients_fd < 0 || m->tally_fd < 0)
		return err_set(
		    err, "no memory for the tables of clients and logins: %s", strerror(errno));
	return 0;
}

int mcp_sections_open(struct mcp *m, const struct settings *next, struct meta1_err *err)
{
	if (open_tables(m, err) < 0)
		return -1;
	m->next = base_alloc(sizeof(struct mcp_section *) * (next->nrole + 1));
	for (unsigned i = 0; i < next->nrole; i++) {
		const struct set_role *s = next->role[i];
		struct mcp_section *sec = find(m, s);

		if (!sec)
			sec = section_new(s);
		sec->after = s;
		sec->nafter = mcp_section_size(s);
		m->next[m->nnext++] = sec;
	}
	/* Listeners first: a port that somebody has is what goes wrong most. */
	if (mcp_relisten_open(m, err) < 0)
		return -1;
	for (unsigned i = 0; i < m->nnext; i++)
		if (open_section(m, m->next[i], err) < 0)
			return -1;
	return 0;
}

/* ---- the end of a reload ---- */

static void section_free(struct mcp *m, struct mcp_section **sp)
{
	struct mcp_section *sec = *sp;

	*sp = NULL;
	mcp_listen_ipc_close(m, sec);
	for (unsigned i = 0; i < sec->nlisten; i++)
		mcp_listener_close(m, &sec->listen[i]);
	free(sec->listen);
	for (unsigned k = 0; k < sec->nchild + sec->nfresh; k++)
		mcp_child_free(&sec->child[k]);
	free(sec->child);
	free(sec);
}

static void retire_from(struct mcp_section *sec, unsigned k, const char *why)
{
	for (unsigned i = k; i < sec->nchild; i++)
		mcp_retire(sec->child[i], why);
	if (sec->nchild > k)
		sec->nchild = k;
}

static bool differ(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") != 0;
}

/* Control sockets are their account's: those of another are made anew when they start. */
static void other_account(struct mcp_section *sec)
{
	if (!differ(sec->set->user, sec->after->user) &&
	    !differ(sec->set->group, sec->after->group))
		return;
	for (unsigned k = 0; k < sec->nchild; k++)
		mcp_listen_child_close(sec->child[k]);
}

static void commit(struct mcp *m)
{
	for (unsigned i = 0; i < m->nsection; i++) {
		struct mcp_section *sec = m->section[i];

		if (sec->after)
			continue;
		retire_from(sec, 0, "its section is gone");
		section_free(m, &sec);
	}
	for (unsigned i = 0; i < m->nnext; i++) {
		struct mcp_section *sec = m->next[i];

		retire_from(sec, sec->nafter, "there are fewer processes");
		other_account(sec);
		for (unsigned k = sec->nchild; k < sec->nchild + sec->nfresh; k++)
			mcp_retire_hurry(m, sec->child[k]->name);
		sec->nchild += sec->nfresh;
		sec->nfresh = 0;
		sec->set = sec->after;
	}
	free(m->section);
	m->section = m->next;
	m->nsection = m->nnext;
}

static void give_up(struct mcp *m)
{
	for (unsigned i = 0; i < m->nnext; i++) {
		struct mcp_section *sec = m->next[i];

		for (; sec->nfresh > 0 && !sec->fresh; sec->nfresh--)
			mcp_child_free(&sec->child[sec->nchild + sec->nfresh - 1]);
		if (sec->fresh)
			section_free(m, &sec);
	}
	free(m->next);
}

void mcp_sections_end(struct mcp *m, bool good)
{
	if (!m->next)
		return;
	mcp_relisten_end(m, good);
	if (good)
		commit(m);
	else
		give_up(m);
	m->next = NULL;
	m->nnext = 0;
	for (unsigned i = 0; i < m->nsection; i++) {
		m->section[i]->after = NULL;
		m->section[i]->fresh = false;
	}
}

void mcp_sections_close(struct mcp *m)
{
	for (unsigned i = 0; i < m->nsection; i++)
		section_free(m, &m->section[i]);
	free(m->section);
	m->section = NULL;
	m->nsection = 0;
}

struct mcp_child *mcp_sections_child(struct mcp *m, const struct set_role *s, unsigned nth)
{
	struct mcp_section *sec = find(m, s);

	return sec && nth < sec->nchild ? sec->child[nth] : NULL;
}
