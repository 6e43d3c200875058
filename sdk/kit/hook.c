/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hook.c -- what a module asks of libc itself, past the host's table: memory, which fails in its
 * turn as a call of the host does; files are hook_files.c's.
 * Comes from load.c with a loaded file; goes to libc. The places of the file that lead to these
 * functions (its global offset table) are turned to those below. So calls that the kit, libc or
 * libraries below the module make are left alone; and so is what a module finds by dlsym().
 * Owns nothing. On failure: a function that was found nowhere is not watched.
 */
#include "host_priv.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static struct kit_host *host; /* one a process */

static bool fails_at(const char *call, const void *from)
{
	if (!kit_host_fails(host, call, from))
		return false;
	errno = ENOMEM;
	return true;
}
#define fails() fails_at(__func__, __builtin_return_address(0))

/* Bytes that the module's own calls got and did not free: by this alone nobody is blamed, for
 * libraries may free what it gave them, and the other way round. */
static int64_t own;

static void *got(void *p)
{
	__atomic_add_fetch(&own, (int64_t)malloc_usable_size(p), __ATOMIC_SEQ_CST);
	return p;
}

static void *gone(void *p)
{
	__atomic_sub_fetch(&own, (int64_t)malloc_usable_size(p), __ATOMIC_SEQ_CST);
	return p;
}

int64_t kit_heap_own(void)
{
	return own;
}

/* ---- in place of libc's ---- */

static void our_free(void *p)
{
	free(gone(p));
}

static void *our_malloc(size_t n)
{
	return fails() ? NULL : got(malloc(n));
}

static void *our_calloc(size_t n, size_t size)
{
	return fails() ? NULL : got(calloc(n, size));
}

static void *our_realloc(void *p, size_t n)
{
	return fails() ? NULL : got(realloc(gone(p), n));
}

static void *our_reallocarray(void *p, size_t n, size_t size)
{
	return fails() ? NULL : got(reallocarray(gone(p), n, size));
}

static void *our_aligned_alloc(size_t align, size_t n)
{
	return fails() ? NULL : got(aligned_alloc(align, n));
}

static int our_posix_memalign(void **p, size_t align, size_t n)
{
	int rc = fails() ? ENOMEM : posix_memalign(p, align, n);

	if (rc == 0)
		got(*p);
	return rc;
}

static char *our_strdup(const char *s)
{
	return fails() ? NULL : got(strdup(s));
}

static char *our_strndup(const char *s, size_t n)
{
	return fails() ? NULL : got(strndup(s, n));
}

static int print(char **out, const char *fmt, va_list ap)
{
	int n = vasprintf(out, fmt, ap);

	if (n >= 0)
		got(*out);
	return n;
}

static int our_vasprintf(char **out, const char *fmt, va_list ap)
{
	return fails() ? -1 : print(out, fmt, ap);
}

static int our_vasprintf_chk(char **out, int flag, const char *fmt, va_list ap)
{
	(void)flag;
	return fails() ? -1 : print(out, fmt, ap);
}

static int our_asprintf(char **out, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = fails() ? -1 : print(out, fmt, ap);
	va_end(ap);
	return n;
}

static int our_asprintf_chk(char **out, int flag, const char *fmt, ...)
{
	va_list ap;
	int n;

	(void)flag;
	va_start(ap, fmt);
	n = fails() ? -1 : print(out, fmt, ap);
	va_end(ap);
	return n;
}

static ssize_t get(char **line, size_t *size, int end, FILE *f)
{
	ssize_t n;

	gone(*line);
	n = getdelim(line, size, end, f);
	got(*line);
	return n;
}

static ssize_t our_getdelim(char **line, size_t *size, int end, FILE *f)
{
	return fails() ? -1 : get(line, size, end, f);
}

static ssize_t our_getline(char **line, size_t *size, FILE *f)
{
	return fails() ? -1 : get(line, size, '\n', f);
}

static FILE *our_fopen(const char *path, const char *mode)
{
	return fails() ? NULL : fopen(path, mode);
}

static FILE *our_fdopen(int fd, const char *mode)
{
	return fails() ? NULL : fdopen(fd, mode);
}

static FILE *our_open_memstream(char **p, size_t *n)
{
	return fails() ? NULL : open_memstream(p, n);
}

static DIR *our_opendir(const char *path)
{
	return fails() ? NULL : opendir(path);
}

#define HOOK(name, ours)                                                                           \
	{                                                                                          \
		name, (void (*)(void))(ours)                                                       \
	}
static const struct kit_hook kit_hook_memory[] = {HOOK("free", our_free),
    HOOK("malloc", our_malloc), HOOK("calloc", our_calloc), HOOK("realloc", our_realloc),
    HOOK("reallocarray", our_reallocarray), HOOK("aligned_alloc", our_aligned_alloc),
    HOOK("posix_memalign", our_posix_memalign), HOOK("strdup", our_strdup),
    HOOK("__strdup", our_strdup), HOOK("strndup", our_strndup), HOOK("__strndup", our_strndup),
    HOOK("vasprintf", our_vasprintf), HOOK("__vasprintf_chk", our_vasprintf_chk),
    HOOK("asprintf", our_asprintf), HOOK("__asprintf_chk", our_asprintf_chk),
    HOOK("getdelim", our_getdelim), HOOK("__getdelim", our_getdelim), HOOK("getline", our_getline),
    HOOK("fopen", our_fopen), HOOK("fopen64", our_fopen), HOOK("fdopen", our_fdopen),
    HOOK("open_memstream", our_open_memstream), HOOK("opendir", our_opendir), {NULL, NULL}};

/* ---- turning the places ---- */

/* Of a library's dynamic section; glibc has made addresses of it when it loaded the file. */
struct tables {
	const ElfW(Sym) * sym;
	const char *str;
	struct {
		const ElfW(Rela) * at;
		size_t n;
	} rel[2]; /* of calls, of data */
};

static struct tables tables_of(const struct link_map *map)
{
	struct tables t = {.sym = NULL};

	for (const ElfW(Dyn) *d = map->l_ld; d->d_tag != DT_NULL; d++) {
		const void *p = (const void *)d->d_un.d_ptr;

		if (d->d_tag == DT_SYMTAB)
			t.sym = p;
		else if (d->d_tag == DT_STRTAB)
			t.str = p;
		else if (d->d_tag == DT_JMPREL)
			t.rel[0].at = p;
		else if (d->d_tag == DT_PLTRELSZ)
			t.rel[0].n = d->d_un.d_val / sizeof(ElfW(Rela));
		else if (d->d_tag == DT_RELA)
			t.rel[1].at = p;
		else if (d->d_tag == DT_RELASZ)
			t.rel[1].n = d->d_un.d_val / sizeof(ElfW(Rela));
	}
	return t;
}

/* A place that does not hold the function itself is none of those that can be turned. */
static void turn(void (**place)(void), const struct kit_hook *h)
{
	void *page = (void *)((uintptr_t)place & ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1));
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	void *theirs = dlsym(RTLD_DEFAULT, h->name);

	if (!theirs || memcmp(place, &theirs, sizeof(theirs)) != 0 ||
	    mprotect(page, size, PROT_READ | PROT_WRITE) < 0)
		return;
	*place = h->ours; /* the page stays writable; this is a tool */
}

static const struct kit_hook *find(const char *name)
{
	static const struct kit_hook *const tables[] = {kit_hook_memory, kit_hook_files};

	for (unsigned i = 0; i < ARRAY_LEN(tables); i++)
		for (const struct kit_hook *h = tables[i]; h->name; h++)
			if (h->name[0] == name[0] && !strcmp(h->name, name))
				return h;
	return NULL;
}

void kit_hook_host(struct kit_host *h)
{
	host = h;
}

struct kit_host *kit_hooked(void)
{
	return host;
}

void kit_hook(struct kit_host *h, void *code)
{
	struct link_map *map = NULL;
	struct tables t;

	host = h;
	if (dlinfo(code, RTLD_DI_LINKMAP, &map) < 0 || !map)
		return;
	t = tables_of(map);
	for (unsigned k = 0; k < 2 && t.sym && t.str; k++)
		for (size_t i = 0; i < t.rel[k].n && t.rel[k].at; i++) {
			const ElfW(Rela) *r = &t.rel[k].at[i];
			const char *name = t.str + t.sym[ELF64_R_SYM(r->r_info)].st_name;

			const struct kit_hook *hook = find(name);

			if (hook)
				turn((void (**)(void))(map->l_addr + r->r_offset), hook);
		}
}
