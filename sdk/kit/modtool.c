/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * modtool.c -- main() of meta1-modtool, for authors of modules: begins one from a template, and
 * writes manual and sample from the table of options of one that is built.
 *	meta1-modtool new KIND NAME | doc FILE.so | sample FILE.so
 * Comes from the shell; goes to sdk/template and to a descriptor. None of the module's
 * functions is called. On failure: one line on stderr, exit status 1; wrong use 64.
 */
#include "host.h"

#include "lib/opt_manual.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <meta1/transport.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void usage(FILE *out)
{
	fputs("meta1-modtool new KIND NAME   makes a folder KIND_NAME to begin with: map, "
	      "transport, auth,\n"
	      "                              pmilter or queue\n"
	      "meta1-modtool doc FILE.so     its manual page, from its table of options\n"
	      "meta1-modtool sample FILE.so  a file for conf.d, the same way\n",
	    out);
}

static int fail(const char *what, const char *why)
{
	fprintf(stderr, "meta1-modtool: %s: %s\n", what, why);
	return 1;
}

/* ---- new ---- */

/* Beside this program when it is not where it was configured for. */
static void templates(char *out, size_t size)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	snprintf(out, size, "%s/template", META1_DATADIR);
	if (access(out, R_OK) == 0 || n <= 0)
		return;
	self[n] = '\0';
	slash = strrchr(self, '/');
	*slash = '\0';
	snprintf(out, size, "%s/../share/meta1/template", self);
}

/* Every "template" of the text becomes the name. */
static void put(FILE *out, const char *text, const char *name)
{
	const char *at;

	for (; (at = strstr(text, "template")); text = at + 8) {
		bool path = at > text && at[-1] == '/'; /* where module.mk lies */

		fprintf(out, "%.*s%s", (int)(at - text), text, path ? "template" : name);
	}
	fputs(text, out);
}

static int copy(const char *from, const char *folder, const char *file, const char *name)
{
	char path[PATH_MAX + 400], to[PATH_MAX], *line = NULL;
	FILE *in, *out;
	size_t cap = 0;
	int bad;

	snprintf(path, sizeof(path), "%s/%s", from, file);
	in = fopen(path, "re");
	out = open_memstream(&line, &cap);
	put(out, file, name);
	fclose(out);
	snprintf(to, sizeof(to), "%s/%s", folder, line);
	free(line);
	line = NULL;
	cap = 0;
	out = in ? fopen(to, "wxe") : NULL;
	if (!out) {
		fail(in ? to : path, strerror(errno));
		if (in)
			fclose(in);
		return 1;
	}
	while (getline(&line, &cap, in) > 0)
		put(out, line, name);
	free(line);
	bad = ferror(in) || ferror(out);
	fclose(in);
	bad |= fclose(out) != 0;
	return bad ? fail(to, strerror(errno)) : 0;
}

static int new_module(const char *kind, const char *name)
{
	char base[PATH_MAX + 32], from[PATH_MAX + 96], folder[128];
	struct dirent *e;
	int bad;
	DIR *d;

	if (!*name || strlen(name) > 40 ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != strlen(name))
		return fail(name, "expected a name of a to z, 0 to 9 and _, as my_own");
	if (!strncmp(name, kind, strlen(kind)) && name[strlen(kind)] == '_')
		return fail(name, "expected the name without its kind, which is put before it");
	templates(base, sizeof(base));
	snprintf(from, sizeof(from), "%s/%.32s", base, kind);
	d = strchr(kind, '/') ? NULL : opendir(from);
	if (!d)
		return fail(kind,
		    "there is no template of this kind: map, transport, auth, pmilter, queue");
	snprintf(folder, sizeof(folder), "%.32s_%s", kind, name);
	if (mkdir(folder, 0755)) {
		closedir(d);
		return fail(folder, errno == EEXIST ? "is there already: give another name, or "
						      "remove it"
						    : strerror(errno));
	}
	bad = copy(base, folder, "README.md", name);
	while (!bad && (e = readdir(d)))
		if (e->d_name[0] != '.')
			bad = copy(from, folder, e->d_name, name);
	closedir(d);
	if (!bad)
		printf("%s is made: cd %s && make check\n", folder, folder);
	return bad;
}

/* ---- doc, sample ---- */

static const char *const kinds[] = {[META1_MAP] = "map",
    [META1_TRANSPORT] = "transport",
    [META1_AUTH] = "auth",
    [META1_PMILTER] = "pmilter",
    [META1_QUEUE] = "queue"};

/* What tells more of the kind. */
static const char *const pages[] = {[META1_MAP] = "meta1-maps (5)",
    [META1_TRANSPORT] = "smtpc (8)",
    [META1_AUTH] = "smtps (8)",
    [META1_PMILTER] = "meta1-filters (5)",
    [META1_QUEUE] = "qmgr (8)"};

/* Sections that use it, outermost first. */
static void section(const struct meta1_module *m)
{
	const char *what = strchr(m->name, '_') + 1;
	const char *role = m->roles & META1_SMTPS ? "smtps" : "smtpc";

	if (m->kind == META1_MAP)
		printf("smar {\n\tmap example {\n\t\ttype = %s;\n", what);
	else if (m->kind == META1_QUEUE)
		printf("qmgr {\n\tqueue {\n\t\ttype = %s;\n", what);
	else if (m->kind == META1_PMILTER)
		printf("smtps {\n\tpolicy_milter %s {\n\t\tmodule = %s;\n", what, what);
	else if (m->kind == META1_AUTH)
		printf("%s {\n\tauth {\n\t\tmodule = %s;\n", role, what);
	else if (((const struct meta1_transport_ops *)m->ops)->props & META1_T_LOCAL)
		printf("smtpc {\n\ttransport %s {\n\t\tmodule = %s;\n", what, what);
	else
		printf("smtpc {\n\tmodule %s {\n", m->name);
}

static void roles(const struct meta1_module *m)
{
	static const struct {
		uint32_t role;
		const char *name;
	} in[] = {{META1_SMTPS, "smtps"}, {META1_SMTPC, "smtpc"}, {META1_SMAR, "smar"},
	    {META1_QMGR, "qmgr"}, {META1_TOOL, "tools"}};
	const char *before = "It is loaded in ";

	for (size_t i = 0; i < sizeof(in) / sizeof(in[0]); i++)
		if (m->roles & in[i].role) {
			printf("%s%s", before, in[i].name);
			before = ", ";
		}
	puts(", where something uses it.");
	if (m->flags & META1_F_BLOCKING)
		puts("What it does may sleep, and so runs on threads.");
}

/* Of a build that is to be repeated: SOURCE_DATE_EPOCH. */
static void today(char *date, size_t size)
{
	const char *said = getenv("SOURCE_DATE_EPOCH");
	time_t now = said ? (time_t)strtoll(said, NULL, 10) : time(NULL);
	struct tm tm;

	strftime(date, size, "%Y-%m-%d", gmtime_r(&now, &tm));
}

static void doc(const struct kit_module *mod)
{
	const struct meta1_module *m = mod->m;
	char name[128], date[32];

	str_copy(name, sizeof(name), m->name);
	for (char *p = name; *p; p++)
		if (*p >= 'a' && *p <= 'z')
			*p = (char)(*p - 32);
	today(date, sizeof(date));
	printf(".\\\" Made by meta1-modtool doc.\n.TH %s 5 %s \"%s %s\"\n.SH NAME\n%s \\- ", name,
	    date, m->name, m->version, m->name);
	opt_manual_text(m->summary, stdout);
	puts("\n.SH SYNOPSIS\n.nf");
	section(m);
	puts("\t\tOPTION = VALUE; ...\n\t}\n}\n.fi\n.SH DESCRIPTION");
	opt_manual_text(m->summary, stdout);
	printf("\nThis is a module of meta1, of the kind %s.\n", kinds[m->kind]);
	roles(m);
	if (m->nopt > 0)
		puts(".SH OPTIONS");
	for (uint32_t i = 0; i < m->nopt; i++)
		opt_manual(&mod->opt[i], stdout);
	printf(".SH SEE ALSO\n.BR meta1.conf (5),\n.BR %s\n", pages[m->kind]);
}

static void sample_option(const struct meta1_opt *o, const char *indent)
{
	bool required = o->flags & META1_O_REQUIRED;
	bool word = o->type == META1_STR || o->type == META1_PATH;

	printf("%s# %s%s\n", indent, o->doc, required ? " Required." : "");
	if (o->type == META1_LIST && (!o->def || !*o->def))
		printf("%s#%s = { };\n", indent, o->name);
	else
		printf("%s%s%s = %s%s%s;\n", indent, required ? "" : "#", o->name, word ? "\"" : "",
		    o->def ? o->def : "", word ? "\"" : "");
}

static void sample(const struct kit_module *mod)
{
	const struct meta1_module *m = mod->m;

	printf("# %s %s: %s\n", m->name, m->version, m->summary);
	section(m);
	for (uint32_t i = 0; i < m->nopt; i++)
		sample_option(&mod->opt[i], "\t\t");
	puts("\t}\n}");
}

/* The first rule that is broken. */
static void broken(void *why, bool ok, const char *what, const char *found)
{
	struct meta1_err *err = why;

	if (!ok && !err->text[0])
		snprintf(err->text, sizeof(err->text),
		    "its descriptor breaks the rule \"%.150s\": %.250s", what, found);
}

static int of_file(const char *file, void (*write)(const struct kit_module *))
{
	struct kit_host host = {.role = META1_TOOL};
	struct meta1_err err = {""};
	struct kit_module *mod = kit_load(&host, file, &err);

	if (!mod)
		return fail(file, err.text);
	if (!kit_judge(mod, broken, &err))
		return fail(file, err.text);
	write(mod);
	free(mod->opt);
	free(mod->file);
	free(mod);
	return fflush(stdout) ? fail("standard output", strerror(errno)) : 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "new"))
		return new_module(argv[2], argv[3]);
	if (argc == 3 && !strcmp(argv[1], "doc"))
		return of_file(argv[2], doc);
	if (argc == 3 && !strcmp(argv[1], "sample"))
		return of_file(argv[2], sample);
	usage(argc == 2 && !strcmp(argv[1], "--help") ? stdout : stderr);
	return argc == 2 && !strcmp(argv[1], "--help") ? 0 : 64;
}
