/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * abi.c -- holds the headers of the SDK to sdk/abi.txt, the list of all that modules are built
 * with: sizes, places and types of fields, values of constants, by the version that brought them.
 *	abi		is the list right? 1.x may only append: a field behind the end that its
 *struct had, a constant, a struct; each with a new minor, and a line in sdk/abi-history whose sum
 *seals the list as it is then abi -w		appends what is new to the list Comes from make
 *check; the table is made from the headers by sdk/abi-table.py. On failure: what changed, what that
 *breaks, and what to do.
 */
#include <inttypes.h>
#include <meta1/auth.h>
#include <meta1/base64.h>
#include <meta1/map.h>
#include <meta1/pmfapi.h>
#include <meta1/pmilter.h>
#include <meta1/pmwire.h>
#include <meta1/queue.h>
#include <meta1/textline.h>
#include <meta1/transport.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A type that differs from the header's is an array of -1. */
#define SAME(T, f, ...)                                                                            \
	(0 * sizeof(char[__builtin_types_compatible_p(__typeof__(((struct T *)0)->f), __VA_ARGS__) \
			     ? 1                                                                   \
			     : -1]))
#define K(c) {'K', #c, "", (long long)(c), 0, NULL},
#define T(c) {'K', #c, "", 0, 0, c},
#define S(T) {'S', #T, "", 0, sizeof(struct T), NULL},
#define F(T, f, ...)                                                                               \
	{'F', #T, #f, offsetof(struct T, f) + SAME(T, f, __VA_ARGS__), sizeof(((struct T *)0)->f), \
	    #__VA_ARGS__},

static const struct entry {
	char kind;
	const char *name, *field;
	long long at; /* offset, or the value of a constant */
	size_t len;
	const char *type;
} table[] = {
#include "abi-table.def"
};
#define TABLE (sizeof(table) / sizeof(table[0]))

/* Elements of arrays, by the size that stands beside them. */
static const char *const grow[] = {
    "meta1_opt", "meta1_rcpt", "meta1_qrcpt", "meta1_pm_edit", "meta1_module", "pmilter_S", NULL};

#define LINE  600
#define LINES 4096
static struct line {
	char *text;	       /* "F meta1_hop.port 4 4 uint32_t" */
	size_t name;	       /* bytes up to the end of the name */
	unsigned major, minor; /* version that brought it */
	bool seen;
} line[LINES];
static unsigned nline;

static struct version {
	unsigned major, minor;
	uint64_t sum; /* of the list up to here */
} version[LINES];
static unsigned nversion;
static int bad;
static unsigned newest = META1_ABI_MINOR; /* of the headers; no constant, or it is below 0 */

#define FAIL(...) (bad = 1, printf(__VA_ARGS__), putchar('\n'))

/* ---- the table ---- */

static bool grows(const char *name)
{
	for (unsigned i = 0; grow[i]; i++)
		if (strcmp(grow[i], name) == 0)
			return true;
	for (size_t i = 0; i < TABLE; i++)
		if (table[i].kind == 'F' && strcmp(table[i].name, name) == 0)
			return strcmp(table[i].field, "size") == 0 && table[i].at == 0;
	return false;
}

static void print(const struct entry *e, char *out)
{
	if (e->kind == 'F')
		snprintf(
		    out, LINE, "F %s.%s %lld %zu %s", e->name, e->field, e->at, e->len, e->type);
	else if (e->kind == 'S')
		snprintf(
		    out, LINE, "S %s %zu %s", e->name, e->len, grows(e->name) ? "grows" : "fixed");
	else if (e->type)
		snprintf(out, LINE, "K %s \"%s\"", e->name, e->type);
	else
		snprintf(out, LINE, "K %s %lld", e->name, e->at);
}

/* Bytes of "F name.field" of a line. */
static size_t name_of(const char *text)
{
	return strlen(text) < 3 ? strlen(text) : 2 + strcspn(text + 2, " ");
}

/* The newest line of the list about this name; NULL: none. */
static struct line *find(const char *text, size_t n)
{
	for (unsigned i = nline; i-- > 0;)
		if (line[i].name == n && strncmp(line[i].text, text, n) == 0)
			return &line[i];
	return NULL;
}

/* ---- the files ---- */

static uint64_t sum_more(uint64_t sum, const char *text)
{
	for (; *text; text++)
		sum = (sum ^ (unsigned char)*text) * 0x100000001b3u;
	return sum;
}

static FILE *file_open(const char *name, const char *how)
{
	const char *src = getenv("srcdir");
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/sdk/%s", src ? src : ".", name);
	f = fopen(path, how);
	if (!f)
		perror(path);
	return f;
}

static int list_read(void)
{
	FILE *in = file_open("abi.txt", "r");
	uint64_t sum = 0xcbf29ce484222325u;
	struct version *v = NULL;
	char text[LINE + 2];

	if (!in)
		return -1;
	while (nline < LINES && fgets(text, sizeof(text), in)) {
		if (*text == '#')
			continue;
		sum = sum_more(sum, text);
		text[strcspn(text, "\n")] = '\0';
		if (strncmp(text, "ABI ", 4) == 0) {
			v = &version[nversion++];
			sscanf(text + 4, "%u.%u", &v->major, &v->minor);
		} else if (v && *text) {
			line[nline++] =
			    (struct line){strdup(text), name_of(text), v->major, v->minor, false};
		}
		if (v)
			v->sum = sum;
	}
	fclose(in);
	return 0;
}

/* Each version has a line in the history, with the sum of the list as it was then. */
static void seals(void)
{
	FILE *in = file_open("abi-history", "r");
	char text[LINE];
	unsigned i;
	uint64_t sum;
	int n;

	for (i = 0; in && i < nversion; i++) {
		struct version *v = &version[i];
		bool found = false;

		rewind(in);
		while (!found && fgets(text, sizeof(text), in)) {
			unsigned major, minor;

			n = 0;
			found = sscanf(text, "%u.%u %*s %" SCNx64 "%n", &major, &minor, &sum, &n) ==
				    3 &&
				n > 0 && major == v->major && minor == v->minor;
		}
		if (!found)
			FAIL("sdk/abi-history has no line of ABI %u.%u: say there what it brought: "
			     "\"%u.%u\tDATE\t%016" PRIx64 "\tWHAT\"",
			    v->major, v->minor, v->major, v->minor, v->sum);
		else if (sum != v->sum)
			FAIL("the list up to ABI %u.%u is not what it was (sum %016" PRIx64
			     ", sdk/abi-history has %016" PRIx64
			     "): a version is sealed, what is new "
			     "gets a new minor",
			    v->major, v->minor, v->sum, sum);
	}
	if (in)
		fclose(in);
	else
		bad = 1;
}

/* ---- the rules ---- */

/* Size that a struct had in the versions before the newest of the headers; 0: it was not there. */
static size_t old_size(const char *name)
{
	size_t size = 0;
	char key[LINE];
	int n = snprintf(key, sizeof(key), "S %s ", name);

	for (unsigned i = 0; i < nline; i++)
		if (strncmp(line[i].text, key, (size_t)n) == 0 && line[i].minor < newest)
			size = strtoul(line[i].text + n, NULL, 10);
	return size;
}

static bool may_grow(const struct entry *e, const struct line *l)
{
	return e->kind == 'S' && grows(e->name) && strstr(l->text, " grows") &&
	       e->len > strtoul(l->text + l->name, NULL, 10);
}

/* fresh: lines that the list lacks, to be appended; NULL: that is an error. */
static void compare(FILE *fresh)
{
	char text[LINE];

	for (size_t i = 0; i < TABLE; i++) {
		const struct entry *e = &table[i];
		struct line *l;

		print(e, text);
		l = find(text, name_of(text));
		if (l)
			l->seen = true;
		if (e->kind == 'F' && (!l || l->minor == META1_ABI_MINOR) &&
		    (size_t)e->at < old_size(e->name))
			FAIL(
			    "%s.%s stands within what %s had before (%zu bytes): older modules "
			    "have "
			    "nothing there. Append it at the end, behind a pad where one is needed",
			    e->name, e->field, e->name, old_size(e->name));
		if (l && strcmp(l->text, text) == 0)
			continue;
		if (l && !may_grow(e, l))
			FAIL("changed: it was \"%s\", it is \"%s\". This breaks modules that are "
			     "built: "
			     "append something new instead, or raise META1_ABI_MAJOR",
			    l->text, text);
		else if (fresh)
			fprintf(fresh, "%s\n", text);
		else
			FAIL("new: \"%s\": run sdk/abi -w", text);
	}
	for (unsigned i = 0; i < nline; i++) {
		struct line *l = find(line[i].text, line[i].name);

		if (l == &line[i] && !line[i].seen)
			FAIL("removed: \"%s\". This breaks modules that use it: leave it there, or "
			     "raise META1_ABI_MAJOR",
			    line[i].text);
	}
}

static int append(void)
{
	struct version last = nversion ? version[nversion - 1] : (struct version){0, 0, 0};
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);

	compare(out);
	fclose(out);
	if (!bad && n > 0 && nversion && last.minor == META1_ABI_MINOR)
		FAIL("new:\n%sABI %u.%u is sealed: raise META1_ABI_MINOR in meta1/module.h", text,
		    last.major, last.minor);
	if (!bad && n > 0) {
		out = file_open("abi.txt", "a");
		bad |= !out ||
		       fprintf(out, "ABI %u.%u\n%s", META1_ABI_MAJOR, META1_ABI_MINOR, text) < 0;
		bad |= out && fclose(out) != 0;
		puts("appended; now its line in sdk/abi-history: sdk/abi says the sum");
	}
	free(text);
	return bad;
}

int main(int argc, char **argv)
{
	struct version *last;

	if (sizeof(void *) != 8) {
		puts("the list is of machines with 64-bit pointers");
		return 77;
	}
	if (list_read() < 0)
		return 1;
	if (argc == 2 && strcmp(argv[1], "-w") == 0)
		return append();
	last = nversion ? &version[nversion - 1] : NULL;
	compare(NULL);
	if (!last || last->major != META1_ABI_MAJOR || last->minor != META1_ABI_MINOR)
		FAIL("meta1/module.h says ABI %u.%u, the list ends with %u.%u: run sdk/abi -w, or "
		     "take "
		     "the number back",
		    META1_ABI_MAJOR, META1_ABI_MINOR, last ? last->major : 0,
		    last ? last->minor : 0);
	seals();
	for (unsigned i = 0; i < nline; i++)
		free(line[i].text);
	return bad;
}
