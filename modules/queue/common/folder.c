/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * folder.c -- folders of a queue: made, locked, listed.
 *
 * Comes from: writers and managers at start, whoever lists. Owns: nothing. Blocks.
 * On failure: err or errno; half a list is none, for it would look like lost files.
 */
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

void folder_name(uint32_t writer, char out[16])
{
	if (writer == QUEUE_QM)
		snprintf(out, 16, "qm");
	else
		snprintf(out, 16, "in/%u", (unsigned)(writer & 0xff));
}

int folder_make(int at, const char *name, mode_t mode, struct meta1_err *e)
{
	struct stat st;
	int fd, made = mkdirat(at, name, mode & 0777);

	if (made < 0 && errno != EEXIST)
		goto fail;
	/* A folder takes the set-group-id bit from the one above it; a chmod() by a user who is
	 * not in its group (smtps and CDB_gid) would lose it. One made by others keeps its mode. */
	if (made == 0 && fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    !(st.st_mode & S_ISGID) && fchmodat(at, name, mode, 0) < 0)
		goto fail;
	fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		goto fail;
	/* Also when it was there: whoever made it may have been killed before this. */
	if (fsync(at) < 0) {
		close(fd);
		goto fail;
	}
	return fd;
fail:
	snprintf(e->text, sizeof(e->text),
	    "queue folder %s: %s (expected: a folder of this user with mode %04o)", name,
	    strerror(errno), (unsigned)mode);
	return -1;
}

/* ---- locks ---- */

/* 0, or -1: errno, EBUSY when somebody else has it. */
static int lock_alone(int fd)
{
	for (int try = 0; try < 4; try++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -1;
		/* A reader that looks whether it is in use holds it for microseconds. */
		nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
	}
	errno = EBUSY;
	return -1;
}

/* 0: taken; 1: somebody else has it; -1: err. */
static int take(int at, const char *name, int *dir, int *lock, struct meta1_err *e)
{
	int ret = -1;

	*lock = -1;
	*dir = folder_make(at, name, 02750, e);
	if (*dir < 0)
		return -1;
	*lock = openat(*dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	if (*lock < 0)
		goto fail;
	if (lock_alone(*lock) == 0) {
		if (fchmod(*lock, 0640) == 0 || errno == EPERM)
			return 0;
	} else if (errno == EBUSY) {
		ret = 1;
	}
fail:
	snprintf(e->text, sizeof(e->text), "queue folder %s: lock: %s", name,
	    ret == 1 ? "in use by another process" : strerror(errno));
	if (*lock >= 0)
		close(*lock);
	close(*dir);
	*dir = *lock = -1;
	return ret;
}

int folder_take(int qfd, bool qm, int *dir, int *lock, struct meta1_err *e)
{
	int in, r = 1, n = -1;

	if (qm)
		return take(qfd, "qm", dir, lock, e) == 0 ? (int)QUEUE_QM : -1;
	in = folder_make(qfd, "in", 02750, e);
	if (in < 0)
		return -1;
	while (r > 0 && ++n < (int)QUEUE_QM) {
		char name[16];

		snprintf(name, sizeof(name), "%d", n);
		r = take(in, name, dir, lock, e);
	}
	close(in);
	if (r > 0)
		snprintf(e->text, sizeof(e->text), "queue folder in: all of 0 to %u are in use",
		    QUEUE_QM - 1);
	return r == 0 ? n : -1;
}

int folder_state(int qfd, int *dir, int *lock, struct meta1_err *e)
{
	*lock = -1;
	*dir = folder_make(qfd, "state", 0700, e);
	if (*dir < 0)
		return -1;
	*lock = openat(*dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (*lock >= 0 && lock_alone(*lock) == 0)
		return 0;
	snprintf(e->text, sizeof(e->text),
	    "queue folder state: lock: %s (is another qmgr running here, or a tool that reads the "
	    "queue?)",
	    strerror(errno));
	return -1;
}

bool folder_locked(int dir)
{
	int fd = openat(dir, "lock", O_RDONLY | O_CLOEXEC);
	bool yes;

	if (fd < 0)
		return errno != ENOENT;
	yes = flock(fd, LOCK_SH | LOCK_NB) < 0;
	close(fd);
	return yes;
}

/* ---- lists ---- */

static DIR *folder_open(int at, const char *name)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC), err;
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;

	if (fd >= 0 && d == NULL) {
		err = errno;
		close(fd);
		errno = err;
	}
	return d;
}

int folder_list(
    int at, const char *path, folder_parse parse, const void *arg, uint64_t **v, size_t *n)
{
	DIR *d = folder_open(at, path);
	struct dirent *e;
	uint64_t number;
	int err;

	if (d == NULL)
		return -1;
	while (errno = 0, (e = readdir(d)) != NULL) {
		if (!parse(e->d_name, arg, &number))
			continue;
		if ((*n & (*n - 1)) == 0) { /* 0 or a power of two: full */
			uint64_t *more = realloc(*v, (*n > 0 ? 2 * *n : 1) * sizeof(*more));

			if (more == NULL)
				break; /* errno says so */
			*v = more;
		}
		(*v)[(*n)++] = number;
	}
	err = errno;
	closedir(d);
	if (err != 0) {
		free(*v);
		*v = NULL;
		*n = 0;
	}
	errno = err;
	return err == 0 ? 0 : -1;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

void folder_sort(uint64_t *v, size_t n)
{
	if (n > 1)
		qsort(v, n, sizeof(*v), by_number);
}

static bool is_writer(const char *name, const void *arg, uint64_t *number)
{
	char *end;

	(void)arg;
	if (name[0] < '0' || name[0] > '9')
		return false;
	*number = strtoul(name, &end, 10);
	return *end == '\0' && *number < QUEUE_QM;
}

int folder_writers(int qfd, uint32_t out[256], unsigned *n)
{
	uint64_t *v = NULL;
	size_t nv = 0;

	*n = 0;
	out[(*n)++] = QUEUE_QM;
	if (folder_list(qfd, "in", is_writer, NULL, &v, &nv) < 0)
		return errno == ENOENT ? 0 : -1;
	folder_sort(v, nv);
	for (size_t i = 0; i < nv && *n < 256; i++)
		if (i == 0 || v[i] != v[i - 1]) /* "1" and "01" */
			out[(*n)++] = (uint32_t)v[i];
	free(v);
	return 0;
}

/* ---- another store's mail ---- */

static bool hex_name(const char *name, const char *letters, size_t digits)
{
	if (letters != NULL && (name[0] == '\0' || strchr(letters, name[0]) == NULL))
		return false;
	name += letters != NULL;
	return strspn(name, "0123456789abcdef") == digits && name[digits] == '\0';
}

/* Whether such a file is in the folder; path gets its name. */
static bool foreign_in(int at, const char *name, const char *letters, bool deep, char path[64])
{
	DIR *d = folder_open(at, name);
	struct dirent *e;
	bool found = false;

	while (d != NULL && !found && (e = readdir(d)) != NULL) {
		char below[64];

		if (deep) {
			found = hex_name(e->d_name, NULL, 2) &&
				foreign_in(dirfd(d), e->d_name, letters, false, below);
			if (found)
				snprintf(path, 64, "%.20s/%.40s", name, below);
		} else if (hex_name(e->d_name, letters, 16)) {
			found = true;
			snprintf(path, 64, "%.20s/%.40s", name, e->d_name);
		}
	}
	if (d != NULL)
		closedir(d);
	return found;
}

int folder_foreign(int qfd, const char *letters, bool deep, const char *type, struct meta1_err *err)
{
	char path[64], folder[16];

	for (uint32_t w = 0; w <= QUEUE_QM; w++) {
		folder_name(w, folder);
		if (!foreign_in(qfd, folder, letters, deep, path))
			continue;
		snprintf(err->text, sizeof(err->text),
		    "%s is mail of a queue of type %s: start with queue { type = %s; } until mailq "
		    "is empty, "
		    "then move in, qm and state away from queue_directory",
		    path, type, type);
		return -1;
	}
	return 0;
}
