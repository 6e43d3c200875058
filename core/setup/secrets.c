/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * secrets.c -- rules about files with passwords: that of smtpc's section auth and the tokens that
 * its rows name, and the sasldb of the server's.
 *
 * Comes from setup.c, after the keys. Goes to setup_fault(). Owns nothing; what is read is wiped.
 * All of them are the admin's: only told; but that smtps is in the group that may read root's
 * sasldb is ours to mend, as with the store's socket (places.c). What smtpc reads it refuses itself
 * when its rights are wrong (core/lib/secret.c); the sasldb is read by Cyrus SASL, which says no
 * more than that there is no such user.
 */
#include "setup.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define LINE_SIZE    16384
#define SASL_FOLDERS "/etc/sasl2:/etc/sasl:/usr/lib/sasl2"
#define SASLDB	     "/etc/sasldb2"

static void found_at(char *out, size_t size, const struct stat *st)
{
	char names[160];

	setup_names(names, sizeof(names), st->st_uid, st->st_gid);
	snprintf(out, size, "owner %s, mode %04o", names, (unsigned)st->st_mode & 07777u);
}

/* ---- of smtpc ---- */

/* As secret_rights() asks for it. */
static void ours(struct setup *s, const struct setup_account *a, const char *path, const char *what)
{
	char found[256], expected[320], owner[160];
	struct stat st;

	if (stat(path, &st) < 0) {
		setup_fault(s, SETUP_ADMINS, path, strerror(errno), what, NULL);
		return;
	}
	if (!setup_reach(s, a, path))
		return;
	if (!(st.st_mode & (S_IRWXO | S_IWGRP)) && setup_may(a, &st, SETUP_R) &&
	    (st.st_uid == 0 || st.st_uid == a->uid || st.st_gid == a->gid))
		return;
	found_at(found, sizeof(found), &st);
	setup_names(owner, sizeof(owner), 0, a->gid);
	snprintf(expected, sizeof(expected), "owner %s, mode 0640: read by %s, by nobody else",
	    owner, a->name);
	setup_fault(s, SETUP_ADMINS, path, found, expected, "chown", owner, path, "&&", "chmod",
	    "0640", path, NULL);
}

/* A row ends with what may hold blanks, a password or a command: no token_file= is behind that. */
static void row(struct setup *s, const struct setup_account *a, char *p)
{
	char *save, *w;

	for (w = strtok_r(p, " \t\r\n", &save); w; w = strtok_r(NULL, " \t\r\n", &save)) {
		if (strncasecmp(w, "password=", 9) == 0 ||
		    strncasecmp(w, "token_command=", 14) == 0)
			return;
		if (strncasecmp(w, "token_file=", 11) == 0 && w[11] == '/')
			ours(s, a, w + 11, "a file with a token, as token_file= says");
	}
}

static void client(struct setup *s)
{
	const struct set_smtpc *c = &s->set->smtpc;
	struct setup_account a;
	char line[LINE_SIZE];
	FILE *f;

	if (!c->auth || !c->login_set.file || !setup_account(s, &c->role, &a))
		return;
	ours(s, &a, c->login_set.file, "credentials for next hops, as file says");
	f = fopen(c->login_set.file, "re");
	if (!f)
		return;
	setvbuf(f, NULL, _IONBF, 0);
	while (fgets(line, sizeof(line), f))
		if (line[strspn(line, " \t")] != '#')
			row(s, &a, line);
	fclose(f);
	explicit_bzero(line, sizeof(line));
}

/* ---- of smtps ---- */

/* What smtps.conf says of it, in the first of the folders that has one. */
static FILE *sasl_conf(const char *folders)
{
	char path[1024];
	FILE *f = NULL;

	while (*folders && !f) {
		size_t n = strcspn(folders, ":");

		snprintf(path, sizeof(path), "%.*s/smtps.conf", (int)n, folders);
		f = fopen(path, "re");
		folders += n + (folders[n] == ':');
	}
	return f;
}

/* The value of a line "NAME: VALUE"; NULL: another line. */
static const char *value_of(const char *line, const char *name)
{
	size_t n = strlen(name);

	if (strncasecmp(line, name, n) != 0 || line[n] != ':')
		return NULL;
	return line + n + 1 + strspn(line + n + 1, " \t");
}

/* true: users are looked up in it, as far as that file says; sure: it says so by name. */
static bool uses_sasldb(const char *folders, char *path, size_t size, bool *sure)
{
	FILE *f = sasl_conf(folders);
	bool any = false, named = false;
	char line[1024];

	str_copy(path, size, SASLDB);
	while (f && fgets(line, sizeof(line), f)) {
		const char *v;

		line[strcspn(line, "\r\n")] = '\0';
		if ((v = value_of(line, "sasldb_path")) != NULL)
			str_copy(path, size, v);
		if ((v = value_of(line, "auxprop_plugin")) != NULL) {
			any = true;
			named = strstr(v, "sasldb") != NULL;
		}
	}
	if (f)
		fclose(f);
	*sure = named;
	return named || !any;
}

/* Cyrus' own processes may write it, by its group. One that is not root's may have been put there
 * by another account: its group is nobody's to give. */
static void sasldb(struct setup *s, const struct setup_account *a, const char *path, bool sure)
{
	char found[256], expected[160], name[64];
	const struct group *gr;
	struct stat st;

	snprintf(
	    expected, sizeof(expected), "read by %s, and by nobody outside its group", a->name);
	if (stat(path, &st) < 0) {
		if (sure)
			setup_fault(s, SETUP_ADMINS, path, strerror(errno),
			    "passwords, as saslpasswd2 writes them", NULL);
		return;
	}
	if (!setup_reach(s, a, path))
		return;
	found_at(found, sizeof(found), &st);
	gr = getgrgid(st.st_gid);
	str_copy(name, sizeof(name), gr ? gr->gr_name : "");
	if (st.st_mode & S_IRWXO)
		setup_fault(s, SETUP_ADMINS, path, found, expected, "chmod", "o=", path, NULL);
	else if (setup_may(a, &st, SETUP_R))
		return;
	else if ((st.st_mode & S_IRGRP) && *name && st.st_gid != 0)
		setup_fault(s, st.st_uid == 0 ? SETUP_OURS : SETUP_ADMINS, path, found, expected,
		    "usermod", "-aG", name, a->name, NULL);
	else if ((gr = getgrgid(a->gid)) != NULL)
		setup_fault(s, SETUP_ADMINS, path, found, expected, "chgrp", gr->gr_name, path,
		    "&&", "chmod", "g+r", path, NULL);
}

static void server(struct setup *s, const struct set_smtps *c)
{
	const struct conf_option *o;
	struct set_role as = c->role;
	struct setup_account a;
	char path[1024];
	bool sure;

	if (c->auth_set.iso.on && c->auth_set.iso.user) { /* then a worker reads it */
		as.user = c->auth_set.iso.user;
		as.group = NULL;
	}
	/* of all modules it is this one that keeps passwords in a file of this machine */
	if (!c->auth || strcmp(c->auth_set.module, "cyrus") != 0 || !setup_account(s, &as, &a))
		return;
	o = conf_find(c->auth, "config_path");
	if (uses_sasldb(o && o->values ? o->values->text : SASL_FOLDERS, path, sizeof(path), &sure))
		sasldb(s, &a, path, sure);
}

void setup_secrets(struct setup *s)
{
	client(s);
	for (unsigned i = 0; i < s->set->nsmtps; i++)
		server(s, &s->set->smtps[i]);
}
