/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * relisten.c -- listeners that a reload adds, changes, moves to another section or takes away,
 * while all others go on. At the start all of them are new.
 *
 * Comes from: sections.c. Before step 1 all new ones are open (one that cannot be opened refuses
 * the reload), with step 1 the running processes get theirs, and at the commit the rest is closed
 * here; the roles take what still waits in those before they close theirs (core/role_fd.c). One at
 * an address that is listened on already takes connections from the commit on only: none waits at a
 * socket of a reload that comes to nothing. Socket files: one that is replaced is made beside the
 * old one, PATH.new, and renamed, so that whoever connects finds one or the other; one that goes is
 * unlinked before its socket is emptied.
 * Owns: sec->next until the end of the reload. On failure: err; the end without a commit closes
 * what was opened.
 */
#include "mcp.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* All listeners that there are, and all that there will be. */
#define EACH_OLD(m, sec, l)                                                                        \
	for (unsigned s_ = 0; s_ < (m)->nsection; s_++)                                            \
		for (struct mcp_section *sec = (m)->section[s_]; sec; sec = NULL)                  \
			for (struct mcp_listen *l = sec->listen; l < sec->listen + sec->nlisten;   \
			     l++)
#define EACH_NEW(m, sec, l)                                                                        \
	for (unsigned s_ = 0; s_ < (m)->nnext; s_++)                                               \
		for (struct mcp_section *sec = (m)->next[s_]; sec; sec = NULL)                     \
			for (struct mcp_listen *l = sec->next; l < sec->next + sec->nnext; l++)

/* The same socket, with the same rights; those of a manager's socket are the manager's. Of an
 * address each process has a socket of its own. */
static bool same(const struct mcp_listen *have, const struct mcp_listen *want, unsigned processes)
{
	if (strcmp(have->name, want->name) != 0)
		return false;
	return have->given ||
	       (strcmp(have->rights, want->rights) == 0 && (have->path || have->nfd == processes));
}

/* What stays is moved; the others in next have no socket yet. */
static void match(struct mcp_section *sec)
{
	sec->nnext = sec->after->nlisten;
	sec->next = base_alloc(sizeof(*sec->next) * (sec->nnext + 1));
	sec->relisten = sec->nnext != sec->nlisten;
	for (unsigned i = 0; i < sec->nnext; i++) {
		struct mcp_listen *want = &sec->next[i];

		mcp_listener_name(&sec->after->listen[i], want);
		for (unsigned k = 0; k < sec->nlisten && !want->kept; k++) {
			struct mcp_listen *have = &sec->listen[k];

			if (have->kept || !same(have, want, sec->nafter))
				continue;
			have->kept = true;
			*want = *have;
			sec->relisten = sec->relisten || i != k;
		}
		sec->relisten = sec->relisten || !want->kept;
	}
}

/* After all sections have found their own: what one gives away another may want. */
static void move(struct mcp *m)
{
	EACH_NEW(m, to, want)
	{
		for (unsigned i = 0; i < m->nsection && !want->kept; i++) {
			struct mcp_section *from = m->section[i];

			for (unsigned k = 0; k < from->nlisten && !want->kept; k++) {
				struct mcp_listen *have = &from->listen[k];

				if (have->kept || !same(have, want, to->nafter))
					continue;
				have->kept = true;
				*want = *have;
			}
		}
	}
}

/* Whether a listener that goes has the port too (0.0.0.0:25 becomes 127.0.0.1:25, or there are more
 * processes). The address is free only when that one is closed, and then clients would be refused:
 * so the two share it until then. */
static bool is_shared(struct mcp *m, const struct mcp_listen *with)
{
	const char *port = strrchr(with->name, ':');
	bool any = false;

	EACH_OLD(m, sec, l)
	{
		if (l->kept || l->given || l->path || strcmp(strrchr(l->name, ':'), port) != 0)
			continue;
		any = any || l->nfd > 0;
		for (unsigned k = 0; k < l->nfd; k++)
			(void)setsockopt(
			    l->fd[k], SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int));
	}
	return any;
}

/* Nobody else may share the address of one that is alone there. */
static void alone(struct mcp_listen *l)
{
	if (l->nfd == 1 && !l->path && !l->given)
		(void)setsockopt(l->fd[0], SOL_SOCKET, SO_REUSEPORT, &(int){0}, sizeof(int));
}

/* A socket file of ours that the new one takes the place of. */
static bool in_the_way(struct mcp *m, const char *path)
{
	EACH_OLD(m, sec, l)
	if (l->path && !l->kept && strcmp(l->path, path) == 0)
		return true;
	return false;
}

static int open_unix(struct mcp *m, struct mcp_section *sec, const struct set_listen *l,
    struct mcp_listen *out, struct meta1_err *err)
{
	struct set_listen beside = *l;
	char path[1024], other[1024];

	mcp_listener_path(m, l, path, sizeof(path));
	if (!in_the_way(m, path))
		return mcp_listener_open(m, sec, l, false, out, err);
	snprintf(other, sizeof(other), "%.1000s.new", path);
	beside.path = other;
	if (mcp_listener_open(m, sec, &beside, false, out, err) < 0)
		return -1;
	out->beside = out->path;
	out->path = base_strdup(path);
	mcp_listener_name(l, out);
	return 0;
}

int mcp_relisten_open(struct mcp *m, struct meta1_err *err)
{
	for (unsigned i = 0; i < m->nnext; i++)
		match(m->next[i]);
	move(m);
	EACH_NEW(m, sec, want)
	{
		const struct set_listen *l = &sec->after->listen[want - sec->next];
		struct meta1_err why = {""};
		int rc;

		if (want->kept)
			continue;
		rc = l->type == SOCK_UNIX
			 ? open_unix(m, sec, l, want, &why)
			 : mcp_listener_open(m, sec, l, is_shared(m, want), want, &why);
		if (rc < 0)
			return err_set(err, "%s:%d:%d: %s", l->pos.file ? l->pos.file : m->file,
			    l->pos.line, l->pos.col, why.text);
	}
	return 0;
}

bool mcp_relisten_give(struct mcp_child *c)
{
	const struct mcp_section *sec = c->sec;

	for (unsigned i = 0; i < sec->nnext && sec->relisten; i++) {
		const struct mcp_listen *l = &sec->next[i];
		const struct p_fd_pass msg = {.kind = buf_str("listen"), .name = buf_str(l->name)};

		if (!chan_send_fd(c->chan, P_FD_PASS, &msg, l->fd[c->nth % l->nfd]))
			return false;
	}
	return true;
}

/* ---- the end ---- */

/* Renamed in a moment: whoever connects meanwhile finds the old file. */
static bool replaced(struct mcp *m, const char *path)
{
	EACH_NEW(m, sec, l)
	if (l->beside && strcmp(l->path, path) == 0)
		return true;
	return false;
}

static void take_away(struct mcp *m, struct mcp_listen *l)
{
	log_event(LOG_L_INFO, "mcp.listen", "socket=%s action=%s", l->name, "closed");
	if (l->path && replaced(m, l->path)) {
		free(l->path);
		l->path = NULL;
	}
	mcp_listener_close(m, l);
}

static void put_in_place(struct mcp *m, struct mcp_listen *l)
{
	alone(l);
	if (l->kept) {
		l->kept = false;
		return;
	}
	if (m->reload)
		log_event(LOG_L_INFO, "mcp.listen", "socket=%s action=%s", l->name, "opened");
	if (l->beside && rename(l->beside, l->path) < 0)
		log_event(LOG_L_ERR, "mcp.listen", "socket=%s error=%s", l->name, strerror(errno));
	free(l->beside);
	l->beside = NULL;
}

static void commit(struct mcp *m)
{
	EACH_NEW(m, sec, l)
	mcp_listener_listen(l);
	EACH_OLD(m, sec, l)
	if (!l->kept)
		take_away(m, l);
	EACH_NEW(m, sec, l)
	put_in_place(m, l);
	for (unsigned i = 0; i < m->nsection; i++) {
		free(m->section[i]->listen);
		m->section[i]->listen = NULL;
		m->section[i]->nlisten = 0;
	}
	for (unsigned i = 0; i < m->nnext; i++) {
		struct mcp_section *sec = m->next[i];

		sec->listen = sec->next;
		sec->nlisten = sec->nnext;
		sec->next = NULL;
		sec->nnext = 0;
	}
}

static void give_up(struct mcp *m)
{
	EACH_NEW(m, sec, l)
	if (!l->kept)
		mcp_listener_close(m, l);
	EACH_OLD(m, sec, l)
	{
		l->kept = false;
		alone(l);
	}
	for (unsigned i = 0; i < m->nnext; i++) {
		free(m->next[i]->next);
		m->next[i]->next = NULL;
		m->next[i]->nnext = 0;
	}
}

void mcp_relisten_end(struct mcp *m, bool good)
{
	if (good)
		commit(m);
	else
		give_up(m);
}
