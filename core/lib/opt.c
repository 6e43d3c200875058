/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * opt.c -- option records: the binder, from a section's options to a struct.
 *
 * Comes from settings.c and core/mod with a section and its records; the texts
 * are read and written by opt_value.c. Owns nothing: values live in the conf.
 * On failure: a message with the place of the value; the field keeps its default.
 */
#include "opt.h"

#include "settings_records.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>

struct binder {
	struct conf *conf;
	const char *owner, *qdir;
	enum opt_mode mode;
};

static bool is_number(const char *s)
{
	return *s && strspn(s, "0123456789") == strlen(s);
}

/* A thing of this machine that a check may lack and a start may not. */
static void lacking(const struct binder *b, const struct conf_pos *pos, const char *opt,
    const char *what, const char *name, const char *why)
{
	if (b->mode == OPT_CHECK)
		conf_warn(b->conf, pos, "%s: option %s: %s %s: %s", b->owner, opt, what, name, why);
	else
		conf_error(
		    b->conf, pos, "%s: option %s: %s %s: %s", b->owner, opt, what, name, why);
}

static void check_account(
    const struct binder *b, const struct meta1_opt *rec, const struct conf_value *v)
{
	if (is_number(v->text))
		return;
	if (rec->flags & META1_O_USER && !getpwnam(v->text))
		lacking(b, &v->pos, rec->name, "user", v->text, "there is no such account");
	if (rec->flags & META1_O_GROUP && !getgrnam(v->text))
		lacking(b, &v->pos, rec->name, "group", v->text, "there is no such group");
}

/* Makes a path absolute; one from the file (pos) must exist unless the record says otherwise. */
static void finish_path(const struct binder *b, const struct meta1_opt *rec, const char **field,
    const struct conf_pos *pos)
{
	const char *path = *field;
	if (!path || !*path)
		return;
	const char *dir = rec->flags & META1_O_QDIR && b->qdir ? b->qdir : conf_dir(b->conf);
	if (*path != '/')
		*field = path = conf_printf(b->conf, "%s/%s", dir, path);
	struct stat st;
	/* EACCES: a file of another role's user, who will see for himself. */
	if (pos && !(rec->flags & META1_O_MAYLACK) && stat(path, &st) < 0 && errno != EACCES)
		lacking(b, pos, rec->name, "file", path, strerror(errno));
}

static bool bind_given(
    const struct binder *b, struct conf_option *o, const struct meta1_opt *rec, void *field)
{
	size_t n = 0;
	for (const struct conf_value *v = o->values; v; v = v->next)
		n++;
	const char **values = conf_alloc(b->conf, (n + 1) * sizeof(*values));
	n = 0;
	for (const struct conf_value *v = o->values; v; v = v->next)
		values[n++] = v->text;
	const struct conf_pos *pos = o->values ? &o->values->pos : &o->pos;
	struct meta1_err err = {""};
	if (rec->type != META1_LIST && rec->type != META1_FLAGS && o->is_list) {
		conf_error(b->conf, pos, "%s: option %s: found a list, expected one value",
		    b->owner, o->name);
		return false;
	}
	if (rec->type == META1_INT && rec->flags & META1_O_GROUP && !is_number(values[0]) &&
	    values[0][0] != '-' && !getgrnam(values[0])) {
		check_account(b, rec, o->values);
		return true; /* in a check the field keeps its default */
	}
	if (opt_parse(rec, values, n, field, &err) < 0) {
		conf_error(b->conf, pos, "%s: option %s: %s", b->owner, o->name, err.text);
		return false;
	}
	if (rec->type == META1_PATH)
		finish_path(b, rec, field, pos);
	if (rec->type == META1_STR || rec->type == META1_LIST)
		for (const struct conf_value *v = o->values; v; v = v->next)
			check_account(b, rec, v);
	return true;
}

unsigned opt_bind(struct conf *conf, struct conf_section *s, const struct meta1_opt *opt, size_t n,
    void *base, const char *owner, enum opt_mode mode, const char *qdir)
{
	const struct binder b = {conf, owner, qdir, mode};
	const unsigned before = conf_errors(conf);
	struct meta1_err err = {""};
	if (opt_defaults(opt, n, base, &err) < 0)
		conf_error(conf, NULL, "%s: %s", owner, err.text);
	for (size_t i = 0; i < n; i++) {
		void *field = (char *)base + opt[i].off;
		struct conf_option *o = conf_find(s, opt[i].name);
		if (o) {
			o->used = true;
			o->bound = true;
			o->secret = opt[i].flags & META1_O_SECRET;
			bind_given(&b, o, &opt[i], field);
		} else if (opt[i].flags & META1_O_REQUIRED) {
			conf_error(conf, s ? &s->pos : NULL, "%s: option %s is missing: %s", owner,
			    opt[i].name, opt[i].doc);
		} else if (opt[i].type == META1_PATH) {
			finish_path(&b, &opt[i], field, NULL);
		}
	}
	return conf_errors(conf) - before;
}

/* ---- sections that stand for the first word of options ---- */

struct flat {
	struct conf *conf;
	struct conf_section *top;
	const struct meta1_opt *opt;
	size_t n;
	const char *owner;
};

/* A record whose name begins with "prefix_"; names: what is behind it, of all of them. */
static size_t words_behind(const struct flat *f, const char *prefix, const char **names)
{
	size_t len = strlen(prefix), found = 0;

	for (size_t i = 0; i < f->n; i++)
		if (strncasecmp(f->opt[i].name, prefix, len) == 0 && f->opt[i].name[len] == '_')
			names[found++] = f->opt[i].name + len + 1;
	return found;
}

static void lift(const struct flat *f, struct conf_option *o, const char *prefix,
    const char *const *names, size_t nnames)
{
	const char *whole = conf_printf(f->conf, "%s_%s", prefix, o->name), *near;
	const struct conf_option *had = conf_find(f->top, whole);

	o->next = NULL;
	for (size_t i = 0; i < f->n && !had; i++) {
		struct conf_option **end = &f->top->options;
		if (strcasecmp(f->opt[i].name, whole) != 0)
			continue;
		while (*end)
			end = &(*end)->next;
		o->name = f->opt[i].name;
		*end = o;
		return;
	}
	near = had ? NULL : conf_nearest(o->name, names, nnames);
	if (had)
		conf_error(f->conf, &o->pos, "option %s is set twice; first at %s:%d", whole,
		    had->pos.file, had->pos.line);
	else
		conf_error(f->conf, &o->pos, "unknown option %s in %s.%s%s%s%s", o->name, f->owner,
		    prefix, near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

/* NOLINTNEXTLINE(misc-no-recursion): as deep as sections may be nested, CONF_NESTING. */
static bool flatten(const struct flat *f, struct conf_section *t, const char *prefix)
{
	const char **names = conf_alloc(f->conf, (f->n + 1) * sizeof(*names));
	size_t n = words_behind(f, prefix, names);

	if (!n || t->name)
		return false; /* opt_unknown() will say so */
	for (struct conf_option *o = t->options, *next; o; o = next) {
		next = o->next;
		lift(f, o, prefix, names, n);
	}
	for (struct conf_section *u = t->sections; u; u = u->next)
		if (!flatten(f, u, conf_printf(f->conf, "%s_%s", prefix, u->keyword)))
			conf_error(f->conf, &u->pos, "unknown section %s in %s.%s", u->keyword,
			    f->owner, prefix);
	return true;
}

void opt_flatten(struct conf *conf, struct conf_section *s, const struct meta1_opt *opt, size_t n,
    const char *owner)
{
	const struct flat f = {conf, s, opt, n, owner};

	for (struct conf_section **p = &s->sections; *p;)
		if (!(*p)->used && flatten(&f, *p, (*p)->keyword))
			*p = (*p)->next;
		else
			p = &(*p)->next;
}

/* ---- what nobody took ---- */

static bool among(const char *name, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcasecmp(name, list[i]) == 0)
			return true;
	return false;
}

static void unknown(struct conf *conf, const struct conf_pos *pos, const char *what,
    const char *name, const char *owner, const char *near)
{
	const char *here = opt_moved(name), *home;
	char buf[200];

	if (here) {
		conf_error(conf, pos, "unknown %s %s%s%s; here it is %s", what, name,
		    *owner ? " in " : "", owner, here);
		return;
	}
	home = settings_home(name, buf, sizeof(buf));
	if (home) {
		conf_error(conf, pos, "unknown %s %s%s%s; its place is %s%s", what, name,
		    *owner ? " in " : "", owner, strncmp(home, "out", 3) ? "in " : "", home);
		return;
	}
	conf_error(conf, pos, "unknown %s %s%s%s%s%s%s", what, name, *owner ? " in " : "", owner,
	    near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

void opt_unknown(struct conf *conf, struct conf_section *s, const char *owner,
    const struct meta1_opt *opt, size_t n, const char *const *subs, size_t nsub)
{
	const char **names = base_alloc((n + nsub + 1) * sizeof(*names));
	for (size_t i = 0; i < n; i++)
		names[i] = opt[i].name;
	for (size_t i = 0; i < nsub; i++)
		names[n + i] = subs[i];
	for (struct conf_option *o = s->options; o; o = o->next) {
		if (o->used)
			continue;
		o->used = true; /* told once */
		if (among(o->name, subs, nsub))
			conf_error(
			    conf, &o->pos, "%s is a section: write %s { ... }", o->name, o->name);
		else
			unknown(conf, &o->pos, "option", o->name, owner,
			    conf_nearest(o->name, names, n + nsub));
	}
	for (struct conf_section *t = s->sections; t; t = t->next) {
		if (t->used)
			continue;
		t->used = true;
		if (among(t->keyword, names, n))
			conf_error(conf, &t->pos, "%s is an option: write %s = VALUE;", t->keyword,
			    t->keyword);
		else
			unknown(conf, &t->pos, "section", t->keyword, owner,
			    conf_nearest(t->keyword, names, n + nsub));
	}
	free(names);
}
