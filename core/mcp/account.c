/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * account.c -- who a section's processes run as, and the errors of a configuration that only
 * mcp sees: accounts, sections that cannot be served, too many processes.
 *
 * Comes from: mcp.c before anything is started, reload.c, exec.c. Goes to: nothing.
 * As root every section names an unprivileged user; as an ordinary user everything runs as
 * that user. On failure: what to write into the file, at the section's place.
 */
#include "mcp.h"

#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

#define PROCESSES_MAX 254 /* the index is two hex digits of an id; FF is qmgr's */

bool mcp_testing(void)
{
#ifdef META1_DEVELOPER
	const char *s = getenv("META1_TEST_ENV");

	return s && strcmp(s, "1") == 0;
#else
	return false;
#endif
}

static bool number(const char *text, unsigned long *n)
{
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return false;
	*n = strtoul(text, &end, 10);
	return !*end && *n < UINT32_MAX;
}

static int find_user(const char *user, struct mcp_account *a, struct meta1_err *err)
{
	unsigned long n;
	struct passwd *pw = getpwnam(user);

	if (!pw && number(user, &n))
		pw = getpwuid((uid_t)n);
	if (!pw)
		return err_set(err, "user = %s: this machine has no such account", user);
	a->uid = pw->pw_uid;
	a->gid = pw->pw_gid;
	str_copy(a->name, sizeof(a->name), pw->pw_name);
	return 0;
}

static int find_group(const char *group, struct mcp_account *a, struct meta1_err *err)
{
	unsigned long n;
	struct group *gr = getgrnam(group);

	if (gr)
		a->gid = gr->gr_gid;
	else if (number(group, &n))
		a->gid = (gid_t)n;
	else
		return err_set(err, "group = %s: this machine has no such group", group);
	return 0;
}

int mcp_account(const struct set_role *s, bool root, struct mcp_account *a, struct meta1_err *err)
{
	*a = (struct mcp_account){.uid = geteuid(), .gid = getegid()};
	if (!s->user || !*s->user) {
		if (root && !mcp_testing())
			return err_set(
			    err, "%s would run as root; say user = …; in its section", s->keyword);
		return 0;
	}
	if (find_user(s->user, a, err) < 0)
		return -1;
	if (s->group && *s->group && find_group(s->group, a, err) < 0)
		return -1;
	if (root && (a->uid == 0 || a->gid == 0))
		return err_set(err,
		    "%s would run with uid %u and gid %u; say user = …; with an unprivileged "
		    "account",
		    s->keyword, (unsigned)a->uid, (unsigned)a->gid);
	if (!root && a->uid != geteuid())
		return err_set(err,
		    "user = %s: mcp runs as uid %u and cannot become another user; start mcp as "
		    "root, or drop the option",
		    s->user, (unsigned)geteuid());
	a->change = root;
	return 0;
}

static void check_smtps(
    struct settings *set, const struct set_role *s, const struct set_role *first)
{
	const struct conf_pos *pos = s->section ? &s->section->pos : NULL;
	const char *one = first->user ? first->user : "", *other = s->user ? s->user : "";

	if (s->nlisten == 0)
		conf_error(set->conf, pos,
		    "smtps listens nowhere; say listen_socket { type = inet; port = 25; }");
	if (strcmp(one, other) != 0)
		conf_error(set->conf, pos,
		    "user = %s: all smtps sections share one folder of the queue and need one user "
		    "(%s)",
		    other, one);
}

/* It may be gone by a slip of the pen. What is there does what it can without it. */
static void check_asked(struct settings *set, const struct set_role *s)
{
	for (const struct mcp_wire *w = mcp_wiring; w->role; w++)
		if (strstr(mcp_wire(s->keyword)->talks, w->role) && !mcp_has_role(set, w->role))
			conf_warn(set->conf, s->section ? &s->section->pos : NULL,
			    "%s asks %s, and there is no section %s: mail waits, and smtps says "
			    "451; write %s { }",
			    s->keyword, w->role, w->role, w->role);
}

unsigned mcp_account_check(struct settings *set, bool root)
{
	unsigned before = conf_errors(set->conf), smtps = 0, smtpc = 0;
	const struct set_role *first = NULL;

	if (set->nrole == 0)
		conf_error(set->conf, NULL,
		    "%s has no section smtps, smtpc, qmgr or smar: "
		    "there is nothing to start",
		    set->file);
	for (unsigned i = 0; i < set->nrole; i++) {
		const struct set_role *s = set->role[i];
		struct mcp_account a;
		struct meta1_err err;

		check_asked(set, s);
		if (mcp_account(s, root, &a, &err) < 0)
			conf_error(set->conf, s->section ? &s->section->pos : NULL, "%s", err.text);
		if (strcmp(s->keyword, "smtps") == 0) {
			first = first ? first : s;
			check_smtps(set, s, first);
			smtps += (unsigned)s->processes;
		} else if (strcmp(s->keyword, "smtpc") == 0) {
			smtpc += (unsigned)s->processes;
		} else if (s->processes > 1) {
			conf_error(set->conf, s->section ? &s->section->pos : NULL,
			    "processes = %lld: %s is always one process", (long long)s->processes,
			    s->keyword);
		}
	}
	if (smtps > PROCESSES_MAX || smtpc > PROCESSES_MAX)
		conf_error(set->conf, NULL,
		    "processes: %u of smtps and %u of smtpc, at most %d each", smtps, smtpc,
		    PROCESSES_MAX);
	mcp_workers_check(set, root);
	return conf_errors(set->conf) - before;
}
