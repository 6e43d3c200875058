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
 * Here is the record; the calls, one function for each name under which libc has one, are
 * recorder_calls.c's.
 */
#include "recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct record *r;
static struct proc *me;
static const char *below;
static size_t below_len;

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

bool recorder_on(void)
{
	return r != NULL;
}

uint64_t recorder_put(
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

uint64_t recorder_begins(
    struct rec x, const char *path, const char *path2, const struct iovec *v, int nv)
{
	uint64_t stamp;

	enter();
	stamp = recorder_put(x, path, path2, v, nv);
	if (stamp == 0)
		leave();
	return stamp;
}

void recorder_done(uint64_t begin, int64_t ret, uint64_t ino)
{
	int e = errno;

	if (begin == 0)
		return;
	recorder_put((struct rec){.type = R_END, .begin = begin, .ret = ret, .ino = ino}, NULL,
	    NULL, NULL, 0);
	leave();
	errno = e;
}

void record_note(const char *text, const void *data, size_t len)
{
	struct iovec v = {(void *)(uintptr_t)data, len};

	if (r != NULL)
		recorder_put((struct rec){.type = R_NOTE}, text, NULL, &v, 1);
}

/* ---- names ---- */

const char *recorder_ours(char out[PATH_MAX], int at, const char *path)
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

uint64_t recorder_ino(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

uint64_t recorder_ino_at(int at, const char *path)
{
	struct stat st;

	return fstatat(at, path, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_ino : 0;
}
