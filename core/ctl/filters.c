/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * filters.c -- meta1ctl filters: what the filters of each smtps did; and, for explain, which of
 * them a mail would meet, by the conditions of the configuration and the code that smtps uses.
 * Comes from meta1ctl.c and explain.c; goes to the control sockets of smtps. Owns nothing.
 * On failure: one line on stderr, exit 1.
 */
#include "ctl/tool.h"
#include "smtps/chain_when.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* ---- what they did ---- */

static double ms(const json_t *row, const char *times, const char *part)
{
	return json_real_value(json_object_get(json_object_get(row, times), part));
}

static json_int_t asked(const json_t *row, const char *times)
{
	return json_integer_value(json_object_get(json_object_get(row, times), "asked"));
}

static bool never_asked(const json_t *row)
{
	return asked(row, "commands") + asked(row, "end") == 0 &&
	       tool_number(row, "last_error_time") == 0;
}

/* What holds of it now, in a word or two; most are connected only while a session needs them. */
static const char *state(const json_t *row)
{
	const char *breaker = tool_text(row, "breaker");

	if (strcmp(breaker, "shut") == 0)
		return "spared until a reload";
	if (strcmp(breaker, "closed") != 0)
		return "spared";
	if (json_is_true(json_object_get(row, "connected")))
		return "up";
	if (tool_number(row, "failures") > 0)
		return "not connected";
	return never_asked(row) ? "not asked yet" : "no connection";
}

/* What its failure does to mail, in the words of doc/filters.md. */
static const char *meaning(const json_t *row)
{
	static const struct {
		const char *failure, *text;
	} words[] = {
	    {"abort", "clients hear 421"},
	    {"accept", "mail goes on without it, until a reload"},
	    {"accept_but_reconnect", "mail goes on without it"},
	    {"tempfail", "clients hear 451"},
	    {"reject", "clients hear 554"},
	    {"quarantine", "mail is held"},
	};

	if (json_is_true(json_object_get(row, "shadow")))
		return "nobody notices";
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(tool_text(row, "failure"), words[i].failure) == 0)
			return words[i].text;
	return "";
}

static void print_state(const json_t *row, int width)
{
	printf("  %-*.30s  %s", width, tool_text(row, "name"), state(row));
	if (*tool_text(row, "peer"))
		printf(", %s", tool_text(row, "peer"));
	printf("\n    %s, phase %s%s; ", tool_text(row, "module"), tool_text(row, "phase"),
	    json_is_true(json_object_get(row, "shadow")) ? ", in shadow" : "");
	printf("when it fails %s\n", meaning(row));
}

static void print_counts(const json_t *row)
{
	json_t *counts = json_object_get(row, "counts"), *n;
	const char *name, *sep = "    so far: ";

	json_object_foreach(counts, name, n)
	{
		if (json_integer_value(n) == 0)
			continue;
		printf("%s%s %lld", sep, name, (long long)json_integer_value(n));
		sep = ", ";
	}
	if (*sep == ',')
		putchar('\n');
}

static void print_times(const json_t *row)
{
	static const char *const parts[][2] = {{"commands", "before the end"}, {"end", "the end"}};
	const char *sep = "    p50/p99 ms: ";

	for (size_t i = 0; i < 2; i++) {
		if (asked(row, parts[i][0]) == 0)
			continue;
		printf("%s%s %.2f/%.2f", sep, parts[i][1], ms(row, parts[i][0], "p50_ms"),
		    ms(row, parts[i][0], "p99_ms"));
		sep = ", ";
	}
	if (*sep == ',')
		putchar('\n');
}

/* Who spares it, what that means, and what ends it. */
static void print_breaker(const json_t *row)
{
	const char *breaker = tool_text(row, "breaker");
	long long in = (tool_number(row, "retry_ms") + 999) / 1000;

	if (strcmp(breaker, "closed") == 0)
		return;
	if (strcmp(breaker, "shut") == 0) {
		puts("    it failed: flags = { accept }; a reload lets it be asked again");
		return;
	}
	printf("    failed %lld times in a row, so nobody asks it; ", tool_number(row, "failures"));
	if (strcmp(breaker, "open") == 0)
		printf("a session may try it in %lld s\n", in);
	else
		puts("the next session tries it");
}

static void print_one(const json_t *row, int width)
{
	char when[40];

	print_state(row, width);
	print_counts(row);
	print_times(row);
	print_breaker(row);
	if (tool_number(row, "last_error_time") > 0) {
		tool_when(tool_number(row, "last_error_time"), when, sizeof(when));
		printf("    last failure %s: %s\n", when, tool_text(row, "last_error"));
	}
}

/* The longest of the names that are shown in one column. */
static int width_of(const json_t *list)
{
	const json_t *row;
	size_t i, most = 8, n;

	json_array_foreach(list, i, row)
	{
		n = strlen(tool_text(row, "name"));
		most = n > most ? n : most;
	}
	return most < 30 ? (int)most : 30;
}

static int filters_one(struct tool *t, const char *path, const char *name)
{
	struct meta1_err err;
	json_t *j = client_json(path, "GET", "/v1/filters", &err);
	const json_t *list, *row;
	size_t i;

	if (!j)
		return tool_fail(&err);
	list = json_object_get(j, "filters");
	if (t->json) {
		json_object_set_new(j, "process", json_string(name));
		tool_dump(j);
	} else {
		printf("%s%s\n", name, json_array_size(list) ? "" : ": no filters");
		json_array_foreach(list, i, row) print_one(row, width_of(list));
	}
	json_decref(j);
	return 0;
}

int tool_filters(struct tool *t)
{
	return tool_each(t, "smtps", filters_one);
}

/* ---- which of them a mail would meet ---- */

static const struct set_smtps *section_of(const struct tool *t)
{
	const struct settings *set = t->set;

	for (unsigned i = 0; t->listener && i < set->nsmtps; i++)
		if (set->smtps[i].role.name && strcmp(set->smtps[i].role.name, t->listener) == 0)
			return &set->smtps[i];
	return &set->smtps[0];
}

static json_t *judged(const struct tool *t, const struct set_filter *set)
{
	static const char *const phases[] = {"verify", "judge", "modify", "sign"};
	struct chain_facts f = {.listener = t->socket,
	    .client = t->ip,
	    .known = CHAIN_K_MAIL | CHAIN_K_RCPT,
	    .authenticated = t->auth != NULL,
	    .from = buf_str(strcmp(t->from, "<>") == 0 ? "" : t->from)};
	struct chain_when w;
	const char *cause;
	enum chain_is is;

	chain_when_open(&w, set);
	f.rcpt = chain_when_rcpt(&w, buf_str(t->to));
	is = chain_when(&w, &f);
	cause = chain_when_cause(&w, &f);
	if (is == CHAIN_OPEN)
		cause = set->listeners && *set->listeners && !t->socket ? "listeners" : "size";
	chain_when_close(&w);
	return json_pack("{s:s, s:s, s:s, s:b, s:s, s:s}", "name", set->name, "module", set->module,
	    "phase", phases[set->phase], "shadow", set->shadow, "asked",
	    is == CHAIN_YES  ? "yes"
	    : is == CHAIN_NO ? "no"
			     : "perhaps",
	    "condition", cause ? cause : "");
}

json_t *tool_filters_of(const struct tool *t)
{
	const struct set_smtps *s = section_of(t);
	json_t *list = json_array();

	for (int32_t phase = 0; phase < FILTER_PHASES; phase++)
		for (unsigned i = 0; i < s->nfilter; i++)
			if (s->filter[i].phase == phase)
				json_array_append_new(list, judged(t, &s->filter[i]));
	return list;
}

int tool_filters_check(const struct tool *t, struct meta1_err *err)
{
	const struct set_role *role = &section_of(t)->role;
	char names[400] = FILTER_REPORTS;
	size_t n = strlen(names);

	if (!t->socket || strchr(t->socket, ':') || strcasecmp(t->socket, FILTER_REPORTS) == 0)
		return 0;
	for (unsigned i = 0; i < role->nlisten; i++) {
		const char *name = role->listen[i].section->name;

		if (!name)
			continue;
		if (strcasecmp(name, t->socket) == 0)
			return 0;
		if (n < sizeof(names))
			n += (size_t)snprintf(names + n, sizeof(names) - n, ", %s", name);
	}
	return err_set(err, "--socket: found %.60s, expected ADDRESS:PORT or a listen_socket: %s",
	    t->socket, names);
}

void tool_filters_print(const json_t *list)
{
	const json_t *row;
	size_t i;

	json_array_foreach(list, i, row)
	{
		const char *asked = tool_text(row, "asked"), *by = tool_text(row, "condition");

		printf("filter %s (%s, %s%s): ", tool_text(row, "name"), tool_text(row, "module"),
		    tool_text(row, "phase"),
		    json_is_true(json_object_get(row, "shadow")) ? ", shadow" : "");
		if (strcmp(asked, "yes") == 0)
			puts("asked");
		else if (strcmp(asked, "no") == 0)
			printf("not asked, by its condition %s\n", by);
		else
			printf("asked or not, by its condition %s%s\n", by,
			    strcmp(by, "listeners") == 0 ? " (--socket says which)" : "");
	}
}
