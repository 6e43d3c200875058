/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue.c -- the commands of meta1ctl about the queue, and the options that say which mail is
 * meant. Comes from meta1ctl.c; goes to qmgr's control socket, page by page. Owns nothing. On
 * failure: one line on stderr, exit 1; what pages before did is done.
 */
#include "ctl/tool.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- which ---- */

static int seconds(const char *value, long long *out, struct meta1_err *err)
{
	static const struct meta1_opt o = {.name = "age", .type = META1_MSEC, .range = ""};
	int64_t ms;

	if (opt_parse(&o, &value, 1, &ms, err) < 0)
		return -1;
	*out = ms / 1000;
	return 0;
}

static int bytes(const char *value, long long *out, struct meta1_err *err)
{
	static const struct meta1_opt o = {.name = "size", .type = META1_BYTES, .range = ""};
	int64_t n;

	if (opt_parse(&o, &value, 1, &n, err) < 0)
		return -1;
	*out = n;
	return 0;
}

static void add(struct tool *t, const char *name, const char *value)
{
	size_t n = strlen(t->filter);
	char code[1200];

	tool_encode(value, code, sizeof(code));
	snprintf(t->filter + n, sizeof(t->filter) - n, "&%s=%s", name, code);
}

int tool_queue_option(struct tool *t, const char *name, const char *value, struct meta1_err *err)
{
	static const struct {
		const char *name;
		int (*number)(const char *, long long *, struct meta1_err *);
	} with[] = {{"sender", NULL}, {"recipient", NULL}, {"domain", NULL}, {"reason", NULL},
	    {"state", NULL}, {"client", NULL}, {"to", NULL}, {"older", seconds},
	    {"younger", seconds}, {"larger", bytes}, {"smaller", bytes}};
	const struct {
		const char *name;
		bool *set;
	} flag[] = {{"dry-run", &t->dry_run}, {"all", &t->all}, {"content", &t->content},
	    {"headers", &t->headers}};
	char number[32];
	long long n;
	size_t i;

	for (i = 0; i < ARRAY_LEN(flag); i++)
		if (!strcmp(name, flag[i].name))
			*flag[i].set = true;
	for (i = 0; i < ARRAY_LEN(with); i++) {
		if (strcmp(name, with[i].name))
			continue;
		if (strlen(value) > 300)
			return err_set(err, "--%s: longer than 300 bytes", name);
		if (with[i].number) {
			if (with[i].number(value, &n, err) < 0)
				return -1;
			snprintf(number, sizeof(number), "%lld", n);
			value = number;
		}
		add(t, name, value);
	}
	return 0;
}

/* ---- shown ---- */

/* What the sender wants to be told (RFC 3461); nothing where it said nothing. */
static void show_notify(const json_t *r)
{
	const json_t *words = json_object_get(r, "notify"), *w;
	size_t i;

	json_array_foreach(words, i, w) printf("%s%s", i ? "," : "  notify ", json_string_value(w));
	if (*tool_text(r, "orcpt"))
		printf("  orcpt %s", tool_text(r, "orcpt"));
}

static void show_message(const json_t *m)
{
	const json_t *rcpts = json_object_get(m, "recipients"), *r;
	char t[32];
	size_t i;

	tool_when(tool_number(m, "time"), t, sizeof(t));
	if (json_is_true(json_object_get(m, "unreadable")))
		printf("%s  cannot be read: see qmgr's log; it is tried again, or delete it",
		    tool_text(m, "id"));
	else
		printf("%s  %s  %lld bytes  from <%s>", tool_text(m, "id"), t,
		    tool_number(m, "size"), tool_text(m, "sender"));
	if (*tool_text(m, "ret"))
		printf("  ret %s", tool_text(m, "ret"));
	if (*tool_text(m, "envid"))
		printf("  envid %s", tool_text(m, "envid"));
	putchar('\n');
	json_array_foreach(rcpts, i, r)
	{
		printf("    %-9s <%s>", tool_text(r, "state"), tool_text(r, "address"));
		if (tool_number(r, "next_try")) {
			tool_when(tool_number(r, "next_try"), t, sizeof(t));
			printf("  next try %s", t);
		}
		if (*tool_text(r, "via"))
			printf("  via %s", tool_text(r, "via"));
		if (*tool_text(r, "tls"))
			printf("  tls %s", tool_text(r, "tls"));
		show_notify(r);
		if (*tool_text(r, "reason"))
			printf("  (%s)", tool_text(r, "reason"));
		putchar('\n');
	}
}

/* The next page's target from this one's; false: it was the last. */
static bool next_page(const json_t *page, const char *base, char *target, size_t size)
{
	char cursor[128];

	if (!*tool_text(page, "next"))
		return false;
	tool_encode(tool_text(page, "next"), cursor, sizeof(cursor));
	snprintf(target, size, "%s&cursor=%s", base, cursor);
	return true;
}

static int cmd_list(struct tool *t)
{
	struct meta1_err err;
	char base[2000], target[2200];
	json_t *page, *m;
	size_t i, n = 0;
	bool more = true;

	snprintf(base, sizeof(base), "/v1/queue?limit=500%s", t->filter);
	str_copy(target, sizeof(target), base);
	while (more) {
		if (!(page = tool_ask(t, "qmgr", "GET", target, &err)))
			return tool_fail(&err);
		json_array_foreach(json_object_get(page, "messages"), i, m)
		{
			n++;
			if (t->json)
				tool_dump(m);
			else
				show_message(m);
		}
		more = next_page(page, base, target, sizeof(target));
		json_decref(page);
	}
	if (!t->json && !n)
		printf("%s\n", *t->filter ? "no such mail in the queue" : "the queue is empty");
	else if (!t->json)
		printf("%zu message%s\n", n, n == 1 ? "" : "s");
	return 0;
}

json_t *tool_message(
    const struct tool *t, const char *path, const char *id, int *status, struct meta1_err *err)
{
	char target[400], socket[512], code[128], cursor[40] = "0", *body;
	json_t *all = NULL, *page;
	size_t got;

	tool_encode(id, code, sizeof(code));
	snprintf(socket, sizeof(socket), "%s/qmgr.ctl", t->run);
	while (*cursor) {
		*status = -1;
		snprintf(target, sizeof(target), "%s%s?cursor=%s", path, code, cursor);
		body = client_call(socket, "GET", target, buf_of("", 0), status, &got, err);
		page = body && *status == 200 ? json_loads(body, 0, NULL) : NULL;
		if (body && !page)
			client_refusal(body, err);
		free(body);
		if (!page) {
			json_decref(all);
			return NULL;
		}
		tool_encode(tool_text(page, "next"), cursor, sizeof(cursor));
		if (all) {
			json_array_extend(json_object_get(all, "recipients"),
			    json_object_get(page, "recipients"));
			json_decref(page);
		} else {
			all = page;
		}
	}
	json_object_del(all, "next");
	return all;
}

static json_t *about(struct tool *t, const char *path, struct meta1_err *err)
{
	int status;

	return tool_message(t, path, t->args[0], &status, err);
}

static int show_content(struct tool *t)
{
	char target[256], path[512], id[128], *body;
	struct meta1_err err;
	int status;

	tool_encode(t->args[0], id, sizeof(id));
	snprintf(target, sizeof(target), "/v1/content/%s%s", id, t->headers ? "?headers=1" : "");
	snprintf(path, sizeof(path), "%s/qmgr.ctl", t->run);
	body = client_text(path, "GET", target, &status, &err);
	if (!body)
		return tool_fail(&err);
	if (status != 200) {
		client_refusal(body, &err);
		free(body);
		return tool_fail(&err);
	}
	fputs(body, stdout);
	free(body);
	return 0;
}

static int cmd_show(struct tool *t)
{
	struct meta1_err err;
	json_t *m;

	if (t->content || t->headers)
		return show_content(t);
	if (!(m = about(t, "/v1/queue/", &err)))
		return tool_fail(&err);
	if (t->json)
		tool_dump(m);
	else
		show_message(m);
	json_decref(m);
	return 0;
}

static int cmd_why(struct tool *t)
{
	struct meta1_err err;
	json_t *m = about(t, "/v1/why/", &err), *r;
	char when[32];
	size_t i;

	if (!m)
		return tool_fail(&err);
	if (t->json) {
		tool_dump(m);
		json_decref(m);
		return 0;
	}
	tool_when(tool_number(m, "expires"), when, sizeof(when));
	printf("%s  given back if not delivered before %s\n", tool_text(m, "id"), when);
	json_array_foreach(json_object_get(m, "recipients"), i, r)
	{
		printf("    <%s> waits for %s: %s", tool_text(r, "address"),
		    tool_text(r, "waits_for"), tool_text(r, "text"));
		if (tool_number(r, "until")) {
			tool_when(tool_number(r, "until"), when, sizeof(when));
			printf(", until %s", when);
		}
		if (*tool_text(r, "reason"))
			printf("  (%s)", tool_text(r, "reason"));
		putchar('\n');
	}
	json_decref(m);
	return 0;
}

/* ---- done ---- */

/* All pages of one request; sums are printed at the end. */
static int pages(struct tool *t, const char *base)
{
	long long recipients = 0, late = 0;
	struct meta1_err err;
	char target[2400], done[256] = "";
	const char *verb;
	bool more = true, one = false;
	json_t *page, *m;
	size_t i;

	str_copy(target, sizeof(target), base);
	while (more) {
		if (!(page = tool_ask(t, "qmgr", "POST", target, &err)))
			return tool_fail(&err);
		more = next_page(page, base, target, sizeof(target));
		recipients += tool_number(page, "recipients");
		late += tool_number(page, "under_way");
		str_copy(done, sizeof(done), tool_text(page, "done"));
		if (t->json)
			tool_dump(page);
		json_array_foreach(json_object_get(page, "items"), i, m)
		{
			if (!t->json && (t->dry_run || *t->filter))
				printf("%s  from <%s>  %lld recipients\n", tool_text(m, "id"),
				    tool_text(m, "sender"), tool_number(m, "recipients"));
		}
		one = !json_object_get(page, "recipients");
		json_decref(page);
	}
	if (t->json)
		return 0;
	verb = strstr(done, "recipients ");
	if (one || !verb) {
		printf("%s\n", done);
		return 0;
	}
	done[strcspn(done, ",")] = '\0';
	printf("%lld %s", recipients, verb);
	if (late)
		printf(", %lld just under way", late);
	putchar('\n');
	return 0;
}

static int act(struct tool *t, const char *verb)
{
	char base[2200], id[128];
	int i, bad = 0;

	for (i = 0; i < (t->nargs ? t->nargs : 1); i++) {
		tool_encode(t->nargs ? t->args[i] : "", id, sizeof(id));
		snprintf(base, sizeof(base), "/v1/queue/%s?limit=1000%s%s%s%s%s", verb,
		    t->dry_run ? "&dry_run=1" : "", t->all ? "&all=1" : "", *id ? "&id=" : "", id,
		    t->filter);
		bad |= pages(t, base);
	}
	return bad;
}

static int cmd_flush(struct tool *t)
{
	return act(t, "flush");
}
static int cmd_hold(struct tool *t)
{
	return act(t, "hold");
}
static int cmd_release(struct tool *t)
{
	return act(t, "release");
}
static int cmd_requeue(struct tool *t)
{
	return act(t, "requeue");
}
static int cmd_delete(struct tool *t)
{
	return act(t, "delete");
}

const struct tool_command tool_queue[] = {
    {"queue list", "[FILTER…]", "every message that waits", 0, 0, cmd_list},
    {"queue show", "ID [--headers|--content]", "one message (its text: admins)", 1, 1, cmd_show},
    {"queue why", "ID", "what its recipients wait for, and until when", 1, 1, cmd_why},
    {"queue flush", "[ID…] [FILTER…]", "try now: these messages, or all", 0, 1000, cmd_flush},
    {"queue hold", "ID… | FILTER… | --all", "keep until released", 0, 1000, cmd_hold},
    {"queue release", "ID… | FILTER… | --all", "let held mail go", 0, 1000, cmd_release},
    {"queue requeue", "ID… | FILTER… [--to HOPS]", "as if just come: new route, no tries", 0, 1000,
	cmd_requeue},
    {"queue export", "DIR [ID… | all | FILTER…]", "each message into files (admins)", 1, 1000,
	tool_export},
    {"queue import", "DIR | FILE…", "messages from such files into the queue (admins)", 1, 1000,
	tool_import},
    {"queue delete", "ID… | FILTER… | --all", "delete without a report (admins)", 0, 1000,
	cmd_delete},
};
const unsigned tool_nqueue = ARRAY_LEN(tool_queue);
