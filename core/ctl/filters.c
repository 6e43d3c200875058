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

static void print_state(const json_t *row)
{
	const char *breaker = tool_text(row, "breaker");

	printf("  %-14.30s %s %s%s, failure %s, ", tool_text(row, "name"), tool_text(row, "module"),
	    tool_text(row, "phase"),
	    json_is_true(json_object_get(row, "shadow")) ? " (shadow)" : "",
	    tool_text(row, "failure"));
	printf("%s", json_is_true(json_object_get(row, "connected")) ? "up" : "not connected");
	if (*tool_text(row, "peer"))
		printf(" %s", tool_text(row, "peer"));
	if (strcmp(breaker, "open") == 0)
		printf(", spared, tried in %lld ms", tool_number(row, "retry_ms"));
	else if (strcmp(breaker, "closed") != 0)
		printf(", %s", strcmp(breaker, "shut") == 0 ? "shut until a reload" : "on trial");
	putchar('\n');
}

static void print_one(const json_t *row)
{
	json_t *counts = json_object_get(row, "counts"), *n;
	const char *name, *sep = "    ";
	char when[40];

	print_state(row);
	json_object_foreach(counts, name, n)
	{
		if (json_integer_value(n) == 0)
			continue;
		printf("%s%s %lld", sep, name, (long long)json_integer_value(n));
		sep = ", ";
	}
	if (*sep == ',')
		putchar('\n');
	printf("    p50/p99 ms: commands %.2f/%.2f, end %.2f/%.2f\n", ms(row, "commands", "p50_ms"),
	    ms(row, "commands", "p99_ms"), ms(row, "end", "p50_ms"), ms(row, "end", "p99_ms"));
	if (tool_number(row, "last_error_time") > 0) {
		tool_when(tool_number(row, "last_error_time"), when, sizeof(when));
		printf("    last failure %s: %s\n", when, tool_text(row, "last_error"));
	}
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
		json_array_foreach(list, i, row) print_one(row);
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
		else
			printf("%s its condition %s\n",
			    strcmp(asked, "no") == 0 ? "not asked, by" : "asked or not, by", by);
	}
}
