/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * record.h -- what recorder.c writes and recover.c reads: all that a server did to its
 * queue, in one order.
 *
 * One file, mapped by every process. A slot is a stamp: slots are taken by a shared counter,
 * so their numbers are the global order, and each points to a struct rec. Every call has two:
 * one before it (the call may have happened from here on) and an R_END behind it, whose
 * "begin" is the stamp of the first. A process is killed between its calls (record_hold()): of one
 * that was under way nobody could say whether it happened, though whoever looks later sees it.
 * A slot that is 0 belongs to a process that was killed.
 */
#ifndef CRASH_RECORD_H
#define CRASH_RECORD_H
#include <stdatomic.h>
#include <stdint.h>

#define RECORD_MAGIC 0x314443455243314dULL
#define RECORD_SLOTS (1u << 22)
#define RECORD_SIZE  (4ull << 30) /* sparse */
#define RECORD_PROCS 1024

enum rtype {
	R_CREATE = 1, /* path; its end has ino */
	R_OPEN,	      /* path, ino: of a file that was there */
	R_WRITE,      /* ino, off, data */
	R_TRUNC,      /* ino, off: the new length */
	R_ALLOC,      /* ino, off: at least this long */
	R_SYNC,	      /* ino, or path of a folder */
	R_RENAME,     /* ino, path, path2 */
	R_LINK,	      /* ino, path, path2 */
	R_UNLINK,     /* ino, path; also an empty folder */
	R_MKDIR,      /* path */
	R_END,	      /* begin, ret, ino */
	R_NOTE,	      /* path: what the test says; data */
	R_SAYS	      /* data: a line of the log, or a reply that was about to be sent */
};

struct rec {
	uint32_t type, pid;
	int64_t time; /* monotonic, ns */
	uint64_t begin, ino, off;
	int64_t ret;
	uint32_t plen, plen2; /* with NUL; 0: none. The strings follow, then the data. */
	uint64_t dlen;
};

struct proc {
	_Atomic uint32_t pid, hold; /* hold: no call may begin */
	_Atomic uint32_t calls;	    /* under way */
};

struct record {
	uint64_t magic;
	_Atomic uint32_t nproc;
	struct proc proc[RECORD_PROCS];
	_Atomic uint64_t slots, bytes;	     /* used */
	_Atomic uint64_t slot[RECORD_SLOTS]; /* offset of a struct rec */
	unsigned char b[];
};

#endif
