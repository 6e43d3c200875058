/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * role_readable.c -- can the account of a worker read the files that its instance is told to read?
 * Said when the configuration is checked, and not by a worker that cannot open them.
 *
 * Comes from: role_check.c, with a module's options; the file's is one whose record says PATH. Goes
 * to: warnings of the conf: only rights of mode and groups are looked at, and not where an access
 * list stands beside them or where the checker itself may not look. Owns nothing.
 */
#include "role_run.h"

#include <dirent.h>
#include <grp.h>
#include <meta1/transport.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define GROUPS	 64
#define FILES	 4096 /* of a folder, that are looked at */
#define MAY_READ 4u
#define MAY_PASS 1u

struct account {
	const char *name;
	uid_t uid;
	gid_t group[GROUPS];
	int ngroup;
};

static bool find(const char *user, struct account *a)
{
	const struct passwd *pw = getpwnam(user);

	if (!pw)
		return false;
	*a = (struct account){.name = user, .uid = pw->pw_uid, .ngroup = GROUPS};
	return getgrouplist(pw->pw_name, pw->pw_gid, a->group, &a->ngroup) >= 0;
}

static bool may(const struct account *a, const struct stat *st, unsigned want)
{
	unsigned shift = 0;

	for (int i = 0; i < a->ngroup; i++)
		if (a->group[i] == st->st_gid)
			shift = 3;
	if (st->st_uid == a->uid)
		shift = 6;
	return (st->st_mode >> shift & want) == want;
}

/* The first on the way that stops it, into part; a folder at the end is passed, too. false: nothing
 * does, or nobody can say. */
static bool stopped(const struct account *a, const char *path, char part[1024], struct stat *st)
{
	str_copy(part, 1024, path);
	for (char *p = part + 1;; p++) {
		bool last;

		p += strcspn(p, "/");
		last = !*p;
		*p = '\0';
		if (stat(part, st) < 0 || getxattr(part, "system.posix_acl_access", NULL, 0) > 0)
			return false;
		if (!may(a, st, S_ISDIR(st->st_mode) ? MAY_PASS : MAY_READ))
			return true;
		if (last)
			return false;
		*p = '/';
	}
}

struct place { /* what says which file */
	struct settings *set;
	const struct conf_pos *pos;
	const char *use;
	const struct account *a;
	const char *costs; /* what comes of it */
};

/* false: it was said that it cannot be read. */
static bool look(const struct place *w, const char *option, const char *path)
{
	const char *name = w->a->name;
	char part[1024];
	struct stat st;
	bool folder;

	if (!path || *path != '/' || strlen(path) >= sizeof(part) ||
	    !stopped(w->a, path, part, &st))
		return true;
	folder = S_ISDIR(st.st_mode);
	conf_warn(w->set->conf, w->pos,
	    "%s: option %s: its worker runs as %s, who cannot %s %s (uid %u, gid %u, mode %04o): "
	    "%s; say isolate_user = ...; with another account, or give it "
	    "the right: setfacl -m u:%s:%s %s",
	    w->use, option, name, folder ? "pass" : "read", part, (unsigned)st.st_uid,
	    (unsigned)st.st_gid, (unsigned)st.st_mode & 07777u, w->costs, name, folder ? "x" : "r",
	    part);
	return false;
}

static void look_list(const struct place *w, const char *option, const char *const *list)
{
	for (; list && *list; list++)
		look(w, option, *list);
}

/* Of the certificates in a folder the first that it cannot read. */
static void look_in(const struct place *w, const char *option, const char *folder)
{
	DIR *d = folder && look(w, option, folder) ? opendir(folder) : NULL;
	struct dirent *e;
	char path[1024];
	bool fine = true;

	for (int n = 0; d && fine && n < FILES && (e = readdir(d)); n++)
		fine =
		    e->d_name[0] == '.' ||
		    snprintf(path, sizeof(path), "%s/%s", folder, e->d_name) >= (int)sizeof(path) ||
		    look(w, option, path);
	if (d)
		closedir(d);
}

/* Files for TLS of a transport's connections; one that delivers on this host makes none. */
static void look_tls(const struct place *w, const struct meta1_module *d)
{
	const struct set_tls *t = &w->set->smtpc.tls_set;
	const struct meta1_transport_ops *ops = d->ops;
	struct place later = *w;

	if (d->kind != META1_TRANSPORT || ops->props & META1_T_LOCAL)
		return;
	look(w, "smtpc.tls.CAcert_file", t->CAcert_file);
	look(w, "smtpc.tls.CRL_file", t->CRL_file);
	look_list(w, "smtpc.tls.cert_file", t->cert_file);
	look_list(w, "smtpc.tls.key_file", t->key_file);
	later.costs = "no certificate will be good by it";
	look_in(&later, "smtpc.tls.CAcert_directory", t->CAcert_directory);
}

void role_check_readable(
    struct settings *set, const struct settings_module *use, const struct meta1_module *d)
{
	struct account a;
	struct place w = {.set = set,
	    .pos = &use->pos,
	    .use = use->use,
	    .a = &a,
	    .costs = "the instance will not open"};

	if (!use->isolate || !use->isolate->user || !find(use->isolate->user, &a))
		return;
	for (uint32_t i = 0; use->section && i < d->nopt; i++) {
		const struct meta1_opt *o =
		    (const void *)((const char *)d->opt + (size_t)i * d->sizeof_opt);
		struct conf_option *said = conf_find(use->section, o->name);
		const struct conf_value *v = said ? said->values : NULL;

		if (o->type != META1_PATH || !v)
			continue;
		w.pos = &v->pos;
		look(&w, o->name,
		    *v->text == '/'
			? v->text
			: conf_printf(set->conf, "%s/%s",
			      o->flags & META1_O_QDIR ? set->queue_directory : conf_dir(set->conf),
			      v->text));
	}
	w.pos = &use->pos;
	look_tls(&w, d);
}
