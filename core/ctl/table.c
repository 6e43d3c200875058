/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * table.c -- lists of roles as tables for people: destinations, sessions, clients, maps; with
 * --json as the role gave them, a page a line. Comes from meta1ctl.c; goes to a role's control
 * socket, page by page. Owns nothing. On failure: one line on stderr, exit 1.
 */
#include "ctl/tool.h"

#include <stdio.h>
#include <stdlib.h>

enum shape { TEXT, NUMBER, WHEN, MS, LIST };
struct column {
	const char *key, *head; /* head NULL: end */
	enum shape shape;
	int width; /* <0: to the left; 0: the last */
};

static void print_cell(const struct column *c, const char *s)
{
	if (c->width)
		printf("%*s  ", c->width, s);
	else
		fputs(s, stdout);
}

/* Words with commas between; what does not fit is cut. */
static void joined(const json_t *list, char *out, size_t size)
{
	const json_t *word;
	size_t i, n = 0;

	json_array_foreach(list, i, word)
	{
		n += (size_t)snprintf(
		    out + n, size - n, "%s%s", i ? "," : "", json_string_value(word));
		if (n >= size)
			break;
	}
	client_clean(out);
}

static void cell(const json_t *row, const struct column *c)
{
	char text[500] = "-";
	const char *s = text;

	if (c->shape == NUMBER)
		snprintf(text, sizeof(text), "%lld", tool_number(row, c->key));
	else if (c->shape == WHEN && tool_number(row, c->key))
		tool_when(tool_number(row, c->key), text, sizeof(text));
	else if (c->shape == MS)
		snprintf(text, sizeof(text), "%.3f", json_real_value(json_object_get(row, c->key)));
	else if (c->shape == LIST)
		joined(json_object_get(row, c->key), text, sizeof(text));
	else if (c->shape == TEXT && *tool_text(row, c->key))
		s = tool_text(row, c->key);
	print_cell(c, s);
}

static void print_row(const json_t *row, const struct column *c)
{
	for (; c->head; c++)
		cell(row, c);
	putchar('\n');
}

static void print_head(const struct column *c)
{
	for (; c->head; c++)
		print_cell(c, c->head);
	putchar('\n');
}

static int table(struct tool *t, const char *role, const char *path, const char *list,
    const struct column *(*columns)(const json_t *row))
{
	char target[3100], cursor[1000];
	struct meta1_err err;
	const json_t *row;
	bool more = true;
	size_t i, n = 0;
	json_t *page;

	str_copy(target, sizeof(target), path);
	while (more) {
		if (!(page = tool_ask(t, role, "GET", target, &err)))
			return tool_fail(&err);
		if (t->json)
			tool_dump(page);
		json_array_foreach(json_object_get(page, list), i, row)
		{
			if (!t->json && !n++)
				print_head(columns(row));
			if (!t->json)
				print_row(row, columns(row));
		}
		more = *tool_text(page, "next");
		tool_encode(tool_text(page, "next"), cursor, sizeof(cursor));
		snprintf(target, sizeof(target), "%s%ccursor=%s", path,
		    strchr(path, '?') ? '&' : '?', cursor);
		json_decref(page);
	}
	if (!t->json && !n)
		printf("no %s\n", list);
	return 0;
}

static const struct column *of_destination(const json_t *row)
{
	static const struct column c[] = {{"active", "active", NUMBER, 6},
	    {"concurrency", "allowed", NUMBER, 7}, {"max_connections", "most", NUMBER, 5},
	    {"waiting", "waiting", NUMBER, 7}, {"dead_until", "dead until", WHEN, -19},
	    {"resting_until", "rate rests until", WHEN, -19}, {"key", "destination", TEXT, -30},
	    {"reason", "last failure", TEXT, 0}, {NULL, NULL, TEXT, 0}};

	(void)row;
	return c;
}

static const struct column *of_session(const json_t *row)
{
	static const struct column in[] = {{"serial", "serial", NUMBER, 8},
	    {"client", "client", TEXT, -24}, {"since", "since", WHEN, -19},
	    {"state", "state", TEXT, -7}, {"await", "waits for", TEXT, -12},
	    {"await_ms", "ms", NUMBER, 6}, {"messages", "mails", NUMBER, 5},
	    {"id", "receives", TEXT, 0}, {NULL, NULL, TEXT, 0}},
				   out[] = {{"transport", "kind", TEXT, -5},
				       {"state", "state", TEXT, -8}, {"since_ms", "ms", NUMBER, 8},
				       {"mails", "mails", NUMBER, 6}, {"port", "port", NUMBER, 5},
				       {"address", "address", TEXT, -30}, {"host", "host", TEXT, 0},
				       {NULL, NULL, TEXT, 0}};

	return json_object_get(row, "transport") ? out : in;
}

static const struct column *of_client(const json_t *row)
{
	static const struct column c[] = {{"connections", "connections", NUMBER, 11},
	    {"rate", "a minute", NUMBER, 8}, {"client", "client", TEXT, 0}, {NULL, NULL, TEXT, 0}};

	(void)row;
	return c;
}

static const struct column *of_map(const json_t *row)
{
	static const struct column c[] = {{"name", "map", TEXT, -16}, {"module", "kind", TEXT, -12},
	    {"asked", "asked", NUMBER, 9}, {"hits", "kept", NUMBER, 9},
	    {"joined", "joined", NUMBER, 7}, {"found", "found", NUMBER, 9},
	    {"missing", "missing", NUMBER, 9}, {"failed", "failed", NUMBER, 7},
	    {"cached", "in cache", NUMBER, 8}, {"ms", "ms", MS, 8}, {"use", "use", TEXT, -24},
	    {"file", "file", TEXT, 0}, {NULL, NULL, TEXT, 0}};

	(void)row;
	return c;
}

static const struct column *of_grey(const json_t *row)
{
	static const struct column c[] = {{"key", "key", TEXT, -16}, {"state", "state", TEXT, -9},
	    {"since", "since", WHEN, -19}, {"last", "last", WHEN, -19},
	    {"passes", "passes", NUMBER, 6}, {"client", "client", TEXT, -18},
	    {"sender", "sender", TEXT, -30}, {"recipient", "recipient", TEXT, 0},
	    {NULL, NULL, TEXT, 0}};

	(void)row;
	return c;
}

static const struct column *of_probe(const json_t *row)
{
	static const struct column c[] = {{"state", "state", TEXT, -7},
	    {"since", "since", WHEN, -19}, {"until", "until", WHEN, -19},
	    {"recipient", "recipient", TEXT, -40}, {"dsn", "code", TEXT, -6},
	    {"text", "the next hop said", TEXT, 0}, {NULL, NULL, TEXT, 0}};

	(void)row;
	return c;
}

static const struct column *of_probe_hop(const json_t *row)
{
	static const struct column c[] = {{"connections", "connections", NUMBER, 11},
	    {"waiting", "waiting", NUMBER, 7}, {"away_ms", "away for ms", NUMBER, 11},
	    {"hop", "next hop", TEXT, 0}, {NULL, NULL, TEXT, 0}};

	(void)row;
	return c;
}

static const struct column *of_sts(const json_t *row)
{
#define STS(key, shape)                                                                            \
	{                                                                                          \
		{"state", "state", TEXT, -7}, {"until", "until", WHEN, -19},                       \
		    {"domain", "domain", TEXT, -30}, {"id", "id", TEXT, -16},                      \
		    {key, "mx, or why there is none", shape, 0},                                   \
		{                                                                                  \
			NULL, NULL, TEXT, 0                                                        \
		}                                                                                  \
	}
	static const struct column policy[] = STS("mx", LIST), failure[] = STS("text", TEXT);

	return json_object_get(row, "error") ? failure : policy;
}

int tool_sts_table(struct tool *t, const char *path)
{
	return table(t, "smar", path, "entries", of_sts);
}

int tool_maps(struct tool *t)
{
	return table(t, "smar", "/v1/maps", "maps", of_map);
}

int tool_grey_table(struct tool *t, const char *path)
{
	return table(t, "smar", path, "entries", of_grey);
}

int tool_probe_table(struct tool *t, const char *path)
{
	return table(t, "smar", path, "entries", of_probe);
}

int tool_probe_hops(struct tool *t)
{
	return table(t, "smar", "/v1/probe-hops", "hops", of_probe_hop);
}

int tool_destinations(struct tool *t)
{
	return table(t, "qmgr", "/v1/destinations", "destinations", of_destination);
}

int tool_sessions(struct tool *t)
{
	return table(t, t->nargs ? t->args[0] : "smtps", "/v1/sessions", "sessions", of_session);
}

int tool_clients(struct tool *t)
{
	return table(t, t->nargs ? t->args[0] : "smtps", "/v1/clients", "clients", of_client);
}
