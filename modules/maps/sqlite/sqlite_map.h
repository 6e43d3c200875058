/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sqlite_map.h -- the parts of map_sqlite: map_sqlite.c keeps the questions, query.c has the file
 * and the statement.
 *
 * A query may take as long as it likes, so all of it is done on a worker thread, a batch at a
 * time: what is asked meanwhile is the next batch. Only one thread has the file at a time.
 */
#ifndef MAP_SQLITE_H
#define MAP_SQLITE_H
#include "../values/values.h"

#include <meta1/map.h>
#include <sqlite3.h>
#include <sys/stat.h>

struct sqlite_conf {
	const char *file, *query;
	int64_t timeout, ttl;
};

/* ---- query.c ---- */
struct sqlite_db {
	sqlite3 *db;
	sqlite3_stmt *stmt;
	int64_t until; /* monotonic ms: the look-up under way ends */
};
int64_t sqlite_clock(void); /* monotonic ms, any thread */
/* What no file is needed for: one statement with one parameter is seen when it is opened. <0: err.
 */
int sqlite_db_open(
    struct sqlite_db **, const struct sqlite_conf *, struct stat *, struct meta1_err *);
void sqlite_db_close(struct sqlite_db **);
/* OK with values, NOTFOUND, or TEMPFAIL with why. Sleeps, until the time at most. */
enum meta1_status sqlite_db_find(struct sqlite_db *, struct meta1_buf key, int64_t until,
    struct values *, char *why, size_t size);

#endif
