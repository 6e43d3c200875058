/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * createmap.c -- makes the file of a map from text: createmap [-f CONF] TYPE FILE [TEXT].
 *
 * From an admin's shell; to the create() of the module that the configuration would use
 * for a map of that type, loaded as a tool. Owns the text, read whole.
 * On failure: all bad lines are named with their numbers, FILE is as it was, exit 65; a row that
 * does not serve what CONF uses the map for is warned of;
 * another reason exits 1, a wrong call 64.
 */
#include "lib/loop.h"
#include "mod/mod.h"
#include "role.h"
#include "smar/smar.h"

#include <ctype.h>
#include <errno.h>
#include <meta1/map.h>
#include <meta1/textline.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TEXT_MAX (1024u << 20)
#define SAID_MAX 50 /* bad lines told one by one */
enum { EXIT_USE = 64, EXIT_DATA = 65 };

struct row {
	struct meta1_buf key, val;
	unsigned line;
};
struct source {
	struct meta1_mapsrc src; /* first: what the module sees */
	const char *name;	 /* for messages */
	char *text;
	size_t len;
	struct row *row;
	size_t n, room, next;
	unsigned bad;
};

/* ---- the text ---- */
PRINTF(3, 4) static void say_bad(struct source *s, unsigned line, const char *fmt, ...)
{
	va_list ap;

	if (s->bad++ >= SAID_MAX)
		return;
	fprintf(stderr, "%s:%u: ", s->name, line);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

static int read_text(struct source *s, FILE *f)
{
	size_t room = 0;

	for (;;) {
		size_t n;

		if (room - s->len < 65536) {
			room = room ? room * 2 : 1 << 20;
			s->text = base_realloc(s->text, room);
		}
		n = fread(s->text + s->len, 1, room - s->len, f);
		s->len += n;
		if (n == 0)
			break;
		if (s->len > TEXT_MAX) {
			fprintf(stderr, "createmap: %s: more than 1 GiB of text\n", s->name);
			return -1;
		}
	}
	if (ferror(f)) {
		fprintf(stderr, "createmap: %s: %s\n", s->name, strerror(errno));
		return -1;
	}
	return 0;
}

static void parse(struct source *s)
{
	char *p = s->text, *end = p + s->len;
	unsigned line = 0;

	while (p < end) {
		char *nl = memchr(p, '\n', (size_t)(end - p));
		size_t len = (size_t)((nl ? nl : end) - p);
		struct row row = {.line = ++line};
		const char *why = "";
		int got = meta1_textline(p, len, &row.key, &row.val, &why);

		p = nl ? nl + 1 : end;
		if (got < 0)
			say_bad(s, line, "%s", why);
		if (got <= 0)
			continue;
		if (s->n == s->room) {
			s->room = s->room ? s->room * 2 : 1024;
			s->row = base_realloc(s->row, s->room * sizeof(*s->row));
		}
		s->row[s->n++] = row;
	}
}

static int by_key(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	size_t n = x->key.len < y->key.len ? x->key.len : y->key.len;
	int d = memcmp(x->key.data, y->key.data, n);

	if (d == 0)
		d = (x->key.len > y->key.len) - (x->key.len < y->key.len);
	return d != 0 ? d : (x->line > y->line) - (x->line < y->line);
}

static int by_line(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	return (x->line > y->line) - (x->line < y->line);
}

/* Names the second of two equal keys; the rows are in the order of the text afterwards. */
static void find_twins(struct source *s)
{
	if (s->n > 0)
		qsort(s->row, s->n, sizeof(*s->row), by_key);
	for (size_t i = 1; i < s->n; i++) {
		if (!buf_eq(s->row[i - 1].key, s->row[i].key))
			continue;
		say_bad(s, s->row[i].line, "\"%.*s\" is already in line %u",
		    (int)(s->row[i].key.len < 100 ? s->row[i].key.len : 100),
		    (const char *)s->row[i].key.data, s->row[i - 1].line);
	}
	if (s->n > 0)
		qsort(s->row, s->n, sizeof(*s->row), by_line);
}

static int next_row(
    struct meta1_mapsrc *src, struct meta1_buf *key, struct meta1_buf *val, struct meta1_err *err)
{
	struct source *s = (struct source *)(void *)src;

	(void)err;
	if (s->next == s->n)
		return 0;
	*key = s->row[s->next].key;
	*val = s->row[s->next++].val;
	return 1;
}

static int read_source(struct source *s, const char *input)
{
	FILE *f = input ? fopen(input, "re") : stdin;
	int rc;

	s->src = (struct meta1_mapsrc){.size = sizeof(s->src), .next = next_row};
	s->name = input ? input : "stdin";
	if (!f) {
		fprintf(stderr, "createmap: %s: %s\n", input, strerror(errno));
		return 1;
	}
	rc = read_text(s, f);
	if (input)
		fclose(f);
	if (rc < 0)
		return 1;
	parse(s);
	find_twins(s);
	if (s->bad == 0)
		return 0;
	if (s->bad > SAID_MAX)
		fprintf(stderr, "%s: %u more bad lines\n", s->name, s->bad - SAID_MAX);
	fprintf(stderr, "createmap: %u bad line%s, nothing was changed\n", s->bad,
	    s->bad == 1 ? "" : "s");
	return EXIT_DATA;
}

/* ---- what the configuration uses the file for ---- */

/* The same that mcp -C says of rows of text; the map is made all the same, for the rest serves. */
static void judge(const struct settings *set, const char *file, struct source *s)
{
	unsigned uses = smar_rows_uses(set, file, NULL);

	for (size_t i = 0; i < s->n; i++) {
		const struct row *r = &s->row[i];
		struct meta1_err err[USES];

		if (smar_row_serves(set, uses, r->key, r->val, err))
			continue;
		for (unsigned k = 0; k < USES; k++)
			if (uses & 1u << k)
				say_bad(s, r->line, "warning: smar.%s: row %.*s: %s",
				    set_use_kinds[k].keyword,
				    (int)(r->key.len < 100 ? r->key.len : 100),
				    (const char *)r->key.data, err[k].text);
	}
	if (s->bad > SAID_MAX)
		fprintf(stderr, "%s: %u more such rows\n", s->name, s->bad - SAID_MAX);
}

/* ---- the module, found as the configuration would ---- */

/* "smar { map createmap { type = …; file = …; } }" with the absolute name of the file. */
static char *make_conf(const char *type, const char *file)
{
	char *cwd = file[0] == '/' ? base_strdup("") : getcwd(NULL, 0);
	char *text, *to;
	size_t room = strlen(type) + (cwd ? strlen(cwd) : 0) + strlen(file) * 2 + 128;

	text = base_alloc(room);
	to = text + snprintf(text, room, "smar { map createmap { type = %s; file = \"%s%s", type,
			cwd ? cwd : ".", file[0] == '/' ? "" : "/");
	for (; *file; file++) {
		if (*file == '"' || *file == '\\')
			*to++ = '\\';
		*to++ = *file;
	}
	strcpy(to, "\"; } }\n");
	free(cwd);
	return text;
}

static int create(
    struct mod_host *host, struct settings *set, const struct settings_module *m, struct source *s)
{
	struct meta1_err err = {""};
	struct mod *mod = mod_load(host, m->module, &err);
	const struct meta1_module *d;
	const struct meta1_map_ops *ops;
	void *conf;
	int rc = 1;

	if (!mod) {
		fprintf(stderr, "createmap: %s\n", err.text);
		return 1;
	}
	d = mod_descriptor(mod);
	ops = d->ops;
	if (!META1_HAS(ops, create) || !ops->create) {
		fprintf(stderr,
		    "createmap: a map of this type (%s) has no file of its own; use the text\n",
		    m->module);
		return EXIT_USE;
	}
	conf = base_alloc(d->sizeof_conf + 1);
	if (opt_bind(set->conf, m->section, d->opt, d->nopt, conf, m->module, OPT_CHECK, "") > 0) {
		conf_report(set->conf, stderr);
		goto out;
	}
	if (ops->create(conf, &s->src, &err) < 0)
		fprintf(stderr, "createmap: %s\n", err.text);
	else
		rc = 0;
out:
	free(conf);
	return rc;
}

static int run(const char *main_conf, const char *type, const char *file, struct source *s)
{
	struct settings *installed = NULL;
	struct mod_host host = {.role = META1_TOOL};
	char *text = make_conf(type, file);
	struct settings *set = settings_load_text("createmap", text, OPT_CHECK);
	struct settings_module *m = NULL;
	unsigned n = 0;
	int rc = 1;

	if (conf_errors(set->conf) > 0) {
		conf_report(set->conf, stderr);
		goto out;
	}
	if (main_conf)
		installed = settings_load(main_conf, OPT_CHECK);
	if (installed)
		judge(installed, file, s);
	host.loop = loop_new();
	host.module_directory = (installed ? installed : set)->module_directory;
	host.hostname = set->hostname;
	host.qdir = set->queue_directory;
	n = settings_modules(set, META1_SMAR, &m);
	if (n == 1)
		rc = create(&host, set, &m[0], s);
	mod_unload_all(&host);
	loop_free(&host.loop);
out:
	free(m);
	settings_free(&installed);
	settings_free(&set);
	free(text);
	return rc;
}

static int usage(void)
{
	fprintf(stderr,
	    "usage: createmap [-f CONF] TYPE FILE [TEXT]     (TYPE: gdbm, hash or lmdb)\n"
	    "  makes the map FILE from lines \"key value\" in TEXT or standard input\n"
	    "  -f: meta1.conf that sets module_directory, and says what FILE is used for: rows "
	    "that "
	    "do\n      not serve so are named\n");
	return EXIT_USE;
}

int main(int argc, char **argv)
{
	struct source s = {.name = NULL};
	const char *conf = NULL;
	int rc, c;

	while ((c = getopt(argc, argv, "f:V")) != -1) {
		switch (c) {
		case 'f':
			conf = optarg;
			break;
		case 'V':
			role_version("createmap", 1, NULL);
			return 0;
		default:
			return usage();
		}
	}
	if (argc - optind < 2 || argc - optind > 3)
		return usage();
	for (const char *p = argv[optind]; *p; p++)
		if (!isalnum((unsigned char)*p) && *p != '_')
			return usage();
	rc = read_source(&s, argv[optind + 2]); /* NULL: standard input */
	if (rc == 0)
		rc = run(conf, argv[optind], argv[optind + 1], &s);
	free(s.text);
	free(s.row);
	return rc;
}
