/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hook_files.c -- files and sockets that a module handles itself: reads and writes that do a part
 * of what they were asked for, sockets that say EAGAIN each second time, and a process that ends at
 * its n'th change of a file, a write among them half done.
 * Comes from hook.c, which leads a module's calls here; goes to libc. Owns nothing.
 * On failure: libc's.
 */
#include "host_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096

/* ---- the last change ---- */

static bool last(void)
{
	struct kit_host *h = kit_hooked();

	return h->crash_at && __atomic_add_fetch(&h->changes, 1, __ATOMIC_SEQ_CST) == h->crash_at;
}

static void change(void)
{
	if (last())
		_exit(KIT_CRASHED);
}

/* ---- parts ---- */

/* Of a file, a page is given whole: so does every kernel that there is. */
static size_t part(int fd, size_t n)
{
	struct stat st;

	if (!kit_hooked()->parts || (n <= PAGE && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)))
		return n;
	return (n + 1) / 2;
}

/* A descriptor that does not block has nothing to do now, each second time; a file never says so.
 */
static bool not_now(int fd)
{
	struct kit_host *h = kit_hooked();
	struct stat st;
	int flags;

	if (!h->parts || (flags = fcntl(fd, F_GETFL)) < 0 || !(flags & O_NONBLOCK) ||
	    fstat(fd, &st) < 0 || S_ISREG(st.st_mode) ||
	    __atomic_fetch_add(&h->calls, 1, __ATOMIC_SEQ_CST) % 2)
		return false;
	errno = EAGAIN;
	return true;
}

static ssize_t our_read(int fd, void *p, size_t n)
{
	return not_now(fd) ? -1 : read(fd, p, part(fd, n));
}

static ssize_t our_pread(int fd, void *p, size_t n, off_t at)
{
	return pread(fd, p, part(fd, n), at);
}

static ssize_t our_recv(int fd, void *p, size_t n, int flags)
{
	return not_now(fd) ? -1 : recv(fd, p, part(fd, n), flags);
}

static ssize_t our_send(int fd, const void *p, size_t n, int flags)
{
	return not_now(fd) ? -1 : send(fd, p, part(fd, n), flags);
}

static ssize_t our_write(int fd, const void *p, size_t n)
{
	if (last()) {
		n = (size_t)write(fd, p, n / 2);
		_exit(KIT_CRASHED);
	}
	return not_now(fd) ? -1 : write(fd, p, part(fd, n));
}

static ssize_t our_pwrite(int fd, const void *p, size_t n, off_t at)
{
	if (last()) {
		n = (size_t)pwrite(fd, p, n / 2, at);
		_exit(KIT_CRASHED);
	}
	return pwrite(fd, p, part(fd, n), at);
}

/* ---- other changes ---- */

static int our_fsync(int fd)
{
	change();
	return fsync(fd);
}

static int our_fdatasync(int fd)
{
	change();
	return fdatasync(fd);
}

static int our_ftruncate(int fd, off_t n)
{
	change();
	return ftruncate(fd, n);
}

static int our_fallocate(int fd, int mode, off_t at, off_t n)
{
	change();
	return fallocate(fd, mode, at, n);
}

static int our_posix_fallocate(int fd, off_t at, off_t n)
{
	change();
	return posix_fallocate(fd, at, n);
}

static int our_rename(const char *from, const char *to)
{
	change();
	return rename(from, to);
}

static int our_renameat(int a, const char *from, int b, const char *to)
{
	change();
	return renameat(a, from, b, to);
}

static int our_unlink(const char *path)
{
	change();
	return unlink(path);
}

static int our_unlinkat(int dir, const char *path, int flags)
{
	change();
	return unlinkat(dir, path, flags);
}

static int our_mkdirat(int dir, const char *path, mode_t mode)
{
	change();
	return mkdirat(dir, path, mode);
}

static int our_openat(int dir, const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	if (flags & (O_CREAT | O_TRUNC)) {
		va_start(ap, flags);
		mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
		va_end(ap);
		change();
	}
	return openat(dir, path, flags, mode);
}

static int our_open(const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	if (flags & O_CREAT) {
		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
	}
	return our_openat(AT_FDCWD, path, flags, mode);
}

#define HOOK(name, ours)                                                                           \
	{                                                                                          \
		name, (void (*)(void))(ours)                                                       \
	}
const struct kit_hook kit_hook_files[] = {HOOK("read", our_read), HOOK("pread", our_pread),
    HOOK("pread64", our_pread), HOOK("recv", our_recv), HOOK("send", our_send),
    HOOK("write", our_write), HOOK("pwrite", our_pwrite), HOOK("pwrite64", our_pwrite),
    HOOK("fsync", our_fsync), HOOK("fdatasync", our_fdatasync), HOOK("ftruncate", our_ftruncate),
    HOOK("ftruncate64", our_ftruncate), HOOK("fallocate", our_fallocate),
    HOOK("fallocate64", our_fallocate), HOOK("posix_fallocate", our_posix_fallocate),
    HOOK("posix_fallocate64", our_posix_fallocate), HOOK("rename", our_rename),
    HOOK("renameat", our_renameat), HOOK("unlink", our_unlink), HOOK("unlinkat", our_unlinkat),
    HOOK("mkdirat", our_mkdirat), HOOK("open", our_open), HOOK("open64", our_open),
    HOOK("openat", our_openat), HOOK("openat64", our_openat), {NULL, NULL}};
