/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * settings_records.c -- the options of the core: those outside of all sections and of every role
 * here, the others in settings_ROLE.c, a file a section of meta1.conf.
 *
 * An option is one record: name, type, default, range, one sentence. Parser, checks, the effective
 * listing, the samples and meta1.conf(5) are all made from these; an option is added by a field in
 * settings.h and a record. Owns nothing, never fails; a test checks the records themselves.
 */
#include "settings_records.h"

#include <stdio.h>

static const struct meta1_opt opt_global[] = {
    META1_OPT_STR(struct settings, hostname, NULL, META1_O_RESTART,
	"Name of this host in greetings, EHLO and Received lines; the system's host name unless "
	"set."),
    META1_OPT_PATH(struct settings, queue_directory, "/var/spool/meta1",
	META1_O_MAYLACK | META1_O_RESTART,
	"Folder of the queue store and of relative socket names."),
    META1_OPT_PATH(struct settings, run_directory, "/run/meta1", META1_O_MAYLACK | META1_O_RESTART,
	"Folder of the control sockets ROLE.ctl."),
    META1_OPT_PATH(struct settings, module_directory, PKGLIBDIR, META1_O_MAYLACK | META1_O_RESTART,
	"Folder of the modules, one folder a kind below it."),
    META1_OPT_INT(struct settings, log_level, "12", "0..24",
	"How much is logged by roles that do not say otherwise: 0 errors, 4 warnings, 9 events of "
	"the server, 12 two lines a message, 20 and 24 for debugging."),
};
RECORDS(global);

static const struct meta1_opt opt_control[] = {
    REC(struct settings, control_admins, "admins", META1_LIST, "", "", META1_O_USER,
	"Accounts that may delete mail and empty caches through the control sockets, beside root "
	"and the role's own."),
};
RECORDS(control);

static const struct meta1_opt opt_role[] = {
    META1_OPT_INT(struct set_role, log_level, NULL, "0..24",
	"How much this role logs; the global log_level unless set."),
    META1_OPT_STR(struct set_role, user, NULL, META1_O_USER | META1_O_RESTART,
	"Account the role runs as; that of mcp unless set, which must not be root."),
    META1_OPT_STR(struct set_role, group, NULL, META1_O_GROUP | META1_O_RESTART,
	"Group the role runs as; the account's own unless set."),
    META1_OPT_PATH(struct set_role, path, NULL, META1_O_RESTART,
	"Program of the role; the installed one unless set."),
    META1_OPT_STR(struct set_role, arguments, NULL, META1_O_RESTART,
	"The program's arguments as one text, its own name first; \"ROLE -f FILE\" unless set."),
    META1_OPT_ENUM(struct set_role, start_action, "wait", "wait|pass|accept|nostartaccept",
	"wait and pass start the role at once, accept and nostartaccept at the first connection; "
	"with pass the listening sockets come through pass_fd_socket."),
    META1_OPT_PATH(struct set_role, pass_fd_socket, NULL,
	META1_O_QDIR | META1_O_MAYLACK | META1_O_RESTART,
	"Unix socket through which mcp hands the listening sockets over."),
    META1_OPT_LIST(struct set_role, restart_dependencies, "", 0,
	"Roles that are restarted too when this one is."),
    META1_OPT_MSEC(struct set_role, wait_for_server, "0", "0..1h",
	"After this time without the roles it asks a starting role ends and is started anew; 0: it "
	"waits."),
    META1_OPT_MSEC(struct set_role, wait_for_client, "0", "0..1h",
	"After this time without a role that asks it a started role warns; 0: never."),
    META1_OPT(struct set_role, processes, META1_INT, int64_t, "1", "1..64", 0,
	"Number of processes of this section; more than one only for smtps and smtpc."),
};
RECORDS(role);

static const struct meta1_opt opt_log[] = {
    META1_OPT_STR(struct set_log, facility, NULL, 0,
	"Log to syslog with this facility: mail, daemon, user, local0 to local7."),
    META1_OPT_STR(struct set_log, ident, NULL, 0, "Name in the log lines; the role's unless set."),
    META1_OPT_PATH(
	struct set_log, file, NULL, META1_O_QDIR | META1_O_MAYLACK, "Log to this file instead."),
    META1_OPT_ENUM(struct set_log, format, "text", "text|json",
	"Lines of key=value pairs, or a JSON object a line."),
};
RECORDS(log);

static const struct meta1_opt opt_listen[] = {
    META1_OPT_ENUM(struct set_listen, type, "inet", "inet|inet6|unix", "Kind of the socket."),
    META1_OPT_STR(
	struct set_listen, address, NULL, 0, "Address to listen on; all addresses unless set."),
    META1_OPT_INT(struct set_listen, port, NULL, "1..65535", "Port to listen on; 25 unless set."),
    META1_OPT_PATH(
	struct set_listen, path, NULL, META1_O_QDIR | META1_O_MAYLACK, "Name of a unix socket."),
    META1_OPT_STR(struct set_listen, umask, NULL, 0,
	"Rights that the unix socket lacks, octal; 000 unless set: all may connect."),
    META1_OPT_STR(struct set_listen, user, NULL, META1_O_USER, "Owner of the unix socket."),
    META1_OPT_STR(struct set_listen, group, NULL, META1_O_GROUP, "Group of the unix socket."),
    META1_OPT_BOOL(struct set_listen, tls, "no",
	"TLS from the first byte, as on port 465, instead of by STARTTLS; the section tls says "
	"with which certificates."),
};
RECORDS(listen);

static const struct settings_section sections_all[] = {
    SECTION("", global, struct settings, "Outside of all sections."),
    SECTION("control", control, struct settings, "Rights on the control sockets."),
    SECTION("ROLE", role, struct set_role, "In smtps, smtpc, qmgr and smar alike."),
    SECTION("ROLE.log", log, struct set_log, "Where a role logs; standard error without it."),
    SECTION("ROLE.listen_socket", listen, struct set_listen,
	"A socket that mcp opens for the role; several need names."),
    {NULL, NULL, NULL, 0},
};

enum { GROUPS_MAX = 64 };

const struct settings_group *settings_groups(size_t *n)
{
	static const struct settings_section *const tables[] = {
	    sections_all, sections_smtps, sections_smtpc, sections_qmgr, sections_smar};
	static struct settings_group groups[GROUPS_MAX];
	static size_t count;

	for (size_t i = count ? ARRAY_LEN(tables) : 0; i < ARRAY_LEN(tables); i++)
		for (const struct settings_section *s = tables[i]; s->path; s++)
			groups[count++] = (struct settings_group){
			    s->path, s->doc, s->rec->opt, s->rec->n, s->size};
	*n = count;
	return groups;
}

static bool has_option(const struct settings_group *g, const char *name)
{
	for (size_t i = 0; i < g->n; i++)
		if (strcasecmp(g->opt[i].name, name) == 0)
			return true;
	return false;
}

const char *settings_home(const char *name, char *buf, size_t size)
{
	size_t n, found = 0, len = 0;
	const struct settings_group *g = settings_groups(&n);

	for (size_t i = 0; i < n; i++) {
		const char *last = strrchr(g[i].path, '.'), *whole = g[i].path;
		int in = (int)strlen(whole); /* of the path: the section that has it */

		if (strcasecmp(last ? last + 1 : whole, name) == 0)
			in = last ? (int)(last - whole) : 0;
		else if (!has_option(&g[i], name))
			continue;
		if (in == 0)
			whole = "outside of all sections", in = (int)strlen(whole);
		else if (in == 4 && strncmp(whole, "ROLE", 4) == 0)
			whole = "smtps, smtpc, qmgr, smar", in = (int)strlen(whole);
		len += (size_t)snprintf(
		    buf + len, size - len, "%s%.*s", found++ ? ", " : "", in, whole);
		if (found > 3 || len >= size)
			return NULL;
	}
	return found ? buf : NULL;
}
