/* SPDX-License-Identifier: BSD-2-Clause */
/* lmdb_map.h -- the two sides of map_lmdb: map_lmdb.c reads, create.c writes. */
#ifndef MAP_LMDB_H
#define MAP_LMDB_H
#include <meta1/map.h>

struct lmdb_conf {
	const char *file;
};

/* ---- create.c ---- */
int lmdb_create(const void *conf, struct meta1_mapsrc *, struct meta1_err *);

#endif
