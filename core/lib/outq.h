/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * outq.h -- what a connection has still to write: bytes and ranges of files, in order.
 * Descriptors of files stay the caller's. An empty queue holds no memory.
 */
#ifndef META1_OUTQ_H
#define META1_OUTQ_H
#include "lib/base.h"

#include <event2/buffer.h>

struct outq {
	struct evbuffer *buf;		/* bytes after the last file; NULL: none */
	struct outq_file *files, *last; /* each with the bytes before it */
};
/* Bytes go in here. */
struct evbuffer *outq_buf(struct outq *);
void outq_file(struct outq *, int fd, uint64_t off, uint64_t len);
bool outq_empty(const struct outq *);
size_t outq_len(const struct outq *);
size_t outq_held(const struct outq *); /* the same without files: what is in memory */
/* Writes to fd what it takes, at most about 1 MiB a call, so that one fast reader does not keep
 * the loop. 1: all is written; 0: more is left; -1: dead (errno). *moved: bytes written. */
int outq_write(struct outq *, int fd, size_t *moved);
/* Takes the next n bytes, or all that are left, out of it; files are read. How many; -1: errno. */
ssize_t outq_read(struct outq *, void *, size_t n);
void outq_clear(struct outq *);

#endif
