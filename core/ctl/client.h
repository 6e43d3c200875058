/* SPDX-License-Identifier: BSD-2-Clause */
/* client.h -- one request to a control socket, for the command-line tools. Blocking. */
#ifndef META1_CTL_CLIENT_H
#define META1_CTL_CLIENT_H
#include "lib/base.h"

#include <jansson.h>

/* One request with its body, or with none. The body of the answer (free it; NUL stands behind its
 * *got bytes), or NULL: err says what and what to do. status: the HTTP status, 0 when there was no
 * answer. Answers are bounded to 64 MiB, waits to 30 s. */
/* Nobody listens there: the role does not run. */
bool client_gone(const char *socket_path);
/* One line to mcp, and all that it answers; NULL: err. It may have to restart roles first. */
char *client_line(const char *socket_path, const char *line, struct meta1_err *);
char *client_call(const char *socket_path, const char *method, const char *target,
    struct meta1_buf body, int *status, size_t *got, struct meta1_err *);
/* Without a body, of an answer that is text. */
char *client_text(const char *socket_path, const char *method, const char *target, int *status,
    struct meta1_err *);
/* "error" of an answer that is not 200. */
void client_refusal(const char *answer, struct meta1_err *);
/* The same as JSON; an answer other than 200 is an error with its "error" text. */
json_t *client_json(
    const char *socket_path, const char *method, const char *target, struct meta1_err *);
/* For a terminal: control bytes become '?'. A role shows what clients and next hops wrote, and is
 * not as trusted as the admin who reads it. */
void client_clean(char *);

#endif
