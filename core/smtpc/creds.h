/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * creds.h -- who we are at next hops, in the order of use:
 *
 *   creds.c   the file with the credentials: rows, and the row for a hop
 *   token.c   a token from a file or a helper command, on a worker thread
 *   login.c   AUTH at a hop: the row's secret, a mechanism of the auth modules, word by word
 *
 * Secrets are in memory of smtpc alone, and never in a log line.
 */
#ifndef META1_CREDS_H
#define META1_CREDS_H
#include "lib/secret.h"
#include "mod/mod.h"

#include <meta1/auth.h>
#include <pthread.h>
#include <uthash.h>

#define CREDS_MAX     (4u << 20) /* bytes of the file */
#define CREDS_KEY_MAX 300	 /* "host:port", or a name */
#define TOKEN_MAX     8192	 /* bytes */

/* ---- creds.c ---- */

struct cred {
	UT_hash_handle hh;
	char *key; /* lower case; a row's own words point into the file */
	int line;
	const char *user, *act_as, *realm, *password, *token_file, *token_command;
	struct token_kept *kept; /* of the command's token, see token.c */
};
struct creds {
	char *file, *text;
	size_t len;
	struct cred *rows;
};
/* Reads the file; its rights are those of a key. NULL: err. */
struct creds *creds_new(const char *file, struct meta1_err *);
struct creds *creds_parse(const char *name, char *text, size_t len, struct meta1_err *);
void creds_free(struct creds **);
/* By the name of a row as it stands there; NULL: none. */
const struct cred *creds_named(const struct creds *, const char *key);
/* For a host: HOST:PORT, HOST, .PARENT and so on; NULL: none. */
const struct cred *creds_for(const struct creds *, const char *host, unsigned port);

/* ---- token.c ---- */

struct token_kept *token_kept_new(void);
void token_kept_free(struct token_kept **);
/* On a worker thread. The row's token, NUL behind it: of the file as it is now, or what the command
 * says, which is kept for keep_ms. NULL: err. */
char *token_get(
    const struct cred *, int64_t keep_ms, int64_t limit_ms, size_t *len, struct meta1_err *);
void token_bad(const struct cred *); /* the hop did not take it: the next one is asked for */

/* ---- login.c ---- */

struct logins; /* of one configuration: credentials, modules, what may be said when */
/* NULL: err. mods: auth modules in the order in which they are asked; taken. */
struct logins *logins_new(const struct set_login *, struct mod_inst **mods, unsigned n,
    struct loop *, struct work *, struct meta1_err *);
void logins_use(struct logins *);
void logins_drop(struct logins **);
/* The name of the row whose credentials a hop gets: by is a row's name, "" (by the hop; host NULL:
 * a unix socket, which has none) or "none". NULL: nobody's. Lives as long as logins. */
const char *logins_row(const struct logins *, const char *by, const char *host, unsigned port);
extern const struct mod_login logins_ops; /* arg: struct logins */

#endif
