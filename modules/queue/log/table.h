/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * table.h -- what the manager knows: messages that wait, and the segments and files they need.
 */
#ifndef QUEUE_LOG_TABLE_H
#define QUEUE_LOG_TABLE_H
#include "seg.h"

/* ---- table.c: what the manager knows of each waiting message and each unit ---- */
struct rst {			   /* a recipient that was tried */
	uint32_t next_try, reason; /* wall clock seconds; a text */
	uint16_t tries;
	uint8_t state, pad;
};
struct rsts {
	uint32_t n;
	struct rst v[];
};
struct unit {				    /* a segment or an own file */
	struct unit *hnext, *next, **prevp; /* chain; list of the dead */
	uint64_t number;
	uint32_t writer, live; /* messages that need it */
	uint32_t own;	       /* its number among own files, or 0 */
	uint32_t hold;	       /* others that do: compaction; a damaged place without a copy */
	uint64_t bytes;	       /* about what they take, envelopes too; compaction would keep it */
	bool closed, dead;
	bool told;	/* announced */
	bool file;	/* an own file */
	bool stuck;	/* cannot be compacted in this life */
	int64_t sparse; /* monotonic ms since when it is; 0: not */
	uint64_t nr;	/* journal record of its death: announced when durable */
};
/* A waiting message: 48 bytes, found by its number. A million of them may be here, so no
 * strings, no pointers to others, no allocation for one that has one recipient. */
struct mrec {
	uint64_t seg;
	union {
		struct rst one;	   /* nrcpt 1 */
		struct rsts *many; /* else; NULL: no recipient was tried */
	} st;
	uint32_t page; /* the batch's offset, in LOG_ALIGN */
	uint32_t hnext;
	uint32_t idx : 24, writer : 8;
	uint32_t own;				 /* own file (table_own), or 0 */
	uint32_t nrcpt : 21, used : 1, told : 1; /* nrcpt 0: only outcomes are known */
	uint32_t moved : 1; /* what stands there is no message: moved away, or an unused copy */
	uint32_t size : 8;  /* envelope and content in its segment; see table_size() */
	uint32_t nfinal : 21, life : 11; /* life: a number is used again, a key is not (soon) */
};
#define TABLE_CHUNK 4096u
struct table {
	struct mrec **chunk;
	size_t nchunk;
	uint32_t top, free; /* numbers given out, first is 1; chain of free ones */
	uint32_t *mh;
	struct unit **uh, **own;
	size_t mcap, mcount, ucap, ucount;
	uint32_t nown, own_free; /* as top and free; a free place holds nothing */
	struct unit *dead;
	size_t ndead, nsegs; /* nsegs: segments with messages that wait, bytes: theirs */
	uint64_t bytes;
	struct texts texts;
};
struct table *table_new(void);
void table_free(struct table **);
static inline struct mrec *table_at(const struct table *t, uint32_t i)
{
	return &t->chunk[i / TABLE_CHUNK][i % TABLE_CHUNK];
}
static inline uint64_t table_boff(const struct mrec *r)
{
	return (uint64_t)r->page * LOG_ALIGN;
}
/* Could a message be there? What a damaged journal says may be anything. */
bool table_fits(uint32_t writer, uint64_t boff, uint32_t idx);
/* Numbers of records; 0: none, or no memory. */
uint32_t table_find(
    const struct table *, uint32_t writer, uint64_t seg, uint64_t boff, uint32_t idx);
uint32_t table_add(struct table *, uint32_t writer, uint64_t seg, uint64_t boff, uint32_t idx);
/* What the manager's user calls it, for this life. 0 when it is gone. */
uint64_t table_key(const struct table *, uint32_t);
uint32_t table_by_key(const struct table *, uint64_t key);
/* Names its size and units; they are held for it from now on. false: no memory. len: of
 * envelope and content in its segment; own: number of the own file in the folder of ownw, or 0. */
bool table_admit(
    struct table *, uint32_t, uint32_t nrcpt, uint64_t len, uint32_t ownw, uint64_t own);
uint64_t table_size(const struct mrec *); /* len again, to 6 % */
void table_remove(struct table *, uint32_t);
/* It stands elsewhere from now on, under the same number and key. false: no memory. */
bool table_move(
    struct table *, uint32_t, uint32_t writer, uint64_t seg, uint64_t boff, uint32_t idx);
/* What stands there is passed over when it is read. false: no memory. */
bool table_void(struct table *, uint32_t writer, uint64_t seg, uint64_t boff, uint32_t idx);
struct unit *table_unit(struct table *, uint32_t writer, uint64_t number, bool make);
struct unit *table_own(const struct table *, const struct mrec *);
void table_dead(struct table *, struct unit *);
void table_forget(struct table *, struct unit **);

/* ---- table_rcpts.c: what is recorded of its recipients ---- */
/* Its envelope says how many there are; what was recorded of others goes. */
void table_expect(struct table *, struct mrec *, uint32_t nrcpt);
/* Takes an outcome; false: no memory or no such recipient. */
bool table_outcome(struct table *, uint32_t, uint32_t rcpt, uint32_t state, uint32_t tries,
    int64_t next_try, const void *reason, size_t len);
/* NULL: never tried. */
const struct rst *table_rst(const struct mrec *, uint32_t rcpt);
uint32_t table_nrst(const struct mrec *);
bool table_final(const struct mrec *);
/* Over what the envelope says of n recipients; they may be known before it is. */
void table_states(const struct table *, const struct mrec *, struct meta1_qrcpt *, uint32_t n);
void table_drop_rcpts(struct texts *, struct mrec *); /* with the message */

#endif
