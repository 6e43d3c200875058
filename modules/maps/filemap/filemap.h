/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * filemap.h -- a map whose content is lines of text, held whole in memory; compiled into the maps
 * that are so (text, regex, cidr). Such a module is a table made from lines, and a way to find in
 * it.
 *
 * The lines come from a file or stand in the configuration. A file is read at open, where any bad
 * line stops the start, and again when it changed (newer.c), where bad lines are logged and the
 * old content stays. It is read when it was left alone for a second, so that one which is
 * written in place is not taken by half; better write anew and rename.
 */
#ifndef MAP_FILEMAP_H
#define MAP_FILEMAP_H
#include "lines.h"

#include <meta1/map.h>

struct filemap_conf { /* the options of all of them */
	const char *file;
	const char *const *rows;
};
#define FILEMAP_OPTIONS(what)                                                                      \
	META1_OPT_PATH(struct filemap_conf, file, NULL, 0,                                         \
	    "Text file with " what "; # comments. Read again when changed."),                      \
	    META1_OPT_LIST(                                                                        \
		struct filemap_conf, rows, "", 0, "The same lines, in place of a file.")

struct filemap_found {
	struct meta1_buf val; /* valid until the next call */
	const char *why;      /* of META1_TEMPFAIL */
};
struct filemap_ops {
	/* Takes all lines; may sleep. The text they point into lives as long as the table. Bad
	 * lines go to lines_bad(). NULL: err, only for what is not about one line. */
	void *(*make)(struct lines *, struct meta1_err *);
	void (*drop)(void *table);
	unsigned (*count)(const void *table);
	/* OK, NOTFOUND or TEMPFAIL; on the loop thread. */
	enum meta1_status (*find)(void *table, struct meta1_buf key, struct filemap_found *);
};

/* The parts of a module, with ops of its own. */
int filemap_check(const void *conf, struct meta1_err *);
int filemap_open(const struct filemap_ops *, const struct meta1_host *, struct meta1_ctx *,
    const void *conf, void **inst, struct meta1_err *);
enum meta1_status filemap_find(void *inst, struct meta1_buf key, struct meta1_reply *);
void filemap_close(void *inst);

#endif
