/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sites.c -- from where the module asks for memory, files and services, and which of these places
 * were never refused: there nobody knows what it does then.
 * Comes from host.c, for each call that may fail; goes to modtest.c, at the end. A place is a
 * return address within the module's file; it is named by the file's own table of symbols, or by
 * its offset (addr2line -e FILE.so OFFSET). Places that no suite comes to are not known.
 * Owns the table. On failure: a place for which there is no room is not counted.
 */
#include "kit.h"

#include "host_priv.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SITES 2048
#define TOLD  20 /* lines */

struct kit_site {
	const void *at;
	const char *call; /* "our_malloc", "host_alloc" */
	unsigned calls, refused;
};

void kit_sites_start(struct kit_host *h)
{
	h->sites = base_alloc(SITES * sizeof(*h->sites));
	memset(h->sites, 0, SITES * sizeof(*h->sites));
}

void kit_sites_end(struct kit_host *h)
{
	free(h->sites);
	h->sites = NULL;
}

/* Under the host's lock. */
void kit_site_asked(struct kit_host *h, const char *call, const void *at, bool refused)
{
	size_t i = (uintptr_t)at * 0x9e3779b97f4a7c15u >> 50;

	for (unsigned n = 0; n < SITES; n++, i++) {
		struct kit_site *s = &h->sites[i % SITES];

		if (s->at && s->at != at)
			continue;
		s->at = at;
		s->call = call;
		s->calls++;
		s->refused += refused;
		return;
	}
}

/* ---- names ---- */

struct image {
	const ElfW(Ehdr) * e;
	size_t size;
	const char *base; /* in memory */
};

static struct image image_open(const struct kit_module *mod)
{
	struct image im = {.e = MAP_FAILED};
	int fd = open(mod->file, O_RDONLY | O_CLOEXEC);
	struct stat st;
	Dl_info dl;

	if (dladdr(mod->m, &dl))
		im.base = dl.dli_fbase;
	if (fd >= 0 && fstat(fd, &st) == 0) {
		im.size = (size_t)st.st_size;
		im.e = mmap(NULL, im.size, PROT_READ, MAP_PRIVATE, fd, 0);
	}
	if (fd >= 0)
		close(fd);
	return im;
}

/* The function around off; NULL: the file does not say. */
static const ElfW(Sym) * function(const struct image *im, size_t off, const char **name)
{
	const char *b = (const char *)im->e;
	const ElfW(Shdr) * sh, *str;
	const ElfW(Sym) * sym;

	if (im->e == MAP_FAILED || im->e->e_shoff > im->size ||
	    im->e->e_shnum > (im->size - im->e->e_shoff) / sizeof(*sh))
		return NULL;
	sh = (const void *)(b + im->e->e_shoff);
	for (unsigned i = 0; i < im->e->e_shnum; i++) {
		if (sh[i].sh_type != SHT_SYMTAB || sh[i].sh_link >= im->e->e_shnum)
			continue;
		str = &sh[sh[i].sh_link];
		sym = (const void *)(b + sh[i].sh_offset);
		for (size_t k = 0; k < sh[i].sh_size / sizeof(*sym); k++)
			if (ELF64_ST_TYPE(sym[k].st_info) == STT_FUNC &&
			    off - sym[k].st_value < sym[k].st_size &&
			    sym[k].st_name < str->sh_size) {
				*name = b + str->sh_offset + sym[k].st_name;
				return &sym[k];
			}
	}
	return NULL;
}

static void never(struct kit *k, const struct image *im, const struct kit_site *s)
{
	size_t off = (size_t)((const char *)s->at - im->base) - 1; /* within the call */
	const char *name = NULL, *call = strchr(s->call, '_'), *slash = strrchr(k->mod->file, '/');
	const ElfW(Sym) *f = function(im, off, &name);

	call = strncmp(s->call, "our_", 4) && strncmp(s->call, "host_", 5) ? s->call : call + 1;
	if (f)
		kit_note(k, "never refused: %s() in %s(), at 0x%zx of %s, called %u times", call,
		    name, off, slash ? slash + 1 : k->mod->file, s->calls);
	else
		kit_note(k, "never refused: %s() at 0x%zx of %s, called %u times", call, off,
		    slash ? slash + 1 : k->mod->file, s->calls);
}

static bool ours(const struct image *im, const struct kit_site *s)
{
	Dl_info dl;

	return s->at && dladdr(s->at, &dl) && dl.dli_fbase == im->base;
}

void kit_sites_tell(struct kit *k)
{
	struct image im = image_open(k->mod);
	unsigned n = 0, refused = 0, told = 0;

	for (unsigned i = 0; i < SITES; i++) {
		const struct kit_site *s = &k->host.sites[i];

		if (ours(&im, s)) {
			n++;
			refused += s->refused > 0;
		}
	}
	for (unsigned i = 0; i < SITES && (refused > 0 || k->strict); i++) {
		const struct kit_site *s = &k->host.sites[i];

		if (ours(&im, s) && !s->refused && told++ < TOLD)
			never(k, &im, s);
	}
	if (told > TOLD)
		kit_note(k, "never refused: %u more", told - TOLD);
	if (k->strict)
		kit_ok(k, refused == n,
		    "each place that asks for memory or a service was refused once (%u of %u)",
		    refused, n);
	else if (refused > 0)
		kit_note(k, "%u places ask for memory or a service, %u were refused at least once",
		    n, refused);
	if (im.e != MAP_FAILED)
		munmap((void *)(uintptr_t)im.e, im.size);
}
