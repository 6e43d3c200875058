/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * meta1ctl.c -- the admin's tool: a table of commands over the control sockets.
 * Also mailq, by its name. Comes from the shell; goes to client.c.
 * Owns nothing. On failure: one line on stderr, exit 1; wrong use 64; bad configuration 78.
 */
#include "ctl/client.h"
#include "ctl/fsck.h"
#include "ctl/merge.h"
#include "lib/settings.h"

#include <ctype.h>
#include <getopt.h>
#include <glob.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUTE_PAUSE_MS 50
#define ROUTE_TRIES    240 /* 12 s: smar answers within 10 */

struct tool {
	const char *run; /* run_directory */
	struct settings *set;
	bool json;
	char **args; /* after the command's words */
	int nargs;
};
struct command {
	const char *words, *args, *doc;
	int least, most; /* arguments */
	int (*fn)(struct tool *);
};

static int fail(const struct meta1_err *err)
{
	fprintf(stderr, "meta1ctl: %s\n", err->text);
	return 1;
}

static void path_of(const struct tool *t, const char *role, char *out, size_t size)
{
	snprintf(out, size, "%s/%s.ctl", t->run, role);
}

static json_t *ask(const struct tool *t, const char *role, const char *method, const char *target,
    struct meta1_err *err)
{
	char path[512];

	path_of(t, role, path, sizeof(path));
	return client_json(path, method, target, err);
}

static const char *text(const json_t *o, const char *key)
{
	char *s = (char *)(uintptr_t)json_string_value(json_object_get(o, key));
	if (s)
		client_clean(s);
	return s ? s : "";
}

static long long number(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

static void when(long long sec, char *out, size_t size)
{
	time_t t = (time_t)sec;
	struct tm tm;

	localtime_r(&t, &tm);
	strftime(out, size, "%Y-%m-%d %H:%M:%S", &tm);
}

static void dump(const json_t *j)
{
	json_dumpf(j, stdout, JSON_COMPACT);
	putchar('\n');
}

/* An argument for a path or query: only unreserved characters stay (RFC 3986). */
static void encode(const char *s, char *out, size_t size)
{
	size_t n = 0;

	for (; *s && n + 4 < size; s++) {
		if (isalnum((unsigned char)*s) || strchr("-._~", *s))
			out[n++] = *s;
		else
			n += (size_t)snprintf(out + n, size - n, "%%%02X", (unsigned char)*s);
	}
	out[n] = '\0';
}

/* ---- the processes ---- */

/* Calls fn for each control socket of run_directory, in order of name. */
static int each_socket(struct tool *t, int (*fn)(struct tool *, const char *path, const char *name))
{
	char pattern[512], name[256];
	glob_t g;
	size_t i;
	int bad = 0;

	snprintf(pattern, sizeof(pattern), "%s/*.ctl", t->run);
	if (glob(pattern, 0, NULL, &g)) {
		fprintf(stderr, "meta1ctl: no control sockets in %s (is mcp running?)\n", t->run);
		return 1;
	}
	for (i = 0; i < g.gl_pathc; i++) {
		str_copy(name, sizeof(name), strrchr(g.gl_pathv[i], '/') + 1);
		name[strlen(name) - 4] = '\0';
		bad |= fn(t, g.gl_pathv[i], name);
	}
	globfree(&g);
	return bad;
}

static int status_one(struct tool *t, const char *path, const char *name)
{
	struct meta1_err err;
	json_t *j = client_json(path, "GET", "/v1/status", &err), *v;
	const char *key;

	if (!j) {
		printf("%-12s down: %s\n", name, err.text);
		return 1;
	}
	if (t->json) {
		dump(j);
		json_decref(j);
		return 0;
	}
	printf("%-12s pid %lld, up %lld s, version %s", name, number(j, "pid"), number(j, "uptime"),
	    text(j, "version"));
	json_object_foreach(j, key, v)
	{
		if (json_is_boolean(v))
			printf(", %s %s", key, json_is_true(v) ? "yes" : "no");
		else if (json_is_integer(v) && strcmp(key, "pid") && strcmp(key, "uptime") &&
			 strcmp(key, "process"))
			printf(", %s %lld", key, (long long)json_integer_value(v));
	}
	putchar('\n');
	json_decref(j);
	return 0;
}

static int cmd_status(struct tool *t)
{
	return each_socket(t, status_one);
}

static struct {
	char **text;
	size_t n;
} gathered;

static int metrics_one(struct tool *t, const char *path, const char *name)
{
	struct meta1_err err;
	char *s;
	int status;

	(void)t;
	(void)name;
	if (!(s = client_text(path, "GET", "/metrics", &status, &err)))
		return fail(&err);
	gathered.text = base_realloc(gathered.text, (gathered.n + 1) * sizeof(*gathered.text));
	gathered.text[gathered.n++] = s;
	return 0;
}

static int cmd_metrics(struct tool *t)
{
	int bad = each_socket(t, metrics_one);

	merge_metrics(gathered.text, gathered.n, stdout);
	while (gathered.n > 0)
		free(gathered.text[--gathered.n]);
	free(gathered.text);
	gathered.text = NULL;
	return bad;
}

/* ---- the queue ---- */

static void show_message(const json_t *m)
{
	const json_t *rcpts = json_object_get(m, "recipients"), *r;
	char t[32];
	size_t i;

	when(number(m, "time"), t, sizeof(t));
	printf("%s  %s  %lld bytes  from <%s>\n", text(m, "id"), t, number(m, "size"),
	    text(m, "sender"));
	json_array_foreach(rcpts, i, r)
	{
		printf("    %-9s <%s>", text(r, "state"), text(r, "address"));
		if (number(r, "next_try")) {
			when(number(r, "next_try"), t, sizeof(t));
			printf("  next try %s", t);
		}
		if (*text(r, "reason"))
			printf("  (%s)", text(r, "reason"));
		putchar('\n');
	}
}

static int cmd_list(struct tool *t)
{
	struct meta1_err err;
	char target[256] = "/v1/queue?limit=500", cursor[128];
	json_t *page, *m;
	size_t i, n = 0;

	for (;;) {
		if (!(page = ask(t, "qmgr", "GET", target, &err)))
			return fail(&err);
		json_array_foreach(json_object_get(page, "messages"), i, m)
		{
			n++;
			if (t->json)
				dump(m);
			else
				show_message(m);
		}
		if (!*text(page, "next"))
			break;
		encode(text(page, "next"), cursor, sizeof(cursor));
		snprintf(target, sizeof(target), "/v1/queue?limit=500&cursor=%s", cursor);
		json_decref(page);
	}
	json_decref(page);
	if (!t->json)
		printf(n ? "%zu message%s\n" : "the queue is empty\n", n, n == 1 ? "" : "s");
	return 0;
}

static int cmd_show(struct tool *t)
{
	char target[256], id[128];
	struct meta1_err err;
	json_t *m;

	encode(t->args[0], id, sizeof(id));
	snprintf(target, sizeof(target), "/v1/queue/%s", id);
	if (!(m = ask(t, "qmgr", "GET", target, &err)))
		return fail(&err);
	if (t->json)
		dump(m);
	else
		show_message(m);
	json_decref(m);
	return 0;
}

/* One request for each ID, or one without; what was done is printed. */
static int act(struct tool *t, const char *method, const char *with_id, const char *without)
{
	char target[256], id[128];
	struct meta1_err err;
	int i, bad = 0;
	json_t *j;

	for (i = 0; i < (t->nargs ? t->nargs : 1); i++) {
		if (t->nargs) {
			encode(t->args[i], id, sizeof(id));
			snprintf(target, sizeof(target), with_id, id);
		} else {
			str_copy(target, sizeof(target), without);
		}
		if (!(j = ask(t, "qmgr", method, target, &err))) {
			bad |= fail(&err);
			continue;
		}
		if (t->json)
			dump(j);
		else
			printf("%s\n", text(j, "done"));
		json_decref(j);
	}
	return bad;
}

static int cmd_flush(struct tool *t)
{
	return act(t, "POST", "/v1/queue/flush?id=%s", "/v1/queue/flush");
}

static int cmd_delete(struct tool *t)
{
	return act(t, "DELETE", "/v1/queue/%s", "");
}

static int cmd_fsck(struct tool *t)
{
	return ctl_fsck(t->set, t->json);
}

/* ---- anything else: GET and print ---- */

static int cmd_get(struct tool *t)
{
	struct meta1_err err;
	json_t *j = ask(t, t->args[0], "GET", t->args[1], &err);

	if (!j)
		return fail(&err);
	json_dumpf(j, stdout, t->json ? JSON_COMPACT : JSON_INDENT(2));
	putchar('\n');
	json_decref(j);
	return 0;
}

static int get_from(struct tool *t, const char *role, const char *target)
{
	char *args[2] = {(char *)(uintptr_t)role, (char *)(uintptr_t)target};

	t->args = args;
	return cmd_get(t);
}

static int cmd_destinations(struct tool *t)
{
	return get_from(t, "qmgr", "/v1/destinations");
}

static int cmd_sessions(struct tool *t)
{
	return get_from(t, t->nargs ? t->args[0] : "smtps", "/v1/sessions");
}

/* smar answers "pending" until the DNS has answered it; never longer than a question may take. */
static int cmd_route(struct tool *t)
{
	static const struct timespec pause = {.tv_nsec = ROUTE_PAUSE_MS * 1000000L};
	char target[600], domain[512];
	struct meta1_err err;
	json_t *j = NULL;
	int i;

	encode(t->args[0], domain, sizeof(domain));
	snprintf(target, sizeof(target), "/v1/route?domain=%s", domain);
	for (i = 0; i < ROUTE_TRIES; i++) {
		json_decref(j);
		if (!(j = ask(t, "smar", "GET", target, &err)))
			return fail(&err);
		if (!json_is_true(json_object_get(j, "pending")))
			break;
		nanosleep(&pause, NULL);
	}
	json_dumpf(j, stdout, t->json ? JSON_COMPACT : JSON_INDENT(2));
	putchar('\n');
	json_decref(j);
	return 0;
}

static const struct command commands[] = {
    {"status", "", "the processes, and how much they have to do", 0, 0, cmd_status},
    {"queue list", "", "every message that waits", 0, 0, cmd_list},
    {"queue show", "ID", "one message", 1, 1, cmd_show},
    {"queue flush", "[ID…]", "try now: these messages, or all", 0, 1000, cmd_flush},
    {"queue delete", "ID…", "delete without a report (admins)", 1, 1000, cmd_delete},
    {"queue fsck", "", "is everything that was accepted accounted for? (root, or as qmgr)", 0, 0,
	cmd_fsck},
    {"destinations", "", "next hops: concurrency, waiting, paused until", 0, 0, cmd_destinations},
    {"sessions", "[ROLE]", "open sessions of smtps (or smtpc)", 0, 1, cmd_sessions},
    {"route", "DOMAIN", "where mail for a domain goes", 1, 1, cmd_route},
    {"metrics", "", "counters of all processes, Prometheus text", 0, 0, cmd_metrics},
    {"get", "ROLE PATH", "any GET request of doc/control-api.md", 2, 2, cmd_get},
};

static void usage(void)
{
	size_t i;

	printf("usage: meta1ctl [-f meta1.conf] COMMAND [--json]\n\n");
	for (i = 0; i < ARRAY_LEN(commands); i++) {
		char left[64];

		snprintf(left, sizeof(left), "%s %s", commands[i].words, commands[i].args);
		printf("  %-24s %s\n", left, commands[i].doc);
	}
}

/* How many of argv the command's words take, 0 when it is another command. */
static int words_taken(const char *words, int argc, char **argv)
{
	const char *w = words;
	int n = 0;
	size_t len;

	while (*w) {
		len = strcspn(w, " ");
		if (n == argc || strlen(argv[n]) != len || strncmp(argv[n], w, len))
			return 0;
		n++;
		w += len + (w[len] == ' ');
	}
	return n;
}

static int dispatch(struct tool *t, int argc, char **argv)
{
	const char *names[ARRAY_LEN(commands)], *near;
	char typed[128];
	size_t i;
	int n;

	for (i = 0; i < ARRAY_LEN(commands); i++) {
		names[i] = commands[i].words;
		if (!(n = words_taken(commands[i].words, argc, argv)))
			continue;
		t->args = argv + n;
		t->nargs = argc - n;
		if (t->nargs < commands[i].least || t->nargs > commands[i].most) {
			fprintf(
			    stderr, "usage: meta1ctl %s %s\n", commands[i].words, commands[i].args);
			return 64;
		}
		return commands[i].fn(t);
	}
	snprintf(
	    typed, sizeof(typed), "%s%s%s", argv[0], argc > 1 ? " " : "", argc > 1 ? argv[1] : "");
	near = conf_nearest(typed, names, ARRAY_LEN(names));
	fprintf(stderr, "meta1ctl: unknown command %s%s%s%s (meta1ctl --help lists them)\n", typed,
	    near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
	return 64;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
	    {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	char queue[] = "queue", list[] = "list", *mailq_args[] = {queue, list};
	const char *file = SYSCONFDIR "/meta1/meta1.conf";
	struct tool t = {0};
	struct settings *set;
	int c, rc;

	while ((c = getopt_long(argc, argv, "f:jhV", longs, NULL)) != -1) {
		if (c == 'f') {
			file = optarg;
		} else if (c == 'j') {
			t.json = true;
		} else if (c == 'V') {
			printf("meta1ctl %s\n", PACKAGE_VERSION);
			return 0;
		} else {
			usage();
			return c == 'h' ? 0 : 64;
		}
	}
	argc -= optind;
	argv += optind;
	if (!strcmp(basename(argv[-optind]), "mailq")) {
		if (argc) {
			fprintf(stderr, "usage: mailq [-f meta1.conf] [--json]\n");
			return 64;
		}
		argv = mailq_args;
		argc = 2;
	}
	if (!argc) {
		usage();
		return 64;
	}
	set = settings_load(file, OPT_CHECK);
	if (conf_errors(set->conf)) {
		conf_report(set->conf, stderr);
		settings_free(&set);
		return EXIT_CONFIG;
	}
	t.run = set->run_directory;
	t.set = set;
	rc = dispatch(&t, argc, argv);
	settings_free(&set);
	return rc;
}
