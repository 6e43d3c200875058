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
#include "seg.h"
#include "table.h"

#include <sys/uio.h>

#define LOG_FORMAT    "log/2"
#define LOG_SMALL     (256u << 10) /* contents above this have a file of their own */
#define LOG_BATCH     (1u << 20)   /* gathered bytes that close a batch */
#define LOG_BATCH_MAX (8u << 20)   /* a batch takes no more than this, but one message */
#define LOG_TABLE_MAX (64u << 20)  /* envelopes of a batch; more is damage */

struct conf { /* options; see log.c */
	int64_t commit_delay, segment_size, spare_segments, status_sync;
	int64_t checkpoint_size, min_free, memory;
	int64_t compact_after, compact_rate, max_disk;
};

/* ---- format.c: a queue of another version is refused ---- */
int format_check(struct store *, struct meta1_err *);

/* ---- counter.c: numbers that never repeat, for messages, segments and own files ---- */
int counter_open(struct ids *, struct store *, int dir, uint64_t floor, struct meta1_err *);
void counter_close(struct ids *);
int counter_look(int at, const char *path, uint64_t *next); /* <0: none that is good */

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
	struct store *l;
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
int writer_open(struct store *, struct meta1_err *);
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
int reader_open(struct store *, struct meta1_err *);
void reader_close(struct reader **);
void reader_load(void *inst, struct meta1_req *, const struct meta1_ref *);
void reader_unload(void *inst, struct meta1_content **);

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
/* The first FRAME_HEAD bytes of a buffer are kept for the header. */
bool frame_put(struct bytes *, struct jrec *, const struct jtext *); /* NULL: no strings */
bool frame_room(struct bytes *, size_t); /* a record of so many bytes will find its memory */
size_t frame_seal(struct bytes *, uint64_t serial, uint64_t off, uint64_t seq); /* whole length */
bool frame_ok(const struct frame *, uint64_t serial, uint64_t off);
/* The next record of a payload, checked; advances. false: no more or malformed. */
bool frame_next(const uint8_t **, size_t *, struct jrec *, struct jtext *);
/* Reads a file of frames; rec() for each record. Returns the number of damaged places
 * (a bad frame with a good one behind it, or what the disk cannot read), -1: no memory. */
int frame_read(int fd, uint64_t serial, frame_fn, void *arg);
int frame_pack(int from, int to, uint64_t serial);
/* Behind the last frame; UINT64_MAX: a part cannot be read. */
uint64_t frame_end(int fd, uint64_t serial);

/* ---- record.c: records go to the journal (common/journal.c) as frames ---- */
bool record_open(struct manager *);
/* Appends; when durable the request is finished OK. false: too much waits. */
bool record_put(struct journal *, struct jrec *, const struct jtext *, struct meta1_req *);
/* One record without strings and request would be taken now. */
bool record_ready(struct journal *);

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
	uint64_t serial;    /* for the next journal */
	unsigned files;	    /* journals read */
	int64_t size;	    /* of a journal */
	int fd, err;	    /* the new one */
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
	struct store *l;
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
	struct store *l;
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
struct mwriter *manager_writer(struct manager *, uint32_t number);
void manager_pump(struct mwriter *);
void manager_check(struct manager *); /* all told? then manage() is done */
void manager_damage(struct manager *, const char *text);
/* Tells a message from its record; again: loaded() instead of entry(). */
/* false: there is no memory for it now. */
bool manager_tell(struct manager *, uint32_t, const struct seg_msg *, bool again);
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
