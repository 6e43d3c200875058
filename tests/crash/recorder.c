/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recorder.c -- LD_PRELOAD into all roles: stamps every call that changes files below
 * META1_RECORD_DIR, with its data, into the file META1_RECORD; the test's own process loads
 * it too, for record_note() and record_hold().
 *
 * Only the way to the disk is recorded: write, pwrite, (p)writev, ftruncate, fallocate, open
 * that makes or empties, fsync, fdatasync, rename, link, unlink, mkdir; and, among all that is
 * written elsewhere, the reply that acknowledges a mail (before it is sent) and the log's
 * qmgr.done. sync_file_range promises nothing and is not recorded.
 * On failure: a full record stops growing; recover.c refuses it.
 * It is over 500 lines: one function for each name under which libc has such a call.
 */
#include "record.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FDS  65536
#define LOOK 65536 /* bytes of a write that are looked at */

static struct record *r;
static struct proc *me;
static const char *below;
static size_t below_len;
static uint8_t mark[FDS]; /* files of ours: 1 open for writing, 2 for reading (it can be synced) */

#define REAL(type, name, ...)                                                                      \
	static type (*name##_fn)(__VA_ARGS__);                                                     \
	if (name##_fn == NULL)                                                                     \
	*(void **)&name##_fn = dlsym(RTLD_NEXT, #name)

int record_open(const char *file, const char *dir);
void record_note(const char *text, const void *data, size_t len);
int record_hold(pid_t pid);

int record_open(const char *file, const char *dir)
{
	REAL(int, openat, int, const char *, int, ...);
	int fd = openat_fn(AT_FDCWD, file, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	void *p;

	if (fd < 0 || fchmod(fd, 0666) < 0 || ftruncate(fd, (off_t)RECORD_SIZE) < 0)
		errno = 0; /* not its maker: fine */
	p = fd >= 0 ? mmap(NULL, RECORD_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
		    : MAP_FAILED;
	if (fd >= 0)
		close(fd);
	if (p == MAP_FAILED)
		return -1;
	below = dir;
	below_len = strlen(dir);
	r = p;
	r->magic = RECORD_MAGIC;
	return 0;
}

__attribute__((constructor)) static void start(void)
{
	const char *file = getenv("META1_RECORD"), *dir = getenv("META1_RECORD_DIR");

	uint32_t n;

	if (file == NULL || dir == NULL)
		return;
	if (record_open(file, dir) < 0)
		abort(); /* a run without its record would prove nothing */
	n = atomic_fetch_add(&r->nproc, 1);
	if (n >= RECORD_PROCS)
		abort();
	me = &r->proc[n];
	atomic_store(&me->pid, (uint32_t)getpid());
}

/* ---- a process that is to be killed ---- */

/* No thread of it is in a call when this returns 0, and none begins one. */
int record_hold(pid_t pid)
{
	static const struct timespec ms = {.tv_nsec = 1000000};
	struct proc *p = NULL;

	for (uint32_t i = 0; i < atomic_load(&r->nproc) && i < RECORD_PROCS; i++)
		if (atomic_load(&r->proc[i].pid) == (uint32_t)pid)
			p = &r->proc[i];
	if (p == NULL)
		return 0; /* too young for a call */
	atomic_store(&p->hold, 1);
	for (int i = 0; atomic_load(&p->calls) > 0; i++) {
		if (i == 20000)
			return -1;
		nanosleep(&ms, NULL);
	}
	return 0;
}

static void enter(void)
{
	if (me == NULL)
		return;
	atomic_fetch_add(&me->calls, 1);
	if (atomic_load(&me->hold) == 0)
		return;
	atomic_fetch_sub(&me->calls, 1);
	for (;;)
		pause();
}

static void leave(void)
{
	if (me != NULL)
		atomic_fetch_sub(&me->calls, 1);
}

/* ---- records ---- */

static uint64_t put(
    struct rec x, const char *path, const char *path2, const struct iovec *v, int nv)
{
	struct timespec now;
	uint64_t at, slot, n;
	unsigned char *p;

	x.pid = (uint32_t)getpid();
	x.plen = path != NULL ? (uint32_t)strlen(path) + 1 : 0;
	x.plen2 = path2 != NULL ? (uint32_t)strlen(path2) + 1 : 0;
	for (int i = 0; i < nv; i++)
		x.dlen += v[i].iov_len;
	n = (sizeof(x) + x.plen + x.plen2 + x.dlen + 7) & ~(uint64_t)7;
	at = atomic_fetch_add(&r->bytes, n);
	if (at + n > RECORD_SIZE - sizeof(*r))
		return 0;
	slot = atomic_fetch_add(&r->slots, 1);
	if (slot >= RECORD_SLOTS)
		return 0;
	clock_gettime(CLOCK_MONOTONIC, &now);
	x.time = now.tv_sec * 1000000000LL + now.tv_nsec;
	p = r->b + at;
	memcpy(p, &x, sizeof(x));
	p += sizeof(x);
	if (path != NULL)
		p = (unsigned char *)memcpy(p, path, x.plen) + x.plen;
	if (path2 != NULL)
		p = (unsigned char *)memcpy(p, path2, x.plen2) + x.plen2;
	for (int i = 0; i < nv; i++) {
		if (v[i].iov_len > 0)
			memcpy(p, v[i].iov_base, v[i].iov_len);
		p += v[i].iov_len;
	}
	atomic_store_explicit(&r->slot[slot], at + 1, memory_order_release);
	return slot + 1;
}

/* A call; 0: the record is full. */
static uint64_t begins(
    struct rec x, const char *path, const char *path2, const struct iovec *v, int nv)
{
	uint64_t stamp;

	enter();
	stamp = put(x, path, path2, v, nv);
	if (stamp == 0)
		leave();
	return stamp;
}

static void done(uint64_t begin, int64_t ret, uint64_t ino)
{
	int e = errno;

	if (begin == 0)
		return;
	put((struct rec){.type = R_END, .begin = begin, .ret = ret, .ino = ino}, NULL, NULL, NULL,
	    0);
	leave();
	errno = e;
}

void record_note(const char *text, const void *data, size_t len)
{
	struct iovec v = {(void *)(uintptr_t)data, len};

	if (r != NULL)
		put((struct rec){.type = R_NOTE}, text, NULL, &v, 1);
}

/* ---- names ---- */

/* The path below our folder ("" is the folder itself), or NULL. */
static const char *ours(char out[PATH_MAX], int at, const char *path)
{
	char link[40];
	size_t n = 0;
	ssize_t k;

	if (r == NULL || path == NULL)
		return NULL;
	if (path[0] != '/') {
		snprintf(
		    link, sizeof(link), at == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", at);
		k = readlink(link, out, PATH_MAX - 1);
		if (k < 0)
			return NULL;
		n = (size_t)k;
		out[n++] = '/';
	}
	if (n + strlen(path) >= PATH_MAX)
		return NULL;
	strcpy(out + n, path);
	n = strlen(out);
	while (n > 1 && (out[n - 1] == '/' || (out[n - 1] == '.' && out[n - 2] == '/')))
		out[--n] = '\0';
	if (strncmp(out, below, below_len) != 0 ||
	    (out[below_len] != '/' && out[below_len] != '\0'))
		return NULL;
	return out + below_len + (out[below_len] == '/');
}

static uint64_t ino_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

static uint64_t ino_at(int at, const char *path)
{
	struct stat st;

	return fstatat(at, path, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_ino : 0;
}

static bool marked(int fd)
{
	return r != NULL && fd >= 0 && fd < FDS && mark[fd] == 1;
}

static int do_open(int at, const char *path, int flags, mode_t mode)
{
	REAL(int, openat, int, const char *, int, ...);
	char abs[PATH_MAX];
	const char *name = ours(abs, at, path);
	bool writes = (flags & O_ACCMODE) != O_RDONLY;
	uint64_t was = name != NULL && writes ? ino_at(at, path) : 0, begin = 0;
	int fd;

	if (name != NULL && (flags & O_CREAT) && was == 0)
		begin = begins((struct rec){.type = R_CREATE}, name, NULL, NULL, 0);
	else if (name != NULL && (flags & O_TRUNC) && writes)
		begin = begins((struct rec){.type = R_TRUNC, .ino = was}, name, NULL, NULL, 0);
	fd = openat_fn(at, path, flags, mode);
	if (fd >= 0 && fd < FDS)
		mark[fd] = name == NULL ? 0 : writes ? 1 : 2;
	if (begin > 0)
		done(begin, fd, fd >= 0 ? ino_of(fd) : 0);
	else if (fd >= 0 && name != NULL && writes)
		put((struct rec){.type = R_OPEN, .ino = ino_of(fd)}, name, NULL, NULL, 0);
	return fd;
}

#define OPENAT(name)                                                                               \
	int name(int at, const char *path, int flags, ...)                                         \
	{                                                                                          \
		mode_t mode = 0;                                                                   \
		va_list ap;                                                                        \
		va_start(ap, flags);                                                               \
		if (flags & (O_CREAT | O_TMPFILE))                                                 \
			mode = va_arg(ap, mode_t);                                                 \
		va_end(ap);                                                                        \
		return do_open(at, path, flags, mode);                                             \
	}
#define OPEN(name)                                                                                 \
	int name(const char *path, int flags, ...)                                                 \
	{                                                                                          \
		mode_t mode = 0;                                                                   \
		va_list ap;                                                                        \
		va_start(ap, flags);                                                               \
		if (flags & (O_CREAT | O_TMPFILE))                                                 \
			mode = va_arg(ap, mode_t);                                                 \
		va_end(ap);                                                                        \
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
	const char *n_ = ours(a_, fd1, p1), *m_ = ours(b_, fd2, p2);                               \
	uint64_t begin_ = 0;                                                                       \
	int ret_;                                                                                  \
	if (n_ != NULL)                                                                            \
		begin_ = begins(                                                                   \
		    (struct rec){.type = (type_), .ino = ino_at(fd1, p1)}, n_, m_, NULL, 0);       \
	ret_ = (call);                                                                             \
	done(begin_, ret_, 0);                                                                     \
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

	for (int i = 0; r != NULL && i < n && i < 4; i++)
		for (int w = 0; w < 2 && v[i].iov_len <= LOOK; w++)
			if (memmem(v[i].iov_base, v[i].iov_len, words[w], strlen(words[w])) !=
			    NULL) {
				put((struct rec){.type = R_SAYS}, NULL, NULL, v + i, 1);
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
	return begins((struct rec){.type = R_WRITE, .ino = ino_of(fd), .off = (uint64_t)off}, NULL,
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
		done(begin_, ret_, 0);                                                             \
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
		begin_ = begins(                                                                   \
		    (struct rec){.type = (type_), .ino = ino_of(fd), .off = (uint64_t)(to)}, NULL, \
		    NULL, NULL, 0);                                                                \
	ret_ = (call);                                                                             \
	done(begin_, ret_, 0);                                                                     \
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

	if (r == NULL || fstat(fd, &st) < 0)
		return 0;
	if (S_ISDIR(st.st_mode)) {
		name = ours(abs, fd, ".");
		return name != NULL ? begins((struct rec){.type = R_SYNC}, name, NULL, NULL, 0) : 0;
	}
	return fd < FDS && mark[fd] != 0
		   ? begins((struct rec){.type = R_SYNC, .ino = st.st_ino}, NULL, NULL, NULL, 0)
		   : 0;
}

int fsync(int fd)
{
	REAL(int, fsync, int);
	uint64_t begin = sync_begins(fd);
	int ret = fsync_fn(fd);

	done(begin, ret, 0);
	return ret;
}
int fdatasync(int fd)
{
	REAL(int, fdatasync, int);
	uint64_t begin = sync_begins(fd);
	int ret = fdatasync_fn(fd);

	done(begin, ret, 0);
	return ret;
}
