/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conf_read.c -- files to words, words to the tree of conf.c.
 *
 *	file    = { entry }
 *	entry   = section | option | "include" VALUE ";"
 *	section = WORD [ NAME ] "{" { entry } "}" [ ";" ]
 *	option  = WORD "=" ( VALUE ";" | "{" [ VALUE { "," VALUE } [ "," ] ] "}" [ ";" ] )
 *
 * Comes from conf_read() and conf_word.c's tokens; goes to conf.c's tree. Owns the texts'
 * way in: what is opened is a file, within bounds, once in a chain of includes.
 * On failure: the error is noted with its place, and reading goes on behind the
 * next ';' or at the next '}', so that one run shows all errors.
 */
#include "conf_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

static void read_entries(struct reader *, struct conf_section *);
static bool read_file(struct conf *, const char *name, struct conf_section *, struct reader *up,
    const struct conf_pos *from);

/* ---- grammar ---- */

/* After an error inside an entry: behind the next ';', or before the '}' that ends the section. */
static void recover(struct reader *r)
{
	unsigned depth = 0;
	while (r->t.kind != T_END) {
		if (conf_word_mark(r, '{')) {
			depth++;
		} else if (conf_word_mark(r, '}')) {
			if (depth == 0)
				return;
			if (--depth == 0) {
				conf_word_next(r);
				conf_word_take(r, ';');
				return;
			}
		} else if (conf_word_mark(r, ';') && depth == 0) {
			conf_word_next(r);
			return;
		}
		conf_word_next(r);
	}
}

/* At the bound the whole reading ends, in this file and those that include it. */
static bool may_add(struct reader *r, const struct conf_pos *pos)
{
	if (r->c->entries < CONF_ENTRIES) {
		r->c->entries++;
		return true;
	}
	if (!r->c->full)
		conf_error(r->c, pos, "more than %d options and sections; the rest is not read",
		    CONF_ENTRIES);
	r->c->full = true;
	return false;
}

static struct conf_value *read_value(struct reader *r)
{
	struct conf_value *v = conf_alloc(r->c, sizeof(*v));
	v->text = r->t.text;
	v->pos = r->t.pos;
	conf_word_next(r);
	return v;
}

/* Behind '{'. */
static void read_list(struct reader *r, struct conf_option *o)
{
	struct conf_value **tail = &o->values;
	o->is_list = true;
	while (!conf_word_mark(r, '}')) {
		if (!conf_word_value(r)) {
			if (r->t.kind != T_BAD)
				conf_error(r->c, &r->t.pos,
				    "found %s in the list of %s, expected a value or '}'",
				    conf_word_found(r), o->name);
			recover(r);
			break;
		}
		*tail = read_value(r);
		tail = &(*tail)->next;
		if (conf_word_take(r, ',') || conf_word_mark(r, '}'))
			continue;
		if (conf_word_value(r)) { /* goes on as if it were there */
			conf_error(r->c, &r->behind, "missing ',' in the list of %s", o->name);
			continue;
		}
		if (r->t.kind != T_BAD)
			conf_error(r->c, &r->behind,
			    "the list of %s is not closed: found %s, expected "
			    "',' or '}'",
			    o->name, conf_word_found(r));
		recover(r);
		break;
	}
	conf_word_take(r, '}');
	conf_word_take(r, ';');
}

static void add_option(struct reader *r, struct conf_section *s, struct conf_option *o)
{
	struct conf_option **tail = &s->options;
	for (; *tail; tail = &(*tail)->next) {
		const struct conf_option *old = *tail;
		if (strcasecmp(old->name, o->name) != 0)
			continue;
		conf_error(r->c, &o->pos, "option %s is set twice, first at %s:%d:%d%s", o->name,
		    old->pos.file, old->pos.line, old->pos.col,
		    old->block == o->block || !s->parent ? "; remove one"
		    : s->name
			? "; sections of one keyword and name are one section: remove one, or give "
			  "one of them another name"
			: "; sections of one keyword and name are one "
			  "section: remove one or give the sections names");
		return;
	}
	*tail = o;
}

/* Behind the value of an option, where ';' is not. Most often the next line is an entry by itself;
 * when it is not, the rest of this one would only bring more messages. */
static void missing_end(struct reader *r, const struct conf_option *o)
{
	bool same_line = r->t.pos.line == r->behind.line;
	bool more = same_line && (conf_word_value(r) || conf_word_mark(r, ','));
	if (r->t.kind != T_BAD)
		conf_error(r->c, &r->behind, "missing ';' after the value of %s%s", o->name,
		    more ? " (a value with blanks needs \"quotes\", a list is { a, b })" : "");
	if (same_line || !conf_word_value(r))
		recover(r);
}

/* name is taken, the next token is '='. */
static void read_option(
    struct reader *r, struct conf_section *s, const struct token *name, unsigned block)
{
	struct conf_option *o = conf_alloc(r->c, sizeof(*o));
	o->name = name->text;
	o->pos = name->pos;
	o->block = block;
	conf_word_next(r);
	if (conf_word_take(r, '{')) {
		read_list(r, o);
	} else if (!conf_word_value(r)) {
		if (r->t.kind != T_BAD)
			conf_error(r->c, &r->t.pos, "found %s, expected the value of %s",
			    conf_word_found(r), name->text);
		recover(r);
		return;
	} else {
		o->values = read_value(r);
		if (!conf_word_take(r, ';'))
			missing_end(r, o);
	}
	if (may_add(r, &o->pos))
		add_option(r, s, o);
}

static struct conf_section *find_or_add(
    struct reader *r, struct conf_section *up, const struct token *keyword, const char *name)
{
	struct conf_section *s = conf_sub(up, keyword->text, name), **tail = &up->sections;
	if (s)
		return s;
	while (*tail)
		tail = &(*tail)->next;
	s = conf_alloc(r->c, sizeof(*s));
	s->keyword = keyword->text;
	s->name = name;
	s->pos = keyword->pos;
	s->parent = up;
	return *tail = s;
}

/* keyword and name are taken, the next token is '{'. */
static void read_section(
    struct reader *r, struct conf_section *up, const struct token *keyword, const char *name)
{
	if (!may_add(r, &keyword->pos))
		return;
	if (r->nesting >= CONF_NESTING) {
		conf_error(r->c, &keyword->pos, "section %s is nested deeper than %d",
		    keyword->text, CONF_NESTING);
		recover(r);
		return;
	}
	struct conf_section *s = find_or_add(r, up, keyword, name);
	conf_word_next(r);
	r->nesting++;
	read_entries(r, s);
	r->nesting--;
	if (r->c->full)
		return;
	if (!conf_word_mark(r, '}')) {
		conf_error(
		    r->c, &keyword->pos, "section %s is not closed: '}' is missing", keyword->text);
		return;
	}
	conf_word_next(r);
	conf_word_take(r, ';');
}

static void include(
    struct reader *r, struct conf_section *s, const struct conf_pos *pos, const char *pattern)
{
	if (r->includes == CONF_NO_INCLUDES) {
		conf_error(r->c, pos, "there is no include here");
		return;
	}
	if (r->includes >= CONF_INCLUDES) {
		conf_error(r->c, pos, "includes are nested deeper than %d", CONF_INCLUDES);
		return;
	}
	const char *slash = strrchr(pos->file, '/');
	const char *path =
	    *pattern == '/' || !slash
		? pattern
		: conf_printf(r->c, "%.*s/%s", (int)(slash - pos->file), pos->file, pattern);
	if (!strpbrk(pattern, "*?[")) {
		read_file(r->c, conf_printf(r->c, "%s", path), s, r, pos);
		return;
	}
	for (const char *f = NULL; r->c->packed && (f = conf_packed_next(r->c, path, f));)
		read_file(r->c, f, s, r, pos);
	if (r->c->packed)
		return;
	glob_t found_files = {0};
	int rc = glob(path, 0, NULL, &found_files); /* sorted by bytes: no locale is set */
	if (rc != 0 && rc != GLOB_NOMATCH)
		conf_error(r->c, pos, "cannot look for %s: %s", path, strerror(errno));
	for (size_t i = 0; rc == 0 && i < found_files.gl_pathc; i++)
		read_file(r->c, conf_printf(r->c, "%s", found_files.gl_pathv[i]), s, r, pos);
	globfree(&found_files);
}

static void read_include(struct reader *r, struct conf_section *s)
{
	struct token what = r->t;
	conf_word_next(r);
	if (conf_word_take(r, ';')) {
		include(r, s, &what.pos, what.text);
		return;
	}
	conf_error(r->c, &r->behind, "missing ';' after include \"%.100s\"", what.text);
	if (!conf_word_value(r) || r->t.pos.line == r->behind.line)
		recover(r);
}

static void read_entry(struct reader *r, struct conf_section *s, unsigned block)
{
	struct token word = r->t;
	conf_word_next(r);
	if (conf_word_mark(r, '=')) {
		read_option(r, s, &word, block);
	} else if (conf_word_mark(r, '{')) {
		read_section(r, s, &word, NULL);
	} else if (conf_word_value(r) && strcasecmp(word.text, "include") == 0) {
		read_include(r, s);
	} else if (conf_word_value(r)) {
		struct token name = r->t;
		conf_word_next(r);
		if (conf_word_mark(r, '{')) {
			read_section(r, s, &word, name.text);
			return;
		}
		if (r->t.kind != T_BAD)
			conf_error(r->c, &name.pos,
			    "found %s after %s; an option is written \"%s = VALUE;\", a section "
			    "\"%s NAME { ... }\"",
			    name.text, word.text, word.text, word.text);
		if (name.pos.line == r->t.pos.line || !conf_word_value(r))
			recover(r);
	} else {
		if (r->t.kind != T_BAD)
			conf_error(r->c, &r->t.pos, "found %s after %s, expected '=' or '{'",
			    conf_word_found(r), word.text);
		recover(r);
	}
}

/* Until '}' or the end of the file, which is left to the caller. */
static void read_entries(struct reader *r, struct conf_section *s)
{
	unsigned block = ++r->c->blocks;
	while (!r->c->full && r->t.kind != T_END && !conf_word_mark(r, '}')) {
		if (r->c->errors >= 10 * CONF_MESSAGES)
			r->c->full = true; /* no configuration at all */
		if (r->t.kind == T_WORD) {
			read_entry(r, s, block);
		} else if (!conf_word_take(r, ';')) { /* an empty entry does no harm */
			if (r->t.kind != T_BAD)
				conf_error(r->c, &r->t.pos,
				    "found %s, expected the name of an option or section",
				    conf_word_found(r));
			recover(r);
		}
	}
}

/* ---- files ---- */

/* One message a line with control bytes; they become blanks. */
static void check_bytes(struct conf *c, struct conf_file *f)
{
	struct conf_pos pos = {f->name, 1, 1};
	int told = 0;
	for (size_t i = 0; i < f->len; i++) {
		unsigned char ch = (unsigned char)f->text[i];
		if (ch == '\n') {
			pos.line++;
			pos.col = 1;
			continue;
		}
		bool line_end = ch == '\r' && f->text[i + 1] == '\n';
		if ((ch < 0x20 && ch != '\t' && !line_end) || ch == 0x7f) {
			if (told != pos.line)
				conf_error(c, &pos,
				    "control byte 0x%02x; a text may hold it as \\x%02x%s", ch, ch,
				    ch ? "" : ", NUL not at all");
			told = pos.line;
			f->text[i] = ' ';
		}
		if (((unsigned char)f->text[i + 1] & 0xc0) != 0x80)
			pos.col++;
	}
}

/* Takes text. */
static void read_text(struct conf *c, const char *name, char *text, size_t len,
    struct conf_section *into, struct reader *r)
{
	struct conf_file *f = conf_alloc(c, sizeof(*f));
	f->name = name;
	f->text = text;
	f->len = len;
	f->number = ++c->nfiles;
	if (c->last)
		c->last->next = f;
	else
		c->files = f;
	c->last = f;
	check_bytes(c, f);
	r->c = c;
	r->p = text;
	r->end = text + len;
	r->at = r->behind = (struct conf_pos){name, 1, 1};
	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		r->p += 3; /* a byte order mark of some editor */
	conf_word_next(r);
	while (!c->full && r->t.kind != T_END) {
		read_entries(r, into);
		if (conf_word_mark(r, '}')) {
			conf_error(c, &r->t.pos, "this '}' closes nothing");
			conf_word_next(r);
		}
	}
}

/* The bytes of an open file with a NUL behind; NULL: why is set. */
static char *slurp(int fd, const struct stat *st, size_t *len, const char **why)
{
	if (!S_ISREG(st->st_mode)) {
		*why = S_ISDIR(st->st_mode) ? "is a folder, expected a file" : "is not a file";
		return NULL;
	}
	size_t n = 0,
	       size = (size_t)(st->st_size > CONF_FILE_MAX ? CONF_FILE_MAX : st->st_size) + 1;
	char *text = base_alloc(size + 1);
	ssize_t got = 0;
	while (n < size && (got = read(fd, text + n, size - n)) != 0) {
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			break;
		n += (size_t)got;
	}
	if (got >= 0 && n < size) {
		text[n] = 0;
		*len = n;
		return text;
	}
	*why = got < 0		   ? strerror(errno)
	       : n > CONF_FILE_MAX ? "is larger than 4 MB"
				   : "is changing";
	free(text);
	return NULL;
}

static void read_as(struct conf *c, const char *name, char *text, size_t len,
    struct conf_section *into, struct reader *up, const struct stat *st)
{
	struct reader r = {.dev = st->st_dev, .ino = st->st_ino, .up = up};
	r.includes = up ? up->includes + 1 : 0;
	r.nesting = up ? up->nesting : 0;
	read_text(c, name, text, len, into, &r);
}

/* from: the include, for messages; NULL for the first file. */
static bool read_file(struct conf *c, const char *name, struct conf_section *into,
    struct reader *up, const struct conf_pos *from)
{
	struct conf_pos whole = {name, 0, 0};
	const struct conf_pos *pos = from ? from : &whole;
	if (c->nfiles >= CONF_FILES) {
		conf_error(c, pos, "cannot read %s: more than %d files", name, CONF_FILES);
		return false;
	}
	struct stat st = {0};
	size_t len = 0;
	char *text = conf_packed_text(c, name, &len);
	if (text) {
		read_as(c, name, text, len, into, up, &st);
		return true;
	}
	int fd = open(name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) {
		conf_error(c, pos, "cannot read %s: %s", name, strerror(errno));
		if (fd >= 0)
			close(fd);
		return false;
	}
	for (const struct reader *u = up; u; u = u->up) {
		if (u->dev != st.st_dev || u->ino != st.st_ino)
			continue;
		conf_error(c, pos, "%s includes itself", name);
		close(fd);
		return false;
	}
	const char *why = NULL;
	text = slurp(fd, &st, &len, &why);
	close(fd);
	if (!text) {
		conf_error(c, pos, "cannot read %s: %s", name, why);
		return false;
	}
	read_as(c, name, text, len, into, up, &st);
	return true;
}

struct conf *conf_read_packed(int fd, const char *file)
{
	struct conf *c = conf_new();
	/* The folder that was named, also when the file itself is a link to elsewhere. */
	const char *slash = strrchr(file, '/');
	char *dir = slash ? base_strndup(file, slash == file ? 1 : (size_t)(slash - file)) : NULL;
	char *full = realpath(dir ? dir : ".", NULL);
	c->dir = conf_printf(c, "%s", full ? full : "/");
	free(dir);
	free(full);
	conf_unpack(c, fd, file);
	read_file(c, conf_printf(c, "%s", file), &c->root, NULL, NULL);
	return c;
}

struct conf *conf_read(const char *file)
{
	return conf_read_packed(-1, file);
}

static struct conf *read_string(const char *name, const char *text, unsigned includes)
{
	struct conf *c = conf_new();
	char cwd[PATH_MAX];
	c->dir = conf_printf(c, "%s", getcwd(cwd, sizeof(cwd)) ? cwd : "/");
	struct reader r = {.includes = includes};
	size_t len = strlen(text);
	read_text(c, conf_printf(c, "%s", name), base_strndup(text, len), len, &c->root, &r);
	return c;
}

struct conf *conf_read_text(const char *name, const char *text)
{
	return read_string(name, text, 0);
}

struct conf *conf_read_row(const char *name, const char *text)
{
	return read_string(name, text, CONF_NO_INCLUDES);
}
