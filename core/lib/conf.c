/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conf.c -- the tree of a configuration and the messages about it.
 *
 * Comes from conf_read.c, which fills the tree; goes to opt.c and settings.c,
 * which look up in it and add their own messages; conf_report() shows all.
 * Owns the memory of tree, texts and messages until conf_free().
 * On failure: nothing here fails; beyond CONF_MESSAGES messages are counted only.
 */
#include "conf_tree.h"
#include "metric.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#define MESSAGE_MAX 1000 /* bytes */

METRIC_GAUGE(m_now, "configurations_now",
    "Configurations in memory: the one in force, and older ones that something still uses.");

void *conf_alloc(struct conf *c, size_t n)
{
	/* The pool has no bound of its own: the input has (files, entries). */
	return pool_try(&c->pool, n);
}

static char *vprint(struct conf *c, const char *fmt, va_list ap)
{
	va_list again;
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	size_t size = n < 0 ? 1 : (size_t)n + 1;
	char *s = conf_alloc(c, size);
	if (n >= 0)
		vsnprintf(s, size, fmt, ap);
	return s;
}

char *conf_printf(struct conf *c, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	char *s = vprint(c, fmt, ap);
	va_end(ap);
	return s;
}

struct conf *conf_new(void)
{
	struct conf *c = base_alloc(sizeof(*c));

	pool_init(&c->pool, SIZE_MAX);
	c->root.keyword = "";
	c->pack_fd = -1;
	m_now.value++;
	return c;
}

struct conf *conf_ref(struct conf *c)
{
	c->refs++;
	return c;
}

void conf_free(struct conf **cp)
{
	struct conf *c = *cp;

	*cp = NULL;
	if (!c || c->refs-- > 0)
		return;
	for (struct conf_file *f = c->files; f; f = f->next)
		free(f->text);
	if (c->pack_fd >= 0)
		close(c->pack_fd);
	pool_clear(&c->pool);
	free(c);
	m_now.value--;
}

struct conf_section *conf_root(struct conf *c)
{
	return &c->root;
}

const char *conf_dir(struct conf *c)
{
	return c->dir;
}

bool conf_has_file(const struct conf *c, const char *end)
{
	size_t len = strlen(end), n;

	for (const struct conf_file *f = c->files; f; f = f->next) {
		n = strlen(f->name);
		if (n >= len && strcmp(f->name + n - len, end) == 0 &&
		    (n == len || f->name[n - len - 1] == '/'))
			return true;
	}
	return false;
}

void conf_set_dir(struct conf *c, const char *dir)
{
	c->dir = conf_printf(c, "%s", dir);
}

/* ---- messages ---- */

static unsigned file_number(const struct conf *c, const char *name)
{
	for (const struct conf_file *f = c->files; f; f = f->next)
		if (f->name == name)
			return f->number;
	return 0;
}

static void add_message(struct conf *c, const struct conf_pos *pos, bool warning, char *text)
{
	/* A value may hold any byte by its escapes; a message is one line. */
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	struct conf_message m = {.warning = warning, .text = text};
	if (pos && pos->file) {
		m.pos = *pos;
		m.file = file_number(c, pos->file);
	}
	for (unsigned i = 0; i < c->nmsg; i++) {
		const struct conf_message *o = &c->msg[i];
		if (o->pos.file == m.pos.file && o->pos.line == m.pos.line &&
		    o->pos.col == m.pos.col && strcmp(o->text, text) == 0)
			return; /* said already: a file may be bound more than once */
	}
	if (warning)
		c->warnings++;
	else
		c->errors++;
	if (c->nmsg < CONF_MESSAGES)
		c->msg[c->nmsg++] = m;
}

/* Text of a message; a word of the file in it may be as long as the file. */
static char *message_text(struct conf *c, const char *fmt, va_list ap)
{
	char *s = vprint(c, fmt, ap);

	if (strlen(s) > MESSAGE_MAX)
		strcpy(s + MESSAGE_MAX - 3, "...");
	return s;
}

void conf_error(struct conf *c, const struct conf_pos *pos, const char *fmt, ...)
{
	if (c->nmsg == CONF_MESSAGES) { /* keeps nothing of a flood */
		c->errors++;
		return;
	}
	va_list ap;
	va_start(ap, fmt);
	add_message(c, pos, false, message_text(c, fmt, ap));
	va_end(ap);
}

void conf_warn(struct conf *c, const struct conf_pos *pos, const char *fmt, ...)
{
	if (c->nmsg == CONF_MESSAGES) {
		c->warnings++;
		return;
	}
	va_list ap;
	va_start(ap, fmt);
	add_message(c, pos, true, message_text(c, fmt, ap));
	va_end(ap);
}

unsigned conf_errors(struct conf *c)
{
	return c->errors;
}

unsigned conf_warnings(struct conf *c)
{
	return c->warnings;
}

/* The source line with a caret below; a long line is cut around the column. */
static void show_line(FILE *out, const struct conf *c, const struct conf_pos *pos)
{
	enum { BEFORE = 70, WIDTH = 140 };
	const struct conf_file *f = c->files;
	while (f && f->name != pos->file)
		f = f->next;
	if (!f || pos->line < 1)
		return;
	const char *s = f->text;
	for (int line = 1; line < pos->line && s; line++)
		s = (s = strchr(s, '\n')) ? s + 1 : NULL;
	if (!s)
		return;
	size_t len = strcspn(s, "\n");
	while (len && s[len - 1] == '\r')
		len--;
	size_t at = 0; /* bytes before the column */
	for (int col = 1; at < len; at++) {
		if (((unsigned char)s[at] & 0xc0) != 0x80 && col++ == pos->col)
			break;
	}
	size_t from = at > BEFORE ? at - BEFORE : 0;
	size_t to = len - from > WIDTH ? from + WIDTH : len;
	while (from > 0 && ((unsigned char)s[from] & 0xc0) == 0x80)
		from--;
	while (to < len && ((unsigned char)s[to] & 0xc0) == 0x80)
		to--;
	fprintf(out, "%s%.*s%s\n%s", from ? "..." : "", (int)(to - from), s + from,
	    to < len ? "..." : "", from ? "   " : "");
	for (size_t i = from; i < at; i++) {
		if (((unsigned char)s[i] & 0xc0) != 0x80)
			fputc(s[i] == '\t' ? '\t' : ' ', out);
	}
	fputs("^\n", out);
}

static int by_place(const void *av, const void *bv)
{
	const struct conf_message *a = *(const struct conf_message *const *)av;
	const struct conf_message *b = *(const struct conf_message *const *)bv;
	if (a->file != b->file)
		return a->file < b->file ? -1 : 1;
	if (a->pos.line != b->pos.line)
		return a->pos.line < b->pos.line ? -1 : 1;
	if (a->pos.col != b->pos.col)
		return a->pos.col < b->pos.col ? -1 : 1;
	return a < b ? -1 : a > b;
}

void conf_report(struct conf *c, void *stdio_file)
{
	FILE *out = stdio_file;
	const struct conf_message *order[CONF_MESSAGES];
	for (unsigned i = 0; i < c->nmsg; i++)
		order[i] = &c->msg[i];
	qsort(order, c->nmsg, sizeof(order[0]), by_place);
	for (unsigned i = 0; i < c->nmsg; i++) {
		const struct conf_message *m = order[i];
		if (m->pos.file && m->pos.line > 0)
			fprintf(out, "%s:%d:%d: ", m->pos.file, m->pos.line, m->pos.col);
		else if (m->pos.file)
			fprintf(out, "%s: ", m->pos.file);
		else if (c->files)
			fprintf(out, "%s: ", c->files->name);
		fprintf(out, "%s%s\n", m->warning ? "warning: " : "", m->text);
		if (m->pos.file)
			show_line(out, c, &m->pos);
	}
	unsigned more = c->errors + c->warnings - c->nmsg;
	if (more)
		fprintf(out, "%u more messages are not shown; mend these first\n", more);
}

/* ---- names ---- */

/* Edit distance with neighbours swapped as one step; words are cut at 63 bytes. */
static unsigned distance(const char *a, const char *b)
{
	enum { MAX = 63 };
	size_t na = strnlen(a, MAX), nb = strnlen(b, MAX);
	unsigned row[3][MAX + 1];
	unsigned *before = row[0], *last = row[1], *now = row[2];
	for (size_t j = 0; j <= nb; j++)
		last[j] = (unsigned)j;
	for (size_t i = 1; i <= na; i++) {
		now[0] = (unsigned)i;
		for (size_t j = 1; j <= nb; j++) {
			int ca = tolower((unsigned char)a[i - 1]);
			int cb = tolower((unsigned char)b[j - 1]);
			unsigned d = last[j - 1] + (ca != cb);
			if (last[j] + 1 < d)
				d = last[j] + 1;
			if (now[j - 1] + 1 < d)
				d = now[j - 1] + 1;
			if (i > 1 && j > 1 && ca == tolower((unsigned char)b[j - 2]) &&
			    cb == tolower((unsigned char)a[i - 2]) && before[j - 2] + 1 < d)
				d = before[j - 2] + 1;
			now[j] = d;
		}
		unsigned *swap = before;
		before = last;
		last = now;
		now = swap;
	}
	return last[nb];
}

const char *conf_nearest(const char *word, const char *const *names, size_t n)
{
	const char *best = NULL;
	/* A third of the word may differ, but a short word not wholly. */
	unsigned near = (unsigned)(strlen(word) + 2) / 3 + 1;
	for (size_t i = 0; i < n; i++) {
		unsigned d = names[i] ? distance(word, names[i]) : near;
		if (d < near && d < strlen(word)) {
			near = d;
			best = names[i];
		}
	}
	return best;
}

/* ---- look-up ---- */

struct conf_option *conf_find(struct conf_section *s, const char *name)
{
	for (struct conf_option *o = s ? s->options : NULL; o; o = o->next)
		if (strcasecmp(o->name, name) == 0)
			return o;
	return NULL;
}

struct conf_section *conf_sub(struct conf_section *s, const char *keyword, const char *name)
{
	for (struct conf_section *t = s ? s->sections : NULL; t; t = t->next) {
		if (strcasecmp(t->keyword, keyword) != 0)
			continue;
		if (name ? t->name && strcmp(t->name, name) == 0 : !t->name)
			return t;
	}
	return NULL;
}

bool conf_bare(unsigned char ch)
{
	return isalnum(ch) || (ch && strchr("_-./:+@*%", ch));
}

void conf_quote(const char *text, void *stdio_file)
{
	FILE *out = stdio_file;
	bool bare = *text != 0;
	for (const char *p = text; *p; p++)
		bare = bare && conf_bare((unsigned char)*p);
	if (bare) {
		fputs(text, out);
		return;
	}
	fputc('"', out);
	for (const char *p = text; *p; p++) {
		unsigned char ch = (unsigned char)*p;
		if (ch == '"' || ch == '\\')
			fprintf(out, "\\%c", ch);
		else if (ch == '\n')
			fputs("\\n", out);
		else if (ch == '\t')
			fputs("\\t", out);
		else if (ch < 0x20 || ch == 0x7f)
			fprintf(out, "\\%03o", ch);
		else
			fputc(ch, out);
	}
	fputc('"', out);
}
