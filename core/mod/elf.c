/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * elf.c -- is the file of a module whole? The loader maps what its headers say; where the file ends
 * before that, the process would end by SIGBUS, with no word of the cause.
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

static bool is_elf(const ElfW(Ehdr) * e)
{
	return memcmp(e->e_ident, ELFMAG, SELFMAG) == 0 && e->e_phentsize == sizeof(ElfW(Phdr));
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
