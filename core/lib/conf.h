/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conf.h -- the configuration language: files into a tree of sections and values
 * with positions; includes; all errors gathered, each shown as
 *	FILE:LINE:COLUMN: message
 *	the line
 *	    ^
 * Nothing here knows an option; opt.h binds the tree to records, settings.h
 * holds the core's records.
 */
#ifndef META1_CONF_H
#define META1_CONF_H
#include "base.h"

struct conf_pos {
	const char *file; /* as opened; lives as long as the conf */
	int line, col;	  /* from 1 */
};
struct conf_value {
	const char *text; /* unquoted, escapes resolved */
	struct conf_pos pos;
	struct conf_value *next;
};
struct conf_option {
	const char *name; /* as written */
	struct conf_pos pos;
	struct conf_value *values; /* list or single; in order */
	bool is_list;
	bool used;	    /* set by the binder; what stays unused is an unknown option */
	bool bound, secret; /* set by the binder: there is a record, and it says secret */
	unsigned block;	    /* which pair of braces of its section it stood in */
	struct conf_option *next;
};
struct conf_section {
	const char *keyword; /* as written; compared without case */
	const char *name;    /* or NULL */
	struct conf_pos pos; /* of its first occurrence */
	struct conf_option *options;
	struct conf_section *sections; /* in file order; same keyword and name are merged */
	struct conf_section *next, *parent;
	bool used;
};
struct conf; /* the tree, its memory and its errors */

/* Reads file and what it includes. Always returns a conf; conf_errors() > 0 when bad. */
struct conf *conf_read(const char *file);
/* What was read, for another process to read again: a descriptor that lives as long as the conf.
 * -1: there is no memory for it. */
int conf_pack(struct conf *);
/* Reads file from such a descriptor, which stays the caller's; when it has it not, as above. */
struct conf *conf_read_packed(int fd, const char *file);
struct conf *conf_read_text(const char *name, const char *text); /* tests, defaults */
/* A value of a map: no includes, since whoever writes it is not who writes the configuration. */
struct conf *conf_read_row(const char *name, const char *text);
/* One more who uses it; conf_free() gives one back. One thread only. */
struct conf *conf_ref(struct conf *);
void conf_free(struct conf **);
struct conf_section *conf_root(struct conf *); /* keyword "" */
/* One of the files that were read has a name that ends so, behind a slash or whole. */
bool conf_has_file(const struct conf *, const char *end);
const char *conf_dir(struct conf *);		/* folder of the first file, absolute */
void conf_set_dir(struct conf *, const char *); /* of a text that stood elsewhere */
void *conf_alloc(struct conf *, size_t);	/* zeroed; lives as long as the conf */
char *conf_printf(struct conf *, const char *fmt, ...) PRINTF(2, 3);

/* Errors and warnings (a warning does not count as an error). */
void conf_error(struct conf *, const struct conf_pos *, const char *fmt, ...) PRINTF(3, 4);
void conf_warn(struct conf *, const struct conf_pos *, const char *fmt, ...) PRINTF(3, 4);
unsigned conf_errors(struct conf *);
unsigned conf_warnings(struct conf *);
void conf_report(struct conf *, void *stdio_file); /* all, in order of file and line */

/* The nearest of names by edit distance, or NULL when none is near. */
const char *conf_nearest(const char *word, const char *const *names, size_t n);

/* Writes text as a value: bare when it may be, else quoted with escapes. */
void conf_quote(const char *text, void *stdio_file);

struct conf_option *conf_find(struct conf_section *, const char *name);
struct conf_section *conf_sub(struct conf_section *, const char *keyword, const char *name);

#endif
