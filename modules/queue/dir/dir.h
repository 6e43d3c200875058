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
#include "../common/common.h"

#define DIR_FORMAT    "dir/1"
#define DIR_QM	      QUEUE_QM
#define DIR_ENV_MAX   (8u << 20) /* bytes of an envelope */
#define DIR_NRCPT_MAX (1u << 20)

struct conf { /* options; see dir.c */
	int64_t status_sync, journal_size, min_free, memory;
};

/* ---- file.c: what a message's file looks like, and its name (pure) ---- */
void text_word(struct bytes *, struct meta1_buf); /* escaped: no blank, no control character */
size_t text_unword(char *);			  /* in place; its length */
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
	uint64_t len, after; /* of the content; number of the message before it, 0: none */
	char *text;
};
bool file_envelope(struct bytes *, const char *id, const struct meta1_env *);
void file_trailer(struct bytes *, const struct trailer *);
/* -1: errno 0: it is damaged. All of these block. */
int file_read_trailer(int fd, uint64_t number, struct trailer *);
bool file_content_ok(int fd, const struct trailer *); /* false: errno 0: it is damaged */
/* whole: content too. 0, or -1 and why: "" when memory was lacking. */
int file_read(int fd, uint64_t number, bool whole, struct envelope *, char why[80]);
void file_free(struct envelope *);
int file_write(int fd, const void *, size_t);  /* all of it; 0 or errno */
void file_name(uint64_t number, char out[32]); /* below the folder: "3f/m..." */
void file_path(uint64_t number, char out[64]); /* below queue_directory */
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

/* ---- numbers.c: in the writer's folder, so that its lock guards them ---- */
/* dir and writer are those of folder_take(); blocks. */
int numbers_open(struct ids *, struct store *, int dir, uint32_t writer, struct meta1_err *);
uint64_t numbers_soon(const struct ids *); /* about the next one */
uint64_t numbers_next(struct ids *);	   /* 0: none now */
int numbers_look(int dir, uint64_t *next); /* the count of the next block; <0: none that is good */

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
	struct bytes in, out;  /* bytes that wait; bytes of the job */
	struct bytes env;
	uint64_t len, tmp, number;
	uint64_t on_disk; /* bytes of its file */
	void *sum;	  /* XXH3 state */
	int fd, err;
	bool made, busy, failed, paused, drop;
	bool reserved; /* its file was of the reserve, and is too large */
	char why[160];
	char id[META1_ID_MAX];
};
struct writer {
	struct store *d;
	uint32_t number;
	int dir, lock;
	struct ids ids;
	uint64_t life, end, mem; /* end: newest that is durable, 0: none of this life */
	struct meta1_qmsg *q, **qtail;
	struct batch *batch;
	struct meta1_watch *timer;
	bool full, checking;
	bool named[256]; /* of the batch's worker: a folder whose own name is on disk */
	int64_t checked;
	uint64_t room;
	struct space *space;
};
int writer_open(struct store *, struct meta1_err *);
void writer_close(struct writer **);
bool writer_idle(const struct writer *);
void writer_drop(struct meta1_qmsg **); /* frees, unlinks what was made */
int writer_part(struct meta1_qmsg *);	/* on a worker: writes m->out; 0 or errno */
int writer_put(struct meta1_qmsg *, const void *, size_t); /* on a worker; 0 or errno */
void writer_tmp(const struct meta1_qmsg *, char out[24]);  /* its temporary name */
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
/* ---- reserve.c: room for reports on a full disk; blocks ---- */
void reserve_fill(struct writer *, uint64_t number);
bool reserve_take(struct meta1_qmsg *m); /* its file goes on in one of the reserve */

/* ---- space.c: files whose message is done go, the disk is watched ---- */
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
	uint32_t tries;
	uint32_t state : 8, reason : 24; /* reason: a text */
};
struct rec {
	struct rec *hnext, *next, *prev;
	uint64_t number, after; /* after: the message before it in this life, 0: none */
	uint32_t writer, nrcpt, nst, nfinal;
	bool told, dead, seen; /* told of; all final; its file was listed */
	bool announced;
	uint32_t last; /* wall clock, seconds: when the newest of its lines was said */
	uint64_t nr;   /* journal line of its end: announced when durable */
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
	struct texts texts;
};
struct rec *table_find(const struct table *, uint32_t writer, uint64_t number);
struct rec *table_add(struct table *, uint32_t writer, uint64_t number); /* found or new; NULL */
/* It has so many recipients: what was said of others is forgotten. */
void table_admit(struct table *, struct rec *, uint32_t nrcpt);
/* Room for what is said of a recipient. false: no memory, or no such recipient. */
bool table_room(struct rec *, uint32_t rcpt);
void table_state(struct table *, struct rec *, uint32_t rcpt, const struct rst *,
    struct meta1_buf reason); /* there is room; the reason goes to the texts */
void table_states(const struct table *, const struct rec *, struct meta1_qrcpt *, uint32_t n);
bool table_final(const struct rec *); /* of nrcpt recipients */
void table_dead(struct table *, struct rec *);
void table_remove(struct table *, struct rec *);
void table_free(struct table *);

/* ---- outcomes.c: what is said in the journal (common/journal.c), as lines of text ---- */
#define OUTCOMES "outcomes" /* files are state/outcomes.SERIAL */
struct outcomes {
	struct journal j;
	/* cleaning: what still matters is said again in a new file, then old ones go */
	struct rec *walk; /* live ones, then the dead */
	bool cleaning, of_dead, walked, removing;
	uint64_t need, keep; /* lines that must be durable; first file that stays */
	int64_t again;	     /* monotonic ms; there was no room for a new file: not before */
	struct history old;  /* of the job */
};
bool outcomes_open(struct manager *);
/* A line. Request finished when durable. false: too much waits, nothing was said. */
bool outcomes_put(
    struct manager *, const struct rec *, const struct meta1_qoutcome *, struct meta1_req *);
bool outcomes_done(struct manager *, const struct rec *); /* all of it is final */
void outcomes_seen(struct manager *);			  /* how far each writer is known */
void outcomes_flush(struct manager *);			  /* at an orderly end */
void outcomes_clean(struct manager *);
void outcomes_skip(struct manager *, const struct rec *gone);

/* ---- replay.c: those lines become a table; on a worker, at start ---- */
struct said { /* a line of a final recipient, with what history tells of it */
	uint32_t rcpt, state, tries;
	int64_t time;
	uint64_t bytes;
	const char *id;
	struct meta1_buf by, addr, from;
};
struct replay {
	struct manager *m;
	int dir, qfd;
	struct table t;
	uint64_t serial;
	unsigned damaged; /* places in the files */
	int fd, err;
	uint32_t folder[256];
	unsigned nfolder;
	int64_t size; /* of a file of outcomes */
	/* For fsck: a final recipient, said for the first time; a cursor, in that file. */
	void (*final)(void *arg, const struct rec *, const struct said *);
	void (*cursor)(void *arg, uint32_t writer, uint64_t number);
	/* Not NULL: gets each good line with its newline, and nothing else is done with it. */
	void (*line)(void *arg, const char *line, size_t len);
	void *arg;
};
void replay_work(void *);
/* One file; what is damaged is counted. sync: it is made sure that it is on disk. */
void replay_file(struct replay *, const char *name, bool sync);
uint64_t replay_end(int fd, uint64_t serial); /* behind the last line */
int replay_pack(int from, int to, uint64_t serial);

/* ---- manager.c: notices in, entries out; backlog.c: what is in the folders ---- */
struct mwriter {
	struct mwriter *next;
	struct manager *m;
	uint32_t number;
	uint64_t cursor, known, life;
	uint64_t said; /* the newest that a line tells of */
	bool scan, busy, poll;
	unsigned attached;
	uint64_t *v; /* listed, to be told */
	size_t nv, at;
};
struct manager {
	struct store *d;
	const struct meta1_qevents *ev;
	void *arg;
	struct meta1_req *req;
	int dir, lock;
	bool loaded;
	struct table t;
	struct mwriter *ws;
	struct outcomes o;
	struct meta1_watch *tick, *later; /* later: cursors are to be said */
	size_t dead_look;
	bool looking, moved; /* moved: some cursor, and later is armed */
	bool unended;	     /* of some that is final no end could be said */
};
void manager_manage(void *inst, struct meta1_req *, const struct meta1_qevents *, void *arg);
void manager_notice(
    void *inst, struct meta1_buf notice, const char *id, const struct meta1_env *env);
void manager_outcome(void *inst, struct meta1_req *, const struct meta1_qoutcome *);
void manager_attach(void *inst, uint32_t writer);
void manager_detach(void *inst, uint32_t writer);
void manager_close(struct manager **);
struct mwriter *manager_writer(struct manager *, uint32_t number);
void manager_damage(struct manager *, const char *text);
struct meta1_qentry manager_entry(
    const struct rec *, const char *id, const struct meta1_env *, uint64_t len);
void manager_announce(struct manager *, struct rec *);
void manager_synced(struct manager *);
void manager_moved(struct manager *); /* a cursor: it is said soon */
void manager_look(struct manager *, uint32_t writer);
void backlog_start(struct manager *);
void backlog_pump(struct mwriter *);

/* ---- fetch.c: files read, envelopes told once more ---- */
struct reading { /* of one file */
	uint64_t number;
	struct envelope e;
	bool later, gone, whole; /* no means now; no file; content is checked too */
	char why[80];
};
void fetch_read(struct store *, struct reading *, size_t n); /* blocks */
void fetch_unreadable(struct manager *, const struct reading *);
void manager_fetch(void *inst, struct meta1_req *, const uint64_t *key, uint32_t n);

/* ---- fsck.c: everything accounted for ---- */
int fsck_check(void *inst, const struct meta1_qcheck *, void *arg, struct meta1_err *);

#endif
