/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recorder.h -- what recorder.c (the record) gives to recorder_calls.c (libc's names). Hidden: the
 * library is preloaded, and each of its global names would stand before a program's own.
 */
#ifndef CRASH_RECORDER_H
#define CRASH_RECORDER_H
#include "record.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdbool.h>
#include <sys/uio.h>

#define REAL(type, name, ...)                                                                      \
	static type (*name##_fn)(__VA_ARGS__);                                                     \
	if (name##_fn == NULL)                                                                     \
	*(void **)&name##_fn = dlsym(RTLD_NEXT, #name)

#pragma GCC visibility push(hidden)
bool recorder_on(void);
/* A stamp for it; 0: the record is full. */
uint64_t recorder_put(struct rec, const char *path, const char *path2, const struct iovec *, int n);
/* A call: before it, and behind it (begin 0: it was not recorded). Keeps errno. */
uint64_t recorder_begins(
    struct rec, const char *path, const char *path2, const struct iovec *, int n);
void recorder_done(uint64_t begin, int64_t ret, uint64_t ino);
/* The path below our folder ("" is the folder itself), or NULL. */
const char *recorder_ours(char out[PATH_MAX], int at, const char *path);
uint64_t recorder_ino(int fd);
uint64_t recorder_ino_at(int at, const char *path);
#pragma GCC visibility pop

#endif
