/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dir.h -- queue_dir: a file a message, in the order a message meets the files of this folder.
 *
 * The disk format stands in doc/queue-dir.md. One rule carries everything: a message is there
 * when its file has its final name, and it gets that name after all of it was synced; it is
 * acknowledged when the folder was synced too.
 */
#ifndef QUEUE_DIR_H
#define QUEUE_DIR_H
#include "../common.h"

#include <meta1/queue.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

#define DIR_FORMAT    "dir/1"
#define DIR_QM	      255u	 /* qmgr's number as a writer; its folder is qm/ */
#define DIR_ENV_MAX   (8u << 20) /* bytes of an envelope */
#define DIR_NRCPT_MAX (1u << 20)
#define DIR_NUMBERS   65536u /* numbers of a block */

struct dir_conf { /* options; see dir.c */
	int64_t status_sync, journal_size, min_free, memory;
};

/* ---- dir.c: the instance, its faces by role, jobs on worker threads ---- */
struct dir {
	const struct meta1_host *h;
	struct meta1_ctx *ctx;
	const struct dir_conf *c;
	int qfd; /* queue_directory */
	bool reads;
	struct writer *w;
	struct manager *m;
	struct jobs jobs;
};
bool dir_job(struct dir *, void (*work)(void *), void (*done)(void *), void *arg);
void dir_arm(struct dir *, struct meta1_watch *, int64_t ms);
void dir_answer(struct dir *, struct meta1_req **, enum meta1_status, const char *text);

/* ---- file.c: what a message's file looks like, and its name (pure) ---- */
struct text { /* grows */
	char *b;
	size_t len, cap;
	bool bad; /* no memory */
};
void text_add(struct text *, const void *, size_t);
void text_fmt(struct text *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void text_word(struct text *, struct meta1_buf); /* escaped: no blank, no control character */
size_t text_unword(char *);			 /* in place; its length */
uint64_t text_sum(const void *, size_t);

#define TRAILER_LEN 130 /* bytes of the last line, with its newline */
struct trailer {
	uint64_t number, len, sum; /* of the content */
	uint64_t envlen, envsum;
};
struct envelope { /* read back; everything points into text */
	char id[META1_ID_MAX];
	struct meta1_env env;
	struct meta1_qrcpt *rcpt;
	uint64_t len;
	char *text;
};
bool file_envelope(struct text *, const char *id, const struct meta1_env *);
void file_trailer(struct text *, const struct trailer *);
/* 0, or -1 and why: "" when memory was lacking. blocks */
int file_read_trailer(int fd, uint64_t number, struct trailer *, char why[80]);
bool file_content_ok(int fd, const struct trailer *);
int file_read(
    int fd, uint64_t number, bool whole, struct envelope *, char why[80]); /* whole: content too */
void file_free(struct envelope *);
int file_write(int fd, const void *, size_t); /* all of it; 0 or errno */
void file_folder(uint32_t writer, char out[16]);
void file_name(uint64_t number, char out[32]); /* below the folder: "3f/m..." */
void file_sub(uint64_t number, char out[4]);
bool file_number(const char *name, char kind, uint64_t *number);

struct dir_ref {
	uint64_t number, len;
	uint32_t writer, pad;
};
#define NOTICE_MESSAGE 0x4d524944u
#define NOTICE_TAIL    0x54524944u
struct dir_notice {
	uint32_t kind, writer;
	uint64_t life;	       /* numbers below are of earlier lives */
	uint64_t number, prev; /* tail: the newest; prev 0: the first of its life */
	uint64_t len;
};

/* ---- lock.c: folders, locks and numbers of a writer; blocks, at start ---- */
/* Takes in/N or qm; the number, or -1. *dir, *lock: descriptors. */
int lock_writer(struct dir *, bool qm, int *dir, int *lock, struct meta1_err *);
struct numbers { /* in the writer's folder, so that its lock guards them */
	struct dir *d;
	int dir;
	uint32_t writer;
	uint64_t next, end, ahead, got;
	int err;
	bool busy;
};
int numbers_open(struct numbers *, struct dir *, int dir, uint32_t writer, struct meta1_err *);
uint64_t numbers_next(struct numbers *); /* 0: none now */

/* ---- list.c: numbers of the files in a folder; blocks ---- */
/* Sorted; those above one and up to another. -1: errno. */
int list_files(int dir, uint64_t above, uint64_t upto, uint64_t **, size_t *n);
int list_in(int dir, const char *sub, char kind, uint64_t **, size_t *n); /* appends */

/* ---- writer.c: a message streams into a file; batch.c: names and folders are synced ---- */
struct meta1_qmsg {
	struct writer *w;
	struct meta1_qmsg *next;
	const struct meta1_qops_writer_events *ev;
	void *arg;
	struct meta1_req *req; /* of commit */
	struct text in, out;   /* bytes that wait; bytes of the job */
	struct text env;
	uint64_t len, tmp, number;
	void *sum; /* XXH3 state */
	int fd, err;
	bool made, busy, failed, paused, drop;
	char why[160];
	char id[META1_ID_MAX];
};
struct writer {
	struct dir *d;
	uint32_t number;
	int dir, lock;
	struct numbers ids;
	uint64_t life, end, mem; /* end: newest that is durable, 0: none of this life */
	struct meta1_qmsg *q, **qtail;
	struct batch *batch;
	struct meta1_watch *timer;
	bool full, checking;
	int64_t checked;
	uint64_t room;
	struct space *space;
};
int writer_open(struct dir *, struct meta1_err *);
void writer_close(struct writer **);
bool writer_idle(const struct writer *);
void writer_drop(struct meta1_qmsg **); /* frees, unlinks what was made */
int writer_part(struct meta1_qmsg *);	/* on a worker: writes m->out; 0 or errno */
uint32_t writer_number(void *inst);
uint64_t writer_next_id(void *inst);
enum meta1_status writer_begin(void *inst, const char *id, const struct meta1_qops_writer_events *,
    void *arg, struct meta1_qmsg **, struct meta1_err *);
enum meta1_status writer_write(struct meta1_qmsg *, const void *, size_t);
uint64_t writer_written(struct meta1_qmsg *);
void writer_commit(struct meta1_qmsg **, struct meta1_req *, const struct meta1_env *);
void writer_abort(struct meta1_qmsg **);
size_t writer_tail(void *inst, uint8_t out[META1_NOTICE_MAX]);
void batch_add(struct meta1_qmsg *);
void batch_start(struct writer *);
int space_open(struct writer *);
void space_close(struct writer *);
bool space_full(struct writer *);
void space_out(struct writer *);
void space_reclaim(void *inst, uint64_t number);

/* ---- reader.c ---- */
void reader_load(void *inst, struct meta1_req *, const struct meta1_ref *);
void reader_unload(void *inst, struct meta1_content **);

/* ---- table.c: what the manager knows of each message ---- */
struct rst { /* a recipient that was tried */
	int64_t next_try;
	uint32_t tries, state;
	char *reason; /* or NULL */
};
struct rec {
	struct rec *hnext, *next, *prev;
	uint64_t number;
	uint32_t writer, nrcpt, nst;
	bool told, dead, seen; /* told of; all final; its file was listed */
	bool announced;
	uint64_t nr; /* journal line of its end: announced when durable */
	struct rst *st;
};
struct list {
	struct rec *first, *last;
};
struct table {
	struct rec **h;
	size_t cap, n, ndead;
	struct list live, dead; /* dead: all recipients are final, the file may be there */
	struct rec *say;	/* of the dead, the first that was not announced */
};
struct rec *table_find(const struct table *, uint32_t writer, uint64_t number);
struct rec *table_add(struct table *, uint32_t writer, uint64_t number); /* found or new; NULL */
bool table_state(struct rec *, uint32_t rcpt, const struct rst *, struct meta1_buf reason);
bool table_final(const struct rec *); /* of nrcpt recipients */
void table_dead(struct table *, struct rec *);
void table_remove(struct table *, struct rec *);
void table_free(struct table *);

/* ---- outcomes.c: lines in state/outcomes.N ---- */
struct outcomes {
	struct manager *m;
	int dir, fd, newfd, err;
	uint64_t serial, next, using, off, flush; /* next: go on in that file */
	struct text gather, out;
	uint64_t put, output, synced; /* lines */
	struct owait *wait, **wtail;
	struct meta1_watch *timer;
	bool busy, armed;
	/* cleaning: what still matters is said again in a new file, then old ones go */
	struct rec *walk; /* live ones, then the dead */
	bool cleaning, of_dead, walked, removing;
	uint64_t need, keep; /* lines that must be durable; first file that stays */
};
bool outcomes_open(struct outcomes *, struct manager *, int dir);
void outcomes_close(struct outcomes *);
/* A line; rcpt NULL: the message is done. Request finished when durable. false: too much waits. */
bool outcomes_put(struct outcomes *, const struct rec *, uint32_t rcpt, const struct rst *,
    struct meta1_buf reason, const char *by, struct meta1_req *);
void outcomes_flush(struct outcomes *);
void outcomes_clean(struct outcomes *);
void outcomes_skip(struct outcomes *, const struct rec *gone);
int outcomes_make(int dir, uint64_t serial, int64_t room); /* fd or -errno */

/* ---- replay.c: those lines become a table; on a worker, at start ---- */
struct replay {
	struct manager *m;
	int dir, qfd;
	struct table t;
	uint64_t serial, flush;
	unsigned files, damaged;
	int fd, err;
	uint32_t folder[256];
	unsigned nfolder;
	int64_t room;
};
void replay_work(void *);

/* ---- manager.c: notices in, entries out; backlog.c: what is in the folders ---- */
struct mwriter {
	struct mwriter *next;
	struct manager *m;
	uint32_t number;
	uint64_t cursor, known, life;
	bool scan, busy, poll;
	unsigned attached;
	uint64_t *v; /* listed, to be told */
	size_t nv, at;
};
struct manager {
	struct dir *d;
	const struct meta1_qevents *ev;
	void *arg;
	struct meta1_req *req;
	int dir, lock;
	bool replayed, loaded;
	struct table t;
	struct mwriter *ws;
	struct outcomes o;
	struct meta1_watch *tick;
	size_t dead_look;
	bool looking;
};
void manager_manage(void *inst, struct meta1_req *, const struct meta1_qevents *, void *arg);
void manager_notice(
    void *inst, struct meta1_buf notice, const char *id, const struct meta1_env *env);
void manager_outcome(void *inst, struct meta1_req *, const struct meta1_qoutcome *);
void manager_fetch(void *inst, struct meta1_req *, const uint64_t *key, uint32_t n); /* backlog.c */
void manager_attach(void *inst, uint32_t writer);
void manager_detach(void *inst, uint32_t writer);
void manager_close(struct manager **);
bool manager_idle(const struct manager *);
struct mwriter *manager_writer(struct manager *, uint32_t number);
void manager_damage(struct manager *, const char *text);
struct meta1_qentry manager_entry(
    const struct rec *, const char *id, const struct meta1_env *, uint64_t len);
void manager_announce(struct manager *, struct rec *);
void manager_synced(struct manager *);
void manager_look(struct manager *, uint32_t writer);
void backlog_start(struct manager *);
void backlog_pump(struct mwriter *);

#endif
