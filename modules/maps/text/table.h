/* SPDX-License-Identifier: BSD-2-Clause */
/* table.h -- a text file read whole into a hash table; from map_text.c. */
#ifndef MAP_TEXT_TABLE_H
#define MAP_TEXT_TABLE_H
#include <meta1/module.h>
#include <stdio.h>
#include <sys/stat.h>

#define TABLE_BYTES (64u << 20)
#define TABLE_KEYS  1000000u
#define TABLE_SAID  20 /* bad lines told one by one */

struct table_row {
	struct meta1_buf key, val;
	unsigned line;
};
struct table {
	char *text; /* rows point into it */
	struct table_row *row;
	uint32_t *slot; /* index into row plus 1; 0: empty */
	uint32_t nrow, mask, bad;
	struct stat st; /* of the file when it was read */
};
/*
 * Reads the file; may sleep. Each bad line goes to bad() (at most TABLE_SAID of them, then how
 * many more there are). NULL: err says how many lines are bad or why it could not be read.
 */
struct table *table_read(
    const char *file, void (*bad)(void *arg, const char *text), void *arg, struct meta1_err *err);
void table_free(struct table **);
/* NULL: not there. */
const struct table_row *table_find(const struct table *, struct meta1_buf key);

#endif
