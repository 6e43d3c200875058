/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * headers.h -- pmilter_headers: fields added, removed and set; addresses of envelope and header
 * rewritten by a file. In smtps' own process, without a connection.
 *
 *   pmilter_headers.c  the module: options, what is configured, the answer
 *   fields.c           the header as a list of fields
 *   edits.c            the edits that the options make of it
 *   address.c          addresses within a field's value
 *   rewrite.c          the file that says what an address becomes
 */
#ifndef PMILTER_HEADERS_H
#define PMILTER_HEADERS_H
#include "../common/fetch.h"
#include "../common/hold.h"

#include <meta1/pmilter.h>
#include <meta1/textline.h>

#define HEADER_MAX (1u << 20) /* bytes of a header that is looked at */
#define ANSWER_MAX (8u << 20) /* bytes of an answer */
#define FIELDS_MAX 20000
#define EDITS_MAX  4096 /* what the server takes of an answer */
#define ADDR_MAX   1000

struct conf {
	const char *const *remove, *const *add, *const *prepend, *const *set, *const *add_missing;
	const char *sender_file, *recipient_file;
	const char *const *sender_headers, *const *recipient_headers;
};

struct row {
	char *key, *val;
};

struct rewrite {
	struct row *row;
	size_t n;
};

struct headers;
struct field {
	const char *name, *value; /* value: what stands behind the colon, without the last CRLF */
	size_t nlen, vlen;
	uint32_t ordinal; /* among those of that name, from 1 */
	uint32_t same;	  /* the one before it in its bucket, + 1 */
};

struct sess {
	struct headers *h;
	const struct meta1_pm_about *about;
	/* while a header is read that lies in a file */
	struct meta1_req *req;
	struct fetch *fetch; /* NULL: none is */
	struct meta1_buf *rcpt;
	uint32_t nrcpt;
	struct hold hold;
	struct meta1_pm_verdict verdict;
	struct meta1_pm_edit *edit;
	uint32_t nedit, room;
	struct field *field;
	uint32_t nfield;
};

struct headers {
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
	const struct conf *conf;
	struct rewrite sender, recipient;
	struct sess none; /* of those that there was no memory for */
};

/* Memory of the answer; NULL: there is none. */
void *headers_keep(struct sess *, size_t);

/* ---- fields.c: NULL, or why not ---- */
/* The header is in memory; a copy is made. */
const char *fields_of(struct sess *, const struct meta1_pm_message *);
const char *fields_read(struct sess *, char *header, size_t); /* not copied */
/* Whatever its case; a * at the end stands for the rest. */
int fields_match(const struct field *, const char *pattern);

/* ---- edits.c ---- */
/* "Name: value", or what is wrong with it. */
const char *edits_check(const char *line);
/* When the fields are known. */
const char *edits_make(struct sess *, const struct meta1_buf *rcpt, uint32_t nrcpt);

/* ---- address.c ---- */
/* A value with its addresses rewritten, in the answer's memory; data NULL: nothing changed. <0: no
 * memory. */
int address_rewrite(
    struct sess *, const struct rewrite *, struct meta1_buf value, struct meta1_buf *out);

/* ---- rewrite.c ---- */
int rewrite_read(struct headers *, const char *file, struct rewrite *, struct meta1_err *);
void rewrite_free(struct headers *, struct rewrite *);
/* Length of what addr becomes, in out; 0: it stays. */
size_t rewrite_find(
    const struct headers *, const struct rewrite *, struct meta1_buf addr, char out[ADDR_MAX]);

#endif
