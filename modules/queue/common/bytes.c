/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bytes.c -- a buffer that grows, and its way to a file.
 * Comes from: everywhere. Owns: nothing but the buffer's memory. On failure: bad is set, nothing is
 * added; errno.
 */
#include "common.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool bytes_room(struct bytes *t, size_t n)
{
	size_t cap = t->cap > 0 ? t->cap : 512;
	uint8_t *b;

	while (cap < t->len + n + 1)
		cap *= 2;
	if (cap == t->cap)
		return true;
	b = realloc(t->b, cap);
	if (b == NULL) {
		t->bad = true;
		return false;
	}
	t->b = b;
	t->cap = cap;
	return true;
}

/* A NUL stands behind what is in it. */
void bytes_add(struct bytes *t, const void *p, size_t n)
{
	if (!bytes_room(t, n))
		return;
	if (n > 0)
		memcpy(t->b + t->len, p, n);
	t->len += n;
	t->b[t->len] = '\0';
}

void bytes_fmt(struct bytes *t, const char *fmt, ...)
{
	char line[400];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	bytes_add(t, line, n < (int)sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

int bytes_write(int fd, const void *b, size_t n, uint64_t off)
{
	for (size_t at = 0; at < n;) {
		ssize_t k = pwrite(fd, (const uint8_t *)b + at, n - at, (off_t)(off + at));

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return k < 0 ? errno : EIO;
		at += (size_t)k;
	}
	return 0;
}

uint64_t bytes_from(int fd, uint64_t off)
{
	off_t at = lseek(fd, (off_t)off, SEEK_DATA);

	if (at < 0)
		return errno == ENXIO ? UINT64_MAX : off;
	return (uint64_t)at > off ? (uint64_t)at : off;
}
