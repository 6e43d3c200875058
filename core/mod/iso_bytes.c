/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * iso_bytes.c -- extents as pieces of a frame and its descriptors, and back.
 * Comes from iso_pmilter.c and worker_pmilter.c; goes to the kernel.
 * Owns descriptors until they are sent. On failure: false, with what was in the way.
 */
#include "mod/iso_bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

void iso_bytes_init(struct iso_bytes *b)
{
	*b = (struct iso_bytes){.mem = -1, .inline_left = ISO_INLINE_MAX};
}

void iso_bytes_drop(struct iso_bytes *b)
{
	while (b->nfd)
		close(b->fd[--b->nfd]);
}

static int add_fd(struct iso_bytes *b, int fd, int from, struct meta1_err *err)
{
	if (fd < 0)
		return err_set(err, "a descriptor of the content: %s", strerror(errno));
	if (b->nfd == WIRE_FDS_MAX) {
		close(fd);
		return err_set(err, "the content stands in more than %d files", WIRE_FDS_MAX);
	}
	b->fd[b->nfd] = fd;
	b->from[b->nfd] = from;
	return (int)b->nfd++;
}

/* The worker must not write where the role reads: another opening of the same file. */
static int file(struct iso_bytes *b, int fd, struct meta1_err *err)
{
	char path[64];

	for (unsigned i = 0; i < b->nfd; i++)
		if (b->from[i] == fd)
			return (int)i;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return add_fd(b, open(path, O_RDONLY | O_CLOEXEC), fd, err);
}

static bool write_all(int fd, const void *p, size_t n)
{
	const char *at = p;

	while (n) {
		ssize_t done = write(fd, at, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		at += done;
		n -= (size_t)done;
	}
	return true;
}

bool iso_bytes_copy(int to, const struct meta1_extent *e)
{
	char buf[65536];
	uint64_t at = 0;

	while (at < e->len) {
		size_t want = e->len - at < sizeof(buf) ? e->len - at : sizeof(buf);
		ssize_t n = pread(e->fd, buf, want, (off_t)(e->off + at));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || !write_all(to, buf, (size_t)n))
			return false;
		at += (uint64_t)n;
	}
	return true;
}

static bool put_memory(
    struct iso_bytes *b, const struct meta1_extent *e, struct iso_piece *p, struct meta1_err *err)
{
	if (b->mem < 0)
		b->mem = add_fd(b, iso_bytes_memory(), -1, err);
	if (b->mem < 0)
		return false;
	if (e->mem ? !write_all(b->fd[b->mem], e->mem, e->len)
		   : !iso_bytes_copy(b->fd[b->mem], e)) {
		err_set(err, "a copy of the content: %s", strerror(errno));
		return false;
	}
	*p = (struct iso_piece){.off = b->mem_len, .len = e->len, .fd = b->mem};
	b->mem_len += e->len;
	return true;
}

bool iso_bytes_put(struct iso_bytes *b, const struct meta1_extent *e, uint32_t n, bool copy,
    struct pool *pool, struct iso_piece **out, struct meta1_err *err)
{
	struct iso_piece *p = *out = pool_try(pool, (n + 1) * sizeof(*p));
	int fd;

	if (!p) {
		err_set(err, "the content is in too many pieces");
		return false;
	}
	for (uint32_t i = 0; i < n; i++, e++, p++) {
		if (e->mem && e->len <= b->inline_left) {
			*p = (struct iso_piece){
			    .mem = buf_of(e->mem, e->len), .len = e->len, .fd = -1};
			b->inline_left -= e->len;
		} else if (e->mem || copy) {
			if (!put_memory(b, e, p, err))
				return false;
		} else {
			fd = file(b, e->fd, err);
			if (fd < 0)
				return false;
			*p = (struct iso_piece){.off = e->off, .len = e->len, .fd = fd};
		}
	}
	return true;
}

int iso_bytes_memory(void)
{
	return memfd_create("content", MFD_CLOEXEC | MFD_ALLOW_SEALING);
}

bool iso_bytes_close_memory(int fd)
{
	return fcntl(fd, F_ADD_SEALS, SEALS | F_SEAL_SEAL) == 0;
}

bool iso_bytes_seal(struct iso_bytes *b)
{
	return b->mem < 0 || iso_bytes_close_memory(b->fd[b->mem]);
}

/* Without holes: what is to be read is there, and somebody's memory is charged for it. */
bool iso_bytes_sealed(const int *fd, unsigned nfd, uint64_t *bytes)
{
	struct stat st;
	int seals;

	for (*bytes = 0; nfd; nfd--, fd++) {
		seals = fcntl(*fd, F_GET_SEALS);
		if (seals < 0 || (seals & SEALS) != SEALS || fstat(*fd, &st) < 0 ||
		    !S_ISREG(st.st_mode) || st.st_size / 512 > st.st_blocks)
			return false;
		*bytes += (uint64_t)st.st_size;
	}
	return true;
}

static bool readable(int fd, uint64_t off, uint64_t len, uint64_t *left)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || off > (uint64_t)st.st_size ||
	    len > (uint64_t)st.st_size - off || (left && len > *left))
		return false;
	if (left)
		*left -= len;
	return true;
}

struct meta1_extent *iso_bytes_get(const struct iso_piece *p, uint32_t n, const int *fd,
    unsigned nfd, uint64_t *left, struct pool *pool)
{
	struct meta1_extent *e = pool_try(pool, (n + 1) * sizeof(*e));

	for (uint32_t i = 0; e && i < n; i++, p++) {
		if (p->fd < 0 && p->mem.data && p->len == p->mem.len)
			e[i] =
			    (struct meta1_extent){.mem = p->mem.data, .len = p->mem.len, .fd = -1};
		else if (p->fd >= 0 && (unsigned)p->fd < nfd &&
			 readable(fd[p->fd], p->off, p->len, left))
			e[i] = (struct meta1_extent){.off = p->off, .len = p->len, .fd = fd[p->fd]};
		else
			return NULL;
	}
	return e;
}
