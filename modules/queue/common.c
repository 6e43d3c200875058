/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * common.c -- jobs, answers and folders of stores on a disk; part of each of their modules.
 *
 * Comes from: queue_log, queue_dir. Goes to: the host's threads. Owns: jobs under way.
 * On failure: a job that finds no thread says false, and neither of its halves runs.
 */
#include "common.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct job {
	struct jobs *all;
	void (*work)(void *), (*done)(void *);
	void *arg;
};

static void check_drained(struct jobs *a)
{
	struct meta1_req *req = a->drain;

	if (req == NULL || a->n > 0 || !a->idle(a->store))
		return;
	a->drain = NULL;
	a->h->finish(req, META1_OK, NULL);
}

static void job_work(void *p)
{
	struct job *j = p;

	j->work(j->arg);
}

static void job_done(void *p)
{
	struct job *j = p;
	struct jobs *a = j->all;

	j->done(j->arg);
	free(j);
	a->n--;
	check_drained(a);
	if (a->closing && a->n == 0)
		a->release(a->store);
}

bool jobs_run(struct jobs *a, void (*work)(void *), void (*done)(void *), void *arg)
{
	struct job *j = a->closing ? NULL : malloc(sizeof(*j));

	if (j == NULL)
		return false;
	*j = (struct job){a, work, done, arg};
	if (a->h->offload(a->ctx, job_work, job_done, j) != META1_OK) {
		free(j);
		return false;
	}
	a->n++;
	return true;
}

void jobs_arm(struct jobs *a, struct meta1_watch *w, int64_t ms)
{
	if (w != NULL && !a->closing)
		a->h->rearm(w, ms);
}

void jobs_answer(struct jobs *a, struct meta1_req **req, enum meta1_status st, const char *text)
{
	struct meta1_reply r = {.size = sizeof(r), .text = text};
	struct meta1_req *q = *req;

	*req = NULL;
	if (st == META1_TEMPFAIL) {
		r.smtp = 452;
		snprintf(r.dsn, sizeof(r.dsn), "4.3.1");
	}
	if (q != NULL)
		a->h->finish(q, st, &r);
}

void jobs_drain(struct jobs *a, struct meta1_req *req)
{
	a->drain = req;
	check_drained(a);
}

void jobs_close(struct jobs *a)
{
	a->closing = true; /* no job and no timer starts from now on */
	if (a->n == 0)
		a->release(a->store);
}

int common_mkdir(int at, const char *name, mode_t mode, struct meta1_err *e)
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

/* ---- another store's mail ---- */

static DIR *folder_open(int at, const char *name)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;

	if (fd >= 0 && d == NULL)
		close(fd);
	return d;
}

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

int common_foreign(int qfd, const char *letters, bool deep, const char *type, struct meta1_err *err)
{
	char path[64], folder[16];

	for (unsigned w = 0; w <= 255; w++) {
		if (w < 255)
			snprintf(folder, sizeof(folder), "in/%u", w);
		else
			snprintf(folder, sizeof(folder), "qm");
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
