/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * revise.h -- edits made to a message by policy filters: of a list all, or none.
 *
 *   revise.c         the message: its fields, its content, lists of edits made to it
 *   revise_fields.c  its header as a list of fields
 *   revise_env.c     the envelope: who gets it, who sends it
 *   revise_job.c     content that stands in files: read, and mended, before a list is made
 *   revise_text.c    what a filter gave as text, as it may stand in a message
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
#define REVISE_MENDED_MEM (64u << 10)  /* of these in memory, where they come from a file */

struct revise;
struct revise_job;
struct revise *revise_new(const struct meta1_pm_message *);
void revise_free(struct revise **); /* NULL is none */
/* <0: err says which edit is wrong, and nothing has changed. job: of this list; NULL: none was
 * wanted, or what it would do is done now. It is taken over, whatever comes of it. */
int revise_apply(struct revise *, const struct meta1_pm_edit *, unsigned n, struct revise_job **job,
    struct meta1_err *err);
/* As it stands; until the next revise_apply() or the end. */
const struct meta1_pm_message *revise_message(struct revise *);
bool revise_changed(const struct revise *); /* the content */
size_t revise_held(const struct revise *);  /* bytes of memory; NULL: 0 */

/* ---- revise_env.c ---- */
/* Who it is for and from, before the first list; both stay until the end. room: as many
 * recipients may be added. Without it nobody is known, and any number may be added. */
void revise_mail_is(struct revise *, const struct meta1_buf *rcpt, uint32_t nrcpt,
    struct meta1_buf from, unsigned room);
/* ADD_RCPT, DEL_RCPT, SENDER of all lists so far, in their order. */
const struct meta1_pm_edit *revise_envelope(const struct revise *, unsigned *n);
/* What came of them; until the next revise_apply() or the end. */
const struct meta1_buf *revise_rcpts(const struct revise *, uint32_t *n);
struct meta1_buf revise_sender(const struct revise *);
/* The same mailbox: in domains case does not count. */
bool revise_same_rcpt(struct meta1_buf, struct meta1_buf);
uint32_t revise_rcpt_hash(struct meta1_buf); /* the same for those; secret to a stranger */

/* ---- revise_job.c ---- */
/* What the list wants that stands in files. NULL: nothing, it can be made at once. Owns copies of
 * the descriptors, and of the memory between them: who gave the list may go away while it works.
 * folder: where mended content that is large is kept, in a file without a name. */
struct revise_job *revise_job_new(
    const struct revise *, const struct meta1_pm_edit *, unsigned n, const char *folder);
void revise_job_work(void *job);		    /* once, on any thread */
bool revise_job_no_room(const struct revise_job *); /* after it: we could not keep what it made */
size_t revise_job_held(const struct revise_job *);  /* bytes of memory */
void revise_job_free(struct revise_job **);	    /* NULL is none */

/* ---- revise_text.c ---- */
/* One field with its CRLF, as it goes into a header; the caller's. NULL: the name is none. */
char *revise_field(struct meta1_buf name, struct meta1_buf value, bool leading_space, size_t *len);
/* Content whose line ends were mended, in memory or in a file, the caller's. */
struct revise_mended {
	char *mem; /* NULL: in a file, or there was nothing to mend */
	size_t len;
	int fd;	     /* -1: in memory, or nothing */
	bool failed; /* it could not be kept */
};
/* Extents whose every line ends with CRLF: as they are, or mended. folder NULL: in memory, else in
 * a file there when it is large. <0: an extent is none, or cannot be read, or what was mended
 * cannot be kept. */
int revise_lines(const struct meta1_extent *, unsigned n, const char *folder,
    struct revise_mended *, struct meta1_err *err);
/* The first len bytes of extents, the caller's; NULL: there are not as many, or it cannot be read.
 */
char *revise_read(const struct meta1_extent *, unsigned n, size_t len, struct meta1_err *err);
/* Bytes of the header with its empty line, in text that is len long. */
size_t revise_header(const char *text, size_t len);

#endif
