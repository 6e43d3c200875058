/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue.h -- what the queue suites share: one store seen by its three roles, and a
 * ledger of what it was told and told us.
 *
 * A store that lives in one process (META1_Q_PRIVATE) has one instance for all faces; any
 * other one is opened as smtps, qmgr and smtpc open it, on the same folder.
 */
#ifndef META1_KIT_QUEUE_H
#define META1_KIT_QUEUE_H
#include "kit.h"

#include <meta1/queue.h>
#include <meta1/transport.h>
#include <sys/types.h>

#define Q_MAX 4096 /* messages of a test */

struct q_entry { /* told by entry() */
	char id[META1_ID_MAX];
	struct meta1_ref ref;
	uint64_t key;
	uint64_t bytes_stored;
	unsigned asked; /* moved() came */
	uint32_t nrcpt, state[4], tries[4];
	int64_t next_try[4];
	char reason[4][32];
	uint32_t notify[4];
	char orcpt[4][32], envid[32], hold[32];
	uint32_t flags[4];
	char sender[4][32], alias[4][32];
};
struct q {
	struct kit *k;
	const struct meta1_queue_ops *ops;
	struct kit_inst *w, *m, *r; /* writer, manager, reader; may be one */
	char dir[128];
	struct q_entry e[Q_MAX];
	unsigned n;		       /* entries told in this life */
	unsigned twice, space, damage; /* ids told again in one life; events */
	struct q_entry *got;	       /* what loaded() told: room for Q_MAX, or NULL */
	unsigned ngot, nnone, nlost;   /* told; gone; not to be read */
	unsigned moved, strange;       /* messages moved; unknown ones, or named wrongly */
	struct {		       /* space(): for reclaim() */
		uint32_t writer;
		uint64_t unit;
	} unit[Q_MAX];
};
struct q_note { /* what smtps would send to qmgr */
	uint8_t b[META1_NOTICE_MAX];
	size_t len;
};

/* Opens the faces named by which ("wmr") on dir. Life begins: the ledger is empty. */
int q_open(struct q *, struct kit *, const char *dir, const char *which);
/* Ends it; orderly: with drain, like a stop; else as far as a close allows like a kill. */
void q_close(struct q *);
bool q_manage(struct q *);
/* Turns and moves the clock until a is told; false when the patience is over. */
bool q_wait(struct q *, struct kit_answer *);
void q_turn(struct q *);
/* Until n entries were told; likewise. */
bool q_until(struct q *, unsigned n);
/* Was the envelope of number i told as it was stored, with what RFC 3461 adds? */
bool q_same_envelope(const struct q_entry *, unsigned i);
/* Number i: its id, its content of len bytes, one recipient (three when i % 3 == 0). */
void q_id(unsigned i, char id[META1_ID_MAX]);
void q_fill(unsigned i, uint8_t *, size_t len);
void q_envelope(unsigned i, size_t len, struct meta1_env *, struct meta1_qrcpt v[3]);
/* begin, write, commit and wait. st is what commit said. */
bool q_store(struct q *, unsigned i, size_t len, struct q_note *, enum meta1_status *st);
struct meta1_qmsg *q_begin(struct q *, unsigned i);
void q_commit(struct q *, struct meta1_qmsg **, unsigned i, size_t len, struct kit_answer *);
bool q_note(const struct kit_answer *, struct q_note *);
void q_notice(struct q *, unsigned i, size_t len, const struct q_note *);
void q_tail(struct q *);
const struct q_entry *q_find(const struct q *, unsigned i);
/* OK: the content is message i's to the byte; else what load() said. */
enum meta1_status q_check(struct q *, const struct q_entry *, unsigned i, size_t len);
bool q_outcome(struct q *, unsigned i, uint32_t rcpt, uint32_t state);
/* fetch() of these keys: true when each was told once. */
bool q_fetch(struct q *, const uint64_t *key, unsigned n);
bool q_copy(const char *from, const char *to); /* a folder, without its holes */
void q_remove(const char *dir);
uint64_t q_usage(const char *dir); /* bytes on disk */
/* In which file text stands, and where; -1: in none. */
off_t q_search(const char *dir, const char *text, char path[512]);
off_t q_stands(const char *path, const char *text); /* the same in one file */
bool q_spoil(const char *path, off_t at);	    /* turns bits over; again: back */
/* What check() says of a folder: found of any kind but space that nothing needs, and recipients. */
struct q_account {
	unsigned found, lost, fates, waiting;
	char text[256]; /* the last that was found */
};
/* messages: those that wait are told too, as for an export. false: it cannot say. */
bool q_account(struct kit *, const char *dir, bool messages, struct q_account *);

#endif
