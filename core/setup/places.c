/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * places.c -- rules about folders and files: those of queue_directory, the configuration, the
 * programs and modules, the socket of the mail store; and that each role can get at them.
 *
 * Comes from setup.c, after the accounts. Goes to setup_fault(). Owns nothing. Folders under
 * queue_directory are ours and mended; what is the admin's (the configuration, folders above) is
 * only told. Rights are those of mode and groups: access lists are not looked at.
 */
#include "setup.h"

#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- who may ---- */

static bool in_group(const struct setup_account *a, gid_t gid)
{
	for (unsigned i = 0; i < a->nmore; i++)
		if (a->more[i] == gid)
			return true;
	return a->gid == gid;
}

bool setup_may(const struct setup_account *a, const struct stat *st, int want)
{
	unsigned mode = st->st_mode & 0777u;

	mode = st->st_uid == a->uid ? mode >> 6 : in_group(a, st->st_gid) ? mode >> 3 : mode;
	return (mode & (unsigned)want) == (unsigned)want;
}

static void describe(char *out, size_t size, const struct stat *st)
{
	char names[160];

	setup_names(names, sizeof(names), st->st_uid, st->st_gid);
	snprintf(out, size, "owner %s, mode %04o", names, (unsigned)st->st_mode & 07777u);
}

/* The account cannot pass: a group that may is better than everybody. Which groups an account that
 * meets the network is in decides what it has power over, so it is only ours to say for the group
 * of the content and for that of the store's socket (store); secrets.c says it of the sasldb. */
static bool cannot(struct setup *s, const struct setup_account *a, const char *path,
    const struct stat *st, int want, const char *what_for, bool store)
{
	const struct group *gr = getgrgid(st->st_gid);
	bool group =
	    ((st->st_mode >> 3) & (unsigned)want) == (unsigned)want && st->st_gid != 0 && gr;
	gid_t cdb;
	char found[256], expected[128], name[64];

	describe(found, sizeof(found), st);
	snprintf(expected, sizeof(expected), "%s can %s", a->name, what_for);
	str_copy(name, sizeof(name), gr ? gr->gr_name : "");
	if (group)
		return setup_fault(s,
		    store || (setup_cdb_group(s, &cdb) && cdb == st->st_gid) ? SETUP_OURS
									     : SETUP_ADMINS,
		    path, found, expected, "usermod", "-aG", name, a->name, NULL);
	return setup_fault(s, SETUP_ADMINS, path, found, expected, "chmod",
	    want == SETUP_X   ? "o+x"
	    : want == SETUP_R ? "o+r"
			      : "o+rw",
	    path, NULL);
}

static bool reach(struct setup *s, const struct setup_account *a, const char *path, bool store)
{
	char part[PATH_MAX];
	struct stat st;

	str_copy(part, sizeof(part), path);
	for (char *p = strchr(part + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = '\0';
		if (stat(part, &st) < 0)
			return errno == EACCES; /* we are no root: not known */
		if (!setup_may(a, &st, SETUP_X))
			return cannot(s, a, part, &st, SETUP_X, "enter", store);
		*p = '/';
	}
	return true;
}

bool setup_reach(struct setup *s, const struct setup_account *a, const char *path)
{
	return reach(s, a, path, false);
}

/* ---- folders of ours ---- */

static void parents(struct setup *s, const char *path)
{
	char part[1024];

	str_copy(part, sizeof(part), path);
	for (char *p = strchr(part + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = '\0';
		if (mkdir(part, 0755) == 0)
			setup_did(s, "mkdir %s", part);
		*p = '/';
	}
}

static int folder(const struct mcp_folder *f, void *arg)
{
	struct setup *s = arg;
	const struct set_role *r = f->owner ? setup_role(s, f->owner) : NULL;
	struct setup_account a = {.uid = 0, .gid = 0};
	char owner[160], mode[8], found[256], expected[256];
	struct stat st;

	if (f->owner && (!r || !setup_account(s, r, &a)))
		return 0; /* said by accounts.c */
	if (f->cdb && !setup_cdb_group(s, &a.gid))
		return 0;
	setup_names(owner, sizeof(owner), a.uid, a.gid);
	snprintf(mode, sizeof(mode), "%04o", (unsigned)f->mode);
	snprintf(expected, sizeof(expected), "owner %s, mode %s", owner, mode);
	if (lstat(f->path, &st) < 0) {
		if (s->mend && !s->dry)
			parents(s, f->path);
		char *who = strchr(owner, ':');
		*who++ = '\0';
		return setup_fault(s, SETUP_OURS, f->path, strerror(errno), expected, "install",
			   "-d", "-o", owner, "-g", who, "-m", mode, f->path, NULL)
			   ? 0
			   : -1;
	}
	if (!S_ISDIR(st.st_mode)) {
		setup_fault(
		    s, SETUP_ADMINS, f->path, "something that is no folder", "a folder", NULL);
		return -1;
	}
	if (mcp_folder_right(f, &st, a.uid, a.gid, true))
		return 0;
	describe(found, sizeof(found), &st);
	snprintf(mode, sizeof(mode), "%05o", (unsigned)f->mode); /* so that chmod clears bits too */
	setup_fault(s, SETUP_OURS, f->path, found, expected, "chown", owner, f->path, "&&", "chmod",
	    mode, f->path, NULL);
	return 0;
}

/* ---- the configuration ---- */

static void conf_file(struct setup *s, const char *path)
{
	struct stat st;
	char found[256];

	if (stat(path, &st) < 0)
		return; /* it was read a moment ago, or is a text of ours */
	describe(found, sizeof(found), &st);
	if (st.st_uid != 0 || (st.st_mode & (S_IWGRP | S_IWOTH)))
		setup_fault(s, SETUP_ADMINS, path, found,
		    "root's, and written by root alone: mcp is root", "chown", "root", path, "&&",
		    "chmod", "go-w", path, NULL);
	for (unsigned i = 0; i < s->set->nrole; i++) {
		struct setup_account a;

		if (setup_account(s, s->set->role[i], &a) && !setup_may(&a, &st, SETUP_R)) {
			cannot(s, &a, path, &st, SETUP_R, "read it", false);
			return;
		}
	}
}

#define FILES_MAX 256
struct files {
	const char *name[FILES_MAX];
	unsigned n;
};

static void note(struct files *f, const char *name)
{
	for (unsigned i = 0; i < f->n; i++)
		if (strcmp(f->name[i], name) == 0)
			return;
	if (name && f->n < FILES_MAX)
		f->name[f->n++] = name;
}

/* Every file that said something. */
static void files_of(struct files *f, const struct conf_section *sec)
{
	for (const struct conf_option *o = sec->options; o; o = o->next)
		if (o->pos.file)
			note(f, o->pos.file);
	for (const struct conf_section *t = sec->sections; t; t = t->next) {
		if (t->pos.file)
			note(f, t->pos.file);
		files_of(f, t);
	}
}

/* ---- programs and modules ---- */

/* What another account owns, or could put a link at, may have been changed: it is not trusted by
 * giving it to root, but installed anew. false: it is not as it should be. */
static bool programs_file(struct setup *s, const char *path, bool module)
{
	/* a module is read and mapped, no more: packages install such files without x */
	const mode_t need = module ? S_IROTH : S_IXOTH;
	const char *expected = module ? "root's, written by root alone, read by all"
				      : "root's, written by root alone, run by all";
	struct stat st;
	char found[256];
	bool link;

	if (lstat(path, &st) < 0 || ((link = S_ISLNK(st.st_mode)) && stat(path, &st) < 0)) {
		setup_fault(s, SETUP_ADMINS, path, strerror(errno),
		    "a program or module: make install", NULL);
		return false;
	}
	if (st.st_uid == 0 && !(st.st_mode & (S_IWGRP | S_IWOTH)) && (st.st_mode & need))
		return true;
	describe(found, sizeof(found), &st);
	if (st.st_uid != 0 || link)
		return setup_fault(s, SETUP_ADMINS, path, found,
		    module ? "root's, written by root alone, read by all: install it anew"
			   : "root's, written by root alone, run by all: install it anew",
		    NULL);
	return setup_fault(s, SETUP_OURS, path, found, expected, "chmod",
	    module ? "go-w,a+r" : "go-w,a+rx", path, NULL);
}

static void modules(struct setup *s, const char *dir, int depth)
{
	/* while others may write there, what it holds may change under us */
	DIR *d = programs_file(s, dir, false) ? opendir(dir) : NULL;
	const struct dirent *e;
	char path[PATH_MAX];

	while (d && (e = readdir(d)) != NULL) {
		size_t n = strlen(e->d_name);

		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (e->d_name[0] != '.' && e->d_type == DT_DIR && depth == 0)
			modules(s, path, 1);
		else if (n > 3 && strcmp(e->d_name + n - 3, ".so") == 0)
			programs_file(s, path, true);
	}
	if (d)
		closedir(d);
}

static void programs(struct setup *s)
{
	char path[1024];

	for (unsigned i = 0; i < s->set->nrole; i++) {
		const struct set_role *r = s->set->role[i];

		if (r->path)
			str_copy(path, sizeof(path), r->path);
		else
			snprintf(path, sizeof(path), "%s/%s", LIBEXECDIR, r->keyword);
		programs_file(s, path, false);
	}
	modules(s, s->set->module_directory, 0);
}

/* ---- the mail store ---- */

static void socket_for(struct setup *s, const struct set_role *r, const char *path)
{
	struct setup_account a;
	struct stat st;

	if (!r || !setup_account(s, r, &a) || stat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return; /* the store may not run now */
	if (reach(s, &a, path, true) && !setup_may(&a, &st, SETUP_W))
		cannot(s, &a, path, &st, SETUP_W, "connect", true);
}

static void store(struct setup *s)
{
	const char *path = s->set->smtpc.LMTP_socket;

	if (!path || !*path)
		return;
	socket_for(s, setup_role(s, "smtpc"), path);
	if (s->set->smar.probe.section)
		socket_for(s, setup_role(s, "smar"), path);
}

static void reached(struct setup *s)
{
	const char *const to[] = {
	    s->file, s->set->queue_directory, s->set->run_directory, s->set->module_directory};

	for (size_t k = 0; k < ARRAY_LEN(to); k++) {
		for (unsigned i = 0; i < s->set->nrole; i++) {
			const struct set_role *r = s->set->role[i];
			struct setup_account a;
			char *full = realpath(to[k], NULL);
			bool good = !full || !setup_account(s, r, &a) || setup_reach(s, &a, full);

			free(full);
			if (!good)
				break; /* the same folder for the others */
		}
	}
}

void setup_places(struct setup *s)
{
	struct files f = {.n = 0};

	mcp_folders(s->set, folder, s);
	note(&f, s->set->file);
	files_of(&f, conf_root(s->set->conf));
	for (unsigned i = 0; i < f.n; i++)
		conf_file(s, f.name[i]);
	programs(s);
	store(s);
	reached(s);
}
