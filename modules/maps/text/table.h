/* SPDX-License-Identifier: BSD-2-Clause */
/* table.h -- lines of text as a hash table; from map_text.c. */
#ifndef MAP_TEXT_TABLE_H
#define MAP_TEXT_TABLE_H
#include "../filemap/filemap.h"

#define TABLE_KEYS 1000000u

/* As struct filemap_ops has them. */
void *table_make(struct lines *, struct meta1_err *);
void table_drop(void *table);
unsigned table_count(const void *table);
enum meta1_status table_find(void *table, struct meta1_buf key, struct filemap_found *);

#endif
