/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sts.c -- the commands of meta1ctl about policies of MTA-STS. Comes from meta1ctl.c; goes to
 * smar's control socket. Owns nothing. On failure: one line on stderr, exit 1.
 */
#include "ctl/tool.h"

#include <stdio.h>

#define PATH "/v1/mta-sts"

static void target(const struct tool *t, char *out, size_t size)
{
	char domain[600];

	if (t->nargs == 0) {
		str_copy(out, size, PATH);
		return;
	}
	tool_encode(t->args[0], domain, sizeof(domain));
	snprintf(out, size, PATH "?domain=%s", domain);
}

int tool_sts_list(struct tool *t)
{
	char path[700];

	target(t, path, sizeof(path));
	return tool_sts_table(t, path);
}

int tool_sts_refresh(struct tool *t)
{
	struct meta1_err err;
	char path[700];
	json_t *j;

	target(t, path, sizeof(path));
	if (!(j = tool_ask(t, "smar", "POST", path, &err)))
		return tool_fail(&err);
	if (t->json)
		tool_dump(j);
	else
		printf("%s: %s, id %s, in force for %lld s\n", tool_text(j, "domain"),
		    tool_text(j, "state"), tool_text(j, "id"), tool_number(j, "max_age"));
	json_decref(j);
	return 0;
}

int tool_sts_forget(struct tool *t)
{
	struct meta1_err err;
	char path[700];
	json_t *j;

	if (t->nargs == 0 && !t->all) {
		fprintf(stderr, "usage: meta1ctl sts forget DOMAIN | --all\n");
		return 64;
	}
	target(t, path, sizeof(path));
	if (!(j = tool_ask(t, "smar", "DELETE", path, &err)))
		return tool_fail(&err);
	if (t->json)
		tool_dump(j);
	else
		printf("%lld forgotten\n", tool_number(j, "forgotten"));
	json_decref(j);
	return 0;
}
