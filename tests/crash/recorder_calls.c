/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recorder_calls.c -- each call that changes files, under each name that libc has for it: recorded
 * when the file is one of ours, then made.
 * Comes from: the roles, which have recorder.so before libc. Goes to: recorder.c, and libc.
 * Owns the marks of descriptors. On failure: libc's.
 */
#include "recorder.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FDS  65536
#define LOOK 65536 /* bytes of a write that are looked at */

static uint8_t mark[FDS]; /* files of ours: 1 open for writing, 2 for reading (it can be synced) */

static bool marked(int fd)
{
	return recorder_on() && fd >= 0 && fd < FDS && mark[fd] == 1;
}

static int do_open(int at, const char *path, int flags, mode_t mode)
{
	REAL(int, openat, int, const char *, int, ...);
	char abs[PATH_MAX];
	const char *name = recorder_ours(abs, at, path);
	bool writes = (flags & O_ACCMODE) != O_RDONLY;
	uint64_t was = name != NULL && writes ? recorder_ino_at(at, path) : 0, begin = 0;
	int fd;

	if (name != NULL && (flags & O_CREAT) && was == 0)
		begin = recorder_begins((struct rec){.type = R_CREATE}, name, NULL, NULL, 0);
	else if (name != NULL && (flags & O_TRUNC) && writes)
		begin =
		    recorder_begins((struct rec){.type = R_TRUNC, .ino = was}, name, NULL, NULL, 0);
	fd = openat_fn(at, path, flags, mode);
	if (fd >= 0 && fd < FDS)
		mark[fd] = name == NULL ? 0 : writes ? 1 : 2;
	if (begin > 0)
		recorder_done(begin, fd, fd >= 0 ? recorder_ino(fd) : 0);
	else if (fd >= 0 && name != NULL && writes)
		recorder_put(
		    (struct rec){.type = R_OPEN, .ino = recorder_ino(fd)}, name, NULL, NULL, 0);
	return fd;
}

/* The mode is there only where a file may be made. */
#define TAKE_MODE(flags)                                                                           \
	mode_t mode = 0;                                                                           \
	va_list ap;                                                                                \
	va_start(ap, flags);                                                                       \
	if (flags & (O_CREAT | O_TMPFILE))                                                         \
		mode = va_arg(ap, mode_t);                                                         \
	va_end(ap)
#define OPENAT(name)                                                                               \
	int name(int at, const char *path, int flags, ...)                                         \
	{                                                                                          \
		TAKE_MODE(flags);                                                                  \
		return do_open(at, path, flags, mode);                                             \
	}
#define OPEN(name)                                                                                 \
	int name(const char *path, int flags, ...)                                                 \
	{                                                                                          \
		TAKE_MODE(flags);                                                                  \
		return do_open(AT_FDCWD, path, flags, mode);                                       \
	}
int __open_2(const char *, int);
int __open64_2(const char *, int);
int __openat_2(int, const char *, int);
int __openat64_2(int, const char *, int);
OPENAT(openat)
OPENAT(openat64)
OPEN(open)
OPEN(open64)
int __open_2(const char *p, int f)
{
	return do_open(AT_FDCWD, p, f, 0);
}
int __open64_2(const char *p, int f)
{
	return do_open(AT_FDCWD, p, f, 0);
}
int __openat_2(int at, const char *p, int f)
{
	return do_open(at, p, f, 0);
}
int __openat64_2(int at, const char *p, int f)
{
	return do_open(at, p, f, 0);
}
int creat(const char *p, mode_t m)
{
	return do_open(AT_FDCWD, p, O_CREAT | O_WRONLY | O_TRUNC, m);
}

int close(int fd)
{
	REAL(int, close, int);

	if (fd >= 0 && fd < FDS)
		mark[fd] = 0;
	return close_fn(fd);
}

/* One name or two; fn: the real call. */
#define NAMES(type_, fd1, p1, fd2, p2, call)                                                       \
	char a_[PATH_MAX], b_[PATH_MAX];                                                           \
	const char *n_ = recorder_ours(a_, fd1, p1), *m_ = recorder_ours(b_, fd2, p2);             \
	uint64_t begin_ = 0;                                                                       \
	int ret_;                                                                                  \
	if (n_ != NULL)                                                                            \
		begin_ = recorder_begins(                                                          \
		    (struct rec){.type = (type_), .ino = recorder_ino_at(fd1, p1)}, n_, m_, NULL,  \
		    0);                                                                            \
	ret_ = (call);                                                                             \
	recorder_done(begin_, ret_, 0);                                                            \
	return ret_

int renameat2(int a, const char *p, int b, const char *q, unsigned f)
{
	REAL(int, renameat2, int, const char *, int, const char *, unsigned);
	NAMES(R_RENAME, a, p, b, q, renameat2_fn(a, p, b, q, f));
}
int renameat(int a, const char *p, int b, const char *q)
{
	REAL(int, renameat, int, const char *, int, const char *);
	NAMES(R_RENAME, a, p, b, q, renameat_fn(a, p, b, q));
}
int rename(const char *p, const char *q)
{
	REAL(int, rename, const char *, const char *);
	NAMES(R_RENAME, AT_FDCWD, p, AT_FDCWD, q, rename_fn(p, q));
}
int linkat(int a, const char *p, int b, const char *q, int f)
{
	REAL(int, linkat, int, const char *, int, const char *, int);
	NAMES(R_LINK, a, p, b, q, linkat_fn(a, p, b, q, f));
}
int unlinkat(int a, const char *p, int f)
{
	REAL(int, unlinkat, int, const char *, int);
	NAMES(R_UNLINK, a, p, AT_FDCWD, NULL, unlinkat_fn(a, p, f));
}
int unlink(const char *p)
{
	REAL(int, unlink, const char *);
	NAMES(R_UNLINK, AT_FDCWD, p, AT_FDCWD, NULL, unlink_fn(p));
}
int mkdirat(int a, const char *p, mode_t m)
{
	REAL(int, mkdirat, int, const char *, mode_t);
	NAMES(R_MKDIR, a, p, AT_FDCWD, NULL, mkdirat_fn(a, p, m));
}
int mkdir(const char *p, mode_t m)
{
	REAL(int, mkdir, const char *, mode_t);
	NAMES(R_MKDIR, AT_FDCWD, p, AT_FDCWD, NULL, mkdir_fn(p, m));
}

/* ---- data ---- */

/* Words that promise something. */
static void said(const struct iovec *v, int n)
{
	static const char *const words[] = {"250 2.0.0 accepted as ", "qmgr.done "};

	for (int i = 0; recorder_on() && i < n && i < 4; i++)
		for (int w = 0; w < 2 && v[i].iov_len <= LOOK; w++)
			if (memmem(v[i].iov_base, v[i].iov_len, words[w], strlen(words[w])) !=
			    NULL) {
				recorder_put((struct rec){.type = R_SAYS}, NULL, NULL, v + i, 1);
				break;
			}
}

static uint64_t before(int fd, const struct iovec *v, int n, off_t off)
{
	if (!marked(fd)) {
		said(v, n);
		return 0;
	}
	if (off < 0)
		off = lseek(fd, 0, SEEK_CUR);
	return recorder_begins(
	    (struct rec){.type = R_WRITE, .ino = recorder_ino(fd), .off = (uint64_t)off}, NULL,
	    NULL, v, n);
}

#define DATA(decl, fd, v, n, off, call)                                                            \
	decl                                                                                       \
	{                                                                                          \
		struct iovec one_[1];                                                              \
		uint64_t begin_;                                                                   \
		ssize_t ret_;                                                                      \
		(void)one_;                                                                        \
		begin_ = before(fd, v, n, off);                                                    \
		ret_ = (call);                                                                     \
		recorder_done(begin_, ret_, 0);                                                    \
		return ret_;                                                                       \
	}
#define ONE(p, len)	    (one_[0] = (struct iovec){(void *)(uintptr_t)(p), len}, one_)
#define FN(type, name, ...) static type real_##name(__VA_ARGS__)
FN(ssize_t, write, int fd, const void *b, size_t n)
{
	REAL(ssize_t, write, int, const void *, size_t);
	return write_fn(fd, b, n);
}
FN(ssize_t, pwrite64, int fd, const void *b, size_t n, off_t o)
{
	REAL(ssize_t, pwrite64, int, const void *, size_t, off_t);
	return pwrite64_fn(fd, b, n, o);
}
FN(ssize_t, writev, int fd, const struct iovec *v, int n)
{
	REAL(ssize_t, writev, int, const struct iovec *, int);
	return writev_fn(fd, v, n);
}
FN(ssize_t, pwritev64, int fd, const struct iovec *v, int n, off_t o)
{
	REAL(ssize_t, pwritev64, int, const struct iovec *, int, off_t);
	return pwritev64_fn(fd, v, n, o);
}
DATA(ssize_t write(int fd, const void *b, size_t n), fd, ONE(b, n), 1, -1, real_write(fd, b, n))
DATA(ssize_t pwrite(int fd, const void *b, size_t n, off_t o), fd, ONE(b, n), 1, o,
    real_pwrite64(fd, b, n, o))
DATA(ssize_t pwrite64(int fd, const void *b, size_t n, off64_t o), fd, ONE(b, n), 1, o,
    real_pwrite64(fd, b, n, o))
DATA(ssize_t writev(int fd, const struct iovec *v, int n), fd, v, n, -1, real_writev(fd, v, n))
DATA(ssize_t pwritev(int fd, const struct iovec *v, int n, off_t o), fd, v, n, o,
    real_pwritev64(fd, v, n, o))
DATA(ssize_t pwritev64(int fd, const struct iovec *v, int n, off64_t o), fd, v, n, o,
    real_pwritev64(fd, v, n, o))

#define LENGTH(type_, fd, to, call)                                                                \
	uint64_t begin_ = 0;                                                                       \
	int ret_;                                                                                  \
	if (marked(fd))                                                                            \
		begin_ = recorder_begins(                                                          \
		    (struct rec){.type = (type_), .ino = recorder_ino(fd), .off = (uint64_t)(to)}, \
		    NULL, NULL, NULL, 0);                                                          \
	ret_ = (call);                                                                             \
	recorder_done(begin_, ret_, 0);                                                            \
	return ret_

int ftruncate64(int fd, off64_t to)
{
	REAL(int, ftruncate64, int, off64_t);
	LENGTH(R_TRUNC, fd, to, ftruncate64_fn(fd, to));
}
int ftruncate(int fd, off_t to)
{
	return ftruncate64(fd, to);
}
int fallocate64(int fd, int mode, off64_t off, off64_t len)
{
	REAL(int, fallocate64, int, int, off64_t, off64_t);
	LENGTH(R_ALLOC, fd, off + len, fallocate64_fn(fd, mode, off, len));
}
int fallocate(int fd, int mode, off_t off, off_t len)
{
	return fallocate64(fd, mode, off, len);
}
/* Says the error instead of -1; an error has changed nothing either. */
int posix_fallocate64(int fd, off64_t off, off64_t len)
{
	REAL(int, posix_fallocate64, int, off64_t, off64_t);
	LENGTH(R_ALLOC, fd, off + len, posix_fallocate64_fn(fd, off, len));
}
int posix_fallocate(int fd, off_t off, off_t len)
{
	return posix_fallocate64(fd, off, len);
}

static uint64_t sync_begins(int fd)
{
	char abs[PATH_MAX];
	struct stat st;
	const char *name = NULL;

	if (!recorder_on() || fstat(fd, &st) < 0)
		return 0;
	if (S_ISDIR(st.st_mode)) {
		name = recorder_ours(abs, fd, ".");
		return name != NULL
			   ? recorder_begins((struct rec){.type = R_SYNC}, name, NULL, NULL, 0)
			   : 0;
	}
	return fd < FDS && mark[fd] != 0
		   ? recorder_begins(
			 (struct rec){.type = R_SYNC, .ino = st.st_ino}, NULL, NULL, NULL, 0)
		   : 0;
}

int fsync(int fd)
{
	REAL(int, fsync, int);
	uint64_t begin = sync_begins(fd);
	int ret = fsync_fn(fd);

	recorder_done(begin, ret, 0);
	return ret;
}
int fdatasync(int fd)
{
	REAL(int, fdatasync, int);
	uint64_t begin = sync_begins(fd);
	int ret = fdatasync_fn(fd);

	recorder_done(begin, ret, 0);
	return ret;
}
