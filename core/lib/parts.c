/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * parts.c -- memory that processes share, see parts.h.
 * Comes from clients.c and tally.c. Owns the mapping until parts_close(). On failure: errno, or err
 * with what is wrong; nothing is left.
 */
#include "lib/parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

int parts_make(const char *name, uint64_t magic, size_t part, unsigned processes)
{
	struct parts_head head = {.magic = magic, .processes = processes};
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int e;

	if (fd < 0)
		return -1;
	if (getrandom(head.secret, sizeof(head.secret), 0) == (ssize_t)sizeof(head.secret) &&
	    ftruncate(fd, (off_t)(PARTS_HEAD + part * PARTS_MAX)) == 0 &&
	    pwrite(fd, &head, sizeof(head), 0) == (ssize_t)sizeof(head) &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0)
		return fd;
	e = errno;
	close(fd);
	errno = e;
	return -1;
}

void parts_more(int fd, unsigned processes)
{
	const off_t at = offsetof(struct parts_head, processes);
	uint32_t n;

	/* The part of one that runs may be behind the one that is added. */
	if (pread(fd, &n, sizeof(n), at) == (ssize_t)sizeof(n) && n >= processes)
		return;
	n = processes;
	(void)!pwrite(fd, &n, sizeof(n), at);
}

int parts_open(struct parts *p, int fd, uint64_t magic, size_t part, unsigned index,
    const char *what, struct meta1_err *err)
{
	struct stat st;
	void *map;

	*p = (struct parts){.part = part, .index = index};
	if (fstat(fd, &st) < 0 || (size_t)st.st_size != PARTS_HEAD + part * PARTS_MAX)
		return err_set(err, "%s is of another version of mcp; restart mcp", what);
	if (index >= PARTS_MAX)
		return err_set(err, "%s has no room for process %u", what, index);
	p->size = PARTS_HEAD + part * (index + 1);
	map = mmap(NULL, p->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return err_set(err, "%s cannot be mapped: %s", what, strerror(errno));
	p->map = map;
	p->head = map;
	if (p->head->magic != magic)
		err_set(err, "%s is of another version of mcp; restart mcp", what);
	else if (index >= atomic_load(&p->head->processes))
		err_set(err, "%s has no room for process %u", what, index);
	else
		return 0;
	parts_close(p);
	return -1;
}

unsigned parts_count(struct parts *p)
{
	unsigned have = (unsigned)((p->size - PARTS_HEAD) / p->part);
	unsigned want = atomic_load(&p->head->processes);
	void *map;

	if (want <= have || want > PARTS_MAX)
		return have;
	map = mremap(p->map, p->size, PARTS_HEAD + p->part * want, MREMAP_MAYMOVE);
	if (map == MAP_FAILED)
		return have; /* the others count as if they were away */
	p->map = map;
	p->head = map;
	p->size = PARTS_HEAD + p->part * want;
	return want;
}

void parts_close(struct parts *p)
{
	if (p->map)
		munmap(p->map, p->size);
	*p = (struct parts){.map = NULL};
}
