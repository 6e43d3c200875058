/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * base.c -- small things that everybody needs.
 * Comes from everywhere; goes to libc. Owns nothing.
 * On failure: base_alloc() ends the process with one line (mcp restarts it).
 */
#include "lib/base.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

_Noreturn static void die(const char *text)
{
	/* stdio may need memory, and there is none */
	(void)!write(STDERR_FILENO, text, strlen(text));
	abort();
}

_Noreturn void base_broken(const char *cond, const char *file, int line)
{
	char text[512];

	snprintf(text, sizeof(text), "meta1: broken promise: %s at %s:%d\n", cond, file, line);
	die(text);
}

void *base_alloc(size_t n)
{
	void *p = calloc(1, n ? n : 1);

	if (!p)
		die("meta1: out of memory\n");
	return p;
}

void *base_realloc(void *p, size_t n)
{
	p = realloc(p, n ? n : 1);
	if (!p)
		die("meta1: out of memory\n");
	return p;
}

char *base_strndup(const char *s, size_t n)
{
	char *p = base_alloc(n + 1);

	memcpy(p, s, n);
	return p;
}

char *base_strdup(const char *s)
{
	return base_strndup(s, strlen(s));
}

bool buf_eq(struct meta1_buf a, struct meta1_buf b)
{
	return a.len == b.len && (!a.len || !memcmp(a.data, b.data, a.len));
}

bool buf_caseeq(struct meta1_buf a, const char *b)
{
	return a.len == strlen(b) && !strncasecmp(a.data ? a.data : "", b, a.len);
}

int err_set(struct meta1_err *err, const char *fmt, ...)
{
	va_list ap;

	if (err) {
		va_start(ap, fmt);
		vsnprintf(err->text, sizeof(err->text), fmt, ap);
		va_end(ap);
	}
	return -1;
}

size_t str_copy(char *dst, size_t size, const char *src)
{
	size_t n = strlen(src);

	if (n >= size)
		n = size - 1;
	memcpy(dst, src, n);
	dst[n] = '\0';
	return n;
}
