/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * meta1ctl.c -- the admin's tool: a table of commands over the control sockets.
 * Also mailq, greyprint and greyrm, by their names. Comes from the shell; goes to client.c.
 * Owns nothing. On failure: one line on stderr, exit 1; wrong use 64; bad configuration 78.
 */
#include "ctl/fsck.h"
#include "ctl/merge.h"
#include "ctl/tool.h"

#include <ctype.h>
#include <getopt.h>
#include <glob.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int tool_fail(const struct meta1_err *err)
{
	fprintf(stderr, "meta1ctl: %s\n", err->text);
	return 1;
}

json_t *tool_ask(const struct tool *t, const char *role, const char *method, const char *target,
    struct meta1_err *err)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s.ctl", t->run, role);
	return client_json(path, method, target, err);
}

const char *tool_text(const json_t *o, const char *key)
{
	char *s = (char *)(uintptr_t)json_string_value(json_object_get(o, key));
	if (s)
		client_clean(s);
	return s ? s : "";
}

long long tool_number(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

void tool_when(long long sec, char *out, size_t size)
{
	time_t t = (time_t)sec;
	struct tm tm;

	localtime_r(&t, &tm);
	strftime(out, size, "%Y-%m-%d %H:%M:%S", &tm);
}

void tool_dump(const json_t *j)
{
	json_dumpf(j, stdout, JSON_COMPACT);
	putchar('\n');
}

void tool_encode(const char *s, char *out, size_t size)
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

int tool_each(struct tool *t, const char *begins,
    int (*fn)(struct tool *, const char *path, const char *name))
{
	char pattern[512], name[256];
	glob_t g;
	size_t i;
	int bad = 0;

	snprintf(pattern, sizeof(pattern), "%s/%s*.ctl", t->run, begins);
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
		tool_dump(j);
		json_decref(j);
		return 0;
	}
	printf("%-12s pid %lld, up %lld s, version %s", name, tool_number(j, "pid"),
	    tool_number(j, "uptime"), tool_text(j, "version"));
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
	return tool_each(t, "", status_one);
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
		return tool_fail(&err);
	gathered.text = base_realloc(gathered.text, (gathered.n + 1) * sizeof(*gathered.text));
	gathered.text[gathered.n++] = s;
	return 0;
}

static int cmd_metrics(struct tool *t)
{
	int bad = tool_each(t, "", metrics_one);

	merge_metrics(gathered.text, gathered.n, stdout);
	while (gathered.n > 0)
		free(gathered.text[--gathered.n]);
	free(gathered.text);
	gathered.text = NULL;
	return bad;
}

static int cmd_fsck(struct tool *t)
{
	return ctl_fsck(t->set, t->json);
}

/* ---- anything else: GET and print ---- */

static int cmd_get(struct tool *t)
{
	struct meta1_err err;
	json_t *j = tool_ask(t, t->args[0], "GET", t->args[1], &err);

	return tool_print(t, j, &err);
}

static const struct tool_command others[] = {
    {"status", "", "the processes, and how much they have to do", 0, 0, cmd_status},
    {"queue fsck", "", "is everything that was accepted accounted for? (root, or as qmgr)", 0, 0,
	cmd_fsck},
    {"destinations", "", "next hops: concurrency, waiting, paused until", 0, 0, tool_destinations},
    {"sessions", "[ROLE]", "open sessions of smtps (or smtpc)", 0, 1, tool_sessions},
    {"clients", "[ROLE]", "who has most connections to all smtps together", 0, 1, tool_clients},
    {"filters", "", "the filters of smtps: verdicts, times, breaker, last failure", 0, 0,
	tool_filters},
    {"route", "DOMAIN|ADDRESS [--from F]",
	"where mail for a domain or recipient goes, from this sender", 1, 1, tool_route},
    {"tls test", "DOMAIN|ADDRESS|[HOST]:PORT [--from F]",
	"what a delivery there would do: hops, TLS, certificates (admins)", 1, 1, tool_tls_test},
    {"explain", "--ip A --from F --to T",
	"what would be said to such a mail, check by check, and its route", 0, 0, tool_explain},
    {"dns", "[NAME [TYPE]]", "name servers and DNS lists; or a question to them", 0, 2, tool_dns},
    {"map list", "", "the maps of smar: uses, kept answers, counts", 0, 0, tool_maps},
    {"map query", "NAME KEY", "what a map says to this key as it stands; -: from stdin", 2, 2,
	tool_map_query},
    {"map flush", "[NAME]", "forget the answers that are kept in front of maps", 0, 1,
	tool_map_flush},
    {"grey list", "[FILTER…]", "the greylist; FILTER: --client --sender --recipient --state", 0, 0,
	tool_grey_list},
    {"grey remove", "KEY… | FILTER… | --all", "forget such entries (admins)", 0, 1000,
	tool_grey_remove},
    {"probe list", "[RCPT | @DOMAIN]", "what next hops said of recipients", 0, 1, tool_probe_list},
    {"probe hops", "", "the next hops that are asked", 0, 0, tool_probe_hops},
    {"probe flush", "[RCPT | @DOMAIN]", "forget what they said (admins)", 0, 1, tool_probe_flush},
    {"sts list", "[DOMAIN]", "policies of MTA-STS in force, and fetches that failed lately", 0, 1,
	tool_sts_list},
    {"sts refresh", "DOMAIN", "fetch its policy anew (admins)", 1, 1, tool_sts_refresh},
    {"sts forget", "DOMAIN | --all", "forget its policy, or all (admins)", 0, 1, tool_sts_forget},
    {"tls report", "[DAY]", "how TLS towards domains went today, or on 2026-11-26", 0, 1,
	tool_tls_report},
    {"module list", "", "modules: version, ABI, roles, what uses them", 0, 0, tool_module_list},
    {"module info", "NAME", "one of them, with its options", 1, 1, tool_module_info},
    {"module enable", "NAME", "conf.d/NAME.conf from its sample, and a reload (admins)", 1, 1,
	tool_module_enable},
    {"module disable", "NAME", "the other way (admins)", 1, 1, tool_module_disable},
    {"reload", "[--dry-run]", "the configuration anew, in all roles or in none (admins)", 0, 0,
	tool_reload},
    {"metrics", "", "counters of all processes, Prometheus text", 0, 0, cmd_metrics},
    {"get", "ROLE PATH", "any GET request of doc/control-api.md", 2, 2, cmd_get},
};

/* Every command: place n of both tables, NULL at the end. */
static const struct tool_command *command(size_t n)
{
	if (n < tool_nqueue)
		return &tool_queue[n];
	n -= tool_nqueue;
	return n < ARRAY_LEN(others) ? &others[n] : NULL;
}

static void usage(void)
{
	const struct tool_command *c;
	size_t i;

	printf("usage: meta1ctl [-f meta1.conf] COMMAND [--json]\n\n");
	for (i = 0; (c = command(i)); i++) {
		char left[64];

		snprintf(left, sizeof(left), "%s %s", c->words, c->args);
		printf("  %-40s %s\n", left, c->doc);
	}
	printf("\nexplain takes besides: --helo NAME --auth USER --listener NAME of an smtps "
	       "section\n  --socket NAME of a listen_socket --tls SUBJECT --issuer NAME of a "
	       "verified certificate --body 8BITMIME\n");
	printf("\nFILTER, all of which must hold: --sender ADDR --recipient ADDR --domain DOMAIN\n"
	       "  --older TIME --younger TIME --larger SIZE --smaller SIZE --reason TEXT --state "
	       "STATE\n"
	       "ADDR may be @domain or <>, DOMAIN .domain for those below it; 2d, 1MB as in "
	       "meta1.conf.\n"
	       "--dry-run only tells what flush, hold, release, requeue, delete and reload would "
	       "do.\n");
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
	const char *names[96], *near;
	const struct tool_command *c;
	char typed[128];
	size_t i;
	int n;

	for (i = 0; i < ARRAY_LEN(names) && (c = command(i)); i++) {
		names[i] = c->words;
		if (!(n = words_taken(c->words, argc, argv)))
			continue;
		t->args = argv + n;
		t->nargs = argc - n;
		if (t->nargs < c->least || t->nargs > c->most) {
			fprintf(stderr, "usage: meta1ctl %s %s\n", c->words, c->args);
			return 64;
		}
		return c->fn(t);
	}
	snprintf(
	    typed, sizeof(typed), "%s%s%s", argv[0], argc > 1 ? " " : "", argc > 1 ? argv[1] : "");
	near = conf_nearest(typed, names, i);
	fprintf(stderr, "meta1ctl: unknown command %s%s%s%s (meta1ctl --help lists them)\n", typed,
	    near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
	return 64;
}

enum { OPT_QUEUE = 256, OPT_EXPLAIN }; /* an option of queue.c, of explain.c */
#define ASKS(name)                                                                                 \
	{                                                                                          \
		name, required_argument, NULL, OPT_EXPLAIN                                         \
	}
#define WITH(name)                                                                                 \
	{                                                                                          \
		name, required_argument, NULL, OPT_QUEUE                                           \
	}
#define FLAG(name)                                                                                 \
	{                                                                                          \
		name, no_argument, NULL, OPT_QUEUE                                                 \
	}
static const struct option longs[] = {{"json", no_argument, NULL, 'j'},
    {"help", no_argument, NULL, 'h'}, WITH("sender"), WITH("recipient"), WITH("domain"),
    WITH("older"), WITH("younger"), WITH("larger"), WITH("smaller"), WITH("reason"), WITH("state"),
    WITH("client"), ASKS("ip"), ASKS("helo"), ASKS("from"), ASKS("tls"), ASKS("issuer"),
    ASKS("auth"), ASKS("listener"), ASKS("socket"), ASKS("body"), WITH("to"), FLAG("dry-run"),
    FLAG("all"), FLAG("content"), FLAG("headers"), {NULL, 0, NULL, 0}};

/* getopt says nothing itself; what it stopped at is said here, in one line. */
static int wrong_option(int c, const char *word)
{
	const char *names[ARRAY_LEN(longs)], *near;
	char name[64];
	size_t n;

	if (c == ':') {
		fprintf(stderr, "meta1ctl: option %s needs a value (meta1ctl --help)\n", word);
		return 64;
	}
	for (n = 0; longs[n].name; n++)
		names[n] = longs[n].name;
	str_copy(name, sizeof(name), word + strspn(word, "-"));
	name[strcspn(name, "=")] = '\0';
	near = conf_nearest(name, names, n);
	fprintf(stderr, "meta1ctl: unknown option %s%s%s%s (meta1ctl --help lists them)\n", word,
	    near ? "; did you mean --" : "", near ? near : "", near ? "?" : "");
	return 64;
}

/* --to is of both. */
static int option(struct tool *t, const char *name, int kind, struct meta1_err *err)
{
	if (kind == OPT_QUEUE && tool_queue_option(t, name, optarg, err) < 0)
		return -1;
	if (kind == OPT_EXPLAIN || strcmp(name, "to") == 0)
		return tool_explain_option(t, name, optarg, err);
	return 0;
}

/* <0: go on; else the exit status. */
static int options(struct tool *t, int argc, char **argv, const char **file)
{
	struct meta1_err err;
	int c, at;

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":f:jhV", longs, &at)) != -1) {
		if (c == 'f') {
			*file = optarg;
		} else if (c == 'j') {
			t->json = true;
		} else if (c == 'V') {
			printf("meta1ctl %s\n", PACKAGE_VERSION);
			return 0;
		} else if (c == OPT_QUEUE || c == OPT_EXPLAIN) {
			if (option(t, longs[at].name, c, &err) < 0) {
				fprintf(stderr, "meta1ctl: --%s: %s\n", longs[at].name, err.text);
				return 64;
			}
		} else if (c == 'h') {
			usage();
			return 0;
		} else {
			return wrong_option(c, argv[optind - 1]);
		}
	}
	return -1;
}

/* Programs that are a command under another name: argv becomes the command's words and arguments,
 * to be freed. NULL: they take none, a line says so. */
static char **by_name(const char *program, int *argc, char **argv)
{
	static struct {
		const char *program;
		char words[2][8];
		const char *args;
	} names[] = {{"mailq", {"queue", "list"}, ""}, {"greyprint", {"grey", "list"}, ""},
	    {"greyrm", {"grey", "remove"}, "KEY… | "}};
	char **out;

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (strcmp(program, names[i].program) != 0)
			continue;
		if (*argc && !*names[i].args) {
			fprintf(stderr, "usage: %s [-f meta1.conf] [--json] [%sFILTER…]\n", program,
			    names[i].args);
			return NULL;
		}
		out = base_alloc(((size_t)*argc + 3) * sizeof(*out));
		out[0] = names[i].words[0];
		out[1] = names[i].words[1];
		memcpy(out + 2, argv, (size_t)*argc * sizeof(*out));
		*argc += 2;
		return out;
	}
	return argv;
}

static int serve(struct tool *t, const char *file, int argc, char **argv)
{
	struct settings *set;
	int rc;

	if (!argc || !strcmp(argv[0], "help")) {
		usage();
		return argc ? 0 : 64;
	}
	set = settings_load(file, OPT_CHECK);
	if (conf_errors(set->conf)) {
		conf_report(set->conf, stderr);
		settings_free(&set);
		return EXIT_CONFIG;
	}
	t->run = set->run_directory;
	t->set = set;
	rc = dispatch(t, argc, argv);
	settings_free(&set);
	return rc;
}

int main(int argc, char **argv)
{
	const char *file = SYSCONFDIR "/meta1/meta1.conf";
	struct tool t = {0};
	char **words;
	int rc = options(&t, argc, argv, &file);

	if (rc >= 0)
		return rc;
	argc -= optind;
	words = by_name(basename(argv[0]), &argc, argv + optind);
	if (!words)
		return 64;
	rc = serve(&t, file, argc, words);
	if (words != argv + optind)
		free(words);
	return rc;
}
