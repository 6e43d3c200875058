/* SPDX-License-Identifier: BSD-2-Clause */
/* secret.h -- files with secrets: keys, passwords, tokens. */
#ifndef META1_SECRET_H
#define META1_SECRET_H
#include "base.h"

/* It is for this account, and perhaps its group, to read; for nobody else to write. what: its
 * option, for the message. <0: err. */
int secret_rights(int fd, const char *what, const char *file, struct meta1_err *err);
/* The whole of such a file, with a NUL behind it. NULL: err. */
char *secret_read(
    const char *what, const char *file, size_t max, size_t *len, struct meta1_err *err);
void secret_wipe(char **p, size_t len); /* and frees it */

#endif
