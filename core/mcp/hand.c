/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hand.c -- folders at a reload: what lacks is made, and what belongs to a role whose user or group
 * changes is handed over, with what is in it, between the end of its old processes and the start
 * of the new ones.
 *
 * Comes from: reload.c (open, end), order.c, which looks after each change and asks before each
 * start. Who is ending without a section has no more time than who restarts: no reload can be while
 * one waits for him. Goes to: dirs.c.
 * The old user's hand is in these folders while mcp is root: nothing is followed, and only what
 * belongs to that user is given away, looked at by the very descriptor that is changed. So a link
 * that he made, or a file of somebody else, stays what it is.
 * Owns: the list of folders that wait. On failure: a line in the log, and the role says the rest.
 */
#include "mcp.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH 8 /* of folders in folders; those of the queue have three */

struct mcp_hand {
	struct mcp_hand *next;
	struct mcp_folder folder;
	uid_t from, to;
	gid_t from_gid, to_gid;
};

static void list_free(struct mcp_hand **list)
{
	for (struct mcp_hand *h; (h = *list);) {
		*list = h->next;
		free(h);
	}
}

/* ---- between the steps ---- */

struct walk {
	struct mcp *m;
	struct settings *next;
	bool try;
	FILE *f;
};

static int look(const struct mcp_folder *folder, void *arg)
{
	struct walk *w = arg;
	struct mcp_hand h = {.folder = *folder}, *keep;
	struct stat st;
	bool had;

	if (!mcp_folder_ids(w->next, w->m->root, folder, &h.to, &h.to_gid))
		return 0;
	had = mcp_folder_ids(w->m->set, w->m->root, folder, &h.from, &h.from_gid);
	if (lstat(folder->path, &st) < 0 && errno == ENOENT && w->try)
		return 0;
	if (!had || !w->m->root || (h.from == h.to && h.from_gid == h.to_gid) ||
	    lstat(folder->path, &st) < 0 || !S_ISDIR(st.st_mode) ||
	    !mcp_folder_right(folder, &st, h.from, h.from_gid, true))
		return mcp_folder_make(folder, h.to, h.to_gid, w->m->root, w->f);
	keep = base_alloc(sizeof(*keep));
	*keep = h;
	keep->next = w->m->next_hand;
	w->m->next_hand = keep;
	return 0;
}

int mcp_hand_open(struct mcp *m, struct settings *next, bool try, FILE *f)
{
	if (m->hand) {
		fprintf(f,
		    "%s: still in use by processes of its former user, which are ending; try again "
		    "in a moment\n",
		    m->hand->folder.path);
		return -1;
	}
	return mcp_folders(next, look, &(struct walk){m, next, try, f});
}

void mcp_hand_end(struct mcp *m, bool commit)
{
	if (!commit) {
		list_free(&m->next_hand);
		return;
	}
	list_free(&m->hand);
	m->hand = m->next_hand;
	m->next_hand = NULL;
	for (const struct mcp_hand *h = m->hand; h; h = h->next)
		mcp_retire_hurry_role(m, h->folder.owner);
}

/* ---- before a start ---- */

/* What the descriptor is of; it may be one that can do nothing else. */
static int give(const struct mcp_hand *h, int fd, const struct stat *st)
{
	if (st->st_uid != h->from)
		return 0;
	return fchownat(
	    fd, "", h->to, st->st_gid == h->from_gid ? h->to_gid : (gid_t)-1, AT_EMPTY_PATH);
}

/* Takes fd. The folder itself comes last, so that what fails half way is done again. */
static int give_all(const struct mcp_hand *h, int fd, unsigned depth)
{
	DIR *d = fdopendir(fd);
	struct dirent *e;
	struct stat st;
	int rc = 0;

	if (!d) {
		close(fd);
		return -1;
	}
	while ((e = readdir(d))) {
		int one;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		one = openat(dirfd(d), e->d_name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		if (one < 0 || fstat(one, &st) < 0)
			rc = -1;
		else if (S_ISREG(st.st_mode))
			rc |= give(h, one, &st);
		if (one >= 0)
			close(one);
		if (one < 0 || !S_ISDIR(st.st_mode) || st.st_uid != h->from || depth == DEPTH)
			continue;
		one = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		rc |= one < 0 ? -1 : give_all(h, one, depth + 1);
	}
	if (fstat(dirfd(d), &st) < 0 || give(h, dirfd(d), &st) < 0)
		rc = -1;
	closedir(d);
	return rc;
}

static void hand_over(const struct mcp_hand *h)
{
	int fd = open(h->folder.path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int rc = fd < 0 ? -1 : give_all(h, fd, 0);

	if (rc < 0)
		log_event(LOG_L_ERR, "mcp.folder", "path=%s to=%u:%u error=%s", h->folder.path,
		    (unsigned)h->to, (unsigned)h->to_gid, strerror(errno));
	else
		log_event(LOG_L_INFO, "mcp.folder", "path=%s from=%u:%u to=%u:%u", h->folder.path,
		    (unsigned)h->from, (unsigned)h->from_gid, (unsigned)h->to, (unsigned)h->to_gid);
}

static bool runs(const struct mcp *m, const char *role)
{
	const struct mcp_child *o;

	MCP_EACH_CHILD(m, c)
	if (mcp_child_running(c) && strcmp(c->sec->wire->role, role) == 0)
		return true;
	LIST_FOREACH(o, &m->retired, link)
	if (mcp_child_running(o) && strcmp(o->sec->wire->role, role) == 0)
		return true;
	return false;
}

void mcp_hand_look(struct mcp *m)
{
	for (struct mcp_hand **at = &m->hand, *h; (h = *at);) {
		if (runs(m, h->folder.owner)) {
			at = &h->next;
			continue;
		}
		hand_over(h);
		*at = h->next;
		free(h);
	}
}

bool mcp_hand_waits(const struct mcp *m, const char *role)
{
	for (const struct mcp_hand *h = m->hand; h; h = h->next)
		if (strcmp(h->folder.owner, role) == 0)
			return true;
	return false;
}
