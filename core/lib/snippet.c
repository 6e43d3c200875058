/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * snippet.c -- a file of conf.d is on when NAME.conf is a link to the NAME.conf.sample beside it.
 *
 * Comes from core/mcp/control.c and, when mcp does not run, from core/ctl/reload.c; changes the
 * folder conf.d and nothing else. Messages about what a configuration lacks say which of its
 * samples would bring it. A name is letters, digits and _: no path comes from outside, and what is
 * linked is a file that only root, or whoever we are, can have written. Owns nothing. On failure:
 * err says what is in the way, and nothing has changed.
 */
#include "lib/snippet.h"

#include "settings_check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SAMPLE	 ".conf.sample"
#define TEXT_MAX (64u << 10) /* of a sample that is searched */

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

/* ---- which there are ---- */

static int is_sample(const struct dirent *e)
{
	size_t n = strlen(e->d_name);

	return n > strlen(SAMPLE) && n - strlen(SAMPLE) <= SNIPPET_NAME_MAX &&
	       strcmp(e->d_name + n - strlen(SAMPLE), SAMPLE) == 0;
}

/* Their names, in order; <=0: none. Freed by forget(). */
static int samples(const char *folder, struct dirent ***list)
{
	int n = scandir(folder, list, is_sample, alphasort);

	for (int i = 0; i < n; i++)
		(*list)[i]->d_name[strlen((*list)[i]->d_name) - strlen(SAMPLE)] = '\0';
	return n;
}

static void forget(struct dirent **list, int n)
{
	for (int i = 0; i < n; i++)
		free(list[i]);
	if (n >= 0)
		free(list);
}

/* One that is nearly called so, or called so behind its kind. */
static void meant(const char *folder, const char *name, char *out, size_t size)
{
	struct dirent **list;
	int n = samples(folder, &list);
	const char **names = base_alloc((size_t)(n > 0 ? n : 0) * sizeof(*names) + 1);
	const char *near = NULL, *kind;

	for (int i = 0; i < n; i++) {
		names[i] = list[i]->d_name;
		kind = strchr(names[i], '_');
		if (!near && kind && strcmp(kind + 1, name) == 0)
			near = names[i];
	}
	if (!near && n > 0)
		near = conf_nearest(name, names, (size_t)n);
	snprintf(out, size, "%s%.60s%s", near ? "; did you mean " : "", near ? near : "",
	    near ? "?" : "");
	free(names);
	forget(list, n);
}

void snippet_package(const char *module, char *out, size_t size)
{
	snprintf(out, size, "meta1-%s", module);
	for (char *p = out; *p; p++)
		if (*p == '_')
			*p = '-';
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
	char why[256], package[80], near[80], name[sizeof(p->file)];

	if (fstatat(p->dir, p->sample, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno != ENOENT)
			return wrong(p, p->sample, strerror(errno), err);
		snprintf(name, sizeof(name), "%.*s", (int)strlen(p->file) - 5, p->file);
		snippet_package(name, package, sizeof(package));
		meant(p->folder, name, near, sizeof(near));
		snprintf(why, sizeof(why),
		    "no such file: conf.d/*.conf.sample are those that can be enabled%s%s%s", near,
		    settings_kind(name) ? "; of Debian, its package is " : "",
		    settings_kind(name) ? package : "");
		return wrong(p, p->sample, why, err);
	}
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

/* ---- for messages ---- */

static bool has(const char *path, const char *text)
{
	FILE *f = fopen(path, "re");
	char *all = f ? base_alloc(TEXT_MAX + 1) : NULL;
	bool found = f && fread(all, 1, TEXT_MAX, f) > 0 && strstr(all, text);

	free(all);
	if (f)
		fclose(f);
	return found;
}

const char *snippet_with(struct conf *c, const char *text)
{
	const char *folder = conf_printf(c, "%s/conf.d", conf_dir(c)), *name = NULL;
	struct dirent **list;
	int n = samples(folder, &list);

	for (int i = 0; i < n && !name; i++)
		if (has(conf_printf(c, "%s/%s" SAMPLE, folder, list[i]->d_name), text))
			name = conf_printf(c, "%s", list[i]->d_name);
	forget(list, n);
	return name;
}

/* The name under which meta1ctl has switched this file on; NULL: it has not. */
static const char *enabled_as(struct conf *c, const char *file)
{
	const char *slash = strrchr(file, '/'), *base = slash ? slash + 1 : file;
	char to[SNIPPET_NAME_MAX + sizeof(SAMPLE)];
	ssize_t n = readlink(file, to, sizeof(to) - 1);
	size_t len = strlen(base);

	if (n < 0 || len < 6 || (size_t)n != len + strlen(".sample"))
		return NULL;
	to[n] = '\0';
	if (strncmp(to, base, len) != 0 || strcmp(to + len, ".sample") != 0)
		return NULL;
	return conf_printf(c, "%.*s", (int)len - 5, base);
}

const char *snippet_about(struct conf *c, const char *file, const char *module)
{
	const char *on = enabled_as(c, file), *sample;

	if (on)
		return conf_printf(
		    c, "; or do without what asks for it: meta1ctl module disable %s", on);
	sample = snippet_with(c, conf_printf(c, "# All options of %s,", module));
	if (!sample || conf_has_file(c, conf_printf(c, "conf.d/%s.conf", sample)))
		return "";
	return conf_printf(c,
	    "; conf.d/%s.conf.sample shows its use, and meta1ctl module enable %s switches it on",
	    sample, sample);
}
