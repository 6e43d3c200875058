/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ledger.h -- what was promised up to a cut, and the judgement on what came back.
 *
 * The test's notes (R_NOTE): "S key nrcpt" with the content before its final dot is sent, "A key
 * id" when it was acknowledged, "T address" before the next hop says that it has it, "F address"
 * before it refuses one for ever, "X key" before an admin deletes it. Recipients are key.N@..., the
 * sender is f.key@..., so that a report is known by its recipient.
 */
#ifndef CRASH_LEDGER_H
#define CRASH_LEDGER_H
#include "record.h"

#include <stdbool.h>
#include <stddef.h>

#define RCPTS 8 /* of a message */

struct mail { /* stamps; 0: not yet */
	struct mail *next;
	char key[24], id[40];
	unsigned nrcpt, ndone;
	const unsigned char *body;
	size_t len;
	uint64_t sent, acked, deleted, done; /* done: surely on stable storage */
	uint64_t taken[RCPTS], refused[RCPTS], reported;
	int64_t taken_time[RCPTS], reported_time; /* the last time */
	uint32_t taken_by[RCPTS], reported_by;	  /* the manager of then */
};
struct logged { /* qmgr said that it is done; not yet surely on disk */
	struct logged *next;
	struct mail *m;
	uint32_t pid;
	unsigned writes, n; /* frames of the journal since; recipients */
};
struct ledger {
	struct mail *bucket[1024];
	struct logged *logged;
	const char *journal; /* where outcomes go: a prefix of paths */
	unsigned mails, acked, done;
	uint32_t manager;  /* who wrote the journal last */
	int64_t time;	   /* of the newest record */
	int64_t lag;	   /* ns: after so long an outcome must be on disk */
	struct said *said; /* ids that were acknowledged before the client noted it */
};
void ledger_note(struct ledger *, uint64_t stamp, const struct rec *);
void ledger_says(struct ledger *, uint64_t stamp, const struct rec *);
void ledger_wrote(struct ledger *, uint32_t pid);		   /* to the journal */
void ledger_synced(struct ledger *, uint64_t stamp, uint32_t pid); /* the journal */
void ledger_free(struct ledger *);

/* A message that the store brought back. */
struct found {
	char id[40], addr[RCPTS][80], from[80];
	unsigned nrcpt;
	bool waits[RCPTS];
	bool read;	     /* its content was asked for */
	unsigned char *body; /* NULL: it could not be read */
	size_t len;
};
/* false: why says what is wrong. */
bool ledger_judge(struct ledger *, const struct found *, size_t n, char *why, size_t size);
/* For a try with the whole server: a line a recipient, "must", "may" or "never". */
void ledger_expect(const struct ledger *);

#endif
