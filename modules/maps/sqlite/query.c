/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * query.c -- an SQLite file, opened for reading only, and the one statement that is asked of it.
 * From map_sqlite.c, at open and on worker threads; to libsqlite3. Owns the file. The key is bound,
 * never a part of the statement. On failure: of the file or statement at open: err; of a
 * look-up: TEMPFAIL. What takes too long (a lock of a writer, a query without an index) is
 * ended at its time.
 */
#include "sqlite_map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STEPS	1000 /* of SQLite's machine between two looks at the clock */
#define LONGEST (4 << 20)
#define NAP_MS	5 /* between two tries of a file that a writer has locked */

int64_t sqlite_clock(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int overdue(void *arg)
{
	return sqlite_clock() >= ((struct sqlite_db *)arg)->until;
}

static int locked(void *arg, int times)
{
	(void)times;
	if (overdue(arg))
		return 0;
	sqlite3_sleep(NAP_MS);
	return 1;
}

void sqlite_db_close(struct sqlite_db **dp)
{
	struct sqlite_db *d = *dp;

	*dp = NULL;
	if (!d)
		return;
	sqlite3_finalize(d->stmt);
	sqlite3_close(d->db);
	free(d);
}

/* The file may come from elsewhere: nothing in its schema is run, nothing else is opened. */
static void harden(struct sqlite_db *d)
{
	sqlite3_db_config(d->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(d->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	sqlite3_limit(d->db, SQLITE_LIMIT_ATTACHED, 0);
	sqlite3_limit(d->db, SQLITE_LIMIT_LENGTH, LONGEST);
	sqlite3_busy_handler(d->db, locked, d);
	sqlite3_progress_handler(d->db, STEPS, overdue, d);
}

/* NULL: the statement is good; else why not. */
static const char *prepare(struct sqlite_db *d, const char *query)
{
	const char *rest = "";

	if (sqlite3_prepare_v3(d->db, query, -1, SQLITE_PREPARE_PERSISTENT, &d->stmt, &rest) !=
	    SQLITE_OK)
		return sqlite3_errmsg(d->db);
	if (!d->stmt || rest[strspn(rest, " \t\r\n;")] != '\0')
		return "expected one statement";
	if (!sqlite3_stmt_readonly(d->stmt) || sqlite3_column_count(d->stmt) == 0)
		return "expected a statement that only reads (SELECT)";
	if (sqlite3_bind_parameter_count(d->stmt) != 1)
		return "expected one parameter, which stands for the key: WHERE address = ? (?1 in "
		       "all places if there are several)";
	return NULL;
}

int sqlite_db_open(
    struct sqlite_db **dp, const struct sqlite_conf *c, struct stat *st, struct meta1_err *err)
{
	struct sqlite_db *d = calloc(1, sizeof(*d));
	const char *why;

	*dp = d;
	if (!d) {
		snprintf(err->text, sizeof(err->text), "no memory");
		return -1;
	}
	/* before it is opened: a version that comes between the two is then seen as a new one */
	if (stat(c->file, st) < 0)
		memset(st, 0, sizeof(*st));
	d->until = sqlite_clock() + c->timeout;
	if (sqlite3_open_v2(c->file, &d->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) !=
	    SQLITE_OK) {
		snprintf(err->text, sizeof(err->text), "%s: %s", c->file,
		    d->db ? sqlite3_errmsg(d->db) : "no memory");
		sqlite_db_close(dp);
		return -1;
	}
	harden(d);
	why = prepare(d, c->query);
	if (why) {
		snprintf(err->text, sizeof(err->text), "%s: query: %s", c->file, why);
		sqlite_db_close(dp);
		return -1;
	}
	return 0;
}

/* The columns of one row; a NULL is no value. */
static const char *take_row(sqlite3_stmt *s, struct values *v)
{
	const char *why = NULL;

	for (int i = 0; i < sqlite3_column_count(s) && !why; i++) {
		int type = sqlite3_column_type(s, i);
		const void *p;

		if (type == SQLITE_NULL)
			continue;
		p = type == SQLITE_BLOB ? sqlite3_column_blob(s, i)
					: (const void *)sqlite3_column_text(s, i);
		if (!p && type != SQLITE_BLOB)
			return "no memory";
		why = values_add(v, p, (size_t)sqlite3_column_bytes(s, i));
	}
	return why;
}

enum meta1_status sqlite_db_find(struct sqlite_db *d, struct meta1_buf key, int64_t until,
    struct values *v, char *why, size_t size)
{
	const char *bad = NULL;
	int rc;

	d->until = until;
	/* SQLITE_STATIC: the key lives until the statement is reset. No pointer would be NULL. */
	rc =
	    sqlite3_bind_text(d->stmt, 1, key.len > 0 ? key.data : "", (int)key.len, SQLITE_STATIC);
	if (rc == SQLITE_OK)
		while ((rc = sqlite3_step(d->stmt)) == SQLITE_ROW && !bad)
			bad = take_row(d->stmt, v);
	if (!bad && rc != SQLITE_DONE)
		bad = rc == SQLITE_INTERRUPT ? "the query takes too long"
		      : rc == SQLITE_BUSY    ? "the file is locked by a writer"
					     : sqlite3_errmsg(d->db);
	if (bad)
		snprintf(why, size, "%s", bad);
	sqlite3_reset(d->stmt);
	sqlite3_clear_bindings(d->stmt);
	if (bad)
		return META1_TEMPFAIL;
	return v->n > 0 ? META1_OK : META1_NOTFOUND;
}
