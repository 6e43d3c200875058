/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * module.c -- meta1ctl module: what is installed, what the configuration uses of it, and files of
 * conf.d switched on and off. A file is on when conf.d/NAME.conf is a link to the shipped
 * NAME.conf.sample; what an admin wrote himself is never touched.
 *
 * Comes from meta1ctl.c; goes to core/mod for descriptors, and to mcp by SIGHUP. Descriptors are
 * read in a process without rights: code of modules runs as soon as they are opened.
 * On failure: one line on stderr; a file that does not go with the rest is taken back.
 */
#include "ctl/tool.h"
#include "mod/mod.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 65534

static const char *const folders[] = {"maps", "transports", "auth", "pmilter", "queue"};
static const char *const kinds[] = {[META1_MAP] = "map",
    [META1_TRANSPORT] = "transport",
    [META1_AUTH] = "auth",
    [META1_PMILTER] = "pmilter",
    [META1_QUEUE] = "queue"};
static const struct {
	uint32_t bit;
	const char *name;
} roles[] = {{META1_SMTPS, "smtps"}, {META1_SMTPC, "smtpc"}, {META1_SMAR, "smar"},
    {META1_QMGR, "qmgr"}, {META1_TOOL, "tools"}};

static int fail(const char *what, const char *why)
{
	fprintf(stderr, "meta1ctl: %s: %s\n", what, why);
	return 1;
}

/* ---- list, info ---- */

static json_t *roles_of(uint32_t bits)
{
	json_t *a = json_array();

	for (size_t i = 0; i < ARRAY_LEN(roles); i++)
		if (bits & roles[i].bit)
			json_array_append_new(a, json_string(roles[i].name));
	return a;
}

/* Of all roles, where the configuration asks for it. */
static json_t *used_by(struct tool *t, const char *name)
{
	json_t *a = json_array();

	for (size_t r = 0; r < ARRAY_LEN(roles) - 1; r++) {
		struct settings_module *use = NULL;
		unsigned n = settings_modules(t->set, roles[r].bit, &use);

		for (unsigned i = 0; i < n; i++)
			if (!strcmp(use[i].module, name))
				json_array_append_new(
				    a, json_sprintf("%s (%s)", roles[r].name, use[i].use));
		free(use);
	}
	return a;
}

static json_t *describe(struct tool *t, const struct mod *mod, bool options)
{
	const struct meta1_module *m = mod_descriptor(mod);
	json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:o}", "name", m->name, "version",
	    m->version, "kind", kinds[m->kind], "summary", m->summary, "file", mod_file(mod),
	    "roles", roles_of(m->roles), "used_by", used_by(t, m->name));
	json_t *list = json_array();

	json_object_set_new(o, "abi", json_sprintf("%u.%u", m->abi_major, m->abi_minor));
	for (uint32_t i = 0; options && i < m->nopt; i++) {
		const struct meta1_opt *opt =
		    (const void *)((const char *)m->opt + (size_t)i * m->sizeof_opt);

		json_array_append_new(
		    list, json_pack("{s:s, s:s, s:s, s:b}", "name", opt->name, "default",
			      opt->def ? opt->def : "", "doc", opt->doc, "required",
			      (opt->flags & META1_O_REQUIRED) != 0));
	}
	if (options)
		json_object_set(o, "options", list);
	json_decref(list);
	return o;
}

static void print(const json_t *o)
{
	const json_t *v;
	size_t i;

	printf("%-22s %-8s ABI %-5s ", tool_text(o, "name"), tool_text(o, "version"),
	    tool_text(o, "abi"));
	json_array_foreach(json_object_get(o, "roles"), i, v)
	    printf("%s%s", i ? "," : "", json_string_value(v));
	json_array_foreach(json_object_get(o, "used_by"), i, v)
	    printf("%s%s", i ? "; " : "  used by ", json_string_value(v));
	putchar('\n');
	if (!json_object_get(o, "options"))
		return;
	printf("  %s\n  %s\n", tool_text(o, "summary"), tool_text(o, "file"));
	json_array_foreach(json_object_get(o, "options"), i, v)
	    printf("  %-20s %s%s%s%s\n", tool_text(v, "name"), tool_text(v, "doc"),
		json_is_true(json_object_get(v, "required")) ? " Required." : "",
		*tool_text(v, "default") ? " Default: " : "", tool_text(v, "default"));
}

static void show(struct tool *t, const json_t *o)
{
	if (t->json)
		tool_dump(o);
	else
		print(o);
}

/* name NULL: all of them. */
static int descriptors(struct tool *t, const char *name)
{
	struct mod_host host = {.role = UINT32_MAX, .hostname = "localhost", .qdir = "/"};
	unsigned found = 0;
	int bad = 0;

	host.loop = loop_new();
	for (size_t f = 0; f < ARRAY_LEN(folders); f++) {
		char pattern[PATH_MAX];
		glob_t g;

		snprintf(pattern, sizeof(pattern), "%s/%s/%s.so", t->set->module_directory,
		    folders[f], name ? name : "*");
		if (glob(pattern, 0, NULL, &g))
			continue;
		for (size_t i = 0; i < g.gl_pathc; i++) {
			struct meta1_err err;
			struct mod *mod = mod_load_file(&host, g.gl_pathv[i], &err);
			json_t *o = mod ? describe(t, mod, name != NULL) : NULL;

			found++;
			if (o)
				show(t, o);
			else
				bad |= tool_fail(&err);
			json_decref(o);
		}
		globfree(&g);
	}
	mod_unload_all(&host);
	loop_free(&host.loop);
	fflush(stdout);
	if (!found && name)
		return fail(name, "there is no such module");
	return bad;
}

static int unprivileged(struct tool *t, const char *name)
{
	int status = 0;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		return fail("fork", strerror(errno));
	if (pid == 0) {
		if (geteuid() == 0 && (setgroups(0, NULL) || setgid(NOBODY) || setuid(NOBODY)))
			_exit(fail("setuid", strerror(errno)));
		_exit(descriptors(t, name));
	}
	if (waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
		return fail("a module", "it ends the process that reads its descriptor");
	return WEXITSTATUS(status);
}

int tool_module_list(struct tool *t)
{
	return unprivileged(t, NULL);
}

int tool_module_info(struct tool *t)
{
	if (strchr(t->args[0], '/') || strpbrk(t->args[0], "*?["))
		return fail(t->args[0], "expected a name as of module list");
	return unprivileged(t, t->args[0]);
}

/* ---- enable, disable ---- */

struct place {
	char file[PATH_MAX], sample[PATH_MAX], link[PATH_MAX];
};

static int place(const struct tool *t, struct place *p)
{
	const char *name = t->args[0], *slash = strrchr(t->set->file, '/');
	int dir = slash ? (int)(slash - t->set->file) : 0;

	if (!*name || strlen(name) > 64 ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != strlen(name))
		return fail(name, "expected a name of a to z, 0 to 9 and _");
	snprintf(p->link, sizeof(p->link), "%s.conf.sample", name);
	snprintf(
	    p->sample, sizeof(p->sample), "%.*s/conf.d/%s.conf.sample", dir, t->set->file, name);
	snprintf(p->file, sizeof(p->file), "%.*s/conf.d/%s.conf", dir, t->set->file, name);
	return 0;
}

/* Is it a link that enable made? */
static bool ours(const struct place *p)
{
	char to[PATH_MAX];
	ssize_t n = readlink(p->file, to, sizeof(to) - 1);

	if (n < 0)
		return false;
	to[n] = '\0';
	return !strcmp(to, p->link);
}

/* mcp holds the lock and its pid stands in it; 0: nobody holds it. */
static pid_t running(const struct tool *t)
{
	char path[PATH_MAX], text[32] = "";
	ssize_t n = 0;
	int fd;

	snprintf(path, sizeof(path), "%s/mcp.lock", t->set->queue_directory);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return 0;
	if (flock(fd, LOCK_SH | LOCK_NB))
		n = pread(fd, text, sizeof(text) - 1, 0);
	close(fd);
	return n > 0 ? (pid_t)atol(text) : 0;
}

/* The running server takes it, or says in its log why not. */
static int reload(const struct tool *t)
{
	pid_t pid = running(t);

	if (pid <= 1)
		puts("mcp does not run: it counts from the next start");
	else if (kill(pid, SIGHUP))
		return fail("reload", strerror(errno));
	else
		puts("mcp was told to reload: its log says what came of it");
	return 0;
}

/* The whole configuration as it is now. */
static bool good(const struct tool *t)
{
	struct settings *set = settings_load(t->set->file, OPT_CHECK);
	bool ok = conf_errors(set->conf) == 0;

	if (!ok)
		conf_report(set->conf, stderr);
	settings_free(&set);
	return ok;
}

int tool_module_enable(struct tool *t)
{
	struct place p;

	if (place(t, &p))
		return 1;
	if (access(p.sample, R_OK))
		return fail(p.sample, errno == ENOENT
					  ? "no such file: conf.d/*.conf.sample are those "
					    "that can be enabled"
					  : strerror(errno));
	if (symlink(p.link, p.file))
		return fail(p.file, errno != EEXIST ? strerror(errno)
				    : ours(&p)	    ? "is enabled already"
					       : "is there, and no link to the sample: edit it");
	if (!good(t)) {
		unlink(p.file);
		fail(t->args[0], "does not go with the rest of the configuration: not enabled");
		return EXIT_CONFIG;
	}
	printf("%s -> %s\n", p.file, p.link);
	return reload(t);
}

int tool_module_disable(struct tool *t)
{
	struct place p;

	if (place(t, &p))
		return 1;
	if (access(p.file, F_OK) && !ours(&p))
		return fail(p.file, "is not enabled");
	if (!ours(&p))
		return fail(p.file, "is no link to the sample: edit it, or take it away");
	if (unlink(p.file))
		return fail(p.file, strerror(errno));
	if (!good(t)) {
		if (symlink(p.link, p.file))
			fail(p.file, strerror(errno));
		fail(t->args[0], "the rest of the configuration needs it: not disabled");
		return EXIT_CONFIG;
	}
	printf("%s is gone\n", p.file);
	return reload(t);
}
