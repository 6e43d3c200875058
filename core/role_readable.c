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

#include <grp.h>
#include <meta1/transport.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define GROUPS	 64
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

/* The first on the way that stops it, into part; false: nothing does, or nobody can say. */
static bool stopped(
    const struct account *a, const char *path, char part[1024], struct stat *st, bool *folder)
{
	str_copy(part, 1024, path);
	for (char *p = part + 1;; p++) {
		p += strcspn(p, "/");
		*folder = *p == '/';
		*p = '\0';
		if (stat(part, st) < 0 || getxattr(part, "system.posix_acl_access", NULL, 0) > 0)
			return false;
		if (!may(a, st, *folder ? MAY_PASS : MAY_READ))
			return true;
		if (!*folder)
			return false;
		*p = '/';
	}
}

static void look(struct settings *set, const struct conf_pos *pos, const char *use,
    const char *option, const struct account *a, const char *path)
{
	char part[1024];
	struct stat st;
	bool folder;

	if (*path != '/' || strlen(path) >= sizeof(part) || !stopped(a, path, part, &st, &folder))
		return;
	conf_warn(set->conf, pos,
	    "%s: option %s: its worker runs as %s, who cannot %s %s (uid %u, gid %u, mode %04o): "
	    "the instance will not open; say isolate_user = ...; with another account, or give it "
	    "the right: setfacl -m u:%s:%s %s",
	    use, option, a->name, folder ? "pass" : "read", part, (unsigned)st.st_uid,
	    (unsigned)st.st_gid, (unsigned)st.st_mode & 07777u, a->name, folder ? "x" : "r", part);
}

/* Files for TLS of a transport's connections; one that delivers on this host makes none. */
static void look_tls(struct settings *set, const struct settings_module *use,
    const struct meta1_module *d, const struct account *a)
{
	const struct set_tls *t = &set->smtpc.tls_set;
	const struct meta1_transport_ops *ops = d->ops;

	if (d->kind != META1_TRANSPORT || ops->props & META1_T_LOCAL)
		return;
	if (t->CAcert_file)
		look(set, &use->pos, use->use, "smtpc.tls.CAcert_file", a, t->CAcert_file);
	for (const char *const *k = t->key_file; k && *k; k++)
		look(set, &use->pos, use->use, "smtpc.tls.key_file", a, *k);
}

void role_check_readable(
    struct settings *set, const struct settings_module *use, const struct meta1_module *d)
{
	struct account a;

	if (!use->isolate || !use->isolate->user || !find(use->isolate->user, &a))
		return;
	for (uint32_t i = 0; use->section && i < d->nopt; i++) {
		const struct meta1_opt *o =
		    (const void *)((const char *)d->opt + (size_t)i * d->sizeof_opt);
		struct conf_option *said = conf_find(use->section, o->name);
		const struct conf_value *v = said ? said->values : NULL;

		if (o->type != META1_PATH || !v)
			continue;
		look(set, &v->pos, use->use, o->name, &a,
		    *v->text == '/'
			? v->text
			: conf_printf(set->conf, "%s/%s",
			      o->flags & META1_O_QDIR ? set->queue_directory : conf_dir(set->conf),
			      v->text));
	}
	look_tls(set, use, d, &a);
}
