/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lock.c -- one mcp and one set of roles a queue_directory.
 *
 * Comes from: mcp.c at the start, child.c for each process. Goes to: nothing.
 * mcp holds mcp.lock. Each process inherits the locked descriptor of its own NAME.lock and
 * holds it to its end, so a new mcp sees the roles of a killed one; these end by themselves
 * (core/role_mcp.c), so it waits a little before it refuses. The files hold pids for messages only.
 */
#include "mcp.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define RETRY_MS 100

static long holder(int fd)
{
	char text[32] = "";
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	return n > 0 ? atol(text) : 0;
}

void mcp_lock_pid(int fd, pid_t pid)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "%ld\n", (long)pid);

	if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)n, 0) != n)
		log_event(LOG_L_WARN, "mcp.lock", "error=%s", strerror(errno));
}

/* -1: err; -2: held by *pid. */
static int lock_file(struct mcp *m, const char *file, long *pid, struct meta1_err *err)
{
	char path[1024];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", m->set->queue_directory, file);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return err_set(err, "%s: %s", path, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	*pid = holder(fd);
	close(fd);
	err_set(err, "%s is held by process %ld", path, *pid);
	return -2;
}

/* The pid of a role of an earlier life, 0: none is left. */
static long earlier(struct mcp *m, char *name, size_t size)
{
	DIR *d = opendir(m->set->queue_directory);
	struct dirent *e;
	long pid = 0;

	while (d && !pid && (e = readdir(d))) {
		struct meta1_err err;
		size_t n = strlen(e->d_name);
		int fd;

		if (n < 6 || strcmp(e->d_name + n - 5, ".lock") != 0 ||
		    strcmp(e->d_name, "mcp.lock") == 0)
			continue;
		fd = lock_file(m, e->d_name, &pid, &err);
		if (fd >= 0) {
			close(fd);
		} else if (fd == -2) {
			pid = pid ? pid : -1;
			snprintf(name, size, "%.*s", (int)(n - 5), e->d_name);
		}
	}
	if (d)
		closedir(d);
	return pid;
}

int mcp_lock(struct mcp *m, struct meta1_err *err)
{
	const struct timespec pause = {.tv_nsec = RETRY_MS * 1000000L};
	long pid = 0;
	char name[256] = "";
	int fd = lock_file(m, "mcp.lock", &pid, err);

	if (fd == -2)
		return err_set(err, "another mcp, pid %ld, works in %s; stop it first", pid,
		    m->set->queue_directory);
	if (fd < 0)
		return -1;
	m->lock_fd = fd;
	mcp_lock_pid(fd, getpid());
	for (int waited = 0; (pid = earlier(m, name, sizeof(name))); waited += RETRY_MS) {
		if (waited >= MCP_ORPHANS_MS)
			return err_set(err,
			    "%s, pid %ld, of an earlier mcp still works in %s; see what it does, "
			    "or end it with: kill %ld",
			    name, pid, m->set->queue_directory, pid);
		if (waited == 0)
			log_event(LOG_L_WARN, "mcp.lock", "waiting_for=%s pid=%ld", name, pid);
		nanosleep(&pause, NULL);
	}
	return 0;
}

int mcp_lock_child(struct mcp *m, const char *name, struct meta1_err *err)
{
	char file[128];
	long pid = 0;
	int fd;

	snprintf(file, sizeof(file), "%s.lock", name);
	fd = lock_file(m, file, &pid, err);
	return fd < 0 ? -1 : fd;
}
