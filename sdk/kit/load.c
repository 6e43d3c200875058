/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * load.c -- a file becomes a descriptor: opened with all of its symbols resolved, and its table of
 * dynamic symbols read as it stands in the file, without tools.
 * Comes from modtest.c, others.c; goes to dlopen().
 * Owns the list of loaded files until the kit ends; code stays, as in a role.
 * On failure: NULL or <0, err in one line.
 */
#include "host_priv.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The descriptor's name is the file's: a file that was renamed does not have it. */
static bool symbol_name(const char *path, char *out, size_t size)
{
	const char *base = strrchr(path, '/') + 1;
	size_t n = strlen(base);

	if (n < 4 || strcmp(base + n - 3, ".so") != 0)
		return false;
	snprintf(out, size, "%.*s_LTX_meta1_module", (int)(n - 3), base);
	return true;
}

static void other_name(void *arg, char kind, const char *name)
{
	const char *end = strstr(name, "_LTX_meta1_module");

	if (kind == 'D' && end)
		snprintf(arg, 128, "%.*s", (int)(end - name), name);
}

struct kit_module *kit_load(struct kit_host *h, const char *file, struct meta1_err *err)
{
	char path[PATH_MAX], symbol[PATH_MAX + 32];
	struct kit_module *mod;
	const char *why;
	void *code;

	if (!realpath(file, path)) {
		err_set(err, "%.300s: %s", file, strerror(errno));
		return NULL;
	}
	if (!symbol_name(path, symbol, sizeof(symbol))) {
		err_set(err, "%.300s: expected a name that ends in .so", path);
		return NULL;
	}
	code = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!code) {
		why = dlerror();
		err_set(err, "cannot be loaded: %.400s", why ? why : "no reason given");
		return NULL;
	}
	mod = base_alloc(sizeof(*mod));
	mod->m = dlsym(code, symbol);
	if (!mod->m) {
		char other[128] = "";
		struct meta1_err none;

		kit_symbols(path, other_name, other, &none);
		err_set(err, "symbol %.200s is missing: %s%.100s%s", symbol,
		    *other ? "META1_MODULE() says " : "the file lacks META1_MODULE()", other,
		    *other ? ", and name and file must agree" : "");
		free(mod);
		return NULL;
	}
	mod->file = base_strdup(path);
	kit_hook(h, code);
	mod->code = code;
	mod->next = h->modules;
	h->modules = mod;
	return mod;
}

/* ---- symbols ---- */

static int walk(const ElfW(Ehdr) * e, size_t size, const ElfW(Shdr) * dyn,
    void (*fn)(void *, char, const char *), void *arg)
{
	const ElfW(Shdr) *sh = (const void *)((const char *)e + e->e_shoff), *str;
	const ElfW(Sym) *sym = (const void *)((const char *)e + dyn->sh_offset);
	const char *names;

	if (dyn->sh_link >= e->e_shnum || dyn->sh_offset > size ||
	    dyn->sh_size > size - dyn->sh_offset)
		return -1;
	str = &sh[dyn->sh_link];
	names = (const char *)e + str->sh_offset;
	if (str->sh_offset > size || str->sh_size > size - str->sh_offset || !str->sh_size ||
	    names[str->sh_size - 1])
		return -1;
	for (size_t i = 1; i < dyn->sh_size / sizeof(*sym); i++)
		if (sym[i].st_name < str->sh_size && ELF64_ST_BIND(sym[i].st_info) != STB_LOCAL)
			fn(arg, sym[i].st_shndx == SHN_UNDEF ? 'U' : 'D', names + sym[i].st_name);
	return 0;
}

static int read_elf(
    const ElfW(Ehdr) * e, size_t size, void (*fn)(void *, char, const char *), void *arg)
{
	const ElfW(Shdr) *sh = (const void *)((const char *)e + e->e_shoff);

	if (size < sizeof(*e) || memcmp(e->e_ident, ELFMAG, SELFMAG) != 0 ||
	    e->e_shoff % sizeof(void *) || e->e_shoff > size ||
	    e->e_shnum > (size - e->e_shoff) / sizeof(*sh))
		return -1;
	for (unsigned i = 0; i < e->e_shnum; i++)
		if (sh[i].sh_type == SHT_DYNSYM)
			return walk(e, size, &sh[i], fn, arg);
	return -1;
}

int kit_symbols(const char *file, void (*fn)(void *arg, char kind, const char *name), void *arg,
    struct meta1_err *err)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC), r = -1;
	struct stat st;
	void *p;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, "%.300s: %s", file, strerror(errno));
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (p != MAP_FAILED) {
		r = read_elf(p, (size_t)st.st_size, fn, arg);
		munmap(p, (size_t)st.st_size);
	}
	return r < 0 ? err_set(err, "%.300s: its table of symbols cannot be read", file) : 0;
}
