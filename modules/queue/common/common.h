/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * common.h -- what queue_log and queue_dir share, in the order of a life: the instance and its
 * jobs, folders and locks, numbers, what became of recipients, the history of that, reasons.
 *
 * Each is a module of its own and is built with these files; their types writer, reader, manager
 * and conf are their own.
 */
#ifndef QUEUE_COMMON_H
#define QUEUE_COMMON_H
#include <dirent.h>
#include <meta1/queue.h>
#include <meta1/transport.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

#define QUEUE_QM 255u /* qmgr's number as a writer; its folder is qm/ */

/* ---- store.c: the instance, jobs on worker threads that end before it does, answers ---- */
struct writer;
struct reader;
struct manager;
struct conf;
struct store {
	const struct meta1_host *h;
	struct meta1_ctx *ctx;
	const struct conf *c;
	int qfd; /* queue_directory */
	struct writer *w;
	struct reader *r;
	struct manager *m;
	const struct store_life *life;
	unsigned jobs;
	struct meta1_req *drain;
	bool closing;
};
struct store_life { /* what a module adds */
	const char *name;
	int (*open)(struct store *, struct meta1_err *); /* its faces, by role */
	void (*flush)(struct store *);			 /* all that waits is to be written */
	bool (*idle)(const struct store *);		 /* nothing waits any more */
	void (*release)(struct store *);		 /* its faces */
};
int store_open(const struct store_life *, const struct meta1_host *, struct meta1_ctx *,
    const void *conf, void **inst, struct meta1_err *);
/* The module's operations of the same name. */
void store_drain(void *inst, struct meta1_req *);
void store_close(void *inst);
void store_cancel(void *inst, struct meta1_req *);
/* work on a thread, then done on the loop. false: too many wait, neither runs. */
bool store_job(struct store *, void (*work)(void *), void (*done)(void *), void *arg);
void store_arm(struct store *, struct meta1_watch *, int64_t ms);
void store_answer(struct store *, struct meta1_req **, enum meta1_status, const char *text);

/* ---- folder.c: folders, locks, lists; blocks ---- */
void folder_name(uint32_t writer, char out[16]); /* "in/7" or "qm" */
/* Opens a folder, made first (mode) when missing. -1: err. */
int folder_make(int at, const char *name, mode_t mode, struct meta1_err *);
/* A writer's folder and its lock: qm, or the first in/N that nobody holds. Its number, or -1. */
int folder_take(int qfd, bool qm, int *dir, int *lock, struct meta1_err *);
/* state/ and the lock of the one who manages. -1: err; what was opened is the caller's. */
int folder_state(int qfd, int *dir, int *lock, struct meta1_err *);
/* Somebody holds its lock, or that cannot be seen, as where descriptors lack. */
bool folder_locked(int dir);
/* Numbers of the entries that parse() takes, after those that are there already. -1: errno. */
typedef bool (*folder_parse)(const char *name, const void *arg, uint64_t *number);
int folder_list(int at, const char *path, folder_parse, const void *arg, uint64_t **v, size_t *n);
void folder_sort(uint64_t *v, size_t n);
/* Numbers of the writers whose folders are there, and qmgr's. -1: errno. */
int folder_writers(int qfd, uint32_t out[256], unsigned *n);
/* Mail of another store lies below queue_directory: this one would leave it there for ever. Looks
 * for files named by a letter and 16 hex digits in in/N and qm, or (deep) in their two-digit
 * folders. -1: err says which file, of which type, and what to do. What cannot be read is passed
 * over. */
int folder_foreign(int qfd, const char *letters, bool deep, const char *type, struct meta1_err *);

/* ---- ids.c: numbers of a block that is reserved on disk; the next one is taken ahead ---- */
#define IDS_BLOCK 65536u
struct ids {
	struct store *s;
	/* On a worker: reserves a block above floor. got is its first number, or err is set. */
	void (*take)(void *ids);
	int dir, fd;
	uint32_t writer;
	uint64_t next, end;  /* the block in use */
	uint64_t ahead;	     /* start of the block reserved ahead, or 0 */
	uint64_t floor, got; /* of the job */
	int err;
	bool busy;
};
int ids_first(struct ids *, const char *what, struct meta1_err *); /* blocks. -1: err */
uint64_t ids_next(struct ids *); /* loop thread, never blocks; 0: none now */

/* ---- bytes.c: a buffer that grows ---- */
struct bytes {
	uint8_t *b;
	size_t len, cap;
	bool bad; /* no memory: something is missing in it */
};
bool bytes_room(struct bytes *, size_t); /* so many more will find their memory */
void bytes_add(struct bytes *, const void *, size_t);
void bytes_fmt(struct bytes *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int bytes_write(int fd, const void *, size_t, uint64_t off); /* all of it; 0 or errno */
/* Room that was allocated and never used need not be read: where the next bytes of a file are, off
 * or behind it; UINT64_MAX: nowhere. A file system that cannot say gives it to be read. */
uint64_t bytes_from(int fd, uint64_t off);

/* ---- journal.c: what became of recipients, one sync for many ---- */
#define JOURNAL_ALIGN 4096u /* a piece begins at a multiple: no block holds parts of two syncs */
struct journal;
struct journal_kind {
	const char *name; /* files are state/NAME.SERIAL */
	/* On a worker: ends the piece in out, which is to stand at off of that file. Its length. */
	size_t (*seal)(struct journal *, uint64_t serial, uint64_t off);
	void (*synced)(struct manager *); /* on the loop */
};
struct journal {
	struct store *s;
	struct manager *m;
	const struct journal_kind *kind;
	int64_t delay, size; /* wait for others, ms; size at which a file is followed by another */
	int dir, fd;	     /* state/; the file in use or -1 */
	uint64_t serial, off, seq;
	struct bytes gather, out;
	uint64_t put, output, synced; /* records: appended, in flight, durable */
	struct jwait *wait, **wtail;
	struct meta1_watch *timer;
	uint64_t next, using; /* serial to go on with, its file to be made; of the job */
	bool open;	      /* what was there was read: writing may begin */
	bool busy, armed;
	int newfd, err;
	const char *what;
};
/* dir, delay, size, kind are set. */
bool journal_open(struct journal *, struct store *, struct manager *);
void journal_start(struct journal *, int fd, uint64_t serial); /* fd: of journal_make() */
void journal_close(struct journal *);
/* put() appends one record to gather. When it is durable the request is finished OK. false: too
 * much waits, or no memory: nothing was said. */
bool journal_add(
    struct journal *, bool (*put)(struct bytes *, const void *), const void *, struct meta1_req *);
bool journal_has_room(const struct journal *);
void journal_flush(struct journal *);
void journal_rotate(struct journal *); /* what follows goes to a new file */
bool journal_idle(const struct journal *);
/* A new file with its room, from the reserve when the disk is full. fd or -errno; blocks */
int journal_make(int dir, const char *name, uint64_t serial, int64_t size);

/* ---- serial.c: files of state/ that are numbered ---- */
void serial_name(char out[40], const char *what, uint64_t serial);
int serial_list(int dir, const char *what, uint64_t **, size_t *); /* sorted; <0: errno */

/* ---- history.c: files that no start needs any more tell of what was done ---- */
struct history {
	int dir;
	const char *what; /* files of this name become history ... */
	uint64_t serial;  /* ... before this one */
	/* Where its last record ends; UINT64_MAX: it cannot be read, and stays as it is. */
	uint64_t (*end)(int fd, uint64_t serial);
	/* Writes all that one holds to another, without the room between syncs. 0 or errno: then it
	 * stays as it was. */
	int (*pack)(int from, int to, uint64_t serial);
	int64_t now, time, size; /* seconds; now: wall clock */
	int64_t min_free;
};
void history_keep(const struct history *); /* on a worker; what is too old or too much goes */

/* ---- check.c: of a store, by a tool; blocks ---- */
struct check {
	const struct meta1_qcheck *ev;
	void *arg;
	int state, lock;
	int lacks; /* errno: something of ours is short, and nothing is found any more */
	bool used; /* by a qmgr */
};
/* Opens state/. When messages are to be told nobody may have it, and nobody gets it meanwhile. */
int check_begin(
    struct check *, struct store *, const struct meta1_qcheck *, void *arg, struct meta1_err *);
void check_end(struct check *);
bool check_tells(const struct check *); /* messages are to be told */
__attribute__((format(printf, 3, 4))) void check_found(
    const struct check *, enum meta1_qfinding, const char *fmt, ...);
/* It could not be looked at for want of memory or descriptors of ours, which errno may say. true:
 * so it is, and check_done() says so; false: what err (errno of a file) says is the file's own. */
bool check_short(struct check *, int err);
/* What check() returns; <0: err, and nothing of what was found means anything. */
int check_done(const struct check *, struct meta1_err *);

/* ---- texts.c: reasons, each kept once, within a bound ---- */
#define TEXTS_MAX (16u << 20) /* bytes; beyond, new ones are cut short */
#define TEXT_MAX  400u	      /* bytes of one */
struct text;
struct texts {
	struct text **v;       /* by number; 0 is no text */
	uint32_t *hash;	       /* cap of them, a power of two */
	uint32_t cap, n, free; /* n: numbers given out */
	size_t used;
};
uint32_t texts_take(struct texts *, const void *, size_t); /* 0: none, or no memory */
void texts_drop(struct texts *, uint32_t);
struct meta1_buf texts_get(const struct texts *, uint32_t);
void texts_free(struct texts *);

#endif
