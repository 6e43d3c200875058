/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * snippet.c -- a file of conf.d is on when NAME.conf is a link to the NAME.conf.sample beside it.
 *
 * Comes from core/mcp/control.c and, when mcp does not run, from core/ctl/module.c; changes the
 * folder conf.d and nothing else. A name is letters, digits and _: no path comes from outside, and
 * what is linked is a file that only root, or whoever we are, can have written.
 * Owns nothing. On failure: err says what is in the way, and nothing has changed.
 */
#include "lib/snippet.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct place {
	int dir;
	char folder[1024], file[SNIPPET_NAME_MAX + 8], sample[SNIPPET_NAME_MAX + 16];
};

static bool trusted(const struct stat *st)
{
	return (st->st_uid == 0 || st->st_uid == geteuid()) && !(st->st_mode & (S_IWGRP | S_IWOTH));
}

static int place(const char *conf_file, const char *name, struct place *p, struct meta1_err *err)
{
	const char *slash = strrchr(conf_file, '/');
	struct stat st;

	if (!*name || strlen(name) > SNIPPET_NAME_MAX ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != strlen(name))
		return err_set(err, "%.80s: expected a name of a to z, 0 to 9 and _", name);
	if (snprintf(p->folder, sizeof(p->folder), "%.*s/conf.d",
		slash ? (int)(slash - conf_file) : 1,
		slash ? conf_file : ".") >= (int)sizeof(p->folder))
		return err_set(err, "the path of the configuration is too long");
	snprintf(p->file, sizeof(p->file), "%s.conf", name);
	snprintf(p->sample, sizeof(p->sample), "%s.conf.sample", name);
	p->dir = open(p->folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (p->dir < 0)
		return err_set(err, "%s: %s", p->folder, strerror(errno));
	if (fstat(p->dir, &st) == 0 && trusted(&st))
		return 0;
	close(p->dir);
	return err_set(
	    err, "%s: others than root can write into it: chown root, chmod go-w", p->folder);
}

static int wrong(const struct place *p, const char *file, const char *why, struct meta1_err *err)
{
	return err_set(err, "%s/%s: %s", p->folder, file, why);
}

/* Is it a link that enable made? */
static bool ours(const struct place *p)
{
	char to[sizeof(p->sample) + 1];
	ssize_t n = readlinkat(p->dir, p->file, to, sizeof(to));

	return n == (ssize_t)strlen(p->sample) && memcmp(to, p->sample, (size_t)n) == 0;
}

static int check_sample(const struct place *p, struct meta1_err *err)
{
	struct stat st;

	if (fstatat(p->dir, p->sample, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return wrong(p, p->sample,
		    errno == ENOENT ? "no such file: conf.d/*.conf.sample are those that can be "
				      "enabled"
				    : strerror(errno),
		    err);
	if (!S_ISREG(st.st_mode) || !trusted(&st))
		return wrong(p, p->sample,
		    "expected a file that belongs to root and that nobody else can write", err);
	return 0;
}

static int make_link(const struct place *p, struct meta1_err *err)
{
	if (check_sample(p, err) < 0)
		return -1;
	if (symlinkat(p->sample, p->dir, p->file) == 0)
		return 0;
	return wrong(p, p->file,
	    errno != EEXIST ? strerror(errno)
	    : ours(p)	    ? "is enabled already"
			    : "is there, and no link to the sample: edit it",
	    err);
}

static int take_link(const struct place *p, struct meta1_err *err)
{
	if (!ours(p))
		return wrong(p, p->file,
		    faccessat(p->dir, p->file, F_OK, AT_SYMLINK_NOFOLLOW) < 0
			? "is not enabled"
			: "is no link to the sample: edit it, or take it away",
		    err);
	if (unlinkat(p->dir, p->file, 0) == 0)
		return 0;
	return wrong(p, p->file, strerror(errno), err);
}

int snippet_enable(const char *conf_file, const char *name, struct meta1_err *err)
{
	struct place p;
	int rc;

	if (place(conf_file, name, &p, err) < 0)
		return -1;
	rc = make_link(&p, err);
	close(p.dir);
	return rc;
}

int snippet_disable(const char *conf_file, const char *name, struct meta1_err *err)
{
	struct place p;
	int rc;

	if (place(conf_file, name, &p, err) < 0)
		return -1;
	rc = take_link(&p, err);
	close(p.dir);
	return rc;
}

bool snippet_read(const struct settings *set, const char *name)
{
	char end[SNIPPET_NAME_MAX + 16];

	return snprintf(end, sizeof(end), "conf.d/%s.conf", name) < (int)sizeof(end) &&
	       conf_has_file(set->conf, end);
}
