/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map.c -- meta1ctl map query, map flush: what smar's maps say and do; probe list, probe flush:
 * what next hops said of recipients.
 * Comes from meta1ctl.c; goes to smar's control socket. Owns nothing. On failure: one line on
 * stderr, exit 1; query exits 0 when there is a value, 1 when there is none, 75 when the map fails.
 */
#include "ctl/tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The key of the command line, or with "-" all of standard input: any bytes. */
static struct meta1_buf read_key(const char *arg, char *space, size_t size)
{
	size_t n = 0;
	ssize_t got;

	if (strcmp(arg, "-") != 0)
		return buf_str(arg);
	while (n < size && (got = read(STDIN_FILENO, space + n, size - n)) > 0)
		n += (size_t)got;
	return buf_of(space, n);
}

static void print_answer(json_t *j)
{
	const char *result = tool_text(j, "result");
	const char *value = json_object_get(j, "value") ? "value" : "value_hex";

	printf("%s", result);
	if (json_object_get(j, value))
		printf("%s %s", strcmp(value, "value") ? " hex" : "", tool_text(j, value));
	if (*tool_text(j, "text"))
		printf(": %s", tool_text(j, "text"));
	printf("\nmap %s, ttl %lld s, %.3f ms%s\n", tool_text(j, "map"), tool_number(j, "ttl"),
	    json_real_value(json_object_get(j, "ms")),
	    json_is_true(json_object_get(j, "cached")) ? ", from the cache" : "");
}

int tool_map_query(struct tool *t)
{
	char socket[512], target[400], name[300], space[2048], *body;
	struct meta1_buf key = read_key(t->args[1], space, sizeof(space));
	struct meta1_err err;
	const char *result;
	json_t *j = NULL;
	int status, rc;
	size_t got;

	snprintf(socket, sizeof(socket), "%s/smar.ctl", t->run);
	tool_encode(t->args[0], name, sizeof(name));
	snprintf(target, sizeof(target), "/v1/map-query?map=%s", name);
	body = client_call(socket, "POST", target, key, &status, &got, &err);
	if (body && status == 200)
		j = json_loadb(body, got, JSON_ALLOW_NUL, NULL);
	if (body && status != 200)
		client_refusal(body, &err);
	else if (body && !j)
		err_set(&err, "smar's answer is not JSON");
	free(body);
	if (!j)
		return tool_fail(&err);
	result = json_string_value(json_object_get(j, "result"));
	rc = !result || strstr(result, "fail") ? 75 : strcmp(result, "found") ? 1 : 0;
	if (t->json)
		tool_dump(j);
	else
		print_answer(j);
	json_decref(j);
	return rc;
}

/* Empties what smar keeps: all of it, or of the one that is named. */
static int forget(struct tool *t, const char *path, const char *name)
{
	char target[1200], what[1100];
	struct meta1_err err;
	json_t *j;

	str_copy(target, sizeof(target), path);
	if (t->nargs > 0) {
		tool_encode(t->args[0], what, sizeof(what));
		snprintf(target, sizeof(target), "%s?%s=%s", path, name, what);
	}
	j = tool_ask(t, "smar", "DELETE", target, &err);
	if (!j)
		return tool_fail(&err);
	if (t->json)
		tool_dump(j);
	else
		printf("%lld answers forgotten\n", tool_number(j, "forgotten"));
	json_decref(j);
	return 0;
}

int tool_map_flush(struct tool *t)
{
	return forget(t, "/v1/map-cache", "map");
}

/* ---- what next hops said of recipients ---- */
int tool_probe_list(struct tool *t)
{
	char target[1200] = "/v1/probes", what[1100];

	if (t->nargs > 0) {
		tool_encode(t->args[0], what, sizeof(what));
		snprintf(target, sizeof(target), "/v1/probes?recipient=%s", what);
	}
	return tool_probe_table(t, target);
}

int tool_probe_flush(struct tool *t)
{
	return forget(t, "/v1/probes", "recipient");
}
