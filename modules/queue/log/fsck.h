/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fsck.h -- what fsck.c (the folders) and fsck_state.c (journals, history, leftovers) share.
 */
#ifndef QUEUE_LOG_FSCK_H
#define QUEUE_LOG_FSCK_H
#include "log.h"

struct fmsg { /* a message that a record tells of */
	struct fmsg *next;
	struct pos at;
	uint32_t writer, nrcpt, nfinal;
	bool seen;     /* it stands in a segment */
	bool moved;    /* it counts elsewhere, or never counted */
	uint8_t *done; /* a byte a recipient, of more than one */
};
struct fseg { /* a segment that is there, or that the history tells of */
	struct fseg *next;
	uint64_t seg, life, begin, end;
	int64_t time;
	uint32_t writer;
	bool there, damaged, said; /* said: by a record */
	uint64_t known;		   /* messages of it that records tell of */
};
#define FSCK_SLOTS 65536u
struct fsck {
	struct check c;
	int qfd;
	bool enough; /* no more messages are wanted */
	struct replay p;
	uint8_t *seen;	 /* by number in the table */
	int64_t horizon; /* seconds: what was accepted before may be forgotten */
	struct fmsg *msg[FSCK_SLOTS];
	struct fseg *seg;
	uint64_t messages, highest[2]; /* highest number seen: in in/, in qm/ */
	struct {
		uint32_t writer;
		uint64_t number;
	} * unit; /* own files that are needed */
	size_t nunit;
	uint32_t writer; /* of the folder that is read */
	char name[48];	 /* of the segment */
};

/* ---- fsck_state.c ---- */
void fsck_records(struct fsck *);   /* history and journals: fates, messages, segments */
void fsck_history(struct fsck *);   /* are those of segments that are gone all known? */
void fsck_leftovers(struct fsck *); /* own files, quarantine, counters */
struct fmsg *fsck_msg(struct fsck *, uint32_t writer, struct pos, bool make);
struct fseg *fsck_seg(struct fsck *, uint32_t writer, uint64_t seg);
struct pos fsck_cursor(const struct fsck *, uint32_t writer);
void fsck_unit(struct fsck *, uint32_t writer, uint64_t number);
void fsck_number(struct fsck *, uint64_t);
void fsck_free(struct fsck *);

#endif
