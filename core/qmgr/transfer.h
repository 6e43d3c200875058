/* SPDX-License-Identifier: BSD-2-Clause */
/* transfer.h -- what envelope.c and import.c share: an envelope between its JSON and the store. */
#ifndef META1_QMGR_TRANSFER_H
#define META1_QMGR_TRANSFER_H
#include "ctl/envelope.h"
#include "qmgr/filter.h"

#define QMGR_IMPORT_RCPTS  100000      /* of one message */
#define QMGR_IMPORT_MEMORY (16u << 20) /* of its envelope */

/* ---- value.c: single values; <0: err says what is expected ---- */
/* Printable, and no longer than max. */
int qmgr_value_text(const json_t *, size_t max, const char **, struct meta1_err *);
int qmgr_value_number(const json_t *, int64_t max, int64_t *, struct meta1_err *);
int qmgr_value_word(
    const json_t *, const struct envelope_word *, uint32_t *bit, struct meta1_err *);
/* A list of them; bits are added. */
int qmgr_value_words(
    const json_t *, const struct envelope_word *, uint32_t *bits, struct meta1_err *);
int qmgr_value_bool(const json_t *, bool *, struct meta1_err *);

struct qmgr_envelope {		  /* being read */
	struct meta1_env env;	  /* complete but for nrcpt, rcpt, bytes and what content.c says */
	struct meta1_qrcpt *rcpt; /* those that wait */
	uint32_t nrcpt, cap;
	uint32_t seen; /* with those that do not wait */
	int64_t size;  /* as said; <0: nothing was */
	char was[META1_ID_MAX];
	struct qmgr_text_kept *texts;
	size_t memory;
};
/* The object, without recipients. <0: err names the field. */
int qmgr_envelope_read(struct qmgr_envelope *, const json_t *, struct meta1_err *);
/* The next recipients, a list. <0: err names the recipient and the field. */
int qmgr_envelope_rcpts(struct qmgr_envelope *, const json_t *, int64_t uid, struct meta1_err *);
void qmgr_envelope_free(struct qmgr_envelope *);
/* The other way; of the recipients n from the first on. */
json_t *qmgr_envelope_notify(const struct qmgr_rcpt *); /* a list of words, RFC 3461 */
const char *qmgr_envelope_ret(const struct qmgr_msg *); /* "full", "hdrs" or "" */
json_t *qmgr_envelope_json(struct qmgr *, const struct qmgr_msg *, uint32_t first, uint32_t n);
#endif
