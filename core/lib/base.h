/* SPDX-License-Identifier: BSD-2-Clause */
/* base.h -- what every core file has: types, attributes, asserts, slices. */
#ifndef META1_BASE_H
#define META1_BASE_H
#include <config.h>

#include <meta1/module.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define PRINTF(f, a) __attribute__((format(printf, f, a)))

/* A broken promise of our own code, never of input: stops a developer build; in a
 * production build it is logged and counted, and the expression is false. */
#ifdef META1_DEVELOPER
#define ensure(cond) ((cond) ? (void)0 : base_broken(#cond, __FILE__, __LINE__))
#else
#define ensure(cond) ((void)0)
#endif
_Noreturn void base_broken(const char *cond, const char *file, int line);

/* Exit statuses (sysexits.h numbers) that mcp understands. */
enum { EXIT_CONFIG = 78, EXIT_TEMP = 75, EXIT_OS = 71 };

/* Core memory never fails: the role says so, dies and mcp restarts it. Whatever a peer
 * can make large is bounded before it is asked for. */
void *base_alloc(size_t n); /* zeroed */
void *base_realloc(void *p, size_t n);
char *base_strdup(const char *s);
char *base_strndup(const char *s, size_t n);

static inline struct meta1_buf buf_of(const void *p, size_t n)
{
	return (struct meta1_buf){p, n};
}
static inline struct meta1_buf buf_str(const char *s)
{
	return (struct meta1_buf){s, s ? strlen(s) : 0};
}
bool buf_eq(struct meta1_buf a, struct meta1_buf b);
bool buf_caseeq(struct meta1_buf a, const char *b);

/* "what: why" into err; returns -1 so that "return err_set(...)" reads well. */
int err_set(struct meta1_err *err, const char *fmt, ...) PRINTF(2, 3);

/* Copies with truncation, always terminated; returns the length kept. */
size_t str_copy(char *dst, size_t size, const char *src);

#endif
