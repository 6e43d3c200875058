/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * grey_file.h -- the greylist's file: records, reading them, and one batch of writing. From
 * grey_log.c, which decides what is written when.
 *
 * The file: the line "meta1 greylist 1", then records: length of the payload (16 bits), the low
 * half of its XXH3 (32 bits), payload; numbers little-endian, an order that follows another about
 * the same entry counts. Payloads:
 *	C  list's clock (32), wall clock s, monotonic s, boot (64 each): at the head of each batch
 *	S  kind (8), white (8), first, last, passes (32 each), key: the entry as it is now
 *	D  key: it was removed
 */
#ifndef META1_SMAR_GREY_FILE_H
#define META1_SMAR_GREY_FILE_H
#include "smar/grey.h"

#define GREY_FILE_HEAD	 "meta1 greylist 1\n"
#define GREY_FILE_RECORD (6 + 1 + 14) /* of an entry, beside its key */

struct grey_clock {
	uint32_t list;
	int64_t wall, mono;
	uint64_t boot; /* 0: not known */
};
struct grey_bytes {
	char *data;
	size_t n, size;
};
void grey_bytes_free(struct grey_bytes *);
void grey_file_head(struct grey_bytes *);
void grey_file_clock(struct grey_bytes *, const struct grey_clock *);
void grey_file_entry(struct grey_bytes *, const struct grey_entry *, bool gone);

uint64_t grey_file_boot(void); /* names this run of the system */

/* Opens (makes) the file and reads it into the list; clock is the last one in it, or zeros. A torn
 * end is cut, a record in the middle that is wrong is left out; both are logged. Not ours: it is
 * moved to PATH.bad, as what cannot be read; when more is cut than a crash tears, PATH.bad is a
 * copy. fd -1 with 0: it could not be read, or made for lack of room. <0: err. */
int grey_file_open(const char *path, struct grey *, struct grey_clock *, int *fd, uint64_t *size,
    struct meta1_err *);

/* Worker thread: what one batch does to the file, and to the one that is to replace it. */
struct grey_batch {
	const char *path;
	int fd;			 /* -1: none */
	uint64_t size;		 /* of what is whole */
	struct grey_bytes bytes; /* appended, synced */
	bool anew;		 /* there is a new one, too */
	int new_fd;		 /* -1: to be made */
	struct grey_bytes more;
	bool finish; /* it takes the place of the other */
	int failed, new_failed;
	int unsynced; /* it has, but the folder could not be synced */
};
void grey_file_batch(void *batch);

#endif
