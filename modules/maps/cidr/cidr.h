/* SPDX-License-Identifier: BSD-2-Clause */
/* cidr.h -- lines of networks as a table in which the longest prefix is found; from map_cidr.c. */
#ifndef MAP_CIDR_CIDR_H
#define MAP_CIDR_CIDR_H
#include "../filemap/filemap.h"

#define CIDR_ROWS 1000000u
#define CIDR_TAG  32 /* bytes of a word before a network, with its colon */

/* As struct filemap_ops has them. */
void *cidr_make(struct lines *, struct meta1_err *);
void cidr_drop(void *table);
unsigned cidr_count(const void *table);
enum meta1_status cidr_find(void *table, struct meta1_buf key, struct filemap_found *);

#endif
