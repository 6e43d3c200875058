/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * config.c -- fuzz target of core/lib/conf*.c, opt*.c and settings*.c. The input is a file.
 * Each error has a place inside the text; what has none prints as a configuration that is
 * read again without an error, prints the same, and loads the same modules.
 * Texts with "include" are passed over: they would read whatever this machine has.
 */
#include "fuzz.h"
#include "lib/settings.h"

static char *print_of(struct settings *s)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	settings_print(s, NULL, f);
	fclose(f);
	return text;
}

static char *report_of(struct settings *s)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	conf_report(s->conf, f);
	fclose(f);
	return text;
}

/* Comments name lines, which differ when the print is read; they go, in place. */
static void strip(char *text)
{
	char *o = text;
	bool quoted = false;

	for (char *p = text; *p; p++) {
		if (quoted && *p == '\\' && p[1]) {
			*o++ = *p++;
		} else if (*p == '"') {
			quoted = !quoted;
		} else if (*p == '#' && !quoted) {
			p += strcspn(p, "\n");
			if (!*p)
				break;
		}
		*o++ = *p;
	}
	*o = '\0';
}

static void messages(struct settings *s)
{
	char *text = report_of(s);

	must((text[0] != '\0') == (conf_errors(s->conf) + conf_warnings(s->conf) > 0));
	must(text[0] == '\0' || strncmp(text, "t:", 2) == 0 || strncmp(text, "meta1", 5) == 0);
	for (const char *p = text; *p; p++)
		must((unsigned char)*p >= 32 || *p == '\n' || *p == '\t');
	free(text);
}

static unsigned modules(struct settings *s)
{
	static const enum meta1_role role[] = {META1_SMTPS, META1_SMTPC, META1_SMAR, META1_QMGR};
	unsigned n = 0;

	for (size_t i = 0; i < ARRAY_LEN(role); i++) {
		struct settings_module *m = NULL;

		n = n * 31 + settings_modules(s, role[i], &m);
		free(m);
	}
	return n;
}

static void again(char *printed, unsigned nmod)
{
	struct settings *s = settings_load_text("t", printed, OPT_CHECK);
	char *report = report_of(s), *second = print_of(s);

	if (conf_errors(s->conf) > 0)
		fprintf(stderr, "%s\n%s", printed, report);
	must(conf_errors(s->conf) == 0);
	strip(printed);
	strip(second);
	if (strcmp(printed, second) != 0)
		fprintf(stderr, "first:\n%s\nsecond:\n%s\n", printed, second);
	must(strcmp(printed, second) == 0);
	must(modules(s) == nmod);
	settings_free(&s);
	free(report);
	free(second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char *text = malloc(n + 1), *printed;
	struct settings *s;

	memcpy(text, data, n);
	text[n] = '\0';
	if (strcasestr(text, "include")) {
		free(text);
		return 0;
	}
	s = settings_load_text("t", text, OPT_CHECK);
	messages(s);
	if (conf_errors(s->conf) == 0) {
		printed = print_of(s);
		again(printed, modules(s));
		free(printed);
	}
	settings_free(&s);
	free(text);
	return 0;
}
