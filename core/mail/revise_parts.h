/* SPDX-License-Identifier: BSD-2-Clause */
/* revise_parts.h -- what the files of revise.h share. */
#ifndef META1_MAIL_REVISE_PARTS_H
#define META1_MAIL_REVISE_PARTS_H
#include "mail/revise.h"

/* ---- revise_fields.c: the message after some lists of edits ---- */
struct revise_field {
	const char *text; /* with its CRLF; may be several lines */
	size_t len, name; /* name: its length; 0: no field, but something that stands there */
};

struct revise_state {
	struct revise_field *field;
	size_t nfield, room;
	struct meta1_extent *body; /* owned; behind the empty line */
	unsigned nbody;
	bool empty_line; /* there is one */
	bool changed;	 /* the content */
};

void revise_put_field(struct revise_state *, size_t at, struct revise_field);
void revise_cut_field(struct revise_state *, size_t at);
/* Header lines, without the empty line behind them. */
void revise_split(struct revise_state *, const char *text, size_t len);
size_t revise_count_lines(const char *text, size_t len);
/* The index-th of that name, from 1. */
bool revise_find_field(
    const struct revise_state *, struct meta1_buf name, uint32_t index, size_t *at);

/* ---- revise_env.c: the envelope after some lists of edits ---- */
struct revise_env {
	struct meta1_pm_edit *edit; /* of all lists */
	unsigned nedit;
	struct meta1_buf *rcpt;
	uint32_t nrcpt;
	struct meta1_buf from;
	unsigned room;
};
void revise_env_free(struct revise_env *);
/* The envelope edits of a list, made to a copy. <0: err names the edit; there is no copy. */
int revise_env_next(const struct revise_env *, const struct meta1_pm_edit *, unsigned n,
    struct revise_env *out, struct meta1_err *);
bool revise_env_any(const struct meta1_pm_edit *, unsigned n); /* the list has such an edit */
struct revise_env *revise_env_of(struct revise *);
const struct revise_env *revise_env_is(const struct revise *);

/* ---- revise_job.c: what was read for a list ---- */
#define REVISE_OF_MAIL UINT32_MAX /* the header of the mail itself */
struct revise_content {
	uint32_t of; /* index of the edit */
	const struct meta1_extent *extent;
	uint32_t n;
	char *head; /* of a whole message, and of the mail: its first bytes; or NULL */
	size_t nhead;
};
/* NULL: there is none for this edit. */
struct revise_content *revise_job_content(struct revise_job *, uint32_t of);
const char *revise_job_error(const struct revise_job *, uint32_t *of);		  /* NULL: none */
struct revise_job *revise_job_next(struct revise_job *, struct revise_job *next); /* makes a list */
/* The mail, of which the header is yet to be read; NULL: it was. */
const struct meta1_pm_message *revise_unread(const struct revise *);

#endif
