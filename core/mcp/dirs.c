/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dirs.c -- the table of folders: who owns what under queue_directory, and the run directory.
 *
 * Comes from: mcp.c at the start, hand.c at a reload. Goes to: nothing. Makes what lacks; never
 * changes what is there, since a wrong owner means that something else went wrong: the command that
 * mends it is printed and mcp does not start. Without root everything belongs to the one user.
 * Folders above are root's, so that no role can put a link in the way.
 */
#include "mcp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* A folder with the ids of its owner here. */
struct dir {
	struct mcp_folder f;
	uid_t uid;
	gid_t gid;
};

enum { IN_QUEUE, IN_RUN };
/* The fixed ones; those whose owner is whoever starts mcp come first. */
static const struct {
	int base;
	const char *name, *owner;
	bool cdb;
	mode_t mode;
} folders[] = {
    {IN_QUEUE, "", NULL, false, 0755},
    {IN_RUN, "", NULL, false, 0755},
    {IN_QUEUE, "in", "smtps", true, 02750},
    {IN_QUEUE, "qm", "qmgr", true, 02750},
    {IN_QUEUE, "state", "qmgr", false, 0700},
    {IN_QUEUE, "smar", "smar", false, 0700},
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
	const char *path = d->f.path;
	int fd;

	if (mkdir(path, 0700) < 0) {
		fprintf(f, "%s: cannot be made: %s%s\n", path, strerror(errno),
		    errno == EROFS
			? "; systemd's unit must allow it: ReadWritePaths=, by systemctl edit meta1"
			: "");
		return -1;
	}
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	/* The mode while it is ours: root may be without the right to change those of others. */
	if (fd < 0 || fchmod(fd, d->f.mode) < 0 || (root && fchown(fd, d->uid, d->gid) < 0)) {
		fprintf(f, "%s: cannot be given to uid %u, gid %u: %s\n", path, (unsigned)d->uid,
		    (unsigned)d->gid, strerror(errno));
		if (fd >= 0)
			close(fd);
		rmdir(path);
		return -1;
	}
	close(fd);
	return 0;
}

bool mcp_folder_right(
    const struct mcp_folder *f, const struct stat *st, uid_t uid, gid_t gid, bool root)
{
	mode_t mode = st->st_mode & 07777;

	if (st->st_uid != uid || (mode & S_IWOTH))
		return false;
	if (!root)
		return (mode & 0700) == 0700;
	if (f->owner)
		return st->st_gid == gid && mode == f->mode;
	return !(mode & S_IWGRP) && (mode & S_IXOTH);
}

/* What lies in it is its owner's too: a hand-over that was cut short. Not where that is root, who
 * may have put there what is no role's. */
void mcp_folder_mend(
    const struct mcp_folder *f, uid_t from, uid_t uid, gid_t gid, char out[static MCP_MEND_MAX])
{
	char all[32] = "";

	if (f->owner && from != 0)
		snprintf(all, sizeof(all), "-Rh --from=%u ", (unsigned)from);
	snprintf(out, MCP_MEND_MAX, "chown %s%u:%u %s", all, (unsigned)uid, (unsigned)gid, f->path);
}

static int one(const struct dir *d, bool root, FILE *f)
{
	const char *path = d->f.path;
	char mend[MCP_MEND_MAX];
	struct stat st;

	if (lstat(path, &st) < 0 && errno == ENOENT) {
		parents(path);
		return make(d, root, f);
	}
	if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode)) {
		fprintf(f, "%s: found something that is not a folder, expected a folder\n", path);
		return -1;
	}
	if (mcp_folder_right(&d->f, &st, d->uid, d->gid, root))
		return 0;
	mcp_folder_mend(&d->f, st.st_uid, d->uid, d->gid, mend);
	fprintf(f,
	    "%s: found owner %u:%u and mode %04o, expected %u:%u and mode %04o; if nothing else is "
	    "wrong with it: %s && chmod %04o %s\n",
	    path, (unsigned)st.st_uid, (unsigned)st.st_gid, (unsigned)st.st_mode & 07777,
	    (unsigned)d->uid, (unsigned)d->gid, (unsigned)d->f.mode, mend, (unsigned)d->f.mode,
	    path);
	return -1;
}

/* pass_fd_socket = smtps/smtpsfd: the role makes the socket, so the folder is its own. One
 * outside of queue_directory is the admin's. */
static bool pass_folder(const struct settings *set, const struct set_role *s, struct mcp_folder *f)
{
	const char *name = s->pass_fd_socket ? s->pass_fd_socket : "", *q = set->queue_directory;
	const char *slash;

	if (strncmp(name, q, strlen(q)) == 0 && name[strlen(q)] == '/')
		name += strlen(q) + 1;
	slash = strrchr(name, '/');
	if (!slash || name[0] == '/')
		return false;
	*f = (struct mcp_folder){.owner = s->keyword, .mode = 0750};
	snprintf(f->path, sizeof(f->path), "%s/%.*s", q, (int)(slash - name), name);
	return true;
}

int mcp_folders(const struct settings *set, mcp_folder_fn fn, void *arg)
{
	struct mcp_folder f;
	int rc = 0, base_rc = 0;

	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		const char *base =
		    folders[i].base == IN_RUN ? set->run_directory : set->queue_directory;

		f = (struct mcp_folder){
		    .owner = folders[i].owner, .cdb = folders[i].cdb, .mode = folders[i].mode};
		if (f.owner && base_rc < 0)
			return rc; /* what is in a wrong folder is not looked at */
		if (f.owner && !mcp_has_role(set, f.owner))
			continue;
		snprintf(f.path, sizeof(f.path), "%s%s%s", base, *folders[i].name ? "/" : "",
		    folders[i].name);
		rc |= fn(&f, arg);
		base_rc = f.owner ? base_rc : rc;
	}
	for (unsigned i = 0; i < set->nrole; i++)
		if (pass_folder(set, set->role[i], &f))
			rc |= fn(&f, arg);
	return rc;
}

struct walk {
	struct mcp *m;
	FILE *f;
};

bool mcp_folder_ids(
    struct settings *set, bool root, const struct mcp_folder *f, uid_t *uid, gid_t *gid)
{
	struct mcp_account a = {.uid = geteuid(), .gid = getegid()};

	if (f->owner && find_role(set, f->owner, root, &a) <= 0)
		return false;
	*uid = a.uid;
	*gid = f->cdb ? mcp_cdb_gid(set, root) : a.gid;
	return true;
}

int mcp_folder_make(const struct mcp_folder *f, uid_t uid, gid_t gid, bool root, FILE *err_file)
{
	return one(&(struct dir){.f = *f, .uid = uid, .gid = gid}, root, err_file);
}

static int with_ids(const struct mcp_folder *f, void *arg)
{
	struct walk *w = arg;
	uid_t uid;
	gid_t gid;

	if (!mcp_folder_ids(w->m->set, w->m->root, f, &uid, &gid))
		return 0;
	return mcp_folder_make(f, uid, gid, w->m->root, w->f);
}

int mcp_dirs(struct mcp *m, FILE *f)
{
	return mcp_folders(m->set, with_ids, &(struct walk){m, f});
}
