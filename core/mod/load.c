/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * load.c -- finds a module's file, judges file and descriptor, keeps it. The only
 * file that includes ltdl.h: libltdl opens lazily and says "file not found" for a
 * missing library or symbol too, so dlopen() is asked first and its words are used.
 * Comes from roles and tools; goes to judge.c. Owns struct mod; code is never unloaded.
 * On failure: one line: file, found, expected, what to do.
 */
#include "mod/inst.h"

#include "lib/snippet.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <ltdl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAMES_MAX 64 /* of a folder of modules, for a misspelt one */

static const struct {
	const char *prefix, *folder;
} folders[] = {{"map_", "maps"}, {"transport_", "transports"}, {"auth_", "auth"},
    {"pmilter_", "pmilter"}, {"queue_", "queue"}};

/* ---- find ---- */

static const char *folder_of(const char *module)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(folders); i++)
		if (!strncmp(module, folders[i].prefix, strlen(folders[i].prefix)))
			return folders[i].folder;
	return NULL;
}

/* The name becomes part of a path and of a symbol. */
static bool name_ok(const char *module)
{
	size_t n = strspn(module, "abcdefghijklmnopqrstuvwxyz0123456789_");

	return n && n <= 64 && !module[n];
}

/* Roots from the environment: never for root, who gets code from the installed folder only. */
static const char *extra_roots(void)
{
	const char *path = getenv("META1_MODULE_PATH");

	if (!path || !*path)
		return NULL;
	if (geteuid() != 0)
		return path;
#ifdef META1_DEVELOPER
	const char *test = getenv("META1_TEST_ENV");

	if (test && !strcmp(test, "1"))
		return path;
#endif
	return NULL;
}

static bool there(
    const char *root, size_t n, const char *folder, const char *sub, const char *module, char *out)
{
	int len = snprintf(out, PATH_MAX, "%.*s/%s/%s%s.so", (int)n, root, folder, sub, module);

	return len > 0 && len < PATH_MAX && access(out, F_OK) == 0;
}

static bool find(const struct mod_host *h, const char *folder, const char *module, char *out)
{
	const char *roots = extra_roots(), *end, *dir = h->module_directory;

	for (; roots && *roots; roots = *end ? end + 1 : end) {
		end = strchrnul(roots, ':');
		if (*roots == '/' &&
		    (there(roots, (size_t)(end - roots), folder, "", module, out) ||
			there(roots, (size_t)(end - roots), folder, ".libs/", module, out)))
			return true;
	}
	return dir && there(dir, strlen(dir), folder, "", module, out);
}

/* A link may not lead out of the folder of its kind, nor to a module of another name. */
static int judge_link(const char *path, struct meta1_err *err)
{
	char real[PATH_MAX], dir[PATH_MAX], folder[PATH_MAX];
	const char *base = strrchr(path, '/') + 1;
	size_t n;

	str_copy(folder, sizeof(folder), path);
	folder[base - path] = '\0';
	if (!realpath(path, real) || !realpath(folder, dir))
		return err_set(err, "%s: %s", path, strerror(errno));
	n = strlen(dir);
	if (strncmp(real, dir, n) != 0 || real[n] != '/' || strcmp(real + n + 1, base) != 0)
		return err_set(err, "%s: is a link to %s, expected the file itself: copy it there",
		    path, real);
	return 0;
}

/* ---- judge the file ---- */

static int judge_owner(const char *path, const struct stat *st, struct meta1_err *err)
{
	uid_t me = geteuid();

	if (st->st_uid != 0 && (me == 0 || st->st_uid != me))
		return err_set(err, "%s: owner is uid %ld, expected root%s: chown root it", path,
		    (long)st->st_uid, me ? " or the account that runs this" : "");
	if (st->st_mode & (S_IWGRP | S_IWOTH))
		return err_set(err,
		    "%s: mode is %04o, expected it to be writable by its owner only: chmod go-w %s",
		    path, (unsigned)st->st_mode & 07777, path);
	return 0;
}

/* Who can write to the folder, or rename it, can put another file there. In a sticky parent
 * (a temporary folder) only the owner can rename it. */
static int judge_folders(const char *path, struct meta1_err *err)
{
	char dir[PATH_MAX], *slash;
	struct stat st;
	int level;

	str_copy(dir, sizeof(dir), path);
	for (level = 0; level < 2; level++) {
		slash = strrchr(dir, '/');
		slash[slash == dir ? 1 : 0] = '\0';
		if (stat(dir, &st) < 0)
			return err_set(err, "%s: %s", dir, strerror(errno));
		if (level && st.st_mode & S_ISVTX)
			return 0;
		if (judge_owner(dir, &st, err) < 0)
			return -1;
	}
	return 0;
}

/* path is made absolute and free of symbolic links, so that what is judged is what loads. */
static int judge_file(char *path, struct meta1_err *err)
{
	char real[PATH_MAX];
	struct stat st;

	if (*path != '/')
		return err_set(err, "%s: expected an absolute path", path);
	if (!realpath(path, real) || stat(real, &st) < 0)
		return err_set(err, "%s: %s", path, strerror(errno));
	str_copy(path, PATH_MAX, real);
	if (!S_ISREG(st.st_mode))
		return err_set(err, "%s: expected a regular file", path);
	if (judge_owner(path, &st, err) < 0 || judge_folders(path, err) < 0)
		return -1;
	return mod_elf_whole(path, err);
}

/* ---- load ---- */

static lt_dlhandle open_resident(const char *path)
{
	lt_dladvise advise;
	lt_dlhandle h = NULL;

	if (lt_dladvise_init(&advise))
		return NULL;
	if (!lt_dladvise_local(&advise) && !lt_dladvise_resident(&advise))
		h = lt_dlopenadvise(path, advise);
	lt_dladvise_destroy(&advise);
	return h;
}

/* RTLD_NOW: an unresolved function is found now, and by its name, not in the middle of a mail. */
static lt_dlhandle open_file(const char *path, struct meta1_err *err)
{
	static bool ready;
	void *first;
	lt_dlhandle h;
	const char *why;

	if (!ready && lt_dlinit()) {
		err_set(err, "%s: libltdl does not start: %s", path, lt_dlerror());
		return NULL;
	}
	ready = true;
	first = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!first) {
		why = dlerror();
		/* its text mostly begins with the path */
		if (why && !strncmp(why, path, strlen(path)) && why[strlen(path)] == ':')
			why += strlen(path) + 2;
		err_set(err, "%s: cannot be loaded: %s: install the library, or build it anew",
		    path, why ? why : "no reason given");
		return NULL;
	}
	h = open_resident(path);
	if (!h)
		err_set(err, "%s: libltdl cannot load it: %s", path, lt_dlerror());
	dlclose(first);
	return h;
}

static const struct meta1_module *descriptor(
    const char *path, const char *name, uint32_t role, struct meta1_err *err)
{
	lt_dlhandle h = open_file(path, err);
	const struct meta1_module *m;
	struct meta1_err why = {""};

	if (!h)
		return NULL;
	m = lt_dlsym(h, "meta1_module");
	if (!m) {
		err_set(err,
		    "%s: symbol %s_LTX_meta1_module is missing: no module of this server, or the "
		    "file was renamed",
		    path, name);
		return NULL;
	}
	if (mod_judge(m, name, role, &why) < 0) {
		err_set(err, "%s: %.480s", path, why.text);
		return NULL;
	}
	return m;
}

/* Records of an ABI with shorter ones, in our size; the rest is 0. */
static struct meta1_opt *options(const struct meta1_module *m)
{
	struct meta1_opt *o = base_alloc(m->nopt * sizeof(*o));
	size_t n = m->sizeof_opt < sizeof(*o) ? m->sizeof_opt : sizeof(*o);
	uint32_t i;

	for (i = 0; i < m->nopt; i++)
		memcpy(&o[i], (const char *)m->opt + (size_t)i * m->sizeof_opt, n);
	return o;
}

struct mod *mod_load_file(struct mod_host *host, const char *file, struct meta1_err *err)
{
	char path[PATH_MAX], name[NAME_MAX + 1], *dot;
	const struct meta1_module *m;
	struct mod *mod;

	str_copy(path, sizeof(path), file);
	if (judge_file(path, err) < 0)
		return NULL;
	str_copy(name, sizeof(name), strrchr(path, '/') + 1);
	dot = strrchr(name, '.');
	if (!dot || strcmp(dot, ".so") != 0) {
		err_set(err, "%s: expected a name that ends in .so", path);
		return NULL;
	}
	*dot = '\0';
	if (!name_ok(name)) {
		err_set(err, "%s: expected a name of a to z, 0 to 9 and _ before .so", path);
		return NULL;
	}
	for (mod = host->mods; mod; mod = mod->next)
		if (!strcmp(mod->file, path))
			return mod;
	m = descriptor(path, name, host->role, err);
	if (!m)
		return NULL;
	mod = base_alloc(sizeof(*mod));
	*mod = (struct mod){.next = host->mods, .m = m, .file = base_strdup(path)};
	mod->opt = options(m);
	host->mods = mod;
	return mod;
}

/* Packages of single modules are called as they are; a name that is nearly right has a neighbour.
 */
static void not_there(
    const struct mod_host *host, const char *folder, const char *module, struct meta1_err *err)
{
	const char *dir = host->module_directory ? host->module_directory : "", *near;
	char path[PATH_MAX], package[80], names[NAMES_MAX][80];
	const char *name[NAMES_MAX];
	char there[200] = "";
	struct dirent *e;
	size_t n = 0, len, used = 0;
	DIR *d;

	snprintf(path, sizeof(path), "%s/%s", dir, folder);
	d = opendir(path);
	while (d && n < NAMES_MAX && (e = readdir(d))) {
		len = strlen(e->d_name);
		if (len < 4 || len > 67 || strcmp(e->d_name + len - 3, ".so") != 0)
			continue;
		str_copy(names[n], sizeof(names[n]), e->d_name);
		names[n][len - 3] = '\0';
		name[n] = strchr(names[n], '_');
		if (name[n] && used < sizeof(there))
			used += (size_t)snprintf(
			    there + used, sizeof(there) - used, " %s", name[n] + 1);
		n += name[n] != NULL;
	}
	if (d)
		closedir(d);
	snippet_package(module, package, sizeof(package));
	near = conf_nearest(strchr(module, '_'), name, n);
	err_set(err,
	    "%s/%s/%s.so: no such file: install the package that has it (of Debian meta1, or "
	    "%s if there is one), or set module_directory%s%.*s%s",
	    dir, folder, module, package,
	    near ? "; there is "
	    : n	 ? "; there are:"
		 : "",
	    near ? (int)strcspn(module, "_") : 0, module, near ? near : there);
}

struct mod *mod_load(struct mod_host *host, const char *module, struct meta1_err *err)
{
	const char *folder = folder_of(module);
	char path[PATH_MAX];
	struct mod *mod;

	if (!folder || !name_ok(module)) {
		err_set(err,
		    "module \"%.64s\": expected a name that begins with map_, transport_, auth_, "
		    "pmilter_ or queue_, of a to z, 0 to 9 and _",
		    module);
		return NULL;
	}
	for (mod = host->mods; mod; mod = mod->next)
		if (!strcmp(mod->m->name, module))
			return mod;
	if (!find(host, folder, module, path)) {
		not_there(host, folder, module, err);
		return NULL;
	}
	if (judge_link(path, err) < 0)
		return NULL;
	return mod_load_file(host, path, err);
}

void mod_unload_all(struct mod_host *host)
{
	struct mod *mod;

	mod_apart_free(host);
	while ((mod = host->mods)) {
		host->mods = mod->next;
		free(mod->opt);
		free(mod->file);
		free(mod);
	}
}

const struct meta1_module *mod_descriptor(const struct mod *mod)
{
	return mod->m;
}

const char *mod_file(const struct mod *mod)
{
	return mod->file;
}
