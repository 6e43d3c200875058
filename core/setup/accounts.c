/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * accounts.c -- rules about who there is: an account and a group a role, the group that may read
 * stored mail, the group that may use meta1ctl.
 *
 * Comes from setup.c; first of all rules, since the others name these accounts. Goes to
 * setup_fault(). Owns nothing. Accounts that are there are never changed, but for one more group.
 */
#include "setup.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>

#define CONTROL_GROUP "meta1"
#define NO_HOME	      "/nonexistent"
#define NO_SHELL      "/usr/sbin/nologin"

static bool number(const char *text, unsigned long *n)
{
	char *end;

	*n = 0;
	if (text[0] < '0' || text[0] > '9')
		return false;
	*n = strtoul(text, &end, 10);
	return !*end && *n < UINT32_MAX;
}

const struct set_role *setup_role(struct setup *s, const char *keyword)
{
	for (unsigned i = 0; i < s->set->nrole; i++)
		if (strcmp(s->set->role[i]->keyword, keyword) == 0)
			return s->set->role[i];
	return NULL;
}

void setup_names(char *out, size_t size, uid_t uid, gid_t gid)
{
	const struct passwd *pw = getpwuid(uid);
	char user[64];
	const struct group *gr;

	if (pw)
		str_copy(user, sizeof(user), pw->pw_name);
	else
		snprintf(user, sizeof(user), "%u", (unsigned)uid);
	gr = getgrgid(gid);
	if (gr)
		snprintf(out, size, "%s:%s", user, gr->gr_name);
	else
		snprintf(out, size, "%s:%u", user, (unsigned)gid);
}

static const struct passwd *find_user(const char *name)
{
	const struct passwd *pw = getpwnam(name);
	unsigned long n;

	return !pw && number(name, &n) ? getpwuid((uid_t)n) : pw;
}

static bool find_group(const char *name, gid_t *gid)
{
	const struct group *gr = getgrnam(name);
	unsigned long n = 0;

	if (!gr && !number(name, &n))
		return false;
	*gid = gr ? gr->gr_gid : (gid_t)n;
	return true;
}

/* What CDB_gid says, as it is written; NULL: nothing. */
static const char *cdb_text(struct setup *s)
{
	const struct set_role *r = setup_role(s, "smtps");
	const struct conf_option *o = r && r->section ? conf_find(r->section, "CDB_gid") : NULL;

	return o && o->values && o->values->text[0] != '-' ? o->values->text : NULL;
}

/* The group of a role as the configuration has it, or as its account will have. */
static bool group_of(const struct set_role *r, gid_t *gid)
{
	const struct passwd *pw;

	if (r->group && *r->group)
		return find_group(r->group, gid);
	pw = r->user ? find_user(r->user) : NULL;
	if (pw)
		*gid = pw->pw_gid;
	return pw != NULL;
}

bool setup_cdb_group(struct setup *s, gid_t *gid)
{
	const char *text = cdb_text(s);
	const struct set_role *r = setup_role(s, "smtpc");

	return text ? find_group(text, gid) : r && group_of(r, gid);
}

bool setup_account(struct setup *s, const struct set_role *r, struct setup_account *a)
{
	const struct passwd *pw = r->user && *r->user ? find_user(r->user) : NULL;
	bool reader = strcmp(r->keyword, "qmgr") == 0 || strcmp(r->keyword, "smtpc") == 0;
	int n = SETUP_GROUPS - 1;
	gid_t cdb;

	if (!pw || !group_of(r, &a->gid))
		return false;
	pw = find_user(r->user);
	if (!pw)
		return false;
	a->uid = pw->pw_uid;
	str_copy(a->name, sizeof(a->name), pw->pw_name);
	if (getgrouplist(a->name, a->gid, a->more, &n) < 0)
		n = SETUP_GROUPS - 1; /* the first of them */
	a->nmore = (unsigned)n;
	if (reader && setup_cdb_group(s, &cdb)) /* mcp gives it, see core/mcp/exec.c */
		a->more[a->nmore++] = cdb;
	return true;
}

/* ---- rules ---- */

static void need_group(struct setup *s, const char *name, const char *id)
{
	char what[128];

	if (getgrnam(name) != NULL)
		return;
	for (unsigned i = 0; i < s->ngroup; i++)
		if (strcmp(s->group[i], name) == 0)
			return;
	if (s->ngroup < ARRAY_LEN(s->group))
		s->group[s->ngroup++] = name;
	snprintf(what, sizeof(what), "group %s", name);
	if (id)
		setup_fault(s, SETUP_OURS, what, "no such group", "a group of the system",
		    "groupadd", "-r", "-g", id, name, NULL);
	else
		setup_fault(s, SETUP_OURS, what, "no such group", "a group of the system",
		    "groupadd", "-r", name, NULL);
}

/* A group by number is made with the account whose group it will be; one by name by itself. */
static void need_cdb(struct setup *s)
{
	const char *text = cdb_text(s);
	const struct set_role *smtpc = setup_role(s, "smtpc");
	const char *user = smtpc && smtpc->user ? smtpc->user : "";
	unsigned long n;

	if (!text)
		return;
	if (!number(text, &n))
		need_group(s, text, NULL);
	else if (!getgrgid((gid_t)n) && *user && !find_user(user) && !getgrnam(user))
		need_group(s, user, text);
	else if (!getgrgid((gid_t)n))
		setup_fault(s, SETUP_ADMINS, "smtps: CDB_gid", text,
		    "the group of the account of smtpc, by name or number", NULL);
}

static void look_at_account(struct setup *s, const char *what, const struct passwd *pw)
{
	const char *shell = pw->pw_shell ? pw->pw_shell : "";
	const char *last = strrchr(shell, '/');

	if (pw->pw_uid == 0)
		setup_fault(s, SETUP_ADMINS, what, "uid 0", "an account without privileges", NULL);
	else if (!last || (strcmp(last, "/nologin") != 0 && strcmp(last, "/false") != 0))
		setup_fault(s, SETUP_ADMINS, what, *shell ? shell : "the default shell",
		    "no login: " NO_SHELL, "usermod", "-s", NO_SHELL, pw->pw_name, NULL);
}

static void need_user(struct setup *s, const struct set_role *r)
{
	const char *user = r->user ? r->user : "", *group = r->group && *r->group ? r->group : user;
	const struct passwd *pw = *user ? find_user(user) : NULL;
	char what[128];
	unsigned long n;

	if (!*user) {
		snprintf(what, sizeof(what), "user of %s", r->keyword);
		setup_fault(s, SETUP_ADMINS, what, "none in the configuration",
		    "user = …; in its section: root starts it", NULL);
		return;
	}
	snprintf(what, sizeof(what), "user %s", user);
	if (pw) {
		look_at_account(s, what, pw);
	} else if (number(user, &n)) {
		setup_fault(s, SETUP_ADMINS, what, "no such account", "an account", NULL);
	} else {
		need_group(s, group, NULL);
		setup_fault(s, SETUP_OURS, what, "no such account", "an account without login",
		    "useradd", "-r", "-M", "-d", NO_HOME, "-s", NO_SHELL, "-g", group, user, NULL);
	}
}

/* Those of isolated modules. */
static void need_worker(struct setup *s, const struct set_isolate *iso)
{
	const struct set_role as = {.keyword = "isolate_user", .user = iso->user};

	if (iso->on && iso->user)
		need_user(s, &as);
}

static void need_workers(struct setup *s)
{
	for (unsigned i = 0; i < s->set->smar.nmap; i++)
		need_worker(s, &s->set->smar.map[i].iso);
	for (unsigned i = 0; i < s->set->nsmtps; i++) {
		need_worker(s, &s->set->smtps[i].auth_set.iso);
		for (unsigned k = 0; k < s->set->smtps[i].nfilter; k++)
			need_worker(s, &s->set->smtps[i].filter[k].iso);
	}
	need_worker(s, &s->set->smtpc.login_set.iso);
	for (unsigned i = 0; i < s->set->smtpc.ntransport; i++)
		need_worker(s, &s->set->smtpc.transport[i].iso);
}

/* One that two roles share can do what either may. */
static void own_user(struct setup *s, const struct set_role *r)
{
	for (unsigned i = 0; i < s->set->nrole; i++) {
		const struct set_role *o = s->set->role[i];
		char what[128], found[128];

		if (o == r)
			return;
		if (!o->user || !r->user || strcmp(o->user, r->user) != 0 ||
		    strcmp(o->keyword, r->keyword) == 0)
			continue;
		snprintf(what, sizeof(what), "user of %s", r->keyword);
		snprintf(found, sizeof(found), "%s, which is that of %s too", r->user, o->keyword);
		setup_fault(s, SETUP_ADMINS, what, found, "an account of its own", NULL);
		return;
	}
}

/* qmgr reads stored mail. mcp gives its process the group; tools that run as its account need it.
 */
static void need_member(struct setup *s)
{
	const struct set_role *r = setup_role(s, "qmgr");
	const struct passwd *pw = r && r->user ? find_user(r->user) : NULL;
	gid_t cdb, list[SETUP_GROUPS];
	int n = SETUP_GROUPS;
	const struct group *gr;
	char what[128], user[64];

	if (!pw || !setup_cdb_group(s, &cdb) || getgrouplist(pw->pw_name, pw->pw_gid, list, &n) < 0)
		return;
	for (int i = 0; i < n; i++)
		if (list[i] == cdb)
			return;
	str_copy(user, sizeof(user), pw->pw_name);
	gr = getgrgid(cdb);
	if (!gr)
		return; /* need_cdb() said so */
	snprintf(what, sizeof(what), "group %s", gr->gr_name);
	setup_fault(s, SETUP_OURS, what, "without the account of qmgr",
	    "it is a member: qmgr reads stored mail", "usermod", "-aG", gr->gr_name, user, NULL);
}

void setup_accounts(struct setup *s)
{
	need_cdb(s);
	for (unsigned i = 0; i < s->set->nrole; i++) {
		const struct set_role *r = s->set->role[i];
		bool again = false;

		for (unsigned k = 0; k < i; k++)
			again |= r->user && s->set->role[k]->user &&
				 strcmp(r->user, s->set->role[k]->user) == 0;
		if (!again)
			need_user(s, r);
		own_user(s, r);
	}
	need_workers(s);
	need_member(s);
	need_group(s, CONTROL_GROUP, NULL);
}
