/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conf_tree.h -- what conf.c (tree, messages), conf_word.c (words) and conf_read.c
 * (grammar, files) share and nobody else includes.
 */
#ifndef META1_CONF_TREE_H
#define META1_CONF_TREE_H
#include "conf.h"
#include "pool.h"

#include <sys/types.h>

enum {
	CONF_FILE_MAX = 4 << 20, /* bytes of one file */
	CONF_FILES = 1000,	 /* files of one configuration */
	CONF_ENTRIES = 20000,	 /* options and sections of one configuration */
	CONF_NESTING = 16,
	CONF_INCLUDES = 8, /* includes inside includes */
	CONF_NO_INCLUDES,  /* of a text that may have none */
	CONF_MESSAGES = 100
};

struct conf_file {
	const char *name;
	char *text; /* with NUL; control bytes are blanks after they were reported */
	size_t len;
	unsigned number; /* in order of reading */
	struct conf_file *next;
};
struct conf_message {
	struct conf_pos pos;
	unsigned file; /* number */
	bool warning;
	const char *text;
};
struct conf {
	struct pool pool;
	unsigned refs; /* besides the first */
	struct conf_file *files, *last;
	unsigned nfiles, entries, blocks;
	bool full; /* CONF_ENTRIES was reached */
	struct conf_message msg[CONF_MESSAGES];
	unsigned nmsg, errors, warnings;
	struct conf_section root;
	const char *dir;
	int pack_fd;		    /* conf_pack.c; -1: none */
	struct conf_packed *packed; /* likewise; NULL: files are read from where they are */
};

enum kind { T_END, T_WORD, T_STRING, T_MARK, T_BAD };
struct token {
	enum kind kind;
	char mark; /* T_MARK: = { } ; , */
	const char *text;
	struct conf_pos pos;
};
struct reader { /* one a file being read */
	struct conf *c;
	const char *p, *end;
	struct conf_pos at;	/* of *p */
	struct conf_pos behind; /* where the last token ended */
	struct token t;		/* the next token, not yet taken */
	dev_t dev;
	ino_t ino;
	unsigned nesting, includes;
	struct reader *up; /* the file that includes this one */
};

/* conf_word.c: r->t becomes the next token. */
void conf_word_next(struct reader *);
bool conf_word_mark(const struct reader *, char mark); /* r->t is this mark */
bool conf_word_value(const struct reader *);	       /* r->t is a word or a text */
bool conf_word_take(struct reader *, char mark);       /* steps over this mark, if it is there */
const char *conf_word_found(struct reader *);	       /* r->t as messages name it */

/* conf_pack.c: the files come from fd, if it has them and file is the first; false: they do not.
 * Then: a copy of the text of one, or NULL; the one behind `after` of those that a pattern means.
 */
bool conf_unpack(struct conf *, int fd, const char *file);
char *conf_packed_text(const struct conf *, const char *name, size_t *len);
const char *conf_packed_next(const struct conf *, const char *pattern, const char *after);

/* conf.c: empty. */
struct conf *conf_new(void);

/* Bytes of a bare word: what names, numbers, paths and addresses are made of. */
bool conf_bare(unsigned char c);

#endif
