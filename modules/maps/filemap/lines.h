/* SPDX-License-Identifier: BSD-2-Clause */
/* lines.h -- a text file, or rows of the configuration, line by line; the bad ones are all named.
 */
#ifndef MAP_LINES_H
#define MAP_LINES_H
#include <meta1/module.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>

#define LINES_BYTES (64u << 20)
#define LINES_SAID  20 /* bad lines told one by one */

struct lines {
	const char *file; /* or what stands for it in messages */
	char *text;	  /* slices of lines point into it; whoever made the lines frees it */
	char *at, *end;
	unsigned line, bad; /* number of the line that lines_next() gave */
	struct stat st;	    /* of the file when it was read */
	void (*tell)(void *arg, const char *text);
	void *arg;
};

/* Reads the file whole; may sleep. <0: err says why, nothing is held. */
int lines_file(struct lines *, const char *file, struct meta1_err *);
/* The same from rows that a NULL ends. */
int lines_rows(struct lines *, const char *const *rows, struct meta1_err *);
/* The next line without its '\n'. It may be changed in place. */
bool lines_next(struct lines *, char **line, size_t *len);
/* Names a bad line: tell() hears of the first LINES_SAID. */
void lines_bad(struct lines *, unsigned line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* All were looked at. <0: some were bad, err says how many. */
int lines_judge(struct lines *, struct meta1_err *);

#endif
