/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * explain.c -- meta1ctl explain: what would be said to a client about a mail, check by check, with
 * the reply and the route; as a table for people, or as smar gave it. Comes from meta1ctl.c; goes
 * to smar's control socket. Owns nothing. On failure: one line on stderr, exit 1.
 */
#include "ctl/tool.h"

#include <stdio.h>
#include <stdlib.h>

int tool_explain_option(struct tool *t, const char *name, const char *value, struct meta1_err *err)
{
	const struct {
		const char *name, **said;
	} words[] = {{"ip", &t->ip}, {"from", &t->from}, {"to", &t->to}, {"auth", &t->auth},
	    {"listener", &t->listener}, {"socket", &t->socket}};
	size_t n = strlen(t->question);
	char code[3200];

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strcmp(name, words[i].name) == 0)
			*words[i].said = value;
	if (strcmp(name, "socket") == 0)
		return 0; /* smar knows nothing of sockets */

	tool_encode(value, code, sizeof(code));
	if (strlen(value) > 1024 || n + strlen(name) + strlen(code) + 3 > sizeof(t->question))
		return err_set(err, "longer than 1024 bytes");
	snprintf(t->question + n, sizeof(t->question) - n, "%c%s=%s", n ? '&' : '?', name, code);
	return 0;
}

/* The key that answered, or all that were tried, in short. */
static void key_of(const json_t *check, char *out, size_t size)
{
	json_t *keys = json_object_get(check, "keys");
	size_t n = json_array_size(keys);
	char *s;

	out[0] = '\0';
	if (n == 0)
		return;
	s = (char *)(uintptr_t)json_string_value(json_array_get(keys, n - 1));
	client_clean(s);
	if (n == 1)
		str_copy(out, size, s);
	else
		snprintf(out, size, "%s (%zu tried)", s, n);
}

static void print_check(const json_t *c)
{
	bool skipped = json_is_true(json_object_get(c, "skipped"));
	const char *answer = tool_text(c, "answer");
	char key[400];

	key_of(c, key, sizeof(key));
	printf("%-8s %-13s ", tool_text(c, "stage"), tool_text(c, "check"));
	if (skipped)
		printf("%8s  left out: %s\n", "-", tool_text(c, "effect"));
	else
		printf("%5.1f ms  %s%s%s%s%s%s%s\n", (double)tool_number(c, "us") / 1000,
		    tool_text(c, "map"), key[0] ? " " : "", key, key[0] ? ": " : "", answer,
		    answer[0] ? " -> " : "", tool_text(c, "effect"));
}

/* Whose word counts for a route. */
static void print_by(const json_t *by)
{
	if (json_is_null(json_object_get(by, "map"))) {
		printf(" (%s)\n", tool_text(by, "rule"));
		return;
	}
	printf(" (%s, ", tool_text(by, "rule"));
	printf("%s ", tool_text(by, "map"));
	printf("%s: ", tool_text(by, "key"));
	printf("%s)\n", tool_text(by, "value"));
}

/* Rows with options of smtpc for the hops above, or for the recipient. */
static void print_rows(const json_t *rows)
{
	const json_t *row;
	size_t i;

	json_array_foreach(rows, i, row)
	{
		printf("  options by %s: ", tool_text(row, "row"));
		if (*tool_text(row, "error"))
			printf("ignored, %s\n", tool_text(row, "error"));
		else
			printf("%s\n", tool_text(row, "text"));
	}
}

static void print_route(const json_t *r)
{
	const json_t *hops = json_object_get(r, "hops"), *by = json_object_get(r, "by");

	printf("route of %s: ", tool_text(r, "domain"));
	if (strcmp(tool_text(r, "status"), "ok") != 0) {
		printf("%s, %lld %s", tool_text(r, "status"), tool_number(r, "smtp"),
		    tool_text(r, "dsn"));
		printf(" %s", tool_text(r, "text"));
		print_by(by);
		return;
	}
	printf("%s", tool_text(r, "transport"));
	print_by(by);
	for (size_t i = 0; i < json_array_size(hops); i++) {
		char *s = (char *)(uintptr_t)json_string_value(json_array_get(hops, i));

		client_clean(s);
		printf("  %s\n", s);
	}
	print_rows(json_object_get(r, "rows"));
}

static void print(const json_t *j)
{
	const json_t *reply = json_object_get(j, "reply"), *v;
	size_t i;

	json_array_foreach(json_object_get(j, "checks"), i, v) print_check(v);
	json_array_foreach(json_object_get(j, "targets"), i, v)
	    printf("it stands for: %s\n", json_string_value(v));
	printf("reply to %s: %lld ", tool_text(reply, "to"), tool_number(reply, "smtp"));
	printf("%s %s", tool_text(reply, "dsn"), tool_text(reply, "text"));
	if (*tool_text(reply, "rule"))
		printf(" (by %s)", tool_text(reply, "rule"));
	printf(strcmp(tool_text(reply, "action"), "discard") ? "\n" : ", and thrown away\n");
	json_array_foreach(json_object_get(j, "routes"), i, v) print_route(v);
	tool_filters_print(json_object_get(j, "filters"));
}

int tool_explain(struct tool *t)
{
	struct meta1_err err;
	char target[sizeof(t->question) + 20];
	json_t *j;

	if (!strstr(t->question, "ip=") || !strstr(t->question, "from=") ||
	    !strstr(t->question, "to=")) {
		fprintf(stderr,
		    "usage: meta1ctl explain --ip ADDRESS --from ADDR --to ADDR [--helo NAME] "
		    "[--tls SUBJECT] [--issuer NAME] [--auth USER] [--listener NAME] [--socket "
		    "NAME] "
		    "[--body 8BITMIME]\n");
		return 64;
	}
	if (tool_filters_check(t, &err) < 0)
		return tool_fail(&err);
	snprintf(target, sizeof(target), "/v1/explain%s", t->question);
	if (!(j = tool_ask(t, "smar", "GET", target, &err)))
		return tool_fail(&err);
	json_object_set_new(j, "filters", tool_filters_of(t));
	if (t->json)
		tool_dump(j);
	else
		print(j);
	json_decref(j);
	return 0;
}
