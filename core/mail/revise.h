/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * revise.h -- edits made to a message by policy filters: of a list all, or none.
 *
 * The message is extents in plain form (meta1/pmilter.h); what it points to, and what edits point
 * to, stays until the end. Fields and a body that nobody edited are the extents in which they came;
 * a new body is copied only where its line ends must be mended.
 */
#ifndef META1_MAIL_REVISE_H
#define META1_MAIL_REVISE_H
#include "lib/base.h"

#include <meta1/pmilter.h>

#define REVISE_WORK_MAX	  50000000u    /* edits of a list times fields of the mail */
#define REVISE_EDITS_MAX  4096	       /* in a list */
#define REVISE_FIELDS_MAX 20000	       /* of a header that is edited */
#define REVISE_HEADER_MAX (4u << 20)   /* bytes of it */
#define REVISE_MENDED_MAX (256u << 20) /* bytes of a body whose line ends are mended */

struct revise;
struct revise *revise_new(const struct meta1_pm_message *);
void revise_free(struct revise **); /* NULL is none */
/* <0: err says which edit is wrong, and nothing has changed. */
int revise_apply(struct revise *, const struct meta1_pm_edit *, unsigned n, struct meta1_err *);
/* As it stands; until the next revise_apply() or the end. */
const struct meta1_pm_message *revise_message(struct revise *);
bool revise_changed(const struct revise *); /* the content */
/* ADD_RCPT, DEL_RCPT, SENDER of all lists so far, in their order. */
const struct meta1_pm_edit *revise_envelope(const struct revise *, unsigned *n);

/* ---- revise_text.c ---- */
/* One field with its CRLF, as it goes into a header; the caller's. NULL: the name is none. */
char *revise_field(struct meta1_buf name, struct meta1_buf value, bool leading_space, size_t *len);
/* Extents whose every line ends with CRLF: as they are, or mended in new memory, *mem, which is the
 * caller's, and *len long. <0: an extent is none, or cannot be read. *mem NULL: nothing to mend. */
int revise_lines(
    const struct meta1_extent *, unsigned n, char **mem, size_t *len, struct meta1_err *);
/* The first len bytes of extents, the caller's; NULL: there are not as many, or it cannot be read.
 */
char *revise_read(const struct meta1_extent *, unsigned n, size_t len, struct meta1_err *);

#endif
