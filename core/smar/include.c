/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * include.c -- ":include:/path" in the value of an alias: the addresses are in a file. Only below
 * the folders of the option alias_include (none unless set), and only a file of root or of our own
 * account that nobody else may write: who can write it decides who gets mail.
 * From alias_row.c; the file is read on a worker thread. Owns one struct a file. On failure: why.
 */
#include "smar/users.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX (1u << 20)

struct job {
	struct smar_policy *policy;
	char path[ADDR_PATH_MAX + 1], why[400];
	char *text; /* NULL: why */
	size_t len;
	struct task refused;
	void (*fn)(void *arg, const char *text, size_t len, const char *why);
	void *arg;
};

/* real has no links in it any more. */
static bool below(const char *real, const char *folder)
{
	char *f = realpath(folder, NULL);
	size_t n = f ? strlen(f) : 0;
	bool in = f && n > 1 && strncmp(real, f, n) == 0 && real[n] == '/';

	free(f);
	return in;
}

static bool allowed(const struct job *j, const char *real)
{
	for (unsigned i = 0; i < j->policy->ninclude; i++)
		if (below(real, j->policy->include[i]))
			return true;
	return false;
}

static bool fail(struct job *j, const char *text)
{
	snprintf(j->why, sizeof(j->why), "%s: %s", j->path, text);
	return false;
}

static bool good_file(struct job *j, const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		return fail(j, "is no regular file");
	if (st->st_uid != 0 && st->st_uid != geteuid())
		return fail(j, "expected an owner that is root or smar's account");
	if (st->st_mode & (S_IWGRP | S_IWOTH))
		return fail(j, "others may write it: chmod go-w");
	if (st->st_size > FILE_MAX)
		return fail(j, "is larger than 1 MiB");
	return true;
}

/* A line that begins with # is none. */
static void without_comments(char *p, size_t n)
{
	bool begin = true, comment = false;

	for (size_t i = 0; i < n; i++) {
		if (begin && p[i] == '#')
			comment = true;
		if (p[i] == '\n')
			comment = false;
		begin = p[i] == '\n' || (begin && (p[i] == ' ' || p[i] == '\t'));
		if (comment)
			p[i] = ' ';
	}
}

static bool read_all(struct job *j, int fd)
{
	char *text = base_alloc(FILE_MAX + 1);
	size_t n = 0;
	ssize_t k;

	while (n <= FILE_MAX && (k = read(fd, text + n, FILE_MAX + 1 - n)) != 0) {
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0) {
			free(text);
			return fail(j, strerror(errno));
		}
		n += (size_t)k;
	}
	if (n > FILE_MAX) {
		free(text);
		return fail(j, "is larger than 1 MiB");
	}
	without_comments(text, n);
	j->text = text;
	j->len = n;
	return true;
}

static void read_file(void *arg) /* worker thread */
{
	struct job *j = arg;
	char *real = realpath(j->path, NULL);
	struct stat st;
	int fd;

	if (!real) {
		fail(j, strerror(errno));
	} else if (!allowed(j, real)) {
		fail(j, "is not in a folder of alias_include");
	} else if ((fd = open(real, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)) < 0) {
		fail(j, strerror(errno));
	} else {
		if (fstat(fd, &st) < 0)
			fail(j, strerror(errno));
		else if (good_file(j, &st))
			read_all(j, fd);
		close(fd);
	}
	free(real);
}

static void have(void *arg)
{
	struct job *j = arg;

	j->fn(j->arg, j->text, j->len, j->why);
	free(j->text);
	smar_policy_unref(&j->policy);
	free(j);
}

void smar_include_read(struct smar_policy *p, const char *path,
    void (*fn)(void *arg, const char *text, size_t len, const char *why), void *arg)
{
	struct job *j = base_alloc(sizeof(*j));

	j->policy = smar_policy_ref(p);
	str_copy(j->path, sizeof(j->path), path);
	j->fn = fn;
	j->arg = arg;
	task_init(&j->refused, have, j);
	if (p->ninclude == 0)
		fail(j, "files need the option alias_include");
	else if (path[0] != '/')
		fail(j, "expected an absolute path");
	else if (!p->work || !work_do(p->work, &p->include_work, read_file, have, j))
		fail(j, "too much to read");
	else
		return;
	loop_defer(p->loop, &j->refused);
}
