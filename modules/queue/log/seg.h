/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * seg.h -- what stands in a segment, and what of it leaves for other processes: places, batches,
 * records, references, notices. Pure.
 */
#ifndef QUEUE_LOG_SEG_H
#define QUEUE_LOG_SEG_H
#include "../common/common.h"

#define LOG_ALIGN     4096u /* batches and frames start here: none shares a block */
#define LOG_QM	      QUEUE_QM
#define LOG_NRCPT_MAX (1u << 20)

/* ---- seg.c: what a segment looks like (pure) ---- */
struct pos { /* of a message in the log of a writer; its next one when idx is 0 */
	uint64_t seg, off;
	uint32_t idx, pad;
};
int pos_cmp(struct pos, struct pos);

#define SEG_MAGIC   0x31484354424d314dULL /* "M1MBTCH1" */
#define SEG_VERSION 2u
#define SEG_HEAD    128u /* the header's room; the table follows */
struct seg_head {	 /* native byte order: a foreign one fails the magic */
	uint64_t magic;
	uint32_t version, nmsg;
	uint64_t seg, off, batch;    /* where it stands; number in the segment */
	uint64_t table_len, len;     /* len: whole batch, a multiple of LOG_ALIGN */
	uint64_t prev_seg, prev_off; /* all before this was durable; 0: first of a life */
	uint64_t life, count;	     /* of the writer; messages of this life before the batch */
	uint64_t table_sum, sum;     /* seeded with seg */
};
struct seg_rec { /* an envelope in the table; strings follow, padded to 8 */
	uint32_t len, flags;
	uint64_t coff, clen, csum; /* coff from the batch's start; csum sealed with seg */
	uint64_t unit;		   /* number of the own file, or 0; csum is sealed with it then */
	uint64_t bytes;
	int64_t time;
	uint32_t nrcpt;
	uint16_t idlen, fromlen, clientlen, envidlen;
	uint32_t ndsn;	  /* recipients with a seg_dsn; these follow the recipients and the envid */
	uint32_t uwriter; /* in whose folder the own file is */
	uint32_t kind;	  /* SEG_COPY or 0 */
	uint32_t nalias;  /* recipients with a seg_alias; these follow */
};
#define SEG_COPY 1u /* made by compaction: where it came from stands at the end */
struct seg_origin { /* a copy counts when the journal says "moved", or its origin is gone */
	uint64_t seg, off;
	uint32_t writer, idx;
};
struct seg_dsn { /* of RFC 3461; the orcpt follows */
	uint32_t rcpt;
	uint16_t notify, orcptlen;
};
struct seg_alias { /* of a recipient that an alias stands for; sender and alias follow */
	uint32_t rcpt;
	uint16_t flags, senderlen, aliaslen, pad;
};
struct seg_msg { /* a record, taken apart; points into it */
	struct seg_rec r;
	char id[META1_ID_MAX];
	struct meta1_buf from, client, envid, hold;
	const uint8_t *rcpts, *dsns, *aliases;
	struct seg_origin origin; /* of a copy */
};
uint64_t seg_align(uint64_t);
uint64_t seg_sum(uint64_t seg, const void *, size_t);
uint64_t seg_seal(uint64_t sum, uint64_t unit); /* binds a content's sum to its file */
size_t seg_rec_size(const char *id, const struct meta1_env *); /* 0: cannot be stored */
void seg_rec_encode(uint8_t *, size_t len, const char *id, const struct meta1_env *);
int seg_rec_decode(const uint8_t *, size_t avail, struct seg_msg *); /* <0: malformed */
void seg_rcpts(const struct seg_msg *, struct meta1_qrcpt *);
struct meta1_env seg_env(const struct seg_msg *, const struct meta1_qrcpt *);
/* The record rec of m as that of a copy: its length; out NULL: nothing is written. */
size_t seg_copy(
    const struct seg_msg *m, const uint8_t *rec, const struct seg_origin *, uint8_t *out);
void seg_head_seal(struct seg_head *, const void *table);
bool seg_head_ok(const struct seg_head *, uint64_t seg, uint64_t off);
/* Of a header that is not good: it was to be one of this place, and is none of an earlier use. */
bool seg_head_broken(const struct seg_head *, uint64_t seg, uint64_t off);
void seg_name(char out[24], char kind, uint64_t number); /* s segment, x spare, b big */
char seg_parse(const char *name, uint64_t *number);	 /* its kind, or 0 */

/* What leaves for other processes. */
struct log_ref {
	uint32_t writer, idx;
	uint64_t seg, boff;	 /* key of the message: segment, batch, index */
	uint64_t coff, len, sum; /* content: offset in the segment, sealed sum */
	uint64_t unit;		 /* own file, or 0 */
	uint32_t uwriter, pad;	 /* in whose folder */
};
#define NOTICE_MESSAGE 0x314e514du
#define NOTICE_TAIL    0x3154514du
struct log_notice {
	uint32_t kind, writer;
	uint64_t life;		       /* numbers below this are of earlier lives */
	uint64_t seg, off, next;       /* batch; next: offset behind it */
	uint64_t prev_seg, prev_off;   /* end of the batch before */
	uint32_t idx, nmsg;	       /* message in the batch */
	uint64_t coff, len, sum, unit; /* of the ref */
	uint64_t count;		       /* messages of this life before the batch */
};
void seg_ref(struct meta1_ref *, const struct log_ref *);
int seg_unref(const struct meta1_ref *, struct log_ref *); /* <0: not ours */
int seg_notice(struct meta1_buf, struct log_notice *);
struct pos seg_before(const struct log_notice *);
struct pos seg_after(const struct log_notice *);

#endif
