/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * elf.c -- is the file of a module whole, and for this machine? The loader maps what its headers
 * say; where the file ends before that, the process would end by SIGBUS, with no word of the cause;
 * and of a file for another machine it says that there is none.
 * Comes from load.c, before anything of the file is mapped. Owns nothing. On failure: err has what
 * was found; what is no ELF file at all is the loader's to say.
 */
#include "mod/inst.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE_MOST                                                                                  \
	(256 << 20) /* bytes of a file; the largest of ours have some hundred thousand             \
		     */
#define HEADS 64    /* program headers that are looked at */

extern const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden"))); /* this program's */

static bool is_elf(const ElfW(Ehdr) * e)
{
	return memcmp(e->e_ident, ELFMAG, SELFMAG) == 0;
}

/* What a file of any class has at the same place. */
static bool is_ours(const ElfW(Ehdr) * e)
{
	const ElfW(Ehdr) *own = &__ehdr_start;

	return e->e_ident[EI_CLASS] == own->e_ident[EI_CLASS] &&
	       e->e_ident[EI_DATA] == own->e_ident[EI_DATA] && e->e_machine == own->e_machine;
}

static int judge(int fd, const char *path, struct meta1_err *err)
{
	ElfW(Phdr) head[HEADS];
	ElfW(Ehdr) e;
	struct stat st;
	size_t want, n;

	if (fstat(fd, &st) < 0)
		return err_set(err, "%s: %s", path, strerror(errno));
	if (st.st_size > SIZE_MOST)
		return err_set(err, "%s: found %lld bytes, expected a module of at most %d MiB",
		    path, (long long)st.st_size, SIZE_MOST >> 20);
	if (pread(fd, &e, sizeof(e), 0) != (ssize_t)sizeof(e) || !is_elf(&e))
		return 0;
	if (!is_ours(&e))
		return err_set(err,
		    "%s: found a file of ELF class %u for machine %u, expected class %u and "
		    "machine %u: install the one for this machine",
		    path, e.e_ident[EI_CLASS], e.e_machine, __ehdr_start.e_ident[EI_CLASS],
		    __ehdr_start.e_machine);
	if (e.e_phentsize != sizeof(head[0]))
		return 0;
	n = e.e_phnum < HEADS ? e.e_phnum : HEADS;
	want = n * sizeof(head[0]);
	if (pread(fd, head, want, (off_t)e.e_phoff) != (ssize_t)want)
		return err_set(err, "%s: it is cut off: install it anew", path);
	for (size_t i = 0; i < n; i++)
		if (head[i].p_offset > (uint64_t)st.st_size ||
		    head[i].p_filesz > (uint64_t)st.st_size - head[i].p_offset)
			return err_set(err,
			    "%s: it is cut off: found %lld bytes, its headers tell of %llu: "
			    "install it anew",
			    path, (long long)st.st_size,
			    (unsigned long long)head[i].p_offset + head[i].p_filesz);
	return 0;
}

int mod_elf_whole(const char *path, struct meta1_err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc;

	if (fd < 0)
		return err_set(err, "%s: %s", path, strerror(errno));
	rc = judge(fd, path, err);
	close(fd);
	return rc;
}
