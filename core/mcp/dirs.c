/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dirs.c -- the table of folders: who owns what under queue_directory, and the run directory.
 *
 * Comes from: mcp.c at the start. Goes to: nothing. Makes what lacks; never changes what is
 * there, since a wrong owner means that something else went wrong: the command that mends it
 * is printed and mcp does not start. Without root everything belongs to the one user.
 * Folders above are root's, so that no role can put a link in the way.
 */
#include "mcp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct dir {
	char path[1024];
	uid_t uid;
	gid_t gid;
	mode_t mode;
	bool exact; /* else: the owner, not writable for others, open to pass through */
};

static int find_role(struct settings *set, const char *keyword, bool root, struct mcp_account *a)
{
	struct meta1_err err;

	for (unsigned i = 0; i < set->nrole; i++) {
		if (strcmp(set->role[i]->keyword, keyword) == 0)
			return mcp_account(set->role[i], root, a, &err) < 0 ? -1 : 1;
	}
	return 0;
}

gid_t mcp_cdb_gid(struct settings *set, bool root)
{
	struct mcp_account a;

	if (set->nsmtps && set->smtps[0].CDB_gid > 0 && root)
		return (gid_t)set->smtps[0].CDB_gid;
	return find_role(set, "smtpc", root, &a) > 0 ? a.gid : getegid();
}

static void parents(const char *path)
{
	char part[1024];

	str_copy(part, sizeof(part), path);
	for (char *p = strchr(part + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = '\0';
		mkdir(part, 0755);
		*p = '/';
	}
}

static int make(const struct dir *d, bool root, FILE *f)
{
	int fd;

	if (mkdir(d->path, 0700) < 0) {
		fprintf(f, "%s: cannot be made: %s\n", d->path, strerror(errno));
		return -1;
	}
	fd = open(d->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || (root && fchown(fd, d->uid, d->gid) < 0) || fchmod(fd, d->mode) < 0) {
		fprintf(f, "%s: cannot be given to uid %u, gid %u: %s\n", d->path, (unsigned)d->uid,
		    (unsigned)d->gid, strerror(errno));
		if (fd >= 0)
			close(fd);
		rmdir(d->path);
		return -1;
	}
	close(fd);
	return 0;
}

static bool right(const struct dir *d, const struct stat *st, bool root)
{
	mode_t mode = st->st_mode & 07777;

	if (st->st_uid != d->uid || (mode & S_IWOTH))
		return false;
	if (!root)
		return (mode & 0700) == 0700;
	if (d->exact)
		return st->st_gid == d->gid && mode == d->mode;
	return !(mode & S_IWGRP) && (mode & S_IXOTH);
}

static int one(const struct dir *d, bool root, FILE *f)
{
	struct stat st;

	if (lstat(d->path, &st) < 0 && errno == ENOENT) {
		parents(d->path);
		return make(d, root, f);
	}
	if (lstat(d->path, &st) < 0 || !S_ISDIR(st.st_mode)) {
		fprintf(
		    f, "%s: found something that is not a folder, expected a folder\n", d->path);
		return -1;
	}
	if (right(d, &st, root))
		return 0;
	fprintf(f,
	    "%s: found owner %u:%u and mode %04o, expected %u:%u and mode %04o; if nothing else is "
	    "wrong with it: chown %u:%u %s && chmod %04o %s\n",
	    d->path, (unsigned)st.st_uid, (unsigned)st.st_gid, (unsigned)st.st_mode & 07777,
	    (unsigned)d->uid, (unsigned)d->gid, (unsigned)d->mode, (unsigned)d->uid,
	    (unsigned)d->gid, d->path, (unsigned)d->mode, d->path);
	return -1;
}

static int at(struct mcp *m, FILE *f, const struct mcp_account *owner, gid_t gid, mode_t mode,
    bool exact, const char *base, const char *name)
{
	struct dir d = {.uid = owner->uid, .gid = gid, .mode = mode, .exact = exact};

	snprintf(d.path, sizeof(d.path), "%s%s%s", base, *name ? "/" : "", name);
	return one(&d, m->root, f);
}

/* pass_fd_socket = smtps/smtpsfd: the role makes the socket, so the folder is its own. One
 * outside of queue_directory is the admin's. */
static int pass_folders(struct mcp *m, FILE *f)
{
	const char *q = m->set->queue_directory;
	int rc = 0;

	for (unsigned i = 0; i < m->set->nrole; i++) {
		const struct set_role *s = m->set->role[i];
		const char *name = s->pass_fd_socket ? s->pass_fd_socket : "";
		struct mcp_account a;
		struct meta1_err err;
		char folder[512];
		const char *slash;

		if (strncmp(name, q, strlen(q)) == 0 && name[strlen(q)] == '/')
			name += strlen(q) + 1;
		slash = strrchr(name, '/');
		if (!slash || name[0] == '/' || mcp_account(s, m->root, &a, &err) < 0)
			continue;
		snprintf(folder, sizeof(folder), "%.*s", (int)(slash - name), name);
		rc |= at(m, f, &a, a.gid, 0750, true, q, folder);
	}
	return rc;
}

int mcp_dirs(struct mcp *m, FILE *f)
{
	const char *q = m->set->queue_directory;
	const struct mcp_account self = {.uid = geteuid(), .gid = getegid()};
	struct mcp_account a;
	gid_t cdb = mcp_cdb_gid(m->set, m->root);
	int rc;

	rc = at(m, f, &self, self.gid, 0755, false, q, "");
	rc |= at(m, f, &self, self.gid, 0755, false, m->set->run_directory, "");
	if (rc < 0)
		return -1;
	if (find_role(m->set, "smtps", m->root, &a) > 0)
		rc |= at(m, f, &a, cdb, 02750, true, q, "in");
	if (find_role(m->set, "qmgr", m->root, &a) > 0) {
		rc |= at(m, f, &a, cdb, 02750, true, q, "qm");
		rc |= at(m, f, &a, a.gid, 0700, true, q, "state");
	}
	if (find_role(m->set, "smar", m->root, &a) > 0)
		rc |= at(m, f, &a, a.gid, 0700, true, q, "smar");
	return rc | pass_folders(m, f);
}
