/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reload.c -- meta1ctl reload, module enable and module disable: what mcp is asked for, over
 * RUN/mcp.sock (core/mcp/control.c says what it takes). mcp checks, carries it out in all roles or
 * in none, restarts those that need it, and answers when they are up again.
 *
 * Comes from meta1ctl.c. When mcp does not run, files of conf.d are switched here, and the whole
 * configuration is checked as meta1-check would. Owns nothing. On failure: what was said, on
 * stderr; the configuration is as it was.
 */
#include "ctl/tool.h"
#include "lib/snippet.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static int fail(const char *what, const char *why)
{
	fprintf(stderr, "meta1ctl: %s%s%s\n", what, *what ? ": " : "", why);
	return 1;
}

static int status_of(const char *word)
{
	return strcmp(word, "done") == 0 ? 0 : strcmp(word, "refused") == 0 ? EXIT_CONFIG : 1;
}

static void as_json(const char *word, char *lines)
{
	json_t *o = json_object(), *list = json_array();
	char *save = NULL;

	for (char *l = strtok_r(lines, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		client_clean(l);
		json_array_append_new(list, json_string(l));
	}
	json_object_set_new(o, "result", json_string(word));
	json_object_set_new(o, "text", list);
	tool_dump(o);
	json_decref(o);
}

/* The first line is the result, the others are for people. */
static int show(const struct tool *t, char *answer, const char *done)
{
	char *lines = answer + strcspn(answer, "\n");
	int rc;

	if (*lines)
		*lines++ = '\0';
	rc = status_of(answer);
	if (t->json) {
		as_json(answer, lines);
		return rc;
	}
	for (char *p = lines; *p; p++)
		if (*p != '\n' && (*p < ' ' || *p == 127) && *p != '\t')
			*p = '?';
	fputs(lines, rc ? stderr : stdout);
	if (rc)
		return fail("", answer), rc;
	if (!t->dry_run && strstr(lines, ": needs a restart: "))
		puts("restarted: those named above");
	puts(done);
	return 0;
}

/* false: mcp does not run. */
static bool ask_mcp(struct tool *t, const char *line, const char *done, int *rc)
{
	struct meta1_err err;
	char path[512], *answer;

	snprintf(path, sizeof(path), "%s/mcp.sock", t->run);
	errno = 0;
	answer = client_line(path, line, &err);
	if (!answer && (errno == ENOENT || errno == ECONNREFUSED))
		return false;
	*rc = answer ? show(t, answer, done) : tool_fail(&err);
	free(answer);
	return true;
}

int tool_reload(struct tool *t)
{
	int rc;

	if (ask_mcp(t, t->dry_run ? "try" : "reload",
		t->dry_run ? "a reload would be taken by all roles"
			   : "all roles have the new configuration",
		&rc))
		return rc;
	return fail("reload", "mcp does not run: the configuration counts from its next start");
}

/* ---- conf.d ---- */

/* The whole configuration as it is now. */
static bool good(const struct tool *t, const char *name, bool on)
{
	struct settings *set = settings_load(t->set->file, OPT_CHECK);
	bool ok = conf_errors(set->conf) == 0;

	if (!ok)
		conf_report(set->conf, stderr);
	else if (on && !snippet_read(set, name))
		ok =
		    !fail(t->set->file, "does not include conf.d; write include \"conf.d/*.conf\"; "
					"as its last line");
	settings_free(&set);
	return ok;
}

static int switch_file(struct tool *t, bool on)
{
	const char *name = t->args[0], *file = t->set->file;
	struct meta1_err err;
	char line[200], done[200];
	int rc;

	snprintf(line, sizeof(line), "%s %.100s", on ? "enable" : "disable", name);
	snprintf(done, sizeof(done), "conf.d/%.100s.conf is %s", name, on ? "on" : "off");
	if (ask_mcp(t, line, done, &rc))
		return rc;
	if ((on ? snippet_enable : snippet_disable)(file, name, &err) < 0)
		return tool_fail(&err);
	if (!good(t, name, on)) {
		if ((on ? snippet_disable : snippet_enable)(file, name, &err) < 0)
			tool_fail(&err);
		fail(name, on ? "does not go with the rest of the configuration: not enabled"
			      : "the rest of the configuration needs it: not disabled");
		return EXIT_CONFIG;
	}
	printf("%s; mcp does not run: it counts from the next start\n", done);
	return 0;
}

int tool_module_enable(struct tool *t)
{
	return switch_file(t, true);
}

int tool_module_disable(struct tool *t)
{
	return switch_file(t, false);
}
