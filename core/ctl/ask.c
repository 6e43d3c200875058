/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ask.c -- meta1ctl route and dns: questions to smar that may have to wait for the DNS, and their
 * answers as they come. Comes from meta1ctl.c and tls.c; goes to smar's control socket, which says
 * "pending" until it knows. Owns nothing. On failure: one line on stderr, exit 1.
 */
#include "ctl/tool.h"

#include <stdio.h>
#include <time.h>

#define ROUTE_PAUSE_MS 50
#define ROUTE_TRIES    240 /* 12 s: smar answers within 10 */

json_t *tool_ask_smar(const struct tool *t, const char *target, struct meta1_err *err)
{
	static const struct timespec pause = {.tv_nsec = ROUTE_PAUSE_MS * 1000000L};
	json_t *j = NULL;

	for (int i = 0; i < ROUTE_TRIES; i++) {
		json_decref(j);
		j = tool_ask(t, "smar", "GET", target, err);
		if (!j || !json_is_true(json_object_get(j, "pending")))
			break;
		nanosleep(&pause, NULL);
	}
	return j;
}

int tool_print(const struct tool *t, json_t *j, const struct meta1_err *err)
{
	if (!j)
		return tool_fail(err);
	json_dumpf(j, stdout, t->json ? JSON_COMPACT : JSON_INDENT(2));
	putchar('\n');
	json_decref(j);
	return 0;
}

static int ask_smar(struct tool *t, const char *target)
{
	struct meta1_err err;
	json_t *j = tool_ask_smar(t, target, &err);

	return tool_print(t, j, &err);
}

void tool_route_target(const struct tool *t, char *out, size_t size)
{
	char what[512];

	tool_encode(t->args[0], what, sizeof(what));
	snprintf(out, size, "/v1/route%s%c%s=%s", t->question, t->question[0] ? '&' : '?',
	    strchr(t->args[0], '@') ? "recipient" : "domain", what);
}

int tool_route(struct tool *t)
{
	char target[sizeof(t->question) + 600];

	tool_route_target(t, target, sizeof(target));
	return ask_smar(t, target);
}

int tool_dns(struct tool *t)
{
	char target[700] = "/v1/dns", name[512], type[64] = "A";

	if (t->nargs > 0) {
		tool_encode(t->args[0], name, sizeof(name));
		if (t->nargs > 1)
			tool_encode(t->args[1], type, sizeof(type));
		snprintf(target, sizeof(target), "/v1/dns?name=%s&type=%s", name, type);
	}
	return ask_smar(t, target);
}
