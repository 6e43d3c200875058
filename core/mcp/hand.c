/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hand.c -- folders at a reload: what lacks is made, and what belongs to a role whose user or group
 * changes is handed over, with what is in it, between the end of its old processes and the start
 * of the new ones.
 *
 * Comes from: reload.c (open, end), order.c, which looks after each change and asks before each
 * start. All processes of the role restart, those of its sections that keep their account too. Who
 * is ending without a section has no more time than who restarts: no reload can be while one waits
 * for him. Goes to: dirs.c. The old user's hand is in these folders while mcp is root: nothing is
 * followed, and only what belongs to that user is given away, looked at by the very descriptor that
 * is changed. So a link that he made, or a file of somebody else, stays what it is. Owns: the list
 * of folders that wait. On failure, also after MCP_HAND_MS: a line in the log with the command that
 * does it; the folder stays the old user's, so that the next reload or start says so.
 */
#include "mcp.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
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

struct giving {
	const struct mcp_hand *h;
	int64_t until;
	const char *what; /* which call failed; NULL: none */
	int error;
	char path[1024]; /* for which it failed */
};

static void failed(struct giving *g, const char *what, const char *path)
{
	g->error = errno;
	g->what = what;
	str_copy(g->path, sizeof(g->path), path);
}

/* Who planted so many files can keep us from work for as long, but not for longer. */
static bool too_late(struct giving *g, const char *path)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	if (ts.tv_sec * 1000 + ts.tv_nsec / 1000000 < g->until)
		return false;
	errno = ETIME;
	failed(g, "time", path);
	return true;
}

/* What the descriptor is of; it may be one that can do nothing else. */
static void give(struct giving *g, int fd, const struct stat *st, const char *path)
{
	const struct mcp_hand *h = g->h;
	gid_t gid = st->st_gid == h->from_gid ? h->to_gid : (gid_t)-1;

	if (st->st_uid == h->from && fchownat(fd, "", h->to, gid, AT_EMPTY_PATH) < 0)
		failed(g, "chown", path);
}

static void give_folder(struct giving *g, int fd, const char *path, unsigned depth);

/* One that is gone meanwhile is nobody's. */
static void give_entry(struct giving *g, int dir, const char *name, const char *in, unsigned depth)
{
	int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st = {.st_mode = 0};
	char path[1024];

	snprintf(path, sizeof(path), "%s/%s", in, name);
	if (fd < 0 ? errno != ENOENT : fstat(fd, &st) < 0)
		failed(g, "open", path);
	else if (S_ISREG(st.st_mode))
		give(g, fd, &st, path);
	if (fd >= 0)
		close(fd);
	if (!S_ISDIR(st.st_mode) || st.st_uid != g->h->from || depth == DEPTH)
		return;
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0)
		give_folder(g, fd, path, depth + 1);
	else if (errno != ENOENT)
		failed(g, "open", path);
}

/* Takes fd. The folder itself comes last, and not after a failure: a wrong owner is seen at the
 * next reload or start, which says the command that mends all of it. */
static void give_folder(struct giving *g, int fd, const char *path, unsigned depth)
{
	DIR *d = fdopendir(fd);
	struct dirent *e;
	struct stat st;

	if (!d) {
		failed(g, "open", path);
		close(fd);
		return;
	}
	while (!g->what && !too_late(g, path)) {
		errno = 0;
		e = readdir(d);
		if (!e)
			break;
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			give_entry(g, dirfd(d), e->d_name, path, depth);
	}
	if (!g->what && errno)
		failed(g, "read", path);
	else if (!g->what && fstat(dirfd(d), &st) == 0)
		give(g, dirfd(d), &st, path);
	closedir(d);
}

static void hand_over(struct mcp *m, const struct mcp_hand *h, int64_t until)
{
	struct giving g = {.h = h, .until = until};
	const char *path = h->folder.path;
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	char mend[MCP_MEND_MAX], note[MCP_MEND_MAX + 2300];

	if (fd < 0)
		failed(&g, "open", path);
	else
		give_folder(&g, fd, path, 0);
	if (!g.what) {
		log_event(LOG_L_INFO, "mcp.folder", "path=%s from=%u:%u to=%u:%u", path,
		    (unsigned)h->from, (unsigned)h->from_gid, (unsigned)h->to, (unsigned)h->to_gid);
		return;
	}
	mcp_folder_mend(&h->folder, h->from, h->to, h->to_gid, mend);
	log_event(LOG_L_ERR, "mcp.folder", "path=%s to=%u:%u at=%s call=%s error=%s mend=%s", path,
	    (unsigned)h->to, (unsigned)h->to_gid, g.path, g.what, strerror(g.error), mend);
	snprintf(note, sizeof(note),
	    "%s: could not be given to uid %u, gid %u: %s: %s; when that is mended: %s\n", path,
	    (unsigned)h->to, (unsigned)h->to_gid, g.path, strerror(g.error), mend);
	mcp_reload_note(m, note);
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
	struct timespec ts;
	int64_t until;

	if (!m->hand)
		return;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	until = ts.tv_sec * 1000 + ts.tv_nsec / 1000000 + m->hand_ms;
	for (struct mcp_hand **at = &m->hand, *h; (h = *at);) {
		if (runs(m, h->folder.owner)) {
			at = &h->next;
			continue;
		}
		hand_over(m, h, until);
		mcp_service_say(m, "WATCHDOG=1"); /* another one may follow in the same turn */
		*at = h->next;
		free(h);
	}
}

static bool some_of(const struct mcp_hand *h, const char *role)
{
	for (; h; h = h->next)
		if (strcmp(h->folder.owner, role) == 0)
			return true;
	return false;
}

bool mcp_hand_will(const struct mcp *m, const char *role)
{
	return some_of(m->next_hand, role);
}

bool mcp_hand_waits(const struct mcp *m, const char *role)
{
	return some_of(m->hand, role);
}
