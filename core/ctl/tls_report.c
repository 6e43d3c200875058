/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tls_report.c -- meta1ctl tls report: how TLS towards other domains went. Today's come from smar's
 * control socket, those of another day are the files that smar wrote (read as root, or as smar).
 * Comes from meta1ctl.c. Owns nothing. On failure: one line on stderr, exit 1; a file that is none
 * is named and passed over.
 */
#include "ctl/tool.h"

#include <glob.h>
#include <stdio.h>

static void head(void)
{
	printf("%-30s  %8s  %8s  %s\n", "domain", "good", "failed", "wants reports at");
}

static void line(const char *domain, long long good, long long bad, const char *rua)
{
	printf("%-30s  %8lld  %8lld  %s\n", domain, good, bad, *rua ? rua : "-");
}

/* The whole report of a domain, on a line. */
static int dump_one(struct tool *t, const char *domain)
{
	char target[700], name[600];
	struct meta1_err err;
	json_t *j;

	tool_encode(domain, name, sizeof(name));
	snprintf(target, sizeof(target), "/v1/tls-report?domain=%s", name);
	if (!(j = tool_ask(t, "smar", "GET", target, &err)))
		return tool_fail(&err);
	tool_dump(json_object_get(j, "report"));
	json_decref(j);
	return 0;
}

static int today(struct tool *t)
{
	char target[100] = "/v1/tls-report", cursor[40];
	int bad = 0, n = 0;

	do {
		struct meta1_err err;
		json_t *page = tool_ask(t, "smar", "GET", target, &err);
		const json_t *row;
		size_t i;

		if (!page)
			return tool_fail(&err);
		json_array_foreach(json_object_get(page, "entries"), i, row)
		{
			if (t->json) {
				bad |= dump_one(t, tool_text(row, "domain"));
				continue;
			}
			if (n++ == 0)
				head();
			line(tool_text(row, "domain"), tool_number(row, "good"),
			    tool_number(row, "failed"), tool_text(row, "rua"));
		}
		str_copy(cursor, sizeof(cursor), tool_text(page, "next"));
		snprintf(target, sizeof(target), "/v1/tls-report?cursor=%s", cursor);
		json_decref(page);
	} while (*cursor);
	return bad;
}

/* ---- files ---- */
static void sum(const json_t *report)
{
	const json_t *p, *list = json_object_get(report, "rua");
	long long good = 0, bad = 0;
	const char *domain = "";
	size_t i;

	json_array_foreach(json_object_get(report, "policies"), i, p)
	{
		const json_t *s = json_object_get(p, "summary");

		good += tool_number(s, "total-successful-session-count");
		bad += tool_number(s, "total-failure-session-count");
		domain = tool_text(json_object_get(p, "policy"), "policy-domain");
	}
	p = json_array_get(list, 0);
	line(domain, good, bad, p && json_is_string(p) ? json_string_value(p) : "");
}

static int files(struct tool *t, const char *day)
{
	char pattern[1200];
	int bad = 0;
	glob_t g;

	snprintf(pattern, sizeof(pattern), "%s/%s_*.json", t->set->smar.tlsrpt.directory, day);
	if (glob(pattern, 0, NULL, &g)) {
		fprintf(stderr, "meta1ctl: no reports %s that can be read\n", pattern);
		return 1;
	}
	if (!t->json)
		head();
	for (size_t i = 0; i < g.gl_pathc; i++) {
		json_t *j = json_load_file(g.gl_pathv[i], 0, NULL);

		if (!j) {
			fprintf(stderr, "meta1ctl: %s is no report, or cannot be read\n",
			    g.gl_pathv[i]);
			bad = 1;
		} else if (t->json) {
			tool_dump(j);
		} else {
			sum(j);
		}
		json_decref(j);
	}
	globfree(&g);
	return bad;
}

int tool_tls_report(struct tool *t)
{
	const char *day = t->nargs ? t->args[0] : "";

	if (!t->set->smar.tlsrpt.section) {
		fprintf(stderr, "meta1ctl: smar has no tlsrpt section\n");
		return 1;
	}
	if (!*day)
		return today(t);
	if (strlen(day) != 10 || strspn(day, "0123456789-") != 10) {
		fprintf(stderr, "meta1ctl: expected a day such as 2026-11-26, found %s\n", day);
		return 64;
	}
	return files(t, day);
}
