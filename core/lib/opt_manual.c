/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * opt_manual.c -- an option record as a paragraph of a manual page.
 * Comes from core/ctl/manual.c and sdk/kit/modtool.c; goes to the page. Owns nothing.
 * On failure: the stream has it.
 */
#include "lib/opt_manual.h"

#include <stdio.h>

/* Text of a page: no line may begin with a dot or quote, a backslash is \e, a dash is a dash. */
void opt_manual_text(const char *s, void *file)
{
	FILE *out = file;

	if (*s == '.' || *s == '\'')
		fputs("\\&", out);
	for (; *s; s++) {
		if (*s == '\\')
			fputs("\\e", out);
		else if (*s == '-')
			fputs("\\-", out);
		else
			putc(*s, out);
	}
}

/* a|b|c as a, b or c */
static void words(const char *range, FILE *out)
{
	for (const char *p = range; *p; p++) {
		if (*p != '|')
			fprintf(out, "%c", *p);
		else
			fputs(strchr(p + 1, '|') ? ", " : " or ", out);
	}
}

static void kind(const struct meta1_opt *o, FILE *out)
{
	static const char *const name[] = {
	    [META1_BOOL] = "yes or no",
	    [META1_INT] = "number",
	    [META1_BYTES] = "size",
	    [META1_MSEC] = "time",
	    [META1_STR] = "text",
	    [META1_PATH] = "file",
	    [META1_LIST] = "list",
	};
	const char *dots = o->range ? strstr(o->range, "..") : NULL;
	if (o->type == META1_ENUM) {
		words(o->range, out);
	} else if (o->type == META1_FLAGS) {
		fputs("flags: ", out);
		words(o->range, out);
	} else if (o->flags & META1_O_USER) {
		fputs(o->type == META1_LIST ? "accounts" : "account", out);
	} else if (o->flags & META1_O_GROUP) {
		fputs("group", out);
	} else {
		fputs(name[o->type], out);
	}
	if (dots && !(o->flags & META1_O_GROUP)) {
		fprintf(out, " from %.*s to ", (int)(dots - o->range), o->range);
		opt_manual_text(dots + 2, out);
	}
}

void opt_manual(const struct meta1_opt *o, void *file)
{
	FILE *out = file;

	fprintf(out, ".TP\n.B ");
	opt_manual_text(o->name, out);
	fprintf(out, "\n(");
	kind(o, out);
	if (o->flags & META1_O_REQUIRED)
		fputs("; required", out);
	else if (o->def && *o->def) {
		fputs("; default ", out);
		opt_manual_text(o->def, out);
	}
	fputs(")\n", out);
	opt_manual_text(o->doc, out);
	if (o->type == META1_PATH)
		fputs(o->flags & META1_O_QDIR
			  ? "\nA relative name is below queue_directory."
			  : "\nA relative name is below the configuration's folder.",
		    out);
	if (o->flags & META1_O_RESTART)
		fputs("\nA change needs a restart.", out);
	putc('\n', out);
}
