/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * log.h -- queue_log, told in the order a message meets it: its number, its bytes, its
 * batch, its notice; the manager's cursor, table and journal; the free space.
 *
 * The disk format stands in doc/queue-format.md, its structs below. One rule carries
 * everything: a file has one writer, and a batch is believed when something written
 * after its sync says so, or when all of its checksums hold and nobody writes there.
 */
#ifndef QUEUE_LOG_H
#define QUEUE_LOG_H
#include "../common.h"

#include <dirent.h>
#include <meta1/queue.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#define LOG_FORMAT    "log/2"
#define LOG_ALIGN     4096u	   /* batches and frames start here: none shares a block */
#define LOG_SMALL     (256u << 10) /* contents above this have a file of their own */
#define LOG_BATCH     (1u << 20)   /* gathered bytes that close a batch */
#define LOG_BATCH_MAX (8u << 20)   /* a batch takes no more than this, but one message */
#define LOG_TABLE_MAX (64u << 20)  /* envelopes of a batch; more is damage */
#define LOG_QM	      255u	   /* qmgr's number as a writer; its folder is qm/ */
#define LOG_NRCPT_MAX (1u << 20)

struct log_conf { /* options; see log.c */
	int64_t commit_delay, segment_size, spare_segments, status_sync;
	int64_t checkpoint_size, min_free, memory;
	int64_t compact_after, compact_rate, max_disk;
};

/* ---- log.c: the instance, its faces by role, jobs on worker threads ---- */
struct log {
	const struct meta1_host *h;
	struct meta1_ctx *ctx;
	const struct log_conf *c;
	int qfd; /* queue_directory */
	struct writer *w;
	struct reader *r;
	struct manager *m;
	struct jobs jobs;
};
/* work on a thread, then done on the loop. false: too many wait, neither runs. */
bool log_job(struct log *, void (*work)(void *), void (*done)(void *), void *arg);
void log_arm(struct log *, struct meta1_watch *, int64_t ms);
void log_answer(struct log *, struct meta1_req **, enum meta1_status, const char *text);
void log_folder(uint32_t writer, char out[16]); /* "in/7" or "qm" */

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
	struct meta1_buf from, client, envid;
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
/* The record rec of m as that of a copy: its length; out NULL: nothing is written. */
size_t seg_copy(
    const struct seg_msg *m, const uint8_t *rec, const struct seg_origin *, uint8_t *out);
void seg_head_seal(struct seg_head *, const void *table);
bool seg_head_ok(const struct seg_head *, uint64_t seg, uint64_t off);
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

/* ---- format.c: a queue of another version is refused ---- */
int format_check(struct log *, struct meta1_err *);

/* ---- ids.c: numbers that never repeat, for messages, segments and own files ---- */
#define IDS_BLOCK 65536u
struct ids {
	struct log *l;
	int fd;
	uint64_t next, end;  /* the block in use */
	uint64_t ahead;	     /* start of the block reserved ahead, or 0 */
	uint64_t floor, got; /* of the job */
	int err;
	bool busy;
};
int ids_open(struct ids *, struct log *, int dir, uint64_t floor, struct meta1_err *);
uint64_t ids_next(struct ids *); /* loop thread, never blocks; 0: none now */
void ids_close(struct ids *);
int ids_look(int at, const char *path, uint64_t *next); /* <0: none that is good */

/* ---- writer.c: a message is gathered, then waits for its batch ---- */
struct chunk {
	struct chunk *next;
	uint32_t cap, len;
	uint8_t b[];
};
struct big;
struct meta1_qmsg {
	struct writer *w;
	struct meta1_qmsg *next;
	const struct meta1_qops_writer_events *ev;
	void *arg;
	struct meta1_req *req; /* of commit */
	uint64_t len, pending; /* bytes taken; bytes in chunks */
	struct chunk *head, *tail;
	struct big *big; /* content in a file of its own */
	/* A copy (compact.c): told instead of req; n NULL: it was not stored. */
	void (*copied)(void *arg, const struct log_notice *n);
	bool outside; /* of a copy: its content is a file that stays where it is */
	uint8_t *rec; /* envelope, made by commit */
	size_t reclen;
	uint64_t sum, coff; /* made by the batch's job */
	bool failed, paused;
	char why[160];
	char id[META1_ID_MAX];
};
struct writer {
	struct log *l;
	uint32_t number;
	int dir, lock;
	struct ids ids;
	uint64_t life;	/* first number of this life */
	struct pos end; /* behind the newest durable batch */
	uint64_t count; /* messages of this life up to there */
	int fd;		/* the segment appended to, or -1 */
	uint64_t seg, off, size, nbatch;
	uint64_t roll;		       /* number kept for the next segment */
	struct meta1_qmsg *q, **qtail; /* committed, not in a batch yet */
	uint64_t qbytes;
	int64_t oldest;	     /* monotonic ms */
	unsigned open;	     /* begun, not committed */
	uint64_t mem;	     /* bytes of all chunks */
	struct batch *batch; /* in flight */
	struct meta1_watch *timer;
	struct space *space;
};
int writer_open(struct log *, struct meta1_err *);
void writer_close(struct writer **);
void writer_gather(struct meta1_qmsg *); /* ready for a batch */
void writer_evaluate(struct writer *, bool force);
bool writer_idle(const struct writer *);
void writer_drop(struct meta1_qmsg **); /* frees memory only */
void writer_chunks(struct writer *, struct chunk **);
/* Takes rec and content; false: no memory, nothing is taken. */
bool writer_copy(struct writer *, const char *id, uint8_t **rec, size_t reclen,
    struct chunk **content, bool outside, void (*copied)(void *, const struct log_notice *),
    void *arg);
uint32_t writer_number(void *inst);
uint64_t writer_next_id(void *inst);
enum meta1_status writer_begin(void *inst, const char *id, const struct meta1_qops_writer_events *,
    void *arg, struct meta1_qmsg **, struct meta1_err *);
enum meta1_status writer_write(struct meta1_qmsg *, const void *, size_t);
uint64_t writer_written(struct meta1_qmsg *);
void writer_commit(struct meta1_qmsg **, struct meta1_req *, const struct meta1_env *);
void writer_abort(struct meta1_qmsg **);
size_t writer_tail(void *inst, uint8_t out[META1_NOTICE_MAX]);

/* ---- big.c: a content with a file of its own ---- */
/* From now on the message's chunks go to a file. false: no number or no memory. */
bool big_make(struct meta1_qmsg *);
void big_feed(struct meta1_qmsg *);   /* starts writing when enough waits */
void big_finish(struct meta1_qmsg *); /* writes the rest, syncs, then writer_gather() */
void big_drop(struct meta1_qmsg **);  /* unlinks the file and frees the message */
void big_free(struct meta1_qmsg *);   /* keeps the file: it belongs to the store now */
uint64_t big_unit(const struct big *);
uint64_t big_sum(const struct big *);

/* ---- batch.c: many messages, one write and one sync ---- */
bool batch_start(struct writer *); /* takes from the front of the queue */

/* ---- space.c: free segments come back, the disk is watched ---- */
int space_open(struct writer *, uint64_t *highest, struct meta1_err *);
void space_close(struct writer *);
bool space_full(struct writer *);	       /* asks again in the background */
void space_out(struct writer *);	       /* a write found the disk full */
void space_reserve(struct writer *);	       /* a spare made ahead; blocks: at start */
uint64_t space_spare(struct writer *);	       /* a spare to reuse, or 0 */
void space_unspare(struct writer *, uint64_t); /* it was not used */
void space_reclaim(void *inst, uint64_t unit);

/* ---- reader.c: contents, checked ---- */
int reader_open(struct log *, struct meta1_err *);
void reader_close(struct reader **);
void reader_load(void *inst, struct meta1_req *, const struct meta1_ref *);
void reader_unload(void *inst, struct meta1_content **);

/* ---- texts.c: reasons, each kept once, within a bound ---- */
#define TEXTS_MAX (16u << 20) /* bytes; beyond, new ones are cut short */
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
/* Takes an outcome; false: no memory or no such recipient. */
bool table_outcome(struct table *, uint32_t, uint32_t rcpt, uint32_t state, uint32_t tries,
    int64_t next_try, const void *reason, size_t len);
/* NULL: never tried. */
const struct rst *table_rst(const struct mrec *, uint32_t rcpt);
uint32_t table_nrst(const struct mrec *);
bool table_final(const struct mrec *);
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

/* ---- frame.c: journal and checkpoint are files of frames of records (pure) ---- */
#define FRAME_MAGIC 0x314d4152464d314dULL /* "M1MFRAM1" */
#define FRAME_HEAD  64u
struct frame {
	uint64_t magic, serial, off;  /* serial of the journal, inverted in a checkpoint */
	uint64_t len, seq, sum, hsum; /* len of the payload */
	uint64_t version;
};
/* What the fields beyond writer, idx, seg and off mean:
 *	OUTCOME	all; bytes and the strings id, addr, from only of a final one (for history)
 *	DEAD	seg is the unit
 *	CURSOR	own the life, bytes its messages up to here, next_try those before this segment,
 *		time when the segment was begun
 *	MSG	nrcpt; own, in the folder of writer number state; bytes its place in the segment
 *	SEG	a segment is behind the cursor; own, bytes, next_try, time like CURSOR
 *	MOVED	to writer number state, segment own at bytes, index rcpt
 *	VOID	a copy that does not count */
enum jtype { J_OUTCOME = 1, J_DEAD, J_CURSOR, J_MSG, J_END, J_SEG, J_MOVED, J_VOID };
struct jrec { /* one size for all; strings follow, padded to 8 */
	uint32_t len;
	uint16_t type, reasonlen;
	uint16_t bylen, idlen, addrlen, fromlen;
	uint32_t writer, idx, rcpt, nrcpt;
	uint32_t state, tries;
	uint64_t seg, off;
	uint64_t own, bytes;
	int64_t next_try, time;
};
struct jtext {
	struct meta1_buf reason, by, id, addr, from;
};
typedef void (*frame_fn)(void *, const struct jrec *, const struct jtext *);
struct jbuf { /* grows; the first FRAME_HEAD bytes are kept for the header */
	uint8_t *b;
	size_t len, cap;
	bool bad; /* a record found no memory */
};
bool frame_put(struct jbuf *, struct jrec *, const struct jtext *); /* NULL: no strings */
bool frame_room(struct jbuf *, size_t); /* a record of so many bytes will find its memory */
size_t frame_seal(struct jbuf *, uint64_t serial, uint64_t off, uint64_t seq); /* whole length */
bool frame_ok(const struct frame *, uint64_t serial, uint64_t off);
/* The next record of a payload, checked; advances. false: no more or malformed. */
bool frame_next(const uint8_t **, size_t *, struct jrec *, struct jtext *);
/* Reads a file of frames; rec() for each record. Returns the number of damaged places
 * (a bad frame with a good one behind it), -1: cannot be read. */
int frame_read(int fd, uint64_t serial, frame_fn, void *arg);
uint64_t frame_end(int fd, uint64_t serial); /* behind the last frame */
void frame_name(char out[40], const char *what, uint64_t serial);

/* ---- journal.c: outcomes, one sync for many ---- */
struct journal {
	struct log *l;
	struct manager *m;
	int dir, fd; /* state/; the file in use or -1 */
	uint64_t serial, off, seq;
	struct jbuf gather, out;
	uint64_t put, output, synced; /* records: appended, in flight, durable */
	struct jwait *wait, **wtail;
	struct meta1_watch *timer;
	uint64_t next, using; /* serial to go on with, its file to be made; of the job */
	bool busy, armed;
	int newfd, err;
	const char *what;
};
bool journal_open(struct journal *, struct manager *, int dir);
void journal_close(struct journal *);
/* Appends; when durable the request is finished OK. false: too much waits. */
bool journal_put(struct journal *, struct jrec *, const struct jtext *, struct meta1_req *);
/* One record without strings and request would be taken now. */
bool journal_ready(struct journal *);
void journal_flush(struct journal *);
void journal_rotate(struct journal *);			      /* what follows goes to a new file */
int journal_make(int dir, uint64_t serial, uint64_t reserve); /* fd or -errno; blocks */

/* ---- checkpoint.c: all that is known, written anew; then old journals go ---- */
struct ckpt;
void ckpt_start(struct manager *);
void ckpt_synced(struct manager *); /* the journal advanced */
void ckpt_free(struct ckpt **);

/* ---- replay.c: checkpoint and journals become a table; runs on a worker ---- */
struct tally { /* of the segment at a cursor: who wrote it, which messages are in it */
	uint64_t life, count,
	    begin;    /* count: of the life up to the cursor; begin: to the segment */
	int64_t time; /* when it was begun */
};
struct cursor {
	uint32_t writer, pad;
	struct pos at, proved; /* proved: an outcome there says that it was durable */
	struct tally tally;
};
struct replay {
	struct manager *m;
	int dir, qfd;
	struct table *t;
	uint32_t *order; /* the messages as they stand on disk */
	size_t norder;
	struct cursor *cur;
	size_t ncur;
	uint32_t folder[256];
	unsigned nfolder;
	uint64_t serial; /* for the next journal */
	unsigned files;	 /* journals read */
	uint64_t reserve;
	int fd, err;	    /* the new journal */
	bool ended, refuse; /* the checkpoint was whole; out of memory */
	bool all;	    /* no checkpoint: the history is read too */
	bool rescue;	    /* records are missing: copies may be all that is left of a message */
	struct {
		uint32_t writer;
		bool there;
		uint64_t seg;
	} last; /* of all: segments that are gone need no outcomes */
	char damage[512];
};
void replay_work(void *);
void replay_read(struct replay *); /* the same without making the new journal */
int replay_serials(int dir, const char *what, uint64_t **, size_t *); /* sorted; <0: errno */

/* ---- history.c: journals that no start needs any more tell of what was done ---- */
/* Makes history of the journals before serial, removes checkpoints before it, and what is too old
 * or too much; on a worker. */
struct history {
	int dir;
	uint64_t serial;
	int64_t now, time, size; /* seconds; now: wall clock */
	int64_t min_free;
};
void history_keep(const struct history *);

/* ---- scan.c: envelopes from a folder, in pages; runs on a worker ---- */
#define SCAN_PAGE 512u
struct scan_batch { /* a table that was read */
	struct scan_batch *next;
	uint64_t seg, off, len, life, count; /* count: messages of the life before it */
	uint32_t first, nmsg;
	size_t table_len;
	uint8_t table[];
};
struct scan {
	struct log *l;
	struct mwriter *w;
	uint32_t writer;
	struct pos at, known;
	uint64_t life;
	int state; /* state/, for quarantine */
	/* result */
	struct scan_batch *head, **tail;
	unsigned count;
	uint64_t seg[64], gone[16], hold[16]; /* passed; missing; not to be freed */
	unsigned nseg, ngone, nhold;
	bool end;
	bool later; /* something of ours is short: nothing is decided, try again */
	char damage[512], torn[200];
	/* while it runs */
	int dir, fd;
	uint64_t fdseg, *have, after; /* after: the next segment, or 0 */
	int64_t exact;		      /* where the segment's durable part ends; -1: unknown */
	size_t nhave;
	bool locked, closed;
};
void scan_work(void *);
void scan_free(struct scan **);
/* Reads the table of the batch at seg, off. NULL: err. */
struct scan_batch *scan_table(int fd, uint64_t seg, uint64_t off, struct meta1_err *);
bool scan_head(int fd, uint64_t seg, uint64_t off, struct seg_head *);
uint64_t scan_search(int fd, uint64_t seg, uint64_t off); /* next good header behind off, or 0 */
int scan_list(int dir, char kind, uint64_t **out, size_t *n); /* sorted numbers */

/* ---- manager.c: notices in, entries out; backlog.c: what was there before ---- */
struct mwriter {
	struct mwriter *next;
	struct manager *m;
	uint32_t number;
	struct pos cursor, known; /* told; known to be durable */
	uint64_t life, tidied;
	uint64_t open; /* the segment at the cursor */
	struct tally tally;
	bool scan, busy, damaged; /* scan: something may lie behind the cursor */
	unsigned attached;	  /* connections: while there is none nobody tells of new ends */
	bool poll;		  /* in use by somebody we do not hear: looked at again */
	struct pos rescue;	  /* before it only copies are told that nothing else knows */
};
struct manager {
	struct log *l;
	const struct meta1_qevents *ev;
	void *arg;
	struct meta1_req *req; /* of manage() */
	int dir, lock;
	struct table *t; /* NULL until replayed */
	struct mwriter *ws;
	uint32_t *order; /* backlog: to be told, norder of them, at is next */
	size_t norder, at, upto;
	unsigned pages; /* backlog jobs in flight */
	bool walked;	/* the checkpoint's messages were told */
	bool loaded;	/* and all that lay behind the cursors */
	struct journal j;
	struct ckpt *ck;
	struct compact *compact; /* NULL: never */
	bool want;		 /* a checkpoint, as soon as it can be */
	int64_t ck_pause;	 /* after a failed one: not before */
	struct meta1_watch *tick;
	size_t dead_look; /* so many dead units, and it is looked which are gone */
};
void manager_manage(void *inst, struct meta1_req *, const struct meta1_qevents *, void *arg);
void manager_notice(void *inst, struct meta1_buf, const char *id, const struct meta1_env *);
void manager_outcome(void *inst, struct meta1_req *, const struct meta1_qoutcome *);
void manager_attach(void *inst, uint32_t writer);
void manager_detach(void *inst, uint32_t writer);
void manager_close(struct manager **);
/* The cursor of our own folder passes a copy; nothing is told. */
void manager_own(struct manager *, const struct log_notice *);
bool manager_idle(const struct manager *);
struct mwriter *manager_writer(struct manager *, uint32_t number);
void manager_pump(struct mwriter *);
void manager_check(struct manager *); /* all told? then manage() is done */
void manager_damage(struct manager *, const char *text);
/* Tells a message from its record; again: loaded() instead of entry(). */
void manager_tell(struct manager *, uint32_t, const struct seg_msg *, bool again);
/* loaded() of one whose envelope cannot be read: what the table knows of it. */
void manager_tell_unread(struct manager *, uint64_t key, const char *why);
void backlog_start(struct manager *);

/* ---- page.c: envelopes of known messages, read from where they stand ---- */
struct page;
struct page_entry {
	uint64_t key, seg, boff;
	uint32_t writer, idx;
	struct scan_batch *b; /* shared by its neighbours */
	const uint8_t *rec;   /* in it; NULL: cannot be read */
	bool first;	      /* frees b */
	bool later;	      /* something of ours is short: try again */
	char why[100];
};
struct page {
	struct manager *m;
	struct meta1_req *req; /* of fetch(), or NULL */
	unsigned n;
	struct page_entry e[SCAN_PAGE];
};
struct page *page_new(struct manager *);
void page_add(struct page *, uint32_t);
void page_work(void *); /* on a worker */
/* The message of an entry, decoded. 0: lost (named by damage()), gone, or later. */
uint32_t page_take(struct page *, unsigned, struct seg_msg *);
void page_free(struct page **);
void manager_fetch(void *inst, struct meta1_req *, const uint64_t *key, uint32_t n);

/* ---- compact.c: what waits in segments that hold little ---- */
void compact_open(struct manager *);
void compact_close(struct manager *);
bool compact_busy(const struct manager *); /* copies are being written */

/* ---- fsck.c: everything accounted for; see fsck.h ---- */
int fsck_check(void *inst, const struct meta1_qcheck *, void *arg, struct meta1_err *);

/* ---- units.c: when nothing needs a unit it is free: journal, sync, announce ---- */
void units_pass(struct mwriter *, uint64_t seg); /* the cursor stands in seg */
/* The cursor passed n messages of a batch, count of that life were before it. */
void units_count(struct mwriter *, uint64_t off, uint64_t life, uint64_t count, uint32_t n);
void units_settle(struct manager *, struct unit *);
void units_final(struct manager *, uint32_t);
void units_synced(struct manager *); /* announce what became durable */
void units_tidy(struct mwriter *);   /* leftovers of earlier lives */
void units_attach(struct manager *, uint32_t writer);

#endif
