/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * outq.c -- output of a connection: writev for bytes, sendfile for files.
 * Comes from conn.c; goes to the kernel. Owns the bytes, not the files.
 * On failure: outq_write() says so with errno; what is queued stays until outq_clear().
 */
#include "lib/outq.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <unistd.h>

#define CHUNK (256u << 10) /* one sendfile call at most */
#define TURN  (1u << 20)   /* one outq_write call at most, but for a last chunk */

struct outq_file {
	struct outq_file *next;
	struct evbuffer *before; /* goes first; NULL: none */
	int fd;
	uint64_t off, len;
};

struct evbuffer *outq_buf(struct outq *q)
{
	if (!q->buf && !(q->buf = evbuffer_new()))
		base_broken("evbuffer_new", __FILE__, __LINE__);
	return q->buf;
}

void outq_file(struct outq *q, int fd, uint64_t off, uint64_t len)
{
	struct outq_file *f;

	if (!len)
		return;
	f = base_alloc(sizeof(*f));
	*f = (struct outq_file){.before = q->buf, .fd = fd, .off = off, .len = len};
	q->buf = NULL;
	if (q->last)
		q->last->next = f;
	else
		q->files = f;
	q->last = f;
}

bool outq_empty(const struct outq *q)
{
	return !q->files && (!q->buf || !evbuffer_get_length(q->buf));
}

size_t outq_len(const struct outq *q)
{
	size_t n = q->buf ? evbuffer_get_length(q->buf) : 0;
	const struct outq_file *f;

	for (f = q->files; f; f = f->next)
		n += (size_t)f->len + (f->before ? evbuffer_get_length(f->before) : 0);
	return n;
}

size_t outq_held(const struct outq *q)
{
	size_t n = q->buf ? evbuffer_get_length(q->buf) : 0;
	const struct outq_file *f;

	for (f = q->files; f; f = f->next)
		n += f->before ? evbuffer_get_length(f->before) : 0;
	return n;
}

static int blocked(void)
{
	return errno == EAGAIN || errno == EINTR ? 0 : -1;
}

static int write_buf(struct evbuffer *b, int fd, size_t *moved)
{
	int n;

	while (b && evbuffer_get_length(b)) {
		if (*moved >= TURN)
			return 0;
		if ((n = evbuffer_write(b, fd)) < 0)
			return blocked();
		*moved += (size_t)n;
	}
	return 1;
}

static int write_file(struct outq_file *f, int fd, size_t *moved)
{
	ssize_t n;
	off_t off;

	while (f->len) {
		if (*moved >= TURN)
			return 0;
		off = (off_t)f->off;
		n = sendfile(fd, f->fd, &off, f->len < CHUNK ? f->len : CHUNK);
		if (n < 0)
			return blocked();
		if (!n) {
			errno = EIO; /* the file is shorter than was promised */
			return -1;
		}
		f->off += (uint64_t)n;
		f->len -= (uint64_t)n;
		*moved += (size_t)n;
	}
	return 1;
}

static void file_done(struct outq *q)
{
	struct outq_file *f = q->files;

	q->files = f->next;
	if (!q->files)
		q->last = NULL;
	if (f->before)
		evbuffer_free(f->before);
	free(f);
}

int outq_write(struct outq *q, int fd, size_t *moved)
{
	int r;

	*moved = 0;
	while (q->files) {
		if ((r = write_buf(q->files->before, fd, moved)) <= 0 ||
		    (r = write_file(q->files, fd, moved)) <= 0)
			return r;
		file_done(q);
	}
	if ((r = write_buf(q->buf, fd, moved)) > 0)
		outq_clear(q);
	return r;
}

/* Of the first file; 0: it is done. */
static ssize_t read_file(struct outq_file *f, void *p, size_t n)
{
	ssize_t got = f->before ? evbuffer_remove(f->before, p, n) : 0;

	if (got > 0 || !f->len)
		return got > 0 ? got : 0;
	got = pread(f->fd, p, f->len < n ? (size_t)f->len : n, (off_t)f->off);
	if (got == 0)
		errno = EIO; /* the file is shorter than was promised */
	if (got <= 0)
		return -1;
	f->off += (uint64_t)got;
	f->len -= (uint64_t)got;
	return got;
}

ssize_t outq_read(struct outq *q, void *p, size_t n)
{
	size_t at = 0;
	ssize_t got;

	while (q->files && at < n) {
		if ((got = read_file(q->files, (char *)p + at, n - at)) < 0)
			return -1;
		if (got == 0)
			file_done(q);
		at += (size_t)got;
	}
	if (q->buf && at < n && (got = evbuffer_remove(q->buf, (char *)p + at, n - at)) > 0)
		at += (size_t)got;
	if (outq_empty(q))
		outq_clear(q);
	return (ssize_t)at;
}

void outq_clear(struct outq *q)
{
	while (q->files)
		file_done(q);
	if (q->buf)
		evbuffer_free(q->buf);
	q->buf = NULL;
}
