/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * grey.c -- the commands of meta1ctl about the greylist; also greyprint and greyrm, by their names.
 * Comes from meta1ctl.c; goes to smar's control socket, page by page. Owns nothing. On failure: one
 * line on stderr, exit 1; what pages before removed is removed.
 */
#include "ctl/tool.h"

#include <stdio.h>

#define PATH "/v1/greylist"

int tool_grey_list(struct tool *t)
{
	char path[2000];

	snprintf(path, sizeof(path), PATH "%s%s", *t->filter ? "?" : "",
	    *t->filter ? t->filter + 1 : "");
	return tool_grey_table(t, path);
}

/* All pages of what fits. <0: err. */
static long long remove_all(struct tool *t, const char *what, struct meta1_err *err)
{
	char target[2400], cursor[40] = "0";
	long long n = 0;
	json_t *page;

	while (*cursor) {
		snprintf(target, sizeof(target), PATH "?cursor=%s%s", cursor, what);
		if (!(page = tool_ask(t, "smar", "DELETE", target, err)))
			return -1;
		n += (long long)json_array_size(json_object_get(page, "entries"));
		tool_encode(tool_text(page, "next"), cursor, sizeof(cursor));
		if (t->json)
			tool_dump(page);
		json_decref(page);
	}
	return n;
}

int tool_grey_remove(struct tool *t)
{
	char key[100], what[2000];
	long long n, all = 0, none = 0;
	struct meta1_err err;

	for (int i = 0; i < (t->nargs ? t->nargs : 1); i++) {
		tool_encode(t->nargs ? t->args[i] : "", key, sizeof(key));
		snprintf(what, sizeof(what), "%s%s%s%s", *key ? "&key=" : "", key,
		    t->all ? "&all=1" : "", t->filter);
		if ((n = remove_all(t, what, &err)) < 0)
			return tool_fail(&err);
		if (t->nargs && n == 0) {
			fprintf(stderr, "meta1ctl: the greylist has no entry %s\n", t->args[i]);
			none = 1;
		}
		all += n;
	}
	if (!t->json)
		printf("%lld entr%s removed\n", all, all == 1 ? "y" : "ies");
	return none ? 1 : 0;
}
