/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * relisten.c -- listeners that a reload adds, changes or takes away, while all others go on.
 *
 * Comes from: reload.c. Before step 1 all new ones are open (one that cannot be opened refuses the
 * reload), with step 1 the running processes get theirs, and at the commit the rest is closed here;
 * the roles take what still waits in those before they close theirs (core/role_fd.c). Socket
 * files: one that is replaced is made beside the old one, PATH.new, and renamed, so that whoever
 * connects finds one or the other; one that goes is unlinked before its socket is emptied.
 * Owns: sec->next until the end of the reload. On failure: err, and everything is as it was.
 */
#include "mcp.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define END(m) ((m)->section + (m)->nsection)

/* The same socket, with the same rights; those of a manager's socket are the manager's. */
static bool same(const struct mcp_listen *have, const struct mcp_listen *want)
{
	return strcmp(have->name, want->name) == 0 &&
	       (have->given || strcmp(have->rights, want->rights) == 0);
}

/* What stays is moved; the others in next have no socket yet. */
static void match(struct mcp_section *sec, const struct set_role *next)
{
	sec->nnext = next->nlisten;
	sec->next = base_alloc(sizeof(*sec->next) * (next->nlisten + 1));
	sec->relisten = next->nlisten != sec->nlisten;
	for (unsigned i = 0; i < sec->nnext; i++) {
		struct mcp_listen *want = &sec->next[i];

		mcp_listener_name(&next->listen[i], want);
		for (unsigned k = 0; k < sec->nlisten && !want->kept; k++) {
			struct mcp_listen *have = &sec->listen[k];

			if (have->kept || !same(have, want))
				continue;
			have->kept = true;
			*want = *have;
			sec->relisten = sec->relisten || i != k;
		}
		sec->relisten = sec->relisten || !want->kept;
	}
}

/* An address that a listener which goes has too (0.0.0.0:25 becomes 127.0.0.1:25, or moves to
 * another section) is free only when that one is closed, and then clients would be refused: so the
 * two share it until the new one is open. false: there is no such listener. */
static bool share(struct mcp *m, const struct mcp_listen *with, int on)
{
	const char *port = strrchr(with->name, ':');
	bool any = false;

	for (struct mcp_section *sec = m->section; sec < END(m); sec++)
		for (unsigned i = 0; i < sec->nlisten; i++) {
			struct mcp_listen *l = &sec->listen[i];

			if (l->kept || l->given || l->path || strcmp(strrchr(l->name, ':'), port))
				continue;
			any = any || l->nfd > 0;
			for (unsigned k = 0; k < l->nfd && sec->nchild == 1; k++)
				(void)setsockopt(
				    l->fd[k], SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
		}
	return any;
}

/* A socket file of ours that the new one takes the place of. */
static bool in_the_way(struct mcp *m, const char *path)
{
	for (struct mcp_section *sec = m->section; sec < END(m); sec++)
		for (unsigned i = 0; i < sec->nlisten; i++)
			if (sec->listen[i].path && !sec->listen[i].kept &&
			    strcmp(sec->listen[i].path, path) == 0)
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

static int open_inet(struct mcp *m, struct mcp_section *sec, const struct set_listen *l,
    struct mcp_listen *out, struct meta1_err *err)
{
	bool any = share(m, out, 1);
	int rc = mcp_listener_open(m, sec, l, any, out, err), off = 0;

	if (!any)
		return rc;
	share(m, out, 0);
	for (unsigned k = 0; k < out->nfd && sec->nchild == 1 && !out->given; k++)
		(void)setsockopt(out->fd[k], SOL_SOCKET, SO_REUSEPORT, &off, sizeof(off));
	return rc;
}

static int open_new(
    struct mcp *m, struct mcp_section *sec, const struct set_role *next, struct meta1_err *err)
{
	for (unsigned i = 0; i < sec->nnext; i++) {
		const struct set_listen *l = &next->listen[i];
		struct meta1_err why = {""};
		int rc;

		if (sec->next[i].kept)
			continue;
		rc = l->type == SOCK_UNIX ? open_unix(m, sec, l, &sec->next[i], &why)
					  : open_inet(m, sec, l, &sec->next[i], &why);
		if (rc < 0)
			return err_set(err, "%s:%d:%d: %s", l->pos.file ? l->pos.file : m->file,
			    l->pos.line, l->pos.col, why.text);
	}
	return 0;
}

int mcp_relisten_open(struct mcp *m, const struct settings *next, struct meta1_err *err)
{
	for (struct mcp_section *sec = m->section; sec < END(m); sec++)
		match(sec, next->role[sec - m->section]);
	for (struct mcp_section *sec = m->section; sec < END(m); sec++)
		if (open_new(m, sec, next->role[sec - m->section], err) < 0) {
			mcp_relisten_end(m, false);
			return -1;
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
	for (struct mcp_section *sec = m->section; sec < END(m); sec++)
		for (unsigned i = 0; i < sec->nnext; i++)
			if (sec->next[i].beside && strcmp(sec->next[i].path, path) == 0)
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

static void put_in_place(struct mcp_listen *l)
{
	if (l->kept) {
		l->kept = false;
		return;
	}
	log_event(LOG_L_INFO, "mcp.listen", "socket=%s action=%s", l->name, "opened");
	if (l->beside && rename(l->beside, l->path) < 0)
		log_event(LOG_L_ERR, "mcp.listen", "socket=%s error=%s", l->name, strerror(errno));
	free(l->beside);
	l->beside = NULL;
}

static void commit(struct mcp *m)
{
	for (struct mcp_section *sec = m->section; sec < END(m); sec++)
		for (unsigned i = 0; i < sec->nlisten; i++)
			if (!sec->listen[i].kept)
				take_away(m, &sec->listen[i]);
	for (struct mcp_section *sec = m->section; sec < END(m); sec++) {
		for (unsigned i = 0; i < sec->nnext; i++)
			put_in_place(&sec->next[i]);
		free(sec->listen);
		sec->listen = sec->next;
		sec->nlisten = sec->nnext;
		sec->next = NULL;
		sec->nnext = 0;
	}
}

static void give_up(struct mcp *m)
{
	for (struct mcp_section *sec = m->section; sec < END(m); sec++) {
		for (unsigned i = 0; i < sec->nnext; i++)
			if (!sec->next[i].kept)
				mcp_listener_close(m, &sec->next[i]);
		for (unsigned i = 0; i < sec->nlisten; i++)
			sec->listen[i].kept = false;
		free(sec->next);
		sec->next = NULL;
		sec->nnext = 0;
	}
}

void mcp_relisten_end(struct mcp *m, bool good)
{
	if (good)
		commit(m);
	else
		give_up(m);
}
